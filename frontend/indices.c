// Lists of indices that are bound: left sides of definitions, heads of arrays and reductions.
#include "frontend/lower.h"

static sq_bind *bind_index(sq_low *L, sq_axes *x, const sq_expr *e, sq_val v) {
  sq_val old;
  sq_bind *b = sq_lookup(L, x->scope->parent, e->name, &old);
  if (b && b->kind == SQ_B_LOOP) {
    sq_diag *d =
        sq_low_error(L, e->span, "`%s` is the index of a loop and cannot be bound again", e->name);
    sq_label(d, b->span, "the loop is here");
    sq_hint(d, "to write one element use `<-`");
    x->bad = true;
    for (uint32_t k = 0; k < x->n; k++)
      if (x->iv[k] && x->iv[k]->name == e->name) x->iv[k]->bad = true;
  }
  if (sq_lookup_here(x->scope, e->name)) {
    sq_low_error(L, e->span, "index `%s` stands twice in one list", e->name);
    x->bad = true;
    for (uint32_t k = 0; k < x->n; k++)
      if (x->iv[k]) x->iv[k]->bad = true;
  }
  return sq_bind_add(L, x->scope, e->name, SQ_B_INDEX, e->span, v);
}

static sq_val index_val(sq_low *L, sq_ivar *v) { return sq_val_ex(L, sq_sx_ivar(L, v), 0, NULL); }

// A range whose extent could be negative is tested at the call's start.
static sq_dim checked_extent(sq_low *L, sq_dim d, sq_span span) {
  sq_dims *ds = L->g->dims;
  sq_dim zero = sq_dim_const(ds, 0);
  int p = sq_prove_le(ds, zero, d);
  if (p == 1) return d;
  if (p == -1) {
    sq_low_error(L, span, "the range is negative: %s", sq_dim_str(L, d));
    return zero;
  }
  if (L->conditional || L->at_load || !L->f || sq_size_moves(L, d)) return sq_dim_max(ds, zero, d);
  sq_require_size(L, zero, d, false, span,
                  sq_arena_fmt(L->a, "the range `%s` is negative", sq_low_text(L, span)));
  return d;
}

static sq_sx *tree_of(sq_low *L, const sq_val *v, sq_span span) {
  sq_ex x;
  L->size_mode++;
  bool ok = sq_val_to_ex(L, v, span, &x);
  L->size_mode--;
  if (!ok) return NULL;
  if (x.n_own || sq_is_float(x.root->dtype) || x.root->dtype == SQ_BOOL) {
    sq_low_error(L, span, "a bound must be one integer, but `%s` is %s", sq_low_text(L, span),
                 sq_val_what(L, v));
    return NULL;
  }
  return x.root;
}

static void ranged(sq_low *L, sq_axes *x, uint32_t k, const sq_expr *name, const sq_expr *lo,
                   const sq_expr *hi, bool reduction) {
  sq_ivar *iv = x->iv[k] = sq_ivar_new(L, name->name, name->span, (sq_dim){0});
  sq_val vlo = lo ? sq_eval_size_expr(L, x->scope, lo) : sq_val_int(L, 0);
  sq_val vhi = sq_eval_size_expr(L, x->scope, hi);
  sq_dim dlo = {0}, dhi = {0};
  bool fixed = sq_val_try_size(L, &vlo, &dlo) && sq_val_try_size(L, &vhi, &dhi);
  if (vlo.kind == SQ_V_POISON || vhi.kind == SQ_V_POISON) {
    iv->bad = true;
  } else if (fixed) {
    iv->fixed = true;
    iv->extent = checked_extent(L, lo ? sq_dim_sub(L->g->dims, dhi, dlo) : dhi, hi->span);
    iv->from = hi->span;
    int64_t zero;
    if (lo && !(sq_dim_is_const(L->g->dims, dlo, &zero) && zero == 0)) {
      x->first[k] = sq_sx_dim(L, dlo);
      sq_sx *at = sq_sx_binary(L, SQ_B_ADD, sq_sx_ivar(L, iv), x->first[k], name->span);
      bind_index(L, x, name, sq_val_ex(L, at, 0, NULL));
      return;
    }
  } else if (reduction) {
    sq_sx *a = lo ? tree_of(L, &vlo, lo->span) : NULL, *b = tree_of(L, &vhi, hi->span);
    sq_sx *i = sq_sx_ivar(L, iv), *c = b ? sq_sx_binary(L, SQ_B_LT, i, b, hi->span) : NULL;
    if (a && c)
      c = sq_sx_binary(L, SQ_B_AND, sq_sx_binary(L, SQ_B_LE, a, i, lo->span), c, hi->span);
    x->cond[k] = c;
    iv->limit = sq_low_text(L, hi->span);
  } else {
    const sq_expr *bad = lo && !dlo.i ? lo : hi;
    sq_val_size(L, bad == lo ? &vlo : &vhi, bad->span, "the range of an index");
    iv->bad = true;
  }
  if (iv->bad) {
    iv->fixed = true;
    iv->extent = sq_dim_const(L->g->dims, 1);
    x->bad = true;
  }
  bind_index(L, x, name, index_val(L, iv));
}

// Names in a faulty range are not said to be unknown as well.
static void bind_faulty(sq_low *L, sq_axes *x, const sq_expr *e, uint32_t depth) {
  if (e->kind == SQ_E_NAME && !sq_lookup(L, x->scope, e->name, NULL))
    sq_bind_add(L, x->scope, e->name, SQ_B_INDEX, e->span, sq_poison());
  for (uint32_t k = 0; k < e->n && depth < 20; k++) bind_faulty(L, x, e->arg[k], depth + 1);
}

static bool is_live(const sq_low *L, sq_dim d) {
  const sq_dim_node *n = sq_dim_at(L->g->dims, d);
  return n->kind == SQ_DIM_SYM && sq_sym_at(L->g->dims, n->sym)->kind == SQ_SYM_LIVE;
}

// `n < m limit B`: m is data; from here on a name m stands for the size.
static void live(sq_low *L, sq_axes *x, uint32_t k, const sq_expr *e, sq_scope *outer) {
  const sq_expr *c = e->arg[0];
  bool form =
      c->kind == SQ_E_COMPARE && c->n == 2 && c->ops[0] == SQ_B_LT && c->arg[0]->kind == SQ_E_NAME;
  sq_dim bound = sq_eval_size(L, outer, e->arg[1], "the limit");
  sq_ivar *iv = x->iv[k] = sq_ivar_new(L, form ? c->arg[0]->name : NULL, e->span, (sq_dim){0});
  iv->fixed = true;
  iv->extent = sq_dim_const(L->g->dims, 1);
  if (!form || !bound.i) {
    if (!form) {
      sq_low_error(L, e->span, "a run-time extent is written `i < n limit B`");
      bind_faulty(L, x, e, 0);
    }
    x->bad = true;
    if (form) bind_index(L, x, c->arg[0], index_val(L, iv));
    return;
  }
  sq_val n = sq_eval_size_expr(L, outer, c->arg[1]);
  if (n.kind == SQ_V_DIM && (is_live(L, n.dim) || !sq_size_moves(L, n.dim))) { // a size after all
    iv->extent = n.dim;
    if (!is_live(L, n.dim))
      sq_require_size(
          L, n.dim, bound, false, e->span,
          sq_arena_fmt(L->a, "`%s` is above its limit", sq_low_text(L, c->arg[1]->span)));
  } else {
    sq_sx *t = n.kind == SQ_V_POISON ? NULL : tree_of(L, &n, c->arg[1]->span);
    sq_value *v = t ? sq_emit_value(L, sq_sx_cast(L, sq_sx_value_type(L, t), SQ_I32, false), 0,
                                    NULL, c->arg[1]->span, NULL)
                    : NULL;
    if (!v) {
      x->bad = true;
    } else {
      const char *name = c->arg[1]->kind == SQ_E_NAME ? c->arg[1]->name : "live";
      sq_node *node = sq_node_new(L->g, L->b, SQ_OP_LIVE, e->span, 1, &v);
      node->sym = sq_sym_new(L->g->dims, name, SQ_SYM_LIVE);
      sq_sym_at(L->g->dims, node->sym)->limit = bound;
      node->site = sq_site_new(L->g, e->span, "`%s` must lie in 0 .. %s",
                               sq_low_text(L, c->arg[1]->span), sq_low_text(L, e->arg[1]->span));
      iv->extent = sq_dim_sym(L->g->dims, node->sym);
      if (c->arg[1]->kind == SQ_E_NAME)
        sq_bind_add(L, outer, name, SQ_B_LOCAL, c->arg[1]->span, sq_val_dim(iv->extent));
    }
  }
  bind_index(L, x, c->arg[0], index_val(L, iv));
}

sq_axes sq_bind_axes(sq_low *L, sq_scope *s, uint32_t n, sq_expr *const *item, bool reduction) {
  sq_axes x = {.scope = sq_scope_new(L, SQ_SC_INDICES, s), .n = n, .dots_at = -1};
  x.iv = SQ_ARRAY(L->a, sq_ivar *, n + 1);
  x.first = SQ_ARRAY(L->a, sq_sx *, n + 1);
  x.cond = SQ_ARRAY(L->a, sq_sx *, n + 1);
  for (uint32_t k = 0; k < n; k++) {
    const sq_expr *e = item[k];
    if (e->kind == SQ_E_NAME) {
      x.iv[k] = sq_ivar_new(L, e->name, e->span, (sq_dim){0});
      bind_index(L, &x, e, index_val(L, x.iv[k]));
    } else if (e->kind == SQ_E_COMPARE && e->n == 2 && e->ops[0] == SQ_B_LT &&
               e->arg[0]->kind == SQ_E_NAME) {
      ranged(L, &x, k, e->arg[0], NULL, e->arg[1], reduction);
    } else if (e->kind == SQ_E_IN) {
      sq_expr *name = SQ_NEW(L->a, sq_expr);
      *name = (sq_expr){.kind = SQ_E_NAME, .name = e->name, .span = e->span};
      ranged(L, &x, k, name, e->arg[0], e->arg[1], reduction);
    } else if (e->kind == SQ_E_DOTS && x.dots_at < 0) {
      x.dots_at = (int32_t)k;
      x.dots = x.scope->dots = SQ_NEW(L->a, sq_dots);
      x.dots->span = e->span;
    } else if (e->kind == SQ_E_LIMIT && !reduction) {
      live(L, &x, k, e, s);
    } else {
      sq_diag *d = sq_low_error(L, e->span,
                                e->kind == SQ_E_DOTS ? "`..` stands once in a list of indices"
                                                     : "the name of an index is expected here");
      if (e->kind == SQ_E_COMPARE || e->kind == SQ_E_LIMIT)
        sq_hint(d, "a range is written `i < n` or `i in a .. b`");
      else if (!reduction && e->kind != SQ_E_DOTS)
        sq_hint(d, "`=` defines a whole array; to write a slice use `<-`");
      bind_faulty(L, &x, e, 0);
      x.iv[k] = sq_ivar_new(L, NULL, e->span, sq_dim_const(L->g->dims, 1));
      x.iv[k]->bad = true;
      x.bad = true;
    }
  }
  return x;
}

bool sq_axes_list(sq_low *L, sq_axes *x, sq_ivars *out, sq_span span) {
  bool ok = !x->bad;
  for (uint32_t k = 0; k < x->n; k++) {
    if ((int32_t)k == x->dots_at) {
      if (!x->dots->known) {
        sq_low_error(L, x->dots->span, "nothing tells which axes `..` stands for");
        return false;
      }
      for (uint32_t j = 0; j < x->dots->n; j++) {
        ok &= sq_ivar_known(L, x->dots->iv[j]) && !sq_ivar_root(x->dots->iv[j])->bad;
        sq_push(L->a, out, x->dots->iv[j]);
      }
      continue;
    }
    ok &= sq_ivar_known(L, x->iv[k]) && !sq_ivar_root(x->iv[k])->bad;
    sq_push(L->a, out, x->iv[k]);
  }
  if (out->n > SQ_MAX_RANK) {
    sq_low_error(L, span, "%u axes are more than the %u that are possible", out->n, SQ_MAX_RANK);
    return false;
  }
  return ok;
}

// ---- arrays and definitions --------------------------------------------------------------------

static sq_val array_of(sq_low *L, sq_axes *x, const sq_val *v, sq_span span) {
  if (v->kind == SQ_V_TUPLE) {
    sq_val r = sq_val_tuple(L, v->n, v->item);
    for (uint32_t k = 0; k < v->n; k++) r.item[k] = array_of(L, x, &v->item[k], span);
    return r;
  }
  sq_ex e;
  if (v->kind == SQ_V_POISON || !sq_val_to_ex(L, v, span, &e)) return sq_poison();
  sq_ivars own = {0};
  if (!sq_axes_list(L, x, &own, span)) return sq_poison();
  for (uint32_t k = 0; k < e.n_own; k++) sq_push(L->a, &own, e.own[k]);
  if (own.n > SQ_MAX_RANK) {
    sq_low_error(L, span, "%u axes are more than the %u that are possible", own.n, SQ_MAX_RANK);
    return sq_poison();
  }
  sq_sx *root = e.root->kind == SQ_SX_IVAR || e.root->lit ? sq_sx_value_type(L, e.root) : e.root;
  return sq_val_ex(L, root, own.n, own.v);
}

sq_val sq_axes_array(sq_low *L, sq_axes *x, const sq_val *v, sq_span span) {
  return array_of(L, x, v, span);
}

sq_val sq_eval_array(sq_low *L, sq_scope *s, const sq_expr *e) {
  sq_axes x = sq_bind_axes(L, s, e->n, e->arg, false);
  uint32_t mode = L->size_mode;
  L->size_mode = 0;
  sq_val v = sq_eval_expr(L, x.scope, e->body);
  L->size_mode = mode;
  return array_of(L, &x, &v, e->body->span);
}

sq_val sq_define(sq_low *L, sq_scope *s, uint32_t n, sq_expr *const *item, const sq_expr *value,
                 sq_span span, const char *name) {
  sq_axes x = sq_bind_axes(L, s, n, item, false);
  sq_val v = sq_eval_expr(L, x.scope, value);
  v = array_of(L, &x, &v, value->span);
  return sq_val_bindable(L, &v, span, name);
}
