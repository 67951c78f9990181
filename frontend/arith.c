// Arithmetic, comparison and scalar functions on values: at compile time where possible, otherwise
// as trees; tuples leaf by leaf.
#include "frontend/lower.h"
#include <math.h>

static bool number(sq_low *L, const sq_val *v, double *f) {
  int64_t i;
  if (v->kind == SQ_V_FLOAT) return *f = v->f, true;
  if (v->kind == SQ_V_BOOL) return *f = (double)v->i, true;
  if (sq_val_const_int(L, v, &i)) return *f = (double)i, true;
  return false;
}

static sq_val as_size(sq_low *L, const sq_val *v) {
  return v->kind == SQ_V_BOOL ? sq_val_int(L, v->i) : *v;
}

// ---- tuples ------------------------------------------------------------------------------------

static sq_val leafwise(sq_low *L, sq_binop op, const sq_val *a, const sq_val *b, const sq_expr *e,
                       const sq_expr *ea, const sq_expr *eb) {
  bool ta = a->kind == SQ_V_TUPLE, tb = b->kind == SQ_V_TUPLE;
  if (ta && tb && a->n != b->n) {
    sq_diag *d = sq_low_error(L, e->span, "trees differ: a tuple of %u and one of %u", a->n, b->n);
    (void)d;
    return sq_poison();
  }
  uint32_t n = ta ? a->n : b->n;
  sq_val r = sq_val_tuple(L, n, ta ? a->item : b->item);
  for (uint32_t k = 0; k < n; k++)
    r.item[k] = sq_eval_binary(L, op, ta ? &a->item[k] : a, tb ? &b->item[k] : b, e, ea, eb);
  return r;
}

// ---- sizes -------------------------------------------------------------------------------------

static bool int_power(int64_t a, int64_t n, int64_t *out) {
  int64_t r = 1;
  if (n > 1000 && (a > 1 || a < -1)) return false;
  for (; n > 0; n--) {
    if (__builtin_mul_overflow(r, a, &r)) return false;
    if (a == 0 || a == 1) break;
  }
  *out = r;
  return true;
}

// Whether it was settled: *out is then the result.
static bool sizes(sq_low *L, sq_binop op, const sq_val *a, const sq_val *b, const sq_expr *e,
                  sq_val *out) {
  sq_dims *ds = L->g->dims;
  int64_t va = 0, vb = 0;
  bool ca = sq_dim_is_const(ds, a->dim, &va), cb = sq_dim_is_const(ds, b->dim, &vb);
  sq_val r = {.kind = SQ_V_DIM, .lit = a->lit && b->lit, .real = a->real || b->real};
  switch (op) {
  case SQ_B_ADD:
    r.dim = sq_dim_add(ds, a->dim, b->dim);
    break;
  case SQ_B_SUB:
    r.dim = sq_dim_sub(ds, a->dim, b->dim);
    break;
  case SQ_B_MUL:
    r.dim = sq_dim_mul(ds, a->dim, b->dim);
    break;
  case SQ_B_FLOORDIV:
  case SQ_B_MOD:
  case SQ_B_DIV:
    if (cb && vb == 0) {
      if (op == SQ_B_DIV && !L->size_mode) return false;
      sq_low_error(L, e->span, "division by zero");
      *out = sq_poison();
      return true;
    }
    if (op == SQ_B_MOD) {
      r.dim = sq_dim_mod(ds, a->dim, b->dim);
      r.real = false;
      break;
    }
    r.dim = sq_dim_floordiv(ds, a->dim, b->dim);
    r.real = op == SQ_B_DIV;
    r.lit = r.lit && !r.real;
    if (op == SQ_B_FLOORDIV) break;
    if (ca && cb ? va % vb == 0 : sq_prove_eq(ds, sq_dim_mul(ds, r.dim, b->dim), a->dim) == 1)
      break;
    if (!L->size_mode) return false;
    sq_diag *d =
        sq_low_error(L, e->span, "`/` in a size must be exact, but %s / %s is not%s",
                     sq_dim_str(L, a->dim), sq_dim_str(L, b->dim), ca && cb ? "" : " known to be");
    sq_hint(d, "`//` rounds down");
    *out = sq_poison();
    return true;
  case SQ_B_POW:
    if (!ca || !cb || vb < 0 || !int_power(va, vb, &va)) return false;
    r.dim = sq_dim_const(ds, va);
    break;
  case SQ_B_LT:
  case SQ_B_GE:
  case SQ_B_LE:
  case SQ_B_GT:
  case SQ_B_EQ:
  case SQ_B_NE: {
    sq_dim one = sq_dim_const(ds, 1);
    int p = op == SQ_B_LT   ? sq_prove_le(ds, sq_dim_add(ds, a->dim, one), b->dim)
            : op == SQ_B_LE ? sq_prove_le(ds, a->dim, b->dim)
            : op == SQ_B_GT ? sq_prove_le(ds, sq_dim_add(ds, b->dim, one), a->dim)
            : op == SQ_B_GE ? sq_prove_le(ds, b->dim, a->dim)
                            : sq_prove_eq(ds, a->dim, b->dim);
    if (!p) return false;
    *out = sq_val_bool(op == SQ_B_NE ? p < 0 : p > 0);
    return true;
  }
  case SQ_B_AND:
  case SQ_B_OR:
  case SQ_B_NEG:
  case SQ_B_NOT:
    return false;
  }
  *out = r;
  return true;
}

static bool floats(sq_binop op, double a, double b, sq_val *out) {
  double r;
  switch (op) {
  case SQ_B_ADD:
    r = a + b;
    break;
  case SQ_B_SUB:
    r = a - b;
    break;
  case SQ_B_MUL:
    r = a * b;
    break;
  case SQ_B_DIV:
    r = a / b;
    break;
  case SQ_B_FLOORDIV:
    r = floor(a / b);
    break;
  case SQ_B_MOD:
    r = a - floor(a / b) * b;
    break;
  case SQ_B_POW:
    r = pow(a, b);
    break;
  case SQ_B_LT:
    return *out = sq_val_bool(a < b), true;
  case SQ_B_LE:
    return *out = sq_val_bool(a <= b), true;
  case SQ_B_GT:
    return *out = sq_val_bool(a > b), true;
  case SQ_B_GE:
    return *out = sq_val_bool(a >= b), true;
  case SQ_B_EQ:
    return *out = sq_val_bool(a == b), true;
  case SQ_B_NE:
    return *out = sq_val_bool(a != b), true;
  case SQ_B_AND:
  case SQ_B_OR:
  case SQ_B_NEG:
  case SQ_B_NOT:
    return false;
  default:
    return false;
  }
  *out = sq_val_float(r);
  return true;
}

static bool is_number(const sq_val *v) {
  return v->kind == SQ_V_DIM || v->kind == SQ_V_FLOAT || v->kind == SQ_V_BOOL;
}
static bool is_discrete(const sq_val *v) {
  return v->kind == SQ_V_WORD || v->kind == SQ_V_STRING || v->kind == SQ_V_LIST ||
         v->kind == SQ_V_MODULE || v->kind == SQ_V_FN;
}

sq_val sq_eval_binary(sq_low *L, sq_binop op, const sq_val *a, const sq_val *b, const sq_expr *e,
                      const sq_expr *ea, const sq_expr *eb) {
  if (a->kind == SQ_V_POISON || b->kind == SQ_V_POISON) return sq_poison();
  if (a->kind == SQ_V_TUPLE || b->kind == SQ_V_TUPLE) return leafwise(L, op, a, b, e, ea, eb);
  sq_val r;
  if (a->kind == SQ_V_LIST && b->kind == SQ_V_LIST && op == SQ_B_ADD) {
    r = (sq_val){.kind = SQ_V_LIST, .n = a->n + b->n};
    r.item = SQ_ARRAY(L->a, sq_val, r.n + 1);
    if (a->n) memcpy(r.item, a->item, a->n * sizeof *r.item);
    if (b->n) memcpy(r.item + a->n, b->item, b->n * sizeof *r.item);
    return r;
  }
  if ((op == SQ_B_EQ || op == SQ_B_NE) && (is_discrete(a) || is_discrete(b)) && a->kind == b->kind)
    return sq_val_bool(sq_val_equal(L, a, b) == (op == SQ_B_EQ));
  if (a->kind == SQ_V_BOOL && b->kind == SQ_V_BOOL) {
    if (op == SQ_B_AND) return sq_val_bool(a->i && b->i);
    if (op == SQ_B_OR) return sq_val_bool(a->i || b->i);
  }
  if (is_number(a) && is_number(b) && op != SQ_B_AND && op != SQ_B_OR) {
    double fa, fb;
    sq_val da = as_size(L, a), db = as_size(L, b);
    if (da.kind == SQ_V_DIM && db.kind == SQ_V_DIM && sizes(L, op, &da, &db, e, &r)) return r;
    if (number(L, &da, &fa) && number(L, &db, &fb) && floats(op, fa, fb, &r)) return r;
  }
  sq_ex x, y;
  // beside an index, an exact quotient of sizes is a size
  bool as_sizes =
      op != SQ_B_ADD && op != SQ_B_SUB && op != SQ_B_MUL && op != SQ_B_DIV && op != SQ_B_POW;
  L->size_mode += as_sizes;
  bool ok = sq_val_to_ex(L, a, ea->span, &x) && sq_val_to_ex(L, b, eb->span, &y);
  L->size_mode -= as_sizes;
  if (!ok || !sq_ex_align(L, &x, &y, ea->span, eb->span)) return sq_poison();
  return sq_val_ex(L, sq_sx_binary(L, op, x.root, y.root, e->span), x.n_own, x.own);
}

sq_val sq_eval_unary(sq_low *L, sq_binop op, const sq_val *a, sq_span span) {
  sq_ex x;
  if (a->kind == SQ_V_POISON) return *a;
  if (a->kind == SQ_V_TUPLE) {
    sq_val r = sq_val_tuple(L, a->n, a->item);
    for (uint32_t k = 0; k < a->n; k++) r.item[k] = sq_eval_unary(L, op, &a->item[k], span);
    return r;
  }
  if (op == SQ_B_NOT) {
    if (a->kind == SQ_V_BOOL) return sq_val_bool(!a->i);
    if (!sq_val_to_ex(L, a, span, &x)) return sq_poison();
    if (x.root->dtype != SQ_BOOL) {
      sq_diag *d = sq_low_error(L, span, "`not` needs bool, but `%s` is %s", sq_low_text(L, span),
                                sq_val_what(L, a));
      sq_hint(d, "compare with something: `x == 0`");
      return sq_poison();
    }
    return sq_val_ex(L, sq_sx_ewise(L, SQ_EW_NOT, x.root, NULL, SQ_BOOL, false), x.n_own, x.own);
  }
  if (a->kind == SQ_V_FLOAT) return sq_val_float(-a->f);
  if (a->kind == SQ_V_BOOL) return sq_val_int(L, -a->i);
  if (a->kind == SQ_V_DIM) {
    sq_val r = *a;
    r.dim = sq_dim_sub(L->g->dims, sq_dim_const(L->g->dims, 0), a->dim);
    return r;
  }
  if (!sq_val_to_ex(L, a, span, &x)) return sq_poison();
  sq_sx *root = x.root->dtype == SQ_BOOL ? sq_sx_cast(L, x.root, SQ_I32, false) : x.root;
  return sq_val_ex(L, sq_sx_ewise(L, SQ_EW_NEG, root, NULL, root->dtype, root->idx), x.n_own,
                   x.own);
}

// ---- scalar functions --------------------------------------------------------------------------

#include "base/status.h"
static double sq_min64(double a, double b) { return a < b || a != a ? a : b; }
static double sq_max64(double a, double b) { return a > b || a != a ? a : b; }
#define EWISE(E, name, arity, kind, expr)                                                          \
  static double fold_##E(double a, double b) {                                                     \
    (void)b;                                                                                       \
    (void)a;                                                                                       \
    return (double)(expr);                                                                         \
  }
#include "ir/ewise.def"
#undef EWISE
static double (*const fold_table[SQ_EW_COUNT])(double, double) = {
#define EWISE(E, name, arity, kind, expr) [SQ_EW_##E] = fold_##E,
#include "ir/ewise.def"
#undef EWISE
};

static bool fold(sq_low *L, sq_ewise ew, uint32_t n, const sq_val *arg, sq_val *out) {
  char kind = sq_ewise_table[ew].kind;
  double f[2] = {0, 0};
  int64_t i[2] = {0, 0};
  bool ints = true, sizes_only = true;
  for (uint32_t k = 0; k < n; k++) {
    sizes_only &= arg[k].kind == SQ_V_DIM;
    ints &= sq_val_const_int(L, &arg[k], &i[k]);
  }
  sq_dims *ds = L->g->dims;
  if (sizes_only && (ew == SQ_EW_MIN || ew == SQ_EW_MAX)) {
    *out = sq_val_dim(ew == SQ_EW_MIN ? sq_dim_min(ds, arg[0].dim, arg[1].dim)
                                      : sq_dim_max(ds, arg[0].dim, arg[1].dim));
    out->lit = arg[0].lit && arg[1].lit;
    return true;
  }
  if (kind == 'I') {
    if (!ints) return false;
    int64_t r = ew == SQ_EW_BITAND      ? (i[0] & i[1])
                : ew == SQ_EW_BITOR     ? (i[0] | i[1])
                : ew == SQ_EW_BITXOR    ? (i[0] ^ i[1])
                : i[1] < 0 || i[1] > 62 ? 0
                : ew == SQ_EW_SHL       ? (int64_t)((uint64_t)i[0] << i[1])
                                        : i[0] >> i[1];
    *out = sq_val_int(L, r);
    return true;
  }
  for (uint32_t k = 0; k < n; k++)
    if (!number(L, &arg[k], &f[k])) return false;
  if (ints && (ew == SQ_EW_ABS || ew == SQ_EW_SIGN)) {
    *out = sq_val_int(L, ew == SQ_EW_ABS ? (i[0] < 0 ? -i[0] : i[0]) : (i[0] > 0) - (i[0] < 0));
    return true;
  }
  double r = fold_table[ew](f[0], f[1]);
  *out = kind == 'C' ? sq_val_bool(r != 0) : sq_val_float(r);
  return true;
}

static bool bad_type(sq_low *L, sq_ewise ew, const sq_sx *x, sq_span span, const char *need) {
  sq_low_error(L, span, "`%s` needs %s, not %s", sq_ewise_table[ew].name, need,
               sq_dtype_table[x->idx ? SQ_I32 : x->dtype].name);
  return false;
}

static bool operand_types(sq_low *L, sq_ewise ew, uint32_t n, sq_sx **x, sq_span span) {
  char kind = sq_ewise_table[ew].kind;
  for (uint32_t k = 0; k < n; k++) {
    if (kind == 'F' || ew == SQ_EW_ISNAN) {
      if (n == 1 || (!sq_is_float(x[0]->dtype) && !sq_is_float(x[n - 1]->dtype)))
        x[k] = sq_sx_float_of(L, x[k]);
    } else if (x[k]->dtype == SQ_BOOL && kind == 'A') {
      x[k] = sq_sx_cast(L, x[k], SQ_I32, false);
    } else if (kind == 'I' && (sq_is_float(x[k]->dtype) || x[k]->dtype == SQ_BOOL)) {
      return bad_type(L, ew, x[k], span, "integers");
    }
  }
  if (n == 2) sq_sx_promote(L, &x[0], &x[1]);
  return true;
}

sq_val sq_apply_ewise(sq_low *L, sq_ewise ew, uint32_t n, const sq_val *arg, sq_span span) {
  sq_val r;
  for (uint32_t k = 0; k < n; k++)
    if (arg[k].kind == SQ_V_POISON) return sq_poison();
  for (uint32_t k = 0; k < n; k++) {
    if (arg[k].kind != SQ_V_TUPLE) continue;
    r = sq_val_tuple(L, arg[k].n, arg[k].item);
    for (uint32_t j = 0; j < r.n; j++) {
      sq_val leaf[2];
      for (uint32_t m = 0; m < n; m++) {
        bool t = arg[m].kind == SQ_V_TUPLE;
        if (t && arg[m].n != r.n) {
          sq_low_error(L, span, "trees differ: a tuple of %u and one of %u", r.n, arg[m].n);
          return sq_poison();
        }
        leaf[m] = t ? arg[m].item[j] : arg[m];
      }
      r.item[j] = sq_apply_ewise(L, ew, n, leaf, span);
    }
    return r;
  }
  if (fold(L, ew, n, arg, &r)) return r;
  sq_ex x[2];
  sq_sx *root[2] = {0};
  for (uint32_t k = 0; k < n; k++)
    if (!sq_val_to_ex(L, &arg[k], span, &x[k])) return sq_poison();
  if (n == 2 && !sq_ex_align(L, &x[0], &x[1], span, span)) return sq_poison();
  for (uint32_t k = 0; k < n; k++) root[k] = x[k].root;
  if (!operand_types(L, ew, n, root, span)) return sq_poison();
  char kind = sq_ewise_table[ew].kind;
  sq_sx *e = sq_sx_ewise(L, ew, root[0], root[1], kind == 'C' ? SQ_BOOL : root[0]->dtype,
                         kind != 'C' && root[0]->idx);
  e->span = span;
  return sq_val_ex(L, e, x[0].n_own, x[0].own);
}

// ---- conversions -------------------------------------------------------------------------------

sq_val sq_val_cast(sq_low *L, const sq_val *v, sq_dtype t, sq_span span) {
  if (v->kind == SQ_V_POISON) return *v;
  if (v->kind == SQ_V_TUPLE) {
    sq_val r = sq_val_tuple(L, v->n, v->item);
    for (uint32_t k = 0; k < v->n; k++) r.item[k] = sq_val_cast(L, &v->item[k], t, span);
    return r;
  }
  double f;
  if (v->kind == SQ_V_DIM && (t == SQ_I32 || t == SQ_I64)) {
    sq_val r = *v;
    r.lit = r.real = false;
    if (t == SQ_I32) return r;
  } else if (number(L, v, &f)) {
    if (sq_is_float(t) && t == L->g->float_type) return sq_val_float(f);
    if ((t == SQ_I32 || t == SQ_I64) && f >= -2147483648.0 && f <= 2147483647.0)
      return sq_val_int(L, (int64_t)f);
    if (t == SQ_BOOL) return sq_val_bool(f != 0);
  }
  sq_ex x;
  if (!sq_val_to_ex(L, v, span, &x)) return sq_poison();
  sq_sx *root = x.root;
  if (t == SQ_BOOL && root->dtype != SQ_BOOL) {
    sq_sx *zero = sq_is_float(root->dtype) ? sq_sx_float(L, 0, root->dtype, false)
                                           : sq_sx_int(L, 0, root->dtype, root->idx, false);
    root = sq_sx_ewise(L, SQ_EW_NE, root, zero, SQ_BOOL, false);
  } else if (t == SQ_I32 && root->idx) {
    root = x.root; // an index is i32 as a value
  } else {
    root = sq_sx_cast(L, root, t, false);
  }
  return sq_val_ex(L, root, x.n_own, x.own);
}

static bool widens(sq_dtype from, sq_dtype to) {
  if (from == to) return true;
  bool ff = sq_is_float(from), ft = sq_is_float(to);
  if (ff) return ft && sq_dtype_table[to].bytes > sq_dtype_table[from].bytes;
  if (ft || from == SQ_BOOL) return true;
  if (to == SQ_BOOL) return false;
  return sq_dtype_table[to].bytes > sq_dtype_table[from].bytes;
}

sq_val sq_val_convert(sq_low *L, const sq_val *v, sq_dtype t, sq_span span, const char *what,
                      bool narrow_floats) {
  if (v->kind == SQ_V_POISON) return *v;
  int64_t i;
  if (v->kind == SQ_V_DIM && v->lit && !sq_is_float(t) && t != SQ_BOOL &&
      sq_val_const_int(L, v, &i) && !sq_sx_fits(L, sq_sx_int(L, i, SQ_I64, false, true), t, span))
    return sq_poison();
  if (v->kind == SQ_V_FLOAT && sq_is_float(t)) {
    if (t == L->g->float_type) return *v;
    return sq_val_ex(L, sq_sx_float(L, v->f, t, false), 0, NULL);
  }
  if (v->kind == SQ_V_DIM && t == SQ_I32) { // an exact quotient is a size
    sq_val r = *v;
    r.lit = r.real = false;
    return r;
  }
  if (v->kind == SQ_V_DIM && t == L->g->float_type && sq_dim_is_const(L->g->dims, v->dim, &i))
    return sq_val_float((double)i);
  if (v->kind == SQ_V_BOOL && t == SQ_BOOL) return *v;
  sq_ex x;
  if (!sq_val_to_ex(L, v, span, &x)) return sq_poison();
  sq_sx *root = x.root;
  sq_dtype from = root->idx ? SQ_I32 : root->dtype;
  bool literal = root->lit && (sq_is_float(from) ? sq_is_float(t) : t != SQ_BOOL);
  bool ok = literal || widens(from, t) ||
            (narrow_floats && sq_is_float(from) && sq_is_float(t) && from == L->g->float_type);
  if (!ok) {
    sq_diag *d = sq_low_error(L, span, "%s is %s, not %s", what, sq_dtype_table[t].name,
                              sq_dtype_table[from].name);
    sq_label(d, span, "this is %s", sq_val_what(L, v));
    sq_hint(d, "nothing narrows by itself; write `%s(...)`", sq_dtype_table[t].name);
    return sq_poison();
  }
  if (from == t && v->kind != SQ_V_DIM && v->kind != SQ_V_BOOL && !root->lit) return *v;
  if (root->idx && t == SQ_I32) return sq_val_ex(L, root, x.n_own, x.own);
  return sq_val_ex(L, sq_sx_cast(L, root, t, false), x.n_own, x.own);
}
