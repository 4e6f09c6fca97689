/* acts.cuh - rows of floats, eight numbers a thread, to the planes that products read. Thread t of the four of a row's group holds
 * inputs 4t .. 4t + 3 and 16 + 4t .. 16 + 4t + 3; the four are neighbours in a warp, all of which takes part. */
#ifndef ORIBI_CUDA_ACTS_CUH
#define ORIBI_CUDA_ACTS_CUH

#include "device.cuh"

/* A thread's place in a row. */
struct part {
  uint32_t group, t;

  DEVICE_INLINE explicit part(uint32_t i) : group(i / 4), t(i % 4) {}
  /* Of its i-th number, in the row. */
  DEVICE_INLINE uint32_t at(uint32_t i) const { return GROUP * group + HALF * (i / 4) + 4 * t + i % 4; }
};

/* Numbers from n on are 0. `fresh`: other blocks of this launch wrote them. */
template <bool fresh = false>
DEVICE_INLINE void load_part(const float *row, uint32_t n, part p, float v[8]) {
  if (GROUP * p.group + GROUP <= n) {
    const float4 *at = (const float4 *)(row + p.at(0)), *then = (const float4 *)(row + p.at(4));
    const float4 first = fresh ? load_fresh(at) : *at, second = fresh ? load_fresh(then) : *then;
    v[0] = first.x, v[1] = first.y, v[2] = first.z, v[3] = first.w;
    v[4] = second.x, v[5] = second.y, v[6] = second.z, v[7] = second.w;
    return;
  }
  UNROLL
  for (uint32_t i = 0; i < 8; i++) v[i] = p.at(i) >= n ? 0.0f : fresh ? load_fresh(row + p.at(i)) : row[p.at(i)];
}

DEVICE void store_part(float *row, uint32_t n, part p, const float v[8]) {
  if (GROUP * p.group + GROUP <= n) {
    *(float4 *)(row + p.at(0)) = {v[0], v[1], v[2], v[3]};
    *(float4 *)(row + p.at(4)) = {v[4], v[5], v[6], v[7]};
    return;
  }
  UNROLL
  for (uint32_t i = 0; i < 8; i++) {
    if (p.at(i) < n) row[p.at(i)] = v[i];
  }
}

/* Two neighbours as pairs of the planes; the sum of what those hold. */
DEVICE float plane_pair(float x0, float x1, bool both, uint32_t *hi, uint32_t *lo) {
  *hi = bf16x2_of_floats(x0, x1);
  const float h0 = float_of_bits(*hi << 16), h1 = float_of_bits(*hi & 0xffff0000u);
  if (!both) return h0 + h1;
  *lo = bf16x2_of_floats(x0 - h0, x1 - h1);
  return (h0 + float_of_bits(*lo << 16)) + (h1 + float_of_bits(*lo & 0xffff0000u));
}

/* The planes and sums of a row's part; beyond the last group nothing is written. */
DEVICE void store_acts(const oribi_cuda_acts &acts, uint32_t row, part p, const float v[8]) {
  const uint32_t n_groups = shape_ceil(acts.k, GROUP);
  const uint64_t unit = (uint64_t)(row / ORIBI_CUDA_TILE) * n_groups + p.group;
  const uint64_t at = unit * ORIBI_CUDA_UNIT + (row % ORIBI_CUDA_TILE) * 64 + p.t * 16;
  uint32_t hi[4], lo[4] = {0, 0, 0, 0};
  float sums[2] = {0.0f, 0.0f};
  UNROLL
  for (int i = 0; i < 4; i++) sums[i / 2] += plane_pair(v[2 * i], v[2 * i + 1], acts.lo != nullptr, &hi[i], &lo[i]);
  UNROLL
  for (int half = 0; half < 2; half++) {
    sums[half] += shuffle_xor(sums[half], 1);
    sums[half] += shuffle_xor(sums[half], 2);
  }
  if (p.group >= n_groups) return;
  *(uint4 *)(acts.hi + at) = {hi[0], hi[1], hi[2], hi[3]};
  if (acts.lo) *(uint4 *)(acts.lo + at) = {lo[0], lo[1], lo[2], lo[3]};
  if (p.t < 2) acts.sums[(unit * 2 + p.t) * ORIBI_CUDA_TILE + row % ORIBI_CUDA_TILE] = p.t == 0 ? sums[0] : sums[1];
}

#endif
