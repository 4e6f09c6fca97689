/* attend_project.cuh - bias, norm and rotation of query and key heads, and their keys and values to the pages: a warp has a head of
 * a row. */
#ifndef ORIBI_CUDA_ATTEND_PROJECT_CUH
#define ORIBI_CUDA_ATTEND_PROJECT_CUH

#include "math.cuh"
#include "pages.cuh"

/* Bias and, where `norm` is given, norm of a head: from `from` to `x` in shared memory. */
DEVICE void load_head(const float *from, const float *bias, const float *norm, float eps, uint32_t dim, float *x) {
  const uint32_t lane = thread_x() % WARP;
  float sum = 0.0f;
  for (uint32_t i = lane; i < dim; i += WARP) {
    x[i] = bias ? from[i] + bias[i] : from[i];
    sum = fmaf(x[i], x[i], sum);
  }
  if (norm) {
    const float inv = 1.0f / sqrtf(warp_sum(sum) / (float)dim + eps);
    for (uint32_t i = lane; i < dim; i += WARP) x[i] = x[i] * inv * norm[i];
  }
  sync_warp();
}

DEVICE void rotate_head(const oribi_cuda_attend_args &a, uint32_t row, float *x) {
  const uint32_t n_pairs = a.n_rot / 2;
  const float *cosines = a.rope + row * a.rope_stride, *sines = cosines + n_pairs;
  for (uint32_t i = thread_x() % WARP; i < n_pairs; i += WARP) {
    const uint32_t first = a.half_split ? i : 2 * i, second = a.half_split ? i + n_pairs : 2 * i + 1;
    const float x0 = x[first], x1 = x[second];
    x[first] = fmaf(-x1, sines[i], x0 * cosines[i]);
    x[second] = fmaf(x0, sines[i], x1 * cosines[i]);
  }
  sync_warp();
}

/* A lane's element of a group of 32 as code and scale, as oribi_kernels.h says; elements that do not exist are 0. */
struct coded {
  uint32_t code;
  uint16_t scale;
};

template <bool is_4_bit>
DEVICE_INLINE coded encode(float x) {
  const uint32_t none = is_4_bit ? 8 : 128;
  const float top = warp_max(x), bottom = warp_max(-x), largest = bottom > top ? bottom : top;
  const float wanted = is_4_bit ? (bottom > top ? -bottom : top) / -8.0f : largest / 127.0f;
  const float trap = warp_sum(x * 0.0f); /* NaN where an element is not finite, which a maximum can miss */
  coded r = {none, half_of_float(wanted + trap)};
  if ((r.scale & 0x7c00) == 0x7c00) r.scale = 0x7e00;
  if (r.scale == 0x7e00 || (r.scale & 0x7fff) == 0) return r;
  const float low = is_4_bit ? -8.0f : -127.0f, high = is_4_bit ? 7.0f : 127.0f;
  const float q = fminf(fmaxf(x / float_of_half(r.scale), low), high);
  r.code = (bits_of_float(q + 0x1.8p+23f) + none) & 255;
  return r;
}

template <class T>
DEVICE_INLINE void store_kv(head_shape s, kv_tile tile, uint32_t slot, const float *key, const float *value) {
  const uint32_t lane = thread_x() % WARP;
  for (uint32_t first = 0; first < s.dim; first += GROUP) {
    const uint32_t d = first + lane;
    const float k = d < s.dim ? key[d] : 0.0f, v = d < s.dim ? value[d] : 0.0f;
    if constexpr (!T::is_coded) {
      if (d < s.dim) *T::key_at(tile.keys, s, slot, d) = half_of_float(k);
      if (d < s.padded) *T::value_at(tile.values, s, slot, d) = half_of_float(v);
    } else {
      const coded ck = encode<T::is_4_bit>(k), cv = encode<T::is_4_bit>(v);
      if (lane == 0) {
        *T::key_scale_at(tile.keys, s, slot, d) = ck.scale;
        *T::value_scale_at(tile.values, s, slot, d) = cv.scale;
      }
      if constexpr (T::is_4_bit) {
        const uint32_t next_key = shuffle_xor(ck.code, 1), other_value = shuffle_xor(cv.code, 16);
        if (lane % 2 == 0 && d < s.dim) *T::key_at(tile.keys, s, slot, d) = (uint8_t)(ck.code | next_key << 4);
        if (lane < 16) *T::value_at(tile.values, s, slot, d) = (uint8_t)(cv.code | other_value << 4);
      } else {
        if (d < s.dim) *T::key_at(tile.keys, s, slot, d) = (uint8_t)ck.code;
        if (d < s.padded) *T::value_at(tile.values, s, slot, d) = (uint8_t)cv.code;
      }
    }
  }
}

/* A query head, to `x` in shared memory. */
DEVICE void project_query(const oribi_cuda_attend_args &a, uint32_t row, uint32_t head, float *x) {
  const uint32_t dim = a.head_dim;
  const float *query = a.qkv + row * a.qkv_stride + head * dim;
  load_head(query, a.biases[0] ? a.biases[0] + head * dim : nullptr, a.norms[0], a.eps, dim, x);
  rotate_head(a, row, x);
}

/* A key head and its values, to the pages; `x` has room for both in shared memory. */
template <class T>
DEVICE_INLINE void project_kv(const oribi_cuda_attend_args &a, uint32_t row, uint32_t kv_head, float *x) {
  const uint32_t dim = a.head_dim;
  float *value = x + shape_round_up(dim, GROUP);
  const float *keys = a.qkv + row * a.qkv_stride + shape_round_up(a.n_heads * dim, ROWS);
  const float *values = keys + shape_round_up(a.n_kv_heads * dim, ROWS);
  load_head(keys + kv_head * dim, a.biases[1] ? a.biases[1] + kv_head * dim : nullptr, a.norms[1], a.eps, dim, x);
  load_head(values + kv_head * dim, a.biases[2] ? a.biases[2] + kv_head * dim : nullptr, nullptr, 0.0f, dim, value);
  rotate_head(a, row, x);
  const oribi_cuda_row of = a.rows[row];
  store_kv<T>(head_shape(dim), tile_of(a, of.pages, of.position, kv_head), of.position % ORIBI_PAGE_LEN, x, value);
  sync_warp(); /* before `x` is used again */
}

#endif
