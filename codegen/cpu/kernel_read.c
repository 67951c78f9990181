// Elements of operands and results: where they are, reading with guards and bounds, storing.
//
// A read that must not happen goes to a page of zeros (all lanes alike) or is masked off (lane by
// lane); a read that may be outside gives its `other`, or fails the call at its site.
#include "codegen/cpu/kernel.h"

// ---- places ------------------------------------------------------------------------------------
sq_kplace sq_kplace_of(sq_kern *k, sq_kgroup *group, const sq_value *v) {
  sq_kplace p = {.type = v->type};
  if (!group || !v->def || v->def->block != group->n->region[0]) {
    p.base = sq_kern_pointer(k, v);
    return p;
  }
  // A value that the group yields is written where the group's result is.
  const sq_node *yield = sq_block_end(group->n->region[0]);
  for (uint32_t i = 0; yield && i < yield->n_in; i++)
    if (yield->in[i] == v) {
      p.base = sq_kern_pointer(k, group->n->out[i]);
      return p;
    }
  sq_lv stride, first = sq_cg_inner(k->cg, v->store_index, &stride);
  stride = sq_kern_pass(k, stride);
  sq_lv at = LLVMBuildMul(k->pb, k->worker, stride, "");
  p.base = LLVMBuildGEP2(k->pb, k->i8, sq_kern_pass(k, first), &at, 1, "");
  p.skip = group->n->n_outer;
  return p;
}
static sq_dim storage(sq_kern *k, sq_dim d) { return sq_dim_storage(k->g->dims, d); }
sq_lv sq_kplace_stride(sq_kern *k, const sq_kplace *p, uint32_t axis) {
  sq_lv v = sq_k_int(k, 1);
  for (uint32_t i = p->type.rank; i-- > axis + 1;)
    v = LLVMBuildMul(k->pb, v, sq_kern_dim(k, storage(k, p->type.dim[i])), "");
  return v;
}
static const sq_kplace *place_of(sq_knest *t, uint32_t operand) {
  if (!t->place[operand]) {
    t->place[operand] = SQ_NEW(t->k->a, sq_kplace);
    *t->place[operand] = sq_kplace_of(t->k, t->group, t->n->in[operand]);
  }
  return t->place[operand];
}
static bool unit_after(const sq_knest *t, const sq_type *type, uint32_t axis) {
  int64_t v;
  for (uint32_t i = axis + 1; i < type->rank; i++)
    if (!sq_dim_is_const(t->k->g->dims, type->dim[i], &v) || v != 1) return false;
  return true;
}
sq_kstride sq_knest_stride(const sq_knest *t, const sq_type *type, uint32_t skip, uint32_t n_pos,
                           const uint32_t *pos) {
  sq_kstride r = SQ_K_UNIFORM;
  for (uint32_t i = skip; i < n_pos; i++) {
    int64_t c;
    if (!sq_knest_linear(t, pos[i], t->va, &c)) return SQ_K_GATHER;
    if (c == 0) continue;
    r = r == SQ_K_UNIFORM && c == 1 && unit_after(t, type, i) ? SQ_K_UNIT : SQ_K_STRIDED;
  }
  return r;
}
static uint32_t skipped(const sq_knest *t, const sq_value *v) {
  if (!t->group || !v->def || v->def->block != t->group->n->region[0]) return 0;
  const sq_node *yield = sq_block_end(t->group->n->region[0]);
  for (uint32_t i = 0; yield && i < yield->n_in; i++)
    if (yield->in[i] == v) return 0;
  return t->group->n->n_outer;
}
sq_kstride sq_knest_read_stride(sq_knest *t, const sq_scalar *read) {
  const sq_value *v = t->n->in[read->operand];
  return sq_knest_stride(t, &v->type, skipped(t, v), read->n_pos, read->pos);
}

// ---- bounds ------------------------------------------------------------------------------------
// The greatest value of s over the axes' ranges, {0} when not known; s is known not to be negative.
static sq_dim greatest(const sq_knest *t, uint32_t s, uint32_t *left) {
  if (!*left) return (sq_dim){0};
  --*left;
  sq_dims *ds = t->k->g->dims;
  const sq_scalar *x = &t->g->s.v[s];
  int64_t c;
  if (sq_knest_const(t, s, &c)) return sq_dim_const(ds, c);
  if (!sq_knest_nonneg(t, s)) return (sq_dim){0};
  if (x->kind == SQ_SC_INDEX)
    return sq_dim_sub(ds, t->g->axis[x->axis].extent, sq_dim_const(ds, 1));
  if (x->kind == SQ_SC_DIM) return x->dim;
  if (x->kind == SQ_SC_CAST) {
    sq_dtype from = t->g->s.v[x->a[0]].dtype;
    return from == SQ_I32 || from == SQ_I64 ? greatest(t, x->a[0], left) : (sq_dim){0};
  }
  if (x->kind != SQ_SC_EWISE) return (sq_dim){0};
  if (x->ew == SQ_EW_MOD && sq_knest_const(t, x->a[1], &c) && c > 0) return sq_dim_const(ds, c - 1);
  sq_dim a = greatest(t, x->a[0], left);
  if (!a.i) return a;
  if (x->ew == SQ_EW_FLOORDIV && sq_knest_const(t, x->a[1], &c) && c > 0)
    return sq_dim_floordiv(ds, a, sq_dim_const(ds, c));
  if (x->ew != SQ_EW_ADD && x->ew != SQ_EW_MUL) return (sq_dim){0};
  sq_dim b = greatest(t, x->a[1], left);
  if (!b.i) return b;
  return x->ew == SQ_EW_ADD ? sq_dim_add(ds, a, b) : sq_dim_mul(ds, a, b);
}
bool sq_knest_inside(const sq_knest *t, uint32_t pos, sq_dim dim) {
  if (!sq_knest_nonneg(t, pos)) return false;
  sq_dims *ds = t->k->g->dims;
  const sq_scalar *x = &t->g->s.v[pos];
  if (x->kind == SQ_SC_INDEX && sq_dim_same(t->g->axis[x->axis].extent, dim)) return true;
  uint32_t left = SQ_K_MOST_PLACES;
  sq_dim top = greatest(t, pos, &left);
  return top.i && sq_prove_le(ds, sq_dim_add(ds, top, sq_dim_const(ds, 1)), dim) > 0;
}
static bool checked(const sq_scalar *x) {
  return x->site != SQ_NO_SITE || x->other != SQ_NO_SCALAR;
}
static sq_lv inside(sq_knest *t, sq_lv pos, sq_dtype type, sq_dim dim) {
  sq_kern *k = t->k;
  sq_lv p = sq_k_cast(k, pos, type, SQ_I64), n = sq_k_splat(k, sq_kern_dim(k, dim), sq_k_lanes(p));
  return LLVMBuildICmp(k->b, LLVMIntULT, p, n, "");
}
// Conjunction over the positions that are the same in all lanes; NULL: proved.
static sq_lv inside_uniform(sq_knest *t, uint32_t s) {
  if (t->inside[s]) return t->inside[s];
  const sq_scalar *x = &t->g->s.v[s];
  const sq_type *type = &t->n->in[x->operand]->type;
  sq_lv all = NULL;
  for (uint32_t i = 0; i < x->n_pos; i++) {
    if (sq_knest_varies(t, x->pos[i]) || sq_knest_inside(t, x->pos[i], type->dim[i])) continue;
    sq_lv p = sq_knest_uniform(t, x->pos[i]);
    all = sq_k_and(t->k, all, inside(t, p, t->g->s.v[x->pos[i]].dtype, type->dim[i]));
  }
  if (all) {
    t->inside[s] = all;
    sq_push(t->k->a, &t->trail, &t->inside[s]);
  }
  return all;
}
static sq_lv inside_lanes(sq_knest *t, uint32_t s) {
  const sq_scalar *x = &t->g->s.v[s];
  const sq_type *type = &t->n->in[x->operand]->type;
  sq_lv all = NULL;
  for (uint32_t i = 0; i < x->n_pos; i++) {
    if (!sq_knest_varies(t, x->pos[i]) || sq_knest_inside(t, x->pos[i], type->dim[i])) continue;
    sq_lv p = sq_knest_lanes(t, x->pos[i]);
    all = sq_k_and(t->k, all, inside(t, p, t->g->s.v[x->pos[i]].dtype, type->dim[i]));
  }
  return all;
}
void sq_knest_inside_hoist(sq_knest *t, uint32_t s) {
  const sq_scalar *x = &t->g->s.v[s];
  const sq_type *type = &t->n->in[x->operand]->type;
  if (!checked(x) || t->inside[s]) return;
  for (uint32_t i = 0; i < x->n_pos; i++) {
    if (sq_knest_varies(t, x->pos[i]) || sq_knest_inside(t, x->pos[i], type->dim[i])) continue;
    if ((t->deps[x->pos[i]] & ~t->open) || !t->hoistable[x->pos[i]]) return;
  }
  inside_uniform(t, s);
}
// Fails at the site where `bad` (i1 or mask); the value is the first position outside.
static void fail_where(sq_knest *t, uint32_t n_pos, const uint32_t *pos, const sq_type *type,
                       uint32_t site, sq_lv bad) {
  sq_kern *k = t->k;
  sq_kif f;
  uint32_t mark = sq_knest_enter(t);
  sq_kif_begin(k, &f, sq_k_any(k, bad));
  sq_lv value = sq_k_int(k, 0), limit = sq_k_int(k, -1), lane = NULL;
  if (sq_k_is_vec(bad)) {
    LLVMTypeRef bits = LLVMIntTypeInContext(k->c, sq_k_lanes(bad));
    sq_lv arg[2] = {LLVMBuildBitCast(k->b, bad, bits, ""), LLVMConstInt(k->i1, 0, 0)};
    lane = sq_k_intrinsic(k, "llvm.cttz", &bits, 1, arg, 2);
    unsigned width = sq_k_lanes(bad);
    lane = width < 64 ? LLVMBuildZExt(k->b, lane, k->i64, "") : lane;
  }
  for (uint32_t i = n_pos; i-- > 0;) {
    sq_lv p;
    if (sq_knest_varies(t, pos[i]))
      p = LLVMBuildExtractElement(k->b, sq_knest_lanes(t, pos[i]), lane ? lane : sq_k_int(k, 0),
                                  "");
    else
      p = sq_knest_uniform(t, pos[i]);
    p = sq_k_cast(k, p, t->g->s.v[pos[i]].dtype, SQ_I64);
    sq_lv extent = sq_kern_dim(k, type->dim[i]);
    sq_lv in = LLVMBuildICmp(k->b, LLVMIntULT, p, extent, "");
    value = LLVMBuildSelect(k->b, in, value, p, "");
    limit = LLVMBuildSelect(k->b, in, limit, extent, "");
  }
  sq_kern_fail(k, site, value, limit);
  sq_knest_leave(t, mark);
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
}

// ---- reading -----------------------------------------------------------------------------------
static sq_lv as_i64(sq_knest *t, sq_lv v, uint32_t s) {
  return sq_k_cast(t->k, v, t->g->s.v[s].dtype, SQ_I64);
}
// Flattened position at lane 0; axes that do not vary are summed first.
static sq_lv index_uniform(sq_knest *t, const sq_kplace *p, uint32_t n_pos, const uint32_t *pos) {
  sq_kern *k = t->k;
  sq_lv sum = NULL;
  for (int turn = 0; turn < 2; turn++)
    for (uint32_t i = p->skip; i < n_pos; i++) {
      if (sq_knest_varies(t, pos[i]) != (turn == 1)) continue;
      sq_lv v = as_i64(t, sq_knest_uniform(t, pos[i]), pos[i]);
      v = LLVMBuildMul(k->b, v, sq_kplace_stride(k, p, i), "");
      sum = sum ? LLVMBuildAdd(k->b, sum, v, "") : v;
    }
  return sum ? sum : sq_k_int(k, 0);
}
static sq_lv index_lanes(sq_knest *t, const sq_kplace *p, uint32_t n_pos, const uint32_t *pos) {
  sq_kern *k = t->k;
  sq_lv sum = NULL;
  for (uint32_t i = p->skip; i < n_pos; i++) {
    sq_lv v = as_i64(t, sq_knest_value(t, pos[i]), pos[i]);
    v = LLVMBuildMul(k->b, v, sq_k_splat(k, sq_kplace_stride(k, p, i), sq_k_lanes(v)), "");
    v = sq_k_splat(k, v, t->w);
    sum = sum ? LLVMBuildAdd(k->b, sum, v, "") : v;
  }
  return sum;
}
static sq_lv lane_step(sq_knest *t, const sq_kplace *p, uint32_t n_pos, const uint32_t *pos) {
  sq_kern *k = t->k;
  sq_lv sum = sq_k_int(k, 0);
  for (uint32_t i = p->skip; i < n_pos; i++) {
    int64_t c;
    if (!sq_knest_linear(t, pos[i], t->va, &c) || c == 0) continue;
    sq_lv v = LLVMBuildMul(k->pb, sq_k_int(k, c), sq_kplace_stride(k, p, i), "");
    sum = LLVMBuildAdd(k->pb, sum, v, "");
  }
  return sum;
}
static sq_lv safe_pointer(sq_kern *k, sq_lv cond, sq_lv ptr) {
  return cond ? LLVMBuildSelect(k->b, cond, ptr, sq_kern_zeros(k), "") : ptr;
}
static sq_lv element_of(sq_knest *t, const sq_scalar *read) {
  if (!t->group) return NULL;
  if (t->group->find) return t->group->find(t, read);
  return t->group->element[t->n->in[read->operand]->id];
}
static sq_lv zero_of(sq_lv like) { return LLVMConstNull(LLVMTypeOf(like)); }

sq_lv sq_knest_read_uniform(sq_knest *t, uint32_t s) {
  sq_kern *k = t->k;
  const sq_scalar *x = &t->g->s.v[s];
  sq_lv e = element_of(t, x);
  if (e && x->guard == SQ_NO_SCALAR) return e;
  if (e) return LLVMBuildSelect(k->b, sq_knest_uniform(t, x->guard), e, zero_of(e), "");
  const sq_kplace *p = place_of(t, x->operand);
  sq_lv guard = x->guard == SQ_NO_SCALAR ? NULL : sq_knest_uniform(t, x->guard);
  sq_lv in = checked(x) || t->hoisting ? inside_uniform(t, s) : NULL;
  sq_lv active = t->mask ? sq_k_any(k, t->mask) : NULL;
  if (x->site != SQ_NO_SITE && x->other == SQ_NO_SCALAR && in) {
    sq_lv bad = sq_k_and(k, LLVMBuildNot(k->b, in, ""), sq_k_and(k, guard, active));
    fail_where(t, x->n_pos, x->pos, &p->type, x->site, bad);
  }
  sq_lv ptr = sq_k_offset(k, p->base, index_uniform(t, p, x->n_pos, x->pos), p->type.dtype);
  sq_lv cond = sq_k_and(k, sq_k_and(k, guard, in), active);
  sq_lv v = sq_k_load(k, p->type.dtype, safe_pointer(k, cond, ptr));
  if (x->other != SQ_NO_SCALAR && in)
    v = LLVMBuildSelect(k->b, in, v, sq_knest_uniform(t, x->other), "");
  return guard && x->other != SQ_NO_SCALAR ? LLVMBuildSelect(k->b, guard, v, zero_of(v), "") : v;
}
static sq_lv gather(sq_knest *t, const sq_kplace *p, sq_lv index, sq_lv mask) {
  sq_kern *k = t->k;
  sq_dtype d = p->type.dtype;
  sq_lv ptrs = sq_k_offset(k, p->base, index, d);
  LLVMTypeRef mem = sq_k_vec(sq_k_mem_type(k, d), t->w);
  LLVMTypeRef over[2] = {mem, LLVMTypeOf(ptrs)};
  if (!mask) mask = sq_k_splat(k, LLVMConstInt(k->i1, 1, 0), t->w);
  sq_lv align = LLVMConstInt(k->i32, (uint64_t)sq_dtype_table[d].bytes, 0);
  sq_lv arg[4] = {ptrs, align, mask, LLVMConstNull(mem)};
  return sq_k_from_mem(k, d, sq_k_intrinsic(k, "llvm.masked.gather", over, 2, arg, 4));
}
static sq_lv load_strided(sq_knest *t, const sq_kplace *p, sq_lv first, sq_lv step, sq_lv mask) {
  sq_kern *k = t->k;
  sq_dtype d = p->type.dtype;
  if (mask) {
    sq_lv lane = sq_k_lane_index(k, t->w, k->i64);
    sq_lv at = LLVMBuildMul(k->b, lane, sq_k_splat(k, step, t->w), "");
    return gather(t, p, LLVMBuildAdd(k->b, sq_k_splat(k, first, t->w), at, ""), mask);
  }
  LLVMTypeRef mem = sq_k_mem_type(k, d);
  sq_lv v = LLVMGetPoison(sq_k_vec(mem, t->w));
  for (uint32_t l = 0; l < t->w; l++) {
    sq_lv one = LLVMBuildLoad2(k->b, mem, sq_k_offset(k, p->base, first, d), "");
    LLVMSetAlignment(one, (unsigned)sq_dtype_table[d].bytes);
    v = LLVMBuildInsertElement(k->b, v, one, LLVMConstInt(k->i32, l, 0), "");
    first = LLVMBuildAdd(k->b, first, step, "");
  }
  return sq_k_from_mem(k, d, v);
}
sq_lv sq_knest_read_lanes(sq_knest *t, uint32_t s) {
  sq_kern *k = t->k;
  const sq_scalar *x = &t->g->s.v[s];
  sq_lv e = element_of(t, x);
  if (e) { // in a group it varies by its guard alone
    e = sq_k_splat(k, e, t->w);
    if (x->guard == SQ_NO_SCALAR) return e;
    return LLVMBuildSelect(k->b, sq_knest_value(t, x->guard), e, zero_of(e), "");
  }
  const sq_kplace *p = place_of(t, x->operand);
  sq_lv guard = x->guard == SQ_NO_SCALAR ? NULL : sq_knest_value(t, x->guard);
  sq_lv in_u = checked(x) ? inside_uniform(t, s) : NULL,
        in_v = checked(x) ? inside_lanes(t, s) : NULL;
  sq_lv in = sq_k_and(k, in_u, in_v);
  if (x->site != SQ_NO_SITE && x->other == SQ_NO_SCALAR && in) {
    sq_lv bad = sq_k_and(k, LLVMBuildNot(k->b, in, ""), sq_k_and(k, guard, t->mask));
    fail_where(t, x->n_pos, x->pos, &p->type, x->site, bad);
  }
  bool lanes_guard = guard && sq_k_is_vec(guard);
  sq_lv same = sq_k_and(k, in_u, lanes_guard ? NULL : guard);
  sq_lv mask = sq_k_and(k, sq_k_and(k, in_v, lanes_guard ? guard : NULL), t->mask);
  sq_dtype d = p->type.dtype;
  sq_kstride kind = sq_knest_stride(t, &p->type, p->skip, x->n_pos, x->pos);
  sq_lv v;
  if (kind == SQ_K_UNIT) {
    sq_lv ptr = sq_k_offset(k, p->base, index_uniform(t, p, x->n_pos, x->pos), d);
    v = sq_k_load_row(k, d, safe_pointer(k, same, ptr), t->w, mask);
  } else if (kind == SQ_K_UNIFORM) {
    sq_lv ptr = sq_k_offset(k, p->base, index_uniform(t, p, x->n_pos, x->pos), d);
    sq_lv cond = sq_k_and(k, same, mask ? sq_k_any(k, mask) : NULL);
    v = sq_k_splat(k, sq_k_load(k, d, safe_pointer(k, cond, ptr)), t->w);
    if (mask) v = LLVMBuildSelect(k->b, mask, v, zero_of(v), "");
  } else {
    mask = sq_k_and(k, mask, same);
    if (mask) mask = sq_k_splat(k, mask, t->w);
    if (kind == SQ_K_STRIDED)
      v = load_strided(t, p, index_uniform(t, p, x->n_pos, x->pos),
                       lane_step(t, p, x->n_pos, x->pos), mask);
    else
      v = gather(t, p, index_lanes(t, p, x->n_pos, x->pos), mask);
  }
  if (x->other != SQ_NO_SCALAR && in) {
    v = LLVMBuildSelect(k->b, in, v, sq_knest_lanes(t, x->other), "");
    if (guard) v = LLVMBuildSelect(k->b, guard, v, zero_of(v), "");
  }
  return v;
}

// ---- storing -----------------------------------------------------------------------------------
static sq_ktarget at_parallel_axes(sq_knest *t, const sq_kplace *to) {
  sq_kern *k = t->k;
  sq_ktarget r = {.kind = SQ_K_UNIFORM};
  for (uint32_t i = to->skip; i < t->g->n_par; i++) {
    sq_lv v = LLVMBuildMul(k->b, t->idx[i], sq_kplace_stride(k, to, i), "");
    r.first = r.first ? LLVMBuildAdd(k->b, r.first, v, "") : v;
  }
  if (!r.first) r.first = sq_k_int(k, 0);
  if (t->w > 1 && t->va < t->g->n_par) {
    r.kind = unit_after(t, &to->type, t->va) ? SQ_K_UNIT : SQ_K_STRIDED;
    r.step = sq_kplace_stride(k, to, t->va);
  }
  return r;
}
static sq_ktarget at_positions(sq_knest *t, const sq_kplace *to) {
  sq_kern *k = t->k;
  const sq_generic *g = t->g;
  sq_ktarget r = {.kind = SQ_K_UNIFORM};
  for (uint32_t i = 0; i < g->n_pos; i++) {
    if (sq_knest_inside(t, g->pos[i], to->type.dim[i])) continue;
    sq_lv p = sq_knest_value(t, g->pos[i]);
    r.inside = sq_k_and(k, r.inside, inside(t, p, g->s.v[g->pos[i]].dtype, to->type.dim[i]));
  }
  bool varies = false;
  for (uint32_t i = 0; i < g->n_pos; i++) varies |= sq_knest_varies(t, g->pos[i]);
  if (t->w > 1 && varies) r.kind = sq_knest_stride(t, &to->type, 0, g->n_pos, g->pos);
  if (r.kind == SQ_K_GATHER) {
    r.index = index_lanes(t, to, g->n_pos, g->pos);
  } else {
    r.first = index_uniform(t, to, g->n_pos, g->pos);
    r.step = lane_step(t, to, g->n_pos, g->pos);
  }
  return r;
}
static void scatter(sq_knest *t, const sq_kplace *to, const sq_ktarget *r, sq_lv v, sq_lv mask) {
  sq_kern *k = t->k;
  sq_dtype d = to->type.dtype;
  v = sq_k_to_mem(k, d, v);
  sq_lv index = r->index;
  if (!index) {
    sq_lv lane = sq_k_lane_index(k, t->w, k->i64);
    index = LLVMBuildMul(k->b, lane, sq_k_splat(k, r->step, t->w), "");
    index = LLVMBuildAdd(k->b, sq_k_splat(k, r->first, t->w), index, "");
  }
  sq_lv ptrs = sq_k_offset(k, to->base, index, d);
  LLVMTypeRef over[2] = {LLVMTypeOf(v), LLVMTypeOf(ptrs)};
  if (!mask) mask = LLVMConstInt(k->i1, 1, 0);
  sq_lv align = LLVMConstInt(k->i32, (uint64_t)sq_dtype_table[d].bytes, 0);
  sq_lv arg[4] = {v, ptrs, align, sq_k_splat(k, mask, t->w)};
  sq_k_intrinsic(k, "llvm.masked.scatter", over, 2, arg, 4);
}
// Lane by lane: where there are instructions for this they are no faster, on some processors far slower.
static void store_strided(sq_knest *t, const sq_kplace *to, const sq_ktarget *r, sq_lv v) {
  sq_kern *k = t->k;
  sq_lv at = r->first;
  for (uint32_t l = 0; l < t->w; l++) {
    sq_lv one = LLVMBuildExtractElement(k->b, v, LLVMConstInt(k->i32, l, 0), "");
    sq_k_store(k, to->type.dtype, sq_k_offset(k, to->base, at, to->type.dtype), one);
    at = LLVMBuildAdd(k->b, at, r->step, "");
  }
}
sq_ktarget sq_knest_target(sq_knest *t, const sq_kplace *to) {
  return t->g->pos ? at_positions(t, to) : at_parallel_axes(t, to);
}
void sq_knest_store(sq_knest *t, const sq_kplace *to, sq_lv v, sq_lv where) {
  sq_kern *k = t->k;
  const sq_generic *g = t->g;
  sq_ktarget r = sq_knest_target(t, to);
  sq_dtype d = to->type.dtype;
  if (r.inside && g->pos_site != SQ_NO_SITE) {
    sq_lv bad = sq_k_and(k, LLVMBuildNot(k->b, r.inside, ""), where);
    fail_where(t, g->n_pos, g->pos, &to->type, g->pos_site, bad);
  }
  where = sq_k_and(k, where, r.inside);
  if (r.kind == SQ_K_UNIFORM) {
    sq_lv ptr = sq_k_offset(k, to->base, r.first, d);
    sq_kif f;
    if (where) sq_kif_begin(k, &f, sq_k_any(k, where));
    sq_k_store(k, d, ptr, v);
    if (where) sq_kif_end(k, &f, 0, NULL, NULL, NULL);
    return;
  }
  v = sq_k_splat(k, v, t->w);
  if (r.kind == SQ_K_UNIT) {
    sq_lv ptr = sq_k_offset(k, to->base, r.first, d);
    sq_k_store_row(k, d, ptr, v, where ? sq_k_splat(k, where, t->w) : NULL);
    return;
  }
  if (r.kind == SQ_K_STRIDED && !where)
    store_strided(t, to, &r, v);
  else
    scatter(t, to, &r, v, where);
}

sq_lv sq_knest_read_pointer(sq_knest *t, uint32_t s) {
  const sq_scalar *x = &t->g->s.v[s];
  const sq_kplace *p = place_of(t, x->operand);
  return sq_k_offset(t->k, p->base, index_uniform(t, p, x->n_pos, x->pos), p->type.dtype);
}
sq_lv sq_knest_read_step(sq_knest *t, uint32_t s, uint32_t axis) {
  const sq_scalar *x = &t->g->s.v[s];
  uint32_t va = t->va;
  t->va = axis;
  sq_lv v = lane_step(t, place_of(t, x->operand), x->n_pos, x->pos);
  t->va = va;
  return v;
}
