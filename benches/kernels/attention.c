/* attention.c - storing keys and values, attention of one row and of a tile of rows over a split, merging splits. */
#include "bench.h"

enum {
  HEAD_DIM = 64,
  N_HEADS = 3, /* that share a key head */
  N_PAGES = ORIBI_SPLIT_LEN / ORIBI_PAGE_LEN,
  STATE_LEN = ORIBI_STATE_HEADER + HEAD_DIM,
};

static void bench_kv_store(const oribi_kernel *kernel) {
  float *x = floats(HEAD_DIM);
  const size_t key_bytes = oribi_key_page_bytes(kernel->dtype, HEAD_DIM);
  const size_t value_bytes = oribi_value_page_bytes(kernel->dtype, HEAD_DIM);
  uint8_t *keys = buffer(key_bytes), *values = buffer(value_bytes);
  const oribi_kv_store_args args = {
      .key = x, .value = x, .head_dim = HEAD_DIM, .slot = 5, .key_page = keys, .value_page = values};
  report((result){.kernel = kernel, .what = "head of 64", .seconds = best_time(kernel, &args),
                  .n_bytes = 8.0 * HEAD_DIM + (double)(key_bytes + value_bytes) / ORIBI_PAGE_LEN});
  free(x);
  free(keys);
  free(values);
}

static void bench_attention_rows(const oribi_kernel *kernel, uint32_t n_rows, const char *what) {
  float *q = floats((size_t)n_rows * N_HEADS * HEAD_DIM), *states = buffer(sizeof(float) * n_rows * N_HEADS * STATE_LEN);
  const size_t key_bytes = oribi_key_page_bytes(kernel->dtype, HEAD_DIM);
  const size_t value_bytes = oribi_value_page_bytes(kernel->dtype, HEAD_DIM);
  uint8_t *keys[N_PAGES], *values[N_PAGES];
  for (int i = 0; i < N_PAGES; i++) {
    keys[i] = buffer(key_bytes);
    values[i] = buffer(value_bytes);
  }
  void *scratch = buffer(oribi_attention_scratch_bytes(HEAD_DIM));
  const oribi_attention_args args = {
      .q = q, .q_stride = N_HEADS * HEAD_DIM, .n_rows = n_rows, .n_heads = N_HEADS, .head_dim = HEAD_DIM,
      .first_position = ORIBI_SPLIT_LEN, .split_begin = 0, .split_end = ORIBI_SPLIT_LEN,
      .key_pages = (const uint8_t *const *)keys, .value_pages = (const uint8_t *const *)values, .scale = 0.125f,
      .states = states, .state_row_stride = N_HEADS * STATE_LEN, .scratch = scratch};
  report((result){.kernel = kernel, .what = what, .seconds = best_time(kernel, &args),
                  .n_bytes = (double)N_PAGES * (double)(key_bytes + value_bytes),
                  .n_macs = 2.0 * n_rows * N_HEADS * HEAD_DIM * ORIBI_SPLIT_LEN});
  for (int i = 0; i < N_PAGES; i++) {
    free(keys[i]);
    free(values[i]);
  }
  free(q);
  free(states);
  free(scratch);
}

static void bench_merge(const oribi_kernel *kernel) {
  enum { N_SPLITS = 8 };
  float *states = floats(N_SPLITS * STATE_LEN), *y = buffer(sizeof(float) * HEAD_DIM);
  const oribi_attention_merge_args args = {
      .states = states, .state_stride = STATE_LEN, .n_splits = N_SPLITS, .head_dim = HEAD_DIM, .y = y};
  report((result){.kernel = kernel, .what = "8 splits of 64", .seconds = best_time(kernel, &args),
                  .n_bytes = 4.0 * (N_SPLITS * STATE_LEN + HEAD_DIM)});
  free(states);
  free(y);
}

int bench_attention(const oribi_kernel *kernel) {
  switch (kernel->op) {
    case ORIBI_OP_KV_STORE: bench_kv_store(kernel); return 1;
    case ORIBI_OP_ATTENTION:
      bench_attention_rows(kernel, 1, "1 row of 256");
      bench_attention_rows(kernel, 32, "32 rows of 256");
      return 1;
    case ORIBI_OP_ATTENTION_MERGE: bench_merge(kernel); return 1;
    default: return 0;
  }
}
