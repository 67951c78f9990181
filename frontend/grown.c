// Sizes that change during a call: the extent of a growing state, and extents that data choose. They are
// not what they are when the call starts; a value read before a state grew, and what was known of its
// extent, is not used behind. (A name for the extent keeps the number: sq_bind_add.)
#include "frontend/lower.h"

bool sq_size_moves(const sq_low *L, sq_dim d) {
  if (!d.i) return false;
  for (uint32_t k = 1; k <= sq_sym_count(L->g->dims); k++) {
    sq_sym_kind kind = sq_sym_at(L->g->dims, (sq_sym){k})->kind;
    bool moves = kind == SQ_SYM_LIVE || (kind == SQ_SYM_GROW && k < L->grown.n && L->grown.v[k]);
    if (moves && sq_dim_mentions(L->g->dims, d, (sq_sym){k})) return true;
  }
  return false;
}

void sq_grown_begin(sq_low *L) {
  L->grown.n = 0;
  for (uint32_t k = 0; k < L->g->state.n; k++)
    if (L->g->state.v[k].grow.i) sq_fact_forget(L->g->dims, L->g->state.v[k].grow);
}

void sq_low_grown(sq_low *L, sq_sym s) {
  while (L->grown.n <= s.i) sq_push(L->a, &L->grown, 0);
  L->grown.v[s.i] = L->g->n_values;
  sq_fact_forget(L->g->dims, s);
}

// The symbol in d of a state that has grown since the values below this id were made.
static sq_sym grown_since(const sq_low *L, sq_dim d, uint32_t id) {
  for (uint32_t s = 1; s < L->grown.n; s++)
    if (L->grown.v[s] > id && sq_dim_mentions(L->g->dims, d, (sq_sym){s})) return (sq_sym){s};
  return (sq_sym){0};
}

bool sq_low_has_grown(sq_low *L, sq_dim d, uint32_t since) {
  return grown_since(L, d, since).i != 0;
}

static bool tree_grown(const sq_low *L, const sq_sx *e, uint32_t since) {
  if (e->kind == SQ_SX_DIM) return grown_since(L, e->dim, since).i != 0;
  for (int k = 0; k < 3; k++)
    if (e->a[k] && tree_grown(L, e->a[k], since)) return true;
  return false;
}

bool sq_guard_stale(const sq_low *L, const sq_guard_list *g) {
  return g->born && tree_grown(L, g->cond, g->born - 1);
}

// Says so when the extents of v have changed since the values below this id were made.
static bool stale_since(sq_low *L, const sq_value *v, uint32_t id, sq_span span) {
  sq_sym s = {0};
  for (uint32_t k = 0; k < v->type.rank && !s.i; k++) s = grown_since(L, v->type.dim[k], id);
  if (!s.i || L->stale_said == v->id + 1) return s.i != 0;
  L->stale_said = v->id + 1;
  sq_diag *d = sq_low_error(L, span, "`%s` has the extent that `%s` had before it grew",
                            sq_low_text(L, span), sq_sym_at(L->g->dims, s)->name);
  sq_hint(d, "read the state again behind `reserve`");
  return true;
}

bool sq_low_stale(sq_low *L, const sq_value *v, sq_span span) {
  return stale_since(L, v, v->id, span);
}

static bool fresh_inputs(sq_low *L, const sq_block *b, uint32_t first) {
  bool ok = true;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    const sq_node *n = b->nodes.v[k];
    for (uint32_t j = 0; j < n->n_in; j++)
      if (n->in[j]->id < first) ok &= !stale_since(L, n->in[j], first, n->span);
    for (uint32_t r = 0; r < n->n_region; r++) ok &= fresh_inputs(L, n->region[r], first);
  }
  return ok;
}

bool sq_loop_fresh(sq_low *L, const sq_node *loop, uint32_t first) {
  bool ok = true;
  for (uint32_t r = 0; r < loop->n_region; r++) ok &= fresh_inputs(L, loop->region[r], first);
  return ok;
}
