// Members of a scan with their slopes, for one turn in a thread.
//
//   member = body(reads)           slope_j = sum over reads of  by_read * slope_j(read)
//   sum over r of body_r           slope_j = sum over r of those of body_r
//
// An element is text of its own: indices inside a turn are numbers, so that slopes which are 0 are none.
#include "codegen/cuda/sweep_newton.h"

typedef struct element { // of a member: a nest with numbers for the axes inside a turn
  sq_cu_newton *x;
  const sq_sweep_nest *m;
  const sq_newton_member *f;
  sq_cu_nest t;
  uint32_t at[SQ_CU_AXES];
} element;

uint32_t sq_cu_newton_elements(const sq_cu_newton *x, uint32_t value) {
  return sq_sweep_team_share(x->s, &x->w.team, value);
}
void sq_cu_newton_declare(sq_cu_newton *x, uint32_t value) {
  sq_cu_sweep_declare(&x->w, value, x->w.value[value].base);
}

// ---- elements ----------------------------------------------------------------------------------
static uint32_t extent(const element *e, uint32_t axis) {
  int64_t n = 1;
  sq_dim_is_const(e->x->k->g->dims, e->x->s->size[e->m->cls[axis]], &n);
  return (uint32_t)n;
}
static bool is_inner(const element *e, uint32_t axis) {
  uint32_t c = e->m->cls[axis];
  return c != SQ_SWEEP_NONE && !e->x->s->lane[c];
}
static uint32_t count(const element *e, uint32_t first, uint32_t end) {
  uint32_t n = 1;
  for (uint32_t a = first; a < end; a++)
    if (is_inner(e, a)) n *= extent(e, a);
  return n;
}
// Indices of the axes from `first` to before `end`, of the flat one.
static void put_index(element *e, uint32_t first, uint32_t end, uint32_t flat) {
  for (uint32_t a = end; a-- > first;) {
    if (!is_inner(e, a)) continue;
    e->at[a] = flat % extent(e, a);
    flat /= extent(e, a);
    e->t.index[a] = sq_arena_fmt(e->x->k->a, "((sq_i64)%u)", e->at[a]);
  }
}
static element begin(sq_cu_newton *x, uint32_t i) {
  element e = {.x = x, .m = &x->s->member[i], .f = &x->f.member[i]};
  sq_cu_sweep_begin(&x->w, &e.t, e.m);
  return e;
}
static uint32_t place(const element *e, const sq_scalar *r) {
  uint32_t flat = 0;
  const sq_type *part = &e->x->s->value[e->m->inner[r->operand]].part;
  for (uint32_t i = 0; i < r->n_pos; i++) {
    const sq_scalar *p = &e->t.g->s.v[r->pos[i]];
    int64_t n = 1;
    sq_dim_is_const(e->x->k->g->dims, part->dim[i], &n);
    flat = flat * (uint32_t)n + (p->kind == SQ_SC_INT ? (uint32_t)p->i : e->at[p->axis]);
  }
  return flat;
}

// ---- what is kept from before the iterations ---------------------------------------------------
typedef enum when { BEFORE, NOW } when;

static void keep(element *e, uint32_t id, uint32_t slot, when now) {
  sq_cu *k = e->x->k;
  if (now == BEFORE) {
    const char *name = sq_cu_temp(k, "kept");
    const char *v = sq_cu_nest_value(&e->t, id);
    sq_cu_line(k, "const %s %s = %s;", sq_cu_type(e->t.g->s.v[id].dtype), name, v);
    e->x->kept[slot] = name;
  } else {
    e->t.value[id] = e->x->kept[slot];
  }
}
// Of one element, or of one term of its sum; gives the slot behind.
static uint32_t keep_term(element *e, uint32_t slot, when now) {
  if (!e->x->f.keeps) return slot;
  for (uint32_t j = 0; j < e->f->kept.n; j++) keep(e, e->f->kept.v[j], slot++, now);
  return slot;
}
static uint32_t keep_post(element *e, uint32_t slot, when now) {
  if (!e->x->f.keeps) return slot;
  for (uint32_t j = 0; j < e->f->kept_post.n; j++) keep(e, e->f->kept_post.v[j], slot++, now);
  return slot;
}

// ---- slopes ------------------------------------------------------------------------------------
#define ONE "1"
static void add_slope(sq_cu *k, const char *type, const char *by, const char *of, const char **to) {
  const char *sum = sq_cu_temp(k, "q");
  bool one = strcmp(of, ONE) == 0;
  if (!*to)
    sq_cu_line(k, one ? "const %s %s = %s;" : "const %s %s = %s * %s;", type, sum, by, of);
  else if (one)
    sq_cu_line(k, "const %s %s = %s + %s;", type, sum, by, *to);
  else
    sq_cu_line(k, "const %s %s = sq_c_fma(%s, %s, %s);", type, sum, by, of, *to);
  *to = sum;
}
// acc: slopes of the accumulator; where: NULL, or under which condition there is anything.
static void add_terms(element *e, const sq_newton_terms *terms, const char **acc, const char *where,
                      const char **to) {
  sq_cu_newton *x = e->x;
  sq_cu *k = x->k;
  for (uint32_t i = 0; i < terms->v.n; i++) {
    const sq_scalar *r = &e->t.g->s.v[terms->v.v[i].read];
    const char **of = acc;
    if (r->kind == SQ_SC_READ) {
      uint32_t v = e->m->inner[r->operand];
      of = x->slope[v] ? x->slope[v] + place(e, r) * x->n : NULL;
    }
    if (!of) continue;
    const char *by = sq_cu_temp(k, "by"), *v = sq_cu_nest_value(&e->t, terms->v.v[i].by);
    if (where) v = sq_arena_fmt(k->a, "%s ? %s : 0", where, v);
    sq_cu_line(k, "const %s %s = (%s)(%s);", x->type, by, x->type, v);
    for (uint32_t j = 0; j < x->n; j++)
      if (of[j]) add_slope(k, x->type, by, of[j], &to[j]);
  }
}

// ---- members -----------------------------------------------------------------------------------
static const char *condition(element *e) {
  const sq_generic *g = e->t.g;
  sq_text all = {.arena = e->x->k->a};
  for (uint32_t d = 0; d < g->domain.n; d++)
    sq_text_add(&all, "%s%s", d ? " && " : "", sq_cu_nest_value(&e->t, g->domain.v[d]));
  if (!all.n) return NULL;
  const char *name = sq_cu_temp(e->x->k, "in");
  sq_cu_line(e->x->k, "const bool %s = %s;", name, all.v);
  return name;
}
// Affine scans are looked at where the states are 0: NO_SCALAR is 0 there.
static const char *value_or_zero(element *e, uint32_t id) {
  return id == SQ_NO_SCALAR ? sq_arena_fmt(e->x->k->a, "(%s)0", e->x->type)
                            : sq_cu_nest_value(&e->t, id);
}
// The sum of `body`, and its slopes; gives the name of it.
static const char *summed(element *e, uint32_t body, uint32_t *slot, const char **to) {
  sq_cu *k = e->x->k;
  const sq_generic *g = e->t.g;
  const char *acc = sq_cu_temp(k, "acc"), *v = sq_cu_temp(k, "v");
  uint32_t terms = count(e, g->n_par, e->t.n_axes);
  sq_cu_line(k, "%s %s;", sq_cu_acc(k, g), acc);
  sq_cu_line(k, "%s.begin();", acc);
  e->t.safe = g->domain.n > 0;
  for (uint32_t r = 0; r < terms; r++) {
    uint32_t mark = sq_cu_nest_enter(&e->t);
    put_index(e, g->n_par, e->t.n_axes, r);
    *slot = keep_term(e, *slot, NOW);
    const char *in = condition(e), *term = value_or_zero(e, body);
    if (body != SQ_NO_SCALAR)
      sq_cu_line(k, "%s%s%s%s.step(%s, 0);", in ? "if (" : "", in ? in : "", in ? ") " : "", acc,
                 term);
    add_terms(e, &e->f->body, NULL, in, to);
    sq_cu_nest_leave(&e->t, mark);
  }
  e->t.safe = false;
  sq_cu_line(k, "const %s %s = %s.result();", sq_cu_type(g->s.v[g->body].dtype), v, acc);
  return v;
}
static const char *one_element(element *e, uint32_t *slot, const char **slope) {
  const sq_generic *g = e->t.g;
  const char *acc[SQ_NEWTON_UNKNOWNS] = {0}, **to = g->post == SQ_NO_SCALAR ? slope : acc;
  bool affine = e->x->f.affine;
  uint32_t body = affine ? e->f->zero : g->body, post = affine ? e->f->zero_post : g->post;
  if (g->n_red) {
    e->t.acc = summed(e, body, slot, to);
    *slot = keep_post(e, *slot, NOW);
  } else {
    *slot = keep_term(e, *slot, NOW);
    e->t.acc = value_or_zero(e, body);
    add_terms(e, &e->f->body, NULL, NULL, to);
  }
  if (g->post == SQ_NO_SCALAR) return e->t.acc;
  const char *v = value_or_zero(e, post);
  add_terms(e, &e->f->post, acc, NULL, slope);
  return v;
}
// A member that moves; gives the slot behind.
static uint32_t member(sq_cu_newton *x, uint32_t i, uint32_t slot) {
  uint32_t value = x->s->member[i].value, n = sq_cu_newton_elements(x, value);
  sq_cu_newton_declare(x, value);
  x->slope[value] = SQ_ARRAY(x->k->a, const char *, n * x->n + 1);
  for (uint32_t j = 0; j < n; j++) {
    element e = begin(x, i);
    put_index(&e, 0, e.t.g->n_par, j);
    const char *v = one_element(&e, &slot, x->slope[value] + j * x->n);
    sq_cu_line(x->k, "%s[%u] = %s;", x->w.value[value].base, j, v);
  }
  return slot;
}

// The order of slots is that of `member`.
static uint32_t keep_member(sq_cu_newton *x, uint32_t i, uint32_t slot) {
  uint32_t n = sq_cu_newton_elements(x, x->s->member[i].value);
  for (uint32_t j = 0; j < n; j++) {
    element e = begin(x, i);
    const sq_generic *g = e.t.g;
    put_index(&e, 0, g->n_par, j);
    for (uint32_t r = 0; r < (g->n_red ? count(&e, g->n_par, e.t.n_axes) : 1); r++) {
      uint32_t mark = sq_cu_nest_enter(&e.t);
      put_index(&e, g->n_par, e.t.n_axes, r);
      e.t.safe = g->n_red && g->domain.n > 0;
      slot = keep_term(&e, slot, BEFORE);
      e.t.safe = false;
      sq_cu_nest_leave(&e.t, mark);
    }
    if (g->n_red) slot = keep_post(&e, slot, BEFORE);
  }
  return slot;
}
void sq_cu_newton_before(sq_cu_newton *x) {
  uint32_t slot = 0;
  for (uint32_t i = 0; i < x->s->n_member; i++) {
    const sq_newton_member *m = &x->f.member[i];
    if (!m->now) continue;
    if (m->moves) {
      slot = keep_member(x, i, slot);
      continue;
    }
    sq_cu_newton_declare(x, x->s->member[i].value);
    sq_cu_sweep_emit(&x->w, &x->s->member[i], &x->w.value[x->s->member[i].value]);
  }
}
void sq_cu_newton_members(sq_cu_newton *x) {
  uint32_t slot = 0;
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    uint32_t n = sq_cu_newton_elements(x, c);
    if (x->f.first[c] == SQ_SWEEP_NONE) continue;
    x->slope[c] = SQ_ARRAY(x->k->a, const char *, n * x->n + 1);
    for (uint32_t j = 0; j < n; j++) x->slope[c][j * x->n + x->f.first[c] + j] = ONE;
  }
  for (uint32_t i = 0; i < x->s->n_member; i++)
    if (x->f.member[i].now && x->f.member[i].moves) slot = member(x, i, slot);
}
void sq_cu_newton_later(sq_cu_newton *x) {
  for (uint32_t i = 0; i < x->s->n_member; i++) {
    uint32_t value = x->s->member[i].value, solves = x->f.solves[i];
    if (solves == SQ_SWEEP_NONE && !x->f.member[i].later) continue;
    sq_cu_newton_declare(x, value);
    if (solves == SQ_SWEEP_NONE) {
      sq_cu_sweep_emit(&x->w, &x->s->member[i], &x->w.value[value]);
      continue;
    }
    for (uint32_t j = 0; j < sq_cu_newton_elements(x, value); j++)
      sq_cu_line(x->k, "%s[%u] = g%u;", x->w.value[value].base, j, x->f.first[solves] + j);
  }
}
