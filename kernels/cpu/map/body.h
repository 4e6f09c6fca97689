/* Elementwise maps, each step rounded to float32:
 *
 *   ADD      y = x + other
 *   SCALE    y = x * factor
 *   SOFTCAP  y = factor * tanh(x / factor) */
#include "../../oribi_kernels.h"
#include "../simd/v16_math.h"

#define MAP(name, expr)                                                                       \
  void V16_FN(name)(const void *args);                                                        \
  void V16_FN(name)(const void *args) {                                                       \
    const oribi_map_args *a = args;                                                           \
    for (uint32_t i = 0; i < a->n; i += 16) {                                                 \
      const uint32_t n = a->n - i < 16 ? a->n - i : 16;                                       \
      const v16 x = v16_load_n(a->x + i, n);                                                  \
      v16_store_n(a->y + i, expr, n);                                                         \
    }                                                                                         \
  }

MAP(oribi_add, v16_add(x, v16_load_n(a->other + i, n)))
MAP(oribi_scale, v16_mul(x, v16_set1(a->factor)))
MAP(oribi_softcap, v16_mul(v16_set1(a->factor), v16_tanh(v16_div(x, v16_set1(a->factor)))))
