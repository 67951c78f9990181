// Operations from trees: elementwise work and reductions as `generic`, writes, keyed reductions.
#include "frontend/lower.h"

sq_type sq_axes_type(sq_low *L, sq_dtype t, uint32_t n, sq_ivar *const *axis) {
  sq_dim dim[SQ_MAX_RANK];
  if (n > SQ_MAX_RANK) n = SQ_MAX_RANK;
  for (uint32_t k = 0; k < n; k++) {
    sq_ivar_known(L, axis[k]);
    dim[k] = sq_ivar_root(axis[k])->extent;
  }
  return sq_type_make(L->g, t, n, dim);
}

static bool in_list(uint32_t n, sq_ivar *const *axis, sq_ivar *v) {
  v = sq_ivar_root(v);
  for (uint32_t k = 0; k < n; k++)
    if (sq_ivar_root(axis[k]) == v) return true;
  return false;
}

// ---- keyed reductions --------------------------------------------------------------------------
// sum(i where at[i] == n) x[i], n an index bound outside: one pass over i that adds to place at[i].
// Where else n stands, it is at[i] too; elements whose key lies outside are left out before.

static bool reads_data(const sq_sx *e) {
  if (!e) return false;
  if (e->kind == SQ_SX_READ && e->n_pos) return true;
  if (e->kind == SQ_SX_REDUCE || e->kind == SQ_SX_AXIS) return true;
  for (int k = 0; k < 3; k++)
    if (reads_data(e->a[k])) return true;
  return false;
}

static sq_ivar *bare_index(sq_sx *e) {
  while (e->kind == SQ_SX_CAST && !sq_is_float(e->dtype) && e->dtype != SQ_BOOL &&
         e->a[0]->kind != SQ_SX_READ)
    e = e->a[0];
  return e->kind == SQ_SX_IVAR ? sq_ivar_root(e->iv) : NULL;
}

typedef struct keyed {
  uint32_t n;
  sq_ivar *index[SQ_MAX_RANK];
  sq_sx *key[SQ_MAX_RANK];
  uint32_t where[SQ_MAX_RANK];
} keyed;

static bool uses_any(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *v) {
  for (uint32_t k = 0; k < n; k++)
    if (sq_sx_uses(L, e, v[k])) return true;
  return false;
}

// An axis operator along v needs all of v at once: it must be possible to compute it before.
static bool runs_along(sq_low *L, sq_sx *e, const sq_ivar *v, const sq_ivars *red) {
  if (!e) return false;
  if (e->kind == SQ_SX_AXIS && sq_ivar_root(e->iv) == v && !sq_sx_goes_first(L, e, red))
    return true;
  bool found = runs_along(L, e->other, v, red);
  for (int k = 0; k < 3; k++) found |= runs_along(L, e->a[k], v, red);
  for (uint32_t k = 0; k < e->n_pos; k++) found |= runs_along(L, e->pos[k], v, red);
  for (uint32_t k = 0; k < e->n_where; k++) found |= runs_along(L, e->where[k], v, red);
  return found;
}

// Keys that hold no index of another key, so that one substitution does.
static bool independent(sq_low *L, const keyed *of, sq_sx *key, sq_ivar *v) {
  if (sq_sx_uses(L, key, v) || uses_any(L, key, of->n, of->index)) return false;
  for (uint32_t k = 0; k < of->n; k++)
    if (of->index[k] == v || sq_sx_uses(L, of->key[k], v)) return false;
  return true;
}

static void find_keys(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *axis, keyed *out) {
  sq_ivars red = {.v = e->red, .n = e->n_red};
  for (uint32_t w = 0; w < e->n_where && out->n < SQ_MAX_RANK; w++) {
    sq_sx *c = e->where[w];
    if (c->kind != SQ_SX_EWISE || c->ew != SQ_EW_EQ || sq_is_float(c->a[0]->dtype)) continue;
    for (int side = 0; side < 2; side++) {
      sq_ivar *v = bare_index(c->a[side]);
      sq_sx *key = c->a[!side];
      if (!v || !in_list(n, axis, v) || in_list(e->n_red, e->red, v)) continue;
      if (!reads_data(key) || !uses_any(L, key, e->n_red, e->red)) continue;
      if (!independent(L, out, key, v) || runs_along(L, e, v, &red)) continue;
      out->index[out->n] = v;
      out->key[out->n] = sq_sx_cast(L, key, SQ_I64, true);
      out->where[out->n++] = w;
      break;
    }
  }
}

static const sq_guard_list *add_domain(sq_low *L, sq_gen *G, const sq_guard_list *list, sq_sx *c,
                                       bool negated) {
  uint32_t s = sq_gen_scalar(L, G, c, list);
  if (negated) {
    sq_scalar no = {.kind = SQ_SC_EWISE,
                    .dtype = SQ_BOOL,
                    .ew = SQ_EW_NOT,
                    .a = {s, SQ_NO_SCALAR, SQ_NO_SCALAR},
                    .guard = SQ_NO_SCALAR,
                    .other = SQ_NO_SCALAR,
                    .site = SQ_NO_SITE};
    s = sq_scalar_add(L->g, G->k, no);
  }
  sq_push(L->a, &G->k->domain, s);
  return sq_guard_add(L, list, c, negated);
}

// Guards from outside, outermost first, then the conditions in the head.
static const sq_guard_list *domain_of(sq_low *L, sq_gen *G, const sq_guard_list *outer, sq_sx *e) {
  const sq_guard_list *stack[64], *list = NULL;
  uint32_t n = 0;
  for (; outer && n < 64; outer = outer->next) stack[n++] = outer;
  while (n-- > 0) list = add_domain(L, G, list, stack[n]->cond, stack[n]->negated);
  for (uint32_t k = 0; k < e->n_where; k++) list = add_domain(L, G, list, e->where[k], false);
  return list;
}

static bool is_key(const keyed *key, uint32_t w) {
  for (uint32_t k = 0; k < key->n; k++)
    if (key->where[k] == w) return true;
  return false;
}

static bool elsewhere(sq_low *L, sq_sx *e, const keyed *key, sq_ivar *v) {
  if (sq_sx_uses(L, e->a[0], v)) return true;
  for (uint32_t w = 0; w < e->n_where; w++)
    if (!is_key(key, w) && sq_sx_uses(L, e->where[w], v)) return true;
  return false;
}

static const sq_guard_list *inside(sq_low *L, sq_gen *G, const sq_guard_list *list, sq_sx *key,
                                   sq_dim extent) {
  sq_sx *low =
      sq_sx_ewise(L, SQ_EW_LE, sq_sx_dim(L, sq_dim_const(L->g->dims, 0)), key, SQ_BOOL, false);
  sq_sx *high = sq_sx_ewise(L, SQ_EW_LT, key, sq_sx_dim(L, extent), SQ_BOOL, false);
  return add_domain(L, G, add_domain(L, G, list, low, false), high, false);
}

// What does not use the keys comes first, then that they lie inside, then the rest.
static const sq_guard_list *keyed_domain(sq_low *L, sq_gen *G, sq_sx *e, const keyed *key,
                                         const sq_ivars *red) {
  const sq_guard_list *list = NULL;
  for (int use = 0; use < 2; use++) {
    for (uint32_t w = 0; w < e->n_where; w++) {
      if (is_key(key, w) || uses_any(L, e->where[w], key->n, key->index) != (use == 1)) continue;
      sq_sx *c = sq_sx_subst_first(L, e->where[w], key->n, key->index, key->key, red);
      list = add_domain(L, G, list, c, false);
    }
    for (uint32_t k = 0; k < key->n && !use; k++)
      if (elsewhere(L, e, key, key->index[k]))
        list = inside(L, G, list, key->key[k], key->index[k]->extent);
  }
  return list;
}

static sq_value *emit_keyed(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *axis, const keyed *key,
                            const char *name) {
  sq_ivar *all[2 * SQ_MAX_RANK];
  uint32_t m = 0;
  for (uint32_t k = 0; k < n; k++)
    if (!in_list(key->n, key->index, axis[k])) all[m++] = axis[k];
  for (uint32_t k = 0; k < e->n_red && m < 2 * SQ_MAX_RANK; k++) all[m++] = e->red[k];
  sq_type t = sq_axes_type(L, e->dtype, n, axis);
  sq_ivars red = {.v = e->red, .n = e->n_red};
  sq_sx *body = sq_sx_subst_first(L, e->a[0], key->n, key->index, key->key, &red);
  sq_gen G;
  sq_gen_start(L, &G, SQ_OP_GENERIC, e->span, 0, m, all);
  G.k->monoid = e->monoid;
  G.k->keyed = true;
  G.domain = keyed_domain(L, &G, e, key, &red);
  G.k->n_pos = n;
  G.k->pos = n ? SQ_ARRAY(L->a, uint32_t, n) : NULL;
  for (uint32_t k = 0; k < n; k++) {
    sq_sx *p = sq_sx_cast(L, sq_sx_ivar(L, axis[k]), SQ_I64, true);
    for (uint32_t j = 0; j < key->n; j++)
      if (key->index[j] == sq_ivar_root(axis[k])) p = key->key[j];
    G.k->pos[k] = sq_gen_scalar(L, &G, p, G.domain);
  }
  G.k->body = sq_gen_scalar(L, &G, body, G.domain);
  sq_gen_place(L, &G);
  return sq_node_result(L->g, G.node, t, name);
}

sq_value *sq_emit_reduce(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *axis,
                         const sq_guard_list *outer, const char *name) {
  for (uint32_t k = 0; k < e->n_red; k++) sq_ivar_known(L, e->red[k]);
  for (uint32_t k = 0; k < n; k++) sq_ivar_known(L, axis[k]);
  keyed key = {0};
  if (!outer) find_keys(L, e, n, axis, &key);
  if (key.n) return emit_keyed(L, e, n, axis, &key, name);
  sq_ivar *all[2 * SQ_MAX_RANK];
  uint32_t m = 0;
  for (uint32_t k = 0; k < n && m < 2 * SQ_MAX_RANK; k++) all[m++] = axis[k];
  for (uint32_t k = 0; k < e->n_red && m < 2 * SQ_MAX_RANK; k++) all[m++] = e->red[k];
  sq_type t = sq_axes_type(L, e->dtype, n, axis);
  sq_gen G;
  sq_gen_start(L, &G, SQ_OP_GENERIC, e->span, n, m - n, all);
  G.k->monoid = e->monoid;
  G.domain = domain_of(L, &G, outer, e);
  G.k->body = sq_gen_scalar(L, &G, e->a[0], G.domain);
  sq_gen_place(L, &G);
  return sq_node_result(L->g, G.node, t, name);
}

// ---- inner reductions --------------------------------------------------------------------------

static uint32_t order_of(const sq_ivars *order, const sq_ivar *v) {
  for (uint32_t k = 0; k < order->n; k++)
    if (sq_ivar_root(order->v[k]) == v) return k;
  return order->n + v->id;
}

static void sort_by(const sq_ivars *order, sq_ivars *v) {
  for (uint32_t k = 1; k < v->n; k++)
    for (uint32_t j = k; j > 0 && order_of(order, v->v[j]) < order_of(order, v->v[j - 1]); j--) {
      sq_ivar *t = v->v[j];
      v->v[j] = v->v[j - 1];
      v->v[j - 1] = t;
    }
}

static sq_sx *read_at(sq_low *L, sq_value *v, uint32_t n, sq_ivar *const *axis, sq_span span) {
  sq_sx *pos[2 * SQ_MAX_RANK];
  for (uint32_t k = 0; k < n; k++) pos[k] = sq_sx_ivar(L, axis[k]);
  return sq_sx_read(L, v, n, pos, span);
}

sq_sx *sq_emit_inner(sq_low *L, sq_sx *e, const sq_ivars *order, const sq_guard_list *guards) {
  if (e->made) return read_at(L, e->made, e->n_made, e->made_axis, e->span);
  sq_ivars f = {0};
  sq_sx_free(L, e, &f);
  bool guarded = guards && sq_needs_guards(L, e, NULL);
  if (guarded)
    for (const sq_guard_list *g = guards; g; g = g->next) {
      sq_ivars more = {0};
      sq_sx_free(L, g->cond, &more);
      for (uint32_t k = 0; k < more.n; k++)
        if (!in_list(f.n, f.v, more.v[k])) sq_push(L->a, &f, more.v[k]);
    }
  sort_by(order, &f);
  const sq_guard_list *outer = guarded ? guards : NULL;
  sq_value *v;
  if (e->kind == SQ_SX_REDUCE) {
    v = sq_emit_reduce(L, e, f.n, f.v, outer, NULL);
  } else if (e->kind == SQ_SX_AXIS) {
    v = sq_emit_axis(L, e, f.n, f.v, outer, NULL);
  } else { // any tree
    sq_gen G;
    sq_type t = sq_axes_type(L, e->dtype, f.n, f.v);
    sq_gen_start(L, &G, SQ_OP_GENERIC, e->span, f.n, 0, f.v);
    G.k->body = sq_gen_scalar(L, &G, e, outer);
    sq_gen_place(L, &G);
    v = sq_node_result(L->g, G.node, t, NULL);
  }
  if (!guarded) {
    e->made = v;
    e->n_made = f.n;
    e->made_axis = f.v;
  }
  return read_at(L, v, f.n, f.v, e->span);
}

// ---- whole values ------------------------------------------------------------------------------

static bool same_set(const sq_ivars *f, uint32_t n, sq_ivar *const *axis) {
  if (f->n != n) return false;
  for (uint32_t k = 0; k < f->n; k++)
    if (!in_list(n, axis, f->v[k])) return false;
  return true;
}

static bool is_whole_read(sq_low *L, const sq_sx *e, uint32_t n, sq_ivar *const *axis) {
  if (e->kind != SQ_SX_READ || e->n_pos != n) return false;
  for (uint32_t k = 0; k < n; k++) {
    sq_ivar *v = sq_ivar_root(axis[k]);
    if (e->pos[k]->kind != SQ_SX_IVAR || sq_ivar_root(e->pos[k]->iv) != v) return false;
    if (!v->extent.i || sq_prove_eq(L->g->dims, v->extent, e->v->type.dim[k]) != 1) return false;
  }
  return true;
}

// A name for `t % n` stays below n, for what is proved of reads at it.
static void note_range(sq_low *L, sq_value *v, sq_sx *root) {
  sq_dim lo, hi;
  if (v->type.dtype != SQ_I32 && v->type.dtype != SQ_I64) return;
  if (!sq_sx_bounds(L, root, &lo, &hi)) return;
  sq_range_note_set(L, v, lo, sq_dim_add(L->g->dims, hi, sq_dim_const(L->g->dims, 1)));
  L->range.v[v->id].data = true;
}

sq_value *sq_emit_value(sq_low *L, sq_sx *root, uint32_t n, sq_ivar *const *axis, sq_span span,
                        const char *name) {
  root = sq_sx_value_type(L, root);
  if (is_whole_read(L, root, n, axis)) return root->v;
  if ((root->kind == SQ_SX_REDUCE || root->kind == SQ_SX_AXIS) && !root->made && !L->guards) {
    sq_ivars f = {0};
    sq_sx_free(L, root, &f);
    if (same_set(&f, n, axis))
      return root->kind == SQ_SX_REDUCE ? sq_emit_reduce(L, root, n, axis, NULL, name)
                                        : sq_emit_axis(L, root, n, axis, NULL, name);
  }
  sq_type t = sq_axes_type(L, root->dtype, n, axis);
  sq_gen G;
  sq_gen_start(L, &G, SQ_OP_GENERIC, span, n, 0, axis);
  G.k->body = sq_gen_scalar(L, &G, root, L->guards);
  sq_gen_place(L, &G);
  sq_value *v = sq_node_result(L->g, G.node, t, name);
  if (!n) note_range(L, v, root);
  return v;
}

// ---- writes ------------------------------------------------------------------------------------

static void add_last(sq_low *L, sq_node *n, sq_value *v) {
  sq_value **in = SQ_ARRAY(L->a, sq_value *, n->n_in + 1);
  if (n->n_in) memcpy(in, n->in, n->n_in * sizeof *in);
  in[n->n_in++] = v;
  n->in = in;
}

sq_value *sq_emit_write(sq_low *L, const sq_write *w) {
  sq_value *instance = w->op == SQ_OP_UPDATE ? NULL : sq_at_value(L, w->at, w->span);
  sq_gen G;
  sq_gen_start(L, &G, w->op, w->span, w->n_axis, 0, w->axis);
  if (w->op == SQ_OP_UPDATE) sq_node_add_in(L->g, G.node, w->target);
  G.node->ref = w->ref;
  G.k->body = sq_gen_scalar(L, &G, w->body, NULL);
  if (!w->whole) {
    G.k->n_pos = w->type.rank;
    G.k->pos = SQ_ARRAY(L->a, uint32_t, w->type.rank + 1);
    for (uint32_t k = 0; k < w->type.rank; k++) {
      G.k->pos[k] = sq_gen_scalar(L, &G, sq_sx_cast(L, w->pos[k], SQ_I64, true), NULL);
      if (sq_write_needs_site(L, w->pos[k], w->type.dim[k], NULL, k, w->pos_span) &&
          G.k->pos_site == SQ_NO_SITE)
        G.k->pos_site = sq_site_new(L->g, w->pos_span, "index out of range: `%s`, axis %u",
                                    sq_low_text(L, w->pos_span), k);
    }
  }
  sq_gen_place(L, &G);
  if (instance) {
    add_last(L, G.node, instance);
    G.node->has_instance = true;
  }
  return w->op == SQ_OP_UPDATE ? sq_node_result(L->g, G.node, w->type, w->target->name) : NULL;
}
