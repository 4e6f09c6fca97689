/* attend_merge.cuh - the states of a row's splits, merged in order of position:
 *
 *   w = exp(m - largest m);  l = fma(w, l_split, l);  y = fma(w, acc_split, y);  y / l */
#ifndef ORIBI_CUDA_ATTEND_MERGE_CUH
#define ORIBI_CUDA_ATTEND_MERGE_CUH

#include "acts.cuh"
#include "math.cuh"

/* `fresh`: other blocks of this launch wrote it. */
template <bool fresh, class T>
DEVICE_INLINE T load_state(const T *at) {
  return fresh ? load_fresh(at) : *at;
}

/* Four elements, of one head or not, from all splits. states[i] is where the first split's state of the i-th is, of which it is
 * element d[i]. */
template <bool one_head, bool fresh>
DEVICE_INLINE void merge(const float *const states[4], const uint32_t d[4], uint64_t split_stride, uint32_t n_splits,
                         float *y) {
  constexpr int n = one_head ? 1 : 4;
  float base[n], l[n] = {};
  UNROLL
  for (int i = 0; i < n; i++) base[i] = -FLOAT_INFINITY;
  NO_UNROLL
  for (uint32_t s = 0; s < n_splits; s++) {
    UNROLL
    for (int i = 0; i < n; i++) {
      const float m = load_state<fresh>(states[i] + s * split_stride);
      base[i] = m > base[i] ? m : base[i];
    }
  }
  UNROLL
  for (int i = 0; i < n; i++) base[i] = base[i] == -FLOAT_INFINITY ? 0.0f : base[i];
  NO_UNROLL
  for (uint32_t s = 0; s < n_splits; s++) {
    float w[n];
    UNROLL
    for (int i = 0; i < n; i++) {
      const float *state = states[i] + s * split_stride;
      w[i] = exp_of(load_state<fresh>(state) - base[i]);
      l[i] = fmaf(w[i], load_state<fresh>(state + 1), l[i]);
    }
    if constexpr (one_head) {
      const float4 v = load_state<fresh>((const float4 *)(states[0] + s * split_stride + ORIBI_STATE_HEADER + d[0]));
      const float of[4] = {v.x, v.y, v.z, v.w};
      UNROLL
      for (int i = 0; i < 4; i++) y[i] = fmaf(w[0], of[i], y[i]);
    } else {
      UNROLL
      for (int i = 0; i < n; i++) {
        y[i] = fmaf(w[i], load_state<fresh>(states[i] + s * split_stride + ORIBI_STATE_HEADER + d[i]), y[i]);
      }
    }
  }
  UNROLL
  for (int i = 0; i < 4; i++) y[i] = y[i] / l[i % n];
}

/* A part of a row's outputs, from all splits that the row sees. Heads are a multiple of 4 long where `whole`. */
template <bool whole, bool fresh>
DEVICE_INLINE void merge_part(const oribi_cuda_attend_args &a, uint32_t row, part p) {
  const uint32_t n = a.n_heads * a.head_dim, position = a.rows[row].position;
  const uint32_t first_seen = a.window != 0 && position >= a.window ? position - a.window + 1 : 0;
  const uint32_t first_split = first_seen / ORIBI_SPLIT_LEN, n_splits = position / ORIBI_SPLIT_LEN + 1 - first_split;
  const uint64_t split_stride = (uint64_t)a.n_rows * a.n_heads * state_floats(a.head_dim);
  const float *of_row = a.states + (first_split - a.first_split) * split_stride +
                        (uint64_t)row * a.n_heads * state_floats(a.head_dim);
  float y[8] = {};
  UNROLL
  for (int first = 0; first < 8; first += 4) {
    if (p.at(first) >= n) continue;
    const float *states[4];
    uint32_t d[4];
    UNROLL
    for (uint32_t i = 0; i < 4; i++) {
      const uint32_t at = p.at(first) + i < n ? p.at(first) + i : n - 1; /* what is beyond is not stored */
      states[i] = of_row + at / a.head_dim * state_floats(a.head_dim);
      d[i] = at % a.head_dim;
    }
    merge<whole, fresh>(states, d, split_stride, n_splits, y + first);
    UNROLL
    for (uint32_t i = 0; i < 4; i++) y[first + i] = p.at(first) + i < n ? y[first + i] : 0.0f;
  }
  if (a.out) store_part(a.out + row * a.out_stride, n, p, y);
  if (a.acts.hi) store_acts(a.acts, row, p, y);
}

#endif
