/* quantize_acts for AVX-512: codes as byte planes. */
#include <immintrin.h>

#include "body.h"

ORIBI_INLINE uint32_t group_magnitude(const float *x) {
  const __m512i mask = _mm512_set1_epi32(0x7fffffff);
  const __m512i low = _mm512_and_si512(_mm512_loadu_si512(x), mask);
  const __m512i high = _mm512_and_si512(_mm512_loadu_si512(x + 16), mask);
  return _mm512_reduce_max_epu32(_mm512_max_epu32(low, high));
}

/* The high byte of a code is (code + 128) >> 8, its low byte the code's lowest byte. */
ORIBI_INLINE void group_codes(const float *x, float inverse, uint8_t *codes, int32_t *sums) {
  for (int half = 0; half < 2; half++) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + 16 * half), _mm512_set1_ps(inverse));
    const __m512i code = _mm512_cvt_roundps_epi32(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(code, _mm512_set1_epi32(128)), 8);
    _mm_storeu_si128((void *)(codes + 16 * half), _mm512_cvtepi32_epi8(high));
    _mm_storeu_si128((void *)(codes + 32 + 16 * half), _mm512_cvtepi32_epi8(code));
    sums[half] = _mm512_reduce_add_epi32(code);
  }
}

void oribi_quantize_acts_planes_avx512(const void *);
void oribi_quantize_acts_planes_avx512(const void *args) { quantize_rows(args); }
