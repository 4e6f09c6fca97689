#include "../../kernels/cpu/simd/v16_neon.h"
#include "math_body.h"
