// Random graphs: what is done row by row, in several operations. Softmax, norms, attention.
#include "tests/fuzz/graph_gen.h"
#include <math.h>

// A softmax or a norm over the last axis of a value, step by step.
void gn_rows(gn *r) {
  sq_value *v = gn_pick(r, SQ_F32, 2);
  if (!v || r->exact || gn_count(r, v->type) * r->turns > GN_MAX_STEPS) return;
  bool norm = gn_one_in(r, 2), masked = gn_one_in(r, 2);
  uint32_t rank = v->type.rank, red = gn_next(r, rank);
  sq_value *z[2];
  for (int step = 0; step < 3; step++) {
    sq_node *n = gn_node(r, SQ_OP_GENERIC);
    uint32_t n_par = step < 2 ? rank - 1 : rank;
    n->g = sq_generic_new(r->g, n_par, step < 2);
    uint32_t pos[SQ_MAX_RANK], row[SQ_MAX_RANK], p = 0;
    for (uint32_t a = 0; a < rank; a++) {
      uint32_t axis = step == 2 ? a : a == red ? n_par : p++;
      n->g->axis[axis].extent = v->type.dim[a];
      pos[a] = sq_sc_index(r->g, n->g, axis);
    }
    for (uint32_t a = 0, at = 0; a < rank; a++)
      if (a != red) row[at++] = pos[a];
    sq_generic *k = n->g;
    uint32_t x = sq_sc_read(r->g, k, SQ_F32, sq_node_add_in(r->g, n, v), rank, pos), y[2] = {0, 0};
    for (int s = 0; s < 2 && s < step; s++)
      y[s] = sq_sc_read(r->g, k, SQ_F32, sq_node_add_in(r->g, n, z[s]), rank - 1, row);
    uint32_t inside = sq_sc_ewise(r->g, k, SQ_EW_LE, pos[red], pos[red ? 0 : 1]);
    if (masked && step < 2 && !norm) sq_push(r->a, &k->domain, inside);
    if (norm) {
      k->monoid = step < 2 ? SQ_MEAN : SQ_MONOID_NONE;
      if (step) x = sq_sc_ewise(r->g, k, SQ_EW_SUB, x, y[0]);
      if (step == 1) x = sq_sc_ewise(r->g, k, SQ_EW_MUL, x, x);
      if (step == 2) {
        uint32_t q = sq_sc_ewise(r->g, k, SQ_EW_ADD, y[1], sq_sc_float(r->g, k, SQ_F32, 0.5));
        x = sq_sc_ewise(r->g, k, SQ_EW_MUL, x, sq_sc_ewise(r->g, k, SQ_EW_RSQRT, q, SQ_NO_SCALAR));
      }
      k->body = x;
    } else {
      k->monoid = step == 0 ? SQ_MAX : step == 1 ? SQ_SUM : SQ_MONOID_NONE;
      if (step)
        x = sq_sc_ewise(r->g, k, SQ_EW_EXP, sq_sc_ewise(r->g, k, SQ_EW_SUB, x, y[0]), SQ_NO_SCALAR);
      if (step == 2) {
        x = sq_sc_ewise(r->g, k, SQ_EW_DIV, x, y[1]);
        if (masked) x = sq_sc_select(r->g, k, inside, x, sq_sc_float(r->g, k, SQ_F32, 0));
      }
      k->body = x;
    }
    sq_dim dim[SQ_MAX_RANK];
    for (uint32_t a = 0; a < n_par; a++) dim[a] = k->axis[a].extent;
    sq_value *out = sq_node_result(r->g, n, sq_type_make(r->g, SQ_F32, n_par, dim), NULL);
    if (step < 2)
      z[step] = out;
    else
      gn_live(r, out);
  }
}

// ---- attention ---------------------------------------------------------------------------------
// Softmax or pointwise weights of a product, and the sum of values by them, in one of many spellings.
enum { HEAD, QUERY, KEY, COLUMN, WIDTH, KEY_HEAD, N_AXES };
typedef struct attention {
  gn *r;
  sq_dtype t;
  bool heads;
  int64_t share; // so many heads have the same keys
  sq_dim extent[N_AXES];
  int domain; // 0: none
  sq_value *mask;
  int64_t window;
} attention;
typedef struct array {
  sq_value *v;
  uint32_t n;
  uint8_t axis[4]; // which of the above, in the order of its own
} array;
typedef struct nest { // and the scalar that stands for each index
  sq_node *n;
  sq_generic *k;
  uint32_t at[N_AXES];
  array result; // to be
} nest;

// Some of the axes in random order, but for heads where there are none.
static array shape(attention *a, uint32_t n, const uint8_t *axis) {
  array x = {0};
  for (uint32_t k = 0; k < n; k++)
    if (a->heads || (axis[k] != HEAD && axis[k] != KEY_HEAD)) x.axis[x.n++] = axis[k];
  for (uint32_t k = x.n; k > 1; k--) {
    uint32_t j = gn_next(a->r, k);
    uint8_t t = x.axis[k - 1];
    x.axis[k - 1] = x.axis[j];
    x.axis[j] = t;
  }
  return x;
}

static sq_type type_of(attention *a, const array *x) {
  sq_dim dim[4];
  for (uint32_t k = 0; k < x->n; k++) dim[k] = a->extent[x->axis[k]];
  return sq_type_make(a->r->g, a->t, x->n, dim);
}

static array operand(attention *a, uint32_t n, const uint8_t *axis) {
  array x = shape(a, n, axis);
  x.v = gn_of_type(a->r, type_of(a, &x));
  return x;
}

static nest begin(attention *a, uint32_t n, const uint8_t *axis, int reduced) {
  sq_graph *g = a->r->g;
  nest w = {.n = gn_node(a->r, SQ_OP_GENERIC), .result = shape(a, n, axis)};
  uint32_t n_par = w.result.n;
  w.k = w.n->g = sq_generic_new(g, n_par, reduced >= 0);
  for (uint32_t k = 0; k < n_par + (reduced >= 0); k++) {
    uint32_t x = k < n_par ? w.result.axis[k] : (uint32_t)reduced;
    w.k->axis[k].extent = a->extent[x];
    w.at[x] = sq_sc_index(g, w.k, k);
  }
  if (a->heads) {
    w.at[KEY_HEAD] = w.at[HEAD];
    if (a->share > 1)
      w.at[KEY_HEAD] =
          sq_sc_ewise(g, w.k, SQ_EW_FLOORDIV, w.at[HEAD], sq_sc_int(g, w.k, SQ_I64, a->share));
  }
  return w;
}

static uint32_t read(attention *a, nest *w, const array *x) {
  uint32_t pos[4];
  for (uint32_t k = 0; k < x->n; k++) pos[k] = w->at[x->axis[k]];
  return sq_sc_read(a->r->g, w->k, x->v->type.dtype, sq_node_add_in(a->r->g, w->n, x->v), x->n,
                    pos);
}

static array end(attention *a, nest *w) {
  w->result.v = sq_node_result(a->r->g, w->n, type_of(a, &w->result), NULL);
  return w->result;
}

static uint32_t op(attention *a, nest *w, sq_ewise e, uint32_t x, uint32_t y) {
  return sq_sc_ewise(a->r->g, w->k, e, x, y);
}
static uint32_t number(attention *a, nest *w, double v) {
  return sq_sc_float(a->r->g, w->k, a->t, v);
}
static uint32_t product(attention *a, nest *w, uint32_t x, uint32_t y) {
  return gn_one_in(a->r, 2) ? op(a, w, SQ_EW_MUL, x, y) : op(a, w, SQ_EW_MUL, y, x);
}

// May the query see the key? NO_SCALAR: always.
static uint32_t sees(attention *a, nest *w) {
  uint32_t i = w->at[QUERY], j = w->at[KEY], before, near;
  sq_graph *g = a->r->g;
  switch (a->domain) {
  case 1:
    return op(a, w, SQ_EW_LE, j, i);
  case 2:
    before = op(a, w, SQ_EW_LE, j, i);
    near = op(a, w, SQ_EW_LT, op(a, w, SQ_EW_SUB, i, j), sq_sc_int(g, w->k, SQ_I64, a->window));
    return op(a, w, SQ_EW_AND, before, near);
  case 3:
    return sq_sc_read(g, w->k, SQ_BOOL, sq_node_add_in(g, w->n, a->mask), 1, &j);
  case 4:
    return op(a, w, SQ_EW_NOT, op(a, w, SQ_EW_LT, i, j), SQ_NO_SCALAR);
  default:
    return SQ_NO_SCALAR;
  }
}

static void limit(attention *a, nest *w) {
  uint32_t c = sees(a, w);
  if (c != SQ_NO_SCALAR) sq_push(a->r->a, &w->k->domain, c);
}

static uint32_t where(attention *a, nest *w, uint32_t c, uint32_t x, double otherwise) {
  return c == SQ_NO_SCALAR ? x : sq_sc_select(a->r->g, w->k, c, x, number(a, w, otherwise));
}

static const uint8_t full[] = {HEAD, QUERY, KEY}, row[] = {HEAD, QUERY};

// `hidden`: keys that are not seen have the score -inf.
static array scores(attention *a, const array *q, const array *k, bool hidden) {
  nest w = begin(a, 3, full, WIDTH);
  double scale = 1.0 / 64;
  bool inside = gn_one_in(a->r, 3);
  uint32_t x = product(a, &w, read(a, &w, q), read(a, &w, k));
  if (inside) x = op(a, &w, SQ_EW_MUL, x, number(a, &w, scale));
  w.k->monoid = SQ_SUM;
  w.k->body = x;
  x = sq_sc_acc(a->r->g, w.k, a->t);
  if (!inside) x = op(a, &w, SQ_EW_MUL, x, number(a, &w, scale));
  if (gn_one_in(a->r, 4)) {
    uint32_t d = op(a, &w, SQ_EW_SUB, w.at[KEY], w.at[QUERY]);
    d = sq_sc_cast(a->r->g, w.k, d, a->t);
    x = op(a, &w, SQ_EW_ADD, x, op(a, &w, SQ_EW_MUL, d, number(a, &w, 0.125)));
  }
  if (hidden && gn_one_in(a->r, 2))
    x = op(a, &w, SQ_EW_ADD, x, where(a, &w, sees(a, &w), number(a, &w, 0), -INFINITY));
  else if (hidden)
    x = where(a, &w, sees(a, &w), x, -INFINITY);
  if (w.k->s.v[x].kind != SQ_SC_ACC) w.k->post = x;
  return end(a, &w);
}

static array reduced(attention *a, sq_monoid m, const array *x, bool limited) {
  nest w = begin(a, 2, row, KEY);
  w.k->monoid = m;
  if (limited) limit(a, &w);
  w.k->body = read(a, &w, x);
  return end(a, &w);
}

static array softmax(attention *a, const array *s, bool hidden, bool divide, array *sum) {
  bool shift = hidden || gn_one_in(a->r, 2);
  array m = {0};
  if (shift) m = reduced(a, SQ_MAX, s, !hidden);
  nest w = begin(a, 3, full, -1);
  uint32_t x = read(a, &w, s);
  if (shift) x = op(a, &w, SQ_EW_SUB, x, read(a, &w, &m));
  x = op(a, &w, SQ_EW_EXP, x, SQ_NO_SCALAR);
  w.k->body = hidden ? x : where(a, &w, sees(a, &w), x, 0);
  array e = end(a, &w);
  *sum = reduced(a, SQ_SUM, &e, !hidden && gn_one_in(a->r, 2));
  if (shift && gn_one_in(a->r, 6) && !a->domain) gn_live(a->r, m.v);
  if (!divide) return e;
  w = begin(a, 3, full, -1);
  uint32_t l = read(a, &w, sum), some = op(a, &w, SQ_EW_LT, number(a, &w, 0), l);
  w.k->body = where(a, &w, some, op(a, &w, SQ_EW_DIV, read(a, &w, &e), l), 0);
  return end(a, &w);
}

static array pointwise(attention *a, const array *s) {
  static const sq_ewise f[] = {SQ_EW_SIGMOID, SQ_EW_MAX, SQ_EW_TANH, SQ_EW_MUL};
  nest w = begin(a, 3, full, -1);
  sq_ewise e = f[gn_next(a->r, 4)];
  uint32_t x = read(a, &w, s), y = SQ_NO_SCALAR;
  if (e == SQ_EW_MAX) y = number(a, &w, 0);
  if (e == SQ_EW_MUL) y = number(a, &w, 0.5);
  w.k->body = op(a, &w, e, x, y);
  return end(a, &w);
}

static void values(attention *a, const array *p, const array *v, const array *sum, bool limited) {
  static const uint8_t axes[] = {HEAD, QUERY, COLUMN};
  nest w = begin(a, 3, axes, KEY);
  w.k->monoid = SQ_SUM;
  if (limited) limit(a, &w);
  w.k->body = product(a, &w, read(a, &w, p), read(a, &w, v));
  array o = end(a, &w);
  w = begin(a, 3, axes, -1);
  uint32_t x = read(a, &w, &o);
  if (sum) {
    uint32_t l = read(a, &w, sum), some = op(a, &w, SQ_EW_LT, number(a, &w, 0), l);
    x = where(a, &w, some, op(a, &w, SQ_EW_DIV, x, l), 0);
  }
  w.k->body = gn_squash(a->r, (gn_nest){w.n, w.result.n}, a->t, (gn_num){x, 1e5}, GN_STORED);
  sq_value *out = end(a, &w).v;
  for (int k = 0; k < 4; k++) gn_live(a->r, out); // likely to be used
  if (a->r->attention && !a->r->depth) sq_push(a->r->a, &a->r->mixed, out);
}

void gn_attention(gn *r) {
  static const uint8_t of_q[] = {HEAD, QUERY, WIDTH}, of_k[] = {KEY_HEAD, KEY, WIDTH},
                       of_v[] = {KEY_HEAD, KEY, COLUMN};
  sq_dims *ds = r->g->dims;
  attention a = {.r = r, .t = SQ_F32, .heads = gn_one_in(r, 2)};
  if (r->exact) return;
  int64_t heads = 2ll << gn_next(r, 2), width = 1 + gn_next(r, 9), columns = 1 + gn_next(r, 9);
  a.share = gn_one_in(r, 2) ? 2 : 1;
  a.extent[HEAD] = sq_dim_const(ds, heads);
  a.extent[KEY_HEAD] = sq_dim_const(ds, heads / a.share);
  a.extent[QUERY] = gn_size(r);
  a.extent[KEY] = gn_one_in(r, 3) ? a.extent[QUERY] : gn_size(r);
  int64_t few;
  for (int k = 0; k < 3 && sq_dim_is_const(ds, a.extent[KEY], &few); k++)
    a.extent[KEY] = gn_size(r);
  a.extent[WIDTH] = sq_dim_const(ds, width);
  a.extent[COLUMN] = sq_dim_const(ds, columns);
  double steps = (double)gn_nominal(r, a.extent[QUERY]) * (double)gn_nominal(r, a.extent[KEY]);
  steps *= (double)((a.heads ? heads : 1) * (width > columns ? width : columns)) * r->turns;
  if (steps > GN_MAX_STEPS) return;
  array q = operand(&a, 3, of_q), k = operand(&a, 3, of_k), v = operand(&a, 3, of_v), sum;
  a.domain = (int)gn_next(r, 5);
  a.window = 1 + gn_next(r, 5);
  if (a.domain == 3) a.mask = gn_of_type(r, sq_type_make(r->g, SQ_BOOL, 1, &a.extent[KEY]));
  bool soft = !gn_one_in(r, 3),
       hidden = soft && (a.domain == 1 || a.domain == 4) && gn_one_in(r, 2);
  array s = scores(&a, &q, &k, hidden), p;
  if (soft) {
    bool divide = gn_one_in(r, 2);
    p = softmax(&a, &s, hidden, divide, &sum);
    values(&a, &p, &v, divide ? NULL : &sum, !hidden && !divide && gn_one_in(r, 2));
  } else {
    p = pointwise(&a, &s);
    values(&a, &p, &v, NULL, true);
  }
}
