/* rows.c - norms, rotations, gates and maps on rows that lie in the second-level cache. */
#include "bench.h"

enum { N = 2048, N_ROWS = 16 };

int bench_rows(const oribi_kernel *kernel) {
  const size_t n = (size_t)N * N_ROWS;
  float *x = floats(n), *other = floats(n), *y = buffer(sizeof(float) * n);
  const oribi_rms_norm_args norm = {
      .x = x, .x_stride = N, .weight = other, .n_rows = N_ROWS, .n = N, .eps = 1e-5f, .y = y, .y_stride = N};
  const oribi_rope_args rope = {.x = y, .n_heads = N / 64, .head_dim = 64, .n_rot = 64, .cos_sin = other, .half_split = 1};
  const oribi_glu_args glu = {.gate = x, .up = other, .n = (uint32_t)n, .activation = ORIBI_SILU, .y = y};
  const oribi_map_args add = {.x = x, .other = other, .n = (uint32_t)n, .factor = 30.0f, .y = y};
  const struct {
    oribi_op op;
    const void *args;
    double n_floats; /* read and written */
  } all[] = {
      {ORIBI_OP_RMS_NORM, &norm, 2.0 * (double)n}, {ORIBI_OP_ROPE, &rope, 2.0 * N},
      {ORIBI_OP_GLU, &glu, 3.0 * (double)n},       {ORIBI_OP_ADD, &add, 3.0 * (double)n},
      {ORIBI_OP_SCALE, &add, 2.0 * (double)n},     {ORIBI_OP_SOFTCAP, &add, 2.0 * (double)n},
  };
  int found = 0;
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    if (all[i].op != kernel->op) continue;
    const char *what = kernel->op == ORIBI_OP_ROPE ? "32 heads of 64" : "16 rows of 2048";
    report((result){.kernel = kernel, .what = what, .seconds = best_time(kernel, all[i].args), .n_bytes = 4 * all[i].n_floats});
    found = 1;
  }
  free(x);
  free(other);
  free(y);
  return found;
}
