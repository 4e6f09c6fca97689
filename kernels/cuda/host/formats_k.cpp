/* The kernels of some weight formats. */
#define ORIBI_FORMAT q2_k
#include "formats.inc"
#define ORIBI_FORMAT q3_k
#include "formats.inc"
#define ORIBI_FORMAT q4_k
#include "formats.inc"
#define ORIBI_FORMAT q5_k
#include "formats.inc"
#define ORIBI_FORMAT q6_k
#include "formats.inc"
#define ORIBI_FORMAT q8_k
#include "formats.inc"
#define ORIBI_FORMAT iq4_xs
#include "formats.inc"
