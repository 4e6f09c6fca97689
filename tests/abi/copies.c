/* Two copies of the library in one process: copies LIBRARY OTHER_LIBRARY MODEL.gguf PROMPT local|global.
 * Each continues the text on a thread of its own, both at once; prints the tokens of both. */
#include <oribi.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  void *library;
  const char *model, *prompt;
  uint32_t tokens[8];
  size_t n_tokens;
  char error[256];
} copy;

/* A function of a copy, with the type that the header gives it. */
#define OF(c, name) ((__typeof__(&name))dlsym((c)->library, #name))

static void *run(void *argument) {
  copy *c = argument;
  oribi_options *options = NULL;
  oribi_model *model = NULL;
  oribi_tokenizer *tokenizer = NULL;
  oribi_tokens *prompt = NULL;
  oribi_session *session = NULL;
  oribi_sampler *sampler = NULL;
  oribi_generation *generation = NULL;
  const oribi_piece *piece = NULL;
  uint32_t sequence = 0;
  c->n_tokens = 0;
  oribi_status status = OF(c, oribi_options_new)(&options);
  if (!status) status = OF(c, oribi_options_set_float)(options, "temp", 0);
  if (!status) status = OF(c, oribi_options_set_int)(options, "max_tokens", 8);
  if (!status) status = OF(c, oribi_options_set_int)(options, "n_ctx", 128);
  if (!status) status = OF(c, oribi_options_set_bool)(options, "ban_end_of_generation", true);
  if (!status) status = OF(c, oribi_model_open)(c->model, options, &model);
  if (!status) status = OF(c, oribi_model_tokenizer)(model, &tokenizer);
  if (!status) status = OF(c, oribi_tokenizer_encode)(tokenizer, c->prompt, strlen(c->prompt), true, false, &prompt);
  if (!status) status = OF(c, oribi_session_new)(model, options, &session);
  if (!status) status = OF(c, oribi_session_new_sequence)(session, &sequence);
  if (!status) status = OF(c, oribi_sampler_new)(tokenizer, options, &sampler);
  if (!status)
    status = OF(c, oribi_generation_new)(session, sequence, sampler, OF(c, oribi_tokens_data)(prompt),
                                         OF(c, oribi_tokens_len)(prompt), options, &generation);
  while (!status) {
    status = OF(c, oribi_generation_next)(generation, &piece);
    if (status || piece == NULL || c->n_tokens == 8) break;
    c->tokens[c->n_tokens++] = OF(c, oribi_piece_token)(piece);
  }
  snprintf(c->error, sizeof c->error, "%s", status ? OF(c, oribi_last_error)() : "");
  OF(c, oribi_generation_free)(generation);
  OF(c, oribi_sampler_free)(sampler);
  OF(c, oribi_session_free)(session);
  OF(c, oribi_tokens_free)(prompt);
  OF(c, oribi_tokenizer_free)(tokenizer);
  OF(c, oribi_model_free)(model);
  OF(c, oribi_options_free)(options);
  return NULL;
}

/* An error of one copy is not one of the other. */
static int errors_are_apart(copy *one, copy *other) {
  oribi_file *file = NULL;
  if (OF(one, oribi_file_open)("no such file", &file) != ORIBI_STATUS_IO) return 0;
  return strstr(OF(one, oribi_last_error)(), "no such file") != NULL &&
         strstr(OF(other, oribi_last_error)(), "no such file") == NULL;
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  const int flags = RTLD_NOW | (strcmp(argv[5], "global") == 0 ? RTLD_GLOBAL : RTLD_LOCAL);
  copy copies[2] = {{.model = argv[3], .prompt = argv[4]}, {.model = argv[3], .prompt = argv[4]}};
  for (int i = 0; i < 2; i++) {
    copies[i].library = dlopen(argv[1 + i], flags);
    if (copies[i].library == NULL) {
      fprintf(stderr, "%s\n", dlerror());
      return 1;
    }
  }
  if (dlsym(copies[0].library, "oribi_version") == dlsym(copies[1].library, "oribi_version")) {
    fprintf(stderr, "the two are one\n");
    return 1;
  }
  if (!errors_are_apart(&copies[0], &copies[1])) {
    fprintf(stderr, "the two share their last error\n");
    return 1;
  }
  pthread_t threads[2];
  for (int i = 0; i < 2; i++)
    if (pthread_create(&threads[i], NULL, run, &copies[i]) != 0) return 1;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 2; i++) {
    printf("oribi %s:", OF(&copies[i], oribi_version)());
    for (size_t t = 0; t < copies[i].n_tokens; t++) printf(" %u", (unsigned)copies[i].tokens[t]);
    printf("%s\n", copies[i].error);
  }
  /* One goes, the other works on. */
  if (dlclose(copies[0].library) != 0) return 1;
  run(&copies[1]);
  return copies[1].n_tokens != 8 || dlclose(copies[1].library) != 0;
}
