/* group_neon.h - what NEON's quantizers of both layouts share. */
#ifndef ORIBI_QUANTIZE_ACTS_GROUP_NEON_H
#define ORIBI_QUANTIZE_ACTS_GROUP_NEON_H

#include <arm_neon.h>

#include "body.h"

ORIBI_INLINE uint32_t group_magnitude(const float *x) {
  uint32x4_t top = vdupq_n_u32(0);
  for (int i = 0; i < ORIBI_GROUP_LEN; i += 4) {
    top = vmaxq_u32(top, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), vdupq_n_u32(0x7fffffff)));
  }
  return vmaxvq_u32(top);
}

/* 8 codes in order of k; vcvtn rounds to nearest, ties to even. */
ORIBI_INLINE int16x8_t eight_codes(const float *x, float inverse) {
  const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x), inverse));
  const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4), inverse));
  return vcombine_s16(vmovn_s32(low), vmovn_s32(high));
}

ORIBI_INLINE int32_t sum_of_codes(int16x8_t first, int16x8_t second) {
  return vaddvq_s32(vpadalq_s16(vpaddlq_s16(first), second));
}

#endif
