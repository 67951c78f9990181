// The kernel of a stream: sets of rows that share keys go through the keys block by block.
//
//   for sets of rows                                    tasks
//     queries of the set, packed; max -inf, sums and outputs 0
//     for blocks of keys of the set's range             stream_row.c, stream_tile.c
//     for rows of the set: what sums and outputs end with; stored
//
// Memory of a worker: queries, outputs and statistics of a set; scores of a block; keys and values of a
// block where they cannot be read where they lie.
#include "codegen/cpu/stream.h"

enum { LINES = 32 }; // no tile takes more keys or columns at once

static sq_lv add(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildAdd(k->b, a, b, ""); }
static sq_lv mul(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildMul(k->b, a, b, ""); }
sq_lv sq_kattend_at(const sq_kattend *r, sq_lv base, sq_lv i) {
  return sq_k_offset(r->k, base, i, r->s->type);
}
sq_lv sq_kattend_load(const sq_kattend *r, sq_lv base, sq_lv i) {
  return sq_k_load_row(r->k, r->s->type, sq_kattend_at(r, base, i), r->s->w, NULL);
}
void sq_kattend_store(const sq_kattend *r, sq_lv base, sq_lv i, sq_lv v) {
  v = sq_k_splat(r->k, v, r->s->w);
  sq_k_store_row(r->k, r->s->type, sq_kattend_at(r, base, i), v, NULL);
}
sq_lv sq_kattend_one(const sq_kattend *r, sq_lv base, sq_lv i) {
  return sq_k_load(r->k, r->s->type, sq_kattend_at(r, base, i));
}
void sq_kattend_put(const sq_kattend *r, sq_lv base, sq_lv i, sq_lv v) {
  sq_k_store(r->k, r->s->type, sq_kattend_at(r, base, i), v);
}
sq_lv sq_kattend_lanes_below(const sq_kattend *r, sq_lv n) {
  sq_kern *k = r->k;
  n = sq_k_splat(k, LLVMBuildTrunc(k->b, sq_k_min(k, n, sq_k_int(k, r->s->w)), k->i32, ""),
                 r->s->w);
  return LLVMBuildICmp(k->b, LLVMIntSLT, sq_k_lane_index(k, r->s->w, k->i32), n, "");
}
sq_lv sq_kattend_stat(const sq_kattend *r, sq_lv row, uint32_t i) {
  uint32_t along = r->s->tile ? 1 : SQ_KSTREAM_STATS, from = r->s->tile ? r->s->set : 1;
  return add(r->k, mul(r->k, row, sq_k_int(r->k, along)), sq_k_int(r->k, (int64_t)i * from));
}
static bool has_max(const sq_kattend *r) { return r->s->p.max.n != NULL; }

// ---- memory of a worker ------------------------------------------------------------------------
typedef enum row_part {
  QUERIES,
  OUTPUTS,
  TURNED_Q,
  TURNED_O,
  SCORES,
  STATS,
  KEYS,
  VALUES,
  PAIRED_Q,
  PAIRED_P,
  PAIRED_V,
  PARTS
} row_part;
static sq_dim pair_size(const sq_kstream *s, row_part p) { // two elements in one
  sq_dims *ds = s->g->dims;
  sq_dim set = sq_dim_const(ds, s->set), half = sq_dim_const(ds, s->block / 2);
  sq_dim width = sq_dim_floordiv(ds, sq_kstream_padded(s, s->p.width), sq_dim_const(ds, 2));
  if (p == PAIRED_Q) return sq_dim_mul(ds, set, width);
  if (p == PAIRED_P) return sq_dim_mul(ds, set, half);
  if (p == PAIRED_V) return sq_dim_mul(ds, sq_kstream_padded(s, s->p.columns), half);
  return sq_dim_const(ds, 0);
}
static sq_dim part_size(const sq_kstream *s, row_part p) { // in elements
  sq_dims *ds = s->g->dims;
  sq_dim width = sq_kstream_padded(s, s->p.width), columns = sq_kstream_padded(s, s->p.columns);
  sq_dim set = sq_dim_const(ds, s->set), block = sq_dim_const(ds, s->block);
  switch (p) {
  case TURNED_Q:
    if (!s->tile) break;
    return sq_dim_mul(ds, set, width);
  case TURNED_O: // rows of it are taken several at once
    if (!s->tile) break;
    return sq_dim_mul(ds, set, sq_dim_add(ds, columns, sq_dim_const(ds, LINES)));
  case QUERIES:
    return sq_dim_mul(ds, set, width);
  case OUTPUTS:
    return sq_dim_mul(ds, set, columns);
  case SCORES:
    if (s->tile) return sq_dim_const(ds, (int64_t)(s->block + LINES) * s->set);
    return sq_dim_const(ds, s->block + 2 * s->w);
  case STATS:
    return sq_dim_const(ds, (int64_t)s->set * SQ_KSTREAM_STATS);
  case KEYS:
    return s->keys.how == SQ_KSTREAM_DIRECT ? sq_dim_const(ds, 0) : sq_dim_mul(ds, block, width);
  case VALUES:
    return s->values.how == SQ_KSTREAM_DIRECT ? sq_dim_const(ds, 0)
                                              : sq_dim_mul(ds, block, columns);
  case PAIRED_Q:
  case PAIRED_P:
  case PAIRED_V:
    if (!s->dots) break;
    return pair_size(s, p);
  case PARTS:
    break;
  }
  return sq_dim_const(ds, 0);
}
static sq_dim part_bytes(const sq_kstream *s, uint32_t parts) { // of the first so many
  sq_dims *ds = s->g->dims;
  sq_dim sum = sq_dim_const(ds, 0);
  for (uint32_t p = 0; p < parts; p++) sum = sq_dim_add(ds, sum, part_size(s, (row_part)p));
  return sq_dim_mul(ds, sum, sq_dim_const(ds, s->bytes));
}
sq_kernel_scratch sq_kstream_attend_need(const sq_kstream *s) {
  return (sq_kernel_scratch){.per_worker = part_bytes(s, PARTS)};
}
static void find_memory(sq_kattend *r) {
  sq_kern *k = r->k;
  sq_lv stride, all = sq_cg_private(k->cg, &stride);
  sq_lv mine = LLVMBuildMul(k->pb, k->worker, sq_kern_pass(k, stride), "");
  sq_lv base = LLVMBuildGEP2(k->pb, k->i8, sq_kern_pass(k, all), &mine, 1, "");
  sq_lv *const where[PARTS] = {&r->q,    &r->o,    &r->qt, &r->ot, &r->p, &r->stats,
                               &r->kbuf, &r->vbuf, &r->q2, &r->p2, &r->v2};
  for (uint32_t p = 0; p < PARTS; p++) {
    sq_lv offset = sq_kern_dim(k, part_bytes(r->s, p));
    *where[p] = LLVMBuildGEP2(k->pb, k->i8, base, &offset, 1, "");
  }
}

// ---- operands ----------------------------------------------------------------------------------
// `scalar` of nest t along the axis `role` into out[0 .. n), zeros up to whole vectors.
static void pack_line(sq_kattend *r, sq_knest *t, uint32_t role, uint32_t scalar, uint32_t factor,
                      bool divides, sq_lv n, sq_lv out) {
  sq_kern *k = r->k;
  sq_kloop l;
  uint32_t outer = sq_knest_enter(t);
  sq_lv by = factor == SQ_NO_SCALAR ? NULL : sq_knest_uniform(t, factor);
  sq_kloop_begin(k, &l, sq_k_int(k, 0), n, r->s->w, 0, NULL);
  sq_lv mask = sq_kattend_lanes_below(r, LLVMBuildSub(k->b, n, l.i, ""));
  sq_kmembers_lanes(&r->m, role, r->s->w, mask);
  uint32_t mark = sq_knest_enter(t);
  sq_kmembers_open(&r->m, role, l.i);
  sq_lv v = sq_knest_lanes(t, scalar);
  if (by) {
    sq_lv c = sq_k_splat(k, by, r->s->w);
    v = divides ? LLVMBuildFDiv(k->b, v, c, "") : LLVMBuildFMul(k->b, v, c, "");
  }
  sq_kattend_store(r, out, l.i, LLVMBuildSelect(k->b, mask, v, LLVMConstNull(LLVMTypeOf(v)), ""));
  sq_knest_leave(t, mark);
  sq_kloop_end(k, &l, NULL);
  sq_kmembers_close(&r->m, role);
  sq_kmembers_lanes(&r->m, role, 1, NULL);
  sq_knest_leave(t, outer);
}
// The row of the set, open in all nests.
sq_kmark sq_kattend_open_row(sq_kattend *r, sq_lv row) {
  sq_kmark mark = sq_kmembers_enter(&r->m);
  if (r->s->lane != SQ_NO_AXIS) sq_kmembers_open(&r->m, r->s->lane, add(r->k, r->first, row));
  return mark;
}
void sq_kattend_close_row(sq_kattend *r, sq_kmark mark) {
  sq_kmembers_leave(&r->m, mark);
  if (r->s->lane != SQ_NO_AXIS) sq_kmembers_close(&r->m, r->s->lane);
}
static void clear(sq_kattend *r, sq_lv base, sq_lv n) {
  sq_kloop l;
  sq_lv none = LLVMConstNull(sq_k_type(r->k, r->s->type));
  sq_kloop_begin(r->k, &l, sq_k_int(r->k, 0), n, r->s->w, 0, NULL);
  sq_kattend_store(r, base, l.i, none);
  sq_kloop_end(r->k, &l, NULL);
}
// Statistics of no keys, for one row or, along the lanes, for all.
static void begin_statistics(sq_kattend *r, sq_lv row) {
  sq_kern *k = r->k;
  sq_dtype t = r->s->type;
  for (uint32_t i = 0; i < SQ_KSTREAM_SUM + r->s->p.n_sum; i++) {
    if (i == SQ_KSTREAM_MAX && !has_max(r)) continue;
    sq_lv none = i == SQ_KSTREAM_MAX ? sq_k_lowest(k, t) : sq_k_const(k, t, 0, 0);
    if (r->s->tile)
      sq_kattend_store(r, r->stats, sq_kattend_stat(r, row, i), none);
    else
      sq_kattend_put(r, r->stats, sq_kattend_stat(r, row, i), none);
  }
}
static void begin_row(sq_kattend *r, sq_lv row) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  sq_kmark mark = sq_kattend_open_row(r, row);
  pack_line(r, &r->m.score, SQ_STREAM_WIDTH, s->p.q, s->factor, s->divides, r->width,
            sq_kattend_at(r, r->q, mul(k, row, r->q_step)));
  if (!s->tile) {
    clear(r, sq_kattend_at(r, r->o, mul(k, row, r->o_step)), r->columns);
    begin_statistics(r, row);
  }
  sq_kattend_close_row(r, mark);
}
static void begin_rows(sq_kattend *r) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  sq_kloop l;
  sq_lv set = sq_k_int(k, s->set), zero = sq_k_int(k, 0);
  sq_kloop_begin(k, &l, zero, r->count, 1, 0, NULL);
  begin_row(r, l.i);
  sq_kloop_end(k, &l, NULL);
  if (!s->tile) return;
  sq_lv left = LLVMBuildSub(k->b, set, r->count, "");
  clear(r, sq_kattend_at(r, r->q, mul(k, r->count, r->q_step)), mul(k, left, r->q_step));
  sq_kstream_turn(k, s, r->q, r->q_step, set, r->q_step, r->qt, set);
  if (s->dots) sq_kstream_pairs(k, s, r->qt, r->q_step, r->q2);
  clear(r, r->ot, mul(k, r->o_step, set));
  sq_kloop_begin(k, &l, zero, set, s->w, 0, NULL);
  begin_statistics(r, l.i);
  sq_kloop_end(k, &l, NULL);
}
// Keys or values of the block: n from `key` on. Those to be widened as they lie.
typedef struct lines {
  const sq_kstream_lines *are;
  const sq_stream_member *of;
  sq_knest *t;
  uint32_t role, scalar;
  sq_lv length;
  sq_klines copy; // where one is made
} lines;
static sq_klines block_lines(sq_kattend *r, const lines *a, sq_lv key, sq_lv n) {
  sq_kern *k = r->k;
  sq_kmark mark = sq_kmembers_enter(&r->m);
  sq_klines x = a->copy;
  if (a->are->how != SQ_KSTREAM_PACKED) {
    sq_kmembers_open(&r->m, SQ_STREAM_KEY, key);
    sq_kmembers_open(&r->m, a->role, sq_k_int(k, 0));
    if (r->s->lane != SQ_NO_AXIS) sq_kmembers_open(&r->m, r->s->lane, r->first);
    sq_lv step = sq_knest_read_step(a->t, a->scalar, sq_stream_axis(a->of, SQ_STREAM_KEY));
    x = (sq_klines){sq_knest_read_pointer(a->t, a->scalar), step};
  }
  if (a->are->how == SQ_KSTREAM_PACKED) {
    sq_kloop l;
    sq_kloop_begin(k, &l, sq_k_int(k, 0), n, 1, 0, NULL);
    sq_kmark inner = sq_kmembers_enter(&r->m);
    sq_kmembers_open(&r->m, SQ_STREAM_KEY, add(k, key, l.i));
    if (r->s->lane != SQ_NO_AXIS) sq_kmembers_open(&r->m, r->s->lane, r->first);
    pack_line(r, a->t, a->role, a->scalar, SQ_NO_SCALAR, false, a->length,
              sq_kattend_at(r, x.base, mul(k, l.i, x.step)));
    sq_kmembers_leave(&r->m, inner);
    sq_kloop_end(k, &l, NULL);
  }
  sq_kmembers_leave(&r->m, mark);
  sq_kmembers_close(&r->m, SQ_STREAM_KEY);
  sq_kmembers_close(&r->m, a->role);
  if (r->s->lane != SQ_NO_AXIS) sq_kmembers_close(&r->m, r->s->lane);
  return x;
}

// Where the block that begins with this key ends: at most where conditions begin or end to matter.
static sq_lv block_end(sq_kattend *r, const sq_krange *x, sq_lv key) {
  sq_kern *k = r->k;
  sq_lv size = add(k, key, sq_k_int(k, r->s->block)), none = sq_k_int(k, INT64_MAX);
  sq_lv before = LLVMBuildICmp(k->b, LLVMIntSLT, key, x->sure_lo, "");
  sq_lv within = LLVMBuildICmp(k->b, LLVMIntSLT, key, x->sure_hi, "");
  sq_lv any = LLVMBuildICmp(k->b, LLVMIntSLT, x->sure_lo, x->sure_hi, "");
  sq_lv cut = LLVMBuildSelect(k->b, before, x->sure_lo, x->sure_hi, "");
  cut = LLVMBuildSelect(k->b, LLVMBuildAnd(k->b, within, any, ""), cut, none, "");
  return sq_k_min(k, sq_k_min(k, size, cut), x->hi);
}
// Whole tiles of keys that all rows see.
static void trim_sure(sq_kern *k, sq_krange *x) {
  enum { WHOLE = 8 };
  x->sure_lo =
      LLVMBuildAnd(k->b, add(k, x->sure_lo, sq_k_int(k, WHOLE - 1)), sq_k_int(k, -WHOLE), "");
  sq_lv all = LLVMBuildICmp(k->b, LLVMIntSGE, x->sure_hi, x->hi, "");
  x->sure_hi = LLVMBuildSelect(k->b, all, x->sure_hi,
                               LLVMBuildAnd(k->b, x->sure_hi, sq_k_int(k, -WHOLE), ""), "");
}
static void all_keys(sq_kattend *r) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  sq_kmark mark = sq_kmembers_enter(&r->m);
  sq_lv last = LLVMBuildSub(k->b, add(k, r->first, r->count), sq_k_int(k, 1), "");
  sq_krange range = sq_kstream_range(&r->m, r->first, last);
  if (s->tile) trim_sure(k, &range);
  sq_kmembers_leave(&r->m, mark);
  const lines of_keys = {&s->keys, &s->p.score, &r->m.score,         SQ_STREAM_WIDTH,
                         s->p.k,   r->width,    {r->kbuf, r->q_step}};
  const lines of_values = {&s->values, &s->p.value, &r->m.value,         SQ_STREAM_COLUMN,
                           r->m.v,     r->columns,  {r->vbuf, r->o_step}};
  sq_kloop keys;
  sq_kwhile_begin(k, &keys, 1, &range.lo);
  sq_kwhile_test(k, &keys, LLVMBuildICmp(k->b, LLVMIntSLT, keys.phi[0], range.hi, ""));
  sq_kblock b = {.key = keys.phi[0]};
  sq_lv end = block_end(r, &range, b.key);
  b.n = LLVMBuildSub(k->b, end, b.key, "");
  b.keys = block_lines(r, &of_keys, b.key, b.n);
  b.values = block_lines(r, &of_values, b.key, b.n);
  sq_lv below = LLVMBuildICmp(k->b, LLVMIntSGE, b.key, range.sure_lo, "");
  sq_lv above = LLVMBuildICmp(k->b, LLVMIntSLE, end, range.sure_hi, "");
  b.sure = LLVMBuildAnd(k->b, below, above, "");
  if (s->tile)
    sq_kstream_block_tile(r, &b);
  else
    sq_kstream_block_rows(r, &b);
  sq_kwhile_end(k, &keys, &end);
}

// ---- the end of a row --------------------------------------------------------------------------
static bool is_result(const sq_kattend *r, const sq_stream_member *m) {
  const sq_node *end = sq_block_end(r->s->p.node->region[0]);
  for (uint32_t i = 0; i < end->n_in; i++)
    if (end->in[i] == m->n->out[0]) return true;
  return false;
}
static void end_statistic(sq_kattend *r, const sq_stream_member *m, sq_knest *t,
                          const sq_kplace *to, sq_lv v) {
  t->acc = v;
  if (!t->g->n_red) v = sq_knest_uniform(t, t->g->body);
  if (t->g->post != SQ_NO_SCALAR) v = sq_knest_uniform(t, t->g->post);
  sq_kmembers_let(&r->m, m, v);
  if (is_result(r, m)) sq_knest_store(t, to, v, NULL);
}
static void end_row(sq_kattend *r, sq_lv row) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  sq_kmark mark = sq_kattend_open_row(r, row);
  if (has_max(r))
    end_statistic(r, &s->p.max, &r->m.max, &r->place[0],
                  sq_kattend_one(r, r->stats, sq_kattend_stat(r, row, SQ_KSTREAM_MAX)));
  for (uint32_t i = 0; i < s->p.n_sum; i++)
    end_statistic(r, &s->p.sum[i], &r->m.sum[i], &r->place[1 + i],
                  sq_kattend_one(r, r->stats, sq_kattend_stat(r, row, SQ_KSTREAM_SUM + i)));
  if (is_result(r, &s->p.value)) {
    sq_knest *t = &r->m.value;
    sq_kloop l;
    sq_kloop_begin(k, &l, sq_k_int(k, 0), r->columns, s->w, 0, NULL);
    sq_kmark inner = sq_kmembers_enter(&r->m);
    sq_lv mask = sq_kattend_lanes_below(r, LLVMBuildSub(k->b, r->columns, l.i, ""));
    sq_kmembers_lanes(&r->m, SQ_STREAM_COLUMN, s->w, mask);
    sq_kmembers_open(&r->m, SQ_STREAM_COLUMN, l.i);
    t->acc = sq_kattend_load(r, r->o, add(k, mul(k, row, r->o_step), l.i));
    sq_lv v = t->g->post == SQ_NO_SCALAR ? t->acc : sq_knest_value(t, t->g->post);
    sq_knest_store(t, &r->value, v, mask);
    sq_kmembers_leave(&r->m, inner);
    sq_kloop_end(k, &l, NULL);
    sq_kmembers_close(&r->m, SQ_STREAM_COLUMN);
    sq_kmembers_lanes(&r->m, SQ_STREAM_COLUMN, 1, NULL);
  }
  sq_kattend_close_row(r, mark);
}
static void end_rows(sq_kattend *r) {
  if (r->s->tile)
    sq_kstream_turn(r->k, r->s, r->ot, sq_k_int(r->k, r->s->set), r->o_step,
                    sq_k_int(r->k, r->s->set), r->o, r->o_step);
  sq_kloop l;
  sq_kloop_begin(r->k, &l, sq_k_int(r->k, 0), r->count, 1, 0, NULL);
  end_row(r, l.i);
  sq_kloop_end(r->k, &l, NULL);
}

// ---- the kernel --------------------------------------------------------------------------------
static sq_lv entry_dim(sq_kern *k, sq_dim d) {
  sq_lv v = sq_cg_dim(k->cg, d), zero = sq_k_int(k, 0);
  LLVMBuilderRef b = k->cg->builder;
  return LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSGT, v, zero, ""), v, zero, "");
}
// Sets along the lane row, in the entry.
static sq_lv entry_sets(const sq_kattend *r) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  if (s->lane == SQ_NO_AXIS) return sq_k_int(k, 1);
  sq_lv extent = entry_dim(k, s->p.row[s->lane]);
  LLVMBuilderRef b = k->cg->builder;
  if (!s->share) return sq_k_ceil_div(k, b, extent, sq_k_int(k, s->set));
  int64_t per_group = (s->share + s->set - 1) / s->set;
  sq_lv groups = LLVMBuildUDiv(b, extent, sq_k_int(k, s->share), "");
  return LLVMBuildMul(b, groups, sq_k_int(k, per_group), "");
}
// The rows of set number `set`.
static void find_rows(sq_kattend *r, sq_lv set) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  sq_lv size = sq_k_int(k, s->set);
  r->first = sq_k_int(k, 0);
  r->count = sq_k_int(k, 1);
  if (s->lane == SQ_NO_AXIS) return;
  if (!s->share) {
    // the last rows first: with causal domains they take the longest
    sq_lv rows = sq_kern_dim(k, s->p.row[s->lane]), one = sq_k_int(k, 1);
    sq_lv sets = LLVMBuildUDiv(k->b, add(k, rows, sq_k_int(k, s->set - 1)), size, "");
    r->first = mul(k, LLVMBuildSub(k->b, LLVMBuildSub(k->b, sets, one, ""), set, ""), size);
    sq_lv left = LLVMBuildSub(k->b, rows, r->first, "");
    r->count = sq_k_min(k, left, size);
    return;
  }
  int64_t per_group = (s->share + s->set - 1) / s->set;
  sq_lv n = sq_k_int(k, per_group), group = LLVMBuildUDiv(k->b, set, n, "");
  sq_lv within = mul(k, LLVMBuildURem(k->b, set, n, ""), size), share = sq_k_int(k, s->share);
  r->first = add(k, mul(k, group, share), within);
  r->count = sq_k_min(k, LLVMBuildSub(k->b, share, within, ""), size);
}
static void open_set(sq_kattend *r, sq_lv set) {
  sq_kern *k = r->k;
  find_rows(r, set);
  if (!r->s->tile) return;
  sq_lv lanes = sq_k_int(k, r->s->w);
  r->vectors = LLVMBuildUDiv(k->b, add(k, r->count, sq_k_int(k, r->s->w - 1)), lanes, "");
}
// Cycles of a set, all keys seen; without tiles a load a product, two a cycle.
static sq_lv entry_work(const sq_kattend *r) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  LLVMBuilderRef b = k->cg->builder;
  sq_lv width = LLVMBuildAdd(b, entry_dim(k, s->p.width), entry_dim(k, s->p.columns), "");
  sq_lv work = LLVMBuildMul(b, width, entry_dim(k, s->p.keys), "");
  work = LLVMBuildUDiv(b, work, sq_k_int(k, s->w), "");
  return LLVMBuildAdd(b, LLVMBuildMul(b, work, sq_k_int(k, s->set), ""), sq_k_int(k, 200), "");
}
static void find_places(sq_kattend *r) {
  const sq_stream *p = &r->s->p;
  if (is_result(r, &p->value)) r->value = sq_kplace_of(r->k, &r->m.group, p->value.n->out[0]);
  if (p->max.n && is_result(r, &p->max))
    r->place[0] = sq_kplace_of(r->k, &r->m.group, p->max.n->out[0]);
  for (uint32_t i = 0; i < p->n_sum; i++)
    if (is_result(r, &p->sum[i]))
      r->place[1 + i] = sq_kplace_of(r->k, &r->m.group, p->sum[i].n->out[0]);
}
void sq_kstream_attend(sq_cg *cg, const sq_kstream *s) {
  sq_kern kern, *k = &kern;
  sq_kattend r = {.s = s, .k = k};
  sq_kern_begin(k, cg, "attend");
  sq_kmembers_begin(&r.m, k, s);
  find_places(&r);
  find_memory(&r);
  r.width = sq_k_max(k, sq_kern_dim(k, s->p.width), sq_k_int(k, 0));
  r.columns = sq_k_max(k, sq_kern_dim(k, s->p.columns), sq_k_int(k, 0));
  r.q_step = sq_kern_dim(k, sq_kstream_padded(s, s->p.width));
  r.o_step = sq_kern_dim(k, sq_kstream_padded(s, s->p.columns));
  sq_kouter o = {0};
  uint32_t role[SQ_MAX_RANK];
  sq_lv units = entry_sets(&r);
  for (uint32_t i = 0; i < s->p.n_rows; i++) {
    if (i == s->lane) continue;
    role[o.n] = i;
    o.extent[o.n++] = sq_kern_dim(k, s->p.row[i]);
    units = LLVMBuildMul(cg->builder, units, entry_dim(k, s->p.row[i]), "");
  }
  uint32_t sets = o.n;
  o.extent[o.n++] = sq_kern_pass(k, entry_sets(&r));
  sq_ktasks tasks = sq_ktasks_make(k, units, entry_work(&r));
  sq_kouter_begin(k, &o, &tasks);
  sq_kmark mark = sq_kmembers_enter(&r.m);
  for (uint32_t i = 0; i < sets; i++) sq_kmembers_open(&r.m, role[i], o.index[i]);
  sq_kmembers_hoist(&r.m);
  open_set(&r, o.index[sets]);
  begin_rows(&r);
  all_keys(&r);
  end_rows(&r);
  sq_kmembers_leave(&r.m, mark);
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}
