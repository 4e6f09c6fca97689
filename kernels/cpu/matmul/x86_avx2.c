/* matmul for AVX2: a panel is two vectors, activations are 16-bit pairs. See tile.h.
 *
 * 16 registers: 4 rows of two columns take 8 integer accumulators; the float ones live in memory, touched once a group. One
 * row takes one panel of codes, whose two columns share the activations, and two of floats. */
#include "../simd/dot_avx2.h"
#include "tile.h"

#define TILES(body, name, format, wide)    \
  TILE(body, name##_wide, format, wide, 1) \
  TILE(body, name##_1, format, 2, 1)       \
  TILE(body, name##_2, format, 2, 2)       \
  TILE(body, name##_4, format, 2, 4)

#define MATMUL_CODES(name, ...)             \
  TILES(tile_codes, name, format_##name, 2) \
  KERNEL_OF_TILES(name, oribi_matmul_##name##_avx2, NULL, 2, CODES_PANEL_BYTES(format_##name), 2 * (size_t)a->k)
PACKED_FORMATS(MATMUL_CODES)

#define MATMUL_FLOATS(name, format)   \
  TILES(tile_floats, name, format, 4) \
  KERNEL_OF_TILES(name, oribi_matmul_##name##_avx2, NULL, 4, FLOATS_PANEL_BYTES(format), 4 * (size_t)a->k)
MATMUL_FLOATS(f32, FLOAT_F32)
MATMUL_FLOATS(f16, FLOAT_F16)
MATMUL_FLOATS(bf16, FLOAT_BF16)
