// The check of what `plan` promises, from the stores alone: no two values are live in one place,
// loops and updates work in place, results are where the caller wants them.
#include "passes/plan.h"

typedef struct checker {
  const sq_live *live;
  const sq_func *f;
  sq_text *faults;
  bool ok;
} checker;

static void fault(checker *c, const sq_value *v, const char *what) {
  c->ok = false;
  sq_text_add(c->faults, "%s: value %u%s%s: %s\n", c->f->name, v->id, v->name ? " " : "",
              v->name ? v->name : "", what);
}

static bool same_place(const sq_value *a, const sq_value *b) {
  return a->store == b->store && a->store_index == b->store_index;
}

static bool writable(const sq_value *v) {
  return v->store == SQ_STORE_SLOT || v->store == SQ_STORE_OUTPUT || v->origin;
}

// b is written; a may be what the state held before.
static void in_one_place(checker *c, const sq_value *a, const sq_value *b, const char *what) {
  if (!writable(b) || !same_place(a, b) || (b->origin && (a->origin ? a->origin : a) != b->origin))
    fault(c, a, what);
}

static void check_inner(checker *c, const sq_node *group) {
  const sq_block *b = group->region[0];
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) {
    const sq_value *v = b->nodes.v[k]->out[0];
    if (v->store == SQ_STORE_INNER) {
      if (v->store_index >= c->f->scratch.n) fault(c, v, "has no such scratch");
    } else if (!writable(v)) {
      fault(c, v, "in a group has no place");
    }
  }
  const sq_node *end = sq_block_end(b);
  for (uint32_t k = 0; k < end->n_in; k++)
    in_one_place(c, end->in[k], group->out[k], "is not at the group's result");
}

static void check_node(sq_node *n, void *user) {
  checker *c = user;
  for (const sq_node *o = n->block->owner; o; o = o->block->owner)
    if (sq_node_is_kernel(o)) return;
  if (n->op == SQ_OP_UPDATE) in_one_place(c, n->in[0], n->out[0], "is not updated in place");
  if (n->op == SQ_OP_GROUP) check_inner(c, n);
  uint32_t in = sq_carried_first_in(n), arg = sq_carried_first_arg(n);
  for (uint32_t k = 0; k < sq_carried_count(n); k++) {
    const sq_value *at = sq_carried_body(n)->args.v[arg + k];
    in_one_place(c, n->in[in + k], at, "is not where the loop carries it");
    in_one_place(c, sq_block_end(sq_carried_body(n))->in[k], at, "is yielded elsewhere");
    in_one_place(c, n->out[k], at, "is not where the loop leaves it");
    if (n->op == SQ_OP_WHILE)
      in_one_place(c, n->region[0]->args.v[k], at, "is elsewhere in the condition");
  }
}

static bool together(const sq_live *l, const sq_value *a, const sq_value *b) {
  const sq_ranges *x = &l->of[a->id], *y = &l->of[b->id];
  for (uint32_t j = 0; j < x->r.n; j++)
    for (uint32_t k = 0; k < y->r.n; k++)
      if (sq_ranges_collide(l, x->r.v[j], a, y->r.v[k], b)) return true;
  return false;
}

static void check_values(checker *c) {
  const sq_live *l = c->live;
  sq_graph *g = c->f->graph;
  for (uint32_t k = 0; k < l->value.n; k++) {
    const sq_value *v = l->value.v[k];
    if (v->store == SQ_STORE_NONE) fault(c, v, "has no place");
    if (v->store == SQ_STORE_SLOT) {
      if (v->store_index >= c->f->slot.n)
        fault(c, v, "has no such slot");
      else if (sq_prove_le(g->dims, sq_storage_of(g, v), c->f->slot.v[v->store_index]) < 0)
        fault(c, v, "does not fit into its slot");
    }
    bool alias = v->store == SQ_STORE_PARAM || v->store == SQ_STORE_STATE;
    if (alias && !v->origin &&
        (!v->def || (v->def->op != SQ_OP_PARAM && v->def->op != SQ_OP_STATE_READ)))
      fault(c, v, "is no parameter or state");
    else if (alias && sq_alias_clobber(l, v))
      fault(c, v, "is used after it was written");
    if (!writable(v)) continue;
    for (uint32_t j = v->origin ? 0 : k + 1; j < l->value.n; j++)
      if (j != k && same_place(v, l->value.v[j]) && together(l, v, l->value.v[j]))
        fault(c, l->value.v[j], "clobbers another value");
  }
}

bool sq_plan_verify(const sq_func *f, sq_text *faults) {
  checker c = {.f = f, .faults = faults, .ok = true};
  c.live = sq_live_make((sq_func *)f, f->graph->arena);
  check_values(&c);
  sq_walk(f->body, check_node, &c);
  const sq_node *end = sq_block_end(f->body);
  for (uint32_t k = 0; k < end->n_in; k++)
    if (end->in[k]->store != SQ_STORE_OUTPUT || end->in[k]->store_index != k)
      fault(&c, end->in[k], "is not in the function's output");
  return c.ok;
}
