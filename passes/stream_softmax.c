// Softmax weights: the factor exp(c * (x - the maximum of x)), in the space of the scores, and the masks in x
// that become conditions.
//
//   weight  exp(%s[i, j] - %m[i])            m = max [j] of the same, or logsumexp, or a function of the max
//   mask    x + select(j <= i, 0, -inf)      x, where j <= i: each row keeps a key
#include "passes/stream.h"
#include <math.h>

static void need(uint32_t id, void *user) { ((bool *)user)[id] = true; }

static bool is_zero(const sq_attention *a, uint32_t id) {
  double v;
  return sq_scalar_float(a->m.k, id, &v) && v == 0;
}

// The statistic that scalar `id` reads at its own row, or NULL.
static sq_node *row_read(sq_attention *a, uint32_t id) {
  const sq_scalar *r = sq_attention_at(a, id);
  if (r->kind != SQ_SC_READ || r->guard != SQ_NO_SCALAR || r->other != SQ_NO_SCALAR) return NULL;
  sq_node *n = a->m.in.v[r->operand]->def;
  return n && sq_attention_holds(a, n) && n->g->n_red ? n : NULL;
}

// Is m the maximum or logsumexp of that exponent over the keys?
static bool is_max_of(sq_attention *a, const sq_node *m, uint32_t exponent) {
  bool bare = m->g->post == SQ_NO_SCALAR;
  return (m->g->monoid == SQ_MAX || (m->g->monoid == SQ_LOGSUMEXP && bare)) &&
         sq_attention_axes(a, m, a->max_axis) && sq_attention_covers_rows(a, m, a->max_axis) &&
         sq_attention_graft(a, m, a->max_axis, m->g->body) == exponent;
}

// The maximum of the exponent that the shift is computed from: the larger of it and a sink, for instance.
static sq_node *max_within(sq_attention *a, uint32_t shift, uint32_t exponent) {
  if (sq_attention_has_key(a, shift)) return NULL;
  bool *used = SQ_ARRAY(a->g->arena, bool, shift + 1);
  used[shift] = true;
  for (uint32_t id = shift + 1; id-- > 0;) {
    if (!used[id]) continue;
    sq_node *m = row_read(a, id);
    if (m && m->g->monoid == SQ_MAX && is_max_of(a, m, exponent)) return m;
    sq_scalar_refs(sq_attention_at(a, id), need, used);
  }
  return NULL;
}

// The scalar with another index for the key.
static uint32_t at_key(sq_attention *a, uint32_t root, uint32_t key) {
  bool *used = SQ_ARRAY(a->g->arena, bool, root + 1);
  uint32_t *map = SQ_ARRAY(a->g->arena, uint32_t, root + 1);
  used[root] = true;
  for (uint32_t id = root + 1; id-- > 0;)
    if (used[id]) sq_scalar_refs(sq_attention_at(a, id), need, used);
  for (uint32_t id = 0; id <= root; id++) {
    if (!used[id]) continue;
    sq_scalar s = *sq_attention_at(a, id);
    if (s.kind == SQ_SC_INDEX && s.axis == a->key) {
      map[id] = key;
      continue;
    }
    sq_scalar_remap(a->g, &s, map);
    map[id] = sq_maker_add(&a->m, s);
  }
  return map[root];
}

static bool is_true(const sq_attention *a, uint32_t id) {
  int64_t v;
  return sq_scalar_int(a->m.k, id, &v) && v;
}

// Does the condition hold for a key of each row, be it the first or the one with the row's number?
static bool leaves_a_key(sq_attention *a, uint32_t c) {
  if (is_true(a, at_key(a, c, sq_maker_int(&a->m, SQ_I64, 0)))) return true;
  const sq_axis *axis = a->m.k->axis;
  for (uint32_t x = 0; x < a->m.k->n_par; x++)
    if (x != a->key && sq_dim_same(axis[x].extent, axis[a->key].extent) &&
        is_true(a, at_key(a, c, sq_maker_index(&a->m, x))))
      return true;
  return false;
}

static bool is_minus_infinity(const sq_attention *a, uint32_t id) {
  double v;
  return sq_scalar_float(a->m.k, id, &v) && v == -INFINITY;
}

// select(c, x, -inf), x + select(c, 0, -inf): x, and the condition c in *keep. Keys outside count for
// nothing, as long as each row has one inside.
static uint32_t unmasked(sq_attention *a, uint32_t id, uint32_t *keep, int depth) {
  sq_scalar s = *sq_attention_at(a, id);
  if (s.kind == SQ_SC_SELECT) {
    bool first = is_minus_infinity(a, s.a[1]);
    if (!first && !is_minus_infinity(a, s.a[2])) return id;
    uint32_t c = first ? sq_maker_ewise(&a->m, SQ_EW_NOT, s.a[0], SQ_NO_SCALAR) : s.a[0];
    if (!leaves_a_key(a, sq_maker_and(&a->m, *keep, c))) return id;
    *keep = sq_maker_and(&a->m, *keep, c);
    return s.a[first ? 2 : 1];
  }
  if (s.kind != SQ_SC_EWISE || s.ew != SQ_EW_ADD || depth > 8) return id;
  uint32_t x = unmasked(a, s.a[0], keep, depth + 1), y = unmasked(a, s.a[1], keep, depth + 1);
  if (x == s.a[0] && y == s.a[1]) return id;
  if (is_zero(a, x)) return y;
  return is_zero(a, y) ? x : sq_maker_ewise(&a->m, SQ_EW_ADD, x, y);
}

static uint32_t count_weights(const sq_attention *a, const sq_term *t) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < t->in.n; k++) n += t->in.v[k].id == a->weight && !t->in.v[k].divides;
  return n;
}

static bool reaches(const sq_attention *a, uint32_t root, uint32_t target) {
  bool *used = SQ_ARRAY(a->g->arena, bool, root + 1);
  used[root] = true;
  for (uint32_t id = root + 1; id-- > 0;)
    if (used[id]) sq_scalar_refs(sq_attention_at(a, id), need, used);
  return target <= root && used[target];
}

// Does the sum use scores by one weight, and in no other way?
static bool only_by_weight(const sq_attention *a, const sq_term *t) {
  for (uint32_t k = 0; k < t->in.n; k++)
    if (t->in.v[k].id != a->weight && reaches(a, t->in.v[k].id, a->read)) return false;
  for (uint32_t k = 0; k < t->where.n; k++)
    if (reaches(a, t->where.v[k], a->read)) return false;
  return count_weights(a, t) == 1;
}

// The exponent, from the bare sum of products on where it is just the score.
static uint32_t whole_exponent(sq_attention *a) {
  const sq_node *n = a->score;
  uint32_t at[SQ_MAX_RANK + 1];
  if (a->exponent != a->read || n->g->post == SQ_NO_SCALAR) return a->exponent;
  for (uint32_t x = 0; x < n->g->n_par; x++) at[x] = sq_maker_index(&a->m, x);
  at[n->g->n_par] = SQ_NO_SCALAR;
  sq_graft how = {.from = n, .axis = at, .acc = a->read, .guard = SQ_NO_SCALAR};
  return sq_maker_graft(&a->m, &how, n->g->post, sq_maker_map(&a->m, n));
}

// Masks in the exponent become conditions of all that the weights are summed in.
static void open_masks(sq_attention *a) {
  uint32_t keep = SQ_NO_SCALAR, whole = whole_exponent(a);
  uint32_t x = unmasked(a, whole, &keep, 0);
  if (keep == SQ_NO_SCALAR) return;
  for (uint32_t j = 0; j < a->sum.n; j++) {
    const sq_attention_sum *s = &a->sum.v[j];
    if (s->n != a->max && s->n != a->logsumexp && !only_by_weight(a, &s->t)) return;
  }
  sq_term t = {0};
  sq_attention_add_condition(a, &t, keep);
  for (uint32_t k = 0; k < t.where.n; k++) sq_push(a->g->arena, &a->where, t.where.v[k]);
  for (uint32_t j = 0; j < a->sum.n; j++) sq_attention_add_condition(a, &a->sum.v[j].t, keep);
  a->bare = whole != a->exponent;
  a->exponent = x;
}

// x of exp(c * (x - m)), m a maximum or logsumexp of x itself over the keys.
static bool shifted(sq_attention *a, uint32_t id) {
  const sq_scalar *e = sq_attention_at(a, id);
  if (e->kind != SQ_SC_EWISE || (e->ew != SQ_EW_EXP && e->ew != SQ_EW_EXP2)) return false;
  const sq_scalar *x = sq_attention_at(a, e->a[0]);
  double by = 1;
  if (x->kind == SQ_SC_EWISE && (x->ew == SQ_EW_MUL || x->ew == SQ_EW_DIV)) {
    uint32_t c = x->a[1], y = x->a[0];
    if (x->ew == SQ_EW_MUL && sq_attention_at(a, y)->kind == SQ_SC_FLOAT) c = y, y = x->a[1];
    if (!sq_scalar_float(a->m.k, c, &by) || !(by > 1e-6) || by > 1e6) return false;
    if (x->ew == SQ_EW_DIV) by = 1 / by;
    x = sq_attention_at(a, y);
  }
  if (x->kind != SQ_SC_EWISE || x->ew != SQ_EW_SUB) return false;
  uint32_t exponent = x->a[0], shift = x->a[1];
  sq_ewise ew = e->ew;
  sq_node *m = row_read(a, shift);
  if (m && m->g->monoid == SQ_LOGSUMEXP && (by != 1 || ew != SQ_EW_EXP)) return false;
  if (m && !is_max_of(a, m, exponent)) return false;
  if (!m && !(m = max_within(a, shift, exponent))) return false;
  bool bare = sq_attention_at(a, shift)->kind == SQ_SC_READ && m->g->post == SQ_NO_SCALAR;
  a->shift = bare ? SQ_NO_SCALAR : shift;
  a->weight = id;
  a->exponent = exponent;
  a->exp = ew;
  a->by = by;
  *(m->g->monoid == SQ_MAX ? &a->max : &a->logsumexp) = m;
  sq_attention_sum s = {.n = m};
  memcpy(s.axis, a->max_axis, sizeof s.axis);
  sq_attention_take_conditions(a, &s);
  for (uint32_t k = 0; k < s.t.where.n; k++) sq_push(a->g->arena, &a->where, s.t.where.v[k]);
  for (uint32_t k = 0; k < s.t.when.n; k++) sq_push(a->g->arena, &a->where, s.t.when.v[k]);
  return true;
}

static bool term_has(const sq_term *t, uint32_t c) {
  for (uint32_t k = 0; k < t->where.n; k++)
    if (t->where.v[k] == c) return true;
  for (uint32_t k = 0; k < t->when.n; k++)
    if (t->when.v[k] == c) return true;
  return false;
}

// Does a scalar of the space, but for the weight, read a statistic and vary with the key?
static bool reads_statistic(sq_attention *a, uint32_t root) {
  bool *used = SQ_ARRAY(a->g->arena, bool, a->m.k->s.n + 1);
  sq_generic alone = *a->m.k;
  alone.body = root;
  alone.post = SQ_NO_SCALAR;
  alone.domain.n = 0;
  sq_scalars_reached(&alone, used);
  for (uint32_t id = 0; id < a->m.k->s.n; id++)
    if (used[id] && row_read(a, id)) return true;
  return false;
}

static bool check_sum(sq_attention *a, const sq_attention_sum *s) {
  for (uint32_t k = 0; k < s->t.in.n; k++) {
    sq_factor f = s->t.in.v[k];
    if (f.id != a->weight && reads_statistic(a, f.id))
      return sq_attention_no(
          a, a->weight == SQ_NO_SCALAR
                 ? "a weight depends on other weights of its row otherwise than by a factor"
                 : "the scores are shifted by something else than their own maximum");
  }
  for (uint32_t k = 0; k < s->t.where.n; k++)
    if (reads_statistic(a, s->t.where.v[k]))
      return sq_attention_no(a, "a condition depends on other weights");
  if (a->weight == SQ_NO_SCALAR) return true;
  if (count_weights(a, &s->t) > 1)
    return sq_attention_no(a, "a weight is used twice in one product");
  for (uint32_t k = 0; k < a->where.n; k++)
    if (!term_has(&s->t, a->where.v[k]))
      return sq_attention_no(a, "the maximum is taken over fewer keys than a sum");
  return true;
}

bool sq_attention_find_weight(sq_attention *a) {
  for (uint32_t j = 0; j < a->sum.n; j++) {
    if (a->sum.v[j].n != a->value) continue;
    const sq_term *t = &a->sum.v[j].t;
    for (uint32_t k = 0; k < t->in.n && a->weight == SQ_NO_SCALAR; k++)
      if (!t->in.v[k].divides) shifted(a, t->in.v[k].id);
  }
  if (a->weight != SQ_NO_SCALAR) open_masks(a);
  for (uint32_t j = 0; j < a->sum.n; j++) {
    const sq_attention_sum *s = &a->sum.v[j];
    bool shift = s->n == a->max || s->n == a->logsumexp;
    if (!shift && (s->n->g->monoid == SQ_MAX || s->n->g->monoid == SQ_LOGSUMEXP))
      return sq_attention_no(a, "the weights are not exp of the scores less their own maximum");
    if (!shift && s->n->g->monoid != SQ_SUM)
      return sq_attention_no(a, "a row is reduced by something else than sums and its own maximum");
    if (!shift && !sq_is_float(s->n->out[0]->type.dtype))
      return sq_attention_no(a, "a sum over the keys is no number of floating point");
    if (!shift && !check_sum(a, s)) return false;
  }
  return true;
}
