/* tile.h - the loops of the matrix product over the vectors of simd/panel_*.h and the sums of simd/dot_*.h, which the
 * including file chooses.
 *
 *   for a block of activation rows that fits in the second-level cache:
 *     for each panel (two at once when there is one activation row):
 *       for each tile of 8, 4, 2 or 1 activation rows:
 *         acc[row][column] = 0; for each group: unpack codes, sum them against each row, scale into acc
 *
 * 1. A column is LANES output rows: a panel, or half of one. Output rows sit in lanes, so a tile's float steps are those of
 *    the oracle, lane by lane.
 * 2. Codes are unpacked once per tile and step, `offset` above their value; the offset enters through the activations' sum as
 *    the start value of the integer accumulator.
 * 3. The format is a constant argument: every branch on it is decided by the compiler.
 * 4. A tile with fewer rows than its size repeats the last one and does not store it.
 * 5. Panels are prefetched ahead, into the next panel of the same column at the end of one. One row is bound by memory, and
 *    where the CPU asks for it (one_stream), its panels are read one after the other without prefetches.
 *
 * Accepted: with many activation rows, codes are unpacked again for every tile of 8 (about a tenth of the time). */
#ifndef ORIBI_MATMUL_TILE_H
#define ORIBI_MATMUL_TILE_H

#include <stdbool.h>

#include "read.h"

enum {
  COLUMNS_PER_PANEL = ROWS / LANES,
  MAX_TILE_ROWS = 8,
  MAX_COLUMNS = 8,
  MAX_SUMS = 8, /* rows times columns that are summed at a time, so that the sums stay in registers */
  PREFETCH_AHEAD = 4096, /* bytes */
  ACTS_BLOCK_BYTES = 512 * 1024,
};

/* A column of a panel: `lane` its first row. */
typedef struct {
  const uint8_t *panel;
  int lane;
} column;

/* The activation rows and results of a tile. */
typedef struct {
  const uint8_t *acts[MAX_TILE_ROWS];
  float *y[MAX_TILE_ROWS];
  int n_rows; /* those to store */
  bool one_stream;
} tile_rows;

ORIBI_INLINE column column_of(const uint8_t *panels, size_t panel_bytes, int c) {
  return (column){panels + (size_t)(c / COLUMNS_PER_PANEL) * panel_bytes, c % COLUMNS_PER_PANEL * LANES};
}

/* ---- one tile ---- */

/* Where the current block and group are; everything a step needs besides the format and the accumulators. */
typedef struct {
  const uint8_t *block[MAX_COLUMNS], *group[MAX_COLUMNS];
  int lane[MAX_COLUMNS];
  uint32_t g; /* group within the row */
  uint32_t k;
} position;

ORIBI_INLINE const uint8_t *acts_scale(const uint8_t *acts, uint32_t k, uint32_t g) {
  return acts + 2 * (size_t)k + sizeof(float) * g;
}

/* The sum of the activation codes of part `part` of group g. */
ORIBI_INLINE int32_t acts_sum(packed_format f, const uint8_t *acts, uint32_t k, uint32_t g, int part) {
  const uint8_t *sums = acts + 2 * (size_t)k + sizeof(float) * (k / GROUP) + 2 * sizeof(int32_t) * g;
  return f.n_scales == 2 ? load_i32(sums + 4 * part) : load_i32(sums) + load_i32(sums + 4);
}

/* The columns that are summed at a time. */
typedef struct {
  int begin, end;
} columns;

/* sums[row][column] of part `part` of a group: codes' values times activation codes. simd/dot_*.h says how, row by row;
 * where an instruction takes two rows, the including file defines SUMS_OF_ROW_PAIRS and this function itself. */
ORIBI_INLINE void sum_part(packed_format f, int part, columns at_once, int n_rows, const position *at, const tile_rows *rows,
                           vfloat sums[MAX_TILE_ROWS][MAX_COLUMNS]);

/* The start of a row's sums: takes off what the codes' offset adds. */
ORIBI_INLINE int32_t sum_start(packed_format f, const uint8_t *acts, const position *at, int part) {
  return dot_offset(f) ? -dot_offset(f) * acts_sum(f, acts, at->k, at->g, part) : 0;
}

#ifndef SUMS_OF_ROW_PAIRS
ORIBI_INLINE void sum_part(packed_format f, int part, columns at_once, int n_rows, const position *at, const tile_rows *rows,
                           vfloat sums[MAX_TILE_ROWS][MAX_COLUMNS]) {
  vdot dot[MAX_TILE_ROWS][MAX_COLUMNS];
  const int n_steps = STEPS / f.n_scales;
  ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
    const int32_t start = sum_start(f, rows->acts[r], at, part);
    ORIBI_UNROLL for (int c = at_once.begin; c < at_once.end; c++) dot[r][c] = dot_start(start);
  }
  ORIBI_UNROLL for (int t = part * n_steps; t < (part + 1) * n_steps; t++) {
    vcodes codes[MAX_COLUMNS];
    ORIBI_UNROLL for (int c = at_once.begin; c < at_once.end; c++) {
      codes[c] = codes_of_bytes(f, read_codes(f, at->group[c], t, at->lane[c]));
    }
    ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
      const uint8_t *acts = rows->acts[r] + (size_t)at->g * 2 * GROUP;
      ORIBI_UNROLL for (int c = at_once.begin; c < at_once.end; c++) dot[r][c] = dot_add(dot[r][c], codes[c], acts, t);
    }
  }
  ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
    ORIBI_UNROLL for (int c = at_once.begin; c < at_once.end; c++) sums[r][c] = dot_finish(dot[r][c]);
  }
}
#endif

ORIBI_INLINE void part_step(packed_format f, int part, columns at_once, int n_rows, const position *at, const tile_rows *rows,
                            vfloat acc[MAX_TILE_ROWS][MAX_COLUMNS]) {
  vfloat sums[MAX_TILE_ROWS][MAX_COLUMNS];
  sum_part(f, part, at_once, n_rows, at, rows, sums);
  ORIBI_UNROLL for (int c = at_once.begin; c < at_once.end; c++) {
    const vscales scales = read_scales(f, at->block[c], at->group[c], part, at->lane[c]);
    ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
      const vfloat s_a = v_set1_f32(load_f32(acts_scale(rows->acts[r], at->k, at->g)));
      acc[r][c] = v_fma(sums[r][c], v_mul(scales.s, s_a), acc[r][c]);
      if (packed_has_min(f)) {
        const vfloat sum = v_f32_of_i32(v_set1(acts_sum(f, rows->acts[r], at->k, at->g, part)));
        acc[r][c] = v_fma(sum, v_mul(scales.m, s_a), acc[r][c]);
      }
    }
  }
}

/* Both parts of a group, as many columns at a time as MAX_SUMS allows. */
ORIBI_INLINE void group_step(packed_format f, int n_columns, int n_rows, const position *at, const tile_rows *rows,
                             vfloat acc[MAX_TILE_ROWS][MAX_COLUMNS]) {
  const int n_at_once = n_columns * n_rows <= MAX_SUMS ? n_columns : MAX_SUMS / n_rows;
  ORIBI_UNROLL for (int part = 0; part < f.n_scales; part++) {
    for (int c = 0; c < n_columns; c += n_at_once) {
      part_step(f, part, (columns){c, c + n_at_once}, n_rows, at, rows, acc);
    }
  }
}

/* Fetches n_bytes at PREFETCH_AHEAD from p, a place `left` bytes before the end of its panel; the tile's next panels follow
 * its other ones. Fetching past the end of the tensor is harmless. */
ORIBI_INLINE void prefetch(const uint8_t *p, size_t left, size_t skip, size_t n_bytes) {
  uintptr_t ahead = (uintptr_t)p + PREFETCH_AHEAD + (left <= PREFETCH_AHEAD ? skip : 0);
  ORIBI_UNROLL for (size_t i = 0; i < n_bytes; i += LINE) __builtin_prefetch((const void *)(ahead + i));
}

ORIBI_INLINE bool fetches_ahead(int n_rows, const tile_rows *rows) { return n_rows > 1 || !rows->one_stream; }

ORIBI_INLINE void tile_codes(packed_format f, int n_columns, int n_rows, const uint8_t *panels, uint32_t k,
                       const tile_rows *rows) {
  const uint32_t n_blocks = k / f.block_len;
  const size_t panel_bytes = (size_t)n_blocks * f.packed_bytes;
  const int n_panels = n_columns / COLUMNS_PER_PANEL;
  vfloat acc[MAX_TILE_ROWS][MAX_COLUMNS];
  ORIBI_UNROLL for (int r = 0; r < n_rows; r++) ORIBI_UNROLL for (int c = 0; c < n_columns; c++) acc[r][c] = v_zero();
  position at = {.g = 0, .k = k};
  for (uint32_t b = 0; b < n_blocks; b++) {
    for (int g = 0; g < f.n_groups; g++, at.g++) {
      const size_t block_at = (size_t)b * f.packed_bytes, group_at = f.groups_at + (size_t)g * f.group_bytes;
      ORIBI_UNROLL for (int c = 0; c < n_columns; c++) {
        const column column = column_of(panels, panel_bytes, c);
        at.block[c] = column.panel + block_at;
        at.group[c] = at.block[c] + group_at;
        at.lane[c] = column.lane;
        if (column.lane != 0 || !fetches_ahead(n_rows, rows)) continue;
        const size_t left = panel_bytes - block_at - group_at, skip = (size_t)(n_panels - 1) * panel_bytes;
        prefetch(at.group[c], left, skip, f.n_groups == 1 ? f.packed_bytes : f.group_bytes);
      }
      group_step(f, n_columns, n_rows, &at, rows, acc);
    }
  }
  ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
    if (r >= rows->n_rows) break;
    ORIBI_UNROLL for (int c = 0; c < n_columns; c++) v_store_f32(rows->y[r] + c * LANES, acc[r][c]);
  }
}

/* ---- float weights ---- */

/* Formats without blocks, as constants of the float tile. */
typedef enum { FLOAT_F32, FLOAT_F16, FLOAT_BF16 } float_format;

ORIBI_INLINE size_t float_bytes(float_format f) { return f == FLOAT_F32 ? 4 : 2; }

ORIBI_INLINE vfloat read_floats(float_format f, const uint8_t *p) {
  if (f == FLOAT_F32) return v_load_f32(p);
  return f == FLOAT_F16 ? v_load_f16(p) : v_load_bf16(p);
}

ORIBI_INLINE void tile_floats(float_format f, int n_columns, int n_rows, const uint8_t *panels, uint32_t k,
                        const tile_rows *rows) {
  const size_t step = ROWS * float_bytes(f), panel_bytes = k * step;
  const size_t skip = (size_t)(n_columns / COLUMNS_PER_PANEL - 1) * panel_bytes;
  vfloat acc[MAX_TILE_ROWS][MAX_COLUMNS];
  ORIBI_UNROLL for (int r = 0; r < n_rows; r++) ORIBI_UNROLL for (int c = 0; c < n_columns; c++) acc[r][c] = v_zero();
  for (size_t i = 0; i < k; i++) {
    vfloat w[MAX_COLUMNS];
    ORIBI_UNROLL for (int c = 0; c < n_columns; c++) {
      const column column = column_of(panels, panel_bytes, c);
      const uint8_t *p = column.panel + i * step;
      if (column.lane == 0 && fetches_ahead(n_rows, rows)) prefetch(p, panel_bytes - i * step, skip, step);
      w[c] = read_floats(f, p + (size_t)column.lane * float_bytes(f));
    }
    ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
      const vfloat x = v_set1_f32(load_f32(rows->acts[r] + i * sizeof(float)));
      ORIBI_UNROLL for (int c = 0; c < n_columns; c++) acc[r][c] = v_fma(w[c], x, acc[r][c]);
    }
  }
  ORIBI_UNROLL for (int r = 0; r < n_rows; r++) {
    if (r >= rows->n_rows) break;
    ORIBI_UNROLL for (int c = 0; c < n_columns; c++) v_store_f32(rows->y[r] + c * LANES, acc[r][c]);
  }
}

/* ---- all tiles ---- */

typedef void (*tile_fn)(const uint8_t *panels, uint32_t k, const tile_rows *rows);

/* A format's tiles: for one activation row over several panels at once, and by number of rows over one panel. */
typedef struct {
  tile_fn one_row_wide;
  tile_fn rows1, rows2, rows4, rows8; /* rows8 may be NULL */
  int wide_panels;
  size_t panel_bytes;
  size_t acts_row_bytes;
} tile_set;

ORIBI_INLINE tile_rows rows_of_tile(const oribi_matmul_args *a, uint32_t panel, uint32_t first, uint32_t n_rows) {
  tile_rows rows = {.n_rows = (int)n_rows, .one_stream = a->one_stream != 0};
  for (uint32_t r = 0; r < MAX_TILE_ROWS; r++) {
    const uint32_t row = first + (r < n_rows ? r : n_rows - 1);
    rows.acts[r] = a->acts + (size_t)row * a->acts_stride;
    rows.y[r] = a->y + (size_t)row * a->y_stride + (size_t)panel * ROWS;
  }
  return rows;
}

static inline void matmul_one_row(const oribi_matmul_args *a, const tile_set *tiles) {
  uint32_t p = 0;
  for (; !a->one_stream && p + (uint32_t)tiles->wide_panels <= a->n_panels; p += (uint32_t)tiles->wide_panels) {
    const tile_rows rows = rows_of_tile(a, p, 0, 1);
    tiles->one_row_wide(a->panels + p * tiles->panel_bytes, a->k, &rows);
  }
  for (; p < a->n_panels; p++) {
    const tile_rows rows = rows_of_tile(a, p, 0, 1);
    tiles->rows1(a->panels + p * tiles->panel_bytes, a->k, &rows);
  }
}

static inline void matmul_rows(const oribi_matmul_args *a, const tile_set *tiles, uint32_t first, uint32_t end) {
  const uint32_t max_tile = tiles->rows8 ? 8 : 4;
  for (uint32_t p = 0; p < a->n_panels; p++) {
    for (uint32_t r = first; r < end; r += max_tile) {
      const uint32_t n_rows = end - r < max_tile ? end - r : max_tile;
      const tile_rows rows = rows_of_tile(a, p, r, n_rows);
      const tile_fn tile = n_rows == 1   ? tiles->rows1
                           : n_rows == 2 ? tiles->rows2
                           : n_rows <= 4 ? tiles->rows4
                                         : tiles->rows8;
      tile(a->panels + p * tiles->panel_bytes, a->k, &rows);
    }
  }
}

static inline void matmul_tiles(const oribi_matmul_args *a, const tile_set *tiles) {
  if (a->n_rows == 1) {
    matmul_one_row(a, tiles);
    return;
  }
  size_t block = ACTS_BLOCK_BYTES / (tiles->acts_row_bytes + 1) / MAX_TILE_ROWS * MAX_TILE_ROWS;
  block = block < 2 * MAX_TILE_ROWS ? 2 * MAX_TILE_ROWS : block;
  for (size_t first = 0; first < a->n_rows; first += block) {
    const size_t end = first + block < a->n_rows ? first + block : a->n_rows;
    matmul_rows(a, tiles, (uint32_t)first, (uint32_t)end);
  }
}

/* ---- what an instruction set's file expands ---- */

/* A tile function: the body for one format, number of columns and number of rows. */
#define TILE(body, name, format, n_columns, n_rows)                                     \
  static void name(const uint8_t *panels, uint32_t k, const tile_rows *rows) {          \
    body(format, n_columns, n_rows, panels, k, rows);                                   \
  }

/* The kernel of a format from its tiles name_wide, name_1, name_2, name_4 and rows8. */
#define KERNEL_OF_TILES(name, symbol, rows8_tile, n_wide_columns, bytes_of_panel, bytes_of_acts) \
  void symbol(const void *);                                                            \
  void symbol(const void *args) {                                                       \
    const oribi_matmul_args *a = args;                                                  \
    const tile_set tiles = {                                                            \
        .one_row_wide = name##_wide,                                                    \
        .rows1 = name##_1,                                                              \
        .rows2 = name##_2,                                                              \
        .rows4 = name##_4,                                                              \
        .rows8 = rows8_tile,                                                            \
        .wide_panels = n_wide_columns / COLUMNS_PER_PANEL,                              \
        .panel_bytes = bytes_of_panel,                                                  \
        .acts_row_bytes = bytes_of_acts,                                                \
    };                                                                                  \
    matmul_tiles(a, &tiles);                                                            \
  }
#define CODES_PANEL_BYTES(f) ((size_t)(a->k / f.block_len) * f.packed_bytes)
#define FLOATS_PANEL_BYTES(f) ((size_t)a->k * ROWS * float_bytes(f))

#endif
