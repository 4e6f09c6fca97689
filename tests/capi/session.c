/* Sessions: sequences, batches, logits, embeddings. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>

static oribi_session *new_session(int64_t n_ctx) {
  oribi_session *session = NULL;
  oribi_options *options = greedy_options(1);
  OK(oribi_options_set_int(options, "n_ctx", n_ctx));
  OK(oribi_session_new(tiny_model(), options, &session));
  oribi_options_free(options);
  return session;
}

static oribi_batch *prompt_batch(uint32_t sequence, const uint32_t *tokens, size_t n) {
  oribi_batch *batch = NULL;
  OK(oribi_batch_new(&batch));
  OK(oribi_batch_add_prompt(batch, sequence, tokens, n));
  return batch;
}

static size_t length(const oribi_session *session, uint32_t sequence) {
  size_t n = 0;
  OK(oribi_session_len(session, sequence, &n));
  return n;
}

static void sequences_fork_and_truncate_to_the_same_bits(void) {
  static const uint32_t tokens[] = {1, 20, 30, 40, 50};
  float first[300];
  const float *logits = NULL;
  size_t n = 0;
  uint64_t kv_bytes = 0;
  uint32_t a = 9, b = 9, c = 9;
  oribi_session *session = new_session(128);
  OK(oribi_session_n_ctx(session, &n));
  CHECK(n == 128);
  OK(oribi_session_kv_bytes(session, &kv_bytes));
  CHECK(kv_bytes == 0);
  OK(oribi_session_new_sequence(session, &a));
  oribi_batch *batch = prompt_batch(a, tokens, 5);
  OK(oribi_session_decode(session, batch));
  OK(oribi_session_n_outputs(session, &n));
  CHECK(n == 1 && length(session, a) == 5);
  OK(oribi_session_logits(session, 0, &logits, &n));
  CHECK(n == 300);
  memcpy(first, logits, sizeof first);
  for (int i = 0; i < 300; i++) CHECK(isfinite(first[i]));
  OK(oribi_session_kv_bytes(session, &kv_bytes));
  CHECK(kv_bytes > 0);

  OK(oribi_session_fork(session, a, &b));
  CHECK(b != a && length(session, b) == 5);
  FAILS(ORIBI_STATUS_INVALID_STATE, "in use", oribi_session_fork(session, a, &c));
  FAILS(ORIBI_STATUS_INVALID_STATE, "in use", oribi_session_new_sequence(session, &c));
  OK(oribi_session_truncate(session, b, 3));
  CHECK(length(session, b) == 3 && length(session, a) == 5);
  OK(oribi_batch_clear(batch));
  OK(oribi_batch_add_prompt(batch, b, tokens + 3, 2));
  OK(oribi_batch_add(batch, a, 60, ORIBI_ROLE_PROMPT, true));
  OK(oribi_session_decode(session, batch));
  OK(oribi_session_n_outputs(session, &n));
  CHECK(n == 2);
  OK(oribi_session_logits(session, 0, &logits, &n));
  CHECK(memcmp(first, logits, sizeof first) == 0);
  OK(oribi_session_remove(session, b));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "sequence 1", oribi_session_remove(session, b));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "sequence 1", oribi_session_fork(session, b, &c));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "sequence 1", oribi_session_truncate(session, b, 0));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "fewer than 7", oribi_session_truncate(session, a, 7));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "sequence 7", oribi_session_len(session, 7, &n));
  oribi_batch_free(batch);
  oribi_session_free(session);
}

static void a_batch_that_fails_changes_nothing(void) {
  static const uint32_t tokens[] = {1, 20, 30}, outside[] = {1, 300};
  uint32_t a = 9;
  size_t n = 9;
  const float *logits = NULL;
  oribi_session *session = new_session(16);
  OK(oribi_session_new_sequence(session, &a));
  oribi_batch *batch = prompt_batch(a, tokens, 3);
  OK(oribi_session_decode(session, batch));
  OK(oribi_batch_clear(batch));
  OK(oribi_batch_add_prompt(batch, a, outside, 2));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "token 300", oribi_session_decode(session, batch));
  OK(oribi_session_n_outputs(session, &n));
  CHECK(n == 0 && length(session, a) == 3);
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "output 0", oribi_session_logits(session, 0, &logits, &n));
  OK(oribi_batch_clear(batch));
  OK(oribi_batch_add_prompt(batch, 5, tokens, 3));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "sequence 5", oribi_session_decode(session, batch));
  OK(oribi_batch_clear(batch));
  for (int i = 0; i < 3; i++) OK(oribi_batch_add(batch, a, 5, ORIBI_ROLE_PROMPT, true));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "3 logits", oribi_session_decode(session, batch));
  OK(oribi_batch_clear(batch));
  for (int i = 0; i < 14; i++) OK(oribi_batch_add(batch, a, 5, ORIBI_ROLE_PROMPT, false));
  FAILS(ORIBI_STATUS_CONTEXT_FULL, "16", oribi_session_decode(session, batch));
  CHECK(length(session, a) == 3);
  oribi_batch_free(batch);
  oribi_session_free(session);
}

static void hidden_states_are_embeddings(void) {
  static const uint32_t tokens[] = {1, 20, 30, 40};
  oribi_session *session = new_session(64);
  oribi_floats *vectors = NULL;
  const float *vector = NULL;
  size_t n = 0, dim = oribi_model_dim(tiny_model());
  uint32_t a = 9, b = 9;
  OK(oribi_session_new_sequence(session, &a));
  OK(oribi_session_new_sequence(session, &b));
  oribi_batch *batch = prompt_batch(a, tokens, 4);
  OK(oribi_session_decode(session, batch));
  OK(oribi_session_embedding(session, 0, &vector, &n));
  CHECK(n == dim);
  float *last = malloc(dim * sizeof *last);
  memcpy(last, vector, dim * sizeof *last);
  OK(oribi_session_truncate(session, a, 0));
  static const int32_t poolings[] = {ORIBI_POOLING_TOKENS, ORIBI_POOLING_LAST, ORIBI_POOLING_MEAN};
  for (int i = 0; i < 3; i++) {
    OK(oribi_session_embed(session, batch, poolings[i], &vectors));
    CHECK(oribi_floats_len(vectors) == dim);
    bool same = memcmp(oribi_floats_data(vectors), last, dim * sizeof *last) == 0;
    CHECK(same == (poolings[i] != ORIBI_POOLING_MEAN));
    oribi_floats_free(vectors);
    OK(oribi_session_truncate(session, a, 0));
  }
  OK(oribi_batch_add(batch, b, 7, ORIBI_ROLE_PROMPT, false));
  OK(oribi_session_embed(session, batch, ORIBI_POOLING_MEAN, &vectors));
  CHECK(oribi_floats_len(vectors) == 2 * dim);
  oribi_floats_free(vectors);
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "output 0", oribi_session_embedding(session, 0, &vector, &n));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "pooling is 3", oribi_session_embed(session, batch, 3, &vectors));
  NULL_REFUSED("session", oribi_session_embed(NULL, batch, 0, &vectors));
  NULL_REFUSED("batch", oribi_session_embed(session, NULL, 0, &vectors));
  NULL_REFUSED("vectors", oribi_session_embed(session, batch, 0, NULL));
  NULL_REFUSED("session", oribi_session_embedding(NULL, 0, &vector, &n));
  NULL_REFUSED("vector", oribi_session_embedding(session, 0, NULL, &n));
  NULL_REFUSED("n", oribi_session_embedding(session, 0, &vector, NULL));
  CHECK(oribi_floats_data(NULL) == NULL && oribi_floats_len(NULL) == 0);
  oribi_floats_free(NULL);
  free(last);
  oribi_batch_free(batch);
  oribi_session_free(session);
}

static void null_and_nonsense_are_refused(void) {
  oribi_session *session = new_session(64), *none = NULL;
  oribi_batch *batch = NULL;
  const float *logits = NULL;
  uint64_t bytes;
  uint32_t a;
  size_t n;
  OK(oribi_batch_new(&batch));
  NULL_REFUSED("model", oribi_session_new(NULL, NULL, &none));
  NULL_REFUSED("session", oribi_session_new(tiny_model(), NULL, NULL));
  NULL_REFUSED("session", oribi_session_n_ctx(NULL, &n));
  NULL_REFUSED("n_ctx", oribi_session_n_ctx(session, NULL));
  NULL_REFUSED("session", oribi_session_kv_bytes(NULL, &bytes));
  NULL_REFUSED("n_bytes", oribi_session_kv_bytes(session, NULL));
  NULL_REFUSED("session", oribi_session_new_sequence(NULL, &a));
  NULL_REFUSED("sequence", oribi_session_new_sequence(session, NULL));
  OK(oribi_session_new_sequence(session, &a));
  CHECK(a == 0); /* what was refused took none */
  NULL_REFUSED("session", oribi_session_fork(NULL, a, &a));
  NULL_REFUSED("forked", oribi_session_fork(session, a, NULL));
  NULL_REFUSED("session", oribi_session_truncate(NULL, a, 0));
  NULL_REFUSED("session", oribi_session_remove(NULL, a));
  NULL_REFUSED("session", oribi_session_len(NULL, a, &n));
  NULL_REFUSED("n_positions", oribi_session_len(session, a, NULL));
  NULL_REFUSED("session", oribi_session_decode(NULL, batch));
  NULL_REFUSED("batch", oribi_session_decode(session, NULL));
  NULL_REFUSED("session", oribi_session_n_outputs(NULL, &n));
  NULL_REFUSED("n_outputs", oribi_session_n_outputs(session, NULL));
  NULL_REFUSED("session", oribi_session_logits(NULL, 0, &logits, &n));
  NULL_REFUSED("logits", oribi_session_logits(session, 0, NULL, &n));
  NULL_REFUSED("n_logits", oribi_session_logits(session, 0, &logits, NULL));
  OK(oribi_session_decode(session, batch)); /* nothing to do */

  oribi_batch_free(batch);
  oribi_session_free(session);
  oribi_session_free(NULL);
}

void test_session(void) {
  sequences_fork_and_truncate_to_the_same_bits();
  a_batch_that_fails_changes_nothing();
  hidden_states_are_embeddings();
  null_and_nonsense_are_refused();
}
