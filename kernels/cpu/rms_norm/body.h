/* Root-mean-square norm (Zhang and Sennrich 2019) of each row:
 *
 *   sum  = sum of x_i^2: lane i % 16 takes element i by fma in order of i; the lanes fold as 8 + 8, 4 + 4, 2 + 2, 1 + 1
 *   inv  = 1 / sqrt(sum / n + eps)
 *   y_i  = (x_i * inv) * weight_i
 *
 * every step rounded to float32 on its own. The sum is one chain of n / 16 fused steps: 150 cycles at n = 576, beside
 * which two more accumulators would not be seen. */
#include <math.h>

#include "../../oribi_kernels.h"

static float inverse_rms(const float *x, uint32_t n, float eps) {
  v16 sum = v16_set1(0.0f);
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const v16 v = v16_load(x + i);
    sum = v16_fma(v, v, sum);
  }
  if (i < n) {
    const v16 v = v16_load_n(x + i, n - i);
    sum = v16_fma(v, v, sum);
  }
  return 1.0f / sqrtf(v16_sum(sum) / (float)n + eps);
}

void V16_FN(oribi_rms_norm)(const void *args);

void V16_FN(oribi_rms_norm)(const void *args) {
  const oribi_rms_norm_args *a = args;
  for (uint32_t row = 0; row < a->n_rows; row++) {
    const float *x = a->x + row * a->x_stride;
    float *y = a->y + row * a->y_stride;
    const v16 inv = v16_set1(inverse_rms(x, a->n, a->eps));
    uint32_t i = 0;
    for (; i + 16 <= a->n; i += 16) {
      v16 v = v16_mul(v16_load(x + i), inv);
      if (a->weight) v = v16_mul(v, v16_load(a->weight + i));
      v16_store(y + i, v);
    }
    if (i < a->n) {
      const uint32_t n = a->n - i;
      v16 v = v16_mul(v16_load_n(x + i, n), inv);
      if (a->weight) v = v16_mul(v, v16_load_n(a->weight + i, n));
      v16_store_n(y + i, v, n);
    }
  }
}
