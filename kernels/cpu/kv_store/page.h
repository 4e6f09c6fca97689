/* page.h - where keys and values lie in a page, in each format; the layouts are in oribi_kernels.h. Needs a v16 header. */
#ifndef ORIBI_KV_PAGE_H
#define ORIBI_KV_PAGE_H

#include "../../oribi_kernels.h"

#define KEY_PAIR_BYTES(dtype) ((dtype) == ORIBI_F16 ? 64u : (dtype) == ORIBI_Q8_0 ? 32u : 16u) /* two elements of 16 keys */

typedef struct {
  uint32_t dtype; /* ORIBI_F16, ORIBI_Q8_0 or ORIBI_Q4_0 */
  uint32_t head_dim;
} page_shape;

V16_INLINE uint32_t padded_of(uint32_t head_dim) { return (head_dim + 15) / 16 * 16; }
V16_INLINE uint32_t groups_of(uint32_t head_dim) { return (head_dim + ORIBI_GROUP_LEN - 1) / ORIBI_GROUP_LEN; }

/* Bytes of the numbers themselves; the scales follow. */
V16_INLINE size_t key_code_bytes(page_shape s) {
  switch (s.dtype) {
    case ORIBI_Q8_0: return (size_t)ORIBI_PAGE_LEN * s.head_dim;
    case ORIBI_Q4_0: return (size_t)ORIBI_PAGE_LEN * ((s.head_dim + 1) / 2);
    default: return (size_t)ORIBI_PAGE_LEN * s.head_dim * sizeof(uint16_t);
  }
}

V16_INLINE size_t value_code_bytes(page_shape s) {
  switch (s.dtype) {
    case ORIBI_Q8_0: return (size_t)ORIBI_PAGE_LEN * padded_of(s.head_dim);
    case ORIBI_Q4_0: return (size_t)ORIBI_PAGE_LEN * groups_of(s.head_dim) * (ORIBI_GROUP_LEN / 2);
    default: return (size_t)ORIBI_PAGE_LEN * padded_of(s.head_dim) * sizeof(uint16_t);
  }
}

V16_INLINE size_t scale_bytes(page_shape s) {
  return s.dtype == ORIBI_F16 ? 0 : (size_t)ORIBI_PAGE_LEN * groups_of(s.head_dim) * sizeof(uint16_t);
}

/* Scales of the keys of 16 positions from `slot` on, for the group of element d; float16 keys have none. */
V16_INLINE v16 key_scale(page_shape s, const uint8_t *page, uint32_t slot, uint32_t d) {
  if (s.dtype == ORIBI_F16) return v16_set1(1.0f);
  const uint16_t *scales = (const uint16_t *)(page + key_code_bytes(s)) + (size_t)slot * groups_of(s.head_dim);
  return v16_load_f16(scales + d / ORIBI_GROUP_LEN * 16);
}

/* Where elements d and d + 1 (d even) of the keys of 16 positions from `slot` on lie; the next two are KEY_PAIR_BYTES on. */
V16_INLINE const uint8_t *key_pair_at(page_shape s, const uint8_t *page, uint32_t slot, uint32_t d) {
  const size_t n = s.dtype == ORIBI_Q4_0 ? (s.head_dim + 1) / 2 : s.head_dim;
  return page + slot * n * (s.dtype == ORIBI_F16 ? 2 : 1) + d / 2 * KEY_PAIR_BYTES(s.dtype);
}

V16_INLINE void load_key_pair(const uint32_t dtype, const uint8_t *at, v16 scale, v16 *even, v16 *odd) {
  if (dtype == ORIBI_F16) {
    *even = v16_load_f16((const uint16_t *)at);
    *odd = v16_load_f16((const uint16_t *)at + 16);
  } else if (dtype == ORIBI_Q8_0) {
    *even = v16_load_u8_scaled(at, scale);
    *odd = v16_load_u8_scaled(at + 16, scale);
  } else {
    v16_load_u4(at, even, odd);
    *even = v16_mul(*even, scale);
    *odd = v16_mul(*odd, scale);
  }
}

/* The last element of an odd head_dim, which has no other beside it. */
V16_INLINE v16 load_last_key(const uint32_t dtype, const uint8_t *at, v16 scale) {
  if (dtype == ORIBI_F16) return v16_load_f16((const uint16_t *)at);
  if (dtype == ORIBI_Q8_0) return v16_load_u8_scaled(at, scale);
  v16 even, odd;
  load_key_pair(dtype, at, scale, &even, &odd);
  return even;
}

/* Scales of the values of all positions, for the group of element d. */
V16_INLINE void value_scales(page_shape s, const uint8_t *page, uint32_t d, float *to) {
  if (s.dtype == ORIBI_F16) return;
  const uint16_t *scales = (const uint16_t *)(page + value_code_bytes(s)) + d / ORIBI_GROUP_LEN * ORIBI_PAGE_LEN;
  for (uint32_t slot = 0; slot < ORIBI_PAGE_LEN; slot += 16) v16_store(to + slot, v16_load_f16(scales + slot));
}

/* The scale of one of them. */
V16_INLINE float value_scale(page_shape s, const uint8_t *page, uint32_t slot, uint32_t d) {
  if (s.dtype == ORIBI_F16) return 1.0f;
  const uint16_t *scales = (const uint16_t *)(page + value_code_bytes(s)) + d / ORIBI_GROUP_LEN * ORIBI_PAGE_LEN;
  return f32_of_f16(scales[slot]);
}

/* Where elements [d, d + 32) (d a multiple of 32) of a position's value lie, and how far it is to the next position. */
V16_INLINE size_t value_stride(page_shape s) {
  return s.dtype == ORIBI_Q4_0 ? groups_of(s.head_dim) * 16 : padded_of(s.head_dim) * (s.dtype == ORIBI_F16 ? 2u : 1u);
}

V16_INLINE const uint8_t *value_at(page_shape s, const uint8_t *page, uint32_t slot, uint32_t d) {
  const size_t group = s.dtype == ORIBI_Q4_0 ? 16 : s.dtype == ORIBI_Q8_0 ? 32 : 64;
  return page + slot * value_stride(s) + d / ORIBI_GROUP_LEN * group;
}

/* Those elements; the second half is 0 where it lies behind head_dim_padded. */
V16_INLINE void load_value(const uint32_t dtype, const uint8_t *at, float scale, int has_second, v16 *first, v16 *second) {
  *second = v16_set1(0.0f);
  if (dtype == ORIBI_F16) {
    *first = v16_load_f16((const uint16_t *)at);
    if (has_second) *second = v16_load_f16((const uint16_t *)at + 16);
  } else if (dtype == ORIBI_Q8_0) {
    *first = v16_load_u8_scaled(at, v16_set1(scale));
    if (has_second) *second = v16_load_u8_scaled(at + 16, v16_set1(scale));
  } else {
    v16 high;
    v16_load_u4(at, first, &high);
    *first = v16_mul(*first, v16_set1(scale));
    if (has_second) *second = v16_mul(high, v16_set1(scale));
  }
}

#endif
