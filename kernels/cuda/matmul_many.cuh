/* matmul_many.cuh - products of many tokens: a block has 8 panels of 16 rows, one a warp, and up to 64 tokens, whose activations go
 * through shared memory for all of them. The sums are those of matmul_few.cuh: of the 8 shares of k, one after the other here. */
#ifndef ORIBI_CUDA_MATMUL_MANY_CUH
#define ORIBI_CUDA_MATMUL_MANY_CUH

#include "group.cuh"

/* The activations of a block on their way through shared memory. A stage: [plane][tile][group] units, then
 * [tile][group][half][token] sums. */
template <int n_tiles, int n_planes>
struct acts_stages {
  static constexpr uint32_t n_groups_each = many_groups(n_tiles, n_planes), n_units = n_tiles * n_groups_each;
  const oribi_cuda_acts *acts;
  uint32_t n_groups, first_tile, n_tiles_here;

  DEVICE_INLINE uint8_t *stage(uint32_t i) const { return shared_memory() + i * MANY_STAGE; }

  /* `each` calls it for 16 bytes that are there, with their place in [tile][group] objects of so many times 16 bytes. */
  template <uint32_t copies, class F>
  DEVICE_INLINE void for_each(uint32_t chunk, F each) const {
    NO_UNROLL
    for (uint32_t first = 0; first < n_units * copies; first += THREADS) {
      const uint32_t i = first + thread_x(), unit = i / copies;
      const uint32_t tile = unit / n_groups_each, group = chunk * n_groups_each + unit % n_groups_each;
      const bool is_there = i < n_units * copies && tile < n_tiles_here && group < n_groups;
      if (is_there) each(i, ((uint64_t)(first_tile + tile) * n_groups + group) * copies + i % copies);
    }
  }

  /* Begin to copy the chunk's groups. */
  template <bool with_sums>
  DEVICE_INLINE void copy(uint32_t chunk, uint32_t to) const {
    uint8_t *units = stage(to);
    for_each<ORIBI_CUDA_UNIT / 16>(chunk, [&](uint32_t i, uint64_t from) {
      copy_async(units + 16 * i, acts->hi + 16 * from);
      if constexpr (n_planes == 2) copy_async(units + n_units * ORIBI_CUDA_UNIT + 16 * i, acts->lo + 16 * from);
    });
    if constexpr (with_sums) {
      uint8_t *sums = units + MANY_UNITS * ORIBI_CUDA_UNIT;
      for_each<2 * ORIBI_CUDA_TILE / 4>(chunk, [&](uint32_t i, uint64_t from) {
        copy_async(sums + 16 * i, (const uint8_t *)acts->sums + 16 * from);
      });
    }
  }

  /* A lane's part of a tile's group, the i-th of the chunk. */
  template <bool with_sums>
  DEVICE_INLINE group_acts load(uint32_t at, uint32_t tile, uint32_t i, uint32_t lane) const {
    const uint32_t unit = tile * n_groups_each + i;
    const uint8_t *units = stage(at) + lane * 16;
    group_acts x = {};
    x.hi = *(const uint4 *)(units + unit * ORIBI_CUDA_UNIT);
    if constexpr (n_planes == 2) x.lo = *(const uint4 *)(units + (n_units + unit) * ORIBI_CUDA_UNIT);
    if constexpr (with_sums) {
      const float *sums = (const float *)(stage(at) + MANY_UNITS * ORIBI_CUDA_UNIT) + unit * 2 * ORIBI_CUDA_TILE;
      x.sums[0] = *(const float2 *)(sums + lane % 4 * 2);
      x.sums[1] = *(const float2 *)(sums + ORIBI_CUDA_TILE + lane % 4 * 2);
    }
    return x;
  }
};

/* The sums of a warp's finished shares, in shared memory: 16 bytes of each tile are a lane's own. */
template <int n_tiles>
struct share_sums {
  float4 *mine;

  DEVICE_INLINE share_sums(uint32_t warp, uint32_t lane) {
    mine = (float4 *)(shared_memory() + MANY_STAGES * MANY_STAGE) + warp * n_tiles * WARP + lane;
    UNROLL
    for (int tile = 0; tile < n_tiles; tile++) mine[tile * WARP] = {0.0f, 0.0f, 0.0f, 0.0f};
  }

  /* Add a share, and begin the next. */
  DEVICE_INLINE void add(float acc[n_tiles][4]) {
    UNROLL
    for (int tile = 0; tile < n_tiles; tile++) {
      float4 &sum = mine[tile * WARP];
      sum = {sum.x + acc[tile][0], sum.y + acc[tile][1], sum.z + acc[tile][2], sum.w + acc[tile][3]};
      UNROLL
      for (int i = 0; i < 4; i++) acc[tile][i] = 0.0f;
    }
  }
};

/* Chunks that weights are brought into the second cache before they are loaded from there. */
#define PREFETCH_CHUNKS 4

/* The lines of groups [first, first + n) of a panel. */
template <class W>
DEVICE_INLINE void prefetch_weights(const uint8_t *panel, uint64_t panel_bytes, uint32_t first, uint32_t n, uint32_t lane) {
  constexpr uint32_t groups_per_unit = W::units.len / GROUP, group_bytes = W::units.bytes / groups_per_unit;
  const uint64_t begin = (uint64_t)first * group_bytes;
  for (uint32_t at = 128 * lane; at < n * group_bytes; at += 128 * WARP) {
    if (begin + at < panel_bytes) prefetch(panel + begin + at);
  }
}

template <class W, int n_tokens, int n_planes>
DEVICE_INLINE void matmul_many(const oribi_cuda_matmul_args &a) {
  constexpr int n_tiles = n_tokens / ORIBI_CUDA_TILE;
  constexpr uint32_t each = many_groups(n_tiles, n_planes), groups_per_unit = W::units.len / GROUP;
  const uint32_t warp = thread_x() / WARP, lane = thread_x() % WARP;
  const uint32_t n_groups = shape_ceil(a.k, GROUP), n_chunks = shape_ceil(n_groups, each);
  const uint32_t n_units = shape_ceil(a.k, W::units.len);
  const uint32_t first_tile = block_y() * n_tiles, tiles_left = shape_ceil(a.n_tokens, ORIBI_CUDA_TILE) - first_tile;
  const uint32_t tiles_here = tiles_left < n_tiles ? tiles_left : n_tiles;
  const acts_stages<n_tiles, n_planes> stages = {&a.acts, n_groups, first_tile, tiles_here};
  const block_panels panels(a, block_x(), WARPS);
  const bool has_panel = panels.first + warp < panels.weights->n_panels;
  const uint8_t *panel = panels.weights->panels + (panels.first + warp) * panels.weights->panel_bytes;
  const lane_place at(lane);
  share_sums<n_tiles> sums(warp, lane);
  uint32_t share = 0, share_end = matmul_share(n_units, 1) * groups_per_unit;
  float acc[n_tiles][4] = {};
  UNROLL
  for (uint32_t i = 0; i + 1 < MANY_STAGES; i++) {
    if (i < n_chunks) stages.template copy<needs_sums<W>()>(i, i);
    copy_commit();
  }
  raw_group<W> raw; /* of the next group */
  if (has_panel) raw.load(panel, 0, 0, a.k, at);
  uint32_t stage = 0;
  NO_UNROLL
  for (uint32_t chunk = 0; chunk < n_chunks; chunk++) {
    copy_wait<(int)MANY_STAGES - 2>();
    sync_block(); /* all copies are there, and the stage that is filled next is left */
    const uint32_t next = chunk + MANY_STAGES - 1;
    if (next < n_chunks) stages.template copy<needs_sums<W>()>(next, stage == 0 ? MANY_STAGES - 1 : stage - 1);
    copy_commit();
    if (has_panel) prefetch_weights<W>(panel, panels.weights->panel_bytes, (chunk + PREFETCH_CHUNKS) * each, each, lane);
    const uint32_t first = chunk * each, n = n_groups - first < each ? n_groups - first : each;
    NO_UNROLL
    for (uint32_t i = 0; has_panel && i < n; i++) {
      while (first + i >= share_end) {
        sums.add(acc);
        share++;
        share_end = matmul_share(n_units, share + 1) * groups_per_unit;
      }
      const group_weights<W> weights(raw, at);
      if (first + i + 1 < n_groups) raw.load(panel, first + i + 1, first + i + 1, a.k, at);
      UNROLL
      for (int tile = 0; tile < n_tiles; tile++) {
        const group_acts x = stages.template load<needs_sums<W>()>(stage, tile, i, lane);
        weights.template add_to<n_planes == 2>(acc[tile], x);
        if (tile % 2 == 1) sync_warp(); /* or the compiler loads all tiles first, and runs out of registers */
      }
    }
    stage = stage + 1 == MANY_STAGES ? 0 : stage + 1;
  }
  if (!has_panel) return;
  sums.add(acc);
  float *y = a.y + panels.weights->column + (panels.first + warp) * ROWS + at.g;
  UNROLL
  for (int tile = 0; tile < n_tiles; tile++) {
    const float4 sum = sums.mine[tile * WARP];
    const uint32_t token = (first_tile + tile) * ORIBI_CUDA_TILE + 2 * at.t;
    if (token < a.n_tokens) {
      y[token * a.y_stride] = sum.x;
      y[token * a.y_stride + 8] = sum.z;
    }
    if (token + 1 < a.n_tokens) {
      y[(token + 1) * a.y_stride] = sum.y;
      y[(token + 1) * a.y_stride + 8] = sum.w;
    }
  }
}

#endif
