/* group.cuh - what a group of 32 inputs adds to a warp's sums: 16 rows of a panel by tiles of 8 tokens.
 *
 *   sum = mma of codes and activations over the group (half group where the format has a scale per half), in float32 from 0
 *   acc = fma(sum, s, acc), then with a minimum acc = fma(sum of activations, m, acc)
 *
 * Float weights go into acc directly, plane by plane. */
#ifndef ORIBI_CUDA_GROUP_CUH
#define ORIBI_CUDA_GROUP_CUH

#include "codes.cuh"

/* The activations of a group as a lane has them: 16 bytes of each plane of a tile, sums of tokens 2t and 2t + 1. */
struct group_acts {
  uint4 hi, lo;
  float2 sums[2]; /* of the half groups */
};

template <class W>
DEVICE constexpr bool needs_sums() {
  if constexpr (W::is_codes) {
    return packed_has_min(W::f) != 0;
  } else {
    return false;
  }
}

/* A group of weights as it lies in memory. load(): `from` is where a unit, or the panel, begins, in which the group is the
 * i-th; it is the panel's `index`-th. */
template <class W>
struct raw_group;

template <class W>
  requires(W::is_codes)
struct raw_group<W> {
  static constexpr packed_format f = W::f;
  group_codes<f> codes;
  raw_scales<f> scales[2]; /* of rows g and g + 8 */

  DEVICE_INLINE void load(const uint8_t *from, uint32_t i, uint32_t, uint32_t, lane_place at) {
    const uint8_t *block = from + i / f.n_groups * f.packed_bytes;
    const uint8_t *group = block + f.groups_at + i % f.n_groups * f.group_bytes;
    codes.load(group, at);
    UNROLL
    for (int row = 0; row < 2; row++) scales[row].load(block, group, at.g + 8 * row);
  }
};

template <class W>
  requires(!W::is_codes)
struct raw_group<W> {
  group_floats<W> floats;

  DEVICE_INLINE void load(const uint8_t *from, uint32_t i, uint32_t index, uint32_t k, lane_place at) {
    floats.load(from + (uint64_t)i * GROUP * ROWS * W::elem_bytes, index * GROUP, k, at);
  }
};

/* A group of weights, ready for any number of tiles. */
template <class W>
struct group_weights;

template <class W>
  requires(W::is_codes)
struct group_weights<W> {
  static constexpr packed_format f = W::f;
  uint32_t a[2][4];
  packed_scales scales[f.n_scales][2]; /* of rows g and g + 8 */

  DEVICE_INLINE group_weights(const raw_group<W> &raw, lane_place at) {
    UNROLL
    for (int s = 0; s < 2; s++) raw.codes.operand(s, at, a[s]);
    UNROLL
    for (int half = 0; half < f.n_scales; half++) {
      UNROLL
      for (int row = 0; row < 2; row++) scales[half][row] = raw.scales[row].of(half);
    }
  }

  template <bool both>
  DEVICE_INLINE void add_to(float acc[4], const group_acts &x) const {
    const uint32_t hi[4] = {x.hi.x, x.hi.y, x.hi.z, x.hi.w}, lo[4] = {x.lo.x, x.lo.y, x.lo.z, x.lo.w};
    constexpr int n = f.n_scales;
    float sum[n][4] = {};
    UNROLL
    for (int s = 0; s < 2; s++) mma_bf16(sum[s * n / 2], a[s], hi[2 * s], hi[2 * s + 1]);
    if constexpr (both) {
      UNROLL
      for (int s = 0; s < 2; s++) mma_bf16(sum[s * n / 2], a[s], lo[2 * s], lo[2 * s + 1]);
    }
    UNROLL
    for (int half = 0; half < n; half++) {
      UNROLL
      for (int i = 0; i < 4; i++) acc[i] = fmaf(sum[half][i], scales[half][i / 2].s, acc[i]);
      if constexpr (packed_has_min(f) != 0) {
        const float2 of = n == 2 ? x.sums[half] : float2{x.sums[0].x + x.sums[1].x, x.sums[0].y + x.sums[1].y};
        UNROLL
        for (int i = 0; i < 4; i++) acc[i] = fmaf(i % 2 == 0 ? of.x : of.y, scales[half][i / 2].m, acc[i]);
      }
    }
  }
};

template <class W>
  requires(!W::is_codes)
struct group_weights<W> {
  uint32_t a[2][W::planes][4];

  DEVICE_INLINE group_weights(const raw_group<W> &raw, lane_place) {
    UNROLL
    for (int s = 0; s < 2; s++) raw.floats.operands(s, a[s]);
  }

  template <bool both>
  DEVICE_INLINE void add_to(float acc[4], const group_acts &x) const {
    const uint32_t hi[4] = {x.hi.x, x.hi.y, x.hi.z, x.hi.w}, lo[4] = {x.lo.x, x.lo.y, x.lo.z, x.lo.w};
    UNROLL
    for (int s = 0; s < 2; s++) {
      UNROLL
      for (int plane = 0; plane < W::planes; plane++) {
        mma_bf16(acc, a[s][plane], hi[2 * s], hi[2 * s + 1]);
        if constexpr (both) mma_bf16(acc, a[s][plane], lo[2 * s], lo[2 * s + 1]);
      }
    }
  }
};

/* Which matrix, and which of its panels, a block of the grid's first dimension has; `per_block` panels a block. */
struct block_panels {
  const oribi_cuda_weights *weights;
  uint32_t first;

  DEVICE_INLINE block_panels(const oribi_cuda_matmul_args &a, uint32_t block, uint32_t per_block) {
    weights = &a.weights[0];
    UNROLL
    for (int i = 1; i < ORIBI_CUDA_MAX_WEIGHTS; i++) {
      const uint32_t n_blocks = shape_ceil(weights->n_panels, per_block);
      if (weights == &a.weights[i - 1] && i < (int)a.n_weights && block >= n_blocks) {
        block -= n_blocks;
        weights = &a.weights[i];
      }
    }
    first = block * per_block;
  }
};

#endif
