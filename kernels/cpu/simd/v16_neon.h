/* v16_neon.h - the 16-lane vector as four NEON registers; v16_scalar.h says what each function means. Every aarch64 CPU has
 * what it needs, fused multiply-add and float16 conversion included. */
#ifndef ORIBI_V16_H
#define ORIBI_V16_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "inline.h"
#include "scalar.h"

#define V16_INLINE ORIBI_INLINE
#define V16_FN(name) name##_neon

typedef struct {
  float32x4_t a, b, c, d; /* lanes 0..3, 4..7, 8..11 and 12..15 */
} v16;
typedef struct {
  uint32x4_t a, b, c, d; /* all ones in a lane that is set */
} m16;

/* ---- memory ---- */

V16_INLINE v16 v16_load(const float *p) {
  return (v16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}

V16_INLINE void v16_store(float *p, v16 x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}

V16_INLINE v16 v16_load_n(const float *p, uint32_t n) {
  if (n == 16) return v16_load(p);
  float lanes[16] = {0};
  memcpy(lanes, p, n * sizeof(float));
  return v16_load(lanes);
}

V16_INLINE void v16_store_n(float *p, v16 x, uint32_t n) {
  if (n == 16) {
    v16_store(p, x);
    return;
  }
  float lanes[16];
  v16_store(lanes, x);
  memcpy(p, lanes, n * sizeof(float));
}

V16_INLINE float32x4_t load4_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
V16_INLINE void store4_f16(uint16_t *p, float32x4_t x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }

V16_INLINE v16 v16_load_f16(const uint16_t *p) {
  return (v16){load4_f16(p), load4_f16(p + 4), load4_f16(p + 8), load4_f16(p + 12)};
}

V16_INLINE void v16_store_f16(uint16_t *p, v16 x) {
  store4_f16(p, x.a);
  store4_f16(p + 4, x.b);
  store4_f16(p + 8, x.c);
  store4_f16(p + 12, x.d);
}

V16_INLINE v16 f32_of_i8(int8x16_t codes) {
  const int16x8_t low = vmovl_s8(vget_low_s8(codes)), high = vmovl_s8(vget_high_s8(codes));
  return (v16){vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
               vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))};
}

V16_INLINE v16 v16_load_u8_scaled(const uint8_t *p, v16 scale) {
  const v16 x = f32_of_i8(vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(0x80))));
  return (v16){vmulq_f32(x.a, scale.a), vmulq_f32(x.b, scale.b), vmulq_f32(x.c, scale.c), vmulq_f32(x.d, scale.d)};
}

V16_INLINE void v16_load_u4(const uint8_t *p, v16 *low, v16 *high) {
  const uint8x16_t bytes = vld1q_u8(p);
  *low = f32_of_i8(vsubq_s8(vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15))), vdupq_n_s8(8)));
  *high = f32_of_i8(vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4)), vdupq_n_s8(8)));
}

/* Asks for the cache line of p; any address will do. */
V16_INLINE void v16_prefetch(const char *p) { __builtin_prefetch(p); }

V16_INLINE void v16_load_pairs(const float *p, v16 *even, v16 *odd) {
  const float32x4x2_t a = vld2q_f32(p), b = vld2q_f32(p + 8), c = vld2q_f32(p + 16), d = vld2q_f32(p + 24);
  *even = (v16){a.val[0], b.val[0], c.val[0], d.val[0]};
  *odd = (v16){a.val[1], b.val[1], c.val[1], d.val[1]};
}

V16_INLINE void store_zipped(float *p, float32x4_t even, float32x4_t odd) {
  vst1q_f32(p, vzip1q_f32(even, odd));
  vst1q_f32(p + 4, vzip2q_f32(even, odd));
}

V16_INLINE void v16_store_pairs(float *p, v16 even, v16 odd) {
  store_zipped(p, even.a, odd.a);
  store_zipped(p + 8, even.b, odd.b);
  store_zipped(p + 16, even.c, odd.c);
  store_zipped(p + 24, even.d, odd.d);
}

/* ---- one IEEE operation per lane ---- */

V16_INLINE v16 v16_set1(float x) { return (v16){vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x)}; }

#define V16_QUARTERS1(name, type, fn) \
  V16_INLINE type name(v16 x) { return (type){fn(x.a), fn(x.b), fn(x.c), fn(x.d)}; }
#define V16_QUARTERS2(name, type, fn) \
  V16_INLINE type name(v16 x, v16 y) { return (type){fn(x.a, y.a), fn(x.b, y.b), fn(x.c, y.c), fn(x.d, y.d)}; }

/* Not vmaxq_f32: where one is NaN, or both are zero, it is the second. */
V16_INLINE float32x4_t larger4(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }

V16_INLINE float32x4_t with_sign4(float32x4_t x, float32x4_t y) { return vbslq_f32(vdupq_n_u32(0x80000000u), y, x); }

V16_INLINE float32x4_t raise_exponent4(float32x4_t x, float32x4_t t) {
  return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(x), vshlq_n_u32(vreinterpretq_u32_f32(t), 23)));
}

V16_INLINE uint32x4_t is_nan4(float32x4_t x) { return vmvnq_u32(vceqq_f32(x, x)); }

V16_QUARTERS2(v16_add, v16, vaddq_f32)
V16_QUARTERS2(v16_sub, v16, vsubq_f32)
V16_QUARTERS2(v16_mul, v16, vmulq_f32)
V16_QUARTERS2(v16_div, v16, vdivq_f32)
V16_QUARTERS2(v16_max, v16, larger4)
V16_QUARTERS1(v16_abs, v16, vabsq_f32)
V16_QUARTERS2(v16_copysign, v16, with_sign4)
V16_QUARTERS2(v16_raise_exponent, v16, raise_exponent4)
V16_QUARTERS2(v16_less, m16, vcltq_f32)
V16_QUARTERS1(v16_is_nan, m16, is_nan4)

V16_INLINE v16 v16_fma(v16 x, v16 y, v16 z) {
  return (v16){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
}

V16_INLINE v16 v16_fnma(v16 x, v16 y, v16 z) {
  return (v16){vfmsq_f32(z.a, x.a, y.a), vfmsq_f32(z.b, x.b, y.b), vfmsq_f32(z.c, x.c, y.c), vfmsq_f32(z.d, x.d, y.d)};
}

/* ---- masks ---- */

/* The four lanes from `first` on that are in begin <= lane < end. */
V16_INLINE uint32x4_t lanes_between(int first, int begin, int end) {
  const int32x4_t lane = vaddq_s32(vcombine_s32(vcreate_s32(0x100000000u), vcreate_s32(0x300000002u)), vdupq_n_s32(first));
  return vandq_u32(vcgeq_s32(lane, vdupq_n_s32(begin)), vcltq_s32(lane, vdupq_n_s32(end)));
}

V16_INLINE m16 m16_range(int begin, int end) {
  return (m16){lanes_between(0, begin, end), lanes_between(4, begin, end), lanes_between(8, begin, end),
               lanes_between(12, begin, end)};
}

V16_INLINE v16 v16_select(m16 m, v16 yes, v16 no) {
  return (v16){vbslq_f32(m.a, yes.a, no.a), vbslq_f32(m.b, yes.b, no.b), vbslq_f32(m.c, yes.c, no.c),
               vbslq_f32(m.d, yes.d, no.d)};
}

/* ---- folds ---- */

V16_INLINE float v16_sum(v16 x) {
  const float32x4_t s4 = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
  const float32x2_t s2 = vadd_f32(vget_low_f32(s4), vget_high_f32(s4));
  return vget_lane_f32(s2, 0) + vget_lane_f32(s2, 1);
}

V16_INLINE float v16_max_lane(v16 x) {
  const float32x4_t m4 = larger4(larger4(x.a, x.c), larger4(x.b, x.d));
  const float32x4_t m2 = larger4(m4, vextq_f32(m4, m4, 2));
  return vgetq_lane_f32(larger4(m2, vextq_f32(m2, m2, 1)), 0);
}

V16_INLINE float v16_first(v16 x) { return vgetq_lane_f32(x.a, 0); }

#endif
