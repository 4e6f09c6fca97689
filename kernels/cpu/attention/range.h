/* range.h - which positions of a block a row sees. */
#ifndef ORIBI_ATTENTION_RANGE_H
#define ORIBI_ATTENTION_RANGE_H

#include "../../oribi_kernels.h"
#include "../simd/inline.h"

typedef struct {
  int begin, end; /* slots of the block, 0 <= begin, end <= 64; nothing is seen where begin >= end */
} seen_range;

ORIBI_INLINE seen_range seen_in_block(const oribi_attention_args *a, uint32_t position, uint32_t block) {
  uint32_t begin = a->window != 0 && position >= a->window ? position - a->window + 1 : 0;
  uint32_t end = position + 1;
  if (begin < block) begin = block;
  if (end > a->split_end) end = a->split_end;
  if (end > block + ORIBI_PAGE_LEN) end = block + ORIBI_PAGE_LEN;
  if (begin >= end) return (seen_range){0, 0};
  return (seen_range){(int)(begin - block), (int)(end - block)};
}

#endif
