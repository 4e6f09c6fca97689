#include "../simd/v16_avx512.h"
#include "body.h"
