/* prompt.cuh - products of many tokens in native arithmetic: a block has 8 panels of 16 rows, one a warp, and 64 tokens, whose
 * activations go through shared memory for all of them. Of the activations the upper plane counts. */
#ifndef ORIBI_CUDA_PROMPT_CUH
#define ORIBI_CUDA_PROMPT_CUH

#include "group.cuh"

/* A stage: [tile][group] units, then [tile][group][half][token] sums. */
struct prompt_stages {
  const oribi_cuda_acts *acts;
  uint32_t n_groups, first_tile, n_tiles;

  DEVICE_INLINE void copy(uint32_t chunk, uint8_t *stage) const {
    constexpr uint32_t unit_copies = ORIBI_CUDA_UNIT / 16, sum_copies = 2 * ORIBI_CUDA_TILE * 4 / 16;
    const uint32_t first = chunk * PROMPT_GROUPS;
    for (uint32_t i = thread_x(); i < PROMPT_UNITS * unit_copies; i += THREADS) {
      const uint32_t unit = i / unit_copies, tile = unit / PROMPT_GROUPS, group = first + unit % PROMPT_GROUPS;
      if (tile >= n_tiles || group >= n_groups) continue;
      const uint64_t from = (uint64_t)(first_tile + tile) * n_groups + group;
      copy_async(stage + i * 16, acts->hi + from * ORIBI_CUDA_UNIT + i % unit_copies * 16);
    }
    uint8_t *sums = stage + PROMPT_UNITS * ORIBI_CUDA_UNIT;
    for (uint32_t i = thread_x(); i < PROMPT_UNITS * sum_copies; i += THREADS) {
      const uint32_t unit = i / sum_copies, tile = unit / PROMPT_GROUPS, group = first + unit % PROMPT_GROUPS;
      if (tile >= n_tiles || group >= n_groups) continue;
      const uint64_t from = (uint64_t)(first_tile + tile) * n_groups + group;
      copy_async(sums + i * 16, (const uint8_t *)(acts->sums + from * 2 * ORIBI_CUDA_TILE) + i % sum_copies * 16);
    }
  }
};

template <class W>
DEVICE_INLINE void prompt_matmul(const oribi_cuda_matmul_args &a) {
  const uint32_t warp = thread_x() / WARP, lane = thread_x() % WARP;
  const uint32_t n_groups = shape_ceil(a.k, GROUP), n_chunks = shape_ceil(n_groups, PROMPT_GROUPS);
  const uint32_t first_tile = block_y() * PROMPT_TILES, all_tiles = shape_ceil(a.n_tokens, ORIBI_CUDA_TILE);
  const prompt_stages stages = {&a.acts, n_groups, first_tile,
                                all_tiles - first_tile < PROMPT_TILES ? all_tiles - first_tile : PROMPT_TILES};
  const block_panels panels(a, block_x(), WARPS);
  const bool has_panel = panels.first + warp < panels.weights->n_panels;
  const uint8_t *panel = panels.weights->panels + (panels.first + warp) * panels.weights->panel_bytes;
  const lane_place at(lane);
  float acc[PROMPT_TILES][4] = {};
  UNROLL
  for (uint32_t i = 0; i + 1 < PROMPT_STAGES; i++) {
    if (i < n_chunks) stages.copy(i, shared_memory() + i * PROMPT_STAGE);
    copy_commit();
  }
  uint32_t stage = 0;
  NO_UNROLL
  for (uint32_t chunk = 0; chunk < n_chunks; chunk++) {
    copy_wait<(int)PROMPT_STAGES - 2>();
    sync_block(); /* all copies are there, and the stage that is filled next is left */
    const uint32_t next = chunk + PROMPT_STAGES - 1;
    if (next < n_chunks) {
      stages.copy(next, shared_memory() + (stage == 0 ? PROMPT_STAGES - 1 : stage - 1) * PROMPT_STAGE);
    }
    copy_commit();
    const uint8_t *units = shared_memory() + stage * PROMPT_STAGE + lane * 16;
    const float *sums = (const float *)(shared_memory() + stage * PROMPT_STAGE +
                                        PROMPT_UNITS * ORIBI_CUDA_UNIT) + 2 * at.t;
    const uint32_t first = chunk * PROMPT_GROUPS;
    const uint32_t n = n_groups - first < PROMPT_GROUPS ? n_groups - first : PROMPT_GROUPS;
    for (uint32_t i = 0; has_panel && i < n; i++) {
      group_weights<W> weights;
      weights.load(panel, first + i, first + i, a.k, at);
      UNROLL
      for (uint32_t tile = 0; tile < PROMPT_TILES; tile++) {
        const uint32_t unit = tile * PROMPT_GROUPS + i;
        group_acts x;
        x.hi = *(const uint4 *)(units + unit * ORIBI_CUDA_UNIT);
        if constexpr (needs_sums<W>()) {
          x.sums[0] = *(const float2 *)(sums + unit * 2 * ORIBI_CUDA_TILE);
          x.sums[1] = *(const float2 *)(sums + (unit * 2 + 1) * ORIBI_CUDA_TILE);
        }
        weights.template add_to<false>(acc[tile], x);
      }
    }
    stage = stage + 1 == PROMPT_STAGES ? 0 : stage + 1;
  }
  if (!has_panel) return;
  float *y = a.y + panels.weights->column + (panels.first + warp) * ROWS + at.g;
  UNROLL
  for (uint32_t tile = 0; tile < PROMPT_TILES; tile++) {
    UNROLL
    for (int i = 0; i < 4; i++) {
      const uint32_t token = (first_tile + tile) * ORIBI_CUDA_TILE + 2 * at.t + i % 2;
      if (token < a.n_tokens) y[token * a.y_stride + 8 * (i / 2)] = acc[tile][i];
    }
  }
}

#endif
