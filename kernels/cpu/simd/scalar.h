/* scalar.h - unaligned loads and float16 in portable C. Values in files and packed panels are little-endian, as is every
 * CPU that oribi supports. */
#ifndef ORIBI_SIMD_SCALAR_H
#define ORIBI_SIMD_SCALAR_H

#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "oribi needs a little-endian CPU: GGUF files and packed weights are read as they lie in memory"
#endif

static inline uint16_t load_u16(const uint8_t *p) {
  uint16_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline int32_t load_i32(const uint8_t *p) {
  int32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline uint32_t load_u32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline float load_f32(const uint8_t *p) {
  float v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline float f32_of_bits(uint32_t bits) {
  float v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

/* binary16 to binary32, exact. The fraction moves up 13 bits; the exponent is rebiased by a product with a power of two,
 * which also makes denormals right; an exponent of all ones stays all ones. */
static inline float f32_of_f16(uint16_t h) {
  const uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
  float v = f32_of_bits(magnitude) * f32_of_bits(0x77800000u); /* 2^112 */
  uint32_t bits;
  memcpy(&bits, &v, sizeof bits);
  if ((h & 0x7c00) == 0x7c00) bits = 0x7f800000u | magnitude;
  return f32_of_bits(bits | sign);
}

/* bfloat16: the upper half of a binary32. */
static inline float f32_of_bf16(uint16_t h) { return f32_of_bits((uint32_t)h << 16); }

/* 2^(e - 128), the scale of MXFP4 for its table of doubled values; its two smallest are denormal. */
static inline float f32_of_e8m0_half(uint8_t e) {
  return f32_of_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

#endif
