// Contractions on tensor cores, of factors of 16 bits in memory. In: what gemm.c has found. Out: a
// kernel that makes tiles of 128 x 64 with the products of a warp (sq_mma in device/common.cuh).
//
//   a block: 8 warps, 4 x 2, each a square of 32 x 32 results in its registers
//            for each 32 of k:  A's 128 x 32 and B's 64 x 32, in registers since the turn before, into
//                               shared memory | barrier | the next are asked for
//                               twice 8 products of 16 x 16 by 16 x 8 | barrier
//            post, results stored
//
// A row of a tile is 32 elements, 16 words, and 4 words apart from the next: the 32 lanes that fetch a
// fragment meet 32 banks. A factor that runs along k in memory is read by 8 elements.
//
// With `--float tf32` factors of f32 too: rounded to tf32, a word each, where they are read; a stage is then
// 16 of k, and a step of 8 words multiplies 16 x 8 by 8 x 8.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/gemm.h"

enum {
  ROWS = SQ_CU_MMA_ROWS,
  COLUMNS = SQ_CU_MMA_COLUMNS,
  THREADS = SQ_CU_MMA_THREADS,
  WORDS = SQ_CU_MMA_DEPTH / 2, // of a row
  PITCH = WORDS + 4,
  WARP = 32, // rows and columns of a warp
  PIECES = WORDS / 4,
};
static bool is_tf32(const sq_cu_tiles *x) { return x->vector == 4; }
static int depth(const sq_cu_tiles *x) { return PIECES * x->vector; } // of a stage, in elements

// ---- may it be? --------------------------------------------------------------------------------
// The type in memory, when no cast on the way changes a value of it.
static sq_dtype factor_type(const sq_generic *k, const sq_cu_product *p, const sq_node *n, int i) {
  sq_dtype t = n->in[k->s.v[p->read[i]].operand]->type.dtype;
  for (uint32_t s = p->side[i]; s != p->read[i]; s = k->s.v[s].a[0]) {
    sq_dtype to = k->s.v[s].dtype;
    if (to != t && to != SQ_F32) return SQ_DTYPE_COUNT;
  }
  return t;
}
sq_dtype sq_cu_mma_type(const sq_generic *k, const sq_cu_product *p, const sq_node *n) {
  sq_dtype a = factor_type(k, p, n, 0), b = factor_type(k, p, n, 1);
  bool half = a == SQ_F16 || a == SQ_BF16;
  return half && a == b && k->s.v[k->body].dtype != SQ_F64 ? a : SQ_DTYPE_COUNT;
}

// Is the size a multiple of n?
static bool by_vector(sq_graph *g, sq_dim d, int n) {
  int64_t c;
  return sq_dim_is_const(g->dims, d, &c) && c % n == 0;
}
// The last position is the summed axis alone, no other depends on it, and rows begin at whole vectors.
static bool takes_vectors(const sq_cu_tiles *x, int side) {
  sq_graph *g = x->k->g;
  const sq_generic *k = x->t->g;
  const sq_scalar *read = &k->s.v[x->p->read[side]];
  uint32_t sum = x->p->axis[SQ_CU_SUM][0], last = read->n_pos - 1;
  const sq_type *type = &x->t->n->in[read->operand]->type;
  if (is_tf32(x) && (type->dtype != SQ_F32 || x->p->side[side] != x->p->read[side])) return false;
  if (x->p->n[SQ_CU_SUM] != 1 || !read->n_pos || !by_vector(g, k->axis[sum].extent, x->vector) ||
      !by_vector(g, sq_dim_storage(g->dims, type->dim[last]), x->vector))
    return false;
  for (uint32_t i = 0; i < read->n_pos; i++) {
    sq_affine a = sq_scalar_affine(g, k, read->pos[i]);
    if (i < last && a.coef[sum] != 0) return false;
    if (i < last) continue;
    for (uint32_t c = 0; c < k->n_par + k->n_red; c++)
      if (a.coef[c] != (c == sum)) return false;
    if (!by_vector(g, a.offset, x->vector)) return false;
  }
  return true;
}

// ---- tiles in and out --------------------------------------------------------------------------
// The row and the four words of its tile that this thread brings in turn f.
static void place_in_tile(sq_cu *k, const sq_cu_side *s) {
  sq_cu_line(k, "const sq_i64 e = f * %d + SQ_TID;", THREADS);
  if (s->along)
    sq_cu_line(k, "const sq_i64 m = e / %d, v = e %% %d;", PIECES, PIECES);
  else
    sq_cu_line(k, "const sq_i64 m = e %% %d, v = e / %d;", s->rows, s->rows);
}
static int turns(const sq_cu_side *s) { return s->rows * PIECES / THREADS; }

static void fetch_vector(const sq_cu_tiles *x, const sq_cu_side *s) {
  uint32_t mark = sq_cu_nest_enter(x->t);
  sq_cu_nest_unflatten(x->t, x->p->axis[s->role], x->p->n[s->role], "row");
  sq_cu_nest_unflatten(x->t, x->p->axis[SQ_CU_SUM], 1, "depth");
  sq_cu_line(x->k, is_tf32(x) ? "%s[f] = sq_round_tf32(SQ_LD_VEC(%s));" : "%s[f] = SQ_LD_VEC(%s);",
             s->held, sq_cu_nest_place(x->t, x->p->read[s->number]));
  sq_cu_nest_leave(x->t, mark);
}
void sq_cu_fetch_elements(const sq_cu_tiles *x, const sq_cu_side *s, const char *held) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int i = 0; i < %d; i++) {", x->vector);
  sq_cu_line(k, "const sq_i64 at = depth + i;");
  sq_cu_open(k, "if (at < %s) {", x->count[SQ_CU_SUM]);
  uint32_t mark = sq_cu_nest_enter(x->t);
  sq_cu_nest_unflatten(x->t, x->p->axis[s->role], x->p->n[s->role], "row");
  sq_cu_nest_unflatten(x->t, x->p->axis[SQ_CU_SUM], x->p->n[SQ_CU_SUM], "at");
  if (is_tf32(x))
    sq_cu_line(k, "%s.w[i] = sq_tf32_bits(%s);", held,
               sq_cu_nest_value(x->t, x->p->side[s->number]));
  else
    sq_cu_line(k, "%s.w[i / 2] |= (sq_u32)SQ_LD_BITS(%s) << i %% 2 * 16;", held,
               sq_cu_nest_place(x->t, x->p->read[s->number]));
  sq_cu_nest_leave(x->t, mark);
  sq_cu_close(k);
  sq_cu_close(k);
}
static void fetch(const sq_cu_tiles *x, const sq_cu_side *s, const char *from) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int f = 0; f < %d; f++) {", turns(s));
  place_in_tile(k, s);
  sq_cu_line(k, "const sq_i64 row = %s + m, depth = %s + v * %d;", s->first, from, x->vector);
  sq_cu_line(k, "%s[f] = sq_vec8{{0, 0, 0, 0}};", s->held);
  sq_cu_open(k, "if (row < %s && depth < %s) {", x->count[s->role], x->count[SQ_CU_SUM]);
  if (s->vectors)
    fetch_vector(x, s);
  else
    sq_cu_fetch_elements(x, s, sq_arena_fmt(k->a, "%s[f]", s->held));
  sq_cu_close(k);
  sq_cu_close(k);
}
static void put_down(sq_cu *k, const sq_cu_side *s) {
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int f = 0; f < %d; f++) {", turns(s));
  place_in_tile(k, s);
  sq_cu_line(k, "SQ_SST_VEC(%s, m * %d + v * 4, %s[f]);", s->tile, PITCH, s->held);
  sq_cu_close(k);
}

// ---- products ----------------------------------------------------------------------------------
// Lane 4 g + q of a warp: see sq_mma.
static void multiply(sq_cu *k, const char *type) {
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int d = 0; d < %d; d += 8) {", WORDS);
  sq_cu_line(k, "sq_u32 u[2][4], w[4][2];");
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k,
             "for (int i = 0; i < 8; i++) u[i / 4][i %% 4] = SQ_SLD(tile_a, (wm + i / 4 * 16 + "
             "i %% 2 * 8 + g) * %d + d + i / 2 %% 2 * 4 + q);",
             PITCH);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k,
             "for (int i = 0; i < 8; i++) w[i / 2][i %% 2] = SQ_SLD(tile_b, (wn + i / 2 * 8 + g) * "
             "%d + d + i %% 2 * 4 + q);",
             PITCH);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < 8; i++) sq_mma<%s>(SQ_ME c + i * 4, u[i / 4], w[i %% 4]);",
             type);
  sq_cu_close(k);
}
void sq_cu_store_result(const sq_cu_tiles *x, const sq_cu_place *to) {
  sq_cu *k = x->k;
  const sq_generic *g = x->t->g;
  sq_cu_open(k, "if (row < %s && column < %s) {", x->count[SQ_CU_ROW], x->count[SQ_CU_COLUMN]);
  uint32_t mark = sq_cu_nest_enter(x->t);
  sq_cu_nest_unflatten(x->t, x->p->axis[SQ_CU_ROW], x->p->n[SQ_CU_ROW], "row");
  sq_cu_nest_unflatten(x->t, x->p->axis[SQ_CU_COLUMN], x->p->n[SQ_CU_COLUMN], "column");
  x->t->acc = "c[i]";
  const char *v = g->post != SQ_NO_SCALAR ? sq_cu_nest_value(x->t, g->post) : "c[i]";
  sq_cu_nest_store(x->t, to, v);
  sq_cu_nest_leave(x->t, mark);
  sq_cu_close(k);
}
static void store(const sq_cu_tiles *x, const sq_cu_place *to) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int i = 0; i < 32; i++) {");
  sq_cu_line(k, "const sq_i64 row = row0 + wm + i / 16 * 16 + i / 2 %% 2 * 8 + g;");
  sq_cu_line(k, "const sq_i64 column = column0 + wn + i / 4 %% 4 * 8 + 2 * q + i %% 2;");
  sq_cu_store_result(x, to);
  sq_cu_close(k);
}

// ---- the kernel --------------------------------------------------------------------------------
static void begin(sq_cu *k, const sq_cu_side *a, const sq_cu_side *b) {
  sq_cu_line(k, "SQ_SHARED(sq_u32, tile_a, %d);", ROWS * PITCH);
  sq_cu_line(k, "SQ_SHARED(sq_u32, tile_b, %d);", COLUMNS * PITCH);
  sq_cu_line(k, "const int g = (int)(SQ_TID %% 32) / 4, q = (int)(SQ_TID %% 4);");
  sq_cu_line(k, "const int wm = (int)(SQ_TID / 64) * %d, wn = (int)(SQ_TID / 32 %% 2) * %d;", WARP,
             WARP);
  sq_cu_line(k, "sq_vec8 held_a[%d], held_b[%d];", turns(a), turns(b));
}
static void sum(const sq_cu_tiles *x, const sq_cu_side *a, const sq_cu_side *b, const char *type) {
  sq_cu *k = x->k;
  fetch(x, a, "0");
  fetch(x, b, "0");
  sq_cu_open(k, "for (sq_i64 k0 = 0; k0 < %s; k0 += %d) {", x->count[SQ_CU_SUM], depth(x));
  put_down(k, a);
  put_down(k, b);
  sq_cu_line(k, "SQ_SYNC();");
  fetch(x, a, sq_arena_fmt(k->a, "k0 + %d", depth(x)));
  fetch(x, b, sq_arena_fmt(k->a, "k0 + %d", depth(x)));
  multiply(k, type);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
}
static void body(const sq_cu_tiles *x, const sq_cu_side *side, const char *across, const char *down,
                 const char *type, const sq_cu_place *to) {
  sq_cu *k = x->k;
  begin(k, &side[0], &side[1]);
  sq_cu_open(k, "for (sq_i64 t = SQ_BLOCK; t < %s * %s * %s; t += SQ_GRID) {", across, down,
             x->count[SQ_CU_BATCH]);
  sq_cu_line(k, "const sq_i64 column0 = t %% %s * %d, rest = t / %s;", across, COLUMNS, across);
  sq_cu_line(k, "const sq_i64 row0 = rest %% %s * %d, z = rest / %s;", down, ROWS, down);
  sq_cu_nest_unflatten(x->t, x->p->axis[SQ_CU_BATCH], x->p->n[SQ_CU_BATCH], "z");
  sq_cu_line(k, "float c[32];");
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < 32; i++) c[i] = 0;");
  sum(x, &side[0], &side[1], type);
  store(x, to);
  sq_cu_close(k);
}
void sq_cu_mma_emit(const sq_cu_tiles *x, sq_dtype t, const sq_cu_place *to) {
  sq_cu *k = x->k;
  sq_cu_side side[2] = {
      {0, ROWS, SQ_CU_ROW, "tile_a", "held_a", "row0", takes_vectors(x, 0), false},
      {1, COLUMNS, SQ_CU_COLUMN, "tile_b", "held_b", "column0", takes_vectors(x, 1), false}};
  for (int i = 0; i < 2; i++) side[i].along = sq_cu_runs_along_sum(x, i);
  LLVMValueRef rows = sq_cu_tile_count(k, x->extent[SQ_CU_ROW], ROWS);
  LLVMValueRef columns = sq_cu_tile_count(k, x->extent[SQ_CU_COLUMN], COLUMNS);
  const char *across = sq_cu_number(k, columns), *down = sq_cu_number(k, rows);
  const char *type = is_tf32(x) ? "sq_tf32" : sq_cu_mem_type(t);
  if (!is_tf32(x)) sq_cu_line(k, "#if !SQ_WGMMA");
  body(x, side, across, down, type, to);
  if (!is_tf32(x)) {
    sq_cu_line(k, "#else");
    side[0].tile = "ring_a";
    side[1].tile = "ring_b";
    sq_cu_wgmma_body(x, side, across, down, type, to);
    sq_cu_line(k, "#endif");
  }
  sq_cu_launch(k, sq_cu_tile_units(x, rows, columns), 1, 0);
}
