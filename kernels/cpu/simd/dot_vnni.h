/* dot_vnni.h - sums of unsigned codes times activation codes in byte planes (ORIBI_ACTS_PLANES): AVX-512 VNNI and AVX-VNNI. The
 * same names as dot_avx2.h.
 *
 * The including file has included its panel header and defines, for the panel's vectors,
 *
 *   vint v_dot_bytes(vint sum, vint codes, vint acts)    unsigned by signed bytes, four products to a 32-bit lane
 *   vint v_join_planes(vint high, vint low)              256 * high + low */
#ifndef ORIBI_SIMD_DOT_VNNI_H
#define ORIBI_SIMD_DOT_VNNI_H

typedef vint vcodes;

ORIBI_INLINE vcodes codes_of_bytes(packed_format f, vint bytes) {
  (void)f;
  return bytes;
}

typedef struct {
  vint high, low;
} vdot;

ORIBI_INLINE int dot_offset(packed_format f) { return f.offset; }

ORIBI_INLINE vdot dot_start(int32_t start) { return (vdot){v_set1(0), v_set1(start)}; }

/* Adds the products of step t; `acts` are the 64 bytes of a group. At most 255 * 128 * 32 in a plane: no overflow. */
ORIBI_INLINE vdot dot_add(vdot sum, vcodes codes, const uint8_t *acts, int t) {
  sum.high = v_dot_bytes(sum.high, codes, v_set1(load_i32(acts + 4 * t)));
  sum.low = v_dot_bytes(sum.low, codes, v_set1(load_i32(acts + GROUP + 4 * t)));
  return sum;
}

ORIBI_INLINE vfloat dot_finish(vdot sum) { return v_f32_of_i32(v_join_planes(sum.high, sum.low)); }

#endif
