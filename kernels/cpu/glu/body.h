/* Gated linear unit (Shazeer 2020): y = act(gate) * up, with
 *
 *   SiLU       act(g) = g / (1 + exp(-g))
 *   tanh-GELU  act(g) = g / (1 + exp(-t)), t = g * fma(g * g, 2 c * 0.044715, 2 c), c = sqrt(2 / pi)
 *
 * The second is g / 2 * (1 + tanh(t / 2)) in another form, without the cancellation at negative g. A gate of -infinity
 * gives NaN; far below zero both are -0. */
#include "../../oribi_kernels.h"
#include "../simd/v16_math.h"

#define GELU_LINEAR 0x1.988454p+0f /* 2 sqrt(2 / pi) */
#define GELU_CUBIC 0x1.2444f2p-4f  /* 2 sqrt(2 / pi) * 0.044715 */

V16_INLINE v16 silu(v16 g) { return v16_mul_sigmoid(g, g); }

V16_INLINE v16 gelu_tanh(v16 g) {
  const v16 slope = v16_fma(v16_mul(g, g), v16_set1(GELU_CUBIC), v16_set1(GELU_LINEAR));
  return v16_mul_sigmoid(g, v16_mul(g, slope));
}

#define GLU_ROW(act)                                                               \
  {                                                                                \
    uint32_t i = 0;                                                                \
    for (; i + 16 <= a->n; i += 16) {                                              \
      v16_store(a->y + i, v16_mul(act(v16_load(a->gate + i)), v16_load(a->up + i))); \
    }                                                                              \
    if (i < a->n) {                                                                \
      const uint32_t n = a->n - i;                                                 \
      const v16 g = v16_load_n(a->gate + i, n), u = v16_load_n(a->up + i, n);      \
      v16_store_n(a->y + i, v16_mul(act(g), u), n);                                \
    }                                                                              \
  }

void V16_FN(oribi_glu)(const void *args);

void V16_FN(oribi_glu)(const void *args) {
  const oribi_glu_args *a = args;
  if (a->activation == ORIBI_SILU) {
    GLU_ROW(silu)
  } else {
    GLU_ROW(gelu_tanh)
  }
}
