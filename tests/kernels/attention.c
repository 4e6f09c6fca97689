/* Key/value pages, attention over one split, the merge of splits. */
#include <math.h>

#include "harness.h"

enum { N_PAGES = ORIBI_SPLIT_LEN / ORIBI_PAGE_LEN };

static const uint32_t head_dims[] = {1, 8, 16, 20, 64, 80};
enum { N_HEAD_DIMS = sizeof head_dims / sizeof head_dims[0] };

static uint32_t padded(uint32_t head_dim) { return (head_dim + 15) / 16 * 16; }

/* The pages of one split, each exactly sized. */
typedef struct {
  uint8_t *keys[N_PAGES], *values[N_PAGES];
} pages;

static pages new_pages(uint32_t dtype, uint32_t head_dim) {
  pages p;
  for (int i = 0; i < N_PAGES; i++) {
    p.keys[i] = exactly(oribi_key_page_bytes(dtype, head_dim), 0);
    p.values[i] = exactly(oribi_value_page_bytes(dtype, head_dim), 0);
  }
  return p;
}

static void free_pages(pages *p) {
  for (int i = 0; i < N_PAGES; i++) {
    free(p->keys[i]);
    free(p->values[i]);
  }
}

static void store(const oribi_kernel *kernel, pages *p, uint32_t position, uint32_t head_dim, const float *x) {
  const oribi_kv_store_args args = {.key = x, .value = x, .head_dim = head_dim, .slot = position % ORIBI_PAGE_LEN,
                                    .key_page = p->keys[position / ORIBI_PAGE_LEN],
                                    .value_page = p->values[position / ORIBI_PAGE_LEN]};
  kernel->fn(&args);
}

static void test_kv_store(const oribi_kernel *kernel) {
  const oribi_kernel *oracle = scalar_kernel(kernel->op, kernel->dtype, ORIBI_ACTS_NONE);
  for (int i = 0; i < N_HEAD_DIMS; i++) {
    const uint32_t dim = head_dims[i];
    pages got = new_pages(kernel->dtype, dim), want = new_pages(kernel->dtype, dim);
    for (uint32_t position = 0; position < ORIBI_PAGE_LEN; position += 21) {
      float *x = random_floats(dim);
      store(kernel, &got, position, dim, x);
      store(oracle, &want, position, dim, x);
      free(x);
    }
    check(memcmp(got.keys[0], want.keys[0], oribi_key_page_bytes(kernel->dtype, dim)) == 0, kernel->name);
    check(memcmp(got.values[0], want.values[0], oribi_value_page_bytes(kernel->dtype, dim)) == 0, kernel->name);
    free_pages(&got);
    free_pages(&want);
  }
}

typedef struct {
  uint32_t n_rows, n_heads, head_dim, first_position, window, split_end;
} shape;

/* The states of a shape, in an exactly sized buffer. */
static float *attended(const oribi_kernel *kernel, shape s, const float *q, const pages *p) {
  const size_t state_len = ORIBI_STATE_HEADER + padded(s.head_dim), n = (size_t)s.n_rows * s.n_heads * state_len;
  float *states = exactly(n * sizeof *states, 0xff);
  void *scratch = exactly(oribi_attention_scratch_bytes(s.head_dim), 0xff);
  const oribi_attention_args args = {
      .q = q, .q_stride = (size_t)s.n_heads * s.head_dim, .n_rows = s.n_rows, .n_heads = s.n_heads,
      .head_dim = s.head_dim, .first_position = s.first_position, .window = s.window, .split_begin = 0,
      .split_end = s.split_end, .key_pages = (const uint8_t *const *)p->keys,
      .value_pages = (const uint8_t *const *)p->values, .scale = 0.3f, .softcap = s.window ? 5.0f : 0.0f,
      .states = states, .state_row_stride = (size_t)s.n_heads * state_len, .scratch = scratch};
  kernel->fn(&args);
  free(scratch);
  return states;
}

/* What bf16 leaves of a state, whose scores here are below 8. */
static int near_floats(const float *a, const float *b, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (a[i] != b[i] && !(fabsf(a[i] - b[i]) <= 0.05f * (1.0f + fabsf(b[i])))) return 0;
  }
  return 1;
}

static void test_attention(const oribi_kernel *kernel) {
  const oribi_kernel *oracle = scalar_kernel(kernel->op, kernel->dtype, ORIBI_ACTS_NONE);
  const oribi_kernel *kv_store = scalar_kernel(ORIBI_OP_KV_STORE, kernel->dtype, ORIBI_ACTS_NONE);
  for (int i = 0; i < N_HEAD_DIMS; i++) {
    const uint32_t dim = head_dims[i];
    pages p = new_pages(kernel->dtype, dim);
    for (uint32_t position = 0; position < ORIBI_SPLIT_LEN; position++) {
      float *x = random_floats(dim);
      store(kv_store, &p, position, dim, x);
      free(x);
    }
    const shape shapes[] = {{1, 1, dim, 0, 0, 1},     {1, 3, dim, 70, 0, 71},  {5, 2, dim, 60, 0, 65},
                            {3, 4, dim, 200, 33, 203}, {17, 1, dim, 10, 0, 27}, {2, 9, dim, 254, 0, 256},
                            {4, 3, dim, 300, 8, 256}};
    for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) {
      const shape s = shapes[n];
      float *q = random_floats((size_t)s.n_rows * s.n_heads * dim);
      float *got = attended(kernel, s, q, &p), *want = attended(oracle, s, q, &p);
      const size_t n_floats = (size_t)s.n_rows * s.n_heads * (ORIBI_STATE_HEADER + padded(dim));
      const int is_native = kernel->acts == ORIBI_ACTS_BF16;
      check(is_native ? near_floats(got, want, n_floats) : same_floats(got, want, n_floats), kernel->name);
      free(q);
      free(got);
      free(want);
    }
    free_pages(&p);
  }
}

static float *merged(const oribi_kernel *kernel, const float *states, uint32_t n_splits, uint32_t head_dim) {
  float *y = exactly(head_dim * sizeof *y, 0xff);
  const oribi_attention_merge_args args = {.states = states, .state_stride = ORIBI_STATE_HEADER + padded(head_dim),
                                           .n_splits = n_splits, .head_dim = head_dim, .y = y};
  kernel->fn(&args);
  return y;
}

static void test_attention_merge(const oribi_kernel *kernel) {
  const oribi_kernel *oracle = scalar_kernel(kernel->op, ORIBI_ANY_DTYPE, ORIBI_ACTS_NONE);
  for (int i = 0; i < N_HEAD_DIMS; i++) {
    for (uint32_t n_splits = 1; n_splits <= 3; n_splits++) {
      float *states = random_floats(n_splits * (ORIBI_STATE_HEADER + (size_t)padded(head_dims[i])));
      float *got = merged(kernel, states, n_splits, head_dims[i]), *want = merged(oracle, states, n_splits, head_dims[i]);
      check(same_floats(got, want, head_dims[i]), kernel->name);
      free(states);
      free(got);
      free(want);
    }
  }
}

void check_attention(void) {
  for_each_kernel(ORIBI_OP_KV_STORE, test_kv_store);
  for_each_kernel(ORIBI_OP_ATTENTION, test_attention);
  for_each_kernel(ORIBI_OP_ATTENTION_MERGE, test_attention_merge);
}
