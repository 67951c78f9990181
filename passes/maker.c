// Making scalar parts: sharing, copying from other generics.
#include "passes/maker.h"

void sq_maker_start(sq_maker *m, sq_graph *g, uint32_t n_par, uint32_t n_red) {
  *m = (sq_maker){.g = g, .k = sq_generic_new(g, n_par, n_red), .through = true};
}

void sq_maker_start_like(sq_maker *m, sq_graph *g, const sq_node *n) {
  const sq_generic *k = n->g;
  sq_maker_start(m, g, k->n_par, k->n_red);
  for (uint32_t a = 0; a < k->n_par + k->n_red; a++) m->k->axis[a] = k->axis[a];
  m->k->monoid = k->monoid;
  m->k->pos_site = k->pos_site;
  m->k->keyed = k->keyed;
  m->n_fixed = sq_operands_begin(n);
  for (uint32_t j = 0; j < m->n_fixed; j++) sq_push(g->arena, &m->in, n->in[j]);
}

void sq_maker_end(sq_maker *m, sq_node *n) {
  sq_value *instance = n->has_instance ? n->in[n->n_in - 1] : NULL;
  n->n_in = m->in.n + (instance != NULL);
  n->in = SQ_ARRAY(m->g->arena, sq_value *, n->n_in + 1);
  if (m->in.n) memcpy(n->in, m->in.v, m->in.n * sizeof *n->in);
  if (instance) n->in[n->n_in - 1] = instance;
  n->g = m->k;
  sq_scalars_tidy(m->g, n);
}

sq_value *sq_maker_value(sq_maker *m, sq_block *b, sq_span span, sq_dtype t, const char *name) {
  sq_node *n = sq_node_new(m->g, b, SQ_OP_GENERIC, span, 0, NULL);
  sq_dim dim[SQ_MAX_RANK];
  for (uint32_t k = 0; k < m->k->n_par; k++) dim[k] = m->k->axis[k].extent;
  sq_value *v = sq_node_result(m->g, n, sq_type_make(m->g, t, m->k->n_par, dim), name);
  sq_maker_end(m, n);
  return v;
}

// ---- sharing -----------------------------------------------------------------------------------
static uint32_t hash_of(const sq_scalar *s) {
  uint64_t bits = 0;
  memcpy(&bits, &s->f, sizeof bits);
  const uint64_t part[] = {(uint64_t)s->kind, (uint64_t)s->dtype,
                           (uint64_t)s->ew,   bits,
                           (uint64_t)s->i,    s->dim.i,
                           s->axis,           s->a[0],
                           s->a[1],           s->a[2],
                           s->operand,        s->guard,
                           s->other};
  uint64_t h = 1469598103934665603ull;
  for (size_t k = 0; k < sizeof part / sizeof *part; k++)
    h = ((h ^ part[k]) * 1099511628211ull) ^ (h >> 29);
  for (uint32_t k = 0; k < s->n_pos; k++) h = (h ^ s->pos[k]) * 1099511628211ull;
  return (uint32_t)(h ^ h >> 32);
}

static bool same(const sq_scalar *a, const sq_scalar *b) {
  if (a->kind != b->kind || a->dtype != b->dtype || a->ew != b->ew || a->i != b->i ||
      memcmp(&a->f, &b->f, sizeof a->f) != 0 || !sq_dim_same(a->dim, b->dim) ||
      a->axis != b->axis || a->operand != b->operand || a->guard != b->guard ||
      a->other != b->other || a->n_pos != b->n_pos)
    return false;
  if ((a->site == SQ_NO_SITE) != (b->site == SQ_NO_SITE)) return false;
  for (int k = 0; k < 3; k++)
    if (a->a[k] != b->a[k]) return false;
  for (uint32_t k = 0; k < a->n_pos; k++)
    if (a->pos[k] != b->pos[k]) return false;
  return true;
}

static void insert(sq_maker *m, uint32_t id) {
  uint32_t at = hash_of(&m->k->s.v[id]) & (m->cap - 1);
  while (m->slot[at]) at = (at + 1) & (m->cap - 1);
  m->slot[at] = id + 1;
}

static uint32_t share(sq_maker *m, const sq_scalar *s) {
  if (2 * (m->k->s.n + 1) > m->cap) {
    m->cap = m->cap ? 4 * m->cap : 32;
    m->slot = SQ_ARRAY(m->g->arena, uint32_t, m->cap);
    for (uint32_t k = 0; k < m->k->s.n; k++) insert(m, k);
  }
  for (uint32_t at = hash_of(s) & (m->cap - 1); m->slot[at]; at = (at + 1) & (m->cap - 1)) {
    sq_scalar *t = &m->k->s.v[m->slot[at] - 1];
    if (!same(t, s)) continue;
    if (s->site < t->site) t->site = s->site; // the lowest site is the one reported
    return m->slot[at] - 1;
  }
  sq_push(m->g->arena, &m->k->s, *s);
  insert(m, m->k->s.n - 1);
  return m->k->s.n - 1;
}

// ---- reads through copies and constants --------------------------------------------------------
bool sq_node_is_elementwise(const sq_node *n) {
  return n->op == SQ_OP_GENERIC && !n->g->n_red && !n->g->keyed && !n->g->pos && n->out[0];
}

// The same wherever it stands: not the extent of a state that grows.
static bool is_constant(const sq_graph *g, const sq_generic *k, const sq_scalar *r) {
  if (r->kind == SQ_SC_CAST && k->s.v[r->a[0]].kind == SQ_SC_DIM) r = &k->s.v[r->a[0]];
  return r->kind == SQ_SC_FLOAT || r->kind == SQ_SC_INT ||
         (r->kind == SQ_SC_DIM && !sq_size_grows(g, r->dim));
}

// A position in it may be another one here.
static bool takes_growing_size(const sq_graph *g, const sq_generic *k) {
  for (uint32_t j = 0; j < k->s.n; j++)
    if (k->s.v[j].kind == SQ_SC_DIM && sq_size_grows(g, k->s.v[j].dim)) return true;
  return false;
}

// Affine, or such a number divided by a constant: element after element repeated.
static bool is_simple(sq_maker *m, uint32_t pos, bool last) {
  if (sq_scalar_affine(m->g, m->k, pos).ok) return true;
  const sq_scalar *s = &m->k->s.v[pos];
  int64_t by;
  return !last && s->kind == SQ_SC_EWISE && s->ew == SQ_EW_FLOORDIV &&
         sq_scalar_int(m->k, s->a[1], &by) && by > 0 && sq_scalar_affine(m->g, m->k, s->a[0]).ok;
}

// A bare read whose positions, seen from here, are affine, or repeat elements of an axis but the last.
static bool is_affine_copy(sq_maker *m, const sq_node *n, const sq_scalar *r,
                           const uint32_t *axis) {
  if (r->kind != SQ_SC_READ || r->guard != SQ_NO_SCALAR || r->other != SQ_NO_SCALAR ||
      r->site != SQ_NO_SITE || r->n_pos > SQ_MAX_RANK || takes_growing_size(m->g, n->g))
    return false;
  sq_graft how = {.from = n, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  uint32_t *map = sq_maker_map(m, n);
  for (uint32_t k = 0; k < r->n_pos; k++)
    if (!is_simple(m, sq_maker_graft(m, &how, r->pos[k], map), k + 1 == r->n_pos)) return false;
  return true;
}

// Are the positions inside the value? NO_SCALAR: always.
static uint32_t bounds(sq_maker *m, const sq_value *v, uint32_t n, const uint32_t *pos) {
  uint32_t all = SQ_NO_SCALAR;
  for (uint32_t k = 0; k < n; k++) {
    uint32_t zero = sq_maker_int(m, SQ_I64, 0), end = sq_maker_dim(m, v->type.dim[k]);
    all = sq_maker_and(m, all, sq_maker_ewise(m, SQ_EW_LE, zero, pos[k]));
    all = sq_maker_and(m, all, sq_maker_ewise(m, SQ_EW_LT, pos[k], end));
  }
  int64_t c;
  return all != SQ_NO_SCALAR && sq_scalar_int(m->k, all, &c) && c ? SQ_NO_SCALAR : all;
}

// What the read gives, when its operand is a constant, the copy of something, or to be computed
// here; else NO_SCALAR.
static uint32_t read_through(sq_maker *m, const sq_scalar *s) {
  sq_value *v = m->in.v[s->operand];
  const sq_node *n = v->def;
  if (s->operand < m->n_fixed || !n || !sq_node_is_elementwise(n)) return SQ_NO_SCALAR;
  if (s->site != SQ_NO_SITE || s->n_pos != n->g->n_par || s->n_pos > SQ_MAX_RANK)
    return SQ_NO_SCALAR;
  uint32_t root = sq_scalar_root(n->g);
  const sq_scalar *r = &n->g->s.v[root];
  uint32_t axis[SQ_MAX_RANK];
  for (uint32_t k = 0; k < s->n_pos; k++) axis[k] = sq_maker_cast(m, s->pos[k], SQ_I64);
  bool here = m->through && (is_constant(m->g, n->g, r) || is_affine_copy(m, n, r, axis));
  if (!here && !(m->inlines && m->inlines(m->user, s, v))) return SQ_NO_SCALAR;
  uint32_t other = s->other, guard = s->guard;
  uint32_t inside = other == SQ_NO_SCALAR ? SQ_NO_SCALAR : bounds(m, v, s->n_pos, axis);
  sq_graft how = {.from = n, .axis = axis, .acc = SQ_NO_SCALAR};
  how.guard = sq_maker_and(m, guard, inside);
  uint32_t *map = sq_maker_map(m, n);
  if (n->g->post != SQ_NO_SCALAR) how.acc = sq_maker_graft(m, &how, n->g->body, map);
  uint32_t made = sq_maker_graft(m, &how, root, map);
  bool is_read = r->kind == SQ_SC_READ; // 0 already where its guard fails
  if (inside != SQ_NO_SCALAR) made = sq_maker_select(m, inside, made, other);
  if (guard == SQ_NO_SCALAR || (is_read && inside == SQ_NO_SCALAR)) return made;
  sq_dtype t = m->k->s.v[made].dtype;
  uint32_t zero = sq_is_float(t) ? sq_maker_float(m, t, 0) : sq_maker_int(m, t, 0);
  return sq_maker_select(m, guard, made, zero);
}

static uint32_t read_through_once(sq_maker *m, const sq_scalar *s) {
  uint32_t hash = hash_of(s);
  for (uint32_t k = 0; k < m->seen.n; k++)
    if (m->seen.v[k].hash == hash && same(&m->seen.v[k].read, s)) return m->seen.v[k].made;
  uint32_t made = read_through(m, s);
  if (made != SQ_NO_SCALAR) {
    sq_maker_seen seen = {*s, hash, made};
    sq_push(m->g->arena, &m->seen, seen);
  }
  return made;
}

// Positions that are proved to lie inside need no test.
static void drop_tests(sq_maker *m, sq_scalar *s) {
  if (s->site == SQ_NO_SITE && s->other == SQ_NO_SCALAR) return;
  const sq_value *v = m->in.v[s->operand];
  if (v->type.rank != s->n_pos) return;
  for (uint32_t k = 0; k < s->n_pos; k++) {
    if (m->k->s.v[s->pos[k]].dtype != SQ_I64) return;
    uint32_t zero = sq_maker_int(m, SQ_I64, 0), end = sq_maker_dim(m, v->type.dim[k]);
    if (sq_scalar_le(m->g, m->k, zero, s->pos[k], 0) <= 0 ||
        sq_scalar_le(m->g, m->k, s->pos[k], end, -1) <= 0)
      return;
  }
  s->site = SQ_NO_SITE;
  s->other = SQ_NO_SCALAR;
}

uint32_t sq_maker_add(sq_maker *m, sq_scalar s) {
  uint32_t known = sq_fold(m, &s);
  if (known != SQ_NO_SCALAR) return known;
  if (s.kind == SQ_SC_READ) {
    drop_tests(m, &s);
    known = read_through_once(m, &s);
    if (known != SQ_NO_SCALAR) return known;
  }
  return share(m, &s);
}

// ---- shorthands --------------------------------------------------------------------------------
static sq_scalar blank(sq_scalar_kind kind, sq_dtype t) {
  return (sq_scalar){.kind = kind,
                     .dtype = t,
                     .a = {SQ_NO_SCALAR, SQ_NO_SCALAR, SQ_NO_SCALAR},
                     .guard = SQ_NO_SCALAR,
                     .other = SQ_NO_SCALAR,
                     .site = SQ_NO_SITE};
}

uint32_t sq_maker_operand(sq_maker *m, sq_value *v) {
  for (uint32_t k = m->n_fixed; k < m->in.n; k++)
    if (m->in.v[k] == v) return k;
  sq_push(m->g->arena, &m->in, v);
  return m->in.n - 1;
}

uint32_t sq_maker_float(sq_maker *m, sq_dtype t, double v) {
  sq_scalar s = blank(SQ_SC_FLOAT, t);
  s.f = v;
  return share(m, &s);
}

uint32_t sq_maker_int(sq_maker *m, sq_dtype t, int64_t v) {
  sq_scalar s = blank(SQ_SC_INT, t);
  s.i = v;
  return share(m, &s);
}

uint32_t sq_maker_dim(sq_maker *m, sq_dim d) {
  int64_t v;
  if (sq_dim_is_const(m->g->dims, d, &v)) return sq_maker_int(m, SQ_I64, v);
  sq_scalar s = blank(SQ_SC_DIM, SQ_I64);
  s.dim = d;
  return share(m, &s);
}

uint32_t sq_maker_index(sq_maker *m, uint32_t axis) {
  sq_scalar s = blank(SQ_SC_INDEX, SQ_I64);
  s.axis = axis;
  return sq_maker_add(m, s);
}

uint32_t sq_maker_acc(sq_maker *m, sq_dtype t) {
  sq_scalar s = blank(SQ_SC_ACC, t);
  return share(m, &s);
}

uint32_t sq_maker_ewise(sq_maker *m, sq_ewise e, uint32_t a, uint32_t b) {
  sq_scalar s = blank(SQ_SC_EWISE, sq_ewise_table[e].kind == 'C' ? SQ_BOOL : m->k->s.v[a].dtype);
  s.ew = e;
  s.a[0] = a;
  if (sq_ewise_table[e].arity > 1) s.a[1] = b;
  return sq_maker_add(m, s);
}

uint32_t sq_maker_select(sq_maker *m, uint32_t c, uint32_t a, uint32_t b) {
  sq_scalar s = blank(SQ_SC_SELECT, m->k->s.v[a].dtype);
  s.a[0] = c;
  s.a[1] = a;
  s.a[2] = b;
  return sq_maker_add(m, s);
}

uint32_t sq_maker_cast(sq_maker *m, uint32_t a, sq_dtype t) {
  if (m->k->s.v[a].dtype == t) return a;
  sq_scalar s = blank(SQ_SC_CAST, t);
  s.a[0] = a;
  return sq_maker_add(m, s);
}

uint32_t sq_maker_read(sq_maker *m, sq_value *v, uint32_t n_pos, const uint32_t *pos) {
  sq_scalar s = blank(SQ_SC_READ, v->type.dtype);
  s.operand = sq_maker_operand(m, v);
  s.n_pos = n_pos;
  if (n_pos) {
    uint32_t *p = SQ_ARRAY(m->g->arena, uint32_t, n_pos);
    memcpy(p, pos, n_pos * sizeof *p);
    s.pos = p;
  }
  return sq_maker_add(m, s);
}

uint32_t sq_maker_and(sq_maker *m, uint32_t a, uint32_t b) {
  if (a == SQ_NO_SCALAR) return b;
  if (b == SQ_NO_SCALAR) return a;
  return sq_maker_ewise(m, SQ_EW_AND, a, b);
}

// ---- copying -----------------------------------------------------------------------------------
uint32_t *sq_maker_map(sq_maker *m, const sq_node *from) {
  uint32_t *map = SQ_ARRAY(m->g->arena, uint32_t, from->g->s.n + 1);
  for (uint32_t k = 0; k <= from->g->s.n; k++) map[k] = SQ_NO_SCALAR;
  return map;
}

static uint32_t mapped(const uint32_t *map, uint32_t id) {
  return id == SQ_NO_SCALAR ? id : map[id];
}

static uint32_t copy_read(sq_maker *m, const sq_graft *how, sq_scalar s, const uint32_t *map) {
  sq_value *v = how->from->in[s.operand];
  if (v == how->value) {
    uint32_t guard = sq_maker_and(m, how->guard, mapped(map, s.guard));
    if (guard == SQ_NO_SCALAR) return how->instead;
    uint32_t zero =
        sq_is_float(s.dtype) ? sq_maker_float(m, s.dtype, 0) : sq_maker_int(m, s.dtype, 0);
    return sq_maker_select(m, guard, how->instead, zero);
  }
  bool fixed = s.operand < m->n_fixed && s.operand < m->in.n && m->in.v[s.operand] == v &&
               s.operand < sq_operands_begin(how->from);
  if (!fixed) s.operand = sq_maker_operand(m, v);
  s.guard = sq_maker_and(m, how->guard, mapped(map, s.guard));
  s.other = mapped(map, s.other);
  if (s.n_pos) {
    uint32_t *pos = SQ_ARRAY(m->g->arena, uint32_t, s.n_pos);
    for (uint32_t k = 0; k < s.n_pos; k++) pos[k] = map[s.pos[k]];
    s.pos = pos;
  }
  return sq_maker_add(m, s);
}

static void need(uint32_t id, void *user) { ((bool *)user)[id] = true; }

uint32_t sq_maker_graft(sq_maker *m, const sq_graft *how, uint32_t root, uint32_t *map) {
  if (root == SQ_NO_SCALAR || map[root] != SQ_NO_SCALAR) return mapped(map, root);
  const sq_generic *k = how->from->g;
  bool *used = SQ_ARRAY(m->g->arena, bool, root + 1);
  used[root] = true;
  for (uint32_t j = root + 1; j-- > 0;)
    if (used[j] && map[j] == SQ_NO_SCALAR) sq_scalar_refs(&k->s.v[j], need, used);
  for (uint32_t j = 0; j <= root; j++) {
    if (!used[j] || map[j] != SQ_NO_SCALAR) continue;
    sq_scalar s = k->s.v[j];
    if (s.kind == SQ_SC_INDEX) {
      map[j] = how->axis[s.axis];
    } else if (s.kind == SQ_SC_ACC) {
      map[j] = how->acc != SQ_NO_SCALAR ? how->acc : sq_maker_acc(m, s.dtype);
    } else if (s.kind == SQ_SC_READ) {
      map[j] = copy_read(m, how, s, map);
    } else {
      for (int a = 0; a < 3; a++) s.a[a] = mapped(map, s.a[a]);
      map[j] = sq_maker_add(m, s);
    }
  }
  return map[root];
}
