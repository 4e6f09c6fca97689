/* Probe for dotprod: 8-bit dot products, four to a 32-bit lane. */
#include "arm_bytes.h"

PROBE_BYTES(oribi_probe_macs_planes_dotprod, vdotq_s32, 16)
