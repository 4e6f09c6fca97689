/* Probes in portable C: what the oracle's own code could reach. */
#include <string.h>

#include "probe.h"

void oribi_probe_read_ref(const void *);
void oribi_probe_read_ref(const void *args) {
  const oribi_probe_args *p = args;
  uint32_t sum = 0;
  for (uint64_t round = 0; round < p->n_rounds; round++) {
    for (size_t at = 0; at < p->n_bytes; at += 4) {
      uint32_t word;
      memcpy(&word, p->data + at, 4);
      sum += word;
    }
  }
  probe_report(p, p->n_bytes, (double)(int32_t)sum);
}

/* The operands move by an element from step to step: there is no product to take out of the loop. */
enum { REF_LANES = 16 };

void oribi_probe_macs_f32_ref(const void *);
void oribi_probe_macs_f32_ref(const void *args) {
  const oribi_probe_args *p = args;
  float x[2 * REF_LANES], acc[REF_LANES] = {0};
  memcpy(x, p->data, sizeof x);
  for (uint64_t step = 0; step < p->n_rounds * PROBE_STEPS; step++) {
    const float *y = x + step % REF_LANES;
    for (int i = 0; i < REF_LANES; i++) acc[i] += x[i] * y[i];
  }
  probe_report(p, PROBE_STEPS * REF_LANES, probe_sum_f32(acc, REF_LANES));
}

void oribi_probe_macs_i16_ref(const void *);
void oribi_probe_macs_i16_ref(const void *args) {
  const oribi_probe_args *p = args;
  int16_t x[2 * REF_LANES];
  uint32_t acc[REF_LANES] = {0};
  memcpy(x, p->data, sizeof x);
  for (uint64_t step = 0; step < p->n_rounds * PROBE_STEPS; step++) {
    const int16_t *y = x + step % REF_LANES;
    for (int i = 0; i < REF_LANES; i++) acc[i] += (uint32_t)(x[i] * y[i]);
  }
  probe_report(p, PROBE_STEPS * REF_LANES, probe_sum_i32((const int32_t *)acc, REF_LANES));
}
