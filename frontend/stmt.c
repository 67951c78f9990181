// Statements that are no loops: definitions, calls, checks, `reserve`, `reset`.
#include "frontend/lower.h"

void sq_assign(sq_low *L, sq_scope *s, const char *name, sq_span span, const sq_val *v) {
  if (!strcmp(name, "_")) return;
  sq_bind *b = sq_lookup(L, s, name, NULL);
  if (b && b->kind == SQ_B_LOOP) {
    sq_diag *d =
        sq_low_error(L, span, "`%s` is the index of a loop and cannot be bound again", name);
    sq_label(d, b->span, "the loop is here");
    return;
  }
  sq_bind_add(L, s, name, SQ_B_LOCAL, span, *v);
}

static void poison_target(sq_low *L, sq_scope *s, const sq_expr *t) {
  sq_val bad = sq_poison();
  if (t->kind == SQ_E_TUPLE) {
    for (uint32_t k = 0; k < t->n; k++) poison_target(L, s, t->arg[k]);
    return;
  }
  if (t->kind == SQ_E_INDEX || t->kind == SQ_E_PAREN) t = t->arg[0];
  if (t->kind == SQ_E_NAME) sq_bind_add(L, s, t->name, SQ_B_LOCAL, t->span, bad);
}

static bool usable(sq_low *L, const sq_val *v, const sq_expr *e) {
  if (v->kind == SQ_V_POISON) return false;
  if (v->kind != SQ_V_NONE) return true;
  sq_low_error(L, e->span, "`%s` gives nothing", sq_low_text(L, e->span));
  return false;
}

static bool same_indices(const sq_expr *x, const sq_expr *y) {
  bool same = x->n == y->n;
  for (uint32_t i = 1; same && i < x->n; i++) {
    const sq_expr *p = x->arg[i], *q = y->arg[i];
    const char *np = p->kind == SQ_E_COMPARE && p->n ? p->arg[0]->name : p->name;
    const char *nq = q->kind == SQ_E_COMPARE && q->n ? q->arg[0]->name : q->name;
    same = p->kind == SQ_E_DOTS ? q->kind == SQ_E_DOTS : np == nq;
  }
  return same;
}

// `(v[h], at[h]) = top(j, K) s[h, j]`: one right side, indices of the first part that has some.
static void define_tuple(sq_low *L, sq_scope *s, const sq_stmt *st) {
  const sq_expr *t = st->target, *indexed = NULL;
  for (uint32_t k = 0; k < t->n; k++) {
    const sq_expr *x = t->arg[k];
    if (x->kind == SQ_E_INDEX && !indexed) indexed = x;
    if (x->kind != SQ_E_NAME && !(x->kind == SQ_E_INDEX && x->arg[0]->kind == SQ_E_NAME)) {
      sq_low_error(L, x->span, "a name is expected here");
      poison_target(L, s, t);
      return;
    }
  }
  sq_axes axes = {0};
  sq_scope *inner = s;
  if (indexed) {
    axes = sq_bind_axes(L, s, indexed->n - 1, indexed->arg + 1, false);
    inner = axes.scope;
  } else {
    L->effect_ok = st->value;
  }
  for (uint32_t k = 0; k < t->n; k++)
    if (t->arg[k]->kind == SQ_E_INDEX && !same_indices(t->arg[k], indexed)) {
      sq_diag *d = sq_low_error(L, t->arg[k]->span, "the parts of a tuple have the same indices");
      sq_label(d, indexed->span, "these here");
      poison_target(L, s, t);
      return;
    }
  sq_val v = sq_eval_expr(L, inner, st->value);
  L->effect_ok = NULL;
  if (!usable(L, &v, st->value)) {
    poison_target(L, s, t);
    return;
  }
  if (v.kind != SQ_V_TUPLE || v.n != t->n) {
    sq_low_error(L, st->span, "%u names on the left, but the right side is %s", t->n,
                 sq_val_what(L, &v));
    poison_target(L, s, t);
    return;
  }
  if (!indexed) v = sq_val_bindable(L, &v, st->span, NULL);
  for (uint32_t k = 0; k < t->n; k++) {
    const sq_expr *x = t->arg[k];
    if (x->kind == SQ_E_NAME) {
      if (!strcmp(x->name, "_")) continue;
      sq_val item = sq_val_bindable(L, &v.item[k], x->span, x->name);
      if (item.kind == SQ_V_EX && indexed) { // may still hold this definition's indices
        sq_ivars f = {0};
        sq_sx_free(L, item.ex->root, &f);
        for (uint32_t j = 0; j < f.n; j++)
          for (uint32_t i = 0; i < axes.n; i++)
            if (axes.iv[i] && sq_ivar_root(axes.iv[i]) == f.v[j]) {
              sq_low_error(L, x->span, "`%s` depends on index `%s`, which it does not have",
                           x->name, axes.iv[i]->name);
              item = sq_poison();
              break;
            }
      }
      sq_assign(L, s, x->name, x->span, &item);
      continue;
    }
    sq_val item = sq_axes_array(L, &axes, &v.item[k], st->value->span);
    item = sq_val_bindable(L, &item, x->span, x->arg[0]->name);
    sq_assign(L, s, x->arg[0]->name, x->arg[0]->span, &item);
  }
}

void sq_lower_define(sq_low *L, sq_scope *s, const sq_stmt *st) {
  const sq_expr *t = st->target;
  while (t->kind == SQ_E_PAREN) t = t->arg[0];
  if (t->kind == SQ_E_TUPLE) {
    define_tuple(L, s, st);
    return;
  }
  sq_val v;
  if (t->kind == SQ_E_NAME) {
    L->effect_ok = st->value;
    v = sq_eval_expr(L, s, st->value);
    L->effect_ok = NULL;
    if (usable(L, &v, st->value)) v = sq_val_bindable(L, &v, st->span, t->name);
    if (v.kind == SQ_V_NONE) v = sq_poison();
    sq_assign(L, s, t->name, t->span, &v);
    return;
  }
  if (t->kind != SQ_E_INDEX || t->arg[0]->kind != SQ_E_NAME) {
    sq_diag *d =
        sq_low_error(L, t->span, "the left side of `=` is a name, with indices in brackets");
    if (t->kind == SQ_E_FIELD || t->kind == SQ_E_INDEX)
      sq_hint(d, "to write into something that stands, use `<-`");
    return;
  }
  v = sq_define(L, s, t->n - 1, t->arg + 1, st->value, st->span, t->arg[0]->name);
  sq_assign(L, s, t->arg[0]->name, t->arg[0]->span, &v);
}

// ---- check, reserve, reset ---------------------------------------------------------------------

// A comparison of sizes: tested at the call's start and known from then on.
static bool check_sizes(sq_low *L, const sq_sx *c, const char *text, sq_span span) {
  if (c->kind != SQ_SX_EWISE) return false;
  if (c->ew == SQ_EW_AND) {
    // both or none, so that nothing is tested twice
    sq_sx *a = c->a[0], *b = c->a[1];
    return check_sizes(L, a, text, span) && check_sizes(L, b, text, span);
  }
  if (c->ew != SQ_EW_LE && c->ew != SQ_EW_LT && c->ew != SQ_EW_EQ) return false;
  sq_dim a, b;
  if (!sq_sx_size(L, c->a[0], &a) || !sq_sx_size(L, c->a[1], &b)) return false;
  if (sq_size_moves(L, a) || sq_size_moves(L, b)) return false;
  if (c->ew == SQ_EW_LT) a = sq_dim_add(L->g->dims, a, sq_dim_const(L->g->dims, 1));
  sq_require_size(L, a, b, c->ew == SQ_EW_EQ, span, text);
  return true;
}

void sq_lower_check(sq_low *L, sq_scope *s, const sq_expr *cond, const char *text, sq_span span) {
  sq_val v = sq_eval_expr(L, s, cond);
  if (v.kind == SQ_V_POISON) return;
  if (v.kind == SQ_V_BOOL) {
    if (v.i) return;
    sq_diag *d = sq_low_error(L, cond->span, "%s", text);
    sq_hint(d, "this check fails for every input with the present config");
    return;
  }
  sq_ex x;
  if (!sq_val_to_ex(L, &v, cond->span, &x)) return;
  if (x.n_own || x.root->dtype != SQ_BOOL) {
    sq_diag *d = sq_low_error(L, cond->span, "a check must be one bool, but `%s` is %s",
                              sq_low_text(L, cond->span), sq_val_what(L, &v));
    if (x.n_own) sq_hint(d, "reduce it: `all(i) ...`");
    return;
  }
  if (!L->b || !L->f) {
    sq_low_error(L, cond->span, "here a check compares config only");
    return;
  }
  if (!L->conditional && !L->at_load && check_sizes(L, x.root, text, cond->span)) return;
  sq_value *c = sq_emit_value(L, x.root, 0, NULL, cond->span, NULL);
  if (!c || c->type.rank) return;
  sq_node *n = sq_node_new(L->g, L->b, SQ_OP_CHECK, span, 1, &c);
  n->site = sq_site_new(L->g, cond->span, "%s", text);
  L->branch = sq_guard_add(L, L->branch, x.root, false);
}

void sq_lower_reserve(sq_low *L, sq_scope *s, const sq_stmt *st) {
  sq_val base = sq_eval_expr(L, s, st->target), n = sq_eval_size_expr(L, s, st->value);
  if (base.kind == SQ_V_POISON || n.kind == SQ_V_POISON) return;
  if (base.kind != SQ_V_STATE || !L->g->state.v[base.ref].grow.i) {
    sq_diag *d = sq_low_error(L, st->target->span,
                              "`reserve` takes a state with an axis `grow`, but "
                              "`%s` is %s",
                              sq_low_text(L, st->target->span), sq_val_what(L, &base));
    if (base.kind == SQ_V_STATE)
      sq_label(d, L->g->state.v[base.ref].span, "declared here, of fixed shape");
    return;
  }
  if (L->pure || L->at_load) {
    sq_low_error(L, st->span, "a `fn` cannot reserve room in a state");
    return;
  }
  sq_ex x;
  if (!sq_val_to_ex(L, &n, st->value->span, &x)) return;
  if (x.n_own || sq_is_float(x.root->dtype) || x.root->dtype == SQ_BOOL) {
    sq_low_error(L, st->value->span, "a length is one integer, but `%s` is %s",
                 sq_low_text(L, st->value->span), sq_val_what(L, &n));
    return;
  }
  sq_value *in[2] = {sq_emit_value(L, x.root, 0, NULL, st->value->span, NULL), NULL};
  in[1] = sq_at_value(L, base.at, st->span);
  sq_node *node = sq_node_new(L->g, L->b, SQ_OP_RESERVE, st->span, in[1] ? 2 : 1, in);
  node->ref = base.ref;
  node->has_instance = in[1] != NULL;
  sq_low_effect(L, st->span);
  sq_low_grown(L, L->g->state.v[base.ref].grow);
}

void sq_lower_reset(sq_low *L, sq_scope *s, sq_span span) {
  (void)s;
  if (L->pure || L->at_load) {
    sq_diag *d = sq_low_error(L, span, "a `fn` cannot reset the state");
    sq_hint(d, "make it a `proc`");
    return;
  }
  sq_low_effect(L, span);
  sq_node_new(L->g, L->b, SQ_OP_RESET, span, 0, NULL);
  for (uint32_t k = 0; k < L->g->state.n; k++)
    if (L->g->state.v[k].grow.i) sq_low_grown(L, L->g->state.v[k].grow);
  const char *name = sq_intern_z(&L->ctx->names, "reset");
  sq_bind *b = L->root ? sq_lookup_here(L->root->scope, name) : NULL;
  if (!b || b->val.kind != SQ_V_FN || b->val.decl->kind != SQ_D_ENTRY) return;
  for (const sq_call_note *c = L->calls; c; c = c->next)
    if (c->decl == b->val.decl) { // `reset()` inside `entry reset` clears only
      return;
    }
  if (L->f && L->f->name == name) return;
  sq_call_fn(L, &b->val, 0, NULL, NULL, NULL, span);
}

// Counts what is expanded, against text that unrolls or nests calls without end.
bool sq_low_work(sq_low *L, sq_span span) {
  enum { MAX_WORK = 200000 };
  const size_t max_bytes = (size_t)1 << 29;
  if (L->gave_up) return false;
  if (++L->work <= MAX_WORK && L->a->total - L->had < max_bytes) return true;
  if (!L->said_large)
    sq_low_error(L, span,
                 "the program is too large once loops are unrolled and calls are expanded");
  L->gave_up = L->said_large = true;
  return false;
}

// ---- lists of statements -----------------------------------------------------------------------

static void lower_return(sq_low *L, sq_scope *s, const sq_stmt *st, sq_val *result) {
  if (!result) {
    sq_diag *d = sq_low_error(L, st->span,
                              "`return` stands last in a function, not inside a loop or branch");
    sq_hint(d, "give the value a name there and return it at the end");
    return;
  }
  if (st->values.n == 1) L->effect_ok = st->values.v[0];
  if (st->values.n == 1) {
    *result = sq_eval_expr(L, s, st->values.v[0]);
    L->effect_ok = NULL;
    if (result->kind == SQ_V_NONE) {
      sq_low_error(L, st->values.v[0]->span, "`%s` gives nothing",
                   sq_low_text(L, st->values.v[0]->span));
      *result = sq_poison();
    }
    return;
  }
  *result = (sq_val){.kind = SQ_V_TUPLE, .n = st->values.n};
  result->item = SQ_ARRAY(L->a, sq_val, st->values.n + 1);
  for (uint32_t k = 0; k < st->values.n; k++) result->item[k] = sq_eval_expr(L, s, st->values.v[k]);
  for (uint32_t k = 0; k < st->values.n; k++)
    if (result->item[k].kind == SQ_V_POISON) {
      *result = sq_poison();
      return;
    }
}

static void mark_node(sq_node *n, void *user) {
  const uint32_t *mark = user;
  if (!n->span.mark && sq_op_is_work(n->op)) n->span.mark = *mark;
}

// What a statement behind `require fused` appends to block b belongs to its mark, save what an inner
// mark has.
static uint32_t begin_mark(sq_low *L, const sq_stmt *st) {
  uint32_t outer = L->mark;
  if (st->mark.file) L->mark = sq_mark_new(L->g, st->mark, outer);
  return outer;
}

static void end_mark(sq_low *L, sq_block *b, uint32_t from, uint32_t outer) {
  for (uint32_t k = from; b && L->mark != outer && k < b->nodes.n; k++) {
    mark_node(b->nodes.v[k], &L->mark);
    for (uint32_t r = 0; r < b->nodes.v[k]->n_region; r++)
      sq_walk(b->nodes.v[k]->region[r], mark_node, &L->mark);
  }
  L->mark = outer;
}

static void lower(sq_low *L, sq_scope *s, const sq_stmt *st, sq_val *result, bool last) {
  sq_block *b = L->b;
  uint32_t outer = begin_mark(L, st), from = b ? b->nodes.n : 0;
  switch (st->kind) {
  case SQ_S_DEFINE:
    sq_lower_define(L, s, st);
    break;
  case SQ_S_WRITE:
    sq_lower_write(L, s, st);
    break;
  case SQ_S_CALL: {
    const sq_expr *e = st->value ? st->value : st->target;
    if (e->kind != SQ_E_CALL) {
      sq_diag *d = sq_low_error(L, e->span, "this does nothing");
      sq_hint(d, "a statement defines (`x = ...`), writes (`x <- ...`) or calls");
      break;
    }
    L->effect_ok = e;
    sq_eval_expr(L, s, e);
    L->effect_ok = NULL;
    break;
  }
  case SQ_S_FOR:
    sq_lower_for(L, s, st);
    break;
  case SQ_S_SCAN:
    sq_lower_scan(L, s, st);
    break;
  case SQ_S_WHILE:
    sq_lower_while(L, s, st);
    break;
  case SQ_S_IF:
    sq_lower_if(L, s, st, last ? result : NULL);
    break;
  case SQ_S_EMIT:
    sq_lower_emit(L, s, st);
    break;
  case SQ_S_RETURN:
    if (result && !last) {
      sq_diag *d = sq_low_error(L, st->span, "`return` stands last in its block");
      sq_hint(d, "what stands behind it would never run");
    } else {
      lower_return(L, s, st, result);
    }
    break;
  case SQ_S_CHECK:
    sq_lower_check(L, s, st->cond, st->text, st->span);
    break;
  case SQ_S_RESERVE:
    sq_lower_reserve(L, s, st);
    break;
  }
  end_mark(L, b, from, outer);
}

void sq_lower_stmts(sq_low *L, sq_scope *s, const sq_stmts *st, sq_val *result) {
  if (L->depth > 900) {
    if (st->n) sq_low_error(L, st->v[0]->span, "this is nested too deeply");
    return;
  }
  L->depth += 2;
  for (uint32_t k = 0; k < st->n && !L->gave_up; k++) {
    if (!sq_low_work(L, st->v[k]->span)) break;
    lower(L, s, st->v[k], result, k + 1 == st->n);
  }
  L->depth -= 2;
}
