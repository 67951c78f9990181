// Scans in blocks of turns as kernels: a block of threads for each index of the lanes but the columns, and
// each slice of these.
//
//   states from where the scan begins, in shared memory
//   for each block of C turns
//     decays, vectors                                       (sweep_blocks_fill.c)
//     for some rows at a time: keys, factors | scores += factors keys, sums += factors states
//     sums += scores vectors                                (sweep_blocks_product.c)
//     for some rows at a time: keys | states = decay states + keys vectors, in registers
//     where all of it is finite: what follows the sums, stores; the states of the block's end
//     otherwise: turn by turn, a thread a column, from the states as they were
//   ends
//
// The sums and products are those of ir/sweep_chunk.h. Turns beyond the last one add nothing and decay
// nothing. The order of every sum is that of its indices, whatever the sizes are.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/sweep_cores.h"

enum { TOGETHER = 4 }; // blocks of threads that a multiprocessor has registers for: 128 a thread

// As many turns for all threads, which the compiler knows.
void sq_cu_blocks_each(sq_cu_blocks *b, uint32_t n, uint32_t together) {
  sq_cu_line(b->k, "#pragma unroll %u", together);
  sq_cu_open(b->k, "for (int f0 = 0; f0 < %u; f0 += %d) {", n, SQ_TILES_THREADS);
  sq_cu_line(b->k, "const int f = f0 + (int)SQ_TID;");
  if (n % SQ_TILES_THREADS) sq_cu_line(b->k, "if (f >= %u) break;", n);
}
void sq_cu_blocks_open(sq_cu_blocks *b, const char *major, uint32_t n_major, const char *minor,
                       uint32_t n_minor) {
  sq_cu *k = b->k;
  uint32_t step = SQ_TILES_THREADS / n_minor;
  if (SQ_TILES_THREADS % n_minor) {
    sq_cu_blocks_each(b, n_major * n_minor, b->cores ? 4 : 2);
    sq_cu_line(k, "const int %s = f / %u, %s = f %% %u;", major, n_minor, minor, n_minor);
    return;
  }
  sq_cu_line(k, "#pragma unroll %u", b->cores ? 4 : 2); // each has one of the minor
  sq_cu_open(k, "for (int f0 = 0; f0 < %u; f0 += %u) {", n_major, step);
  sq_cu_line(k, "const int %s = f0 + (int)SQ_TID / %u, %s = (int)SQ_TID %% %u;", major, n_minor,
             minor, n_minor);
  if (n_major % step) sq_cu_line(k, "if (%s >= %u) break;", major, n_major);
}

// ---- shared memory -----------------------------------------------------------------------------
void sq_cu_blocks_share(sq_cu_blocks *b, const char *type, const char *name, uint32_t i,
                        uint32_t n) {
  sq_cu_line(b->k, "SQ_SHARED(%s, %s%u, %u);", type, name, i, n);
}
static void share(sq_cu_blocks *b, const char *name, uint32_t i, uint32_t n) {
  sq_cu_blocks_share(b, b->type, name, i, n);
}
static void share_all(sq_cu_blocks *b) {
  const sq_sweep_tiles *p = &b->p;
  uint32_t n = p->length, rows = p->depth * p->pieces, piece = p->depth * b->pitch;
  for (uint32_t k = 0; k < b->n_state; k++) {
    const sq_chunk_state *t = &b->c.state[k];
    share(b, "state", k, t->has_columns ? rows * p->columns : rows);
    if (!t->has_columns) share(b, "later", k, rows);
    share(b, "vector", k, t->has_columns ? n * p->columns : n);
    share(b, "key", k, piece);
    share(b, "decay", k, t->by_rows ? piece : n);
    if (t->by_rows) {
      share(b, "whole", k, p->depth);
    } else {
      share(b, "range", k, (n + 1) * n);
      share(b, "begin", k, n + 1);
    }
  }
  for (uint32_t q = 0; q < b->n_pair; q++) {
    share(b, "factor", q, piece);
    share(b, "score", q, n * b->pitch);
  }
  for (uint32_t r = 0; r < b->c.n_read; r++)
    share(b, "sum", r, sq_cu_read_wide(b, r) ? n * p->columns : n);
  sq_cu_line(b->k, "SQ_SHARED(%s, odd, %d);", b->type, SQ_TILES_THREADS / 32);
  sq_cu_line(b->k, "const int tx = (int)SQ_TID %% %d, ty = (int)SQ_TID / %d;", SQ_TILES_ACROSS,
             SQ_TILES_ACROSS);
}

// ---- units -------------------------------------------------------------------------------------
static const char *column_count(sq_cu_blocks *b) {
  return sq_cu_dim(b->k, b->s->size[b->c.column]);
}
static uint32_t slices(const sq_cu_blocks *b) {
  return (uint32_t)((b->c.columns + b->p.columns - 1) / b->p.columns);
}
LLVMValueRef sq_cu_blocks_units(sq_cu_blocks *b) {
  sq_axis axis[SQ_MAX_RANK + 1];
  sq_generic all = {.axis = axis};
  uint32_t n = 0;
  for (uint32_t c = 0; c < b->s->n_class; c++)
    if (b->s->lane[c] && c != b->c.column) axis[n++].extent = b->s->size[c];
  return sq_cu_mul(b->k, sq_cu_units(b->k, &all, n), sq_cg_i64(b->k->cg, slices(b)));
}
// Slices of one index are neighbours: they have the same keys.
void sq_cu_blocks_lanes(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  sq_cu_line(k, "const sq_i64 c0 = u %% %u * %u;", slices(b), b->p.columns);
  sq_cu_line(k, "u /= %u;", slices(b));
  for (uint32_t c = b->s->n_class; c-- > 0;) {
    if (!b->s->lane[c] || c == b->c.column) continue;
    const char *n = sq_cu_dim(k, b->s->size[c]);
    sq_cu_line(k, "const sq_i64 l%u = u %% %s;", c, n);
    sq_cu_line(k, "u /= %s;", n);
  }
}

// ---- states between memory and shared memory ---------------------------------------------------
// Opens the elements of a state, with the names that its nests know.
static void open_state(sq_cu_blocks *b, uint32_t state) {
  uint32_t rows = b->p.depth * b->p.pieces;
  bool wide = b->c.state[state].has_columns;
  sq_cu_blocks_open(b, "i", rows, "j", wide ? b->p.columns : 1);
  sq_cu_line(b->k, "const sq_i64 row = i, l%u = c0 + j;", b->c.column);
  sq_cu_line(b->k, "const bool live = row < %u && l%u < %s;", b->c.rows, b->c.column,
             column_count(b));
}
static const char *place_of(sq_cu_blocks *b, uint32_t state, const char *i, const char *j) {
  if (!b->c.state[state].has_columns) return i;
  return sq_arena_fmt(b->k->a, "%s * %u + %s", i, b->p.columns, j);
}
static void name_rows(sq_cu_blocks *b, sq_cu_nest *t, const sq_sweep_nest *x) {
  for (uint32_t a = 0; a < t->n_axes; a++)
    if (x->cls[a] == b->c.row) t->index[a] = "row";
}
void sq_cu_blocks_load(sq_cu_blocks *b, uint32_t state) {
  sq_cu *k = b->k;
  const sq_sweep_nest *x = &b->s->load[state];
  sq_cu_nest t;
  sq_cu_sweep_begin(&b->w, &t, x);
  name_rows(b, &t, x);
  sq_cu_line(k, "%s v = 0;", b->type);
  sq_cu_open(k, "if (live) {");
  const sq_generic *g = t.g;
  sq_cu_line(k, "v = %s;", sq_cu_nest_value(&t, g->post != SQ_NO_SCALAR ? g->post : g->body));
  sq_cu_close(k);
}
// What is written of a state lies where its part does.
void sq_cu_blocks_store(sq_cu_blocks *b, const sq_sweep_nest *x) {
  sq_cu_place to = sq_cu_place_of(b->k, NULL, x->n->out[0]);
  sq_cu_nest t;
  sq_cu_open(b->k, "if (%s) {", sq_cu_sweep_writers(&b->w, x));
  sq_cu_sweep_begin(&b->w, &t, x);
  name_rows(b, &t, x);
  for (uint32_t r = 0; r < t.g->s.n; r++) // at its own element, whatever that is called
    if (t.g->s.v[r].kind == SQ_SC_READ && x->inner[t.g->s.v[r].operand] == x->value)
      t.value[r] = "held";
  sq_cu_nest_store(&t, &to, sq_cu_nest_value(&t, t.g->body));
  sq_cu_close(b->k);
}
static bool in_registers(const sq_cu_blocks *b, uint32_t state) {
  return b->cores && b->c.state[state].has_columns;
}
void sq_cu_blocks_begin(sq_cu_blocks *b) {
  for (uint32_t c = 0; c < b->n_state; c++) {
    if (in_registers(b, c)) continue;
    open_state(b, c);
    sq_cu_blocks_load(b, c);
    sq_cu_line(b->k, "SQ_SST(state%u, %s, v);", c, place_of(b, c, "i", "j"));
    sq_cu_close(b->k);
  }
}
void sq_cu_blocks_end(sq_cu_blocks *b) {
  for (uint32_t i = 0; i < b->s->n_final; i++) {
    const sq_sweep_nest *x = &b->s->final[i];
    if (in_registers(b, x->value)) continue;
    open_state(b, x->value);
    sq_cu_line(b->k, "const %s held = SQ_SLD(state%u, %s);", b->type, x->value,
               place_of(b, x->value, "i", "j"));
    sq_cu_blocks_store(b, x);
    sq_cu_close(b->k);
  }
}

// ---- a block -----------------------------------------------------------------------------------
// Is something odd in one of the threads? `odd` of each is NaN there.
void sq_cu_blocks_agree(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int m = 1; m < 32; m *= 2) bad += sq_shuffle_xor(SQ_ME bad, m);");
  sq_cu_line(k, "if (SQ_TID %% 32 == 0) SQ_SST(odd, SQ_TID / 32, bad);");
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_line(k, "bad = 0;");
  sq_cu_line(k, "for (int m = 0; m < %d; m++) bad += SQ_SLD(odd, m);", SQ_TILES_THREADS / 32);
}
// One after another, a thread a column, in arrays of its own. States without columns are done by all and
// written back by the first.
void sq_cu_blocks_turns(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  uint32_t wide = b->p.columns;
  sq_cu_line(k, "const sq_i64 l%u = c0 + SQ_TID;", b->c.column);
  sq_cu_line(k, "const bool mine = SQ_TID < %u && l%u < %s;", wide, b->c.column, column_count(b));
  sq_cu_line(k, "const bool live = mine%s;", b->cut ? " && i0 >= first" : "");
  for (uint32_t c = 0; c < b->n_state; c++) {
    sq_cu_sweep_declare(&b->w, c, b->w.value[c].base);
    if (in_registers(b, c)) {
      sq_cu_cores_take(b, c);
      continue;
    }
    sq_cu_line(k, "#pragma unroll 1");
    sq_cu_line(k, "for (int i = 0; mine && i < %u; i++) %s[i] = SQ_SLD(state%u, %s);", b->c.rows,
               b->w.value[c].base, c, place_of(b, c, "i", "SQ_TID"));
  }
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 i = i0; mine && i < i0 + %u && i < %s; i++) {", b->p.length,
             sq_cu_dim(k, b->s->extent));
  sq_cu_line(k, "const sq_i64 turn = %s;", sq_cu_sweep_turn_of(&b->w, "i"));
  sq_cu_sweep_turn(&b->w);
  sq_cu_close(k);
  for (uint32_t c = 0; c < b->n_state; c++) {
    if (in_registers(b, c)) {
      sq_cu_cores_give(b, c);
      continue;
    }
    sq_cu_line(k, "#pragma unroll 1");
    sq_cu_line(k, "for (int i = 0; mine%s && i < %u; i++) SQ_SST(state%u, %s, %s[i]);",
               b->c.state[c].has_columns ? "" : " && SQ_TID == 0", b->c.rows, c,
               place_of(b, c, "i", "SQ_TID"), b->w.value[c].base);
  }
}
static void block(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 i0 = 0; i0 < %s; i0 += %u) {", sq_cu_dim(k, b->s->extent),
             b->p.length);
  sq_cu_line(k, "%s bad = 0;", b->type);
  sq_cu_blocks_decays(b);
  sq_cu_blocks_vectors(b);
  sq_cu_blocks_sums(b);
  sq_cu_blocks_states(b);
  sq_cu_blocks_agree(b);
  sq_cu_open(k, "if (bad == bad) {");
  sq_cu_blocks_keep(b);
  sq_cu_blocks_after(b);
  sq_cu_close(k);
  sq_cu_open(k, "else {");
  sq_cu_blocks_turns(b);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
}

// ---- the kernel --------------------------------------------------------------------------------
static bool plan(sq_cu_blocks *b, sq_graph *g, sq_node *n) {
  b->node = n;
  b->s = sq_sweep_make(g, n);
  if (!b->s->chunk) return false;
  b->c = sq_chunk_make(b->s);
  b->n_state = b->s->scan->n_carried;
  if (b->c.why) return false;
  b->p = sq_sweep_tiles_make(&b->c, b->n_state, b->s->chunk);
  if (b->p.why) return false;
  for (uint32_t r = 0; r < b->c.n_read; r++)
    for (uint32_t i = 0; i < b->c.read[r].n_term; i++) {
      const sq_chunk_term *t = &b->c.read[r].term[i];
      b->pair[b->n_pair++] = (sq_cu_pair){r, t->state, t->factor, t->before};
    }
  b->type = sq_cu_type(b->c.type);
  b->wide = b->p.columns;
  b->pitch = b->p.length + SQ_TILES_SKEW;
  b->turns = b->p.length / SQ_TILES_DOWN;
  b->others = b->p.length / SQ_TILES_ACROSS;
  b->columns = b->p.columns / SQ_TILES_ACROSS;
  b->rows = b->p.depth / SQ_TILES_DOWN;
  sq_cu_cores_plan(b);
  return true;
}
void sq_cu_blocks_nests(sq_cu_blocks *b, sq_cg *cg, const char *what) {
  sq_cu *k = b->k;
  sq_node *n = b->node;
  sq_cu_begin(k, cg, what, n->n_out ? n->out[0] : NULL, SQ_TILES_THREADS);
  k->blocks = TOGETHER;
  k->syncs = true;
  b->w = (sq_cu_sweep){.k = k, .s = b->s, .rolled = true};
  b->w.team = (sq_sweep_team){.split = SQ_SWEEP_NONE, .threads = 1};
  b->w.value = SQ_ARRAY(k->a, sq_cu_place, b->s->n_value + 1);
  for (uint32_t i = 0; i < b->s->n_value; i++) b->w.value[i] = sq_cu_sweep_array(&b->w, i, "w");
}
bool sq_cuda_blocks_need(sq_graph *g, const sq_node *n, sq_kernel_scratch *need) {
  sq_cu kern = {.a = g->arena, .g = g};
  sq_cu_blocks b = {.k = &kern};
  if (!plan(&b, g, (sq_node *)(uintptr_t)n)) return false;
  *need = (sq_kernel_scratch){0};
  if (b.cores) need->shared = sq_dim_const(g->dims, sq_cu_cores_bytes(&b));
  return true;
}
bool sq_cuda_sweep_blocks(sq_cg *cg, sq_node *n) {
  sq_cu kern = {.a = cg->scratch, .g = cg->graph}, *k = &kern;
  sq_cu_blocks all = {.k = k}, *b = &all;
  if (!plan(b, cg->graph, n)) return false;
  if (b->cores) {
    sq_cu_cores_emit(b, cg);
    return true;
  }
  sq_cu_blocks_nests(b, cg, "blocks");
  LLVMValueRef count = sq_cu_blocks_units(b);
  share_all(b);
  sq_cu_open(k, "for (sq_i64 u0 = SQ_BLOCK; u0 < %s; u0 += SQ_GRID) {", sq_cu_number(k, count));
  sq_cu_line(k, "sq_i64 u = u0;");
  sq_cu_blocks_lanes(b);
  sq_cu_blocks_begin(b);
  sq_cu_line(k, "SQ_SYNC();"); // where it ends may be where it begins
  block(b);
  sq_cu_blocks_end(b);
  sq_cu_line(k, "SQ_SYNC();"); // before the next unit begins
  sq_cu_close(k);
  sq_cu_launch(k, count, 1, 0);
  return true;
}
