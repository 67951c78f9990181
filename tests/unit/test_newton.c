// Derivatives against differences; sweeps by Newton's method against the interpreter, which goes turn by
// turn, and against kernels that do: at sizes that are no multiples of anything, where steps do not
// converge, and with what is not finite.
#include "ir/derive.h"
#include "tests/unit/kernel_check.h"

// ---- derivatives -------------------------------------------------------------------------------
// One function of %a and %b: both derivatives at some points, in float64.
typedef struct rule {
  const char *expr;
  double a, b;
} rule;

static double value_at(sq_graph *g, double a, double b) {
  sq_eval *e = sq_eval_new(g, NULL, NULL);
  sq_tensor64 in[2] = {{.dtype = SQ_F64, .f = &a}, {.dtype = SQ_F64, .f = &b}}, *out;
  uint32_t n;
  cr_assert_eq(sq_eval_call(e, g->func.v[0], in, 2, &out, &n), SQ_OK);
  double v = out[0].f[0];
  sq_eval_free(e);
  return v;
}

static void differentiate(const rule *r) {
  sq_arena arena;
  char text[400];
  snprintf(text, sizeof text,
           "graph t f64\nentry @f(%%a: f64, %%b: f64) -> (y: f64) {\n"
           "  %%y = generic (%%a, %%b) [] { %s } : f64\n  yield %%y\n}\n",
           r->expr);
  ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena_init(&arena, sq_alloc_libc(), &ctx->guard);
  sq_graph *g = read_graph(&arena, r->expr, text);
  double h = 1e-5,
         want[2] = {(value_at(g, r->a + h, r->b) - value_at(g, r->a - h, r->b)) / (2 * h),
                    (value_at(g, r->a, r->b + h) - value_at(g, r->a, r->b - h)) / (2 * h)};
  sq_generic *k = g->func.v[0]->body->nodes.v[0]->g;
  bool *leaf = SQ_ARRAY(&arena, bool, k->s.n + 1);
  for (uint32_t j = 0; j < k->s.n; j++) leaf[j] = k->s.v[j].kind == SQ_SC_READ;
  sq_derivative d = sq_derive(g, k, k->body, leaf);
  cr_assert_null(d.why, "%s: %s", r->expr, d.why);
  for (uint32_t in = 0; in < 2; in++) {
    double sum = 0; // of reads of the same
    for (uint32_t j = 0; j < d.n; j++) {
      if (!leaf[j] || k->s.v[j].operand != in || d.by[j] == SQ_NO_SCALAR) continue;
      k->body = d.by[j];
      sum += value_at(g, r->a, r->b);
    }
    cr_assert(fabs(sum - want[in]) <= 1e-7 * (1 + fabs(want[in])), "%s by %c: %.12g, not %.12g",
              r->expr, 'a' + (int)in, sum, want[in]);
  }
  sq_arena_free(&arena);
  sq_ctx_free(ctx);
}

Test(newton, derivatives) {
  static const rule rules[] = {
      {"%a + %b - %a * %b", 0.3, -1.2},
      {"%a / %b", 0.7, 1.9},
      {"pow(%a, %b)", 1.3, 2.2},
      {"minimum(%a, %b) * 3.0_f64", 0.4, 0.9},
      {"maximum(%a, %b * 2.0_f64)", 0.4, 0.9},
      {"atan2(%a, %b)", 0.4, -0.9},
      {"neg(abs(%a)) + abs(%b)", -0.4, 0.9},
      {"exp(%a) * exp2(%b)", 0.4, 0.9},
      {"expm1(%a) * log(%b)", 0.4, 0.9},
      {"log2(%a) - log1p(%b)", 0.4, 0.9},
      {"sqrt(%a) * rsqrt(%b)", 0.4, 0.9},
      {"sin(%a) * cos(%b) + tan(%a)", 0.4, 0.9},
      {"tanh(%a * %b) + erf(%a - %b)", 0.4, 0.9},
      {"t0 = sigmoid(%a + %b); (1.0_f64 - t0) * %a + t0 * tanh(%b)", 0.4, 0.9},
      {"select(0.0_f64 < 1.0_f64, %a * %b, %a)", 0.4, 0.9},
      {"f64(f64(%a) * 2.0_f64) * %b", 0.4, 0.9},
      {"t0 = %a * %b; t1 = t0 * t0; t1 * t1 + t0", 0.4, 0.9},
      {"3.0_f64", 0.4, 0.9},
  };
  for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) differentiate(&rules[k]);
}

// ---- sweeps ------------------------------------------------------------------------------------
#ifndef CHECK_STRETCH
#define CHECK_STRETCH 128 // turns
#define CHECK_ONE "native"
#define CHECK_TURNS                                                                                \
  "N=3", "N=7", "N=16", "N=17", "N=31", "N=127", "N=128", "N=129", "N=145", "N=257", "N=1021"
#endif
static const char *const turns[] = {"N=0", "N=1", CHECK_TURNS};

// One state `c` (%c, %d; h0 = 1) with the next value `expr`, of a[t] and x[t]; the state before, too.
static char *cell(const char *form, const char *type, const char *how, const char *expr) {
  static char text[2][1600];
  static int turn;
  char *to = text[turn = !turn];
  snprintf(
      to, sizeof text[0],
      "graph t %s\nsym N size\nentry @f(%%a: %s[N], %%x: %s[N], %%h: %s) -> (y: %s[N], b: %s[N], "
      "l: %s) {\n"
      "  %%y, %%b, %%l = sweep %s {\n"
      "    %%p, %%e, %%f = scan extent N %s carried 1 (%%h) { (%%t: i32, %%c: %s)\n"
      "      %%d = generic (%%a, %%x, %%c, %%t) [] { t0 = %%a[i64(%%t)]; t1 = %%x[i64(%%t)]; %s } "
      ": %s\n"
      "      yield %%d, %%d, %%c\n    } : %s, %s[N], %s[N]\n"
      "    yield %%e, %%f, %%p\n  } : %s[N], %s[N], %s\n  yield %%y, %%b, %%l\n}\n",
      type, type, type, type, type, type, type, form, how, type, expr, type, type, type, type, type,
      type, type);
  return to;
}

static void newton(const char *name, const char *type, const char *how, const char *expr,
                   inputs kind) {
  check_many(name, cell("newton", type, how, expr), turns, sizeof turns / sizeof *turns, kind);
}

#define GATED "t2 = sigmoid(0.7 * %c + t0); (1.0 - t2) * %c + t2 * tanh(t1 - 0.9 * %c)"
Test(newton, cells) {
  newton("gated", "f32", "", GATED, PLAIN);
  newton("gated, backwards", "f32", "reversed", GATED, PLAIN);
  newton("rational", "f32", "", "0.3 * t1 / (1.0 + %c * %c)", PLAIN);
  newton("kinks", "f32", "", "0.5 * maximum(%c, t1) - 0.3 * abs(%c - t0)", PLAIN);
  newton("chosen", "f32", "reversed", "select(0.0 < t0, t1, tanh(%c))", PLAIN);
  newton("free of the state", "f32", "", "tanh(t1)", PLAIN);
  newton("of the turn", "f32", "", "tanh(%c * 0.1 * f32(i64(%t) % 7))", PLAIN);
  newton("f64", "f64", "", "t2 = sigmoid(%c + t0); (1.0_f64 - t2) * %c + t2 * tanh(t1)", PLAIN);
  newton("linear", "f32", "", "0.5 * %c + t1", PLAIN);
}
Test(newton, many_turns) {
  check_many("gated", cell("newton", "f32", "", GATED), (const char *[]){"N=100003"}, 1, PLAIN);
  cr_assert_eq(last_call.newton_stretches, (100003 + CHECK_STRETCH - 1) / CHECK_STRETCH);
  cr_assert_eq(last_call.newton_redone, 0);
  cr_assert(last_call.newton_iterations <= 6 * last_call.newton_stretches);
  cr_assert(last_call.newton_residual <= 1e-6);
}
Test(newton, not_finite) {
  newton("specials", "f32", "", "select(t0 < 0.0, t1, tanh(%c) + t1)", SPECIAL);
  newton("specials, backwards", "f32", "reversed", "tanh(%c) + select(t0 < 0.0, 0.0, t1)", SPECIAL);
}
Test(newton, several) {
  check_many(
      "two states, a sum of one of them, one that is moved on",
      "graph t f32\nsym N size\n"
      "entry @f(%x: f32[N, 3], %a: f32[3], %h: f32[3]) -> (y: f32[N, 3], z: f32[N, 3], l: "
      "f32[3], m: f32[3]) {\n"
      "  %y, %z, %l, %m = sweep newton {\n"
      "    %p, %q, %r, %g, %e, %f = scan extent N carried 4 (%h, %h, %h, %a) { (%t: i32, %c: "
      "f32[3], "
      "%s: f32[3], %o: f32[3], %w: f32[3])\n"
      "      %d = generic (%c, %s, %w, %x, %t) [k < 3] { t0 = sigmoid(%w[k] * %s[k] + 0.3 * "
      "%c[k]); t0 * %c[k] + (1.0 - t0) * tanh(%x[i64(%t), k] + %s[k]) } : f32[3]\n"
      "      %u = generic (%d, %s) [k < 3] { sigmoid(%d[k] - %s[k]) * tanh(%d[k]) } : f32[3]\n"
      "      %v = generic (%u, %o, %x, %t) [k < 3] { %u[k] * %x[i64(%t), k] + %o[k] } : f32[3]\n"
      "      yield %d, %u, %c, %w, %v, %o\n"
      "    } : f32[3], f32[3], f32[3], f32[3], f32[N, 3], f32[N, 3]\n"
      "    yield %e, %f, %p, %q\n  } : f32[N, 3], f32[N, 3], f32[3], f32[3]\n"
      "  yield %y, %z, %l, %m\n}\n",
      turns, sizeof turns / sizeof *turns, PLAIN);
  check_many("a small matrix in every turn",
             "graph t f32\nsym N size\n"
             "entry @f(%x: f32[N, 3], %w: f32[3, 3], %h: f32[3]) -> (y: f32[N, 3], l: f32[3]) {\n"
             "  %y, %l = sweep newton {\n"
             "    %p, %e = scan extent N carried 1 (%h) { (%t: i32, %c: f32[3])\n"
             "      %d = generic (%c, %w, %x, %t) [o < 3] sum [k < 3] { where k <= o; 0.2 * %w[o, "
             "k] * %c[k]; "
             "post tanh(acc + %x[i64(%t), o] - 0.1 * %c[o]) } : f32[3]\n"
             "      yield %d, %d\n    } : f32[3], f32[N, 3]\n"
             "    yield %e, %p\n  } : f32[N, 3], f32[3]\n  yield %y, %l\n}\n",
             turns, sizeof turns / sizeof *turns, PLAIN);
}
static void channels(int d) {
  char text[1200], name[32];
  snprintf(
      text, sizeof text,
      "graph t f32\nsym N size\n"
      "entry @f(%%x: f32[N, %d], %%a: f32[%d], %%h: f32[%d]) -> (y: f32[N, %d], l: f32[%d]) {\n"
      "  %%y, %%l = sweep newton {\n"
      "    %%p, %%e = scan extent N carried 1 (%%h) { (%%t: i32, %%c: f32[%d])\n"
      "      %%d = generic (%%c, %%a, %%x, %%t) [k < %d] { t0 = sigmoid(0.3 * %%a[k] * %%c[k]); t0 "
      "* "
      "%%c[k] + (1.0 - t0) * tanh(%%x[i64(%%t), k]) } : f32[%d]\n"
      "      yield %%d, %%d\n    } : f32[%d], f32[N, %d]\n"
      "    yield %%e, %%p\n  } : f32[N, %d], f32[%d]\n  yield %%y, %%l\n}\n",
      d, d, d, d, d, d, d, d, d, d, d, d);
  snprintf(name, sizeof name, "%d channels", d);
  check_many(name, text, turns, sizeof turns / sizeof *turns, PLAIN);
}
Test(newton, channels) {
  channels(1);
  channels(3);
  channels(8);
  channels(33);
}

// ---- what does not converge --------------------------------------------------------------------
// The outputs `y` of N turns, all inputs as in check.
static float *outputs(const char *text, int64_t n) {
  sq_arena arena;
  ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena_init(&arena, sq_alloc_libc(), &ctx->guard);
  sq_graph *g = read_graph(&arena, "cell", text);
  sq_target target = target_of(CHECK_ONE);
  plan(g);
  sq_abi_model *m = sq_codegen_describe(g, &target);
  sq_jit *jit;
  cr_assert_eq(sq_jit_new(g, &target, NULL, &jit, &message), SQ_OK, "%s", message);
  sq_abi_hooks hooks = sq_jit_hooks(jit);
  sq_entry_code code = hooks.compile(hooks.user, 0, 0, &message);
  cr_assert_not_null(code, "%s", message);
  device = hooks.device;
  kernels = device ? hooks.kernels(hooks.user, 0, 0) : NULL;
  float *a = calloc((size_t)n, 4), *x = calloc((size_t)n, 4), h = 0.3f;
  seed = 7;
  for (int64_t k = 0; k < n; k++) {
    a[k] = (float)(rnd() % 1000) / 1000;
    x[k] = (float)(rnd() % 1000) / 1000;
  }
  int64_t sym[32] = {0};
  for (int k = 1; k < 32; k++) sym[k] = n;
  void *in[3] = {a, x, &h};
  result r = run_compiled(g, m, code, sym, in, false);
  hooks.release(hooks.user);
  sq_arena_free(&arena);
  sq_ctx_free(ctx);
  free(a), free(x), free(r.out[1]), free(r.out[2]);
  return r.out[0];
}

// Of N turns by Newton's method and turn by turn: the largest difference.
static double apart(const char *expr, int64_t n) {
  float *one = outputs(cell("", "f32", "", expr), n);
  float *two = outputs(cell("newton", "f32", "", expr), n);
  double most = 0;
  for (int64_t k = 0; k < n; k++)
    if (fabs((double)one[k] - (double)two[k]) > most) most = fabs((double)one[k] - (double)two[k]);
  free(one), free(two);
  return most;
}

// The logistic map doubles every error: no guess of 128 turns is ever near. All is done turn by turn,
// in the very steps of the other kernel, and after failures most stretches are not even tried.
Test(newton, chaos) {
  cr_assert_eq(apart("3.9 * %c * (1.0 - %c) + 0.0 * (t0 + t1)", 12800), 0);
  cr_assert_eq(last_call.newton_stretches, 12800 / CHECK_STRETCH);
  cr_assert_eq(last_call.newton_redone, 12800 / CHECK_STRETCH);
  cr_assert(last_call.newton_iterations <= 70, "%lu iterations",
            (unsigned long)last_call.newton_iterations);
  cr_assert_eq(last_call.newton_residual, 0);
}
// Chaos in the first half alone: what converges later is solved for again.
Test(newton, chaos_for_a_while) {
  cr_assert_leq(
      apart("t2 = i64(%t); select(t2 < 6400, 3.9 * %c * (1.0 - %c), 0.5 * tanh(%c + t1) + "
            "0.0 * t0)",
            12800),
      1e-6);
  const unsigned long half = 6400 / CHECK_STRETCH, redone = (unsigned long)last_call.newton_redone;
  cr_assert(redone >= half && redone <= half + 32, "%lu", redone);
}
Test(newton, agrees) { cr_assert_leq(apart(GATED, 100003), 2e-6); }
