/* matmul.cu - the products of one format, ORIBI_FORMAT. */
#include "matmul_few.cuh"
#include "matmul_fused.cuh"
#include "matmul_many.cuh"

/* Blocks of 64 tokens on an SM: shared memory has room for two on sm_90 alone, so elsewhere a thread may have more registers; as
 * it may where the operands take more. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
#define PROMPT_BLOCKS (WEIGHTS::is_codes ? 2 : 1)
#else
#define PROMPT_BLOCKS 1
#endif

#define MATMUL(n, blocks, ...) MATMUL_OF(n, oribi_cuda_matmul_args, blocks, __VA_ARGS__)
#define MATMUL_OF(n, args_type, blocks, ...) \
  KERNEL(WEIGHTS_NAME3(oribi_matmul_, ORIBI_FORMAT, _##n), args_type, THREADS, blocks) { __VA_ARGS__(a); }
MATMUL(8, 2, matmul_few<WEIGHTS, 8>)
MATMUL_OF(norm, oribi_cuda_matmul_norm_args, 2, matmul_norm<WEIGHTS, 8>)
MATMUL_OF(glu, oribi_cuda_matmul_glu_args, 2, matmul_glu<WEIGHTS, 8>)
MATMUL(16, 2, matmul_few<WEIGHTS, 16>)
MATMUL(32, 2, matmul_many<WEIGHTS, 32, 2>)
MATMUL(64, 1, matmul_many<WEIGHTS, 64, 2>)
MATMUL(prompt, PROMPT_BLOCKS, matmul_many<WEIGHTS, 64, 1>)
#undef MATMUL
#undef MATMUL_OF
#undef PROMPT_BLOCKS
