/* Models: loading, what a file can have wrong, numbers. */
#include "harness.h"

static void wrong_models_have_their_status(void) {
  oribi_model *model = NULL;
  oribi_options *options = NULL;
  FAILS(ORIBI_STATUS_IO, "absent.gguf", oribi_model_open(file_named("absent.gguf"), NULL, &model));
  FAILS(ORIBI_STATUS_NOT_GGUF, "HTML", oribi_model_open(file_named("garbage.gguf"), NULL, &model));
  FAILS(ORIBI_STATUS_MISSING_KEY, "general.architecture", oribi_model_open(file_named("no-architecture.gguf"), NULL, &model));
  FAILS(ORIBI_STATUS_UNSUPPORTED, "mystery", oribi_model_open(file_named("unknown-architecture.gguf"), NULL, &model));
  FAILS(ORIBI_STATUS_WRONG_TYPE, "block_count", oribi_model_open(file_named("wrong-type.gguf"), NULL, &model));
  FAILS(ORIBI_STATUS_INVALID_MODEL, "heads", oribi_model_open(file_named("wrong-heads.gguf"), NULL, &model));
  NULL_REFUSED("path", oribi_model_open(NULL, NULL, &model));
  NULL_REFUSED("model", oribi_model_open(file_named("tiny.gguf"), NULL, NULL));
  OK(oribi_options_new(&options));
#if defined(__x86_64__)
  OK(oribi_options_set_text(options, "isa", "neon", 4));
#else
  OK(oribi_options_set_text(options, "isa", "avx2", 4));
#endif
  FAILS(ORIBI_STATUS_DEVICE, "cpu", oribi_model_open(file_named("tiny.gguf"), options, &model));
  CHECK(model == NULL);
  oribi_options_free(options);
}

static void numbers_are_those_of_the_file(void) {
  const oribi_model *tiny = tiny_model();
  CHECK(strcmp(oribi_model_architecture(tiny), "llama") == 0);
  CHECK(oribi_model_isa(tiny)[0] != '\0');
  CHECK(oribi_model_n_tokens(tiny) == 300 && oribi_model_n_ctx_train(tiny) == 1024 && oribi_model_dim(tiny) == 256);
  CHECK(oribi_model_n_blocks(tiny) == 2 && oribi_model_n_heads(tiny) == 4 && oribi_model_n_kv_heads(tiny) == 2);
  CHECK(oribi_model_n_threads(tiny) == oribi_cpu_default_threads());
  CHECK(oribi_model_bytes_per_token(tiny) > 100000 && oribi_model_load_seconds(tiny) > 0);
  (void)oribi_model_is_native(tiny);

  CHECK(oribi_model_architecture(NULL) == NULL && oribi_model_isa(NULL) == NULL);
  CHECK(oribi_model_n_tokens(NULL) == 0 && oribi_model_n_ctx_train(NULL) == 0 && oribi_model_dim(NULL) == 0);
  CHECK(oribi_model_n_blocks(NULL) == 0 && oribi_model_n_heads(NULL) == 0 && oribi_model_n_kv_heads(NULL) == 0);
  CHECK(oribi_model_n_threads(NULL) == 0 && oribi_model_bytes_per_token(NULL) == 0);
  CHECK(!oribi_model_is_native(NULL) && oribi_model_load_seconds(NULL) == 0);
  oribi_model_free(NULL);
}

static void options_decide_how_it_runs(void) {
  static const uint32_t prompt[] = {1, 20, 30};
  uint32_t expected[6], tokens[6];
  oribi_options *options = NULL;
  oribi_model *model = NULL;
  oribi_file *file = NULL, *again = NULL;
  OK(oribi_options_new(&options));
  OK(oribi_options_set_int(options, "n_threads", 3));
  OK(oribi_options_set_text(options, "isa", "scalar", ORIBI_TO_NUL));
  OK(oribi_options_set_bool(options, "pack_weights", false));
  OK(oribi_options_set_bool(options, "huge_pages", false));
  OK(oribi_file_open(file_named("tiny.gguf"), &file));
  OK(oribi_model_load(file, options, &model));
  CHECK(oribi_model_n_threads(model) == 3 && strcmp(oribi_model_isa(model), "scalar") == 0);
  CHECK(generate(tiny_model(), prompt, 3, expected, 6) == 6 && generate(model, prompt, 3, tokens, 6) == 6);
  if (!oribi_model_is_native(tiny_model())) CHECK(memcmp(expected, tokens, sizeof tokens) == 0);

  OK(oribi_model_file(model, &again));
  CHECK(oribi_file_n_tensors(again) == oribi_file_n_tensors(file) && oribi_file_len(again) == oribi_file_len(file));
  NULL_REFUSED("model", oribi_model_file(NULL, &again));
  NULL_REFUSED("file", oribi_model_file(model, NULL));
  oribi_model *none = NULL;
  NULL_REFUSED("file", oribi_model_load(NULL, options, &none));
  NULL_REFUSED("model", oribi_model_load(file, options, NULL));
  oribi_file_free(again);
  oribi_file_free(file);
  oribi_model_free(model);
  oribi_options_free(options);
}

void test_model(void) {
  wrong_models_have_their_status();
  numbers_are_those_of_the_file();
  options_decide_how_it_runs();
}
