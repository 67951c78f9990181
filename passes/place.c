// Questions about memory: which values may lie in one place, which writes clobber what.
#include "ir/sweep.h"
#include "passes/maker.h"
#include "passes/plan.h"

sq_dim sq_storage_bytes(sq_graph *g, sq_type t, uint32_t skip) {
  sq_dim n = sq_dim_const(g->dims, sq_dtype_table[t.dtype].bytes);
  for (uint32_t k = skip; k < t.rank; k++)
    n = sq_dim_mul(g->dims, n, sq_dim_storage(g->dims, t.dim[k]));
  return n;
}

// The size that a scalar of a condition is; {0}: none.
static sq_dim scalar_size(sq_graph *g, const sq_generic *k, uint32_t at) {
  const sq_scalar *s = &k->s.v[at];
  while (s->kind == SQ_SC_CAST && !sq_is_float(s->dtype)) s = &k->s.v[s->a[0]];
  if (s->kind == SQ_SC_DIM) return s->dim;
  return s->kind == SQ_SC_INT ? sq_dim_const(g->dims, s->i) : (sq_dim){0};
}

// What holds in block b, a side of an `if` on sizes: *lo <= *hi.
static bool side_bound(sq_graph *g, const sq_block *b, sq_dim *lo, sq_dim *hi) {
  const sq_node *n = b->owner, *c = n->op == SQ_OP_IF ? n->in[0]->def : NULL;
  if (!c || !sq_node_is_elementwise(c) || c->g->n_par || c->g->post != SQ_NO_SCALAR) return false;
  const sq_scalar *s = &c->g->s.v[c->g->body];
  if (s->kind != SQ_SC_EWISE || (s->ew != SQ_EW_LE && s->ew != SQ_EW_LT)) return false;
  bool holds = b == n->region[0];
  *lo = scalar_size(g, c->g, s->a[holds ? 0 : 1]);
  *hi = scalar_size(g, c->g, s->a[holds ? 1 : 0]);
  if (!lo->i || !hi->i) return false;
  if (holds == (s->ew == SQ_EW_LT)) *hi = sq_dim_sub(g->dims, *hi, sq_dim_const(g->dims, 1));
  return true;
}

// Inside `if N <= 4` values exist only where that holds, so that N counts as min(N, 4).
static sq_dim within_side(sq_graph *g, sq_dim bytes, const sq_block *b) {
  sq_dim lo, hi, zero = sq_dim_const(g->dims, 0);
  if (!side_bound(g, b, &lo, &hi)) return bytes;
  const sq_dim_node *d = sq_dim_at(g->dims, lo);
  if (d->kind != SQ_DIM_SYM || sq_dim_mentions(g->dims, hi, d->sym)) return bytes;
  uint32_t count = sq_sym_count(g->dims) + 1, sym = d->sym.i;
  sq_dim *with = SQ_ARRAY(g->arena, sq_dim, count);
  with[sym] = sq_dim_min(g->dims, lo, hi);
  if (sq_prove_le(g->dims, zero, with[sym]) != 1) with[sym] = sq_dim_max(g->dims, zero, with[sym]);
  sq_dim less = sq_dim_subst(g->dims, bytes, with, count);
  return sq_prove_le(g->dims, zero, less) == 1 ? less : bytes;
}

sq_dim sq_storage_of(sq_graph *g, const sq_value *v) {
  sq_dim bytes = sq_storage_bytes(g, v->type, 0);
  for (const sq_block *b = v->def ? v->def->block : v->block; b && b->owner; b = b->owner->block)
    bytes = within_side(g, bytes, b);
  return bytes;
}

// Same bytes an element and the same strides: position p is at one address in both.
static bool same_layout(sq_graph *g, sq_type a, sq_type b) {
  if (sq_dtype_table[a.dtype].bytes != sq_dtype_table[b.dtype].bytes || a.rank != b.rank)
    return false;
  for (uint32_t k = 0; k < a.rank; k++)
    if (!sq_dim_same(sq_dim_storage(g->dims, a.dim[k]), sq_dim_storage(g->dims, b.dim[k])))
      return false;
  return true;
}

// The first n positions of the read are the first n axes, in order.
static bool leads_identity(sq_graph *g, const sq_generic *k, const sq_scalar *s, uint32_t n) {
  if (s->n_pos < n) return false;
  for (uint32_t j = 0; j < n; j++) {
    sq_affine a = sq_scalar_affine(g, k, s->pos[j]);
    int64_t off;
    if (!a.ok || !sq_dim_is_const(g->dims, a.offset, &off) || off) return false;
    for (uint32_t c = 0; c < SQ_MAX_RANK * 2; c++)
      if (a.coef[c] != (c == j)) return false;
  }
  return true;
}

// All reads of v by n are at the parallel axes themselves.
static bool reads_identity(sq_graph *g, const sq_node *n, const sq_value *v, uint32_t lead,
                           bool whole) {
  for (uint32_t j = 0; j < n->g->s.n; j++) {
    const sq_scalar *s = &n->g->s.v[j];
    if (s->kind != SQ_SC_READ || s->operand >= n->n_in || n->in[s->operand] != v) continue;
    if (whole && s->n_pos != lead) return false;
    if (!leads_identity(g, n->g, s, lead)) return false;
  }
  return true;
}

static bool uses(const sq_node *n, const sq_value *v) {
  for (uint32_t k = 0; k < n->n_in; k++)
    if (n->in[k] == v) return true;
  return false;
}

static bool elementwise_shared(sq_graph *g, const sq_node *n, const sq_value *in,
                               const sq_value *out) {
  return !n->g->n_red && !n->g->keyed && !n->g->pos && uses(n, in) &&
         same_layout(g, in->type, out->type) && in->type.rank == n->g->n_par &&
         reads_identity(g, n, in, n->g->n_par, true);
}

// A group works row by row of its outer axes: members before the one that makes the result may read
// all of the own row, that one only its own element, later ones nothing.
static bool group_shared(sq_graph *g, const sq_node *n, const sq_value *in, const sq_value *out) {
  const sq_value *made = sq_block_end(n->region[0])->in[out->index];
  bool after = false, any = false;
  if (!made->def || made->def->op != SQ_OP_GENERIC || made->def->g->n_red ||
      !same_layout(g, in->type, made->type))
    return false;
  for (uint32_t k = 0; k < n->region[0]->nodes.n; k++) {
    const sq_node *m = n->region[0]->nodes.v[k];
    if (m->op != SQ_OP_GENERIC) continue;
    bool reads = uses(m, in);
    any |= reads;
    if (m == made->def) {
      if (reads && !elementwise_shared(g, m, in, made)) return false;
      after = true;
    } else if (reads && (after || !reads_identity(g, m, in, n->n_outer, false))) {
      return false;
    }
  }
  return any && after;
}

// `budget` ends the comparison of two large expressions; false says nothing then.
static bool scalar_same(const sq_generic *k, uint32_t a, uint32_t b, int *budget) {
  if (a == b) return true;
  if (a == SQ_NO_SCALAR || b == SQ_NO_SCALAR || --*budget < 0) return false;
  const sq_scalar *x = &k->s.v[a], *y = &k->s.v[b];
  if (x->kind != y->kind || x->dtype != y->dtype) return false;
  switch (x->kind) {
  case SQ_SC_FLOAT:
    return !memcmp(&x->f, &y->f, sizeof x->f);
  case SQ_SC_INT:
    return x->i == y->i;
  case SQ_SC_INDEX:
    return x->axis == y->axis;
  case SQ_SC_DIM:
    return sq_dim_same(x->dim, y->dim);
  case SQ_SC_ACC:
    return true;
  case SQ_SC_EWISE:
    if (x->ew != y->ew) return false;
    break;
  case SQ_SC_SELECT:
  case SQ_SC_CAST:
    break;
  case SQ_SC_READ:
    if (x->operand != y->operand || x->n_pos != y->n_pos || x->site != y->site ||
        !scalar_same(k, x->guard, y->guard, budget) || !scalar_same(k, x->other, y->other, budget))
      return false;
    for (uint32_t j = 0; j < x->n_pos; j++)
      if (!scalar_same(k, x->pos[j], y->pos[j], budget)) return false;
    return true;
  }
  for (int j = 0; j < 3; j++)
    if (!scalar_same(k, x->a[j], y->a[j], budget)) return false;
  return true;
}

// No two elements go to one position: every axis stands alone in a position of its own.
static bool injective(sq_graph *g, const sq_generic *k) {
  uint64_t seen = 0;
  if (!k->pos) return true;
  for (uint32_t j = 0; j < k->n_pos; j++) {
    sq_affine a = sq_scalar_affine(g, k, k->pos[j]);
    uint32_t axes = 0, axis = 0;
    if (!a.ok) continue;
    for (uint32_t c = 0; c < SQ_MAX_RANK * 2; c++)
      if (a.coef[c]) axes++, axis = c;
    if (axes == 1) seen |= 1ull << axis;
  }
  return seen == (1ull << k->n_par) - 1;
}

bool sq_write_reads_in_place(sq_graph *g, const sq_node *n, const sq_value *v) {
  const sq_generic *k = n->g;
  if (!k) return false;
  if (n->has_instance && n->in[n->n_in - 1] == v) return false;
  if (n->op == SQ_OP_STATE_WRITE && !k->pos && g->state.v[n->ref].grow.i) return false;
  bool any = false;
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *s = &k->s.v[j];
    if (s->kind != SQ_SC_READ || s->operand >= n->n_in || n->in[s->operand] != v) continue;
    any = true;
    if (k->n_red || k->keyed) return false;
    if (!k->pos) {
      if (s->n_pos != k->n_par || !leads_identity(g, k, s, k->n_par)) return false;
      continue;
    }
    if (s->n_pos != k->n_pos) return false;
    int budget = 400;
    for (uint32_t p = 0; p < s->n_pos; p++)
      if (!scalar_same(k, s->pos[p], k->pos[p], &budget)) return false;
  }
  return !any || injective(g, k);
}

// A sweep reads what it begins with lane by lane, before it writes what it ends with there.
static bool sweep_shared(sq_graph *g, const sq_node *n, const sq_value *in, const sq_value *out) {
  const sq_value *made = sq_block_end(n->region[0])->in[out->index];
  const sq_node *scan = made->def;
  if (scan->op != SQ_OP_SCAN || made->index >= scan->n_carried) return false;
  if (scan->in[made->index] != in || !same_layout(g, in->type, out->type)) return false;
  uint32_t others = 0;
  for (uint32_t k = 0; k < scan->n_in; k++) others += scan->in[k] == in;
  for (uint32_t k = 0; k < n->region[0]->nodes.n; k++)
    others += n->region[0]->nodes.v[k] != scan && uses(n->region[0]->nodes.v[k], in);
  for (uint32_t k = 0; k < scan->region[0]->nodes.n; k++)
    others += uses(scan->region[0]->nodes.v[k], in);
  if (others != 1) return false;
  const sq_sweep *s = sq_sweep_make(g, (sq_node *)(uintptr_t)n);
  return !s->why && sq_sweep_has_lanes(s, made->index);
}

bool sq_place_shared(sq_graph *g, const sq_node *n, const sq_value *in, const sq_value *out) {
  if (out->def != n) return false;
  if (n->op == SQ_OP_GENERIC) return elementwise_shared(g, n, in, out);
  if (n->op == SQ_OP_UPDATE) return in == n->in[0] && sq_write_reads_in_place(g, n, in);
  if (n->op == SQ_OP_GROUP) return group_shared(g, n, in, out);
  if (n->op == SQ_OP_SWEEP) return sweep_shared(g, n, in, out);
  return false;
}

static bool is_pair(const sq_value *const *x, const sq_value *const *y, uint32_t n,
                    const sq_value *a, const sq_value *b) {
  for (uint32_t k = 0; k < n; k++)
    if ((x[k] == a && y[k] == b) || (x[k] == b && y[k] == a)) return true;
  return false;
}

bool sq_point_shared(const sq_live *l, uint32_t at, const sq_value *a, const sq_value *b) {
  if (!(at & 1)) return false;
  const sq_point *p = &l->point.v[at / 2];
  const sq_node *n = p->node;
  if (!n || p->kind == SQ_POINT_END) return false;
  sq_graph *g = l->func->graph;
  typedef const sq_value *const *list;
  if (p->kind == SQ_POINT_REGION)
    return n->op == SQ_OP_WHILE && p->region == 1 &&
           is_pair((list)n->region[0]->args.v, (list)n->region[1]->args.v, n->n_in, a, b);
  if (n->op == SQ_OP_YIELD) {
    const sq_node *owner = n->block->owner;
    return owner && owner->op == SQ_OP_IF && is_pair((list)n->in, (list)owner->out, n->n_in, a, b);
  }
  if (n->op == SQ_OP_REPEAT || n->op == SQ_OP_SCAN || n->op == SQ_OP_WHILE)
    return is_pair((list)(n->in + sq_carried_first_in(n)),
                   (list)(n->region[0]->args.v + sq_carried_first_arg(n)), sq_carried_count(n), a,
                   b);
  return sq_place_shared(g, n, a, b) || sq_place_shared(g, n, b, a);
}

bool sq_ranges_collide(const sq_live *l, sq_range a, const sq_value *x, sq_range b,
                       const sq_value *y) {
  uint32_t from = a.from > b.from ? a.from : b.from, to = a.to < b.to ? a.to : b.to;
  if (from > to) return false;
  bool hand_over =
      from == to && ((a.to == from && b.from == from) || (b.to == from && a.from == from));
  return !hand_over || !sq_point_shared(l, from, x, y);
}

static bool clobbers(const sq_node *w, const sq_node *read) {
  if (read->op == SQ_OP_PARAM) return w->op == SQ_OP_PARAM_WRITE && w->ref == read->ref;
  if (w->op == SQ_OP_RESET) return true;
  return (w->op == SQ_OP_STATE_WRITE || w->op == SQ_OP_RESERVE) && w->ref == read->ref;
}

sq_node *sq_alias_clobber(const sq_live *l, const sq_value *v) {
  sq_graph *g = l->func->graph;
  const sq_ranges *s = &l->of[v->id];
  for (uint32_t k = 0; k < s->r.n; k++)
    for (uint32_t q = s->r.v[k].from / 2; q <= s->r.v[k].to / 2 && q < l->point.n; q++) {
      sq_node *w = l->point.v[q].node;
      if (l->point.v[q].kind != SQ_POINT_NODE || !w) continue;
      if (!clobbers(w, v->origin ? v->origin->def : v->def)) continue;
      if (2 * q + 1 < s->r.v[k].to) return w;
      bool write = w->op == SQ_OP_STATE_WRITE || w->op == SQ_OP_PARAM_WRITE;
      if (uses(w, v) && !(write && sq_write_reads_in_place(g, w, v))) return w;
    }
  return NULL;
}
