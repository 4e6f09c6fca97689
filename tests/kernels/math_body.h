/* The error of exp and tanh over the floats, and their edges, against the C library in double. Thin files include this once
 * per instruction set. */
#include <math.h>

#include "../../kernels/cpu/simd/v16_math.h"
#include "harness.h"

typedef struct {
  double ulps;
  float at;
} worst;

static int all_right;

static void expect(int holds, const char *what, float x, float y) {
  if (holds) return;
  if (all_right) printf("FAILED %s: x %a y %a\n", what, x, y);
  all_right = 0;
}

static void measure(worst *w, float x, float y, double want) {
  int exponent;
  frexp(want, &exponent);
  const double ulps = fabs((double)y - want) / ldexp(1.0, exponent - 24);
  if (!(ulps <= w->ulps)) *w = (worst){ulps, x};
}

static void check_exp(worst *w, float x, float y) {
  if (x != x) {
    expect(y != y, "exp of NaN is NaN", x, y);
  } else if (x < EXP_LOW) {
    expect(y == 0.0f && !signbit(y), "exp below its range is +0", x, y);
  } else if (x > EXP_HIGH) {
    expect(y == INFINITY, "exp above its range is infinity", x, y);
  } else {
    measure(w, x, y, exp((double)x));
  }
}

static void check_tanh(worst *w, float x, float y) {
  if (x != x) {
    expect(y != y, "tanh of NaN is NaN", x, y);
  } else if (fabsf(x) < 0x1p-126f) {
    expect(y == x && !signbit(y) == !signbit(x), "tanh of zero and of a denormal is itself", x, y);
  } else if (fabsf(x) > 20.0f) {
    expect(y == copysignf(1.0f, x), "tanh at its ends is 1 with the sign", x, y);
  } else {
    measure(w, x, y, tanh((double)x));
  }
}

/* Every step-th float; the hash of all results is equal for all instruction sets. NaN counts as one. */
uint64_t V16_FN(check_math)(uint64_t step);

uint64_t V16_FN(check_math)(uint64_t step) {
  worst of_exp = {0, 0}, of_tanh = {0, 0};
  uint64_t hash = 14695981039346656037u;
  all_right = 1;
  for (uint64_t bits = 0; bits >> 32 == 0; bits += 16 * step) {
    float x[16], y[2][16];
    for (int i = 0; i < 16; i++) {
      const uint32_t b = (uint32_t)(bits + (uint64_t)i * step);
      memcpy(x + i, &b, sizeof b);
    }
    v16_store(y[0], v16_exp(v16_load(x)));
    v16_store(y[1], v16_tanh(v16_load(x)));
    for (int i = 0; i < 32; i++) {
      const float result = y[i / 16][i % 16];
      uint32_t word = 0;
      if (result == result) memcpy(&word, &result, sizeof word);
      hash = (hash ^ word) * 1099511628211u;
    }
    for (int i = 0; i < 16; i++) check_exp(&of_exp, x[i], y[0][i]), check_tanh(&of_tanh, x[i], y[1][i]);
    float nonpositive[16];
    v16_store(nonpositive, v16_exp_of_nonpositive(v16_load(x)));
    for (int i = 0; i < 16; i++) {
      if (x[i] > 0.0f) continue;
      expect(same_floats(nonpositive + i, y[0] + i, 1), "exp of what is not above 0", x[i], nonpositive[i]);
    }
  }
  expect(of_exp.ulps <= 0.91, "exp is within 0.91 ulp", of_exp.at, 0);
  expect(of_tanh.ulps <= 1.37, "tanh is within 1.37 ulp", of_tanh.at, 0);
  check(all_right, "exp and tanh");
  return hash;
}
