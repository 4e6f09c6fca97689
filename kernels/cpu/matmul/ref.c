/* matmul - packed weights times quantized activations; the scalar oracle.
 *
 *   for each output row and activation row:
 *     acc = 0
 *     for each group of 32 inputs (half group of 16 where the format has a scale per half group), in order of k:
 *       acc = fma(float(sum q * a), s * s_a, acc)
 *       acc = fma(float(sum a), m * s_a, acc)          formats with a minimum
 *
 * q the codes' values, a the activation codes, s and m the weight's scale and minimum, s_a the activations' scale. The sums
 * are exact: |sum q * a| <= 32 * 128 * 32512 < 2^27.99. Float weights: acc = fma(w, x, acc) in order of k. A NaN is a NaN;
 * which one is not defined. */
#include <math.h>

#include "../packed.h"

typedef struct {
  int16_t q[ROWS][GROUP];
  packed_scales scales[2][ROWS];
} decoded_group;

static void decode_group(packed_format f, const uint8_t *block, const uint8_t *group, decoded_group *w) {
  for (int row = 0; row < ROWS; row++) {
    for (int k = 0; k < GROUP; k++) w->q[row][k] = (int16_t)packed_code(f, group, row, k);
    for (int n = 0; n < f.n_scales; n++) w->scales[n][row] = packed_scales_of(f, block, group, n, row);
  }
}

/* One activation row's codes, scale and half sums of a group. */
typedef struct {
  int16_t a[GROUP];
  float scale;
  int32_t sums[2];
} acts_group;

static acts_group load_acts(const uint8_t *acts, uint32_t k, uint32_t g) {
  acts_group x;
  const uint8_t *scales = acts + 2 * (size_t)k, *sums = scales + sizeof(float) * (k / GROUP);
  memcpy(x.a, acts + (size_t)g * sizeof x.a, sizeof x.a);
  memcpy(&x.scale, scales + (size_t)g * sizeof x.scale, sizeof x.scale);
  memcpy(x.sums, sums + (size_t)g * sizeof x.sums, sizeof x.sums);
  return x;
}

/* The float steps of one group for 16 output rows of one activation row. */
static void accumulate(packed_format f, const decoded_group *w, const acts_group *x, float *y) {
  const int len = GROUP / f.n_scales;
  for (int row = 0; row < ROWS; row++) {
    for (int n = 0; n < f.n_scales; n++) {
      int32_t sum = 0;
      for (int k = n * len; k < (n + 1) * len; k++) sum += w->q[row][k] * x->a[k];
      y[row] = fmaf((float)sum, w->scales[n][row].s * x->scale, y[row]);
      if (!packed_has_min(f)) continue;
      const int32_t acts_sum = f.n_scales == 2 ? x->sums[n] : x->sums[0] + x->sums[1];
      y[row] = fmaf((float)acts_sum, w->scales[n][row].m * x->scale, y[row]);
    }
  }
}

static void matmul_panel(const oribi_matmul_args *a, packed_format f, const uint8_t *panel, float *y) {
  for (uint32_t r = 0; r < a->n_rows; r++) memset(y + r * a->y_stride, 0, ROWS * sizeof(float));
  for (uint32_t g = 0; g < a->k / GROUP; g++) {
    const uint8_t *block = panel + (size_t)(g / f.n_groups) * f.packed_bytes;
    const uint8_t *group = block + f.groups_at + (size_t)(g % f.n_groups) * f.group_bytes;
    decoded_group w;
    decode_group(f, block, group, &w);
    for (uint32_t r = 0; r < a->n_rows; r++) {
      const acts_group x = load_acts(a->acts + r * a->acts_stride, a->k, g);
      accumulate(f, &w, &x, y + r * a->y_stride);
    }
  }
}

static void matmul_codes(const oribi_matmul_args *a, packed_format f) {
  const size_t panel_bytes = (size_t)(a->k / f.block_len) * f.packed_bytes;
  for (uint32_t p = 0; p < a->n_panels; p++) matmul_panel(a, f, a->panels + p * panel_bytes, a->y + p * ROWS);
}

#define MATMUL(name, ...)                       \
  void oribi_matmul_##name##_ref(const void *); \
  void oribi_matmul_##name##_ref(const void *args) { matmul_codes(args, format_##name); }
PACKED_FORMATS(MATMUL)

/* ---- float weights ---- */

static float element_f32(const uint8_t *p, size_t i) { return load_f32(p + 4 * i); }
static float element_f16(const uint8_t *p, size_t i) { return f32_of_f16(load_u16(p + 2 * i)); }
static float element_bf16(const uint8_t *p, size_t i) { return f32_of_bf16(load_u16(p + 2 * i)); }

static void matmul_floats(const oribi_matmul_args *a, size_t elem_bytes, float (*element)(const uint8_t *, size_t)) {
  for (uint32_t p = 0; p < a->n_panels; p++) {
    const uint8_t *panel = a->panels + (size_t)p * a->k * ROWS * elem_bytes;
    for (uint32_t r = 0; r < a->n_rows; r++) {
      float *y = a->y + r * a->y_stride + (size_t)p * ROWS;
      memset(y, 0, ROWS * sizeof(float));
      for (size_t k = 0; k < a->k; k++) {
        const float x = load_f32(a->acts + r * a->acts_stride + k * sizeof x);
        for (int row = 0; row < ROWS; row++) y[row] = fmaf(element(panel, k * ROWS + (size_t)row), x, y[row]);
      }
    }
  }
}

void oribi_matmul_f32_ref(const void *);
void oribi_matmul_f16_ref(const void *);
void oribi_matmul_bf16_ref(const void *);

void oribi_matmul_f32_ref(const void *args) { matmul_floats(args, 4, element_f32); }
void oribi_matmul_f16_ref(const void *args) { matmul_floats(args, 2, element_f16); }
void oribi_matmul_bf16_ref(const void *args) { matmul_floats(args, 2, element_bf16); }
