// CPU kernels, operation by operation.
#include "tests/unit/kernel_check.h"
#include <ctype.h>

// ---- elementwise -------------------------------------------------------------------------------
Test(kernels, elementwise) {
  each_size("add",
            HEAD "entry @f(%x: f32[N, M], %y: f32[M]) -> (r: f32[N, M]) {\n"
                 "  %r = generic (%x, %y) [n < N, m < M] { %x[n, m] * 2.0 + %y[m] } : f32[N, M]\n"
                 "  yield %r\n}\n",
            PLAIN);
  each_size("transpose",
            HEAD "entry @f(%x: f32[N, M]) -> (r: f32[M, N]) {\n"
                 "  %r = generic (%x) [m < M, n < N] { %x[n, m] } : f32[M, N]\n"
                 "  yield %r\n}\n",
            PLAIN);
}
// One elementwise function of x (and y) of a type.
static void function_of(const char *type, const char *out, const char *expr, inputs kind) {
  char text[1024];
  snprintf(text, sizeof text,
           "graph t %s" REST "entry @f(%%x: %s[N, M], %%y: %s[N, M]) -> (r: %s[N, M]) {\n"
           "  %%r = generic (%%x, %%y) [n < N, m < M] { %s } : %s[N, M]\n  yield %%r\n}\n",
           strcmp(type, "f64") ? "f32" : "f64", type, type, out, expr, out);
  check(expr, text, "N=3 M=29", kind);
}
Test(kernels, functions) {
  static const char *const exprs[] = {"exp(%x[n, m])",
                                      "log(%x[n, m] * %x[n, m])",
                                      "sigmoid(%x[n, m])",
                                      "tanh(%x[n, m])",
                                      "erf(%x[n, m])",
                                      "sin(%x[n, m])",
                                      "cos(%x[n, m])",
                                      "sqrt(abs(%x[n, m]))",
                                      "%x[n, m] / %y[n, m]",
                                      "minimum(%x[n, m], %y[n, m])",
                                      "maximum(%x[n, m], %y[n, m])",
                                      "floor(%x[n, m])",
                                      "ceil(%x[n, m])",
                                      "round(%x[n, m])",
                                      "sign(%x[n, m])",
                                      "neg(%x[n, m])",
                                      "expm1(%x[n, m])",
                                      "log1p(abs(%x[n, m]))",
                                      "exp2(%x[n, m])",
                                      "rsqrt(abs(%x[n, m]) + 1.0)",
                                      "pow(abs(%x[n, m]), %y[n, m])",
                                      "atan2(%x[n, m], %y[n, m])",
                                      "floordiv(%x[n, m], %y[n, m] + 9.0)",
                                      "mod(%x[n, m], %y[n, m] + 9.0)",
                                      "select(%x[n, m] < %y[n, m], 1.0, %x[n, m])"};
  for (size_t i = 0; i < sizeof exprs / sizeof *exprs; i++) {
    function_of("f32", "f32", exprs[i], PLAIN);
    function_of("f64", "f64", exprs[i], SPECIAL);
    function_of("f32", "f32", exprs[i], SPECIAL);
  }
  function_of("f32", "bool", "isnan(%x[n, m]) or %x[n, m] <= %y[n, m]", SPECIAL);
  function_of("f16", "f16", "%x[n, m] * %y[n, m]", PLAIN);
  function_of("bf16", "bf16", "%x[n, m] + %y[n, m]", PLAIN);
  function_of("f16", "f32", "f32(%x[n, m]) - exp(f32(%y[n, m]))", PLAIN);
}
Test(kernels, integers) {
  static const char *const types[] = {"i64", "i32", "i8", "u8"};
  static const char *const exprs[] = {"%x[n, m] + %y[n, m]",
                                      "(%x[n, m] - %y[n, m]) * %y[n, m]",
                                      "%x[n, m] // %y[n, m]",
                                      "%x[n, m] % %y[n, m]",
                                      "(%x[n, m] - %y[n, m]) // (%y[n, m] - %x[n, m])",
                                      "(%x[n, m] - %y[n, m]) % (%y[n, m] - %x[n, m])",
                                      "abs(%x[n, m] - %y[n, m])",
                                      "minimum(%x[n, m], %y[n, m])",
                                      "shl(%x[n, m], %y[n, m])",
                                      "shr(%x[n, m] - %y[n, m], %x[n, m])",
                                      "bitxor(%x[n, m], %y[n, m])",
                                      "sign(%x[n, m] - %y[n, m])"};
  for (int t = 0; t < 4; t++)
    for (size_t i = 0; i < sizeof exprs / sizeof *exprs; i++)
      function_of(types[t], types[t], exprs[i], PLAIN);
  function_of("i32", "bool", "not %x[n, m] == %y[n, m]", PLAIN);
  function_of("f32", "i32", "i32(%x[n, m] * 134217728.0)", SPECIAL);
  function_of("f32", "i8", "i8(%x[n, m] * 100.0)", SPECIAL);
  function_of("f32", "u8", "u8(%x[n, m] * 100.0)", SPECIAL);
  function_of("f64", "i64", "i64(%x[n, m] * 1e19)", SPECIAL);
  function_of("i64", "f32", "f32(%x[n, m]) + f32(n * 7 + m)", PLAIN);
  function_of("bool", "i32", "i32(%x[n, m]) + i32(m)", PLAIN);
}

// ---- reductions --------------------------------------------------------------------------------
static void reduction(const char *monoid, const char *type, const char *out, inputs kind) {
  char text[2048];
  static const char *const shapes[] = {
      "  %%r = generic (%%x) [n < N] %s [m < M] { %%x[n, m] } : %s[N]\n",
      "  %%r = generic (%%x) [m < M] %s [n < N] { %%x[n, m] } : %s[M]\n",
      "  %%r = generic (%%x) [] %s [n < N, m < M] { %%x[n, m] } : %s\n",
      "  %%r = generic (%%x) [k < K] %s [n < N, m < M] { where m <= n + k, n < dim(K); %%x[n, m] } "
      ": %s[K]\n",
      "  %%r = generic (%%x) [n < N] %s [m < M] { where n < m + 3, m <= n + 9; %%x[n, m] } : "
      "%s[N]\n",
      "  %%r = generic (%%x) [n < N] %s [m < M] { where m %% 3 != 1, n %% 2 == 0; %%x[n, m] } : "
      "%s[N]\n",
      "  %%r = generic (%%x) [m < M] %s [n < N] { where n <= m; %%x[n, m] } : %s[M]\n"};
  static const char *const results[] = {"[N]", "[M]", "", "[K]", "[N]", "[N]", "[M]"};
  for (int i = 0; i < 7; i++) {
    char nest[512];
    snprintf(nest, sizeof nest, shapes[i], monoid, out);
    snprintf(text, sizeof text,
             HEAD "entry @f(%%x: %s[N, M], %%z: f32[K]) -> (r: %s%s) {\n%s  yield %%r\n}\n", type,
             out, results[i], nest);
    each_size(monoid, text, kind);
  }
}
Test(kernels, sums) {
  reduction("sum", "f32", "f32", PLAIN);
  reduction("sum", "i32", "i32", PLAIN);
  reduction("sum", "f64", "f64", PLAIN);
  reduction("mean", "f32", "f32", PLAIN);
  reduction("prod", "f64", "f64", PLAIN);
}
Test(kernels, extremes) {
  reduction("max", "f32", "f32", SPECIAL);
  reduction("min", "f32", "f32", SPECIAL);
  reduction("max", "i8", "i8", PLAIN);
  reduction("min", "u8", "u8", PLAIN);
  reduction("any", "bool", "bool", PLAIN);
  reduction("all", "bool", "bool", PLAIN);
}
Test(kernels, places) {
  reduction("argmax", "f32", "i32", SPECIAL);
  reduction("argmin", "f32", "i32", PLAIN);
  reduction("argmax", "i32", "i32", PLAIN);
}
Test(kernels, logsumexp) {
  reduction("logsumexp", "f32", "f32", SPECIAL);
  reduction("logsumexp", "f64", "f64", PLAIN);
}
Test(kernels, narrow_sums) {
  char text[1024];
  static const char *const types[] = {"f16", "bf16"};
  for (int i = 0; i < 2; i++) {
    snprintf(
        text, sizeof text,
        HEAD
        "entry @f(%%x: %s[N, M]) -> (r: f32[N]) {\n"
        "  %%r = generic (%%x) [n < N] sum [m < M] { f32(%%x[n, m]); post acc / 2.0 } : f32[N]\n"
        "  yield %%r\n}\n",
        types[i]);
    each_size(types[i], text, PLAIN);
  }
}
Test(kernels, products) {
  each_size(
      "small integers",
      HEAD
      "entry @f(%x: i32[N, K], %y: i32[M, K]) -> (r: i32[N, M]) {\n"
      "  %r = generic (%x, %y) [n < N, m < M] sum [k < K] { %x[n, k] * %y[m, k] } : i32[N, M]\n"
      "  yield %r\n}\n",
      PLAIN);
  each_size(
      "post",
      HEAD "entry @f(%x: f32[N, K], %y: f32[K, M], %z: f32[M]) -> (r: f32[N, M]) {\n"
           "  %r = generic (%x, %y, %z) [n < N, m < M] sum [k < K] {\n"
           "    %x[n, k] * exp(neg(abs(%y[k, m])));\n    post tanh(acc) + %z[m];\n  } : f32[N, M]\n"
           "  yield %r\n}\n",
      PLAIN);
  each_size("three axes",
            HEAD "entry @f(%x: f32[N, M, K]) -> (r: f32[M]) {\n"
                 "  %r = generic (%x) [m < M] sum [n < N, k < K] { %x[n, m, k] } : f32[M]\n"
                 "  yield %r\n}\n",
            PLAIN);
}

// ---- reads -------------------------------------------------------------------------------------
Test(kernels, reads) {
  each_size("gather",
            HEAD
            "entry @f(%t: f32[5, M], %at: i32[N]) -> (r: f32[N, M]) {\n"
            "  %r = generic (%t, %at) [n < N, m < M] { %t[i64(%at[n]), m; site 0] } : f32[N, M]\n"
            "  yield %r\n}\n",
            PLAIN);
  each_size("gather fails",
            HEAD
            "entry @f(%t: f32[3, M], %at: i32[N]) -> (r: f32[N, M]) {\n"
            "  %r = generic (%t, %at) [n < N, m < M] { %t[i64(%at[n]), m; site 0] } : f32[N, M]\n"
            "  yield %r\n}\n",
            PLAIN);
  each_size("gather lanes",
            HEAD
            "entry @f(%t: f32[4, M], %at: i32[N]) -> (r: f32[M, N]) {\n"
            "  %r = generic (%t, %at) [m < M, n < N] { %t[i64(%at[n]), m; else 7.0] } : f32[M, N]\n"
            "  yield %r\n}\n",
            PLAIN);
  each_size(
      "window",
      HEAD
      "entry @f(%x: f32[N, M], %w: f32[3]) -> (r: f32[N, M]) {\n"
      "  %r = generic (%x, %w) [n < N, m < M] sum [k < 3] { %x[n, m - k; else 0.5] * %w[k] } : "
      "f32[N, M]\n  yield %r\n}\n",
      PLAIN);
  each_size("guard",
            HEAD "entry @f(%x: f32[N, M]) -> (r: f32[N, M]) {\n"
                 "  %r = generic (%x) [n < N, m < M] { select(2 <= m and n < 3, %x[n, m - 2; if 2 "
                 "<= m and n < 3],"
                 " -1.0) } : f32[N, M]\n  yield %r\n}\n",
            PLAIN);
  each_size("domain reads",
            HEAD "entry @f(%x: f32[N]) -> (r: f32[N]) {\n"
                 "  %r = generic (%x) [n < N] sum [m < N] { where m <= n; %x[n - m] } : f32[N]\n"
                 "  yield %r\n}\n",
            PLAIN);
  each_size("merge heads",
            HEAD "entry @f(%x: f32[3, N, 16]) -> (r: f32[N, 48]) {\n"
                 "  %r = generic (%x) [n < N, c < 48] { %x[c // 16, n, c % 16] } : f32[N, 48]\n"
                 "  yield %r\n}\n",
            PLAIN);
  each_size("strides",
            HEAD "entry @f(%x: f32[N, M]) -> (r: f32[N, 5]) {\n"
                 "  %r = generic (%x) [n < N, c < 5] { %x[n, 3 * c + 1; else 0.0] } : f32[N, 5]\n"
                 "  yield %r\n}\n",
            PLAIN);
  each_size("small last axis",
            HEAD "entry @f(%x: f32[N, M, 3]) -> (r: f32[N, M, 3]) {\n"
                 "  %r = generic (%x) [n < N, m < M, c < 3] { %x[n, m, c] + 1.0 } : f32[N, M, 3]\n"
                 "  yield %r\n}\n",
            PLAIN);
}

// ---- writes ------------------------------------------------------------------------------------
Test(kernels, updates) {
  each_size(
      "rows",
      HEAD
      "entry @f(%x: f32[N, M], %y: f32[M]) -> (r: f32[N, M]) {\n"
      "  %c = generic (%x) [n < N, m < M] { %x[n, m] } : f32[N, M]\n"
      "  %r = update (%c, %y) [m < M] { at [2, m; site 0]; guard 2 < dim(N); %y[m] } : f32[N, M]\n"
      "  yield %r\n}\n",
      PLAIN);
  each_size(
      "scatter",
      HEAD "entry @f(%x: f32[5, M], %at: i32[N], %y: f32[N, M]) -> (r: f32[5, M]) {\n"
           "  %c = generic (%x) [n < 5, m < M] { %x[n, m] } : f32[5, M]\n"
           "  %r = update (%c, %y, %at) [n < N, m < M] { at [i64(%at[n]), m; site 0]; %y[n, m] } : "
           "f32[5, M]\n  yield %r\n}\n",
      PLAIN);
  each_size(
      "scatter fails",
      HEAD "entry @f(%x: f32[3, M], %at: i32[N], %y: f32[N, M]) -> (r: f32[3, M]) {\n"
           "  %c = generic (%x) [n < 3, m < M] { %x[n, m] } : f32[3, M]\n"
           "  %r = update (%c, %y, %at) [n < N, m < M] { at [i64(%at[n]), m; site 1]; %y[n, m] } : "
           "f32[3, M]\n  yield %r\n}\n",
      PLAIN);
  each_size(
      "turned",
      HEAD
      "entry @f(%x: f32[N, M], %y: f32[M, N]) -> (r: f32[N, M]) {\n"
      "  %c = generic (%x) [n < N, m < M] { %x[n, m] } : f32[N, M]\n"
      "  %r = update (%c, %y) [m < M, n < N] { at [dim(N) - 1 - n, m]; %y[m, n] } : f32[N, M]\n"
      "  yield %r\n}\n",
      PLAIN);
}
static void keyed(const char *monoid, const char *type, const char *out, const char *more) {
  char text[2048];
  snprintf(
      text, sizeof text,
      HEAD
      "entry @f(%%x: %s[N, M], %%at: i32[N]) -> (r: %s[4, M], s: %s[4]) {\n"
      "  %%r = generic (%%x, %%at) [] %s [n < N, m < M] keyed { %s at [i64(%%at[n]), m]; %%x[n, m] "
      "} : %s[4, M]\n"
      "  %%s = generic (%%x, %%at) [] %s [n < N, m < M] keyed { %s at [i64(%%at[n])]; %%x[n, m] } "
      ": "
      "%s[4]\n  yield %%r, %%s\n}\n",
      type, out, out, monoid, more, out, monoid, more, out);
  each_size(monoid, text, PLAIN);
}
Test(kernels, keyed_reductions) {
  keyed("sum", "f32", "f32", "");
  keyed("sum", "i32", "i32", "where m <= n;");
  keyed("max", "f32", "f32", "where n % 2 == 0;");
  keyed("mean", "f32", "f32", "where m % 3 != 1;");
  keyed("argmax", "f32", "i32", "");
  keyed("logsumexp", "f32", "f32", "");
  keyed("any", "bool", "bool", "");
  keyed("prod", "f64", "f64", "");
}

// ---- along an axis -----------------------------------------------------------------------------
static void along(const char *op, const char *type, const char *out, inputs kind) {
  char text[1024];
  for (int axis = 0; axis < 2; axis++) {
    snprintf(text, sizeof text,
             HEAD "entry @f(%%x: %s[N, M]) -> (r: %s[N, M]) {\n"
                  "  %%r = %s axis %d (%%x) : %s[N, M]\n  yield %%r\n}\n",
             type, out, op, axis, out);
    each_size(op, text, kind);
  }
}
Test(kernels, orders) {
  along("cumulate sum", "f32", "f32", PLAIN);
  along("cumulate max", "f32", "f32", SPECIAL);
  along("cumulate sum", "i32", "i32", PLAIN);
  along("cumulate prod", "f64", "f64", PLAIN);
  along("sort", "f32", "f32", SPECIAL);
  along("sort", "i32", "i32", PLAIN);
  along("argsort", "f32", "i32", SPECIAL);
  along("argsort", "u8", "i32", PLAIN);
  char text[1024];
  for (int axis = 0; axis < 2; axis++) {
    snprintf(text, sizeof text,
             HEAD
             "entry @f(%%x: f32[N, M], %%ok: bool[N, M]) -> (v: f32[%s], i: i32[%s]) {\n"
             "  %%v, %%i = topk axis %d k 4 (%%x, %%ok) : f32[%s], i32[%s]\n  yield %%v, %%i\n}\n",
             axis ? "N, 4" : "4, M", axis ? "N, 4" : "4, M", axis, axis ? "N, 4" : "4, M",
             axis ? "N, 4" : "4, M");
    each_size("topk", text, SPECIAL);
  }
}
Test(kernels, random) {
  static const char *const types[] = {"f32", "f64", "f16", "bf16"};
  char text[512];
  for (int i = 0; i < 8; i++) {
    snprintf(text, sizeof text,
             HEAD "entry @f(%%k: i64, %%x: f32[N, M]) -> (r: %s[N, M]) {\n"
                  "  %%r = random %s (%%k) : %s[N, M]\n  yield %%r\n}\n",
             types[i / 2], i % 2 ? "normal" : "uniform", types[i / 2]);
    each_size("random", text, PLAIN);
  }
}

// ---- groups ------------------------------------------------------------------------------------
Test(kernels, groups) {
  each_size("softmax",
            HEAD "entry @f(%x: f32[N, M]) -> (r: f32[N, M]) {\n"
                 "  %r = group outer 1 {\n"
                 "    %a = generic (%x) [n < N, m < M] { %x[n, m] * 0.5 } : f32[N, M]\n"
                 "    %b = generic (%a) [n < N] max [m < M] { %a[n, m] } : f32[N]\n"
                 "    %c = generic (%a, %b) [n < N, m < M] { exp(%a[n, m] - %b[n]) } : f32[N, M]\n"
                 "    %d = generic (%c) [n < N] sum [m < M] { %c[n, m] } : f32[N]\n"
                 "    %e = generic (%c, %d) [n < N, m < M] { %c[n, m] / %d[n] } : f32[N, M]\n"
                 "    yield %e\n  } : f32[N, M]\n  yield %r\n}\n",
            PLAIN);
  each_size(
      "norm",
      HEAD
      "entry @f(%x: f32[N, M], %w: f32[M]) -> (r: f32[N, M], s: f32[N]) {\n"
      "  %r, %s = group outer 1 {\n"
      "    %b = generic (%x) [n < N] mean [m < M] { %x[n, m] } : f32[N]\n"
      "    %d = generic (%x, %b) [n < N] mean [m < M] { t0 = %x[n, m] - %b[n]; t0 * t0 } : f32[N]\n"
      "    %e = generic (%x, %b, %d, %w) [n < N, m < M] { (%x[n, m] - %b[n]) * rsqrt(%d[n] + "
      "1e-05) * "
      "%w[m] } : f32[N, M]\n"
      "    yield %e, %d\n  } : f32[N, M], f32[N]\n  yield %r, %s\n}\n",
      PLAIN);
}

// ---- contractions ------------------------------------------------------------------------------
static void contraction(const char *type, const char *a, const char *ea, const char *b,
                        const char *eb) {
  char text[2048];
  snprintf(text, sizeof text,
           "graph t %s" REST "entry @f(%%x: %s[%s], %%y: %s[%s], %%z: %s[M], %%q: f32[K]) -> (r: "
           "%s[N, M], s: %s[N, M]) {\n"
           "  %%r = generic (%%x, %%y) [n < N, m < M] sum [k < K] { %s * %s } : %s[N, M]\n"
           "  %%s = generic (%%x, %%y, %%z) [n < N, m < M] sum [k < K] {\n    %s * %s;\n"
           "    t0 = acc + %%z[m];\n    post t0 * sigmoid(t0);\n  } : %s[N, M]\n"
           "  yield %%r, %%s\n}\n",
           strcmp(type, "f64") ? "f32" : "f64", type, a, type, b, type, type, type, ea, eb, type,
           ea, eb, type);
  static const char *const sizes[] = {"N=5 M=3 K=7",    "N=1 M=64 K=32",  "N=37 M=67 K=131",
                                      "N=0 M=4 K=5",    "N=4 M=70 K=0",   "N=1 M=1 K=1",
                                      "N=3 M=131 K=64", "N=130 M=96 K=40"};
  check_many(ea, text, sizes, 8, PLAIN);
}
Test(kernels, contractions) {
  contraction("f32", "N, K", "%x[n, k]", "M, K", "%y[m, k]");
  contraction("f32", "N, K", "%x[n, k]", "K, M", "%y[k, m]");
  contraction("f32", "K, N", "%x[k, n]", "K, M", "%y[k, m]");
  contraction("f32", "K, N", "%x[k, n]", "M, K", "%y[m, k]");
  contraction("f64", "N, K", "%x[n, k]", "M, K", "%y[m, k]");
  contraction("f64", "N, K", "%x[n, k]", "K, M", "%y[k, m]");
  contraction("f32", "N, K", "exp(%x[n, k] * 0.25)", "M, K", "(%y[m, k] + 1.0)");
  contraction("f16", "N, K", "%x[n, k]", "M, K", "%y[m, k]");
  contraction("bf16", "N, K", "%x[n, k]", "K, M", "%y[k, m]");
}
// B in panels, as the pass `pack` lays it out; targets with other panels read it as any array. Depths
// of several blocks, rows of every small tile, a last panel that is not full.
static void panels(const char *type, int nr, int depth) {
  static const char *const sizes[] = {"N=1 M=1 K=1", "N=2 M=1 K=1",  "N=3 M=1 K=1",
                                      "N=7 M=1 K=1", "N=11 M=1 K=1", "N=13 M=1 K=1",
                                      "N=0 M=1 K=1", "N=131 M=1 K=1"};
  char text[2048];
  snprintf(text, sizeof text,
           HEAD
           "entry @f(%%x: f32[N, %d], %%p: %s[%d, %d, %d], %%z: f32[203]) -> (r: f32[N, 203], s: "
           "f32[N, 4, %d]) {\n"
           "  %%r = generic (%%x, %%p, %%z) [n < N, m < 203] sum [k < %d] {\n"
           "    %%x[n, k] * %s(%%p[m // %d, k, m %% %d]);\n    post acc * 0.01 + %%z[m];\n  } : "
           "f32[N, 203]\n"
           "  %%s = generic (%%x, %%p) [n < N, h < 4, e < %d] sum [k < %d] {\n"
           "    %%x[n, k] * %s(%%p[h, k, e]);\n    post acc * 0.01;\n  } : f32[N, 4, %d]\n"
           "  yield %%r, %%s\n}\n",
           depth, type, (203 + nr - 1) / nr, depth, nr, nr, depth, strcmp(type, "f32") ? "f32" : "",
           nr, nr, nr, depth, strcmp(type, "f32") ? "f32" : "", nr);
  check_many("panels", text, sizes, 8, PLAIN);
}
// Panels of bf16 in pairs of rows. Where A is of bf16 too, targets that say so multiply pairs: read
// where they are, or copied when a row is not dense, an expression, or of several axes.
static const char *pairs_text(char text[2048], const char *type, const char *x, const char *a,
                              int nr, int depth) {
  const char *f = strcmp(type, "bf16") ? "f32" : "";
  char one[60], two[60]; // A at k, and at the k of two axes
  snprintf(one, sizeof one, a, "k");
  snprintf(two, sizeof two, a, "t0");
  snprintf(text, 2048,
           HEAD
           "entry @f(%%x: %s[%s], %%p: bf16[%d, %d, %d, 2]) -> (r: %s[N, 203], s: %s[N, 203]) {\n"
           "  %%r = generic (%%x, %%p) [n < N, m < 203] sum [k < %d] {\n"
           "    %s * %s(%%p[m // %d, k // 2, m %% %d, k %% 2]);\n    post acc * 0.125_%s;\n"
           "  } : %s[N, 203]\n"
           "  %%s = generic (%%x, %%p) [n < N, m < 203] sum [i < 2, j < %d] {\n"
           "    t0 = i * %d + j;\n"
           "    %s * %s(%%p[m // %d, t0 // 2, m %% %d, t0 %% 2]);\n    post acc * 0.125_%s;\n"
           "  } : %s[N, 203]\n  yield %%r, %%s\n}\n",
           type, x, (203 + nr - 1) / nr, depth / 2, nr, type, type, depth, one, f, nr, nr, type,
           type, depth / 2, depth / 2, two, f, nr, nr, type, type);
  return text;
}
static void pairs(const char *type, const char *x, const char *a, int nr, int depth) {
  static const char *const sizes[] = {"N=1 M=1 K=1", "N=7 M=1 K=1", "N=13 M=1 K=1", "N=51 M=1 K=1"};
  char text[2048];
  check_many("pairs", pairs_text(text, type, x, a, nr, depth), sizes, 4, PLAIN);
}
Test(kernels, contractions_of_pairs) {
  static const int nr[] = {8, 16, 32};
  for (int k = 0; k < 3; k++) {
    pairs("bf16", "N, 38", "%%x[n, %s]", nr[k], 38);
    pairs("bf16", "38, N", "%%x[%s, n]", nr[k], 38);
    pairs("bf16", "N, 38", "maximum(%%x[n, %s], 0.25_bf16)", nr[k], 38);
    pairs("f32", "N, 38", "%%x[n, %s]", nr[k], 38);
  }
  pairs("bf16", "N, 450", "%%x[n, %s]", 32, 450); // several blocks of k
  pairs("f32", "N, 450", "%%x[n, %s]", 16, 450);
}
// Where the processor multiplies pairs and both operands have them, one instruction does, and nothing is
// widened or copied.
Test(kernels, pairs_in_hardware) {
  static const char *const types[] = {"bf16", "f32"};
  for (int k = 0; k < 4; k++) {
    sq_arena arena;
    sq_target t;
    char text[2048];
    ctx = sq_ctx_new(sq_alloc_libc());
    sq_arena_init(&arena, sq_alloc_libc(), &ctx->guard);
    sq_text code = {.arena = &arena};
    pairs_text(text, types[k / 2], "N, 64", "%%x[n, %s]", 32, 64);
    sq_graph *g = read_graph(&arena, "pairs", text);
    plan(g);
    cr_assert_eq(sq_target_find(ctx, "x86-64-v4", &t, &message), SQ_OK, "%s", message);
    if (k % 2) t.features = sq_arena_fmt(&arena, "%s,+avx512bf16", t.features);
    t.machine.bf16 = k % 2;
    cr_assert_eq(sq_codegen_text(g, &t, NULL, true, &code, &message), SQ_OK, "%s", message);
    cr_assert_eq(strstr(code.v, "vdpbf16ps") != NULL, k == 1);
    cr_assert_eq(strstr(code.v, "sq.micro.12x32.bf16.dots.f32.tiles") != NULL, k == 1);
    cr_assert_eq(strstr(code.v, "sq.micro.12x32.bf16.pairs.f32.tiles") != NULL, k != 1);
    sq_arena_free(&arena);
    sq_ctx_free(ctx);
  }
}
// However --tune has it.
Test(kernels, contractions_cut_otherwise) {
  for (cut_try = 1; cut_try < SQ_CUT_TRIES; cut_try++) {
    contraction("f32", "N, K", "%x[n, k]", "M, K", "%y[m, k]");
    contraction("f64", "K, N", "%x[k, n]", "K, M", "%y[k, m]");
    panels("f32", 16, 810);
    panels("bf16", 16, 35);
    pairs("bf16", "N, 38", "%%x[n, %s]", 32, 38);
  }
}
Test(kernels, contractions_of_panels) {
  panels("f32", 8, 810);
  panels("f32", 16, 810);
  panels("f32", 16, 7);
  panels("bf16", 16, 810);
  panels("f32", 32, 810);
  panels("f16", 32, 35);
}
Test(kernels, contractions_of_many_axes) {
  each_size(
      "heads",
      HEAD
      "entry @f(%x: f32[N, K], %w: f32[32, K], %z: f32[M]) -> (r: f32[4, N, 8]) {\n"
      "  %r = generic (%x, %w) [h < 4, n < N, e < 8] sum [k < K] { %x[n, k] * %w[h * 8 + e, k] } : "
      "f32[4, N, 8]\n  yield %r\n}\n",
      PLAIN);
  each_size("scores",
            HEAD "entry @f(%x: f32[4, N, 8], %y: f32[2, M, 8], %z: f32[K]) -> (r: f32[4, N, M]) {\n"
                 "  %r = generic (%x, %y) [h < 4, n < N, m < M] sum [e < 8] { %x[h, n, e] * %y[h "
                 "// 2, m, e];\n"
                 "    post acc * 0.5; } : f32[4, N, M]\n  yield %r\n}\n",
            PLAIN);
  each_size(
      "mixing",
      HEAD
      "entry @f(%x: f32[4, N, M], %y: f32[4, M, 8], %z: f32[K]) -> (r: f32[4, N, 8]) {\n"
      "  %r = generic (%x, %y) [h < 4, n < N, e < 8] sum [m < M] { %x[h, n, m] * %y[h, m, e] } : "
      "f32[4, N, 8]\n  yield %r\n}\n",
      PLAIN);
  each_size("merging",
            HEAD "entry @f(%x: f32[4, N, 8], %w: f32[M, 32], %z: f32[K]) -> (r: f32[N, M]) {\n"
                 "  %r = generic (%x, %w) [n < N, m < M] sum [h < 4, e < 8] { %x[h, n, e] * %w[m, "
                 "h * 8 + e] } : "
                 "f32[N, M]\n  yield %r\n}\n",
            PLAIN);
  each_size(
      "merged",
      HEAD
      "entry @f(%x: f32[4, N, 8], %w: f32[M, 32], %z: f32[N, M], %q: f32[K]) -> (r: f32[N, M]) {\n"
      "  %r = generic (%x, %w, %z) [n < N, m < M] sum [c < 32] { %x[c // 8, n, c % 8] * %w[m, c];\n"
      "    post acc + %z[n, m]; } : f32[N, M]\n  yield %r\n}\n",
      PLAIN);
  each_size("window",
            HEAD "entry @f(%x: f32[N, 16], %w: f32[M, 3, 16], %q: f32[K]) -> (r: f32[N, M]) {\n"
                 "  %r = generic (%x, %w) [n < N, m < M] sum [j < 3, c < 16] { %x[n + j - 1, c; "
                 "else 0.0] * %w[m, "
                 "j, c] } : f32[N, M]\n  yield %r\n}\n",
            PLAIN);
  each_size(
      "vector",
      HEAD
      "entry @f(%x: f32[K], %w: f32[M, K], %q: f32[N]) -> (r: f32[M]) {\n"
      "  %r = generic (%x, %w) [m < M] sum [k < K] { %x[k] * %w[m, k] } : f32[M]\n  yield %r\n}\n",
      PLAIN);
  each_size(
      "vector, rows",
      HEAD
      "entry @f(%x: f32[K], %w: f32[K, M], %q: f32[N]) -> (r: f32[M]) {\n"
      "  %r = generic (%x, %w) [m < M] sum [k < K] { %w[k, m] * %x[k] } : f32[M]\n  yield %r\n}\n",
      PLAIN);
}

// ---- sweeps by rows ----------------------------------------------------------------------------
static const char *const turns[] = {"N=0",  "N=1",  "N=3",    "N=4",    "N=5",    "N=8",
                                    "N=13", "N=16", "N=1023", "N=1024", "N=1025", "N=2053"};
Test(kernels, rows_without_lanes) {
  check_many(
      "a state of rows beside one of rows and lanes",
      "graph t f32\nsym N size\n"
      "entry @f(%x: f32[N, 40], %k: f32[N, 40]) -> (y: f32[N, 40], z: f32[40], w: f32[40]) {\n"
      "  %a = generic () [i < 40, j < 40] { 1.0 } : f32[40, 40]\n"
      "  %c = generic () [i < 40] { 0.0 } : f32[40]\n"
      "  %y, %z, %w = sweep {\n"
      "    %p, %q, %r, %e = scan extent N carried 3 (%a, %c, %c) { (%t: i32, %s: f32[40, 40], %u: "
      "f32[40], %v: f32[40])\n"
      "      %n = generic (%s, %x, %t) [i < 40, j < 40] { 0.5 * %s[i, j] + %x[i64(%t), j] } : "
      "f32[40, "
      "40]\n"
      "      %h = generic (%n) [j < 40] max [i < 40] { %n[i, j] } : f32[40]\n"
      "      %m = generic (%u, %k, %t) [i < 40] { %u[i] + %k[i64(%t), i] } : f32[40]\n"
      "      %o = generic (%v, %k, %t) [i < 40] { maximum(%v[i], %k[i64(%t), i]) } : f32[40]\n"
      "      yield %n, %m, %o, %h\n    } : f32[40, 40], f32[40], f32[40], f32[N, 40]\n"
      "    yield %e, %q, %r\n  } : f32[N, 40], f32[40], f32[40]\n  yield %y, %z, %w\n}\n",
      turns, 5, PLAIN);
}

// Powers in every turn and row, whose exponents' factor the rows have in common: near and far ones, and
// what is none, by lanes that fill vectors or do not.
static const char *const few[] = {"N=0", "N=1", "N=20"};
static void powers(const char *rows, const char *lanes, const char *exponent, const char *at,
                   bool near, const char *const *size) {
  const char *format =
      "graph t f32\nsym N size\n"
      "entry @f(%%u: f32[N, L], %%g: f32[N, L], %%a: f32[L, R], %%r: f32[R], %%b: f32[N, R], %%h: "
      "f32[L, "
      "R]) -> (y: f32[N, L], l: f32[L, R]) {\n"
      "  %%y, %%l = sweep {\n"
      "    %%p, %%e = scan extent N%s carried 1 (%%h) { (%%t: i32, %%s: f32[L, R])\n"
      "      %%n = generic (%%s, %%u, %%g, %%a, %%r, %%b, %%t) [d < L, k < R] { exp(%s) * %%s[d, "
      "k] + "
      "%%u[i64(%%t), d] * %%b[i64(%%t), k] } : f32[L, R]\n"
      "      %%o = generic (%%n, %%b, %%t) [d < L] sum [k < R] { %%n[d, k] * %%b[i64(%%t), k] } : "
      "f32[L]\n"
      "      yield %%n, %%o\n    } : f32[L, R], f32[N, L]\n"
      "    yield %%e, %%p\n  } : f32[N, L], f32[L, R]\n  yield %%y, %%l\n}\n";
  char text[4096], sized[8192];
  snprintf(text, sizeof text, format, at, exponent);
  uint32_t n = 0;
  for (const char *c = text; *c; c++) { // sizes in the places of their letters
    bool alone = c > text && !isalpha((unsigned char)c[-1]) && !isalpha((unsigned char)c[1]);
    const char *by = alone && *c == 'L' ? lanes : alone && *c == 'R' ? rows : NULL;
    n += (uint32_t)snprintf(sized + n, sizeof sized - n, by ? "%s" : "%.1s", by ? by : c);
  }
  slack = 16; // sums of terms of up to 256 that cancel
  check_many(exponent, sized, size, 3, PLAIN);
  // powers of f32 that are 0 make NaN of what is infinite, those of f64 that are not do not
  if (near) check_many(exponent, sized, size + 1, 2, SPECIAL);
  slack = 1;
}
Test(kernels, powers) {
  static const char *const exponent[] = {
      "-0.3 * abs(%g[i64(%t), d]) * abs(%a[d, k])",
      "neg(abs(%a[d, k])) * (%g[i64(%t), d] * %g[i64(%t), d])",
      "neg(abs(%g[i64(%t), d]) * abs(%r[k]))",
      "neg(abs(%g[i64(%t), d])) * sqrt(%a[d, k])",
      "neg(abs(%g[i64(%t), d])) * abs(%r[k]) * abs(%a[d, k])",
      "neg(abs(%g[i64(%t), d])) * abs(%a[d, k] + %b[i64(%t), k])",
      "60.0 * %g[i64(%t), d] * neg(abs(%a[d, k])) * %g[i64(%t), d]",
      "-0.9 * %g[i64(%t), d] * %g[i64(%t), d] * (%a[d, k] * %a[d, k])",
  };
  for (uint32_t i = 0; i < sizeof exponent / sizeof *exponent; i++) {
    if (i % 3 == 0) powers("16", "40", exponent[i], i & 1 ? " reversed" : "", i < 4, few);
    if (i % 3 == 1) powers("9", "13", exponent[i], "", i < 4, few);
    if (i % 3 == 2) powers(i > 6 ? "16" : "4", "24", exponent[i], "", i < 4, few);
  }
}

// Lanes of which a unit takes several groups of vectors by stretches of turns, the last unit one group, a
// vector and a part of one.
Test(kernels, stretches) {
  static const char *const many[] = {"N=63", "N=65", "N=130"};
  static const char *const exponent = "-2.0 * abs(%g[i64(%t), d]) * (0.5 + abs(%a[d, k]))";
  powers("17", "1116", exponent, "", false, many);
  powers("17", "1116", exponent, " reversed", false, many);
}

// The powers alone, of products that are exact: within two or three units in the last place.
Test(kernels, powers_of_exact_products) {
  static const char *const one[] = {"N=1"};
  slack = 0.06;
  check_many(
      "powers",
      "graph t f32\nsym N size\n"
      "entry @f(%g: f32[N, 600], %a: f32[600, 17]) -> (y: f32[N, 600], z: f32[600, 17]) {\n"
      "  %h = generic () [d < 600, k < 17] { 1.0 } : f32[600, 17]\n"
      "  %y, %z = sweep {\n"
      "    %p, %e = scan extent N carried 1 (%h) { (%t: i32, %s: f32[600, 17])\n"
      "      %n = generic (%s, %g, %a, %t) [d < 600, k < 17] { exp2(floor(256.0 * %g[i64(%t), d]) "
      "* 0.015625 * (floor(64.0 * %a[d, k]) * 0.015625)) * %s[d, k] } : f32[600, 17]\n"
      "      %o = generic (%n) [d < 600] max [k < 17] { %n[d, k] } : f32[600]\n"
      "      yield %n, %o\n    } : f32[600, 17], f32[N, 600]\n"
      "    yield %e, %p\n  } : f32[N, 600], f32[600, 17]\n  yield %y, %z\n}\n",
      one, 1, PLAIN);
  slack = 1;
}

// ---- sizes that make many tasks and several blocks ---------------------------------------------
#define BIG "graph t f32\nsym N size\nsym M size\nsite 0 \"outside\"\n"
Test(kernels, large) {
  check("blocks of columns",
        BIG "entry @f(%x: f32[N, 704], %y: f32[3100, 704]) -> (r: f32[N, 3100]) {\n"
            "  %r = generic (%x, %y) [n < N, m < 3100] sum [k < 704] { %x[n, k] * %y[m, k] } : "
            "f32[N, 3100]\n"
            "  yield %r\n}\n",
        "N=41", PLAIN);
  check("one row",
        BIG
        "entry @f(%x: f32[1, 704], %y: f32[3100, 704], %z: f32[704, 1500]) -> (r: f32[1, 3100], s: "
        "f32[1, 1500]) {\n"
        "  %r = generic (%x, %y) [n < 1, m < 3100] sum [k < 704] { %x[n, k] * %y[m, k] } : f32[1, "
        "3100]\n"
        "  %s = generic (%x, %z) [n < 1, m < 1500] sum [k < 704] { %x[n, k] * %z[k, m] } : f32[1, "
        "1500]\n"
        "  yield %r, %s\n}\n",
        "N=41", PLAIN);
  check(
      "batches",
      BIG
      "entry @f(%x: f32[60, N, 32], %y: f32[60, M, 32]) -> (r: f32[60, N, M]) {\n"
      "  %r = generic (%x, %y) [h < 60, n < N, m < M] sum [k < 32] { %x[h, n, k] * %y[h, m, k] } : "
      "f32[60, N, M]\n  yield %r\n}\n",
      "N=67 M=130", PLAIN);
  check("elements",
        BIG
        "entry @f(%x: f32[N, M], %y: f32[M]) -> (r: f32[N, M], s: f32[N], t: f32[M], u: f32) {\n"
        "  %r = generic (%x, %y) [n < N, m < M] { exp(%x[n, m]) * %y[m] } : f32[N, M]\n"
        "  %s = generic (%x) [n < N] sum [m < M] { %x[n, m] } : f32[N]\n"
        "  %t = generic (%x) [m < M] max [n < N] { %x[n, m] } : f32[M]\n"
        "  %u = generic (%x) [] mean [n < N, m < M] { %x[n, m] } : f32\n"
        "  yield %r, %s, %t, %u\n}\n",
        "N=301 M=1003", PLAIN);
  check("one long axis",
        BIG "entry @f(%x: f32[N]) -> (r: f32[N], s: i32) {\n"
            "  %r = generic (%x) [n < N] { %x[n] * %x[n] } : f32[N]\n"
            "  %s = generic (%x) [] argmax [n < N] { %x[n] } : i32\n"
            "  yield %r, %s\n}\n",
        "N=200003", PLAIN);
  check("scatter",
        BIG "entry @f(%x: f32[N, M], %at: i32[N]) -> (r: f32[5, M]) {\n"
            "  %r = generic (%x, %at) [] sum [n < N, m < M] keyed { at [i64(%at[n]), m]; %x[n, m] "
            "} : f32[5, M]\n"
            "  yield %r\n}\n",
        "N=1000 M=333", PLAIN);
  check("rows in order",
        BIG "entry @f(%x: f32[N, M]) -> (r: f32[N, M], s: f32[N, M], t: i32[N, M]) {\n"
            "  %r = sort axis 1 (%x) : f32[N, M]\n  %s = cumulate sum axis 0 (%x) : f32[N, M]\n"
            "  %t = argsort axis 0 (%x) : i32[N, M]\n  yield %r, %s, %t\n}\n",
        "N=100 M=257", PLAIN);
  check("softmax",
        BIG "entry @f(%x: f32[12, N, M]) -> (r: f32[12, N, M]) {\n"
            "  %r = group outer 2 {\n"
            "    %b = generic (%x) [h < 12, n < N] max [m < M] { where m <= n; %x[h, n, m] } : "
            "f32[12, N]\n"
            "    %c = generic (%x, %b) [h < 12, n < N, m < M] { select(m <= n, exp(%x[h, n, m] - "
            "%b[h, n]), 0.0) } "
            ": f32[12, N, M]\n"
            "    %d = generic (%c) [h < 12, n < N] sum [m < M] { %c[h, n, m] } : f32[12, N]\n"
            "    %e = generic (%c, %d) [h < 12, n < N, m < M] { %c[h, n, m] / %d[h, n] } : f32[12, "
            "N, M]\n"
            "    yield %e\n  } : f32[12, N, M]\n  yield %r\n}\n",
        "N=130 M=130", PLAIN);
}
