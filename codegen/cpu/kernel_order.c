// Operations along one axis: cumulate, sort, argsort, topk. A tensor is outer x length x inner
// around the axis; tasks take whole columns.
#include "codegen/cpu/kernel.h"

typedef struct columns {
  sq_lv length, inner; // in the kernel
  sq_lv stored;        // what the axis has room for: the length, or its limit
  sq_lv count, work;   // in the entry: outer * inner, length
  bool last;           // inner is 1
} columns;
static sq_dim product(sq_kern *k, const sq_type *t, uint32_t from, uint32_t to) {
  sq_dims *ds = k->g->dims;
  sq_dim d = sq_dim_const(ds, 1);
  for (uint32_t i = from; i < to; i++) d = sq_dim_mul(ds, d, sq_dim_storage(ds, t->dim[i]));
  return d;
}
static columns columns_of(sq_kern *k, const sq_type *t, uint32_t axis) {
  sq_dim outer = product(k, t, 0, axis), inner = product(k, t, axis + 1, t->rank);
  int64_t one;
  columns c = {.stored = sq_kern_dim(k, product(k, t, axis, axis + 1)),
               .inner = sq_kern_dim(k, inner),
               .length = sq_kern_dim(k, t->dim[axis]),
               .last = sq_dim_is_const(k->g->dims, inner, &one) && one == 1};
  c.count = LLVMBuildMul(k->cg->builder, sq_cg_dim(k->cg, outer), sq_cg_dim(k->cg, inner), "");
  c.work = sq_cg_dim(k->cg, t->dim[axis]);
  return c;
}
static sq_lv add(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildAdd(k->b, a, b, ""); }
static sq_lv mul(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildMul(k->b, a, b, ""); }
static sq_lv less(sq_kern *k, sq_lv a, sq_lv b) {
  return LLVMBuildICmp(k->b, LLVMIntSLT, a, b, "");
}
static sq_lv pick(sq_kern *k, sq_lv c, sq_lv a, sq_lv b) {
  return LLVMBuildSelect(k->b, c, a, b, "");
}
// First element of column `unit` in a tensor whose axis has room for `stored`.
static sq_lv column_base(sq_kern *k, const columns *c, sq_lv unit, sq_lv stored) {
  sq_lv o = LLVMBuildUDiv(k->b, unit, c->inner, ""), j = LLVMBuildURem(k->b, unit, c->inner, "");
  return add(k, mul(k, mul(k, o, stored), c->inner), j);
}

// ---- cumulate ----------------------------------------------------------------------------------
typedef struct running {
  sq_kern *k;
  sq_lv x, y, base, step, length;
  sq_kacc acc;
  sq_dtype type;
} running;
static void run_column(const running *r, uint32_t w, sq_lv mask) {
  sq_kern *k = r->k;
  sq_lv part[SQ_K_PARTS];
  sq_kacc_init(k, &r->acc, w, part);
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), r->length, 1, 1, part);
  sq_lv at = add(k, r->base, mul(k, l.i, r->step));
  sq_lv from = sq_k_offset(k, r->x, at, r->type), to = sq_k_offset(k, r->y, at, r->type);
  sq_lv x = w == 1 ? sq_k_load(k, r->type, from) : sq_k_load_row(k, r->type, from, w, mask);
  part[0] = l.phi[0];
  sq_kacc_step(k, &r->acc, part, x, NULL, NULL, true);
  if (w == 1)
    sq_k_store(k, r->type, to, part[0]);
  else
    sq_k_store_row(k, r->type, to, part[0], mask);
  sq_kloop_end(k, &l, part);
}
void sq_kernel_cumulate(sq_cg *cg, sq_node *n) {
  sq_kern kern, *k = &kern;
  sq_kern_begin(k, cg, "cumulate");
  const sq_type *t = &n->in[0]->type;
  columns c = columns_of(k, t, n->axis);
  running r = {.k = k, .length = c.length, .step = c.inner, .type = t->dtype};
  r.acc = (sq_kacc){.m = n->monoid, .elem = t->dtype, .result = t->dtype, .parts = 1};
  r.x = sq_kern_pointer(k, n->in[0]);
  r.y = sq_kern_pointer(k, n->out[0]);
  int bytes = sq_dtype_table[t->dtype].bytes;
  uint32_t w = c.last ? 1 : cg->target->machine.vector_bytes / (uint32_t)(bytes < 4 ? 4 : bytes);
  sq_lv units = c.count, lanes = sq_k_int(k, w), per_row = NULL;
  if (w > 1) {
    sq_lv inner = sq_cg_dim(cg, product(k, t, n->axis + 1, t->rank));
    sq_lv vectors = sq_k_ceil_div(k, cg->builder, inner, lanes);
    units = LLVMBuildMul(cg->builder, vectors, sq_cg_dim(cg, product(k, t, 0, n->axis)), "");
    per_row = sq_kern_pass(k, vectors);
  }
  sq_lv work = LLVMBuildMul(cg->builder, c.work, sq_k_int(k, 4), "");
  sq_ktasks tasks = sq_ktasks_make(k, units, work);
  sq_kouter o = {.n = 1, .extent = {tasks.units}};
  sq_kouter_begin(k, &o, &tasks);
  if (w == 1) {
    r.base = mul(k, o.index[0], c.stored);
    run_column(&r, 1, NULL);
  } else {
    sq_lv row = LLVMBuildUDiv(k->b, o.index[0], per_row, "");
    sq_lv j = mul(k, LLVMBuildURem(k->b, o.index[0], per_row, ""), lanes);
    r.base = add(k, mul(k, mul(k, row, c.stored), c.inner), j);
    sq_lv left = LLVMBuildSub(k->b, c.inner, j, "");
    sq_kif f;
    sq_kif_begin(k, &f, less(k, left, lanes));
    sq_lv mask = less(k, sq_k_lane_index(k, w, k->i64), sq_k_splat(k, left, w));
    run_column(&r, w, mask);
    sq_kif_else(k, &f);
    run_column(&r, w, NULL);
    sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  }
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}

// ---- sort, argsort: stable merge sort of (key, index) in the worker's scratch ------------------
static sq_dtype key_type(sq_dtype t) { return t == SQ_F16 || t == SQ_BF16 ? SQ_F32 : t; }
// Strictly before in ascending order, NaN last.
static sq_lv below(sq_kern *k, sq_dtype t, sq_lv a, sq_lv b) {
  sq_lv c = sq_k_less(k, t, a, b);
  if (!sq_is_float(t)) return c;
  sq_lv na = LLVMBuildFCmp(k->b, LLVMRealUNO, a, a, "");
  sq_lv nb = LLVMBuildFCmp(k->b, LLVMRealUNO, b, b, "");
  return LLVMBuildOr(k->b, c, LLVMBuildAnd(k->b, nb, LLVMBuildNot(k->b, na, ""), ""), "");
}
sq_kernel_scratch sq_kernel_sort_need(sq_graph *g, const sq_node *n) {
  const sq_type *t = &n->in[0]->type;
  int bytes = 2 * (sq_dtype_table[key_type(t->dtype)].bytes + 4);
  sq_dim d =
      sq_dim_mul(g->dims, sq_dim_storage(g->dims, t->dim[n->axis]), sq_dim_const(g->dims, bytes));
  return (sq_kernel_scratch){.per_worker = sq_dim_add(g->dims, d, sq_dim_const(g->dims, 256))};
}
typedef struct lists {
  sq_lv key[2], at[2];
} lists;
// One pass: runs of `run` elements of list 0 merged in pairs into list 1.
static void merge_pass(sq_kern *k, sq_dtype t, const lists *s, sq_lv run, sq_lv n) {
  sq_kloop pair, each;
  sq_lv lo = sq_k_int(k, 0);
  sq_kwhile_begin(k, &pair, 1, &lo);
  lo = pair.phi[0];
  sq_kwhile_test(k, &pair, less(k, lo, n));
  sq_lv mid = sq_k_min(k, add(k, lo, run), n), hi = sq_k_min(k, add(k, mid, run), n);
  sq_lv init[2] = {lo, mid};
  sq_kloop_begin(k, &each, lo, hi, 1, 2, init);
  sq_lv i = each.phi[0], j = each.phi[1];
  sq_lv has_i = less(k, i, mid), has_j = less(k, j, hi);
  sq_lv si = pick(k, has_i, i, lo), sj = pick(k, has_j, j, lo);
  sq_lv ki = sq_k_load(k, t, sq_k_offset(k, s->key[0], si, t));
  sq_lv kj = sq_k_load(k, t, sq_k_offset(k, s->key[0], sj, t));
  sq_lv second = LLVMBuildAnd(k->b, has_j, below(k, t, kj, ki), "");
  second = LLVMBuildOr(k->b, second, LLVMBuildNot(k->b, has_i, ""), "");
  sq_lv from = pick(k, second, sj, si);
  sq_lv at = sq_k_load(k, SQ_I32, sq_k_offset(k, s->at[0], from, SQ_I32));
  sq_k_store(k, t, sq_k_offset(k, s->key[1], each.i, t), pick(k, second, kj, ki));
  sq_k_store(k, SQ_I32, sq_k_offset(k, s->at[1], each.i, SQ_I32), at);
  sq_lv took = LLVMBuildZExt(k->b, second, k->i64, "");
  sq_lv next[2] = {add(k, i, LLVMBuildSub(k->b, sq_k_int(k, 1), took, "")), add(k, j, took)};
  sq_kloop_end(k, &each, next);
  sq_lv after = add(k, mid, run);
  sq_kwhile_end(k, &pair, &after);
}
void sq_kernel_sort(sq_cg *cg, sq_node *n) {
  sq_kern kern, *k = &kern;
  sq_kern_begin(k, cg, sq_op_table[n->op].name);
  const sq_type *type = &n->in[0]->type;
  sq_dtype t = key_type(type->dtype);
  columns c = columns_of(k, type, n->axis);
  sq_lv x = sq_kern_pointer(k, n->in[0]), y = sq_kern_pointer(k, n->out[0]), stride;
  sq_lv mine = sq_cg_private(cg, &stride);
  stride = sq_kern_pass(k, stride);
  sq_lv at = LLVMBuildMul(k->pb, k->worker, stride, "");
  mine = LLVMBuildGEP2(k->pb, k->i8, sq_kern_pass(k, mine), &at, 1, "");
  sq_lv work = LLVMBuildMul(cg->builder, c.work, sq_k_int(k, 60), "");
  sq_ktasks tasks = sq_ktasks_make(k, c.count, work);
  sq_kouter o = {.n = 1, .extent = {tasks.units}};
  sq_kouter_begin(k, &o, &tasks);
  sq_lv len = c.length, base = column_base(k, &c, o.index[0], c.stored);
  lists s;
  s.key[0] = mine;
  s.key[1] = sq_k_offset(k, mine, len, t);
  s.at[0] = sq_k_offset(k, s.key[1], len, t);
  s.at[1] = sq_k_offset(k, s.at[0], len, SQ_I32);
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), len, 1, 0, NULL);
  sq_lv from = add(k, base, mul(k, l.i, c.inner));
  sq_lv v = sq_k_load(k, type->dtype, sq_k_offset(k, x, from, type->dtype));
  sq_k_store(k, t, sq_k_offset(k, s.key[0], l.i, t), v);
  sq_k_store(k, SQ_I32, sq_k_offset(k, s.at[0], l.i, SQ_I32),
             LLVMBuildTrunc(k->b, l.i, k->i32, ""));
  sq_kloop_end(k, &l, NULL);
  sq_lv init[5] = {sq_k_int(k, 1), s.key[0], s.key[1], s.at[0], s.at[1]};
  sq_kwhile_begin(k, &l, 5, init);
  sq_kwhile_test(k, &l, less(k, l.phi[0], len));
  lists now = {{l.phi[1], l.phi[2]}, {l.phi[3], l.phi[4]}};
  merge_pass(k, t, &now, l.phi[0], len);
  sq_lv next[5] = {add(k, l.phi[0], l.phi[0]), now.key[1], now.key[0], now.at[1], now.at[0]};
  sq_kwhile_end(k, &l, next);
  sq_lv key = l.phi[1], index = l.phi[3];
  sq_kloop_begin(k, &l, sq_k_int(k, 0), len, 1, 0, NULL);
  sq_lv to = add(k, base, mul(k, l.i, c.inner));
  if (n->op == SQ_OP_ARGSORT) {
    v = sq_k_load(k, SQ_I32, sq_k_offset(k, index, l.i, SQ_I32));
    sq_k_store(k, SQ_I32, sq_k_offset(k, y, to, SQ_I32), v);
  } else {
    v = sq_k_load(k, t, sq_k_offset(k, key, l.i, t));
    sq_k_store(k, type->dtype, sq_k_offset(k, y, to, type->dtype), v);
  }
  sq_kloop_end(k, &l, NULL);
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}

// ---- topk: each element is compared with the last that is kept; few get further ----------------
typedef struct best {
  sq_kern *k;
  sq_dtype t;
  sq_lv values, indices, base, inner, want;
} best;
static sq_lv place(const best *r, sq_lv rank) {
  return add(r->k, r->base, mul(r->k, rank, r->inner));
}
static sq_lv kept(const best *r, sq_lv rank) {
  return sq_k_load(r->k, r->t, sq_k_offset(r->k, r->values, place(r, rank), r->t));
}
static void keep(const best *r, sq_lv rank, sq_lv v, sq_lv index) {
  sq_lv at = place(r, rank);
  sq_k_store(r->k, r->t, sq_k_offset(r->k, r->values, at, r->t), v);
  sq_k_store(r->k, SQ_I32, sq_k_offset(r->k, r->indices, at, SQ_I32), index);
}
// Moves lesser ones down from rank `last` and puts v where it belongs.
static void insert(const best *r, sq_lv last, sq_lv v, sq_lv index) {
  sq_kern *k = r->k;
  sq_kloop l;
  sq_lv one = sq_k_int(k, 1), zero = sq_k_int(k, 0);
  sq_kwhile_begin(k, &l, 1, &last);
  sq_lv at = l.phi[0], above = sq_k_max(k, LLVMBuildSub(k->b, at, one, ""), zero);
  sq_lv w = kept(r, above);
  sq_lv move =
      LLVMBuildAnd(k->b, LLVMBuildICmp(k->b, LLVMIntSGT, at, zero, ""), below(k, r->t, w, v), "");
  sq_kwhile_test(k, &l, move);
  sq_lv i = sq_k_load(k, SQ_I32, sq_k_offset(k, r->indices, place(r, above), SQ_I32));
  keep(r, at, w, i);
  sq_kwhile_end(k, &l, &above);
  keep(r, at, v, index);
}
void sq_kernel_topk(sq_cg *cg, sq_node *n) {
  sq_kern kern, *k = &kern;
  sq_kern_begin(k, cg, "topk");
  const sq_type *type = &n->in[0]->type;
  sq_dtype t = type->dtype;
  columns c = columns_of(k, type, n->axis);
  sq_lv x = sq_kern_pointer(k, n->in[0]);
  sq_lv valid = n->n_in > 1 ? sq_kern_pointer(k, n->in[1]) : NULL;
  best r = {.k = k, .t = t, .inner = c.inner, .want = sq_kern_dim(k, n->extent)};
  r.values = sq_kern_pointer(k, n->out[0]);
  r.indices = sq_kern_pointer(k, n->out[1]);
  sq_lv work = LLVMBuildMul(cg->builder, c.work, sq_k_int(k, 4), "");
  sq_ktasks tasks = sq_ktasks_make(k, c.count, work);
  sq_kouter o = {.n = 1, .extent = {tasks.units}};
  sq_kouter_begin(k, &o, &tasks);
  sq_lv zero = sq_k_int(k, 0), one = sq_k_int(k, 1);
  sq_lv base = column_base(k, &c, o.index[0], c.stored);
  r.base = column_base(k, &c, o.index[0],
                       sq_kern_dim(k, product(k, &n->out[0]->type, n->axis, n->axis + 1)));
  sq_kif some;
  sq_kif_begin(k, &some, LLVMBuildICmp(k->b, LLVMIntSGT, r.want, zero, ""));
  sq_kloop l;
  sq_kloop_begin(k, &l, zero, c.length, 1, 1, &zero);
  sq_lv have = l.phi[0], at = add(k, base, mul(k, l.i, c.inner));
  sq_lv v = sq_k_load(k, t, sq_k_offset(k, x, at, t));
  sq_lv free_place = less(k, have, r.want);
  sq_lv last = kept(&r, LLVMBuildSub(k->b, r.want, one, ""));
  sq_lv take = pick(k, free_place, LLVMConstInt(k->i1, 1, 0), below(k, t, last, v));
  if (valid) {
    sq_lv ok = sq_k_load(k, SQ_BOOL, sq_k_offset(k, valid, at, SQ_BOOL));
    take = LLVMBuildAnd(k->b, take, ok, "");
  }
  sq_kif f;
  sq_kif_begin(k, &f, take);
  sq_lv from = sq_k_min(k, have, LLVMBuildSub(k->b, r.want, one, ""));
  insert(&r, from, v, LLVMBuildTrunc(k->b, l.i, k->i32, ""));
  sq_lv more = sq_k_min(k, add(k, have, one), r.want), now;
  sq_kif_end(k, &f, 1, &more, &have, &now);
  sq_kloop_end(k, &l, &now);
  sq_kloop fill;
  sq_kloop_begin(k, &fill, l.phi[0], r.want, 1, 0, NULL);
  keep(&r, fill.i, sq_k_lowest(k, t), LLVMConstInt(k->i32, (uint64_t)-1, 1));
  sq_kloop_end(k, &fill, NULL);
  sq_kif_end(k, &some, 0, NULL, NULL, NULL);
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}
