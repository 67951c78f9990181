// Questions about symbolic sizes: bounds, `a <= b`, `a == b`. Sound and incomplete: an answer holds
// for every value of the symbols that satisfies their bounds and the facts and gives both sides a
// value; what is not settled within a fixed budget is "unknown".
//
// `a <= b` is asked as  b - a >= 0  about a linear form over atoms: first by intervals of its
// terms, then by subtracting things known to be >= 0 that cancel a term (facts; n <= limit; what
// defines floordiv and mod; M * N >= N), and by taking min and max apart into cases.
#include "ir/dims_inner.h"

enum { MAX_LIN = 48, MAX_FACTS = 256, MAX_STEPS = 3000, MAX_CHAIN = 4, MAX_NEST = 3 };

typedef struct lin {
  int64_t k;
  uint32_t n;
  bool bad; // too large to reason about
  sq_dim_term t[MAX_LIN];
} lin;

enum { CACHE = 64 };
typedef struct prover {
  const sq_dims *ds;
  bool symbols; // use what is known of symbols, and facts; else the form only
  uint32_t steps, range_steps;
  uint32_t key[CACHE]; // ranges found, by id
  dim_range found[CACHE];
} prover;

// ---- intervals ---------------------------------------------------------------------------------

static const dim_range everything = {INT64_MIN, INT64_MAX};

static int64_t mul_bound(int64_t a, int64_t b) {
  return a == 0 || b == 0 ? 0 : dim_clamp((__int128)a * b);
}

static dim_range range_mul(dim_range a, dim_range b) {
  int64_t p[4] = {mul_bound(a.lo, b.lo), mul_bound(a.lo, b.hi), mul_bound(a.hi, b.lo),
                  mul_bound(a.hi, b.hi)};
  dim_range r = {p[0], p[0]};
  for (int i = 1; i < 4; i++) {
    if (p[i] < r.lo) r.lo = p[i];
    if (p[i] > r.hi) r.hi = p[i];
  }
  return r;
}

static dim_range range_add(dim_range a, dim_range b) {
  dim_range r;
  r.lo = a.lo == INT64_MIN || b.lo == INT64_MIN ? INT64_MIN : dim_clamp((__int128)a.lo + b.lo);
  r.hi = a.hi == INT64_MAX || b.hi == INT64_MAX ? INT64_MAX : dim_clamp((__int128)a.hi + b.hi);
  return r;
}

// Quotient of bounds; b >= 1, where INT64_MAX is "no bound".
static int64_t div_bound(int64_t a, int64_t b) {
  if (dim_is_infinite(a)) return b == INT64_MAX ? (a < 0 ? -1 : 0) : a;
  if (b == INT64_MAX) return a < 0 ? -1 : 0;
  return dim_floordiv(a, b);
}

static dim_range range_floordiv(dim_range a, dim_range b) {
  if (b.lo == 0) b.lo = 1; // by zero there is no value
  if (b.lo < 1 || b.hi < b.lo) return everything;
  dim_range r;
  if (a.lo == INT64_MIN)
    r.lo = INT64_MIN;
  else
    r.lo = a.lo >= 0 ? div_bound(a.lo, b.hi) : div_bound(a.lo, b.lo);
  if (a.hi == INT64_MAX)
    r.hi = INT64_MAX;
  else
    r.hi = a.hi >= 0 ? div_bound(a.hi, b.lo) : div_bound(a.hi, b.hi);
  return r;
}

static dim_range range_mod(dim_range a, dim_range b) {
  dim_range r = everything;
  if (b.lo >= 0)
    r.lo = 0;
  else if (b.lo != INT64_MIN)
    r.lo = b.lo + 1;
  if (b.hi <= 0)
    r.hi = 0;
  else if (b.hi != INT64_MAX)
    r.hi = b.hi - 1;
  if (b.lo >= 0 && a.lo >= 0 && a.hi < r.hi) r.hi = a.hi;
  if (b.lo > 0 && a.lo >= 0 && a.hi < b.lo) r = a;
  return r;
}

static dim_range range_of(prover *p, sq_dim d, uint32_t nest);

static void narrow(dim_range *r, dim_range by) {
  if (by.lo > r->lo) r->lo = by.lo;
  if (by.hi < r->hi) r->hi = by.hi;
}

// What the facts that mention atom d alone in one term say of it.
static void narrow_by_facts(prover *p, sq_dim d, dim_range *r, uint32_t nest) {
  const sq_dims *ds = p->ds;
  for (uint32_t f = 0; f < ds->fact.n && f < MAX_FACTS; f++) {
    const sq_dim_node *e = sq_dim_at(ds, ds->fact.v[f].diff);
    int64_t coef = 0;
    if (ds->fact.v[f].diff.i == d.i) {
      narrow(r, (dim_range){0, ds->fact.v[f].equal ? 0 : INT64_MAX});
      continue;
    }
    if (e->kind != SQ_DIM_SUM || e->n > 8) continue;
    for (uint32_t i = 0; i < e->n; i++)
      if (e->term[i].prod.i == d.i) coef = e->term[i].coef;
    if (coef == 0 || coef == INT64_MIN || ++p->range_steps > 4 * MAX_STEPS) continue;
    dim_range rest = {e->value, e->value}; // coef * d + rest >= 0
    for (uint32_t i = 0; i < e->n; i++)
      if (e->term[i].prod.i != d.i)
        rest = range_add(rest, range_mul(range_of(p, e->term[i].prod, nest + 1),
                                         (dim_range){e->term[i].coef, e->term[i].coef}));
    if (coef < 0 && rest.hi != INT64_MAX)
      narrow(r, (dim_range){INT64_MIN, div_bound(rest.hi, -coef)});
    if (coef > 0 && rest.hi != INT64_MAX && rest.hi != INT64_MIN)
      narrow(r, (dim_range){-dim_floordiv(rest.hi, coef), INT64_MAX});
    if (!ds->fact.v[f].equal || rest.lo == INT64_MIN || rest.lo == INT64_MAX) continue;
    if (coef < 0)
      narrow(r, (dim_range){-dim_floordiv(-rest.lo, -coef), INT64_MAX});
    else
      narrow(r, (dim_range){INT64_MIN, dim_floordiv(-rest.lo, coef)});
  }
}

static dim_range range_uncached(prover *p, sq_dim d, uint32_t nest) {
  const sq_dims *ds = p->ds;
  const sq_dim_node *n = sq_dim_at(ds, d);
  dim_range r = everything;
  if (++p->range_steps > 8 * MAX_STEPS) return everything;
  switch (n->kind) {
  case SQ_DIM_CONST:
    return dim_is_infinite(n->value) ? everything : (dim_range){n->value, n->value};
  case SQ_DIM_SYM:
    if (!p->symbols) return everything;
    r.lo = ds->sym.v[n->sym.i]->low;
    if (ds->sym.v[n->sym.i]->kind == SQ_SYM_LIVE) {
      if (r.lo < 0) r.lo = 0;
      sq_dim limit = ds->sym.v[n->sym.i]->limit;
      if (limit.i && nest < MAX_NEST) r.hi = range_of(p, limit, nest + 1).hi;
    }
    break;
  case SQ_DIM_SUM:
    r = (dim_range){n->value, n->value};
    for (uint32_t i = 0; i < n->n; i++)
      r = range_add(r, range_mul(range_of(p, n->term[i].prod, nest),
                                 (dim_range){n->term[i].coef, n->term[i].coef}));
    break;
  case SQ_DIM_PROD:
    r = (dim_range){1, 1};
    for (uint32_t i = 0; i < n->n; i++) { // x * x is not negative
      dim_range f = range_of(p, n->factor[i], nest);
      if (i + 1 < n->n && n->factor[i + 1].i == n->factor[i].i) {
        f = range_mul(f, f);
        if (f.lo < 0) f.lo = 0;
        i++;
      }
      r = range_mul(r, f);
    }
    break;
  case SQ_DIM_FLOORDIV:
    r = range_floordiv(range_of(p, n->a, nest), range_of(p, n->b, nest));
    break;
  case SQ_DIM_MOD:
    r = range_mod(range_of(p, n->a, nest), range_of(p, n->b, nest));
    break;
  case SQ_DIM_MIN:
  case SQ_DIM_MAX: {
    dim_range a = range_of(p, n->a, nest), b = range_of(p, n->b, nest);
    bool min = n->kind == SQ_DIM_MIN;
    r.lo = (a.lo < b.lo) == min ? a.lo : b.lo;
    r.hi = (a.hi < b.hi) == min ? a.hi : b.hi;
    break;
  }
  }
  if (p->symbols && nest < MAX_NEST) narrow_by_facts(p, d, &r, nest);
  return r;
}

static dim_range range_of(prover *p, sq_dim d, uint32_t nest) {
  uint32_t at = d.i % CACHE;
  if (p->key[at] == d.i) return p->found[at];
  dim_range r = range_uncached(p, d, nest);
  if (nest == 0) {
    p->key[at] = d.i;
    p->found[at] = r;
  }
  return r;
}

dim_range sq_dim_form_range(const sq_dims *ds, sq_dim d) {
  prover p = {.ds = ds, .symbols = false};
  return range_of(&p, d, 0);
}

int64_t sq_dim_low(const sq_dims *ds, sq_dim d) {
  prover p = {.ds = ds, .symbols = true};
  return d.i ? range_of(&p, d, 0).lo : INT64_MIN;
}

int64_t sq_dim_high(const sq_dims *ds, sq_dim d) {
  prover p = {.ds = ds, .symbols = true};
  return d.i ? range_of(&p, d, 0).hi : INT64_MAX;
}

// ---- linear forms ------------------------------------------------------------------------------

static void lin_add_term(lin *l, int64_t coef, sq_dim prod) {
  for (uint32_t i = 0; i < l->n; i++)
    if (l->t[i].prod.i == prod.i) {
      l->t[i].coef = dim_clamp((__int128)l->t[i].coef + coef);
      if (dim_is_infinite(l->t[i].coef)) l->bad = true;
      if (l->t[i].coef == 0) l->t[i] = l->t[--l->n];
      return;
    }
  if (l->n == MAX_LIN || dim_is_infinite(coef))
    l->bad = true;
  else if (coef)
    l->t[l->n++] = (sq_dim_term){coef, prod};
}

// l += scale * d
static void lin_add(const sq_dims *ds, lin *l, sq_dim d, int64_t scale) {
  const sq_dim_node *n = sq_dim_at(ds, d);
  if (n->kind == SQ_DIM_CONST || n->kind == SQ_DIM_SUM) {
    l->k = dim_clamp((__int128)l->k + mul_bound(n->value, scale));
    if (dim_is_infinite(n->value) || dim_is_infinite(l->k)) l->bad = true;
    for (uint32_t i = 0; n->kind == SQ_DIM_SUM && i < n->n && !l->bad; i++)
      lin_add_term(l, mul_bound(n->term[i].coef, scale), n->term[i].prod);
  } else {
    l->bad |= d.i == ds->none.i;
    lin_add_term(l, scale, d);
  }
}

static lin lin_diff(const sq_dims *ds, sq_dim b, sq_dim a) {
  lin l = {.k = 0, .n = 0, .bad = false};
  lin_add(ds, &l, b, 1);
  lin_add(ds, &l, a, -1);
  return l;
}

static dim_range lin_range(prover *p, const lin *l) {
  dim_range r = {l->k, l->k};
  for (uint32_t i = 0; i < l->n; i++)
    r = range_add(r,
                  range_mul(range_of(p, l->t[i].prod, 0), (dim_range){l->t[i].coef, l->t[i].coef}));
  return r;
}

// The sum b is known to be >= 0 (or == 0): tries to subtract a multiple that cancels l->t[at].
// Gives false when signs or divisibility forbid.
static bool lin_cancel(lin *l, uint32_t at, const lin *known, bool equal) {
  sq_dim prod = l->t[at].prod;
  int64_t c = 0;
  for (uint32_t i = 0; i < known->n; i++)
    if (known->t[i].prod.i == prod.i) c = known->t[i].coef;
  if (!c || c == -1 - INT64_MAX || l->t[at].coef % c) return false;
  int64_t times = l->t[at].coef / c;
  if (times < 0 && !equal) return false;
  l->k = dim_clamp((__int128)l->k - mul_bound(known->k, times));
  if (dim_is_infinite(l->k)) l->bad = true;
  for (uint32_t i = 0; i < known->n && !l->bad; i++)
    lin_add_term(l, mul_bound(known->t[i].coef, dim_clamp(-(__int128)times)), known->t[i].prod);
  return !l->bad;
}

// ---- the proof search --------------------------------------------------------------------------

static bool nonneg(prover *p, const lin *l, uint32_t depth);

static bool try_known(prover *p, const lin *l, uint32_t at, const lin *known, bool equal,
                      uint32_t depth) {
  if (known->bad) return false;
  lin next = *l;
  return lin_cancel(&next, at, known, equal) && nonneg(p, &next, depth - 1);
}

// Things >= 0 that follow from what atom or product t[at] is, with the sign that can cancel it.
static bool try_atom(prover *p, const lin *l, uint32_t at, uint32_t depth) {
  const sq_dims *ds = p->ds;
  sq_dim d = l->t[at].prod;
  const sq_dim_node *n = sq_dim_at(ds, d);
  bool positive = l->t[at].coef > 0;
  lin known = {.k = 0, .n = 0, .bad = false};
  int64_t c;
  if (n->kind == SQ_DIM_SYM) {
    const sq_sym_info *info = ds->sym.v[n->sym.i];
    if (positive || info->kind != SQ_SYM_LIVE || !info->limit.i) return false;
    lin_add(ds, &known, info->limit, 1); // limit - n
    lin_add(ds, &known, d, -1);
    return try_known(p, l, at, &known, false, depth);
  }
  if (n->kind == SQ_DIM_FLOORDIV && sq_dim_is_const(ds, n->b, &c) && c > 1) {
    lin_add(ds, &known, n->a, positive ? -1 : 1); // a - c q  or  c q + c - 1 - a
    lin_add(ds, &known, d, positive ? c : -c);
    if (positive) known.k = dim_clamp((__int128)known.k + c - 1);
    if (l->t[at].coef % c == 0) return try_known(p, l, at, &known, false, depth);
    lin scaled = *l; // c * l >= 0 as well
    scaled.k = mul_bound(scaled.k, c);
    scaled.bad = dim_is_infinite(scaled.k);
    for (uint32_t i = 0; i < scaled.n; i++) {
      scaled.t[i].coef = mul_bound(scaled.t[i].coef, c);
      scaled.bad |= dim_is_infinite(scaled.t[i].coef);
    }
    return !scaled.bad && try_known(p, &scaled, at, &known, false, depth);
  }
  if (n->kind == SQ_DIM_FLOORDIV && !positive) { // q <= a where a >= 0 and b >= 1
    if (range_of(p, n->a, 0).lo < 0 || range_of(p, n->b, 0).lo < 0) return false;
    lin_add(ds, &known, n->a, 1);
    lin_add(ds, &known, d, -1);
    return try_known(p, l, at, &known, false, depth);
  }
  if (n->kind == SQ_DIM_MOD && !positive && range_of(p, n->b, 0).lo >= 0) {
    lin_add(ds, &known, n->b, 1); // b - 1 - m
    lin_add(ds, &known, d, -1);
    known.k = dim_clamp((__int128)known.k - 1);
    if (try_known(p, l, at, &known, false, depth)) return true;
    if (range_of(p, n->a, 0).lo < 0) return false;
    known = (lin){.k = 0, .n = 0, .bad = false};
    lin_add(ds, &known, n->a, 1); // a - m
    lin_add(ds, &known, d, -1);
    return try_known(p, l, at, &known, false, depth);
  }
  if (n->kind == SQ_DIM_MIN || n->kind == SQ_DIM_MAX) {
    // Both cases must hold, or one suffices when that side is the worse one for us.
    lin with_a = *l, with_b = *l;
    int64_t coef = l->t[at].coef;
    lin_add_term(&with_a, -coef, d);
    lin_add(ds, &with_a, n->a, coef);
    lin_add_term(&with_b, -coef, d);
    lin_add(ds, &with_b, n->b, coef);
    bool one = (n->kind == SQ_DIM_MIN) != positive;
    bool a = nonneg(p, &with_a, depth - 1);
    if (a == one) return a;
    return nonneg(p, &with_b, depth - 1);
  }
  if (n->kind == SQ_DIM_PROD && positive) { // f * rest >= low(f) * rest
    bool all = true;
    for (uint32_t i = 0; i < n->n; i++) all &= range_of(p, n->factor[i], 0).lo >= 0;
    for (uint32_t i = 0; all && i < n->n; i++) {
      int64_t low = range_of(p, n->factor[i], 0).lo;
      if (low < 1 || dim_is_infinite(low)) continue;
      sq_dim f[DIM_MAX_FACTORS];
      uint32_t m = 0;
      for (uint32_t j = 0; j < n->n; j++)
        if (j != i) f[m++] = n->factor[j];
      sq_dim rest = sq_dim_find_prod(ds, f, m);
      if (!rest.i) continue;
      known = (lin){.k = 0, .n = 0, .bad = false};
      lin_add_term(&known, 1, d);
      lin_add(ds, &known, rest, -low);
      if (try_known(p, l, at, &known, false, depth)) return true;
    }
  }
  return false;
}

static bool nonneg(prover *p, const lin *l, uint32_t depth) {
  if (l->bad) return false;
  dim_range r = lin_range(p, l);
  if (r.lo >= 0) return true;
  if (depth == 0 || r.hi < 0 || ++p->steps > MAX_STEPS) return false;
  for (uint32_t f = 0; f < p->ds->fact.n && f < MAX_FACTS; f++) {
    const dim_fact *fact = &p->ds->fact.v[f];
    lin known = {.k = 0, .n = 0, .bad = false};
    lin_add(p->ds, &known, fact->diff, 1);
    for (uint32_t at = 0; at < l->n && !known.bad; at++)
      if (try_known(p, l, at, &known, fact->equal, depth)) return true;
  }
  for (uint32_t at = 0; at < l->n; at++)
    if (try_atom(p, l, at, depth)) return true;
  return false;
}

static bool lin_nonneg(const sq_dims *ds, const lin *l) {
  prover p = {.ds = ds, .symbols = true};
  return nonneg(&p, l, MAX_CHAIN);
}

static lin lin_negated(const lin *l, int64_t less) { // -l - less
  lin r = *l;
  r.k = dim_clamp(-(__int128)l->k - less);
  r.bad |= dim_is_infinite(r.k);
  for (uint32_t i = 0; i < r.n; i++) r.t[i].coef = -r.t[i].coef;
  return r;
}

// Facts and mod -> a - b * floordiv(a, b) may show that the form is zero.
static bool lin_is_zero(const sq_dims *ds, const lin *l, uint32_t depth) {
  if (l->bad) return false;
  if (l->n == 0) return l->k == 0;
  for (uint32_t f = 0; depth && f < ds->fact.n && f < MAX_FACTS; f++) {
    if (!ds->fact.v[f].equal) continue;
    lin known = {.k = 0, .n = 0, .bad = false};
    lin_add(ds, &known, ds->fact.v[f].diff, 1);
    for (uint32_t at = 0; at < l->n && !known.bad; at++) {
      lin next = *l;
      if (lin_cancel(&next, at, &known, true) && lin_is_zero(ds, &next, depth - 1)) return true;
    }
  }
  return false;
}

// m = a % c with a constant c: replaced by a - c * floordiv(a, c) where that quotient exists.
static bool expand_mods(const sq_dims *ds, lin *l) {
  bool any = false;
  for (uint32_t at = 0; at < l->n && !l->bad; at++) {
    const sq_dim_node *n = sq_dim_at(ds, l->t[at].prod);
    int64_t c, coef = l->t[at].coef;
    if (n->kind != SQ_DIM_MOD || !sq_dim_is_const(ds, n->b, &c)) continue;
    sq_dim q = {0};
    for (uint32_t j = 0; j < l->n && !q.i; j++) {
      const sq_dim_node *d = sq_dim_at(ds, l->t[j].prod);
      if (d->kind == SQ_DIM_FLOORDIV && d->a.i == n->a.i && d->b.i == n->b.i) q = l->t[j].prod;
    }
    if (!q.i) continue;
    lin_add_term(l, -coef, l->t[at].prod);
    lin_add(ds, l, n->a, coef);
    lin_add_term(l, mul_bound(-coef, c), q);
    any = true;
    at = UINT32_MAX; // terms moved: from the start
  }
  return any && !l->bad;
}

static bool never_zero(const lin *l) { // by divisibility: 2 N - 2 M + 1
  uint64_t g = 0;
  for (uint32_t i = 0; i < l->n; i++) {
    uint64_t x = (uint64_t)(l->t[i].coef < 0 ? -l->t[i].coef : l->t[i].coef);
    while (x) {
      uint64_t r = g % x;
      g = x;
      x = r;
    }
  }
  uint64_t k = (uint64_t)(l->k < 0 ? -l->k : l->k);
  return !l->bad && (g == 0 ? k != 0 : k % g != 0);
}

int sq_prove_eq(const sq_dims *ds, sq_dim a, sq_dim b) {
  if (!a.i || !b.i) return 0;
  if (a.i == b.i) return a.i != ds->none.i;
  lin l = lin_diff(ds, b, a);
  if (l.bad) return 0;
  if (lin_is_zero(ds, &l, 2)) return 1;
  if (never_zero(&l)) return -1;
  lin less = lin_negated(&l, 1), more = l; // a - b >= 1, b - a >= 1
  more.k = dim_clamp((__int128)more.k - 1);
  if (lin_nonneg(ds, &less) || lin_nonneg(ds, &more)) return -1;
  lin back = lin_negated(&l, 0);
  if (lin_nonneg(ds, &l) && lin_nonneg(ds, &back)) return 1;
  return expand_mods(ds, &l) && lin_is_zero(ds, &l, 2) ? 1 : 0;
}

int sq_prove_le(const sq_dims *ds, sq_dim a, sq_dim b) {
  if (!a.i || !b.i) return 0;
  if (a.i == b.i) return a.i != ds->none.i;
  lin l = lin_diff(ds, b, a);
  if (l.bad) return 0;
  if (lin_nonneg(ds, &l)) return 1;
  lin more = lin_negated(&l, 1);
  if (lin_nonneg(ds, &more)) return -1;
  return expand_mods(ds, &l) && lin_nonneg(ds, &l) ? 1 : 0;
}

// ---- facts -------------------------------------------------------------------------------------

static void fact_add(sq_dims *ds, sq_dim a, sq_dim b, bool equal) {
  if (!a.i || !b.i) return;
  sq_dim diff = sq_dim_sub(ds, b, a);
  if (sq_dim_is_const(ds, diff, NULL)) return; // says nothing, or that nothing is ever called
  for (uint32_t i = 0; i < ds->fact.n; i++)
    if (ds->fact.v[i].diff.i == diff.i && ds->fact.v[i].equal == equal) return;
  sq_push(ds->arena, &ds->fact, (dim_fact){diff, a, b, equal});
}

void sq_fact_le(sq_dims *ds, sq_dim a, sq_dim b) { fact_add(ds, a, b, false); }
void sq_fact_eq(sq_dims *ds, sq_dim a, sq_dim b) { fact_add(ds, a, b, true); }

void sq_fact_forget(sq_dims *ds, sq_sym s) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < ds->fact.n; i++)
    if (!sq_dim_mentions(ds, ds->fact.v[i].diff, s)) ds->fact.v[kept++] = ds->fact.v[i];
  ds->fact.n = kept;
}

uint32_t sq_fact_count(const sq_dims *ds) { return ds->fact.n; }

bool sq_fact_at(const sq_dims *ds, uint32_t i, sq_dim *a, sq_dim *b) {
  *a = ds->fact.v[i].a;
  *b = ds->fact.v[i].b;
  return ds->fact.v[i].equal;
}
