/* Decoders: tokens to text one by one, never a part of a character. */
#include "harness.h"

void test_decoder(void) {
  oribi_decoder *decoder = NULL;
  const char *text = NULL;
  size_t len_bytes = 9;
  OK(oribi_decoder_new(tiny_tokenizer(), false, &decoder));
  OK(oribi_decoder_push(decoder, 3 + 0xc3, &text, &len_bytes));
  CHECK(len_bytes == 0); /* half of a character */
  OK(oribi_decoder_push(decoder, 3 + 0xa9, &text, &len_bytes));
  TEXT_IS("\xc3\xa9", text, len_bytes);
  OK(oribi_decoder_push(decoder, 2, &text, &len_bytes));
  CHECK(len_bytes == 0); /* a control token */
  OK(oribi_decoder_push(decoder, 270, &text, &len_bytes));
  TEXT_IS(" w270", text, len_bytes); /* a continuation: the space is text */
  OK(oribi_decoder_push(decoder, 3 + 0xe2, &text, &len_bytes));
  OK(oribi_decoder_finish(decoder, &text, &len_bytes));
  TEXT_IS("\xef\xbf\xbd", text, len_bytes);
  OK(oribi_decoder_finish(decoder, &text, &len_bytes));
  CHECK(len_bytes == 0);
  OK(oribi_decoder_push(decoder, 3 + 'z', &text, &len_bytes)); /* another text */
  TEXT_IS("z", text, len_bytes);

  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "token 300", oribi_decoder_push(decoder, 300, &text, &len_bytes));
  NULL_REFUSED("decoder", oribi_decoder_push(NULL, 1, &text, &len_bytes));
  NULL_REFUSED("text", oribi_decoder_push(decoder, 1, NULL, &len_bytes));
  NULL_REFUSED("len_bytes", oribi_decoder_push(decoder, 1, &text, NULL));
  NULL_REFUSED("decoder", oribi_decoder_finish(NULL, &text, &len_bytes));
  NULL_REFUSED("text", oribi_decoder_finish(decoder, NULL, &len_bytes));
  NULL_REFUSED("len_bytes", oribi_decoder_finish(decoder, &text, NULL));
  oribi_decoder_free(decoder);
  NULL_REFUSED("tokenizer", oribi_decoder_new(NULL, false, &decoder));
  NULL_REFUSED("decoder", oribi_decoder_new(tiny_tokenizer(), false, NULL));
  oribi_decoder_free(NULL);

  OK(oribi_decoder_new(tiny_tokenizer(), true, &decoder));
  OK(oribi_decoder_push(decoder, 2, &text, &len_bytes));
  TEXT_IS("</s>", text, len_bytes);
  oribi_decoder_free(decoder);
}
