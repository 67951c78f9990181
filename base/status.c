// Our own mistakes: say where and stop.
#include "base/status.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void sq_bug(const char *file, int line, const char *fmt, ...) {
  fprintf(stderr, "seqm: internal fault at %s:%d: ", file, line);
  va_list ap;
  va_start(ap, fmt);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  fputc('\n', stderr);
  abort();
}
