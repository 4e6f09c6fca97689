/* Products: against sums in float64 over what the panels and the activations hold; and their bits whatever the number of tokens,
 * the tile, the company in the batch, the place in the grid and the order of threads. */
#include "harness.h"

/* A product of matrices side by side; [n_tokens][columns]. `first` rows of acts are skipped. n = 0: prompt. */
static std::vector<float> product(const std::vector<const panels *> &weights, const acts_buffer &acts, uint32_t n_tokens,
                                  uint32_t n) {
  oribi_cuda_matmul_args args = {};
  uint32_t columns = 0;
  for (const panels *w : weights) {
    args.weights[args.n_weights++] = {w->panel(0), w->panel_bytes, w->n_panels, columns};
    columns += 16 * w->n_panels;
  }
  const panels &first = *weights[0];
  device<float> y(n_tokens * columns);
  args.k = first.k;
  args.acts = acts.args();
  args.n_tokens = n_tokens;
  args.y = y.at();
  args.y_stride = columns;
  const std::string name = std::string("oribi_matmul_") + first.format.name + "_" + (n == 0 ? "prompt" : std::to_string(n));
  launch(name, oribi_cuda_matmul_launch(first.format.dtype, n, &args), args);
  return std::vector<float>(y.at(), y.at() + y.size());
}

/* The largest error over all outputs, relative to the sum of the magnitudes that are added. */
static double error_of(const std::vector<float> &y, const panels &w, const acts_buffer &acts, uint32_t n_tokens) {
  double worst = 0;
  std::vector<double> x(w.k), value(w.k), minimum(w.k);
  for (uint32_t row = 0; row < 16 * w.n_panels; row++) {
    for (uint32_t i = 0; i < w.k; i++) w.weight(row, i, &value[i], &minimum[i]);
    for (uint32_t token = 0; token < n_tokens; token++) {
      double sum = 0, size = 1e-30;
      for (uint32_t i = 0; i < w.k; i++) {
        const double a = acts.value(token, i);
        sum += (value[i] + minimum[i]) * a;
        size += (fabs(value[i]) + fabs(minimum[i])) * fabs(a);
      }
      const double error = fabs(y[(size_t)token * 16 * w.n_panels + row] - sum) / size;
      if (!(error <= worst)) worst = error;
    }
  }
  return worst;
}


static void check_format(const weight_format &f, uint32_t k, bool all) {
  const std::string what = std::string("matmul ") + f.name + ", k " + std::to_string(k);
  const uint32_t most = 67;
  const panels w(f, 21, k);
  const std::vector<float> x = random_floats((size_t)most * k);
  acts_buffer acts(most, k, true), upper(most, k, false);
  acts.fill(x, most);
  upper.fill(x, most);

  const uint32_t whole = all ? most : 9;
  const std::vector<float> y = product({&w}, acts, whole, 8);
  check(error_of(y, w, acts, all ? whole : 3) < 1e-6, what + ": two planes");
  const size_t columns = 16 * w.n_panels;
  for (uint32_t n : {8u, 16u, 32u, 64u}) {
    for (uint32_t n_tokens : all ? std::vector<uint32_t>{1, 7, 8, 16, 33, 64, 67} : std::vector<uint32_t>{1, whole}) {
      const std::vector<float> z = product({&w}, acts, n_tokens, n);
      check(same_bits(z.data(), y.data(), n_tokens * columns), what + ": tile " + std::to_string(n) + ", " + std::to_string(n_tokens) + " tokens");
    }
  }
  const std::vector<float> hi = product({&w}, upper, whole, 16);
  check(error_of(hi, w, upper, all ? whole : 3) < 1e-6, what + ": one plane");

  const std::vector<float> prompt = product({&w}, upper, whole, 0);
  check(same_bits(prompt.data(), hi.data(), whole * columns), what + ": prompt");
  const std::vector<float> one = product({&w}, upper, 1, 0);
  check(same_bits(one.data(), hi.data(), columns), what + ": prompt of one token");

  oribi_cuda_emulated_reverse(1);
  check(same_bits(product({&w}, acts, whole, 8).data(), y.data(), whole * columns), what + ": other order");
  check(same_bits(product({&w}, upper, whole, 0).data(), prompt.data(), whole * columns), what + ": prompt, other order");
  oribi_cuda_emulated_reverse(0);
}

/* Three matrices of different heights, as queries, keys and values are. */
static void check_side_by_side(const weight_format &f) {
  const std::string what = std::string("matmul of three ") + f.name;
  const uint32_t k = 512, n_tokens = 5;
  const panels q(f, 150, k), key(f, 16, k), v(f, 40, k);
  acts_buffer acts(n_tokens, k, true);
  acts.fill(random_floats(n_tokens * k), n_tokens);
  for (uint32_t n : {8u, 0u}) {
    const std::vector<float> all = product({&q, &key, &v}, acts, n_tokens, n);
    const size_t columns = 16 * (q.n_panels + key.n_panels + v.n_panels);
    size_t column = 0;
    for (const panels *w : {&q, &key, &v}) {
      const std::vector<float> alone = product({w}, acts, n_tokens, n);
      bool same = true;
      for (uint32_t token = 0; token < n_tokens; token++) {
        same &= same_bits(&all[token * columns + column], &alone[token * 16 * w->n_panels], 16 * w->n_panels);
      }
      check(same, what + (n == 0 ? ", prompt" : ""));
      column += 16 * w->n_panels;
    }
  }
}

/* A product with the norm that follows, and one with the gate: the bits of the operations apart. */
static void check_fused(const weight_format &f, uint32_t n, uint32_t n_tokens, bool both) {
  const std::string what = std::string("fused ") + f.name + ", " + std::to_string(n) + " columns";
  const uint32_t k = 512, stride = (n + 15) / 16 * 16;
  const panels w(f, n, k), up(f, n, k);
  acts_buffer acts(n_tokens, k, both);
  acts.fill(random_floats(n_tokens * k), n_tokens);
  oribi_cuda_matmul_args product = {};
  device<float> y(n_tokens * 2 * stride);
  product.weights[0] = {w.panel(0), w.panel_bytes, w.n_panels, 0};
  product.weights[1] = {up.panel(0), up.panel_bytes, up.n_panels, stride};
  product.n_weights = 2;
  product.k = k;
  product.acts = acts.args();
  product.n_tokens = n_tokens;
  product.y = y.at();
  product.y_stride = 2 * stride;
  const std::string name = std::string("oribi_matmul_") + f.name;
  launch(name + "_8", oribi_cuda_matmul_launch(f.dtype, 8, &product), product);

  acts_buffer expected_acts(n_tokens, n, both);
  device<float> expected(n_tokens * stride);
  const oribi_cuda_glu_args glu = {y.at(), 2 * stride, stride, n_tokens, n, ORIBI_SILU, expected.at(), stride, expected_acts.args()};
  launch("oribi_glu", oribi_cuda_glu_launch(&glu), glu);
  in_both_orders([&] {
    acts_buffer got_acts(n_tokens, n, both);
    device<float> got(n_tokens * stride);
    oribi_cuda_matmul_glu_args args = {product, n, ORIBI_SILU, got.at(), stride, got_acts.args()};
    args.product.y = nullptr;
    launch(name + "_glu", oribi_cuda_matmul_glu_launch(f.dtype, &args), args);
    bool same = got_acts.same_as(expected_acts, n_tokens);
    for (uint32_t i = 0; i < n_tokens; i++) same &= same_bits(got.at(i * stride), expected.at(i * stride), n);
    check(same, what + ": gate");
  });

  const device<float> weight(random_floats(n)), post(random_floats(n));
  const std::vector<float> x0 = random_floats(n_tokens * stride);
  device<float> x(x0);
  device<uint32_t> counter(std::vector<uint32_t>{0});
  oribi_cuda_norm_args norm = {x.at(), stride, y.at(), 2 * stride, post.at(), weight.at(), nullptr, n_tokens,
                               n, 1e-5f, 0, expected.at(), stride, expected_acts.args()};
  launch("oribi_norm", oribi_cuda_norm_launch(&norm), norm);
  in_both_orders([&] {
    acts_buffer got_acts(n_tokens, n, both);
    device<float> got(n_tokens * stride), own_y(n_tokens * 2 * stride), own_x(x0);
    oribi_cuda_matmul_norm_args args = {product, norm, counter.at()};
    args.product.y = own_y.at();
    args.norm.x = own_x.at();
    args.norm.product = own_y.at();
    args.norm.out = got.at();
    args.norm.acts = got_acts.args();
    launch(name + "_norm", oribi_cuda_matmul_norm_launch(f.dtype, &args), args);
    bool same = got_acts.same_as(expected_acts, n_tokens) && counter[0] == 0;
    for (uint32_t i = 0; i < n_tokens; i++) {
      same &= same_bits(got.at(i * stride), expected.at(i * stride), n) && same_bits(own_x.at(i * stride), x.at(i * stride), n);
    }
    check(same, what + ": norm");
  });
}

/* Rows of a matrix, to the bit. */
static void check_embed(const weight_format &f) {
  const uint32_t k = 2 * block_len(f) < 64 ? 50 : 2 * block_len(f);
  const panels w(f, 37, k);
  const device<uint32_t> tokens(std::vector<uint32_t>{36, 0, 17, 31});
  const oribi_kernel *unpack = oracle(ORIBI_OP_UNPACK_ROW, f.dtype, ORIBI_ACTS_NONE);
  for (float scale : {1.0f, 1.7f}) {
    device<float> x(4 * k);
    const oribi_cuda_embed_args args = {w.panel(0), w.panel_bytes, k, 4, tokens.at(), scale, x.at(), k};
    launch(std::string("oribi_embed_") + f.name, oribi_cuda_embed_launch(&args), args);
    bool same = true;
    for (uint32_t i = 0; i < 4; i++) {
      std::vector<float> row(k);
      const oribi_unpack_row_args of = {w.panel(tokens[i] / 16), tokens[i] % 16, k, row.data()};
      unpack->fn(&of);
      for (float &v : row) v *= scale;
      same &= same_bits(row.data(), x.at(i * k), k);
    }
    check(same, std::string("embed ") + f.name);
  }
}

/* Inputs of the products: fewer and more than the shares of k, partial groups and units. The second is tried in more ways. */
static std::vector<uint32_t> lengths(uint32_t block_len) {
  const char *all = getenv("ORIBI_TEST_ALL");
  std::vector<uint32_t> some = {64, 1056}, more = {32, 96, 128, 160, 2080};
  if (block_len == 1) some = {31, 1056}, more = {1, 32, 50, 64, 300};
  if (block_len == 256) some = {256, 768, 2304}, more = {2048, 4352};
  if (all && strcmp(all, "1") == 0) some.insert(some.end(), more.begin(), more.end());
  return some;
}

void check_matmul() {
  for (const weight_format &f : weight_formats) {
    const std::vector<uint32_t> all = lengths(block_len(f));
    for (uint32_t k : all) check_format(f, k, k == all[1]);
    check_embed(f);
    check_fused(f, 37, 3, true);
  }
  for (const weight_format &f : weight_formats) {
    if (f.dtype == ORIBI_F16 || f.dtype == ORIBI_Q4_0 || f.dtype == ORIBI_Q4_K) {
      check_side_by_side(f);
      for (uint32_t n : {5u, 32u, 160u}) check_fused(f, n, n == 5 ? 9 : 8, n != 160);
    }
  }
}
