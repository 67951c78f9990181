// Nests of a sweep at single elements: their axes opened, what they read of the sweep found among
// the values that are in registers.
#include "codegen/cpu/sweep.h"

// Its positions are constants here.
uint32_t sq_selement_place(sq_knest *t, const sq_scalar *r) {
  const sq_selement *el = (const sq_selement *)t;
  const sq_sweep *s = el->e->s;
  uint32_t value = el->x->inner[r->operand], at = 0;
  const sq_type *part = &s->value[value].part;
  for (uint32_t j = 0; j < r->n_pos; j++) {
    int64_t size = 1;
    sq_dim_is_const(s->g->dims, part->dim[j], &size);
    sq_lv p = sq_knest_uniform(t, r->pos[j]);
    SQ_ASSERT(LLVMIsAConstantInt(p), "an element of a sweep at a place that is not known");
    at = at * (uint32_t)size + (uint32_t)LLVMConstIntGetSExtValue(p);
  }
  return at;
}

static sq_lv find_element(sq_knest *t, const sq_scalar *r) {
  sq_selement *el = (sq_selement *)t;
  uint32_t value = el->x->inner[r->operand];
  if (value == SQ_SWEEP_NONE) return NULL;
  uint32_t n = sq_splan_elements(el->e->s, value), at = sq_selement_place(t, r);
  return el->e->value[value][el->set * n + at];
}

// The turn, and the lanes that the value has: what the element depends on.
static uint32_t part_axes(const sq_sweep *s, const sq_sweep_nest *x, uint32_t value) {
  const sq_sweep_value *v = &s->value[value];
  uint32_t axes = x->time == SQ_SWEEP_NONE ? 0 : 1u << x->time;
  for (uint32_t a = 0; a < x->n->g->n_par; a++)
    for (uint32_t j = 0; j < v->rank; j++)
      if (x->cls[a] != SQ_SWEEP_NONE && x->cls[a] == v->cls[j] && s->lane[v->cls[j]])
        axes |= 1u << a;
  return axes;
}

void sq_sweep_depend(const sq_sweep *s, sq_knest *t, const sq_sweep_nest *x) {
  for (uint32_t j = 0; j < t->g->s.n; j++) {
    const sq_scalar *r = &t->g->s.v[j];
    if (r->kind == SQ_SC_READ) {
      uint32_t value = x->inner[r->operand];
      if (value != SQ_SWEEP_NONE) t->deps[j] |= part_axes(s, x, value);
      for (uint32_t i = 0; i < r->n_pos; i++) t->deps[j] |= t->deps[r->pos[i]];
      if (r->guard != SQ_NO_SCALAR) t->deps[j] |= t->deps[r->guard];
      if (r->other != SQ_NO_SCALAR) t->deps[j] |= t->deps[r->other];
    }
    uint32_t n = r->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[r->ew].arity
                 : r->kind == SQ_SC_SELECT ? 3
                 : r->kind == SQ_SC_CAST   ? 1
                                           : 0;
    for (uint32_t i = 0; i < n; i++) t->deps[j] |= t->deps[r->a[i]];
  }
}

static void open_lane(sq_selement *el, uint32_t axis, uint32_t cls) {
  sq_semit *e = el->e;
  if (cls != e->p->va) {
    sq_knest_open(&el->t, axis, e->row[cls]);
    return;
  }
  sq_kern *k = e->k;
  sq_lv at = e->first;
  if (el->set) at = LLVMBuildAdd(k->b, at, sq_k_int(k, (int64_t)el->set * e->p->w), "");
  sq_knest_open(&el->t, axis, at);
  el->t.va = axis;
  el->t.w = e->p->w;
  el->t.mask = e->mask;
}

sq_selement *sq_selement_new(sq_semit *e, const sq_sweep_nest *x, uint32_t set, uint32_t at) {
  sq_kern *k = e->k;
  sq_selement *el = SQ_NEW(k->a, sq_selement);
  const sq_generic *g = x->n->g;
  sq_knest_begin(&el->t, k, x->n, &e->group);
  el->e = e;
  el->x = x;
  el->set = set;
  el->t.aligned = true;
  sq_sweep_depend(e->s, &el->t, x);
  for (uint32_t a = g->n_par + g->n_red; a-- > 0;) {
    uint32_t cls = x->cls[a];
    if (cls == SQ_SWEEP_NONE) continue;
    if (e->s->lane[cls]) {
      open_lane(el, a, cls);
      continue;
    }
    if (at == SQ_SWEEP_NONE) continue;
    int64_t size = 1;
    sq_dim_is_const(e->s->g->dims, e->s->size[cls], &size);
    sq_knest_open(&el->t, a, sq_k_int(k, size ? at % size : 0));
    at = size ? at / (uint32_t)size : 0;
  }
  if (e->turns && x->time != SQ_SWEEP_NONE) {
    el->t.va = x->time;
    el->t.w = e->turns;
    el->t.aligned = !e->s->reversed;
  }
  e->group.find = find_element;
  return el;
}

static bool worth_keeping(const sq_scalar *x) {
  return x->kind == SQ_SC_READ || x->kind == SQ_SC_EWISE || x->kind == SQ_SC_SELECT;
}

void sq_selement_hoist(sq_selement *el) {
  sq_knest *t = &el->t;
  sq_knest_hoist(t);
  for (uint32_t s = 0; s < t->g->s.n; s++) {
    if (!t->used[s] || t->v[s] || (t->deps[s] & ~t->open) || !t->hoistable[s]) continue;
    if (sq_knest_varies(t, s) && worth_keeping(&t->g->s.v[s])) sq_knest_lanes(t, s);
  }
}

void sq_selement_turn(sq_selement *el, sq_lv t) {
  if (el->x->time == SQ_SWEEP_NONE) return;
  if (el->e->turns && el->set) {
    int64_t far = (int64_t)el->set * el->e->turns;
    t = LLVMBuildAdd(el->e->k->b, t, sq_k_int(el->e->k, el->e->s->reversed ? -far : far), "");
  }
  sq_knest_open(&el->t, el->x->time, t);
}
