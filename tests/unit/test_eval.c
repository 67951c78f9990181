// The interpreter: loop nests against a plain recursive evaluator on random scalar programs, exact
// casts, the random stream's known answers, states, failing calls and failing allocations.
#include "base/context.h"
#include "ir/eval.h"
#include "ir/random.h"
#include <criterion/criterion.h>
#include <math.h>

typedef union cell {
  double f;
  int64_t i;
} cell;

static sq_graph *new_graph(sq_ctx **ctx) {
  *ctx = sq_ctx_new(sq_alloc_libc());
  cr_assert(*ctx && !setjmp((*ctx)->guard.jmp));
  return sq_graph_new(*ctx, &(*ctx)->arena, "test");
}

static sq_type type_of(sq_graph *g, sq_dtype t, uint32_t rank, const int64_t *dim) {
  sq_dim d[SQ_MAX_RANK];
  for (uint32_t k = 0; k < rank; k++) d[k] = sq_dim_const(g->dims, dim[k]);
  return sq_type_make(g, t, rank, d);
}

static sq_value *add_input(sq_graph *g, sq_func *f, const char *name, sq_type t) {
  sq_push(g->arena, &f->in_names, name);
  sq_push(g->arena, &f->in_sym, (sq_sym){0});
  return sq_block_arg(f->body, t, name);
}

static void yield(sq_graph *g, sq_block *b, uint32_t n, sq_value *const *v) {
  sq_node_new(g, b, SQ_OP_YIELD, (sq_span){0}, n, v);
}

// ---- random loop nests -------------------------------------------------------------------------

static uint64_t rng_state;
static uint32_t rng(uint32_t n) {
  rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((rng_state >> 33) % n);
}

typedef struct plain {
  const sq_generic *g;
  const sq_tensor64 *in;
  const int64_t *index;
  bool failed;
  uint32_t site;
} plain;

static cell plain_scalar(plain *p, uint32_t k) {
  const sq_scalar *s = &p->g->s.v[k];
  cell r = {.i = 0};
  if (s->kind == SQ_SC_FLOAT) return (cell){.f = s->f};
  if (s->kind == SQ_SC_INT) return (cell){.i = s->i};
  if (s->kind == SQ_SC_INDEX) return (cell){.i = p->index[s->axis]};
  if (s->kind == SQ_SC_SELECT) { // both sides: only a read's own guard keeps it from reading
    cell c = plain_scalar(p, s->a[0]), a = plain_scalar(p, s->a[1]), b = plain_scalar(p, s->a[2]);
    return c.i ? a : b;
  }
  if (s->kind == SQ_SC_CAST) {
    cell a = plain_scalar(p, s->a[0]);
    return s->dtype == SQ_F64 ? (cell){.f = (double)a.i} : a;
  }
  if (s->kind == SQ_SC_EWISE) {
    cell a = plain_scalar(p, s->a[0]), b = plain_scalar(p, s->a[1]);
    switch ((int)s->ew) {
    case SQ_EW_ADD:
      if (s->dtype == SQ_F64) return (cell){.f = a.f + b.f};
      return (cell){.i = a.i + b.i};
    case SQ_EW_SUB:
      return (cell){.i = a.i - b.i};
    case SQ_EW_MUL:
      if (s->dtype == SQ_F64) return (cell){.f = a.f * b.f};
      return (cell){.i = a.i * b.i};
    case SQ_EW_MOD:
      return (cell){.i = b.i == 0 ? 0 : ((a.i % b.i) + b.i) % b.i};
    case SQ_EW_LT:
      return (cell){.i = a.i < b.i};
    case SQ_EW_LE:
      return (cell){.i = a.i <= b.i};
    default:
      cr_assert_fail("unexpected function");
    }
  }
  cr_assert(s->kind == SQ_SC_READ);
  const sq_tensor64 *t = &p->in[s->operand];
  int64_t at = 0, position[SQ_MAX_RANK];
  for (uint32_t a = 0; a < s->n_pos; a++) position[a] = plain_scalar(p, s->pos[a]).i;
  if (s->guard != SQ_NO_SCALAR && !plain_scalar(p, s->guard).i) return r;
  for (uint32_t a = 0; a < s->n_pos; a++) {
    int64_t pos = position[a];
    if (pos < 0 || pos >= t->dim[a]) {
      if (s->other != SQ_NO_SCALAR) return plain_scalar(p, s->other);
      if (!p->failed || s->site < p->site) p->site = s->site;
      p->failed = true;
      return r;
    }
    at = at * t->dim[a] + pos;
  }
  if (t->f)
    r.f = t->f[at];
  else
    r.i = t->i[at];
  return r;
}

static double plain_element(plain *p, int64_t *index, const int64_t *extent) {
  const sq_generic *g = p->g;
  p->index = index;
  if (!g->n_red) return plain_scalar(p, g->body).f;
  double sum = 0, best = -INFINITY;
  int64_t n = 1, taken = 0;
  for (uint32_t a = g->n_par; a < g->n_par + g->n_red; a++) {
    n *= extent[a];
    index[a] = 0;
  }
  for (int64_t k = 0; k < n; k++) {
    bool in = true;
    for (uint32_t d = 0; d < g->domain.n; d++) in &= plain_scalar(p, g->domain.v[d]).i != 0;
    if (in) {
      double v = plain_scalar(p, g->body).f;
      sum += v;
      taken++;
      if (v > best) best = v;
    }
    for (uint32_t a = g->n_par + g->n_red; a-- > g->n_par && ++index[a] == extent[a];) index[a] = 0;
  }
  return g->monoid == SQ_MAX    ? best
         : g->monoid == SQ_MEAN ? (taken ? sum / (double)taken : 0)
                                : sum;
}

static uint32_t pick(const sq_generic *k, sq_dtype t) {
  for (;;) {
    uint32_t s = rng(k->s.n);
    if (k->s.v[s].dtype == t) return s;
  }
}

// A random position near 0 .. extent of the axis.
static uint32_t random_position(sq_graph *g, sq_generic *k, uint32_t axes, int64_t extent) {
  uint32_t at = rng(3) && axes ? sq_sc_index(g, k, rng(axes)) : pick(k, SQ_I64);
  if (rng(2)) at = sq_sc_ewise(g, k, SQ_EW_ADD, at, sq_sc_int(g, k, SQ_I64, (int64_t)rng(5) - 2));
  if (rng(3) == 0)
    at = sq_sc_ewise(g, k, SQ_EW_MOD, at, sq_sc_int(g, k, SQ_I64, extent ? extent : 1));
  return at;
}

static void random_nest(uint64_t seed) {
  rng_state = seed * 77 + 1;
  sq_ctx *ctx;
  sq_graph *g = new_graph(&ctx);
  sq_func *f = sq_func_new(g, "f", SQ_FUNC_ENTRY, (sq_span){0});
  for (int k = 0; k < 4; k++) sq_site_new(g, (sq_span){0}, "site %d", k);
  int64_t extent[6];
  uint32_t n_par = rng(3), n_red = rng(3), axes = n_par + n_red;
  static const int64_t sizes[] = {0, 1, 2, 3, 7, 300};
  bool large = false;
  for (uint32_t a = 0; a < axes; a++) {
    extent[a] = sizes[rng(large ? 5 : 6)];
    large |= extent[a] > 100;
  }
  sq_value *in[3];
  sq_tensor64 data[3] = {0};
  for (uint32_t k = 0; k < 3; k++) {
    data[k].dtype = k == 2 ? SQ_I64 : SQ_F64;
    data[k].rank = 1 + rng(2);
    for (uint32_t a = 0; a < data[k].rank; a++)
      data[k].dim[a] = rng(3) && axes ? extent[rng(axes)] : 1 + rng(9);
    int64_t n = sq_tensor64_count(&data[k]);
    if (k == 2)
      data[k].i = SQ_ARRAY(&ctx->arena, int64_t, n + 1);
    else
      data[k].f = SQ_ARRAY(&ctx->arena, double, n + 1);
    for (int64_t j = 0; j < n; j++)
      if (k == 2)
        data[k].i[j] = (int64_t)rng(12) - 2;
      else
        data[k].f[j] = (double)rng(64) / 8 - 3;
    in[k] = add_input(g, f, "x", type_of(g, data[k].dtype, data[k].rank, data[k].dim));
  }
  sq_node *n = sq_node_new(g, f->body, SQ_OP_GENERIC, (sq_span){0}, 3, in);
  sq_generic *k = n->g = sq_generic_new(g, n_par, n_red);
  for (uint32_t a = 0; a < axes; a++) k->axis[a].extent = sq_dim_const(g->dims, extent[a]);
  sq_sc_float(g, k, SQ_F64, 1.5);
  sq_sc_int(g, k, SQ_I64, 2);
  for (uint32_t a = 0; a < axes; a++) sq_sc_index(g, k, a);
  sq_sc_ewise(g, k, SQ_EW_LT, pick(k, SQ_I64), pick(k, SQ_I64));
  for (uint32_t turn = 3 + rng(10); turn; turn--) {
    switch (rng(8)) {
    case 0:
      sq_sc_ewise(g, k, rng(2) ? SQ_EW_ADD : SQ_EW_MUL, pick(k, SQ_F64), pick(k, SQ_F64));
      break;
    case 1:
      sq_sc_ewise(g, k, rng(2) ? SQ_EW_LE : SQ_EW_LT, pick(k, SQ_I64), pick(k, SQ_I64));
      break;
    case 2:
      sq_sc_select(g, k, pick(k, SQ_BOOL), pick(k, SQ_F64), pick(k, SQ_F64));
      break;
    case 3:
      sq_sc_cast(g, k, pick(k, SQ_I64), SQ_F64);
      break;
    default: {
      uint32_t operand = rng(3), pos[2];
      for (uint32_t a = 0; a < data[operand].rank; a++)
        pos[a] = random_position(g, k, axes, data[operand].dim[a]);
      uint32_t r = sq_sc_read(g, k, data[operand].dtype, operand, data[operand].rank, pos);
      k->s.v[r].site = rng(4);
      if (rng(2)) k->s.v[r].other = data[operand].dtype == SQ_F64 ? 0 : 1;
      if (rng(3) == 0) k->s.v[r].guard = pick(k, SQ_BOOL);
    }
    }
  }
  do k->body = k->s.n - 1 - rng(k->s.n);
  while (k->s.v[k->body].dtype != SQ_F64);
  if (rng(4) == 0 && k->s.v[k->s.n - 1].dtype == SQ_F64) k->body = k->s.n - 1;
  if (n_red) {
    static const sq_monoid monoids[] = {SQ_SUM, SQ_MAX, SQ_MEAN};
    k->monoid = monoids[rng(3)];
    for (uint32_t d = rng(3); d; d--) sq_push(g->arena, &k->domain, pick(k, SQ_BOOL));
  }
  sq_value *r = sq_node_result(g, n, type_of(g, SQ_F64, n_par, extent), "y");
  yield(g, f->body, 1, &r);

  sq_eval *e = sq_eval_new(g, NULL, NULL);
  sq_tensor64 *out;
  uint32_t n_out;
  sq_status s = sq_eval_call(e, f, data, 3, &out, &n_out);
  plain p = {.g = k, .in = data};
  int64_t total = 1, index[6] = {0};
  for (uint32_t a = 0; a < n_par; a++) total *= extent[a];
  for (int64_t at = 0; at < total; at++) {
    double want = plain_element(&p, index, extent);
    if (s == SQ_OK)
      cr_assert(fabs(out[0].f[at] - want) <= 1e-9 * (1 + fabs(want)) || out[0].f[at] == want,
                "seed %llu: element %lld is %.17g, expected %.17g", (unsigned long long)seed,
                (long long)at, out[0].f[at], want);
    for (uint32_t a = n_par; a-- > 0 && ++index[a] == extent[a];) index[a] = 0;
  }
  cr_assert_eq(s, p.failed ? SQ_EMODEL : SQ_OK, "seed %llu: %s", (unsigned long long)seed,
               sq_eval_message(e));
  if (p.failed) {
    char text[32];
    snprintf(text, sizeof text, "site %u", p.site);
    cr_assert(strstr(sq_eval_message(e), text), "seed %llu: %s, expected %s",
              (unsigned long long)seed, sq_eval_message(e), text);
  }
  sq_eval_free(e);
  sq_ctx_free(ctx);
}

Test(eval, random_nests) {
  for (uint64_t seed = 1; seed <= 4000; seed++) random_nest(seed);
}

// ---- contractions ------------------------------------------------------------------------------

// y[i, o] = sum(k) x * w with w stored [o, k] or [k, o].
static void contraction(bool transposed) {
  sq_ctx *ctx;
  sq_graph *g = new_graph(&ctx);
  enum { I = 3, O = 301, K = 65 };
  sq_func *f = sq_func_new(g, "f", SQ_FUNC_ENTRY, (sq_span){0});
  int64_t xd[] = {I, K}, wd[] = {O, K}, wt[] = {K, O}, yd[] = {I, O};
  sq_value *in[2] = {add_input(g, f, "x", type_of(g, SQ_F32, 2, xd)),
                     add_input(g, f, "w", type_of(g, SQ_F32, 2, transposed ? wt : wd))};
  sq_node *n = sq_node_new(g, f->body, SQ_OP_GENERIC, (sq_span){0}, 2, in);
  sq_generic *k = n->g = sq_generic_new(g, 2, 1);
  int64_t ext[] = {I, O, K};
  for (uint32_t a = 0; a < 3; a++) k->axis[a].extent = sq_dim_const(g->dims, ext[a]);
  uint32_t i = sq_sc_index(g, k, 0), o = sq_sc_index(g, k, 1), r = sq_sc_index(g, k, 2);
  uint32_t xp[] = {i, r}, wp[] = {transposed ? r : o, transposed ? o : r};
  k->body = sq_sc_ewise(g, k, SQ_EW_MUL, sq_sc_read(g, k, SQ_F32, 0, 2, xp),
                        sq_sc_read(g, k, SQ_F32, 1, 2, wp));
  k->monoid = SQ_SUM;
  sq_value *y = sq_node_result(g, n, type_of(g, SQ_F32, 2, yd), "y");
  yield(g, f->body, 1, &y);
  static double x[I * K], w[O * K];
  for (int j = 0; j < I * K; j++) x[j] = sin(j);
  for (int j = 0; j < O * K; j++) w[j] = cos(j);
  sq_tensor64 data[2] = {{.dtype = SQ_F32, .rank = 2, .dim = {I, K}, .f = x},
                         {.dtype = SQ_F32, .rank = 2, .f = w}};
  memcpy(data[1].dim, transposed ? wt : wd, sizeof wd);
  sq_eval *e = sq_eval_new(g, NULL, NULL);
  sq_tensor64 *out;
  uint32_t n_out;
  cr_assert_eq(sq_eval_call(e, f, data, 2, &out, &n_out), SQ_OK, "%s", sq_eval_message(e));
  for (int a = 0; a < I; a++)
    for (int b = 0; b < O; b++) {
      double s = 0;
      for (int c = 0; c < K; c++) s += x[a * K + c] * w[transposed ? c * O + b : b * K + c];
      cr_assert(fabs(out[0].f[a * O + b] - s) < 1e-11);
    }
  sq_eval_free(e);
  sq_ctx_free(ctx);
}

Test(eval, contraction) { contraction(false); }
Test(eval, contraction_transposed) { contraction(true); }

// ---- numbers -----------------------------------------------------------------------------------

static double half_value(uint32_t bits, int fraction, int bias) {
  int exponent = (int)(bits >> fraction), low = (int)(bits & ((1u << fraction) - 1));
  if (exponent == 0) return ldexp(low, 1 - bias - fraction);
  return ldexp(low + (1 << fraction), exponent - bias - fraction);
}

static void rounding(sq_dtype t, int fraction, int bias, uint32_t top) {
  for (uint32_t b = 0; b < top; b++) {
    double lo = half_value(b, fraction, bias), hi = half_value(b + 1, fraction, bias);
    double mid = (lo + hi) / 2;
    cr_assert_eq(sq_round_float(t, lo), lo);
    cr_assert_eq(sq_round_float(t, nextafter(mid, 0)), lo);
    cr_assert_eq(sq_round_float(t, nextafter(mid, INFINITY)), b + 1 == top ? INFINITY : hi);
    cr_assert_eq(sq_round_float(t, mid), b % 2 ? (b + 1 == top ? INFINITY : hi) : lo);
    cr_assert_eq(sq_round_float(t, -lo), -lo);
  }
}

Test(eval, rounds_f16) { rounding(SQ_F16, 10, 15, 31u << 10); }
Test(eval, rounds_bf16) { rounding(SQ_BF16, 7, 127, 255u << 7); }

Test(eval, philox_known_answers) {
  uint32_t out[4], zero[4] = {0}, ones[4] = {~0u, ~0u, ~0u, ~0u};
  uint32_t pi[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
  uint32_t key[2] = {0xa4093822, 0x299f31d0};
  sq_philox4x32(zero, zero, out);
  cr_assert(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c &&
            out[3] == 0x9b00dbd8);
  sq_philox4x32(ones, ones, out);
  cr_assert(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 &&
            out[3] == 0x6d5451fd);
  sq_philox4x32(pi, key, out);
  cr_assert(out[0] == 0xd16cfe09 && out[1] == 0x94fdcceb && out[2] == 0x5001e420 &&
            out[3] == 0x24126ea1);
}

Test(eval, random_moments) {
  enum { N = 100000 };
  for (int wide = 0; wide < 2; wide++) {
    double sum = 0, square = 0, cross = 0, last = 0, low = 1, high = 0, flat = 0;
    for (int k = 0; k < N; k++) {
      double z = sq_random_normal(-3, (uint64_t)k, wide),
             u = sq_random_uniform(7, (uint64_t)k, wide ? 53 : 24);
      sum += z;
      square += z * z;
      cross += z * last;
      last = z;
      flat += u;
      if (u < low) low = u;
      if (u > high) high = u;
    }
    cr_assert(fabs(sum / N) < 0.015 && fabs(square / N - 1) < 0.02 && fabs(cross / N) < 0.015);
    cr_assert(fabs(flat / N - 0.5) < 0.005 && low >= 0 && low < 1e-3 && high < 1 && high > 0.999);
  }
}

// ---- states and failures -----------------------------------------------------------------------

// state s[grow, 2] = 7; entry f(v: i32): reserve s, v; s[v - 1, :] <- 1; check v < 6; returns s.
static sq_graph *state_graph(sq_ctx *ctx, sq_func **entry) {
  sq_graph *g = sq_graph_new(ctx, &ctx->arena, "state");
  sq_dim two = sq_dim_const(g->dims, 2), one = sq_dim_const(g->dims, 1);
  sq_sym rows = sq_sym_new(g->dims, "rows", SQ_SYM_GROW);
  sq_dim shape[] = {sq_dim_sym(g->dims, rows), two}, row[] = {one, two};
  sq_func *init = sq_func_new(g, "s.init", SQ_FUNC_INIT, (sq_span){0});
  sq_node *fill = sq_node_new(g, init->body, SQ_OP_GENERIC, (sq_span){0}, 0, NULL);
  fill->g = sq_generic_new(g, 2, 0);
  fill->g->axis[0].extent = one;
  fill->g->axis[1].extent = two;
  fill->g->body = sq_sc_float(g, fill->g, SQ_F32, 7);
  sq_value *seven = sq_node_result(g, fill, sq_type_make(g, SQ_F32, 2, row), NULL);
  yield(g, init->body, 1, &seven);
  sq_state st = {.name = "s",
                 .type = sq_type_make(g, SQ_F32, 2, shape),
                 .count = 1,
                 .grow = rows,
                 .init = init};
  sq_push(g->arena, &g->state, st);

  sq_func *f = *entry = sq_func_new(g, "f", SQ_FUNC_ENTRY, (sq_span){0});
  f->writes = true;
  sq_value *v = add_input(g, f, "v", sq_type_scalar(SQ_I32));
  sq_node_new(g, f->body, SQ_OP_RESERVE, (sq_span){0}, 1, &v);
  sq_node *w = sq_node_new(g, f->body, SQ_OP_STATE_WRITE, (sq_span){0}, 1, &v);
  w->g = sq_generic_new(g, 1, 0);
  w->g->axis[0].extent = two;
  w->g->body = sq_sc_float(g, w->g, SQ_F32, 1);
  uint32_t at = sq_sc_ewise(g, w->g, SQ_EW_SUB, sq_sc_read(g, w->g, SQ_I32, 0, 0, NULL),
                            sq_sc_int(g, w->g, SQ_I32, 1));
  w->g->n_pos = 2;
  w->g->pos = SQ_ARRAY(g->arena, uint32_t, 2);
  w->g->pos[0] = at;
  w->g->pos[1] = sq_sc_index(g, w->g, 0);
  w->g->pos_site = sq_site_new(g, (sq_span){0}, "row out of range");
  sq_node *less = sq_node_new(g, f->body, SQ_OP_GENERIC, (sq_span){0}, 1, &v);
  less->g = sq_generic_new(g, 0, 0);
  less->g->body = sq_sc_ewise(g, less->g, SQ_EW_LT, sq_sc_read(g, less->g, SQ_I32, 0, 0, NULL),
                              sq_sc_int(g, less->g, SQ_I32, 6));
  sq_value *ok = sq_node_result(g, less, sq_type_scalar(SQ_BOOL), NULL);
  sq_node *check = sq_node_new(g, f->body, SQ_OP_CHECK, (sq_span){0}, 1, &ok);
  check->site = sq_site_new(g, (sq_span){1, 2, 3, 0}, "v must be below 6");
  sq_node *read = sq_node_new(g, f->body, SQ_OP_STATE_READ, (sq_span){0}, 0, NULL);
  sq_value *all = sq_node_result(g, read, sq_type_make(g, SQ_F32, 2, shape), NULL);
  yield(g, f->body, 1, &all);
  return g;
}

static sq_status call_int(sq_eval *e, sq_func *f, int64_t v, sq_tensor64 *out) {
  sq_tensor64 in = {.dtype = SQ_I32, .i = &v}, *all;
  uint32_t n;
  sq_status s = sq_eval_call(e, f, &in, 1, &all, &n);
  if (s == SQ_OK) *out = all[0];
  return s;
}

static sq_status count_rows(void *user, const char *name, sq_tensor64 *t) {
  cr_assert_str_eq(name, "s");
  *(int64_t *)user = t->dim[0];
  if (t->dim[0]) t->f[0] = 42;
  return SQ_OK;
}

Test(eval, growing_state) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  cr_assert(ctx && !setjmp(ctx->guard.jmp));
  sq_func *f;
  sq_graph *g = state_graph(ctx, &f);
  sq_eval *e = sq_eval_new(g, NULL, NULL);
  sq_tensor64 out;
  int64_t rows = -1;
  cr_assert_eq(call_int(e, f, 3, &out), SQ_OK, "%s", sq_eval_message(e));
  cr_assert(out.dim[0] == 3 && out.f[0] == 7 && out.f[4] == 1 && out.f[5] == 1);
  cr_assert_eq(call_int(e, f, 4, &out), SQ_OK);
  cr_assert(out.dim[0] == 4 && out.f[3] == 7 && out.f[5] == 1 && out.f[6] == 1);
  cr_assert_eq(call_int(e, f, 9, &out), SQ_EMODEL);
  cr_assert_str_eq(sq_eval_message(e), "v must be below 6");
  cr_assert_eq(sq_eval_where(e).begin, 2);
  cr_assert_eq(sq_eval_states(e, count_rows, &rows), SQ_OK);
  cr_assert_eq(rows, 9, "the failed call's reserve stays");
  cr_assert_eq(call_int(e, f, 0, &out), SQ_EMODEL);
  cr_assert_str_eq(sq_eval_message(e), "row out of range: -1 is below 0");
  cr_assert_eq(call_int(e, f, 1, &out), SQ_OK);
  cr_assert(out.f[0] == 1 && out.f[16] == 1, "row 8 was written by the failed call");
  cr_assert_eq(sq_eval_reset(e), SQ_OK);
  cr_assert_eq(sq_eval_states(e, count_rows, &rows), SQ_OK);
  cr_assert_eq(rows, 0);
  cr_assert_eq(sq_eval_grow(e, 0, 2), SQ_OK);
  cr_assert_eq(call_int(e, f, 2, &out), SQ_OK);
  cr_assert(out.dim[0] == 2 && out.f[0] == 7 && out.f[2] == 1);
  sq_eval_free(e);
  sq_ctx_free(ctx);
}

typedef struct failing {
  long live, left;
} failing;

static void *failing_alloc(void *user, void *p, size_t size) {
  failing *f = user;
  if (!size) {
    f->live -= p != NULL;
    free(p);
    return NULL;
  }
  if (f->left-- <= 0) return NULL;
  void *q = realloc(p, size);
  f->live += !p && q;
  return q;
}

// The call with allocation n failing; whether it went through.
static bool attempt(sq_ctx *ctx, long n) {
  sq_func *f;
  sq_graph *g = state_graph(ctx, &f);
  failing fail = {.left = n};
  sq_alloc keep = ctx->alloc;
  bool done = false;
  ctx->alloc = (sq_alloc){failing_alloc, &fail};
  sq_eval *e = sq_eval_new(g, NULL, NULL);
  sq_tensor64 out;
  if (e) {
    sq_status s = call_int(e, f, 3, &out);
    cr_assert(s == SQ_OK || s == SQ_EWORLD);
    done = s == SQ_OK;
    fail.left = 1000;
    cr_assert_eq(call_int(e, f, 3, &out), SQ_OK, "usable afterwards");
    cr_assert(out.f[4] == 1);
    sq_eval_free(e);
  }
  cr_assert_eq(fail.live, 0, "allocation %ld", n);
  ctx->alloc = keep;
  return done;
}

static bool attempt_alone(long n) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  cr_assert(ctx && !setjmp(ctx->guard.jmp));
  bool done = attempt(ctx, n);
  sq_ctx_free(ctx);
  return done;
}

Test(eval, every_allocation_fails_once) {
  long n = 0;
  while (!attempt_alone(n)) n++;
  cr_assert(n > 5);
}
