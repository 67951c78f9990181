// Every scalar function of ir/ewise.def with operands of every dtype: what the function is not made for is
// refused, by its name and the dtype's; of all else the targets give what the interpreter gives.
//
//   %sqrt = generic (%a, %b) [n < 64] { sqrt(%a[n]) } : f16[64]      in one graph for each dtype
//   %sqrt = generic (%a, %b) [n < 64] { sqrt(%a[n]) } : i32[64]      "sqrt of i32"
//
// What both operands can be is tried, so that each pair of `values` is there.
#include "ir/ir_text.h"
#include "tests/ops/run_ops.h"
#include <math.h>
#include <stdlib.h>

static const double values[] = {0, 1, -1, 2, -3, 5, 0.5, 100};
enum { VALUES = sizeof values / sizeof *values, PAIRS = VALUES * VALUES, SPLIT = 24 };

static int failures;

// What the letters in ir/ewise.def say.
static bool takes(sq_ewise e, sq_dtype t) {
  bool integer = t != SQ_BOOL && !sq_is_float(t);
  switch (sq_ewise_table[e].kind) {
  case 'A':
    return integer || sq_is_float(t);
  case 'F':
    return sq_is_float(t);
  case 'L':
    return t == SQ_BOOL;
  case 'I':
    return integer;
  default:
    return e != SQ_EW_ISNAN || sq_is_float(t);
  }
}

static void add(sq_text *code, sq_text *names, sq_text *yields, sq_ewise e, sq_dtype t) {
  const char *dtype = sq_dtype_table[t].name, *infix = sq_ewise_infix[e].text;
  const char *name = sq_ewise_table[e].name;
  const char *type = sq_ewise_table[e].kind == 'C' ? "bool" : dtype, *comma = names->n ? ", " : "";
  sq_text_add(code, "  %%%s = generic (%%a, %%b) [n < %d] { ", name, PAIRS);
  if (e == SQ_EW_NOT)
    sq_text_add(code, "not %%a[n]");
  else if (infix)
    sq_text_add(code, "%%a[n] %s %%b[n]", infix);
  else
    sq_text_add(code, sq_ewise_table[e].arity > 1 ? "%s(%%a[n], %%b[n])" : "%s(%%a[n])", name);
  sq_text_add(code, " } : %s[%d]\n", type, PAIRS);
  sq_text_add(names, "%s%s: %s[%d]", comma, name, type, PAIRS);
  sq_text_add(yields, "%s%%%s", comma, name);
}

static const char *entry(sq_arena *a, sq_dtype t, const sq_text *code, const sq_text *names,
                         const sq_text *yields) {
  const char *dtype = sq_dtype_table[t].name;
  return sq_arena_fmt(a, "entry @e(%%a: %s[%d], %%b: %s[%d]) -> (%s) {\n%s  yield %s\n}\n", dtype,
                      PAIRS, dtype, PAIRS, names->v, code->v, yields->v);
}

// NULL: refused, for the reason that `why` gets.
static sq_graph *valid(sq_ctx *ctx, const char *text, const char **why) {
  sq_graph *g = sq_graph_read(ctx, &ctx->arena, "dtypes", text, strlen(text));
  sq_text faults = {.arena = &ctx->arena};
  *why = g ? "" : sq_diags_render(&ctx->diags);
  if (!g || sq_graph_verify(g, &faults)) return g;
  *why = faults.v;
  return NULL;
}

static void check_refused(sq_ewise e, sq_dtype t) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena *a = &ctx->arena;
  sq_text code = {.arena = a}, names = {.arena = a}, yields = {.arena = a};
  const char *of = sq_arena_fmt(a, "%s of %s", sq_ewise_table[e].name, sq_dtype_table[t].name),
             *why;
  add(&code, &names, &yields, e, t);
  if (valid(ctx, entry(a, t, &code, &names, &yields), &why)) {
    fprintf(stderr, "%s is accepted\n", of);
    failures++;
  } else if (!strstr(why, of)) {
    fprintf(stderr, "%s is refused for another reason: %s\n", of, why);
    failures++;
  }
  sq_ctx_free(ctx);
}

// The operands: each value with each; of integers they are whole, of bool 0 or 1.
static sq_tensor64 operand(sq_arena *a, sq_dtype t, bool second) {
  sq_tensor64 x = {.dtype = t, .rank = 1, .dim = {PAIRS}};
  double *f = SQ_ARRAY(a, double, PAIRS);
  int64_t *i = SQ_ARRAY(a, int64_t, PAIRS);
  for (int k = 0; k < PAIRS; k++) {
    double v = values[second ? k % VALUES : k / VALUES];
    f[k] = v == 100 ? (second ? INFINITY : NAN) : v;
    i[k] = t == SQ_BOOL ? v > 0 : t == SQ_U8 ? (int64_t)fabs(v) : (int64_t)v;
  }
  if (sq_is_float(t))
    x.f = f;
  else
    x.i = i;
  return x;
}

static bool agree(double x, double y, double tol) {
  if (isnan(x) || isnan(y) || isinf(x)) return isnan(x) ? isnan(y) : x == y;
  return fabs(x - y) <= tol * fmax(1, fabs(x));
}

static void compare(const ops_machine *m, const char *name, const sq_tensor64 *in,
                    const sq_tensor64 *want, const sq_tensor64 *have) {
  for (int k = 0; k < PAIRS; k++) {
    double x = want->f ? want->f[k] : (double)want->i[k];
    double y = have->f ? have->f[k] : (double)have->i[k];
    if (want->dtype == have->dtype && agree(x, y, want->f ? m->tolerance(want->dtype) : 0))
      continue;
    const sq_tensor64 *a = &in[0], *b = &in[1];
    fprintf(stderr, "%s: %s of %s %g, %g is %.9g instead of %.9g\n", m->name, name,
            sq_dtype_table[a->dtype].name, a->f ? a->f[k] : (double)a->i[k],
            b->f ? b->f[k] : (double)b->i[k], y, x);
    failures++;
    return;
  }
}

static sq_status no_param(void *user, uint32_t p, uint32_t instance, sq_tensor64 *out) {
  (void)user, (void)p, (void)instance, (void)out;
  return SQ_EMODEL;
}

// The functions from `from` on below `to`.
static void check_results(const ops_machine *m, sq_dtype t, int from, int to) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena *a = &ctx->arena;
  sq_text code = {.arena = a}, names = {.arena = a}, yields = {.arena = a};
  const char *why = "";
  char message[1024] = "";
  for (int e = from; e < to; e++)
    if (takes((sq_ewise)e, t)) add(&code, &names, &yields, (sq_ewise)e, t);
  sq_graph *g = names.n ? valid(ctx, entry(a, t, &code, &names, &yields), &why) : NULL;
  if (!g) {
    if (names.n) fprintf(stderr, "%s: %s\n", sq_dtype_table[t].name, why);
    failures += names.n > 0;
    sq_ctx_free(ctx);
    return;
  }
  sq_tensor64 in[2] = {operand(a, t, false), operand(a, t, true)}, *want, *have;
  uint32_t n = 0, n_have = 0;
  sq_eval *eval = sq_eval_new(g, no_param, NULL);
  bool ok = eval && sq_eval_call(eval, g->func.v[0], in, 2, &want, &n) == SQ_OK;
  const char *text = entry(a, t, &code, &names, &yields); // a machine plans its graph
  sq_graph *own = valid(ctx, text, &why);
  void *machine = ok ? m->open(own, no_param, NULL, message, sizeof message) : NULL;
  ok &= machine && m->call(machine, own->func.v[0], in, 2, &have, &n_have) == SQ_OK && n_have == n;
  for (uint32_t k = 0; ok && k < n; k++)
    compare(m, g->func.v[0]->out_names.v[k], in, &want[k], &have[k]);
  if (!ok) {
    fprintf(stderr, "%s: functions of %s are not run: %s\n", m->name, sq_dtype_table[t].name,
            machine ? m->message(machine) : message);
    failures++;
  }
  if (machine) m->close(machine);
  sq_eval_free(eval);
  sq_ctx_free(ctx);
}

int main(int argc, char **argv) {
  const ops_machine *m = argc > 1 && !strcmp(argv[1], "cuda-emu") ? &ops_cuda_emu : &ops_cpu;
  for (int t = 0; t < SQ_DTYPE_COUNT; t++) {
    for (int e = 0; e < SQ_EW_COUNT; e++)
      if (!takes((sq_ewise)e, (sq_dtype)t)) check_refused((sq_ewise)e, (sq_dtype)t);
    for (int e = 0; e < SQ_EW_COUNT; e += SPLIT)
      check_results(m, (sq_dtype)t, e, e + SPLIT < SQ_EW_COUNT ? e + SPLIT : SQ_EW_COUNT);
  }
  return failures != 0;
}
