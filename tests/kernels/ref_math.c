#include "../../kernels/cpu/simd/v16_scalar.h"
#include "math_body.h"
