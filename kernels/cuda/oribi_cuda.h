/* oribi_cuda.h - the argument structs of the CUDA kernels and the shapes they are launched in, bound by Rust as
 * oribi_kernels.h is.
 *
 * Every kernel is an `extern "C" __global__` function of one struct, passed by value; modules.list says which file holds it and
 * how it is compiled. For each operation there is a launch function below: grid, block and dynamic shared memory follow from the
 * arguments. Pointers are device addresses, aligned to 16 bytes; strides of rows are multiples of 4 floats. Weights are the
 * packed panels of cpu/packed.h, byte for byte, so one packing serves both machines; keys and values lie in the pages of
 * oribi_kernels.h, so that states move between them.
 *
 * Activations as products read them ("acts"): bfloat16 planes. x = hi + lo, hi = bf16(x), lo = bf16(x - hi), to nearest even.
 * A unit is 8 rows (tokens) by a group of 32 inputs, 512 bytes of a plane: lane l of a warp owns bytes 16 * l .. 16 * l + 15,
 * which are row l / 4, inputs 4t .. 4t + 3 and then 16 + 4t .. 16 + 4t + 3, t = l % 4. That is the B operand of two
 * mma.m16n8k16, with the inputs of a step in an order that the packed panels share. Units: [row / 8][group]. Sums: float32 of
 * what the planes hold (hi alone where lo is NULL) over each half group, [row / 8][group][half][row % 8]. Inputs from k on are
 * zero; rows that do not exist are not read. */
#ifndef ORIBI_CUDA_H
#define ORIBI_CUDA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ORIBI_CUDA_TILE 8           /* rows of a unit of activations */
#define ORIBI_CUDA_UNIT 512         /* bytes of a unit in one plane */
#define ORIBI_CUDA_MAX_WEIGHTS 3    /* matrices of a product */
#define ORIBI_CUDA_MAX_QUERIES 32   /* query rows times heads that share what a block reads of keys and values */
#define ORIBI_CUDA_PROMPT_TOKENS 64 /* tokens of a block of `prompt` */
#define ORIBI_CUDA_MAX_TOP 1024     /* values of a row that are found at once */

/* How a kernel is launched. */
typedef struct {
  uint32_t grid[3];
  uint32_t block[3];
  uint32_t shared_bytes;
} oribi_cuda_launch;

/* Bytes of one plane, and of the sums, of acts of `capacity` rows (a multiple of 8) of k inputs. */
size_t oribi_cuda_plane_bytes(uint32_t capacity, uint32_t k);
size_t oribi_cuda_sums_bytes(uint32_t capacity, uint32_t k);

typedef struct {
  uint8_t *hi;    /* NULL: no acts are wanted */
  uint8_t *lo;    /* NULL: the product reads hi alone (prompts in native arithmetic) */
  float *sums;
  uint32_t k;     /* inputs of a row; n_groups = k / 32 rounded up */
  uint32_t capacity; /* rows there is room for, a multiple of 8 */
} oribi_cuda_acts;

/* ---- matrix product ----------------------------------------------------------------------------------------------- */

typedef struct {
  const uint8_t *panels;
  uint64_t panel_bytes;
  uint32_t n_panels;
  uint32_t column; /* of y, where the first row's result goes */
} oribi_cuda_weights;

/* y[token][column + row] = weights[row] . acts[token] for one to three matrices of one format, side by side; whole panels of 16
 * columns are written. Kernels
 *   oribi_matmul_<format>_8, _16   so many tokens a block; both planes, or hi alone where lo is NULL
 *   oribi_matmul_<format>_32, _64  so many tokens a block; both planes
 *   oribi_matmul_<format>_prompt   64 tokens a block; hi alone
 * The sums are formed in an order that depends on format and k alone: a token's bits are the same whichever kernel and company;
 * one plane or two is what makes a difference. */
typedef struct {
  oribi_cuda_weights weights[ORIBI_CUDA_MAX_WEIGHTS];
  uint32_t n_weights;
  uint32_t k;
  oribi_cuda_acts acts;
  uint32_t n_tokens;
  uint32_t unused;
  float *y;
  uint64_t y_stride; /* floats */
} oribi_cuda_matmul_args;

/* Tokens a block that suit so many tokens: 8, 16, 32 or 64. */
uint32_t oribi_cuda_matmul_tokens(uint32_t n_tokens);
/* n = 8, 16, 32, 64, or 0 for `prompt`. */
oribi_cuda_launch oribi_cuda_matmul_launch(uint32_t dtype, uint32_t n, const oribi_cuda_matmul_args *args);

/* ---- elementwise and rows ----------------------------------------------------------------------------------------- */

/* x[row] = scale * row tokens[row] of a matrix, the file's values exactly. oribi_embed_<format>. */
typedef struct {
  const uint8_t *panels;
  uint64_t panel_bytes;
  uint32_t k;
  uint32_t n_rows;
  const uint32_t *tokens;
  float scale;
  float *x;
  uint64_t x_stride;
} oribi_cuda_embed_args;
oribi_cuda_launch oribi_cuda_embed_launch(const oribi_cuda_embed_args *args);

/* table[row] = cosines, then sines, of positions[row] * frequencies[pair], formed in float64. oribi_rope_table. */
typedef struct {
  const double *frequencies; /* radians per position, [n_pairs] */
  uint32_t n_pairs;
  uint32_t n_rows;
  const uint32_t *positions;
  float *table;
  uint64_t stride;
} oribi_cuda_rope_table_args;
oribi_cuda_launch oribi_cuda_rope_table_launch(const oribi_cuda_rope_table_args *args);

/* For the i-th of the chosen rows: where product is given, x += product, which first passes through rms_norm with `post` where
 * that is given; then out[first_out + i] = rms_norm(x) * weight, as float32 (where out is not NULL) and as acts (where acts.hi is
 * not NULL). product is only read. The acts of the tile's other rows are left alone. oribi_norm. rows NULL: row i is row i. */
typedef struct {
  float *x;
  uint64_t x_stride;
  const float *product; /* or NULL */
  uint64_t product_stride;
  const float *post; /* [n] or NULL */
  const float *weight;
  const uint32_t *rows;
  uint32_t n_rows;
  uint32_t n;
  float eps;
  uint32_t first_out;
  float *out;
  uint64_t out_stride;
  oribi_cuda_acts acts;
} oribi_cuda_norm_args;
oribi_cuda_launch oribi_cuda_norm_launch(const oribi_cuda_norm_args *args);

/* out[row] = activation(gate) * up of the first n columns, as float32 (where out is not NULL) and acts. gate at column 0, up at
 * up_column of scratch. oribi_glu. activation: oribi_activation. */
typedef struct {
  const float *scratch;
  uint64_t scratch_stride;
  uint32_t up_column;
  uint32_t n_rows;
  uint32_t n;
  uint32_t activation;
  float *out;
  uint64_t out_stride;
  oribi_cuda_acts acts;
} oribi_cuda_glu_args;
oribi_cuda_launch oribi_cuda_glu_launch(const oribi_cuda_glu_args *args);

/* x = cap * tanh(x / cap) of the first n columns. oribi_softcap. */
typedef struct {
  float *x;
  uint64_t stride;
  uint32_t n_rows;
  uint32_t n;
  float cap;
} oribi_cuda_softcap_args;
oribi_cuda_launch oribi_cuda_softcap_launch(const oribi_cuda_softcap_args *args);

/* sums[column] = sum over rows of x^2, formed in float64 in order of the rows and rounded once. oribi_sum_squares. */
typedef struct {
  const float *x;
  uint64_t stride;
  uint32_t n_rows;
  uint32_t n;
  float *sums;
} oribi_cuda_sum_squares_args;
oribi_cuda_launch oribi_cuda_sum_squares_launch(const oribi_cuda_sum_squares_args *args);

/* A value and its place in the row. */
typedef struct {
  float value;
  uint32_t place;
} oribi_cuda_ranked;

/* out[row][0 .. n - 1] = the n largest of the row's first n_columns values, in any order. NaN is more than all others, 0 and -0 are
 * equal, of equal values the first are taken. n: at most n_columns and oribi_cuda_top_most(n_columns), at least 1. oribi_top. */
typedef struct {
  const float *x;
  uint64_t stride;
  uint32_t n_rows;
  uint32_t n_columns;
  uint32_t n;
  uint32_t out_stride;  /* ranked values from row to row */
  uint64_t *found;      /* oribi_cuda_top_bytes(n_columns) for each row */
  uint32_t *counters;   /* [n_rows]: 0, as they are again afterwards */
  oribi_cuda_ranked *out;
} oribi_cuda_top_args;
uint32_t oribi_cuda_top_most(uint32_t n_columns); /* 0: rows are too long */
size_t oribi_cuda_top_bytes(uint32_t n_columns);
oribi_cuda_launch oribi_cuda_top_launch(const oribi_cuda_top_args *args);

/* What the machine does at best. oribi_probe_read: every thread reads its part of `data`, 16 bytes at a time, and leaves the words'
 * exclusive or. oribi_probe_mma: every warp does n_rounds times 8 products of mma_bf16 (16 * 16 * 8 multiply-adds each) of ones, and
 * every thread leaves the sum of its 32 results. oribi_probe_fma: every thread does n_rounds times 8 fused multiply-adds, and
 * leaves the sum of its 8 results. */
typedef struct {
  const uint8_t *data; /* of `read` alone, aligned to 16 bytes */
  uint64_t n_bytes;    /* a multiple of 16 */
  uint32_t n_rounds;
  float one;           /* 1 */
  uint32_t *results;   /* [n_blocks][256] */
} oribi_cuda_probe_args;
oribi_cuda_launch oribi_cuda_probe_launch(uint32_t n_blocks);

/* ---- products with what follows them ------------------------------------------------------------------------------ */

/* A product of 8 tokens a block, and then a norm by the block that finishes last: for few rows, whose norm takes less time than a
 * launch. The norm's product is this product's y. oribi_matmul_<format>_norm. */
typedef struct {
  oribi_cuda_matmul_args product;
  oribi_cuda_norm_args norm;
  uint32_t *counter; /* 0, as it is again afterwards */
} oribi_cuda_matmul_norm_args;
oribi_cuda_launch oribi_cuda_matmul_norm_launch(uint32_t dtype, const oribi_cuda_matmul_norm_args *args);

/* out = activation(gate) * up with the products gate and up of weights[0] and weights[1], which have the same shape; their columns
 * and y are not used. 8 tokens a block. oribi_matmul_<format>_glu. */
typedef struct {
  oribi_cuda_matmul_args product;
  uint32_t n;          /* columns of out; n_panels = n / 16 rounded up */
  uint32_t activation; /* oribi_activation */
  float *out;          /* or NULL */
  uint64_t out_stride;
  oribi_cuda_acts acts;
} oribi_cuda_matmul_glu_args;
oribi_cuda_launch oribi_cuda_matmul_glu_launch(uint32_t dtype, const oribi_cuda_matmul_glu_args *args);

/* ---- attention ---------------------------------------------------------------------------------------------------- */

/* What a row of the batch is. */
typedef struct {
  uint32_t position;
  uint32_t pages; /* its sequence's first entry in the list of pages */
} oribi_cuda_row;

/* Rows of one sequence at consecutive positions, whose heads attend together. */
typedef struct {
  uint32_t first_row;
  uint32_t n_rows; /* at most oribi_cuda_attend_tile_rows(n_heads, n_kv_heads) */
} oribi_cuda_tile;

/* The kernels of attention take the same arguments. These three are launched in this order:
 *   oribi_attend_project_<kv>    bias, norm and rotation of queries and keys, in place; keys and values to the pages
 *   oribi_attend_split_<kv>_<q>  states of every split that a tile sees, q queries (rows times heads) at once:
 *                                q = oribi_cuda_attend_queries(args); a state depends on its row, head and split alone
 *   oribi_attend_merge           splits merged in order: out, and its acts
 * In native arithmetic the second one is oribi_attend_prompt_<kv>_<q>, with q = oribi_cuda_attend_prompt_queries(args).
 * <kv>: f16, q8_0 or q4_0. Or, where oribi_cuda_attend_is_fused says so, one does it all:
 *   oribi_attend_fused_<kv>_<q>  the same bits. Every tile holds all rows of its sequence in the batch. Queries stay as they
 *                                were in qkv, and so do keys and values */
typedef struct {
  float *qkv; /* queries, keys, values of a row, each from a multiple of 16 columns on */
  uint64_t qkv_stride;
  const oribi_cuda_row *rows;
  const oribi_cuda_tile *tiles; /* every row is in one */
  uint8_t *const *pages;        /* addresses of pages: position p of a row is in pages[row.pages + p / 64] */
  uint64_t tile_at;    /* bytes from the start of a page to the layer's first tile; tiles of key heads follow each other */
  uint64_t tile_bytes; /* keys and values of one key head */
  uint64_t key_bytes;  /* of those, the keys, which come first */
  uint32_t n_rows, n_tiles;
  uint32_t max_tile_rows; /* the most rows of a tile */
  uint32_t n_heads, n_kv_heads, head_dim;
  const float *biases[3]; /* of queries, keys, values: [heads * head_dim]; NULL for none */
  const float *norms[2];  /* of query and key heads: [head_dim]; NULL for none */
  float eps;
  uint32_t n_rot, half_split; /* as in oribi_rope_args */
  const float *rope; /* [row][cosines, sines], n_rot / 2 each */
  uint64_t rope_stride;
  float scale;
  uint32_t window;      /* positions seen, the own one included; 0: all */
  uint32_t first_split; /* the first split that any row sees */
  uint32_t n_splits;    /* from it on, to the last that any row sees */
  float *states;        /* oribi_cuda_states_bytes: [n_splits][n_rows][n_heads][16 + head_dim rounded up to 16]: maximum, sum,
                           from 16 on the weighted values. A state that its row sees nothing of is not written */
  float *out;           /* [row][n_heads * head_dim], or NULL */
  uint64_t out_stride;
  oribi_cuda_acts acts; /* of out */
  uint32_t *counters;   /* [n_tiles][n_kv_heads], of `fused` alone: 0, as they are again afterwards */
} oribi_cuda_attend_args;

uint32_t oribi_cuda_attend_tile_rows(uint32_t n_heads, uint32_t n_kv_heads);
uint32_t oribi_cuda_attend_queries(const oribi_cuda_attend_args *args);
uint32_t oribi_cuda_attend_prompt_queries(const oribi_cuda_attend_args *args); /* 16 or 32 */
size_t oribi_cuda_states_bytes(uint32_t n_splits, uint32_t n_rows, uint32_t n_heads, uint32_t head_dim);
oribi_cuda_launch oribi_cuda_attend_project_launch(const oribi_cuda_attend_args *args);
oribi_cuda_launch oribi_cuda_attend_split_launch(const oribi_cuda_attend_args *args);
oribi_cuda_launch oribi_cuda_attend_prompt_launch(const oribi_cuda_attend_args *args);
oribi_cuda_launch oribi_cuda_attend_merge_launch(const oribi_cuda_attend_args *args);

/* Whether `fused` can compute this shape: a tile has 16 queries at most, and the outputs of a key head are whole groups of 32. */
int oribi_cuda_attend_is_fused(const oribi_cuda_attend_args *args);
oribi_cuda_launch oribi_cuda_attend_fused_launch(const oribi_cuda_attend_args *args);

#ifdef __cplusplus
}
#endif
#endif
