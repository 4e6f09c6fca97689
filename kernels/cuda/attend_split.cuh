/* attend_split.cuh - attention over one split of 256 positions: states of a tile of rows for the query heads of a key head.
 *
 *   scores    a lane has a position, and all queries of the block: q . k by fma in order of the elements, times scale
 *   weights   a warp has a query: m = the largest score that the row sees, p = exp(score - m), l = their sum
 *   values    a half warp has 32 elements of the head, and every second position; acc = fma(p, v, acc) for all queries
 *
 * A state depends on its row, head and split alone: what a query does not see is not added. */
#ifndef ORIBI_CUDA_ATTEND_SPLIT_CUH
#define ORIBI_CUDA_ATTEND_SPLIT_CUH

#include "math.cuh"
#include "pages.cuh"

/* The queries of a block and what they see, counted from the split's start. */
struct block_queries {
  uint32_t first_row, first, n; /* query i: row first_row + (first + i) / group, head (first + i) % group of the group */
  uint32_t group, position;     /* of first_row */
  uint32_t start, window, pages, kv_head;
  bool any;

  DEVICE_INLINE block_queries(const oribi_cuda_attend_args &a, uint32_t most) {
    group = a.n_heads / a.n_kv_heads;
    const uint32_t n_parts = shape_ceil(group * a.max_tile_rows, most);
    const oribi_cuda_tile tile = a.tiles[block_x()];
    kv_head = block_y() / n_parts;
    first = block_y() % n_parts * most;
    const uint32_t all = tile.n_rows * group;
    n = first >= all ? 0 : all - first < most ? all - first : most;
    first_row = tile.first_row;
    position = a.rows[first_row].position;
    pages = a.rows[first_row].pages;
    start = (a.first_split + block_z()) * ORIBI_SPLIT_LEN;
    window = a.window;
    any = n > 0 && begin_of(0) < end_of(n - 1);
  }

  DEVICE_INLINE uint32_t row_of(uint32_t i) const { return first_row + (first + i) / group; }
  DEVICE_INLINE uint32_t head_of(uint32_t i) const { return kv_head * group + (first + i) % group; }
  DEVICE_INLINE uint32_t position_of(uint32_t i) const { return position + (first + i) / group; }
  /* Query i sees [begin, end); both rise with i. */
  DEVICE_INLINE uint32_t begin_of(uint32_t i) const {
    const uint32_t p = position_of(i), begin = window != 0 && p >= window ? p - window + 1 : 0;
    return begin < start ? 0 : begin - start < ORIBI_SPLIT_LEN ? begin - start : ORIBI_SPLIT_LEN;
  }
  DEVICE_INLINE uint32_t end_of(uint32_t i) const {
    const uint32_t end = position_of(i) + 1;
    return end < start ? 0 : end - start < ORIBI_SPLIT_LEN ? end - start : ORIBI_SPLIT_LEN;
  }
  /* The queries [first, end) see position j of the split. */
  DEVICE_INLINE uint32_t first_that_sees(uint32_t j) const {
    const uint32_t row = start + j > position ? start + j - position : 0;
    return row * group > first ? row * group - first : 0;
  }
  DEVICE_INLINE uint32_t end_of_those_that_see(uint32_t j) const {
    if (window == 0) return n;
    const uint32_t rows = start + j + window > position ? start + j + window - position : 0;
    return rows * group > first ? rows * group - first : 0;
  }
};

/* [element][query]; queries that do not exist are 0. */
template <int n_queries>
DEVICE_INLINE void load_queries(const oribi_cuda_attend_args &a, const block_queries &b, float *queries) {
  for (uint32_t i = thread_x(); i < n_queries * a.head_dim; i += THREADS) {
    const uint32_t q = i / a.head_dim, d = i % a.head_dim;
    queries[d * n_queries + q] = q < b.n ? a.qkv[b.row_of(q) * a.qkv_stride + b.head_of(q) * a.head_dim + d] : 0.0f;
  }
}

/* [position][query] products of queries and keys, for the positions that any query sees. */
template <class T, int n_queries>
DEVICE_INLINE void score(const oribi_cuda_attend_args &a, const block_queries &b, const float *queries, float *scores) {
  const head_shape s(a.head_dim);
  const uint32_t first = thread_x() / WARP * WARP, j = thread_x();
  if (first + WARP <= b.begin_of(0) || first >= b.end_of(b.n - 1)) return;
  const uint8_t *keys = tile_of(a, b.pages, b.start + j, b.kv_head).keys;
  const uint32_t slot = j % ORIBI_PAGE_LEN;
  float sums[n_queries] = {};
  for (uint32_t group = 0; group < s.dim; group += GROUP) {
    const float scale = T::key_scale(keys, s, slot, group);
    const uint32_t n = s.dim - group < GROUP ? s.dim - group : (uint32_t)GROUP;
    [[maybe_unused]] constexpr int unrolled = n_queries >= 16 ? 4 : 8;
    UNROLL_BY(unrolled)
    for (uint32_t d = group; d < group + n; d++) {
      const float key = T::key(keys, s, slot, d, scale);
      UNROLL
      for (int q = 0; q < n_queries; q += 4) {
        const float4 x = *(const float4 *)(queries + d * n_queries + q);
        sums[q] = fmaf(x.x, key, sums[q]);
        sums[q + 1] = fmaf(x.y, key, sums[q + 1]);
        sums[q + 2] = fmaf(x.z, key, sums[q + 2]);
        sums[q + 3] = fmaf(x.w, key, sums[q + 3]);
      }
    }
  }
  UNROLL
  for (int q = 0; q < n_queries; q += 4) {
    *(float4 *)(scores + j * attend_stride(n_queries) + q) = {sums[q], sums[q + 1], sums[q + 2], sums[q + 3]};
  }
}

/* Scores become weights; maxima and sums of all queries go to `totals`. */
template <int n_queries>
DEVICE_INLINE void weigh(const oribi_cuda_attend_args &a, const block_queries &b, float *scores, float *totals) {
  constexpr uint32_t per_lane = ORIBI_SPLIT_LEN / WARP;
  for (uint32_t q = thread_x() / WARP; q < b.n; q += WARPS) {
    const uint32_t begin = b.begin_of(q), end = b.end_of(q), lane = thread_x() % WARP;
    float s[per_lane], largest = -FLOAT_INFINITY, sum = 0.0f;
    UNROLL
    for (uint32_t i = 0; i < per_lane; i++) {
      const uint32_t j = lane + WARP * i;
      s[i] = j >= begin && j < end ? scores[j * attend_stride(n_queries) + q] * a.scale : -FLOAT_INFINITY;
      largest = s[i] > largest ? s[i] : largest;
    }
    largest = warp_max(largest);
    const float base = largest == -FLOAT_INFINITY ? 0.0f : largest;
    UNROLL
    for (uint32_t i = 0; i < per_lane; i++) {
      const float p = exp_of(s[i] - base);
      scores[(lane + WARP * i) * attend_stride(n_queries) + q] = p;
      sum += p;
    }
    sum = warp_sum(sum);
    if (lane == 0) {
      totals[2 * q] = largest;
      totals[2 * q + 1] = sum;
    }
  }
}

/* Of the positions [from, to) those of this half warp: what they add to the elements d and d + 1 of all queries. With `some`
 * queries that do not see a position leave it out, else all see all. */
template <class T, int n_queries, bool some>
DEVICE_INLINE void add_values(const oribi_cuda_attend_args &a, const block_queries &b, const float *weights,
                              uint32_t from, uint32_t to, uint32_t d, float acc[n_queries][2]) {
  const head_shape s(a.head_dim);
  const uint32_t half = thread_x() % WARP / 16;
  [[maybe_unused]] constexpr int unrolled = some || n_queries >= 16 ? 1 : n_queries == 8 ? 2 : 4;
  NO_UNROLL
  while (from < to) {
    const uint8_t *values = tile_of(a, b.pages, b.start + from, b.kv_head).values;
    const uint32_t page = from / ORIBI_PAGE_LEN * ORIBI_PAGE_LEN;
    const uint32_t end = page + ORIBI_PAGE_LEN < to ? page + ORIBI_PAGE_LEN : to;
    UNROLL_BY(unrolled)
    for (uint32_t j = from + (from % 2 != half); j < end; j += 2) {
      const float2 v = T::value(values, s, j - page, d, T::value_scale(values, s, j - page, d));
      const uint32_t first = some ? b.first_that_sees(j) : 0, last = some ? b.end_of_those_that_see(j) : 0;
      UNROLL
      for (int q = 0; q < n_queries; q += 4) {
        const float4 p = *(const float4 *)(weights + j * attend_stride(n_queries) + q);
        const float of[4] = {p.x, p.y, p.z, p.w};
        UNROLL
        for (int i = 0; i < 4; i++) {
          if (some && ((uint32_t)(q + i) < first || (uint32_t)(q + i) >= last)) continue;
          acc[q + i][0] = fmaf(of[i], v.x, acc[q + i][0]);
          acc[q + i][1] = fmaf(of[i], v.y, acc[q + i][1]);
        }
      }
    }
    from = end;
  }
}

DEVICE uint32_t clamped(uint32_t x, uint32_t low, uint32_t high) { return x < low ? low : x > high ? high : x; }

/* The weighted values, chunk by chunk of a head, to `sums`: [segment][query][element], where a segment is the part of the
 * positions that a warp has. */
template <class T, int n_queries>
DEVICE_INLINE void attend_values(const oribi_cuda_attend_args &a, const block_queries &b, const float *weights,
                                 float *sums) {
  const head_shape s(a.head_dim);
  const uint32_t n_segments = attend_segments(s.dim), n_chunks = shape_ceil(s.dim, ATTEND_CHUNK);
  const uint32_t warp = thread_x() / WARP, lane = thread_x() % WARP, segment = warp % n_segments;
  const uint32_t segment_len = ORIBI_SPLIT_LEN / n_segments;
  const uint32_t all_begin = b.begin_of(0), all_end = b.end_of(b.n - 1);
  const uint32_t low = clamped(segment * segment_len, all_begin, all_end);
  const uint32_t high = clamped((segment + 1) * segment_len, all_begin, all_end);
  /* What all queries see; before and after only some do. */
  const uint32_t common = clamped(b.begin_of(b.n - 1), low, high), common_end = clamped(b.end_of(0), common, high);
  NO_UNROLL
  for (uint32_t chunk = warp / n_segments; chunk < n_chunks; chunk += WARPS / n_segments) {
    const uint32_t d = chunk * ATTEND_CHUNK + 2 * (lane % 16);
    float acc[n_queries][2] = {};
    if (d < s.padded) {
      NO_UNROLL
      for (int some = -1; some <= 1; some++) {
        if (some == 0) {
          add_values<T, n_queries, false>(a, b, weights, common, common_end, d, acc);
        } else {
          add_values<T, n_queries, true>(a, b, weights, some < 0 ? low : common_end, some < 0 ? common : high, d, acc);
        }
      }
    }
    float *to = sums + (uint64_t)segment * n_queries * n_chunks * ATTEND_CHUNK + d;
    UNROLL
    for (int q = 0; q < n_queries; q++) {
      const float2 sum = {acc[q][0] + shuffle_xor(acc[q][0], 16), acc[q][1] + shuffle_xor(acc[q][1], 16)};
      if (lane < 16) *(float2 *)(to + q * n_chunks * ATTEND_CHUNK) = sum;
    }
  }
}

/* The states of the block's queries, from the sums of the segments. */
template <int n_queries>
DEVICE_INLINE void store_states(const oribi_cuda_attend_args &a, const block_queries &b, const float *totals,
                                const float *sums) {
  const uint32_t n_segments = attend_segments(a.head_dim), width = shape_ceil(a.head_dim, ATTEND_CHUNK) * ATTEND_CHUNK;
  float *states = a.states + (uint64_t)block_z() * a.n_rows * a.n_heads * state_floats(a.head_dim);
  NO_UNROLL
  for (uint32_t q = 0; q < b.n; q++) {
    if (b.begin_of(q) >= b.end_of(q)) continue; /* only other rows of the tile see something */
    float *state = states + ((uint64_t)b.row_of(q) * a.n_heads + b.head_of(q)) * state_floats(a.head_dim);
    if (thread_x() < 2) state[thread_x()] = totals[2 * q + thread_x()];
    for (uint32_t d = thread_x(); d < a.head_dim; d += THREADS) {
      float sum = sums[q * width + d];
      for (uint32_t segment = 1; segment < n_segments; segment++) sum += sums[(segment * n_queries + q) * width + d];
      state[ORIBI_STATE_HEADER + d] = sum;
    }
  }
}

/* Where a block's floats are in shared memory. */
template <int n_queries>
struct split_memory {
  float *first, *scores, *totals, *free; /* queries, then sums; weights; maxima and sums; what is not used */

  DEVICE_INLINE explicit split_memory(uint32_t head_dim) {
    first = (float *)shared_memory();
    scores = first + attend_first_floats(head_dim, n_queries);
    totals = scores + ORIBI_SPLIT_LEN * attend_stride(n_queries);
    free = totals + 2 * n_queries;
  }
};

/* The block's states; its queries are in memory.first. */
template <class T, int n_queries>
DEVICE_INLINE void attend_queries(const oribi_cuda_attend_args &a, const block_queries &b,
                                  const split_memory<n_queries> &memory) {
  sync_block();
  score<T, n_queries>(a, b, memory.first, memory.scores);
  sync_block();
  weigh<n_queries>(a, b, memory.scores, memory.totals);
  sync_block();
  attend_values<T, n_queries>(a, b, memory.scores, memory.first);
  sync_block();
  store_states<n_queries>(a, b, memory.totals, memory.first);
}

template <class T, int n_queries>
DEVICE_INLINE void attend_split(const oribi_cuda_attend_args &a) {
  const block_queries b(a, n_queries);
  if (!b.any) return;
  const split_memory<n_queries> memory(a.head_dim);
  load_queries<n_queries>(a, b, memory.first);
  attend_queries<T, n_queries>(a, b, memory);
}

#endif
