/*
 * generate.c - continue a prompt, and print the text piece by piece.
 *
 *   cc -std=c99 generate.c -o generate $(pkg-config --cflags --libs oribi)
 *   ./generate MODEL.gguf "The capital of France is"
 */
#include "must.h"

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: generate MODEL.gguf PROMPT\n");
    return 2;
  }

  /* One set of options for everything; each handle takes what concerns it. */
  oribi_options *options = NULL;
  MUST(oribi_options_new(&options));
  MUST(oribi_options_set_float(options, "temp", 0)); /* always the most probable token */
  MUST(oribi_options_set_int(options, "max_tokens", 24));

  oribi_model *model = NULL;     /* immutable, may be shared */
  oribi_session *session = NULL; /* all that changes */
  uint32_t sequence;
  MUST(oribi_model_open(argv[1], options, &model));
  MUST(oribi_session_new(model, options, &session));
  MUST(oribi_session_new_sequence(session, &sequence));

  oribi_tokenizer *tokenizer = NULL;
  oribi_tokens *prompt = NULL;
  MUST(oribi_model_tokenizer(model, &tokenizer));
  MUST(oribi_tokenizer_encode(tokenizer, argv[2], ORIBI_TO_NUL, true, false, &prompt));

  oribi_sampler *sampler = NULL;
  oribi_generation *generation = NULL;
  MUST(oribi_sampler_new(tokenizer, options, &sampler));
  MUST(oribi_generation_new(session, sequence, sampler, oribi_tokens_data(prompt), oribi_tokens_len(prompt), options, &generation));

  const oribi_piece *piece = NULL; /* lent by the generation: nothing to free */
  for (;;) {
    const char *text;
    size_t len_bytes;
    MUST(oribi_generation_next(generation, &piece));
    if (piece == NULL) break;
    MUST(oribi_piece_text(piece, &text, &len_bytes));
    fwrite(text, 1, len_bytes, stdout);
    fflush(stdout);
  }
  putchar('\n');

  /* In any order: handles keep alive what they need. */
  oribi_model_free(model);
  oribi_session_free(session);
  oribi_tokenizer_free(tokenizer);
  oribi_tokens_free(prompt);
  oribi_sampler_free(sampler);
  oribi_generation_free(generation);
  oribi_options_free(options);
  return 0;
}
