/* dot_dotprod.h - sums of signed codes times activation codes in byte planes (ORIBI_ACTS_PLANES), on the vectors of
 * panel_neon.h: the Arm dot products. */
#ifndef ORIBI_SIMD_DOT_DOTPROD_H
#define ORIBI_SIMD_DOT_DOTPROD_H

#include "panel_neon.h"

typedef int8x16_t vcodes;

/* Formats whose codes exceed 127: they are moved down by 128, so that they are signed bytes. */
ORIBI_INLINE int codes_are_moved(packed_format f) { return f.q_bits + f.h_bits == 8 || f.offset >= 128; }

ORIBI_INLINE int dot_offset(packed_format f) { return codes_are_moved(f) ? f.offset - 128 : f.offset; }

ORIBI_INLINE vcodes codes_of_bytes(packed_format f, vint bytes) {
  const uint8x16_t codes = v_bytes(bytes);
  return vreinterpretq_s8_u8(codes_are_moved(f) ? veorq_u8(codes, vdupq_n_u8(128)) : codes);
}

typedef struct {
  int32x4_t high, low;
} vdot;

ORIBI_INLINE vdot dot_start(int32_t start) { return (vdot){vdupq_n_s32(0), vdupq_n_s32(start)}; }

/* sum + codes times the 32-bit lane `lane` of acts; the instruction takes it as a constant. */
ORIBI_INLINE int32x4_t dot_lane(int32x4_t sum, vcodes codes, int8x16_t acts, int lane) {
  switch (lane) {
    case 0: return vdotq_laneq_s32(sum, codes, acts, 0);
    case 1: return vdotq_laneq_s32(sum, codes, acts, 1);
    case 2: return vdotq_laneq_s32(sum, codes, acts, 2);
    default: return vdotq_laneq_s32(sum, codes, acts, 3);
  }
}

/* Adds the products of step t; `acts` are the 64 bytes of a group. At most 128 * 128 * 32 in a plane: no overflow. A load
 * serves four steps. */
ORIBI_INLINE vdot dot_add(vdot sum, vcodes codes, const uint8_t *acts, int t) {
  const int8_t *four_steps = (const int8_t *)acts + 16 * (t / 4);
  sum.high = dot_lane(sum.high, codes, vld1q_s8(four_steps), t % 4);
  sum.low = dot_lane(sum.low, codes, vld1q_s8(four_steps + GROUP), t % 4);
  return sum;
}

ORIBI_INLINE vfloat dot_finish(vdot sum) { return vcvtq_f32_s32(vaddq_s32(vshlq_n_s32(sum.high, 8), sum.low)); }

#endif
