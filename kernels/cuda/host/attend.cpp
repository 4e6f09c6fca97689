/* Attention, for all types of keys and values. */
#define ORIBI_KV f16
#include "../attend_fused.cu"
#include "../attend_project.cu"
#include "../attend_prompt.cu"
#include "../attend_split.cu"
#undef ORIBI_KV
#define ORIBI_KV q8_0
#include "../attend_fused.cu"
#include "../attend_project.cu"
#include "../attend_prompt.cu"
#include "../attend_split.cu"
#undef ORIBI_KV
#define ORIBI_KV q4_0
#include "../attend_fused.cu"
#include "../attend_project.cu"
#include "../attend_prompt.cu"
#include "../attend_split.cu"
#undef ORIBI_KV
