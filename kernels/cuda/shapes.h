/* shapes.h - how the CUDA kernels divide their work: what the launches (launch.c) and the kernels must agree on. */
#ifndef ORIBI_CUDA_SHAPES_H
#define ORIBI_CUDA_SHAPES_H

#include "../cpu/packed.h"
#include "oribi_cuda.h"

#ifdef __cplusplus
#define SHAPE_FN static constexpr
#define SHAPE(name, value) static constexpr uint32_t name = value
#else
#define SHAPE_FN static inline
#define SHAPE(name, value) enum { name = value }
#endif

SHAPE(WARP, 32);
SHAPE(THREADS, 256);        /* of every block, but where a launch says otherwise */
SHAPE(WARPS, 8);            /* of these */
SHAPE(MOST_SHARED, 100352); /* bytes of dynamic shared memory: 99 KiB a block on every supported GPU, less 1 KiB */

SHAPE_FN uint32_t shape_ceil(uint32_t a, uint32_t b) { return a / b + (a % b != 0); }
SHAPE_FN uint32_t shape_round_up(uint32_t a, uint32_t to) { return shape_ceil(a, to) * to; }

/* ---- matrix product ---- */

/* Weights of a panel as products read them: in units, each of which goes to one stage of a warp's ring and to one warp. */
typedef struct {
  uint32_t len;    /* inputs */
  uint32_t bytes;  /* of a whole unit; the last of a panel may have less, a multiple of 16 */
  uint32_t stages; /* of the ring, one per warp */
} matmul_units;

/* What the rings of a block take, about: one block fills an SM of the GPUs with least shared memory, 3 or 4 those with most. */
SHAPE(RING_BYTES, 57344);

SHAPE_FN matmul_units matmul_units_of(uint32_t len, uint32_t bytes) {
  const uint32_t stages = RING_BYTES / (WARPS * bytes);
  const matmul_units u = {len, bytes, stages < 2 ? 2 : stages};
  return u;
}

/* Blocks of 256 inputs one by one, those of 32 four at a time. */
SHAPE_FN matmul_units matmul_units_of_codes(packed_format f) {
  const uint32_t n_blocks = f.block_len == 256 ? 1 : 4;
  return matmul_units_of(n_blocks * f.block_len, n_blocks * f.packed_bytes);
}

SHAPE_FN matmul_units matmul_units_of_floats(uint32_t elem_bytes) {
  const uint32_t len = elem_bytes == 4 ? 32 : 64;
  return matmul_units_of(len, len * ROWS * elem_bytes);
}

/* Units [begin, end) of n_units are those of warp w. */
SHAPE_FN uint32_t matmul_share(uint32_t n_units, uint32_t w) {
  return (uint32_t)((uint64_t)n_units * w / WARPS);
}

SHAPE_FN uint32_t matmul_shared(matmul_units u, uint32_t n_tokens) {
  const uint32_t ring = WARPS * u.stages * u.bytes, partials = (uint32_t)WARPS * (uint32_t)ROWS * n_tokens * 4;
  return ring > partials ? ring : partials;
}

/* The product of many tokens: a block takes a panel per warp, and so many units of the activations at a time, planes counted apart. */
SHAPE(MANY_UNITS, 32);
SHAPE(MANY_STAGES, 3);
SHAPE(MANY_STAGE, MANY_UNITS *ORIBI_CUDA_UNIT + MANY_UNITS * 2 * ORIBI_CUDA_TILE * 4); /* bytes, with their sums */

/* Groups of 32 inputs in a stage. */
SHAPE_FN uint32_t many_groups(uint32_t n_tiles, uint32_t n_planes) { return MANY_UNITS / (n_tiles * n_planes); }

SHAPE_FN uint32_t many_shared(uint32_t n_tokens) {
  return MANY_STAGES * MANY_STAGE + WARPS * (uint32_t)ROWS * n_tokens * 4;
}

/* ---- elementwise ---- */

/* A row's acts are made by 4 threads a group, of 8 inputs each. */
SHAPE(ACTS_PER_BLOCK, THREADS * 8);

/* ---- largest values ---- */

SHAPE(TOP_KEYS, 32); /* of a thread */
SHAPE(TOP_SLICE, THREADS *TOP_KEYS);

/* ---- attention ---- */

SHAPE(PROJECT_WARPS, 4); /* of a projecting block: heads */
SHAPE(ATTEND_CHUNK, 32); /* elements of a head that a warp sums values of */

/* Warps that share a chunk of the values, each with a part of the split's positions. */
SHAPE_FN uint32_t attend_segments(uint32_t head_dim) {
  const uint32_t n_chunks = shape_ceil(head_dim, ATTEND_CHUNK);
  return n_chunks == 1 ? 8 : n_chunks == 2 ? 4 : n_chunks <= 4 ? 2 : 1;
}

/* Shared memory of a split, in floats: queries, and in their place later the segments' sums; then a position's weights for all
 * queries, a little apart so that positions do not meet in a bank; then maxima and sums. */
SHAPE_FN uint32_t attend_first_floats(uint32_t head_dim, uint32_t n_queries) {
  const uint32_t chunks = shape_ceil(head_dim, ATTEND_CHUNK) * ATTEND_CHUNK, segments = attend_segments(head_dim);
  return n_queries * (segments > 1 ? segments * chunks : chunks);
}

SHAPE_FN uint32_t attend_stride(uint32_t n_queries) { return n_queries + 4; }

SHAPE_FN uint32_t attend_shared(uint32_t head_dim, uint32_t n_queries) {
  return 4 * (attend_first_floats(head_dim, n_queries) + ORIBI_SPLIT_LEN * attend_stride(n_queries) + 2 * n_queries);
}

/* A warp that projects has a key and a value head. */
SHAPE_FN uint32_t project_floats(uint32_t head_dim) { return 2 * shape_round_up(head_dim, GROUP); }

SHAPE_FN uint32_t attend_fused_shared(uint32_t head_dim, uint32_t n_queries) {
  return attend_shared(head_dim, n_queries) + WARPS * project_floats(head_dim) * 4;
}

SHAPE_FN uint32_t state_floats(uint32_t head_dim) { return ORIBI_STATE_HEADER + shape_round_up(head_dim, 16); }

#endif
