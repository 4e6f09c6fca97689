/* Continues a text: main MODEL.gguf PROMPT. Prints the version of the library, and the tokens. */
#include <oribi.h>
#include <stdio.h>

int main(int argc, char **argv) {
  oribi_options *options = NULL;
  oribi_model *model = NULL;
  oribi_tokenizer *tokenizer = NULL;
  oribi_tokens *prompt = NULL;
  oribi_session *session = NULL;
  oribi_sampler *sampler = NULL;
  oribi_generation *generation = NULL;
  const oribi_piece *piece = NULL;
  uint32_t sequence = 0;
  if (argc != 3 || oribi_abi_version() != ORIBI_ABI_VERSION) return 2;

  oribi_status status = oribi_options_new(&options);
  if (status == ORIBI_STATUS_OK) status = oribi_options_set_float(options, "temp", 0);
  if (status == ORIBI_STATUS_OK) status = oribi_options_set_int(options, "max_tokens", 8);
  if (status == ORIBI_STATUS_OK) status = oribi_options_set_int(options, "n_ctx", 128);
  if (status == ORIBI_STATUS_OK) status = oribi_options_set_bool(options, "ban_end_of_generation", true);
  if (status == ORIBI_STATUS_OK) status = oribi_model_open(argv[1], options, &model);
  if (status == ORIBI_STATUS_OK) status = oribi_model_tokenizer(model, &tokenizer);
  if (status == ORIBI_STATUS_OK) status = oribi_tokenizer_encode(tokenizer, argv[2], ORIBI_TO_NUL, true, false, &prompt);
  if (status == ORIBI_STATUS_OK) status = oribi_session_new(model, options, &session);
  if (status == ORIBI_STATUS_OK) status = oribi_session_new_sequence(session, &sequence);
  if (status == ORIBI_STATUS_OK) status = oribi_sampler_new(tokenizer, options, &sampler);
  if (status == ORIBI_STATUS_OK)
    status = oribi_generation_new(session, sequence, sampler, oribi_tokens_data(prompt), oribi_tokens_len(prompt), options,
                                  &generation);
  if (status == ORIBI_STATUS_OK) printf("oribi %s:", oribi_version());
  while (status == ORIBI_STATUS_OK) {
    status = oribi_generation_next(generation, &piece);
    if (status != ORIBI_STATUS_OK || piece == NULL) break;
    printf(" %u", (unsigned)oribi_piece_token(piece));
  }
  if (status != ORIBI_STATUS_OK) fprintf(stderr, "%s\n", oribi_last_error());
  else printf("\n");

  oribi_generation_free(generation);
  oribi_sampler_free(sampler);
  oribi_session_free(session);
  oribi_tokens_free(prompt);
  oribi_tokenizer_free(tokenizer);
  oribi_model_free(model);
  oribi_options_free(options);
  return status != ORIBI_STATUS_OK;
}
