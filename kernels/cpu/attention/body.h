/* Attention of many rows and heads over one split; ref.c says what each row and head gets, to the bit.
 *
 *   for each batch of up to BATCH (row, head) pairs
 *     for each block of 64 positions that some pair sees
 *       scores = q . k        register tiles of TILE_P pairs x 16 * TILE_G positions
 *       online softmax        per pair: maximum, exp, sums, rescaled accumulators
 *       acc += p . v          the same register tiles, lanes over head_dim
 *
 * 1. Keys hold 16 positions in the lanes, so a score needs no fold across lanes and no order to choose.
 * 2. Keys and values of a block are read once for all pairs of the batch: the query heads of the group, and many rows of a
 *    prompt. For a large batch they are converted to float32 once, in slices of 64 x 64 that stay in L1.
 * 3. A pair's row of values must not contain what it does not see (the sum could turn NaN or change the sign of a zero), so the
 *    tile runs over the positions that all its pairs see and each pair adds its own few before and after.
 * 4. The rescaling is skipped while the maximum stays: the factor would be exactly 1.
 *
 * Accepted: up to a whole vector of 16 unseen positions is scored and discarded at the ends of the range. */
#include <math.h>
#include <string.h>

#include "../simd/v16_math.h"
#include "range.h"
#include "tile.h"

#define BATCH 60            /* pairs: scores and probabilities of a block take 15 KB */
#define SLICE 64            /* head_dim elements whose converted keys or values take 16 KB */
#define MIN_PAIRS_CONVERT 13 /* from the third tile on, converting once is cheaper than in each tile */

typedef struct {
  const oribi_attention_args *args;
  uint32_t n_pairs;
  uint32_t padded;              /* head_dim_padded */
  const float *q[BATCH];        /* [head_dim] */
  float *acc[BATCH];            /* [head_dim_padded], in the caller's states */
  float *p[BATCH];              /* [64]: scores of the block, then probabilities */
  uint32_t position[BATCH];     /* ascending */
  seen_range seen[BATCH];       /* of the current block */
  float max[BATCH];
  v16 sums[BATCH];
  float scores[BATCH][ORIBI_PAGE_LEN];
  float slice[SLICE * ORIBI_PAGE_LEN]; /* converted keys or values */
} batch;

/* Pairs per tile, as even as can be: 7 are 4 + 3, not 6 + 1. */
static uint32_t tile_pairs(uint32_t n_left) {
  const uint32_t n_tiles = (n_left + TILE_P - 1) / TILE_P;
  return (n_left + n_tiles - 1) / n_tiles;
}

static void init_batch(batch *w, const oribi_attention_args *a, uint32_t first_pair, uint32_t n_pairs) {
  w->args = a;
  w->n_pairs = n_pairs;
  w->padded = (a->head_dim + 15) / 16 * 16;
  const uint32_t state_len = ORIBI_STATE_HEADER + w->padded;
  for (uint32_t i = 0; i < n_pairs; i++) {
    const size_t row = (first_pair + i) / a->n_heads, head = (first_pair + i) % a->n_heads;
    float *state = a->states + row * a->state_row_stride + head * state_len;
    memset(state, 0, state_len * sizeof(float));
    w->q[i] = a->q + row * a->q_stride + head * a->head_dim;
    w->acc[i] = state + ORIBI_STATE_HEADER;
    w->p[i] = w->scores[i];
    w->position[i] = a->first_position + (uint32_t)row;
    w->max[i] = -INFINITY;
    w->sums[i] = v16_set1(0.0f);
  }
}

/* slice[k][64] = b[k][n_vectors of 16] */
static void convert(float *slice, tile_b b, uint32_t n_k, uint32_t n_vectors) {
  const uint16_t *from = b.at;
  for (uint32_t k = 0; k < n_k; k++) {
    for (uint32_t g = 0; g < n_vectors; g++) v16_store(slice + 64 * k + 16 * g, v16_load_f16(from + k * b.k_stride + g * b.g_stride));
  }
}

/* scores of the active pairs against vectors [g0, g1) of the key page */
static void score_block(batch *w, uint32_t first, uint32_t end, const uint16_t *keys, uint32_t g0, uint32_t g1) {
  const uint32_t head_dim = w->args->head_dim;
  const int converted = end - first >= MIN_PAIRS_CONVERT;
  const uint32_t step = converted ? SLICE : head_dim;
  for (uint32_t i = first; i < end; i++) memset(w->p[i], 0, ORIBI_PAGE_LEN * sizeof(float));
  for (uint32_t d = 0; d < head_dim; d += step) {
    const uint32_t n_d = head_dim - d < step ? head_dim - d : step;
    tile_b b = {keys + ((size_t)g0 * head_dim + d) * 16, 16, (size_t)head_dim * 16};
    if (converted) {
      convert(w->slice, b, n_d, g1 - g0);
      b = (tile_b){w->slice, 64, 16};
    }
    for (uint32_t i = first, n; i < end; i += n) {
      n = tile_pairs(end - i);
      const float *q[TILE_P];
      for (uint32_t p = 0; p < n; p++) q[p] = w->q[i + p] + d;
      tile_lanes(n, g1 - g0, !converted, q, b, n_d, w->p + i, 16 * g0);
    }
  }
}

/* One pair's scores become probabilities; its sums and accumulators follow the maximum. */
static void softmax_block(batch *w, uint32_t i) {
  const oribi_attention_args *a = w->args;
  float *p = w->p[i];
  const seen_range seen = w->seen[i];
  const v16 unseen = v16_set1(-INFINITY), scale = v16_set1(a->scale), cap = v16_set1(a->softcap);
  v16 s[4];
  ORIBI_UNROLL for (int g = 0; g < 4; g++) {
    s[g] = v16_mul(v16_load(p + 16 * g), scale);
    if (a->softcap != 0.0f) s[g] = v16_mul(cap, v16_tanh(v16_div(s[g], cap)));
    s[g] = v16_select(m16_range(seen.begin - 16 * g, seen.end - 16 * g), s[g], unseen);
  }
  const float top = v16_max_lane(v16_max(v16_max(s[0], s[1]), v16_max(s[2], s[3])));
  const float max = w->max[i] > top ? w->max[i] : top;
  const float base = max == -INFINITY ? 0.0f : max;
  if (max != w->max[i]) {
    const v16 alpha = v16_exp(v16_set1(w->max[i] - base));
    w->sums[i] = v16_mul(w->sums[i], alpha);
    for (uint32_t d = 0; d < w->padded; d += 16) v16_store(w->acc[i] + d, v16_mul(v16_load(w->acc[i] + d), alpha));
    w->max[i] = max;
  }
  ORIBI_UNROLL for (int g = 0; g < 4; g++) {
    s[g] = v16_exp(v16_sub(s[g], v16_set1(base)));
    v16_store(p + 16 * g, s[g]);
  }
  w->sums[i] = v16_add(w->sums[i], v16_add(v16_add(s[0], s[1]), v16_add(s[2], s[3])));
}

/* acc of n_p pairs += p . v over the slots [begin, end); b starts at slot 0, lanes at element d. */
static void add_values(batch *w, uint32_t i, uint32_t n_p, seen_range range, tile_b b, int b_is_f16, uint32_t d, uint32_t n_vectors) {
  if (range.begin >= range.end) return;
  const float *p[TILE_P];
  for (uint32_t j = 0; j < n_p; j++) p[j] = w->p[i + j] + range.begin;
  const size_t skip = (size_t)range.begin * b.k_stride;
  b.at = b_is_f16 ? (const void *)((const uint16_t *)b.at + skip) : (const void *)((const float *)b.at + skip);
  tile_lanes(n_p, n_vectors, b_is_f16, p, b, (uint32_t)(range.end - range.begin), w->acc + i, d);
}

/* The same for a tile of pairs that may see different slots: first what each sees before the common range, then that, then the rest. */
static void add_values_tile(batch *w, uint32_t i, uint32_t n_p, tile_b b, int b_is_f16, uint32_t d, uint32_t n_vectors) {
  seen_range common = w->seen[i];
  int all_equal = 1;
  for (uint32_t j = 1; j < n_p; j++) {
    const seen_range seen = w->seen[i + j];
    all_equal &= seen.begin == common.begin && seen.end == common.end;
    if (seen.begin > common.begin) common.begin = seen.begin;
    if (seen.end < common.end) common.end = seen.end;
  }
  if (common.begin >= common.end) common = (seen_range){ORIBI_PAGE_LEN, ORIBI_PAGE_LEN}; /* each alone */
  for (uint32_t j = 0; j < n_p && !all_equal; j++) {
    const seen_range seen = w->seen[i + j];
    const seen_range before = {seen.begin, seen.end < common.begin ? seen.end : common.begin};
    add_values(w, i + j, 1, before, b, b_is_f16, d, n_vectors);
  }
  add_values(w, i, n_p, common, b, b_is_f16, d, n_vectors);
  for (uint32_t j = 0; j < n_p && !all_equal; j++) {
    const seen_range after = {common.end, w->seen[i + j].end};
    add_values(w, i + j, 1, after, b, b_is_f16, d, n_vectors);
  }
}

static void value_block(batch *w, uint32_t first, uint32_t end, const uint16_t *values, seen_range any) {
  const int converted = end - first >= MIN_PAIRS_CONVERT;
  const uint32_t step = converted ? SLICE : w->padded;
  for (uint32_t d = 0; d < w->padded; d += step) {
    const uint32_t n_vectors = (w->padded - d < step ? w->padded - d : step) / 16;
    tile_b b = {values + d, w->padded, 16};
    if (converted) {
      const tile_b from = {values + (size_t)any.begin * w->padded + d, w->padded, 16};
      convert(w->slice + 64 * any.begin, from, (uint32_t)(any.end - any.begin), n_vectors);
      b = (tile_b){w->slice, 64, 16};
    }
    for (uint32_t i = first, n; i < end; i += n) {
      n = tile_pairs(end - i);
      add_values_tile(w, i, n, b, !converted, d, n_vectors);
    }
  }
}

static void attend_block(batch *w, uint32_t block) {
  const oribi_attention_args *a = w->args;
  uint32_t first = w->n_pairs, end = 0; /* the pairs that see some of it are neighbours */
  seen_range any = {ORIBI_PAGE_LEN, 0};
  for (uint32_t i = 0; i < w->n_pairs; i++) {
    const seen_range seen = w->seen[i] = seen_in_block(a, w->position[i], block);
    if (seen.begin >= seen.end) continue;
    if (first > i) first = i;
    end = i + 1;
    if (seen.begin < any.begin) any.begin = seen.begin;
    if (seen.end > any.end) any.end = seen.end;
  }
  if (first >= end) return;
  const uint32_t page = block / ORIBI_PAGE_LEN;
  score_block(w, first, end, a->key_pages[page], (uint32_t)any.begin / 16, (uint32_t)(any.end + 15) / 16);
  for (uint32_t i = first; i < end; i++) softmax_block(w, i);
  value_block(w, first, end, a->value_pages[page], any);
}

void V16_FN(oribi_attention)(const void *args);

void V16_FN(oribi_attention)(const void *args) {
  const oribi_attention_args *a = args;
  const uint32_t n_pairs = a->n_rows * a->n_heads;
  ORIBI_ALIGN64 batch w;
  for (uint32_t first = 0; first < n_pairs; first += BATCH) {
    init_batch(&w, a, first, n_pairs - first < BATCH ? n_pairs - first : BATCH);
    for (uint32_t block = a->split_begin; block < a->split_end; block += ORIBI_PAGE_LEN) attend_block(&w, block);
    for (uint32_t i = 0; i < w.n_pairs; i++) {
      float *state = w.acc[i] - ORIBI_STATE_HEADER;
      state[0] = w.max[i];
      state[1] = v16_sum(w.sums[i]);
    }
  }
}
