/* quantize_acts for the Arm dot products: codes as byte planes, by NEON's instructions. */
#include "group_neon.h"

/* The high byte of a code is (code + 128) >> 8, its low byte the code's lowest byte. */
ORIBI_INLINE int8x8_t high_bytes(int16x8_t code) { return vshrn_n_s16(vaddq_s16(code, vdupq_n_s16(128)), 8); }

ORIBI_INLINE void group_codes(const float *x, float inverse, uint8_t *codes, int32_t *sums) {
  int8_t *high = (int8_t *)codes, *low = high + ORIBI_GROUP_LEN;
  for (int half = 0; half < 2; half++) {
    const int16x8_t first = eight_codes(x + 16 * half, inverse), second = eight_codes(x + 16 * half + 8, inverse);
    vst1q_s8(high + 16 * half, vcombine_s8(high_bytes(first), high_bytes(second)));
    vst1q_s8(low + 16 * half, vcombine_s8(vmovn_s16(first), vmovn_s16(second)));
    sums[half] = sum_of_codes(first, second);
  }
}

void oribi_quantize_acts_planes_dotprod(const void *);
void oribi_quantize_acts_planes_dotprod(const void *args) { quantize_rows(args); }
