/* harness.cpp - buffers and oracles. */
#include "harness.h"

int n_passed, n_failed;

uint64_t random_bits() {
  static uint64_t state = 1;
  state += 0x9e3779b97f4a7c15u;
  uint64_t z = (state ^ state >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

float random_float() { return (float)(random_bits() >> 40) / (float)(1 << 23) - 1.0f; }

std::vector<float> random_floats(size_t n) {
  std::vector<float> x(n);
  for (float &v : x) v = random_float();
  return x;
}

/* ---- activations ---- */

static float float_of_bf16(uint16_t h) { return f32_of_bf16(h); }

static uint16_t bf16_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if (x != x) return 0x7fff;
  const uint32_t below = bits & 0xffff, up = below > 0x8000 || (below == 0x8000 && (bits >> 16 & 1));
  return (uint16_t)((bits >> 16) + up);
}

acts_buffer::acts_buffer(uint32_t n_rows, uint32_t k, bool both)
    : hi(oribi_cuda_plane_bytes(n_rows, k)),
      lo(both ? oribi_cuda_plane_bytes(n_rows, k) : 0),
      sums(oribi_cuda_sums_bytes(n_rows, k) / sizeof(float)),
      capacity((n_rows + 7) / 8 * 8),
      k(k),
      both(both) {}

oribi_cuda_acts acts_buffer::args() const { return {hi.at(), both ? lo.at() : nullptr, sums.at(), k, capacity}; }

/* Where the definition in oribi_cuda.h puts input i of a row, in bytes of a plane. */
static size_t byte_of(uint32_t k, uint32_t row, uint32_t i) {
  const size_t unit = (size_t)(row / 8) * ((k + 31) / 32) + i / 32;
  const uint32_t in_group = i % 32, half = in_group / 16, t = in_group % 16 / 4;
  return unit * 512 + 16 * (4 * (row % 8) + t) + 8 * half + 2 * (i % 4);
}

static uint16_t half_at(const device<uint8_t> &plane, size_t byte) {
  uint16_t h;
  memcpy(&h, plane.at(byte), sizeof h);
  return h;
}

double acts_buffer::value(uint32_t row, uint32_t i) const {
  const size_t at = byte_of(k, row, i);
  return (double)float_of_bf16(half_at(hi, at)) + (both ? (double)float_of_bf16(half_at(lo, at)) : 0.0);
}

void acts_buffer::fill(const std::vector<float> &x, uint32_t n_rows) {
  const uint32_t padded = (k + 31) / 32 * 32;
  for (uint32_t row = 0; row < n_rows; row++) {
    for (uint32_t i = 0; i < padded; i++) {
      const float v = i < k ? x[(size_t)row * k + i] : 0.0f;
      const uint16_t h = bf16_of(v), l = bf16_of(v - float_of_bf16(h));
      memcpy(hi.at(byte_of(k, row, i)), &h, sizeof h);
      if (both) memcpy(lo.at(byte_of(k, row, i)), &l, sizeof l);
    }
    for (uint32_t half = 0; half < padded / 16; half++) {
      double sum = 0;
      for (uint32_t i = 0; i < 16; i++) sum += value(row, half * 16 + i);
      const size_t unit = (size_t)(row / 8) * (padded / 32) + half / 2;
      sums[(unit * 2 + half % 2) * 8 + row % 8] = (float)sum;
    }
  }
}

bool acts_buffer::holds(uint32_t row, const float *x) const {
  const uint32_t padded = (k + 31) / 32 * 32;
  for (uint32_t i = 0; i < padded; i++) {
    const float v = i < k ? x[i] : 0.0f;
    const uint16_t h = bf16_of(v), l = bf16_of(v - float_of_bf16(h));
    if (half_at(hi, byte_of(k, row, i)) != h) return false;
    if (both && half_at(lo, byte_of(k, row, i)) != l) return false;
  }
  for (uint32_t half = 0; half < padded / 16; half++) {
    double sum = 0, size = 0;
    for (uint32_t i = 0; i < 16; i++) {
      sum += value(row, half * 16 + i);
      size += fabs(value(row, half * 16 + i));
    }
    const size_t unit = (size_t)(row / 8) * (padded / 32) + half / 2;
    if (!(fabs(sums[(unit * 2 + half % 2) * 8 + row % 8] - sum) <= size * 4e-7)) return false;
  }
  return true;
}

bool acts_buffer::same_as(const acts_buffer &other, uint32_t n_rows) const {
  for (uint32_t row = 0; row < n_rows; row++) {
    for (uint32_t i = 0; i < (k + 31) / 32 * 32; i++) {
      const size_t at = byte_of(k, row, i);
      if (half_at(hi, at) != half_at(other.hi, at) || (both && half_at(lo, at) != half_at(other.lo, at))) return false;
      const size_t sum = ((size_t)(row / 8) * ((k + 31) / 32) + i / 32) * 16 + i % 32 / 16 * 8 + row % 8;
      if (!same_bits(sums.at(sum), other.sums.at(sum), 1)) return false;
    }
  }
  return true;
}

/* ---- kernels of the CPU ---- */

const oribi_kernel *oracle(oribi_op op, uint32_t dtype, oribi_acts acts) {
  size_t n;
  const oribi_kernel *all = oribi_kernels(&n);
  for (size_t i = 0; i < n; i++) {
    const oribi_kernel &k = all[i];
    const bool fits = k.op == op && k.dtype == dtype && k.isa == ORIBI_ISA_SCALAR;
    if (fits && (acts == ORIBI_ACTS_NONE || k.acts == acts)) return &k;
  }
  printf("no oracle for operation %d of type %u\n", (int)op, dtype);
  abort();
}

static const packed_format *codes_of(const packed_format &f) { return &f; }

#define FORMAT(name, id, ...) {#name, id, codes_of(format_##name)},
const std::vector<weight_format> weight_formats = {
    {"f32", ORIBI_F32, nullptr}, {"f16", ORIBI_F16, nullptr}, {"bf16", ORIBI_BF16, nullptr}, PACKED_FORMATS(FORMAT)};
#undef FORMAT

uint32_t block_len(const weight_format &f) { return f.codes ? f.codes->block_len : 1; }

/* A power of two times something near 1. */
static float random_scale() { return (1.5f + random_float() / 2) * ldexpf(1, -6 - (int)(random_bits() % 3)); }

static uint16_t f16_of(float x) {
  for (uint32_t h = 0; h < 0x7c00; h++) {
    if (f32_of_f16((uint16_t)h) >= x) return (uint16_t)h;
  }
  return 0x7bff;
}

/* In place of the random bits of a block's scales, numbers that models have. */
static void set_scales(const packed_format &f, uint8_t *block) {
  static const std::vector<uint16_t> halves = [] {
    std::vector<uint16_t> some(64);
    for (uint16_t &h : some) h = f16_of(random_scale());
    return some;
  }();
  const bool is_float = f.scale == SCALE_F32 || f.scale == SCALE_F32_I8 || f.scale == SCALE_F32_I8_MIN ||
                        f.scale == SCALE_F32_NIBBLE;
  for (int row = 0; row < ROWS; row++) {
    const float d = random_scale() * (random_bits() % 2 ? 1.0f : -1.0f);
    const uint16_t h = halves[random_bits() % 64] | (random_bits() % 2 ? 0x8000 : 0), m = halves[random_bits() % 64];
    if (f.scale == SCALE_E8M0) {
      block[row] = (uint8_t)(116 + random_bits() % 8);
    } else if (is_float) {
      memcpy(block + 4 * row, &d, sizeof d);
    } else {
      memcpy(block + 2 * row, &h, sizeof h);
      if (packed_has_min(f)) memcpy(block + 2 * ROWS + 2 * row, &m, sizeof m);
    }
  }
}

panels::panels(const weight_format &format, uint32_t n_rows, uint32_t k)
    : format(format),
      n_rows(n_rows),
      k(k),
      n_panels((n_rows + 15) / 16),
      panel_bytes(oribi_panel_bytes(format.dtype, k)),
      bytes(n_panels * panel_bytes) {
  const oribi_kernel *pack = oracle(ORIBI_OP_PACK, format.dtype, ORIBI_ACTS_NONE);
  const size_t row_bytes = format.codes ? (size_t)k / format.codes->block_len * format.codes->block_bytes
                                        : (size_t)k * (format.dtype == ORIBI_F32 ? 4 : 2);
  std::vector<uint8_t> rows(16 * row_bytes);
  for (uint32_t p = 0; p < n_panels; p++) {
    for (size_t i = 0; i < rows.size(); i++) rows[i] = (uint8_t)random_bits();
    if (!format.codes) {
      for (size_t i = 0; i < 16 * (size_t)k; i++) {
        const float x = random_float() / 16;
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        const uint16_t h = format.dtype == ORIBI_BF16 ? (uint16_t)(bits >> 16) : (uint16_t)(0x2000 + bits % 0x0800);
        if (format.dtype == ORIBI_F32) {
          memcpy(&rows[4 * i], &x, 4);
        } else {
          memcpy(&rows[2 * i], &h, 2);
        }
      }
    }
    const uint32_t left = n_rows - p * 16;
    const oribi_pack_args args = {rows.data(), row_bytes, left < 16 ? left : 16, k, bytes.at(p * panel_bytes)};
    pack->fn(&args);
    for (uint32_t b = 0; format.codes && b < k / format.codes->block_len; b++) {
      set_scales(*format.codes, bytes.at(p * panel_bytes + (size_t)b * format.codes->packed_bytes));
    }
  }
}

void panels::weight(uint32_t row, uint32_t i, double *value, double *minimum) const {
  const uint8_t *at = panel(row / 16);
  const int r = (int)(row % 16);
  *minimum = 0;
  if (format.codes) {
    const packed_format f = *format.codes;
    const uint8_t *block = at + (size_t)(i / f.block_len) * f.packed_bytes;
    const uint8_t *group = block + f.groups_at + i % f.block_len / 32 * f.group_bytes;
    const packed_scales s = packed_scales_of(f, block, group, (int)(i % 32) * f.n_scales / 32, r);
    *value = (double)s.s * packed_code(f, group, r, (int)(i % 32));
    *minimum = s.m;
  } else if (format.dtype == ORIBI_F32) {
    *value = load_f32(at + 4 * ((size_t)i * 16 + r));
  } else {
    const uint16_t h = load_u16(at + 2 * ((size_t)i * 16 + r));
    *value = format.dtype == ORIBI_F16 ? f32_of_f16(h) : f32_of_bf16(h);
  }
}
