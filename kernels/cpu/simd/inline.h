/* inline.h - the words that compilers spell differently. Everything in simd/ is static: a plain inline function that was
 * compiled with ISA flags could become the copy the linker keeps for everyone. */
#ifndef ORIBI_INLINE_H
#define ORIBI_INLINE_H

#if defined(_MSC_VER) && !defined(__clang__)
#define ORIBI_INLINE static __forceinline
#define ORIBI_MAY_INLINE static inline
#define ORIBI_ALIGN64 __declspec(align(64))
#define ORIBI_UNROLL
#else
#define ORIBI_INLINE static inline __attribute__((always_inline, unused))
#define ORIBI_MAY_INLINE static inline __attribute__((unused)) /* forcing arrays of 16 inline takes compilers minutes */
#define ORIBI_ALIGN64 __attribute__((aligned(64)))
/* For the short constant loops over registers. Clang must unroll in full: with a count it does so too late, and the arrays
 * stay in memory. */
#ifdef __clang__
#define ORIBI_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ORIBI_UNROLL _Pragma("GCC unroll 16")
#endif
#endif

#endif
