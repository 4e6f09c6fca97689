/* Quantization: a file at another level, exact sizes before it is made, what is refused, cancel. */
#include "harness.h"

#include <stdlib.h>
#include <unistd.h>

/* A path in a folder for results, which the fixture does not have. */
static const char *result(char *path, size_t n, const char *name) {
  snprintf(path, n, "%s.%ld", file_named(name), (long)getpid());
  return path;
}

static uint64_t size_of(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) return 0;
  CHECK(fseek(file, 0, SEEK_END) == 0);
  long size = ftell(file);
  fclose(file);
  return (uint64_t)size;
}

static void told(void *userdata, oribi_phase phase, uint64_t done, uint64_t total) {
  uint64_t *last = userdata;
  CHECK(phase == ORIBI_PHASE_QUANTIZE && done >= *last && done <= total);
  *last = done;
}

static void makes_a_file_that_runs(void) {
  static const uint32_t prompt[] = {1, 20, 30};
  char path[1100];
  uint32_t tokens[4];
  uint64_t n_bytes = 0, last = 0;
  oribi_file *file = NULL, *made = NULL;
  oribi_options *options = greedy_options(4);
  oribi_model *model = NULL;
  OK(oribi_file_open(file_named("tiny.gguf"), &file));
  OK(oribi_options_set_bool(options, "requantize", true));
  OK(oribi_options_add_text(options, "tensor_types", "attn_v=Q6_K", ORIBI_TO_NUL));
  OK(oribi_options_set_progress(options, told, &last));
  OK(oribi_file_quantized_len(file, options, "Q4_K_M", &n_bytes));
  OK(oribi_file_quantize(file, options, "Q4_K_M", result(path, sizeof path, "made.gguf")));
  CHECK(size_of(path) == n_bytes && n_bytes > 0);
  CHECK(n_bytes < size_of(file_named("tiny.gguf")) && last > 0);
  OK(oribi_options_set_progress(options, NULL, NULL));
  OK(oribi_file_open(path, &made));
  OK(oribi_model_load(made, options, &model));
  CHECK(generate_with(model, options, prompt, 3, tokens, 4) == 4);
  oribi_model_free(model);
  oribi_file_free(made);
  CHECK(remove(path) == 0);
  oribi_options_free(options);
  oribi_file_free(file);
}

static bool at_once(void *userdata) {
  int *asked = userdata;
  return ++*asked > 1; /* not before anything is done */
}

static void what_is_refused(void) {
  char path[1100];
  uint64_t n_bytes = 7;
  int asked = 0;
  oribi_file *file = NULL;
  oribi_options *options = greedy_options(1);
  result(path, sizeof path, "refused.gguf");
  OK(oribi_file_open(file_named("tiny.gguf"), &file));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "requantize", oribi_file_quantize(file, options, "Q4_K_M", path));
  OK(oribi_options_set_bool(options, "requantize", true));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "Q9_X", oribi_file_quantize(file, options, "Q9_X", path));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "Q9_X", oribi_file_quantized_len(file, options, "Q9_X", &n_bytes));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "REGEX=TYPE", oribi_options_add_text(options, "tensor_types", "attn_v", ORIBI_TO_NUL));
  OK(oribi_options_add_text(options, "tensor_types", "nobody=Q8_0", ORIBI_TO_NUL));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "nobody", oribi_file_quantize(file, options, "Q4_0", path));
  OK(oribi_options_reset(options, "tensor_types"));
  OK(oribi_options_set_text(options, "importance", "absent.gguf", ORIBI_TO_NUL));
  FAILS(ORIBI_STATUS_IO, "absent.gguf", oribi_file_quantize(file, options, "Q4_0", path));
  OK(oribi_options_reset(options, "importance"));
  FAILS(ORIBI_STATUS_IO, "no-folder", oribi_file_quantize(file, options, "Q4_0", file_named("no-folder/made.gguf")));
  OK(oribi_options_set_cancel_callback(options, at_once, &asked));
  FAILS(ORIBI_STATUS_CANCELLED, "", oribi_file_quantize(file, options, "Q4_0", path));
  CHECK(size_of(path) == 0 && n_bytes == 7);

  NULL_REFUSED("file", oribi_file_quantize(NULL, options, "Q4_0", path));
  NULL_REFUSED("level", oribi_file_quantize(file, options, NULL, path));
  NULL_REFUSED("path", oribi_file_quantize(file, options, "Q4_0", NULL));
  NULL_REFUSED("file", oribi_file_quantized_len(NULL, options, "Q4_0", &n_bytes));
  NULL_REFUSED("level", oribi_file_quantized_len(file, options, NULL, &n_bytes));
  NULL_REFUSED("n_bytes", oribi_file_quantized_len(file, options, "Q4_0", NULL));
  oribi_options_free(options);
  oribi_file_free(file);
}

void test_quantize(void) {
  makes_a_file_that_runs();
  what_is_refused();
}
