// The scalar parts of random loop nests: reads at all kinds of positions, arithmetic of all types.
#include "tests/fuzz/graph_gen.h"

uint32_t gn_next(gn *r, uint32_t below) { return (uint32_t)(fz_mix(r->rng++) % below); }
bool gn_one_in(gn *r, uint32_t n) { return gn_next(r, n) == 0; }

uint32_t gn_site(gn *r) { return gn_next(r, r->g->site.n); }

static double limit_of(sq_dtype t) { return t == SQ_BF16 ? 128 : t == SQ_F16 ? 1024 : 1 << 22; }

// ---- positions ---------------------------------------------------------------------------------
static uint32_t plus(gn *r, gn_nest w, uint32_t a, int64_t c) {
  return c ? sq_sc_ewise(r->g, w.n->g, SQ_EW_ADD, a, sq_sc_int(r->g, w.n->g, SQ_I64, c)) : a;
}
static uint32_t backwards(gn *r, gn_nest w, uint32_t i, sq_dim d) {
  sq_generic *k = w.n->g;
  uint32_t last = plus(r, w, sq_sc_dim(r->g, k, d), -1);
  return sq_sc_ewise(r->g, k, SQ_EW_SUB, last, i);
}

// One way to be inside [0, d) with axis a; SQ_NO_SCALAR when it is not one.
static uint32_t inside_with(gn *r, gn_nest w, sq_dim d, uint32_t a) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  sq_dim e = k->axis[a].extent;
  int64_t ce, cd;
  bool const_e = sq_dim_is_const(g->dims, e, &ce), const_d = sq_dim_is_const(g->dims, d, &cd);
  if (sq_dim_same(e, d) || sq_prove_le(g->dims, e, d) > 0) {
    uint32_t i = sq_sc_index(g, k, a);
    if (gn_one_in(r, 8)) return backwards(r, w, i, d);
    sq_dim gap = sq_dim_sub(g->dims, d, e);
    int64_t slack;
    if (sq_dim_is_const(g->dims, gap, &slack) && slack > 0)
      return plus(r, w, i, gn_next(r, (uint32_t)slack + 1));
    return i;
  }
  if (const_e && const_d && cd > 0 && ce > 0) {
    uint32_t i = sq_sc_index(g, k, a);
    if (gn_one_in(r, 2)) return sq_sc_ewise(g, k, SQ_EW_MOD, i, sq_sc_int(g, k, SQ_I64, cd));
    return sq_sc_ewise(g, k, SQ_EW_FLOORDIV, i, sq_sc_int(g, k, SQ_I64, (ce + cd - 1) / cd));
  }
  if (const_d && cd > 0)
    return sq_sc_ewise(g, k, SQ_EW_MOD, sq_sc_index(g, k, a), sq_sc_int(g, k, SQ_I64, cd));
  // e == d * c: i // c; and h * c + x with x < c
  for (int64_t c = 2; c <= 8; c++) {
    sq_dim times = sq_dim_mul(g->dims, d, sq_dim_const(g->dims, c));
    if (sq_dim_same(times, e))
      return sq_sc_ewise(g, k, SQ_EW_FLOORDIV, sq_sc_index(g, k, a), sq_sc_int(g, k, SQ_I64, c));
  }
  return SQ_NO_SCALAR;
}

// h * c + x over two axes whose extents multiply to at most d.
static uint32_t joined(gn *r, gn_nest w, sq_dim d) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  if (w.n_axes < 2) return SQ_NO_SCALAR;
  for (int tries = 0; tries < 4; tries++) {
    uint32_t h = gn_next(r, w.n_axes), x = gn_next(r, w.n_axes);
    int64_t c;
    if (h == x || !sq_dim_is_const(g->dims, k->axis[x].extent, &c) || c < 2) continue;
    sq_dim both = sq_dim_mul(g->dims, k->axis[h].extent, k->axis[x].extent);
    if (!sq_dim_same(both, d) && sq_prove_le(g->dims, both, d) <= 0) continue;
    uint32_t m = sq_sc_ewise(g, k, SQ_EW_MUL, sq_sc_index(g, k, h), sq_sc_int(g, k, SQ_I64, c));
    return sq_sc_ewise(g, k, SQ_EW_ADD, m, sq_sc_index(g, k, x));
  }
  return SQ_NO_SCALAR;
}

static uint32_t some_inside(gn *r, gn_nest w, sq_dim d) {
  if (gn_one_in(r, 4)) {
    uint32_t p = joined(r, w, d);
    if (p != SQ_NO_SCALAR) return p;
  }
  uint32_t at = w.n_axes ? gn_next(r, w.n_axes) : 0;
  // Axes of the very extent first, then others.
  for (int round = gn_one_in(r, 6); round < 2; round++)
    for (uint32_t k = 0; k < w.n_axes; k++) {
      uint32_t a = (at + k) % w.n_axes;
      if (round == 0 && !sq_dim_same(w.n->g->axis[a].extent, d)) continue;
      uint32_t p = inside_with(r, w, d, a);
      if (p != SQ_NO_SCALAR) return p;
    }
  int64_t c;
  if (sq_dim_is_const(r->g->dims, d, &c) && c > 0)
    return sq_sc_int(r->g, w.n->g, SQ_I64, gn_next(r, (uint32_t)c));
  return SQ_NO_SCALAR;
}

uint32_t gn_inside(gn *r, gn_nest w, sq_dim d) {
  uint32_t p = some_inside(r, w, d);
  return p != SQ_NO_SCALAR && r->chains && gn_one_in(r, 8) ? gn_place_chain(r, w, p) : p;
}

// Data as a position; inside when *ok.
static uint32_t gathered(gn *r, gn_nest w, sq_dim d, bool *ok) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  static const sq_dtype types[] = {SQ_I32, SQ_I32, SQ_I64, SQ_I8, SQ_U8};
  uint32_t x = gn_int(r, w, types[gn_next(r, 5)], 1);
  int64_t c;
  *ok = sq_dim_is_const(g->dims, d, &c) && c > 0;
  if (gn_one_in(r, 5)) {
    *ok = false;
    return x;
  }
  x = sq_sc_cast(g, k, x, SQ_I64);
  return sq_sc_ewise(g, k, SQ_EW_MOD, x, sq_sc_dim(g, k, d));
}

static uint32_t anywhere(gn *r, gn_nest w) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  uint32_t p =
      w.n_axes ? sq_sc_index(g, k, gn_next(r, w.n_axes)) : sq_sc_int(g, k, SQ_I64, gn_next(r, 3));
  if (gn_one_in(r, 3) && w.n_axes) {
    sq_ewise ew = gn_one_in(r, 2) ? SQ_EW_ADD : SQ_EW_SUB;
    p = sq_sc_ewise(g, k, ew, p, sq_sc_index(g, k, gn_next(r, w.n_axes)));
  }
  if (gn_one_in(r, 2)) p = plus(r, w, p, (int64_t)gn_next(r, 5) - 2);
  if (gn_one_in(r, 4))
    p = sq_sc_ewise(g, k, gn_one_in(r, 2) ? SQ_EW_FLOORDIV : SQ_EW_MUL, p,
                    sq_sc_int(g, k, SQ_I64, 2));
  return p;
}

uint32_t gn_read(gn *r, gn_nest w, sq_value *v) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  uint32_t pos[SQ_MAX_RANK];
  bool ok = true;
  for (uint32_t d = 0; d < v->type.rank; d++) {
    uint32_t how = gn_next(r, 12);
    pos[d] = how < 9 ? gn_inside(r, w, v->type.dim[d]) : SQ_NO_SCALAR;
    if (pos[d] != SQ_NO_SCALAR) continue;
    bool in = false;
    pos[d] = how == 10 ? gathered(r, w, v->type.dim[d], &in) : anywhere(r, w);
    ok &= in;
  }
  uint32_t guard = gn_one_in(r, 10) ? gn_bool(r, w, 1) : SQ_NO_SCALAR, other = SQ_NO_SCALAR;
  bool fails = !ok && r->may_fail && gn_one_in(r, 3);
  sq_dtype t = v->type.dtype;
  if (!ok && !fails) {
    if (t == SQ_BOOL)
      other = sq_sc_int(g, k, t, gn_next(r, 2));
    else if (!sq_is_float(t))
      other = sq_sc_int(g, k, t, gn_next(r, 4));
    else
      other = sq_sc_float(g, k, t, (double)gn_next(r, 5) - 2);
  }
  uint32_t id = sq_sc_read(g, k, t, sq_node_add_in(g, w.n, v), v->type.rank, pos);
  k->s.v[id].other = other;
  k->s.v[id].guard = guard;
  if (fails) k->s.v[id].site = gn_site(r);
  return id;
}

// ---- floats ------------------------------------------------------------------------------------
uint32_t gn_squash(gn *r, gn_nest w, sq_dtype t, gn_num x, double to) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  if (x.bound <= to) return x.id;
  if (!r->exact && gn_one_in(r, 2)) return sq_sc_ewise(g, k, SQ_EW_TANH, x.id, SQ_NO_SCALAR);
  uint32_t low = sq_sc_float(g, k, t, -to), high = sq_sc_float(g, k, t, to);
  uint32_t y = sq_sc_ewise(g, k, SQ_EW_MIN, x.id, high);
  return sq_sc_ewise(g, k, SQ_EW_MAX, y, low);
}
static gn_num within(gn *r, gn_nest w, sq_dtype t, gn_num x, double to) {
  return x.bound <= to ? x : (gn_num){gn_squash(r, w, t, x, to), to};
}

static gn_num float_leaf(gn *r, gn_nest w, sq_dtype t) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  if (gn_one_in(r, 5)) {
    double c = r->exact ? (double)gn_next(r, 7) - 3 : (double)gn_next(r, 9) * 0.375 - 1.5;
    return (gn_num){sq_sc_float(g, k, t, c), 3};
  }
  sq_value *v = gn_pick(r, t, 0);
  if (v && !gn_one_in(r, 6)) return (gn_num){gn_read(r, w, v), GN_STORED};
  sq_dtype other = (sq_dtype)gn_next(r, SQ_DTYPE_COUNT);
  v = gn_pick(r, other, 0);
  if (!v) return (gn_num){sq_sc_float(g, k, t, 2), 2};
  uint32_t x = gn_read(r, w, v);
  if (!sq_is_float(other) && other != SQ_BOOL) {
    x = sq_sc_ewise(g, k, SQ_EW_MOD, x, sq_sc_int(g, k, other, 7));
    if (gn_one_in(r, 2) && other != SQ_U8)
      x = sq_sc_ewise(g, k, SQ_EW_SUB, x, sq_sc_int(g, k, other, 3));
  }
  return (gn_num){sq_sc_cast(g, k, x, t), GN_STORED};
}

static gn_num exact_function(gn *r, gn_nest w, sq_dtype t, gn_num a) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  static const sq_ewise ew[] = {SQ_EW_NEG,   SQ_EW_ABS,  SQ_EW_SIGN,
                                SQ_EW_FLOOR, SQ_EW_CEIL, SQ_EW_ROUND};
  switch (gn_next(r, 11)) {
  case 0: { // halves
    uint32_t h = sq_sc_ewise(g, k, SQ_EW_MUL, a.id, sq_sc_float(g, k, t, 0.5));
    return (gn_num){sq_sc_ewise(g, k, ew[3 + gn_next(r, 3)], h, SQ_NO_SCALAR), a.bound};
  }
  case 1: {
    a = within(r, w, t, a, 8);
    uint32_t sq = sq_sc_ewise(g, k, SQ_EW_MUL, a.id, a.id);
    return (gn_num){sq_sc_ewise(g, k, SQ_EW_SQRT, sq, SQ_NO_SCALAR), 8};
  }
  case 2:
    return (gn_num){sq_sc_ewise(g, k, SQ_EW_MOD, a.id, sq_sc_float(g, k, t, 3)), 3};
  case 3:
    return (gn_num){sq_sc_ewise(g, k, SQ_EW_FLOORDIV, a.id, sq_sc_float(g, k, t, 2)), a.bound + 1};
  case 4:
    a = within(r, w, t, a, 8);
    return (gn_num){sq_sc_ewise(g, k, SQ_EW_POW, a.id, sq_sc_float(g, k, t, 2)), 64};
  default:
    return (gn_num){sq_sc_ewise(g, k, ew[gn_next(r, 6)], a.id, SQ_NO_SCALAR), a.bound};
  }
}

static gn_num smooth_function(gn *r, gn_nest w, sq_dtype t, gn_num a) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  static const sq_ewise bounded[] = {SQ_EW_TANH, SQ_EW_SIGMOID, SQ_EW_SIN, SQ_EW_COS, SQ_EW_ERF};
  static const sq_ewise positive[] = {SQ_EW_SQRT, SQ_EW_RSQRT, SQ_EW_LOG, SQ_EW_LOG2, SQ_EW_LOG1P};
  static const sq_ewise growing[] = {SQ_EW_EXP, SQ_EW_EXP2, SQ_EW_EXPM1};
  a = within(r, w, t, a, 8);
  switch (gn_next(r, 5)) {
  case 0: {
    uint32_t p = sq_sc_ewise(g, k, SQ_EW_ABS, a.id, SQ_NO_SCALAR);
    p = sq_sc_ewise(g, k, SQ_EW_ADD, p, sq_sc_float(g, k, t, 0.5));
    return (gn_num){sq_sc_ewise(g, k, positive[gn_next(r, 5)], p, SQ_NO_SCALAR), 4};
  }
  case 1:
    a = within(r, w, t, a, 2);
    return (gn_num){sq_sc_ewise(g, k, growing[gn_next(r, 3)], a.id, SQ_NO_SCALAR), 8};
  case 2:
    return (gn_num){sq_sc_ewise(g, k, gn_one_in(r, 2) ? SQ_EW_NEG : SQ_EW_ABS, a.id, SQ_NO_SCALAR),
                    a.bound};
  case 3:
    return (gn_num){sq_sc_ewise(g, k, SQ_EW_POW, a.id, sq_sc_float(g, k, t, 2)), 64};
  default:
    return (gn_num){sq_sc_ewise(g, k, bounded[gn_next(r, 5)], a.id, SQ_NO_SCALAR), 1};
  }
}

gn_num gn_float(gn *r, gn_nest w, sq_dtype t, int depth) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  if (r->chains && depth > 0 && sq_dtype_table[t].bytes > 2 && gn_one_in(r, 6))
    return gn_float_chain(r, w, t, gn_float(r, w, t, depth - 1));
  if (depth <= 0 || gn_one_in(r, 5)) return float_leaf(r, w, t);
  double limit = limit_of(t);
  gn_num a = gn_float(r, w, t, depth - 1), b;
  switch (gn_next(r, 12)) {
  case 0:
  case 1:
    return r->exact ? exact_function(r, w, t, a) : smooth_function(r, w, t, a);
  case 2: {
    b = gn_float(r, w, t, depth - 1);
    uint32_t c = gn_bool(r, w, 2);
    return (gn_num){sq_sc_select(g, k, c, a.id, b.id), a.bound > b.bound ? a.bound : b.bound};
  }
  case 3: { // through another type
    sq_dtype wide = gn_one_in(r, 2) ? SQ_F64 : SQ_F32;
    if (sq_dtype_table[wide].bytes < sq_dtype_table[t].bytes && !r->exact) wide = SQ_F64;
    return (gn_num){sq_sc_cast(g, k, sq_sc_cast(g, k, a.id, wide), t), a.bound};
  }
  case 4:
  case 5:
    b = gn_float(r, w, t, depth - 1);
    return (gn_num){sq_sc_ewise(g, k, gn_one_in(r, 2) ? SQ_EW_MAX : SQ_EW_MIN, a.id, b.id),
                    a.bound > b.bound ? a.bound : b.bound};
  case 6:
    if (!r->exact) {
      b = gn_float(r, w, t, depth - 1);
      uint32_t p = sq_sc_ewise(g, k, SQ_EW_ABS, b.id, SQ_NO_SCALAR);
      p = sq_sc_ewise(g, k, SQ_EW_ADD, p, sq_sc_float(g, k, t, 0.5));
      return (gn_num){sq_sc_ewise(g, k, SQ_EW_DIV, a.id, p), a.bound * 2};
    } // fall through
  case 7:
  case 8: {
    b = gn_one_in(r, 6) ? a : gn_float(r, w, t, depth - 1);
    if (a.bound * b.bound > limit) {
      a = within(r, w, t, a, 8);
      b = within(r, w, t, b, 8);
    }
    return (gn_num){sq_sc_ewise(g, k, SQ_EW_MUL, a.id, b.id), a.bound * b.bound};
  }
  default:
    b = gn_one_in(r, 8) ? a : gn_float(r, w, t, depth - 1);
    if (a.bound + b.bound > limit) {
      a = within(r, w, t, a, 8);
      b = within(r, w, t, b, 8);
    }
    return (gn_num){sq_sc_ewise(g, k, gn_one_in(r, 2) ? SQ_EW_ADD : SQ_EW_SUB, a.id, b.id),
                    a.bound + b.bound};
  }
}

// ---- integers and booleans ---------------------------------------------------------------------
static uint32_t int_leaf(gn *r, gn_nest w, sq_dtype t) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  switch (gn_next(r, 8)) {
  case 0:
    return sq_sc_int(g, k, t, gn_next(r, 5));
  case 1:
    if (w.n_axes) return sq_sc_cast(g, k, sq_sc_index(g, k, gn_next(r, w.n_axes)), t);
    break;
  case 2:
    return sq_sc_cast(g, k, sq_sc_dim(g, k, r->size.v[gn_next(r, r->size.n)]), t);
  case 3: {
    sq_dtype other = (sq_dtype)gn_next(r, SQ_DTYPE_COUNT);
    sq_value *v = r->exact || !sq_is_float(other) ? gn_pick(r, other, 0) : NULL;
    if (v) return sq_sc_cast(g, k, gn_read(r, w, v), t);
    break;
  }
  default:
    break;
  }
  sq_value *v = gn_pick(r, t, 0);
  return v ? gn_read(r, w, v) : sq_sc_int(g, k, t, gn_next(r, 5));
}

uint32_t gn_int(gn *r, gn_nest w, sq_dtype t, int depth) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  if (r->chains && depth > 0 && gn_one_in(r, 6))
    return gn_int_chain(r, w, gn_int(r, w, t, depth - 1));
  if (depth <= 0 || gn_one_in(r, 4)) return int_leaf(r, w, t);
  static const sq_ewise two[] = {SQ_EW_ADD,    SQ_EW_SUB, SQ_EW_MUL,    SQ_EW_FLOORDIV, SQ_EW_MOD,
                                 SQ_EW_MIN,    SQ_EW_MAX, SQ_EW_BITAND, SQ_EW_BITOR,    SQ_EW_SHL,
                                 SQ_EW_BITXOR, SQ_EW_SHR, SQ_EW_ADD,    SQ_EW_SUB,      SQ_EW_MUL};
  static const sq_ewise one[] = {SQ_EW_NEG, SQ_EW_ABS, SQ_EW_SIGN};
  uint32_t a = gn_int(r, w, t, depth - 1);
  switch (gn_next(r, 6)) {
  case 0:
    return sq_sc_ewise(g, k, one[gn_next(r, 3)], a, SQ_NO_SCALAR);
  case 1: {
    uint32_t b = gn_int(r, w, t, depth - 1), c = gn_bool(r, w, 2);
    return sq_sc_select(g, k, c, a, b);
  }
  case 2: {
    static const sq_dtype ints[] = {SQ_I64, SQ_I32, SQ_I8, SQ_U8};
    return sq_sc_cast(g, k, sq_sc_cast(g, k, a, ints[gn_next(r, 4)]), t);
  }
  default: {
    uint32_t b = gn_int(r, w, t, depth - 1);
    return sq_sc_ewise(g, k, two[gn_next(r, 15)], a, b);
  }
  }
}

static uint32_t index_condition(gn *r, gn_nest w) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  static const sq_ewise cmp[] = {SQ_EW_LT, SQ_EW_LE, SQ_EW_EQ, SQ_EW_NE};
  uint32_t a = sq_sc_index(g, k, gn_next(r, w.n_axes)), b;
  if (gn_one_in(r, 4)) {
    sq_ewise ew = gn_one_in(r, 2) ? SQ_EW_MOD : SQ_EW_FLOORDIV;
    a = sq_sc_ewise(g, k, ew, a, sq_sc_int(g, k, SQ_I64, 2 + gn_next(r, 2)));
  } else if (gn_one_in(r, 4)) {
    a = sq_sc_ewise(g, k, SQ_EW_SUB, a, sq_sc_index(g, k, gn_next(r, w.n_axes)));
  }
  switch (gn_next(r, 4)) {
  case 0:
    b = sq_sc_int(g, k, SQ_I64, gn_next(r, 6));
    break;
  case 1:
    b = sq_sc_dim(g, k, r->size.v[gn_next(r, r->size.n)]);
    break;
  case 2: {
    sq_value *v = gn_pick(r, SQ_I32, 0);
    if (v && v->type.rank == 0)
      b = sq_sc_cast(g, k, sq_sc_read(g, k, SQ_I32, sq_node_add_in(g, w.n, v), 0, NULL), SQ_I64);
    else
      b = sq_sc_int(g, k, SQ_I64, 1);
    break;
  }
  default:
    b = sq_sc_index(g, k, gn_next(r, w.n_axes));
    b = plus(r, w, b, (int64_t)gn_next(r, 5) - 2);
  }
  return gn_one_in(r, 2) ? sq_sc_ewise(g, k, cmp[gn_next(r, 4)], a, b)
                         : sq_sc_ewise(g, k, cmp[gn_next(r, 2)], b, a);
}

uint32_t gn_bool(gn *r, gn_nest w, int depth) {
  sq_graph *g = r->g;
  sq_generic *k = w.n->g;
  static const sq_ewise cmp[] = {SQ_EW_LT, SQ_EW_LE, SQ_EW_EQ, SQ_EW_NE};
  if (r->chains && depth > 0 && gn_one_in(r, 6)) {
    uint32_t with[] = {gn_bool(r, w, 0), gn_bool(r, w, depth - 1)};
    return gn_bool_chain(r, w, gn_bool(r, w, depth - 1), with);
  }
  if (depth > 0 && gn_one_in(r, 3)) {
    uint32_t a = gn_bool(r, w, depth - 1);
    if (gn_one_in(r, 3)) return sq_sc_ewise(g, k, SQ_EW_NOT, a, SQ_NO_SCALAR);
    uint32_t b = gn_bool(r, w, depth - 1);
    return sq_sc_ewise(g, k, gn_one_in(r, 2) ? SQ_EW_AND : SQ_EW_OR, a, b);
  }
  if (w.n_axes && gn_next(r, 2)) return index_condition(r, w);
  if (depth <= 0 || gn_one_in(r, 3)) {
    sq_value *v = gn_pick(r, SQ_BOOL, 0);
    return v ? gn_read(r, w, v) : sq_sc_int(g, k, SQ_BOOL, gn_next(r, 2));
  }
  if (r->exact && gn_next(r, 2)) {
    sq_dtype t = gn_one_in(r, 4) ? SQ_F64 : SQ_F32;
    gn_num a = gn_float(r, w, t, depth - 1), b = gn_float(r, w, t, depth - 1);
    return sq_sc_ewise(g, k, cmp[gn_next(r, 4)], a.id, b.id);
  }
  if (gn_one_in(r, 12)) {
    sq_value *v = gn_pick(r, SQ_F32, 0);
    if (v) return sq_sc_ewise(g, k, SQ_EW_ISNAN, gn_read(r, w, v), SQ_NO_SCALAR);
  }
  uint32_t a = gn_int(r, w, SQ_I32, depth - 1), b = gn_int(r, w, SQ_I32, depth - 1);
  return sq_sc_ewise(g, k, cmp[gn_next(r, 4)], a, b);
}

uint32_t gn_any(gn *r, gn_nest w, sq_dtype t, int depth) {
  if (t == SQ_BOOL) return gn_bool(r, w, depth);
  if (!sq_is_float(t)) return gn_int(r, w, t, depth);
  return gn_squash(r, w, t, gn_float(r, w, t, depth), GN_STORED);
}
