// Reads: `x[i, 2 * j + 1, ids[k]]`, with fewer indices than axes, with `..`, with `else`.
#include "frontend/lower.h"

static sq_dots *find_dots(sq_scope *s) {
  for (; s && s->kind != SQ_SC_CALL && s->kind != SQ_SC_FILE; s = s->parent)
    if (s->dots) return s->dots;
  return NULL;
}

// ---- instances -------------------------------------------------------------

// `first + n` is not n alone, also where `first` happens to be 0.
static bool is_computed(const sq_expr *e) {
  while (e->kind == SQ_E_PAREN) e = e->arg[0];
  return e->kind == SQ_E_BINARY || e->kind == SQ_E_UNARY;
}

// The number as a tree: of a definition's indices, or of scalars.
static sq_sx *instance_index(sq_low *L, const sq_val *v, int64_t n, sq_span span) {
  sq_ex x;
  if (!sq_val_to_ex(L, v, span, &x)) return NULL;
  if (x.n_own || sq_is_float(x.root->dtype) || x.root->dtype == SQ_BOOL) {
    sq_low_error(L, span, "an instance is chosen by one integer, but `%s` is %s",
                 sq_low_text(L, span), sq_val_what(L, v));
    return NULL;
  }
  if (x.root->kind == SQ_SX_IVAR) sq_ivar_reads(L, x.root->iv, sq_dim_const(L->g->dims, n), span);
  return x.root;
}

static sq_val choose_instance(sq_low *L, sq_scope *s, const sq_val *v, const sq_expr *e) {
  const sq_insts *a = v->insts;
  if (e->n != 2) {
    sq_low_error(L, e->span, "an instance of `%s` is chosen by one index", a->name);
    return sq_poison();
  }
  sq_span span = e->arg[1]->span;
  sq_val at = sq_eval_size_expr(L, s, e->arg[1]);
  int64_t i;
  if (at.kind == SQ_V_POISON) return at;
  if (!a->n) {
    sq_diag *d = sq_low_error(L, e->span, "`%s` has no instances", a->name);
    sq_label(d, a->span, "declared here");
    return sq_poison();
  }
  sq_val r = {.kind = SQ_V_INST};
  if (sq_val_const_int(L, &at, &i)) {
    if (i < 0 || i >= a->n) {
      sq_low_error(L, span, "index %lld is outside `%s`, which has %lld instances", (long long)i,
                   a->name, (long long)a->n);
      return sq_poison();
    }
    r.inst = a->klass[a->klass_of ? a->klass_of[i] : 0];
    int64_t place = a->place_of ? a->place_of[i] : i;
    r.at = sq_at_combine(L, v->at, r.inst->n_index, (sq_at){.many = true, .c = place}, span);
    r.at.many = r.inst->many;
    return r;
  }
  if (a->n_class != 1) {
    sq_diag *d = sq_low_error(L, span,
                              "the instances of `%s` differ, so the index must be known at "
                              "compile time",
                              a->name);
    sq_label(d, a->span, "declared here");
    sq_hint(d, "use `unroll for`");
    return sq_poison();
  }
  if (!L->b) {
    sq_low_error(L, span, "the index must be known at compile time here");
    return sq_poison();
  }
  sq_sx *t = instance_index(L, &at, a->n, span);
  if (!t) return sq_poison();
  sq_ivars f = {0};
  sq_sx_free(L, t, &f);
  bool inside = sq_prove_inside(L, t, sq_dim_const(L->g->dims, a->n), L->guards) == SQ_PROVED;
  sq_at member = {.many = true, .ix = t};
  if (f.n && !inside) {
    sq_low_error(L, span, "`%s` has %lld instances; this index is not known to lie below", a->name,
                 (long long)a->n);
    return sq_poison();
  }
  if (!f.n) {
    member.ix = NULL;
    member.v = sq_emit_value(L, t, 0, NULL, span, NULL);
    t = sq_sx_read(L, member.v, 0, NULL, span);
  }
  sq_dim least, most;
  int64_t reached;
  if (!inside && !L->branch && !L->guards && sq_sx_bounds(L, t, &least, &most) &&
      sq_dim_is_const(L->g->dims, most, &reached) && reached >= a->n) {
    sq_diag *d = sq_low_error(L, span, "index `%s` reaches %lld, but `%s` has %lld instance%s",
                              sq_low_text(L, span), (long long)reached, a->name, (long long)a->n,
                              a->n == 1 ? "" : "s");
    sq_label(d, a->span, "declared here");
    return sq_poison();
  }
  if (!inside) {
    sq_sx *lo = sq_sx_binary(L, SQ_B_LE, sq_sx_int(L, 0, SQ_I32, false, true), t, span);
    sq_sx *hi = sq_sx_binary(L, SQ_B_LT, t, sq_sx_int(L, a->n, SQ_I32, false, true), span);
    sq_value *ok = sq_emit_value(L, sq_sx_binary(L, SQ_B_AND, lo, hi, span), 0, NULL, span, NULL);
    sq_node *n = sq_node_new(L->g, L->b, SQ_OP_CHECK, span, 1, &ok);
    n->site = sq_site_new(L->g, span, "`%s` has no instance of this number", a->name);
  }
  r.inst = a->klass[0];
  r.at = v->at.many ? sq_at_combine(L, v->at, a->n, member, span) : member;
  r.at.many = true;
  return r;
}

// ---- arrays ------------------------------------------------------------------------------------

static bool has_axis_op(const sq_sx *e) {
  if (!e) return false;
  if (e->kind == SQ_SX_AXIS) return true;
  for (int k = 0; k < 3; k++)
    if (has_axis_op(e->a[k])) return true;
  for (uint32_t k = 0; k < e->n_pos; k++)
    if (has_axis_op(e->pos[k])) return true;
  return false;
}

// The tree with its first axes at these positions.
static bool at_positions(sq_low *L, sq_ex *x, uint32_t n, sq_sx *const *pos, sq_span span) {
  bool compute = has_axis_op(x->root), plain = true;
  for (uint32_t k = 0; k < n; k++) {
    sq_ivar *own = sq_ivar_root(x->own[k]);
    bool is_index = pos[k]->kind == SQ_SX_IVAR && !sq_ivar_root(pos[k]->iv)->fixed;
    plain &= is_index;
    if (!is_index && sq_prove_inside(L, pos[k], own->extent, L->guards) != SQ_PROVED)
      compute = true;
  }
  if (!plain && !sq_sx_cheap(L, x->root)) compute = true;
  bool is_read = x->root->kind == SQ_SX_READ && x->root->n_pos >= x->n_own && !x->root->other;
  for (uint32_t k = 0; is_read && k < x->n_own; k++) { // the axes of an array as it is
    sq_ivar *own = sq_ivar_root(x->own[k]);
    uint32_t at = 0, seen = 0;
    for (uint32_t p = 0; p < x->root->n_pos; p++)
      if (x->root->pos[p]->kind == SQ_SX_IVAR && sq_ivar_root(x->root->pos[p]->iv) == own) {
        at = p;
        seen++;
      }
    is_read = seen == 1 && sq_dim_same(x->root->v->type.dim[at], own->extent);
  }
  if (compute && !is_read && n) {
    if (!L->b) return false;
    sq_val v = sq_val_ex(L, x->root, x->n_own, x->own);
    v = sq_val_settle(L, &v, span, NULL);
    if (!sq_val_to_ex(L, &v, span, x)) return false;
  }
  x->root = sq_sx_subst(L, x->root, n, x->own, pos);
  if (x->root->kind == SQ_SX_READ && n) { // messages show the whole read
    sq_sx *r = SQ_NEW(L->a, sq_sx);
    *r = *x->root;
    r->span = span;
    r->memo_gen = 0;
    x->root = r;
  }
  if (n) x->own += n;
  x->n_own -= n;
  return true;
}

static sq_sx *position(sq_low *L, sq_scope *s, const sq_expr *e) {
  if (e->kind == SQ_E_NAME && !sq_lookup(L, s, e->name, NULL) && !sq_builtin_find(e->name)) {
    sq_diag *d = sq_unknown_name(L, s, e->span, e->name, "index");
    if (!d->hints.n)
      sq_hint(d,
              "an index is bound on the left (`y[%s] = ...`), by a reduction (`sum(%s) ...`) or "
              "by a loop",
              e->name, e->name);
    return NULL;
  }
  L->size_mode++;
  sq_val v = sq_eval_expr(L, s, e);
  sq_ex x = {0};
  bool ok = v.kind != SQ_V_POISON && sq_val_to_ex(L, &v, e->span, &x);
  L->size_mode--;
  if (!ok) return NULL;
  if (x.n_own || sq_is_float(x.root->dtype) || x.root->dtype == SQ_BOOL) {
    sq_diag *d = sq_low_error(L, e->span, "an index must be one integer, but `%s` is %s",
                              sq_low_text(L, e->span), sq_val_what(L, &v));
    if (x.n_own) sq_hint(d, "index it too: `%s[n]`", sq_low_text(L, e->span));
    if (!x.n_own && x.root->dtype == SQ_BOOL)
      sq_hint(d, "convert it: `i32(%s)`", sq_low_text(L, e->span));
    if (!x.n_own && sq_is_float(x.root->dtype))
      sq_hint(d, "convert it: `i32(%s)`; `//` divides integers", sq_low_text(L, e->span));
    return NULL;
  }
  return sq_sx_cast(L, x.root, SQ_I64, true);
}

// The value after `else`, of its own type.
static sq_sx *single_value(sq_low *L, sq_scope *s, const sq_expr *e) {
  uint32_t mode = L->size_mode;
  sq_val v = sq_eval_expr(L, s, e);
  sq_ex x;
  L->size_mode = mode;
  if (v.kind == SQ_V_POISON || !sq_val_to_ex(L, &v, e->span, &x)) return NULL;
  if (!x.n_own) return x.root;
  sq_low_error(L, e->span, "the value after `else` must be single, but `%s` is %s",
               sq_low_text(L, e->span), sq_val_what(L, &v));
  return NULL;
}

static sq_sx *other_value(sq_low *L, sq_scope *s, const sq_expr *e, sq_dtype t) {
  sq_sx *x = single_value(L, s, e);
  if (!x) return NULL;
  sq_dtype from = x->idx ? SQ_I32 : x->dtype;
  if (from != t && !x->lit && !(sq_is_float(t) && !sq_is_float(from))) {
    sq_low_error(L, e->span, "the value after `else` is %s, what is read is %s",
                 sq_dtype_table[from].name, sq_dtype_table[t].name);
    return NULL;
  }
  if (x->lit && sq_is_float(from) && !sq_is_float(t)) {
    sq_low_error(L, e->span, "the value after `else` is a float, what is read is %s",
                 sq_dtype_table[t].name);
    return NULL;
  }
  return sq_sx_cast(L, x, t, false);
}

// ---- lists ------------------------------------------------------------------------------------

// Items by positions: constants, or integers of the run that choose by halves.
typedef struct item_read {
  const sq_expr *e; // the read; arg[k + 1] is position k
  sq_sx **pos;
  sq_sx *other; // the value outside, or NULL
} item_read;

static sq_sx *item_at(sq_low *L, const item_read *r, const sq_val *v, uint32_t k);

static sq_sx *item_between(sq_low *L, const item_read *r, const sq_val *list, uint32_t k,
                           uint32_t lo, uint32_t hi) {
  if (hi - lo == 1) return item_at(L, r, &list->item[lo], k + 1);
  uint32_t mid = lo + (hi - lo) / 2;
  sq_span span = r->e->arg[k + 1]->span;
  sq_sx *first = sq_sx_binary(L, SQ_B_LT, r->pos[k], sq_sx_int(L, mid, SQ_I64, true, false), span);
  sq_sx *a = item_between(L, r, list, k, lo, mid), *b = item_between(L, r, list, k, mid, hi);
  if (!first || !a || !b) return NULL;
  sq_sx_promote(L, &a, &b);
  return sq_sx_select(L, first, a, b);
}

static sq_sx *item_at(sq_low *L, const item_read *r, const sq_val *v, uint32_t k) {
  sq_ex x;
  if (k + 1 == r->e->n && v->kind == SQ_V_LIST) {
    sq_diag *d = sq_low_error(L, r->e->span, "`%s` is a list that is not known at compile time",
                              sq_low_text(L, r->e->span));
    sq_hint(d, "`unroll for` has an index that is; of nested lists a number is read at once: "
               "`l[i, j]`");
    return NULL;
  }
  if (k + 1 == r->e->n) {
    if (!sq_val_to_ex(L, v, r->e->span, &x)) return NULL;
    return sq_sx_value_type(L, sq_sx_cast(L, x.root, x.root->dtype, x.root->idx));
  }
  if (v->kind != SQ_V_LIST) {
    sq_low_error(L, r->e->span, "`%s` has more indices than the list has levels",
                 sq_low_text(L, r->e->span));
    return NULL;
  }
  sq_dim n = sq_dim_const(L->g->dims, v->n);
  sq_span span = r->e->arg[k + 1]->span;
  if (r->pos[k]->kind == SQ_SX_IVAR && !r->other) sq_ivar_reads(L, r->pos[k]->iv, n, span);
  bool inside = v->n && sq_prove_inside(L, r->pos[k], n, L->guards) == SQ_PROVED;
  if (!inside && !r->other) {
    sq_diag *d = sq_low_error(L, span, "the list has %u item%s; `%s` is not known to lie below",
                              v->n, v->n == 1 ? "" : "s", sq_low_text(L, span));
    sq_hint(d, "`%s else 0` gives a value to what lies outside", sq_low_text(L, r->e->span));
    return NULL;
  }
  if (!v->n) return r->other;
  sq_sx *item = item_between(L, r, v, k, 0, v->n), *other = r->other;
  if (!item || inside) return item;
  sq_sx *lo = sq_sx_binary(L, SQ_B_LE, sq_sx_int(L, 0, SQ_I64, true, false), r->pos[k], span);
  sq_sx *hi = sq_sx_binary(L, SQ_B_LT, r->pos[k], sq_sx_dim(L, n), span);
  sq_sx_promote(L, &item, &other);
  return sq_sx_select(L, sq_sx_binary(L, SQ_B_AND, lo, hi, span), item, other);
}

static sq_val list_item(sq_low *L, sq_scope *s, const sq_val *list, const sq_expr *e,
                        const sq_expr *other) {
  item_read r = {.e = e, .pos = SQ_ARRAY(L->a, sq_sx *, e->n)};
  const sq_val *v = list;
  for (uint32_t k = 0; k + 1 < e->n; k++) {
    r.pos[k] = position(L, s, e->arg[k + 1]);
    if (!r.pos[k]) return sq_poison();
    if (v && (v->kind != SQ_V_LIST || r.pos[k]->kind != SQ_SX_INT)) v = NULL;
    if (!v) continue;
    int64_t i = r.pos[k]->i;
    bool inside = 0 <= i && i < v->n;
    if (!inside && other) return sq_eval_expr(L, s, other);
    if (!inside) {
      sq_low_error(L, e->arg[k + 1]->span, "index %lld is outside the list of %u", (long long)i,
                   v->n);
      return sq_poison();
    }
    v = &v->item[i];
  }
  if (v) return *v; // known when the model is compiled
  if (other && !(r.other = single_value(L, s, other))) return sq_poison();
  if (r.other) r.other = sq_sx_value_type(L, r.other);
  sq_sx *item = item_at(L, &r, list, 0);
  return item ? sq_val_ex(L, item, 0, NULL) : sq_poison();
}

// ---- arrays ------------------------------------------------------------------------------------

static sq_val index_array(sq_low *L, sq_scope *s, const sq_val *base, const sq_expr *e,
                          const sq_expr *other) {
  sq_ex x;
  if (!sq_val_to_ex(L, base, e->arg[0]->span, &x)) return sq_poison();
  uint32_t n = e->n - 1, rank = x.n_own;
  int32_t dots_at = -1;
  for (uint32_t k = 0; k < n; k++)
    if (e->arg[k + 1]->kind == SQ_E_DOTS) {
      if (dots_at >= 0) {
        sq_low_error(L, e->arg[k + 1]->span, "`..` stands once in a list of indices");
        return sq_poison();
      }
      dots_at = (int32_t)k;
    }
  uint32_t given = n - (dots_at >= 0);
  if (given > rank) {
    sq_diag *d =
        sq_low_error(L, e->span, "`%s` has %u ax%s, but %u ind%s", sq_low_text(L, e->arg[0]->span),
                     rank, rank == 1 ? "is" : "es", given, given == 1 ? "ex" : "ices");
    sq_label(d, e->arg[0]->span, "%s", sq_val_what(L, base));
    return sq_poison();
  }
  sq_dots *dots = dots_at >= 0 ? find_dots(s) : NULL;
  uint32_t n_dots = dots_at >= 0 ? rank - given : 0;
  if (dots && !dots->known) {
    dots->known = true;
    dots->n = n_dots;
    dots->iv = SQ_ARRAY(L->a, sq_ivar *, n_dots + 1);
    for (uint32_t k = 0; k < n_dots; k++)
      dots->iv[k] = sq_ivar_new(L, NULL, e->arg[dots_at + 1]->span, (sq_dim){0});
  } else if (dots && dots->n != n_dots) {
    sq_diag *d =
        sq_low_error(L, e->span, "`..` stands for %u axes here and for %u before", n_dots, dots->n);
    sq_label(d, dots->span, "bound here");
    return sq_poison();
  }
  // The axes in order: positions, and own axes for an unbound `..` and what is left.
  sq_sx *pos[SQ_MAX_RANK];
  sq_ivar *left[SQ_MAX_RANK];
  uint32_t axis = 0, n_left = 0;
  bool ok = true;
  for (uint32_t k = 0; k < n; k++) {
    if ((int32_t)k == dots_at) {
      for (uint32_t j = 0; j < n_dots; j++, axis++) {
        sq_ivar *own = sq_ivar_root(x.own[axis]);
        sq_ivar *v = dots ? dots->iv[j] : sq_ivar_new(L, NULL, own->span, own->extent);
        if (dots) sq_ivar_reads(L, v, own->extent, e->span);
        if (!dots) left[n_left++] = v;
        pos[axis] = sq_sx_ivar(L, v);
      }
      continue;
    }
    pos[axis] = position(L, s, e->arg[k + 1]);
    ok &= pos[axis] != NULL;
    if (pos[axis] && pos[axis]->kind == SQ_SX_IVAR && !other && !is_computed(e->arg[k + 1]))
      sq_ivar_reads(L, pos[axis]->iv, sq_ivar_root(x.own[axis])->extent, e->span);
    if (pos[axis] && pos[axis]->kind == SQ_SX_IVAR && other)
      sq_ivar_root(pos[axis]->iv)->guarded = true;
    axis++;
  }
  if (!ok) return sq_poison();
  if (!other) {
    if (!at_positions(L, &x, axis, pos, e->span)) return sq_poison();
    for (uint32_t k = 0; k < x.n_own; k++) left[n_left++] = x.own[k];
    return sq_val_ex(L, x.root, n_left, left);
  }
  // With `else` the array must stand by itself.
  bool plain = x.root->kind == SQ_SX_READ && x.root->n_pos == rank && !x.root->other;
  for (uint32_t k = 0; plain && k < rank; k++)
    plain = x.root->pos[k]->kind == SQ_SX_IVAR &&
            sq_ivar_root(x.root->pos[k]->iv) == sq_ivar_root(x.own[k]) &&
            sq_dim_same(x.root->v->type.dim[k], sq_ivar_root(x.own[k])->extent);
  if (!plain) {
    sq_val v = sq_val_ex(L, x.root, x.n_own, x.own);
    v = sq_val_settle(L, &v, e->arg[0]->span, NULL);
    if (!sq_val_to_ex(L, &v, e->arg[0]->span, &x)) return sq_poison();
  }
  sq_sx *r = sq_sx_subst(L, x.root, axis, x.own, pos);
  sq_sx *o = other_value(L, s, other, r->dtype);
  if (!o) return sq_poison();
  sq_sx *c = SQ_NEW(L->a, sq_sx);
  *c = *r;
  c->other = o;
  c->span = e->span;
  c->memo_gen = 0;
  for (uint32_t k = axis; k < x.n_own; k++) left[n_left++] = x.own[k];
  return sq_val_ex(L, c, n_left, left);
}

static sq_val index_value(sq_low *L, sq_scope *s, const sq_val *base, const sq_expr *e,
                          const sq_expr *other) {
  switch ((int)base->kind) {
  case SQ_V_POISON:
    return *base;
  case SQ_V_LIST:
    return list_item(L, s, base, e, other);
  case SQ_V_INSTS:
    return choose_instance(L, s, base, e);
  case SQ_V_TUPLE: {
    sq_val r = sq_val_tuple(L, base->n, base->item);
    for (uint32_t k = 0; k < base->n; k++) r.item[k] = index_value(L, s, &base->item[k], e, other);
    return r;
  }
  case SQ_V_TENSOR:
  case SQ_V_EX:
  case SQ_V_PARAM:
  case SQ_V_STATE:
    return index_array(L, s, base, e, other);
  default: {
    bool number = base->kind == SQ_V_DIM || base->kind == SQ_V_FLOAT || base->kind == SQ_V_BOOL;
    if (number && e->n == 2 && e->arg[1]->kind == SQ_E_DOTS) // `..` stands for no axes
      return index_array(L, s, base, e, other);
    sq_diag *d = sq_low_error(L, e->span, "`%s` is %s and cannot be indexed",
                              sq_low_text(L, e->arg[0]->span), sq_val_what(L, base));
    if (base->kind == SQ_V_INST) sq_hint(d, "it is not an array of instances");
    return sq_poison();
  }
  }
}

sq_val sq_eval_index(sq_low *L, sq_scope *s, const sq_expr *e, const sq_expr *other) {
  sq_val base = sq_eval_expr(L, s, e->arg[0]);
  return index_value(L, s, &base, e, other);
}
