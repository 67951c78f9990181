// Scans in blocks on tensor cores: what comes and goes.
//
//   keys, factors  tiles of 16 bits: copied while the block before ends where memory runs along rows, else
//                  two elements a turn of a thread
//   vectors        8 columns at once where memory runs along these, else one by one
//   states         to and from registers: from memory, and, for a block that goes turn by turn, through the
//                  room of its vectors
#include "codegen/cuda/sweep_cores.h"
#include "ir/stream.h"

enum { VECTOR = 8 };

// ---- reads -------------------------------------------------------------------------------------
uint32_t sq_cu_cores_read(const sq_cu_blocks *b, const sq_sweep_nest *x) {
  const sq_generic *k = x->n->g;
  uint32_t s = k->body;
  (void)b;
  while (k->s.v[s].kind == SQ_SC_CAST && k->s.v[s].dtype == SQ_F32 &&
         sq_is_float(k->s.v[k->s.v[s].a[0]].dtype))
    s = k->s.v[s].a[0];
  const sq_scalar *r = &k->s.v[s];
  bool plain = r->kind == SQ_SC_READ && r->guard == SQ_NO_SCALAR && r->other == SQ_NO_SCALAR &&
               r->site == SQ_NO_SITE && x->inner[r->operand] == SQ_SWEEP_NONE;
  return plain ? s : SQ_NO_SCALAR;
}
sq_dtype sq_cu_cores_type(const sq_sweep_nest *x, uint32_t read) {
  if (read == SQ_NO_SCALAR) return SQ_DTYPE_COUNT;
  return x->n->in[x->n->g->s.v[read].operand]->type.dtype;
}
static bool whole(sq_graph *g, sq_dim d) {
  int64_t c;
  return sq_dim_is_const(g->dims, d, &c) && c % VECTOR == 0;
}
// Memory runs along the class: 8 of its indices, from a multiple of 8 on, are 16 bytes.
bool sq_cu_cores_runs(const sq_cu_blocks *b, const sq_sweep_nest *x, uint32_t read, uint32_t cls) {
  sq_graph *g = b->s->g;
  const sq_generic *k = x->n->g;
  const sq_scalar *r = &k->s.v[read];
  const sq_type *type = &x->n->in[r->operand]->type;
  uint32_t axis = SQ_NO_AXIS, last = r->n_pos - 1;
  for (uint32_t a = 0; a < k->n_par; a++)
    if (x->cls[a] == cls) axis = a;
  if (axis == SQ_NO_AXIS || !r->n_pos || !whole(g, sq_dim_storage(g->dims, type->dim[last])) ||
      !whole(g, k->axis[axis].extent))
    return false;
  for (uint32_t i = 0; i < last; i++)
    if (sq_scalar_axis_set(g, k, r->pos[i]) >> axis & 1) return false;
  sq_affine a = sq_scalar_affine(g, k, r->pos[last]);
  if (!a.ok || a.coef[axis] != 1 || !whole(g, a.offset)) return false;
  for (uint32_t i = 0; i < k->n_par; i++)
    if (i != axis && a.coef[i] % VECTOR) return false;
  return true;
}
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
  if (!c->has_columns || c->column == SQ_NO_SCALAR) return false;
  const sq_sweep_nest *x = sq_chunk_part(b->s, b->c.type, c->member, c->column);
  uint32_t read = sq_cu_cores_read(b, x);
  sq_dtype t = sq_cu_cores_type(x, read);
  if ((t != SQ_BF16 && t != SQ_F16) || !sq_cu_cores_runs(b, x, read, b->c.column)) return false;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int f = (int)SQ_TID; f < %u; f += %d) {", b->p.length * b->p.columns / VECTOR,
             SQ_TILES_THREADS);
  sq_cu_line(k, "const int t = f / %u, j = f %% %u * %d;", b->p.columns / VECTOR,
             b->p.columns / VECTOR, VECTOR);
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
  sq_cu_line(k, "const float v = sq_half_of((const %s *)0, held.w[i / 2] >> i %% 2 * 16 & 0xffff);",
             sq_cu_mem_type(t));
  sq_cu_line(k, "SQ_SST(vector%u, t * %u + j + i, v);", state, b->wide);
  sq_cu_cores_watch(b, "v");
  sq_cu_close(k);
  sq_cu_close(k);
  return true;
}

// ---- tiles -------------------------------------------------------------------------------------
bool sq_cu_cores_uses(const sq_cu_blocks *b, uint32_t tile) {
  const sq_cu_cores *c = b->cores;
  bool key = false;
  for (uint32_t i = 0; i < b->n_state; i++) key |= c->key[i] == tile;
  return key || c->sums; // states alone need no factors
}
static void open_vectors(sq_cu_blocks *b) {
  const sq_cu_cores *c = b->cores;
  uint32_t n = c->depth / VECTOR;
  sq_cu_line(b->k, "#pragma unroll");
  sq_cu_open(b->k, "for (int f = (int)SQ_TID; f < %u; f += %d) {", b->p.length * n,
             SQ_TILES_THREADS);
  sq_cu_line(b->k, "const int t = f / %u, e = f %% %u * %d;", n, n, VECTOR);
}
void sq_cu_cores_ask(sq_cu_blocks *b, const char *first) {
  sq_cu *k = b->k;
  const sq_cu_cores *c = b->cores;
  for (uint32_t i = 0; i < c->n_tile; i++) {
    if (!c->tile[i].vectors || !sq_cu_cores_uses(b, i)) continue;
    open_vectors(b);
    sq_cu_line(k, "const sq_i64 row = e;");
    name_turn(b, first);
    sq_cu_line(k, "SQ_COPY(tile0_%u, t * %u + e / 2, %s, %s);", i, c->pitch,
               place_of(b, c->tile[i].x, c->tile[i].read),
               inside(b, first, sq_arena_fmt(k->a, "row < %u", b->c.rows)));
    sq_cu_close(k);
  }
}
// Two elements of a row at a time, and what they leave.
static void by_pairs(sq_cu_blocks *b, uint32_t i) {
  sq_cu *k = b->k;
  const sq_cu_cores *c = b->cores;
  uint32_t n = c->depth / 2, parts = c->tile[i].exact ? 1 : c->parts;
  sq_cu_open(k, "for (int f = (int)SQ_TID; f < %u; f += %d) {", b->p.length * n, SQ_TILES_THREADS);
  sq_cu_line(k, "const int t = f / %u, e = f %% %u * 2;", n, n);
  sq_cu_line(k, "float pair[2];");
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int m = 0; m < 2; m++) {");
  sq_cu_line(k, "const sq_i64 row = e + m;");
  sq_cu_blocks_values(b, &c->tile[i].x, NULL, 1,
                      inside(b, "i0", sq_arena_fmt(k->a, "row < %u", b->c.rows)));
  sq_cu_cores_watch(b, "b0");
  sq_cu_line(k, "pair[m] = b0;");
  sq_cu_close(k);
  sq_cu_line(k, "sq_u32 w[%u];", parts);
  sq_cu_line(k, "sq_split<%u>(pair[0], pair[1], w, 1);", parts);
  for (uint32_t p = 0; p < parts; p++)
    sq_cu_line(k, "SQ_SST(tile%u_%u, t * %u + e / 2, w[%u]);", p, i, c->pitch, p);
  sq_cu_close(k);
}
// Each thread looks at what it has copied.
static void look(sq_cu_blocks *b, uint32_t i) {
  sq_cu *k = b->k;
  open_vectors(b);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int m = 0; m < %d; m++) {", VECTOR / 2);
  sq_cu_line(k, "const sq_u32 w = SQ_SLD(tile0_%u, t * %u + e / 2 + m);", i, b->cores->pitch);
  sq_cu_line(k, "high |= w & (w << 1 | w << 2);"); // two upper bits of an exponent: 2^33 and more
  sq_cu_close(k);
  sq_cu_close(k);
}
void sq_cu_cores_tiles(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  const sq_cu_cores *c = b->cores;
  bool copied = false;
  for (uint32_t i = 0; i < c->n_tile; i++) {
    if (!sq_cu_cores_uses(b, i)) continue;
    copied |= c->tile[i].vectors;
    if (!c->tile[i].vectors) by_pairs(b, i);
  }
  if (!copied) return;
  sq_cu_line(k, "SQ_COPIED();");
  sq_cu_line(k, "sq_u32 high = 0;");
  for (uint32_t i = 0; i < c->n_tile; i++)
    if (sq_cu_cores_uses(b, i) && c->tile[i].vectors) look(b, i);
  sq_cu_line(k, "if (high & 0x40004000u) bad = SQ_NANF;");
}

// ---- states ------------------------------------------------------------------------------------
static void open_registers(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int m = 0; m < %u; m++) {", b->cores->depth / 2);
  sq_cu_line(k,
             "const sq_i64 row = m / 4 * 8 + 2 * q + m %% 2, l%u = c0 + wj + g + m %% 4 / 2 * 8;",
             b->c.column);
  sq_cu_line(k, "const bool live = row < %u && l%u < %s;", b->c.rows, b->c.column,
             sq_cu_dim(k, b->s->size[b->c.column]));
}
void sq_cu_cores_begin(sq_cu_blocks *b) {
  sq_cu_blocks_begin(b);
  for (uint32_t i = 0; i < b->n_state; i++) {
    if (!b->c.state[i].has_columns) continue;
    open_registers(b);
    sq_cu_blocks_load(b, i);
    sq_cu_line(b->k, "s%u[m] = v;", i);
    sq_cu_close(b->k);
  }
}
void sq_cu_cores_end(sq_cu_blocks *b) {
  sq_cu_blocks_end(b);
  for (uint32_t i = 0; i < b->s->n_final; i++) {
    const sq_sweep_nest *x = &b->s->final[i];
    if (!b->c.state[x->value].has_columns) continue;
    open_registers(b);
    sq_cu_line(b->k, "const float held = s%u[m];", x->value);
    sq_cu_blocks_store(b, x);
    sq_cu_close(b->k);
  }
}
// Through the room of the vectors, as many rows at a time as a block has turns.
static void open_pieces(sq_cu_blocks *b) {
  sq_cu_line(b->k, "#pragma unroll");
  sq_cu_open(b->k, "for (int p = 0; p < %u; p++) {",
             (b->cores->depth + b->p.length - 1) / b->p.length);
}
static void open_piece(sq_cu_blocks *b) {
  sq_cu_line(b->k, "#pragma unroll");
  sq_cu_open(b->k, "for (int m = 0; m < %u; m++) {", b->p.length / 2);
  sq_cu_line(b->k, "const int row = m / 4 * 8 + 2 * q + m %% 2, j = wj + g + m %% 4 / 2 * 8;");
  sq_cu_open(b->k, "if (p * %u + m < %u) {", b->p.length / 2, b->cores->depth / 2);
}
static void close_piece(sq_cu_blocks *b) {
  sq_cu_close(b->k);
  sq_cu_close(b->k);
  sq_cu_line(b->k, "SQ_SYNC();");
}
void sq_cu_cores_take(sq_cu_blocks *b, uint32_t i) {
  sq_cu *k = b->k;
  uint32_t n = b->p.length;
  open_pieces(b);
  open_piece(b);
  sq_cu_line(k, "SQ_SST(vector%u, row * %u + j, s%u[p * %u + m]);", i, b->wide, i, n / 2);
  close_piece(b);
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
             n, b->cores->depth);
  sq_cu_line(k, "float v = 0;");
  sq_cu_line(k, "if (mine && p * %u + i < %u) v = %s[p * %u + i];", n, b->c.rows,
             b->w.value[i].base, n);
  sq_cu_line(k, "SQ_SST(vector%u, i * %u + SQ_TID, v);", i, b->wide);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  open_piece(b);
  sq_cu_line(k, "s%u[p * %u + m] = SQ_SLD(vector%u, row * %u + j);", i, n / 2, i, b->wide);
  close_piece(b);
  sq_cu_close(k);
}
