// What a call costs at least, and which inputs are indices.
#include "ir/cost.h"

typedef struct counter {
  const sq_graph *g;
  const int64_t *sym;
  uint8_t *seen, *seen_state; // parameters; states
  double bytes;
} counter;

static double extent(const counter *c, sq_dim d) {
  int64_t v;
  if (sq_dim_eval(c->g->dims, d, c->sym, &v)) return v > 0 ? (double)v : 0;
  sq_dim s = sq_dim_storage(c->g->dims, d);
  return sq_dim_eval(c->g->dims, s, c->sym, &v) && v > 0 ? (double)v : 1;
}

static double type_bytes(const counter *c, sq_type t) {
  double n = sq_dtype_table[t.dtype].bytes;
  for (uint32_t k = 0; k < t.rank; k++) n *= extent(c, t.dim[k]);
  return n;
}

// Scalars are in topological order: one sweep backwards marks what `root` is made of.
static double operations(const sq_generic *k, uint32_t root, uint8_t *mark) {
  if (root == SQ_NO_SCALAR) return 0;
  double n = 0;
  memset(mark, 0, k->s.n);
  mark[root] = 1;
  for (uint32_t j = root + 1; j-- > 0;) {
    const sq_scalar *s = &k->s.v[j];
    if (!mark[j]) continue;
    n += s->kind == SQ_SC_EWISE && sq_is_float(s->dtype);
    for (int a = 0; a < 3; a++)
      if (s->a[a] != SQ_NO_SCALAR) mark[s->a[a]] = 1;
    if (s->kind == SQ_SC_READ && s->other != SQ_NO_SCALAR) mark[s->other] = 1;
  }
  return n;
}

static double generic_flops(counter *c, const sq_node *n, sq_arena *a) {
  const sq_generic *k = n->g;
  double par = 1, red = 1;
  for (uint32_t j = 0; j < k->n_par + k->n_red; j++)
    *(j < k->n_par ? &par : &red) *= extent(c, k->axis[j].extent);
  uint8_t *mark = SQ_ARRAY(a, uint8_t, k->s.n + 1);
  bool real = k->body < k->s.n && sq_is_float(k->s.v[k->body].dtype);
  double inner = operations(k, k->body, mark) + (k->n_red && real ? 1 : 0);
  double outer = k->n_red ? operations(k, k->post, mark) : 0;
  if (!k->n_red && k->post != SQ_NO_SCALAR) inner = operations(k, k->post, mark);
  return par * (red * inner + outer);
}

static double block_flops(counter *c, const sq_block *b, sq_arena *a);

static double trips(const counter *c, const sq_node *n) {
  int64_t lo, hi;
  double t = 1;
  if (n->op == SQ_OP_REPEAT && sq_value_const_int(n->in[0], &lo) &&
      sq_value_const_int(n->in[1], &hi))
    return hi > lo ? (double)(hi - lo) : 0;
  if (n->op == SQ_OP_SCAN) return extent(c, n->extent);
  if (n->op == SQ_OP_MAP)
    for (uint32_t k = 0; k < n->g->n_par; k++) t *= extent(c, n->g->axis[k].extent);
  return t;
}

static double node_flops(counter *c, const sq_node *n, sq_arena *a) {
  if (n->op == SQ_OP_PARAM && !c->seen[n->ref]) {
    c->seen[n->ref] = 1;
    c->bytes += type_bytes(c, c->g->param.v[n->ref].type) * c->g->param.v[n->ref].count;
  }
  // Definitions at model level and packed weights are read like parameters.
  if (n->op == SQ_OP_STATE_READ && c->g->state.v[n->ref].derived && !c->seen_state[n->ref]) {
    c->seen_state[n->ref] = 1;
    c->bytes += type_bytes(c, c->g->state.v[n->ref].type) * c->g->state.v[n->ref].count;
  }
  double total = 0;
  if (n->g && n->op != SQ_OP_MAP) total += generic_flops(c, n, a);
  if (n->op == SQ_OP_IF && n->n_region == 2) {
    double x = block_flops(c, n->region[0], a), y = block_flops(c, n->region[1], a);
    return total + (x > y ? x : y);
  }
  double inner = 0;
  for (uint32_t r = 0; r < n->n_region; r++) inner += block_flops(c, n->region[r], a);
  return total + trips(c, n) * inner;
}

static double block_flops(counter *c, const sq_block *b, sq_arena *a) {
  double total = 0;
  for (uint32_t k = 0; k < b->nodes.n; k++) total += node_flops(c, b->nodes.v[k], a);
  return total;
}

sq_cost sq_func_cost(const sq_func *f, const int64_t *sym) {
  sq_arena *a = f->graph->arena;
  counter c = {.g = f->graph, .sym = sym, .seen = SQ_ARRAY(a, uint8_t, f->graph->param.n + 1)};
  c.seen_state = SQ_ARRAY(a, uint8_t, f->graph->state.n + 1);
  sq_cost r = {0};
  r.flops = block_flops(&c, f->body, a);
  for (uint32_t k = 0; k < f->body->args.n; k++)
    c.bytes += type_bytes(&c, f->body->args.v[k]->type);
  sq_node *end = sq_block_end(f->body);
  for (uint32_t k = 0; end && k < end->n_in; k++) c.bytes += type_bytes(&c, end->in[k]->type);
  r.bytes = c.bytes;
  return r;
}

// ---- one kernel after another ------------------------------------------------------------------
typedef struct lister {
  counter c;
  sq_arena *a;
  void (*each)(const sq_kernel_cost *k, void *user);
  void *user;
  uint8_t *seen; // values whose bytes are counted
} lister;

static bool is_within(const sq_block *b, const sq_node *n) {
  for (; b && b->owner; b = b->owner->block)
    if (b->owner == n) return true;
  return false;
}

// The axes that each scalar depends on.
static uint32_t *axes_of(const lister *w, const sq_generic *k) {
  uint32_t *on = SQ_ARRAY(w->a, uint32_t, k->s.n + 1);
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *x = &k->s.v[j];
    if (x->kind == SQ_SC_INDEX) on[j] = 1u << x->axis;
    for (uint32_t p = 0; x->kind == SQ_SC_READ && p < x->n_pos; p++) on[j] |= on[x->pos[p]];
    for (int p = 0; x->kind != SQ_SC_READ && p < 3; p++)
      if (x->a[p] != SQ_NO_SCALAR) on[j] |= on[x->a[p]];
  }
  return on;
}

// How many elements a generic can read at most of operand `in`: all its reads at all places.
static double elements_read(const lister *w, const sq_node *n, uint32_t in) {
  const sq_generic *k = n->g;
  const uint32_t *on = axes_of(w, k);
  double sum = 0;
  for (uint32_t j = 0; j < k->s.n; j++) {
    if (k->s.v[j].kind != SQ_SC_READ || k->s.v[j].operand != in) continue;
    double one = 1;
    for (uint32_t x = 0; x < k->n_par + k->n_red; x++)
      if (on[j] >> x & 1) one *= extent(&w->c, k->axis[x].extent);
    sum += one;
  }
  return sum;
}

static void add_reads(lister *w, const sq_node *n, const sq_node *kernel, double times,
                      double *sum) {
  if (n->op == SQ_OP_SCAN) times *= trips(&w->c, n);
  for (uint32_t k = 0; k < n->n_in; k++) {
    const sq_value *v = n->in[k];
    if (w->seen[v->id] || (v->def && is_within(v->def->block, kernel))) continue;
    if (!v->def && is_within(v->block, kernel)) continue;
    w->seen[v->id] = 1;
    double all = type_bytes(&w->c, v->type), most = all;
    if (n->g) most = times * elements_read(w, n, k) * sq_dtype_table[v->type.dtype].bytes;
    *sum += all < most ? all : most;
  }
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      add_reads(w, n->region[r]->nodes.v[k], kernel, times, sum);
}

static bool is_loop(const sq_node *n) {
  return n->op == SQ_OP_REPEAT || n->op == SQ_OP_WHILE || n->op == SQ_OP_SCAN ||
         n->op == SQ_OP_MAP || n->op == SQ_OP_IF;
}

static void list_block(lister *w, const sq_block *b, double times) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    const sq_node *n = b->nodes.v[k];
    if (is_loop(n)) {
      for (uint32_t r = 0; r < n->n_region; r++)
        list_block(w, n->region[r], times * trips(&w->c, n));
      continue;
    }
    if (!n->g && !n->n_region && n->op != SQ_OP_SORT && n->op != SQ_OP_ARGSORT &&
        n->op != SQ_OP_TOPK)
      continue;
    sq_kernel_cost one = {.node = n, .times = times, .flops = node_flops(&w->c, n, w->a)};
    memset(w->seen, 0, w->c.g->n_values + 1);
    add_reads(w, n, n, 1, &one.bytes);
    for (uint32_t o = 0; o < n->n_out; o++) one.bytes += type_bytes(&w->c, n->out[o]->type);
    w->each(&one, w->user);
  }
}

void sq_kernel_costs(const sq_func *f, const int64_t *sym,
                     void (*each)(const sq_kernel_cost *k, void *user), void *user) {
  sq_arena *a = f->graph->arena;
  lister w = {.c = {.g = f->graph, .sym = sym}, .a = a, .each = each, .user = user};
  w.c.seen = SQ_ARRAY(a, uint8_t, f->graph->param.n + 1);
  w.c.seen_state = SQ_ARRAY(a, uint8_t, f->graph->state.n + 1);
  w.seen = SQ_ARRAY(a, uint8_t, f->graph->n_values + 1);
  list_block(&w, f->body, 1);
}

// ---- inputs that are indices -------------------------------------------------------------------
typedef struct finder {
  const sq_graph *g;
  const int64_t *sym;
  uint8_t *from; // values made of the input
  int64_t bound;
} finder;

static void find_in(sq_node *n, void *user) {
  finder *f = user;
  bool any = false;
  for (uint32_t k = 0; k < n->n_in; k++) any |= f->from[n->in[k]->id];
  for (uint32_t r = 0; any && r < n->n_region; r++) { // carried values
    uint32_t skip = n->op == SQ_OP_REPEAT ? 2 : 0, first = n->op == SQ_OP_WHILE ? 0 : 1;
    for (uint32_t k = skip; n->op != SQ_OP_IF && k < n->n_in; k++)
      if (f->from[n->in[k]->id] && first + k - skip < n->region[r]->args.n)
        f->from[n->region[r]->args.v[first + k - skip]->id] = 1;
  }
  if (!any || !n->g) return;
  uint8_t *made = SQ_ARRAY(f->g->arena, uint8_t, n->g->s.n + 1);
  for (uint32_t j = 0; j < n->g->s.n; j++) {
    const sq_scalar *s = &n->g->s.v[j];
    for (int a = 0; a < 3; a++)
      if (s->a[a] != SQ_NO_SCALAR && made[s->a[a]]) made[j] = 1;
    if (s->kind != SQ_SC_READ) continue;
    for (uint32_t p = 0; p < s->n_pos; p++) {
      int64_t v;
      if (!made[s->pos[p]] || p >= n->in[s->operand]->type.rank) continue;
      if (sq_dim_eval(f->g->dims, n->in[s->operand]->type.dim[p], f->sym, &v) && v > 0 &&
          (!f->bound || v < f->bound))
        f->bound = v;
    }
    made[j] = f->from[n->in[s->operand]->id] && !sq_is_float(s->dtype);
  }
  for (uint32_t k = 0; k < n->n_out; k++)
    if (!sq_is_float(n->out[k]->type.dtype) && made[n->g->body]) f->from[n->out[k]->id] = 1;
}

int64_t sq_input_bound(const sq_func *f, uint32_t k, const int64_t *sym) {
  finder s = {f->graph, sym, SQ_ARRAY(f->graph->arena, uint8_t, f->graph->n_values + 1), 0};
  if (sq_is_float(f->body->args.v[k]->type.dtype)) return 0;
  s.from[f->body->args.v[k]->id] = 1;
  sq_walk(f->body, find_in, &s);
  return s.bound;
}
