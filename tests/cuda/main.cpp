/* main.cpp - runs the checks of the CUDA kernels; the last line counts them. */
#include "harness.h"

int main(int n_args, char **args) {
  const std::string only = n_args > 1 ? args[1] : "";
  if (only.empty() || only == "machine") check_machine();
  if (only.empty() || only == "rows") check_rows();
  if (only.empty() || only == "top") check_tops();
  if (only.empty() || only == "matmul") check_matmul();
  if (only.empty() || only == "attention") check_attention();
  printf("%d passed, %d failed\n", n_passed, n_failed);
  return n_failed != 0 || n_passed == 0;
}
