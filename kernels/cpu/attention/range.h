/* range.h - which positions of a block or split a row sees. */
#ifndef ORIBI_ATTENTION_RANGE_H
#define ORIBI_ATTENTION_RANGE_H

#include "../../oribi_kernels.h"
#include "../simd/inline.h"

typedef struct {
  int begin, end; /* counted from the block's start; nothing is seen where begin >= end */
} seen_range;

/* What a row at `position` sees of the split's positions [start, start + len). */
ORIBI_INLINE seen_range seen_in(const oribi_attention_args *a, uint32_t position, uint32_t start, uint32_t len) {
  uint32_t begin = a->window != 0 && position >= a->window ? position - a->window + 1 : 0;
  uint32_t end = position + 1;
  if (begin < start) begin = start;
  if (end > a->split_end) end = a->split_end;
  if (end > start + len) end = start + len;
  if (begin >= end) return (seen_range){0, 0};
  return (seen_range){(int)(begin - start), (int)(end - start)};
}

ORIBI_INLINE seen_range seen_in_block(const oribi_attention_args *a, uint32_t position, uint32_t block) {
  return seen_in(a, position, block, ORIBI_PAGE_LEN);
}

#endif
