// hoist: what is the same in every turn of a loop is computed before it.
//
//   scan extent N carried 1 (%h) { (%t, %a)             %k = generic (%w) ... { %w[c] * 2.0 }
//     %k = generic (%w) ... { %w[c] * 2.0 }        ->   scan extent N carried 1 (%h) { (%t, %a)
//     ...                                                 ...
//
// Moved are pure operations whose operands and sizes come from outside. What can fail stays, since
// the loop may take no turn; so does what reads a state or parameter that the loop writes. A
// constant by itself stays, its users hold it already, or will; but the number of an instance goes
// with the parameter or state of it.
#include "passes/internal.h"

typedef struct hoister {
  sq_graph *g;
  const sq_func *f;
  uint64_t *reads, *writes;
  bool changed;
} hoister;

typedef struct param_writes {
  uint32_t ref;
  bool found;
} param_writes;
static void find_write(sq_node *n, void *user) {
  param_writes *p = user;
  if (n->op == SQ_OP_PARAM_WRITE && n->ref == p->ref) p->found = true;
}

static bool may_move(hoister *h, const sq_node *n, const sq_node *loop) {
  switch ((int)n->op) {
  case SQ_OP_GENERIC:
  case SQ_OP_CUMULATE:
  case SQ_OP_SORT:
  case SQ_OP_ARGSORT:
  case SQ_OP_TOPK:
  case SQ_OP_RANDOM:
    break;
  case SQ_OP_PARAM: {
    param_writes p = {n->ref, false};
    for (uint32_t r = 0; r < loop->n_region; r++) sq_walk(loop->region[r], find_write, &p);
    if (p.found) return false;
    break;
  }
  case SQ_OP_STATE_READ:
    if (h->writes[n->ref / 64] >> (n->ref % 64) & 1) return false;
    break;
  default:
    return false;
  }
  for (uint32_t k = 0; k < n->n_in; k++) {
    const sq_value *v = n->in[k];
    if (sq_block_inside(v->def ? v->def->block : v->block, loop)) return false;
  }
  return !sq_node_may_fail(n) && !sq_node_sized_inside(h->g, n, loop);
}

static bool worth_it(const sq_node *n) { return n->n_in || n->out[0]->type.rank; }

// Moves the constant that says which instance n reads.
static void move_instance(hoister *h, sq_node *n, sq_node *loop) {
  sq_node *c = n->has_instance ? n->in[n->n_in - 1]->def : NULL;
  if (!c || !sq_block_inside(c->block, loop) || c->n_in || !may_move(h, c, loop)) return;
  sq_node_remove(c);
  sq_node_insert_before(loop, c);
  h->changed = true;
}

static void move_out(hoister *h, sq_node *loop) {
  uint32_t words = h->g->state.n / 64 + 1;
  memset(h->writes, 0, words * sizeof *h->writes);
  sq_node_states(loop, h->reads, h->writes);
  for (uint32_t r = 0; r < loop->n_region; r++) {
    sq_block *b = loop->region[r];
    for (uint32_t k = 0; k < b->nodes.n; k++) {
      sq_node *n = b->nodes.v[k];
      uint32_t before = b->nodes.n;
      if (n->op == SQ_OP_PARAM || n->op == SQ_OP_STATE_READ) move_instance(h, n, loop);
      k -= before - b->nodes.n;
      if (!may_move(h, n, loop) || !worth_it(n)) continue;
      sq_node_remove(n);
      sq_node_insert_before(loop, n);
      k--;
      h->changed = true;
      if (n->op == SQ_OP_GENERIC && n->out[0]->type.rank)
        sq_remark_add(h->g->ctx, "hoist", true, n->span, sq_pass_entry(h->f),
                      "computed once before the %s", sq_op_table[loop->op].name);
    }
  }
}

static void do_block(hoister *h, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) do_block(h, n->region[r]); // innermost first
    if (!sq_node_is_loop(n)) continue;
    uint32_t before = b->nodes.n;
    move_out(h, n);
    k += b->nodes.n - before;
  }
}

bool sq_pass_hoist(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  uint32_t words = g->state.n / 64 + 1;
  hoister h = {.g = g};
  h.reads = SQ_ARRAY(g->arena, uint64_t, words);
  h.writes = SQ_ARRAY(g->arena, uint64_t, words);
  for (uint32_t k = 0; k < g->func.n; k++) {
    h.f = g->func.v[k];
    do_block(&h, g->func.v[k]->body);
  }
  return h.changed;
}
