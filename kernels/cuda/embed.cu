/* embed.cu - rows of a matrix as the file has them, times a factor. Compiled once per format. */
#include "weights.cuh"

#ifndef ORIBI_CUDA_EMBED
#define ORIBI_CUDA_EMBED

template <class W>
DEVICE_INLINE float weight_at(const uint8_t *panel, int row, uint32_t k) {
  if constexpr (W::is_codes) {
    constexpr packed_format f = W::f;
    const uint8_t *block = panel + (uint64_t)(k / f.block_len) * f.packed_bytes;
    const uint8_t *group = block + f.groups_at + k % f.block_len / GROUP * f.group_bytes;
    const int i = (int)(k % GROUP);
    const packed_scales scales = packed_scales_of(f, block, group, i * f.n_scales / GROUP, row);
    const float x = scales.s * (float)packed_code(f, group, row, i);
    return packed_has_min(f) ? x + scales.m : x;
  } else {
    return W::element(panel + ((uint64_t)k * ROWS + row) * W::elem_bytes);
  }
}

template <class W>
DEVICE_INLINE void embed(const oribi_cuda_embed_args &a) {
  const uint32_t token = a.tokens[block_x()];
  const uint8_t *panel = a.panels + token / ROWS * a.panel_bytes;
  float *x = a.x + block_x() * a.x_stride;
  for (uint32_t k = thread_x(); k < a.k; k += THREADS) {
    const float w = weight_at<W>(panel, (int)(token % ROWS), k);
    x[k] = a.scale == 1.0f ? w : w * a.scale;
  }
}

#endif

KERNEL(WEIGHTS_NAME3(oribi_embed_, ORIBI_FORMAT, ), oribi_cuda_embed_args, THREADS, 2) { embed<WEIGHTS>(a); }
