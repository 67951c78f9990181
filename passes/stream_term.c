// What is summed over the keys, taken apart: factors with the key and without, conditions.
//
//   select(c, a / l * w, 0)   in: w; out: a, divided by l; when or where: c
#include "passes/stream.h"

bool sq_attention_has_key(const sq_attention *a, uint32_t id) {
  return sq_scalar_axes(a->m.k, id) >> a->key & 1;
}

static void add_once(sq_attention *a, sq_term *t, uint32_t c) {
  bool key = sq_attention_has_key(a, c);
  uint32_t n = key ? t->where.n : t->when.n;
  for (uint32_t k = 0; k < n; k++)
    if ((key ? t->where.v[k] : t->when.v[k]) == c) return;
  if (key)
    sq_push(a->g->arena, &t->where, c);
  else
    sq_push(a->g->arena, &t->when, c);
}

static void add_condition(sq_attention *a, sq_term *t, uint32_t c, bool *seen) {
  if (seen[c]) return;
  seen[c] = true;
  const sq_scalar *s = sq_attention_at(a, c);
  if (s->kind == SQ_SC_INT && s->i) return;
  if (s->kind == SQ_SC_EWISE && s->ew == SQ_EW_AND) {
    uint32_t x = s->a[0], y = s->a[1];
    add_condition(a, t, x, seen);
    add_condition(a, t, y, seen);
    return;
  }
  add_once(a, t, c);
}

void sq_attention_add_condition(sq_attention *a, sq_term *t, uint32_t c) {
  add_condition(a, t, c, SQ_ARRAY(a->g->arena, bool, c + 1));
}

static bool is_zero(const sq_attention *a, uint32_t id) {
  double v;
  return sq_scalar_float(a->m.k, id, &v) && v == 0;
}

static bool knows(const sq_attention *a, const sq_term *t, uint32_t c, bool *seen) {
  if (seen[c]) return true; // or what asks is false already
  seen[c] = true;
  const sq_scalar *s = sq_attention_at(a, c);
  if (s->kind == SQ_SC_EWISE && s->ew == SQ_EW_AND)
    return knows(a, t, s->a[0], seen) && knows(a, t, s->a[1], seen);
  for (uint32_t k = 0; k < t->where.n; k++)
    if (t->where.v[k] == c) return true;
  for (uint32_t k = 0; k < t->when.n; k++)
    if (t->when.v[k] == c) return true;
  return false;
}

bool sq_attention_knows(const sq_attention *a, const sq_term *t, uint32_t c) {
  return knows(a, t, c, SQ_ARRAY(a->g->arena, bool, c + 1));
}

static void need(uint32_t id, void *user) { ((bool *)user)[id] = true; }

// The scalar where the conditions of t hold: guards that say the same are dropped.
static uint32_t unguarded(sq_attention *a, const sq_term *t, uint32_t root) {
  bool *used = SQ_ARRAY(a->g->arena, bool, root + 1), any = false;
  used[root] = true;
  for (uint32_t id = root + 1; id-- > 0;) {
    const sq_scalar *s = sq_attention_at(a, id);
    if (!used[id]) continue;
    any |= s->kind == SQ_SC_READ && s->guard != SQ_NO_SCALAR && sq_attention_knows(a, t, s->guard);
    sq_scalar_refs(s, need, used);
  }
  if (!any) return root;
  uint32_t *map = SQ_ARRAY(a->g->arena, uint32_t, root + 1);
  for (uint32_t id = 0; id <= root; id++) {
    if (!used[id]) continue;
    sq_scalar s = *sq_attention_at(a, id);
    if (s.kind == SQ_SC_READ && s.guard != SQ_NO_SCALAR && sq_attention_knows(a, t, s.guard))
      s.guard = SQ_NO_SCALAR;
    sq_scalar_remap(a->g, &s, map);
    map[id] = sq_maker_add(&a->m, s);
  }
  return map[root];
}

static uint32_t of_score(sq_attention *a, uint32_t id) {
  uint32_t axis[SQ_MAX_RANK + 1];
  for (uint32_t x = 0; x < a->score->g->n_par; x++) axis[x] = x;
  axis[a->score->g->n_par] = SQ_NO_AXIS;
  return sq_attention_graft(a, a->score, axis, id);
}

// select(c, x, 0), or the other way round: c in the space, and x; false: it has another form.
static bool take_mask(sq_attention *a, uint32_t *id, uint32_t *c) {
  const sq_generic *k = a->score->g;
  double v;
  if (*id == SQ_NO_SCALAR || k->s.v[*id].kind != SQ_SC_SELECT) return false;
  const sq_scalar *s = &k->s.v[*id];
  bool second = sq_scalar_float(k, s->a[1], &v) && v == 0;
  if (!second && !(sq_scalar_float(k, s->a[2], &v) && v == 0)) return false;
  *c = of_score(a, s->a[0]);
  if (second) *c = sq_maker_ewise(&a->m, SQ_EW_NOT, *c, SQ_NO_SCALAR);
  *id = s->a[second ? 2 : 1];
  return true;
}

// Where a score is 0 by what it ends with, so is its product.
static void take_masks(sq_attention *a, sq_term *t) {
  uint32_t id = a->score->g->post, c;
  while (take_mask(a, &id, &c)) sq_attention_add_condition(a, t, c);
}

// What the score ends with, but for masks that are conditions of all sums.
uint32_t sq_attention_unmasked(sq_attention *a) {
  uint32_t id = a->score->g->post, next = id, c;
  for (; take_mask(a, &next, &c); id = next)
    for (uint32_t j = 0; j < a->sum.n; j++)
      if (!sq_attention_knows(a, &a->sum.v[j].t, c)) return id;
  return id;
}

// A product of so many factors, as of powers of powers, stays whole.
enum { MOST_FACTORS = 64 };

void sq_attention_take(sq_attention *a, sq_term *t, uint32_t id, bool divides, int depth) {
  id = unguarded(a, t, id);
  const sq_scalar s = *sq_attention_at(a, id);
  sq_factor f = {id, divides};
  if (!sq_attention_has_key(a, id)) {
    sq_push(a->g->arena, &t->out, f);
    return;
  }
  if (s.kind == SQ_SC_EWISE && depth < 40 && t->in.n < MOST_FACTORS) {
    if (s.ew == SQ_EW_MUL || s.ew == SQ_EW_DIV) {
      sq_attention_take(a, t, s.a[0], divides, depth + 1);
      sq_attention_take(a, t, s.a[1], s.ew == SQ_EW_DIV ? !divides : divides, depth + 1);
      return;
    }
    if (s.ew == SQ_EW_NEG) {
      t->negative = !t->negative;
      sq_attention_take(a, t, s.a[0], divides, depth + 1);
      return;
    }
  }
  if (id != a->read && s.kind == SQ_SC_READ && !divides && s.guard != SQ_NO_SCALAR &&
      a->m.in.v[s.operand] == a->score->out[0]) {
    sq_attention_add_condition(a, t, s.guard);
    sq_attention_take(a, t, a->read, divides, depth + 1);
    return;
  }
  if (id == a->read && !divides) take_masks(a, t);
  if (s.kind == SQ_SC_SELECT && !divides && depth < 40) {
    bool second = is_zero(a, s.a[1]);
    if (second || is_zero(a, s.a[2])) {
      uint32_t c = second ? sq_maker_ewise(&a->m, SQ_EW_NOT, s.a[0], SQ_NO_SCALAR) : s.a[0];
      sq_attention_add_condition(a, t, c);
      sq_attention_take(a, t, s.a[second ? 2 : 1], divides, depth + 1);
      return;
    }
  }
  sq_push(a->g->arena, &t->in, f);
}

// A guard may have come before the condition that it repeats: with all of them known, once more.
void sq_attention_settle(sq_attention *a, sq_term *t) {
  sq_term old = *t;
  t->in.n = t->out.n = 0;
  t->in.v = t->out.v = NULL;
  t->in.cap = t->out.cap = 0;
  for (uint32_t k = 0; k < old.out.n; k++)
    sq_attention_take(a, t, old.out.v[k].id, old.out.v[k].divides, 0);
  for (uint32_t k = 0; k < old.in.n; k++)
    sq_attention_take(a, t, old.in.v[k].id, old.in.v[k].divides, 0);
}

void sq_attention_take_conditions(sq_attention *a, sq_attention_sum *s) {
  for (uint32_t k = 0; k < s->n->g->domain.n; k++)
    sq_attention_add_condition(a, &s->t,
                               sq_attention_graft(a, s->n, s->axis, s->n->g->domain.v[k]));
}
