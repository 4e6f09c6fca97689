/* matmul for AMX in native numerics: bfloat16 weights times bfloat16 activations (ORIBI_ACTS_BF16), float32 sums.
 *
 *   for each block of activation rows
 *     for each part of k, of which the rows' activations stay in the second-level cache
 *       for each pair of panels
 *         for each 32 rows
 *           four sums of 16 x 16; for each 32 inputs: load 2 x 2 tiles, multiply each with each
 *           meanwhile: unpack a share of the next pair's weights
 *
 * An output is the sum over its groups of 32 inputs, in order, of what TDPBF16PS adds for each: the products of the even and of
 * the odd inputs summed apart, in order, each step fused and rounded to nearest even, denormals taken and left as zero; then
 * both sums are added, and that to the output. From one part of k to the next it goes through y as it is. So it depends neither
 * on where its row lies nor on how many rows and panels a call has.
 *
 * 1. Weights are unpacked into tiles of the scratch, a pair of panels ahead; see unpack_bf16.h. Parts whose tiles stay in the
 *    first-level cache (20 groups) are slower by 15 to 25 %: sums that go through y cost more than weights from the next cache.
 * 2. Activations come in tiles, and are prefetched two groups ahead: where the core's other thread is busy with another
 *    process, loads do not hide behind products.
 * 3. The sums' places in y are prefetched 32 rows ahead. Otherwise their stores, up to a page apart, stall what follows.
 * 4. The last rows, if fewer, are tiles of fewer rows. Configuring tiles costs as much as 12 products, so one pair of panels
 *    ends with them and the next begins with them.
 *
 * Accepted: with few rows, unpacking is most of the time. */
#include "../simd/amx.h"
#include "unpack_bf16.h"

enum {
  TILE_ROWS = 16,
  STEP_ROWS = 2 * TILE_ROWS, /* two tiles of activations ... */
  STEP_PANELS = 2,           /* ... by two of weights */
  PART_GROUPS = 64,          /* at most */
  BLOCK_ROWS = 256,          /* 256 * 64 * 64 bytes of activations: half of the cache */
  AHEAD = 2,                 /* groups */
};

/* A call, and how it is cut. */
typedef struct {
  oribi_matmul_args a;
  unpack_fn unpack;
  size_t panel_bytes;
  uint32_t n_groups;
  uint32_t part_groups; /* the same for all parts, but for the last; from k alone */
  uint32_t n_pairs;     /* of panels, the last one perhaps alone */
  uint32_t n_parts;
} product;

/* A part of k of a pair of panels, or of the last one. */
typedef struct {
  uint32_t panel, n_panels;
  uint32_t group, n_groups;
} part;

/* Its weights. */
typedef uint8_t part_tiles[PART_GROUPS][STEP_PANELS][TILE_BYTES];
_Static_assert(2 * sizeof(part_tiles) == ORIBI_MATMUL_SCRATCH_BYTES, "the scratch holds two parts");

/* ---- tile registers: sums in 0..3, activations of 16 rows each in 4 and 5, weights of a panel each in 6 and 7 -------- */

/* For steps of so many rows. */
static void configure_tiles(uint32_t n_rows) {
  amx_config config = amx_full_tiles();
  const uint8_t rows0 = n_rows < TILE_ROWS ? (uint8_t)n_rows : TILE_ROWS;
  const uint8_t rows1 = n_rows > TILE_ROWS ? (uint8_t)(n_rows - TILE_ROWS) : TILE_ROWS; /* not used where there are none */
  const uint8_t rows[AMX_TILES] = {rows0, rows0, rows1, rows1, rows0, rows1, TILE_ROWS, TILE_ROWS};
  for (int i = 0; i < AMX_TILES; i++) config.n_rows[i] = rows[i];
  amx_configure(&config);
}

/* ---- unpacking ---------------------------------------------------------------------------------------------------- */

/* A part that is being unpacked, tile by tile. */
typedef struct {
  const product *p;
  part of;
  part_tiles *tiles;
  uint32_t n_done, n_tiles;
} unpacking;

static unpacking start_unpacking(const product *p, part of, part_tiles *tiles) {
  return (unpacking){.p = p, .of = of, .tiles = tiles, .n_done = 0, .n_tiles = of.n_groups * of.n_panels};
}

static void unpack_until(unpacking *u, uint32_t end) {
  for (; u->n_done < end; u->n_done++) {
    const uint32_t g = u->n_done / u->of.n_panels, i = u->n_done % u->of.n_panels;
    const uint8_t *panel = u->p->a.panels + (size_t)(u->of.panel + i) * u->p->panel_bytes;
    u->p->unpack(panel, u->of.group + g, (*u->tiles)[g][i]);
  }
}

/* ---- products ----------------------------------------------------------------------------------------------------- */

/* Fetches share i of n of the lines that hold the sums of 32 rows at y, to be written. */
ORIBI_INLINE void prefetch_sums(const float *y, size_t y_bytes, uint32_t i, uint32_t n) {
  for (uint32_t row = STEP_ROWS * i / n; row < STEP_ROWS * (i + 1) / n; row++) {
    const char *line = (const char *)((uintptr_t)y + row * y_bytes);
    __builtin_prefetch(line, 1);
    __builtin_prefetch(line + LINE, 1);
  }
}

/* Fetches a tile of activations; past their end it is harmless. */
ORIBI_INLINE void prefetch_tile(const uint8_t *tile) {
  ORIBI_UNROLL for (int row = 0; row < TILE_ROWS; row++) {
    _mm_prefetch((const char *)((uintptr_t)tile + (size_t)row * LINE), _MM_HINT_T0);
  }
}

/* A step: 16 rows, or up to 32, from row `row` on. Unpacks u up to tile `end` meanwhile. */
ORIBI_INLINE void multiply(int n_row_tiles, int n_panels, const product *p, part at, uint32_t row,
                           const part_tiles *weights, unpacking *u, uint32_t end) {
  const size_t y_bytes = p->a.y_stride * sizeof(float), acts_bytes = TILE_ROWS * p->a.acts_stride; /* of 16 rows */
  float *y = p->a.y + row * p->a.y_stride + (size_t)at.panel * ROWS, *y1 = y + TILE_ROWS * p->a.y_stride;
  const uint8_t *acts = p->a.acts + row / TILE_ROWS * acts_bytes + (size_t)at.group * TILE_BYTES, *acts1 = acts + acts_bytes;
  const float *next_y = (const float *)((uintptr_t)y + STEP_ROWS * y_bytes);
  const int has1 = n_panels == 2, has2 = n_row_tiles == 2, has3 = has1 && has2; /* the sums besides the first */
  if (at.group == 0) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, y, y_bytes);
    if (has1) _tile_loadd(1, y + ROWS, y_bytes);
    if (has2) _tile_loadd(2, y1, y_bytes);
    if (has3) _tile_loadd(3, y1 + ROWS, y_bytes);
  }
  const uint32_t first = u->n_done;
  for (uint32_t g = 0; g < at.n_groups; g++) {
    _tile_loadd(4, acts + (size_t)g * TILE_BYTES, LINE);
    _tile_loadd(6, (*weights)[g][0], LINE);
    _tile_dpbf16ps(0, 4, 6);
    if (has1) _tile_loadd(7, (*weights)[g][1], LINE);
    if (has1) _tile_dpbf16ps(1, 4, 7);
    unpack_until(u, first + (end - first) * (g + 1) / at.n_groups);
    if (has2) _tile_loadd(5, acts1 + (size_t)g * TILE_BYTES, LINE);
    if (has2) _tile_dpbf16ps(2, 5, 6);
    if (has3) _tile_dpbf16ps(3, 5, 7);
    if (g + AHEAD < at.n_groups) {
      prefetch_tile(acts + (size_t)(g + AHEAD) * TILE_BYTES);
      if (has2) prefetch_tile(acts1 + (size_t)(g + AHEAD) * TILE_BYTES);
    }
    prefetch_sums(next_y, y_bytes, g, at.n_groups);
  }
  _tile_stored(0, y, y_bytes);
  if (has1) _tile_stored(1, y + ROWS, y_bytes);
  if (has2) _tile_stored(2, y1, y_bytes);
  if (has3) _tile_stored(3, y1 + ROWS, y_bytes);
}

#define MULTIPLY(n_row_tiles, n_panels)                                                                             \
  static void multiply_##n_row_tiles##x##n_panels(const product *p, part at, uint32_t row, const part_tiles *weights, \
                                                  unpacking *u, uint32_t end) {                                     \
    multiply(n_row_tiles, n_panels, p, at, row, weights, u, end);                                                   \
  }
MULTIPLY(1, 1)
MULTIPLY(1, 2)
MULTIPLY(2, 1)
MULTIPLY(2, 2)

/* All rows of a block, 32 at a time, the last ones first or last; unpacks all of u. Tiles are configured for the first step;
 * they stay so for the last. */
static void multiply_rows(const product *p, part at, uint32_t row, uint32_t n_rows, int last_first,
                          const part_tiles *weights, unpacking *u) {
  const uint32_t n_steps = (n_rows + STEP_ROWS - 1) / STEP_ROWS, last_rows = n_rows - (n_steps - 1) * STEP_ROWS;
  for (uint32_t i = 0; i < n_steps; i++) {
    const uint32_t step = last_first ? (i + n_steps - 1) % n_steps : i;
    const uint32_t step_rows = step == n_steps - 1 ? last_rows : STEP_ROWS, end = u->n_tiles * (i + 1) / n_steps;
    if (i == (last_first ? 1 : n_steps - 1) && n_steps > 1 && last_rows != STEP_ROWS) configure_tiles(step_rows);
    if (step_rows > TILE_ROWS) {
      (at.n_panels == 2 ? multiply_2x2 : multiply_2x1)(p, at, row + step * STEP_ROWS, weights, u, end);
    } else {
      (at.n_panels == 2 ? multiply_1x2 : multiply_1x1)(p, at, row + step * STEP_ROWS, weights, u, end);
    }
  }
}

/* ---- a call ------------------------------------------------------------------------------------------------------- */

/* Part i of the call: all pairs of panels for the first part of k, then for the next; after the last, nothing. */
static part part_at(const product *p, uint32_t i) {
  if (i == p->n_parts) return (part){0};
  const uint32_t panel = i % p->n_pairs * STEP_PANELS, group = i / p->n_pairs * p->part_groups;
  const uint32_t n_panels = p->a.n_panels - panel, n_groups = p->n_groups - group;
  return (part){.panel = panel,
                .n_panels = n_panels < STEP_PANELS ? n_panels : STEP_PANELS,
                .group = group,
                .n_groups = n_groups < p->part_groups ? n_groups : p->part_groups};
}

static void multiply_block(const product *p, uint32_t row, uint32_t n_rows) {
  part_tiles *tiles = p->a.scratch;
  unpacking u = start_unpacking(p, part_at(p, 0), &tiles[0]);
  unpack_until(&u, u.n_tiles);
  configure_tiles(n_rows < STEP_ROWS ? n_rows : STEP_ROWS);
  for (uint32_t i = 0; i < p->n_parts; i++) {
    u = start_unpacking(p, part_at(p, i + 1), &tiles[(i + 1) % 2]);
    multiply_rows(p, part_at(p, i), row, n_rows, (int)(i % 2), (const part_tiles *)&tiles[i % 2], &u);
  }
}

static void matmul_bf16(const oribi_matmul_args *a, unpack_fn unpack, size_t panel_bytes) {
  if (a->n_rows == 0 || a->n_panels == 0) return;
  const uint32_t n_groups = a->k / GROUP, n_parts = (n_groups + PART_GROUPS - 1) / PART_GROUPS;
  const uint32_t n_pairs = (a->n_panels + STEP_PANELS - 1) / STEP_PANELS;
  const product p = {.a = *a,
                     .unpack = unpack,
                     .panel_bytes = panel_bytes,
                     .n_groups = n_groups,
                     .part_groups = (n_groups + n_parts - 1) / n_parts,
                     .n_pairs = n_pairs,
                     .n_parts = n_pairs * n_parts};
  for (uint32_t row = 0; row < a->n_rows; row += BLOCK_ROWS) {
    multiply_block(&p, row, a->n_rows - row < BLOCK_ROWS ? a->n_rows - row : BLOCK_ROWS);
  }
  _tile_release();
}

/* ---- kernels ------------------------------------------------------------------------------------------------------ */

#define SYMBOL(name) oribi_matmul_##name##_bf16_amx
#define MATMUL_CODES(name, ...) KERNEL_OF_CODES(SYMBOL(name), name)
PACKED_FORMATS(MATMUL_CODES)
KERNELS_OF_FLOATS(SYMBOL)
