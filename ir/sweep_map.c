// The map of a turn, read off the scalars of a member. In: a member that makes the next value of a carried
// one. Out: how that depends on it, with scalars added to the member, or what stands in the way.
//
//   %d = generic (%a, %c, %x) [k < C] { %c[k] + %a[t, k] * (%x[t, k] - %c[k]) }
// is, for the state %c:   by = 1 - a[t, k],   other = a[t, k] * x[t, k]
//
// Each scalar has a form, from those that it is made of:
//
//   FREE   free of the state
//   SUM    by * h + other
//   MAX    min(high, max(h + by, other))    MIN  min(h + by, other)
//   LOG    log(exp(h + by) + exp(other))    EXP  exp(h + by) + other
//
// where h may be the state's negative.
#include "ir/sweep_prefix.h"
#include <math.h>

enum { TERMS = 8 }; // of a sum of exponentials

typedef enum kind { FREE, SUM, MAX, MIN, LOG, EXP, NONE } kind;
typedef struct form { // NONE: see why
  kind kind;
  bool minus; // of the negative; SUM: only where there is no `by`
  uint32_t by, other, high;
} form;

typedef struct reader {
  sq_sweep *s;
  sq_graph *g;
  sq_sweep_nest *x;
  sq_generic *k; // of x
  uint32_t state;
  sq_dtype type;
  form *of;
  const char *why;
} reader;

static form none(reader *r, const char *before, const char *after) {
  const char *name = r->s->value[r->state].v->name;
  const char *state = name ? sq_arena_fmt(r->g->arena, "`%s`", name) : "the state";
  if (!r->why) r->why = sq_arena_fmt(r->g->arena, "%s%s%s", before, state, after);
  return (form){.kind = NONE};
}

static form exponent(reader *r) { return none(r, "`exp` around ", ""); }

static form form_of(kind k, bool minus, uint32_t by, uint32_t other) {
  return (form){k, minus, by, other, SQ_NO_SCALAR};
}

static bool is_bound(const form *f) { return f->kind == MAX || f->kind == MIN || f->kind == LOG; }
static bool is_unit(const form *f) { return f->kind == SUM && f->by == SQ_NO_SCALAR; }

// ---- scalars, NO_SCALAR for what changes nothing -----------------------------------------------
static uint32_t constant(reader *r, double v) { return sq_sc_float(r->g, r->k, r->type, v); }

static uint32_t ewise(reader *r, sq_ewise e, uint32_t a, uint32_t b) {
  if (b == SQ_NO_SCALAR && sq_ewise_table[e].arity > 1) return a;
  return a == SQ_NO_SCALAR ? b : sq_sc_ewise(r->g, r->k, e, a, b);
}

static uint32_t negated(reader *r, uint32_t a) {
  return a == SQ_NO_SCALAR ? a : sq_sc_ewise(r->g, r->k, SQ_EW_NEG, a, SQ_NO_SCALAR);
}

static uint32_t function(reader *r, sq_ewise e, uint32_t a) {
  return sq_sc_ewise(r->g, r->k, e, a, SQ_NO_SCALAR);
}

static uint32_t or_constant(reader *r, uint32_t a, double v) {
  return a == SQ_NO_SCALAR ? constant(r, v) : a;
}

static bool is_float(const reader *r, uint32_t id, double v) {
  const sq_scalar *x = &r->k->s.v[id];
  return (x->kind == SQ_SC_FLOAT && x->f == v) || (x->kind == SQ_SC_INT && (double)x->i == v);
}

// The argument of a function, if the scalar is that.
static bool is_function(const reader *r, uint32_t id, sq_ewise e, uint32_t *a) {
  const sq_scalar *x = &r->k->s.v[id];
  *a = x->a[0];
  return x->kind == SQ_SC_EWISE && x->ew == e;
}

static uint32_t factor(reader *r, const form *f) {
  return or_constant(r, f->by, f->minus ? -1 : 1);
}

static form as_sum(reader *r, form f, uint32_t id) {
  if (f.kind != FREE) return f;
  return form_of(SUM, false, constant(r, 0), is_float(r, id, 0) ? SQ_NO_SCALAR : id);
}

// ---- sums --------------------------------------------------------------------------------------
static form moved(reader *r, form f, uint32_t by) {
  if (is_bound(&f)) f.by = ewise(r, SQ_EW_ADD, f.by, by);
  f.other = ewise(r, SQ_EW_ADD, f.other, by);
  if (f.high != SQ_NO_SCALAR) f.high = ewise(r, SQ_EW_ADD, f.high, by);
  return f;
}

static form add(reader *r, form a, uint32_t ia, form b, uint32_t ib) {
  if (a.kind == FREE) return add(r, b, ib, a, ia);
  if (b.kind == FREE) return moved(r, a, ib);
  if (is_unit(&a) && is_bound(&b)) return add(r, b, ib, a, ia);
  // max(h + p, q) - h + c = max(-h + q + c, p + c)
  if (is_bound(&a) && is_unit(&b) && a.minus != b.minus && a.high == SQ_NO_SCALAR) {
    a = moved(r, a, b.other);
    return form_of(a.kind, b.minus, a.other, or_constant(r, a.by, 0));
  }
  if (a.kind == EXP || b.kind == EXP) return exponent(r);
  if (a.kind != SUM || b.kind != SUM) return none(r, "a sum of maxima or minima of ", "");
  uint32_t p = factor(r, &a), q = factor(r, &b);
  return form_of(SUM, false, ewise(r, SQ_EW_ADD, p, q), ewise(r, SQ_EW_ADD, a.other, b.other));
}

static form negate(reader *r, form f, uint32_t *id) {
  if (f.kind == FREE) {
    *id = negated(r, *id);
    return f;
  }
  if (f.kind == EXP) return exponent(r);
  if (f.kind == LOG) return none(r, "the negative of a sum of exponentials of ", "");
  if (f.high != SQ_NO_SCALAR) { // -min(c, max(h, b)) = min(max(-c, -b), max(-h, -c))
    uint32_t low = negated(r, f.high);
    f.high = sq_sc_ewise(r->g, r->k, SQ_EW_MAX, low, negated(r, f.other));
    f.by = negated(r, f.by);
    f.other = low;
    f.minus = !f.minus;
    return f;
  }
  if (f.kind != SUM) f.kind = f.kind == MAX ? MIN : MAX;
  f.minus = !f.minus && (f.kind != SUM || f.by == SQ_NO_SCALAR);
  f.by = negated(r, f.by);
  f.other = negated(r, f.other);
  return f;
}

static form scale(reader *r, sq_ewise e, form f, uint32_t by) {
  if (f.kind == EXP) return exponent(r);
  if (f.kind == LOG) return none(r, "a factor of a sum of exponentials of ", "");
  if (f.kind != SUM) return none(r, "a factor of a maximum or minimum of ", "");
  bool divides = e == SQ_EW_DIV, plain = f.by == SQ_NO_SCALAR && !f.minus;
  f.by = plain && !divides ? by : ewise(r, e, factor(r, &f), by);
  f.minus = false;
  if (f.other != SQ_NO_SCALAR) f.other = ewise(r, e, f.other, by);
  return f;
}

// ---- maxima and minima -------------------------------------------------------------------------
static form extreme(reader *r, form a, uint32_t ia, form b, uint32_t ib, sq_ewise e) {
  if (a.kind == FREE) return extreme(r, b, ib, a, ia, e);
  kind want = e == SQ_EW_MAX ? MAX : MIN;
  if (b.kind != FREE) return none(r, "a maximum or minimum of ", " and itself");
  if (is_unit(&a)) return form_of(want, a.minus, a.other, ib);
  if (a.kind == EXP) return exponent(r);
  if (a.kind != MAX && a.kind != MIN) {
    const char *what = a.kind == SUM ? "a factor of " : "a sum of exponentials of ";
    return none(r, what, " inside a maximum or minimum");
  }
  if (want == MAX && a.kind == MIN) { // max(b, min(c, h)) = min(max(b, c), max(b, h))
    a.kind = MAX;
    a.high = ewise(r, SQ_EW_MAX, a.other, ib);
    a.other = ib;
    return a;
  }
  if (want == a.kind) a.other = ewise(r, e, a.other, ib);
  if (want == MIN && a.kind == MAX) a.high = a.high == SQ_NO_SCALAR ? ib : ewise(r, e, a.high, ib);
  if (want == MAX && a.high != SQ_NO_SCALAR) a.high = ewise(r, e, a.high, ib);
  return a;
}

// What another form is among those of a kind.
static form among(reader *r, form f, uint32_t id, kind to, bool minus) {
  double never = to == MIN ? INFINITY : -INFINITY;
  if (f.kind == FREE) return form_of(to, minus, constant(r, never), id);
  if (is_unit(&f)) return form_of(to, f.minus, f.other, constant(r, never));
  if (to == MAX && f.kind == MIN) {
    f.kind = MAX;
    f.high = f.other;
    f.other = constant(r, never);
  }
  return f;
}

static uint32_t chosen(reader *r, uint32_t c, uint32_t a, uint32_t b, double without) {
  if (a == b) return a;
  return sq_sc_select(r->g, r->k, c, or_constant(r, a, without), or_constant(r, b, without));
}

static form choice(reader *r, uint32_t c, form a, uint32_t ia, form b, uint32_t ib) {
  if (a.kind == EXP || b.kind == EXP) return exponent(r);
  if (is_bound(&a) || is_bound(&b)) {
    kind to = a.kind == LOG || b.kind == LOG ? LOG : a.kind == MAX || b.kind == MAX ? MAX : MIN;
    bool minus = is_bound(&a) ? a.minus : b.minus;
    a = among(r, a, ia, to, minus);
    b = among(r, b, ib, to, minus);
    if (a.kind != b.kind || a.minus != b.minus)
      return none(r, "a choice between maxima or minima of ", "");
    a.high = chosen(r, c, a.high, b.high, INFINITY);
    a.by = chosen(r, c, a.by, b.by, 0);
    a.other = chosen(r, c, a.other, b.other, 0);
    return a;
  }
  a = as_sum(r, a, ia);
  b = as_sum(r, b, ib);
  if (a.minus != b.minus) a.by = factor(r, &a), b.by = factor(r, &b);
  a.by = chosen(r, c, a.by, b.by, a.minus ? -1 : 1);
  a.minus &= a.by == SQ_NO_SCALAR;
  a.other = chosen(r, c, a.other, b.other, 0);
  return a;
}

// select(a < b, b, a) is the greater, select(a < b, a, b) the less of both, where both are numbers; where one is
// none, the greater of both is none either, so the state is not finite, and its turns are done one by one.
static bool is_extreme(const reader *r, const sq_scalar *x, sq_ewise *e) {
  const sq_scalar *c = &r->k->s.v[x->a[0]];
  if (c->kind != SQ_SC_EWISE || (c->ew != SQ_EW_LT && c->ew != SQ_EW_LE)) return false;
  bool greater = c->a[0] == x->a[2] && c->a[1] == x->a[1];
  bool less = c->a[0] == x->a[1] && c->a[1] == x->a[2];
  *e = greater ? SQ_EW_MAX : SQ_EW_MIN;
  return greater || less;
}

// ---- logarithms of sums of exponentials --------------------------------------------------------
// log(x); of what is an exponential, its argument.
static uint32_t log_of(reader *r, uint32_t id) {
  uint32_t a;
  if (is_function(r, id, SQ_EW_EXP, &a)) return a;
  return is_float(r, id, 1) ? constant(r, 0) : function(r, SQ_EW_LOG, id);
}

static form exponential(reader *r, form f) {
  if (!is_unit(&f)) return exponent(r);
  return form_of(EXP, f.minus, f.other, SQ_NO_SCALAR);
}

static form logarithm(reader *r, form f) {
  if (f.kind != EXP) return none(r, "`log` around ", "");
  if (f.other == SQ_NO_SCALAR) return form_of(SUM, f.minus, SQ_NO_SCALAR, f.by);
  return form_of(LOG, f.minus, f.by, log_of(r, f.other));
}

// log(exp(a) + exp(b)) of two that are free.
static uint32_t log_add(reader *r, uint32_t a, uint32_t b) {
  uint32_t far = function(r, SQ_EW_ABS, ewise(r, SQ_EW_SUB, a, b));
  uint32_t less = function(r, SQ_EW_LOG1P, function(r, SQ_EW_EXP, negated(r, far)));
  return ewise(r, SQ_EW_ADD, ewise(r, SQ_EW_MAX, a, b), less);
}

// log(exp(p) + exp(q) + ..): one of them a sum with the state, the others free of it.
static bool log_sum(reader *r, const uint32_t *term, uint32_t n, form *f) {
  uint32_t state = SQ_NO_SCALAR, other = SQ_NO_SCALAR;
  for (uint32_t k = 0; k < n; k++) {
    const form *p = &r->of[term[k]];
    if (p->kind == FREE) {
      other = other == SQ_NO_SCALAR ? term[k] : log_add(r, other, term[k]);
      continue;
    }
    if (!is_unit(p) || state != SQ_NO_SCALAR) return false;
    state = term[k];
  }
  if (state == SQ_NO_SCALAR || other == SQ_NO_SCALAR) return false;
  *f = form_of(LOG, r->of[state].minus, r->of[state].other, other);
  return true;
}

// Exponentials of differences from `top`: what these are of.
static bool find_terms(const reader *r, uint32_t id, uint32_t top, uint32_t *term, uint32_t *n) {
  const sq_scalar *x = &r->k->s.v[id];
  uint32_t a;
  if (x->kind == SQ_SC_EWISE && x->ew == SQ_EW_ADD)
    return find_terms(r, x->a[0], top, term, n) && find_terms(r, x->a[1], top, term, n);
  if (*n == TERMS || !is_function(r, id, SQ_EW_EXP, &a)) return false;
  bool turned = is_function(r, a, SQ_EW_NEG, &a);
  if (!turned) a = x->a[0];
  const sq_scalar *d = &r->k->s.v[a];
  if (d->kind != SQ_SC_EWISE || d->ew != SQ_EW_SUB || d->a[!turned] != top) return false;
  term[(*n)++] = d->a[turned];
  return true;
}

// Is the scalar log(1 + exp(-abs(p - q)))?
static bool is_excess(const reader *r, uint32_t id, uint32_t *p, uint32_t *q) {
  uint32_t a;
  if (is_function(r, id, SQ_EW_LOG, &a)) {
    const sq_scalar *x = &r->k->s.v[a];
    if (x->kind != SQ_SC_EWISE || x->ew != SQ_EW_ADD) return false;
    if (!is_float(r, x->a[0], 1) && !is_float(r, x->a[1], 1)) return false;
    a = x->a[is_float(r, x->a[0], 1)];
  } else if (!is_function(r, id, SQ_EW_LOG1P, &a)) {
    return false;
  }
  if (!is_function(r, a, SQ_EW_EXP, &a) || !is_function(r, a, SQ_EW_NEG, &a) ||
      !is_function(r, a, SQ_EW_ABS, &a) || !is_function(r, a, SQ_EW_SUB, p))
    return false;
  *q = r->k->s.v[a].a[1];
  return true;
}

// The same written so that it does not overflow: n + log(exp(p - n) + exp(q - n)) with any n, or
// max(p, q) + log(1 + exp(-abs(p - q))).
static bool is_shifted(reader *r, uint32_t top, uint32_t l, form *f) {
  uint32_t term[TERMS], n = 0, a;
  if (is_function(r, l, SQ_EW_LOG, &a) && find_terms(r, a, top, term, &n) && log_sum(r, term, n, f))
    return true;
  const sq_scalar *x = &r->k->s.v[top];
  if (x->kind != SQ_SC_EWISE || x->ew != SQ_EW_MAX || !is_excess(r, l, &term[0], &term[1]))
    return false;
  bool same =
      (term[0] == x->a[0] && term[1] == x->a[1]) || (term[0] == x->a[1] && term[1] == x->a[0]);
  return same && log_sum(r, term, 2, f);
}

// ---- forms of scalars --------------------------------------------------------------------------
static form of_ewise(reader *r, const sq_scalar *x) {
  uint32_t ia = x->a[0], ib = x->a[1];
  form a = r->of[ia], b = sq_ewise_table[x->ew].arity > 1 ? r->of[ib] : (form){.kind = FREE}, f;
  if (x->ew == SQ_EW_ADD && (is_shifted(r, ia, ib, &f) || is_shifted(r, ib, ia, &f))) {
    r->why = NULL; // of what it is made of
    return f;
  }
  if (a.kind == NONE || b.kind == NONE) return (form){.kind = NONE};
  switch ((int)x->ew) {
  case SQ_EW_ADD:
    return add(r, a, ia, b, ib);
  case SQ_EW_SUB: {
    form minus = negate(r, b, &ib);
    return minus.kind == NONE ? minus : add(r, a, ia, minus, ib);
  }
  case SQ_EW_NEG:
    return negate(r, a, &ia);
  case SQ_EW_MUL:
    if (a.kind == FREE) return scale(r, SQ_EW_MUL, b, ia);
    if (a.kind == EXP || b.kind == EXP) return exponent(r);
    return b.kind == FREE ? scale(r, SQ_EW_MUL, a, ib) : none(r, "", " multiplied by itself");
  case SQ_EW_DIV:
    if (b.kind == EXP) return exponent(r);
    return b.kind == FREE ? scale(r, SQ_EW_DIV, a, ib) : none(r, "a division by ", "");
  case SQ_EW_MAX:
  case SQ_EW_MIN:
    return extreme(r, a, ia, b, ib, x->ew);
  case SQ_EW_EXP:
    return exponential(r, a);
  case SQ_EW_LOG:
    return logarithm(r, a);
  case SQ_EW_LOG1P:
    return logarithm(r, a.kind == EXP ? moved(r, a, constant(r, 1)) : a);
  default:
    return none(r, sq_arena_fmt(r->g->arena, "`%s` around ", sq_ewise_table[x->ew].name), "");
  }
}

// Is the read of the state at the element that is made?
static bool at_own_place(const reader *r, const sq_scalar *x) {
  uint32_t at = 0;
  if (x->guard != SQ_NO_SCALAR || x->other != SQ_NO_SCALAR || x->site != SQ_NO_SITE) return false;
  for (uint32_t a = 0; a < r->k->n_par; a++) {
    uint32_t cls = r->x->cls[a];
    if (cls == SQ_SWEEP_NONE || r->s->lane[cls]) continue;
    if (at == x->n_pos) return false;
    const sq_scalar *p = &r->k->s.v[x->pos[at++]];
    if (p->kind != SQ_SC_INDEX || p->axis != a) return false;
  }
  return at == x->n_pos;
}

static bool is_free(const reader *r, uint32_t id) {
  return id == SQ_NO_SCALAR || r->of[id].kind == FREE;
}

static bool made_of_free(const reader *r, const sq_scalar *x) {
  uint32_t n = x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
               : x->kind == SQ_SC_SELECT ? 3
               : x->kind == SQ_SC_CAST   ? 1
                                         : 0;
  for (uint32_t j = 0; j < n; j++)
    if (!is_free(r, x->a[j])) return false;
  if (x->kind != SQ_SC_READ) return true;
  for (uint32_t j = 0; j < x->n_pos; j++)
    if (!is_free(r, x->pos[j])) return false;
  return is_free(r, x->guard) && is_free(r, x->other);
}

static form of_scalar(reader *r, uint32_t id) {
  const sq_scalar x = r->k->s.v[id];
  if (x.kind == SQ_SC_READ && r->x->inner[x.operand] == r->state) {
    if (!at_own_place(r, &x)) return none(r, "an element of ", " at another place");
    return form_of(SUM, false, SQ_NO_SCALAR, SQ_NO_SCALAR);
  }
  if (made_of_free(r, &x)) return (form){.kind = FREE};
  if (x.kind == SQ_SC_EWISE) return of_ewise(r, &x);
  if (x.kind == SQ_SC_READ) return none(r, "a place that depends on ", "");
  if (x.kind == SQ_SC_CAST)
    return r->of[x.a[0]].kind == NONE ? (form){.kind = NONE} : none(r, "a conversion of ", "");
  sq_ewise e;
  form a = r->of[x.a[1]], b = r->of[x.a[2]];
  if (a.kind == NONE || b.kind == NONE) return (form){.kind = NONE};
  if (is_extreme(r, &x, &e)) return extreme(r, a, x.a[1], b, x.a[2], e);
  if (r->of[x.a[0]].kind == NONE) return (form){.kind = NONE};
  if (r->of[x.a[0]].kind != FREE) return none(r, "a choice by ", "");
  return choice(r, x.a[0], a, x.a[1], b, x.a[2]);
}

// The map of a form that is what the whole member makes.
static sq_prefix_map map_of(reader *r, form f) {
  static const sq_prefix_how how[] = {SQ_PREFIX_NONE, SQ_PREFIX_SUM, SQ_PREFIX_MAX, SQ_PREFIX_MIN,
                                      SQ_PREFIX_LOG};
  if (f.kind == EXP) f = exponent(r);
  if (is_bound(&f) && f.minus) f = none(r, "the negative of ", " inside a maximum or minimum");
  if (f.kind == NONE)
    return (sq_prefix_map){SQ_PREFIX_NONE, SQ_NO_SCALAR, SQ_NO_SCALAR, SQ_NO_SCALAR};
  if (f.kind == SUM && f.minus) f.by = factor(r, &f);
  return (sq_prefix_map){how[f.kind], f.by, f.other, f.high};
}

sq_prefix_map sq_prefix_map_of(sq_sweep *s, uint32_t i, uint32_t state, const char **why) {
  sq_graph *g = s->g;
  sq_sweep_nest *x = &s->member[i];
  sq_generic *k = x->n->g;
  reader r = {.s = s, .g = g, .x = x, .k = k, .state = state};
  r.type = s->value[state].v->type.dtype;
  if (r.type != SQ_F32 && r.type != SQ_F64) r.why = "what it carries is rounded in every turn";
  if (!r.why && (k->n_red || k->post != SQ_NO_SCALAR)) r.why = "a sum over the state";
  *why = r.why;
  if (r.why) return (sq_prefix_map){SQ_PREFIX_NONE, SQ_NO_SCALAR, SQ_NO_SCALAR, SQ_NO_SCALAR};
  r.of = SQ_ARRAY(g->arena, form, k->s.n + 1);
  for (uint32_t j = 0; j <= k->body; j++) r.of[j] = of_scalar(&r, j);
  const form f = r.of[k->body];
  if (f.kind != NONE) r.why = NULL; // of a scalar that it is not made of
  sq_prefix_map m = map_of(&r, f);
  *why = r.why;
  return m;
}
