/* body.h - the loop of the vector kernels of quantize_acts; ref.c defines what they compute.
 *
 * The including file provides two functions of one group of 32 inputs:
 *
 *   uint32_t group_magnitude(const float *x)                                     bits of the largest |x|
 *   void group_codes(const float *x, float inverse, uint8_t *codes, int32_t *sums)
 *       rne(x * inverse) in the kernel's layout (64 bytes), and the sums of both half groups */
#ifndef ORIBI_QUANTIZE_ACTS_BODY_H
#define ORIBI_QUANTIZE_ACTS_BODY_H

#include <string.h>

#include "../../oribi_kernels.h"
#include "../simd/inline.h"
#include "../simd/scalar.h"

ORIBI_INLINE uint32_t group_magnitude(const float *x);
ORIBI_INLINE void group_codes(const float *x, float inverse, uint8_t *codes, int32_t *sums);

/* Codes and sums of a group; returns its scale. */
ORIBI_INLINE float quantize_group(const float *x, uint8_t *codes, int32_t *sums) {
  const uint32_t infinity = 0x7f800000u, nan = 0x7fc00000u, magnitude = group_magnitude(x);
  const float amax = f32_of_bits(magnitude), inverse = ORIBI_A16_MAX / amax;
  if (magnitude >= infinity || inverse > 3.402823466e38f) { /* not finite, or too small (zero included) */
    memset(codes, 0, 2 * ORIBI_GROUP_LEN);
    sums[0] = sums[1] = 0;
    return magnitude >= infinity ? f32_of_bits(nan) : 0.0f;
  }
  group_codes(x, inverse, codes, sums);
  return amax / ORIBI_A16_MAX;
}

ORIBI_INLINE void quantize_rows(const oribi_quantize_acts_args *a) {
  const size_t n_groups = a->k / ORIBI_GROUP_LEN, first = a->begin / ORIBI_GROUP_LEN;
  for (size_t r = 0; r < a->n_rows; r++) {
    const float *x = a->x + r * a->x_stride;
    uint8_t *codes = a->acts + (a->first_row + r) * a->acts_stride, *scales = codes + 2 * (size_t)a->k;
    uint8_t *all_sums = scales + sizeof(float) * n_groups;
    for (size_t g = first; g < a->end / ORIBI_GROUP_LEN; g++) {
      int32_t sums[2];
      const float scale = quantize_group(x + (g - first) * ORIBI_GROUP_LEN, codes + g * 2 * ORIBI_GROUP_LEN, sums);
      memcpy(scales + g * sizeof scale, &scale, sizeof scale);
      memcpy(all_sums + g * sizeof sums, sums, sizeof sums);
    }
  }
}

#endif
