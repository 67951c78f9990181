// Scans of states that read each other affinely (ir/sweep_dense.h) as a kernel, for few lanes: a block of threads
// for each index of the lanes, a thread for each turn of a stretch.
//
//   for each stretch of 256 turns
//     A, b        of the thread's turn: slopes, and what members give where the states are 0
//     A, b        of all turns of a warp up to it, by shuffles
//     barrier     maps of the warps are in shared memory
//     h           from the states before the stretch, by the maps of the warps before, then by the thread's own
//     barrier     h, and whether all of it is finite, are in shared memory
//     finite: stores; the states of the last turn are carried on
//     otherwise: turn by turn, by one thread: products over ranges may overflow where the states do not
//
// Nothing of it depends on how many blocks run at once.
#include "ir/sweep_dense.h"
#include "codegen/cuda/sweep_newton.h"

enum { THREADS = SQ_NEWTON_THREADS, WARPS = THREADS / 32 };

typedef sq_cu_newton dense;

// The states of the thread's turn, g<j>.
static void solve(dense *x) {
  sq_cu *k = x->k;
  for (uint32_t j = 0; j < x->n; j++) sq_cu_line(k, "%s g%u;", x->type, j);
  sq_cu_open(k, "{");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    if (!sq_cu_newton_solves(x, c)) {
      sq_cu_newton_from_carry(x, c);
      continue;
    }
    sq_cu_newton_declare(x, c);
    for (uint32_t j = 0; j < sq_cu_newton_elements(x, c); j++)
      sq_cu_line(k, "%s[%u] = 0;", x->w.value[c].base, j);
  }
  sq_cu_newton_before(x);
  sq_cu_newton_members(x);
  sq_cu_affine m = sq_cu_affine_declare(x);
  sq_cu_affine_warp(x, &m);
  sq_cu_affine_share(x, &m);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_affine_solve(x, &m);
  for (uint32_t j = 0; j < x->n; j++) sq_cu_line(k, "g%u = d%u;", j, j);
  sq_cu_close(k);
}
// Are the states of all turns finite?
static void judge(dense *x) {
  sq_cu *k = x->k;
  sq_text bad = {.arena = k->a};
  for (uint32_t j = 0; j < x->n; j++) sq_text_add(&bad, "%sg%u * 0", j ? " + " : "", j);
  sq_cu_line(k, "%s bad = live ? %s : 0;", x->type, bad.v);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int m = 1; m < 32; m *= 2) bad += sq_shuffle_xor(SQ_ME bad, m);");
  sq_cu_line(k, "if (lane == 0) SQ_SST(sizes, warp, bad);");
  sq_cu_newton_to_edge(x);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_line(k, "bad = 0;");
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int p = 0; p < %d; p++) bad += SQ_SLD(sizes, p);", WARPS);
}
static void stretches(dense *x) {
  sq_cu *k = x->k;
  const char *n = sq_cu_dim(k, x->s->extent);
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 i0 = 0; i0 < %s; i0 += %d) {", n, THREADS);
  sq_cu_line(k, "const sq_i64 last = i0 + %d < %s ? %d : %s - 1 - i0;", THREADS, n, THREADS - 1, n);
  sq_cu_line(k, "const bool live = SQ_TID <= last;");
  sq_cu_line(k, "const sq_i64 i = i0 + (live ? SQ_TID : last);");
  sq_cu_line(k, "const sq_i64 turn = %s;", sq_cu_sweep_turn_of(&x->w, "i"));
  solve(x);
  judge(x);
  sq_cu_open(k, "if (bad == bad) {");
  sq_cu_newton_store(x);
  sq_cu_close(k);
  sq_cu_open(k, "else {");
  sq_cu_newton_turn_by_turn(x);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
}

bool sq_cuda_sweep_dense(sq_cg *cg, sq_node *n) {
  sq_cu kern;
  dense all = {.s = sq_sweep_make(cg->graph, n)}, *x = &all;
  if (!x->s->dense) return false;
  sq_dense d = sq_dense_make(x->s);
  SQ_ASSERT(!d.why, "no maps of all states: %s", d.why);
  x->f = d.f;
  LLVMValueRef lanes = sq_cu_newton_open(x, cg, n, &kern, "dense");
  stretches(x);
  sq_cu_newton_close(x, lanes);
  return true;
}
