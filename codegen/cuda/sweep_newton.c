// Scans by Newton's method (ir/sweep_newton.h) as a kernel: a block of threads for each index of the lanes, a
// thread for each turn of a stretch.
//
//   for each stretch of 256 turns
//     guess: the state before the stretch, in all of its turns; what does not depend on states is kept
//     until |r| and |d| are small, at most 10 times:
//       f, J        of the thread's turn, at the guess of the thread before it
//       r = f - guess; the maps d -> J d + r of a warp's turns put together by shuffles
//       barrier     maps of the warps are in shared memory
//       d, by the maps of the warps before; guess += d; the largest |r|, |d|, |f| of a warp
//       barrier     guesses and measures are in shared memory; all threads judge alike
//     converged: stores; the states of the last turn are carried on
//     otherwise: turn by turn, by one thread; and so are 1, 3, 7, .. 31 stretches behind it
//   ends; how it went is added to the counts of the call
//
// It is the mathematics of codegen/cpu/sweep_newton.c, with its tolerances. Nothing of it depends on how many
// blocks run at once.
#include "codegen/cuda/sweep_newton.h"
#include "codegen/cpu/driver.h"

enum { THREADS = SQ_NEWTON_THREADS, WARPS = THREADS / 32 };

typedef sq_cu_newton newton;

static const char *array(newton *x, uint32_t value) { return x->w.value[value].base; }
bool sq_cu_newton_solves(const newton *x, uint32_t c) { return x->f.first[c] != SQ_SWEEP_NONE; }

// ---- states in shared memory -------------------------------------------------------------------
static void share(newton *x) {
  uint32_t per = 3 * x->n + 1;
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    sq_cu_line(x->k, "SQ_SHARED(%s, carry%u, %u);", sq_cu_type(x->s->value[c].part.dtype), c,
               sq_cu_newton_elements(x, c));
  sq_cu_line(x->k, "SQ_SHARED(%s, edge, %u);", x->type, x->n * THREADS);
  sq_cu_line(x->k, "SQ_SHARED(%s, maps, %u);", x->type, WARPS * (x->n * x->n + x->n));
  sq_cu_line(x->k, "SQ_SHARED(%s, sizes, %u);", x->type, WARPS * per);
}
void sq_cu_newton_from_carry(newton *x, uint32_t c) {
  sq_cu_newton_declare(x, c);
  for (uint32_t j = 0; j < sq_cu_newton_elements(x, c); j++)
    sq_cu_line(x->k, "%s[%u] = SQ_SLD(carry%u, %u);", array(x, c), j, c, j);
}
static void to_carry(newton *x, uint32_t c) {
  for (uint32_t j = 0; j < sq_cu_newton_elements(x, c); j++)
    sq_cu_line(x->k, "SQ_SST(carry%u, %u, %s[%u]);", c, j, array(x, c), j);
}
static void begin_states(newton *x) {
  sq_cu_open(x->k, "if (SQ_TID == 0) {");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    sq_cu_newton_declare(x, c);
    sq_cu_sweep_emit(&x->w, &x->s->load[c], &x->w.value[c]);
    to_carry(x, c);
  }
  sq_cu_close(x->k);
  sq_cu_line(x->k, "SQ_SYNC();");
}
static void end_states(newton *x) {
  sq_cu_open(x->k, "if (SQ_TID == 0) {");
  sq_cu_line(x->k, "const bool live = true;");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) sq_cu_newton_from_carry(x, c);
  for (uint32_t i = 0; i < x->s->n_final; i++) sq_cu_sweep_write(&x->w, &x->s->final[i]);
  if (!x->f.affine)
    sq_cu_line(x->k, "if (stretches) SQ_NEWTON(a.err, stretches, iterations, redone, largest);");
  sq_cu_close(x->k);
  sq_cu_line(x->k, "SQ_SYNC();"); // before the next unit begins
}

// The states before the thread's turn: guesses of the thread before.
void sq_cu_newton_states_before(newton *x) {
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    if (!sq_cu_newton_solves(x, c)) {
      sq_cu_newton_from_carry(x, c);
      continue;
    }
    sq_cu_newton_declare(x, c);
    for (uint32_t j = 0; j < sq_cu_newton_elements(x, c); j++)
      sq_cu_line(x->k, "%s[%u] = SQ_TID ? SQ_SLD(edge, %u + SQ_TID - 1) : SQ_SLD(carry%u, %u);",
                 array(x, c), j, (x->f.first[c] + j) * THREADS, c, j);
  }
}
void sq_cu_newton_to_edge(newton *x) {
  for (uint32_t j = 0; j < x->n; j++)
    sq_cu_line(x->k, "SQ_SST(edge, %u + SQ_TID, g%u);", j * THREADS, j);
}

// ---- an iteration ------------------------------------------------------------------------------
// The largest of a warp's turns to shared memory, by its first thread.
static void measure(newton *x) {
  sq_cu *k = x->k;
  static const char size[] = "rdn"; // of what is missing, of the step, of the next value
  for (uint32_t j = 0; j < x->n; j++)
    for (uint32_t m = 0; m < 3; m++)
      sq_cu_line(k, "%s %c%uu = live ? sq_abs(%c%u) : 0;", x->type, size[m], j, size[m], j);
  sq_text bad = {.arena = k->a};
  for (uint32_t j = 0; j < x->n; j++) sq_text_add(&bad, "%sd%u * 0", j ? " + " : "", j);
  sq_cu_line(k, "%s bad = live ? %s : 0;", x->type, bad.v);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int m = 1; m < 32; m *= 2) {");
  for (uint32_t j = 0; j < x->n; j++)
    for (uint32_t m = 0; m < 3; m++)
      sq_cu_line(k, "%c%uu = sq_larger(%c%uu, sq_shuffle_xor(SQ_ME %c%uu, m));", size[m], j,
                 size[m], j, size[m], j);
  sq_cu_line(k, "bad += sq_shuffle_xor(SQ_ME bad, m);");
  sq_cu_close(k);
  sq_cu_open(k, "if (lane == 0) {");
  for (uint32_t j = 0; j < x->n; j++)
    for (uint32_t m = 0; m < 3; m++)
      sq_cu_line(k, "SQ_SST(sizes, %u + warp, %c%uu);", (3 * j + m) * WARPS, size[m], j);
  sq_cu_line(k, "SQ_SST(sizes, %u + warp, bad);", 3 * x->n * WARPS);
  sq_cu_close(k);
}
// From the measures of all warps: each thread finds the same.
static void judge(newton *x) {
  sq_cu *k = x->k;
  bool wide = strcmp(x->type, "double") == 0;
  double tol = wide ? SQ_NEWTON_TOLERANCE_F64 : SQ_NEWTON_TOLERANCE_F32;
  sq_cu_line(k, "%s left = 0, step = 0, odd = 0;", x->type);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int j = 0; j < %u; j++) {", x->n);
  sq_cu_line(k, "%s all[3] = {0, 0, 0};", x->type);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int p = 0; p < %u; p++)", 3 * WARPS);
  sq_cu_line(k, "  all[p / %u] = sq_larger(all[p / %u], SQ_SLD(sizes, j * %u + p));", WARPS, WARPS,
             3 * WARPS);
  sq_cu_line(k, "left = sq_larger(left, sq_newton_ratio(all[0], all[2]));");
  sq_cu_line(k, "step = sq_larger(step, sq_newton_ratio(all[1], all[2]));");
  sq_cu_close(k);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int p = 0; p < %u; p++) odd += SQ_SLD(sizes, %u + p);", WARPS,
             3 * x->n * WARPS);
  sq_cu_line(k, "bool known;");
  sq_cu_line(k, "good = sq_newton_good<%s>(left, step, before, %.9g, %.9g, %.9g, %.9g, known);",
             x->type, tol, wide ? SQ_NEWTON_STEP_F64 : SQ_NEWTON_STEP_F32, SQ_NEWTON_NEAR,
             SQ_NEWTON_CARE);
  sq_cu_line(k, "good = good && odd == odd;");
  sq_cu_line(k, "if (!known) left = sq_newton_next(left, step, before, (%s)%.9g);", x->type,
             SQ_NEWTON_CARE);
  sq_cu_line(k, "before = step;");
  sq_cu_line(k, "iterations++;");
  sq_cu_line(k, "if (good) largest = sq_larger(largest, left);");
  sq_cu_line(k, "if (good || odd != odd) break;");
}
static void iterate(newton *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (int tries = 0; tries < %d; tries++) {", SQ_NEWTON_LIMIT);
  sq_cu_newton_states_before(x);
  sq_cu_newton_members(x);
  sq_cu_affine m = sq_cu_affine_declare(x);
  sq_cu_affine_warp(x, &m);
  sq_cu_affine_share(x, &m);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_affine_solve(x, &m);
  for (uint32_t j = 0; j < x->n; j++) sq_cu_line(k, "g%u += d%u;", j, j);
  sq_cu_newton_to_edge(x);
  measure(x);
  sq_cu_line(k, "SQ_SYNC();");
  judge(x);
  sq_cu_close(k);
}

// ---- a stretch ---------------------------------------------------------------------------------
void sq_cu_newton_store(newton *x) {
  sq_cu *k = x->k;
  sq_cu_newton_states_before(x);
  sq_cu_line(k, "SQ_SYNC();"); // the first has read what is carried
  sq_cu_newton_later(x);
  for (uint32_t i = 0; i < x->s->n_store; i++) sq_cu_sweep_write(&x->w, &x->s->store[i]);
  sq_cu_open(k, "if (SQ_TID == last) {");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    for (uint32_t j = 0; sq_cu_newton_solves(x, c) && j < sq_cu_newton_elements(x, c); j++)
      sq_cu_line(k, "SQ_SST(carry%u, %u, g%u);", c, j, x->f.first[c] + j);
  sq_cu_close(k);
}
static void solve(newton *x) {
  sq_cu *k = x->k;
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    for (uint32_t j = 0; sq_cu_newton_solves(x, c) && j < sq_cu_newton_elements(x, c); j++)
      sq_cu_line(k, "%s g%u = SQ_SLD(carry%u, %u);", x->type, x->f.first[c] + j, c, j);
  sq_cu_newton_to_edge(x);
  sq_cu_newton_before(x);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_line(k, "%s before = 0;", x->type);
  iterate(x);
  sq_cu_open(k, "if (good) {");
  sq_cu_newton_store(x);
  sq_cu_close(k);
}
void sq_cu_newton_turn_by_turn(newton *x) {
  sq_cu *k = x->k;
  x->w.rolled = true;
  sq_cu_open(k, "if (SQ_TID == 0) {");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) sq_cu_newton_from_carry(x, c);
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 i = i0; i <= i0 + last; i++) {");
  sq_cu_line(k, "const sq_i64 turn = %s;", sq_cu_sweep_turn_of(&x->w, "i"));
  sq_cu_sweep_turn(&x->w);
  sq_cu_close(k);
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) to_carry(x, c);
  sq_cu_close(k);
  x->w.rolled = false;
}
static void stretches(newton *x) {
  sq_cu *k = x->k;
  const char *n = sq_cu_dim(k, x->s->extent);
  sq_cu_line(k, "sq_u64 stretches = 0, iterations = 0, redone = 0;");
  sq_cu_line(k, "%s largest = 0;", x->type);
  sq_cu_line(k, "int wait = 0, failed = 0;");
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 i0 = 0; i0 < %s; i0 += %d) {", n, THREADS);
  sq_cu_line(k, "const sq_i64 last = i0 + %d < %s ? %d : %s - 1 - i0;", THREADS, n, THREADS - 1, n);
  sq_cu_line(k, "const bool live = SQ_TID <= last;");
  sq_cu_line(k, "bool good = false;");
  sq_cu_line(k, "stretches++;");
  sq_cu_open(k, "if (wait > 0) {");
  sq_cu_line(k, "wait--;");
  sq_cu_close(k);
  sq_cu_open(k, "else {");
  sq_cu_line(k, "const sq_i64 i = i0 + (live ? SQ_TID : last);");
  sq_cu_line(k, "const sq_i64 turn = %s;", sq_cu_sweep_turn_of(&x->w, "i"));
  solve(x);
  sq_cu_line(k, "wait = failed = good ? 0 : failed < %d ? 2 * failed + 1 : %d;",
             SQ_NEWTON_PAUSE / 2, SQ_NEWTON_PAUSE);
  sq_cu_close(k);
  sq_cu_open(k, "if (!good) {");
  sq_cu_line(k, "redone++;");
  sq_cu_newton_turn_by_turn(x);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
}

// ---- the kernel --------------------------------------------------------------------------------
static LLVMValueRef units(newton *x) {
  sq_axis axis[SQ_MAX_RANK + 1];
  sq_generic all = {.axis = axis};
  uint32_t n = 0;
  for (uint32_t c = 0; c < x->s->n_class; c++)
    if (x->s->lane[c]) axis[n++].extent = x->s->size[c];
  return sq_cu_units(x->k, &all, n);
}
static void open_unit(newton *x, const char *n) {
  sq_cu *k = x->k;
  sq_cu_open(k, "for (sq_i64 u0 = SQ_BLOCK; u0 < %s; u0 += SQ_GRID) {", n);
  sq_cu_line(k, "const int lane = (int)SQ_TID %% 32, warp = (int)SQ_TID / 32;");
  sq_cu_line(k, "sq_i64 u = u0;");
  for (uint32_t c = x->s->n_class; c-- > 0;) {
    if (!x->s->lane[c]) continue;
    const char *size = sq_cu_dim(k, x->s->size[c]);
    sq_cu_line(k, "const sq_i64 l%u = u %% %s;", c, size);
    sq_cu_line(k, "u /= %s;", size);
  }
}
LLVMValueRef sq_cu_newton_open(newton *x, sq_cg *cg, sq_node *n, sq_cu *k, const char *name) {
  sq_arena *a = cg->scratch;
  x->k = x->w.k = k;
  x->w.s = x->s;
  x->w.team = (sq_sweep_team){.split = SQ_SWEEP_NONE, .threads = 1};
  x->w.value = SQ_ARRAY(a, sq_cu_place, x->s->n_value + 1);
  x->slope = SQ_ARRAY(a, const char **, x->s->n_value + 1);
  x->kept = SQ_ARRAY(a, const char *, x->f.n_kept + 1);
  x->n = x->f.n;
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    if (sq_cu_newton_solves(x, c)) x->type = sq_cu_type(x->s->value[c].part.dtype);
  sq_cu_begin(k, cg, name, n->n_out ? n->out[0] : NULL, THREADS);
  k->syncs = true;
  for (uint32_t i = 0; i < x->s->n_value; i++) x->w.value[i] = sq_cu_sweep_array(&x->w, i, "w");
  LLVMValueRef lanes = units(x);
  share(x);
  open_unit(x, sq_cu_number(x->k, lanes));
  begin_states(x);
  return lanes;
}
void sq_cu_newton_close(newton *x, LLVMValueRef units) {
  end_states(x);
  sq_cu_close(x->k);
  sq_cu_launch(x->k, units, 1, 0);
}
bool sq_cuda_sweep_newton(sq_cg *cg, sq_node *n) {
  sq_cu kern;
  newton all = {.s = sq_sweep_make(cg->graph, n)}, *x = &all;
  if (!x->s->newton) return false;
  x->f = sq_newton_make(x->s);
  SQ_ASSERT(!x->f.why, "not by Newton's method: %s", x->f.why);
  LLVMValueRef lanes = sq_cu_newton_open(x, cg, n, &kern, "newton");
  stretches(x);
  sq_cu_newton_close(x, lanes);
  return true;
}
