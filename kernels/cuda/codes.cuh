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

/* What the scale and the minimum of a row are made of, as it lies in memory: packed_scales_of in two steps, of which the first
 * waits for nothing. */
template <packed_format f>
struct raw_scales {
  static constexpr bool is_float = f.scale == SCALE_F32 || f.scale == SCALE_F32_I8 || f.scale == SCALE_F32_I8_MIN ||
                                   f.scale == SCALE_F32_NIBBLE;
  static constexpr bool has_min_bytes = f.scale == SCALE_U8_MIN || f.scale == SCALE_F32_I8_MIN;
  static constexpr bool has_bytes =
      f.scale != SCALE_F16 && f.scale != SCALE_F16_MIN && f.scale != SCALE_E8M0 && f.scale != SCALE_F32;
  static constexpr bool is_signed = f.scale == SCALE_I8 || f.scale == SCALE_F32_I8 || f.scale == SCALE_F32_I8_MIN;
  uint32_t d, m; /* of the block: bits of its scale, and of a second one */
  uint8_t sc[f.n_scales], mn;

  DEVICE_INLINE void load(const uint8_t *block, const uint8_t *group, uint32_t row) {
    const uint16_t *halves = (const uint16_t *)block;
    d = f.scale == SCALE_E8M0 ? block[row] : is_float ? ((const uint32_t *)block)[row] : halves[row];
    if constexpr (packed_has_min(f) && !is_float) m = halves[ROWS + row];
    if constexpr (has_bytes) {
      UNROLL
      for (int half = 0; half < f.n_scales; half++) {
        sc[half] = group[(f.scale == SCALE_F32_NIBBLE ? 0 : half * ROWS) + row];
      }
    }
    if constexpr (has_min_bytes) mn = group[ROWS + row];
  }

  DEVICE_INLINE packed_scales of(int half) const {
    const float scale = f.scale == SCALE_E8M0 ? f32_of_e8m0_half((uint8_t)d)
                        : is_float            ? float_of_bits(d)
                                              : float_of_half((uint16_t)d);
    packed_scales r = {scale, 0.0f};
    if constexpr (f.scale == SCALE_F16_MIN) r.m = float_of_half((uint16_t)m);
    if constexpr (is_signed) r.s = scale * (float)(int8_t)sc[half];
    if constexpr (f.scale == SCALE_U8_MIN) r = {scale * (float)sc[half], -(float_of_half((uint16_t)m) * (float)mn)};
    if constexpr (f.scale == SCALE_NIBBLE_MIN) {
      r = {scale * (float)(sc[half] & 15), -(float_of_half((uint16_t)m) * (float)(sc[half] >> 4))};
    }
    if constexpr (f.scale == SCALE_F32_I8_MIN) r.m = scale * (float)(int8_t)mn;
    if constexpr (f.scale == SCALE_F32_NIBBLE) r.s = scale * (float)(sc[half] >> 4 * half & 15);
    return r;
  }
};

/* A lane's float weights of a group: both steps, rows g and g + 8, four inputs; those from `k` on are 0. */
template <class W>
struct group_floats {
  float w[2][2][4];

  /* `from` is where input `first` lies. */
  DEVICE_INLINE void load(const uint8_t *from, uint32_t first, uint32_t k, lane_place at) {
    UNROLL
    for (int i = 0; i < 16; i++) {
      const int s = i / 8, row = i / 4 % 2;
      const uint32_t input = (uint32_t)HALF * s + 4 * at.t + i % 4;
      w[s][row][i % 4] = first + input < k ? W::element(from + (input * ROWS + at.g + 8 * row) * W::elem_bytes) : 0.0f;
    }
  }

  /* Operand A of step s, plane after plane. */
  DEVICE_INLINE void operands(int s, uint32_t a[W::planes][4]) const {
    UNROLL
    for (int i = 0; i < 4; i++) {
      const int row = i % 2, pair = i / 2;
      float w0 = w[s][row][2 * pair], w1 = w[s][row][2 * pair + 1];
      UNROLL
      for (int plane = 0; plane < W::planes; plane++) {
        a[plane][i] = bf16x2_of_floats(w0, w1);
        w0 -= float_of_bits(a[plane][i] << 16);
        w1 -= float_of_bits(a[plane][i] & 0xffff0000u);
      }
    }
  }
};

#endif
