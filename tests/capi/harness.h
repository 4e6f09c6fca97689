/* harness.h - checks that say where they failed, and what the suites share. */
#ifndef HARNESS_H
#define HARNESS_H

#include <oribi.h>
#include <stdio.h>
#include <string.h>

/* Failures so far, of all threads. */
extern int n_failed;
void failed(const char *file, int line, const char *what, const char *detail);

#define CHECK(condition)                                            \
  do {                                                              \
    if (!(condition)) failed(__FILE__, __LINE__, #condition, NULL); \
  } while (0)

/* A call that succeeds. */
#define OK(call)                                                                                         \
  do {                                                                                                   \
    if ((call) != ORIBI_STATUS_OK) failed(__FILE__, __LINE__, #call, oribi_last_error());                \
  } while (0)

/* A call that fails with a status and leaves a text; `word` is part of it. */
#define FAILS(status, word, call) fails_with(__FILE__, __LINE__, #call, status, word, call)
void fails_with(const char *file, int line, const char *what, oribi_status wanted, const char *word, oribi_status got);

/* A NULL that is refused by name. */
#define NULL_REFUSED(argument, call) FAILS(ORIBI_STATUS_INVALID_ARGUMENT, argument " is NULL", call)

/* Where a text is `expected`. */
#define TEXT_IS(expected, text, len_bytes) CHECK((len_bytes) == strlen(expected) && memcmp(text, expected, len_bytes) == 0)

/* The path of a file of the fixture; valid until the eighth call after it on the same thread. */
const char *file_named(const char *name);
/* The path of the real model, NULL if there is none. */
const char *real_model(void);

/* The tiny model with its tokenizer, loaded once for all suites. */
const oribi_model *tiny_model(void);
const oribi_tokenizer *tiny_tokenizer(void);
void free_tiny_model(void);

/* Options with temperature 0, at most `max_tokens` tokens, contexts of 512, two sequences. */
oribi_options *greedy_options(int64_t max_tokens);
/* Generate on a new session and sequence with a greedy sampler; the tokens, at most `n_max` of them. */
size_t generate(const oribi_model *model, const uint32_t *prompt, size_t n_prompt, uint32_t *tokens, size_t n_max);
/* The same with other options. */
size_t generate_with(const oribi_model *model, const oribi_options *options, const uint32_t *prompt, size_t n_prompt,
                     uint32_t *tokens, size_t n_max);

/* Whether limits on time mean nothing in this run: under valgrind (ORIBI_CAPI_UNTIMED=1). */
bool is_untimed(void);
/* Milliseconds of a clock that only goes forward. */
double now_ms(void);
void sleep_ms(int ms);

#endif
