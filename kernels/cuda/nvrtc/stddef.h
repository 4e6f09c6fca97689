/* <stddef.h> for NVRTC, in which size_t is built in. */
