/* dot_avx2.h - sums of unsigned codes times activation codes in 16-bit pairs (ORIBI_ACTS_PAIRS), on the vectors of
 * panel_avx2.h. */
#ifndef ORIBI_SIMD_DOT_AVX2_H
#define ORIBI_SIMD_DOT_AVX2_H

#include "panel_avx2.h"

/* Codes of bytes 0 and 2, and of bytes 1 and 3, of every 32-bit lane as 16-bit numbers. */
typedef struct {
  vint even, odd;
} vcodes;

ORIBI_INLINE vcodes codes_of_bytes(packed_format f, vint bytes) {
  (void)f;
  return (vcodes){_mm256_and_si256(bytes, _mm256_set1_epi16(255)), _mm256_srli_epi16(bytes, 8)};
}

typedef struct {
  vint sum;
} vdot;

ORIBI_INLINE int dot_offset(packed_format f) { return f.offset; }

ORIBI_INLINE vdot dot_start(int32_t start) { return (vdot){v_set1(start)}; }

/* Adds the products of step t; `acts` are the 64 bytes of a group. At most 255 * 32512 * 32: no overflow. */
ORIBI_INLINE vdot dot_add(vdot sum, vcodes codes, const uint8_t *acts, int t) {
  const vint even = _mm256_madd_epi16(codes.even, v_set1(load_i32(acts + 8 * t)));
  const vint odd = _mm256_madd_epi16(codes.odd, v_set1(load_i32(acts + 8 * t + 4)));
  sum.sum = _mm256_add_epi32(sum.sum, _mm256_add_epi32(even, odd));
  /* Or else GCC reorders the additions of a whole group into a tree, whose leaves do not fit in the registers. */
  __asm__("" : "+x"(sum.sum));
  return sum;
}

ORIBI_INLINE vfloat dot_finish(vdot sum) { return _mm256_cvtepi32_ps(sum.sum); }

#endif
