/* Writes one position of a key/value page and touches no other slot: a key goes to one lane of its 16 positions, a value to a
 * row of its own, whose padding is written as zero. oribi_kernels.h says how numbers are rounded; float16 is to nearest, ties
 * to even, too large is infinity, and a NaN keeps its sign and upper payload and becomes quiet. */
#include <math.h>
#include <string.h>

#include "page.h"

#define NAN_F16 0x7e00u

static void store_f16(const oribi_kv_store_args *a) {
  const size_t padded = padded_of(a->head_dim);
  uint16_t *key = (uint16_t *)a->key_page + (size_t)(a->slot / 16) * a->head_dim * 16 + a->slot % 16;
  uint16_t *value = (uint16_t *)a->value_page + a->slot * padded;
  for (uint32_t d = 0; d < a->head_dim; d += 16) {
    const uint32_t n = a->head_dim - d < 16 ? a->head_dim - d : 16;
    uint16_t halves[16];
    v16_store_f16(halves, v16_load_n(a->key + d, n));
    for (uint32_t i = 0; i < n; i++) key[(size_t)(d + i) * 16] = halves[i];
    v16_store_f16(value + d, v16_load_n(a->value + d, n));
  }
}

/* A group of up to 32 elements as codes with their offset of 128 or 8, and a float16 scale; the rest of the group is 0. */
typedef struct {
  uint8_t code[ORIBI_GROUP_LEN];
  uint16_t scale;
} coded_group;

V16_INLINE v16 v16_negate(v16 x) { return v16_sub(v16_set1(0.0f), x); }
V16_INLINE v16 v16_min(v16 a, v16 b) { return v16_negate(v16_max(v16_negate(a), v16_negate(b))); }

/* rne(x / scale) within low..high, + offset */
V16_INLINE void encode16(v16 x, float scale, float low, float high, uint32_t offset, uint8_t *code) {
  float bits[16]; /* adding 1.5 * 2^23 leaves the integer in the low bits */
  const v16 q = v16_min(v16_max(v16_div(x, v16_set1(scale)), v16_set1(low)), v16_set1(high));
  v16_store(bits, v16_add(q, v16_set1(0x1.8p+23f)));
  for (int i = 0; i < 16; i++) {
    uint32_t word;
    memcpy(&word, bits + i, sizeof word);
    code[i] = (uint8_t)(word + offset);
  }
}

V16_INLINE coded_group encode(const float *x, uint32_t n, const int is_4_bit) {
  const v16 x0 = v16_load_n(x, n < 16 ? n : 16), x1 = v16_load_n(x + 16, n < 16 ? 0 : n - 16), zero = v16_set1(0.0f);
  const float top = v16_max_lane(v16_max(x0, x1)), bottom = v16_max_lane(v16_max(v16_negate(x0), v16_negate(x1)));
  const float largest = bottom > top ? bottom : top;
  const float wanted = is_4_bit ? (bottom > top ? -bottom : top) / -8.0f : largest / 127.0f;
  /* 0, or NaN where an element is not finite, which a maximum can miss. */
  const float trap = v16_sum(v16_add(v16_mul(x0, zero), v16_mul(x1, zero)));
  uint16_t halves[16];
  v16_store_f16(halves, v16_set1(wanted + trap));
  coded_group g = {.scale = halves[0]};
  const uint8_t none = is_4_bit ? 8 : 128;
  if ((g.scale & 0x7c00u) == 0x7c00u) g.scale = NAN_F16;
  if (g.scale == NAN_F16 || (g.scale & 0x7fffu) == 0) {
    memset(g.code, none, sizeof g.code);
    return g;
  }
  const float scale = v16_first(v16_load_f16(halves));
  const float low = is_4_bit ? -8.0f : -127.0f, high = is_4_bit ? 7.0f : 127.0f;
  encode16(x0, scale, low, high, none, g.code);
  encode16(x1, scale, low, high, none, g.code + 16);
  return g;
}

V16_INLINE void store_coded(const oribi_kv_store_args *a, const int is_4_bit) {
  const page_shape s = {is_4_bit ? ORIBI_Q4_0 : ORIBI_Q8_0, a->head_dim};
  const uint32_t n_groups = groups_of(a->head_dim), lane = a->slot % 16, first = a->slot - lane;
  uint8_t *key = a->key_page + (size_t)first * (is_4_bit ? (a->head_dim + 1) / 2 : a->head_dim) + lane;
  uint16_t *key_scale = (uint16_t *)(a->key_page + key_code_bytes(s)) + (size_t)first * n_groups + lane;
  uint8_t *value = a->value_page + (size_t)a->slot * (is_4_bit ? n_groups * 16 : padded_of(a->head_dim));
  uint16_t *value_scale = (uint16_t *)(a->value_page + value_code_bytes(s)) + a->slot;
  for (uint32_t d = 0; d < a->head_dim; d += ORIBI_GROUP_LEN) {
    const uint32_t left = a->head_dim - d, n = left < ORIBI_GROUP_LEN ? left : ORIBI_GROUP_LEN;
    const coded_group k = encode(a->key + d, n, is_4_bit), v = encode(a->value + d, n, is_4_bit);
    key_scale[d / ORIBI_GROUP_LEN * 16] = k.scale;
    value_scale[d / ORIBI_GROUP_LEN * ORIBI_PAGE_LEN] = v.scale;
    if (is_4_bit) {
      for (uint32_t i = 0; i < n; i += 2) key[(size_t)(d + i) / 2 * 16] = (uint8_t)(k.code[i] | k.code[i + 1] << 4);
      for (uint32_t i = 0; i < 16; i++) value[d / 2 + i] = (uint8_t)(v.code[i] | v.code[16 + i] << 4);
    } else {
      for (uint32_t i = 0; i < n; i++) key[(size_t)(d + i) * 16] = k.code[i];
      memcpy(value + d, v.code, padded_of(n));
    }
  }
}

void V16_FN(oribi_kv_store_f16)(const void *args);
void V16_FN(oribi_kv_store_q8_0)(const void *args);
void V16_FN(oribi_kv_store_q4_0)(const void *args);

void V16_FN(oribi_kv_store_f16)(const void *args) { store_f16(args); }
void V16_FN(oribi_kv_store_q8_0)(const void *args) { store_coded(args, 0); }
void V16_FN(oribi_kv_store_q4_0)(const void *args) { store_coded(args, 1); }
