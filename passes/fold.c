// Algebra on scalars: what a scalar comes to, given the scalars that it is made of.
//
// Floats follow IEEE 754 exactly (x * 1, x - 0, --x; not x + 0, which loses the sign of -0, nor x *
// 0), but for pow with a small whole exponent, which becomes products, and the logistic function,
// which is one operation however it is written. A division by a constant
// becomes a multiplication only where the reciprocal is exact. Constants fold as the interpreter
// computes them.
#include "ir/eval_impl.h"
#include "passes/maker.h"
#include <math.h>

bool sq_scalar_int(const sq_generic *k, uint32_t s, int64_t *v) {
  if (s == SQ_NO_SCALAR || k->s.v[s].kind != SQ_SC_INT) return false;
  *v = k->s.v[s].i;
  return true;
}

bool sq_scalar_float(const sq_generic *k, uint32_t s, double *v) {
  if (s == SQ_NO_SCALAR || k->s.v[s].kind != SQ_SC_FLOAT) return false;
  *v = k->s.v[s].f;
  return true;
}

// ---- ranges of affine scalars ------------------------------------------------------------------
// The least (or greatest) value of an affine scalar over the axes, as a size.
static sq_dim extreme(sq_graph *g, const sq_generic *k, const sq_affine *a, bool least) {
  sq_dim r = a->offset;
  for (uint32_t c = 0; c < k->n_par + k->n_red; c++) {
    if (!a->coef[c] || (a->coef[c] > 0) == least) continue;
    sq_dim last = sq_dim_sub(g->dims, k->axis[c].extent, sq_dim_const(g->dims, 1));
    r = sq_dim_add(g->dims, r, sq_dim_mul(g->dims, sq_dim_const(g->dims, a->coef[c]), last));
  }
  return r;
}

int sq_scalar_le(sq_graph *g, const sq_generic *k, uint32_t a, uint32_t b, int64_t plus) {
  // a <= b + plus
  sq_affine x = sq_scalar_affine(g, k, a), y = sq_scalar_affine(g, k, b);
  if (!x.ok || !y.ok) return 0;
  for (uint32_t c = 0; c < SQ_MAX_RANK * 2; c++)
    if (__builtin_sub_overflow(y.coef[c], x.coef[c], &y.coef[c])) return 0;
  y.offset =
      sq_dim_add(g->dims, sq_dim_sub(g->dims, y.offset, x.offset), sq_dim_const(g->dims, plus));
  sq_dim zero = sq_dim_const(g->dims, 0);
  if (sq_prove_le(g->dims, zero, extreme(g, k, &y, true)) > 0) return 1;
  sq_dim most = sq_dim_add(g->dims, extreme(g, k, &y, false), sq_dim_const(g->dims, 1));
  return sq_prove_le(g->dims, most, zero) > 0 ? -1 : 0;
}

// ---- helpers -----------------------------------------------------------------------------------
static const sq_scalar *at(const sq_maker *m, uint32_t id) { return &m->k->s.v[id]; }

static bool is_constant(const sq_scalar *s) {
  return s->kind == SQ_SC_FLOAT || s->kind == SQ_SC_INT;
}

static sq_cell cell_of(const sq_scalar *s) {
  sq_cell c;
  if (s->kind == SQ_SC_FLOAT)
    c.f = s->f;
  else
    c.i = s->i;
  return c;
}

static uint32_t constant(sq_maker *m, sq_dtype t, sq_cell c) {
  return sq_is_float(t) ? sq_maker_float(m, t, c.f) : sq_maker_int(m, t, c.i);
}

static uint32_t truth(sq_maker *m, bool v) { return sq_maker_int(m, SQ_BOOL, v); }

static bool is_ewise(const sq_maker *m, uint32_t id, sq_ewise e) {
  return at(m, id)->kind == SQ_SC_EWISE && at(m, id)->ew == e;
}

// Is the scalar this constant? For floats -0 is not 0.
static bool is_number(const sq_maker *m, uint32_t id, double v) {
  const sq_scalar *s = at(m, id);
  if (s->kind == SQ_SC_INT) return (double)s->i == v;
  return s->kind == SQ_SC_FLOAT && s->f == v && signbit(s->f) == signbit(v);
}

static bool as_size(const sq_maker *m, uint32_t id, sq_dim *d) {
  const sq_scalar *s = at(m, id);
  if (s->dtype != SQ_I64) return false;
  if (s->kind == SQ_SC_INT) *d = sq_dim_const(m->g->dims, s->i);
  if (s->kind == SQ_SC_DIM) *d = s->dim;
  return s->kind == SQ_SC_INT || s->kind == SQ_SC_DIM;
}

// ---- sizes and indices -------------------------------------------------------------------------
static uint32_t fold_sizes(sq_maker *m, const sq_scalar *s) {
  sq_dim a, b;
  sq_dims *ds = m->g->dims;
  if (s->dtype != SQ_I64 || sq_ewise_table[s->ew].arity != 2) return SQ_NO_SCALAR;
  if (!as_size(m, s->a[0], &a) || !as_size(m, s->a[1], &b)) return SQ_NO_SCALAR;
  switch ((int)s->ew) {
  case SQ_EW_ADD:
    return sq_maker_dim(m, sq_dim_add(ds, a, b));
  case SQ_EW_SUB:
    return sq_maker_dim(m, sq_dim_sub(ds, a, b));
  case SQ_EW_MUL:
    return sq_maker_dim(m, sq_dim_mul(ds, a, b));
  case SQ_EW_MIN:
    return sq_maker_dim(m, sq_dim_min(ds, a, b));
  case SQ_EW_MAX:
    return sq_maker_dim(m, sq_dim_max(ds, a, b));
  case SQ_EW_FLOORDIV:
    return sq_dim_low(ds, b) > 0 ? sq_maker_dim(m, sq_dim_floordiv(ds, a, b)) : SQ_NO_SCALAR;
  case SQ_EW_MOD:
    return sq_dim_low(ds, b) > 0 ? sq_maker_dim(m, sq_dim_mod(ds, a, b)) : SQ_NO_SCALAR;
  default:
    return SQ_NO_SCALAR;
  }
}

// The I64 scalar  sum coef * index + offset.
static uint32_t from_affine(sq_maker *m, const sq_affine *f) {
  uint32_t sum = SQ_NO_SCALAR;
  for (uint32_t c = 0; c < m->k->n_par + m->k->n_red; c++) {
    if (!f->coef[c]) continue;
    uint32_t t = sq_maker_index(m, c);
    t = sq_maker_ewise(m, SQ_EW_MUL, t, sq_maker_int(m, SQ_I64, f->coef[c]));
    sum = sum == SQ_NO_SCALAR ? t : sq_maker_ewise(m, SQ_EW_ADD, sum, t);
  }
  uint32_t off = sq_maker_dim(m, f->offset);
  return sum == SQ_NO_SCALAR ? off : sq_maker_ewise(m, SQ_EW_ADD, sum, off);
}

static int64_t int_floor(int64_t a, int64_t by) { return a / by - (a % by < 0); } // by > 0

// (64 h + e) // 64 and % 64 with 0 <= e < 64 are h and e.
static uint32_t fold_division(sq_maker *m, const sq_scalar *s) {
  int64_t by, off;
  if (s->dtype != SQ_I64 || (s->ew != SQ_EW_FLOORDIV && s->ew != SQ_EW_MOD)) return SQ_NO_SCALAR;
  if (!sq_scalar_int(m->k, s->a[1], &by) || by <= 0) return SQ_NO_SCALAR;
  sq_affine f = sq_scalar_affine(m->g, m->k, s->a[0]), whole = f, rest = f;
  if (!f.ok || !sq_dim_is_const(m->g->dims, f.offset, &off)) return SQ_NO_SCALAR;
  int64_t low = off - int_floor(off, by) * by;
  for (uint32_t c = 0; c < SQ_MAX_RANK * 2; c++) {
    bool even = f.coef[c] % by == 0;
    whole.coef[c] = even ? f.coef[c] / by : 0;
    rest.coef[c] = even ? 0 : f.coef[c];
  }
  whole.offset = sq_dim_const(m->g->dims, int_floor(off, by));
  rest.offset = sq_dim_const(m->g->dims, low);
  sq_dims *ds = m->g->dims;
  sq_dim top = sq_dim_const(ds, by - 1), zero = sq_dim_const(ds, 0);
  if (sq_prove_le(ds, zero, extreme(m->g, m->k, &rest, true)) <= 0 ||
      sq_prove_le(ds, extreme(m->g, m->k, &rest, false), top) <= 0)
    return SQ_NO_SCALAR;
  return from_affine(m, s->ew == SQ_EW_FLOORDIV ? &whole : &rest);
}

// (2 h) // 4 is h // 2.
static uint32_t fold_quotient(sq_maker *m, const sq_scalar *s) {
  int64_t by, times;
  const sq_scalar *x = at(m, s->a[0]);
  if (s->dtype != SQ_I64 || s->ew != SQ_EW_FLOORDIV || x->kind != SQ_SC_EWISE) return SQ_NO_SCALAR;
  if (x->ew != SQ_EW_MUL || at(m, x->a[0])->kind != SQ_SC_INDEX) return SQ_NO_SCALAR;
  if (!sq_scalar_int(m->k, x->a[1], &times) || !sq_scalar_int(m->k, s->a[1], &by) || times < 2 ||
      times > INT32_MAX || by <= 0 || by % times)
    return SQ_NO_SCALAR;
  return sq_maker_ewise(m, SQ_EW_FLOORDIV, x->a[0], sq_maker_int(m, SQ_I64, by / times));
}

// a < b or a <= b on one index in one form: index < constant, perhaps negated.
static uint32_t fold_bound(sq_maker *m, const sq_scalar *s) {
  sq_affine a = sq_scalar_affine(m->g, m->k, s->a[0]), b = sq_scalar_affine(m->g, m->k, s->a[1]);
  int64_t off, c;
  if (!a.ok || !b.ok) return SQ_NO_SCALAR;
  if (!sq_dim_is_const(m->g->dims, sq_dim_sub(m->g->dims, b.offset, a.offset), &off))
    return SQ_NO_SCALAR;
  uint32_t axis = UINT32_MAX;
  int64_t coef = 0;
  for (uint32_t k = 0; k < SQ_MAX_RANK * 2; k++) {
    if (__builtin_sub_overflow(a.coef[k], b.coef[k], &c)) return SQ_NO_SCALAR;
    if (!c) continue;
    if (axis != UINT32_MAX || (c != 1 && c != -1)) return SQ_NO_SCALAR;
    axis = k;
    coef = c;
  }
  if (axis == UINT32_MAX || off > INT32_MAX || off < INT32_MIN) return SQ_NO_SCALAR;
  // coef * index < off (or <=)
  int64_t limit = coef > 0 ? off + (s->ew == SQ_EW_LE) : -off + (s->ew == SQ_EW_LT);
  const sq_scalar *left = at(m, s->a[0]);
  if (coef > 0 && s->ew == SQ_EW_LT && left->kind == SQ_SC_INDEX &&
      sq_scalar_int(m->k, s->a[1], &c))
    return SQ_NO_SCALAR; // in that form already
  uint32_t r = sq_maker_index(m, axis);
  r = sq_maker_ewise(m, SQ_EW_LT, r, sq_maker_int(m, SQ_I64, limit));
  return coef > 0 ? r : sq_maker_ewise(m, SQ_EW_NOT, r, SQ_NO_SCALAR);
}

static uint32_t fold_compare(sq_maker *m, const sq_scalar *s) {
  uint32_t a = s->a[0], b = s->a[1];
  sq_dtype t = at(m, a)->dtype;
  if (sq_is_float(t)) return SQ_NO_SCALAR;
  if (a == b && s->ew != SQ_EW_ISNAN) return truth(m, s->ew == SQ_EW_LE || s->ew == SQ_EW_EQ);
  if (t != SQ_I64) return SQ_NO_SCALAR;
  sq_generic *k = m->k;
  if (s->ew == SQ_EW_LT || s->ew == SQ_EW_LE) {
    int r = sq_scalar_le(m->g, k, a, b, s->ew == SQ_EW_LT ? -1 : 0);
    return r ? truth(m, r > 0) : fold_bound(m, s);
  }
  if (s->ew == SQ_EW_EQ || s->ew == SQ_EW_NE) {
    int below = sq_scalar_le(m->g, k, a, b, 0), above = sq_scalar_le(m->g, k, b, a, 0);
    if (below < 0 || above < 0) return truth(m, s->ew == SQ_EW_NE);
    if (below > 0 && above > 0) return truth(m, s->ew == SQ_EW_EQ);
  }
  return SQ_NO_SCALAR;
}

// 1 / (1 + exp(y)) and (1 + tanh(y)) / 2 are sigmoids: of -y, and of 2 y.
static uint32_t fold_sigmoid(sq_maker *m, const sq_scalar *s) {
  bool divides = s->ew == SQ_EW_DIV;
  uint32_t sum = s->a[divides];
  if (!is_ewise(m, sum, SQ_EW_ADD) || !is_number(m, at(m, sum)->a[1], 1)) return SQ_NO_SCALAR;
  uint32_t f = at(m, sum)->a[0];
  if (divides && is_ewise(m, f, SQ_EW_EXP) && is_number(m, s->a[0], 1)) {
    uint32_t y = sq_maker_ewise(m, SQ_EW_NEG, at(m, f)->a[0], SQ_NO_SCALAR);
    return sq_maker_ewise(m, SQ_EW_SIGMOID, y, SQ_NO_SCALAR);
  }
  if (divides || !is_ewise(m, f, SQ_EW_TANH) || !is_number(m, s->a[1], 0.5)) return SQ_NO_SCALAR;
  uint32_t y = at(m, f)->a[0];
  bool half = is_ewise(m, y, SQ_EW_MUL) && is_number(m, at(m, y)->a[1], 0.5);
  y = half ? at(m, y)->a[0] : sq_maker_ewise(m, SQ_EW_MUL, y, sq_maker_float(m, s->dtype, 2));
  return sq_maker_ewise(m, SQ_EW_SIGMOID, y, SQ_NO_SCALAR);
}

// ---- functions ---------------------------------------------------------------------------------
static uint32_t fold_logic(sq_maker *m, const sq_scalar *s) {
  uint32_t a = s->a[0], b = s->a[1];
  int64_t x;
  if (s->ew == SQ_EW_NOT) return is_ewise(m, a, SQ_EW_NOT) ? at(m, a)->a[0] : SQ_NO_SCALAR;
  if (a == b) return a;
  for (int turn = 0; turn < 2; turn++, a = s->a[1], b = s->a[0])
    if (sq_scalar_int(m->k, a, &x)) {
      if (s->ew == SQ_EW_AND) return x ? b : truth(m, false);
      return x ? truth(m, true) : b;
    }
  if (is_ewise(m, a, s->ew) && (at(m, a)->a[0] == b || at(m, a)->a[1] == b)) return a;
  return SQ_NO_SCALAR;
}

static uint32_t fold_power(sq_maker *m, const sq_scalar *s) {
  double e;
  uint32_t x = s->a[0];
  if (!sq_scalar_float(m->k, s->a[1], &e)) return SQ_NO_SCALAR;
  if (e == 1) return x;
  if (e == -1) return sq_maker_ewise(m, SQ_EW_DIV, sq_maker_float(m, s->dtype, 1), x);
  if (e != 2 && e != 3 && e != 4) return SQ_NO_SCALAR;
  uint32_t xx = sq_maker_ewise(m, SQ_EW_MUL, x, x);
  return e == 2 ? xx : sq_maker_ewise(m, SQ_EW_MUL, xx, e == 3 ? x : xx);
}

static uint32_t fold_division_by(sq_maker *m, const sq_scalar *s) {
  double d;
  int exponent;
  if (!sq_scalar_float(m->k, s->a[1], &d) || frexp(fabs(d), &exponent) != 0.5)
    return SQ_NO_SCALAR; // not a power of two
  if (exponent < -10 || exponent > 12) return SQ_NO_SCALAR;
  return sq_maker_ewise(m, SQ_EW_MUL, s->a[0], sq_maker_float(m, s->dtype, 1 / d));
}

// x % c + (x // c) * c is x.
static uint32_t fold_split(sq_maker *m, const sq_scalar *s) {
  int64_t by, times, c;
  for (int side = 0; side < 2; side++) {
    uint32_t rest = s->a[side], whole = s->a[1 - side];
    if (!is_ewise(m, rest, SQ_EW_MOD) || !is_ewise(m, whole, SQ_EW_MUL)) continue;
    uint32_t quotient = at(m, whole)->a[0];
    if (!is_ewise(m, quotient, SQ_EW_FLOORDIV) || at(m, quotient)->a[0] != at(m, rest)->a[0])
      continue;
    if (sq_scalar_int(m->k, at(m, whole)->a[1], &times) &&
        sq_scalar_int(m->k, at(m, quotient)->a[1], &by) &&
        sq_scalar_int(m->k, at(m, rest)->a[1], &c) && by == times && by == c && by > 0)
      return at(m, rest)->a[0];
  }
  return SQ_NO_SCALAR;
}

static uint32_t fold_arithmetic(sq_maker *m, const sq_scalar *s) {
  uint32_t a = s->a[0], b = s->a[1];
  bool real = sq_is_float(s->dtype);
  switch ((int)s->ew) {
  case SQ_EW_ADD:
    if (is_number(m, b, real ? -0.0 : 0)) return a;
    if (is_number(m, a, real ? -0.0 : 0)) return b;
    return real ? SQ_NO_SCALAR : fold_split(m, s);
  case SQ_EW_SUB:
    if (is_number(m, b, 0)) return a;
    if (a == b && !real) return sq_maker_int(m, s->dtype, 0);
    return SQ_NO_SCALAR;
  case SQ_EW_MUL:
    if (is_number(m, b, 1)) return a;
    if (is_number(m, a, 1)) return b;
    if (!real && (is_number(m, a, 0) || is_number(m, b, 0))) return sq_maker_int(m, s->dtype, 0);
    return real ? fold_sigmoid(m, s) : SQ_NO_SCALAR;
  case SQ_EW_DIV:
    if (is_number(m, b, 1)) return a;
    return real && is_number(m, a, 1) ? fold_sigmoid(m, s) : fold_division_by(m, s);
  case SQ_EW_FLOORDIV:
    return !real && is_number(m, b, 1) ? a : SQ_NO_SCALAR;
  case SQ_EW_MOD:
    return !real && is_number(m, b, 1) ? sq_maker_int(m, s->dtype, 0) : SQ_NO_SCALAR;
  case SQ_EW_MIN:
  case SQ_EW_MAX:
    return a == b ? a : SQ_NO_SCALAR;
  case SQ_EW_NEG:
    return is_ewise(m, a, SQ_EW_NEG) ? at(m, a)->a[0] : SQ_NO_SCALAR;
  case SQ_EW_ABS:
    return is_ewise(m, a, SQ_EW_ABS) ? a : SQ_NO_SCALAR;
  case SQ_EW_POW:
    return fold_power(m, s);
  default:
    return SQ_NO_SCALAR;
  }
}

static bool commutes(sq_ewise e) {
  return e == SQ_EW_ADD || e == SQ_EW_MUL || e == SQ_EW_AND || e == SQ_EW_OR || e == SQ_EW_EQ ||
         e == SQ_EW_NE || e == SQ_EW_BITAND || e == SQ_EW_BITOR || e == SQ_EW_BITXOR;
}

static uint32_t fold_ewise(sq_maker *m, sq_scalar *s) {
  int arity = sq_ewise_table[s->ew].arity;
  const sq_scalar *a = at(m, s->a[0]), *b = arity > 1 ? at(m, s->a[1]) : a;
  if (is_constant(a) && is_constant(b)) {
    sq_cell x = cell_of(a), y = cell_of(b), r;
    sq_cells_ewise(s->ew, a->dtype, 1, &r, &x, 1, &y, 1);
    return constant(m, s->dtype, r);
  }
  // equal operations in one form: the constant, else the later scalar, on the right
  if (arity > 1 && commutes(s->ew) && (is_constant(a) || (!is_constant(b) && s->a[0] > s->a[1]))) {
    uint32_t t = s->a[0];
    s->a[0] = s->a[1];
    s->a[1] = t;
  }
  uint32_t r = fold_sizes(m, s);
  if (r == SQ_NO_SCALAR) r = fold_division(m, s);
  if (r == SQ_NO_SCALAR) r = fold_quotient(m, s);
  if (r != SQ_NO_SCALAR) return r;
  switch (sq_ewise_table[s->ew].kind) {
  case 'C':
    return fold_compare(m, s);
  case 'L':
    return fold_logic(m, s);
  default:
    return fold_arithmetic(m, s);
  }
}

// The scalar where c is known to be `yes`: selects that ask again are decided. Reads keep their
// guards, since both sides of a select may be computed.
static uint32_t assume(sq_maker *m, uint32_t id, uint32_t c, bool yes, int depth) {
  sq_scalar s = *at(m, id);
  if (id == c) return truth(m, yes);
  if (s.kind == SQ_SC_SELECT && s.a[0] == c) return assume(m, s.a[yes ? 1 : 2], c, yes, depth);
  int arity = s.kind == SQ_SC_EWISE    ? sq_ewise_table[s.ew].arity
              : s.kind == SQ_SC_SELECT ? 3
              : s.kind == SQ_SC_CAST   ? 1
                                       : 0;
  if (depth == 0 || id < c) return id; // what is older than c does not ask it
  bool changed = false;
  for (int k = 0; k < arity; k++) {
    uint32_t a = assume(m, s.a[k], c, yes, depth - 1);
    changed |= a != s.a[k];
    s.a[k] = a;
  }
  return changed ? sq_maker_add(m, s) : id;
}

static uint32_t fold_select(sq_maker *m, sq_scalar *s) {
  int64_t c, x, y;
  if (sq_scalar_int(m->k, s->a[0], &c)) return s->a[c ? 1 : 2];
  if (s->a[1] == s->a[2]) return s->a[1];
  if (is_ewise(m, s->a[0], SQ_EW_NOT)) {
    uint32_t t = s->a[1];
    s->a[0] = at(m, s->a[0])->a[0];
    s->a[1] = s->a[2];
    s->a[2] = t;
  }
  s->a[1] = assume(m, s->a[1], s->a[0], true, 6);
  s->a[2] = assume(m, s->a[2], s->a[0], false, 6);
  if (s->a[1] == s->a[2]) return s->a[1];
  if (s->dtype == SQ_BOOL && sq_scalar_int(m->k, s->a[1], &x) && sq_scalar_int(m->k, s->a[2], &y))
    return x ? s->a[0] : sq_maker_ewise(m, SQ_EW_NOT, s->a[0], SQ_NO_SCALAR);
  return SQ_NO_SCALAR;
}

// Does every value of `from` stay itself in `to`?
static bool widens(sq_dtype from, sq_dtype to) {
  const sq_dtype_info *a = &sq_dtype_table[from], *b = &sq_dtype_table[to];
  if (from == to) return true;
  if (a->cls == 'F') return b->cls == 'F' && b->bytes > a->bytes;
  if (b->cls == 'F') return a->bytes == 1 && b->bytes >= 4; // i8, u8, bool: exact in f32
  if (a->cls == 'B') return true;
  if (a->cls == 'U') return b->bytes > a->bytes;
  return b->cls == 'I' && b->bytes > a->bytes;
}

static uint32_t fold_cast(sq_maker *m, sq_scalar *s) {
  const sq_scalar *a = at(m, s->a[0]);
  if (a->dtype == s->dtype) return s->a[0];
  if (is_constant(a)) {
    sq_cell x = cell_of(a), r;
    sq_cells_cast(a->dtype, s->dtype, 1, &r, &x, 1);
    return constant(m, s->dtype, r);
  }
  if (a->kind == SQ_SC_CAST && s->dtype != SQ_BOOL) {
    sq_dtype from = at(m, a->a[0])->dtype;
    if (widens(from, a->dtype) && (from == s->dtype || widens(from, s->dtype))) {
      if (from == s->dtype) return a->a[0];
      s->a[0] = a->a[0];
    }
  }
  return SQ_NO_SCALAR;
}

static uint32_t fold_read(sq_maker *m, sq_scalar *s) {
  int64_t c;
  if (s->guard != SQ_NO_SCALAR && sq_scalar_int(m->k, s->guard, &c)) {
    sq_cell zero = {.i = 0};
    if (sq_is_float(s->dtype)) zero.f = 0;
    if (!c) return constant(m, s->dtype, zero);
    s->guard = SQ_NO_SCALAR;
  }
  return SQ_NO_SCALAR;
}

uint32_t sq_fold(sq_maker *m, sq_scalar *s) {
  switch (s->kind) {
  case SQ_SC_EWISE:
    return fold_ewise(m, s);
  case SQ_SC_SELECT:
    return fold_select(m, s);
  case SQ_SC_CAST:
    return fold_cast(m, s);
  case SQ_SC_READ:
    return fold_read(m, s);
  case SQ_SC_INDEX:
  case SQ_SC_FLOAT:
  case SQ_SC_INT:
  case SQ_SC_DIM:
  case SQ_SC_ACC:
    break;
  }
  return SQ_NO_SCALAR;
}
