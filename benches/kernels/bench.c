/* bench.c - speed of the weight kernels, one thread: GB/s of packed weights for one activation row from DRAM and from the
 * third-level cache, GMAC/s for several rows, GB/s of float32 for the activation quantizers and of file blocks for packing.
 *
 * Times are processor time of the thread, best of several runs, so that a busy machine disturbs little.
 * usage: bench [part of a kernel's name] */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../kernels/cpu/packed.h"
#include "../../tests/kernels/cpu_isa.h"

enum { K = 2048, MAX_ROWS = 512, DRAM_BYTES = 512 << 20, L3_BYTES = 24 << 20, TILE_BYTES = 2 << 20, N_RUNS = 5 };

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *buffer(size_t n_bytes) {
  void *p = aligned_alloc(4096, (n_bytes + 4095) / 4096 * 4096);
  if (!p) abort();
  return p;
}

/* Seconds of the fastest of N_RUNS calls of fn. */
static double best_time(oribi_kernel_fn fn, const void *args) {
  double best = 1e9;
  for (int i = 0; i < N_RUNS; i++) {
    const double start = seconds();
    fn(args);
    const double time = seconds() - start;
    best = time < best ? time : best;
  }
  return best;
}

static int cpu_runs(uint32_t isa) {
  static uint32_t available = ~0u;
  if (available == ~0u) available = cpu_isa();
  return (isa & ~available) == 0;
}

static const oribi_kernel *find(oribi_op op, uint32_t dtype, oribi_acts acts) {
  size_t n;
  const oribi_kernel *kernels = oribi_kernels(&n), *found = NULL;
  for (size_t i = 0; i < n; i++) {
    const oribi_kernel *k = kernels + i;
    if (k->op == op && k->dtype == dtype && (acts == ORIBI_ACTS_NONE || k->acts == acts) && cpu_runs(k->isa)) found = k;
  }
  return found;
}

static void fill(uint8_t *p, size_t n) {
  uint32_t x = 1;
  for (size_t i = 0; i < n; i++) {
    x = x * 1664525u + 1013904223u;
    p[i] = 0x30 | (x >> 24 & 0x0f); /* with such an upper byte a float of any format is finite, and not denormal */
  }
}

/* GB/s and GMAC/s of a product with n_bytes of packed weights. */
static void bench_product(const oribi_kernel *kernel, const uint8_t *weights, size_t n_bytes, uint32_t n_rows,
                          const uint8_t *acts, float *y, double *gb, double *gmac) {
  const size_t panel_bytes = oribi_panel_bytes(kernel->dtype, K);
  const uint32_t n_panels = (uint32_t)(n_bytes / panel_bytes) / 2 * 2;
  const oribi_matmul_args args = {
      .panels = weights, .n_panels = n_panels, .k = K, .acts = acts, .acts_stride = 4 * K + 64, .n_rows = n_rows,
      .y = y, .y_stride = (size_t)n_panels * 16};
  const double time = best_time(kernel->fn, &args);
  *gb = (double)n_panels * (double)panel_bytes / time * 1e-9;
  *gmac = (double)n_panels * 16 * K * n_rows / time * 1e-9;
}

static void bench_matmul(const oribi_kernel *kernel, const uint8_t *weights, float *y) {
  float *x = buffer(sizeof(float) * K * MAX_ROWS);
  for (size_t i = 0; i < (size_t)K * MAX_ROWS; i++) x[i] = (float)((int)(i * 7919 % 1999) - 999) * 1e-3f;
  uint8_t *acts = buffer((4 * K + 64) * (size_t)MAX_ROWS);
  if (kernel->acts == ORIBI_ACTS_F32) {
    for (size_t r = 0; r < MAX_ROWS; r++) memcpy(acts + r * (4 * K + 64), x + r * K, 4 * K);
  } else {
    const oribi_quantize_acts_args args = {
        .x = x, .x_stride = K, .n_rows = MAX_ROWS, .k = K, .end = K, .acts = acts, .acts_stride = 4 * K + 64};
    find(ORIBI_OP_QUANTIZE_ACTS, ORIBI_ANY_DTYPE, kernel->acts)->fn(&args);
  }
  double dram, l3, gmac, rows4, rows64, rows512, unused;
  bench_product(kernel, weights, DRAM_BYTES, 1, acts, y, &dram, &unused);
  bench_product(kernel, weights, L3_BYTES, 1, acts, y, &l3, &gmac);
  bench_product(kernel, weights, L3_BYTES, 4, acts, y, &unused, &rows4);
  bench_product(kernel, weights, TILE_BYTES, 64, acts, y, &unused, &rows64);
  bench_product(kernel, weights, TILE_BYTES, MAX_ROWS, acts, y, &unused, &rows512);
  printf("%-28s %8.1f %8.1f %8.1f %8.1f %8.1f %8.1f\n", kernel->name, dram, l3, gmac, rows4, rows64, rows512);
  free(x);
  free(acts);
}

static void bench_quantizer(const oribi_kernel *kernel) {
  float *x = buffer(sizeof(float) * K * 64);
  for (size_t i = 0; i < (size_t)K * 64; i++) x[i] = (float)((int)(i * 7919 % 1999) - 999) * 1e-3f;
  uint8_t *acts = buffer((2 * K + 3 * K / 8) * (size_t)64);
  const oribi_quantize_acts_args args = {
      .x = x, .x_stride = K, .n_rows = 64, .k = K, .end = K, .acts = acts, .acts_stride = 2 * K + 3 * K / 8};
  printf("%-34s %8.2f GB/s of float32\n", kernel->name, 4.0 * K * 64 / best_time(kernel->fn, &args) * 1e-9);
  free(x);
  free(acts);
}

static void bench_pack(const oribi_kernel *kernel, const uint8_t *rows, uint8_t *panels) {
  const size_t panel_bytes = oribi_panel_bytes(kernel->dtype, K);
  const oribi_pack_args args = {.src = rows, .src_stride = panel_bytes / 16, .n_rows = 16, .k = K, .dst = panels};
  printf("%-34s %8.2f GB/s of packed weights\n", kernel->name, (double)panel_bytes / best_time(kernel->fn, &args) * 1e-9);
}

int main(int argc, char **argv) {
  const char *part = argc > 1 ? argv[1] : "";
  size_t n;
  const oribi_kernel *kernels = oribi_kernels(&n);
  uint8_t *weights = buffer(DRAM_BYTES), *panels = buffer(1 << 20);
  fill(weights, DRAM_BYTES);
  float *y = buffer((size_t)DRAM_BYTES / 16);
  printf("%-28s %8s %8s %8s %8s %8s %8s\n", "", "1 row", "1 row", "1 row", "4 rows", "64 rows", "512 rows");
  printf("%-28s %8s %8s %8s %8s %8s %8s\n", "", "GB/s", "GB/s", "GMAC/s", "GMAC/s", "GMAC/s", "GMAC/s");
  printf("%-28s %8s %8s %8s %8s %8s %8s\n", "", "DRAM", "L3", "L3", "L3", "L2", "L2");
  for (size_t i = 0; i < n; i++) {
    const oribi_kernel *k = kernels + i;
    if (!strstr(k->name, part) || !cpu_runs(k->isa)) continue;
    if (k->op == ORIBI_OP_MATMUL && k->isa != ORIBI_ISA_SCALAR) bench_matmul(k, weights, y);
    if (k->op == ORIBI_OP_QUANTIZE_ACTS) bench_quantizer(k);
    if (k->op == ORIBI_OP_PACK) bench_pack(k, weights, panels);
  }
  return 0;
}
