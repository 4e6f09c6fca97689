/* Encodes a file of float32 rows with ggml and says how long that took: the peer's half of benches/peers/encoders.
 *
 * ggml_encode FORMAT_ID K VALUES OUT THREADS ROUNDS [IMPORTANCE], as benches/encode.rs has it, except that the format is the number
 * that it has in GGUF. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ggml.h"

struct part {
    enum ggml_type type;
    const float * values;
    const float * importance;
    char * out;
    int64_t n_rows, k;
};

static void * encode(void * argument) {
    const struct part * part = argument;
    ggml_quantize_chunk(part->type, part->values, part->out, 0, part->n_rows, part->k, part->importance);
    return NULL;
}

static float * floats(const char * path, size_t * n) {
    FILE * file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    fseek(file, 0, SEEK_END);
    *n = (size_t) ftell(file) / sizeof(float);
    rewind(file);
    float * values = malloc(*n * sizeof(float));
    if (values == NULL || fread(values, sizeof(float), *n, file) != *n) {
        exit(1);
    }
    fclose(file);
    return values;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

int main(int argc, char ** argv) {
    if (argc < 7) {
        fprintf(stderr, "usage: ggml_encode FORMAT_ID K VALUES OUT THREADS ROUNDS [IMPORTANCE]\n");
        return 1;
    }
    enum ggml_type type = (enum ggml_type) atoi(argv[1]);
    size_t n, n_columns;
    const int64_t k = atol(argv[2]);
    const float * values = floats(argv[3], &n);
    const float * importance = argc > 7 ? floats(argv[7], &n_columns) : NULL;
    int n_threads = atoi(argv[5]);
    n_threads = n_threads < 1 ? 1 : n_threads > 64 ? 64 : n_threads;
    const int64_t n_rows = (int64_t) n / k, rows_each = (n_rows + n_threads - 1) / n_threads;
    const size_t row_bytes = ggml_row_size(type, k);
    char * out = calloc((size_t) n_rows, row_bytes);
    ggml_quantize_init(type);
    for (int round = atoi(argv[6]); round > 0; round--) {
        pthread_t threads[64];
        struct part parts[64];
        int n_parts = 0;
        const double start = now();
        for (int64_t row = 0; row < n_rows; row += rows_each, n_parts++) {
            const int64_t rest = n_rows - row;
            parts[n_parts] = (struct part) { type, values + row * k, importance, out + (size_t) row * row_bytes,
                                             rest < rows_each ? rest : rows_each, k };
            pthread_create(&threads[n_parts], NULL, encode, &parts[n_parts]);
        }
        for (int part = 0; part < n_parts; part++) {
            pthread_join(threads[part], NULL);
        }
        printf("%.9f\n", now() - start);
    }
    FILE * file = fopen(argv[4], "wb");
    return file == NULL || fwrite(out, row_bytes, (size_t) n_rows, file) != (size_t) n_rows || fclose(file) != 0;
}
