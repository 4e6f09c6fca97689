/* matmul for Arm's 8-bit matrix multiplication, which forms the sums of two output rows and two activation rows over eight
 * inputs at once; activations are byte planes. See tile.h. One activation row is left to the dot products: half of each result
 * would be thrown away, as it is for the last of an odd number of rows.
 *
 * 32 registers: 4 rows take two columns at a time, 2 rows four: 16 integer accumulators. */
#include "../simd/panel_neon.h"

ORIBI_INLINE int dot_offset(packed_format f) { return f.offset; }

#define SUMS_OF_ROW_PAIRS
#include "tile.h"

/* Of output rows 0 and 1, and of 2 and 3; each [output row][activation row]. */
typedef struct {
  int32x4_t rows01, rows23;
} pair_sums;

/* Codes of steps t and t + 1: eight inputs of each output row. */
typedef struct {
  uint8x16_t rows01, rows23;
} pair_codes;

ORIBI_INLINE pair_codes read_two_steps(packed_format f, const uint8_t *group, int t, int lane) {
  const vint first = read_codes(f, group, t, lane), second = read_codes(f, group, t + 1, lane);
  return (pair_codes){v_bytes(vzip1q_s32(first, second)), v_bytes(vzip2q_s32(first, second))};
}

/* Steps t and t + 1 of a plane of two activation rows: eight inputs of each. A load serves four steps. */
ORIBI_INLINE int8x16_t two_rows(const uint8_t *a, const uint8_t *b, int t) {
  const int64x2_t of_a = vreinterpretq_s64_u8(vld1q_u8(a + t / 4 * 16));
  const int64x2_t of_b = vreinterpretq_s64_u8(vld1q_u8(b + t / 4 * 16));
  return vreinterpretq_s8_s64(t % 4 == 0 ? vzip1q_s64(of_a, of_b) : vzip2q_s64(of_a, of_b));
}

ORIBI_INLINE pair_sums add_products(pair_sums sum, pair_codes codes, int8x16_t acts) {
  sum.rows01 = vusmmlaq_s32(sum.rows01, codes.rows01, acts);
  sum.rows23 = vusmmlaq_s32(sum.rows23, codes.rows23, acts);
  return sum;
}

ORIBI_INLINE int32x4_t both_planes(int32x4_t high, int32x4_t low) { return vaddq_s32(vshlq_n_s32(high, 8), low); }

ORIBI_INLINE void sum_part(packed_format f, int part, columns at_once, int n_rows, const position *at, const tile_rows *rows,
                           vfloat sums[MAX_TILE_ROWS][MAX_COLUMNS]) {
  pair_sums high[MAX_TILE_ROWS / 2][MAX_COLUMNS], low[MAX_TILE_ROWS / 2][MAX_COLUMNS];
  const int n_steps = STEPS / f.n_scales;
  ORIBI_UNROLL for (int r = 0; r < n_rows; r += 2) {
    const int32x4_t first = vdupq_n_s32(sum_start(f, rows->acts[r], at, part));
    const int32x4_t second = vdupq_n_s32(sum_start(f, rows->acts[r + 1], at, part));
    const int32x4_t start = vzip1q_s32(first, second), zero = vdupq_n_s32(0);
    ORIBI_UNROLL for (int c = at_once.begin; c < at_once.end; c++) {
      high[r / 2][c] = (pair_sums){zero, zero};
      low[r / 2][c] = (pair_sums){start, start};
    }
  }
  ORIBI_UNROLL for (int t = part * n_steps; t < (part + 1) * n_steps; t += 2) {
    pair_codes codes[MAX_COLUMNS];
    ORIBI_UNROLL for (int c = at_once.begin; c < at_once.end; c++) {
      codes[c] = read_two_steps(f, at->group[c], t, at->lane[c]);
    }
    ORIBI_UNROLL for (int r = 0; r < n_rows; r += 2) {
      const uint8_t *a = rows->acts[r] + (size_t)at->g * 2 * GROUP, *b = rows->acts[r + 1] + (size_t)at->g * 2 * GROUP;
      const int8x16_t of_high = two_rows(a, b, t), of_low = two_rows(a + GROUP, b + GROUP, t);
      ORIBI_UNROLL for (int c = at_once.begin; c < at_once.end; c++) {
        high[r / 2][c] = add_products(high[r / 2][c], codes[c], of_high);
        low[r / 2][c] = add_products(low[r / 2][c], codes[c], of_low);
      }
    }
  }
  ORIBI_UNROLL for (int r = 0; r < n_rows; r += 2) {
    ORIBI_UNROLL for (int c = at_once.begin; c < at_once.end; c++) {
      const int32x4_t rows01 = both_planes(high[r / 2][c].rows01, low[r / 2][c].rows01);
      const int32x4_t rows23 = both_planes(high[r / 2][c].rows23, low[r / 2][c].rows23);
      sums[r][c] = vcvtq_f32_s32(vuzp1q_s32(rows01, rows23));
      sums[r + 1][c] = vcvtq_f32_s32(vuzp2q_s32(rows01, rows23));
    }
  }
}

#define MATMUL_CODES(name, ...)                                                                       \
  TILE(tile_codes, name##_2, format_##name, 4, 2)                                                     \
  TILE(tile_codes, name##_4, format_##name, 4, 4)                                                     \
  void oribi_matmul_##name##_dotprod(const void *);                                                   \
  void oribi_matmul_##name##_i8mm(const void *);                                                      \
  void oribi_matmul_##name##_i8mm(const void *args) {                                                 \
    const oribi_matmul_args *a = args;                                                                \
    const tile_set tiles = {.rows1 = name##_2,                                                        \
                            .rows2 = name##_2,                                                        \
                            .rows4 = name##_4,                                                        \
                            .panel_bytes = CODES_PANEL_BYTES(format_##name),                          \
                            .acts_row_bytes = 2 * (size_t)a->k};                                      \
    if (a->n_rows <= packed_few_rows(format_##name, ORIBI_ISA_I8MM)) {                                \
      oribi_matmul_##name##_dotprod(args);                                                            \
    } else {                                                                                          \
      matmul_tiles(a, &tiles);                                                                        \
    }                                                                                                 \
  }
PACKED_FORMATS(MATMUL_CODES)
