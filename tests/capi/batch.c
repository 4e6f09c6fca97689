/* Batches. */
#include "harness.h"

void test_batch(void) {
  static const uint32_t tokens[] = {1, 2, 3};
  oribi_batch *batch = NULL;
  size_t n = 9;
  OK(oribi_batch_new(&batch));
  OK(oribi_batch_len(batch, &n));
  CHECK(n == 0);
  OK(oribi_batch_add_prompt(batch, 0, tokens, 3));
  OK(oribi_batch_add(batch, 1, 7, ORIBI_ROLE_GENERATED, true));
  OK(oribi_batch_add(batch, 1, 8, ORIBI_ROLE_PROMPT, false));
  OK(oribi_batch_len(batch, &n));
  CHECK(n == 5);
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "role is 2", oribi_batch_add(batch, 1, 8, 2, false));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "address space", oribi_batch_add_prompt(batch, 0, tokens, SIZE_MAX / 3));
  NULL_REFUSED("tokens", oribi_batch_add_prompt(batch, 0, NULL, 3));
  OK(oribi_batch_add_prompt(batch, 0, NULL, 0));
  OK(oribi_batch_len(batch, &n));
  CHECK(n == 5);
  OK(oribi_batch_clear(batch));
  OK(oribi_batch_len(batch, &n));
  CHECK(n == 0);
  NULL_REFUSED("batch", oribi_batch_new(NULL));
  NULL_REFUSED("batch", oribi_batch_add(NULL, 1, 8, 0, false));
  NULL_REFUSED("batch", oribi_batch_add_prompt(NULL, 0, tokens, 3));
  NULL_REFUSED("batch", oribi_batch_clear(NULL));
  NULL_REFUSED("batch", oribi_batch_len(NULL, &n));
  NULL_REFUSED("n_tokens", oribi_batch_len(batch, NULL));
  oribi_batch_free(batch);
  oribi_batch_free(NULL);
}
