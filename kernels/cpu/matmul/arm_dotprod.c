/* matmul for the Arm dot products: a panel is four vectors, activations are byte planes. See tile.h. Float weights are NEON's.
 *
 * 32 registers: 4 rows take two columns at a time, 2 rows four: 16 integer accumulators, two to a sum. */
#include "../simd/dot_dotprod.h"
#include "tile.h"

#define MATMUL_CODES(name, ...)                   \
  TILE(tile_codes, name##_1, format_##name, 4, 1) \
  TILE(tile_codes, name##_2, format_##name, 4, 2) \
  TILE(tile_codes, name##_4, format_##name, 4, 4) \
  static const tile_fn name##_wide = name##_1;    \
  KERNEL_OF_TILES(name, oribi_matmul_##name##_dotprod, NULL, 4, CODES_PANEL_BYTES(format_##name), 2 * (size_t)a->k)
PACKED_FORMATS(MATMUL_CODES)
