// unwrap: sweeps and streams become their bodies again, for targets without kernels for them.
//
//   %y = sweep {
//     %h, %e = scan extent N carried 1 (%h0) { ... }
//     %z = generic (%e) ...
//     yield %z }
// becomes
//   %h, %e = scan extent N carried 1 (%h0) { ... }
//   %z = generic (%e) ...
//
// What such a target lacks is said of scans and of attention.
#include "passes/stream.h"

static void dissolve(sq_func *f, sq_node *whole) {
  sq_block *b = whole->region[0];
  sq_node *end = sq_block_end(b);
  while (b->nodes.v[0] != end) {
    sq_node *n = b->nodes.v[0];
    sq_node_remove(n);
    sq_node_insert_before(whole, n);
  }
  for (uint32_t k = 0; k < whole->n_out; k++) sq_replace_uses(f, whole->out[k], end->in[k]);
  sq_node_remove(whole);
}

static bool do_block(sq_func *f, sq_block *b) {
  bool changed = false;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (n->op == SQ_OP_SWEEP) {
      dissolve(f, n);
      changed = true;
      k--; // what came in its place
      continue;
    }
    for (uint32_t r = 0; r < n->n_region; r++) changed |= do_block(f, n->region[r]);
  }
  return changed;
}

// Of what the target has no kernel for.
static void tell(sq_graph *g, sq_func *f, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (n->op == SQ_OP_SCAN)
      sq_pass_missed(g, f, "unwrap", n, NULL, NULL,
                     "runs turn by turn: the target has no kernel for all turns");
    for (uint32_t r = 0; r < n->n_region; r++) tell(g, f, n->region[r]);
  }
}

bool sq_pass_unwrap(sq_graph *g, const sq_pass_options *o) {
  bool changed = false;
  for (uint32_t k = 0; k < g->func.n; k++) {
    changed |= do_block(g->func.v[k], g->func.v[k]->body);
    if (o->device) tell(g, g->func.v[k], g->func.v[k]->body);
  }
  return changed;
}
