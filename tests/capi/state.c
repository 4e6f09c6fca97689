/* States: saved, restored, damaged, of another model. */
#include "harness.h"

#include <stdlib.h>
#include <unistd.h>

static const uint32_t TOKENS[] = {1, 20, 30, 40, 50, 60};

static oribi_session *session_with(const char *kv_type, int64_t n_ctx, int64_t n_sequences) {
  oribi_session *session = NULL;
  oribi_options *options = greedy_options(1);
  OK(oribi_options_set_int(options, "n_ctx", n_ctx));
  OK(oribi_options_set_int(options, "n_sequences", n_sequences));
  OK(oribi_options_set_text(options, "kv_type", kv_type, ORIBI_TO_NUL));
  OK(oribi_session_new(tiny_model(), options, &session));
  oribi_options_free(options);
  return session;
}

/* The logits behind one more token of a sequence. */
static void next_logits(oribi_session *session, uint32_t sequence, float *into) {
  oribi_batch *batch = NULL;
  const float *logits = NULL;
  size_t n = 0;
  OK(oribi_batch_new(&batch));
  OK(oribi_batch_add(batch, sequence, 77, ORIBI_ROLE_GENERATED, true));
  OK(oribi_session_decode(session, batch));
  OK(oribi_session_logits(session, 0, &logits, &n));
  memcpy(into, logits, 300 * sizeof *into);
  oribi_batch_free(batch);
}

static void null_is_refused(oribi_session *session, const oribi_bytes *state) {
  uint64_t n_bytes;
  uint32_t ids[2], first = 0;
  size_t n;
  oribi_bytes *none = NULL;
  const void *data = oribi_bytes_data(state);
  size_t len = oribi_bytes_len(state);
  NULL_REFUSED("session", oribi_session_state_len(NULL, &first, 1, &n_bytes));
  NULL_REFUSED("sequences", oribi_session_state_len(session, NULL, 1, &n_bytes));
  NULL_REFUSED("n_bytes", oribi_session_state_len(session, &first, 1, NULL));
  NULL_REFUSED("session", oribi_session_save(NULL, &first, 1, &none));
  NULL_REFUSED("sequences", oribi_session_save(session, NULL, 1, &none));
  NULL_REFUSED("state", oribi_session_save(session, &first, 1, NULL));
  NULL_REFUSED("session", oribi_session_save_file(NULL, &first, 1, "x"));
  NULL_REFUSED("sequences", oribi_session_save_file(session, NULL, 1, "x"));
  NULL_REFUSED("path", oribi_session_save_file(session, &first, 1, NULL));
  NULL_REFUSED("session", oribi_session_restore(NULL, data, len, ids, 2, &n));
  NULL_REFUSED("state", oribi_session_restore(session, NULL, len, ids, 2, &n));
  NULL_REFUSED("sequences", oribi_session_restore(session, data, len, NULL, 2, &n));
  NULL_REFUSED("n_sequences", oribi_session_restore(session, data, len, ids, 2, NULL));
  NULL_REFUSED("session", oribi_session_restore_file(NULL, "x", ids, 2, &n));
  NULL_REFUSED("path", oribi_session_restore_file(session, NULL, ids, 2, &n));
  NULL_REFUSED("sequences", oribi_session_restore_file(session, "x", NULL, 2, &n));
  NULL_REFUSED("n_sequences", oribi_session_restore_file(session, "x", ids, 2, NULL));
}

/* Every failure leaves the session as it was: all its sequences are still free afterwards. */
static void what_is_no_state_is_refused(const oribi_bytes *state) {
  uint32_t ids[4];
  size_t n = 99, len = oribi_bytes_len(state);
  unsigned char *copy = malloc(len);
  oribi_session *session = session_with("f16", 128, 2);
  memcpy(copy, oribi_bytes_data(state), len);
  FAILS(ORIBI_STATUS_INVALID_FILE, "", oribi_session_restore(session, "nonsense, and long enough for a header of whatever kind it is",
                                                              60, ids, 4, &n));
  FAILS(ORIBI_STATUS_TRUNCATED, "", oribi_session_restore(session, copy, len - 1, ids, 4, &n));
  copy[len / 2] ^= 1;
  FAILS(ORIBI_STATUS_INVALID_FILE, "", oribi_session_restore(session, copy, len, ids, 4, &n));
  copy[len / 2] ^= 1;
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "room for 1", oribi_session_restore(session, copy, len, ids, 1, &n));
  FAILS(ORIBI_STATUS_IO, "absent", oribi_session_restore_file(session, file_named("absent"), ids, 4, &n));
  CHECK(n == 99);
  OK(oribi_session_restore(session, copy, len, ids, 4, &n));
  CHECK(n == 2);
  FAILS(ORIBI_STATUS_INVALID_STATE, "room", oribi_session_restore(session, copy, len, ids, 4, &n));
  oribi_session_free(session);

  session = session_with("q8_0", 128, 2);
  FAILS(ORIBI_STATUS_INVALID_STATE, "", oribi_session_restore(session, copy, len, ids, 4, &n));
  oribi_session_free(session);
  session = session_with("f16", 4, 2);
  FAILS(ORIBI_STATUS_CONTEXT_FULL, "4", oribi_session_restore(session, copy, len, ids, 4, &n));
  oribi_session_free(session);
  free(copy);
}

void test_state(void) {
  oribi_session *session = session_with("f16", 128, 2), *other = session_with("f16", 64, 2);
  oribi_batch *batch = NULL;
  oribi_bytes *state = NULL;
  float expected[300], found[300];
  uint32_t ids[2] = {9, 9}, restored[2] = {9, 9}, absent = 7;
  uint64_t n_bytes = 0;
  size_t n = 0;
  OK(oribi_session_new_sequence(session, &ids[0]));
  OK(oribi_batch_new(&batch));
  OK(oribi_batch_add_prompt(batch, ids[0], TOKENS, 6));
  OK(oribi_session_decode(session, batch));
  OK(oribi_session_fork(session, ids[0], &ids[1]));
  OK(oribi_session_state_len(session, ids, 2, &n_bytes));
  OK(oribi_session_save(session, ids, 2, &state));
  CHECK(oribi_bytes_len(state) == n_bytes);
  const char *path = file_named("state.oribi");
  OK(oribi_session_save_file(session, ids, 2, path));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "sequence 7", oribi_session_state_len(session, &absent, 1, &n_bytes));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "sequence 7", oribi_session_save_file(session, &absent, 1, file_named("other")));
  FAILS(ORIBI_STATUS_IO, "", oribi_session_save_file(session, ids, 1, file_named("no/such/folder")));
  null_is_refused(session, state);
  next_logits(session, ids[0], expected);
  oribi_session_free(session);

  OK(oribi_session_restore(other, oribi_bytes_data(state), oribi_bytes_len(state), restored, 2, &n));
  CHECK(n == 2 && restored[0] != restored[1]);
  for (int i = 0; i < 2; i++) {
    OK(oribi_session_len(other, restored[i], &n));
    CHECK(n == 6);
    next_logits(other, restored[i], found);
    CHECK(memcmp(expected, found, sizeof found) == 0);
    OK(oribi_session_remove(other, restored[i]));
  }
  OK(oribi_session_restore_file(other, path, restored, 2, &n));
  CHECK(n == 2);
  next_logits(other, restored[1], found);
  CHECK(memcmp(expected, found, sizeof found) == 0);
  what_is_no_state_is_refused(state);
  CHECK(unlink(path) == 0);
  oribi_bytes_free(state);
  oribi_batch_free(batch);
  oribi_session_free(other);
}
