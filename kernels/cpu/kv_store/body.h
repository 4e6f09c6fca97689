/* Writes one position of a key/value page, rounded to float16 (to nearest, ties to even; too large is infinity; a NaN keeps
 * its sign and upper payload and becomes quiet). The key goes to one lane of its 16 positions, the value to its own row,
 * whose padding is written as zero. No other slot is touched. */
#include "../../oribi_kernels.h"

void V16_FN(oribi_kv_store_f16)(const void *args);

void V16_FN(oribi_kv_store_f16)(const void *args) {
  const oribi_kv_store_args *a = args;
  const size_t padded = (a->head_dim + 15u) / 16u * 16u;
  uint16_t *key = a->key_page + (size_t)(a->slot / 16) * a->head_dim * 16 + a->slot % 16;
  uint16_t *value = a->value_page + a->slot * padded;
  for (uint32_t d = 0; d < a->head_dim; d += 16) {
    const uint32_t n = a->head_dim - d < 16 ? a->head_dim - d : 16;
    uint16_t halves[16];
    v16_store_f16(halves, v16_load_n(a->key + d, n));
    for (uint32_t i = 0; i < n; i++) key[(size_t)(d + i) * 16] = halves[i];
    v16_store_f16(value + d, v16_load_n(a->value + d, n));
  }
}
