/* arm_bytes.h - the probe of Arm's 8-bit products, by the instruction: acc = product(acc, a, b) on 16 signed bytes each, n_macs
 * multiply-adds a product. */
#ifndef ORIBI_PROBE_ARM_BYTES_H
#define ORIBI_PROBE_ARM_BYTES_H

#include <arm_neon.h>

#include "probe.h"

#define PROBE_BYTES(symbol, product, n_macs)                                                     \
  void symbol(const void *);                                                                     \
  void symbol(const void *args) {                                                                \
    const oribi_probe_args *p = args;                                                            \
    int8x16_t a[4], b[4];                                                                        \
    int32x4_t acc[4][4];                                                                         \
    for (int i = 0; i < 4; i++) a[i] = vreinterpretq_s8_u8(vld1q_u8(p->data + 16 * i));          \
    for (int i = 0; i < 4; i++) b[i] = vreinterpretq_s8_u8(vld1q_u8(p->data + 64 + 16 * i));     \
    for (int i = 0; i < 16; i++) acc[i / 4][i % 4] = vdupq_n_s32(0);                             \
    PROBE_TILE(4, 4, product)                                                                    \
    int32_t lanes[64];                                                                           \
    for (int i = 0; i < 16; i++) vst1q_s32(lanes + 4 * i, acc[i / 4][i % 4]);                    \
    probe_report(p, PROBE_STEPS * 16 * n_macs, probe_sum_i32(lanes, 64));                        \
  }

#endif
