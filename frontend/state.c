// States and definitions outside functions: both are states of the IR with a function that computes
// the initial value; a definition (`derived`) is computed once, at load.
#include "frontend/lower.h"

typedef struct frame {
  sq_func *f;
  sq_block *b;
  uint32_t conditional, size_mode;
  bool pure, at_load;
  const sq_call_note *calls;
  const sq_guard_list *guards, *branch;
  const sq_expr *effect_ok;
  struct sq_scan *scan;
  const sq_decl *text;
} frame;

static frame enter(sq_low *L, sq_func *f) {
  frame s = {L->f,     L->b,      L->conditional, L->size_mode, L->pure, L->at_load,
             L->calls, L->guards, L->branch,      L->effect_ok, L->scan, L->text};
  L->f = f;
  L->b = f->body;
  L->conditional = 0;
  L->size_mode = 0;
  L->pure = true;
  L->at_load = true;
  L->guards = L->branch = NULL;
  L->effect_ok = NULL;
  L->scan = NULL;
  L->text = NULL;
  return s;
}

static void leave(sq_low *L, const frame *s) {
  L->f = s->f;
  L->b = s->b;
  L->conditional = s->conditional;
  L->size_mode = s->size_mode;
  L->pure = s->pure;
  L->at_load = s->at_load;
  L->calls = s->calls;
  L->guards = s->guards;
  L->branch = s->branch;
  L->effect_ok = s->effect_ok;
  L->scan = s->scan;
  L->text = s->text;
}

static void drop_func(sq_low *L, const sq_func *f) {
  for (uint32_t k = 0; k < L->g->func.n; k++)
    if (L->g->func.v[k] == f) {
      memmove(L->g->func.v + k, L->g->func.v + k + 1, (L->g->func.n - k - 1) * sizeof f);
      L->g->func.n--;
      return;
    }
}

// A function of the instance number (where there are several), and the scope for its body.
static sq_func *init_func(sq_low *L, sq_inst *inst, sq_scope *parent, const char *name,
                          sq_span span, sq_scope **scope) {
  sq_func *f = sq_func_new(L->g, sq_arena_fmt(L->a, "init.%s", name), SQ_FUNC_INIT, span);
  sq_scope *s = *scope = sq_scope_new(L, SQ_SC_CALL, parent);
  if (inst && inst->many) {
    sq_value *at = sq_block_arg(f->body, sq_type_scalar(SQ_I32), "instance");
    sq_range_note_set(L, at, sq_dim_const(L->g->dims, 0), sq_dim_const(L->g->dims, inst->count));
    sq_push(L->a, &f->in_names, "instance");
    sq_push(L->a, &f->in_sym, (sq_sym){0});
    s->at = (sq_at){.many = true, .v = at};
  }
  return f;
}

static const char *state_path(sq_low *L, const sq_inst *inst, const char *name) {
  return inst && *inst->path ? sq_arena_fmt(L->a, "%s.%s", inst->path, name) : name;
}

static sq_state *add_state(sq_low *L, sq_inst *inst, const char *name, sq_type t, sq_span span) {
  sq_state st = {.name = state_path(L, inst, name), .type = t, .span = span};
  st.count = inst ? (uint32_t)inst->count : 1;
  st.has_instances = inst && inst->many;
  st.names = sq_inst_state_names(L, inst, name);
  sq_push(L->a, &L->g->state, st);
  return &L->g->state.v[L->g->state.n - 1];
}

static void yield_one(sq_low *L, sq_value *v, sq_span span) {
  sq_node_new(L->g, L->b, SQ_OP_YIELD, span, 1, &v);
}

// ---- definitions -------------------------------------------------------------------------------

// One leaf of a value becomes a state of its own, with a copy of the function.
static sq_val derived_leaves(sq_low *L, sq_inst *inst, sq_func *f, const sq_val *v,
                             const char *name, sq_span span, uint32_t *made) {
  if (v->kind == SQ_V_TUPLE) {
    sq_val r = sq_val_tuple(L, v->n, v->item);
    for (uint32_t k = 0; k < v->n; k++)
      r.item[k] =
          derived_leaves(L, inst, f, &v->item[k], sq_arena_fmt(L->a, "%s.%u", name, k), span, made);
    return r;
  }
  if (sq_val_is_static(v)) return *v;
  sq_value *x = sq_val_value(L, v, span, name);
  if (!x) return sq_poison();
  sq_state *st = add_state(L, inst, name, x->type, span);
  st->derived = true;
  sq_val r = {.kind = SQ_V_STATE, .ref = L->g->state.n - 1};
  if ((*made)++ == 0) {
    st->init = f;
    yield_one(L, x, span);
    return r;
  }
  // a further leaf: the same body with another result
  sq_func *copy = sq_func_new(L->g, sq_arena_fmt(L->a, "init.%s", st->name), SQ_FUNC_INIT, span);
  sq_value **map = SQ_ARRAY(L->a, sq_value *, L->g->n_values + 4096);
  for (uint32_t k = 0; k < f->body->args.n; k++) {
    map[f->body->args.v[k]->id] = sq_block_arg(copy->body, f->body->args.v[k]->type, "instance");
    sq_push(L->a, &copy->in_names, "instance");
    sq_push(L->a, &copy->in_sym, (sq_sym){0});
  }
  for (uint32_t k = 0; k < f->body->nodes.n; k++)
    if (f->body->nodes.v[k]->op != SQ_OP_YIELD)
      sq_node_clone(L->g, f->body->nodes.v[k], copy->body, map, NULL, 0);
  sq_value *y = map[x->id] ? map[x->id] : x;
  sq_node_new(L->g, copy->body, SQ_OP_YIELD, span, 1, &y);
  L->g->state.v[r.ref].init = copy;
  return r;
}

sq_val sq_state_derived(sq_low *L, sq_scope *s, sq_decl *d, const char *name) {
  sq_inst *inst = s->kind == SQ_SC_INST ? s->inst : NULL;
  sq_scope *scope;
  sq_func *f = init_func(L, inst, s, state_path(L, inst, name), d->span, &scope);
  frame saved = enter(L, f);
  L->calls = NULL;
  sq_val v;
  if (d->lhs->has_items) {
    v = sq_define(L, scope, d->lhs->n, d->lhs->item, d->value, d->span, name);
  } else {
    v = sq_eval_expr(L, scope, d->value);
  }
  if (v.kind == SQ_V_NONE) {
    sq_low_error(L, d->value->span, "`%s` gives nothing", sq_low_text(L, d->value->span));
    v = sq_poison();
  }
  uint32_t made = 0;
  if (v.kind != SQ_V_POISON && !sq_val_is_static(&v)) {
    v = sq_val_settle(L, &v, d->value->span, name);
    v = derived_leaves(L, inst, f, &v, name, d->span, &made);
  }
  leave(L, &saved);
  if (!made) drop_func(L, f);
  return v;
}

// ---- states ------------------------------------------------------------------------------------

// The declared shape; a growing axis has extent 1 while the initial value is made.
typedef struct shape {
  bool given, formula; // formula: indices are bound
  uint32_t rank;
  sq_dim dim[SQ_MAX_RANK];
  int32_t grow;
} shape;

static bool shape_of(sq_low *L, sq_scope *s, const sq_decl *d, shape *out) {
  const sq_lhs *l = d->lhs;
  *out = (shape){.given = l->has_items || l->type, .grow = -1};
  if (!l->has_items) return true;
  if (l->n > SQ_MAX_RANK) {
    sq_low_error(L, l->span, "%u axes are more than the %u that are possible", l->n, SQ_MAX_RANK);
    return false;
  }
  bool ok = true;
  for (uint32_t k = 0; k < l->n; k++) {
    const sq_expr *e = l->item[k];
    out->rank++;
    if (e->kind == SQ_E_GROW) {
      if (out->grow >= 0) {
        sq_low_error(L, e->span, "only one axis of a state may grow");
        ok = false;
      }
      out->grow = (int32_t)k;
      out->dim[k] = sq_dim_const(L->g->dims, 1);
      continue;
    }
    if (e->kind == SQ_E_COMPARE || e->kind == SQ_E_IN) {
      out->formula = true;
      e = e->kind == SQ_E_COMPARE ? e->arg[1] : e;
      if (e->kind == SQ_E_IN) {
        sq_low_error(L, e->span, "the axes of a state begin at 0: `i < n`");
        ok = false;
        continue;
      }
    }
    if (e->kind == SQ_E_NAME && !sq_lookup(L, s, e->name, NULL)) {
      sq_diag *u = sq_unknown_name(L, s, e->span, e->name, "size");
      sq_hint(u, "the axes of a state are config, or `grow`");
      ok = false;
      continue;
    }
    sq_val v = sq_eval_size_expr(L, s, e);
    if (v.kind == SQ_V_POISON) {
      ok = false;
      continue;
    }
    out->dim[k] = sq_val_size(L, &v, e->span, "the extent of a state");
    int64_t c;
    if (out->dim[k].i && (!sq_dim_is_const(L->g->dims, out->dim[k], &c) || c < 0)) {
      sq_low_error(L, e->span, "the extent of a state is %s; it must be fixed, or `grow`",
                   sq_dim_str(L, out->dim[k]));
      ok = false;
    }
    ok &= out->dim[k].i != 0;
  }
  return ok;
}

static sq_val state_leaf(sq_low *L, sq_inst *inst, const sq_decl *d, const char *name,
                         const shape *sh, const sq_val *value, sq_func *f) {
  sq_value *x;
  sq_ex e;
  if (!sq_val_to_ex(L, value, d->value->span, &e)) return sq_poison();
  if (sh->given && !sh->formula) {
    if (e.n_own > sh->rank) {
      sq_diag *g = sq_low_error(L, d->value->span, "`%s` has %u ax%s, but its initial value %u",
                                name, sh->rank, sh->rank == 1 ? "is" : "es", e.n_own);
      sq_label(g, d->lhs->span, "declared here");
      return sq_poison();
    }
    sq_ivars axes = {0};
    for (uint32_t k = 0; k < sh->rank; k++) {
      uint32_t from_end = sh->rank - k;
      sq_ivar *iv = from_end <= e.n_own ? e.own[e.n_own - from_end]
                                        : sq_ivar_new(L, NULL, d->lhs->span, sh->dim[k]);
      if (sq_prove_eq(L->g->dims, sq_ivar_root(iv)->extent, sh->dim[k]) != 1) {
        sq_diag *g = sq_low_error(
            L, d->value->span, "axis %u of `%s` is %s, but its initial value has %s", k, name,
            sq_dim_str(L, sh->dim[k]), sq_dim_str(L, sq_ivar_root(iv)->extent));
        sq_label(g, d->lhs->span, "declared here");
        return sq_poison();
      }
      sq_push(L->a, &axes, iv);
    }
    x = sq_emit_value(L, e.root, axes.n, axes.v, d->value->span, name);
  } else {
    x = sq_val_value(L, value, d->value->span, name);
  }
  if (!x) return sq_poison();
  sq_type t = x->type;
  sq_state *st = add_state(L, inst, name, t, d->lhs->span);
  st->kept = d->kept;
  st->init = f;
  uint32_t ref = L->g->state.n - 1;
  if (sh->grow >= 0) {
    sq_dim dim[SQ_MAX_RANK];
    memcpy(dim, t.dim, t.rank * sizeof *dim);
    st->grow = sq_sym_new(L->g->dims, name, SQ_SYM_GROW);
    st->grow_axis = (uint32_t)sh->grow;
    dim[sh->grow] = sq_dim_sym(L->g->dims, st->grow);
    st->type = sq_type_make(L->g, t.dtype, t.rank, dim);
  }
  yield_one(L, x, d->value->span);
  return (sq_val){.kind = SQ_V_STATE, .ref = ref};
}

// A tree of states: each leaf evaluates the initial value anew and takes its own part.
static sq_val part_of(const sq_val *v, uint32_t n, const uint32_t *path) {
  sq_val r = *v;
  for (uint32_t k = 0; k < n; k++) r = r.item[path[k]];
  return r;
}

static sq_val state_tree(sq_low *L, sq_inst *inst, sq_decl *d, const char *name, const shape *sh,
                         uint32_t depth, uint32_t *path) {
  sq_scope *scope;
  sq_func *f = init_func(L, inst, inst->scope, state_path(L, inst, name), d->span, &scope);
  frame saved = enter(L, f);
  L->calls = NULL;
  sq_val v;
  if (sh->formula) {
    sq_expr **item = SQ_ARRAY(L->a, sq_expr *, d->lhs->n + 1);
    for (uint32_t k = 0; k < d->lhs->n; k++) {
      item[k] = d->lhs->item[k];
      if (item[k]->kind == SQ_E_COMPARE) continue;
      // an axis without an index: `_ < extent`
      sq_expr *e = SQ_NEW(L->a, sq_expr), *n = SQ_NEW(L->a, sq_expr);
      *n = (sq_expr){.kind = SQ_E_NAME,
                     .span = item[k]->span,
                     .name = sq_intern_z(&L->ctx->names, sq_arena_fmt(L->a, "axis %u", k))};
      *e = (sq_expr){.kind = SQ_E_COMPARE, .span = item[k]->span, .n = 2};
      e->arg = SQ_ARRAY(L->a, sq_expr *, 2);
      e->ops = SQ_ARRAY(L->a, sq_binop, 1);
      e->ops[0] = SQ_B_LT;
      e->arg[0] = n;
      e->arg[1] = item[k];
      if (item[k]->kind == SQ_E_GROW) {
        sq_expr *one = SQ_NEW(L->a, sq_expr);
        *one = (sq_expr){.kind = SQ_E_INT, .i = 1, .span = item[k]->span};
        e->arg[1] = one;
      }
      item[k] = e;
    }
    v = sq_define(L, scope, d->lhs->n, item, d->value, d->span, name);
  } else {
    v = sq_eval_expr(L, scope, d->value);
  }
  if (v.kind == SQ_V_NONE) {
    sq_low_error(L, d->value->span, "`%s` gives nothing", sq_low_text(L, d->value->span));
    v = sq_poison();
  }
  sq_val r = sq_poison();
  sq_val part = v.kind == SQ_V_POISON ? v : part_of(&v, depth, path);
  if (part.kind == SQ_V_TUPLE && depth < 16) {
    leave(L, &saved);
    drop_func(L, f);
    r = sq_val_tuple(L, part.n, part.item);
    for (uint32_t k = 0; k < part.n; k++) {
      path[depth] = k;
      r.item[k] = state_tree(L, inst, d, sq_arena_fmt(L->a, "%s.%u", name, k), sh, depth + 1, path);
    }
    return r;
  }
  if (part.kind != SQ_V_POISON) {
    sq_dtype t = L->g->float_type;
    const char *type = d->lhs->type;
    // a bare shape is the model's float; parts of a tree have their own types
    bool typed = type || (d->lhs->has_items && depth == 0);
    if (type && !sq_dtype_named(type, &t)) {
      sq_low_error(L, d->lhs->type_span, "unknown type `%s`", type);
    } else {
      if (typed)
        part = sq_val_convert(L, &part, t, d->value->span, sq_arena_fmt(L->a, "state `%s`", name),
                              false);
      if (part.kind != SQ_V_POISON) r = state_leaf(L, inst, d, name, sh, &part, f);
    }
  }
  leave(L, &saved);
  if (r.kind == SQ_V_POISON) drop_func(L, f);
  return r;
}

static void check_words(sq_low *L, const sq_decl *d) {
  if (d->frozen) {
    sq_diag *e = sq_low_error(L, d->span, "`frozen` belongs to a `param`, not to a `state`");
    sq_hint(e, "a `kept` state is left alone by `reset`");
  }
  if (d->names.n) {
    sq_diag *e = sq_low_error(L, d->names.v[0]->span, "a state is not read from the weights");
    sq_hint(e, "a state may begin as a parameter: `param p[...] as ...; state s[...] = p`");
  }
}

void sq_state_declare(sq_low *L, sq_inst *inst, sq_decl *d) {
  shape sh;
  check_words(L, d);
  uint32_t path[17];
  sq_val v = sq_poison();
  if (shape_of(L, inst->scope, d, &sh)) v = state_tree(L, inst, d, d->lhs->name, &sh, 0, path);
  sq_bind_add(L, inst->scope, d->lhs->name, SQ_B_DECL,
              d->name_span.file ? d->name_span : d->lhs->span, v);
}
