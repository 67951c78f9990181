// factor: factors that a sum does not run over leave it.
//
//   %s = generic (%q, %k) [i < N, j < N] sum [e < 64] { %q[i, e] * %k[j, e] / 8.0 }
// becomes
//   %s = generic (%q, %k) [i < N, j < N] sum [e < 64] { %q[i, e] * %k[j, e]; post acc / 8.0; }
//
// The sum then is a contraction, and the factor is applied once. This changes rounding; an empty
// sum is 0 before and after unless a factor is not finite. A factor that reads at a place not
// proved inside by itself stays: the domain of the sum may be its proof.
//
// What only makes an array of 16 bits wider, and multiplies it with numbers, joins the sum of products
// that reads it first: products read 16 bits as they are, in half of the memory and on units for them.
#include "passes/factor.h"
#include "passes/maker.h"
#include "passes/questions.h"

typedef struct factorer {
  sq_graph *g;
  sq_func *f;
  SQ_VEC(sq_node *) all;
  sq_node *into; // the sum that an array of 16 bits is looked at for
  bool changed;
} factorer;

typedef struct factor {
  uint32_t id;
  bool divides;
} factor;
typedef struct factors {
  SQ_VEC(factor) all;
  bool negative;
} factors;

enum { MOST_FACTORS = 64 }; // a power of powers stays whole
static void collect(sq_graph *g, const sq_generic *k, uint32_t id, bool divides, factors *f,
                    int depth) {
  const sq_scalar *s = &k->s.v[id];
  if (s->kind == SQ_SC_EWISE && depth < 40 && f->all.n < MOST_FACTORS) {
    if (s->ew == SQ_EW_MUL || s->ew == SQ_EW_DIV) {
      collect(g, k, s->a[0], divides, f, depth + 1);
      collect(g, k, s->a[1], s->ew == SQ_EW_DIV ? !divides : divides, f, depth + 1);
      return;
    }
    if (s->ew == SQ_EW_NEG) {
      f->negative = !f->negative;
      collect(g, k, s->a[0], divides, f, depth + 1);
      return;
    }
  }
  sq_push(g->arena, &f->all, (factor){id, divides});
}

static bool read_inside(sq_graph *g, const sq_node *n, const sq_scalar *s) {
  return s->guard == SQ_NO_SCALAR && s->other == SQ_NO_SCALAR && sq_read_is_inside(g, n, s);
}

static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }

// Is the scalar the same for all that is summed, and safe to compute outside?
static bool is_fixed(sq_graph *g, const sq_node *n, uint32_t root) {
  bool *seen = SQ_ARRAY(g->arena, bool, root + 1);
  seen[root] = true;
  for (uint32_t id = root + 1; id-- > 0;) {
    const sq_scalar *s = &n->g->s.v[id];
    if (!seen[id]) continue;
    if (s->kind == SQ_SC_INDEX && s->axis >= n->g->n_par) return false;
    if (s->kind == SQ_SC_READ && !read_inside(g, n, s)) return false;
    sq_scalar_refs(s, mark, seen);
  }
  return true;
}

static bool is_number(const sq_generic *k, uint32_t id) {
  double v;
  return sq_scalar_float(k, id, &v) && v != 0;
}

// ---- arrays of 16 bits -------------------------------------------------------------------------
static bool only_widens(sq_graph *g, const sq_generic *k, uint32_t id, int depth) {
  const sq_scalar *s = &k->s.v[id];
  if (s->kind == SQ_SC_EWISE && s->ew == SQ_EW_MUL && depth < 8)
    return (is_number(k, s->a[0]) && only_widens(g, k, s->a[1], depth + 1)) ||
           (is_number(k, s->a[1]) && only_widens(g, k, s->a[0], depth + 1));
  if (s->kind == SQ_SC_EWISE && s->ew == SQ_EW_DIV && depth < 8)
    return is_number(k, s->a[1]) && only_widens(g, k, s->a[0], depth + 1);
  if (s->kind != SQ_SC_CAST || s->dtype != SQ_F32) return false;
  const sq_scalar *from = &k->s.v[s->a[0]];
  uint32_t axis[SQ_MAX_RANK];
  return from->kind == SQ_SC_READ && (from->dtype == SQ_F16 || from->dtype == SQ_BF16) &&
         from->n_pos == k->n_par && from->guard == SQ_NO_SCALAR &&
         sq_read_is_plain(g, k, from, axis);
}

static bool is_widened(void *user, const sq_scalar *read, sq_value *v) {
  (void)read;
  const factorer *w = user;
  sq_node *p = v->def;
  return p && sq_node_is_elementwise(p) && sq_node_reads(w->into, v) &&
         p->block == w->into->block && only_widens(w->g, p->g, sq_scalar_root(p->g), 0) &&
         sq_node_can_sink(p, w->into);
}

static void read_narrow(factorer *w, sq_node *n) {
  sq_graph *g = w->g;
  if (n->op != SQ_OP_GENERIC || n->g->keyed || !n->g->n_red || n->g->monoid != SQ_SUM) return;
  const sq_scalar *body = &n->g->s.v[n->g->body];
  if (body->kind != SQ_SC_EWISE || (body->ew != SQ_EW_MUL && body->ew != SQ_EW_DIV)) return;
  bool any = false;
  w->into = n;
  for (uint32_t k = sq_operands_begin(n); k < sq_operands_end(n) && !any; k++)
    any = is_widened(w, NULL, n->in[k]);
  if (!any) return;
  sq_node before = *n;
  sq_maker m;
  sq_maker_start_like(&m, g, n);
  m.inlines = is_widened;
  m.user = w;
  uint32_t n_axes = n->g->n_par + n->g->n_red;
  uint32_t *axis = SQ_ARRAY(g->arena, uint32_t, n_axes + 1);
  for (uint32_t a = 0; a < n_axes; a++) axis[a] = sq_maker_index(&m, a);
  sq_graft how = {.from = &before, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  sq_maker_copy_parts(&m, &how, sq_maker_map(&m, &before));
  sq_maker_end(&m, n);
  for (uint32_t k = sq_operands_begin(&before); k < sq_operands_end(&before); k++) {
    const sq_node *p = before.in[k]->def;
    if (p && !sq_node_reads(n, before.in[k]))
      sq_pass_joined(g, w->f, "factor", p, "joins the product that reads it, in 16 bits");
  }
  w->changed = true;
}

// ---- sums --------------------------------------------------------------------------------------
static bool never_empty(const sq_graph *g, const sq_generic *k) {
  for (uint32_t a = k->n_par; a < k->n_par + k->n_red; a++)
    if (sq_dim_low(g->dims, k->axis[a].extent) < 1) return false;
  return !k->domain.n;
}

// A divisor may be 0 where the sum is empty, of 0 / 0 then: without a domain it is known by the sizes
// where that is, and 1 divides there.
static bool may_leave(sq_graph *g, const sq_node *n, const factor *f) {
  return is_fixed(g, n, f->id) && (!f->divides || !n->g->domain.n || is_number(n->g, f->id));
}

static uint32_t safe_divisor(sq_maker *m, const sq_generic *k, uint32_t x) {
  uint32_t some = SQ_NO_SCALAR;
  if (never_empty(m->g, k) || is_number(m->k, x)) return x;
  for (uint32_t a = k->n_par; a < k->n_par + k->n_red; a++)
    some = sq_maker_and(m, some,
                        sq_maker_ewise(m, SQ_EW_LT, sq_maker_int(m, SQ_I64, 0),
                                       sq_maker_dim(m, k->axis[a].extent)));
  return sq_maker_select(m, some, x, sq_maker_float(m, m->k->s.v[x].dtype, 1));
}

static uint32_t apply(sq_maker *m, uint32_t product, uint32_t x, bool divides) {
  if (product == SQ_NO_SCALAR && divides) product = sq_maker_float(m, m->k->s.v[x].dtype, 1);
  if (product == SQ_NO_SCALAR) return x;
  return sq_maker_ewise(m, divides ? SQ_EW_DIV : SQ_EW_MUL, product, x);
}

static void do_node(sq_node *n, void *user) {
  factorer *w = user;
  sq_graph *g = w->g;
  if (n->op != SQ_OP_GENERIC || n->g->keyed || !n->g->n_red || !sq_is_float(n->out[0]->type.dtype))
    return;
  if (n->g->monoid != SQ_SUM && n->g->monoid != SQ_MEAN) return;
  sq_dtype t = n->g->s.v[n->g->body].dtype;
  factors f = {0};
  collect(g, n->g, n->g->body, false, &f, 0);
  uint32_t fixed = 0;
  bool *out = SQ_ARRAY(g->arena, bool, f.all.n + 1);
  for (uint32_t k = 0; k < f.all.n; k++) {
    out[k] = may_leave(g, n, &f.all.v[k]);
    fixed += out[k];
  }
  if ((!fixed && !f.negative) || fixed == f.all.n) return;
  sq_maker m;
  sq_maker_start_like(&m, g, n);
  uint32_t n_axes = n->g->n_par + n->g->n_red;
  uint32_t *axis = SQ_ARRAY(g->arena, uint32_t, n_axes + 1);
  for (uint32_t a = 0; a < n_axes; a++) axis[a] = sq_maker_index(&m, a);
  sq_graft how = {.from = n, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  uint32_t *map = sq_maker_map(&m, n), inside = SQ_NO_SCALAR;
  uint32_t outside = sq_maker_acc(&m, sq_monoid_result(n->g->monoid, t));
  // multiply first, then divide: fewer roundings before a small divisor
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t k = 0; k < f.all.n; k++) {
      if (f.all.v[k].divides != (pass == 1)) continue;
      uint32_t x = sq_maker_graft(&m, &how, f.all.v[k].id, map);
      if (out[k] && f.all.v[k].divides) x = safe_divisor(&m, n->g, x);
      if (out[k])
        outside = apply(&m, outside, x, f.all.v[k].divides);
      else
        inside = apply(&m, inside, x, f.all.v[k].divides);
    }
  if (f.negative) outside = sq_maker_ewise(&m, SQ_EW_NEG, outside, SQ_NO_SCALAR);
  sq_graft post = how;
  post.acc = outside;
  sq_generic *k = m.k;
  for (uint32_t j = 0; j < n->g->domain.n; j++)
    sq_push(g->arena, &k->domain, sq_maker_graft(&m, &how, n->g->domain.v[j], map));
  k->body = inside;
  k->post = n->g->post == SQ_NO_SCALAR ? outside
                                       : sq_maker_graft(&m, &post, n->g->post, sq_maker_map(&m, n));
  sq_maker_end(&m, n);
  w->changed = true;
  sq_remark_add(g->ctx, "factor", true, n->span, sq_pass_entry(w->f),
                "%u factor%s applied once, after the sum", fixed, fixed == 1 ? "" : "s");
}

bool sq_factor_sum(sq_graph *g, sq_func *f, sq_node *n) {
  factorer w = {.g = g, .f = f};
  do_node(n, &w);
  return w.changed;
}

// A domain that both factors of a product know (j < len) becomes zeros in both; the sum is a
// contraction then:
//   sum [j < N] { where j < %len; %a[i, j] * %b[j, e] }
//   sum [j < N] { select(j < %len, %a[i, j], 0.0) * select(j < %len, %b[j, e], 0.0) }
static void mask_factors(sq_node *n, void *user) {
  factorer *w = user;
  sq_graph *g = w->g;
  if (n->op != SQ_OP_GENERIC || !n->g->domain.n || n->g->keyed || n->g->monoid != SQ_SUM) return;
  const sq_scalar *body = &n->g->s.v[n->g->body];
  if (body->kind != SQ_SC_EWISE || body->ew != SQ_EW_MUL) return;
  sq_node bare = *n; // would it be a product without the domain?
  sq_generic open = *n->g;
  open.domain.n = 0;
  bare.g = &open;
  if (!sq_is_product(g, &bare)) return;
  uint32_t both = sq_scalar_axes(n->g, body->a[0]) & sq_scalar_axes(n->g, body->a[1]);
  for (uint32_t j = 0; j < n->g->domain.n; j++)
    if (sq_scalar_axes(n->g, n->g->domain.v[j]) & ~both) return;
  sq_maker m;
  sq_maker_start_like(&m, g, n);
  uint32_t n_axes = n->g->n_par + n->g->n_red;
  uint32_t *axis = SQ_ARRAY(g->arena, uint32_t, n_axes + 1);
  for (uint32_t a = 0; a < n_axes; a++) axis[a] = sq_maker_index(&m, a);
  sq_graft how = {.from = n, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  uint32_t *map = sq_maker_map(&m, n), holds = SQ_NO_SCALAR, side[2];
  for (uint32_t j = 0; j < n->g->domain.n; j++)
    holds = sq_maker_and(&m, holds, sq_maker_graft(&m, &how, n->g->domain.v[j], map));
  how.guard = holds;
  map = sq_maker_map(&m, n);
  for (int k = 0; k < 2; k++) {
    uint32_t x = sq_maker_graft(&m, &how, body->a[k], map);
    if (m.k->s.v[x].kind != SQ_SC_READ) // a read is 0 already where its guard fails
      x = sq_maker_select(&m, holds, x, sq_maker_float(&m, m.k->s.v[x].dtype, 0));
    side[k] = x;
  }
  m.k->body = sq_maker_ewise(&m, SQ_EW_MUL, side[0], side[1]);
  how.guard = SQ_NO_SCALAR;
  m.k->post = sq_maker_graft(&m, &how, n->g->post, sq_maker_map(&m, n));
  sq_maker_end(&m, n);
  w->changed = true;
}

static void list(sq_node *n, void *user) {
  factorer *w = user;
  sq_push(w->g->arena, &w->all, n);
}

bool sq_pass_factor(sq_graph *g, const sq_pass_options *o) {
  factorer w = {.g = g};
  for (uint32_t k = 0; k < g->func.n; k++) {
    w.f = g->func.v[k];
    w.all.n = 0;
    sq_walk(w.f->body, list, &w);
    for (uint32_t j = 0; j < w.all.n; j++) read_narrow(&w, w.all.v[j]);
    for (uint32_t j = 0; j < w.all.n; j++) w.changed |= sq_factor_matrix(g, w.f, w.all.v[j]);
    sq_walk(g->func.v[k]->body, do_node, &w);
    sq_walk(g->func.v[k]->body, mask_factors, &w);
  }
  if (w.changed) sq_pass_dce(g, o); // arrays that nothing reads any more
  return w.changed;
}
