/* The kernels that do not depend on a format of weights. */
#include "../attend_merge.cu"
#include "../glu.cu"
#include "../norm.cu"
#include "../probe.cu"
#include "../rope_table.cu"
#include "../softcap.cu"
#include "../sum_squares.cu"
#include "../top.cu"
