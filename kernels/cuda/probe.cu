/* probe.cu - what the machine does at best: reading memory, multiplying in bfloat16 and in float32. */
#include "device.cuh"

/* Reads of 16 bytes that are under way at once. */
static constexpr uint32_t READS = 8;

DEVICE uint32_t mixed(uint4 x) { return x.x ^ x.y ^ x.z ^ x.w; }

KERNEL(oribi_probe_read, oribi_cuda_probe_args, THREADS, 2) {
  const uint64_t step = (uint64_t)n_blocks_x() * THREADS, n = a.n_bytes / sizeof(uint4);
  const uint4 *data = (const uint4 *)a.data;
  uint32_t mix = 0;
  uint64_t i = (uint64_t)block_x() * THREADS + thread_x();
  NO_UNROLL
  for (; i + (READS - 1) * step < n; i += READS * step) {
    uint4 x[READS];
    UNROLL
    for (uint32_t j = 0; j < READS; j++) x[j] = load_const(data + i + j * step);
    UNROLL
    for (uint32_t j = 0; j < READS; j++) mix ^= mixed(x[j]);
  }
  NO_UNROLL
  for (; i < n; i += step) mix ^= mixed(load_const(data + i));
  a.results[block_x() * THREADS + thread_x()] = mix;
}

/* Sums that do not wait for each other. */
static constexpr uint32_t SUMS = 8;

/* What is multiplied is not known to the compiler: 1 in both operands. */
KERNEL(oribi_probe_mma, oribi_cuda_probe_args, THREADS, 2) {
  const uint32_t ones = bf16x2_of_floats(a.one, a.one);
  const uint32_t of_a[4] = {ones, ones, ones, ones};
  float sums[SUMS][4] = {};
  NO_UNROLL
  for (uint32_t round = 0; round < a.n_rounds; round++) {
    UNROLL
    for (uint32_t j = 0; j < SUMS; j++) mma_bf16(sums[j], of_a, ones, ones);
  }
  float total = 0;
  UNROLL
  for (uint32_t j = 0; j < SUMS; j++) total += sums[j][0] + sums[j][1] + sums[j][2] + sums[j][3];
  a.results[block_x() * THREADS + thread_x()] = bits_of_float(total);
}

KERNEL(oribi_probe_fma, oribi_cuda_probe_args, THREADS, 2) {
  float sums[SUMS] = {};
  NO_UNROLL
  for (uint32_t round = 0; round < a.n_rounds; round++) {
    UNROLL
    for (uint32_t j = 0; j < SUMS; j++) sums[j] = fmaf(a.one, sums[j], a.one);
  }
  float total = 0;
  UNROLL
  for (uint32_t j = 0; j < SUMS; j++) total += sums[j];
  a.results[block_x() * THREADS + thread_x()] = bits_of_float(total);
}
