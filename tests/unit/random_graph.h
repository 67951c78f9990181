// Random well-typed graphs: elementwise work, reductions, contractions, updates, states, loops. The
// same seed makes the same graph. For tests that compare two ways of running one graph.
#pragma once
#include "ir/ir.h"

typedef struct rg {
  sq_graph *g;
  sq_func *f;
  uint64_t rng;
  SQ_VEC(sq_value *) live; // values in scope
  sq_dim size[4];          // N, M, 4, 1
  int depth, pure, nodes;  // pure: inside a scan, which has no effects
  sq_block *b;
} rg;

static inline uint32_t rg_next(rg *r, uint32_t below) {
  r->rng += 0x9e3779b97f4a7c15ull;
  uint64_t x = r->rng;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  return (uint32_t)((x ^ x >> 31) % below);
}

static inline sq_value *rg_value(rg *r, sq_value *v) {
  sq_push(r->g->arena, &r->live, v);
  return v;
}

static inline sq_value *rg_pick(rg *r, uint32_t min_rank) {
  for (int k = 0; k < 20; k++) {
    sq_value *v = r->live.v[rg_next(r, r->live.n)];
    if (v->type.dtype == SQ_F32 && v->type.rank >= min_rank) return v;
  }
  for (uint32_t k = 0; k < r->live.n; k++)
    if (r->live.v[k]->type.dtype == SQ_F32 && r->live.v[k]->type.rank >= min_rank)
      return r->live.v[k];
  return NULL;
}

// A read of v: along axes of its extents where there are such, else tested.
static inline uint32_t rg_read(rg *r, sq_node *n, sq_value *v) {
  sq_graph *g = r->g;
  sq_generic *k = n->g;
  uint32_t pos[SQ_MAX_RANK], n_axes = k->n_par + k->n_red;
  bool inside = true;
  for (uint32_t d = 0; d < v->type.rank; d++) {
    uint32_t fit[8], n_fit = 0;
    for (uint32_t a = 0; a < n_axes && n_fit < 8; a++)
      if (sq_dim_same(k->axis[a].extent, v->type.dim[d])) fit[n_fit++] = a;
    if (n_fit && rg_next(r, 8)) {
      pos[d] = sq_sc_index(g, k, fit[rg_next(r, n_fit)]);
      if (rg_next(r, 10) == 0) { // backwards
        uint32_t last = sq_sc_ewise(g, k, SQ_EW_SUB, sq_sc_dim(g, k, v->type.dim[d]),
                                    sq_sc_int(g, k, SQ_I64, 1));
        pos[d] = sq_sc_ewise(g, k, SQ_EW_SUB, last, pos[d]);
      }
      continue;
    }
    inside = false;
    pos[d] = n_axes ? sq_sc_index(g, k, rg_next(r, n_axes)) : sq_sc_int(g, k, SQ_I64, 0);
    if (rg_next(r, 2))
      pos[d] = sq_sc_ewise(g, k, SQ_EW_ADD, pos[d], sq_sc_int(g, k, SQ_I64, rg_next(r, 3)));
    if (rg_next(r, 4) == 0)
      pos[d] = sq_sc_ewise(g, k, SQ_EW_FLOORDIV, pos[d], sq_sc_int(g, k, SQ_I64, 2));
  }
  uint32_t other = inside ? SQ_NO_SCALAR : sq_sc_float(g, k, SQ_F32, 0.25);
  uint32_t id = sq_sc_read(g, k, SQ_F32, sq_node_add_in(g, n, v), v->type.rank, pos);
  k->s.v[id].other = other;
  return id;
}

static inline uint32_t rg_condition(rg *r, sq_node *n);

static inline uint32_t rg_scalar(rg *r, sq_node *n, int depth) {
  sq_graph *g = r->g;
  sq_generic *k = n->g;
  if (depth == 0 || rg_next(r, 4) == 0) {
    if (rg_next(r, 4) == 0) return sq_sc_float(g, k, SQ_F32, (double)rg_next(r, 7) * 0.5 - 1);
    return rg_read(r, n, rg_pick(r, 0));
  }
  uint32_t a = rg_scalar(r, n, depth - 1), b;
  switch (rg_next(r, 14)) {
  case 0:
    return sq_sc_ewise(g, k, SQ_EW_NEG, a, SQ_NO_SCALAR);
  case 1:
    return sq_sc_ewise(g, k, SQ_EW_TANH, a, SQ_NO_SCALAR);
  case 2:
    return sq_sc_ewise(g, k, SQ_EW_ABS, a, SQ_NO_SCALAR);
  case 3:
    a = sq_sc_ewise(g, k, SQ_EW_TANH, a, SQ_NO_SCALAR);
    return sq_sc_ewise(g, k, SQ_EW_EXP, a, SQ_NO_SCALAR);
  case 4:
    b = rg_scalar(r, n, depth - 1);
    b = sq_sc_ewise(g, k, SQ_EW_ABS, b, SQ_NO_SCALAR);
    b = sq_sc_ewise(g, k, SQ_EW_ADD, b, sq_sc_float(g, k, SQ_F32, 0.5));
    return sq_sc_ewise(g, k, SQ_EW_DIV, a, b);
  case 5: {
    uint32_t c = rg_condition(r, n);
    b = rg_scalar(r, n, depth - 1);
    return sq_sc_select(g, k, c, a, b);
  }
  case 6:
    return sq_sc_cast(g, k, sq_sc_cast(g, k, a, SQ_F64), SQ_F32);
  case 7:
    return sq_sc_ewise(g, k, SQ_EW_POW, a, sq_sc_float(g, k, SQ_F32, 2));
  case 8:
    return sq_sc_ewise(g, k, SQ_EW_MAX, a, rg_scalar(r, n, depth - 1));
  case 9:
    return sq_sc_ewise(g, k, SQ_EW_SUB, a, rg_scalar(r, n, depth - 1));
  case 10:
  case 11:
    return sq_sc_ewise(g, k, SQ_EW_MUL, a, rg_scalar(r, n, depth - 1));
  default:
    return sq_sc_ewise(g, k, SQ_EW_ADD, a, rg_scalar(r, n, depth - 1));
  }
}

static inline uint32_t rg_condition(rg *r, sq_node *n) {
  sq_graph *g = r->g;
  sq_generic *k = n->g;
  uint32_t n_axes = k->n_par + k->n_red;
  if (n_axes && rg_next(r, 3)) {
    uint32_t a = sq_sc_index(g, k, rg_next(r, n_axes));
    uint32_t b = rg_next(r, 2) ? sq_sc_index(g, k, rg_next(r, n_axes))
                               : sq_sc_int(g, k, SQ_I64, rg_next(r, 4));
    return sq_sc_ewise(g, k, rg_next(r, 2) ? SQ_EW_LE : SQ_EW_LT, a, b);
  }
  uint32_t x = rg_read(r, n, rg_pick(r, 0));
  return sq_sc_ewise(g, k, SQ_EW_LT, x, sq_sc_float(g, k, SQ_F32, 0.12345));
}

static inline sq_node *rg_generic(rg *r, uint32_t n_par, uint32_t n_red) {
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_GENERIC, (sq_span){0}, 0, NULL);
  n->g = sq_generic_new(r->g, n_par, n_red);
  for (uint32_t a = 0; a < n_par + n_red; a++)
    n->g->axis[a].extent = r->size[rg_next(r, rg_next(r, 5) ? 3 : 4)];
  return n;
}

static inline sq_value *rg_result(rg *r, sq_node *n) {
  sq_dim dim[SQ_MAX_RANK];
  for (uint32_t a = 0; a < n->g->n_par; a++) dim[a] = n->g->axis[a].extent;
  return rg_value(r, sq_node_result(r->g, n, sq_type_make(r->g, SQ_F32, n->g->n_par, dim), NULL));
}

static inline void rg_elementwise(rg *r) {
  sq_node *n = rg_generic(r, rg_next(r, 4), 0);
  n->g->body = rg_scalar(r, n, 3);
  if (rg_next(r, 2)) n->g->body = sq_sc_ewise(r->g, n->g, SQ_EW_TANH, n->g->body, SQ_NO_SCALAR);
  rg_result(r, n);
}

// The same axes as v, so that it can be fused.
static inline void rg_follow(rg *r) {
  sq_value *v = rg_pick(r, 1);
  if (!v) return;
  sq_node *n = rg_generic(r, v->type.rank, 0);
  uint32_t pos[SQ_MAX_RANK];
  for (uint32_t a = 0; a < v->type.rank; a++) {
    n->g->axis[a].extent = v->type.dim[a];
    pos[a] = sq_sc_index(r->g, n->g, a);
  }
  uint32_t x = sq_sc_read(r->g, n->g, SQ_F32, sq_node_add_in(r->g, n, v), v->type.rank, pos);
  bool times = rg_next(r, 2);
  n->g->body = sq_sc_ewise(r->g, n->g, times ? SQ_EW_MUL : SQ_EW_ADD, x, rg_scalar(r, n, 2));
  if (times) n->g->body = sq_sc_ewise(r->g, n->g, SQ_EW_TANH, n->g->body, SQ_NO_SCALAR);
  rg_result(r, n);
}

static inline void rg_reduction(rg *r) {
  static const sq_monoid monoids[] = {SQ_SUM, SQ_SUM, SQ_MAX, SQ_MIN, SQ_MEAN, SQ_LOGSUMEXP};
  sq_node *n = rg_generic(r, rg_next(r, 3), 1 + (rg_next(r, 5) == 0));
  n->g->monoid = monoids[rg_next(r, 6)];
  if (rg_next(r, 3) == 0) {
    uint32_t c = rg_condition(r, n);
    sq_push(r->g->arena, &n->g->domain, c);
  }
  n->g->body = rg_scalar(r, n, 2);
  uint32_t x = sq_sc_acc(r->g, n->g, SQ_F32);
  // inf and -inf of an empty row do not go further
  x = sq_sc_ewise(r->g, n->g, SQ_EW_TANH, x, SQ_NO_SCALAR);
  n->g->post = rg_next(r, 2) ? x : sq_sc_ewise(r->g, n->g, SQ_EW_NEG, x, SQ_NO_SCALAR);
  rg_result(r, n);
}

static inline void rg_row(rg *r) { // exp(x) / sum of exp(x), or the variance of a row
  sq_value *v = rg_pick(r, 2);
  if (!v || v->type.rank != 2) return;
  sq_value *z[2];
  bool norm = rg_next(r, 2);
  for (int k = 0; k < 1 + norm; k++) {
    sq_node *s = rg_generic(r, 1, 1);
    s->g->axis[0].extent = v->type.dim[0];
    s->g->axis[1].extent = v->type.dim[1];
    s->g->monoid = norm ? SQ_MEAN : SQ_SUM;
    uint32_t pos[] = {sq_sc_index(r->g, s->g, 0), sq_sc_index(r->g, s->g, 1)};
    uint32_t x = sq_sc_read(r->g, s->g, SQ_F32, sq_node_add_in(r->g, s, v), 2, pos);
    if (!norm)
      x = sq_sc_ewise(r->g, s->g, SQ_EW_EXP, sq_sc_ewise(r->g, s->g, SQ_EW_TANH, x, SQ_NO_SCALAR),
                      SQ_NO_SCALAR);
    if (k) x = sq_sc_ewise(r->g, s->g, SQ_EW_MUL, x, x);
    s->g->body = x;
    z[k] = rg_result(r, s);
  }
  sq_node *n = rg_generic(r, 2, 0);
  n->g->axis[0].extent = v->type.dim[0];
  n->g->axis[1].extent = v->type.dim[1];
  uint32_t pos[] = {sq_sc_index(r->g, n->g, 0), sq_sc_index(r->g, n->g, 1)};
  uint32_t x = sq_sc_read(r->g, n->g, SQ_F32, sq_node_add_in(r->g, n, v), 2, pos);
  uint32_t m = sq_sc_read(r->g, n->g, SQ_F32, sq_node_add_in(r->g, n, z[0]), 1, pos);
  if (norm) {
    uint32_t q = sq_sc_read(r->g, n->g, SQ_F32, sq_node_add_in(r->g, n, z[1]), 1, pos);
    uint32_t var = sq_sc_ewise(r->g, n->g, SQ_EW_SUB, q, sq_sc_ewise(r->g, n->g, SQ_EW_MUL, m, m));
    var = sq_sc_ewise(r->g, n->g, SQ_EW_ADD, var, sq_sc_float(r->g, n->g, SQ_F32, 1));
    x = sq_sc_ewise(r->g, n->g, SQ_EW_DIV, sq_sc_ewise(r->g, n->g, SQ_EW_SUB, x, m),
                    sq_sc_ewise(r->g, n->g, SQ_EW_SQRT, var, SQ_NO_SCALAR));
  } else {
    x = sq_sc_ewise(r->g, n->g, SQ_EW_EXP, sq_sc_ewise(r->g, n->g, SQ_EW_TANH, x, SQ_NO_SCALAR),
                    SQ_NO_SCALAR);
    x = sq_sc_ewise(r->g, n->g, SQ_EW_DIV, x, m);
  }
  n->g->body = x;
  rg_result(r, n);
}

// The elements of an update or a write of a value of type t: all of them, in some order.
static inline void rg_places(rg *r, sq_node *n, sq_type t) {
  n->g = sq_generic_new(r->g, t.rank, 0);
  n->g->n_pos = t.rank;
  n->g->pos = SQ_ARRAY(r->g->arena, uint32_t, t.rank + 1);
  for (uint32_t a = 0; a < t.rank; a++) {
    n->g->axis[a].extent = t.dim[a];
    n->g->pos[a] = sq_sc_index(r->g, n->g, a);
    if (rg_next(r, 5) == 0) {
      uint32_t last = sq_sc_ewise(r->g, n->g, SQ_EW_SUB, sq_sc_dim(r->g, n->g, t.dim[a]),
                                  sq_sc_int(r->g, n->g, SQ_I64, 1));
      n->g->pos[a] = sq_sc_ewise(r->g, n->g, SQ_EW_SUB, last, n->g->pos[a]);
    }
  }
  n->g->body = sq_sc_ewise(r->g, n->g, SQ_EW_TANH, rg_scalar(r, n, 2), SQ_NO_SCALAR);
  if (rg_next(r, 3) == 0) n->g->write_guard = rg_condition(r, n);
}

static inline void rg_update(rg *r) {
  sq_value *v = rg_pick(r, 1);
  if (!v) return;
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_UPDATE, (sq_span){0}, 1, &v);
  rg_places(r, n, v->type);
  rg_value(r, sq_node_result(r->g, n, v->type, NULL));
}

static inline sq_value *rg_int(rg *r, int64_t x) { return sq_const_int(r->g, r->b, SQ_I32, x); }

static inline void rg_state(rg *r) {
  uint32_t ref = rg_next(r, r->g->state.n);
  const sq_state *s = &r->g->state.v[ref];
  sq_value *at = s->has_instances ? rg_int(r, rg_next(r, s->count)) : NULL;
  if (r->pure || rg_next(r, 2)) {
    sq_node *n = sq_node_new(r->g, r->b, SQ_OP_STATE_READ, (sq_span){0}, at != NULL, &at);
    n->ref = ref;
    n->has_instance = at != NULL;
    rg_value(r, sq_node_result(r->g, n, s->type, NULL));
    return;
  }
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_STATE_WRITE, (sq_span){0}, 0, NULL);
  n->ref = ref;
  rg_places(r, n, s->type);
  if (rg_next(r, 3) == 0) { // the whole
    n->g->pos = NULL;
    n->g->n_pos = 0;
    n->g->write_guard = SQ_NO_SCALAR;
  }
  if (!at) return;
  sq_value **in = SQ_ARRAY(r->g->arena, sq_value *, n->n_in + 1);
  if (n->n_in) memcpy(in, n->in, n->n_in * sizeof *in);
  in[n->n_in++] = at;
  n->in = in;
  n->has_instance = true;
}

static inline void rg_block(rg *r, uint32_t n);

// Yields values of the given types: mostly new ones, some that were there before.
static inline void rg_yield(rg *r, uint32_t n, const sq_type *t) {
  sq_value *out[4];
  for (uint32_t k = 0; k < n; k++) {
    out[k] = NULL;
    for (int tries = 0; tries < 12 && !out[k]; tries++) {
      sq_value *v = r->live.v[rg_next(r, r->live.n)];
      if (sq_type_same(v->type, t[k])) out[k] = v;
    }
    if (out[k]) continue;
    sq_node *m = sq_node_new(r->g, r->b, SQ_OP_GENERIC, (sq_span){0}, 0, NULL);
    m->g = sq_generic_new(r->g, t[k].rank, 0);
    for (uint32_t a = 0; a < t[k].rank; a++) m->g->axis[a].extent = t[k].dim[a];
    m->g->body = sq_sc_ewise(r->g, m->g, SQ_EW_TANH, rg_scalar(r, m, 2), SQ_NO_SCALAR);
    out[k] = sq_node_result(r->g, m, t[k], NULL);
  }
  sq_node_new(r->g, r->b, SQ_OP_YIELD, (sq_span){0}, n, out);
}

static inline void rg_region(rg *r, sq_node *n, uint32_t n_arg, const sq_type *arg, uint32_t size,
                             uint32_t n_out, const sq_type *out) {
  sq_block *outer = r->b;
  uint32_t scope = r->live.n;
  r->b = sq_node_region(r->g, n, r->f);
  for (uint32_t k = 0; k < n_arg; k++) rg_value(r, sq_block_arg(r->b, arg[k], NULL));
  r->depth++;
  rg_block(r, size);
  rg_yield(r, n_out, out);
  r->depth--;
  r->live.n = scope;
  r->b = outer;
}

static inline void rg_loop(rg *r) {
  sq_value *in[5];
  uint32_t n_carried = 1 + rg_next(r, 2), kind = rg_next(r, 3), first = kind == 0 ? 2 : 0;
  sq_type t[6];
  if (kind == 0) {
    in[0] = rg_int(r, 0);
    in[1] = rg_int(r, rg_next(r, 4));
  }
  for (uint32_t k = 0; k < n_carried; k++) {
    in[first + k] = rg_pick(r, 0);
    t[1 + k] = in[first + k]->type;
  }
  static const sq_opcode op[] = {SQ_OP_REPEAT, SQ_OP_SCAN, SQ_OP_WHILE};
  if (kind == 2) { // the counter is carried first
    memmove(in + 1, in, n_carried * sizeof *in);
    memmove(t + 1, t + 1, n_carried * sizeof *t);
    in[0] = rg_int(r, 0);
    t[0] = sq_type_scalar(SQ_I32);
    sq_node *n = sq_node_new(r->g, r->b, SQ_OP_WHILE, (sq_span){0}, n_carried + 1, in);
    sq_block *cond = sq_node_region(r->g, n, r->f);
    for (uint32_t k = 0; k <= n_carried; k++) sq_block_arg(cond, t[k], NULL);
    sq_node *c = sq_node_new(r->g, cond, SQ_OP_GENERIC, (sq_span){0}, 1, cond->args.v);
    c->g = sq_generic_new(r->g, 0, 0);
    uint32_t x = sq_sc_read(r->g, c->g, SQ_I32, 0, 0, NULL);
    c->g->body = sq_sc_ewise(r->g, c->g, SQ_EW_LT, x, sq_sc_int(r->g, c->g, SQ_I32, rg_next(r, 4)));
    sq_value *more = sq_node_result(r->g, c, sq_type_scalar(SQ_BOOL), NULL);
    sq_node_new(r->g, cond, SQ_OP_YIELD, (sq_span){0}, 1, &more);
    sq_block *outer = r->b;
    uint32_t scope = r->live.n;
    r->b = sq_node_region(r->g, n, r->f);
    sq_value *count = sq_block_arg(r->b, t[0], NULL);
    for (uint32_t k = 0; k < n_carried; k++) rg_value(r, sq_block_arg(r->b, t[1 + k], NULL));
    r->depth++;
    rg_block(r, 3);
    r->depth--;
    sq_node *next = sq_node_new(r->g, r->b, SQ_OP_GENERIC, (sq_span){0}, 1, &count);
    next->g = sq_generic_new(r->g, 0, 0);
    x = sq_sc_read(r->g, next->g, SQ_I32, 0, 0, NULL);
    next->g->body = sq_sc_ewise(r->g, next->g, SQ_EW_ADD, x, sq_sc_int(r->g, next->g, SQ_I32, 1));
    sq_value *plus = sq_node_result(r->g, next, t[0], NULL);
    rg_yield(r, n_carried, t + 1);
    sq_node *end = sq_block_end(r->b);
    sq_value **list = SQ_ARRAY(r->g->arena, sq_value *, n_carried + 1);
    list[0] = plus;
    memcpy(list + 1, end->in, n_carried * sizeof *list);
    end->in = list;
    end->n_in = n_carried + 1;
    r->live.n = scope;
    r->b = outer;
    for (uint32_t k = 0; k <= n_carried; k++) {
      sq_value *v = sq_node_result(r->g, n, t[k], NULL);
      if (k) rg_value(r, v);
    }
    return;
  }
  sq_node *n = sq_node_new(r->g, r->b, op[kind], (sq_span){0}, first + n_carried, in);
  t[0] = sq_type_scalar(SQ_I32);
  sq_type out[4];
  memcpy(out, t + 1, n_carried * sizeof *out);
  uint32_t n_out = n_carried;
  if (kind == 1) {
    n->n_carried = n_carried;
    n->extent = r->size[rg_next(r, 3)];
    n->flag = rg_next(r, 2);
    sq_value *like = rg_pick(r, 0);
    if (like->type.rank < 3) out[n_out++] = like->type;
  }
  r->pure += kind == 1;
  rg_region(r, n, 1 + n_carried, t, 3, n_out, out);
  r->pure -= kind == 1;
  for (uint32_t k = 0; k < n_out; k++) {
    sq_type x = out[k];
    if (k >= n_carried) {
      sq_dim dim[SQ_MAX_RANK] = {n->extent};
      for (uint32_t a = 0; a < x.rank; a++) dim[a + 1] = x.dim[a];
      x = sq_type_make(r->g, x.dtype, x.rank + 1, dim);
    }
    rg_value(r, sq_node_result(r->g, n, x, NULL));
  }
}

static inline void rg_map(rg *r) {
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_MAP, (sq_span){0}, 0, NULL);
  uint32_t lanes = 1 + rg_next(r, 2), n_out = 1 + rg_next(r, 2);
  sq_type arg = sq_type_scalar(SQ_I32), out[2];
  n->g = sq_generic_new(r->g, lanes, 0);
  for (uint32_t a = 0; a < lanes; a++) n->g->axis[a].extent = r->size[rg_next(r, 3)];
  for (uint32_t k = 0; k < n_out; k++) {
    out[k] = rg_pick(r, 0)->type;
    if (out[k].rank > 2) out[k] = sq_type_scalar(SQ_F32);
  }
  sq_block *outer = r->b;
  uint32_t scope = r->live.n;
  r->b = sq_node_region(r->g, n, r->f);
  sq_value *index[2];
  for (uint32_t k = 0; k < lanes; k++) index[k] = sq_block_arg(r->b, arg, NULL);
  for (uint32_t k = 0; k < lanes; k++) { // something that depends on the index
    sq_value *v = rg_pick(r, 1);
    sq_node *m = sq_node_new(r->g, r->b, SQ_OP_GENERIC, (sq_span){0}, 1, &index[k]);
    m->g = sq_generic_new(r->g, 0, 0);
    uint32_t at = sq_sc_read(r->g, m->g, SQ_I32, 0, 0, NULL), pos[SQ_MAX_RANK];
    at = sq_sc_cast(r->g, m->g, at, SQ_I64);
    m->g->body = sq_sc_cast(r->g, m->g, at, SQ_F32);
    if (v) {
      for (uint32_t a = 0; a < v->type.rank; a++) pos[a] = at;
      uint32_t x = sq_sc_read(r->g, m->g, SQ_F32, sq_node_add_in(r->g, m, v), v->type.rank, pos);
      m->g->s.v[x].other = m->g->body;
      m->g->body = x;
    }
    rg_value(r, sq_node_result(r->g, m, sq_type_scalar(SQ_F32), NULL));
  }
  r->depth++;
  r->pure++;
  rg_block(r, 4);
  rg_yield(r, n_out, out);
  r->pure--;
  r->depth--;
  r->live.n = scope;
  r->b = outer;
  for (uint32_t k = 0; k < n_out; k++) {
    sq_dim dim[SQ_MAX_RANK];
    for (uint32_t a = 0; a < lanes; a++) dim[a] = n->g->axis[a].extent;
    for (uint32_t a = 0; a < out[k].rank; a++) dim[lanes + a] = out[k].dim[a];
    sq_type t = sq_type_make(r->g, SQ_F32, lanes + out[k].rank, dim);
    rg_value(r, sq_node_result(r->g, n, t, NULL));
  }
}

static inline void rg_along(rg *r) {
  sq_value *v = rg_pick(r, 1);
  if (!v) return;
  sq_opcode op = rg_next(r, 2) ? SQ_OP_CUMULATE : SQ_OP_SORT;
  sq_node *n = sq_node_new(r->g, r->b, op, (sq_span){0}, 1, &v);
  n->monoid = op == SQ_OP_CUMULATE ? SQ_MAX : SQ_MONOID_NONE;
  n->axis = rg_next(r, v->type.rank);
  rg_value(r, sq_node_result(r->g, n, v->type, NULL));
}

static inline void rg_if(rg *r) {
  sq_node *c = sq_node_new(r->g, r->b, SQ_OP_GENERIC, (sq_span){0}, 0, NULL);
  c->g = sq_generic_new(r->g, 0, 0);
  c->g->body = rg_condition(r, c);
  sq_value *cond = sq_node_result(r->g, c, sq_type_scalar(SQ_BOOL), NULL);
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_IF, (sq_span){0}, 1, &cond);
  sq_type t[2] = {rg_pick(r, 0)->type, rg_pick(r, 0)->type};
  uint32_t n_out = 1 + rg_next(r, 2);
  for (int side = 0; side < 2; side++) rg_region(r, n, 0, NULL, 2, n_out, t);
  for (uint32_t k = 0; k < n_out; k++) rg_value(r, sq_node_result(r->g, n, t[k], NULL));
}

static inline void rg_block(rg *r, uint32_t n) {
  for (uint32_t k = 0; k < n && r->nodes < 60; k++) {
    r->nodes++;
    switch (rg_next(r, 16)) {
    case 0:
    case 1:
    case 2:
      rg_elementwise(r);
      break;
    case 3:
    case 4:
      rg_reduction(r);
      break;
    case 5:
    case 6:
    case 7:
      rg_follow(r);
      break;
    case 8:
      rg_row(r);
      break;
    case 9:
      rg_update(r);
      break;
    case 10:
    case 11:
      rg_state(r);
      break;
    case 12:
      if (r->depth < 2) rg_loop(r);
      break;
    case 13:
      if (r->depth < 2) rg_map(r);
      break;
    case 14:
      rg_along(r);
      break;
    default:
      if (r->depth < 2) rg_if(r);
    }
  }
}

static inline sq_func *rg_init(rg *r, const char *name, sq_type t, bool instances) {
  sq_func *f = sq_func_new(r->g, name, SQ_FUNC_INIT, (sq_span){0});
  if (instances) sq_block_arg(f->body, sq_type_scalar(SQ_I32), NULL);
  sq_push(r->g->arena, &f->in_names, "at");
  sq_push(r->g->arena, &f->out_names, "value");
  f->in_names.n = instances;
  sq_node *n = sq_node_new(r->g, f->body, SQ_OP_GENERIC, (sq_span){0}, 0, NULL);
  n->g = sq_generic_new(r->g, t.rank, 0);
  for (uint32_t a = 0; a < t.rank; a++) n->g->axis[a].extent = t.dim[a];
  n->g->body = sq_sc_float(r->g, n->g, SQ_F32, 0.5);
  sq_value *v = sq_node_result(r->g, n, t, NULL);
  sq_node_new(r->g, f->body, SQ_OP_YIELD, (sq_span){0}, 1, &v);
  return f;
}

// One entry `run(a: f32[N, M], b: f32[M], c: f32[4, N], d: f32)` with a few outputs, and two
// states.
static inline sq_graph *rg_make(sq_ctx *ctx, sq_arena *arena, uint64_t seed) {
  rg r = {.g = sq_graph_new(ctx, arena, "random"), .rng = seed * 1000003};
  sq_dims *ds = r.g->dims;
  r.size[0] = sq_dim_sym(ds, sq_sym_new(ds, "N", SQ_SYM_SIZE));
  r.size[1] = sq_dim_sym(ds, sq_sym_new(ds, "M", SQ_SYM_SIZE));
  r.size[2] = sq_dim_const(ds, 4);
  r.size[3] = sq_dim_const(ds, 1);
  sq_type small = sq_type_make(r.g, SQ_F32, 1, &r.size[2]);
  sq_dim two[] = {r.size[2], r.size[2]};
  sq_type square = sq_type_make(r.g, SQ_F32, 2, two);
  sq_push(arena, &r.g->state, (sq_state){.name = "s", .type = small, .count = 1});
  sq_push(arena, &r.g->state,
          (sq_state){.name = "t", .type = square, .count = 2, .has_instances = true});
  r.g->state.v[0].init = rg_init(&r, "s.init", small, false);
  r.g->state.v[1].init = rg_init(&r, "t.init", square, true);
  r.f = sq_func_new(r.g, "run", SQ_FUNC_ENTRY, (sq_span){0});
  r.f->writes = true;
  r.b = r.f->body;
  const sq_dim shape[][2] = {{r.size[0], r.size[1]}, {r.size[1]}, {r.size[2], r.size[0]}, {{0}}};
  const uint32_t rank[] = {2, 1, 2, 0};
  static const char *const names[] = {"a", "b", "c", "d"};
  for (int k = 0; k < 4; k++) {
    sq_push(arena, &r.f->in_names, names[k]);
    rg_value(&r, sq_block_arg(r.b, sq_type_make(r.g, SQ_F32, rank[k], shape[k]), names[k]));
  }
  rg_block(&r, 6 + rg_next(&r, 14));
  sq_type t[3];
  uint32_t n_out = 1 + rg_next(&r, 3);
  static const char *const outs[] = {"x", "y", "z"};
  for (uint32_t k = 0; k < n_out; k++) {
    t[k] = rg_pick(&r, 0)->type;
    sq_push(arena, &r.f->out_names, outs[k]);
  }
  rg_yield(&r, n_out, t);
  return r.g;
}
