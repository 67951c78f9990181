// Scans by the maps of turns (ir/sweep_prefix.h) as kernels, for few lanes: a block of threads for each
// index of the lanes and chunk of the turns, a thread for each turn of a stretch.
//
//   states from where the scan begins, in shared memory
//   for each stretch of 128 turns
//     each member, of the thread's turn; where it makes the next state of a carried one:
//       by, other               of the turn
//       by, other               of all turns of the stretch up to it: 5 steps of shuffles, then by warps
//       h = by * carry + other; what reads the state before a turn has that of the thread before
//     where all of it is finite: stores; the states of the last turn are carried on
//     otherwise: turn by turn, by one thread, from the states as they were
//   ends
//
// Where no map depends on another state, long scans have several chunks (sweep_prefix_chunks.c).
#include "codegen/cuda/sweep_prefix.h"
#include "codegen/cpu/driver.h"

enum { THREADS = SQ_PREFIX_THREADS };

typedef sq_cu_maps maps;

// ---- states between memory and shared memory ---------------------------------------------------
static void share(maps *x) {
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    sq_cu_line(x->k, "SQ_SHARED(%s, carry%u, %u);", sq_cu_maps_type(x, c), c,
               sq_cu_maps_count(x, c));
    sq_cu_line(x->k, "SQ_SHARED(%s, edge%u, %u);", sq_cu_maps_type(x, c), c,
               THREADS * sq_cu_maps_count(x, c));
  }
  for (int wide = 0; wide < 2; wide++) {
    const char *t = wide ? "double" : "float";
    bool any = !wide; // also what is odd
    for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
      any |= strcmp(sq_cu_maps_type(x, c), t) == 0;
    if (!any) continue;
    sq_cu_line(x->k, "SQ_SHARED(%s, by_%s, %d);", t, t, THREADS / 32);
    sq_cu_line(x->k, "SQ_SHARED(%s, other_%s, %d);", t, t, THREADS / 32);
    bool ranges = false;
    for (uint32_t i = 0; i < x->s->n_member; i++) ranges |= sq_cu_maps_is_range(x, i);
    if (ranges) sq_cu_line(x->k, "SQ_SHARED(%s, range_%s, %d);", t, t, 3 * THREADS / 32);
  }
}
static void from_carry(maps *x, uint32_t c) {
  sq_cu_maps_declare(x, c);
  sq_cu_line(x->k, "#pragma unroll");
  sq_cu_line(x->k, "for (int j = 0; j < %u; j++) %s[j] = SQ_SLD(carry%u, j);",
             sq_cu_maps_count(x, c), sq_cu_maps_array(x, c), c);
}
void sq_cu_maps_to_carry(sq_cu_maps *x, uint32_t c, const char *from) {
  sq_cu_line(x->k, "#pragma unroll");
  sq_cu_line(x->k, "for (int j = 0; j < %u; j++) SQ_SST(carry%u, j, %s[j]);",
             sq_cu_maps_count(x, c), c, from);
}
// Nothing is added: whatever comes is right.
bool sq_cu_maps_is_compared(const sq_cu_maps *x, uint32_t c) {
  const sq_prefix_map *p = &x->f.map[x->s->next[c] - x->s->scan->n_carried];
  return (p->how == SQ_PREFIX_MAX || p->how == SQ_PREFIX_MIN) && p->by == SQ_NO_SCALAR;
}
const char *sq_cu_maps_name(sq_cu_maps *x, uint32_t c) {
  static const char *const name[] = {"sum", "sum", "max", "min", "log"};
  const char *how = name[SQ_PREFIX_SUM];
  for (uint32_t i = 0; i < x->s->n_member; i++)
    if (x->f.solves[i] == c) how = sq_cu_maps_is_range(x, i) ? "range" : name[x->f.map[i].how];
  return sq_arena_fmt(x->k->a, "sq_map_%s<%s>", how, sq_cu_maps_type(x, c));
}
static void begin_states(maps *x) {
  sq_cu_open(x->k, "if (SQ_TID == 0) {");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    sq_cu_maps_declare(x, c);
    sq_cu_sweep_emit(&x->w, &x->s->load[c], &x->w.value[c]);
    sq_cu_maps_to_carry(x, c, sq_cu_maps_array(x, c));
  }
  sq_cu_close(x->k);
  sq_cu_line(x->k, "SQ_SYNC();");
}
static void end_states(maps *x) {
  sq_cu_open(x->k, "if (SQ_TID == 0 && hi == %s && (lo < hi || chunk == 0)) {",
             sq_cu_dim(x->k, x->s->extent));
  sq_cu_line(x->k, "const bool live = true;");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) from_carry(x, c);
  for (uint32_t i = 0; i < x->s->n_final; i++) sq_cu_sweep_write(&x->w, &x->s->final[i]);
  sq_cu_close(x->k);
  sq_cu_line(x->k, "SQ_SYNC();"); // before the next unit begins
}

// ---- members -----------------------------------------------------------------------------------
// The carried value before each turn, in its array.
static void before(maps *x, uint32_t c) {
  sq_cu *k = x->k;
  uint32_t next = x->s->next[c];
  if (x->before[c]) return;
  x->before[c] = true;
  if (next == c) {
    from_carry(x, c);
    return;
  }
  if (next < x->s->scan->n_carried) before(x, next);
  sq_cu_maps_declare(x, c);
  sq_cu_maps_open(x, c);
  sq_cu_line(k, "SQ_SST(edge%u, j * %d + SQ_TID, %s[j]);", c, THREADS, sq_cu_maps_array(x, next));
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_maps_open(x, c);
  sq_cu_line(k, "if (SQ_TID) %s[j] = SQ_SLD(edge%u, j * %d + SQ_TID - 1);", sq_cu_maps_array(x, c),
             c, THREADS);
  sq_cu_line(k, "else %s[j] = SQ_SLD(carry%u, j);", sq_cu_maps_array(x, c), c);
  sq_cu_close(k);
}
static void read_before(maps *x, const sq_sweep_nest *n, uint32_t but) {
  for (uint32_t j = 0; j < n->n->n_in; j++)
    if (n->inner[j] < x->s->scan->n_carried && n->inner[j] != but) before(x, n->inner[j]);
}
// A scalar of the map at all elements, into an array `name`; what changes nothing where there is none.
static void part(maps *x, uint32_t i, uint32_t scalar, const char *name, const char *none) {
  const sq_sweep_nest *m = &x->s->member[i];
  sq_cu_place to = sq_cu_sweep_array(&x->w, m->value, name);
  sq_cu_sweep_declare(&x->w, m->value, to.base);
  if (scalar != SQ_NO_SCALAR) {
    sq_dtype type = x->s->value[m->value].part.dtype;
    sq_cu_sweep_emit(&x->w, sq_chunk_part(x->s, type, i, scalar), &to);
    return;
  }
  sq_cu_maps_open(x, m->value);
  sq_cu_line(x->k, "%s[j] = %s;", to.base, none);
  sq_cu_close(x->k);
}
void sq_cu_maps_parts(sq_cu_maps *x, uint32_t i) {
  const sq_prefix_map *p = &x->f.map[i];
  bool sum = p->how == SQ_PREFIX_SUM;
  part(x, i, p->by, "by", sum ? "1" : "0");
  part(x, i, p->other, "other",
       sum ? "0" : sq_arena_fmt(x->k->a, "%s::none()", sq_cu_maps_name(x, x->f.solves[i])));
  if (sq_cu_maps_is_range(x, i)) part(x, i, p->high, "high", "");
}
static void solve(maps *x, uint32_t i) {
  sq_cu *k = x->k;
  uint32_t v = x->s->member[i].value, c = x->f.solves[i];
  const char *t = sq_cu_maps_type(x, v);
  sq_cu_maps_parts(x, i);
  sq_cu_maps_declare(x, v);
  sq_cu_maps_open(x, v);
  if (sq_cu_maps_is_range(x, i)) {
    sq_cu_line(k, "%s m = {by%u[j], other%u[j], high%u[j]};", sq_cu_maps_name(x, c), v, v, v);
    sq_cu_line(k, "m = sq_block_ranges(SQ_ME m, range_%s);", t);
  } else {
    sq_cu_line(k, "%s m = {by%u[j], other%u[j]};", sq_cu_maps_name(x, c), v, v);
    sq_cu_line(k, "m = sq_block_maps(SQ_ME m, by_%s, other_%s);", t, t);
  }
  sq_cu_line(k, "%s[j] = m.apply(SQ_SLD(carry%u, j));", sq_cu_maps_array(x, v), c);
  if (!sq_cu_maps_is_compared(x, c)) // else comparisons alone
    sq_cu_line(k, "if (live) bad += (float)(%s[j] * 0);", sq_cu_maps_array(x, v));
  sq_cu_close(k);
}
static void members(maps *x) {
  for (uint32_t o = 0; o < x->f.n_order; o++) {
    uint32_t i = x->f.order[o];
    const sq_sweep_nest *m = &x->s->member[i];
    read_before(x, m, x->f.solves[i]);
    if (x->f.solves[i] != SQ_SWEEP_NONE) {
      solve(x, i);
    } else {
      sq_cu_maps_declare(x, m->value);
      sq_cu_sweep_emit(&x->w, m, &x->w.value[m->value]);
    }
  }
  for (uint32_t i = 0; i < x->s->n_store; i++) read_before(x, &x->s->store[i], SQ_SWEEP_NONE);
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    if (x->s->next[c] < x->s->scan->n_carried && x->s->next[c] != c) before(x, x->s->next[c]);
}

// ---- a stretch ---------------------------------------------------------------------------------
static void agree(maps *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int m = 1; m < 32; m *= 2) bad += sq_shuffle_xor(SQ_ME bad, m);");
  sq_cu_line(k, "if (SQ_TID %% 32 == 0) SQ_SST(by_float, SQ_TID / 32, bad);");
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_line(k, "bad = 0;");
  sq_cu_line(k, "for (int m = 0; m < %d; m++) bad += SQ_SLD(by_float, m);", THREADS / 32);
}
static void keep(maps *x) {
  sq_cu *k = x->k;
  sq_cu_open(k, "if (i0 >= lo) {");
  for (uint32_t i = 0; i < x->s->n_store; i++) sq_cu_sweep_write(&x->w, &x->s->store[i]);
  sq_cu_close(k);
  sq_cu_open(k, "if (SQ_TID == last) {");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    if (x->s->next[c] != c) sq_cu_maps_to_carry(x, c, sq_cu_maps_array(x, x->s->next[c]));
  sq_cu_close(k);
}
static void turn_by_turn(maps *x) {
  sq_cu *k = x->k;
  x->w.rolled = true;
  sq_cu_open(k, "if (SQ_TID == 0) {");
  sq_cu_line(k, "const bool live = i0 >= lo;");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) from_carry(x, c);
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 i = i0; i <= i0 + last; i++) {");
  sq_cu_line(k, "const sq_i64 turn = %s;", sq_cu_sweep_turn_of(&x->w, "i"));
  sq_cu_sweep_turn(&x->w);
  sq_cu_close(k);
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    sq_cu_maps_to_carry(x, c, sq_cu_maps_array(x, c));
  sq_cu_close(k);
  x->w.rolled = false;
}
void sq_cu_maps_open_stretches(sq_cu_maps *x, const char *first) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 i0 = %s; i0 < hi; i0 += %d) {", first, THREADS);
  sq_cu_line(k, "const sq_i64 last = i0 + %d < hi ? %d : hi - 1 - i0;", THREADS, THREADS - 1);
  sq_cu_line(k, "const bool live = SQ_TID <= last;");
  sq_cu_line(k, "const sq_i64 i = i0 + (live ? SQ_TID : last);");
  sq_cu_line(k, "const sq_i64 turn = %s;", sq_cu_sweep_turn_of(&x->w, "i"));
}
static void stretches(maps *x) {
  sq_cu *k = x->k;
  sq_cu_maps_open_stretches(x, x->chunked ? "SQ_SLD(begins, 0) * per" : "0");
  sq_cu_line(k, "float bad = 0;");
  members(x);
  sq_cu_line(k, "SQ_SYNC();"); // all have read what is carried
  agree(x);
  sq_cu_open(k, "if (bad == bad) {");
  keep(x);
  sq_cu_close(k);
  sq_cu_open(k, "else {");
  turn_by_turn(x);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
}

// ---- the kernels -------------------------------------------------------------------------------
static void open_unit(maps *x, const char *units) {
  sq_cu *k = x->k;
  const char *n = sq_cu_dim(k, x->s->extent);
  sq_cu_open(k, "for (sq_i64 u0 = SQ_BLOCK; u0 < %s; u0 += SQ_GRID) {", units);
  if (x->chunked) {
    sq_cu_line(k, "const sq_i64 chunk = u0 %% %s, lane = u0 / %s;", x->count, x->count);
    sq_cu_line(k, "const sq_i64 per = %s, lo = chunk * per;", sq_cu_number(k, x->per));
    sq_cu_line(k, "const sq_i64 hi = lo + per < %s ? lo + per : %s;", n, n);
  } else {
    sq_cu_line(k, "const sq_i64 chunk = 0, lane = u0, lo = 0, hi = %s;", n);
  }
  sq_cu_line(k, "sq_i64 u = lane;");
  for (uint32_t c = x->s->n_class; c-- > 0;) {
    if (!x->s->lane[c]) continue;
    const char *size = sq_cu_dim(k, x->s->size[c]);
    sq_cu_line(k, "const sq_i64 l%u = u %% %s;", c, size);
    sq_cu_line(k, "u /= %s;", size);
  }
}
static LLVMValueRef units(maps *x) {
  sq_axis axis[SQ_MAX_RANK + 1];
  sq_generic all = {.axis = axis};
  uint32_t n = 0;
  for (uint32_t c = 0; c < x->s->n_class; c++)
    if (x->s->lane[c]) axis[n++].extent = x->s->size[c];
  return sq_cu_units(x->k, &all, n);
}
static void begin_kernel(maps *x, sq_cu *k, sq_cg *cg, sq_node *n, const char *name) {
  x->k = x->w.k = k;
  sq_cu_begin(k, cg, name, n->n_out ? n->out[0] : NULL, THREADS);
  k->syncs = true;
  for (uint32_t i = 0; i < x->s->n_value; i++) x->w.value[i] = sq_cu_sweep_array(&x->w, i, "w");
  if (!x->lanes) x->lanes = units(x);
  if (!x->chunked) return;
  if (!x->chunks) sq_cu_maps_cut(x, cg);
  int64_t bytes = (int64_t)(2 * SQ_CU_MAPS_BLOCKS + SQ_CU_MAPS_BLOCKS) * x->n * 8;
  x->part = sq_cu_memory(k, sq_cg_shared(cg), sq_cg_i64(cg, bytes), "double");
  x->count = sq_cu_number(k, x->chunks);
}
static LLVMValueRef blocks(maps *x) {
  return x->chunked ? sq_cu_mul(x->k, x->lanes, x->chunks) : x->lanes;
}
// Launched with no blocks where there is one chunk.
static void first_kernel(maps *x, sq_cg *cg, sq_node *n, const bool *member) {
  LLVMBuilderRef l = cg->builder;
  sq_cu kern;
  begin_kernel(x, &kern, cg, n, "chunks");
  LLVMValueRef one = LLVMBuildICmp(l, LLVMIntEQ, x->chunks, sq_cg_i64(cg, 1), "");
  LLVMValueRef all = LLVMBuildSelect(l, one, sq_cg_i64(cg, 0), blocks(x), "");
  share(x);
  open_unit(x, sq_cu_number(x->k, all));
  sq_cu_maps_first_states(x);
  sq_cu_maps_of_chunk(x, member);
  sq_cu_line(x->k, "SQ_SYNC();");
  sq_cu_close(x->k);
  sq_cu_launch(x->k, all, 1, 0);
}
static void second_kernel(maps *x, sq_cg *cg, sq_node *n) {
  sq_cu kern;
  begin_kernel(x, &kern, cg, n, "maps");
  LLVMValueRef all = blocks(x);
  share(x);
  if (x->chunked) sq_cu_line(x->k, "SQ_SHARED(sq_i64, begins, 1);");
  open_unit(x, sq_cu_number(x->k, all));
  if (x->chunked) {
    sq_cu_open(x->k, "if (%s == 1) {", x->count);
    sq_cu_line(x->k, "if (SQ_TID == 0) SQ_SST(begins, 0, 0);");
    begin_states(x);
    sq_cu_close(x->k);
    sq_cu_open(x->k, "else {");
    sq_cu_maps_begin_chunk(x);
    sq_cu_close(x->k);
  } else {
    begin_states(x);
  }
  stretches(x);
  end_states(x);
  sq_cu_close(x->k);
  sq_cu_launch(x->k, all, 1, 0);
}
static bool plan(maps *x, sq_graph *g, sq_node *n, sq_arena *a) {
  x->s = sq_sweep_make(g, n);
  if (!x->s->prefix || sq_prefix_tiles(x->s)) return false;
  x->f = sq_prefix_make(x->s);
  if (x->f.why) return false;
  x->w = (sq_cu_sweep){.s = x->s};
  x->w.team = (sq_sweep_team){.split = SQ_SWEEP_NONE, .threads = 1};
  x->w.value = SQ_ARRAY(a, sq_cu_place, x->s->n_value + 1);
  x->before = SQ_ARRAY(a, bool, x->s->scan->n_carried + 1);
  x->at = SQ_ARRAY(a, uint32_t, x->s->scan->n_carried + 1);
  return true;
}
sq_kernel_scratch sq_cuda_sweep_need(sq_graph *g, const sq_node *n) {
  sq_node *node = (sq_node *)(uintptr_t)n;
  sq_cu kern = {.a = g->arena};
  maps all = {.k = &kern}, *x = &all;
  if (!plan(x, g, node, g->arena)) return (sq_kernel_scratch){0};
  bool *member = SQ_ARRAY(g->arena, bool, x->s->n_member + 1);
  if (!sq_cu_maps_find_chunks(x, member)) return (sq_kernel_scratch){0};
  return (sq_kernel_scratch){.shared =
                                 sq_dim_const(g->dims, (int64_t)3 * SQ_CU_MAPS_BLOCKS * x->n * 8)};
}
bool sq_cuda_sweep_prefix(sq_cg *cg, sq_node *n) {
  sq_cu kern = {.a = cg->scratch};
  maps all = {.k = &kern}, *x = &all;
  if (!plan(x, cg->graph, n, cg->scratch)) return false;
  bool *member = SQ_ARRAY(cg->scratch, bool, x->s->n_member + 1);
  x->chunked = sq_cu_maps_find_chunks(x, member);
  if (x->chunked) first_kernel(x, cg, n, member);
  second_kernel(x, cg, n);
  return true;
}
