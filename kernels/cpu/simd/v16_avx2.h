/* v16_avx2.h - the 16-lane vector as two ymm registers; v16_scalar.h says what each function means. Needs AVX2, FMA and
 * F16C. */
#ifndef ORIBI_V16_H
#define ORIBI_V16_H

#include <immintrin.h>
#include <stdint.h>

#include "inline.h"
#include "scalar.h"

#define V16_INLINE ORIBI_INLINE
#define V16_FN(name) name##_avx2

typedef struct {
  __m256 low, high; /* lanes 0..7 and 8..15 */
} v16;
typedef v16 m16; /* all ones in a lane that is set */

/* Vectors of ones for lane < n, the form that maskload wants. */
V16_INLINE __m256i lanes_below(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

V16_INLINE v16 v16_load(const float *p) { return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }

V16_INLINE void v16_store(float *p, v16 x) {
  _mm256_storeu_ps(p, x.low);
  _mm256_storeu_ps(p + 8, x.high);
}

V16_INLINE v16 v16_load_n(const float *p, uint32_t n) {
  return (v16){_mm256_maskload_ps(p, lanes_below((int)n)), _mm256_maskload_ps(p + 8, lanes_below((int)n - 8))};
}

V16_INLINE void v16_store_n(float *p, v16 x, uint32_t n) {
  _mm256_maskstore_ps(p, lanes_below((int)n), x.low);
  _mm256_maskstore_ps(p + 8, lanes_below((int)n - 8), x.high);
}

V16_INLINE v16 v16_load_f16(const uint16_t *p) {
  return (v16){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
               _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}

V16_INLINE void v16_store_f16(uint16_t *p, v16 x) {
  _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

V16_INLINE v16 f32_of_i8(__m128i codes) {
  return (v16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)),
               _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(codes, codes)))};
}

V16_INLINE v16 v16_load_u8_scaled(const uint8_t *p, v16 scale) {
  const __m128i codes = _mm_xor_si128(_mm_loadu_si128((const __m128i *)p), _mm_set1_epi8((char)0x80));
  const v16 x = f32_of_i8(codes);
  return (v16){_mm256_mul_ps(x.low, scale.low), _mm256_mul_ps(x.high, scale.high)};
}

V16_INLINE v16 f32_of_codes4(__m128i codes) {
  return f32_of_i8(_mm_sub_epi8(_mm_and_si128(codes, _mm_set1_epi8(15)), _mm_set1_epi8(8)));
}

V16_INLINE void v16_load_u4(const uint8_t *p, v16 *low, v16 *high) {
  const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
  *low = f32_of_codes4(bytes);
  *high = f32_of_codes4(_mm_srli_epi16(bytes, 4));
}

/* Asks for the cache line of p; any address will do. */
V16_INLINE void v16_prefetch(const char *p) { _mm_prefetch(p, _MM_HINT_T0); }

/* a and b hold 8 elements each in order; shuffling by 128-bit halves leaves the 64-bit quarters as 0, 2, 1, 3. */
V16_INLINE __m256 every_other(__m256 a, __m256 b, int odd) {
  const __m256 mixed = odd ? _mm256_shuffle_ps(a, b, 0xdd) : _mm256_shuffle_ps(a, b, 0x88);
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8));
}

V16_INLINE void v16_load_pairs(const float *p, v16 *even, v16 *odd) {
  const v16 a = v16_load(p), b = v16_load(p + 16);
  *even = (v16){every_other(a.low, a.high, 0), every_other(b.low, b.high, 0)};
  *odd = (v16){every_other(a.low, a.high, 1), every_other(b.low, b.high, 1)};
}

V16_INLINE v16 zip8(__m256 even, __m256 odd) {
  const __m256 a = _mm256_unpacklo_ps(even, odd), b = _mm256_unpackhi_ps(even, odd);
  return (v16){_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)};
}

V16_INLINE void v16_store_pairs(float *p, v16 even, v16 odd) {
  v16_store(p, zip8(even.low, odd.low));
  v16_store(p + 16, zip8(even.high, odd.high));
}

V16_INLINE v16 v16_set1(float x) { return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }

#define V16_HALVES(name, intrinsic) \
  V16_INLINE v16 name(v16 a, v16 b) { return (v16){intrinsic(a.low, b.low), intrinsic(a.high, b.high)}; }

V16_HALVES(v16_add, _mm256_add_ps)
V16_HALVES(v16_sub, _mm256_sub_ps)
V16_HALVES(v16_mul, _mm256_mul_ps)
V16_HALVES(v16_div, _mm256_div_ps)
V16_HALVES(v16_max, _mm256_max_ps)
V16_HALVES(v16_and, _mm256_and_ps)
V16_HALVES(v16_or, _mm256_or_ps)
V16_HALVES(v16_andnot, _mm256_andnot_ps)

V16_INLINE v16 v16_abs(v16 a) { return v16_andnot(v16_set1(-0.0f), a); }

V16_INLINE v16 v16_copysign(v16 a, v16 b) { return v16_or(v16_abs(a), v16_and(v16_set1(-0.0f), b)); }

V16_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
  return (v16){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

V16_INLINE v16 v16_fnma(v16 a, v16 b, v16 c) {
  return (v16){_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}

V16_INLINE __m256 raise_exponent8(__m256 x, __m256 t) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}
V16_HALVES(v16_raise_exponent, raise_exponent8)

V16_INLINE m16 v16_less(v16 a, v16 b) {
  return (m16){_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)};
}

V16_INLINE m16 v16_is_nan(v16 a) {
  return (m16){_mm256_cmp_ps(a.low, a.low, _CMP_UNORD_Q), _mm256_cmp_ps(a.high, a.high, _CMP_UNORD_Q)};
}

V16_INLINE __m256 lanes_between(int begin, int end) {
  return _mm256_castsi256_ps(_mm256_andnot_si256(lanes_below(begin), lanes_below(end)));
}

V16_INLINE m16 m16_range(int begin, int end) {
  return (m16){lanes_between(begin, end), lanes_between(begin - 8, end - 8)};
}

V16_INLINE v16 v16_select(m16 m, v16 yes, v16 no) {
  return (v16){_mm256_blendv_ps(no.low, yes.low, m.low), _mm256_blendv_ps(no.high, yes.high, m.high)};
}

V16_INLINE float v16_sum(v16 x) {
  const __m256 s8 = _mm256_add_ps(x.low, x.high);
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

V16_INLINE float v16_max_lane(v16 x) {
  const __m256 m8 = _mm256_max_ps(x.low, x.high);
  const __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
  const __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
  return _mm_cvtss_f32(_mm_max_ss(m2, _mm_movehdup_ps(m2)));
}

V16_INLINE float v16_first(v16 x) { return _mm256_cvtss_f32(x.low); }

#endif
