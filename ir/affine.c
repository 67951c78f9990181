// Affine questions about scalars: sum of coefficient * axis + offset.
#include "ir/ir.h"

static sq_affine nothing(void) { return (sq_affine){.ok = false}; }

static sq_affine constant(sq_dim d) {
  sq_affine r = {.ok = true};
  r.offset = d;
  return r;
}

static bool is_constant(const sq_affine *a) {
  for (uint32_t k = 0; k < SQ_MAX_RANK * 2; k++)
    if (a->coef[k]) return false;
  return true;
}

static sq_affine combine(sq_graph *g, sq_affine a, sq_affine b, int64_t sign) {
  if (!a.ok || !b.ok) return nothing();
  for (uint32_t k = 0; k < SQ_MAX_RANK * 2; k++)
    if (__builtin_mul_overflow(b.coef[k], sign, &b.coef[k]) ||
        __builtin_add_overflow(a.coef[k], b.coef[k], &a.coef[k]))
      return nothing();
  a.offset =
      sign > 0 ? sq_dim_add(g->dims, a.offset, b.offset) : sq_dim_sub(g->dims, a.offset, b.offset);
  return a;
}

static sq_affine scaled(sq_graph *g, sq_affine a, sq_affine b) {
  if (!a.ok || !b.ok) return nothing();
  if (is_constant(&a)) {
    sq_affine t = a;
    a = b;
    b = t;
  }
  int64_t c;
  if (!is_constant(&b)) return nothing();
  if (is_constant(&a)) return constant(sq_dim_mul(g->dims, a.offset, b.offset));
  if (!sq_dim_is_const(g->dims, b.offset, &c)) return nothing();
  for (uint32_t k = 0; k < SQ_MAX_RANK * 2; k++)
    if (__builtin_mul_overflow(a.coef[k], c, &a.coef[k])) return nothing();
  a.offset = sq_dim_mul(g->dims, a.offset, b.offset);
  return a;
}

enum { MOST_PLACES = 1000 }; // of an expression
// Scalars share operands: `left` says how many places may still be looked at.
static sq_affine affine(sq_graph *g, const sq_generic *k, uint32_t at, uint32_t *left) {
  if (!*left) return nothing();
  --*left;
  const sq_scalar *s = &k->s.v[at];
  switch ((int)s->kind) {
  case SQ_SC_INT:
    return constant(sq_dim_const(g->dims, s->i));
  case SQ_SC_DIM:
    return constant(s->dim);
  case SQ_SC_INDEX: {
    if (s->axis >= SQ_MAX_RANK * 2) return nothing();
    sq_affine r = constant(sq_dim_const(g->dims, 0));
    r.coef[s->axis] = 1;
    return r;
  }
  case SQ_SC_CAST: // widening of integers keeps the value
    if (s->dtype != SQ_I64 || sq_is_float(k->s.v[s->a[0]].dtype)) return nothing();
    return affine(g, k, s->a[0], left);
  case SQ_SC_EWISE:
    break;
  default:
    return nothing();
  }
  if (s->dtype != SQ_I64) return nothing(); // narrower arithmetic may wrap
  sq_affine a = affine(g, k, s->a[0], left);
  if (!a.ok) return a;
  if (s->ew == SQ_EW_NEG) return combine(g, constant(sq_dim_const(g->dims, 0)), a, -1);
  if (sq_ewise_table[s->ew].arity < 2) return nothing();
  sq_affine b = affine(g, k, s->a[1], left);
  if (!b.ok) return b;
  if (s->ew == SQ_EW_ADD) return combine(g, a, b, 1);
  if (s->ew == SQ_EW_SUB) return combine(g, a, b, -1);
  if (s->ew == SQ_EW_MUL) return scaled(g, a, b);
  if (!is_constant(&a) || !is_constant(&b)) return nothing();
  if (s->ew == SQ_EW_FLOORDIV || s->ew == SQ_EW_MOD) {
    if (sq_dim_low(g->dims, b.offset) <= 0) return nothing(); // by 0 it is 0, a size has no value
    return constant(s->ew == SQ_EW_MOD ? sq_dim_mod(g->dims, a.offset, b.offset)
                                       : sq_dim_floordiv(g->dims, a.offset, b.offset));
  }
  if (s->ew == SQ_EW_MIN) return constant(sq_dim_min(g->dims, a.offset, b.offset));
  if (s->ew == SQ_EW_MAX) return constant(sq_dim_max(g->dims, a.offset, b.offset));
  return nothing();
}

sq_affine sq_scalar_affine(sq_graph *g, const sq_generic *k, uint32_t s) {
  uint32_t left = MOST_PLACES;
  return affine(g, k, s, &left);
}

uint32_t sq_read_leading(sq_graph *g, const sq_generic *k, const sq_scalar *read) {
  for (uint32_t j = 0; j < read->n_pos; j++) {
    sq_affine a = sq_scalar_affine(g, k, read->pos[j]);
    int64_t off;
    if (!a.ok || !sq_dim_is_const(g->dims, a.offset, &off) || off) return j;
    for (uint32_t c = 0; c < SQ_MAX_RANK * 2; c++)
      if (a.coef[c] != (c == j)) return j;
  }
  return read->n_pos;
}

bool sq_read_is_plain(sq_graph *g, const sq_generic *k, const sq_scalar *read,
                      uint32_t *axis_of_pos) {
  uint64_t seen = 0;
  for (uint32_t j = 0; j < read->n_pos; j++) {
    sq_affine a = sq_scalar_affine(g, k, read->pos[j]);
    int64_t off;
    if (!a.ok || !sq_dim_is_const(g->dims, a.offset, &off) || off) return false;
    uint32_t axis = UINT32_MAX;
    for (uint32_t c = 0; c < SQ_MAX_RANK * 2; c++) {
      if (!a.coef[c]) continue;
      if (a.coef[c] != 1 || axis != UINT32_MAX) return false;
      axis = c;
    }
    if (axis == UINT32_MAX || seen >> axis & 1) return false;
    seen |= 1ull << axis;
    if (axis_of_pos) axis_of_pos[j] = axis;
  }
  return true;
}

uint32_t sq_generic_moves(sq_graph *g, const sq_generic *k) {
  if (k->n_red || k->keyed || k->pos || k->post != SQ_NO_SCALAR) return SQ_NO_OPERAND;
  const sq_scalar *s = &k->s.v[k->body];
  uint32_t axis[SQ_MAX_RANK];
  if (s->kind != SQ_SC_READ || s->guard != SQ_NO_SCALAR || s->other != SQ_NO_SCALAR ||
      s->site != SQ_NO_SITE)
    return SQ_NO_OPERAND;
  if (s->n_pos != k->n_par || s->n_pos > SQ_MAX_RANK || !sq_read_is_plain(g, k, s, axis))
    return SQ_NO_OPERAND;
  for (uint32_t j = 0; j < s->n_pos; j++)
    if (axis[j] != j) return SQ_NO_OPERAND;
  return s->operand;
}

bool sq_cell_same(const sq_node *a, const sq_node *b) {
  if (a == b) return true;
  if (!a || !b || a->ref != b->ref || a->has_instance != b->has_instance) return false;
  return !a->has_instance || a->in[a->n_in - 1] == b->in[b->n_in - 1];
}

bool sq_write_is_done(sq_graph *g, const sq_node *n) {
  uint32_t k = n->op == SQ_OP_STATE_WRITE ? sq_generic_moves(g, n->g) : SQ_NO_OPERAND;
  return k < n->n_in && n->in[k]->origin && sq_cell_same(n->in[k]->origin->def, n);
}

void sq_scalar_refs(const sq_scalar *s, sq_scalar_ref_fn fn, void *user) {
  int arity = s->kind == SQ_SC_EWISE    ? sq_ewise_table[s->ew].arity
              : s->kind == SQ_SC_SELECT ? 3
              : s->kind == SQ_SC_CAST   ? 1
                                        : 0;
  for (int k = 0; k < arity; k++) fn(s->a[k], user);
  if (s->kind != SQ_SC_READ) return;
  for (uint32_t k = 0; k < s->n_pos; k++) fn(s->pos[k], user);
  if (s->guard != SQ_NO_SCALAR) fn(s->guard, user);
  if (s->other != SQ_NO_SCALAR) fn(s->other, user);
}
