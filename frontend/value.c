// Values during lowering: making, comparing, converting to trees, sizes and operations.
#include "frontend/lower.h"

sq_val sq_val_dim(sq_dim d) { return (sq_val){.kind = SQ_V_DIM, .dim = d}; }
sq_val sq_val_int(sq_low *L, int64_t v) { return sq_val_dim(sq_dim_const(L->g->dims, v)); }
sq_val sq_val_float(double f) { return (sq_val){.kind = SQ_V_FLOAT, .f = f}; }
sq_val sq_val_bool(bool b) { return (sq_val){.kind = SQ_V_BOOL, .i = b}; }
sq_val sq_val_tensor(sq_value *v) {
  return v ? (sq_val){.kind = SQ_V_TENSOR, .v = v} : sq_poison();
}

sq_val sq_val_ex(sq_low *L, sq_sx *root, uint32_t n_own, sq_ivar *const *own) {
  if (!root) return sq_poison();
  sq_ex *e = SQ_NEW(L->a, sq_ex);
  e->root = root;
  e->n_own = n_own;
  if (n_own) {
    e->own = SQ_ARRAY(L->a, sq_ivar *, n_own);
    memcpy(e->own, own, n_own * sizeof *own);
  }
  return (sq_val){.kind = SQ_V_EX, .ex = e};
}

sq_val sq_val_tuple(sq_low *L, uint32_t n, const sq_val *item) {
  sq_val v = {.kind = SQ_V_TUPLE, .n = n, .item = SQ_ARRAY(L->a, sq_val, n + 1)};
  if (n) memcpy(v.item, item, n * sizeof *item);
  return v;
}

bool sq_val_const_int(sq_low *L, const sq_val *v, int64_t *out) {
  return v->kind == SQ_V_DIM && sq_dim_is_const(L->g->dims, v->dim, out);
}

bool sq_val_is_static(const sq_val *v) {
  switch (v->kind) {
  case SQ_V_TENSOR:
  case SQ_V_EX:
  case SQ_V_PARAM:
  case SQ_V_STATE:
    return false;
  case SQ_V_TUPLE:
    for (uint32_t k = 0; k < v->n; k++)
      if (!sq_val_is_static(&v->item[k])) return false;
    return true;
  case SQ_V_POISON:
  case SQ_V_NONE:
  case SQ_V_DIM:
  case SQ_V_FLOAT:
  case SQ_V_BOOL:
  case SQ_V_WORD:
  case SQ_V_STRING:
  case SQ_V_LIST:
  case SQ_V_FN:
  case SQ_V_BUILTIN:
  case SQ_V_MODULE:
  case SQ_V_INST:
  case SQ_V_INSTS:
    return true;
  }
  return true;
}

static bool same_at(sq_at a, sq_at b) { return a.base == b.base && a.c == b.c && a.v == b.v; }

bool sq_val_equal(sq_low *L, const sq_val *a, const sq_val *b) {
  if (a->kind != b->kind) return false;
  switch (a->kind) {
  case SQ_V_DIM:
    return sq_prove_eq(L->g->dims, a->dim, b->dim) == 1;
  case SQ_V_FLOAT:
    return !memcmp(&a->f, &b->f, sizeof a->f);
  case SQ_V_BOOL:
    return a->i == b->i;
  case SQ_V_WORD:
  case SQ_V_STRING:
    return !strcmp(a->s, b->s);
  case SQ_V_LIST:
  case SQ_V_TUPLE:
    if (a->n != b->n) return false;
    for (uint32_t k = 0; k < a->n; k++)
      if (!sq_val_equal(L, &a->item[k], &b->item[k])) return false;
    return true;
  case SQ_V_FN:
    return a->decl == b->decl && a->scope == b->scope && same_at(a->at, b->at);
  case SQ_V_MODULE:
    return a->decl == b->decl;
  case SQ_V_BUILTIN:
    return a->i == b->i;
  case SQ_V_INST:
    return a->inst == b->inst && same_at(a->at, b->at);
  case SQ_V_INSTS:
    return a->insts == b->insts && same_at(a->at, b->at);
  case SQ_V_POISON:
  case SQ_V_NONE:
    return true;
  case SQ_V_TENSOR:
    return a->v == b->v;
  case SQ_V_EX:
    return a->ex == b->ex;
  case SQ_V_PARAM:
  case SQ_V_STATE:
    return a->ref == b->ref;
  }
  return false;
}

bool sq_dtype_named(const char *name, sq_dtype *out) {
  for (int k = 0; k < SQ_DTYPE_COUNT; k++)
    if (!strcmp(sq_dtype_table[k].name, name)) {
      *out = (sq_dtype)k;
      return true;
    }
  return false;
}

static const char *shape_text(sq_low *L, uint32_t rank, const sq_dim *dim) {
  sq_text t = {.arena = L->a};
  sq_text_add(&t, "[");
  for (uint32_t k = 0; k < rank; k++) sq_text_add(&t, "%s%s", k ? ", " : "", sq_dim_str(L, dim[k]));
  sq_text_add(&t, "]");
  return t.v;
}

const char *sq_val_what(sq_low *L, const sq_val *v) {
  static const char *const what[] = {[SQ_V_POISON] = "a faulty value",
                                     [SQ_V_NONE] = "nothing",
                                     [SQ_V_DIM] = "a size",
                                     [SQ_V_FLOAT] = "a number",
                                     [SQ_V_BOOL] = "true or false",
                                     [SQ_V_WORD] = "a name",
                                     [SQ_V_STRING] = "a string",
                                     [SQ_V_LIST] = "a list",
                                     [SQ_V_TENSOR] = "an array",
                                     [SQ_V_EX] = "an array",
                                     [SQ_V_PARAM] = "a parameter",
                                     [SQ_V_STATE] = "a state",
                                     [SQ_V_TUPLE] = "a tuple",
                                     [SQ_V_FN] = "a function",
                                     [SQ_V_BUILTIN] = "a function",
                                     [SQ_V_MODULE] = "a module",
                                     [SQ_V_INST] = "an instance",
                                     [SQ_V_INSTS] = "an array of instances"};
  sq_dim dim[SQ_MAX_RANK];
  uint32_t rank;
  sq_dtype t;
  if (v->kind != SQ_V_DIM && v->kind != SQ_V_FLOAT && v->kind != SQ_V_BOOL &&
      sq_val_shape(L, v, &rank, dim, &t)) {
    if (!rank) return sq_arena_fmt(L->a, "a scalar %s", sq_dtype_table[t].name);
    return sq_arena_fmt(L->a, "%s %s%s",
                        v->kind == SQ_V_PARAM   ? "a parameter"
                        : v->kind == SQ_V_STATE ? "a state"
                                                : "an array",
                        sq_dtype_table[t].name, shape_text(L, rank, dim));
  }
  if (v->kind == SQ_V_TUPLE) return sq_arena_fmt(L->a, "a tuple of %u", v->n);
  return what[v->kind];
}

static void text_of(sq_low *L, const sq_val *v, sq_text *t) {
  int64_t i;
  switch ((int)v->kind) {
  case SQ_V_DIM:
    if (sq_dim_is_const(L->g->dims, v->dim, &i)) {
      sq_text_add(t, "%lld", (long long)i);
    } else {
      sq_text_add(t, "%s", sq_dim_str(L, v->dim));
    }
    break;
  case SQ_V_FLOAT:
    sq_text_double(t, v->f);
    break;
  case SQ_V_BOOL:
    sq_text_add(t, v->i ? "true" : "false");
    break;
  case SQ_V_WORD:
  case SQ_V_STRING:
    sq_text_add(t, "%s", v->s);
    break;
  case SQ_V_LIST:
    sq_text_add(t, "[");
    for (uint32_t k = 0; k < v->n; k++) {
      if (k) sq_text_add(t, ",");
      text_of(L, &v->item[k], t);
    }
    sq_text_add(t, "]");
    break;
  default:
    sq_text_add(t, "%s", sq_val_what(L, v));
  }
}

const char *sq_val_text(sq_low *L, const sq_val *v) {
  sq_text t = {.arena = L->a};
  text_of(L, v, &t);
  return t.v ? t.v : "";
}

// ---- loading -----------------------------------------------------------------------------------

static bool has_block(sq_low *L, sq_span span, const char *what) {
  if (L->b) return true;
  sq_diag *d = sq_low_error(L, span, "%s must be known when the model is compiled", what);
  sq_hint(d, "here only config, sizes and lists are known");
  return false;
}

sq_value *sq_at_value(sq_low *L, sq_at at, sq_span span) {
  if (!at.many) return NULL;
  if (at.ix) sq_low_error(L, span, "here an instance cannot be chosen by an index of a definition");
  return at.v ? at.v : sq_const_int(L->g, L->b, SQ_I32, at.c);
}

static sq_sx *at_tree(sq_low *L, sq_at at, sq_span span) {
  if (at.ix) return at.ix;
  if (at.v) return sq_sx_read(L, at.v, 0, NULL, span);
  return sq_sx_int(L, at.c, SQ_I32, false, false);
}

static sq_at at_of_tree(sq_low *L, sq_sx *t, bool indexed, sq_span span) {
  if (indexed) return (sq_at){.many = true, .ix = t};
  sq_value *v =
      L->b ? sq_emit_value(L, sq_sx_cast(L, t, SQ_I32, false), 0, NULL, span, NULL) : NULL;
  return (sq_at){.many = true, .v = v};
}

sq_at sq_at_combine(sq_low *L, sq_at parent, int64_t n, sq_at member, sq_span span) {
  bool plain = !parent.v && !parent.ix;
  if (plain && !member.v && !member.ix)
    return (sq_at){.many = true, .base = parent.base, .c = parent.c * n + member.c};
  if (plain && !parent.c) return member;
  sq_sx *p = sq_sx_binary(L, SQ_B_MUL, at_tree(L, parent, span),
                          sq_sx_int(L, n, SQ_I32, false, false), span);
  p = sq_sx_binary(L, SQ_B_ADD, p, at_tree(L, member, span), span);
  return at_of_tree(L, p, parent.ix || member.ix, span);
}

sq_at sq_at_divide(sq_low *L, sq_at at, int64_t n, sq_span span) {
  if (n <= 1) return at;
  if (!at.v && !at.ix) {
    at.c /= n;
    return at;
  }
  sq_sx *q = sq_sx_binary(L, SQ_B_FLOORDIV, at_tree(L, at, span),
                          sq_sx_int(L, n, SQ_I32, false, false), span);
  return at_of_tree(L, q, at.ix != NULL, span);
}

static bool may_load(sq_low *L, const sq_val *v, sq_span span) {
  bool param = v->kind == SQ_V_PARAM;
  if (!has_block(L, span, param ? "a parameter's value" : "a state's value")) return false;
  if (!param && !L->g->state.v[v->ref].derived) {
    if (L->at_load) {
      sq_low_error(L, span, "state `%s` is not known at load", L->g->state.v[v->ref].name);
      return false;
    }
    if (L->pure) {
      sq_diag *d = sq_low_error(L, span, "a `fn` cannot read state: `%s`", sq_low_text(L, span));
      sq_hint(d, "make it a `proc`, or pass the value in");
      return false;
    }
  }
  return true;
}

static sq_value *load_at(sq_low *L, const sq_val *v, sq_value *at, sq_span span) {
  bool param = v->kind == SQ_V_PARAM;
  sq_node *n =
      sq_node_new(L->g, L->b, param ? SQ_OP_PARAM : SQ_OP_STATE_READ, span, at ? 1 : 0, &at);
  n->ref = v->ref;
  n->has_instance = at != NULL;
  sq_type t = param ? L->g->param.v[v->ref].type : L->g->state.v[v->ref].type;
  return sq_node_result(L->g, n, t, NULL);
}

sq_value *sq_val_load(sq_low *L, const sq_val *v, sq_span span) {
  if (!may_load(L, v, span)) return NULL;
  return load_at(L, v, sq_at_value(L, v->at, span), span);
}

// All instances side by side, the number in front.
static sq_value *load_all(sq_low *L, const sq_val *v, sq_span span) {
  if (!may_load(L, v, span)) return NULL;
  bool param = v->kind == SQ_V_PARAM;
  sq_type t = param ? L->g->param.v[v->ref].type : L->g->state.v[v->ref].type;
  uint32_t count = param ? L->g->param.v[v->ref].count : L->g->state.v[v->ref].count;
  if (t.rank + 1 > SQ_MAX_RANK) {
    sq_low_error(L, span, "%u axes are more than the %u that are possible", t.rank + 1,
                 SQ_MAX_RANK);
    return NULL;
  }
  sq_node *n = sq_node_new(L->g, L->b, SQ_OP_MAP, span, 0, NULL);
  n->g = sq_generic_new(L->g, 1, 0);
  n->g->axis[0] = (sq_axis){sq_dim_const(L->g->dims, count), "instance"};
  sq_block *outer = L->b, *body = sq_node_region(L->g, n, L->f);
  sq_value *at = sq_block_arg(body, sq_type_scalar(SQ_I32), "instance");
  L->b = body;
  sq_value *x = load_at(L, v, at, span);
  sq_node_new(L->g, body, SQ_OP_YIELD, span, 1, &x);
  L->b = outer;
  sq_dim dim[SQ_MAX_RANK] = {n->g->axis[0].extent};
  for (uint32_t k = 0; k < t.rank; k++) dim[k + 1] = t.dim[k];
  return sq_node_result(L->g, n, sq_type_make(L->g, t.dtype, t.rank + 1, dim), NULL);
}

// ---- scalar inputs as sizes --------------------------------------------------------------------

static sq_scalar_in *scalar_input(sq_low *L, const sq_value *v) {
  for (uint32_t k = 0; k < L->scalar_in.n; k++)
    if (L->scalar_in.v[k].v == v) return &L->scalar_in.v[k];
  return NULL;
}

static sq_dim promote(sq_low *L, sq_scalar_in *s) {
  if (!s->sym.i) {
    s->sym = sq_sym_new(L->g->dims, s->name, SQ_SYM_SIZE);
    sq_sym_at(L->g->dims, s->sym)->scalar = true;
    L->f->in_sym.v[s->arg] = s->sym;
    uint32_t site = sq_site_new(L->g, s->span, "`%s` is a size and must not be negative", s->name);
    sq_push(L->a, &L->f->requires_,
            (sq_require){sq_dim_const(L->g->dims, 0), sq_dim_sym(L->g->dims, s->sym), false, site});
  }
  return sq_dim_sym(L->g->dims, s->sym);
}

static sq_sx *size_tree_of(sq_low *L, const sq_value *v) {
  return v->id < L->size_tree.n ? L->size_tree.v[v->id] : NULL;
}

enum { MOST_PLACES = 1000 }; // of a size, as an expression of sizes

// `go` false: only asks whether it could be. Trees share parts: `left` says how many places may still be
// looked at.
static sq_dim tree_size_in(sq_low *L, const sq_sx *e, bool go, uint32_t *left) {
  sq_dims *ds = L->g->dims;
  sq_dim none = {0}, some = sq_dim_const(ds, 0);
  if (!*left) return none;
  --*left;
  switch (e->kind) {
  case SQ_SX_INT:
    return e->dtype == SQ_BOOL ? none : sq_dim_const(ds, e->i);
  case SQ_SX_DIM:
    return e->dim;
  case SQ_SX_READ: {
    if (e->n_pos) return none;
    sq_scalar_in *s = scalar_input(L, e->v);
    if (s) return go ? promote(L, s) : some;
    sq_sx *t = size_tree_of(L, e->v);
    return t ? tree_size_in(L, t, go, left) : none;
  }
  case SQ_SX_CAST:
    if (sq_is_float(e->dtype) || (e->dtype != SQ_I32 && e->dtype != SQ_I64)) return none;
    return tree_size_in(L, e->a[0], go, left);
  case SQ_SX_EWISE: {
    static const struct {
      sq_ewise ew;
      sq_dim (*make)(sq_dims *, sq_dim, sq_dim);
    } ops[] = {{SQ_EW_ADD, sq_dim_add}, {SQ_EW_SUB, sq_dim_sub},
               {SQ_EW_MUL, sq_dim_mul}, {SQ_EW_FLOORDIV, sq_dim_floordiv},
               {SQ_EW_MOD, sq_dim_mod}, {SQ_EW_MIN, sq_dim_min},
               {SQ_EW_MAX, sq_dim_max}};
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
      if (ops[k].ew != e->ew || sq_is_float(e->dtype)) continue;
      sq_dim a = tree_size_in(L, e->a[0], go, left);
      sq_dim b = a.i ? tree_size_in(L, e->a[1], go, left) : none;
      return b.i ? (go ? ops[k].make(ds, a, b) : some) : none;
    }
    return none;
  }
  case SQ_SX_FLOAT:
  case SQ_SX_IVAR:
  case SQ_SX_SELECT:
  case SQ_SX_REDUCE:
  case SQ_SX_AXIS:
    break;
  }
  return none;
}

static sq_dim tree_size(sq_low *L, const sq_sx *e, bool go) {
  uint32_t left = MOST_PLACES;
  return tree_size_in(L, e, go, &left);
}

bool sq_val_try_size(sq_low *L, const sq_val *v, sq_dim *out) {
  switch ((int)v->kind) {
  case SQ_V_DIM:
    *out = v->dim;
    return true;
  case SQ_V_TENSOR: {
    if (v->v->type.rank || sq_is_float(v->v->type.dtype)) return false;
    sq_scalar_in *s = scalar_input(L, v->v);
    if (s) {
      *out = promote(L, s);
      return true;
    }
    sq_sx *t = size_tree_of(L, v->v);
    if (!t || !tree_size(L, t, false).i) return false;
    *out = tree_size(L, t, true);
    return true;
  }
  case SQ_V_EX:
    if (v->ex->n_own || !tree_size(L, v->ex->root, false).i) return false;
    *out = tree_size(L, v->ex->root, true);
    return true;
  default:
    return false;
  }
}

// A scalar input that is no size yet stays a value.
static bool has_plain_input(sq_low *L, const sq_sx *e) {
  if (!e) return false;
  if (e->kind == SQ_SX_READ && !e->n_pos) {
    sq_scalar_in *s = scalar_input(L, e->v);
    if (s) return !s->sym.i;
    return has_plain_input(L, size_tree_of(L, e->v));
  }
  for (int k = 0; k < 3; k++)
    if (has_plain_input(L, e->a[k])) return true;
  return false;
}

bool sq_sx_size(sq_low *L, const sq_sx *e, sq_dim *out) {
  if (has_plain_input(L, e) || !tree_size(L, e, false).i) return false;
  *out = tree_size(L, e, true);
  return true;
}

sq_dim sq_val_size(sq_low *L, const sq_val *v, sq_span span, const char *what) {
  sq_dim d = {0};
  if (v->kind == SQ_V_POISON) return d;
  if (sq_val_try_size(L, v, &d)) return d;
  sq_diag *e;
  if (v->kind == SQ_V_FLOAT) {
    e = sq_low_error(L, span, "%s is not an integer: `%s` is %s", what, sq_low_text(L, span),
                     sq_val_text(L, v));
    if (strchr(sq_low_text(L, span), '/'))
      sq_hint(e, "`/` must be exact in a size; `//` rounds down");
  } else {
    e = sq_low_error(L, span, "%s must be a size, but `%s` is %s", what, sq_low_text(L, span),
                     sq_val_what(L, v));
    if (v->kind == SQ_V_TENSOR || v->kind == SQ_V_EX || v->kind == SQ_V_STATE)
      sq_hint(e, "a size is known when a call starts: config, extents of inputs, integer scalar "
                 "inputs");
  }
  return d;
}

// ---- trees -------------------------------------------------------------------------------------

static void ex_of_tensor(sq_low *L, sq_value *v, sq_span span, sq_ex *out) {
  uint32_t n = v->type.rank;
  *out = (sq_ex){.n_own = n, .own = n ? SQ_ARRAY(L->a, sq_ivar *, n) : NULL};
  sq_scalar_in *s = n ? NULL : scalar_input(L, v);
  if (s && s->sym.i) {
    out->root = sq_sx_dim(L, sq_dim_sym(L->g->dims, s->sym));
    return;
  }
  sq_sx *pos[SQ_MAX_RANK];
  for (uint32_t k = 0; k < n; k++) {
    out->own[k] = sq_ivar_new(L, NULL, span, v->type.dim[k]);
    pos[k] = sq_sx_ivar(L, out->own[k]);
  }
  out->root = sq_sx_read(L, v, n, pos, span);
}

bool sq_val_to_ex(sq_low *L, const sq_val *v, sq_span span, sq_ex *out) {
  *out = (sq_ex){0};
  int64_t i;
  switch (v->kind) {
  case SQ_V_DIM:
    if (v->real && !L->size_mode) {
      out->root = sq_dim_is_const(L->g->dims, v->dim, &i)
                      ? sq_sx_float(L, (double)i, L->g->float_type, true)
                      : sq_sx_cast(L, sq_sx_dim(L, v->dim), L->g->float_type, false);
    } else if (v->lit && sq_dim_is_const(L->g->dims, v->dim, &i)) {
      out->root = sq_sx_int(L, i, i == (int32_t)i ? SQ_I32 : SQ_I64, false, true);
    } else {
      out->root = sq_sx_dim(L, v->dim);
    }
    out->root->span = span;
    return true;
  case SQ_V_FLOAT:
    out->root = sq_sx_float(L, v->f, L->g->float_type, true);
    out->root->span = span;
    return true;
  case SQ_V_BOOL:
    out->root = sq_sx_int(L, v->i, SQ_BOOL, false, false);
    out->root->span = span;
    return true;
  case SQ_V_TENSOR:
    ex_of_tensor(L, v->v, span, out);
    return true;
  case SQ_V_EX:
    *out = sq_ex_fresh(L, v->ex);
    return true;
  case SQ_V_PARAM:
  case SQ_V_STATE: {
    sq_value *x = v->at.ix ? load_all(L, v, span) : sq_val_load(L, v, span);
    if (!x) return false;
    ex_of_tensor(L, x, span, out);
    if (v->at.ix) {
      sq_sx *at = sq_sx_cast(L, v->at.ix, SQ_I64, true);
      out->root = sq_sx_subst(L, out->root, 1, out->own, &at);
      out->own++;
      out->n_own--;
    }
    return true;
  }
  case SQ_V_POISON:
    return false;
  case SQ_V_NONE:
  case SQ_V_WORD:
  case SQ_V_STRING:
  case SQ_V_LIST:
  case SQ_V_TUPLE:
  case SQ_V_FN:
  case SQ_V_BUILTIN:
  case SQ_V_MODULE:
  case SQ_V_INST:
  case SQ_V_INSTS:
    break;
  }
  sq_diag *d = sq_low_error(L, span, "a number or array is needed here, but `%s` is %s",
                            sq_low_text(L, span), sq_val_what(L, v));
  if (v->kind == SQ_V_FN || v->kind == SQ_V_INST || v->kind == SQ_V_BUILTIN)
    sq_hint(d, "call it: `%s(...)`", sq_low_text(L, span));
  if (v->kind == SQ_V_INSTS) sq_hint(d, "choose one: `%s[i]`", sq_low_text(L, span));
  if (v->kind == SQ_V_TUPLE) sq_hint(d, "take a part of it: `%s.0`", sq_low_text(L, span));
  if (v->kind == SQ_V_LIST)
    sq_hint(d, "an array is written by its element, `[i < n: ...]`; of a list one item is taken, "
               "`l[0]`");
  return false;
}

bool sq_val_shape(sq_low *L, const sq_val *v, uint32_t *rank, sq_dim *dim, sq_dtype *dt) {
  sq_type t;
  switch ((int)v->kind) {
  case SQ_V_TENSOR:
    t = v->v->type;
    break;
  case SQ_V_PARAM:
    t = L->g->param.v[v->ref].type;
    break;
  case SQ_V_STATE:
    t = L->g->state.v[v->ref].type;
    break;
  case SQ_V_EX:
    *rank = v->ex->n_own;
    if (*rank > SQ_MAX_RANK) return false;
    for (uint32_t k = 0; k < *rank; k++) {
      sq_ivar_known(L, v->ex->own[k]);
      dim[k] = sq_ivar_root(v->ex->own[k])->extent;
    }
    *dt = v->ex->root->idx ? SQ_I32 : v->ex->root->dtype;
    return true;
  case SQ_V_DIM:
    *rank = 0;
    *dt = v->real ? L->g->float_type : SQ_I32;
    return true;
  case SQ_V_FLOAT:
    *rank = 0;
    *dt = L->g->float_type;
    return true;
  case SQ_V_BOOL:
    *rank = 0;
    *dt = SQ_BOOL;
    return true;
  default:
    return false;
  }
  *rank = t.rank;
  *dt = t.dtype;
  for (uint32_t k = 0; k < t.rank; k++) dim[k] = t.dim[k];
  return true;
}

// ---- computing now -----------------------------------------------------------------------------

static sq_val compute(sq_low *L, const sq_val *v, sq_span span, const char *name, bool keep_cheap) {
  sq_ex *e = v->ex;
  if (!has_block(L, span, "this")) return sq_poison();
  sq_ivars outer = {0}, all = {0};
  sq_sx_free(L, e->root, &all);
  for (uint32_t k = 0; k < all.n; k++) {
    bool own = false;
    for (uint32_t j = 0; j < e->n_own; j++) own |= sq_ivar_root(e->own[j]) == all.v[k];
    if (!own) sq_push(L->a, &outer, all.v[k]);
  }
  if (outer.n && keep_cheap && sq_sx_cheap(L, e->root)) return *v;
  const sq_guard_list *guards = L->guards;
  if (guards && !sq_needs_guards(L, e->root, NULL)) L->guards = NULL;
  for (const sq_guard_list *g = L->guards; g; g = g->next) {
    sq_ivars more = {0};
    sq_sx_free(L, g->cond, &more);
    for (uint32_t k = 0; k < more.n; k++) {
      bool have = false;
      for (uint32_t j = 0; j < outer.n; j++) have |= outer.v[j] == more.v[k];
      for (uint32_t j = 0; j < e->n_own; j++) have |= sq_ivar_root(e->own[j]) == more.v[k];
      if (!have) sq_push(L->a, &outer, more.v[k]);
    }
  }
  sq_ivars_sort(&outer);
  sq_ivars axes = {0};
  for (uint32_t k = 0; k < outer.n; k++) sq_push(L->a, &axes, outer.v[k]);
  for (uint32_t k = 0; k < e->n_own; k++) sq_push(L->a, &axes, sq_ivar_root(e->own[k]));
  sq_value *x = sq_emit_value(L, e->root, axes.n, axes.v, span, name);
  L->guards = guards;
  if (!axes.n && !sq_is_float(x->type.dtype) && tree_size(L, e->root, false).i) {
    while (L->size_tree.n <= x->id) sq_push(L->a, &L->size_tree, NULL);
    if (!scalar_input(L, x)) L->size_tree.v[x->id] = e->root;
  }
  if (!outer.n) return sq_val_tensor(x);
  sq_sx *pos[2 * SQ_MAX_RANK];
  sq_ivar *own[SQ_MAX_RANK];
  for (uint32_t k = 0; k < axes.n && k < 2 * SQ_MAX_RANK; k++) {
    sq_ivar *iv = axes.v[k];
    if (k >= outer.n) {
      iv = own[k - outer.n] = sq_ivar_new(L, iv->name, iv->span, iv->extent);
    }
    pos[k] = sq_sx_ivar(L, iv);
  }
  if (x->type.rank != axes.n) return sq_poison(); // too many axes, said before
  return sq_val_ex(L, sq_sx_read(L, x, axes.n, pos, span), e->n_own, own);
}

static sq_val settle(sq_low *L, const sq_val *v, sq_span span, const char *name, bool keep_cheap) {
  switch ((int)v->kind) {
  case SQ_V_EX:
    return compute(L, v, span, name, keep_cheap);
  case SQ_V_PARAM:
  case SQ_V_STATE: {
    if (!v->at.ix) return sq_val_tensor(sq_val_load(L, v, span));
    sq_ex e;
    if (!sq_val_to_ex(L, v, span, &e)) return sq_poison();
    sq_val x = sq_val_ex(L, e.root, e.n_own, e.own);
    return compute(L, &x, span, name, keep_cheap);
  }
  case SQ_V_TUPLE: {
    sq_val t = sq_val_tuple(L, v->n, v->item);
    for (uint32_t k = 0; k < v->n; k++) t.item[k] = settle(L, &v->item[k], span, name, keep_cheap);
    return t;
  }
  default:
    return *v;
  }
}

sq_val sq_val_settle(sq_low *L, const sq_val *v, sq_span span, const char *name) {
  return settle(L, v, span, name, false);
}
sq_val sq_val_bindable(sq_low *L, const sq_val *v, sq_span span, const char *name) {
  return settle(L, v, span, name, true);
}

sq_value *sq_val_value(sq_low *L, const sq_val *v, sq_span span, const char *name) {
  if (v->kind == SQ_V_TENSOR) return v->v;
  sq_ex e;
  if (!sq_val_to_ex(L, v, span, &e)) return NULL;
  if (!has_block(L, span, "this")) return NULL;
  for (uint32_t k = 0; k < e.n_own; k++)
    if (!sq_ivar_known(L, e.own[k])) return NULL;
  return sq_emit_value(L, e.root, e.n_own, e.own, span, name);
}
