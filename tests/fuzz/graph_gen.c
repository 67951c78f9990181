// Random well-typed graphs: operations, regions, states, parameters, functions, entries.
#include "tests/fuzz/graph_gen.h"

int64_t gn_nominal(gn *r, sq_dim d) {
  int64_t v;
  return sq_dim_eval(r->g->dims, d, r->nominal, &v) ? v : 1000000;
}

double gn_count(gn *r, sq_type t) {
  double n = 1;
  for (uint32_t k = 0; k < t.rank; k++) n *= (double)gn_nominal(r, t.dim[k]);
  return n;
}

sq_value *gn_live(gn *r, sq_value *v) {
  sq_push(r->a, &r->live, v);
  return v;
}

sq_value *gn_pick(gn *r, sq_dtype t, uint32_t min_rank) {
  for (int k = 0; k < 12; k++) {
    uint32_t n = r->live.n, at = gn_next(r, n);
    if (gn_one_in(r, 2) && n > 4) at = n - 1 - gn_next(r, 4); // recent ones, to make chains
    sq_value *v = r->live.v[at];
    if ((t == SQ_DTYPE_COUNT || v->type.dtype == t) && v->type.rank >= min_rank) return v;
  }
  return NULL;
}

sq_dim gn_size(gn *r) { return r->size.v[gn_one_in(r, 3) ? gn_next(r, r->size.n) : gn_next(r, 4)]; }

static sq_dtype pick_dtype(gn *r) {
  static const sq_dtype usual[] = {SQ_F32, SQ_F32, SQ_F32, SQ_F32, SQ_F32, SQ_I32, SQ_I32, SQ_BOOL};
  return gn_one_in(r, 4) ? (sq_dtype)gn_next(r, SQ_DTYPE_COUNT) : usual[gn_next(r, 8)];
}

// ---- loop nests --------------------------------------------------------------------------------
sq_node *gn_node(gn *r, sq_opcode op) { return sq_node_new(r->g, r->b, op, (sq_span){0}, 0, NULL); }

// Axes of extents in scope; not more steps than allowed.
static gn_nest new_nest(gn *r, sq_opcode op, uint32_t n_par, uint32_t n_red) {
  sq_node *n = gn_node(r, op);
  n->g = sq_generic_new(r->g, n_par, n_red);
  double steps = r->turns;
  sq_value *like = gn_one_in(r, 2) ? gn_pick(r, SQ_DTYPE_COUNT, 1) : NULL;
  for (uint32_t a = 0; a < n_par + n_red; a++) {
    sq_dim d = like && a < like->type.rank && !gn_one_in(r, 8) ? like->type.dim[a] : gn_size(r);
    if (steps * (double)gn_nominal(r, d) > GN_MAX_STEPS)
      d = sq_dim_const(r->g->dims, 1 + gn_next(r, 3));
    n->g->axis[a].extent = d;
    steps *= (double)gn_nominal(r, d);
  }
  return (gn_nest){n, n_par + n_red};
}

sq_value *gn_nest_result(gn *r, sq_node *n, sq_dtype t) {
  sq_dim dim[SQ_MAX_RANK];
  for (uint32_t a = 0; a < n->g->n_par; a++) dim[a] = n->g->axis[a].extent;
  return gn_live(r, sq_node_result(r->g, n, sq_type_make(r->g, t, n->g->n_par, dim), NULL));
}

static void elementwise(gn *r) {
  gn_nest w = new_nest(r, SQ_OP_GENERIC, gn_next(r, 4), 0);
  sq_dtype t = pick_dtype(r);
  w.n->g->body = gn_any(r, w, t, 1 + (int)gn_next(r, 4));
  gn_nest_result(r, w.n, t);
}

// The same axes as a value in scope, and that value read: what fusion is for.
static void follow(gn *r) {
  sq_value *v = gn_pick(r, SQ_DTYPE_COUNT, 0);
  if (!v || gn_count(r, v->type) * r->turns > GN_MAX_STEPS) return;
  sq_node *n = gn_node(r, SQ_OP_GENERIC);
  n->g = sq_generic_new(r->g, v->type.rank, 0);
  gn_nest w = {n, v->type.rank};
  uint32_t pos[SQ_MAX_RANK];
  for (uint32_t a = 0; a < v->type.rank; a++) {
    n->g->axis[a].extent = v->type.dim[a];
    pos[a] = sq_sc_index(r->g, n->g, a);
  }
  sq_dtype t = v->type.dtype;
  uint32_t x = sq_sc_read(r->g, n->g, t, sq_node_add_in(r->g, n, v), v->type.rank, pos);
  if (t == SQ_BOOL) {
    sq_ewise ew = gn_one_in(r, 2) ? SQ_EW_AND : SQ_EW_OR;
    n->g->body = sq_sc_ewise(r->g, n->g, ew, x, gn_bool(r, w, 2));
  } else {
    sq_ewise ew = gn_one_in(r, 3) ? SQ_EW_MUL : gn_one_in(r, 2) ? SQ_EW_SUB : SQ_EW_ADD;
    uint32_t y = gn_any(r, w, t, 2);
    y = sq_sc_ewise(r->g, n->g, ew, x, y);
    n->g->body = sq_is_float(t) ? gn_squash(r, w, t, (gn_num){y, 64}, GN_STORED) : y;
  }
  gn_nest_result(r, n, t);
}

// Only data movement: transposes, slices, splits, gathers.
static void move(gn *r) {
  sq_value *v = gn_pick(r, SQ_DTYPE_COUNT, 1);
  if (!v) return;
  gn_nest w = new_nest(r, SQ_OP_GENERIC, v->type.rank, 0);
  uint32_t shift = gn_next(r, v->type.rank);
  double steps = r->turns;
  for (uint32_t a = 0; a < v->type.rank; a++) {
    sq_dim d = v->type.dim[(a + shift) % v->type.rank];
    steps *= (double)gn_nominal(r, d);
    if (!gn_one_in(r, 6) && steps < GN_MAX_STEPS) w.n->g->axis[a].extent = d;
  }
  w.n->g->body = gn_read(r, w, v);
  gn_nest_result(r, w.n, v->type.dtype);
}

// What follows a reduction: acc, made small enough to be stored.
void gn_finish(gn *r, gn_nest w, sq_dtype acc) {
  sq_generic *k = w.n->g;
  gn_nest after = {w.n, k->n_par};
  uint32_t x = sq_sc_acc(r->g, k, acc);
  if (!sq_is_float(acc)) {
    if (gn_one_in(r, 2)) return;
    if (acc == SQ_BOOL)
      x = sq_sc_ewise(r->g, k, SQ_EW_NOT, x, SQ_NO_SCALAR);
    else
      x = sq_sc_ewise(r->g, k, SQ_EW_ADD, x, gn_int(r, after, acc, 1));
    k->post = x;
    return;
  }
  if (k->monoid == SQ_MEAN && r->exact) { // away from the rounding of the division
    x = sq_sc_cast(r->g, k, x, SQ_F32);
    x = sq_sc_ewise(r->g, k, SQ_EW_ADD, x, sq_sc_float(r->g, k, SQ_F32, 1.0 / 16384));
    x = sq_sc_ewise(r->g, k, SQ_EW_FLOOR, x, SQ_NO_SCALAR);
    x = sq_sc_cast(r->g, k, x, acc);
  }
  x = gn_squash(r, after, acc, (gn_num){x, 1e9}, GN_STORED);
  if (gn_one_in(r, 3)) {
    uint32_t y = gn_any(r, after, acc, 1);
    x = sq_sc_ewise(r->g, k, gn_one_in(r, 3) ? SQ_EW_MUL : SQ_EW_ADD, x, y);
    x = gn_squash(r, after, acc, (gn_num){x, 64}, GN_STORED);
  }
  k->post = x;
}

// A reduction of the nest's body; its element's type must suit.
static sq_dtype reduce(gn *r, gn_nest w) {
  static const sq_monoid all[] = {SQ_SUM, SQ_SUM, SQ_SUM,  SQ_MAX,    SQ_MIN,    SQ_MEAN,
                                  SQ_ANY, SQ_ALL, SQ_PROD, SQ_ARGMAX, SQ_ARGMIN, SQ_LOGSUMEXP};
  sq_generic *k = w.n->g;
  k->monoid = all[gn_next(r, r->exact ? 11 : 12)];
  sq_dtype t = pick_dtype(r);
  bool decides = k->monoid == SQ_ARGMAX || k->monoid == SQ_ARGMIN;
  if (k->monoid == SQ_ANY || k->monoid == SQ_ALL)
    t = SQ_BOOL;
  else if ((k->monoid == SQ_MEAN || k->monoid == SQ_LOGSUMEXP) && !sq_is_float(t))
    t = SQ_F32;
  else if ((t == SQ_BOOL && !decides && k->monoid != SQ_MAX && k->monoid != SQ_MIN) ||
           (decides && !r->exact && sq_is_float(t)) ||
           (k->monoid == SQ_PROD && !r->exact && sq_is_float(t)))
    t = SQ_I32;
  k->body = gn_any(r, w, t, 1 + (int)gn_next(r, 3));
  if (k->monoid == SQ_PROD && sq_is_float(t)) k->body = gn_squash(r, w, t, (gn_num){k->body, 8}, 1);
  // f16 and bf16: what is summed must fit them
  if ((k->monoid == SQ_SUM || k->monoid == SQ_MEAN) && sq_dtype_table[t].bytes == 2 &&
      sq_is_float(t))
    k->body = gn_squash(r, w, t, (gn_num){k->body, 8}, 1);
  for (uint32_t c = gn_next(r, 3); c > 1; c--) sq_push(r->a, &k->domain, gn_bool(r, w, 2));
  if (gn_one_in(r, 4)) sq_push(r->a, &k->domain, gn_bool(r, w, 1));
  sq_dtype acc = sq_monoid_result(k->monoid, t);
  gn_finish(r, w, acc);
  return acc;
}

static void reduction(gn *r) {
  uint32_t n_par = gn_next(r, 3);
  gn_nest w = new_nest(r, SQ_OP_GENERIC, n_par, 1 + gn_one_in(r, 4));
  sq_dtype t = reduce(r, w);
  gn_nest_result(r, w.n, t);
}

// sum over k of a * b: operands made for it, axes in random order, some joined.
static void contraction(gn *r) {
  uint32_t n_par = 1 + gn_next(r, 3), n_red = 1 + gn_one_in(r, 4);
  gn_nest w = new_nest(r, SQ_OP_GENERIC, n_par, n_red);
  sq_generic *k = w.n->g;
  static const sq_dtype types[] = {SQ_F32, SQ_F32, SQ_F32, SQ_F32, SQ_F64, SQ_F16, SQ_BF16, SQ_I8};
  sq_dtype t = types[gn_next(r, 8)], at = t == SQ_I8                    ? SQ_I32
                                          : t == SQ_F16 || t == SQ_BF16 ? SQ_F32
                                                                        : t;
  if (gn_one_in(r, 4)) at = t;
  uint32_t factor[2];
  for (int side = 0; side < 2; side++) {
    // Which axes: all reduced ones, of the others batch (both), m or n.
    uint32_t axes[SQ_MAX_RANK], n = 0;
    for (uint32_t a = 0; a < n_par; a++)
      if (side == (int)(a % 2) || gn_one_in(r, 4)) axes[n++] = a;
    for (uint32_t a = n_par; a < n_par + n_red; a++) axes[n++] = a;
    for (uint32_t i = n; i > 1; i--) {
      uint32_t j = gn_next(r, i), x = axes[j];
      axes[j] = axes[i - 1];
      axes[i - 1] = x;
    }
    sq_dim dim[SQ_MAX_RANK];
    uint32_t pos[SQ_MAX_RANK], rank = 0;
    for (uint32_t i = 0; i < n; i++) {
      int64_t c;
      dim[rank] = k->axis[axes[i]].extent;
      pos[rank] = sq_sc_index(r->g, k, axes[i]);
      if (i + 1 < n && gn_one_in(r, 5) &&
          sq_dim_is_const(r->g->dims, k->axis[axes[i + 1]].extent, &c) && c > 1) { // a joined axis
        pos[rank] = sq_sc_ewise(r->g, k, SQ_EW_MUL, pos[rank], sq_sc_int(r->g, k, SQ_I64, c));
        pos[rank] = sq_sc_ewise(r->g, k, SQ_EW_ADD, pos[rank], sq_sc_index(r->g, k, axes[i + 1]));
        dim[rank] = sq_dim_mul(r->g->dims, dim[rank], k->axis[axes[++i]].extent);
      }
      rank++;
    }
    sq_type type = sq_type_make(r->g, t, rank, dim);
    sq_value *v = NULL;
    for (uint32_t i = 0; i < r->live.n && !v; i++)
      if (sq_type_same(r->live.v[i]->type, type) && gn_one_in(r, 2)) v = r->live.v[i];
    if (!v) {
      sq_node *m = sq_node_new(r->g, NULL, SQ_OP_GENERIC, (sq_span){0}, 0, NULL);
      m->g = sq_generic_new(r->g, rank, 0);
      for (uint32_t a = 0; a < rank; a++) m->g->axis[a].extent = dim[a];
      m->g->body = gn_any(r, (gn_nest){m, rank}, t, 1);
      v = sq_node_result(r->g, m, type, NULL);
      sq_node_insert_before(w.n, m);
    }
    uint32_t x = sq_sc_read(r->g, k, t, sq_node_add_in(r->g, w.n, v), rank, pos);
    if (at != t) x = sq_sc_cast(r->g, k, x, at);
    if (sq_is_float(at) && gn_one_in(r, 6))
      x = sq_sc_ewise(r->g, k, SQ_EW_MUL, x, sq_sc_float(r->g, k, at, r->exact ? -1 : 0.25));
    factor[side] = x;
  }
  k->monoid = SQ_SUM;
  bool narrow = at == SQ_F16 || at == SQ_BF16;
  if (narrow) { // sums must stay exact
    factor[0] = gn_squash(r, w, at, (gn_num){factor[0], 8}, 1);
    factor[1] = gn_squash(r, w, at, (gn_num){factor[1], 8}, 1);
  }
  k->body = sq_sc_ewise(r->g, k, SQ_EW_MUL, factor[0], factor[1]);
  if (gn_one_in(r, 5)) sq_push(r->a, &k->domain, gn_bool(r, w, 1));
  gn_finish(r, w, at);
  gn_nest_result(r, w.n, at);
}

// The same operation once more: for cse.
static void again(gn *r) {
  sq_value *v = gn_pick(r, SQ_DTYPE_COUNT, 0);
  if (!v || !v->def || v->def->block != r->b || v->def->op != SQ_OP_GENERIC) return;
  sq_value **map = SQ_ARRAY(r->a, sq_value *, r->g->n_values + 1);
  sq_node *n = sq_node_clone(r->g, v->def, r->b, map, NULL, 0);
  gn_live(r, n->out[0]);
}

static void keyed(gn *r) {
  gn_nest w = new_nest(r, SQ_OP_GENERIC, 0, 1 + gn_one_in(r, 3));
  sq_generic *k = w.n->g;
  k->keyed = true;
  sq_dtype t = reduce(r, w);
  k->n_pos = 1 + gn_one_in(r, 3);
  k->pos = SQ_ARRAY(r->a, uint32_t, k->n_pos + 1);
  sq_dim dim[SQ_MAX_RANK];
  for (uint32_t d = 0; d < k->n_pos; d++) {
    dim[d] = gn_size(r);
    uint32_t p = gn_int(r, w, gn_one_in(r, 3) ? SQ_I64 : SQ_I32, 1);
    if (!gn_one_in(r, 4)) {
      p = sq_sc_cast(r->g, k, p, SQ_I64);
      p = sq_sc_ewise(r->g, k, SQ_EW_MOD, p, sq_sc_dim(r->g, k, dim[d]));
    }
    k->pos[d] = p;
  }
  // What follows the reduction knows no axes.
  k->post = SQ_NO_SCALAR;
  if (sq_is_float(t)) {
    uint32_t x = sq_sc_acc(r->g, k, t);
    if (k->monoid == SQ_MEAN && r->exact) {
      x = sq_sc_cast(r->g, k, x, SQ_F32);
      x = sq_sc_ewise(r->g, k, SQ_EW_ADD, x, sq_sc_float(r->g, k, SQ_F32, 1.0 / 16384));
      x = sq_sc_cast(r->g, k, sq_sc_ewise(r->g, k, SQ_EW_FLOOR, x, SQ_NO_SCALAR), t);
    }
    k->post = gn_squash(r, (gn_nest){w.n, 0}, t, (gn_num){x, 1e9}, GN_STORED);
  }
  gn_live(r, sq_node_result(r->g, w.n, sq_type_make(r->g, t, k->n_pos, dim), NULL));
}

// ---- writes ------------------------------------------------------------------------------------
// The places and elements of an update or write of a value of type t.
static void places(gn *r, sq_node *n, sq_type t) {
  uint32_t n_par = t.rank && gn_one_in(r, 4) ? gn_next(r, 3) : t.rank, n_red = gn_one_in(r, 8);
  n->g = sq_generic_new(r->g, n_par, n_red);
  sq_generic *k = n->g;
  gn_nest w = {n, n_par};
  double steps = r->turns;
  for (uint32_t a = 0; a < n_par + n_red; a++) {
    sq_dim d = a < t.rank && !gn_one_in(r, 6) ? t.dim[a] : gn_size(r);
    if (steps * (double)gn_nominal(r, d) > GN_MAX_STEPS) d = sq_dim_const(r->g->dims, 2);
    k->axis[a].extent = d;
    steps *= (double)gn_nominal(r, d);
  }
  k->n_pos = t.rank;
  k->pos = SQ_ARRAY(r->a, uint32_t, t.rank + 1);
  bool tested = false;
  for (uint32_t a = 0; a < t.rank; a++) {
    int64_t c;
    bool one = sq_dim_is_const(r->g->dims, t.dim[a], &c) && c > 0;
    k->pos[a] = gn_one_in(r, 4) && (one || r->may_fail) ? SQ_NO_SCALAR : gn_inside(r, w, t.dim[a]);
    if (k->pos[a] == SQ_NO_SCALAR) { // given by data
      uint32_t p = sq_sc_cast(r->g, k, gn_int(r, w, SQ_I32, 1), SQ_I64);
      k->pos[a] = sq_sc_ewise(r->g, k, SQ_EW_MOD, p, sq_sc_dim(r->g, k, t.dim[a]));
      tested |= !one;
    }
  }
  if (tested) {
    k->pos_site = gn_site(r);
    if (!r->may_fail) { // an empty target: write nothing
      uint32_t ok = sq_sc_int(r->g, k, SQ_BOOL, 1);
      for (uint32_t a = 0; a < t.rank; a++) {
        uint32_t none = sq_sc_int(r->g, k, SQ_I64, 0);
        uint32_t some = sq_sc_ewise(r->g, k, SQ_EW_LT, none, sq_sc_dim(r->g, k, t.dim[a]));
        ok = sq_sc_ewise(r->g, k, SQ_EW_AND, ok, some);
      }
      k->write_guard = ok;
    }
  }
  if (n_red) {
    w.n_axes = n_par + n_red;
    k->monoid = t.dtype == SQ_BOOL ? SQ_ANY : SQ_MAX;
    if (sq_is_float(t.dtype) && !r->exact) k->monoid = SQ_SUM;
    k->body = gn_any(r, w, t.dtype, 2);
    if (sq_is_float(t.dtype))
      k->post = gn_squash(r, (gn_nest){n, n_par}, t.dtype,
                          (gn_num){sq_sc_acc(r->g, k, t.dtype), 1e9}, GN_STORED);
    return;
  }
  k->body = gn_any(r, w, t.dtype, 2);
  if (gn_one_in(r, 3) && k->write_guard == SQ_NO_SCALAR) k->write_guard = gn_bool(r, w, 2);
}

static void update(gn *r) {
  sq_value *v = gn_pick(r, SQ_DTYPE_COUNT, 0);
  if (!v || gn_count(r, v->type) * r->turns > GN_MAX_STEPS) return;
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_UPDATE, (sq_span){0}, 1, &v);
  places(r, n, v->type);
  gn_live(r, sq_node_result(r->g, n, v->type, NULL));
}

static void add_instance(gn *r, sq_node *n, sq_value *at) {
  sq_value **in = SQ_ARRAY(r->a, sq_value *, n->n_in + 2);
  if (n->n_in) memcpy(in, n->in, n->n_in * sizeof *in);
  in[n->n_in++] = at;
  n->in = in;
  n->has_instance = true;
}

sq_value *gn_int_const(gn *r, int64_t x) { return sq_const_int(r->g, r->b, SQ_I32, x); }

// A scalar i32 below `below`: constant, or from data.
sq_value *gn_small_int(gn *r, uint32_t below) {
  if (gn_one_in(r, 2)) return gn_int_const(r, gn_next(r, below));
  sq_node *n = gn_node(r, SQ_OP_GENERIC);
  n->g = sq_generic_new(r->g, 0, 0);
  uint32_t x = gn_int(r, (gn_nest){n, 0}, SQ_I32, 2);
  n->g->body = sq_sc_ewise(r->g, n->g, SQ_EW_MOD, x, sq_sc_int(r->g, n->g, SQ_I32, below));
  return sq_node_result(r->g, n, sq_type_scalar(SQ_I32), NULL);
}

// Values whose extent a growing state gives are of the past once it has grown: the function's first
// input stands in their place.
static void forget(gn *r, sq_sym grow) {
  for (uint32_t k = 0; k < r->live.n; k++)
    for (uint32_t a = 0; a < r->live.v[k]->type.rank; a++)
      if (sq_dim_mentions(r->g->dims, r->live.v[k]->type.dim[a], grow)) r->live.v[k] = r->live.v[0];
}
// Before a region in which states may grow.
bool gn_may_grow(gn *r) {
  if (r->quiet || r->pure || !gn_one_in(r, 4)) return false;
  for (uint32_t k = 0; k < r->g->state.n; k++)
    if (r->g->state.v[k].grow.i) forget(r, r->g->state.v[k].grow);
  return true;
}

static void whole_write(gn *r, sq_node *n, const sq_state *s) {
  n->g = sq_generic_new(r->g, s->type.rank, 0);
  for (uint32_t a = 0; a < s->type.rank; a++) {
    n->g->axis[a].extent = s->type.dim[a];
    if (!s->grow.i || a != s->grow_axis) continue;
    sq_dim d = gn_size(r);
    if (gn_one_in(r, 3)) d = sq_dim_add(r->g->dims, s->type.dim[a], sq_dim_const(r->g->dims, 1));
    if (gn_count(r, s->type) * r->turns * (double)gn_nominal(r, d) > GN_MAX_STEPS)
      d = sq_dim_const(r->g->dims, 2);
    n->g->axis[a].extent = d;
  }
  n->g->body = gn_any(r, (gn_nest){n, s->type.rank}, s->type.dtype, 2);
}

static void state(gn *r) {
  uint32_t ref = gn_next(r, r->g->state.n);
  const sq_state *s = &r->g->state.v[ref];
  sq_value *at = s->has_instances ? gn_small_int(r, s->count) : NULL;
  if (r->pure || gn_next(r, 2)) {
    sq_node *n = gn_node(r, SQ_OP_STATE_READ);
    n->ref = ref;
    if (at) add_instance(r, n, at);
    gn_live(r, sq_node_result(r->g, n, s->type, NULL));
    return;
  }
  if (s->grow.i && !r->quiet && gn_one_in(r, 2)) {
    sq_value *rows = gn_small_int(r, 6);
    sq_node *n = sq_node_new(r->g, r->b, SQ_OP_RESERVE, (sq_span){0}, 1, &rows);
    n->ref = ref;
    if (at) add_instance(r, n, at);
    forget(r, s->grow);
    return;
  }
  bool whole = gn_one_in(r, 2) && (!s->grow.i || !r->quiet);
  sq_node *n = gn_node(r, SQ_OP_STATE_WRITE);
  n->ref = ref;
  if (whole)
    whole_write(r, n, s);
  else
    places(r, n, s->type);
  if (at) add_instance(r, n, at);
  if (whole && s->grow.i) forget(r, s->grow);
}

static void param(gn *r) {
  uint32_t ref = gn_next(r, r->g->param.n);
  const sq_param *p = &r->g->param.v[ref];
  sq_value *at = p->has_instances ? gn_small_int(r, p->count) : NULL;
  if (!p->written || r->pure || gn_next(r, 2)) {
    sq_node *n = gn_node(r, SQ_OP_PARAM);
    n->ref = ref;
    if (at) add_instance(r, n, at);
    gn_live(r, sq_node_result(r->g, n, p->type, NULL));
    return;
  }
  sq_node *n = gn_node(r, SQ_OP_PARAM_WRITE);
  n->ref = ref;
  places(r, n, p->type);
  if (at) add_instance(r, n, at);
}

// ---- other operations --------------------------------------------------------------------------
static void along(gn *r) {
  sq_value *v = gn_pick(r, SQ_DTYPE_COUNT, 1);
  if (!v || gn_count(r, v->type) * r->turns > GN_MAX_STEPS) return;
  sq_dtype t = v->type.dtype;
  uint32_t axis = gn_next(r, v->type.rank), what = gn_next(r, 4);
  bool decides = r->exact || !sq_is_float(t);
  if (what == 0 || !decides) {
    if (t == SQ_BOOL) return;
    static const sq_monoid m[] = {SQ_MAX, SQ_MIN, SQ_SUM, SQ_PROD};
    sq_node *n = sq_node_new(r->g, r->b, SQ_OP_CUMULATE, (sq_span){0}, 1, &v);
    n->axis = axis;
    n->monoid = m[gn_next(r, sq_is_float(t) ? 3 : 4)];
    bool narrow = sq_is_float(t) && sq_dtype_table[t].bytes == 2;
    if (n->monoid == SQ_SUM && narrow) n->monoid = SQ_MAX;
    sq_value *y = sq_node_result(r->g, n, v->type, NULL);
    if (!sq_is_float(t) || n->monoid != SQ_SUM) {
      gn_live(r, y);
      return;
    }
    sq_node *c = sq_node_new(r->g, r->b, SQ_OP_GENERIC, (sq_span){0}, 1, &y); // made small
    c->g = sq_generic_new(r->g, v->type.rank, 0);
    uint32_t pos[SQ_MAX_RANK];
    for (uint32_t a = 0; a < v->type.rank; a++) {
      c->g->axis[a].extent = v->type.dim[a];
      pos[a] = sq_sc_index(r->g, c->g, a);
    }
    uint32_t x = sq_sc_read(r->g, c->g, t, 0, v->type.rank, pos);
    c->g->body = gn_squash(r, (gn_nest){c, v->type.rank}, t, (gn_num){x, 1e9}, GN_STORED);
    gn_nest_result(r, c, t);
    return;
  }
  if (what < 3) {
    sq_node *n =
        sq_node_new(r->g, r->b, what == 1 ? SQ_OP_SORT : SQ_OP_ARGSORT, (sq_span){0}, 1, &v);
    n->axis = axis;
    sq_type out = v->type;
    if (what == 2) out.dtype = SQ_I32;
    gn_live(r, sq_node_result(r->g, n, out, NULL));
    return;
  }
  sq_value *in[2] = {v};
  uint32_t n_in = 1;
  for (uint32_t k = 0; k < r->live.n && gn_one_in(r, 2); k++) {
    sq_type want = v->type;
    want.dtype = SQ_BOOL;
    if (sq_type_same(r->live.v[k]->type, want)) in[1] = r->live.v[k], n_in = 2;
  }
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_TOPK, (sq_span){0}, n_in, in);
  n->axis = axis;
  n->extent = gn_one_in(r, 2) ? sq_dim_const(r->g->dims, gn_next(r, 5)) : gn_size(r);
  sq_dim dim[SQ_MAX_RANK];
  memcpy(dim, v->type.dim, v->type.rank * sizeof *dim);
  dim[axis] = n->extent;
  sq_type out = sq_type_make(r->g, t, v->type.rank, dim);
  sq_value *top = sq_node_result(r->g, n, out, NULL);
  if (!sq_is_float(t)) gn_live(r, top); // missing ones are -inf
  out.dtype = SQ_I32;
  gn_live(r, sq_node_result(r->g, n, out, NULL));
}

static void randomness(gn *r) {
  sq_value *key = gn_small_int(r, 100);
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_RANDOM, (sq_span){0}, 1, &key);
  n->flag = !r->exact && gn_one_in(r, 2);
  static const sq_dtype types[] = {SQ_F32, SQ_F32, SQ_F64, SQ_F16, SQ_BF16};
  sq_dim dim[2] = {gn_size(r), gn_size(r)};
  uint32_t rank = gn_next(r, 3);
  sq_type t = sq_type_make(r->g, types[gn_next(r, 5)], rank, dim);
  sq_value *v = sq_node_result(r->g, n, t, NULL);
  if (gn_count(r, t) * r->turns > GN_MAX_STEPS) return;
  sq_node *c = sq_node_new(r->g, r->b, SQ_OP_GENERIC, (sq_span){0}, 1, &v);
  c->g = sq_generic_new(r->g, rank, 0);
  uint32_t pos[2];
  for (uint32_t a = 0; a < rank; a++) {
    c->g->axis[a].extent = dim[a];
    pos[a] = sq_sc_index(r->g, c->g, a);
  }
  uint32_t x = sq_sc_read(r->g, c->g, t.dtype, 0, rank, pos);
  if (r->exact) {
    x = sq_sc_ewise(r->g, c->g, SQ_EW_MUL, x, sq_sc_float(r->g, c->g, t.dtype, 8));
    x = sq_sc_ewise(r->g, c->g, SQ_EW_FLOOR, x, SQ_NO_SCALAR);
  }
  c->g->body = x;
  gn_nest_result(r, c, t.dtype);
}

static void live_size(gn *r) {
  if (r->n_lives >= 3) return;
  sq_dim limit = gn_size(r);
  for (uint32_t k = 1; k <= sq_sym_count(r->g->dims); k++)
    if (sq_sym_at(r->g->dims, (sq_sym){k})->kind != SQ_SYM_SIZE &&
        sq_dim_mentions(r->g->dims, limit, (sq_sym){k}))
      return;
  sq_node *c = gn_node(r, SQ_OP_GENERIC);
  c->g = sq_generic_new(r->g, 0, 0);
  uint32_t x = sq_sc_cast(r->g, c->g, gn_int(r, (gn_nest){c, 0}, SQ_I32, 2), SQ_I64);
  sq_dim more = sq_dim_add(r->g->dims, limit, sq_dim_const(r->g->dims, 1));
  x = sq_sc_ewise(r->g, c->g, SQ_EW_MOD, x, sq_sc_dim(r->g, c->g, more));
  c->g->body = sq_sc_cast(r->g, c->g, x, SQ_I32);
  sq_value *v = sq_node_result(r->g, c, sq_type_scalar(SQ_I32), NULL);
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_LIVE, (sq_span){0}, 1, &v);
  n->sym = sq_sym_new(r->g->dims, "n", SQ_SYM_LIVE);
  n->site = gn_site(r);
  sq_sym_at(r->g->dims, n->sym)->limit = limit;
  if (n->sym.i < 64) r->nominal[n->sym.i] = gn_nominal(r, limit);
  r->n_lives++;
  sq_push(r->a, &r->size, sq_dim_sym(r->g->dims, n->sym));
}

static void test(gn *r) {
  if (!r->may_fail || r->pure) return;
  sq_node *c = gn_node(r, SQ_OP_GENERIC);
  c->g = sq_generic_new(r->g, 0, 0);
  uint32_t x = gn_bool(r, (gn_nest){c, 0}, 2);
  c->g->body = sq_sc_ewise(r->g, c->g, SQ_EW_OR, x, gn_bool(r, (gn_nest){c, 0}, 2));
  sq_value *v = sq_node_result(r->g, c, sq_type_scalar(SQ_BOOL), NULL);
  sq_node *n = sq_node_new(r->g, r->b, SQ_OP_CHECK, (sq_span){0}, 1, &v);
  n->site = gn_site(r);
}

// ---- blocks ------------------------------------------------------------------------------------
typedef void step(gn *r);
void gn_block(gn *r, uint32_t n) {
  static step *const simple[] = {
      elementwise, elementwise, elementwise,  follow,       follow,    follow,      follow,
      move,        move,        reduction,    reduction,    reduction, contraction, contraction,
      gn_rows,     gn_rows,     gn_attention, gn_attention, again,     keyed,       update,
      update,      update,      state,        state,        state,     param,       along,
      randomness,  live_size,   test,         gn_call};
  for (uint32_t k = 0; k < n && r->nodes < r->max_nodes; k++) {
    r->nodes++;
    if (r->attention && !gn_one_in(r, 3))
      gn_attention(r);
    else if (r->chains && gn_one_in(r, 4))
      (gn_one_in(r, 2) ? gn_chain : gn_chained_attention)(r);
    else if (r->depth < 3 && gn_next(r, 5 + 3 * (uint32_t)r->depth) == 0)
      gn_nested(r);
    else
      simple[gn_next(r, sizeof simple / sizeof *simple)](r);
  }
}

// ---- the graph ---------------------------------------------------------------------------------
static sq_func *init_of(gn *r, const char *name, sq_type t, bool instances) {
  sq_func *f = sq_func_new(r->g, name, SQ_FUNC_INIT, (sq_span){0});
  if (instances) {
    sq_block_arg(f->body, sq_type_scalar(SQ_I32), NULL);
    sq_push(r->a, &f->in_names, "at");
  }
  sq_push(r->a, &f->out_names, "value");
  sq_node *n = sq_node_new(r->g, f->body, SQ_OP_GENERIC, (sq_span){0}, instances, f->body->args.v);
  n->g = sq_generic_new(r->g, t.rank, 0);
  for (uint32_t a = 0; a < t.rank; a++) n->g->axis[a].extent = t.dim[a];
  uint32_t x =
      instances ? sq_sc_read(r->g, n->g, SQ_I32, 0, 0, NULL) : sq_sc_int(r->g, n->g, SQ_I32, 2);
  if (t.rank) {
    uint32_t i = sq_sc_cast(r->g, n->g, sq_sc_index(r->g, n->g, t.rank - 1), SQ_I32);
    x = sq_sc_ewise(r->g, n->g, SQ_EW_ADD, x, i);
  }
  n->g->body = sq_sc_cast(r->g, n->g, x, t.dtype);
  sq_value *v = sq_node_result(r->g, n, t, NULL);
  sq_node_new(r->g, f->body, SQ_OP_YIELD, (sq_span){0}, 1, &v);
  return f;
}

static void add_state(gn *r, const char *name, sq_dtype t, uint32_t rank, const int64_t *extent,
                      uint32_t count, int grow_axis) {
  sq_state s = {.name = name,
                .count = count ? count : 1,
                .has_instances = count > 0,
                .kept = gn_one_in(r, 6)};
  sq_dim dim[SQ_MAX_RANK], row[SQ_MAX_RANK];
  for (uint32_t a = 0; a < rank; a++) {
    dim[a] = row[a] = sq_dim_const(r->g->dims, extent[a]);
    if ((int)a != grow_axis) continue;
    s.grow = sq_sym_new(r->g->dims, "G", SQ_SYM_GROW);
    s.grow_axis = a;
    r->nominal[s.grow.i] = 12;
    dim[a] = sq_dim_sym(r->g->dims, s.grow);
    row[a] = sq_dim_const(r->g->dims, 1);
  }
  s.type = sq_type_make(r->g, t, rank, dim);
  s.init =
      init_of(r, sq_arena_fmt(r->a, "%s.init", name), sq_type_make(r->g, t, rank, row), count > 0);
  sq_push(r->a, &r->g->state, s);
}

static void add_param(gn *r, const char *name, sq_dtype t, uint32_t rank, const int64_t *extent,
                      uint32_t count) {
  sq_dim dim[SQ_MAX_RANK];
  for (uint32_t a = 0; a < rank; a++) dim[a] = sq_dim_const(r->g->dims, extent[a]);
  sq_param p = {.name = name,
                .type = sq_type_make(r->g, t, rank, dim),
                .count = count ? count : 1,
                .has_instances = count > 0,
                .written = gn_one_in(r, 3)};
  sq_push(r->a, &r->g->param, p);
}

static void begin_func(gn *r, sq_func *f) {
  r->f = f;
  r->b = f->body;
  r->live.n = r->mixed.n = 0;
  r->size.n = 0;
  r->turns = 1;
  r->depth = r->pure = r->quiet = 0;
  r->n_lives = 0;
}

static void input(gn *r, const char *name, sq_dtype t, uint32_t rank, const sq_dim *dim) {
  sq_push(r->a, &r->f->in_names, name);
  gn_live(r, sq_block_arg(r->b, sq_type_make(r->g, t, rank, dim), name));
}

static void outputs(gn *r, bool named) {
  sq_value *out[6];
  uint32_t n = 1 + gn_next(r, 4);
  static const char *const names[] = {"u", "v", "w", "x", "y"};
  for (uint32_t k = 0; k < n; k++) {
    out[k] = r->mixed.n > k ? r->mixed.v[r->mixed.n - 1 - k] : NULL;
    for (int tries = 0; tries < 10 && !out[k]; tries++) {
      sq_value *v = gn_pick(r, SQ_DTYPE_COUNT, 0);
      if (k && gn_one_in(r, 8)) v = out[gn_next(r, k)]; // twice
      if (v && gn_count(r, v->type) < 100000) out[k] = v;
    }
    if (!out[k]) out[k] = r->live.v[0];
    if (named) sq_push(r->a, &r->f->out_names, names[k]);
  }
  sq_node_new(r->g, r->b, SQ_OP_YIELD, (sq_span){0}, n, out);
}

static sq_sym size_symbol(gn *r, const char *name, int64_t nominal) {
  sq_sym s = sq_sym_new(r->g->dims, name, SQ_SYM_SIZE);
  r->nominal[s.i] = nominal;
  return s;
}

static void inner_func(gn *r, uint32_t k) {
  sq_func *f = sq_func_new(r->g, sq_arena_fmt(r->a, "inner%u", k), SQ_FUNC_INNER, (sq_span){0});
  begin_func(r, f);
  sq_dims *ds = r->g->dims;
  sq_dim ab[2] = {sq_dim_sym(ds, size_symbol(r, "A", 40)), sq_dim_sym(ds, size_symbol(r, "B", 20))};
  sq_push(r->a, &r->size, ab[0]);
  sq_push(r->a, &r->size, ab[1]);
  sq_push(r->a, &r->size, sq_dim_const(ds, 3));
  sq_push(r->a, &r->size, sq_dim_const(ds, 1));
  input(r, "p", SQ_F32, 2, ab);
  input(r, "q", gn_one_in(r, 2) ? SQ_F32 : SQ_I32, 1, ab + 1);
  input(r, "s", SQ_I32, 0, NULL);
  f->writes = gn_one_in(r, 2);
  r->pure = !f->writes;
  r->quiet = 1;
  r->n_lives = 3; // sizes of data stay with the entries
  r->turns = 4;
  r->max_nodes = r->nodes + 5;
  gn_block(r, 5);
  for (uint32_t n = 0; n < r->live.n;) { // results of sizes that the caller knows
    sq_type t = r->live.v[n]->type;
    bool known = true;
    for (uint32_t a = 0; a < t.rank; a++)
      for (uint32_t s = 0; s < r->g->state.n; s++)
        known &= !r->g->state.v[s].grow.i || !sq_dim_mentions(ds, t.dim[a], r->g->state.v[s].grow);
    if (known)
      n++;
    else
      r->live.v[n] = r->live.v[--r->live.n];
  }
  outputs(r, false);
  r->pure = 0;
}

static void sizes(gn *r, const sq_sym *s) {
  sq_dims *ds = r->g->dims;
  sq_dim n = sq_dim_sym(ds, s[0]), m = sq_dim_sym(ds, s[1]), k = sq_dim_sym(ds, s[2]);
#define C(x) sq_dim_const(ds, x)
  sq_dim all[] = {n,
                  m,
                  k,
                  C(4),
                  C(1),
                  C(3),
                  C(8),
                  sq_dim_add(ds, n, C(2)),
                  sq_dim_mul(ds, m, C(4)),
                  sq_dim_min(ds, n, m),
                  sq_dim_floordiv(ds, n, C(2)),
                  sq_dim_max(ds, k, C(3)),
                  sq_dim_floordiv(ds, sq_dim_add(ds, m, C(7)), C(8)),
                  sq_dim_mul(ds, n, k),
                  C(16)};
#undef C
  for (uint32_t i = 0; i < sizeof all / sizeof *all; i++)
    if (i < 4 || gn_one_in(r, 2)) sq_push(r->a, &r->size, all[i]);
  if (!r->chains) return;
  sq_dim d = m; // one within another, which cannot be shared in the text
  for (uint32_t i = 2; i < 14; i++) {
    d = sq_dim_floordiv(ds, sq_dim_add(ds, d, sq_dim_const(ds, i)), sq_dim_const(ds, 2));
    d = i % 2 ? sq_dim_min(ds, d, k) : sq_dim_max(ds, sq_dim_const(ds, i), d);
  }
  sq_push(r->a, &r->size, d);
}

static void entry(gn *r, const char *name, const sq_sym *s, int size) {
  sq_func *f = sq_func_new(r->g, name, SQ_FUNC_ENTRY, (sq_span){0});
  begin_func(r, f);
  f->writes = true;
  sizes(r, s);
  sq_dims *ds = r->g->dims;
  sq_dim n = sq_dim_sym(ds, s[0]), m = sq_dim_sym(ds, s[1]), k = sq_dim_sym(ds, s[2]);
  input(r, "a", SQ_F32, 2, (sq_dim[]){n, m});
  input(r, "b", SQ_F32, 2, gn_one_in(r, 2) ? (sq_dim[]){m, k} : (sq_dim[]){k, m});
  input(r, "c", pick_dtype(r), 1, &m);
  input(r, "d", SQ_F32, 0, NULL);
  input(r, "i", SQ_I32, 1, &n);
  input(r, "j", SQ_I32, 0, NULL);
  input(r, "m", SQ_BOOL, 1, &m);
  input(r, "h", pick_dtype(r), 3, (sq_dim[]){sq_dim_const(ds, 4), k, sq_dim_const(ds, 3)});
  if (gn_one_in(r, 2)) { // a size given as a number
    sq_sym l = size_symbol(r, "L", 9);
    sq_sym_at(ds, l)->scalar = true;
    input(r, "len", SQ_I32, 0, NULL);
    while (f->in_sym.n + 1 < f->body->args.n) sq_push(r->a, &f->in_sym, (sq_sym){0});
    sq_push(r->a, &f->in_sym, l);
    sq_push(r->a, &r->size, sq_dim_sym(ds, l));
  }
  r->max_nodes = r->nodes + size;
  gn_block(r, (uint32_t)size);
  outputs(r, true);
}

// All states, so that what is left in them is compared.
static void peek(gn *r) {
  sq_func *f = sq_func_new(r->g, "peek", SQ_FUNC_ENTRY, (sq_span){0});
  begin_func(r, f);
  sq_value *out[16];
  uint32_t n = 0;
  for (uint32_t k = 0; k < r->g->state.n + r->g->param.n; k++) {
    bool is_state = k < r->g->state.n;
    uint32_t ref = is_state ? k : k - r->g->state.n;
    if (!is_state && !r->g->param.v[ref].written) continue;
    uint32_t count = is_state ? r->g->state.v[ref].count : r->g->param.v[ref].count;
    bool many = is_state ? r->g->state.v[ref].has_instances : r->g->param.v[ref].has_instances;
    for (uint32_t i = 0; i < count; i++) {
      sq_value *at = many ? gn_int_const(r, i) : NULL;
      sq_node *x = gn_node(r, is_state ? SQ_OP_STATE_READ : SQ_OP_PARAM);
      x->ref = ref;
      if (at) add_instance(r, x, at);
      out[n] = sq_node_result(r->g, x, is_state ? r->g->state.v[ref].type : r->g->param.v[ref].type,
                              NULL);
      sq_push(r->a, &f->out_names, sq_arena_fmt(r->a, "o%u", n));
      n++;
    }
  }
  sq_node_new(r->g, r->b, SQ_OP_YIELD, (sq_span){0}, n, out);
}

const char *gn_make(sq_ctx *ctx, sq_arena *a, uint64_t seed, fz_how *how, const char **source) {
  gn r = {.g = sq_graph_new(ctx, a, "random"), .a = a, .rng = fz_mix(seed)};
  (void)source;
  if (how->scans) return gn_scans(a, seed, how);
  how->exact = r.exact = !gn_one_in(&r, 3) && !how->attention;
  r.attention = how->attention;
  r.chains = how->chains;
  r.may_fail = gn_one_in(&r, 5);
  for (int k = 0; k < 64; k++) r.nominal[k] = INT64_MIN;
  sq_sym s[3] = {size_symbol(&r, "N", 67), size_symbol(&r, "M", 31), size_symbol(&r, "K", 19)};
  for (int k = 0; k < 3; k++) sq_site_new(r.g, (sq_span){0}, "site %c", "abc"[k]);
  add_state(&r, "s", SQ_F32, 1, (int64_t[]){4}, 0, -1);
  add_state(&r, "t", SQ_F32, 2, (int64_t[]){3, 8}, 2, -1);
  if (gn_one_in(&r, 2)) add_state(&r, "n", SQ_I32, 0, NULL, 0, -1);
  if (gn_one_in(&r, 2)) {
    sq_dtype t = pick_dtype(&r);
    uint32_t count = gn_next(&r, 3);
    add_state(&r, "c", t, 2, (int64_t[]){1, 3}, count, (int)gn_next(&r, 2));
  }
  add_param(&r, "w", SQ_F32, 2, (int64_t[]){8, 4}, 0);
  add_param(&r, "l", gn_one_in(&r, 2) ? SQ_F32 : pick_dtype(&r), 2, (int64_t[]){3, 4}, 2);
  uint32_t n_inner = gn_next(&r, 3);
  for (uint32_t k = 0; k < n_inner; k++) {
    inner_func(&r, k);
    sq_push(a, &r.callee, r.f);
  }
  int size = 4 + (int)gn_next(&r, 16);
  entry(&r, "run", s, size);
  if (gn_one_in(&r, 3)) entry(&r, "step", s, 6);
  peek(&r);
  sq_text t = {.arena = a};
  sq_text_put(&t, "", 0);
  sq_graph_print(r.g, &t);
  return t.v;
}
