// Sweeps of states that read each other against the interpreter, which goes turn by turn: vectors of turns,
// whatever is left, and what is not finite.
#include "tests/unit/kernel_check.h"

#ifndef CHECK_TURNS
#define CHECK_TURNS                                                                                \
  "N=3", "N=15", "N=16", "N=31", "N=32", "N=63", "N=64", "N=65", "N=130", "N=1023", "N=1024",      \
      "N=1025", "N=1089", "N=2053"
#define LONG
#endif
static const char *const turns[] = {"N=0", "N=1", CHECK_TURNS};
// Two states (%c, %d; both begin with h) with the next values `one` and `two`, of a[t] and x[t]; the states
// before the turn, too.
static void dense_at(const char *name, const char *type, const char *how, const char *one,
                     const char *two, inputs kind, const char *const *sizes, size_t n) {
  static const char given[] = "t0 = %a[i64(%t)]; t1 = %x[i64(%t)]";
  char text[2400];
  snprintf(text, sizeof text,
           "graph t %s\nsym N size\n"
           "entry @f(%%a: %s[N], %%x: %s[N], %%h: %s) -> (y: %s[N], z: %s[N], b: %s[N], l: %s) {\n"
           "  %%y, %%z, %%b, %%l = sweep dense {\n"
           "    %%p, %%q, %%e, %%f, %%g = scan extent N %s carried 2 (%%h, %%h) { (%%t: i32, %%c: "
           "%s, %%d: %s)\n"
           "      %%m = generic (%%a, %%x, %%c, %%d, %%t) [] { %s; %s } : %s\n"
           "      %%n = generic (%%a, %%x, %%c, %%d, %%t, %%m) [] { %s; %s } : %s\n"
           "      yield %%m, %%n, %%m, %%n, %%d\n"
           "    } : %s, %s, %s[N], %s[N], %s[N]\n"
           "    yield %%e, %%f, %%g, %%p\n  } : %s[N], %s[N], %s[N], %s\n"
           "  yield %%y, %%z, %%b, %%l\n}\n",
           type, type, type, type, type, type, type, type, how, type, type, given, one, type, given,
           two, type, type, type, type, type, type, type, type, type, type);
  check_many(name, text, sizes, n, kind);
}
static void dense(const char *name, const char *type, const char *how, const char *one,
                  const char *two, inputs kind) {
  dense_at(name, type, how, one, two, kind, turns, sizeof turns / sizeof *turns);
}
#define ONE "0.1 * t0 * %c - 0.4 * %d + t1"
#define TWO "0.3 * %c + 0.15 * t0 * %d"
Test(dense, forms) {
  dense("factors of the turn", "f32", "", ONE, TWO, PLAIN);
  dense("factors of the turn, backwards", "f32", "reversed", ONE, TWO, PLAIN);
  dense("a rotation", "f32", "", "0.6 * %c - 0.7 * %d + 0.1 * t0", "0.7 * %c + 0.6 * %d + 0.1 * t1",
        PLAIN);
  dense("a rotation, backwards", "f32", "reversed", "0.6 * %c - 0.7 * %d + 0.1 * t0",
        "0.7 * %c + 0.6 * %d + 0.1 * t1", PLAIN);
  dense("a filter", "f32", "", "1.2 * %c - 0.5 * %d + 0.1 * (t0 + t1)", "%c + 0.0 * t0", PLAIN);
  dense("the second of the first as it becomes", "f32", "", ONE, "0.2 * (%m - %d) + %d", PLAIN);
  dense("a level and its trend", "f32", "", "0.4 * t1 + 0.6 * (%c + %d)",
        "0.3 * (%m - %c) + 0.7 * %d", PLAIN);
  dense("reset", "f32", "", "select(0.0 < t0, t1, 0.5 * %c - 0.4 * %d)",
        "select(0.0 < t0, 0.0, 0.5 * (%c + %d) / (1.0 + t0 * t0))", PLAIN);
  dense("held, negative", "f32", "reversed", "select(0.0 < t0, %c, neg(0.5 * %d) + t1)",
        "select(t1 < 0.0, %d, t0 - 0.5 * %c)", PLAIN);
  dense("of the turn alone", "f32", "", "0.5 * %d", "t0 * t1", PLAIN);
  dense("exchanged", "f32", "", "%d", "%c", PLAIN);
}
Test(dense, of_f64) {
  dense("factors of the turn", "f64", "reversed", "0.1_f64 * t0 * %c - 0.4_f64 * %d + t1",
        "0.3_f64 * %c + 0.15_f64 * t0 * %d", PLAIN);
}
Test(dense, not_finite) {
  dense("specials", "f32", "", "select(t0 < 0.0, t1, 0.5 * %c - 0.4 * %d + t1)",
        "select(t0 < 0.0, 0.0, 0.4 * %c + 0.5 * %d)", SPECIAL);
  dense("specials, backwards", "f32", "reversed", "0.5 * %d", "select(t0 < 0.0, t1, 0.5 * %c)",
        SPECIAL);
  // Factors of 1e20 in a row, where the states are 0.
#define HUGE "t2 = (i64(%t) + 32) % 64; t3 = select(t2 < 32, 1e20, select(t2 == 63, 0.0, 0.5));"
  dense("overflow", "f32", "", HUGE "t3 * %d + select(t2 < 32, 0.0, select(t2 == 63, 0.0, t1))",
        HUGE "t3 * %c + select(t2 < 32, 0.0, select(t2 == 63, 0.0, t0))", PLAIN);
}
#ifdef LONG
// Of 100,003 turns. A turn's matrix is at most 0.8 in the norm of the largest row (|a| <= 4), terms are at most
// 4, so states stay below 20. The map of four turns is made by 4 products, that of a vector of w lanes by
// log2 w more, each rounded relative to products of norms, which 0.8 bounds as it does the states: less than
// (4 + log2 w + 4) * 3 u * 20 a vector, of which the carry passes 0.8^w on: below 40 u * 20.
Test(dense, of_many_turns) {
  dense_at("factors of the turn", "f32", "", ONE, TWO, PLAIN, (const char *[]){"N=100003"}, 1);
}
#endif
Test(dense, of_several) {
  check_many(
      "a matrix in every turn, a state that never changes, one that is moved on",
      "graph t f32\nsym N size\n"
      "entry @f(%x: f32[N, 2], %w: f32[N, 2, 2], %s: f32, %h: f32[2]) -> (y: f32[N, 2], z: f32[N], "
      "l: f32[2], k: f32) {\n"
      "  %y, %z, %l, %k = sweep dense {\n"
      "    %p, %q, %r, %e, %f = scan extent N carried 3 (%h, %s, %s) { (%t: i32, %c: f32[2], %o: "
      "f32, %u: f32)\n"
      "      %v = generic (%c, %w, %x, %t, %u) [o < 2] sum [k < 2] { 0.1 * %w[i64(%t), o, k] * "
      "%c[k]; post acc + %x[i64(%t), o] * %u } : f32[2]\n"
      "      %n = generic (%v) [] { %v[0] } : f32\n"
      "      %g = generic (%v, %o) [] { tanh(%v[1]) * %o } : f32\n"
      "      yield %v, %n, %u, %v, %g\n"
      "    } : f32[2], f32, f32, f32[N, 2], f32[N]\n"
      "    yield %e, %f, %p, %q\n  } : f32[N, 2], f32[N], f32[2], f32\n"
      "  yield %y, %z, %l, %k\n}\n",
      turns, sizeof turns / sizeof *turns, PLAIN);
  check_many(
      "half of a matrix of three, lanes, in parts",
      "graph t f32\nsym N size\n"
      "entry @f(%x: f32[N, 5, 3], %w: f32[3, 3], %h: f32[5, 3]) -> (y: f32[N, 5, 3], l: "
      "f32[5, 3]) {\n"
      "  %y, %l = sweep dense {\n"
      "    %p, %e = scan extent N carried 1 (%h) { (%t: i32, %c: f32[5, 3])\n"
      "      %m = generic (%c, %w) [b < 5, o < 3] sum [k < 3] { where k <= o; 0.04 * %w[o, "
      "k] * %c[b, k]; post acc - 0.3 * %c[b, o] } : f32[5, 3]\n"
      "      %d = generic (%m, %x, %t) [b < 5, o < 3] { 2.0 * %m[b, o] + 0.1 * %x[i64(%t), b, o] "
      "} : f32[5, 3]\n"
      "      yield %d, %d\n    } : f32[5, 3], f32[N, 5, 3]\n"
      "    yield %e, %p\n  } : f32[N, 5, 3], f32[5, 3]\n  yield %y, %l\n}\n",
      turns, sizeof turns / sizeof *turns, PLAIN);
  check_many("four states in a ring",
             "graph t f32\nsym N size\n"
             "entry @f(%x: f32[4, N], %h: f32[4]) -> (y: f32[N, 4], l: f32[4]) {\n"
             "  %y, %l = sweep dense {\n"
             "    %p, %e = scan extent N reversed carried 1 (%h) { (%t: i32, %c: f32[4])\n"
             "      %d = generic (%c, %x, %t) [o < 4] sum [k < 4] { select((k + 1) % 4 == o, 0.9, "
             "0.01) * %c[k]; post acc + 0.1 * %x[o, i64(%t)] } : f32[4]\n"
             "      yield %d, %d\n    } : f32[4], f32[N, 4]\n"
             "    yield %e, %p\n  } : f32[N, 4], f32[4]\n  yield %y, %l\n}\n",
             turns, sizeof turns / sizeof *turns, PLAIN);
}
