/* quantize_acts - activations to 16-bit codes, or for native numerics to bfloat16; the scalar oracle.
 *
 * Per group of 32, with amax = max |x|:
 *
 *   amax not finite, or a NaN in the group     codes 0, scale NaN: every output that uses the group is NaN
 *   32512 / amax overflows (amax < 9.6e-35)    codes 0, scale 0
 *   otherwise                                  scale = amax / 32512, code = rne(x * (32512 / amax))
 *
 * Divisions, product and rounding (to nearest, ties to even) are float32, so that every instruction set forms the same bits.
 * |x| * (32512 / amax) exceeds 32512 by rounding at most, so a code fits -32512..32512. A half group's sum fits easily. */
#include <string.h>

#include "bf16_tiles.h"

enum { GROUP = ORIBI_GROUP_LEN, HALF = ORIBI_HALF_GROUP_LEN };

static uint32_t magnitude_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits & 0x7fffffffu;
}

static float float_of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* To nearest, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves no room for a fraction. */
static int32_t round_to_even(float x) {
  const float shifted = x + 12582912.0f;
  return (int32_t)(shifted - 12582912.0f);
}

/* codes [32] and the scale of one group. */
static float quantize_group(const float *x, int16_t *codes) {
  uint32_t amax_bits = 0; /* the order of magnitudes is the order of their bits, with infinity and NaN on top */
  for (int k = 0; k < GROUP; k++) {
    uint32_t bits = magnitude_bits(x[k]);
    amax_bits = bits > amax_bits ? bits : amax_bits;
  }
  memset(codes, 0, GROUP * sizeof codes[0]);
  const uint32_t infinity = 0x7f800000u, nan = 0x7fc00000u;
  if (amax_bits >= infinity) return float_of_bits(nan);
  if (amax_bits == 0) return 0.0f;
  const float amax = float_of_bits(amax_bits);
  const float inverse = ORIBI_A16_MAX / amax;
  if (magnitude_bits(inverse) >= infinity) return 0.0f;
  for (int k = 0; k < GROUP; k++) codes[k] = (int16_t)round_to_even(x[k] * inverse);
  return amax / ORIBI_A16_MAX;
}

/* The three layouts of a group's codes: 64 bytes each. */
typedef void (*store_fn)(const int16_t *codes, uint8_t *dst);

static void store_i16(const int16_t *codes, uint8_t *dst) { memcpy(dst, codes, GROUP * sizeof codes[0]); }

static void store_pairs(const int16_t *codes, uint8_t *dst) {
  for (int k = 0; k < GROUP; k += 4) {
    const int16_t four[4] = {codes[k], codes[k + 2], codes[k + 1], codes[k + 3]};
    memcpy(dst + 2 * k, four, sizeof four);
  }
}

static void store_planes(const int16_t *codes, uint8_t *dst) {
  for (int k = 0; k < GROUP; k++) {
    const int low = (codes[k] & 255) - 2 * (codes[k] & 128); /* -128..127 */
    dst[k] = (uint8_t)((codes[k] - low) / 256);
    dst[GROUP + k] = (uint8_t)low;
  }
}

static void quantize_row(const oribi_quantize_acts_args *a, uint32_t row, store_fn store) {
  const float *x = a->x + row * a->x_stride;
  uint8_t *acts = a->acts + ((size_t)a->first_row + row) * a->acts_stride;
  uint8_t *scales = acts + 2 * (size_t)a->k, *sums = scales + sizeof(float) * (a->k / GROUP);
  for (uint32_t g = a->begin / GROUP; g < a->end / GROUP; g++) {
    int16_t codes[GROUP];
    const float scale = quantize_group(x + (size_t)g * GROUP - a->begin, codes);
    int32_t sum[2] = {0, 0};
    for (int i = 0; i < GROUP; i++) sum[i / HALF] += codes[i];
    store(codes, acts + (size_t)g * 2 * GROUP);
    memcpy(scales + (size_t)g * sizeof scale, &scale, sizeof scale);
    memcpy(sums + (size_t)g * sizeof sum, sum, sizeof sum);
  }
}

static void quantize(const oribi_quantize_acts_args *a, store_fn store) {
  for (uint32_t r = 0; r < a->n_rows; r++) quantize_row(a, r, store);
}

/* bfloat16 as VCVTNEPS2BF16 rounds to it: to nearest even, denormals to zero, a NaN stays a (quiet) NaN. */
static uint16_t bf16_of_f32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
  if (magnitude < 0x00800000u) return (uint16_t)(bits >> 16 & 0x8000);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void round_rows(const oribi_quantize_acts_args *a) {
  for (uint32_t r = 0; r < a->n_rows; r++) {
    for (uint32_t k = a->begin; k < a->end; k++) {
      const uint16_t rounded = bf16_of_f32(a->x[r * a->x_stride + k - a->begin]);
      memcpy(bf16_group(a, r, k / GROUP) + k % GROUP * sizeof rounded, &rounded, sizeof rounded);
    }
  }
}

void oribi_quantize_acts_i16_ref(const void *args);
void oribi_quantize_acts_pairs_ref(const void *args);
void oribi_quantize_acts_planes_ref(const void *args);
void oribi_quantize_acts_bf16_ref(const void *args);

void oribi_quantize_acts_i16_ref(const void *args) { quantize(args, store_i16); }
void oribi_quantize_acts_pairs_ref(const void *args) { quantize(args, store_pairs); }
void oribi_quantize_acts_planes_ref(const void *args) { quantize(args, store_planes); }
void oribi_quantize_acts_bf16_ref(const void *args) { round_rows(args); }
