/* matmul_few.cuh - products of few tokens: a block has a panel of 16 rows, its 8 warps fixed shares of k. A warp streams its share
 * through a ring of its own in shared memory, so that copies are under way while it computes, and waits for nobody until the
 * shares' sums are added, in order of the warps. */
#ifndef ORIBI_CUDA_MATMUL_FEW_CUH
#define ORIBI_CUDA_MATMUL_FEW_CUH

#include "group.cuh"

/* A warp's share of a panel on its way through shared memory. */
template <class W>
struct unit_ring {
  static constexpr matmul_units units = W::units;
  const uint8_t *panel;
  uint64_t panel_bytes;
  uint8_t *ring;
  uint32_t lane;

  /* Begin to copy unit `u` of the panel to stage `stage`. */
  DEVICE_INLINE void copy(uint32_t u, uint32_t stage) const {
    const uint64_t first = (uint64_t)u * units.bytes, left = panel_bytes - first;
    const uint32_t n = left < units.bytes ? (uint32_t)left : units.bytes;
    uint8_t *to = ring + stage * units.bytes;
    UNROLL
    for (uint32_t i = 0; i < units.bytes; i += 16 * WARP) {
      if (i + 16 * lane < n) copy_async(to + i + 16 * lane, panel + first + i + 16 * lane);
    }
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

template <class W, int n_tiles, bool both>
DEVICE_INLINE void add_share(const oribi_cuda_matmul_args &a, const unit_ring<W> &ring, uint32_t warp, uint32_t token,
                             float acc[n_tiles][4]) {
  constexpr matmul_units units = W::units;
  constexpr uint32_t groups_per_unit = units.len / GROUP;
  const uint32_t n_groups = shape_ceil(a.k, GROUP), n_units = shape_ceil(a.k, units.len);
  const uint32_t begin = matmul_share(n_units, warp), end = matmul_share(n_units, warp + 1);
  const lane_place at(ring.lane);
  UNROLL
  for (uint32_t i = 0; i + 1 < units.stages; i++) {
    if (begin + i < end) ring.copy(begin + i, i);
    copy_commit();
  }
  uint32_t stage = 0;
  NO_UNROLL
  for (uint32_t u = begin; u < end; u++) {
    copy_wait<(int)units.stages - 2>();
    sync_warp(); /* the other lanes' copies are there, and they have left the stage that is filled next */
    const uint32_t next = u + units.stages - 1;
    if (next < end) ring.copy(next, stage == 0 ? units.stages - 1 : stage - 1);
    copy_commit();
    const uint8_t *unit = ring.ring + stage * units.bytes;
    const uint32_t first = u * groups_per_unit;
    const uint32_t n = n_groups - first < groups_per_unit ? n_groups - first : groups_per_unit;
    for (uint32_t i = 0; i < n; i++) {
      group_weights<W> weights;
      weights.load(unit, i, first + i, a.k, at);
      UNROLL
      for (int tile = 0; tile < n_tiles; tile++) {
        const group_acts x = load_acts<both, needs_sums<W>()>(a.acts, n_groups, first + i, token + tile * ORIBI_CUDA_TILE,
                                                              a.n_tokens, ring.lane);
        weights.template add_to<both>(acc[tile], x);
      }
    }
    stage = stage + 1 == units.stages ? 0 : stage + 1;
  }
}

template <class W, int n_tokens>
DEVICE_INLINE void matmul_few(const oribi_cuda_matmul_args &a) {
  constexpr int n_tiles = n_tokens / ORIBI_CUDA_TILE;
  const uint32_t warp = thread_x() / WARP, lane = thread_x() % WARP, token = block_y() * n_tokens;
  const block_panels panels(a, block_x(), 1);
  const uint64_t panel_bytes = panels.weights->panel_bytes;
  unit_ring<W> ring = {panels.weights->panels + panels.first * panel_bytes, panel_bytes,
                       shared_memory() + warp * W::units.stages * W::units.bytes, lane};
  float acc[n_tiles][4] = {};
  if (a.acts.lo) {
    add_share<W, n_tiles, true>(a, ring, warp, token, acc);
  } else {
    add_share<W, n_tiles, false>(a, ring, warp, token, acc);
  }
  /* [warp][token][row], where the rings were */
  sync_block();
  float *partials = (float *)shared_memory();
  const lane_place at(lane);
  UNROLL
  for (int tile = 0; tile < n_tiles; tile++) {
    UNROLL
    for (int i = 0; i < 4; i++) {
      const uint32_t of = warp * n_tokens + tile * ORIBI_CUDA_TILE + 2 * at.t + i % 2;
      partials[of * ROWS + at.g + 8 * (i / 2)] = acc[tile][i];
    }
  }
  sync_block();
  float *y = a.y + panels.weights->column + panels.first * ROWS;
  for (uint32_t i = thread_x(); i < n_tokens * ROWS; i += THREADS) {
    float sum = partials[i];
    UNROLL
    for (uint32_t w = 1; w < WARPS; w++) sum += partials[w * n_tokens * ROWS + i];
    if (token + i / ROWS < a.n_tokens) y[(token + i / ROWS) * a.y_stride + i % ROWS] = sum;
  }
}

#endif
