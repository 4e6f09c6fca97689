/* Perplexity: a figure with its error, the same however it is computed; what is refused, cancel. */
#include "harness.h"

#include <stdlib.h>

/* Words enough for two chunks of the tiny model. */
static char *long_text(void) {
  static const char words[] = "the quick brown fox jumps over the lazy dog; ";
  size_t n = sizeof words - 1, times = 60;
  char *text = malloc(n * times + 1);
  CHECK(text != NULL);
  for (size_t i = 0; i < times; i++) memcpy(text + i * n, words, n);
  text[n * times] = 0;
  return text;
}

static void told(void *userdata, oribi_phase phase, uint64_t done, uint64_t total) {
  CHECK(phase == ORIBI_PHASE_EVALUATE && done <= total);
  *(uint64_t *)userdata = done;
}

static bool at_once(void *userdata) {
  int *asked = userdata;
  return ++*asked > 1; /* not before anything is done */
}

void test_perplexity(void) {
  char *text = long_text();
  double value = 0, error = 0, again = 0;
  uint64_t done = 0;
  int asked = 0;
  oribi_options *options = greedy_options(1);
  OK(oribi_options_set_text(options, "numerics", "portable", ORIBI_TO_NUL));
  OK(oribi_options_set_progress(options, told, &done));
  OK(oribi_model_perplexity(tiny_model(), options, text, ORIBI_TO_NUL, 2, &value, &error));
  CHECK(value > 1 && value < 1e6 && error > 0 && error < value && done == 2);
  OK(oribi_options_set_int(options, "n_batch", 7));
  OK(oribi_model_perplexity(tiny_model(), options, text, strlen(text), 2, &again, &error));
  CHECK(again == value);

  value = 7;
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "chunk", oribi_model_perplexity(tiny_model(), options, "short", 5, 0, &value, &error));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "1000 chunks",
        oribi_model_perplexity(tiny_model(), options, text, ORIBI_TO_NUL, 1000, &value, &error));
  NULL_REFUSED("model", oribi_model_perplexity(NULL, options, text, ORIBI_TO_NUL, 1, &value, &error));
  NULL_REFUSED("text", oribi_model_perplexity(tiny_model(), options, NULL, 5, 1, &value, &error));
  NULL_REFUSED("perplexity", oribi_model_perplexity(tiny_model(), options, text, ORIBI_TO_NUL, 1, NULL, &error));
  NULL_REFUSED("standard_error", oribi_model_perplexity(tiny_model(), options, text, ORIBI_TO_NUL, 1, &value, NULL));
  OK(oribi_options_set_int(options, "max_memory", 1000));
  FAILS(ORIBI_STATUS_OUT_OF_MEMORY, "max_memory",
        oribi_model_perplexity(tiny_model(), options, text, ORIBI_TO_NUL, 1, &value, &error));
  OK(oribi_options_reset(options, "max_memory"));
  OK(oribi_options_set_cancel_callback(options, at_once, &asked));
  FAILS(ORIBI_STATUS_CANCELLED, "", oribi_model_perplexity(tiny_model(), options, text, ORIBI_TO_NUL, 0, &value, &error));
  CHECK(value == 7);
  oribi_options_free(options);
  free(text);
}
