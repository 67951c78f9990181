// States of attention that is linear in its scores: what a turn adds, what is read, what was asked for.
// In: what recast.c understood. Out: a scan, or two sums, and elementwise work behind them, in place.
#include "passes/recast.h"

typedef sq_recast recast;
typedef sq_recast_state state;

typedef struct maker {
  recast *w;
  sq_maker m;
  uint32_t axes;
  uint32_t place[SQ_MAX_RANK]; // of the space's axes, in what is made
  uint32_t width, column;      // their indices
  sq_graft how;
  uint32_t *map;
} maker;

// Axes of what is made: queries, the batch, the keys' width, the values' columns; what is summed over.
enum { QUERIES = 1, WIDTH = 2, COLUMNS = 4, OVER_WIDTH = 8, OVER_KEYS = 16 };
static void begin(maker *d, recast *w, sq_value *turn, uint32_t axes) {
  const sq_attention *a = &w->a;
  const sq_generic *score = a->score->g;
  *d = (maker){.w = w, .axes = axes};
  uint32_t queries = axes & QUERIES ? 1 : 0, width = axes & WIDTH ? 1 : 0;
  uint32_t n = queries + w->n_batch + width + (axes & COLUMNS ? 1 : 0), x = 0;
  sq_maker_start(&d->m, w->g, n, axes & (OVER_WIDTH | OVER_KEYS) ? 1 : 0);
  d->place[w->query] = d->place[a->key] = SQ_NO_SCALAR;
  if (queries) {
    d->m.k->axis[x] = score->axis[w->query];
    d->place[w->query] = sq_maker_index(&d->m, x++);
  }
  for (uint32_t k = 0; k < w->n_batch; k++) {
    d->m.k->axis[x] = score->axis[w->batch[k]];
    d->place[w->batch[k]] = sq_maker_index(&d->m, x++);
  }
  if (width) {
    d->m.k->axis[x] = score->axis[score->n_par];
    d->width = sq_maker_index(&d->m, x++);
  }
  if (axes & COLUMNS) {
    d->m.k->axis[x] = a->value->g->axis[a->column];
    d->column = sq_maker_index(&d->m, x++);
  }
  if (axes & OVER_WIDTH) {
    d->m.k->axis[x] = score->axis[score->n_par];
    d->width = sq_maker_index(&d->m, x);
  }
  if (axes & OVER_KEYS) {
    d->m.k->axis[x] = score->axis[a->key];
    d->place[a->key] = sq_maker_index(&d->m, x);
  }
  d->m.k->monoid = d->m.k->n_red ? SQ_SUM : d->m.k->monoid;
  if (turn) {
    uint32_t now = sq_maker_read(&d->m, turn, 0, NULL);
    d->place[w->query] = d->place[a->key] = sq_maker_cast(&d->m, now, SQ_I64);
  }
  d->how = (sq_graft){.from = sq_attention_view(&w->a),
                      .axis = d->place,
                      .acc = SQ_NO_SCALAR,
                      .guard = SQ_NO_SCALAR};
  d->map = sq_maker_map(&d->m, d->how.from);
}

static uint32_t put(maker *d, uint32_t id) { return sq_maker_graft(&d->m, &d->how, id, d->map); }
static uint32_t times(maker *d, uint32_t a, uint32_t b) {
  return a == SQ_NO_SCALAR ? b : sq_maker_ewise(&d->m, SQ_EW_MUL, a, b);
}
static uint32_t by(maker *d, uint32_t a, uint32_t b, bool divides) {
  if (!divides) return times(d, a, b);
  if (a == SQ_NO_SCALAR) a = sq_maker_float(&d->m, d->m.k->s.v[b].dtype, 1);
  return sq_maker_ewise(&d->m, SQ_EW_DIV, a, b);
}

// The factor of the score of the query's or the key's side.
static uint32_t side(maker *d, uint32_t axis) {
  const sq_node *s = d->w->a.score;
  const sq_generic *k = s->g;
  const sq_scalar *body = &k->s.v[k->body];
  uint32_t own[SQ_MAX_RANK + 1];
  for (uint32_t x = 0; x < k->n_par; x++) own[x] = d->place[x];
  own[k->n_par] = d->width;
  sq_graft how = {.from = s, .axis = own, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  bool second = sq_scalar_axes(k, body->a[1]) >> axis & 1;
  return sq_maker_graft(&d->m, &how, body->a[second], sq_maker_map(&d->m, s));
}

static uint32_t value_factors(maker *d, const sq_attention_sum *s) {
  const sq_attention *a = &d->w->a;
  const sq_generic *k = s->n->g;
  uint32_t own[SQ_MAX_RANK * 2], product = SQ_NO_SCALAR;
  for (uint32_t x = 0; x < k->n_par + k->n_red; x++)
    own[x] = s->axis[x] == SQ_NO_AXIS ? d->column : d->place[s->axis[x]];
  sq_graft how = {.from = &a->own, .axis = own, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  uint32_t *map = sq_maker_map(&d->m, &a->own);
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t j = 0; j < a->v.n; j++)
      if (a->v.v[j].divides == (pass == 1))
        product = by(d, product, sq_maker_graft(&d->m, &how, a->v.v[j].id, map), pass == 1);
  return product;
}

static uint32_t read_state(maker *d, sq_value *v) {
  uint32_t pos[SQ_MAX_RANK], n = 0;
  for (; n < d->w->n_batch; n++) pos[n] = d->place[d->w->batch[n]];
  pos[n++] = d->width;
  if (d->axes & COLUMNS) pos[n++] = d->column;
  return sq_maker_read(&d->m, v, n, pos);
}

static sq_dtype type_of(const state *x) { return x->s->n->out[0]->type.dtype; }
static uint32_t columns(const state *x) { return x->columns ? COLUMNS : 0; }

static void make_first(recast *w, state *x) {
  maker d;
  begin(&d, w, NULL, WIDTH | columns(x));
  d.m.k->body = sq_maker_float(&d.m, type_of(x), 0);
  x->first = sq_maker_value(&d.m, NULL, w->a.score->span, type_of(x), "state");
}

// What a key adds to the state.
static uint32_t added(maker *d, const state *x) {
  uint32_t more = side(d, d->w->a.key);
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t k = 0; k < x->key.n; k++)
      if (x->key.v[k].divides == (pass == 1)) more = by(d, more, put(d, x->key.v[k].id), pass == 1);
  return x->columns ? times(d, more, value_factors(d, x->s)) : more;
}

static void make_next(recast *w, state *x, sq_block *b, sq_value *turn) {
  maker d;
  begin(&d, w, turn, WIDTH | columns(x));
  uint32_t held = read_state(&d, x->held);
  for (uint32_t k = x->n_decay; k-- > 0;) held = times(&d, put(&d, x->decay[k]), held);
  d.m.k->body = sq_maker_ewise(&d.m, SQ_EW_ADD, held, added(&d, x));
  x->next = sq_maker_value(&d.m, b, w->a.score->span, type_of(x), "state");
}

static void make_part(recast *w, state *x, sq_block *b, sq_value *turn) {
  maker d;
  begin(&d, w, turn, (turn ? 0 : QUERIES) | columns(x) | OVER_WIDTH);
  uint32_t held = read_state(&d, w->before ? x->held : x->next);
  d.m.k->body = times(&d, side(&d, w->query), held);
  x->part = sq_maker_value(&d.m, b, x->s->n->span, type_of(x), NULL);
}

// Of all keys at once.
static void make_sum(recast *w, state *x) {
  maker d;
  begin(&d, w, NULL, WIDTH | columns(x) | OVER_KEYS);
  d.m.k->body = added(&d, x);
  x->next = sq_maker_value(&d.m, NULL, w->a.score->span, type_of(x), "state");
  make_part(w, x, NULL, NULL);
  x->all = x->part;
}

static sq_type with_turns(const recast *w, sq_type t) {
  sq_dim d[SQ_MAX_RANK + 1] = {w->a.score->g->axis[w->query].extent};
  for (uint32_t k = 0; k < t.rank; k++) d[k + 1] = t.dim[k];
  return sq_type_make(w->g, t.dtype, t.rank + 1, d);
}

// A scan for each state: what goes in blocks does so whatever others do.
static sq_node *make_scan(recast *w, state *x) {
  sq_node *scan = sq_node_new(w->g, NULL, SQ_OP_SCAN, x->s->n->span, 1, &x->first);
  scan->extent = w->a.score->g->axis[w->query].extent;
  scan->n_carried = 1;
  sq_block *b = sq_node_region(w->g, scan, w->f);
  sq_value *turn = sq_block_arg(b, sq_type_scalar(SQ_I32), "t");
  x->held = sq_block_arg(b, x->first->type, "state");
  make_next(w, x, b, turn);
  make_part(w, x, b, turn);
  sq_node_new(w->g, b, SQ_OP_YIELD, x->s->n->span, 2, (sq_value *[]){x->next, x->part});
  sq_node_result(w->g, scan, x->first->type, "state");
  x->all = sq_node_result(w->g, scan, with_turns(w, x->part->type), NULL);
  return scan;
}

// What n was, from what the scan emits.
static sq_node *make_end(recast *w, const state *x) {
  const sq_node *n = x->s->n;
  maker d = {.w = w};
  sq_maker_start(&d.m, w->g, n->g->n_par, 0);
  uint32_t own[SQ_MAX_RANK + 1], pos[SQ_MAX_RANK + 1], column = SQ_NO_SCALAR;
  for (uint32_t k = 0; k < w->a.m.k->n_par; k++) d.place[k] = SQ_NO_SCALAR;
  for (uint32_t k = 0; k < n->g->n_par; k++) {
    d.m.k->axis[k] = n->g->axis[k];
    own[k] = sq_maker_index(&d.m, k);
    if (x->s->axis[k] == SQ_NO_AXIS)
      column = own[k];
    else
      d.place[x->s->axis[k]] = own[k];
  }
  pos[0] = d.place[w->query];
  for (uint32_t k = 0; k < w->n_batch; k++) pos[1 + k] = d.place[w->batch[k]];
  pos[1 + w->n_batch] = column;
  uint32_t y = sq_maker_read(&d.m, x->all, 1 + w->n_batch + x->columns, pos);
  d.how = (sq_graft){.from = sq_attention_view(&w->a),
                     .axis = d.place,
                     .acc = SQ_NO_SCALAR,
                     .guard = SQ_NO_SCALAR};
  d.map = sq_maker_map(&d.m, d.how.from);
  const sq_node *s = w->a.score;
  if (s->g->post != SQ_NO_SCALAR) {
    sq_graft post = d.how;
    uint32_t scored[SQ_MAX_RANK + 1];
    for (uint32_t k = 0; k < s->g->n_par; k++) scored[k] = d.place[k];
    post.from = s, post.axis = scored, post.acc = y;
    y = sq_maker_graft(&d.m, &post, s->g->post, sq_maker_map(&d.m, s));
  }
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t k = 0; k < x->out.n; k++)
      if (x->out.v[k].divides == (pass == 1)) y = by(&d, y, put(&d, x->out.v[k].id), pass == 1);
  if (x->s->t.negative) y = sq_maker_ewise(&d.m, SQ_EW_NEG, y, SQ_NO_SCALAR);
  if (n->g->post != SQ_NO_SCALAR) {
    sq_graft self = {.from = n, .axis = own, .acc = y, .guard = SQ_NO_SCALAR};
    y = sq_maker_graft(&d.m, &self, n->g->post, sq_maker_map(&d.m, n));
  }
  d.m.k->body = y;
  return sq_maker_value(&d.m, NULL, n->span, n->out[0]->type.dtype, n->out[0]->name)->def;
}

void sq_recast_make(recast *w, state *x, uint32_t n) {
  sq_node *last = w->a.all.v[w->a.all.n - 1];
  for (uint32_t k = 0; k < n; k++) {
    if (w->all) {
      make_sum(w, &x[k]);
      sq_node_insert_before(last, x[k].next->def);
      sq_node_insert_before(last, x[k].part->def);
    } else {
      make_first(w, &x[k]);
      sq_node_insert_before(last, x[k].first->def);
      sq_node_insert_before(last, make_scan(w, &x[k]));
    }
    sq_node *made = make_end(w, &x[k]);
    sq_node_insert_before(last, made);
    sq_replace_uses(w->f, x[k].s->n->out[0], made->out[0]);
  }
}
