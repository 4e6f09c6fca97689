/* attend_merge.cu - the splits of rows merged: out, and its acts. */
#include "attend_merge.cuh"

KERNEL(oribi_attend_merge, oribi_cuda_attend_args, THREADS, 2) {
  const part p(block_y() * THREADS + thread_x());
  if (a.head_dim % 4 == 0) {
    merge_part<true, false>(a, block_x(), p);
  } else {
    merge_part<false, false>(a, block_x(), p);
  }
}
