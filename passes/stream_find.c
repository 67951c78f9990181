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

const sq_scalar *sq_attention_at(const sq_attention *a, uint32_t id) { return &a->m.k->s.v[id]; }

const sq_node *sq_attention_view(sq_attention *a) {
  a->view = (sq_node){.op = SQ_OP_GENERIC, .g = a->m.k, .n_in = a->m.in.n, .in = a->m.in.v};
  return &a->view;
}

bool sq_attention_no(sq_attention *a, const char *why) {
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

bool sq_attention_holds(const sq_attention *a, const sq_node *n) {
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
    if (sq_attention_holds(a, n)) continue;
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

static bool made_from_less(const sq_node *n) {
  for (uint32_t k = 0; k < n->n_in; k++)
    if (n->in[k]->type.rank >= n->g->n_par) return false;
  return n->g->n_par > 1;
}

enum { CHEAP = 8 };
static bool look_through(void *user, const sq_scalar *read, sq_value *v) {
  (void)read;
  const sq_attention *a = user;
  const sq_node *n = v->def;
  if (n->g->s.n > 200) return false;
  if (a->tainted[v->id]) return true;
  if (reads_written(a->g, n)) return false;
  return sq_scalar_cost(n->g, sq_scalar_root(n->g)) <= CHEAP || (a->through && made_from_less(n));
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
bool sq_attention_axes(sq_attention *a, const sq_node *n, uint32_t *axis) {
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
      return sq_attention_no(a, "it uses single scores, not whole rows of them");
    for (uint32_t p = 0; p < s->n_pos; p++) {
      if (axis[plain[p]] != SQ_NO_AXIS && axis[plain[p]] != p)
        return sq_attention_no(a, "it uses scores of other rows than its own");
      axis[plain[p]] = p;
      if (!sq_dim_same(m.k->axis[plain[p]].extent, a->score->g->axis[p].extent))
        return sq_attention_no(a, "it uses a part of the scores of a row");
    }
    any = true;
  }
  return any;
}

bool sq_attention_covers_rows(const sq_attention *a, const sq_node *n, const uint32_t *axis) {
  uint32_t seen = 0, rows = (1u << a->score->g->n_par) - 1;
  for (uint32_t x = 0; x < n->g->n_par + n->g->n_red; x++)
    if (axis[x] != SQ_NO_AXIS) seen |= 1u << axis[x];
  return n->g->n_red == 1 && axis[n->g->n_par] == a->key && seen == rows;
}

// ---- the value ---------------------------------------------------------------------------------
// Sums with a factor of their own along an axis that the scores lack.
static uint32_t find_values(sq_attention *a) {
  uint32_t found = 0;
  for (uint32_t j = 0; j < a->all.n; j++) {
    const sq_node *n = a->all.v[j];
    const sq_generic *k = n->g;
    uint32_t axis[SQ_MAX_RANK * 2], free = 0, column = SQ_NO_AXIS;
    if (!k->n_red || k->monoid != SQ_SUM || !sq_is_float(k->s.v[k->body].dtype)) continue;
    if (!sq_attention_axes(a, n, axis)) continue;
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
    if (!sq_attention_axes(a, n, s.axis)) return false;
    if (!sq_attention_covers_rows(a, n, s.axis))
      return sq_attention_no(a, "something is taken over other axes than the keys");
    if (n != a->value) {
      for (uint32_t x = 0; x < n->g->n_par; x++)
        if (s.axis[x] == SQ_NO_AXIS)
          return sq_attention_no(a, "there are two weighted sums of the same weights");
      if (n->g->monoid == SQ_SUM) {
        sq_attention_take_conditions(a, &s);
        sq_attention_take(a, &s.t, sq_attention_graft(a, n, s.axis, n->g->body), false, 0);
        sq_attention_settle(a, &s.t);
      }
    } else if (!sq_attention_open_value(a, &s)) {
      return false;
    }
    sq_push(a->g->arena, &a->sum, s);
  }
  return true;
}

// Why not where it could be: each key and value serves several rows, or both belong to the row. Two
// layers of a network look like attention over a fixed number of keys that all count: no site.
static const char *not_worthwhile(sq_attention *a) {
  int64_t keys, width;
  sq_graph *g = a->g;
  const sq_attention_sum *v = sq_attention_value_sum(a);
  bool known = sq_dim_is_const(g->dims, a->score->g->axis[a->key].extent, &keys);
  bool narrow = sq_dim_is_const(g->dims, a->score->g->axis[a->score->g->n_par].extent, &width);
  a->site = !known || a->weight != SQ_NO_SCALAR || (v && v->t.where.n);
  if (known && keys <= 32) return "there are few keys";
  if (known && !narrow) return "the width of a key is not known";
  if (narrow && width > 512) return "keys are wide";
  if (!a->site) return "all keys of a fixed number count";
  return sq_attention_values_of_rows(a) ? "values belong to rows that share keys" : NULL;
}

static bool complete(sq_attention *a, const sq_node *odd, uint32_t values, const char *why) {
  if (!a->value) {
    a->site = true;
    return sq_attention_no(a, why ? why : "the values have more than one axis of their own");
  }
  bool ok = open_sums(a) && sq_attention_find_weight(a);
  const char *small = not_worthwhile(a);
  if (!ok) return false;
  if (small) return sq_attention_no(a, small);
  a->odd = odd;
  if (odd)
    return sq_attention_no(a, sq_arena_fmt(a->g->arena,
                                           "the scores or weights are used elsewhere too%s",
                                           line_of(a, odd)));
  return values < 2 || sq_attention_no(a, "there are two weighted sums of the same weights");
}

bool sq_attention_find(sq_attention *a, sq_graph *g, sq_func *f, sq_node *score, bool through) {
  *a = (sq_attention){.g = g,
                      .f = f,
                      .score = score,
                      .through = through,
                      .weight = SQ_NO_SCALAR,
                      .shift = SQ_NO_SCALAR,
                      .by = 1};
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
    if (m.n->g->domain.n <= (seen ? seen->g->domain.n : 0) || !sq_attention_axes(a, m.n, axis))
      continue;
    seen = m.n;
  }
  if (!seen) return;
  m.n = seen;
  uint32_t axis[SQ_MAX_RANK * 2];
  sq_attention_axes(a, seen, axis);
  for (uint32_t x = 0; x < seen->g->n_par + seen->g->n_red; x++)
    m.role[x] = axis[x] == SQ_NO_AXIS ? SQ_STREAM_COLUMN
                : axis[x] == a->key   ? SQ_STREAM_KEY
                                      : (uint8_t)(axis[x] - (axis[x] > a->key));
  for (uint32_t k = 0; k < seen->g->domain.n; k++) sq_stream_condition(&m, seen->g->domain.v[k], t);
}
