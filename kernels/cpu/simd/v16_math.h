/* v16_math.h - exp and tanh on 16 lanes, from the functions of the v16 header that was included before. Every step is one
 * IEEE operation, so all ISAs agree to the bit. The error bounds are measured over all floats by
 * tests/kernels/math_body.h. */
#ifndef ORIBI_V16_MATH_H
#define ORIBI_V16_MATH_H

#include <math.h>

/* e^x = 2^n * e^r, n = round(x / ln 2), |r| <= ln(2) / 2; e^r = 1 + r + r^2 * P(r), P of degree 4 fitted for the least
 * relative error. Within 0.91 ulp of the true value.
 * x > EXP_HIGH gives infinity, x < EXP_LOW (results below the least normal number) gives +0, NaN gives NaN, 0 gives 1. */
#define EXP_HIGH 0x1.62e42ep+6f /* the largest float whose e^x is finite: 88.72283 */
#define EXP_LOW -0x1.5d589ep+6f /* the least float whose e^x is a normal number: -87.33654 */
#define BELOW_EXP_LOW -0x1.5d58ap+6f /* the float before it */

/* Right from EXP_LOW to EXP_HIGH. */
V16_INLINE v16 exp_unguarded(v16 x) {
  /* Adding 1.5 * 2^23 leaves n in the low bits of the representation. */
  const v16 magic = v16_set1(0x1.8p+23f);
  const v16 t = v16_fma(x, v16_set1(0x1.715476p+0f), magic);
  const v16 n = v16_sub(t, magic);
  v16 r = v16_fnma(n, v16_set1(0x1.62e4p-1f), x); /* ln 2 in two parts; n * the first is exact */
  r = v16_fnma(n, v16_set1(0x1.7f7d1cp-20f), r);
  v16 p = v16_set1(0x1.6a2314p-10f);
  p = v16_fma(p, r, v16_set1(0x1.123a9p-7f));
  p = v16_fma(p, r, v16_set1(0x1.5558f6p-5f));
  p = v16_fma(p, r, v16_set1(0x1.55549p-3f));
  p = v16_fma(p, r, v16_set1(0x1.fffffcp-2f));
  p = v16_fma(p, r, v16_set1(1.0f));
  p = v16_fma(p, r, v16_set1(1.0f));
  return v16_raise_exponent(p, t);
}

V16_INLINE v16 v16_exp(v16 x) {
  v16 y = exp_unguarded(x);
  y = v16_select(v16_less(v16_set1(EXP_HIGH), x), v16_set1(INFINITY), y);
  y = v16_select(v16_less(x, v16_set1(EXP_LOW)), v16_set1(0.0f), y);
  return v16_select(v16_is_nan(x), x, y);
}

/* v16_exp for x <= 0 or NaN, with half the checks: below the range it is the larger of 0 and x, which is 0, or NaN. */
V16_INLINE v16 v16_exp_of_nonpositive(v16 x) {
  return v16_select(v16_less(v16_set1(BELOW_EXP_LOW), x), exp_unguarded(x), v16_max(v16_set1(0.0f), x));
}

/* Of m = |x|, with the sign of x: where m < 0.625, m + m^3 * Q(m^2), Q of degree 4; else 1 - 2 / (e^(2m) + 1). Within
 * 1.37 ulp. Zero keeps its sign, infinity gives 1, NaN gives NaN. */
V16_INLINE v16 v16_tanh(v16 x) {
  const v16 one = v16_set1(1.0f), two = v16_set1(2.0f);
  const v16 magnitude = v16_abs(x);
  const v16 e = v16_exp(v16_mul(magnitude, two));
  const v16 far = v16_sub(one, v16_div(two, v16_add(e, one)));
  const v16 s = v16_mul(x, x);
  v16 q = v16_set1(-0x1.75e1ccp-8f);
  q = v16_fma(q, s, v16_set1(0x1.52269ap-6f));
  q = v16_fma(q, s, v16_set1(-0x1.b83c5ap-5f));
  q = v16_fma(q, s, v16_set1(0x1.110726p-3f));
  q = v16_fma(q, s, v16_set1(-0x1.555532p-2f));
  const v16 near = v16_fma(v16_mul(q, s), magnitude, magnitude);
  return v16_copysign(v16_select(v16_less(magnitude, v16_set1(0.625f)), near, far), x);
}

/* x / (1 + e^-t): x times the logistic function of t. */
V16_INLINE v16 v16_mul_sigmoid(v16 x, v16 t) {
  const v16 one = v16_set1(1.0f);
  return v16_div(x, v16_add(one, v16_exp(v16_sub(v16_set1(0.0f), t))));
}

#endif
