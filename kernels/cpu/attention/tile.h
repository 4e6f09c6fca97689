/* The register tile of attention: n_p queries (or rows of weights) times 16 * n_g lanes,
 *
 *   c[p][16 g + lane] = fma(a[p][k], b[k][g][lane], c[p][16 g + lane])   for k = 0 .. n_k - 1, in that order
 *
 * Scores are this with b the keys (k over head_dim, lanes over positions), values are this with b the values (k over
 * positions, lanes over head_dim). n_p, n_g and b's type are constants where this is inlined, so the accumulators live in
 * registers. */
#include "../simd/inline.h"

/* The lanes' operand: as it lies in the page, or float32 that was converted for many queries. */
typedef enum { B_F32, B_F16, B_Q8_KEYS, B_Q8_VALUES, B_Q4_KEYS, B_Q4_VALUES } tile_kind;

typedef struct {
  tile_kind kind;
  const uint8_t *at;
  size_t k_stride;      /* bytes from k to k + 1; B_Q4_KEYS: from two k to the next two */
  size_t g_stride;      /* bytes from one vector of 16 to the next; B_Q4_VALUES: from two vectors to the next two */
  const uint8_t *scales; /* of keys: float16 [k / 32][16], scale_stride bytes from vector to vector */
  size_t scale_stride;  /* of values: float[k], scale_stride bytes from two vectors to the next two */
  const char *ahead;    /* not for B_F32: what to prefetch meanwhile, as many bytes as are read */
} tile_b;

typedef struct {
  const float *const *a; /* [n_p] pointers to [n_k] */
  tile_b b;
  uint32_t n_k;
  float *const *c; /* [n_p] pointers, the lanes from element c_offset on */
  size_t c_offset;
} tile_args;

/* Bytes of a vector for one k. */
V16_INLINE uint32_t tile_vector_bytes(const tile_kind kind) {
  return kind == B_F32 ? 64 : kind == B_F16 ? 32 : kind == B_Q8_KEYS || kind == B_Q8_VALUES ? 16 : 8;
}

/* The operand n vectors (even, of B_Q4_VALUES) further on. */
V16_INLINE tile_b tile_b_at_vector(tile_b b, uint32_t n, uint32_t n_k) {
  const uint32_t n_strides = b.kind == B_Q4_VALUES ? n / 2 : n;
  b.at += n_strides * b.g_stride;
  b.scales += (b.kind == B_Q8_VALUES || b.kind == B_Q4_VALUES ? n / 2 : n) * b.scale_stride;
  b.ahead += (size_t)n * n_k * tile_vector_bytes(b.kind);
  return b;
}

/* The values n positions further on; B_F32 or values. */
V16_INLINE tile_b tile_b_at_position(tile_b b, uint32_t n) {
  b.at += n * b.k_stride;
  if (b.kind != B_F32) b.scales += n * sizeof(float);
  return b;
}

/* Vectors of one k; of B_Q4_KEYS also those of the next. */
V16_INLINE void tile_load(const int n_g, const tile_kind kind, const tile_b *b, const uint8_t *at, uint32_t k,
                          const v16 *scale, v16 *x, v16 *next) {
  if (kind == B_Q4_VALUES) {
    ORIBI_UNROLL for (int g = 0; g < n_g; g += 2) {
      v16 high;
      const v16 s = v16_set1(((const float *)(b->scales + g / 2 * b->scale_stride))[k]);
      v16_load_u4(at + g / 2 * b->g_stride, &x[g], &high);
      x[g] = v16_mul(x[g], s);
      if (g + 1 < n_g) x[g + 1] = v16_mul(high, s);
    }
    return;
  }
  ORIBI_UNROLL for (int g = 0; g < n_g; g++) {
    const uint8_t *from = at + g * b->g_stride;
    if (kind == B_F32) x[g] = v16_load((const float *)from);
    if (kind == B_F16) x[g] = v16_load_f16((const uint16_t *)from);
    if (kind == B_Q8_KEYS) x[g] = v16_load_u8_scaled(from, scale[g]);
    if (kind == B_Q8_VALUES) {
      x[g] = v16_load_u8_scaled(from, v16_set1(((const float *)(b->scales + g / 2 * b->scale_stride))[k]));
    }
    if (kind == B_Q4_KEYS) {
      v16_load_u4(from, &x[g], &next[g]);
      x[g] = v16_mul(x[g], scale[g]);
      next[g] = v16_mul(next[g], scale[g]);
    }
  }
}

V16_INLINE void tile_fma(const int n_p, const int n_g, const tile_kind kind, const tile_args *t) {
  v16 acc[TILE_P][TILE_G], scale[TILE_G] = {v16_set1(0.0f)};
  const float *a[TILE_P];
  ORIBI_UNROLL for (int p = 0; p < n_p; p++) {
    a[p] = t->a[p];
    ORIBI_UNROLL for (int g = 0; g < n_g; g++) acc[p][g] = v16_load(t->c[p] + t->c_offset + 16 * g);
  }
  const uint8_t *at = t->b.at;
  const char *ahead = t->b.ahead;
  const int has_key_scales = kind == B_Q8_KEYS || kind == B_Q4_KEYS;
  const uint32_t n_k = t->n_k, at_once = kind == B_Q4_KEYS ? 2 : 1;
  const uint32_t n_bytes = tile_vector_bytes(kind) * (uint32_t)n_g * at_once;
  for (uint32_t k = 0; k < n_k;) {
    uint32_t end = n_k;
    if (has_key_scales) {
      if (n_k - k > ORIBI_GROUP_LEN) end = k + ORIBI_GROUP_LEN;
      ORIBI_UNROLL for (int g = 0; g < n_g; g++) {
        const uint16_t *scales = (const uint16_t *)(t->b.scales + g * t->b.scale_stride);
        scale[g] = v16_load_f16(scales + k / ORIBI_GROUP_LEN * 16);
      }
    }
    for (; k < end; k += at_once) {
      v16 b_k[TILE_G], b_next[TILE_G];
      tile_load(n_g, kind, &t->b, at, k, scale, b_k, b_next);
      ORIBI_UNROLL for (int p = 0; p < n_p; p++) {
        const v16 a_pk = v16_set1(a[p][k]);
        ORIBI_UNROLL for (int g = 0; g < n_g; g++) acc[p][g] = v16_fma(a_pk, b_k[g], acc[p][g]);
      }
      if (at_once == 2) {
        ORIBI_UNROLL for (int p = 0; p < n_p; p++) {
          const v16 a_pk = v16_set1(a[p][k + 1]);
          ORIBI_UNROLL for (int g = 0; g < n_g; g++) acc[p][g] = v16_fma(a_pk, b_next[g], acc[p][g]);
        }
      }
      if (kind != B_F32) {
        ORIBI_UNROLL for (uint32_t i = 0; i < n_bytes; i += 64) v16_prefetch(ahead + i);
        ahead += n_bytes;
      }
      at += t->b.k_stride;
    }
  }
  ORIBI_UNROLL for (int p = 0; p < n_p; p++) {
    ORIBI_UNROLL for (int g = 0; g < n_g; g++) v16_store(t->c[p] + t->c_offset + 16 * g, acc[p][g]);
  }
}

#define TILE_CASE(n_p, n_g) \
  case (n_p) * 8 + (n_g): tile_fma(n_p, n_g, kind, t); break;
#define TILE_CASES(n_p) TILE_CASE(n_p, 1) TILE_IF_G2(TILE_CASE(n_p, 2)) TILE_IF_G4(TILE_CASE(n_p, 4))

V16_INLINE void tile_any(uint32_t n_p, uint32_t n_g, const tile_kind kind, const tile_args *t) {
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

/* With scales there are registers for TILE_P_CODED queries. */
#if TILE_P_CODED == 3
V16_INLINE void tile_coded(uint32_t n_p, uint32_t n_g, const tile_kind kind, const tile_args *t) {
  switch (n_p * 8 + n_g) {
    TILE_CASES(1)
    TILE_CASES(2)
    TILE_CASES(3)
  }
}

static void tile_q8_keys(uint32_t n_p, uint32_t n_g, const tile_args *t) { tile_coded(n_p, n_g, B_Q8_KEYS, t); }
static void tile_q8_values(uint32_t n_p, uint32_t n_g, const tile_args *t) { tile_coded(n_p, n_g, B_Q8_VALUES, t); }
static void tile_q4_keys(uint32_t n_p, uint32_t n_g, const tile_args *t) { tile_coded(n_p, n_g, B_Q4_KEYS, t); }
static void tile_q4_values(uint32_t n_p, uint32_t n_g, const tile_args *t) { tile_coded(n_p, n_g, B_Q4_VALUES, t); }
#endif
static void tile_f16(uint32_t n_p, uint32_t n_g, const tile_args *t) { tile_any(n_p, n_g, B_F16, t); }
static void tile_f32(uint32_t n_p, uint32_t n_g, const tile_args *t) { tile_any(n_p, n_g, B_F32, t); }

static void tile_of_kind(uint32_t n_p, uint32_t n_g, const tile_args *t) {
  switch (t->b.kind) {
#if TILE_P_CODED == 3
    case B_Q8_KEYS: tile_q8_keys(n_p, n_g, t); break;
    case B_Q8_VALUES: tile_q8_values(n_p, n_g, t); break;
    case B_Q4_KEYS: tile_q4_keys(n_p, n_g, t); break;
    case B_Q4_VALUES: tile_q4_values(n_p, n_g, t); break;
#endif
    case B_F16: tile_f16(n_p, n_g, t); break;
    default: tile_f32(n_p, n_g, t);
  }
}

/* The tile over any number of vectors: in fours, twos, ones. */
static void tile_lanes(uint32_t n_p, uint32_t n_vectors, const tile_args *t) {
  for (uint32_t g = 0; g < n_vectors;) {
    const uint32_t left = n_vectors - g, n_g = left >= TILE_G ? TILE_G : left >= 2 ? 2 : 1;
    tile_args part = *t;
    part.c_offset += 16 * g;
    part.b = tile_b_at_vector(t->b, g, t->n_k);
    tile_of_kind(n_p, n_g, &part);
    g += n_g;
  }
}
