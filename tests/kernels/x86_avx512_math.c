#include "../../kernels/cpu/simd/v16_avx512.h"
#include "math_body.h"
