#include "../simd/v16_avx512.h"

/* 24 accumulators, 4 key or value vectors, 1 broadcast: 29 of 32 registers. */
#define TILE_P 6
#define TILE_P_CODED 3
#define TILE_G 4
#define TILE_IF_G2(x) x
#define TILE_IF_G4(x) x

#include "body.h"
#include "merge.h"
