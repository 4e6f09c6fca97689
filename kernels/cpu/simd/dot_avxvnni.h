/* dot_avxvnni.h - sums of unsigned codes times activation codes in byte planes (ORIBI_ACTS_PLANES), on the vectors of
 * panel_avx2.h: AVX-VNNI. The same names as dot_avx2.h. */
#ifndef ORIBI_SIMD_DOT_AVXVNNI_H
#define ORIBI_SIMD_DOT_AVXVNNI_H

#include "panel_avx2.h"

typedef vint vcodes;

ORIBI_INLINE vcodes codes_of_bytes(packed_format f, vint bytes) {
  (void)f;
  return bytes;
}

typedef struct {
  vint high, low;
} vdot;

ORIBI_INLINE int dot_offset(packed_format f) { return f.offset; }

ORIBI_INLINE vdot dot_start(int32_t start) { return (vdot){_mm256_setzero_si256(), v_set1(start)}; }

/* Adds the products of step t; `acts` are the 64 bytes of a group. At most 255 * 128 * 32 in a plane: no overflow. */
ORIBI_INLINE vdot dot_add(vdot sum, vcodes codes, const uint8_t *acts, int t) {
  sum.high = _mm256_dpbusd_avx_epi32(sum.high, codes, v_set1(load_i32(acts + 4 * t)));
  sum.low = _mm256_dpbusd_avx_epi32(sum.low, codes, v_set1(load_i32(acts + GROUP + 4 * t)));
  return sum;
}

ORIBI_INLINE vfloat dot_finish(vdot sum) {
  return _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_slli_epi32(sum.high, 8), sum.low));
}

#endif
