/* Generations: pulled, by callback, their ends, their numbers; pieces. */
#include "harness.h"

#include <math.h>

static const uint32_t PROMPT[] = {1, 30, 40, 50, 60};
#define N_PROMPT (sizeof PROMPT / sizeof PROMPT[0])

/* A session with a sequence, and a sampler. */
typedef struct {
  oribi_options *options;
  oribi_session *session;
  oribi_sampler *sampler;
  oribi_generation *generation;
  uint32_t sequence;
} setup;

static void begin(setup *s, oribi_options *options) {
  memset(s, 0, sizeof *s);
  s->options = options;
  OK(oribi_session_new(tiny_model(), options, &s->session));
  OK(oribi_session_new_sequence(s->session, &s->sequence));
  OK(oribi_sampler_new(tiny_tokenizer(), options, &s->sampler));
  OK(oribi_generation_new(s->session, s->sequence, s->sampler, PROMPT, N_PROMPT, options, &s->generation));
}

static void end(setup *s) {
  oribi_generation_free(s->generation);
  oribi_sampler_free(s->sampler);
  oribi_session_free(s->session);
  oribi_options_free(s->options);
}

static oribi_stop_reason reason_of(const oribi_generation *generation) {
  oribi_stop_reason reason = ORIBI_STOP_REASON_NONE;
  OK(oribi_generation_stop_reason(generation, &reason));
  return reason;
}

/* Pull to the end; the tokens. */
static size_t pull(oribi_generation *generation, uint32_t *tokens, size_t n_max) {
  const oribi_piece *piece = NULL;
  size_t n = 0;
  for (;;) {
    oribi_status status = oribi_generation_next(generation, &piece);
    if (status != ORIBI_STATUS_OK) failed(__FILE__, __LINE__, "next", oribi_last_error());
    if (status != ORIBI_STATUS_OK || piece == NULL) return n;
    CHECK(n < n_max);
    if (n < n_max) tokens[n++] = oribi_piece_token(piece);
  }
}

typedef struct {
  uint32_t tokens[64];
  size_t n, stop_at;
  setup *setup;
} heard;

static bool hear(void *userdata, const oribi_piece *piece) {
  heard *h = userdata;
  if (h->n < 64) h->tokens[h->n++] = oribi_piece_token(piece);
  /* No handle is in use during the callback: the session answers. */
  size_t n_positions = 0;
  OK(oribi_session_len(h->setup->session, h->setup->sequence, &n_positions));
  CHECK(n_positions == N_PROMPT + h->n - 1);
  return h->n != h->stop_at;
}

static void pull_and_callback_give_the_same(void) {
  setup s;
  uint32_t pulled[16];
  begin(&s, greedy_options(12));
  CHECK(reason_of(s.generation) == ORIBI_STOP_REASON_NONE);
  size_t n = pull(s.generation, pulled, 16);
  CHECK(n == 12 && reason_of(s.generation) == ORIBI_STOP_REASON_LENGTH);
  const oribi_piece *piece = (const oribi_piece *)(const void *)"not NULL";
  OK(oribi_generation_next(s.generation, &piece)); /* after the end: nothing more */
  CHECK(piece == NULL);
  end(&s);

  heard h = {.stop_at = 5, .setup = &s};
  begin(&s, greedy_options(12));
  OK(oribi_generation_run(s.generation, hear, &h));
  CHECK(h.n == 5 && reason_of(s.generation) == ORIBI_STOP_REASON_NONE);
  h.stop_at = 0;
  OK(oribi_generation_run(s.generation, hear, &h)); /* goes on where it was left */
  CHECK(h.n == n && memcmp(h.tokens, pulled, n * sizeof pulled[0]) == 0);
  CHECK(reason_of(s.generation) == ORIBI_STOP_REASON_LENGTH);
  NULL_REFUSED("callback", oribi_generation_run(s.generation, NULL, NULL));
  NULL_REFUSED("generation", oribi_generation_run(NULL, hear, &h));

  double number = -1;
  OK(oribi_generation_timing(s.generation, ORIBI_TIMING_PROMPT_TOKENS, &number));
  CHECK(number == (double)N_PROMPT);
  OK(oribi_generation_timing(s.generation, ORIBI_TIMING_GENERATED_TOKENS, &number));
  CHECK(number == 12);
  OK(oribi_generation_timing(s.generation, ORIBI_TIMING_EVALUATED_TOKENS, &number));
  CHECK(number == 11);
  int32_t seconds[] = {ORIBI_TIMING_PROMPT_SECONDS, ORIBI_TIMING_GENERATE_SECONDS, ORIBI_TIMING_FIRST_TOKEN_SECONDS};
  for (int i = 0; i < 3; i++) {
    OK(oribi_generation_timing(s.generation, seconds[i], &number));
    CHECK(number > 0 && number < 600);
  }
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "timing is 99", oribi_generation_timing(s.generation, 99, &number));
  NULL_REFUSED("number", oribi_generation_timing(s.generation, 0, NULL));
  NULL_REFUSED("generation", oribi_generation_timing(NULL, 0, &number));
  oribi_stop_reason reason;
  NULL_REFUSED("reason", oribi_generation_stop_reason(s.generation, NULL));
  NULL_REFUSED("generation", oribi_generation_stop_reason(NULL, &reason));
  end(&s);
}

static void every_end_has_its_reason(void) {
  setup s;
  uint32_t first[16], tokens[512];
  begin(&s, greedy_options(12));
  pull(s.generation, first, 16);
  end(&s);

  oribi_options *options = greedy_options(12);
  OK(oribi_options_add_token(options, "stop_tokens", first[3]));
  begin(&s, options);
  size_t n = pull(s.generation, tokens, 512);
  CHECK(n <= 4 && tokens[n - 1] == first[3] && reason_of(s.generation) == ORIBI_STOP_REASON_STOP_TOKEN);
  end(&s);

  options = greedy_options(-1);
  OK(oribi_options_set_int(options, "n_ctx", 64));
  begin(&s, options);
  n = pull(s.generation, tokens, 512);
  CHECK(n == 64 - N_PROMPT + 1 && reason_of(s.generation) == ORIBI_STOP_REASON_CONTEXT_FULL);
  end(&s);

  /* A bias that leaves one token decides what is generated: here what ends the text, then a word that is a stop string. */
  options = greedy_options(12);
  OK(oribi_options_reset(options, "ban_end_of_generation"));
  OK(oribi_options_add_logit_bias(options, 2, 1e6f));
  begin(&s, options);
  n = pull(s.generation, tokens, 512);
  CHECK(n == 1 && tokens[0] == 2 && reason_of(s.generation) == ORIBI_STOP_REASON_END_OF_GENERATION);
  end(&s);

  options = greedy_options(12);
  OK(oribi_options_add_logit_bias(options, 270, 1e6f));
  OK(oribi_options_add_text(options, "stop_strings", "w270", ORIBI_TO_NUL));
  begin(&s, options);
  n = pull(s.generation, tokens, 512);
  CHECK(n == 1 && tokens[0] == 270 && reason_of(s.generation) == ORIBI_STOP_REASON_STOP_STRING);
  end(&s);
}

static void pieces_carry_text_and_probabilities(void) {
  setup s;
  oribi_options *options = greedy_options(3);
  OK(oribi_options_set_int(options, "logprobs", 2));
  OK(oribi_options_add_logit_bias(options, 270, 1e6f));
  begin(&s, options);
  const oribi_piece *piece = NULL;
  const char *text = NULL;
  size_t len_bytes = 0;
  float logprob = 1, top = 1;
  uint32_t token = 0;
  OK(oribi_generation_next(s.generation, &piece));
  OK(oribi_piece_text(piece, &text, &len_bytes));
  TEXT_IS(" w270", text, len_bytes);
  CHECK(oribi_piece_token(piece) == 270 && oribi_piece_token(NULL) == 0);
  OK(oribi_piece_logprob(piece, &logprob));
  CHECK(logprob <= 0 && isfinite(logprob));
  OK(oribi_piece_top(piece, 0, &token, &top));
  CHECK(top <= 0 && top >= logprob && token < 300);
  OK(oribi_piece_top(piece, 1, &token, &logprob));
  CHECK(logprob <= top);
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "index 2", oribi_piece_top(piece, 2, &token, &top));
  NULL_REFUSED("token", oribi_piece_top(piece, 0, NULL, &top));
  NULL_REFUSED("logprob", oribi_piece_top(piece, 0, &token, NULL));
  NULL_REFUSED("piece", oribi_piece_top(NULL, 0, &token, &top));
  NULL_REFUSED("logprob", oribi_piece_logprob(piece, NULL));
  NULL_REFUSED("piece", oribi_piece_logprob(NULL, &logprob));
  NULL_REFUSED("text", oribi_piece_text(piece, NULL, &len_bytes));
  NULL_REFUSED("len_bytes", oribi_piece_text(piece, &text, NULL));
  NULL_REFUSED("piece", oribi_piece_text(NULL, &text, &len_bytes));
  end(&s);

  begin(&s, greedy_options(1));
  OK(oribi_generation_next(s.generation, &piece));
  FAILS(ORIBI_STATUS_INVALID_STATE, "logprobs", oribi_piece_logprob(piece, &logprob));
  NULL_REFUSED("piece", oribi_generation_next(s.generation, NULL));
  NULL_REFUSED("generation", oribi_generation_next(NULL, &piece));
  end(&s);
}

static void what_cannot_begin_is_refused(void) {
  setup s;
  begin(&s, greedy_options(2));
  oribi_generation *g = NULL;
  uint32_t outside[] = {300}, big[600] = {0};
  NULL_REFUSED("session", oribi_generation_new(NULL, s.sequence, s.sampler, PROMPT, N_PROMPT, NULL, &g));
  NULL_REFUSED("sampler", oribi_generation_new(s.session, s.sequence, NULL, PROMPT, N_PROMPT, NULL, &g));
  NULL_REFUSED("prompt", oribi_generation_new(s.session, s.sequence, s.sampler, NULL, N_PROMPT, NULL, &g));
  NULL_REFUSED("generation", oribi_generation_new(s.session, s.sequence, s.sampler, PROMPT, N_PROMPT, NULL, NULL));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "no tokens", oribi_generation_new(s.session, s.sequence, s.sampler, NULL, 0, NULL, &g));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "token 300", oribi_generation_new(s.session, s.sequence, s.sampler, outside, 1, NULL, &g));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "sequence 1", oribi_generation_new(s.session, 1, s.sampler, PROMPT, N_PROMPT, NULL, &g));
  FAILS(ORIBI_STATUS_CONTEXT_FULL, "512", oribi_generation_new(s.session, s.sequence, s.sampler, big, 600, NULL, &g));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "larger than the address space",
        oribi_generation_new(s.session, s.sequence, s.sampler, PROMPT, SIZE_MAX / 2, NULL, &g));
  CHECK(g == NULL);

  /* A sequence that is removed ends its generation with an error, after which nothing comes. */
  const oribi_piece *piece = NULL;
  OK(oribi_session_remove(s.session, s.sequence));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "sequence 0", oribi_generation_next(s.generation, &piece));
  FAILS(ORIBI_STATUS_INVALID_STATE, "error", oribi_generation_next(s.generation, &piece));
  end(&s);
  oribi_generation_free(NULL);
}

void test_generation(void) {
  pull_and_callback_give_the_same();
  every_end_has_its_reason();
  pieces_carry_text_and_probabilities();
  what_cannot_begin_is_refused();
}
