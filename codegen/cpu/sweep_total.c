// The map of all turns of a section, of which no turn's own map is kept.
//
//   for each group of vectors of turns:
//     members that maps are made of;  by, other of each turn
//     by, other of all turns of the group, by pairs (sweep_line.c)
//     all = those of what `all` gives
#include "codegen/cpu/sweep_sections.h"

typedef struct total {
  sq_semit *e;
  sq_kern *k;
  const sq_sweep *s;
  const sq_sections *c;
  sq_sunrolled *member; // those that are evaluated, or that make a next state
  sq_sline *all;
} total;

static bool is_wanted(const total *x, uint32_t i) {
  return x->c->member[i] || x->c->f.solves[i] != SQ_SWEEP_NONE;
}

// The map of element j of member i in one vector of turns; scalars where it does not vary.
static sq_sline of_turns(const total *x, uint32_t i, uint32_t set, uint32_t j) {
  const sq_prefix_map *p = &x->c->f.map[i];
  const sq_sunrolled *u = &x->member[i];
  sq_knest *t = &u->at[set * u->par + j]->t;
  sq_sline m = {.how = p->how, .type = x->s->value[x->c->f.solves[i]].v->type.dtype};
  if (p->by != SQ_NO_SCALAR) m.by = sq_k_splat(x->k, sq_knest_value(t, p->by), x->e->turns);
  if (p->other != SQ_NO_SCALAR)
    m.other = sq_k_splat(x->k, sq_knest_value(t, p->other), x->e->turns);
  if (p->high != SQ_NO_SCALAR) m.high = sq_k_splat(x->k, sq_knest_value(t, p->high), x->e->turns);
  return m;
}

static uint32_t first_of(const total *x, uint32_t state) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < state; k++) n += sq_splan_elements(x->s, k);
  return n;
}

static void one_member(total *x, uint32_t i) {
  sq_semit *e = x->e;
  sq_sunrolled *u = &x->member[i];
  uint32_t state = x->c->f.solves[i];
  if (state == SQ_SWEEP_NONE) {
    sq_lv *v = SQ_ARRAY(x->k->a, sq_lv, e->sets * u->par + 1);
    for (uint32_t j = 0; j < e->sets * u->par; j++) v[j] = sq_sunrolled_element(e, u, j);
    e->value[u->x->value] = v;
    return;
  }
  for (uint32_t j = 0; j < u->par; j++) {
    sq_sline m[4], *all = &x->all[first_of(x, state) + j];
    for (uint32_t set = 0; set < e->sets; set++) m[set] = of_turns(x, i, set, j);
    m[0] = sq_sline_all(e, m, e->sets);
    *all = sq_sline_then(e, all, &m[0]);
  }
}

// What the maps have, which changes nothing.
static void begin(total *x) {
  for (uint32_t i = 0; i < x->s->n_member; i++) {
    uint32_t state = x->c->f.solves[i];
    if (state == SQ_SWEEP_NONE) continue;
    const sq_prefix_map *p = &x->c->f.map[i];
    sq_lv some = LLVMConstNull(x->k->f32);
    sq_sline m = {.how = p->how, .type = x->s->value[state].v->type.dtype};
    if (p->by != SQ_NO_SCALAR) m.by = some;
    if (p->other != SQ_NO_SCALAR) m.other = some;
    if (p->high != SQ_NO_SCALAR) m.high = some;
    for (uint32_t j = 0; j < sq_splan_elements(x->s, state); j++)
      x->all[first_of(x, state) + j] = sq_sline_neutral(x->e, &m, 1);
  }
}

static uint32_t flatten(const total *x, sq_lv *flat) {
  uint32_t n = 0;
  for (uint32_t j = 0; j < first_of(x, x->s->scan->n_carried); j++) {
    if (x->all[j].by) flat[n++] = x->all[j].by;
    if (x->all[j].other) flat[n++] = x->all[j].other;
    if (x->all[j].high) flat[n++] = x->all[j].high;
  }
  return n;
}

static void unflatten(total *x, const sq_lv *flat) {
  for (uint32_t j = 0; j < first_of(x, x->s->scan->n_carried); j++) {
    if (x->all[j].by) x->all[j].by = *flat++;
    if (x->all[j].other) x->all[j].other = *flat++;
    if (x->all[j].high) x->all[j].high = *flat++;
  }
}

void sq_stotal(sq_semit *e, sq_lv lo, sq_lv hi, sq_sline *all) {
  sq_kern *k = e->k;
  total em = {.e = e, .k = k, .s = e->s, .c = e->p->sections, .all = all}, *x = &em;
  sq_lv flat[SQ_K_CARRIED];
  e->turns = e->p->turns;
  e->sets = sq_sline_vectors(e->s);
  x->member = SQ_ARRAY(k->a, sq_sunrolled, x->s->n_member + 1);
  for (uint32_t i = 0; i < x->s->n_member; i++) {
    if (!is_wanted(x, i)) continue;
    x->member[i] = sq_sunroll(e, &x->s->member[i]);
    sq_sunrolled_hoist(&x->member[i], e->sets);
  }
  begin(x);
  uint32_t n = flatten(x, flat);
  sq_kloop l;
  sq_kloop_begin(k, &l, lo, hi, (int64_t)e->turns * e->sets, n, flat);
  unflatten(x, l.phi);
  sq_lv t = sq_semit_turn(e, l.i);
  if (x->s->reversed) t = LLVMBuildSub(k->b, t, sq_k_int(k, e->turns - 1), "");
  for (uint32_t o = 0; o < x->c->f.n_order; o++) {
    uint32_t i = x->c->f.order[o];
    if (!is_wanted(x, i)) continue;
    sq_sunrolled_open(&x->member[i], e->sets, t);
    one_member(x, i);
  }
  flatten(x, flat);
  sq_kloop_end(k, &l, flat);
  unflatten(x, l.phi);
  for (uint32_t i = 0; i < x->s->n_member; i++)
    if (is_wanted(x, i)) sq_sunrolled_forget(&x->member[i], e->sets);
  e->turns = 0;
  e->sets = 1;
}
