/* attend_fused.cuh - attention of few rows in one launch. A block has a split of a tile and key head: it projects the tile's
 * queries for itself, stores the keys and values of the rows that lie in its split, and attends; the last block of a tile and key
 * head to finish merges the splits. */
#ifndef ORIBI_CUDA_ATTEND_FUSED_CUH
#define ORIBI_CUDA_ATTEND_FUSED_CUH

#include "attend_merge.cuh"
#include "attend_project.cuh"
#include "attend_split.cuh"

/* [element][query], and the tile's keys and values in this split to the pages. */
template <class T, int n_queries>
DEVICE_INLINE void project_tile(const oribi_cuda_attend_args &a, const block_queries &b,
                                const split_memory<n_queries> &memory) {
  const uint32_t warp = thread_x() / WARP, lane = thread_x() % WARP, n_rows = b.n / b.group;
  float *x = memory.free + warp * project_floats(a.head_dim);
  for (uint32_t q = warp; q < n_queries; q += WARPS) {
    if (q < b.n) project_query(a, b.row_of(q), b.head_of(q), x);
    for (uint32_t d = lane; d < a.head_dim; d += WARP) memory.first[d * n_queries + q] = q < b.n ? x[d] : 0.0f;
    sync_warp();
  }
  for (uint32_t i = warp; i < n_rows; i += WARPS) {
    const bool is_here = (b.position + i) / ORIBI_SPLIT_LEN == b.start / ORIBI_SPLIT_LEN;
    if (is_here) project_kv<T>(a, b.first_row + i, b.kv_head, x);
  }
}

template <class T, int n_queries>
DEVICE_INLINE void attend_fused(const oribi_cuda_attend_args &a) {
  const block_queries b(a, n_queries);
  if (b.any) {
    const split_memory<n_queries> memory(a.head_dim);
    project_tile<T, n_queries>(a, b, memory);
    attend_queries<T, n_queries>(a, b, memory);
  }
  if (!last_to_arrive(a.counters + block_x() * a.n_kv_heads + b.kv_head, a.n_splits)) return;
  const uint32_t first = b.kv_head * b.group * a.head_dim / GROUP * 4, n_parts = b.group * a.head_dim / GROUP * 4;
  const uint32_t all = b.n / b.group * n_parts;
  for (uint32_t round = 0; round < shape_ceil(all, WARP); round += WARPS) {
    /* Whole warps take part in a row's sums; those beyond the end leave. */
    const uint32_t i = (round + thread_x() / WARP) * WARP + thread_x() % WARP;
    if (i - thread_x() % WARP >= all) return;
    const uint32_t here = i < all ? i : all - 1;
    merge_part<true, true>(a, b.first_row + here / n_parts, part(first + here % n_parts));
  }
}

#endif
