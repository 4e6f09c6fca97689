/* cpu_isa.h - the ORIBI_ISA_* bits that this CPU and operating system can run; for the tests and benches in C. */
#ifndef ORIBI_TESTS_CPU_ISA_H
#define ORIBI_TESTS_CPU_ISA_H

#include <stdint.h>

#include "../../kernels/oribi_kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
long syscall(long number, ...);

/* AMX tile, int8 and bf16, with the operating system's permission for this process. */
static inline int cpu_has_amx(void) {
#if defined(__linux__)
  unsigned a, b, c, d;
  const unsigned amx = 1u << 22 | 1u << 24 | 1u << 25;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & amx) != amx) return 0;
  return syscall(SYS_arch_prctl, 0x1023L /* ARCH_REQ_XCOMP_PERM */, 18L /* tile data */) == 0;
#else
  return 0;
#endif
}

static inline uint32_t cpu_isa(void) {
  unsigned a, b, c, d;
  uint32_t isa = 0;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) return 0;
  isa |= ORIBI_ISA_AVX2;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4)) isa |= ORIBI_ISA_AVXVNNI;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vnni")) {
    return isa;
  }
  isa |= ORIBI_ISA_AVX512;
  if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512vbmi")) return isa;
  isa |= ORIBI_ISA_AVX512BF16;
  if (cpu_has_amx()) isa |= ORIBI_ISA_AMX;
  return isa;
}
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

static inline uint32_t cpu_isa(void) {
  const unsigned long has = getauxval(AT_HWCAP), has2 = getauxval(AT_HWCAP2);
  uint32_t isa = ORIBI_ISA_NEON;
  if (has & 1ul << 20) isa |= ORIBI_ISA_DOTPROD;              /* HWCAP_ASIMDDP */
  if (isa & ORIBI_ISA_DOTPROD && has2 & 1ul << 13) isa |= ORIBI_ISA_I8MM; /* HWCAP2_I8MM */
  return isa;
}
#else
static inline uint32_t cpu_isa(void) { return 0; }
#endif

/* Whether this CPU and operating system can run a kernel. */
static inline int cpu_runs(const oribi_kernel *kernel) {
  static uint32_t available = ~0u;
  if (available == ~0u) available = cpu_isa();
  return (kernel->isa & ~available) == 0;
}

#endif
