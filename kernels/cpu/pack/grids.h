/* grids.h - the point sets of the IQ formats as lists that an index looks up.
 *
 * The sets are kept as bitmaps (grids.inc, a seventh of the lists' size) and unrolled on the stack when a panel is packed, which
 * costs about a twentieth of the packing. */
#ifndef ORIBI_PACK_GRIDS_H
#define ORIBI_PACK_GRIDS_H

#include "../../oribi_kernels.h"

enum { MAX_GRID_POINTS = 2048 };

#define GRID(name, n_coordinates, n_values, n_points, ...)       \
  static const uint64_t grid_words_##name[] = {__VA_ARGS__};     \
  _Static_assert(n_points <= MAX_GRID_POINTS, #name ": points");
#include "grids.inc"
#undef GRID

/* A grid as a bitmap. */
typedef struct {
  const uint64_t *words;
  size_t n_words;
  unsigned n_values;
} grid_set;

#define GRID_SET(name, values) (grid_set){grid_words_##name, sizeof grid_words_##name / sizeof(uint64_t), values}

/* The grid of a format; without words where it has none. */
static inline grid_set grid_of(uint32_t dtype) {
  switch (dtype) {
    case ORIBI_IQ1_S: return GRID_SET(iq1, 3);
    case ORIBI_IQ1_M: return GRID_SET(iq1, 3);
    case ORIBI_IQ2_XXS: return GRID_SET(iq2_xxs, 3);
    case ORIBI_IQ2_XS: return GRID_SET(iq2_xs, 3);
    case ORIBI_IQ2_S: return GRID_SET(iq2_s, 3);
    case ORIBI_IQ3_XXS: return GRID_SET(iq3_xxs, 8);
    case ORIBI_IQ3_S: return GRID_SET(iq3_s, 8);
    default: return (grid_set){NULL, 0, 0};
  }
}

/* Lists the points of a grid, a coordinate per byte: its value's index. */
static inline void list_points(grid_set grid, uint64_t *points) {
  uint64_t point = 0;
  for (size_t i = 0; i < grid.n_words; i++) {
    for (int bit = 0; bit < 64; bit++) {
      if (grid.words[i] >> bit & 1) *points++ = point;
      point++;
      /* A digit that has reached the base carries into the next. */
      for (int at = 0; at < 64 && (point >> at & 255) == grid.n_values; at += 8) {
        point += (uint64_t)(256 - grid.n_values) << at;
      }
    }
  }
}

#endif
