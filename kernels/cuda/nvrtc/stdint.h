/* What the kernels need of <stdint.h>, for NVRTC, which has no headers of the system. */
#ifndef ORIBI_NVRTC_STDINT_H
#define ORIBI_NVRTC_STDINT_H
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef unsigned long long uintptr_t;
#endif
