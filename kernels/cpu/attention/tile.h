/* The register tile of attention: n_p queries (or rows of weights) times 16 * n_g lanes,
 *
 *   c[p][16 g + lane] = fma(a[p][k], b[k][g][lane], c[p][16 g + lane])   for k = 0 .. n_k - 1, in that order
 *
 * Scores are this with b the keys (k over head_dim, lanes over positions), values are this with b the values (k over
 * positions, lanes over head_dim). n_p, n_g and b's type are constants where this is inlined, so the accumulators live in
 * registers. */
#include "../simd/inline.h"

/* The lanes' operand: float16 as it lies in the page, or float32 that was converted for many queries. */
typedef struct {
  const void *at; /* uint16_t or float */
  int is_f16;
  size_t k_stride;   /* elements from k to k + 1 */
  size_t g_stride;   /* elements from one vector of 16 to the next */
  const char *ahead; /* float16 only: what to prefetch meanwhile, as many bytes as are read */
} tile_b;

typedef struct {
  const float *const *a; /* [n_p] pointers to [n_k] */
  tile_b b;
  uint32_t n_k;
  float *const *c; /* [n_p] pointers, the lanes from element c_offset on */
  size_t c_offset;
} tile_args;

V16_INLINE void tile_fma(const int n_p, const int n_g, const int b_is_f16, const tile_args *t) {
  v16 acc[TILE_P][TILE_G];
  const float *a[TILE_P];
  ORIBI_UNROLL for (int p = 0; p < n_p; p++) {
    a[p] = t->a[p];
    ORIBI_UNROLL for (int g = 0; g < n_g; g++) acc[p][g] = v16_load(t->c[p] + t->c_offset + 16 * g);
  }
  const uint16_t *b_f16 = t->b.at;
  const float *b_f32 = t->b.at;
  const char *ahead = t->b.ahead;
  const size_t k_stride = t->b.k_stride, g_stride = t->b.g_stride;
  for (uint32_t k = 0, n_k = t->n_k; k < n_k; k++) {
    v16 b_k[TILE_G];
    ORIBI_UNROLL for (int g = 0; g < n_g; g++) {
      b_k[g] = b_is_f16 ? v16_load_f16(b_f16 + g * g_stride) : v16_load(b_f32 + g * g_stride);
    }
    ORIBI_UNROLL for (int p = 0; p < n_p; p++) {
      const v16 a_pk = v16_set1(a[p][k]);
      ORIBI_UNROLL for (int g = 0; g < n_g; g++) acc[p][g] = v16_fma(a_pk, b_k[g], acc[p][g]);
    }
    if (b_is_f16) {
      ORIBI_UNROLL for (int g = 0; g < n_g; g += 2) v16_prefetch(ahead + 32 * g);
      ahead += 32 * n_g;
    }
    b_f16 += k_stride;
    b_f32 += k_stride;
  }
  ORIBI_UNROLL for (int p = 0; p < n_p; p++) {
    ORIBI_UNROLL for (int g = 0; g < n_g; g++) v16_store(t->c[p] + t->c_offset + 16 * g, acc[p][g]);
  }
}

#define TILE_CASE(n_p, n_g) \
  case (n_p) * 8 + (n_g): tile_fma(n_p, n_g, b_is_f16, t); break;
#define TILE_CASES(n_p) TILE_CASE(n_p, 1) TILE_IF_G2(TILE_CASE(n_p, 2)) TILE_IF_G4(TILE_CASE(n_p, 4))

V16_INLINE void tile_any(uint32_t n_p, uint32_t n_g, const int b_is_f16, const tile_args *t) {
  switch (n_p * 8 + n_g) {
    TILE_CASES(1)
    TILE_CASES(2)
    TILE_CASES(3)
#if TILE_P == 6
    TILE_CASES(4)
    TILE_CASES(5)
    TILE_CASES(6)
#endif
  }
}

static void tile_f16(uint32_t n_p, uint32_t n_g, const tile_args *t) { tile_any(n_p, n_g, 1, t); }
static void tile_f32(uint32_t n_p, uint32_t n_g, const tile_args *t) { tile_any(n_p, n_g, 0, t); }

/* n elements on, in b's type */
static const void *tile_b_at(tile_b b, size_t n) {
  return b.is_f16 ? (const void *)((const uint16_t *)b.at + n) : (const void *)((const float *)b.at + n);
}

/* The tile over any number of vectors: in fours, twos, ones. */
static void tile_lanes(uint32_t n_p, uint32_t n_vectors, const tile_args *t) {
  for (uint32_t g = 0; g < n_vectors;) {
    const uint32_t left = n_vectors - g, n_g = left >= TILE_G ? TILE_G : left >= 2 ? 2 : 1;
    tile_args part = *t;
    part.c_offset += 16 * g;
    part.b.at = tile_b_at(t->b, g * t->b.g_stride);
    if (t->b.is_f16) {
      part.b.ahead += (size_t)32 * t->n_k * g;
      tile_f16(n_p, n_g, &part);
    } else {
      tile_f32(n_p, n_g, &part);
    }
    g += n_g;
  }
}
