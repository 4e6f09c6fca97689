/* machine.hpp - device.cuh's functions on the CPU. A thread of a block is a fiber; machine.cpp switches between them where threads
 * wait for each other. Copies to shared memory happen as late as the waits allow, shared memory starts as NaN, and the fibers may
 * run in the opposite order, so that a missing wait is seen. */
#ifndef ORIBI_CUDA_MACHINE_HPP
#define ORIBI_CUDA_MACHINE_HPP

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../../cpu/simd/f16.h"

#define DEVICE static inline
#define DEVICE_INLINE inline
#define SHARED static thread_local
#define UNROLL
#define NO_UNROLL
#define UNROLL_BY(n)

struct emulated_kernel {
  const char *name;
  size_t args_bytes;
  uint32_t threads; /* at most */
  void (*run)(const void *args);
};

/* A function of the kernel's name and, for the table of kernels, an object of the name and `_emulated`. */
#define KERNEL(name, args_type, threads, blocks) KERNEL_EXPANDED(name, args_type, threads)
#define KERNEL_EXPANDED(name, args_type, threads)                                                             \
  static void name(const args_type &a);                                                                       \
  extern "C" const emulated_kernel name##_emulated;                                                           \
  const emulated_kernel name##_emulated = {#name, sizeof(args_type), threads,                                 \
                                           [](const void *args) { name(*static_cast<const args_type *>(args)); }}; \
  static void name(const args_type &a)

struct emulated_place {
  uint32_t thread, block[3], n_blocks[3];
  uint8_t *shared;
};
extern thread_local emulated_place emulated_here;

/* What threads of a warp, or of a block, do together. The last to come does it for all: `each` are the arguments of the lanes. */
typedef void (*emulated_together)(void *const each[32]);
void emulated_warp(emulated_together op, void *mine);
void emulated_sync_block();
void emulated_copy(uint8_t *to, const uint8_t *from);
void emulated_copy_commit();
void emulated_copy_wait(int n);

DEVICE uint8_t *shared_memory() { return emulated_here.shared; }
DEVICE uint32_t thread_x() { return emulated_here.thread; }
DEVICE uint32_t block_x() { return emulated_here.block[0]; }
DEVICE uint32_t block_y() { return emulated_here.block[1]; }
DEVICE uint32_t block_z() { return emulated_here.block[2]; }
DEVICE uint32_t n_blocks_x() { return emulated_here.n_blocks[0]; }
DEVICE uint32_t n_blocks_y() { return emulated_here.n_blocks[1]; }
DEVICE uint32_t n_blocks_z() { return emulated_here.n_blocks[2]; }

DEVICE void sync_block() { emulated_sync_block(); }
DEVICE void sync_warp() {
  emulated_warp([](void *const *) {}, nullptr);
}

DEVICE uint32_t shuffle_xor(uint32_t x, int mask) {
  struct lane {
    uint32_t in, out;
    int mask;
  } mine = {x, 0, mask};
  const emulated_together exchange = [](void *const *each) {
    for (int i = 0; i < 32; i++) {
      lane *l = static_cast<lane *>(each[i]);
      l->out = static_cast<lane *>(each[i ^ l->mask])->in;
    }
  };
  emulated_warp(exchange, &mine);
  return mine.out;
}

DEVICE float shuffle_xor(float x, int mask) { return f32_of_bits(shuffle_xor(f32_bits(x), mask)); }

DEVICE void copy_async(uint8_t *shared, const uint8_t *from) { emulated_copy(shared, from); }
DEVICE void copy_commit() { emulated_copy_commit(); }
template <int n>
DEVICE void copy_wait() {
  emulated_copy_wait(n);
}

/* Reads what a GPU would touch, so that an address outside is seen. */
DEVICE void prefetch(const uint8_t *at) { (void)*(const volatile uint8_t *)at; }

template <class T>
DEVICE T load_const(const T *p) {
  return *p;
}

template <class T>
DEVICE T load_fresh(const T *p) {
  return *p;
}

DEVICE bool last_to_arrive(uint32_t *counter, uint32_t n) {
  SHARED bool is_last;
  sync_block();
  if (thread_x() == 0) {
    is_last = ++*counter == n;
    if (is_last) *counter = 0;
  }
  sync_block();
  return is_last;
}

DEVICE uint32_t add_shared(uint32_t *word, uint32_t x) {
  const uint32_t before = *word;
  *word += x;
  return before;
}

/* CUDA's vectors. */
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

DEVICE float float_of_bits(uint32_t bits) { return f32_of_bits(bits); }
DEVICE uint32_t bits_of_float(float x) { return f32_bits(x); }

DEVICE uint32_t permute(uint32_t x, uint32_t y, uint32_t selector) {
  const uint64_t bytes = (uint64_t)y << 32 | x;
  uint32_t r = 0;
  for (int i = 0; i < 4; i++) {
    const uint32_t nibble = selector >> 4 * i & 15, byte = (uint32_t)(bytes >> 8 * (nibble & 7)) & 255;
    r |= (nibble & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * i;
  }
  return r;
}

DEVICE float float_of_half(uint16_t h) { return f32_of_f16(h); }
DEVICE uint16_t half_of_float(float x) { return f16_of_f32(x); }

DEVICE uint32_t bf16_of_float(float x) {
  if (x != x) return 0x7fff;
  const uint32_t bits = f32_bits(x);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

DEVICE uint32_t bf16x2_of_floats(float low, float high) { return bf16_of_float(low) | bf16_of_float(high) << 16; }

/* A product of two bfloat16 is exact in binary32, its sum with a third in binary64, as far as the kernels go. */
DEVICE uint32_t bf16x2_fma(uint32_t a, uint32_t b, uint32_t c) {
  const float low = (float)((double)f32_of_bits(a << 16) * f32_of_bits(b << 16) + f32_of_bits(c << 16));
  const float high =
      (float)((double)f32_of_bits(a & ~0xffffu) * f32_of_bits(b & ~0xffffu) + f32_of_bits(c & ~0xffffu));
  return bf16x2_of_floats(low, high);
}

struct emulated_mma {
  float *c;
  const uint32_t *a;
  uint32_t b[2];
};
void emulated_mma_bf16(void *const each[32]);

DEVICE void mma_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
  emulated_mma mine = {c, a, {b0, b1}};
  emulated_warp(emulated_mma_bf16, &mine);
}

DEVICE void sincos_f64(double x, double *sine, double *cosine) {
  *sine = std::sin(x);
  *cosine = std::cos(x);
}

#endif
