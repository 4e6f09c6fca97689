/* matmul_few.cuh - products of few tokens: a block has a panel of 16 rows, its 8 warps fixed shares of k. A warp streams its share
 * through a ring of its own in shared memory, so that copies are under way while it computes, and waits for nobody until the
 * shares' sums are added, in order of the warps. */
#ifndef ORIBI_CUDA_MATMUL_FEW_CUH
#define ORIBI_CUDA_MATMUL_FEW_CUH

#include "group.cuh"

/* A warp's shares of `n_panels` panels, one after the other, on their way through shared memory. */
template <class W, int n_panels>
struct unit_ring {
  static constexpr matmul_units units = W::units;
  const uint8_t *panels[n_panels];
  uint64_t panel_bytes;
  uint8_t *ring;
  uint32_t lane, begin, n; /* units of each share */

  /* Begin to copy the i-th unit of all shares, if there is one, to a stage. */
  DEVICE_INLINE void copy(uint32_t i, uint32_t stage) const {
    if (i < n_panels * n) {
      const uint8_t *panel = panels[0];
      UNROLL
      for (int p = 1; p < n_panels; p++) {
        if (i >= n) {
          i -= n;
          panel = panels[p];
        }
      }
      const uint64_t first = (uint64_t)(begin + i) * units.bytes, left = panel_bytes - first;
      const uint32_t n_bytes = left < units.bytes ? (uint32_t)left : units.bytes;
      uint8_t *to = ring + stage * units.bytes;
      UNROLL
      for (uint32_t at = 0; at < units.bytes; at += 16 * WARP) {
        if (at + 16 * lane < n_bytes) copy_async(to + at + 16 * lane, panel + first + at + 16 * lane);
      }
    }
    copy_commit();
  }
};

/* What a lane has of a group's activations, of the 8 tokens from `token` on; tokens that do not exist are 0. */
template <bool both, bool sums>
DEVICE_INLINE group_acts load_acts(const oribi_cuda_acts &acts, uint32_t n_groups, uint32_t group, uint32_t token,
                                   uint32_t n_tokens, uint32_t lane) {
  group_acts x = {};
  const uint64_t unit = (uint64_t)(token / ORIBI_CUDA_TILE) * n_groups + group;
  const uint64_t at = unit * ORIBI_CUDA_UNIT + lane * 16;
  if (token + lane / 4 < n_tokens) {
    x.hi = load_const((const uint4 *)(acts.hi + at));
    if constexpr (both) x.lo = load_const((const uint4 *)(acts.lo + at));
  }
  if constexpr (sums) {
    const float *of = acts.sums + unit * 2 * ORIBI_CUDA_TILE + lane % 4 * 2;
    if (token + lane % 4 * 2 < n_tokens) {
      x.sums[0] = load_const((const float2 *)of);
      x.sums[1] = load_const((const float2 *)(of + ORIBI_CUDA_TILE));
    }
  }
  return x;
}

/* The sums of a warp's shares. Of one tile the activations are loaded a group ahead. */
template <class W, int n_tiles, int n_panels, bool both>
DEVICE_INLINE void add_shares(const oribi_cuda_matmul_args &a, const unit_ring<W, n_panels> &ring, uint32_t token,
                              float acc[n_panels][n_tiles][4]) {
  constexpr matmul_units units = W::units;
  constexpr uint32_t groups_per_unit = units.len / GROUP;
  constexpr bool ahead = n_tiles == 1;
  const uint32_t n_groups = shape_ceil(a.k, GROUP);
  const lane_place at(ring.lane);
  const auto acts_of = [&](uint32_t group, int tile) {
    const uint32_t first = token + tile * ORIBI_CUDA_TILE;
    return load_acts<both, needs_sums<W>()>(a.acts, n_groups, group, first, a.n_tokens, ring.lane);
  };
  UNROLL
  for (uint32_t i = 0; i + 1 < units.stages; i++) ring.copy(i, i);
  uint32_t stage = 0, next = units.stages - 1;
  UNROLL
  for (int panel = 0; panel < n_panels; panel++) {
    group_acts x[n_tiles] = {};
    if (ahead && ring.n > 0) x[0] = acts_of(ring.begin * groups_per_unit, 0);
    NO_UNROLL
    for (uint32_t u = ring.begin; u < ring.begin + ring.n; u++) {
      copy_wait<(int)units.stages - 2>();
      sync_warp(); /* the other lanes' copies are there, and they have left the stage that is filled next */
      ring.copy(next++, stage == 0 ? units.stages - 1 : stage - 1);
      const uint8_t *unit = ring.ring + stage * units.bytes;
      const uint32_t first = u * groups_per_unit;
      const uint32_t n = n_groups - first < groups_per_unit ? n_groups - first : groups_per_unit;
      for (uint32_t i = 0; i < n; i++) {
        raw_group<W> raw;
        raw.load(unit, i, first + i, a.k, at);
        const group_weights<W> weights(raw, at);
        UNROLL
        for (int tile = 0; tile < n_tiles; tile++) {
          if (!ahead) x[tile] = acts_of(first + i, tile);
          const group_acts now = x[tile];
          if (ahead && first + i + 1 < n_groups) x[tile] = acts_of(first + i + 1, tile);
          weights.template add_to<both>(acc[panel][tile], now);
        }
      }
      stage = stage + 1 == units.stages ? 0 : stage + 1;
    }
  }
}

/* The products of a panel, by its number, of `n_panels` matrices with the block's tokens: [matrix][token][row] in shared memory,
 * for all threads. */
template <class W, int n_tokens, int n_panels>
DEVICE_INLINE const float *few_sums(const oribi_cuda_matmul_args &a, const oribi_cuda_weights *weights,
                                    uint32_t panel) {
  constexpr int n_tiles = n_tokens / ORIBI_CUDA_TILE;
  constexpr uint32_t n_sums = n_panels * n_tokens * ROWS;
  const uint32_t warp = thread_x() / WARP, lane = thread_x() % WARP, token = block_y() * n_tokens;
  const uint32_t n_units = shape_ceil(a.k, W::units.len), begin = matmul_share(n_units, warp);
  unit_ring<W, n_panels> ring;
  UNROLL
  for (int p = 0; p < n_panels; p++) ring.panels[p] = weights[p].panels + panel * weights[p].panel_bytes;
  ring.panel_bytes = weights->panel_bytes;
  ring.ring = shared_memory() + warp * W::units.stages * W::units.bytes;
  ring.lane = lane;
  ring.begin = begin;
  ring.n = matmul_share(n_units, warp + 1) - begin;
  float acc[n_panels][n_tiles][4] = {};
  if (a.acts.lo) {
    add_shares<W, n_tiles, n_panels, true>(a, ring, token, acc);
  } else {
    add_shares<W, n_tiles, n_panels, false>(a, ring, token, acc);
  }
  sync_block(); /* the rings are left: [warp][matrix][token][row] takes their place */
  float *partials = (float *)shared_memory();
  const lane_place at(lane);
  UNROLL
  for (int p = 0; p < n_panels; p++) {
    UNROLL
    for (int tile = 0; tile < n_tiles; tile++) {
      UNROLL
      for (int i = 0; i < 4; i++) {
        const uint32_t of = (warp * n_panels + p) * n_tokens + tile * ORIBI_CUDA_TILE + 2 * at.t + i % 2;
        partials[of * ROWS + at.g + 8 * (i / 2)] = acc[p][tile][i];
      }
    }
  }
  sync_block();
  for (uint32_t i = thread_x(); i < n_sums; i += THREADS) {
    float sum = partials[i];
    UNROLL
    for (uint32_t w = 1; w < WARPS; w++) sum += partials[w * n_sums + i];
    partials[i] = sum;
  }
  sync_block();
  return partials;
}

template <class W, int n_tokens>
DEVICE_INLINE void matmul_few(const oribi_cuda_matmul_args &a) {
  const block_panels panels(a, block_x(), 1);
  const float *sums = few_sums<W, n_tokens, 1>(a, panels.weights, panels.first);
  const uint32_t token = block_y() * n_tokens;
  float *y = a.y + panels.weights->column + panels.first * ROWS;
  for (uint32_t i = thread_x(); i < n_tokens * ROWS; i += THREADS) {
    if (token + i / ROWS < a.n_tokens) y[(token + i / ROWS) * a.y_stride + i % ROWS] = sums[i];
  }
}

#endif
