/* Probe for AVX-VNNI: 8-bit multiply-adds, four to a 32-bit lane. */
#include <immintrin.h>

#include "probe.h"

void oribi_probe_macs_planes_avxvnni(const void *);
void oribi_probe_macs_planes_avxvnni(const void *args) {
  const oribi_probe_args *p = args;
  __m256i a[2], b[5], acc[2][5] = {0};
  for (int i = 0; i < 2; i++) a[i] = _mm256_loadu_si256((const __m256i *)(const void *)p->data + i);
  for (int i = 0; i < 5; i++) b[i] = _mm256_loadu_si256((const __m256i *)(const void *)p->data + 2 + i);
  PROBE_TILE(2, 5, _mm256_dpbusd_avx_epi32)
  int32_t lanes[80];
  for (int i = 0; i < 10; i++) _mm256_storeu_si256((void *)(lanes + 8 * i), acc[i / 5][i % 5]);
  probe_report(p, PROBE_STEPS * 320, probe_sum_i32(lanes, 80));
}
