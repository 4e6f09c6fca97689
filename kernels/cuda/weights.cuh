/* weights.cuh - the formats of weights as types, from packed.h: weights_<name> holds what a kernel asks of a format. */
#ifndef ORIBI_CUDA_WEIGHTS_CUH
#define ORIBI_CUDA_WEIGHTS_CUH

#include "device.cuh"

#define WEIGHTS_OF_CODES(name, ...)                                            \
  struct weights_##name {                                                      \
    static constexpr bool is_codes = true;                                     \
    static constexpr packed_format f = format_##name;                          \
    static constexpr matmul_units units = matmul_units_of_codes(format_##name); \
  };
PACKED_FORMATS(WEIGHTS_OF_CODES)
#undef WEIGHTS_OF_CODES

/* Floats: `planes` bfloat16 numbers that sum to a weight exactly (to 2^-133 where it is tiny). */
struct weights_f32 {
  static constexpr bool is_codes = false;
  static constexpr int elem_bytes = 4, planes = 3;
  static constexpr matmul_units units = matmul_units_of_floats(4);
  static DEVICE_INLINE float element(const uint8_t *at) { return *(const float *)at; }
};

struct weights_f16 {
  static constexpr bool is_codes = false;
  static constexpr int elem_bytes = 2, planes = 2;
  static constexpr matmul_units units = matmul_units_of_floats(2);
  static DEVICE_INLINE float element(const uint8_t *at) { return float_of_half(*(const uint16_t *)at); }
};

struct weights_bf16 {
  static constexpr bool is_codes = false;
  static constexpr int elem_bytes = 2, planes = 1;
  static constexpr matmul_units units = matmul_units_of_floats(2);
  static DEVICE_INLINE float element(const uint8_t *at) { return f32_of_bf16(*(const uint16_t *)at); }
};

/* Names that contain the format's, after ORIBI_FORMAT is expanded. */
#define WEIGHTS_CONCAT3(a, b, c) a##b##c
#define WEIGHTS_NAME3(a, b, c) WEIGHTS_CONCAT3(a, b, c)
#define WEIGHTS WEIGHTS_NAME3(weights_, ORIBI_FORMAT, )

#endif
