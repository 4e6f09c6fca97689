/* Handles are freed in every order: each keeps alive what it needs. */
#include "harness.h"

enum { FILE_, MODEL, TOKENIZER, SESSION, SAMPLER, GENERATION, OPTIONS, CANCEL, N_HANDLES };

typedef struct {
  oribi_file *file;
  oribi_model *model;
  oribi_tokenizer *tokenizer;
  oribi_session *session;
  oribi_sampler *sampler;
  oribi_generation *generation;
  oribi_options *options;
  oribi_cancel *cancel;
} handles;

static void make(handles *h) {
  static const uint32_t prompt[] = {1, 20, 30};
  uint32_t sequence = 0;
  memset(h, 0, sizeof *h);
  OK(oribi_cancel_new(&h->cancel));
  h->options = greedy_options(100);
  OK(oribi_options_set_cancel(h->options, h->cancel));
  OK(oribi_file_open(file_named("tiny.gguf"), &h->file));
  OK(oribi_model_load(h->file, h->options, &h->model));
  OK(oribi_model_tokenizer(h->model, &h->tokenizer));
  OK(oribi_session_new(h->model, h->options, &h->session));
  OK(oribi_session_new_sequence(h->session, &sequence));
  OK(oribi_sampler_new(h->tokenizer, h->options, &h->sampler));
  OK(oribi_generation_new(h->session, sequence, h->sampler, prompt, 3, h->options, &h->generation));
}

/* Free one handle, and use those that are left. */
static void release(handles *h, int which) {
  switch (which) {
    case FILE_: oribi_file_free(h->file), h->file = NULL; break;
    case MODEL: oribi_model_free(h->model), h->model = NULL; break;
    case TOKENIZER: oribi_tokenizer_free(h->tokenizer), h->tokenizer = NULL; break;
    case SESSION: oribi_session_free(h->session), h->session = NULL; break;
    case SAMPLER: oribi_sampler_free(h->sampler), h->sampler = NULL; break;
    case GENERATION: oribi_generation_free(h->generation), h->generation = NULL; break;
    case OPTIONS: oribi_options_free(h->options), h->options = NULL; break;
    case CANCEL: oribi_cancel_free(h->cancel), h->cancel = NULL; break;
    default: break;
  }
  const oribi_piece *piece = NULL;
  const char *text = NULL;
  size_t n = 0;
  if (h->file != NULL) OK(oribi_file_metadata_key(h->file, 0, &text, &n));
  if (h->model != NULL) CHECK(oribi_model_n_tokens(h->model) == 300);
  if (h->tokenizer != NULL) OK(oribi_tokenizer_token_text(h->tokenizer, 9, &text, &n));
  if (h->session != NULL) OK(oribi_session_len(h->session, 0, &n));
  if (h->sampler != NULL) OK(oribi_sampler_accept(h->sampler, 5));
  if (h->generation != NULL) {
    OK(oribi_generation_next(h->generation, &piece));
    CHECK(piece != NULL);
  }
  if (h->cancel != NULL) CHECK(!oribi_cancel_is_requested(h->cancel));
}

/* Every order of freeing `n` handles; order[0..at] is chosen. The others are freed after them. */
static void every_order(int *order, int at, int n) {
  if (at == n) {
    handles h;
    make(&h);
    for (int i = 0; i < n; i++) release(&h, order[i]);
    release(&h, FILE_), release(&h, OPTIONS), release(&h, CANCEL);
    return;
  }
  for (int i = at; i < n; i++) {
    int chosen = order[i];
    order[i] = order[at], order[at] = chosen;
    every_order(order, at + 1, n);
    order[at] = order[i], order[i] = chosen;
  }
}

void test_order(void) {
  int dependent[] = {MODEL, TOKENIZER, SESSION, SAMPLER, GENERATION};
  every_order(dependent, 0, 5);
  /* All handles: every one first, and every one last. */
  for (int first = 0; first < N_HANDLES; first++) {
    handles h;
    make(&h);
    for (int i = 0; i < N_HANDLES; i++) release(&h, (first + i) % N_HANDLES);
    make(&h);
    for (int i = 0; i < N_HANDLES; i++) release(&h, (first + N_HANDLES - i) % N_HANDLES);
  }
}
