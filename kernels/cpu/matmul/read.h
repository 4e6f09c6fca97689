/* read.h - LANES rows of a packed group as vectors of simd/panel_*.h, which the including file chooses: unsigned codes of a
 * step, scales and minima. The format is a constant argument: every branch on it is decided by the compiler. */
#ifndef ORIBI_MATMUL_READ_H
#define ORIBI_MATMUL_READ_H

#include "../packed.h"
#include "../simd/inline.h"

/* The n_bits of step t, placed at bit `to` of every byte. */
ORIBI_INLINE vint read_bits(const uint8_t *lines, int n_bits, int t, int lane, int to) {
  const int per_byte = 8 / n_bits;
  const int line = n_bits == 4 ? t % 4 : t / per_byte;
  const int shift = n_bits == 4 ? t / 4 * 4 : t % per_byte * n_bits;
  const vint v = v_load(lines + line * LINE + 4 * lane);
  return n_bits == 8 ? v : v_shift_mask(v, shift - to, ((1 << n_bits) - 1) << to);
}

/* The codes of step t as unsigned bytes, `offset` above their value. */
ORIBI_INLINE vint read_codes(packed_format f, const uint8_t *group, int t, int lane) {
  vint code = read_bits(group + f.q_at, f.q_bits, t, lane, 0);
  if (f.h_bits) code = v_or(code, read_bits(group + f.h_at, f.h_bits, t, lane, f.q_bits));
  if (f.table != TABLE_NONE) code = v_look_up(packed_tables[f.table], f.offset, code);
  return code;
}

typedef struct {
  vfloat s, m;
} vscales;

/* The same where d is binary32. */
ORIBI_INLINE vscales read_scales_f32(packed_format f, const uint8_t *block, const uint8_t *group, int part, int lane) {
  const vfloat d = v_load_f32(block + 4 * lane);
  vscales v = {d, v_zero()};
  if (f.scale == SCALE_F32_I8 || f.scale == SCALE_F32_I8_MIN) {
    v.s = v_mul(d, v_f32_of_i32(v_load_i8(group + part * ROWS + lane)));
  }
  if (f.scale == SCALE_F32_I8_MIN) v.m = v_mul(d, v_f32_of_i32(v_load_i8(group + ROWS + lane)));
  if (f.scale == SCALE_F32_NIBBLE) {
    const vint both = v_load_u8(group + lane);
    v.s = v_mul(d, v_f32_of_i32(part ? v_shift_right_i32(both, 4) : v_and_i32(both, 15)));
  }
  return v;
}

/* Scale and minimum in part `part` of a group; see packed_scales_of. -(dmin * mn) is (-dmin) * mn, bit for bit. */
ORIBI_INLINE vscales read_scales(packed_format f, const uint8_t *block, const uint8_t *group, int part, int lane) {
  const uint8_t *sc = group + part * ROWS + lane;
  vscales v = {v_zero(), v_zero()};
  if (f.scale >= SCALE_F32_I8) return read_scales_f32(f, block, group, part, lane);
  if (f.scale == SCALE_E8M0) {
    v.s = v_load_e8m0_half(block + lane);
    return v;
  }
  if (f.scale == SCALE_F32) {
    v.s = v_load_f32(block + 4 * lane);
    return v;
  }
  v.s = v_load_f16(block + 2 * lane);
  if (packed_has_min(f)) v.m = v_load_f16(block + 2 * ROWS + 2 * lane);
  if (f.scale == SCALE_I8) v.s = v_mul(v.s, v_f32_of_i32(v_load_i8(sc)));
  if (f.scale == SCALE_U8_MIN) {
    v.s = v_mul(v.s, v_f32_of_i32(v_load_u8(sc)));
    v.m = v_mul(v_negate(v.m), v_f32_of_i32(v_load_u8(sc + ROWS)));
  }
  if (f.scale == SCALE_NIBBLE_MIN) {
    const vint both = v_load_u8(sc);
    v.s = v_mul(v.s, v_f32_of_i32(v_and_i32(both, 15)));
    v.m = v_mul(v_negate(v.m), v_f32_of_i32(v_shift_right_i32(both, 4)));
  }
  return v;
}

#endif
