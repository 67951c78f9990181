// The pass `stream`, the parts that attention becomes: scores, their maximum, weights, and sums over the keys, in
// the form of ir/stream.h. What does not depend on the key is applied once to a sum, masks become the domain.
#include "passes/stream.h"

typedef struct maker {
  sq_attention *a;
  sq_maker m;
  sq_graft how;  // from the space
  uint32_t *map; // of the space
} maker;

// ---- members -----------------------------------------------------------------------------------
// A generic with axes of the space, the first n_par parallel; SQ_NO_AXIS: that of `like`.
static maker begin(sq_attention *a, const sq_node *like, const uint32_t *axis, uint32_t n_par,
                   uint32_t n_red) {
  maker d = {.a = a};
  uint32_t *at = SQ_ARRAY(a->g->arena, uint32_t, a->m.k->n_par + 1);
  sq_maker_start(&d.m, a->g, n_par, n_red);
  for (uint32_t x = 0; x < a->m.k->n_par; x++) at[x] = SQ_NO_SCALAR;
  for (uint32_t x = 0; x < n_par + n_red; x++) {
    bool own = axis[x] == SQ_NO_AXIS;
    d.m.k->axis[x] = own ? like->g->axis[x] : a->m.k->axis[axis[x]];
    if (!own) at[axis[x]] = sq_maker_index(&d.m, x);
  }
  d.how = (sq_graft){
      .from = sq_attention_view(a), .axis = at, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  d.map = sq_maker_map(&d.m, d.how.from);
  return d;
}

static uint32_t put(maker *d, uint32_t id) { return sq_maker_graft(&d->m, &d->how, id, d->map); }

// Scalar `at` of the space is, in what is made, the scalar x; scores at any guard too.
static void let(maker *d, uint32_t at, uint32_t x) {
  d->map[at] = x;
  if (at != d->a->read) return;
  d->how.value = d->a->score->out[0];
  d->how.instead = x;
}

static uint32_t read_at_space(maker *d, sq_value *v) {
  uint32_t pos[SQ_MAX_RANK];
  for (uint32_t k = 0; k < v->type.rank; k++) pos[k] = d->how.axis[k];
  return sq_maker_read(&d->m, v, v->type.rank, pos);
}

static void add_where(maker *d, uint32_t c) {
  uint32_t x = put(d, c);
  for (uint32_t k = 0; k < d->m.k->domain.n; k++)
    if (d->m.k->domain.v[k] == x) return;
  sq_push(d->a->g->arena, &d->m.k->domain, x);
}

static uint32_t times(maker *d, uint32_t product, uint32_t x, bool divides) {
  if (product == SQ_NO_SCALAR && divides) product = sq_maker_float(&d->m, d->m.k->s.v[x].dtype, 1);
  if (product == SQ_NO_SCALAR) return x;
  return sq_maker_ewise(&d->m, divides ? SQ_EW_DIV : SQ_EW_MUL, product, x);
}

// ---- the parts ---------------------------------------------------------------------------------
typedef sq_attention_parts parts;

static sq_value *keep(parts *p, sq_value *v) {
  sq_push(p->a->g->arena, &p->node, v->def);
  return v;
}

// All sums take the same function of the score: it is the score's own.
static uint32_t plain_core(const sq_attention *a) {
  uint32_t core = SQ_NO_SCALAR;
  for (uint32_t j = 0; j < a->sum.n; j++) {
    const sq_term *t = &a->sum.v[j].t;
    if (t->in.n != 1 || t->in.v[0].divides) return a->read;
    if (core != SQ_NO_SCALAR && core != t->in.v[0].id) return a->read;
    core = t->in.v[0].id;
  }
  return core;
}

static sq_value *make_score(parts *p) {
  sq_attention *a = p->a;
  const sq_node *s = a->score;
  uint32_t axis[SQ_MAX_RANK + 1];
  for (uint32_t x = 0; x < s->g->n_par; x++) axis[x] = x;
  axis[s->g->n_par] = SQ_NO_AXIS;
  maker d = begin(a, s, axis, s->g->n_par, 1);
  d.m.k->monoid = SQ_SUM;
  uint32_t *own = SQ_ARRAY(a->g->arena, uint32_t, s->g->n_par + 2);
  for (uint32_t x = 0; x < s->g->n_par + 1; x++) own[x] = sq_maker_index(&d.m, x);
  sq_graft self = {.from = s, .axis = own, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  uint32_t *map = sq_maker_map(&d.m, s);
  d.m.k->body = sq_maker_graft(&d.m, &self, s->g->body, map);
  uint32_t sum = sq_maker_acc(&d.m, sq_monoid_result(SQ_SUM, s->g->s.v[s->g->body].dtype));
  self.acc = sum;
  uint32_t last = a->weight == SQ_NO_SCALAR ? sq_attention_unmasked(a) : s->g->post;
  if (last != SQ_NO_SCALAR && !a->bare) sum = sq_maker_graft(&d.m, &self, last, map);
  let(&d, a->read, sum);
  uint32_t post = put(&d, p->core);
  if (d.m.k->s.v[post].kind != SQ_SC_ACC) d.m.k->post = post;
  return keep(p, sq_maker_value(&d.m, NULL, s->span, d.m.k->s.v[post].dtype, s->out[0]->name));
}

static void replaces(parts *p, sq_value *old, sq_value *made) {
  sq_push(p->a->g->arena, &p->old, old);
  sq_push(p->a->g->arena, &p->made, made);
}

static sq_value *make_max(parts *p) {
  sq_attention *a = p->a;
  const sq_node *n = a->max ? a->max : a->logsumexp;
  maker d = begin(a, n, a->max_axis, n->g->n_par, 1);
  d.m.k->monoid = SQ_MAX;
  d.m.k->body = read_at_space(&d, p->score);
  for (uint32_t k = 0; k < a->where.n; k++) add_where(&d, a->where.v[k]);
  sq_value *v =
      keep(p, sq_maker_value(&d.m, NULL, n->span, p->score->type.dtype,
                             a->max && n->g->post == SQ_NO_SCALAR ? n->out[0]->name : NULL));
  if (a->max && n->g->post == SQ_NO_SCALAR) replaces(p, n->out[0], v);
  return v;
}

// What the max ended with, as an operation on rows.
static void end_max(parts *p) {
  sq_attention *a = p->a;
  const sq_node *n = a->max;
  if (!n || n->g->post == SQ_NO_SCALAR) return;
  maker d = begin(a, n, a->max_axis, n->g->n_par, 0);
  uint32_t *own = SQ_ARRAY(a->g->arena, uint32_t, n->g->n_par + 2);
  for (uint32_t x = 0; x < n->g->n_par; x++) own[x] = sq_maker_index(&d.m, x);
  sq_graft self = {.from = n, .axis = own, .guard = SQ_NO_SCALAR};
  self.acc = sq_maker_read(&d.m, p->max, n->g->n_par, own);
  d.m.k->body = sq_maker_graft(&d.m, &self, n->g->post, sq_maker_map(&d.m, n));
  replaces(p, n->out[0],
           keep(p, sq_maker_value(&d.m, NULL, n->span, n->out[0]->type.dtype, n->out[0]->name)));
}

// A read of the max, or of a sum, which have the axes of `like`.
static uint32_t read_row(maker *d, sq_value *v, const uint32_t *axis) {
  uint32_t pos[SQ_MAX_RANK];
  for (uint32_t k = 0; k < v->type.rank; k++) pos[k] = d->how.axis[axis[k]];
  return sq_maker_read(&d->m, v, v->type.rank, pos);
}

static sq_value *make_weight(parts *p) {
  sq_attention *a = p->a;
  uint32_t axis[SQ_MAX_RANK];
  for (uint32_t x = 0; x < a->m.k->n_par; x++) axis[x] = x;
  maker d = begin(a, NULL, axis, a->m.k->n_par, 0);
  uint32_t x = sq_maker_ewise(&d.m, SQ_EW_SUB, read_at_space(&d, p->score),
                              read_row(&d, p->max, a->max_axis));
  sq_dtype t = d.m.k->s.v[x].dtype;
  if (a->by != 1) x = sq_maker_ewise(&d.m, SQ_EW_MUL, x, sq_maker_float(&d.m, t, a->by));
  d.m.k->body = sq_maker_ewise(&d.m, a->exp, x, SQ_NO_SCALAR);
  return keep(p, sq_maker_value(&d.m, NULL, a->value->span, t, NULL));
}

// The factors with the key, as a scalar of what is made; 1 where there are none.
static uint32_t put_in(parts *p, maker *d, const sq_term *t, sq_dtype type) {
  sq_attention *a = p->a;
  uint32_t product = SQ_NO_SCALAR;
  if (a->weight != SQ_NO_SCALAR) let(d, a->weight, read_at_space(d, p->weight));
  let(d, p->core, read_at_space(d, p->score));
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t k = 0; k < t->in.n; k++)
      if (t->in.v[k].divides == (pass == 1))
        product = times(d, product, put(d, t->in.v[k].id), pass == 1);
  return product == SQ_NO_SCALAR ? sq_maker_float(&d->m, type, 1) : product;
}

// The sum times what left it, and then what n itself ended with.
static void put_post(maker *d, const sq_attention_sum *s, sq_dtype type) {
  uint32_t sum = sq_maker_acc(&d->m, type), when = SQ_NO_SCALAR;
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t k = 0; k < s->t.out.n; k++)
      if (s->t.out.v[k].divides == (pass == 1))
        sum = times(d, sum, put(d, s->t.out.v[k].id), pass == 1);
  if (s->t.negative) sum = sq_maker_ewise(&d->m, SQ_EW_NEG, sum, SQ_NO_SCALAR);
  for (uint32_t k = 0; k < s->t.when.n; k++)
    when = sq_maker_and(&d->m, when, put(d, s->t.when.v[k]));
  if (when != SQ_NO_SCALAR)
    sum = sq_maker_select(&d->m, when, sum, sq_maker_float(&d->m, d->m.k->s.v[sum].dtype, 0));
  if (s->n->g->post != SQ_NO_SCALAR) {
    uint32_t *own = SQ_ARRAY(d->a->g->arena, uint32_t, s->n->g->n_par + 2);
    for (uint32_t x = 0; x < s->n->g->n_par + 1; x++) own[x] = sq_maker_index(&d->m, x);
    sq_graft self = {.from = s->n, .axis = own, .acc = sum, .guard = SQ_NO_SCALAR};
    sum = sq_maker_graft(&d->m, &self, s->n->g->post, sq_maker_map(&d->m, s->n));
  }
  if (d->m.k->s.v[sum].kind != SQ_SC_ACC) d->m.k->post = sum;
}

static void put_v(parts *p, maker *d, const sq_attention_sum *s) {
  sq_attention *a = p->a;
  uint32_t *own = SQ_ARRAY(a->g->arena, uint32_t, s->n->g->n_par + 2), product = SQ_NO_SCALAR;
  for (uint32_t x = 0; x < s->n->g->n_par + 1; x++) own[x] = sq_maker_index(&d->m, x);
  sq_graft self = {.from = &a->own, .axis = own, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  uint32_t *map = sq_maker_map(&d->m, &a->own);
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t k = 0; k < a->v.n; k++)
      if (a->v.v[k].divides == (pass == 1))
        product = times(d, product, sq_maker_graft(&d->m, &self, a->v.v[k].id, map), pass == 1);
  d->m.k->body = sq_maker_ewise(&d->m, SQ_EW_MUL, d->m.k->body, product);
}

static sq_value *make_sum(parts *p, const sq_attention_sum *s) {
  sq_attention *a = p->a;
  const sq_node *n = s->n;
  maker d = begin(a, n, s->axis, n->g->n_par, 1);
  d.m.k->monoid = SQ_SUM;
  sq_dtype t = n->g->s.v[n->g->body].dtype;
  for (uint32_t k = 0; k < a->where.n; k++) add_where(&d, a->where.v[k]);
  for (uint32_t k = 0; k < s->t.where.n; k++) add_where(&d, s->t.where.v[k]);
  d.m.k->body = put_in(p, &d, &s->t, t);
  if (n == a->value) put_v(p, &d, s);
  put_post(&d, s, t);
  return keep(p, sq_maker_value(&d.m, NULL, n->span, n->out[0]->type.dtype, n->out[0]->name));
}

// log of the sum of the weights, plus the maximum; and the bare sum, of which the weights are parts.
static void make_logsumexp(parts *p) {
  sq_attention *a = p->a;
  const sq_node *n = a->logsumexp;
  for (int turn = 0; turn < 2; turn++) {
    maker d = begin(a, n, a->max_axis, n->g->n_par, 1);
    d.m.k->monoid = SQ_SUM;
    for (uint32_t k = 0; k < a->where.n; k++) add_where(&d, a->where.v[k]);
    d.m.k->body = read_at_space(&d, p->weight);
    sq_dtype t = d.m.k->s.v[d.m.k->body].dtype;
    if (turn) {
      uint32_t l = sq_maker_ewise(&d.m, SQ_EW_LOG, sq_maker_acc(&d.m, t), SQ_NO_SCALAR);
      d.m.k->post = sq_maker_ewise(&d.m, SQ_EW_ADD, read_row(&d, p->max, a->max_axis), l);
    }
    sq_value *v = keep(p, sq_maker_value(&d.m, NULL, n->span, t, turn ? n->out[0]->name : NULL));
    replaces(p, turn ? n->out[0] : NULL, v);
  }
}

// Takes a factor out of each sum of weights.
static void take_out(sq_attention *a, uint32_t factor, bool divides, uint32_t when) {
  for (uint32_t j = 0; j < a->sum.n; j++) {
    sq_attention_sum *s = &a->sum.v[j];
    for (uint32_t k = 0; k < s->t.in.n; k++) {
      if (s->t.in.v[k].id != a->weight) continue;
      sq_push(a->g->arena, &s->t.out, ((sq_factor){factor, divides}));
      if (when != SQ_NO_SCALAR) sq_push(a->g->arena, &s->t.when, when);
      break;
    }
  }
}

// exp(c * (x - shift)) is the weight times exp(c * (max - shift)).
static void shift_from_max(parts *p) {
  sq_attention *a = p->a;
  sq_value *m = p->max;
  uint32_t pos[SQ_MAX_RANK];
  for (uint32_t k = 0; k < m->type.rank; k++) pos[k] = sq_maker_index(&a->m, a->max_axis[k]);
  uint32_t x = sq_maker_read(&a->m, m, m->type.rank, pos);
  x = sq_maker_ewise(&a->m, SQ_EW_SUB, x, a->shift);
  if (a->by != 1)
    x = sq_maker_ewise(&a->m, SQ_EW_MUL, x, sq_maker_float(&a->m, m->type.dtype, a->by));
  take_out(a, sq_maker_ewise(&a->m, a->exp, x, SQ_NO_SCALAR), false, SQ_NO_SCALAR);
}

// exp(x - logsumexp) is the weight over the sum of the weights of the row, 0 where there are none.
static void divide_by_sum(parts *p) {
  sq_attention *a = p->a;
  sq_value *l = p->made.v[0];
  uint32_t pos[SQ_MAX_RANK];
  for (uint32_t k = 0; k < l->type.rank; k++) pos[k] = sq_maker_index(&a->m, a->max_axis[k]);
  uint32_t read = sq_maker_read(&a->m, l, l->type.rank, pos);
  uint32_t zero = sq_maker_float(&a->m, l->type.dtype, 0);
  take_out(a, read, true, sq_maker_ewise(&a->m, SQ_EW_LT, zero, read));
}

void sq_attention_make(sq_attention_parts *p) {
  sq_attention *a = p->a;
  bool soft = a->weight != SQ_NO_SCALAR;
  p->core = soft ? a->exponent : plain_core(a);
  p->score = make_score(p);
  if (soft) {
    p->max = make_max(p);
    p->weight = make_weight(p);
    end_max(p);
    if (a->shift != SQ_NO_SCALAR) shift_from_max(p);
    if (a->logsumexp) {
      make_logsumexp(p);
      divide_by_sum(p);
    }
  }
  for (uint32_t j = 0; j < a->sum.n; j++) {
    const sq_attention_sum *s = &a->sum.v[j];
    if (s->n == a->max || s->n == a->logsumexp) continue;
    sq_value *v = make_sum(p, s);
    replaces(p, s->n->out[0], v);
  }
  for (uint32_t k = 0; k < p->node.n; k++) // they read one another
    for (uint32_t j = 0; j < p->node.v[k]->n_in; j++)
      for (uint32_t o = 0; o < p->old.n; o++)
        if (p->node.v[k]->in[j] == p->old.v[o]) p->node.v[k]->in[j] = p->made.v[o];
}
