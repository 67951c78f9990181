// `for`, `while`, `if`, `scan`: regions with carried values, or text repeated at compile time.
#include "frontend/lower.h"

enum { MAX_UNROLL = 65536 };

// ---- carried names -----------------------------------------------------------------------------

typedef struct carried {
  uint32_t n;
  const char **name;
  sq_span *span;  // where rebound
  sq_span *first; // where bound before
  sq_val *like;
  SQ_VEC(const char *) leaf; // names of the values carried: of parts of a tree "u.0", "u.1"
  sq_carry_values in;
} carried;

static bool find_carried(sq_low *L, sq_scope *s, const sq_stmts *body, carried *c) {
  sq_carry_names names = {0};
  sq_carry_assigned(L, body, &names);
  c->name = SQ_ARRAY(L->a, const char *, names.n + 1);
  c->span = SQ_ARRAY(L->a, sq_span, names.n + 1);
  c->first = SQ_ARRAY(L->a, sq_span, names.n + 1);
  c->like = SQ_ARRAY(L->a, sq_val, names.n + 1);
  bool ok = true;
  for (uint32_t k = 0; k < names.n; k++) {
    sq_val v;
    if (!sq_carry_local(s, names.v[k].name, &v)) continue;
    if (v.kind == SQ_V_POISON) {
      ok = false;
      continue;
    }
    sq_bind *b = sq_lookup(L, s, names.v[k].name, NULL);
    c->name[c->n] = names.v[k].name;
    c->span[c->n] = names.v[k].span;
    c->first[c->n] = b ? b->span : names.v[k].span;
    c->like[c->n++] = v;
  }
  return ok;
}

static bool flatten_carried(sq_low *L, carried *c) {
  for (uint32_t k = 0; k < c->n; k++) {
    uint32_t from = c->in.n, at = 0;
    if (!sq_carry_flatten(L, &c->like[k], c->first[k], c->name[k], &c->in)) return false;
    c->like[k] = sq_carry_rebuild(L, &c->like[k], c->in.v + from, &at);
    for (uint32_t j = from; j < c->in.n; j++)
      sq_push(L->a, &c->leaf,
              c->in.n == from + 1 ? c->name[k] : sq_arena_fmt(L->a, "%s.%u", c->name[k], j - from));
  }
  return true;
}

static void bind_carried(sq_low *L, sq_scope *s, const carried *c, sq_value *const *leaf) {
  uint32_t at = 0;
  for (uint32_t k = 0; k < c->n; k++) {
    sq_val v = sq_carry_rebuild(L, &c->like[k], leaf, &at);
    sq_bind_add(L, s, c->name[k], SQ_B_LOCAL, c->first[k], v);
  }
}

static sq_value **region_args(sq_low *L, sq_block *b, const carried *c) {
  sq_value **v = SQ_ARRAY(L->a, sq_value *, c->in.n + 1);
  for (uint32_t k = 0; k < c->in.n; k++) v[k] = sq_block_arg(b, c->in.v[k]->type, c->leaf.v[k]);
  return v;
}

static bool yield_carried(sq_low *L, sq_scope *s, const carried *c, sq_carry_values *out) {
  bool ok = true;
  for (uint32_t k = 0; k < c->n; k++) {
    sq_bind *b = sq_lookup_here(s, c->name[k]);
    sq_val v = sq_carry_convert(L, &b->val, &c->like[k], b->span, c->first[k], c->name[k], false);
    ok &= v.kind != SQ_V_POISON && sq_carry_flatten(L, &v, b->span, c->name[k], out);
  }
  return ok;
}

static void finish_block(sq_low *L, const sq_carry_values *v, sq_span span) {
  sq_node_new(L->g, L->b, SQ_OP_YIELD, span, v->n, v->v);
}

static void results(sq_low *L, sq_node *n, sq_scope *s, const carried *c) {
  sq_value **out = SQ_ARRAY(L->a, sq_value *, c->in.n + 1);
  for (uint32_t k = 0; k < c->in.n; k++)
    out[k] = sq_node_result(L->g, n, c->in.v[k]->type, c->leaf.v[k]);
  bind_carried(L, s, c, out);
}

// What a scan binds, when its body was not looked at.
static void poison_scan(sq_low *L, sq_scope *s, const sq_stmt *st) {
  sq_carry_names names = {0};
  sq_stmts one = {0};
  sq_push(L->a, &one, (sq_stmt *)st);
  sq_carry_assigned(L, &one, &names);
  for (uint32_t k = 0; k < names.n; k++)
    sq_bind_add(L, s, names.v[k].name, SQ_B_LOCAL, names.v[k].span, sq_poison());
}

static void poison_carried(sq_low *L, sq_scope *s, const carried *c) {
  for (uint32_t k = 0; k < c->n; k++)
    sq_bind_add(L, s, c->name[k], SQ_B_LOCAL, c->first[k], sq_poison());
}

// ---- statements inside functions that are mapped over an index ---------------------------------
// Locals that depend on free indices: the statement becomes the body of a `map` over these.

static void free_locals(sq_low *L, const sq_val *v, sq_ivars *out) {
  if (v->kind == SQ_V_TUPLE) {
    for (uint32_t k = 0; k < v->n; k++) free_locals(L, &v->item[k], out);
    return;
  }
  if (v->kind != SQ_V_EX) return;
  sq_ivars f = {0};
  sq_sx_free(L, v->ex->root, &f);
  for (uint32_t k = 0; k < f.n; k++) {
    bool skip = false;
    for (uint32_t j = 0; j < v->ex->n_own; j++) skip |= sq_ivar_root(v->ex->own[j]) == f.v[k];
    for (uint32_t j = 0; j < out->n; j++) skip |= out->v[j] == f.v[k];
    if (!skip) sq_push(L->a, out, f.v[k]);
  }
}

static sq_val at_point(sq_low *L, const sq_val *v, const sq_ivars *f, sq_sx *const *at,
                       sq_span span) {
  if (v->kind == SQ_V_TUPLE) {
    sq_val r = sq_val_tuple(L, v->n, v->item);
    for (uint32_t k = 0; k < v->n; k++) r.item[k] = at_point(L, &v->item[k], f, at, span);
    return r;
  }
  if (v->kind != SQ_V_EX) return *v;
  sq_ex e = sq_ex_fresh(L, v->ex);
  sq_val x = sq_val_ex(L, sq_sx_subst(L, e.root, f->n, f->v, at), e.n_own, e.own);
  return sq_val_settle(L, &x, span, NULL);
}

static sq_val spread(sq_low *L, const sq_val *v, const sq_ivars *f, sq_span span) {
  if (v->kind == SQ_V_TUPLE) {
    sq_val r = sq_val_tuple(L, v->n, v->item);
    for (uint32_t k = 0; k < v->n; k++) r.item[k] = spread(L, &v->item[k], f, span);
    return r;
  }
  sq_sx *pos[2 * SQ_MAX_RANK];
  sq_ivar *own[SQ_MAX_RANK];
  uint32_t rank = v->v->type.rank;
  for (uint32_t k = 0; k < rank; k++) {
    if (k >= f->n) own[k - f->n] = sq_ivar_new(L, NULL, span, v->v->type.dim[k]);
    pos[k] = sq_sx_ivar(L, k < f->n ? f->v[k] : own[k - f->n]);
  }
  return sq_val_ex(L, sq_sx_read(L, v->v, rank, pos, span), rank - f->n, own);
}

// Whether the statement was lowered so.
static bool lower_mapped(sq_low *L, sq_scope *s, const sq_stmt *st,
                         void (*fn)(sq_low *L, sq_scope *s, const sq_stmt *st)) {
  sq_ivars f = {0};
  SQ_VEC(const char *) seen = {0};
  for (sq_scope *p = s; p; p = p->parent) {
    for (uint32_t k = 0; k < p->bind.n; k++) {
      bool shadowed = false;
      for (uint32_t j = 0; j < seen.n; j++) shadowed |= seen.v[j] == p->bind.v[k].name;
      if (!shadowed && p->bind.v[k].kind == SQ_B_LOCAL) free_locals(L, &p->bind.v[k].val, &f);
      if (!shadowed) sq_push(L->a, &seen, p->bind.v[k].name);
    }
    if (p->kind == SQ_SC_CALL || p->kind == SQ_SC_INST || p->kind == SQ_SC_FILE) break;
  }
  if (!f.n) return false;
  sq_ivars_sort(&f);
  if (f.n > SQ_MAX_RANK) return false;
  sq_node *n = sq_node_new(L->g, L->b, SQ_OP_MAP, st->span, 0, NULL);
  n->g = sq_generic_new(L->g, f.n, 0);
  sq_block *outer = L->b, *body = sq_node_region(L->g, n, L->f);
  sq_sx **at = SQ_ARRAY(L->a, sq_sx *, f.n);
  for (uint32_t k = 0; k < f.n; k++) {
    sq_ivar_known(L, f.v[k]);
    n->g->axis[k] = (sq_axis){f.v[k]->extent, f.v[k]->name};
    sq_value *a = sq_block_arg(body, sq_type_scalar(SQ_I32), f.v[k]->name);
    sq_range_note_set(L, a, sq_dim_const(L->g->dims, 0), f.v[k]->extent);
    at[k] = sq_sx_read(L, a, 0, NULL, st->span);
  }
  const sq_guard_list *guards = L->guards, *branch = L->branch;
  L->b = body;
  L->guards = NULL;
  L->conditional++;
  sq_scope *inner = sq_scope_new(L, SQ_SC_BLOCK, s);
  for (sq_scope *p = s; p; p = p->parent) {
    for (uint32_t k = 0; k < p->bind.n; k++) {
      sq_bind *b = &p->bind.v[k];
      if (b->kind != SQ_B_LOCAL || sq_lookup_here(inner, b->name)) continue;
      sq_ivars own = {0};
      free_locals(L, &b->val, &own);
      if (own.n)
        sq_bind_add(L, inner, b->name, SQ_B_LOCAL, b->span, at_point(L, &b->val, &f, at, b->span));
    }
    if (p->kind == SQ_SC_CALL || p->kind == SQ_SC_INST || p->kind == SQ_SC_FILE) break;
  }
  sq_scope *work = sq_scope_new(L, SQ_SC_BLOCK, inner);
  fn(L, work, st);
  sq_carry_values out = {0};
  uint32_t *n_leaf = SQ_ARRAY(L->a, uint32_t, work->bind.n + 1);
  for (uint32_t k = 0; k < work->bind.n; k++) {
    sq_bind *b = &work->bind.v[k];
    uint32_t from = out.n;
    if (b->val.kind != SQ_V_POISON && b->kind == SQ_B_LOCAL &&
        !sq_carry_flatten(L, &b->val, b->span, b->name, &out))
      b->val = sq_poison();
    n_leaf[k] = out.n - from;
  }
  finish_block(L, &out, st->span);
  L->conditional--;
  L->b = outer;
  L->guards = guards;
  L->branch = branch;
  sq_value **res = SQ_ARRAY(L->a, sq_value *, out.n + 1);
  for (uint32_t k = 0; k < out.n; k++) {
    sq_dim dim[2 * SQ_MAX_RANK];
    sq_type t = out.v[k]->type;
    if (t.rank + f.n > SQ_MAX_RANK) {
      sq_low_error(L, st->span, "%u axes are more than the %u that are possible", t.rank + f.n,
                   SQ_MAX_RANK);
      t.rank = 0;
    }
    for (uint32_t j = 0; j < f.n; j++) dim[j] = f.v[j]->extent;
    for (uint32_t j = 0; j < t.rank; j++) dim[f.n + j] = t.dim[j];
    res[k] = sq_node_result(L->g, n, sq_type_make(L->g, t.dtype, f.n + t.rank, dim), NULL);
  }
  uint32_t leaf = 0;
  for (uint32_t k = 0; k < work->bind.n; k++) {
    sq_bind *b = &work->bind.v[k];
    sq_val v = b->val;
    if (v.kind != SQ_V_POISON && b->kind == SQ_B_LOCAL) {
      v = sq_carry_rebuild(L, &v, res, &leaf);
      v = spread(L, &v, &f, b->span);
    }
    sq_bind_add(L, s, b->name, SQ_B_LOCAL, b->span, v);
  }
  return true;
}

// An extent from outside that the body reads as a size and changes later, for the next turn.
static void grown_in_loop(sq_low *L, sq_scope *s, uint32_t start) {
  for (; s && s->kind != SQ_SC_INST && s->kind != SQ_SC_FILE; s = s->parent)
    for (uint32_t k = 0; k < s->bind.n; k++) {
      sq_bind *b = &s->bind.v[k];
      if (!b->now || b->now->id >= start || b->read < start) continue;
      if (!sq_low_has_grown(L, b->val.dim, start)) continue;
      sq_diag *d =
          sq_low_error(L, b->span, "`%s` is an extent of a state that a loop makes grow", b->name);
      sq_hint(d, "bind it inside the loop: there it is the extent of that turn");
      b->now = NULL;
    }
}

// ---- for ---------------------------------------------------------------------------------------

// After a mistake some turns are missing: what the body binds has no value that can be spoken of.
static void poison_assigned(sq_low *L, sq_scope *s, const sq_stmts *body) {
  sq_carry_names names = {0};
  sq_carry_assigned(L, body, &names);
  for (uint32_t k = 0; k < names.n; k++) {
    sq_bind *b = sq_lookup(L, s, names.v[k].name, NULL);
    if (b && b->kind == SQ_B_LOCAL)
      sq_bind_add(L, s, names.v[k].name, SQ_B_LOCAL, names.v[k].span, sq_poison());
  }
}

static void unroll(sq_low *L, sq_scope *s, const sq_stmt *st) {
  sq_val lo = st->lo ? sq_eval_size_expr(L, s, st->lo) : sq_val_int(L, 0);
  sq_val hi = sq_eval_size_expr(L, s, st->hi);
  int64_t a, b;
  if (lo.kind == SQ_V_POISON || hi.kind == SQ_V_POISON) return;
  if (!sq_val_const_int(L, &lo, &a) || !sq_val_const_int(L, &hi, &b)) {
    sq_diag *d =
        sq_low_error(L, st->hi->span, "the range of `unroll for` must be known at compile time");
    sq_hint(d, "`for` counts to any number");
    return;
  }
  if (b - a > MAX_UNROLL) {
    sq_low_error(L, st->hi->span,
                 "`unroll for` makes %lld copies of its body; at most %d are possible",
                 (long long)(b - a), MAX_UNROLL);
    return;
  }
  sq_bind *old = sq_lookup_here(s, st->name);
  sq_bind saved = old ? *old : (sq_bind){0};
  uint32_t errors = L->ds->errors;
  for (int64_t i = a; i < b && !L->gave_up && L->ds->errors == errors; i++) {
    sq_bind_add(L, s, st->name, SQ_B_LOOP, st->name_span, sq_val_int(L, i));
    sq_lower_stmts(L, s, &st->body, NULL);
  }
  if (L->ds->errors != errors) poison_assigned(L, s, &st->body);
  sq_bind *now = sq_lookup_here(s, st->name);
  if (!now) return;
  if (old) {
    *now = saved;
  } else {
    now->name = ""; // out of scope
  }
}

static sq_value *bound_value(sq_low *L, const sq_val *v, sq_span span) {
  sq_ex x;
  if (v->kind == SQ_V_POISON || !sq_val_to_ex(L, v, span, &x)) return NULL;
  if (x.n_own || sq_is_float(x.root->dtype) || x.root->dtype == SQ_BOOL) {
    sq_diag *d = sq_low_error(L, span, "the range of a loop is an integer, but `%s` is %s",
                              sq_low_text(L, span), sq_val_what(L, v));
    if (!x.n_own && sq_is_float(x.root->dtype))
      sq_hint(d, "convert it: `i32(%s)`", sq_low_text(L, span));
    if (x.n_own) sq_hint(d, "the extent of its first axis is `size(%s, 0)`", sq_low_text(L, span));
    return NULL;
  }
  sq_ivars f = {0};
  sq_sx_free(L, x.root, &f);
  if (f.n) return NULL;
  return sq_emit_value(L, sq_sx_cast(L, sq_sx_value_type(L, x.root), SQ_I32, false), 0, NULL, span,
                       NULL);
}

// The size that a bound is, if it is one without making a scalar input a size.
static sq_dim known_size(sq_low *L, const sq_val *v, sq_span span) {
  sq_ex x;
  sq_dim d = {0};
  L->size_mode++;
  if (v->kind != SQ_V_POISON && sq_val_to_ex(L, v, span, &x) && !x.n_own) sq_sx_size(L, x.root, &d);
  L->size_mode--;
  return d;
}

static void lower_for(sq_low *L, sq_scope *s, const sq_stmt *st) {
  sq_val lo = st->lo ? sq_eval_size_expr(L, s, st->lo) : sq_val_int(L, 0);
  sq_val hi = sq_eval_size_expr(L, s, st->hi);
  sq_span span_lo = st->lo ? st->lo->span : st->hi->span;
  int64_t a, b;
  if (sq_val_const_int(L, &lo, &a) && sq_val_const_int(L, &hi, &b) && b <= a)
    return; // perhaps over instances that are not there
  carried c = {0};
  bool ok = find_carried(L, s, &st->body, &c);
  L->size_mode++;
  sq_value *in[2] = {bound_value(L, &lo, span_lo), bound_value(L, &hi, st->hi->span)};
  L->size_mode--;
  if (!ok || !in[0] || !in[1] || !flatten_carried(L, &c)) {
    poison_carried(L, s, &c);
    return;
  }
  sq_node *n = sq_node_new(L->g, L->b, SQ_OP_REPEAT, st->span, 2, in);
  sq_value **all = SQ_ARRAY(L->a, sq_value *, c.in.n + 2);
  all[0] = in[0];
  all[1] = in[1];
  if (c.in.n) memcpy(all + 2, c.in.v, c.in.n * sizeof *all);
  n->in = all;
  n->n_in = c.in.n + 2;
  sq_block *outer = L->b;
  const sq_guard_list *branch = L->branch;
  uint32_t start = L->g->n_values;
  L->b = sq_node_region(L->g, n, L->f);
  sq_value *index = sq_block_arg(L->b, sq_type_scalar(SQ_I32), st->name);
  sq_value **args = region_args(L, L->b, &c);
  sq_dim dlo = known_size(L, &lo, span_lo), dhi = known_size(L, &hi, st->hi->span);
  if (dlo.i && dhi.i) sq_range_note_set(L, index, dlo, dhi);
  sq_dim next = dlo.i ? sq_dim_add(L->g->dims, dlo, sq_dim_const(L->g->dims, 1)) : dlo;
  bool runs = dlo.i && dhi.i && sq_prove_le(L->g->dims, next, dhi) == 1;
  L->conditional += !runs;
  sq_scope *inner = sq_scope_new(L, SQ_SC_BLOCK, s);
  sq_bind_add(L, inner, st->name, SQ_B_LOOP, st->name_span, sq_val_tensor(index));
  inner = sq_scope_new(L, SQ_SC_BLOCK, inner);
  bind_carried(L, inner, &c, args);
  sq_lower_stmts(L, inner, &st->body, NULL);
  grown_in_loop(L, s, start);
  sq_carry_values out = {0};
  ok = yield_carried(L, inner, &c, &out);
  finish_block(L, ok ? &out : &c.in, st->span);
  ok &= sq_loop_fresh(L, n, start);
  L->conditional -= !runs;
  L->branch = branch;
  L->b = outer;
  results(L, n, s, &c);
  if (!ok) poison_carried(L, s, &c);
}

void sq_lower_for(sq_low *L, sq_scope *s, const sq_stmt *st) {
  if (st->unroll) {
    unroll(L, s, st);
  } else if (!lower_mapped(L, s, st, lower_for)) {
    lower_for(L, s, st);
  }
}

// ---- while -------------------------------------------------------------------------------------

static void lower_while(sq_low *L, sq_scope *s, const sq_stmt *st) {
  carried c = {0};
  sq_dim limit = {0};
  if (st->limit) limit = sq_eval_size(L, s, st->limit, "the limit of a loop");
  if (!find_carried(L, s, &st->body, &c) || !flatten_carried(L, &c)) {
    poison_carried(L, s, &c);
    return;
  }
  sq_node *n = sq_node_new(L->g, L->b, SQ_OP_WHILE, st->span, c.in.n, c.in.v);
  n->extent = limit;
  sq_block *outer = L->b;
  const sq_guard_list *branch = L->branch;
  uint32_t start = L->g->n_values;
  L->conditional++;
  L->b = sq_node_region(L->g, n, L->f);
  sq_scope *test = sq_scope_new(L, SQ_SC_BLOCK, s);
  bind_carried(L, test, &c, region_args(L, L->b, &c));
  uint64_t effects = L->effects;
  uint32_t faults = L->ds->errors;
  sq_sx *cond = sq_eval_cond(L, test, st->cond);
  if (effects != L->effects && faults == L->ds->errors)
    sq_low_error(L, st->cond->span, "the condition of a loop has no effects");
  sq_carry_values yes = {0};
  sq_value *v = cond ? sq_emit_value(L, cond, 0, NULL, st->cond->span, NULL) : NULL;
  if (!v) v = sq_const_int(L->g, L->b, SQ_BOOL, 0);
  sq_push(L->a, &yes, v);
  finish_block(L, &yes, st->cond->span);
  L->b = sq_node_region(L->g, n, L->f);
  sq_scope *inner = sq_scope_new(L, SQ_SC_BLOCK, s);
  bind_carried(L, inner, &c, region_args(L, L->b, &c));
  L->branch = branch;
  if (cond) { // the condition holds in the body, of the body's values
    uint32_t errors = L->ds->errors;
    sq_sx *again = sq_eval_cond(L, inner, st->cond);
    if (again && errors == L->ds->errors) L->branch = sq_guard_add(L, branch, again, false);
  }
  sq_lower_stmts(L, inner, &st->body, NULL);
  grown_in_loop(L, s, start);
  sq_carry_values out = {0};
  bool ok = yield_carried(L, inner, &c, &out);
  finish_block(L, ok ? &out : &c.in, st->span);
  ok &= sq_loop_fresh(L, n, start);
  L->conditional--;
  L->branch = branch;
  L->b = outer;
  results(L, n, s, &c);
  if (!ok) poison_carried(L, s, &c);
}

void sq_lower_while(sq_low *L, sq_scope *s, const sq_stmt *st) {
  if (!lower_mapped(L, s, st, lower_while)) lower_while(L, s, st);
}

// ---- if ----------------------------------------------------------------------------------------

// A literal takes the type of the other side.
static bool unify(sq_low *L, sq_val *a, sq_val *b, sq_span sa, sq_span sb, const char *name,
                  sq_block *ba, sq_block *bb) {
  bool la = a->kind == SQ_V_FLOAT || (a->kind == SQ_V_DIM && a->lit);
  if (la && b->kind != SQ_V_TUPLE) {
    L->b = ba;
    *a = sq_carry_convert(L, a, b, sa, sb, name, true);
    L->b = bb;
    return a->kind != SQ_V_POISON;
  }
  L->b = bb;
  *b = sq_carry_convert(L, b, a, sb, sa, name, true);
  return b->kind != SQ_V_POISON;
}

static void lower_if_run(sq_low *L, sq_scope *s, const sq_stmt *st, sq_sx *cond) {
  sq_value *v = sq_emit_value(L, cond, 0, NULL, st->cond->span, NULL);
  sq_carry_names then_names = {0}, else_names = {0}, names = {0};
  sq_carry_assigned(L, &st->body, &then_names);
  sq_carry_assigned(L, &st->else_, &else_names);
  sq_val outer_v;
  for (uint32_t k = 0; k < then_names.n + else_names.n; k++) {
    sq_carry_name *x = k < then_names.n ? &then_names.v[k] : &else_names.v[k - then_names.n];
    bool before = sq_carry_local(s, x->name, &outer_v), in_then = false, in_else = false,
         have = false;
    for (uint32_t j = 0; j < then_names.n; j++) in_then |= then_names.v[j].name == x->name;
    for (uint32_t j = 0; j < else_names.n; j++) in_else |= else_names.v[j].name == x->name;
    for (uint32_t j = 0; j < names.n; j++) have |= names.v[j].name == x->name;
    if (!have && (before || (in_then && in_else))) sq_push(L->a, &names, *x);
  }
  sq_node *n = sq_node_new(L->g, L->b, SQ_OP_IF, st->span, 1, &v);
  sq_block *outer = L->b, *side[2];
  const sq_guard_list *branch = L->branch;
  sq_val *val[2];
  sq_span *span[2];
  bool ok = true;
  L->conditional++;
  for (int k = 0; k < 2; k++) {
    side[k] = L->b = sq_node_region(L->g, n, L->f);
    L->branch = sq_guard_add(L, branch, cond, k == 1);
    sq_scope *inner = sq_scope_new(L, SQ_SC_BLOCK, s);
    sq_lower_stmts(L, inner, k ? &st->else_ : &st->body, NULL);
    val[k] = SQ_ARRAY(L->a, sq_val, names.n + 1);
    span[k] = SQ_ARRAY(L->a, sq_span, names.n + 1);
    for (uint32_t j = 0; j < names.n; j++) {
      sq_bind *b = sq_lookup_here(inner, names.v[j].name);
      span[k][j] = b ? b->span : names.v[j].span;
      if (b) {
        val[k][j] = b->val;
      } else if (!sq_carry_local(s, names.v[j].name, &val[k][j])) {
        val[k][j] = sq_poison(); // bound in a part of this side only
        if (L->ds->errors == 0)
          sq_low_error(L, names.v[j].span, "`%s` is not bound on every path", names.v[j].name);
      }
    }
  }
  sq_carry_values out[2] = {{0}, {0}};
  for (uint32_t j = 0; j < names.n; j++) {
    L->b = side[1];
    bool fine =
        val[0][j].kind != SQ_V_POISON && val[1][j].kind != SQ_V_POISON &&
        unify(L, &val[0][j], &val[1][j], span[0][j], span[1][j], names.v[j].name, side[0], side[1]);
    for (int k = 0; fine && k < 2; k++) {
      L->b = side[k];
      fine = sq_carry_flatten(L, &val[k][j], span[k][j], names.v[j].name, &out[k]);
    }
    if (!fine) val[0][j] = sq_poison();
    ok &= fine;
  }
  if (!ok) out[0].n = out[1].n = 0;
  for (int k = 0; k < 2; k++) {
    L->b = side[k];
    finish_block(L, &out[k], st->span);
  }
  L->conditional--;
  L->b = outer;
  L->branch = branch;
  sq_value **res = SQ_ARRAY(L->a, sq_value *, out[0].n + 1);
  for (uint32_t k = 0; k < out[0].n; k++)
    res[k] = sq_node_result(L->g, n, out[0].v[k]->type, out[0].v[k]->name);
  uint32_t at = 0;
  for (uint32_t j = 0; j < names.n; j++) {
    sq_val r = ok ? sq_carry_rebuild(L, &val[0][j], res, &at) : sq_poison();
    sq_bind_add(L, s, names.v[j].name, SQ_B_LOCAL, names.v[j].span, r);
  }
}

static void lower_if_mapped(sq_low *L, sq_scope *s, const sq_stmt *st) {
  sq_sx *cond = sq_eval_cond(L, s, st->cond);
  if (cond) lower_if_run(L, s, st, cond);
}

// Nothing more is said about names that a faulty branch would have bound.
static void poison_branches(sq_low *L, sq_scope *s, const sq_stmt *st) {
  sq_carry_names names = {0};
  sq_carry_assigned(L, &st->body, &names);
  sq_carry_assigned(L, &st->else_, &names);
  for (uint32_t k = 0; k < names.n; k++)
    sq_bind_add(L, s, names.v[k].name, SQ_B_LOCAL, names.v[k].span, sq_poison());
}

void sq_lower_if(sq_low *L, sq_scope *s, const sq_stmt *st, sq_val *result) {
  sq_val v = sq_eval_expr(L, s, st->cond);
  sq_ex x;
  if (v.kind == SQ_V_POISON) {
    poison_branches(L, s, st);
    return;
  }
  if (v.kind == SQ_V_BOOL) {
    sq_lower_stmts(L, s, v.i ? &st->body : &st->else_, result);
    return;
  }
  if (!sq_val_to_ex(L, &v, st->cond->span, &x)) {
    poison_branches(L, s, st);
    return;
  }
  if (x.n_own || x.root->dtype != SQ_BOOL) {
    sq_diag *d =
        sq_low_error(L, st->cond->span, "the condition of `if` must be one bool, but `%s` is %s",
                     sq_low_text(L, st->cond->span), sq_val_what(L, &v));
    if (x.n_own) sq_hint(d, "per element it is `select(c, a, b)`");
    if (!x.n_own) sq_hint(d, "compare with something: `%s != 0`", sq_low_text(L, st->cond->span));
    poison_branches(L, s, st);
    return;
  }
  if (!L->b) {
    sq_low_error(L, st->cond->span, "the condition must be known at compile time here");
    return;
  }
  if (lower_mapped(L, s, st, lower_if_mapped)) return;
  lower_if_run(L, s, st, x.root);
}

// ---- scan --------------------------------------------------------------------------------------

typedef struct sq_scan {
  struct sq_scan *next; // enclosing
  const char *index;
  sq_block *body;
  SQ_VEC(sq_bind) emitted;
} sq_scan;

static void lower_scan(sq_low *L, sq_scope *s, const sq_stmt *st) {
  sq_dims *ds = L->g->dims;
  sq_dim lo = st->lo ? sq_eval_size(L, s, st->lo, "the range of `scan`") : sq_dim_const(ds, 0);
  sq_dim hi = sq_eval_size(L, s, st->hi, "the range of `scan`");
  carried c = {0};
  c.n = st->inits.n;
  c.name = SQ_ARRAY(L->a, const char *, c.n + 1);
  c.first = SQ_ARRAY(L->a, sq_span, c.n + 1);
  c.like = SQ_ARRAY(L->a, sq_val, c.n + 1);
  bool ok = lo.i && hi.i;
  for (uint32_t k = 0; k < c.n; k++) {
    const sq_lhs *l = st->inits.v[k];
    c.name[k] = l->name;
    c.first[k] = l->span;
    sq_val v;
    if (l->has_items) {
      v = sq_define(L, s, l->n, l->item, l->value, l->span, l->name);
    } else {
      v = sq_eval_expr(L, s, l->value);
      v = sq_val_bindable(L, &v, l->span, l->name);
    }
    c.like[k] = v;
    ok &= v.kind != SQ_V_POISON;
  }
  sq_scan *sc = SQ_NEW(L->a, sq_scan);
  sc->next = L->scan;
  sc->index = st->name;
  if (!ok || !flatten_carried(L, &c)) {
    poison_scan(L, s, st);
    return;
  }
  sq_dim extent = sq_dim_sub(ds, hi, lo);
  if (sq_prove_le(ds, sq_dim_const(ds, 0), extent) != 1)
    extent = sq_dim_max(ds, extent, sq_dim_const(ds, 0));
  sq_node *n = sq_node_new(L->g, L->b, SQ_OP_SCAN, st->span, c.in.n, c.in.v);
  n->extent = extent;
  n->flag = (st->reversed ? 1u : 0u) | (st->parallel ? 2u : 0u);
  n->n_carried = c.in.n;
  sq_block *outer = L->b;
  const sq_guard_list *branch = L->branch;
  bool pure = L->pure;
  sc->body = L->b = sq_node_region(L->g, n, L->f);
  sq_value *index = sq_block_arg(L->b, sq_type_scalar(SQ_I32), st->name);
  sq_value **args = region_args(L, L->b, &c);
  sq_range_note_set(L, index, sq_dim_const(ds, 0), extent);
  int64_t zero;
  if (!(sq_dim_is_const(ds, lo, &zero) && zero == 0)) {
    sq_sx *t = sq_sx_binary(L, SQ_B_ADD, sq_sx_read(L, index, 0, NULL, st->name_span),
                            sq_sx_dim(L, lo), st->name_span);
    index = sq_emit_value(L, t, 0, NULL, st->name_span, st->name);
    sq_range_note_set(L, index, lo, sq_dim_add(ds, lo, extent));
  }
  L->conditional++;
  L->scan = sc;
  uint64_t effects = L->effects;
  sq_scope *inner = sq_scope_new(L, SQ_SC_BLOCK, s);
  sq_bind_add(L, inner, st->name, SQ_B_LOOP, st->name_span, sq_val_tensor(index));
  inner = sq_scope_new(L, SQ_SC_BLOCK, inner);
  bind_carried(L, inner, &c, args);
  sq_lower_stmts(L, inner, &st->body, NULL);
  if (effects != L->effects) {
    sq_diag *d = sq_low_error(L, L->effect_at, "a `scan` has no effects");
    sq_label(d, st->name_span, "inside this `scan`");
    sq_hint(d, "use `for`, or carry the value by `with`");
  }
  sq_carry_values out = {0};
  ok = yield_carried(L, inner, &c, &out);
  sq_val *like = SQ_ARRAY(L->a, sq_val, sc->emitted.n + 1);
  uint32_t n_emit = 0;
  for (uint32_t k = 0; ok && k < sc->emitted.n; k++) {
    sq_bind *b = &sc->emitted.v[k];
    uint32_t from = out.n, at = 0;
    if (!sq_carry_flatten(L, &b->val, b->span, b->name, &out)) {
      ok = false;
      break;
    }
    like[k] = sq_carry_rebuild(L, &b->val, out.v + from, &at);
    n_emit++;
  }
  finish_block(L, ok ? &out : &c.in, st->span);
  L->scan = sc->next;
  L->conditional--;
  L->branch = branch;
  L->pure = pure;
  L->b = outer;
  results(L, n, s, &c);
  if (!ok) {
    poison_carried(L, s, &c);
    for (uint32_t k = 0; k < sc->emitted.n; k++)
      sq_bind_add(L, s, sc->emitted.v[k].name, SQ_B_LOCAL, sc->emitted.v[k].span, sq_poison());
    return;
  }
  sq_value **res = SQ_ARRAY(L->a, sq_value *, out.n + 1);
  for (uint32_t k = c.in.n; k < out.n; k++) {
    sq_dim dim[SQ_MAX_RANK + 1];
    sq_type t = out.v[k]->type;
    if (t.rank >= SQ_MAX_RANK) {
      sq_low_error(L, st->span, "%u axes are more than the %u that are possible", t.rank + 1,
                   SQ_MAX_RANK);
      return;
    }
    dim[0] = extent;
    for (uint32_t j = 0; j < t.rank; j++) dim[j + 1] = t.dim[j];
    res[k] = sq_node_result(L->g, n, sq_type_make(L->g, t.dtype, t.rank + 1, dim), NULL);
  }
  uint32_t at = c.in.n;
  for (uint32_t k = 0; k < n_emit; k++) {
    uint32_t first = at;
    sq_val v = sq_carry_rebuild(L, &like[k], res, &at);
    if (at == first + 1) res[first]->name = sc->emitted.v[k].name;
    sq_bind_add(L, s, sc->emitted.v[k].name, SQ_B_LOCAL, sc->emitted.v[k].span, v);
  }
}

void sq_lower_scan(sq_low *L, sq_scope *s, const sq_stmt *st) {
  if (!lower_mapped(L, s, st, lower_scan)) lower_scan(L, s, st);
}

void sq_lower_emit(sq_low *L, sq_scope *s, const sq_stmt *st) {
  sq_scan *sc = L->scan;
  if (!sc) {
    sq_diag *d = sq_low_error(L, st->span, "`emit` stands in the body of a `scan` only");
    sq_hint(d, "elsewhere an array is filled by `<-`: `y[t] <- ...`");
    return;
  }
  if (sc->body != L->b) {
    sq_diag *d = sq_low_error(L, st->span,
                              "`emit` stands in the body of its `scan`, not in a loop or "
                              "branch inside");
    sq_hint(d, "choose the value by `select` and emit it once a turn");
    for (uint32_t k = 0; k < st->inits.n; k++)
      sq_push(
          L->a, &sc->emitted,
          (sq_bind){.name = st->inits.v[k]->name, .span = d->labels.v[0].span, .val = sq_poison()});
    return;
  }
  for (uint32_t k = 0; k < st->inits.n; k++) {
    const sq_lhs *l = st->inits.v[k];
    if (!l->has_items || !l->n || l->item[0]->kind != SQ_E_NAME || l->item[0]->name != sc->index) {
      sq_diag *d =
          sq_low_error(L, l->span, "the first index of what is emitted is the loop's: `%s[%s]`",
                       l->name, sc->index);
      (void)d;
      sq_push(L->a, &sc->emitted,
              (sq_bind){.name = l->name, .kind = SQ_B_LOCAL, .span = l->span, .val = sq_poison()});
      continue;
    }
    sq_val v;
    if (l->n > 1) {
      v = sq_define(L, s, l->n - 1, l->item + 1, l->value, l->span, l->name);
    } else {
      v = sq_eval_expr(L, s, l->value);
      v = sq_val_bindable(L, &v, l->span, l->name);
    }
    for (uint32_t j = 0; j < sc->emitted.n; j++)
      if (sc->emitted.v[j].name == l->name) {
        sq_diag *d = sq_low_error(L, l->span, "`%s` is emitted twice in one turn", l->name);
        sq_label(d, sc->emitted.v[j].span, "first here");
        v = sq_poison();
      }
    sq_push(L->a, &sc->emitted,
            (sq_bind){.name = l->name, .kind = SQ_B_LOCAL, .span = l->span, .val = v});
  }
}
