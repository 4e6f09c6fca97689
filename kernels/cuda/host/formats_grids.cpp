/* The kernels of some weight formats. */
#define ORIBI_FORMAT iq1_s
#include "formats.inc"
#define ORIBI_FORMAT iq1_m
#include "formats.inc"
#define ORIBI_FORMAT iq2_xxs
#include "formats.inc"
#define ORIBI_FORMAT iq2_xs
#include "formats.inc"
#define ORIBI_FORMAT iq2_s
#include "formats.inc"
#define ORIBI_FORMAT iq3_xxs
#include "formats.inc"
#define ORIBI_FORMAT iq3_s
#include "formats.inc"
#define ORIBI_FORMAT tq1_0
#include "formats.inc"
#define ORIBI_FORMAT tq2_0
#include "formats.inc"
