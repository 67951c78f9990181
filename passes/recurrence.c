// Scans by their algebra. In: a scan. Out: its components and how each moves from turn to turn.
//
//   m' = max(m, s)                           a running maximum
//   u' = u exp(m - m') + exp(s - m')         affine in u, the factor free of u; with m an online
//   w' = w exp(m - m') + exp(s - m') v         softmax
#include "passes/recurrence.h"
#include "passes/questions.h"

// ---- components --------------------------------------------------------------------------------
static const sq_value *next_of(const sq_node *scan, uint32_t k) {
  return sq_block_end(scan->region[0])->in[k];
}

// reach[k]: carried values on which the value k of some later turn depends.
static void close(uint64_t *reach, uint32_t n) {
  for (uint32_t j = 0; j < n; j++)
    for (uint32_t k = 0; k < n; k++)
      if (reach[k] >> j & 1) reach[k] |= reach[j];
}

static void split_components(sq_recurrence *r) {
  sq_graph *g = r->d.g;
  uint32_t n = r->scan->n_carried, done = 0;
  uint64_t reach[SQ_MAX_STATES], placed = 0;
  for (uint32_t k = 0; k < n; k++) reach[k] = sq_depends_on(&r->d, next_of(r->scan, k));
  close(reach, n);
  r->component = SQ_ARRAY(g->arena, sq_component, n + 1);
  while (done < n)
    for (uint32_t k = 0; k < n; k++) {
      uint64_t own = 1ull << k;
      for (uint32_t j = 0; j < n; j++)
        if (reach[k] >> j & 1 && reach[j] >> k & 1) own |= 1ull << j;
      if (placed & own || reach[k] & ~own & ~placed) continue;
      sq_component *c = &r->component[r->n_component];
      c->state = SQ_ARRAY(g->arena, uint32_t, n);
      for (uint32_t j = 0; j < n; j++) {
        if (!(own >> j & 1)) continue;
        c->state[c->n++] = j;
        r->of[j] = r->n_component;
      }
      placed |= own;
      done += c->n;
      r->n_component++;
    }
}

// ---- terms -------------------------------------------------------------------------------------
sq_place sq_lterm_place(const sq_lspace *w, const sq_lterm *t, uint32_t j) {
  const sq_scalar *p = sq_lspace_scalar(w, t->pos[j]);
  if (p->kind != SQ_SC_INDEX) return SQ_PLACE_OTHER;
  if (t->bound >> p->axis & 1) return SQ_PLACE_SUMMED;
  return p->axis == j ? SQ_PLACE_OWN : SQ_PLACE_OTHER;
}

enum { MOST_FACTORS = 64 }; // a power of powers stays whole
static void factors_of(sq_lspace *w, uint32_t id, bool divides, sq_factors *f, int depth) {
  const sq_scalar *s = sq_lspace_scalar(w, id);
  if (s->kind == SQ_SC_EWISE && depth < 40 && f->v.n < MOST_FACTORS) {
    if (s->ew == SQ_EW_MUL || s->ew == SQ_EW_DIV) {
      uint32_t a = s->a[0], b = s->a[1];
      bool other = s->ew == SQ_EW_DIV ? !divides : divides;
      factors_of(w, a, divides, f, depth + 1);
      factors_of(w, b, other, f, depth + 1);
      return;
    }
    if (s->ew == SQ_EW_NEG) {
      factors_of(w, s->a[0], divides, f, depth + 1);
      return;
    }
  }
  sq_push(w->g->arena, &f->v, (sq_factor){id, divides});
}
void sq_lspace_factors(sq_lspace *w, uint32_t id, sq_factors *f) {
  if (id != SQ_NO_SCALAR) factors_of(w, id, false, f, 0);
}

// Does the product of `id` split into one part without axis a and one without axis b?
static bool separates(sq_lspace *w, uint32_t id, uint32_t a, uint32_t b) {
  sq_factors f = {0};
  sq_lspace_factors(w, id, &f);
  for (uint32_t k = 0; k < f.v.n; k++) {
    uint64_t axes = sq_lspace_axes(w, f.v.v[k].id);
    if (axes >> a & 1 && axes >> b & 1) return false;
  }
  return true;
}

static bool is_zero(const sq_lspace *w, uint32_t id) {
  const sq_scalar *s = sq_lspace_scalar(w, id);
  return (s->kind == SQ_SC_FLOAT && s->f == 0) || (s->kind == SQ_SC_INT && s->i == 0);
}

// Is the factor 0 on one side of a choice?
static bool may_reset(sq_lspace *w, uint32_t id) {
  sq_factors f = {0};
  sq_lspace_factors(w, id, &f);
  for (uint32_t k = 0; k < f.v.n; k++) {
    const sq_scalar *s = sq_lspace_scalar(w, f.v.v[k].id);
    if (s->kind == SQ_SC_SELECT && (is_zero(w, s->a[1]) || is_zero(w, s->a[2]))) return true;
  }
  return false;
}

// ---- what is added -----------------------------------------------------------------------------
static uint32_t find(uint32_t *up, uint32_t a) {
  while (up[a] != a) a = up[a];
  return a;
}

// The own axes of each factor of the free terms, as bit sets; false: a term is no product.
typedef struct axis_sets {
  SQ_VEC(uint32_t) v;
} axis_sets;
static void factor_axes(const sq_recurrence *r, uint32_t k, axis_sets *sets) {
  sq_lspace *w = r->space[k];
  uint32_t own = (1u << w->m.k->n_par) - 1;
  for (uint32_t j = 0; j < r->next[k].term.n; j++) {
    const sq_lterm *t = &r->next[k].term.v[j];
    sq_factors f = {0};
    if (t->of != SQ_FREE_TERM) continue;
    sq_lspace_factors(w, t->factor, &f);
    for (uint32_t i = 0; i < f.v.n; i++) {
      uint32_t axes = (uint32_t)sq_lspace_axes(w, f.v.v[i].id) & own;
      if (axes) sq_push(w->g->arena, &sets->v, axes);
    }
  }
}

// Are free terms products of two parts with axes of their own: k[c] * v[j]? Axes that all factors
// have in common (heads) do not count.
static void find_outer(const sq_recurrence *r, sq_component *c) {
  uint32_t k = c->state[0], rank = r->space[k]->m.k->n_par, up[SQ_MAX_RANK];
  if (rank < 2 || c->n > 1 || c->alg != SQ_ALG_SUM) return;
  axis_sets sets = {0};
  factor_axes(r, k, &sets);
  uint32_t shared = sets.v.n ? UINT32_MAX : 0, set[SQ_MAX_RANK] = {0}, n = 0;
  for (uint32_t i = 0; i < sets.v.n; i++) shared &= sets.v.v[i];
  for (uint32_t a = 0; a < rank; a++) up[a] = a;
  for (uint32_t i = 0; i < sets.v.n; i++) {
    uint32_t axes = sets.v.v[i] & ~shared;
    for (uint32_t a = 0; a < rank; a++)
      if (axes >> a & 1) up[find(up, a)] = find(up, (uint32_t)__builtin_ctz(axes));
  }
  for (uint32_t a = 0; a < rank; a++)
    if (!(shared >> a & 1)) set[find(up, a)] |= 1u << a;
  uint32_t part[SQ_MAX_RANK];
  for (uint32_t a = 0; a < rank; a++)
    if (set[a]) part[n++] = set[a];
  if (n == 2 && sets.v.n) memcpy(c->outer, part, sizeof c->outer);
}

// ---- classes -----------------------------------------------------------------------------------
static void refuse(sq_component *c, const sq_linear *f) {
  if (c->alg == SQ_ALG_NONE && c->why) return;
  c->alg = SQ_ALG_NONE;
  c->why = f->why;
  c->where = f->where;
}

static void look_at_terms(sq_recurrence *r, sq_component *c, uint32_t k) {
  const sq_linear *f = &r->next[k];
  sq_lspace *w = r->space[k];
  uint32_t rank = w->m.k->n_par;
  for (uint32_t j = 0; j < f->term.n; j++) {
    const sq_lterm *t = &f->term.v[j];
    if (t->of == SQ_FREE_TERM) continue;
    bool same = t->n_pos == rank;
    for (uint32_t i = 0; i < t->n_pos; i++) {
      sq_place p = sq_lterm_place(w, t, i);
      same &= p == SQ_PLACE_OWN;
      if (p == SQ_PLACE_SUMMED && t->n_pos == rank) c->along |= 1u << i;
      if (p == SQ_PLACE_OTHER || t->n_pos != rank) c->how = SQ_TRANS_PLACES;
    }
    uint64_t axes = sq_lspace_axes(w, t->factor) | sq_lspace_axes(w, t->shift);
    c->axes |= (uint32_t)(axes & ((1ull << rank) - 1));
    if (t->factor != SQ_NO_SCALAR) c->factors = true;
    if (t->shift != SQ_NO_SCALAR) c->shifts = true;
    if (t->factor != SQ_NO_SCALAR && may_reset(w, t->factor)) c->resets = true;
    c->diagonal |= same;
  }
}

// Along one axis, products of a vector of the own index and one of the index summed over?
static bool low_rank(const sq_recurrence *r, sq_component *c) {
  if (c->n > 1 || c->alg != SQ_ALG_SUM || (c->along & (c->along - 1))) return false;
  uint32_t k = c->state[0], axis = (uint32_t)__builtin_ctz(c->along);
  const sq_linear *f = &r->next[k];
  sq_lspace *w = r->space[k];
  for (uint32_t j = 0; j < f->term.n; j++) {
    const sq_lterm *t = &f->term.v[j];
    if (t->of == SQ_FREE_TERM || sq_lterm_place(w, t, axis) == SQ_PLACE_OWN) continue;
    uint32_t summed = sq_lspace_scalar(w, t->pos[axis])->axis;
    if (t->factor != SQ_NO_SCALAR && !separates(w, t->factor, axis, summed)) return false;
    c->rank++;
  }
  return c->rank > 0;
}

static void find_transition(sq_recurrence *r, sq_component *c) {
  c->how = SQ_TRANS_FRESH;
  for (uint32_t i = 0; i < c->n; i++) look_at_terms(r, c, c->state[i]);
  if (c->how == SQ_TRANS_PLACES) return;
  if (c->along) {
    c->how = low_rank(r, c) ? SQ_TRANS_LOW_RANK : SQ_TRANS_DENSE;
    return;
  }
  c->how = c->n > 1                  ? SQ_TRANS_BLOCK
           : c->axes                 ? SQ_TRANS_DIAGONAL
           : c->factors || c->shifts ? SQ_TRANS_SCALAR
                                     : SQ_TRANS_IDENTITY;
}

// The maximum of factor * state + shift goes on being one only with factors that are not negative.
static void check_signs(sq_recurrence *r, sq_component *c) {
  if (c->alg != SQ_ALG_MAX && c->alg != SQ_ALG_MIN) return;
  for (uint32_t i = 0; i < c->n; i++) {
    const sq_linear *f = &r->next[c->state[i]];
    for (uint32_t j = 0; j < f->term.n; j++) {
      if (f->term.v[j].of == SQ_FREE_TERM) continue;
      if (sq_lspace_positive(r->space[c->state[i]], f->term.v[j].factor)) continue;
      sq_linear why = {.why = "a factor that may be negative inside a maximum or minimum",
                       .where = r->scan->span};
      refuse(c, &why);
      return;
    }
  }
}

static void classify(sq_recurrence *r, sq_component *c) {
  uint64_t own = 0;
  for (uint32_t i = 0; i < c->n; i++) own |= 1ull << c->state[i];
  const sq_block *b = r->scan->region[0];
  c->alg = SQ_ALG_FREE;
  for (uint32_t i = 0; i < c->n; i++) {
    uint32_t k = c->state[i];
    sq_value *next = sq_block_end(b)->in[k];
    r->space[k] = sq_lspace_make(&r->d, own, false, next->type);
    r->next[k] = sq_linear_of(r->space[k], next);
    const sq_linear *f = &r->next[k];
    if (f->alg == SQ_ALG_NONE) refuse(c, f);
    if (c->alg == SQ_ALG_NONE || f->alg == SQ_ALG_FREE) continue;
    sq_linear mixed = {.why = "a sum and a maximum that depend on each other",
                       .where = r->scan->span};
    if (c->alg == SQ_ALG_FREE)
      c->alg = f->alg;
    else if (c->alg != f->alg)
      refuse(c, &mixed);
  }
  if (c->n == 1 && sq_block_end(b)->in[c->state[0]] == b->args.v[1 + c->state[0]]) {
    c->how = SQ_TRANS_KEPT;
    return;
  }
  check_signs(r, c);
  if (c->alg == SQ_ALG_NONE) return;
  find_transition(r, c);
  if (c->alg == SQ_ALG_FREE) c->how = SQ_TRANS_FRESH;
  find_outer(r, c);
}

// ---- online softmax ----------------------------------------------------------------------------
static bool is_running_maximum(const sq_component *c) {
  return c->n == 1 && c->alg == SQ_ALG_MAX && c->how == SQ_TRANS_IDENTITY;
}

// Does an exponential in the factor read the value, of this turn or the next?
static bool exponential_of(const sq_lspace *w, uint32_t id, const sq_value *a, const sq_value *b,
                           bool inside, int depth) {
  const sq_scalar *s = sq_lspace_scalar(w, id);
  if (depth > 30) return false;
  if (s->kind == SQ_SC_READ) {
    const sq_value *v = w->m.in.v[s->operand];
    return inside && (v == a || v == b);
  }
  int n = s->kind == SQ_SC_EWISE ? sq_ewise_table[s->ew].arity : s->kind == SQ_SC_SELECT ? 3 : 0;
  inside |= s->kind == SQ_SC_EWISE && (s->ew == SQ_EW_EXP || s->ew == SQ_EW_EXP2);
  for (int k = 0; k < n; k++)
    if (exponential_of(w, s->a[k], a, b, inside, depth + 1)) return true;
  return false;
}

static void find_softmax(sq_recurrence *r, sq_component *c) {
  if (c->n != 1 || c->alg != SQ_ALG_SUM) return;
  if (c->how != SQ_TRANS_SCALAR && c->how != SQ_TRANS_DIAGONAL) return;
  uint32_t k = c->state[0];
  const sq_linear *f = &r->next[k];
  for (uint32_t m = 0; m < r->n_component; m++) {
    if (!is_running_maximum(&r->component[m])) continue;
    uint32_t of = r->component[m].state[0];
    const sq_value *now = r->scan->region[0]->args.v[1 + of], *next = next_of(r->scan, of);
    for (uint32_t j = 0; j < f->term.n; j++) {
      const sq_lterm *t = &f->term.v[j];
      if (t->of == SQ_FREE_TERM || t->factor == SQ_NO_SCALAR) continue;
      if (!exponential_of(r->space[k], t->factor, now, next, false, 0)) continue;
      c->softmax = true;
      c->maximum = m;
    }
  }
}

sq_recurrence sq_recurrence_make(sq_graph *g, sq_node *scan) {
  sq_recurrence r = {.scan = scan, .known = scan->n_carried <= SQ_MAX_STATES};
  if (!r.known) return r;
  r.d = sq_depends_make(g, scan);
  r.of = SQ_ARRAY(g->arena, uint32_t, scan->n_carried + 1);
  r.space = SQ_ARRAY(g->arena, sq_lspace *, scan->n_carried + 1);
  r.next = SQ_ARRAY(g->arena, sq_linear, scan->n_carried + 1);
  split_components(&r);
  for (uint32_t k = 0; k < r.n_component; k++) classify(&r, &r.component[k]);
  for (uint32_t k = 0; k < r.n_component; k++) find_softmax(&r, &r.component[k]);
  return r;
}
