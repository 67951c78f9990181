// pack: weights of contractions are laid out for the tiles of code generation, once at load.
//
//   %w = param @w[%i] : f32[N, K]
//   %y = generic (%x, %w) [m < M, n < N] sum [k < K] { %x[m, k] * %w[n, k] } : f32[M, N]
// becomes, in panels of 16 columns,
//   %p = state_read @w.packed[%i] : f32[(N + 15) // 16, K, 16]
//   %y = generic (%x, %p) [m < M, n < N] sum [k < K] { %x[m, k] * %p[n // 16, k, n % 16] }
// and @w.packed is a derived state, whose columns beyond N are 0.
//
// Where the machine multiplies pairs of bf16, weights of that type lie in pairs along k, if K is even:
// [(N + 15) // 16, K / 2, 16, 2].
//
// The factor may be any cheap expression of parameters that no entry writes. Contractions of all
// entries that want the same share one state. Weights of 16 bits stay so in the panels. A contraction
// of few rows gains nothing by itself, unless the turns of a scan do it again and again, but reads what
// another one packed, so that the memory is read once.
//
// With --quantize int8 the panels hold 8 bits, and each column has a scale, its largest value / 127:
//
//   %y = ... sum [k < K] { %x[m, k] * f32(%p[n // 16, k, n % 16]); post acc * %scale[n] }
#include "passes/maker.h"
#include "passes/questions.h"
#include <string.h>

enum { FEW_ROWS = 4, LEAST = 4096, COST = 12, PANEL_VECTORS = 2, MOST_PARAMS = 4 };
#define NO_STATE UINT32_MAX

// What is packed: the generic that lays it out, reading the parameters of its first use.
typedef struct layout {
  sq_node *make;
  uint32_t count; // instances; 0: none
  uint32_t state, scale;
  bool wanted;
} layout;
typedef struct use {
  sq_node *n;
  const sq_func *f;
  uint32_t a, b; // b is packed
  bool widened;  // and then cast to the type of the contraction
  uint32_t n_axes, k_axes;
  int64_t columns, depth, panel;
  bool pairs;
  sq_value *instance;
  uint32_t count, layout;
} use;
typedef struct packer {
  sq_graph *g;
  const sq_func *f;
  int64_t panel_bytes;
  bool int8, bf16;
  SQ_VEC(layout) layout;
  SQ_VEC(use) use;
} packer;

// ---- what may be packed ------------------------------------------------------------------------
static bool product_of(sq_graph *g, const sq_generic *k, uint32_t axes, int64_t *size) {
  *size = 1;
  for (uint32_t a = 0; a < k->n_par + k->n_red; a++) {
    int64_t e;
    if (!(axes >> a & 1)) continue;
    if (!sq_dim_is_const(g->dims, k->axis[a].extent, &e) || e < 1) return false;
    if (__builtin_mul_overflow(*size, e, size) || *size > 1ll << 40) return false;
  }
  return true;
}

static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }

static bool is_half(sq_dtype t) { return t == SQ_BF16 || t == SQ_F16; }

// A read of a parameter as it is in the file.
static bool reads_weights(packer *w, const sq_scalar *s, use *u) {
  const sq_node *d = u->n->in[s->operand]->def;
  if (!d || d->op != SQ_OP_PARAM) return false;
  const sq_param *p = &w->g->param.v[d->ref];
  if (p->written || p->type.dtype != u->n->g->s.v[u->b].dtype) return false;
  if (!p->has_instances) return true;
  sq_value *instance = d->in[d->n_in - 1];
  if (u->instance && (u->instance != instance || u->count != p->count)) return false;
  u->instance = instance;
  u->count = p->count;
  return true;
}

static bool made_of_weights(packer *w, use *u) {
  const sq_generic *k = u->n->g;
  bool *seen = SQ_ARRAY(w->g->arena, bool, u->b + 1);
  seen[u->b] = true;
  uint32_t reads = 0;
  for (uint32_t id = u->b + 1; id-- > 0;) {
    const sq_scalar *s = &k->s.v[id];
    if (!seen[id]) continue;
    int64_t v;
    if (s->kind == SQ_SC_DIM && !sq_dim_is_const(w->g->dims, s->dim, &v)) return false;
    if (s->kind == SQ_SC_READ && (!reads_weights(w, s, u) || ++reads > MOST_PARAMS)) return false;
    sq_scalar_refs(s, mark, seen);
  }
  return reads && sq_scalar_cost(k, u->b) <= COST;
}

// Why a product with weights keeps them as they are; NULL: it is none, or has said so.
static const char *stays_wide(packer *w, sq_node *n) {
  sq_contraction c;
  if (n->op != SQ_OP_GENERIC || !sq_is_contraction(w->g, n, &c)) return NULL;
  bool last[2] = {n->g->n_par && c.m >> (n->g->n_par - 1) & 1,
                  n->g->n_par && c.n >> (n->g->n_par - 1) & 1};
  for (int side = 0; side < 2; side++) {
    use u = {.n = n, .f = w->f, .b = side ? c.b : c.a};
    const sq_scalar *b = &n->g->s.v[u.b];
    if (b->kind == SQ_SC_CAST && is_half(n->g->s.v[b->a[0]].dtype)) u.b = b->a[0];
    if (!made_of_weights(w, &u)) continue;
    if (n->block->owner && sq_node_is_kernel(n->block->owner))
      return "the product is inside another kernel";
    if (!last[side]) return "the last axis of the result is not theirs";
    return c.batch ? NULL : "they are few, or their sizes do not fill vectors";
  }
  return NULL;
}

static bool sized_for_panels(packer *w, use *u, const sq_contraction *c) {
  const sq_generic *k = u->n->g;
  sq_dtype t = k->s.v[u->b].dtype; // 16 bits are packed as they are, the arithmetic is in f32
  u->panel = w->panel_bytes / (t == SQ_F64 ? 8 : 4);
  if (w->int8 && t != SQ_F32 && !u->widened) return false;
  u->pairs = t == SQ_BF16 && w->bf16 && !w->int8;
  if (!product_of(w->g, k, u->n_axes, &u->columns) || !product_of(w->g, k, c->k, &u->depth))
    return false;
  int64_t inner = u->panel;
  u->pairs &= u->depth % 2 == 0;
  bool several = u->n_axes & (u->n_axes - 1);
  if (several && !sq_dim_is_const(w->g->dims, k->axis[k->n_par - 1].extent, &inner)) return false;
  return inner % (u->panel / PANEL_VECTORS) == 0 && u->columns >= u->panel && u->depth >= 8 &&
         u->columns * u->depth >= LEAST;
}

// Is it a part of a kernel, perhaps in the turns of its scan?
static bool is_inside(const sq_node *n) {
  for (const sq_node *o = n->block->owner; o; o = o->block->owner)
    if (sq_node_is_kernel(o)) return true;
  return false;
}

// Are the weights read again in every turn of a scan?
static bool in_turns(const sq_graph *g, const sq_node *n) {
  const sq_node *o = n->block->owner;
  int64_t turns;
  return o && o->op == SQ_OP_SCAN &&
         !(sq_dim_is_const(g->dims, o->extent, &turns) && turns <= FEW_ROWS);
}

// A contraction whose factor along the last axis is made of weights.
static bool candidate(packer *w, sq_node *n, use *u, uint32_t *rows) {
  sq_contraction c;
  if (n->op != SQ_OP_GENERIC || !n->g->n_par || !sq_is_contraction(w->g, n, &c)) return false;
  if (is_inside(n)) return false;
  bool turned = c.m >> (n->g->n_par - 1) & 1;
  if (!turned && !(c.n >> (n->g->n_par - 1) & 1)) return false;
  *u = (use){.n = n, .f = w->f, .a = turned ? c.b : c.a, .b = turned ? c.a : c.b};
  const sq_scalar *b = &n->g->s.v[u->b];
  if (b->kind == SQ_SC_CAST && b->dtype == SQ_F32 && is_half(n->g->s.v[b->a[0]].dtype)) {
    u->b = b->a[0];
    u->widened = true;
  }
  u->n_axes = turned ? c.m : c.n;
  u->k_axes = c.k;
  *rows = turned ? c.n : c.m;
  if (!made_of_weights(w, u)) return false;
  if (c.batch) {
    sq_remark_add(w->g->ctx, "pack", false, n->span, sq_pass_entry(w->f),
                  "the weights stay as they are: each element of a batch has its own");
    return false;
  }
  return sized_for_panels(w, u, &c);
}

// ---- the layout --------------------------------------------------------------------------------
static uint32_t combine(sq_maker *m, sq_ewise e, uint32_t a, int64_t b) {
  return sq_maker_ewise(m, e, a, sq_maker_int(m, SQ_I64, b));
}
// The index of each axis of `set` from the flattened one.
static void unflatten(sq_maker *m, const sq_generic *k, uint32_t set, uint32_t flat,
                      uint32_t *axis) {
  for (uint32_t a = k->n_par + k->n_red; a-- > 0;) {
    int64_t e;
    if (!(set >> a & 1)) continue;
    bool first = !(set & ((1u << a) - 1));
    sq_dim_is_const(m->g->dims, k->axis[a].extent, &e);
    axis[a] = first ? flat : combine(m, SQ_EW_MOD, flat, e);
    if (!first) flat = combine(m, SQ_EW_FLOORDIV, flat, e);
  }
}
static sq_node *lay_out(packer *w, const use *u) {
  sq_graph *g = w->g;
  const sq_generic *k = u->n->g;
  sq_maker m;
  uint32_t rank = u->pairs ? 4 : 3;
  sq_maker_start(&m, g, rank, 0);
  int64_t extent[4] = {(u->columns + u->panel - 1) / u->panel, u->depth, u->panel, 2};
  if (u->pairs) extent[1] /= 2;
  static const char *const names[4] = {"p", "k", "j", "h"};
  sq_dim dim[4];
  for (uint32_t a = 0; a < rank; a++)
    m.k->axis[a] = (sq_axis){dim[a] = sq_dim_const(g->dims, extent[a]), names[a]};
  uint32_t flat = combine(&m, SQ_EW_MUL, sq_maker_index(&m, 0), u->panel);
  flat = sq_maker_ewise(&m, SQ_EW_ADD, flat, sq_maker_index(&m, 2));
  uint32_t holds = u->columns % u->panel ? combine(&m, SQ_EW_LT, flat, u->columns) : SQ_NO_SCALAR;
  uint32_t *axis = SQ_ARRAY(g->arena, uint32_t, k->n_par + k->n_red + 1);
  unflatten(&m, k, u->n_axes, flat, axis);
  uint32_t row = sq_maker_index(&m, 1);
  if (u->pairs)
    row = sq_maker_ewise(&m, SQ_EW_ADD, combine(&m, SQ_EW_MUL, row, 2), sq_maker_index(&m, 3));
  unflatten(&m, k, u->k_axes, row, axis);
  sq_graft how = {.from = u->n, .axis = axis, .acc = SQ_NO_SCALAR, .guard = holds};
  uint32_t x = sq_maker_graft(&m, &how, u->b, sq_maker_map(&m, u->n));
  if (holds != SQ_NO_SCALAR && m.k->s.v[x].kind != SQ_SC_READ)
    x = sq_maker_select(&m, holds, x, sq_maker_float(&m, m.k->s.v[x].dtype, 0));
  m.k->body = x;
  sq_node *n = sq_node_new(g, NULL, SQ_OP_GENERIC, u->n->span, 0, NULL);
  sq_node_result(g, n, sq_type_make(g, k->s.v[u->b].dtype, rank, dim), "packed");
  sq_maker_end(&m, n);
  return n;
}

static bool same_layout(const sq_node *a, const sq_node *b) {
  if (a->n_in != b->n_in || !sq_generic_same(a->g, b->g)) return false;
  for (uint32_t k = 0; k < a->n_in; k++)
    if (a->in[k]->def->ref != b->in[k]->def->ref) return false;
  return true;
}

static void find(sq_node *n, void *user) {
  packer *w = user;
  sq_graph *g = w->g;
  use u;
  uint32_t rows;
  if (!candidate(w, n, &u, &rows)) {
    const char *why = w->int8 ? stays_wide(w, n) : NULL;
    if (why)
      sq_remark_add(g->ctx, "pack", false, n->span, sq_pass_entry(w->f),
                    "the weights stay as they are: %s", why);
    return;
  }
  sq_node *make = lay_out(w, &u);
  for (u.layout = 0; u.layout < w->layout.n; u.layout++)
    if (same_layout(w->layout.v[u.layout].make, make)) break;
  if (u.layout == w->layout.n)
    sq_push(g->arena, &w->layout,
            ((layout){.make = make, .count = u.count, .state = NO_STATE, .scale = NO_STATE}));
  int64_t m;
  bool few = product_of(g, n->g, rows, &m) && m <= FEW_ROWS;
  w->layout.v[u.layout].wanted |= !few || in_turns(g, n);
  sq_push(g->arena, &w->use, u);
}

// ---- the states --------------------------------------------------------------------------------
static sq_value *read_state(packer *w, sq_block *b, uint32_t state, sq_value *instance,
                            sq_span span) {
  sq_node *r = sq_node_new(w->g, b, SQ_OP_STATE_READ, span, instance ? 1 : 0, &instance);
  r->ref = state;
  r->has_instance = instance != NULL;
  return sq_node_result(w->g, r, w->g->state.v[state].type, NULL);
}
// A function that computes n, whose inputs it makes anew, for each instance.
static sq_func *init_of(packer *w, const layout *l, sq_node *n, const char *name) {
  sq_graph *g = w->g;
  sq_func *f = sq_func_new(g, sq_arena_fmt(g->arena, "%s.init", name), SQ_FUNC_INIT, n->span);
  sq_value *instance = NULL;
  if (l->count) {
    instance = sq_block_arg(f->body, sq_type_scalar(SQ_I32), "instance");
    sq_push(g->arena, &f->in_names, "instance");
    sq_push(g->arena, &f->in_sym, (sq_sym){0});
  }
  for (uint32_t k = 0; k < n->n_in; k++) {
    const sq_node *old = n->in[k]->def;
    if (old->op == SQ_OP_STATE_READ) {
      n->in[k] = read_state(w, f->body, old->ref, instance, old->span);
      continue;
    }
    bool one = g->param.v[old->ref].has_instances;
    sq_node *p = sq_node_new(g, f->body, SQ_OP_PARAM, old->span, one ? 1 : 0, &instance);
    p->ref = old->ref;
    p->has_instance = one;
    n->in[k] = sq_node_result(g, p, old->out[0]->type, old->out[0]->name);
  }
  sq_push(g->arena, &f->body->nodes, n);
  n->block = f->body;
  sq_node_new(g, f->body, SQ_OP_YIELD, n->span, 1, n->out);
  sq_push(g->arena, &f->out_names, "packed");
  return f;
}
// A parameter may be packed in several ways, and the model may have taken the name.
static const char *free_name(sq_graph *g, const char *base, const char *what) {
  const char *name = sq_arena_fmt(g->arena, "%s.%s", base, what);
  for (uint32_t n = 1;; n++) {
    bool taken = false;
    for (uint32_t k = 0; k < g->state.n && !taken; k++) taken = !strcmp(g->state.v[k].name, name);
    if (!taken) return name;
    name = sq_arena_fmt(g->arena, "%s.%s.%u", base, what, n);
  }
}
static uint32_t add_state(packer *w, const layout *l, sq_node *make, const char *base,
                          const char *what) {
  sq_graph *g = w->g;
  sq_state s = {.name = free_name(g, base, what),
                .type = make->out[0]->type,
                .count = l->count ? l->count : 1,
                .has_instances = l->count != 0,
                .derived = true,
                .span = make->span};
  s.names = SQ_ARRAY(g->arena, const char *, s.count);
  for (uint32_t k = 0; k < s.count; k++)
    s.names[k] = l->count ? sq_arena_fmt(g->arena, "%s.%u", s.name, k) : s.name;
  s.init = init_of(w, l, make, s.name);
  sq_push(g->arena, &g->state, s);
  return g->state.n - 1;
}
// The largest value of each column / 127.
static sq_node *scales(packer *w, const layout *l) {
  sq_graph *g = w->g;
  const sq_generic *k = l->make->g;
  sq_maker m;
  sq_maker_start(&m, g, 1, 1);
  sq_dim panel = k->axis[2].extent, columns = sq_dim_mul(g->dims, k->axis[0].extent, panel);
  int64_t nr;
  sq_dim_is_const(g->dims, panel, &nr);
  m.k->axis[0] = (sq_axis){columns, "n"};
  m.k->axis[1] = k->axis[1];
  m.k->monoid = SQ_MAX;
  uint32_t n = sq_maker_index(&m, 0);
  uint32_t axis[3] = {combine(&m, SQ_EW_FLOORDIV, n, nr), sq_maker_index(&m, 1),
                      combine(&m, SQ_EW_MOD, n, nr)};
  sq_graft how = {.from = l->make, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  uint32_t x = sq_maker_graft(&m, &how, k->body, sq_maker_map(&m, l->make));
  m.k->body = sq_maker_ewise(&m, SQ_EW_ABS, sq_maker_cast(&m, x, SQ_F32), SQ_NO_SCALAR);
  uint32_t most = sq_maker_acc(&m, SQ_F32); // a column of zeros has a scale too
  most = sq_maker_ewise(&m, SQ_EW_MAX, most, sq_maker_float(&m, SQ_F32, 1e-30));
  m.k->post = sq_maker_ewise(&m, SQ_EW_DIV, most, sq_maker_float(&m, SQ_F32, 127));
  sq_node *made = sq_node_new(g, NULL, SQ_OP_GENERIC, l->make->span, 0, NULL);
  sq_node_result(g, made, sq_type_make(g, SQ_F32, 1, &columns), "scale");
  sq_maker_end(&m, made);
  return made;
}
static sq_node *rounded(packer *w, const layout *l) {
  sq_graph *g = w->g;
  const sq_generic *k = l->make->g;
  int64_t nr;
  sq_dim_is_const(g->dims, k->axis[2].extent, &nr);
  sq_maker m;
  sq_maker_start_like(&m, g, l->make);
  uint32_t axis[3];
  for (uint32_t a = 0; a < 3; a++) axis[a] = sq_maker_index(&m, a);
  sq_graft how = {.from = l->make, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  uint32_t x = sq_maker_graft(&m, &how, k->body, sq_maker_map(&m, l->make));
  uint32_t n = sq_maker_ewise(&m, SQ_EW_ADD, combine(&m, SQ_EW_MUL, axis[0], nr), axis[2]);
  sq_value *scale = read_state(w, NULL, l->scale, NULL, l->make->span);
  x = sq_maker_ewise(&m, SQ_EW_DIV, sq_maker_cast(&m, x, SQ_F32), sq_maker_read(&m, scale, 1, &n));
  m.k->body = sq_maker_cast(&m, sq_maker_ewise(&m, SQ_EW_ROUND, x, SQ_NO_SCALAR), SQ_I8);
  sq_node *made = sq_node_new(g, NULL, SQ_OP_GENERIC, l->make->span, 0, NULL);
  const sq_type *t = &l->make->out[0]->type;
  sq_node_result(g, made, sq_type_make(g, SQ_I8, 3, t->dim), "packed");
  sq_maker_end(&m, made);
  return made;
}
static void make_states(packer *w, layout *l) {
  const char *base = w->g->param.v[l->make->in[0]->def->ref].name;
  sq_node *make = l->make;
  if (w->int8) {
    l->scale = add_state(w, l, scales(w, l), base, "scale");
    make = rounded(w, l);
  }
  l->state = add_state(w, l, make, base, "packed");
}

static void rewrite(packer *w, const use *u) {
  sq_graph *g = w->g;
  layout *l = &w->layout.v[u->layout];
  sq_node *n = u->n;
  if (l->state == NO_STATE) make_states(w, l);
  sq_value *v = read_state(w, NULL, l->state, u->instance, n->span), *scale = NULL;
  v->name = "packed";
  sq_node_insert_before(n, v->def);
  if (w->int8) {
    scale = read_state(w, NULL, l->scale, u->instance, n->span);
    sq_node_insert_before(n, scale->def);
  }
  sq_maker m;
  sq_maker_start_like(&m, g, n);
  const sq_generic *k = n->g;
  uint32_t n_axes = k->n_par + k->n_red;
  uint32_t *axis = SQ_ARRAY(g->arena, uint32_t, n_axes + 1), flat[2] = {SQ_NO_SCALAR, SQ_NO_SCALAR};
  for (uint32_t a = 0; a < n_axes; a++) {
    axis[a] = sq_maker_index(&m, a);
    for (uint32_t j = 0; j < 2; j++) {
      int64_t e;
      if (!((j ? u->k_axes : u->n_axes) >> a & 1)) continue;
      sq_dim_is_const(g->dims, k->axis[a].extent, &e);
      flat[j] = flat[j] == SQ_NO_SCALAR
                    ? axis[a]
                    : sq_maker_ewise(&m, SQ_EW_ADD, combine(&m, SQ_EW_MUL, flat[j], e), axis[a]);
    }
  }
  uint32_t pos[4] = {combine(&m, SQ_EW_FLOORDIV, flat[0], u->panel), flat[1],
                     combine(&m, SQ_EW_MOD, flat[0], u->panel), SQ_NO_SCALAR};
  if (u->pairs) {
    pos[1] = combine(&m, SQ_EW_FLOORDIV, flat[1], 2);
    pos[3] = combine(&m, SQ_EW_MOD, flat[1], 2);
  }
  sq_graft how = {.from = n, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  sq_graft after = how;
  uint32_t a = sq_maker_graft(&m, &how, u->a, sq_maker_map(&m, n));
  uint32_t b = sq_maker_read(&m, v, u->pairs ? 4 : 3, pos);
  if (u->widened || w->int8) b = sq_maker_cast(&m, b, SQ_F32);
  m.k->body = sq_maker_ewise(&m, SQ_EW_MUL, a, b);
  after.acc = sq_maker_acc(&m, sq_monoid_result(SQ_SUM, k->s.v[k->body].dtype));
  if (scale) {
    after.acc = sq_maker_ewise(&m, SQ_EW_MUL, after.acc, sq_maker_read(&m, scale, 1, &flat[0]));
    m.k->post = after.acc;
  }
  if (k->post != SQ_NO_SCALAR) m.k->post = sq_maker_graft(&m, &after, k->post, sq_maker_map(&m, n));
  sq_maker_end(&m, n);
  sq_remark_add(g->ctx, "pack", true, n->span, sq_pass_entry(u->f),
                "weights laid out in panels of %lld columns, once at load%s", (long long)u->panel,
                w->int8    ? ", in 8 bits with a scale for each column"
                : u->pairs ? ", in pairs of rows"
                           : "");
}

bool sq_pass_pack(sq_graph *g, const sq_pass_options *o) {
  if (o->device) return false;
  packer w = {.int8 = o->int8,
              .bf16 = o->machine.bf16,
              .g = g,
              .panel_bytes =
                  PANEL_VECTORS * (o->machine.vector_bytes ? o->machine.vector_bytes : 32)};
  for (uint32_t k = 0; k < g->func.n; k++) {
    w.f = g->func.v[k];
    if (w.f->kind == SQ_FUNC_ENTRY) sq_walk(w.f->body, find, &w);
  }
  bool changed = false;
  for (uint32_t k = 0; k < w.use.n; k++) {
    const use *u = &w.use.v[k];
    if (w.layout.v[u->layout].wanted) {
      rewrite(&w, u);
      changed = true;
    } else {
      sq_remark_add(
          g->ctx, "pack", false, u->n->span, sq_pass_entry(u->f),
          "the weights stay as they are: no product with more than %d rows reads them, and no "
          "scan in its turns",
          FEW_ROWS);
    }
  }
  if (changed) sq_pass_dce(g, o);
  return changed;
}
