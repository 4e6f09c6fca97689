/* weights.h - panels and activations for the checks of matrix products. */
#ifndef ORIBI_TEST_WEIGHTS_H
#define ORIBI_TEST_WEIGHTS_H

#include "harness.h"

/* Inputs of a block of a format. */
size_t block_len(uint32_t dtype);

/* Packs n_rows rows of k inputs of random bytes as a panel at dst; returns dst. */
uint8_t *packed_panel(const oribi_kernel *pack, uint32_t n_rows, uint32_t k, uint8_t *dst);

/* The product [n_rows][16 * n_panels] of panels and x [n_rows][k], in buffers that end with the last byte used. */
float *product(const oribi_kernel *kernel, const uint8_t *panels, uint32_t n_panels, const float *x, uint32_t n_rows,
               uint32_t k);

/* The check of a kernel of native numerics. */
void test_native_matmul(const oribi_kernel *kernel);

#endif
