/* matmul.cu - the products of one format, ORIBI_FORMAT. */
#include "matmul.cuh"
#include "prompt.cuh"

#define MATMUL(n, blocks) \
  KERNEL(WEIGHTS_NAME3(oribi_matmul_, ORIBI_FORMAT, _##n), oribi_cuda_matmul_args, THREADS, blocks) { matmul<WEIGHTS, n>(a); }
MATMUL(8, 3)
MATMUL(16, 2)
MATMUL(32, 2)
MATMUL(64, 2)
#undef MATMUL

KERNEL(WEIGHTS_NAME3(oribi_matmul_, ORIBI_FORMAT, _prompt), oribi_cuda_matmul_args, THREADS, 2) { prompt_matmul<WEIGHTS>(a); }
