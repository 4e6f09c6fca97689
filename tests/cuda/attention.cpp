#include "harness.h"
void check_attention() {}
