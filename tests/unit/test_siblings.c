// Products of the same rows as one kernel: against the interpreter, and bit by bit against kernels of their
// own, at the edges of tiles, panels and units.
#include "tests/unit/kernel_check.h"
#include <stdarg.h>

#define COUNT(x) (sizeof(x) / sizeof *(x))
static const char *const rows[] = {"N=0",  "N=1",  "N=2",   "N=3",  "N=5",
                                   "N=12", "N=37", "N=130", "N=250"};

// x times a, of `columns` in panels of nr, and times b, of two heads of `head` columns.
typedef struct shape {
  int nr, depth, columns, head;
  const char *rows, *panel;
  bool pairs; // panels of pairs along the sum
  const char *a;
} shape;
typedef struct text {
  char v[8000];
  size_t n;
} text;
__attribute__((format(printf, 2, 3))) static void put_text(text *t, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  t->n += (size_t)vsnprintf(t->v + t->n, sizeof t->v - t->n, fmt, ap);
  va_end(ap);
  cr_assert(t->n < sizeof t->v);
}
static void panel_type(text *t, const shape *s, int columns) {
  int panels = (columns + s->nr - 1) / s->nr;
  if (s->pairs)
    put_text(t, "%s[%d, %d, %d, 2]", s->panel, panels, s->depth / 2, s->nr);
  else
    put_text(t, "%s[%d, %d, %d]", s->panel, panels, s->depth, s->nr);
}
static void panel_read(text *t, const shape *s, const char *name, const char *column) {
  const char *type = strcmp(s->panel, "f64") ? "f32" : "f64";
  bool cast = strcmp(s->panel, type) != 0;
  put_text(t, "%s%%%s[(%s) // %d, %s, (%s) %% %d%s]%s", cast ? "f32(" : "", name, column, s->nr,
           s->pairs ? "c // 2" : "c", column, s->nr, s->pairs ? ", c % 2" : "", cast ? ")" : "");
}
// The three members under names that end in `end`: one with an epilogue, one by heads, one that reads the
// first one's element.
static void members(text *t, const shape *s, const char *end) {
  const char *type = strcmp(s->panel, "f64") ? "f32" : "f64",
             *suffix = *type == 'f' && type[1] == '6' ? "_f64" : "";
  char column[64];
  const char *a = s->a ? s->a : strcmp(s->rows, type) ? "f32(%x[n, c])" : "%x[n, c]";
  put_text(t, "  %%q%s = generic (%%x, %%a, %%w) [n < N, j < %d] sum [c < %d] { %s * ", end,
           s->columns, s->depth, a);
  panel_read(t, s, "a", "j");
  put_text(t, "; post tanh(acc * 0.125%s + %%w[j]); } : %s[N, %d]\n", suffix, type, s->columns);
  snprintf(column, sizeof column, "h * %d + e", s->head);
  put_text(t, "  %%k%s = generic (%%x, %%b) [h < 2, n < N, e < %d] sum [c < %d] { ", end, s->head,
           s->depth);
  panel_read(t, s, "b", column);
  put_text(t, " * %s } : %s[2, N, %d]\n", a, type, s->head);
  put_text(t, "  %%v%s = generic (%%x, %%a, %%q%s) [n < N, j < %d] sum [c < %d] { %s * ", end, end,
           s->columns, s->depth, a);
  panel_read(t, s, "a", "j");
  put_text(t, "; post %%q%s[n, j] * acc; } : %s[N, %d]\n", end, type, s->columns);
}
static void products(const char *name, shape s, const char *target) {
  static text t;
  const char *type = strcmp(s.panel, "f64") ? "f32" : "f64";
  t.n = 0;
  put_text(&t, "graph t %s\nsym N size\nentry @f(%%x: %s[N, %d], %%a: ", type, s.rows, s.depth);
  panel_type(&t, &s, s.columns);
  put_text(&t, ", %%b: ");
  panel_type(&t, &s, 2 * s.head);
  put_text(&t, ", %%w: %s[%d]) -> (q, k, v, i, j, l) {\n", type, s.columns);
  put_text(&t, "  %%q, %%k, %%v = group outer 0 {\n");
  members(&t, &s, ".in");
  put_text(&t, "  yield %%q.in, %%k.in, %%v.in } : %s[N, %d], %s[2, N, %d], %s[N, %d]\n", type,
           s.columns, type, s.head, type, s.columns);
  members(&t, &s, ".own");
  char all[64], heads[64];
  snprintf(all, sizeof all, "n < N, j < %d", s.columns);
  snprintf(heads, sizeof heads, "h < 2, n < N, e < %d", s.head);
  const char *which[] = {"q", "k", "v"};
  for (int k = 0; k < 3; k++) {
    const char *at = k == 1 ? "h, n, e" : "n, j", *w = which[k];
    put_text(&t,
             "  %%%s.d = generic (%%%s, %%%s.own) [] max [%s] { select(%%%s[%s] != %%%s.own[%s], "
             "1_i32, 0_i32) } : i32\n",
             w, w, w, k == 1 ? heads : all, w, at, w, at);
  }
  put_text(&t, "  yield %%q, %%k, %%v, %%q.d, %%k.d, %%v.d\n}\n");
  if (runs_here(target)) check_on(name, t.v, rows, COUNT(rows), PLAIN, target);
}
// Sums of up to 200 products of numbers of at most 4.
static void wider(void) { slack = 40; }

Test(siblings, sizes, .init = wider) {
  products("even", (shape){32, 64, 64, 32, "f32", "f32", .a = NULL}, "wide");
  products("columns left over", (shape){32, 33, 100, 48, "f32", "f32", .a = NULL}, "wide");
  products("many panels", (shape){32, 40, 700, 96, "f32", "f32", .a = NULL}, "wide");
  products("few columns", (shape){32, 200, 40, 16, "f32", "f32", .a = NULL}, "wide");
  products("small vectors", (shape){8, 21, 44, 8, "f32", "f32", .a = NULL}, "many");
}
Test(siblings, types, .init = wider) {
  products("f64", (shape){16, 40, 50, 16, "f64", "f64", .a = NULL}, "wide");
  products("weights of f16", (shape){32, 40, 100, 32, "f32", "f16", .a = NULL}, "wide");
  products("weights of 8 bits", (shape){32, 40, 100, 32, "f32", "i8", .a = NULL}, "wide");
  products("weights of bf16", (shape){32, 40, 100, 32, "f32", "bf16", true, NULL}, "wide");
  products("all of bf16", (shape){32, 40, 100, 32, "bf16", "bf16", true, NULL}, "wide");
}
Test(siblings, computed_rows, .init = wider) {
  products("rows that are copied", (shape){32, 40, 100, 32, "f32", "f32", .a = "tanh(%x[n, c])"},
           "wide");
  products("the same in bf16",
           (shape){32, 40, 100, 32, "bf16", "bf16", true, "f32(%x[dim(N) - 1 - n, c])"}, "wide");
}

// Nothing is packed: one row, of weights along either axis; rows that differ in number at each call, which
// run one after another.
static void unpacked(const char *name, const char *row, const char *at, const char *read,
                     const char *const *sizes, size_t n) {
  static text t;
  const char *comma = *row ? ", " : "";
  t.n = 0;
  put_text(&t,
           HEAD "entry @f(%%x: f32[%s%sK], %%a: f32[200, K], %%b: f32[K, 77]) -> (q, k, v, d) {\n",
           *row ? row + 4 : "", comma);
  const char *end[] = {".in", ".own"};
  put_text(&t, "  %%q, %%k, %%v = group outer 0 {\n");
  for (int k = 0; k < 2; k++) {
    const char *e = end[k], *size = *row ? row + 4 : "";
    put_text(&t,
             "  %%q%s = generic (%%x, %%a) [%s%sj < 200] sum [c < K] { %s * %%a[j, c] } : "
             "f32[%s%s200]\n",
             e, row, comma, read, size, comma);
    put_text(&t,
             "  %%k%s = generic (%%x, %%b) [%s%sj < 77] sum [c < K] { %%b[c, j] * %s; post acc * "
             "0.5; } : f32[%s%s77]\n",
             e, row, comma, read, size, comma);
    put_text(
        &t,
        "  %%v%s = generic (%%x, %%a, %%q%s) [%s%sj < 200] sum [c < K] { %s * %%a[199 - j, c]; "
        "post acc * %%q%s[%s%sj]; } : f32[%s%s200]\n",
        e, e, row, comma, read, e, at, comma, size, comma);
    if (!k)
      put_text(&t, "  yield %%q.in, %%k.in, %%v.in } : f32[%s%s200], f32[%s%s77], f32[%s%s200]\n",
               size, comma, size, comma, size, comma);
  }
  put_text(&t,
           "  %%d = generic (%%q, %%q.own, %%k, %%k.own, %%v, %%v.own) [] max [%s%sj < 77] { "
           "select(%%q[%s%sj] != %%q.own[%s%sj] or %%k[%s%sj] != %%k.own[%s%sj] or %%v[%s%sj] != "
           "%%v.own[%s%sj], 1_i32, 0_i32) } : i32\n  yield %%q, %%k, %%v, %%d\n}\n",
           row, comma, at, comma, at, comma, at, comma, at, comma, at, comma, at, comma);
  check_many(name, t.v, sizes, n, PLAIN);
}
Test(siblings, unpacked, .init = wider) {
  static const char *const one[] = {"K=0", "K=5", "K=32", "K=131"};
  static const char *const some[] = {"N=0 K=5", "N=1 K=131", "N=37 K=33"};
  unpacked("one row", "n < 1", "n", "%x[n, c]", one, COUNT(one));
  unpacked("no axis of rows", "", "", "%x[c]", one, COUNT(one));
  unpacked("some rows", "n < N", "n", "%x[n, c]", some, COUNT(some));
}
