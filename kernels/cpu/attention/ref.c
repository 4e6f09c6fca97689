/* ref.c - the oracle of attention: one row and one head at a time, in the plainest order.
 *
 * State of a row and head in a split: a maximum m, 16 partial sums, accumulators acc[head_dim]; at first -inf, 0, 0. Then
 * for each block of ORIBI_PAGE_LEN positions that the row sees some of, in order:
 *
 *   s_j  = sum over d of q_d * k_jd, by fma in order of d from 0;  s_j = s_j * scale
 *          with a soft cap, s_j = cap * tanh(s_j / cap);  positions that the row does not see count as -infinity
 *   top  = the largest s_j of the block (folded as 4 vectors of 16: (0, 1), (2, 3), then the tree of v16_max_lane)
 *   m'   = max(m, top);  base = m' (0 where m' is -infinity)
 *   p_j  = exp(s_j - base)
 *   where m' differs from m: alpha = exp(m - base), all partial sums and accumulators times alpha
 *   sums = sums + ((p_i + p_16+i) + (p_32+i + p_48+i)), lane i of 16
 *   acc_d = fma(p_j, v_jd, acc_d) for the seen j in order
 *
 * The state ends as m, the folded sum, zeros up to ORIBI_STATE_HEADER, acc (the padding 0). So it depends on the row, the
 * head and the split alone, not on what else is computed in the same call, and unseen slots are never multiplied. */
#include "../simd/v16_scalar.h"

#include "../kv_store/page.h"
#include "../simd/v16_math.h"
#include "merge.h"
#include "range.h"
#include "scratch.h"

size_t oribi_attention_scratch_bytes(uint32_t head_dim) { return attention_scratch_bytes(head_dim); }

typedef struct {
  float max;
  v16 sums;
  float *acc; /* [head_dim_padded] */
} running;

/* scores[64] of one query against one key page; -infinity outside of the seen range. */
static void score_block(const oribi_attention_args *a, page_shape shape, const float *q, const uint8_t *keys,
                        seen_range seen, float *scores) {
  for (int j = 0; j < ORIBI_PAGE_LEN; j += 16) {
    v16 s = v16_set1(0.0f), even = s, odd = s;
    for (uint32_t d = 0; d < a->head_dim; d++) {
      const uint8_t *at = key_pair_at(shape, keys, (uint32_t)j, d / 2 * 2);
      const v16 scale = key_scale(shape, keys, (uint32_t)j, d);
      if (d % 2 == 0 && d + 1 == a->head_dim) even = load_last_key(shape.dtype, at, scale);
      if (d % 2 == 0 && d + 1 < a->head_dim) load_key_pair(shape.dtype, at, scale, &even, &odd);
      s = v16_fma(v16_set1(q[d]), d % 2 == 0 ? even : odd, s);
    }
    s = v16_mul(s, v16_set1(a->scale));
    const v16 cap = v16_set1(a->softcap);
    if (a->softcap != 0.0f) s = v16_mul(cap, v16_tanh(v16_div(s, cap)));
    v16_store(scores + j, v16_select(m16_range(seen.begin - j, seen.end - j), s, v16_set1(-INFINITY)));
  }
}

static void attend_block(running *r, page_shape shape, float *scores, const uint8_t *values, seen_range seen) {
  const uint32_t padded = padded_of(shape.head_dim);
  v16 s[4];
  for (int g = 0; g < 4; g++) s[g] = v16_load(scores + 16 * g);
  const float top = v16_max_lane(v16_max(v16_max(s[0], s[1]), v16_max(s[2], s[3])));
  const float max = r->max > top ? r->max : top;
  const float base = max == -INFINITY ? 0.0f : max;
  if (max != r->max) {
    const float alpha = v16_first(v16_exp(v16_set1(r->max - base)));
    r->sums = v16_mul(r->sums, v16_set1(alpha));
    for (uint32_t d = 0; d < padded; d++) r->acc[d] *= alpha;
  }
  r->max = max;
  for (int g = 0; g < 4; g++) {
    s[g] = v16_exp(v16_sub(s[g], v16_set1(base)));
    v16_store(scores + 16 * g, s[g]);
  }
  r->sums = v16_add(r->sums, v16_add(v16_add(s[0], s[1]), v16_add(s[2], s[3])));
  for (uint32_t d = 0; d < padded; d += 32) {
    float scales[ORIBI_PAGE_LEN] = {0};
    value_scales(shape, values, d, scales);
    for (int j = seen.begin; j < seen.end; j++) {
      const v16 p = v16_set1(scores[j]);
      v16 first, second;
      load_value(shape.dtype, value_at(shape, values, (uint32_t)j, d), scales[j], d + 16 < padded, &first, &second);
      v16_store(r->acc + d, v16_fma(p, first, v16_load(r->acc + d)));
      if (d + 16 < padded) v16_store(r->acc + d + 16, v16_fma(p, second, v16_load(r->acc + d + 16)));
    }
  }
}

static void attend(const oribi_attention_args *a, uint32_t dtype) {
  const page_shape shape = {dtype, a->head_dim};
  const uint32_t padded = padded_of(a->head_dim);
  for (uint32_t row = 0; row < a->n_rows; row++) {
    for (uint32_t head = 0; head < a->n_heads; head++) {
      const float *q = a->q + row * a->q_stride + (size_t)head * a->head_dim;
      float *state = a->states + row * a->state_row_stride + (size_t)head * (ORIBI_STATE_HEADER + padded);
      running r = {-INFINITY, v16_set1(0.0f), state + ORIBI_STATE_HEADER};
      memset(state, 0, (ORIBI_STATE_HEADER + padded) * sizeof(float));
      for (uint32_t block = a->split_begin; block < a->split_end; block += ORIBI_PAGE_LEN) {
        const seen_range seen = seen_in_block(a, a->first_position + row, block);
        if (seen.begin >= seen.end) continue;
        float scores[ORIBI_PAGE_LEN];
        score_block(a, shape, q, a->key_pages[block / ORIBI_PAGE_LEN], seen, scores);
        attend_block(&r, shape, scores, a->value_pages[block / ORIBI_PAGE_LEN], seen);
      }
      state[0] = r.max;
      state[1] = v16_sum(r.sums);
    }
  }
}

void oribi_attention_f16_ref(const void *args);
void oribi_attention_q8_0_ref(const void *args);
void oribi_attention_q4_0_ref(const void *args);

void oribi_attention_f16_ref(const void *args) { attend(args, ORIBI_F16); }
void oribi_attention_q8_0_ref(const void *args) { attend(args, ORIBI_Q8_0); }
void oribi_attention_q4_0_ref(const void *args) { attend(args, ORIBI_Q4_0); }
