// Contractions of f32 on tensor cores, as tf32: what the kernels are given has at most 11 bits, so that
// nothing is rounded, and the results are those of f32.
#define CHECK_TARGETS "cuda-emu tf32"
#include "kernel_check.h"

static void product(const char *name, const char *a, const char *b, const char *body,
                    const char *sizes) {
  char text[1000];
  snprintf(
      text, sizeof text,
      "graph t f32\nsym M size\nsym K size\nsym N size\n"
      "entry @f(%%a: %s, %%b: %s) -> (y: f32[M, N]) {\n"
      "  %%y = generic (%%a, %%b) [m < M, n < N] sum [k < K] { %s; post acc * 0.0625 } : f32[M, "
      "N]\n  yield %%y\n}\n",
      a, b, body);
  check(name, text, sizes, PLAIN);
}
Test(tf32, sizes) {
  static const char *const sizes[] = {"M=16 K=16 N=16", "M=128 K=32 N=64", "M=129 K=33 N=65",
                                      "M=17 K=1 N=5",   "M=5 K=0 N=40",    "M=0 K=9 N=9"};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    product("by rows", "f32[M, K]", "f32[N, K]", "%a[m, k] * %b[n, k]", sizes[i]);
    product("by columns", "f32[K, M]", "f32[K, N]", "%a[k, m] * %b[k, n]", sizes[i]);
  }
}
Test(tf32, whole_vectors) {
  check("vectors of 4",
        "graph t f32\nsym N size\n"
        "entry @f(%a: f32[N, 36], %b: f32[40, 36]) -> (y: f32[N, 40]) {\n"
        "  %y = generic (%a, %b) [m < N, n < 40] sum [k < 36] { %a[m, k] * %b[n, k]; post acc * "
        "0.0625 } : f32[N, 40]\n  yield %y\n}\n",
        "N=70", PLAIN);
}
Test(tf32, other_factors) {
  product("of bf16", "bf16[M, K]", "f32[N, K]", "f32(%a[m, k]) * %b[n, k]", "M=40 K=40 N=40");
  product("of f16", "f16[M, K]", "f32[N, K]", "f32(%a[m, k]) * %b[n, k]", "M=40 K=40 N=40");
}
