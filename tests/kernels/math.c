/* exp and tanh of every instruction set, on a sample of the floats; with ORIBI_TEST_ALL=1 on every 251st. */
#include "harness.h"

uint64_t check_math_ref(uint64_t step);
uint64_t check_math_avx2(uint64_t step);
uint64_t check_math_avx512(uint64_t step);
uint64_t check_math_neon(uint64_t step);

void check_math(void) {
  const uint64_t sample = 4099;
  const uint64_t hash = check_math_ref(sample);
#if defined(__x86_64__)
  if (cpu_isa() & ORIBI_ISA_AVX2) check(check_math_avx2(sample) == hash, "exp and tanh: avx2 equals scalar");
  if (cpu_isa() & ORIBI_ISA_AVX512) check(check_math_avx512(sample) == hash, "exp and tanh: avx512 equals scalar");
  /* One of them on a dense sample: the lanes are the same bits. All floats (step 1) take some twenty minutes here. */
  const uint64_t dense = 251;
  const char *all = getenv("ORIBI_TEST_ALL");
  if (all && strcmp(all, "1") == 0) {
    if (cpu_isa() & ORIBI_ISA_AVX512) {
      check_math_avx512(dense);
    } else if (cpu_isa() & ORIBI_ISA_AVX2) {
      check_math_avx2(dense);
    }
  }
#elif defined(__aarch64__)
  check(check_math_neon(sample) == hash, "exp and tanh: neon equals scalar");
#else
  (void)hash;
#endif
}
