// The loops of one generic: the axis that is vectorised, reductions with their accumulators,
// domains as loop bounds or masks, remainders as masked vectors.
//
//   parallel vector axis                       reduced vector axis
//     for p in blocks of sets * w                for every element
//       for r: acc[set] (+)= body[lanes]           for r in blocks of sets * w: acc[set] (+)= body
//       result[p + lanes] = post(acc[set])         result = post(tree(acc))
#include "codegen/cpu/kernel.h"

// ---- choosing ----------------------------------------------------------------------------------
static int value_bytes(const sq_knest *t, uint32_t s, int depth) {
  const sq_scalar *x = &t->g->s.v[s];
  int own = x->dtype == SQ_F16 || x->dtype == SQ_BF16 ? 4 : sq_dtype_table[x->dtype].bytes;
  if (depth > 12 || x->kind == SQ_SC_READ) return own;
  uint32_t n = x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
               : x->kind == SQ_SC_SELECT ? 3
               : x->kind == SQ_SC_CAST   ? 1
                                         : 0;
  int most = 0;
  for (uint32_t i = 0; i < n; i++) {
    int b = value_bytes(t, x->a[i], depth + 1);
    if (b > most) most = b;
  }
  if (n == 0) return x->kind == SQ_SC_INDEX || x->kind == SQ_SC_DIM ? 0 : own;
  return own > most && x->dtype != SQ_BOOL ? own : most;
}
static uint32_t full_width(const sq_knest *t) {
  uint32_t v = t->k->cg->target->machine.vector_bytes;
  int b = value_bytes(t, t->g->body, 0);
  sq_dtype out = t->n->n_out ? t->n->out[0]->type.dtype : t->g->s.v[t->g->body].dtype;
  if (sq_dtype_table[out].bytes > b) b = sq_dtype_table[out].bytes;
  if (b == 8) return v / 8;
  if (b == 1) return v < 32 ? v : 32;
  return v / 4;
}
static bool const_extent(const sq_knest *t, uint32_t axis, int64_t *v) {
  return sq_dim_is_const(t->k->g->dims, t->g->axis[axis].extent, v);
}
// Elements that a result is reduced from; an unknown length is taken to be long.
static double reduced_length(const sq_knest *t) {
  int64_t length = 1, e;
  for (uint32_t a = t->g->n_par; a < t->n_axes; a++)
    length *= const_extent(t, a, &e) && e < 4096 ? (e > 0 ? e : 1) : 64;
  return (double)length;
}
// What is done with a result, for each vector of what it is reduced from: by lanes, or, where these are
// reduced, one by one.
static double post_cost(const sq_knest *t, const sq_scalar *x) {
  bool alone = t->w > 1 && t->va >= t->g->n_par;
  return (double)sq_ewise_cycles(x->ew) * (alone ? t->w : 1) / reduced_length(t);
}
static sq_kplan candidate(sq_knest *t, uint32_t va, uint32_t w) {
  const sq_generic *g = t->g;
  int64_t extent = INT64_MAX;
  if (va != SQ_K_NO_AXIS && const_extent(t, va, &extent))
    while (w > 1 && (int64_t)w > extent) w /= 2;
  if (w == 1) va = SQ_K_NO_AXIS;
  t->va = va;
  t->w = w;
  t->aligned = true;
  t->acc_varies = va < g->n_par;
  double cost = 1;
  for (uint32_t s = 0; s < g->s.n; s++) {
    if (!t->used[s]) continue;
    const sq_scalar *x = &g->s.v[s];
    bool varies = w == 1 || sq_knest_varies(t, s);
    if (x->kind == SQ_SC_READ) {
      sq_kstride kind = w == 1 ? SQ_K_UNIT : varies ? sq_knest_read_stride(t, x) : SQ_K_UNIFORM;
      double factor = sq_is_float(x->dtype) ? 1 : 0.5;
      cost += kind == SQ_K_UNIFORM ? 0.3
              : kind == SQ_K_UNIT  ? 1
                                   : w * (kind == SQ_K_GATHER ? 1 : 0.75) * factor;
      if (varies && (x->guard != SQ_NO_SCALAR || x->other != SQ_NO_SCALAR)) cost += 2;
    } else if (t->deps[s] & SQ_K_ACC && g->n_red && x->kind == SQ_SC_EWISE) {
      cost += sq_is_float(x->dtype) ? post_cost(t, x) : 0;
    } else if (varies && x->kind == SQ_SC_EWISE) {
      cost += sq_is_float(x->dtype) ? sq_ewise_cycles(x->ew) : 0.5;
    }
  }
  sq_kplan p = {.va = va, .w = w, .sets = 1, .inner = SQ_K_NO_AXIS};
  if (w > 1 && va < g->n_par) {
    bool last = !g->pos;
    if (last)
      for (uint32_t a = va + 1; a < g->n_par; a++) {
        int64_t e;
        last &= const_extent(t, a, &e) && e == 1;
      }
    double store = last ? 1 : w;
    if (g->pos && t->n->n_out) {
      sq_kstride kind = sq_knest_stride(t, &t->n->out[0]->type, 0, g->n_pos, g->pos);
      store = kind == SQ_K_UNIT ? 1 : w;
    } else if (g->pos) {
      int64_t c;
      bool unit = sq_knest_linear(t, g->pos[g->n_pos - 1], va, &c) && c == 1;
      store = unit ? 1 : w;
    }
    cost += store / reduced_length(t);
  }
  if (w > 1 && va >= g->n_par) {
    double length = extent == INT64_MAX ? 256 : (double)extent;
    cost += 3.0 * w / length;
  }
  double lanes = w;
  if (w > 1 && extent != INT64_MAX) {
    int64_t vectors = (extent + w - 1) / w;
    lanes = (double)extent / (double)(vectors > 0 ? vectors : 1);
  }
  p.cost = cost / (lanes > 0 ? lanes : 1);
  return p;
}
// The axis along which the strided reads of the vector axis run in memory.
static uint32_t crossed_axis(sq_knest *t, const sq_kplan *p) {
  const sq_generic *g = t->g;
  uint32_t found = SQ_K_NO_AXIS;
  if (g->n_red || p->w == 1 || p->va >= g->n_par) return found;
  for (uint32_t s = 0; s < g->s.n && found == SQ_K_NO_AXIS; s++) {
    const sq_scalar *x = &g->s.v[s];
    if (!t->used[s] || x->kind != SQ_SC_READ || !sq_knest_varies(t, s)) continue;
    if (sq_knest_read_stride(t, x) != SQ_K_STRIDED) continue;
    for (uint32_t a = 0; a < g->n_par; a++) {
      int64_t e;
      if (a == p->va || (t->open >> a & 1) || (const_extent(t, a, &e) && e < 4)) continue;
      t->va = a;
      if (sq_knest_read_stride(t, x) == SQ_K_UNIT) found = a;
      t->va = p->va;
    }
  }
  return found;
}
sq_kplan sq_kplan_choose(sq_knest *t, uint32_t allowed) {
  const sq_generic *g = t->g;
  uint32_t w = full_width(t);
  sq_kplan best = candidate(t, SQ_K_NO_AXIS, 1);
  for (uint32_t i = t->n_axes; i-- > 0;) {
    if ((t->open >> i & 1) || !(allowed >> i & 1)) continue;
    sq_kplan p = candidate(t, i, w);
    if (p.w > 1 && p.cost < 0.95 * best.cost) best = p;
  }
  t->va = best.va;
  t->w = best.w;
  t->aligned = true;
  t->acc_varies = best.va < g->n_par;
  best.inner = crossed_axis(t, &best);
  if (g->n_red && best.w > 1) {
    best.sets = best.cost * best.w > 20 ? 2 : 4;
    if (g->monoid == SQ_LOGSUMEXP) best.sets = 1;
    if (g->monoid == SQ_ARGMAX || g->monoid == SQ_ARGMIN) best.sets = 2;
    int64_t e;
    if (const_extent(t, best.va, &e))
      while (best.sets > 1 && (int64_t)(best.sets * best.w) > e) best.sets /= 2;
  }
  return best;
}

// ---- reductions --------------------------------------------------------------------------------
typedef struct reduction {
  sq_knest *t;
  const sq_kplan *p;
  sq_kacc acc;
  uint32_t order[SQ_K_AXES], n; // reduced axes, outermost first
  bool *taken;                  // per domain conjunct: it is a loop bound
  uint32_t sets;                // accumulators in use
  bool lanes_reduced;           // the vector axis is a reduced one
  sq_lv first;                  // parallel vector axis: index of the first set's lane 0
} reduction;

// Bounds on `axis` from conjuncts that are known once it is open, `a < b` or `a <= b` with the axis
// on one side: lo and hi are narrowed. Exact bounds are taken off the domain.
static void narrow(reduction *r, uint32_t axis, sq_lv *lo, sq_lv *hi) {
  sq_knest *t = r->t;
  sq_kern *k = t->k;
  const sq_generic *g = t->g;
  uint32_t known = t->open | 1u << axis;
  for (uint32_t i = 0; i < g->domain.n; i++) {
    uint32_t s = g->domain.v[i];
    const sq_scalar *x = &g->s.v[s];
    int64_t ca, cb;
    if (r->taken[i] || (t->deps[s] & ~known) || !(t->deps[s] >> axis & 1)) continue;
    if (x->kind != SQ_SC_EWISE || (x->ew != SQ_EW_LT && x->ew != SQ_EW_LE)) continue;
    if (!r->lanes_reduced && sq_knest_varies(t, s)) continue;
    if (sq_is_float(g->s.v[x->a[0]].dtype) || !t->hoistable[s]) continue;
    uint32_t w = t->w; // linear over the whole range, not within lanes
    t->w = 1;
    bool ok = sq_knest_linear(t, x->a[0], axis, &ca) && sq_knest_linear(t, x->a[1], axis, &cb);
    t->w = w;
    if (!ok || (cb - ca != 1 && cb - ca != -1)) continue;
    // b - a at index 0, then rest + (cb - ca) * index > 0, or >= 0.
    uint32_t mark = sq_knest_enter(t), open = t->open;
    sq_lv saved = t->idx[axis], mask = t->mask;
    t->mask = NULL;
    sq_knest_open(t, axis, sq_k_int(k, 0));
    t->hoisting = true;
    sq_dtype da = g->s.v[x->a[0]].dtype, db = g->s.v[x->a[1]].dtype;
    sq_lv a = sq_k_cast(k, sq_knest_uniform(t, x->a[0]), da, SQ_I64);
    sq_lv b = sq_k_cast(k, sq_knest_uniform(t, x->a[1]), db, SQ_I64);
    t->hoisting = false;
    sq_knest_leave(t, mark);
    t->open = open;
    t->idx[axis] = saved;
    t->mask = mask;
    sq_lv rest = LLVMBuildSub(k->b, b, a, "");
    bool strict = x->ew == SQ_EW_LT;
    if (cb - ca < 0) {
      sq_lv end = strict ? rest : LLVMBuildAdd(k->b, rest, sq_k_int(k, 1), "");
      *hi = sq_k_min(k, *hi, end);
      r->taken[i] = true;
    } else {
      sq_lv from = LLVMBuildNeg(k->b, rest, "");
      if (strict) from = LLVMBuildAdd(k->b, from, sq_k_int(k, 1), "");
      *lo = sq_k_max(k, *lo, from);
      // Vectors begin at multiples of w: the first is masked.
      r->taken[i] = !(r->lanes_reduced && axis == t->va);
    }
  }
}
static sq_lv flat_index(reduction *r) {
  sq_knest *t = r->t;
  sq_kern *k = t->k;
  if (r->acc.m != SQ_ARGMAX && r->acc.m != SQ_ARGMIN) return NULL;
  sq_lv flat = sq_k_int(k, 0);
  for (uint32_t a = t->g->n_par; a < t->n_axes; a++) {
    flat = LLVMBuildMul(k->b, flat, sq_knest_extent(t, a), "");
    flat = LLVMBuildAdd(k->b, flat, t->idx[a], "");
  }
  flat = LLVMBuildTrunc(k->b, flat, k->i32, "");
  if (!r->lanes_reduced) return flat;
  sq_lv stride = sq_k_int(k, 1);
  for (uint32_t a = t->va + 1; a < t->n_axes; a++)
    stride = LLVMBuildMul(k->b, stride, sq_knest_extent(t, a), "");
  stride = LLVMBuildTrunc(k->b, stride, k->i32, "");
  sq_lv step =
      LLVMBuildMul(k->b, sq_k_lane_index(k, t->w, k->i32), sq_k_splat(k, stride, t->w), "");
  return LLVMBuildAdd(k->b, sq_k_splat(k, flat, t->w), step, "");
}
// One evaluation of the body per set; the vector axis's index stands at the first.
static void reduce_step(reduction *r, sq_lv *part) {
  sq_knest *t = r->t;
  sq_kern *k = t->k;
  const sq_generic *g = t->g;
  sq_knest_hoist(t);
  sq_lv when = NULL;
  for (uint32_t i = 0; i < g->domain.n; i++)
    if (!r->taken[i] && !sq_knest_varies(t, g->domain.v[i]))
      when = sq_k_and(k, when, sq_knest_uniform(t, g->domain.v[i]));
  uint32_t n = r->sets * r->acc.parts, scope = sq_knest_enter(t);
  sq_lv before[SQ_K_CARRIED], outer = t->mask;
  sq_kif branch;
  memcpy(before, part, n * sizeof *part);
  if (when) sq_kif_begin(k, &branch, when);
  sq_lv base = t->va != SQ_K_NO_AXIS ? t->idx[t->va] : NULL;
  for (uint32_t set = 0; set < r->sets; set++) {
    uint32_t mark = sq_knest_enter(t);
    if (base && set) t->idx[t->va] = LLVMBuildAdd(k->b, base, sq_k_int(k, (int64_t)set * t->w), "");
    for (uint32_t i = 0; i < g->domain.n; i++)
      if (!r->taken[i] && sq_knest_varies(t, g->domain.v[i]))
        t->mask = sq_k_and(k, t->mask, sq_knest_lanes(t, g->domain.v[i]));
    // Reads of the domain were made under the outer mask; the body is under the whole of it.
    sq_lv x = sq_knest_value(t, g->body);
    sq_kacc_step(k, &r->acc, part + set * r->acc.parts, x, flat_index(r), t->mask, t->tail);
    t->mask = outer;
    sq_knest_leave(t, mark);
  }
  if (base) t->idx[t->va] = base;
  sq_knest_leave(t, scope);
  if (when) sq_kif_end(k, &branch, n, part, before, part);
}
static void reduce_axis(reduction *r, uint32_t level, sq_lv *part);
static sq_lv lanes_below(sq_knest *t, sq_lv first, sq_lv hi) {
  sq_kern *k = t->k;
  sq_lv left = LLVMBuildSub(k->b, hi, first, "");
  left = sq_k_min(k, left, sq_k_int(k, t->w));
  sq_lv at = sq_k_lane_index(k, t->w, k->i32);
  left = sq_k_splat(k, LLVMBuildTrunc(k->b, left, k->i32, ""), t->w);
  return LLVMBuildICmp(k->b, LLVMIntSLT, at, left, "");
}
// Is hi - lo known to be a multiple of `by`?
static bool multiple(sq_lv lo, sq_lv hi, int64_t by) {
  if (!LLVMIsAConstantInt(lo) || !LLVMIsAConstantInt(hi)) return false;
  return (LLVMConstIntGetSExtValue(hi) - LLVMConstIntGetSExtValue(lo)) % by == 0;
}
// The reduced vector axis: blocks of all sets, then single vectors, masked, into the first set.
static void reduce_lanes(reduction *r, sq_lv lo, sq_lv hi, sq_lv *part) {
  sq_knest *t = r->t;
  sq_kern *k = t->k;
  uint32_t sets = r->p->sets, w = t->w, n = sets * r->acc.parts;
  int64_t block = (int64_t)sets * w;
  lo = LLVMBuildAnd(k->b, lo, sq_k_int(k, -(int64_t)w), "");
  bool exact = multiple(lo, hi, block);
  sq_lv outer = t->mask;
  sq_kloop l;
  sq_lv end = exact ? hi : LLVMBuildSub(k->b, hi, sq_k_int(k, block - 1), "");
  sq_kloop_begin(k, &l, lo, end, block, n, part);
  uint32_t mark = sq_knest_enter(t);
  sq_knest_open(t, t->va, l.i);
  memcpy(part, l.phi, n * sizeof *part);
  r->sets = sets;
  reduce_step(r, part);
  sq_knest_leave(t, mark);
  sq_kloop_end(k, &l, part);
  memcpy(part, l.phi, n * sizeof *part);
  sq_lv at = l.i;
  if (!exact) {
    sq_kloop_begin(k, &l, at, hi, w, r->acc.parts, part);
    mark = sq_knest_enter(t);
    sq_knest_open(t, t->va, l.i);
    memcpy(part, l.phi, r->acc.parts * sizeof *part);
    r->sets = 1;
    bool tail = t->tail;
    t->tail = true;
    if (!multiple(lo, hi, w)) t->mask = sq_k_and(k, outer, lanes_below(t, l.i, hi));
    reduce_step(r, part);
    t->mask = outer;
    t->tail = tail;
    sq_knest_leave(t, mark);
    sq_kloop_end(k, &l, part);
    memcpy(part, l.phi, r->acc.parts * sizeof *part);
    r->sets = sets;
  }
  t->open &= ~(1u << t->va);
}
static void reduce_axis(reduction *r, uint32_t level, sq_lv *part) {
  sq_knest *t = r->t;
  sq_kern *k = t->k;
  if (level == r->n) {
    reduce_step(r, part);
    return;
  }
  uint32_t axis = r->order[level], n = r->sets * r->acc.parts;
  bool taken[64];
  uint32_t nd = t->g->domain.n < 64 ? t->g->domain.n : 64;
  memcpy(taken, r->taken, nd * sizeof *taken);
  sq_lv lo = sq_k_int(k, 0), hi = sq_knest_extent(t, axis);
  if (t->g->domain.n <= 64) narrow(r, axis, &lo, &hi);
  if (r->lanes_reduced && axis == t->va) {
    reduce_lanes(r, lo, hi, part);
  } else {
    sq_kloop l;
    sq_kloop_begin(k, &l, lo, hi, 1, n, part);
    uint32_t mark = sq_knest_enter(t);
    sq_knest_open(t, axis, l.i);
    memcpy(part, l.phi, n * sizeof *part);
    if (level + 1 < r->n) sq_knest_hoist(t);
    reduce_axis(r, level + 1, part);
    sq_knest_leave(t, mark);
    sq_kloop_end(k, &l, part);
    memcpy(part, l.phi, n * sizeof *part);
    t->open &= ~(1u << axis);
  }
  memcpy(r->taken, taken, nd * sizeof *taken);
}
static sq_lv element_count(sq_knest *t) {
  sq_kern *k = t->k;
  sq_lv n = sq_k_int(k, 1);
  for (uint32_t a = t->g->n_par; a < t->n_axes; a++)
    n = LLVMBuildMul(k->b, n, sq_k_max(k, sq_knest_extent(t, a), sq_k_int(k, 0)), "");
  return n;
}
// The reduction's results: one per set where the vector axis is parallel, else a single scalar.
static uint32_t reduce(sq_knest *t, const sq_kplan *p, uint32_t sets, sq_lv *result) {
  const sq_generic *g = t->g;
  sq_kern *k = t->k;
  reduction r = {.t = t, .p = p, .sets = sets};
  r.acc = sq_kacc_of(g, g->domain.n > 0);
  r.lanes_reduced = t->w > 1 && t->va >= g->n_par;
  if (r.lanes_reduced) r.sets = p->sets;
  r.taken = SQ_ARRAY(k->a, bool, g->domain.n + 1);
  for (uint32_t a = g->n_par; a < t->n_axes; a++)
    if (!(r.lanes_reduced && a == t->va)) r.order[r.n++] = a;
  if (r.lanes_reduced) r.order[r.n++] = t->va;
  sq_lv part[SQ_K_CARRIED];
  for (uint32_t s = 0; s < r.sets; s++) sq_kacc_init(k, &r.acc, t->w, part + s * r.acc.parts);
  reduce_axis(&r, 0, part);
  sq_lv count = r.acc.m == SQ_MEAN && !r.acc.counted ? element_count(t) : NULL;
  if (!r.lanes_reduced) {
    for (uint32_t s = 0; s < r.sets; s++)
      result[s] = sq_kacc_result(k, &r.acc, part + s * r.acc.parts, count);
    return r.sets;
  }
  for (uint32_t half = r.sets / 2; half > 0; half /= 2)
    for (uint32_t s = 0; s < half; s++)
      sq_kacc_merge(k, &r.acc, part + s * r.acc.parts, part + (s + half) * r.acc.parts);
  sq_kacc_across(k, &r.acc, part);
  result[0] = sq_kacc_result(k, &r.acc, part, count);
  return 1;
}

// ---- elements ----------------------------------------------------------------------------------
typedef struct run {
  sq_knest *t;
  const sq_kplan *p;
  sq_kemit emit;
  void *user;
} run;
static void emit_element(run *r, sq_lv acc) {
  sq_knest *t = r->t;
  const sq_generic *g = t->g;
  if (acc) {
    t->acc = acc;
    t->acc_varies = sq_k_is_vec(acc);
  } else if (g->post != SQ_NO_SCALAR) {
    t->acc_varies = sq_knest_varies(t, g->body);
    t->acc = sq_knest_value(t, g->body);
  }
  sq_lv v = g->post != SQ_NO_SCALAR ? sq_knest_value(t, g->post)
            : acc                   ? acc
                                    : sq_knest_value(t, g->body);
  r->emit(t, v, r->user);
}
// All parallel axes are open; the vector axis, if parallel, at the first of `sets` vectors.
static void elements(run *r, uint32_t sets) {
  sq_knest *t = r->t;
  sq_kern *k = t->k;
  const sq_generic *g = t->g;
  sq_lv acc[SQ_K_CARRIED];
  bool lanes_reduced = t->w > 1 && t->va >= g->n_par;
  if (!g->n_red && r->p->inner_lo) {
    sq_kloop l;
    sq_kloop_begin(k, &l, r->p->inner_lo, r->p->inner_hi, 1, 0, NULL);
    uint32_t mark = sq_knest_enter(t);
    sq_knest_open(t, r->p->inner, l.i);
    emit_element(r, NULL);
    sq_knest_leave(t, mark);
    sq_kloop_end(k, &l, NULL);
    t->open &= ~(1u << r->p->inner);
    return;
  }
  if (!g->n_red) {
    emit_element(r, NULL);
    return;
  }
  uint32_t n = reduce(t, r->p, sets, acc);
  sq_lv base = t->va != SQ_K_NO_AXIS ? t->idx[t->va] : NULL;
  uint32_t va = t->va, w = t->w;
  if (lanes_reduced) { // what follows is scalar
    t->va = SQ_K_NO_AXIS;
    t->w = 1;
  }
  for (uint32_t s = 0; s < n; s++) {
    uint32_t mark = sq_knest_enter(t);
    if (s) t->idx[va] = LLVMBuildAdd(k->b, base, sq_k_int(k, (int64_t)s * w), "");
    emit_element(r, acc[s]);
    sq_knest_leave(t, mark);
  }
  if (n > 1) t->idx[va] = base;
  t->va = va;
  t->w = w;
}
static void vector_axis(run *r, sq_lv lo, sq_lv hi) {
  sq_knest *t = r->t;
  sq_kern *k = t->k;
  uint32_t w = t->w, sets = t->g->n_red ? r->p->sets : 1;
  bool whole = !hi;
  if (!lo) lo = sq_k_int(k, 0);
  if (!hi) hi = sq_knest_extent(t, t->va);
  int64_t e, block = (int64_t)sets * w;
  bool known = const_extent(t, t->va, &e), even = known && e % w == 0;
  bool exact = known && e % block == 0;
  (void)whole;
  sq_lv at = lo, outer = t->mask;
  sq_kloop l;
  sq_kloop_begin(k, &l, lo, exact ? hi : LLVMBuildSub(k->b, hi, sq_k_int(k, block - 1), ""), block,
                 0, NULL);
  uint32_t mark = sq_knest_enter(t);
  sq_knest_open(t, t->va, l.i);
  elements(r, sets);
  sq_knest_leave(t, mark);
  sq_kloop_end(k, &l, NULL);
  at = l.i;
  if (exact) {
    t->open &= ~(1u << t->va);
    return;
  }
  bool tail = t->tail;
  t->tail = true;
  if (sets == 1) { // at most one vector is left
    sq_kif f;
    sq_kif_begin(k, &f, LLVMBuildICmp(k->b, LLVMIntSLT, at, hi, ""));
    mark = sq_knest_enter(t);
    sq_knest_open(t, t->va, at);
    t->mask = sq_k_and(k, outer, lanes_below(t, at, hi));
    elements(r, 1);
    sq_knest_leave(t, mark);
    sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  } else {
    sq_kloop_begin(k, &l, at, hi, w, 0, NULL);
    mark = sq_knest_enter(t);
    sq_knest_open(t, t->va, l.i);
    if (!even) t->mask = sq_k_and(k, outer, lanes_below(t, l.i, hi));
    elements(r, 1);
    sq_knest_leave(t, mark);
    sq_kloop_end(k, &l, NULL);
  }
  t->tail = tail;
  t->mask = outer;
  t->open &= ~(1u << t->va);
}
static void parallel_axis(run *r, uint32_t axis, sq_lv lo, sq_lv hi) {
  sq_knest *t = r->t;
  sq_kern *k = t->k;
  const sq_generic *g = t->g;
  uint32_t within = r->p->inner_lo ? r->p->inner : SQ_K_NO_AXIS;
  while (axis < g->n_par && ((t->open >> axis & 1) || axis == t->va || axis == within)) axis++;
  if (axis == g->n_par) {
    sq_knest_hoist(t);
    if (t->w > 1 && t->va < g->n_par && !(t->open >> t->va & 1))
      vector_axis(r, lo, hi);
    else
      elements(r, 1);
    return;
  }
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_knest_extent(t, axis), 1, 0, NULL);
  uint32_t mark = sq_knest_enter(t);
  sq_knest_open(t, axis, l.i);
  parallel_axis(r, axis + 1, lo, hi);
  sq_knest_leave(t, mark);
  sq_kloop_end(k, &l, NULL);
  t->open &= ~(1u << axis);
}
void sq_knest_run(sq_knest *t, const sq_kplan *p, sq_lv lo, sq_lv hi, sq_kemit emit, void *user) {
  t->va = p->va;
  t->w = p->w;
  t->aligned = true;
  t->acc_varies = t->w > 1 && t->va < t->g->n_par;
  run r = {t, p, emit, user};
  uint32_t mark = sq_knest_enter(t);
  parallel_axis(&r, 0, lo, hi);
  sq_knest_leave(t, mark);
}
