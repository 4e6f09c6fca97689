/* Samplers. */
#include "harness.h"

#include <math.h>

static oribi_sampler *new_sampler(oribi_options *options) {
  oribi_sampler *sampler = NULL;
  OK(oribi_sampler_new(tiny_tokenizer(), options, &sampler));
  oribi_options_free(options);
  return sampler;
}

void test_sampler(void) {
  float logits[300], logprob = 1;
  uint32_t token = 0, a, b, c;
  for (int i = 0; i < 300; i++) logits[i] = sinf((float)i);
  logits[123] = 5;

  oribi_options *options = greedy_options(1);
  OK(oribi_options_set_int(options, "logprobs", 3));
  oribi_sampler *greedy = new_sampler(options), *copy = NULL;
  FAILS(ORIBI_STATUS_INVALID_STATE, "not picked", oribi_sampler_logprob(greedy, &logprob));
  FAILS(ORIBI_STATUS_INVALID_STATE, "not picked", oribi_sampler_top(greedy, 0, &token, &logprob));
  OK(oribi_sampler_sample(greedy, logits, 300, &token));
  CHECK(token == 123);
  OK(oribi_sampler_logprob(greedy, &logprob));
  CHECK(logprob < 0 && logprob > -4);
  OK(oribi_sampler_top(greedy, 0, &token, &logprob));
  CHECK(token == 123);
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "index 3", oribi_sampler_top(greedy, 3, &token, &logprob));
  OK(oribi_sampler_reset(greedy));
  FAILS(ORIBI_STATUS_INVALID_STATE, "not picked", oribi_sampler_logprob(greedy, &logprob));

  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "299 logits", oribi_sampler_sample(greedy, logits, 299, &token));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "0 logits", oribi_sampler_sample(greedy, NULL, 0, &token));
  logits[7] = NAN;
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "token 7", oribi_sampler_sample(greedy, logits, 300, &token));
  logits[7] = 0;
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "token 300", oribi_sampler_accept(greedy, 300));
  NULL_REFUSED("sampler", oribi_sampler_sample(NULL, logits, 300, &token));
  NULL_REFUSED("logits", oribi_sampler_sample(greedy, NULL, 300, &token));
  NULL_REFUSED("token", oribi_sampler_sample(greedy, logits, 300, NULL));
  NULL_REFUSED("sampler", oribi_sampler_accept(NULL, 1));
  NULL_REFUSED("sampler", oribi_sampler_reset(NULL));
  NULL_REFUSED("sampler", oribi_sampler_clone(NULL, &copy));
  NULL_REFUSED("copy", oribi_sampler_clone(greedy, NULL));
  OK(oribi_sampler_sample(greedy, logits, 300, &token));
  NULL_REFUSED("sampler", oribi_sampler_logprob(NULL, &logprob));
  NULL_REFUSED("logprob", oribi_sampler_logprob(greedy, NULL));
  NULL_REFUSED("sampler", oribi_sampler_top(NULL, 0, &token, &logprob));
  NULL_REFUSED("token", oribi_sampler_top(greedy, 0, NULL, &logprob));
  NULL_REFUSED("logprob", oribi_sampler_top(greedy, 0, &token, NULL));
  oribi_sampler_free(greedy);

  /* The same seed gives the same stream, a copy goes on alike, a reset begins again. */
  OK(oribi_options_new(&options));
  OK(oribi_options_set_int(options, "seed", -7));
  oribi_sampler *drawing = new_sampler(options);
  CHECK(oribi_sampler_seed(drawing) == (uint64_t)-7 && oribi_sampler_seed(NULL) == 0);
  OK(oribi_sampler_sample(drawing, logits, 300, &a));
  OK(oribi_sampler_accept(drawing, a));
  OK(oribi_sampler_clone(drawing, &copy));
  OK(oribi_sampler_sample(drawing, logits, 300, &b));
  OK(oribi_sampler_sample(copy, logits, 300, &c));
  CHECK(b == c);
  FAILS(ORIBI_STATUS_INVALID_STATE, "logprobs", oribi_sampler_logprob(drawing, &logprob));
  OK(oribi_sampler_reset(drawing));
  OK(oribi_sampler_sample(drawing, logits, 300, &c));
  CHECK(a == c);
  oribi_sampler_free(copy);
  oribi_sampler_free(drawing);

  /* A vocabulary that is not there, a bias on no token, a bias against all. */
  oribi_sampler *none = NULL;
  NULL_REFUSED("tokenizer", oribi_sampler_new(NULL, NULL, &none));
  NULL_REFUSED("sampler", oribi_sampler_new(tiny_tokenizer(), NULL, NULL));
  OK(oribi_options_new(&options));
  OK(oribi_options_add_logit_bias(options, 300, 1));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "token 300", oribi_sampler_new(tiny_tokenizer(), options, &none));
  OK(oribi_options_reset(options, "logit_bias"));
  for (uint32_t i = 0; i < 300; i++) OK(oribi_options_add_logit_bias(options, i, -INFINITY));
  OK(oribi_options_set_float(options, "dry_multiplier", 1));
  OK(oribi_options_add_text(options, "dry_sequence_breakers", "w2", 2));
  OK(oribi_sampler_new(tiny_tokenizer(), options, &none));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "excluded", oribi_sampler_sample(none, logits, 300, &token));
  oribi_sampler_free(none);
  oribi_options_free(options);
  oribi_sampler_free(NULL);
}
