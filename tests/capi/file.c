/* Files: opened from everywhere, everything that can be wrong with them, memory predictions. */
#include "harness.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void wrong_files_have_their_status(void) {
  oribi_file *file = NULL;
  FAILS(ORIBI_STATUS_IO, "absent.gguf", oribi_file_open(file_named("absent.gguf"), &file));
  FAILS(ORIBI_STATUS_IO, "directory", oribi_file_open(file_named("."), &file));
  FAILS(ORIBI_STATUS_NOT_GGUF, "HTML", oribi_file_open(file_named("garbage.gguf"), &file));
  FAILS(ORIBI_STATUS_UNSUPPORTED_VERSION, "9", oribi_file_open(file_named("version-9.gguf"), &file));
  FAILS(ORIBI_STATUS_TRUNCATED, "", oribi_file_open(file_named("cut.gguf"), &file));
  FAILS(ORIBI_STATUS_INVALID_FILE, "twice", oribi_file_open(file_named("key-twice.gguf"), &file));
  NULL_REFUSED("path", oribi_file_open(NULL, &file));
  NULL_REFUSED("file", oribi_file_open(file_named("tiny.gguf"), NULL));
  CHECK(file == NULL);
  oribi_file_free(NULL);
  CHECK(oribi_file_version(NULL) == 0 && oribi_file_len(NULL) == 0 && oribi_file_n_shards(NULL) == 0);
}

/* The bytes of a file of the fixture. */
static unsigned char *bytes_of(const char *name, size_t *len_bytes) {
  FILE *in = fopen(file_named(name), "rb");
  CHECK(in != NULL);
  CHECK(fseek(in, 0, SEEK_END) == 0);
  *len_bytes = (size_t)ftell(in);
  rewind(in);
  unsigned char *bytes = malloc(*len_bytes);
  CHECK(fread(bytes, 1, *len_bytes, in) == *len_bytes);
  fclose(in);
  return bytes;
}

/* Load the model of a file, free the file, and compare what it generates with the one that was opened by path. */
static void runs_as_by_path(oribi_file *file) {
  static const uint32_t prompt[] = {1, 20, 30};
  uint32_t expected[6], tokens[6];
  oribi_model *model = NULL;
  CHECK(oribi_file_version(file) == 3 && oribi_file_n_shards(file) == 1 && oribi_file_n_tensors(file) == 20);
  OK(oribi_model_load(file, NULL, &model));
  oribi_file_free(file);
  CHECK(generate(tiny_model(), prompt, 3, expected, 6) == 6 && generate(model, prompt, 3, tokens, 6) == 6);
  CHECK(memcmp(expected, tokens, sizeof tokens) == 0);
  oribi_model_free(model);
}

static void opens_a_part_of_a_descriptor(void) {
  size_t len_bytes;
  free(bytes_of("tiny.gguf", &len_bytes));
  oribi_file *file = NULL;
  int fd = open(file_named("inside.bin"), O_RDONLY);
  CHECK(fd >= 0);
  OK(oribi_file_open_fd(fd, 4099, len_bytes, &file));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "pass the end", oribi_file_open_fd(fd, 4099, len_bytes + 12, &file));
  FAILS(ORIBI_STATUS_NOT_GGUF, "", oribi_file_open_fd(fd, 0, len_bytes, &file));
  NULL_REFUSED("file", oribi_file_open_fd(fd, 4099, len_bytes, NULL));
  CHECK(lseek(fd, 0, SEEK_CUR) == 0);
  close(fd);
  CHECK(oribi_file_len(file) == len_bytes);
  runs_as_by_path(file);
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "fd is -1", oribi_file_open_fd(-1, 0, 100, &file));
  FAILS(ORIBI_STATUS_IO, "descriptor", oribi_file_open_fd(9999, 0, 100, &file));
}

typedef struct {
  unsigned char *bytes;
  size_t len_bytes;
  int n_released, n_reads, fails_at, lies;
} host_file;

static void release(void *userdata) { ((host_file *)userdata)->n_released++; }

static int64_t read_at(void *userdata, uint64_t offset, void *buffer, size_t len_bytes) {
  host_file *h = userdata;
  if (h->n_reads++ == h->fails_at) return h->lies ? (int64_t)len_bytes + 1 : -5;
  if (offset >= h->len_bytes) return 0;
  size_t n = h->len_bytes - (size_t)offset;
  if (n > len_bytes) n = len_bytes;
  if (n > 10000) n = 10000; /* fewer than wanted: the rest is asked for */
  memcpy(buffer, h->bytes + offset, n);
  return (int64_t)n;
}

static void opens_memory_of_the_host(void) {
  host_file h = {0};
  h.bytes = bytes_of("tiny.gguf", &h.len_bytes);
  oribi_file *file = NULL;
  FAILS(ORIBI_STATUS_TRUNCATED, "", oribi_file_open_memory(h.bytes, 100, release, &h, &file));
  FAILS(ORIBI_STATUS_NOT_GGUF, "", oribi_file_open_memory(NULL, 0, release, &h, &file));
  NULL_REFUSED("data", oribi_file_open_memory(NULL, 100, release, &h, &file));
  NULL_REFUSED("file", oribi_file_open_memory(h.bytes, h.len_bytes, release, &h, NULL));
  CHECK(h.n_released == 0 && file == NULL);
  OK(oribi_file_open_memory(h.bytes, h.len_bytes, release, &h, &file));
  runs_as_by_path(file);
  CHECK(h.n_released == 1);

  /* A model that outlives its file keeps the memory. */
  oribi_model *model = NULL;
  OK(oribi_file_open_memory(h.bytes, h.len_bytes, release, &h, &file));
  OK(oribi_model_load(file, NULL, &model));
  oribi_file_free(file);
  CHECK(h.n_released == 1);
  oribi_model_free(model);
  CHECK(h.n_released == 2);
  OK(oribi_file_open_memory(h.bytes, h.len_bytes, NULL, NULL, &file));
  oribi_file_free(file);
  free(h.bytes);
}

static void opens_what_the_host_reads(void) {
  host_file h = {.fails_at = -1};
  h.bytes = bytes_of("tiny.gguf", &h.len_bytes);
  oribi_file *file = NULL;
  NULL_REFUSED("read", oribi_file_open_read_at(h.len_bytes, NULL, release, &h, &file));
  NULL_REFUSED("file", oribi_file_open_read_at(h.len_bytes, read_at, release, &h, NULL));
  FAILS(ORIBI_STATUS_TRUNCATED, "", oribi_file_open_read_at(100, read_at, release, &h, &file));
  h.fails_at = h.n_reads;
  FAILS(ORIBI_STATUS_IO, "-5", oribi_file_open_read_at(h.len_bytes, read_at, release, &h, &file));
  h.fails_at = h.n_reads, h.lies = 1;
  FAILS(ORIBI_STATUS_IO, "", oribi_file_open_read_at(h.len_bytes, read_at, release, &h, &file));
  CHECK(h.n_released == 0);
  h.fails_at = -1;
  OK(oribi_file_open_read_at(h.len_bytes, read_at, release, &h, &file));
  runs_as_by_path(file);
  CHECK(h.n_released == 1);

  /* A failure in the middle of a load; and weights that cannot stay in such a file. */
  oribi_model *model = NULL;
  oribi_options *options = NULL;
  OK(oribi_file_open_read_at(h.len_bytes, read_at, release, &h, &file));
  h.fails_at = h.n_reads + 3, h.lies = 0;
  FAILS(ORIBI_STATUS_IO, "-5", oribi_model_load(file, NULL, &model));
  h.fails_at = -1;
  OK(oribi_options_new(&options));
  OK(oribi_options_set_bool(options, "pack_weights", false));
  FAILS(ORIBI_STATUS_UNSUPPORTED, "callback", oribi_model_load(file, options, &model));
  oribi_options_free(options);
  oribi_file_free(file);
  CHECK(h.n_released == 2 && model == NULL);
  free(h.bytes);
}

static void memory_is_predicted(void) {
  oribi_file *file = NULL;
  oribi_options *options = greedy_options(1);
  uint64_t total = 0, part = 0, sum = 0, larger = 0;
  OK(oribi_file_open(file_named("tiny.gguf"), &file));
  OK(oribi_file_predict_memory(file, options, ORIBI_MEMORY_TOTAL, &total));
  static const int32_t parts[] = {ORIBI_MEMORY_WEIGHTS, ORIBI_MEMORY_KV_CACHE, ORIBI_MEMORY_SCRATCH, ORIBI_MEMORY_VOCABULARY};
  for (int i = 0; i < 4; i++) {
    OK(oribi_file_predict_memory(file, options, parts[i], &part));
    CHECK(part > 0);
    sum += part;
  }
  CHECK(total == sum);
  OK(oribi_options_set_int(options, "n_ctx", 4096));
  OK(oribi_file_predict_memory(file, options, ORIBI_MEMORY_TOTAL, &larger));
  CHECK(larger > total);
  OK(oribi_file_predict_memory(file, NULL, ORIBI_MEMORY_TOTAL, &part));
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "part is 77", oribi_file_predict_memory(file, options, 77, &part));
  NULL_REFUSED("file", oribi_file_predict_memory(NULL, options, 0, &part));
  NULL_REFUSED("n_bytes", oribi_file_predict_memory(file, options, 0, NULL));

  /* A budget of that many bytes is enough, one byte less is refused. */
  oribi_model *model = NULL;
  OK(oribi_options_set_int(options, "max_memory", (int64_t)larger));
  OK(oribi_model_load(file, options, &model));
  OK(oribi_options_set_int(options, "max_memory", (int64_t)larger - 1));
  oribi_model *refused = NULL;
  FAILS(ORIBI_STATUS_OUT_OF_MEMORY, "max_memory", oribi_model_load(file, options, &refused));

  /* The same for a session of a model that is there. */
  oribi_session *session = NULL;
  FAILS(ORIBI_STATUS_OUT_OF_MEMORY, "max_memory", oribi_session_new(model, options, &session));
  CHECK(refused == NULL && session == NULL);
  OK(oribi_options_set_int(options, "max_memory", (int64_t)larger));
  OK(oribi_session_new(model, options, &session));
  oribi_session_free(session);
  oribi_model_free(model);
  oribi_options_free(options);
  oribi_file_free(file);
}

/* Where a GPU cannot be used the error says why, and "auto" takes the CPU or another GPU. */
static void a_gpu_that_is_not_there_is_an_error(void) {
  oribi_file *file = NULL;
  oribi_options *options = NULL;
  oribi_model *model = NULL;
  OK(oribi_file_open(file_named("tiny.gguf"), &file));
  OK(oribi_options_new(&options));
  OK(oribi_options_set_text(options, "device", "cuda:999", ORIBI_TO_NUL));
  FAILS(ORIBI_STATUS_DEVICE, "GPU", oribi_model_load(file, options, &model));
  CHECK(model == NULL);
  OK(oribi_options_set_text(options, "device", "auto", ORIBI_TO_NUL));
  OK(oribi_model_load(file, options, &model));
  oribi_model_free(model);
  oribi_options_free(options);
  oribi_file_free(file);
}

void test_file(void) {
  a_gpu_that_is_not_there_is_an_error();
  wrong_files_have_their_status();
  opens_a_part_of_a_descriptor();
  opens_memory_of_the_host();
  opens_what_the_host_reads();
  memory_is_predicted();
}
