/* unpack_row - one row of a packed panel back to float32, exactly the values of the file: s * q rounded, then + m rounded. */
#include "../packed.h"

static inline void unpack_blocks(const oribi_unpack_row_args *a, packed_format f) {
  const int row = (int)a->row, part_len = GROUP / f.n_scales;
  float *y = a->y;
  for (uint32_t b = 0; b < a->k / f.block_len; b++) {
    const uint8_t *block = a->panel + (size_t)b * f.packed_bytes;
    for (int g = 0; g < f.n_groups; g++, y += GROUP) {
      const uint8_t *group = block + f.groups_at + g * f.group_bytes;
      for (int k = 0; k < GROUP; k += part_len) {
        const packed_scales scales = packed_scales_of(f, block, group, k / part_len, row);
        for (int i = k; i < k + part_len; i++) y[i] = scales.s * (float)packed_code(f, group, row, i);
        for (int i = k; i < k + part_len && packed_has_min(f); i++) y[i] += scales.m;
      }
    }
  }
}

#define UNPACK_ROW(name, ...)                       \
  void oribi_unpack_row_##name##_ref(const void *); \
  void oribi_unpack_row_##name##_ref(const void *args) { unpack_blocks(args, format_##name); }
PACKED_FORMATS(UNPACK_ROW)

void oribi_unpack_row_f32_ref(const void *);
void oribi_unpack_row_f16_ref(const void *);
void oribi_unpack_row_bf16_ref(const void *);

void oribi_unpack_row_f32_ref(const void *args) {
  const oribi_unpack_row_args *a = args;
  for (size_t k = 0; k < a->k; k++) a->y[k] = load_f32(a->panel + 4 * (k * ROWS + a->row));
}

void oribi_unpack_row_f16_ref(const void *args) {
  const oribi_unpack_row_args *a = args;
  for (size_t k = 0; k < a->k; k++) a->y[k] = f32_of_f16(load_u16(a->panel + 2 * (k * ROWS + a->row)));
}

void oribi_unpack_row_bf16_ref(const void *args) {
  const oribi_unpack_row_args *a = args;
  for (size_t k = 0; k < a->k; k++) a->y[k] = f32_of_bf16(load_u16(a->panel + 2 * (k * ROWS + a->row)));
}
