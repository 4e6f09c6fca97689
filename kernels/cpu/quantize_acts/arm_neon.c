/* quantize_acts for NEON: codes as 16-bit pairs. */
#include "group_neon.h"

/* Each four k, k + 1, k + 2, k + 3 as k, k + 2, k + 1, k + 3. */
ORIBI_INLINE int16x8_t as_pairs(int16x8_t codes) {
  const int16x8_t even = vuzp1q_s16(codes, codes), odd = vuzp2q_s16(codes, codes);
  return vreinterpretq_s16_s32(vzip1q_s32(vreinterpretq_s32_s16(even), vreinterpretq_s32_s16(odd)));
}

ORIBI_INLINE void group_codes(const float *x, float inverse, uint8_t *codes, int32_t *sums) {
  for (int half = 0; half < 2; half++) {
    const int16x8_t first = eight_codes(x + 16 * half, inverse), second = eight_codes(x + 16 * half + 8, inverse);
    vst1q_u8(codes + 32 * half, vreinterpretq_u8_s16(as_pairs(first)));
    vst1q_u8(codes + 32 * half + 16, vreinterpretq_u8_s16(as_pairs(second)));
    sums[half] = sum_of_codes(first, second);
  }
}

void oribi_quantize_acts_pairs_neon(const void *);
void oribi_quantize_acts_pairs_neon(const void *args) { quantize_rows(args); }
