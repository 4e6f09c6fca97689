/* read.h - file blocks to unsigned codes, one reader per format; and the loop over the blocks of a panel. Scales are copied bit
 * for bit, but for the IQ formats: theirs are made integers times d, and their indices of grid points become codes.
 *
 * Source of the file layouts: ggml-common.h of ggml. All bit planes of the 256-blocks follow one pattern: a run of bytes
 * serves consecutive inputs, the first ones from the lowest bits of the run, the next from the bits above, and so on.
 *
 * The including file provides the function that moves codes to their places (see packed.h):
 *
 *   void store_bits(uint8_t *lines, int n_bits, int down, const block_codes rows[ROWS], int first)
 *       of every row n_bits of its codes first..first + 32, from bit `down` of each, into lines */
#ifndef ORIBI_PACK_READ_H
#define ORIBI_PACK_READ_H

#include "../packed.h"
#include "../simd/inline.h"
#include "grids.h"

/* Unsigned codes of one block of one row. */
typedef struct {
  uint8_t code[256];
  const uint64_t *points; /* of the format's grid, a code per byte */
} block_codes;

/* Adds n_bits of every input, shifted up by `up`, from the planes in src; see above. */
ORIBI_INLINE void read_plane(const uint8_t *src, int n_bits, int run, int up, block_codes *c) {
  const int per_run = run * 8 / n_bits, mask = (1 << n_bits) - 1;
  for (int first = 0; first < 256; first += per_run, src += run) {
    for (int shift = 0; shift < 8; shift += n_bits) {
      uint8_t *code = c->code + first + shift / n_bits * run;
      for (int i = 0; i < run; i++) code[i] |= (uint8_t)((src[i] >> shift & mask) << up);
    }
  }
}

/* 16 bytes of a block of 32: input j in the low, j + 16 in the high nibble of byte j; eight bytes at once. */
ORIBI_INLINE void read_nibbles(const uint8_t *src, uint8_t *code) {
  const uint64_t low_nibbles = 0x0f0f0f0f0f0f0f0fu;
  for (int j = 0; j < HALF; j += 8) {
    uint64_t eight;
    memcpy(&eight, src + j, sizeof eight);
    const uint64_t low = eight & low_nibbles, high = eight >> 4 & low_nibbles;
    memcpy(code + j, &low, sizeof low);
    memcpy(code + j + HALF, &high, sizeof high);
  }
}

/* Bit i of a byte as the lowest bit of byte i: every byte of a word keeps its own bit of the source byte, which adding 0x7f then
 * carries to the byte's top. */
ORIBI_INLINE uint64_t bytes_of_bits(unsigned bits) {
  const uint64_t ones = 0x0101010101010101u;
  const uint64_t own_bit = bits * ones & 0x8040201008040201u;
  return (own_bit + 0x7f * ones) >> 7 & ones;
}

/* Bit k of 4 bytes is bit 4 of code k. */
ORIBI_INLINE void read_fifth_bits(const uint8_t *src, uint8_t *code) {
  for (int i = 0; i < GROUP / 8; i++) {
    uint64_t eight;
    memcpy(&eight, code + 8 * i, sizeof eight);
    eight |= bytes_of_bits(src[i]) << 4;
    memcpy(code + 8 * i, &eight, sizeof eight);
  }
}

/* Signed bytes, 128 added. */
ORIBI_INLINE void read_bytes(const uint8_t *src, int n, uint8_t *code) {
  for (int k = 0; k < n; k++) code[k] = src[k] ^ 0x80;
}

/* ---- one reader per format: codes of a block, and its scales stored for one row ---- */

typedef void (*read_fn)(const uint8_t *src, block_codes *c, uint8_t *block, int row);

ORIBI_INLINE void copy_u16(uint8_t *dst_vector, int row, const uint8_t *src) { memcpy(dst_vector + 2 * row, src, 2); }

/* The vector of scales number n of group g. */
ORIBI_INLINE uint8_t *group_scales(packed_format f, uint8_t *block, int g, int n) {
  return block + f.groups_at + g * f.group_bytes + n * ROWS;
}

ORIBI_INLINE void read_q4_0(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src);
  read_nibbles(src + 2, c->code);
}

ORIBI_INLINE void read_q4_1(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src);
  copy_u16(block + offsetof(packed_q4_1, m), row, src + 2);
  read_nibbles(src + 4, c->code);
}

ORIBI_INLINE void read_q5_0(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src);
  read_nibbles(src + 6, c->code);
  read_fifth_bits(src + 2, c->code);
}

ORIBI_INLINE void read_q5_1(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src);
  copy_u16(block + offsetof(packed_q5_1, m), row, src + 2);
  read_nibbles(src + 8, c->code);
  read_fifth_bits(src + 4, c->code);
}

ORIBI_INLINE void read_q8_0(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src);
  read_bytes(src + 2, GROUP, c->code);
}

ORIBI_INLINE void read_q8_1(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src);
  read_bytes(src + 4, GROUP, c->code);
}

ORIBI_INLINE void read_iq4_nl(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  read_q4_0(src, c, block, row);
}

ORIBI_INLINE void read_mxfp4(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  block[row] = src[0];
  read_nibbles(src + 1, c->code);
}

/* 16 of scale + 16 * minimum, 64 of codes, d, dmin. */
ORIBI_INLINE void read_q2_k(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src + 80);
  copy_u16(block + offsetof(packed_q2_k, dmin), row, src + 82);
  for (int n = 0; n < 16; n++) group_scales(format_q2_k, block, n / 2, n % 2)[row] = src[n];
  read_plane(src + 16, 2, 32, 0, c);
}

/* 32 of third bits, 64 of codes, 12 of scales, d. A scale's low four bits are in nibbles (bytes 0..8, scales 0..8 low,
 * 8..16 high), its high two in bytes 8..12 (scale n in byte 8 + n % 4, pair n / 4); 32 is added. */
ORIBI_INLINE void read_q3_k(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  const uint8_t *scales = src + 96;
  copy_u16(block, row, src + 108);
  for (int n = 0; n < 16; n++) {
    const int low = scales[n % 8] >> (n / 8 * 4) & 15, high = scales[8 + n % 4] >> (n / 4 * 2) & 3;
    group_scales(format_q3_k, block, n / 2, n % 2)[row] = (uint8_t)((low | high << 4) - 32);
  }
  read_plane(src + 32, 2, 32, 0, c);
  read_plane(src, 1, 32, 2, c);
}

/* Scales and minima of Q4_K and Q5_K: groups 0..4 have their six bits in bytes 0..4 and 4..8; groups 4..8 their low four
 * in the low and high nibbles of bytes 8..12, their high two in the upper bits of bytes 0..4 and 4..8. */
ORIBI_INLINE void read_scales_6(packed_format f, const uint8_t *scales, uint8_t *block, int row) {
  for (int g = 0; g < 4; g++) {
    const uint8_t sc = scales[g], mn = scales[4 + g], low = scales[8 + g];
    group_scales(f, block, g, 0)[row] = sc & 63;
    group_scales(f, block, g, 1)[row] = mn & 63;
    group_scales(f, block, 4 + g, 0)[row] = (uint8_t)((low & 15) | sc >> 6 << 4);
    group_scales(f, block, 4 + g, 1)[row] = (uint8_t)(low >> 4 | mn >> 6 << 4);
  }
}

/* d, dmin, 12 of scales and minima, 128 of nibbles. */
ORIBI_INLINE void read_q4_k(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src);
  copy_u16(block + offsetof(packed_q4_k, dmin), row, src + 2);
  read_scales_6(format_q4_k, src + 4, block, row);
  read_plane(src + 16, 4, 32, 0, c);
}

/* d, dmin, 12 of scales and minima, 32 of fifth bits, 128 of nibbles. */
ORIBI_INLINE void read_q5_k(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src);
  copy_u16(block + offsetof(packed_q5_k, dmin), row, src + 2);
  read_scales_6(format_q5_k, src + 4, block, row);
  read_plane(src + 48, 4, 32, 0, c);
  read_plane(src + 16, 1, 32, 4, c);
}

/* 128 of nibbles, 64 of upper 2-bit parts, 16 scales, d. */
ORIBI_INLINE void read_q6_k(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src + 208);
  for (int n = 0; n < 16; n++) group_scales(format_q6_k, block, n / 2, n % 2)[row] = src[192 + n];
  read_plane(src, 4, 64, 0, c);
  read_plane(src + 128, 2, 32, 4, c);
}

/* d as binary32, 256 signed bytes, then sums that are redundant. */
ORIBI_INLINE void read_q8_k(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  memcpy(block + 4 * row, src, 4);
  read_bytes(src + 4, 256, c->code);
}

/* d, 2 bytes of the scales' upper 2 bits, 4 bytes of their lower 4, 8 times 16 bytes of nibbles; 32 is added to a scale. */
ORIBI_INLINE void read_iq4_xs(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  const unsigned upper = load_u16(src + 2);
  copy_u16(block, row, src);
  for (int g = 0; g < 8; g++) {
    const int low = src[4 + g / 2] >> (g % 2 * 4) & 15, high = (int)(upper >> (2 * g) & 3);
    group_scales(format_iq4_xs, block, g, 0)[row] = (uint8_t)((low | high << 4) - 32);
    read_nibbles(src + 8 + 16 * g, c->code + GROUP * g);
  }
}

/* 48 and 4 bytes of 5 and 4 ternary digits each, d. A byte is a fraction: its digits are what times 3, 9 .. carries over 256. Digit
 * n of the first 32 bytes belongs to input 32 * n and up, of the next 16 to 160 + 16 * n, of the last 4 to 240 + 4 * n. */
ORIBI_INLINE void read_tq1_0(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  static const struct { int at, n_bytes, n_digits; } runs[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};
  uint8_t *code = c->code;
  copy_u16(block, row, src + 52);
  for (int r = 0; r < 3; r++) {
    uint8_t power = 1;
    for (int n = 0; n < runs[r].n_digits; n++, power = (uint8_t)(3 * power)) {
      for (int i = 0; i < runs[r].n_bytes; i++) *code++ = (uint8_t)((uint8_t)(src[runs[r].at + i] * power) * 3 >> 8);
    }
  }
}

/* 64 of 2-bit codes, d. */
ORIBI_INLINE void read_tq2_0(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src + 64);
  read_plane(src, 2, 32, 0, c);
}

/* ---- points of a grid; see grids.h ---- */

ORIBI_INLINE void store_d_f32(uint8_t *block, int row, uint16_t d, float factor) {
  const float d32 = f32_of_f16(d) * factor; /* exact */
  memcpy(block + 4 * row, &d32, sizeof d32);
}

/* 8 codes: a point of 8 coordinates, or two of 4; `flags` a bit per code, which becomes bit `at_bit` of it. */
ORIBI_INLINE void store_eight(block_codes *c, int run, uint64_t codes, unsigned flags, int at_bit) {
  codes |= bytes_of_bits(flags) << at_bit;
  memcpy(c->code + 8 * run, &codes, sizeof codes);
}

/* 7 signs and, as the eighth, their parity. */
ORIBI_INLINE unsigned signs_of_7(uint32_t bits) {
  unsigned signs = bits & 127, parity = signs ^ signs >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return signs | (parity & 1) << 7;
}

ORIBI_INLINE uint8_t odd(unsigned n) { return (uint8_t)(2 * n + 1); }

/* d, 32 low bytes of indices, per group 16 bits: 4 times 3 upper bits of indices, 3 of scale, whether the grid moves down. */
ORIBI_INLINE void read_iq1_s(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  store_d_f32(block, row, load_u16(src), 0.125f);
  for (int g = 0; g < 8; g++) {
    const unsigned high = load_u16(src + 34 + 2 * g), scale = odd(high >> 12 & 7);
    group_scales(format_iq1_s, block, g, 0)[row] = (uint8_t)(8 * scale);
    group_scales(format_iq1_s, block, g, 1)[row] = (uint8_t)(high >> 15 ? -(int)scale : (int)scale);
    for (int i = 0; i < 4; i++) {
      store_eight(c, 4 * g + i, c->points[src[2 + 4 * g + i] | (high >> 3 * i & 7) << 8], 0, 0);
    }
  }
}

/* 32 low bytes of indices, 16 of nibbles: 3 upper bits, whether the grid moves down; 4 times 16 bits: 4 scales of 3 bits, and
 * from the first to the last a nibble of d from its lowest. */
ORIBI_INLINE void read_iq1_m(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  unsigned d = 0;
  for (int i = 0; i < 4; i++) d |= (unsigned)(src[49 + 2 * i] >> 4) << 4 * i;
  store_d_f32(block, row, (uint16_t)d, 0.125f);
  for (int g = 0; g < 8; g++) {
    const unsigned scales = load_u16(src + 48 + g / 2 * 2) >> g % 2 * 6;
    group_scales(format_iq1_m, block, g, 0)[row] = (uint8_t)(odd(scales & 7) | odd(scales >> 3 & 7) << 4);
    for (int run = 4 * g; run < 4 * g + 4; run++) {
      const unsigned high = src[32 + run / 2] >> run % 2 * 4;
      store_eight(c, run, c->points[src[run] | (high & 7) << 8], high & 8 ? 255 : 0, 2);
    }
  }
}

/* d, per group 4 indices, then 4 times 7 signs and 4 bits of scale. */
ORIBI_INLINE void read_iq2_xxs(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  store_d_f32(block, row, load_u16(src), 0.125f);
  for (int g = 0; g < 8; g++) {
    const uint8_t *indices = src + 2 + 8 * g;
    const uint32_t signs = load_u32(indices + 4);
    group_scales(format_iq2_xxs, block, g, 0)[row] = odd(signs >> 28);
    for (int i = 0; i < 4; i++) store_eight(c, 4 * g + i, c->points[indices[i]], signs_of_7(signs >> 7 * i), 2);
  }
}

/* The scales of IQ2_XS and IQ2_S: a nibble per half group. */
ORIBI_INLINE void read_half_scales(packed_format f, const uint8_t *src, uint8_t *block, int row) {
  for (int g = 0; g < 8; g++) {
    group_scales(f, block, g, 0)[row] = odd(src[g] & 15);
    group_scales(f, block, g, 1)[row] = odd(src[g] >> 4);
  }
}

/* d, 32 times 9 bits of index and 7 signs, 8 of scales. */
ORIBI_INLINE void read_iq2_xs(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  store_d_f32(block, row, load_u16(src), 0.125f);
  read_half_scales(format_iq2_xs, src + 66, block, row);
  for (int run = 0; run < 32; run++) {
    const unsigned both = load_u16(src + 2 + 2 * run);
    store_eight(c, run, c->points[both & 511], signs_of_7(both >> 9), 2);
  }
}

/* d, 32 low bytes of indices, 32 of signs, 8 of the indices' upper 2 bits, 8 of scales. */
ORIBI_INLINE void read_iq2_s(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  store_d_f32(block, row, load_u16(src), 0.125f);
  read_half_scales(format_iq2_s, src + 74, block, row);
  for (int run = 0; run < 32; run++) {
    const unsigned high = src[66 + run / 4] >> run % 4 * 2 & 3;
    store_eight(c, run, c->points[src[2 + run] | high << 8], src[34 + run], 2);
  }
}

/* d, 64 indices, per group 4 times 7 signs and 4 bits of scale. */
ORIBI_INLINE void read_iq3_xxs(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  store_d_f32(block, row, load_u16(src), 0.25f);
  for (int g = 0; g < 8; g++) {
    const uint32_t signs = load_u32(src + 66 + 4 * g);
    group_scales(format_iq3_xxs, block, g, 0)[row] = odd(signs >> 28);
    for (int i = 0; i < 4; i++) {
      const uint8_t *pair = src + 2 + 8 * g + 2 * i;
      store_eight(c, 4 * g + i, c->points[pair[0]] | c->points[pair[1]] << 32, signs_of_7(signs >> 7 * i), 3);
    }
  }
}

/* d, 64 low bytes of indices, 8 of their ninth bits, 32 of signs, 4 of scales: a nibble per group. */
ORIBI_INLINE void read_iq3_s(const uint8_t *src, block_codes *c, uint8_t *block, int row) {
  copy_u16(block, row, src);
  for (int g = 0; g < 8; g++) {
    const unsigned ninth = src[66 + g];
    group_scales(format_iq3_s, block, g, 0)[row] = odd(src[106 + g / 2] >> g % 2 * 4 & 15);
    for (int i = 0; i < 4; i++) {
      const uint8_t *pair = src + 2 + 8 * g + 2 * i;
      const uint64_t first = c->points[pair[0] | (ninth >> 2 * i & 1) << 8];
      const uint64_t second = c->points[pair[1] | (ninth >> (2 * i + 1) & 1) << 8];
      store_eight(c, 4 * g + i, first | second << 32, src[74 + 4 * g + i], 3);
    }
  }
}

/* ---- a panel ---- */

ORIBI_INLINE void store_bits(uint8_t *lines, int n_bits, int down, const block_codes rows[ROWS], int first);

/* Rows that do not exist have codes 0. */
ORIBI_INLINE void pack_blocks(const oribi_pack_args *a, packed_format f, read_fn read, const uint64_t *points) {
  block_codes rows[ROWS];
  for (int row = 0; row < ROWS; row++) {
    memset(rows[row].code, 0, f.block_len);
    rows[row].points = points;
  }
  for (uint32_t b = 0; b < a->k / f.block_len; b++) {
    uint8_t *block = a->dst + (size_t)b * f.packed_bytes;
    if (a->n_rows < ROWS) memset(block, 0, f.packed_bytes);
    for (int row = 0; row < (int)a->n_rows; row++) {
      memset(rows[row].code, 0, f.block_len);
      read(a->src + (size_t)row * a->src_stride + (size_t)b * f.block_bytes, rows + row, block, row);
    }
    for (int g = 0; g < f.n_groups; g++) {
      uint8_t *group = block + f.groups_at + g * f.group_bytes;
      store_bits(group + f.q_at, f.q_bits, 0, rows, g * GROUP);
      if (f.h_bits) store_bits(group + f.h_at, f.h_bits, f.q_bits, rows, g * GROUP);
    }
  }
}

ORIBI_INLINE void pack_codes(const oribi_pack_args *a, packed_format f, uint32_t dtype, read_fn read) {
  const grid_set grid = grid_of(dtype);
  if (grid.n_words == 0) {
    pack_blocks(a, f, read, NULL);
    return;
  }
  uint64_t points[MAX_GRID_POINTS];
  list_points(grid, points);
  pack_blocks(a, f, read, points);
}

#endif
