// sweep: a scan becomes one kernel, with the elementwise work on what it emits.
//
//   %h, %e = scan extent N carried 1 (%h0) { (%t, %a) ... yield %b, %o }
//   %y = generic (%e, %z) [c < 8, t < N] { %e[t, c] * %z[t, c] }
// becomes
//   %h, %y = sweep {
//     %1, %2 = scan extent N carried 1 (%h0) { (%t, %a) ... yield %b, %o }
//     %3 = generic (%2, %z) [c < 8, t < N] { %2[t, c] * %z[t, c] }
//     yield %1, %3 }
//
// Nothing is launched per turn then, what is carried stays near the processor, and what is emitted
// for a single elementwise use is never stored; so it is with sums over what is emitted, where that is larger
// than all that turns read. The body must be loop nests (ir/sweep.h says which).
// Where a turn is worth more than one core, or is a matrix product with a kernel of its own, it
// stays as it is.
//
// Where lanes are too few to fill vectors, and the maps of turns can be put together
// (ir/sweep_prefix.h), it becomes a `sweep prefix`: vectors of turns instead of lanes; where states read each
// other linearly (ir/sweep_dense.h), a `sweep dense`. Where what is
// carried is a matrix that each turn adds products of two vectors to, and that is read by sums, it
// becomes a `sweep chunk 32`: blocks of turns as matrix products (ir/sweep_chunk.h). Where a state goes
// through a function that is no line, and the source says `parallel`, or --parallel-rnn is given and it
// is the faster way, it becomes a `sweep newton` (ir/sweep_newton.h).
#include "passes/sweep_inner.h"

enum {
  PRODUCT = 4096,    // terms of a product, in a turn of a lane, that its own kernel is better at
  ONE_CORE = 400000, // operations of a turn that cannot be split into lanes
};

typedef sq_sweeper sweeper;

// ---- is it worth it? ---------------------------------------------------------------------------
static double size_of(sq_graph *g, sq_dim d) {
  int64_t e;
  return sq_dim_is_const(g->dims, d, &e) ? (double)e : 64;
}

// Terms of member k in one turn of one lane.
static double terms_of(sq_graph *g, const sq_sweep *s, uint32_t k) {
  const sq_sweep_nest *x = &s->member[k];
  double terms = 1;
  for (uint32_t a = 0; a < x->n->g->n_par + x->n->g->n_red; a++)
    if (x->cls[a] != SQ_SWEEP_NONE && !s->lane[x->cls[a]]) terms *= size_of(g, s->size[x->cls[a]]);
  return terms;
}

static const char *unwanted(sq_graph *g, const sq_sweep *s, const sq_node **at) {
  const sq_block *b = s->scan->region[0];
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) // the first members are these nodes
    if (sq_is_product(g, b->nodes.v[k]) && terms_of(g, s, k) > PRODUCT) {
      *at = b->nodes.v[k];
      return "a matrix product in every turn has a kernel of its own";
    }
  bool lanes = false;
  for (uint32_t c = 0; c < s->n_class; c++) lanes |= s->lane[c] && size_of(g, s->size[c]) > 1;
  return !lanes && sq_sweep_cost(s) > ONE_CORE ? "a turn is worth more than one core" : NULL;
}

// ---- what the scan yields is its own -----------------------------------------------------------
// Made by an operation of the body, or carried on unchanged.
static bool made_inside(const sq_node *scan, uint32_t k, const sq_value *v) {
  const sq_block *b = scan->region[0];
  if (!v->def) return v->block == b && (k < scan->n_carried ? v->index == k + 1 : v->index > 0);
  return v->def->block == b && v->def->op == SQ_OP_GENERIC;
}

static void own_yields(sweeper *w, sq_node *scan) {
  sq_node *end = sq_block_end(scan->region[0]);
  for (uint32_t k = 0; k < end->n_in; k++)
    if (!made_inside(scan, k, end->in[k]))
      end->in[k] = sq_copy_before(w->g, end, end->in[k])->out[0];
}
// A scan that stays as it is makes no copies.
static void disown_yields(sq_node *scan, sq_value *const *old) {
  sq_node *end = sq_block_end(scan->region[0]);
  for (uint32_t k = 0; k < end->n_in; k++) {
    if (end->in[k] == old[k]) continue;
    sq_node_remove(end->in[k]->def);
    end->in[k] = old[k];
  }
}

// ---- the pass ----------------------------------------------------------------------------------
static void do_scan(sweeper *w, sq_node *scan) {
  sq_graph *g = w->g;
  const sq_node *end = sq_block_end(scan->region[0]);
  sq_value **old = SQ_ARRAY(g->arena, sq_value *, end->n_in + 1);
  if (end->n_in) memcpy(old, end->in, end->n_in * sizeof *old);
  own_yields(w, scan);
  sq_sweep *s = sq_sweep_make(g, scan);
  const sq_node *at = s->at;
  const char *why = s->why ? s->why : unwanted(g, s, &at);
  if (why) {
    disown_yields(scan, old);
    sq_pass_missed(g, w->f, "sweep", scan, NULL, at,
                   sq_arena_fmt(g->arena, "runs turn by turn: %s", why));
    if (!s->why) sq_sweeper_no_newton(w, scan, s);
    return;
  }
  sq_sweeper_wrap(w, scan, sq_count_uses(w->f, g->arena));
  uint32_t taken = 0;
  while (sq_sweeper_take_follower(w)) taken++;
  w->changed = true;
  sq_sweeper_choose(w, scan, taken);
}

static void do_block(sweeper *w, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) do_block(w, n->region[r]);
    if (n->op == SQ_OP_SCAN) do_scan(w, n);
  }
  sq_sweeper_join(w, b);
}

bool sq_pass_sweep(sq_graph *g, const sq_pass_options *o) {
  sweeper w = {.g = g, .o = o};
  for (uint32_t k = 0; k < g->func.n; k++) {
    w.f = g->func.v[k];
    do_block(&w, w.f->body);
  }
  return w.changed;
}
