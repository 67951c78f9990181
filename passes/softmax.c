// softmax: hand-written forms that lose digits or overflow become stable ones.
//
//   %z = generic (%x) [i < N] sum [j < M] { exp(%x[i, j]) }
//   %p = generic (%x, %z) [i < N, j < M] { exp(%x[i, j]) / %z[i] }
// becomes
//   %m = generic (%x) [i < N] max [j < M] { %x[i, j] }
//   %e = generic (%x, %m) [i < N, j < M] { exp(%x[i, j] - %m[i]) }
//   %s = generic (%e) [i < N] sum [j < M] { %e[i, j] }
//   %p = generic (%e, %s) [i < N, j < M] { %e[i, j] / %s[i] }
//
//   log(%z[i]) with %z = sum of exp(...)                     becomes a logsumexp
//   mean(x x) - mean(x) mean(x)                              becomes the mean of (x - mean(x))^2
//
// Nothing is known by name: numerator and sum are compared as expressions over the same indices,
// with all elementwise operations between them looked through, so it does not matter how many steps
// the source takes. What is close but does not fit (something added to the sum) is said in a
// remark.
#include "passes/maker.h"
#include "passes/questions.h"

enum { DEAR = 4 };

typedef struct stabiliser {
  sq_graph *g;
  sq_func *f;
  bool changed;
} stabiliser;

// ---- expressions over the axes of one node -----------------------------------------------------
// A scratch generic with the axes of node n and `extra` more: whatever is added is looked through.
typedef struct space {
  sq_maker m;
  sq_node view; // what was made, as a node to copy from
  const sq_node *n;
  uint32_t *axis; // ids of the indices
  uint32_t *map;
} space;

static bool look_through(void *user, const sq_scalar *read, sq_value *v) {
  (void)user;
  (void)read;
  const sq_node *p = v->def;
  for (uint32_t k = 0; k < p->n_in; k++) // states may have been written since
    if (p->in[k]->def && p->in[k]->def->op == SQ_OP_STATE_READ) return false;
  return p->g->s.n < 200;
}

static space open_space(sq_graph *g, const sq_node *n, const sq_axis *extra, uint32_t n_extra) {
  space s = {.n = n};
  uint32_t n_axes = n->g->n_par + n_extra;
  sq_maker_start(&s.m, g, n->g->n_par, n_extra);
  if (n->g->n_par) memcpy(s.m.k->axis, n->g->axis, n->g->n_par * sizeof(sq_axis));
  if (n_extra) memcpy(s.m.k->axis + n->g->n_par, extra, n_extra * sizeof(sq_axis));
  s.m.inlines = look_through;
  s.axis = SQ_ARRAY(g->arena, uint32_t, n_axes + 1);
  for (uint32_t a = 0; a < n_axes; a++) s.axis[a] = sq_maker_index(&s.m, a);
  s.map = sq_maker_map(&s.m, n);
  return s;
}

static uint32_t in_space(space *s, uint32_t id) {
  sq_graft how = {.from = s->n, .axis = s->axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  return sq_maker_graft(&s->m, &how, id, s->map);
}

static const sq_scalar *at(const space *s, uint32_t id) { return &s->m.k->s.v[id]; }

static const sq_node *view(space *s) {
  s->view = (sq_node){.op = SQ_OP_GENERIC, .g = s->m.k, .n_in = s->m.in.n, .in = s->m.in.v};
  return &s->view;
}

static bool is_ewise(const space *s, uint32_t id, sq_ewise e) {
  return at(s, id)->kind == SQ_SC_EWISE && at(s, id)->ew == e;
}

// The generic whose value the scalar reads at plain axes of the space, each once; `axes`: which.
static sq_node *reduction_read(space *s, uint32_t id, uint32_t *axes) {
  const sq_scalar *r = at(s, id);
  if (r->kind != SQ_SC_READ || r->guard != SQ_NO_SCALAR || r->other != SQ_NO_SCALAR ||
      r->site != SQ_NO_SITE)
    return NULL;
  sq_node *z = s->m.in.v[r->operand]->def;
  if (!z || z->op != SQ_OP_GENERIC || !z->g->n_red || z->g->keyed || z->g->n_par != r->n_pos)
    return NULL;
  if (!sq_read_is_plain(s->m.g, s->m.k, r, axes)) return NULL;
  for (uint32_t k = 0; k < r->n_pos; k++)
    if (axes[k] >= s->n->g->n_par ||
        !sq_dim_same(s->m.k->axis[axes[k]].extent, z->g->axis[k].extent))
      return NULL;
  return z;
}

// Scalar `id` of z in the space: its parallel axes at `axes`, its reduced ones at `red`.
static uint32_t from_reduction(space *s, const sq_node *z, const uint32_t *axes,
                               const uint32_t *red, uint32_t id) {
  uint32_t n = z->g->n_par + z->g->n_red, *pos = SQ_ARRAY(s->m.g->arena, uint32_t, n + 1);
  for (uint32_t k = 0; k < n; k++)
    pos[k] = s->axis[k < z->g->n_par ? axes[k] : red[k - z->g->n_par]];
  sq_graft how = {.from = z, .axis = pos, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  return sq_maker_graft(&s->m, &how, id, sq_maker_map(&s->m, z));
}

static uint32_t domain_in_space(space *s, const sq_node *z, const uint32_t *axes,
                                const uint32_t *red) {
  uint32_t all = SQ_NO_SCALAR;
  for (uint32_t k = 0; k < z->g->domain.n; k++)
    all = sq_maker_and(&s->m, all, from_reduction(s, z, axes, red, z->g->domain.v[k]));
  return all;
}

// ---- making operations from a space ------------------------------------------------------------
// A new generic before `before` whose axes are par[0..n_par) then red[0..n_red) of the space.
typedef struct made {
  sq_node *n;
  sq_maker m;
  sq_graft how;
  uint32_t *map;
} made;

static made begin_made(space *s, const uint32_t *par, uint32_t n_par, const uint32_t *red,
                       uint32_t n_red) {
  sq_graph *g = s->m.g;
  made d = {0};
  sq_maker_start(&d.m, g, n_par, n_red);
  uint32_t n = s->m.k->n_par + s->m.k->n_red, *axis = SQ_ARRAY(g->arena, uint32_t, n + 1);
  for (uint32_t k = 0; k < n; k++) axis[k] = SQ_NO_SCALAR;
  for (uint32_t k = 0; k < n_par + n_red; k++) {
    uint32_t from = k < n_par ? par[k] : red[k - n_par];
    d.m.k->axis[k] = s->m.k->axis[from];
    axis[from] = sq_maker_index(&d.m, k);
  }
  d.how = (sq_graft){.from = view(s), .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  d.map = sq_maker_map(&d.m, d.how.from);
  return d;
}

static uint32_t put(made *d, uint32_t id) { return sq_maker_graft(&d->m, &d->how, id, d->map); }

static uint32_t put_read(made *d, sq_value *v, const uint32_t *axes, uint32_t n) {
  uint32_t pos[SQ_MAX_RANK];
  for (uint32_t k = 0; k < n; k++) pos[k] = d->how.axis[axes[k]];
  return sq_maker_read(&d->m, v, n, pos);
}

static sq_value *end_made(made *d, sq_node *before, sq_dtype t, const char *name) {
  sq_graph *g = d->m.g;
  sq_node *n = sq_node_new(g, NULL, SQ_OP_GENERIC, before->span, 0, NULL);
  sq_dim dim[SQ_MAX_RANK];
  for (uint32_t k = 0; k < d->m.k->n_par; k++) dim[k] = d->m.k->axis[k].extent;
  sq_value *v = sq_node_result(g, n, sq_type_make(g, t, d->m.k->n_par, dim), name);
  sq_node_insert_before(before, n);
  sq_maker_end(&d->m, n);
  return v;
}

// n made anew with scalar `old` replaced by a read of v at axes of n.
static void replace_scalar(stabiliser *w, sq_node *n, uint32_t old, sq_value *v,
                           const uint32_t *axes) {
  sq_maker m;
  sq_maker_start_like(&m, w->g, n);
  uint32_t n_axes = n->g->n_par + n->g->n_red, pos[SQ_MAX_RANK];
  uint32_t *axis = SQ_ARRAY(w->g->arena, uint32_t, n_axes + 1), *map = sq_maker_map(&m, n);
  for (uint32_t a = 0; a < n_axes; a++) axis[a] = sq_maker_index(&m, a);
  for (uint32_t k = 0; k < v->type.rank; k++) pos[k] = axis[axes[k]];
  map[old] = sq_maker_read(&m, v, v->type.rank, pos);
  sq_graft how = {.from = n, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  sq_node before = *n;
  how.from = &before;
  sq_maker_copy_parts(&m, &how, map);
  sq_maker_end(&m, n);
  w->changed = true;
}

// ---- softmax -----------------------------------------------------------------------------------
// x of exp(x) or select(c, exp(x), 0); the condition in *c.
static uint32_t exponent(const space *s, uint32_t id, uint32_t *c) {
  const sq_scalar *e = at(s, id);
  double zero;
  *c = SQ_NO_SCALAR;
  if (e->kind == SQ_SC_SELECT && sq_scalar_float(s->m.k, e->a[2], &zero) && zero == 0) {
    *c = e->a[0];
    e = at(s, e->a[1]);
  }
  return e->kind == SQ_SC_EWISE && e->ew == SQ_EW_EXP ? e->a[0] : SQ_NO_SCALAR;
}

// x - m with m a maximum that does not change along the axis.
static bool is_shifted(space *s, uint32_t x) {
  uint32_t axes[SQ_MAX_RANK];
  if (!is_ewise(s, x, SQ_EW_SUB)) return false;
  sq_node *m = reduction_read(s, at(s, x)->a[1], axes);
  return m && m->g->monoid == SQ_MAX;
}

typedef struct row {
  sq_node *z;
  uint32_t axes[SQ_MAX_RANK]; // of the space, per axis of z
  uint32_t along;             // the axis that z sums over
} row;

static uint32_t masked_by(sq_maker *m, uint32_t c, uint32_t x) {
  return sq_maker_select(m, c, x, sq_maker_float(m, m->k->s.v[x].dtype, 0));
}

static sq_value *stable_softmax(space *s, const row *r, sq_node *n, uint32_t x, uint32_t c,
                                uint32_t domain, sq_dtype t) {
  uint32_t all[SQ_MAX_RANK], n_all = s->n->g->n_par, n_row = r->z->g->n_par;
  for (uint32_t k = 0; k < n_all; k++) all[k] = k;
  uint32_t within = c != SQ_NO_SCALAR ? c : domain;
  sq_value *exponents = NULL; // computed once where they are more than a read
  if (sq_scalar_cost(s->m.k, x) > DEAR) {
    made y = begin_made(s, all, n_all, NULL, 0);
    y.m.k->body = put(&y, x);
    exponents = end_made(&y, n, t, NULL);
  }
  made m = begin_made(s, r->axes, n_row, &r->along, 1);
  m.m.k->monoid = SQ_MAX;
  m.m.k->body = exponents ? put_read(&m, exponents, all, n_all) : put(&m, x);
  if (within != SQ_NO_SCALAR) sq_push(s->m.g->arena, &m.m.k->domain, put(&m, within));
  sq_value *max = end_made(&m, n, t, NULL);
  made e = begin_made(s, all, n_all, NULL, 0);
  uint32_t y = exponents ? put_read(&e, exponents, all, n_all) : put(&e, x);
  uint32_t shifted = sq_maker_ewise(&e.m, SQ_EW_SUB, y, put_read(&e, max, r->axes, n_row));
  e.m.k->body = sq_maker_ewise(&e.m, SQ_EW_EXP, shifted, SQ_NO_SCALAR);
  if (c != SQ_NO_SCALAR) e.m.k->body = masked_by(&e.m, put(&e, c), e.m.k->body);
  sq_value *exps = end_made(&e, n, t, NULL);
  made z = begin_made(s, r->axes, n_row, &r->along, 1);
  z.m.k->monoid = SQ_SUM;
  z.m.k->body = put_read(&z, exps, all, n_all);
  if (domain != SQ_NO_SCALAR && domain != c)
    sq_push(s->m.g->arena, &z.m.k->domain, put(&z, domain));
  sq_value *sum = end_made(&z, n, t, NULL);
  made p = begin_made(s, all, n_all, NULL, 0);
  uint32_t over = put_read(&p, exps, all, n_all);
  p.m.k->body = sq_maker_ewise(&p.m, SQ_EW_DIV, over, put_read(&p, sum, r->axes, n_row));
  return end_made(&p, n, t, NULL);
}

// The axis of the space that the row lacks, of the extent that z sums over.
static bool find_along(const space *s, row *r) {
  uint32_t seen = 0;
  for (uint32_t k = 0; k < r->z->g->n_par; k++) seen |= 1u << r->axes[k];
  for (uint32_t a = 0; a < s->n->g->n_par; a++) {
    if (seen >> a & 1) continue;
    if (r->z->g->n_red != 1 ||
        !sq_dim_same(s->m.k->axis[a].extent, r->z->g->axis[r->z->g->n_par].extent))
      continue;
    r->along = a;
    return true;
  }
  return false;
}

static bool try_softmax(stabiliser *w, sq_node *n, uint32_t id) {
  const sq_scalar *div = &n->g->s.v[id];
  sq_dtype t = div->dtype;
  space s = open_space(w->g, n, NULL, 0);
  uint32_t top = in_space(&s, div->a[0]), below = in_space(&s, div->a[1]), c;
  uint32_t x = exponent(&s, top, &c);
  if (x == SQ_NO_SCALAR) return false;
  row r;
  bool plus = is_ewise(&s, below, SQ_EW_ADD);
  r.z = reduction_read(&s, plus ? at(&s, below)->a[0] : below, r.axes);
  if (!r.z && plus) r.z = reduction_read(&s, at(&s, below)->a[1], r.axes);
  if (!r.z || r.z->g->monoid != SQ_SUM || r.z->g->post != SQ_NO_SCALAR || !find_along(&s, &r))
    return false;
  uint32_t domain = domain_in_space(&s, r.z, r.axes, &r.along);
  uint32_t body = from_reduction(&s, r.z, r.axes, &r.along, r.z->g->body), masked = body;
  if (domain != SQ_NO_SCALAR) masked = masked_by(&s.m, domain, body);
  if (body != top && masked != top) return false;
  if (is_shifted(&s, x)) return false;
  if (plus) {
    sq_remark_add(w->g->ctx, "softmax", false, n->span, sq_pass_entry(w->f),
                  "exp(x) / (sum of exp(x) + ...) is left as it is and may overflow: a shift of x "
                  "would change what is added");
    return false;
  }
  // The numerator may lack the domain of the sum, or be masked by it.
  sq_value *p = stable_softmax(&s, &r, n, x, c, masked == top && c != SQ_NO_SCALAR ? c : domain, t);
  uint32_t all[SQ_MAX_RANK];
  for (uint32_t k = 0; k < n->g->n_par; k++) all[k] = k;
  replace_scalar(w, n, id, p, all);
  sq_remark_add(w->g->ctx, "softmax", true, n->span, sq_pass_entry(w->f),
                "exp(x) / sum of exp(x) is shifted by the maximum of x");
  return true;
}

static bool try_logsumexp(stabiliser *w, sq_node *n, uint32_t id) {
  space s = open_space(w->g, n, NULL, 0);
  uint32_t axes[SQ_MAX_RANK], c;
  sq_node *z = reduction_read(&s, in_space(&s, n->g->s.v[id].a[0]), axes);
  if (!z || z->g->monoid != SQ_SUM || z->g->post != SQ_NO_SCALAR) return false;
  // the sum in its own axes, all of them as parallel ones
  sq_node open = *z;
  sq_generic flat = *z->g;
  flat.n_par = z->g->n_par + z->g->n_red;
  flat.n_red = 0;
  open.g = &flat;
  space in = open_space(w->g, &open, NULL, 0);
  uint32_t x = exponent(&in, in_space(&in, z->g->body), &c);
  if (x == SQ_NO_SCALAR || is_shifted(&in, x)) return false;
  uint32_t all[SQ_MAX_RANK * 2];
  for (uint32_t k = 0; k < flat.n_par; k++) all[k] = k;
  made l = begin_made(&in, all, z->g->n_par, all + z->g->n_par, z->g->n_red);
  l.m.k->monoid = SQ_LOGSUMEXP;
  for (uint32_t k = 0; k < z->g->domain.n; k++) {
    uint32_t d = in_space(&in, z->g->domain.v[k]);
    l.how.from = view(&in);
    l.map = sq_maker_map(&l.m, l.how.from);
    sq_push(w->g->arena, &l.m.k->domain, put(&l, d));
  }
  if (c != SQ_NO_SCALAR) sq_push(w->g->arena, &l.m.k->domain, put(&l, c));
  l.m.k->body = put(&l, x);
  sq_value *v = end_made(&l, n, n->g->s.v[id].dtype, NULL);
  replace_scalar(w, n, id, v, axes);
  sq_remark_add(w->g->ctx, "softmax", true, n->span, sq_pass_entry(w->f),
                "the logarithm of a sum of exp(x) is one logsumexp");
  return true;
}

// ---- variance ----------------------------------------------------------------------------------
// The mean of something, in any of its forms: mean, sum / count, sum * (1 / count).
typedef struct mean {
  sq_node *z;
  uint32_t axes[SQ_MAX_RANK];
} mean;

static bool is_count(space *s, uint32_t id, const sq_node *z, bool inverse) {
  double v;
  int64_t n;
  sq_dim count = sq_dim_const(s->m.g->dims, 1);
  for (uint32_t k = 0; k < z->g->n_red; k++)
    count = sq_dim_mul(s->m.g->dims, count, z->g->axis[z->g->n_par + k].extent);
  if (sq_scalar_float(s->m.k, id, &v))
    return sq_dim_is_const(s->m.g->dims, count, &n) && n > 0 &&
           (inverse ? v == 1.0 / (double)n : v == (double)n);
  const sq_scalar *c = at(s, id);
  if (inverse || c->kind != SQ_SC_CAST) return false;
  while (c->kind == SQ_SC_CAST) c = at(s, c->a[0]);
  return c->kind == SQ_SC_DIM && sq_dim_same(c->dim, count);
}

static bool as_mean(space *s, uint32_t id, mean *m) {
  const sq_scalar *e = at(s, id);
  m->z = reduction_read(s, id, m->axes);
  if (m->z) return m->z->g->monoid == SQ_MEAN && m->z->g->post == SQ_NO_SCALAR;
  if (e->kind != SQ_SC_EWISE || (e->ew != SQ_EW_DIV && e->ew != SQ_EW_MUL)) return false;
  m->z = reduction_read(s, e->a[0], m->axes);
  return m->z && m->z->g->monoid == SQ_SUM && m->z->g->post == SQ_NO_SCALAR && !m->z->g->domain.n &&
         is_count(s, e->a[1], m->z, e->ew == SQ_EW_MUL);
}

static bool same_rows(const sq_node *a, const uint32_t *at_a, const sq_node *b,
                      const uint32_t *at_b) {
  if (a->g->n_par != b->g->n_par || a->g->n_red != b->g->n_red) return false;
  for (uint32_t k = 0; k < a->g->n_par; k++)
    if (at_a[k] != at_b[k]) return false;
  for (uint32_t k = 0; k < a->g->n_red; k++)
    if (!sq_dim_same(a->g->axis[a->g->n_par + k].extent, b->g->axis[b->g->n_par + k].extent))
      return false;
  return true;
}

static bool try_variance(stabiliser *w, sq_node *n, uint32_t id) {
  const sq_scalar *sub = &n->g->s.v[id];
  sq_dtype t = sub->dtype;
  space s = open_space(w->g, n, NULL, 0);
  mean square, first;
  uint32_t q = in_space(&s, sub->a[1]);
  if (!as_mean(&s, in_space(&s, sub->a[0]), &square)) return false;
  if (!is_ewise(&s, q, SQ_EW_MUL) || at(&s, q)->a[0] != at(&s, q)->a[1]) return false;
  if (!as_mean(&s, at(&s, q)->a[0], &first)) return false;
  if (!same_rows(square.z, square.axes, first.z, first.axes)) return false;
  // the same with the axes that are summed over as extra ones
  const sq_generic *k = first.z->g;
  space e = open_space(w->g, n, k->axis + k->n_par, k->n_red);
  uint32_t red[SQ_MAX_RANK * 2];
  for (uint32_t a = 0; a < k->n_red; a++) red[a] = n->g->n_par + a;
  uint32_t x = from_reduction(&e, first.z, first.axes, red, k->body);
  uint32_t xx = from_reduction(&e, square.z, first.axes, red, square.z->g->body);
  if (!is_ewise(&e, xx, SQ_EW_MUL) || at(&e, xx)->a[0] != x || at(&e, xx)->a[1] != x) return false;
  uint32_t domain = domain_in_space(&e, first.z, first.axes, red);
  if (domain != domain_in_space(&e, square.z, first.axes, red)) return false;
  made mu = begin_made(&e, first.axes, k->n_par, red, k->n_red);
  mu.m.k->monoid = SQ_MEAN;
  mu.m.k->body = put(&mu, x);
  if (domain != SQ_NO_SCALAR) sq_push(w->g->arena, &mu.m.k->domain, put(&mu, domain));
  sq_value *average = end_made(&mu, n, t, NULL);
  made v = begin_made(&e, first.axes, k->n_par, red, k->n_red);
  v.m.k->monoid = SQ_MEAN;
  uint32_t d = put(&v, x);
  d = sq_maker_ewise(&v.m, SQ_EW_SUB, d, put_read(&v, average, first.axes, k->n_par));
  v.m.k->body = sq_maker_ewise(&v.m, SQ_EW_MUL, d, d);
  if (domain != SQ_NO_SCALAR) sq_push(w->g->arena, &v.m.k->domain, put(&v, domain));
  sq_value *variance = end_made(&v, n, t, NULL);
  replace_scalar(w, n, id, variance, first.axes);
  sq_remark_add(w->g->ctx, "softmax", true, n->span, sq_pass_entry(w->f),
                "a difference of means is the mean of squared differences");
  return true;
}

// ---- the pass ----------------------------------------------------------------------------------
static bool try_scalar(stabiliser *w, sq_node *n, uint32_t id) {
  const sq_scalar *s = &n->g->s.v[id];
  if (s->kind != SQ_SC_EWISE || !sq_is_float(s->dtype)) return false;
  switch ((int)s->ew) {
  case SQ_EW_DIV:
    return try_softmax(w, n, id);
  case SQ_EW_LOG:
    return try_logsumexp(w, n, id);
  case SQ_EW_SUB:
    return try_variance(w, n, id);
  default:
    return false;
  }
}

static void do_block(stabiliser *w, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) do_block(w, n->region[r]);
    if (n->op != SQ_OP_GENERIC || !sq_node_is_elementwise(n)) continue;
    uint32_t before = b->nodes.n;
    for (uint32_t j = 0; j < n->g->s.n; j++)
      if (try_scalar(w, n, j)) break; // once: what was made is not looked at again
    k += b->nodes.n - before;
  }
}

bool sq_pass_softmax(sq_graph *g, const sq_pass_options *o) {
  stabiliser w = {.g = g};
  for (uint32_t k = 0; k < g->func.n; k++) {
    w.f = g->func.v[k];
    do_block(&w, g->func.v[k]->body);
  }
  if (w.changed) sq_pass_dce(g, o);
  return w.changed;
}
