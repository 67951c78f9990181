// Scans by the maps of turns (sweep_prefix.c) in several chunks of the turns, for blocks of threads that there are
// no lanes for.
//
// Where no map depends on another state, long scans have several chunks: a kernel before makes the map of
// each chunk, and a block begins with those of the chunks before its own, put together in their order, some by
// each thread. Where these are not finite, they are applied one after another; where that is not finite either,
// it begins with the last chunk before which it was, and stores its own turns.
//
// How many chunks there are, and what is put together with what, depends on sizes alone.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/sweep_prefix.h"
#include "ir/sweep_sections.h"

enum { THREADS = SQ_PREFIX_THREADS };
enum { CHUNK = 4 * THREADS }; // turns, at least

typedef sq_cu_maps maps;

// ---- how many ----------------------------------------------------------------------------------
// Are there maps of chunks, of two parts? Marks the members that they are made of.
bool sq_cu_maps_find_chunks(sq_cu_maps *x, bool *member) {
  bool ranges = false;
  x->n = 0;
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    x->at[c] = x->n;
    x->n += sq_cu_maps_count(x, c);
  }
  for (uint32_t i = 0; i < x->s->n_member; i++) ranges |= sq_cu_maps_is_range(x, i);
  return !ranges && x->n <= SQ_PREFIX_SOLVED && !sq_prefix_tied(x->s, &x->f, member);
}

static LLVMValueRef pick(sq_cg *cg, LLVMIntPredicate p, LLVMValueRef a, LLVMValueRef b) {
  LLVMBuilderRef l = cg->builder;
  return LLVMBuildSelect(l, LLVMBuildICmp(l, p, a, b, ""), a, b, "");
}
// As many chunks as fill the device, and are long.
void sq_cu_maps_cut(sq_cu_maps *x, sq_cg *cg) {
  LLVMBuilderRef l = cg->builder;
  LLVMValueRef one = sq_cg_i64(cg, 1), n = sq_cg_dim(cg, x->s->extent);
  LLVMValueRef long_ones = LLVMBuildSDiv(l, n, sq_cg_i64(cg, CHUNK), "");
  LLVMValueRef lanes = pick(cg, LLVMIntSGT, x->lanes, one);
  LLVMValueRef most = LLVMBuildSDiv(l, sq_cg_i64(cg, SQ_CU_MAPS_BLOCKS), lanes, "");
  x->chunks = pick(cg, LLVMIntSGT, pick(cg, LLVMIntSLT, long_ones, most), one);
  LLVMValueRef all =
      LLVMBuildSDiv(l, LLVMBuildAdd(l, n, LLVMBuildSub(l, x->chunks, one, ""), ""), x->chunks, "");
  all = LLVMBuildAdd(l, all, sq_cg_i64(cg, THREADS - 1), "");
  all = LLVMBuildAnd(l, all, sq_cg_i64(cg, -(int64_t)THREADS), "");
  x->per = pick(cg, LLVMIntSGT, all, sq_cg_i64(cg, THREADS));
  all = LLVMBuildAdd(l, n, LLVMBuildSub(l, x->per, one, ""), ""); // none is empty
  x->chunks = pick(cg, LLVMIntSGT, LLVMBuildSDiv(l, all, x->per, ""), one);
}

// ---- in memory ---------------------------------------------------------------------------------
// By and other of each chunk of each lane; behind all of them the states of each lane.
static const char *map_place(maps *x, const char *chunk, uint32_t c, int other) {
  return sq_arena_fmt(x->k->a, "%s, ((lane * %s + %s) * %u + %u + j) * 2 + %d", x->part, x->count,
                      chunk, x->n, x->at[c], other);
}
static const char *state_place(maps *x, uint32_t c) {
  return sq_arena_fmt(x->k->a, "%s, %u + lane * %u + %u + j", x->part, 2 * SQ_CU_MAPS_BLOCKS * x->n,
                      x->n, x->at[c]);
}
static const char *chunk_map(maps *x, const char *chunk, uint32_t c) {
  return sq_arena_fmt(x->k->a, "{(%s)SQ_LD(%s), (%s)SQ_LD(%s)}", sq_cu_maps_type(x, c),
                      map_place(x, chunk, c, 0), sq_cu_maps_type(x, c), map_place(x, chunk, c, 1));
}

// ---- the kernel before -------------------------------------------------------------------------
void sq_cu_maps_of_chunk(sq_cu_maps *x, const bool *member) {
  sq_cu *k = x->k;
  uint32_t n = x->s->scan->n_carried;
  sq_cu_maps_open_stretches(x, "lo");
  sq_cu_line(k, "(void)live;");
  for (uint32_t i = 0; i < x->s->n_member; i++) {
    if (!member[i]) continue;
    sq_cu_maps_declare(x, x->s->member[i].value);
    sq_cu_sweep_emit(&x->w, &x->s->member[i], &x->w.value[x->s->member[i].value]);
  }
  for (uint32_t c = 0; c < n; c++) {
    uint32_t i = x->s->next[c] - n, v = x->s->member[i].value;
    const char *t = sq_cu_maps_type(x, c);
    sq_cu_maps_parts(x, i);
    sq_cu_maps_open(x, c);
    sq_cu_line(k, "%s m = {by%u[j], other%u[j]};", sq_cu_maps_name(x, c), v, v);
    sq_cu_line(k, "m = sq_block_maps(SQ_ME m, by_%s, other_%s);", t, t);
    sq_cu_open(k, "if (SQ_TID == last) {");
    sq_cu_line(k, "if (i0 > lo) m = m.then(SQ_SLD(carry%u, j), SQ_SLD(edge%u, j));", c, c);
    sq_cu_line(k, "SQ_SST(carry%u, j, m.by);", c);
    sq_cu_line(k, "SQ_SST(edge%u, j, m.other);", c);
    sq_cu_close(k);
    sq_cu_close(k);
  }
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_open(k, "if (SQ_TID == 0 && lo < hi) {");
  for (uint32_t c = 0; c < n; c++) {
    sq_cu_maps_open(x, c);
    sq_cu_line(k, "SQ_ST(%s, (double)SQ_SLD(carry%u, j));", map_place(x, "chunk", c, 0), c);
    sq_cu_line(k, "SQ_ST(%s, (double)SQ_SLD(edge%u, j));", map_place(x, "chunk", c, 1), c);
    sq_cu_close(k);
  }
  sq_cu_close(k);
}
void sq_cu_maps_first_states(sq_cu_maps *x) {
  sq_cu *k = x->k;
  sq_cu_open(k, "if (SQ_TID == 0 && chunk == 0) {");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    sq_cu_maps_declare(x, c);
    sq_cu_sweep_emit(&x->w, &x->s->load[c], &x->w.value[c]);
    sq_cu_maps_open(x, c);
    sq_cu_line(k, "SQ_ST(%s, (double)%s[j]);", state_place(x, c), sq_cu_maps_array(x, c));
    sq_cu_close(k);
  }
  sq_cu_close(k);
}

// ---- where a block begins ----------------------------------------------------------------------
// The states before the chunk, by all threads: each puts some maps together, the last one applies them all.
// `begins` is the chunk, or -1 where they are not finite.
static void begin_together(maps *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "const sq_i64 each = (chunk + %d) / %d, first = SQ_TID * each;", THREADS - 1,
             THREADS);
  sq_cu_line(k, "const sq_i64 end = first + each < chunk ? first + each : chunk;");
  sq_cu_line(k, "float bad = 0;");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    const char *map = sq_cu_maps_name(x, c);
    bool sum = strncmp(map, "sq_map_sum", 10) == 0;
    sq_cu_maps_open(x, c);
    sq_cu_line(k, "%s all = {%d, %s%s};", map, sum, sum ? "0" : map, sum ? "" : "::none()");
    sq_cu_line(k, "#pragma unroll 4");
    sq_cu_open(k, "for (sq_i64 m = first; m < end; m++) {");
    sq_cu_line(k, "const %s next = %s;", map, chunk_map(x, "m", c));
    sq_cu_line(k, "all = next.then(all.by, all.other);");
    sq_cu_close(k);
    sq_cu_line(k, "all = sq_block_maps(SQ_ME all, by_%s, other_%s);", sq_cu_maps_type(x, c),
               sq_cu_maps_type(x, c));
    sq_cu_open(k, "if (SQ_TID == %d) {", THREADS - 1);
    sq_cu_line(k, "const %s h = all.apply((%s)SQ_LD(%s));", sq_cu_maps_type(x, c),
               sq_cu_maps_type(x, c), state_place(x, c));
    sq_cu_line(k, "SQ_SST(carry%u, j, h);", c);
    if (!sq_cu_maps_is_compared(x, c)) sq_cu_line(k, "bad += (float)(h * 0);");
    sq_cu_close(k);
    sq_cu_close(k);
  }
  sq_cu_line(k, "if (SQ_TID == %d) SQ_SST(begins, 0, bad == bad ? chunk : -1);", THREADS - 1);
  sq_cu_line(k, "SQ_SYNC();");
}
// The states before the chunk, or before the last one before it where they are finite: `begins`.
void sq_cu_maps_begin_chunk(sq_cu_maps *x) {
  sq_cu *k = x->k;
  uint32_t n = x->s->scan->n_carried;
  begin_together(x);
  sq_cu_line(k, "const bool apart = SQ_SLD(begins, 0) < 0;");
  sq_cu_line(k, "SQ_SYNC();"); // all have looked
  sq_cu_open(k, "if (apart && SQ_TID == 0) {");
  sq_cu_line(k, "sq_i64 from = 0;");
  for (uint32_t c = 0; c < n; c++) {
    sq_cu_maps_declare(x, c);
    sq_cu_maps_open(x, c);
    sq_cu_line(k, "SQ_SST(carry%u, j, %s[j] = (%s)SQ_LD(%s));", c, sq_cu_maps_array(x, c),
               sq_cu_maps_type(x, c), state_place(x, c));
    sq_cu_close(k);
  }
  sq_cu_line(k, "#pragma unroll 8");
  sq_cu_open(k, "for (sq_i64 m = 0; m < chunk; m++) {");
  sq_cu_line(k, "float bad = 0;");
  for (uint32_t c = 0; c < n; c++) {
    sq_cu_maps_open(x, c);
    sq_cu_line(k, "const %s all = %s;", sq_cu_maps_name(x, c), chunk_map(x, "m", c));
    sq_cu_line(k, "%s[j] = all.apply(%s[j]);", sq_cu_maps_array(x, c), sq_cu_maps_array(x, c));
    if (!sq_cu_maps_is_compared(x, c))
      sq_cu_line(k, "bad += (float)(%s[j] * 0);", sq_cu_maps_array(x, c));
    sq_cu_close(k);
  }
  sq_cu_open(k, "if (bad == bad) {");
  sq_cu_line(k, "from = m + 1;");
  for (uint32_t c = 0; c < n; c++) sq_cu_maps_to_carry(x, c, sq_cu_maps_array(x, c));
  sq_cu_close(k);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SST(begins, 0, from);");
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
}
