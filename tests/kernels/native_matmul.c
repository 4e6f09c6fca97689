/* Matrix products in native numerics against an emulation of the CPU's instructions, to the bit; and rows at other places of
 * other numbers of rows against them. */
#include <math.h>

#include "weights.h"

static float float_of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static uint32_t bits_of_float(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* Denormals are zero. */
static float flushed(float x) {
  const uint32_t bits = bits_of_float(x);
  return bits & 0x7f800000u ? x : float_of_bits(bits & 0x80000000u);
}

/* To bfloat16, by arithmetic: the distance of two neighbours is 2^-7 of the power of two below x. */
static float rounded(float x) {
  if (!isfinite(x) || flushed(x) == 0) return flushed(x);
  int exponent;
  const float fraction = frexpf(x, &exponent); /* 1/2 <= |fraction| < 1 */
  return ldexpf(nearbyintf(ldexpf(fraction, 8)), exponent - 8);
}

/* What TDPBF16PS adds to a sum for 32 inputs, found by experiment: even and odd inputs apart, fused, denormals flushed. */
static float with_group(float sum, const float *w, const float *x) {
  float part[2] = {0, 0};
  for (int i = 0; i < 32; i++) part[i % 2] = flushed(fmaf(w[i], x[i], part[i % 2]));
  return flushed(sum + flushed(part[0] + part[1]));
}

/* What VDPBF16PS adds, found by experiment: pair after pair, the odd input first, fused, denormals flushed. */
static float with_pairs(float sum, const float *w, const float *x) {
  for (int i = 0; i < 32; i++) sum = flushed(fmaf(w[i ^ 1], x[i ^ 1], sum));
  return sum;
}

/* [n_rows][16 * n_panels], as product() gives it. */
static float *emulated(const oribi_kernel *kernel, const uint8_t *panels, uint32_t n_panels, const float *x, uint32_t n_rows,
                       uint32_t k) {
  const uint32_t dtype = kernel->dtype;
  const oribi_kernel *unpack = scalar_kernel(ORIBI_OP_UNPACK_ROW, dtype, ORIBI_ACTS_NONE);
  float (*const add)(float, const float *, const float *) = kernel->isa == ORIBI_ISA_AMX ? with_group : with_pairs;
  float *y = exactly((size_t)n_rows * n_panels * 16 * sizeof *y, 0), *w = exactly(k * sizeof *w, 0);
  float *acts = exactly((size_t)n_rows * k * sizeof *acts, 0);
  for (size_t i = 0; i < (size_t)n_rows * k; i++) acts[i] = rounded(x[i]);
  for (uint32_t n = 0; n < 16 * n_panels; n++) {
    const oribi_unpack_row_args args = {
        .panel = panels + n / 16 * oribi_panel_bytes(dtype, k), .row = n % 16, .k = k, .y = w};
    unpack->fn(&args);
    for (uint32_t i = 0; i < k; i++) w[i] = rounded(w[i]);
    for (uint32_t r = 0; r < n_rows; r++) {
      float *sum = y + (size_t)r * 16 * n_panels + n;
      for (uint32_t g = 0; g < k; g += 32) *sum = add(*sum, w + g, acts + (size_t)r * k + g);
    }
  }
  free(w);
  free(acts);
  return y;
}

/* Equal, or neither is finite: an infinite scale may make all its weights NaN. */
static int agree(const float *got, const float *want, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (isfinite(want[i]) ? bits_of_float(got[i]) != bits_of_float(want[i]) : isfinite(got[i])) return 0;
  }
  return 1;
}

/* Rows first .. first + n_rows of x alone give what they give among all rows. */
static void check_rows_alone(const oribi_kernel *kernel, const uint8_t *panels, uint32_t n_panels, const float *x,
                             const float *all, uint32_t first, uint32_t n_rows, uint32_t k) {
  float *y = product(kernel, panels, n_panels, x + (size_t)first * k, n_rows, k);
  check(same_floats(y, all + (size_t)first * n_panels * 16, (size_t)n_rows * n_panels * 16), kernel->name);
  free(y);
}

void test_native_matmul(const oribi_kernel *kernel) {
  const oribi_kernel *pack = scalar_kernel(ORIBI_OP_PACK, kernel->dtype, ORIBI_ACTS_NONE);
  const uint32_t k_unit = block_len(kernel->dtype) == 256 ? 256 : 32;
  /* The last in three parts, the first of more rows than a block. */
  const uint32_t k_sizes[] = {k_unit, k_unit * 3, k_unit == 32 ? 32 * 133 : 256 * 17}, rows[] = {290, 100, 100};
  for (uint32_t i = 0; i < 3; i++) {
    const uint32_t k = k_sizes[i], n_panels = 3 - i, n_all = rows[i];
    const size_t panel_bytes = oribi_panel_bytes(kernel->dtype, k);
    uint8_t *panels = exactly(n_panels * panel_bytes, 0);
    for (uint32_t p = 0; p < n_panels; p++) packed_panel(pack, 16 - 5 * p, k, panels + p * panel_bytes);
    float *x = random_floats((size_t)n_all * k);
    for (uint32_t r = 1; r < n_all; r += 9) x[r * k + r % 32] = r % 2 ? 1e-40f : 3e38f;
    float *all = product(kernel, panels, n_panels, x, n_all, k), *want = emulated(kernel, panels, n_panels, x, 37, k);
    check(agree(all, want, 37 * (size_t)n_panels * 16), kernel->name);
    for (uint32_t n_rows = 1; n_rows < n_all; n_rows += n_rows < 17 || n_rows == 31 || n_rows == 32 ? 1 : n_rows < 100 ? 7 : 53) {
      check_rows_alone(kernel, panels, n_panels, x, all, (uint32_t)(random_bits() % (n_all - n_rows + 1)), n_rows, k);
    }
    free(panels);
    free(x);
    free(all);
    free(want);
  }
}
