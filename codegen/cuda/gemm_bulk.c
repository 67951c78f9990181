// The stages of gemm_wgmma.c by tensor maps. In: factors whose tiles are boxes of their memory. Out: one thread asks
// for both boxes of a stage, which the processor copies, swizzled, with zeros for what is outside; a gate opens
// when all bytes are there.
//
//   for each 64 of k:  stage k has come (gate) | barrier: all are done with stage k - 1 | products begin |
//                      the first thread asks for stage k + 2, where k - 1 was | products end
//
// A factor has a map where its memory runs along one summed axis, in whole vectors, and every other position is
// one axis itself: the rows' axes together as one, the batch's as two others at most. All others come by cp.async.
// A map's axes are in the order of memory, also where the batch's lie inside the rows: the driver's manual has each
// stride as a multiple of the one before, and the box is the same, since of the batch it has one.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/gemm.h"

enum {
  DEPTH = SQ_CU_WGMMA_DEPTH,
  STAGES = SQ_CU_WGMMA_STAGES,
  WORDS = SQ_CU_WGMMA_WORDS,
  ELEMENT = 2
};

// ---- maps --------------------------------------------------------------------------------------
// The one axis that the position is; false: it is something else.
static bool axis_of(const sq_cu_tiles *x, uint32_t pos, uint32_t *axis) {
  const sq_generic *g = x->t->g;
  sq_affine a = sq_scalar_affine(x->k->g, g, pos);
  int64_t offset;
  uint32_t n = 0;
  if (!a.ok || !sq_dim_is_const(x->k->g->dims, a.offset, &offset) || offset) return false;
  for (uint32_t c = 0; c < g->n_par + g->n_red; c++) {
    if (a.coef[c]) *axis = c, n++;
    if (a.coef[c] != 0 && a.coef[c] != 1) return false;
  }
  return n == 1;
}
static bool has_role(const sq_cu_tiles *x, sq_cu_role r, uint32_t axis) {
  for (uint32_t i = 0; i < x->p->n[r]; i++)
    if (x->p->axis[r][i] == axis) return true;
  return false;
}
typedef struct layout {               // of a factor's positions, without the last
  uint32_t axis[SQ_MAX_RANK], n, row; // row: the position of the last of the rows' axes
} layout;
// The rows' axes stand side by side, in their order, and what is behind the first fills its memory: they are one.
static bool rows_are_one(const sq_cu_tiles *x, const sq_type *type, sq_cu_role r, layout *l) {
  const uint32_t m = x->p->n[r];
  l->row = 0;
  while (l->row < l->n && l->axis[l->row] != x->p->axis[r][m - 1]) l->row++;
  if (l->row == l->n || l->row + 1 < m) return false;
  for (uint32_t j = 0; j < m; j++) {
    const uint32_t pos = l->row + 1 - m + j;
    const sq_dim extent = x->t->g->axis[x->p->axis[r][j]].extent;
    if (l->axis[pos] != x->p->axis[r][j]) return false;
    if (j && !sq_dim_same(extent, sq_dim_storage(x->k->g->dims, type->dim[pos]))) return false;
  }
  return true;
}
static bool find_layout(const sq_cu_tiles *x, const sq_cu_side *s, layout *l) {
  const sq_scalar *read = &x->t->g->s.v[x->p->read[s->number]];
  const sq_type *type = &x->t->n->in[read->operand]->type;
  if (!s->vectors || read->n_pos != type->rank || read->n_pos < 2) return false;
  l->n = read->n_pos - 1;
  for (uint32_t i = 0; i < l->n; i++) {
    if (!axis_of(x, read->pos[i], &l->axis[i])) return false;
    if (!has_role(x, s->role, l->axis[i]) && !has_role(x, SQ_CU_BATCH, l->axis[i])) return false;
    for (uint32_t j = 0; j < i; j++)
      if (l->axis[j] == l->axis[i]) return false;
  }
  return l->n - x->p->n[s->role] + 2 <= SQ_CU_MAP_AXES && rows_are_one(x, type, s->role, l);
}
static void make_map(const sq_cu_tiles *x, const sq_cu_side *s, const layout *l,
                     sq_cu_boxes *boxes) {
  sq_cu *k = x->k;
  sq_cg *cg = k->cg;
  sq_dims *ds = k->g->dims;
  const sq_scalar *read = &x->t->g->s.v[x->p->read[s->number]];
  const sq_value *v = x->t->n->in[read->operand];
  int64_t first = 0; // takes_vectors has seen that it is known
  (void)sq_dim_is_const(ds, sq_scalar_affine(k->g, x->t->g, read->pos[l->n]).offset, &first);
  LLVMValueRef skipped = sq_cg_i64(cg, ELEMENT * first);
  sq_cu_map map = {.at = sq_cg_add_bytes(cg, sq_cg_pointer(cg, v), skipped),
                   .bytes = LLVMBuildSub(cg->builder, sq_cg_bytes(cg, v), skipped, ""),
                   .type = v->type.dtype,
                   .rank = 1,
                   .dim = {sq_cu_some(k, x->extent[SQ_CU_SUM])},
                   .box = {DEPTH}};
  sq_dim stride = sq_dim_mul(ds, sq_dim_const(ds, ELEMENT), sq_dim_storage(ds, v->type.dim[l->n]));
  for (uint32_t i = l->n; i-- > 0;) {
    const bool rows = i == l->row;
    if (rows || has_role(x, SQ_CU_BATCH, l->axis[i])) {
      map.stride[map.rank - 1] = sq_cg_dim(cg, stride);
      map.dim[map.rank] = sq_cu_some(k, rows ? x->extent[s->role]
                                             : sq_cg_dim(cg, x->t->g->axis[l->axis[i]].extent));
      map.box[map.rank] = rows ? SQ_CU_WGMMA_ROWS : 1;
      boxes->at[s->number][map.rank++ - 1] = rows ? s->first : x->t->index[l->axis[i]];
    }
    stride = sq_dim_mul(ds, stride, sq_dim_storage(ds, v->type.dim[i]));
  }
  boxes->rank[s->number] = map.rank;
  boxes->map[s->number] = sq_cu_map_add(k, &map);
}
bool sq_cu_bulk_maps(const sq_cu_tiles *x, const sq_cu_side *side, sq_cu_boxes *boxes) {
  layout l[2];
  *boxes = (sq_cu_boxes){.at = {{"0", "0", "0"}, {"0", "0", "0"}}};
  if (!find_layout(x, &side[0], &l[0]) || !find_layout(x, &side[1], &l[1])) return false;
  make_map(x, &side[0], &l[0], boxes);
  make_map(x, &side[1], &l[1], boxes);
  return true;
}

// ---- the kernel --------------------------------------------------------------------------------
void sq_cu_bulk_begin(const sq_cu_tiles *x) {
  sq_cu *k = x->k;
  sq_cu_dynamic(k, true, "sq_u64", "gates", STAGES, STAGES * 8, 8);
  sq_cu_open(k, "if (SQ_TID == 0) {");
  sq_cu_line(k, "for (int i = 0; i < %d; i++) SQ_GATE_INIT(gates, i);", STAGES);
  sq_cu_line(k, "SQ_GATES_READY();");
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_line(k, "sq_i64 turn = 0; // stages of tiles before");
}
static void ask(const sq_cu_tiles *x, const sq_cu_side *side, const sq_cu_boxes *boxes,
                const char *at) {
  sq_cu *k = x->k;
  sq_cu_open(k, "if (SQ_TID == 0 && %s < stages) {", at);
  sq_cu_line(k, "const int to = (int)((turn + %s) %% %d), depth = (int)(%s) * %d;", at, STAGES, at,
             DEPTH);
  sq_cu_line(k, "SQ_GATE_EXPECT(gates, to, %d);", 2 * WORDS * 4);
  for (int i = 0; i < 2; i++)
    sq_cu_line(k,
               "SQ_BULK(%u, %s, to * %d, gates, to, %s, depth, (int)(%s), (int)(%s), (int)(%s));",
               boxes->rank[i], side[i].tile, WORDS, boxes->map[i], boxes->at[i][0], boxes->at[i][1],
               boxes->at[i][2]);
  sq_cu_close(k);
}
void sq_cu_bulk_sum(const sq_cu_tiles *x, const sq_cu_side *side, const sq_cu_boxes *boxes,
                    const char *type) {
  sq_cu *k = x->k;
  sq_cu_line(k, "const sq_i64 stages = (%s + %d) / %d;", x->count[SQ_CU_SUM], DEPTH - 1, DEPTH);
  sq_cu_line(k, "sq_wgmma_list flying;");
  for (int n = 0; n < STAGES - 1; n++) ask(x, side, boxes, sq_arena_fmt(k->a, "%d", n));
  sq_cu_open(k, "for (sq_i64 n = 0; n < stages; n++) {");
  sq_cu_line(k, "SQ_GATE_WAIT(gates, (turn + n) %% %d, (turn + n) / %d & 1);", STAGES, STAGES);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_wgmma_multiply(k, "(turn + n)", type);
  ask(x, side, boxes, sq_arena_fmt(k->a, "n + %d", STAGES - 1));
  sq_cu_line(k, "SQ_WARP_SYNC();");
  sq_cu_line(k, "sq_wgmma_wait<%s>(SQ_ME flying);", type);
  sq_cu_line(k, "sq_hold<64>(c);");
  sq_cu_close(k);
  sq_cu_line(k, "turn += stages;");
  sq_cu_line(k, "SQ_SYNC();");
}
