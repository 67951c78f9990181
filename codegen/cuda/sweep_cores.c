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

// ---- may it be? --------------------------------------------------------------------------------
static bool has_half(const sq_cu_blocks *b, const sq_sweep_nest *x);
static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }
static bool member_has_half(const sq_cu_blocks *b, uint32_t value) {
  uint32_t i = value - b->n_state;
  return value >= b->n_state && b->c.role[i] != SQ_CHUNK_READ && has_half(b, &b->s->member[i]);
}
// Is a number of 16 bits in memory part of it? What it is multiplied with is then not exact either.
static bool has_half(const sq_cu_blocks *b, const sq_sweep_nest *x) {
  const sq_generic *g = x->n->g;
  bool *used = SQ_ARRAY(b->k->a, bool, g->s.n + 1);
  used[g->post != SQ_NO_SCALAR ? g->post : g->body] = used[g->body] = true;
  for (uint32_t j = g->s.n; j-- > 0;) {
    const sq_scalar *r = &g->s.v[j];
    if (!used[j]) continue;
    sq_scalar_refs(r, mark, used);
    if (r->kind != SQ_SC_READ) continue;
    sq_dtype t = x->n->in[r->operand]->type.dtype;
    if (x->inner[r->operand] == SQ_SWEEP_NONE ? t == SQ_BF16 || t == SQ_F16
                                              : member_has_half(b, x->inner[r->operand]))
      return true;
  }
  return false;
}
static bool part_has_half(const sq_cu_blocks *b, uint32_t member, uint32_t scalar) {
  return scalar == SQ_NO_SCALAR || has_half(b, sq_chunk_part(b->s, b->c.type, member, scalar));
}
static bool is_fit(const sq_cu_blocks *b) {
  uint32_t rows = 0, depth = (b->c.rows + 15) / 16 * 16;
  if (b->c.type != SQ_F32) return false;
  for (uint32_t c = 0; c < b->n_state; c++) {
    const sq_chunk_state *t = &b->c.state[c];
    if (t->by_rows || !part_has_half(b, t->member, t->key)) return false;
    if (!t->solved && !part_has_half(b, t->member, t->column)) return false;
    rows += t->has_columns ? depth : 0;
  }
  for (uint32_t q = 0; q < b->n_pair; q++)
    if (!part_has_half(b, b->c.read[b->pair[q].read].member, b->pair[q].factor)) return false;
  return rows <= SQ_CU_CORES_ROWS;
}

// ---- tiles -------------------------------------------------------------------------------------
static bool same_position(const sq_cu_blocks *b, const sq_cu_tile *x, const sq_cu_tile *y,
                          uint32_t p) {
  const sq_generic *g = x->x->n->g, *h = y->x->n->g;
  sq_affine u = sq_scalar_affine(b->s->g, g, g->s.v[x->read].pos[p]);
  sq_affine v = sq_scalar_affine(b->s->g, h, h->s.v[y->read].pos[p]);
  int64_t sum[SQ_MAX_RANK * 4] = {0};
  if (!u.ok || !v.ok || u.offset.i != v.offset.i || b->s->n_class >= SQ_MAX_RANK * 4) return false;
  for (uint32_t a = 0; a < g->n_par; a++)
    sum[x->x->cls[a] == SQ_SWEEP_NONE ? b->s->n_class : x->x->cls[a]] += u.coef[a];
  for (uint32_t a = 0; a < h->n_par; a++)
    sum[y->x->cls[a] == SQ_SWEEP_NONE ? b->s->n_class : y->x->cls[a]] -= v.coef[a];
  for (uint32_t c = 0; c <= b->s->n_class; c++)
    if (sum[c]) return false;
  return true;
}
// Do both read the same elements?
static bool is_same(const sq_cu_blocks *b, const sq_cu_tile *x, const sq_cu_tile *y) {
  if (x->read == SQ_NO_SCALAR || y->read == SQ_NO_SCALAR) return false;
  const sq_scalar *r = &x->x->n->g->s.v[x->read], *w = &y->x->n->g->s.v[y->read];
  if (x->x->n->in[r->operand] != y->x->n->in[w->operand] || r->n_pos != w->n_pos) return false;
  for (uint32_t p = 0; p < r->n_pos; p++)
    if (!same_position(b, x, y, p)) return false;
  return true;
}
static uint32_t tile_of(sq_cu_blocks *b, uint32_t member, uint32_t scalar) {
  sq_cu_cores *c = b->cores;
  sq_cu_tile t = {.x = sq_chunk_part(b->s, b->c.type, member, scalar)};
  t.read = scalar == SQ_NO_SCALAR ? SQ_NO_SCALAR : sq_cu_cores_read(b, t.x);
  t.exact = scalar == SQ_NO_SCALAR || sq_cu_cores_type(t.x, t.read) == SQ_BF16;
  t.vectors = t.exact && t.read != SQ_NO_SCALAR && sq_cu_cores_runs(b, t.x, t.read, b->c.row);
  for (uint32_t i = 0; i < c->n_tile; i++)
    if (is_same(b, &c->tile[i], &t)) return i;
  c->tile[c->n_tile] = t;
  return c->n_tile++;
}
static void find_tiles(sq_cu_blocks *b) {
  sq_cu_cores *c = b->cores;
  c->tile = SQ_ARRAY(b->k->a, sq_cu_tile, b->n_state + b->n_pair);
  c->key = SQ_ARRAY(b->k->a, uint32_t, b->n_state);
  c->factor = SQ_ARRAY(b->k->a, uint32_t, b->n_pair);
  c->exact = SQ_ARRAY(b->k->a, bool, b->n_state);
  for (uint32_t i = 0; i < b->n_state; i++) {
    const sq_chunk_state *t = &b->c.state[i];
    c->key[i] = tile_of(b, t->member, t->key);
    if (t->solved) continue;
    const sq_sweep_nest *x = sq_chunk_part(b->s, b->c.type, t->member, t->column);
    c->exact[i] =
        t->column == SQ_NO_SCALAR || sq_cu_cores_type(x, sq_cu_cores_read(b, x)) == SQ_BF16;
  }
  for (uint32_t q = 0; q < b->n_pair; q++)
    c->factor[q] = tile_of(b, b->c.read[b->pair[q].read].member, b->pair[q].factor);
}
// Is all that leaves of 16 bits?
static bool leaves_halves(const sq_cu_blocks *b) {
  for (uint32_t i = 0; i < b->node->n_out; i++) {
    sq_dtype t = b->node->out[i]->type.dtype;
    if (t != SQ_BF16 && t != SQ_F16) return false;
  }
  return true;
}

// ---- shared memory -----------------------------------------------------------------------------
static uint32_t rows_of(const sq_cu_blocks *b, bool wide) {
  return wide ? b->p.length * b->wide : b->p.length;
}
static void give_room(sq_cu_blocks *b, const char *type, const char *name, uint32_t i, uint32_t n,
                      uint32_t *bytes) {
  *bytes += (n * 4 + 15) / 16 * 16;
  if (type) sq_cu_blocks_share(b, type, name, i, n);
}
// All arrays: their bytes, and, with a type of theirs, their declarations.
static uint32_t share_all(sq_cu_blocks *b, const char *number, const char *word) {
  const sq_cu_cores *c = b->cores;
  uint32_t n = b->p.length, bytes = 0;
  for (uint32_t i = 0; i < b->n_state; i++) {
    const sq_chunk_state *t = &b->c.state[i];
    if (!t->has_columns) give_room(b, number, "state", i, c->depth, &bytes);
    if (!t->has_columns) give_room(b, number, "later", i, c->depth, &bytes);
    give_room(b, number, "vector", i, rows_of(b, t->has_columns), &bytes);
    give_room(b, number, "decay", i, n, &bytes);
    give_room(b, number, "range", i, (n + 1) * n, &bytes);
    give_room(b, number, "begin", i, n + 1, &bytes);
  }
  for (uint32_t i = 0; i < c->n_tile; i++)
    for (uint32_t p = 0; sq_cu_cores_uses(b, i) && p < (c->tile[i].exact ? 1 : c->parts); p++)
      give_room(b, word, sq_arena_fmt(b->k->a, "tile%u_", p), i, n * c->pitch, &bytes);
  for (uint32_t q = 0; c->sums && q < b->n_pair; q++)
    give_room(b, number, "score", q, n * b->pitch, &bytes);
  for (uint32_t r = 0; c->sums && r < b->c.n_read; r++)
    give_room(b, number, "sum", r, rows_of(b, sq_cu_read_wide(b, r)), &bytes);
  if (number) sq_cu_line(b->k, "SQ_SHARED(%s, odd, %d);", number, SQ_TILES_THREADS / 32);
  return bytes + SQ_TILES_THREADS / 32 * 4;
}

void sq_cu_cores_plan(sq_cu_blocks *b) {
  const sq_cu_blocks before = *b;
  if (!is_fit(b)) return;
  sq_cu_cores *c = b->cores = SQ_NEW(b->k->a, sq_cu_cores);
  *c = (sq_cu_cores){.depth = (b->c.rows + 15) / 16 * 16, .sums = true};
  c->pitch = c->depth / 2 + 4;
  c->parts = leaves_halves(b) ? 2 : 3;
  find_tiles(b);
  b->p.columns = SQ_CU_CORES_COLUMNS;
  b->p.depth = c->depth;
  b->p.pieces = 1;
  b->wide = SQ_CU_CORES_COLUMNS + 4;
  for (b->p.length = 32; b->p.length >= 16; b->p.length /= 2) {
    b->pitch = b->p.length + SQ_TILES_SKEW;
    if (share_all(b, NULL, NULL) <= SQ_CU_CORES_ARRAYS) return;
  }
  *b = before;
}

// ---- a block of turns --------------------------------------------------------------------------
void sq_cu_cores_watch_states(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  sq_cu_line(k, "float top = 0;");
  for (uint32_t i = 0; i < b->n_state; i++) {
    if (b->c.state[i].has_columns) {
      sq_cu_line(k, "#pragma unroll");
      sq_cu_line(k, "for (int m = 0; m < %u; m++) top = sq_top(top, sq_abs(s%u[m]));",
                 b->cores->depth / 2, i);
    } else {
      sq_cu_line(k, "if (SQ_TID < %u) top = sq_top(top, sq_abs(SQ_SLD(state%u, SQ_TID)));",
                 b->cores->depth, i);
    }
  }
  sq_cu_line(k, "if (!(top < %s)) bad = SQ_NANF;", SQ_CU_CORES_STATE);
}
static void watch_solved(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  for (uint32_t i = 0; i < b->n_state; i++) {
    if (!b->c.state[i].solved) continue;
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
  share_all(b, "float", "sq_u32");
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
