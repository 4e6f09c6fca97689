/* Probe for i8mm: 8-bit products of 2 x 8 by 8 x 2 matrices. */
#include <arm_neon.h>

#include "probe.h"

void oribi_probe_macs_planes_i8mm(const void *);
void oribi_probe_macs_planes_i8mm(const void *args) {
  const oribi_probe_args *p = args;
  int8x16_t a[4], b[4];
  int32x4_t acc[4][4];
  for (int i = 0; i < 4; i++) a[i] = vreinterpretq_s8_u8(vld1q_u8(p->data + 16 * i));
  for (int i = 0; i < 4; i++) b[i] = vreinterpretq_s8_u8(vld1q_u8(p->data + 64 + 16 * i));
  for (int i = 0; i < 16; i++) acc[i / 4][i % 4] = vdupq_n_s32(0);
  PROBE_TILE(4, 4, vmmlaq_s32)
  int32_t lanes[64];
  for (int i = 0; i < 16; i++) vst1q_s32(lanes + 4 * i, acc[i / 4][i % 4]);
  probe_report(p, PROBE_STEPS * 512, probe_sum_i32(lanes, 64));
}
