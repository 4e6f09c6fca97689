/* Results that the host frees: text and tokens. */
#include "harness.h"

void test_text(void) {
  static const uint32_t word[] = {270};
  oribi_tokens *tokens = NULL;
  oribi_text *text = NULL;
  OK(oribi_tokenizer_encode(tiny_tokenizer(), "hi", 2, true, false, &tokens));
  size_t n = oribi_tokens_len(tokens);
  CHECK(n >= 3 && oribi_tokens_data(tokens)[0] == 1);
  CHECK(oribi_tokens_data(tokens)[n - 2] == 3 + 'h' && oribi_tokens_data(tokens)[n - 1] == 3 + 'i');
  oribi_tokens_free(tokens);
  OK(oribi_tokenizer_decode(tiny_tokenizer(), word, 1, false, &text));
  TEXT_IS("w270", oribi_text_data(text), oribi_text_len(text));
  CHECK(oribi_text_data(text)[oribi_text_len(text)] == '\0');
  oribi_text_free(text);

  /* None at all is a result, too. */
  OK(oribi_tokenizer_encode(tiny_tokenizer(), NULL, 0, false, false, &tokens));
  CHECK(oribi_tokens_len(tokens) == 0);
  oribi_tokens_free(tokens);
  OK(oribi_tokenizer_decode(tiny_tokenizer(), NULL, 0, false, &text));
  CHECK(oribi_text_len(text) == 0 && oribi_text_data(text)[0] == '\0');
  oribi_text_free(text);

  CHECK(oribi_text_data(NULL) == NULL && oribi_text_len(NULL) == 0);
  CHECK(oribi_tokens_data(NULL) == NULL && oribi_tokens_len(NULL) == 0);
  oribi_text_free(NULL);
  oribi_tokens_free(NULL);
}
