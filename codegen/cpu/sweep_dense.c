// A sweep of states that read each other affinely (ir/sweep_dense.h): four vectors of consecutive turns of one
// lane at a time, their maps h -> A h + b put together.
//
//   A, b        of each turn: slopes, and what members give where the states are 0
//   turned      in each block of four lanes and the four vectors, so that a lane has four turns in a row
//   A, b        of these four, one after another: no moves between lanes
//   A, b        of all lanes up to each: log2(w) steps, each a shuffle and a product
//   h           before each lane's turns, from the carry; then of its turns, one after another
//   turned back; what reads the state before a turn has it; stores; the carry by the last lane's map
//   where some h was not finite, the stretch is done again turn by turn: products over ranges may overflow
//   where the states themselves do not
//
// Nothing of this depends on the number of threads.
#include "codegen/cpu/sweep_newton.h"

enum { STRETCH = 1024, SETS = SQ_SWEEP_SETS }; // SETS: a block of so many lanes is turned

typedef struct emitter {
  sq_semit *e;
  sq_kern *k;
  const sq_sweep *s;
  const sq_newton *f;
  uint32_t w, n;
  sq_sjacobian now, later;
  sq_sunrolled *store;
  sq_lv carry[SQ_DENSE_STATES]; // states before the vectors, in all lanes
  sq_lv bad;                    // not 0 in lanes where a state was not finite
} emitter;

typedef sq_lv quad[SETS]; // a number of each turn of the four vectors

// ---- lanes -------------------------------------------------------------------------------------
// The lane whose turns come as the p-th, when vectors are turned: blocks of lanes have turns of a vector each.
static uint32_t lane(const emitter *x, uint32_t p) {
  uint32_t blocks = x->w / SETS, block = p % blocks, vector = p / blocks;
  return (x->s->reversed ? blocks - 1 - block : block) * SETS + vector;
}

static sq_lv shuffle(const emitter *x, sq_lv a, sq_lv b, const uint32_t *from) {
  sq_lv at[64];
  for (uint32_t i = 0; i < x->w; i++) at[i] = LLVMConstInt(x->k->i32, from[i], 0);
  return LLVMBuildShuffleVector(x->k->b, a, b, LLVMConstVector(at, x->w), "");
}

// In each block of four lanes: from a, b, a, b (`pair` numbers in a row of each), of the `half`-th two.
static sq_lv weave(const emitter *x, sq_lv a, sq_lv b, uint32_t pair, uint32_t half) {
  uint32_t from[64];
  for (uint32_t i = 0; i < x->w; i++) {
    uint32_t in = i % SETS, second = in / pair % 2;
    from[i] = i - in + 2 * half + (pair == 1 ? in / 2 : in % 2) + (second ? x->w : 0);
  }
  return shuffle(x, a, b, from);
}

static void turn_over(const emitter *x, quad v) {
  sq_lv low = weave(x, v[0], v[1], 1, 0), high = weave(x, v[0], v[1], 1, 1);
  sq_lv low2 = weave(x, v[2], v[3], 1, 0), high2 = weave(x, v[2], v[3], 1, 1);
  v[0] = weave(x, low, low2, 2, 0);
  v[1] = weave(x, low, low2, 2, 1);
  v[2] = weave(x, high, high2, 2, 0);
  v[3] = weave(x, high, high2, 2, 1);
}

// Of four vectors that are turned: which one has the q-th turn of each lane.
static uint32_t vector_of(const emitter *x, uint32_t q) {
  return x->s->reversed ? SETS - 1 - q : q;
}

static sq_lv last_lane(const emitter *x, sq_lv v) {
  uint32_t from[64];
  for (uint32_t i = 0; i < x->w; i++) from[i] = lane(x, x->w - 1);
  return shuffle(x, v, LLVMGetPoison(LLVMTypeOf(v)), from);
}

// Each lane's value before it; of the first `earlier`, which all lanes have.
static sq_lv lane_before(const emitter *x, sq_lv v, sq_lv earlier) {
  uint32_t from[64];
  for (uint32_t p = 0; p < x->w; p++) from[lane(x, p)] = p ? lane(x, p - 1) : x->w;
  return shuffle(x, v, earlier, from);
}

// The second half of each 2 * half lanes in a row gets the value at the end of the first half, the first half
// `neutral`.
static sq_lv first_half(const emitter *x, sq_lv v, sq_lv neutral, uint32_t half) {
  uint32_t from[64];
  for (uint32_t p = 0; p < x->w; p++)
    from[lane(x, p)] = p & half ? lane(x, (p & ~(2 * half - 1)) + half - 1) : x->w;
  return shuffle(x, v, neutral, from);
}

// ---- maps --------------------------------------------------------------------------------------
// After `first`: m first.
static sq_smap after(const emitter *x, const sq_smap *m, const sq_smap *first) {
  sq_smap r = {0};
  sq_smap_apply(&x->now, m, first->other, r.other);
  for (uint32_t i = 0; i < x->n; i++)
    for (uint32_t l = 0; l < x->n; l++)
      for (uint32_t j = 0; m->by[i][l] && j < x->n; j++)
        if (first->by[l][j]) sq_sslope_add(&x->now, m->by[i][l], first->by[l][j], &r.by[i][j]);
  return r;
}

static sq_smap end_of_first_half(const emitter *x, const sq_smap *m, uint32_t half) {
  sq_smap f = {0};
  sq_lv zero = LLVMConstNull(x->now.type);
  for (uint32_t i = 0; i < x->n; i++) {
    f.other[i] = first_half(x, m->other[i], zero, half);
    for (uint32_t j = 0; j < x->n; j++) {
      if (!m->by[i][j] && i != j) continue;
      sq_lv by = m->by[i][j] ? m->by[i][j] : zero;
      f.by[i][j] = first_half(x, by, sq_k_flike(x->now.type, i == j), half);
    }
  }
  return f;
}

// The maps of all lanes up to each.
static sq_smap together(const emitter *x, sq_smap m) {
  for (uint32_t half = 1; half < x->w; half *= 2) {
    sq_smap first = end_of_first_half(x, &m, half);
    m = after(x, &m, &first);
  }
  return m;
}

// ---- four vectors ------------------------------------------------------------------------------
// The maps of the four turns of each lane.
static void find_maps(emitter *x, sq_smap *turn) {
  sq_smap m[SETS];
  for (uint32_t set = 0; set < SETS; set++)
    sq_sjacobian_next(&x->now, set, m[set].other, &turn[set]),
        memcpy(&m[set].by, &turn[set].by, sizeof m[set].by);
  for (uint32_t i = 0; i < x->n; i++)
    for (uint32_t j = 0; j <= x->n; j++) {
      quad v;
      for (uint32_t set = 0; set < SETS; set++)
        v[set] = j < x->n ? m[set].by[i][j] : m[set].other[i];
      if (!v[0]) continue;
      turn_over(x, v);
      for (uint32_t q = 0; q < SETS; q++)
        *(j < x->n ? &turn[q].by[i][j] : &turn[q].other[i]) = v[vector_of(x, q)];
    }
}

static void watch(emitter *x, sq_lv h) {
  sq_lv zero = LLVMConstNull(LLVMTypeOf(h));
  x->bad = sq_k_fma(x->k, h, zero, x->bad);
}

// States after each turn, by vectors of turns; the carry is moved on.
static void solve(emitter *x, sq_lv now[SETS][SQ_NEWTON_UNKNOWNS]) {
  sq_smap turn[SETS] = {0};
  find_maps(x, turn);
  sq_smap all = turn[0];
  for (uint32_t q = 1; q < SETS; q++) all = after(x, &turn[q], &all);
  all = together(x, all);
  sq_smap end = {0};
  for (uint32_t i = 0; i < x->n; i++) {
    end.other[i] = last_lane(x, all.other[i]);
    for (uint32_t j = 0; j < x->n; j++)
      if (all.by[i][j]) end.by[i][j] = last_lane(x, all.by[i][j]);
  }
  sq_lv h[SETS + 1][SQ_DENSE_STATES];
  sq_smap_apply(&x->now, &all, x->carry, h[SETS]);
  for (uint32_t i = 0; i < x->n; i++) h[0][i] = lane_before(x, h[SETS][i], x->carry[i]);
  for (uint32_t q = 0; q < SETS; q++) sq_smap_apply(&x->now, &turn[q], h[q], h[q + 1]);
  sq_lv next[SQ_DENSE_STATES]; // not of h: the chain from vectors to vectors is this alone
  sq_smap_apply(&x->now, &end, x->carry, next);
  memcpy(x->carry, next, x->n * sizeof *next);
  for (uint32_t i = 0; i < x->n; i++) {
    quad v;
    for (uint32_t q = 0; q < SETS; q++) watch(x, v[vector_of(x, q)] = h[q + 1][i]);
    turn_over(x, v);
    for (uint32_t set = 0; set < SETS; set++) now[set][i] = v[set];
  }
}

// ---- values of the sweep -----------------------------------------------------------------------
static void put_before(const emitter *x, uint32_t set, const sq_lv *now, const sq_lv *earlier) {
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++) {
    uint32_t count = sq_splan_elements(x->s, k), first = x->f->first[k];
    for (uint32_t j = 0; first != SQ_SWEEP_NONE && j < count; j++)
      x->e->value[k][set * count + j] = sq_sturn_before(x->e, now[first + j], earlier[first + j]);
  }
}

static void put_solved(const emitter *x, uint32_t set, const sq_lv *now) {
  for (uint32_t i = 0; i < x->s->n_member; i++) {
    uint32_t v = x->s->member[i].value, n = sq_splan_elements(x->s, v), k = x->f->solves[i];
    if (k == SQ_SWEEP_NONE) continue;
    if (!set) x->e->value[v] = SQ_ARRAY(x->k->a, sq_lv, SETS * n + 1);
    memcpy(x->e->value[v] + set * n, now + x->f->first[k], n * sizeof *now);
  }
}

static void four_vectors(emitter *x, sq_lv t) {
  sq_lv now[SETS][SQ_NEWTON_UNKNOWNS], earlier[SQ_NEWTON_UNKNOWNS];
  sq_lv zero = sq_k_int(x->k, 0);
  memcpy(earlier, x->carry, sizeof x->carry);
  sq_sjacobian_members(&x->now, t, zero);
  solve(x, now);
  for (uint32_t set = 0; set < SETS; set++) {
    put_before(x, set, now[set], set ? now[set - 1] : earlier);
    put_solved(x, set, now[set]);
  }
  sq_sjacobian_members(&x->later, t, zero);
  for (uint32_t m = 0; m < x->s->n_store; m++) {
    sq_sunrolled_open(&x->store[m], SETS, t);
    sq_sunrolled_write(x->e, &x->store[m]);
  }
}

// ---- a stretch ---------------------------------------------------------------------------------
static void load_states(emitter *x, sq_lv block) {
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++) {
    uint32_t count = sq_splan_elements(x->s, k), at = x->f->first[k];
    x->e->value[k] = SQ_ARRAY(x->k->a, sq_lv, SETS * count + 1);
    for (uint32_t j = 0; j < count; j++) {
      sq_lv h = sq_k_splat(x->k, sq_sregisters_load(x->e, block, k, j), x->w);
      for (uint32_t set = 0; set < SETS; set++) x->e->value[k][set * count + j] = h;
      if (at != SQ_SWEEP_NONE) x->carry[at + j] = h;
    }
  }
}

static void store_states(const emitter *x, sq_lv block) {
  sq_lv zero = LLVMConstInt(x->k->i32, 0, 0);
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++)
    for (uint32_t j = 0; x->f->first[k] != SQ_SWEEP_NONE && j < sq_splan_elements(x->s, k); j++) {
      sq_lv h = LLVMBuildExtractElement(x->k->b, x->carry[x->f->first[k] + j], zero, "");
      sq_sregisters_store(x->e, block, k, j, h);
    }
}

static void open(emitter *x) {
  x->now = sq_sjacobian_make(x->e, x->f, SQ_SNOW);
  x->later = sq_sjacobian_make(x->e, x->f, SQ_SLATER);
  x->store = SQ_ARRAY(x->k->a, sq_sunrolled, x->s->n_store + 1);
  for (uint32_t m = 0; m < x->s->n_store; m++) x->store[m] = sq_sunroll(x->e, &x->s->store[m]);
}

// The loop over lo .. hi, from the states in scratch.
static void run_vectors(emitter *x, sq_lv block, sq_lv lo, sq_lv hi) {
  sq_kern *k = x->k;
  sq_lv flat[SQ_DENSE_STATES + 1];
  open(x);
  load_states(x, block);
  x->bad = LLVMConstNull(x->now.type);
  memcpy(flat, x->carry, x->n * sizeof *flat);
  flat[x->n] = x->bad;
  sq_kloop l;
  sq_kloop_begin(k, &l, lo, hi, (int64_t)SETS * x->w, x->n + 1, flat);
  memcpy(x->carry, l.phi, x->n * sizeof *flat);
  x->bad = l.phi[x->n];
  sq_lv t = sq_semit_turn(x->e, l.i);
  if (x->s->reversed) t = LLVMBuildSub(k->b, t, sq_k_int(k, x->w - 1), "");
  four_vectors(x, t);
  memcpy(flat, x->carry, x->n * sizeof *flat);
  flat[x->n] = x->bad;
  sq_kloop_end(k, &l, flat);
  memcpy(x->carry, l.phi, x->n * sizeof *flat);
  x->bad = l.phi[x->n];
  sq_sjacobian_forget(&x->now);
  sq_sjacobian_forget(&x->later);
}

// Gives the turn that is next: hi, or lo when it was in vain.
static sq_lv vectors(emitter *x, sq_lv block, sq_lv lo, sq_lv hi) {
  sq_kern *k = x->k;
  x->e->turns = x->w;
  x->e->sets = SETS;
  run_vectors(x, block, lo, hi);
  x->e->turns = 0;
  x->e->sets = 1;
  sq_kif f;
  sq_lv strange = sq_k_any(k, LLVMBuildFCmp(k->b, LLVMRealUNO, x->bad, x->bad, ""));
  sq_lv finite = LLVMBuildNot(k->b, strange, "");
  sq_kif_begin(k, &f, finite);
  store_states(x, block);
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  return LLVMBuildSelect(k->b, finite, hi, lo, "");
}

void sq_sdense_turns(sq_semit *e, sq_lv block, void *user) {
  sq_kern *k = e->k;
  const sq_dense *d = user;
  emitter em = {.e = e, .k = k, .s = e->s, .f = &d->f, .w = e->p->turns, .n = d->f.n}, *x = &em;
  sq_lv all = sq_kern_dim(k, x->s->extent);
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), all, STRETCH, 0, NULL);
  sq_lv end = sq_k_min(k, all, LLVMBuildAdd(k->b, l.i, sq_k_int(k, STRETCH), ""));
  sq_lv count = LLVMBuildSub(k->b, end, l.i, "");
  count = LLVMBuildAnd(k->b, count, sq_k_int(k, -(int64_t)SETS * x->w), "");
  sq_lv whole = LLVMBuildAdd(k->b, l.i, count, "");
  sq_sturns r = {vectors(x, block, l.i, whole), end};
  sq_sregisters_turns(e, block, &r);
  sq_kloop_end(k, &l, NULL);
}
