// unwrap: sweeps that the target has no kernel for become their bodies again.
//
//   %y = sweep {
//     %h, %e = scan extent N carried 1 (%h0) { ... }
//     %z = generic (%e) ...
//     yield %z }
// becomes
//   %h, %e = scan extent N carried 1 (%h0) { ... }
//   %z = generic (%e) ...
//
// A device has one for what fits the registers of a team of threads (ir/sweep_team.h). Of the others it
// says why.
#include "ir/sweep_team.h"
#include "passes/internal.h"

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

static void tell(sq_graph *g, sq_func *f, const sq_node *sweep, const char *why) {
  const sq_block *b = sweep->region[0];
  for (uint32_t k = 0; k < b->nodes.n; k++)
    if (b->nodes.v[k]->op == SQ_OP_SCAN)
      sq_pass_missed(g, f, "unwrap", b->nodes.v[k], NULL, NULL,
                     sq_arena_fmt(g->arena, "runs turn by turn: %s", why));
}

static bool do_block(sq_graph *g, sq_func *f, sq_block *b) {
  bool changed = false;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    for (uint32_t r = 0; r < n->n_region && !sq_node_is_kernel(n); r++)
      changed |= do_block(g, f, n->region[r]);
    if (n->op != SQ_OP_SWEEP) continue;
    const char *why = sq_sweep_team_make(sq_sweep_make(g, n)).why;
    if (!why) continue;
    tell(g, f, n, why);
    dissolve(f, n);
    changed = true;
    k--; // what came in its place
  }
  return changed;
}

bool sq_pass_unwrap(sq_graph *g, const sq_pass_options *o) {
  bool changed = false;
  (void)o;
  for (uint32_t k = 0; k < g->func.n; k++) changed |= do_block(g, g->func.v[k], g->func.v[k]->body);
  return changed;
}
