// Recognition of attention: from a product of queries and keys to the weighted sum of values.
//
//   %s = generic (%q, %k) [i < N, j < N] sum [e < 64] { ... }       scores
//   ... anything elementwise over i, j; sums and maxima over j of it ...
//   %o = generic (%p, %v) [i < N, c < 64] sum [j < N] { %p[i, j] * %v[j, c] }
//
// Everything computed from scores element by element is put into one space, the axes of the score, where
// what is summed over the keys is taken apart into factors and conditions; those that do not depend
// on the key leave the sum. One factor may be exp of something less its own maximum: softmax.
#include "passes/stream.h"
#include <math.h>

const sq_scalar *sq_attention_at(const sq_attention *a, uint32_t id) { return &a->m.k->s.v[id]; }

const sq_node *sq_attention_view(sq_attention *a) {
  a->view = (sq_node){.op = SQ_OP_GENERIC, .g = a->m.k, .n_in = a->m.in.n, .in = a->m.in.v};
  return &a->view;
}

static bool no(sq_attention *a, const char *why) {
  a->why = why;
  return false;
}

// ---- what is made of scores --------------------------------------------------------------------
static void taint_node(sq_node *n, void *user) {
  sq_attention *a = user;
  bool hot = false;
  for (uint32_t k = 0; k < n->n_in; k++) hot |= a->tainted[n->in[k]->id];
  for (uint32_t r = 0; r < n->n_region && !hot; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      for (uint32_t j = 0; j < n->region[r]->nodes.v[k]->n_in; j++)
        hot |= a->tainted[n->region[r]->nodes.v[k]->in[j]->id];
  for (uint32_t k = 0; hot && k < n->n_out; k++) a->tainted[n->out[k]->id] = true;
}

static bool holds(const sq_attention *a, const sq_node *n) {
  for (uint32_t k = 0; k < a->all.n; k++)
    if (a->all.v[k] == n) return true;
  return false;
}

typedef struct user_list {
  const sq_value *v;
  sq_arena *arena;
  SQ_VEC(sq_node *) n;
} user_list;
static void find_users(sq_node *n, void *user) {
  user_list *l = user;
  for (uint32_t k = 0; k < n->n_in; k++)
    if (n->in[k] == l->v) {
      sq_push(l->arena, &l->n, n);
      return;
    }
}

static const char *line_of(const sq_attention *a, const sq_node *n) {
  uint32_t line, column;
  sq_span_line(&a->g->ctx->diags, n->span, &line, &column);
  return line ? sq_arena_fmt(a->g->arena, " (line %u)", line) : "";
}

// All that reads v element by element, and so on; false: something else uses it too.
static bool gather(sq_attention *a, const sq_value *v, const sq_node **odd) {
  user_list l = {.v = v, .arena = a->g->arena};
  sq_walk(a->f->body, find_users, &l);
  for (uint32_t k = 0; k < l.n.n; k++) {
    sq_node *n = l.n.v[k];
    if (holds(a, n)) continue;
    bool nest = n->op == SQ_OP_GENERIC && !n->g->keyed && !n->g->pos;
    if (!nest || n->block != a->score->block || a->all.n == SQ_ATTENTION_NODES) {
      *odd = n;
      continue;
    }
    sq_push(a->g->arena, &a->all, n);
    if (!n->g->n_red && !gather(a, n->out[0], odd)) return false;
  }
  return true;
}

static uint32_t place_in_block(const sq_node *n) {
  for (uint32_t k = 0; k < n->block->nodes.n; k++)
    if (n->block->nodes.v[k] == n) return k;
  return UINT32_MAX;
}

static void sort_by_place(sq_attention *a) {
  for (uint32_t i = 1; i < a->all.n; i++)
    for (uint32_t j = i; j > 0 && place_in_block(a->all.v[j]) < place_in_block(a->all.v[j - 1]);
         j--) {
      sq_node *t = a->all.v[j];
      a->all.v[j] = a->all.v[j - 1];
      a->all.v[j - 1] = t;
    }
}

// ---- the space ---------------------------------------------------------------------------------
// What may have been written since.
static bool reads_written(const sq_graph *g, const sq_node *n) {
  for (uint32_t k = 0; k < n->n_in; k++) {
    const sq_node *def = n->in[k]->def;
    if (!def) continue;
    if (def->op == SQ_OP_STATE_READ || (def->op == SQ_OP_PARAM && g->param.v[def->ref].written))
      return true;
  }
  return false;
}

enum { CHEAP = 8 };
static bool look_through(void *user, const sq_scalar *read, sq_value *v) {
  (void)read;
  const sq_attention *a = user;
  const sq_node *n = v->def;
  if (n->g->s.n > 200) return false;
  if (a->tainted[v->id]) return true;
  return !reads_written(a->g, n) && sq_scalar_cost(n->g, sq_scalar_root(n->g)) <= CHEAP;
}

static void open_space(sq_attention *a) {
  const sq_generic *k = a->score->g;
  uint32_t pos[SQ_MAX_RANK];
  sq_maker_start(&a->m, a->g, k->n_par, 0);
  for (uint32_t x = 0; x < k->n_par; x++) a->m.k->axis[x] = k->axis[x];
  a->m.inlines = look_through;
  a->m.user = a;
  for (uint32_t x = 0; x < k->n_par; x++) pos[x] = sq_maker_index(&a->m, x);
  a->read = sq_maker_read(&a->m, a->score->out[0], k->n_par, pos);
}

uint32_t sq_attention_graft(sq_attention *a, const sq_node *n, const uint32_t *axis, uint32_t id) {
  uint32_t n_axes = n->g->n_par + n->g->n_red;
  uint32_t *at = SQ_ARRAY(a->g->arena, uint32_t, n_axes + 1);
  for (uint32_t x = 0; x < n_axes; x++)
    at[x] = axis[x] == SQ_NO_AXIS ? SQ_NO_SCALAR : sq_maker_index(&a->m, axis[x]);
  sq_graft how = {.from = n, .axis = at, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  return sq_maker_graft(&a->m, &how, id, sq_maker_map(&a->m, n));
}

// Which axis of the score each axis of n is, by the scores that it reads; SQ_NO_AXIS: none.
static bool find_axes(sq_attention *a, const sq_node *n, uint32_t *axis) {
  sq_maker m;
  uint32_t n_axes = n->g->n_par + n->g->n_red, plain[SQ_MAX_RANK];
  sq_maker_start_like(&m, a->g, n);
  m.inlines = look_through;
  m.user = a;
  uint32_t *at = SQ_ARRAY(a->g->arena, uint32_t, n_axes + 1);
  for (uint32_t x = 0; x < n_axes; x++) at[x] = sq_maker_index(&m, x);
  sq_graft how = {.from = n, .axis = at, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  sq_maker_graft(&m, &how, n->g->body, sq_maker_map(&m, n));
  for (uint32_t x = 0; x < n_axes; x++) axis[x] = SQ_NO_AXIS;
  bool any = false;
  for (uint32_t id = 0; id < m.k->s.n; id++) {
    const sq_scalar *s = &m.k->s.v[id];
    if (s->kind != SQ_SC_READ || m.in.v[s->operand] != a->score->out[0]) continue;
    if (s->other != SQ_NO_SCALAR || s->site != SQ_NO_SITE || !sq_read_is_plain(a->g, m.k, s, plain))
      return no(a, "it uses single scores, not whole rows of them");
    for (uint32_t p = 0; p < s->n_pos; p++) {
      if (axis[plain[p]] != SQ_NO_AXIS && axis[plain[p]] != p)
        return no(a, "it uses scores of other rows than its own");
      axis[plain[p]] = p;
      if (!sq_dim_same(m.k->axis[plain[p]].extent, a->score->g->axis[p].extent))
        return no(a, "it uses a part of the scores of a row");
    }
    any = true;
  }
  return any;
}

// ---- products taken apart ----------------------------------------------------------------------
static bool has_key(const sq_attention *a, uint32_t id) {
  return sq_scalar_axes(a->m.k, id) >> a->key & 1;
}

static void add_once(sq_attention *a, sq_term *t, uint32_t c) {
  bool key = has_key(a, c);
  uint32_t n = key ? t->where.n : t->when.n;
  for (uint32_t k = 0; k < n; k++)
    if ((key ? t->where.v[k] : t->when.v[k]) == c) return;
  if (key)
    sq_push(a->g->arena, &t->where, c);
  else
    sq_push(a->g->arena, &t->when, c);
}

static void add_condition(sq_attention *a, sq_term *t, uint32_t c) {
  const sq_scalar *s = sq_attention_at(a, c);
  if (s->kind == SQ_SC_INT && s->i) return;
  if (s->kind == SQ_SC_EWISE && s->ew == SQ_EW_AND) {
    uint32_t x = s->a[0], y = s->a[1];
    add_condition(a, t, x);
    add_condition(a, t, y);
    return;
  }
  add_once(a, t, c);
}

static bool is_zero(const sq_attention *a, uint32_t id) {
  double v;
  return sq_scalar_float(a->m.k, id, &v) && v == 0;
}

static bool known(const sq_attention *a, const sq_term *t, uint32_t c) {
  const sq_scalar *s = sq_attention_at(a, c);
  if (s->kind == SQ_SC_EWISE && s->ew == SQ_EW_AND)
    return known(a, t, s->a[0]) && known(a, t, s->a[1]);
  for (uint32_t k = 0; k < t->where.n; k++)
    if (t->where.v[k] == c) return true;
  for (uint32_t k = 0; k < t->when.n; k++)
    if (t->when.v[k] == c) return true;
  return false;
}

static void need(uint32_t id, void *user) { ((bool *)user)[id] = true; }

// The scalar where the conditions of t hold: guards that say the same are dropped.
static uint32_t unguarded(sq_attention *a, const sq_term *t, uint32_t root) {
  bool *used = SQ_ARRAY(a->g->arena, bool, root + 1), any = false;
  used[root] = true;
  for (uint32_t id = root + 1; id-- > 0;) {
    const sq_scalar *s = sq_attention_at(a, id);
    if (!used[id]) continue;
    any |= s->kind == SQ_SC_READ && s->guard != SQ_NO_SCALAR && known(a, t, s->guard);
    sq_scalar_refs(s, need, used);
  }
  if (!any) return root;
  uint32_t *map = SQ_ARRAY(a->g->arena, uint32_t, root + 1);
  for (uint32_t id = 0; id <= root; id++) {
    if (!used[id]) continue;
    sq_scalar s = *sq_attention_at(a, id);
    if (s.kind == SQ_SC_READ && s.guard != SQ_NO_SCALAR && known(a, t, s.guard))
      s.guard = SQ_NO_SCALAR;
    sq_scalar_remap(a->g, &s, map);
    map[id] = sq_maker_add(&a->m, s);
  }
  return map[root];
}

static void take(sq_attention *a, sq_term *t, uint32_t id, bool divides, int depth) {
  id = unguarded(a, t, id);
  const sq_scalar s = *sq_attention_at(a, id);
  sq_factor f = {id, divides};
  if (!has_key(a, id)) {
    sq_push(a->g->arena, &t->out, f);
    return;
  }
  if (s.kind == SQ_SC_EWISE && depth < 40) {
    if (s.ew == SQ_EW_MUL || s.ew == SQ_EW_DIV) {
      take(a, t, s.a[0], divides, depth + 1);
      take(a, t, s.a[1], s.ew == SQ_EW_DIV ? !divides : divides, depth + 1);
      return;
    }
    if (s.ew == SQ_EW_NEG) {
      t->negative = !t->negative;
      take(a, t, s.a[0], divides, depth + 1);
      return;
    }
  }
  if (id != a->read && s.kind == SQ_SC_READ && !divides && s.guard != SQ_NO_SCALAR &&
      a->m.in.v[s.operand] == a->score->out[0]) {
    add_condition(a, t, s.guard);
    take(a, t, a->read, divides, depth + 1);
    return;
  }
  if (s.kind == SQ_SC_SELECT && !divides && depth < 40) {
    bool second = is_zero(a, s.a[1]);
    if (second || is_zero(a, s.a[2])) {
      uint32_t c = second ? sq_maker_ewise(&a->m, SQ_EW_NOT, s.a[0], SQ_NO_SCALAR) : s.a[0];
      add_condition(a, t, c);
      take(a, t, s.a[second ? 2 : 1], divides, depth + 1);
      return;
    }
  }
  sq_push(a->g->arena, &t->in, f);
}

static void take_conditions(sq_attention *a, sq_attention_sum *s) {
  for (uint32_t k = 0; k < s->n->g->domain.n; k++)
    add_condition(a, &s->t, sq_attention_graft(a, s->n, s->axis, s->n->g->domain.v[k]));
}

// ---- the value ---------------------------------------------------------------------------------
static void collect(sq_attention *a, const sq_generic *k, uint32_t id, bool divides, sq_factor *all,
                    uint32_t *n) {
  const sq_scalar *s = &k->s.v[id];
  if (s->kind == SQ_SC_EWISE && (s->ew == SQ_EW_MUL || s->ew == SQ_EW_DIV) && *n < 30) {
    collect(a, k, s->a[0], divides, all, n);
    collect(a, k, s->a[1], s->ew == SQ_EW_DIV ? !divides : divides, all, n);
    return;
  }
  all[(*n)++] = (sq_factor){id, divides};
}

static bool made_of_scores(const sq_attention *a, const sq_node *n, uint32_t root) {
  bool *used = SQ_ARRAY(a->g->arena, bool, n->g->s.n + 1);
  sq_generic alone = *n->g;
  alone.body = root;
  alone.post = SQ_NO_SCALAR;
  alone.domain.n = 0;
  sq_scalars_reached(&alone, used);
  for (uint32_t id = 0; id < n->g->s.n; id++)
    if (used[id] && n->g->s.v[id].kind == SQ_SC_READ &&
        a->tainted[n->in[n->g->s.v[id].operand]->id])
      return true;
  return false;
}

// A factor of the value with the column: conditions of keys leave it, be they guards or selects.
static bool take_v(sq_attention *a, sq_attention_sum *s, sq_factor f) {
  const sq_node *n = s->n;
  for (int turn = 0; turn < 4; turn++) {
    const sq_scalar *x = &n->g->s.v[f.id];
    double zero;
    uint32_t c = SQ_NO_SCALAR;
    if (x->kind == SQ_SC_SELECT && sq_scalar_float(n->g, x->a[2], &zero) && zero == 0) c = x->a[0];
    if (x->kind == SQ_SC_READ) c = x->guard;
    if (c == SQ_NO_SCALAR || f.divides || sq_scalar_axes(n->g, c) >> a->column & 1) break;
    add_condition(a, &s->t, sq_attention_graft(a, n, s->axis, c));
    if (x->kind == SQ_SC_READ) break;
    f.id = x->a[1];
  }
  if (made_of_scores(a, n, f.id)) return no(a, "the values are computed from the scores");
  sq_push(a->g->arena, &a->v, f);
  return true;
}

static bool open_value(sq_attention *a, sq_attention_sum *s) {
  const sq_generic *k = s->n->g;
  sq_factor all[34];
  uint32_t n = 0;
  for (uint32_t j = 0; j < k->domain.n; j++)
    if (sq_scalar_axes(k, k->domain.v[j]) >> a->column & 1)
      return no(a, "a condition depends on the column of the values");
  take_conditions(a, s);
  collect(a, k, k->body, false, all, &n);
  for (uint32_t j = 0; j < n; j++) {
    if (sq_scalar_axes(k, all[j].id) >> a->column & 1) {
      if (!take_v(a, s, all[j])) return false;
    } else {
      take(a, &s->t, sq_attention_graft(a, s->n, s->axis, all[j].id), all[j].divides, 0);
    }
  }
  return a->v.n || no(a, "the values have no axis of their own");
}

// Sums with a factor of their own along an axis that the scores lack.
static uint32_t find_values(sq_attention *a) {
  uint32_t found = 0;
  for (uint32_t j = 0; j < a->all.n; j++) {
    const sq_node *n = a->all.v[j];
    const sq_generic *k = n->g;
    uint32_t axis[SQ_MAX_RANK * 2], free = 0, column = SQ_NO_AXIS;
    if (!k->n_red || k->monoid != SQ_SUM || !sq_is_float(k->s.v[k->body].dtype)) continue;
    if (!find_axes(a, n, axis)) continue;
    for (uint32_t x = 0; x < k->n_par; x++)
      if (axis[x] == SQ_NO_AXIS) free++, column = x;
    if (!free) continue;
    found++;
    if (free == 1 && k->n_red == 1 && axis[k->n_par] != SQ_NO_AXIS) {
      a->value = a->all.v[j];
      a->column = column;
      a->key = axis[k->n_par];
    }
  }
  return found;
}

// ---- softmax -----------------------------------------------------------------------------------
// The statistic that scalar `id` reads at its own row, or NULL.
static sq_node *row_read(sq_attention *a, uint32_t id) {
  const sq_scalar *r = sq_attention_at(a, id);
  if (r->kind != SQ_SC_READ || r->guard != SQ_NO_SCALAR || r->other != SQ_NO_SCALAR) return NULL;
  sq_node *n = a->m.in.v[r->operand]->def;
  return n && holds(a, n) && n->g->n_red ? n : NULL;
}

static bool covers_rows(const sq_attention *a, const sq_node *n, const uint32_t *axis) {
  uint32_t seen = 0, rows = (1u << a->score->g->n_par) - 1;
  for (uint32_t x = 0; x < n->g->n_par + n->g->n_red; x++)
    if (axis[x] != SQ_NO_AXIS) seen |= 1u << axis[x];
  return n->g->n_red == 1 && axis[n->g->n_par] == a->key && seen == rows;
}

// Is m the maximum or logsumexp of that exponent over the keys?
static bool is_max_of(sq_attention *a, const sq_node *m, uint32_t exponent) {
  bool bare = m->g->post == SQ_NO_SCALAR;
  return (m->g->monoid == SQ_MAX || (m->g->monoid == SQ_LOGSUMEXP && bare)) &&
         find_axes(a, m, a->max_axis) && covers_rows(a, m, a->max_axis) &&
         sq_attention_graft(a, m, a->max_axis, m->g->body) == exponent;
}

// The maximum of the exponent that the shift is computed from: the larger of it and a sink, for instance.
static sq_node *max_within(sq_attention *a, uint32_t shift, uint32_t exponent) {
  if (has_key(a, shift)) return NULL;
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
  add_condition(a, &t, keep);
  for (uint32_t k = 0; k < t.where.n; k++) sq_push(a->g->arena, &a->where, t.where.v[k]);
  for (uint32_t j = 0; j < a->sum.n; j++) add_condition(a, &a->sum.v[j].t, keep);
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
  take_conditions(a, &s);
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
      return no(a, a->weight == SQ_NO_SCALAR
                       ? "a weight depends on other weights of its row otherwise than by a factor"
                       : "the scores are shifted by something else than their own maximum");
  }
  for (uint32_t k = 0; k < s->t.where.n; k++)
    if (reads_statistic(a, s->t.where.v[k])) return no(a, "a condition depends on other weights");
  if (a->weight == SQ_NO_SCALAR) return true;
  if (count_weights(a, &s->t) > 1) return no(a, "a weight is used twice in one product");
  for (uint32_t k = 0; k < a->where.n; k++)
    if (!term_has(&s->t, a->where.v[k]))
      return no(a, "the maximum is taken over fewer keys than a sum");
  return true;
}

// ---- the whole ---------------------------------------------------------------------------------
static bool is_score(sq_graph *g, const sq_node *n) {
  sq_contraction c;
  return n->op == SQ_OP_GENERIC && n->g->n_par && n->g->n_red == 1 && sq_is_contraction(g, n, &c);
}

static bool open_sums(sq_attention *a) {
  for (uint32_t k = 0; k < a->all.n; k++) {
    sq_node *n = a->all.v[k];
    if (!n->g->n_red) continue;
    sq_attention_sum s = {.n = n};
    if (!find_axes(a, n, s.axis)) return false;
    if (!covers_rows(a, n, s.axis))
      return no(a, "something is taken over other axes than the keys");
    if (n != a->value) {
      for (uint32_t x = 0; x < n->g->n_par; x++)
        if (s.axis[x] == SQ_NO_AXIS)
          return no(a, "there are two weighted sums of the same weights");
      if (n->g->monoid == SQ_SUM) {
        take_conditions(a, &s);
        take(a, &s.t, sq_attention_graft(a, n, s.axis, n->g->body), false, 0);
      }
    } else if (!open_value(a, &s)) {
      return false;
    }
    sq_push(a->g->arena, &a->sum, s);
  }
  return true;
}

static bool find_weight(sq_attention *a) {
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
      return no(a, "the weights are not exp of the scores less their own maximum");
    if (!shift && s->n->g->monoid != SQ_SUM)
      return no(a, "a row is reduced by something else than sums and its own maximum");
    if (!shift && !sq_is_float(s->n->out[0]->type.dtype))
      return no(a, "a sum over the keys is no number of floating point");
    if (!shift && !check_sum(a, s)) return false;
  }
  return true;
}

static const sq_attention_sum *value_of(const sq_attention *a) {
  for (uint32_t j = 0; j < a->sum.n; j++)
    if (a->sum.v[j].n == a->value) return &a->sum.v[j];
  return NULL;
}

// Rows on which a value depends, and a key does not.
static bool values_of_rows(const sq_attention *a) {
  const sq_attention_sum *v = value_of(a);
  const sq_generic *k = a->score->g;
  const sq_scalar *body = &k->s.v[k->body];
  bool second = sq_scalar_axes(k, body->a[1]) >> a->key & 1;
  uint32_t of_k = sq_scalar_axes(k, body->a[second]), of_v = 0;
  for (uint32_t j = 0; v && j < a->v.n; j++) {
    uint32_t axes = sq_scalar_axes(a->value->g, a->v.v[j].id);
    for (uint32_t x = 0; x < a->value->g->n_par; x++)
      if ((axes >> x & 1) && v->axis[x] != SQ_NO_AXIS) of_v |= 1u << v->axis[x];
  }
  return of_v & ~of_k & ((1u << k->n_par) - 1);
}

// Why not where it could be: each key and value serves several rows, or both belong to the row. Two
// layers of a network look like attention over a fixed number of keys that all count: no site.
static const char *not_worthwhile(sq_attention *a) {
  int64_t keys, width;
  sq_graph *g = a->g;
  const sq_attention_sum *v = value_of(a);
  bool known = sq_dim_is_const(g->dims, a->score->g->axis[a->key].extent, &keys);
  bool narrow = sq_dim_is_const(g->dims, a->score->g->axis[a->score->g->n_par].extent, &width);
  a->site = !known || a->weight != SQ_NO_SCALAR || (v && v->t.where.n);
  if (known && keys <= 32) return "there are few keys";
  if (known && !narrow) return "the width of a key is not known";
  if (narrow && width > 512) return "keys are wide";
  if (!a->site) return "all keys of a fixed number count";
  return values_of_rows(a) ? "values belong to rows that share keys" : NULL;
}

static bool complete(sq_attention *a, const sq_node *odd, uint32_t values, const char *why) {
  if (!a->value) {
    a->site = true;
    return no(a, why ? why : "the values have more than one axis of their own");
  }
  bool ok = open_sums(a) && find_weight(a);
  const char *small = not_worthwhile(a);
  if (!ok) return false;
  if (small) return no(a, small);
  if (odd)
    return no(a, sq_arena_fmt(a->g->arena, "the scores or weights are used elsewhere too%s",
                              line_of(a, odd)));
  return values < 2 || no(a, "there are two weighted sums of the same weights");
}

bool sq_attention_find(sq_attention *a, sq_graph *g, sq_func *f, sq_node *score) {
  *a = (sq_attention){
      .g = g, .f = f, .score = score, .weight = SQ_NO_SCALAR, .shift = SQ_NO_SCALAR, .by = 1};
  if (!is_score(g, score) || !sq_is_float(score->out[0]->type.dtype)) return false;
  a->n_known = g->n_values;
  a->tainted = SQ_ARRAY(g->arena, bool, g->n_values + 1);
  a->tainted[score->out[0]->id] = true;
  const sq_node *odd = NULL;
  if (!gather(a, score->out[0], &odd)) return false;
  bool sums = false;
  for (uint32_t k = 0; k < a->all.n; k++) sums |= a->all.v[k]->g->n_red != 0;
  if (!sums) return false;
  sq_walk(f->body, taint_node, a);
  sort_by_place(a);
  open_space(a);
  uint32_t values = find_values(a);
  const char *why = a->why;
  a->why = NULL;
  if (!values) return false;
  if (complete(a, odd, values, why)) return true;
  if (!a->site) a->why = NULL;
  return false;
}

// What is known of attention that stays in parts.
void sq_attention_describe(sq_attention *a, sq_text *t) {
  const sq_node *seen = NULL;
  sq_stream_member m;
  sq_text_add(t, "%s", a->weight != SQ_NO_SCALAR ? "softmax attention" : "attention");
  for (uint32_t j = 0; j < a->all.n; j++) {
    uint32_t axis[SQ_MAX_RANK * 2];
    m.n = a->all.v[j];
    if (m.n->g->domain.n <= (seen ? seen->g->domain.n : 0) || !find_axes(a, m.n, axis)) continue;
    seen = m.n;
  }
  if (!seen) return;
  m.n = seen;
  uint32_t axis[SQ_MAX_RANK * 2];
  find_axes(a, seen, axis);
  for (uint32_t x = 0; x < seen->g->n_par + seen->g->n_red; x++)
    m.role[x] = axis[x] == SQ_NO_AXIS ? SQ_STREAM_COLUMN
                : axis[x] == a->key   ? SQ_STREAM_KEY
                                      : (uint8_t)(axis[x] - (axis[x] > a->key));
  for (uint32_t k = 0; k < seen->g->domain.n; k++) sq_stream_condition(&m, seen->g->domain.v[k], t);
}
