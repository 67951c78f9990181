// The weighted sum of values: what of its product is the value, and what a weight.
//
//   sum [j < N] { select(j <= i, %v[j, c; if j <= i] * %g[j; if j <= i], 0.0) * %p[i, j] }
//   value: %v[j, c]; factors of the weight: %g[j], %p[i, j]; where j <= i
//
// Whatever has the column is of the value; all else goes to the term, in the space of the scores.
#include "passes/stream.h"

static bool of_scores(void *user, const sq_scalar *read, sq_value *v) {
  (void)read;
  const sq_attention *a = user;
  return v->id < a->n_known && a->tainted[v->id] && v->def->g->s.n <= 200;
}

static bool made_of_scores(const sq_attention *a, uint32_t root) {
  sq_generic alone = *a->own.g;
  bool *used = SQ_ARRAY(a->g->arena, bool, alone.s.n + 1);
  alone.body = root;
  alone.post = SQ_NO_SCALAR;
  alone.domain.n = 0;
  sq_scalars_reached(&alone, used);
  for (uint32_t id = 0; id < alone.s.n; id++)
    if (used[id] && alone.s.v[id].kind == SQ_SC_READ &&
        a->tainted[a->own.in[alone.s.v[id].operand]->id])
      return true;
  return false;
}

// The value with what is computed from scores looked through.
static void look_inside(sq_attention *a, const sq_node *n) {
  sq_maker m;
  uint32_t n_axes = n->g->n_par + n->g->n_red;
  uint32_t *axis = SQ_ARRAY(a->g->arena, uint32_t, n_axes + 1);
  sq_maker_start_like(&m, a->g, n);
  m.inlines = of_scores;
  m.user = a;
  for (uint32_t x = 0; x < n_axes; x++) axis[x] = sq_maker_index(&m, x);
  sq_graft how = {.from = n, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  m.k->body = sq_maker_graft(&m, &how, n->g->body, sq_maker_map(&m, n));
  a->own = (sq_node){.op = SQ_OP_GENERIC, .g = m.k, .n_in = m.in.n, .in = m.in.v};
}

static uint32_t in_space(sq_attention *a, const sq_attention_sum *s, uint32_t id) {
  return sq_attention_graft(a, &a->own, s->axis, id);
}

static bool has_column(const sq_attention *a, uint32_t id) {
  return sq_scalar_axes(a->own.g, id) >> a->column & 1;
}

static bool is_zero(const sq_generic *k, uint32_t id) {
  double v;
  return sq_scalar_float(k, id, &v) && v == 0;
}

// A product is taken apart along what has the column: conditions without it leave, be they guards or
// selects.
typedef struct product {
  sq_attention *a;
  sq_attention_sum *s;
  SQ_VEC(sq_factor) rest;
} product;

enum { DEPTH = 40 };
static void collect(product *p, uint32_t id, bool divides, int depth) {
  sq_attention *a = p->a;
  const sq_generic *k = a->own.g;
  const sq_scalar s = k->s.v[id];
  sq_factor f = {id, divides};
  if (!has_column(a, id)) {
    sq_push(a->g->arena, &p->rest, f);
    return;
  }
  if (s.kind == SQ_SC_EWISE && depth < DEPTH && p->rest.n + a->v.n < DEPTH) {
    if (s.ew == SQ_EW_MUL || s.ew == SQ_EW_DIV) {
      collect(p, s.a[0], divides, depth + 1);
      collect(p, s.a[1], s.ew == SQ_EW_DIV ? !divides : divides, depth + 1);
      return;
    }
    if (s.ew == SQ_EW_NEG) {
      p->s->t.negative = !p->s->t.negative;
      collect(p, s.a[0], divides, depth + 1);
      return;
    }
  }
  if (s.kind == SQ_SC_SELECT && !divides && depth < DEPTH && !has_column(a, s.a[0])) {
    bool second = is_zero(k, s.a[1]);
    if (second || is_zero(k, s.a[2])) {
      uint32_t c = in_space(a, p->s, s.a[0]);
      if (second) c = sq_maker_ewise(&a->m, SQ_EW_NOT, c, SQ_NO_SCALAR);
      sq_attention_add_condition(a, &p->s->t, c);
      collect(p, s.a[second ? 2 : 1], divides, depth + 1);
      return;
    }
  }
  if (s.kind == SQ_SC_READ && s.guard != SQ_NO_SCALAR && !divides && !has_column(a, s.guard))
    sq_attention_add_condition(a, &p->s->t, in_space(a, p->s, s.guard));
  sq_push(a->g->arena, &a->v, f);
}

// Guards of the value that are conditions of the sum hold wherever it is asked for.
static void drop_guards(sq_attention *a, const sq_attention_sum *s) {
  const sq_generic *k = a->own.g;
  for (uint32_t id = 0; id < k->s.n; id++) {
    sq_scalar *x = &k->s.v[id];
    if (x->kind != SQ_SC_READ || x->guard == SQ_NO_SCALAR || has_column(a, x->guard)) continue;
    if (sq_attention_knows(a, &s->t, in_space(a, s, x->guard))) x->guard = SQ_NO_SCALAR;
  }
}

bool sq_attention_open_value(sq_attention *a, sq_attention_sum *s) {
  const sq_generic *k = s->n->g;
  for (uint32_t j = 0; j < k->domain.n; j++)
    if (sq_scalar_axes(k, k->domain.v[j]) >> a->column & 1)
      return sq_attention_no(a, "a condition depends on the column of the values");
  product p = {.a = a, .s = s};
  sq_attention_take_conditions(a, s);
  look_inside(a, s->n);
  collect(&p, a->own.g->body, false, 0);
  for (uint32_t j = 0; j < p.rest.n; j++)
    sq_attention_take(a, &s->t, in_space(a, s, p.rest.v[j].id), p.rest.v[j].divides, 0);
  sq_attention_settle(a, &s->t);
  drop_guards(a, s);
  for (uint32_t j = 0; j < a->v.n; j++)
    if (made_of_scores(a, a->v.v[j].id))
      return sq_attention_no(a, "the values are computed from the scores");
  return a->v.n || sq_attention_no(a, "the values have no axis of their own");
}

const sq_attention_sum *sq_attention_value_sum(const sq_attention *a) {
  for (uint32_t j = 0; j < a->sum.n; j++)
    if (a->sum.v[j].n == a->value) return &a->sum.v[j];
  return NULL;
}

// Rows on which a value depends, and a key does not.
bool sq_attention_values_of_rows(const sq_attention *a) {
  const sq_attention_sum *v = sq_attention_value_sum(a);
  const sq_generic *k = a->score->g;
  const sq_scalar *body = &k->s.v[k->body];
  bool second = sq_scalar_axes(k, body->a[1]) >> a->key & 1;
  uint32_t of_k = sq_scalar_axes(k, body->a[second]), of_v = 0;
  for (uint32_t j = 0; v && j < a->v.n; j++) {
    uint32_t axes = sq_scalar_axes(a->own.g, a->v.v[j].id);
    for (uint32_t x = 0; x < a->value->g->n_par; x++)
      if ((axes >> x & 1) && v->axis[x] != SQ_NO_AXIS) of_v |= 1u << v->axis[x];
  }
  return of_v & ~of_k & ((1u << k->n_par) - 1);
}
