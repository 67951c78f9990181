// Reductions, axis operators and `top`.
#include "frontend/lower.h"

typedef enum form { FORM_REDUCE, FORM_AXIS, FORM_TOP } form;
static const struct {
  const char *name;
  form form;
  sq_monoid monoid;
  sq_axis_op op;
} table[] = {
    {"sum", FORM_REDUCE, SQ_SUM, 0},
    {"prod", FORM_REDUCE, SQ_PROD, 0},
    {"max", FORM_REDUCE, SQ_MAX, 0},
    {"min", FORM_REDUCE, SQ_MIN, 0},
    {"mean", FORM_REDUCE, SQ_MEAN, 0},
    {"any", FORM_REDUCE, SQ_ANY, 0},
    {"all", FORM_REDUCE, SQ_ALL, 0},
    {"argmax", FORM_REDUCE, SQ_ARGMAX, 0},
    {"argmin", FORM_REDUCE, SQ_ARGMIN, 0},
    {"logsumexp", FORM_REDUCE, SQ_LOGSUMEXP, 0},
    {"softmax", FORM_AXIS, SQ_MONOID_NONE, SQ_AX_SOFTMAX},
    {"cumsum", FORM_AXIS, SQ_SUM, SQ_AX_CUMULATE},
    {"cumprod", FORM_AXIS, SQ_PROD, SQ_AX_CUMULATE},
    {"cummax", FORM_AXIS, SQ_MAX, SQ_AX_CUMULATE},
    {"sort", FORM_AXIS, SQ_MONOID_NONE, SQ_AX_SORT},
    {"argsort", FORM_AXIS, SQ_MONOID_NONE, SQ_AX_ARGSORT},
    {"top", FORM_TOP, SQ_MONOID_NONE, 0},
};

// The type of the elements that are reduced.
static sq_sx *element(sq_low *L, sq_sx *x, sq_monoid m, const sq_expr *e) {
  switch ((int)m) {
  case SQ_ANY:
  case SQ_ALL:
    if (x->dtype == SQ_BOOL) return x;
    sq_diag *d = sq_low_error(L, e->body->span, "`%s` needs bool, but `%s` is %s", e->name,
                              sq_low_text(L, e->body->span),
                              sq_dtype_table[x->idx ? SQ_I32 : x->dtype].name);
    sq_hint(d,
            "a reduction takes one product: a comparison stands in parentheses, `%s(i) (x[i] > 0)`",
            e->name);
    return NULL;
  case SQ_MEAN:
  case SQ_LOGSUMEXP:
    return sq_sx_value_type(L, sq_sx_float_of(L, x));
  case SQ_SUM:
  case SQ_PROD:
    if (x->dtype == SQ_BOOL) return sq_sx_cast(L, x, SQ_I32, false);
    break;
  default:
    break;
  }
  return sq_sx_value_type(L, x);
}

static bool condition(sq_low *L, sq_scope *s, const sq_expr *e, sq_sx ***where, uint32_t *n) {
  if (!e->where) return true;
  uint32_t mode = L->size_mode;
  L->size_mode = 0;
  sq_sx *c = sq_eval_cond(L, s, e->where);
  L->size_mode = mode;
  if (!c) return false;
  sq_sx_conjuncts(L, c, where, n);
  return true;
}

static const sq_guard_list *push(sq_low *L, const sq_guard_list *g, uint32_t n, sq_sx **c) {
  for (uint32_t k = 0; k < n; k++) g = sq_guard_add(L, g, c[k], false);
  return g;
}

static sq_val body_of(sq_low *L, sq_scope *s, const sq_expr *e, uint32_t n, sq_sx **where) {
  const sq_guard_list *guards = L->guards;
  uint32_t mode = L->size_mode;
  L->size_mode = 0;
  L->guards = push(L, guards, n, where);
  sq_val v = sq_eval_expr(L, s, e->body);
  L->guards = guards;
  L->size_mode = mode;
  return v;
}

static sq_val reduce_leaf(sq_low *L, const sq_expr *e, sq_monoid m, const sq_ivars *red, uint32_t n,
                          sq_sx **where, const sq_val *v) {
  if (v->kind == SQ_V_TUPLE) {
    sq_val r = sq_val_tuple(L, v->n, v->item);
    for (uint32_t k = 0; k < v->n; k++)
      r.item[k] = reduce_leaf(L, e, m, red, n, where, &v->item[k]);
    return r;
  }
  sq_ex x;
  if (v->kind == SQ_V_POISON || !sq_val_to_ex(L, v, e->body->span, &x)) return sq_poison();
  sq_sx *body = element(L, x.root, m, e);
  if (!body) return sq_poison();
  sq_sx *r = SQ_NEW(L->a, sq_sx);
  r->kind = SQ_SX_REDUCE;
  r->dtype = sq_monoid_result(m, body->dtype);
  r->span = e->span;
  r->monoid = m;
  r->n_red = red->n;
  r->red = red->v;
  r->n_where = n;
  r->where = where;
  r->a[0] = body;
  return sq_val_ex(L, r, x.n_own, x.own);
}

static sq_val reduction(sq_low *L, sq_scope *s, const sq_expr *e, sq_monoid m) {
  sq_axes x = sq_bind_axes(L, s, e->n, e->arg, true);
  sq_sx **where = NULL;
  uint32_t n = 0;
  for (uint32_t k = 0; k < x.n; k++)
    if (x.cond[k]) sq_sx_conjuncts(L, x.cond[k], &where, &n);
  if (!condition(L, x.scope, e, &where, &n)) return sq_poison();
  sq_val v = body_of(L, x.scope, e, n, where);
  sq_ivars red = {0};
  if (v.kind == SQ_V_POISON) return v;
  if (!sq_axes_list(L, &x, &red, e->span)) return sq_poison();
  if ((m == SQ_ARGMAX || m == SQ_ARGMIN) && red.n != 1) {
    sq_low_error(L, e->span, "`%s` takes one index, not %u", e->name, red.n);
    return sq_poison();
  }
  for (uint32_t k = 0; k < x.n; k++)
    if (x.first[k] && (m == SQ_ARGMAX || m == SQ_ARGMIN)) {
      sq_val i = reduce_leaf(L, e, m, &red, n, where, &v);
      sq_expr plus = {.kind = SQ_E_BINARY, .op = SQ_B_ADD, .span = e->span};
      sq_val first = sq_val_ex(L, x.first[k], 0, NULL), none = sq_val_int(L, 0);
      if (i.kind != SQ_V_EX) return i;
      // -1 over nothing stays -1
      sq_val moved = sq_eval_binary(L, SQ_B_ADD, &i, &first, &plus, e, e);
      sq_val some = sq_eval_binary(L, SQ_B_LE, &none, &i, &plus, e, e);
      sq_ex a, b, c;
      if (!sq_val_to_ex(L, &some, e->span, &c) || !sq_val_to_ex(L, &moved, e->span, &a) ||
          !sq_val_to_ex(L, &i, e->span, &b))
        return sq_poison();
      if (!sq_ex_align(L, &c, &a, e->span, e->span) || !sq_ex_align(L, &c, &b, e->span, e->span))
        return sq_poison();
      return sq_val_ex(L, sq_sx_select(L, c.root, sq_sx_cast(L, a.root, SQ_I32, false), b.root),
                       c.n_own, c.own);
    }
  return reduce_leaf(L, e, m, &red, n, where, &v);
}

// The index that an axis operator runs along: one bound outside.
static sq_ivar *outer_index(sq_low *L, sq_scope *s, const sq_expr *e) {
  const sq_expr *name = e->arg[0];
  sq_val v;
  if (e->n != 1 || name->kind != SQ_E_NAME) {
    sq_diag *d = sq_low_error(L, e->n ? name->span : e->span,
                              "`%s` takes the name of one index that is bound outside", e->name);
    sq_hint(d, "`p[i, j] = %s(j) s[i, j]`", e->name);
    return NULL;
  }
  if (sq_lookup(L, s, name->name, &v) && v.kind == SQ_V_EX && !v.ex->n_own &&
      v.ex->root->kind == SQ_SX_IVAR)
    return v.ex->root->iv;
  sq_diag *d = sq_low_error(L, name->span, "`%s` is not an index bound outside", name->name);
  sq_hint(d, "`%s` gives the element at its index: `p[i, %s] = %s(%s) s[i, %s]`", e->name,
          name->name, e->name, name->name, name->name);
  return NULL;
}

static sq_val axis_operator(sq_low *L, sq_scope *s, const sq_expr *e, sq_monoid m, sq_axis_op op) {
  sq_ivar *iv = outer_index(L, s, e);
  if (!iv) return sq_poison();
  sq_sx **where = NULL;
  uint32_t n = 0;
  if (e->where && op != SQ_AX_SOFTMAX && op != SQ_AX_CUMULATE) {
    sq_diag *d = sq_low_error(L, e->where->span, "`%s` takes no condition", e->name);
    sq_hint(d, "`top(j, K where c) e` leaves elements out");
    return sq_poison();
  }
  if (!condition(L, s, e, &where, &n)) return sq_poison();
  sq_val v = body_of(L, s, e, n, where);
  sq_ex x;
  if (v.kind == SQ_V_POISON || !sq_val_to_ex(L, &v, e->body->span, &x)) return sq_poison();
  sq_sx *body = x.root;
  if (op == SQ_AX_SOFTMAX) body = sq_sx_float_of(L, body);
  if (op == SQ_AX_CUMULATE && body->dtype == SQ_BOOL && (m == SQ_SUM || m == SQ_PROD))
    body = sq_sx_cast(L, body, SQ_I32, false);
  body = sq_sx_value_type(L, body);
  sq_sx *r = SQ_NEW(L->a, sq_sx);
  r->kind = SQ_SX_AXIS;
  r->dtype = op == SQ_AX_ARGSORT ? SQ_I32 : body->dtype;
  r->span = e->span;
  r->op = op;
  r->monoid = m;
  r->iv = iv;
  r->n_where = n;
  r->where = where;
  r->a[0] = body;
  return sq_val_ex(L, r, x.n_own, x.own);
}

static sq_val top(sq_low *L, sq_scope *s, const sq_expr *e) {
  if (e->n != 2) {
    sq_low_error(L, e->span, "`top` takes an index and how many: `top(j, K) x[j]`");
    return sq_poison();
  }
  sq_dim k = sq_eval_size(L, s, e->arg[1], "how many `top` takes");
  sq_axes x = sq_bind_axes(L, s, 1, e->arg, true);
  sq_sx **where = NULL;
  uint32_t n = 0;
  if (x.cond[0]) sq_sx_conjuncts(L, x.cond[0], &where, &n);
  if (!condition(L, x.scope, e, &where, &n)) return sq_poison();
  sq_val v = body_of(L, x.scope, e, n, where);
  sq_ivars red = {0};
  sq_ex body;
  if (!k.i || v.kind == SQ_V_POISON || !sq_axes_list(L, &x, &red, e->span)) return sq_poison();
  if (!sq_val_to_ex(L, &v, e->body->span, &body)) return sq_poison();
  if (body.n_own || red.n != 1) {
    sq_low_error(L, e->body->span, "`top` compares single elements, but `%s` is %s",
                 sq_low_text(L, e->body->span), sq_val_what(L, &v));
    return sq_poison();
  }
  if (!L->b) {
    sq_low_error(L, e->span, "`top` needs values that are known only at run time");
    return sq_poison();
  }
  sq_sx *element_x = sq_sx_value_type(L, body.root);
  sq_sx *valid = sq_sx_int(L, 1, SQ_BOOL, false, false);
  for (uint32_t j = 0; j < n; j++) valid = sq_sx_binary(L, SQ_B_AND, valid, where[j], e->span);
  sq_ivars f = {0}, more = {0};
  sq_sx_free(L, element_x, &f);
  sq_sx_free(L, valid, &more);
  sq_ivar *j_root = sq_ivar_root(red.v[0]);
  sq_ivars axes = {0};
  for (uint32_t i = 0; i < f.n + more.n; i++) {
    sq_ivar *iv = i < f.n ? f.v[i] : more.v[i - f.n];
    bool have = iv == j_root;
    for (uint32_t q = 0; q < axes.n; q++) have |= axes.v[q] == iv;
    if (!have) sq_push(L->a, &axes, iv);
  }
  sq_ivars_sort(&axes);
  uint32_t outer = axes.n;
  sq_push(L->a, &axes, j_root);
  for (uint32_t i = 0; i < axes.n; i++)
    if (!sq_ivar_known(L, axes.v[i])) return sq_poison();
  const sq_guard_list *guards = L->guards;
  L->guards = push(L, NULL, n, where);
  sq_value *in[2];
  in[0] = sq_emit_value(L, element_x, axes.n, axes.v, e->span, NULL);
  L->guards = NULL;
  bool masked = !sq_sx_is_true(valid);
  if (masked) in[1] = sq_emit_value(L, valid, axes.n, axes.v, e->span, NULL);
  L->guards = guards;
  sq_node *node = sq_node_new(L->g, L->b, SQ_OP_TOPK, e->span, masked ? 2 : 1, in);
  node->axis = outer;
  node->extent = k;
  sq_ivar *rank = sq_ivar_new(L, NULL, e->span, k);
  axes.v[outer] = rank;
  sq_value *out[2];
  out[0] = sq_node_result(L->g, node, sq_axes_type(L, in[0]->type.dtype, axes.n, axes.v), NULL);
  out[1] = sq_node_result(L->g, node, sq_axes_type(L, SQ_I32, axes.n, axes.v), NULL);
  sq_val r = {.kind = SQ_V_TUPLE, .n = 2, .item = SQ_ARRAY(L->a, sq_val, 2)};
  for (int o = 0; o < 2; o++) {
    sq_sx *pos[2 * SQ_MAX_RANK];
    sq_ivar *own = sq_ivar_new(L, NULL, e->span, k);
    for (uint32_t i = 0; i < axes.n; i++) pos[i] = sq_sx_ivar(L, i == outer ? own : axes.v[i]);
    sq_sx *read = sq_sx_read(L, out[o], axes.n, pos, e->span);
    if (o && x.first[0]) // indices counted from the range's start; -1 stays
      read = sq_sx_select(
          L, sq_sx_ewise(L, SQ_EW_LT, read, sq_sx_int(L, 0, SQ_I32, false, false), SQ_BOOL, false),
          read, sq_sx_cast(L, sq_sx_binary(L, SQ_B_ADD, read, x.first[0], e->span), SQ_I32, false));
    r.item[o] = sq_val_ex(L, read, 1, &own);
  }
  return r;
}

sq_val sq_eval_reduce(sq_low *L, sq_scope *s, const sq_expr *e) {
  for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
    if (strcmp(table[k].name, e->name)) continue;
    switch (table[k].form) {
    case FORM_REDUCE:
      return reduction(L, s, e, table[k].monoid);
    case FORM_AXIS:
      return axis_operator(L, s, e, table[k].monoid, table[k].op);
    case FORM_TOP:
      return top(L, s, e);
    }
  }
  sq_low_error(L, e->span, "unknown reduction `%s`", e->name);
  return sq_poison();
}
