// dce: what nothing needs is removed: operations, carried values, results of regions, operands.
//
//   %r, %s = repeat %lo, %hi, %x, %y { (%i, %a, %b): ... yield %a1, %b1 }     %s unused, %a1 not
//   from %b
// becomes
//   %r = repeat %lo, %hi, %x { (%i, %a): ... yield %a1 }
//
// Needed are effects, results of functions, and what these are made of. A carried value that only
// feeds itself is not needed. A read out of range fails the call only where its value is needed.
#include "passes/scalars.h"

typedef struct dce {
  sq_graph *g;
  bool *value; // needed, by value id
  bool *node;  // stays, by node id
  SQ_VEC(sq_value *) todo;
  bool changed;
} dce;

static void need_value(dce *d, sq_value *v) {
  if (d->value[v->id]) return;
  d->value[v->id] = true;
  sq_push(d->g->arena, &d->todo, v);
}

static bool is_region_op(const sq_node *n) { return n->n_region != 0; }

// The node stays, and so do the regions around it.
static void need_node(dce *d, sq_node *n) {
  if (d->node[n->id]) return;
  d->node[n->id] = true;
  if (n->block && n->block->owner) need_node(d, n->block->owner);
  if (!is_region_op(n)) {
    for (uint32_t k = 0; k < n->n_in; k++) need_value(d, n->in[k]);
    return;
  }
  uint32_t fixed = n->op == SQ_OP_REPEAT ? 2 : n->op == SQ_OP_IF ? 1 : 0;
  for (uint32_t k = 0; k < fixed; k++) need_value(d, n->in[k]);
  for (uint32_t r = 0; r < n->n_region; r++) d->node[sq_block_end(n->region[r])->id] = true;
  if (n->op == SQ_OP_WHILE) need_value(d, sq_block_end(n->region[0])->in[0]);
}

static void need_carried(dce *d, sq_node *n, uint32_t k) {
  need_value(d, n->in[sq_carried_first_in(n) + k]);
  need_value(d, sq_block_end(sq_carried_body(n))->in[k]);
  need_value(d, sq_carried_body(n)->args.v[sq_carried_first_arg(n) + k]);
  if (n->op == SQ_OP_WHILE) need_value(d, n->region[0]->args.v[k]);
  need_value(d, n->out[k]);
}

static void follow(dce *d, sq_value *v) {
  sq_node *n = v->def ? v->def : v->block->owner;
  if (!n) return; // an input
  need_node(d, n);
  if (!is_region_op(n)) return;
  uint32_t carried = sq_carried_count(n);
  if (!v->def) {
    uint32_t first = sq_carried_first_arg(n);
    if (carried && v->index >= first && v->index - first < carried)
      need_carried(d, n, v->index - first);
    return;
  }
  if (v->index < carried) {
    need_carried(d, n, v->index);
    return;
  }
  for (uint32_t r = 0; r < n->n_region; r++)
    need_value(d, sq_block_end(n->region[r])->in[v->index]);
}

static void root(sq_node *n, void *user) {
  if (sq_op_table[n->op].flags & SQ_OPF_E) need_node(user, n);
}

// ---- removing ----------------------------------------------------------------------------------
static uint32_t keep_values(sq_value **v, uint32_t n, const bool *keep) {
  uint32_t kept = 0;
  for (uint32_t k = 0; k < n; k++)
    if (keep[k]) v[kept++] = v[k];
  return kept;
}

static void number_results(sq_node *n) {
  for (uint32_t k = 0; k < n->n_out; k++) n->out[k]->index = k;
}

// Drops the entries k of args, yield and results for which keep[k] is not set.
static void shrink(dce *d, sq_node *n) {
  uint32_t carried = sq_carried_count(n), first_in = sq_carried_first_in(n),
           first_arg = carried ? sq_carried_first_arg(n) : 0;
  bool *keep = SQ_ARRAY(d->g->arena, bool, n->n_out + 1), all = true;
  uint32_t kept_carried = 0;
  for (uint32_t k = 0; k < n->n_out; k++) {
    keep[k] = d->value[n->out[k]->id];
    all &= keep[k];
    if (k < carried && keep[k]) kept_carried++;
  }
  if (all) return;
  d->changed = true;
  if (carried) {
    uint32_t in = keep_values(n->in + first_in, carried, keep);
    n->n_in = first_in + in;
    for (uint32_t r = 0; r < n->n_region; r++) {
      sq_block *b = n->region[r];
      b->args.n = first_arg + keep_values(b->args.v + first_arg, carried, keep);
      for (uint32_t k = 0; k < b->args.n; k++) b->args.v[k]->index = k;
    }
  }
  for (uint32_t r = 0; r < n->n_region; r++) {
    if (n->op == SQ_OP_WHILE && r == 0) continue;
    sq_node *end = sq_block_end(n->region[r]);
    end->n_in = keep_values(end->in, end->n_in, keep);
  }
  n->n_out = keep_values(n->out, n->n_out, keep);
  n->n_carried = n->op == SQ_OP_SCAN ? kept_carried : n->n_carried;
  number_results(n);
}

static void sweep(dce *d, sq_block *b) {
  uint32_t kept = 0;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (!d->node[n->id]) {
      n->block = NULL;
      d->changed = true;
      continue;
    }
    b->nodes.v[kept++] = n;
    if (!is_region_op(n)) continue;
    shrink(d, n);
    for (uint32_t r = 0; r < n->n_region; r++) sweep(d, n->region[r]);
  }
  b->nodes.n = kept;
}

static void tidy(sq_node *n, void *user) {
  dce *d = user;
  if (sq_scalars_tidy(d->g, n)) d->changed = true;
}

bool sq_pass_dce(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  dce d = {.g = g};
  for (uint32_t k = 0; k < g->func.n; k++) sq_walk(g->func.v[k]->body, tidy, &d);
  d.value = SQ_ARRAY(g->arena, bool, g->n_values + 1);
  d.node = SQ_ARRAY(g->arena, bool, g->n_nodes + 1);
  for (uint32_t k = 0; k < g->func.n; k++) {
    sq_func *f = g->func.v[k];
    sq_walk(f->body, root, &d);
    need_node(&d, sq_block_end(f->body));
  }
  while (d.todo.n) follow(&d, d.todo.v[--d.todo.n]);
  for (uint32_t k = 0; k < g->func.n; k++) sweep(&d, g->func.v[k]->body);
  return d.changed;
}
