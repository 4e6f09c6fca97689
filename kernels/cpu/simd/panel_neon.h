/* panel_neon.h - 4 of the 16 rows of a packed panel as one vector: NEON.
 *
 * The same names as panel_avx512.h, so that the loops over them are written once (matmul/tile.h). How codes meet activations
 * is another header's: dot_neon.h, or dot_dotprod.h. */
#ifndef ORIBI_SIMD_PANEL_NEON_H
#define ORIBI_SIMD_PANEL_NEON_H

#include <arm_neon.h>

#include "../packed.h"
#include "inline.h"

enum { LANES = 4 };

typedef int32x4_t vint;
typedef float32x4_t vfloat;

ORIBI_INLINE uint8x16_t v_bytes(vint v) { return vreinterpretq_u8_s32(v); }
ORIBI_INLINE vint v_of_bytes(uint8x16_t v) { return vreinterpretq_s32_u8(v); }

ORIBI_INLINE vint v_load(const uint8_t *p) { return v_of_bytes(vld1q_u8(p)); }
ORIBI_INLINE vint v_set1(int32_t x) { return vdupq_n_s32(x); }
ORIBI_INLINE vint v_or(vint a, vint b) { return vorrq_s32(a, b); }

/* (v >> n, or << -n) with only the bits of `mask` kept in every byte. */
ORIBI_INLINE vint v_shift_mask(vint v, int n, int mask) {
  uint8x16_t bytes = v_bytes(v);
  if (n > 0) bytes = bytes >> n;
  if (n < 0) bytes = bytes << -n;
  if (n > 0 && mask == 255 >> n) return v_of_bytes(bytes); /* nothing else is left */
  return v_of_bytes(vandq_u8(bytes, vdupq_n_u8((uint8_t)mask)));
}

/* table[index] + offset for every byte, index 0..15. */
ORIBI_INLINE vint v_look_up(const int8_t *table, int offset, vint index) {
  const uint8x16_t values = vaddq_u8(vld1q_u8((const uint8_t *)table), vdupq_n_u8((uint8_t)offset));
  return v_of_bytes(vqtbl1q_u8(values, v_bytes(index)));
}

ORIBI_INLINE vfloat v_zero(void) { return vdupq_n_f32(0.0f); }
ORIBI_INLINE vfloat v_set1_f32(float x) { return vdupq_n_f32(x); }
ORIBI_INLINE vfloat v_mul(vfloat a, vfloat b) { return vmulq_f32(a, b); }
ORIBI_INLINE vfloat v_fma(vfloat a, vfloat b, vfloat c) { return vfmaq_f32(c, a, b); }
ORIBI_INLINE vfloat v_negate(vfloat a) { return vnegq_f32(a); }
ORIBI_INLINE vfloat v_f32_of_i32(vint v) { return vcvtq_f32_s32(v); }
ORIBI_INLINE void v_store_f32(float *p, vfloat v) { vst1q_f32(p, v); }

/* Vectors of 4 elements at p. */
ORIBI_INLINE uint16x4_t load4_u16(const uint8_t *p) {
  uint64_t bits;
  memcpy(&bits, p, sizeof bits);
  return vcreate_u16(bits);
}

ORIBI_INLINE uint8x8_t load4_u8(const uint8_t *p) { return vcreate_u8((uint32_t)load_i32(p)); }

ORIBI_INLINE vfloat v_load_f32(const uint8_t *p) { return vreinterpretq_f32_u8(vld1q_u8(p)); }
ORIBI_INLINE vfloat v_load_f16(const uint8_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(load4_u16(p))); }
ORIBI_INLINE vfloat v_load_bf16(const uint8_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(load4_u16(p), 16)); }
ORIBI_INLINE vint v_load_i8(const uint8_t *p) {
  return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load4_u8(p)))));
}
ORIBI_INLINE vint v_load_u8(const uint8_t *p) {
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(load4_u8(p)))));
}
ORIBI_INLINE vint v_and_i32(vint v, int32_t mask) { return vandq_s32(v, vdupq_n_s32(mask)); }
ORIBI_INLINE vint v_shift_right_i32(vint v, int n) { return vreinterpretq_s32_u32(vreinterpretq_u32_s32(v) >> n); }

/* 2^(e - 128); see f32_of_e8m0_half. */
ORIBI_INLINE vfloat v_load_e8m0_half(const uint8_t *p) {
  const vint e = v_load_u8(p), one = v_set1(1);
  const vint normal = vshlq_n_s32(vsubq_s32(e, one), 23);
  const vint small = vshlq_s32(v_set1(0x00200000), e);
  return vreinterpretq_f32_s32(vbslq_s32(vcgtq_s32(e, one), normal, small));
}

#endif
