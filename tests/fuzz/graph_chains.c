// Long chains of shared expressions: each link reads the one before twice or more, so that looking at the
// last as often as it can be reached takes 2 to the length of the chain. In scalars of all kinds, in
// positions and conditions, and over many operations.
#include "tests/fuzz/graph_gen.h"

static uint32_t length(gn *r) { return 40 + gn_next(r, 20); }

// ---- scalars -----------------------------------------------------------------------------------
// x within `bound`, 1 in exact graphs and 1/2 in others, and so is what is made of it and `old`.
static uint32_t float_link(gn *r, sq_node *n, sq_dtype t, uint32_t x, uint32_t old) {
  sq_graph *g = r->g;
  sq_generic *k = n->g;
  uint32_t y;
  switch (gn_next(r, 8)) {
  case 0:
    y = sq_sc_ewise(g, k, SQ_EW_ADD, x, x);
    return sq_sc_ewise(g, k, SQ_EW_SUB, y, x);
  case 1:
    return sq_sc_ewise(g, k, SQ_EW_MUL, x, old);
  case 2:
    y = sq_sc_ewise(g, k, SQ_EW_NEG, x, SQ_NO_SCALAR);
    return sq_sc_ewise(g, k, gn_one_in(r, 2) ? SQ_EW_MAX : SQ_EW_MIN, old, y);
  case 3:
    if (!r->exact) break;
    return sq_sc_select(g, k, sq_sc_ewise(g, k, SQ_EW_LT, x, old), old, x);
  case 4:
    y = sq_sc_ewise(g, k, SQ_EW_ADD, x, x);
    return sq_sc_ewise(g, k, SQ_EW_MUL, y, sq_sc_float(g, k, t, 0.5));
  case 5:
    y = sq_sc_ewise(g, k, SQ_EW_MUL, x, x);
    y = sq_sc_ewise(g, k, SQ_EW_ADD, y, sq_sc_float(g, k, t, r->exact ? -1 : 0.25));
    return y;
  default:
    break;
  }
  return sq_sc_ewise(g, k, SQ_EW_MUL, x, x);
}
static double bound(const gn *r) { return r->exact ? 1 : 0.5; }

gn_num gn_float_chain(gn *r, gn_nest w, sq_dtype t, gn_num x) {
  uint32_t old = gn_squash(r, w, t, x, 1);
  if (!r->exact) old = sq_sc_ewise(r->g, w.n->g, SQ_EW_MUL, old, sq_sc_float(r->g, w.n->g, t, 0.5));
  uint32_t now = sq_sc_ewise(r->g, w.n->g, SQ_EW_MUL, old, old), kind = gn_next(r, 3);
  for (uint32_t k = length(r); k-- > 0;) {
    // squares of squares, or all kinds of links
    uint32_t next =
        kind ? float_link(r, w.n, t, now, old) : sq_sc_ewise(r->g, w.n->g, SQ_EW_MUL, now, now);
    old = now;
    now = next;
  }
  return (gn_num){now, bound(r)};
}

uint32_t gn_int_chain(gn *r, gn_nest w, uint32_t x) {
  static const sq_ewise two[] = {SQ_EW_ADD, SQ_EW_MUL, SQ_EW_SUB,    SQ_EW_MIN,
                                 SQ_EW_MAX, SQ_EW_ADD, SQ_EW_BITAND, SQ_EW_BITXOR};
  uint32_t old = x, kind = gn_next(r, 3);
  for (uint32_t k = length(r); k-- > 0;) {
    uint32_t next = sq_sc_ewise(r->g, w.n->g, kind ? two[gn_next(r, 8)] : SQ_EW_ADD, x,
                                kind && gn_one_in(r, 2) ? old : x);
    old = x;
    x = next;
  }
  return x;
}

uint32_t gn_bool_chain(gn *r, gn_nest w, uint32_t x, const uint32_t with[2]) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  for (uint32_t j = length(r); j-- > 0;) {
    bool either = gn_one_in(r, 2);
    uint32_t a = sq_sc_ewise(g, k, either ? SQ_EW_AND : SQ_EW_OR, x, with[0]);
    uint32_t b = sq_sc_ewise(g, k, either ? SQ_EW_AND : SQ_EW_OR, x, with[1]);
    if (gn_one_in(r, 6)) a = sq_sc_ewise(g, k, SQ_EW_NOT, a, SQ_NO_SCALAR);
    x = sq_sc_ewise(g, k, gn_one_in(r, 2) ? SQ_EW_AND : SQ_EW_OR, a, b);
  }
  return x;
}

// A position that stays the same: p + p - p, the least of p and 2 * p.
uint32_t gn_place_chain(gn *r, gn_nest w, uint32_t p) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  bool sums = gn_one_in(r, 2);
  for (uint32_t j = length(r); j-- > 0;) {
    uint32_t twice = sq_sc_ewise(g, k, SQ_EW_ADD, p, p);
    p = sq_sc_ewise(g, k, sums ? SQ_EW_SUB : SQ_EW_MIN, twice, p);
  }
  return p;
}

// ---- operations --------------------------------------------------------------------------------
// One link more, as an operation of its own.
static sq_value *link(gn *r, sq_value *now, sq_value *old) {
  sq_node *n = gn_node(r, SQ_OP_GENERIC);
  sq_dtype t = now->type.dtype;
  uint32_t rank = now->type.rank, pos[SQ_MAX_RANK];
  n->g = sq_generic_new(r->g, rank, 0);
  for (uint32_t a = 0; a < rank; a++) {
    n->g->axis[a].extent = now->type.dim[a];
    pos[a] = sq_sc_index(r->g, n->g, a);
  }
  uint32_t x = sq_sc_read(r->g, n->g, t, sq_node_add_in(r->g, n, now), rank, pos), y = x;
  if (old != now) y = sq_sc_read(r->g, n->g, t, sq_node_add_in(r->g, n, old), rank, pos);
  n->g->body = float_link(r, n, t, x, y);
  return sq_node_result(r->g, n, now->type, NULL);
}

static sq_value *links(gn *r, sq_value *v) {
  sq_value *old = v;
  for (uint32_t k = length(r); k-- > 0;) {
    sq_value *next = link(r, v, old);
    old = v;
    v = next;
  }
  return v;
}

static bool chainable(sq_dtype t) { return t == SQ_F32 || t == SQ_F64; }

// What is in scope, made small enough for links.
static sq_value *first_link(gn *r, sq_value *v) {
  sq_node *n = gn_node(r, SQ_OP_GENERIC);
  uint32_t rank = v->type.rank, pos[SQ_MAX_RANK];
  n->g = sq_generic_new(r->g, rank, 0);
  for (uint32_t a = 0; a < rank; a++) {
    n->g->axis[a].extent = v->type.dim[a];
    pos[a] = sq_sc_index(r->g, n->g, a);
  }
  uint32_t x = sq_sc_read(r->g, n->g, v->type.dtype, sq_node_add_in(r->g, n, v), rank, pos);
  double to = bound(r);
  x = sq_sc_ewise(r->g, n->g, SQ_EW_MIN, x, sq_sc_float(r->g, n->g, v->type.dtype, to));
  n->g->body = sq_sc_ewise(r->g, n->g, SQ_EW_MAX, x, sq_sc_float(r->g, n->g, v->type.dtype, -to));
  return sq_node_result(r->g, n, v->type, NULL);
}

void gn_chain(gn *r) {
  sq_value *v = gn_pick(r, gn_one_in(r, 4) ? SQ_F64 : SQ_F32, 0);
  if (!v || !chainable(v->type.dtype) || gn_count(r, v->type) * r->turns * 60 > GN_MAX_STEPS)
    return;
  gn_live(r, links(r, first_link(r, v)));
}

static sq_value *product(gn *r, sq_value *a, sq_value *b, bool turned, bool causal) {
  sq_node *n = gn_node(r, SQ_OP_GENERIC);
  sq_generic *k = n->g = sq_generic_new(r->g, 2, 1);
  sq_dtype t = a->type.dtype;
  k->monoid = SQ_SUM;
  k->axis[0].extent = a->type.dim[0];
  k->axis[1].extent = b->type.dim[!turned];
  k->axis[2].extent = a->type.dim[1];
  uint32_t i = sq_sc_index(r->g, k, 0), j = sq_sc_index(r->g, k, 1), e = sq_sc_index(r->g, k, 2);
  uint32_t of_a[] = {i, e}, of_b[] = {turned ? j : e, turned ? e : j};
  uint32_t x = sq_sc_read(r->g, k, t, sq_node_add_in(r->g, n, a), 2, of_a);
  uint32_t y = sq_sc_read(r->g, k, t, sq_node_add_in(r->g, n, b), 2, of_b);
  k->body = sq_sc_ewise(r->g, k, SQ_EW_MUL, x, y);
  if (causal) sq_push(r->a, &k->domain, sq_sc_ewise(r->g, k, SQ_EW_LE, e, i));
  if (gn_one_in(r, 3)) {
    uint32_t with[] = {sq_sc_ewise(r->g, k, SQ_EW_LE, e, i), sq_sc_ewise(r->g, k, SQ_EW_LT, e, j)};
    sq_push(r->a, &k->domain, gn_bool_chain(r, (gn_nest){n, 3}, with[1], with));
  }
  gn_nest w = {n, 2};
  k->post = gn_squash(r, w, t, (gn_num){sq_sc_acc(r->g, k, t), 1e9}, GN_STORED);
  return sq_node_result(
      r->g, n, sq_type_make(r->g, t, 2, (sq_dim[]){k->axis[0].extent, k->axis[1].extent}), NULL);
}

// Attention whose weights are links upon links of the scores.
void gn_chained_attention(gn *r) {
  sq_value *v = gn_pick(r, SQ_F32, 2);
  if (!v || v->type.rank != 2) return;
  double rows = (double)gn_nominal(r, v->type.dim[0]);
  if (rows * rows * (60 + (double)gn_nominal(r, v->type.dim[1])) * r->turns > 8 * GN_MAX_STEPS)
    return;
  sq_value *s = product(r, v, v, true, false);
  gn_live(r, product(r, links(r, first_link(r, s)), v, false, gn_one_in(r, 2)));
}
