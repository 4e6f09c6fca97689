/* top.cu - the largest values of rows, with their places.
 *
 *   a block: the largest of a slice of a row, as keys
 *   the last block of a row: the largest of all slices' keys
 *
 * A key orders values as floats are ordered, and equal ones by place, so no two keys are equal, and those that are at least a
 * certain one are exactly n. That one is found bit by bit, from the top, by counting. */
#include "device.cuh"

/* Above 0. NaN is more than all others; 0 and -0 are equal; of equal values the first is more. */
DEVICE uint64_t key_of(float x, uint32_t place) {
  const uint32_t bits = x == 0.0f ? 0 : bits_of_float(x);
  const uint32_t rank = x != x ? ~0u : bits >> 31 ? ~bits : bits | 1u << 31;
  return (uint64_t)rank << 32 | (uint32_t)~place;
}

DEVICE uint32_t place_of(uint64_t key) { return ~(uint32_t)key; }

/* Over a block of THREADS; all get the same. */
DEVICE uint32_t block_count(uint32_t x) {
  SHARED uint32_t parts[WARPS];
  UNROLL
  for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  sync_block(); /* who still reads an earlier count */
  if (thread_x() % WARP == 0) parts[thread_x() / WARP] = x;
  sync_block();
  uint32_t count = 0;
  for (uint32_t w = 0; w < WARPS; w++) count += parts[w];
  return count;
}

/* The least of a block's n largest keys; 1 where it has fewer. Keys that are 0 are none. */
DEVICE uint64_t least_of_largest(const uint64_t keys[TOP_KEYS], uint32_t n) {
  uint64_t least = 0;
  NO_UNROLL
  for (int bit = 63; bit >= 0; bit--) {
    const uint64_t tried = least | (uint64_t)1 << bit;
    uint32_t count = 0;
    UNROLL
    for (uint32_t i = 0; i < TOP_KEYS; i++) count += keys[i] >= tried;
    count = block_count(count);
    if (count >= n) least = tried;
    if (count == n) break;
  }
  return least > 0 ? least : 1;
}

/* take(i, key) for each of a block's n largest keys, i from 0 on in any order; how many there are. */
template <class Take>
DEVICE_INLINE uint32_t take_largest(const uint64_t keys[TOP_KEYS], uint32_t n, Take take) {
  SHARED uint32_t n_taken;
  const uint64_t least = least_of_largest(keys, n);
  if (thread_x() == 0) n_taken = 0;
  sync_block();
  UNROLL
  for (uint32_t i = 0; i < TOP_KEYS; i++) {
    if (keys[i] >= least) take(add_shared(&n_taken, 1), keys[i]);
  }
  sync_block();
  return n_taken;
}

KERNEL(oribi_top, oribi_cuda_top_args, THREADS, 2) {
  const uint32_t row = block_x(), slice = block_y(), n_slices = n_blocks_y();
  const float *x = a.x + row * a.stride;
  uint64_t *found = a.found + ((uint64_t)row * n_slices + slice) * a.n;
  uint64_t keys[TOP_KEYS];
  UNROLL
  for (uint32_t i = 0; i < TOP_KEYS; i++) {
    const uint32_t place = slice * TOP_SLICE + i * THREADS + thread_x();
    keys[i] = place < a.n_columns ? key_of(x[place], place) : 0;
  }
  const uint32_t n_found = take_largest(keys, a.n, [&](uint32_t i, uint64_t key) { found[i] = key; });
  for (uint32_t i = n_found + thread_x(); i < a.n; i += THREADS) found[i] = 0;
  if (!last_to_arrive(a.counters + row, n_slices)) return;
  const uint64_t *all = a.found + (uint64_t)row * n_slices * a.n;
  UNROLL
  for (uint32_t i = 0; i < TOP_KEYS; i++) {
    const uint32_t at = i * THREADS + thread_x();
    keys[i] = at < n_slices * a.n ? load_fresh(all + at) : 0;
  }
  oribi_cuda_ranked *out = a.out + (uint64_t)row * a.out_stride;
  take_largest(keys, a.n, [&](uint32_t i, uint64_t key) { out[i] = {x[place_of(key)], place_of(key)}; });
}
