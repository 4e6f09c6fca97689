/* Merge of a row's attention states, in order of position:
 *
 *   m = the largest of the maxima;  w_s = exp(m_s - m)
 *   l = fma(w_s, l_s, l) and y_d = fma(w_s, acc_sd, y_d), from 0, over the splits whose m_s is not -infinity, in order
 *   y_d = y_d / l
 *
 * A row that saw nothing in any split has no value: NaN (0 / 0). */
#include <math.h>

#include "../../oribi_kernels.h"
#include "../simd/v16_math.h"

void V16_FN(oribi_attention_merge)(const void *args);

void V16_FN(oribi_attention_merge)(const void *args) {
  const oribi_attention_merge_args *a = args;
  float max = -INFINITY;
  for (uint32_t s = 0; s < a->n_splits; s++) {
    const float split_max = a->states[s * a->state_stride];
    max = max > split_max ? max : split_max;
  }
  float sum = 0.0f;
  for (uint32_t d = 0; d < a->head_dim; d += 16) {
    v16_store_n(a->y + d, v16_set1(0.0f), a->head_dim - d < 16 ? a->head_dim - d : 16);
  }
  for (uint32_t s = 0; s < a->n_splits; s++) {
    const float *state = a->states + s * a->state_stride;
    if (state[0] == -INFINITY) continue;
    const v16 weight = v16_exp(v16_set1(state[0] - max));
    sum = v16_first(v16_fma(weight, v16_set1(state[1]), v16_set1(sum)));
    for (uint32_t d = 0; d < a->head_dim; d += 16) {
      const uint32_t n = a->head_dim - d < 16 ? a->head_dim - d : 16;
      const v16 acc = v16_load_n(state + ORIBI_STATE_HEADER + d, n);
      v16_store_n(a->y + d, v16_fma(weight, acc, v16_load_n(a->y + d, n)), n);
    }
  }
  for (uint32_t d = 0; d < a->head_dim; d += 16) {
    const uint32_t n = a->head_dim - d < 16 ? a->head_dim - d : 16;
    v16_store_n(a->y + d, v16_div(v16_load_n(a->y + d, n), v16_set1(sum)), n);
  }
}
