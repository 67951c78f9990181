// unwrap: sweeps and streams become their bodies again, where the target has no kernel for them.
//
//   %y = sweep {
//     %h, %e = scan extent N carried 1 (%h0) { ... }
//     %z = generic (%e) ...
//     yield %z }
// becomes
//   %h, %e = scan extent N carried 1 (%h0) { ... }
//   %z = generic (%e) ...
//
// A device has kernels for streams, for sweeps in blocks that fit shared memory (ir/sweep_tiles.h), and for
// sweeps that fit the registers of a team of threads (ir/sweep_team.h). Of the others it is said why.
#include "ir/sweep_team.h"
#include "ir/sweep_tiles.h"
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

static bool in_blocks(sq_graph *g, sq_node *n) {
  sq_sweep *s = sq_sweep_make(g, n);
  if (s->why || !s->chunk) return false;
  sq_chunk c = sq_chunk_make(s);
  return !c.why && !sq_sweep_tiles_make(&c, s->scan->n_carried, s->chunk).why;
}

// Has the target a kernel for it? On a device, what has none is told of.
static bool keeps(sq_graph *g, sq_func *f, const sq_pass_options *o, sq_node *n) {
  if (!o->device) return false;
  if (n->op == SQ_OP_STREAM) return true;
  if (in_blocks(g, n)) return true;
  const sq_sweep *s = sq_sweep_make(g, n);
  const char *why =
      s->newton || s->dense ? NULL : sq_sweep_team_make(s).why; // a turn of which is small
  if (why) tell(g, f, n, why);
  return !why;
}

static bool do_block(sq_graph *g, sq_func *f, const sq_pass_options *o, sq_block *b) {
  bool changed = false;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (n->op == SQ_OP_SWEEP || n->op == SQ_OP_STREAM) {
      if (keeps(g, f, o, n)) continue;
      dissolve(f, n);
      changed = true;
      k--; // what came in its place
      continue;
    }
    for (uint32_t r = 0; r < n->n_region; r++) changed |= do_block(g, f, o, n->region[r]);
  }
  return changed;
}

bool sq_pass_unwrap(sq_graph *g, const sq_pass_options *o) {
  bool changed = false;
  for (uint32_t k = 0; k < g->func.n; k++)
    changed |= do_block(g, g->func.v[k], o, g->func.v[k]->body);
  return changed;
}
