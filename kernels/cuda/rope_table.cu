/* rope_table.cu - cosines and sines of positions. */
#include "device.cuh"

KERNEL(oribi_rope_table, oribi_cuda_rope_table_args, THREADS, 1) {
  const uint32_t row = block_x(), pair = block_y() * THREADS + thread_x();
  if (pair >= a.n_pairs) return;
  double sine, cosine;
  sincos_f64((double)a.positions[row] * a.frequencies[pair], &sine, &cosine);
  float *table = a.table + row * a.stride;
  table[pair] = (float)cosine;
  table[a.n_pairs + pair] = (float)sine;
}
