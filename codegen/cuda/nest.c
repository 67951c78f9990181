// Loop nests as kernels.
//
//   without reduction: a thread an element       [n < N, c < 8] -> t < N * 8, n = t / 8, c = t % 8
//   with one:          a thread, a warp or a block an element, whichever suits its reads; the lanes
//                      take the reduced indices in turn and meet in a tree, the same on every device
#include "codegen/cpu/driver.h"
#include "codegen/cuda/cuda.h"
#include "codegen/cuda/gemm.h"

enum { THREADS = 128, WARP = 32 };

const char *sq_cu_acc(sq_cu *k, const sq_generic *g) {
  const char *name = sq_monoid_names[g->monoid];
  return sq_arena_fmt(k->a, "sq_acc_%s<%s>", name, sq_cu_type(g->s.v[g->body].dtype));
}

// ---- which team --------------------------------------------------------------------------------
// The distance in elements between what a read finds at neighbouring indices of the axis: 0, 1, or 2
// for more than one or unknown.
static int step_of(sq_cu_nest *t, const sq_scalar *x, uint32_t axis) {
  int step = 0;
  const sq_type *type = &t->n->in[x->operand]->type;
  for (uint32_t i = 0; i < x->n_pos; i++) {
    sq_affine a = sq_scalar_affine(t->k->g, t->g, x->pos[i]);
    if (!a.ok) return 2;
    if (!a.coef[axis]) continue;
    bool last = i + 1 == x->n_pos && i + 1 == type->rank;
    step = last && step == 0 && (a.coef[axis] == 1 || a.coef[axis] == -1) ? 1 : 2;
  }
  return step;
}
// Lanes along the reduced indices are good where reads run along them in memory, and bad where they
// run along the parallel indices instead.
sq_cu_team sq_cu_choose_team(sq_cu_nest *t) {
  const sq_generic *g = t->g;
  int64_t n = 1, e;
  bool known = true;
  for (uint32_t a = g->n_par; a < t->n_axes; a++)
    if (sq_dim_is_const(t->k->g->dims, g->axis[a].extent, &e))
      n *= e > 0 && e < 1 << 20 ? e : 1;
    else
      known = false;
  if (known && n < WARP) return SQ_CU_THREAD;
  int along = 0, across = 0;
  for (uint32_t s = 0; s < g->s.n; s++) {
    if (g->s.v[s].kind != SQ_SC_READ) continue;
    along += step_of(t, &g->s.v[s], t->n_axes - 1) == 1;
    across += g->n_par && step_of(t, &g->s.v[s], g->n_par - 1) == 1;
  }
  if (across > along) return SQ_CU_THREAD;
  int64_t outputs = 1;
  for (uint32_t a = 0; a < g->n_par; a++)
    outputs *= sq_dim_is_const(t->k->g->dims, g->axis[a].extent, &e) && e < 1 << 20 ? e : 1 << 10;
  return outputs < 128 ? SQ_CU_BLOCK : SQ_CU_WARP;
}

// ---- reductions --------------------------------------------------------------------------------
static bool wants_index(const sq_generic *g) {
  return g->monoid == SQ_ARGMAX || g->monoid == SQ_ARGMIN;
}
static void step(sq_cu_nest *t, const char *acc, const char *flat) {
  uint32_t mark = sq_cu_nest_enter(t), opened = sq_cu_nest_domain(t);
  sq_cu_line(t->k, "%s.step(%s, %s);", acc, sq_cu_nest_value(t, t->g->body), flat);
  while (opened--) sq_cu_close(t->k);
  sq_cu_nest_leave(t, mark);
}
static void loop_alone(sq_cu_nest *t, const char *acc) {
  sq_cu *k = t->k;
  sq_text flat = {.arena = k->a};
  sq_text_add(&flat, "0");
  for (uint32_t a = t->g->n_par; a < t->n_axes; a++) {
    const char *i = t->index[a], *n = sq_cu_dim(k, t->g->axis[a].extent);
    sq_cu_open(k, "for (sq_i64 %s = 0; %s < %s; %s++) {", i, i, n, i);
    if (wants_index(t->g))
      flat = (sq_text){.arena = k->a,
                       .v = (char *)(uintptr_t)sq_arena_fmt(k->a, "(%s * %s + %s)", flat.v, n, i)};
  }
  step(t, acc, flat.v);
  for (uint32_t a = t->g->n_par; a < t->n_axes; a++) sq_cu_close(k);
}
static void loop_shared(sq_cu_nest *t, const char *acc, const char *lane, const char *lanes) {
  sq_cu *k = t->k;
  uint32_t axis[SQ_CU_AXES], n = 0;
  LLVMValueRef count = sq_cg_i64(k->cg, 1);
  sq_generic inner = *t->g;
  inner.axis = t->g->axis + t->g->n_par;
  count = sq_cu_units(k, &inner, t->g->n_red);
  for (uint32_t a = t->g->n_par; a < t->n_axes; a++) axis[n++] = a;
  const char *f = sq_cu_temp(k, "f");
  sq_cu_open(k, "for (sq_i64 %s = %s; %s < %s; %s += %s) {", f, lane, f, sq_cu_number(k, count), f,
             lanes);
  sq_cu_nest_unflatten(t, axis, n, f);
  step(t, acc, f);
  sq_cu_close(k);
}
void sq_cu_reduce(sq_cu_nest *t, sq_cu_team team) {
  sq_cu *k = t->k;
  const char *acc = sq_cu_temp(k, "acc"), *type = sq_cu_acc(k, t->g);
  sq_cu_line(k, "%s %s;", type, acc);
  sq_cu_line(k, "%s.begin();", acc);
  if (team == SQ_CU_THREAD)
    loop_alone(t, acc);
  else if (team == SQ_CU_WARP)
    loop_shared(t, acc, "SQ_TID % 32", "32");
  else
    loop_shared(t, acc, "SQ_TID", "SQ_THREADS");
  if (team == SQ_CU_WARP) sq_cu_line(k, "%s = sq_warp_reduce(SQ_ME %s);", acc, acc);
  if (team == SQ_CU_BLOCK) {
    const char *room = sq_cu_temp(k, "room");
    sq_cu_line(k, "SQ_SHARED(%s, %s, %u);", type, room, k->threads / WARP);
    sq_cu_line(k, "%s = sq_block_reduce(SQ_ME %s, %s);", acc, acc, room);
  }
  if (team != SQ_CU_THREAD) k->syncs = true;
  const char *result = sq_cu_temp(k, "v");
  sq_dtype d = sq_monoid_result(t->g->monoid, t->g->s.v[t->g->body].dtype);
  sq_cu_line(k, "const %s %s = %s.result();", sq_cu_type(d), result, acc);
  t->acc = result;
}

// ---- a generic ---------------------------------------------------------------------------------
static const char *flat_loop(sq_cu *k, sq_cu_team team, const char *count) {
  const char *t = sq_cu_temp(k, "t");
  static const char *const from[] = {"SQ_BLOCK * SQ_THREADS + SQ_TID",
                                     "(SQ_BLOCK * SQ_THREADS + SQ_TID) / 32", "SQ_BLOCK"};
  static const char *const by[] = {"SQ_GRID * SQ_THREADS", "SQ_GRID * SQ_THREADS / 32", "SQ_GRID"};
  sq_cu_open(k, "for (sq_i64 %s = %s; %s < %s; %s += %s) {", t, from[team], t, count, t, by[team]);
  return t;
}
void sq_cuda_generic(sq_cg *cg, sq_node *n) {
  if (n->g->keyed) {
    sq_cuda_keyed(cg, n);
    return;
  }
  LLVMValueRef few = NULL;
  sq_cu_tiled tiled = sq_cuda_gemm(cg, n, &few);
  if (tiled == SQ_CU_TILED) return;
  sq_cu kern, *k = &kern;
  sq_cu_nest t;
  uint32_t axis[SQ_CU_AXES];
  sq_cu_begin(k, cg, n->g->n_red ? sq_monoid_names[n->g->monoid] : "generic", n->out[0], THREADS);
  sq_cu_nest_begin(&t, k, n, NULL);
  sq_cu_team team = n->g->n_red ? sq_cu_choose_team(&t) : SQ_CU_THREAD;
  sq_cu_place to = sq_cu_place_of(k, NULL, n->out[0]);
  LLVMValueRef units = sq_cu_units(k, n->g, n->g->n_par);
  if (few) units = LLVMBuildSelect(cg->builder, few, units, sq_cg_i64(cg, 0), "");
  const char *flat = flat_loop(k, team, sq_cu_number(k, units));
  for (uint32_t a = 0; a < n->g->n_par; a++) axis[a] = a;
  sq_cu_nest_unflatten(&t, axis, n->g->n_par, flat);
  if (n->g->n_red) sq_cu_reduce(&t, team);
  if (team == SQ_CU_WARP) sq_cu_open(k, "if (SQ_TID %% 32 == 0) {");
  if (team == SQ_CU_BLOCK) sq_cu_open(k, "if (SQ_TID == 0) {");
  uint32_t s = n->g->post != SQ_NO_SCALAR ? n->g->post : n->g->body;
  const char *v = n->g->n_red && n->g->post == SQ_NO_SCALAR ? t.acc : sq_cu_nest_value(&t, s);
  sq_cu_nest_store(&t, &to, v);
  if (team != SQ_CU_THREAD) sq_cu_close(k);
  sq_cu_close(k);
  static const int64_t per_block[] = {THREADS, THREADS / WARP, 1};
  sq_cu_launch(k, units, per_block[team], 0);
}

// ---- groups ------------------------------------------------------------------------------------
// A block a row: the members run one after another, each over its inner axes; what they make lies in
// the block's part of the scratch memory, and is there for all behind a barrier.
static void member_elements(sq_cu_nest *t, const sq_cu_place *to, uint32_t n_outer) {
  sq_cu *k = t->k;
  const sq_generic *g = t->g;
  uint32_t axis[SQ_CU_AXES], n = 0;
  for (uint32_t a = n_outer; a < g->n_par; a++) axis[n++] = a;
  sq_cu_team team = g->n_red ? sq_cu_choose_team(t) : SQ_CU_THREAD;
  if (n == 0 && g->n_red) team = SQ_CU_BLOCK;
  if (n && team == SQ_CU_BLOCK) team = SQ_CU_WARP;
  sq_generic inner = *g;
  inner.axis = g->axis + n_outer;
  const char *flat = sq_cu_temp(k, "t"), *count = sq_cu_number(k, sq_cu_units(k, &inner, n));
  if (team == SQ_CU_BLOCK)
    sq_cu_open(k, "{");
  else if (team == SQ_CU_WARP)
    sq_cu_open(k, "for (sq_i64 %s = SQ_TID / 32; %s < %s; %s += SQ_THREADS / 32) {", flat, flat,
               count, flat);
  else
    sq_cu_open(k, "for (sq_i64 %s = SQ_TID; %s < %s; %s += SQ_THREADS) {", flat, flat, count, flat);
  uint32_t mark = sq_cu_nest_enter(t);
  sq_cu_nest_unflatten(t, axis, n, flat);
  if (g->n_red) sq_cu_reduce(t, team);
  if (team == SQ_CU_WARP) sq_cu_open(k, "if (SQ_TID %% 32 == 0) {");
  if (team == SQ_CU_BLOCK) sq_cu_open(k, "if (SQ_TID == 0) {");
  uint32_t s = g->post != SQ_NO_SCALAR ? g->post : g->body;
  const char *v = g->n_red && g->post == SQ_NO_SCALAR ? t->acc : sq_cu_nest_value(t, s);
  sq_cu_nest_store(t, to, v);
  if (team != SQ_CU_THREAD) sq_cu_close(k);
  sq_cu_nest_leave(t, mark);
  sq_cu_close(k);
}
void sq_cuda_group(sq_cg *cg, sq_node *n) {
  sq_cu kern, *k = &kern;
  sq_block *body = n->region[0];
  sq_node *first = body->nodes.n ? body->nodes.v[0] : NULL;
  if (!first || first->op != SQ_OP_GENERIC) return;
  sq_cu_begin(k, cg, "group", n->n_out ? n->out[0] : NULL, THREADS);
  k->syncs = true;
  LLVMValueRef units = sq_cu_units(k, first->g, n->n_outer);
  const char *flat = flat_loop(k, SQ_CU_BLOCK, sq_cu_number(k, units));
  sq_cu_nest outer;
  uint32_t axis[SQ_CU_AXES];
  sq_cu_nest_begin(&outer, k, first, n);
  for (uint32_t a = 0; a < n->n_outer; a++) axis[a] = a;
  sq_cu_nest_unflatten(&outer, axis, n->n_outer, flat);
  for (uint32_t i = 0; i < body->nodes.n; i++) {
    sq_node *x = body->nodes.v[i];
    sq_cu_nest t;
    if (x->op != SQ_OP_GENERIC) continue;
    sq_cu_nest_begin(&t, k, x, n);
    for (uint32_t a = 0; a < n->n_outer; a++) t.index[a] = outer.index[a];
    sq_cu_place to = sq_cu_place_of(k, n, x->out[0]);
    member_elements(&t, &to, n->n_outer);
    sq_cu_line(k, "SQ_SYNC();");
  }
  sq_cu_close(k);
  sq_cu_launch(k, units, 1, SQ_CUDA_BLOCKS);
}
