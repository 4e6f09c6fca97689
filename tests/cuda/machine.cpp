/* The emulated machine: every kernel of its table is of modules.list and the other way round; refusals. */
#include <fstream>
#include <set>
#include <sstream>

#include "harness.h"

static std::string replaced(std::string entry, const std::string &variant) {
  const size_t at = entry.find('@');
  return at == std::string::npos ? entry : entry.replace(at, 1, variant);
}

static std::set<std::string> listed() {
  std::ifstream list("kernels/cuda/modules.list");
  std::set<std::string> names;
  std::string line;
  while (std::getline(list, line)) {
    std::istringstream words(line);
    std::string file, variants, entry;
    if (!(words >> file >> variants) || file[0] == '#') continue;
    while (words >> entry) {
      if (variants == "-") names.insert(entry);
      for (const char *kv : {"f16", "q8_0", "q4_0"}) {
        if (variants == "kv") names.insert(replaced(entry, kv));
      }
      for (const weight_format &f : weight_formats) {
        if (variants == "format") names.insert(replaced(entry, f.name));
      }
    }
  }
  return names;
}

void check_machine() {
  std::set<std::string> kernels;
  for (size_t i = 0; oribi_cuda_emulated_kernel(i); i++) kernels.insert(oribi_cuda_emulated_kernel(i));
  check(kernels.size() > 100 && kernels == listed(), "the emulated kernels are those of modules.list");
  const oribi_cuda_softcap_args args = {};
  const uint32_t one[3] = {1, 1, 1}, block[3] = {256, 1, 1}, odd[3] = {255, 1, 1}, none[3] = {0, 1, 1};
  const auto status = [&](const char *name, const uint32_t *grid, const uint32_t *threads, size_t shared, size_t n_bytes) {
    return oribi_cuda_emulated_launch(name, grid, threads, shared, &args, n_bytes);
  };
  check(status("oribi_softcap", one, block, 0, sizeof args) == ORIBI_CUDA_EMULATED_OK, "a launch that does nothing");
  check(status("oribi_soft", one, block, 0, sizeof args) == ORIBI_CUDA_EMULATED_NO_KERNEL, "an unknown kernel");
  check(status("oribi_softcap", one, block, 0, 4) == ORIBI_CUDA_EMULATED_ARGUMENTS, "arguments of another size");
  check(status("oribi_softcap", one, odd, 0, sizeof args) == ORIBI_CUDA_EMULATED_SHAPE, "half a warp");
  check(status("oribi_softcap", none, block, 0, sizeof args) == ORIBI_CUDA_EMULATED_SHAPE, "an empty grid");
  check(status("oribi_softcap", one, block, 1 << 20, sizeof args) == ORIBI_CUDA_EMULATED_SHAPE, "too much shared memory");
}
