/*
 * embed_loop.c - generation inside a loop that is the host's own: each turn of the loop does the host's work and pulls one piece.
 * Another thread, here a timer, may end it at any time: also while a long prompt is read, which is one call.
 *
 *   cc -std=c99 embed_loop.c -o embed_loop $(pkg-config --cflags --libs oribi) -pthread
 *   ./embed_loop MODEL.gguf "Once upon a time" 500          at most 500 milliseconds
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "must.h"

/* A timer that makes a request to cancel when its time is up, unless it is stopped before. */
typedef struct {
  const oribi_cancel *cancel;
  struct timespec deadline;
  bool is_stopped;
  pthread_mutex_t lock;
  pthread_cond_t stop;
} timer;

static void *wait_and_cancel(void *argument) {
  timer *t = argument;
  pthread_mutex_lock(&t->lock);
  while (!t->is_stopped) {
    if (pthread_cond_timedwait(&t->stop, &t->lock, &t->deadline) == ETIMEDOUT) {
      oribi_cancel_request(t->cancel); /* any thread may, at any time */
      break;
    }
  }
  pthread_mutex_unlock(&t->lock);
  return NULL;
}

static pthread_t start_timer(timer *t, long milliseconds) {
  pthread_t thread;
  clock_gettime(CLOCK_REALTIME, &t->deadline);
  t->deadline.tv_sec += milliseconds / 1000;
  t->deadline.tv_nsec += milliseconds % 1000 * 1000000;
  if (t->deadline.tv_nsec >= 1000000000) {
    t->deadline.tv_sec += 1;
    t->deadline.tv_nsec -= 1000000000;
  }
  if (pthread_create(&thread, NULL, wait_and_cancel, t) != 0) {
    fprintf(stderr, "no thread\n");
    exit(1);
  }
  return thread;
}

static void stop_timer(timer *t, pthread_t thread) {
  pthread_mutex_lock(&t->lock);
  t->is_stopped = true;
  pthread_cond_signal(&t->stop);
  pthread_mutex_unlock(&t->lock);
  pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: embed_loop MODEL.gguf PROMPT MILLISECONDS\n");
    return 2;
  }
  oribi_cancel *cancel = NULL;
  oribi_options *options = NULL;
  MUST(oribi_cancel_new(&cancel));
  MUST(oribi_options_new(&options));
  MUST(oribi_options_set_float(options, "temp", 0));
  MUST(oribi_options_set_bool(options, "ban_end_of_generation", true)); /* only the context or the timer ends it */

  oribi_model *model = NULL;
  oribi_session *session = NULL;
  oribi_tokenizer *tokenizer = NULL;
  oribi_tokens *prompt = NULL;
  oribi_sampler *sampler = NULL;
  oribi_generation *generation = NULL;
  uint32_t sequence;
  MUST(oribi_model_open(argv[1], options, &model));
  MUST(oribi_session_new(model, options, &session));
  MUST(oribi_session_new_sequence(session, &sequence));
  MUST(oribi_model_tokenizer(model, &tokenizer));
  MUST(oribi_tokenizer_encode(tokenizer, argv[2], ORIBI_TO_NUL, true, false, &prompt));
  MUST(oribi_sampler_new(tokenizer, options, &sampler));
  MUST(oribi_options_set_cancel(options, cancel)); /* what is made from here on listens to it */
  MUST(oribi_generation_new(session, sequence, sampler, oribi_tokens_data(prompt), oribi_tokens_len(prompt), options, &generation));

  timer t = {cancel, {0, 0}, false, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};
  pthread_t thread = start_timer(&t, strtol(argv[3], NULL, 10));
  oribi_status status;
  unsigned long n_frames = 0, n_pieces = 0;
  for (;;) {
    n_frames++; /* the host's own work: draw, read the network, move the monsters */
    const oribi_piece *piece = NULL;
    const char *text;
    size_t len_bytes;
    status = oribi_generation_next(generation, &piece);
    if (status != ORIBI_STATUS_OK || piece == NULL) break;
    MUST(oribi_piece_text(piece, &text, &len_bytes));
    fwrite(text, 1, len_bytes, stdout);
    fflush(stdout);
    n_pieces++;
  }
  stop_timer(&t, thread);
  if (status != ORIBI_STATUS_OK && status != ORIBI_STATUS_CANCELLED) must(status, "oribi_generation_next");

  /* The sequence is whole, and holds what was evaluated: another generation could go on from here. */
  size_t len;
  MUST(oribi_session_len(session, sequence, &len));
  printf("\n%s after %lu frames, %lu pieces; the sequence holds %lu tokens\n",
         status == ORIBI_STATUS_CANCELLED ? "cancelled" : "ended", n_frames, n_pieces, (unsigned long)len);

  oribi_generation_free(generation);
  oribi_sampler_free(sampler);
  oribi_tokens_free(prompt);
  oribi_tokenizer_free(tokenizer);
  oribi_session_free(session);
  oribi_model_free(model);
  oribi_options_free(options);
  oribi_cancel_free(cancel);
  return 0;
}
