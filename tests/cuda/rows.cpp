/* Norms, gates, soft cap, rotation tables and sums of squares: against the CPU's oracle where that is the same arithmetic, and
 * against float64. */
#include "harness.h"

static std::vector<double> rms_norm(const std::vector<double> &x, const float *weight, float eps) {
  double sum = 0;
  for (double v : x) sum += v * v;
  const double inv = 1 / sqrt(sum / (double)x.size() + (double)eps);
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); i++) y[i] = x[i] * inv * weight[i];
  return y;
}

static bool near(const float *y, const std::vector<double> &expected, double relative) {
  for (size_t i = 0; i < expected.size(); i++) {
    if (!(fabs(y[i] - expected[i]) <= relative * (fabs(expected[i]) + 0.05))) return false;
  }
  return true;
}

/* A norm of chosen rows after the sum with a product, with and without a norm of the product. */
static void check_norm(uint32_t n, bool both, bool with_product, bool with_post, bool chosen) {
  const std::string what = "norm of " + std::to_string(n);
  const uint32_t n_rows = 11, stride = (n + 15) / 16 * 16, first_out = 3;
  const std::vector<float> x0 = random_floats(n_rows * stride), product0 = random_floats(n_rows * stride);
  const device<float> product(product0), post(random_floats(n)), weight(random_floats(n));
  const device<uint32_t> rows(std::vector<uint32_t>{10, 0, 7, 3});
  std::vector<float> first;
  in_both_orders([&] {
    device<float> x(x0), out((n_rows + first_out) * stride);
    acts_buffer acts(n_rows + first_out, n, both);
    const uint32_t n_chosen = chosen ? 4 : n_rows;
    const oribi_cuda_norm_args args = {x.at(), stride, with_product ? product.at() : nullptr, stride,
                                       with_post ? post.at() : nullptr, weight.at(), chosen ? rows.at() : nullptr, n_chosen,
                                       n, 1e-5f, first_out, out.at(), stride, acts.args()};
    launch("oribi_norm", oribi_cuda_norm_launch(&args), args);
    bool ok = true;
    for (uint32_t i = 0; i < n_chosen; i++) {
      const uint32_t row = chosen ? rows[i] : i;
      std::vector<double> sum(&x0[row * stride], &x0[row * stride] + n);
      if (with_product) {
        std::vector<double> p(&product0[row * stride], &product0[row * stride] + n);
        if (with_post) p = rms_norm(p, post.at(), 1e-5f);
        for (uint32_t j = 0; j < n; j++) sum[j] += p[j];
      }
      const float *got = out.at((first_out + i) * stride);
      ok &= near(x.at(row * stride), sum, 1e-5) && near(got, rms_norm(sum, weight.at(), 1e-5f), 1e-5);
      ok &= acts.holds(first_out + i, got);
    }
    check(ok, what);
    std::vector<float> all(out.at(first_out * stride), out.at((first_out + n_chosen) * stride));
    if (first.empty()) first = all;
    bool same = true;
    for (uint32_t i = 0; i < n_chosen; i++) same &= same_bits(&first[i * stride], &all[i * stride], n);
    check(same, what + ", other order");
  });
}

static void check_glu(uint32_t n, uint32_t activation, bool both) {
  const uint32_t n_rows = 9, up = (n + 15) / 16 * 16, stride = 2 * up;
  std::vector<float> values = random_floats(n_rows * stride);
  for (float &v : values) v *= 20;
  const device<float> scratch(values);
  device<float> out(n_rows * up);
  acts_buffer acts(n_rows, n, both);
  const oribi_cuda_glu_args args = {scratch.at(), stride, up, n_rows, n, activation, out.at(), up, acts.args()};
  launch("oribi_glu", oribi_cuda_glu_launch(&args), args);
  const oribi_kernel *glu = oracle(ORIBI_OP_GLU, ORIBI_ANY_DTYPE, ORIBI_ACTS_NONE);
  bool ok = true;
  for (uint32_t row = 0; row < n_rows; row++) {
    std::vector<float> y(n);
    const oribi_glu_args of = {scratch.at(row * stride), scratch.at(row * stride + up), n, (oribi_activation)activation,
                               y.data()};
    glu->fn(&of);
    ok &= same_bits(y.data(), out.at(row * up), n) && acts.holds(row, y.data());
  }
  check(ok, "glu of " + std::to_string(n));
}

static void check_softcap(uint32_t n) {
  const uint32_t n_rows = 3, stride = (n + 3) / 4 * 4;
  std::vector<float> values = random_floats(n_rows * stride);
  for (float &v : values) v *= 100;
  device<float> x(values);
  const oribi_cuda_softcap_args args = {x.at(), stride, n_rows, n, 30.0f};
  launch("oribi_softcap", oribi_cuda_softcap_launch(&args), args);
  const oribi_kernel *softcap = oracle(ORIBI_OP_SOFTCAP, ORIBI_ANY_DTYPE, ORIBI_ACTS_NONE);
  bool ok = true;
  for (uint32_t row = 0; row < n_rows; row++) {
    std::vector<float> y(n);
    const oribi_map_args of = {&values[row * stride], nullptr, n, 30.0f, y.data()};
    softcap->fn(&of);
    ok &= same_bits(y.data(), x.at(row * stride), n);
    ok &= same_bits(&values[row * stride + n], x.at(row * stride + n), stride - n);
  }
  check(ok, "softcap of " + std::to_string(n));
}

static void check_probes(uint32_t n_words) {
  const uint32_t n_blocks = 3, threads = n_blocks * 256, n_rounds = 5;
  std::vector<uint32_t> words(n_words);
  uint32_t of_words = 0;
  for (uint32_t i = 0; i < n_words; i++) of_words ^= words[i] = i * 2654435761u;
  const device<uint32_t> data(words);
  device<uint32_t> results(threads);
  const oribi_cuda_probe_args args = {(const uint8_t *)data.at(), n_words * sizeof(uint32_t), n_rounds, 1.0f, results.at()};
  launch("oribi_probe_read", oribi_cuda_probe_launch(n_blocks), args);
  uint32_t mix = 0;
  for (uint32_t i = 0; i < threads; i++) mix ^= *results.at(i);
  check(mix == of_words, "probe of reading " + std::to_string(n_words) + " words");
  const struct {
    const char *name;
    float each;
  } macs[] = {{"oribi_probe_mma", 8 * 4 * 16.0f * n_rounds}, {"oribi_probe_fma", 8.0f * n_rounds}};
  for (const auto &probe : macs) {
    launch(probe.name, oribi_cuda_probe_launch(n_blocks), args);
    bool ok = true;
    for (uint32_t i = 0; i < threads; i++) ok &= same_bits((const float *)results.at(i), &probe.each, 1);
    check(ok, probe.name);
  }
}

static void check_rope_table(uint32_t n_pairs) {
  const device<uint32_t> positions(std::vector<uint32_t>{0, 1, 77, 131071});
  std::vector<double> of(n_pairs);
  for (uint32_t i = 0; i < n_pairs; i++) of[i] = pow(500000.0, -(double)i / n_pairs);
  const device<double> frequencies(of);
  const uint32_t stride = (2 * n_pairs + 3) / 4 * 4;
  device<float> table(4 * stride);
  const oribi_cuda_rope_table_args args = {frequencies.at(), n_pairs, 4, positions.at(), table.at(), stride};
  launch("oribi_rope_table", oribi_cuda_rope_table_launch(&args), args);
  bool ok = true;
  for (uint32_t row = 0; row < 4; row++) {
    for (uint32_t i = 0; i < n_pairs; i++) {
      ok &= fabs(table[row * stride + i] - cos(positions[row] * of[i])) < 1e-7;
      ok &= fabs(table[row * stride + n_pairs + i] - sin(positions[row] * of[i])) < 1e-7;
    }
  }
  check(ok, "rope table of " + std::to_string(n_pairs));
}

static void check_sum_squares(uint32_t n, uint32_t n_rows) {
  const uint32_t stride = (n + 3) / 4 * 4;
  const device<float> x(random_floats(n_rows * stride));
  device<float> sums(n);
  const oribi_cuda_sum_squares_args args = {x.at(), stride, n_rows, n, sums.at()};
  launch("oribi_sum_squares", oribi_cuda_sum_squares_launch(&args), args);
  bool ok = true;
  for (uint32_t i = 0; i < n; i++) {
    double sum = 0;
    for (uint32_t row = 0; row < n_rows; row++) sum += (double)x[row * stride + i] * (double)x[row * stride + i];
    ok &= sums[i] == (float)sum;
  }
  check(ok, "sums of squares of " + std::to_string(n));
}

void check_rows() {
  for (uint32_t n : {1u, 16u, 32u, 50u, 576u, 2048u, 2080u, 4128u}) {
    for (int i = 0; i < 5; i++) check_norm(n, i % 2 == 0, i > 0, i > 2, i == 2 || i == 4);
    check_glu(n, ORIBI_SILU, true);
    check_glu(n, ORIBI_GELU_TANH, false);
    check_softcap(n);
    check_sum_squares(n, n % 7);
  }
  for (uint32_t n_pairs : {1u, 32u, 300u}) check_rope_table(n_pairs);
  for (uint32_t n_words : {4u, 3072u, 24576u, 100004u}) check_probes(n_words);
}
