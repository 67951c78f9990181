// A sweep by Newton's method: the states of a stretch of turns are solved for, vectors of turns at once.
//
//   guess: the state before the stretch, in all of its turns; what does not depend on states is kept
//   until |r| and |d| are small:
//     for each vector of turns:
//       f, J     of each turn at the guess before it, each by itself
//       r = f - guess;   d = J d_before + r, by maps as in sweep_prefix.c;   guess += d
//   for each vector of turns: what is stored
//
// r tells how well the equations hold, d how far the states still move: where a change grows from turn to
// turn, a small r alone says little. A stretch that does not converge, or meets what is not finite, is
// done turn by turn, and so are 1, 3, 7, .. 31 stretches behind it, the more of them fail in a row.
//
// Nothing of this depends on the number of threads.
#include "codegen/cpu/sweep_newton.h"
#include <math.h>

enum { COUNTS = 4 };

typedef struct solver {
  sq_semit *e;
  sq_kern *k;
  const sq_sweep *s;
  const sq_newton *f;
  uint32_t sets; // vectors of turns together: what one waits for, the other fills
  sq_sjacobian before, now, later;
  sq_sunrolled *store;
  sq_lv block;
  sq_dtype dtype; // of an unknown
} solver;

static int64_t together(const solver *x) { return (int64_t)x->sets * x->e->p->turns; }

// ---- unknowns in scratch -----------------------------------------------------------------------
static sq_lv unknown_pointer(const solver *x, uint32_t j, sq_lv turn) {
  sq_kern *k = x->k;
  uint32_t bytes = (uint32_t)sq_dtype_table[x->dtype].bytes;
  sq_lv off = LLVMBuildMul(k->b, turn, sq_k_int(k, bytes), "");
  off = LLVMBuildAdd(k->b, off,
                     sq_k_int(k, x->e->p->guess + (int64_t)j * bytes * SQ_SNEWTON_STRETCH), "");
  return LLVMBuildGEP2(k->b, k->i8, x->e->scratch, &off, 1, "");
}

static void load_unknowns(const solver *x, sq_lv turn, sq_lv *v) {
  for (uint32_t j = 0; j < x->f->n; j++)
    v[j] = sq_k_load_row(x->k, x->dtype, unknown_pointer(x, j, turn), x->e->p->turns, NULL);
}

static void store_unknowns(const solver *x, sq_lv turn, const sq_lv *v) {
  for (uint32_t j = 0; j < x->f->n; j++)
    sq_k_store_row(x->k, x->dtype, unknown_pointer(x, j, turn), v[j], NULL);
}

// What is carried before the stretch, in all lanes: the unknowns; what never changes goes to e->value.
static void load_states(const solver *x, sq_lv *v) {
  sq_semit *e = x->e;
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++) {
    uint32_t count = sq_splan_elements(x->s, k), at = x->f->first[k];
    e->value[k] = SQ_ARRAY(x->k->a, sq_lv, x->sets * count + 1);
    for (uint32_t j = 0; j < count; j++) {
      sq_lv h = sq_k_splat(x->k, sq_sregisters_load(e, x->block, k, j), e->p->turns);
      for (uint32_t set = 0; set < x->sets; set++) e->value[k][set * count + j] = h;
      if (at != SQ_SWEEP_NONE) v[at + j] = h;
    }
  }
}

static void store_states(const solver *x, const sq_lv *v) {
  sq_lv zero = LLVMConstInt(x->k->i32, 0, 0);
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++)
    for (uint32_t j = 0; x->f->first[k] != SQ_SWEEP_NONE && j < sq_splan_elements(x->s, k); j++) {
      sq_lv h = sq_sturn_last(x->e, v[x->f->first[k] + j]);
      sq_sregisters_store(x->e, x->block, k, j, LLVMBuildExtractElement(x->k->b, h, zero, ""));
    }
}

// The states before each turn of a set, of those behind them and the vector before.
static void put_before(const solver *x, uint32_t set, const sq_lv *v, const sq_lv *earlier) {
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++) {
    uint32_t count = sq_splan_elements(x->s, k), first = x->f->first[k];
    for (uint32_t j = 0; first != SQ_SWEEP_NONE && j < count; j++)
      x->e->value[k][set * count + j] = sq_sturn_before(x->e, v[first + j], earlier[first + j]);
  }
}

static sq_lv turn_of_set(const solver *x, sq_lv at, uint32_t set) {
  return LLVMBuildAdd(x->k->b, at, sq_k_int(x->k, (int64_t)set * x->e->p->turns), "");
}

static sq_lv first_turn(const solver *x, sq_lv i) {
  sq_lv t = sq_semit_turn(x->e, i);
  if (!x->s->reversed) return t;
  return LLVMBuildSub(x->k->b, t, sq_k_int(x->k, x->e->p->turns - 1), "");
}

// ---- an iteration ------------------------------------------------------------------------------
typedef struct measures { // of all turns, in lanes: largest |r|, |d|, |f|; not 0: not finite
  sq_lv r[SQ_NEWTON_UNKNOWNS], d[SQ_NEWTON_UNKNOWNS], f[SQ_NEWTON_UNKNOWNS], bad;
} measures;

static sq_lv larger(const solver *x, sq_lv a, sq_lv b) {
  b = sq_k_ewise(x->k, SQ_EW_ABS, x->dtype, b, NULL, false, false);
  return LLVMBuildSelect(x->k->b, LLVMBuildFCmp(x->k->b, LLVMRealOGT, a, b, ""), a, b, "");
}

static void measure(const solver *x, measures *m, uint32_t j, sq_lv r, sq_lv d, sq_lv f) {
  m->r[j] = larger(x, m->r[j], r);
  m->d[j] = larger(x, m->d[j], d);
  m->f[j] = larger(x, m->f[j], f);
  sq_lv zero = sq_k_fmul(x->k, d, LLVMConstNull(LLVMTypeOf(d)));
  m->bad = LLVMBuildFAdd(x->k->b, m->bad, zero, "");
}

// flat: the vector before's unknowns, its d, then the measures
static void unflatten(uint32_t n, const sq_lv *flat, measures *m) {
  memcpy(m->r, flat, n * sizeof *flat);
  memcpy(m->d, flat + n, n * sizeof *flat);
  memcpy(m->f, flat + 2 * (size_t)n, n * sizeof *flat);
  m->bad = flat[3 * n];
}

static void flatten(uint32_t n, const measures *m, sq_lv *flat) {
  memcpy(flat, m->r, n * sizeof *flat);
  memcpy(flat + n, m->d, n * sizeof *flat);
  memcpy(flat + 2 * (size_t)n, m->f, n * sizeof *flat);
  flat[3 * n] = m->bad;
}

// Of a set, from the members' values: guess -> better guess; step: d of the vector before, then of this.
static void better(solver *x, uint32_t set, sq_lv *guess, sq_lv *step, measures *ms) {
  uint32_t n = x->f->n;
  sq_lv next[SQ_NEWTON_UNKNOWNS], d[SQ_NEWTON_UNKNOWNS], r[SQ_NEWTON_UNKNOWNS];
  sq_smap m, end;
  sq_sjacobian_next(&x->now, set, next, &m);
  for (uint32_t j = 0; j < n; j++) r[j] = m.other[j] = sq_k_fsub(x->k, next[j], guess[j]);
  m = sq_smap_together(&x->now, m);
  sq_smap_apply(&x->now, &m, step, d);
  end = sq_smap_last(&x->now, &m);
  sq_lv last[SQ_NEWTON_UNKNOWNS]; // not of d: the chain from vector to vector is this alone
  sq_smap_apply(&x->now, &end, step, last);
  memcpy(step, last, n * sizeof *step);
  for (uint32_t j = 0; j < n; j++) {
    measure(x, ms, j, r[j], d[j], next[j]);
    guess[j] = sq_k_fadd(x->k, guess[j], d[j]);
  }
}

// Some vectors from turn i on; `before`: the unknowns of the vector before, as they were.
static void some_vectors(solver *x, sq_lv i, sq_lv at, sq_lv *before, sq_lv *step, measures *ms) {
  sq_lv guess[SQ_SWEEP_SETS][SQ_NEWTON_UNKNOWNS];
  for (uint32_t set = 0; set < x->sets; set++) {
    load_unknowns(x, turn_of_set(x, at, set), guess[set]);
    put_before(x, set, guess[set], set ? guess[set - 1] : before);
  }
  memcpy(before, guess[x->sets - 1], x->f->n * sizeof *before);
  sq_sjacobian_members(&x->now, first_turn(x, i), at);
  for (uint32_t set = 0; set < x->sets; set++) {
    better(x, set, guess[set], step, ms);
    store_unknowns(x, turn_of_set(x, at, set), guess[set]);
  }
}

static measures iterate(solver *x, sq_lv lo, sq_lv hi) {
  uint32_t n = x->f->n;
  sq_lv flat[SQ_K_CARRIED], zero = LLVMConstNull(x->now.type);
  for (uint32_t j = 0; j < 5 * n + 1; j++) flat[j] = zero;
  load_states(x, flat);
  sq_kloop l;
  sq_kloop_begin(x->k, &l, lo, hi, together(x), 5 * n + 1, flat);
  measures m;
  memcpy(flat, l.phi, (5 * n + 1) * sizeof *flat);
  unflatten(n, flat + 2 * (size_t)n, &m);
  some_vectors(x, l.i, LLVMBuildSub(x->k->b, l.i, lo, ""), flat, flat + n, &m);
  flatten(n, &m, flat + 2 * (size_t)n);
  sq_kloop_end(x->k, &l, flat);
  unflatten(n, l.phi + 2 * (size_t)n, &m);
  return m;
}

// ---- has it converged? -------------------------------------------------------------------------
static sq_lv largest_lane(const solver *x, sq_lv v) {
  sq_kern *k = x->k;
  for (uint32_t half = x->e->p->turns / 2; half; half /= 2) {
    sq_lv at[64];
    for (uint32_t i = 0; i < x->e->p->turns; i++) at[i] = LLVMConstInt(k->i32, i ^ half, 0);
    sq_lv from = LLVMConstVector(at, x->e->p->turns);
    v = larger(x, v, LLVMBuildShuffleVector(k->b, v, LLVMGetPoison(LLVMTypeOf(v)), from, ""));
  }
  v = LLVMBuildExtractElement(k->b, v, LLVMConstInt(k->i32, 0, 0), "");
  return LLVMBuildFPCast(k->b, v, k->f64, "");
}

// a / b, 0 when a is; doubles.
static sq_lv ratio(const solver *x, sq_lv a, sq_lv b) {
  sq_lv zero = LLVMConstReal(x->k->f64, 0);
  sq_lv none = LLVMBuildFCmp(x->k->b, LLVMRealOEQ, a, zero, "");
  return LLVMBuildSelect(x->k->b, none, zero, LLVMBuildFDiv(x->k->b, a, b, ""), "");
}

typedef struct verdict {
  sq_lv good, hopeless, residual, step;
} verdict;

static sq_lv most(const solver *x, sq_lv a, sq_lv b) {
  return LLVMBuildSelect(x->k->b, LLVMBuildFCmp(x->k->b, LLVMRealOGT, a, b, ""), a, b, "");
}

static sq_lv both_below(const solver *x, sq_lv r, double tol, sq_lv d, double far) {
  LLVMBuilderRef b = x->k->b;
  sq_lv small = LLVMBuildFCmp(b, LLVMRealOLE, r, LLVMConstReal(x->k->f64, tol), "");
  return LLVMBuildAnd(b, small, LLVMBuildFCmp(b, LLVMRealOLE, d, LLVMConstReal(x->k->f64, far), ""),
                      "");
}

// last: the step of the iteration before, 0: none. Near the end steps fall with their squares: this one
// was about last^2 times something, and so the next one and its residual, of at most about step^2, can
// be told before they are computed.
static verdict judge(const solver *x, const measures *m, sq_lv last) {
  sq_kern *k = x->k;
  bool wide = x->dtype == SQ_F64;
  double tol = wide ? SQ_NEWTON_TOLERANCE_F64 : SQ_NEWTON_TOLERANCE_F32;
  sq_lv residual = LLVMConstReal(k->f64, 0), step = residual;
  for (uint32_t j = 0; j < x->f->n; j++) {
    sq_lv size = largest_lane(x, m->f[j]);
    residual = most(x, residual, ratio(x, largest_lane(x, m->r[j]), size));
    step = most(x, step, ratio(x, largest_lane(x, m->d[j]), size));
  }
  sq_lv fell = ratio(x, step, last);
  fell = LLVMBuildFMul(k->b, LLVMBuildFMul(k->b, fell, fell, ""),
                       LLVMConstReal(k->f64, SQ_NEWTON_CARE), "");
  sq_lv next = LLVMBuildFMul(k->b, residual, fell, "");
  sq_lv known = both_below(x, residual, tol, step, wide ? SQ_NEWTON_STEP_F64 : SQ_NEWTON_STEP_F32);
  sq_lv told = both_below(x, next, tol, LLVMBuildFMul(k->b, step, fell, ""), SQ_NEWTON_CARE * tol);
  told = LLVMBuildAnd(k->b, told, both_below(x, step, sqrt(tol), last, SQ_NEWTON_NEAR), "");
  sq_lv bad = sq_k_any(k, LLVMBuildFCmp(k->b, LLVMRealUNO, m->bad, m->bad, ""));
  sq_lv good =
      LLVMBuildAnd(k->b, LLVMBuildOr(k->b, known, told, ""), LLVMBuildNot(k->b, bad, ""), "");
  residual = LLVMBuildSelect(k->b, known, residual, next, "");
  return (verdict){good, bad, residual, step};
}

// ---- a stretch ---------------------------------------------------------------------------------
static void begin(solver *x, sq_lv lo, sq_lv hi) {
  sq_lv state[SQ_NEWTON_UNKNOWNS];
  sq_kloop l;
  load_states(x, state);
  sq_kloop_begin(x->k, &l, lo, hi, together(x), 0, NULL);
  sq_lv at = LLVMBuildSub(x->k->b, l.i, lo, "");
  for (uint32_t set = 0; set < x->sets; set++) store_unknowns(x, turn_of_set(x, at, set), state);
  sq_sjacobian_members(&x->before, first_turn(x, l.i), at);
  sq_kloop_end(x->k, &l, NULL);
}

// Gives how many iterations; the verdict is that of the last one.
static sq_lv solve(solver *x, sq_lv lo, sq_lv hi, verdict *v) {
  sq_kern *k = x->k;
  sq_lv no = LLVMConstInt(k->i1, 0, 0);
  sq_lv zero = LLVMConstReal(k->f64, 0), carried[5] = {sq_k_int(k, 0), no, no, zero, zero};
  begin(x, lo, hi);
  sq_kloop l;
  sq_kwhile_begin(k, &l, 5, carried);
  sq_lv over = LLVMBuildOr(k->b, l.phi[1], l.phi[2], "");
  sq_lv more = LLVMBuildICmp(k->b, LLVMIntSLT, l.phi[0], sq_k_int(k, SQ_NEWTON_LIMIT), "");
  sq_kwhile_test(k, &l, LLVMBuildAnd(k->b, more, LLVMBuildNot(k->b, over, ""), ""));
  measures m = iterate(x, lo, hi);
  *v = judge(x, &m, l.phi[4]);
  carried[0] = LLVMBuildAdd(k->b, l.phi[0], sq_k_int(k, 1), "");
  carried[1] = v->good;
  carried[2] = v->hopeless;
  carried[3] = v->residual;
  carried[4] = v->step;
  sq_kwhile_end(k, &l, carried);
  *v = (verdict){l.phi[1], l.phi[2], l.phi[3], l.phi[4]};
  return l.phi[0];
}

// The next values that were solved for are what their members make.
static void put_solved(const solver *x, uint32_t set, const sq_lv *now) {
  for (uint32_t i = 0; i < x->s->n_member; i++) {
    uint32_t v = x->s->member[i].value, n = sq_splan_elements(x->s, v), k = x->f->solves[i];
    if (k == SQ_SWEEP_NONE) continue;
    if (!set) x->e->value[v] = SQ_ARRAY(x->k->a, sq_lv, x->sets * n + 1);
    memcpy(x->e->value[v] + set * n, now + x->f->first[k], n * sizeof *now);
  }
}

static void store_turns(solver *x, sq_lv lo, sq_lv hi) {
  sq_kern *k = x->k;
  sq_lv now[SQ_SWEEP_SETS][SQ_NEWTON_UNKNOWNS];
  load_states(x, now[0]);
  sq_kloop l;
  sq_kloop_begin(k, &l, lo, hi, together(x), x->f->n, now[0]);
  sq_lv at = LLVMBuildSub(k->b, l.i, lo, ""), t = first_turn(x, l.i);
  for (uint32_t set = 0; set < x->sets; set++) {
    load_unknowns(x, turn_of_set(x, at, set), now[set]);
    put_before(x, set, now[set], set ? now[set - 1] : l.phi);
    put_solved(x, set, now[set]);
  }
  sq_sjacobian_members(&x->later, t, at);
  for (uint32_t m = 0; m < x->s->n_store; m++) {
    sq_sunrolled_open(&x->store[m], x->sets, t);
    sq_sunrolled_write(x->e, &x->store[m]);
  }
  sq_kloop_end(k, &l, now[x->sets - 1]);
  store_states(x, l.phi);
}

// From the states in scratch over lo .. hi, hi where it converged; else nothing has changed.
static sq_lv stretch(solver *x, sq_lv lo, sq_lv hi, verdict *v) {
  sq_kif f;
  sq_lv iterations = solve(x, lo, hi, v);
  sq_kif_begin(x->k, &f, v->good);
  store_turns(x, lo, hi);
  sq_kif_end(x->k, &f, 0, NULL, NULL, NULL);
  return iterations;
}

// ---- all turns ---------------------------------------------------------------------------------
enum { STRETCHES, ITERATED, REDONE, RESIDUAL, WAIT, FAILED, CARRIED };

static sq_lv pick(const solver *x, sq_lv c, sq_lv a, sq_lv b) {
  return LLVMBuildSelect(x->k->b, c, a, b, "");
}

static sq_lv add_truth(const solver *x, sq_lv n, sq_lv truth) {
  return LLVMBuildAdd(x->k->b, n, LLVMBuildZExt(x->k->b, truth, x->k->i64, ""), "");
}

// How many stretches are left alone after this one: none once one converges.
static void pause(const solver *x, sq_lv tried, sq_lv good, sq_lv *count) {
  sq_kern *k = x->k;
  sq_lv one = sq_k_int(k, 1), zero = sq_k_int(k, 0);
  sq_lv longer = LLVMBuildAdd(k->b, LLVMBuildShl(k->b, count[FAILED], one, ""), one, "");
  sq_lv failed = pick(x, good, zero, sq_k_min(k, longer, sq_k_int(k, SQ_NEWTON_PAUSE)));
  sq_lv less = sq_k_max(k, LLVMBuildSub(k->b, count[WAIT], one, ""), zero);
  count[WAIT] = pick(x, tried, failed, less);
  count[FAILED] = pick(x, tried, failed, count[FAILED]);
}

// One stretch: count[] are the values of the enumeration above; gives the turn that is next.
static sq_lv try_stretch(solver *x, sq_lv lo, sq_lv whole, sq_lv *count) {
  sq_kern *k = x->k;
  sq_lv zero = sq_k_int(k, 0), some = LLVMBuildICmp(k->b, LLVMIntSGT, whole, lo, "");
  sq_lv ready = LLVMBuildICmp(k->b, LLVMIntEQ, count[WAIT], zero, "");
  sq_lv tried = LLVMBuildAnd(k->b, some, ready, "");
  sq_kif f;
  verdict v;
  sq_kif_begin(k, &f, tried);
  sq_lv iterations = stretch(x, lo, whole, &v);
  sq_lv then_v[3] = {iterations, v.good, v.residual};
  sq_kif_else(k, &f);
  sq_lv else_v[3] = {zero, LLVMConstInt(k->i1, 0, 0), LLVMConstReal(k->f64, 0)}, out[3];
  sq_kif_end(k, &f, 3, then_v, else_v, out);
  sq_lv good = out[1], redone = LLVMBuildAnd(k->b, some, LLVMBuildNot(k->b, good, ""), "");
  count[STRETCHES] = add_truth(x, count[STRETCHES], some);
  count[ITERATED] = LLVMBuildAdd(k->b, count[ITERATED], out[0], "");
  count[REDONE] = add_truth(x, count[REDONE], redone);
  count[RESIDUAL] = pick(x, good, most(x, out[2], count[RESIDUAL]), count[RESIDUAL]);
  pause(x, tried, good, count);
  return pick(x, good, whole, lo);
}

// Numbers that do not depend on the order in which lanes add to them.
static void report(const solver *x, sq_lv *const count) {
  sq_kern *k = x->k;
  static const size_t field[COUNTS] = {
      offsetof(sq_call, newton_stretches), offsetof(sq_call, newton_iterations),
      offsetof(sq_call, newton_redone), offsetof(sq_call, newton_residual)};
  for (uint32_t j = 0; j < COUNTS; j++) {
    sq_lv at = sq_k_int(k, (int64_t)field[j]), v = count[j];
    sq_lv word = LLVMBuildGEP2(k->b, k->i8, k->call, &at, 1, "");
    bool most = j == RESIDUAL; // doubles that are not negative are in the order of their bits
    if (most) v = LLVMBuildBitCast(k->b, v, k->i64, "");
    LLVMBuildAtomicRMW(k->b, most ? LLVMAtomicRMWBinOpUMax : LLVMAtomicRMWBinOpAdd, word, v,
                       LLVMAtomicOrderingMonotonic, 0);
  }
}

static void open(solver *x) {
  sq_semit *e = x->e;
  e->turns = e->p->turns;
  e->sets = x->sets = x->f->n > 2 ? 1 : SQ_SWEEP_SETS / x->f->n;
  x->before = sq_sjacobian_make(e, x->f, SQ_SBEFORE);
  x->now = sq_sjacobian_make(e, x->f, SQ_SNOW);
  x->later = sq_sjacobian_make(e, x->f, SQ_SLATER);
  x->store = SQ_ARRAY(x->k->a, sq_sunrolled, x->s->n_store + 1);
  for (uint32_t m = 0; m < x->s->n_store; m++) x->store[m] = sq_sunroll(e, &x->s->store[m]);
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++)
    if (x->f->first[k] != SQ_SWEEP_NONE) x->dtype = x->s->value[k].part.dtype;
}

void sq_snewton_turns(sq_semit *e, sq_lv block, void *user) {
  sq_kern *k = e->k;
  solver em = {.e = e, .k = k, .s = e->s, .f = user, .block = block}, *x = &em;
  open(x);
  sq_lv all = sq_kern_dim(k, x->s->extent), count[CARRIED];
  for (uint32_t j = 0; j < CARRIED; j++) count[j] = sq_k_int(k, 0);
  count[RESIDUAL] = LLVMConstReal(k->f64, 0);
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), all, SQ_SNEWTON_STRETCH, CARRIED, count);
  sq_lv end = sq_k_min(k, all, LLVMBuildAdd(k->b, l.i, sq_k_int(k, SQ_SNEWTON_STRETCH), ""));
  sq_lv turns = LLVMBuildSub(k->b, end, l.i, "");
  turns = LLVMBuildAnd(k->b, turns, sq_k_int(k, -together(x)), "");
  memcpy(count, l.phi, sizeof count);
  e->turns = e->p->turns;
  e->sets = x->sets;
  sq_sturns r = {try_stretch(x, l.i, LLVMBuildAdd(k->b, l.i, turns, ""), count), end};
  e->turns = 0;
  e->sets = 1;
  sq_sregisters_turns(e, block, &r);
  sq_kloop_end(k, &l, count);
  report(x, l.phi);
  sq_sjacobian_forget(&x->before);
  sq_sjacobian_forget(&x->now);
  sq_sjacobian_forget(&x->later);
}
