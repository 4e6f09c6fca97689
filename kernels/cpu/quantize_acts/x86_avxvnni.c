/* quantize_acts for AVX-VNNI: codes as byte planes, by AVX2's instructions. */
#include "group_avx2.h"

/* Each byte of 32 16-bit numbers that fit one, in order. */
ORIBI_INLINE __m256i bytes_in_order(__m256i first, __m256i second) {
  return _mm256_permute4x64_epi64(_mm256_packs_epi16(first, second), _MM_SHUFFLE(3, 1, 2, 0));
}

/* A code's low byte, as a signed number, and the rest of it. */
ORIBI_INLINE __m256i low_byte(__m256i code) { return _mm256_srai_epi16(_mm256_slli_epi16(code, 8), 8); }
ORIBI_INLINE __m256i high_byte(__m256i code) {
  return _mm256_srai_epi16(_mm256_add_epi16(code, _mm256_set1_epi16(128)), 8);
}

ORIBI_INLINE void group_codes(const float *x, float inverse, uint8_t *codes, int32_t *sums) {
  const __m256i first = half_codes(x, _mm256_set1_ps(inverse));
  const __m256i second = half_codes(x + ORIBI_HALF_GROUP_LEN, _mm256_set1_ps(inverse));
  _mm256_storeu_si256((void *)codes, bytes_in_order(high_byte(first), high_byte(second)));
  _mm256_storeu_si256((void *)(codes + ORIBI_GROUP_LEN), bytes_in_order(low_byte(first), low_byte(second)));
  sums[0] = sum_of_codes(first);
  sums[1] = sum_of_codes(second);
}

void oribi_quantize_acts_planes_avxvnni(const void *);
void oribi_quantize_acts_planes_avxvnni(const void *args) { quantize_rows(args); }
