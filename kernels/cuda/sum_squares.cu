/* sum_squares.cu - sums of the squares of columns. */
#include "device.cuh"

KERNEL(oribi_sum_squares, oribi_cuda_sum_squares_args, THREADS, 2) {
  const uint32_t column = block_x() * THREADS + thread_x();
  if (column >= a.n) return;
  double sum = 0.0;
  for (uint32_t row = 0; row < a.n_rows; row++) {
    const double x = a.x[row * a.stride + column];
    sum += x * x; /* the square is exact */
  }
  a.sums[column] = (float)sum;
}
