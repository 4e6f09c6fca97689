/* The kernels of some weight formats. */
#define ORIBI_FORMAT q4_0
#include "formats.inc"
#define ORIBI_FORMAT q4_1
#include "formats.inc"
#define ORIBI_FORMAT q5_0
#include "formats.inc"
#define ORIBI_FORMAT q5_1
#include "formats.inc"
#define ORIBI_FORMAT q8_0
#include "formats.inc"
#define ORIBI_FORMAT q8_1
#include "formats.inc"
#define ORIBI_FORMAT iq4_nl
#include "formats.inc"
#define ORIBI_FORMAT mxfp4
#include "formats.inc"
