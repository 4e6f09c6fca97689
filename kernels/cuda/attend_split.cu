/* attend_split.cu - attention over one split, for keys and values of the type ORIBI_KV. */
#include "attend_split.cuh"

#define ATTEND_SPLIT(n, blocks)                                                                   \
  KERNEL(KV_NAME(oribi_attend_split_, ORIBI_KV, _##n), oribi_cuda_attend_args, THREADS, blocks) { \
    attend_split<KV, n>(a);                                                                       \
  }
ATTEND_SPLIT(4, 3)
ATTEND_SPLIT(8, 2)
ATTEND_SPLIT(16, 2)
ATTEND_SPLIT(32, 1)
#undef ATTEND_SPLIT
