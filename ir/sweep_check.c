// Forms of a sweep's turns at random points. In: a sweep and its maps or blocks. Out: NULL, or a member for
// which the form gives another number than its body.
#include "ir/sweep_check.h"
#include "ir/eval_impl.h"
#include <math.h>

enum { POINTS = 24, INDICES = 5 };
static const double TOLERANCE = 1e-9;

// ---- random numbers: splitmix64 ----------------------------------------------------------------
static uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  return x ^ x >> 31;
}
static double number(uint64_t key) { return 3 * ((double)(mix(key) >> 11) / 0x1p53 - 0.5); }

// ---- scalars of a member at a point ------------------------------------------------------------
typedef struct point {
  const sq_sweep *s;
  const sq_sweep_nest *x;
  uint64_t seed;  // of all that is read, at this turn
  uint32_t state; // a value of the sweep that is h instead, or NONE
  double h;
  sq_cell *v; // per scalar, where it is there
  bool *there;
} point;

static sq_cell scalar(point *p, uint32_t id);

static sq_cell drawn(sq_dtype t, uint64_t key) {
  sq_cell c;
  if (sq_is_float(t))
    c.f = sq_round_float(t, number(key));
  else
    c.i = (int64_t)(mix(key) % (t == SQ_BOOL ? 2 : INDICES));
  return c;
}

// Which of the operands, of which some may be the same.
static uint32_t memory_of(const sq_sweep_nest *x, uint32_t operand) {
  for (uint32_t k = 0; k < operand; k++)
    if (x->n->in[k] == x->n->in[operand]) return k;
  return operand;
}

// The same element is the same number in all scalars of all members.
static sq_cell element(point *p, const sq_scalar *x) {
  uint32_t value = p->x->inner[x->operand];
  if (x->guard != SQ_NO_SCALAR && !scalar(p, x->guard).i) return (sq_cell){.i = 0};
  if (value != SQ_SWEEP_NONE && value == p->state) return (sq_cell){.f = p->h};
  uint64_t key = mix(p->seed + 7919 * (value + 1ull));
  if (value == SQ_SWEEP_NONE) key = mix(p->seed + memory_of(p->x, x->operand));
  for (uint32_t k = 0; k < x->n_pos; k++) key = mix(key ^ (uint64_t)scalar(p, x->pos[k]).i);
  if (x->other != SQ_NO_SCALAR && mix(key + 1) % 8 == 0) return scalar(p, x->other); // outside
  return drawn(x->dtype, key);
}

static sq_cell size(point *p, sq_dim d) {
  sq_cell c;
  if (!sq_dim_is_const(p->s->g->dims, d, &c.i)) c.i = INDICES;
  return c;
}

static sq_cell computed(point *p, const sq_scalar *x) {
  const sq_scalar *all = p->x->n->g->s.v;
  sq_cell a[2] = {{.i = 0}, {.i = 0}}, r = {.i = 0};
  switch (x->kind) {
  case SQ_SC_FLOAT:
    return (sq_cell){.f = x->f};
  case SQ_SC_INT:
    return (sq_cell){.i = x->i};
  case SQ_SC_INDEX:
    return drawn(SQ_I64, p->seed + 104729 * (x->axis + 1ull));
  case SQ_SC_DIM:
    return size(p, x->dim);
  case SQ_SC_READ:
    return element(p, x);
  case SQ_SC_SELECT:
    return scalar(p, x->a[scalar(p, x->a[0]).i ? 1 : 2]);
  case SQ_SC_CAST:
    a[0] = scalar(p, x->a[0]);
    sq_cells_cast(all[x->a[0]].dtype, x->dtype, 1, &r, a, 0);
    return r;
  case SQ_SC_EWISE:
    for (int k = 0; k < sq_ewise_table[x->ew].arity; k++) a[k] = scalar(p, x->a[k]);
    sq_cells_ewise(x->ew, all[x->a[0]].dtype, 1, &r, a, 0, a + 1, 0);
    return r;
  case SQ_SC_ACC:
    return (sq_cell){.f = NAN};
  }
  return r;
}

static sq_cell scalar(point *p, uint32_t id) {
  if (!p->there[id]) p->v[id] = computed(p, &p->x->n->g->s.v[id]);
  p->there[id] = true;
  return p->v[id];
}

// Scalar `id` of member i; `without` where there is none.
static double at(const sq_sweep *s, uint32_t i, uint32_t id, double without, uint64_t seed,
                 uint32_t state, double h) {
  if (id == SQ_NO_SCALAR) return without;
  point p = {.s = s, .x = &s->member[i], .seed = seed, .state = state, .h = h};
  p.v = SQ_ARRAY(s->g->arena, sq_cell, p.x->n->g->s.n + 1);
  p.there = SQ_ARRAY(s->g->arena, bool, p.x->n->g->s.n + 1);
  return scalar(&p, id).f;
}
static double body(const sq_sweep *s, uint32_t i, uint64_t seed, uint32_t state, double h) {
  return at(s, i, s->member[i].n->g->body, 0, seed, state, h);
}

static bool near(double a, double b, double size) {
  if (!isfinite(a) || !isfinite(b) || !isfinite(size)) return true;
  return fabs(a - b) <= TOLERANCE * (1 + fabs(a) + fabs(b) + size);
}

static const char *wrong(const sq_sweep *s, uint32_t i, const char *what) {
  const char *name = s->value[s->member[i].value].v->name;
  return sq_arena_fmt(s->g->arena, "%s of %s", what,
                      name ? sq_arena_fmt(s->g->arena, "`%s`", name) : "a member");
}

// ---- maps --------------------------------------------------------------------------------------
typedef struct map {
  sq_prefix_how how;
  double by, other, high;
} map;

static map map_at(const sq_sweep *s, const sq_prefix *f, uint32_t i, uint64_t seed, double h) {
  const sq_prefix_map *m = &f->map[i];
  bool sum = m->how == SQ_PREFIX_SUM;
  double least = m->how == SQ_PREFIX_MIN ? INFINITY : -INFINITY;
  return (map){m->how, at(s, i, m->by, sum ? 1 : 0, seed, f->solves[i], h),
               at(s, i, m->other, sum ? 0 : least, seed, f->solves[i], h),
               at(s, i, m->high, INFINITY, seed, f->solves[i], h)};
}
static double applied(map m, double h) {
  if (m.how == SQ_PREFIX_SUM) return m.by * h + m.other;
  if (m.how == SQ_PREFIX_LOG) return log(exp(h + m.by) + exp(m.other));
  return m.how == SQ_PREFIX_MAX ? fmin(m.high, fmax(h + m.by, m.other)) : fmin(h + m.by, m.other);
}
static map together(map a, map b) { // first a
  double by = a.how == SQ_PREFIX_SUM ? a.by * b.by : a.by + b.by;
  return (map){a.how, by, applied(b, a.other), applied(b, a.high)};
}

static const char *check_map(const sq_sweep *s, const sq_prefix *f, uint32_t i, uint64_t seed) {
  uint32_t state = f->solves[i];
  double h = 8 * number(seed + 3), want = h, size = fabs(h);
  map m[3];
  for (uint32_t t = 0; t < 3; t++) {
    uint64_t turn = mix(seed + 11 * t);
    map other = map_at(s, f, i, turn, h + 1);
    m[t] = map_at(s, f, i, turn, h);
    if (!near(m[t].by, other.by, 0) || (isfinite(m[t].other) && !near(m[t].other, other.other, 0)))
      return wrong(s, i, "the map depends on the state: that");
    double next = body(s, i, turn, state, want);
    if (!near(next, applied(m[t], want), fabs(m[t].by) * size))
      return wrong(s, i, "the map of a turn is not the next value: that");
    size = fabs(m[t].by) * size + fabs(next);
    want = next;
  }
  double left = applied(together(together(m[0], m[1]), m[2]), h),
         right = applied(together(m[0], together(m[1], m[2])), h);
  if (!near(left, want, size) || !near(right, want, size))
    return wrong(s, i, "maps put together are not their turns one after another: those");
  return NULL;
}

const char *sq_prefix_check(const sq_sweep *s, const sq_prefix *f, uint64_t seed) {
  const char *why = NULL;
  for (uint32_t i = 0; i < s->n_member; i++)
    for (uint32_t k = 0; !why && f->map[i].how != SQ_PREFIX_NONE && k < POINTS; k++)
      why = check_map(s, f, i, mix(seed + k));
  return why;
}

// ---- maps of all states --------------------------------------------------------------------------
// Scalar `id` of member i, where what it sums comes to `acc`; 0 where there is none.
static double with_sum(const sq_sweep *s, uint32_t i, uint32_t id, uint64_t seed, double acc) {
  const sq_generic *g = s->member[i].n->g;
  if (id == SQ_NO_SCALAR) return 0;
  point p = {.s = s, .x = &s->member[i], .seed = seed, .state = SQ_SWEEP_NONE};
  p.v = SQ_ARRAY(s->g->arena, sq_cell, g->s.n + 1);
  p.there = SQ_ARRAY(s->g->arena, bool, g->s.n + 1);
  for (uint32_t j = 0; j < g->s.n; j++)
    if (g->s.v[j].kind == SQ_SC_ACC) p.v[j].f = acc, p.there[j] = true;
  return scalar(&p, id).f;
}

// Is what the read gives left out of the value at 0?
static bool is_left_out(const sq_sweep *s, const sq_newton *f, uint32_t i, const sq_scalar *r) {
  uint32_t n = s->scan->n_carried;
  if (r->kind == SQ_SC_ACC) return f->member[i].zero == SQ_NO_SCALAR;
  uint32_t v = s->member[i].inner[r->operand];
  return v < n || f->member[v - n].nothing;
}

static const char *check_slopes(const sq_sweep *s, const sq_newton *f, uint32_t i, uint32_t root,
                                uint32_t zero, const sq_newton_terms *terms, uint64_t seed) {
  const sq_generic *g = s->member[i].n->g;
  double acc = number(seed + 5), sum = with_sum(s, i, zero, seed, acc), size = fabs(sum);
  for (uint32_t j = 0; j < terms->v.n; j++) {
    uint32_t read = terms->v.v[j].read;
    if (!is_left_out(s, f, i, &g->s.v[read])) continue;
    double one = with_sum(s, i, terms->v.v[j].by, seed, acc) * with_sum(s, i, read, seed, acc);
    sum += one;
    size += fabs(one);
  }
  if (near(with_sum(s, i, root, seed, acc), sum, size)) return NULL;
  return wrong(s, i, "slopes times states are not the next value: those");
}

const char *sq_dense_check(const sq_sweep *s, const sq_dense *d, uint64_t seed) {
  const char *why = NULL;
  for (uint32_t i = 0; i < s->n_member; i++) {
    const sq_newton_member *m = &d->f.member[i];
    const sq_generic *g = s->member[i].n->g;
    for (uint32_t p = 0; m->now && m->moves && !why && p < POINTS; p++) {
      why = check_slopes(s, &d->f, i, g->body, m->zero, &m->body, mix(seed + p));
      if (!why && g->post != SQ_NO_SCALAR)
        why = check_slopes(s, &d->f, i, g->post, m->zero_post, &m->post, mix(seed + p));
    }
  }
  return why;
}

// ---- blocks ------------------------------------------------------------------------------------
static const char *check_state(const sq_sweep *s, const sq_chunk *c, uint32_t k, uint64_t seed) {
  const sq_chunk_state *t = &c->state[k];
  double h = 8 * number(seed + 3);
  double next = at(s, t->member, t->by, 1, seed, k, h) * h, size = fabs(next);
  for (uint32_t i = t->first; i < t->first + t->n_add; i++) {
    double one = at(s, t->member, c->add[i].key, 1, seed, k, h) *
                 at(s, t->member, c->add[i].column, 1, seed, k, h);
    next += one;
    size += fabs(one);
  }
  if (near(body(s, t->member, seed, k, h), next, size)) return NULL;
  return wrong(s, t->member, "decay, keys and columns are not the next value: those");
}

// A sum is a factor times each of its states: what it adds where all states but one are 0.
static double of_states(const sq_sweep *s, const sq_chunk *c, uint32_t r, uint64_t seed,
                        uint32_t one) {
  const sq_chunk_read *read = &c->read[r];
  const sq_sweep_nest *x = &s->member[read->member];
  point p = {.s = s, .x = x, .seed = seed, .state = SQ_SWEEP_NONE};
  p.v = SQ_ARRAY(s->g->arena, sq_cell, x->n->g->s.n + 1);
  p.there = SQ_ARRAY(s->g->arena, bool, x->n->g->s.n + 1);
  for (uint32_t j = 0; j < x->n->g->s.n; j++) {
    const sq_scalar *y = &x->n->g->s.v[j];
    uint32_t value = y->kind == SQ_SC_READ ? x->inner[y->operand] : SQ_SWEEP_NONE;
    for (uint32_t k = 0; value != SQ_SWEEP_NONE && k < s->scan->n_carried; k++) {
      if (value != k && value != s->next[k]) continue;
      p.v[j].f = value == one ? 1 : 0;
      p.there[j] = true;
    }
  }
  return scalar(&p, x->n->g->body).f;
}

// What the terms have as the factor of a value, a state before or after the turn.
static double factor_of(const sq_sweep *s, const sq_chunk_read *r, uint32_t value, uint64_t seed) {
  double sum = 0;
  for (uint32_t i = 0; i < r->n_term; i++)
    if (value == (r->term[i].before ? r->term[i].state : s->next[r->term[i].state]))
      sum += at(s, r->member, r->term[i].factor, 1, seed, SQ_SWEEP_NONE, 0);
  return sum;
}

static const char *check_read(const sq_sweep *s, const sq_chunk *c, uint32_t r, uint64_t seed) {
  const sq_chunk_read *read = &c->read[r];
  for (uint32_t k = 0; k < 2 * s->scan->n_carried; k++) {
    uint32_t value = k % 2 ? s->next[k / 2] : k / 2;
    if (!near(of_states(s, c, r, seed, value), factor_of(s, read, value, seed), 0))
      return wrong(s, read->member, "a factor is not what the sum has: that");
  }
  return near(of_states(s, c, r, seed, SQ_SWEEP_NONE), 0, 0)
             ? NULL
             : wrong(s, read->member, "a sum has more than factors times states: that");
}

const char *sq_chunk_check(const sq_sweep *s, const sq_chunk *c, uint64_t seed) {
  const char *why = NULL;
  for (uint32_t p = 0; p < POINTS; p++) {
    for (uint32_t k = 0; !why && k < s->scan->n_carried; k++)
      why = check_state(s, c, k, mix(seed + p));
    for (uint32_t r = 0; !why && r < c->n_read; r++) why = check_read(s, c, r, mix(seed + p));
  }
  return why;
}
