// A sweep in registers: what is carried and what members give are values of the code, unrolled over
// the elements of a lane.
//
//   state = scratch[block]
//   for each turn:  every element of every member, in order; stores; state = next
//   scratch[block] = state
#include "codegen/cpu/sweep.h"

// ---- states in scratch -------------------------------------------------------------------------
// Element `at` of carried value k, in the scratch of block number `block` of the unit.
static sq_lv state_pointer(sq_semit *e, sq_lv block, uint32_t k, uint32_t at) {
  sq_kern *kn = e->k;
  uint32_t bytes = (uint32_t)sq_dtype_table[sq_semit_kept(e->s->value[k].part.dtype)].bytes;
  sq_lv off = LLVMBuildMul(kn->b, block, sq_k_int(kn, e->p->block), "");
  off = LLVMBuildAdd(kn->b, off, sq_k_int(kn, e->p->at[k] + at * bytes * e->p->w), "");
  return LLVMBuildGEP2(kn->b, kn->i8, e->scratch, &off, 1, "");
}

sq_lv sq_sregisters_load(sq_semit *e, sq_lv block, uint32_t k, uint32_t at) {
  sq_dtype t = sq_semit_kept(e->s->value[k].part.dtype);
  sq_lv ptr = state_pointer(e, block, k, at);
  return sq_semit_has_vector(e, k) ? sq_k_load_row(e->k, t, ptr, e->p->w, NULL)
                                   : sq_k_load(e->k, t, ptr);
}

void sq_sregisters_store(sq_semit *e, sq_lv block, uint32_t k, uint32_t at, sq_lv v) {
  sq_dtype t = sq_semit_kept(e->s->value[k].part.dtype);
  sq_lv ptr = state_pointer(e, block, k, at);
  if (sq_semit_has_vector(e, k))
    sq_k_store_row(e->k, t, ptr, v, NULL);
  else
    sq_k_store(e->k, t, ptr, v);
}

// ---- members -----------------------------------------------------------------------------------
sq_sunrolled sq_sunroll(sq_semit *e, const sq_sweep_nest *x) {
  sq_kern *k = e->k;
  sq_sunrolled u = {.x = x};
  const sq_generic *g = x->n->g;
  u.par = sq_selement_count(e->s, x, false);
  u.red = sq_selement_count(e->s, x, true);
  u.at = SQ_ARRAY(k->a, sq_selement *, e->sets * u.par * u.red + 1);
  u.post = SQ_ARRAY(k->a, sq_selement *, e->sets * u.par + 1);
  for (uint32_t i = 0; i < e->sets * u.par * u.red; i++)
    u.at[i] = sq_selement_new(e, x, i / (u.par * u.red), i % (u.par * u.red));
  for (uint32_t i = 0; g->n_red && g->post != SQ_NO_SCALAR && i < e->sets * u.par; i++)
    u.post[i] = sq_selement_new(e, x, i / u.par, i % u.par * (u.red ? u.red : 1));
  return u;
}

void sq_sunrolled_hoist(const sq_sunrolled *u, uint32_t sets) {
  for (uint32_t i = 0; i < sets * u->par * u->red; i++) sq_selement_hoist(u->at[i]);
}

// Is the scalar known to be false here?
static bool never(sq_lv c) { return LLVMIsConstant(c) && LLVMIsNull(c); }

static sq_lv reduce_elements(sq_semit *e, const sq_sunrolled *u, uint32_t i, uint32_t body) {
  sq_kern *k = e->k;
  const sq_generic *g = u->x->n->g;
  sq_kacc acc = sq_kacc_of(g, g->domain.n > 0);
  sq_lv part[SQ_K_PARTS];
  sq_selement *first = u->at[i * u->red];
  sq_kacc_init(k, &acc, first->t.w, part);
  for (uint32_t r = 0; r < u->red; r++) {
    sq_knest *t = &u->at[i * u->red + r]->t;
    sq_lv outer = t->mask, where = NULL;
    bool skip = false;
    for (uint32_t d = 0; d < g->domain.n && !skip; d++) {
      sq_lv c = sq_knest_value(t, g->domain.v[d]);
      skip = never(c);
      where = sq_k_and(k, where, c);
    }
    if (skip) continue;
    if (where) t->mask = sq_k_and(k, outer, sq_k_splat(k, where, t->w));
    sq_lv x = sq_knest_value(t, body);
    sq_kacc_step(k, &acc, part, x, LLVMConstInt(k->i32, r, 0), where, false);
    t->mask = outer;
  }
  sq_lv count = acc.m == SQ_MEAN && !acc.counted ? sq_k_int(k, u->red) : NULL;
  return sq_kacc_result(k, &acc, part, count);
}

sq_lv sq_sunrolled_of(sq_semit *e, const sq_sunrolled *u, uint32_t i, uint32_t body,
                      uint32_t post) {
  const sq_generic *g = u->x->n->g;
  sq_selement *el = g->n_red ? u->post[i] : u->at[i];
  bool none = body == SQ_NO_SCALAR;
  sq_lv v = g->n_red && !none ? reduce_elements(e, u, i, body) : NULL;
  if (post == SQ_NO_SCALAR) return v ? v : sq_knest_value(&el->t, body);
  if (!none) el->t.acc_varies = v ? sq_k_is_vec(v) : sq_knest_varies(&el->t, body);
  if (!none) el->t.acc = v ? v : sq_knest_value(&el->t, body);
  return sq_knest_value(&el->t, post);
}

sq_lv sq_sunrolled_element(sq_semit *e, const sq_sunrolled *u, uint32_t i) {
  return sq_sunrolled_of(e, u, i, u->x->n->g->body, u->x->n->g->post);
}

void sq_sunrolled_open(const sq_sunrolled *u, uint32_t sets, sq_lv t) {
  for (uint32_t i = 0; i < sets * u->par * u->red; i++) sq_selement_turn(u->at[i], t);
  for (uint32_t i = 0; i < sets * u->par; i++)
    if (u->post[i]) sq_selement_turn(u->post[i], t);
}

void sq_sunrolled_write(sq_semit *e, const sq_sunrolled *u) {
  sq_kern *k = e->k;
  sq_lv only = sq_semit_first_only(e, u->x);
  bool vector = e->turns && u->x->time != SQ_SWEEP_NONE;
  for (uint32_t a = 0; a < u->x->n->g->n_par; a++) vector |= u->x->cls[a] == e->p->va;
  uint32_t sets = vector ? e->sets : 1;
  sq_kplace to = {.base = sq_kern_pointer(k, u->x->n->out[0]), .type = u->x->n->out[0]->type};
  sq_kif f;
  if (only) sq_kif_begin(k, &f, only);
  for (uint32_t i = 0; i < sets * u->par; i++) {
    sq_knest *t = &u->at[i]->t;
    sq_knest_store(t, &to, sq_knest_value(t, u->x->n->g->body), t->mask);
  }
  if (only) sq_kif_end(k, &f, 0, NULL, NULL, NULL);
}

// ---- phases of a unit --------------------------------------------------------------------------
void sq_sregisters_begin(sq_semit *e, sq_lv block, void *user) {
  (void)user;
  for (uint32_t k = 0; k < e->s->scan->n_carried; k++) {
    sq_sunrolled u = sq_sunroll(e, &e->s->load[k]);
    for (uint32_t i = 0; i < u.par; i++)
      sq_sregisters_store(e, block, k, i, sq_knest_value(&u.at[i]->t, u.x->n->g->body));
  }
}

static void take_states(sq_semit *e, sq_lv block, sq_lv *flat) {
  sq_kern *kn = e->k;
  uint32_t n = 0;
  for (uint32_t k = 0; k < e->s->scan->n_carried; k++) {
    uint32_t count = sq_splan_elements(e->s, k);
    for (uint32_t set = 0; set < e->sets; set++) {
      sq_lv at = set ? LLVMBuildAdd(kn->b, block, sq_k_int(kn, set), "") : block;
      for (uint32_t i = 0; i < count; i++) flat[n++] = sq_sregisters_load(e, at, k, i);
    }
  }
}

void sq_sregisters_end(sq_semit *e, sq_lv block, void *user) {
  (void)user;
  sq_lv flat[SQ_K_CARRIED];
  take_states(e, block, flat);
  uint32_t n = 0;
  for (uint32_t k = 0; k < e->s->scan->n_carried; k++) {
    e->value[k] = flat + n;
    n += sq_splan_elements(e->s, k);
  }
  for (uint32_t j = 0; j < e->s->n_final; j++) {
    sq_sunrolled u = sq_sunroll(e, &e->s->final[j]);
    sq_sunrolled_write(e, &u);
  }
}

// One element a lane, lanes side by side: what later turns read and write are whole lines.
static bool in_line(const sq_semit *e, const sq_sunrolled *u) {
  return !e->turns && e->p->va != SQ_SWEEP_NONE && u->par * u->red == 1;
}

static void one_turn(sq_semit *e, sq_sunrolled *member, sq_sunrolled *store, sq_lv i, sq_lv *flat) {
  sq_kern *kn = e->k;
  const sq_sweep *s = e->s;
  sq_lv t = sq_semit_turn(e, i);
  uint32_t n = 0;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    e->value[k] = flat + n;
    n += e->sets * sq_splan_elements(s, k);
  }
  for (uint32_t m = 0; m < s->n_member; m++) {
    sq_sunrolled *u = &member[m];
    sq_lv *v = SQ_ARRAY(kn->a, sq_lv, e->sets * u->par + 1);
    sq_sunrolled_open(u, e->sets, t);
    if (in_line(e, u)) sq_sahead_reads(e, u->at, u->x);
    for (uint32_t j = 0; j < e->sets * u->par; j++) v[j] = sq_sunrolled_element(e, u, j);
    e->value[u->x->value] = v;
  }
  for (uint32_t m = 0; m < s->n_store; m++) {
    sq_sunrolled_open(&store[m], e->sets, t);
    if (in_line(e, &store[m])) sq_sahead_writes(e, store[m].at, store[m].x);
    sq_sunrolled_write(e, &store[m]);
  }
}

// What the values are after the turn, as what is carried.
static uint32_t next_states(sq_semit *e, sq_lv *flat) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < e->s->scan->n_carried; k++)
    for (uint32_t j = 0; j < e->sets * sq_splan_elements(e->s, k); j++) {
      sq_lv v = e->value[e->s->next[k]][j];
      flat[n++] = sq_semit_has_vector(e, k) ? sq_k_splat(e->k, v, e->p->w) : v;
    }
  return n;
}

void sq_sunrolled_forget(const sq_sunrolled *u, uint32_t sets) {
  for (uint32_t i = 0; i < sets * u->par * u->red; i++) sq_knest_leave(&u->at[i]->t, 0);
  for (uint32_t i = 0; i < sets * u->par; i++)
    if (u->post[i]) sq_knest_leave(&u->post[i]->t, 0);
}

void sq_sregisters_turns(sq_semit *e, sq_lv block, void *user) {
  sq_kern *kn = e->k;
  const sq_sweep *s = e->s;
  const sq_sturns *r = user;
  sq_lv flat[SQ_K_CARRIED];
  sq_sunrolled *member = SQ_ARRAY(kn->a, sq_sunrolled, s->n_member + 1);
  sq_sunrolled *store = SQ_ARRAY(kn->a, sq_sunrolled, s->n_store + 1);
  for (uint32_t m = 0; m < s->n_member; m++) {
    member[m] = sq_sunroll(e, &s->member[m]);
    sq_sunrolled_hoist(&member[m], e->sets);
  }
  for (uint32_t m = 0; m < s->n_store; m++) store[m] = sq_sunroll(e, &s->store[m]);
  take_states(e, block, flat);
  uint32_t n = 0;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) n += e->sets * sq_splan_elements(s, k);
  sq_kloop l;
  sq_kloop_begin(kn, &l, r->lo, r->hi, 1, n, flat);
  one_turn(e, member, store, l.i, l.phi);
  next_states(e, flat);
  sq_kloop_end(kn, &l, flat);
  for (uint32_t m = 0; m < s->n_member; m++) sq_sunrolled_forget(&member[m], e->sets);
  n = 0;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    uint32_t count = sq_splan_elements(s, k);
    for (uint32_t set = 0; set < e->sets; set++) {
      sq_lv at = set ? LLVMBuildAdd(kn->b, block, sq_k_int(kn, set), "") : block;
      for (uint32_t i = 0; i < count; i++) sq_sregisters_store(e, at, k, i, l.phi[n++]);
    }
  }
}
