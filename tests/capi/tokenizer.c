/* Tokenizers: text to tokens and back, attributes of tokens. */
#include "harness.h"

static bool has_token(const oribi_tokens *tokens, uint32_t token) {
  for (size_t i = 0; i < oribi_tokens_len(tokens); i++)
    if (oribi_tokens_data(tokens)[i] == token) return true;
  return false;
}

static void text_becomes_tokens_and_text_again(const oribi_tokenizer *t) {
  static const char text[] = "na\xc3\xafve </s> caf\xc3\xa9";
  oribi_tokens *tokens = NULL, *parsed = NULL;
  oribi_text *back = NULL;
  OK(oribi_tokenizer_encode(t, text, ORIBI_TO_NUL, true, false, &tokens));
  OK(oribi_tokenizer_encode(t, text, sizeof text - 1, true, true, &parsed));
  CHECK(oribi_tokens_data(tokens)[0] == 1 && oribi_tokens_len(parsed) <= oribi_tokens_len(tokens));
  CHECK(has_token(parsed, 2) && !has_token(tokens, 2));
  OK(oribi_tokenizer_decode(t, oribi_tokens_data(parsed), oribi_tokens_len(parsed), true, &back));
  CHECK(strstr(oribi_text_data(back), "</s>") != NULL && strstr(oribi_text_data(back), "<s>") != NULL);
  oribi_text_free(back);
  OK(oribi_tokenizer_decode(t, oribi_tokens_data(parsed), oribi_tokens_len(parsed), false, &back));
  CHECK(strstr(oribi_text_data(back), "</s>") == NULL && strstr(oribi_text_data(back), "caf\xc3\xa9") != NULL);
  oribi_text_free(back);
  oribi_tokens_free(parsed);
  oribi_tokens_free(tokens);

  OK(oribi_tokenizer_encode_prompt(t, "<s>x", 4, &tokens));
  OK(oribi_tokenizer_encode_prompt(t, "x", 1, &parsed));
  CHECK(oribi_tokens_data(tokens)[0] == 1 && oribi_tokens_data(tokens)[1] != 1);
  CHECK(oribi_tokens_data(parsed)[0] == 1 && oribi_tokens_len(parsed) == oribi_tokens_len(tokens));
  oribi_tokens_free(parsed);
  oribi_tokens_free(tokens);
}

static void tokens_have_attributes(const oribi_tokenizer *t) {
  oribi_token_kind kind;
  oribi_bytes *bytes = NULL;
  const char *text = NULL;
  size_t len_bytes = 0;
  uint32_t token = 0;
  CHECK(oribi_tokenizer_n_tokens(t) == 300);
  OK(oribi_tokenizer_token_text(t, 3 + 'A', &text, &len_bytes));
  TEXT_IS("<0x41>", text, len_bytes);
  OK(oribi_tokenizer_token_bytes(t, 3 + 0xff, &bytes));
  CHECK(oribi_bytes_len(bytes) == 1 && oribi_bytes_data(bytes)[0] == 0xff);
  oribi_bytes_free(bytes);
  OK(oribi_tokenizer_token_kind(t, 0, &kind));
  CHECK(kind == ORIBI_TOKEN_KIND_UNKNOWN);
  OK(oribi_tokenizer_token_kind(t, 1, &kind));
  CHECK(kind == ORIBI_TOKEN_KIND_CONTROL);
  OK(oribi_tokenizer_token_kind(t, 3, &kind));
  CHECK(kind == ORIBI_TOKEN_KIND_BYTE);
  OK(oribi_tokenizer_token_kind(t, 299, &kind));
  CHECK(kind == ORIBI_TOKEN_KIND_NORMAL);
  CHECK(oribi_tokenizer_is_end(t, 2) && !oribi_tokenizer_is_end(t, 1) && !oribi_tokenizer_is_end(t, 4000));
  OK(oribi_tokenizer_find(t, "</s>", ORIBI_TO_NUL, &token));
  CHECK(token == 2);
  OK(oribi_tokenizer_role_token(t, ORIBI_ROLE_TOKEN_BOS, &token));
  CHECK(token == 1);
  OK(oribi_tokenizer_role_token(t, ORIBI_ROLE_TOKEN_EOS, &token));
  CHECK(token == 2);
  OK(oribi_tokenizer_role_token(t, ORIBI_ROLE_TOKEN_UNK, &token));
  CHECK(token == 0);
  CHECK(oribi_tokenizer_adds_bos(t) && !oribi_tokenizer_adds_eos(t));
}

static void what_is_wrong_is_refused(const oribi_tokenizer *t) {
  static const uint32_t outside[] = {5, 300};
  oribi_tokens *tokens = NULL;
  oribi_text *back = NULL;
  oribi_bytes *bytes = NULL;
  oribi_token_kind kind;
  const char *text = NULL;
  size_t len_bytes = 0;
  uint32_t token = 0;
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "UTF-8 from its byte 1", oribi_tokenizer_encode(t, "a\xff", 2, true, false, &tokens));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "UTF-8", oribi_tokenizer_encode_prompt(t, "\xc3", 1, &tokens));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "token 300", oribi_tokenizer_decode(t, outside, 2, false, &back));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "token 300", oribi_tokenizer_token_text(t, 300, &text, &len_bytes));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "token 300", oribi_tokenizer_token_bytes(t, 300, &bytes));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "token 4294967295", oribi_tokenizer_token_kind(t, UINT32_MAX, &kind));
  FAILS(ORIBI_STATUS_MISSING_KEY, "no such token", oribi_tokenizer_find(t, "no such token", ORIBI_TO_NUL, &token));
  FAILS(ORIBI_STATUS_MISSING_KEY, "role", oribi_tokenizer_role_token(t, ORIBI_ROLE_TOKEN_FIM_PRE, &token));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "role is -3", oribi_tokenizer_role_token(t, -3, &token));

  NULL_REFUSED("tokenizer", oribi_tokenizer_encode(NULL, "a", 1, true, false, &tokens));
  NULL_REFUSED("text", oribi_tokenizer_encode(t, NULL, 1, true, false, &tokens));
  NULL_REFUSED("tokens", oribi_tokenizer_encode(t, "a", 1, true, false, NULL));
  NULL_REFUSED("tokenizer", oribi_tokenizer_encode_prompt(NULL, "a", 1, &tokens));
  NULL_REFUSED("text", oribi_tokenizer_encode_prompt(t, NULL, 1, &tokens));
  NULL_REFUSED("tokens", oribi_tokenizer_encode_prompt(t, "a", 1, NULL));
  NULL_REFUSED("tokenizer", oribi_tokenizer_decode(NULL, outside, 1, true, &back));
  NULL_REFUSED("tokens", oribi_tokenizer_decode(t, NULL, 1, true, &back));
  NULL_REFUSED("text", oribi_tokenizer_decode(t, outside, 1, true, NULL));
  NULL_REFUSED("tokenizer", oribi_tokenizer_token_text(NULL, 1, &text, &len_bytes));
  NULL_REFUSED("text", oribi_tokenizer_token_text(t, 1, NULL, &len_bytes));
  NULL_REFUSED("len_bytes", oribi_tokenizer_token_text(t, 1, &text, NULL));
  NULL_REFUSED("tokenizer", oribi_tokenizer_token_bytes(NULL, 1, &bytes));
  NULL_REFUSED("bytes", oribi_tokenizer_token_bytes(t, 1, NULL));
  NULL_REFUSED("tokenizer", oribi_tokenizer_token_kind(NULL, 1, &kind));
  NULL_REFUSED("kind", oribi_tokenizer_token_kind(t, 1, NULL));
  NULL_REFUSED("tokenizer", oribi_tokenizer_find(NULL, "a", 1, &token));
  NULL_REFUSED("text", oribi_tokenizer_find(t, NULL, 1, &token));
  NULL_REFUSED("token", oribi_tokenizer_find(t, "a", 1, NULL));
  NULL_REFUSED("tokenizer", oribi_tokenizer_role_token(NULL, 0, &token));
  NULL_REFUSED("token", oribi_tokenizer_role_token(t, 0, NULL));
  CHECK(oribi_tokenizer_n_tokens(NULL) == 0 && !oribi_tokenizer_is_end(NULL, 2));
  CHECK(!oribi_tokenizer_adds_bos(NULL) && !oribi_tokenizer_adds_eos(NULL));
  CHECK(oribi_bytes_data(NULL) == NULL && oribi_bytes_len(NULL) == 0);
  oribi_bytes_free(NULL);
  oribi_tokenizer_free(NULL);
}

void test_tokenizer(void) {
  text_becomes_tokens_and_text_again(tiny_tokenizer());
  tokens_have_attributes(tiny_tokenizer());
  what_is_wrong_is_refused(tiny_tokenizer());

  /* The same without loading the model. */
  oribi_file *file = NULL;
  oribi_tokenizer *tokenizer = NULL;
  OK(oribi_file_open(file_named("tiny.gguf"), &file));
  OK(oribi_file_tokenizer(file, &tokenizer));
  NULL_REFUSED("file", oribi_file_tokenizer(NULL, &tokenizer));
  NULL_REFUSED("tokenizer", oribi_file_tokenizer(file, NULL));
  NULL_REFUSED("model", oribi_model_tokenizer(NULL, &tokenizer));
  NULL_REFUSED("tokenizer", oribi_model_tokenizer(tiny_model(), NULL));
  oribi_file_free(file);
  text_becomes_tokens_and_text_again(tokenizer);
  tokens_have_attributes(tokenizer);
  oribi_tokenizer_free(tokenizer);
  OK(oribi_file_open(file_named("no-architecture.gguf"), &file));
  FAILS(ORIBI_STATUS_MISSING_KEY, "tokenizer", oribi_file_tokenizer(file, &tokenizer));
  oribi_file_free(file);
}
