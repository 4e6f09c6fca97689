/* x86_amx_int8.c - matmul for AMX: both byte planes of the activations times the codes as int8 tiles. The same bits as every
 * other kernel: the tiles only form the exact sums.
 *
 *   for each MAX_ROWS activation rows
 *     for each range of up to MAX_STEPS steps along k (a step is a group, or a half group with a scale of its own)
 *       lay the rows' scales and sums out by step
 *       for each panel
 *         unpack the range's codes to signed bytes, its scales to float32
 *         for each 16 rows
 *           for each step: high = planes 0 . codes, low = planes 1 . codes   16 x 16 sums each, by tile
 *                          acc = fma(float(256 * high + low), s * s_a, acc)  and the minimum's, by vector
 *
 * 1. A tile is stored to memory and read back by vectors: three steps are in flight, one multiplied, one stored, one scaled.
 * 2. While tiles are at work the CPU has one port for float vectors and another for integers (and tile stores): so the
 *    multiplication by 256 is a shuffle for every other row, and everything that is not an output's own is prepared before.
 * 3. Codes are signed, so their offset needs no correction.
 * 4. Nothing is read behind the caller's rows: tiles of a call of fewer than 16 rows have as many, and the last rows of a
 *    longer one are copied and followed by zeros.
 * 5. The first two steps of the next rows are multiplied while the last two are scaled.
 * 6. The next panel is fetched from memory while this one is multiplied, some lines at each step: more at once than a core can wait
 *    for would stall.
 *
 * Accepted: a tile is 32 inputs deep, half of what the unit could take; the scale of a group ends there. */
#include "../simd/amx.h"
#include "../simd/panel_avx512.h"
#include "read.h"

enum {
  TILE_ROWS = 16,
  MAX_STEPS = 16,
  MAX_ROWS = 256,      /* their planes of a range are 256 KB: half of a small second-level cache */
  MAX_LINES = 12,      /* of an unpacked group */
  TILE_BYTES = TILE_ROWS * LINE,
  LAST_STRIDE = MAX_STEPS * 2 * GROUP + LINE, /* not a power of two */
};

/* ---- tile registers ----------------------------------------------------------------------------------------------- */

/* Sums of even steps in tiles 0 (high) and 1 (low), of odd ones in 2 and 3; planes in 4 (high) and 5 (low), codes in 6. n_rows:
 * activation rows of a tile. */
static void configure_tiles(uint32_t n_rows) {
  amx_config config = amx_full_tiles();
  for (int i = 0; i < 6; i++) config.n_rows[i] = (uint8_t)n_rows;
  config.row_bytes[4] = config.row_bytes[5] = GROUP;
  config.n_rows[6] = STEPS;
  amx_configure(&config);
}

/* ---- operands of a range ------------------------------------------------------------------------------------------ */

/* Codes and scales of a range of a panel. A group with two scales has its halves' lines apart, zeros between them: lines 0..8
 * are the first half and zeros, lines 4..12 zeros and the second. */
typedef struct {
  uint8_t codes[MAX_STEPS * STEPS * LINE]; /* n_scales 1: 8 lines a group; 2: 12 lines */
  float s[MAX_STEPS][ROWS], m[MAX_STEPS][ROWS];
} ORIBI_ALIGN64 panel_range;

/* Scales and sums of MAX_ROWS rows in a range, by step. */
typedef struct {
  float scale[MAX_ROWS / TILE_ROWS][MAX_STEPS][TILE_ROWS];
  float sum[MAX_ROWS / TILE_ROWS][MAX_STEPS][TILE_ROWS];
} ORIBI_ALIGN64 rows_range;

ORIBI_INLINE int lines_of_group(packed_format f) { return f.n_scales == 2 ? MAX_LINES : STEPS; }

/* The signed codes of step t. */
ORIBI_INLINE __m512i read_signed_codes(packed_format f, const uint8_t *group, int t) {
  const int offset = f.table == TABLE_NONE ? f.offset : 0;
  f.offset = 0; /* a table's values are signed already */
  const __m512i codes = read_codes(f, group, t, 0);
  return offset ? _mm512_sub_epi8(codes, _mm512_set1_epi8((char)offset)) : codes;
}

/* Groups first_group.. of a panel. */
ORIBI_INLINE void unpack_range(packed_format f, const uint8_t *panel, uint32_t first_group, uint32_t n_groups,
                               panel_range *to) {
  uint8_t *line = to->codes;
  for (uint32_t i = 0; i < n_groups; i++, line += lines_of_group(f) * LINE) {
    const uint32_t g = first_group + i;
    const uint8_t *block = panel + (size_t)(g / f.n_groups) * f.packed_bytes;
    const uint8_t *group = block + f.groups_at + (size_t)(g % f.n_groups) * f.group_bytes;
    ORIBI_UNROLL for (int t = 0; t < STEPS; t++) {
      const int at = f.n_scales == 2 && t >= STEPS / 2 ? t + STEPS / 2 : t;
      _mm512_store_si512(line + at * LINE, read_signed_codes(f, group, t));
      if (f.n_scales == 2 && t >= STEPS / 2) _mm512_store_si512(line + t * LINE, _mm512_setzero_si512());
    }
    ORIBI_UNROLL for (int part = 0; part < f.n_scales; part++) {
      const vscales scales = read_scales(f, block, group, part, 0);
      _mm512_store_ps(to->s[i * f.n_scales + part], scales.s);
      if (packed_has_min(f)) _mm512_store_ps(to->m[i * f.n_scales + part], scales.m);
    }
  }
}

/* Columns of a 16 x 16 matrix become rows. */
ORIBI_INLINE void transpose(__m512 v[16]) {
  __m512 w[16];
  ORIBI_UNROLL for (int i = 0; i < 16; i += 2) {
    w[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
    w[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
  }
  ORIBI_UNROLL for (int i = 0; i < 16; i += 4) {
    ORIBI_UNROLL for (int j = 0; j < 2; j++) {
      const __m512d low = _mm512_castps_pd(w[i + j]), high = _mm512_castps_pd(w[i + 2 + j]);
      v[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
      v[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
    }
  }
  ORIBI_UNROLL for (int i = 0; i < 4; i++) {
    const __m512 low02 = _mm512_shuffle_f32x4(v[i], v[i + 4], 0x88), low13 = _mm512_shuffle_f32x4(v[i], v[i + 4], 0xdd);
    const __m512 high02 = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0x88);
    const __m512 high13 = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0xdd);
    w[i] = _mm512_shuffle_f32x4(low02, high02, 0x88);
    w[i + 4] = _mm512_shuffle_f32x4(low13, high13, 0x88);
    w[i + 8] = _mm512_shuffle_f32x4(low02, high02, 0xdd);
    w[i + 12] = _mm512_shuffle_f32x4(low13, high13, 0xdd);
  }
  ORIBI_UNROLL for (int i = 0; i < 16; i++) v[i] = w[i];
}

/* Scales of the groups, for n_scales 2 each twice, and the sums of steps, of one row. Lanes behind n_steps are zero. */
ORIBI_INLINE void load_row_range(packed_format f, const uint8_t *acts, uint32_t k, uint32_t first_group, uint32_t n_steps,
                                 __m512 *scale, __m512 *sum) {
  const uint8_t *scales = acts + 2 * (size_t)k + sizeof(float) * first_group;
  const uint8_t *sums = acts + 2 * (size_t)k + sizeof(float) * (k / GROUP) + 2 * sizeof(int32_t) * first_group;
  const __mmask16 steps = (__mmask16)((1u << n_steps) - 1);
  if (f.n_scales == 2) {
    const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    const __mmask16 groups = (__mmask16)((1u << n_steps / 2) - 1);
    *scale = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(groups, scales));
    *sum = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(steps, sums));
    return;
  }
  const uint32_t halves = (uint32_t)((UINT64_C(1) << 2 * n_steps) - 1);
  const __m512i low = _mm512_maskz_loadu_epi32((__mmask16)halves, sums);
  const __m512i high = _mm512_maskz_loadu_epi32((__mmask16)(halves >> 16), sums + LINE);
  const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i first = _mm512_permutex2var_epi32(low, even, high);
  const __m512i second = _mm512_permutex2var_epi32(low, _mm512_or_si512(even, _mm512_set1_epi32(1)), high);
  *scale = _mm512_maskz_loadu_ps(steps, scales);
  *sum = _mm512_cvtepi32_ps(_mm512_add_epi32(first, second));
}

/* Scales and sums of n_rows rows (at most 16) of a range, by step. */
ORIBI_INLINE void load_rows_range(packed_format f, const oribi_matmul_args *a, uint32_t first_row, uint32_t n_rows,
                                  uint32_t first_group, uint32_t n_steps, float (*scale)[TILE_ROWS],
                                  float (*sum)[TILE_ROWS]) {
  __m512 scales[TILE_ROWS], sums[TILE_ROWS];
  for (uint32_t r = 0; r < TILE_ROWS; r++) {
    scales[r] = sums[r] = _mm512_setzero_ps();
    if (r >= n_rows) continue;
    const uint8_t *acts = a->acts + (size_t)(first_row + r) * a->acts_stride;
    load_row_range(f, acts, a->k, first_group, n_steps, scales + r, sums + r);
  }
  transpose(scales);
  for (int i = 0; i < TILE_ROWS; i++) _mm512_store_ps(scale[i], scales[i]);
  if (!packed_has_min(f)) return;
  transpose(sums);
  for (int i = 0; i < TILE_ROWS; i++) _mm512_store_ps(sum[i], sums[i]);
}

/* ---- 16 rows times a panel ---------------------------------------------------------------------------------------- */

/* Activations of up to 16 rows from a group on. */
typedef struct {
  const uint8_t *planes; /* of the first row */
  size_t stride;         /* bytes from row to row */
} block_planes;

/* A block of up to 16 rows times a range of a panel. */
typedef struct {
  block_planes planes, next_planes; /* of this block, and of the one after it, if there is one */
  uint32_t is_begun;                /* the block before has multiplied steps 0 and 1, and stored step 0 */
  const float (*scale)[TILE_ROWS], (*sum)[TILE_ROWS];
  const panel_range *weights;
  uint32_t n_steps;
  uint32_t n_rows;
  uint32_t is_first; /* acc starts at zero, else at y */
  float *y;
  size_t y_stride;
  uintptr_t ahead;                  /* what is fetched meanwhile: so many lines a step */
  uint32_t n_ahead;
} block;

/* Sums of two steps, on their way from the tiles to the vectors. */
typedef struct {
  uint8_t high[2][TILE_BYTES], low[2][TILE_BYTES];
} ORIBI_ALIGN64 tile_sums;

/* What the tiles of a step read; with two scales the halves of a group share the planes. */
typedef struct {
  const uint8_t *planes, *codes;
  size_t stride;
} tile_operands;

ORIBI_INLINE tile_operands operands_of(int n_scales, const block *b, block_planes rows, uint32_t step) {
  const size_t group = step / (uint32_t)n_scales, half = step % (uint32_t)n_scales;
  const size_t line = n_scales == 1 ? group * STEPS : group * MAX_LINES + half * (STEPS / 2);
  return (tile_operands){rows.planes + group * 2 * GROUP, b->weights->codes + line * LINE, rows.stride};
}

/* Tile instructions name their registers, so a step's parity decides here. */
ORIBI_INLINE void multiply_high(int parity) {
  if (parity == 0) {
    _tile_zero(0);
    _tile_dpbssd(0, 4, 6);
  } else {
    _tile_zero(2);
    _tile_dpbssd(2, 4, 6);
  }
}

ORIBI_INLINE void multiply_low(int parity) {
  if (parity == 0) {
    _tile_zero(1);
    _tile_dpbssd(1, 5, 6);
  } else {
    _tile_zero(3);
    _tile_dpbssd(3, 5, 6);
  }
}

ORIBI_INLINE void store_high(int parity, tile_sums *sums) {
  if (parity == 0) {
    _tile_stored(0, sums->high[0], LINE);
  } else {
    _tile_stored(2, sums->high[1], LINE);
  }
}

ORIBI_INLINE void store_low(int parity, tile_sums *sums) {
  if (parity == 0) {
    _tile_stored(1, sums->low[0], LINE);
  } else {
    _tile_stored(3, sums->low[1], LINE);
  }
}

/* What the vectors of a step read. */
typedef struct {
  __m512 s, m;
  const float *scale, *sum;    /* [16] */
  const uint8_t *high, *low;   /* [16] lines */
  __m512i up;
} vector_operands;

/* The float steps of rows first..end. */
ORIBI_INLINE void scale_rows(int has_min, int first, int end, const vector_operands *v, __m512 *acc) {
  ORIBI_UNROLL for (int r = first; r < end; r++) {
    const __m512i high = _mm512_load_si512(v->high + r * LINE), low = _mm512_load_si512(v->low + r * LINE);
    const __m512i up = has_min || r % 2 == 0 ? _mm512_shuffle_epi8(high, v->up) : _mm512_slli_epi32(high, 8);
    const __m512 dot = _mm512_cvtepi32_ps(_mm512_add_epi32(up, low)), s_a = _mm512_set1_ps(v->scale[r]);
    acc[r] = _mm512_fmadd_ps(dot, _mm512_mul_ps(v->s, s_a), acc[r]);
    if (has_min) acc[r] = _mm512_fmadd_ps(_mm512_set1_ps(v->sum[r]), _mm512_mul_ps(v->m, s_a), acc[r]);
  }
}

/* A block on its way through the tiles. */
typedef struct {
  block at;
  tile_sums *sums;
  __m512i up; /* a shuffle that multiplies 32-bit lanes by 256 */
} pipeline;

/* One turn: scales a step, multiplies the step after the next, and stores the next. Behind the last step follow the first two
 * of the next block; if there is none, or the number of steps is odd, that work is for nothing. The order was found by
 * measuring. */
ORIBI_INLINE void turn(int n_scales, int has_min, int n_rows, int fetches, int parity, uint32_t step, const pipeline *p,
                       __m512 *acc) {
  const int load_planes = n_scales == 1 || parity == 0;
  const int is_ours = step + 2 < p->at.n_steps;
  const uint32_t ahead = is_ours ? step + 2 : (uint32_t)parity % p->at.n_steps;
  const tile_operands t = operands_of(n_scales, &p->at, is_ours ? p->at.planes : p->at.next_planes, ahead);
  const vector_operands v = {.s = _mm512_load_ps(p->at.weights->s[step]), .m = _mm512_load_ps(p->at.weights->m[step]),
                             .scale = p->at.scale[step], .sum = p->at.sum[step],
                             .high = p->sums->high[parity], .low = p->sums->low[parity], .up = p->up};
  for (uint32_t i = 0; fetches && i < p->at.n_ahead; i++) {
    _mm_prefetch((const char *)(p->at.ahead + (step * p->at.n_ahead + i) * LINE), _MM_HINT_T0);
  }
  scale_rows(has_min, 0, n_rows / 8, &v, acc);
  if (load_planes) _tile_loadd(4, t.planes, t.stride);
  scale_rows(has_min, n_rows / 8, n_rows * 3 / 16, &v, acc);
  _tile_loadd(6, t.codes, LINE);
  scale_rows(has_min, n_rows * 3 / 16, n_rows / 4, &v, acc);
  multiply_high(parity);
  scale_rows(has_min, n_rows / 4, n_rows * 3 / 8, &v, acc);
  if (load_planes) _tile_loadd(5, t.planes + GROUP, t.stride);
  scale_rows(has_min, n_rows * 3 / 8, n_rows * 7 / 16, &v, acc);
  multiply_low(parity);
  scale_rows(has_min, n_rows * 7 / 16, n_rows * 9 / 16, &v, acc);
  store_high(!parity, p->sums);
  scale_rows(has_min, n_rows * 9 / 16, n_rows * 13 / 16, &v, acc);
  store_low(!parity, p->sums);
  scale_rows(has_min, n_rows * 13 / 16, n_rows, &v, acc);
}

ORIBI_INLINE void multiply_step(int n_scales, int parity, const block *b, uint32_t step) {
  const tile_operands t = operands_of(n_scales, b, b->planes, step);
  _tile_loadd(4, t.planes, t.stride);
  _tile_loadd(5, t.planes + GROUP, t.stride);
  _tile_loadd(6, t.codes, LINE);
  multiply_high(parity);
  multiply_low(parity);
}

/* n_rows: of the block, rounded up to what there is a function for. */
ORIBI_INLINE void multiply_block(int n_scales, int has_min, int n_rows, int fetches, const block *b, tile_sums *sums) {
  pipeline p = {.at = *b, .sums = sums}; /* a copy: the compiler sees that storing tiles does not change it */
  p.up = _mm512_broadcast_i32x4(_mm_setr_epi8(-1, 0, 1, 2, -1, 4, 5, 6, -1, 8, 9, 10, -1, 12, 13, 14));
  __asm__("" : "+v"(p.up)); /* or else GCC makes it anew before each use */
  if (!b->is_begun) {
    multiply_step(n_scales, 0, b, 0);
    multiply_step(n_scales, 1, b, b->n_steps > 1);
    store_high(0, sums);
    store_low(0, sums);
  }
  __m512 acc[TILE_ROWS];
  ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
    const int from_y = !b->is_first && (uint32_t)r < b->n_rows;
    acc[r] = from_y ? _mm512_loadu_ps(b->y + (size_t)r * b->y_stride) : _mm512_setzero_ps();
  }
  for (uint32_t step = 0; step < b->n_steps; step += 2) {
    turn(n_scales, has_min, n_rows, fetches, 0, step, &p, acc);
    if (step + 1 < b->n_steps) turn(n_scales, has_min, n_rows, fetches, 1, step + 1, &p, acc);
  }
  ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
    if ((uint32_t)r < b->n_rows) _mm512_storeu_ps(b->y + (size_t)r * b->y_stride, acc[r]);
  }
}

#define MULTIPLY_BLOCK(n_scales, has_min)                                              \
  static void multiply_block_##n_scales##_##has_min(const block *b, tile_sums *sums) { \
    if (b->n_rows <= TILE_ROWS / 2) {                                                  \
      multiply_block(n_scales, has_min, TILE_ROWS / 2, 1, b, sums);                    \
    } else if (b->n_ahead > 0) {                                                       \
      multiply_block(n_scales, has_min, TILE_ROWS, 1, b, sums);                        \
    } else {                                                                           \
      multiply_block(n_scales, has_min, TILE_ROWS, 0, b, sums);                        \
    }                                                                                  \
  }
MULTIPLY_BLOCK(1, 0)
MULTIPLY_BLOCK(1, 1)
MULTIPLY_BLOCK(2, 0)
MULTIPLY_BLOCK(2, 1)

ORIBI_INLINE void multiply_block_of(packed_format f, const block *b, tile_sums *sums) {
  if (f.n_scales == 2) {
    (packed_has_min(f) ? multiply_block_2_1 : multiply_block_2_0)(b, sums);
  } else {
    (packed_has_min(f) ? multiply_block_1_1 : multiply_block_1_0)(b, sums);
  }
}

/* ---- all rows and panels ------------------------------------------------------------------------------------------ */

/* Rows and a range of k of a call, with what was prepared for them. */
typedef struct {
  const oribi_matmul_args *args;
  uint32_t tile_rows;             /* of the tile registers: 16, or the call's rows where those are fewer */
  uint32_t first_row, n_rows;     /* at most MAX_ROWS */
  uint32_t first_group, n_groups; /* at most MAX_STEPS steps */
  rows_range rows;
  uint8_t last_planes[TILE_ROWS][LAST_STRIDE]; /* of the last block, where that has less than tile_rows rows */
} work;

ORIBI_INLINE uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

ORIBI_INLINE void prepare_rows(packed_format f, work *w) {
  const oribi_matmul_args *a = w->args;
  for (uint32_t r = 0; r < w->n_rows; r += TILE_ROWS) {
    const uint32_t n_rows = min_u32(w->n_rows - r, TILE_ROWS), first = w->first_row + r, slot = r / TILE_ROWS;
    load_rows_range(f, a, first, n_rows, w->first_group, w->n_groups * f.n_scales, w->rows.scale[slot], w->rows.sum[slot]);
    if (n_rows == w->tile_rows) continue;
    memset(w->last_planes, 0, sizeof w->last_planes);
    for (uint32_t i = 0; i < n_rows; i++) {
      const uint8_t *planes = a->acts + (size_t)(first + i) * a->acts_stride + (size_t)w->first_group * 2 * GROUP;
      memcpy(w->last_planes[i], planes, (size_t)w->n_groups * 2 * GROUP);
    }
  }
}

/* The planes of the block from row r of the work on. */
ORIBI_INLINE block_planes planes_of(const work *w, uint32_t r) {
  const oribi_matmul_args *a = w->args;
  if (w->n_rows - r < w->tile_rows) return (block_planes){w->last_planes[0], LAST_STRIDE};
  const uint8_t *acts = a->acts + (size_t)(w->first_row + r) * a->acts_stride;
  return (block_planes){acts + (size_t)w->first_group * 2 * GROUP, a->acts_stride};
}

/* All rows of the work times a panel. */
ORIBI_INLINE void multiply_panel(packed_format f, const work *w, uint32_t panel) {
  const oribi_matmul_args *a = w->args;
  const size_t panel_bytes = (size_t)(a->k / f.block_len) * f.packed_bytes;
  panel_range weights;
  tile_sums sums;
  unpack_range(f, a->panels + panel * panel_bytes, w->first_group, w->n_groups, &weights);
  /* The next panel's range, from its first block to its last. */
  const size_t first_block = w->first_group / f.n_groups, end_block = (w->first_group + w->n_groups - 1) / f.n_groups + 1;
  const uintptr_t ahead = (uintptr_t)a->panels + (panel + 1) * panel_bytes + first_block * f.packed_bytes;
  const uint32_t n_lines = (uint32_t)((end_block - first_block) * f.packed_bytes / LINE + 1);
  __asm__ volatile("" : : "r"(&weights), "r"(w) : "memory"); /* the compiler does not know that tiles read them */
  for (uint32_t r = 0; r < w->n_rows; r += TILE_ROWS) {
    const uint32_t n_left = w->n_rows - r, n_steps = w->n_groups * f.n_scales, slot = r / TILE_ROWS;
    const block b = {
        .planes = planes_of(w, r),
        .next_planes = planes_of(w, n_left > TILE_ROWS ? r + TILE_ROWS : r),
        .is_begun = r > 0 && n_steps % 2 == 0,
        .scale = w->rows.scale[slot],
        .sum = w->rows.sum[slot],
        .weights = &weights,
        .n_steps = n_steps,
        .n_rows = min_u32(n_left, TILE_ROWS),
        .is_first = w->first_group == 0,
        .y = a->y + (size_t)(w->first_row + r) * a->y_stride + (size_t)panel * ROWS,
        .y_stride = a->y_stride,
        .ahead = ahead,
        .n_ahead = r == 0 ? (n_lines + n_steps - 1) / n_steps : 0,
    };
    multiply_block_of(f, &b, &sums);
  }
}

ORIBI_INLINE void matmul_tiles(packed_format f, const oribi_matmul_args *a) {
  const uint32_t n_groups = a->k / GROUP, max_groups = MAX_STEPS / f.n_scales;
  const uint32_t n_ranges = (n_groups + max_groups - 1) / max_groups;
  const uint32_t range = ((n_groups + n_ranges - 1) / n_ranges + 1) / 2 * 2; /* even: blocks then follow without a gap */
  work w;
  w.args = a;
  w.tile_rows = min_u32(a->n_rows, TILE_ROWS);
  configure_tiles(w.tile_rows);
  for (w.first_row = 0; w.first_row < a->n_rows; w.first_row += MAX_ROWS) {
    w.n_rows = min_u32(a->n_rows - w.first_row, MAX_ROWS);
    for (w.first_group = 0; w.first_group < n_groups; w.first_group += range) {
      w.n_groups = min_u32(n_groups - w.first_group, range);
      prepare_rows(f, &w);
      for (uint32_t panel = 0; panel < a->n_panels; panel++) multiply_panel(f, &w, panel);
    }
  }
  _tile_release();
}

#define MATMUL(name, ...)                                                 \
  void oribi_matmul_##name##_avx512(const void *);                        \
  void oribi_matmul_##name##_amx(const void *);                           \
  void oribi_matmul_##name##_amx(const void *args) {                      \
    const oribi_matmul_args *a = args;                                    \
    if (a->n_rows <= packed_few_rows(format_##name, ORIBI_ISA_AMX)) {     \
      oribi_matmul_##name##_avx512(args);                                 \
    } else {                                                              \
      matmul_tiles(format_##name, a);                                     \
    }                                                                     \
  }
PACKED_FORMATS(MATMUL)
