// A sum over a matrix that is a diagonal and products of vectors, which is not formed.
//
//   %s = generic (%k, %a) [i < 64, j < 64] sum [l < 64] { (select(i == l, 1.0, 0.0) - %k[i] * %k[l]) * %a[l, j] }
// becomes
//   %w = generic (%k, %a) [j < 64] sum [l < 64] { %k[l] * %a[l, j] }
//   %s = generic (%a, %k, %w) [i < 64, j < 64] { %a[i, j] - %k[i] * %w[j] }
//
// Two products of 64 x 64 instead of one of 64 x 64 x 64; inside a scan it is then the delta rule. The
// matrix may be an operation of its own. Rounds otherwise, as `factor` does.
//
// Of what is finite, that is: (1 - c) * x is infinite where x is, and x - c * x is NaN for 0 < c, so a sum that was
// infinite may be NaN afterwards, and what a function such as tanh made finite of it too.
#include "passes/factor.h"
#include "passes/maker.h"
#include "passes/questions.h"

enum { MAX_TERMS = 8, MAX_FACTORS = 16, MAX_DEPTH = 40 };

typedef struct factor {
  uint32_t id;
  bool divides;
} factor;
typedef struct term { // of the matrix
  bool negative, diagonal;
  uint32_t n;
  factor of[MAX_FACTORS];
} term;

typedef struct splitter {
  sq_graph *g;
  sq_func *f;
  sq_node *n;
  sq_node bare; // with the matrix in its place
  uint32_t row; // the axis that the matrix has and nothing else
  uint32_t n_term;
  term term[MAX_TERMS], rest; // the matrix; what it is multiplied with
} splitter;

// ---- the matrix --------------------------------------------------------------------------------
static const sq_scalar *at(const splitter *w, uint32_t id) { return &w->bare.g->s.v[id]; }

// The parallel axis that the condition compares the summed one with, or NONE.
static uint32_t diagonal_axis(const sq_generic *k, uint32_t id) {
  const sq_scalar *s = &k->s.v[id];
  if (s->kind != SQ_SC_EWISE || s->ew != SQ_EW_EQ) return UINT32_MAX;
  const sq_scalar *a = &k->s.v[s->a[0]], *b = &k->s.v[s->a[1]];
  if (a->kind != SQ_SC_INDEX || b->kind != SQ_SC_INDEX || a->axis == b->axis) return UINT32_MAX;
  return a->axis < b->axis ? a->axis : b->axis;
}

static bool is_diagonal(const splitter *w, uint32_t id) {
  const sq_generic *k = w->bare.g;
  const sq_scalar *s = at(w, id);
  double zero = 1;
  return s->kind == SQ_SC_SELECT && sq_scalar_float(k, s->a[2], &zero) && zero == 0 &&
         (sq_scalar_axes(k, s->a[0]) >> k->n_par) == 1 && diagonal_axis(k, s->a[0]) < k->n_par;
}

static bool factors_of(const splitter *w, uint32_t id, bool divides, term *t, int depth) {
  const sq_scalar *s = at(w, id);
  if (depth > MAX_DEPTH) return false;
  if (s->kind == SQ_SC_EWISE && (s->ew == SQ_EW_MUL || s->ew == SQ_EW_DIV))
    return factors_of(w, s->a[0], divides, t, depth + 1) &&
           factors_of(w, s->a[1], s->ew == SQ_EW_DIV ? !divides : divides, t, depth + 1);
  if (s->kind == SQ_SC_EWISE && s->ew == SQ_EW_NEG) {
    t->negative ^= true;
    return factors_of(w, s->a[0], divides, t, depth + 1);
  }
  if (t->n == MAX_FACTORS) return false;
  t->of[t->n++] = (factor){id, divides};
  return true;
}

static bool terms_of(splitter *w, uint32_t id, bool negative, int depth) {
  const sq_scalar *s = at(w, id);
  if (depth > MAX_DEPTH) return false;
  if (s->kind == SQ_SC_EWISE && (s->ew == SQ_EW_ADD || s->ew == SQ_EW_SUB))
    return terms_of(w, s->a[0], negative, depth + 1) &&
           terms_of(w, s->a[1], negative ^ (s->ew == SQ_EW_SUB), depth + 1);
  if (s->kind == SQ_SC_EWISE && s->ew == SQ_EW_NEG)
    return terms_of(w, s->a[0], !negative, depth + 1);
  if (w->n_term == MAX_TERMS) return false;
  term *t = &w->term[w->n_term++];
  *t = (term){.negative = negative};
  return factors_of(w, id, false, t, 0);
}

// A diagonal is selected, in one term at least; in the others no factor has both axes.
static bool is_low(splitter *w) {
  const sq_generic *k = w->bare.g;
  bool any = false;
  for (uint32_t i = 0; i < w->n_term; i++) {
    term *t = &w->term[i];
    for (uint32_t j = 0; j < t->n; j++) {
      if (!is_diagonal(w, t->of[j].id) || t->of[j].divides || t->diagonal) continue;
      uint32_t row = diagonal_axis(k, at(w, t->of[j].id)->a[0]);
      if (any && row != w->row) return false;
      w->row = row;
      t->of[j].id = at(w, t->of[j].id)->a[1];
      t->diagonal = any = true;
    }
  }
  if (!any || !sq_dim_same(k->axis[w->row].extent, k->axis[k->n_par].extent)) return false;
  uint32_t both = 1u << w->row | 1u << k->n_par;
  for (uint32_t i = 0; i < w->n_term; i++)
    for (uint32_t j = 0; j < w->term[i].n; j++)
      if (!w->term[i].diagonal && (sq_scalar_axes(k, w->term[i].of[j].id) & both) == both)
        return false;
  for (uint32_t j = 0; j < w->rest.n; j++)
    if (sq_scalar_axes(k, w->rest.of[j].id) >> w->row & 1) return false;
  return true;
}

// The body is one sum times the rest.
static bool find_matrix(splitter *w) {
  term all = {0};
  uint32_t matrix = SQ_NO_SCALAR;
  if (!factors_of(w, w->bare.g->body, false, &all, 0)) return false;
  w->rest.negative = all.negative;
  for (uint32_t j = 0; j < all.n; j++) {
    const sq_scalar *s = at(w, all.of[j].id);
    bool sum = s->kind == SQ_SC_EWISE && (s->ew == SQ_EW_ADD || s->ew == SQ_EW_SUB);
    if (sum && !all.of[j].divides && matrix == SQ_NO_SCALAR)
      matrix = all.of[j].id;
    else
      w->rest.of[w->rest.n++] = all.of[j];
  }
  return matrix != SQ_NO_SCALAR && terms_of(w, matrix, false, 0) && is_low(w);
}

// ---- the node with the matrix in its place -----------------------------------------------------
static bool has_diagonal(void *user, const sq_scalar *read, sq_value *v) {
  splitter *w = user;
  (void)read;
  if (!v->def || v->def->block != w->n->block || v->def->g->n_par != 2) return false;
  bool any = false;
  for (uint32_t j = 0; j < v->def->g->s.n; j++) any |= diagonal_axis(v->def->g, j) == 0;
  return any && sq_node_can_sink(v->def, w->n);
}

static uint32_t *indices(sq_maker *m, uint32_t n) {
  uint32_t *axis = SQ_ARRAY(m->g->arena, uint32_t, n + 1);
  for (uint32_t a = 0; a < n; a++) axis[a] = sq_maker_index(m, a);
  return axis;
}

static bool open_matrix(splitter *w) {
  sq_maker m;
  w->bare = *w->n;
  sq_maker_start_like(&m, w->g, w->n);
  m.inlines = has_diagonal;
  m.user = w;
  sq_graft how = {.from = w->n,
                  .axis = indices(&m, w->n->g->n_par + 1),
                  .acc = SQ_NO_SCALAR,
                  .guard = SQ_NO_SCALAR};
  m.k->body = sq_maker_graft(&m, &how, w->n->g->body, sq_maker_map(&m, w->n));
  m.k->post = SQ_NO_SCALAR;
  sq_maker_end(&m, &w->bare);
  for (uint32_t j = 0; j < w->bare.g->s.n; j++)
    if (w->bare.g->s.v[j].kind == SQ_SC_READ && w->bare.g->s.v[j].site != SQ_NO_SITE) return false;
  return true;
}

// ---- apart -------------------------------------------------------------------------------------
typedef enum part { INSIDE, OUTSIDE, ALL } part; // of the sum

static uint32_t product(splitter *w, sq_maker *m, const sq_graft *how, uint32_t *map, const term *t,
                        part which, uint32_t by) {
  for (uint32_t j = 0; j < t->n; j++) {
    bool inside = sq_scalar_axes(w->bare.g, t->of[j].id) >> w->bare.g->n_par & 1;
    if (which != ALL && inside != (which == INSIDE)) continue;
    uint32_t x = sq_maker_graft(m, how, t->of[j].id, map);
    if (by == SQ_NO_SCALAR && t->of[j].divides) by = sq_maker_float(m, m->k->s.v[x].dtype, 1);
    by =
        by == SQ_NO_SCALAR ? x : sq_maker_ewise(m, t->of[j].divides ? SQ_EW_DIV : SQ_EW_MUL, by, x);
  }
  return by;
}

// The sum over what a term and the rest have, without the matrix's own axis.
static sq_value *make_sum(splitter *w, const term *t) {
  sq_graph *g = w->g;
  const sq_generic *k = w->bare.g;
  sq_node *n = sq_node_new(g, NULL, SQ_OP_GENERIC, w->n->span, 0, NULL);
  sq_maker m;
  sq_maker_start(&m, g, k->n_par - 1, 1);
  uint32_t *axis = SQ_ARRAY(g->arena, uint32_t, k->n_par + 1), to = 0;
  sq_dim *dim = SQ_ARRAY(g->arena, sq_dim, k->n_par + 1);
  for (uint32_t a = 0; a <= k->n_par; a++) {
    axis[a] = SQ_NO_SCALAR;
    if (a == w->row) continue;
    m.k->axis[to] = k->axis[a];
    dim[to] = k->axis[a].extent;
    axis[a] = sq_maker_index(&m, to++);
  }
  sq_graft how = {.from = &w->bare, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  uint32_t *map = sq_maker_map(&m, &w->bare);
  uint32_t by = product(w, &m, &how, map, t, INSIDE, SQ_NO_SCALAR);
  m.k->body = product(w, &m, &how, map, &w->rest, ALL, by);
  m.k->monoid = SQ_SUM;
  sq_maker_end(&m, n);
  sq_node_insert_before(w->n, n);
  return sq_node_result(g, n, sq_type_make(g, w->n->out[0]->type.dtype, k->n_par - 1, dim), NULL);
}

static uint32_t one_term(splitter *w, sq_maker *m, const sq_graft *how, const term *t) {
  const sq_generic *k = w->bare.g;
  uint32_t *map = sq_maker_map(m, &w->bare);
  if (t->diagonal) {
    uint32_t by = product(w, m, how, map, t, ALL, SQ_NO_SCALAR);
    return product(w, m, how, map, &w->rest, ALL, by);
  }
  uint32_t *pos = SQ_ARRAY(w->g->arena, uint32_t, k->n_par + 1), n = 0;
  for (uint32_t a = 0; a < k->n_par; a++)
    if (a != w->row) pos[n++] = how->axis[a];
  uint32_t sum = sq_maker_read(m, make_sum(w, t), n, pos);
  uint32_t by = product(w, m, how, map, t, OUTSIDE, SQ_NO_SCALAR);
  return by == SQ_NO_SCALAR ? sum : sq_maker_ewise(m, SQ_EW_MUL, by, sum);
}

static void rewrite(splitter *w) {
  sq_graph *g = w->g;
  const sq_generic *k = w->bare.g;
  sq_maker m;
  sq_maker_start(&m, g, k->n_par, 0);
  memcpy(m.k->axis, k->axis, k->n_par * sizeof *k->axis);
  uint32_t *axis = indices(&m, k->n_par), all = SQ_NO_SCALAR;
  axis[k->n_par] = axis[w->row]; // on the diagonal
  sq_graft how = {.from = &w->bare, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  for (uint32_t i = 0; i < w->n_term; i++) {
    bool minus = w->term[i].negative ^ w->rest.negative;
    uint32_t x = one_term(w, &m, &how, &w->term[i]);
    if (all == SQ_NO_SCALAR)
      all = minus ? sq_maker_ewise(&m, SQ_EW_NEG, x, SQ_NO_SCALAR) : x;
    else
      all = sq_maker_ewise(&m, minus ? SQ_EW_SUB : SQ_EW_ADD, all, x);
  }
  sq_graft post = {.from = w->n, .axis = axis, .acc = all, .guard = SQ_NO_SCALAR};
  m.k->body = w->n->g->post == SQ_NO_SCALAR
                  ? all
                  : sq_maker_graft(&m, &post, w->n->g->post, sq_maker_map(&m, w->n));
  sq_maker_end(&m, w->n);
  sq_remark_add(g->ctx, "factor", true, w->n->span, sq_pass_entry(w->f),
                "a diagonal and products of vectors come apart: their matrix is not formed");
}

static bool in_kernel(const sq_node *n) {
  for (const sq_node *o = n->block->owner; o; o = o->block->owner)
    if (sq_node_is_kernel(o) || o->op == SQ_OP_STREAM) return true;
  return false;
}

bool sq_factor_matrix(sq_graph *g, sq_func *f, sq_node *n) {
  splitter w = {.g = g, .f = f, .n = n};
  const sq_generic *k = n->g;
  if (n->op != SQ_OP_GENERIC || k->keyed || k->monoid != SQ_SUM || k->n_red != 1 || k->domain.n)
    return false;
  sq_dtype t = n->out[0]->type.dtype;
  if (!k->n_par || k->n_pos || (t != SQ_F32 && t != SQ_F64) || k->s.v[k->body].dtype != t)
    return false;
  if (in_kernel(n) || !open_matrix(&w) || !find_matrix(&w)) return false;
  rewrite(&w);
  return true;
}
