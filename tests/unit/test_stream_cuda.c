// Attention as kernels of a device against the interpreter: what test_stream.c asks of the CPU, under the
// emulation of CUDA, and what its kernels have besides: factors of 16 bits on tensor cores, split keys,
// blocks of columns.
#define CHECK_TARGETS "cuda-emu"
#include "tests/unit/test_stream.c"

// Sizes for which a width, a number of columns and of keys are known.
static char *wide_text(const char *type, int width, int columns, const char *where,
                       const char *post) {
  static char text[4096];
  snprintf(text, sizeof text,
           "graph t %1$s" REST
           "entry @f(%%q: %1$s[4, N, %2$d], %%k: %1$s[2, M, %2$d], %%v: %1$s[2, M, %3$d]) -> "
           "(r: %1$s[4, N, %3$d], l: %1$s[4, N]) {\n"
           "  %%r, %%p = stream {\n"
           "    %%s = generic (%%q, %%k) [h < 4, i < N, j < M] sum [e < %2$d] { %%q[h, i, e] * "
           "%%k[h // 2, j, e]; post %5$s } : %1$s[4, N, M]\n"
           "    %%m = generic (%%s) [h < 4, i < N] max [j < M] { %4$s%%s[h, i, j] } : %1$s[4, N]\n"
           "    %%w = generic (%%s, %%m) [h < 4, i < N, j < M] { exp(%%s[h, i, j] - %%m[h, i]) } "
           ": %1$s[4, N, M]\n"
           "    %%l = generic (%%w) [h < 4, i < N] sum [j < M] { %4$s%%w[h, i, j] } : %1$s[4, N]\n"
           "    %%u = generic (%%w, %%v, %%l) [h < 4, i < N, c < %3$d] sum [j < M] { %4$s%%w[h, i, "
           "j] * %%v[h // 2, j, c]; post select(0.0 < %%l[h, i], acc / %%l[h, i], 0.0) } : "
           "%1$s[4, N, %3$d]\n"
           "    yield %%u, %%l\n  } : %1$s[4, N, %3$d], %1$s[4, N]\n  yield %%r, %%p\n}\n",
           type, width, columns, where, post);
  return text;
}
static void wide_of(const char *type, int width, int columns, const char *where, const char *post,
                    inputs kind) {
  static const char *const some[] = {"N=1 M=1 K=1", "N=1 M=530 K=1", "N=3 M=300 K=1",
                                     "N=39 M=70 K=1", "N=70 M=200 K=1"};
  slack = 2 * SLACK;
  char name[80];
  snprintf(name, sizeof name, "%s, %d to %d, %s", type, width, columns, where);
  check_many(name, wide_text(type, width, columns, where, post), some, sizeof some / sizeof *some,
             kind);
}
static void wide(const char *type, int width, int columns, const char *where, const char *post) {
  wide_of(type, width, columns, where, post, PLAIN);
}
Test(stream, tensor_cores) {
  wide("bf16", 16, 24, "where j <= i + 2; ", "acc * 0.0625");
  wide("bf16", 40, 8, "", "tanh(acc * 0.0625) + bf16(j - i) * 0.03125");
  wide("f16", 64, 64, "where i - j < 9; ", "acc * 0.0625");
  wide("bf16", 12, 20, "where j <= i + 2; ", "acc * 0.0625"); // no vectors
  wide("bf16", 136, 264, "where j <= i + 2; ", "acc * 0.015625");
}
// On sm_90a by groups of four warps (SEQM_EMU_ARCH).
Test(stream, groups_of_warps) {
  wide("bf16", 64, 64, "", "acc * 0.0625");
  wide("bf16", 64, 64, "where i - j < 9, j <= i + 2; ",
       "tanh(acc * 0.0625) + bf16(j - i) * 0.03125");
  wide("bf16", 128, 128, "where j <= i + 60; ", "acc * 0.03125");
  wide("bf16", 60, 124, "where j <= i + 60, i % 3 != j % 5; ", "acc * 0.0625"); // no vectors
  wide("f16", 128, 64, "where j <= i or j < 3; ", "acc * 0.03125");
  wide_of("bf16", 64, 128, "where j <= i + 60; ",
          "select(0.0 < acc, bf16(j) * 0.03125, bf16(i) * 0.0625)",
          SPECIAL); // infinities and no numbers count where weights are
}
// Keys and values by boxes of their memory, on sm_90a: how they lie, and how they are read.
typedef struct laid {
  const char *name, *k, *at_k, *v, *at_v; // shape and position of either
  int width;
  const char *where;
  bool sigmoid;
} laid;
static char *laid_text(const laid *l) {
  static char text[4096];
  char *p = text, *end = text + sizeof text;
#define ADD(...) p += snprintf(p, (size_t)(end - p), __VA_ARGS__)
  ADD("graph t bf16" REST
      "entry @f(%%q: bf16[4, N, %d], %%k: bf16[%s], %%v: bf16[%s]) -> (r: bf16[4, N, 64]) {\n",
      l->width, l->k, l->v);
  ADD("  %%r = stream {\n    %%s = generic (%%q, %%k) [h < 4, i < N, j < M] sum [e < %d] { %%q[h, "
      "i, e] * "
      "%%k[%s]; post acc * 0.0625 } : bf16[4, N, M]\n",
      l->width, l->at_k);
  if (!l->sigmoid) {
    ADD("    %%m = generic (%%s) [h < 4, i < N] max [j < M] { %s%%s[h, i, j] } : bf16[4, N]\n",
        l->where);
    ADD("    %%w = generic (%%s, %%m) [h < 4, i < N, j < M] { exp(%%s[h, i, j] - %%m[h, i]) } : "
        "bf16[4, N, M]\n");
    ADD("    %%l = generic (%%w) [h < 4, i < N] sum [j < M] { %s%%w[h, i, j] } : bf16[4, N]\n",
        l->where);
  }
  ADD("    %%u = generic (%s, %%v%s) [h < 4, i < N, c < 64] sum [j < M] { %s%s * %%v[%s]%s } : "
      "bf16[4, N, 64]\n",
      l->sigmoid ? "%s" : "%w", l->sigmoid ? "" : ", %l", l->where,
      l->sigmoid ? "sigmoid(%s[h, i, j])" : "%w[h, i, j]", l->at_v,
      l->sigmoid ? "" : "; post select(0.0 < %l[h, i], acc / %l[h, i], 0.0)");
  ADD("    yield %%u\n  } : bf16[4, N, 64]\n  yield %%r\n}\n");
#undef ADD
  return text;
}
Test(stream, boxes_of_keys) {
  static const char *const some[] = {"N=17 M=1 K=1", "N=39 M=70 K=1", "N=70 M=200 K=1"};
  static const laid all[] = {
      {"apart", "2, M, 64", "h // 2, j, e", "2, M, 64", "h // 2, j, c", 64, "where j <= i + 60; ",
       true},
      {"inside the rows", "M, 2, 64", "j, h // 2, e", "M, 2, 64", "j, h // 2, c", 64,
       "where i - j < 70, j <= i + 90; ", false},
      {"side by side in a row", "M, 128", "j, h // 2 * 64 + e", "M, 128", "j, h // 2 * 64 + c", 64,
       "where j <= i + 90; ", false},
      {"of one of four", "3, M, 2, 64", "1, j, h // 2, e", "M, 3, 2, 64", "j, 2, h // 2, c", 64, "",
       true},
      {"narrower", "2, M, 56", "h // 2, j, e", "2, M, 64", "h // 2, j, c", 56, "", false},
      {"from the end", "2, M, 64", "h // 2, dim(M) - 1 - j, e", "2, M, 64", "h // 2, j, c", 64, "",
       false},
  };
  slack = 2 * SLACK;
  for (size_t k = 0; k < sizeof all / sizeof *all; k++)
    check_many(all[k].name, laid_text(&all[k]), some, sizeof some / sizeof *some, PLAIN);
}
Test(stream, multiply_adds) {
  wide("f32", 40, 136, "where j <= i + 2; ", "acc * 0.0625");
  wide("f32", 72, 64, "", "acc * 0.0625");
  wide("f64", 40, 72, "where j <= i + 2; ", "acc * 0.0625");
}
