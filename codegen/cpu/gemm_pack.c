// Operands of a contraction put where the tiles want them.
//
// B by columns: lanes along n where its memory runs along n, else lanes along k, w columns at a
// time, transposed in registers. Columns beyond the last repeat it: their sums are never stored.
#include "codegen/cpu/gemm.h"

static double places_cost(sq_knest *t, uint32_t s, uint32_t va, uint32_t w, uint32_t *left) {
  const sq_scalar *x = &t->g->s.v[s];
  t->va = va;
  t->w = w;
  t->aligned = true;
  if (!*left || !sq_knest_varies(t, s)) return 0;
  --*left;
  if (x->kind == SQ_SC_READ) {
    sq_kstride kind = sq_knest_read_stride(t, x);
    return kind == SQ_K_UNIFORM ? 0.3 : kind == SQ_K_UNIT ? 1 : w;
  }
  uint32_t n = x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
               : x->kind == SQ_SC_SELECT ? 3
               : x->kind == SQ_SC_CAST   ? 1
                                         : 0;
  double sum = 1;
  for (uint32_t i = 0; i < n; i++) sum += places_cost(t, x->a[i], va, w, left);
  return sum;
}
static double lanes_cost(sq_knest *t, uint32_t s, uint32_t va, uint32_t w) {
  uint32_t left = SQ_K_MOST_PLACES;
  return places_cost(t, s, va, w, &left);
}
bool sq_gemm_along_k(sq_knest *t, const sq_gemm *x, uint32_t s, const sq_gemm_axes *other) {
  double k = lanes_cost(t, s, x->k.axis[x->k.n - 1], x->w);
  double o = other->n ? lanes_cost(t, s, other->axis[other->n - 1], x->w) : 1e9;
  t->va = SQ_K_NO_AXIS;
  t->w = 1;
  return k < o;
}
// Do the elements of a row lie beside each other?
bool sq_gemm_a_dense(sq_knest *t, const sq_gemm *x) {
  t->va = x->k.axis[0];
  t->w = x->w;
  t->aligned = true;
  bool unit = sq_knest_read_stride(t, &t->g->s.v[x->a]) == SQ_K_UNIT;
  t->va = SQ_K_NO_AXIS;
  t->w = 1;
  return unit;
}
bool sq_gemm_a_direct(sq_knest *t, const sq_gemm *x) {
  const sq_scalar *a = &t->g->s.v[x->a];
  if (a->kind != SQ_SC_READ || a->guard != SQ_NO_SCALAR || a->other != SQ_NO_SCALAR) return false;
  sq_dtype wanted = x->dots ? SQ_BF16 : x->type;
  if (t->n->in[a->operand]->type.dtype != wanted || x->k.n != 1) return false;
  if (x->dots && !sq_gemm_a_dense(t, x)) return false;
  for (uint32_t i = 0; i < a->n_pos; i++) {
    int64_t c;
    t->w = 1;
    if (!sq_knest_linear(t, a->pos[i], x->k.axis[0], &c)) return false;
  }
  return true;
}

// Loops over the k axes; the last one in steps of `step` from 0. In the body the outer ones are
// open.
typedef struct depth {
  sq_kloop loop[SQ_K_AXES];
  uint32_t mark[SQ_K_AXES];
  sq_lv flat; // of the last axis's first element
} depth;
static void depth_begin(sq_knest *t, const sq_gemm *x, depth *d, int64_t step) {
  sq_kern *k = t->k;
  sq_lv flat = sq_k_int(k, 0);
  for (uint32_t i = 0; i < x->k.n; i++) {
    bool last = i + 1 == x->k.n;
    sq_lv extent = sq_knest_extent(t, x->k.axis[i]);
    sq_kloop_begin(k, &d->loop[i], sq_k_int(k, 0), extent, last ? step : 1, 0, NULL);
    d->mark[i] = sq_knest_enter(t);
    sq_knest_open(t, x->k.axis[i], d->loop[i].i);
    flat = LLVMBuildAdd(k->b, LLVMBuildMul(k->b, flat, extent, ""), d->loop[i].i, "");
  }
  d->flat = flat;
}
static void depth_end(sq_knest *t, const sq_gemm *x, depth *d) {
  for (uint32_t i = x->k.n; i-- > 0;) {
    sq_knest_leave(t, d->mark[i]);
    sq_kloop_end(t->k, &d->loop[i], NULL);
  }
  sq_gemm_close(t, &x->k);
}
static sq_lv mask_below(sq_kern *k, uint32_t w, sq_lv first, sq_lv end) {
  sq_lv left = sq_k_min(k, LLVMBuildSub(k->b, end, first, ""), sq_k_int(k, w));
  left = sq_k_splat(k, LLVMBuildTrunc(k->b, left, k->i32, ""), w);
  return LLVMBuildICmp(k->b, LLVMIntSLT, sq_k_lane_index(k, w, k->i32), left, "");
}
// A register of the arithmetic's type.
static sq_lv operand(sq_knest *t, const sq_gemm *x, uint32_t s) {
  (void)x;
  return t->w > 1 ? sq_knest_lanes(t, s) : sq_knest_uniform(t, s);
}
static sq_lv swap_blocks(sq_kern *k, sq_lv a, sq_lv b, uint32_t w, uint32_t half, bool high) {
  sq_lv at[64];
  for (uint32_t i = 0; i < w; i++) {
    uint32_t in_half = i % half, upper = i / half % 2;
    uint32_t base = i / (2 * half) * 2 * half + (high ? half : 0) + in_half;
    at[i] = LLVMConstInt(k->i32, base + (upper ? w : 0), 0);
  }
  return LLVMBuildShuffleVector(k->b, a, b, LLVMConstVector(at, w), "");
}
// w vectors of w lanes.
static void transpose(sq_kern *k, sq_lv *v, uint32_t w) {
  for (uint32_t half = 1; half < w; half *= 2)
    for (uint32_t i = 0; i < w; i++) {
      if (i & half) continue;
      sq_lv a = v[i], b = v[i + half];
      v[i] = swap_blocks(k, a, b, w, half, false);
      v[i + half] = swap_blocks(k, a, b, w, half, true);
    }
}

// ---- B -----------------------------------------------------------------------------------------
typedef struct pack {
  sq_knest t;
  const sq_gemm *x;
  sq_lv panel, n, end; // memory of the panel; its first column; one past the last
} pack;
static void pack_along_n(pack *p, bool whole) {
  sq_knest *t = &p->t;
  sq_kern *k = t->k;
  const sq_gemm *x = p->x;
  t->va = x->n.axis[x->n.n - 1];
  t->w = x->w;
  t->aligned = true;
  depth d;
  depth_begin(t, x, &d, 1);
  sq_lv row = LLVMBuildMul(k->b, d.flat, sq_k_int(k, x->nr), "");
  for (uint32_t v = 0; v < x->nv; v++) {
    uint32_t mark = sq_knest_enter(t);
    sq_lv n = LLVMBuildAdd(k->b, p->n, sq_k_int(k, (int64_t)v * x->w), "");
    t->mask = whole ? NULL : mask_below(k, x->w, n, p->end);
    // Vectors that lie wholly beyond the end are masked off, their indices are of no matter.
    sq_gemm_open(t, &x->n, n);
    sq_lv at = LLVMBuildAdd(k->b, row, sq_k_int(k, (int64_t)v * x->w), "");
    sq_gemm_store(k, x, sq_gemm_at(k, x, p->panel, at), operand(t, x, x->b));
    t->mask = NULL;
    sq_knest_leave(t, mark);
    sq_gemm_close(t, &x->n);
  }
  depth_end(t, x, &d);
  t->va = SQ_K_NO_AXIS;
  t->w = 1;
}
static void pack_along_k(pack *p) {
  sq_knest *t = &p->t;
  sq_kern *k = t->k;
  const sq_gemm *x = p->x;
  uint32_t va = x->k.axis[x->k.n - 1], w = x->w;
  sq_lv extent = sq_knest_extent(t, va);
  sq_lv last = LLVMBuildSub(k->b, p->end, sq_k_int(k, 1), "");
  sq_lv column[64][SQ_K_AXES];
  sq_kloop group;
  sq_kloop_begin(k, &group, sq_k_int(k, 0), sq_k_int(k, x->nr), w, 0, NULL);
  uint32_t outer = sq_knest_enter(t);
  for (uint32_t l = 0; l < w; l++) {
    sq_lv n = LLVMBuildAdd(k->b, p->n, LLVMBuildAdd(k->b, group.i, sq_k_int(k, l), ""), "");
    sq_gemm_open(t, &x->n, sq_k_min(k, n, last));
    for (uint32_t i = 0; i < x->n.n; i++) column[l][i] = t->idx[x->n.axis[i]];
  }
  depth d;
  t->va = va;
  t->w = w;
  t->aligned = true;
  depth_begin(t, x, &d, w);
  sq_lv full = LLVMBuildICmp(k->b, LLVMIntSLE, LLVMBuildAdd(k->b, t->idx[va], sq_k_int(k, w), ""),
                             extent, "");
  sq_lv at = LLVMBuildMul(k->b, d.flat, sq_k_int(k, x->nr), "");
  at = LLVMBuildAdd(k->b, at, group.i, "");
  int64_t e;
  bool exact = sq_dim_is_const(k->g->dims, t->g->axis[va].extent, &e) && e % w == 0;
  sq_kif f;
  if (!exact) sq_kif_begin(k, &f, full);
  for (int turn = 0; turn < (exact ? 1 : 2); turn++) {
    sq_lv lane[64];
    uint32_t scope = sq_knest_enter(t);
    t->mask = turn ? mask_below(k, w, t->idx[va], extent) : NULL;
    for (uint32_t l = 0; l < w; l++) {
      uint32_t mark = sq_knest_enter(t);
      for (uint32_t i = 0; i < x->n.n; i++) sq_knest_open(t, x->n.axis[i], column[l][i]);
      lane[l] = operand(t, x, x->b);
      sq_knest_leave(t, mark);
    }
    transpose(k, lane, w);
    for (uint32_t l = 0; l < w; l++) {
      sq_lv row = LLVMBuildAdd(k->b, at, sq_k_int(k, (int64_t)l * x->nr), "");
      sq_gemm_store(k, x, sq_gemm_at(k, x, p->panel, row), lane[l]);
    }
    t->mask = NULL;
    sq_knest_leave(t, scope);
    if (!exact && !turn) sq_kif_else(k, &f);
  }
  if (!exact) sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  sq_gemm_close(t, &x->n);
  depth_end(t, x, &d);
  t->va = SQ_K_NO_AXIS;
  t->w = 1;
  sq_knest_leave(t, outer);
  sq_kloop_end(k, &group, NULL);
}
void sq_gemm_pack_b(sq_cg *cg, const sq_gemm *x, sq_lv panels, sq_lv n0, sq_lv columns) {
  sq_kern kern, *k = &kern;
  sq_kern_begin(k, cg, "pack");
  pack p = {.x = x};
  sq_knest_begin(&p.t, k, (sq_node *)(uintptr_t)x->node, NULL);
  LLVMBuilderRef eb = cg->builder;
  sq_lv per_batch = sq_k_ceil_div(k, eb, columns, sq_k_int(k, x->nr));
  sq_lv units = LLVMBuildMul(eb, per_batch, sq_gemm_entry_size(cg, &x->batch), "");
  sq_lv depth_in = sq_gemm_entry_size(cg, &x->k);
  sq_lv work = LLVMBuildMul(eb, depth_in, sq_k_int(k, x->nr), "");
  sq_ktasks tasks = sq_ktasks_make(k, units, work);
  sq_kouter o = {.n = 2};
  o.extent[0] = sq_gemm_size(k, &x->batch);
  o.extent[1] = sq_kern_pass(k, per_batch);
  sq_lv first = sq_kern_pass(k, n0), count = sq_kern_pass(k, columns);
  sq_lv base = sq_kern_pass(k, panels), rows = sq_gemm_size(k, &x->k);
  sq_kouter_begin(k, &o, &tasks);
  uint32_t mark = sq_knest_enter(&p.t);
  sq_gemm_open(&p.t, &x->batch, o.index[0]);
  sq_lv size = LLVMBuildMul(k->b, sq_gemm_padded(k, x, rows), sq_k_int(k, x->nr), "");
  sq_lv number = LLVMBuildMul(k->b, o.index[0], o.extent[1], "");
  number = LLVMBuildAdd(k->b, number, o.index[1], "");
  p.panel = sq_gemm_at(k, x, base, LLVMBuildMul(k->b, number, size, ""));
  p.n = LLVMBuildAdd(k->b, first, LLVMBuildMul(k->b, o.index[1], sq_k_int(k, x->nr), ""), "");
  p.end = LLVMBuildAdd(k->b, first, count, "");
  sq_knest_hoist(&p.t);
  if (sq_gemm_along_k(&p.t, x, x->b, &x->n)) {
    pack_along_k(&p);
  } else {
    sq_lv stop = LLVMBuildAdd(k->b, p.n, sq_k_int(k, x->nr), "");
    sq_kif f;
    sq_kif_begin(k, &f, LLVMBuildICmp(k->b, LLVMIntSLE, stop, p.end, ""));
    uint32_t scope = sq_knest_enter(&p.t);
    pack_along_n(&p, true);
    sq_knest_leave(&p.t, scope);
    sq_kif_else(k, &f);
    scope = sq_knest_enter(&p.t);
    pack_along_n(&p, false);
    sq_knest_leave(&p.t, scope);
    sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  }
  sq_knest_leave(&p.t, mark);
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}

// ---- A -----------------------------------------------------------------------------------------
void sq_gemm_copy_a(sq_cg *cg, const sq_gemm *x, sq_lv copy) {
  sq_kern kern, *k = &kern;
  sq_kern_begin(k, cg, "rows");
  sq_knest t;
  sq_knest_begin(&t, k, (sq_node *)(uintptr_t)x->node, NULL);
  LLVMBuilderRef eb = cg->builder;
  sq_lv units =
      LLVMBuildMul(eb, sq_gemm_entry_size(cg, &x->m), sq_gemm_entry_size(cg, &x->batch), "");
  sq_ktasks tasks = sq_ktasks_make(k, units, sq_gemm_entry_size(cg, &x->k));
  sq_kouter o = {.n = 2};
  o.extent[0] = sq_gemm_size(k, &x->batch);
  o.extent[1] = sq_gemm_size(k, &x->m);
  sq_lv base = sq_kern_pass(k, copy), rows = sq_gemm_size(k, &x->k);
  sq_kouter_begin(k, &o, &tasks);
  uint32_t mark = sq_knest_enter(&t);
  sq_gemm_open(&t, &x->batch, o.index[0]);
  sq_gemm_open(&t, &x->m, o.index[1]);
  sq_knest_hoist(&t);
  sq_lv number =
      LLVMBuildAdd(k->b, LLVMBuildMul(k->b, o.index[0], o.extent[1], ""), o.index[1], "");
  sq_dtype kept = x->dots ? SQ_BF16 : x->type;
  sq_lv line = sq_k_offset(k, base, LLVMBuildMul(k->b, number, rows, ""), kept);
  uint32_t va = x->k.axis[x->k.n - 1];
  bool lanes = lanes_cost(&t, x->a, va, x->w) < x->w;
  t.va = lanes ? va : SQ_K_NO_AXIS;
  t.w = lanes ? x->w : 1;
  t.aligned = true;
  depth d;
  depth_begin(&t, x, &d, t.w);
  sq_lv at = sq_k_offset(k, line, d.flat, kept);
  if (!lanes) {
    sq_k_store_row(k, kept, at, operand(&t, x, x->a), NULL);
  } else {
    sq_lv extent = sq_knest_extent(&t, va), w = sq_k_int(k, x->w);
    sq_kif f;
    sq_kif_begin(k, &f,
                 LLVMBuildICmp(k->b, LLVMIntSLE, LLVMBuildAdd(k->b, t.idx[va], w, ""), extent, ""));
    uint32_t scope = sq_knest_enter(&t);
    sq_k_store_row(k, kept, at, operand(&t, x, x->a), NULL);
    sq_knest_leave(&t, scope);
    sq_kif_else(k, &f);
    t.mask = mask_below(k, x->w, t.idx[va], extent);
    t.tail = true;
    scope = sq_knest_enter(&t);
    sq_k_store_row(k, kept, at, operand(&t, x, x->a), t.mask);
    sq_knest_leave(&t, scope);
    t.mask = NULL;
    sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  }
  depth_end(&t, x, &d);
  sq_knest_leave(&t, mark);
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}

// ---- tiles of A --------------------------------------------------------------------------------
typedef struct interleave {
  sq_kern *k;
  const sq_gemm *x;
  sq_lv row[32], step, out; // of one tile
} interleave;
// k from `i` on, w of them: rows loaded, transposed, stored [k][mr]. Stores go up, each may write
// lanes beyond its place that a later one sets right.
static void interleave_vector(interleave *c, sq_lv i) {
  sq_kern *k = c->k;
  const sq_gemm *x = c->x;
  uint32_t w = x->w, groups = (x->mr + w - 1) / w;
  sq_lv lane[8][64]; // mr is 12 at most, w at least 2
  for (uint32_t g = 0; g < groups; g++) {
    for (uint32_t l = 0; l < w; l++) {
      uint32_t r = g * w + l;
      lane[g][l] =
          r < x->mr ? sq_gemm_load(k, x, sq_gemm_at(k, x, c->row[r], i), w) : lane[g][l - 1];
    }
    transpose(k, lane[g], w);
  }
  sq_lv at = LLVMBuildMul(k->b, i, sq_k_int(k, x->mr), "");
  for (uint32_t l = 0; l < w; l++)
    for (uint32_t g = 0; g < groups; g++) {
      sq_lv to = LLVMBuildAdd(k->b, at, sq_k_int(k, (int64_t)l * x->mr + g * w), "");
      sq_gemm_store(k, x, sq_gemm_at(k, x, c->out, to), lane[g][l]);
    }
}
static void interleave_one(interleave *c, sq_lv i) {
  sq_kern *k = c->k;
  const sq_gemm *x = c->x;
  sq_lv from = LLVMBuildMul(k->b, i, c->step, ""),
        at = LLVMBuildMul(k->b, i, sq_k_int(k, x->mr), "");
  for (uint32_t r = 0; r < x->mr; r++) {
    sq_lv to = LLVMBuildAdd(k->b, at, sq_k_int(k, r), "");
    sq_lv v = sq_gemm_load(k, x, sq_gemm_at(k, x, c->row[r], from), 1);
    sq_gemm_store(k, x, sq_gemm_at(k, x, c->out, to), v);
  }
}
static LLVMTypeRef interleave_type(sq_kern *k) {
  LLVMTypeRef in[5] = {k->ptr, k->i64, k->i64, k->i64, k->ptr};
  return LLVMFunctionType(LLVMVoidTypeInContext(k->c), in, 5, 0);
}
// void sq.interleave.mr(ptr row, i64 rows, i64 depth, i64 step, ptr out)
static void interleave_body(interleave *c, sq_lv fn, bool unit) {
  sq_kern *k = c->k;
  const sq_gemm *x = c->x;
  sq_lv row = LLVMGetParam(fn, 0), rows = LLVMGetParam(fn, 1), length = LLVMGetParam(fn, 2);
  sq_lv out = LLVMGetParam(fn, 4), whole = LLVMBuildSub(k->b, rows, sq_k_int(k, x->mr - 1), "");
  c->step = unit ? sq_k_int(k, 1) : LLVMGetParam(fn, 3);
  sq_kloop l, d;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), whole, x->mr, 0, NULL);
  for (uint32_t r = 0; r < x->mr; r++) {
    sq_lv at = LLVMBuildAdd(k->b, l.i, sq_k_int(k, r), "");
    c->row[r] = LLVMBuildLoad2(k->b, k->ptr, LLVMBuildGEP2(k->b, k->ptr, row, &at, 1, ""), "");
  }
  c->out = sq_gemm_at(k, x, out, LLVMBuildMul(k->b, l.i, length, ""));
  sq_lv from = sq_k_int(k, 0);
  if (unit) {
    sq_kloop_begin(k, &d, from, LLVMBuildSub(k->b, length, sq_k_int(k, x->w - 1), ""), x->w, 0,
                   NULL);
    interleave_vector(c, d.i);
    sq_kloop_end(k, &d, NULL);
    from = d.i;
  }
  sq_kloop_begin(k, &d, from, length, 1, 0, NULL);
  interleave_one(c, d.i);
  sq_kloop_end(k, &d, NULL);
  sq_kloop_end(k, &l, NULL);
  LLVMBuildRetVoid(k->b);
}
void sq_gemm_interleave(sq_kern *outer, const sq_gemm *x, sq_lv row, sq_lv rows, sq_lv length,
                        sq_lv step, sq_lv out) {
  bool unit = LLVMIsConstant(step) && LLVMConstIntGetSExtValue(step) == 1;
  const char *name = sq_arena_fmt(outer->a, "sq.interleave.%u.f%u%s%s", x->mr, 8 * x->bytes,
                                  unit ? "" : ".step", x->dots ? ".pairs" : "");
  sq_kern inner;
  sq_lv fn = sq_kern_shared(outer, name, interleave_type(outer), &inner);
  if (inner.fn) {
    interleave c = {.k = &inner, .x = x};
    interleave_body(&c, fn, unit);
    sq_kern_shared_end(&inner);
  }
  sq_lv arg[5] = {row, rows, length, step, out};
  LLVMBuildCall2(outer->b, interleave_type(outer), fn, arg, 5, "");
}
