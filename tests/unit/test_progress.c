// The line on the terminal while something lasts.
#include "tools/progress.h"
#include <criterion/criterion.h>

typedef struct part {
  size_t done, all;
} part;
static void tell(const void *user, size_t *done, size_t *all) {
  const part *p = user;
  *done = p->done;
  *all = p->all;
}
static void says(part p, const char *want) {
  char text[256];
  sq_progress line = {.what = "forward", .part = tell, .user = &p};
  sq_progress_text(&line, 3, text, sizeof text);
  cr_assert_str_eq(text, want);
}

Test(progress, without_parts) {
  char text[256];
  sq_progress_text(&(sq_progress){.what = "compiling"}, 2, text, sizeof text);
  cr_assert_str_eq(text, "compiling ... 2 s");
}

Test(progress, bar) {
  says((part){0, 290}, "forward: weights [....................] 0 of 290 ... 3 s");
  says((part){74, 290}, "forward: weights [#####...............] 74 of 290 ... 3 s");
  says((part){289, 290}, "forward: weights [###################.] 289 of 290 ... 3 s");
  says((part){290, 290}, "forward ... 3 s");
  says((part){0, 0}, "forward ... 3 s");
}
