/* limits.c - what one thread of this machine does at best, by the probes of the kernel table. */
#include <math.h>

#include "bench.h"

const size_t level_bytes[N_LEVELS] = {1 << 20, 24 << 20, 512 << 20};

enum { MAX_PROBES = 32 };

static double bandwidths[N_LEVELS];
static const oribi_kernel *mac_probes[MAX_PROBES];
static double mac_speeds[MAX_PROBES];
static int n_probes;

/* What a probe does in a second, n_rounds long; of reading the better of both ways. */
static double speed(const oribi_kernel *probe, const uint8_t *data, size_t n_bytes, uint64_t n_rounds) {
  uint64_t n_done;
  double unused;
  oribi_probe_args args = {
      .data = data, .n_bytes = n_bytes, .n_rounds = n_rounds, .n_done = &n_done, .result = &unused};
  double seconds = best_time(probe, &args);
  if (probe->op == ORIBI_OP_PROBE_READ) {
    args.prefetch = 1;
    seconds = fmin(seconds, best_time(probe, &args));
  }
  return (double)n_done / seconds;
}

void measure_limits(void) {
  uint8_t *data = buffer(level_bytes[LEVEL_DRAM]);
  memset(data, 0x3c, level_bytes[LEVEL_DRAM]);
  const oribi_kernel *read = best_kernel(ORIBI_OP_PROBE_READ, ORIBI_ANY_DTYPE, ORIBI_ACTS_NONE);
  for (int i = 0; i < N_LEVELS; i++) {
    bandwidths[i] = speed(read, data, level_bytes[i], i == LEVEL_L2 ? 100 : i == LEVEL_L3 ? 2 : 1);
  }
  size_t n;
  const oribi_kernel *kernels = oribi_kernels(&n);
  for (size_t i = 0; i < n && n_probes < MAX_PROBES; i++) {
    if (kernels[i].op != ORIBI_OP_PROBE_MACS || !cpu_runs(kernels + i)) continue;
    mac_probes[n_probes] = kernels + i;
    mac_speeds[n_probes++] = speed(kernels + i, data, 0, 500);
  }
  free(data);
}

double limit_bytes(level level) { return bandwidths[level]; }

/* The fastest unit for the kernel's operands among those that its instruction set has. A code times a 16-bit activation takes
 * two multiply-adds of bytes. */
double limit_macs(const oribi_kernel *kernel) {
  const oribi_acts unit = kernel->acts == ORIBI_ACTS_NONE ? ORIBI_ACTS_F32 : kernel->acts;
  double best = 0;
  for (int i = 0; i < n_probes; i++) {
    const int has_unit = mac_probes[i]->acts == unit, has_isa = mac_probes[i]->isa <= kernel->isa;
    if (has_unit && has_isa && mac_speeds[i] > best) best = mac_speeds[i];
  }
  return unit == ORIBI_ACTS_PLANES ? best / 2 : best;
}
