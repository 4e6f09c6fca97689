/* Probes for AVX2: float32 multiply-add; 16-bit multiply-add in pairs, which takes two instructions. */
#include <immintrin.h>

#include "probe.h"

void oribi_probe_read_avx2(const void *);
void oribi_probe_read_avx2(const void *args) {
  const oribi_probe_args *p = args;
  __m256i sums[8] = {0};
  for (uint64_t round = 0; round < p->n_rounds; round++) {
    for (size_t at = 0; at < p->n_bytes; at += PROBE_RUN / 2) {
      const uint8_t *x = p->data + at;
      if (p->prefetch) {
        ORIBI_UNROLL for (int i = 0; i < 4; i++) _mm_prefetch((const char *)x + PROBE_AHEAD + 64 * i, _MM_HINT_T0);
      }
      ORIBI_UNROLL for (int i = 0; i < 8; i++) {
        sums[i] = _mm256_add_epi32(sums[i], _mm256_load_si256((const void *)(x + 32 * i)));
      }
    }
  }
  int32_t lanes[64];
  for (int i = 0; i < 8; i++) _mm256_storeu_si256((void *)(lanes + 8 * i), sums[i]);
  probe_report(p, p->n_bytes, probe_sum_i32(lanes, 64));
}

void oribi_probe_macs_f32_avx2(const void *);
void oribi_probe_macs_f32_avx2(const void *args) {
  const oribi_probe_args *p = args;
  __m256 a[2], b[5], acc[2][5] = {0};
  for (int i = 0; i < 2; i++) a[i] = _mm256_loadu_ps((const float *)(const void *)p->data + 8 * i);
  for (int i = 0; i < 5; i++) b[i] = _mm256_loadu_ps((const float *)(const void *)p->data + 16 + 8 * i);
#define MAC(acc, a, b) _mm256_fmadd_ps(a, b, acc)
  PROBE_TILE(2, 5, MAC)
#undef MAC
  float lanes[80];
  for (int i = 0; i < 10; i++) _mm256_storeu_ps(lanes + 8 * i, acc[i / 5][i % 5]);
  probe_report(p, PROBE_STEPS * 80, probe_sum_f32(lanes, 80));
}

ORIBI_INLINE __m256i mac_pairs(__m256i acc, __m256i a, __m256i b) {
  OPAQUE("x", a);
  return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
}

void oribi_probe_macs_pairs_avx2(const void *);
void oribi_probe_macs_pairs_avx2(const void *args) {
  const oribi_probe_args *p = args;
  __m256i a[2], b[4], acc[2][4] = {0};
  for (int i = 0; i < 2; i++) a[i] = _mm256_loadu_si256((const __m256i *)(const void *)p->data + i);
  for (int i = 0; i < 4; i++) b[i] = _mm256_loadu_si256((const __m256i *)(const void *)p->data + 2 + i);
  PROBE_TILE(2, 4, mac_pairs)
  int32_t lanes[64];
  for (int i = 0; i < 8; i++) _mm256_storeu_si256((void *)(lanes + 8 * i), acc[i / 4][i % 4]);
  probe_report(p, PROBE_STEPS * 128, probe_sum_i32(lanes, 64));
}
