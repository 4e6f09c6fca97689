/* main.c - measures the kernels of the table that this CPU runs, each beside what one thread of the machine does at best.
 * usage: bench [--json] [part of a kernel's name] */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <time.h>

#include "../../tests/kernels/cpu_isa.h"
#include "bench.h"

static const double RUN_SECONDS = 1e-3;  /* a run repeats a call until it takes so long */
static const double TOTAL_SECONDS = 0.2; /* of all runs of a call; the first few are made in any case */
enum { MIN_RUNS = 3, MAX_RUNS = 30 };

static int as_json, n_reported;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double time_of(const oribi_kernel *kernel, const void *args, long n_calls) {
  const double start = now();
  for (long i = 0; i < n_calls; i++) kernel->fn(args);
  return now() - start;
}

double best_time(const oribi_kernel *kernel, const void *args) {
  long n_calls = 1;
  double time = time_of(kernel, args, 1), total = time;
  while (time < RUN_SECONDS) {
    n_calls *= 2;
    total += time = time_of(kernel, args, n_calls);
  }
  double best = time;
  for (int i = 0; i < MIN_RUNS || (i < MAX_RUNS && total < TOTAL_SECONDS); i++) {
    total += time = time_of(kernel, args, n_calls);
    best = time < best ? time : best;
  }
  return best / (double)n_calls;
}

void *buffer(size_t n_bytes) {
  const size_t n = (n_bytes + 4095) / 4096 * 4096;
  void *p = aligned_alloc(4096, n ? n : 4096);
  if (!p) {
    fprintf(stderr, "bench: no memory for %zu bytes\n", n_bytes);
    exit(1);
  }
  return memset(p, 0, n);
}

float *floats(size_t n) {
  float *x = buffer(sizeof *x * n);
  for (size_t i = 0; i < n; i++) x[i] = (float)((int)(i * 7919 % 1999) - 999) * 1e-3f;
  return x;
}

const oribi_kernel *best_kernel(oribi_op op, uint32_t dtype, oribi_acts acts) {
  size_t n;
  const oribi_kernel *kernels = oribi_kernels(&n), *found = NULL;
  for (size_t i = 0; i < n; i++) {
    const oribi_kernel *k = kernels + i;
    const int fits = k->op == op && k->dtype == dtype && (acts == ORIBI_ACTS_NONE || k->acts == acts);
    if (fits && cpu_runs(k) && (!found || k->isa > found->isa)) found = k;
  }
  if (!found) {
    fprintf(stderr, "bench: the table has no kernel of operation %d, format %u, layout %d\n", (int)op, dtype, (int)acts);
    exit(1);
  }
  return found;
}

void report(result r) {
  const double gb = r.n_bytes / r.seconds * 1e-9, gmac = r.n_macs / r.seconds * 1e-9;
  const double of_bytes = gb * 1e9 / limit_bytes(r.level), of_macs = r.n_macs > 0 ? gmac * 1e9 / limit_macs(r.kernel) : 0;
  const double share = of_bytes > of_macs ? of_bytes : of_macs;
  if (as_json) {
    printf("%s\n {\"kernel\": \"%s\", \"case\": \"%s\", \"microseconds\": %.4f, \"gb_per_second\": %.3f, "
           "\"gmac_per_second\": %.3f, \"share_of_limit\": %.4f}",
           n_reported ? "," : "", r.kernel->name, r.what, r.seconds * 1e6, gb, gmac, share);
  } else {
    printf("%-36s %-16s %10.2f %8.1f %8.1f %6.0f %%\n", r.kernel->name, r.what, r.seconds * 1e6, gb, gmac, share * 100);
  }
  fflush(stdout);
  n_reported++;
}

/* What stands for the limits of one thread. */
static void print_limits(void) {
  fprintf(stderr, "one thread reads L2 %.1f, L3 %.1f, DRAM %.1f GB/s\n", limit_bytes(LEVEL_L2) * 1e-9,
          limit_bytes(LEVEL_L3) * 1e-9, limit_bytes(LEVEL_DRAM) * 1e-9);
}

static void bench(const oribi_kernel *kernel) {
  if (kernel->op == ORIBI_OP_PROBE_READ || kernel->op == ORIBI_OP_PROBE_MACS) return; /* the limits themselves */
  if (!bench_weights(kernel) && !bench_rows(kernel) && !bench_attention(kernel)) {
    fprintf(stderr, "bench: no bench for %s\n", kernel->name);
    exit(1);
  }
}

int main(int argc, char **argv) {
  const char *part = "";
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--json") == 0) {
      as_json = 1;
    } else {
      part = argv[i];
    }
  }
  measure_limits();
  print_limits();
  if (as_json) printf("[");
  else printf("%-36s %-16s %10s %8s %8s %8s\n", "kernel", "case", "us", "GB/s", "GMAC/s", "of limit");
  size_t n;
  const oribi_kernel *kernels = oribi_kernels(&n);
  for (size_t i = 0; i < n; i++) {
    if (strstr(kernels[i].name, part) && cpu_runs(kernels + i)) bench(kernels + i);
  }
  if (as_json) printf("\n]\n");
  if (n_reported == 0) fprintf(stderr, "bench: this CPU runs no kernel whose name contains \"%s\"\n", part);
  return n_reported == 0;
}
