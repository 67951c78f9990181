// Regions of random graphs: loops, scans with cells, maps, branches, and calls. What stands inside is made as
// everywhere (gn_block).
#include "tests/fuzz/graph_gen.h"

sq_value *gn_of_type(gn *r, sq_type t) {
  for (int tries = 0; tries < 16; tries++) {
    sq_value *v = r->live.v[gn_next(r, r->live.n)];
    if (sq_type_same(v->type, t)) return v;
  }
  sq_node *m = gn_node(r, SQ_OP_GENERIC);
  m->g = sq_generic_new(r->g, t.rank, 0);
  for (uint32_t a = 0; a < t.rank; a++) m->g->axis[a].extent = t.dim[a];
  m->g->body = gn_any(r, (gn_nest){m, t.rank}, t.dtype, 2);
  return gn_live(r, sq_node_result(r->g, m, t, NULL));
}

static void yield(gn *r, uint32_t n, const sq_type *t) {
  sq_value *out[8];
  for (uint32_t k = 0; k < n; k++) out[k] = gn_of_type(r, t[k]);
  sq_node_new(r->g, r->b, SQ_OP_YIELD, (sq_span){0}, n, out);
}

// Turns of carried values into new ones: besides new work, swaps, shifts and plain returns.
static void carried_yield(gn *r, uint32_t n, const sq_type *t, uint32_t first_arg, uint32_t n_out) {
  sq_value *out[8];
  for (uint32_t k = 0; k < n_out; k++) {
    out[k] = NULL;
    if (k < n && gn_one_in(r, 3)) {
      sq_value *v = r->b->args.v[first_arg + gn_next(r, n)];
      if (sq_type_same(v->type, t[k])) out[k] = v;
    }
    if (!out[k]) out[k] = gn_of_type(r, t[k]);
  }
  sq_node_new(r->g, r->b, SQ_OP_YIELD, (sq_span){0}, n_out, out);
}

typedef struct scope {
  sq_block *b;
  uint32_t n_live, n_size;
  int quiet;
  double turns;
} scope;
static scope enter(gn *r, sq_node *n, double turns, bool grows) {
  scope s = {r->b, r->live.n, r->size.n, r->quiet, r->turns};
  r->b = sq_node_region(r->g, n, r->f);
  r->turns *= turns > 1 ? turns : 1;
  r->depth++;
  r->quiet = !grows;
  return s;
}
static void leave(gn *r, scope s) {
  r->b = s.b;
  r->live.n = s.n_live;
  r->size.n = s.n_size;
  r->quiet = s.quiet;
  r->turns = s.turns;
  r->depth--;
}

static uint32_t inner_size(gn *r) { return 1 + gn_next(r, 5); }

static uint32_t pick_carried(gn *r, sq_value **in, sq_type *t, uint32_t most) {
  uint32_t n = 1 + gn_next(r, most), have = 0;
  for (uint32_t k = 0; k < n; k++) {
    sq_value *v = gn_pick(r, SQ_DTYPE_COUNT, 0);
    if (have && gn_one_in(r, 2))
      v = gn_of_type(r, t[gn_next(r, have)]); // of one type: to be swapped
    if (!v || gn_count(r, v->type) * r->turns * 4 > GN_MAX_STEPS) continue;
    t[have] = v->type;
    in[have++] = v;
  }
  if (!have) {
    in[0] = gn_of_type(r, sq_type_scalar(SQ_I32));
    t[have++] = in[0]->type;
  }
  return have;
}

static void args(gn *r, uint32_t n, const sq_type *t) {
  for (uint32_t k = 0; k < n; k++) gn_live(r, sq_block_arg(r->b, t[k], NULL));
}

static void results(gn *r, sq_node *n, uint32_t count, const sq_type *t) {
  for (uint32_t k = 0; k < count; k++) gn_live(r, sq_node_result(r->g, n, t[k], NULL));
}

static void repeat(gn *r) {
  sq_value *in[8];
  sq_type t[8];
  bool grows = gn_may_grow(r);
  in[0] = gn_one_in(r, 4) ? gn_small_int(r, 3) : gn_int_const(r, 0);
  in[1] = gn_small_int(r, 5);
  uint32_t n_carried = pick_carried(r, in + 2, t, 3);
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_REPEAT, (sq_span){0}, 2 + n_carried, in);
  scope s = enter(r, n, 4, grows);
  gn_live(r, sq_block_arg(r->b, sq_type_scalar(SQ_I32), NULL));
  args(r, n_carried, t);
  gn_block(r, inner_size(r));
  carried_yield(r, n_carried, t, 1, n_carried);
  leave(r, s);
  results(r, n, n_carried, t);
}

static void while_loop(gn *r) {
  sq_value *in[8];
  sq_type t[8];
  bool grows = gn_may_grow(r);
  in[0] = gn_int_const(r, 0);
  t[0] = sq_type_scalar(SQ_I32);
  uint32_t n_carried = 1 + pick_carried(r, in + 1, t + 1, 2);
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_WHILE, (sq_span){0}, n_carried, in);
  if (gn_one_in(r, 3)) n->extent = gn_size(r);
  scope s = enter(r, n, 4, false);
  args(r, n_carried, t);
  sq_node *c = sq_node_new(r->g, r->b, SQ_OP_GENERIC, (sq_span){0}, 1, r->b->args.v);
  c->g = sq_generic_new(r->g, 0, 0);
  uint32_t x = sq_sc_read(r->g, c->g, SQ_I32, 0, 0, NULL);
  x = sq_sc_ewise(r->g, c->g, SQ_EW_LT, x, sq_sc_int(r->g, c->g, SQ_I32, 1 + gn_next(r, 4)));
  if (gn_one_in(r, 2)) x = sq_sc_ewise(r->g, c->g, SQ_EW_AND, x, gn_bool(r, (gn_nest){c, 0}, 2));
  c->g->body = x;
  sq_value *more = sq_node_result(r->g, c, sq_type_scalar(SQ_BOOL), NULL);
  sq_node_new(r->g, r->b, SQ_OP_YIELD, (sq_span){0}, 1, &more);
  leave(r, s);
  s = enter(r, n, 4, grows);
  args(r, n_carried, t);
  gn_block(r, inner_size(r));
  sq_node *next = sq_node_new(r->g, r->b, SQ_OP_GENERIC, (sq_span){0}, 1, r->b->args.v);
  next->g = sq_generic_new(r->g, 0, 0);
  x = sq_sc_read(r->g, next->g, SQ_I32, 0, 0, NULL);
  next->g->body = sq_sc_ewise(r->g, next->g, SQ_EW_ADD, x, sq_sc_int(r->g, next->g, SQ_I32, 1));
  sq_value *count = sq_node_result(r->g, next, t[0], NULL);
  carried_yield(r, n_carried, t, 0, n_carried);
  sq_block_end(r->b)->in[0] = count;
  leave(r, s);
  results(r, n, n_carried, t);
}

static sq_type in_front(gn *r, sq_type t, const sq_dim *front, uint32_t n) {
  sq_dim dim[SQ_MAX_RANK];
  for (uint32_t a = 0; a < n; a++) dim[a] = front[a];
  for (uint32_t a = 0; a < t.rank; a++) dim[n + a] = t.dim[a];
  return sq_type_make(r->g, t.dtype, t.rank + n, dim);
}

static bool small_enough(gn *r, sq_type t, double turns) {
  return t.rank < 4 && gn_count(r, t) * r->turns * turns <= GN_MAX_STEPS;
}

// An array of f32 of these extents.
static sq_value *made(gn *r, uint32_t rank, const sq_dim *dim) {
  return gn_of_type(r, sq_type_make(r->g, SQ_F32, rank, dim));
}

// w times x, or times row t of x.
static sq_value *times(gn *r, sq_value *w, sq_value *x, sq_value *t) {
  sq_node *n = gn_node(r, SQ_OP_GENERIC);
  sq_generic *k = n->g = sq_generic_new(r->g, 1, 1);
  uint32_t pos[2], factor[2];
  for (uint32_t a = 0; a < 2; a++) {
    k->axis[a].extent = w->type.dim[a];
    pos[a] = sq_sc_index(r->g, k, a);
  }
  factor[0] = sq_sc_read(r->g, k, SQ_F32, sq_node_add_in(r->g, n, w), 2, pos);
  if (t) {
    pos[0] = sq_sc_read(r->g, k, SQ_I32, sq_node_add_in(r->g, n, t), 0, NULL);
    pos[0] = sq_sc_cast(r->g, k, pos[0], SQ_I64);
  }
  factor[1] = sq_sc_read(r->g, k, SQ_F32, sq_node_add_in(r->g, n, x), t ? 2 : 1, t ? pos : pos + 1);
  k->monoid = SQ_SUM;
  k->body = sq_sc_ewise(r->g, k, SQ_EW_MUL, factor[0], factor[1]);
  gn_finish(r, (gn_nest){n, 2}, SQ_F32);
  return gn_nest_result(r, n, SQ_F32);
}

// A recurrent cell around what else the scan does: a product with the row of the turn, and one that
// is emitted.
typedef struct cell {
  sq_value *into, *x, *out;
} cell;
static bool make_cell(gn *r, sq_dim extent, double turns, cell *c) {
  if (!gn_one_in(r, 2) || turns * r->turns * 25 > GN_MAX_STEPS) return false;
  sq_dim in = sq_dim_const(r->g->dims, 1 + gn_next(r, 4)),
         hidden = sq_dim_const(r->g->dims, 1 + gn_next(r, 4)),
         out = sq_dim_const(r->g->dims, 1 + gn_next(r, 4));
  c->into = made(r, 2, (sq_dim[]){hidden, in});
  c->x = made(r, 2, (sq_dim[]){extent, in});
  c->out = made(r, 2, (sq_dim[]){out, hidden});
  return true;
}

static void scan(gn *r) {
  sq_value *in[8];
  sq_type t[8];
  cell c;
  uint32_t n_carried = gn_one_in(r, 8) ? 0 : pick_carried(r, in, t, 3);
  sq_dim extent = gn_size(r);
  double turns = (double)gn_nominal(r, extent);
  if (turns * r->turns > 200) {
    extent = sq_dim_const(r->g->dims, 3);
    turns = 3;
  }
  bool is_cell = make_cell(r, extent, turns, &c);
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_SCAN, (sq_span){0}, n_carried, in);
  n->extent = extent;
  n->flag = gn_next(r, 4);
  n->n_carried = n_carried;
  uint32_t n_out = n_carried;
  for (uint32_t k = n_carried ? gn_next(r, 3) : 1; k > 0; k--) {
    sq_value *v = gn_pick(r, SQ_DTYPE_COUNT, 0);
    t[n_out++] = v && small_enough(r, v->type, turns) ? v->type : sq_type_scalar(SQ_F32);
  }
  if (is_cell) t[n_out++] = sq_type_make(r->g, SQ_F32, 1, c.out->type.dim);
  scope s = enter(r, n, turns, false);
  r->pure++;
  sq_value *turn = gn_live(r, sq_block_arg(r->b, sq_type_scalar(SQ_I32), NULL)), *y = NULL;
  args(r, n_carried, t);
  if (is_cell) times(r, c.into, c.x, turn);
  gn_block(r, inner_size(r));
  if (is_cell) y = times(r, c.out, made(r, 1, c.into->type.dim), NULL);
  carried_yield(r, n_carried, t, 1, n_out);
  if (y && !gn_one_in(r, 4)) sq_block_end(r->b)->in[n_out - 1] = y;
  r->pure--;
  leave(r, s);
  for (uint32_t k = n_carried; k < n_out; k++) t[k] = in_front(r, t[k], &extent, 1);
  results(r, n, n_out, t);
}

static void map(gn *r) {
  sq_node *n = gn_node(r, SQ_OP_MAP);
  uint32_t n_axes = 1 + gn_one_in(r, 4), n_out = 1 + gn_one_in(r, 3);
  n->g = sq_generic_new(r->g, n_axes, 0);
  double turns = 1;
  sq_dim front[2];
  for (uint32_t a = 0; a < n_axes; a++) {
    front[a] = gn_size(r);
    if (turns * r->turns * (double)gn_nominal(r, front[a]) > 200)
      front[a] = sq_dim_const(r->g->dims, 3);
    n->g->axis[a].extent = front[a];
    turns *= (double)gn_nominal(r, front[a]);
  }
  sq_type t[4];
  for (uint32_t k = 0; k < n_out; k++) {
    sq_value *v = gn_pick(r, SQ_DTYPE_COUNT, 0);
    t[k] = v && small_enough(r, v->type, turns) ? v->type : sq_type_scalar(SQ_F32);
  }
  scope s = enter(r, n, turns, false);
  r->pure++;
  for (uint32_t a = 0; a < n_axes; a++)
    gn_live(r, sq_block_arg(r->b, sq_type_scalar(SQ_I32), NULL));
  gn_block(r, inner_size(r));
  yield(r, n_out, t);
  r->pure--;
  leave(r, s);
  for (uint32_t k = 0; k < n_out; k++) t[k] = in_front(r, t[k], front, n_axes);
  results(r, n, n_out, t);
}

static void branch(gn *r) {
  bool grows = gn_may_grow(r);
  sq_node *c = gn_node(r, SQ_OP_GENERIC);
  c->g = sq_generic_new(r->g, 0, 0);
  c->g->body = gn_bool(r, (gn_nest){c, 0}, 2);
  sq_value *cond = sq_node_result(r->g, c, sq_type_scalar(SQ_BOOL), NULL);
  sq_type t[3];
  uint32_t n_out = gn_next(r, 4);
  for (uint32_t k = 0; k < n_out; k++) {
    sq_value *v = gn_pick(r, SQ_DTYPE_COUNT, 0);
    t[k] = v ? v->type : sq_type_scalar(SQ_BOOL);
  }
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_IF, (sq_span){0}, 1, &cond);
  for (int side = 0; side < 2; side++) {
    scope s = enter(r, n, 1, grows);
    gn_block(r, gn_next(r, 4));
    yield(r, n_out, t);
    leave(r, s);
  }
  results(r, n, n_out, t);
}

static bool writes(const sq_func *f) { return f->writes; }

void gn_call(gn *r) {
  if (!r->callee.n) return;
  sq_func *f = r->callee.v[gn_next(r, r->callee.n)];
  if (r->pure && writes(f)) return;
  uint32_t n = f->body->args.n, n_with = sq_sym_count(r->g->dims) + 1;
  sq_dim *with = SQ_ARRAY(r->a, sq_dim, n_with);
  sq_value *in[8];
  for (uint32_t k = 0; k < n; k++) {
    sq_type want = f->body->args.v[k]->type;
    in[k] = NULL;
    bool bound = true;
    for (uint32_t a = 0; a < want.rank; a++)
      bound &= with[sq_dim_at(r->g->dims, want.dim[a])->sym.i].i != 0;
    if (bound) {
      sq_dim dim[SQ_MAX_RANK];
      for (uint32_t a = 0; a < want.rank; a++)
        dim[a] = sq_dim_subst(r->g->dims, want.dim[a], with, n_with);
      in[k] = gn_of_type(r, sq_type_make(r->g, want.dtype, want.rank, dim));
      continue;
    }
    for (int tries = 0; tries < 20 && !in[k]; tries++) {
      sq_value *v = gn_pick(r, want.dtype, want.rank);
      if (v && v->type.rank == want.rank && gn_count(r, v->type) * r->turns < 3000) in[k] = v;
    }
    if (!in[k]) return;
    for (uint32_t a = 0; a < want.rank; a++)
      with[sq_dim_at(r->g->dims, want.dim[a])->sym.i] = in[k]->type.dim[a];
  }
  sq_node *end = sq_block_end(f->body);
  sq_node *c = sq_node_new(r->g, r->b, SQ_OP_CALL, (sq_span){0}, n, in);
  c->func = f;
  for (uint32_t k = 0; k < end->n_in; k++) {
    sq_type t = end->in[k]->type;
    sq_dim dim[SQ_MAX_RANK];
    for (uint32_t a = 0; a < t.rank; a++) dim[a] = sq_dim_subst(r->g->dims, t.dim[a], with, n_with);
    gn_live(r, sq_node_result(r->g, c, sq_type_make(r->g, t.dtype, t.rank, dim), NULL));
  }
}

void gn_nested(gn *r) {
  typedef void step(gn * r);
  static step *const nested[] = {repeat, repeat, while_loop, scan, scan, map, branch, branch};
  nested[gn_next(r, 8)](r);
}
