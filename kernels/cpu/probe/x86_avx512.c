/* Probes for AVX-512: float32 multiply-add; 8-bit multiply-adds, four to a 32-bit lane. */
#include <immintrin.h>

#include "probe.h"

void oribi_probe_read_avx512(const void *);
void oribi_probe_read_avx512(const void *args) {
  const oribi_probe_args *p = args;
  __m512i sums[8] = {0};
  for (uint64_t round = 0; round < p->n_rounds; round++) {
    for (size_t at = 0; at < p->n_bytes; at += PROBE_RUN) {
      const uint8_t *x = p->data + at;
      if (p->prefetch) {
        ORIBI_UNROLL for (int i = 0; i < 8; i++) _mm_prefetch((const char *)x + PROBE_AHEAD + 64 * i, _MM_HINT_T0);
      }
      ORIBI_UNROLL for (int i = 0; i < 8; i++) sums[i] = _mm512_add_epi32(sums[i], _mm512_load_si512(x + 64 * i));
    }
  }
  int32_t lanes[128];
  for (int i = 0; i < 8; i++) _mm512_storeu_si512(lanes + 16 * i, sums[i]);
  probe_report(p, p->n_bytes, probe_sum_i32(lanes, 128));
}

void oribi_probe_macs_f32_avx512(const void *);
void oribi_probe_macs_f32_avx512(const void *args) {
  const oribi_probe_args *p = args;
  __m512 a[3], b[4], acc[3][4] = {0};
  for (int i = 0; i < 3; i++) a[i] = _mm512_loadu_ps(p->data + 64 * i);
  for (int i = 0; i < 4; i++) b[i] = _mm512_loadu_ps(p->data + 192 + 64 * i);
#define MAC(acc, a, b) _mm512_fmadd_ps(a, b, acc)
  PROBE_TILE(3, 4, MAC)
#undef MAC
  float lanes[192];
  for (int i = 0; i < 12; i++) _mm512_storeu_ps(lanes + 16 * i, acc[i / 4][i % 4]);
  probe_report(p, PROBE_STEPS * 192, probe_sum_f32(lanes, 192));
}

void oribi_probe_macs_planes_avx512(const void *);
void oribi_probe_macs_planes_avx512(const void *args) {
  const oribi_probe_args *p = args;
  __m512i a[3], b[4], acc[3][4] = {0};
  for (int i = 0; i < 3; i++) a[i] = _mm512_loadu_si512(p->data + 64 * i);
  for (int i = 0; i < 4; i++) b[i] = _mm512_loadu_si512(p->data + 192 + 64 * i);
  PROBE_TILE(3, 4, _mm512_dpbusd_epi32)
  int32_t lanes[192];
  for (int i = 0; i < 12; i++) _mm512_storeu_si512(lanes + 16 * i, acc[i / 4][i % 4]);
  probe_report(p, PROBE_STEPS * 768, probe_sum_i32(lanes, 192));
}
