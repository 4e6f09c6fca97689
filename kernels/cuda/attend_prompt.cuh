/* attend_prompt.cuh - attention of prompts in native arithmetic over one split of 256 positions: what attend_split.cuh computes, with
 * queries, keys, weights and values as bfloat16 and their products on tensor cores.
 *
 *   scores    a warp has 32 positions, and all queries of the block
 *   weights   as in attend_split.cuh
 *   values    a warp has 32 elements of the head, and a segment of the positions, and all queries of the block
 *
 * A state depends on its row, head and split alone: what a query does not see has weight 0, and counts as 0 where no query of the block
 * sees it. A value that is not finite counts as 0 and makes the sums of those that see it NaN. */
#ifndef ORIBI_CUDA_ATTEND_PROMPT_CUH
#define ORIBI_CUDA_ATTEND_PROMPT_CUH

#include "attend_split.cuh"

/* What mma_bf16 takes and gives: a lane has rows g and g + 8 of the first operand and of the result, column g of the second, and
 * elements k and k + 1, k + 8 and k + 9 of the 16 that are summed over. Its results are in columns k and k + 1. */
struct mma_lane {
  uint32_t g, k;
  DEVICE_INLINE mma_lane() : g(thread_x() % WARP / 4), k(thread_x() % 4 * 2) {}
};

/* 16 rows by 16: row r's element e is x(e, r). */
template <class X>
DEVICE_INLINE void first_operand(mma_lane l, uint32_t a[4], X x) {
  UNROLL
  for (uint32_t i = 0; i < 4; i++) {
    const uint32_t row = l.g + i % 2 * 8, e = l.k + i / 2 * 8;
    a[i] = bf16x2_of_floats(x(e, row), x(e + 1, row));
  }
}

/* Positions that are not finite values for some element of the head. */
struct split_defects {
  uint32_t *any;   /* whether there are */
  uint8_t *values; /* [ORIBI_SPLIT_LEN] */
};

template <class T, int n_queries>
DEVICE_INLINE void score_tiles(const oribi_cuda_attend_args &a, const block_queries &b, const float *queries,
                               float *scores) {
  constexpr uint32_t row_tiles = n_queries / 16, column_tiles = WARP / 8;
  const head_shape s(a.head_dim);
  const mma_lane l;
  const uint32_t first = thread_x() / WARP * WARP, slot = first % ORIBI_PAGE_LEN;
  if (first + WARP <= b.begin_of(0) || first >= b.end_of(b.n - 1)) return;
  const uint8_t *keys = tile_of(a, b.pages, b.start + first, b.kv_head).keys;
  float sums[row_tiles][column_tiles][4] = {};
  NO_UNROLL
  for (uint32_t from = 0; from < s.dim; from += 16) {
    uint32_t query[row_tiles][4];
    UNROLL
    for (uint32_t r = 0; r < row_tiles; r++) {
      first_operand(l, query[r], [&](uint32_t e, uint32_t row) {
        return from + e < s.dim ? queries[(from + e) * n_queries + r * 16 + row] : 0.0f;
      });
    }
    UNROLL
    for (uint32_t c = 0; c < column_tiles; c++) {
      const uint32_t at = slot + c * 8 + l.g;
      const float scale = T::key_scale(keys, s, at, from);
      float key[4];
      UNROLL
      for (uint32_t i = 0; i < 4; i++) {
        const uint32_t d = from + l.k + i % 2 + i / 2 * 8;
        key[i] = d < s.dim ? T::key(keys, s, at, d, scale) : 0.0f;
      }
      const uint32_t low = bf16x2_of_floats(key[0], key[1]), high = bf16x2_of_floats(key[2], key[3]);
      UNROLL
      for (uint32_t r = 0; r < row_tiles; r++) mma_bf16(sums[r][c], query[r], low, high);
    }
  }
  UNROLL
  for (uint32_t r = 0; r < row_tiles; r++) {
    UNROLL
    for (uint32_t c = 0; c < column_tiles; c++) {
      UNROLL
      for (uint32_t i = 0; i < 4; i++) {
        scores[(first + c * 8 + l.k + i % 2) * attend_stride(n_queries) + r * 16 + l.g + i / 2 * 8] = sums[r][c][i];
      }
    }
  }
}

/* Elements d and d + 1 of the value at position j of the split, of which some query sees [begin, end). */
template <class T>
DEVICE_INLINE float2 value_at(const uint8_t *values, head_shape s, uint32_t j, uint32_t d, uint32_t begin, uint32_t end,
                              split_defects defects) {
  if (j < begin || j >= end || d >= s.padded) return {0.0f, 0.0f};
  const uint32_t slot = j % ORIBI_PAGE_LEN;
  const float2 v = T::value(values, s, slot, d, T::value_scale(values, s, slot, d));
  if (fabsf(v.x) < FLOAT_INFINITY && fabsf(v.y) < FLOAT_INFINITY) return v;
  *defects.any = 1;
  defects.values[j] = 1;
  return {0.0f, 0.0f};
}

/* Columns of two tiles in turn are elements that follow each other: a lane reads two, and writes four. */
template <class T, int n_queries>
DEVICE_INLINE void attend_value_tiles(const oribi_cuda_attend_args &a, const block_queries &b, const float *weights,
                                      float *sums, split_defects defects) {
  constexpr uint32_t row_tiles = n_queries / 16, column_pairs = ATTEND_CHUNK / 16;
  const head_shape s(a.head_dim);
  const mma_lane l;
  const uint32_t n_segments = attend_segments(s.dim), n_chunks = shape_ceil(s.dim, ATTEND_CHUNK);
  const uint32_t warp = thread_x() / WARP, segment = warp % n_segments, segment_len = ORIBI_SPLIT_LEN / n_segments;
  const uint32_t begin = b.begin_of(0), end = b.end_of(b.n - 1);
  const uint32_t low = clamped(segment * segment_len, begin, end), high = clamped((segment + 1) * segment_len, begin, end);
  const uint32_t first = low < high ? low / 16 * 16 : high; /* 16 positions at a time; those before `begin` count as 0 */
  NO_UNROLL
  for (uint32_t chunk = warp / n_segments; chunk < n_chunks; chunk += WARPS / n_segments) {
    float acc[row_tiles][2 * column_pairs][4] = {};
    NO_UNROLL
    for (uint32_t from = first; from < high; from += 16) {
      const uint8_t *values = tile_of(a, b.pages, b.start + from, b.kv_head).values;
      uint32_t weight[row_tiles][4];
      UNROLL
      for (uint32_t r = 0; r < row_tiles; r++) {
        first_operand(l, weight[r], [&](uint32_t e, uint32_t row) {
          return weights[(from + e) * attend_stride(n_queries) + r * 16 + row];
        });
      }
      UNROLL
      for (uint32_t c = 0; c < column_pairs; c++) {
        const uint32_t d = chunk * ATTEND_CHUNK + c * 16 + 2 * l.g;
        float2 v[4];
        UNROLL
        for (uint32_t i = 0; i < 4; i++) {
          v[i] = value_at<T>(values, s, from + l.k + i % 2 + i / 2 * 8, d, begin, end, defects);
        }
        const uint32_t even[2] = {bf16x2_of_floats(v[0].x, v[1].x), bf16x2_of_floats(v[2].x, v[3].x)};
        const uint32_t odd[2] = {bf16x2_of_floats(v[0].y, v[1].y), bf16x2_of_floats(v[2].y, v[3].y)};
        UNROLL
        for (uint32_t r = 0; r < row_tiles; r++) {
          mma_bf16(acc[r][2 * c], weight[r], even[0], even[1]);
          mma_bf16(acc[r][2 * c + 1], weight[r], odd[0], odd[1]);
        }
      }
    }
    UNROLL
    for (uint32_t r = 0; r < row_tiles; r++) {
      UNROLL
      for (uint32_t i = 0; i < 2; i++) {
        const uint32_t q = segment * n_queries + r * 16 + l.g + i * 8;
        float *to = sums + (uint64_t)q * n_chunks * ATTEND_CHUNK + chunk * ATTEND_CHUNK + 2 * l.k;
        UNROLL
        for (uint32_t c = 0; c < column_pairs; c++) {
          const float *even = acc[r][2 * c] + 2 * i, *odd = acc[r][2 * c + 1] + 2 * i;
          *(float4 *)(to + c * 16) = {even[0], odd[0], even[1], odd[1]};
        }
      }
    }
  }
}

/* The sums of queries that see a defect become NaN. */
DEVICE void spoil(const block_queries &b, split_defects defects, float *totals) {
  if (*defects.any == 0) return;
  for (uint32_t q = thread_x() / WARP; q < b.n; q += WARPS) {
    uint32_t seen = 0;
    for (uint32_t j = thread_x() % WARP; j < ORIBI_SPLIT_LEN; j += WARP) {
      if (j >= b.begin_of(q) && j < b.end_of(q)) seen |= defects.values[j];
    }
    UNROLL
    for (int mask = 16; mask > 0; mask /= 2) seen |= shuffle_xor(seen, mask);
    if (seen && thread_x() % WARP == 0) totals[2 * q + 1] = float_of_bits(0x7fc00000u);
  }
  sync_block();
}

template <class T, int n_queries>
DEVICE_INLINE void attend_prompt(const oribi_cuda_attend_args &a) {
  SHARED uint32_t any;
  SHARED uint8_t defective[ORIBI_SPLIT_LEN];
  const split_defects defects = {&any, defective};
  const block_queries b(a, n_queries);
  if (!b.any) return;
  const split_memory<n_queries> memory(a.head_dim);
  load_queries<n_queries>(a, b, memory.first);
  defective[thread_x()] = 0;
  if (thread_x() == 0) any = 0;
  sync_block();
  score_tiles<T, n_queries>(a, b, memory.first, memory.scores);
  sync_block();
  weigh<n_queries>(a, b, memory.scores, memory.totals);
  sync_block();
  attend_value_tiles<T, n_queries>(a, b, memory.scores, memory.first, defects);
  sync_block();
  spoil(b, defects, memory.totals);
  store_states<n_queries>(a, b, memory.totals, memory.first);
}

#endif
