#include "../simd/v16_neon.h"
#include "body.h"
