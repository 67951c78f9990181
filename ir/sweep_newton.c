// Sweeps by Newton's method. In: a sweep. Out: the derivatives of its members, or what has none.
//
//   %d = generic (%h, %a, %x, %t) { tanh(%a * %h + %x[t]) }
// has one unknown, and the term  read %h,  by (1.0 - t0 * t0) * %a.
#include "ir/sweep_newton.h"
#include "ir/derive.h"

enum {
  MAX_ELEMENTS = 16, // of a value, in a turn of a lane
  MAX_CARRIED = 32,
  MAX_WORK = 192, // elements of members of a turn, unrolled
};

typedef struct finder {
  sq_sweep *s;
  sq_newton f;
  bool *moves; // per value: it depends on the states
} finder;

static bool refuse(finder *w, sq_span where, const char *why) {
  if (!w->f.why) w->f.where = where;
  if (!w->f.why) w->f.why = why;
  return false;
}

static uint32_t count(const sq_sweep *s, const sq_dim *dim, uint32_t n) {
  int64_t all = 1, v;
  for (uint32_t a = 0; a < n; a++) {
    if (!sq_dim_is_const(s->g->dims, dim[a], &v) || v < 1 || v > MAX_WORK) return 0;
    all *= v;
    if (all > MAX_WORK) return 0;
  }
  return (uint32_t)all;
}

static uint32_t elements(const sq_sweep *s, uint32_t value) {
  return count(s, s->value[value].part.dim, s->value[value].part.rank);
}

static sq_newton_member *maker_of(const finder *w, uint32_t value) {
  uint32_t n = w->s->scan->n_carried;
  return value < n ? NULL : &w->f.member[value - n];
}

// ---- what it carries ---------------------------------------------------------------------------
static const char *dense(const sq_sweep *s, uint32_t k) {
  sq_text t = {.arena = s->g->arena};
  sq_text_add(&t, "a Jacobian that is dense over ");
  for (uint32_t a = 0; a < s->value[k].part.rank; a++)
    sq_text_add(&t, "%s%s", a ? " x " : "", sq_dim_text(s->g->dims, s->value[k].part.dim[a]));
  return t.v;
}

static bool find_unknowns(finder *w) {
  const sq_sweep *s = w->s;
  sq_span span = s->scan->span;
  sq_dtype type = SQ_F32;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    w->f.first[k] = SQ_SWEEP_NONE;
    if (s->next[k] == k) continue;
    sq_dtype t = s->value[k].v->type.dtype;
    uint32_t n = elements(s, k);
    if (!sq_is_float(t)) return refuse(w, span, "it carries whole numbers or truths");
    if (t != SQ_F32 && t != SQ_F64)
      return refuse(w, span, "what it carries is rounded in every turn");
    if (w->f.n && t != type) return refuse(w, span, "it carries numbers of two types");
    type = t;
    if (!n || n > SQ_NEWTON_UNKNOWNS) return refuse(w, span, dense(s, k));
    w->f.first[k] = w->f.n;
    w->f.n += n;
    w->moves[k] = true;
  }
  if (w->f.n > SQ_NEWTON_UNKNOWNS)
    return refuse(w, span, sq_arena_fmt(s->g->arena, "a Jacobian of %u x %u", w->f.n, w->f.n));
  return w->f.n || refuse(w, span, "nothing depends on the turn before");
}

// Elements are unrolled: few, at places that are known.
static bool small(finder *w) {
  const sq_sweep *s = w->s;
  uint32_t work = 0, carried = 0;
  for (uint32_t v = 0; v < s->n_value; v++) {
    uint32_t n = elements(s, v);
    bool kept = v < s->scan->n_carried;
    carried += kept ? n : 0;
    if (!n || n > MAX_ELEMENTS || carried > MAX_CARRIED)
      return refuse(w, s->scan->span,
                    "a turn of a lane has many elements, or it is not known how many");
    if (kept && s->value[v].v->type.dtype == SQ_BOOL)
      return refuse(w, s->scan->span, "it carries whole numbers or truths");
  }
  for (uint32_t i = 0; i < s->n_member; i++) {
    const sq_sweep_nest *x = &s->member[i];
    const sq_generic *k = x->n->g;
    uint32_t red = 1;
    for (uint32_t a = 0; a < k->n_red && red; a++) {
      uint32_t n = count(s, &k->axis[k->n_par + a].extent, 1);
      red = red * n > MAX_WORK ? 0 : red * n;
    }
    work += elements(s, x->value) * red * (1 + k->s.n / 16);
    if (!red || work > MAX_WORK) return refuse(w, x->n->span, "a turn of a lane is too much work");
    for (uint32_t j = 0; j < k->s.n; j++) {
      const sq_scalar *r = &k->s.v[j];
      if (r->kind != SQ_SC_READ) continue;
      if (r->site != SQ_NO_SITE) return refuse(w, x->n->span, "a place that is tested");
      for (uint32_t p = 0; p < r->n_pos && x->inner[r->operand] != SQ_SWEEP_NONE; p++) {
        const sq_scalar *at = &k->s.v[r->pos[p]];
        if ((at->kind != SQ_SC_INDEX || at->axis == x->time) && at->kind != SQ_SC_INT)
          return refuse(w, x->n->span, "a place inside a turn that is computed");
      }
      if (r->other != SQ_NO_SCALAR && x->inner[r->operand] != SQ_SWEEP_NONE)
        return refuse(w, x->n->span, "a place inside a turn that may lie outside");
    }
  }
  return true;
}

// ---- derivatives -------------------------------------------------------------------------------
static bool is_moving_read(const finder *w, const sq_sweep_nest *x, const sq_scalar *r) {
  if (r->kind != SQ_SC_READ) return false;
  uint32_t v = x->inner[r->operand];
  return v != SQ_SWEEP_NONE && w->moves[v];
}

// Name of a state that the member reads.
static const char *state_name(const finder *w, const sq_sweep_nest *x) {
  for (uint32_t j = 0; j < x->n->n_in; j++) {
    uint32_t v = x->inner[j];
    if (v == SQ_SWEEP_NONE || !w->moves[v] || !w->s->value[v].v->name) continue;
    return sq_arena_fmt(w->s->g->arena, "`%s`", w->s->value[v].v->name);
  }
  return "the state";
}

static bool terms_of(finder *w, uint32_t i, uint32_t root, bool *leaf, sq_newton_terms *to) {
  const sq_sweep_nest *x = &w->s->member[i];
  sq_graph *g = w->s->g;
  sq_derivative d = sq_derive(g, x->n->g, root, leaf);
  if (d.why)
    return refuse(w, x->n->span,
                  sq_arena_fmt(g->arena, "%s%s has no derivative", d.why, state_name(w, x)));
  for (uint32_t j = 0; j < d.n; j++)
    if (d.by[j] != SQ_NO_SCALAR) sq_push(g->arena, &to->v, ((sq_newton_term){j, d.by[j]}));
  return true;
}

static uint32_t operands(const sq_scalar *x) {
  return x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
         : x->kind == SQ_SC_SELECT ? 3
         : x->kind == SQ_SC_CAST   ? 1
                                   : 0;
}

typedef struct kinds { // per scalar: does it depend on the states, on the turn
  bool *moves, *turns;
} kinds;

static void join_kinds(const kinds *d, uint32_t to, uint32_t from) {
  if (from == SQ_NO_SCALAR) return;
  d->moves[to] |= d->moves[from];
  d->turns[to] |= d->turns[from];
}

static kinds kinds_of(const finder *w, const sq_sweep_nest *x) {
  const sq_generic *k = x->n->g;
  sq_arena *a = w->s->g->arena;
  kinds d = {SQ_ARRAY(a, bool, k->s.n + 1), SQ_ARRAY(a, bool, k->s.n + 1)};
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *r = &k->s.v[j];
    bool read = r->kind == SQ_SC_READ, inner = read && x->inner[r->operand] != SQ_SWEEP_NONE;
    d.moves[j] = is_moving_read(w, x, r) || r->kind == SQ_SC_ACC;
    d.turns[j] = (r->kind == SQ_SC_INDEX && r->axis == x->time) ||
                 (inner && x->inner[r->operand] >= w->s->scan->n_carried);
    for (uint32_t i = 0; i < operands(r); i++) join_kinds(&d, j, r->a[i]);
    for (uint32_t i = 0; read && i < r->n_pos; i++) join_kinds(&d, j, r->pos[i]);
    if (read) join_kinds(&d, j, r->guard);
    if (read) join_kinds(&d, j, r->other);
  }
  return d;
}

static bool check_sum(finder *w, uint32_t i) {
  const sq_sweep_nest *x = &w->s->member[i];
  const sq_generic *k = x->n->g;
  sq_arena *a = w->s->g->arena;
  if (k->n_red && k->monoid != SQ_SUM)
    return refuse(w, x->n->span,
                  sq_arena_fmt(a, "`%s` over %s, which is no sum", sq_monoid_names[k->monoid],
                               state_name(w, x)));
  const bool *moves = kinds_of(w, x).moves;
  for (uint32_t j = 0; j < k->domain.n; j++)
    if (moves[k->domain.v[j]])
      return refuse(w, x->n->span,
                    sq_arena_fmt(a, "a choice by %s has no derivative", state_name(w, x)));
  return true;
}

static bool do_member(finder *w, uint32_t i) {
  const sq_sweep *s = w->s;
  const sq_sweep_nest *x = &s->member[i];
  sq_generic *k = x->n->g;
  uint32_t n = k->s.n;
  bool *leaf = SQ_ARRAY(s->g->arena, bool, n + 1), any = false;
  for (uint32_t j = 0; j < n; j++) any |= leaf[j] = is_moving_read(w, x, &k->s.v[j]);
  sq_newton_member *m = &w->f.member[i];
  w->moves[x->value] = m->moves = any;
  if (!any || !m->now) return true;
  if (!check_sum(w, i) || !terms_of(w, i, k->body, leaf, &m->body)) return false;
  if (k->post == SQ_NO_SCALAR) return true;
  bool *after = SQ_ARRAY(s->g->arena, bool, k->s.n + 1);
  for (uint32_t j = 0; j < n; j++) after[j] = leaf[j] || k->s.v[j].kind == SQ_SC_ACC;
  return terms_of(w, i, k->post, after, &m->post);
}

// ---- what is the same in every iteration -------------------------------------------------------
static void reach(const sq_generic *k, uint32_t id, bool *seen) {
  if (id == SQ_NO_SCALAR || seen[id]) return;
  seen[id] = true;
  for (uint32_t j = 0; j < operands(&k->s.v[id]); j++) reach(k, k->s.v[id].a[j], seen);
}

// What is computed for each term of a sum.
static bool *summed_of(const finder *w, uint32_t i) {
  const sq_generic *k = w->s->member[i].n->g;
  bool *summed = SQ_ARRAY(w->s->g->arena, bool, k->s.n + 1);
  reach(k, k->body, summed);
  for (uint32_t j = 0; j < k->domain.n; j++) reach(k, k->domain.v[j], summed);
  const sq_newton_terms *terms = &w->f.member[i].body;
  for (uint32_t j = 0; j < terms->v.n; j++) reach(k, terms->v.v[j].by, summed);
  return summed;
}

// The largest parts that do not move, of those that do.
static void find_kept(finder *w, uint32_t i) {
  const sq_sweep_nest *x = &w->s->member[i];
  const sq_generic *k = x->n->g;
  sq_newton_member *m = &w->f.member[i];
  sq_arena *a = w->s->g->arena;
  kinds d = kinds_of(w, x);
  bool *summed = summed_of(w, i), *used = SQ_ARRAY(a, bool, k->s.n + 1);
  for (uint32_t j = 0; j < k->s.n; j++)
    for (uint32_t o = 0; d.moves[j] && o < operands(&k->s.v[j]); o++) used[k->s.v[j].a[o]] = true;
  for (uint32_t j = 0; j < m->body.v.n; j++) used[m->body.v.v[j].by] = true;
  for (uint32_t j = 0; j < m->post.v.n; j++) used[m->post.v.v[j].by] = true;
  uint32_t terms = 1, n = elements(w->s, x->value);
  for (uint32_t r = 0; r < k->n_red; r++) terms *= count(w->s, &k->axis[k->n_par + r].extent, 1);
  for (uint32_t j = 0; j < k->s.n; j++) {
    if (!used[j] || d.moves[j] || !d.turns[j] || !sq_is_float(k->s.v[j].dtype)) continue;
    bool each = !k->n_red || summed[j];
    if (each)
      sq_push(a, &m->kept, j);
    else
      sq_push(a, &m->kept_post, j);
    w->f.n_kept += n * (each ? terms : 1);
  }
}

bool sq_newton_steady(const sq_sweep *s, const sq_newton *f, uint32_t i) {
  const finder w = {.s = (sq_sweep *)(uintptr_t)s,
                    .moves = SQ_ARRAY(s->g->arena, bool, s->n_value)};
  const bool *turns = kinds_of(&w, &s->member[i]).turns;
  const sq_newton_terms *of[2] = {&f->member[i].body, &f->member[i].post};
  for (uint32_t t = 0; t < 2; t++)
    for (uint32_t j = 0; j < of[t]->v.n; j++)
      if (turns[of[t]->v.v[j].by]) return false;
  return true;
}

// ---- what is needed when -----------------------------------------------------------------------
static void need(finder *w, uint32_t value, bool later) {
  sq_newton_member *m = maker_of(w, value);
  if (!m) return;
  uint32_t i = (uint32_t)(m - w->f.member);
  bool *mark = later ? &m->later : &m->now;
  if (*mark || (later && w->f.solves[i] != SQ_SWEEP_NONE)) return;
  *mark = true;
  const sq_sweep_nest *x = &w->s->member[i];
  for (uint32_t j = 0; j < x->n->n_in; j++)
    if (x->inner[j] != SQ_SWEEP_NONE) need(w, x->inner[j], later);
}

static void find_needs(finder *w) {
  const sq_sweep *s = w->s;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    if (w->f.first[k] == SQ_SWEEP_NONE) continue;
    if (s->next[k] >= s->scan->n_carried) {
      uint32_t *of = &w->f.solves[s->next[k] - s->scan->n_carried];
      if (*of == SQ_SWEEP_NONE) *of = k;
    }
    need(w, s->next[k], false);
  }
  for (uint32_t i = 0; i < s->n_store; i++) need(w, s->store[i].value, true);
}

sq_newton sq_newton_make(sq_sweep *s) {
  finder w = {.s = s};
  sq_arena *a = s->g->arena;
  w.moves = SQ_ARRAY(a, bool, s->n_value + 1);
  w.f.first = SQ_ARRAY(a, uint32_t, s->scan->n_carried + 1);
  w.f.solves = SQ_ARRAY(a, uint32_t, s->n_member + 1);
  w.f.member = SQ_ARRAY(a, sq_newton_member, s->n_member + 1);
  for (uint32_t i = 0; i < s->n_member; i++) w.f.solves[i] = SQ_SWEEP_NONE;
  if (!find_unknowns(&w) || !small(&w)) return w.f;
  find_needs(&w);
  for (uint32_t i = 0; i < s->n_member; i++)
    if (!do_member(&w, i)) return w.f;
  for (uint32_t i = 0; i < s->n_member; i++)
    if (w.f.member[i].now && w.f.member[i].moves) find_kept(&w, i);
  w.f.keeps = w.f.n_kept <= SQ_NEWTON_KEPT;
  return w.f;
}

// ---- cost --------------------------------------------------------------------------------------
// Cycles of a scalar of floats: how often one can begin, how long it takes.
typedef struct time {
  double every, takes;
} time;

static time time_of(const sq_scalar *x) {
  if (x->kind == SQ_SC_READ || x->kind == SQ_SC_SELECT || x->kind == SQ_SC_CAST)
    return (time){0.5, x->kind == SQ_SC_READ ? 0 : 2};
  if (x->kind != SQ_SC_EWISE || !sq_is_float(x->dtype)) return (time){0, 0};
  switch ((int)x->ew) {
  case SQ_EW_DIV:
  case SQ_EW_SQRT:
  case SQ_EW_RSQRT:
    return (time){6, 13};
  case SQ_EW_EXP:
  case SQ_EW_EXP2:
  case SQ_EW_LOG:
  case SQ_EW_LOG2:
  case SQ_EW_SIN:
  case SQ_EW_COS:
    return (time){14, 36};
  case SQ_EW_EXPM1:
  case SQ_EW_LOG1P:
  case SQ_EW_TANH:
  case SQ_EW_ERF:
  case SQ_EW_SIGMOID:
    return (time){19, 48};
  case SQ_EW_TAN:
  case SQ_EW_POW:
  case SQ_EW_ATAN2:
    return (time){40, 90};
  case SQ_EW_MUL: // with the sum behind it one instruction
    return (time){0.5, 1};
  default:
    return (time){0.5, 3};
  }
}

// What is not the same in all turns.
static bool *varying_of(const sq_sweep *s, const sq_sweep_nest *x) {
  const sq_generic *k = x->n->g;
  bool *varies = SQ_ARRAY(s->g->arena, bool, k->s.n + 1);
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *r = &k->s.v[j];
    bool read = r->kind == SQ_SC_READ;
    varies[j] = r->kind == SQ_SC_ACC || (r->kind == SQ_SC_INDEX && r->axis == x->time) ||
                (read && x->inner[r->operand] != SQ_SWEEP_NONE);
    for (uint32_t i = 0; i < operands(r); i++) varies[j] |= varies[r->a[i]];
    for (uint32_t i = 0; read && i < r->n_pos; i++) varies[j] |= varies[r->pos[i]];
  }
  return varies;
}

// Cycles of a member, of one vector: what is summed costs as often as there are terms.
static double member_work(const sq_sweep *s, const sq_sweep_nest *x, const sq_newton_member *m) {
  const sq_generic *k = x->n->g;
  bool *summed = SQ_ARRAY(s->g->arena, bool, k->s.n + 1);
  double terms = 1, all = 0;
  reach(k, k->body, summed);
  for (uint32_t j = 0; m && j < m->body.v.n; j++) reach(k, m->body.v.v[j].by, summed);
  for (uint32_t a = 0; a < k->n_red; a++) terms *= count(s, &k->axis[k->n_par + a].extent, 1);
  const bool *varies = varying_of(s, x);
  for (uint32_t j = 0; j < k->s.n; j++)
    if (varies[j]) all += time_of(&k->s.v[j]).every * (summed[j] ? terms : 1);
  return all * elements(s, x->value);
}

double sq_newton_work(const sq_sweep *s, const sq_newton *f) {
  double all = 0;
  for (uint32_t i = 0; i < s->n_member; i++)
    if (!f || f->member[i].now) all += member_work(s, &s->member[i], f ? &f->member[i] : NULL);
  return all;
}

// How long the element takes from when the states are there; `at`: when each value is.
static double wait_of(const sq_sweep *s, const sq_sweep_nest *x, const double *at) {
  const sq_generic *k = x->n->g;
  double *when = SQ_ARRAY(s->g->arena, double, k->s.n + 1), sum = 0;
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *r = &k->s.v[j];
    uint32_t n = operands(r);
    when[j] = -1; // no state in it
    if (r->kind == SQ_SC_READ && x->inner[r->operand] != SQ_SWEEP_NONE)
      when[j] = at[x->inner[r->operand]];
    if (r->kind == SQ_SC_ACC) when[j] = when[k->body] < 0 ? -1 : when[k->body] + sum;
    for (uint32_t i = 0; i < n; i++)
      if (when[r->a[i]] > when[j]) when[j] = when[r->a[i]];
    if (when[j] >= 0) when[j] += time_of(r).takes;
    if (j == k->body)
      for (uint32_t a = 0; a < k->n_red; a++)
        sum += 4.0 * count(s, &k->axis[k->n_par + a].extent, 1);
  }
  return when[k->post == SQ_NO_SCALAR ? k->body : k->post];
}

static double chain_of(const sq_sweep *s) {
  double *at = SQ_ARRAY(s->g->arena, double, s->n_value + 1), most = 0;
  uint32_t n = s->scan->n_carried;
  for (uint32_t k = 0; k < n; k++) at[k] = s->next[k] == k ? -1 : 0;
  for (uint32_t i = 0; i < s->n_member; i++) at[s->member[i].value] = wait_of(s, &s->member[i], at);
  for (uint32_t k = 0; k < n; k++)
    if (at[s->next[k]] > most) most = at[s->next[k]];
  return most;
}

static double lanes_of(const sq_sweep *s) { // 0: not known
  double lanes = 1;
  for (uint32_t c = 0; c < s->n_class; c++) {
    int64_t v;
    if (!s->lane[c]) continue;
    if (!sq_dim_is_const(s->g->dims, s->size[c], &v)) return 0;
    lanes *= (double)v;
  }
  return lanes;
}

sq_newton_cost sq_newton_costs(sq_sweep *s, uint32_t vector_bytes) {
  double lanes = lanes_of(s), plain = sq_newton_work(s, NULL), chain = chain_of(s);
  if (lanes == 0) return (sq_newton_cost){0};
  sq_newton f = sq_newton_make(s);
  if (f.why) return (sq_newton_cost){0};
  double w = vector_bytes / (s->value[0].v->type.dtype == SQ_F64 ? 8 : 4), n = f.n;
  double vectors = (double)(int64_t)((lanes + w - 1) / w), steps = 0;
  for (double turns = 1; turns < w; turns *= 2) steps++;
  double maps = steps * (n * n + n) * (1 + 0.5 * n), each = sq_newton_work(s, &f) + maps + 3 * n;
  return (sq_newton_cost){.turns = vectors * plain > chain ? vectors * plain : chain,
                          .newton = lanes * SQ_NEWTON_ITERATIONS * each / w};
}

// ---- cost on a device --------------------------------------------------------------------------
enum {
  UNITS = 132 * 4, // that begin an instruction of 32 threads in a cycle each
  LOAD = 600,      // cycles that memory takes
  AT_ONCE = 4,     // turns, one by one, that wait for it together
  EXCHANGE = 25,   // cycles of a shuffle
  MEETING = 100,   // of both barriers of an iteration and what is read behind them
  WORDS = 84,      // of a map, in registers
};

static bool is_wide(const sq_sweep *s, const sq_newton *f) {
  for (uint32_t k = 0; k < s->scan->n_carried; k++)
    if (f->first[k] != SQ_SWEEP_NONE) return s->value[k].v->type.dtype == SQ_F64;
  return false;
}

const char *sq_newton_too_large(const sq_sweep *s, const sq_newton *f) {
  if ((f->n + 1) * f->n * (is_wide(s, f) ? 2 : 1) <= WORDS) return NULL;
  return sq_arena_fmt(
      s->g->arena, "a Jacobian of %u x %u is more than the registers of a thread hold", f->n, f->n);
}

sq_newton_cost sq_newton_device_costs(sq_sweep *s, double iterations) {
  double lanes = lanes_of(s), plain = 2 * sq_newton_work(s, NULL), chain = chain_of(s);
  if (lanes == 0) return (sq_newton_cost){0};
  sq_newton f = sq_newton_make(s);
  if (f.why) return (sq_newton_cost){0};
  // Instructions of a turn in an iteration: members, five steps of maps, five of the three measures.
  double n = f.n, warps = SQ_NEWTON_THREADS / 32;
  double each =
      2 * sq_newton_work(s, &f) + 5 * (n * n + n) * (1 + n) + 5 * (3 * n + 1) * 2 + 12 * n;
  double wait = LOAD / iterations + chain + 5 * (EXCHANGE + 4 * n) + MEETING + 4 * n * warps +
                each * warps / 4;
  double most = plain * lanes / 32 / UNITS, busy = each * lanes / 32 / UNITS;
  wait /= SQ_NEWTON_THREADS;
  chain += LOAD / AT_ONCE;
  return (sq_newton_cost){.turns = chain > most ? chain : most,
                          .newton = iterations * (wait > busy ? wait : busy)};
}
