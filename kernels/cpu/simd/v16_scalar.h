/* v16_scalar.h - the 16-lane vector as an array: the meaning of every v16 function, and the fallback of every machine.
 *
 * v16_avx2.h and v16_avx512.h hold the same functions; a kernel body includes exactly one of the three. Each function
 * is one IEEE operation per lane, so equal bodies give equal bits (NaN payloads excepted). */
#ifndef ORIBI_V16_H
#define ORIBI_V16_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "f16.h"
#include "inline.h"

#define V16_INLINE ORIBI_MAY_INLINE
#define V16_FN(name) name##_ref

typedef struct {
  float lane[16];
} v16;
typedef uint32_t m16; /* bit i: lane i */

#define V16_LANES(i) for (int i = 0; i < 16; i++)

/* ---- memory: pointers need no alignment; _n touches the first n <= 16 elements, missing lanes are zero ---- */

V16_INLINE v16 v16_load(const float *p) {
  v16 r;
  memcpy(r.lane, p, sizeof r.lane);
  return r;
}

V16_INLINE void v16_store(float *p, v16 x) { memcpy(p, x.lane, sizeof x.lane); }

V16_INLINE v16 v16_load_n(const float *p, uint32_t n) {
  v16 r = {{0}};
  memcpy(r.lane, p, n * sizeof(float));
  return r;
}

V16_INLINE void v16_store_n(float *p, v16 x, uint32_t n) { memcpy(p, x.lane, n * sizeof(float)); }

V16_INLINE v16 v16_load_f16(const uint16_t *p) {
  v16 r;
  V16_LANES(i) r.lane[i] = f32_of_f16(p[i]);
  return r;
}

V16_INLINE void v16_store_f16(uint16_t *p, v16 x) { V16_LANES(i) p[i] = f16_of_f32(x.lane[i]); }

/* (p - 128) * scale, which must be exact (a scale from float16 is), positive where p is 128 */
V16_INLINE v16 v16_load_u8_scaled(const uint8_t *p, v16 scale) {
  v16 r;
  V16_LANES(i) r.lane[i] = (float)(p[i] - 128) * scale.lane[i];
  return r;
}

/* The nibbles of 16 bytes, less 8. */
V16_INLINE void v16_load_u4(const uint8_t *p, v16 *low, v16 *high) {
  V16_LANES(i) low->lane[i] = (float)((p[i] & 15) - 8), high->lane[i] = (float)((p[i] >> 4) - 8);
}

/* p[0..32): the even elements and the odd elements. */
V16_INLINE void v16_load_pairs(const float *p, v16 *even, v16 *odd) {
  V16_LANES(i) even->lane[i] = p[2 * i], odd->lane[i] = p[2 * i + 1];
}

V16_INLINE void v16_store_pairs(float *p, v16 even, v16 odd) {
  V16_LANES(i) p[2 * i] = even.lane[i], p[2 * i + 1] = odd.lane[i];
}

/* ---- one IEEE operation per lane ---- */

V16_INLINE v16 v16_set1(float x) {
  v16 r;
  V16_LANES(i) r.lane[i] = x;
  return r;
}

#define V16_LANEWISE1(name, expr)     \
  V16_INLINE v16 name(v16 a) {      \
    v16 r;                            \
    V16_LANES(i) {                    \
      const float x = a.lane[i];      \
      r.lane[i] = (expr);             \
    }                                 \
    return r;                         \
  }
#define V16_LANEWISE2(name, expr)                       \
  V16_INLINE v16 name(v16 a, v16 b) {                 \
    v16 r;                                              \
    V16_LANES(i) {                                      \
      const float x = a.lane[i], y = b.lane[i];         \
      r.lane[i] = (expr);                               \
    }                                                   \
    return r;                                           \
  }
#define V16_LANEWISE3(name, expr)                                 \
  V16_INLINE v16 name(v16 a, v16 b, v16 c) {                    \
    v16 r;                                                        \
    V16_LANES(i) {                                                \
      const float x = a.lane[i], y = b.lane[i], z = c.lane[i];    \
      r.lane[i] = (expr);                                         \
    }                                                             \
    return r;                                                     \
  }

V16_LANEWISE2(v16_add, x + y)
V16_LANEWISE2(v16_sub, x - y)
V16_LANEWISE2(v16_mul, x *y)
V16_LANEWISE2(v16_div, x / y)
V16_LANEWISE2(v16_max, x > y ? x : y) /* the second where one is NaN */
V16_LANEWISE1(v16_abs, fabsf(x))
V16_LANEWISE2(v16_copysign, copysignf(x, y)) /* |x| with the sign of y */
V16_LANEWISE3(v16_fma, fmaf(x, y, z))
V16_LANEWISE3(v16_fnma, fmaf(-x, y, z)) /* z - x * y, rounded once */

/* x with its exponent field raised by the low bits of t's representation: x * 2^n for t = 1.5 * 2^23 + n, as long as the
 * result is a normal number. */
V16_LANEWISE2(v16_raise_exponent, f32_of_bits(f32_bits(x) + (f32_bits(y) << 23)))

/* ---- masks ---- */

V16_INLINE m16 v16_less(v16 a, v16 b) {
  m16 m = 0;
  V16_LANES(i) m |= (m16)(a.lane[i] < b.lane[i]) << i;
  return m;
}

V16_INLINE m16 v16_is_nan(v16 a) {
  m16 m = 0;
  V16_LANES(i) m |= (m16)(a.lane[i] != a.lane[i]) << i;
  return m;
}

/* Lanes begin <= i < end. Both may lie outside 0..16. */
V16_INLINE m16 m16_range(int begin, int end) {
  m16 m = 0;
  V16_LANES(i) m |= (m16)(i >= begin && i < end) << i;
  return m;
}

V16_INLINE v16 v16_select(m16 m, v16 yes, v16 no) {
  v16 r;
  V16_LANES(i) r.lane[i] = (m >> i & 1) ? yes.lane[i] : no.lane[i];
  return r;
}

/* ---- folds: the fixed tree 8 + 8, 4 + 4, 2 + 2, 1 + 1 ---- */

V16_INLINE float v16_sum(v16 x) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) x.lane[i] += x.lane[i + half];
  }
  return x.lane[0];
}

V16_INLINE float v16_max_lane(v16 x) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) x.lane[i] = x.lane[i] > x.lane[i + half] ? x.lane[i] : x.lane[i + half];
  }
  return x.lane[0];
}

V16_INLINE float v16_first(v16 x) { return x.lane[0]; }

#endif
