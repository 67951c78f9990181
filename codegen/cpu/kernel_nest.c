// The scalar part of one generic, emitted at a place in its loop nest: each scalar once per scope,
// as a scalar where it is the same for all lanes, else as a vector.
// In: a generic, the indices of open axes. Out: LLVM values, remembered until their scope is left.
#include "codegen/cpu/kernel.h"

static void mark_used(sq_knest *t, uint32_t s) {
  if (s == SQ_NO_SCALAR || t->used[s]) return;
  t->used[s] = true;
  const sq_scalar *x = &t->g->s.v[s];
  if (x->kind == SQ_SC_READ) {
    for (uint32_t i = 0; i < x->n_pos; i++) mark_used(t, x->pos[i]);
    mark_used(t, x->guard);
    mark_used(t, x->other);
    return;
  }
  uint32_t n = x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
               : x->kind == SQ_SC_SELECT ? 3
               : x->kind == SQ_SC_CAST   ? 1
                                         : 0;
  for (uint32_t i = 0; i < n; i++) mark_used(t, x->a[i]);
}
static void depend(sq_knest *t, uint32_t s, uint32_t on) {
  if (on == SQ_NO_SCALAR) return;
  t->deps[s] |= t->deps[on];
  t->hoistable[s] &= t->hoistable[on];
}
// Scalars are in topological order.
static void dependences(sq_knest *t, uint32_t s) {
  const sq_scalar *x = &t->g->s.v[s];
  t->hoistable[s] = true;
  switch (x->kind) {
  case SQ_SC_FLOAT:
  case SQ_SC_INT:
  case SQ_SC_DIM:
    break;
  case SQ_SC_INDEX:
    t->deps[s] = 1u << x->axis;
    break;
  case SQ_SC_ACC:
    t->deps[s] = SQ_K_ACC;
    break;
  case SQ_SC_READ:
    for (uint32_t i = 0; i < x->n_pos; i++) depend(t, s, x->pos[i]);
    depend(t, s, x->guard);
    depend(t, s, x->other);
    if (x->site != SQ_NO_SITE) t->hoistable[s] = false;
    break;
  case SQ_SC_EWISE:
    for (int i = 0; i < sq_ewise_table[x->ew].arity; i++) depend(t, s, x->a[i]);
    break;
  case SQ_SC_SELECT:
    for (int i = 0; i < 3; i++) depend(t, s, x->a[i]);
    break;
  case SQ_SC_CAST:
    depend(t, s, x->a[0]);
    break;
  }
}
void sq_knest_begin(sq_knest *t, sq_kern *k, sq_node *n, sq_kgroup *group) {
  memset(t, 0, sizeof *t);
  sq_generic *g = n->g;
  t->k = k;
  t->n = n;
  t->g = g;
  t->group = group;
  t->n_axes = g->n_par + g->n_red;
  t->va = SQ_K_NO_AXIS;
  t->w = 1;
  uint32_t ns = g->s.n ? g->s.n : 1;
  t->deps = SQ_ARRAY(k->a, uint32_t, ns);
  t->used = SQ_ARRAY(k->a, bool, ns);
  t->hoistable = SQ_ARRAY(k->a, bool, ns);
  t->u = SQ_ARRAY(k->a, sq_lv, ns);
  t->v = SQ_ARRAY(k->a, sq_lv, ns);
  t->inside = SQ_ARRAY(k->a, sq_lv, ns);
  t->place = SQ_ARRAY(k->a, sq_kplace *, n->n_in + 1);
  for (uint32_t s = 0; s < g->s.n; s++) dependences(t, s);
  mark_used(t, g->body);
  mark_used(t, g->post);
  mark_used(t, g->write_guard);
  for (uint32_t i = 0; i < g->domain.n; i++) mark_used(t, g->domain.v[i]);
  for (uint32_t i = 0; g->pos && i < g->n_pos; i++) mark_used(t, g->pos[i]);
}

uint32_t sq_knest_enter(sq_knest *t) { return t->trail.n; }
void sq_knest_leave(sq_knest *t, uint32_t mark) {
  while (t->trail.n > mark) *t->trail.v[--t->trail.n] = NULL;
}
static sq_lv remember(sq_knest *t, sq_lv *slot, sq_lv v) {
  *slot = v;
  sq_push(t->k->a, &t->trail, slot);
  return v;
}
void sq_knest_open(sq_knest *t, uint32_t axis, sq_lv index) {
  t->idx[axis] = index;
  t->open |= 1u << axis;
}
sq_lv sq_knest_extent(sq_knest *t, uint32_t axis) {
  if (!t->extent[axis]) t->extent[axis] = sq_kern_dim(t->k, t->g->axis[axis].extent);
  return t->extent[axis];
}
bool sq_knest_varies(const sq_knest *t, uint32_t s) {
  if (t->w == 1) return false;
  return (t->deps[s] >> t->va & 1) || ((t->deps[s] & SQ_K_ACC) && t->acc_varies);
}
void sq_knest_hoist(sq_knest *t) {
  t->hoisting = true;
  for (uint32_t s = 0; s < t->g->s.n; s++) {
    if (!t->used[s] || t->u[s]) continue;
    if ((t->deps[s] & ~t->open) == 0 && t->hoistable[s] && !sq_knest_varies(t, s))
      sq_knest_uniform(t, s);
    else if (t->g->s.v[s].kind == SQ_SC_READ)
      sq_knest_inside_hoist(t, s);
  }
  t->hoisting = false;
}

static sq_lv ewise(sq_knest *t, const sq_scalar *x, bool lanes) {
  sq_lv a[2] = {NULL, NULL};
  bool no_sign = true;
  for (int i = 0; i < sq_ewise_table[x->ew].arity; i++) {
    a[i] = lanes ? sq_knest_lanes(t, x->a[i]) : sq_knest_uniform(t, x->a[i]);
    no_sign &= sq_knest_nonneg(t, x->a[i]);
  }
  return sq_k_ewise(t->k, x->ew, t->g->s.v[x->a[0]].dtype, a[0], a[1], no_sign, t->tail);
}
static sq_lv leaf(sq_knest *t, const sq_scalar *x) {
  switch ((int)x->kind) {
  case SQ_SC_FLOAT:
    return sq_k_const(t->k, x->dtype, x->f, 0);
  case SQ_SC_INT:
    return sq_k_const(t->k, x->dtype, (double)x->i, x->i);
  case SQ_SC_DIM: {
    sq_lv v = sq_kern_dim(t->k, x->dim);
    return sq_k_cast(t->k, v, SQ_I64, x->dtype);
  }
  case SQ_SC_INDEX:
    return sq_k_cast(t->k, t->idx[x->axis], SQ_I64, x->dtype);
  default:
    return t->acc;
  }
}
sq_lv sq_knest_uniform(sq_knest *t, uint32_t s) {
  if (t->u[s]) return t->u[s];
  const sq_scalar *x = &t->g->s.v[s];
  sq_lv v;
  if (x->kind == SQ_SC_READ)
    v = sq_knest_read_uniform(t, s);
  else if (x->kind == SQ_SC_EWISE)
    v = ewise(t, x, false);
  else if (x->kind == SQ_SC_SELECT)
    v = LLVMBuildSelect(t->k->b, sq_knest_uniform(t, x->a[0]), sq_knest_uniform(t, x->a[1]),
                        sq_knest_uniform(t, x->a[2]), "");
  else if (x->kind == SQ_SC_CAST)
    v = sq_k_cast(t->k, sq_knest_uniform(t, x->a[0]), t->g->s.v[x->a[0]].dtype, x->dtype);
  else
    v = leaf(t, x);
  return remember(t, &t->u[s], v);
}
sq_lv sq_knest_lanes(sq_knest *t, uint32_t s) {
  if (t->w == 1) return sq_knest_uniform(t, s);
  if (t->v[s]) return t->v[s];
  const sq_scalar *x = &t->g->s.v[s];
  sq_lv v;
  if (!sq_knest_varies(t, s))
    v = sq_k_splat(t->k, sq_knest_uniform(t, s), t->w);
  else if (x->kind == SQ_SC_INDEX) {
    sq_lv first = sq_k_splat(t->k, t->idx[x->axis], t->w);
    v = LLVMBuildAdd(t->k->b, first, sq_k_lane_index(t->k, t->w, t->k->i64), "");
    v = sq_k_cast(t->k, v, SQ_I64, x->dtype);
  } else if (x->kind == SQ_SC_READ)
    v = sq_knest_read_lanes(t, s);
  else if (x->kind == SQ_SC_EWISE)
    v = ewise(t, x, true);
  else if (x->kind == SQ_SC_SELECT) {
    sq_lv c =
        sq_knest_varies(t, x->a[0]) ? sq_knest_lanes(t, x->a[0]) : sq_knest_uniform(t, x->a[0]);
    v = LLVMBuildSelect(t->k->b, c, sq_knest_lanes(t, x->a[1]), sq_knest_lanes(t, x->a[2]), "");
  } else if (x->kind == SQ_SC_CAST)
    v = sq_k_cast(t->k, sq_knest_lanes(t, x->a[0]), t->g->s.v[x->a[0]].dtype, x->dtype);
  else
    v = leaf(t, x);
  return remember(t, &t->v[s], v);
}
void sq_knest_put(sq_knest *t, uint32_t s, sq_lv v) {
  remember(t, sq_k_is_vec(v) ? &t->v[s] : &t->u[s], v);
}
sq_lv sq_knest_value(sq_knest *t, uint32_t s) {
  return sq_knest_varies(t, s) ? sq_knest_lanes(t, s) : sq_knest_uniform(t, s);
}

// ---- what is known about integer scalars -------------------------------------------------------
static bool is_index_type(sq_dtype d) { return d == SQ_I64 || d == SQ_I32; }
bool sq_knest_const(const sq_knest *t, uint32_t s, int64_t *v) {
  const sq_scalar *x = &t->g->s.v[s];
  if (x->kind == SQ_SC_INT) return *v = x->i, true;
  if (x->kind == SQ_SC_DIM) return sq_dim_is_const(t->k->g->dims, x->dim, v);
  if (x->kind != SQ_SC_CAST || !is_index_type(x->dtype)) return false;
  if (!is_index_type(t->g->s.v[x->a[0]].dtype)) return false;
  return sq_knest_const(t, x->a[0], v) && (x->dtype == SQ_I64 || *v == (int32_t)*v);
}
// Scalars share operands: `left` says how many places may still be looked at.
static bool nonneg(const sq_knest *t, uint32_t s, uint32_t *left) {
  if (!*left) return false;
  --*left;
  const sq_scalar *x = &t->g->s.v[s];
  int64_t v;
  if (x->dtype == SQ_U8 || x->dtype == SQ_BOOL) return true;
  if (sq_knest_const(t, s, &v)) return v >= 0;
  if (x->kind == SQ_SC_INDEX) return true;
  if (x->kind == SQ_SC_DIM) return sq_dim_low(t->k->g->dims, x->dim) >= 0;
  if (x->kind == SQ_SC_CAST) {
    sq_dtype from = t->g->s.v[x->a[0]].dtype;
    if (sq_is_float(from) || sq_is_float(x->dtype)) return false;
    if (sq_dtype_table[from].bytes > sq_dtype_table[x->dtype].bytes) return false;
    return nonneg(t, x->a[0], left);
  }
  if (x->kind != SQ_SC_EWISE) return false;
  switch ((int)x->ew) {
  case SQ_EW_ADD:
  case SQ_EW_MUL: // narrower types may wrap
    if (x->dtype != SQ_I64) return false;
    break;
  case SQ_EW_FLOORDIV:
  case SQ_EW_MOD:
  case SQ_EW_MIN:
  case SQ_EW_MAX:
    break;
  default:
    return false;
  }
  return nonneg(t, x->a[0], left) && nonneg(t, x->a[1], left);
}
bool sq_knest_nonneg(const sq_knest *t, uint32_t s) {
  uint32_t left = SQ_K_MOST_PLACES;
  return nonneg(t, s, &left);
}
// Is s, but for a multiple of w, the vector axis's index itself?
static bool is_vector_index(const sq_knest *t, uint32_t s) {
  const sq_scalar *x = &t->g->s.v[s];
  int64_t c;
  if (x->kind == SQ_SC_INDEX) return x->axis == t->va;
  if (x->kind == SQ_SC_CAST && is_index_type(x->dtype)) return is_vector_index(t, x->a[0]);
  if (x->kind != SQ_SC_EWISE || x->ew != SQ_EW_ADD) return false;
  for (int i = 0; i < 2; i++)
    if (sq_knest_const(t, x->a[i], &c) && c >= 0 && c % t->w == 0)
      return is_vector_index(t, x->a[1 - i]);
  return false;
}
static bool linear(const sq_knest *t, uint32_t s, uint32_t axis, int64_t *coef, uint32_t *left) {
  *coef = 0;
  if (axis == SQ_K_NO_AXIS || !(t->deps[s] >> axis & 1)) return true;
  if (!*left) return false;
  --*left;
  const sq_scalar *x = &t->g->s.v[s];
  if (x->kind == SQ_SC_INDEX) return *coef = 1, true;
  if (!is_index_type(x->dtype)) return false;
  if (x->kind == SQ_SC_CAST)
    return is_index_type(t->g->s.v[x->a[0]].dtype) && linear(t, x->a[0], axis, coef, left);
  if (x->kind != SQ_SC_EWISE) return false;
  int64_t a, b = 0, c;
  if (x->ew == SQ_EW_FLOORDIV || x->ew == SQ_EW_MOD) {
    // Within w aligned lanes a quotient by a multiple of w is constant.
    if (axis != t->va || t->w == 1 || !t->aligned || !sq_knest_const(t, x->a[1], &c)) return false;
    if (c <= 0 || c % t->w != 0 || !is_vector_index(t, x->a[0])) return false;
    return *coef = x->ew == SQ_EW_MOD, true;
  }
  if (x->ew == SQ_EW_MUL) {
    for (int i = 0; i < 2; i++)
      if (sq_knest_const(t, x->a[i], &c) && linear(t, x->a[1 - i], axis, &a, left))
        return !__builtin_mul_overflow(a, c, coef);
    return false;
  }
  if (!linear(t, x->a[0], axis, &a, left)) return false;
  if (x->ew == SQ_EW_NEG) return *coef = -a, true;
  if (x->ew != SQ_EW_ADD && x->ew != SQ_EW_SUB) return false;
  if (!linear(t, x->a[1], axis, &b, left)) return false;
  return x->ew == SQ_EW_ADD ? !__builtin_add_overflow(a, b, coef)
                            : !__builtin_sub_overflow(a, b, coef);
}
bool sq_knest_linear(const sq_knest *t, uint32_t s, uint32_t axis, int64_t *coef) {
  uint32_t left = SQ_K_MOST_PLACES;
  return linear(t, s, axis, coef, &left);
}
