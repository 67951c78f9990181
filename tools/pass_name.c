// Names of passes on the command line.
#include "passes/passes.h"
#include "tools/model.h"

sq_status sq_cli_pass(const char *name) {
  if (sq_pass_find(name)) return SQ_OK;
  const char *names[64];
  uint32_t n = 0;
  for (; n < sq_pass_count && n < 64; n++) names[n] = sq_pass_table[n].name;
  const char *near = sq_nearest(name, names, n);
  return near ? sq_complain(SQ_EUSAGE, "no pass `%s`; did you mean `%s`?", name, near)
              : sq_complain(SQ_EUSAGE, "no pass `%s`", name);
}
