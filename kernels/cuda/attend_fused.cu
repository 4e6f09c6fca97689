/* attend_fused.cu - attention of few rows in one launch, for keys and values of the type ORIBI_KV. */
#include "attend_fused.cuh"

#define ATTEND_FUSED(n, blocks)                                                                   \
  KERNEL(KV_NAME(oribi_attend_fused_, ORIBI_KV, _##n), oribi_cuda_attend_args, THREADS, blocks) { \
    attend_fused<KV, n>(a);                                                                       \
  }
ATTEND_FUSED(4, 2)
ATTEND_FUSED(8, 2)
ATTEND_FUSED(16, 2)
#undef ATTEND_FUSED
