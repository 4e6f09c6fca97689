/* matmul for AVX-512 with VNNI: a panel is one vector, activations are byte planes. See tile.h. */
#include "../simd/panel_avx512.h"
#include "tile.h"

/* 32 registers: 8 rows take 16 integer and 8 float accumulators. Float weights need 4 chains to cover the latency of FMA. */
#define TILES(body, name, format, wide)           \
  TILE(body, name##_wide, format, wide, 1)        \
  TILE(body, name##_1, format, 1, 1)              \
  TILE(body, name##_2, format, 1, 2)              \
  TILE(body, name##_4, format, 1, 4)              \
  TILE(body, name##_8, format, 1, 8)
#define TILE_SET(name, wide) \
  .one_row_wide = name##_wide, .rows1 = name##_1, .rows2 = name##_2, .rows4 = name##_4, .rows8 = name##_8, .wide_panels = wide

#define MATMUL_CODES(name, ...)                                                      \
  TILES(tile_codes, name, format_##name, 2)                                          \
  void oribi_matmul_##name##_avx512(const void *);                                   \
  void oribi_matmul_##name##_avx512(const void *args) {                              \
    const oribi_matmul_args *a = args;                                               \
    const tile_set tiles = {TILE_SET(name, 2),                                       \
                            .panel_bytes = (size_t)(a->k / format_##name.block_len) * format_##name.packed_bytes, \
                            .acts_row_bytes = 2 * (size_t)a->k};                     \
    matmul_tiles(a, &tiles);                                                         \
  }
PACKED_FORMATS(MATMUL_CODES)

#define MATMUL_FLOATS(name, format)                                                  \
  TILES(tile_floats, name, format, 4)                                                \
  void oribi_matmul_##name##_avx512(const void *);                                   \
  void oribi_matmul_##name##_avx512(const void *args) {                              \
    const oribi_matmul_args *a = args;                                               \
    const tile_set tiles = {TILE_SET(name, 4), .panel_bytes = a->k * ROWS * float_bytes(format), \
                            .acts_row_bytes = 4 * (size_t)a->k};                     \
    matmul_tiles(a, &tiles);                                                         \
  }
MATMUL_FLOATS(f32, FLOAT_F32)
MATMUL_FLOATS(f16, FLOAT_F16)
MATMUL_FLOATS(bf16, FLOAT_BF16)
