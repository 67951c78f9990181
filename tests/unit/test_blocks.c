// Sweeps in blocks of turns against the interpreter: sizes at the edges of blocks and of vectors, decays
// of every kind, what is not finite, several states and sums.
#include "kernel_check.h"

static const char *const turns[] = {"N=0", "N=1", "N=15", "N=16", "N=17", "N=53"};
static const char *const long_turns[] = {"N=63", "N=64", "N=131"};
#define COUNT(x) (sizeof(x) / sizeof *(x))

typedef struct shape {
  const char *type, *how; // how: "reversed" or ""
  int rows, columns, length;
  const char *by;   // of %a[b, t0, i]
  const char *read; // the state that is read: %n after the turn, %s before it
} shape;

static const char *added; // what is added is times this; NULL: 0.05

// Sizes that a call tells: these many rows and columns are symbols.
enum { ROWS = 7001, COLUMNS = 7002 };
static void check_text(const char *name, const char *text, const char *const *sizes, size_t n,
                       inputs kind) {
  char with[5000], *p;
  const char *entry = strstr(text, "entry"), *symbols = "";
  if (strstr(text, "7001") && strstr(text, "7002")) symbols = "sym R size\nsym C size\n";
  snprintf(with, sizeof with, "%.*s%s%s", (int)(entry - text), text, symbols, entry);
  while ((p = strstr(with, "7001"))) memcpy(p, "R   ", 4);
  while ((p = strstr(with, "7002"))) memcpy(p, "C   ", 4);
  check_many(name, with, sizes, n, kind);
}

// One state, of two heads, kept; what is read leaves with its axes in another order.
static void blocks(const char *name, shape x, const char *const *sizes, size_t n, inputs kind) {
  char text[4000], state[64], row[32];
  snprintf(state, sizeof state, "%s[2, %d, %d]", x.type, x.rows, x.columns);
  snprintf(row, sizeof row, "%s[2, N, %d]", x.type, x.rows);
  snprintf(text, sizeof text,
           "graph t %s\nsym N size\n"
           "entry @f(%%q: %s, %%k: %s, %%a: %s, %%v: %s[2, N, %d], %%h: %s) -> (y: %s[2, N, %d], "
           "l: %s) {\n"
           "  %%y, %%l = sweep chunk %d {\n"
           "    %%p, %%e = scan extent N %s carried 1 (%%h) { (%%t: i32, %%s: %s)\n"
           "      %%n = generic (%%s, %%a, %%k, %%v, %%t) [b < 2, i < %d, j < %d] { t0 = i64(%%t); "
           "%s * %%s[b, "
           "i, j] + %s * %%k[b, t0, i] * %%v[b, t0, j] } : %s\n"
           "      %%o = generic (%s, %%q, %%t) [b < 2, j < %d] sum [i < %d] { %s * %%q[b, "
           "i64(%%t), i] * %s[b, "
           "i, j] } : %s[2, %d]\n"
           "      yield %%n, %%o\n    } : %s, %s[N, 2, %d]\n"
           "    %%f = generic (%%e) [b < 2, t < N, j < %d] { %%e[t, b, j] } : %s[2, N, %d]\n"
           "    yield %%f, %%p\n  } : %s[2, N, %d], %s\n  yield %%y, %%l\n}\n",
           x.type, row, row, row, x.type, x.columns, state, x.type, x.columns, state, x.length,
           x.how, state, x.rows, x.columns, x.by,
           added                   ? added
           : strcmp(x.type, "f64") ? "0.05"
                                   : "0.05_f64",
           state, x.read, x.columns, x.rows, strcmp(x.type, "f64") ? "0.02" : "0.02_f64", x.read,
           x.type, x.columns, state, x.type, x.columns, x.columns, x.type, x.columns, x.type,
           x.columns, state);
  check_text(name, text, sizes, n, kind);
}
static void edges(const char *name, shape x) { blocks(name, x, turns, COUNT(turns), PLAIN); }

// An element of at most 65 products of numbers of at most 4, 4 x 0.05, 4 x 0.02, over 131 turns or decays
// of a half: sums of absolute values below 40, each of fewer than 300 additions of half an ulp.
static void wider(void) { slack = 40; }

#define HEADWISE "sigmoid(%a[b, t0, 0])"
#define ROWWISE "sigmoid(%a[b, t0, i])"
Test(blocks, decay_of_a_head, .init = wider) {
  edges("square", (shape){"f32", "", 65, 65, 16, HEADWISE, "%n"});
  edges("one row", (shape){"f32", "", 1, 8, 16, HEADWISE, "%n"});
  edges("one column", (shape){"f32", "reversed", 3, 1, 16, HEADWISE, "%n"});
  edges("before the turn", (shape){"f32", "", 8, 3, 16, HEADWISE, "%s"});
}
Test(blocks, decay_of_rows, .init = wider) {
  edges("square", (shape){"f32", "reversed", 65, 65, 16, ROWWISE, "%n"});
  edges("one row", (shape){"f32", "", 1, 8, 16, ROWWISE, "%s"});
  edges("one column", (shape){"f32", "", 3, 1, 16, ROWWISE, "%n"});
  edges("before the turn", (shape){"f32", "", 8, 3, 16, ROWWISE, "%s"});
}
#ifndef CHECK_TARGETS
// Where a call tells sizes: around whole tiles and vectors, below and above what blocks are worth.
static const char *const shapes[] = {"N=53 R=65 C=65",  "N=33 R=64 C=64",  "N=17 R=1 C=1031",
                                     "N=32 R=130 C=8",  "N=35 R=33 C=130", "N=20 R=3 C=5",
                                     "N=16 R=1027 C=1", "N=19 R=0 C=70",   "N=18 R=70 C=0"};
Test(blocks, sizes_of_a_call, .init = wider) {
  shape x = {"f32", "", ROWS, COLUMNS, 16, HEADWISE, "%n"};
  blocks("a head", x, shapes, COUNT(shapes), PLAIN);
  blocks("a head, infinities", x, shapes, COUNT(shapes), SPECIAL);
  x.by = ROWWISE;
  blocks("rows", x, shapes, COUNT(shapes), PLAIN);
  blocks("f64", (shape){"f64", "", ROWS, COLUMNS, 16, ROWWISE, "%s"}, shapes, COUNT(shapes), PLAIN);
}
#endif
Test(blocks, longer, .init = wider) {
  blocks("32", (shape){"f32", "", 24, 20, 32, HEADWISE, "%n"}, long_turns, COUNT(long_turns),
         PLAIN);
  blocks("64", (shape){"f32", "", 24, 20, 64, ROWWISE, "%n"}, long_turns, COUNT(long_turns), PLAIN);
}
Test(blocks, wide, .init = wider) {
  edges("f64", (shape){"f64", "", 9, 33, 16, HEADWISE, "%n"});
  edges("f64, rows", (shape){"f64", "reversed", 9, 33, 16, ROWWISE, "%s"});
}
Test(blocks, decays, .init = wider) {
  edges("none", (shape){"f32", "", 8, 24, 16, "1.0", "%n"});
  edges("all", (shape){"f32", "", 8, 24, 16, "0.0", "%n"});
  edges("tiny", (shape){"f32", "", 8, 24, 16, "1e-30", "%n"});
  edges("by the sign", (shape){"f32", "", 8, 24, 16, "select(%a[b, t0, i] < 0.0, 0.0, 1.0)", "%n"});
  edges("negative", (shape){"f32", "", 8, 24, 16, "neg(sigmoid(%a[b, t0, 0]))", "%s"});
}
// Products over ranges overflow, the states do not: they are 0 where factors are large, or none is.
Test(blocks, not_finite, .init = wider) {
  shape x = {"f32", "", 8, 24, 16, HEADWISE, "%n"};
  blocks("infinities, a head", x, turns, COUNT(turns), SPECIAL);
  x.by = ROWWISE;
  blocks("infinities, rows", x, turns, COUNT(turns), SPECIAL);
  x.by = "select(t0 % 16 == 0, 0.0, select(t0 % 16 < 4, 1e20, 0.5))";
  added = "select(t0 % 16 < 4, 0.0, 0.05)";
  edges("large factors of nothing", x);
  x.by = "select(%a[b, t0, i] < 5.0 and t0 % 16 == 0, 0.0, select(t0 % 16 < 4, 1e20, 0.5))";
  edges("large factors of nothing, rows", x);
}

#ifndef CHECK_TARGETS // what a kernel is emulated for would take minutes
// Of 100,003 turns. What is added is below 0.05 x 4 x 4, so with the decay 0.8 an element of the state stays
// below 4. A block gives it 16 products and sums and up to 16 factors, 36 roundings of at most 4 u, and hands
// 0.8^16 of its error on: 150 u. A sum of 8 rows of weights up to 0.08 gets 0.64 of that and 42 roundings of
// its own of what is below 2.56: all in all 200 u = 1.2e-5.
static void longer(void) { slack = 4; }
Test(blocks, of_many_turns, .init = longer) {
  blocks("long", (shape){"f32", "", 8, 8, 16, "0.8", "%n"}, (const char *[]){"N=100003"}, 1, PLAIN);
}
#endif

// ---- several states and sums -------------------------------------------------------------------
static const char divided[] =
    "graph t f32\nsym N size\n"
    "entry @f(%q: f32[N, 2, 24], %k: f32[N, 2, 24], %v: f32[N, 2, 37], %g: f32[N, 2]) -> (y: "
    "f32[N, "
    "2, 37], l: f32[2, 24]) {\n"
    "  %h = generic () [b < 2, i < 24, j < 37] { 0.0 } : f32[2, 24, 37]\n"
    "  %m = generic () [b < 2, i < 24] { 0.0 } : f32[2, 24]\n"
    "  %y, %l = sweep chunk 16 {\n"
    "    %p, %r, %e = scan extent N carried 2 (%h, %m) { (%t: i32, %s: f32[2, 24, 37], %z: "
    "f32[2, "
    "24])\n"
    "      %f = generic (%g, %t) [b < 2] { sigmoid(%g[i64(%t), b]) } : f32[2]\n"
    "      %x = generic (%k, %t) [b < 2, i < 24] { exp(0.3 * %k[i64(%t), b, i]) } : f32[2, 24]\n"
    "      %n = generic (%s, %f, %x, %v, %t) [b < 2, i < 24, j < 37] { %f[b] * %s[b, i, j] + "
    "%x[b, i] "
    "* %v[i64(%t), b, j] } : f32[2, 24, 37]\n"
    "      %c = generic (%z, %f, %x) [b < 2, i < 24] { %f[b] * %z[b, i] + %x[b, i] } : f32[2, "
    "24]\n"
    "      %o = generic (%n, %q, %t) [b < 2, j < 37] sum [i < 24] { exp(0.3 * %q[i64(%t), b, i]) "
    "* "
    "%n[b, i, j]; post acc * 0.5 } : f32[2, 37]\n"
    "      %d = generic (%c, %q, %t) [b < 2] sum [i < 24] { exp(0.3 * %q[i64(%t), b, i]) * %c[b, "
    "i] } "
    ": f32[2]\n"
    "      %w = generic (%o, %d, %f) [b < 2, j < 37] { %f[b] * %o[b, j] / %d[b] } : f32[2, 37]\n"
    "      yield %n, %c, %w\n"
    "    } : f32[2, 24, 37], f32[2, 24], f32[N, 2, 37]\n"
    "    yield %e, %r\n  } : f32[N, 2, 37], f32[2, 24]\n  yield %y, %l\n}\n";
// A sum without columns, of 21 rows, which fill no vector.
static void check_rows(const char *name, const char *rows) {
  char with[5000], *p;
  snprintf(with, sizeof with, "%s", divided);
  for (p = with; (p = strstr(p, "24")); p += 2) memcpy(p, rows, 2);
  check_many(name, with, turns, COUNT(turns), PLAIN);
}
Test(blocks, several, .init = wider) {
  check_rows("divided, with gates, 24 rows", "24");
  check_rows("divided, with gates, 21 rows", "21");
  check_many("two states, two sums, rows of one",
             "graph t f32\nsym N size\n"
             "entry @f(%q: f32[N, 19], %k: f32[N, 19], %v: f32[N, 40], %a: f32[N, 19]) -> (y: "
             "f32[N, 40], x: "
             "f32[N, 40]) {\n"
             "  %h = generic () [i < 19, j < 40] { 0.5 } : f32[19, 40]\n"
             "  %y, %x = sweep chunk 16 {\n"
             "    %p, %r, %e, %f = scan extent N carried 2 (%h, %h) { (%t: i32, %s: f32[19, 40], "
             "%u: f32[19, "
             "40])\n"
             "      %n = generic (%s, %a, %k, %v, %t) [i < 19, j < 40] { sigmoid(%a[i64(%t), i]) * "
             "%s[i, j] - 0.1 "
             "* %k[i64(%t), i] * %v[i64(%t), j] } : f32[19, 40]\n"
             "      %m = generic (%u, %q, %v, %t) [i < 19, j < 40] { 0.9 * %u[i, j] + 0.1 * "
             "%q[i64(%t), i] * "
             "%v[i64(%t), j] } : f32[19, 40]\n"
             "      %o = generic (%n, %u, %q, %k, %t) [j < 40] sum [i < 19] { 0.02 * (%q[i64(%t), "
             "i] * %n[i, j] - "
             "%k[i64(%t), i] * %u[i, j]) } : f32[40]\n"
             "      %w = generic (%n, %a, %t, %o) [j < 40] sum [i < 19] { 0.02 * %a[i64(%t), i] * "
             "%n[i, j]; post "
             "acc + tanh(%o[j]) } : f32[40]\n"
             "      yield %n, %m, %o, %w\n"
             "    } : f32[19, 40], f32[19, 40], f32[N, 40], f32[N, 40]\n"
             "    yield %e, %f\n  } : f32[N, 40], f32[N, 40]\n  yield %y, %x\n}\n",
             turns, COUNT(turns), PLAIN);
}

// ---- inputs of 16 bits, a state and sums of 32 -------------------------------------------------
// Products of two are exact, and only what leaves is rounded.
static void narrow(const char *name, const char *step, const char *type) {
  char text[3000];
  snprintf(
      text, sizeof text,
      "graph t f32\nsym N size\n"
      "entry @f(%%q: %s[N, 24], %%k: %s[N, 24], %%v: %s[N, 37], %%a: %s[N]) -> (y: %s[N, 37], l: "
      "f32[24, 37]) {\n"
      "  %%h = generic () [i < 24, j < 37] { 0.0 } : f32[24, 37]\n"
      "  %%y, %%l = sweep chunk 16 {\n"
      "    %%p, %%e = scan extent N carried 1 (%%h) { (%%t: i32, %%s: f32[24, 37])\n"
      "      %%w = generic (%%s, %%k, %%t) [j < 37] sum [i < 24] { f32(%%k[i64(%%t), i]) * 0.05 * "
      "%%s[i, j] } : f32[37]\n"
      "      %%n = generic (%%s, %%k, %%v, %%a, %%t, %%w) [i < 24, j < 37] { t0 = i64(%%t); "
      "f32(sigmoid(%%a[t0])) * %%s[i, j] + %s } : f32[24, 37]\n"
      "      %%o = generic (%%n, %%q, %%t, %%w) [j < 37] sum [i < 24] { f32(%%q[i64(%%t), i]) * "
      "0.02 "
      "* %%n[i, j]; post acc - 0.05 * %%w[j] } : f32[37]\n"
      "      yield %%n, %%o\n    } : f32[24, 37], f32[N, 37]\n"
      "    %%f = generic (%%e) [t < N, j < 37] { %s(%%e[t, j]) } : %s[N, 37]\n"
      "    yield %%f, %%p\n  } : %s[N, 37], f32[24, 37]\n  yield %%y, %%l\n}\n",
      type, type, type, type, type, step, type, type, type);
  check_many(name, text, turns, COUNT(turns), PLAIN);
}
Test(blocks, sixteen_bits, .init = wider) {
  narrow("bf16", "0.05 * f32(%k[t0, i] * %v[t0, j])", "bf16");
  narrow("bf16, apart", "0.05 * f32(%k[t0, i]) * f32(%v[t0, j])", "bf16");
  narrow("bf16, delta", "0.05 * f32(%k[t0, i]) * (f32(%v[t0, j]) - %w[j])", "bf16");
  narrow("f16, delta", "0.05 * (f32(%k[t0, i] * %v[t0, j]) - f32(%k[t0, i]) * %w[j])", "f16");
}

// Heads of whole vectors, and of others; long enough to be cut in time. What is kept is f32, or leaves in 16
// bits too.
typedef struct head {
  const char *type, *how;
  int rows, columns;
  const char *by; // of %a[b, t0]
  const char *key, *read, *kept;
} head;
static void heads(const char *name, head x, const char *const *sizes, size_t n, inputs kind) {
  char text[4000];
  snprintf(text, sizeof text,
           "graph t f32\nsym N size\n"
           "entry @f(%%q: %s[2, N, %d], %%k: %s[2, N, %d], %%a: f32[2, N], %%v: %s[2, N, %d], %%h: "
           "f32[2, %d, %d]) -> (y: %s[2, N, %d], l: %s[2, %d, %d]) {\n"
           "  %%y, %%l = sweep chunk 16 {\n"
           "    %%p, %%e = scan extent N %s carried 1 (%%h) { (%%t: i32, %%s: f32[2, %d, %d])\n"
           "      %%n = generic (%%s, %%a, %%k, %%v, %%t) [b < 2, i < %d, j < %d] { t0 = i64(%%t); "
           "%s * %%s[b, i, j] + %s * f32(%%v[b, t0, j]) } : f32[2, %d, %d]\n"
           "      %%o = generic (%s, %%q, %%t) [b < 2, j < %d] sum [i < %d] { f32(%%q[b, i64(%%t), "
           "i]) * %s[b, i, j]; post acc * 0.001 } : f32[2, %d]\n"
           "      yield %%n, %%o\n    } : f32[2, %d, %d], f32[N, 2, %d]\n"
           "    %%f = generic (%%e) [b < 2, t < N, j < %d] { %s(%%e[t, b, j]) } : %s[2, N, %d]\n"
           "    yield %%f, %%p\n  } : %s[2, N, %d], f32[2, %d, %d]\n"
           "  %%g = generic (%%l) [b < 2, i < %d, j < %d] { %s(%%l[b, i, j] * 0.05) } : %s[2, %d, "
           "%d]\n  yield %%y, %%g\n}\n",
           x.type, x.rows, x.type, x.rows, x.type, x.columns, x.rows, x.columns, x.type, x.columns,
           x.kept, x.rows, x.columns, x.how, x.rows, x.columns, x.rows, x.columns, x.by, x.key,
           x.rows, x.columns, x.read, x.columns, x.rows, x.read, x.columns, x.rows, x.columns,
           x.columns, x.columns, x.type, x.type, x.columns, x.type, x.columns, x.rows, x.columns,
           x.rows, x.columns, x.kept, x.kept, x.rows, x.columns);
  check_many(name, text, sizes, n, kind);
}
static const char *const cut_turns[] = {"N=0", "N=1", "N=31", "N=33", "N=255", "N=517"};
#define KEY "f32(%k[b, t0, i])"
#define OF_TURN "sigmoid(%a[b, t0])"
Test(blocks, heads_of_16_bits, .init = wider) {
  const size_t n = COUNT(cut_turns);
  heads("copied", (head){"bf16", "", 32, 64, OF_TURN, KEY, "%n", "f32"}, cut_turns, n, PLAIN);
  heads("copied, before", (head){"bf16", "reversed", 40, 72, OF_TURN, KEY, "%s", "bf16"}, cut_turns,
        n, PLAIN);
  heads("none", (head){"bf16", "", 16, 20, "1.0", "0.01 * " KEY, "%n", "f32"}, cut_turns, n, PLAIN);
  heads("f16", (head){"f16", "", 24, 64, OF_TURN, KEY, "%n", "f16"}, cut_turns, n, PLAIN);
  heads("f16 and f32", (head){"f16", "", 17, 65, "0.9", KEY, "%n", "f32"}, cut_turns, n, PLAIN);
}
// Stretches of turns behind one that is not finite.
Test(blocks, heads_not_finite, .init = wider) {
  const char *const sizes[] = {"N=300", "N=517"};
  head x = {"bf16", "", 16, 20, OF_TURN, KEY, "%n", "f32"};
  heads("infinities", x, sizes, 2, SPECIAL);
  x.by = "select(t0 == 280, 1e20, select(t0 < 300, 0.0, 0.5))";
  heads("a large factor", x, sizes, 2, PLAIN);
  x.by = "0.25";
  x.key = "select(t0 % 256 == 3, 1e36, 0.05) * " KEY;
  heads("large keys", x, sizes, 2, PLAIN);
}

// ---- several keys ------------------------------------------------------------------------------
#ifndef CHECK_TARGETS // on a device these go turn by turn
// A second product in front of the state.
#define SECOND "0.05 * %a[b, t0, i] * tanh(%v[b, t0, j]) + "
Test(blocks, several_keys, .init = wider) {
  edges("square", (shape){"f32", "", 65, 65, 16, SECOND HEADWISE, "%n"});
  edges("rows", (shape){"f32", "reversed", 33, 20, 16, SECOND ROWWISE, "%s"});
  edges("one row", (shape){"f32", "", 1, 8, 16, SECOND HEADWISE, "%s"});
  edges("one column", (shape){"f32", "", 3, 1, 16, SECOND ROWWISE, "%n"});
  edges("none is kept", (shape){"f32", "", 8, 24, 16, SECOND "0.0", "%n"});
  edges("all is kept", (shape){"f32", "", 8, 24, 16, SECOND "1.0", "%n"});
  edges("f64", (shape){"f64", "", 9, 33, 16,
                       "0.05_f64 * %a[b, t0, i] * tanh(%v[b, t0, j]) + " HEADWISE, "%n"});
  blocks("32", (shape){"f32", "", 24, 20, 32, SECOND HEADWISE, "%n"}, long_turns, COUNT(long_turns),
         PLAIN);
  blocks("not finite", (shape){"f32", "", 8, 24, 16, SECOND ROWWISE, "%n"}, turns, COUNT(turns),
         SPECIAL);
}
#endif

// ---- the delta rule ----------------------------------------------------------------------------
typedef struct rule {
  const char *type, *how;
  int rows, columns, length;
  const char *by;    // of the state, at %a[b, t0, i]
  const char *error; // that the key is given, of t1, what is wanted, and t2, what it reads
  const char *read;
} rule;

// Keys have a length of at most 1, for numbers of at most 4.
static void delta(const char *name, rule x, const char *const *sizes, size_t n, inputs kind) {
  char text[4000], state[64], row[32], key[64];
  bool f64 = !strcmp(x.type, "f64");
  snprintf(state, sizeof state, "%s[2, %d, %d]", x.type, x.rows, x.columns);
  snprintf(row, sizeof row, "%s[2, N, %d]", x.type, x.rows);
  snprintf(key, sizeof key, "%.6f%s * %%k[b, i64(%%t), i]",
           0.25 / sqrt(x.rows == ROWS ? 1027 : x.rows), f64 ? "_f64" : "");
  snprintf(
      text, sizeof text,
      "graph t %s\nsym N size\n"
      "entry @f(%%q: %s, %%k: %s, %%a: %s, %%v: %s[2, N, %d], %%h: %s) -> (y: %s[2, N, %d], "
      "l: %s) {\n"
      "  %%y, %%l = sweep chunk %d {\n"
      "    %%p, %%e = scan extent N %s carried 1 (%%h) { (%%t: i32, %%s: %s)\n"
      "      %%w = generic (%%s, %%k, %%t) [b < 2, j < %d] sum [i < %d] { %s * %%s[b, i, j] } : "
      "%s[2, %d]\n"
      "      %%n = generic (%%s, %%a, %%k, %%v, %%t, %%w) [b < 2, i < %d, j < %d] { t0 = i64(%%t); "
      "t1 = %%v[b, t0, j]; t2 = %%w[b, j]; %s * %%s[b, i, j] + %s * (%s) } : %s\n"
      "      %%o = generic (%s, %%q, %%t) [b < 2, j < %d] sum [i < %d] { %s * %%q[b, "
      "i64(%%t), i] * %s[b, "
      "i, j] } : %s[2, %d]\n"
      "      yield %%n, %%o\n    } : %s, %s[N, 2, %d]\n"
      "    %%f = generic (%%e) [b < 2, t < N, j < %d] { %%e[t, b, j] } : %s[2, N, %d]\n"
      "    yield %%f, %%p\n  } : %s[2, N, %d], %s\n  yield %%y, %%l\n}\n",
      x.type, row, row, row, x.type, x.columns, state, x.type, x.columns, state, x.length, x.how,
      state, x.columns, x.rows, key, x.type, x.columns, x.rows, x.columns, x.by, key, x.error,
      state, x.read, x.columns, x.rows, f64 ? "0.02_f64" : "0.02", x.read, x.type, x.columns, state,
      x.type, x.columns, x.columns, x.type, x.columns, x.type, x.columns, state);
  check_text(name, text, sizes, n, kind);
}
static void delta_edges(const char *name, rule x) { delta(name, x, turns, COUNT(turns), PLAIN); }

// The products of a turn have norms of at most 1 where b |k|^2 <= 2, so what 53 turns add, at most 8 each,
// bounds a column, and each turn's 100 roundings of it: the widest states read 0.02 x 4 x 8 of that.
static void solving(void) { slack = 60; }
#define ONCE "t1 - t2"
Test(blocks, delta_sizes, .init = solving) {
  delta_edges("square", (rule){"f32", "", 65, 65, 16, HEADWISE, ONCE, "%n"});
  delta_edges("one row", (rule){"f32", "", 1, 8, 16, HEADWISE, ONCE, "%n"});
  delta_edges("one column", (rule){"f32", "reversed", 3, 1, 16, HEADWISE, ONCE, "%n"});
  delta_edges("before the turn", (rule){"f32", "", 8, 3, 16, HEADWISE, ONCE, "%s"});
  delta_edges("by rows", (rule){"f32", "reversed", 65, 65, 16, ROWWISE, ONCE, "%n"});
  delta_edges("by rows, before", (rule){"f32", "", 8, 3, 16, ROWWISE, ONCE, "%s"});
  delta_edges("f64", (rule){"f64", "", 9, 33, 16, HEADWISE, ONCE, "%n"});
}
Test(blocks, delta_longer, .init = solving) {
  delta("32", (rule){"f32", "", 24, 20, 32, HEADWISE, ONCE, "%n"}, long_turns, COUNT(long_turns),
        PLAIN);
  delta("64", (rule){"f32", "", 24, 20, 64, ROWWISE, ONCE, "%n"}, long_turns, COUNT(long_turns),
        PLAIN);
}
Test(blocks, delta_steps, .init = solving) {
  delta_edges("no step", (rule){"f32", "", 8, 24, 16, "1.0", "0.0 * (t1 - t2)", "%n"});
  delta_edges("a whole step", (rule){"f32", "", 8, 24, 16, "1.0", ONCE, "%n"});
  delta_edges("to the other side", (rule){"f32", "", 8, 24, 16, "1.0", "2.0 * (t1 - t2)", "%n"});
  delta_edges("nothing is kept", (rule){"f32", "", 8, 24, 16, "0.0", "0.5 * t1 - 0.0 * t2", "%n"});
  delta_edges("a step for each column",
              (rule){"f32", "", 8, 24, 16, HEADWISE, "sigmoid(t1) * (t1 - t2)", "%n"});
  delta_edges("no line", (rule){"f32", "", 8, 24, 16, HEADWISE, "tanh(t1 - t2)", "%n"});
}
Test(blocks, delta_not_finite, .init = solving) {
  delta("a head", (rule){"f32", "", 8, 24, 16, HEADWISE, ONCE, "%n"}, turns, COUNT(turns), SPECIAL);
  delta("rows", (rule){"f32", "", 8, 20, 16, ROWWISE, "tanh(t1 - t2)", "%n"}, turns, COUNT(turns),
        SPECIAL);
}

#ifndef CHECK_TARGETS
// Erased along one vector, written along another; two keys that are both solved for.
#define WRITTEN "0.01 * %a[b, t0, i] * t1 + "
#define SOLVED "0.01 * %a[b, t0, i] * (t1 - tanh(t2)) + "
Test(blocks, delta_of_several_keys, .init = solving) {
  delta_edges("written", (rule){"f32", "", 33, 65, 16, WRITTEN HEADWISE, "neg(t2)", "%n"});
  delta_edges("written, rows", (rule){"f32", "reversed", 8, 20, 16, WRITTEN ROWWISE, ONCE, "%s"});
  delta_edges("both solved", (rule){"f32", "", 33, 24, 16, SOLVED HEADWISE, ONCE, "%n"});
  delta_edges("all is kept", (rule){"f32", "", 8, 24, 16, SOLVED "1.0", ONCE, "%n"});
  delta_edges("none is kept", (rule){"f32", "", 8, 24, 16, SOLVED "0.0", ONCE, "%s"});
  delta_edges("one column", (rule){"f32", "", 3, 1, 16, SOLVED ROWWISE, ONCE, "%n"});
  delta("32", (rule){"f32", "", 24, 20, 32, SOLVED HEADWISE, ONCE, "%n"}, long_turns,
        COUNT(long_turns), PLAIN);
  delta("not finite", (rule){"f32", "", 8, 24, 16, SOLVED ROWWISE, ONCE, "%n"}, turns, COUNT(turns),
        SPECIAL);
}

Test(blocks, delta_sizes_of_a_call, .init = solving) {
  rule x = {"f32", "", ROWS, COLUMNS, 16, HEADWISE, ONCE, "%n"};
  delta("a head", x, shapes, COUNT(shapes), PLAIN);
  x.by = ROWWISE;
  delta("rows", x, shapes, COUNT(shapes), PLAIN);
}

// Of 100,003 turns: the products of a turn have norms of at most 0.9, what is added is at most 0.05 x 4 long,
// so a column is at most 2 long. A turn gives it the roundings of a sum of 8 rows and 16 turns, of its own 16
// products and 10 more: 50 u of 2, of which 0.9 is handed on: 1000 u. A sum of 8 rows of weights up to 0.08
// makes at most 0.23 of that, and 42 roundings of 0.46: 250 u = 1.5e-5.
Test(blocks, delta_of_many_turns, .init = longer) {
  delta("long", (rule){"f32", "", 8, 8, 16, "0.9", "0.05 * t1 - t2", "%n"},
        (const char *[]){"N=100003"}, 1, PLAIN);
}
#endif
