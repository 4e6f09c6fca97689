/* table.c - the dispatch table made from kernels.inc. */
#include "oribi_kernels.h"

#define KERNEL(op, dtype, isa, acts, max_rows, symbol) void symbol(const void *args);
#include "kernels.inc"
#undef KERNEL

#define KERNEL(op, dtype, isa, acts, max_rows, symbol) {op, dtype, isa, acts, max_rows, #symbol, symbol},
static const oribi_kernel kernels[] = {
#include "kernels.inc"
};
#undef KERNEL

const oribi_kernel *oribi_kernels(size_t *n_kernels) {
  *n_kernels = sizeof kernels / sizeof kernels[0];
  return kernels;
}
