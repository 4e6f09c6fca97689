/* panel_avx512.h - the 16 rows of a packed panel as one vector: AVX-512 F, BW, VL, DQ and VNNI.
 *
 * The same names as panel_avx2.h, so that the loops over them are written once (matmul/tile.h). */
#ifndef ORIBI_SIMD_PANEL_AVX512_H
#define ORIBI_SIMD_PANEL_AVX512_H

#include <immintrin.h>

#include "../packed.h"
#include "inline.h"

enum { LANES = 16 };

typedef __m512i vint;
typedef __m512 vfloat;

ORIBI_INLINE vint v_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
ORIBI_INLINE vint v_set1(int32_t x) { return _mm512_set1_epi32(x); }
ORIBI_INLINE vint v_or(vint a, vint b) { return _mm512_or_si512(a, b); }

/* (v >> n, or << -n) with only the bits of `mask` kept in every byte; bits that cross bytes must be masked out. */
ORIBI_INLINE vint v_shift_mask(vint v, int n, int mask) {
  if (n > 0) v = _mm512_srli_epi16(v, (unsigned)n);
  if (n < 0) v = _mm512_slli_epi16(v, (unsigned)-n);
  return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}

/* table[index] + offset for every byte, index 0..15. */
ORIBI_INLINE vint v_look_up(const int8_t *table, int offset, vint index) {
  const __m128i values = _mm_add_epi8(_mm_loadu_si128((const void *)table), _mm_set1_epi8((char)offset));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), index);
}

ORIBI_INLINE vfloat v_zero(void) { return _mm512_setzero_ps(); }
ORIBI_INLINE vfloat v_set1_f32(float x) { return _mm512_set1_ps(x); }
ORIBI_INLINE vfloat v_mul(vfloat a, vfloat b) { return _mm512_mul_ps(a, b); }
ORIBI_INLINE vfloat v_fma(vfloat a, vfloat b, vfloat c) { return _mm512_fmadd_ps(a, b, c); }
ORIBI_INLINE vfloat v_negate(vfloat a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
ORIBI_INLINE vfloat v_f32_of_i32(vint v) { return _mm512_cvtepi32_ps(v); }
ORIBI_INLINE void v_store_f32(float *p, vfloat v) { _mm512_storeu_ps(p, v); }

/* Vectors of 16 elements at p. */
ORIBI_INLINE vfloat v_load_f32(const uint8_t *p) { return _mm512_loadu_ps(p); }
ORIBI_INLINE vfloat v_load_f16(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }
ORIBI_INLINE vint v_load_i8(const uint8_t *p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)); }
ORIBI_INLINE vint v_load_u8(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)); }
ORIBI_INLINE vint v_and_i32(vint v, int32_t mask) { return _mm512_and_si512(v, _mm512_set1_epi32(mask)); }
ORIBI_INLINE vint v_shift_right_i32(vint v, unsigned n) { return _mm512_srli_epi32(v, n); }
ORIBI_INLINE vfloat v_load_bf16(const uint8_t *p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}

/* 2^(e - 128); see f32_of_e8m0_half. */
ORIBI_INLINE vfloat v_load_e8m0_half(const uint8_t *p) {
  const vint e = v_load_u8(p), one = v_set1(1);
  const vint normal = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
  const __mmask16 is_small = _mm512_cmple_epi32_mask(e, one);
  return _mm512_castsi512_ps(_mm512_mask_sllv_epi32(normal, is_small, v_set1(0x00200000), e));
}

/* ---- sums of codes times activations ---- */

ORIBI_INLINE vint v_dot_bytes(vint sum, vint codes, vint acts) { return _mm512_dpbusd_epi32(sum, codes, acts); }
ORIBI_INLINE vint v_join_planes(vint high, vint low) { return _mm512_add_epi32(_mm512_slli_epi32(high, 8), low); }

#include "dot_vnni.h"

#endif
