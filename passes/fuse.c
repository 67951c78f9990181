// fuse: elementwise work joins what makes or uses its operands.
//
//   %y = generic (%x, %w) [n < N, o < 64] sum [c < 32] { %x[n, c] * %w[o, c] }
//   %z = generic (%y, %b) [n < N, o < 64] { maximum(%y[n, o] + %b[o], 0.0) }
// becomes, the epilogue,
//   %z = generic (%x, %w, %b) [n < N, o < 64] sum [c < 32] {
//     %x[n, c] * %w[o, c]; post maximum(acc + %b[o], 0.0); }
//
//   %e = generic (%x) [n < N] { exp(%x[n]) }
//   %s = generic (%e) [] sum [n < N] { %e[n] }
// becomes
//   %s = generic (%x) [] sum [n < N] { exp(%x[n]) }
//
// An epilogue is the only user of the sum, element by element. A producer joins its consumer when
// it has no other, or is cheap and joins all; never where it would be computed again for an axis
// that it does not have unless it is cheap, and never into a matrix product, whose operands stay
// plain. It joins the turns of a scan that alone reads it, each element once, where it has more axes
// than all that it is made from:
//
//   %f = generic (%d, %a) [t < N, c < 8, s < 4] { exp(%d[t, c] * %a[c, s]) }
//   scan extent N ... { (%t, %h) %n = generic (%f, %h, %t) [c < 8, s < 4] { %f[t, c, s] * %h[c, s] } ... }
// becomes
//   scan extent N ... { (%t, %h) %n = generic (%d, %a, %h, %t) [c < 8, s < 4] { exp(...) * %h[c, s] } ... }
#include "passes/maker.h"
#include "passes/questions.h"

enum { CHEAP = 4 };

typedef struct fuser {
  sq_graph *g;
  sq_func *f;
  uint32_t *users; // by value id: nodes that use it
  sq_node **user;  // by value id: one of them
  uint32_t n_known, room;
  sq_node *into; // the consumer being made
  bool changed;
} fuser;

static void count_users(sq_node *n, void *user) {
  fuser *w = user;
  for (uint32_t k = 0; k < n->n_in; k++) {
    uint32_t id = n->in[k]->id;
    if (w->user[id] == n) continue;
    w->users[id]++;
    w->user[id] = n;
  }
}

static void count(fuser *w) {
  w->n_known = w->g->n_values;
  if (w->room < w->n_known) {
    w->room = 2 * w->n_known;
    w->users = SQ_ARRAY(w->g->arena, uint32_t, w->room);
    w->user = SQ_ARRAY(w->g->arena, sq_node *, w->room);
  } else if (w->n_known) {
    memset(w->users, 0, w->n_known * sizeof *w->users);
    memset(w->user, 0, w->n_known * sizeof *w->user);
  }
  sq_walk(w->f->body, count_users, w);
}

static bool only_user(const fuser *w, const sq_value *v, const sq_node *n) {
  return v->id < w->n_known && w->users[v->id] == 1 && w->user[v->id] == n;
}

// ---- may work move from `from` down to `to`? ---------------------------------------------------
static bool aliases(const sq_value *v, const sq_node *write) {
  if (!v->def) return false;
  if (v->def->op == SQ_OP_PARAM) return write->op == SQ_OP_PARAM_WRITE && write->ref == v->def->ref;
  if (v->def->op != SQ_OP_STATE_READ) return false;
  return write->op == SQ_OP_RESET ||
         ((write->op == SQ_OP_STATE_WRITE || write->op == SQ_OP_RESERVE) &&
          write->ref == v->def->ref);
}

typedef struct writes {
  const sq_node *moved;
  bool found;
} writes;
// Does `write` change what n, or anything in its regions, reads?
static bool is_read(const sq_node *n, const sq_node *write) {
  for (uint32_t k = 0; k < n->n_in; k++)
    if (aliases(n->in[k], write)) return true;
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      if (is_read(n->region[r]->nodes.v[k], write)) return true;
  return false;
}
static void find_write(sq_node *n, void *user) {
  writes *w = user;
  w->found |= is_read(w->moved, n);
}

// Does n set a size of `moved` or of anything in its regions?
static bool sized_by(sq_graph *g, const sq_node *moved, const sq_node *n) {
  if (sq_node_sized_inside(g, moved, n)) return true;
  for (uint32_t r = 0; r < moved->n_region; r++)
    for (uint32_t k = 0; k < moved->region[r]->nodes.n; k++)
      if (sized_by(g, moved->region[r]->nodes.v[k], n)) return true;
  return false;
}

bool sq_node_can_pass(sq_node *moved, sq_node *from, sq_node *to) {
  const sq_block *b = to->block;
  if (from->block != b) return false;
  writes w = {moved, false};
  bool between = false;
  for (uint32_t k = 0; k < b->nodes.n && b->nodes.v[k] != to; k++) {
    sq_node *n = b->nodes.v[k];
    if (n == from) between = true;
    if (!between || n == from) continue;
    find_write(n, &w);
    for (uint32_t r = 0; r < n->n_region; r++) sq_walk(n->region[r], find_write, &w);
    if (sized_by(b->func->graph, moved, n)) return false;
  }
  return between && !w.found;
}
bool sq_node_can_sink(sq_node *from, sq_node *to) { return sq_node_can_pass(from, from, to); }

// ---- epilogues ---------------------------------------------------------------------------------
// All reads of v by n are at its parallel axes, and v has them all.
static bool reads_plainly(const fuser *w, const sq_node *n, const sq_value *v) {
  const sq_generic *k = n->g;
  bool any = false;
  if (v->type.rank != k->n_par) return false;
  for (uint32_t a = 0; a < k->n_par; a++)
    if (!sq_dim_same(k->axis[a].extent, v->type.dim[a])) return false;
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *s = &k->s.v[j];
    if (s->kind != SQ_SC_READ || n->in[s->operand] != v) continue;
    any = true;
    if (s->n_pos != k->n_par || sq_read_leading(w->g, k, s) != s->n_pos) return false;
  }
  return any;
}

static const char *what_is(sq_graph *g, const sq_node *n) {
  return sq_is_product(g, n) ? "matrix product" : sq_monoid_names[n->g->monoid];
}

typedef struct other_user {
  const sq_value *v;
  const sq_node *but, *found;
} other_user;
static void find_other(sq_node *n, void *user) {
  other_user *o = user;
  for (uint32_t k = 0; k < n->n_in && n != o->but && !o->found; k++)
    if (n->in[k] == o->v) o->found = n;
}

static void missed_epilogue(const fuser *w, const sq_node *sum, const sq_node *n, const char *why) {
  if (!sq_is_product(w->g, sum)) return;
  other_user o = {.v = sum->out[0], .but = n};
  if (n->span.mark) sq_walk(w->f->body, find_other, &o);
  sq_pass_missed(
      w->g, w->f, "fuse", n, sum, o.found,
      sq_arena_fmt(w->g->arena, "stays apart from the matrix product that it uses: %s", why));
}

static bool is_sum(const sq_node *n) {
  return n && n->op == SQ_OP_GENERIC && n->g->n_red && !n->g->keyed && !n->g->pos;
}

// The last sum of which n can be the epilogue.
static sq_node *epilogue_of(const fuser *w, sq_node *n, bool tell) {
  sq_node *best = NULL;
  for (uint32_t k = 0; k < n->n_in; k++) {
    sq_node *sum = n->in[k]->def;
    if (!is_sum(sum) || sum->block != n->block) continue;
    const char *why =
        !only_user(w, n->in[k], n)       ? "the product has other users"
        : !reads_plainly(w, n, n->in[k]) ? "it does not use the product element by element"
        : !sq_node_can_sink(sum, n)      ? "a state that the product reads is written between"
                                         : NULL;
    if (why) {
      if (tell) missed_epilogue(w, sum, n, why);
      continue;
    }
    if (!best || best->id < sum->id) best = sum;
  }
  return best;
}

static void join_epilogue(fuser *w, sq_node *sum, sq_node *n) {
  sq_graph *g = w->g;
  sq_maker m;
  sq_maker_start_like(&m, g, sum);
  uint32_t n_axes = sum->g->n_par + sum->g->n_red;
  uint32_t *axis = SQ_ARRAY(g->arena, uint32_t, n_axes + 1);
  for (uint32_t a = 0; a < n_axes; a++) axis[a] = sq_maker_index(&m, a);
  sq_graft of_sum = {.from = sum, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  sq_maker_copy_parts(&m, &of_sum, sq_maker_map(&m, sum));
  uint32_t result = m.k->post;
  if (result == SQ_NO_SCALAR)
    result = sq_maker_acc(&m, sq_monoid_result(sum->g->monoid, sum->g->s.v[sum->g->body].dtype));
  sq_graft of_n = {.from = n,
                   .axis = axis,
                   .acc = SQ_NO_SCALAR,
                   .guard = SQ_NO_SCALAR,
                   .value = sum->out[0],
                   .instead = result};
  uint32_t *map = sq_maker_map(&m, n);
  if (n->g->post != SQ_NO_SCALAR) of_n.acc = sq_maker_graft(&m, &of_n, n->g->body, map);
  m.k->post = sq_maker_graft(&m, &of_n, sq_scalar_root(n->g), map);
  for (uint32_t a = 0; a < n->g->n_par; a++) m.k->axis[a].name = n->g->axis[a].name;
  sq_remark_add(g->ctx, "fuse", true, n->span, sq_pass_entry(w->f), "joins the %s that it uses",
                what_is(g, sum));
  sq_maker_end(&m, n);
  uint32_t mark = sum->span.mark ? sum->span.mark : n->span.mark;
  n->span = sum->span.file ? sum->span : n->span;
  n->span.mark = mark;
  sq_node_remove(sum);
  w->changed = true;
}

// ---- producers ---------------------------------------------------------------------------------
static bool takes_producers(const sq_node *n) {
  return n->op == SQ_OP_GENERIC || n->op == SQ_OP_UPDATE || n->op == SQ_OP_STATE_WRITE ||
         n->op == SQ_OP_PARAM_WRITE;
}

static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }

// Is v a factor of the matrix product n, and not only read by its epilogue?
static bool is_factor(sq_graph *g, const sq_node *n, const sq_value *v) {
  if (!sq_is_product(g, n)) return false;
  const sq_generic *k = n->g;
  bool *seen = SQ_ARRAY(g->arena, bool, k->body + 1);
  seen[k->body] = true;
  for (uint32_t id = k->body + 1; id-- > 0;) { // references go to smaller ids
    const sq_scalar *s = &k->s.v[id];
    if (!seen[id]) continue;
    if (s->kind == SQ_SC_READ && n->in[s->operand] == v) return true;
    sq_scalar_refs(s, mark, seen);
  }
  return false;
}

static uint32_t count_reads(const sq_node *n, const sq_value *v) {
  uint32_t reads = 0;
  for (uint32_t j = 0; j < n->g->s.n; j++)
    reads += n->g->s.v[j].kind == SQ_SC_READ && n->in[n->g->s.v[j].operand] == v;
  return reads;
}

static uint32_t array_reads(const sq_node *n) {
  uint32_t reads = 0;
  for (uint32_t j = 0; j < n->g->s.n; j++)
    reads += n->g->s.v[j].kind == SQ_SC_READ && n->g->s.v[j].n_pos;
  return reads;
}

static bool is_target(const sq_node *n, const sq_value *v) {
  for (uint32_t k = 0; k < sq_operands_begin(n); k++)
    if (n->in[k] == v) return true;
  return n->has_instance && n->in[n->n_in - 1] == v;
}

// Is the producer computed again for axes of the consumer that its positions lack?
static bool recomputed(const sq_node *n, const sq_value *v) {
  const sq_generic *k = n->g;
  uint32_t all = (1u << (k->n_par + k->n_red)) - 1, par = (1u << k->n_par) - 1;
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *s = &k->s.v[j];
    if (s->kind != SQ_SC_READ || n->in[s->operand] != v) continue;
    uint32_t have = 0;
    for (uint32_t p = 0; p < s->n_pos; p++) have |= sq_scalar_axes(k, s->pos[p]);
    bool after = k->n_red && !(have & ~par); // perhaps part of the epilogue
    if ((have & all) != all && !(after && (have & par) == par)) return true;
  }
  return false;
}

typedef struct others {
  const fuser *w;
  const sq_value *v;
  bool all_take;
} others;
static void ask_user(sq_node *n, void *user) {
  others *o = user;
  for (uint32_t k = 0; k < n->n_in; k++)
    if (n->in[k] == o->v &&
        (!takes_producers(n) || is_target(n, o->v) || is_factor(o->w->g, n, o->v)))
      o->all_take = false;
}

// Does a position of the read of v by n, which is in the body of a scan, go with the turn?
static bool reads_turn(const sq_node *n, const sq_value *v) {
  const sq_generic *k = n->g;
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *s = &k->s.v[j];
    if (s->kind != SQ_SC_READ || n->in[s->operand] != v) continue;
    for (uint32_t p = 0; p < s->n_pos; p++) {
      const sq_scalar *at = &k->s.v[s->pos[p]];
      if (at->kind == SQ_SC_CAST) at = &k->s.v[at->a[0]];
      if (at->kind != SQ_SC_READ) continue;
      const sq_value *t = n->in[at->operand];
      if (!t->def && t->block == n->block && t->index == 0) return true;
    }
  }
  return false;
}

// Has the producer more axes than each array that it reads?
static bool expands(const sq_node *p) {
  for (uint32_t j = 0; j < p->g->s.n; j++)
    if (p->g->s.v[j].kind == SQ_SC_READ && p->g->s.v[j].n_pos >= p->g->n_par) return false;
  return true;
}

// What a scan alone reads, each element once, and is larger than what it is made from, is made in the
// turns that read it.
static bool joins_turns(fuser *w, sq_node *p, sq_node *n, const sq_value *v) {
  sq_node *scan = n->block->owner;
  if (!scan || scan->op != SQ_OP_SCAN || scan->block != p->block || sq_node_may_fail(p))
    return false;
  if (!only_user(w, v, n) || count_reads(n, v) != 1 || recomputed(n, v)) return false;
  if (!reads_turn(n, v) || !expands(p) || !sq_node_can_sink(p, scan)) return false;
  writes inside = {p, false};
  sq_walk(scan->region[0], find_write, &inside);
  return !inside.found;
}

static bool wanted(void *user, const sq_scalar *read, sq_value *v) {
  (void)read;
  fuser *w = user;
  sq_node *p = v->def, *n = w->into;
  if (v->id >= w->n_known || !sq_node_reads(n, v) || is_target(n, v) || p->block->func != w->f ||
      is_factor(w->g, n, v))
    return false;
  uint32_t cost = sq_scalar_cost(p->g, sq_scalar_root(p->g));
  bool same_block = p->block == n->block;
  if (!same_block) return joins_turns(w, p, n, v);
  if (!sq_node_can_sink(p, n)) return false;
  if (recomputed(n, v) && cost > CHEAP) return false;
  if (only_user(w, v, n)) return count_reads(n, v) == 1 || cost <= 2 * CHEAP;
  if (cost > CHEAP || array_reads(p) > 1) return false;
  others o = {w, v, true};
  sq_walk(w->f->body, ask_user, &o);
  return o.all_take;
}

static void take_producers(fuser *w, sq_node *n) {
  sq_graph *g = w->g;
  bool any = false;
  w->into = n;
  for (uint32_t k = sq_operands_begin(n); k < sq_operands_end(n) && !any; k++)
    any = n->in[k]->def && sq_node_is_elementwise(n->in[k]->def) && wanted(w, NULL, n->in[k]);
  if (!any) return;
  sq_node before = *n;
  sq_maker m;
  sq_maker_start_like(&m, g, n);
  m.inlines = wanted;
  m.user = w;
  uint32_t n_axes = n->g->n_par + n->g->n_red;
  uint32_t *axis = SQ_ARRAY(g->arena, uint32_t, n_axes + 1);
  for (uint32_t a = 0; a < n_axes; a++) axis[a] = sq_maker_index(&m, a);
  sq_graft how = {.from = &before, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  uint32_t *map = sq_maker_map(&m, &before);
  if (!before.g->n_red && before.g->post != SQ_NO_SCALAR)
    how.acc = sq_maker_graft(&m, &how, before.g->body, map);
  sq_maker_copy_parts(&m, &how, map);
  sq_maker_end(&m, n);
  for (uint32_t k = sq_operands_begin(&before); k < sq_operands_end(&before); k++) {
    const sq_node *p = before.in[k]->def;
    if (p && sq_node_is_elementwise(p) && !sq_node_reads(n, before.in[k]))
      sq_pass_joined(g, w->f, "fuse", p, "joins what uses it");
  }
  w->changed = true;
}

// ---- the pass ----------------------------------------------------------------------------------
static void do_block(fuser *w, sq_block *b, bool producers, bool tell) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) do_block(w, n->region[r], producers, tell);
    if (!producers && sq_node_is_elementwise(n) && n->n_out == 1) {
      sq_node *sum = epilogue_of(w, n, tell);
      if (sum) {
        join_epilogue(w, sum, n);
        count(w);
        k--; // the sum stood before n
      }
    }
    if (producers && n->g && n->op != SQ_OP_MAP && takes_producers(n)) take_producers(w, n);
  }
}

bool sq_pass_fuse(sq_graph *g, const sq_pass_options *o) {
  bool any = false;
  fuser w = {.g = g};
  for (int round = 0; round < 20; round++) {
    w.changed = false;
    for (uint32_t k = 0; k < g->func.n; k++) {
      w.f = g->func.v[k];
      for (int step = 0; step < 2; step++) {
        count(&w);
        do_block(&w, w.f->body, step, false);
      }
    }
    if (!w.changed) break;
    any = true;
    sq_pass_dce(g, o);
  }
  for (uint32_t k = 0; k < g->func.n; k++) {
    w.f = g->func.v[k];
    count(&w);
    do_block(&w, w.f->body, false, true); // says what stayed apart
  }
  return any;
}
