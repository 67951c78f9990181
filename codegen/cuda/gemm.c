// Contractions: result[z, m, n] = post(sum over k of A[z, m, k] * B[z, n, k]), each letter any number of
// axes. In: a generic whose element is such a product. Out: a kernel that makes tiles of 64 x 64.
//
//   a block: for each 16 of k:  A's 64 x 16 and B's 64 x 16 into shared memory | barrier
//                               each thread: 4 x 4 results += 4 of A times 4 of B, 16 times | barrier
//            post, results stored
//
// Which axes are z, m, n, k is seen in the reads: those of both, of A alone, of B alone, the reduced.
#include "codegen/cuda/gemm.h"
#include "codegen/cpu/driver.h"

enum { TILE = 64, DEPTH = 16, PITCH = TILE + 4, SIDE = 16, EACH = 4, THREADS = SIDE * SIDE };
enum { TOGETHER = 3 }; // blocks that a multiprocessor has registers for: 80 a thread
enum { FEW = 4 };      // rows or columns that are not worth a tile, seen when the entry runs
enum { SMALL = 16 };   // rows or columns below which tiles are mostly empty

// ---- is it one? --------------------------------------------------------------------------------
// The read that a factor is, behind casts; NO_SCALAR: it is something else, or is guarded or tested.
static uint32_t read_of(const sq_generic *g, uint32_t s) {
  while (g->s.v[s].kind == SQ_SC_CAST && sq_is_float(g->s.v[g->s.v[s].a[0]].dtype))
    s = g->s.v[s].a[0];
  const sq_scalar *x = &g->s.v[s];
  bool plain = x->kind == SQ_SC_READ && x->guard == SQ_NO_SCALAR && x->other == SQ_NO_SCALAR &&
               x->site == SQ_NO_SITE;
  return plain ? s : SQ_NO_SCALAR;
}
// The axes that its positions depend on; false: they are not affine.
static bool axes_of(sq_graph *g, const sq_generic *k, uint32_t read, uint32_t n_axes, bool *has) {
  const sq_scalar *x = &k->s.v[read];
  for (uint32_t i = 0; i < x->n_pos; i++) {
    sq_affine a = sq_scalar_affine(g, k, x->pos[i]);
    if (!a.ok) return false;
    for (uint32_t c = 0; c < n_axes; c++) has[c] |= a.coef[c] != 0;
  }
  return true;
}
static bool is_small(sq_graph *g, const sq_generic *k, const uint32_t *axis, uint32_t n) {
  int64_t all = 1, e;
  for (uint32_t i = 0; i < n; i++) {
    if (!sq_dim_is_const(g->dims, k->axis[axis[i]].extent, &e) || e >= SMALL) return false;
    all *= e > 0 ? e : 0;
  }
  return all < SMALL;
}
static bool find_product(sq_graph *g, const sq_node *node, sq_cu_product *p) {
  const sq_generic *k = node->g;
  uint32_t n_axes = k->n_par + k->n_red;
  bool has[2][SQ_CU_AXES] = {0};
  if (k->keyed || k->pos || k->monoid != SQ_SUM || !k->n_red || k->domain.n) return false;
  const sq_scalar *body = &k->s.v[k->body];
  if (body->kind != SQ_SC_EWISE || body->ew != SQ_EW_MUL || !sq_is_float(body->dtype)) return false;
  *p = (sq_cu_product){0};
  for (int i = 0; i < 2; i++) {
    p->side[i] = body->a[i];
    p->read[i] = read_of(k, body->a[i]);
    if (p->read[i] == SQ_NO_SCALAR || !axes_of(g, k, p->read[i], n_axes, has[i])) return false;
  }
  for (uint32_t c = 0; c < n_axes; c++) {
    sq_cu_role r = c >= k->n_par            ? SQ_CU_SUM
                   : has[0][c] == has[1][c] ? SQ_CU_BATCH
                   : has[0][c]              ? SQ_CU_ROW
                                            : SQ_CU_COLUMN;
    p->axis[r][p->n[r]++] = c;
  }
  return p->n[SQ_CU_ROW] && p->n[SQ_CU_COLUMN] &&
         !is_small(g, k, p->axis[SQ_CU_ROW], p->n[SQ_CU_ROW]) &&
         !is_small(g, k, p->axis[SQ_CU_COLUMN], p->n[SQ_CU_COLUMN]) &&
         !is_small(g, k, p->axis[SQ_CU_SUM], p->n[SQ_CU_SUM]);
}

// ---- the kernel --------------------------------------------------------------------------------
static LLVMValueRef product_of(sq_cu *k, const sq_generic *g, const uint32_t *axis, uint32_t n) {
  sq_axis some[SQ_CU_AXES];
  for (uint32_t i = 0; i < n; i++) some[i] = g->axis[axis[i]];
  sq_generic part = {.axis = some};
  return sq_cu_units(k, &part, n);
}
LLVMValueRef sq_cu_tile_count(sq_cu *k, LLVMValueRef n, int64_t size) {
  LLVMBuilderRef b = k->cg->builder;
  n = LLVMBuildAdd(b, n, sq_cg_i64(k->cg, size - 1), "");
  return LLVMBuildSDiv(b, n, sq_cg_i64(k->cg, size), "");
}
// Memory runs along the last summed axis: then neighbouring threads take neighbouring k.
bool sq_cu_runs_along_sum(const sq_cu_tiles *x, int side) {
  const sq_generic *g = x->t->g;
  const sq_scalar *read = &g->s.v[x->p->read[side]];
  uint32_t last = x->p->axis[SQ_CU_SUM][x->p->n[SQ_CU_SUM] - 1];
  if (!read->n_pos) return false;
  sq_affine a = sq_scalar_affine(x->k->g, g, read->pos[read->n_pos - 1]);
  return a.coef[last] == 1 || a.coef[last] == -1;
}
static void load_tile(const sq_cu_tiles *x, int side, const char *to, const char *first) {
  sq_cu *k = x->k;
  sq_cu_role r = side ? SQ_CU_COLUMN : SQ_CU_ROW;
  sq_cu_open(k, "for (sq_i64 e = SQ_TID; e < %d; e += %d) {", TILE * DEPTH, THREADS);
  if (sq_cu_runs_along_sum(x, side))
    sq_cu_line(k, "const sq_i64 m = e / %d, d = e %% %d;", DEPTH, DEPTH);
  else
    sq_cu_line(k, "const sq_i64 m = e %% %d, d = e / %d;", TILE, TILE);
  sq_cu_line(k, "const sq_i64 row = %s + m, depth = k0 + d;", first);
  sq_cu_line(k, "%s v = 0;", x->type);
  sq_cu_open(k, "if (row < %s && depth < %s) {", x->count[r], x->count[SQ_CU_SUM]);
  uint32_t mark = sq_cu_nest_enter(x->t);
  sq_cu_nest_unflatten(x->t, x->p->axis[r], x->p->n[r], "row");
  sq_cu_nest_unflatten(x->t, x->p->axis[SQ_CU_SUM], x->p->n[SQ_CU_SUM], "depth");
  sq_cu_line(k, "v = %s;", sq_cu_nest_value(x->t, x->p->side[side]));
  sq_cu_nest_leave(x->t, mark);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SST(%s, d * %d + m, v);", to, PITCH);
  sq_cu_close(k);
}
static void multiply_tile(const sq_cu_tiles *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int d = 0; d < %d; d++) {", DEPTH);
  sq_cu_line(k, "%s u[%d], w[%d];", x->type, EACH, EACH);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int i = 0; i < %d; i++) {", EACH);
  sq_cu_line(k, "u[i] = SQ_SLD(tile_a, d * %d + ty * %d + i);", PITCH, EACH);
  sq_cu_line(k, "w[i] = SQ_SLD(tile_b, d * %d + tx * %d + i);", PITCH, EACH);
  sq_cu_close(k);
  sq_cu_line(k, "#pragma unroll");
  // Fused explicitly: the same rounding on a processor, which would fuse it anyway, and emulated.
  sq_cu_line(k, "for (int i = 0; i < %d; i++) c[i] = sq_c_fma(u[i / %d], w[i %% %d], c[i]);",
             EACH * EACH, EACH, EACH);
  sq_cu_close(k);
}
static void store_tile(const sq_cu_tiles *x, const sq_cu_place *to) {
  sq_cu *k = x->k;
  const sq_generic *g = x->t->g;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int i = 0; i < %d; i++) {", EACH * EACH);
  sq_cu_line(k, "const sq_i64 row = row0 + ty * %d + i / %d, column = column0 + tx * %d + i %% %d;",
             EACH, EACH, EACH, EACH);
  sq_cu_open(k, "if (row < %s && column < %s) {", x->count[SQ_CU_ROW], x->count[SQ_CU_COLUMN]);
  uint32_t mark = sq_cu_nest_enter(x->t);
  sq_cu_nest_unflatten(x->t, x->p->axis[SQ_CU_ROW], x->p->n[SQ_CU_ROW], "row");
  sq_cu_nest_unflatten(x->t, x->p->axis[SQ_CU_COLUMN], x->p->n[SQ_CU_COLUMN], "column");
  x->t->acc = "c[i]";
  const char *v = g->post != SQ_NO_SCALAR ? sq_cu_nest_value(x->t, g->post) : "c[i]";
  sq_cu_nest_store(x->t, to, v);
  sq_cu_nest_leave(x->t, mark);
  sq_cu_close(k);
  sq_cu_close(k);
}
static void emit_tiles(const sq_cu_tiles *x, const sq_cu_place *to) {
  sq_cu *k = x->k;
  LLVMValueRef rows = sq_cu_tile_count(k, x->extent[SQ_CU_ROW], TILE),
               columns = sq_cu_tile_count(k, x->extent[SQ_CU_COLUMN], TILE);
  LLVMValueRef units = sq_cu_tile_units(x, rows, columns);
  const char *across = sq_cu_number(k, columns), *down = sq_cu_number(k, rows);
  sq_cu_line(k, "SQ_SHARED(%s, tile_a, %d);", x->type, DEPTH * PITCH);
  sq_cu_line(k, "SQ_SHARED(%s, tile_b, %d);", x->type, DEPTH * PITCH);
  sq_cu_line(k, "const sq_i64 tx = SQ_TID %% %d, ty = SQ_TID / %d;", SIDE, SIDE);
  sq_cu_open(k, "for (sq_i64 t = SQ_BLOCK; t < %s; t += SQ_GRID) {", sq_cu_number(k, units));
  sq_cu_line(k, "const sq_i64 column0 = t %% %s * %d, rest = t / %s;", across, TILE, across);
  sq_cu_line(k, "const sq_i64 row0 = rest %% %s * %d, z = rest / %s;", down, TILE, down);
  sq_cu_nest_unflatten(x->t, x->p->axis[SQ_CU_BATCH], x->p->n[SQ_CU_BATCH], "z");
  sq_cu_line(k, "%s c[%d];", x->type, EACH * EACH);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < %d; i++) c[i] = 0;", EACH * EACH);
  sq_cu_open(k, "for (sq_i64 k0 = 0; k0 < %s; k0 += %d) {", x->count[SQ_CU_SUM], DEPTH);
  load_tile(x, 0, "tile_a", "row0");
  load_tile(x, 1, "tile_b", "column0");
  sq_cu_line(k, "SQ_SYNC();");
  multiply_tile(x);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
  store_tile(x, to);
  sq_cu_close(k);
  sq_cu_launch(k, units, 1, 0);
}
// One result a warp takes less than a tile that is mostly empty; where sizes are known, is_small has told.
static LLVMValueRef is_few(const sq_cu_tiles *x) {
  LLVMBuilderRef b = x->k->cg->builder;
  LLVMValueRef few = NULL, most = sq_cg_i64(x->k->cg, FEW);
  for (int r = SQ_CU_ROW; r <= SQ_CU_COLUMN; r++) {
    if (LLVMIsAConstantInt(x->extent[r])) continue;
    LLVMValueRef is = LLVMBuildICmp(b, LLVMIntSLE, x->extent[r], most, "few");
    few = few ? LLVMBuildOr(b, few, is, "") : is;
  }
  return few;
}
LLVMValueRef sq_cu_tile_units(const sq_cu_tiles *x, LLVMValueRef rows, LLVMValueRef columns) {
  sq_cu *k = x->k;
  LLVMValueRef n = sq_cu_mul(k, sq_cu_mul(k, rows, columns), x->extent[SQ_CU_BATCH]);
  return x->few ? LLVMBuildSelect(k->cg->builder, x->few, sq_cg_i64(k->cg, 0), n, "") : n;
}
sq_cu_tiled sq_cuda_gemm(sq_cg *cg, sq_node *n, LLVMValueRef *few) {
  sq_cu_product p;
  if (!find_product(cg->graph, n, &p)) return SQ_CU_UNTILED;
  sq_cu kern, *k = &kern;
  sq_cu_nest t;
  sq_dtype half = sq_cu_mma_type(n->g, &p, n);
  bool tf32 = half == SQ_DTYPE_COUNT && cg->target->tf32 && n->g->s.v[n->g->body].dtype == SQ_F32;
  if (tf32) half = SQ_F32;
  bool cores = half != SQ_DTYPE_COUNT;
  sq_cu_begin(k, cg, "contract", n->out[0], cores ? SQ_CU_MMA_THREADS : THREADS);
  if (!cores) k->blocks = TOGETHER;
  k->syncs = true;
  sq_cu_nest_begin(&t, k, n, NULL);
  sq_cu_tiles x = {.k = k, .t = &t, .p = &p, .type = sq_cu_type(n->g->s.v[n->g->body].dtype)};
  x.vector = tf32 ? 4 : 8;
  for (int r = 0; r < SQ_CU_N_ROLES; r++) {
    x.extent[r] = product_of(k, n->g, p.axis[r], p.n[r]);
    x.count[r] = sq_cu_number(k, x.extent[r]);
  }
  *few = x.few = is_few(&x);
  sq_cu_place to = sq_cu_place_of(k, NULL, n->out[0]);
  if (cores)
    sq_cu_mma_emit(&x, half, &to);
  else
    emit_tiles(&x, &to);
  return x.few ? SQ_CU_TILED_UNLESS : SQ_CU_TILED;
}
