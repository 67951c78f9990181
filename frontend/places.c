// The left side of `<-`: which names are positions, which are indices that it binds.
#include "frontend/lower.h"

static bool is_position_name(sq_low *L, sq_scope *s, const char *name) {
  sq_val v;
  sq_bind *b = sq_lookup(L, s, name, &v);
  if (!b) return false;
  if (b->kind == SQ_B_LOOP) return true;
  if (b->kind == SQ_B_INDEX) return false;
  if (b->kind == SQ_B_LOCAL && v.kind == SQ_V_DIM) return true;
  uint32_t rank;
  sq_dim dim[SQ_MAX_RANK];
  sq_dtype t;
  bool variable = b->kind == SQ_B_LOCAL || v.kind == SQ_V_STATE;
  return variable && v.kind != SQ_V_DIM && sq_val_shape(L, &v, &rank, dim, &t) && !rank &&
         !sq_is_float(t) && t != SQ_BOOL;
}

// An index that an earlier part of the left side bound.
static bool bound_before(sq_low *L, sq_places *p, const char *name) {
  sq_bind *b = sq_lookup_here(p->scope, name);
  if (!b || b->val.kind != SQ_V_EX || b->val.ex->root->kind != SQ_SX_IVAR) return false;
  sq_ivar *v = b->val.ex->root->iv;
  for (uint32_t k = 0; k < p->binders.n; k++)
    if (p->binders.v[k] == v) return false;
  sq_push(L->a, &p->binders, v);
  return true;
}

static sq_ivar *bind_place(sq_low *L, sq_places *p, const char *name, sq_span span, sq_dim extent,
                           sq_sx *first) {
  sq_ivar *v = sq_ivar_new(L, name, span, extent);
  v->fixed = extent.i != 0;
  sq_sx *at = sq_sx_ivar(L, v);
  if (first) at = sq_sx_binary(L, SQ_B_ADD, at, first, span);
  sq_bind_add(L, p->scope, name, SQ_B_INDEX, span, sq_val_ex(L, at, 0, NULL));
  sq_push(L->a, &p->binders, v);
  return v;
}

// New names inside `len + n`, `at[r]`.
static void bind_new(sq_low *L, sq_places *p, const sq_expr *e, uint32_t depth) {
  if (!e || depth > 200) return;
  if (e->kind == SQ_E_NAME) {
    if (bound_before(L, p, e->name)) return;
    if (!sq_lookup(L, p->scope, e->name, NULL) && !sq_builtin_find(e->name))
      bind_place(L, p, e->name, e->span, (sq_dim){0}, NULL);
    return;
  }
  uint32_t from = e->kind == SQ_E_INDEX || e->kind == SQ_E_CALL || e->kind == SQ_E_FIELD;
  for (uint32_t k = from; k < e->n; k++) bind_new(L, p, e->arg[k], depth + 1);
  if (e->kind != SQ_E_REDUCE && e->kind != SQ_E_ARRAY) bind_new(L, p, e->body, depth + 1);
}

bool sq_places_bind(sq_low *L, sq_places *p, sq_scope *s, uint32_t rank) {
  bool ok = true;
  uint32_t given = 0;
  for (uint32_t k = 0; k < p->n; k++) given += p->item[k]->kind != SQ_E_DOTS;
  for (uint32_t k = 0; k < p->n; k++) {
    const sq_expr *e = p->item[k];
    if (e->kind == SQ_E_NAME && !is_position_name(L, p->scope, e->name)) {
      if (bound_before(L, p, e->name)) continue;
      if (sq_lookup_here(p->scope, e->name)) {
        sq_low_error(L, e->span, "index `%s` stands twice in one list", e->name);
        ok = false;
        continue;
      }
      bind_place(L, p, e->name, e->span, (sq_dim){0}, NULL);
    } else if ((e->kind == SQ_E_COMPARE && e->n == 2 && e->ops[0] == SQ_B_LT &&
                e->arg[0]->kind == SQ_E_NAME) ||
               e->kind == SQ_E_IN) {
      bool in = e->kind == SQ_E_IN;
      sq_dim lo = in ? sq_eval_size(L, s, e->arg[0], "the range of an index") : (sq_dim){0};
      sq_dim hi = sq_eval_size(L, s, e->arg[1], "the range of an index");
      if (!hi.i || (in && !lo.i)) {
        ok = false;
        continue;
      }
      sq_dims *ds = L->g->dims;
      sq_dim extent = in ? sq_dim_sub(ds, hi, lo) : hi;
      if (sq_prove_le(ds, sq_dim_const(ds, 0), extent) != 1)
        extent = sq_dim_max(ds, extent, sq_dim_const(ds, 0));
      if (!in && bound_before(L, p, e->arg[0]->name)) {
        sq_ivar *v = p->binders.v[p->binders.n - 1];
        if (v->extent.i && sq_prove_eq(ds, v->extent, extent) == 1) continue;
        sq_low_error(L, e->span, "index `%s` has two ranges on the left side", v->name);
        ok = false;
        continue;
      }
      bind_place(L, p, in ? e->name : e->arg[0]->name, e->span, extent,
                 in ? sq_sx_dim(L, lo) : NULL);
    } else if (e->kind == SQ_E_DOTS) {
      sq_dots *d = SQ_NEW(L->a, sq_dots);
      *d = (sq_dots){.known = true, .n = rank > given ? rank - given : 0, .span = e->span};
      d->iv = SQ_ARRAY(L->a, sq_ivar *, d->n + 1);
      for (uint32_t j = 0; j < d->n; j++) {
        d->iv[j] = sq_ivar_new(L, NULL, e->span, (sq_dim){0});
        sq_push(L->a, &p->binders, d->iv[j]);
      }
      p->scope->dots = d;
    } else if (e->kind == SQ_E_LIMIT || e->kind == SQ_E_GROW) {
      sq_low_error(L, e->span, "`%s` does not stand on the left of `<-`",
                   e->kind == SQ_E_GROW ? "grow" : "limit");
      ok = false;
    } else if (e->kind != SQ_E_NAME && e->kind != SQ_E_PAREN) {
      bind_new(L, p, e, 0);
    }
  }
  return ok;
}

sq_sx *sq_place_of(sq_low *L, sq_scope *s, const sq_expr *e) {
  const sq_expr *x = e;
  sq_expr name;
  if (e->kind == SQ_E_COMPARE) x = e->arg[0];
  if (e->kind == SQ_E_IN) {
    name = (sq_expr){.kind = SQ_E_NAME, .name = e->name, .span = e->span};
    x = &name;
  }
  L->size_mode++;
  sq_val v = sq_eval_expr(L, s, x);
  sq_ex t = {0};
  bool ok = v.kind != SQ_V_POISON && sq_val_to_ex(L, &v, e->span, &t);
  L->size_mode--;
  if (!ok) return NULL;
  if (t.n_own || sq_is_float(t.root->dtype) || t.root->dtype == SQ_BOOL) {
    sq_diag *d = sq_low_error(L, e->span, "a place must be one integer, but `%s` is %s",
                              sq_low_text(L, e->span), sq_val_what(L, &v));
    if (!t.n_own) sq_hint(d, "convert it: `i32(%s)`", sq_low_text(L, e->span));
    return NULL;
  }
  return sq_sx_cast(L, t.root, SQ_I64, true);
}
