/* The register tile of attention: n_p queries (or rows of weights) times 16 * n_g lanes,
 *
 *   c[p][16 g + lane] = fma(a[p][k], b[k][g][lane], c[p][16 g + lane])   for k = 0 .. n_k - 1, in that order
 *
 * Scores are this with b the keys (k over head_dim, lanes over positions), values are this with b the values (k over positions,
 * lanes over head_dim). b is float16 as it lies in the page, or float32 that was converted for many queries. n_p and n_g
 * are constants where this is inlined, so the accumulators live in registers. */
#include "../simd/inline.h"

typedef struct {
  const void *at;   /* uint16_t or float */
  size_t k_stride;  /* elements from k to k + 1 */
  size_t g_stride;  /* elements from one vector of 16 to the next */
} tile_b;

V16_INLINE void tile_fma(const int n_p, const int n_g, const int b_is_f16, const float *const *a, tile_b b, uint32_t n_k,
                           float *const *c, size_t c_offset) {
  v16 acc[TILE_P][TILE_G];
  const float *a_p[TILE_P];
  ORIBI_UNROLL for (int p = 0; p < n_p; p++) {
    a_p[p] = a[p];
    ORIBI_UNROLL for (int g = 0; g < n_g; g++) acc[p][g] = v16_load(c[p] + c_offset + 16 * g);
  }
  const uint16_t *b_f16 = b.at;
  const float *b_f32 = b.at;
  for (uint32_t k = 0; k < n_k; k++) {
    v16 b_k[TILE_G];
    ORIBI_UNROLL for (int g = 0; g < n_g; g++) {
      b_k[g] = b_is_f16 ? v16_load_f16(b_f16 + g * b.g_stride) : v16_load(b_f32 + g * b.g_stride);
    }
    ORIBI_UNROLL for (int p = 0; p < n_p; p++) {
      const v16 a_pk = v16_set1(a_p[p][k]);
      ORIBI_UNROLL for (int g = 0; g < n_g; g++) acc[p][g] = v16_fma(a_pk, b_k[g], acc[p][g]);
    }
    b_f16 += b.k_stride;
    b_f32 += b.k_stride;
  }
  ORIBI_UNROLL for (int p = 0; p < n_p; p++) {
    ORIBI_UNROLL for (int g = 0; g < n_g; g++) v16_store(c[p] + c_offset + 16 * g, acc[p][g]);
  }
}

#define TILE_CASE(n_p, n_g)                                              \
  case (n_p) * 8 + (n_g):                                                \
    tile_fma(n_p, n_g, b_is_f16, a, b, n_k, c, c_offset);                \
    break;
#define TILE_CASES_G(n_p) TILE_CASE(n_p, 1) TILE_CASE(n_p, 2) TILE_IF_G4(TILE_CASE(n_p, 4))

V16_INLINE void tile_any(uint32_t n_p, uint32_t n_g, const int b_is_f16, const float *const *a, tile_b b, uint32_t n_k,
                           float *const *c, size_t c_offset) {
  switch (n_p * 8 + n_g) {
    TILE_CASES_G(1)
    TILE_CASES_G(2)
    TILE_CASES_G(3)
#if TILE_P == 6
    TILE_CASES_G(4)
    TILE_CASES_G(5)
    TILE_CASES_G(6)
#endif
  }
}

static void tile_f16(uint32_t n_p, uint32_t n_g, const float *const *a, tile_b b, uint32_t n_k, float *const *c,
                     size_t c_offset) {
  tile_any(n_p, n_g, 1, a, b, n_k, c, c_offset);
}

static void tile_f32(uint32_t n_p, uint32_t n_g, const float *const *a, tile_b b, uint32_t n_k, float *const *c,
                     size_t c_offset) {
  tile_any(n_p, n_g, 0, a, b, n_k, c, c_offset);
}

/* The same over any number of vectors: in fours, twos, ones. */
static void tile_lanes(uint32_t n_p, uint32_t n_vectors, int b_is_f16, const float *const *a, tile_b b, uint32_t n_k,
                       float *const *c, size_t c_offset) {
  for (uint32_t g = 0; g < n_vectors;) {
    const uint32_t left = n_vectors - g;
    const uint32_t n_g = left >= TILE_G ? TILE_G : left >= 2 ? 2 : 1;
    tile_b part = b;
    if (b_is_f16) {
      part.at = (const uint16_t *)b.at + g * b.g_stride;
      tile_f16(n_p, n_g, a, part, n_k, c, c_offset + 16 * g);
    } else {
      part.at = (const float *)b.at + g * b.g_stride;
      tile_f32(n_p, n_g, a, part, n_k, c, c_offset + 16 * g);
    }
    g += n_g;
  }
}
