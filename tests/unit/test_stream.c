// Attention kernels against the interpreter: every kind of weight, domain, operand and type, at sizes that
// are no multiples of anything.
#include "tests/unit/kernel_check.h"

// What stands in a body; NULL: the usual.
typedef struct attention {
  const char *name, *type;
  const char *q, *k, *v;    // how operands are read
  const char *tq, *tk, *tv; // their shapes
  const char *extra;        // more inputs: ", %b: f32[N, M]"
  const char *post;         // what the score ends with
  const char *where;        // "where j <= i; "
  const char *uses;         // inputs that the conditions read: ", %b"
  const char *rows;         // row axes
  const char *at;           // the same as positions
  const char *shape;        // extents
  const char *weight;       // of plain attention: of %s
  const char *ends;         // of the value
} attention;

static const char * or (const char *s, const char *usual) { return s ? s : usual; }

static char *text_of(const attention *a) {
  static char text[8192];
  const char *t = or (a->type, "f32"), *uses = or (a->uses, "");
  const char *rows = or (a->rows, "i < N"), *at = or (a->at, "i"), *where = or (a->where, "");
  const char *shape = or (a->shape, "N");
  bool any = *rows;
  const char *comma = any ? ", " : "";
  char *p = text, *end = text + sizeof text;
#define PUT(...) p += snprintf(p, (size_t)(end - p), __VA_ARGS__)
  PUT("graph t %s%s", t, REST);
  PUT("entry @f(%%q: %s[%s], %%k: %s[%s], %%v: %s[%s]%s) -> (r: %s[%s%s11]) {\n", t,
      or (a->tq, "N, K"), t, or (a->tk, "M, K"), t, or (a->tv, "M, 11"), or (a->extra, ""), t,
      shape, comma);
  PUT("  %%r = stream {\n    %%s = generic (%%q, %%k%s) [%s%sj < M] sum [e < K] { %s * %s; post %s "
      "} "
      ": %s[%s%sM]\n",
      uses, rows, comma, or (a->q, "%q[i, e]"), or (a->k, "%k[j, e]"), or (a->post, "acc * 0.0625"),
      t, shape, comma);
  const char *open = any ? "[" : "", *close = any ? "]" : "";
  if (!a->weight) {
    PUT("    %%m = generic (%%s%s) [%s] max [j < M] { %s%%s[%s%sj] } : %s%s%s%s\n", uses, rows,
        where, at, comma, t, open, shape, close);
    PUT("    %%w = generic (%%s, %%m) [%s%sj < M] { exp(%%s[%s%sj] - %%m%s%s%s) } : %s[%s%sM]\n",
        rows, comma, at, comma, open, at, close, t, shape, comma);
    PUT("    %%l = generic (%%w%s) [%s] sum [j < M] { %s%%w[%s%sj] } : %s%s%s%s\n", uses, rows,
        where, at, comma, t, open, shape, close);
  }
  const char *ends = a->ends     ? a->ends
                     : a->weight ? ""
                     : any       ? "; post select(0.0 < %l[ROWS], acc / %l[ROWS], 0.0)"
                                 : "; post select(0.0 < %l, acc / %l, 0.0)";
  char post[256] = "";
  for (const char *c = ends; *c;) {
    bool here = strncmp(c, "ROWS", 4) == 0;
    strncat(post, here ? at : (char[]){*c, 0}, sizeof post - strlen(post) - 1);
    c += here ? 4 : 1;
  }
  PUT("    %%u = generic (%s, %%v%s%s) [%s%sc < 11] sum [j < M] { %s%s * %s%s } : %s[%s%s11]\n",
      a->weight ? "%s" : "%w", a->weight ? "" : ", %l", uses, rows, comma, where,
      a->weight ? a->weight
      : any     ? "%w[ROWS, j]"
                : "%w[j]",
      or (a->v, "%v[j, c]"), post, t, shape, comma);
  PUT("    yield %%u\n  } : %s[%s%s11]\n  yield %%r\n}\n", t, shape, comma);
#undef PUT
  for (char *c; (c = strstr(text, "ROWS"));) { // in the weight
    char rest[4096];
    snprintf(rest, sizeof rest, "%s", c + 4);
    snprintf(c, (size_t)(end - c), "%s%s", at, rest);
  }
  return text;
}
static const char *const sizes[] = {"N=1 M=1 K=1",     "N=5 M=3 K=7",    "N=37 M=67 K=13",
                                    "N=0 M=4 K=5",     "N=4 M=0 K=3",    "N=16 M=64 K=0",
                                    "N=130 M=131 K=8", "N=23 M=200 K=33"};
// Sums of up to 200 products, exp of scores of up to 30.
enum { SLACK = 8 };
static void run(attention a, inputs kind) {
  slack = SLACK;
  check_many(a.name, text_of(&a), sizes, sizeof sizes / sizeof *sizes, kind);
}

Test(stream, softmax) {
  run((attention){.name = "plain"}, PLAIN);
  run((attention){.name = "special"}, SPECIAL);
  run((attention){.name = "f64", .type = "f64"}, PLAIN);
  run((attention){.name = "f16", .type = "f16"}, PLAIN);
  run((attention){.name = "bf16", .type = "bf16"}, PLAIN);
  run((attention){.name = "by hand", .ends = "; post acc / %l[ROWS]"}, PLAIN);
  run((attention){.name = "score", .post = "tanh(acc * 0.0625) + f32(j - i) * 0.03125"}, PLAIN);
  run((attention){.name = "bias",
                  .extra = ", %b: f32[N, M], %g: f32[N]",
                  .uses = ", %b, %g",
                  .post = "acc / (2.0 + abs(%g[i])) + %b[i, j]"},
      PLAIN);
}
Test(stream, cut_otherwise) { // as --tune may have it
  for (cut_try = 1; cut_try < SQ_CUT_TRIES; cut_try++) {
    run((attention){.name = "plain"}, PLAIN);
    run((attention){.name = "causal", .where = "where j <= i; "}, PLAIN);
    run((attention){.name = "f64", .type = "f64"}, PLAIN);
  }
}
Test(stream, domains) {
  static const char *const where[] = {
      "where j <= i; ",
      "where j <= i, i - j < 5; ",
      "where j <= i or j < 3; ",
      "where i // 4 == j // 4; ",
      "where not i + 2 < j; ",
      "where j < i64(%n); ",
      "where i64(%n) <= j, j + 1 < dim(M); ",
      "where %b[j]; ",
      "where %c[i, j], j <= i; ",
      "where j <= i * 2 - i64(%n); ",
      "where i % 3 == j % 3; ",
      "where j // 2 <= i // 3, j != i; ",
      "where i64(%n) < 2; ",
      "where i < 3; ",
  };
  for (size_t k = 0; k < sizeof where / sizeof *where; k++) {
    attention a = {.name = where[k],
                   .where = where[k],
                   .extra = ", %n: i32, %b: bool[M], %c: bool[N, M]",
                   .uses = ", %n, %b, %c"};
    run(a, PLAIN);
    a.weight = "sigmoid(%s[i, j])";
    run(a, PLAIN);
  }
  run((attention){.name = "causal, special", .where = "where j <= i; "}, SPECIAL);
  run((attention){.name = "constant instead", .post = "select(j <= i, acc * 0.0625, -1e9)"}, PLAIN);
  run((attention){.name = "-inf instead", .post = "select(j <= i, acc * 0.0625, -inf)"}, PLAIN);
  // values that only the domain keeps inside
  run((attention){.name = "short values", .where = "where j < 3; ", .tv = "3, 11"}, PLAIN);
}
Test(stream, weights) {
  static const char *const weight[] = {"%s[ROWS, j]", "sigmoid(%s[ROWS, j])",
                                       "maximum(%s[ROWS, j], 0.0)", "exp(%s[ROWS, j] * 0.125)",
                                       "(%s[ROWS, j] * %s[ROWS, j] / (1.0 + f32(j)))"};
  for (size_t k = 0; k < sizeof weight / sizeof *weight; k++) {
    run((attention){.name = weight[k], .weight = weight[k]}, PLAIN);
    run((attention){.name = weight[k], .weight = weight[k], .where = "where j <= i; "}, PLAIN);
  }
  run((attention){.name = "special", .weight = "sigmoid(%s[ROWS, j])"}, SPECIAL);
  run((attention){.name = "f64", .type = "f64", .weight = "sigmoid(%s[ROWS, j])"}, PLAIN);
}
Test(stream, operands) {
  run((attention){.name = "transposed",
                  .tq = "K, N",
                  .q = "%q[e, i]",
                  .tk = "K, M",
                  .k = "%k[e, j]",
                  .tv = "11, M",
                  .v = "%v[c, j]"},
      PLAIN);
  run((attention){.name = "computed",
                  .q = "(%q[i, e] + 0.5)",
                  .k = "cos(%k[j, e])",
                  .v = "(%v[j, c] * %v[j, 0])"},
      PLAIN);
  run((attention){.name = "heads",
                  .rows = "h < 3, i < N",
                  .at = "h, i",
                  .shape = "3, N",
                  .tq = "N, 3 * K",
                  .q = "%q[i, h * dim(K) + e]",
                  .tk = "3, M, K",
                  .k = "%k[h, j, e]",
                  .tv = "M, 40",
                  .v = "%v[j, c + h * 11]",
                  .where = "where j <= i; "},
      PLAIN);
  run((attention){.name = "shared keys",
                  .rows = "i < N, h < 4",
                  .at = "i, h",
                  .shape = "N, 4",
                  .tq = "N, 4, K",
                  .q = "%q[i, h, e]",
                  .tk = "2, M, K",
                  .k = "%k[h // 2, j, e]",
                  .tv = "2, M, 11",
                  .v = "%v[h // 2, j, c]",
                  .where = "where j <= i; "},
      PLAIN);
  run((attention){.name = "one query",
                  .rows = "h < 6",
                  .at = "h",
                  .shape = "6",
                  .tq = "6, K",
                  .q = "%q[h, e]",
                  .tk = "2, M, K",
                  .k = "%k[h // 3, j, e]",
                  .tv = "2, M, 11",
                  .v = "%v[h // 3, j, c]",
                  .extra = ", %n: i32",
                  .uses = ", %n",
                  .where = "where j <= i64(%n) * 9; "},
      PLAIN);
  run((attention){.name = "keys of each row", .tk = "N, M, K", .k = "%k[i, j, e]"}, PLAIN);
  run((attention){.name = "no rows", .rows = "", .at = "", .shape = "", .tq = "K", .q = "%q[e]"},
      PLAIN);
}
// 16 bits are widened where rows lie along the lanes, read in place where they go one by one, and else
// packed.
Test(stream, bf16) {
  attention all[] = {
      {.name = "causal", .where = "where j <= i; "},
      {.name = "sigmoid", .where = "where j <= i; ", .weight = "sigmoid(%s[ROWS, j])"},
      {.name = "short values", .where = "where j < 3; ", .tv = "3, 11"},
      {.name = "keys transposed", .tk = "K, M", .k = "%k[e, j]"},
      {.name = "values transposed", .tv = "11, M", .v = "%v[c, j]"},
      {.name = "lines in lines",
       .tk = "M, 3 * K",
       .k = "%k[j, e + dim(K)]",
       .tv = "M, 40",
       .v = "%v[j, c + 29]"},
      {.name = "keys of each row", .tk = "N, M, K", .k = "%k[i, j, e]"},
      {.name = "no rows", .rows = "", .at = "", .shape = "", .tq = "K", .q = "%q[e]"},
      {.name = "one query",
       .rows = "h < 6",
       .at = "h",
       .shape = "6",
       .tq = "6, K",
       .q = "%q[h, e]",
       .tk = "2, M, K",
       .k = "%k[h // 3, j, e]",
       .tv = "2, M, 11",
       .v = "%v[h // 3, j, c]"},
  };
  for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
    all[k].type = "bf16";
    run(all[k], PLAIN);
  }
}
// Where the processor multiplies pairs, tiles do.
Test(stream, pairs_in_hardware) {
  sq_arena arena;
  ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena_init(&arena, sq_alloc_libc(), &ctx->guard);
  attention a = {.name = "pairs", .type = "bf16", .where = "where j <= i; "};
  const char *text = text_of(&a);
  sq_graph *g = read_graph(&arena, a.name, text);
  plan(g);
  for (int with = 0; with < 2; with++) {
    sq_target t;
    sq_text code = {.arena = &arena};
    cr_assert_eq(sq_target_find(ctx, "x86-64-v4", &t, &message), SQ_OK, "%s", message);
    if (with) t.features = sq_arena_fmt(&arena, "%s,+avx512bf16", t.features);
    t.machine.bf16 = with;
    cr_assert_eq(sq_codegen_text(g, &t, NULL, true, &code, &message), SQ_OK, "%s", message);
    cr_assert_eq(strstr(code.v, "vdpbf16ps") != NULL, with == 1);
    cr_assert_eq(strstr(code.v, "vcvtneps2bf16") != NULL, with == 1);
  }
  sq_arena_free(&arena);
  sq_ctx_free(ctx);
}
Test(stream, statistics) {
  slack = SLACK;
  check_many(
      "statistics",
      HEAD
      "entry @f(%q: f32[N, K], %k: f32[M, K], %v: f32[M, 11], %z: f32) -> (o: f32[N, 11], m: "
      "f32[N], "
      "l: f32[N], p: f32[N], t: f32[N]) {\n"
      "  %o, %m, %l, %p, %t = stream {\n"
      "    %s = generic (%q, %k) [i < N, j < M] sum [e < K] { %q[i, e] * %k[j, e]; post acc * "
      "0.0625 } "
      ": f32[N, M]\n"
      "    %a = generic (%s) [i < N] max [j < M] { where j <= i + 2; %s[i, j] } : f32[N]\n"
      "    %w = generic (%s, %a) [i < N, j < M] { exp2((%s[i, j] - %a[i]) * 0.5) } : f32[N, M]\n"
      "    %b = generic (%w, %a) [i < N] sum [j < M] { where j <= i + 2; %w[i, j]; post acc + 0.5 "
      "} : "
      "f32[N]\n"
      "    %d = generic (%w, %b) [i < N] sum [j < M] { where j <= i + 2, 1 < j; %w[i, j]; post acc "
      "/ "
      "%b[i] } : f32[N]\n"
      "    %g = generic (%a, %b, %z) [i < N] { maximum(%a[i], %z) + log(%b[i]) } : f32[N]\n"
      "    %h = generic (%w, %s) [i < N] sum [j < M] { where j <= i + 2; %w[i, j] * (%s[i, j] + "
      "f32(j)) } : f32[N]\n"
      "    %u = generic (%w, %v, %h, %g) [i < N, c < 11] sum [j < M] { where j <= i + 2, j != 4; "
      "%w[i, j] / (1.0 + f32(j)) * %v[j, c]; post acc + %h[i] * %g[i] * 0.125 } : f32[N, 11]\n"
      "    yield %u, %a, %b, %d, %g\n"
      "  } : f32[N, 11], f32[N], f32[N], f32[N], f32[N]\n"
      "  yield %o, %m, %l, %p, %t\n}\n",
      sizes, sizeof sizes / sizeof *sizes, PLAIN);
}
