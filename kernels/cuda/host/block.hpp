/* block.hpp - runs the blocks of a kernel; between launch.cpp and machine.cpp. */
#ifndef ORIBI_CUDA_BLOCK_HPP
#define ORIBI_CUDA_BLOCK_HPP

#include "machine.hpp"
#include "oribi_cuda_emulated.h"

constexpr uint32_t MOST_EMULATED_THREADS = 1024;

/* All blocks of a grid, one after the other; a status. */
int emulated_run(const emulated_kernel &kernel, const uint32_t grid[3], uint32_t n_threads, size_t shared_bytes,
                 const void *args, bool reversed);

#endif
