/* matmul for AVX-VNNI: AVX2's panels of two vectors, with activations as byte planes. See tile.h. Float weights would gain
 * nothing: theirs are AVX2's.
 *
 * 16 registers: 2 rows of two columns take 8 integer accumulators, 4 rows 16. Of those some live in memory, which is still
 * faster than the planes one after the other or one column at a time. One row takes two panels, which share the activations;
 * one where the sums are short, of half a group. */
#include "../simd/dot_avxvnni.h"
#include "tile.h"

#define WIDE(format) (format.n_scales == 2 ? 2 : 4)

#define MATMUL_CODES(name, ...)                                        \
  TILE(tile_codes, name##_wide, format_##name, WIDE(format_##name), 1) \
  TILE(tile_codes, name##_1, format_##name, 2, 1)                      \
  TILE(tile_codes, name##_2, format_##name, 2, 2)                      \
  TILE(tile_codes, name##_4, format_##name, 2, 4)                      \
  KERNEL_OF_TILES(name, oribi_matmul_##name##_avxvnni, NULL, WIDE(format_##name), CODES_PANEL_BYTES(format_##name), \
                  2 * (size_t)a->k)
PACKED_FORMATS(MATMUL_CODES)
