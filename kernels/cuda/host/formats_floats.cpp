/* The kernels of some weight formats. */
#define ORIBI_FORMAT f32
#include "formats.inc"
#define ORIBI_FORMAT f16
#include "formats.inc"
#define ORIBI_FORMAT bf16
#include "formats.inc"
