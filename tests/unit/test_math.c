// Elementary functions of compiled code against MPFR: the bounds stated in codegen/cpu/math.h, on
// targets with and without fused multiply-add, for random arguments of the whole range, arguments
// near the points where methods meet, and the special values of C.
#include "codegen/codegen.h"
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <mpfr.h>
#include <stdlib.h>

typedef struct function {
  const char *name;
  int (*of)(mpfr_t, const mpfr_t, mpfr_rnd_t);
  int (*of2)(mpfr_t, const mpfr_t, const mpfr_t, mpfr_rnd_t);
  double bound32, bound64; // ulp
  double near[4];          // arguments of interest
} function;
static int sigmoid(mpfr_t r, const mpfr_t x, mpfr_rnd_t m) {
  mpfr_neg(r, x, m);
  mpfr_exp(r, r, m);
  mpfr_add_ui(r, r, 1, m);
  return mpfr_ui_div(r, 1, r, m);
}
// MPFR's own gives inf for -0, C's 1 / sqrt(-0) is -inf.
static int rsqrt(mpfr_t r, const mpfr_t x, mpfr_rnd_t m) {
  mpfr_sqrt(r, x, m);
  return mpfr_ui_div(r, 1, r, m);
}
static const function functions[] = {
    {"exp", mpfr_exp, NULL, 1.5, 1.5, {88.7, -87.3, -103.5, 709.7}},
    {"exp2", mpfr_exp2, NULL, 1.5, 1.5, {127.9, -126, -149.2, 1023.9}},
    {"expm1", mpfr_expm1, NULL, 2.5, 2.5, {0.3466, -0.3466, 88.7, -17}},
    {"log", mpfr_log, NULL, 1.5, 1.5, {1, 1.41421356, 0.70710678, 1e-40}},
    {"log2", mpfr_log2, NULL, 2.5, 2.5, {1, 1.41421356, 0.70710678, 1e-40}},
    {"log1p", mpfr_log1p, NULL, 2.5, 2.5, {0, 0.41421356, -0.29289321, -0.999}},
    {"sigmoid", sigmoid, NULL, 2.5, 2.5, {0, -88, -100, 17}},
    {"tanh", mpfr_tanh, NULL, 4.5, 3.5, {0, 9.01, 0.17, 19}},
    {"erf", mpfr_erf, NULL, 4.5, 2.5, {0.9277, 1, 3.9, 5.9}},
    {"sin", mpfr_sin, NULL, 1.5, 1.5, {3.14159265358979, 0.785398, 1048576, 355}},
    {"cos", mpfr_cos, NULL, 1.5, 1.5, {1.5707963267949, 0.785398, 1048576, 22}},
    {"tan", mpfr_tan, NULL, 3.5, 3.5, {1.5707963267949, 0.785398, 1048576, 3.14159265358979}},
    {"rsqrt", rsqrt, NULL, 1.5, 1.5, {1, 2, 1e-40, 1e30}},
    {"pow", NULL, mpfr_pow, 1.0, 2.5, {1, 0.99, 2, -3}},
    {"atan2", NULL, mpfr_atan2, 2.5, 2.5, {1, 0.41421356, -1, 1e-3}},
};
enum { N_FUNCTIONS = sizeof functions / sizeof *functions, COUNT = 6000 };

static uint64_t seed = 7;
static uint64_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed;
}
static double unit(void) { return (double)(rnd() >> 11) * 0x1p-53; }
static double any(bool wide) {
  union {
    uint32_t u;
    float f;
  } a = {(uint32_t)(rnd() >> 20)};
  union {
    uint64_t u;
    double f;
  } b = {rnd()};
  return wide ? b.f : (double)a.f;
}
static double rounded(bool wide, double x) { return wide ? x : (double)(float)x; }
static double argument(const function *f, bool wide, int k) {
  static const double special[] = {0.0,      -0.0,     INFINITY, -INFINITY, NAN,  1,       -1,
                                   0.5,      2,        -2,       3,         -3,   FLT_MIN, FLT_MAX,
                                   -FLT_MAX, 0x1p-149, DBL_MIN,  DBL_MAX,   -0.5, 1e-310};
  enum { S = sizeof special / sizeof *special };
  if (k < S * S) return rounded(wide, f->of2 ? special[k / S] : special[k % S]);
  switch (k % 6) {
  case 0:
    return any(wide);
  case 1:
    return rounded(wide, (unit() - 0.5) * 20);
  case 2:
    return rounded(wide, (unit() - 0.5) * 200);
  case 3:
    return rounded(wide, f->near[rnd() % 4] * (1 + (unit() - 0.5) * (rnd() % 2 ? 1e-2 : 1e-6)));
  case 4:
    return rounded(wide, (unit() - 0.5) * ldexp(1, -(int)(rnd() % 40)));
  default:
    return rounded(wide, unit() * ldexp(1, (int)(rnd() % 30)));
  }
}
// The other argument of a pair: the special values meet each other.
static double second(const function *f, bool wide, int k) {
  function plain = *f;
  plain.of2 = NULL;
  if (k < 400) return argument(&plain, wide, k);
  return k % 3 == 0 ? rounded(wide, (double)((int)(rnd() % 41) - 20))
                    : argument(&plain, wide, k + (int)(rnd() % 6));
}

static double ulps(bool wide, double got, const mpfr_t exact) {
  double e = mpfr_get_d(exact, MPFR_RNDN);
  if (!wide) {
    mpfr_t t;
    mpfr_init2(t, 24);
    mpfr_set(t, exact, MPFR_RNDN);
    e = (double)mpfr_get_flt(exact, MPFR_RNDN);
    mpfr_clear(t);
  }
  if (isnan(e)) return isnan(got) ? 0 : INFINITY;
  if (isnan(got)) return INFINITY;
  if (e == got) return e == 0 && !signbit(e) != !signbit(got) ? 1e6 : 0;
  if (isinf(e) || isinf(got)) { // one of them just rounds over
    double top = wide ? DBL_MAX : FLT_MAX, f = isinf(e) ? got : e;
    return fabs(f) >= top * (1 - 0x1p-20) && signbit(e) == signbit(got) ? 1 : INFINITY;
  }
  mpfr_t d;
  mpfr_init2(d, 300);
  mpfr_sub_d(d, exact, got, MPFR_RNDN);
  int least = wide ? -1074 : -149, digits = wide ? 53 : 24;
  long exponent = mpfr_zero_p(exact) ? least : mpfr_get_exp(exact) - digits;
  mpfr_mul_2si(d, d, -(exponent < least ? least : exponent), MPFR_RNDN);
  double r = fabs(mpfr_get_d(d, MPFR_RNDN));
  mpfr_clear(d);
  return r;
}

static void parallel(void *pool, int64_t n, sq_task fn, void *closure) {
  (void)pool;
  for (int64_t i = 0; i < n; i++) fn(closure, i, 0);
}
static void run(const char *target_name, const function *f, bool wide, void *x, void *y,
                void *out) {
  char text[512], call[64];
  const char *t = wide ? "f64" : "f32", *message;
  snprintf(call, sizeof call, f->of2 ? "%s(%%x[i], %%y[i])" : "%s(%%x[i])", f->name);
  snprintf(text, sizeof text,
           "graph t %s\nentry @f(%%x: %s[%d], %%y: %s[%d]) -> (r: %s[%d]) {\n"
           "  %%r = generic (%%x, %%y) [i < %d] { %s } : %s[%d]\n  yield %%r\n}\n",
           t, t, COUNT, t, COUNT, t, COUNT, COUNT, call, t, COUNT);
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_graph *g = sq_graph_read(ctx, &ctx->arena, "t.sir", text, strlen(text));
  cr_assert(g, "%s", sq_diags_render(&ctx->diags));
  sq_func *fn = g->func.v[0];
  for (uint32_t k = 0; k < 2; k++) {
    fn->body->args.v[k]->store = SQ_STORE_INPUT;
    fn->body->args.v[k]->store_index = k;
  }
  fn->body->nodes.v[0]->out[0]->store = SQ_STORE_OUTPUT;
  fn->planned = true;
  sq_target target;
  cr_assert_eq(sq_target_find(ctx, target_name, &target, &message), SQ_OK, "%s", message);
  sq_codegen_describe(g, &target);
  sq_jit *jit;
  cr_assert_eq(sq_jit_new(g, &target, NULL, &jit, &message), SQ_OK, "%s", message);
  sq_abi_hooks hooks = sq_jit_hooks(jit);
  sq_entry_code code = hooks.compile(hooks.user, 0, 0, &message);
  cr_assert_not_null(code, "%s", message);
  int64_t sym[4] = {1};
  void *in[2] = {x, y}, *outs[1] = {out};
  static char arena[4096] __attribute__((aligned(64)));
  sq_call c = {.sym = sym, .in = in, .out = outs, .arena = arena, .parallel = parallel};
  cr_assert_eq(code(&c), 0);
  hooks.release(hooks.user);
  sq_ctx_free(ctx);
}
static void measure(const char *target, const function *f, bool wide) {
  double *x = calloc(COUNT, 8), *y = calloc(COUNT, 8);
  float *x32 = calloc(COUNT, 4), *y32 = calloc(COUNT, 4), *out32 = calloc(COUNT, 4);
  double *out = calloc(COUNT, 8), worst = 0, at = 0, at2 = 0, gave = 0;
  for (int k = 0; k < COUNT; k++) {
    x[k] = argument(f, wide, k);
    y[k] = second(f, wide, k);
    x32[k] = (float)x[k], y32[k] = (float)y[k];
  }
  run(target, f, wide, wide ? (void *)x : x32, wide ? (void *)y : y32, wide ? (void *)out : out32);
  mpfr_t a, b, r;
  mpfr_inits2(300, a, b, r, (mpfr_ptr)0);
  for (int k = 0; k < COUNT; k++) {
    double got = wide ? out[k] : (double)out32[k];
    mpfr_set_d(a, x[k], MPFR_RNDN);
    mpfr_set_d(b, y[k], MPFR_RNDN);
    if (f->of2)
      f->of2(r, a, b, MPFR_RNDN);
    else
      f->of(r, a, MPFR_RNDN);
    double u = ulps(wide, got, r);
    if (u > worst) worst = u, at = x[k], at2 = y[k], gave = got;
  }
  mpfr_clears(a, b, r, (mpfr_ptr)0);
  mpfr_free_cache();
  if (getenv("SHOW_ULPS"))
    printf("%-10s %-8s %s %.3f ulp at %.17g %.17g -> %.17g\n", target, f->name,
           wide ? "f64" : "f32", worst, at, at2, gave);
  cr_expect(worst <= (wide ? f->bound64 : f->bound32),
            "%s of %s on %s: %g ulp at %.17g %.17g: %.17g", f->name, wide ? "f64" : "f32", target,
            worst, at, at2, gave);
  free(x), free(y), free(x32), free(y32), free(out32), free(out);
}
static bool runs_here(const char *target) {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (strcmp(target, "x86-64-v4") == 0) return __builtin_cpu_supports("avx512vl");
  return true;
#else
  return strcmp(target, "native") == 0;
#endif
}
Test(math, bounds) {
  static const char *const targets[] = {"native", "x86-64-v2", "x86-64-v4"};
  for (int t = 0; t < 3; t++)
    for (int i = 0; runs_here(targets[t]) && i < N_FUNCTIONS; i++)
      for (int wide = 0; wide < 2; wide++) measure(targets[t], &functions[i], wide);
}
