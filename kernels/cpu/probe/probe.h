/* probe.h - what the probes of one machine share.
 *
 * PROBE_READ adds up all 32-bit words of the data, so that no load can be left out, in one sequential stream with the lines
 * ahead prefetched or not: the access patterns of a matrix product with one row.
 *
 * PROBE_MACS runs a register tile of n_a x n_b independent accumulators, enough to hide the latency of an instruction, on
 * operands that are loaded once. A round is PROBE_STEPS updates of each accumulator. The operands pass through OPAQUE where a
 * compiler could take a product out of the loop. */
#ifndef ORIBI_PROBE_H
#define ORIBI_PROBE_H

#include "../../oribi_kernels.h"
#include "../simd/inline.h"

enum {
  PROBE_STEPS = 64,
  PROBE_AHEAD = 4096, /* bytes from the line that is read to the one that is prefetched */
  PROBE_RUN = 512,    /* bytes that one step of PROBE_READ reads */
};

/* The value in register `v` is unknown to the compiler from here on; costs nothing. */
#define OPAQUE(constraint, v) __asm__ volatile("" : "+" constraint(v))

/* Loops over a tile of accumulators: acc[i][j] = mac(acc[i][j], a[i], b[j]). */
#define PROBE_TILE(n_a, n_b, mac)                                                        \
  for (uint64_t step = 0; step < p->n_rounds * PROBE_STEPS; step++) {                    \
    ORIBI_UNROLL for (int i = 0; i < (n_a); i++) {                                       \
      ORIBI_UNROLL for (int j = 0; j < (n_b); j++) acc[i][j] = mac(acc[i][j], a[i], b[j]); \
    }                                                                                    \
  }

/* What a kernel reports: work done, and the sum that keeps the compiler honest. */
ORIBI_INLINE void probe_report(const oribi_probe_args *p, uint64_t n_each, double result) {
  *p->n_done = p->n_rounds * n_each;
  *p->result = result;
}

ORIBI_INLINE double probe_sum_i32(const int32_t *x, int n) {
  uint32_t sum = 0;
  for (int i = 0; i < n; i++) sum += (uint32_t)x[i];
  return (double)(int32_t)sum;
}

ORIBI_INLINE double probe_sum_f32(const float *x, int n) {
  double sum = 0;
  for (int i = 0; i < n; i++) sum += (double)x[i];
  return sum;
}

#endif
