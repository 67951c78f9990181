// Scans in blocks on tensor cores: what comes and goes.
//
//   keys, factors  tiles of 16 bits: copied while the block before ends where memory runs along rows, else
//                  two elements a turn of a thread
//   vectors        8 columns at once where memory runs along these, else one by one
//   states         to and from registers: from memory, and, for a block that goes turn by turn, through the
//                  room of its vectors
#include "codegen/cuda/sweep_cores.h"

enum { VECTOR = SQ_CORES_VECTOR };

void sq_cu_cores_watch(sq_cu_blocks *b, const char *v) {
  sq_cu_line(b->k, "if (!(sq_abs(%s) < %s)) bad = SQ_NANF;", v, SQ_CU_CORES_INPUT);
}
static const char *inside(sq_cu_blocks *b, const char *first, const char *more) {
  return sq_arena_fmt(b->k->a, "%s + t < %s && %s", first, sq_cu_dim(b->k, b->s->extent), more);
}
static void name_turn(sq_cu_blocks *b, const char *first) {
  sq_cu_line(b->k, "const sq_i64 turn = %s;",
             sq_cu_sweep_turn_of(&b->w, sq_arena_fmt(b->k->a, "%s + t", first)));
}
static const char *place_of(sq_cu_blocks *b, const sq_sweep_nest *x, uint32_t read) {
  sq_cu_nest t;
  sq_cu_sweep_begin(&b->w, &t, x);
  for (uint32_t a = 0; a < t.n_axes; a++)
    if (x->cls[a] == b->c.row) t.index[a] = "row";
  return sq_cu_nest_place(&t, read);
}

// ---- vectors -----------------------------------------------------------------------------------
bool sq_cu_cores_vectors(sq_cu_blocks *b, uint32_t state) {
  sq_cu *k = b->k;
  const sq_chunk_state *c = &b->c.state[state];
  const uint32_t column = b->c.add[state].column;
  if (!c->has_columns || column == SQ_NO_SCALAR) return false;
  const sq_sweep_nest *x = sq_chunk_part(b->s, b->c.type, c->member, column);
  uint32_t read = sq_cores_read(x);
  sq_dtype t = sq_cores_type(x, read);
  if ((t != SQ_BF16 && t != SQ_F16) || !sq_cores_runs(b->s->g, x, read, b->c.column)) return false;
  sq_cu_blocks_open(b, "t", b->p.length, "v", b->p.columns / VECTOR);
  sq_cu_line(k, "const int j = v * %d;", VECTOR);
  sq_cu_line(k, "const sq_i64 l%u = c0 + j;", b->c.column);
  sq_cu_line(k, "sq_vec8 held = sq_vec8{{0, 0, 0, 0}};");
  sq_cu_open(
      k, "if (%s) {",
      inside(b, "i0",
             sq_arena_fmt(k->a, "l%u < %s", b->c.column, sq_cu_dim(k, b->s->size[b->c.column]))));
  name_turn(b, "i0");
  sq_cu_line(k, "held = SQ_LD_VEC(%s);", place_of(b, x, read));
  sq_cu_close(k);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int i = 0; i < %d; i++) {", VECTOR);
  sq_cu_line(k, "const float x = sq_half_of((const %s *)0, held.w[i / 2] >> i %% 2 * 16 & 0xffff);",
             sq_cu_mem_type(t));
  sq_cu_line(k, "SQ_SST(vector%u, t * %u + j + i, x);", state, b->wide);
  sq_cu_cores_watch(b, "x");
  sq_cu_close(k);
  sq_cu_close(k);
  return true;
}

// ---- tiles -------------------------------------------------------------------------------------
bool sq_cu_cores_uses(const sq_cu_blocks *b, uint32_t tile) {
  const sq_cu_cores *c = b->cores;
  bool key = false;
  for (uint32_t i = 0; i < b->n_state; i++) key |= c->p.key[i] == tile;
  return key || c->sums; // states alone need no factors
}
static void open_vectors(sq_cu_blocks *b) {
  sq_cu_blocks_open(b, "t", b->p.length, "v", b->cores->p.depth / VECTOR);
  sq_cu_line(b->k, "const int e = v * %d;", VECTOR);
}
void sq_cu_cores_ask(sq_cu_blocks *b, const char *first) {
  sq_cu *k = b->k;
  const sq_cu_cores *c = b->cores;
  for (uint32_t i = 0; i < c->p.n_tile; i++) {
    if (!c->p.tile[i].vectors || !sq_cu_cores_uses(b, i)) continue;
    open_vectors(b);
    sq_cu_line(k, "const sq_i64 row = e;");
    name_turn(b, first);
    sq_cu_line(k, "SQ_COPY(tile0_%u, t * %u + e / 2, %s, %s);", i, c->p.pitch,
               place_of(b, c->p.tile[i].x, c->p.tile[i].read),
               inside(b, first, sq_arena_fmt(k->a, "row < %u", b->c.rows)));
    sq_cu_close(k);
  }
}
// Two elements of a row at a time, and what they leave.
static void by_pairs(sq_cu_blocks *b, uint32_t i) {
  sq_cu *k = b->k;
  const sq_cu_cores *c = b->cores;
  uint32_t parts = c->p.tile[i].exact ? 1 : c->p.parts;
  sq_cu_blocks_open(b, "t", b->p.length, "v", c->p.depth / 2);
  sq_cu_line(k, "const int e = v * 2;");
  sq_cu_line(k, "float pair[2];");
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int m = 0; m < 2; m++) {");
  sq_cu_line(k, "const sq_i64 row = e + m;");
  sq_cu_blocks_values(b, &c->p.tile[i].x, NULL, 1,
                      inside(b, "i0", sq_arena_fmt(k->a, "row < %u", b->c.rows)));
  sq_cu_cores_watch(b, "b0");
  sq_cu_line(k, "pair[m] = b0;");
  sq_cu_close(k);
  sq_cu_line(k, "sq_u32 w[%u];", parts);
  sq_cu_line(k, "sq_split<%u>(pair[0], pair[1], w, 1);", parts);
  for (uint32_t p = 0; p < parts; p++)
    sq_cu_line(k, "SQ_SST(tile%u_%u, t * %u + e / 2, w[%u]);", p, i, c->p.pitch, p);
  sq_cu_close(k);
}
// Each thread looks at what it has copied.
static void look(sq_cu_blocks *b, uint32_t i) {
  sq_cu *k = b->k;
  open_vectors(b);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int m = 0; m < %d; m++) {", VECTOR / 2);
  sq_cu_line(k, "const sq_u32 w = SQ_SLD(tile0_%u, t * %u + e / 2 + m);", i, b->cores->p.pitch);
  sq_cu_line(k, "high |= w & (w << 1 | w << 2);"); // two upper bits of an exponent: 2^33 and more
  sq_cu_close(k);
  sq_cu_close(k);
}
void sq_cu_cores_tiles(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  const sq_cu_cores *c = b->cores;
  bool copied = false;
  for (uint32_t i = 0; i < c->p.n_tile; i++) {
    if (!sq_cu_cores_uses(b, i)) continue;
    copied |= c->p.tile[i].vectors;
    if (!c->p.tile[i].vectors) by_pairs(b, i);
  }
  if (!copied) return;
  sq_cu_line(k, "SQ_COPIED();");
  sq_cu_line(k, "sq_u32 high = 0;");
  for (uint32_t i = 0; i < c->p.n_tile; i++)
    if (sq_cu_cores_uses(b, i) && c->p.tile[i].vectors) look(b, i);
  sq_cu_line(k, "if (high & 0x40004000u) bad = SQ_NANF;");
}

// ---- states ------------------------------------------------------------------------------------
// Through the room of the vectors, as many rows at a time as a block has turns.
static void open_pieces(sq_cu_blocks *b) {
  sq_cu_line(b->k, "#pragma unroll");
  sq_cu_open(b->k, "for (int p = 0; p < %u; p++) {",
             (b->cores->p.depth + b->p.length - 1) / b->p.length);
}
static void open_piece(sq_cu_blocks *b) {
  sq_cu_line(b->k, "#pragma unroll");
  sq_cu_open(b->k, "for (int m = 0; m < %u; m++) {", b->p.length / 2);
  sq_cu_line(b->k, "const int row = m / 4 * 8 + 2 * q + m %% 2, j = wj + g + m %% 4 / 2 * 8;");
  sq_cu_open(b->k, "if (p * %u + m < %u) {", b->p.length / 2, b->cores->p.depth / 2);
}
static void close_piece(sq_cu_blocks *b) {
  sq_cu_close(b->k);
  sq_cu_close(b->k);
  sq_cu_line(b->k, "SQ_SYNC();");
}
// One of the rows that are in the room, and a column.
static void open_elements(sq_cu_blocks *b) {
  sq_cu_blocks_open(b, "i", b->p.length, "j", b->p.columns);
  sq_cu_line(b->k, "const sq_i64 row = p * %u + i, l%u = c0 + j;", b->p.length, b->c.column);
  sq_cu_line(b->k, "const bool live = row < %u && l%u < %s;", b->c.rows, b->c.column,
             sq_cu_dim(b->k, b->s->size[b->c.column]));
}
static void to_room(sq_cu_blocks *b, uint32_t i) {
  open_piece(b);
  sq_cu_line(b->k, "SQ_SST(vector%u, row * %u + j, s%u[p * %u + m]);", i, b->wide, i,
             b->p.length / 2);
  close_piece(b);
}
static void from_room(sq_cu_blocks *b, uint32_t i) {
  sq_cu_line(b->k, "SQ_SYNC();");
  open_piece(b);
  sq_cu_line(b->k, "s%u[p * %u + m] = SQ_SLD(vector%u, row * %u + j);", i, b->p.length / 2, i,
             b->wide);
  close_piece(b);
}
void sq_cu_cores_begin(sq_cu_blocks *b) {
  sq_cu_blocks_begin(b);
  for (uint32_t i = 0; i < b->n_state; i++) {
    if (!b->c.state[i].has_columns) continue;
    open_pieces(b);
    open_elements(b);
    sq_cu_blocks_load(b, i);
    sq_cu_line(b->k, "SQ_SST(vector%u, i * %u + j, v);", i, b->wide);
    sq_cu_close(b->k);
    from_room(b, i);
    sq_cu_close(b->k);
  }
}
void sq_cu_cores_end(sq_cu_blocks *b) {
  sq_cu_blocks_end(b);
  for (uint32_t n = 0; n < b->s->n_final; n++) {
    const sq_sweep_nest *x = &b->s->final[n];
    uint32_t i = x->value;
    if (!b->c.state[i].has_columns) continue;
    open_pieces(b);
    to_room(b, i);
    open_elements(b);
    sq_cu_line(b->k, "const float held = SQ_SLD(vector%u, i * %u + j);", i, b->wide);
    sq_cu_blocks_store(b, x);
    sq_cu_close(b->k);
    sq_cu_line(b->k, "SQ_SYNC();");
    sq_cu_close(b->k);
  }
}
void sq_cu_cores_take(sq_cu_blocks *b, uint32_t i) {
  sq_cu *k = b->k;
  uint32_t n = b->p.length;
  open_pieces(b);
  to_room(b, i);
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_line(k, "for (int i = 0; mine && i < %u && p * %u + i < %u; i++)", n, n, b->c.rows);
  sq_cu_line(k, "  %s[p * %u + i] = SQ_SLD(vector%u, i * %u + SQ_TID);", b->w.value[i].base, n, i,
             b->wide);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
}
void sq_cu_cores_give(sq_cu_blocks *b, uint32_t i) {
  sq_cu *k = b->k;
  uint32_t n = b->p.length;
  open_pieces(b);
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (int i = 0; SQ_TID < %u && i < %u && p * %u + i < %u; i++) {", b->p.columns, n,
             n, b->cores->p.depth);
  sq_cu_line(k, "float v = 0;");
  sq_cu_line(k, "if (mine && p * %u + i < %u) v = %s[p * %u + i];", n, b->c.rows,
             b->w.value[i].base, n);
  sq_cu_line(k, "SQ_SST(vector%u, i * %u + SQ_TID, v);", i, b->wide);
  sq_cu_close(k);
  from_room(b, i);
  sq_cu_close(k);
}
