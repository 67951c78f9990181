// `<-`: a value or a slice of a state, a parameter or a local is replaced, in place and in order.
#include "frontend/lower.h"

// ---- names that the left side binds ------------------------------------------------------------

typedef struct places {
  uint32_t n; // items
  sq_expr *const *item;
  sq_scope *scope;
  sq_ivars binders; // in order of appearance
} places;

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

static sq_ivar *bind_place(sq_low *L, places *p, const char *name, sq_span span, sq_dim extent,
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
static void bind_new(sq_low *L, places *p, const sq_expr *e, uint32_t depth) {
  if (!e || depth > 200) return;
  if (e->kind == SQ_E_NAME) {
    if (!sq_lookup(L, p->scope, e->name, NULL) && !sq_builtin_find(e->name))
      bind_place(L, p, e->name, e->span, (sq_dim){0}, NULL);
    return;
  }
  uint32_t from = e->kind == SQ_E_INDEX || e->kind == SQ_E_CALL || e->kind == SQ_E_FIELD;
  for (uint32_t k = from; k < e->n; k++) bind_new(L, p, e->arg[k], depth + 1);
  if (e->kind != SQ_E_REDUCE && e->kind != SQ_E_ARRAY) bind_new(L, p, e->body, depth + 1);
}

static bool bind_places(sq_low *L, places *p, sq_scope *s, uint32_t rank) {
  bool ok = true;
  uint32_t given = 0;
  for (uint32_t k = 0; k < p->n; k++) given += p->item[k]->kind != SQ_E_DOTS;
  for (uint32_t k = 0; k < p->n; k++) {
    const sq_expr *e = p->item[k];
    if (e->kind == SQ_E_NAME && !is_position_name(L, p->scope, e->name)) {
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

static sq_sx *place_of(sq_low *L, sq_scope *s, const sq_expr *e) {
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

// ---- hazards -----------------------------------------------------------------------------------

typedef struct target {
  sq_opcode op;
  sq_value *v; // UPDATE
  uint32_t ref;
} target;

static bool reads_elsewhere(const sq_sx *e, const target *t, sq_sx *const *pos) {
  if (!e) return false;
  if (e->kind == SQ_SX_READ) {
    const sq_node *d = e->v->def;
    bool same = t->op == SQ_OP_UPDATE        ? e->v == t->v
                : t->op == SQ_OP_STATE_WRITE ? d && d->op == SQ_OP_STATE_READ && d->ref == t->ref
                                             : d && d->op == SQ_OP_PARAM && d->ref == t->ref;
    for (uint32_t k = 0; same && k < e->n_pos; k++)
      if (!pos || !sq_sx_same(e->pos[k], pos[k])) return true;
  }
  for (int k = 0; k < 3; k++)
    if (reads_elsewhere(e->a[k], t, pos)) return true;
  for (uint32_t k = 0; k < e->n_pos; k++)
    if (reads_elsewhere(e->pos[k], t, pos)) return true;
  for (uint32_t k = 0; k < e->n_where; k++)
    if (reads_elsewhere(e->where[k], t, pos)) return true;
  return reads_elsewhere(e->other, t, pos);
}

// ---- the write ---------------------------------------------------------------------------------

static bool may_write(sq_low *L, const sq_val *base, sq_span span, const char *name) {
  if (base->kind == SQ_V_STATE && L->g->state.v[base->ref].derived) {
    sq_low_error(L, span, "`%s` is a definition and cannot be written", name);
    return false;
  }
  if (L->at_load) {
    sq_low_error(L, span, "nothing is written while the model is loaded");
    return false;
  }
  if (L->pure) {
    sq_diag *d = sq_low_error(L, span, "a `fn` cannot write `%s`", name);
    sq_hint(d, "make it a `proc`");
    return false;
  }
  if (base->kind == SQ_V_PARAM && L->g->param.v[base->ref].frozen) {
    sq_low_error(L, span, "parameter `%s` is frozen", name);
    return false;
  }
  return true;
}

static sq_val whole_value(sq_low *L, const sq_val *base, const sq_val *v, sq_type t,
                          const sq_stmt *st, const char *name) {
  sq_val r =
      sq_val_convert(L, v, t.dtype, st->value->span, sq_arena_fmt(L->a, "`%s`", name), false);
  uint32_t rank;
  sq_dim dim[SQ_MAX_RANK];
  sq_dtype dt;
  if (r.kind == SQ_V_POISON || !sq_val_shape(L, &r, &rank, dim, &dt)) return sq_poison();
  bool grows = base->kind == SQ_V_STATE && L->g->state.v[base->ref].grow.i;
  bool same = rank == t.rank;
  for (uint32_t k = 0; same && k < rank; k++)
    same = (grows && k == L->g->state.v[base->ref].grow_axis) ||
           sq_prove_eq(L->g->dims, dim[k], t.dim[k]) == 1;
  if (same) return r;
  sq_val old = *base;
  sq_diag *d = sq_low_error(L, st->value->span, "`%s` is %s and cannot become %s", name,
                            sq_val_what(L, &old), sq_val_what(L, v));
  sq_label(d, st->value->span, "%s", sq_val_what(L, v));
  if (base->kind == SQ_V_STATE)
    sq_label(d, L->g->state.v[base->ref].span, "declared here");
  else if (base->kind == SQ_V_PARAM)
    sq_label(d, L->g->param.v[base->ref].span, "declared here");
  if (rank < t.rank) sq_hint(d, "to fill it write `%s[..] <- ...`", name);
  return sq_poison();
}

// One write being made.
typedef struct writing {
  sq_scope *s;
  const sq_stmt *st;
  const char *name;
  places *p; // NULL: the whole
  sq_ex old; // a local's value
  sq_ex rhs;
  sq_ivars axes;
  sq_write w;
  target tg;
} writing;

// The body computed first, where it reads what is being written at other places.
static bool settle_body(sq_low *L, writing *x, const sq_ivars *axes, sq_sx *const *pos) {
  if (!reads_elsewhere(x->w.body, &x->tg, pos)) return true;
  sq_value *v = sq_emit_value(L, x->w.body, axes->n, axes->v, x->st->span, NULL);
  if (v->type.rank != axes->n) return false; // too many axes, said before
  sq_sx *at[2 * SQ_MAX_RANK];
  for (uint32_t k = 0; k < axes->n; k++) at[k] = sq_sx_ivar(L, axes->v[k]);
  x->w.body = sq_sx_read(L, v, axes->n, at, x->st->span);
  return true;
}

static void set_body(sq_low *L, writing *x) {
  x->w.body = sq_sx_value_type(L, x->rhs.root);
  if (x->w.body->dtype != x->w.type.dtype)
    x->w.body = sq_sx_cast(L, x->w.body, x->w.type.dtype, false);
}

static void write_whole(sq_low *L, writing *x, const sq_val *base, const sq_val *value) {
  sq_val v = whole_value(L, base, value, x->w.type, x->st, x->name);
  if (v.kind == SQ_V_POISON) return;
  if (x->w.op == SQ_OP_UPDATE) {
    v = sq_val_bindable(L, &v, x->st->span, x->name);
    sq_assign(L, x->s, x->name, x->st->target->span, &v);
    return;
  }
  if (!sq_val_to_ex(L, &v, x->st->value->span, &x->rhs)) return;
  set_body(L, x);
  x->axes = (sq_ivars){x->rhs.own, x->rhs.n_own, x->rhs.n_own};
  sq_sx *pos[SQ_MAX_RANK];
  for (uint32_t k = 0; k < x->axes.n; k++) pos[k] = sq_sx_ivar(L, x->axes.v[k]);
  if (!settle_body(L, x, &x->axes, pos)) return;
  x->w.whole = true;
  x->w.n_axis = x->axes.n;
  x->w.axis = x->axes.v;
  sq_emit_write(L, &x->w);
  if (base->kind == SQ_V_STATE && L->g->state.v[base->ref].grow.i)
    sq_low_grown(L, L->g->state.v[base->ref].grow);
}

// Positions that are written, in x->w.pos; how many axes of the target they take.
static bool written_places(sq_low *L, writing *x, uint32_t *taken) {
  const places *p = x->p;
  sq_type t = x->w.type;
  uint32_t given = 0, axis = 0;
  for (uint32_t k = 0; k < p->n; k++) given += p->item[k]->kind != SQ_E_DOTS;
  if (given > t.rank) {
    sq_diag *d =
        sq_low_error(L, x->st->target->span, "`%s` has %u ax%s, but %u place%s given", x->name,
                     t.rank, t.rank == 1 ? "is" : "es", given, given == 1 ? " is" : "s are");
    if (x->w.op == SQ_OP_STATE_WRITE) sq_label(d, L->g->state.v[x->w.ref].span, "declared here");
    return false;
  }
  bool ok = true;
  x->w.pos = SQ_ARRAY(L->a, sq_sx *, t.rank + 1);
  for (uint32_t k = 0; k < p->n; k++) {
    if (p->item[k]->kind == SQ_E_DOTS) {
      for (uint32_t j = 0; j < p->scope->dots->n; j++)
        x->w.pos[axis++] = sq_sx_ivar(L, p->scope->dots->iv[j]);
      continue;
    }
    x->w.pos[axis] = place_of(L, p->scope, p->item[k]);
    ok &= x->w.pos[axis] != NULL;
    axis++;
  }
  *taken = axis;
  return ok;
}

// The axes that the write runs over: indices of the left side, then own axes of the right side,
// which are the target's last.
static bool written_axes(sq_low *L, writing *x, uint32_t axis) {
  sq_type t = x->w.type;
  sq_span left = x->st->target->span, right = x->st->value->span;
  if (x->rhs.n_own > t.rank - axis) {
    uint32_t n = t.rank - axis;
    sq_diag *d =
        sq_low_error(L, right, "the right side has %u ax%s, but `%s` has %u left", x->rhs.n_own,
                     x->rhs.n_own == 1 ? "is" : "es", sq_low_text(L, left), n);
    if (x->w.op == SQ_OP_STATE_WRITE) sq_label(d, L->g->state.v[x->w.ref].span, "declared here");
    return false;
  }
  for (uint32_t k = 0; k < axis; k++) { // an index without a range runs over the target's axis
    if (x->w.pos[k]->kind != SQ_SX_IVAR) continue;
    sq_ivar *iv = sq_ivar_root(x->w.pos[k]->iv);
    if (iv->extent.i) continue;
    iv->extent = t.dim[k];
    iv->from = left;
  }
  for (uint32_t k = 0; k < x->p->binders.n; k++) {
    sq_ivar *iv = x->p->binders.v[k];
    if (!sq_ivar_known(L, iv) || sq_ivar_root(iv)->bad) return false;
    sq_push(L->a, &x->axes, iv);
  }
  for (; axis < t.rank; axis++) {
    uint32_t from_end = t.rank - axis;
    sq_ivar *iv = from_end <= x->rhs.n_own ? x->rhs.own[x->rhs.n_own - from_end]
                                           : sq_ivar_new(L, NULL, left, t.dim[axis]);
    if (sq_prove_eq(L->g->dims, sq_ivar_root(iv)->extent, t.dim[axis]) != 1) {
      sq_diag *d = sq_low_error(L, right, "axis %u of `%s` is %s, but the right side has %s there",
                                axis, x->name, sq_dim_str(L, t.dim[axis]),
                                sq_dim_str(L, sq_ivar_root(iv)->extent));
      if (x->w.op == SQ_OP_STATE_WRITE) sq_label(d, L->g->state.v[x->w.ref].span, "declared here");
      return false;
    }
    sq_push(L->a, &x->axes, iv);
    x->w.pos[axis] = sq_sx_ivar(L, iv);
  }
  return true;
}

static void add_outer(sq_low *L, const sq_ivars *all, const sq_ivars *skip, sq_ivars *out) {
  for (uint32_t k = 0; k < all->n; k++) {
    bool have = false;
    for (uint32_t j = 0; j < skip->n; j++) have |= sq_ivar_root(skip->v[j]) == all->v[k];
    for (uint32_t j = 0; j < out->n; j++) have |= out->v[j] == all->v[k];
    if (!have) sq_push(L->a, out, all->v[k]);
  }
}

// All free indices of both sides come in front; there are none outside mapped functions.
static void write_local(sq_low *L, writing *x) {
  uint32_t rank = x->w.type.rank;
  sq_ivars outer = {0}, all = {0}, skip = {0}, whole = {0}, run = {0};
  sq_sx_free(L, x->old.root, &all);
  sq_sx_free(L, x->w.body, &all);
  for (uint32_t k = 0; k < rank; k++) sq_sx_free(L, x->w.pos[k], &all);
  for (uint32_t k = 0; k < x->axes.n; k++) sq_push(L->a, &skip, x->axes.v[k]);
  for (uint32_t k = 0; k < x->old.n_own; k++) sq_push(L->a, &skip, x->old.own[k]);
  add_outer(L, &all, &skip, &outer);
  sq_ivars_sort(&outer);
  sq_sx **pos = SQ_ARRAY(L->a, sq_sx *, outer.n + rank + 1);
  for (uint32_t k = 0; k < outer.n; k++) {
    sq_push(L->a, &whole, outer.v[k]);
    sq_push(L->a, &run, outer.v[k]);
    pos[k] = sq_sx_ivar(L, outer.v[k]);
  }
  for (uint32_t k = 0; k < x->old.n_own; k++) sq_push(L->a, &whole, x->old.own[k]);
  for (uint32_t k = 0; k < x->axes.n; k++) sq_push(L->a, &run, x->axes.v[k]);
  for (uint32_t k = 0; k < rank; k++) pos[outer.n + k] = x->w.pos[k];
  x->w.target = x->tg.v = sq_emit_value(L, x->old.root, whole.n, whole.v, x->st->span, x->name);
  x->w.type = x->w.target->type;
  x->w.n_axis = run.n;
  x->w.axis = run.v;
  x->w.pos = pos;
  if (x->w.type.rank != whole.n || !settle_body(L, x, &run, pos)) return;
  sq_value *r = sq_emit_write(L, &x->w);
  sq_sx *at[2 * SQ_MAX_RANK];
  for (uint32_t k = 0; k < whole.n; k++) at[k] = sq_sx_ivar(L, whole.v[k]);
  sq_val v =
      outer.n ? sq_val_ex(L, sq_sx_read(L, r, whole.n, at, x->st->span), x->old.n_own, x->old.own)
              : sq_val_tensor(r);
  sq_assign(L, x->s, x->name, x->st->target->span, &v);
}

static void write_leaf(sq_low *L, sq_scope *s, const sq_stmt *st, const sq_val *base,
                       const char *name, places *p, const sq_val *value) {
  writing x = {.s = s, .st = st, .name = name, .p = p};
  x.w =
      (sq_write){.ref = base->ref, .at = base->at, .span = st->span, .pos_span = st->target->span};
  if (base->kind == SQ_V_STATE || base->kind == SQ_V_PARAM) {
    if (!may_write(L, base, st->target->span, name)) return;
    bool state = base->kind == SQ_V_STATE;
    x.w.op = state ? SQ_OP_STATE_WRITE : SQ_OP_PARAM_WRITE;
    x.w.type = state ? L->g->state.v[base->ref].type : L->g->param.v[base->ref].type;
    if (!state) L->g->param.v[base->ref].written = true;
    sq_low_effect(L, st->target->span);
  } else {
    if (!sq_val_to_ex(L, base, st->target->span, &x.old)) return;
    x.w.op = SQ_OP_UPDATE;
    x.w.type =
        sq_axes_type(L, x.old.root->idx ? SQ_I32 : x.old.root->dtype, x.old.n_own, x.old.own);
  }
  x.tg = (target){x.w.op, NULL, x.w.ref};
  if (!p) {
    write_whole(L, &x, base, value);
    return;
  }
  uint32_t taken;
  if (!written_places(L, &x, &taken)) return;
  sq_val v = sq_val_convert(L, value, x.w.type.dtype, st->value->span,
                            sq_arena_fmt(L->a, "`%s`", name), false);
  if (v.kind == SQ_V_POISON || !sq_val_to_ex(L, &v, st->value->span, &x.rhs)) return;
  if (!written_axes(L, &x, taken)) return;
  set_body(L, &x);
  if (x.w.op == SQ_OP_UPDATE) {
    write_local(L, &x);
    return;
  }
  x.w.n_axis = x.axes.n;
  x.w.axis = x.axes.v;
  if (settle_body(L, &x, &x.axes, x.w.pos)) sq_emit_write(L, &x.w);
}

static void write_value(sq_low *L, sq_scope *s, const sq_stmt *st, const sq_val *base,
                        const char *name, places *p, const sq_val *value) {
  bool tree = base->kind == SQ_V_TUPLE;
  bool state_tree = tree && base->n && base->item[0].kind != SQ_V_TENSOR;
  if (!tree) {
    if (value->kind == SQ_V_TUPLE) {
      sq_low_error(L, st->value->span, "`%s` is %s, but the right side is %s", name,
                   sq_val_what(L, base), sq_val_what(L, value));
      return;
    }
    write_leaf(L, s, st, base, name, p, value);
    return;
  }
  if (!state_tree || p) {
    sq_low_error(L, st->target->span, "a tuple is replaced whole, by `=`");
    return;
  }
  if (value->kind != SQ_V_TUPLE || value->n != base->n) {
    sq_low_error(L, st->value->span, "`%s` is %s, but the right side is %s", name,
                 sq_val_what(L, base), sq_val_what(L, value));
    return;
  }
  // Every leaf sees the old values.
  sq_val settled = sq_val_settle(L, value, st->value->span, NULL);
  for (uint32_t k = 0; k < base->n; k++)
    write_value(L, s, st, &base->item[k], name, NULL, &settled.item[k]);
}

void sq_lower_write(sq_low *L, sq_scope *s, const sq_stmt *st) {
  const sq_expr *t = st->target, *b = t->kind == SQ_E_INDEX ? t->arg[0] : t;
  if (b->kind != SQ_E_NAME && b->kind != SQ_E_FIELD) {
    sq_low_error(L, t->span, "the left side of `<-` is a name, with places in brackets");
    return;
  }
  const char *name = b->name;
  sq_val base;
  if (b->kind == SQ_E_NAME) {
    sq_bind *bind = sq_lookup(L, s, name, &base);
    if (!bind && !strcmp(name, "params")) {
      sq_low_error(L, b->span, "trees of parameters (`params`) are not built yet");
      return;
    }
    if (!bind && sq_builtin_find(name)) {
      sq_low_error(L, b->span, "`%s` is a function of the language and cannot be written", name);
      return;
    }
    if (!bind) {
      sq_diag *d = sq_unknown_name(L, s, b->span, name, "name");
      if (!d->hints.n) sq_hint(d, "`<-` writes into what is there; `=` binds a new name");
      sq_eval_expr(L, s, st->value);
      return;
    }
    if (bind->kind == SQ_B_LOOP || bind->kind == SQ_B_CONFIG || bind->kind == SQ_B_INDEX ||
        bind->kind == SQ_B_SIZE) {
      sq_diag *d = sq_low_error(L, b->span, "`%s` cannot be written: it is %s", name,
                                bind->kind == SQ_B_LOOP     ? "the index of a loop"
                                : bind->kind == SQ_B_CONFIG ? "config"
                                : bind->kind == SQ_B_SIZE   ? "a size"
                                                            : "an index");
      sq_label(d, bind->span, "bound here");
      return;
    }
  } else {
    base = sq_eval_expr(L, s, b);
  }
  if (base.kind == SQ_V_POISON) {
    return;
  }
  if (sq_val_is_static(&base) && base.kind != SQ_V_DIM && base.kind != SQ_V_FLOAT &&
      base.kind != SQ_V_BOOL && base.kind != SQ_V_TUPLE) {
    sq_low_error(L, b->span, "`%s` is %s and cannot be written", name, sq_val_what(L, &base));
    return;
  }
  if (t->kind != SQ_E_INDEX) {
    L->effect_ok = st->value;
    sq_val v = sq_eval_expr(L, s, st->value);
    L->effect_ok = NULL;
    if (v.kind != SQ_V_POISON) write_value(L, s, st, &base, name, NULL, &v);
    return;
  }
  uint32_t rank = 0;
  sq_dim dim[SQ_MAX_RANK];
  sq_dtype dt;
  if (base.kind != SQ_V_TUPLE) sq_val_shape(L, &base, &rank, dim, &dt);
  places p = {.n = t->n - 1, .item = t->arg + 1, .scope = sq_scope_new(L, SQ_SC_INDICES, s)};
  if (!bind_places(L, &p, s, rank)) return;
  if (!p.binders.n) L->effect_ok = st->value;
  sq_val v = sq_eval_expr(L, p.scope, st->value);
  L->effect_ok = NULL;
  if (v.kind == SQ_V_POISON) return;
  if (b->kind == SQ_E_NAME) sq_lookup(L, s, name, &base); // the right side may have had effects
  write_value(L, s, st, &base, name, &p, &v);
}
