/* Threads: eight sessions of one model at once compute what each computes alone; handles that are in use say so. */
#include "harness.h"

#include <pthread.h>

#define N_THREADS 8
#define N_TOKENS 12

typedef struct {
  const oribi_model *model;
  uint32_t prompt[6], tokens[N_TOKENS];
  size_t n;
} job;

static void *run(void *userdata) {
  job *j = userdata;
  j->n = generate(j->model, j->prompt, 6, j->tokens, N_TOKENS);
  return NULL;
}

static void together_as_alone(const oribi_model *model) {
  job alone[N_THREADS], together[N_THREADS];
  pthread_t threads[N_THREADS];
  for (uint32_t i = 0; i < N_THREADS; i++) {
    alone[i] = (job){.model = model, .prompt = {1, 20 + i, 40 + 3 * i, 60, 70 + 5 * i, 90}};
    together[i] = alone[i];
    run(&alone[i]);
  }
  for (int i = 0; i < N_THREADS; i++) CHECK(pthread_create(&threads[i], NULL, run, &together[i]) == 0);
  for (int i = 0; i < N_THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  for (int i = 0; i < N_THREADS; i++)
    CHECK(alone[i].n == N_TOKENS && together[i].n == N_TOKENS &&
          memcmp(alone[i].tokens, together[i].tokens, sizeof alone[i].tokens) == 0);
}

/* During a batch, its callbacks ask for what the batch is using, and for what it is not. */
typedef struct {
  oribi_session *session;
  oribi_batch *batch;
  int n_refused;
} busy;

static void ask(void *userdata, oribi_phase phase, uint64_t done, uint64_t total) {
  busy *b = userdata;
  size_t n;
  (void)phase, (void)done, (void)total;
  FAILS(ORIBI_STATUS_INVALID_STATE, "session is in use", oribi_session_n_outputs(b->session, &n));
  FAILS(ORIBI_STATUS_INVALID_STATE, "session is in use", oribi_session_decode(b->session, b->batch));
  FAILS(ORIBI_STATUS_INVALID_STATE, "batch is in use", oribi_batch_clear(b->batch));
  OK(oribi_batch_len(b->batch, &n)); /* computing a batch does not change it */
  b->n_refused++;
}

static void a_handle_in_use_says_so(void) {
  static const uint32_t prompt[] = {1, 20, 30, 40};
  busy b = {0};
  uint32_t sequence = 0;
  oribi_options *options = greedy_options(1);
  OK(oribi_options_set_progress(options, ask, &b));
  OK(oribi_session_new(tiny_model(), options, &b.session));
  OK(oribi_session_new_sequence(b.session, &sequence));
  OK(oribi_batch_new(&b.batch));
  OK(oribi_batch_add_prompt(b.batch, sequence, prompt, 4));
  OK(oribi_session_decode(b.session, b.batch));
  CHECK(b.n_refused == 1);
  oribi_batch_free(b.batch);
  oribi_session_free(b.session);
  oribi_options_free(options);
}

/* A host's threads may have little stack: loading, a prompt and generation fit into 128 KiB, in either numerics. */
static void *load_and_run(void *userdata) {
  uint32_t prompt[300], tokens[4];
  for (uint32_t i = 0; i < 300; i++) prompt[i] = 1 + i % 200;
  oribi_options *options = greedy_options(4);
  oribi_model *model = NULL;
  OK(oribi_options_set_text(options, "numerics", userdata, ORIBI_TO_NUL));
  OK(oribi_model_open(real_model() == NULL ? file_named("tiny.gguf") : real_model(), options, &model));
  CHECK(generate_with(model, options, prompt, 300, tokens, 4) == 4);
  oribi_model_free(model);
  oribi_options_free(options);
  return NULL;
}

static void a_small_stack_suffices(void) {
  static char *const numerics[] = {"portable", "native"};
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 128 << 10) == 0);
  for (int i = 0; i < 2; i++) {
    pthread_t thread;
    CHECK(pthread_create(&thread, &attributes, load_and_run, numerics[i]) == 0 && pthread_join(thread, NULL) == 0);
  }
  CHECK(pthread_attr_destroy(&attributes) == 0);
}

/* Threads that share immutable handles: a tokenizer and a chat template. */
static void *share(void *userdata) {
  const oribi_chat_template *chat = userdata;
  for (int i = 0; i < 20; i++) {
    oribi_messages *messages = NULL;
    oribi_text *prompt = NULL;
    oribi_tokens *tokens = NULL;
    OK(oribi_messages_new(&messages));
    OK(oribi_messages_add(messages, "user", "hello", 5));
    OK(oribi_chat_template_render(chat, messages, true, &prompt));
    OK(oribi_tokenizer_encode_prompt(tiny_tokenizer(), oribi_text_data(prompt), oribi_text_len(prompt), &tokens));
    CHECK(strcmp(oribi_text_data(prompt), "<user>hello<assistant>") == 0 && oribi_tokens_len(tokens) > 5);
    oribi_tokens_free(tokens);
    oribi_text_free(prompt);
    oribi_messages_free(messages);
  }
  return NULL;
}

static void immutable_handles_are_shared(void) {
  oribi_file *file = NULL;
  oribi_chat_template *chat = NULL;
  pthread_t threads[4];
  OK(oribi_model_file(tiny_model(), &file));
  OK(oribi_chat_template_new(file, NULL, &chat));
  CHECK(tiny_tokenizer() != NULL); /* made here, so that the threads find it */
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, share, chat) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  oribi_chat_template_free(chat);
  oribi_file_free(file);
}

void test_threads(void) {
  together_as_alone(tiny_model());
  a_handle_in_use_says_so();
  immutable_handles_are_shared();
  a_small_stack_suffices();
  if (real_model() != NULL) {
    oribi_model *model = NULL;
    OK(oribi_model_open(real_model(), NULL, &model));
    together_as_alone(model);
    oribi_model_free(model);
  }
}
