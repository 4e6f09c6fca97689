/* oribi_kernels.h - the only header that Rust binds.
 *
 * Kernels are pure functions on the caller's memory: no allocation, no globals, no threads, no I/O. Each takes a pointer to
 * its operation's argument struct. What they compute is defined to the bit by the scalar oracle (cpu/<op>/ref.c); every
 * other kernel of the same operation returns the same bits.
 *
 * Conventions. "rows" of a weight are outputs; k runs over inputs. Strides say their unit. Pointers of one call do not
 * overlap unless the field says so. Sizes are validated by the caller; kernels trust them. */
#ifndef ORIBI_KERNELS_H
#define ORIBI_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- fixed shapes ------------------------------------------------------------------------------------------------- */

#define ORIBI_PANEL_ROWS 16     /* output rows of a packed panel: the SIMD lanes */
#define ORIBI_GROUP_LEN 32      /* inputs that share one activation scale */
#define ORIBI_HALF_GROUP_LEN 16 /* inputs that share one activation sum, and in some formats one weight scale */
#define ORIBI_PAGE_LEN 64       /* positions of a key/value page, and of one online-softmax block */
#define ORIBI_SPLIT_LEN 256     /* positions of an attention split; splits are merged in order */
#define ORIBI_STATE_HEADER 16   /* floats before the accumulator in an attention state: max, sum, then unused */
#define ORIBI_A16_MAX 32512     /* 127 * 256: both signed byte planes of a code fit */
#define ORIBI_PROBE_BYTES 4096  /* operands of a probe */
#define ORIBI_MATMUL_SCRATCH_BYTES 262144 /* of a native product: two times 64 groups of two panels, as bfloat16 */

/* ---- the kernel table --------------------------------------------------------------------------------------------- */

/* Instruction sets as bits; a kernel needs all of its bits. */
enum oribi_isa {
  ORIBI_ISA_SCALAR = 0,
  ORIBI_ISA_AVX2 = 1 << 0,    /* AVX2, FMA, F16C */
  ORIBI_ISA_AVXVNNI = 1 << 1, /* AVX2 and AVX-VNNI */
  ORIBI_ISA_AVX512 = 1 << 2,  /* AVX-512 F, BW, VL, DQ, VNNI; the kernels may also use AVX2, FMA, F16C */
  ORIBI_ISA_AVX512BF16 = 1 << 3, /* AVX512, AVX-512 VBMI and BF16 */
  ORIBI_ISA_AMX = 1 << 4,     /* AVX512BF16, AMX tile, int8 and bf16, allowed by the operating system */
  ORIBI_ISA_NEON = 1 << 8,
  ORIBI_ISA_DOTPROD = 1 << 9, /* NEON and sdot, udot */
  ORIBI_ISA_I8MM = 1 << 10,   /* DOTPROD and smmla, usmmla */
};

typedef enum {
  ORIBI_OP_PACK,            /* oribi_pack_args: one panel of file rows -> packed panel */
  ORIBI_OP_UNPACK_ROW,      /* oribi_unpack_row_args: one row of a packed panel -> float32 */
  ORIBI_OP_QUANTIZE_ACTS,   /* oribi_quantize_acts_args */
  ORIBI_OP_MATMUL,          /* oribi_matmul_args */
  ORIBI_OP_RMS_NORM,        /* oribi_rms_norm_args */
  ORIBI_OP_ROPE,            /* oribi_rope_args */
  ORIBI_OP_GLU,             /* oribi_glu_args */
  ORIBI_OP_ADD,             /* oribi_map_args: y = x + other */
  ORIBI_OP_SCALE,           /* oribi_map_args: y = x * factor */
  ORIBI_OP_SOFTCAP,         /* oribi_map_args: y = factor * tanh(x / factor) */
  ORIBI_OP_KV_STORE,        /* oribi_kv_store_args */
  ORIBI_OP_ATTENTION,       /* oribi_attention_args */
  ORIBI_OP_ATTENTION_MERGE, /* oribi_attention_merge_args */
  ORIBI_OP_PROBE_READ,      /* oribi_probe_args */
  ORIBI_OP_PROBE_MACS,      /* oribi_probe_args; acts says of what: float32, 16 bits, 8 bits (PLANES), bfloat16 */
} oribi_op;

/* How the activations of a matrix product lie in memory. The integer layouts hold per row of k inputs, without gaps:
 * codes (2 * k bytes), scales (float[k / 32]), sums (int32[k / 16], of the codes of each half group). */
typedef enum {
  ORIBI_ACTS_NONE,   /* the operation has no quantized activations */
  ORIBI_ACTS_F32,    /* float32 as they are: for F32, F16 and BF16 weights */
  ORIBI_ACTS_I16,    /* int16 codes in order of k: the oracle's form */
  ORIBI_ACTS_PAIRS,  /* int16 codes, each four k, k+1, k+2, k+3 stored as k, k+2, k+1, k+3: for 16-bit multiply-add */
  ORIBI_ACTS_PLANES, /* per group 32 int8 high bytes, then 32 int8 low bytes (code = 256 * high + low): for VNNI */
  /* Native numerics: bfloat16 values, without scales and sums, in tiles of 16 rows by 32 inputs, row after row. The tiles of 16
   * rows follow each other in order of k; those of the next 16 rows begin 16 * acts_stride bytes on. */
  ORIBI_ACTS_BF16,
} oribi_acts;

/* GGUF type ids of the weight formats that have kernels. */
enum oribi_dtype {
  ORIBI_F32 = 0,
  ORIBI_F16 = 1,
  ORIBI_Q4_0 = 2,
  ORIBI_Q4_1 = 3,
  ORIBI_Q5_0 = 6,
  ORIBI_Q5_1 = 7,
  ORIBI_Q8_0 = 8,
  ORIBI_Q8_1 = 9,
  ORIBI_Q2_K = 10,
  ORIBI_Q3_K = 11,
  ORIBI_Q4_K = 12,
  ORIBI_Q5_K = 13,
  ORIBI_Q6_K = 14,
  ORIBI_Q8_K = 15,
  ORIBI_IQ2_XXS = 16,
  ORIBI_IQ2_XS = 17,
  ORIBI_IQ3_XXS = 18,
  ORIBI_IQ1_S = 19,
  ORIBI_IQ4_NL = 20,
  ORIBI_IQ3_S = 21,
  ORIBI_IQ2_S = 22,
  ORIBI_IQ4_XS = 23,
  ORIBI_IQ1_M = 29,
  ORIBI_BF16 = 30,
  ORIBI_TQ1_0 = 34,
  ORIBI_TQ2_0 = 35,
  ORIBI_MXFP4 = 39,
};

#define ORIBI_ANY_DTYPE 0xffffffffu /* the operation has no weight format */

typedef void (*oribi_kernel_fn)(const void *args);

typedef struct {
  oribi_op op;
  uint32_t dtype; /* GGUF type id of the weight or of the cached keys and values, or ORIBI_ANY_DTYPE */
  uint32_t isa;   /* ORIBI_ISA_* bits it needs */
  oribi_acts acts;
  uint32_t max_rows; /* activation rows of its widest register tile; it accepts any number */
  const char *name;
  oribi_kernel_fn fn;
} oribi_kernel;

/* All kernels that this build holds, made from kernels.inc. */
const oribi_kernel *oribi_kernels(size_t *n_kernels);

/* Bytes of one packed panel (16 rows of k inputs) of a format; 0 where the format cannot be packed or k is not a whole
 * number of its blocks. */
size_t oribi_panel_bytes(uint32_t dtype, size_t k);

/* Activation rows up to which a format's portable matmul kernel for an instruction set (one ORIBI_ISA_* bit) hands over to the
 * kernel of the next lower one that takes the same activations; 0 where it never does. */
uint32_t oribi_matmul_few_rows(uint32_t dtype, uint32_t isa);

/* ---- weights ------------------------------------------------------------------------------------------------------ */

typedef struct {
  const uint8_t *src; /* n_rows rows of file blocks */
  size_t src_stride;  /* bytes from row to row */
  uint32_t n_rows;    /* 1..16; missing rows are packed as zero */
  uint32_t k;
  uint8_t *dst; /* oribi_panel_bytes */
} oribi_pack_args;

typedef struct {
  const uint8_t *panel;
  uint32_t row; /* 0..15 */
  uint32_t k;
  float *y; /* [k]: exactly the file's values: s * q, then + m, each rounded to float32 */
} oribi_unpack_row_args;

/* ---- matrix product ----------------------------------------------------------------------------------------------- */

/* Per group of 32: scale = max |x| / 32512, codes = x * (32512 / max |x|) rounded to nearest even. A group with an infinity
 * or a NaN gets codes 0 and scale NaN, one so small that 32512 / max |x| overflows gets codes 0 and scale 0.
 * ORIBI_ACTS_BF16: each x rounded to nearest even, a denormal to zero, a NaN to a quiet NaN. */
typedef struct {
  const float *x;  /* [n_rows][end - begin] */
  size_t x_stride; /* floats */
  uint32_t n_rows;
  uint32_t k;          /* a multiple of 32 */
  uint32_t begin, end; /* which inputs of the rows x has; multiples of 32 */
  uint32_t first_row;  /* what the first of these rows is in acts */
  uint8_t *acts;       /* all rows */
  size_t acts_stride; /* bytes, a multiple of 64 */
} oribi_quantize_acts_args;

/* Kernels of ORIBI_ACTS_BF16 compute in native numerics: weights rounded as the activations are, float32 sums in the order of
 * the CPU's matrix unit; see the kernel. For all weight formats they take whole groups of 32 inputs. */
typedef struct {
  const uint8_t *panels; /* n_panels packed panels, one after the other */
  uint32_t n_panels;
  uint32_t k;
  const uint8_t *acts; /* n_rows rows in the kernel's layout, from its first on */
  size_t acts_stride;  /* bytes */
  uint32_t n_rows;
  float *y;        /* [n_rows][16 * n_panels] */
  size_t y_stride; /* floats */
  void *scratch;   /* ORIBI_MATMUL_SCRATCH_BYTES bytes, aligned to 64; only native kernels use it */
  /* One row: whether to read the panels one after the other and leave fetching ahead to the CPU, instead of several panels at
   * once with prefetches. Which is faster depends on the CPU; results do not. */
  uint32_t one_stream;
} oribi_matmul_args;

/* ---- elementwise and rows ----------------------------------------------------------------------------------------- */

typedef struct {
  const float *x;      /* [n_rows][n]; may be y */
  size_t x_stride;     /* floats */
  const float *weight; /* [n], or NULL */
  uint32_t n_rows;
  uint32_t n;
  float eps;
  float *y;
  size_t y_stride;
} oribi_rms_norm_args;

typedef struct {
  float *x; /* [n_heads][head_dim], rotated in place */
  uint32_t n_heads;
  uint32_t head_dim;
  uint32_t n_rot;       /* even; the first n_rot elements of a head rotate */
  const float *cos_sin; /* [2][n_rot / 2]: the cosines, then the sines, of this position */
  uint32_t half_split;  /* 0: pairs (2i, 2i + 1); 1: pairs (i, i + n_rot / 2) */
} oribi_rope_args;

typedef enum { ORIBI_SILU, ORIBI_GELU_TANH } oribi_activation;

typedef struct {
  const float *gate; /* [n]; may be y */
  const float *up;   /* [n] */
  uint32_t n;
  oribi_activation activation;
  float *y; /* activation(gate) * up */
} oribi_glu_args;

typedef struct {
  const float *x;     /* [n]; may be y */
  const float *other; /* [n], or NULL */
  uint32_t n;
  float factor;
  float *y;
} oribi_map_args;

/* ---- attention ---------------------------------------------------------------------------------------------------- */

/* One key/value page of one layer and one key head, in the format that is the kernel's dtype. head_dim_padded = head_dim
 * rounded up to 16, n_groups = head_dim / 32 rounded up; padding elements are zero.
 *   F16   keys   uint16[PAGE_LEN / 16][head_dim][16]: 16 positions in the lanes
 *         values uint16[PAGE_LEN][head_dim_padded]
 *   Q8_0  keys   uint8[PAGE_LEN / 16][head_dim][16], then float16 scales [PAGE_LEN / 16][n_groups][16]
 *         values uint8[PAGE_LEN][head_dim_padded], then float16 scales [n_groups][PAGE_LEN]
 *   Q4_0  keys   uint8[PAGE_LEN / 16][head_dim / 2 rounded up][16], elements 2i and 2i + 1 in the low and high nibble; scales
 *         values uint8[PAGE_LEN][n_groups][16], elements i and 16 + i of the group in the low and high nibble; scales
 * A number is its float16 value; or (code - 128) * scale, (code - 8) * scale with 4 bits, which float32 holds exactly. Of the 32
 * elements of one position and group,
 *   Q8_0  scale = f16(max |x| / 127), code = rne(x / scale) within -127..127, + 128
 *   Q4_0  m = the element of the largest magnitude (the positive one of two), scale = f16(m / -8),
 *         code = rne(x / scale) within -8..7, + 8
 * where the scale is 0 every number is 0; where an element or the scale is not finite the scale is NaN. */
typedef struct {
  const float *key;   /* [head_dim] of one position and key head */
  const float *value; /* [head_dim] */
  uint32_t head_dim;
  uint32_t slot; /* position % PAGE_LEN */
  uint8_t *key_page;
  uint8_t *value_page;
} oribi_kv_store_args;

/* Bytes of the keys and of the values of a page; 0 for a format that keys and values cannot have. */
size_t oribi_key_page_bytes(uint32_t dtype, uint32_t head_dim);
size_t oribi_value_page_bytes(uint32_t dtype, uint32_t head_dim);

/* Attention of n_rows consecutive positions of one sequence, for n_heads query heads that share a key head, over the
 * positions [split_begin, split_end) of one split. A row at position p sees [max(0, p - window + 1), p], or [0, p] when
 * window is 0. Writes one state per row and head; a split that a row does not see leaves the state (-inf, 0, zeros). */
typedef struct {
  const float *q;  /* row r, head h at q + r * q_stride + h * head_dim */
  size_t q_stride; /* floats */
  uint32_t n_rows;
  uint32_t n_heads;
  uint32_t head_dim;
  uint32_t first_position; /* of row 0 */
  uint32_t window;
  uint32_t split_begin; /* a multiple of ORIBI_SPLIT_LEN */
  uint32_t split_end;   /* at most split_begin + ORIBI_SPLIT_LEN */
  const uint8_t *const *key_pages;   /* indexed by position / PAGE_LEN; only the split's are read */
  const uint8_t *const *value_pages; /* indexed by position / PAGE_LEN; only the split's are read */
  float scale;
  float softcap; /* 0: none */
  float *states; /* [n_rows][n_heads][state_len], state_len = ORIBI_STATE_HEADER + head_dim_padded */
  size_t state_row_stride; /* floats from row to row */
  void *scratch; /* oribi_attention_scratch_bytes(head_dim) bytes, aligned to 64; only native kernels use it */
} oribi_attention_args;

/* Bytes of scratch that the native attention kernels need. */
size_t oribi_attention_scratch_bytes(uint32_t head_dim);

typedef struct {
  const float *states; /* n_splits states, in order of position */
  size_t state_stride; /* floats from split to split */
  uint32_t n_splits;
  uint32_t head_dim;
  float *y; /* [head_dim] */
} oribi_attention_merge_args;

/* ---- probes of the machine ---------------------------------------------------------------------------------------- */

/* What the machine does at best, by which the speed of a model is judged: reading memory in sequence, and multiply-adds on
 * operands that stay in registers. */
typedef struct {
  const uint8_t *data; /* aligned to 64 bytes. PROBE_READ: n_bytes; PROBE_MACS: ORIBI_PROBE_BYTES of operands */
  size_t n_bytes;      /* PROBE_READ: a multiple of ORIBI_PROBE_BYTES */
  uint64_t n_rounds;   /* times that the data are read; runs of multiply-adds */
  uint64_t *n_done;    /* bytes read, or multiply-adds done */
  double *result;      /* PROBE_READ: the sum of all 32-bit words of all rounds, as an int32 that wraps; PROBE_MACS: the sum
                          of the accumulators, which is n_done where all operands are 1 */
  uint32_t prefetch;   /* PROBE_READ: whether to prefetch the lines ahead; some CPUs read faster without */
} oribi_probe_args;

#ifdef __cplusplus
}
#endif
#endif
