// choose: a small `if` in the turns of a scan becomes a select.
//
//   scan extent N carried 1 (%h0) { (%t, %a)            scan extent N carried 1 (%h0) { (%t, %a)
//     %c = generic (%t, %on) ...                          %c = generic (%t, %on) ...
//     %b = if (%c) { %z = generic ... yield %z }          %z = generic ...
//                  { yield %a }                     ->    %b = generic (%c, %z, %a) { select(%c, %z, %a) }
//
// A turn of loop nests alone is what sweeps are made of, and their algebra knows selects: a state that is begun
// anew where a mark stands. It is done only where nothing else than such an `if` keeps the turn from being loop
// nests, and both sides are cheap, element by element, and cannot fail. What only the condition keeps inside of
// its value is read where it holds.
#include "passes/internal.h"
#include "passes/maker.h"
#include "passes/questions.h"

enum { CHEAP = 48, NESTED = 8 }; // operations of an element; conditions in one another

static bool is_nest(const sq_node *n) {
  return n->op == SQ_OP_GENERIC && !n->g->keyed && !n->g->pos;
}

// Why a side with this operation is not done in turns that are not on it; NULL: it may be.
static const char *costly(const sq_node *n) {
  if (sq_node_may_fail(n)) return "it can fail there";
  if (!is_nest(n)) return "there is more than work on elements in it";
  if (n->g->n_red) return "there is a sum or another reduction in it";
  bool cheap = sq_scalar_cost(n->g, sq_scalar_root(n->g)) <= CHEAP;
  return cheap ? NULL : "it has too many operations";
}

// Why an `if` stays one; NULL: it may become a select.
static const char *unfit(const sq_node *n, uint32_t depth) {
  if (depth > NESTED) return "it is one of too many in one another";
  const char *why = NULL;
  for (uint32_t r = 0; r < n->n_region; r++) {
    const sq_block *b = n->region[r];
    for (uint32_t k = 0; !why && k + 1 < b->nodes.n; k++) {
      const sq_node *x = b->nodes.v[k];
      why = x->op == SQ_OP_IF ? unfit(x, depth + 1) : costly(x);
    }
  }
  return why;
}

static bool reads_outside(sq_graph *g, const sq_node *n) {
  for (uint32_t k = 0; k < n->g->s.n; k++) {
    const sq_scalar *s = &n->g->s.v[k];
    if (s->kind == SQ_SC_READ && s->other == SQ_NO_SCALAR && !sq_read_is_inside(g, n, s))
      return true;
  }
  return false;
}

// The reads of n happen where c holds, or does not.
static void guard(sq_graph *g, sq_node *n, sq_value *c, bool negated) {
  sq_maker m;
  const sq_node before = *n;
  sq_maker_start_like(&m, g, n);
  uint32_t *axis = SQ_ARRAY(g->arena, uint32_t, n->g->n_par + 1);
  for (uint32_t a = 0; a < before.g->n_par; a++) axis[a] = sq_maker_index(&m, a);
  uint32_t holds = sq_maker_read(&m, c, 0, NULL);
  if (negated) holds = sq_maker_ewise(&m, SQ_EW_NOT, holds, SQ_NO_SCALAR);
  sq_graft how = {.from = &before, .axis = axis, .acc = SQ_NO_SCALAR, .guard = holds};
  uint32_t *map = sq_maker_map(&m, &before);
  if (before.g->post != SQ_NO_SCALAR) how.acc = sq_maker_graft(&m, &how, before.g->body, map);
  sq_maker_copy_parts(&m, &how, map);
  sq_maker_end(&m, n);
}

static sq_value *select_of(sq_graph *g, sq_node *at, sq_value *a, sq_value *b, sq_value *result) {
  if (a == b) return a;
  sq_type t = result->type;
  sq_node *n = sq_node_new(g, at->block, SQ_OP_GENERIC, at->span, 0, NULL);
  sq_node_remove(n);
  sq_node_insert_before(at, n);
  sq_maker m;
  sq_maker_start(&m, g, t.rank, 0);
  uint32_t pos[SQ_MAX_RANK];
  for (uint32_t k = 0; k < t.rank; k++) {
    m.k->axis[k].extent = t.dim[k];
    pos[k] = sq_maker_index(&m, k);
  }
  uint32_t c = sq_maker_read(&m, at->in[0], 0, NULL);
  uint32_t x = sq_maker_read(&m, a, t.rank, pos), y = sq_maker_read(&m, b, t.rank, pos);
  m.k->body = sq_maker_select(&m, c, x, y);
  sq_maker_end(&m, n);
  return sq_node_result(g, n, t, result->name);
}

static void choose(sq_graph *g, sq_func *f, sq_node *n) {
  const sq_node *end[2];
  for (uint32_t r = 0; r < 2; r++) {
    sq_block *b = n->region[r];
    for (uint32_t k = 0; k + 1 < b->nodes.n; k++)
      if (b->nodes.v[k]->op == SQ_OP_IF) {
        choose(g, f, b->nodes.v[k]);
        k = UINT32_MAX; // nodes have moved: from the first one again
      }
    end[r] = sq_block_end(b);
    while (b->nodes.v[0] != end[r]) {
      sq_node *x = b->nodes.v[0];
      if (reads_outside(g, x)) guard(g, x, n->in[0], r == 1);
      sq_node_remove(x);
      sq_node_insert_before(n, x);
    }
  }
  for (uint32_t k = 0; k < n->n_out; k++)
    sq_replace_uses(f, n->out[k], select_of(g, n, end[0]->in[k], end[1]->in[k], n->out[k]));
  sq_remark_add(g->ctx, "choose", true, n->span, sq_pass_entry(f),
                "both sides in every turn, and a select between them");
  sq_node_remove(n);
}

static bool do_scan(sq_graph *g, sq_func *f, sq_block *b) {
  bool found = false;
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) {
    const sq_node *n = b->nodes.v[k];
    if (n->op != SQ_OP_IF && !is_nest(n)) return false; // no sweep either way
    found |= n->op == SQ_OP_IF;
  }
  if (!found) return false;
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) {
    const sq_node *n = b->nodes.v[k];
    const char *why = n->op == SQ_OP_IF ? unfit(n, 0) : NULL;
    if (!why) continue;
    sq_pass_missed(g, f, "choose", n, NULL, NULL,
                   sq_arena_fmt(g->arena, "one side or the other in every turn: %s", why));
    return false;
  }
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    if (b->nodes.v[k]->op != SQ_OP_IF) continue;
    choose(g, f, b->nodes.v[k]);
    k = UINT32_MAX; // nodes have moved: from the first one again
  }
  return true;
}

static bool do_block(sq_graph *g, sq_func *f, sq_block *b) {
  bool changed = false;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    for (uint32_t r = 0; r < n->n_region; r++) changed |= do_block(g, f, n->region[r]);
    if (n->op == SQ_OP_SCAN) changed |= do_scan(g, f, n->region[0]);
  }
  return changed;
}

bool sq_pass_choose(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  bool changed = false;
  for (uint32_t k = 0; k < g->func.n; k++) changed |= do_block(g, g->func.v[k], g->func.v[k]->body);
  return changed;
}
