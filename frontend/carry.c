// Values that loops and branches carry: which names a body rebinds, and values taken apart into the
// tensors that a region passes on and put together again.
#include "frontend/lower.h"

static void add_name(sq_low *L, sq_carry_names *out, const char *name, sq_span span) {
  if (!name || !strcmp(name, "_")) return;
  for (uint32_t k = 0; k < out->n; k++)
    if (out->v[k].name == name) return;
  sq_push(L->a, out, (sq_carry_name){name, span});
}

static void target_names(sq_low *L, const sq_expr *t, sq_carry_names *out) {
  if (t->kind == SQ_E_TUPLE || t->kind == SQ_E_PAREN) {
    for (uint32_t k = 0; k < t->n; k++) target_names(L, t->arg[k], out);
    return;
  }
  while (t->kind == SQ_E_INDEX || t->kind == SQ_E_PART) t = t->arg[0];
  if (t->kind == SQ_E_NAME) add_name(L, out, t->name, t->span);
}

static void emitted_names(sq_low *L, const sq_stmts *st, sq_carry_names *out) {
  for (uint32_t k = 0; k < st->n; k++) {
    const sq_stmt *x = st->v[k];
    if (x->kind == SQ_S_EMIT)
      for (uint32_t j = 0; j < x->inits.n; j++)
        add_name(L, out, x->inits.v[j]->name, x->inits.v[j]->span);
    if (x->kind != SQ_S_SCAN) {
      emitted_names(L, &x->body, out);
      emitted_names(L, &x->else_, out);
    }
  }
}

void sq_carry_assigned(sq_low *L, const sq_stmts *st, sq_carry_names *out) {
  for (uint32_t k = 0; k < st->n; k++) {
    const sq_stmt *x = st->v[k];
    if (x->kind == SQ_S_DEFINE || x->kind == SQ_S_WRITE) target_names(L, x->target, out);
    if (x->kind == SQ_S_SCAN) { // binds its states and what it emits; its body is its own
      for (uint32_t j = 0; j < x->inits.n; j++)
        add_name(L, out, x->inits.v[j]->name, x->inits.v[j]->span);
      emitted_names(L, &x->body, out);
      continue;
    }
    sq_carry_assigned(L, &x->body, out);
    sq_carry_assigned(L, &x->else_, out);
  }
}

bool sq_carry_local(sq_scope *s, const char *name, sq_val *v) {
  for (; s; s = s->parent) {
    sq_bind *b = sq_lookup_here(s, name);
    if (b && s->kind != SQ_SC_INST && s->kind != SQ_SC_FILE) {
      if (b->kind != SQ_B_LOCAL && b->kind != SQ_B_SIZE) return false;
      *v = b->val;
      return true;
    }
    if (s->kind == SQ_SC_CALL || s->kind == SQ_SC_INST || s->kind == SQ_SC_FILE) return false;
  }
  return false;
}

// ---- taking apart and putting together ---------------------------------------------------------

bool sq_carry_flatten(sq_low *L, const sq_val *v, sq_span span, const char *name,
                      sq_carry_values *out) {
  if (v->kind == SQ_V_POISON) return false;
  if (v->kind == SQ_V_TUPLE) {
    for (uint32_t k = 0; k < v->n; k++)
      if (!sq_carry_flatten(L, &v->item[k], span, name, out)) return false;
    return true;
  }
  if (sq_val_is_static(v) && v->kind != SQ_V_DIM && v->kind != SQ_V_FLOAT && v->kind != SQ_V_BOOL) {
    sq_diag *d =
        sq_low_error(L, span, "`%s` is %s, which a loop or branch at run time cannot change",
                     name ? name : sq_low_text(L, span), sq_val_what(L, v));
    sq_hint(d, "use `unroll for`, or `if` on config");
    return false;
  }
  sq_ex e;
  if (!sq_val_to_ex(L, v, span, &e)) return false;
  sq_ivars f = {0};
  sq_sx_free(L, e.root, &f);
  for (uint32_t k = 0; k < f.n; k++) {
    bool own = false;
    for (uint32_t j = 0; j < e.n_own; j++) own |= sq_ivar_root(e.own[j]) == f.v[k];
    if (own) continue;
    sq_low_error(L, span, "`%s` depends on index `%s` here", name ? name : sq_low_text(L, span),
                 f.v[k]->name ? f.v[k]->name : "..");
    return false;
  }
  sq_value *x = v->kind == SQ_V_TENSOR ? v->v : sq_val_value(L, v, span, name);
  if (!x || sq_low_stale(L, x, span)) return false;
  sq_push(L->a, out, x);
  return true;
}

sq_val sq_carry_rebuild(sq_low *L, const sq_val *like, sq_value *const *leaf, uint32_t *at) {
  if (like->kind != SQ_V_TUPLE) return sq_val_tensor(leaf[(*at)++]);
  sq_val r = sq_val_tuple(L, like->n, like->item);
  for (uint32_t k = 0; k < like->n; k++) r.item[k] = sq_carry_rebuild(L, &like->item[k], leaf, at);
  return r;
}

static bool is_literal(const sq_val *v) {
  return v->kind == SQ_V_FLOAT || (v->kind == SQ_V_DIM && v->lit);
}

static void differ(sq_low *L, const sq_val *v, const sq_val *like, sq_span span, sq_span like_span,
                   const char *name, bool branch) {
  sq_diag *d = branch ? sq_low_error(L, span, "`%s` differs between the branches: %s and %s", name,
                                     sq_val_what(L, like), sq_val_what(L, v))
                      : sq_low_error(L, span, "`%s` changes its type: %s before, %s after", name,
                                     sq_val_what(L, like), sq_val_what(L, v));
  sq_label(d, span, "%s here", sq_val_what(L, v));
  sq_label(d, like_span, "%s here", sq_val_what(L, like));
  uint32_t ra, rb;
  sq_dim da[SQ_MAX_RANK], db[SQ_MAX_RANK];
  sq_dtype ta, tb;
  if (sq_val_shape(L, v, &ra, da, &ta) && sq_val_shape(L, like, &rb, db, &tb) && ra == rb &&
      ta != tb && !sq_is_float(tb) && sq_is_float(ta))
    sq_hint(d, "begin with a float: `%s = 0.0`", name);
  else if (!branch && v->kind != SQ_V_TUPLE && sq_val_shape(L, v, &ra, da, &ta) &&
           sq_val_shape(L, like, &rb, db, &tb) && ta == tb)
    sq_hint(d, "shapes may change from turn to turn in `unroll for` only");
}

// `v` as the type of the value `like`.
sq_val sq_carry_convert(sq_low *L, const sq_val *v, const sq_val *like, sq_span span,
                        sq_span like_span, const char *name, bool branch) {
  if (v->kind == SQ_V_POISON || like->kind == SQ_V_POISON) return sq_poison();
  if (like->kind == SQ_V_TUPLE || v->kind == SQ_V_TUPLE) {
    if (v->kind != like->kind || v->n != like->n) {
      differ(L, v, like, span, like_span, name, branch);
      return sq_poison();
    }
    sq_val r = sq_val_tuple(L, v->n, v->item);
    for (uint32_t k = 0; k < v->n; k++) {
      r.item[k] = sq_carry_convert(L, &v->item[k], &like->item[k], span, like_span, name, branch);
      if (r.item[k].kind == SQ_V_POISON) return sq_poison();
    }
    return r;
  }
  uint32_t ra, rb;
  sq_dim da[SQ_MAX_RANK], db[SQ_MAX_RANK];
  sq_dtype ta, tb;
  if (!sq_val_shape(L, v, &ra, da, &ta) || !sq_val_shape(L, like, &rb, db, &tb)) {
    differ(L, v, like, span, like_span, name, branch);
    return sq_poison();
  }
  bool same = ra == rb;
  for (uint32_t k = 0; same && k < ra; k++) same = sq_prove_eq(L->g->dims, da[k], db[k]) == 1;
  bool literal = is_literal(v) && tb != SQ_BOOL && (sq_is_float(tb) || !sq_is_float(ta));
  if (!same || (ta != tb && !literal)) {
    differ(L, v, like, span, like_span, name, branch);
    return sq_poison();
  }
  if (ta == tb) return *v;
  return sq_val_convert(L, v, tb, span, name, false);
}
