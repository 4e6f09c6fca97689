/*
 * must.h - what the examples do about errors: say what failed and why, and leave. A host with something to lose looks at the
 * status instead, frees what it made, and goes on.
 */
#ifndef MUST_H
#define MUST_H

#include <oribi.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(call) must(call, #call)

static inline void must(oribi_status status, const char *call) {
  if (status == ORIBI_STATUS_OK) return;
  fprintf(stderr, "%s: %s (%s)\n", call, oribi_last_error(), oribi_status_name(status));
  exit(1);
}

#endif
