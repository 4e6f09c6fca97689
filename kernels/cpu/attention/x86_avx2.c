#include "../simd/v16_avx2.h"

/* 12 accumulators (two registers to a vector), 3 broadcasts, 1 half vector: all 16 registers. */
#define TILE_P 3
#define TILE_P_CODED 0
#define TILE_G 2
#define TILE_IF_G2(x) x
#define TILE_IF_G4(x)

#include "body.h"
#include "merge.h"
