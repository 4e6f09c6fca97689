/*
 * sessions_on_threads.c - one model, and a thread with a session of its own for each prompt. The model is immutable and shared;
 * sessions take turns on its threads. Each result is what its prompt would give alone.
 *
 *   cc -std=c99 sessions_on_threads.c -o sessions_on_threads $(pkg-config --cflags --libs oribi) -pthread
 *   ./sessions_on_threads MODEL.gguf "The capital of France is" "The capital of Italy is"
 */
#include <pthread.h>

#include "must.h"

/* What a thread is given, and what it gives back. */
enum { MAX_TOKENS = 24, MAX_JOBS = 64 };

typedef struct {
  const oribi_model *model;
  const oribi_tokenizer *tokenizer;
  const oribi_options *options;
  const char *prompt;
  uint32_t tokens[MAX_TOKENS];
  size_t n_tokens;
} job;

static void *work(void *argument) {
  job *j = argument;
  oribi_session *session = NULL;
  oribi_tokens *prompt = NULL;
  oribi_sampler *sampler = NULL;
  oribi_generation *generation = NULL;
  uint32_t sequence;
  MUST(oribi_session_new(j->model, j->options, &session));
  MUST(oribi_session_new_sequence(session, &sequence));
  MUST(oribi_tokenizer_encode(j->tokenizer, j->prompt, ORIBI_TO_NUL, true, false, &prompt));
  MUST(oribi_sampler_new(j->tokenizer, j->options, &sampler));
  MUST(oribi_generation_new(session, sequence, sampler, oribi_tokens_data(prompt), oribi_tokens_len(prompt), j->options, &generation));

  for (;;) {
    const oribi_piece *piece = NULL;
    MUST(oribi_generation_next(generation, &piece)); /* at most max_tokens pieces */
    if (piece == NULL) break;
    j->tokens[j->n_tokens++] = oribi_piece_token(piece);
  }

  oribi_generation_free(generation);
  oribi_sampler_free(sampler);
  oribi_tokens_free(prompt);
  oribi_session_free(session);
  return NULL;
}

/* The text of a continuation. A decoder never splits a character, and keeps the space in front of a first word. */
static void print(const job *j) {
  oribi_decoder *decoder = NULL;
  const char *text;
  size_t len_bytes;
  printf("%s", j->prompt);
  MUST(oribi_decoder_new(j->tokenizer, false, &decoder));
  for (size_t i = 0; i < j->n_tokens; i++) {
    MUST(oribi_decoder_push(decoder, j->tokens[i], &text, &len_bytes));
    fwrite(text, 1, len_bytes, stdout);
  }
  MUST(oribi_decoder_finish(decoder, &text, &len_bytes));
  fwrite(text, 1, len_bytes, stdout);
  putchar('\n');
  oribi_decoder_free(decoder);
}

int main(int argc, char **argv) {
  int n = argc - 2;
  if (n < 1 || n > MAX_JOBS) {
    fprintf(stderr, "usage: sessions_on_threads MODEL.gguf PROMPT... (at most %d prompts)\n", MAX_JOBS);
    return 2;
  }
  oribi_options *options = NULL;
  oribi_model *model = NULL;
  oribi_tokenizer *tokenizer = NULL;
  MUST(oribi_options_new(&options));
  MUST(oribi_options_set_float(options, "temp", 0));
  MUST(oribi_options_set_int(options, "max_tokens", MAX_TOKENS));
  MUST(oribi_options_set_int(options, "n_ctx", 512)); /* bounds the memory of each session */
  MUST(oribi_model_open(argv[1], options, &model));
  MUST(oribi_model_tokenizer(model, &tokenizer));

  job jobs[MAX_JOBS];
  pthread_t threads[MAX_JOBS];
  for (int i = 0; i < n; i++) {
    jobs[i] = (job){.model = model, .tokenizer = tokenizer, .options = options, .prompt = argv[2 + i]};
    if (pthread_create(&threads[i], NULL, work, &jobs[i]) != 0) {
      fprintf(stderr, "no thread\n");
      return 1;
    }
  }
  for (int i = 0; i < n; i++) {
    pthread_join(threads[i], NULL);
    print(&jobs[i]);
  }

  oribi_tokenizer_free(tokenizer);
  oribi_model_free(model);
  oribi_options_free(options);
  return 0;
}
