// The pass `sweep`, around a scan: the sweep that it goes into, and the operations behind it that go along, those
// element by element on what it emits, and sums over it that need not be stored. What they alone used is no
// result then.
#include "passes/sweep_inner.h"

typedef sq_sweeper sweeper;

// ---- wrapping ----------------------------------------------------------------------------------
// Moves n, in block order, to the end of the sweep's block, before its yield.
static void move_inside(sweeper *w, sq_node *n) {
  sq_block *b = w->sweep->region[0];
  sq_node_remove(n);
  if (sq_block_end(b))
    sq_node_insert_before(sq_block_end(b), n);
  else {
    n->block = b;
    sq_push(w->g->arena, &b->nodes, n);
  }
}

// A result of the sweep for what `inside` gives; uses outside are replaced.
static void give(sweeper *w, sq_value *inside) {
  sq_graph *g = w->g;
  sq_value *out = sq_node_result(g, w->sweep, inside->type, inside->name);
  sq_block *b = w->sweep->region[0];
  sq_replace_uses(w->f, inside, out);
  for (uint32_t k = 0; k < b->nodes.n; k++) // but not those inside
    for (uint32_t j = 0; j < b->nodes.v[k]->n_in; j++)
      if (b->nodes.v[k]->in[j] == out) b->nodes.v[k]->in[j] = inside;
  sq_node *end = sq_block_end(b);
  sq_value **in = SQ_ARRAY(g->arena, sq_value *, end->n_in + 1);
  if (end->n_in) memcpy(in, end->in, end->n_in * sizeof *in);
  in[end->n_in++] = inside;
  end->in = in;
}

void sq_sweeper_wrap(sq_sweeper *w, sq_node *scan, const uint32_t *uses) {
  sq_graph *g = w->g;
  w->sweep = sq_node_new(g, NULL, SQ_OP_SWEEP, scan->span, 0, NULL);
  sq_node_insert_before(scan, w->sweep);
  sq_node_region(g, w->sweep, w->f);
  move_inside(w, scan);
  sq_node_new(g, w->sweep->region[0], SQ_OP_YIELD, scan->span, 0, NULL);
  for (uint32_t k = 0; k < scan->n_out; k++)
    if (uses[scan->out[k]->id]) give(w, scan->out[k]);
}

// ---- what follows ------------------------------------------------------------------------------
typedef struct search {
  const sq_value *v;
  sq_node *user;
  uint32_t n;
} search;
static void find_user(sq_node *n, void *user) {
  search *s = user;
  bool uses = false;
  for (uint32_t k = 0; k < n->n_in; k++) uses |= n->in[k] == s->v;
  if (!uses) return;
  s->user = n;
  s->n++;
}

static bool defined_before(const sq_value *v, const sq_node *at) {
  const sq_block *b = at->block;
  sq_node *def = v->def ? sq_node_in_block(v->def, b) : NULL;
  if (!def) return true; // from further outside
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    if (b->nodes.v[k] == at) return false;
    if (b->nodes.v[k] == def) return true;
  }
  return false;
}

static void find_param_write(sq_node *n, void *user) {
  if (n->op == SQ_OP_PARAM_WRITE) *(bool *)user = true;
}

// Parameters that n reads may stand before the sweep, if nothing writes to any.
static void raise_params(sweeper *w, const sq_node *n) {
  bool written = false;
  sq_walk(w->f->body, find_param_write, &written);
  for (uint32_t k = 0; k < n->n_in && !written; k++) {
    sq_node *def = n->in[k]->def;
    if (!def || def->op != SQ_OP_PARAM || def->n_in || def->block != w->sweep->block) continue;
    if (defined_before(n->in[k], w->sweep)) continue;
    sq_node_remove(def);
    sq_node_insert_before(w->sweep, def);
  }
}

static bool from_sweep(const sweeper *w, const sq_value *v) { return v->def == w->sweep; }

static bool is_turn_read(const sq_sweep_nest *x, const sq_scalar *r) {
  for (uint32_t i = 0; i < r->n_pos; i++) {
    const sq_scalar *p = &x->n->g->s.v[r->pos[i]];
    if (p->kind == SQ_SC_INDEX && p->axis == x->time) return true;
  }
  return false;
}

// Is what the scan emits larger than all that its turns read, as an outer product is? `rank`: its axes,
// the turn one of them.
static bool expands(const sweeper *w, uint32_t rank) {
  const sq_sweep *s = sq_sweep_make(w->g, w->sweep);
  for (uint32_t k = 0; k < s->n_member; k++) {
    const sq_sweep_nest *x = &s->member[k];
    for (uint32_t j = 0; j < x->n->g->s.n; j++) {
      const sq_scalar *r = &x->n->g->s.v[j];
      if (r->kind == SQ_SC_READ && x->inner[r->operand] == SQ_SWEEP_NONE && r->n_pos >= rank &&
          is_turn_read(x, r))
        return false;
    }
  }
  return !s->why;
}

// Sums over an axis of what the scan emits: they need not be stored, only summed, if that is smaller.
static bool is_read_out(const sweeper *w, const sq_node *n) {
  if (n->op != SQ_OP_GENERIC || !n->g->n_red || n->g->keyed || n->g->pos) return false;
  const sq_generic *k = n->g;
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *r = &k->s.v[j];
    if (r->kind != SQ_SC_READ || !from_sweep(w, n->in[r->operand])) continue;
    uint32_t axes = 0;
    for (uint32_t i = 0; i < r->n_pos; i++)
      if (k->s.v[r->pos[i]].kind == SQ_SC_INDEX) axes |= 1u << k->s.v[r->pos[i]].axis;
    if (axes != (1u << (k->n_par + k->n_red)) - 1 || !expands(w, r->n_pos)) return false;
  }
  return true;
}

// May n, which stands below the sweep in its block, stand in it?
static bool may_follow(sweeper *w, const sq_node *n) {
  const sq_block *b = w->sweep->block;
  if (n->block != b || sq_node_may_fail(n)) return false;
  if (!sq_node_is_elementwise(n) && !is_read_out(w, n)) return false;
  raise_params(w, n);
  for (uint32_t k = 0; k < n->n_in; k++)
    if (!from_sweep(w, n->in[k]) && !defined_before(n->in[k], w->sweep)) return false;
  bool between = false;
  for (uint32_t k = 0; k < b->nodes.n && b->nodes.v[k] != n; k++) {
    if (between && sq_node_sized_inside(w->g, n, b->nodes.v[k])) return false;
    between |= b->nodes.v[k] == w->sweep;
  }
  return true;
}

static void drop_result(sweeper *w, uint32_t k) {
  sq_node *n = w->sweep, *end = sq_block_end(n->region[0]);
  for (uint32_t j = k; j + 1 < n->n_out; j++) {
    n->out[j] = n->out[j + 1];
    n->out[j]->index = j;
    end->in[j] = end->in[j + 1];
  }
  n->n_out--;
  end->n_in--;
}

static uint32_t count_lanes(const sq_sweep *s) {
  uint32_t lanes = 0;
  for (uint32_t c = 0; c < s->n_class; c++) lanes += s->lane[c];
  return lanes;
}

// Takes n into the sweep when that makes a sweep: the values that it alone used are results no more.
static bool take(sweeper *w, sq_node *n) {
  sq_block *home = w->sweep->block, *b = w->sweep->region[0];
  uint32_t at = 0, lanes = count_lanes(sq_sweep_make(w->g, w->sweep));
  while (home->nodes.v[at] != n) at++;
  sq_node *next = home->nodes.v[at + 1], *end = sq_block_end(b);
  sq_value **in = SQ_ARRAY(w->g->arena, sq_value *, n->n_in + 1), **old = n->in;
  for (uint32_t k = 0; k < n->n_in; k++)
    in[k] = from_sweep(w, old[k]) ? end->in[old[k]->index] : old[k];
  n->in = in;
  move_inside(w, n);
  const sq_sweep *s = sq_sweep_make(w->g, w->sweep);
  if (n->g->n_red && lanes) lanes = 1; // less is written
  bool mapless = !s->why && w->sweep->flag & 1 && sq_prefix_make(sq_sweep_make(w->g, w->sweep)).why;
  if (s->why || mapless || count_lanes(s) < lanes) {
    sq_node_remove(n);
    sq_node_insert_before(next, n);
    n->in = old;
    return false;
  }
  give(w, n->out[0]);
  return true;
}

void sq_sweeper_drop_unused(sq_sweeper *w) {
  for (uint32_t k = w->sweep->n_out; k-- > 0;) {
    search s = {.v = w->sweep->out[k]};
    sq_walk(w->f->body, find_user, &s);
    if (!s.n) drop_result(w, k);
  }
}

bool sq_sweeper_take_follower(sq_sweeper *w) {
  for (uint32_t k = 0; k < w->sweep->n_out; k++) {
    search s = {.v = w->sweep->out[k]};
    sq_walk(w->f->body, find_user, &s);
    if (s.n != 1 || !may_follow(w, s.user) || !take(w, s.user)) continue;
    sq_sweeper_drop_unused(w);
    return true;
  }
  return false;
}
