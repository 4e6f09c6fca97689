/* Tensors of a file. */
#include "harness.h"

void test_tensors(void) {
  oribi_file *file = NULL;
  OK(oribi_file_open(file_named("tiny.gguf"), &file));
  size_t n = oribi_file_n_tensors(file), index = 99, n_dims = 0, len_bytes = 0;
  uint64_t shape[ORIBI_MAX_DIMS] = {0}, n_bytes = 0;
  const char *text = NULL;
  for (size_t i = 0; i < n; i++) {
    char name[256];
    OK(oribi_file_tensor_name(file, i, &text, &len_bytes));
    snprintf(name, sizeof name, "%.*s", (int)len_bytes, text);
    OK(oribi_file_tensor_find(file, name, &index));
    CHECK(index == i);
  }
  OK(oribi_file_tensor_find(file, "token_embd.weight", &index));
  OK(oribi_file_tensor_shape(file, index, shape, &n_dims));
  CHECK(n_dims == 2 && shape[0] == 256 && shape[1] == 300);
  OK(oribi_file_tensor_dtype(file, index, &text, &len_bytes));
  TEXT_IS("Q8_0", text, len_bytes);
  OK(oribi_file_tensor_len(file, index, &n_bytes));
  CHECK(n_bytes == 256 * 300 / 32 * 34);

  FAILS(ORIBI_STATUS_MISSING_KEY, "no.such", oribi_file_tensor_find(file, "no.such", &index));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "past", oribi_file_tensor_name(file, n, &text, &len_bytes));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "past", oribi_file_tensor_dtype(file, n, &text, &len_bytes));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "past", oribi_file_tensor_shape(file, n, shape, &n_dims));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "past", oribi_file_tensor_len(file, n, &n_bytes));
  NULL_REFUSED("file", oribi_file_tensor_find(NULL, "a", &index));
  NULL_REFUSED("tensor_name", oribi_file_tensor_find(file, NULL, &index));
  NULL_REFUSED("index", oribi_file_tensor_find(file, "a", NULL));
  NULL_REFUSED("file", oribi_file_tensor_name(NULL, 0, &text, &len_bytes));
  NULL_REFUSED("text", oribi_file_tensor_name(file, 0, NULL, &len_bytes));
  NULL_REFUSED("len_bytes", oribi_file_tensor_name(file, 0, &text, NULL));
  NULL_REFUSED("file", oribi_file_tensor_dtype(NULL, 0, &text, &len_bytes));
  NULL_REFUSED("text", oribi_file_tensor_dtype(file, 0, NULL, &len_bytes));
  NULL_REFUSED("len_bytes", oribi_file_tensor_dtype(file, 0, &text, NULL));
  NULL_REFUSED("file", oribi_file_tensor_shape(NULL, 0, shape, &n_dims));
  NULL_REFUSED("shape", oribi_file_tensor_shape(file, 0, NULL, &n_dims));
  NULL_REFUSED("n_dims", oribi_file_tensor_shape(file, 0, shape, NULL));
  NULL_REFUSED("file", oribi_file_tensor_len(NULL, 0, &n_bytes));
  NULL_REFUSED("n_bytes", oribi_file_tensor_len(file, 0, NULL));
  CHECK(oribi_file_n_tensors(NULL) == 0);
  oribi_file_free(file);
}
