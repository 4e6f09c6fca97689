/* dot_neon.h - sums of unsigned codes times activation codes in 16-bit pairs (ORIBI_ACTS_PAIRS), on the vectors of
 * panel_neon.h. With 8-bit numbers it would take twice as many multiplications: a product of bytes must be widened at once. */
#ifndef ORIBI_SIMD_DOT_NEON_H
#define ORIBI_SIMD_DOT_NEON_H

#include "panel_neon.h"

/* Codes of bytes 0 and 2, and of bytes 1 and 3, of every 32-bit lane as 16-bit numbers. */
typedef struct {
  int16x8_t even, odd;
} vcodes;

ORIBI_INLINE vcodes codes_of_bytes(packed_format f, vint bytes) {
  (void)f;
  const uint16x8_t v = vreinterpretq_u16_s32(bytes);
  return (vcodes){vreinterpretq_s16_u16(vandq_u16(v, vdupq_n_u16(255))), vreinterpretq_s16_u16(vshrq_n_u16(v, 8))};
}

/* Two sums for each of rows 0 and 1, and of rows 2 and 3. */
typedef struct {
  int32x4_t low, high;
} vdot;

ORIBI_INLINE int dot_offset(packed_format f) { return f.offset; }

ORIBI_INLINE vdot dot_start(int32_t start) {
  const int32x4_t first = vreinterpretq_s32_u64(vdupq_n_u64((uint32_t)start));
  return (vdot){first, first};
}

ORIBI_INLINE vdot add_pairs(vdot sum, int16x8_t codes, const uint8_t *acts) {
  const int16x8_t pair = vreinterpretq_s16_s32(vdupq_n_s32(load_i32(acts)));
  sum.low = vmlal_s16(sum.low, vget_low_s16(codes), vget_low_s16(pair));
  sum.high = vmlal_high_s16(sum.high, codes, pair);
  return sum;
}

/* Adds the products of step t; `acts` are the 64 bytes of a group. At most 255 * 32512 * 32: no overflow. */
ORIBI_INLINE vdot dot_add(vdot sum, vcodes codes, const uint8_t *acts, int t) {
  return add_pairs(add_pairs(sum, codes.even, acts + 8 * t), codes.odd, acts + 8 * t + 4);
}

ORIBI_INLINE vfloat dot_finish(vdot sum) { return vcvtq_f32_s32(vpaddq_s32(sum.low, sum.high)); }

#endif
