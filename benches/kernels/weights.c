/* weights.c - packing, unpacking, quantizing activations, and products of 1 to 512 rows. */
#include "bench.h"

enum { K = 2048, MAX_ROWS = 512, ACTS_STRIDE = 4 * K + 64 };

/* Bytes of packed weights or file blocks such that a float of any format is finite and not denormal. */
static uint8_t *codes(size_t n) {
  uint8_t *p = buffer(n);
  uint32_t x = 1;
  for (size_t i = 0; i < n; i++) {
    x = x * 1664525u + 1013904223u;
    p[i] = 0x30 | (x >> 24 & 0x0f);
  }
  return p;
}

/* MAX_ROWS rows of activations in a kernel's layout. */
static uint8_t *activations(oribi_acts acts) {
  float *x = floats((size_t)K * MAX_ROWS);
  uint8_t *rows = buffer((size_t)ACTS_STRIDE * MAX_ROWS);
  if (acts == ORIBI_ACTS_F32) {
    for (size_t r = 0; r < MAX_ROWS; r++) memcpy(rows + r * ACTS_STRIDE, x + r * K, 4 * K);
  } else {
    const oribi_quantize_acts_args args = {
        .x = x, .x_stride = K, .n_rows = MAX_ROWS, .k = K, .end = K, .acts = rows, .acts_stride = ACTS_STRIDE};
    best_kernel(ORIBI_OP_QUANTIZE_ACTS, ORIBI_ANY_DTYPE, acts)->fn(&args);
  }
  free(x);
  return rows;
}

typedef struct {
  const char *what;
  uint32_t n_rows;
  level level;
  uint32_t one_stream;
} product;

static const product products[] = {
    {"1 row, DRAM", 1, LEVEL_DRAM, 0}, {"1 row, DRAM, one stream", 1, LEVEL_DRAM, 1},
    {"1 row, L3", 1, LEVEL_L3, 0},     {"4 rows, L3", 4, LEVEL_L3, 0},
    {"16 rows, L3", 16, LEVEL_L3, 0},  {"128 rows", 128, LEVEL_L2, 0},
    {"512 rows", MAX_ROWS, LEVEL_L2, 0},
};

static void bench_matmul(const oribi_kernel *kernel) {
  static uint8_t *weights; /* the same for all, since filling them takes longer than reading */
  if (!weights) weights = codes(level_bytes[LEVEL_DRAM]);
  const size_t panel_bytes = oribi_panel_bytes(kernel->dtype, K);
  uint8_t *acts = activations(kernel->acts);
  for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
    const product p = products[i];
    if (kernel->isa == ORIBI_ISA_SCALAR && (p.level == LEVEL_DRAM || p.n_rows > 4)) continue; /* minutes */
    const uint32_t n_panels = (uint32_t)(level_bytes[p.level] / panel_bytes) / 2 * 2;
    float *y = buffer(sizeof(float) * 16 * n_panels * (size_t)p.n_rows);
    void *scratch = buffer(ORIBI_MATMUL_SCRATCH_BYTES);
    const oribi_matmul_args args = {.panels = weights, .n_panels = n_panels, .k = K, .acts = acts,
                                    .acts_stride = ACTS_STRIDE, .n_rows = p.n_rows, .y = y, .y_stride = 16 * (size_t)n_panels,
                                    .scratch = scratch, .one_stream = p.one_stream};
    report((result){.kernel = kernel, .what = p.what, .seconds = best_time(kernel, &args), .level = p.level,
                    .n_bytes = (double)n_panels * (double)panel_bytes, .n_macs = 16.0 * n_panels * K * p.n_rows});
    free(scratch);
    free(y);
  }
  free(acts);
}

static void bench_quantizer(const oribi_kernel *kernel) {
  enum { N_ROWS = 64 };
  float *x = floats((size_t)K * N_ROWS);
  uint8_t *acts = buffer((size_t)ACTS_STRIDE * N_ROWS);
  const oribi_quantize_acts_args args = {
      .x = x, .x_stride = K, .n_rows = N_ROWS, .k = K, .end = K, .acts = acts, .acts_stride = ACTS_STRIDE};
  report((result){.kernel = kernel, .what = "64 rows", .seconds = best_time(kernel, &args), .n_bytes = 6.0 * K * N_ROWS});
  free(x);
  free(acts);
}

/* Packs a panel, again and again; file blocks are no longer than packed ones. */
static void bench_pack(const oribi_kernel *kernel) {
  const size_t panel_bytes = oribi_panel_bytes(kernel->dtype, K);
  uint8_t *rows = codes(panel_bytes), *panel = buffer(panel_bytes);
  const oribi_pack_args args = {.src = rows, .src_stride = panel_bytes / 16, .n_rows = 16, .k = K, .dst = panel};
  report((result){.kernel = kernel, .what = "a panel", .seconds = best_time(kernel, &args), .n_bytes = 2.0 * (double)panel_bytes});
  free(rows);
  free(panel);
}

static void bench_unpack_row(const oribi_kernel *kernel) {
  const size_t panel_bytes = oribi_panel_bytes(kernel->dtype, K);
  uint8_t *panel = codes(panel_bytes);
  float *y = buffer(sizeof(float) * K);
  const oribi_unpack_row_args args = {.panel = panel, .row = 3, .k = K, .y = y};
  report((result){.kernel = kernel, .what = "a row", .seconds = best_time(kernel, &args),
                  .n_bytes = (double)panel_bytes / 16 + 4.0 * K});
  free(panel);
  free(y);
}

int bench_weights(const oribi_kernel *kernel) {
  switch (kernel->op) {
    case ORIBI_OP_MATMUL: bench_matmul(kernel); return 1;
    case ORIBI_OP_QUANTIZE_ACTS: bench_quantizer(kernel); return 1;
    case ORIBI_OP_PACK: bench_pack(kernel); return 1;
    case ORIBI_OP_UNPACK_ROW: bench_unpack_row(kernel); return 1;
    default: return 0;
  }
}
