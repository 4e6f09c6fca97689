/* bench.h - what the benches of the kernels share: time, memory, numbers, the machine's limits, and a line of the result.
 *
 * One thread; its processor time, the best of several runs, so that a busy machine disturbs little. */
#ifndef ORIBI_BENCH_H
#define ORIBI_BENCH_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels/cpu/packed.h"
#include "../../tests/kernels/cpu_isa.h"

/* ---- time and memory (main.c) ---- */

/* Seconds of the fastest of some calls of a kernel. */
double best_time(const oribi_kernel *kernel, const void *args);

/* n_bytes, aligned to a page, zeroed. Ends the program where there is no memory. */
void *buffer(size_t n_bytes);

/* n floats of -1..1 in a buffer. */
float *floats(size_t n);

/* The best kernel of an operation, format and layout (ORIBI_ACTS_NONE: any) that this CPU runs. */
const oribi_kernel *best_kernel(oribi_op op, uint32_t dtype, oribi_acts acts);

/* ---- results (main.c) ---- */

/* What a call of a kernel does in `seconds`. The level says where its bytes come from. */
typedef enum { LEVEL_L2, LEVEL_L3, LEVEL_DRAM, N_LEVELS } level;
typedef struct {
  const oribi_kernel *kernel;
  const char *what; /* the case, as in "1 row, DRAM" */
  double seconds;
  double n_bytes; /* read and written */
  double n_macs;  /* multiply-adds; 0 where their number says nothing */
  level level;
} result;

/* Prints a line. */
void report(result r);

/* ---- limits (limits.c) ---- */

void measure_limits(void);
double limit_bytes(level level);                /* bytes per second */
double limit_macs(const oribi_kernel *kernel);  /* multiply-adds per second of the unit that the kernel uses */
extern const size_t level_bytes[N_LEVELS];      /* how much memory stands for a level */

/* ---- the benches, by operation; 0 where the operation is another file's ---- */

int bench_weights(const oribi_kernel *kernel);
int bench_rows(const oribi_kernel *kernel);
int bench_attention(const oribi_kernel *kernel);

#endif
