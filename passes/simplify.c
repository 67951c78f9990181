// simplify: algebra and constants, in scalars and in control flow.
//
//   %c = generic () [] { 2.0 } : f32
//   %y = generic (%x, %c) [n < N] { %x[n] * %c * 1.0 / 4.0 } : f32[N]
//   %z = generic (%y) [n < N] { %y[n] } : f32[N]
//   %w = if (%true) { yield %z } { yield %x } : f32[N]
// becomes, with %y in place of %w,
//   %y = generic (%x) [n < N] { %x[n] * 2.0 * 0.25 } : f32[N]
//
// Reads look through constants and through copies at affine or repeated positions; values that are copies are
// replaced by what they copy. An `if` on a constant is the side taken; a `repeat` with no or one
// turn is what it carries or its body; what a loop carries unchanged is what it began with.
#include "passes/maker.h"

typedef struct simplifier {
  sq_graph *g;
  sq_value **with; // by value id: what replaces it
  uint32_t n_with;
  bool changed;
} simplifier;

static sq_value *latest(simplifier *s, sq_value *v) {
  while (v->id < s->n_with && s->with[v->id]) v = s->with[v->id];
  return v;
}

static void replace(simplifier *s, sq_value *old, sq_value *with) {
  with = latest(s, with);
  if (old == with || old->id >= s->n_with) return;
  s->with[old->id] = with;
  s->changed = true;
}

static void refresh_inputs(simplifier *s, sq_node *n) {
  for (uint32_t k = 0; k < n->n_in; k++) n->in[k] = latest(s, n->in[k]);
}

static bool defined_inside(const sq_value *v, const sq_node *n) {
  return sq_block_inside(v->def ? v->def->block : v->block, n);
}

// ---- control flow ------------------------------------------------------------------------------
static void unchanged_values(simplifier *s, sq_node *n) {
  const sq_block *body = sq_carried_body(n);
  const sq_node *end = sq_block_end(body);
  uint32_t first_in = sq_carried_first_in(n), first_arg = sq_carried_first_arg(n);
  for (uint32_t k = 0; k < sq_carried_count(n); k++) {
    sq_value *arg = body->args.v[first_arg + k];
    if (end->in[k] != arg && latest(s, end->in[k]) != n->in[first_in + k]) continue;
    replace(s, arg, n->in[first_in + k]);
    if (n->op == SQ_OP_WHILE) replace(s, n->region[0]->args.v[k], n->in[first_in + k]);
    replace(s, n->out[k], n->in[first_in + k]);
  }
}

static void same_on_both_sides(simplifier *s, sq_node *n) {
  const sq_node *a = sq_block_end(n->region[0]), *b = sq_block_end(n->region[1]);
  for (uint32_t k = 0; k < n->n_out; k++) {
    sq_value *x = latest(s, a->in[k]), *y = latest(s, b->in[k]);
    if (x == y && !defined_inside(x, n)) replace(s, n->out[k], x);
  }
}

// Which region of n stands in place of n: its number, -1 none (the results are what went in), -2
// no.
static int only_region(const sq_node *n) {
  int64_t lo, hi, c;
  if (n->op == SQ_OP_IF && sq_value_const_int(n->in[0], &c)) return c ? 0 : 1;
  if (n->op == SQ_OP_WHILE && sq_value_const_int(sq_block_end(n->region[0])->in[0], &c) && !c &&
      !sq_node_has_effect(n))
    return -1;
  if (n->op != SQ_OP_REPEAT || !sq_value_const_int(n->in[0], &lo) ||
      !sq_value_const_int(n->in[1], &hi))
    return -2;
  if (hi <= lo) return -1;
  return hi - lo == 1 && sq_type_same(n->in[0]->type, n->region[0]->args.v[0]->type) ? 0 : -2;
}

static void do_block(simplifier *s, sq_block *b);

static void splice(simplifier *s, sq_node *n, int region, sq_block *to) {
  uint32_t first_in = sq_carried_first_in(n);
  if (region < 0) {
    for (uint32_t k = 0; k < n->n_out; k++) replace(s, n->out[k], n->in[first_in + k]);
    return;
  }
  sq_block *body = n->region[region];
  for (uint32_t k = 0; k < body->args.n; k++) // repeat: the index, then what is carried
    replace(s, body->args.v[k], n->in[k ? k + 1 : 0]);
  do_block(s, body);
  const sq_node *end = sq_block_end(body);
  for (uint32_t k = 0; k < n->n_out; k++) replace(s, n->out[k], end->in[k]);
  for (uint32_t k = 0; k + 1 < body->nodes.n; k++) {
    body->nodes.v[k]->block = to;
    sq_push(s->g->arena, &to->nodes, body->nodes.v[k]);
  }
}

// ---- nodes -------------------------------------------------------------------------------------
static bool holds_always(const sq_node *n) {
  int64_t c;
  return n->op == SQ_OP_CHECK && sq_value_const_int(n->in[0], &c) && c;
}

static void do_block(simplifier *s, sq_block *b) {
  sq_node **old = b->nodes.v;
  uint32_t n_old = b->nodes.n;
  b->nodes.v = NULL;
  b->nodes.n = b->nodes.cap = 0;
  for (uint32_t k = 0; k < n_old; k++) {
    sq_node *n = old[k];
    refresh_inputs(s, n);
    if (n->g && n->op != SQ_OP_MAP && sq_node_rebuild(s->g, n)) s->changed = true;
    int region = n->n_region ? only_region(n) : -2;
    if (region != -2 || holds_always(n)) {
      s->changed = true;
      if (region != -2) splice(s, n, region, b);
      continue;
    }
    sq_push(s->g->arena, &b->nodes, n);
    if (n->n_out == 1 && sq_node_is_copy(s->g, n)) {
      replace(s, n->out[0], n->in[0]);
      continue;
    }
    if (sq_node_is_kernel(n)) continue;
    if (sq_carried_count(n)) unchanged_values(s, n);
    for (uint32_t r = 0; r < n->n_region; r++) do_block(s, n->region[r]);
    if (n->op == SQ_OP_IF) same_on_both_sides(s, n);
  }
}

bool sq_pass_simplify(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  bool any = false;
  for (int round = 0; round < 10; round++) {
    simplifier s = {.g = g, .n_with = g->n_values};
    s.with = SQ_ARRAY(g->arena, sq_value *, g->n_values + 1);
    for (uint32_t k = 0; k < g->func.n; k++) do_block(&s, g->func.v[k]->body);
    if (!s.changed) break;
    any = true;
    sq_pass_dce(g, o);
  }
  return any;
}
