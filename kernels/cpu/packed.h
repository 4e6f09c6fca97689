/* packed.h - how weights lie in memory for the kernels: one struct per format, and one row per format that says how to
 * read it.
 *
 * 16 output rows form a panel; a panel is contiguous along k. It is a run of packed blocks, each
 *
 *   scales of the block, one vector of 16 rows each (d, then the minimum's)
 *   groups of 32 inputs, each: scales of the group, vectors of 16 rows; code lines q; lines h of the codes' upper bits
 *
 * A line is 64 bytes: byte 4 * row + i belongs to row `row` and to an input 4 * t + i, where t = 0..7 is the "step" within
 * the group. So a step of 16 rows is one 512-bit operand with a row per 32-bit lane. Narrow codes share the line's bytes:
 *
 *   q of 8 bits   step t is line t
 *   q of 4 bits   step t is line t % 4, low nibble for t < 4, high nibble for t >= 4
 *   q of 2 bits   step t is line t / 4, bits 2 * (t % 4) and up
 *   h of 2 bits   the same, placed above the bits of q
 *   h of 1 bit    step t is bit t of the only line, placed above the bits of q
 *
 * Codes are stored unsigned, `offset` above their value; codebook formats keep an index of up to 4 bits. F32, F16 and BF16
 * panels have no blocks: 16 elements per input. Rows that do not exist are all zero.
 *
 * A panel has the size of the file's rows, but for the formats whose files name points of a grid instead of codes (IQ1, IQ2,
 * IQ3) or pack five digits into a byte (TQ1_0): those are expanded, to not more than twice the size. The value of a code is then
 * a coordinate of the grid with its sign, and the scale, an odd integer of the file times d, takes the fraction that the file's
 * format multiplies with (1/8, 1/4) into d, which is exact in binary32. */
#ifndef ORIBI_PACKED_H
#define ORIBI_PACKED_H

#include "../oribi_kernels.h"
#include "simd/scalar.h"

/* CUDA kernels, which are C++20, read the same table. */
#ifdef __cplusplus
#define PACKED_CONST static constexpr
#define PACKED_CONST_FN static constexpr
#else
#define PACKED_CONST static const
#define PACKED_CONST_FN static inline
#endif

enum { ROWS = ORIBI_PANEL_ROWS, GROUP = ORIBI_GROUP_LEN, HALF = ORIBI_HALF_GROUP_LEN, LINE = 64, STEPS = 8 };

/* ---- one struct per format ---------------------------------------------------------------------------------------- */

#define PACKED_GROUPS(n, ...) \
  struct {                    \
    __VA_ARGS__               \
  } group[n]

typedef uint8_t packed_line[LINE];

typedef struct {
  uint16_t d[ROWS];
  PACKED_GROUPS(1, packed_line q[4];);
} packed_q4_0; /* and IQ4_NL */

typedef struct {
  uint16_t d[ROWS], m[ROWS];
  PACKED_GROUPS(1, packed_line q[4];);
} packed_q4_1;

typedef struct {
  uint16_t d[ROWS];
  PACKED_GROUPS(1, packed_line q[4]; packed_line h[1];);
} packed_q5_0;

typedef struct {
  uint16_t d[ROWS], m[ROWS];
  PACKED_GROUPS(1, packed_line q[4]; packed_line h[1];);
} packed_q5_1;

typedef struct {
  uint16_t d[ROWS];
  PACKED_GROUPS(1, packed_line q[8];);
} packed_q8_0; /* and Q8_1, whose sums are redundant */

typedef struct {
  uint8_t e[ROWS];
  PACKED_GROUPS(1, packed_line q[4];);
} packed_mxfp4;

typedef struct {
  uint16_t d[ROWS], dmin[ROWS];
  PACKED_GROUPS(8, uint8_t sc[2][ROWS]; packed_line q[2];); /* sc: scale in the low, minimum in the high nibble */
} packed_q2_k;

typedef struct {
  uint16_t d[ROWS];
  PACKED_GROUPS(8, int8_t sc[2][ROWS]; packed_line q[2]; packed_line h[1];);
} packed_q3_k;

typedef struct {
  uint16_t d[ROWS], dmin[ROWS];
  PACKED_GROUPS(8, uint8_t sc[1][ROWS]; uint8_t mn[1][ROWS]; packed_line q[4];);
} packed_q4_k;

typedef struct {
  uint16_t d[ROWS], dmin[ROWS];
  PACKED_GROUPS(8, uint8_t sc[1][ROWS]; uint8_t mn[1][ROWS]; packed_line q[4]; packed_line h[1];);
} packed_q5_k;

typedef struct {
  uint16_t d[ROWS];
  PACKED_GROUPS(8, int8_t sc[2][ROWS]; packed_line q[4]; packed_line h[2];);
} packed_q6_k;

typedef struct {
  float d[ROWS];
  PACKED_GROUPS(8, packed_line q[8];);
} packed_q8_k;

typedef struct {
  uint16_t d[ROWS];
  PACKED_GROUPS(8, int8_t sc[1][ROWS]; packed_line q[4];);
} packed_iq4_xs; /* and IQ3_S */

typedef struct {
  uint16_t d[ROWS];
  PACKED_GROUPS(8, packed_line q[2];);
} packed_tq2_0; /* and TQ1_0 */

/* w = s * g + m with g = -1, 0, 1: a grid moved by an eighth up or down. */
typedef struct {
  float d[ROWS];
  PACKED_GROUPS(8, int8_t sc[1][ROWS]; int8_t mn[1][ROWS]; packed_line q[2];);
} packed_iq1_s;

/* The grid moves every 8 inputs, too often for a minimum: h says whether down, and w = s * (8 * g +- 1). */
typedef struct {
  float d[ROWS];
  PACKED_GROUPS(8, uint8_t sc[1][ROWS]; packed_line q[2]; packed_line h[1];); /* sc: a nibble per half group */
} packed_iq1_m;

/* h is the sign, in IQ3_XXS the upper bit of q. */
typedef struct {
  float d[ROWS];
  PACKED_GROUPS(8, int8_t sc[1][ROWS]; packed_line q[2]; packed_line h[1];);
} packed_iq2_xxs;

typedef struct {
  float d[ROWS];
  PACKED_GROUPS(8, int8_t sc[2][ROWS]; packed_line q[2]; packed_line h[1];);
} packed_iq2_xs; /* and IQ2_S */

typedef struct {
  float d[ROWS];
  PACKED_GROUPS(8, int8_t sc[1][ROWS]; packed_line q[4];);
} packed_iq3_xxs;

/* ---- one row per format ------------------------------------------------------------------------------------------- */

/* Where the scale s and the minimum m of a group, or half group, come from. */
typedef enum {
  SCALE_F16,        /* s = d */
  SCALE_F16_MIN,    /* s = d, m as stored */
  SCALE_E8M0,       /* s = 2^(e - 128) */
  SCALE_F32,        /* s = d, binary32, one per block */
  SCALE_I8,         /* s = d * sc, sc signed */
  SCALE_U8_MIN,     /* s = d * sc, m = -(dmin * mn) */
  SCALE_NIBBLE_MIN, /* the same, sc and mn the nibbles of one byte */
  SCALE_F32_I8,     /* s = d * sc, d binary32, sc signed */
  SCALE_F32_I8_MIN, /* the same, and m = d * mn, mn signed */
  SCALE_F32_NIBBLE, /* s = d * sc, d binary32, sc the low nibble of a byte for the first half group, the high for the second */
} packed_scale;

/* The values of indices. */
typedef enum { TABLE_NONE, TABLE_IQ4, TABLE_E2M1, TABLE_IQ1_M, TABLE_IQ2, TABLE_IQ3_XXS, TABLE_IQ3_S } packed_table;

/* Everything the readers must know. Kernels pass it as a constant to functions that are inlined, so none of it is looked up
 * at run time. */
typedef struct {
  uint16_t block_len;    /* inputs of a block */
  uint16_t block_bytes;  /* of a row in the file */
  uint16_t packed_bytes; /* of 16 rows */
  uint16_t n_groups;     /* of 32 inputs in a block */
  uint16_t groups_at;    /* first group, from the block */
  uint16_t group_bytes;
  uint16_t q_at, h_at; /* from the group; the group's scales are at its start */
  uint8_t q_bits, h_bits;
  uint8_t n_scales; /* per group: 1, or 2 for a scale per half group */
  uint8_t offset;   /* stored code, or table value, minus value */
  packed_scale scale;
  packed_table table;
} packed_format;

PACKED_CONST_FN int packed_has_min(packed_format f) {
  return f.scale == SCALE_F16_MIN || f.scale == SCALE_U8_MIN || f.scale == SCALE_NIBBLE_MIN ||
         f.scale == SCALE_F32_I8_MIN;
}

/* Activation rows up to which the matmul kernel of a matrix unit hands over to the vector kernel that takes the same
 * activations, because that is faster (a tile of few rows is mostly empty); 0 for kernels that never do. */
static inline uint32_t packed_few_rows(packed_format f, uint32_t isa) {
  if (isa == ORIBI_ISA_AMX) return f.n_scales == 2 ? 10 : 4;
  return isa == ORIBI_ISA_I8MM ? 1 : 0;
}

#define PACKED_MEMBER(type, member) sizeof(((type *)0)->member)
/* NVRTC has no offsetof: where a member begins is told by what follows it, as is asserted below. */
#define PACKED_SHAPE(type, n_elems, n_bytes, h)                                                               \
  .block_len = n_elems, .block_bytes = n_bytes, .packed_bytes = sizeof(type),                                 \
  .n_groups = PACKED_MEMBER(type, group) / PACKED_MEMBER(type, group[0]),                                     \
  .groups_at = sizeof(type) - PACKED_MEMBER(type, group), .group_bytes = PACKED_MEMBER(type, group[0]),       \
  .q_at = PACKED_MEMBER(type, group[0]) - PACKED_MEMBER(type, group[0].q) - LINE * h,                         \
  .h_at = PACKED_MEMBER(type, group[0]) - LINE * h
#define PACKED_CODES(q, h, n, off) .q_bits = q, .h_bits = h, .n_scales = n, .offset = off

/* X(name, id, struct, inputs of a block, bytes of a block in the file,
 *   q bits, h bits, scales per group, offset, table, scale, most per cent of the file's size) */
#define PACKED_FORMATS(X)                                                                           \
  X(q4_0, ORIBI_Q4_0, packed_q4_0, 32, 18, 4, 0, 1, 8, TABLE_NONE, SCALE_F16, 104)                  \
  X(q4_1, ORIBI_Q4_1, packed_q4_1, 32, 20, 4, 0, 1, 0, TABLE_NONE, SCALE_F16_MIN, 104)              \
  X(q5_0, ORIBI_Q5_0, packed_q5_0, 32, 22, 4, 1, 1, 16, TABLE_NONE, SCALE_F16, 104)                 \
  X(q5_1, ORIBI_Q5_1, packed_q5_1, 32, 24, 4, 1, 1, 0, TABLE_NONE, SCALE_F16_MIN, 104)              \
  X(q8_0, ORIBI_Q8_0, packed_q8_0, 32, 34, 8, 0, 1, 128, TABLE_NONE, SCALE_F16, 104)                \
  X(q8_1, ORIBI_Q8_1, packed_q8_0, 32, 36, 8, 0, 1, 128, TABLE_NONE, SCALE_F16, 104)                \
  X(q2_k, ORIBI_Q2_K, packed_q2_k, 256, 84, 2, 0, 2, 0, TABLE_NONE, SCALE_NIBBLE_MIN, 104)          \
  X(q3_k, ORIBI_Q3_K, packed_q3_k, 256, 110, 2, 1, 2, 4, TABLE_NONE, SCALE_I8, 104)                 \
  X(q4_k, ORIBI_Q4_K, packed_q4_k, 256, 144, 4, 0, 1, 0, TABLE_NONE, SCALE_U8_MIN, 104)             \
  X(q5_k, ORIBI_Q5_K, packed_q5_k, 256, 176, 4, 1, 1, 0, TABLE_NONE, SCALE_U8_MIN, 104)             \
  X(q6_k, ORIBI_Q6_K, packed_q6_k, 256, 210, 4, 2, 2, 32, TABLE_NONE, SCALE_I8, 104)                \
  X(q8_k, ORIBI_Q8_K, packed_q8_k, 256, 292, 8, 0, 1, 128, TABLE_NONE, SCALE_F32, 104)              \
  X(iq4_nl, ORIBI_IQ4_NL, packed_q4_0, 32, 18, 4, 0, 1, 128, TABLE_IQ4, SCALE_F16, 104)             \
  X(iq4_xs, ORIBI_IQ4_XS, packed_iq4_xs, 256, 136, 4, 0, 1, 128, TABLE_IQ4, SCALE_I8, 104)          \
  X(mxfp4, ORIBI_MXFP4, packed_mxfp4, 32, 17, 4, 0, 1, 12, TABLE_E2M1, SCALE_E8M0, 104)             \
  X(iq1_s, ORIBI_IQ1_S, packed_iq1_s, 256, 50, 2, 0, 1, 1, TABLE_NONE, SCALE_F32_I8_MIN, 200)       \
  X(iq1_m, ORIBI_IQ1_M, packed_iq1_m, 256, 56, 2, 1, 2, 9, TABLE_IQ1_M, SCALE_F32_NIBBLE, 200)      \
  X(iq2_xxs, ORIBI_IQ2_XXS, packed_iq2_xxs, 256, 66, 2, 1, 1, 43, TABLE_IQ2, SCALE_F32_I8, 200)     \
  X(iq2_xs, ORIBI_IQ2_XS, packed_iq2_xs, 256, 74, 2, 1, 2, 43, TABLE_IQ2, SCALE_F32_I8, 200)        \
  X(iq2_s, ORIBI_IQ2_S, packed_iq2_xs, 256, 82, 2, 1, 2, 43, TABLE_IQ2, SCALE_F32_I8, 200)          \
  X(iq3_xxs, ORIBI_IQ3_XXS, packed_iq3_xxs, 256, 98, 4, 0, 1, 62, TABLE_IQ3_XXS, SCALE_F32_I8, 200) \
  X(iq3_s, ORIBI_IQ3_S, packed_iq4_xs, 256, 110, 4, 0, 1, 15, TABLE_IQ3_S, SCALE_I8, 200)           \
  X(tq1_0, ORIBI_TQ1_0, packed_tq2_0, 256, 54, 2, 0, 1, 1, TABLE_NONE, SCALE_F16, 200)              \
  X(tq2_0, ORIBI_TQ2_0, packed_tq2_0, 256, 66, 2, 0, 1, 1, TABLE_NONE, SCALE_F16, 104)

#define PACKED_FORMAT(name, id, type, len, bytes, q, h, n, off, tab, from, limit) \
  PACKED_CONST packed_format format_##name = {                            \
      PACKED_SHAPE(type, len, bytes, h), PACKED_CODES(q, h, n, off), .scale = from, .table = tab};
PACKED_FORMATS(PACKED_FORMAT)
#undef PACKED_FORMAT

/* A struct has no padding, its groups cover the block, and each group is its scales, q and h. */
#ifndef __cplusplus
#define PACKED_ASSERT(name, id, type, len, bytes, q_, h_, n, off, tab, from, limit)                                   \
  _Static_assert(sizeof(type) == offsetof(type, group) + PACKED_MEMBER(type, group), #name ": padding");              \
  _Static_assert(PACKED_MEMBER(type, group) / PACKED_MEMBER(type, group[0]) == len / GROUP, #name ": groups");        \
  _Static_assert(PACKED_MEMBER(type, group[0].q) == LINE * q_, #name ": code lines");                                 \
  _Static_assert(PACKED_MEMBER(type, group[0]) == offsetof(type, group[0].q) - offsetof(type, group) +                \
                                                      PACKED_MEMBER(type, group[0].q) + LINE * h_,                    \
                 #name ": upper bits");                                                                               \
  _Static_assert(sizeof(type) <= (size_t)ROWS * bytes * limit / 100, #name ": too large beside the file");
PACKED_FORMATS(PACKED_ASSERT)
#undef PACKED_ASSERT
#endif

/* ---- readers for one row ------------------------------------------------------------------------------------------ */

/* Values of an index: IQ4_NL and IQ4_XS; the 4-bit floats of MXFP4 (OCP Microscaling 1.0), doubled; eighths of IQ1_M's moved
 * grid; grid values of IQ2 (every third does not occur) and IQ3, then their negatives. In order of packed_table. */
PACKED_CONST int8_t packed_tables[][16] = {
    {0}, /* TABLE_NONE */
    {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113},
    {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12},
    {-7, 1, 9, 0, -9, -1, 7, 0},
    {8, 25, 43, 0, -8, -25, -43, 0},
    {4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62},
    {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15},
};

static inline int packed_bits(const uint8_t *lines, int n_bits, int row, int k) {
  const int step = k / 4, per_byte = 8 / n_bits;
  const int line = n_bits == 4 ? step % 4 : step / per_byte;
  const int shift = n_bits == 4 ? step / 4 * 4 : step % per_byte * n_bits;
  return lines[line * LINE + row * 4 + k % 4] >> shift & ((1 << n_bits) - 1);
}

/* The value of a code. */
static inline int packed_code(packed_format f, const uint8_t *group, int row, int k) {
  int code = packed_bits(group + f.q_at, f.q_bits, row, k);
  if (f.h_bits) code |= packed_bits(group + f.h_at, f.h_bits, row, k) << f.q_bits;
  return f.table == TABLE_NONE ? code - f.offset : packed_tables[f.table][code];
}

typedef struct {
  float s, m; /* m is 0 in formats without a minimum */
} packed_scales;

static inline packed_scales packed_scales_make(float s, float m) {
  const packed_scales scales = {s, m};
  return scales;
}

/* Scale and minimum of one row in half group `half` (0 where a group has one scale) of a group of a block. */
static inline packed_scales packed_scales_of(packed_format f, const uint8_t *block, const uint8_t *group, int half,
                                             int row) {
  const float d = f32_of_f16(load_u16(block + 2 * row)), d32 = load_f32(block + 4 * row);
  const float dmin = packed_has_min(f) ? f32_of_f16(load_u16(block + 2 * ROWS + 2 * row)) : 0.0f;
  const uint8_t sc = group[half * ROWS + row];
  switch (f.scale) {
    case SCALE_F16: return packed_scales_make(d, 0.0f);
    case SCALE_F16_MIN: return packed_scales_make(d, dmin);
    case SCALE_E8M0: return packed_scales_make(f32_of_e8m0_half(block[row]), 0.0f);
    case SCALE_F32: return packed_scales_make(d32, 0.0f);
    case SCALE_I8: return packed_scales_make(d * (float)(int8_t)sc, 0.0f);
    case SCALE_U8_MIN: return packed_scales_make(d * (float)sc, -(dmin * (float)group[ROWS + row]));
    case SCALE_NIBBLE_MIN: return packed_scales_make(d * (float)(sc & 15), -(dmin * (float)(sc >> 4)));
    case SCALE_F32_I8: return packed_scales_make(d32 * (float)(int8_t)sc, 0.0f);
    case SCALE_F32_I8_MIN: return packed_scales_make(d32 * (float)(int8_t)sc, d32 * (float)(int8_t)group[ROWS + row]);
    case SCALE_F32_NIBBLE: return packed_scales_make(d32 * (float)(group[row] >> 4 * half & 15), 0.0f);
  }
  return packed_scales_make(0.0f, 0.0f);
}

#endif
