/* matmul.cu - the products of one format, ORIBI_FORMAT. */
#include "matmul_few.cuh"
#include "matmul_many.cuh"

#define MATMUL(n, blocks, ...) \
  KERNEL(WEIGHTS_NAME3(oribi_matmul_, ORIBI_FORMAT, _##n), oribi_cuda_matmul_args, THREADS, blocks) { __VA_ARGS__(a); }
MATMUL(8, 2, matmul_few<WEIGHTS, 8>)
MATMUL(16, 2, matmul_few<WEIGHTS, 16>)
MATMUL(32, 2, matmul_many<WEIGHTS, 32, 2>)
MATMUL(64, 2, matmul_many<WEIGHTS, 64, 2>)
MATMUL(prompt, 2, matmul_many<WEIGHTS, 64, 1>)
#undef MATMUL
