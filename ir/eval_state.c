// States in the interpreter: their first value, their growing axis, writes as a whole, reset.
// Instances of a growing state share one extent; a row that appears holds the init of its instance.
#include "ir/eval_impl.h"

// The value of the state's init function for one instance; its own reference.
static sq_ten *initial(sq_eval *e, uint32_t state, int64_t instance, sq_span where) {
  const sq_state *st = &e->g->state.v[state];
  if (!st->init) sq_eval_fail(e, SQ_EMODEL, st->span, "state `%s` has no init", st->name);
  uint32_t first = e->n_stack;
  if (st->init->body->args.n) {
    sq_ten *k = sq_ten_new(e, where, st->init->body->args.v[0]->type.dtype, 0, NULL);
    k->data->i = instance;
    sq_eval_push(e, k);
  }
  if (sq_eval_function(e, st->init, first, where) != 1)
    sq_eval_fail(e, SQ_EMODEL, st->span, "the init of state `%s` gives no single value", st->name);
  return e->stack[--e->n_stack];
}

static void state_dims(sq_eval *e, const sq_state *st, int64_t extent, int64_t *dim) {
  for (uint32_t a = 0; a < st->type.rank; a++)
    dim[a] =
        st->grow.i && a == st->grow_axis ? extent : sq_eval_extent(e, st->type.dim[a], st->span);
}

static sq_ten *row_of(sq_eval *e, uint32_t state, int64_t instance, sq_span where) {
  sq_ten **row = &e->state[state].row[instance];
  if (*row) return *row;
  const sq_state *st = &e->g->state.v[state];
  sq_ten *t = initial(e, state, instance, where);
  int64_t dim[SQ_MAX_RANK];
  state_dims(e, st, 1, dim);
  bool fits = t->t.rank == st->type.rank && t->t.dtype == st->type.dtype;
  for (uint32_t a = 0; fits && a < t->t.rank; a++) fits = t->t.dim[a] == dim[a];
  if (!fits)
    sq_eval_fail(e, SQ_EMODEL, st->span, "the init of state `%s` has another shape", st->name);
  return *row = t;
}

sq_ten **sq_eval_state_slot(sq_eval *e, uint32_t state, int64_t instance, sq_span where) {
  const sq_state *st = &e->g->state.v[state];
  if (instance < 0 || instance >= st->count)
    sq_eval_fail(e, SQ_EMODEL, where, "state `%s`: instance %lld of %u", st->name,
                 (long long)instance, st->count);
  sq_ten **slot = &e->state[state].value[instance];
  if (*slot) return slot;
  if (st->grow.i) {
    int64_t dim[SQ_MAX_RANK];
    state_dims(e, st, 0, dim);
    *slot = sq_ten_new(e, where, st->type.dtype, st->type.rank, dim);
    sq_eval_state_extent(e, state, e->state[state].extent, where);
    return slot;
  }
  sq_ten *t = initial(e, state, instance, where);
  int64_t dim[SQ_MAX_RANK];
  state_dims(e, st, 0, dim);
  bool fits = t->t.rank == st->type.rank && t->t.dtype == st->type.dtype;
  for (uint32_t a = 0; fits && a < t->t.rank; a++) fits = t->t.dim[a] == dim[a];
  if (!fits)
    sq_eval_fail(e, SQ_EMODEL, st->span, "the init of state `%s` has another shape", st->name);
  *slot = t;
  return slot;
}

// One instance with n rows: outer x rows x inner, old rows first, then copies of the init's.
static void resize(sq_eval *e, uint32_t state, int64_t instance, int64_t n, sq_span where) {
  const sq_state *st = &e->g->state.v[state];
  sq_ten *old = e->state[state].value[instance];
  int64_t have = old ? old->t.dim[st->grow_axis] : 0, dim[SQ_MAX_RANK], outer = 1, inner = 1;
  if (old && have == n) return;
  const sq_ten *row = n > have ? row_of(e, state, instance, where) : NULL;
  state_dims(e, st, n, dim);
  sq_ten *t = sq_ten_new(e, where, st->type.dtype, st->type.rank, dim);
  for (uint32_t a = 0; a < st->grow_axis; a++) outer *= dim[a];
  for (uint32_t a = st->grow_axis + 1; a < st->type.rank; a++) inner *= dim[a];
  int64_t keep = have < n ? have : n;
  for (int64_t o = 0; o < outer && inner; o++) {
    sq_cell *to = t->data + o * n * inner;
    if (keep) memcpy(to, old->data + o * have * inner, (size_t)(keep * inner) * sizeof *to);
    for (int64_t r = keep; r < n; r++)
      memcpy(to + r * inner, row->data + o * inner, (size_t)inner * sizeof *to);
  }
  sq_ten_drop(e, e->state[state].value[instance]);
  e->state[state].value[instance] = t;
}

void sq_eval_state_extent(sq_eval *e, uint32_t state, int64_t n, sq_span where) {
  const sq_state *st = &e->g->state.v[state];
  if (n < 0)
    sq_eval_fail(e, SQ_EMODEL, where, "state `%s` cannot have %lld rows", st->name, (long long)n);
  // The init may fail; the extent changes only when every instance has its rows.
  if (n > e->state[state].extent)
    for (uint32_t k = 0; k < st->count; k++) row_of(e, state, k, where);
  for (uint32_t k = 0; k < st->count; k++) resize(e, state, k, n, where);
  e->state[state].extent = n;
  e->sym[st->grow.i] = n;
}

void sq_eval_state_reset(sq_eval *e) {
  for (uint32_t s = 0; s < e->n_state; s++) {
    const sq_state *st = &e->g->state.v[s];
    if (st->kept || st->derived) continue;
    for (uint32_t k = 0; k < e->state[s].count; k++) {
      sq_ten_drop(e, e->state[s].value[k]);
      sq_ten_drop(e, e->state[s].row[k]);
      e->state[s].value[k] = e->state[s].row[k] = NULL;
    }
    e->state[s].extent = 0;
    if (st->grow.i) e->sym[st->grow.i] = 0;
  }
}
