// Sweeps by maps against the interpreter: vectors of turns, whatever is left, and what is not finite.
#include "tests/unit/kernel_check.h"
#include "tests/unit/prefix_text.h"

#ifndef CHECK_TURNS
#define CHECK_TURNS                                                                                \
  "N=3", "N=4", "N=5", "N=8", "N=13", "N=16", "N=1023", "N=1024", "N=1025", "N=2053"
#define LONG
#endif
static const char *const turns[] = {"N=0", "N=1", CHECK_TURNS};
static void prefix_at(const char *name, const char *type, const char *how, const char *expr,
                      inputs kind, const char *const *sizes, size_t n) {
  char text[PREFIX_TEXT];
  prefix_text(text, type, how, expr);
  check_many(name, text, sizes, n, kind);
}
static void prefix(const char *name, const char *type, const char *how, const char *expr,
                   inputs kind) {
  prefix_at(name, type, how, expr, kind, turns, sizeof turns / sizeof *turns);
}
Test(prefix, forms) {
  prefix("sum", "f32", "", "%c * (0.2 * t0) + t1", PLAIN);
  prefix("difference", "f32", "reversed", "t1 - 0.2 * t0 * (t1 - %c)", PLAIN);
  prefix("running maximum", "f32", "", "maximum(t1, %c)", PLAIN);
  prefix("max-plus", "f32", "reversed", "maximum(%c + t0, t1)", PLAIN);
  prefix("min-plus", "f32", "", "minimum(t1, minimum(%c, 3.0) - t0)", PLAIN);
  prefix("products", "f32", "", "neg(%c) / (1.0 + t0 * t0)", PLAIN);
  prefix("chosen", "f32", "reversed", "select(0.0 < t0, t1, 0.5 * %c)", PLAIN);
  prefix("negative of a maximum", "f32", "", "neg(maximum(t0 - %c, neg(t1)))", PLAIN);
  prefix("bounded", "f32", "", "minimum(maximum(%c + t0, -1.0), 1.0)", PLAIN);
  prefix("bounds that move", "f32", "reversed", "maximum(minimum(t0 - (t1 - %c), t0), neg(t0))",
         PLAIN);
  prefix("bounds that cross", "f32", "", "0.5 - minimum(maximum(t0 - %c, t1), 1.0)", PLAIN);
  prefix("bounded or begun anew", "f32", "",
         "select(0.9 < t0, t1, minimum(maximum(%c + t0, 0.0), 2.0))", PLAIN);
  prefix("maximum or begun anew", "f32", "", "select(0.9 < t0, t1, maximum(%c - 0.1, t0))", PLAIN);
  prefix("logarithm of a sum", "f32", "", "log(exp(%c - t0 * t0) + exp(t1))", PLAIN);
  prefix("logarithm, shifted", "f32", "reversed",
         "t2 = maximum(%c, t1); t2 + log(exp(%c - t2) + exp(t1 - t2))", PLAIN);
  prefix("logarithm, decaying", "f32", "",
         "t2 = %c - abs(t0); maximum(t2, t1) + log1p(exp(neg(abs(t2 - t1))))", PLAIN);
  prefix("logarithm of three", "f32", "",
         "t2 = maximum(maximum(%c, t1), t0); t2 + log(exp(%c - t2) + exp(t1 - t2) + exp(neg(t2 - "
         "t0)))",
         PLAIN);
  prefix("soft maximum", "f32", "", "%c + log1p(exp(t1 - %c))", PLAIN);
  prefix("of no use", "f32", "", "%c", PLAIN);
}
#ifdef LONG
// Of 100,003 turns. Factors of at most 0.8 and terms of at most 4 keep states below 20; a vector of w
// turns rounds a state 2 log2 w + 2 times, a carry passes 0.8^w of its error on: less than 200 u * 20.
static const char *const many[] = {"N=100003"};
Test(prefix, of_many_turns) { prefix_at("sum", "f32", "", "%c * (0.2 * t0) + t1", PLAIN, many, 1); }
// Inputs are multiples of 1/64 below 4, so that sums of a vector's turns, maxima and bounds are exact; where a
// state is begun anew or halved it stays below 8 and hands on half of its error.
Test(prefix, of_many_turns_exactly) {
  prefix_at("max-plus", "f32", "", "maximum(%c - abs(t0), t1)", PLAIN, many, 1);
  prefix_at("min-plus", "f32", "reversed", "minimum(%c + abs(t1), t0)", PLAIN, many, 1);
  prefix_at("bounded", "f32", "", "minimum(maximum(%c + t0, -1.0), 1.0)", PLAIN, many, 1);
  prefix_at("begun anew", "f32", "", "select(3.0 < t0, t1, 0.5 * %c + t1)", PLAIN, many, 1);
}
// A sum of exponentials that keeps at most e^-0.125 = 0.88 of itself a turn makes 10 roundings of it a turn, of which
// all but the last 8 turns' have gone: 85 u, and the logarithm of at most 6.2 another 7 u: 5.5e-6.
static void of_logarithms(void) { slack = 2; }
Test(prefix, of_many_turns_of_logarithms, .init = of_logarithms) {
  prefix_at("logarithm, decaying", "f32", "",
            "t2 = %c - abs(t0) - 0.125; maximum(t2, t1) + log1p(exp(neg(abs(t2 - t1))))", PLAIN,
            many, 1);
}
// A gated sum of exponentials, its values' sum beside it, and their quotient: as above 85 u of each sum, so 170 u of
// values below 4 in size, each of which takes part in both: 680 u = 4.1e-5.
static void of_quotients(void) { slack = 14; }
Test(prefix, of_many_turns_of_gated_sums, .init = of_quotients) {
  check_many("gated sums",
             "graph t f32\nsym N size\n"
             "entry @f(%f: f32[N], %s: f32[N], %v: f32[N]) -> (y: f32[N], m: f32) {\n"
             "  %i = generic () [] { -inf } : f32\n  %z = generic () [] { 0.0 } : f32\n"
             "  %y, %m = sweep prefix {\n"
             "    %p, %q, %r, %e = scan extent N carried 3 (%i, %z, %z) { (%t: i32, %m0: f32, %u: "
             "f32, %w: f32)\n"
             "      %a = generic (%m0, %f, %t) [] { %m0 - abs(%f[i64(%t)]) - 0.125 } : f32\n"
             "      %n = generic (%a, %s, %t) [] { maximum(%a, %s[i64(%t)]) } : f32\n"
             "      %c = generic (%u, %a, %n, %s, %t) [] { %u * exp(%a - %n) + exp(%s[i64(%t)] - "
             "%n) } : f32\n"
             "      %d = generic (%w, %a, %n, %s, %v, %t) [] { %w * exp(%a - %n) + exp(%s[i64(%t)] "
             "- %n) * "
             "%v[i64(%t)] } : f32\n"
             "      %o = generic (%c, %d) [] { %d / %c } : f32\n"
             "      yield %n, %c, %d, %o\n"
             "    } : f32, f32, f32, f32[N]\n"
             "    yield %e, %p\n  } : f32[N], f32\n  yield %y, %m\n}\n",
             many, 1, PLAIN);
}
#endif
Test(prefix, of_f64) {
  prefix("sum", "f64", "reversed", "%c * (0.2_f64 * t0) + t1", PLAIN);
  prefix("max-plus", "f64", "", "maximum(%c + t0, t1)", PLAIN);
  prefix("bounded", "f64", "", "minimum(maximum(%c + t0, -1.0_f64), 1.0_f64)", PLAIN);
  prefix("logarithm of a sum", "f64", "reversed", "log(exp(%c - t0 * t0) + exp(t1))", PLAIN);
}
Test(prefix, not_finite) {
  prefix("sum", "f32", "", "select(t0 < 0.0, t1, 0.5 * %c + t1)", SPECIAL);
  prefix("max-plus", "f32", "reversed", "maximum(%c + select(t0 < 0.0, -1.0, 0.5), t1)", SPECIAL);
  prefix("bounded", "f32", "", "minimum(maximum(%c + t0, t1), 3.0)", SPECIAL);
  prefix("logarithm", "f32", "", "t2 = maximum(%c, t0); t2 + log(exp(%c - t2) + exp(t0 - t2))",
         SPECIAL);
  prefix("never", "f32", "",
         "log(exp(%c - select(t0 < 0.0, inf, 1.0)) + exp(select(t1 < 0.0, -inf, t1)))", PLAIN);
  // Factors of 1e20 in a row, where the state is 0.
  prefix("overflow", "f32", "",
         "t2 = (i64(%t) + 32) % 64; select(t2 < 32, 1e20, select(t2 == 63, 0.0, 0.5)) * %c + "
         "select(t2 < 32, 0.0, select(t2 == 63, 0.0, t1))",
         PLAIN);
  prefix("overflow of all", "f64", "reversed", "1e200_f64 * (%c - 1.0_f64) + 1.0_f64", PLAIN);
}
// What is emitted, and what stands between a state and its next one, is made of the state of the turn.
Test(prefix, through_other_members) {
  check_many(
      "begun anew behind the use",
      "graph t f32\nsym N size\n"
      "entry @f(%a: f32[N], %x: f32[N], %h: f32[2, 3]) -> (y: f32[N, 2], z: f32[N], l: f32[2, "
      "3]) {\n"
      "  %y, %z, %l = sweep prefix {\n"
      "    %p, %e, %g = scan extent N carried 1 (%h) { (%t: i32, %s: f32[2, 3])\n"
      "      %b = generic (%s, %a, %t) [i < 2, j < 3] { 0.2 * %a[i64(%t)] * %s[i, j] } : f32[2, "
      "3]\n"
      "      %c = generic (%b, %x, %t) [i < 2, j < 3] { %b[i, j] + %x[i64(%t)] * (1.0 + "
      "f32(j)) } : f32[2, 3]\n"
      "      %d = generic (%c, %b, %x, %t) [i < 2, j < 3] { select(0.5 < %x[i64(%t)], 1.0, "
      "%c[i, j]) - 0.1 * %b[i, 2] } : f32[2, 3]\n"
      "      %n = generic (%c, %b, %x, %t) [i < 2, j < 3] { select(0.5 < %x[i64(%t)], 1.0, "
      "%c[i, j]) - 0.1 * %b[i, j] } : f32[2, 3]\n"
      "      %o = generic (%c) [i < 2] { tanh(%c[i, 1]) } : f32[2]\n"
      "      %q = generic (%d) [] { %d[1, 2] } : f32\n"
      "      yield %n, %o, %q\n    } : f32[2, 3], f32[N, 2], f32[N]\n"
      "    yield %e, %g, %p\n  } : f32[N, 2], f32[N], f32[2, 3]\n  yield %y, %z, %l\n}\n",
      turns, sizeof turns / sizeof *turns, PLAIN);
}
Test(prefix, of_several) {
  check_many("online softmax",
             "graph t f32\nsym N size\n"
             "entry @f(%s: f32[N], %v: f32[3, N]) -> (y: f32[3, N], m: f32) {\n"
             "  %i = generic () [] { -inf } : f32\n  %z = generic () [] { 0.0 } : f32\n"
             "  %zz = generic () [k < 3] { 0.0 } : f32[3]\n"
             "  %y, %m = sweep prefix {\n"
             "    %p, %q, %r, %e = scan extent N carried 3 (%i, %z, %zz) { (%t: i32, %m0: f32, %u: "
             "f32, %w: f32[3])\n"
             "      %n = generic (%m0, %s, %t) [] { maximum(%m0, %s[i64(%t)]) } : f32\n"
             "      %c = generic (%u, %m0, %n, %s, %t) [] { %u * exp(%m0 - %n) + exp(%s[i64(%t)] - "
             "%n) } : f32\n"
             "      %d = generic (%w, %m0, %n, %s, %v, %t) [k < 3] { %w[k] * exp(%m0 - %n) + "
             "exp(%s[i64(%t)] - %n) * %v[k, i64(%t)] } : f32[3]\n"
             "      %o = generic (%c, %d) [k < 3] { %d[k] / %c } : f32[3]\n"
             "      yield %n, %c, %d, %o\n"
             "    } : f32, f32, f32[3], f32[N, 3]\n"
             "    %f = generic (%e) [k < 3, t < N] { %e[t, k] } : f32[3, N]\n"
             "    yield %f, %p\n  } : f32[3, N], f32\n  yield %y, %m\n}\n",
             turns, sizeof turns / sizeof *turns, PLAIN);
  check_many("states of turns before, small states, sums",
             "graph t f32\nsym N size\n"
             "entry @f(%x: f32[N], %q: f32[3], %h: f32[3], %g: f32) -> (y: f32[N], z: f32[N], l: "
             "f32[3]) {\n"
             "  %y, %z, %l = sweep prefix {\n"
             "    %a, %b, %c, %e, %f = scan extent N reversed carried 3 (%h, %g, %g) { (%t: i32, "
             "%s: f32[3], %u: f32, %w: f32)\n"
             "      %n = generic (%s, %q, %w, %t) [k < 3] { 0.2 * %q[k] * %s[k] + %w } : f32[3]\n"
             "      %o = generic (%n, %q) [] sum [k < 3] { 0.05 * %q[k] * %n[k] } : f32\n"
             "      %i = generic (%x, %t) [] { %x[i64(%t)] } : f32\n"
             "      yield %n, %i, %u, %o, %w\n"
             "    } : f32[3], f32, f32, f32[N], f32[N]\n"
             "    yield %e, %f, %a\n  } : f32[N], f32[N], f32[3]\n  yield %y, %z, %l\n}\n",
             turns, sizeof turns / sizeof *turns, PLAIN);
  check_many("many lanes",
             "graph t f32\nsym N size\n"
             "entry @f(%x: f32[N, 21], %h: f32[21]) -> (y: f32[N, 21], l: f32[21]) {\n"
             "  %y, %l = sweep prefix {\n"
             "    %a, %e = scan extent N carried 1 (%h) { (%t: i32, %s: f32[21])\n"
             "      %n = generic (%s, %x, %t) [k < 21] { 0.5 * %s[k] + %x[i64(%t), k] } : f32[21]\n"
             "      yield %n, %n\n    } : f32[21], f32[N, 21]\n"
             "    yield %e, %a\n  } : f32[N, 21], f32[21]\n  yield %y, %l\n}\n",
             turns, sizeof turns / sizeof *turns, PLAIN);
}
