/* pack - up to 16 rows of file blocks to one packed panel (see packed.h). Codes are only moved; see read.h for scales. */
#include "read.h"

/* The inverse of packed_bits. The four inputs of a step are moved at once, as the 32-bit lane that they share. */
ORIBI_INLINE void store_bits(uint8_t *lines, int n_bits, int down, const block_codes rows[ROWS], int first) {
  const uint32_t mask = ((1u << n_bits) - 1) * 0x01010101u;
  const int per_byte = 8 / n_bits;
  for (int line = 0; line < n_bits; line++) {
    for (int row = 0; row < ROWS; row++) {
      uint32_t lane = 0;
      for (int i = 0; i < per_byte; i++) {
        const int step = n_bits == 4 ? line + 4 * i : line * per_byte + i;
        uint32_t four;
        memcpy(&four, rows[row].code + first + 4 * step, sizeof four);
        lane |= (four >> down & mask) << (i * n_bits);
      }
      memcpy(lines + line * LINE + row * 4, &lane, sizeof lane);
    }
  }
}

#define PACK(name, id, ...)                   \
  void oribi_pack_##name##_ref(const void *); \
  void oribi_pack_##name##_ref(const void *args) { pack_codes(args, format_##name, id, read_##name); }
PACKED_FORMATS(PACK)

/* ---- float weights: the 16 rows' elements of one input, then the next input's ---- */

static inline void pack_floats(const oribi_pack_args *a, size_t elem_bytes) {
  for (size_t k = 0; k < a->k; k++) {
    uint8_t *dst = a->dst + k * ROWS * elem_bytes;
    memset(dst, 0, ROWS * elem_bytes);
    for (size_t row = 0; row < a->n_rows; row++) {
      memcpy(dst + row * elem_bytes, a->src + row * a->src_stride + k * elem_bytes, elem_bytes);
    }
  }
}

void oribi_pack_f32_ref(const void *);
void oribi_pack_f16_ref(const void *);
void oribi_pack_bf16_ref(const void *);

void oribi_pack_f32_ref(const void *args) { pack_floats(args, 4); }
void oribi_pack_f16_ref(const void *args) { pack_floats(args, 2); }
void oribi_pack_bf16_ref(const void *args) { pack_floats(args, 2); }

/* ---- sizes ---- */

/* Bytes of 16 rows of k inputs, or 0 for a part of a block or a size that does not fit. */
static size_t whole_blocks(size_t k, size_t block_len, size_t packed_bytes) {
  if (k % block_len != 0 || k / block_len > SIZE_MAX / packed_bytes) return 0;
  return k / block_len * packed_bytes;
}

size_t oribi_panel_bytes(uint32_t dtype, size_t k) {
  switch (dtype) {
#define PANEL_BYTES(name, id, ...) \
  case id: return whole_blocks(k, format_##name.block_len, format_##name.packed_bytes);
    PACKED_FORMATS(PANEL_BYTES)
    case ORIBI_F32: return whole_blocks(k, 1, ROWS * 4);
    case ORIBI_F16: return whole_blocks(k, 1, ROWS * 2);
    case ORIBI_BF16: return whole_blocks(k, 1, ROWS * 2);
    default: return 0;
  }
}

uint32_t oribi_matmul_few_rows(uint32_t dtype, uint32_t isa) {
  switch (dtype) {
#define FEW_ROWS(name, id, ...) \
  case id: return packed_few_rows(format_##name, isa);
    PACKED_FORMATS(FEW_ROWS)
    default: return 0;
  }
}
