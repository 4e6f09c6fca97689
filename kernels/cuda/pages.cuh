/* pages.cuh - where keys and values lie in a page, by the layouts of oribi_kernels.h. kv_<name> says it for a type. */
#ifndef ORIBI_CUDA_PAGES_CUH
#define ORIBI_CUDA_PAGES_CUH

#include "device.cuh"

/* A head's tile in a page. */
struct kv_tile {
  uint8_t *keys, *values;
};

DEVICE kv_tile tile_of(const oribi_cuda_attend_args &a, uint32_t pages, uint32_t position, uint32_t kv_head) {
  uint8_t *tile = a.pages[pages + position / ORIBI_PAGE_LEN] + a.tile_at + kv_head * a.tile_bytes;
  return {tile, tile + a.key_bytes};
}

/* Sizes of a head. */
struct head_shape {
  uint32_t dim, padded, n_groups;

  DEVICE_INLINE explicit head_shape(uint32_t head_dim)
      : dim(head_dim), padded(shape_round_up(head_dim, 16)), n_groups(shape_ceil(head_dim, GROUP)) {}
};

/* What all types give:
 *   key_scale, key       element d of the key in a slot; the scale is that of d's group
 *   value_scale, value   elements d and d + 1 (d even, below `padded`) of the value in a slot */
struct kv_f16 {
  static constexpr bool is_coded = false;

  static DEVICE_INLINE uint16_t *key_at(uint8_t *keys, head_shape s, uint32_t slot, uint32_t d) {
    return (uint16_t *)keys + (slot / 16 * s.dim + d) * 16 + slot % 16;
  }
  static DEVICE_INLINE uint16_t *value_at(uint8_t *values, head_shape s, uint32_t slot, uint32_t d) {
    return (uint16_t *)values + slot * s.padded + d;
  }
  static DEVICE_INLINE float key_scale(const uint8_t *, head_shape, uint32_t, uint32_t) { return 1.0f; }
  static DEVICE_INLINE float key(const uint8_t *keys, head_shape s, uint32_t slot, uint32_t d, float) {
    return float_of_half(*key_at((uint8_t *)keys, s, slot, d));
  }
  static DEVICE_INLINE float value_scale(const uint8_t *, head_shape, uint32_t, uint32_t) { return 1.0f; }
  static DEVICE_INLINE float2 value(const uint8_t *values, head_shape s, uint32_t slot, uint32_t d, float) {
    const uint32_t pair = *(const uint32_t *)value_at((uint8_t *)values, s, slot, d);
    return {float_of_half((uint16_t)pair), float_of_half((uint16_t)(pair >> 16))};
  }
};

struct kv_q8_0 {
  static constexpr bool is_coded = true, is_4_bit = false;

  static DEVICE_INLINE uint8_t *key_at(uint8_t *keys, head_shape s, uint32_t slot, uint32_t d) {
    return keys + (slot / 16 * s.dim + d) * 16 + slot % 16;
  }
  static DEVICE_INLINE uint16_t *key_scale_at(uint8_t *keys, head_shape s, uint32_t slot, uint32_t d) {
    return (uint16_t *)(keys + ORIBI_PAGE_LEN * s.dim) + (slot / 16 * s.n_groups + d / GROUP) * 16 + slot % 16;
  }
  static DEVICE_INLINE uint8_t *value_at(uint8_t *values, head_shape s, uint32_t slot, uint32_t d) {
    return values + slot * s.padded + d;
  }
  static DEVICE_INLINE uint16_t *value_scale_at(uint8_t *values, head_shape s, uint32_t slot, uint32_t d) {
    return (uint16_t *)(values + ORIBI_PAGE_LEN * s.padded) + d / GROUP * ORIBI_PAGE_LEN + slot;
  }
  static DEVICE_INLINE float key_scale(const uint8_t *keys, head_shape s, uint32_t slot, uint32_t d) {
    return float_of_half(*key_scale_at((uint8_t *)keys, s, slot, d));
  }
  static DEVICE_INLINE float key(const uint8_t *keys, head_shape s, uint32_t slot, uint32_t d, float scale) {
    return (float)((int)*key_at((uint8_t *)keys, s, slot, d) - 128) * scale;
  }
  static DEVICE_INLINE float value_scale(const uint8_t *values, head_shape s, uint32_t slot, uint32_t d) {
    return float_of_half(*value_scale_at((uint8_t *)values, s, slot, d));
  }
  static DEVICE_INLINE float2 value(const uint8_t *values, head_shape s, uint32_t slot, uint32_t d, float scale) {
    const uint16_t pair = *(const uint16_t *)value_at((uint8_t *)values, s, slot, d);
    return {(float)((int)(pair & 255) - 128) * scale, (float)((int)(pair >> 8) - 128) * scale};
  }
};

struct kv_q4_0 {
  static constexpr bool is_coded = true, is_4_bit = true;

  /* Of elements d and d + 1, d even. */
  static DEVICE_INLINE uint8_t *key_at(uint8_t *keys, head_shape s, uint32_t slot, uint32_t d) {
    return keys + (slot / 16 * ((s.dim + 1) / 2) + d / 2) * 16 + slot % 16;
  }
  static DEVICE_INLINE uint16_t *key_scale_at(uint8_t *keys, head_shape s, uint32_t slot, uint32_t d) {
    uint16_t *scales = (uint16_t *)(keys + ORIBI_PAGE_LEN * ((s.dim + 1) / 2));
    return scales + (slot / 16 * s.n_groups + d / GROUP) * 16 + slot % 16;
  }
  /* Of elements d and d + 16 of a group. */
  static DEVICE_INLINE uint8_t *value_at(uint8_t *values, head_shape s, uint32_t slot, uint32_t d) {
    return values + slot * s.n_groups * 16 + d / GROUP * 16 + d % 16;
  }
  static DEVICE_INLINE uint16_t *value_scale_at(uint8_t *values, head_shape s, uint32_t slot, uint32_t d) {
    return (uint16_t *)(values + ORIBI_PAGE_LEN * s.n_groups * 16) + d / GROUP * ORIBI_PAGE_LEN + slot;
  }
  static DEVICE_INLINE float key_scale(const uint8_t *keys, head_shape s, uint32_t slot, uint32_t d) {
    return float_of_half(*key_scale_at((uint8_t *)keys, s, slot, d));
  }
  static DEVICE_INLINE float key(const uint8_t *keys, head_shape s, uint32_t slot, uint32_t d, float scale) {
    const uint32_t both = *key_at((uint8_t *)keys, s, slot, d);
    return (float)((int)(both >> d % 2 * 4 & 15) - 8) * scale;
  }
  static DEVICE_INLINE float value_scale(const uint8_t *values, head_shape s, uint32_t slot, uint32_t d) {
    return float_of_half(*value_scale_at((uint8_t *)values, s, slot, d));
  }
  static DEVICE_INLINE float2 value(const uint8_t *values, head_shape s, uint32_t slot, uint32_t d, float scale) {
    const uint32_t both = *(const uint16_t *)value_at((uint8_t *)values, s, slot, d) >> d % GROUP / 16 * 4;
    return {(float)((int)(both & 15) - 8) * scale, (float)((int)(both >> 8 & 15) - 8) * scale};
  }
};

#define KV_CONCAT(a, b, c) a##b##c
#define KV_NAME(a, b, c) KV_CONCAT(a, b, c)
#define KV KV_NAME(kv_, ORIBI_KV, )

#endif
