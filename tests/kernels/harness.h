/* harness.h - what the kernel checks share: exactly sized buffers, so that a sanitizer sees the first byte outside, numbers,
 * kernels of the table and the comparison with the scalar one. */
#ifndef ORIBI_TEST_HARNESS_H
#define ORIBI_TEST_HARNESS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels/oribi_kernels.h"
#include "cpu_isa.h"

/* ---- results ---- */

extern int n_passed, n_failed;

static inline void check(int ok, const char *what) {
  if (ok) {
    n_passed++;
  } else {
    n_failed++;
    printf("FAILED: %s\n", what);
  }
}

static inline int same_floats(const float *a, const float *b, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (memcmp(a + i, b + i, sizeof *a) != 0 && !(a[i] != a[i] && b[i] != b[i])) return 0;
  }
  return 1;
}

/* ---- memory and numbers ---- */

/* n bytes with nothing valid behind them, filled with `fill`. */
static inline void *exactly(size_t n, int fill) {
  void *p = malloc(n ? n : 1);
  if (!p) abort();
  memset(p, fill, n);
  return p;
}

static inline uint64_t random_bits(void) {
  static uint64_t state = 1;
  state += 0x9e3779b97f4a7c15u;
  uint64_t z = (state ^ state >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static inline float *random_floats(size_t n) {
  float *x = exactly(n * sizeof *x, 0);
  for (size_t i = 0; i < n; i++) x[i] = (float)(random_bits() >> 40) / (float)(1 << 23) - 1.0f;
  return x;
}

static inline uint8_t *random_bytes(size_t n) {
  uint8_t *x = exactly(n, 0);
  for (size_t i = 0; i < n; i++) x[i] = (uint8_t)random_bits();
  return x;
}

/* ---- kernels ---- */

/* The scalar kernel of an operation, format and layout (ORIBI_ACTS_NONE: any). */
const oribi_kernel *scalar_kernel(oribi_op op, uint32_t dtype, oribi_acts acts);

/* Calls `test` with every kernel of an operation that this CPU runs, the scalar ones included. */
void for_each_kernel(oribi_op op, void (*test)(const oribi_kernel *));

/* ---- the checks ---- */

void check_weights(void);
void check_rows(void);
void check_attention(void);
void check_probes(void);
void check_math(void);

#endif
