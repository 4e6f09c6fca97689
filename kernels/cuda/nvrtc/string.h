/* <string.h> for NVRTC: memcpy is built in. */
