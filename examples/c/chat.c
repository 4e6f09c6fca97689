/*
 * chat.c - a conversation: the model's chat template, answers that are streamed to a callback, and a session that keeps what it
 * has read, so that each turn costs its new tokens only.
 *
 *   cc -std=c99 chat.c -o chat $(pkg-config --cflags --libs oribi)
 *   ./chat MODEL.gguf          a message a line on standard input; the end of the input ends the conversation
 */
#include <string.h>

#include "must.h"

/* The tokens that the sequence holds, and the answer that is being streamed. */
typedef struct {
  uint32_t *held;
  size_t n_held;
  char *answer;
  size_t answer_len;
} chat;

static void *grown(void *memory, size_t n_bytes) {
  void *more = realloc(memory, n_bytes > 0 ? n_bytes : 1);
  if (more == NULL) {
    fprintf(stderr, "out of memory\n");
    exit(1);
  }
  return more;
}

static void hold(chat *c, const uint32_t *tokens, size_t n) {
  c->held = grown(c->held, (c->n_held + n) * sizeof *tokens);
  memcpy(c->held + c->n_held, tokens, n * sizeof *tokens);
  c->n_held += n;
}

/* Called for every piece; false would stop the generation. */
static bool hear(void *userdata, const oribi_piece *piece) {
  chat *c = userdata;
  const char *text;
  size_t len_bytes;
  MUST(oribi_piece_text(piece, &text, &len_bytes));
  fwrite(text, 1, len_bytes, stdout);
  fflush(stdout);
  c->answer = grown(c->answer, c->answer_len + len_bytes);
  memcpy(c->answer + c->answer_len, text, len_bytes);
  c->answer_len += len_bytes;
  uint32_t token = oribi_piece_token(piece);
  hold(c, &token, 1);
  return true;
}

/* Leave in the sequence what it has in common with the prompt, and give the number of those tokens. The last token of the prompt is
 * always new: the answer begins with its logits. */
static size_t keep_common(chat *c, oribi_session *session, uint32_t sequence, const uint32_t *prompt, size_t n_prompt) {
  size_t n = 0, len;
  MUST(oribi_session_len(session, sequence, &len)); /* the last token of an answer was never evaluated */
  while (n < len && n + 1 < n_prompt && c->held[n] == prompt[n]) n++;
  MUST(oribi_session_truncate(session, sequence, n));
  c->n_held = n;
  return n;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: chat MODEL.gguf\n");
    return 2;
  }
  oribi_options *options = NULL;
  MUST(oribi_options_new(&options));
  MUST(oribi_options_set_float(options, "temp", 0));
  MUST(oribi_options_set_int(options, "max_tokens", 256));

  oribi_model *model = NULL;
  oribi_file *file = NULL;
  oribi_tokenizer *tokenizer = NULL;
  oribi_chat_template *template = NULL;
  oribi_messages *messages = NULL;
  oribi_session *session = NULL;
  uint32_t sequence;
  MUST(oribi_model_open(argv[1], options, &model));
  MUST(oribi_model_file(model, &file));
  MUST(oribi_model_tokenizer(model, &tokenizer));
  MUST(oribi_chat_template_new(file, NULL, &template));
  MUST(oribi_messages_new(&messages));
  MUST(oribi_session_new(model, options, &session));
  MUST(oribi_session_new_sequence(session, &sequence));

  chat c = {NULL, 0, NULL, 0};
  char line[4096];
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (strchr(line, '\n') == NULL && !feof(stdin)) {
      fprintf(stderr, "a message has at most %lu bytes\n", (unsigned long)sizeof line - 2);
      return 1;
    }
    line[strcspn(line, "\n")] = '\0';
    MUST(oribi_messages_add(messages, "user", line, ORIBI_TO_NUL));

    oribi_text *rendered = NULL;
    oribi_tokens *prompt = NULL;
    MUST(oribi_chat_template_render(template, messages, true, &rendered));
    MUST(oribi_tokenizer_encode_prompt(tokenizer, oribi_text_data(rendered), oribi_text_len(rendered), &prompt));
    const uint32_t *tokens = oribi_tokens_data(prompt);
    size_t n_tokens = oribi_tokens_len(prompt);
    size_t n_kept = keep_common(&c, session, sequence, tokens, n_tokens);
    hold(&c, tokens + n_kept, n_tokens - n_kept);

    oribi_sampler *sampler = NULL;
    oribi_generation *generation = NULL;
    MUST(oribi_sampler_new(tokenizer, options, &sampler));
    MUST(oribi_generation_new(session, sequence, sampler, tokens + n_kept, n_tokens - n_kept, options, &generation));
    c.answer_len = 0;
    MUST(oribi_generation_run(generation, hear, &c));
    putchar('\n');
    MUST(oribi_messages_add(messages, "assistant", c.answer, c.answer_len));

    oribi_generation_free(generation);
    oribi_sampler_free(sampler);
    oribi_tokens_free(prompt);
    oribi_text_free(rendered);
  }

  free(c.held);
  free(c.answer);
  oribi_session_free(session);
  oribi_messages_free(messages);
  oribi_chat_template_free(template);
  oribi_tokenizer_free(tokenizer);
  oribi_file_free(file);
  oribi_model_free(model);
  oribi_options_free(options);
  return 0;
}
