// Sweeps by maps. In: a sweep. Out: for each carried value the map of a turn, or what stands in the way.
#include "ir/sweep_prefix.h"

enum {
  MAX_ELEMENTS = 16, // of a value, in a turn of a lane
  CHAIN = 4,         // cycles that a state waits for the one before
  CHAIN_LOG = 100,   // the same where it goes through an exponential and a logarithm
  MAP = 8,           // cycles of putting a vector of maps together
};

// ---- members -----------------------------------------------------------------------------------
typedef struct finder {
  sq_sweep *s;
  sq_prefix f;
  uint8_t *state, *member; // 0 not seen, 1 being looked at, 2 done
} finder;

static bool refuse(finder *w, const char *why, sq_span where) {
  if (!w->f.why) w->f.where = where;
  if (!w->f.why) w->f.why = why;
  return false;
}

static bool waits(finder *w, sq_span where) {
  w->f.coupled = !w->f.why;
  return refuse(w, "the next states wait for each other", where);
}

static bool reads(const sq_sweep_nest *x, uint32_t value) {
  const sq_generic *k = x->n->g;
  for (uint32_t j = 0; j < k->s.n; j++)
    if (k->s.v[j].kind == SQ_SC_READ && x->inner[k->s.v[j].operand] == value) return true;
  return false;
}

// The map of the member, of the carried value `state`.
static bool find_map(finder *w, uint32_t i, uint32_t state) {
  const char *why;
  w->f.map[i] = sq_prefix_map_of(w->s, i, state, &why);
  if (why) w->f.coupled = !w->f.why && w->s->member[i].n->g->n_red;
  if (why) return refuse(w, why, w->s->member[i].n->span);
  if (w->f.map[i].how != SQ_PREFIX_NONE) w->f.solves[i] = state;
  return true;
}

static uint32_t elements(const sq_sweep *s, uint32_t value) {
  const sq_type *t = &s->value[value].part;
  int64_t n = 1, v;
  for (uint32_t a = 0; a < t->rank; a++) {
    if (!sq_dim_is_const(s->g->dims, t->dim[a], &v) || v < 1 || v > MAX_ELEMENTS) return 0;
    n *= v;
    if (n > MAX_ELEMENTS) return 0;
  }
  return (uint32_t)n;
}

static double map_cost(const sq_prefix_map *m) {
  double functions = 2.0 * sq_ewise_cycles(SQ_EW_EXP) + sq_ewise_cycles(SQ_EW_LOG);
  if (m->how == SQ_PREFIX_LOG) return 2 * MAP + functions;
  return m->high == SQ_NO_SCALAR ? MAP : 1.5 * MAP;
}

static bool visit(finder *w, uint32_t value);

static bool visit_member(finder *w, uint32_t i) {
  const sq_sweep *s = w->s;
  const sq_sweep_nest *x = &s->member[i];
  if (w->member[i] == 2) return true;
  if (w->member[i] == 1) return waits(w, x->n->span);
  w->member[i] = 1;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    if (s->next[k] != x->value || !reads(x, k)) continue;
    if (w->f.solves[i] != SQ_SWEEP_NONE)
      return refuse(w, "one value is the next one of two states", x->n->span);
    if (!find_map(w, i, k)) return false;
  }
  for (uint32_t j = 0; j < x->n->n_in; j++) {
    uint32_t v = x->inner[j];
    if (v == SQ_SWEEP_NONE || v == w->f.solves[i]) continue;
    if (!visit(w, v)) return false;
  }
  if (w->f.solves[i] != SQ_SWEEP_NONE) {
    w->f.solved += elements(s, x->value);
    w->f.together += elements(s, x->value) * map_cost(&w->f.map[i]);
    if (w->f.map[i].how == SQ_PREFIX_LOG) w->f.wait = CHAIN_LOG;
  }
  w->member[i] = 2;
  w->f.order[w->f.n_order++] = i;
  return true;
}

static bool visit(finder *w, uint32_t value) {
  const sq_sweep *s = w->s;
  if (value >= s->scan->n_carried) return visit_member(w, value - s->scan->n_carried);
  if (w->state[value] == 2 || s->next[value] == value) return true;
  if (w->state[value] == 1) return waits(w, s->scan->span);
  w->state[value] = 1;
  if (!visit(w, s->next[value])) return false;
  w->state[value] = 2;
  return true;
}

// Elements are unrolled: few, at places that are known.
static bool small(finder *w) {
  const sq_sweep *s = w->s;
  for (uint32_t v = 0; v < s->n_value; v++)
    if ((w->f.large = !elements(s, v)))
      return refuse(w, "a turn of a lane has many elements, or it is not known how many",
                    s->scan->span);
  for (uint32_t i = 0; i < s->n_member; i++) {
    const sq_generic *k = s->member[i].n->g;
    for (uint32_t j = 0; j < k->s.n; j++) {
      const sq_scalar *x = &k->s.v[j];
      if (x->kind != SQ_SC_READ) continue;
      if (x->site != SQ_NO_SITE) return refuse(w, "a place that is tested", s->member[i].n->span);
      if (s->member[i].inner[x->operand] == SQ_SWEEP_NONE) continue;
      for (uint32_t p = 0; p < x->n_pos; p++)
        if (k->s.v[x->pos[p]].kind != SQ_SC_INDEX && k->s.v[x->pos[p]].kind != SQ_SC_INT)
          return refuse(w, "a place inside a turn that is computed", s->member[i].n->span);
    }
  }
  return true;
}

sq_prefix sq_prefix_make(sq_sweep *s) {
  finder w = {.s = s, .f = {.work = 0.5 * sq_sweep_cost(s), .wait = CHAIN}};
  sq_arena *a = s->g->arena;
  w.f.order = SQ_ARRAY(a, uint32_t, s->n_member + 1);
  w.f.solves = SQ_ARRAY(a, uint32_t, s->n_member + 1);
  w.f.map = SQ_ARRAY(a, sq_prefix_map, s->n_member + 1);
  w.state = SQ_ARRAY(a, uint8_t, s->scan->n_carried + 1);
  w.member = SQ_ARRAY(a, uint8_t, s->n_member + 1);
  for (uint32_t i = 0; i < s->n_member; i++) w.f.solves[i] = SQ_SWEEP_NONE;
  if (!small(&w)) return w.f;
  sq_sweep_inline_states(s);
  for (uint32_t v = 0; v < s->n_value; v++)
    if (!visit(&w, v)) return w.f;
  return w.f;
}

// ---- cost --------------------------------------------------------------------------------------
// Does memory run along the turns where the axis stands?
static bool runs_along(const sq_sweep *s, const sq_type *t, uint32_t axis) {
  int64_t v;
  for (uint32_t a = axis + 1; a < t->rank; a++)
    if (!sq_dim_is_const(s->g->dims, t->dim[a], &v) || v != 1) return false;
  return true;
}

// Is the operand of member i read before it? What is found once is near.
static bool is_near(const sq_sweep *s, uint32_t i, uint32_t operand) {
  const sq_value *v = s->member[i].n->in[operand];
  for (uint32_t m = 0; m <= i; m++)
    for (uint32_t j = 0; j < (m < i ? s->member[m].n->n_in : operand); j++)
      if (s->member[m].n->in[j] == v) return true;
  return false;
}

// Elements that member i reads with other memory between one turn and the next.
static uint32_t crossings(const sq_sweep *s, uint32_t i) {
  const sq_sweep_nest *x = &s->member[i];
  const sq_generic *k = x->n->g;
  uint32_t n = 0;
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *r = &k->s.v[j];
    if (r->kind != SQ_SC_READ || x->inner[r->operand] != SQ_SWEEP_NONE) continue;
    if (is_near(s, i, r->operand)) continue;
    for (uint32_t p = 0; p < r->n_pos; p++) {
      sq_affine f = sq_scalar_affine(s->g, k, r->pos[p]);
      if (f.ok && !f.coef[x->time]) continue;
      n += !(f.ok && f.coef[x->time] == 1 && runs_along(s, &x->n->in[r->operand]->type, p));
      break;
    }
  }
  return n;
}

// Is a next state a maximum or minimum? Where operands may be no numbers, that is several instructions.
static bool has_extremes(const sq_sweep *s) {
  for (uint32_t k = 0; k < s->scan->n_carried; k++)
    for (uint32_t i = 0; i < s->n_member; i++) {
      const sq_generic *g = s->member[i].n->g;
      const sq_scalar *x = &g->s.v[g->body];
      if (s->member[i].value == s->next[k] && x->kind == SQ_SC_EWISE &&
          (x->ew == SQ_EW_MAX || x->ew == SQ_EW_MIN))
        return true;
    }
  return false;
}

// Maps are put together in a step for each doubling: more lanes than an operation takes at once are a step
// more for nothing. But they are fewer instructions, and a vector of turns with many waits for the processor
// to look past them.
uint32_t sq_prefix_turns(const sq_sweep *s, const sq_machine *m) {
  bool many = 0.5 * sq_sweep_cost(s) > MAP || has_extremes(s);
  return many ? sq_machine_lanes(m, sq_sweep_bytes(s))
              : sq_machine_step_lanes(m, sq_sweep_bytes(s));
}

double sq_prefix_crossings(const sq_sweep *s, bool each) {
  double cross = 0;
  for (uint32_t i = 0; i < s->n_member; i++) {
    const sq_sweep_nest *x = &s->member[i];
    double n = each ? sq_sweep_nest_elements(s, x, false) * sq_sweep_nest_elements(s, x, true) : 1;
    cross += n * crossings(s, i);
  }
  for (uint32_t i = 0; i < s->n_store; i++) {
    const sq_sweep_nest *x = &s->store[i];
    double n = each ? sq_sweep_nest_elements(s, x, false) : 1;
    cross += n * !runs_along(s, &x->n->out[0]->type, x->time);
  }
  return 0.75 * cross;
}

sq_prefix_cost sq_prefix_costs(const sq_sweep *s, const sq_prefix *f, const sq_machine *m) {
  double lanes = 1;
  double w = sq_machine_lanes(m, sq_sweep_bytes(s)),
         step = sq_machine_step_lanes(m, sq_sweep_bytes(s));
  for (uint32_t c = 0; c < s->n_class; c++) {
    int64_t v;
    if (!s->lane[c]) continue;
    if (!sq_dim_is_const(s->g->dims, s->size[c], &v)) return (sq_prefix_cost){0};
    lanes *= (double)v;
  }
  double vectors = (double)(int64_t)((lanes + w - 1) / w),
         maps = (f->work + (f->why ? MAP * f->solved : f->together)) / step;
  return (sq_prefix_cost){.turns = vectors * (f->work > f->wait ? f->work : f->wait),
                          .maps = lanes * (maps + sq_prefix_crossings(s, false))};
}
