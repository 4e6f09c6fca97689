/* quantize_acts for AVX-512 with BF16: bfloat16, for native numerics. */
#include <immintrin.h>

#include "bf16_tiles.h"

void oribi_quantize_acts_bf16_avx512bf16(const void *);
void oribi_quantize_acts_bf16_avx512bf16(const void *args) {
  const oribi_quantize_acts_args *a = args;
  for (size_t r = 0; r < a->n_rows; r++) {
    const float *group = a->x + r * a->x_stride;
    for (size_t g = a->begin / ORIBI_GROUP_LEN; g < a->end / ORIBI_GROUP_LEN; g++, group += ORIBI_GROUP_LEN) {
      const __m512 low = _mm512_loadu_ps(group), high = _mm512_loadu_ps(group + ORIBI_GROUP_LEN / 2);
      _mm512_storeu_si512(bf16_group(a, r, g), (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
  }
}
