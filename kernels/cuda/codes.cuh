/* codes.cuh - a group of 32 inputs of a packed panel as the A operands of two mma.m16n8k16, and its scales.
 *
 * A lane of a warp, g = lane / 4, t = lane % 4, has rows g and g + 8 and, in step s = 0, 1, inputs 16s + 4t .. 16s + 4t + 3. Those
 * are 4 bytes of a line of the panel (packed.h), and in the order in which the lanes take them all operands agree (oribi_cuda.h).
 * Codes become bfloat16 exactly: a byte below 128 as the fraction of 128.0, from which 128 + offset is subtracted. */
#ifndef ORIBI_CUDA_CODES_CUH
#define ORIBI_CUDA_CODES_CUH

#include "weights.cuh"

struct lane_place {
  uint32_t g, t;

  DEVICE_INLINE explicit lane_place(uint32_t lane) : g(lane / 4), t(lane % 4) {}
};

/* The words of a line for rows g and g + 8. Lanes with t >= 2 read row g + 8 first: then lines t do not meet in a bank of shared
 * memory. */
DEVICE void load_rows(const uint8_t *line, lane_place at, uint32_t rows[2]) {
  const bool swapped = at.t >= 2;
  const uint32_t first = *(const uint32_t *)(line + 4 * (at.g + (swapped ? 8 : 0)));
  const uint32_t second = *(const uint32_t *)(line + 4 * (at.g + (swapped ? 0 : 8)));
  rows[0] = swapped ? second : first;
  rows[1] = swapped ? first : second;
}

/* The codes of step s of both rows, one a byte; all lines' words are in `words` already. */
template <int bits>
struct code_lines {
  static constexpr int n_words = bits == 8 ? 4 : bits == 4 ? 2 : bits == 2 ? 4 : 2;
  uint32_t words[n_words]; /* [line of this lane][row] */

  DEVICE_INLINE void load(const uint8_t *lines, lane_place at) {
    if constexpr (bits == 8) {
      load_rows(lines + LINE * at.t, at, words);
      load_rows(lines + LINE * (4 + at.t), at, words + 2);
    } else if constexpr (bits == 4) {
      load_rows(lines + LINE * at.t, at, words);
    } else if constexpr (bits == 2) {
      load_rows(lines, at, words);
      load_rows(lines + LINE, at, words + 2);
    } else {
      load_rows(lines, at, words);
    }
  }

  DEVICE_INLINE uint32_t codes(int s, int row, lane_place at) const {
    if constexpr (bits == 8) return words[2 * s + row];
    if constexpr (bits == 4) return words[row] >> 4 * s & 0x0f0f0f0fu;
    if constexpr (bits == 2) return words[2 * s + row] >> 2 * at.t & 0x03030303u;
    return words[row] >> (4 * s + at.t) & 0x01010101u;
  }
};

/* Four bytes 0..127 as two pairs of bfloat16, less `minus`. */
template <int minus>
DEVICE_INLINE void floats_of_small(uint32_t bytes, uint32_t pairs[2]) {
  constexpr uint32_t one = 0x3f803f80u;
  static_assert(128 + minus <= 256, "exact in bfloat16");
  /* -(128 + minus), of 8 significant bits */
  constexpr uint32_t sum = 128 + minus, bits = sum == 256 ? 0xc380u : 0xc300u | (sum - 128), both = bits << 16 | bits;
  pairs[0] = bf16x2_fma(permute(bytes, 0x43434343u, 0x4140), one, both);
  pairs[1] = bf16x2_fma(permute(bytes, 0x43434343u, 0x4342), one, both);
}

/* Four bytes less 128. The lower seven bits count from 128.0; what is taken away is 256, or 128 where the upper bit is set. */
DEVICE void floats_of_bytes(uint32_t bytes, uint32_t pairs[2]) {
  constexpr uint32_t one = 0x3f803f80u;
  const uint32_t low = bytes & 0x7f7f7f7fu, not_high = ~bytes & 0x80808080u;
  pairs[0] = bf16x2_fma(permute(low, 0x43434343u, 0x4140), one, permute(not_high, 0xc3c3c3c3u, 0x4140));
  pairs[1] = bf16x2_fma(permute(low, 0x43434343u, 0x4342), one, permute(not_high, 0xc3c3c3c3u, 0x4342));
}

/* Four entries, from `first` on, of a table, plus `plus`, as bytes. */
DEVICE constexpr uint32_t table_word(packed_table table, int first, int plus) {
  uint32_t word = 0;
  for (int i = 0; i < 4; i++) word |= (uint32_t)((packed_tables[table][first + i] + plus) & 255) << 8 * i;
  return word;
}

/* Four indices to four bytes: entries of a table of 8 or 16, plus `plus`. */
template <packed_table table, int bits, int plus>
DEVICE_INLINE uint32_t look_up(uint32_t indices) {
  constexpr uint32_t t0 = table_word(table, 0, plus), t1 = table_word(table, 4, plus);
  const uint32_t low = indices & 0x07070707u, nibbles = low | low >> 4;
  const uint32_t selector = permute(nibbles, 0, 0x4420);
  const uint32_t first = permute(t0, t1, selector);
  if constexpr (bits == 4) {
    constexpr uint32_t t2 = table_word(table, 8, plus), t3 = table_word(table, 12, plus);
    const uint32_t second = permute(t2, t3, selector), upper = permute(indices << 4, 0, 0xba98);
    return (first & ~upper) | (second & upper);
  } else {
    return first;
  }
}

/* A lane's codes of a group, as they lie in memory. */
template <packed_format f>
struct group_codes {
  code_lines<f.q_bits> q;
  code_lines<f.h_bits == 0 ? 1 : f.h_bits> h;

  DEVICE_INLINE void load(const uint8_t *group, lane_place at) {
    q.load(group + f.q_at, at);
    if constexpr (f.h_bits != 0) h.load(group + f.h_at, at);
  }

  /* Operand A of step s. */
  DEVICE_INLINE void operand(int s, lane_place at, uint32_t a[4]) const {
    UNROLL
    for (int row = 0; row < 2; row++) {
      uint32_t codes = q.codes(s, row, at), pairs[2];
      if constexpr (f.h_bits != 0) codes |= h.codes(s, row, at) << f.q_bits;
      if constexpr (f.table == TABLE_IQ4) {
        floats_of_bytes(look_up<f.table, 4, 128>(codes), pairs);
      } else if constexpr (f.table != TABLE_NONE) {
        floats_of_small<64>(look_up<f.table, f.q_bits + f.h_bits, 64>(codes), pairs);
      } else if constexpr (f.q_bits == 8) {
        static_assert(f.offset == 128);
        floats_of_bytes(codes, pairs);
      } else {
        floats_of_small<f.offset>(codes, pairs);
      }
      a[row] = pairs[0];
      a[2 + row] = pairs[1];
    }
  }
};

/* packed_scales_of with loads of whole numbers: panels are aligned. */
template <packed_format f>
DEVICE_INLINE packed_scales scales_of(const uint8_t *block, const uint8_t *group, int half, uint32_t row) {
  const uint16_t *halves = (const uint16_t *)block;
  const uint8_t *sc = group + half * ROWS + row;
  packed_scales r = {0.0f, 0.0f};
  if constexpr (f.scale == SCALE_F16) r.s = float_of_half(halves[row]);
  if constexpr (f.scale == SCALE_F16_MIN) r = {float_of_half(halves[row]), float_of_half(halves[ROWS + row])};
  if constexpr (f.scale == SCALE_E8M0) r.s = f32_of_e8m0_half(block[row]);
  if constexpr (f.scale == SCALE_F32) r.s = ((const float *)block)[row];
  if constexpr (f.scale == SCALE_I8) r.s = float_of_half(halves[row]) * (float)(int8_t)*sc;
  if constexpr (f.scale == SCALE_U8_MIN) {
    r = {float_of_half(halves[row]) * (float)*sc, -(float_of_half(halves[ROWS + row]) * (float)group[ROWS + row])};
  }
  if constexpr (f.scale == SCALE_NIBBLE_MIN) {
    r = {float_of_half(halves[row]) * (float)(*sc & 15), -(float_of_half(halves[ROWS + row]) * (float)(*sc >> 4))};
  }
  if constexpr (f.scale == SCALE_F32_I8) r.s = ((const float *)block)[row] * (float)(int8_t)*sc;
  if constexpr (f.scale == SCALE_F32_I8_MIN) {
    const float d = ((const float *)block)[row];
    r = {d * (float)(int8_t)*sc, d * (float)(int8_t)group[ROWS + row]};
  }
  if constexpr (f.scale == SCALE_F32_NIBBLE) r.s = ((const float *)block)[row] * (float)(group[row] >> 4 * half & 15);
  return r;
}

/* Operand A of step s of float weights, plane after plane; inputs from `k` on are 0. `panel` is where input `first` lies. */
template <class W>
DEVICE_INLINE void float_operands(const uint8_t *from, uint32_t first, uint32_t k, int s, lane_place at,
                                  uint32_t a[W::planes][4]) {
  UNROLL
  for (int row = 0; row < 2; row++) {
    UNROLL
    for (int pair = 0; pair < 2; pair++) {
      float w[2];
      UNROLL
      for (int i = 0; i < 2; i++) {
        const uint32_t input = (uint32_t)HALF * s + 4 * at.t + 2 * pair + i;
        w[i] = first + input < k ? W::element(from + (input * ROWS + at.g + 8 * row) * W::elem_bytes) : 0.0f;
      }
      UNROLL
      for (int plane = 0; plane < W::planes; plane++) {
        const uint32_t rounded = bf16x2_of_floats(w[0], w[1]);
        a[plane][2 * pair + row] = rounded;
        w[0] -= float_of_bits(rounded << 16);
        w[1] -= float_of_bits(rounded & 0xffff0000u);
      }
    }
  }
}

#endif
