// Ranges of indices and proofs that reads stay inside.
//
// A position is seen as  sum of coefficient * atom + offset, where an atom is an index or an opaque
// integer (a value read from data, a floor division, ..) and coefficients and offset are sizes.
// What is to be proved is >= 0 of such a form: by the bounds of its atoms, then with one or two of
// the conditions that hold at that place subtracted.
#include "frontend/lower.h"

enum { MAX_ATOMS = 12, MAX_FACTS = 24 };

typedef struct lin {
  bool ok;
  uint32_t n;
  sq_sx *atom[MAX_ATOMS];
  sq_dim coef[MAX_ATOMS];
  sq_dim off;
} lin;

static sq_dim constant(sq_low *L, int64_t v) { return sq_dim_const(L->g->dims, v); }
static bool is_zero(sq_low *L, sq_dim d) {
  int64_t v;
  return sq_dim_is_const(L->g->dims, d, &v) && v == 0;
}

static lin lin_dim(sq_dim d) { return (lin){.ok = true, .off = d}; }

static void lin_term(sq_low *L, lin *l, sq_sx *atom, sq_dim coef) {
  for (uint32_t k = 0; k < l->n; k++)
    if (sq_sx_same(l->atom[k], atom)) {
      l->coef[k] = sq_dim_add(L->g->dims, l->coef[k], coef);
      if (is_zero(L, l->coef[k])) {
        l->atom[k] = l->atom[l->n - 1];
        l->coef[k] = l->coef[--l->n];
      }
      return;
    }
  if (l->n == MAX_ATOMS) {
    l->ok = false;
    return;
  }
  l->atom[l->n] = atom;
  l->coef[l->n++] = coef;
}

// a + scale * b
static lin lin_add(sq_low *L, lin a, const lin *b, sq_dim scale) {
  if (!b->ok) a.ok = false;
  if (!a.ok) return a;
  a.off = sq_dim_add(L->g->dims, a.off, sq_dim_mul(L->g->dims, b->off, scale));
  for (uint32_t k = 0; k < b->n && a.ok; k++)
    lin_term(L, &a, b->atom[k], sq_dim_mul(L->g->dims, b->coef[k], scale));
  return a;
}

static lin lin_atom(sq_low *L, sq_sx *e) {
  lin l = lin_dim(constant(L, 0));
  lin_term(L, &l, e, constant(L, 1));
  return l;
}

static lin lin_of(sq_low *L, sq_sx *e, uint32_t depth) {
  if (depth > 100) return (lin){.ok = false};
  sq_dims *ds = L->g->dims;
  switch (e->kind) {
  case SQ_SX_INT:
    return lin_dim(constant(L, e->i));
  case SQ_SX_DIM:
    return lin_dim(e->dim);
  case SQ_SX_CAST:
    if (sq_is_float(e->a[0]->dtype) || sq_is_float(e->dtype)) return lin_atom(L, e);
    if (e->dtype == SQ_I64) return lin_of(L, e->a[0], depth + 1);
    return lin_atom(L, e);
  case SQ_SX_EWISE: {
    if (e->dtype != SQ_I64) return lin_atom(L, e); // narrower arithmetic may wrap
    if (e->ew != SQ_EW_ADD && e->ew != SQ_EW_SUB && e->ew != SQ_EW_NEG && e->ew != SQ_EW_MUL &&
        e->ew != SQ_EW_FLOORDIV && e->ew != SQ_EW_MOD && e->ew != SQ_EW_MIN && e->ew != SQ_EW_MAX)
      return lin_atom(L, e);
    lin a = lin_of(L, e->a[0], depth + 1);
    if (!a.ok) return lin_atom(L, e);
    if (e->ew == SQ_EW_NEG) {
      lin zero = lin_dim(constant(L, 0));
      return lin_add(L, zero, &a, constant(L, -1));
    }
    lin b = lin_of(L, e->a[1], depth + 1);
    if (!b.ok) return lin_atom(L, e);
    switch ((int)e->ew) {
    case SQ_EW_ADD:
      return lin_add(L, a, &b, constant(L, 1));
    case SQ_EW_SUB:
      return lin_add(L, a, &b, constant(L, -1));
    case SQ_EW_MUL: {
      lin zero = lin_dim(constant(L, 0));
      if (!b.n) return lin_add(L, zero, &a, b.off);
      if (!a.n) return lin_add(L, zero, &b, a.off);
      return lin_atom(L, e);
    }
    default:
      if (a.n || b.n) return lin_atom(L, e);
    }
    if ((e->ew == SQ_EW_FLOORDIV || e->ew == SQ_EW_MOD) && is_zero(L, b.off)) return lin_atom(L, e);
    if (e->ew == SQ_EW_FLOORDIV) return lin_dim(sq_dim_floordiv(ds, a.off, b.off));
    if (e->ew == SQ_EW_MOD) return lin_dim(sq_dim_mod(ds, a.off, b.off));
    if (e->ew == SQ_EW_MIN) return lin_dim(sq_dim_min(ds, a.off, b.off));
    return lin_dim(sq_dim_max(ds, a.off, b.off));
  }
  case SQ_SX_IVAR:
  case SQ_SX_READ:
  case SQ_SX_SELECT:
  case SQ_SX_FLOAT:
  case SQ_SX_REDUCE:
  case SQ_SX_AXIS:
    break;
  }
  return lin_atom(L, e);
}

// ---- bounds ------------------------------------------------------------------------------------

static sq_dim bound(sq_low *L, sq_sx *e, bool upper, uint32_t depth);

static sq_dim lin_bound(sq_low *L, const lin *l, bool upper, uint32_t depth) {
  sq_dims *ds = L->g->dims;
  if (!l->ok || depth > 20) return (sq_dim){0};
  sq_dim r = l->off;
  for (uint32_t k = 0; k < l->n; k++) {
    bool pos = sq_dim_low(ds, l->coef[k]) >= 0, neg = sq_dim_high(ds, l->coef[k]) <= 0;
    if (!pos && !neg) return (sq_dim){0};
    sq_dim b = bound(L, l->atom[k], pos ? upper : !upper, depth + 1);
    if (!b.i) return b;
    r = sq_dim_add(ds, r, sq_dim_mul(ds, l->coef[k], b));
  }
  return r;
}

static sq_dim expr_bound(sq_low *L, sq_sx *e, bool upper, uint32_t depth) {
  lin l = lin_of(L, e, 0);
  if (l.ok && l.n == 1 && l.atom[0] == e) return bound(L, e, upper, depth + 1);
  return lin_bound(L, &l, upper, depth + 1);
}

// The largest or smallest value of an atom; {0}: not known.
static sq_dim bound(sq_low *L, sq_sx *e, bool upper, uint32_t depth) {
  sq_dims *ds = L->g->dims;
  sq_dim none = {0};
  if (depth > 20) return none;
  switch (e->kind) {
  case SQ_SX_IVAR: {
    sq_ivar *v = sq_ivar_root(e->iv);
    if (!upper) return constant(L, 0);
    return v->extent.i ? sq_dim_sub(ds, v->extent, constant(L, 1)) : none;
  }
  case SQ_SX_READ:
    if (!e->n_pos && e->v->id < L->range.n && L->range.v[e->v->id].hi.i) {
      sq_range_note *r = &L->range.v[e->v->id];
      return upper ? sq_dim_sub(ds, r->hi, constant(L, 1)) : r->lo;
    }
    if (e->dtype == SQ_U8) return constant(L, upper ? 255 : 0);
    if (e->dtype == SQ_BOOL) return constant(L, upper ? 1 : 0);
    return none;
  case SQ_SX_CAST:
    if (e->a[0]->dtype == SQ_BOOL) return constant(L, upper ? 1 : 0);
    if (sq_is_float(e->a[0]->dtype)) return none;
    return expr_bound(L, e->a[0], upper, depth);
  case SQ_SX_SELECT: {
    sq_dim a = expr_bound(L, e->a[1], upper, depth), b = expr_bound(L, e->a[2], upper, depth);
    if (!a.i || !b.i) return none;
    return upper ? sq_dim_max(ds, a, b) : sq_dim_min(ds, a, b);
  }
  case SQ_SX_EWISE: {
    if (e->ew == SQ_EW_FLOORDIV || e->ew == SQ_EW_MOD) {
      lin by = lin_of(L, e->a[1], 0);
      if (!by.ok || by.n || sq_dim_low(ds, by.off) < 1) return none;
      sq_dim a = expr_bound(L, e->a[0], upper, depth);
      if (e->ew == SQ_EW_FLOORDIV) return a.i ? sq_dim_floordiv(ds, a, by.off) : none;
      if (!upper) return constant(L, 0);
      return sq_dim_sub(ds, by.off, constant(L, 1));
    }
    if (e->ew == SQ_EW_MIN || e->ew == SQ_EW_MAX) {
      sq_dim a = expr_bound(L, e->a[0], upper, depth), b = expr_bound(L, e->a[1], upper, depth);
      bool min = e->ew == SQ_EW_MIN;
      if (a.i && b.i) return min ? sq_dim_min(ds, a, b) : sq_dim_max(ds, a, b);
      return min == upper ? (a.i ? a : b) : none;
    }
    if (e->ew == SQ_EW_ABS && !upper && e->dtype == SQ_I64) return constant(L, 0);
    return none;
  }
  case SQ_SX_FLOAT:
  case SQ_SX_INT:
  case SQ_SX_DIM:
  case SQ_SX_REDUCE:
  case SQ_SX_AXIS:
    break;
  }
  return none;
}

bool sq_sx_bounds(sq_low *L, sq_sx *e, sq_dim *lo, sq_dim *hi) {
  lin l = lin_of(L, e, 0);
  *lo = lin_bound(L, &l, false, 0);
  *hi = lin_bound(L, &l, true, 0);
  return lo->i && hi->i;
}

// ---- facts -------------------------------------------------------------------------------------

typedef struct facts {
  uint32_t n;
  lin f[MAX_FACTS]; // each >= 0
} facts;

static void add_fact(sq_low *L, facts *fs, sq_sx *small, sq_sx *large, int64_t less) {
  if (fs->n == MAX_FACTS || sq_is_float(small->dtype)) return;
  lin a = lin_of(L, small, 0), b = lin_of(L, large, 0);
  lin d = lin_add(L, b, &a, constant(L, -1));
  if (!d.ok) return;
  d.off = sq_dim_sub(L->g->dims, d.off, constant(L, less));
  fs->f[fs->n++] = d;
}

static void facts_of(sq_low *L, facts *fs, sq_sx *c, bool negated, uint32_t depth) {
  if (depth > 50 || c->kind != SQ_SX_EWISE) return;
  sq_sx *a = c->a[0], *b = c->a[1];
  switch ((int)c->ew) {
  case SQ_EW_NOT:
    facts_of(L, fs, a, !negated, depth + 1);
    break;
  case SQ_EW_AND:
    if (negated) break;
    facts_of(L, fs, a, false, depth + 1);
    facts_of(L, fs, b, false, depth + 1);
    break;
  case SQ_EW_OR:
    if (!negated) break;
    facts_of(L, fs, a, true, depth + 1);
    facts_of(L, fs, b, true, depth + 1);
    break;
  case SQ_EW_LT:
    negated ? add_fact(L, fs, b, a, 0) : add_fact(L, fs, a, b, 1);
    break;
  case SQ_EW_LE:
    negated ? add_fact(L, fs, b, a, 1) : add_fact(L, fs, a, b, 0);
    break;
  case SQ_EW_EQ:
  case SQ_EW_NE:
    if (negated != (c->ew == SQ_EW_NE)) break;
    add_fact(L, fs, a, b, 0);
    add_fact(L, fs, b, a, 0);
    break;
  default:
    break;
  }
}

static bool nonneg(sq_low *L, const lin *l, const facts *fs, uint32_t depth) {
  if (!l->ok) return false;
  sq_dim low = lin_bound(L, l, false, 0);
  if (low.i && sq_prove_le(L->g->dims, constant(L, 0), low) == 1) return true;
  if (!depth) return false;
  for (uint32_t k = 0; k < fs->n; k++) {
    const lin *f = &fs->f[k];
    bool related = !f->n && !l->n;
    for (uint32_t i = 0; i < f->n && !related; i++)
      for (uint32_t j = 0; j < l->n; j++) related |= sq_sx_same(f->atom[i], l->atom[j]);
    if (!related && f->n) continue;
    lin rest = lin_add(L, *l, f, constant(L, -1));
    if (nonneg(L, &rest, fs, depth - 1)) return true;
  }
  return false;
}

sq_proof sq_prove_inside(sq_low *L, sq_sx *pos, sq_dim extent, const sq_guard_list *guards) {
  if (pos->kind == SQ_SX_IVAR && sq_dim_same(sq_ivar_root(pos->iv)->extent, extent))
    return SQ_PROVED;
  facts known, *fs = &known;
  fs->n = 0;
  for (const sq_guard_list *g = guards; g; g = g->next) facts_of(L, fs, g->cond, g->negated, 0);
  for (const sq_guard_list *g = L->branch; g; g = g->next)
    if (!sq_guard_stale(L, g)) facts_of(L, fs, g->cond, g->negated, 0);
  lin p = lin_of(L, pos, 0);
  lin top = lin_dim(sq_dim_sub(L->g->dims, extent, constant(L, 1)));
  lin above = lin_add(L, top, &p, constant(L, -1));
  uint32_t depth = fs->n > 8 ? 1 : 2;
  if (nonneg(L, &p, fs, depth) && nonneg(L, &above, fs, depth)) return SQ_PROVED;
  if (!p.n && p.ok && !fs->n) { // a constant outside, whatever the sizes
    sq_dims *ds = L->g->dims;
    if (sq_prove_le(ds, extent, p.off) == 1 || sq_prove_le(ds, p.off, constant(L, -1)) == 1)
      return SQ_WRONG;
  }
  return SQ_UNKNOWN;
}

const sq_guard_list *sq_guard_add(sq_low *L, const sq_guard_list *l, sq_sx *cond, bool negated) {
  if (negated ? sq_sx_is_false(cond) : sq_sx_is_true(cond)) return l;
  sq_guard_list *g = SQ_NEW(L->a, sq_guard_list);
  g->next = l;
  g->cond = cond;
  g->negated = negated;
  g->born = L->g->n_values;
  return g;
}

void sq_range_note_set(sq_low *L, sq_value *v, sq_dim lo, sq_dim hi) {
  while (L->range.n <= v->id) sq_push(L->a, &L->range, (sq_range_note){0});
  L->range.v[v->id] = (sq_range_note){.lo = lo, .hi = hi};
}

// ---- ranges of indices -------------------------------------------------------------------------

void sq_ivar_reads(sq_low *L, sq_ivar *v, sq_dim extent, sq_span span) {
  v = sq_ivar_root(v);
  if (v->fixed || v->bad) return;
  if (!v->extent.i) {
    v->extent = extent;
    v->from = span;
    return;
  }
  if (sq_prove_eq(L->g->dims, v->extent, extent) == 1) return;
  v->bad = true;
  sq_diag *d = sq_low_error(L, span, "index `%s` has two ranges", v->name ? v->name : "..");
  sq_label(d, span, "%s < %s here", v->name ? v->name : "the axis", sq_dim_str(L, extent));
  sq_label(d, v->from, "%s < %s here", v->name ? v->name : "the axis", sq_dim_str(L, v->extent));
  int64_t c;
  if (!sq_dim_is_const(L->g->dims, v->extent, &c) || !sq_dim_is_const(L->g->dims, extent, &c))
    sq_hint(d,
            "if they are always equal, say so before: check %s == %s, \"...\"; or write the range: "
            "`%s < ...`",
            sq_dim_str(L, v->extent), sq_dim_str(L, extent), v->name ? v->name : "n");
}

bool sq_ivar_known(sq_low *L, sq_ivar *v) {
  v = sq_ivar_root(v);
  if (v->extent.i) return true;
  if (!v->bad) {
    sq_diag *d = sq_low_error(L, v->span, "index `%s` has no range", v->name ? v->name : "..");
    const char *name = v->name ? v->name : "n";
    if (v->limit)
      sq_hint(d,
              "`%s` is no size and only leaves elements out; say how far `%s` goes at most: `%s < "
              "... where %s < %s`",
              v->limit, name, name, name, v->limit);
    else if (v->guarded)
      sq_hint(d, "a read with `else` gives none; write it: `%s < ...`", name);
    else
      sq_hint(d, "no axis is read by `%s` alone; write it: `%s < ...`", name, name);
  }
  v->bad = true;
  v->extent = constant(L, 1);
  return false;
}

// A comparison of sizes that becomes a test at the call's start, unless it is proved.
void sq_require_size(sq_low *L, sq_dim a, sq_dim b, bool equal, sq_span span, const char *message) {
  sq_dims *ds = L->g->dims;
  if ((equal ? sq_prove_eq(ds, a, b) : sq_prove_le(ds, a, b)) == 1) return;
  uint32_t site = sq_site_new(L->g, span, "%s", message);
  sq_push(L->a, &L->f->requires_, (sq_require){a, b, equal, site});
  if (equal) {
    sq_fact_eq(ds, a, b);
  } else {
    sq_fact_le(ds, a, b);
  }
}
