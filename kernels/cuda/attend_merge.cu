/* attend_merge.cu - the states of a row's splits, merged in order of position:
 *
 *   w = exp(m - largest m);  l = fma(w, l_split, l);  y = fma(w, acc_split, y);  y / l */
#include "acts.cuh"
#include "math.cuh"

/* n elements of one head from element d on. `states` is where the first split's state of this row is. */
template <int n>
DEVICE_INLINE void merge(const float *states, uint64_t split_stride, uint32_t n_splits, uint32_t d, float *y) {
  float largest = -FLOAT_INFINITY, l = 0.0f;
  for (uint32_t s = 0; s < n_splits; s++) {
    const float m = states[s * split_stride];
    largest = m > largest ? m : largest;
  }
  const float base = largest == -FLOAT_INFINITY ? 0.0f : largest;
  UNROLL
  for (int i = 0; i < n; i++) y[i] = 0.0f;
  for (uint32_t s = 0; s < n_splits; s++) {
    const float *state = states + s * split_stride, *acc = state + ORIBI_STATE_HEADER + d;
    const float w = exp_of(state[0] - base);
    l = fmaf(w, state[1], l);
    if constexpr (n == 4) {
      const float4 v = *(const float4 *)acc;
      y[0] = fmaf(w, v.x, y[0]), y[1] = fmaf(w, v.y, y[1]), y[2] = fmaf(w, v.z, y[2]), y[3] = fmaf(w, v.w, y[3]);
    } else {
      y[0] = fmaf(w, acc[0], y[0]);
    }
  }
  UNROLL
  for (int i = 0; i < n; i++) y[i] = y[i] / l;
}

KERNEL(oribi_attend_merge, oribi_cuda_attend_args, THREADS, 2) {
  const uint32_t row = block_x(), n = a.n_heads * a.head_dim;
  const part p(block_y() * THREADS + thread_x());
  const uint32_t position = a.rows[row].position;
  const uint32_t first_seen = a.window != 0 && position >= a.window ? position - a.window + 1 : 0;
  const uint32_t first_split = first_seen / ORIBI_SPLIT_LEN, n_splits = position / ORIBI_SPLIT_LEN + 1 - first_split;
  const uint64_t split_stride = (uint64_t)a.n_rows * a.n_heads * state_floats(a.head_dim);
  const float *states = a.states + (first_split - a.first_split) * split_stride +
                        (uint64_t)row * a.n_heads * state_floats(a.head_dim);
  float y[8] = {};
  UNROLL
  for (int first = 0; first < 8; first += 4) {
    const uint32_t at = p.at(first);
    if (a.head_dim % 4 == 0) {
      if (at >= n) continue;
      merge<4>(states + at / a.head_dim * state_floats(a.head_dim), split_stride, n_splits, at % a.head_dim, y + first);
    } else {
      for (uint32_t i = 0; i < 4 && at + i < n; i++) {
        const uint32_t head = (at + i) / a.head_dim;
        merge<1>(states + head * state_floats(a.head_dim), split_stride, n_splits, (at + i) % a.head_dim, y + first + i);
      }
    }
  }
  if (a.out) store_part(a.out + row * a.out_stride, n, p, y);
  if (a.acts.hi) store_acts(a.acts, row, p, y);
}
