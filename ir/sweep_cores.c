// How sweeps in blocks go on tensor cores. In: the parts of each turn. Out: tiles, and turns of a block that
// shared memory has room for, or why there is no such way.
#include "ir/sweep_cores.h"
#include "ir/stream.h"

typedef sq_sweep_cores cores;

// ---- reads -------------------------------------------------------------------------------------
uint32_t sq_cores_read(const sq_sweep_nest *x) {
  const sq_generic *k = x->n->g;
  uint32_t s = k->body;
  while (k->s.v[s].kind == SQ_SC_CAST && k->s.v[s].dtype == SQ_F32 &&
         sq_is_float(k->s.v[k->s.v[s].a[0]].dtype))
    s = k->s.v[s].a[0];
  const sq_scalar *r = &k->s.v[s];
  bool plain = r->kind == SQ_SC_READ && r->guard == SQ_NO_SCALAR && r->other == SQ_NO_SCALAR &&
               r->site == SQ_NO_SITE && x->inner[r->operand] == SQ_SWEEP_NONE;
  return plain ? s : SQ_NO_SCALAR;
}
sq_dtype sq_cores_type(const sq_sweep_nest *x, uint32_t read) {
  if (read == SQ_NO_SCALAR) return SQ_DTYPE_COUNT;
  return x->n->in[x->n->g->s.v[read].operand]->type.dtype;
}
static bool whole(sq_graph *g, sq_dim d) {
  int64_t c;
  return sq_dim_is_const(g->dims, d, &c) && c % SQ_CORES_VECTOR == 0;
}
bool sq_cores_runs(sq_graph *g, const sq_sweep_nest *x, uint32_t read, uint32_t cls) {
  const sq_generic *k = x->n->g;
  const sq_scalar *r = &k->s.v[read];
  const sq_type *type = &x->n->in[r->operand]->type;
  uint32_t axis = SQ_NO_AXIS, last = r->n_pos - 1;
  for (uint32_t a = 0; a < k->n_par; a++)
    if (x->cls[a] == cls) axis = a;
  if (axis == SQ_NO_AXIS || !r->n_pos || !whole(g, sq_dim_storage(g->dims, type->dim[last])) ||
      !whole(g, k->axis[axis].extent))
    return false;
  for (uint32_t i = 0; i < last; i++)
    if (sq_scalar_axis_set(g, k, r->pos[i]) >> axis & 1) return false;
  sq_affine a = sq_scalar_affine(g, k, r->pos[last]);
  if (!a.ok || a.coef[axis] != 1 || !whole(g, a.offset)) return false;
  for (uint32_t i = 0; i < k->n_par; i++)
    if (i != axis && a.coef[i] % SQ_CORES_VECTOR) return false;
  return true;
}

// ---- may it be? --------------------------------------------------------------------------------
typedef struct found {
  const sq_sweep *s;
  const sq_chunk *c;
  uint32_t n; // states
  cores *p;
} found;
static bool has_half(const found *w, const sq_sweep_nest *x);
static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }
static bool member_has_half(const found *w, uint32_t value) {
  uint32_t i = value - w->n;
  return value >= w->n && w->c->role[i] != SQ_CHUNK_READ && has_half(w, &w->s->member[i]);
}
// Is a number of 16 bits in memory part of it? What it is multiplied with is then not exact either.
static bool has_half(const found *w, const sq_sweep_nest *x) {
  const sq_generic *g = x->n->g;
  bool *used = SQ_ARRAY(w->s->g->arena, bool, g->s.n + 1);
  used[g->post != SQ_NO_SCALAR ? g->post : g->body] = used[g->body] = true;
  for (uint32_t j = g->s.n; j-- > 0;) {
    const sq_scalar *r = &g->s.v[j];
    if (!used[j]) continue;
    sq_scalar_refs(r, mark, used);
    if (r->kind != SQ_SC_READ) continue;
    sq_dtype t = x->n->in[r->operand]->type.dtype;
    if (x->inner[r->operand] == SQ_SWEEP_NONE ? t == SQ_BF16 || t == SQ_F16
                                              : member_has_half(w, x->inner[r->operand]))
      return true;
  }
  return false;
}
static bool part_has_half(const found *w, uint32_t member, uint32_t scalar) {
  return scalar == SQ_NO_SCALAR || has_half(w, sq_chunk_part(w->s, w->c->type, member, scalar));
}
static const char *find_why(const found *w) {
  uint32_t rows = 0;
  if (w->c->type != SQ_F32) return "its states are not f32";
  for (uint32_t i = 0; i < w->n; i++) {
    const sq_chunk_state *t = &w->c->state[i];
    const sq_chunk_add *a = &w->c->add[t->first];
    if (t->by_rows) return "decays depend on the row";
    if (!part_has_half(w, t->member, a->key) ||
        (!a->solved && !part_has_half(w, t->member, a->column)))
      return "what it adds is of more than 16 bits";
    rows += t->has_columns ? w->p->depth : 0;
  }
  for (uint32_t r = 0; r < w->c->n_read; r++)
    for (uint32_t i = 0; i < w->c->read[r].n_term; i++)
      if (!part_has_half(w, w->c->read[r].member, w->c->read[r].term[i].factor))
        return "what sums are weighed by is of more than 16 bits";
  return rows <= SQ_CORES_ROWS ? NULL : "its states are more than registers hold";
}

// ---- tiles -------------------------------------------------------------------------------------
static bool same_position(const found *w, const sq_cores_tile *x, const sq_cores_tile *y,
                          uint32_t p) {
  const sq_generic *g = x->x->n->g, *h = y->x->n->g;
  sq_affine u = sq_scalar_affine(w->s->g, g, g->s.v[x->read].pos[p]);
  sq_affine v = sq_scalar_affine(w->s->g, h, h->s.v[y->read].pos[p]);
  int64_t sum[SQ_MAX_RANK * 4] = {0};
  if (!u.ok || !v.ok || u.offset.i != v.offset.i || w->s->n_class >= SQ_MAX_RANK * 4) return false;
  for (uint32_t a = 0; a < g->n_par; a++)
    sum[x->x->cls[a] == SQ_SWEEP_NONE ? w->s->n_class : x->x->cls[a]] += u.coef[a];
  for (uint32_t a = 0; a < h->n_par; a++)
    sum[y->x->cls[a] == SQ_SWEEP_NONE ? w->s->n_class : y->x->cls[a]] -= v.coef[a];
  for (uint32_t c = 0; c <= w->s->n_class; c++)
    if (sum[c]) return false;
  return true;
}
// Do both read the same elements?
static bool is_same(const found *w, const sq_cores_tile *x, const sq_cores_tile *y) {
  if (x->read == SQ_NO_SCALAR || y->read == SQ_NO_SCALAR) return false;
  const sq_scalar *r = &x->x->n->g->s.v[x->read], *v = &y->x->n->g->s.v[y->read];
  if (x->x->n->in[r->operand] != y->x->n->in[v->operand] || r->n_pos != v->n_pos) return false;
  for (uint32_t p = 0; p < r->n_pos; p++)
    if (!same_position(w, x, y, p)) return false;
  return true;
}
static uint32_t tile_of(const found *w, uint32_t member, uint32_t scalar) {
  cores *c = w->p;
  sq_cores_tile t = {.x = sq_chunk_part(w->s, w->c->type, member, scalar)};
  t.read = scalar == SQ_NO_SCALAR ? SQ_NO_SCALAR : sq_cores_read(t.x);
  t.exact = scalar == SQ_NO_SCALAR || sq_cores_type(t.x, t.read) == SQ_BF16;
  t.vectors = t.exact && t.read != SQ_NO_SCALAR && sq_cores_runs(w->s->g, t.x, t.read, w->c->row);
  for (uint32_t i = 0; i < c->n_tile; i++)
    if (is_same(w, &c->tile[i], &t)) return i;
  c->tile[c->n_tile] = t;
  return c->n_tile++;
}
static void find_tiles(const found *w) {
  cores *p = w->p;
  sq_arena *a = w->s->g->arena;
  uint32_t q = 0;
  p->tile = SQ_ARRAY(a, sq_cores_tile, w->n + w->c->n_pairs);
  p->key = SQ_ARRAY(a, uint32_t, w->n);
  p->factor = SQ_ARRAY(a, uint32_t, w->c->n_pairs);
  p->exact = SQ_ARRAY(a, bool, w->n);
  for (uint32_t i = 0; i < w->n; i++) {
    const sq_chunk_state *t = &w->c->state[i];
    const sq_chunk_add *v = &w->c->add[t->first];
    p->key[i] = tile_of(w, t->member, v->key);
    if (v->solved) continue;
    const sq_sweep_nest *x = sq_chunk_part(w->s, w->c->type, t->member, v->column);
    p->exact[i] = v->column == SQ_NO_SCALAR || sq_cores_type(x, sq_cores_read(x)) == SQ_BF16;
  }
  for (uint32_t r = 0; r < w->c->n_read; r++)
    for (uint32_t i = 0; i < w->c->read[r].n_term; i++)
      p->factor[q++] = tile_of(w, w->c->read[r].member, w->c->read[r].term[i].factor);
}

// ---- shared memory -----------------------------------------------------------------------------
// What kernels declare (codegen/cuda/sweep_cores.c), each array from a multiple of 16 on.
static uint32_t array(uint32_t n) { return (n * 4 + 15) / 16 * 16; }
static uint32_t bytes_of(const found *w) {
  const cores *p = w->p;
  uint32_t n = p->length, wide = n * (SQ_CORES_COLUMNS + SQ_CORES_SKEW);
  uint32_t bytes = array(SQ_TILES_THREADS / 32);
  for (uint32_t i = 0; i < w->n; i++) {
    bytes += array(n) + array((n + 1) * n) + array(n + 1);
    bytes += w->c->state[i].has_columns ? array(wide) : array(n) + 2 * array(p->depth);
  }
  for (uint32_t i = 0; i < p->n_tile; i++)
    bytes += (p->tile[i].exact ? 1 : p->parts) * array(n * p->pitch);
  bytes += w->c->n_pairs * array(n * (n + SQ_TILES_SKEW));
  for (uint32_t r = 0; r < w->c->n_read; r++)
    bytes += array(w->c->state[w->c->read[r].term[0].state].has_columns ? wide : n);
  return bytes;
}
sq_sweep_cores sq_sweep_cores_make(const sq_sweep *s, const sq_chunk *c, uint32_t n_state,
                                   sq_value *const *results, uint32_t n_results) {
  cores p = {.depth = (c->rows + 15) / 16 * 16, .parts = 2};
  found w = {s, c, n_state, &p};
  p.pitch = p.depth / 2 + SQ_CORES_SKEW;
  for (uint32_t i = 0; i < n_results; i++) {
    sq_dtype t = results[i]->type.dtype;
    if (t != SQ_BF16 && t != SQ_F16) p.parts = 3; // what leaves shows more than 16 bits
  }
  if ((p.why = find_why(&w))) return p;
  find_tiles(&w);
  for (p.length = 32; p.length >= 16; p.length /= 2)
    if ((p.bytes = bytes_of(&w)) <= SQ_CORES_SHARED) return p;
  return p.why = "what a block of turns brings is more than shared memory holds", p;
}
