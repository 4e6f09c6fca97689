/* pack for AVX2: the codes of 8 rows are turned as an 8 x 8 matrix of steps. */
#include <immintrin.h>

#include "read.h"

/* steps[t] = lane `row`: the four codes of step t of that row; of 8 rows. */
ORIBI_INLINE void load_steps(const block_codes *rows, int first, __m256i steps[STEPS]) {
  __m256i v[8], w[8];
  ORIBI_UNROLL for (int r = 0; r < 8; r++) v[r] = _mm256_loadu_si256((const void *)(rows[r].code + first));
  ORIBI_UNROLL for (int i = 0; i < 8; i += 2) {
    w[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    w[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
  }
  ORIBI_UNROLL for (int i = 0; i < 8; i += 4) {
    v[i] = _mm256_unpacklo_epi64(w[i], w[i + 2]);
    v[i + 1] = _mm256_unpackhi_epi64(w[i], w[i + 2]);
    v[i + 2] = _mm256_unpacklo_epi64(w[i + 1], w[i + 3]);
    v[i + 3] = _mm256_unpackhi_epi64(w[i + 1], w[i + 3]);
  }
  ORIBI_UNROLL for (int i = 0; i < 4; i++) {
    steps[i] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x20);
    steps[i + 4] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x31);
  }
}

/* n_bits of every byte, moved from bit `from` to bit `to`. */
ORIBI_INLINE __m256i move_bits(__m256i v, int n_bits, int from, int to) {
  if (n_bits == 8) return v;
  v = _mm256_and_si256(v, _mm256_set1_epi8((char)(((1 << n_bits) - 1) << from)));
  return to >= from ? _mm256_slli_epi16(v, to - from) : _mm256_srli_epi16(v, from - to);
}

ORIBI_INLINE void store_bits(uint8_t *lines, int n_bits, int down, const block_codes rows[ROWS], int first) {
  const int per_byte = 8 / n_bits;
  ORIBI_UNROLL for (int half = 0; half < 2; half++) {
    __m256i steps[STEPS];
    load_steps(rows + 8 * half, first, steps);
    ORIBI_UNROLL for (int line = 0; line < n_bits; line++) {
      __m256i bytes = _mm256_setzero_si256();
      ORIBI_UNROLL for (int i = 0; i < per_byte; i++) {
        const int step = n_bits == 4 ? line + 4 * i : line * per_byte + i;
        bytes = _mm256_or_si256(bytes, move_bits(steps[step], n_bits, down, i * n_bits));
      }
      _mm256_storeu_si256((void *)(lines + line * LINE + half * (LINE / 2)), bytes);
    }
  }
}

#define PACK(name, id, ...)                    \
  void oribi_pack_##name##_avx2(const void *); \
  void oribi_pack_##name##_avx2(const void *args) { pack_codes(args, format_##name, id, read_##name); }
PACKED_FORMATS(PACK)
