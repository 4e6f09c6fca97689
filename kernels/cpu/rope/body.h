/* Rotary position embedding (Su et al. 2021): each pair (x0, x1) of a head's first n_rot elements is turned by its angle,
 *
 *   y0 = x0 * cos - x1 * sin    computed as fma(-x1, sin, x0 * cos)
 *   y1 = x1 * cos + x0 * sin    computed as fma( x0, sin, x1 * cos)
 *
 * Pairs are (2i, 2i + 1), or (i, i + n_rot / 2) with half_split. Elements from n_rot on stay as they are. */
#include <string.h>

#include "../../oribi_kernels.h"

static void rotate(v16 *x0, v16 *x1, v16 cos, v16 sin) {
  const v16 y0 = v16_fnma(*x1, sin, v16_mul(*x0, cos));
  *x1 = v16_fma(*x0, sin, v16_mul(*x1, cos));
  *x0 = y0;
}

static void rotate_half_split(float *x, const float *cos, const float *sin, uint32_t n_pairs) {
  for (uint32_t i = 0; i < n_pairs; i += 16) {
    const uint32_t n = n_pairs - i < 16 ? n_pairs - i : 16;
    v16 x0 = v16_load_n(x + i, n), x1 = v16_load_n(x + n_pairs + i, n);
    rotate(&x0, &x1, v16_load_n(cos + i, n), v16_load_n(sin + i, n));
    v16_store_n(x + i, x0, n);
    v16_store_n(x + n_pairs + i, x1, n);
  }
}

static void rotate_adjacent(float *x, const float *cos, const float *sin, uint32_t n_pairs) {
  for (uint32_t i = 0; i < n_pairs; i += 16) {
    const uint32_t n = n_pairs - i < 16 ? n_pairs - i : 16;
    float tail[32] = {0};
    float *pairs = n == 16 ? x + 2 * i : tail;
    if (pairs == tail) memcpy(tail, x + 2 * i, 2 * n * sizeof(float));
    v16 x0, x1;
    v16_load_pairs(pairs, &x0, &x1);
    rotate(&x0, &x1, v16_load_n(cos + i, n), v16_load_n(sin + i, n));
    v16_store_pairs(pairs, x0, x1);
    if (pairs == tail) memcpy(x + 2 * i, tail, 2 * n * sizeof(float));
  }
}

void V16_FN(oribi_rope)(const void *args);

void V16_FN(oribi_rope)(const void *args) {
  const oribi_rope_args *a = args;
  const uint32_t n_pairs = a->n_rot / 2;
  const float *cos = a->cos_sin, *sin = a->cos_sin + n_pairs;
  for (uint32_t head = 0; head < a->n_heads; head++) {
    float *x = a->x + (size_t)head * a->head_dim;
    if (a->half_split) {
      rotate_half_split(x, cos, sin, n_pairs);
    } else {
      rotate_adjacent(x, cos, sin, n_pairs);
    }
  }
}
