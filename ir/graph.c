// Building, walking and editing graphs.
#include "ir/ir.h"
#include <stdarg.h>

sq_graph *sq_graph_new(sq_ctx *ctx, sq_arena *arena, const char *name) {
  sq_graph *g = SQ_NEW(arena, sq_graph);
  g->ctx = ctx;
  g->arena = arena;
  g->dims = sq_dims_new(arena);
  g->name = name;
  g->float_type = SQ_F32;
  return g;
}

sq_func *sq_func_new(sq_graph *g, const char *name, sq_func_kind kind, sq_span span) {
  sq_func *f = SQ_NEW(g->arena, sq_func);
  f->name = name;
  f->kind = kind;
  f->graph = g;
  f->span = span;
  f->body = sq_block_new(f, NULL);
  sq_push(g->arena, &g->func, f);
  return f;
}

sq_func *sq_func_find(const sq_graph *g, const char *name) {
  for (uint32_t k = 0; k < g->func.n; k++)
    if (!strcmp(g->func.v[k]->name, name)) return g->func.v[k];
  return NULL;
}

sq_block *sq_block_new(sq_func *f, sq_node *owner) {
  sq_block *b = SQ_NEW(f->graph->arena, sq_block);
  b->func = f;
  b->owner = owner;
  return b;
}

static sq_value *new_value(sq_graph *g, sq_type t, const char *name) {
  sq_value *v = SQ_NEW(g->arena, sq_value);
  v->id = g->n_values++;
  v->type = t;
  v->name = name;
  return v;
}

sq_value *sq_block_arg(sq_block *b, sq_type t, const char *name) {
  sq_graph *g = b->func->graph;
  sq_value *v = new_value(g, t, name);
  v->block = b;
  v->index = b->args.n;
  sq_push(g->arena, &b->args, v);
  return v;
}

sq_type sq_type_make(sq_graph *g, sq_dtype dt, uint32_t rank, const sq_dim *dim) {
  sq_dim *d = rank ? SQ_ARRAY(g->arena, sq_dim, rank) : NULL;
  if (rank) memcpy(d, dim, rank * sizeof *d);
  return (sq_type){dt, rank, d};
}

sq_type sq_type_scalar(sq_dtype dt) { return (sq_type){dt, 0, NULL}; }

bool sq_type_same(sq_type a, sq_type b) {
  if (a.dtype != b.dtype || a.rank != b.rank) return false;
  for (uint32_t k = 0; k < a.rank; k++)
    if (!sq_dim_same(a.dim[k], b.dim[k])) return false;
  return true;
}

sq_node *sq_node_new(sq_graph *g, sq_block *b, sq_opcode op, sq_span span, uint32_t n_in,
                     sq_value *const *in) {
  sq_node *n = SQ_NEW(g->arena, sq_node);
  n->id = g->n_nodes++;
  n->op = op;
  n->span = span;
  if (!sq_op_is_work(op)) n->span.mark = 0;
  n->site = SQ_NO_SITE;
  n->n_in = n_in;
  if (n_in) {
    n->in = SQ_ARRAY(g->arena, sq_value *, n_in);
    memcpy(n->in, in, n_in * sizeof *in);
  }
  n->block = b;
  if (b) sq_push(g->arena, &b->nodes, n);
  return n;
}

sq_value *sq_node_result(sq_graph *g, sq_node *n, sq_type t, const char *name) {
  sq_value *v = new_value(g, t, name);
  v->def = n;
  v->index = n->n_out;
  sq_value **out = SQ_ARRAY(g->arena, sq_value *, n->n_out + 1);
  if (n->n_out) memcpy(out, n->out, n->n_out * sizeof *out);
  out[n->n_out++] = v;
  n->out = out;
  return v;
}

sq_block *sq_node_region(sq_graph *g, sq_node *n, sq_func *f) {
  sq_block *b = sq_block_new(f, n);
  sq_block **region = SQ_ARRAY(g->arena, sq_block *, n->n_region + 1);
  if (n->n_region) memcpy(region, n->region, n->n_region * sizeof *region);
  region[n->n_region++] = b;
  n->region = region;
  return b;
}

uint32_t sq_node_add_in(sq_graph *g, sq_node *n, sq_value *v) {
  for (uint32_t k = 0; k < n->n_in; k++)
    if (n->in[k] == v) return k;
  sq_value **in = SQ_ARRAY(g->arena, sq_value *, n->n_in + 1);
  if (n->n_in) memcpy(in, n->in, n->n_in * sizeof *in);
  in[n->n_in] = v;
  n->in = in;
  return n->n_in++;
}

sq_node *sq_block_end(const sq_block *b) {
  if (!b->nodes.n) return NULL;
  sq_node *n = b->nodes.v[b->nodes.n - 1];
  return n->op == SQ_OP_YIELD ? n : NULL;
}

sq_generic *sq_generic_new(sq_graph *g, uint32_t n_par, uint32_t n_red) {
  sq_generic *k = SQ_NEW(g->arena, sq_generic);
  k->n_par = n_par;
  k->n_red = n_red;
  k->axis = n_par + n_red ? SQ_ARRAY(g->arena, sq_axis, n_par + n_red) : NULL;
  k->post = SQ_NO_SCALAR;
  k->pos_site = SQ_NO_SITE;
  k->write_guard = SQ_NO_SCALAR;
  return k;
}

uint32_t sq_scalar_add(sq_graph *g, sq_generic *k, sq_scalar s) {
  sq_push(g->arena, &k->s, s);
  return k->s.n - 1;
}

static sq_scalar blank(sq_scalar_kind kind, sq_dtype t) {
  return (sq_scalar){.kind = kind,
                     .dtype = t,
                     .a = {SQ_NO_SCALAR, SQ_NO_SCALAR, SQ_NO_SCALAR},
                     .guard = SQ_NO_SCALAR,
                     .other = SQ_NO_SCALAR,
                     .site = SQ_NO_SITE};
}

uint32_t sq_sc_float(sq_graph *g, sq_generic *k, sq_dtype t, double v) {
  sq_scalar s = blank(SQ_SC_FLOAT, t);
  s.f = v;
  return sq_scalar_add(g, k, s);
}

uint32_t sq_sc_int(sq_graph *g, sq_generic *k, sq_dtype t, int64_t v) {
  sq_scalar s = blank(SQ_SC_INT, t);
  s.i = v;
  return sq_scalar_add(g, k, s);
}

uint32_t sq_sc_index(sq_graph *g, sq_generic *k, uint32_t axis) {
  for (uint32_t j = 0; j < k->s.n; j++)
    if (k->s.v[j].kind == SQ_SC_INDEX && k->s.v[j].axis == axis) return j;
  sq_scalar s = blank(SQ_SC_INDEX, SQ_I64);
  s.axis = axis;
  return sq_scalar_add(g, k, s);
}

uint32_t sq_sc_dim(sq_graph *g, sq_generic *k, sq_dim d) {
  int64_t v;
  if (sq_dim_is_const(g->dims, d, &v)) return sq_sc_int(g, k, SQ_I64, v);
  sq_scalar s = blank(SQ_SC_DIM, SQ_I64);
  s.dim = d;
  return sq_scalar_add(g, k, s);
}

uint32_t sq_sc_ewise(sq_graph *g, sq_generic *k, sq_ewise e, uint32_t a, uint32_t b) {
  sq_scalar s = blank(SQ_SC_EWISE, sq_ewise_table[e].kind == 'C' ? SQ_BOOL : k->s.v[a].dtype);
  s.ew = e;
  s.a[0] = a;
  s.a[1] = sq_ewise_table[e].arity > 1 ? b : SQ_NO_SCALAR;
  return sq_scalar_add(g, k, s);
}

uint32_t sq_sc_select(sq_graph *g, sq_generic *k, uint32_t c, uint32_t a, uint32_t b) {
  sq_scalar s = blank(SQ_SC_SELECT, k->s.v[a].dtype);
  s.a[0] = c;
  s.a[1] = a;
  s.a[2] = b;
  return sq_scalar_add(g, k, s);
}

uint32_t sq_sc_cast(sq_graph *g, sq_generic *k, uint32_t a, sq_dtype t) {
  if (k->s.v[a].dtype == t) return a;
  sq_scalar s = blank(SQ_SC_CAST, t);
  s.a[0] = a;
  return sq_scalar_add(g, k, s);
}

uint32_t sq_sc_acc(sq_graph *g, sq_generic *k, sq_dtype t) {
  return sq_scalar_add(g, k, blank(SQ_SC_ACC, t));
}

uint32_t sq_sc_read(sq_graph *g, sq_generic *k, sq_dtype t, uint32_t operand, uint32_t n_pos,
                    const uint32_t *pos) {
  sq_scalar s = blank(SQ_SC_READ, t);
  s.operand = operand;
  s.n_pos = n_pos;
  if (n_pos) {
    uint32_t *p = SQ_ARRAY(g->arena, uint32_t, n_pos);
    memcpy(p, pos, n_pos * sizeof *p);
    s.pos = p;
  }
  return sq_scalar_add(g, k, s);
}

sq_value *sq_const_int(sq_graph *g, sq_block *b, sq_dtype t, int64_t v) {
  sq_node *n = sq_node_new(g, b, SQ_OP_GENERIC, (sq_span){0}, 0, NULL);
  n->g = sq_generic_new(g, 0, 0);
  n->g->body = sq_sc_int(g, n->g, t, v);
  return sq_node_result(g, n, sq_type_scalar(t), NULL);
}

uint32_t sq_site_new(sq_graph *g, sq_span span, const char *fmt, ...) {
  char text[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  sq_push(g->arena, &g->site, (sq_site){span, sq_arena_str(g->arena, text, strlen(text))});
  return g->site.n - 1;
}

uint32_t sq_mark_new(sq_graph *g, sq_span span, uint32_t outer) {
  sq_push(g->arena, &g->mark, ((sq_mark){span, outer}));
  return g->mark.n;
}

bool sq_op_is_work(sq_opcode op) {
  return op != SQ_OP_PARAM && op != SQ_OP_STATE_READ && op != SQ_OP_YIELD;
}

sq_dtype sq_monoid_result(sq_monoid m, sq_dtype t) {
  if (m == SQ_ARGMAX || m == SQ_ARGMIN) return SQ_I32;
  return t;
}

bool sq_value_const_int(const sq_value *v, int64_t *out) {
  const sq_node *n = v->def;
  if (!n || n->op != SQ_OP_GENERIC || n->g->n_red || n->g->n_pos || n->g->keyed) return false;
  uint32_t at = n->g->post != SQ_NO_SCALAR ? n->g->post : n->g->body;
  const sq_scalar *s = &n->g->s.v[at];
  if (s->kind == SQ_SC_CAST) {
    const sq_scalar *a = &n->g->s.v[s->a[0]];
    if (a->kind != SQ_SC_INT || sq_is_float(s->dtype)) return false;
    int bytes = sq_dtype_table[s->dtype].bytes; // a constant that fits unchanged
    if (bytes < 8 && (a->i > (1ll << (8 * bytes - 1)) - 1 || a->i < -(1ll << (8 * bytes - 1))))
      return false;
    if ((s->dtype == SQ_U8 || s->dtype == SQ_BOOL) && (a->i < 0 || a->i > 1)) return false;
    s = a;
  }
  if (s->kind != SQ_SC_INT) return false;
  if (out) *out = s->i;
  return true;
}

void sq_walk(sq_block *b, void (*fn)(sq_node *n, void *user), void *user) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    fn(n, user);
    for (uint32_t r = 0; r < n->n_region; r++) sq_walk(n->region[r], fn, user);
  }
}

typedef struct swap {
  sq_value *old, *with;
} swap;
static void replace_in(sq_node *n, void *user) {
  swap *s = user;
  for (uint32_t k = 0; k < n->n_in; k++)
    if (n->in[k] == s->old) n->in[k] = s->with;
}

void sq_replace_uses(sq_func *f, sq_value *old, sq_value *with) {
  swap s = {old, with};
  sq_walk(f->body, replace_in, &s);
}

static void count_in(sq_node *n, void *user) {
  uint32_t *uses = user;
  for (uint32_t k = 0; k < n->n_in; k++) uses[n->in[k]->id]++;
}

uint32_t *sq_count_uses(sq_func *f, sq_arena *scratch) {
  uint32_t *uses = SQ_ARRAY(scratch, uint32_t, f->graph->n_values + 1);
  sq_walk(f->body, count_in, uses);
  return uses;
}

static uint32_t place(const sq_node *n) {
  for (uint32_t k = 0; k < n->block->nodes.n; k++)
    if (n->block->nodes.v[k] == n) return k;
  SQ_ASSERT(false, "node %u is not in its block", n->id);
  return 0;
}

void sq_node_remove(sq_node *n) {
  sq_block *b = n->block;
  uint32_t k = place(n);
  memmove(b->nodes.v + k, b->nodes.v + k + 1, (b->nodes.n - k - 1) * sizeof *b->nodes.v);
  b->nodes.n--;
  n->block = NULL;
}

void sq_node_insert_before(sq_node *at, sq_node *n) {
  sq_block *b = at->block;
  uint32_t k = place(at);
  sq_push(b->func->graph->arena, &b->nodes, NULL);
  memmove(b->nodes.v + k + 1, b->nodes.v + k, (b->nodes.n - 1 - k) * sizeof *b->nodes.v);
  b->nodes.v[k] = n;
  n->block = b;
}

typedef struct cloner {
  sq_graph *g;
  sq_value **map;
  const sq_dim *with;
  uint32_t n_with, n_map;
} cloner;

static sq_dim clone_dim(cloner *c, sq_dim d) {
  return c->with && d.i ? sq_dim_subst(c->g->dims, d, c->with, c->n_with) : d;
}

static sq_type clone_type(cloner *c, sq_type t) {
  if (!c->with || !t.rank) return t;
  sq_dim d[SQ_MAX_RANK];
  for (uint32_t k = 0; k < t.rank; k++) d[k] = clone_dim(c, t.dim[k]);
  return sq_type_make(c->g, t.dtype, t.rank, d);
}

static sq_generic *clone_generic(cloner *c, const sq_generic *k) {
  sq_arena *a = c->g->arena;
  sq_generic *r = SQ_NEW(a, sq_generic);
  *r = *k;
  uint32_t n = k->n_par + k->n_red;
  r->axis = n ? SQ_ARRAY(a, sq_axis, n) : NULL;
  for (uint32_t j = 0; j < n; j++)
    r->axis[j] = (sq_axis){clone_dim(c, k->axis[j].extent), k->axis[j].name};
  memset(&r->s, 0, sizeof r->s);
  memset(&r->domain, 0, sizeof r->domain);
  for (uint32_t j = 0; j < k->s.n; j++) {
    sq_scalar s = k->s.v[j];
    s.dim = clone_dim(c, s.dim);
    if (s.n_pos) {
      uint32_t *pos = SQ_ARRAY(a, uint32_t, s.n_pos);
      memcpy(pos, s.pos, s.n_pos * sizeof *pos);
      s.pos = pos;
    }
    sq_push(a, &r->s, s);
  }
  for (uint32_t j = 0; j < k->domain.n; j++) sq_push(a, &r->domain, k->domain.v[j]);
  if (k->n_pos) {
    r->pos = SQ_ARRAY(a, uint32_t, k->n_pos);
    memcpy(r->pos, k->pos, k->n_pos * sizeof *r->pos);
  }
  return r;
}

static sq_node *clone_node(cloner *c, sq_node *n, sq_block *to);

static void clone_block(cloner *c, sq_block *from, sq_block *to) {
  for (uint32_t k = 0; k < from->args.n; k++) {
    sq_value *v = from->args.v[k];
    sq_value *w = sq_block_arg(to, clone_type(c, v->type), v->name);
    c->map[v->id] = w;
  }
  for (uint32_t k = 0; k < from->nodes.n; k++) clone_node(c, from->nodes.v[k], to);
}

static sq_node *clone_node(cloner *c, sq_node *n, sq_block *to) {
  sq_node *r = sq_node_new(c->g, to, n->op, n->span, n->n_in, n->in);
  uint32_t id = r->id;
  sq_value **in = r->in;
  *r = *n;
  r->id = id;
  r->in = in;
  r->block = to;
  r->out = NULL;
  r->region = NULL;
  r->n_out = r->n_region = 0;
  for (uint32_t k = 0; k < n->n_in; k++)
    if (n->in[k]->id < c->n_map && c->map[n->in[k]->id]) r->in[k] = c->map[n->in[k]->id];
  if (n->g) r->g = clone_generic(c, n->g);
  r->extent = clone_dim(c, n->extent);
  for (uint32_t k = 0; k < n->n_region; k++)
    clone_block(c, n->region[k], sq_node_region(c->g, r, to->func));
  for (uint32_t k = 0; k < n->n_out; k++)
    c->map[n->out[k]->id] =
        sq_node_result(c->g, r, clone_type(c, n->out[k]->type), n->out[k]->name);
  return r;
}

sq_node *sq_node_clone(sq_graph *g, sq_node *n, sq_block *to, sq_value **map, const sq_dim *with,
                       uint32_t n_with) {
  // `map` must have room for every value that existed before the first clone.
  cloner c = {g, map, with, n_with, g->n_values};
  return clone_node(&c, n, to);
}

bool sq_node_has_effect(const sq_node *n) {
  if (sq_op_table[n->op].flags & SQ_OPF_E) return true;
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      if (sq_node_has_effect(n->region[r]->nodes.v[k])) return true;
  return false;
}

static void set_all(const sq_graph *g, uint64_t *bits) {
  for (uint32_t k = 0; k < g->state.n; k++) bits[k / 64] |= 1ull << (k % 64);
}

void sq_node_states(const sq_node *n, uint64_t *reads, uint64_t *writes) {
  if (n->op == SQ_OP_STATE_READ) reads[n->ref / 64] |= 1ull << (n->ref % 64);
  if (n->op == SQ_OP_STATE_WRITE || n->op == SQ_OP_RESERVE)
    writes[n->ref / 64] |= 1ull << (n->ref % 64);
  if (n->op == SQ_OP_RESET && n->block) set_all(n->block->func->graph, writes);
  if (n->op == SQ_OP_CALL && n->func)
    for (uint32_t k = 0; k < n->func->body->nodes.n; k++)
      sq_node_states(n->func->body->nodes.v[k], reads, writes);
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      sq_node_states(n->region[r]->nodes.v[k], reads, writes);
}
