/* quantize_acts for AMX: bfloat16, for native numerics. */
#include <immintrin.h>

#include "../../oribi_kernels.h"

void oribi_quantize_acts_bf16_amx(const void *);
void oribi_quantize_acts_bf16_amx(const void *args) {
  const oribi_quantize_acts_args *a = args;
  for (size_t r = 0; r < a->n_rows; r++) {
    const float *x = a->x + r * a->x_stride;
    uint8_t *acts = a->acts + r * a->acts_stride;
    for (size_t k = a->begin; k < a->end; k += ORIBI_GROUP_LEN) {
      const __m512 low = _mm512_loadu_ps(x + k), high = _mm512_loadu_ps(x + k + ORIBI_GROUP_LEN / 2);
      _mm512_storeu_si512(acts + 2 * k, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
  }
}
