/* Memory that cannot be had: buffers whose size comes from the host or from options end in a status, not in the host's death. */
#include "harness.h"

#include <stdlib.h>
#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_ADDRESS_SPACE 0 /* the sanitizers reserve terabytes */
#else
#define OWN_ADDRESS_SPACE 1
#endif

#define MIB (1024.0 * 1024.0)

/* Bytes of address space that this process has now. */
static rlim_t address_space(void) {
  unsigned long pages = 0;
  FILE *in = fopen("/proc/self/statm", "r");
  if (in == NULL) return 0;
  CHECK(fscanf(in, "%lu", &pages) == 1);
  fclose(in);
  return (rlim_t)pages * 4096;
}

void test_memory(void) {
  if (!OWN_ADDRESS_SPACE || is_untimed() || address_space() == 0) return; /* under sanitizers and valgrind, and not on Linux */
  size_t n = 20u << 20;
  uint32_t *tokens = calloc(n, sizeof *tokens), sequence = 0;
  oribi_options *options = greedy_options(1);
  oribi_session *session = NULL, *small = NULL;
  oribi_batch *batch = NULL;
  oribi_bytes *state = NULL;
  CHECK(tokens != NULL);
  OK(oribi_options_set_int(options, "max_outputs", 65536));
  OK(oribi_batch_new(&batch));
  OK(oribi_session_new(tiny_model(), NULL, &small));
  OK(oribi_session_new_sequence(small, &sequence));
  OK(oribi_batch_add_prompt(batch, sequence, tokens, 900));
  OK(oribi_session_decode(small, batch));
  uint64_t n_bytes = 0;
  OK(oribi_session_state_len(small, &sequence, 1, &n_bytes));
  CHECK((double)n_bytes > 0.5 * MIB);

  struct rlimit before, tight;
  CHECK(getrlimit(RLIMIT_AS, &before) == 0);
  tight = before;
  tight.rlim_cur = address_space() + (rlim_t)(48 * MIB);
  CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
  /* 75 MiB of logits, 320 MiB of a batch. */
  FAILS(ORIBI_STATUS_OUT_OF_MEMORY, "", oribi_session_new(tiny_model(), options, &session));
  FAILS(ORIBI_STATUS_OUT_OF_MEMORY, "batch", oribi_batch_add_prompt(batch, sequence, tokens, n));
  CHECK(setrlimit(RLIMIT_AS, &before) == 0);

  /* What failed left nothing behind, and everything goes on. */
  OK(oribi_batch_len(batch, &n));
  CHECK(session == NULL && n == 900);
  OK(oribi_session_new(tiny_model(), options, &session));
  OK(oribi_session_save(small, &sequence, 1, &state));
  CHECK(oribi_bytes_len(state) == n_bytes);
  oribi_bytes_free(state);
  oribi_batch_free(batch);
  oribi_session_free(session);
  oribi_session_free(small);
  oribi_options_free(options);
  free(tokens);
}
