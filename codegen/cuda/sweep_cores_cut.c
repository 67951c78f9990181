// Scans in blocks on tensor cores, cut in time where lanes are few for the device: stretches of whole blocks
// of turns go side by side.
//
//   kernel 1, a block of threads for each lane and stretch but the last: what becomes of a state of 0 in it,
//             and the product of its decays; number 0 hands on what the scan begins with
//   kernel 2, a block of threads for each lane and stretch: the states before the stretch, from those of the
//             stretches before, in order; then its blocks of turns
//
// A stretch with large numbers has NaN for the product of its decays. The stretches behind begin there, at
// the last whose states are known, and store their own turns alone.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/sweep_cores.h"

// ---- in the entry ------------------------------------------------------------------------------
static LLVMValueRef lesser(sq_cu_blocks *b, LLVMValueRef x, LLVMValueRef y) {
  LLVMBuilderRef l = b->k->cg->builder;
  return LLVMBuildSelect(l, LLVMBuildICmp(l, LLVMIntSLT, x, y, ""), x, y, "");
}
static LLVMValueRef at_least_1(sq_cu_blocks *b, LLVMValueRef x) {
  LLVMBuilderRef l = b->k->cg->builder;
  LLVMValueRef one = sq_cg_i64(b->k->cg, 1);
  return LLVMBuildSelect(l, LLVMBuildICmp(l, LLVMIntSLT, x, one, ""), one, x, "");
}
static LLVMValueRef div_up(sq_cu_blocks *b, LLVMValueRef x, LLVMValueRef by) {
  LLVMBuilderRef l = b->k->cg->builder;
  LLVMValueRef less = LLVMBuildSub(l, by, sq_cg_i64(b->k->cg, 1), "");
  return LLVMBuildSDiv(l, LLVMBuildAdd(l, x, less, ""), by, "");
}
// NULL: one stretch.
LLVMValueRef sq_cu_cores_cuts(sq_cu_blocks *b, LLVMValueRef units, LLVMValueRef *each) {
  sq_cg *cg = b->k->cg;
  if (b->c.n_solved) return NULL; // what a stretch does to its state is no product
  LLVMValueRef blocks = div_up(b, sq_cg_dim(cg, b->s->extent), sq_cg_i64(cg, (int64_t)b->p.length));
  LLVMValueRef n =
      LLVMBuildSDiv(cg->builder, sq_cg_i64(cg, SQ_CU_CORES_UNITS), at_least_1(b, units), "");
  n = at_least_1(b, lesser(b, n, div_up(b, blocks, sq_cg_i64(cg, SQ_CU_CORES_LEAST))));
  *each = LLVMBuildMul(cg->builder, at_least_1(b, div_up(b, blocks, n)),
                       sq_cg_i64(cg, (int64_t)b->p.length), "");
  return LLVMIsAConstantInt(n) && LLVMConstIntGetSExtValue(n) == 1 ? NULL : n;
}

// ---- memory: of each lane and stretch decays, then states ---------------------------------------
static uint32_t stride(const sq_cu_blocks *b) {
  uint32_t n = b->n_state;
  for (uint32_t i = 0; i < b->n_state; i++)
    n += b->c.state[i].has_columns ? b->cores->p.depth / 2 * SQ_TILES_THREADS : b->cores->p.depth;
  return n;
}
int64_t sq_cu_cores_bytes(const sq_cu_blocks *b) {
  return b->c.n_solved ? 0 : (int64_t)SQ_CU_CORES_UNITS * stride(b) * 4;
}
void sq_cu_cores_scratch(sq_cu_blocks *b) {
  sq_cg *cg = b->k->cg;
  b->cores->scratch =
      sq_cu_memory(b->k, sq_cg_shared(cg), sq_cg_i64(cg, sq_cu_cores_bytes(b)), "float");
}
static uint32_t place_of(const sq_cu_blocks *b, uint32_t state) {
  uint32_t at = b->n_state;
  for (uint32_t i = 0; i < state; i++)
    at += b->c.state[i].has_columns ? b->cores->p.depth / 2 * SQ_TILES_THREADS : b->cores->p.depth;
  return at;
}
static void declare(sq_cu_blocks *b) {
  for (uint32_t i = 0; i < b->n_state; i++)
    if (b->c.state[i].has_columns) sq_cu_line(b->k, "float s%u[%u];", i, b->cores->p.depth / 2);
}
static void leave(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  const char *to = b->cores->scratch;
  sq_cu_line(k, "const sq_i64 to = u0 * %u;", stride(b));
  for (uint32_t i = 0; i < b->n_state; i++) {
    sq_cu_line(k, "if (!(sq_abs(total%u) <= %s)) total%u = SQ_NANF;", i, SQ_CU_CORES_DECAY, i);
    sq_cu_line(k, "if (SQ_TID == 0) SQ_ST(%s, to + %u, total%u);", to, i, i);
    if (b->c.state[i].has_columns) {
      sq_cu_line(k, "#pragma unroll");
      sq_cu_line(k, "for (int m = 0; m < %u; m++) SQ_ST(%s, to + %u + m * %d + SQ_TID, s%u[m]);",
                 b->cores->p.depth / 2, to, place_of(b, i), SQ_TILES_THREADS, i);
    } else {
      sq_cu_line(k, "if (SQ_TID < %u) SQ_ST(%s, to + %u + SQ_TID, SQ_SLD(state%u, SQ_TID));",
                 b->cores->p.depth, to, place_of(b, i), i);
    }
  }
}
// States from those that are known: the first ones, or, decayed, with a stretch's.
static void fetch(sq_cu_blocks *b, bool first) {
  sq_cu *k = b->k;
  const char *from = b->cores->scratch;
  for (uint32_t i = 0; i < b->n_state; i++) {
    bool wide = b->c.state[i].has_columns;
    const char *e = wide ? sq_arena_fmt(k->a, "m * %d + SQ_TID", SQ_TILES_THREADS) : "SQ_TID";
    const char *is =
        wide ? sq_arena_fmt(k->a, "s%u[m]", i) : sq_arena_fmt(k->a, "SQ_SLD(state%u, SQ_TID)", i);
    const char *read = sq_arena_fmt(k->a, "SQ_LD(%s, at + %u + %s)", from, place_of(b, i), e);
    const char *v = first ? read : sq_arena_fmt(k->a, "sq_c_fma(total%u, %s, %s)", i, is, read);
    if (wide) {
      sq_cu_line(k, "#pragma unroll");
      sq_cu_line(k, "for (int m = 0; m < %u; m++) %s = %s;", b->cores->p.depth / 2, is, v);
    } else {
      sq_cu_line(k, "if (SQ_TID < %u) SQ_SST(state%u, SQ_TID, %s);", b->cores->p.depth, i, v);
    }
  }
}

// ---- kernel 1 ----------------------------------------------------------------------------------
static void zeros(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  for (uint32_t i = 0; i < b->n_state; i++) {
    if (b->c.state[i].has_columns) {
      sq_cu_line(k, "#pragma unroll");
      sq_cu_line(k, "for (int m = 0; m < %u; m++) s%u[m] = 0;", b->cores->p.depth / 2, i);
    } else {
      sq_cu_line(k, "if (SQ_TID < %u) SQ_SST(state%u, SQ_TID, 0);", b->cores->p.depth, i);
    }
  }
}
void sq_cu_cores_stretches(sq_cu_blocks *b, sq_cg *cg, LLVMValueRef units, LLVMValueRef cuts,
                           LLVMValueRef each) {
  sq_cu *was = b->k, kern = {.a = was->a}, *k = &kern;
  LLVMBuilderRef l = cg->builder;
  b->k = k;
  b->cores->sums = false;
  sq_cu_blocks_nests(b, cg, "stretches");
  sq_cu_cores_open(b);
  const char *n_cuts = sq_cu_number(k, cuts), *turns = sq_cu_number(k, each);
  sq_cu_cores_scratch(b);
  LLVMValueRef one = LLVMBuildICmp(l, LLVMIntSLE, cuts, sq_cg_i64(cg, 1), "");
  LLVMValueRef all = LLVMBuildSelect(l, one, sq_cg_i64(cg, 0), sq_cu_mul(k, units, cuts), "");
  sq_cu_open(k, "for (sq_i64 u0 = SQ_BLOCK; u0 < %s; u0 += SQ_GRID) {", sq_cu_number(k, all));
  sq_cu_line(k, "sq_i64 u = u0;");
  sq_cu_line(k, "const sq_i64 part = u %% %s, from = (part - 1) * %s, limit = from + %s;", n_cuts,
             turns, turns);
  sq_cu_line(k, "u /= %s;", n_cuts);
  const char *n = sq_cu_dim(k, b->s->extent);
  sq_cu_line(k, "const sq_i64 end = part == 0 ? from : limit < %s ? limit : %s;", n, n);
  sq_cu_blocks_lanes(b);
  declare(b);
  for (uint32_t i = 0; i < b->n_state; i++) sq_cu_line(k, "float total%u = 1;", i);
  sq_cu_open(k, "if (part == 0) {");
  sq_cu_cores_begin(b);
  sq_cu_close(k);
  sq_cu_open(k, "else {");
  zeros(b);
  sq_cu_close(k);
  sq_cu_open(k, "if (from < end) {");
  sq_cu_cores_ask(b, "from");
  sq_cu_close(k);
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 i0 = from; i0 < end; i0 += %u) {", b->p.length);
  sq_cu_cores_block(b, "end");
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  leave(b);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
  sq_cu_launch(k, all, 1, 0);
  b->cores->sums = true;
  b->k = was;
}

// ---- kernel 2 ----------------------------------------------------------------------------------
void sq_cu_cores_join(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  const sq_cu_cores *c = b->cores;
  declare(b);
  if (!c->n_cuts) {
    sq_cu_cores_begin(b);
    return;
  }
  sq_cu_open(k, "if (%s > 1) {", c->n_cuts);
  sq_cu_open(k, "{");
  sq_cu_line(k, "const sq_i64 at = (u0 - part) * %u;", stride(b));
  fetch(b, true);
  sq_cu_close(k);
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 m0 = 1; m0 <= part; m0++) {");
  sq_cu_line(k, "const sq_i64 at = (u0 - part + m0) * %u;", stride(b));
  sq_cu_line(k, "float bad = 0;");
  for (uint32_t i = 0; i < b->n_state; i++) {
    sq_cu_line(k, "const float total%u = SQ_LD(%s, at + %u);", i, c->scratch, i);
    sq_cu_line(k, "bad += total%u;", i);
  }
  sq_cu_cores_watch_states(b);
  sq_cu_blocks_agree(b);
  sq_cu_line(k, "if (bad != bad) break;");
  fetch(b, false);
  sq_cu_line(k, "from = m0 * %s;", c->each);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
  sq_cu_close(k);
  sq_cu_open(k, "else {");
  sq_cu_cores_begin(b);
  sq_cu_close(k);
}
