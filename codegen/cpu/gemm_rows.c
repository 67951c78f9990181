// A group behind a product, run row by row in the product's units of work:
//
//   z = generic sum ...          a unit: a block of rows times all panels
//   y = group { norm of z }      then the group's rows of that block, near in the caches, no launch
//
// The group's kernel is made as ever, in front of the product's. A unit that has all columns of a block
// of rows calls it for those rows. Where rows are so few that units share them, it is launched behind the
// product. Which of both is known when sizes are; what a row computes is the same.
//
// Other units still read the product's operands while a unit runs the group. So a result of the group lies
// in the place of such an operand only where each of its rows is read for the same row alone.
#include "codegen/cpu/gemm.h"

static bool reads(const sq_node *n, const sq_value *v) {
  for (uint32_t i = 0; i < n->n_in; i++)
    if (n->in[i] == v) return true;
  return false;
}
// All reads of v by n are in the row of the first n_row axes.
static bool reads_own_row(sq_graph *g, const sq_node *n, const sq_value *v, uint32_t n_row) {
  for (uint32_t s = 0; s < n->g->s.n; s++) {
    const sq_scalar *x = &n->g->s.v[s];
    if (x->kind != SQ_SC_READ || n->in[x->operand] != v) continue;
    if (sq_read_leading(g, n->g, x) < n_row) return false;
  }
  return true;
}
static bool is_read_by_row(sq_graph *g, const sq_node *group, const sq_value *v, uint32_t n_row) {
  const sq_block *b = group->region[0];
  for (uint32_t i = 0; i < b->nodes.n; i++)
    if (b->nodes.v[i]->g && !reads_own_row(g, b->nodes.v[i], v, n_row)) return false;
  return true;
}
static bool group_reads(const sq_node *group, const sq_value *v) {
  const sq_block *b = group->region[0];
  for (uint32_t i = 0; i < b->nodes.n; i++)
    if (reads(b->nodes.v[i], v)) return true;
  return false;
}

// ---- places --------------------------------------------------------------------------------------
static bool same_place(const sq_value *a, const sq_value *b) {
  return a->store == b->store && a->store_index == b->store_index;
}
static bool same_layout(sq_dims *ds, const sq_type *a, const sq_type *b) {
  if (sq_dtype_table[a->dtype].bytes != sq_dtype_table[b->dtype].bytes || a->rank != b->rank)
    return false;
  for (uint32_t i = 0; i < a->rank; i++)
    if (!sq_dim_same(sq_dim_storage(ds, a->dim[i]), sq_dim_storage(ds, b->dim[i]))) return false;
  return true;
}
static bool is_overwritten(sq_graph *g, const sq_node *n, const sq_gemm_rows *r) {
  for (uint32_t o = 0; o < r->group->n_out; o++) {
    const sq_value *to = r->group->out[o];
    for (uint32_t i = 0; i < n->n_in; i++) {
      const sq_value *v = n->in[i];
      if (!same_place(to, v)) continue;
      if (!same_layout(g->dims, &to->type, &v->type) || !reads_own_row(g, n, v, r->n_row))
        return true;
    }
  }
  return false;
}

// ---- which ---------------------------------------------------------------------------------------
// The first outer axes of the group that together are as many rows as the product has; 0: none are.
static uint32_t row_axes(sq_graph *g, const sq_node *n, const sq_gemm *x, const sq_node *group) {
  const sq_node *first = group->region[0]->nodes.v[0];
  sq_dim rows = sq_dim_const(g->dims, 1);
  if (!x->m.n || x->m.axis[x->m.n - 1] > x->n.axis[0]) return 0;
  for (uint32_t a = 0; a < group->n_outer && a < n->g->n_par; a++) {
    if (!sq_dim_same(n->g->axis[a].extent, first->g->axis[a].extent)) return 0;
    rows = sq_dim_mul(g->dims, rows, n->g->axis[a].extent);
    if (sq_dim_same(rows, x->m.size)) return a + 1;
  }
  return 0;
}
static const char *why_not(sq_graph *g, const sq_target *t, const sq_node *n, const sq_gemm *x,
                           sq_gemm_rows *r) {
  sq_gemm_pair pair;
  int64_t m;
  r->n_row = row_axes(g, n, x, r->group);
  if (!r->n_row || x->batch.n) return "a row of it is not a row of the product";
  if (!is_read_by_row(g, r->group, n->out[0], r->n_row)) return "it reads other rows too";
  int64_t few = x->packed ? 0 : sq_gemm_shape_of(x, t).direct;
  if (sq_dim_is_const(g->dims, x->m.size, &m) && (m < x->mr || m <= few))
    return "there are few rows";
  if (!sq_gemm_in_one(x)) return "the columns are made block by block";
  if (sq_gemm_pair_of_turn(g, t, n, &pair) || sq_gemm_pair_of_first(g, t, n, &pair))
    return "rows of the product are made in the turns of a scan";
  if (is_overwritten(g, n, r)) return "its result lies where the product reads";
  return NULL;
}
bool sq_gemm_rows_behind(sq_graph *g, const sq_target *t, const sq_node *n, sq_gemm_rows *out) {
  const sq_block *b = n->block;
  sq_gemm x;
  *out = (sq_gemm_rows){0};
  if (!b || n->n_out != 1 ||
      !sq_gemm_find(g, t, sq_kernel_collapse(g, (sq_node *)(uintptr_t)n), &x))
    return false;
  uint32_t at = 0;
  while (b->nodes.v[at] != n) at++;
  bool apart = false;
  for (uint32_t i = at + 1; i < b->nodes.n && !out->group; i++) {
    const sq_node *m = b->nodes.v[i];
    if (m->op == SQ_OP_GROUP && m->n_outer && group_reads(m, n->out[0]))
      out->group = m;
    else if (m->op != SQ_OP_PARAM && m->op != SQ_OP_STATE_READ)
      apart = true;
  }
  if (!out->group) return false;
  out->why = apart ? "other work stands between them" : why_not(g, t, n, &x, out);
  return true;
}

// ---- in the entry --------------------------------------------------------------------------------
const sq_kready *sq_gemm_rows_begin(sq_cg *cg, const sq_gemm_rows *r, sq_lv row_blocks, sq_lv rows,
                                    sq_lv panel_blocks) {
  sq_lv one = LLVMConstInt(LLVMTypeOf(panel_blocks), 1, 0);
  sq_krows by = {.n_row = r->n_row, .blocks = row_blocks, .rows = rows};
  by.whole = LLVMBuildICmp(cg->builder, LLVMIntEQ, panel_blocks, one, "");
  return sq_kernel_group_ready(cg, r->group, &by);
}
