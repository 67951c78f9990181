// Operations of the interpreter that are neither loop nests nor regions: along one axis (cumulate,
// sort, argsort, topk), random, and those around parameters and states.
#include "ir/eval_impl.h"
#include "ir/random.h"

// ---- along one axis ----------------------------------------------------------------------------

// A tensor as outer x length x inner around the axis.
typedef struct columns {
  int64_t outer, length, inner;
} columns;

static columns columns_of(sq_eval *e, const sq_node *n, const sq_ten *x) {
  columns c = {1, 0, 1};
  if (n->axis >= x->t.rank)
    sq_eval_fail(e, SQ_EMODEL, n->span, "%s: axis %u of %u", sq_op_table[n->op].name, n->axis,
                 x->t.rank);
  for (uint32_t a = 0; a < n->axis; a++) c.outer *= x->t.dim[a];
  for (uint32_t a = n->axis + 1; a < x->t.rank; a++) c.inner *= x->t.dim[a];
  c.length = x->t.dim[n->axis];
  return c;
}

static sq_cell accumulate(sq_monoid m, sq_dtype t, sq_cell a, sq_cell x) {
  sq_cell r = a;
  sq_ewise ew = m == SQ_PROD  ? SQ_EW_MUL
                : m == SQ_MAX ? SQ_EW_MAX
                : m == SQ_MIN ? SQ_EW_MIN
                              : SQ_EW_ADD;
  sq_cells_ewise(ew, t, 1, &r, &a, 0, &x, 0);
  return r;
}

void sq_eval_cumulate(sq_eval *e, const sq_node *n) {
  const sq_ten *x = sq_eval_get(e, n->in[0], n->span);
  columns c = columns_of(e, n, x);
  sq_ten *r = sq_ten_new(e, n->span, x->t.dtype, x->t.rank, x->t.dim);
  for (int64_t o = 0; o < c.outer; o++)
    for (int64_t k = 0; k < c.length; k++)
      for (int64_t j = 0; j < c.inner; j++) {
        int64_t at = (o * c.length + k) * c.inner + j;
        r->data[at] =
            k ? accumulate(n->monoid, x->t.dtype, r->data[at - c.inner], x->data[at]) : x->data[at];
      }
  sq_eval_set(e, n->out[0], r);
}

typedef struct item {
  sq_cell v;
  int64_t at;
} item;

// Strictly before in ascending order, NaN last.
static bool below(bool f, sq_cell a, sq_cell b) {
  if (!f) return a.i < b.i;
  return isnan(b.f) ? !isnan(a.f) : a.f < b.f;
}

// Stable merge sort, ascending or descending; `t` has room for n.
static void sort_items(item *v, item *t, int64_t n, bool f, bool descending) {
  for (int64_t w = 1; w < n; w *= 2) {
    for (int64_t lo = 0; lo < n; lo += 2 * w) {
      int64_t mid = lo + w < n ? lo + w : n, hi = lo + 2 * w < n ? lo + 2 * w : n;
      int64_t i = lo, j = mid;
      for (int64_t k = lo; k < hi; k++) {
        bool second =
            i >= mid ||
            (j < hi && (descending ? below(f, v[i].v, v[j].v) : below(f, v[j].v, v[i].v)));
        t[k] = second ? v[j++] : v[i++];
      }
    }
    memcpy(v, t, (size_t)n * sizeof *v);
  }
}

void sq_eval_sort(sq_eval *e, const sq_node *n) {
  const sq_ten *x = sq_eval_get(e, n->in[0], n->span);
  columns c = columns_of(e, n, x);
  bool f = sq_is_float(x->t.dtype), indices = n->op == SQ_OP_ARGSORT;
  sq_ten *r = sq_ten_new(e, n->span, indices ? SQ_I32 : x->t.dtype, x->t.rank, x->t.dim);
  sq_eval_work_reset(e);
  item *v = sq_eval_take(e, (size_t)c.length + 1, sizeof *v);
  item *t = sq_eval_take(e, (size_t)c.length + 1, sizeof *t);
  for (int64_t o = 0; o < c.outer; o++)
    for (int64_t j = 0; j < c.inner; j++) {
      int64_t base = o * c.length * c.inner + j;
      for (int64_t k = 0; k < c.length; k++) v[k] = (item){x->data[base + k * c.inner], k};
      sort_items(v, t, c.length, f, false);
      for (int64_t k = 0; k < c.length; k++)
        r->data[base + k * c.inner] = indices ? (sq_cell){.i = v[k].at} : v[k].v;
    }
  sq_eval_set(e, n->out[0], r);
}

void sq_eval_topk(sq_eval *e, const sq_node *n) {
  const sq_ten *x = sq_eval_get(e, n->in[0], n->span);
  const sq_ten *valid = n->n_in > 1 ? sq_eval_get(e, n->in[1], n->span) : NULL;
  columns c = columns_of(e, n, x);
  int64_t dim[SQ_MAX_RANK], want = sq_eval_extent(e, n->extent, n->span);
  if (valid && valid->count != x->count)
    sq_eval_fail(e, SQ_EMODEL, n->span, "topk: the shapes of values and conditions differ");
  for (uint32_t a = 0; a < x->t.rank; a++) dim[a] = a == n->axis ? want : x->t.dim[a];
  bool f = sq_is_float(x->t.dtype);
  sq_ten *values = sq_ten_new(e, n->span, x->t.dtype, x->t.rank, dim);
  sq_ten *at = sq_ten_new(e, n->span, SQ_I32, x->t.rank, dim);
  sq_cell lowest;
  if (f)
    lowest.f = -INFINITY;
  else
    lowest.i = sq_int_low(x->t.dtype);
  sq_eval_work_reset(e);
  item *v = sq_eval_take(e, (size_t)c.length + 1, sizeof *v);
  item *t = sq_eval_take(e, (size_t)c.length + 1, sizeof *t);
  for (int64_t o = 0; o < c.outer; o++)
    for (int64_t j = 0; j < c.inner; j++) {
      int64_t base = o * c.length * c.inner + j, have = 0;
      for (int64_t k = 0; k < c.length; k++)
        if (!valid || valid->data[base + k * c.inner].i)
          v[have++] = (item){x->data[base + k * c.inner], k};
      sort_items(v, t, have, f, true);
      for (int64_t k = 0; k < want; k++) {
        int64_t to = (o * want + k) * c.inner + j;
        values->data[to] = k < have ? v[k].v : lowest;
        at->data[to].i = k < have ? v[k].at : -1;
      }
    }
  sq_eval_set(e, n->out[0], values);
  sq_eval_set(e, n->out[1], at);
}

void sq_eval_random(sq_eval *e, const sq_node *n) {
  int64_t key = sq_eval_int(e, n->in[0], n->span);
  sq_ten *r = sq_ten_of_type(e, n->span, &n->out[0]->type);
  sq_dtype t = r->t.dtype;
  int bits = t == SQ_F64 ? 53 : t == SQ_F16 ? 11 : t == SQ_BF16 ? 8 : 24;
  for (int64_t k = 0; k < r->count; k++) // the operation names a type, and so rounds to it
    r->data[k].f = sq_round_float(t, n->flag ? sq_random_normal(key, (uint64_t)k, t == SQ_F64)
                                             : sq_random_uniform(key, (uint64_t)k, bits));
  sq_eval_set(e, n->out[0], r);
}

// ---- writes ------------------------------------------------------------------------------------

// Tests come first: when one fails nothing of this node has been written.
static void apply(const sq_ten *values, const sq_ten *places, sq_ten *target) {
  for (int64_t k = 0; k < values->count; k++)
    if (places->data[k].i >= 0) target->data[places->data[k].i] = values->data[k];
}

void sq_eval_update(sq_eval *e, const sq_node *n) {
  sq_ten *values, *places, *target = sq_eval_get(e, n->in[0], n->span);
  sq_eval_elements(e, n, target, &values, &places);
  // In place when this is the last use of the only reference.
  bool dies = false;
  for (uint32_t v = n->id < e->n_node ? e->die_first[n->id] : UINT32_MAX; v != UINT32_MAX;
       v = e->die_next[v])
    dies |= v == n->in[0]->id;
  sq_ten_keep(target);
  if (dies) sq_eval_set(e, n->in[0], NULL);
  target = sq_ten_own(e, n->span, target);
  apply(values, places, target);
  sq_ten_drop(e, values);
  sq_ten_drop(e, places);
  sq_eval_set(e, n->out[0], target);
}

static int64_t instance_of(sq_eval *e, const sq_node *n) {
  return n->has_instance && n->n_in ? sq_eval_int(e, n->in[n->n_in - 1], n->span) : 0;
}

void sq_eval_param(sq_eval *e, const sq_node *n) {
  sq_ten **slot = sq_eval_param_slot(e, n->ref, instance_of(e, n), n->span);
  sq_eval_set(e, n->out[0], sq_ten_keep(*slot));
}

static void write_slot(sq_eval *e, const sq_node *n, sq_ten **slot) {
  sq_ten *values, *places;
  sq_eval_elements(e, n, *slot, &values, &places);
  *slot = sq_ten_own(e, n->span, *slot);
  apply(values, places, *slot);
  sq_ten_drop(e, values);
  sq_ten_drop(e, places);
}

void sq_eval_param_write(sq_eval *e, const sq_node *n) {
  write_slot(e, n, sq_eval_param_slot(e, n->ref, instance_of(e, n), n->span));
}

void sq_eval_state_read(sq_eval *e, const sq_node *n) {
  sq_ten **slot = sq_eval_state_slot(e, n->ref, instance_of(e, n), n->span);
  sq_eval_set(e, n->out[0], sq_ten_keep(*slot));
}

void sq_eval_state_write(sq_eval *e, const sq_node *n) {
  const sq_state *st = &e->g->state.v[n->ref];
  int64_t instance = instance_of(e, n);
  sq_ten **slot = sq_eval_state_slot(e, n->ref, instance, n->span);
  if (n->g->pos || !st->grow.i || n->g->write_guard != SQ_NO_SCALAR) {
    write_slot(e, n, slot);
    return;
  }
  // A growing state as a whole: the value first, then the state takes its extent.
  sq_ten *value = sq_eval_generic(e, n);
  bool fits = value->t.rank == st->type.rank;
  for (uint32_t a = 0; fits && a < value->t.rank; a++)
    fits = a == st->grow_axis || value->t.dim[a] == (*slot)->t.dim[a];
  if (!fits)
    sq_eval_fail(e, SQ_EMODEL, n->span, "state `%s` is written with another shape", st->name);
  sq_eval_state_extent(e, n->ref, value->t.dim[st->grow_axis], n->span);
  sq_ten_drop(e, *slot);
  *slot = value;
}

void sq_eval_reserve(sq_eval *e, const sq_node *n) {
  int64_t rows = sq_eval_int(e, n->in[0], n->span), have = e->state[n->ref].extent;
  if (!e->g->state.v[n->ref].grow.i)
    sq_eval_fail(e, SQ_EMODEL, n->span, "state `%s` does not grow", e->g->state.v[n->ref].name);
  if (rows <= have) return;
  sq_eval_state_extent(e, n->ref, rows, n->span);
}
