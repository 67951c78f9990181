// Elements of values inside a scan as linear (or max-plus) functions of what it carries.
// In: a scan, which carried values are states. Out: terms in a space, or what stands in the way.
#include "passes/linear_inner.h"
#include "passes/questions.h"

enum { MAX_DEPTH = 60, BUDGET = 20000, MAX_TERMS = 64, LOOK_THROUGH = 200 };

// ---- what depends on what ----------------------------------------------------------------------
static uint64_t uses_of(const sq_depends *d, const sq_node *n) {
  uint64_t on = 0;
  for (uint32_t k = 0; k < n->n_in; k++) on |= d->on[n->in[k]->id];
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++) on |= uses_of(d, n->region[r]->nodes.v[k]);
  return on;
}

static void give_all(sq_depends *d, const sq_node *n, uint64_t on) {
  for (uint32_t k = 0; k < n->n_out; k++) d->on[n->out[k]->id] = on;
  for (uint32_t r = 0; r < n->n_region; r++) {
    for (uint32_t k = 0; k < n->region[r]->args.n; k++) d->on[n->region[r]->args.v[k]->id] = on;
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++) give_all(d, n->region[r]->nodes.v[k], on);
  }
}

static void depend_block(sq_depends *d, const sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    const sq_node *n = b->nodes.v[k];
    if (n->op != SQ_OP_IF) {
      give_all(d, n, uses_of(d, n));
      continue;
    }
    for (uint32_t r = 0; r < 2; r++) depend_block(d, n->region[r]);
    for (uint32_t j = 0; j < n->n_out; j++) {
      uint64_t on = d->on[n->in[0]->id];
      for (uint32_t r = 0; r < 2; r++) on |= d->on[sq_block_end(n->region[r])->in[j]->id];
      d->on[n->out[j]->id] = on;
    }
  }
}

sq_depends sq_depends_make(sq_graph *g, sq_node *scan) {
  sq_depends d = {.g = g, .scan = scan, .n_values = g->n_values};
  d.on = SQ_ARRAY(g->arena, uint64_t, g->n_values + 1);
  const sq_block *b = scan->region[0];
  for (uint32_t k = 0; k < scan->n_carried; k++) d.on[b->args.v[1 + k]->id] = 1ull << k;
  depend_block(&d, b);
  return d;
}

uint64_t sq_depends_on(const sq_depends *d, const sq_value *v) {
  return v->id < d->n_values ? d->on[v->id] : 0;
}

const char *sq_state_name(const sq_depends *d, uint32_t state) {
  uint32_t n = d->scan->n_carried, k = state < n ? state : state - n;
  const sq_value *choice[] = {d->scan->region[0]->args.v[1 + k], d->scan->out[k],
                              sq_block_end(d->scan->region[0])->in[k], d->scan->in[k]};
  for (int j = 0; j < 4; j++)
    if (choice[j]->name) return choice[j]->name;
  return "a state";
}

// ---- the space ---------------------------------------------------------------------------------
// Elementwise work of the scan that is free of the states.
static bool look_through(void *user, const sq_scalar *read, sq_value *v) {
  const sq_lspace *w = user;
  (void)read;
  const sq_block *b = w->d->scan->region[0];
  if (v->def->g->s.n > LOOK_THROUGH || w->m.k->s.n > BUDGET) return false;
  return v->def->block == b && !(sq_depends_on(w->d, v) & w->states);
}

sq_lspace *sq_lspace_make(const sq_depends *d, uint64_t states, bool next, sq_type t) {
  sq_graph *g = d->g;
  sq_lspace *w = SQ_NEW(g->arena, sq_lspace);
  *w = (sq_lspace){.g = g, .d = d, .states = states, .next = next, .cap = 2 * SQ_MAX_RANK};
  w->n_axes = t.rank;
  w->budget = BUDGET;
  sq_maker_start(&w->m, g, t.rank, w->cap - t.rank);
  for (uint32_t a = 0; a < t.rank; a++) w->m.k->axis[a].extent = t.dim[a];
  w->m.inlines = look_through;
  w->m.user = w;
  return w;
}

const sq_scalar *sq_lspace_scalar(const sq_lspace *w, uint32_t id) { return &w->m.k->s.v[id]; }

uint64_t sq_lspace_axes(const sq_lspace *w, uint32_t id) {
  return id == SQ_NO_SCALAR ? 0 : sq_scalar_axes(w->m.k, id);
}

static bool positive(const sq_lspace *w, uint32_t id, int depth) {
  const sq_scalar *s = sq_lspace_scalar(w, id);
  if (depth > 12) return false;
  if (s->kind == SQ_SC_FLOAT) return s->f >= 0;
  if (s->kind == SQ_SC_INT) return s->i >= 0;
  if (s->kind == SQ_SC_SELECT)
    return positive(w, s->a[1], depth + 1) && positive(w, s->a[2], depth + 1);
  if (s->kind == SQ_SC_CAST) return positive(w, s->a[0], depth + 1);
  if (s->kind != SQ_SC_EWISE) return s->kind == SQ_SC_INDEX;
  switch ((int)s->ew) {
  case SQ_EW_EXP:
  case SQ_EW_EXP2:
  case SQ_EW_SIGMOID:
  case SQ_EW_ABS:
  case SQ_EW_SQRT:
  case SQ_EW_RSQRT:
    return true;
  case SQ_EW_MUL:
    if (s->a[0] == s->a[1]) return true;
    return positive(w, s->a[0], depth + 1) && positive(w, s->a[1], depth + 1);
  case SQ_EW_ADD:
  case SQ_EW_DIV:
  case SQ_EW_MIN:
    return positive(w, s->a[0], depth + 1) && positive(w, s->a[1], depth + 1);
  case SQ_EW_MAX:
    return positive(w, s->a[0], depth + 1) || positive(w, s->a[1], depth + 1);
  default:
    return false;
  }
}
bool sq_lspace_positive(const sq_lspace *w, uint32_t id) {
  return id == SQ_NO_SCALAR || positive(w, id, 0);
}

// ---- scalars of one node -----------------------------------------------------------------------
typedef struct instance {
  sq_lspace *w;
  const sq_node *n;
  const uint32_t *axis; // per axis of n: the scalar that stands for its index
  uint32_t guard;       // reads happen only where this holds
  sq_linear acc;
  sq_linear *of; // per scalar of n, those that are done
  bool *done;
} instance;

static uint32_t free_id(const instance *x, uint32_t id) {
  return id == SQ_NO_SCALAR ? id : x->of[id].free;
}

static sq_linear copied(instance *x, sq_scalar s) {
  for (int k = 0; k < 3; k++) s.a[k] = free_id(x, s.a[k]);
  return sq_lin_free(sq_maker_add(&x->w->m, s));
}

static uint32_t inside_of(sq_lspace *w, const sq_value *v, uint32_t n, const uint32_t *pos) {
  uint32_t all = SQ_NO_SCALAR, zero = sq_maker_int(&w->m, SQ_I64, 0);
  for (uint32_t k = 0; k < n; k++) {
    uint32_t end = sq_maker_dim(&w->m, v->type.dim[k]);
    all = sq_maker_and(&w->m, all, sq_maker_ewise(&w->m, SQ_EW_LE, zero, pos[k]));
    all = sq_maker_and(&w->m, all, sq_maker_ewise(&w->m, SQ_EW_LT, pos[k], end));
  }
  return all;
}

static bool is_leaf(const sq_lspace *w, const sq_value *v, uint32_t *state) {
  const sq_node *scan = w->d->scan;
  const sq_block *b = scan->region[0];
  if (!v->def && v->block == b && v->index > 0) {
    *state = v->index - 1;
    return w->states >> *state & 1;
  }
  if (!w->next || !v->def) return false;
  const sq_node *end = sq_block_end(b);
  for (uint32_t k = 0; k < scan->n_carried; k++) {
    *state = scan->n_carried + k;
    if (end->in[k] == v && v->def->block == b) return true;
  }
  return false;
}

static bool is_free(const sq_lspace *w, const sq_value *v) {
  uint32_t state;
  return !is_leaf(w, v, &state) && !(sq_depends_on(w->d, v) & w->states);
}

static sq_linear read_free(instance *x, sq_scalar s, const uint32_t *pos) {
  sq_maker *m = &x->w->m;
  s.operand = sq_maker_operand(m, x->n->in[s.operand]);
  s.guard = sq_maker_and(m, x->guard, free_id(x, s.guard));
  s.other = free_id(x, s.other);
  s.pos = pos;
  return sq_lin_free(sq_maker_add(m, s));
}

static sq_linear read_value(instance *x, const sq_scalar *s) {
  sq_lspace *w = x->w;
  sq_value *v = x->n->in[s->operand];
  uint32_t *pos = SQ_ARRAY(w->g->arena, uint32_t, s->n_pos + 1);
  for (uint32_t k = 0; k < s->n_pos; k++) {
    const sq_linear *p = &x->of[s->pos[k]];
    if (p->alg != SQ_ALG_FREE)
      return sq_lin_none(w, x->n, "a place that depends on %s", sq_lin_names(w, p));
    pos[k] = sq_maker_cast(&w->m, p->free, SQ_I64);
  }
  const uint32_t part[] = {s->guard, s->other};
  for (int k = 0; k < 2; k++)
    if (part[k] != SQ_NO_SCALAR && x->of[part[k]].alg != SQ_ALG_FREE)
      return sq_lin_none(w, x->n, "a read that depends on %s", sq_lin_names(w, &x->of[part[k]]));
  if (is_free(w, v)) return read_free(x, *s, pos);
  if (s->site != SQ_NO_SITE) return sq_lin_none(w, x->n, "a place in the state that is tested");
  sq_linear f = sq_linear_at(w, v, s->n_pos, pos);
  if (f.alg == SQ_ALG_NONE) return f;
  if (s->other != SQ_NO_SCALAR) {
    uint32_t in = inside_of(w, v, s->n_pos, pos);
    sq_linear other = sq_lin_free(free_id(x, s->other));
    if (in != SQ_NO_SCALAR) f = sq_lin_chosen(w, x->n, in, &f, &other, s->dtype);
  }
  if (s->guard == SQ_NO_SCALAR || f.alg == SQ_ALG_NONE) return f;
  sq_linear zero = sq_lin_free(sq_lin_constant(w, s->dtype, 0));
  return sq_lin_chosen(w, x->n, free_id(x, s->guard), &f, &zero, s->dtype);
}

static sq_linear product(instance *x, const sq_linear *a, const sq_linear *b) {
  sq_lspace *w = x->w;
  if (a->alg == SQ_ALG_FREE) return sq_lin_scaled(w, x->n, b, a->free);
  if (b->alg == SQ_ALG_FREE) return sq_lin_scaled(w, x->n, a, b->free);
  const char *left = sq_lin_names(w, a), *right = sq_lin_names(w, b);
  if (!strcmp(left, right)) return sq_lin_none(w, x->n, "%s multiplied by itself", left);
  return sq_lin_none(w, x->n, "a product of %s and %s", left, right);
}

static sq_linear ewise(instance *x, const sq_scalar *s) {
  sq_lspace *w = x->w;
  const sq_linear *a = &x->of[s->a[0]], *b = NULL;
  if (sq_ewise_table[s->ew].arity > 1) b = &x->of[s->a[1]];
  if (a->alg == SQ_ALG_NONE) return *a;
  if (b && b->alg == SQ_ALG_NONE) return *b;
  const sq_linear *state = a->alg != SQ_ALG_FREE ? a : b;
  bool truth = s->dtype == SQ_BOOL;
  switch ((int)s->ew) {
  case SQ_EW_ADD:
    return sq_lin_add(w, x->n, a, b, s->dtype);
  case SQ_EW_SUB: {
    sq_linear minus = b->alg == SQ_ALG_FREE
                          ? sq_lin_free(sq_maker_ewise(&w->m, SQ_EW_NEG, b->free, SQ_NO_SCALAR))
                          : sq_lin_negated(w, b, s->dtype);
    return sq_lin_add(w, x->n, a, &minus, s->dtype);
  }
  case SQ_EW_NEG:
    return sq_lin_negated(w, a, s->dtype);
  case SQ_EW_MUL:
    return product(x, a, b);
  case SQ_EW_DIV:
    if (b->alg != SQ_ALG_FREE) break;
    return sq_lin_scaled(
        w, x->n, a, sq_maker_ewise(&w->m, SQ_EW_DIV, sq_lin_constant(w, s->dtype, 1), b->free));
  case SQ_EW_MAX:
    return sq_lin_extreme(w, x->n, a, b, SQ_ALG_MAX);
  case SQ_EW_MIN:
    return sq_lin_extreme(w, x->n, a, b, SQ_ALG_MIN);
  case SQ_EW_OR:
  case SQ_EW_BITOR:
    if (truth) return sq_lin_extreme(w, x->n, a, b, SQ_ALG_MAX);
    break;
  case SQ_EW_AND:
  case SQ_EW_BITAND:
    if (truth) return sq_lin_extreme(w, x->n, a, b, SQ_ALG_MIN);
    break;
  default:
    break;
  }
  if (s->ew == SQ_EW_DIV) return sq_lin_none(w, x->n, "a division by %s", sq_lin_names(w, b));
  if (sq_ewise_table[s->ew].kind == 'C')
    return sq_lin_none(w, x->n, "a comparison of %s", sq_lin_names(w, state));
  return sq_lin_none(w, x->n, "`%s` around %s", sq_ewise_table[s->ew].name, sq_lin_names(w, state));
}

static sq_linear scalar(instance *x, const sq_scalar *s) {
  sq_lspace *w = x->w;
  if (s->kind == SQ_SC_INDEX) return sq_lin_free(x->axis[s->axis]);
  if (s->kind == SQ_SC_ACC) return x->acc;
  if (s->kind == SQ_SC_READ) return read_value(x, s);
  uint32_t n = s->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[s->ew].arity
               : s->kind == SQ_SC_SELECT ? 3
               : s->kind == SQ_SC_CAST   ? 1
                                         : 0;
  bool all_free = true;
  for (uint32_t k = 0; k < n; k++) all_free &= x->of[s->a[k]].alg == SQ_ALG_FREE;
  if (all_free) return copied(x, *s);
  if (s->kind == SQ_SC_EWISE) return ewise(x, s);
  for (uint32_t k = 0; k < n; k++)
    if (x->of[s->a[k]].alg == SQ_ALG_NONE) return x->of[s->a[k]];
  if (s->kind == SQ_SC_CAST)
    return sq_lin_converted(w, x->n, &x->of[s->a[0]], x->n->g->s.v[s->a[0]].dtype, s->dtype);
  if (x->of[s->a[0]].alg != SQ_ALG_FREE)
    return sq_lin_none(w, x->n, "a choice by %s", sq_lin_names(w, &x->of[s->a[0]]));
  return sq_lin_chosen(w, x->n, x->of[s->a[0]].free, &x->of[s->a[1]], &x->of[s->a[2]], s->dtype);
}

static void need(uint32_t id, void *user) { ((bool *)user)[id] = true; }

static sq_linear root_of(instance *x, uint32_t root) {
  const sq_generic *k = x->n->g;
  sq_lspace *w = x->w;
  if (!x->of) {
    x->of = SQ_ARRAY(w->g->arena, sq_linear, k->s.n + 1);
    x->done = SQ_ARRAY(w->g->arena, bool, k->s.n + 1);
  }
  bool *used = SQ_ARRAY(w->g->arena, bool, root + 1);
  used[root] = true;
  for (uint32_t j = root + 1; j-- > 0;) // references go to smaller ids
    if (used[j] && !x->done[j]) sq_scalar_refs(&k->s.v[j], need, used);
  for (uint32_t j = 0; j <= root; j++) {
    if (!used[j] || x->done[j]) continue;
    if (--w->budget < 0) return sq_lin_none(w, x->n, "more work than is looked at");
    x->of[j] = scalar(x, &k->s.v[j]);
    if (x->of[j].term.n > MAX_TERMS)
      return sq_lin_none(w, x->n, "a sum of many elements of the state");
    x->done[j] = true;
  }
  return x->of[root];
}

// ---- nodes -------------------------------------------------------------------------------------
static bool new_axis(sq_lspace *w, sq_dim extent, uint32_t *index) {
  if (w->n_axes == w->cap) return false;
  w->m.k->axis[w->n_axes].extent = extent;
  *index = sq_maker_index(&w->m, w->n_axes++);
  return true;
}

// What a reduction makes of its body: the terms, bound over the new axes.
static sq_linear reduced(instance *x, const sq_linear *body, uint64_t bound, uint32_t domain,
                         sq_monoid monoid, sq_dtype type) {
  sq_lspace *w = x->w;
  sq_algebra alg = monoid == SQ_SUM || monoid == SQ_MEAN  ? SQ_ALG_SUM
                   : monoid == SQ_MAX || monoid == SQ_ANY ? SQ_ALG_MAX
                   : monoid == SQ_MIN || monoid == SQ_ALL ? SQ_ALG_MIN
                                                          : SQ_ALG_NONE;
  if (body->alg == SQ_ALG_NONE) return *body;
  if (alg == SQ_ALG_NONE || (monoid == SQ_MEAN && domain != SQ_NO_SCALAR))
    return sq_lin_none(w, x->n, "`%s` over %s", sq_monoid_names[monoid], sq_lin_names(w, body));
  sq_linear f = alg == SQ_ALG_SUM ? sq_lin_as_sum(w, body) : sq_lin_as_extreme(w, x->n, body, alg);
  if (f.alg == SQ_ALG_NONE) return f;
  if (f.alg != alg)
    return sq_lin_none(w, x->n, "a sum over a maximum or minimum of %s", sq_lin_names(w, &f));
  sq_linear r = {.alg = alg};
  for (uint32_t k = 0; k < f.term.n; k++) {
    if (domain == SQ_NO_SCALAR)
      sq_lin_push(w, &r, f.term.v[k]);
    else
      sq_lin_push_where(w, &r, &f.term.v[k], domain, true, type);
    r.term.v[k].bound |= bound;
  }
  return r;
}

static sq_linear mean_of(instance *x, const sq_linear *sum, sq_dtype type) {
  sq_lspace *w = x->w;
  const sq_generic *k = x->n->g;
  sq_dim count = sq_dim_const(w->g->dims, 1);
  for (uint32_t a = 0; a < k->n_red; a++)
    count = sq_dim_mul(w->g->dims, count, k->axis[k->n_par + a].extent);
  uint32_t n = sq_maker_cast(&w->m, sq_maker_dim(&w->m, count), type);
  return sq_lin_scaled(w, x->n, sum,
                       sq_maker_ewise(&w->m, SQ_EW_DIV, sq_lin_constant(w, type, 1), n));
}

static sq_linear generic_at(sq_lspace *w, const sq_node *n, const uint32_t *pos) {
  const sq_generic *k = n->g;
  instance x = {.w = w, .n = n, .guard = SQ_NO_SCALAR};
  if (k->keyed) return sq_lin_none(w, n, "a sum by keys around the state");
  uint32_t *axis = SQ_ARRAY(w->g->arena, uint32_t, k->n_par + k->n_red + 1);
  memcpy(axis, pos, k->n_par * sizeof *axis);
  uint64_t bound = 0;
  for (uint32_t a = 0; a < k->n_red; a++) {
    if (!new_axis(w, k->axis[k->n_par + a].extent, &axis[k->n_par + a]))
      return sq_lin_none(w, n, "more sums than are looked at");
    bound |= 1ull << (w->n_axes - 1);
  }
  x.axis = axis;
  if (!k->n_red) {
    if (k->post == SQ_NO_SCALAR) return root_of(&x, k->body);
    x.acc = root_of(&x, k->body);
    return x.acc.alg == SQ_ALG_NONE ? x.acc : root_of(&x, k->post);
  }
  uint32_t domain = SQ_NO_SCALAR;
  for (uint32_t j = 0; j < k->domain.n; j++) {
    sq_linear c = root_of(&x, k->domain.v[j]);
    if (c.alg != SQ_ALG_FREE) return sq_lin_none(w, n, "a domain that depends on the state");
    domain = sq_maker_and(&w->m, domain, c.free);
  }
  x.guard = domain;
  sq_dtype type = k->s.v[k->body].dtype;
  sq_linear body = root_of(&x, k->body);
  x.acc = reduced(&x, &body, bound, domain, k->monoid, type);
  if (x.acc.alg != SQ_ALG_NONE && k->monoid == SQ_MEAN) x.acc = mean_of(&x, &x.acc, type);
  x.guard = SQ_NO_SCALAR;
  if (x.acc.alg == SQ_ALG_NONE || k->post == SQ_NO_SCALAR) return x.acc;
  return root_of(&x, k->post);
}

// Element `pos` of the updated value: what is written there, or what was.
static sq_linear update_at(sq_lspace *w, const sq_node *n, const uint32_t *pos) {
  const sq_generic *k = n->g;
  sq_linear old = sq_linear_at(w, n->in[0], k->n_pos, pos);
  if (k->n_red || k->domain.n || k->pos_site != SQ_NO_SITE)
    return sq_lin_none(w, n, "places written that are not known before");
  instance x = {.w = w, .n = n, .guard = SQ_NO_SCALAR};
  uint32_t *axis = SQ_ARRAY(w->g->arena, uint32_t, k->n_par + 1), written = SQ_NO_SCALAR;
  for (uint32_t a = 0; a < k->n_par; a++) axis[a] = SQ_NO_SCALAR;
  for (uint32_t j = 0; j < k->n_pos; j++) {
    const sq_scalar *p = &k->s.v[k->pos[j]];
    if (p->kind == SQ_SC_INDEX && axis[p->axis] == SQ_NO_SCALAR) axis[p->axis] = pos[j];
  }
  for (uint32_t a = 0; a < k->n_par; a++)
    if (axis[a] == SQ_NO_SCALAR)
      return sq_lin_none(w, n, "places written that are not known before");
  x.axis = axis;
  for (uint32_t j = 0; j <= k->n_pos; j++) {
    uint32_t id = j < k->n_pos ? k->pos[j] : k->write_guard;
    if (id == SQ_NO_SCALAR) continue;
    sq_linear p = root_of(&x, id);
    if (p.alg != SQ_ALG_FREE) return sq_lin_none(w, n, "a place that depends on the state");
    uint32_t c = p.free;
    if (j < k->n_pos) {
      c = sq_maker_cast(&w->m, c, SQ_I64);
      if (c == pos[j]) continue;
      c = sq_maker_ewise(&w->m, SQ_EW_EQ, c, pos[j]);
    }
    written = sq_maker_and(&w->m, written, c);
  }
  // An axis shorter than the target's covers a part of it.
  for (uint32_t a = 0; a < k->n_par; a++)
    written = sq_maker_and(
        &w->m, written,
        sq_maker_ewise(&w->m, SQ_EW_LT, axis[a], sq_maker_dim(&w->m, k->axis[a].extent)));
  x.guard = written;
  sq_linear body = root_of(&x, sq_scalar_root(k));
  if (body.alg == SQ_ALG_NONE || written == SQ_NO_SCALAR) return body;
  if (old.alg == SQ_ALG_NONE) return old;
  return sq_lin_chosen(w, n, written, &body, &old, k->s.v[k->body].dtype);
}

static sq_linear cumulate_at(sq_lspace *w, const sq_node *n, const uint32_t *pos) {
  uint32_t at[SQ_MAX_RANK], rank = n->in[0]->type.rank;
  memcpy(at, pos, rank * sizeof *at);
  if (!new_axis(w, n->in[0]->type.dim[n->axis], &at[n->axis]))
    return sq_lin_none(w, n, "more sums than are looked at");
  uint64_t bound = 1ull << (w->n_axes - 1);
  instance x = {.w = w, .n = n, .guard = SQ_NO_SCALAR};
  uint32_t domain = sq_maker_ewise(&w->m, SQ_EW_LE, at[n->axis], pos[n->axis]);
  sq_linear body = sq_linear_at(w, n->in[0], rank, at);
  return reduced(&x, &body, bound, domain, n->monoid, n->in[0]->type.dtype);
}

static sq_linear if_at(sq_lspace *w, const sq_node *n, uint32_t result, uint32_t rank,
                       const uint32_t *pos) {
  if (!is_free(w, n->in[0])) return sq_lin_none(w, n, "a branch by the state");
  uint32_t c = sq_maker_read(&w->m, n->in[0], 0, NULL);
  sq_linear side[2];
  for (int r = 0; r < 2; r++) {
    side[r] = sq_linear_at(w, sq_block_end(n->region[r])->in[result], rank, pos);
    if (side[r].alg == SQ_ALG_NONE) return side[r];
  }
  return sq_lin_chosen(w, n, c, &side[0], &side[1], n->out[result]->type.dtype);
}

sq_linear sq_linear_at(sq_lspace *w, sq_value *v, uint32_t n, const uint32_t *pos) {
  uint32_t state;
  if (is_leaf(w, v, &state)) return sq_lin_state(w, state, n, pos);
  if (is_free(w, v)) return sq_lin_free(sq_maker_read(&w->m, v, n, pos));
  const sq_node *def = v->def;
  if (!def) return (sq_linear){.alg = SQ_ALG_NONE, .why = "a loop around the state"};
  if (w->depth > MAX_DEPTH) return sq_lin_none(w, def, "more work than is looked at");
  w->depth++;
  sq_linear f;
  if (def->op == SQ_OP_GENERIC)
    f = generic_at(w, def, pos);
  else if (def->op == SQ_OP_UPDATE)
    f = update_at(w, def, pos);
  else if (def->op == SQ_OP_CUMULATE)
    f = cumulate_at(w, def, pos);
  else if (def->op == SQ_OP_IF)
    f = if_at(w, def, v->index, n, pos);
  else if (sq_node_is_loop(def))
    f = sq_lin_none(w, def, "a loop inside, around the state");
  else
    f = sq_lin_none(w, def, "`%s` of the state", sq_op_table[def->op].name);
  w->depth--;
  return f;
}

sq_linear sq_linear_of(sq_lspace *w, sq_value *v) {
  uint32_t pos[SQ_MAX_RANK];
  for (uint32_t k = 0; k < v->type.rank; k++) pos[k] = sq_maker_index(&w->m, k);
  return sq_linear_at(w, v, v->type.rank, pos);
}
