// Reading the body of a `stream`: which member is what, and what each of its axes stands for.
//
// Roles spread from the score along plain reads: where a member reads `%s[h, i, j]`, its axes at these
// positions have the roles of the score's axes. What has no role then is the column.
#include "ir/stream.h"
#include <math.h>
#include <string.h>

typedef struct reader {
  sq_graph *g;
  sq_stream *s;
  const char *why;
} reader;

static bool no(reader *r, const char *why) {
  r->why = why;
  return false;
}

// ---- questions about scalars -------------------------------------------------------------------
static void mark(bool *used, uint32_t id) {
  if (id != SQ_NO_SCALAR) used[id] = true;
}

static void mark_operands(const sq_scalar *s, bool *used) {
  if (s->kind == SQ_SC_READ) {
    for (uint32_t k = 0; k < s->n_pos; k++) mark(used, s->pos[k]);
    mark(used, s->guard);
    mark(used, s->other);
    return;
  }
  int n = s->kind == SQ_SC_EWISE    ? sq_ewise_table[s->ew].arity
          : s->kind == SQ_SC_SELECT ? 3
          : s->kind == SQ_SC_CAST   ? 1
                                    : 0;
  for (int k = 0; k < n; k++) mark(used, s->a[k]);
}

// The scalars of which `root` is made, itself included.
static bool *made_of(sq_graph *g, const sq_generic *k, uint32_t root) {
  bool *used = SQ_ARRAY(g->arena, bool, k->s.n + 1);
  if (root == SQ_NO_SCALAR) return used;
  used[root] = true;
  for (uint32_t id = root + 1; id-- > 0;)
    if (used[id]) mark_operands(&k->s.v[id], used);
  return used;
}

uint32_t sq_scalar_axis_set(sq_graph *g, const sq_generic *k, uint32_t root) {
  const bool *used = made_of(g, k, root);
  uint32_t axes = 0;
  for (uint32_t id = 0; id < k->s.n; id++)
    if (used[id] && k->s.v[id].kind == SQ_SC_INDEX) axes |= 1u << k->s.v[id].axis;
  return axes;
}

// Does the scalar read a value that the stream makes?
static bool reads_inside(const reader *r, const sq_node *n, uint32_t root) {
  const bool *used = made_of(r->g, n->g, root);
  for (uint32_t id = 0; id < n->g->s.n; id++)
    if (used[id] && n->g->s.v[id].kind == SQ_SC_READ &&
        sq_stream_member_of(r->s, n->in[n->g->s.v[id].operand]))
      return true;
  return false;
}

static bool reads_member(const sq_node *n, uint32_t id, const sq_stream_member *m) {
  const sq_scalar *s = &n->g->s.v[id];
  return s->kind == SQ_SC_READ && m->n && n->in[s->operand] == m->n->out[0];
}

static bool reads_weight(const reader *r, const sq_node *n, uint32_t root) {
  const bool *used = made_of(r->g, n->g, root);
  for (uint32_t id = 0; id < n->g->s.n; id++)
    if (used[id] && reads_member(n, id, &r->s->weight)) return true;
  return false;
}

static bool fails(sq_graph *g, const sq_generic *k, uint32_t root) {
  const bool *used = made_of(g, k, root);
  for (uint32_t id = 0; id < k->s.n; id++)
    if (used[id] && k->s.v[id].kind == SQ_SC_READ && k->s.v[id].site != SQ_NO_SITE) return true;
  return false;
}

// Scalar a of member x and b of member y are the same, with axes of one role for each other.
static bool same_scalar(const sq_stream_member *x, uint32_t a, const sq_stream_member *y,
                        uint32_t b, int *budget) {
  if (a == SQ_NO_SCALAR || b == SQ_NO_SCALAR) return a == b;
  if (--*budget < 0) return false;
  const sq_scalar *s = &x->n->g->s.v[a], *t = &y->n->g->s.v[b];
  if (s->kind != t->kind || s->dtype != t->dtype) return false;
  int n = s->kind == SQ_SC_SELECT ? 3 : s->kind == SQ_SC_CAST ? 1 : 0;
  switch (s->kind) {
  case SQ_SC_FLOAT:
    return !memcmp(&s->f, &t->f, sizeof s->f);
  case SQ_SC_INT:
    return s->i == t->i;
  case SQ_SC_INDEX:
    return x->role[s->axis] == y->role[t->axis];
  case SQ_SC_DIM:
    return sq_dim_same(s->dim, t->dim);
  case SQ_SC_ACC:
    return false;
  case SQ_SC_EWISE:
    if (s->ew != t->ew) return false;
    n = sq_ewise_table[s->ew].arity;
    break;
  case SQ_SC_READ:
    if (x->n->in[s->operand] != y->n->in[t->operand] || s->n_pos != t->n_pos) return false;
    if ((s->site == SQ_NO_SITE) != (t->site == SQ_NO_SITE)) return false;
    if (!same_scalar(x, s->guard, y, t->guard, budget)) return false;
    if (!same_scalar(x, s->other, y, t->other, budget)) return false;
    for (uint32_t k = 0; k < s->n_pos; k++)
      if (!same_scalar(x, s->pos[k], y, t->pos[k], budget)) return false;
    return true;
  case SQ_SC_SELECT:
  case SQ_SC_CAST:
    break;
  }
  for (int k = 0; k < n; k++)
    if (!same_scalar(x, s->a[k], y, t->a[k], budget)) return false;
  return true;
}

// ---- members and roles -------------------------------------------------------------------------
const sq_stream_member *sq_stream_member_of(const sq_stream *s, const sq_value *v) {
  const sq_stream_member *const one[] = {&s->score, &s->max, &s->weight, &s->value};
  if (!v->def) return NULL;
  for (size_t k = 0; k < sizeof one / sizeof *one; k++)
    if (one[k]->n == v->def) return one[k];
  for (uint32_t k = 0; k < s->n_sum; k++)
    if (s->sum[k].n == v->def) return &s->sum[k];
  return NULL;
}

uint32_t sq_stream_axis(const sq_stream_member *m, uint32_t role) {
  for (uint32_t a = 0; a < m->n->g->n_par + m->n->g->n_red; a++)
    if (m->role[a] == role) return a;
  return SQ_NO_AXIS;
}

static uint32_t n_axes(const sq_node *n) { return n->g->n_par + n->g->n_red; }

static bool plain(sq_graph *g, const sq_node *n, const sq_scalar *read, uint32_t *axis) {
  return read->guard == SQ_NO_SCALAR && read->other == SQ_NO_SCALAR && read->site == SQ_NO_SITE &&
         sq_read_is_plain(g, n->g, read, axis);
}

static bool set_role(sq_stream_member *m, uint32_t axis, uint8_t role) {
  if (m->role[axis] != SQ_STREAM_NONE && m->role[axis] != role) return false;
  m->role[axis] = role;
  return true;
}

static bool same_extent(const reader *r, const sq_stream_member *m) {
  const sq_stream *s = r->s;
  for (uint32_t a = 0; a < n_axes(m->n); a++) {
    uint8_t role = m->role[a];
    sq_dim want = role < s->n_rows         ? s->row[role]
                  : role == SQ_STREAM_KEY  ? s->keys
                  : role == SQ_STREAM_NONE ? (sq_dim){0}
                                           : m->n->g->axis[a].extent;
    if (!want.i || sq_prove_eq(r->g->dims, want, m->n->g->axis[a].extent) <= 0) return false;
  }
  return true;
}

// Roles of the axes of m from what it reads of members before it.
static bool find_roles(reader *r, sq_stream_member *m) {
  const sq_generic *k = m->n->g;
  memset(m->role, SQ_STREAM_NONE, sizeof m->role);
  for (uint32_t id = 0; id < k->s.n; id++) {
    const sq_scalar *s = &k->s.v[id];
    uint32_t axis[SQ_MAX_RANK];
    if (s->kind != SQ_SC_READ) continue;
    const sq_stream_member *of = sq_stream_member_of(r->s, m->n->in[s->operand]);
    if (!of) continue;
    if (!plain(r->g, m->n, s, axis)) return no(r, "a member is read elsewhere than at its own row");
    for (uint32_t p = 0; p < s->n_pos; p++)
      if (!set_role(m, axis[p], of->role[p])) return no(r, "a member is read at two places");
  }
  uint32_t unknown = 0;
  for (uint32_t a = 0; a < n_axes(m->n); a++)
    if (m->role[a] == SQ_STREAM_NONE) {
      m->role[a] = SQ_STREAM_COLUMN;
      unknown++;
    }
  if (unknown > 1) return no(r, "a member has more than one axis of its own");
  for (uint32_t role = 0; role < r->s->n_rows; role++) {
    uint32_t a = sq_stream_axis(m, role);
    if (a == SQ_NO_AXIS || a >= k->n_par) return no(r, "a member has not all rows");
  }
  return same_extent(r, m) || no(r, "an axis of a member has another extent");
}

static bool is_nest(const sq_node *n) {
  return n->op == SQ_OP_GENERIC && n->g && !n->g->keyed && !n->g->pos && n->n_out == 1;
}

// The axis of the score over which something sums.
static uint32_t key_axis(reader *r, const sq_block *b) {
  const sq_node *score = b->nodes.v[0];
  for (uint32_t j = 1; j < b->nodes.n; j++) {
    const sq_node *n = b->nodes.v[j];
    if (!is_nest(n) || n->g->n_red != 1) continue;
    for (uint32_t id = 0; id < n->g->s.n; id++) {
      const sq_scalar *s = &n->g->s.v[id];
      uint32_t axis[SQ_MAX_RANK];
      if (s->kind != SQ_SC_READ || n->in[s->operand]->def != score) continue;
      if (!plain(r->g, n, s, axis)) continue;
      for (uint32_t p = 0; p < s->n_pos; p++)
        if (axis[p] == n->g->n_par) return p;
    }
  }
  return SQ_NO_AXIS;
}

// All members compute in f64, or none.
static bool same_float(const sq_node *score, const sq_node *n) {
  bool wide = score->g->s.v[score->g->body].dtype == SQ_F64;
  sq_dtype body = n->g->s.v[n->g->body].dtype, out = n->out[0]->type.dtype;
  return sq_is_float(body) && sq_is_float(out) && (body == SQ_F64) == wide &&
         (out == SQ_F64) == wide;
}

static bool read_score(reader *r, const sq_block *b) {
  sq_stream *s = r->s;
  const sq_node *n = b->nodes.v[0];
  if (!is_nest(n) || n->g->monoid != SQ_SUM || n->g->n_red != 1 || n->g->domain.n)
    return no(r, "the first member is no product summed over one axis");
  const sq_generic *k = n->g;
  const sq_scalar *body = &k->s.v[k->body];
  uint32_t key = key_axis(r, b);
  if (key == SQ_NO_AXIS) return no(r, "nothing is taken over the keys of the score");
  if (body->kind != SQ_SC_EWISE || body->ew != SQ_EW_MUL || !sq_is_float(body->dtype))
    return no(r, "the score is no sum of products of numbers");
  bool in_a = sq_scalar_axis_set(r->g, k, body->a[0]) >> key & 1;
  bool in_b = sq_scalar_axis_set(r->g, k, body->a[1]) >> key & 1;
  if (in_a == in_b) return no(r, "one factor of the score varies with the key, the other does not");
  s->q = body->a[in_a];
  s->k = body->a[in_b];
  if (fails(r->g, k, k->body) || fails(r->g, k, k->post)) return no(r, "the score may fail");
  if (!same_float(n, n)) return no(r, "members are of numbers of different kinds");
  s->score.n = n;
  memset(s->score.role, SQ_STREAM_NONE, sizeof s->score.role);
  for (uint32_t a = 0; a < k->n_par; a++) {
    s->score.role[a] = a == key ? SQ_STREAM_KEY : (uint8_t)s->n_rows;
    if (a == key)
      s->keys = k->axis[a].extent;
    else
      s->row[s->n_rows++] = k->axis[a].extent;
  }
  s->score.role[k->n_par] = SQ_STREAM_WIDTH;
  s->width = k->axis[k->n_par].extent;
  return true;
}

static bool read_max(reader *r, const sq_stream_member *m) {
  sq_stream *s = r->s;
  const sq_generic *k = m->n->g;
  if (s->max.n || s->n_sum || k->post != SQ_NO_SCALAR || !reads_member(m->n, k->body, &s->score))
    return no(r, "a max is not the first one, of the bare score");
  s->max = *m;
  return true;
}

// exp(x) or exp2(x), x = c * (score - max) in any order.
static bool read_weight(reader *r, const sq_stream_member *m) {
  sq_stream *s = r->s;
  const sq_generic *k = m->n->g;
  const sq_scalar *e = &k->s.v[k->body], *x;
  static const char why[] = "a weight is not exp(c * (score - max))";
  if (s->weight.n || !s->max.n || k->post != SQ_NO_SCALAR || e->kind != SQ_SC_EWISE ||
      (e->ew != SQ_EW_EXP && e->ew != SQ_EW_EXP2))
    return no(r, why);
  s->scale = e->ew == SQ_EW_EXP ? 1.4426950408889634074 : 1;
  x = &k->s.v[e->a[0]];
  if (x->kind == SQ_SC_EWISE && x->ew == SQ_EW_MUL) {
    bool first = k->s.v[x->a[0]].kind == SQ_SC_FLOAT;
    const sq_scalar *c = &k->s.v[x->a[!first]];
    if (c->kind != SQ_SC_FLOAT || !(c->f > 0) || isinf(c->f)) return no(r, why);
    s->scale *= c->f;
    x = &k->s.v[x->a[first]];
  }
  if (x->kind != SQ_SC_EWISE || x->ew != SQ_EW_SUB || !reads_member(m->n, x->a[0], &s->score) ||
      !reads_member(m->n, x->a[1], &s->max))
    return no(r, why);
  s->weight = *m;
  return true;
}

sq_stream_large sq_stream_large_scores(const sq_stream *s) {
  const sq_generic *k = s->score.n->g;
  int e;
  frexp(s->scale, &e);
  return (sq_stream_large){.from = ldexp(1, k->s.v[k->body].dtype == SQ_F64 ? 57 : 28) / s->scale,
                           .by = ldexp(1, e - 1)};
}

// Is the scalar the weight times, or over, what does not contain it? Sums are scaled as the max rises.
static bool is_linear(reader *r, const sq_node *n, uint32_t id, int depth) {
  const sq_scalar *s = &n->g->s.v[id];
  if (depth > 40) return false;
  if (s->kind == SQ_SC_READ) return reads_member(n, id, &r->s->weight) && s->guard == SQ_NO_SCALAR;
  if (s->kind != SQ_SC_EWISE) return false;
  if (s->ew == SQ_EW_NEG) return is_linear(r, n, s->a[0], depth + 1);
  if (s->ew != SQ_EW_MUL && s->ew != SQ_EW_DIV) return false;
  bool second = s->ew == SQ_EW_MUL && !reads_weight(r, n, s->a[0]);
  return is_linear(r, n, s->a[second], depth + 1) && !reads_weight(r, n, s->a[!second]);
}

// The element of a sum or the value may read score and weight, its conditions no member.
static bool check_sum(reader *r, const sq_stream_member *m) {
  const sq_generic *k = m->n->g;
  const sq_stream *s = r->s;
  const bool *used = made_of(r->g, k, k->body);
  if (s->max.n && !s->weight.n) return no(r, "the max stands alone");
  for (uint32_t id = 0; id < k->s.n; id++)
    if (used[id] && k->s.v[id].kind == SQ_SC_READ) {
      const sq_stream_member *of = sq_stream_member_of(s, m->n->in[k->s.v[id].operand]);
      if (of && of != &s->score && of != &s->weight)
        return no(r, "a sum reads more than score and weight");
    }
  if (fails(r->g, k, k->body) || fails(r->g, k, k->post)) return no(r, "a member may fail");
  bool column = sq_stream_axis(m, SQ_STREAM_COLUMN) != SQ_NO_AXIS;
  if (s->weight.n && !column && !is_linear(r, m->n, k->body, 0))
    return no(r, "a sum is not linear in the weight");
  used = made_of(r->g, k, k->post);
  for (uint32_t id = 0; id < k->s.n; id++)
    if (used[id] && (reads_member(m->n, id, &s->score) || reads_member(m->n, id, &s->weight)))
      return no(r, "what a sum ends with reads a score");
  return true;
}

// Computed from max and sums of its row.
static bool read_row(reader *r, const sq_stream_member *m) {
  sq_stream *s = r->s;
  const sq_generic *k = m->n->g;
  if (k->domain.n || k->post != SQ_NO_SCALAR || sq_stream_axis(m, SQ_STREAM_COLUMN) != SQ_NO_AXIS)
    return no(r, "a member is no function of its row");
  if (fails(r->g, k, k->body)) return no(r, "a member may fail");
  if (s->n_sum == SQ_STREAM_SUMS) return no(r, "there are too many sums");
  s->sum[s->n_sum++] = *m;
  return true;
}

static bool read_value(reader *r, const sq_stream_member *m) {
  sq_stream *s = r->s;
  const sq_generic *k = m->n->g;
  const sq_scalar *body = &k->s.v[k->body];
  uint32_t column = sq_stream_axis(m, SQ_STREAM_COLUMN);
  if (s->value.n) return no(r, "there are two values");
  if (body->kind != SQ_SC_EWISE || body->ew != SQ_EW_MUL || !sq_is_float(body->dtype))
    return no(r, "the value is no sum of products of numbers");
  bool second = reads_inside(r, m->n, body->a[1]);
  s->w = body->a[second];
  s->v = body->a[!second];
  if (!reads_inside(r, m->n, s->w) || reads_inside(r, m->n, s->v))
    return no(r, "one factor of the value comes from the score, the other does not");
  if (s->weight.n && !is_linear(r, m->n, s->w, 0))
    return no(r, "the value is not linear in the weight");
  if (sq_scalar_axis_set(r->g, k, s->w) >> column & 1)
    return no(r, "the factor that comes from the score varies with the column");
  s->value = *m;
  s->columns = k->axis[column].extent;
  return true;
}

static bool read_member(reader *r, const sq_node *n) {
  sq_stream *s = r->s;
  sq_stream_member m = {.n = n};
  if (!is_nest(n)) return no(r, "a member is no loop nest");
  if (!same_float(s->score.n, n)) return no(r, "members are of numbers of different kinds");
  if (!find_roles(r, &m)) return false;
  for (uint32_t j = 0; j < n->g->domain.n; j++)
    if (reads_inside(r, n, n->g->domain.v[j]) || fails(r->g, n->g, n->g->domain.v[j]))
      return no(r, "a condition reads a member or may fail");
  if (!n->g->n_red && sq_stream_axis(&m, SQ_STREAM_KEY) != SQ_NO_AXIS) return read_weight(r, &m);
  if (!n->g->n_red) return read_row(r, &m);
  if (n->g->n_red != 1 || m.role[n->g->n_par] != SQ_STREAM_KEY)
    return no(r, "a member is not taken over the keys");
  if (n->g->monoid == SQ_MAX) return read_max(r, &m);
  if (n->g->monoid != SQ_SUM) return no(r, "a member is neither sum nor max");
  if (!check_sum(r, &m)) return false;
  if (sq_stream_axis(&m, SQ_STREAM_COLUMN) != SQ_NO_AXIS) return read_value(r, &m);
  if (s->n_sum == SQ_STREAM_SUMS) return no(r, "there are too many sums");
  s->sum[s->n_sum++] = m;
  return true;
}

// ---- the whole ---------------------------------------------------------------------------------
static uint32_t common(const sq_stream_member *a, const sq_stream_member *b, uint32_t most) {
  const sq_generic *x = a->n->g, *y = b->n->g;
  uint32_t n = 0;
  int budget = 2000;
  while (n < most && n < x->domain.n && n < y->domain.n &&
         same_scalar(a, x->domain.v[n], b, y->domain.v[n], &budget))
    n++;
  return n;
}

static bool find_common(reader *r) {
  sq_stream *s = r->s;
  const sq_stream_member *first = s->max.n ? &s->max : &s->value;
  s->n_common = common(first, &s->value, first->n->g->domain.n);
  for (uint32_t k = 0; k < s->n_sum; k++)
    if (s->sum[k].n->g->n_red) s->n_common = common(first, &s->sum[k], s->n_common);
  return !s->max.n || s->n_common == first->n->g->domain.n ||
         no(r, "a sum or the value does not begin with the conditions of the max");
}

bool sq_stream_parts(sq_graph *g, const sq_node *n, sq_stream *s, const char **why) {
  const sq_block *b = n->region[0];
  reader r = {.g = g, .s = s};
  *s = (sq_stream){.node = n};
  bool ok = b->nodes.n > 2 && read_score(&r, b);
  for (uint32_t k = 1; ok && k + 1 < b->nodes.n; k++) ok = read_member(&r, b->nodes.v[k]);
  if (ok && !s->value.n) ok = no(&r, "there is no value");
  if (ok) ok = find_common(&r);
  const sq_node *end = sq_block_end(b);
  for (uint32_t k = 0; ok && k < end->n_in; k++) {
    const sq_stream_member *m = sq_stream_member_of(s, end->in[k]);
    if (!m || m == &s->score || m == &s->weight)
      ok = no(&r, "it gives something else than max, sums and value");
  }
  if (why) *why = ok ? NULL : r.why ? r.why : "there are not enough members";
  return ok;
}

uint32_t sq_stream_key_rows(sq_graph *g, const sq_stream *s) {
  uint32_t rows = 0, k = sq_scalar_axis_set(g, s->score.n->g, s->k);
  uint32_t v = sq_scalar_axis_set(g, s->value.n->g, s->v);
  for (uint32_t r = 0; r < s->n_rows; r++) {
    uint32_t in_k = sq_stream_axis(&s->score, r), in_v = sq_stream_axis(&s->value, r);
    if ((k >> in_k & 1) || (v >> in_v & 1)) rows |= 1u << r;
  }
  return rows;
}

// The divisor by which every use of the axis in `root` goes; 0: there is another use; -1: no use.
static int64_t divided_by(sq_graph *g, const sq_generic *k, uint32_t root, uint32_t axis) {
  const bool *used = made_of(g, k, root);
  bool *divided = SQ_ARRAY(g->arena, bool, k->s.n + 1);
  int64_t by = -1;
  for (uint32_t id = 0; id < k->s.n; id++) { // indices under a division do not count
    const sq_scalar *s = &k->s.v[id];
    if (!used[id] || s->kind != SQ_SC_EWISE || s->ew != SQ_EW_FLOORDIV) continue;
    const sq_scalar *x = &k->s.v[s->a[0]], *d = &k->s.v[s->a[1]];
    if (x->kind != SQ_SC_INDEX || x->axis != axis || d->kind != SQ_SC_INT || d->i < 1) continue;
    if (by > 0 && by != d->i) return 0;
    by = d->i;
    divided[id] = true;
  }
  bool *bare = SQ_ARRAY(g->arena, bool, k->s.n + 1);
  if (root != SQ_NO_SCALAR) bare[root] = true;
  for (uint32_t id = root + 1; id-- > 0;)
    if (bare[id] && !divided[id]) mark_operands(&k->s.v[id], bare);
  for (uint32_t id = 0; id < k->s.n; id++)
    if (bare[id] && k->s.v[id].kind == SQ_SC_INDEX && k->s.v[id].axis == axis) return 0;
  return by;
}

int64_t sq_stream_shared(sq_graph *g, const sq_stream *s, uint32_t row) {
  int64_t a = divided_by(g, s->score.n->g, s->k, sq_stream_axis(&s->score, row));
  int64_t b = divided_by(g, s->value.n->g, s->v, sq_stream_axis(&s->value, row));
  if (a < 0) a = b;
  if (b < 0) b = a;
  int64_t extent;
  if (a < 2 || a != b) return 1;
  bool whole = sq_dim_is_const(g->dims, s->row[row], &extent) && extent % a == 0;
  return whole ? a : 1;
}
