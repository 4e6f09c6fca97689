/* Cancel: by a callback and from another thread, before, in and between; how long it takes. */
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>

/* What a call is promised to take at most after a request. */
#define LIMIT_MS 50.0

/* A session at work. */
typedef struct {
  oribi_session *session;
  oribi_batch *batch;
  int n_inside;
} busy;

static void handle_by_itself(void) {
  oribi_cancel *cancel = NULL;
  OK(oribi_cancel_new(&cancel));
  CHECK(!oribi_cancel_is_requested(cancel));
  oribi_cancel_request(cancel);
  CHECK(oribi_cancel_is_requested(cancel));
  oribi_cancel_reset(cancel);
  CHECK(!oribi_cancel_is_requested(cancel));
  oribi_cancel_free(cancel);
  NULL_REFUSED("cancel", oribi_cancel_new(NULL));
  oribi_cancel_request(NULL);
  oribi_cancel_reset(NULL);
  CHECK(!oribi_cancel_is_requested(NULL));
  oribi_cancel_free(NULL);
}

static bool stop_from_third(void *userdata) { return ++*(int *)userdata >= 3; }

static void by_callback(void) {
  int n_asked = 0;
  oribi_options *options = greedy_options(10);
  oribi_model *model = NULL;
  OK(oribi_options_set_cancel_callback(options, stop_from_third, &n_asked));
  FAILS(ORIBI_STATUS_CANCELLED, "cancelled", oribi_model_open(file_named("tiny.gguf"), options, &model));
  CHECK(n_asked >= 3 && model == NULL);

  static const uint32_t prompt[] = {1, 20, 30, 40};
  oribi_session *session = NULL;
  oribi_sampler *sampler = NULL;
  oribi_generation *generation = NULL;
  oribi_batch *batch = NULL;
  const oribi_piece *piece = NULL;
  oribi_stop_reason reason;
  uint32_t sequence = 0;
  size_t n = 0;
  OK(oribi_session_new(tiny_model(), options, &session));
  OK(oribi_session_new_sequence(session, &sequence));
  OK(oribi_batch_new(&batch));
  OK(oribi_batch_add_prompt(batch, sequence, prompt, 4));
  n_asked = 0;
  FAILS(ORIBI_STATUS_CANCELLED, "cancelled", oribi_session_decode(session, batch));
  OK(oribi_session_len(session, sequence, &n));
  CHECK(n == 0);
  /* The generation has no callbacks of its own: those of the session count. */
  OK(oribi_sampler_new(tiny_tokenizer(), NULL, &sampler));
  OK(oribi_generation_new(session, sequence, sampler, prompt, 4, NULL, &generation));
  n_asked = 0;
  FAILS(ORIBI_STATUS_CANCELLED, "cancelled", oribi_generation_next(generation, &piece));
  n_asked = -1000000;
  FAILS(ORIBI_STATUS_CANCELLED, "cancelled", oribi_generation_next(generation, &piece));
  OK(oribi_generation_stop_reason(generation, &reason));
  CHECK(reason == ORIBI_STOP_REASON_CANCELLED);
  OK(oribi_session_decode(session, batch)); /* the session goes on */
  oribi_generation_free(generation);
  oribi_batch_free(batch);
  oribi_sampler_free(sampler);
  oribi_session_free(session);
  oribi_options_free(options);
}

/* Another thread: waits until work has begun, and some time more, then requests. */
typedef struct {
  oribi_cancel *cancel;
  int delay_ms;
  volatile bool has_begun;
  double requested_ms;
} requester;

static void begun(void *userdata, oribi_phase phase, uint64_t done, uint64_t total) {
  (void)phase, (void)done, (void)total;
  __atomic_store_n(&((requester *)userdata)->has_begun, true, __ATOMIC_RELEASE);
}

static void *request(void *userdata) {
  requester *r = userdata;
  while (!__atomic_load_n(&r->has_begun, __ATOMIC_ACQUIRE)) sleep_ms(1);
  sleep_ms(r->delay_ms);
  r->requested_ms = now_ms();
  oribi_cancel_request(r->cancel);
  return NULL;
}

/* The longest of an attempt. */
static double longest_ms;

static void took(const char *what, const requester *r, double returned_ms) {
  double ms = returned_ms - r->requested_ms;
  printf("measured: cancelled %s %.1f ms after the request\n", what, ms);
  if (ms > longest_ms) longest_ms = ms;
}

static void from_another_thread(const char *path, const oribi_model *model, const char *name, int delay_ms) {
  requester r = {0};
  pthread_t thread;
  char what[128];
  oribi_options *options = greedy_options(100000);
  OK(oribi_options_set_int(options, "n_ctx", 6000));
  OK(oribi_cancel_new(&r.cancel));
  OK(oribi_options_set_cancel(options, r.cancel));

  /* A load, at its first sign of life. */
  oribi_model *loaded = NULL;
  OK(oribi_options_set_progress(options, begun, &r));
  pthread_create(&thread, NULL, request, &r);
  oribi_status status = oribi_model_open(path, options, &loaded);
  double returned = now_ms();
  pthread_join(thread, NULL);
  snprintf(what, sizeof what, "the load of %s", name);
  if (status == ORIBI_STATUS_CANCELLED) took(what, &r, returned);
  else CHECK(status == ORIBI_STATUS_OK && r.requested_ms > 0); /* it was ready first */
  oribi_model_free(loaded);

  /* A prompt of 4000 tokens. */
  oribi_session *session = NULL;
  oribi_batch *batch = NULL;
  uint32_t sequence = 0, *prompt = malloc(4000 * sizeof *prompt);
  size_t n = 9;
  for (size_t i = 0; i < 4000; i++) prompt[i] = (uint32_t)(i * 7 % 290 + 3);
  oribi_cancel_reset(r.cancel);
  r.has_begun = true, r.delay_ms = delay_ms;
  OK(oribi_options_set_progress(options, NULL, NULL));
  OK(oribi_session_new(model, options, &session));
  OK(oribi_session_new_sequence(session, &sequence));
  OK(oribi_batch_new(&batch));
  OK(oribi_batch_add_prompt(batch, sequence, prompt, 4000));
  pthread_create(&thread, NULL, request, &r);
  FAILS(ORIBI_STATUS_CANCELLED, "cancelled", oribi_session_decode(session, batch));
  returned = now_ms();
  pthread_join(thread, NULL);
  snprintf(what, sizeof what, "a prompt of 4000 tokens with %s", name);
  took(what, &r, returned);
  OK(oribi_session_len(session, sequence, &n));
  CHECK(n == 0);

  /* A generation. */
  oribi_tokenizer *tokenizer = NULL;
  oribi_sampler *sampler = NULL;
  oribi_generation *generation = NULL;
  const oribi_piece *piece = NULL;
  oribi_cancel_reset(r.cancel);
  OK(oribi_model_tokenizer(model, &tokenizer));
  OK(oribi_sampler_new(tokenizer, options, &sampler));
  OK(oribi_generation_new(session, sequence, sampler, prompt, 8, options, &generation));
  pthread_create(&thread, NULL, request, &r);
  do status = oribi_generation_next(generation, &piece);
  while (status == ORIBI_STATUS_OK && piece != NULL);
  returned = now_ms();
  CHECK(status == ORIBI_STATUS_CANCELLED);
  pthread_join(thread, NULL);
  snprintf(what, sizeof what, "a generation with %s", name);
  took(what, &r, returned);

  oribi_generation_free(generation);
  oribi_sampler_free(sampler);
  oribi_tokenizer_free(tokenizer);
  free(prompt);
  oribi_batch_free(batch);
  oribi_session_free(session);
  oribi_options_free(options);
  oribi_cancel_free(r.cancel);
}

/* A long prompt that keeps the model's threads busy. */
static void *compute(void *userdata) {
  busy *b = userdata;
  FAILS(ORIBI_STATUS_CANCELLED, "cancelled", oribi_session_decode(b->session, b->batch));
  return NULL;
}

/* A batch that waits for its turn on the model's threads is cancelled as soon as one that computes. */
static void while_another_session_computes(const oribi_model *model, const char *name) {
  busy b = {0};
  requester r = {.has_begun = true, .delay_ms = 60};
  pthread_t computing, requesting;
  oribi_cancel *end = NULL;
  oribi_session *waiting = NULL;
  oribi_batch *batch = NULL;
  char what[128];
  uint32_t first = 0, second = 0;
  oribi_options *options = greedy_options(1);
  OK(oribi_options_set_int(options, "n_ctx", 8000));
  OK(oribi_options_set_int(options, "n_batch", 4000));
  OK(oribi_cancel_new(&end));
  OK(oribi_options_set_cancel(options, end));
  OK(oribi_session_new(model, options, &b.session));
  OK(oribi_session_new_sequence(b.session, &first));
  OK(oribi_batch_new(&b.batch));
  for (uint32_t i = 0; i < 4000; i++) OK(oribi_batch_add(b.batch, first, i % 290 + 3, ORIBI_ROLE_PROMPT, false));
  OK(oribi_cancel_new(&r.cancel));
  OK(oribi_options_set_cancel(options, r.cancel));
  OK(oribi_session_new(model, options, &waiting));
  OK(oribi_session_new_sequence(waiting, &second));
  OK(oribi_batch_new(&batch));
  for (uint32_t i = 0; i < 4000; i++) OK(oribi_batch_add(batch, second, i % 290 + 3, ORIBI_ROLE_PROMPT, false));

  pthread_create(&computing, NULL, compute, &b);
  sleep_ms(10);
  pthread_create(&requesting, NULL, request, &r);
  FAILS(ORIBI_STATUS_CANCELLED, "cancelled", oribi_session_decode(waiting, batch));
  double returned = now_ms();
  oribi_cancel_request(end);
  pthread_join(requesting, NULL);
  pthread_join(computing, NULL);
  snprintf(what, sizeof what, "a prompt that waits for another with %s", name);
  took(what, &r, returned);
  oribi_batch_free(batch);
  oribi_batch_free(b.batch);
  oribi_session_free(waiting);
  oribi_session_free(b.session);
  oribi_cancel_free(r.cancel);
  oribi_cancel_free(end);
  oribi_options_free(options);
}

/* Other tests and programs run beside this one, so one attempt of three must keep the limit. */
static void within_the_limit(const char *path, const oribi_model *model, const char *name, int delay_ms) {
  for (int attempt = 0; attempt < 3; attempt++) {
    longest_ms = 0;
    from_another_thread(path, model, name, delay_ms);
    if (real_model() != NULL && path == real_model()) while_another_session_computes(model, name);
    if (longest_ms < LIMIT_MS || is_untimed()) return;
  }
  CHECK(longest_ms < LIMIT_MS);
}

/* A callback that tries to compute in the middle of a computation. */
static bool compute_inside(void *userdata) {
  busy *b = userdata;
  uint32_t sequence = 0;
  if (b->n_inside++ == 1) {
    oribi_session *session = NULL;
    OK(oribi_session_new(tiny_model(), NULL, &session));
    OK(oribi_session_new_sequence(session, &sequence));
    FAILS(ORIBI_STATUS_INVALID_STATE, "callback", oribi_session_decode(session, b->batch));
    oribi_session_free(session);
  }
  return false;
}

static void not_inside_a_computation(void) {
  static const uint32_t prompt[] = {1, 20, 30, 40};
  busy b = {0};
  uint32_t sequence = 0;
  oribi_options *options = greedy_options(1);
  OK(oribi_options_set_cancel_callback(options, compute_inside, &b));
  OK(oribi_session_new(tiny_model(), options, &b.session));
  OK(oribi_session_new_sequence(b.session, &sequence));
  OK(oribi_batch_new(&b.batch));
  OK(oribi_batch_add_prompt(b.batch, sequence, prompt, 4));
  OK(oribi_session_decode(b.session, b.batch));
  CHECK(b.n_inside > 1);
  oribi_batch_free(b.batch);
  oribi_session_free(b.session);
  oribi_options_free(options);
}

void test_cancel(void) {
  not_inside_a_computation();
  handle_by_itself();
  by_callback();
  within_the_limit(file_named("tiny.gguf"), tiny_model(), "a tiny model", 20);
  if (real_model() != NULL) {
    oribi_model *model = NULL;
    OK(oribi_model_open(real_model(), NULL, &model));
    within_the_limit(real_model(), model, "the real model", 150);
    oribi_model_free(model);
  }
}
