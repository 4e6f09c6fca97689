#include "../simd/v16_avx2.h"
#include "body.h"
