/* launch.c - the shapes in which the CUDA kernels are launched; sizes are the caller's promise. */
#include "shapes.h"

static oribi_cuda_launch launch(uint32_t x, uint32_t y, uint32_t z, uint32_t threads, uint32_t shared_bytes) {
  const oribi_cuda_launch l = {{x, y, z}, {threads, 1, 1}, shared_bytes};
  return l;
}

size_t oribi_cuda_plane_bytes(uint32_t capacity, uint32_t k) {
  return (size_t)shape_ceil(capacity, ORIBI_CUDA_TILE) * shape_ceil(k, GROUP) * ORIBI_CUDA_UNIT;
}

size_t oribi_cuda_sums_bytes(uint32_t capacity, uint32_t k) {
  return (size_t)shape_ceil(capacity, ORIBI_CUDA_TILE) * shape_ceil(k, GROUP) * 2 * ORIBI_CUDA_TILE * sizeof(float);
}

/* ---- matrix product ---- */

static matmul_units units_of(uint32_t dtype) {
  switch (dtype) {
    case ORIBI_F32: return matmul_units_of_floats(4);
    case ORIBI_F16:
    case ORIBI_BF16: return matmul_units_of_floats(2);
#define UNITS(name, id, ...) \
  case id: return matmul_units_of_codes(format_##name);
    PACKED_FORMATS(UNITS)
#undef UNITS
    default: return matmul_units_of_floats(4);
  }
}

uint32_t oribi_cuda_matmul_tokens(uint32_t n_tokens) {
  return n_tokens <= 8 ? 8 : n_tokens <= 16 ? 16 : n_tokens <= 32 ? 32 : 64;
}

oribi_cuda_launch oribi_cuda_matmul_launch(uint32_t dtype, uint32_t n, const oribi_cuda_matmul_args *args) {
  const uint32_t is_few = n == 8 || n == 16, n_tokens = n == 0 ? ORIBI_CUDA_PROMPT_TOKENS : n;
  uint32_t n_blocks = 0;
  for (uint32_t i = 0; i < args->n_weights; i++) n_blocks += shape_ceil(args->weights[i].n_panels, is_few ? 1 : WARPS);
  const uint32_t shared = is_few ? matmul_shared(units_of(dtype), n) : many_shared(n_tokens);
  return launch(n_blocks, shape_ceil(args->n_tokens, n_tokens), 1, THREADS, shared);
}

oribi_cuda_launch oribi_cuda_matmul_norm_launch(uint32_t dtype, const oribi_cuda_matmul_norm_args *args) {
  return oribi_cuda_matmul_launch(dtype, 8, &args->product);
}

oribi_cuda_launch oribi_cuda_matmul_glu_launch(uint32_t dtype, const oribi_cuda_matmul_glu_args *args) {
  oribi_cuda_launch l = oribi_cuda_matmul_launch(dtype, 8, &args->product);
  l.grid[0] = args->product.weights[0].n_panels; /* a block has the panel of both matrices */
  return l;
}

/* ---- elementwise and rows ---- */

oribi_cuda_launch oribi_cuda_embed_launch(const oribi_cuda_embed_args *args) {
  return launch(args->n_rows, 1, 1, THREADS, 0);
}

oribi_cuda_launch oribi_cuda_rope_table_launch(const oribi_cuda_rope_table_args *args) {
  return launch(args->n_rows, shape_ceil(args->n_pairs, THREADS), 1, THREADS, 0);
}

oribi_cuda_launch oribi_cuda_norm_launch(const oribi_cuda_norm_args *args) {
  return launch(args->n_rows, 1, 1, THREADS, 0);
}

oribi_cuda_launch oribi_cuda_glu_launch(const oribi_cuda_glu_args *args) {
  return launch(args->n_rows, shape_ceil(args->n, ACTS_PER_BLOCK), 1, THREADS, 0);
}

oribi_cuda_launch oribi_cuda_softcap_launch(const oribi_cuda_softcap_args *args) {
  return launch(args->n_rows, shape_ceil(args->n, THREADS), 1, THREADS, 0);
}

oribi_cuda_launch oribi_cuda_sum_squares_launch(const oribi_cuda_sum_squares_args *args) {
  return launch(shape_ceil(args->n, THREADS), 1, 1, THREADS, 0);
}

/* One block looks at what those of all slices found. */
uint32_t oribi_cuda_top_most(uint32_t n_columns) {
  const uint32_t n_slices = shape_ceil(n_columns, TOP_SLICE), most = n_slices == 0 ? 0 : TOP_SLICE / n_slices;
  return most < ORIBI_CUDA_MAX_TOP ? most : ORIBI_CUDA_MAX_TOP;
}

size_t oribi_cuda_top_bytes(uint32_t n_columns) {
  return (size_t)shape_ceil(n_columns, TOP_SLICE) * oribi_cuda_top_most(n_columns) * sizeof(uint64_t);
}

oribi_cuda_launch oribi_cuda_top_launch(const oribi_cuda_top_args *args) {
  return launch(args->n_rows, shape_ceil(args->n_columns, TOP_SLICE), 1, THREADS, 0);
}

oribi_cuda_launch oribi_cuda_probe_launch(uint32_t n_blocks) { return launch(n_blocks, 1, 1, THREADS, 0); }

/* ---- attention ---- */

uint32_t oribi_cuda_attend_tile_rows(uint32_t n_heads, uint32_t n_kv_heads) {
  const uint32_t group = n_heads / n_kv_heads;
  return group >= ORIBI_CUDA_MAX_QUERIES ? 1 : ORIBI_CUDA_MAX_QUERIES / group;
}

uint32_t oribi_cuda_attend_queries(const oribi_cuda_attend_args *args) {
  const uint32_t wanted = args->n_heads / args->n_kv_heads * args->max_tile_rows;
  uint32_t n = 4;
  while (n < wanted && n < ORIBI_CUDA_MAX_QUERIES && attend_shared(args->head_dim, 2 * n) <= MOST_SHARED) n *= 2;
  return n;
}

uint32_t oribi_cuda_attend_prompt_queries(const oribi_cuda_attend_args *args) {
  return oribi_cuda_attend_queries(args) <= 16 ? 16 : 32;
}

size_t oribi_cuda_states_bytes(uint32_t n_splits, uint32_t n_rows, uint32_t n_heads, uint32_t head_dim) {
  return (size_t)n_splits * n_rows * n_heads * state_floats(head_dim) * sizeof(float);
}

oribi_cuda_launch oribi_cuda_attend_project_launch(const oribi_cuda_attend_args *args) {
  const uint32_t n_heads = args->n_heads + args->n_kv_heads;
  return launch(args->n_rows, shape_ceil(n_heads, PROJECT_WARPS), 1, PROJECT_WARPS * WARP,
                PROJECT_WARPS * project_floats(args->head_dim) * 4);
}

/* Blocks of so many queries, each with a split. */
static oribi_cuda_launch split_launch(const oribi_cuda_attend_args *args, uint32_t n_queries) {
  const uint32_t n_parts = shape_ceil(args->n_heads / args->n_kv_heads * args->max_tile_rows, n_queries);
  const uint32_t shared = attend_shared(args->head_dim, n_queries);
  return launch(args->n_tiles, args->n_kv_heads * n_parts, args->n_splits, THREADS, shared);
}

oribi_cuda_launch oribi_cuda_attend_split_launch(const oribi_cuda_attend_args *args) {
  return split_launch(args, oribi_cuda_attend_queries(args));
}

oribi_cuda_launch oribi_cuda_attend_prompt_launch(const oribi_cuda_attend_args *args) {
  return split_launch(args, oribi_cuda_attend_prompt_queries(args));
}

oribi_cuda_launch oribi_cuda_attend_merge_launch(const oribi_cuda_attend_args *args) {
  return launch(args->n_rows, shape_ceil(args->n_heads * args->head_dim, ACTS_PER_BLOCK), 1, THREADS, 0);
}

int oribi_cuda_attend_is_fused(const oribi_cuda_attend_args *args) {
  const uint32_t group = args->n_heads / args->n_kv_heads, n_queries = oribi_cuda_attend_queries(args);
  return n_queries <= 16 && group * args->max_tile_rows <= n_queries && args->head_dim % 4 == 0 &&
         group * args->head_dim % GROUP == 0 && attend_fused_shared(args->head_dim, n_queries) <= MOST_SHARED;
}

oribi_cuda_launch oribi_cuda_attend_fused_launch(const oribi_cuda_attend_args *args) {
  return launch(args->n_tiles, args->n_kv_heads, args->n_splits, THREADS,
                attend_fused_shared(args->head_dim, oribi_cuda_attend_queries(args)));
}
