/* matmul for AVX-512 with VNNI: a panel is one vector, activations are byte planes. See tile.h.
 *
 * 32 registers: 8 rows take 16 integer and 8 float accumulators. One row takes two panels of codes at once, which share the
 * activations, and four of floats, whose chains cover the latency of FMA. */
#include "../simd/panel_avx512.h"
#include "tile.h"

#define TILES(body, name, format, wide)    \
  TILE(body, name##_wide, format, wide, 1) \
  TILE(body, name##_1, format, 1, 1)       \
  TILE(body, name##_2, format, 1, 2)       \
  TILE(body, name##_4, format, 1, 4)       \
  TILE(body, name##_8, format, 1, 8)

#define MATMUL_CODES(name, ...)             \
  TILES(tile_codes, name, format_##name, 2) \
  KERNEL_OF_TILES(name, oribi_matmul_##name##_avx512, name##_8, 2, CODES_PANEL_BYTES(format_##name), 2 * (size_t)a->k)
PACKED_FORMATS(MATMUL_CODES)

#define MATMUL_FLOATS(name, format)  \
  TILES(tile_floats, name, format, 4) \
  KERNEL_OF_TILES(name, oribi_matmul_##name##_avx512, name##_8, 4, FLOATS_PANEL_BYTES(format), 4 * (size_t)a->k)
MATMUL_FLOATS(f32, FLOAT_F32)
MATMUL_FLOATS(f16, FLOAT_F16)
MATMUL_FLOATS(bf16, FLOAT_BF16)
