/* Attention: what is stored, to the bit with the CPU's kernels; outputs against sums in float64 over what the pages hold; and
 * the bits of a row whatever else is in the batch. Slots that no row sees hold NaN. */
#include <memory>

#include "harness.h"

struct heads_shape {
  uint32_t n_heads, n_kv_heads, head_dim;
};

struct kv_type {
  const char *name;
  uint32_t dtype;
};

/* Rows of a sequence in a batch. */
struct run {
  uint32_t first_position, n_rows;
};

/* A layer of a model with one sequence for each run, on pages of two layers of which this is the second. */
class layer {
 public:
  layer(heads_shape heads, kv_type type, const std::vector<run> &runs, uint32_t window, bool with_norms)
      : heads(heads), type(type), runs(runs), window(window), with_norms(with_norms) {
    const uint32_t dim = heads.head_dim;
    key_bytes = oribi_key_page_bytes(type.dtype, dim);
    tile_bytes = key_bytes + oribi_value_page_bytes(type.dtype, dim);
    scale = 2 / sqrtf((float)dim);
    n_rot = dim < 8 ? dim / 2 * 2 : dim / 4 * 2;
    key_column = (heads.n_heads * dim + 15) / 16 * 16;
    value_column = key_column + (heads.n_kv_heads * dim + 15) / 16 * 16;
    columns = value_column + (heads.n_kv_heads * dim + 15) / 16 * 16;
    for (const run &r : runs) {
      const uint32_t first_page = (uint32_t)pages.size(), end = r.first_position + r.n_rows;
      for (uint32_t i = 0; i < r.n_rows; i++) rows.push_back({r.first_position + i, first_page});
      for (uint32_t p = 0; p < (end + 63) / 64; p++) {
        pages.push_back(std::make_unique<device<uint8_t>>(2 * heads.n_kv_heads * tile_bytes));
      }
      for (uint32_t position = 0; position < r.first_position; position++) {
        for (uint32_t head = 0; head < heads.n_kv_heads; head++) {
          store(first_page, position, head, random_floats(dim).data(), random_floats(dim).data());
        }
      }
    }
    qkv = random_floats(rows.size() * columns);
    for (float &x : qkv) x *= 2;
    for (auto &bias : biases) bias = random_floats(heads.n_heads * dim);
    for (auto &norm : norms) norm = random_floats(dim);
    rope = random_floats(rows.size() * 2 * n_rot);
  }

  uint8_t *tile(uint32_t first_page, uint32_t position, uint32_t head) const {
    return pages[first_page + position / 64]->at() + (heads.n_kv_heads + head) * tile_bytes;
  }

  void store(uint32_t first_page, uint32_t position, uint32_t head, const float *key, const float *value) const {
    uint8_t *at = tile(first_page, position, head);
    const oribi_kv_store_args args = {key, value, heads.head_dim, position % 64, at, at + key_bytes};
    oracle(ORIBI_OP_KV_STORE, type.dtype, ORIBI_ACTS_NONE)->fn(&args);
  }

  heads_shape heads;
  kv_type type;
  std::vector<run> runs;
  uint32_t window, n_rot, key_column, value_column, columns;
  bool with_norms, half_split = true;
  size_t key_bytes, tile_bytes;
  std::vector<oribi_cuda_row> rows;
  std::vector<std::unique_ptr<device<uint8_t>>> pages;
  std::vector<float> qkv, rope, biases[3], norms[2];
  float scale, eps = 1e-6f;
};

/* What the kernels leave. */
struct attended {
  std::vector<float> qkv, out;
  bool acts_hold = true;
};

enum class how { whole, without_projection, fused, prompt, prompt_without_projection };

/* The attention of rows [first, first + n); nothing where it cannot be fused but shall be. */
static attended attend(const layer &l, uint32_t first, uint32_t n, how how) {
  const uint32_t dim = l.heads.head_dim, width = l.heads.n_heads * dim;
  const std::vector<oribi_cuda_row> chosen(&l.rows[first], &l.rows[first] + n);
  const device<oribi_cuda_row> rows(chosen);
  std::vector<uint8_t *> addresses;
  for (const auto &page : l.pages) addresses.push_back(page->at());
  const device<uint8_t *> pages(addresses);
  const uint32_t most = oribi_cuda_attend_tile_rows(l.heads.n_heads, l.heads.n_kv_heads);
  std::vector<oribi_cuda_tile> cut;
  uint32_t max_tile_rows = 0, first_split = ~0u, last_split = 0;
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t position = chosen[i].position;
    const bool follows = i > 0 && chosen[i - 1].pages == chosen[i].pages && cut.back().n_rows < most;
    follows ? (void)cut.back().n_rows++ : cut.push_back({i, 1});
    if (cut.back().n_rows > max_tile_rows) max_tile_rows = cut.back().n_rows;
    const uint32_t seen = l.window != 0 && position >= l.window ? position - l.window + 1 : 0;
    if (seen / 256 < first_split) first_split = seen / 256;
    if (position / 256 > last_split) last_split = position / 256;
  }
  const device<oribi_cuda_tile> tiles(cut);
  const device<float> biases[3] = {device<float>(l.biases[0]), device<float>(l.biases[1]), device<float>(l.biases[2])};
  const device<float> norms[2] = {device<float>(l.norms[0]), device<float>(l.norms[1])};
  const uint32_t rope_stride = 2 * l.n_rot;
  const device<float> rope(std::vector<float>(&l.rope[first * rope_stride], &l.rope[first * rope_stride] + n * rope_stride));
  device<float> qkv(std::vector<float>(&l.qkv[first * l.columns], &l.qkv[first * l.columns] + n * l.columns));
  const uint32_t n_splits = last_split + 1 - first_split, out_stride = (width + 15) / 16 * 16;
  device<float> states(oribi_cuda_states_bytes(n_splits, n, l.heads.n_heads, dim) / sizeof(float)), out(n * out_stride);
  acts_buffer acts(n, width, true);
  oribi_cuda_attend_args args = {};
  args.qkv = qkv.at();
  args.qkv_stride = l.columns;
  args.rows = rows.at();
  args.tiles = tiles.at();
  args.pages = pages.at();
  args.tile_at = l.heads.n_kv_heads * l.tile_bytes;
  args.tile_bytes = l.tile_bytes;
  args.key_bytes = l.key_bytes;
  args.n_rows = n;
  args.n_tiles = (uint32_t)cut.size();
  args.max_tile_rows = max_tile_rows;
  args.n_heads = l.heads.n_heads;
  args.n_kv_heads = l.heads.n_kv_heads;
  args.head_dim = dim;
  for (int i = 0; i < 3; i++) args.biases[i] = i == 1 && l.with_norms ? nullptr : biases[i].at();
  for (int i = 0; i < 2; i++) args.norms[i] = l.with_norms ? norms[i].at() : nullptr;
  args.eps = l.eps;
  args.rope = rope.at();
  args.rope_stride = rope_stride;
  args.n_rot = l.n_rot;
  args.half_split = l.half_split;
  args.scale = l.scale;
  args.window = l.window;
  args.first_split = first_split;
  args.n_splits = n_splits;
  args.states = states.at();
  args.out = out.at();
  args.out_stride = out_stride;
  args.acts = acts.args();
  const std::string kv = l.type.name, n_queries = std::to_string(oribi_cuda_attend_queries(&args));
  attended r;
  if (how == how::fused) {
    const device<uint32_t> counters(std::vector<uint32_t>(cut.size() * l.heads.n_kv_heads));
    args.counters = counters.at();
    if (cut.size() != l.runs.size() || !oribi_cuda_attend_is_fused(&args)) return r;
    launch("oribi_attend_fused_" + kv + "_" + n_queries, oribi_cuda_attend_fused_launch(&args), args);
    for (size_t i = 0; i < counters.size(); i++) check(counters[i] == 0, "attention: counters");
  } else {
    if (how == how::whole || how == how::prompt) {
      launch("oribi_attend_project_" + kv, oribi_cuda_attend_project_launch(&args), args);
    }
    if (how == how::prompt || how == how::prompt_without_projection) {
      const std::string n_prompt = std::to_string(oribi_cuda_attend_prompt_queries(&args));
      launch("oribi_attend_prompt_" + kv + "_" + n_prompt, oribi_cuda_attend_prompt_launch(&args), args);
    } else {
      launch("oribi_attend_split_" + kv + "_" + n_queries, oribi_cuda_attend_split_launch(&args), args);
    }
    launch("oribi_attend_merge", oribi_cuda_attend_merge_launch(&args), args);
  }
  r.qkv.assign(qkv.at(), qkv.at() + n * l.columns);
  for (uint32_t i = 0; i < n; i++) {
    r.out.insert(r.out.end(), out.at(i * out_stride), out.at(i * out_stride) + width);
    r.acts_hold &= acts.holds(i, out.at(i * out_stride));
  }
  return r;
}

/* ---- what is expected ---- */

/* A head after bias, norm and rotation; the norm in float64. */
static std::vector<float> projected(const layer &l, uint32_t row, int kind, uint32_t head) {
  const uint32_t dim = l.heads.head_dim, column = kind == 0 ? 0 : kind == 1 ? l.key_column : l.value_column;
  std::vector<float> x(&l.qkv[row * l.columns + column + head * dim], &l.qkv[row * l.columns + column + head * dim] + dim);
  if (!(kind == 1 && l.with_norms)) {
    for (uint32_t i = 0; i < dim; i++) x[i] += l.biases[kind][head * dim + i];
  }
  if (kind == 2) return x;
  if (l.with_norms) {
    double sum = 0;
    for (float v : x) sum += (double)v * v;
    const double inv = 1 / sqrt(sum / dim + l.eps);
    for (uint32_t i = 0; i < dim; i++) x[i] = (float)(x[i] * inv * l.norms[kind][i]);
  }
  const oribi_rope_args args = {x.data(), 1, dim, l.n_rot, &l.rope[row * 2 * l.n_rot], l.half_split};
  oracle(ORIBI_OP_ROPE, ORIBI_ANY_DTYPE, ORIBI_ACTS_NONE)->fn(&args);
  return x;
}

static double element(const layer &l, const uint8_t *tile, bool is_key, uint32_t slot, uint32_t d) {
  const uint32_t dim = l.heads.head_dim, padded = (dim + 15) / 16 * 16, n_groups = (dim + 31) / 32;
  const uint8_t *at = is_key ? tile : tile + l.key_bytes;
  const size_t lanes = slot / 16;
  if (l.type.dtype == ORIBI_F16) {
    return f32_of_f16(load_u16(at + 2 * (is_key ? (lanes * dim + d) * 16 + slot % 16 : (size_t)slot * padded + d)));
  }
  size_t codes, scale_at = is_key ? (lanes * n_groups + d / 32) * 16 + slot % 16 : d / 32 * 64 + slot;
  int code;
  if (l.type.dtype == ORIBI_Q8_0) {
    codes = is_key ? 64 * dim : 64 * padded;
    code = at[is_key ? (lanes * dim + d) * 16 + slot % 16 : (size_t)slot * padded + d] - 128;
  } else {
    codes = is_key ? 64 * ((dim + 1) / 2) : 64 * n_groups * 16;
    const size_t byte = is_key ? (lanes * ((dim + 1) / 2) + d / 2) * 16 + slot % 16 : (slot * n_groups + d / 32) * 16 + d % 16;
    code = (at[byte] >> 4 * (is_key ? d % 2 : d % 32 / 16) & 15) - 8;
  }
  return (double)code * f32_of_f16(load_u16(at + codes + 2 * scale_at));
}

static double to_bf16(double x) {
  const float rounded = (float)x;
  uint32_t bits;
  memcpy(&bits, &rounded, sizeof bits);
  return f32_of_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
}

static double as_it_is(double x) { return x; }

/* A head's output over what the pages hold, operands rounded, and the largest error of `y`, relative to the weighted magnitudes. */
static double error_of(const layer &l, uint32_t row, uint32_t head, const float *query, const float *y,
                       double (*rounded)(double) = as_it_is) {
  const uint32_t dim = l.heads.head_dim, position = l.rows[row].position;
  const uint32_t begin = l.window != 0 && position >= l.window ? position - l.window + 1 : 0;
  const uint32_t kv_head = head / (l.heads.n_heads / l.heads.n_kv_heads);
  std::vector<double> sum(dim), size(dim, 1e-6), scores;
  double largest = -INFINITY, total = 0;
  for (uint32_t j = begin; j <= position; j++) {
    double s = 0;
    for (uint32_t d = 0; d < dim; d++) {
      s += rounded(query[d]) * rounded(element(l, l.tile(l.rows[row].pages, j, kv_head), true, j % 64, d));
    }
    scores.push_back(s * l.scale);
    largest = fmax(largest, scores.back());
  }
  for (uint32_t j = begin; j <= position; j++) {
    const double p = exp(scores[j - begin] - largest);
    total += p;
    for (uint32_t d = 0; d < dim; d++) {
      const double v = rounded(element(l, l.tile(l.rows[row].pages, j, kv_head), false, j % 64, d));
      sum[d] += p * v;
      size[d] += p * fabs(v);
    }
  }
  double worst = 0;
  for (uint32_t d = 0; d < dim; d++) {
    const double error = fabs(y[d] - sum[d] / total) / (size[d] / total);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

/* ---- the checks ---- */

static int n_fused; /* times that it could be done in one launch */

/* The pages after the kernel are those that the CPU's store makes of the same keys and values, to the bit. */
static bool stored_as_expected(layer &l) {
  std::vector<std::vector<uint8_t>> after;
  for (const auto &page : l.pages) after.emplace_back(page->at(), page->at() + page->size());
  for (uint32_t row = 0; row < l.rows.size(); row++) {
    for (uint32_t head = 0; head < l.heads.n_kv_heads; head++) {
      l.store(l.rows[row].pages, l.rows[row].position, head, projected(l, row, 1, head).data(), projected(l, row, 2, head).data());
    }
  }
  bool same = true;
  for (size_t i = 0; i < after.size(); i++) {
    same &= memcmp(after[i].data(), l.pages[i]->at(), after[i].size()) == 0;
    memcpy(l.pages[i]->at(), after[i].data(), after[i].size());
  }
  return same;
}

/* The float16 keys of all rows are near the expected ones, which a norm rounds in another order. */
static bool stored_near(const layer &l) {
  bool near = true;
  for (uint32_t row = 0; row < l.rows.size(); row++) {
    for (uint32_t head = 0; head < l.heads.n_kv_heads; head++) {
      const std::vector<float> key = projected(l, row, 1, head), value = projected(l, row, 2, head);
      const uint32_t position = l.rows[row].position;
      const uint8_t *tile = l.tile(l.rows[row].pages, position, head);
      for (uint32_t d = 0; d < l.heads.head_dim; d++) {
        near &= fabs(element(l, tile, true, position % 64, d) - key[d]) <= 1e-3 * (fabs(key[d]) + 0.01);
        near &= fabs(element(l, tile, false, position % 64, d) - value[d]) <= 1e-3 * (fabs(value[d]) + 0.01);
      }
    }
  }
  return near;
}

/* The same in native arithmetic, on pages that hold what the projection of `qkv` stored; `projected` is what it left. */
static void check_prompt(layer &l, const std::vector<float> &qkv, const std::vector<float> &projected, const std::string &what) {
  const uint32_t n = (uint32_t)l.rows.size(), dim = l.heads.head_dim, width = l.heads.n_heads * dim;
  l.qkv = projected;
  const attended all = attend(l, 0, n, how::prompt_without_projection);
  double error = 0;
  for (uint32_t row = 0; row < n; row++) {
    if (row % 5 != 0 && row + 1 != n) continue;
    for (uint32_t head = 0; head < l.heads.n_heads; head++) {
      const float *query = &projected[row * l.columns + head * dim];
      error = fmax(error, error_of(l, row, head, query, &all.out[row * width + head * dim], to_bf16));
      if (error != error) error = INFINITY;
    }
  }
  check(all.acts_hold && error < 4e-3, what + ": outputs, error " + std::to_string(error));
  bool same = true;
  for (uint32_t row = 0; row < n; row += n > 8 ? 7 : 1) {
    const attended alone = attend(l, row, 1, how::prompt_without_projection);
    same &= same_bits(alone.out.data(), &all.out[row * width], width);
  }
  check(same, what + ": rows alone");
  oribi_cuda_emulated_reverse(1);
  const attended again = attend(l, 0, n, how::prompt_without_projection);
  oribi_cuda_emulated_reverse(0);
  check(same_bits(again.out.data(), all.out.data(), all.out.size()), what + ": other order");
  /* The last row's values are seen by no other; its own outputs are not numbers. */
  l.qkv = qkv;
  l.qkv[(n - 1) * l.columns + l.value_column + dim / 2] = INFINITY;
  const attended infinite = attend(l, 0, n, how::prompt);
  const uint32_t group = l.heads.n_heads / l.heads.n_kv_heads;
  bool spoilt = true;
  for (uint32_t i = 0; i < group * dim; i++) spoilt &= infinite.out[(n - 1) * width + i] != infinite.out[(n - 1) * width + i];
  check(same_bits(infinite.out.data(), all.out.data(), (size_t)(n - 1) * width) && spoilt, what + ": values that are not finite");
}

static void check_layer(heads_shape heads, kv_type type, const std::vector<run> &runs, uint32_t window, bool with_norms,
                        bool half_split) {
  const std::string what = std::string("attention ") + type.name + ", heads " + std::to_string(heads.n_heads) + "/" +
                           std::to_string(heads.n_kv_heads) + " of " + std::to_string(heads.head_dim) + ", window " +
                           std::to_string(window);
  layer l(heads, type, runs, window, with_norms);
  l.half_split = half_split;
  const uint32_t n = (uint32_t)l.rows.size(), dim = heads.head_dim, width = heads.n_heads * dim;
  /* Pages as they were, and as all three kernels leave them. */
  std::vector<std::vector<uint8_t>> before, after;
  const std::vector<float> qkv = l.qkv;
  for (const auto &page : l.pages) before.emplace_back(page->at(), page->at() + page->size());
  const attended all = attend(l, 0, n, how::whole);
  for (size_t i = 0; i < l.pages.size(); i++) {
    after.emplace_back(l.pages[i]->at(), l.pages[i]->at() + before[i].size());
    memcpy(l.pages[i]->at(), before[i].data(), before[i].size());
  }
  in_both_orders([&] {
    for (size_t i = 0; i < l.pages.size(); i++) memcpy(l.pages[i]->at(), before[i].data(), before[i].size());
    const attended fused = attend(l, 0, n, how::fused);
    if (!fused.out.empty()) {
      n_fused++;
      bool same = fused.acts_hold && same_bits(fused.out.data(), all.out.data(), all.out.size());
      for (size_t i = 0; i < l.pages.size(); i++) same &= memcmp(l.pages[i]->at(), after[i].data(), after[i].size()) == 0;
      check(same, what + ": fused");
    }
  });
  for (size_t i = 0; i < l.pages.size(); i++) memcpy(l.pages[i]->at(), after[i].data(), after[i].size());
  check(all.acts_hold, what + ": acts");
  if (!with_norms) check(stored_as_expected(l), what + ": pages");
  if (with_norms && type.dtype == ORIBI_F16) check(stored_near(l), what + ": pages");
  bool queries = true;
  double error = 0;
  for (uint32_t row = 0; row < n; row++) {
    for (uint32_t head = 0; head < heads.n_heads; head++) {
      const float *query = &all.qkv[row * l.columns + head * dim];
      const std::vector<float> expected = projected(l, row, 0, head);
      for (uint32_t d = 0; d < dim; d++) queries &= fabsf(query[d] - expected[d]) <= (with_norms ? 4e-6f : 0.0f);
      if (row % 5 != 0 && row + 1 != n) continue;
      error = fmax(error, error_of(l, row, head, query, &all.out[row * width + head * dim]));
      if (error != error) error = INFINITY;
    }
  }
  check(queries, what + ": queries");
  check(error < 4e-6, what + ": outputs, error " + std::to_string(error));
  /* Rows alone, on the pages as they are now; and all again, in the other order. */
  bool same = true;
  for (uint32_t row = 0; row < n; row += n > 8 ? 7 : 1) {
    l.qkv = all.qkv;
    const attended alone = attend(l, row, 1, how::without_projection);
    same &= same_bits(alone.out.data(), &all.out[row * width], width);
  }
  check(same, what + ": rows alone");
  /* The last row's values are seen by no other. */
  l.qkv = qkv;
  for (uint32_t i = 0; i < heads.n_kv_heads * dim; i++) l.qkv[(n - 1) * l.columns + l.value_column + i] = INFINITY;
  const attended infinite = attend(l, 0, n, how::whole);
  check(same_bits(infinite.out.data(), all.out.data(), (size_t)(n - 1) * width), what + ": values that are not seen");
  for (size_t i = 0; i < l.pages.size(); i++) memcpy(l.pages[i]->at(), after[i].data(), after[i].size());
  l.qkv = all.qkv;
  oribi_cuda_emulated_reverse(1);
  const attended again = attend(l, 0, n, how::without_projection);
  oribi_cuda_emulated_reverse(0);
  check(same_bits(again.out.data(), all.out.data(), all.out.size()), what + ": other order");
  check_prompt(l, qkv, all.qkv, what + ", native");
}

void check_attention() {
  const std::vector<kv_type> types = {{"f16", ORIBI_F16}, {"q8_0", ORIBI_Q8_0}, {"q4_0", ORIBI_Q4_0}};
  const std::vector<heads_shape> shapes = {{1, 1, 64}, {9, 3, 64}, {4, 1, 256}, {8, 2, 128}, {40, 1, 32},
                                           {2, 1, 80}, {4, 2, 96}, {2, 2, 16},  {3, 3, 40},  {3, 1, 33}};
  for (const kv_type &type : types) {
    for (const heads_shape &heads : shapes) {
      check_layer(heads, type, {{0, 1}, {300, 1}, {63, 3}}, 0, false, true);
      check_layer(heads, type, {{250, 19}, {511, 2}}, 100, true, false);
    }
    check_layer({8, 2, 64}, type, {{0, 70}}, 0, false, false);
    check_layer({8, 2, 64}, type, {{600, 40}}, 290, true, true);
    check_layer({32, 1, 320}, type, {{260, 3}}, 0, false, true);
    check_layer({8, 2, 64}, type, {{700, 1}, {0, 1}, {255, 2}, {64, 1}}, 0, true, true);
    check_layer({4, 4, 128}, type, {{600, 4}, {254, 4}}, 290, false, false);
  }
  check(n_fused > 40, "attention fused " + std::to_string(n_fused) + " times");
}
