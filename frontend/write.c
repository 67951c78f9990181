// `<-`: a value or a slice of a state, a parameter or a local is replaced, in place and in order.
#include "frontend/lower.h"

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

// One leaf being written.
typedef struct writing {
  sq_scope *s;
  const sq_stmt *st;
  sq_span left;
  const char *name;
  sq_places *p;            // NULL: the whole
  const sq_ivars *indices; // of all parts of the left side
  sq_val *slot;            // what it was; of a local then what it is
  sq_val whole;
  sq_ex rhs;
  sq_ivars axes;
  sq_write w;
  target tg;
} writing;
typedef SQ_VEC(writing) writings;

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

// Positions that are written, in x->w.pos; how many axes of the target they take.
static bool written_places(sq_low *L, writing *x, uint32_t *taken) {
  const sq_places *p = x->p;
  sq_type t = x->w.type;
  uint32_t given = 0, axis = 0;
  for (uint32_t k = 0; k < p->n; k++) given += p->item[k]->kind != SQ_E_DOTS;
  if (given > t.rank) {
    sq_diag *d = sq_low_error(L, x->left, "`%s` has %u ax%s, but %u place%s given", x->name, t.rank,
                              t.rank == 1 ? "is" : "es", given, given == 1 ? " is" : "s are");
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
    x->w.pos[axis] = sq_place_of(L, p->scope, p->item[k]);
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
  sq_span left = x->left, right = x->st->value->span;
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
// ---- preparing ---------------------------------------------------------------------------------

// An index of another part of the left side would be one without a meaning here.
static bool own_indices(sq_low *L, const writing *x, sq_sx *e) {
  sq_ivars used = {0};
  sq_sx_free(L, e, &used);
  for (uint32_t k = 0; k < x->indices->n; k++) {
    const sq_ivar *v = sq_ivar_root(x->indices->v[k]);
    bool in_body = false, have = false;
    for (uint32_t j = 0; j < used.n; j++) in_body |= used.v[j] == v;
    for (uint32_t j = 0; j < x->axes.n; j++) have |= sq_ivar_root(x->axes.v[j]) == v;
    if (!in_body || have) continue;
    sq_low_error(L, x->left, "`%s` depends on index `%s`, which it does not have",
                 sq_low_text(L, x->left), v->name ? v->name : "..");
    return false;
  }
  return true;
}

static bool prepare_whole(sq_low *L, writing *x, const sq_val *value) {
  sq_val v = whole_value(L, x->slot, value, x->w.type, x->st, x->name);
  if (v.kind == SQ_V_POISON || (v.kind == SQ_V_EX && !own_indices(L, x, v.ex->root))) return false;
  if (x->w.op == SQ_OP_UPDATE) {
    x->whole = sq_val_bindable(L, &v, x->st->span, x->name);
    return true;
  }
  if (!sq_val_to_ex(L, &v, x->st->value->span, &x->rhs)) return false;
  set_body(L, x);
  x->axes = (sq_ivars){x->rhs.own, x->rhs.n_own, x->rhs.n_own};
  x->w.pos = SQ_ARRAY(L->a, sq_sx *, SQ_MAX_RANK);
  for (uint32_t k = 0; k < x->axes.n; k++) x->w.pos[k] = sq_sx_ivar(L, x->axes.v[k]);
  x->w.whole = true;
  return true;
}

static bool prepare(sq_low *L, writing *x, const sq_val *value) {
  const sq_val *base = x->slot;
  x->w = (sq_write){.ref = base->ref, .at = base->at, .span = x->st->span, .pos_span = x->left};
  if (base->kind == SQ_V_STATE || base->kind == SQ_V_PARAM) {
    if (!may_write(L, base, x->left, x->name)) return false;
    bool state = base->kind == SQ_V_STATE;
    x->w.op = state ? SQ_OP_STATE_WRITE : SQ_OP_PARAM_WRITE;
    x->w.type = state ? L->g->state.v[base->ref].type : L->g->param.v[base->ref].type;
    if (!state) L->g->param.v[base->ref].written = true;
    sq_low_effect(L, x->left);
  } else {
    sq_ex old;
    if (!sq_val_to_ex(L, base, x->left, &old)) return false;
    x->w.op = SQ_OP_UPDATE;
    x->w.type = sq_axes_type(L, old.root->idx ? SQ_I32 : old.root->dtype, old.n_own, old.own);
  }
  x->tg = (target){x->w.op, NULL, x->w.ref};
  if (!x->p) return prepare_whole(L, x, value);
  uint32_t taken;
  if (!written_places(L, x, &taken)) return false;
  sq_val v = sq_val_convert(L, value, x->w.type.dtype, x->st->value->span,
                            sq_arena_fmt(L->a, "`%s`", x->name), false);
  if (v.kind == SQ_V_POISON || !sq_val_to_ex(L, &v, x->st->value->span, &x->rhs)) return false;
  if (!written_axes(L, x, taken)) return false;
  set_body(L, x);
  return own_indices(L, x, x->w.body);
}

// Every leaf that `value` writes, with its part of it.
static bool prepare_value(sq_low *L, const writing *like, sq_val *slot, const sq_val *value,
                          writings *out) {
  if (slot->kind != SQ_V_TUPLE && value->kind != SQ_V_TUPLE) {
    writing x = *like;
    x.slot = slot;
    if (!prepare(L, &x, value)) return false;
    sq_push(L->a, out, x);
    return true;
  }
  if (value->kind != slot->kind || value->n != slot->n) {
    sq_low_error(L, like->st->value->span, "`%s` is %s, but the right side is %s", like->name,
                 sq_val_what(L, slot), sq_val_what(L, value));
    return false;
  }
  bool ok = true;
  for (uint32_t k = 0; k < slot->n; k++)
    ok &= prepare_value(L, like, &slot->item[k], &value->item[k], out);
  return ok;
}

// What one leaf writes is computed before another leaf changes what it reads.
static bool settle_all(sq_low *L, writings *all) {
  for (uint32_t k = 0; all->n > 1 && k < all->n; k++) {
    writing *x = &all->v[k];
    if (!x->w.body) continue;
    sq_val v = sq_val_ex(L, x->w.body, 0, NULL);
    v = sq_val_settle(L, &v, x->st->value->span, NULL);
    sq_ex e;
    if (v.kind == SQ_V_POISON || !sq_val_to_ex(L, &v, x->st->value->span, &e)) return false;
    x->w.body = e.root;
  }
  return true;
}

// ---- writing -----------------------------------------------------------------------------------

// All free indices of both sides come in front; there are none outside mapped functions.
static bool write_local(sq_low *L, writing *x) {
  uint32_t rank = x->w.type.rank;
  sq_ivars outer = {0}, all = {0}, skip = {0}, whole = {0}, run = {0};
  sq_ex old;
  if (!sq_val_to_ex(L, x->slot, x->left, &old)) return false;
  sq_sx_free(L, old.root, &all);
  sq_sx_free(L, x->w.body, &all);
  for (uint32_t k = 0; k < rank; k++) sq_sx_free(L, x->w.pos[k], &all);
  for (uint32_t k = 0; k < x->axes.n; k++) sq_push(L->a, &skip, x->axes.v[k]);
  for (uint32_t k = 0; k < old.n_own; k++) sq_push(L->a, &skip, old.own[k]);
  add_outer(L, &all, &skip, &outer);
  sq_ivars_sort(&outer);
  sq_sx **pos = SQ_ARRAY(L->a, sq_sx *, outer.n + rank + 1);
  for (uint32_t k = 0; k < outer.n; k++) {
    sq_push(L->a, &whole, outer.v[k]);
    sq_push(L->a, &run, outer.v[k]);
    pos[k] = sq_sx_ivar(L, outer.v[k]);
  }
  for (uint32_t k = 0; k < old.n_own; k++) sq_push(L->a, &whole, old.own[k]);
  for (uint32_t k = 0; k < x->axes.n; k++) sq_push(L->a, &run, x->axes.v[k]);
  for (uint32_t k = 0; k < rank; k++) pos[outer.n + k] = x->w.pos[k];
  x->w.target = x->tg.v = sq_emit_value(L, old.root, whole.n, whole.v, x->st->span, x->name);
  x->w.type = x->w.target->type;
  x->w.n_axis = run.n;
  x->w.axis = run.v;
  x->w.pos = pos;
  if (x->w.type.rank != whole.n || !settle_body(L, x, &run, pos)) return false;
  sq_value *r = sq_emit_write(L, &x->w);
  sq_sx *at[2 * SQ_MAX_RANK];
  for (uint32_t k = 0; k < whole.n; k++) at[k] = sq_sx_ivar(L, whole.v[k]);
  *x->slot = outer.n ? sq_val_ex(L, sq_sx_read(L, r, whole.n, at, x->st->span), old.n_own, old.own)
                     : sq_val_tensor(r);
  return true;
}

static bool write_leaf(sq_low *L, writing *x) {
  if (x->w.op == SQ_OP_UPDATE && x->p) return write_local(L, x);
  if (x->w.op == SQ_OP_UPDATE) {
    *x->slot = x->whole;
    return true;
  }
  x->w.n_axis = x->axes.n;
  x->w.axis = x->axes.v;
  if (!settle_body(L, x, &x->axes, x->w.pos)) return false;
  sq_emit_write(L, &x->w);
  if (!x->p && x->w.op == SQ_OP_STATE_WRITE && L->g->state.v[x->w.ref].grow.i)
    sq_low_grown(L, L->g->state.v[x->w.ref].grow);
  return true;
}

// ---- the left side -----------------------------------------------------------------------------

typedef struct root { // a name and its value, to be taken apart
  const char *name;
  sq_span span;
  sq_val v;
} root;
typedef SQ_VEC(root *) roots;

typedef struct part { // of the left side
  const sq_expr *at, *base;
  const char *name; // NULL: `_`
  root *root;
  sq_places p;
} part;

static sq_val own_tree(sq_low *L, const sq_val *v) {
  if (v->kind != SQ_V_TUPLE) return *v;
  sq_val r = sq_val_tuple(L, v->n, v->item);
  for (uint32_t k = 0; k < r.n; k++) r.item[k] = own_tree(L, &v->item[k]);
  return r;
}

static bool find_name(sq_low *L, sq_scope *s, const sq_stmt *st, const sq_expr *b, sq_val *v) {
  sq_bind *bind = sq_lookup(L, s, b->name, v);
  if (!bind && !strcmp(b->name, "params")) {
    sq_low_error(L, b->span, "trees of parameters (`params`) are not built yet");
    return false;
  }
  if (!bind && sq_builtin_find(b->name)) {
    sq_low_error(L, b->span, "`%s` is a function of the language and cannot be written", b->name);
    return false;
  }
  if (!bind) {
    sq_diag *d = sq_unknown_name(L, s, b->span, b->name, "name");
    if (!d->hints.n) sq_hint(d, "`<-` writes into what is there; `=` binds a new name");
    sq_eval_expr(L, s, st->value);
    return false;
  }
  if (bind->kind == SQ_B_LOOP || bind->kind == SQ_B_CONFIG || bind->kind == SQ_B_INDEX ||
      bind->kind == SQ_B_SIZE) {
    sq_diag *d = sq_low_error(L, b->span, "`%s` cannot be written: it is %s", b->name,
                              bind->kind == SQ_B_LOOP     ? "the index of a loop"
                              : bind->kind == SQ_B_CONFIG ? "config"
                              : bind->kind == SQ_B_SIZE   ? "a size"
                                                          : "an index");
    sq_label(d, bind->span, "bound here");
    return false;
  }
  return true;
}

// `(name)`, `name[..]`, `name.0[..]`, `cell[i].name[..]`
static bool find_part(sq_low *L, sq_scope *s, const sq_stmt *st, const sq_expr *t, roots *all,
                      part *out) {
  *out = (part){.at = t, .base = t->kind == SQ_E_INDEX ? t->arg[0] : t};
  const sq_expr *b = out->base;
  while (b->kind == SQ_E_PART) b = b->arg[0];
  if (b->kind != SQ_E_NAME && b->kind != SQ_E_FIELD) {
    sq_low_error(L, t->span, "the left side of `<-` is a name, with places in brackets");
    return false;
  }
  out->name = b->name;
  if (b->kind == SQ_E_NAME && !strcmp(b->name, "_")) {
    out->name = NULL;
    return true;
  }
  for (uint32_t k = 0; k < all->n && b->kind == SQ_E_NAME; k++)
    if (all->v[k]->name == b->name) out->root = all->v[k];
  if (out->root) return true;
  sq_val v;
  if (b->kind != SQ_E_NAME)
    v = sq_eval_expr(L, s, b);
  else if (!find_name(L, s, st, b, &v))
    return false;
  if (v.kind == SQ_V_POISON) return false;
  if (sq_val_is_static(&v) && v.kind != SQ_V_DIM && v.kind != SQ_V_FLOAT && v.kind != SQ_V_BOOL &&
      v.kind != SQ_V_TUPLE) {
    sq_low_error(L, b->span, "`%s` is %s and cannot be written", b->name, sq_val_what(L, &v));
    return false;
  }
  out->root = SQ_NEW(L->a, root);
  *out->root = (root){b->kind == SQ_E_NAME ? b->name : NULL, b->span, v};
  sq_push(L->a, all, out->root);
  return true;
}

static sq_val *part_slot(sq_low *L, const part *p, const sq_expr *e) {
  if (e->kind != SQ_E_PART) return &p->root->v;
  sq_val *v = part_slot(L, p, e->arg[0]);
  if (!v || (v->kind == SQ_V_TUPLE && e->i >= 0 && e->i < v->n)) return v ? &v->item[e->i] : NULL;
  sq_low_error(L, e->span, "`%s` is %s and has no part %lld", sq_low_text(L, e->arg[0]->span),
               sq_val_what(L, v), (long long)e->i);
  return NULL;
}

static uint32_t leaf_rank(sq_low *L, const sq_val *v) {
  while (v->kind == SQ_V_TUPLE && v->n) v = &v->item[0];
  uint32_t rank = 0;
  sq_dim dim[SQ_MAX_RANK];
  sq_dtype t;
  if (v->kind != SQ_V_TUPLE) sq_val_shape(L, v, &rank, dim, &t);
  return rank;
}

static bool find_parts(sq_low *L, sq_scope *s, const sq_stmt *st, uint32_t n, part *parts,
                       roots *all, sq_scope *indices) {
  const sq_expr *t = st->target;
  bool ok = true;
  for (uint32_t k = 0; k < n; k++) {
    part *p = &parts[k];
    if (!find_part(L, s, st, t->kind == SQ_E_TUPLE ? t->arg[k] : t, all, p)) {
      ok = false;
      continue;
    }
    if (!p->name || p->at->kind != SQ_E_INDEX) continue;
    sq_val *slot = part_slot(L, p, p->base);
    p->p = (sq_places){.n = p->at->n - 1, .item = p->at->arg + 1, .scope = indices};
    ok &= slot && sq_places_bind(L, &p->p, s, leaf_rank(L, slot));
  }
  return ok;
}

// Values of the names as the right side left them, which may have had effects.
static void read_roots(sq_low *L, sq_scope *s, roots *all) {
  for (uint32_t k = 0; k < all->n; k++) {
    root *r = all->v[k];
    if (r->name) sq_lookup(L, s, r->name, &r->v);
    r->v = own_tree(L, &r->v);
  }
}

static bool is_stored(const sq_val *v) {
  while (v->kind == SQ_V_TUPLE && v->n) v = &v->item[0];
  return v->kind == SQ_V_STATE || v->kind == SQ_V_PARAM;
}

void sq_lower_write(sq_low *L, sq_scope *s, const sq_stmt *st) {
  const sq_expr *t = st->target;
  bool tuple = t->kind == SQ_E_TUPLE;
  uint32_t n = tuple ? t->n : 1;
  part *parts = SQ_ARRAY(L->a, part, n + 1);
  roots all = {0};
  sq_ivars binders = {0};
  writings w = {0};
  sq_scope *indices = sq_scope_new(L, SQ_SC_INDICES, s);
  if (!find_parts(L, s, st, n, parts, &all, indices)) return;
  for (uint32_t k = 0; k < n; k++)
    for (uint32_t j = 0; j < parts[k].p.binders.n; j++)
      sq_push(L->a, &binders, parts[k].p.binders.v[j]);
  if (!binders.n) L->effect_ok = st->value;
  sq_val v = sq_eval_expr(L, indices, st->value);
  L->effect_ok = NULL;
  if (v.kind == SQ_V_POISON) return;
  if (tuple && (v.kind != SQ_V_TUPLE || v.n != n)) {
    sq_low_error(L, st->span, "%u parts on the left, but the right side is %s", n,
                 sq_val_what(L, &v));
    return;
  }
  read_roots(L, s, &all);
  for (uint32_t k = 0; k < n; k++) {
    part *p = &parts[k];
    if (!p->name) continue;
    writing like = {.s = s, .st = st, .left = p->at->span, .name = p->name, .indices = &binders};
    if (p->at->kind == SQ_E_INDEX) like.p = &p->p;
    sq_val *slot = part_slot(L, p, p->base);
    if (!slot || !prepare_value(L, &like, slot, tuple ? &v.item[k] : &v, &w)) return;
  }
  if (!settle_all(L, &w)) return;
  for (uint32_t k = 0; k < w.n; k++)
    if (!write_leaf(L, &w.v[k])) return;
  for (uint32_t k = 0; k < all.n; k++)
    if (all.v[k]->name && !is_stored(&all.v[k]->v))
      sq_assign(L, s, all.v[k]->name, all.v[k]->span, &all.v[k]->v);
}
