/* dot_avxvnni.h - sums of codes times activations by AVX-VNNI, on the vectors of panel_avx2.h; see dot_vnni.h. */
#ifndef ORIBI_SIMD_DOT_AVXVNNI_H
#define ORIBI_SIMD_DOT_AVXVNNI_H

#include "panel_avx2.h"

ORIBI_INLINE vint v_dot_bytes(vint sum, vint codes, vint acts) { return _mm256_dpbusd_avx_epi32(sum, codes, acts); }
ORIBI_INLINE vint v_join_planes(vint high, vint low) { return _mm256_add_epi32(_mm256_slli_epi32(high, 8), low); }

#include "dot_vnni.h"

#endif
