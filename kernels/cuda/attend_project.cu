/* attend_project.cu - bias, norm and rotation of query and key heads; keys and values go to the pages, of the type ORIBI_KV. A warp
 * has a head of a row. */
#include "attend_project.cuh"

#ifndef ORIBI_CUDA_ATTEND_PROJECT
#define ORIBI_CUDA_ATTEND_PROJECT

template <class T>
DEVICE_INLINE void project(const oribi_cuda_attend_args &a) {
  const uint32_t warp = thread_x() / WARP, row = block_x(), head = block_y() * PROJECT_WARPS + warp;
  float *x = (float *)shared_memory() + warp * project_floats(a.head_dim);
  if (head >= a.n_heads + a.n_kv_heads) return;
  if (head >= a.n_heads) {
    project_kv<T>(a, row, head - a.n_heads, x);
    return;
  }
  project_query(a, row, head, x);
  float *query = a.qkv + row * a.qkv_stride + head * a.head_dim;
  for (uint32_t i = thread_x() % WARP; i < a.head_dim; i += WARP) query[i] = x[i];
}

#endif

KERNEL(KV_NAME(oribi_attend_project_, ORIBI_KV, ), oribi_cuda_attend_args, PROJECT_WARPS *WARP, 4) { project<KV>(a); }
