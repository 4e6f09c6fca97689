/* harness.h - what the checks of the CUDA kernels share. They run on the emulated machine (kernels/cuda/host) and compare with
 * the scalar oracle of the CPU or with sums in float64. */
#ifndef ORIBI_TEST_CUDA_HARNESS_H
#define ORIBI_TEST_CUDA_HARNESS_H

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../../kernels/cpu/packed.h"
#include "../../kernels/cuda/host/oribi_cuda_emulated.h"
#include "../../kernels/cuda/oribi_cuda.h"

extern int n_passed, n_failed;

/* Counts a check; the text says what was compared. */
inline void check(bool ok, const std::string &what) {
  ok ? n_passed++ : n_failed++;
  if (!ok) printf("FAILED: %s\n", what.c_str());
}

/* n objects of memory aligned as a GPU's is, that ends with the last of them as far as alignment allows. */
template <class T>
class device {
 public:
  explicit device(size_t n, int fill = 0xff) : length(n) {
    start = static_cast<T *>(aligned_alloc(256, (n * sizeof(T) + 255) / 256 * 256 + 256));
    if (!start) abort();
    memset((void *)start, fill, n * sizeof(T));
  }
  explicit device(const std::vector<T> &from) : device(from.size()) {
    if (!from.empty()) memcpy((void *)start, from.data(), from.size() * sizeof(T));
  }
  ~device() { free(start); }
  device(const device &) = delete;
  device &operator=(const device &) = delete;
  T *at(size_t i = 0) const { return start + i; }
  T &operator[](size_t i) const { return start[i]; }
  size_t size() const { return length; }

 private:
  size_t length;
  T *start;
};

uint64_t random_bits();
float random_float(); /* -1..1 */
std::vector<float> random_floats(size_t n);

template <class Args>
void launch(const std::string &name, const oribi_cuda_launch &l, const Args &args) {
  const int status = oribi_cuda_emulated_launch(name.c_str(), l.grid, l.block, l.shared_bytes, &args, sizeof args);
  if (status != ORIBI_CUDA_EMULATED_OK) check(false, name + ": status " + std::to_string(status));
}

/* Runs with threads and blocks in one order, then in the other. */
template <class F>
void in_both_orders(F f) {
  for (int reversed = 0; reversed < 2; reversed++) {
    oribi_cuda_emulated_reverse(reversed);
    f();
  }
  oribi_cuda_emulated_reverse(0);
}

inline bool same_bits(const float *a, const float *b, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (memcmp(a + i, b + i, sizeof *a) != 0 && !(a[i] != a[i] && b[i] != b[i])) return false;
  }
  return true;
}

/* ---- activations ---- */

struct acts_buffer {
  device<uint8_t> hi, lo;
  device<float> sums;
  uint32_t capacity, k;
  bool both;

  acts_buffer(uint32_t n_rows, uint32_t k, bool both);
  oribi_cuda_acts args() const;
  /* Input i of a row as a product reads it. */
  double value(uint32_t row, uint32_t i) const;
  /* Fill by the definition, not by a kernel. */
  void fill(const std::vector<float> &x, uint32_t n_rows);
  /* Whether the planes and sums of a row are those of x. */
  bool holds(uint32_t row, const float *x) const;
  /* Whether the planes and sums of the first rows are those of other acts of the same shape, to the bit. */
  bool same_as(const acts_buffer &other, uint32_t n_rows) const;
};

/* ---- kernels of the CPU ---- */

const oribi_kernel *oracle(oribi_op op, uint32_t dtype, oribi_acts acts);

struct weight_format {
  const char *name;
  uint32_t dtype;
  const packed_format *codes; /* NULL: floats */
};
extern const std::vector<weight_format> weight_formats;
uint32_t block_len(const weight_format &f);

/* Packed panels of random weights, n_rows rows; scales are of the size that models have. */
struct panels {
  weight_format format;
  uint32_t n_rows, k, n_panels;
  size_t panel_bytes;
  device<uint8_t> bytes;

  panels(const weight_format &format, uint32_t n_rows, uint32_t k);
  const uint8_t *panel(uint32_t i) const { return bytes.at(i * panel_bytes); }
  /* Scale times code, and minimum, of a weight. */
  void weight(uint32_t row, uint32_t i, double *value, double *minimum) const;
};

/* ---- the checks ---- */

void check_matmul();
void check_rows();
void check_tops();
void check_attention();
void check_machine();

#endif
