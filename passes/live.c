// Live ranges over the structured program.
//
// A value defined outside a loop and used inside is live to the loop's end. In an `if`, a value is
// live only in the regions that use it or if it is used afterwards. The data of a parameter or
// state is found through its instance number, so whatever uses the data uses the number too.
#include "passes/live.h"

typedef struct maker {
  sq_live *l;
  sq_arena *a;
  struct use_list {
    SQ_VEC(sq_node *) v;
  } * uses; // by value id
} maker;

static uint32_t add_point(maker *m, sq_point_kind kind, sq_node *n, uint32_t region) {
  sq_push(m->a, &m->l->point, (sq_point){kind, n, region});
  return m->l->point.n - 1;
}

static void add_use(maker *m, sq_value *v, sq_node *at) {
  struct use_list *u = &m->uses[v->id];
  if (u->v.n && u->v.v[u->v.n - 1] == at) return;
  sq_push(m->a, &u->v, at);
  if (v->def && v->def->has_instance &&
      (v->def->op == SQ_OP_PARAM || v->def->op == SQ_OP_STATE_READ))
    add_use(m, v->def->in[v->def->n_in - 1], at);
}

static void kernel_uses(maker *m, sq_block *b, sq_node *kernel) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    for (uint32_t j = 0; j < n->n_in; j++) {
      const sq_value *v = n->in[j];
      if (!sq_block_inside(v->def ? v->def->block : v->block, kernel)) add_use(m, n->in[j], kernel);
    }
    for (uint32_t r = 0; r < n->n_region; r++) kernel_uses(m, n->region[r], kernel);
  }
}

static void number(maker *m, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    m->l->begin[n->id] = m->l->end[n->id] = add_point(m, SQ_POINT_NODE, n, 0);
    for (uint32_t j = 0; j < n->n_in; j++) add_use(m, n->in[j], n);
    if (sq_node_is_kernel(n)) {
      kernel_uses(m, n->region[0], n);
    } else if (n->n_region) {
      for (uint32_t r = 0; r < n->n_region; r++) {
        add_point(m, SQ_POINT_REGION, n, r);
        for (uint32_t j = 0; j < n->region[r]->args.n; j++)
          sq_push(m->a, &m->l->value, n->region[r]->args.v[j]);
        number(m, n->region[r]);
      }
      m->l->end[n->id] = add_point(m, SQ_POINT_END, n, 0);
    }
    for (uint32_t j = 0; j < n->n_out; j++) sq_push(m->a, &m->l->value, n->out[j]);
  }
}

static uint32_t region_begin(const maker *m, const sq_block *b) {
  // the point before the region's first node
  const sq_node *first = b->nodes.v[0];
  return m->l->begin[first->id] - 1;
}

static void add_range(maker *m, sq_value *v, uint32_t from, uint32_t to) {
  sq_ranges *s = &m->l->of[v->id];
  sq_push(m->a, &s->r, (sq_range){from, to < from ? from : to});
  for (uint32_t k = s->r.n - 1; k > 0 && s->r.v[k].from < s->r.v[k - 1].from; k--) {
    sq_range t = s->r.v[k];
    s->r.v[k] = s->r.v[k - 1];
    s->r.v[k - 1] = t;
  }
}

// v has data at `from` in block b; its uses there (and nested) make ranges.
static void ranges_in(maker *m, sq_value *v, sq_block *b, uint32_t from) {
  const struct use_list *u = &m->uses[v->id];
  sq_node *last = NULL;
  for (uint32_t k = 0; k < u->v.n; k++) {
    sq_node *at = sq_node_in_block(u->v.v[k], b);
    if (!at) continue;
    if (!last || m->l->begin[at->id] > m->l->begin[last->id]) last = at;
  }
  if (!last) {
    add_range(m, v, from, from);
    return;
  }
  uint32_t begin = m->l->begin[last->id], end = m->l->end[last->id];
  bool nested = false;
  for (uint32_t k = 0; k < u->v.n; k++)
    nested |= u->v.v[k] != last && sq_node_in_block(u->v.v[k], b) == last;
  if (!nested || sq_node_is_kernel(last)) {
    add_range(m, v, from, 2 * begin + 1);
    return;
  }
  if (last->op != SQ_OP_IF) {
    add_range(m, v, from, 2 * end + 1);
    return;
  }
  add_range(m, v, from, 2 * begin + 1);
  for (uint32_t r = 0; r < last->n_region; r++) {
    bool any = false;
    for (uint32_t k = 0; k < u->v.n && !any; k++)
      any = sq_node_in_block(u->v.v[k], last->region[r]) != NULL;
    if (any) ranges_in(m, v, last->region[r], 2 * region_begin(m, last->region[r]) + 1);
  }
}

static void value_ranges(maker *m, sq_value *v) {
  sq_live *l = m->l;
  sq_node *n = v->def;
  if (!n) {
    sq_node *owner = v->block->owner;
    uint32_t from = owner ? 2 * l->begin[owner->id] + 1 : 0;
    if (owner && owner->op == SQ_OP_WHILE) {
      uint32_t body = 2 * region_begin(m, owner->region[1]) + 1;
      if (v->block == owner->region[1])
        from = body;
      else { // what the condition looks at goes on into the body
        add_range(m, v, from, body);
        return;
      }
    }
    ranges_in(m, v, v->block, from);
    return;
  }
  uint32_t from = 2 * l->end[n->id] + 1;
  if (n->op == SQ_OP_MAP || (n->op == SQ_OP_SCAN && v->index >= n->n_carried)) {
    uint32_t begin = 2 * l->begin[n->id] + 1;
    if (!m->uses[v->id].v.n) { // every turn writes it, though nothing reads it
      add_range(m, v, begin, from);
      return;
    }
    from = begin;
  }
  if (n->op == SQ_OP_IF)
    for (uint32_t r = 0; r < n->n_region; r++) {
      uint32_t at = 2 * l->begin[sq_block_end(n->region[r])->id] + 1;
      add_range(m, v, at, at);
    }
  ranges_in(m, v, n->block, from);
}

sq_live *sq_live_make(sq_func *f, sq_arena *a) {
  sq_graph *g = f->graph;
  maker m = {.a = a};
  m.l = SQ_NEW(a, sq_live);
  m.l->func = f;
  m.l->begin = SQ_ARRAY(a, uint32_t, g->n_nodes + 1);
  m.l->end = SQ_ARRAY(a, uint32_t, g->n_nodes + 1);
  m.l->of = SQ_ARRAY(a, sq_ranges, g->n_values + 1);
  m.uses = SQ_ARRAY(a, struct use_list, g->n_values + 1);
  add_point(&m, SQ_POINT_NODE, NULL, 0);
  for (uint32_t k = 0; k < f->body->args.n; k++) sq_push(a, &m.l->value, f->body->args.v[k]);
  number(&m, f->body);
  for (uint32_t k = 0; k < m.l->value.n; k++) value_ranges(&m, m.l->value.v[k]);
  return m.l;
}
