// Functions of the language that cannot be written in it.
#include "frontend/lower.h"

static sq_val argument(sq_low *L, sq_scope *s, const sq_expr *e, uint32_t k) {
  uint32_t mode = L->size_mode;
  L->size_mode = 0;
  sq_val v = sq_eval_expr(L, s, e->arg[k]);
  L->size_mode = mode;
  return v;
}

static sq_val run_ewise(sq_low *L, sq_scope *s, const sq_expr *e, const sq_builtin *b) {
  sq_val v[2];
  uint32_t mode = L->size_mode;
  bool size = b->ew == SQ_EW_MIN || b->ew == SQ_EW_MAX;
  if (!size) L->size_mode = 0;
  for (uint32_t k = 0; k + 1 < e->n; k++) v[k] = sq_eval_expr(L, s, e->arg[k + 1]);
  if (size) L->size_mode++; // exact quotients of sizes stay whole
  sq_val r = sq_apply_ewise(L, (sq_ewise)b->ew, e->n - 1, v, e->span);
  L->size_mode = mode;
  return r;
}

// ---- select ------------------------------------------------------------------------------------

static sq_val select_leaf(sq_low *L, const sq_ex *c, const sq_val *a, const sq_val *b,
                          const sq_expr *e) {
  if (a->kind == SQ_V_POISON || b->kind == SQ_V_POISON) return sq_poison();
  if (a->kind == SQ_V_TUPLE || b->kind == SQ_V_TUPLE) {
    if (a->kind != b->kind || a->n != b->n) {
      sq_low_error(L, e->span, "the two sides of `select` differ: %s and %s", sq_val_what(L, a),
                   sq_val_what(L, b));
      return sq_poison();
    }
    sq_val r = sq_val_tuple(L, a->n, a->item);
    for (uint32_t k = 0; k < a->n; k++) r.item[k] = select_leaf(L, c, &a->item[k], &b->item[k], e);
    return r;
  }
  sq_ex x, y, z = *c;
  sq_span sa = e->arg[2]->span, sb = e->arg[3]->span;
  if (!sq_val_to_ex(L, a, sa, &x) || !sq_val_to_ex(L, b, sb, &y)) return sq_poison();
  if (!sq_ex_align(L, &x, &y, sa, sb) || !sq_ex_align(L, &x, &z, sa, e->arg[1]->span))
    return sq_poison();
  sq_sx *p = x.root, *q = y.root;
  sq_sx_promote(L, &p, &q);
  if (p->lit && p->kind == SQ_SX_INT) { // `select(c, 1, 0)` is i32
    p = sq_sx_cast(L, p, p->dtype, p->idx);
    q = sq_sx_cast(L, q, q->dtype, q->idx);
  }
  sq_sx *r = sq_sx_select(L, z.root, p, q);
  return sq_val_ex(L, r, x.n_own, x.own);
}

static sq_val run_select(sq_low *L, sq_scope *s, const sq_expr *e, const sq_builtin *b) {
  (void)b;
  sq_val c = argument(L, s, e, 1);
  if (c.kind == SQ_V_POISON) return c;
  if (c.kind == SQ_V_BOOL) return sq_eval_expr(L, s, e->arg[c.i ? 2 : 3]);
  sq_ex x;
  if (!sq_val_to_ex(L, &c, e->arg[1]->span, &x)) return sq_poison();
  if (x.root->dtype != SQ_BOOL) {
    sq_diag *d =
        sq_low_error(L, e->arg[1]->span, "the condition of `select` must be bool, but `%s` is %s",
                     sq_low_text(L, e->arg[1]->span), sq_val_what(L, &c));
    sq_hint(d, "compare with something: `%s != 0`", sq_low_text(L, e->arg[1]->span));
    return sq_poison();
  }
  const sq_guard_list *guards = L->guards;
  L->guards = sq_guard_add(L, guards, x.root, false);
  sq_val p = sq_eval_expr(L, s, e->arg[2]);
  L->guards = sq_guard_add(L, guards, x.root, true);
  sq_val q = sq_eval_expr(L, s, e->arg[3]);
  L->guards = guards;
  return select_leaf(L, &x, &p, &q, e);
}

// ---- sizes, lists ------------------------------------------------------------------------------

static sq_val run_size(sq_low *L, sq_scope *s, const sq_expr *e, const sq_builtin *b) {
  (void)b;
  sq_val x = argument(L, s, e, 1), at = argument(L, s, e, 2);
  if (x.kind == SQ_V_POISON || at.kind == SQ_V_POISON) return sq_poison();
  uint32_t rank;
  sq_dim dim[SQ_MAX_RANK];
  sq_dtype t;
  int64_t k;
  if (!sq_val_shape(L, &x, &rank, dim, &t)) {
    sq_low_error(L, e->arg[1]->span, "`%s` is %s and has no axes", sq_low_text(L, e->arg[1]->span),
                 sq_val_what(L, &x));
    return sq_poison();
  }
  if (!sq_val_const_int(L, &at, &k) || k < 0 || k >= rank) {
    sq_low_error(L, e->arg[2]->span, "`%s` has %u axes, numbered from 0",
                 sq_low_text(L, e->arg[1]->span), rank);
    return sq_poison();
  }
  return sq_val_dim(dim[k]);
}

static sq_val run_len(sq_low *L, sq_scope *s, const sq_expr *e, const sq_builtin *b) {
  (void)b;
  sq_val x = argument(L, s, e, 1);
  if (x.kind == SQ_V_LIST || x.kind == SQ_V_TUPLE) return sq_val_int(L, x.n);
  if (x.kind == SQ_V_INSTS) return sq_val_int(L, x.insts->n);
  if (x.kind == SQ_V_POISON) return x;
  sq_diag *d = sq_low_error(L, e->arg[1]->span, "`len` takes a list, but `%s` is %s",
                            sq_low_text(L, e->arg[1]->span), sq_val_what(L, &x));
  sq_hint(d, "the extent of an axis is `size(x, 0)`");
  return sq_poison();
}

// ---- random numbers ----------------------------------------------------------------------------

static sq_val run_random(sq_low *L, sq_scope *s, const sq_expr *e, const sq_builtin *b) {
  sq_val key = argument(L, s, e, 1);
  L->size_mode++;
  sq_val shape = sq_eval_expr(L, s, e->arg[2]);
  L->size_mode--;
  if (key.kind == SQ_V_POISON || shape.kind == SQ_V_POISON) return sq_poison();
  if (!L->b) {
    sq_low_error(L, e->span, "`%s` makes values at run time only", b->name);
    return sq_poison();
  }
  sq_dim dim[SQ_MAX_RANK];
  uint32_t rank = 0;
  if (shape.kind != SQ_V_LIST) {
    dim[rank++] = sq_val_size(L, &shape, e->arg[2]->span, "an extent");
    if (!dim[0].i) return sq_poison();
  } else {
    if (shape.n > SQ_MAX_RANK) {
      sq_low_error(L, e->arg[2]->span, "%u axes are more than the %u that are possible", shape.n,
                   SQ_MAX_RANK);
      return sq_poison();
    }
    for (; rank < shape.n; rank++) {
      dim[rank] = sq_val_size(L, &shape.item[rank], e->arg[2]->span, "an extent");
      if (!dim[rank].i) return sq_poison();
    }
  }
  sq_ex x;
  if (!sq_val_to_ex(L, &key, e->arg[1]->span, &x)) return sq_poison();
  if (x.n_own || sq_is_float(x.root->dtype)) {
    sq_low_error(L, e->arg[1]->span, "the key of `%s` is one integer", b->name);
    return sq_poison();
  }
  sq_sx *root = sq_sx_value_type(L, x.root);
  if (root->dtype != SQ_I64) root = sq_sx_cast(L, root, SQ_I32, false);
  sq_value *v = sq_emit_value(L, root, 0, NULL, e->arg[1]->span, NULL);
  sq_node *n = sq_node_new(L->g, L->b, SQ_OP_RANDOM, e->span, 1, &v);
  n->flag = b->ew ? 1 : 0;
  return sq_val_tensor(
      sq_node_result(L->g, n, sq_type_make(L->g, L->g->float_type, rank, dim), NULL));
}

// ---- effects, and what is not built ------------------------------------------------------------

static sq_val run_reset(sq_low *L, sq_scope *s, const sq_expr *e, const sq_builtin *b) {
  (void)b;
  sq_lower_reset(L, s, e->span);
  return (sq_val){.kind = SQ_V_NONE};
}

static sq_val run_later(sq_low *L, sq_scope *s, const sq_expr *e, const sq_builtin *b) {
  (void)s;
  sq_low_error(L, e->span, "`%s` is not built yet", b->name);
  return sq_poison();
}

static sq_val run_same(sq_low *L, sq_scope *s, const sq_expr *e, const sq_builtin *b) {
  (void)b;
  return argument(L, s, e, 1); // the value; what it means for gradients comes with them
}

#define EW1(name, E)                                                                               \
  { name, 1, 1, run_ewise, false, SQ_EW_##E }
#define EW2(name, E)                                                                               \
  { name, 2, 2, run_ewise, false, SQ_EW_##E }
const sq_builtin sq_builtin_table[] = {
    EW1("exp", EXP),
    EW1("exp2", EXP2),
    EW1("expm1", EXPM1),
    EW1("log", LOG),
    EW1("log2", LOG2),
    EW1("log1p", LOG1P),
    EW1("sqrt", SQRT),
    EW1("rsqrt", RSQRT),
    EW1("sin", SIN),
    EW1("cos", COS),
    EW1("tan", TAN),
    EW1("tanh", TANH),
    EW1("erf", ERF),
    EW1("sigmoid", SIGMOID),
    EW1("floor", FLOOR),
    EW1("ceil", CEIL),
    EW1("round", ROUND),
    EW1("isnan", ISNAN),
    EW1("abs", ABS),
    EW1("sign", SIGN),
    EW2("minimum", MIN),
    EW2("maximum", MAX),
    EW2("atan2", ATAN2),
    EW2("pow", POW),
    EW2("bitand", BITAND),
    EW2("bitor", BITOR),
    EW2("bitxor", BITXOR),
    EW2("shl", SHL),
    EW2("shr", SHR),
    {"select", 3, 3, run_select, false, 0},
    {"size", 2, 2, run_size, false, 0},
    {"len", 1, 1, run_len, false, 0},
    {"uniform", 2, 2, run_random, false, 0},
    {"normal", 2, 2, run_random, false, 1},
    {"reset", 0, 0, run_reset, true, 0},
    {"stop_gradient", 1, 1, run_same, false, 0},
    {"with_gradient", 2, 2, run_same, false, 0},
    {"grad", 0, 100, run_later, false, 0},
    {"shard", 0, 100, run_later, false, 0},
    {"params", 0, 100, run_later, false, 0},
};
const uint32_t sq_builtin_count = sizeof sq_builtin_table / sizeof *sq_builtin_table;

const sq_builtin *sq_builtin_find(const char *name) {
  for (uint32_t k = 0; k < sq_builtin_count; k++)
    if (!strcmp(sq_builtin_table[k].name, name)) return &sq_builtin_table[k];
  return NULL;
}
