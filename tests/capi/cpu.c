/* The report about this CPU. */
#include "harness.h"

void test_cpu(void) {
  oribi_text *report = NULL;
  CHECK(oribi_cpu_default_threads() >= 1);
  OK(oribi_cpu_report(NULL, &report));
  static const char *const parts[] = {"\"isa\":", "\"features\":", "\"available\":[\"scalar\"", "\"threads\":", "\"Q4_K\"",
                                      "\"operations\":", "oribi_matmul"};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) CHECK(strstr(oribi_text_data(report), parts[i]) != NULL);
  oribi_text_free(report);
  OK(oribi_cpu_report("scalar", &report));
  CHECK(strstr(oribi_text_data(report), "\"isa\":\"scalar\"") != NULL);
  oribi_text_free(report);
  FAILS(ORIBI_STATUS_INVALID_ARGUMENT, "z80", oribi_cpu_report("z80", &report));
#if defined(__x86_64__)
  FAILS(ORIBI_STATUS_DEVICE, "neon", oribi_cpu_report("neon", &report));
#elif defined(__aarch64__)
  FAILS(ORIBI_STATUS_DEVICE, "avx2", oribi_cpu_report("avx2", &report));
#endif
  NULL_REFUSED("report", oribi_cpu_report(NULL, NULL));
}
