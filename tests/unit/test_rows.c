// A group behind a product, run in the product's units of work: against the interpreter, at the edges of
// tiles and blocks, with tasks in both orders; and where it must wait for all rows.
#include "kernel_check.h"

#define ROWS                                                                                       \
  "N=0 M=2", "N=1 M=2", "N=12 M=1", "N=47 M=1", "N=95 M=1", "N=96 M=2", "N=97 M=1", "N=131 M=1"
// Blocks enough for all cores, of 2 to 16 of them.
static const char *const rows[] = {ROWS, "N=250 M=3", "N=801 M=1"};
#define COUNT(x) (sizeof(x) / sizeof *(x))
static void each(const char *name, const char *text) {
  check_many(name, text, rows, COUNT(rows), PLAIN);
}
// What comes before 1/sqrt of a variance is rounded too.
static void wider(void) { slack = 10; }

#define START "graph t f32\nsym N size\nsym M size\n"
// %y: the rows of %z, `t` wide, with mean 0 and variance 1; its place is `at`.
#define NORM(t, at)                                                                                \
  "  %y = group outer 1 {\n"                                                                       \
  "    %m = generic (%z) [n < N] mean [j < " t "] { %z[n, j] } : f32[N]\n"                         \
  "    %v = generic (%z, %m) [n < N] mean [j < " t "] { t0 = %z[n, j] - %m[n]; t0 * t0 } : "       \
  "f32[N]\n"                                                                                       \
  "    %e = generic (%z, %m, %v) [n < N, j < " t "] { (%z[n, j] - %m[n]) * rsqrt(%v[n] + "         \
  "1e-05) } : f32[N, " t "]\n"                                                                     \
  "    yield %e\n  } : f32[N, " t "]" at "\n"

Test(rows, norm, .init = wider) {
  each("norm", START "entry @f(%x: f32[N, 17], %w: f32[17, 40], %b: f32[40], %r: f32[N, 40]) -> "
                     "(y: f32[N, 40]) {\n"
                     "  %z = generic (%x, %w, %b, %r) [n < N, j < 40] sum [k < 17] {\n"
                     "    %x[n, k] * %w[k, j];\n    post acc + %b[j] + %r[n, j];\n  } : f32[N, "
                     "40]\n" NORM("40", "") "  yield %y\n}\n");
  each("odd columns, used again",
       START "entry @f(%x: f32[N, 30], %w: f32[30, 133]) -> (y: f32[N, 133], z: f32[N, 133]) {\n"
             "  %z = generic (%x, %w) [n < N, j < 133] sum [k < 30] { %x[n, k] * %w[k, j] } : "
             "f32[N, 133]\n" NORM("133", "") "  yield %y, %z\n}\n");
  each("in place",
       START "entry @f(%x: f32[N, 30], %w: f32[30, 50]) -> (y: f32[N, 50]) planned {\n"
             "  slot 200 * N\n"
             "  %z = generic (%x, %w) [n < N, j < 50] sum [k < 30] { %x[n, k] * %w[k, j] } : "
             "f32[N, 50] @slot 0\n" NORM("50", " @slot 0") "  yield %y\n}\n");
}
Test(rows, panels, .init = wider) {
  static const char *const size[] = {ROWS, "N=240 M=1"};
  const char *at[] = {"32", "2", "%w[j // 32, k, j % 32]", "wide",
                      "8",  "7", "%w[j // 8, k, j % 8]",   "many"};
  for (int i = 0; i < 2; i++) {
    char text[4000];
    snprintf(text, sizeof text,
             START "entry @f(%%x: f32[N, 21], %%w: f32[%s, 21, %s]) -> (y: f32[N, 50]) {\n"
                   "  %%z = generic (%%x, %%w) [n < N, j < 50] sum [k < 21] { %%x[n, k] * %s } : "
                   "f32[N, 50]\n%s  yield %%y\n}\n",
             at[4 * i + 1], at[4 * i], at[4 * i + 2], NORM("50", ""));
    if (runs_here(at[4 * i + 3])) check_on("panels", text, size, COUNT(size), PLAIN, at[4 * i + 3]);
  }
}
// Softmax in place: twice would be another one.
Test(rows, axes, .init = wider) {
  static const char *const softmax =
      "  %%p, %%q = group outer 2 {\n"
      "    %%a = generic (%%z) [n < N, m < %s] max [j < %s] { %%z[n, m, j] } : f32[N, %s]\n"
      "    %%b = generic (%%z, %%a) [n < N, m < %s, j < %s] { exp(%%z[n, m, j] - %%a[n, m]) } : "
      "f32[N, %s, %s]\n"
      "    %%c = generic (%%b) [n < N, m < %s] sum [j < %s] { %%b[n, m, j] } : f32[N, %s]\n"
      "    %%d = generic (%%b, %%c) [n < N, m < %s, j < %s] { %%b[n, m, j] / %%c[n, m] } : f32[N, "
      "%s, %s]\n"
      "    yield %%d, %%c\n  } : f32[N, %s, %s] @slot 0, f32[N, %s]\n  yield %%p, %%q\n}\n";
  static const struct {
    const char *name, *product, *x, *j;
  } shape[] = {
      {"rows of two axes",
       "entry @f(%x: f32[N, M, 9], %w: f32[9, 33]) -> (p: f32[N, M, 33], q: f32[N, M]) planned {\n"
       "  slot 132 * N * M\n"
       "  %z = generic (%x, %w) [n < N, m < M, j < 33] sum [k < 9] { %x[n, m, k] * %w[k, j] } : "
       "f32[N, M, 33] @slot 0\n",
       "M", "33"},
      {"parts of rows",
       "entry @f(%x: f32[N, 9], %w: f32[9, 3, 16]) -> (p: f32[N, 3, 16], q: f32[N, 3]) planned {\n"
       "  slot 192 * N\n"
       "  %z = generic (%x, %w) [n < N, m < 3, j < 16] sum [k < 9] { %x[n, k] * %w[k, m, j] } : "
       "f32[N, 3, 16] @slot 0\n",
       "3", "16"},
      {"each row with factors of its own",
       "entry @f(%x: f32[N, N, 9], %w: f32[N, 9, 16]) -> (p: f32[N, N, 16], q: f32[N, N]) planned "
       "{\n  slot 64 * N * N\n"
       "  %z = generic (%x, %w) [n < N, m < N, j < 16] sum [k < 9] { %x[n, m, k] * %w[n, k, j] } : "
       "f32[N, N, 16] @slot 0\n",
       "N", "16"},
  };
  for (size_t i = 0; i < COUNT(shape); i++) {
    char text[4000];
    const char *x = shape[i].x, *j = shape[i].j;
    size_t at = (size_t)snprintf(text, sizeof text, "%s%s", START, shape[i].product);
    snprintf(text + at, sizeof text - at, softmax, x, j, x, x, j, x, j, x, j, x, x, j, x, j, x, j,
             x);
    size_t small = strcmp(x, "N") == 0 ? 2 : 0; // N * N rows
    check_many(shape[i].name, text, rows, COUNT(rows) - small, PLAIN);
  }
}

// ---- in the place of what the product reads ------------------------------------------------------
#define FROM(n)                                                                                    \
  "  %a = generic (%x) [n < N, k < " n "] { %x[n, k] + 1.0 } : f32[N, " n "] @slot 0\n"
Test(rows, places, .init = wider) {
  each("row by row", START
       "entry @f(%x: f32[N, 50], %w: f32[50, 50]) -> (y: f32[N, 50], z: f32[N, 50]) planned "
       "{\n  slot 200 * N\n" FROM(
           "50") "  %z = generic (%a, %w) [n < N, j < 50] sum [k < 50] { %a[n, k] * %w[k, j] } : "
                 "f32[N, 50]\n" NORM("50", " @slot 0") "  yield %y, %z\n}\n");
  each("rows of another width", START
       "entry @f(%x: f32[N, 90], %w: f32[90, 50]) -> (y: f32[N, 50], z: f32[N, 50]) planned "
       "{\n  slot 360 * N\n" FROM(
           "90") "  %z = generic (%a, %w) [n < N, j < 50] sum [k < 90] { %a[n, k] * %w[k, j] } : "
                 "f32[N, 50]\n" NORM("50", " @slot 0") "  yield %y, %z\n}\n");
  each("rows from the end",
       START "entry @f(%x: f32[N, 50], %w: f32[50, 50]) -> (y: f32[N, 50], z: f32[N, 50]) planned "
             "{\n  slot 200 * N\n" FROM("50") "  %z = generic (%a, %w) [n < N, j < 50] sum [k < "
                                              "50] { %a[dim(N) - 1 - n, k] * %w[k, "
                                              "j] } : f32[N, 50]\n" NORM(
                                                  "50", " @slot 0") "  yield %y, %z\n}\n");
  each("what is added last",
       START "entry @f(%x: f32[N, 50], %w: f32[50, 50]) -> (y: f32[N, 50], z: f32[N, 50]) planned "
             "{\n  slot 200 * N\n" FROM(
                 "50") "  %z = generic (%x, %w, %a) [n < N, j < 50] sum [k < 50] {\n"
                       "    %x[n, k] * %w[k, j];\n    post acc + %a[dim(N) - 1 - n, j];\n  } : "
                       "f32[N, 50]\n" NORM("50", " @slot 0") "  yield %y, %z\n}\n");
}
Test(rows, other_rows, .init = wider) {
  each("reads other rows",
       START "entry @f(%x: f32[N, 50], %w: f32[50, 40]) -> (y: f32[N, 40]) {\n"
             "  %z = generic (%x, %w) [n < N, j < 40] sum [k < 50] { %x[n, k] * %w[k, j] } : "
             "f32[N, 40]\n"
             "  %y = group outer 1 {\n"
             "    %m = generic (%z) [n < N] mean [j < 40] { %z[dim(N) - 1 - n, j] } : f32[N]\n"
             "    %e = generic (%z, %m) [n < N, j < 40] { %z[n, j] - %m[n] } : f32[N, 40]\n"
             "    yield %e\n  } : f32[N, 40]\n  yield %y\n}\n");
  each("something between",
       START "entry @f(%x: f32[N, 50], %w: f32[50, 40]) -> (y: f32[N, 40]) {\n"
             "  %z = generic (%x, %w) [n < N, j < 40] sum [k < 50] { %x[n, k] * %w[k, j] } : "
             "f32[N, 40]\n"
             "  %s = generic (%z) [j < 40] mean [n < N] { %z[n, j] } : f32[40]\n"
             "  %y = group outer 1 {\n"
             "    %m = generic (%z) [n < N] mean [j < 40] { %z[n, j] } : f32[N]\n"
             "    %e = generic (%z, %m, %s) [n < N, j < 40] { %z[n, j] - %m[n] - %s[j] } : f32[N, "
             "40]\n"
             "    yield %e\n  } : f32[N, 40]\n  yield %y\n}\n");
}
Test(rows, doubles, .init = wider) {
  each("f64",
       START "entry @f(%x: f64[N, 50], %w: f64[50, 40]) -> (y: f64[N, 40]) {\n"
             "  %z = generic (%x, %w) [n < N, j < 40] sum [k < 50] { %x[n, k] * %w[k, j] } : "
             "f64[N, 40]\n"
             "  %y = group outer 1 {\n"
             "    %m = generic (%z) [n < N] mean [j < 40] { %z[n, j] } : f64[N]\n"
             "    %e = generic (%z, %m) [n < N, j < 40] { %z[n, j] - %m[n] } : f64[N, 40]\n"
             "    yield %e\n  } : f64[N, 40]\n  yield %y\n}\n");
}
