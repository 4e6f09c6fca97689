#include "../../kernels/cpu/simd/v16_avx2.h"
#include "math_body.h"
