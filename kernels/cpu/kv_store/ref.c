/* ref.c - the oracle: body.h on scalar lanes; and the sizes of pages. */
#include "../simd/v16_scalar.h"
#include "body.h"

static int is_cache_format(uint32_t dtype) { return dtype == ORIBI_F16 || dtype == ORIBI_Q8_0 || dtype == ORIBI_Q4_0; }

size_t oribi_key_page_bytes(uint32_t dtype, uint32_t head_dim) {
  const page_shape s = {dtype, head_dim};
  return is_cache_format(dtype) ? key_code_bytes(s) + scale_bytes(s) : 0;
}

size_t oribi_value_page_bytes(uint32_t dtype, uint32_t head_dim) {
  const page_shape s = {dtype, head_dim};
  return is_cache_format(dtype) ? value_code_bytes(s) + scale_bytes(s) : 0;
}
