// Sweeps by maps. In: a sweep. Out: for each carried value the map of a turn, or what stands in the way.
//
//   %d = generic (%a, %c, %x) [k < C] { %c[k] + %a[t, k] * (%x[t, k] - %c[k]) }
// is, for the state %c:   by = 1 - a[t, k],   other = a[t, k] * x[t, k]
#include "ir/sweep_prefix.h"

enum {
  MAX_ELEMENTS = 16, // of a value, in a turn of a lane
  CHAIN = 4,         // cycles that a state waits for the one before
  MAP = 8,           // cycles of putting a vector of maps together
};
#define WAIT "the next states wait for each other"

typedef enum kind { FREE, SUM, MAX, MIN, NONE } kind;
typedef struct form { // SUM, MAX, MIN as in the head; NONE: see why
  kind kind;
  uint32_t by, other;
} form;

typedef struct reader {
  sq_sweep *s;
  sq_graph *g;
  sq_sweep_nest *x;
  sq_generic *k; // of x
  uint32_t state;
  sq_dtype type;
  form *of;
  const char *why;
} reader;

static form none(reader *r, const char *before, const char *after) {
  const char *name = r->s->value[r->state].v->name;
  const char *state = name ? sq_arena_fmt(r->g->arena, "`%s`", name) : "the state";
  if (!r->why) r->why = sq_arena_fmt(r->g->arena, "%s%s%s", before, state, after);
  return (form){.kind = NONE};
}

// ---- scalars, NO_SCALAR for what changes nothing -----------------------------------------------
static uint32_t constant(reader *r, double v) { return sq_sc_float(r->g, r->k, r->type, v); }

static uint32_t ewise(reader *r, sq_ewise e, uint32_t a, uint32_t b) {
  if (b == SQ_NO_SCALAR && sq_ewise_table[e].arity > 1) return a;
  return a == SQ_NO_SCALAR ? b : sq_sc_ewise(r->g, r->k, e, a, b);
}

static uint32_t negated(reader *r, uint32_t a) {
  return a == SQ_NO_SCALAR ? a : sq_sc_ewise(r->g, r->k, SQ_EW_NEG, a, SQ_NO_SCALAR);
}

static uint32_t or_constant(reader *r, uint32_t a, double v) {
  return a == SQ_NO_SCALAR ? constant(r, v) : a;
}

static bool is_zero(const reader *r, uint32_t id) {
  const sq_scalar *x = &r->k->s.v[id];
  return (x->kind == SQ_SC_FLOAT && x->f == 0) || (x->kind == SQ_SC_INT && x->i == 0);
}

static form as_sum(reader *r, form f, uint32_t id) {
  if (f.kind != FREE) return f;
  return (form){SUM, constant(r, 0), is_zero(r, id) ? SQ_NO_SCALAR : id};
}

// ---- forms of scalars --------------------------------------------------------------------------
static form add(reader *r, form a, uint32_t ia, form b, uint32_t ib) {
  if (a.kind == FREE) return add(r, b, ib, a, ia);
  if (b.kind == FREE) {
    if (a.kind != SUM) a.by = ewise(r, SQ_EW_ADD, a.by, ib);
    if (a.kind == SUM || a.other != SQ_NO_SCALAR) a.other = ewise(r, SQ_EW_ADD, a.other, ib);
    return a;
  }
  if (a.kind != SUM || b.kind != SUM) return none(r, "a sum of maxima or minima of ", "");
  uint32_t p = or_constant(r, a.by, 1), q = or_constant(r, b.by, 1);
  return (form){SUM, ewise(r, SQ_EW_ADD, p, q), ewise(r, SQ_EW_ADD, a.other, b.other)};
}

static form negate(reader *r, form f, uint32_t *id) {
  if (f.kind == FREE) {
    *id = negated(r, *id);
    return f;
  }
  if (f.kind != SUM) return none(r, "a negative maximum or minimum of ", "");
  return (form){SUM, negated(r, or_constant(r, f.by, 1)), negated(r, f.other)};
}

static form scale(reader *r, sq_ewise e, form f, uint32_t by) {
  if (f.kind != SUM) return none(r, "a factor of a maximum or minimum of ", "");
  bool divides = e == SQ_EW_DIV;
  f.by = ewise(r, e, divides ? or_constant(r, f.by, 1) : f.by, by);
  if (f.other != SQ_NO_SCALAR) f.other = ewise(r, e, f.other, by);
  return f;
}

static form extreme(reader *r, form a, uint32_t ia, form b, uint32_t ib, sq_ewise e) {
  if (a.kind == FREE) return extreme(r, b, ib, a, ia, e);
  kind want = e == SQ_EW_MAX ? MAX : MIN;
  if (b.kind != FREE) return none(r, "a maximum or minimum of ", " and itself");
  if (a.kind == SUM && a.by == SQ_NO_SCALAR) return (form){want, a.other, ib};
  if (a.kind != want) return none(r, "a factor of ", " inside a maximum or minimum");
  return (form){want, a.by, ewise(r, e, a.other, ib)};
}

static form choice(reader *r, uint32_t c, form a, uint32_t ia, form b, uint32_t ib) {
  if ((a.kind != SUM && a.kind != FREE) || (b.kind != SUM && b.kind != FREE))
    return none(r, "a choice between maxima or minima of ", "");
  a = as_sum(r, a, ia);
  b = as_sum(r, b, ib);
  if (a.by != b.by)
    a.by = sq_sc_select(r->g, r->k, c, or_constant(r, a.by, 1), or_constant(r, b.by, 1));
  if (a.other != b.other)
    a.other = sq_sc_select(r->g, r->k, c, or_constant(r, a.other, 0), or_constant(r, b.other, 0));
  return a;
}

// select(a < b, b, a) is the greater, select(a < b, a, b) the less of both, where both are numbers; where one is
// none, the greater of both is none either, so the state is not finite, and its turns are done one by one.
static bool is_extreme(const reader *r, const sq_scalar *x, sq_ewise *e) {
  const sq_scalar *c = &r->k->s.v[x->a[0]];
  if (c->kind != SQ_SC_EWISE || (c->ew != SQ_EW_LT && c->ew != SQ_EW_LE)) return false;
  bool greater = c->a[0] == x->a[2] && c->a[1] == x->a[1];
  bool less = c->a[0] == x->a[1] && c->a[1] == x->a[2];
  *e = greater ? SQ_EW_MAX : SQ_EW_MIN;
  return greater || less;
}

static form of_ewise(reader *r, const sq_scalar *x) {
  uint32_t ia = x->a[0], ib = x->a[1];
  form a = r->of[ia], b = sq_ewise_table[x->ew].arity > 1 ? r->of[ib] : (form){.kind = FREE};
  if (a.kind == NONE || b.kind == NONE) return (form){.kind = NONE};
  switch ((int)x->ew) {
  case SQ_EW_ADD:
    return add(r, a, ia, b, ib);
  case SQ_EW_SUB: {
    form minus = negate(r, b, &ib);
    return minus.kind == NONE ? minus : add(r, a, ia, minus, ib);
  }
  case SQ_EW_NEG:
    return negate(r, a, &ia);
  case SQ_EW_MUL:
    if (a.kind == FREE) return scale(r, SQ_EW_MUL, b, ia);
    return b.kind == FREE ? scale(r, SQ_EW_MUL, a, ib) : none(r, "", " multiplied by itself");
  case SQ_EW_DIV:
    return b.kind == FREE ? scale(r, SQ_EW_DIV, a, ib) : none(r, "a division by ", "");
  case SQ_EW_MAX:
  case SQ_EW_MIN:
    return extreme(r, a, ia, b, ib, x->ew);
  default:
    return none(r, sq_arena_fmt(r->g->arena, "`%s` around ", sq_ewise_table[x->ew].name), "");
  }
}

// Is the read of the state at the element that is made?
static bool at_own_place(const reader *r, const sq_scalar *x) {
  uint32_t at = 0;
  if (x->guard != SQ_NO_SCALAR || x->other != SQ_NO_SCALAR || x->site != SQ_NO_SITE) return false;
  for (uint32_t a = 0; a < r->k->n_par; a++) {
    uint32_t cls = r->x->cls[a];
    if (cls == SQ_SWEEP_NONE || r->s->lane[cls]) continue;
    if (at == x->n_pos) return false;
    const sq_scalar *p = &r->k->s.v[x->pos[at++]];
    if (p->kind != SQ_SC_INDEX || p->axis != a) return false;
  }
  return at == x->n_pos;
}

static bool is_free(const reader *r, uint32_t id) {
  return id == SQ_NO_SCALAR || r->of[id].kind == FREE;
}

static bool made_of_free(const reader *r, const sq_scalar *x) {
  uint32_t n = x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
               : x->kind == SQ_SC_SELECT ? 3
               : x->kind == SQ_SC_CAST   ? 1
                                         : 0;
  for (uint32_t j = 0; j < n; j++)
    if (!is_free(r, x->a[j])) return false;
  if (x->kind != SQ_SC_READ) return true;
  for (uint32_t j = 0; j < x->n_pos; j++)
    if (!is_free(r, x->pos[j])) return false;
  return is_free(r, x->guard) && is_free(r, x->other);
}

static form of_scalar(reader *r, uint32_t id) {
  const sq_scalar x = r->k->s.v[id];
  if (x.kind == SQ_SC_READ && r->x->inner[x.operand] == r->state) {
    if (!at_own_place(r, &x)) return none(r, "an element of ", " at another place");
    return (form){SUM, SQ_NO_SCALAR, SQ_NO_SCALAR};
  }
  if (made_of_free(r, &x)) return (form){.kind = FREE};
  if (x.kind == SQ_SC_EWISE) return of_ewise(r, &x);
  if (x.kind == SQ_SC_READ) return none(r, "a place that depends on ", "");
  if (x.kind == SQ_SC_CAST)
    return r->of[x.a[0]].kind == NONE ? (form){.kind = NONE} : none(r, "a conversion of ", "");
  sq_ewise e;
  form a = r->of[x.a[1]], b = r->of[x.a[2]];
  if (a.kind == NONE || b.kind == NONE) return (form){.kind = NONE};
  if (is_extreme(r, &x, &e)) return extreme(r, a, x.a[1], b, x.a[2], e);
  if (r->of[x.a[0]].kind == NONE) return (form){.kind = NONE};
  if (r->of[x.a[0]].kind != FREE) return none(r, "a choice by ", "");
  return choice(r, x.a[0], a, x.a[1], b, x.a[2]);
}

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

static bool reads(const sq_sweep_nest *x, uint32_t value) {
  const sq_generic *k = x->n->g;
  for (uint32_t j = 0; j < k->s.n; j++)
    if (k->s.v[j].kind == SQ_SC_READ && x->inner[k->s.v[j].operand] == value) return true;
  return false;
}

sq_prefix_map sq_prefix_map_of(sq_sweep *s, uint32_t i, uint32_t state, const char **why) {
  static const sq_prefix_how how[] = {SQ_PREFIX_NONE, SQ_PREFIX_SUM, SQ_PREFIX_MAX, SQ_PREFIX_MIN};
  sq_graph *g = s->g;
  sq_sweep_nest *x = &s->member[i];
  sq_generic *k = x->n->g;
  sq_prefix_map none = {SQ_PREFIX_NONE, SQ_NO_SCALAR, SQ_NO_SCALAR};
  reader r = {.s = s, .g = g, .x = x, .k = k, .state = state};
  r.type = s->value[state].v->type.dtype;
  *why = NULL;
  if (r.type != SQ_F32 && r.type != SQ_F64) *why = "what it carries is rounded in every turn";
  if (!*why && (k->n_red || k->post != SQ_NO_SCALAR)) *why = "a sum over the state";
  if (*why) return none;
  r.of = SQ_ARRAY(g->arena, form, k->s.n + 1);
  for (uint32_t j = 0; j <= k->body; j++) r.of[j] = of_scalar(&r, j);
  form f = r.of[k->body];
  if (f.kind == NONE) *why = r.why;
  return f.kind == NONE ? none : (sq_prefix_map){how[f.kind], f.by, f.other};
}

// The map of the member, of the carried value `state`.
static bool find_map(finder *w, uint32_t i, uint32_t state) {
  const char *why;
  w->f.map[i] = sq_prefix_map_of(w->s, i, state, &why);
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

static bool visit(finder *w, uint32_t value);

static bool visit_member(finder *w, uint32_t i) {
  const sq_sweep *s = w->s;
  const sq_sweep_nest *x = &s->member[i];
  if (w->member[i] == 2) return true;
  if (w->member[i] == 1) return refuse(w, WAIT, x->n->span);
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
  if (w->f.solves[i] != SQ_SWEEP_NONE) w->f.solved += elements(s, x->value);
  w->member[i] = 2;
  w->f.order[w->f.n_order++] = i;
  return true;
}

static bool visit(finder *w, uint32_t value) {
  const sq_sweep *s = w->s;
  if (value >= s->scan->n_carried) return visit_member(w, value - s->scan->n_carried);
  if (w->state[value] == 2 || s->next[value] == value) return true;
  if (w->state[value] == 1) return refuse(w, WAIT, s->scan->span);
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
  finder w = {.s = s, .f = {.work = 0.5 * sq_sweep_cost(s)}};
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

static uint32_t element_bytes(const sq_sweep *s) {
  uint32_t most = 4;
  for (uint32_t k = 0; k < s->n_value; k++) {
    uint32_t b = (uint32_t)sq_dtype_table[s->value[k].v->type.dtype].bytes;
    if (b > most) most = b;
  }
  return most;
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
  return many ? sq_machine_lanes(m, element_bytes(s)) : sq_machine_step_lanes(m, element_bytes(s));
}

sq_prefix_cost sq_prefix_costs(const sq_sweep *s, const sq_prefix *f, const sq_machine *m) {
  double lanes = 1, cross = 0;
  double w = sq_machine_lanes(m, element_bytes(s)),
         step = sq_machine_step_lanes(m, element_bytes(s));
  for (uint32_t c = 0; c < s->n_class; c++) {
    int64_t v;
    if (!s->lane[c]) continue;
    if (!sq_dim_is_const(s->g->dims, s->size[c], &v)) return (sq_prefix_cost){0};
    lanes *= (double)v;
  }
  for (uint32_t i = 0; i < s->n_member; i++) cross += crossings(s, i);
  for (uint32_t i = 0; i < s->n_store; i++)
    cross += !runs_along(s, &s->store[i].n->out[0]->type, s->store[i].time);
  double vectors = (double)(int64_t)((lanes + w - 1) / w),
         maps = (f->work + MAP * f->solved) / step;
  return (sq_prefix_cost){.turns = vectors * (f->work > CHAIN ? f->work : CHAIN),
                          .maps = lanes * (maps + 0.75 * cross)};
}
