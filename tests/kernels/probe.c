/* The probes do the work that they report: sums of known data. */
#include "harness.h"

/* The first multiple of 64 bytes within a block that has 64 bytes more than needed. */
static uint8_t *aligned(uint8_t *block) { return block + (64 - (uintptr_t)block % 64) % 64; }

static void test_read(const oribi_kernel *kernel) {
  const size_t n_bytes = 3 * ORIBI_PROBE_BYTES;
  uint8_t *block = random_bytes(n_bytes + 64), *data = aligned(block);
  for (uint64_t n_rounds = 0; n_rounds < 4; n_rounds++) {
    uint32_t want = 0;
    for (size_t i = 0; i < n_bytes; i += 4) {
      uint32_t word;
      memcpy(&word, data + i, 4);
      want += (uint32_t)n_rounds * word;
    }
    uint64_t n_done = 1;
    double got = 0.5;
    const oribi_probe_args args = {
        .data = data, .n_bytes = n_bytes, .n_rounds = n_rounds, .n_done = &n_done, .result = &got,
        .prefetch = n_rounds % 2 == 0};
    kernel->fn(&args);
    check(got == (double)(int32_t)want && n_done == n_rounds * n_bytes, kernel->name);
  }
  free(block);
}

/* Operands that are all 1 in the kernel's number format. */
static void fill_ones(uint8_t *data, oribi_acts acts) {
  const float one = 1;
  const uint16_t one16 = acts == ORIBI_ACTS_BF16 ? 0x3f80 : 1;
  for (size_t i = 0; i < ORIBI_PROBE_BYTES; i += 4) {
    if (acts == ORIBI_ACTS_F32) {
      memcpy(data + i, &one, 4);
    } else if (acts == ORIBI_ACTS_PLANES) {
      memset(data + i, 1, 4);
    } else {
      memcpy(data + i, &one16, 2);
      memcpy(data + i + 2, &one16, 2);
    }
  }
}

static void test_macs(const oribi_kernel *kernel) {
  uint8_t *block = random_bytes(ORIBI_PROBE_BYTES + 64), *data = aligned(block);
  fill_ones(data, kernel->acts);
  for (uint64_t n_rounds = 0; n_rounds < 3; n_rounds++) {
    uint64_t n_done = 1;
    double got = 0.5;
    const oribi_probe_args args = {.data = data, .n_rounds = n_rounds, .n_done = &n_done, .result = &got};
    kernel->fn(&args);
    check(got == (double)n_done && (n_done > 0) == (n_rounds > 0), kernel->name);
  }
  free(block);
}

void check_probes(void) {
  for_each_kernel(ORIBI_OP_PROBE_READ, test_read);
  for_each_kernel(ORIBI_OP_PROBE_MACS, test_macs);
}
