/* matmul.cu - the products of one format, ORIBI_FORMAT. */
#include "matmul_few.cuh"
#include "matmul_fused.cuh"
#include "matmul_many.cuh"

#define MATMUL(n, blocks, ...) MATMUL_OF(n, oribi_cuda_matmul_args, blocks, __VA_ARGS__)
#define MATMUL_OF(n, args_type, blocks, ...) \
  KERNEL(WEIGHTS_NAME3(oribi_matmul_, ORIBI_FORMAT, _##n), args_type, THREADS, blocks) { __VA_ARGS__(a); }
MATMUL(8, 2, matmul_few<WEIGHTS, 8>)
MATMUL_OF(norm, oribi_cuda_matmul_norm_args, 2, matmul_norm<WEIGHTS, 8>)
MATMUL_OF(glu, oribi_cuda_matmul_glu_args, 2, matmul_glu<WEIGHTS, 8>)
MATMUL(16, 2, matmul_few<WEIGHTS, 16>)
MATMUL(32, 1, matmul_many<WEIGHTS, 32, 2>)
MATMUL(64, 1, matmul_many<WEIGHTS, 64, 2>)
MATMUL(prompt, 1, matmul_many<WEIGHTS, 64, 1>)
#undef MATMUL
#undef MATMUL_OF
