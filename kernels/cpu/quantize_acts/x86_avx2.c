/* quantize_acts for AVX2: codes as 16-bit pairs. */
#include "group_avx2.h"

ORIBI_INLINE void group_codes(const float *x, float inverse, uint8_t *codes, int32_t *sums) {
  for (int half = 0; half < 2; half++) {
    const __m256i in_order = half_codes(x + ORIBI_HALF_GROUP_LEN * half, _mm256_set1_ps(inverse));
    const __m256i low_swapped = _mm256_shufflelo_epi16(in_order, _MM_SHUFFLE(3, 1, 2, 0));
    const __m256i swapped = _mm256_shufflehi_epi16(low_swapped, _MM_SHUFFLE(3, 1, 2, 0));
    _mm256_storeu_si256((void *)(codes + 32 * half), swapped);
    sums[half] = sum_of_codes(in_order);
  }
}

void oribi_quantize_acts_pairs_avx2(const void *);
void oribi_quantize_acts_pairs_avx2(const void *args) { quantize_rows(args); }
