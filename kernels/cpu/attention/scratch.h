/* scratch.h - the room that native attention needs for one call: the split as bf16, a pass of queries and scores. */
#ifndef ORIBI_ATTENTION_SCRATCH_H
#define ORIBI_ATTENTION_SCRATCH_H

#include "../../oribi_kernels.h"
#include "../simd/inline.h"

enum {
  PAIRS = 32,                           /* (row, head) pairs of a pass: two tiles */
  STEP = 32,                            /* k of a tile product */
  SCORES_STRIDE = ORIBI_SPLIT_LEN + 16, /* floats; rows a power of two apart would share cache sets */
};

/* head_dim in whole steps */
ORIBI_INLINE uint32_t width_of(uint32_t head_dim) { return (head_dim + STEP - 1) / STEP * STEP; }

/* Words from query to query. */
ORIBI_INLINE size_t q_stride_of(uint32_t width) { return width + 32; }

ORIBI_INLINE size_t attention_scratch_bytes(uint32_t head_dim) {
  const uint32_t width = width_of(head_dim);
  const size_t n_words = 2 * ORIBI_SPLIT_LEN * (size_t)width + PAIRS * q_stride_of(width);
  return n_words * sizeof(uint16_t) + PAIRS * SCORES_STRIDE * sizeof(float);
}

#endif
