/* Every kernel of the table at edge shapes on exactly sized heap buffers, meant to be built with sanitizers: see
 * scripts/test-kernels-sanitized. Results are compared with the scalar kernel's, to the bit. */
#include "harness.h"

int n_passed, n_failed;
static int n_called, n_skipped;

const oribi_kernel *scalar_kernel(oribi_op op, uint32_t dtype, oribi_acts acts) {
  size_t n;
  const oribi_kernel *kernels = oribi_kernels(&n);
  for (size_t i = 0; i < n; i++) {
    const oribi_kernel *k = kernels + i;
    if (k->op == op && k->dtype == dtype && k->isa == ORIBI_ISA_SCALAR && (acts == ORIBI_ACTS_NONE || k->acts == acts)) return k;
  }
  printf("FAILED: no scalar kernel for operation %d, format %u\n", (int)op, dtype);
  exit(1);
}

void for_each_kernel(oribi_op op, void (*test)(const oribi_kernel *)) {
  size_t n;
  const oribi_kernel *kernels = oribi_kernels(&n);
  for (size_t i = 0; i < n; i++) {
    if (kernels[i].op != op) continue;
    if (cpu_runs(kernels + i)) {
      n_called++;
      test(kernels + i);
    } else {
      n_skipped++;
      printf("NOT RUN, this CPU cannot: %s\n", kernels[i].name);
    }
  }
}

int main(void) {
  size_t n_kernels;
  oribi_kernels(&n_kernels);
  check_weights();
  check_rows();
  check_attention();
  check_probes();
  check_math();
  if ((size_t)(n_called + n_skipped) != n_kernels) {
    printf("FAILED: %d of %zu kernels have a check\n", n_called + n_skipped, n_kernels);
    n_failed++;
  }
  printf("%d kernels checked, %d not run: %d passed, %d failed\n", n_called, n_skipped, n_passed, n_failed);
  return n_failed != 0;
}
