/* The largest values of rows, against sorting. */
#include <algorithm>
#include <functional>

#include "harness.h"

/* Whether a value is before another in a row's order. */
static bool is_before(const float *x, uint32_t a, uint32_t b) {
  const bool a_is_nan = x[a] != x[a], b_is_nan = x[b] != x[b];
  if (a_is_nan || b_is_nan) return a_is_nan && b_is_nan ? a < b : a_is_nan;
  return x[a] != x[b] ? x[a] > x[b] : a < b;
}

static void check_top(uint32_t n_rows, uint32_t n_columns, uint32_t n, const std::string &what,
                      const std::function<float(uint32_t row, uint32_t column)> &value) {
  const uint32_t stride = (n_columns + 3) / 4 * 4 + 4, out_stride = n + 3;
  std::vector<float> values(n_rows * stride, 1e30f); /* what is behind a row is no part of it */
  for (uint32_t row = 0; row < n_rows; row++) {
    for (uint32_t i = 0; i < n_columns; i++) values[row * stride + i] = value(row, i);
  }
  const device<float> x(values);
  in_both_orders([&] {
    const device<uint8_t> found(n_rows * oribi_cuda_top_bytes(n_columns));
    const device<uint32_t> counters(std::vector<uint32_t>(n_rows, 0));
    const device<oribi_cuda_ranked> out(n_rows * out_stride);
    const oribi_cuda_top_args args = {x.at(), stride, n_rows, n_columns, n, out_stride, (uint64_t *)found.at(), counters.at(),
                                      out.at()};
    launch("oribi_top", oribi_cuda_top_launch(&args), args);
    bool ok = true;
    for (uint32_t row = 0; row < n_rows; row++) {
      const float *of = x.at(row * stride);
      std::vector<uint32_t> order(n_columns);
      for (uint32_t i = 0; i < n_columns; i++) order[i] = i;
      std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return is_before(of, a, b); });
      oribi_cuda_ranked *got = out.at(row * out_stride);
      std::sort(got, got + n, [&](const oribi_cuda_ranked &a, const oribi_cuda_ranked &b) {
        return is_before(of, std::min(a.place, n_columns - 1), std::min(b.place, n_columns - 1));
      });
      for (uint32_t i = 0; i < n; i++) ok &= got[i].place == order[i] && same_bits(&got[i].value, of + order[i], 1);
      for (uint32_t i = n; i < out_stride; i++) ok &= got[i].place == 0xffffffffu; /* as it was */
      ok &= counters[row] == 0;
    }
    check(ok, "the " + std::to_string(n) + " largest of " + std::to_string(n_columns) + " " + what);
  });
}

void check_tops() {
  const float infinity = INFINITY;
  const auto random = [](uint32_t, uint32_t) { return 8 * random_float(); };
  for (uint32_t n_columns : {1u, 2u, 255u, 257u, 8192u, 8193u, 20000u, 49152u}) {
    for (uint32_t n : {1u, 2u, 40u, 1024u}) {
      if (n <= n_columns && n <= oribi_cuda_top_most(n_columns)) check_top(n_columns < 9000 ? 3 : 1, n_columns, n, "random", random);
    }
  }
  check_top(2, 16390, 700, "equal", [](uint32_t, uint32_t) { return 0.5f; });
  check_top(1, 9000, 64, "of few values", [](uint32_t, uint32_t) { return (float)(random_bits() % 5); });
  check_top(1, 600, 300, "zeros", [](uint32_t, uint32_t i) { return i % 2 ? 0.0f : -0.0f; });
  check_top(1, 9000, 20, "ascending", [](uint32_t, uint32_t i) { return (float)i - 4500; });
  check_top(1, 9000, 20, "not numbers",
            [](uint32_t, uint32_t i) { return i % 1000 == 3 ? NAN : i % 1000 == 7 ? -NAN : (float)(i % 77); });
  check_top(1, 300, 20, "infinite", [&](uint32_t, uint32_t i) { return i < 290 ? -infinity : i == 295 ? infinity : -1e38f; });
  check(oribi_cuda_top_most(0) == 0 && oribi_cuda_top_most(8192) == 1024 && oribi_cuda_top_most(262144) == 256 &&
            oribi_cuda_top_most(8192 * 8192) == 1 && oribi_cuda_top_most(8192 * 8192 + 1) == 0,
        "how many there may be");
}
