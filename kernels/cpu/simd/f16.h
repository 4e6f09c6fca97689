/* f16.h - float32 to float16 in plain C, bit for bit what F16C does; the other way is f32_of_f16 in scalar.h. */
#ifndef ORIBI_F16_H
#define ORIBI_F16_H

#include <stdint.h>
#include <string.h>

#include "inline.h"
#include "scalar.h"

ORIBI_INLINE uint32_t f32_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* To nearest, ties to even; from 65520 on infinity; a NaN keeps its sign and its upper payload and becomes quiet. */
ORIBI_INLINE uint16_t f16_of_f32(float x) {
  uint32_t bits = f32_bits(x);
  uint32_t sign = (bits >> 16) & 0x8000u;
  uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t h;
  if (magnitude > 0x7f800000u) {
    h = 0x7e00u | ((magnitude >> 13) & 0x1ffu);
  } else if (magnitude >= 0x47800000u) { /* 65536 and more */
    h = 0x7c00u;
  } else if (magnitude >= 0x38800000u) { /* normal: re-bias, round by carry; a carry out of 65504 is infinity */
    h = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  } else { /* subnormal: an ulp of 0.5 is the float16 subnormal unit 2^-24, so the addition rounds */
    h = f32_bits(f32_of_bits(magnitude) + 0.5f) - 0x3f000000u;
  }
  return (uint16_t)(sign | h);
}

#endif
