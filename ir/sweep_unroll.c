// Sweeps unrolled over the elements of a lane: how many there are, and whether few enough to be values of their
// own in code that has vectors.
#include "ir/sweep.h"

enum { MAX_STATE = 32 }; // elements carried in registers, by one block

static uint32_t product(const sq_sweep *s, const uint32_t *cls, uint32_t n) {
  int64_t all = 1, v;
  for (uint32_t a = 0; a < n; a++) {
    if (cls[a] == SQ_SWEEP_NONE || s->lane[cls[a]]) continue;
    if (!sq_dim_is_const(s->g->dims, s->size[cls[a]], &v) || v > SQ_SWEEP_UNROLLED) return 0;
    all *= v;
    if (all > SQ_SWEEP_UNROLLED) return 0;
  }
  return (uint32_t)all;
}

uint32_t sq_sweep_elements(const sq_sweep *s, uint32_t value) {
  return product(s, s->value[value].cls, s->value[value].rank);
}

uint32_t sq_sweep_nest_elements(const sq_sweep *s, const sq_sweep_nest *x, bool reduced) {
  const sq_generic *g = x->n->g;
  return reduced ? product(s, x->cls + g->n_par, g->n_red) : product(s, x->cls, g->n_par);
}

// Is every inner position known when the elements are unrolled?
bool sq_sweep_places_known(const sq_sweep_nest *x) {
  const sq_generic *g = x->n->g;
  for (uint32_t j = 0; j < g->s.n; j++) {
    const sq_scalar *r = &g->s.v[j];
    if (r->kind != SQ_SC_READ || x->inner[r->operand] == SQ_SWEEP_NONE) continue;
    if (r->site != SQ_NO_SITE || r->other != SQ_NO_SCALAR) return false;
    for (uint32_t i = 0; i < r->n_pos; i++) {
      const sq_scalar *p = &g->s.v[r->pos[i]];
      if (p->kind != SQ_SC_INDEX && p->kind != SQ_SC_INT) return false;
      if (p->kind == SQ_SC_INDEX && p->axis == x->time) return false;
    }
  }
  return true;
}

bool sq_sweep_unrolls(const sq_sweep *s) {
  uint32_t work = 0, state = 0;
  for (uint32_t i = 0; i < s->n_member; i++) {
    uint32_t par = sq_sweep_nest_elements(s, &s->member[i], false);
    uint32_t red = sq_sweep_nest_elements(s, &s->member[i], true);
    if (!par || !red || !sq_sweep_places_known(&s->member[i])) return false;
    work += par * red * (1 + s->member[i].n->g->s.n / 16);
    if (work > SQ_SWEEP_UNROLLED) return false;
  }
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    uint32_t n = sq_sweep_elements(s, k);
    if (!n || s->value[k].part.dtype == SQ_BOOL) return false;
    state += n;
  }
  return state <= MAX_STATE;
}
