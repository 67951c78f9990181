// batch: `map` vanishes into its body.
//
//   %y = map [n < N] { (%i)
//     %r = scan extent T carried 1 (%h) { (%t, %a)
//       %b = generic [c < 8] { %a[c] * 0.5 + %x[i64(%i), i64(%t), c] }
//       yield %b }
//     yield %r }
//   ->
//   %y = scan extent T carried 1 (%h') { (%t, %a')
//     %b' = generic [n < N, c < 8] { %a'[n, c] * 0.5 + %x[n, i64(%t), c] }
//     yield %b' }
//
// What depends on the map's indices gains the map's axes in front ("lanes"); what does not is
// computed once, before. Loops run all lanes; a `while` runs until no lane goes on, and finished
// lanes keep their values by select; an `if` on a condition of its own per lane computes both sides
// and selects. That is done only where nothing inside can fail, and what only the condition keeps inside
// its value is read and written where it holds. What cannot be done leaves the map as it is, with a remark.
#include "passes/questions.h"
#include "passes/scalars.h"

typedef struct batcher {
  sq_graph *g;
  sq_func *f;
  sq_node *map; // being dissolved
  uint32_t lanes;
  sq_value **of; // by old value id: what it became; NULL: as it was, or not yet made
  bool *varies;  // by old value id: has lanes
  uint32_t n_old;
  sq_value *holds; // with lanes: which of them are on the branch whose nodes are made; NULL: all
  const char *why; // not
  const sq_node *at;
  bool changed;
} batcher;

// ---- what varies, and can it be done? ----------------------------------------------------------
static bool index_of(const batcher *w, const sq_value *v, uint32_t *axis) {
  if (v->def || v->block != w->map->region[0]) return false;
  *axis = v->index;
  return true;
}

static bool mark(batcher *w, sq_value *v) {
  if (w->varies[v->id]) return false;
  w->varies[v->id] = true;
  return true;
}

static bool uses_varying(const batcher *w, const sq_node *n) {
  for (uint32_t k = 0; k < n->n_in; k++)
    if (w->varies[n->in[k]->id]) return true;
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      if (uses_varying(w, n->region[r]->nodes.v[k])) return true;
  return false;
}

// Does a condition around n keep it from reading, or writing, outside of a value, or from running for ever?
static bool relies(const batcher *w, const sq_node *n) {
  if (n->op != SQ_OP_GENERIC && n->op != SQ_OP_UPDATE) return n->op == SQ_OP_WHILE;
  if (n->g->pos) return true;
  for (uint32_t k = 0; k < n->g->s.n; k++) {
    const sq_scalar *s = &n->g->s.v[k];
    if (s->kind == SQ_SC_READ && s->other == SQ_NO_SCALAR && !sq_read_is_inside(w->g, n, s))
      return true;
  }
  return false;
}

// Is a region done by each lane as its own condition says?
static bool is_branch(const batcher *w, const sq_node *n, uint32_t region) {
  if (n->op == SQ_OP_IF) return w->varies[n->in[0]->id];
  return n->op == SQ_OP_WHILE && region == 1 && w->varies[sq_block_end(n->region[0])->in[0]->id];
}

// Marks to a fixed point; true when something was marked. `branch`: lanes have a condition of their own.
static bool spread(batcher *w, sq_block *b, bool branch) {
  bool any = false;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    // what can fail must not be done when there are no lanes, nor what relies on a lane's condition for all
    bool own = sq_node_may_fail(n) && n->op != SQ_OP_LIVE && n->op != SQ_OP_CHECK;
    own |= branch && relies(w, n);
    if (!own && !uses_varying(w, n)) {
      for (uint32_t r = 0; branch && r < n->n_region; r++) any |= spread(w, n->region[r], true);
      continue;
    }
    for (uint32_t o = 0; o < n->n_out; o++) any |= mark(w, n->out[o]);
    uint32_t first = sq_carried_first_arg(n); // a loop's index is the same for all lanes
    for (uint32_t r = 0; r < n->n_region; r++) {
      for (uint32_t a = first; a < n->region[r]->args.n; a++)
        any |= mark(w, n->region[r]->args.v[a]);
      any |= spread(w, n->region[r], branch || is_branch(w, n, r));
    }
  }
  return any;
}

static bool refuse(batcher *w, const char *why) {
  if (!w->why) w->why = why;
  return false;
}

static bool varying_node(const batcher *w, const sq_node *n) {
  if (n->op == SQ_OP_CHECK || uses_varying(w, n)) return true;
  for (uint32_t k = 0; k < n->n_out; k++)
    if (w->varies[n->out[k]->id]) return true;
  return false;
}

static bool allowed(batcher *w, const sq_block *b);

static bool node_allowed(batcher *w, const sq_node *n) {
  if (!varying_node(w, n)) return true;
  for (uint32_t k = 0; k < n->n_out; k++)
    if (n->out[k]->type.rank + w->lanes > SQ_MAX_RANK) return refuse(w, "too many axes");
  switch ((int)n->op) {
  case SQ_OP_GENERIC:
  case SQ_OP_UPDATE:
    if (n->g->n_par + n->g->n_red + w->lanes > 2 * SQ_MAX_RANK) return refuse(w, "too many axes");
    return true;
  case SQ_OP_CUMULATE:
  case SQ_OP_SORT:
  case SQ_OP_ARGSORT:
  case SQ_OP_TOPK:
  case SQ_OP_CHECK:
  case SQ_OP_YIELD:
    return true;
  case SQ_OP_REPEAT:
    if (w->varies[n->in[0]->id] || w->varies[n->in[1]->id])
      return refuse(w, "each index has its own number of turns");
    return allowed(w, n->region[0]);
  case SQ_OP_SCAN:
    return allowed(w, n->region[0]);
  case SQ_OP_WHILE:
    if (sq_node_may_fail(n))
      return refuse(w, "a test inside a `while` would be made for indices that are done");
    return allowed(w, n->region[0]) && allowed(w, n->region[1]);
  case SQ_OP_IF:
    if (w->varies[n->in[0]->id] && sq_node_may_fail(n))
      return refuse(w, "a test on one side of an `if` would be made for all indices");
    return allowed(w, n->region[0]) && allowed(w, n->region[1]);
  default:
    return refuse(w, n->op == SQ_OP_PARAM || n->op == SQ_OP_STATE_READ
                         ? "the instance depends on the index"
                         : "an operation has no form with more axes");
  }
}

static bool allowed(batcher *w, const sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++)
    if (!node_allowed(w, b->nodes.v[k])) {
      if (!w->at) w->at = b->nodes.v[k]; // the innermost
      return false;
    }
  return true;
}

// ---- scalar parts with lanes -------------------------------------------------------------------
static sq_type lane_type(batcher *w, sq_type t) {
  sq_dim d[SQ_MAX_RANK];
  for (uint32_t k = 0; k < w->lanes; k++) d[k] = w->map->g->axis[k].extent;
  for (uint32_t k = 0; k < t.rank; k++) d[w->lanes + k] = t.dim[k];
  return sq_type_make(w->g, t.dtype, w->lanes + t.rank, d);
}

static sq_value *now(const batcher *w, sq_value *v) { return w->of[v->id] ? w->of[v->id] : v; }

static sq_value *as_value(batcher *w, sq_block *to, sq_value *v, bool lanes);

// lane axes, then the n axes of type t; all indices as scalars 0, 1, ...
static sq_generic *lane_generic(batcher *w, sq_type t) {
  sq_generic *k = sq_generic_new(w->g, w->lanes + t.rank, 0);
  for (uint32_t a = 0; a < w->lanes; a++) k->axis[a] = w->map->g->axis[a];
  for (uint32_t a = 0; a < t.rank; a++) k->axis[w->lanes + a].extent = t.dim[a];
  for (uint32_t a = 0; a < k->n_par; a++) sq_sc_index(w->g, k, a);
  return k;
}

static uint32_t read_value(batcher *w, sq_node *n, sq_value *old, const uint32_t *pos) {
  sq_value *v = now(w, old);
  uint32_t at = sq_node_add_in(w->g, n, v);
  bool lanes = w->varies[old->id];
  return sq_sc_read(w->g, n->g, v->type.dtype, at, v->type.rank, lanes ? pos : pos + w->lanes);
}

// A value that is the same for all lanes, or an index, as a value with lanes.
static sq_value *broadcast(batcher *w, sq_block *to, sq_value *v) {
  sq_node *n = sq_node_new(w->g, to, SQ_OP_GENERIC, w->map->span, 0, NULL);
  uint32_t axis, pos[2 * SQ_MAX_RANK];
  n->g = lane_generic(w, v->type);
  for (uint32_t a = 0; a < n->g->n_par; a++) pos[a] = a;
  n->g->body = index_of(w, v, &axis) ? sq_sc_cast(w->g, n->g, axis, v->type.dtype)
                                     : read_value(w, n, v, pos);
  return sq_node_result(w->g, n, lane_type(w, v->type), v->name);
}

static sq_value *as_value(batcher *w, sq_block *to, sq_value *v, bool lanes) {
  uint32_t axis;
  if (lanes && (!w->varies[v->id] || index_of(w, v, &axis))) return broadcast(w, to, v);
  return now(w, v);
}

typedef struct rewrite {
  batcher *w;
  const sq_node *from;
  sq_node *n;
  uint32_t *map;  // scalar ids
  uint32_t first; // id of lane 0's index
  uint32_t holds; // id of w->holds, read; NO_SCALAR: all lanes are on the branch
} rewrite;

static uint32_t mapped(const rewrite *x, uint32_t id) {
  return id == SQ_NO_SCALAR ? id : x->map[id];
}

static uint32_t both(rewrite *x, uint32_t a, uint32_t b) {
  if (a == SQ_NO_SCALAR || b == SQ_NO_SCALAR) return a == SQ_NO_SCALAR ? b : a;
  return sq_sc_ewise(x->w->g, x->n->g, SQ_EW_AND, a, b);
}

static uint32_t rewrite_read(rewrite *x, sq_scalar s) {
  batcher *w = x->w;
  sq_value *old = x->from->in[s.operand];
  const sq_scalar was = s;
  uint32_t axis;
  s.guard = mapped(x, s.guard);
  if (index_of(w, old, &axis)) {
    uint32_t i = sq_sc_cast(w->g, x->n->g, x->first + axis, s.dtype);
    if (s.guard == SQ_NO_SCALAR) return i;
    return sq_sc_select(w->g, x->n->g, s.guard, i, sq_sc_int(w->g, x->n->g, s.dtype, 0));
  }
  if (s.other == SQ_NO_SCALAR && !sq_read_is_inside(w->g, x->from, &was))
    s.guard = both(x, x->holds, s.guard);
  bool target = x->from->op == SQ_OP_UPDATE && s.operand == 0; // has lanes always
  uint32_t lanes = target || w->varies[old->id] ? w->lanes : 0;
  uint32_t *pos = SQ_ARRAY(w->g->arena, uint32_t, lanes + s.n_pos + 1);
  for (uint32_t k = 0; k < lanes; k++) pos[k] = x->first + k;
  for (uint32_t k = 0; k < s.n_pos; k++) pos[lanes + k] = x->map[s.pos[k]];
  s.pos = pos;
  s.n_pos += lanes;
  s.other = mapped(x, s.other);
  s.operand = target ? 0 : sq_node_add_in(w->g, x->n, now(w, old));
  return sq_scalar_add(w->g, x->n->g, s);
}

// i64 of an index of the map, whose value is an i32, is the lane's index itself.
static bool is_wide_index(const rewrite *x, const sq_scalar *s, uint32_t *axis) {
  if (s->kind != SQ_SC_CAST || s->dtype != SQ_I64) return false;
  const sq_scalar *r = &x->from->g->s.v[s->a[0]];
  return r->kind == SQ_SC_READ && r->guard == SQ_NO_SCALAR &&
         index_of(x->w, x->from->in[r->operand], axis);
}

static void rewrite_scalars(rewrite *x) {
  const sq_generic *k = x->from->g;
  sq_graph *g = x->w->g;
  x->map = SQ_ARRAY(g->arena, uint32_t, k->s.n + 1);
  for (uint32_t j = 0; j < k->s.n; j++) {
    sq_scalar s = k->s.v[j];
    uint32_t axis;
    if (s.kind == SQ_SC_READ) {
      x->map[j] = rewrite_read(x, s);
      continue;
    }
    if (is_wide_index(x, &s, &axis)) {
      x->map[j] = x->first + axis;
      continue;
    }
    if (s.kind == SQ_SC_INDEX) s.axis += x->w->lanes;
    for (int a = 0; a < 3; a++) s.a[a] = mapped(x, s.a[a]);
    x->map[j] = sq_scalar_add(g, x->n->g, s);
  }
}

static uint32_t read_holds(const rewrite *x) {
  uint32_t pos[SQ_MAX_RANK];
  for (uint32_t a = 0; a < x->w->lanes; a++) pos[a] = x->first + a;
  uint32_t at = sq_node_add_in(x->w->g, x->n, x->w->holds);
  return sq_sc_read(x->w->g, x->n->g, SQ_BOOL, at, x->w->lanes, pos);
}

static void add_lanes(batcher *w, const sq_node *from, sq_block *to) {
  const sq_generic *k = from->g;
  sq_graph *g = w->g;
  rewrite x = {.w = w, .from = from};
  sq_value *target = from->op == SQ_OP_UPDATE ? as_value(w, to, from->in[0], true) : NULL;
  x.n = sq_node_new(g, to, from->op, from->span, target != NULL, &target);
  uint32_t n_par = k->keyed ? 0 : w->lanes + k->n_par,
           n_red = k->keyed ? w->lanes + k->n_red : k->n_red;
  x.n->g = sq_generic_new(g, n_par, n_red);
  for (uint32_t a = 0; a < w->lanes; a++) x.n->g->axis[a] = w->map->g->axis[a];
  for (uint32_t a = 0; a < k->n_par + k->n_red; a++) x.n->g->axis[w->lanes + a] = k->axis[a];
  x.n->g->monoid = k->monoid;
  x.n->g->keyed = k->keyed;
  x.n->g->pos_site = k->pos_site;
  for (uint32_t a = 0; a < w->lanes; a++) {
    uint32_t id = sq_sc_index(g, x.n->g, a);
    if (a == 0) x.first = id;
  }
  x.holds = w->holds && relies(w, from) ? read_holds(&x) : SQ_NO_SCALAR;
  rewrite_scalars(&x);
  x.n->g->body = x.map[k->body];
  x.n->g->post = mapped(&x, k->post);
  x.n->g->write_guard = both(&x, k->pos ? x.holds : SQ_NO_SCALAR, mapped(&x, k->write_guard));
  for (uint32_t j = 0; j < k->domain.n; j++)
    sq_push(g->arena, &x.n->g->domain, x.map[k->domain.v[j]]);
  if (k->pos) {
    x.n->g->n_pos = w->lanes + k->n_pos;
    x.n->g->pos = SQ_ARRAY(g->arena, uint32_t, x.n->g->n_pos + 1);
    for (uint32_t a = 0; a < w->lanes; a++) x.n->g->pos[a] = x.first + a;
    for (uint32_t j = 0; j < k->n_pos; j++) x.n->g->pos[w->lanes + j] = x.map[k->pos[j]];
  }
  const sq_value *out = from->out[0];
  w->of[out->id] = sq_node_result(g, x.n, lane_type(w, out->type), out->name);
}

// ---- operations with lanes ---------------------------------------------------------------------
static void do_nodes(batcher *w, const sq_block *from, sq_block *to);

static void along_axis(batcher *w, const sq_node *from, sq_block *to) {
  sq_value *in[2];
  for (uint32_t k = 0; k < from->n_in; k++) in[k] = as_value(w, to, from->in[k], true);
  sq_node *n = sq_node_new(w->g, to, from->op, from->span, from->n_in, in);
  n->monoid = from->monoid;
  n->axis = from->axis + w->lanes;
  n->extent = from->extent;
  n->flag = from->flag;
  for (uint32_t k = 0; k < from->n_out; k++)
    w->of[from->out[k]->id] =
        sq_node_result(w->g, n, lane_type(w, from->out[k]->type), from->out[k]->name);
}

static void give_yield(batcher *w, const sq_block *from, sq_block *to) {
  const sq_node *end = sq_block_end(from);
  sq_value **out = SQ_ARRAY(w->g->arena, sq_value *, end->n_in + 1);
  for (uint32_t k = 0; k < end->n_in; k++) out[k] = as_value(w, to, end->in[k], true);
  sq_node_new(w->g, to, SQ_OP_YIELD, end->span, end->n_in, out);
}

static void make_args(batcher *w, const sq_block *from, sq_block *to) {
  for (uint32_t k = 0; k < from->args.n; k++) {
    sq_value *v = from->args.v[k];
    sq_type t = w->varies[v->id] ? lane_type(w, v->type) : v->type;
    w->of[v->id] = sq_block_arg(to, t, v->name);
  }
}

// What is emitted has the loop's axis in front of the lanes; they change places.
static sq_value *lanes_first(batcher *w, sq_block *to, sq_value *v, sq_type want,
                             const char *name) {
  sq_node *n = sq_node_new(w->g, to, SQ_OP_GENERIC, w->map->span, 0, NULL);
  uint32_t pos[2 * SQ_MAX_RANK], lanes = w->lanes;
  n->g = lane_generic(w, want);
  pos[0] = lanes;
  for (uint32_t a = 0; a < lanes; a++) pos[1 + a] = a;
  for (uint32_t a = lanes + 1; a < n->g->n_par; a++) pos[a] = a;
  uint32_t at = sq_node_add_in(w->g, n, v);
  n->g->body = sq_sc_read(w->g, n->g, v->type.dtype, at, n->g->n_par, pos);
  return sq_node_result(w->g, n, lane_type(w, want), name);
}

static void do_loop(batcher *w, const sq_node *from, sq_block *to) {
  uint32_t first = sq_carried_first_in(from), carried = sq_carried_count(from);
  sq_value **in = SQ_ARRAY(w->g->arena, sq_value *, from->n_in + 1);
  for (uint32_t k = 0; k < from->n_in; k++) in[k] = as_value(w, to, from->in[k], k >= first);
  sq_node *n = sq_node_new(w->g, to, from->op, from->span, from->n_in, in);
  n->extent = from->extent;
  n->flag = from->flag;
  n->n_carried = from->n_carried;
  sq_block *body = sq_node_region(w->g, n, w->f);
  make_args(w, from->region[0], body);
  do_nodes(w, from->region[0], body);
  give_yield(w, from->region[0], body);
  for (uint32_t k = 0; k < from->n_out; k++) {
    sq_type t = from->out[k]->type, made = lane_type(w, t);
    if (k >= carried) {
      sq_dim d[SQ_MAX_RANK + 1] = {from->extent};
      for (uint32_t a = 0; a < w->lanes; a++) d[1 + a] = w->map->g->axis[a].extent;
      for (uint32_t a = 1; a < t.rank; a++) d[w->lanes + a] = t.dim[a];
      made = sq_type_make(w->g, t.dtype, w->lanes + t.rank, d);
    }
    w->of[from->out[k]->id] = sq_node_result(w->g, n, made, from->out[k]->name);
  }
  for (uint32_t k = carried; k < from->n_out; k++)
    w->of[from->out[k]->id] =
        lanes_first(w, to, w->of[from->out[k]->id], from->out[k]->type, from->out[k]->name);
}

// select(c[lanes], a, b) for values with lanes.
static sq_value *choose(batcher *w, sq_block *to, sq_value *c, sq_value *a, sq_value *b,
                        sq_type t) {
  sq_node *n = sq_node_new(w->g, to, SQ_OP_GENERIC, w->map->span, 0, NULL);
  uint32_t pos[2 * SQ_MAX_RANK], id[3];
  sq_value *v[] = {c, a, b};
  n->g = lane_generic(w, t);
  for (uint32_t k = 0; k < n->g->n_par; k++) pos[k] = k;
  for (int k = 0; k < 3; k++) {
    uint32_t at = sq_node_add_in(w->g, n, v[k]);
    id[k] = sq_sc_read(w->g, n->g, v[k]->type.dtype, at, v[k]->type.rank, pos);
  }
  n->g->body = sq_sc_select(w->g, n->g, id[0], id[1], id[2]);
  return sq_node_result(w->g, n, lane_type(w, t), NULL);
}

// Which lanes are on a side of a branch: of those on the branch around it, where c holds, or does not.
static sq_value *on_side(batcher *w, sq_block *to, sq_value *c, bool negated) {
  if (!w->holds && !negated) return c;
  sq_node *n = sq_node_new(w->g, to, SQ_OP_GENERIC, w->map->span, 0, NULL);
  uint32_t pos[2 * SQ_MAX_RANK];
  n->g = lane_generic(w, sq_type_scalar(SQ_BOOL));
  for (uint32_t k = 0; k < n->g->n_par; k++) pos[k] = k;
  uint32_t at = sq_node_add_in(w->g, n, c);
  uint32_t id = sq_sc_read(w->g, n->g, SQ_BOOL, at, w->lanes, pos);
  if (negated) id = sq_sc_ewise(w->g, n->g, SQ_EW_NOT, id, SQ_NO_SCALAR);
  if (w->holds) {
    at = sq_node_add_in(w->g, n, w->holds);
    uint32_t around = sq_sc_read(w->g, n->g, SQ_BOOL, at, w->lanes, pos);
    id = sq_sc_ewise(w->g, n->g, SQ_EW_AND, around, id);
  }
  n->g->body = id;
  return sq_node_result(w->g, n, lane_type(w, sq_type_scalar(SQ_BOOL)), NULL);
}

// The nodes of `from` for the lanes where c holds, or does not.
static void do_branch(batcher *w, const sq_block *from, sq_block *to, sq_value *c, bool negated) {
  sq_value *around = w->holds;
  w->holds = on_side(w, to, c, negated);
  do_nodes(w, from, to);
  w->holds = around;
}

// any or all of a bool over the lanes.
static sq_value *over_lanes(batcher *w, sq_block *to, sq_value *c, sq_monoid m) {
  sq_node *n = sq_node_new(w->g, to, SQ_OP_GENERIC, w->map->span, 1, &c);
  uint32_t pos[SQ_MAX_RANK];
  n->g = sq_generic_new(w->g, 0, w->lanes);
  n->g->monoid = m;
  for (uint32_t a = 0; a < w->lanes; a++) {
    n->g->axis[a] = w->map->g->axis[a];
    pos[a] = sq_sc_index(w->g, n->g, a);
  }
  n->g->body = sq_sc_read(w->g, n->g, SQ_BOOL, 0, w->lanes, pos);
  return sq_node_result(w->g, n, sq_type_scalar(SQ_BOOL), NULL);
}

static void do_while(batcher *w, const sq_node *from, sq_block *to) {
  const sq_block *cond = from->region[0], *body = from->region[1];
  sq_value *holds = sq_block_end(cond)->in[0];
  bool own = w->varies[holds->id] || w->holds;
  sq_value **in = SQ_ARRAY(w->g->arena, sq_value *, from->n_in + 1);
  for (uint32_t k = 0; k < from->n_in; k++) in[k] = as_value(w, to, from->in[k], true);
  sq_node *n = sq_node_new(w->g, to, SQ_OP_WHILE, from->span, from->n_in, in);
  n->extent = from->extent;
  sq_block *c = sq_node_region(w->g, n, w->f), *b = sq_node_region(w->g, n, w->f);
  make_args(w, cond, c);
  do_nodes(w, cond, c);
  sq_value *more = own ? over_lanes(w, c, on_side(w, c, as_value(w, c, holds, true), false), SQ_ANY)
                       : now(w, holds);
  sq_node_new(w->g, c, SQ_OP_YIELD, from->span, 1, &more);
  make_args(w, body, b);
  sq_value *mask = NULL;
  if (own) { // which lanes go on, asked again of what this turn begins with
    for (uint32_t k = 0; k < cond->args.n; k++)
      w->of[cond->args.v[k]->id] = w->of[body->args.v[k]->id];
    do_nodes(w, cond, b);
    sq_value *goes_on = as_value(w, b, holds, true);
    mask = on_side(w, b, goes_on, false);
    do_branch(w, body, b, goes_on, false);
  } else {
    do_nodes(w, body, b);
  }
  give_yield(w, body, b);
  sq_node *end = sq_block_end(b);
  if (own) {
    b->nodes.n--; // the selects stand before it
    for (uint32_t k = 0; k < end->n_in; k++)
      end->in[k] = choose(w, b, mask, end->in[k], b->args.v[k], body->args.v[k]->type);
    sq_push(w->g->arena, &b->nodes, end);
  }
  for (uint32_t k = 0; k < from->n_out; k++)
    w->of[from->out[k]->id] =
        sq_node_result(w->g, n, lane_type(w, from->out[k]->type), from->out[k]->name);
}

static void do_if(batcher *w, const sq_node *from, sq_block *to) {
  if (!w->varies[from->in[0]->id]) {
    sq_value *c = now(w, from->in[0]);
    sq_node *n = sq_node_new(w->g, to, SQ_OP_IF, from->span, 1, &c);
    for (int r = 0; r < 2; r++) {
      sq_block *side = sq_node_region(w->g, n, w->f);
      do_nodes(w, from->region[r], side);
      give_yield(w, from->region[r], side);
    }
    for (uint32_t k = 0; k < from->n_out; k++)
      w->of[from->out[k]->id] =
          sq_node_result(w->g, n, lane_type(w, from->out[k]->type), from->out[k]->name);
    return;
  }
  sq_value *c = as_value(w, to, from->in[0], true);
  do_branch(w, from->region[0], to, c, false);
  do_branch(w, from->region[1], to, c, true);
  const sq_node *yes = sq_block_end(from->region[0]), *no = sq_block_end(from->region[1]);
  for (uint32_t k = 0; k < from->n_out; k++) {
    sq_value *a = as_value(w, to, yes->in[k], true), *b = as_value(w, to, no->in[k], true);
    w->of[from->out[k]->id] = choose(w, to, c, a, b, from->out[k]->type);
  }
}

static void do_check(batcher *w, const sq_node *from, sq_block *to) {
  sq_value *all = over_lanes(w, to, as_value(w, to, from->in[0], true), SQ_ALL);
  sq_node *n = sq_node_new(w->g, to, SQ_OP_CHECK, from->span, 1, &all);
  n->site = from->site;
}

static void do_nodes(batcher *w, const sq_block *from, sq_block *to) {
  for (uint32_t k = 0; k + 1 < from->nodes.n; k++) {
    sq_node *n = from->nodes.v[k];
    if (!varying_node(w, n)) {
      sq_node_clone(w->g, n, to, w->of, NULL, 0);
      continue;
    }
    switch ((int)n->op) {
    case SQ_OP_GENERIC:
    case SQ_OP_UPDATE:
      add_lanes(w, n, to);
      break;
    case SQ_OP_REPEAT:
    case SQ_OP_SCAN:
      do_loop(w, n, to);
      break;
    case SQ_OP_WHILE:
      do_while(w, n, to);
      break;
    case SQ_OP_IF:
      do_if(w, n, to);
      break;
    case SQ_OP_CHECK:
      do_check(w, n, to);
      break;
    default:
      along_axis(w, n, to);
      break;
    }
  }
}

// ---- the pass ----------------------------------------------------------------------------------
// The map's results are made in `to`; uses are replaced afterwards.
static bool dissolve(batcher *w, sq_node *map, sq_block *to) {
  w->map = map;
  w->lanes = map->g->n_par;
  w->why = NULL;
  w->at = NULL;
  w->n_old = w->g->n_values;
  w->of = SQ_ARRAY(w->g->arena, sq_value *, w->n_old + 1);
  w->varies = SQ_ARRAY(w->g->arena, bool, w->n_old + 1);
  const sq_block *body = map->region[0];
  for (uint32_t k = 0; k < body->args.n; k++) w->varies[body->args.v[k]->id] = true;
  while (spread(w, map->region[0], false)) {
  }
  if (!allowed(w, body)) {
    sq_pass_missed(w->g, w->f, "batch", map, NULL, w->at,
                   sq_arena_fmt(w->g->arena, "runs index by index: %s", w->why));
    return false;
  }
  do_nodes(w, body, to);
  const sq_node *end = sq_block_end(body);
  for (uint32_t k = 0; k < map->n_out; k++)
    sq_replace_uses(w->f, map->out[k], as_value(w, to, end->in[k], true));
  sq_remark_add(w->g->ctx, "batch", true, map->span, sq_pass_entry(w->f),
                "all indices at once, as %u more axes", w->lanes);
  w->changed = true;
  return true;
}

static void do_block(batcher *w, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    for (uint32_t r = 0; r < n->n_region; r++) do_block(w, n->region[r]); // innermost first
    if (n->op != SQ_OP_MAP || !n->g->n_par) continue;
    sq_block *side = sq_block_new(w->f, b->owner);
    if (!dissolve(w, n, side)) continue;
    for (uint32_t j = 0; j < side->nodes.n; j++) sq_node_insert_before(n, side->nodes.v[j]);
    sq_node_remove(n);
    k += side->nodes.n - 1;
  }
}

bool sq_pass_batch(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  batcher w = {.g = g};
  for (uint32_t k = 0; k < g->func.n; k++) {
    w.f = g->func.v[k];
    do_block(&w, g->func.v[k]->body);
  }
  return w.changed;
}
