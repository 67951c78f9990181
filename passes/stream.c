// stream: attention becomes one operation that never has all scores at once.
//
//   %s = generic (%q, %k) [i < N, j < N] sum [e < 64] { %q[i, e] * %k[j, e]; post acc * 0.125; }
//   %m = generic (%s) [i < N] max [j < N] { where j <= i; %s[i, j] }
//   %x = generic (%s, %m) [i < N, j < N] { select(j <= i, exp(%s[i, j] - %m[i]), 0.0) }
//   %l = generic (%x) [i < N] sum [j < N] { %x[i, j] }
//   %p = generic (%x, %l) [i < N, j < N] { select(j <= i and 0.0 < %l[i], %x[i, j] / %l[i], 0.0) }
//   %o = generic (%p, %v) [i < N, c < 64] sum [j < N] { %p[i, j] * %v[j, c] }
// becomes
//   %o = stream {
//     %s = generic (%q, %k) [i < N, j < N] sum [e < 64] { %q[i, e] * %k[j, e]; post acc * 0.125; }
//     %m = generic (%s) [i < N] max [j < N] { where j <= i; %s[i, j] }
//     %w = generic (%s, %m) [i < N, j < N] { exp(%s[i, j] - %m[i]) }
//     %l = generic (%w) [i < N] sum [j < N] { where j <= i; %w[i, j] }
//     %u = generic (%w, %v, %l) [i < N, c < 64] sum [j < N] {
//       where j <= i; %w[i, j] * %v[j, c]; post select(0.0 < %l[i], acc / %l[i], 0.0); }
//     yield %u
//   }
//
// What does not depend on the key is applied once to the sum; masks become the domain of the sums, so
// that a key outside counts for nothing, whatever its value holds. Sums and maxima that others use
// become results too. Recognition is in stream_find.c; the form is checked by sq_stream_parts.
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

static sq_value *end(maker *d, sq_span span, sq_dtype t, const char *name) {
  sq_graph *g = d->a->g;
  sq_node *n = sq_node_new(g, NULL, SQ_OP_GENERIC, span, 0, NULL);
  sq_dim dim[SQ_MAX_RANK];
  for (uint32_t k = 0; k < d->m.k->n_par; k++) dim[k] = d->m.k->axis[k].extent;
  sq_value *v = sq_node_result(g, n, sq_type_make(g, t, d->m.k->n_par, dim), name);
  sq_maker_end(&d->m, n);
  return v;
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
typedef struct parts {
  sq_attention *a;
  sq_value *score, *max, *weight;
  uint32_t core;                // of the space: what the score ends with
  SQ_VEC(sq_value *) old, made; // statistics and the value
  SQ_VEC(sq_node *) node;
} parts;

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
  return keep(p, end(&d, s->span, d.m.k->s.v[post].dtype, s->out[0]->name));
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
  sq_value *v = keep(p, end(&d, n->span, p->score->type.dtype,
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
  replaces(p, n->out[0], keep(p, end(&d, n->span, n->out[0]->type.dtype, n->out[0]->name)));
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
  return keep(p, end(&d, a->value->span, t, NULL));
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
  return keep(p, end(&d, n->span, n->out[0]->type.dtype, n->out[0]->name));
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
    sq_value *v = keep(p, end(&d, n->span, t, turn ? n->out[0]->name : NULL));
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

static void make_parts(parts *p) {
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

// ---- placing it --------------------------------------------------------------------------------
static bool is_part(const sq_attention *a, const sq_node *n) {
  if (n == a->score) return true;
  for (uint32_t k = 0; k < a->all.n; k++)
    if (a->all.v[k] == n) return true;
  return false;
}

typedef struct search {
  const sq_attention *a;
  const sq_value *v;
  sq_arena *arena;
  SQ_VEC(sq_node *) n;
} search;
static void find_user(sq_node *n, void *user) {
  search *s = user;
  if (is_part(s->a, n)) return;
  for (uint32_t k = 0; k < n->n_in; k++)
    if (n->in[k] == s->v) {
      sq_push(s->arena, &s->n, n);
      return;
    }
}

static search users_outside(const sq_attention *a, const sq_value *v) {
  search s = {.a = a, .v = v, .arena = a->g->arena};
  if (v) sq_walk(a->f->body, find_user, &s);
  return s;
}

static uint32_t place_of(const sq_block *b, sq_node *n) {
  n = sq_node_in_block(n, b);
  for (uint32_t k = 0; k < b->nodes.n; k++)
    if (b->nodes.v[k] == n) return k;
  return UINT32_MAX;
}

static sq_node *last_part(const sq_attention *a) { return a->all.v[a->all.n - 1]; }

// Elementwise work on statistics that only the parts used was taken into them: nobody needs it now.
static bool only_for_parts(const sq_attention *a, const sq_node *n, int depth) {
  if (n->op != SQ_OP_GENERIC || depth > 8 || !sq_node_is_elementwise(n)) return false;
  search s = users_outside(a, n->out[0]);
  for (uint32_t k = 0; k < s.n.n; k++)
    if (!only_for_parts(a, s.n.v[k], depth + 1)) return false;
  return true;
}

// May all be computed where the last part stands? NULL: yes; or why not.
static const char *misplaced(const parts *p) {
  const sq_attention *a = p->a;
  sq_node *last = last_part(a);
  const sq_block *b = last->block;
  uint32_t at = place_of(b, last);
  if (a->score != last && !sq_node_can_sink(a->score, last))
    return "something that it reads is written before its end";
  for (uint32_t k = 0; k < a->all.n; k++)
    if (a->all.v[k] != last && !sq_node_can_sink(a->all.v[k], last))
      return "something that it reads is written before its end";
  for (uint32_t o = 0; o < p->old.n; o++) {
    search s = users_outside(a, p->old.v[o]);
    for (uint32_t k = 0; k < s.n.n; k++)
      if (place_of(b, s.n.v[k]) < at && !only_for_parts(a, s.n.v[k], 0))
        return "a sum over the keys is used before the last one is taken";
  }
  for (uint32_t k = 0; k < p->node.n; k++)
    for (uint32_t j = 0; j < p->node.v[k]->n_in; j++) {
      const sq_value *v = p->node.v[k]->in[j];
      bool own = false;
      for (uint32_t m = 0; m < p->node.n; m++) own |= p->node.v[m]->out[0] == v;
      if (!own && v->id < a->n_known && a->tainted[v->id])
        return "a weight depends on something that is computed from all weights";
    }
  return NULL;
}

static void remove_unused(const sq_attention *a, sq_block *b) {
  for (uint32_t k = b->nodes.n; k-- > 0;) {
    sq_node *n = b->nodes.v[k];
    if (n->op != SQ_OP_GENERIC || !a->tainted[n->out[0]->id]) continue;
    if (!users_outside(a, n->out[0]).n.n) sq_node_remove(n);
  }
}

static sq_node *wrap(const parts *p) {
  const sq_attention *a = p->a;
  sq_node *n = sq_node_new(a->g, NULL, SQ_OP_STREAM, a->value->span, 0, NULL);
  sq_block *b = sq_node_region(a->g, n, a->f);
  for (uint32_t k = 0; k < p->node.n; k++) {
    p->node.v[k]->block = b;
    sq_push(a->g->arena, &b->nodes, p->node.v[k]);
  }
  sq_node *yield = sq_node_new(a->g, b, SQ_OP_YIELD, a->value->span, 0, NULL);
  for (uint32_t o = 0; o < p->old.n; o++) {
    if (!users_outside(a, p->old.v[o]).n.n) continue;
    sq_value *v = p->made.v[o];
    sq_node_result(a->g, n, v->type, v->name);
    sq_node_add_in(a->g, yield, v);
  }
  return n;
}

static void replace(const parts *p, sq_node *n) {
  const sq_attention *a = p->a;
  uint32_t at = 0;
  sq_block *b = a->score->block;
  sq_node_insert_before(last_part(a), n);
  for (uint32_t o = 0; o < p->old.n; o++) {
    if (!users_outside(a, p->old.v[o]).n.n) continue;
    sq_replace_uses(a->f, p->old.v[o], n->out[at++]);
  }
  for (uint32_t k = 0; k < a->all.n; k++) sq_node_remove(a->all.v[k]);
  sq_node_remove(a->score);
  remove_unused(a, b);
}

static const char *why_not(const parts *p, sq_node *n) {
  sq_stream s;
  const char *why = misplaced(p);
  if (!why) sq_stream_parts(p->a->g, n, &s, &why);
  return why;
}

// ---- the pass ----------------------------------------------------------------------------------
static const char *describe(sq_graph *g, const sq_node *stream) {
  sq_stream s;
  sq_text t = {.arena = g->arena};
  if (!sq_stream_parts(g, stream, &s, NULL)) return "attention";
  sq_stream_describe(g, &s, &t);
  return t.v;
}

void sq_attention_remark(sq_func *f, const sq_attention *a, const char *pass, bool fired,
                         const char *text) {
  sq_graph *g = a->g;
  const sq_node *end = a->value ? a->value : a->score;
  uint32_t last = end->span.mark;
  for (uint32_t k = 0; k < a->all.n + 2; k++) {
    const sq_node *part = k == 0 ? end : k == 1 ? a->score : a->all.v[k - 2];
    sq_node at = *part;
    if (k && (!part->span.mark || part->span.mark == last || part->span.mark == end->span.mark))
      continue;
    at.span = end->span;
    at.span.mark = last = part->span.mark;
    if (fired)
      sq_remark_add(g->ctx, pass, true, at.span, sq_pass_entry(f), "%s", text);
    else
      sq_pass_missed(g, f, pass, &at, part == end ? NULL : end, a->odd, text);
  }
}

static void report(sq_func *f, const sq_attention *a, const char *what, const char *why) {
  sq_arena *x = a->g->arena;
  sq_attention_remark(f, a, "stream", !why,
                      why ? sq_arena_fmt(x, "%s stays in parts: %s", what, why)
                          : sq_arena_fmt(x, "%s: no score is stored", what));
}

static bool try_score(sq_graph *g, sq_func *f, sq_node *score) {
  sq_attention a;
  sq_text t = {.arena = g->arena};
  if (!sq_attention_find(&a, g, f, score, false)) {
    const char *why = a.why;
    if (!why) return false;
    sq_attention_describe(&a, &t);
    report(f, &a, t.v, why);
    return false;
  }
  parts p = {.a = &a};
  make_parts(&p);
  sq_node *n = wrap(&p);
  const char *why = why_not(&p, n), *what = describe(g, n);
  if (!why) replace(&p, n);
  report(f, &a, what, why);
  return !why;
}

static bool do_block(sq_graph *g, sq_func *f, sq_block *b) {
  bool any = false;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) any |= do_block(g, f, n->region[r]);
    if (n->op != SQ_OP_GENERIC || !try_score(g, f, n)) continue;
    any = true;
    k = k ? k - 1 : 0;
  }
  return any;
}

bool sq_pass_stream(sq_graph *g, const sq_pass_options *o) {
  bool any = false;
  for (uint32_t k = 0; k < g->func.n; k++) any |= do_block(g, g->func.v[k], g->func.v[k]->body);
  if (any) sq_pass_dce(g, o);
  return any;
}
