// Derivatives, backwards: from the root to the leaves, each scalar hands on what it gets times its own
// derivative by its operands.
#include "ir/derive.h"

typedef enum kind { ZERO, ONE, MINUS, TIMES } kind;
typedef struct slope { // 0, 1, -1, or a scalar
  kind kind;
  uint32_t id;
} slope;

typedef struct deriver {
  sq_graph *g;
  sq_generic *k;
  bool *on;    // per scalar: it depends on a leaf
  slope *got;  // per scalar: derivative of the root by it
  sq_scalar x; // being looked at
  uint32_t id; // of it
  const char *why;
} deriver;

static const slope zero = {ZERO, SQ_NO_SCALAR}, one = {ONE, SQ_NO_SCALAR},
                   minus = {MINUS, SQ_NO_SCALAR};

// ---- scalars -----------------------------------------------------------------------------------
static uint32_t number(deriver *d, double v) { return sq_sc_float(d->g, d->k, d->x.dtype, v); }

static uint32_t two(deriver *d, sq_ewise e, uint32_t a, uint32_t b) {
  return sq_sc_ewise(d->g, d->k, e, a, b);
}

static uint32_t alone(deriver *d, sq_ewise e, uint32_t a) {
  return sq_sc_ewise(d->g, d->k, e, a, SQ_NO_SCALAR);
}

static slope times(uint32_t id) { return (slope){TIMES, id}; }

static uint32_t as_scalar(deriver *d, slope s) {
  return s.kind == TIMES ? s.id : number(d, s.kind == ZERO ? 0 : s.kind == ONE ? 1 : -1);
}

static slope product(deriver *d, slope a, slope b) {
  if (a.kind == ZERO || b.kind == ZERO) return zero;
  if (a.kind == ONE) return b;
  if (b.kind == ONE) return a;
  if (a.kind == MINUS && b.kind == MINUS) return one;
  if (a.kind == MINUS) return times(alone(d, SQ_EW_NEG, b.id));
  if (b.kind == MINUS) return times(alone(d, SQ_EW_NEG, a.id));
  return times(two(d, SQ_EW_MUL, a.id, b.id));
}

static slope sum(deriver *d, slope a, slope b) {
  if (a.kind == ZERO) return b;
  if (b.kind == ZERO) return a;
  return times(two(d, SQ_EW_ADD, as_scalar(d, a), as_scalar(d, b)));
}

// ---- the rules: of the scalar x = e(a, b) by a, by b ------------------------------------------
static uint32_t a_of(const deriver *d) { return d->x.a[0]; }
static uint32_t b_of(const deriver *d) { return d->x.a[1]; }
static slope by_one(deriver *d) { return (void)d, one; }
static slope by_minus(deriver *d) { return (void)d, minus; }
static slope by_other_a(deriver *d) { return times(a_of(d)); }
static slope by_other_b(deriver *d) { return times(b_of(d)); }
static slope by_itself(deriver *d) { return times(d->id); }

static slope div_a(deriver *d) { return times(two(d, SQ_EW_DIV, number(d, 1), b_of(d))); }
static slope div_b(deriver *d) {
  return times(alone(d, SQ_EW_NEG, two(d, SQ_EW_DIV, d->id, b_of(d))));
}
static slope pow_a(deriver *d) {
  uint32_t less = two(d, SQ_EW_SUB, b_of(d), number(d, 1));
  return times(two(d, SQ_EW_MUL, b_of(d), two(d, SQ_EW_POW, a_of(d), less)));
}
static slope pow_b(deriver *d) {
  return times(two(d, SQ_EW_MUL, d->id, alone(d, SQ_EW_LOG, a_of(d))));
}
static slope is_less(deriver *d, uint32_t a, uint32_t b, double then, double other) {
  uint32_t c = two(d, SQ_EW_LE, a, b);
  return times(sq_sc_select(d->g, d->k, c, number(d, then), number(d, other)));
}
static slope min_a(deriver *d) { return is_less(d, a_of(d), b_of(d), 1, 0); }
static slope min_b(deriver *d) { return is_less(d, a_of(d), b_of(d), 0, 1); }
static slope max_a(deriver *d) { return is_less(d, b_of(d), a_of(d), 1, 0); }
static slope max_b(deriver *d) { return is_less(d, b_of(d), a_of(d), 0, 1); }
static uint32_t square(deriver *d, uint32_t a) { return two(d, SQ_EW_MUL, a, a); }
static uint32_t squares(deriver *d) {
  return two(d, SQ_EW_ADD, square(d, a_of(d)), square(d, b_of(d)));
}
static slope atan2_a(deriver *d) { return times(two(d, SQ_EW_DIV, b_of(d), squares(d))); }
static slope atan2_b(deriver *d) {
  return times(alone(d, SQ_EW_NEG, two(d, SQ_EW_DIV, a_of(d), squares(d))));
}
static slope of_abs(deriver *d) { return times(alone(d, SQ_EW_SIGN, a_of(d))); }
static slope of_exp2(deriver *d) {
  return times(two(d, SQ_EW_MUL, d->id, number(d, 0.69314718055994530942)));
}
static slope of_expm1(deriver *d) { return times(two(d, SQ_EW_ADD, d->id, number(d, 1))); }
static slope over_a(deriver *d, double v) {
  return times(two(d, SQ_EW_DIV, number(d, v), a_of(d)));
}
static slope of_log(deriver *d) { return over_a(d, 1); }
static slope of_log2(deriver *d) { return over_a(d, 1.44269504088896340736); }
static slope of_log1p(deriver *d) {
  uint32_t more = two(d, SQ_EW_ADD, a_of(d), number(d, 1));
  return times(two(d, SQ_EW_DIV, number(d, 1), more));
}
static slope of_sqrt(deriver *d) { return times(two(d, SQ_EW_DIV, number(d, 0.5), d->id)); }
static slope of_rsqrt(deriver *d) {
  uint32_t half = two(d, SQ_EW_MUL, number(d, -0.5), d->id);
  return times(two(d, SQ_EW_MUL, half, square(d, d->id)));
}
static slope of_sin(deriver *d) { return times(alone(d, SQ_EW_COS, a_of(d))); }
static slope of_cos(deriver *d) { return times(alone(d, SQ_EW_NEG, alone(d, SQ_EW_SIN, a_of(d)))); }
static slope of_tan(deriver *d) { return times(two(d, SQ_EW_ADD, number(d, 1), square(d, d->id))); }
static slope of_tanh(deriver *d) {
  return times(two(d, SQ_EW_SUB, number(d, 1), square(d, d->id)));
}
static slope of_erf(deriver *d) {
  uint32_t e = alone(d, SQ_EW_EXP, alone(d, SQ_EW_NEG, square(d, a_of(d))));
  return times(two(d, SQ_EW_MUL, number(d, 1.12837916709551257390), e));
}
static slope of_sigmoid(deriver *d) {
  return times(two(d, SQ_EW_MUL, d->id, two(d, SQ_EW_SUB, number(d, 1), d->id)));
}

typedef slope (*rule)(deriver *d);
static const rule rules[SQ_EW_COUNT][2] = {
    [SQ_EW_ADD] = {by_one, by_one},
    [SQ_EW_SUB] = {by_one, by_minus},
    [SQ_EW_MUL] = {by_other_b, by_other_a},
    [SQ_EW_DIV] = {div_a, div_b},
    [SQ_EW_POW] = {pow_a, pow_b},
    [SQ_EW_MIN] = {min_a, min_b},
    [SQ_EW_MAX] = {max_a, max_b},
    [SQ_EW_ATAN2] = {atan2_a, atan2_b},
    [SQ_EW_NEG] = {by_minus},
    [SQ_EW_ABS] = {of_abs},
    [SQ_EW_EXP] = {by_itself},
    [SQ_EW_EXP2] = {of_exp2},
    [SQ_EW_EXPM1] = {of_expm1},
    [SQ_EW_LOG] = {of_log},
    [SQ_EW_LOG2] = {of_log2},
    [SQ_EW_LOG1P] = {of_log1p},
    [SQ_EW_SQRT] = {of_sqrt},
    [SQ_EW_RSQRT] = {of_rsqrt},
    [SQ_EW_SIN] = {of_sin},
    [SQ_EW_COS] = {of_cos},
    [SQ_EW_TAN] = {of_tan},
    [SQ_EW_TANH] = {of_tanh},
    [SQ_EW_ERF] = {of_erf},
    [SQ_EW_SIGMOID] = {of_sigmoid},
};

// ---- from the root to the leaves ---------------------------------------------------------------
static bool depends(const deriver *d, uint32_t id) { return id != SQ_NO_SCALAR && d->on[id]; }

static uint32_t arity(const sq_scalar *x) {
  return x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
         : x->kind == SQ_SC_SELECT ? 3
         : x->kind == SQ_SC_CAST   ? 1
                                   : 0;
}

static bool reads_by(const deriver *d, const sq_scalar *x) {
  bool on = depends(d, x->guard) || depends(d, x->other);
  for (uint32_t j = 0; j < x->n_pos; j++) on |= depends(d, x->pos[j]);
  return on;
}

static void find_dependent(deriver *d, uint32_t n, const bool *leaf) {
  for (uint32_t j = 0; j < n; j++) {
    const sq_scalar *x = &d->k->s.v[j];
    d->on[j] = leaf[j] || (x->kind == SQ_SC_READ && reads_by(d, x));
    for (uint32_t i = 0; i < arity(x); i++) d->on[j] |= d->on[x->a[i]];
  }
}

static void refuse(deriver *d, const char *why) {
  if (!d->why) d->why = why;
}

static void hand_on(deriver *d, uint32_t to, slope by) {
  slope s = product(d, d->got[d->id], by);
  d->got[to] = sum(d, d->got[to], s);
}

static void of_ewise(deriver *d) {
  const sq_ewise_info *info = &sq_ewise_table[d->x.ew];
  for (int j = 0; j < info->arity; j++) {
    if (!depends(d, d->x.a[j])) continue;
    rule r = sq_is_float(d->x.dtype) ? rules[d->x.ew][j] : NULL;
    if (!r)
      refuse(d, sq_arena_fmt(d->g->arena, "`%s` around ", info->name));
    else
      hand_on(d, d->x.a[j], r(d));
  }
}

static void of_select(deriver *d) {
  if (depends(d, d->x.a[0])) {
    refuse(d, "a choice by ");
    return;
  }
  for (int j = 1; j < 3; j++) {
    if (!depends(d, d->x.a[j])) continue;
    uint32_t yes = number(d, j == 1), no = number(d, j == 2);
    hand_on(d, d->x.a[j], times(sq_sc_select(d->g, d->k, d->x.a[0], yes, no)));
  }
}

static void of_cast(deriver *d) {
  sq_dtype from = d->k->s.v[d->x.a[0]].dtype;
  if (!sq_is_float(from) || !sq_is_float(d->x.dtype)) {
    refuse(d, "a conversion of ");
    return;
  }
  slope got = d->got[d->id];
  if (got.kind == TIMES) got.id = sq_sc_cast(d->g, d->k, got.id, from);
  d->x.dtype = from;
  d->got[d->x.a[0]] = sum(d, d->got[d->x.a[0]], got);
}

static void of_scalar(deriver *d) {
  if (d->x.kind == SQ_SC_EWISE)
    of_ewise(d);
  else if (d->x.kind == SQ_SC_SELECT)
    of_select(d);
  else if (d->x.kind == SQ_SC_CAST)
    of_cast(d);
  else
    refuse(d, "a place that depends on ");
}

sq_derivative sq_derive(sq_graph *g, sq_generic *k, uint32_t root, const bool *leaf) {
  uint32_t n = k->s.n;
  deriver w = {.g = g, .k = k}, *d = &w;
  d->on = SQ_ARRAY(g->arena, bool, n + 1);
  d->got = SQ_ARRAY(g->arena, slope, n + 1); // all ZERO
  sq_derivative out = {.n = n, .by = SQ_ARRAY(g->arena, uint32_t, n + 1)};
  find_dependent(d, n, leaf);
  d->got[root] = one;
  for (uint32_t j = root + 1; j-- > 0;) {
    d->id = j;
    d->x = k->s.v[j];
    if (d->got[j].kind == ZERO || !d->on[j]) continue;
    if (!leaf[j]) of_scalar(d);
  }
  for (uint32_t j = 0; j < n; j++) {
    out.by[j] = SQ_NO_SCALAR;
    d->x = k->s.v[j];
    if (leaf[j] && d->got[j].kind != ZERO) out.by[j] = as_scalar(d, d->got[j]);
  }
  out.why = w.why;
  return out;
}
