/* device.cuh - what the kernels use of the machine. Here it is a GPU; with ORIBI_CUDA_EMULATED it is host/machine.hpp, which
 * gives the same functions on the CPU. Float operations outside of mma round as they are written (--fmad=false), so both give the
 * same bits there. */
#ifndef ORIBI_CUDA_DEVICE_CUH
#define ORIBI_CUDA_DEVICE_CUH

#include "shapes.h"

#ifdef ORIBI_CUDA_EMULATED
#include "host/machine.hpp"
#else

#define DEVICE static __device__ __forceinline__
#define DEVICE_INLINE __device__ __forceinline__ /* of members and templates */
#define SHARED __shared__
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")
#define UNROLL_PRAGMA(text) _Pragma(#text)
#define UNROLL_BY(n) UNROLL_PRAGMA(unroll n)
#define KERNEL(name, args_type, threads, blocks) \
  extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ args_type a)

extern __shared__ __align__(128) uint8_t dynamic_shared[];

DEVICE uint8_t *shared_memory() { return dynamic_shared; }

DEVICE uint32_t thread_x() { return threadIdx.x; }
DEVICE uint32_t block_x() { return blockIdx.x; }
DEVICE uint32_t block_y() { return blockIdx.y; }
DEVICE uint32_t block_z() { return blockIdx.z; }
DEVICE uint32_t n_blocks_x() { return gridDim.x; }
DEVICE uint32_t n_blocks_y() { return gridDim.y; }
DEVICE uint32_t n_blocks_z() { return gridDim.z; }

DEVICE void sync_block() { __syncthreads(); }
DEVICE void sync_warp() { __syncwarp(); }
DEVICE float shuffle_xor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE uint32_t shuffle_xor(uint32_t x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }

/* ---- copies to shared memory that run beside the arithmetic: 16 bytes, both sides aligned ---- */

DEVICE void copy_async(uint8_t *shared, const uint8_t *from) {
  const uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

/* What was copied since the last call is a group, also when it is nothing. */
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Of this thread's groups all but the last `n` are there. */
template <int n>
DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

/* ---- reads of memory ---- */

/* Begin to bring a line of 128 bytes into the second cache. */
DEVICE void prefetch(const uint8_t *at) { asm volatile("prefetch.global.L2 [%0];" ::"l"(at)); }

/* What no thread writes during the kernel. */
template <class T>
DEVICE T load_const(const T *p) {
  return __ldg(p);
}

/* What other blocks wrote before they arrived (last_to_arrive). */
template <class T>
DEVICE T load_fresh(const T *p) {
  return __ldcg(p);
}

/* Of n blocks that call it with a counter, which is 0 before, the last hears true, in all threads; the counter is 0 again. What
 * the others wrote before is there for it. */
DEVICE bool last_to_arrive(uint32_t *counter, uint32_t n) {
  __shared__ bool is_last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(counter, 1) == n - 1;
    if (is_last) *counter = 0;
  }
  __syncthreads();
  __threadfence();
  return is_last;
}

/* Adds to a word of shared memory; what it was before. */
DEVICE uint32_t add_shared(uint32_t *word, uint32_t x) { return atomicAdd(word, x); }

/* ---- numbers ---- */

DEVICE float float_of_bits(uint32_t bits) { return __uint_as_float(bits); }
DEVICE uint32_t bits_of_float(float x) { return __float_as_uint(x); }

/* Bytes of y:x that the nibbles of `selector` name; with a nibble's upper bit, the byte's upper bit eight times. */
DEVICE uint32_t permute(uint32_t x, uint32_t y, uint32_t selector) {
  uint32_t bytes;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(x), "r"(y), "r"(selector));
  return bytes;
}

DEVICE float float_of_half(uint16_t h) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
  return x;
}

DEVICE uint16_t half_of_float(float x) {
  uint16_t h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}

/* Two bfloat16, to nearest even. */
DEVICE uint32_t bf16x2_of_floats(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

/* a * b + c of each half, rounded once. */
DEVICE uint32_t bf16x2_fma(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

/* c += a * b of a warp: a (16, 16), b (16, 8) in bfloat16, c (16, 8) in float32, as mma.m16n8k16 spreads them over lanes. */
DEVICE void mma_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Cosine and sine in float64. */
DEVICE void sincos_f64(double x, double *sine, double *cosine) { sincos(x, sine, cosine); }

#endif
#endif
