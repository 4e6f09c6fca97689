/* Probe for dotprod: 8-bit dot products, four to a 32-bit lane. */
#include <arm_neon.h>

#include "probe.h"

void oribi_probe_macs_planes_dotprod(const void *);
void oribi_probe_macs_planes_dotprod(const void *args) {
  const oribi_probe_args *p = args;
  int8x16_t a[4], b[4];
  int32x4_t acc[4][4];
  for (int i = 0; i < 4; i++) a[i] = vreinterpretq_s8_u8(vld1q_u8(p->data + 16 * i));
  for (int i = 0; i < 4; i++) b[i] = vreinterpretq_s8_u8(vld1q_u8(p->data + 64 + 16 * i));
  for (int i = 0; i < 16; i++) acc[i / 4][i % 4] = vdupq_n_s32(0);
  PROBE_TILE(4, 4, vdotq_s32)
  int32_t lanes[64];
  for (int i = 0; i < 16; i++) vst1q_s32(lanes + 4 * i, acc[i / 4][i % 4]);
  probe_report(p, PROBE_STEPS * 256, probe_sum_i32(lanes, 64));
}
