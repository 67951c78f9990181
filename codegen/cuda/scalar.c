// The scalar part of a loop nest as lines of CUDA C. In: a generic, names of its axes' indices. Out:
// names of values; each scalar is emitted once in a scope, in the order in which it is asked for.
//
//   %x[n, c; if %m[n]] * 0.5     ->   const bool v0 = SQ_LD(a.p2, i0);
//                                     float v1 = 0;
//                                     if (v0) v1 = SQ_LD(a.p1, i0 * 8 + i1);
//                                     const float v2 = v1 * 0.5f;
#include "codegen/cpu/driver.h"
#include "codegen/cuda/cuda.h"
#include <math.h>

void sq_cu_nest_begin(sq_cu_nest *t, sq_cu *k, sq_node *n, sq_node *group) {
  *t = (sq_cu_nest){.k = k, .n = n, .group = group, .g = n->g, .n_axes = n->g->n_par + n->g->n_red};
  t->value = SQ_ARRAY(k->a, const char *, n->g->s.n + 1);
  t->place = SQ_ARRAY(k->a, sq_cu_place, n->n_in + 1);
  for (uint32_t i = 0; i < t->n_axes; i++) t->index[i] = sq_cu_temp(k, "i");
}
uint32_t sq_cu_nest_enter(sq_cu_nest *t) { return t->trail.n; }
void sq_cu_nest_leave(sq_cu_nest *t, uint32_t mark) {
  while (t->trail.n > mark) t->value[t->trail.v[--t->trail.n]] = NULL;
}

// ---- places ------------------------------------------------------------------------------------
sq_cu_place sq_cu_place_of(sq_cu *k, sq_node *group, const sq_value *v) {
  sq_cu_place p = {.type = v->type};
  if (!group || !v->def || v->def->block != group->region[0]) {
    p.base = sq_cu_pointer(k, v);
    return p;
  }
  // A value that the group yields is written where the group's result is.
  const sq_node *yield = sq_block_end(group->region[0]);
  for (uint32_t i = 0; yield && i < yield->n_in; i++)
    if (yield->in[i] == v) {
      p.base = sq_cu_pointer(k, group->out[i]);
      return p;
    }
  p.skip = group->n_outer;
  while (k->inner.n <= v->id) sq_push(k->a, &k->inner, NULL);
  p.base = k->inner.v[v->id];
  if (p.base) return p;
  LLVMValueRef stride, first = sq_cg_inner(k->cg, v->store_index, &stride);
  LLVMValueRef all = sq_cu_mul(k, stride, sq_cg_i64(k->cg, SQ_CUDA_BLOCKS));
  const char *base = sq_cu_memory(k, first, all, sq_cu_mem_type(v->type.dtype));
  // Each block has a part of its own.
  LLVMValueRef step = LLVMBuildSDiv(k->cg->builder, stride,
                                    sq_cg_i64(k->cg, sq_dtype_table[v->type.dtype].bytes), "");
  p.base = sq_arena_fmt(k->a, "%s, SQ_BLOCK * %s + ", base, sq_cu_number(k, step));
  k->inner.v[v->id] = p.base;
  return p;
}
static const sq_cu_place *place_of(sq_cu_nest *t, uint32_t operand) {
  sq_cu_place *p = &t->place[operand];
  if (!p->base) *p = sq_cu_place_of(t->k, t->group, t->n->in[operand]);
  return p;
}
const char *sq_cu_flat(sq_cu *k, const sq_cu_place *p, const char *const *pos, uint32_t n) {
  sq_text sum = {.arena = k->a};
  sq_dims *ds = k->g->dims;
  sq_dim stride = sq_dim_const(ds, 1);
  sq_dim *strides = SQ_ARRAY(k->a, sq_dim, n + 1);
  for (uint32_t i = n; i-- > p->skip;) {
    strides[i] = stride;
    stride = sq_dim_mul(ds, stride, sq_dim_storage(ds, p->type.dim[i]));
  }
  for (uint32_t i = p->skip; i < n; i++) {
    const char *step = sq_cu_dim(k, strides[i]);
    if (strcmp(step, "1") == 0)
      sq_text_add(&sum, "%s%s", sum.n ? " + " : "", pos[i]);
    else
      sq_text_add(&sum, "%s%s * %s", sum.n ? " + " : "", pos[i], step);
  }
  return sum.n ? sum.v : "0";
}
// The arguments of SQ_LD and SQ_ST for an element.
static const char *element(sq_cu *k, const sq_cu_place *p, const char *flat) {
  if (p->local) return sq_arena_fmt(k->a, "%s[%s]", p->base, flat);
  bool part = strchr(p->base, ',') != NULL;
  return sq_arena_fmt(k->a, part ? "%s%s" : "%s, %s", p->base, flat);
}

// ---- scalars -----------------------------------------------------------------------------------
static const char *number(sq_cu *k, const sq_scalar *x) {
  bool wide = x->dtype == SQ_F64;
  if (x->kind == SQ_SC_INT) {
    if (x->dtype == SQ_BOOL) return x->i ? "true" : "false";
    if (x->i == INT64_MIN) return "(-9223372036854775807ll - 1)";
    return sq_arena_fmt(k->a, "((%s)%lldll)", sq_cu_type(x->dtype), (long long)x->i);
  }
  if (isnan(x->f)) return wide ? "SQ_NAN" : "SQ_NANF";
  float narrow = (float)x->f;
  double v = wide ? x->f : (double)narrow;
  if (isinf(v)) return sq_arena_fmt(k->a, "(%sSQ_INF%s)", v < 0 ? "-" : "", wide ? "" : "F");
  const char *text = sq_arena_fmt(k->a, wide ? "%.17g" : "%.9g", v);
  bool point = strpbrk(text, ".e") != NULL;
  return sq_arena_fmt(k->a, "(%s%s%s)", text, point ? "" : ".0", wide ? "" : "f");
}
static const char *infix(sq_ewise e, bool is_float) {
  switch ((int)e) {
  case SQ_EW_ADD:
    return is_float ? "+" : NULL;
  case SQ_EW_SUB:
    return is_float ? "-" : NULL;
  case SQ_EW_MUL:
    return is_float ? "*" : NULL;
  case SQ_EW_DIV:
    return "/";
  case SQ_EW_LT:
    return "<";
  case SQ_EW_LE:
    return "<=";
  case SQ_EW_EQ:
    return "==";
  case SQ_EW_NE:
    return "!=";
  case SQ_EW_AND:
    return "&&";
  case SQ_EW_OR:
    return "||";
  default:
    return NULL;
  }
}
static const char *ewise(sq_cu_nest *t, const sq_scalar *x) {
  const char *a = sq_cu_nest_value(t, x->a[0]);
  if (x->ew == SQ_EW_NOT) return sq_arena_fmt(t->k->a, "!%s", a);
  if (sq_ewise_table[x->ew].arity == 1)
    return sq_arena_fmt(t->k->a, "sq_%s(%s)", sq_ewise_table[x->ew].name, a);
  const char *b = sq_cu_nest_value(t, x->a[1]);
  const char *op = infix(x->ew, sq_is_float(t->g->s.v[x->a[0]].dtype));
  if (op) return sq_arena_fmt(t->k->a, "%s %s %s", a, op, b);
  return sq_arena_fmt(t->k->a, "sq_%s(%s, %s)", sq_ewise_table[x->ew].name, a, b);
}
static const char *cast(sq_cu *k, const char *v, sq_dtype from, sq_dtype to) {
  if (from == to) return v;
  return sq_arena_fmt(k->a, "sq_to_%s(%s)", sq_dtype_table[to].name, v);
}
static const char *as_i64(sq_cu_nest *t, uint32_t s) {
  const char *v = sq_cu_nest_value(t, s);
  sq_dtype d = t->g->s.v[s].dtype;
  return d == SQ_I64 ? v : sq_arena_fmt(t->k->a, "(sq_i64)%s", v);
}

// Is the position inside for every index? (A position that is an axis as long as the operand's.)
static bool is_inside(sq_cu_nest *t, uint32_t s, sq_dim dim) {
  const sq_scalar *x = &t->g->s.v[s];
  while (x->kind == SQ_SC_CAST && x->dtype == SQ_I64) x = &t->g->s.v[x->a[0]];
  if (x->kind == SQ_SC_INDEX) return sq_dim_same(t->g->axis[x->axis].extent, dim);
  int64_t n;
  return x->kind == SQ_SC_INT && sq_dim_is_const(t->k->g->dims, dim, &n) && x->i >= 0 && x->i < n;
}
// Positions as names, and a condition for those that may be outside (NULL: none).
// The index of an axis in arrays of the thread, where that is another.
static const char *local_index(sq_cu_nest *t, uint32_t pos) {
  const sq_scalar *x = &t->g->s.v[pos];
  return x->kind == SQ_SC_INDEX ? t->local[x->axis] : NULL;
}
static const char *positions(sq_cu_nest *t, uint32_t n, const uint32_t *pos, const sq_type *type,
                             const char **name) {
  sq_cu *k = t->k;
  sq_text all = {.arena = k->a};
  for (uint32_t i = 0; i < n; i++) {
    name[i] = as_i64(t, pos[i]);
    if (is_inside(t, pos[i], type->dim[i])) continue;
    sq_text_add(&all, "%s(sq_u64)%s < (sq_u64)%s", all.n ? " && " : "", name[i],
                sq_cu_dim(k, type->dim[i]));
  }
  return all.n ? all.v : NULL;
}
// The lowest position outside fails.
static void fail(sq_cu_nest *t, uint32_t n, const uint32_t *pos, const sq_type *type,
                 const char **name, uint32_t site) {
  const char *other = "";
  for (uint32_t i = 0; i < n; i++) {
    if (is_inside(t, pos[i], type->dim[i])) continue;
    const char *extent = sq_cu_dim(t->k, type->dim[i]);
    sq_cu_line(t->k, "%sif ((sq_u64)%s >= (sq_u64)%s) SQ_FAIL(a.err, %u, %s, %s);", other, name[i],
               extent, site, name[i], extent);
    other = "else ";
  }
}

const char *sq_cu_nest_place(sq_cu_nest *t, uint32_t s) {
  const sq_scalar *x = &t->g->s.v[s];
  const sq_cu_place *p = place_of(t, x->operand);
  const char **name = SQ_ARRAY(t->k->a, const char *, x->n_pos + 1);
  (void)positions(t, x->n_pos, x->pos, &p->type, name);
  return element(t->k, p, sq_cu_flat(t->k, p, name, x->n_pos));
}

const char *sq_cu_nest_inside(sq_cu_nest *t, uint32_t s) {
  const sq_scalar *x = &t->g->s.v[s];
  const char **name = SQ_ARRAY(t->k->a, const char *, x->n_pos + 1);
  return positions(t, x->n_pos, x->pos, &t->n->in[x->operand]->type, name);
}

static const char *read_known(sq_cu_nest *t, const sq_scalar *x, const char *word) {
  sq_cu *k = t->k;
  const char *guard = x->guard == SQ_NO_SCALAR ? NULL : sq_cu_nest_value(t, x->guard);
  const char *e = cast(k, sq_arena_fmt(k->a, "(sq_i64)%s", word), SQ_I64, x->dtype);
  const char *v = sq_cu_temp(k, "v"), *type = sq_cu_type(x->dtype);
  if (guard)
    sq_cu_line(k, "const %s %s = %s ? %s : (%s)0;", type, v, guard, e, type);
  else
    sq_cu_line(k, "const %s %s = %s;", type, v, e);
  return v;
}

static const char *read(sq_cu_nest *t, uint32_t s) {
  sq_cu *k = t->k;
  const sq_scalar *x = &t->g->s.v[s];
  const char *known = sq_cu_host(k, t->n->in[x->operand]);
  if (known) return read_known(t, x, known);
  const sq_cu_place *p = place_of(t, x->operand);
  const char **name = SQ_ARRAY(k->a, const char *, x->n_pos + 1);
  bool checked = x->site != SQ_NO_SITE || x->other != SQ_NO_SCALAR || t->safe;
  const char *guard = x->guard == SQ_NO_SCALAR ? NULL : sq_cu_nest_value(t, x->guard);
  const char *other = x->other == SQ_NO_SCALAR ? NULL : sq_cu_nest_value(t, x->other);
  // what a team shares out is as long as it is, not as a thread's part of it
  const sq_type *whole = p->shared ? &t->n->in[x->operand]->type : &p->type;
  const char *inside = positions(t, x->n_pos, x->pos, whole, name);
  if (!checked) inside = NULL;
  for (uint32_t i = 0; p->local && i < x->n_pos; i++)
    if (p->shared[i] && local_index(t, x->pos[i])) name[i] = local_index(t, x->pos[i]);
  const char *type = sq_cu_type(x->dtype), *v = sq_cu_temp(k, "v");
  const char *at = element(k, p, sq_cu_flat(k, p, name, x->n_pos));
  bool steady = t->steady && t->steady[x->operand];
  if (!p->local) at = sq_arena_fmt(k->a, steady ? "SQ_LD_STEADY(%s)" : "SQ_LD(%s)", at);
  if (!guard && !inside) {
    sq_cu_line(k, "const %s %s = %s;", type, v, at);
    return v;
  }
  sq_cu_line(k, "%s %s = 0;", type, v);
  if (guard) sq_cu_open(k, "if (%s) {", guard);
  if (inside) {
    sq_cu_line(k, "if (%s) %s = %s;", inside, v, at);
    if (other) {
      sq_cu_line(k, "else %s = %s;", v, other);
    } else if (x->site != SQ_NO_SITE) {
      sq_cu_open(k, "else {");
      fail(t, x->n_pos, x->pos, whole, name, x->site);
      sq_cu_close(k);
    }
  } else {
    sq_cu_line(k, "%s = %s;", v, at);
  }
  if (guard) sq_cu_close(k);
  return v;
}

static const char *expression(sq_cu_nest *t, const sq_scalar *x) {
  switch (x->kind) {
  case SQ_SC_EWISE:
    return ewise(t, x);
  case SQ_SC_SELECT: {
    const char *c = sq_cu_nest_value(t, x->a[0]), *a = sq_cu_nest_value(t, x->a[1]);
    return sq_arena_fmt(t->k->a, "%s ? %s : %s", c, a, sq_cu_nest_value(t, x->a[2]));
  }
  case SQ_SC_CAST:
    return cast(t->k, sq_cu_nest_value(t, x->a[0]), t->g->s.v[x->a[0]].dtype, x->dtype);
  case SQ_SC_DIM:
    return cast(t->k, sq_arena_fmt(t->k->a, "(sq_i64)%s", sq_cu_dim(t->k, x->dim)), SQ_I64,
                x->dtype);
  case SQ_SC_INDEX:
    return cast(t->k, t->index[x->axis], SQ_I64, x->dtype);
  case SQ_SC_FLOAT:
  case SQ_SC_INT:
  case SQ_SC_READ:
  case SQ_SC_ACC:
    break;
  }
  return "0";
}
const char *sq_cu_nest_value(sq_cu_nest *t, uint32_t s) {
  if (t->value[s]) return t->value[s];
  const sq_scalar *x = &t->g->s.v[s];
  const char *v;
  if (x->kind == SQ_SC_ACC) return t->acc;
  if (x->kind == SQ_SC_FLOAT || x->kind == SQ_SC_INT) return number(t->k, x);
  if (x->kind == SQ_SC_INDEX && x->dtype == SQ_I64) return t->index[x->axis];
  if (x->kind == SQ_SC_READ) {
    v = read(t, s);
  } else {
    const char *e = expression(t, x);
    v = sq_cu_temp(t->k, "v");
    sq_cu_line(t->k, "const %s %s = %s;", sq_cu_type(x->dtype), v, e);
  }
  t->value[s] = v;
  sq_push(t->k->a, &t->trail, s);
  return v;
}

// ---- indices, domains, targets -----------------------------------------------------------------
void sq_cu_nest_unflatten(sq_cu_nest *t, const uint32_t *axis, uint32_t n, const char *flat) {
  sq_cu *k = t->k;
  if (n == 0) return;
  const char *rest = flat;
  for (uint32_t i = n; i-- > 1;) {
    const char *extent = sq_cu_dim(k, t->g->axis[axis[i]].extent);
    sq_cu_line(k, "const sq_i64 %s = %s %% %s;", t->index[axis[i]], rest, extent);
    const char *next = sq_cu_temp(k, "r");
    sq_cu_line(k, "const sq_i64 %s = %s / %s;", next, rest, extent);
    rest = next;
  }
  sq_cu_line(k, "const sq_i64 %s = %s;", t->index[axis[0]], rest);
}

// Per scalar: does it read anything?
static bool *which_read(sq_cu_nest *t) {
  const sq_generic *g = t->g;
  bool *reads = SQ_ARRAY(t->k->a, bool, g->s.n + 1);
  for (uint32_t s = 0; s < g->s.n; s++) { // in topological order
    const sq_scalar *x = &g->s.v[s];
    uint32_t n = x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
                 : x->kind == SQ_SC_SELECT ? 3
                 : x->kind == SQ_SC_CAST   ? 1
                                           : 0;
    reads[s] = x->kind == SQ_SC_READ;
    for (uint32_t i = 0; i < n; i++) reads[s] |= reads[x->a[i]];
  }
  return reads;
}
// Conditions that read nothing come first: what the others read need not be read where one fails.
uint32_t sq_cu_nest_domain(sq_cu_nest *t) { return sq_cu_nest_where(t, 0, t->g->domain.n); }
uint32_t sq_cu_nest_where(sq_cu_nest *t, uint32_t first, uint32_t end) {
  uint32_t opened = 0;
  if (first >= end) return 0;
  const bool *reads = which_read(t);
  for (int turn = 0; turn < 2; turn++)
    for (uint32_t i = first; i < end; i++) {
      uint32_t s = t->g->domain.v[i];
      if (reads[s] != (turn == 1)) continue;
      sq_cu_open(t->k, "if (%s) {", sq_cu_nest_value(t, s));
      opened++;
    }
  return opened;
}

uint32_t sq_cu_nest_target(sq_cu_nest *t, const sq_cu_place *to, const char **flat) {
  sq_cu *k = t->k;
  const sq_generic *g = t->g;
  if (!g->pos) {
    *flat = sq_cu_flat(k, to, (const char *const *)t->index, g->n_par);
    return 0;
  }
  const char **name = SQ_ARRAY(k->a, const char *, g->n_pos + 1);
  const char *inside = positions(t, g->n_pos, g->pos, &to->type, name);
  *flat = sq_cu_flat(k, to, name, g->n_pos);
  if (!inside) return 0;
  if (g->pos_site != SQ_NO_SITE) {
    sq_cu_open(k, "if (!(%s)) {", inside);
    fail(t, g->n_pos, g->pos, &to->type, name, g->pos_site);
    sq_cu_close(k);
  }
  sq_cu_open(k, "if (%s) {", inside);
  return 1;
}
void sq_cu_nest_store(sq_cu_nest *t, const sq_cu_place *to, const char *v) {
  const char *flat;
  uint32_t opened = sq_cu_nest_target(t, to, &flat);
  sq_cu_line(t->k, "SQ_ST(%s, %s);", element(t->k, to, flat), v);
  while (opened--) sq_cu_close(t->k);
}

uint32_t sq_cu_own_axes(sq_graph *g, const sq_generic *k, uint32_t n_axes) {
  uint32_t own = 0;
  if (!k->pos) return (uint32_t)((1ull << n_axes) - 1);
  for (uint32_t i = 0; i < k->n_pos; i++) {
    sq_affine a = sq_scalar_affine(g, k, k->pos[i]);
    uint32_t axes = 0, axis = 0;
    for (uint32_t c = 0; a.ok && c < n_axes; c++)
      if (a.coef[c]) axes++, axis = c;
    if (axes == 1) own |= 1u << axis;
  }
  return own;
}
