// Small edits and questions of structure that several passes need.
#include "passes/internal.h"

const char *sq_pass_entry(const sq_func *f) {
  return f && f->kind == SQ_FUNC_ENTRY ? f->name : NULL;
}

void sq_pass_missed(sq_graph *g, const sq_func *f, const char *pass, const sq_node *n,
                    const sq_node *apart, const sq_node *obstacle, const char *text) {
  sq_remark_add(g->ctx, pass, false, n->span, sq_pass_entry(f), "%s", text);
  sq_remark *r = &g->ctx->remarks.v[g->ctx->remarks.n - 1];
  r->subject = n->id + 1;
  r->apart = apart ? apart->id + 1 : 0;
  if (obstacle) r->obstacle = obstacle->span;
}

void sq_pass_joined(sq_graph *g, const sq_func *f, const char *pass, const sq_node *n,
                    const char *text) {
  if (n->span.mark) sq_remark_add(g->ctx, pass, true, n->span, sq_pass_entry(f), "%s", text);
}

sq_node *sq_copy_before(sq_graph *g, sq_node *at, sq_value *v) {
  sq_node *n = sq_node_new(g, NULL, SQ_OP_GENERIC, at->span, 1, &v);
  uint32_t rank = v->type.rank, pos[SQ_MAX_RANK];
  n->g = sq_generic_new(g, rank, 0);
  for (uint32_t k = 0; k < rank; k++) {
    n->g->axis[k].extent = v->type.dim[k];
    pos[k] = sq_sc_index(g, n->g, k);
  }
  n->g->body = sq_sc_read(g, n->g, v->type.dtype, 0, rank, pos);
  sq_node_result(g, n, v->type, v->name);
  sq_node_insert_before(at, n);
  return n;
}

bool sq_node_is_copy(sq_graph *g, const sq_node *n) {
  uint32_t k = n->op == SQ_OP_GENERIC ? sq_generic_moves(g, n->g) : SQ_NO_OPERAND;
  return k < n->n_in && sq_type_same(n->in[k]->type, n->out[0]->type);
}

uint32_t sq_carried_first_in(const sq_node *n) { return n->op == SQ_OP_REPEAT ? 2 : 0; }

uint32_t sq_carried_count(const sq_node *n) {
  if (n->op == SQ_OP_REPEAT) return n->n_in - 2;
  if (n->op == SQ_OP_WHILE) return n->n_in;
  if (n->op == SQ_OP_SCAN) return n->n_carried;
  return 0;
}

sq_block *sq_carried_body(const sq_node *n) { return n->region[n->n_region - 1]; }

uint32_t sq_carried_first_arg(const sq_node *n) { return n->op == SQ_OP_WHILE ? 0 : 1; }

bool sq_node_is_kernel(const sq_node *n) {
  return n->op == SQ_OP_GROUP || n->op == SQ_OP_SWEEP || n->op == SQ_OP_STREAM;
}

bool sq_node_is_loop(const sq_node *n) {
  return n->op == SQ_OP_REPEAT || n->op == SQ_OP_WHILE || n->op == SQ_OP_SCAN || n->op == SQ_OP_MAP;
}

bool sq_block_inside(const sq_block *b, const sq_node *n) {
  for (; b && b->owner; b = b->owner->block)
    if (b->owner == n) return true;
  return false;
}

sq_node *sq_node_in_block(sq_node *n, const sq_block *b) {
  while (n && n->block != b) n = n->block ? n->block->owner : NULL;
  return n;
}

void sq_block_sweep(sq_block *b, const bool *dead) {
  uint32_t kept = 0;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (dead[n->id]) {
      n->block = NULL;
      continue;
    }
    b->nodes.v[kept++] = n;
    for (uint32_t r = 0; r < n->n_region; r++) sq_block_sweep(n->region[r], dead);
  }
  b->nodes.n = kept;
}

bool sq_node_may_fail(const sq_node *n) {
  if (sq_op_table[n->op].flags & SQ_OPF_E) return true;
  if (n->g && n->op != SQ_OP_MAP) {
    if (n->g->pos_site != SQ_NO_SITE) return true;
    for (uint32_t k = 0; k < n->g->s.n; k++)
      if (n->g->s.v[k].kind == SQ_SC_READ && n->g->s.v[k].site != SQ_NO_SITE) return true;
  }
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      if (sq_node_may_fail(n->region[r]->nodes.v[k])) return true;
  return false;
}

typedef struct sized {
  sq_graph *g;
  const sq_node *asked;
  bool found;
} sized;

bool sq_size_grows(const sq_graph *g, sq_dim d) {
  for (uint32_t k = 0; k < g->state.n; k++)
    if (g->state.v[k].grow.i && sq_dim_mentions(g->dims, d, g->state.v[k].grow)) return true;
  return false;
}

bool sq_node_mentions(const sq_graph *g, const sq_node *n, sq_sym s) {
  for (uint32_t k = 0; k < n->n_out; k++)
    for (uint32_t a = 0; a < n->out[k]->type.rank; a++)
      if (sq_dim_mentions(g->dims, n->out[k]->type.dim[a], s)) return true;
  if (n->extent.i && sq_dim_mentions(g->dims, n->extent, s)) return true;
  if (!n->g) return false;
  for (uint32_t a = 0; a < n->g->n_par + n->g->n_red; a++)
    if (sq_dim_mentions(g->dims, n->g->axis[a].extent, s)) return true;
  for (uint32_t k = 0; k < n->g->s.n; k++)
    if (n->g->s.v[k].kind == SQ_SC_DIM && sq_dim_mentions(g->dims, n->g->s.v[k].dim, s))
      return true;
  return false;
}

static void find_sizes(sq_node *n, void *user) {
  sized *s = user;
  if (n->op == SQ_OP_LIVE && sq_node_mentions(s->g, s->asked, n->sym)) s->found = true;
  if (n->op != SQ_OP_STATE_WRITE && n->op != SQ_OP_RESERVE && n->op != SQ_OP_RESET) return;
  for (uint32_t k = 0; k < s->g->state.n; k++) {
    sq_sym grow = s->g->state.v[k].grow;
    if (!grow.i || (n->op != SQ_OP_RESET && n->ref != k)) continue;
    if (sq_node_mentions(s->g, s->asked, grow)) s->found = true;
  }
}

bool sq_node_sized_inside(sq_graph *g, const sq_node *n, const sq_node *l) {
  sized s = {g, n, false};
  find_sizes((sq_node *)l, &s);
  for (uint32_t r = 0; r < l->n_region; r++) sq_walk(l->region[r], find_sizes, &s);
  return s.found;
}
