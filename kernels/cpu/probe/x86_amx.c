/* Probes for AMX: 2 x 2 tiles of 16 x 16 accumulators; int8 products of depth 64 and bf16 products of depth 32. */
#include "../simd/amx.h"
#include "probe.h"

ORIBI_INLINE void begin_tiles(const uint8_t *data) {
  const amx_config config = amx_full_tiles();
  amx_configure(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, data, 64);
  _tile_loadd(5, data + 1024, 64);
  _tile_loadd(6, data + 2048, 64);
  _tile_loadd(7, data + 3072, 64);
}

/* The accumulators, (64, 16) lanes. */
ORIBI_INLINE void end_tiles(void *lanes) {
  uint8_t *out = lanes;
  _tile_stored(0, out, 64);
  _tile_stored(1, out + 1024, 64);
  _tile_stored(2, out + 2048, 64);
  _tile_stored(3, out + 3072, 64);
  _tile_release();
}

void oribi_probe_macs_planes_amx(const void *);
void oribi_probe_macs_planes_amx(const void *args) {
  const oribi_probe_args *p = args;
  int32_t lanes[1024];
  begin_tiles(p->data);
  for (uint64_t step = 0; step < p->n_rounds * PROBE_STEPS; step++) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  end_tiles(lanes);
  probe_report(p, PROBE_STEPS * 4 * 16 * 16 * 64, probe_sum_i32(lanes, 1024));
}

void oribi_probe_macs_bf16_amx(const void *);
void oribi_probe_macs_bf16_amx(const void *args) {
  const oribi_probe_args *p = args;
  float lanes[1024];
  begin_tiles(p->data);
  for (uint64_t step = 0; step < p->n_rounds * PROBE_STEPS; step++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  end_tiles(lanes);
  probe_report(p, PROBE_STEPS * 4 * 16 * 16 * 32, probe_sum_f32(lanes, 1024));
}
