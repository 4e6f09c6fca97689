/* table.cpp - the kernels by name, and their launch. */
#include <cstring>

#include "../shapes.h"
#include "block.hpp"

#define FLOAT_FORMATS(X) X(f32) X(f16) X(bf16)
#define FORMAT_KERNELS(X, name) \
  X(oribi_embed_##name) X(oribi_matmul_##name##_8) X(oribi_matmul_##name##_16) X(oribi_matmul_##name##_32) \
  X(oribi_matmul_##name##_64) X(oribi_matmul_##name##_prompt) X(oribi_matmul_##name##_norm) X(oribi_matmul_##name##_glu)
#define KV_KERNELS(X, name) \
  X(oribi_attend_project_##name) X(oribi_attend_split_##name##_4) X(oribi_attend_split_##name##_8) \
  X(oribi_attend_split_##name##_16) X(oribi_attend_split_##name##_32) X(oribi_attend_fused_##name##_4) \
  X(oribi_attend_fused_##name##_8) X(oribi_attend_fused_##name##_16) X(oribi_attend_prompt_##name##_16) \
  X(oribi_attend_prompt_##name##_32)
#define OTHER_KERNELS(X) \
  X(oribi_rope_table) X(oribi_norm) X(oribi_glu) X(oribi_softcap) X(oribi_sum_squares) X(oribi_top) X(oribi_attend_merge) \
  X(oribi_probe_read) X(oribi_probe_mma) X(oribi_probe_fma) \
  KV_KERNELS(X, f16) KV_KERNELS(X, q8_0) KV_KERNELS(X, q4_0)

#define DECLARE(name) extern "C" const emulated_kernel name##_emulated;
#define DECLARE_FORMAT(name, ...) FORMAT_KERNELS(DECLARE, name)
FLOAT_FORMATS(DECLARE_FORMAT)
PACKED_FORMATS(DECLARE_FORMAT)
OTHER_KERNELS(DECLARE)

#define LIST(name) &name##_emulated,
#define LIST_FORMAT(name, ...) FORMAT_KERNELS(LIST, name)
static const emulated_kernel *const kernels[] = {FLOAT_FORMATS(LIST_FORMAT) PACKED_FORMATS(LIST_FORMAT)
                                                     OTHER_KERNELS(LIST)};

static thread_local bool reversed_order = false;

extern "C" void oribi_cuda_emulated_reverse(int reversed) { reversed_order = reversed != 0; }

extern "C" const char *oribi_cuda_emulated_kernel(size_t i) {
  return i < sizeof kernels / sizeof kernels[0] ? kernels[i]->name : nullptr;
}

extern "C" int oribi_cuda_emulated_launch(const char *name, const uint32_t grid[3], const uint32_t block[3],
                                          size_t shared_bytes, const void *args, size_t args_bytes) {
  for (const emulated_kernel *kernel : kernels) {
    if (strcmp(kernel->name, name) != 0) continue;
    if (kernel->args_bytes != args_bytes) return ORIBI_CUDA_EMULATED_ARGUMENTS;
    const bool fits = block[0] % WARP == 0 && block[0] > 0 && block[0] <= kernel->threads && block[1] == 1 &&
                      block[2] == 1 && grid[0] > 0 && grid[0] <= 0x7fffffffu && grid[1] > 0 && grid[1] <= 65535 &&
                      grid[2] > 0 && grid[2] <= 65535 && shared_bytes <= MOST_SHARED;
    if (!fits) return ORIBI_CUDA_EMULATED_SHAPE;
    return emulated_run(*kernel, grid, block[0], shared_bytes, args, reversed_order);
  }
  return ORIBI_CUDA_EMULATED_NO_KERNEL;
}
