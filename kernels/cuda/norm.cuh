/* norm.cuh - the residual's sum and the norms around it; a block computes a row. */
#ifndef ORIBI_CUDA_NORM_CUH
#define ORIBI_CUDA_NORM_CUH

#include "acts.cuh"
#include "math.cuh"

/* 1 / sqrt(mean of squares + eps) of a row. */
template <bool fresh>
DEVICE_INLINE float inverse_rms(const float *row, uint32_t n, float eps) {
  float sum = 0.0f;
  for (uint32_t i = thread_x(); i < n; i += THREADS) {
    const float x = fresh ? load_fresh(row + i) : row[i];
    sum = fmaf(x, x, sum);
  }
  return 1.0f / sqrtf(block_sum(sum) / (float)n + eps);
}

/* The i-th of the rows. `fresh`: other blocks of this launch wrote the product. */
template <bool fresh>
DEVICE_INLINE void norm_row(const oribi_cuda_norm_args &a, uint32_t i) {
  const uint32_t row = a.rows ? a.rows[i] : i;
  const uint32_t n_parts = 4 * shape_ceil(a.n, GROUP), rounds = shape_ceil(n_parts, THREADS);
  float *x = a.x + row * a.x_stride;
  float v[8];
  if (a.product) {
    const float *product = a.product + row * a.product_stride;
    const float inv = a.post ? inverse_rms<fresh>(product, a.n, a.eps) : 1.0f;
    for (uint32_t j = thread_x(); j < n_parts; j += THREADS) {
      const part p(j);
      float y[8], w[8];
      load_part(x, a.n, p, v);
      load_part<fresh>(product, a.n, p, y);
      if (a.post) {
        load_part(a.post, a.n, p, w);
        for (int e = 0; e < 8; e++) y[e] = y[e] * inv * w[e];
      }
      for (int e = 0; e < 8; e++) v[e] += y[e];
      store_part(x, a.n, p, v);
    }
    sync_block();
  }
  const float inv = inverse_rms<false>(x, a.n, a.eps);
  for (uint32_t round = 0; round < rounds; round++) {
    const part p(round * THREADS + thread_x());
    float w[8];
    load_part(x, a.n, p, v);
    load_part(a.weight, a.n, p, w);
    for (int e = 0; e < 8; e++) v[e] = v[e] * inv * w[e];
    if (a.out) store_part(a.out + (a.first_out + i) * a.out_stride, a.n, p, v);
    if (a.acts.hi) store_acts(a.acts, a.first_out + i, p, v);
  }
}

#endif
