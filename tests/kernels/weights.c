/* Packing, activation quantizers and matrix products. */
#include "../../kernels/cpu/packed.h"
#include "weights.h"

/* Inputs and bytes of a block in the file. */
static void block_of(uint32_t dtype, size_t *len, size_t *bytes) {
  switch (dtype) {
#define BLOCK(name, id, ...) \
  case id: *len = format_##name.block_len, *bytes = format_##name.block_bytes; return;
    PACKED_FORMATS(BLOCK)
    case ORIBI_F32: *len = 1, *bytes = 4; return;
    default: *len = 1, *bytes = 2; return;
  }
}

size_t block_len(uint32_t dtype) {
  size_t len, bytes;
  block_of(dtype, &len, &bytes);
  return len;
}

/* The rows are in a buffer that ends with the last one. */
uint8_t *packed_panel(const oribi_kernel *pack, uint32_t n_rows, uint32_t k, uint8_t *dst) {
  size_t len, bytes;
  block_of(pack->dtype, &len, &bytes);
  uint8_t *src = random_bytes(n_rows * (k / len) * bytes);
  const oribi_pack_args args = {.src = src, .src_stride = k / len * bytes, .n_rows = n_rows, .k = k, .dst = dst};
  pack->fn(&args);
  free(src);
  return dst;
}

static void test_pack(const oribi_kernel *kernel) {
  size_t len, bytes;
  block_of(kernel->dtype, &len, &bytes);
  const oribi_kernel *unpack = scalar_kernel(ORIBI_OP_UNPACK_ROW, kernel->dtype, ORIBI_ACTS_NONE);
  for (uint32_t n_blocks = 1; n_blocks <= 3; n_blocks++) {
    for (uint32_t n_rows = 1; n_rows <= 16; n_rows += 5) {
      const uint32_t k = (uint32_t)(n_blocks * len);
      uint8_t *panel = packed_panel(kernel, n_rows, k, exactly(oribi_panel_bytes(kernel->dtype, k), 0xa5));
      for (uint32_t row = 0; row < ORIBI_PANEL_ROWS; row++) {
        float *y = exactly(k * sizeof *y, 0x7f);
        const oribi_unpack_row_args args = {.panel = panel, .row = row, .k = k, .y = y};
        unpack->fn(&args);
        int is_zero = 1;
        for (uint32_t i = 0; i < k; i++) is_zero &= y[i] == 0.0f;
        if (row >= n_rows) check(is_zero, kernel->name);
        free(y);
      }
      free(panel);
    }
  }
}

/* Reads a packed row twice: the values are those of a panel that holds the row alone. */
static void test_unpack_row(const oribi_kernel *kernel) {
  size_t len, bytes;
  block_of(kernel->dtype, &len, &bytes);
  const uint32_t k = (uint32_t)(2 * len);
  const oribi_kernel *pack = scalar_kernel(ORIBI_OP_PACK, kernel->dtype, ORIBI_ACTS_NONE);
  uint8_t *src = random_bytes(16 * (k / len) * bytes);
  const size_t panel_bytes = oribi_panel_bytes(kernel->dtype, k);
  uint8_t *all = exactly(panel_bytes, 0), *alone = exactly(panel_bytes, 0);
  const oribi_pack_args pack_all = {.src = src, .src_stride = k / len * bytes, .n_rows = 16, .k = k, .dst = all};
  pack->fn(&pack_all);
  for (uint32_t row = 0; row < 16; row++) {
    const oribi_pack_args pack_one = {
        .src = src + row * pack_all.src_stride, .src_stride = pack_all.src_stride, .n_rows = 1, .k = k, .dst = alone};
    pack->fn(&pack_one);
    float *y = exactly(k * sizeof *y, 0), *z = exactly(k * sizeof *z, 0xff);
    const oribi_unpack_row_args of_all = {.panel = all, .row = row, .k = k, .y = y};
    const oribi_unpack_row_args of_one = {.panel = alone, .row = 0, .k = k, .y = z};
    kernel->fn(&of_all);
    kernel->fn(&of_one);
    check(same_floats(y, z, k), kernel->name);
    free(y);
    free(z);
  }
  free(src);
  free(all);
  free(alone);
}

static size_t acts_row_bytes(oribi_acts acts, size_t k) {
  return acts == ORIBI_ACTS_F32 ? 4 * k : acts == ORIBI_ACTS_BF16 ? 2 * k : 2 * k + k / 8 + k / 4;
}

static size_t acts_stride(oribi_acts acts, size_t k) { return (acts_row_bytes(acts, k) + 63) / 64 * 64; }

/* Up to the last byte that is written. */
static size_t acts_bytes(oribi_acts acts, uint32_t n_rows, size_t k) {
  if (acts != ORIBI_ACTS_BF16) return (n_rows - 1) * acts_stride(acts, k) + acts_row_bytes(acts, k);
  const size_t last = n_rows - 1;
  return last / 16 * 16 * acts_stride(acts, k) + (k / 32 - 1) * 1024 + (last % 16 + 1) * 64;
}

/* The last rows in a call of their own. */
static uint8_t *quantized(const oribi_kernel *quantizer, const float *x, uint32_t n_rows, uint32_t k) {
  const size_t stride = acts_stride(quantizer->acts, k);
  uint8_t *acts = exactly(acts_bytes(quantizer->acts, n_rows, k), 0);
  const oribi_quantize_acts_args args = {
      .x = x, .x_stride = k, .n_rows = n_rows - n_rows / 2, .k = k, .end = k, .acts = acts, .acts_stride = stride};
  quantizer->fn(&args);
  oribi_quantize_acts_args last = args;
  last.first_row = args.n_rows;
  last.n_rows = n_rows / 2;
  last.x += (size_t)args.n_rows * k;
  quantizer->fn(&last);
  return acts;
}

static void test_quantize_acts(const oribi_kernel *kernel) {
  const oribi_kernel *oracle = scalar_kernel(ORIBI_OP_QUANTIZE_ACTS, ORIBI_ANY_DTYPE, kernel->acts);
  for (uint32_t k = 32; k <= 160; k += 64) {
    for (uint32_t n_rows = 1; n_rows <= 35; n_rows += n_rows < 3 ? 1 : 16) {
      float *x = random_floats((size_t)n_rows * k);
      x[0] = n_rows == 2 ? 1.0f / 0.0f : 0.0f;
      for (uint32_t i = 32; i < 64 && i < k; i++) x[i] = 1e-41f;
      uint8_t *got = quantized(kernel, x, n_rows, k), *want = quantized(oracle, x, n_rows, k);
      check(memcmp(got, want, acts_bytes(kernel->acts, n_rows, k)) == 0, kernel->name);
      free(x);
      free(got);
      free(want);
    }
  }
}

/* x in the layout of a matmul kernel; float weights take it as it is. */
static uint8_t *acts_for(const oribi_kernel *kernel, const float *x, uint32_t n_rows, uint32_t k) {
  if (kernel->acts != ORIBI_ACTS_F32) {
    return quantized(scalar_kernel(ORIBI_OP_QUANTIZE_ACTS, ORIBI_ANY_DTYPE, kernel->acts), x, n_rows, k);
  }
  const size_t stride = acts_stride(ORIBI_ACTS_F32, k);
  uint8_t *acts = exactly((n_rows - 1) * stride + 4 * (size_t)k, 0);
  for (uint32_t r = 0; r < n_rows; r++) memcpy(acts + r * stride, x + (size_t)r * k, 4 * (size_t)k);
  return acts;
}

/* How the panels are read is of no consequence. */
static void check_one_stream(oribi_matmul_args args, const oribi_kernel *kernel) {
  const float *want = args.y;
  args.one_stream = 1;
  args.y = exactly((size_t)args.n_panels * 16 * sizeof *args.y, 0xff);
  kernel->fn(&args);
  check(same_floats(args.y, want, (size_t)args.n_panels * 16), kernel->name);
  free(args.y);
}

float *product(const oribi_kernel *kernel, const uint8_t *panels, uint32_t n_panels, const float *x, uint32_t n_rows,
               uint32_t k) {
  uint8_t *acts = acts_for(kernel, x, n_rows, k);
  float *y = exactly((size_t)n_rows * n_panels * 16 * sizeof *y, 0xff);
  void *scratch = exactly(ORIBI_MATMUL_SCRATCH_BYTES, 0xff);
  const oribi_matmul_args args = {.panels = panels, .n_panels = n_panels, .k = k, .acts = acts,
                                  .acts_stride = acts_stride(kernel->acts, k), .n_rows = n_rows,
                                  .y = y, .y_stride = (size_t)n_panels * 16, .scratch = scratch};
  kernel->fn(&args);
  if (n_rows == 1) check_one_stream(args, kernel);
  free(scratch);
  free(acts);
  return y;
}

static void test_matmul(const oribi_kernel *kernel) {
  if (kernel->acts == ORIBI_ACTS_BF16) {
    test_native_matmul(kernel);
    return;
  }
  static const uint32_t rows[] = {1, 2, 3, 4, 5, 8, 9, 17, 27};
  size_t len, bytes;
  block_of(kernel->dtype, &len, &bytes);
  const oribi_kernel *pack = scalar_kernel(ORIBI_OP_PACK, kernel->dtype, ORIBI_ACTS_NONE);
  const oribi_kernel *oracle = scalar_kernel(ORIBI_OP_MATMUL, kernel->dtype, ORIBI_ACTS_NONE);
  for (uint32_t n_panels = 1; n_panels <= 5; n_panels++) {
    const uint32_t k = (uint32_t)(len * (1 + n_panels % 3));
    const size_t panel_bytes = oribi_panel_bytes(kernel->dtype, k);
    uint8_t *panels = exactly(n_panels * panel_bytes, 0);
    for (uint32_t p = 0; p < n_panels; p++) packed_panel(pack, 1 + (p * 7 + 15) % 16, k, panels + p * panel_bytes);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
      float *x = random_floats((size_t)rows[i] * k);
      float *got = product(kernel, panels, n_panels, x, rows[i], k);
      float *want = product(oracle, panels, n_panels, x, rows[i], k);
      check(same_floats(got, want, (size_t)rows[i] * n_panels * 16), kernel->name);
      free(x);
      free(got);
      free(want);
    }
    free(panels);
  }
}

void check_weights(void) {
  for_each_kernel(ORIBI_OP_PACK, test_pack);
  for_each_kernel(ORIBI_OP_UNPACK_ROW, test_unpack_row);
  for_each_kernel(ORIBI_OP_QUANTIZE_ACTS, test_quantize_acts);
  for_each_kernel(ORIBI_OP_MATMUL, test_matmul);
}
