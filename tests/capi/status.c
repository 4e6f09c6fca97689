/* Statuses, the last error, versions. */
#include "harness.h"

#include <pthread.h>

static void *other_thread(void *unused) {
  (void)unused;
  CHECK(oribi_last_error()[0] == '\0'); /* nothing failed on this thread */
  NULL_REFUSED("cancel", oribi_cancel_new(NULL));
  return NULL;
}

void test_status(void) {
  static const struct {
    oribi_status status;
    int32_t number;
    const char *name;
  } statuses[] = {
      {ORIBI_STATUS_OK, 0, "ORIBI_STATUS_OK"},
      {ORIBI_STATUS_INVALID_ARGUMENT, 100, "ORIBI_STATUS_INVALID_ARGUMENT"},
      {ORIBI_STATUS_IO, 200, "ORIBI_STATUS_IO"},
      {ORIBI_STATUS_NOT_GGUF, 201, "ORIBI_STATUS_NOT_GGUF"},
      {ORIBI_STATUS_UNSUPPORTED_VERSION, 202, "ORIBI_STATUS_UNSUPPORTED_VERSION"},
      {ORIBI_STATUS_TRUNCATED, 203, "ORIBI_STATUS_TRUNCATED"},
      {ORIBI_STATUS_INVALID_FILE, 204, "ORIBI_STATUS_INVALID_FILE"},
      {ORIBI_STATUS_MISSING_KEY, 205, "ORIBI_STATUS_MISSING_KEY"},
      {ORIBI_STATUS_WRONG_TYPE, 206, "ORIBI_STATUS_WRONG_TYPE"},
      {ORIBI_STATUS_INVALID_MODEL, 300, "ORIBI_STATUS_INVALID_MODEL"},
      {ORIBI_STATUS_UNSUPPORTED, 301, "ORIBI_STATUS_UNSUPPORTED"},
      {ORIBI_STATUS_TEMPLATE, 302, "ORIBI_STATUS_TEMPLATE"},
      {ORIBI_STATUS_OUT_OF_MEMORY, 400, "ORIBI_STATUS_OUT_OF_MEMORY"},
      {ORIBI_STATUS_DEVICE, 401, "ORIBI_STATUS_DEVICE"},
      {ORIBI_STATUS_CONTEXT_FULL, 500, "ORIBI_STATUS_CONTEXT_FULL"},
      {ORIBI_STATUS_INVALID_STATE, 501, "ORIBI_STATUS_INVALID_STATE"},
      {ORIBI_STATUS_CANCELLED, 600, "ORIBI_STATUS_CANCELLED"},
      {ORIBI_STATUS_INTERNAL, 900, "ORIBI_STATUS_INTERNAL"},
  };
  for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
    CHECK((int32_t)statuses[i].status == statuses[i].number);
    CHECK(strcmp(oribi_status_name(statuses[i].number), statuses[i].name) == 0);
  }
  CHECK(strcmp(oribi_status_name(1), "ORIBI_STATUS_UNKNOWN") == 0);
  CHECK(strcmp(oribi_status_name(-1), "ORIBI_STATUS_UNKNOWN") == 0);

  CHECK(strcmp(oribi_version(), ORIBI_VERSION) == 0);
  char version[64];
  snprintf(version, sizeof version, "%d.%d.%d", ORIBI_VERSION_MAJOR, ORIBI_VERSION_MINOR, ORIBI_VERSION_PATCH);
  CHECK(strcmp(version, ORIBI_VERSION) == 0);
  CHECK(oribi_abi_version() == ORIBI_ABI_VERSION);

  /* The text names what failed, stays after a success, and is the thread's own. */
  oribi_options *options = NULL;
  NULL_REFUSED("options", oribi_options_new(NULL));
  OK(oribi_options_new(&options));
  CHECK(strcmp(oribi_last_error(), "options is NULL") == 0);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(strcmp(oribi_last_error(), "options is NULL") == 0);
  oribi_options_free(options);
}
