/* ref.c - the oracle: body.h on scalar lanes. */
#include "../simd/v16_scalar.h"
#include "body.h"
