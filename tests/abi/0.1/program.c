/* A program of the time of oribi 0.1, compiled against the header beside it and never changed after the release of 0.1: it must run
 * with every later library of the same binary interface. program MODEL.gguf PROMPT prints what tests/consumers/main.c prints;
 * `program` alone prints how many functions of the header it has found. */
#include "oribi.h"

#include <stdio.h>
#include <string.h>

/* The addresses of all functions of the header, made from it by the test. */
extern void (*const every_function[])(void);
extern const size_t n_functions;

static size_t n_loaded;

static void on_progress(void *userdata, oribi_phase phase, uint64_t done, uint64_t total) {
  if (userdata == &n_loaded && phase == ORIBI_PHASE_LOAD && done <= total) n_loaded++;
}

static bool on_piece(void *userdata, const oribi_piece *piece) {
  (void)userdata;
  printf(" %u", (unsigned)oribi_piece_token(piece));
  return true;
}

#define TRY(call)                                                          \
  do {                                                                     \
    if ((call) != ORIBI_STATUS_OK) {                                       \
      fprintf(stderr, "line %d: %s\n", __LINE__, oribi_last_error());      \
      return 1;                                                            \
    }                                                                      \
  } while (0)
#define EXPECT(condition)                                                  \
  do {                                                                     \
    if (!(condition)) {                                                    \
      fprintf(stderr, "line %d: not %s\n", __LINE__, #condition);          \
      return 1;                                                            \
    }                                                                      \
  } while (0)

int main(int argc, char **argv) {
  size_t n_found = 0;
  for (size_t i = 0; i < n_functions; i++) n_found += every_function[i] != NULL;
  if (argc != 3) {
    printf("%zu functions\n", n_found);
    return n_found != n_functions;
  }
  EXPECT(oribi_abi_version() == ORIBI_ABI_VERSION);

  oribi_options *options = NULL;
  TRY(oribi_options_new(&options));
  TRY(oribi_options_set_float(options, "temp", 0));
  TRY(oribi_options_set_int(options, "max_tokens", 8));
  TRY(oribi_options_set_int(options, "n_ctx", 128));
  TRY(oribi_options_set_bool(options, "ban_end_of_generation", true));
  TRY(oribi_options_set_progress(options, on_progress, &n_loaded));
  EXPECT(oribi_options_set_int(options, "no such option", 1) == ORIBI_STATUS_INVALID_ARGUMENT);
  EXPECT(strstr(oribi_last_error(), "no such option") != NULL);

  oribi_file *file = NULL;
  EXPECT(oribi_file_open("no such file", &file) == ORIBI_STATUS_IO && file == NULL);
  TRY(oribi_file_open(argv[1], &file));
  size_t index = 0, len_bytes = 0;
  const char *text = NULL;
  TRY(oribi_file_metadata_find(file, "general.architecture", &index));
  TRY(oribi_file_metadata_texts(file, index, &text, &len_bytes, 1));
  EXPECT(len_bytes == 5 && memcmp(text, "llama", 5) == 0);

  oribi_model *model = NULL;
  oribi_tokenizer *tokenizer = NULL;
  oribi_tokens *prompt = NULL;
  oribi_session *session = NULL;
  oribi_sampler *sampler = NULL;
  oribi_generation *generation = NULL;
  uint32_t sequence = 0;
  TRY(oribi_model_load(file, options, &model));
  EXPECT(n_loaded > 0);
  oribi_file_free(file);
  TRY(oribi_model_tokenizer(model, &tokenizer));
  TRY(oribi_tokenizer_encode(tokenizer, argv[2], ORIBI_TO_NUL, true, false, &prompt));
  TRY(oribi_session_new(model, options, &session));
  TRY(oribi_session_new_sequence(session, &sequence));
  TRY(oribi_sampler_new(tokenizer, options, &sampler));
  TRY(oribi_generation_new(session, sequence, sampler, oribi_tokens_data(prompt), oribi_tokens_len(prompt), options,
                           &generation));
  oribi_model_free(model); /* the session keeps it */
  printf("oribi %s:", oribi_version());
  TRY(oribi_generation_run(generation, on_piece, NULL));
  printf("\n");
  oribi_stop_reason reason = ORIBI_STOP_REASON_NONE;
  TRY(oribi_generation_stop_reason(generation, &reason));
  EXPECT(reason == ORIBI_STOP_REASON_LENGTH);

  oribi_generation_free(generation);
  oribi_sampler_free(sampler);
  oribi_session_free(session);
  oribi_tokens_free(prompt);
  oribi_tokenizer_free(tokenizer);
  oribi_options_free(options);
  return 0;
}
