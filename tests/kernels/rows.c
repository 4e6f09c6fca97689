/* Norm, rotation, gated units, maps. */
#include "harness.h"

static const uint32_t lengths[] = {1, 2, 15, 16, 17, 31, 33, 64, 100};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0] };

static float *copy_of(const float *x, size_t n) { return memcpy(exactly(n * sizeof *x, 0), x, n * sizeof *x); }

/* Compares the results y of `kernel` and the scalar kernel, and frees both. */
static void compare(const oribi_kernel *kernel, float *got, float *want, size_t n) {
  check(same_floats(got, want, n), kernel->name);
  free(got);
  free(want);
}

static float *normed(const oribi_kernel *kernel, const float *x, const float *weight, uint32_t n_rows, uint32_t n) {
  float *y = exactly((size_t)n_rows * n * sizeof *y, 0xff);
  const oribi_rms_norm_args args = {
      .x = x, .x_stride = n, .weight = weight, .n_rows = n_rows, .n = n, .eps = 1e-5f, .y = y, .y_stride = n};
  kernel->fn(&args);
  return y;
}

static void test_rms_norm(const oribi_kernel *kernel) {
  const oribi_kernel *oracle = scalar_kernel(kernel->op, ORIBI_ANY_DTYPE, ORIBI_ACTS_NONE);
  for (int i = 0; i < N_LENGTHS; i++) {
    const uint32_t n = lengths[i];
    float *x = random_floats(3 * (size_t)n), *weight = random_floats(n);
    compare(kernel, normed(kernel, x, weight, 3, n), normed(oracle, x, weight, 3, n), 3 * (size_t)n);
    compare(kernel, normed(kernel, x, NULL, 1, n), normed(oracle, x, NULL, 1, n), n);
    free(x);
    free(weight);
  }
}

static float *rotated(const oribi_kernel *kernel, const float *x, const float *cos_sin, uint32_t n_rot, uint32_t half_split) {
  const uint32_t head_dim = n_rot + 2, n_heads = 3;
  float *y = copy_of(x, (size_t)n_heads * head_dim);
  const oribi_rope_args args = {.x = y, .n_heads = n_heads, .head_dim = head_dim, .n_rot = n_rot, .cos_sin = cos_sin,
                                .half_split = half_split};
  kernel->fn(&args);
  return y;
}

static void test_rope(const oribi_kernel *kernel) {
  const oribi_kernel *oracle = scalar_kernel(kernel->op, ORIBI_ANY_DTYPE, ORIBI_ACTS_NONE);
  for (int i = 0; i < N_LENGTHS; i++) {
    const uint32_t n_rot = 2 * lengths[i];
    float *x = random_floats(3 * ((size_t)n_rot + 2)), *cos_sin = random_floats(n_rot);
    for (uint32_t half_split = 0; half_split < 2; half_split++) {
      compare(kernel, rotated(kernel, x, cos_sin, n_rot, half_split), rotated(oracle, x, cos_sin, n_rot, half_split),
              3 * ((size_t)n_rot + 2));
    }
    free(x);
    free(cos_sin);
  }
}

static float *gated(const oribi_kernel *kernel, const float *gate, const float *up, uint32_t n, oribi_activation activation) {
  float *y = exactly(n * sizeof *y, 0xff);
  const oribi_glu_args args = {.gate = gate, .up = up, .n = n, .activation = activation, .y = y};
  kernel->fn(&args);
  return y;
}

static void test_glu(const oribi_kernel *kernel) {
  const oribi_kernel *oracle = scalar_kernel(kernel->op, ORIBI_ANY_DTYPE, ORIBI_ACTS_NONE);
  for (int i = 0; i < N_LENGTHS; i++) {
    const uint32_t n = lengths[i];
    float *gate = random_floats(n), *up = random_floats(n);
    gate[0] = 1e30f;
    compare(kernel, gated(kernel, gate, up, n, ORIBI_SILU), gated(oracle, gate, up, n, ORIBI_SILU), n);
    compare(kernel, gated(kernel, gate, up, n, ORIBI_GELU_TANH), gated(oracle, gate, up, n, ORIBI_GELU_TANH), n);
    free(gate);
    free(up);
  }
}

static float *mapped(const oribi_kernel *kernel, const float *x, const float *other, uint32_t n) {
  float *y = exactly(n * sizeof *y, 0xff);
  const oribi_map_args args = {.x = x, .other = other, .n = n, .factor = 0.7f, .y = y};
  kernel->fn(&args);
  return y;
}

static void test_map(const oribi_kernel *kernel) {
  const oribi_kernel *oracle = scalar_kernel(kernel->op, ORIBI_ANY_DTYPE, ORIBI_ACTS_NONE);
  for (int i = 0; i < N_LENGTHS; i++) {
    const uint32_t n = lengths[i];
    float *x = random_floats(n), *other = kernel->op == ORIBI_OP_ADD ? random_floats(n) : NULL;
    compare(kernel, mapped(kernel, x, other, n), mapped(oracle, x, other, n), n);
    free(x);
    free(other);
  }
}

void check_rows(void) {
  for_each_kernel(ORIBI_OP_RMS_NORM, test_rms_norm);
  for_each_kernel(ORIBI_OP_ROPE, test_rope);
  for_each_kernel(ORIBI_OP_GLU, test_glu);
  for_each_kernel(ORIBI_OP_ADD, test_map);
  for_each_kernel(ORIBI_OP_SCALE, test_map);
  for_each_kernel(ORIBI_OP_SOFTCAP, test_map);
}
