// Scans in blocks of turns on tensor cores: keys, factors and vectors of 16 bits in memory, states and sums
// of f32.
//
//   a block of 4 warps for each index of the lanes, 64 columns and stretch of turns
//     states in registers, 16 columns a warp
//     for each block of C turns
//       decays, vectors; keys and factors, asked for while the block before ended   (sweep_cores_fill.c)
//       where none of it, and no state, is large:
//         scores = factors keys, times decays | sums = factors states + scores vectors
//         states = decay states + vectors keys                                      (sweep_cores_product.c)
//         keys and factors of the next block are asked for | what follows the sums, stores
//       otherwise: turn by turn, a thread a column
//
// The products are those of sweep_blocks_product.c. What comes from memory in bf16 is multiplied as it is;
// other numbers (f16, states, scores, vectors times decays) are the sum of two of bf16, or of three where
// what leaves the scan is wider than 16 bits: 16 or 24 bits of each, so that nothing is rounded more than
// f32 or the result are. Sums are f32.
#include "codegen/cuda/sweep_cores.h"
#include "codegen/cpu/driver.h"

// ---- shared memory -----------------------------------------------------------------------------
static void share(sq_cu_blocks *b, const char *type, const char *name, uint32_t i, uint32_t n) {
  sq_cu_line(b->k, "SQ_SHARED(%s, %s%u, %u);", type, name, i, n);
}
static void share_all(sq_cu_blocks *b) {
  const sq_cu_cores *c = b->cores;
  uint32_t n = b->p.length, wide = n * b->wide;
  for (uint32_t i = 0; i < b->n_state; i++) {
    bool columns = b->c.state[i].has_columns;
    if (!columns) share(b, "float", "state", i, c->p.depth);
    if (!columns) share(b, "float", "later", i, c->p.depth);
    share(b, "float", "vector", i, columns ? wide : n);
    share(b, "float", "decay", i, n);
    share(b, "float", "range", i, (n + 1) * n);
    share(b, "float", "begin", i, n + 1);
  }
  for (uint32_t i = 0; i < c->p.n_tile; i++)
    for (uint32_t p = 0; sq_cu_cores_uses(b, i) && p < (c->p.tile[i].exact ? 1 : c->p.parts); p++)
      share(b, "sq_u32", sq_arena_fmt(b->k->a, "tile%u_", p), i, n * c->p.pitch);
  for (uint32_t q = 0; c->sums && q < b->n_pair; q++) share(b, "float", "score", q, n * b->pitch);
  for (uint32_t r = 0; c->sums && r < b->c.n_read; r++)
    share(b, "float", "sum", r, sq_cu_read_wide(b, r) ? wide : n);
  sq_cu_line(b->k, "SQ_SHARED(float, odd, %d);", SQ_TILES_THREADS / 32);
}

void sq_cu_cores_plan(sq_cu_blocks *b) {
  const sq_node *n = b->node;
  sq_sweep_cores p = sq_sweep_cores_make(b->s, &b->c, b->n_state, n->out, n->n_out);
  if (p.why) return;
  b->cores = SQ_NEW(b->k->a, sq_cu_cores);
  *b->cores = (sq_cu_cores){.p = p, .sums = true};
  b->p.columns = SQ_CORES_COLUMNS;
  b->p.depth = p.depth;
  b->p.pieces = 1;
  b->p.length = p.length;
  b->wide = SQ_CORES_COLUMNS + SQ_CORES_SKEW;
  b->pitch = p.length + SQ_TILES_SKEW;
}

// ---- a block of turns --------------------------------------------------------------------------
void sq_cu_cores_watch_states(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  sq_cu_line(k, "float top = 0;");
  for (uint32_t i = 0; i < b->n_state; i++) {
    if (b->c.state[i].has_columns) {
      sq_cu_line(k, "#pragma unroll");
      sq_cu_line(k, "for (int m = 0; m < %u; m++) top = sq_top(top, sq_abs(s%u[m]));",
                 b->cores->p.depth / 2, i);
    } else {
      sq_cu_line(k, "if (SQ_TID < %u) top = sq_top(top, sq_abs(SQ_SLD(state%u, SQ_TID)));",
                 b->cores->p.depth, i);
    }
  }
  sq_cu_line(k, "if (!(top < %s)) bad = SQ_NANF;", SQ_CU_CORES_STATE);
}
static void watch_solved(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  for (uint32_t i = 0; i < b->n_state; i++) {
    if (!b->c.add[i].solved) continue;
    sq_cu_blocks_open(b, "t", b->p.length, "j", b->p.columns);
    sq_cu_cores_watch(b, sq_arena_fmt(k->a, "SQ_SLD(vector%u, t * %u + j)", i, b->wide));
    sq_cu_close(k);
  }
}
static void ask_next(sq_cu_blocks *b, const char *end) {
  sq_cu_open(b->k, "if (i0 + %u < %s) {", b->p.length, end);
  sq_cu_cores_ask(b, sq_arena_fmt(b->k->a, "i0 + %u", b->p.length));
  sq_cu_close(b->k);
}
// What the block brings is in shared memory, and `bad` says whether it is large.
static void arrive(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  sq_cu_line(k, "float bad = 0;");
  sq_cu_blocks_decays(b);
  sq_cu_blocks_vectors(b);
  sq_cu_cores_tiles(b);
  for (uint32_t i = 0; i < b->n_state; i++) sq_cu_line(k, "bad += large%u;", i);
  sq_cu_cores_watch_states(b);
  sq_cu_blocks_agree(b);
}
static void states_alone(sq_cu_blocks *b, const char *end) {
  sq_cu *k = b->k;
  sq_cu_open(k, "if (bad != bad) {");
  for (uint32_t i = 0; i < b->n_state; i++) sq_cu_line(k, "total%u = SQ_NANF;", i);
  sq_cu_line(k, "break;");
  sq_cu_close(k);
  sq_cu_cores_states(b);
  for (uint32_t i = 0; i < b->n_state; i++)
    sq_cu_line(k, "total%u *= SQ_SLD(begin%u, %u);", i, i, b->p.length);
  sq_cu_line(k, "SQ_SYNC();");
  ask_next(b, end);
  sq_cu_blocks_keep(b);
}
void sq_cu_cores_block(sq_cu_blocks *b, const char *end) {
  sq_cu *k = b->k;
  arrive(b);
  if (!b->cores->sums) {
    states_alone(b, end);
    return;
  }
  sq_cu_open(k, "if (bad == bad) {");
  sq_cu_cores_scores(b);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_cores_sums(b, true);
  if (b->c.n_solved) {
    sq_cu_blocks_solve(b);
    watch_solved(b);
    sq_cu_blocks_agree(b);
  }
  sq_cu_close(k);
  sq_cu_open(k, "if (bad == bad) {");
  sq_cu_cores_sums(b, false);
  sq_cu_cores_states(b);
  sq_cu_line(k, "SQ_SYNC();");
  ask_next(b, end);
  sq_cu_blocks_keep(b);
  sq_cu_blocks_after(b);
  sq_cu_close(k);
  sq_cu_open(k, "else {");
  ask_next(b, end);
  sq_cu_blocks_turns(b);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
}

// ---- the kernels -------------------------------------------------------------------------------
void sq_cu_cores_open(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  k->blocks = SQ_CU_CORES_TOGETHER;
  share_all(b);
  sq_cu_line(k, "const int g = (int)(SQ_TID %% 32) / 4, q = (int)(SQ_TID %% 4);");
  sq_cu_line(k, "const int warp = (int)(SQ_TID / 32), wj = warp * 16;");
  for (uint32_t i = 0; i < b->n_state; i++) sq_cu_line(k, "float large%u = 0;", i);
}
void sq_cu_cores_emit(sq_cu_blocks *b, sq_cg *cg) {
  sq_cu *k = b->k;
  sq_cu entry = *k;
  entry.cg = cg;
  b->k = &entry; // for what is computed in the entry
  LLVMValueRef units = sq_cu_blocks_units(b), each, cuts = sq_cu_cores_cuts(b, units, &each);
  b->k = k;
  if (cuts) sq_cu_cores_stretches(b, cg, units, cuts, each);
  sq_cu_blocks_nests(b, cg, "blocks");
  b->cut = cuts != NULL;
  sq_cu_cores_open(b);
  if (cuts) {
    b->cores->n_cuts = sq_cu_number(k, cuts);
    b->cores->each = sq_cu_number(k, each);
    sq_cu_cores_scratch(b);
    units = sq_cu_mul(k, units, cuts);
  }
  sq_cu_open(k, "for (sq_i64 u0 = SQ_BLOCK; u0 < %s; u0 += SQ_GRID) {", sq_cu_number(k, units));
  sq_cu_line(k, "sq_i64 u = u0;");
  const char *n = sq_cu_dim(k, b->s->extent);
  if (cuts) {
    sq_cu_line(k, "const sq_i64 part = u %% %s, first = part * %s;", b->cores->n_cuts,
               b->cores->each);
    sq_cu_line(k, "u /= %s;", b->cores->n_cuts);
    sq_cu_line(k, "const sq_i64 end = first + %s < %s ? first + %s : %s;", b->cores->each, n,
               b->cores->each, n);
  } else {
    sq_cu_line(k, "const sq_i64 end = %s;", n);
  }
  sq_cu_blocks_lanes(b);
  sq_cu_line(k, "sq_i64 from = 0;");
  sq_cu_cores_join(b);
  sq_cu_line(k, "SQ_SYNC();"); // where it ends may be where it begins
  sq_cu_open(k, "if (from < end) {");
  sq_cu_cores_ask(b, "from");
  sq_cu_close(k);
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 i0 = from; i0 < end; i0 += %u) {", b->p.length);
  sq_cu_cores_block(b, "end");
  sq_cu_close(k);
  if (cuts) sq_cu_open(k, "if (part == %s - 1) {", b->cores->n_cuts);
  sq_cu_cores_end(b);
  if (cuts) sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();"); // before the next unit begins
  sq_cu_close(k);
  sq_cu_launch(k, units, 1, 0);
}
