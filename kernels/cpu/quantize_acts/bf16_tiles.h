/* bf16_tiles.h - where a group of 32 inputs lies in the tiles of ORIBI_ACTS_BF16. */
#ifndef ORIBI_QUANTIZE_ACTS_BF16_TILES_H
#define ORIBI_QUANTIZE_ACTS_BF16_TILES_H

#include "../../oribi_kernels.h"
#include "../simd/inline.h"

enum { BF16_TILE_ROWS = 16, BF16_GROUP_BYTES = 2 * ORIBI_GROUP_LEN, BF16_TILE_BYTES = BF16_TILE_ROWS * BF16_GROUP_BYTES };

/* Group g of the r-th row of a call. */
ORIBI_INLINE uint8_t *bf16_group(const oribi_quantize_acts_args *a, size_t r, size_t g) {
  const size_t row = a->first_row + r;
  uint8_t *tiles = a->acts + row / BF16_TILE_ROWS * BF16_TILE_ROWS * a->acts_stride;
  return tiles + g * BF16_TILE_BYTES + row % BF16_TILE_ROWS * BF16_GROUP_BYTES;
}

#endif
