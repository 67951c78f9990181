// A product with the state in every turn, and the one over all turns in front of the scan, of which tiles
// are made beside it: against the interpreter, at the edges of tiles and blocks of turns.
#include "kernel_check.h"

static const char *const turns[] = {"N=0 M=1",  "N=1 M=1",  "N=23 M=1", "N=24 M=1",  "N=25 M=1",
                                    "N=37 M=1", "N=60 M=1", "N=97 M=1", "N=130 M=1", "N=40 M=2"};
static const char *const long_turns[] = {"N=95 M=1", "N=96 M=1", "N=150 M=1"};
#define COUNT(x) (sizeof(x) / sizeof *(x))

// s = tanh(r (x[t] v + s w)), M at once, in panels of `nr` columns.
typedef struct shape {
  int nr, in, state; // elements of x, of the state, whole panels
  const char *type, *panel;
} shape;
static void products(const char *name, shape x, const char *target, const char *const *sizes,
                     size_t n) {
  char text[4000], v[160], w[160];
  bool same = strcmp(x.type, x.panel) == 0;
  snprintf(v, sizeof v, same ? "%%v[n // %d, k, n %% %d]" : "f32(%%v[n // %d, k, n %% %d])", x.nr,
           x.nr);
  snprintf(w, sizeof w, same ? "%%w[n // %d, k, n %% %d]" : "f32(%%w[n // %d, k, n %% %d])", x.nr,
           x.nr);
  snprintf(
      text, sizeof text,
      "graph t %s\nsym N size\nsym M size\n"
      "entry @f(%%x: %s[M, N, %d], %%v: %s[%d, %d, %d], %%w: %s[%d, %d, %d], %%h: %s[M, %d]) -> "
      "(y: %s[N, M, %d], l: %s[M, %d]) {\n"
      "  %%a = generic (%%x, %%v) [t < N, b < M, n < %d] sum [k < %d] { %%x[b, t, k] * %s } : "
      "%s[N, M, %d]\n"
      "  %%p, %%e = scan extent N carried 1 (%%h) { (%%t: i32, %%s: %s[M, %d])\n"
      "    %%z = generic (%%s, %%w) [b < M, n < %d] sum [k < %d] { %%s[b, k] * %s } : %s[M, %d]\n"
      "    %%u = generic (%%z, %%a, %%t) [b < M, n < %d] { tanh(%s%s * (%%z[b, n] + "
      "%%a[i64(%%t), b, n])) } : %s[M, %d]\n"
      "    yield %%u, %%u\n  } : %s[M, %d], %s[N, M, %d]\n"
      "  yield %%e, %%p\n}\n",
      x.type, x.type, x.in, x.panel, x.state / x.nr, x.in, x.nr, x.panel, x.state / x.nr, x.state,
      x.nr, x.type, x.state, x.type, x.state, x.type, x.state, x.state, x.in, v, x.type, x.state,
      x.type, x.state, x.state, x.state, w, x.type, x.state, x.state,
      x.state > 1000 ? "0.003" : "0.02", strcmp(x.type, "f64") ? "" : "_f64", x.type, x.state,
      x.type, x.state, x.type, x.state);
  if (runs_here(target)) check_on(name, text, sizes, n, PLAIN, target);
}
// Sums of up to 2124 products of numbers of at most 4 and 1, times so little that what a turn rounds
// fades in the next ones.
static void wider(void) { slack = 40; }

Test(beside, sizes, .init = wider) {
  products("equal", (shape){32, 64, 64, "f32", "f32"}, "wide", turns, COUNT(turns));
  products("few columns", (shape){32, 5, 32, "f32", "f32"}, "wide", turns, COUNT(turns));
  products("a wide input", (shape){32, 200, 32, "f32", "f32"}, "wide", turns, COUNT(turns));
  products("a wide state", (shape){32, 3, 160, "f32", "f32"}, "wide", turns, COUNT(turns));
  products("odd", (shape){32, 33, 96, "f32", "f32"}, "wide", turns, COUNT(turns));
  products("many registers", (shape){8, 21, 40, "f32", "f32"}, "many", turns, COUNT(turns));
}
Test(beside, types, .init = wider) {
  products("f64", (shape){16, 40, 48, "f64", "f64"}, "wide", turns, COUNT(turns));
  products("weights of f16", (shape){32, 40, 64, "f32", "f16"}, "wide", turns, COUNT(turns));
}
// More than the second-level cache: several tiles for each panel.
Test(beside, far, .init = wider) {
  products("far", (shape){32, 1100, 1024, "f32", "f32"}, "wide", long_turns, COUNT(long_turns));
}
