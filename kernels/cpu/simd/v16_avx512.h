/* v16_avx512.h - the 16-lane vector as one zmm register; v16_scalar.h says what each function means. */
#ifndef ORIBI_V16_H
#define ORIBI_V16_H

#include <immintrin.h>
#include <stdint.h>

#include "inline.h"
#include "scalar.h"

#define V16_INLINE ORIBI_INLINE
#define V16_FN(name) name##_avx512

typedef __m512 v16;
typedef __mmask16 m16;

V16_INLINE m16 m16_first(uint32_t n) { return (m16)((1u << n) - 1); }

V16_INLINE v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
V16_INLINE void v16_store(float *p, v16 x) { _mm512_storeu_ps(p, x); }
V16_INLINE v16 v16_load_n(const float *p, uint32_t n) { return _mm512_maskz_loadu_ps(m16_first(n), p); }
V16_INLINE void v16_store_n(float *p, v16 x, uint32_t n) { _mm512_mask_storeu_ps(p, m16_first(n), x); }

V16_INLINE v16 v16_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }

V16_INLINE void v16_store_f16(uint16_t *p, v16 x) {
  _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* Bytes shuffled into the second place of 0x47000000 are 32768 + p; the product with the scale less 32896 * scale is exact,
 * and one operation less than to convert and multiply. */
V16_INLINE v16 v16_load_u8_scaled(const uint8_t *p, v16 scale) {
  const __m512i place = _mm512_set_epi32(0x0f00, 0x0e00, 0x0d00, 0x0c00, 0x0b00, 0x0a00, 0x0900, 0x0800, 0x0700, 0x0600,
                                         0x0500, 0x0400, 0x0300, 0x0200, 0x0100, 0x0000);
  const __m512i bytes = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
  const __m512i above = _mm512_mask_shuffle_epi8(_mm512_set1_epi32(0x47000000), 0x2222222222222222u, bytes, place);
  return _mm512_fmadd_ps(_mm512_castsi512_ps(above), scale, _mm512_mul_ps(scale, _mm512_set1_ps(-32896.0f)));
}

/* The permutation looks at the low four bits of every index. */
V16_INLINE void v16_load_u4(const uint8_t *p, v16 *low, v16 *high) {
  const v16 values = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
  *low = _mm512_permutexvar_ps(bytes, values);
  *high = _mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), values);
}

/* Asks for the cache line of p; any address will do. */
V16_INLINE void v16_prefetch(const char *p) { _mm_prefetch(p, _MM_HINT_T1); }

V16_INLINE void v16_load_pairs(const float *p, v16 *even, v16 *odd) {
  const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  const v16 a = v16_load(p), b = v16_load(p + 16);
  *even = _mm512_permutex2var_ps(a, evens, b);
  *odd = _mm512_permutex2var_ps(a, odds, b);
}

V16_INLINE void v16_store_pairs(float *p, v16 even, v16 odd) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  v16_store(p, _mm512_permutex2var_ps(even, low, odd));
  v16_store(p + 16, _mm512_permutex2var_ps(even, high, odd));
}

V16_INLINE v16 v16_set1(float x) { return _mm512_set1_ps(x); }
V16_INLINE v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
V16_INLINE v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
V16_INLINE v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
V16_INLINE v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
V16_INLINE v16 v16_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
V16_INLINE v16 v16_abs(v16 a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
V16_INLINE v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
V16_INLINE v16 v16_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); }

V16_INLINE v16 v16_copysign(v16 a, v16 b) {
  const v16 sign = _mm512_set1_ps(-0.0f);
  return _mm512_or_ps(_mm512_andnot_ps(sign, a), _mm512_and_ps(sign, b));
}

V16_INLINE v16 v16_raise_exponent(v16 x, v16 t) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_castps_si512(t), 23)));
}

V16_INLINE m16 v16_less(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
V16_INLINE m16 v16_is_nan(v16 a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
V16_INLINE v16 v16_select(m16 m, v16 yes, v16 no) { return _mm512_mask_blend_ps(m, no, yes); }

V16_INLINE m16 m16_range(int begin, int end) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_mask_cmplt_epi32_mask(_mm512_cmpge_epi32_mask(lane, _mm512_set1_epi32(begin)), lane,
                                      _mm512_set1_epi32(end));
}

V16_INLINE __m256 v16_low(v16 x) { return _mm512_castps512_ps256(x); }
V16_INLINE __m256 v16_high(v16 x) { return _mm512_extractf32x8_ps(x, 1); }

V16_INLINE float v16_sum(v16 x) {
  const __m256 s8 = _mm256_add_ps(v16_low(x), v16_high(x));
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

V16_INLINE float v16_max_lane(v16 x) {
  const __m256 m8 = _mm256_max_ps(v16_low(x), v16_high(x));
  const __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
  const __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
  return _mm_cvtss_f32(_mm_max_ss(m2, _mm_movehdup_ps(m2)));
}

V16_INLINE float v16_first(v16 x) { return _mm512_cvtss_f32(x); }

#endif
