// The descriptor of a planned graph. In: the graph and the target. Out: an sq_abi_model in the
// graph's arena: entries with their shapes, tests and arena sizes as postfix programs, parameters
// with every name to look for, states, sites as source places. No code yet.
#include "codegen/cpu/driver.h"

typedef struct describer {
  sq_graph *g;
  sq_arena *a;
  const sq_target *t;
} describer;

// ---- tensors and entries -----------------------------------------------------------------------
static sq_abi_tensor tensor(const describer *d, const char *name, sq_type t, uint32_t binds) {
  sq_abi_expr *dim = SQ_ARRAY(d->a, sq_abi_expr, t.rank + 1);
  // Live extents are not known when buffers are made: an output has its storage's shape.
  for (uint32_t k = 0; k < t.rank; k++)
    dim[k] = sq_expr_make(d->g->dims, sq_dim_storage(d->g->dims, t.dim[k]), d->a);
  return (sq_abi_tensor){
      .name = name ? name : "", .dtype = t.dtype, .rank = t.rank, .dim = dim, .binds = binds};
}

static const sq_abi_tensor *inputs(const describer *d, const sq_func *f) {
  uint32_t n = f->body->args.n;
  sq_abi_tensor *t = SQ_ARRAY(d->a, sq_abi_tensor, n + 1);
  for (uint32_t k = 0; k < n; k++) {
    const sq_value *v = f->body->args.v[k];
    const char *name = k < f->in_names.n ? f->in_names.v[k] : v->name;
    t[k] = tensor(d, name, v->type, k < f->in_sym.n ? f->in_sym.v[k].i : 0);
  }
  return t;
}

static const sq_abi_tensor *outputs(const describer *d, const sq_func *f, uint32_t *n) {
  const sq_node *end = sq_block_end(f->body);
  *n = end ? end->n_in : 0;
  sq_abi_tensor *t = SQ_ARRAY(d->a, sq_abi_tensor, *n + 1);
  for (uint32_t k = 0; k < *n; k++)
    t[k] = tensor(d, k < f->out_names.n ? f->out_names.v[k] : "", end->in[k]->type, 0);
  return t;
}

// Parameters and states that a function touches, itself and through calls.
typedef struct touched {
  bool *param, *state, *seen; // by id; functions by index in the graph
  sq_graph *g;
} touched;

static void touch_func(touched *s, sq_func *f);
static void touch_node(sq_node *n, void *user) {
  touched *s = user;
  if (n->op == SQ_OP_PARAM || n->op == SQ_OP_PARAM_WRITE) s->param[n->ref] = true;
  if (sq_op_table[n->op].flags & SQ_OPF_S) {
    if (n->op != SQ_OP_RESET) s->state[n->ref] = true;
    for (uint32_t k = 0; n->op == SQ_OP_RESET && k < s->g->state.n; k++) {
      if (s->g->state.v[k].kept || s->g->state.v[k].derived) continue;
      s->state[k] = true;
    }
  }
  if (n->op == SQ_OP_CALL && n->func) touch_func(s, n->func);
}
static void touch_func(touched *s, sq_func *f) {
  for (uint32_t k = 0; k < s->g->func.n; k++) {
    if (s->g->func.v[k] != f || s->seen[k]) continue;
    s->seen[k] = true;
    sq_walk(f->body, touch_node, s);
  }
}

// What the first values of touched states are made of is needed too.
static void touch_inits(touched *s) {
  for (bool again = true; again;) {
    again = false;
    for (uint32_t k = 0; k < s->g->state.n; k++) {
      sq_func *init = s->g->state.v[k].init;
      if (!s->state[k] || !init) continue;
      for (uint32_t j = 0; j < s->g->func.n; j++)
        if (s->g->func.v[j] == init && !s->seen[j]) again = true;
      touch_func(s, init);
    }
  }
}

static const uint32_t *listed(const describer *d, const bool *is, uint32_t n, uint32_t *count) {
  uint32_t *list = SQ_ARRAY(d->a, uint32_t, n + 1);
  *count = 0;
  for (uint32_t k = 0; k < n; k++)
    if (is[k]) list[(*count)++] = k;
  return list;
}

// What the function asks for, and the lower bounds of the sizes that its inputs bind.
static const sq_abi_require *requirements(const describer *d, const sq_func *f, uint32_t *n) {
  sq_dims *ds = d->g->dims;
  uint32_t n_sym = sq_sym_count(ds);
  sq_abi_require *r = SQ_ARRAY(d->a, sq_abi_require, f->requires_.n + n_sym + 1);
  *n = f->requires_.n;
  for (uint32_t s = 1; s <= n_sym; s++) {
    const sq_sym_info *info = sq_sym_at(ds, (sq_sym){s});
    sq_dim size = sq_dim_sym(ds, (sq_sym){s});
    bool bound = false;
    for (uint32_t k = 0; k < f->body->args.n; k++) {
      const sq_type *t = &f->body->args.v[k]->type;
      for (uint32_t a = 0; a < t->rank; a++) bound |= sq_dim_mentions(ds, t->dim[a], (sq_sym){s});
    }
    if (!bound || info->kind != SQ_SYM_SIZE || info->low <= 0) continue;
    r[(*n)++] = (sq_abi_require){.a = sq_expr_make(ds, sq_dim_const(ds, info->low), d->a),
                                 .b = sq_expr_make(ds, size, d->a),
                                 .site = UINT32_MAX};
  }
  for (uint32_t k = 0; k < f->requires_.n; k++) {
    const sq_require *q = &f->requires_.v[k];
    r[k] = (sq_abi_require){.a = sq_expr_make(d->g->dims, q->a, d->a),
                            .b = sq_expr_make(d->g->dims, q->b, d->a),
                            .equal = q->equal,
                            .site = q->site};
  }
  return r;
}

static sq_abi_entry entry(const describer *d, sq_func *f) {
  sq_graph *g = d->g;
  touched s = {.param = SQ_ARRAY(d->a, bool, g->param.n + 1),
               .state = SQ_ARRAY(d->a, bool, g->state.n + 1),
               .seen = SQ_ARRAY(d->a, bool, g->func.n + 1),
               .g = g};
  touch_func(&s, f);
  touch_inits(&s);
  sq_abi_entry e = {
      .name = f->name, .n_in = f->body->args.n, .in = inputs(d, f), .writes = f->writes};
  e.require = requirements(d, f, &e.n_require);
  e.out = outputs(d, f, &e.n_out);
  e.param = listed(d, s.param, g->param.n, &e.n_param);
  e.state = listed(d, s.state, g->state.n, &e.n_state);
  sq_layout l = {0};
  if (f->planned && d->t->triple) l = sq_layout_make(g, d->t, f, d->a);
  e.arena = sq_expr_arena(g->dims, &l, d->a);
  return e;
}

static const sq_abi_entry *entries(const describer *d, sq_func_kind kind, uint32_t *n) {
  sq_abi_entry *e = SQ_ARRAY(d->a, sq_abi_entry, d->g->func.n + 1);
  *n = 0;
  for (uint32_t k = 0; k < d->g->func.n; k++)
    if (d->g->func.v[k]->kind == kind) e[(*n)++] = entry(d, d->g->func.v[k]);
  return e;
}

// ---- parameters, states, sites -----------------------------------------------------------------
// Dimensions that must be constants; -1 for another (a growing axis).
static const int64_t *constants(const describer *d, sq_type t) {
  int64_t *dim = SQ_ARRAY(d->a, int64_t, t.rank + 1);
  for (uint32_t k = 0; k < t.rank; k++)
    if (!sq_dim_is_const(d->g->dims, t.dim[k], &dim[k])) dim[k] = -1;
  return dim;
}

// Textual IR may leave the names of instances out: the table's name then, with the number.
static const char *const *default_names(const describer *d, const char *name, uint32_t count,
                                        bool instances) {
  const char **names = SQ_ARRAY(d->a, const char *, count + 1);
  for (uint32_t k = 0; k < count; k++)
    names[k] = instances ? sq_arena_fmt(d->a, "%s.%u", name, k) : name;
  return names;
}

static const sq_abi_param *params(const describer *d) {
  sq_graph *g = d->g;
  sq_abi_param *p = SQ_ARRAY(d->a, sq_abi_param, g->param.n + 1);
  const uint32_t *row = sq_rows_param(g, d->a);
  for (uint32_t k = 0; k < g->param.n; k++) {
    const sq_param *q = &g->param.v[k];
    bool named = q->names && q->n_alt;
    p[k] = (sq_abi_param){.name = q->name,
                          .dtype = q->type.dtype,
                          .rank = q->type.rank,
                          .dim = constants(d, q->type),
                          .count = q->count,
                          .n_alt = named ? q->n_alt : 1,
                          .names = named ? q->names
                                         : default_names(d, q->name, q->count, q->has_instances),
                          .row = row[k],
                          .written = q->written,
                          .frozen = q->frozen};
  }
  return p;
}

static uint32_t init_index(const sq_graph *g, const sq_func *init) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < g->func.n; k++) {
    if (g->func.v[k] == init) return n;
    if (g->func.v[k]->kind == SQ_FUNC_INIT) n++;
  }
  return UINT32_MAX;
}

static const sq_abi_state *states(const describer *d) {
  sq_graph *g = d->g;
  sq_abi_state *s = SQ_ARRAY(d->a, sq_abi_state, g->state.n + 1);
  const uint32_t *row = sq_rows_state(g, d->a);
  for (uint32_t k = 0; k < g->state.n; k++) {
    const sq_state *q = &g->state.v[k];
    s[k] = (sq_abi_state){.name = q->name,
                          .dtype = q->type.dtype,
                          .rank = q->type.rank,
                          .dim = constants(d, q->type),
                          .count = q->count,
                          .names = q->names ? q->names
                                            : default_names(d, q->name, q->count, q->has_instances),
                          .row = row[k],
                          .grow_axis = q->grow.i ? (int32_t)q->grow_axis : -1,
                          .grow_sym = q->grow.i,
                          .kept = q->kept,
                          .derived = q->derived,
                          .init = init_index(g, q->init),
                          .has_instances = q->has_instances};
  }
  return s;
}

// The line of source in which the span begins.
static const char *source_line(const describer *d, const sq_source *s, sq_span span) {
  if (!s->text || span.begin > s->size) return "";
  size_t from = span.begin, to = span.begin;
  while (from > 0 && s->text[from - 1] != '\n') from--;
  while (to < s->size && s->text[to] != '\n' && s->text[to] != '\r') to++;
  return sq_arena_str(d->a, s->text + from, to - from);
}

static const sq_abi_site *sites(const describer *d) {
  sq_graph *g = d->g;
  const sq_diags *diags = &g->ctx->diags;
  sq_abi_site *s = SQ_ARRAY(d->a, sq_abi_site, g->site.n + 1);
  for (uint32_t k = 0; k < g->site.n; k++) {
    sq_span span = g->site.v[k].span;
    bool known = span.file > 0 && span.file < diags->sources.n;
    const sq_source *src = known ? &diags->sources.v[span.file] : NULL;
    s[k].file = src ? src->name : "";
    s[k].source = src ? source_line(d, src, span) : "";
    s[k].message = g->site.v[k].message;
    if (src) sq_span_line(diags, span, &s[k].line, &s[k].column);
  }
  return s;
}

sq_abi_model *sq_codegen_describe(sq_graph *g, const sq_target *t) {
  describer d = {g, g->arena, t};
  sq_abi_model *m = SQ_NEW(g->arena, sq_abi_model);
  const char **sym = SQ_ARRAY(d.a, const char *, sq_sym_count(g->dims) + 1);
  m->n_sym = sq_sym_count(g->dims);
  for (uint32_t k = 0; k < m->n_sym;
       k++) { // "N" for the second entry's N too, which is "N.1" in IR
    const char *name = sq_sym_at(g->dims, (sq_sym){k + 1})->name;
    sym[k] = sq_arena_str(d.a, name, strcspn(name, "."));
  }
  m->version = SQ_ABI_VERSION;
  m->name = g->name ? g->name : "model";
  m->float_dtype = g->float_type;
  m->sym_names = sym;
  m->entry = entries(&d, SQ_FUNC_ENTRY, &m->n_entry);
  m->init = entries(&d, SQ_FUNC_INIT, &m->n_init);
  m->param = params(&d);
  m->n_param = g->param.n;
  m->state = states(&d);
  m->n_state = g->state.n;
  m->site = sites(&d);
  m->n_site = g->site.n;
  m->config = "";
  m->cpu = t->cpu ? t->cpu : "";
  m->device = t->device == SQ_DEVICE_CUDA ? SQ_ABI_CUDA : SQ_ABI_HOST;
  if (t->triple) m->feature = sq_target_needs(t, d.a, &m->n_feature);
  return m;
}
