// Axis operators: softmax in stable form, cumulative operations, sorting.
//
//   p[h, i, j] = softmax(j where j <= i) s[h, i, j]      becomes
//   m[h, i] = max(j where j <= i) s[h, i, j]
//   e[h, i, j] = select(j <= i, exp(s[h, i, j] - m[h, i]), 0)
//   z[h, i] = sum(j) e[h, i, j]
//   p[h, i, j] = select(j <= i and z[h, i] > 0, e[h, i, j] / z[h, i], 0)
#include "frontend/lower.h"

static sq_sx *reduce(sq_low *L, sq_monoid m, sq_ivar *v, uint32_t n_where, sq_sx **where,
                     sq_sx *body) {
  sq_sx *e = SQ_NEW(L->a, sq_sx);
  e->kind = SQ_SX_REDUCE;
  e->dtype = body->dtype;
  e->span = body->span;
  e->monoid = m;
  e->n_red = 1;
  e->red = SQ_ARRAY(L->a, sq_ivar *, 1);
  e->red[0] = v;
  e->n_where = n_where;
  e->where = where;
  e->a[0] = body;
  return e;
}

static sq_sx *conjunction(sq_low *L, uint32_t n, sq_sx **c) {
  sq_sx *r = sq_sx_int(L, 1, SQ_BOOL, false, false);
  for (uint32_t k = 0; k < n; k++) {
    sq_sx *next = sq_sx_binary(L, SQ_B_AND, r, c[k], c[k]->span);
    if (next) r = next;
  }
  return r;
}

static bool is_plain_read(const sq_sx *e) {
  if (e->kind != SQ_SX_READ || e->other) return false;
  for (uint32_t k = 0; k < e->n_pos; k++)
    if (e->pos[k]->kind != SQ_SX_IVAR ||
        !sq_dim_same(sq_ivar_root(e->pos[k]->iv)->extent, e->v->type.dim[k]))
      return false;
  return true;
}

static const sq_guard_list *with_where(sq_low *L, const sq_guard_list *g, const sq_sx *e) {
  for (uint32_t k = 0; k < e->n_where; k++) g = sq_guard_add(L, g, e->where[k], false);
  return g;
}

static sq_value *softmax(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *axis,
                         const sq_guard_list *outer, const char *name) {
  sq_ivars order = {(sq_ivar **)axis, n, n};
  sq_sx *x = e->a[0];
  if (!is_plain_read(x)) x = sq_emit_inner(L, x, &order, with_where(L, outer, e));
  sq_sx *c = conjunction(L, e->n_where, e->where);
  sq_sx *m = sq_emit_inner(L, reduce(L, SQ_MAX, e->iv, e->n_where, e->where, x), &order, outer);
  sq_sx *zero = sq_sx_float(L, 0, x->dtype, false);
  sq_sx *shifted = sq_sx_ewise(L, SQ_EW_SUB, x, m, x->dtype, false);
  sq_sx *p = sq_sx_select(L, c, sq_sx_ewise(L, SQ_EW_EXP, shifted, NULL, x->dtype, false), zero);
  p->span = e->span;
  p = sq_emit_inner(L, p, &order, outer);
  sq_sx *s = sq_emit_inner(L, reduce(L, SQ_SUM, e->iv, 0, NULL, p), &order, outer);
  sq_sx *some =
      sq_sx_binary(L, SQ_B_AND, c, sq_sx_ewise(L, SQ_EW_LT, zero, s, SQ_BOOL, false), e->span);
  sq_sx *r = sq_sx_select(L, some, sq_sx_ewise(L, SQ_EW_DIV, p, s, x->dtype, false), zero);
  sq_type t = sq_axes_type(L, r->dtype, n, axis);
  sq_gen G;
  sq_gen_start(L, &G, SQ_OP_GENERIC, e->span, n, 0, axis);
  G.k->body = sq_gen_scalar(L, &G, r, outer);
  sq_gen_place(L, &G);
  return sq_node_result(L->g, G.node, t, name);
}

// What leaves a cumulation unchanged.
static sq_sx *identity(sq_low *L, sq_monoid m, sq_dtype t) {
  if (m == SQ_SUM || m == SQ_PROD) {
    if (sq_is_float(t)) return sq_sx_float(L, m == SQ_PROD, t, false);
    return sq_sx_int(L, m == SQ_PROD, t, false, false);
  }
  if (sq_is_float(t))
    return sq_sx_float(L, m == SQ_MAX ? -__builtin_inf() : __builtin_inf(), t, false);
  int bits = 8 * sq_dtype_table[t].bytes;
  bool is_signed = sq_dtype_table[t].cls == 'I';
  int64_t hi = is_signed ? (int64_t)((1ull << (bits - 1)) - 1) : t == SQ_BOOL ? 1 : 255;
  return sq_sx_int(L, m == SQ_MAX ? (is_signed ? -hi - 1 : 0) : hi, t, false, false);
}

sq_value *sq_emit_axis(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *axis,
                       const sq_guard_list *outer, const char *name) {
  for (uint32_t k = 0; k < n; k++) sq_ivar_known(L, axis[k]);
  if (e->op == SQ_AX_SOFTMAX) return softmax(L, e, n, axis, outer, name);
  sq_sx *x = e->a[0];
  if (e->n_where)
    x = sq_sx_select(L, conjunction(L, e->n_where, e->where), x, identity(L, e->monoid, x->dtype));
  sq_gen G;
  sq_value *v;
  bool whole = is_plain_read(x) && x->n_pos == n;
  for (uint32_t k = 0; whole && k < n; k++)
    whole = sq_ivar_root(x->pos[k]->iv) == sq_ivar_root(axis[k]);
  if (whole) {
    v = x->v;
  } else {
    sq_type t = sq_axes_type(L, x->dtype, n, axis);
    sq_gen_start(L, &G, SQ_OP_GENERIC, x->span, n, 0, axis);
    G.k->body = sq_gen_scalar(L, &G, x, outer);
    sq_gen_place(L, &G);
    v = sq_node_result(L->g, G.node, t, NULL);
  }
  static const sq_opcode op[] = {[SQ_AX_SOFTMAX] = SQ_OP_GENERIC,
                                 [SQ_AX_CUMULATE] = SQ_OP_CUMULATE,
                                 [SQ_AX_SORT] = SQ_OP_SORT,
                                 [SQ_AX_ARGSORT] = SQ_OP_ARGSORT};
  sq_node *node = sq_node_new(L->g, L->b, op[e->op], e->span, 1, &v);
  node->monoid = e->op == SQ_AX_CUMULATE ? e->monoid : SQ_MONOID_NONE;
  for (uint32_t k = 0; k < n; k++)
    if (sq_ivar_root(axis[k]) == sq_ivar_root(e->iv)) node->axis = k;
  return sq_node_result(L->g, node, sq_axes_type(L, e->dtype, n, axis), name);
}
