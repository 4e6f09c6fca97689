/* glu.cu - activation(gate) * up, ready for the next product. */
#include "acts.cuh"
#include "math.cuh"

KERNEL(oribi_glu, oribi_cuda_glu_args, THREADS, 2) {
  const uint32_t row = block_x();
  const part p(block_y() * THREADS + thread_x());
  const float *gate = a.scratch + row * a.scratch_stride;
  float g[8], u[8];
  load_part(gate, a.n, p, g);
  load_part(gate + a.up_column, a.n, p, u);
  for (int e = 0; e < 8; e++) g[e] = activate(a.activation, g[e]) * u[e];
  if (a.out) store_part(a.out + row * a.out_stride, a.n, p, g);
  if (a.acts.hi) store_acts(a.acts, row, p, g);
}
