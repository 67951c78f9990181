// What the turns of a sweep have in common, though rows differ in it. In: a member of a sweep by rows.
// Out: which of its scalars these are; powers whose exponent is a product of one and of what rows
// have in common, with the base 2.
//
//   exp(%dt[t, d] * %a[d, s]) * %h[s]   ->   exp2(%dt[t, d] * (%a[d, s] * 1.4426950408889634)) * %h[s]
#include "ir/sweep.h"

enum { TURN = 1, ROW = 2, LANE = 4, FACTORS = 8 };
#define LOG2E 1.4426950408889634074

// ---- what a scalar differs with ----------------------------------------------------------------
static uint32_t of_axis(const sq_sweep *s, const sq_sweep_nest *x, uint32_t axis, uint32_t lanes) {
  uint32_t cls = x->cls[axis];
  if (axis == x->time || cls == SQ_SWEEP_NONE) return TURN;
  if (!s->lane[cls]) return ROW;
  return cls == lanes ? LANE : 0;
}

static uint32_t of_read(const sq_sweep *s, const sq_sweep_nest *x, const sq_scalar *r,
                        const uint32_t *with) {
  uint32_t all = r->site != SQ_NO_SITE ? TURN : 0, v = x->inner[r->operand];
  for (uint32_t i = 0; i < r->n_pos; i++) all |= with[r->pos[i]];
  if (r->guard != SQ_NO_SCALAR) all |= with[r->guard];
  if (r->other != SQ_NO_SCALAR) all |= with[r->other];
  if (v == SQ_SWEEP_NONE) return all;
  return all | TURN | (s->value[v].part.rank ? ROW : 0);
}

static uint32_t operands(const sq_scalar *x) {
  if (x->kind == SQ_SC_EWISE) return (uint32_t)sq_ewise_table[x->ew].arity;
  return x->kind == SQ_SC_SELECT ? 3 : x->kind == SQ_SC_CAST;
}

static uint32_t *differs(const sq_sweep *s, const sq_sweep_nest *x, uint32_t lanes) {
  const sq_generic *k = x->n->g;
  uint32_t *with = SQ_ARRAY(s->g->arena, uint32_t, k->s.n + 1);
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *r = &k->s.v[j];
    if (r->kind == SQ_SC_INDEX) with[j] = of_axis(s, x, r->axis, lanes);
    if (r->kind == SQ_SC_ACC) with[j] = TURN;
    if (r->kind == SQ_SC_READ) with[j] = of_read(s, x, r, with);
    for (uint32_t i = 0; i < operands(r); i++) with[j] |= with[r->a[i]];
  }
  return with;
}

static bool is_fixed(uint32_t with) { return (with & (TURN | ROW)) == ROW; }

// ---- powers ------------------------------------------------------------------------------------
typedef struct product {
  uint32_t fixed[FACTORS], n_fixed, free[FACTORS], n_free; // in order
  bool minus, large;
} product;

static void split(const sq_generic *k, const uint32_t *with, uint32_t id, product *p) {
  const sq_scalar *x = &k->s.v[id];
  bool fixed = is_fixed(with[id]);
  if (!fixed && x->kind == SQ_SC_EWISE && x->ew == SQ_EW_NEG) {
    p->minus = !p->minus;
    split(k, with, x->a[0], p);
  } else if (!fixed && x->kind == SQ_SC_EWISE && x->ew == SQ_EW_MUL) {
    split(k, with, x->a[0], p);
    split(k, with, x->a[1], p);
  } else if (p->n_fixed == FACTORS || p->n_free == FACTORS) {
    p->large = true;
  } else if (fixed) {
    p->fixed[p->n_fixed++] = id;
  } else {
    p->free[p->n_free++] = id;
  }
}

// Is scalar id a power of a product as above?
static bool is_power(const sq_generic *k, const uint32_t *with, uint32_t id, product *p) {
  const sq_scalar *x = &k->s.v[id];
  *p = (product){0};
  if (x->kind != SQ_SC_EWISE || x->dtype != SQ_F32 || (with[id] & (TURN | ROW)) != (TURN | ROW))
    return false;
  if (x->ew != SQ_EW_EXP && x->ew != SQ_EW_EXP2) return false;
  split(k, with, x->a[0], p);
  for (uint32_t i = 0; i < p->n_free; i++)
    if (with[p->free[i]] & ROW) return false;
  return !p->large && p->n_fixed && p->n_free;
}

const char *sq_sweep_no_power(const sq_sweep *s, const sq_sweep_nest *x) {
  const sq_generic *k = x->n->g;
  uint32_t *with = differs(s, x, SQ_SWEEP_NONE);
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *r = &k->s.v[j];
    product p;
    if (r->kind != SQ_SC_EWISE || (r->ew != SQ_EW_EXP && r->ew != SQ_EW_EXP2)) continue;
    if ((with[j] & (TURN | ROW)) != (TURN | ROW) || is_power(k, with, j, &p)) continue;
    if (r->dtype != SQ_F32) return "it is not in f32";
    return p.n_fixed ? "another factor of the exponent differs with rows and turns"
                     : "no factor of the exponent is the same in all turns";
  }
  return NULL;
}

static uint32_t mapped(const uint32_t *map, uint32_t id) {
  return id == SQ_NO_SCALAR ? id : map[id];
}

static uint32_t multiply(sq_graph *g, sq_generic *k, const uint32_t *map, const uint32_t *id,
                         uint32_t n) {
  uint32_t all = map[id[0]];
  for (uint32_t i = 1; i < n; i++) all = sq_sc_ewise(g, k, SQ_EW_MUL, all, map[id[i]]);
  return all;
}

static sq_sweep_power make_power(sq_graph *g, sq_generic *k, const uint32_t *map, const product *p,
                                 bool natural) {
  sq_sweep_power r = {.by = multiply(g, k, map, p->free, p->n_free),
                      .fixed = multiply(g, k, map, p->fixed, p->n_fixed)};
  double f = (natural ? LOG2E : 1) * (p->minus ? -1 : 1);
  if (f != 1) r.fixed = sq_sc_ewise(g, k, SQ_EW_MUL, r.fixed, sq_sc_float(g, k, SQ_F32, f));
  r.at = sq_sc_ewise(g, k, SQ_EW_EXP2, sq_sc_ewise(g, k, SQ_EW_MUL, r.by, r.fixed), SQ_NO_SCALAR);
  return r;
}

static uint32_t move_scalar(sq_graph *g, sq_generic *k, const uint32_t *map, sq_scalar x) {
  for (uint32_t i = 0; i < operands(&x); i++) x.a[i] = map[x.a[i]];
  x.guard = mapped(map, x.guard);
  x.other = mapped(map, x.other);
  uint32_t *pos = SQ_ARRAY(g->arena, uint32_t, x.n_pos + 1);
  for (uint32_t i = 0; i < x.n_pos; i++) pos[i] = map[x.pos[i]];
  x.pos = pos;
  return sq_scalar_add(g, k, x);
}

uint32_t sq_sweep_powers(sq_sweep *s, sq_sweep_nest *x, sq_sweep_power *power) {
  sq_graph *g = s->g;
  const sq_generic *from = x->n->g;
  uint32_t *with = differs(s, x, SQ_SWEEP_NONE), n = 0;
  uint32_t *map = SQ_ARRAY(g->arena, uint32_t, from->s.n + 1);
  sq_generic *k = sq_generic_new(g, from->n_par, from->n_red);
  memcpy(k->axis, from->axis, (from->n_par + from->n_red) * sizeof *from->axis);
  for (uint32_t j = 0; j < from->s.n; j++) {
    product p;
    if (n == SQ_SWEEP_POWERS || !is_power(from, with, j, &p)) {
      map[j] = move_scalar(g, k, map, from->s.v[j]);
      continue;
    }
    power[n] = make_power(g, k, map, &p, from->s.v[j].ew == SQ_EW_EXP);
    map[j] = power[n++].at;
  }
  if (!n) return 0;
  k->monoid = from->monoid;
  k->body = mapped(map, from->body);
  k->post = mapped(map, from->post);
  for (uint32_t j = 0; j < from->domain.n; j++)
    sq_push(g->arena, &k->domain, map[from->domain.v[j]]);
  x->n->g = k;
  return n;
}

// ---- what is worth keeping ---------------------------------------------------------------------
// A read that a load from a row of its own would not better: of all lanes alike, or of lanes side by
// side.
static bool plain_read(const sq_generic *k, const uint32_t *with, const sq_scalar *r) {
  if (r->kind != SQ_SC_READ || r->guard != SQ_NO_SCALAR || r->other != SQ_NO_SCALAR) return false;
  for (uint32_t i = 0; i + 1 < r->n_pos; i++)
    if (with[r->pos[i]] & LANE) return false;
  return !r->n_pos || !(with[r->pos[r->n_pos - 1]] & LANE) ||
         k->s.v[r->pos[r->n_pos - 1]].kind == SQ_SC_INDEX;
}

// Marks what the scalar needs; of what is fixed that alone which something else needs.
static void demand(const sq_generic *k, const uint32_t *with, uint32_t id, bool *seen) {
  if (id == SQ_NO_SCALAR || seen[id]) return;
  seen[id] = true;
  const sq_scalar *x = &k->s.v[id];
  if (is_fixed(with[id])) return;
  for (uint32_t i = 0; i < operands(x); i++) demand(k, with, x->a[i], seen);
  if (x->kind != SQ_SC_READ) return;
  demand(k, with, x->guard, seen);
  demand(k, with, x->other, seen);
}

uint32_t sq_sweep_fixed(const sq_sweep *s, const sq_sweep_nest *x, uint32_t lanes, uint32_t *id) {
  const sq_generic *k = x->n->g;
  uint32_t *with = differs(s, x, lanes), n = 0;
  bool *seen = SQ_ARRAY(s->g->arena, bool, k->s.n + 1);
  demand(k, with, k->body, seen);
  demand(k, with, k->post, seen);
  for (uint32_t j = 0; j < k->domain.n; j++) demand(k, with, k->domain.v[j], seen);
  for (uint32_t j = 0; j < k->s.n && n < SQ_SWEEP_POWERS; j++) {
    const sq_scalar *r = &k->s.v[j];
    if (!seen[j] || !is_fixed(with[j]) || r->kind == SQ_SC_INDEX || r->kind == SQ_SC_CAST ||
        plain_read(k, with, r))
      continue;
    if (r->dtype == SQ_F32 || r->dtype == SQ_BF16 || r->dtype == SQ_F16) id[n++] = j;
  }
  return n;
}

bool sq_sweep_keeps_lanes(const sq_sweep *s, const sq_sweep_nest *x, uint32_t lanes, uint32_t id) {
  return differs(s, x, lanes)[id] & LANE;
}
