// Neighbouring axes that all reads and the result see as neighbours in memory become one axis:
//
//   [b < B, n < N, c < 384] x[b, n, c] + w[c]   ->   [m < B * N, c < 384] x[m, c] + w[c]
//
// In: a generic without positions of its own. Out: the same node, or a copy of it that is in no
// block, with operands and result of fewer axes at the same places.
#include "codegen/cpu/kernel.h"

static bool storage_is(sq_dims *ds, sq_dim have, sq_dim want) {
  return sq_dim_same(sq_dim_storage(ds, have), want);
}
// Where `read` has axis and axis + 1 next to each other; n_pos: neither is there; else
// SQ_NO_SCALAR.
static uint32_t pair_at(sq_graph *g, const sq_node *n, const sq_scalar *read, uint32_t axis) {
  const sq_generic *k = n->g;
  uint32_t at = read->n_pos;
  for (uint32_t i = 0; i < read->n_pos; i++) {
    const sq_scalar *p = &k->s.v[read->pos[i]];
    if (p->kind != SQ_SC_INDEX || (p->axis != axis && p->axis != axis + 1)) continue;
    if (p->axis == axis + 1) return SQ_NO_SCALAR; // not behind its partner
    if (at != read->n_pos || i + 1 == read->n_pos) return SQ_NO_SCALAR;
    const sq_scalar *q = &k->s.v[read->pos[i + 1]];
    if (q->kind != SQ_SC_INDEX || q->axis != axis + 1) return SQ_NO_SCALAR;
    sq_dim inner = n->in[read->operand]->type.dim[i + 1];
    sq_dim extent = k->axis[axis + 1].extent;
    bool tested = read->other != SQ_NO_SCALAR || read->site != SQ_NO_SITE;
    if (!storage_is(g->dims, inner, extent) || (tested && !sq_dim_same(inner, extent)))
      return SQ_NO_SCALAR; // what is stored behind a live extent is outside
    at = i++;
  }
  return at;
}
// Is the scalar's value used other than as a position?
static bool used_as_value(const sq_generic *k, uint32_t s) {
  if (k->body == s || k->post == s || k->write_guard == s) return true;
  for (uint32_t i = 0; i < k->domain.n; i++)
    if (k->domain.v[i] == s) return true;
  for (uint32_t i = 0; i < k->s.n; i++) {
    const sq_scalar *x = &k->s.v[i];
    if (x->kind == SQ_SC_READ && (x->guard == s || x->other == s)) return true;
    uint32_t arity = x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
                     : x->kind == SQ_SC_SELECT ? 3
                     : x->kind == SQ_SC_CAST   ? 1
                                               : 0;
    for (uint32_t j = 0; j < arity; j++)
      if (x->a[j] == s) return true;
  }
  return false;
}
static bool can_merge(sq_graph *g, const sq_node *n, uint32_t axis) {
  const sq_generic *k = n->g;
  if (axis + 1 == k->n_par) return false;
  sq_dim a = k->axis[axis].extent, b = k->axis[axis + 1].extent;
  if (axis >= k->n_par && (sq_dim_low(g->dims, a) < 0 || sq_dim_low(g->dims, b) < 0)) return false;
  if (axis < k->n_par && !storage_is(g->dims, n->out[0]->type.dim[axis + 1], b)) return false;
  for (uint32_t s = 0; s < k->s.n; s++) {
    const sq_scalar *x = &k->s.v[s];
    bool one = x->kind == SQ_SC_INDEX && (x->axis == axis || x->axis == axis + 1);
    if (one && used_as_value(k, s)) return false;
    if (x->kind == SQ_SC_READ && pair_at(g, n, x, axis) == SQ_NO_SCALAR) return false;
  }
  return true;
}
static sq_value *reshaped(sq_graph *g, const sq_value *v, uint32_t at) {
  sq_value *r = SQ_NEW(g->arena, sq_value);
  sq_dim dim[SQ_MAX_RANK];
  *r = *v;
  uint32_t rank = 0;
  for (uint32_t i = 0; i < v->type.rank; i++) {
    dim[rank] = v->type.dim[i];
    if (i == at) dim[rank] = sq_dim_mul(g->dims, dim[rank], v->type.dim[++i]);
    rank++;
  }
  r->type = sq_type_make(g, v->type.dtype, rank, dim);
  return r;
}
static sq_node *merged(sq_graph *g, const sq_node *n, uint32_t axis) {
  const sq_generic *k = n->g;
  sq_node *m = SQ_NEW(g->arena, sq_node);
  *m = *n;
  bool par = axis < k->n_par;
  uint32_t n_axes = k->n_par + k->n_red, n_reads = 0;
  sq_generic *r = m->g = sq_generic_new(g, k->n_par - par, k->n_red - !par);
  sq_axis *axes = r->axis;
  *r = *k;
  r->n_par -= par;
  r->n_red -= !par;
  r->axis = axes;
  for (uint32_t i = 0, to = 0; i < n_axes; i++) {
    axes[to] = k->axis[i];
    if (i == axis) {
      i++;
      axes[to].extent = sq_dim_mul(g->dims, axes[to].extent, k->axis[i].extent);
    }
    to++;
  }
  r->s.v = SQ_ARRAY(g->arena, sq_scalar, k->s.n);
  r->s.cap = k->s.n;
  memcpy(r->s.v, k->s.v, k->s.n * sizeof *r->s.v);
  for (uint32_t s = 0; s < k->s.n; s++) n_reads += k->s.v[s].kind == SQ_SC_READ;
  m->in = SQ_ARRAY(g->arena, sq_value *, n_reads + 1);
  m->n_in = 0;
  for (uint32_t s = 0; s < k->s.n; s++) {
    sq_scalar *x = &r->s.v[s];
    if (x->kind == SQ_SC_INDEX && x->axis > axis) x->axis--;
    if (x->kind != SQ_SC_READ) continue;
    uint32_t at = pair_at(g, n, &k->s.v[s], axis);
    sq_value *v = n->in[x->operand];
    x->operand = m->n_in;
    m->in[m->n_in++] = at < x->n_pos ? reshaped(g, v, at) : v;
    if (at == x->n_pos) continue;
    uint32_t *pos = SQ_ARRAY(g->arena, uint32_t, x->n_pos), to = 0;
    for (uint32_t i = 0; i < x->n_pos; i++)
      if (i != at + 1) pos[to++] = x->pos[i];
    x->pos = pos;
    x->n_pos = to;
  }
  if (par) {
    m->out = SQ_ARRAY(g->arena, sq_value *, 1);
    m->out[0] = reshaped(g, n->out[0], axis);
  }
  return m;
}
sq_node *sq_kernel_collapse(sq_graph *g, sq_node *n) {
  const sq_generic *k = n->g;
  if (n->op != SQ_OP_GENERIC || k->keyed || k->pos) return n;
  for (uint32_t axis = 0; axis + 1 < n->g->n_par + n->g->n_red;)
    if (can_merge(g, n, axis))
      n = merged(g, n, axis);
    else
      axis++;
  return n;
}
