// Elements written at given positions: update, state_write, param_write; and keyed reductions.
//
// Where every parallel axis has a position of its own, no two elements meet: any order, tasks,
// vectors. Else one task goes in index order, so that the last of repeated targets stays; an axis
// with a position of its own may still be the vector axis.
//
// A keyed reduction has accumulators for all elements of the result, in the result itself where
// they are the result, else in scratch: set to the monoid's neutral, brought along in index order,
// finished.
#include "codegen/cpu/kernel.h"

// Axes that are, times +-1, a position in which no other axis stands.
static uint32_t own_axes(const sq_knest *t, uint32_t n_axes) {
  const sq_generic *g = t->g;
  uint32_t all = (uint32_t)((1ull << n_axes) - 1), own = 0;
  if (!g->pos) return all;
  for (uint32_t i = 0; i < g->n_pos; i++) {
    uint32_t deps = t->deps[g->pos[i]] & all;
    if (!deps || (deps & (deps - 1))) continue;
    uint32_t axis = (uint32_t)__builtin_ctz(deps);
    int64_t c;
    if (sq_knest_linear(t, g->pos[i], axis, &c) && (c == 1 || c == -1)) own |= deps;
  }
  return own;
}
static void write_element(sq_knest *t, sq_lv v, void *user) {
  sq_lv where = t->mask;
  if (t->g->write_guard != SQ_NO_SCALAR)
    where = sq_k_and(t->k, where, sq_knest_value(t, t->g->write_guard));
  sq_knest_store(t, user, v, where);
}
void sq_kernel_update(sq_cg *cg, sq_node *n) {
  sq_kern kern, *k = &kern;
  sq_knest t;
  bool single = !n->g->n_par && !n->g->n_red;
  if (single)
    sq_kern_begin_here(k, cg);
  else
    sq_kern_begin(k, cg, sq_op_table[n->op].name);
  sq_knest_begin(&t, k, n, NULL);
  sq_kplace to = {0};
  if (n->op == SQ_OP_UPDATE) {
    to = sq_kplace_of(k, NULL, n->out[0]);
  } else {
    to.type = n->op == SQ_OP_STATE_WRITE ? k->g->state.v[n->ref].type : k->g->param.v[n->ref].type;
    to.base = sq_kern_pass(k, sq_cg_target(cg, n));
  }
  const sq_generic *g = n->g;
  if (n->op == SQ_OP_STATE_WRITE && !g->pos) {
    // Written whole it is as long as its axes here; in its type a growing extent is the old one.
    sq_dim *dim = SQ_ARRAY(k->a, sq_dim, g->n_par + 1);
    for (uint32_t a = 0; a < g->n_par; a++) dim[a] = g->axis[a].extent;
    to.type.dim = dim;
  }
  uint32_t own = own_axes(&t, g->n_par), all = (uint32_t)((1ull << g->n_par) - 1), apart = own;
  for (uint32_t a = 0; a < g->n_par; a++) {
    int64_t e;
    if (sq_dim_is_const(k->g->dims, g->axis[a].extent, &e) && e == 1) apart |= 1u << a;
  }
  // The targets of a write with a guard may be left out one by one, in lanes as well.
  sq_kernel_elements(k, &t, own | ~all, single || apart != all, write_element, &to);
}

// ---- keyed reductions --------------------------------------------------------------------------
static sq_dtype wide_type(sq_dtype t) { return t == SQ_F16 || t == SQ_BF16 ? SQ_F32 : t; }
typedef struct keyed {
  sq_kacc acc;
  bool in_place;
  sq_dtype type[SQ_K_PARTS];
} keyed;
static keyed keyed_of(const sq_node *n) {
  keyed y = {.acc = sq_kacc_of(n->g, true)};
  sq_dtype out = n->out[0]->type.dtype;
  bool arg = y.acc.m == SQ_ARGMAX || y.acc.m == SQ_ARGMIN;
  y.in_place =
      y.acc.parts == 1 && n->g->post == SQ_NO_SCALAR && y.acc.elem == out && wide_type(out) == out;
  y.type[0] = wide_type(y.acc.elem);
  y.type[1] = arg ? SQ_I32 : y.type[0];
  return y;
}
static sq_dim elements_of(sq_graph *g, const sq_type *t) {
  sq_dim n = sq_dim_const(g->dims, 1);
  for (uint32_t i = 0; i < t->rank; i++)
    n = sq_dim_mul(g->dims, n, sq_dim_storage(g->dims, t->dim[i]));
  return n;
}
sq_kernel_scratch sq_kernel_keyed_need(sq_graph *g, const sq_node *n) {
  keyed y = keyed_of(n);
  if (y.in_place) return (sq_kernel_scratch){0};
  sq_dim count = elements_of(g, &n->out[0]->type), all = sq_dim_const(g->dims, 128);
  for (uint32_t i = 0; i < y.acc.parts; i++) {
    sq_dim size = sq_dim_const(g->dims, sq_dtype_table[y.type[i]].bytes);
    all = sq_dim_add(g->dims, all, sq_dim_mul(g->dims, count, size));
  }
  return (sq_kernel_scratch){.shared = all};
}
// Where part i is, in the entry.
static sq_lv part_base(sq_cg *cg, const sq_node *n, const keyed *y, uint32_t i) {
  if (y->in_place) return sq_cg_pointer(cg, n->out[0]);
  sq_lv base = sq_cg_shared(cg);
  if (i == 0) return base;
  sq_dims *ds = cg->graph->dims;
  sq_dim size = sq_dim_mul(ds, elements_of(cg->graph, &n->out[0]->type),
                           sq_dim_const(ds, sq_dtype_table[y->type[0]].bytes));
  size = sq_dim_mul(
      ds, sq_dim_floordiv(ds, sq_dim_add(ds, size, sq_dim_const(ds, 63)), sq_dim_const(ds, 64)),
      sq_dim_const(ds, 64));
  sq_lv at = sq_cg_dim(cg, size);
  return LLVMBuildGEP2(cg->builder, LLVMInt8TypeInContext(cg->ctx), base, &at, 1, "");
}
// For every element of the result that is there, in chunks as tasks: its number, and lanes in a row. What
// lies behind the extents stays as it is.
typedef struct flat {
  sq_kouter outer;
  sq_ktasks tasks;
  sq_kloop loop;
} flat;
static void flat_begin(sq_kern *k, flat *f, const sq_node *n, int64_t step, int64_t cycles) {
  enum { CHUNK = 4096 };
  sq_dim count = sq_k_elements(k->g->dims, &n->out[0]->type);
  sq_lv total = sq_cg_dim(k->cg, count), chunk = sq_k_int(k, CHUNK);
  sq_lv units = sq_k_ceil_div(k, k->cg->builder, total, chunk);
  f->tasks = sq_ktasks_make(k, units, sq_k_int(k, CHUNK * cycles / step));
  f->outer = (sq_kouter){.n = 1, .extent = {f->tasks.units}};
  sq_kouter_begin(k, &f->outer, &f->tasks);
  sq_lv lo = LLVMBuildMul(k->b, f->outer.index[0], chunk, "");
  sq_lv hi = sq_k_min(k, LLVMBuildAdd(k->b, lo, chunk, ""), sq_kern_dim(k, count));
  sq_kloop_begin(k, &f->loop, lo, hi, step, 0, NULL);
}
static void flat_end(sq_kern *k, flat *f) {
  sq_kloop_end(k, &f->loop, NULL);
  sq_kouter_end(k, &f->outer);
  sq_kern_launch(k, f->tasks.n_tasks);
}
// The neutral elements one by one, each in its place.
static void emit_neutral_apart(sq_cg *cg, const sq_node *n, const keyed *y) {
  sq_kern kern, *k = &kern;
  flat f;
  sq_kern_begin(k, cg, "keyed.neutral");
  flat_begin(k, &f, n, 1, 4);
  sq_lv part[SQ_K_PARTS], place = sq_k_place(k, &n->out[0]->type, f.loop.i);
  sq_kacc_init(k, &y->acc, 1, part);
  for (uint32_t i = 0; i < y->acc.parts; i++) {
    sq_lv base = sq_kern_pass(k, part_base(cg, n, y, i));
    sq_k_store(k, y->type[i], sq_k_offset(k, base, place, y->type[i]), part[i]);
  }
  flat_end(k, &f);
}
static void emit_neutral(sq_cg *cg, const sq_node *n, const keyed *y) {
  sq_kern kern, *k = &kern;
  flat f;
  enum { W = 8 };
  if (!sq_k_numbered_by_place(cg->graph->dims, &n->out[0]->type)) {
    emit_neutral_apart(cg, n, y);
    return;
  }
  sq_kern_begin(k, cg, "keyed.neutral");
  flat_begin(k, &f, n, W, 2);
  sq_lv part[SQ_K_PARTS];
  sq_lv total = sq_kern_dim(k, sq_k_elements(k->g->dims, &n->out[0]->type));
  sq_kacc_init(k, &y->acc, W, part);
  sq_lv left = LLVMBuildSub(k->b, total, f.loop.i, "");
  sq_lv mask =
      LLVMBuildICmp(k->b, LLVMIntSLT, sq_k_lane_index(k, W, k->i64), sq_k_splat(k, left, W), "");
  sq_kif whole;
  sq_kif_begin(k, &whole, LLVMBuildICmp(k->b, LLVMIntSGE, left, sq_k_int(k, W), ""));
  for (int turn = 0; turn < 2; turn++) {
    for (uint32_t i = 0; i < y->acc.parts; i++) {
      sq_lv base = sq_kern_pass(k, part_base(cg, n, y, i));
      sq_lv at = sq_k_offset(k, base, f.loop.i, y->type[i]);
      sq_k_store_row(k, y->type[i], at, part[i], turn ? mask : NULL);
    }
    if (!turn) sq_kif_else(k, &whole);
  }
  sq_kif_end(k, &whole, 0, NULL, NULL, NULL);
  flat_end(k, &f);
}
static void emit_finish(sq_cg *cg, sq_node *n, const keyed *y) {
  sq_kern kern, *k = &kern;
  flat f;
  sq_knest t;
  sq_kern_begin(k, cg, "keyed.finish");
  sq_knest_begin(&t, k, n, NULL);
  flat_begin(k, &f, n, 1, 10);
  sq_lv part[SQ_K_PARTS], place = f.loop.i;
  if (!sq_k_numbered_by_place(k->g->dims, &n->out[0]->type))
    place = sq_k_place(k, &n->out[0]->type, place);
  for (uint32_t i = 0; i < y->acc.parts; i++) {
    sq_lv base = sq_kern_pass(k, part_base(cg, n, y, i));
    part[i] = sq_k_load(k, y->type[i], sq_k_offset(k, base, place, y->type[i]));
  }
  uint32_t mark = sq_knest_enter(&t);
  t.acc = sq_kacc_result(k, &y->acc, part, NULL);
  sq_lv v = n->g->post != SQ_NO_SCALAR ? sq_knest_uniform(&t, n->g->post) : t.acc;
  sq_dtype d = n->out[0]->type.dtype;
  sq_k_store(k, d, sq_k_offset(k, sq_kern_pointer(k, n->out[0]), place, d), v);
  sq_knest_leave(&t, mark);
  flat_end(k, &f);
}

typedef struct scatter {
  sq_knest *t;
  const keyed *y;
  sq_kplace part[SQ_K_PARTS];
} scatter;
static sq_lv flat_index(sq_knest *t) {
  sq_kern *k = t->k;
  sq_lv v = sq_k_int(k, 0);
  for (uint32_t a = 0; a < t->n_axes; a++)
    v = LLVMBuildAdd(k->b, LLVMBuildMul(k->b, v, sq_knest_extent(t, a), ""), t->idx[a], "");
  sq_lv lanes = LLVMBuildTrunc(k->b, v, k->i32, "");
  if (t->w == 1) return lanes;
  sq_lv stride = sq_k_int(k, 1);
  for (uint32_t a = t->va + 1; a < t->n_axes; a++)
    stride = LLVMBuildMul(k->b, stride, sq_knest_extent(t, a), "");
  stride = sq_k_splat(k, LLVMBuildTrunc(k->b, stride, k->i32, ""), t->w);
  sq_lv step = LLVMBuildMul(k->b, sq_k_lane_index(k, t->w, k->i32), stride, "");
  return LLVMBuildAdd(k->b, sq_k_splat(k, lanes, t->w), step, "");
}
static void bring_element(scatter *s) {
  sq_knest *t = s->t;
  sq_kern *k = t->k;
  const sq_generic *g = t->g;
  sq_knest_hoist(t);
  sq_lv when = NULL, outer = t->mask;
  uint32_t mark = sq_knest_enter(t);
  for (uint32_t i = 0; i < g->domain.n; i++) {
    sq_lv d = sq_knest_value(t, g->domain.v[i]);
    if (sq_k_is_vec(d))
      t->mask = sq_k_and(k, t->mask, d);
    else
      when = sq_k_and(k, when, d);
  }
  sq_kif domain, place;
  if (when) sq_kif_begin(k, &domain, when);
  uint32_t scope = sq_knest_enter(t);
  sq_ktarget to = sq_knest_target(t, &s->part[0]);
  sq_lv where = t->mask;
  sq_lv reach = to.inside;
  if (reach && sq_k_is_vec(reach)) {
    where = sq_k_and(k, where, reach);
    reach = NULL;
  }
  if (reach) sq_kif_begin(k, &place, reach);
  uint32_t within = sq_knest_enter(t);
  sq_lv saved = t->mask, part[SQ_K_PARTS], x;
  t->mask = where;
  x = sq_knest_value(t, g->body);
  for (uint32_t i = 0; i < s->y->acc.parts; i++) {
    sq_lv at = sq_k_offset(k, s->part[i].base, to.first, s->y->type[i]);
    part[i] = t->w > 1 ? sq_k_load_row(k, s->y->type[i], at, t->w, where)
                       : sq_k_load(k, s->y->type[i], at);
  }
  sq_kacc_step(k, &s->y->acc, part, x, flat_index(t), where, t->tail);
  for (uint32_t i = 0; i < s->y->acc.parts; i++) {
    sq_lv at = sq_k_offset(k, s->part[i].base, to.first, s->y->type[i]);
    if (t->w > 1)
      sq_k_store_row(k, s->y->type[i], at, part[i], where);
    else
      sq_k_store(k, s->y->type[i], at, part[i]);
  }
  t->mask = saved;
  sq_knest_leave(t, within);
  if (reach) sq_kif_end(k, &place, 0, NULL, NULL, NULL);
  sq_knest_leave(t, scope);
  if (when) sq_kif_end(k, &domain, 0, NULL, NULL, NULL);
  t->mask = outer;
  sq_knest_leave(t, mark);
}
static void bring_axis(scatter *s, uint32_t axis, sq_lv lo, sq_lv hi) {
  sq_knest *t = s->t;
  sq_kern *k = t->k;
  if (axis == t->va) axis++;
  sq_kloop l;
  uint32_t mark;
  if (axis < t->n_axes) {
    sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_knest_extent(t, axis), 1, 0, NULL);
    mark = sq_knest_enter(t);
    sq_knest_open(t, axis, l.i);
    sq_knest_hoist(t);
    bring_axis(s, axis + 1, lo, hi);
    sq_knest_leave(t, mark);
    sq_kloop_end(k, &l, NULL);
    t->open &= ~(1u << axis);
    return;
  }
  if (t->w == 1) {
    bring_element(s);
    return;
  }
  sq_lv last = LLVMBuildSub(k->b, hi, sq_k_int(k, t->w - 1), "");
  sq_kloop_begin(k, &l, lo, last, t->w, 0, NULL);
  mark = sq_knest_enter(t);
  sq_knest_open(t, t->va, l.i);
  bring_element(s);
  sq_knest_leave(t, mark);
  sq_kloop_end(k, &l, NULL);
  sq_kif rest;
  sq_kif_begin(k, &rest, LLVMBuildICmp(k->b, LLVMIntSLT, l.i, hi, ""));
  mark = sq_knest_enter(t);
  sq_knest_open(t, t->va, l.i);
  sq_lv left = LLVMBuildSub(k->b, hi, l.i, "");
  t->mask = LLVMBuildICmp(k->b, LLVMIntSLT, sq_k_lane_index(k, t->w, k->i64),
                          sq_k_splat(k, left, t->w), "");
  bring_element(s);
  t->mask = NULL;
  sq_knest_leave(t, mark);
  sq_kif_end(k, &rest, 0, NULL, NULL, NULL);
  t->open &= ~(1u << t->va);
}
// The axis that is the last position by itself, {NO_AXIS}: none.
static uint32_t row_axis(const sq_knest *t, const sq_type *type) {
  const sq_generic *g = t->g;
  if (!g->n_pos) return SQ_K_NO_AXIS;
  uint32_t s = g->pos[g->n_pos - 1], deps = t->deps[s];
  int64_t c;
  if (!deps || (deps & (deps - 1)) || g->n_pos != type->rank) return SQ_K_NO_AXIS;
  uint32_t axis = (uint32_t)__builtin_ctz(deps);
  if (!sq_knest_linear(t, s, axis, &c) || c != 1) return SQ_K_NO_AXIS;
  for (uint32_t i = 0; i + 1 < g->n_pos; i++)
    if (t->deps[g->pos[i]] & deps) return SQ_K_NO_AXIS;
  if (sq_dim_is_const(t->k->g->dims, g->axis[axis].extent, &c) && c < 4) return SQ_K_NO_AXIS;
  return axis;
}
void sq_kernel_keyed(sq_cg *cg, sq_node *n) {
  keyed y = keyed_of(n);
  emit_neutral(cg, n, &y);
  sq_kern kern, *k = &kern;
  sq_knest t;
  sq_kern_begin(k, cg, "keyed");
  sq_knest_begin(&t, k, n, NULL);
  scatter s = {.t = &t, .y = &y};
  for (uint32_t i = 0; i < y.acc.parts; i++) {
    s.part[i].base = sq_kern_pass(k, part_base(cg, n, &y, i));
    s.part[i].type = n->out[0]->type;
    s.part[i].type.dtype = y.type[i];
  }
  t.va = row_axis(&t, &n->out[0]->type);
  if (t.va == SQ_K_NO_AXIS) {
    bring_axis(&s, 0, NULL, NULL);
    sq_kern_launch(k, sq_k_int(k, 1));
  } else {
    t.w = cg->target->machine.vector_bytes / (y.type[0] == SQ_F64 || y.type[0] == SQ_I64 ? 8 : 4);
    enum { CHUNK = 64 };
    sq_lv work = sq_k_int(k, 3 * CHUNK / t.w);
    for (uint32_t a = 0; a < t.n_axes; a++)
      if (a != t.va)
        work = LLVMBuildMul(cg->builder, work, sq_cg_dim(cg, n->g->axis[a].extent), "");
    sq_lv chunk = sq_k_int(k, CHUNK), extent = sq_cg_dim(cg, n->g->axis[t.va].extent);
    sq_lv units = sq_k_ceil_div(k, cg->builder, extent, chunk);
    sq_ktasks tasks = sq_ktasks_make(k, units, work);
    // A task takes all of its row at once: the keys are looked up once a task.
    sq_lv lo = LLVMBuildMul(k->b, LLVMBuildMul(k->b, k->task, tasks.per_task, ""), chunk, "");
    sq_lv hi = LLVMBuildAdd(k->b, lo, LLVMBuildMul(k->b, tasks.per_task, chunk, ""), "");
    bring_axis(&s, 0, lo, sq_k_min(k, hi, sq_knest_extent(&t, t.va)));
    sq_kern_launch(k, tasks.n_tasks);
  }
  if (!y.in_place) emit_finish(cg, n, &y);
}
