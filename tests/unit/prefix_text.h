// The text of a sweep by maps with one state.
#pragma once
#include <stdio.h>

// One state `c` (%c, %d; h0 = 1) with the next value `expr`, of a[t] and x[t]; the state before, too.
enum { PREFIX_TEXT = 1400 };
static void prefix_text(char *text, const char *type, const char *how, const char *expr) {
  snprintf(
      text, PREFIX_TEXT,
      "graph t %s\nsym N size\nentry @f(%%a: %s[N], %%x: %s[N], %%h: %s) -> (y: %s[N], b: %s[N], "
      "l: %s) {\n"
      "  %%y, %%b, %%l = sweep prefix {\n"
      "    %%p, %%e, %%f = scan extent N %s carried 1 (%%h) { (%%t: i32, %%c: %s)\n"
      "      %%d = generic (%%a, %%x, %%c, %%t) [] { t0 = %%a[i64(%%t)]; t1 = %%x[i64(%%t)]; %s } "
      ": %s\n"
      "      yield %%d, %%d, %%c\n    } : %s, %s[N], %s[N]\n"
      "    yield %%e, %%f, %%p\n  } : %s[N], %s[N], %s\n  yield %%y, %%b, %%l\n}\n",
      type, type, type, type, type, type, type, how, type, expr, type, type, type, type, type, type,
      type);
}
