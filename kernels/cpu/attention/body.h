/* Attention of many rows and heads over one split; ref.c says what each row and head gets, to the bit.
 *
 *   for each batch of up to BATCH (row, head) pairs
 *     for each block of 64 positions that some pair sees
 *       scores = q . k        register tiles of TILE_P pairs x 16 * TILE_G positions
 *       online softmax        per pair: maximum, exp, sums, rescaled accumulators
 *       acc += p . v          the same register tiles, lanes over head_dim
 *
 * 1. Keys hold 16 positions in the lanes, so a score needs no fold across lanes and no order to choose.
 * 2. Keys and values of a block are read once for all pairs of the batch: the query heads of the group, and many rows of
 *    a prompt. For a large batch they are converted to float32 once, in slices of 64 x 64 that stay in L1; from codes of 8 or
 *    4 bits already for a small one, since registers for their scales leave room for TILE_P_CODED pairs only.
 * 3. A tile of values must not add to a pair what the pair does not see (an infinity would turn into NaN, a zero could
 *    change its sign), so it runs over the positions that all its pairs see, and each adds its own before and after.
 * 4. The rescaling is skipped while the maximum stays: the factor would be exactly 1.
 * 5. While the keys of a block are read, its values are prefetched; while the values are read, the next block's keys.
 *    From memory that is worth a factor of 1.5; the hardware does not follow the jumps from page to page.
 *
 * Accepted: up to a whole vector of 16 unseen positions is scored and discarded at the ends of the range. */
#include <math.h>
#include <string.h>

#include "../kv_store/page.h"
#include "../simd/v16_math.h"
#include "range.h"
#include "tile.h"

#define BATCH 60             /* pairs: scores and probabilities of a block take 15 KB */
#define SLICE 64             /* head_dim elements whose converted keys or values take 16 KB; a multiple of 32 */
#define MIN_PAIRS_CONVERT 13 /* from the third tile on, converting once is cheaper than in each tile */

typedef struct {
  const oribi_attention_args *args;
  page_shape shape;
  uint32_t n_pairs;
  uint32_t padded;          /* head_dim_padded */
  const float *q[BATCH];    /* [head_dim] */
  float *acc[BATCH];        /* [head_dim_padded], in the caller's states */
  float *p[BATCH];          /* [64]: scores of the block, then probabilities */
  uint32_t position[BATCH]; /* ascending */
  seen_range seen[BATCH];   /* of the current block */
  float max[BATCH];
  v16 sums[BATCH];
  float scores[BATCH][ORIBI_PAGE_LEN];
  float slice[SLICE * ORIBI_PAGE_LEN]; /* converted keys or values */
} batch;

/* A block, and the pairs that see some of it. */
typedef struct {
  uint32_t first, end; /* pairs: neighbours, since positions ascend */
  seen_range any;      /* slots that at least one of them sees */
  const uint8_t *keys, *values, *next_keys;
} active_block;

/* Pairs per tile, as even as can be: 7 are 4 + 3, not 6 + 1. */
static uint32_t tile_pairs(uint32_t n_left) {
  const uint32_t n_tiles = (n_left + TILE_P - 1) / TILE_P;
  return (n_left + n_tiles - 1) / n_tiles;
}

/* Pairs of the next batch, as even as whole tiles allow: 96 are 48 + 48, not 60 + 36. */
static uint32_t batch_pairs(uint32_t n_left) {
  const uint32_t n_batches = (n_left + BATCH - 1) / BATCH;
  const uint32_t n = ((n_left + n_batches - 1) / n_batches + TILE_P - 1) / TILE_P * TILE_P;
  return n < n_left ? n : n_left;
}

static void init_batch(batch *w, const oribi_attention_args *a, uint32_t first_pair, uint32_t n_pairs) {
  w->args = a;
  w->n_pairs = n_pairs;
  w->padded = padded_of(a->head_dim);
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

/* Whether n pairs share enough of the work to convert keys and values first; with codes there are tiles for fewer. */
static int converts_first(const batch *w, uint32_t n) {
  if (w->shape.dtype == ORIBI_F16) return n >= MIN_PAIRS_CONVERT;
  return n > TILE_P_CODED || w->shape.head_dim % 2 != 0;
}

/* Keys of a block as they are, from vector g0 on. */
static tile_b plain_keys(const batch *w, const active_block *block, uint32_t g0) {
  const page_shape s = w->shape;
  const size_t row = (size_t)KEY_PAIR_BYTES(s.dtype) * s.head_dim / 2, scale_row = groups_of(s.head_dim) * 32;
  const tile_kind kind = s.dtype == ORIBI_F16 ? B_F16 : s.dtype == ORIBI_Q8_0 ? B_Q8_KEYS : B_Q4_KEYS;
  const size_t k_stride = kind == B_Q4_KEYS ? KEY_PAIR_BYTES(s.dtype) : KEY_PAIR_BYTES(s.dtype) / 2;
  const uint8_t *scales = block->keys + key_code_bytes(s) + g0 * scale_row;
  return (tile_b){kind, block->keys + g0 * row, k_stride, row, scales, scale_row, (const char *)block->values};
}

/* Values of a block as they are, from slot 0 on; their scales are made float32. */
static tile_b plain_values(batch *w, const active_block *block) {
  const page_shape s = w->shape;
  const tile_kind kind = s.dtype == ORIBI_F16 ? B_F16 : s.dtype == ORIBI_Q8_0 ? B_Q8_VALUES : B_Q4_VALUES;
  const size_t g_stride = kind == B_F16 ? 32 : 16, scale_stride = ORIBI_PAGE_LEN * sizeof(float);
  for (uint32_t d = 0; d < s.head_dim; d += ORIBI_GROUP_LEN) {
    value_scales(s, block->values, d, w->slice + d / ORIBI_GROUP_LEN * ORIBI_PAGE_LEN);
  }
  const uint8_t *scales = (const uint8_t *)w->slice;
  return (tile_b){kind, block->values, value_stride(s), g_stride, scales, scale_stride, (const char *)block->next_keys};
}

static tile_b converted(const batch *w) { return (tile_b){B_F32, (const uint8_t *)w->slice, 256, 64, NULL, 0, NULL}; }

/* to[k][64] = element d + k of the keys of n_vectors * 16 positions from `slot` on; d is a multiple of 32. What lies from
 * `ahead` on is prefetched meanwhile, as many bytes as are read. */
V16_INLINE void convert_keys(const page_shape s, float *to, const uint8_t *page, uint32_t slot, uint32_t d, uint32_t n_d,
                             uint32_t n_vectors, const char *ahead) {
  for (uint32_t group = 0; group < n_d; group += ORIBI_GROUP_LEN) {
    const uint32_t n = n_d - group < ORIBI_GROUP_LEN ? n_d - group : ORIBI_GROUP_LEN;
    for (uint32_t g = 0; g < n_vectors; g++) {
      const uint8_t *at = key_pair_at(s, page, slot + 16 * g, d + group);
      const v16 scale = key_scale(s, page, slot + 16 * g, d + group);
      float *x = to + 64 * group + 16 * g;
      for (uint32_t k = 0; k + 1 < n; k += 2, x += 128, at += KEY_PAIR_BYTES(s.dtype)) {
        v16 even, odd;
        load_key_pair(s.dtype, at, scale, &even, &odd);
        v16_store(x, even);
        v16_store(x + 64, odd);
        if (k * KEY_PAIR_BYTES(s.dtype) / 2 % 64 == 0) v16_prefetch(ahead), ahead += 64;
      }
      if (n % 2 != 0) v16_store(x, load_last_key(s.dtype, at, scale));
    }
  }
}

/* to[j][64] = elements [d, d + n_d) of the values of position `slot` + j; d is a multiple of 32. */
V16_INLINE void convert_values(const page_shape s, float *to, const uint8_t *page, uint32_t slot, uint32_t n_slots,
                               uint32_t d, uint32_t n_d, const char *ahead) {
  const uint32_t per_line = s.dtype == ORIBI_Q4_0 ? 4 : s.dtype == ORIBI_Q8_0 ? 2 : 1; /* positions of 32 elements */
  const size_t stride = value_stride(s);
  float scales[ORIBI_PAGE_LEN];
  for (uint32_t group = 0; group < n_d; group += ORIBI_GROUP_LEN) {
    const uint8_t *at = value_at(s, page, slot, d + group);
    const int has_second = group + 16 < n_d;
    float *x = to + group;
    value_scales(s, page, d + group, scales);
    for (uint32_t j = 0; j < n_slots; j++, x += 64, at += stride) {
      v16 first, second;
      load_value(s.dtype, at, s.dtype == ORIBI_F16 ? 1.0f : scales[slot + j], has_second, &first, &second);
      v16_store(x, first);
      v16_store(x + 16, second);
      if (j % per_line == 0) v16_prefetch(ahead), ahead += 64;
    }
  }
}

/* The format as a constant, for the functions above. */
#define FOR_FORMAT(format, call)                                                                     \
  switch (format) {                                                                                  \
    case ORIBI_Q8_0: { const page_shape shape = {ORIBI_Q8_0, w->shape.head_dim}; call; break; }      \
    case ORIBI_Q4_0: { const page_shape shape = {ORIBI_Q4_0, w->shape.head_dim}; call; break; }      \
    default: { const page_shape shape = {ORIBI_F16, w->shape.head_dim}; call; }                      \
  }

/* p of the active pairs = q . k, for the vectors of positions that hold a seen one. */
static void score_block(batch *w, const active_block *block) {
  const uint32_t head_dim = w->args->head_dim;
  const uint32_t g0 = (uint32_t)block->any.begin / 16, n_vectors = (uint32_t)(block->any.end + 15) / 16 - g0;
  const int convert_first = converts_first(w, block->end - block->first);
  const uint32_t step = convert_first ? SLICE : head_dim;
  for (uint32_t i = block->first; i < block->end; i++) memset(w->p[i], 0, ORIBI_PAGE_LEN * sizeof(float));
  for (uint32_t d = 0; d < head_dim; d += step) {
    const uint32_t n_d = head_dim - d < step ? head_dim - d : step;
    const char *ahead = (const char *)block->values + value_code_bytes(w->shape) / head_dim * d;
    if (convert_first) {
      FOR_FORMAT(w->shape.dtype, convert_keys(shape, w->slice, block->keys, 16 * g0, d, n_d, n_vectors, ahead));
    }
    tile_b keys = convert_first ? converted(w) : plain_keys(w, block, g0);
    for (uint32_t i = block->first, n; i < block->end; i += n) {
      const float *q[TILE_P];
      n = tile_pairs(block->end - i);
      for (uint32_t p = 0; p < n; p++) q[p] = w->q[i + p] + d;
      const tile_args tile = {q, keys, n_d, w->p + i, 16 * g0};
      tile_lanes(n, n_vectors, &tile);
      keys.ahead = (const char *)keys.at; /* once is enough */
    }
  }
}

/* One pair's scores are scaled, capped and masked. Their largest. */
static float finish_scores(batch *w, uint32_t i) {
  const oribi_attention_args *a = w->args;
  float *p = w->p[i];
  const seen_range seen = w->seen[i];
  const v16 unseen = v16_set1(-INFINITY), scale = v16_set1(a->scale), cap = v16_set1(a->softcap);
  v16 s[4];
  ORIBI_UNROLL for (int g = 0; g < 4; g++) {
    s[g] = v16_mul(v16_load(p + 16 * g), scale);
    if (a->softcap != 0.0f) s[g] = v16_mul(cap, v16_tanh(v16_div(s[g], cap)));
  }
  if (seen.end - seen.begin < ORIBI_PAGE_LEN) {
    ORIBI_UNROLL for (int g = 0; g < 4; g++) {
      s[g] = v16_select(m16_range(seen.begin - 16 * g, seen.end - 16 * g), s[g], unseen);
    }
  }
  ORIBI_UNROLL for (int g = 0; g < 4; g++) v16_store(p + 16 * g, s[g]);
  return v16_max_lane(v16_max(v16_max(s[0], s[1]), v16_max(s[2], s[3])));
}

/* They become probabilities; the pair's sums and accumulators follow the maximum. */
static void softmax_block(batch *w, uint32_t i, float top) {
  float *p = w->p[i];
  const float max = w->max[i] > top ? w->max[i] : top;
  const float base = max == -INFINITY ? 0.0f : max;
  if (max != w->max[i]) {
    const v16 alpha = v16_exp_of_nonpositive(v16_set1(w->max[i] - base));
    w->sums[i] = v16_mul(w->sums[i], alpha);
    for (uint32_t d = 0; d < w->padded; d += 16) v16_store(w->acc[i] + d, v16_mul(v16_load(w->acc[i] + d), alpha));
    w->max[i] = max;
  }
  v16 s[4];
  ORIBI_UNROLL for (int g = 0; g < 4; g++) {
    s[g] = v16_exp_of_nonpositive(v16_sub(v16_load(p + 16 * g), v16_set1(base)));
    v16_store(p + 16 * g, s[g]);
  }
  w->sums[i] = v16_add(w->sums[i], v16_add(v16_add(s[0], s[1]), v16_add(s[2], s[3])));
}

/* Elements [d, d + 16 * n_vectors) of a block's values, from slot 0 on. */
typedef struct {
  tile_b b;
  uint32_t d;
  uint32_t n_vectors;
} value_slice;

/* acc of n_p pairs += p . v over the slots of a range */
static void add_values(batch *w, uint32_t i, uint32_t n_p, seen_range range, const value_slice *values) {
  if (range.begin >= range.end) return;
  const float *p[TILE_P];
  for (uint32_t j = 0; j < n_p; j++) p[j] = w->p[i + j] + range.begin;
  tile_args tile = {p, values->b, (uint32_t)(range.end - range.begin), w->acc + i, values->d};
  tile.b = tile_b_at_position(values->b, (uint32_t)range.begin);
  tile_lanes(n_p, values->n_vectors, &tile);
}

/* The same for a tile of pairs that may see different slots: what each sees before the common range, that, the rest. */
static void add_values_tile(batch *w, uint32_t i, uint32_t n_p, const value_slice *values) {
  seen_range common = w->seen[i];
  int all_equal = 1;
  for (uint32_t j = 1; j < n_p; j++) {
    const seen_range seen = w->seen[i + j];
    all_equal &= seen.begin == w->seen[i].begin && seen.end == w->seen[i].end;
    if (seen.begin > common.begin) common.begin = seen.begin;
    if (seen.end < common.end) common.end = seen.end;
  }
  if (common.begin >= common.end) common = (seen_range){ORIBI_PAGE_LEN, ORIBI_PAGE_LEN}; /* each alone */
  for (uint32_t j = 0; j < n_p && !all_equal; j++) {
    const seen_range seen = w->seen[i + j];
    const seen_range before = {seen.begin, seen.end < common.begin ? seen.end : common.begin};
    add_values(w, i + j, 1, before, values);
  }
  add_values(w, i, n_p, common, values);
  for (uint32_t j = 0; j < n_p && !all_equal; j++) {
    add_values(w, i + j, 1, (seen_range){common.end, w->seen[i + j].end}, values);
  }
}

/* acc of the active pairs += p . v */
static void value_block(batch *w, const active_block *block) {
  const int convert_first = converts_first(w, block->end - block->first);
  const uint32_t step = convert_first ? SLICE : w->padded;
  const uint32_t any_begin = (uint32_t)block->any.begin;
  const uint32_t n_any = (uint32_t)(block->any.end - block->any.begin);
  for (uint32_t d = 0; d < w->padded; d += step) {
    const char *ahead = (const char *)block->next_keys + key_code_bytes(w->shape) / w->shape.head_dim * d;
    const uint32_t n_d = w->padded - d < step ? w->padded - d : step;
    if (convert_first) {
      float *to = w->slice + 64 * any_begin;
      FOR_FORMAT(w->shape.dtype, convert_values(shape, to, block->values, any_begin, n_any, d, n_d, ahead));
    }
    value_slice values = {convert_first ? converted(w) : plain_values(w, block), d, n_d / 16};
    for (uint32_t i = block->first, n; i < block->end; i += n) {
      n = tile_pairs(block->end - i);
      add_values_tile(w, i, n, &values);
      values.b.ahead = (const char *)values.b.at;
    }
  }
}

static void attend_block(batch *w, uint32_t start) {
  const oribi_attention_args *a = w->args;
  active_block block = {.first = w->n_pairs, .end = 0, .any = {ORIBI_PAGE_LEN, 0}};
  for (uint32_t i = 0; i < w->n_pairs; i++) {
    const seen_range seen = w->seen[i] = seen_in_block(a, w->position[i], start);
    if (seen.begin >= seen.end) continue;
    if (block.first > i) block.first = i;
    block.end = i + 1;
    if (seen.begin < block.any.begin) block.any.begin = seen.begin;
    if (seen.end > block.any.end) block.any.end = seen.end;
  }
  if (block.first >= block.end) return;
  const uint32_t page = start / ORIBI_PAGE_LEN;
  block.keys = a->key_pages[page];
  block.values = a->value_pages[page];
  block.next_keys = start + ORIBI_PAGE_LEN < a->split_end ? a->key_pages[page + 1] : block.keys;
  score_block(w, &block);
  float top[BATCH]; /* all first: a fold across lanes is a long chain */
  for (uint32_t i = block.first; i < block.end; i++) top[i] = finish_scores(w, i);
  for (uint32_t i = block.first; i < block.end; i++) softmax_block(w, i, top[i]);
  value_block(w, &block);
}

static void attend(const oribi_attention_args *a, uint32_t dtype) {
  const uint32_t n_pairs = a->n_rows * a->n_heads;
  ORIBI_ALIGN64 batch w;
  w.shape = (page_shape){dtype, a->head_dim};
  for (uint32_t first = 0, n; first < n_pairs; first += n) {
    n = batch_pairs(n_pairs - first);
    init_batch(&w, a, first, n);
    for (uint32_t start = a->split_begin; start < a->split_end; start += ORIBI_PAGE_LEN) attend_block(&w, start);
    for (uint32_t i = 0; i < w.n_pairs; i++) {
      float *state = w.acc[i] - ORIBI_STATE_HEADER;
      state[0] = w.max[i];
      state[1] = v16_sum(w.sums[i]);
    }
  }
}

void V16_FN(oribi_attention_f16)(const void *args);
void V16_FN(oribi_attention_q8_0)(const void *args);
void V16_FN(oribi_attention_q4_0)(const void *args);

void V16_FN(oribi_attention_f16)(const void *args) { attend(args, ORIBI_F16); }
void V16_FN(oribi_attention_q8_0)(const void *args) { attend(args, ORIBI_Q8_0); }
void V16_FN(oribi_attention_q4_0)(const void *args) { attend(args, ORIBI_Q4_0); }
