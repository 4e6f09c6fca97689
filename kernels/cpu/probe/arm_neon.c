/* Probes for NEON: float32 multiply-add; 16-bit multiply-adds into 32 bits. */
#include <arm_neon.h>

#include "probe.h"

void oribi_probe_read_neon(const void *);
void oribi_probe_read_neon(const void *args) {
  const oribi_probe_args *p = args;
  uint32x4_t sums[8];
  for (int i = 0; i < 8; i++) sums[i] = vdupq_n_u32(0);
  for (uint64_t round = 0; round < p->n_rounds; round++) {
    for (size_t at = 0; at < p->n_bytes; at += PROBE_RUN / 4) {
      const uint8_t *x = p->data + at;
      if (p->prefetch) {
        __builtin_prefetch(x + PROBE_AHEAD);
        __builtin_prefetch(x + PROBE_AHEAD + 64);
      }
      ORIBI_UNROLL for (int i = 0; i < 8; i++) sums[i] = vaddq_u32(sums[i], vreinterpretq_u32_u8(vld1q_u8(x + 16 * i)));
    }
  }
  int32_t lanes[32];
  for (int i = 0; i < 8; i++) vst1q_s32(lanes + 4 * i, vreinterpretq_s32_u32(sums[i]));
  probe_report(p, p->n_bytes, probe_sum_i32(lanes, 32));
}

void oribi_probe_macs_f32_neon(const void *);
void oribi_probe_macs_f32_neon(const void *args) {
  const oribi_probe_args *p = args;
  float32x4_t a[4], b[4], acc[4][4];
  for (int i = 0; i < 4; i++) a[i] = vreinterpretq_f32_u8(vld1q_u8(p->data + 16 * i));
  for (int i = 0; i < 4; i++) b[i] = vreinterpretq_f32_u8(vld1q_u8(p->data + 64 + 16 * i));
  for (int i = 0; i < 16; i++) acc[i / 4][i % 4] = vdupq_n_f32(0);
  PROBE_TILE(4, 4, vfmaq_f32)
  float lanes[64];
  for (int i = 0; i < 16; i++) vst1q_f32(lanes + 4 * i, acc[i / 4][i % 4]);
  probe_report(p, PROBE_STEPS * 64, probe_sum_f32(lanes, 64));
}

ORIBI_INLINE int32x4_t mac_pairs(int32x4_t acc, int16x4_t a, int16x4_t b) {
  OPAQUE("w", a);
  return vmlal_s16(acc, a, b);
}

void oribi_probe_macs_pairs_neon(const void *);
void oribi_probe_macs_pairs_neon(const void *args) {
  const oribi_probe_args *p = args;
  int16x4_t a[4], b[4];
  int32x4_t acc[4][4];
  for (int i = 0; i < 4; i++) a[i] = vreinterpret_s16_u8(vld1_u8(p->data + 8 * i));
  for (int i = 0; i < 4; i++) b[i] = vreinterpret_s16_u8(vld1_u8(p->data + 32 + 8 * i));
  for (int i = 0; i < 16; i++) acc[i / 4][i % 4] = vdupq_n_s32(0);
  PROBE_TILE(4, 4, mac_pairs)
  int32_t lanes[64];
  for (int i = 0; i < 16; i++) vst1q_s32(lanes + 4 * i, acc[i / 4][i % 4]);
  probe_report(p, PROBE_STEPS * 64, probe_sum_i32(lanes, 64));
}
