/* norm.cu - the residual's sum and the norms around it; a block has a row. */
#include "norm.cuh"

KERNEL(oribi_norm, oribi_cuda_norm_args, THREADS, 2) { norm_row<false>(a, block_x()); }
