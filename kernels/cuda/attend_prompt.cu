/* attend_prompt.cu - attention of prompts in native arithmetic, for keys and values of the type ORIBI_KV. */
#include "attend_prompt.cuh"

#define ATTEND_PROMPT(n, blocks)                                                                   \
  KERNEL(KV_NAME(oribi_attend_prompt_, ORIBI_KV, _##n), oribi_cuda_attend_args, THREADS, blocks) { \
    attend_prompt<KV, n>(a);                                                                       \
  }
ATTEND_PROMPT(16, 2)
ATTEND_PROMPT(32, 2)
#undef ATTEND_PROMPT
