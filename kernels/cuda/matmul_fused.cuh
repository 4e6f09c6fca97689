/* matmul_fused.cuh - products of few tokens with what follows them: the sum and norm of rows, by the block that finishes last; the
 * activation of a gate, by the block that has both products. */
#ifndef ORIBI_CUDA_MATMUL_FUSED_CUH
#define ORIBI_CUDA_MATMUL_FUSED_CUH

#include "matmul_few.cuh"
#include "norm.cuh"

template <class W, int n_tokens>
DEVICE_INLINE void matmul_norm(const oribi_cuda_matmul_norm_args &a) {
  matmul_few<W, n_tokens>(a.product);
  if (!last_to_arrive(a.counter, n_blocks_x() * n_blocks_y())) return;
  for (uint32_t i = 0; i < a.norm.n_rows; i++) norm_row<true>(a.norm, i);
}

/* The columns of a panel, as float32 and as half a group of acts, from [token][column] in shared memory; a warp does it for 8
 * tokens, which begin a tile. */
DEVICE void store_half_group(const oribi_cuda_matmul_glu_args &a, uint32_t panel, uint32_t token, const float *values) {
  const uint32_t lane = thread_x() % WARP, row = token + lane / 4, t = lane % 4, column = panel * ROWS + 4 * t;
  const bool is_there = row < a.product.n_tokens;
  float v[4], sum = 0.0f;
  uint32_t hi[2], lo[2] = {0, 0};
  UNROLL
  for (uint32_t i = 0; i < 4; i++) {
    v[i] = column + i < a.n ? values[lane / 4 * ROWS + 4 * t + i] : 0.0f;
    if (a.out && is_there && column + i < a.n) a.out[row * a.out_stride + column + i] = v[i];
  }
  UNROLL
  for (int i = 0; i < 2; i++) sum += plane_pair(v[2 * i], v[2 * i + 1], a.acts.lo != nullptr, &hi[i], &lo[i]);
  sum += shuffle_xor(sum, 1);
  sum += shuffle_xor(sum, 2);
  if (!is_there) return;
  const uint64_t unit = (uint64_t)(row / ORIBI_CUDA_TILE) * shape_ceil(a.acts.k, GROUP) + panel / 2;
  const uint64_t at = unit * ORIBI_CUDA_UNIT + lane * 16 + panel % 2 * 8;
  float *sums = a.acts.sums + unit * 2 * ORIBI_CUDA_TILE + row % ORIBI_CUDA_TILE;
  *(uint2 *)(a.acts.hi + at) = {hi[0], hi[1]};
  if (a.acts.lo) *(uint2 *)(a.acts.lo + at) = {lo[0], lo[1]};
  if (t == 0) sums[panel % 2 * ORIBI_CUDA_TILE] = sum;
  /* The last group's other half, where no panel is: zeros. */
  if (panel % 2 == 0 && panel + 1 == a.product.weights[0].n_panels) {
    *(uint2 *)(a.acts.hi + at + 8) = {0, 0};
    if (a.acts.lo) *(uint2 *)(a.acts.lo + at + 8) = {0, 0};
    if (t == 0) sums[ORIBI_CUDA_TILE] = 0.0f;
  }
}

template <class W, int n_tokens>
DEVICE_INLINE void matmul_glu(const oribi_cuda_matmul_glu_args &a) {
  static_assert(n_tokens == ORIBI_CUDA_TILE);
  float *sums = (float *)few_sums<W, n_tokens, 2>(a.product, a.product.weights, block_x());
  const float *up = sums + n_tokens * ROWS;
  if (thread_x() < n_tokens * ROWS) sums[thread_x()] = activate(a.activation, sums[thread_x()]) * up[thread_x()];
  sync_block();
  if (thread_x() < WARP) store_half_group(a, block_x(), block_y() * n_tokens, sums);
}

#endif
