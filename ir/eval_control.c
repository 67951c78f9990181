// Which node runs when: blocks, regions and calls of the interpreter.
// Values that pass between blocks (arguments, carried values, results) lie on sq_eval.stack; a
// value dies after the last node that uses it, so that a write to a sole owner needs no copy.
#include "ir/eval_impl.h"

#define MAX_DEPTH 2000

typedef void run_fn(sq_eval *e, const sq_node *n);

static const sq_value *block_arg(sq_eval *e, const sq_block *b, uint32_t k, sq_span where) {
  if (k >= b->args.n)
    sq_eval_fail(e, SQ_EMODEL, where, "a region has %u arguments, more are given", b->args.n);
  return b->args.v[k];
}

// Moves the values from stack[first] on into the block's arguments from `arg` on.
static void give_args(sq_eval *e, const sq_block *b, uint32_t arg, uint32_t first, uint32_t n,
                      sq_span where) {
  for (uint32_t k = 0; k < n; k++) {
    const sq_value *v = block_arg(e, b, arg + k, where);
    sq_ten *t = e->stack[first + k];
    e->stack[first + k] = NULL;
    sq_eval_set(e, v, t);
  }
  e->n_stack = first;
}

static void give_index(sq_eval *e, const sq_block *b, uint32_t arg, int64_t value, sq_span where) {
  const sq_value *v = block_arg(e, b, arg, where);
  sq_ten *t = sq_ten_new(e, where, v->type.dtype, 0, NULL);
  t->data->i = sq_wrap(v->type.dtype, value);
  sq_eval_set(e, v, t);
}

// Moves n results from stack[first] on into the node's outputs from `out` on.
static void give_results(sq_eval *e, const sq_node *n, uint32_t out, uint32_t first,
                         uint32_t count) {
  if (out + count > n->n_out)
    sq_eval_fail(e, SQ_EMODEL, n->span, "%s: more results than it names", sq_op_table[n->op].name);
  for (uint32_t k = 0; k < count; k++) {
    sq_ten *t = e->stack[first + k];
    e->stack[first + k] = NULL;
    sq_eval_set(e, n->out[out + k], t);
  }
  e->n_stack = first;
}

static void push_inputs(sq_eval *e, const sq_node *n, uint32_t from) {
  for (uint32_t k = from; k < n->n_in; k++)
    sq_eval_push(e, sq_ten_keep(sq_eval_get(e, n->in[k], n->span)));
}

static bool condition(sq_eval *e, const sq_block *b, const sq_node *n) {
  uint32_t first = e->n_stack;
  if (sq_eval_block(e, b, n->span) != 1 || !e->stack[first]->t.i || e->stack[first]->count < 1)
    sq_eval_fail(e, SQ_EMODEL, n->span, "%s: the condition is not one bool",
                 sq_op_table[n->op].name);
  bool yes = e->stack[first]->t.i[0] != 0;
  sq_ten_drop(e, e->stack[--e->n_stack]);
  return yes;
}

static void expect(sq_eval *e, const sq_node *n, uint32_t have, uint32_t want) {
  if (have != want)
    sq_eval_fail(e, SQ_EMODEL, n->span, "%s: a region gives %u values, %u are expected",
                 sq_op_table[n->op].name, have, want);
}

// ---- regions -----------------------------------------------------------------------------------

static void run_repeat(sq_eval *e, const sq_node *n) {
  int64_t lo = sq_eval_int(e, n->in[0], n->span), hi = sq_eval_int(e, n->in[1], n->span);
  uint32_t first = e->n_stack, carried = n->n_in - 2;
  const sq_block *b = n->region[0];
  push_inputs(e, n, 2);
  for (int64_t i = lo; i < hi; i++) {
    give_index(e, b, 0, i, n->span);
    give_args(e, b, 1, first, carried, n->span);
    expect(e, n, sq_eval_block(e, b, n->span), carried);
  }
  give_results(e, n, 0, first, carried);
}

static void run_while(sq_eval *e, const sq_node *n) {
  uint32_t first = e->n_stack, carried = n->n_in;
  int64_t limit = n->extent.i ? sq_eval_dim(e, n->extent, n->span) : INT64_MAX;
  push_inputs(e, n, 0);
  for (int64_t turn = 0; turn < limit; turn++) {
    for (uint32_t k = 0; k < carried; k++)
      sq_eval_set(e, block_arg(e, n->region[0], k, n->span), sq_ten_keep(e->stack[first + k]));
    bool more = condition(e, n->region[0], n);
    for (uint32_t k = 0; k < carried; k++) sq_eval_set(e, n->region[0]->args.v[k], NULL);
    if (!more) break;
    give_args(e, n->region[1], 0, first, carried, n->span);
    expect(e, n, sq_eval_block(e, n->region[1], n->span), carried);
  }
  give_results(e, n, 0, first, carried);
}

static void run_if(sq_eval *e, const sq_node *n) {
  bool yes = sq_eval_int(e, n->in[0], n->span) != 0;
  uint32_t first = e->n_stack;
  expect(e, n, sq_eval_block(e, n->region[yes ? 0 : 1], n->span), n->n_out);
  give_results(e, n, 0, first, n->n_out);
}

static void run_group(sq_eval *e, const sq_node *n) {
  uint32_t first = e->n_stack;
  expect(e, n, sq_eval_block(e, n->region[0], n->span), n->n_out);
  give_results(e, n, 0, first, n->n_out);
}

// Element number `at` of the collected output k is the value on the stack. `lead`: the axes in
// front.
static void collect(sq_eval *e, const sq_node *n, uint32_t k, uint32_t lead, const int64_t *extent,
                    int64_t at, sq_ten *element) {
  const sq_value *v = n->out[k];
  sq_ten *all = e->val[v->id];
  if (!all) {
    int64_t dim[SQ_MAX_RANK];
    if (lead + element->t.rank > SQ_MAX_RANK)
      sq_eval_fail(e, SQ_EMODEL, n->span, "a result of more than %d axes", SQ_MAX_RANK);
    for (uint32_t a = 0; a < lead; a++) dim[a] = extent[a];
    for (uint32_t a = 0; a < element->t.rank; a++) dim[lead + a] = element->t.dim[a];
    all = sq_ten_new(e, n->span, element->t.dtype, lead + element->t.rank, dim);
    sq_eval_set(e, v, all);
  }
  bool fits = all->t.rank == lead + element->t.rank;
  for (uint32_t a = 0; fits && a < element->t.rank; a++)
    fits = all->t.dim[lead + a] == element->t.dim[a];
  if (!fits)
    sq_eval_fail(e, SQ_EMODEL, n->span, "%s: the elements differ in shape",
                 sq_op_table[n->op].name);
  memcpy(all->data + at * element->count, element->data, (size_t)element->count * sizeof(sq_cell));
}

static void collect_none(sq_eval *e, const sq_node *n, uint32_t from) {
  for (uint32_t k = from; k < n->n_out; k++)
    if (!e->val[n->out[k]->id])
      sq_eval_set(e, n->out[k], sq_ten_of_type(e, n->span, &n->out[k]->type));
}

static void clear_results(sq_eval *e, const sq_node *n) {
  for (uint32_t k = 0; k < n->n_out; k++) sq_eval_set(e, n->out[k], NULL);
}

static void run_scan(sq_eval *e, const sq_node *n) {
  const sq_block *b = n->region[0];
  int64_t extent = sq_eval_extent(e, n->extent, n->span);
  uint32_t first = e->n_stack, carried = n->n_carried, emits = n->n_out - carried;
  clear_results(e, n);
  push_inputs(e, n, 0);
  expect(e, n, e->n_stack - first, carried);
  for (int64_t turn = 0; turn < extent; turn++) {
    int64_t t = n->flag & 1 ? extent - 1 - turn : turn;
    give_index(e, b, 0, t, n->span);
    give_args(e, b, 1, first, carried, n->span);
    expect(e, n, sq_eval_block(e, b, n->span), carried + emits);
    while (e->n_stack > first + carried) {
      uint32_t k = e->n_stack - 1 - first;
      collect(e, n, k, 1, &extent, t, e->stack[first + k]);
      sq_ten_drop(e, e->stack[--e->n_stack]);
    }
  }
  give_results(e, n, 0, first, carried);
  collect_none(e, n, carried);
}

static void run_map(sq_eval *e, const sq_node *n) {
  const sq_block *b = n->region[0];
  uint32_t first = e->n_stack, lead = n->g->n_par;
  int64_t extent[SQ_MAX_RANK], index[SQ_MAX_RANK] = {0}, total = 1;
  clear_results(e, n);
  for (uint32_t a = 0; a < lead; a++) {
    extent[a] = sq_eval_extent(e, n->g->axis[a].extent, n->span);
    if (__builtin_mul_overflow(total, extent[a], &total))
      sq_eval_fail(e, SQ_EMODEL, n->span, "map: too many turns");
  }
  for (int64_t at = 0; at < total; at++) {
    for (uint32_t a = 0; a < lead; a++) give_index(e, b, a, index[a], n->span);
    expect(e, n, sq_eval_block(e, b, n->span), n->n_out);
    while (e->n_stack > first) {
      uint32_t k = e->n_stack - 1 - first;
      collect(e, n, k, lead, extent, at, e->stack[first + k]);
      sq_ten_drop(e, e->stack[--e->n_stack]);
    }
    for (uint32_t a = lead; a-- > 0 && ++index[a] == extent[a];) index[a] = 0;
  }
  collect_none(e, n, 0);
}

static void run_call(sq_eval *e, const sq_node *n) {
  uint32_t first = e->n_stack;
  push_inputs(e, n, 0);
  expect(e, n, sq_eval_function(e, n->func, first, n->span), n->n_out);
  give_results(e, n, 0, first, n->n_out);
}

// ---- tests -------------------------------------------------------------------------------------

static void run_live(sq_eval *e, const sq_node *n) {
  int64_t v = sq_eval_int(e, n->in[0], n->span);
  sq_dim limit_dim = sq_sym_at(e->g->dims, n->sym)->limit;
  int64_t limit = limit_dim.i ? sq_eval_dim(e, limit_dim, n->span) : INT64_MAX;
  if (v < 0 || v > limit)
    sq_eval_fail_outside(e, n->site, n->span, v, limit == INT64_MAX ? limit : limit + 1);
  e->sym[n->sym.i] = v;
}

static void run_check(sq_eval *e, const sq_node *n) {
  if (!sq_eval_int(e, n->in[0], n->span)) sq_eval_fail_site(e, n->site, n->span, "%s", "");
}

static void run_generic(sq_eval *e, const sq_node *n) {
  sq_eval_set(e, n->out[0], sq_eval_generic(e, n));
}

static void run_reset(sq_eval *e, const sq_node *n) {
  (void)n;
  sq_eval_state_reset(e);
}

static run_fn *const run_table[SQ_OP_COUNT] = {
    [SQ_OP_GENERIC] = run_generic,
    [SQ_OP_UPDATE] = sq_eval_update,
    [SQ_OP_CUMULATE] = sq_eval_cumulate,
    [SQ_OP_SORT] = sq_eval_sort,
    [SQ_OP_ARGSORT] = sq_eval_sort,
    [SQ_OP_TOPK] = sq_eval_topk,
    [SQ_OP_RANDOM] = sq_eval_random,
    [SQ_OP_PARAM] = sq_eval_param,
    [SQ_OP_PARAM_WRITE] = sq_eval_param_write,
    [SQ_OP_STATE_READ] = sq_eval_state_read,
    [SQ_OP_STATE_WRITE] = sq_eval_state_write,
    [SQ_OP_RESERVE] = sq_eval_reserve,
    [SQ_OP_RESET] = run_reset,
    [SQ_OP_LIVE] = run_live,
    [SQ_OP_CHECK] = run_check,
    [SQ_OP_REPEAT] = run_repeat,
    [SQ_OP_WHILE] = run_while,
    [SQ_OP_IF] = run_if,
    [SQ_OP_SCAN] = run_scan,
    [SQ_OP_MAP] = run_map,
    [SQ_OP_CALL] = run_call,
    [SQ_OP_GROUP] = run_group,
    [SQ_OP_SWEEP] = run_group,
    [SQ_OP_STREAM] = run_group,
};

// A result whose shape its type does not allow is a fault of whoever made the graph.
static void check_results(sq_eval *e, const sq_node *n) {
  for (uint32_t k = 0; k < n->n_out; k++) {
    const sq_type *t = &n->out[k]->type;
    const sq_ten *x = sq_eval_get(e, n->out[k], n->span);
    int64_t want;
    bool ok = x->t.rank == t->rank && x->t.dtype == t->dtype;
    for (uint32_t a = 0; ok && a < t->rank; a++)
      ok = !sq_dim_eval(e->g->dims, t->dim[a], e->sym, &want) || want == x->t.dim[a];
    if (!ok)
      sq_eval_fail(e, SQ_EMODEL, n->span, "%s: the result differs from its type (value %u)",
                   sq_op_table[n->op].name, n->out[k]->id);
  }
}

uint32_t sq_eval_block(sq_eval *e, const sq_block *b, sq_span where) {
  if (++e->depth > MAX_DEPTH)
    sq_eval_fail(e, SQ_EMODEL, where, "calls and regions are nested too deep");
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    const sq_node *n = b->nodes.v[k];
    bool ends = n->op == SQ_OP_YIELD;
    if (ends) {
      push_inputs(e, n, 0);
    } else {
      if (!run_table[n->op])
        sq_eval_fail(e, SQ_EMODEL, n->span, "unknown operation %d", (int)n->op);
      run_table[n->op](e, n);
      if (!n->n_region && n->op != SQ_OP_CALL) check_results(e, n);
    }
    for (uint32_t v = n->id < e->n_node ? e->die_first[n->id] : UINT32_MAX; v != UINT32_MAX;
         v = e->die_next[v]) {
      sq_ten_drop(e, e->val[v]);
      e->val[v] = NULL;
    }
    if (ends) {
      e->depth--;
      return n->n_in;
    }
  }
  sq_eval_fail(e, SQ_EMODEL, where, "a block does not end in a yield");
}

uint32_t sq_eval_function(sq_eval *e, sq_func *f, uint32_t first, sq_span where) {
  uint32_t n = e->n_stack - first, saved = e->n_saved;
  if (n != f->body->args.n)
    sq_eval_fail(e, SQ_EMODEL, where, "`%s` takes %u arguments, %u are given", f->name,
                 f->body->args.n, n);
  sq_eval_bind(e, f, first);
  give_args(e, f->body, 0, first, n, where);
  uint32_t results = sq_eval_block(e, f->body, where);
  sq_eval_unbind(e, saved);
  return results;
}
