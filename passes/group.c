// group: chains over the same rows become one pass over the rows.
//
//   %m = generic (%x) [i < N] max [j < N] { %x[i, j] }
//   %e = generic (%x, %m) [i < N, j < N] { exp(%x[i, j] - %m[i]) }
//   %s = generic (%e) [i < N] sum [j < N] { %e[i, j] }
//   %p = generic (%e, %s) [i < N, j < N] { %e[i, j] / %s[i] }
// becomes
//   %p = group outer 1 { %m = ... %e = ... %s = ... %p = ... yield %p }
//
// Members read each other at exactly the outer indices, so a row of the one needs the same row of
// the others only, and what is used inside alone needs memory for one row. Matrix products stay
// outside, for their own kernels. The group stands where its last member stood.
#include "passes/internal.h"
#include "passes/questions.h"

enum { MAX_MEMBERS = 24 };

typedef struct grouper {
  sq_graph *g;
  const sq_func *f;
  sq_node *member[MAX_MEMBERS];
  uint32_t n, outer;
  bool changed;
} grouper;

static bool eligible(sq_graph *g, const sq_node *n) {
  return n->op == SQ_OP_GENERIC && n->g->n_par && !n->g->keyed && !n->g->pos &&
         !sq_is_product(g, n);
}

static const sq_node *member_of(const grouper *w, const sq_value *v) {
  for (uint32_t k = 0; k < w->n; k++)
    if (v->def == w->member[k]) return w->member[k];
  return NULL;
}

static uint32_t min(uint32_t a, uint32_t b) { return a < b ? a : b; }

// How many leading axes n shares with the members whose values it reads; 0: it reads none of them.
static uint32_t shared_axes(const grouper *w, const sq_node *n) {
  const sq_generic *k = n->g;
  uint32_t shared = k->n_par;
  bool any = false;
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *s = &k->s.v[j];
    const sq_node *m = s->kind == SQ_SC_READ ? member_of(w, n->in[s->operand]) : NULL;
    if (!m) continue;
    any = true;
    if (s->other != SQ_NO_SCALAR || s->site != SQ_NO_SITE) return 0;
    shared = min(shared, min(m->g->n_par, sq_read_leading(w->g, k, s)));
  }
  for (uint32_t a = 0; any && a < shared; a++)
    if (!sq_dim_same(k->axis[a].extent, w->member[0]->g->axis[a].extent)) shared = a;
  return any ? shared : 0;
}

// What a row of the group needs: at most one axis of its own, so that it stays small.
static bool rows_stay_small(const grouper *w, const sq_node *n, uint32_t outer) {
  if (n->g->n_par > outer + 1) return false;
  for (uint32_t k = 0; k < w->n; k++)
    if (w->member[k]->g->n_par > outer + 1) return false;
  return true;
}

static bool uses_member(const grouper *w, const sq_node *n) {
  for (uint32_t k = 0; k < n->n_in; k++)
    if (member_of(w, n->in[k])) return true;
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      if (uses_member(w, n->region[r]->nodes.v[k])) return true;
  return false;
}

static void near_miss(const grouper *w, const sq_node *n, const char *why) {
  const sq_node *m = NULL;
  for (uint32_t k = 0; k < n->n_in && !m; k++) m = member_of(w, n->in[k]);
  sq_pass_missed(w->g, w->f, "group", n, m, NULL,
                 sq_arena_fmt(w->g->arena, "stays apart: %s", why));
}

// Adds n when it fits; `outer` may become smaller.
static bool try_member(grouper *w, sq_node *n) {
  if (w->n == MAX_MEMBERS || !eligible(w->g, n)) return false;
  uint32_t shared = shared_axes(w, n);
  if (!shared) {
    near_miss(w, n, "it reads rows other than its own");
    return false;
  }
  uint32_t outer = min(w->n > 1 ? w->outer : shared, shared), rank = n->g->n_par;
  for (uint32_t k = 0; k < w->n; k++)
    if (w->member[k]->g->n_par > rank) rank = w->member[k]->g->n_par;
  // An axis must be left inside, to run along; a reduction has its own.
  if (outer == rank && !n->g->n_red) outer--;
  bool wide = outer == 0 || (w->n > 1 && outer < w->outer && !rows_stay_small(w, n, outer)) ||
              (w->n == 1 && !rows_stay_small(w, n, outer) && outer + 1 < rank);
  if (wide) {
    if (outer) near_miss(w, n, "a row of both would be more than one axis");
    return false;
  }
  for (uint32_t k = 0; k < w->n; k++)
    if (!sq_node_can_sink(w->member[k], n)) return false;
  w->outer = outer;
  w->member[w->n++] = n;
  return true;
}

// ---- building ----------------------------------------------------------------------------------
typedef struct user_search {
  const grouper *w;
  const sq_value *v;
  bool outside;
} user_search;
static void find_outside(sq_node *n, void *user) {
  user_search *s = user;
  for (uint32_t k = 0; k < n->n_in; k++)
    if (n->in[k] == s->v && !(n->n_out && member_of(s->w, n->out[0]))) s->outside = true;
}

static void build(grouper *w) {
  sq_graph *g = w->g;
  sq_node *last = w->member[w->n - 1];
  sq_func *f = last->block->func;
  sq_node *group = sq_node_new(g, NULL, SQ_OP_GROUP, w->member[0]->span, 0, NULL);
  group->n_outer = w->outer;
  sq_node_insert_before(last, group);
  bool *outside = SQ_ARRAY(g->arena, bool, w->n);
  for (uint32_t k = 0; k < w->n; k++) {
    user_search s = {w, w->member[k]->out[0], false};
    sq_walk(f->body, find_outside, &s);
    outside[k] = s.outside;
  }
  sq_block *b = sq_node_region(g, group, f);
  sq_node *end = sq_node_new(g, NULL, SQ_OP_YIELD, last->span, 0, NULL);
  uint32_t passes = 0;
  for (uint32_t k = 0; k < w->n; k++) {
    sq_node *m = w->member[k];
    sq_value *inner = m->out[0];
    sq_node_remove(m);
    m->block = b;
    sq_push(g->arena, &b->nodes, m);
    passes += m->g->n_red != 0;
    if (!outside[k]) continue;
    sq_value *result = sq_node_result(g, group, inner->type, inner->name);
    sq_replace_uses(f, inner, result);
    for (uint32_t j = 0; j <= k; j++) // uses by members stay inside
      for (uint32_t i = 0; i < w->member[j]->n_in; i++)
        if (w->member[j]->in[i] == result) w->member[j]->in[i] = inner;
    sq_node_add_in(g, end, inner);
  }
  // later members were still in the block when their operands were replaced
  for (uint32_t k = 0; k < w->n; k++)
    for (uint32_t i = 0; i < w->member[k]->n_in; i++)
      for (uint32_t o = 0; o < group->n_out; o++)
        if (w->member[k]->in[i] == group->out[o]) w->member[k]->in[i] = end->in[o];
  end->block = b;
  sq_push(g->arena, &b->nodes, end);
  w->changed = true;
  sq_remark_add(g->ctx, "group", true, group->span, sq_pass_entry(w->f),
                "%u operations with %u reductions in one pass over the rows", w->n, passes);
}

static bool has_reduction(const grouper *w) {
  for (uint32_t k = 0; k < w->n; k++)
    if (w->member[k]->g->n_red) return true;
  return false;
}

// Gathers from b->nodes.v[from] on; true when a group was made.
static bool gather(grouper *w, sq_block *b, uint32_t from) {
  w->n = 1;
  w->member[0] = b->nodes.v[from];
  w->outer = w->member[0]->g->n_par;
  for (uint32_t k = from + 1; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (uses_member(w, n) && !try_member(w, n)) break;
  }
  if (w->n < 2 || !has_reduction(w)) return false;
  build(w);
  return true;
}

static void do_block(grouper *w, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) do_block(w, n->region[r]);
    if (eligible(w->g, n) && gather(w, b, k)) k = k ? k - 1 : 0;
  }
}

bool sq_pass_group(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  bool any = false;
  for (uint32_t k = 0; k < g->func.n; k++) {
    grouper w = {.g = g, .f = g->func.v[k]};
    do_block(&w, g->func.v[k]->body);
    any |= w.changed;
  }
  return any;
}
