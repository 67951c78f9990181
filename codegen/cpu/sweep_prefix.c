// A sweep by maps: vectors hold consecutive turns of one lane.
//
//   for each vector of turns:
//     by, other        of each turn, from memory and from states that are known already
//     by, other        of all turns up to it: log2(w) steps, each a shuffle and a composition
//     h = by * carry + other;    carry = by[last] * carry + other[last]
//     what reads the state before a turn has h moved by one turn
//   where some h was not finite, the stretch is done again turn by turn: products over ranges may
//   overflow where the states themselves do not
//
// Nothing of this depends on the number of threads.
#include "codegen/cpu/sweep_sections.h"

enum { STRETCH = 1024 };

typedef struct emitter {
  sq_semit *e;
  sq_kern *k;
  const sq_sweep *s;
  const sq_prefix *f;
  uint32_t w;
  sq_sunrolled *member, *store;
  sq_lv *carry[SQ_K_CARRIED]; // per carried value: its elements before the vector, in all lanes
  sq_lv bad;                  // not 0 in lanes where a state was not finite
} emitter;

// ---- one vector of turns -----------------------------------------------------------------------
static uint32_t state_of(const emitter *x, uint32_t i) { return x->f->solves[i]; }

static void watch(emitter *x, const sq_sline *m, sq_lv h) {
  sq_lv zero = LLVMConstNull(LLVMTypeOf(h)), v = sq_k_fmul(x->k, h, zero);
  if (m->type == SQ_F64 && LLVMTypeOf(x->bad) != LLVMTypeOf(v))
    v = LLVMBuildFPTrunc(x->k->b, v, LLVMTypeOf(x->bad), "");
  x->bad = LLVMBuildFAdd(x->k->b, x->bad, v, "");
}

// The next states, and what is carried after the last one.
static sq_lv solve_map(emitter *x, sq_sline m, sq_lv *carry) {
  m = sq_sline_up_to(x->e, m);
  sq_lv next = sq_sline_apply(x->e, &m, *carry);
  sq_sline end = m; // not of `next`: the chain from vector to vector is this alone
  if (m.by) end.by = sq_sturn_last(x->e, m.by);
  if (m.other) end.other = sq_sturn_last(x->e, m.other);
  if (m.high) end.high = sq_sturn_last(x->e, m.high);
  *carry = sq_sline_apply(x->e, &end, *carry);
  return next;
}

static sq_lv function(const emitter *x, const sq_sline *m, sq_ewise f, sq_lv v) {
  return sq_k_ewise(x->k, f, m->type, v, NULL, false, false);
}

// Logarithms of sums of exponentials: the maxima first, then the sums beside these, which begin with 1.
static sq_lv solve_log(emitter *x, sq_sline m, sq_lv *carry) {
  sq_kern *k = x->k;
  sq_sline most = m, sum = {.how = SQ_PREFIX_SUM, .type = m.type};
  most.how = SQ_PREFIX_MAX;
  sq_lv one = sq_k_flike(LLVMTypeOf(*carry), 1), from = *carry, max = solve_map(x, most, &from);
  sq_lv before = sq_sturn_before(x->e, max, *carry);
  if (m.by) before = sq_k_fadd(k, before, m.by);
  sum.by = function(x, &m, SQ_EW_EXP, sq_k_fsub(k, before, max));
  sum.other = function(x, &m, SQ_EW_EXP, sq_k_fsub(k, m.other, max));
  sum = sq_sline_up_to(x->e, sum);
  one = sq_sline_apply(x->e, &sum, one);
  sq_lv next = sq_k_fadd(k, max, function(x, &m, SQ_EW_LOG, one));
  *carry = sq_sturn_last(x->e, next);
  return next;
}

static void solve(emitter *x, uint32_t i) {
  sq_semit *e = x->e;
  sq_sunrolled *u = &x->member[i];
  uint32_t k = state_of(x, i);
  const sq_prefix_map *p = &x->f->map[i];
  sq_lv *next = SQ_ARRAY(x->k->a, sq_lv, u->par + 1);
  for (uint32_t j = 0; j < u->par; j++) {
    sq_knest *t = &u->at[j]->t;
    sq_sline m = {.how = p->how, .type = x->s->value[k].v->type.dtype};
    if (p->by != SQ_NO_SCALAR) m.by = sq_k_splat(x->k, sq_knest_value(t, p->by), x->w);
    if (p->other != SQ_NO_SCALAR) m.other = sq_k_splat(x->k, sq_knest_value(t, p->other), x->w);
    if (p->high != SQ_NO_SCALAR) m.high = sq_k_splat(x->k, sq_knest_value(t, p->high), x->w);
    bool log = p->how == SQ_PREFIX_LOG;
    next[j] = log ? solve_log(x, m, &x->carry[k][j]) : solve_map(x, m, &x->carry[k][j]);
    if (!sq_sline_compares(p)) watch(x, &m, next[j]);
  }
  e->value[u->x->value] = next;
}

// The carried value before each turn.
static void before(emitter *x, uint32_t k, sq_lv *const *carry) {
  sq_semit *e = x->e;
  if (e->value[k]) return;
  uint32_t n = sq_splan_elements(x->s, k), next = x->s->next[k];
  if (next == k) {
    e->value[k] = carry[k];
    return;
  }
  if (next < x->s->scan->n_carried) before(x, next, carry);
  e->value[k] = SQ_ARRAY(x->k->a, sq_lv, n + 1);
  for (uint32_t j = 0; j < n; j++)
    e->value[k][j] = sq_sturn_before(x->e, sq_k_splat(x->k, e->value[next][j], x->w), carry[k][j]);
}

static void read_before(emitter *x, const sq_sweep_nest *n, uint32_t but, sq_lv *const *carry) {
  for (uint32_t j = 0; j < n->n->n_in; j++)
    if (n->inner[j] < x->s->scan->n_carried && n->inner[j] != but) before(x, n->inner[j], carry);
}

static void one_member(emitter *x, uint32_t i, sq_lv t, sq_lv *const *carry) {
  sq_sunrolled *u = &x->member[i];
  read_before(x, u->x, state_of(x, i), carry);
  sq_sunrolled_open(u, 1, t);
  if (state_of(x, i) != SQ_SWEEP_NONE) {
    solve(x, i);
    return;
  }
  sq_lv *v = SQ_ARRAY(x->k->a, sq_lv, u->par + 1);
  for (uint32_t j = 0; j < u->par; j++) v[j] = sq_sunrolled_element(x->e, u, j);
  x->e->value[u->x->value] = v;
}

// What is carried and no map gives.
static void carry_on(emitter *x, sq_lv *const *carry) {
  uint32_t n_carried = x->s->scan->n_carried;
  for (uint32_t k = 0; k < n_carried; k++) {
    uint32_t next = x->s->next[k];
    bool solved = next >= n_carried && state_of(x, next - n_carried) == k;
    if (solved || next == k) continue;
    if (next < n_carried) before(x, next, carry);
    for (uint32_t j = 0; j < sq_splan_elements(x->s, k); j++)
      x->carry[k][j] = sq_sturn_last(x->e, sq_k_splat(x->k, x->e->value[next][j], x->w));
  }
}

static void one_vector(emitter *x, sq_lv t) {
  const sq_sweep *s = x->s;
  uint32_t n_carried = s->scan->n_carried;
  sq_lv **carry = SQ_ARRAY(x->k->a, sq_lv *, n_carried + 1); // before this vector
  for (uint32_t v = 0; v < s->n_value; v++) x->e->value[v] = NULL;
  for (uint32_t k = 0; k < n_carried; k++) {
    uint32_t n = sq_splan_elements(s, k);
    carry[k] = SQ_ARRAY(x->k->a, sq_lv, n + 1);
    memcpy(carry[k], x->carry[k], n * sizeof *carry[k]);
  }
  for (uint32_t o = 0; o < x->f->n_order; o++) one_member(x, x->f->order[o], t, carry);
  for (uint32_t m = 0; m < s->n_store; m++) {
    read_before(x, &s->store[m], SQ_SWEEP_NONE, carry);
    sq_sunrolled_open(&x->store[m], 1, t);
    sq_sunrolled_write(x->e, &x->store[m]);
  }
  carry_on(x, carry);
}

// ---- a stretch ---------------------------------------------------------------------------------
static uint32_t flatten(const emitter *x, sq_lv *flat) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++)
    for (uint32_t j = 0; j < sq_splan_elements(x->s, k); j++) flat[n++] = x->carry[k][j];
  flat[n++] = x->bad;
  return n;
}

static void unflatten(emitter *x, const sq_lv *flat) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++) {
    uint32_t count = sq_splan_elements(x->s, k);
    x->carry[k] = SQ_ARRAY(x->k->a, sq_lv, count + 1);
    for (uint32_t j = 0; j < count; j++) x->carry[k][j] = flat[n++];
  }
  x->bad = flat[n];
}

static void load_carries(emitter *x, sq_lv block) {
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++) {
    uint32_t count = sq_splan_elements(x->s, k);
    x->carry[k] = SQ_ARRAY(x->k->a, sq_lv, count + 1);
    for (uint32_t j = 0; j < count; j++)
      x->carry[k][j] = sq_k_splat(x->k, sq_sregisters_load(x->e, block, k, j), x->w);
  }
  x->bad = LLVMConstNull(sq_k_vec(x->k->f32, x->w));
}

static void store_carries(emitter *x, sq_lv block) {
  sq_lv zero = LLVMConstInt(x->k->i32, 0, 0);
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++)
    for (uint32_t j = 0; j < sq_splan_elements(x->s, k); j++) {
      sq_lv v = LLVMBuildExtractElement(x->k->b, x->carry[k][j], zero, "");
      sq_sregisters_store(x->e, block, k, j, v);
    }
}

static void open_nests(emitter *x) {
  for (uint32_t m = 0; m < x->s->n_member; m++) {
    x->member[m] = sq_sunroll(x->e, &x->s->member[m]);
    sq_sunrolled_hoist(&x->member[m], 1);
  }
  for (uint32_t m = 0; m < x->s->n_store; m++) x->store[m] = sq_sunroll(x->e, &x->s->store[m]);
}

// The loop over vectors of lo .. hi, from the states in scratch.
static void run_vectors(emitter *x, sq_lv block, sq_lv lo, sq_lv hi) {
  sq_kern *k = x->k;
  sq_lv flat[SQ_K_CARRIED];
  x->e->turns = x->w;
  open_nests(x);
  load_carries(x, block);
  uint32_t n = flatten(x, flat);
  sq_kloop l;
  sq_kloop_begin(k, &l, lo, hi, x->w, n, flat);
  unflatten(x, l.phi);
  sq_lv t = sq_semit_turn(x->e, l.i);
  if (x->s->reversed) t = LLVMBuildSub(k->b, t, sq_k_int(k, x->w - 1), "");
  one_vector(x, t);
  flatten(x, flat);
  sq_kloop_end(k, &l, flat);
  unflatten(x, l.phi);
  for (uint32_t m = 0; m < x->s->n_member; m++) sq_sunrolled_forget(&x->member[m], 1);
  x->e->turns = 0;
}

// Gives the turn that is next: hi, or lo when it was in vain.
static sq_lv vectors(emitter *x, sq_lv block, sq_lv lo, sq_lv hi) {
  sq_kern *k = x->k;
  run_vectors(x, block, lo, hi);
  sq_kif f;
  sq_lv strange = sq_k_any(k, LLVMBuildFCmp(k->b, LLVMRealUNO, x->bad, x->bad, ""));
  sq_lv finite = LLVMBuildNot(k->b, strange, "");
  sq_kif_begin(k, &f, finite);
  store_carries(x, block);
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  return LLVMBuildSelect(k->b, finite, hi, lo, "");
}

void sq_sprefix_turns(sq_semit *e, sq_lv block, void *user) {
  const sq_sturns *r = user;
  sq_kern *k = e->k;
  emitter em = {.e = e, .k = k, .s = e->s, .f = &e->p->sections->f, .w = e->p->turns}, *x = &em;
  x->member = SQ_ARRAY(k->a, sq_sunrolled, x->s->n_member + 1);
  x->store = SQ_ARRAY(k->a, sq_sunrolled, x->s->n_store + 1);
  sq_kloop l;
  sq_kloop_begin(k, &l, r->lo, r->hi, STRETCH, 0, NULL);
  sq_lv end = sq_k_min(k, r->hi, LLVMBuildAdd(k->b, l.i, sq_k_int(k, STRETCH), ""));
  sq_lv count = LLVMBuildSub(k->b, end, l.i, "");
  count = LLVMBuildAnd(k->b, count, sq_k_int(k, -(int64_t)x->w), "");
  sq_lv whole = LLVMBuildAdd(k->b, l.i, count, "");
  sq_sturns rest = {vectors(x, block, l.i, whole), end};
  sq_sregisters_turns(e, block, &rest);
  sq_kloop_end(k, &l, NULL);
}
