/* softcap.cu - x = cap * tanh(x / cap). */
#include "math.cuh"

KERNEL(oribi_softcap, oribi_cuda_softcap_args, THREADS, 2) {
  const uint32_t column = block_y() * THREADS + thread_x();
  if (column >= a.n) return;
  float *x = a.x + block_x() * a.stride + column;
  *x = a.cap * tanh_of(*x / a.cap);
}
