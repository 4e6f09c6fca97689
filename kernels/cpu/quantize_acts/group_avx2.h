/* group_avx2.h - what AVX2's quantizers of both layouts share. */
#ifndef ORIBI_QUANTIZE_ACTS_GROUP_AVX2_H
#define ORIBI_QUANTIZE_ACTS_GROUP_AVX2_H

#include <immintrin.h>

#include "body.h"

ORIBI_INLINE __m256i load_magnitude(const float *x) {
  return _mm256_and_si256(_mm256_loadu_si256((const void *)x), _mm256_set1_epi32(0x7fffffff));
}

ORIBI_INLINE uint32_t group_magnitude(const float *x) {
  const __m256i m8 = _mm256_max_epu32(_mm256_max_epu32(load_magnitude(x), load_magnitude(x + 8)),
                                      _mm256_max_epu32(load_magnitude(x + 16), load_magnitude(x + 24)));
  const __m128i m4 = _mm_max_epu32(_mm256_castsi256_si128(m8), _mm256_extracti128_si256(m8, 1));
  const __m128i m2 = _mm_max_epu32(m4, _mm_shuffle_epi32(m4, _MM_SHUFFLE(1, 0, 3, 2)));
  const __m128i m1 = _mm_max_epu32(m2, _mm_shuffle_epi32(m2, _MM_SHUFFLE(2, 3, 0, 1)));
  return (uint32_t)_mm_cvtsi128_si32(m1);
}

/* 16 codes in order of k. */
ORIBI_INLINE __m256i half_codes(const float *x, __m256 inverse) {
  enum { rne = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
  const __m256i low = _mm256_cvtps_epi32(_mm256_round_ps(_mm256_mul_ps(_mm256_loadu_ps(x), inverse), rne));
  const __m256i high = _mm256_cvtps_epi32(_mm256_round_ps(_mm256_mul_ps(_mm256_loadu_ps(x + 8), inverse), rne));
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), _MM_SHUFFLE(3, 1, 2, 0));
}

ORIBI_INLINE int32_t sum_of_codes(__m256i codes) {
  const __m256i s8 = _mm256_madd_epi16(codes, _mm256_set1_epi16(1));
  const __m128i s4 = _mm_add_epi32(_mm256_castsi256_si128(s8), _mm256_extracti128_si256(s8, 1));
  const __m128i s2 = _mm_add_epi32(s4, _mm_shuffle_epi32(s4, _MM_SHUFFLE(1, 0, 3, 2)));
  return _mm_cvtsi128_si32(_mm_add_epi32(s2, _mm_shuffle_epi32(s2, _MM_SHUFFLE(2, 3, 0, 1))));
}

#endif
