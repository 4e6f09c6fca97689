/* oribi_cuda_emulated.h - the CUDA kernels on the CPU, compiled as C++ against a small emulation of the machine. For tests:
 * what a GPU computes in parallel is done thread by thread, on memory of the host. */
#ifndef ORIBI_CUDA_EMULATED_H
#define ORIBI_CUDA_EMULATED_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum oribi_cuda_emulated_status {
  ORIBI_CUDA_EMULATED_OK = 0,
  ORIBI_CUDA_EMULATED_NO_KERNEL = 1, /* no kernel has this name */
  ORIBI_CUDA_EMULATED_ARGUMENTS = 2, /* args_bytes is not the size of the kernel's struct */
  ORIBI_CUDA_EMULATED_SHAPE = 3,     /* a block, grid or shared memory that no supported GPU has */
  ORIBI_CUDA_EMULATED_MEMORY = 4,    /* out of memory */
  ORIBI_CUDA_EMULATED_DEADLOCK = 5,  /* threads of a block wait for others that have ended or wait elsewhere */
};

/* Run a kernel to its end. Calls from several threads do not meet. */
int oribi_cuda_emulated_launch(const char *name, const uint32_t grid[3], const uint32_t block[3], size_t shared_bytes,
                               const void *args, size_t args_bytes);

/* Whether this thread's later launches run blocks and threads in the opposite order, which a right kernel does not show. */
void oribi_cuda_emulated_reverse(int reversed);

/* The name of the i-th kernel; NULL from the last on. */
const char *oribi_cuda_emulated_kernel(size_t i);

#ifdef __cplusplus
}
#endif
#endif
