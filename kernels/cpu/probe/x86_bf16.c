/* Probe for AVX-512 with BF16: multiply-adds of bfloat16 pairs, two to a 32-bit lane. */
#include <immintrin.h>

#include "probe.h"

void oribi_probe_macs_bf16_avx512bf16(const void *);
void oribi_probe_macs_bf16_avx512bf16(const void *args) {
  const oribi_probe_args *p = args;
  __m512bh a[3], b[4];
  __m512 acc[3][4] = {0};
  for (int i = 0; i < 3; i++) a[i] = (__m512bh)_mm512_loadu_si512(p->data + 64 * i);
  for (int i = 0; i < 4; i++) b[i] = (__m512bh)_mm512_loadu_si512(p->data + 192 + 64 * i);
  PROBE_TILE(3, 4, _mm512_dpbf16_ps)
  float lanes[192];
  for (int i = 0; i < 12; i++) _mm512_storeu_ps(lanes + 16 * i, acc[i / 4][i % 4]);
  probe_report(p, PROBE_STEPS * 384, probe_sum_f32(lanes, 192));
}
