/* math.cuh - exp and tanh as the CPU has them (cpu/simd/v16_math.h), one number at a time; sums over a block. */
#ifndef ORIBI_CUDA_MATH_CUH
#define ORIBI_CUDA_MATH_CUH

#include "device.cuh"

#define FLOAT_INFINITY float_of_bits(0x7f800000u)

/* Within 0.91 units in the last place; 0 below -87.3, infinity above 88.7. */
DEVICE float exp_of(float x) {
  const float magic = 0x1.8p+23f;
  const float t = fmaf(x, 0x1.715476p+0f, magic), n = t - magic;
  float r = fmaf(-n, 0x1.62e4p-1f, x);
  r = fmaf(-n, 0x1.7f7d1cp-20f, r);
  float p = 0x1.6a2314p-10f;
  p = fmaf(p, r, 0x1.123a9p-7f);
  p = fmaf(p, r, 0x1.5558f6p-5f);
  p = fmaf(p, r, 0x1.55549p-3f);
  p = fmaf(p, r, 0x1.fffffcp-2f);
  p = fmaf(p, r, 1.0f);
  p = fmaf(p, r, 1.0f);
  float y = float_of_bits(bits_of_float(p) + (bits_of_float(t) << 23));
  y = x > 0x1.62e42ep+6f ? FLOAT_INFINITY : y;
  y = x < -0x1.5d589ep+6f ? 0.0f : y;
  return x != x ? x : y;
}

/* Within 1.37 units in the last place. */
DEVICE float tanh_of(float x) {
  const float magnitude = fabsf(x);
  const float far = 1.0f - 2.0f / (exp_of(2.0f * magnitude) + 1.0f);
  const float s = x * x;
  float q = -0x1.75e1ccp-8f;
  q = fmaf(q, s, 0x1.52269ap-6f);
  q = fmaf(q, s, -0x1.b83c5ap-5f);
  q = fmaf(q, s, 0x1.110726p-3f);
  q = fmaf(q, s, -0x1.555532p-2f);
  const float near = fmaf(q * s, magnitude, magnitude);
  return copysignf(magnitude < 0.625f ? near : far, x);
}

/* x / (1 + e^-t). */
DEVICE float times_sigmoid(float x, float t) { return x / (1.0f + exp_of(-t)); }

/* activation: oribi_activation; as in cpu/glu. */
DEVICE float activate(uint32_t activation, float g) {
  if (activation == ORIBI_SILU) return times_sigmoid(g, g);
  return times_sigmoid(g, g * fmaf(g * g, 0x1.2444f2p-4f, 0x1.988454p+0f));
}

DEVICE float warp_sum(float x) {
  UNROLL
  for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  return x;
}

DEVICE float warp_max(float x) {
  UNROLL
  for (int mask = 16; mask > 0; mask /= 2) {
    const float other = shuffle_xor(x, mask);
    x = other > x ? other : x;
  }
  return x;
}

/* Over a block of THREADS; all get the same. */
DEVICE float block_sum(float x) {
  SHARED float parts[WARPS];
  x = warp_sum(x);
  sync_block(); /* who still reads an earlier sum */
  if (thread_x() % WARP == 0) parts[thread_x() / WARP] = x;
  sync_block();
  float sum = 0.0f;
  for (uint32_t w = 0; w < WARPS; w++) sum += parts[w];
  return sum;
}

#endif
