/* harness.c - see harness.h. */
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

int n_failed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder, *real;

void failed(const char *file, int line, const char *what, const char *detail) {
  pthread_mutex_lock(&lock);
  printf("%s:%d: %s%s%s\n", file, line, what, detail ? ": " : "", detail ? detail : "");
  n_failed++;
  pthread_mutex_unlock(&lock);
}

void fails_with(const char *file, int line, const char *what, oribi_status wanted, const char *word, oribi_status got) {
  char detail[512];
  if (got != wanted) {
    snprintf(detail, sizeof detail, "%s instead of %s (%s)", oribi_status_name((int32_t)got),
             oribi_status_name((int32_t)wanted), oribi_last_error());
    failed(file, line, what, detail);
  } else if (strstr(oribi_last_error(), word) == NULL) {
    snprintf(detail, sizeof detail, "\"%s\" does not say \"%s\"", oribi_last_error(), word);
    failed(file, line, what, detail);
  }
}

const char *file_named(const char *name) {
  static __thread char paths[8][1024];
  static __thread unsigned turn;
  char *path = paths[turn++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

const char *real_model(void) { return real; }

static oribi_model *model;
static oribi_tokenizer *tokenizer;

const oribi_model *tiny_model(void) {
  if (model == NULL) OK(oribi_model_open(file_named("tiny.gguf"), NULL, &model));
  return model;
}

const oribi_tokenizer *tiny_tokenizer(void) {
  if (tokenizer == NULL) OK(oribi_model_tokenizer(tiny_model(), &tokenizer));
  return tokenizer;
}

void free_tiny_model(void) {
  oribi_tokenizer_free(tokenizer);
  oribi_model_free(model);
  tokenizer = NULL;
  model = NULL;
}

oribi_options *greedy_options(int64_t max_tokens) {
  oribi_options *options = NULL;
  OK(oribi_options_new(&options));
  OK(oribi_options_set_float(options, "temp", 0));
  OK(oribi_options_set_int(options, "max_tokens", max_tokens));
  OK(oribi_options_set_int(options, "n_ctx", 512));
  OK(oribi_options_set_int(options, "n_sequences", 2));
  OK(oribi_options_set_bool(options, "ban_end_of_generation", true));
  return options;
}

size_t generate(const oribi_model *of, const uint32_t *prompt, size_t n_prompt, uint32_t *tokens, size_t n_max) {
  oribi_options *options = greedy_options((int64_t)n_max);
  size_t n = generate_with(of, options, prompt, n_prompt, tokens, n_max);
  oribi_options_free(options);
  return n;
}

size_t generate_with(const oribi_model *of, const oribi_options *options, const uint32_t *prompt, size_t n_prompt,
                     uint32_t *tokens, size_t n_max) {
  oribi_session *session = NULL;
  oribi_sampler *sampler = NULL;
  oribi_tokenizer *words = NULL;
  oribi_generation *generation = NULL;
  const oribi_piece *piece = NULL;
  uint32_t sequence = 0;
  size_t n = 0;
  OK(oribi_model_tokenizer(of, &words));
  OK(oribi_session_new(of, options, &session));
  OK(oribi_session_new_sequence(session, &sequence));
  OK(oribi_sampler_new(words, options, &sampler));
  OK(oribi_generation_new(session, sequence, sampler, prompt, n_prompt, options, &generation));
  while (oribi_generation_next(generation, &piece) == ORIBI_STATUS_OK && piece != NULL && n < n_max)
    tokens[n++] = oribi_piece_token(piece);
  oribi_generation_free(generation);
  oribi_sampler_free(sampler);
  oribi_session_free(session);
  oribi_tokenizer_free(words);
  return n;
}

bool is_untimed(void) { return getenv("ORIBI_CAPI_UNTIMED") != NULL; }

double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

void sleep_ms(int ms) {
  struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
  nanosleep(&time, NULL);
}

/* The suites, in the order of their files. */
#define SUITES(X)                                                                                             \
  X(batch) X(cancel) X(chat) X(cpu) X(decoder) X(file) X(generation) X(memory) X(metadata) X(model) X(options) X(order) \
  X(perplexity) X(quantize) X(sampler) X(session) X(state) X(status) X(tensors) X(text) X(threads) X(tokenizer)

#define DECLARE(name) void test_##name(void);
SUITES(DECLARE)

static const struct {
  const char *name;
  void (*run)(void);
} suites[] = {
#define ROW(name) {#name, test_##name},
    SUITES(ROW)
};

/* capi FOLDER REAL_MODEL|- [SUITE...]: run suites on the fixture's files; without a name all that are there. */
int main(int argc, char **argv) {
  if (argc < 3) {
    printf("usage: capi FOLDER REAL_MODEL|- [SUITE...]\n");
    return 2;
  }
  folder = argv[1];
  real = strcmp(argv[2], "-") == 0 ? NULL : argv[2];
  size_t n_run = 0;
  for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
    int wanted = argc == 3;
    for (int j = 3; j < argc; j++) wanted |= strcmp(argv[j], suites[i].name) == 0;
    if (!wanted) continue;
    int before = n_failed;
    suites[i].run();
    printf("%s %s\n", n_failed == before ? "ok" : "FAILED", suites[i].name);
    n_run++;
  }
  free_tiny_model();
  printf("%zu suites, %d failures\n", n_run, n_failed);
  return n_failed != 0 || n_run == 0;
}
