// A member of a sweep in the place where another one reads it. In: a member that reads an elementwise
// member. Out: the same with that one's scalars in its own.
//
//   %f = generic (%a, %t) [i < 64] { sigmoid(%a[t, i]) }
//   %b = generic (%s, %f, %v) [i < 64, j < 64] { %f[i] * %s[i, j] + (1.0 - %f[i]) * %v[t, j] }
// becomes
//   %b = generic (%s, %a, %v) [i < 64, j < 64] { t0 = sigmoid(%a[t, i]); t0 * %s[i, j] + ... }
#include "ir/sweep.h"

enum { MAX_SCALARS = 2000 };

typedef struct inliner {
  sq_sweep *s;
  sq_graph *g;
  sq_sweep_nest *x; // reads
  const sq_sweep_nest *v;
  sq_generic *k;      // being made
  uint32_t *map;      // per scalar of x
  uint32_t n_in, cap; // operands
  sq_value **in;
  uint32_t *inner;
} inliner;

static uint32_t mapped(const uint32_t *map, uint32_t id) {
  return id == SQ_NO_SCALAR ? id : map[id];
}

static sq_scalar moved(inliner *w, sq_scalar s, const uint32_t *map) {
  for (int j = 0; j < 3; j++) s.a[j] = mapped(map, s.a[j]);
  s.guard = mapped(map, s.guard);
  s.other = mapped(map, s.other);
  uint32_t *pos = SQ_ARRAY(w->g->arena, uint32_t, s.n_pos + 1);
  for (uint32_t j = 0; j < s.n_pos; j++) pos[j] = map[s.pos[j]];
  s.pos = pos;
  return s;
}

static uint32_t operand(inliner *w, uint32_t of_v) {
  sq_value *v = w->v->n->in[of_v];
  for (uint32_t j = 0; j < w->n_in; j++)
    if (w->in[j] == v && w->inner[j] == w->v->inner[of_v]) return j;
  w->in[w->n_in] = v;
  w->inner[w->n_in] = w->v->inner[of_v];
  return w->n_in++;
}

// Which scalar of x stands for the axis of v, where x reads it at the positions `pos`: of inner axes alone.
static bool axis_of(inliner *w, uint32_t axis, const uint32_t *pos, uint32_t *id) {
  uint32_t cls = w->v->cls[axis];
  if (cls != SQ_SWEEP_NONE && !w->s->lane[cls]) {
    for (uint32_t a = 0; a < axis; a++)
      pos += w->v->cls[a] != SQ_SWEEP_NONE && !w->s->lane[w->v->cls[a]];
    *id = w->map[*pos];
    return true;
  }
  for (uint32_t a = 0; a < w->k->n_par; a++)
    if (w->x->cls[a] == cls) {
      *id = sq_sc_index(w->g, w->k, a);
      return true;
    }
  return false;
}

static bool put(inliner *w, const uint32_t *pos, uint32_t *id) {
  const sq_generic *from = w->v->n->g;
  uint32_t *map = SQ_ARRAY(w->g->arena, uint32_t, from->s.n + 1);
  for (uint32_t j = 0; j <= from->body; j++) {
    const sq_scalar *s = &from->s.v[j];
    if (s->kind == SQ_SC_INDEX) {
      if (!axis_of(w, s->axis, pos, &map[j])) return false;
      continue;
    }
    sq_scalar n = moved(w, *s, map);
    if (n.kind == SQ_SC_READ) n.operand = operand(w, s->operand);
    map[j] = sq_scalar_add(w->g, w->k, n);
  }
  *id = map[from->body];
  return w->k->s.n <= MAX_SCALARS;
}

static bool is_read_of(const inliner *w, const sq_scalar *s) {
  return s->kind == SQ_SC_READ && w->x->inner[s->operand] == w->v->value;
}

static bool rebuild(inliner *w) {
  const sq_generic *from = w->x->n->g;
  for (uint32_t j = 0; j < from->s.n; j++) {
    const sq_scalar *s = &from->s.v[j];
    if (!is_read_of(w, s)) {
      w->map[j] = sq_scalar_add(w->g, w->k, moved(w, *s, w->map));
      continue;
    }
    if (s->guard != SQ_NO_SCALAR || s->other != SQ_NO_SCALAR || s->site != SQ_NO_SITE ||
        !put(w, s->pos, &w->map[j]))
      return false;
  }
  return true;
}

bool sq_sweep_inline(sq_sweep *s, uint32_t into, uint32_t member) {
  sq_sweep_nest *x = &s->member[into];
  inliner w = {.s = s, .g = s->g, .x = x, .v = &s->member[member]};
  sq_arena *a = s->g->arena;
  const sq_generic *from = x->n->g, *v = w.v->n->g;
  if (v->n_red || v->post != SQ_NO_SCALAR) return false;
  w.cap = x->n->n_in + w.v->n->n_in;
  w.in = SQ_ARRAY(a, sq_value *, w.cap + 1);
  w.inner = SQ_ARRAY(a, uint32_t, w.cap + 1);
  memcpy(w.in, x->n->in, x->n->n_in * sizeof *w.in);
  memcpy(w.inner, x->inner, x->n->n_in * sizeof *w.inner);
  w.n_in = x->n->n_in;
  w.k = sq_generic_new(s->g, from->n_par, from->n_red);
  memcpy(w.k->axis, from->axis, (from->n_par + from->n_red) * sizeof *from->axis);
  w.map = SQ_ARRAY(a, uint32_t, from->s.n + 1);
  if (!rebuild(&w)) return false;
  w.k->monoid = from->monoid;
  w.k->body = mapped(w.map, from->body);
  w.k->post = mapped(w.map, from->post);
  for (uint32_t j = 0; j < from->domain.n; j++) sq_push(a, &w.k->domain, w.map[from->domain.v[j]]);
  for (uint32_t j = 0; j < w.n_in; j++) // no more an operand
    if (w.inner[j] == w.v->value) w.inner[j] = SQ_SWEEP_NONE;
  x->n->g = w.k;
  x->n->in = w.in;
  x->n->n_in = w.n_in;
  x->inner = w.inner;
  return true;
}

// Per member: is it made of the carried value k, in this turn?
static bool *made_of(const sq_sweep *s, uint32_t k) {
  uint32_t n = s->scan->n_carried;
  bool *of = SQ_ARRAY(s->g->arena, bool, s->n_member + 1);
  for (uint32_t i = 0; i < s->n_member; i++)
    for (uint32_t j = 0; j < s->member[i].n->n_in; j++) {
      uint32_t v = s->member[i].inner[j];
      of[i] |= v != SQ_SWEEP_NONE && (v < n ? v == k : of[v - n]);
    }
  return of;
}

static bool inline_one(sq_sweep *s, uint32_t into, const bool *of) {
  const sq_sweep_nest *x = &s->member[into];
  uint32_t n = s->scan->n_carried;
  for (uint32_t j = 0; j < x->n->n_in; j++) {
    uint32_t v = x->inner[j];
    if (v != SQ_SWEEP_NONE && v >= n && of[v - n]) return sq_sweep_inline(s, into, v - n);
  }
  return false;
}

void sq_sweep_inline_states(sq_sweep *s) {
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    if (s->next[k] < s->scan->n_carried) continue;
    const bool *of = made_of(s, k);
    while (inline_one(s, s->next[k] - s->scan->n_carried, of)) {
    }
  }
}
