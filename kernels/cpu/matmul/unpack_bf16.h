/* unpack_bf16.h - 32 inputs of a packed panel as the bfloat16 tile that TDPBF16PS takes for its second operand, and whose rows
 * are operands of VDPBF16PS: tile row i holds the inputs 2i and 2i + 1 of all 16 output rows, a pair to each 32-bit lane. Also
 * the kernels' entries, for a product that the including file defines.
 *
 * A weight is the file's: s * q rounded to float32, + m rounded, then to bfloat16, to nearest even, a denormal to zero. The
 * sign of a zero, which no sum of products can show, may differ; and where s is infinite the weights may all be NaN.
 *
 * 1. The codes of a step are bytes 4 * row + i. A byte permutation puts those of 8 rows and two inputs into the 16 lanes of a
 *    float vector; two such vectors convert to one tile row, in order.
 * 2. The permutation drops the bytes into the fraction of a constant float, so that a code c arrives as 2^e + c, exactly.
 * 3. Where s has few enough bits for s * (2^e + offset) to be exact, one FMA takes both away: s * (2^e + c) - s * (2^e +
 *    offset) = s * q. It is exact, so it is s * q rounded. Elsewhere the subtraction comes first. */
#ifndef ORIBI_MATMUL_UNPACK_BF16_H
#define ORIBI_MATMUL_UNPACK_BF16_H

#include "../simd/panel_avx512.h"
#include "read.h"

enum {
  PAIRS = GROUP / 2,
  TILE_BYTES = PAIRS * LINE,
  PREFETCH_AHEAD = 1024, /* bytes of a panel: parts of it are read in turn, too short for the CPU to see the streams */
};

/* The n_bytes at PREFETCH_AHEAD from p; past the end of the tensor it is harmless. */
ORIBI_INLINE void prefetch(const uint8_t *p, size_t n_bytes) {
  const uintptr_t ahead = (uintptr_t)p + PREFETCH_AHEAD;
  ORIBI_UNROLL for (size_t i = 0; i < n_bytes; i += LINE) _mm_prefetch((const char *)(ahead + i), _MM_HINT_T0);
}

/* ---- codes and scales --------------------------------------------------------------------------------------------- */

/* Whether codes need all 8 bits of a byte; the others leave the top one free. */
ORIBI_INLINE int codes_are_wide(packed_format f) { return f.q_bits == 8 || f.table == TABLE_IQ4; }

/* 2^e: the unit of the last place of the code's byte is 1. A byte at bit 16 must not reach the exponent. */
ORIBI_INLINE float code_base(packed_format f) { return codes_are_wide(f) ? 32768.0f : 128.0f; }

/* Whether s * (2^e + offset) is exact: significant bits of s and of the sum are at most 11 and 9 (float16 scales), 17 and 6
 * (Q3_K), 18 and 3 (Q6_K), 16 and 8 (IQ3_S); and it stays in range. */
ORIBI_INLINE int folds_offset(packed_format f) {
  return f.scale == SCALE_F16 || (f.scale == SCALE_I8 && !codes_are_wide(f));
}

/* The byte permutation of 1, for half `half` of the rows and pair `pair` of a step, its bytes at `at` in their lanes: lanes
 * 2r and 2r + 1 take bytes 4r + 2 * pair and the next of a half's 32 bytes. */
#define LANE(r, first, at) [8 * (r) + (at)] = 4 * (r) + (first), [8 * (r) + 4 + (at)] = 4 * (r) + (first) + 1
#define LANES_AT(at, first)                                                                                       \
  {LANE(0, first, at), LANE(1, first, at), LANE(2, first, at), LANE(3, first, at), LANE(4, first, at), LANE(5, first, at), \
   LANE(6, first, at), LANE(7, first, at)}
#define PERMUTATIONS(at) {{LANES_AT(at, 0), LANES_AT(at, 2)}, {LANES_AT(at, 32), LANES_AT(at, 34)}}
ORIBI_ALIGN64 static const uint8_t narrow_lanes[2][2][64] = PERMUTATIONS(2);
ORIBI_ALIGN64 static const uint8_t wide_lanes[2][2][64] = PERMUTATIONS(1);
#undef PERMUTATIONS
#undef LANES_AT
#undef LANE

/* Rows 8 * half .. + 7, each in two lanes. */
ORIBI_INLINE vfloat twice(vfloat v, int half) {
  const vint low = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return _mm512_permutexvar_ps(_mm512_add_epi32(low, v_set1(8 * half)), v);
}

/* What turns 2^e + c into the weight: w = (x - base) * s + m. */
typedef struct {
  vfloat s[2], m[2]; /* by half of the rows */
} lane_scales;

ORIBI_INLINE lane_scales read_lane_scales(packed_format f, const uint8_t *block, const uint8_t *group, int part) {
  vscales v = read_scales(f, block, group, part, 0);
  if (folds_offset(f)) v.m = v_negate(v_mul(v.s, v_set1_f32(code_base(f) + f.offset)));
  lane_scales lanes;
  ORIBI_UNROLL for (int half = 0; half < 2; half++) {
    lanes.s[half] = twice(v.s, half);
    lanes.m[half] = twice(v.m, half);
  }
  return lanes;
}

/* 16 weights from codes that were put into lanes. */
ORIBI_INLINE vfloat weights_of(packed_format f, vint lanes, const lane_scales *scales, int half) {
  vfloat x = _mm512_castsi512_ps(lanes);
  if (!folds_offset(f)) x = _mm512_sub_ps(x, v_set1_f32(code_base(f) + f.offset));
  if (!folds_offset(f) && !packed_has_min(f)) return v_mul(x, scales->s[half]);
  return v_fma(x, scales->s[half], scales->m[half]); /* s * q is exact in the formats with a minimum */
}

ORIBI_INLINE void store_tile_row(uint8_t *tile, int pair, vfloat low, vfloat high) {
  _mm512_storeu_si512(tile + pair * LINE, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

ORIBI_INLINE void unpack_codes(packed_format f, const uint8_t *panel, uint32_t g, uint8_t *tile) {
  const uint8_t *block = panel + (size_t)(g / f.n_groups) * f.packed_bytes;
  const uint8_t *group = block + f.groups_at + (size_t)(g % f.n_groups) * f.group_bytes;
  const vint base = _mm512_castps_si512(v_set1_f32(code_base(f)));
  const __mmask64 at = codes_are_wide(f) ? 0x2222222222222222u : 0x4444444444444444u;
  lane_scales scales = read_lane_scales(f, block, group, 0);
  prefetch(group, f.n_groups == 1 ? f.packed_bytes : f.group_bytes);
  ORIBI_UNROLL for (int t = 0; t < STEPS; t++) {
    if (f.n_scales == 2 && t == STEPS / 2) scales = read_lane_scales(f, block, group, 1);
    const vint codes = read_codes(f, group, t, 0);
    ORIBI_UNROLL for (int pair = 0; pair < 2; pair++) {
      vfloat w[2];
      ORIBI_UNROLL for (int half = 0; half < 2; half++) {
        const vint lanes = v_load(codes_are_wide(f) ? wide_lanes[half][pair] : narrow_lanes[half][pair]);
        w[half] = weights_of(f, _mm512_mask_permutexvar_epi8(base, at, lanes, codes), &scales, half);
      }
      store_tile_row(tile, 2 * t + pair, w[0], w[1]);
    }
  }
}

/* ---- float weights ------------------------------------------------------------------------------------------------ */

/* Words 0..15 and 16..31 in turn: two inputs of 16 rows as pairs. */
ORIBI_INLINE void store_pairs(uint8_t *tile, int pair, vint words) {
  ORIBI_ALIGN64 static const uint16_t in_turn[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  _mm512_storeu_si512(tile + pair * LINE, _mm512_permutexvar_epi16(_mm512_load_si512(in_turn), words));
}

ORIBI_INLINE void unpack_f32(const uint8_t *panel, uint32_t g, uint8_t *tile) {
  const uint8_t *p = panel + (size_t)g * GROUP * ROWS * 4;
  ORIBI_UNROLL for (int pair = 0; pair < PAIRS; pair++, p += 2 * LINE) {
    prefetch(p, 2 * LINE);
    store_pairs(tile, pair, (vint)_mm512_cvtne2ps_pbh(v_load_f32(p + LINE), v_load_f32(p)));
  }
}

ORIBI_INLINE void unpack_f16(const uint8_t *panel, uint32_t g, uint8_t *tile) {
  const uint8_t *p = panel + (size_t)g * GROUP * ROWS * 2;
  ORIBI_UNROLL for (int pair = 0; pair < PAIRS; pair++, p += LINE) {
    prefetch(p, LINE);
    store_pairs(tile, pair, (vint)_mm512_cvtne2ps_pbh(v_load_f16(p + LINE / 2), v_load_f16(p)));
  }
}

ORIBI_INLINE void unpack_bf16(const uint8_t *panel, uint32_t g, uint8_t *tile) {
  const uint8_t *p = panel + (size_t)g * GROUP * ROWS * 2;
  ORIBI_UNROLL for (int pair = 0; pair < PAIRS; pair++, p += LINE) {
    prefetch(p, LINE);
    store_pairs(tile, pair, v_load(p));
  }
}

/* ---- kernels ------------------------------------------------------------------------------------------------------ */

/* Unpacks group g of a panel to a tile. */
typedef void (*unpack_fn)(const uint8_t *panel, uint32_t g, uint8_t *tile);

/* The product of all formats, which the including file defines. */
static void matmul_bf16(const oribi_matmul_args *a, unpack_fn unpack, size_t panel_bytes);

#define KERNEL_OF_UNPACK(symbol, name, unpack, bytes_of_panel)                            \
  static void tile_of_##name(const uint8_t *panel, uint32_t g, uint8_t *tile) { unpack; } \
  void symbol(const void *);                                                              \
  void symbol(const void *args) {                                                         \
    const oribi_matmul_args *a = args;                                                    \
    matmul_bf16(a, tile_of_##name, bytes_of_panel);                                       \
  }
#define KERNEL_OF_CODES(symbol, name)                                                  \
  KERNEL_OF_UNPACK(symbol, name, unpack_codes(format_##name, panel, g, tile),          \
                   (size_t)(a->k / format_##name.block_len) * format_##name.packed_bytes)
#define KERNELS_OF_FLOATS(symbol_of)                                                                 \
  KERNEL_OF_UNPACK(symbol_of(f32), f32, unpack_f32(panel, g, tile), (size_t)a->k * ROWS * 4)         \
  KERNEL_OF_UNPACK(symbol_of(f16), f16, unpack_f16(panel, g, tile), (size_t)a->k * ROWS * 2)         \
  KERNEL_OF_UNPACK(symbol_of(bf16), bf16, unpack_bf16(panel, g, tile), (size_t)a->k * ROWS * 2)

#endif
