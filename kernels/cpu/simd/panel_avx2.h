/* panel_avx2.h - 8 of the 16 rows of a packed panel as one vector: AVX2, FMA and F16C.
 *
 * The same names as panel_avx512.h, so that the loops over them are written once (matmul/tile.h). How codes meet activations
 * is another header's: dot_avx2.h, or dot_avxvnni.h. */
#ifndef ORIBI_SIMD_PANEL_AVX2_H
#define ORIBI_SIMD_PANEL_AVX2_H

#include <immintrin.h>

#include "../packed.h"
#include "inline.h"

enum { LANES = 8 };

typedef __m256i vint;
typedef __m256 vfloat;

ORIBI_INLINE vint v_load(const uint8_t *p) { return _mm256_loadu_si256((const void *)p); }
ORIBI_INLINE vint v_set1(int32_t x) { return _mm256_set1_epi32(x); }
ORIBI_INLINE vint v_or(vint a, vint b) { return _mm256_or_si256(a, b); }

/* (v >> n, or << -n) with only the bits of `mask` kept in every byte; bits that cross bytes must be masked out. */
ORIBI_INLINE vint v_shift_mask(vint v, int n, int mask) {
  if (n > 0) v = _mm256_srli_epi16(v, n);
  if (n < 0) v = _mm256_slli_epi16(v, -n);
  return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* table[index] + offset for every byte, index 0..15. */
ORIBI_INLINE vint v_look_up(const int8_t *table, int offset, vint index) {
  const __m128i values = _mm_add_epi8(_mm_loadu_si128((const void *)table), _mm_set1_epi8((char)offset));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), index);
}

ORIBI_INLINE vfloat v_zero(void) { return _mm256_setzero_ps(); }
ORIBI_INLINE vfloat v_set1_f32(float x) { return _mm256_set1_ps(x); }
ORIBI_INLINE vfloat v_mul(vfloat a, vfloat b) { return _mm256_mul_ps(a, b); }
ORIBI_INLINE vfloat v_fma(vfloat a, vfloat b, vfloat c) { return _mm256_fmadd_ps(a, b, c); }
ORIBI_INLINE vfloat v_negate(vfloat a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
ORIBI_INLINE vfloat v_f32_of_i32(vint v) { return _mm256_cvtepi32_ps(v); }
ORIBI_INLINE void v_store_f32(float *p, vfloat v) { _mm256_storeu_ps(p, v); }

/* Vectors of 8 elements at p. */
ORIBI_INLINE vfloat v_load_f32(const uint8_t *p) { return _mm256_loadu_ps((const float *)p); }
ORIBI_INLINE vfloat v_load_f16(const uint8_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p)); }
ORIBI_INLINE vint v_load_i8(const uint8_t *p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p)); }
ORIBI_INLINE vint v_load_u8(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p)); }
ORIBI_INLINE vint v_and_i32(vint v, int32_t mask) { return _mm256_and_si256(v, _mm256_set1_epi32(mask)); }
ORIBI_INLINE vint v_shift_right_i32(vint v, int n) { return _mm256_srli_epi32(v, n); }
ORIBI_INLINE vfloat v_load_bf16(const uint8_t *p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
}

/* 2^(e - 128); see f32_of_e8m0_half. */
ORIBI_INLINE vfloat v_load_e8m0_half(const uint8_t *p) {
  const vint e = v_load_u8(p), one = v_set1(1);
  const vint normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
  const vint small = _mm256_sllv_epi32(v_set1(0x00200000), e);
  return _mm256_castsi256_ps(_mm256_blendv_epi8(small, normal, _mm256_cmpgt_epi32(e, one)));
}

#endif
