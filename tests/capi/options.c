/* Options: every key and type, refusals at the setter, copies, callbacks. */
#include "harness.h"

/* Sets every option of a type to something sound. */
static void every_option_is_listed_and_settable(void) {
  oribi_options *options = NULL;
  OK(oribi_options_new(&options));
  size_t n = 0;
  for (; oribi_option_key(n) != NULL; n++) {
    const char *key = oribi_option_key(n), *type = oribi_option_type(n);
    CHECK(strlen(oribi_option_about(n)) > 0);
    if (strcmp(type, "an integer") == 0) {
      OK(oribi_options_set_int(options, key, 1));
      FAILS(ORIBI_STATUS_INVALID_ARGUMENT, key, oribi_options_set_float(options, key, 1));
    } else if (strcmp(type, "a float") == 0) {
      OK(oribi_options_set_float(options, key, 1));
      FAILS(ORIBI_STATUS_INVALID_ARGUMENT, key, oribi_options_set_int(options, key, 1));
    } else if (strcmp(type, "a bool") == 0) {
      OK(oribi_options_set_bool(options, key, true));
      FAILS(ORIBI_STATUS_INVALID_ARGUMENT, key, oribi_options_set_text(options, key, "1", 1));
    } else if (strcmp(type, "a text") == 0) {
      if (strcmp(key, "importance") == 0) /* any path may come to be */
        OK(oribi_options_set_text(options, key, "nonsense", 8));
      else
        FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "nonsense", oribi_options_set_text(options, key, "nonsense", 8));
      FAILS(ORIBI_STATUS_INVALID_ARGUMENT, key, oribi_options_set_bool(options, key, true));
    } else if (strcmp(type, "a list of texts") == 0) {
      OK(oribi_options_add_text(options, key, "x=F16", 5));
      FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "empty", oribi_options_add_text(options, key, "", 0));
      FAILS(ORIBI_STATUS_INVALID_ARGUMENT, key, oribi_options_add_token(options, key, 1));
    } else if (strcmp(type, "a list of tokens") == 0) {
      OK(oribi_options_add_token(options, key, 7));
      FAILS(ORIBI_STATUS_INVALID_ARGUMENT, key, oribi_options_add_text(options, key, "x", 1));
    } else {
      CHECK(strcmp(type, "a list of biases") == 0);
      OK(oribi_options_add_logit_bias(options, 7, -1));
    }
    OK(oribi_options_reset(options, key));
  }
  CHECK(n > 30);
  CHECK(oribi_option_about(n) == NULL && oribi_option_type(n) == NULL && oribi_option_key((size_t)-1) == NULL);
  OK(oribi_options_set_text(options, "kv_type", "q8_0", ORIBI_TO_NUL));
  OK(oribi_options_set_text(options, "numerics", "portable and more", 8));
  OK(oribi_options_set_text(options, "samplers", "top_k;temperature", ORIBI_TO_NUL));
  OK(oribi_options_set_text(options, "isa", "scalar", ORIBI_TO_NUL));
  oribi_options_free(options);
}

static void what_is_wrong_is_refused_by_name(void) {
  static const char broken[] = "\xff\xfe";
  oribi_options *options = NULL, *copy = NULL;
  OK(oribi_options_new(&options));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "\"n_cxt\"", oribi_options_set_int(options, "n_cxt", 1));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "n_threads is 1025", oribi_options_set_int(options, "n_threads", 1025));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "n_batch", oribi_options_set_int(options, "n_batch", 0));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "top_p is 2", oribi_options_set_float(options, "top_p", 2));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "temp", oribi_options_set_float(options, "temp", 1e300));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "logit_bias", oribi_options_add_logit_bias(options, 1, 1e30f));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "UTF-8", oribi_options_set_text(options, "isa", broken, 2));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "UTF-8", oribi_options_set_int(options, broken, 2));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "address space", oribi_options_set_text(options, "isa", "x", SIZE_MAX - 1));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "nothing", oribi_options_reset(options, "nothing"));

  NULL_REFUSED("options", oribi_options_new(NULL));
  NULL_REFUSED("options", oribi_options_clone(NULL, &copy));
  NULL_REFUSED("copy", oribi_options_clone(options, NULL));
  NULL_REFUSED("options", oribi_options_set_int(NULL, "n_ctx", 1));
  NULL_REFUSED("key", oribi_options_set_int(options, NULL, 1));
  NULL_REFUSED("options", oribi_options_set_float(NULL, "temp", 1));
  NULL_REFUSED("key", oribi_options_set_float(options, NULL, 1));
  NULL_REFUSED("options", oribi_options_set_bool(NULL, "huge_pages", true));
  NULL_REFUSED("key", oribi_options_set_bool(options, NULL, true));
  NULL_REFUSED("options", oribi_options_set_text(NULL, "isa", "avx2", 4));
  NULL_REFUSED("key", oribi_options_set_text(options, NULL, "avx2", 4));
  NULL_REFUSED("value", oribi_options_set_text(options, "isa", NULL, 4));
  NULL_REFUSED("value", oribi_options_set_text(options, "isa", NULL, ORIBI_TO_NUL));
  NULL_REFUSED("options", oribi_options_add_text(NULL, "stop_strings", "x", 1));
  NULL_REFUSED("key", oribi_options_add_text(options, NULL, "x", 1));
  NULL_REFUSED("value", oribi_options_add_text(options, "stop_strings", NULL, 1));
  NULL_REFUSED("options", oribi_options_add_token(NULL, "stop_tokens", 1));
  NULL_REFUSED("key", oribi_options_add_token(options, NULL, 1));
  NULL_REFUSED("options", oribi_options_add_logit_bias(NULL, 1, 1));
  NULL_REFUSED("options", oribi_options_reset(NULL, "n_ctx"));
  NULL_REFUSED("key", oribi_options_reset(options, NULL));
  NULL_REFUSED("options", oribi_options_set_log(NULL, NULL, NULL));
  NULL_REFUSED("options", oribi_options_set_progress(NULL, NULL, NULL));
  NULL_REFUSED("options", oribi_options_set_cancel_callback(NULL, NULL, NULL));
  NULL_REFUSED("options", oribi_options_set_cancel(NULL, NULL));
  oribi_options_free(options);
  oribi_options_free(NULL);
}

typedef struct {
  oribi_options *options;
  int n_infos, n_loads, n_prompts;
  uint64_t last_load, total_load;
} listener;

static void on_log(void *userdata, oribi_log_level level, const char *text, size_t len_bytes) {
  listener *l = userdata;
  CHECK(strlen(text) == len_bytes);
  if (level == ORIBI_LOG_LEVEL_INFO && strstr(text, "llama: 2 blocks") != NULL) l->n_infos++;
  /* A callback may use the library: the options were copied, so they are free. */
  OK(oribi_options_set_int(l->options, "top_k", 3));
}

static void on_progress(void *userdata, oribi_phase phase, uint64_t done, uint64_t total) {
  listener *l = userdata;
  CHECK(done <= total);
  if (phase == ORIBI_PHASE_LOAD) {
    CHECK(done >= l->last_load);
    l->n_loads++, l->last_load = done, l->total_load = total;
  }
  if (phase == ORIBI_PHASE_PROMPT) l->n_prompts++;
}

static void callbacks_are_of_the_handles_made_with_the_options(void) {
  listener heard = {0}, silent = {0};
  oribi_options *options = greedy_options(1), *copy = NULL;
  heard.options = options;
  OK(oribi_options_set_log(options, on_log, &heard));
  OK(oribi_options_set_progress(options, on_progress, &heard));
  OK(oribi_options_set_int(options, "n_batch", 2));
  OK(oribi_options_clone(options, &copy));
  OK(oribi_options_set_log(copy, NULL, &silent));
  OK(oribi_options_set_progress(copy, NULL, &silent));

  oribi_model *model = NULL;
  oribi_session *session = NULL;
  oribi_batch *batch = NULL;
  uint32_t sequence, prompt[] = {1, 2, 3, 4, 5};
  OK(oribi_model_open(file_named("tiny.gguf"), copy, &model));
  CHECK(heard.n_infos == 0 && heard.n_loads == 0);
  oribi_model_free(model);
  OK(oribi_model_open(file_named("tiny.gguf"), options, &model));
  CHECK(heard.n_infos == 1 && heard.n_loads > 2 && heard.last_load == heard.total_load);
  OK(oribi_session_new(model, options, &session));
  OK(oribi_session_new_sequence(session, &sequence));
  OK(oribi_batch_new(&batch));
  OK(oribi_batch_add_prompt(batch, sequence, prompt, 5));
  OK(oribi_session_decode(session, batch));
  CHECK(heard.n_prompts == 3);
  oribi_batch_free(batch);
  oribi_session_free(session);
  oribi_model_free(model);
  oribi_options_free(copy);
  oribi_options_free(options);
}

void test_options(void) {
  every_option_is_listed_and_settable();
  what_is_wrong_is_refused_by_name();
  callbacks_are_of_the_handles_made_with_the_options();
}
