/* Chat templates and conversations. */
#include "harness.h"

static void prompt_is(const char *expected, const oribi_chat_template *chat, const oribi_messages *messages, bool answer) {
  oribi_text *prompt = NULL;
  OK(oribi_chat_template_render(chat, messages, answer, &prompt));
  if (prompt != NULL && strcmp(oribi_text_data(prompt), expected) != 0) failed(__FILE__, __LINE__, expected, oribi_text_data(prompt));
  oribi_text_free(prompt);
}

void test_chat(void) {
  oribi_file *file = NULL, *wrong = NULL, *none = NULL;
  oribi_chat_template *chat = NULL, *other = NULL;
  oribi_messages *messages = NULL;
  oribi_text *prompt = NULL;
  const char *text = NULL;
  size_t len_bytes = 0;
  OK(oribi_file_open(file_named("tiny.gguf"), &file));
  OK(oribi_chat_template_new(file, NULL, &chat));
  OK(oribi_messages_new(&messages));
  FAILS(ORIBI_STATUS_TEMPLATE, "nobody speaks", oribi_chat_template_render(chat, messages, true, &prompt));
  OK(oribi_messages_add(messages, "user", "caf\xc3\xa9 and more", 5));
  prompt_is("<user>caf\xc3\xa9", chat, messages, false);
  OK(oribi_messages_add_json(messages, "{\"role\": \"assistant\", \"content\": \"yes\", \"calls\": 2}", ORIBI_TO_NUL));
  OK(oribi_messages_add_json(messages, "{\"role\": \"tool\", \"content\": null}", ORIBI_TO_NUL));
  OK(oribi_messages_set_variable(messages, "tools", "[{}, {}]", ORIBI_TO_NUL));
  OK(oribi_messages_set_variable(messages, "mood", "\"calm\"", ORIBI_TO_NUL));
  prompt_is("<user>caf\xc3\xa9<assistant>yes[2]<tool>|tools 2|calm<assistant>", chat, messages, true);
  OK(oribi_messages_clear(messages));
  OK(oribi_messages_add(messages, "user", NULL, 0));
  prompt_is("<user>|tools 2|calm", chat, messages, false);

  OK(oribi_chat_template_source(chat, &text, &len_bytes));
  CHECK(len_bytes > 50 && strncmp(text, "{% if not messages", 18) == 0);
  OK(oribi_chat_template_new(file, "other", &other));
  prompt_is("other template", other, messages, false);
  oribi_chat_template_free(other);
  OK(oribi_chat_template_new(file, "{{ messages[0].role }}!", &other));
  prompt_is("user!", other, messages, false);
  oribi_chat_template_free(other);
  OK(oribi_chat_template_new(file, "chatml", &other));
  prompt_is("<|im_start|>user\n<|im_end|>\n", other, messages, false);
  oribi_chat_template_free(other);

  FAILS(ORIBI_STATUS_TEMPLATE, "no-such", oribi_chat_template_new(file, "no-such", &other));
  OK(oribi_file_open(file_named("wrong-template.gguf"), &wrong));
  FAILS(ORIBI_STATUS_TEMPLATE, "line", oribi_chat_template_new(wrong, NULL, &other));
  OK(oribi_file_open(file_named("no-architecture.gguf"), &none));
  FAILS(ORIBI_STATUS_TEMPLATE, "no chat template", oribi_chat_template_new(none, NULL, &other));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "json", oribi_messages_add_json(messages, "{", 1));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "object", oribi_messages_add_json(messages, "[]", 2));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "role", oribi_messages_add_json(messages, "{\"content\": \"x\"}", ORIBI_TO_NUL));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "content", oribi_messages_add_json(messages, "{\"role\": \"x\", \"content\": 3}", ORIBI_TO_NUL));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "json", oribi_messages_set_variable(messages, "mood", "calm", 4));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "UTF-8", oribi_messages_add(messages, "user", "\xff", 1));

  NULL_REFUSED("file", oribi_chat_template_new(NULL, NULL, &other));
  NULL_REFUSED("chat", oribi_chat_template_new(file, NULL, NULL));
  NULL_REFUSED("chat", oribi_chat_template_source(NULL, &text, &len_bytes));
  NULL_REFUSED("text", oribi_chat_template_source(chat, NULL, &len_bytes));
  NULL_REFUSED("len_bytes", oribi_chat_template_source(chat, &text, NULL));
  NULL_REFUSED("chat", oribi_chat_template_render(NULL, messages, true, &prompt));
  NULL_REFUSED("messages", oribi_chat_template_render(chat, NULL, true, &prompt));
  NULL_REFUSED("prompt", oribi_chat_template_render(chat, messages, true, NULL));
  NULL_REFUSED("messages", oribi_messages_new(NULL));
  NULL_REFUSED("messages", oribi_messages_add(NULL, "user", "x", 1));
  NULL_REFUSED("role", oribi_messages_add(messages, NULL, "x", 1));
  NULL_REFUSED("content", oribi_messages_add(messages, "user", NULL, 1));
  NULL_REFUSED("messages", oribi_messages_add_json(NULL, "{}", 2));
  NULL_REFUSED("json", oribi_messages_add_json(messages, NULL, 2));
  NULL_REFUSED("messages", oribi_messages_set_variable(NULL, "a", "1", 1));
  NULL_REFUSED("variable", oribi_messages_set_variable(messages, NULL, "1", 1));
  NULL_REFUSED("json", oribi_messages_set_variable(messages, "a", NULL, 1));
  NULL_REFUSED("messages", oribi_messages_clear(NULL));
  prompt_is("<user>|tools 2|calm", chat, messages, false); /* what failed changed nothing */

  oribi_file_free(none);
  oribi_file_free(wrong);
  oribi_file_free(file);
  prompt_is("<user>|tools 2|calm", chat, messages, false); /* and a template outlives its file */
  oribi_messages_free(messages);
  oribi_chat_template_free(chat);
  oribi_messages_free(NULL);
  oribi_chat_template_free(NULL);
}
