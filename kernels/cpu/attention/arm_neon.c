#include "../simd/v16_neon.h"

/* 24 accumulators (four registers to a vector), 4 of keys or values, 1 broadcast: 29 of 32 registers. */
#define TILE_P 6
#define TILE_P_CODED 0
#define TILE_G 1
#define TILE_IF_G2(x)
#define TILE_IF_G4(x)

#include "body.h"
#include "merge.h"
