/* matmul for AVX-512 with BF16 in native numerics: bfloat16 weights times bfloat16 activations (ORIBI_ACTS_BF16), float32 sums.
 *
 *   for each block of activation rows
 *     for each part of k, of which the rows' activations and two panels' weights stay in the second-level cache
 *       for each pair of panels
 *         unpack the part's weights
 *         for each tile of 8, 4, 2 or 1 rows: for each pair of inputs: multiply each row with both panels
 *
 * An output takes the pairs of inputs in order, and of a pair the odd one first: y = fma(w, x, y), rounded to nearest even,
 * denormals taken and left as zero (VDPBF16PS). From one part of k to the next it goes through y as it is. So it depends neither
 * on where its row lies nor on how many rows and panels a call has.
 *
 * 1. There are no codes, scales and sums to see to inside the loop, which is why this is faster than two byte planes although
 *    the instruction does half the products of one on bytes.
 * 2. Two panels share the broadcasts of activations: a core that does one product a cycle has one load of a vector a cycle.
 * 3. A tile with fewer rows than its size repeats the last one and does not store it.
 *
 * Accepted: with few rows, unpacking is most of the time. */
#include "unpack_bf16.h"

enum {
  TILE_ROWS = 16, /* of activations in memory */
  STEP_ROWS = 8,
  STEP_PANELS = 2,
  PART_GROUPS = 32, /* at most */
  BLOCK_ROWS = 256, /* 256 * 32 * 64 bytes of activations: half of a cache of 1 MiB */
};

/* Weights of a part of k of two panels. */
typedef uint8_t part_tiles[PART_GROUPS][STEP_PANELS][TILE_BYTES];
_Static_assert(sizeof(part_tiles) <= ORIBI_MATMUL_SCRATCH_BYTES, "the scratch holds a part");

/* A part of k of one panel, or of two. */
typedef struct {
  uint32_t panel, n_panels;
  uint32_t group, n_groups;
} part;

ORIBI_INLINE vfloat dot_pairs(vfloat sum, vint acts, vint weights) {
  return _mm512_dpbf16_ps(sum, (__m512bh)acts, (__m512bh)weights);
}

/* The rows row .. row + n_rows - 1, of which the last n_rows - n_stored are not stored. They lie in one tile of activations. */
ORIBI_INLINE void multiply(int n_rows, int n_panels, const oribi_matmul_args *a, part at, uint32_t row, uint32_t n_stored,
                           const part_tiles *weights) {
  const uint8_t *acts[STEP_ROWS];
  float *y[STEP_ROWS];
  vfloat sums[STEP_ROWS][STEP_PANELS];
  const uint8_t *tile = a->acts + row / TILE_ROWS * (TILE_ROWS * a->acts_stride) + (size_t)at.group * TILE_BYTES;
  ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
    const uint32_t own = row + ((uint32_t)r < n_stored ? (uint32_t)r : n_stored - 1);
    acts[r] = tile + own % TILE_ROWS * LINE;
    y[r] = a->y + own * a->y_stride + (size_t)at.panel * ROWS;
    ORIBI_UNROLL for (int c = 0; c < n_panels; c++) sums[r][c] = at.group == 0 ? v_zero() : _mm512_loadu_ps(y[r] + c * ROWS);
  }
  for (uint32_t g = 0; g < at.n_groups; g++) {
    ORIBI_UNROLL for (int pair = 0; pair < PAIRS; pair++) {
      vint w[STEP_PANELS];
      ORIBI_UNROLL for (int c = 0; c < n_panels; c++) w[c] = v_load((*weights)[g][c] + pair * LINE);
      ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
        const vint x = v_set1(load_i32(acts[r] + (size_t)g * TILE_BYTES + pair * 4));
        ORIBI_UNROLL for (int c = 0; c < n_panels; c++) sums[r][c] = dot_pairs(sums[r][c], x, w[c]);
      }
    }
  }
  ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
    if ((uint32_t)r >= n_stored) break;
    ORIBI_UNROLL for (int c = 0; c < n_panels; c++) v_store_f32(y[r] + c * ROWS, sums[r][c]);
  }
}

typedef void (*multiply_fn)(const oribi_matmul_args *a, part at, uint32_t row, uint32_t n_stored, const part_tiles *weights);

#define MULTIPLY(n_rows, n_panels)                                                                                     \
  static void multiply_##n_rows##x##n_panels(const oribi_matmul_args *a, part at, uint32_t row, uint32_t n_stored,     \
                                             const part_tiles *weights) {                                              \
    multiply(n_rows, n_panels, a, at, row, n_stored, weights);                                                         \
  }
#define MULTIPLY_BOTH(n_rows) MULTIPLY(n_rows, 1) MULTIPLY(n_rows, 2)
MULTIPLY_BOTH(1)
MULTIPLY_BOTH(2)
MULTIPLY_BOTH(4)
MULTIPLY_BOTH(8)

static multiply_fn multiply_of(uint32_t n_rows, uint32_t n_panels) {
  static const multiply_fn all[][STEP_PANELS] = {
      {multiply_1x1, multiply_1x2}, {multiply_2x1, multiply_2x2}, {multiply_4x1, multiply_4x2}, {multiply_8x1, multiply_8x2}};
  return all[n_rows <= 2 ? n_rows - 1 : n_rows <= 4 ? 2 : 3][n_panels - 1];
}

static void matmul_bf16(const oribi_matmul_args *a, unpack_fn unpack, size_t panel_bytes) {
  part_tiles *weights = a->scratch;
  const uint32_t n_groups = a->k / GROUP, n_parts = (n_groups + PART_GROUPS - 1) / PART_GROUPS;
  const uint32_t part_groups = (n_groups + n_parts - 1) / n_parts; /* from k alone */
  for (uint32_t first = 0; first < a->n_rows; first += BLOCK_ROWS) {
    const uint32_t end = a->n_rows - first < BLOCK_ROWS ? a->n_rows : first + BLOCK_ROWS;
    for (uint32_t group = 0; group < n_groups; group += part_groups) {
      for (uint32_t panel = 0; panel < a->n_panels; panel += STEP_PANELS) {
        const uint32_t n_panels = a->n_panels - panel, groups_left = n_groups - group;
        const part at = {.panel = panel,
                         .n_panels = n_panels < STEP_PANELS ? n_panels : STEP_PANELS,
                         .group = group,
                         .n_groups = groups_left < part_groups ? groups_left : part_groups};
        for (uint32_t c = 0; c < at.n_panels; c++) {
          const uint8_t *packed = a->panels + (panel + c) * panel_bytes;
          for (uint32_t g = 0; g < at.n_groups; g++) unpack(packed, group + g, (*weights)[g][c]);
        }
        for (uint32_t row = first; row < end; row += STEP_ROWS) {
          const uint32_t n_rows = end - row < STEP_ROWS ? end - row : STEP_ROWS;
          multiply_of(n_rows, at.n_panels)(a, at, row, n_rows, (const part_tiles *)weights);
        }
      }
    }
  }
}

/* ---- kernels ------------------------------------------------------------------------------------------------------ */

#define SYMBOL(name) oribi_matmul_##name##_avx512bf16
#define MATMUL_CODES(name, ...) KERNEL_OF_CODES(SYMBOL(name), name)
PACKED_FORMATS(MATMUL_CODES)
KERNELS_OF_FLOATS(SYMBOL)
