/* Metadata by index: every type, wrong types, wrong lengths. */
#include "harness.h"

static size_t index_of(const oribi_file *file, const char *key) {
  size_t index = (size_t)-1;
  OK(oribi_file_metadata_find(file, key, &index));
  return index;
}

static void every_key_can_be_walked(const oribi_file *file) {
  size_t n = oribi_file_n_metadata(file);
  CHECK(n > 20);
  for (size_t i = 0; i < n; i++) {
    const char *text = NULL;
    size_t len_bytes = 0, n_elems = 0, found = 0;
    oribi_value_type type;
    bool is_array;
    char key[256];
    OK(oribi_file_metadata_key(file, i, &text, &len_bytes));
    OK(oribi_file_metadata_type(file, i, &type, &is_array, &n_elems));
    CHECK(len_bytes > 0 && len_bytes < sizeof key && (is_array || n_elems == 1));
    snprintf(key, sizeof key, "%.*s", (int)len_bytes, text);
    OK(oribi_file_metadata_find(file, key, &found));
    CHECK(found == i);
  }
}

static void values_are_read(const oribi_file *file) {
  int64_t number = 0;
  double numbers[2] = {0};
  bool bools[3] = {false};
  const char *texts[300] = {NULL};
  size_t lens[300] = {0};
  OK(oribi_file_metadata_ints(file, index_of(file, "llama.block_count"), &number, 1));
  CHECK(number == 2);
  OK(oribi_file_metadata_ints(file, index_of(file, "test.negative"), &number, 1));
  CHECK(number == -5);
  OK(oribi_file_metadata_floats(file, index_of(file, "test.float"), numbers, 1));
  CHECK(numbers[0] == 0.5);
  OK(oribi_file_metadata_floats(file, index_of(file, "test.doubles"), numbers, 2));
  CHECK(numbers[0] == 0.25 && numbers[1] == 2.0);
  OK(oribi_file_metadata_bools(file, index_of(file, "test.bool"), bools, 1));
  CHECK(bools[0]);
  OK(oribi_file_metadata_bools(file, index_of(file, "test.bools"), bools, 3));
  CHECK(bools[0] && !bools[1] && bools[2]);
  OK(oribi_file_metadata_texts(file, index_of(file, "general.architecture"), texts, lens, 1));
  TEXT_IS("llama", texts[0], lens[0]);
  OK(oribi_file_metadata_texts(file, index_of(file, "test.texts"), texts, lens, 3));
  TEXT_IS("one", texts[0], lens[0]);
  CHECK(lens[1] == 0);
  TEXT_IS("drei", texts[2], lens[2]);
  OK(oribi_file_metadata_texts(file, index_of(file, "tokenizer.ggml.tokens"), texts, lens, 300));
  TEXT_IS("<unk>", texts[0], lens[0]);
  TEXT_IS("<0x41>", texts[3 + 'A'], lens[3 + 'A']);

  oribi_value_type type;
  bool is_array;
  size_t n_elems;
  OK(oribi_file_metadata_type(file, index_of(file, "test.doubles"), &type, &is_array, &n_elems));
  CHECK(type == ORIBI_VALUE_TYPE_F64 && is_array && n_elems == 2);
  OK(oribi_file_metadata_type(file, index_of(file, "test.huge"), &type, &is_array, &n_elems));
  CHECK(type == ORIBI_VALUE_TYPE_U64 && !is_array);
}

static void what_does_not_fit_is_refused(const oribi_file *file) {
  int64_t number = 0;
  double real = 0;
  bool truth = false;
  const char *text = NULL;
  size_t len_bytes = 0, n = 0;
  oribi_value_type type;
  size_t block_count = index_of(file, "llama.block_count"), past = oribi_file_n_metadata(file);
  FAILS(ORIBI_STATUS_WRONG_TYPE, "test.huge", oribi_file_metadata_ints(file, index_of(file, "test.huge"), &number, 1));
  FAILS(ORIBI_STATUS_WRONG_TYPE, "test.float", oribi_file_metadata_ints(file, index_of(file, "test.float"), &number, 1));
  FAILS(ORIBI_STATUS_WRONG_TYPE, "block_count", oribi_file_metadata_floats(file, block_count, &real, 1));
  FAILS(ORIBI_STATUS_WRONG_TYPE, "block_count", oribi_file_metadata_bools(file, block_count, &truth, 1));
  FAILS(ORIBI_STATUS_WRONG_TYPE, "block_count", oribi_file_metadata_texts(file, block_count, &text, &len_bytes, 1));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "1 elements, not 2", oribi_file_metadata_ints(file, block_count, (int64_t[2]){0}, 2));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "1 elements, not 0", oribi_file_metadata_ints(file, block_count, NULL, 0));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "3 elements", oribi_file_metadata_texts(file, index_of(file, "test.texts"), &text, &len_bytes, 1));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "2 elements", oribi_file_metadata_floats(file, index_of(file, "test.doubles"), &real, 1));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "3 elements", oribi_file_metadata_bools(file, index_of(file, "test.bools"), &truth, 1));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "aligned", oribi_file_metadata_ints(file, block_count, (int64_t *)(void *)((char *)(void *)&number + 1), 1));
  FAILS(ORIBI_STATUS_MISSING_KEY, "no.such.key", oribi_file_metadata_find(file, "no.such.key", &n));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "past", oribi_file_metadata_key(file, past, &text, &len_bytes));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "past", oribi_file_metadata_type(file, past, &type, &truth, &n));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "past", oribi_file_metadata_ints(file, past, &number, 1));

  NULL_REFUSED("file", oribi_file_metadata_find(NULL, "a", &n));
  NULL_REFUSED("key", oribi_file_metadata_find(file, NULL, &n));
  NULL_REFUSED("index", oribi_file_metadata_find(file, "a", NULL));
  NULL_REFUSED("file", oribi_file_metadata_key(NULL, 0, &text, &len_bytes));
  NULL_REFUSED("text", oribi_file_metadata_key(file, 0, NULL, &len_bytes));
  NULL_REFUSED("len_bytes", oribi_file_metadata_key(file, 0, &text, NULL));
  NULL_REFUSED("file", oribi_file_metadata_type(NULL, 0, &type, &truth, &n));
  NULL_REFUSED("value_type", oribi_file_metadata_type(file, 0, NULL, &truth, &n));
  NULL_REFUSED("is_array", oribi_file_metadata_type(file, 0, &type, NULL, &n));
  NULL_REFUSED("n_elems", oribi_file_metadata_type(file, 0, &type, &truth, NULL));
  NULL_REFUSED("file", oribi_file_metadata_ints(NULL, 0, &number, 1));
  NULL_REFUSED("values", oribi_file_metadata_ints(file, 0, NULL, 1));
  NULL_REFUSED("file", oribi_file_metadata_floats(NULL, 0, &real, 1));
  NULL_REFUSED("values", oribi_file_metadata_floats(file, 0, NULL, 1));
  NULL_REFUSED("file", oribi_file_metadata_bools(NULL, 0, &truth, 1));
  NULL_REFUSED("values", oribi_file_metadata_bools(file, 0, NULL, 1));
  NULL_REFUSED("file", oribi_file_metadata_texts(NULL, 0, &text, &len_bytes, 1));
  NULL_REFUSED("texts", oribi_file_metadata_texts(file, 0, NULL, &len_bytes, 1));
  NULL_REFUSED("lens_bytes", oribi_file_metadata_texts(file, 0, &text, NULL, 1));
  CHECK(oribi_file_n_metadata(NULL) == 0);
}

void test_metadata(void) {
  oribi_file *file = NULL;
  OK(oribi_file_open(file_named("tiny.gguf"), &file));
  every_key_can_be_walked(file);
  values_are_read(file);
  what_does_not_fit_is_refused(file);
  oribi_file_free(file);
}
