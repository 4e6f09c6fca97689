/* x86_amx_bf16.c - attention of prompt rows in native numerics: bf16 tiles, float32 sums.
 *
 *   keys and values of the split -> bf16 tiles, once per call
 *   for each 32 (row, head) pairs
 *     scores = q . k           32 x 32 by four tiles, 32 elements of the head a step
 *     p      = softmax weights of the whole split: its maximum is known before the first exp, so nothing is rescaled
 *     acc    = p . v           the same tiles, 32 positions a step
 *
 * What a pair gets depends on the pair and the split alone: a tile's row is computed from that row of the left operand and
 * the whole right one, in order of k; positions lie in tiles by their number; and what a pair does not see has p = 0, which
 * adds nothing to a sum. Two cases need care for that:
 *
 * 1. A value that is not finite would turn the others' 0 into NaN. So it is taken as 0, and the score of its position as
 *    NaN: whoever sees it gets NaN, and nobody else anything.
 * 2. Skipped tiles would leave a -0 where added zeros make it +0: results have +0 added.
 *
 * Arithmetic: q * scale * log2(e) rounded to bf16, keys and values float16 rounded to bf16, products summed in float32
 * (denormals as 0); p = 2^(s - m) to 1e-4, rounded to bf16; the sum is that of the rounded weights. */
#include <immintrin.h>

#include <math.h>
#include <string.h>

#include "../simd/v16_avx512.h"

#include "../kv_store/page.h"
#include "../simd/amx.h"
#include "../simd/v16_math.h"
#include "range.h"
#include "scratch.h"

enum { TILE_WORDS = 512 }; /* 16 rows of 32 bf16 */

/* What lies in the scratch of a call; `width` is head_dim rounded up to 32. */
typedef struct {
  const oribi_attention_args *args;
  uint32_t width;
  uint16_t *keys;   /* [SPLIT_LEN / 16][width / 32] tiles: row = pair of elements, column = position */
  uint16_t *values; /* [SPLIT_LEN / 32][width / 16] tiles: row = pair of positions, column = element */
  uint16_t *q;      /* [PAIRS][width + 32] */
  float *scores;    /* [PAIRS][SCORES_STRIDE]; a row's weights overwrite its scores, in half the room */
  uint32_t not_finite[ORIBI_SPLIT_LEN / STEP]; /* bit j: position j of the step has a value that is not finite */
  uint32_t any_not_finite;
} call;

/* The (row, head) pairs of a pass; positions count from the split's begin. */
typedef struct {
  uint32_t n;
  seen_range seen[PAIRS];
  seen_range any;      /* multiples of STEP around what some pair sees */
  float *state[PAIRS]; /* in the caller's states */
} pass;

/* ---- tiles -------------------------------------------------------------------------------------------------------- */

/* Tiles 0..3 are sums (16 x 16 float32), 4..5 left operands, 6..7 right operands (16 x 32 bf16). */
static void configure_tiles(void) {
  const amx_config config = amx_full_tiles();
  amx_configure(&config);
}

/* Sums of n_left x 2 tiles over n_steps: left tiles `left_rows` apart, steps 32 words apart; right tiles in two columns,
 * `right_step` words from step to step. */
typedef struct {
  const uint16_t *left;
  size_t left_stride; /* words from row to row */
  const uint16_t *right[2];
  size_t right_step;
  uint32_t n_steps;
} product;

ORIBI_INLINE void multiply(const product *t, const int n_left) {
  const size_t left_bytes = t->left_stride * sizeof(uint16_t);
  _tile_zero(0);
  _tile_zero(1);
  if (n_left > 1) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (uint32_t i = 0; i < t->n_steps; i++) {
    _tile_loadd(4, t->left + STEP * i, left_bytes);
    _tile_loadd(6, t->right[0] + i * t->right_step, 64);
    _tile_loadd(7, t->right[1] + i * t->right_step, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (n_left > 1) {
      _tile_loadd(5, t->left + 16 * t->left_stride + STEP * i, left_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
}

/* The sums as n_left * 16 rows of 32 floats. */
ORIBI_INLINE void store_sums(float *to, size_t stride, const int n_left) {
  const size_t bytes = stride * sizeof(float);
  _tile_stored(0, to, bytes);
  _tile_stored(1, to + 16, bytes);
  if (n_left > 1) {
    _tile_stored(2, to + 16 * stride, bytes);
    _tile_stored(3, to + 16 * stride + 16, bytes);
  }
}

/* ---- keys and values ---------------------------------------------------------------------------------------------- */

/* Lane i of the result holds even[i] below odd[i]. */
ORIBI_INLINE __m512i pairs_of(v16 even, v16 odd) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5,
                                         20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}

/* Keys of the 16 positions of one tile column. */
ORIBI_INLINE void convert_keys(const call *c, const page_shape s, uint32_t position) {
  const uint8_t *page = c->args->key_pages[(c->args->split_begin + position) / ORIBI_PAGE_LEN];
  const uint32_t slot = position % ORIBI_PAGE_LEN;
  uint16_t *to = c->keys + (size_t)position * c->width;
  for (uint32_t d = 0; d < c->width; d += 2, to += 32) {
    v16 even = v16_set1(0.0f), odd = even;
    const uint8_t *at = key_pair_at(s, page, slot, d);
    if (d + 1 < s.head_dim) {
      load_key_pair(s.dtype, at, key_scale(s, page, slot, d), &even, &odd);
    } else if (d < s.head_dim) {
      even = load_last_key(s.dtype, at, key_scale(s, page, slot, d));
    }
    _mm512_storeu_si512(to, pairs_of(even, odd));
  }
}

/* Values of two neighbouring positions: row `position / 2 % 16` of the step's tiles. Those behind the split count as 0. */
ORIBI_INLINE void convert_values(call *c, const page_shape s, uint32_t position) {
  const oribi_attention_args *a = c->args;
  const uint8_t *page = a->value_pages[(a->split_begin + position) / ORIBI_PAGE_LEN];
  const uint32_t slot = position % ORIBI_PAGE_LEN, n_left = a->split_end - a->split_begin - position;
  uint16_t *to = c->values + (size_t)(position / STEP) * STEP * c->width + position % STEP / 2 * 32;
  __m512i largest = _mm512_setzero_si512();
  const __m512i magnitude = _mm512_set1_epi16(0x7fff);
  for (uint32_t d = 0; d < c->width; d += 32, to += 2 * TILE_WORDS) {
    v16 even[2], odd[2] = {v16_set1(0.0f), v16_set1(0.0f)};
    const uint8_t *at = value_at(s, page, slot, d);
    const int has_second = d + 16 < padded_of(s.head_dim);
    load_value(s.dtype, at, value_scale(s, page, slot, d), has_second, even, even + 1);
    if (n_left > 1) {
      load_value(s.dtype, at + value_stride(s), value_scale(s, page, slot + 1, d), has_second, odd, odd + 1);
    }
    ORIBI_UNROLL for (int i = 0; i < 2; i++) {
      const __m512i words = pairs_of(even[i], odd[i]);
      largest = _mm512_max_epu16(largest, _mm512_and_si512(words, magnitude));
      _mm512_storeu_si512(to + i * TILE_WORDS, words);
    }
  }
  const __mmask32 bad = _mm512_cmpge_epu16_mask(largest, _mm512_set1_epi16(0x7f80));
  if (bad == 0) return;
  /* Some are infinite or NaN: the whole position is taken as 0, see the top. */
  const uint32_t is_bad = ((bad & 0x55555555u) != 0) | ((bad & 0xaaaaaaaau) != 0) << 1;
  c->not_finite[position / STEP] |= is_bad << position % STEP;
  c->any_not_finite = 1;
  const __mmask32 keep = (is_bad & 1 ? 0 : 0x55555555u) | (is_bad & 2 ? 0 : 0xaaaaaaaau);
  for (uint32_t d = 0; d < c->width; d += 16) {
    to -= TILE_WORDS;
    _mm512_storeu_si512(to, _mm512_maskz_mov_epi16(keep, _mm512_loadu_si512(to)));
  }
}

/* The tiles of the steps that some row of the call sees. */
ORIBI_INLINE void convert_split(call *c, const uint32_t dtype) {
  const oribi_attention_args *a = c->args;
  const page_shape s = {dtype, a->head_dim};
  const uint32_t n_positions = a->split_end - a->split_begin;
  uint32_t first_seen = a->window != 0 && a->first_position >= a->window ? a->first_position - a->window + 1 : 0;
  first_seen = first_seen > a->split_begin ? (first_seen - a->split_begin) / STEP * STEP : 0;
  for (uint32_t step = first_seen; step < n_positions; step += STEP) {
    /* A step of 32 lies in one page, so slots behind the split's end exist; nobody sees them. */
    convert_keys(c, s, step);
    convert_keys(c, s, step + 16);
    uint32_t position = step;
    for (; position < step + STEP && position < n_positions; position += 2) convert_values(c, s, position);
    for (; position < step + STEP; position += 2) {
      uint16_t *to = c->values + (size_t)step * c->width + position % STEP / 2 * 32;
      for (uint32_t d = 0; d < c->width; d += 16, to += TILE_WORDS) _mm512_storeu_si512(to, _mm512_setzero_si512());
    }
  }
}

/* ---- one pass ----------------------------------------------------------------------------------------------------- */

/* What every pair of the pass sees of the split, and their queries as bf16. */
static void begin_pass(const call *c, pass *p, uint32_t first, uint32_t n) {
  const oribi_attention_args *a = c->args;
  const size_t state_len = ORIBI_STATE_HEADER + (a->head_dim + 15) / 16 * 16;
  const float log2_e = 0x1.715476p+0f;
  const v16 factor = v16_set1(a->softcap != 0.0f ? a->scale : a->scale * log2_e);
  const size_t q_stride = q_stride_of(c->width);
  uint32_t row = first / a->n_heads, head = first % a->n_heads;
  p->n = n;
  p->any = (seen_range){ORIBI_SPLIT_LEN, 0};
  for (uint32_t i = 0; i < n; i++) {
    p->state[i] = a->states + row * a->state_row_stride + head * state_len;
    const seen_range seen = p->seen[i] = seen_in(a, a->first_position + row, a->split_begin, ORIBI_SPLIT_LEN);
    if (seen.begin < seen.end) {
      if (seen.begin < p->any.begin) p->any.begin = seen.begin / STEP * STEP;
      if (seen.end > p->any.end) p->any.end = (seen.end + STEP - 1) / STEP * STEP;
    }
    const float *q = a->q + row * a->q_stride + (size_t)head * a->head_dim;
    for (uint32_t d = 0; d < c->width; d += 16) {
      const uint32_t n_d = d >= a->head_dim ? 0 : a->head_dim - d < 16 ? a->head_dim - d : 16;
      const __m256bh words = _mm512_cvtneps_pbh(v16_mul(v16_load_n(q + d, n_d), factor));
      _mm256_storeu_si256((__m256i *)(c->q + i * q_stride + d), (__m256i)words);
    }
    if (++head == a->n_heads) head = 0, row++;
  }
  memset(c->q + n * q_stride, 0, (PAIRS - n) * q_stride * sizeof *c->q);
}

/* 2^x for x <= 0, to 1e-4; exactly 1 at 0, and 0 below -126: bfloat16 would make 0 of what is denormal, which takes the CPU a
 * hundred cycles to form. */
ORIBI_INLINE v16 exp2_of_nonpositive(v16 x) {
  const v16 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); /* x - floor(x) */
  v16 y = v16_set1(0x1.3ba86ep-4f);
  y = v16_fma(y, f, v16_set1(0x1.d238cp-3f));
  y = v16_fma(y, f, v16_set1(0x1.63e648p-1f));
  y = v16_fma(y, f, v16_set1(1.0f));
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, v16_set1(-126.0f), _CMP_NLT_UQ), y, x);
}

/* cap * tanh(s / cap) * log2(e) of a row's scores */
static void softcap_row(const oribi_attention_args *a, float *s, seen_range any) {
  const v16 cap = v16_set1(a->softcap), log2_e = v16_set1(0x1.715476p+0f);
  for (int j = any.begin; j < any.end; j += 16) {
    const v16 capped = v16_mul(cap, v16_tanh(v16_div(v16_load(s + j), cap)));
    v16_store(s + j, v16_mul(capped, log2_e));
  }
}

/* -infinity where the pair does not see, NaN where it sees a value that is not finite. */
static void mask_row(const call *c, float *s, seen_range seen, seen_range any) {
  const v16 unseen = v16_set1(-INFINITY);
  for (int j = any.begin; j < seen.begin; j += 16) {
    _mm512_mask_storeu_ps(s + j, m16_range(0, seen.begin - j), unseen);
  }
  for (int j = seen.end / 16 * 16; j < any.end; j += 16) {
    _mm512_mask_storeu_ps(s + j, m16_range(seen.end - j, 16), unseen);
  }
  for (int j = any.begin; j < any.end && c->any_not_finite; j += STEP) {
    for (uint32_t bad = c->not_finite[j / STEP]; bad != 0; bad &= bad - 1) {
      const int at = j + __builtin_ctz(bad);
      if (at >= seen.begin && at < seen.end) s[at] = NAN;
    }
  }
}

/* The largest score of a row; NaN is left out. */
static float max_of_row(const float *s, seen_range any) {
  v16 even = v16_set1(-INFINITY), odd = even;
  for (int j = any.begin; j < any.end; j += STEP) {
    even = v16_max(v16_load(s + j), even);
    odd = v16_max(v16_load(s + j + 16), odd);
  }
  return v16_max_lane(v16_max(even, odd));
}

/* A row's scores become weights 2^(s - base), in half their room. Their sum. */
static float exp_row(float *s, seen_range any, float base) {
  const __m512i odd_words = _mm512_set1_epi32((int)0xffff0000);
  const v16 base16 = v16_set1(base);
  uint16_t *weights = (uint16_t *)s;
  v16 sums = v16_set1(0.0f);
  for (int j = any.begin; j < any.end; j += STEP) {
    const v16 low = exp2_of_nonpositive(v16_sub(v16_load(s + j), base16));
    const v16 high = exp2_of_nonpositive(v16_sub(v16_load(s + j + 16), base16));
    const __m512i words = (__m512i)_mm512_cvtne2ps_pbh(high, low);
    const v16 odd = (v16)_mm512_and_si512(words, odd_words), even = (v16)_mm512_slli_epi32(words, 16);
    sums = v16_add(sums, v16_add(even, odd));
    _mm512_storeu_si512(weights + j, words);
  }
  return v16_sum(sums);
}

ORIBI_INLINE void score(call *c, const pass *p, const int n_left) {
  const size_t column = (size_t)16 * c->width;
  for (int j = p->any.begin; j < p->any.end; j += STEP) {
    const uint16_t *keys = c->keys + (size_t)j * c->width;
    const product q_k = {c->q, q_stride_of(c->width), {keys, keys + column}, TILE_WORDS, c->width / STEP};
    multiply(&q_k, n_left);
    store_sums(c->scores + j, SCORES_STRIDE, n_left);
  }
}

/* acc of the pass = p . v, straight into the states. */
ORIBI_INLINE void weigh_values(call *c, const pass *p, const int n_left) {
  const oribi_attention_args *a = c->args;
  const uint32_t padded = (a->head_dim + 15) / 16 * 16, n_steps = (uint32_t)(p->any.end - p->any.begin) / STEP;
  const uint16_t *weights = (const uint16_t *)c->scores + p->any.begin;
  const v16 zero = v16_set1(0.0f);
  ORIBI_ALIGN64 float sums[PAIRS][48];
  for (uint32_t d = 0; d < padded; d += 32) {
    const uint16_t *values = c->values + (size_t)p->any.begin * c->width + (size_t)d * STEP;
    const product p_v = {weights, 2 * SCORES_STRIDE, {values, values + TILE_WORDS}, (size_t)STEP * c->width, n_steps};
    multiply(&p_v, n_left);
    store_sums(sums[0], 48, n_left);
    for (uint32_t i = 0; i < p->n; i++) {
      float *acc = p->state[i] + ORIBI_STATE_HEADER + d;
      v16_store(acc, v16_add(v16_load(sums[i]), zero));
      if (d + 16 < padded) v16_store(acc + 16, v16_add(v16_load(sums[i] + 16), zero));
    }
  }
}

ORIBI_INLINE void run_pass(call *c, const pass *p, const int n_left) {
  const oribi_attention_args *a = c->args;
  float max[PAIRS];
  score(c, p, n_left);
  for (uint32_t i = 0; i < p->n; i++) {
    float *scores = c->scores + (size_t)i * SCORES_STRIDE;
    if (a->softcap != 0.0f) softcap_row(a, scores, p->any);
    mask_row(c, scores, p->seen[i], p->any);
    max[i] = max_of_row(scores, p->any);
  }
  for (uint32_t i = 0; i < p->n; i++) {
    float *state = p->state[i];
    v16_store(state, v16_set1(0.0f));
    state[0] = max[i] * 0x1.62e43p-1f; /* ln 2 */
    state[1] = exp_row(c->scores + (size_t)i * SCORES_STRIDE, p->any, max[i] == -INFINITY ? 0.0f : max[i]);
  }
  weigh_values(c, p, n_left);
}

/* States of pairs that see nothing of the split. */
static void write_empty(const oribi_attention_args *a, const pass *p) {
  const size_t state_len = ORIBI_STATE_HEADER + (a->head_dim + 15) / 16 * 16;
  for (uint32_t i = 0; i < p->n; i++) {
    memset(p->state[i], 0, state_len * sizeof(float));
    p->state[i][0] = -INFINITY;
  }
}

ORIBI_INLINE void attend(const oribi_attention_args *a, const uint32_t dtype) {
  const uint32_t n_pairs = a->n_rows * a->n_heads;
  call c = {.args = a, .width = width_of(a->head_dim), .keys = a->scratch};
  c.values = c.keys + (size_t)ORIBI_SPLIT_LEN * c.width;
  c.q = c.values + (size_t)ORIBI_SPLIT_LEN * c.width;
  c.scores = (float *)(c.q + PAIRS * q_stride_of(c.width));
  convert_split(&c, dtype);
  configure_tiles();
  for (uint32_t first = 0; first < n_pairs; first += PAIRS) {
    pass p;
    begin_pass(&c, &p, first, n_pairs - first < PAIRS ? n_pairs - first : PAIRS);
    if (p.any.begin >= p.any.end) {
      write_empty(a, &p);
    } else if (p.n > PAIRS / 2) {
      run_pass(&c, &p, 2);
    } else {
      run_pass(&c, &p, 1);
    }
  }
  _tile_release();
}

void oribi_attention_f16_amx(const void *args);
void oribi_attention_q8_0_amx(const void *args);
void oribi_attention_q4_0_amx(const void *args);

void oribi_attention_f16_amx(const void *args) { attend(args, ORIBI_F16); }
void oribi_attention_q8_0_amx(const void *args) { attend(args, ORIBI_Q8_0); }
void oribi_attention_q4_0_amx(const void *args) { attend(args, ORIBI_Q4_0); }
