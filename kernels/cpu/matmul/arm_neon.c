/* matmul for NEON: a panel is four vectors, activations are 16-bit pairs. See tile.h.
 *
 * 32 registers: 4 rows take two columns at a time, 2 rows four: 16 integer accumulators, two to a sum. One row of floats takes
 * two panels, whose eight chains cover the latency of FMA. */
#include "../simd/dot_neon.h"
#include "tile.h"

#define MATMUL_CODES(name, ...)                         \
  TILE(tile_codes, name##_1, format_##name, 4, 1)       \
  TILE(tile_codes, name##_2, format_##name, 4, 2)       \
  TILE(tile_codes, name##_4, format_##name, 4, 4)       \
  static const tile_fn name##_wide = name##_1;          \
  KERNEL_OF_TILES(name, oribi_matmul_##name##_neon, NULL, 4, CODES_PANEL_BYTES(format_##name), 2 * (size_t)a->k)
PACKED_FORMATS(MATMUL_CODES)

#define MATMUL_FLOATS(name, format)           \
  TILE(tile_floats, name##_wide, format, 8, 1) \
  TILE(tile_floats, name##_1, format, 4, 1)   \
  TILE(tile_floats, name##_2, format, 4, 2)   \
  TILE(tile_floats, name##_4, format, 4, 4)   \
  KERNEL_OF_TILES(name, oribi_matmul_##name##_neon, NULL, 8, FLOATS_PANEL_BYTES(format), 4 * (size_t)a->k)
MATMUL_FLOATS(f32, FLOAT_F32)
MATMUL_FLOATS(f16, FLOAT_F16)
MATMUL_FLOATS(bf16, FLOAT_BF16)
