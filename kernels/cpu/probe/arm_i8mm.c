/* Probe for i8mm: 8-bit products of 2 x 8 by 8 x 2 matrices. */
#include "arm_bytes.h"

PROBE_BYTES(oribi_probe_macs_planes_i8mm, vmmlaq_s32, 32)
