/* amx.h - the tile configuration (Intel's manual, volume 1, chapter on AMX: palette 1). */
#ifndef ORIBI_SIMD_AMX_H
#define ORIBI_SIMD_AMX_H

#include <immintrin.h>
#include <stdint.h>

#include "inline.h"

enum { AMX_TILES = 8, AMX_ROWS = 16, AMX_ROW_BYTES = 64 };

typedef struct {
  uint8_t palette, start_row, unused[14];
  uint16_t row_bytes[16];
  uint8_t n_rows[16];
} ORIBI_ALIGN64 amx_config;

/* Tiles of full size; callers that want smaller ones change their rows. */
ORIBI_INLINE amx_config amx_full_tiles(void) {
  amx_config config = {.palette = 1};
  for (int i = 0; i < AMX_TILES; i++) {
    config.row_bytes[i] = AMX_ROW_BYTES;
    config.n_rows[i] = AMX_ROWS;
  }
  return config;
}

ORIBI_INLINE void amx_configure(const amx_config *config) {
  __asm__ volatile("" : : "r"(config) : "memory"); /* GCC 12 drops the stores that fill it otherwise */
  _tile_loadconfig(config);
}

#endif
