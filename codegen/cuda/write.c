// Elements written at given positions: update, state_write, param_write; and keyed reductions.
//
// Axes that have a position of their own are taken side by side, since no two elements that differ there
// meet; a thread takes the others in index order, so that the last of repeated targets stays and a sum
// has one order.
//
//   at [%ids[n], c]     ->   a thread for each c:  for (n = 0; n < N; n++) { target[ids[n], c] = ... }
//
// A keyed reduction: accumulators for all elements of the result are set, brought along, finished.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/cuda.h"

enum { THREADS = 128 };

// Opens the loops over the first n_axes axes: side by side those of `own`; returns the units.
static LLVMValueRef open_loops(sq_cu_nest *t, uint32_t n_axes, uint32_t own, uint32_t *opened) {
  sq_cu *k = t->k;
  uint32_t axis[SQ_CU_AXES], n = 0;
  sq_axis extent[SQ_CU_AXES];
  for (uint32_t a = 0; a < n_axes; a++)
    if (own >> a & 1) {
      extent[n] = t->g->axis[a];
      axis[n++] = a;
    }
  sq_generic side = *t->g;
  side.axis = extent;
  LLVMValueRef units = sq_cu_units(k, &side, n);
  sq_cu_open(k,
             "for (sq_i64 t = SQ_BLOCK * SQ_THREADS + SQ_TID; t < %s; t += SQ_GRID * SQ_THREADS) {",
             sq_cu_number(k, units));
  *opened = 1;
  sq_cu_nest_unflatten(t, axis, n, "t");
  for (uint32_t a = 0; a < n_axes; a++) {
    if (own >> a & 1) continue;
    const char *i = t->index[a];
    sq_cu_open(k, "for (sq_i64 %s = 0; %s < %s; %s++) {", i, i, sq_cu_dim(k, t->g->axis[a].extent),
               i);
    ++*opened;
  }
  return units;
}

// ---- writes ------------------------------------------------------------------------------------
static sq_cu_place target_of(sq_cu *k, sq_node *n) {
  sq_cg *cg = k->cg;
  if (n->op == SQ_OP_UPDATE) return sq_cu_place_of(k, NULL, n->out[0]);
  bool state = n->op == SQ_OP_STATE_WRITE;
  sq_cu_place to = {.type = state ? k->g->state.v[n->ref].type : k->g->param.v[n->ref].type};
  if (state && !n->g->pos) {
    // Written whole it is as long as its axes here; in its type a growing extent is the old one.
    sq_dim *dim = SQ_ARRAY(k->a, sq_dim, n->g->n_par + 1);
    for (uint32_t a = 0; a < n->g->n_par; a++) dim[a] = n->g->axis[a].extent;
    to.type.dim = dim;
  }
  const sq_value sized = {.type = to.type};
  to.base =
      sq_cu_memory(k, sq_cg_target(cg, n), sq_cg_bytes(cg, &sized), sq_cu_mem_type(to.type.dtype));
  return to;
}
// A guard decides what is written. Reads that are tested fail whether it holds or not.
static bool tests(const sq_generic *g) {
  for (uint32_t i = 0; i < g->s.n; i++)
    if (g->s.v[i].kind == SQ_SC_READ && g->s.v[i].site != SQ_NO_SITE) return true;
  return false;
}
static void open_guard(sq_cu_nest *t, uint32_t *opened) {
  sq_cu_open(t->k, "if (%s) {", sq_cu_nest_value(t, t->g->write_guard));
  ++*opened;
}
void sq_cuda_write(sq_cg *cg, sq_node *n) {
  sq_cu kern, *k = &kern;
  sq_cu_nest t;
  const sq_generic *g = n->g;
  sq_cu_begin(k, cg, sq_op_table[n->op].name, n->n_out ? n->out[0] : NULL, THREADS);
  sq_cu_nest_begin(&t, k, n, NULL);
  sq_cu_place to = target_of(k, n);
  // What outlives the call is not written once a test has failed.
  if (n->op != SQ_OP_UPDATE) sq_cu_line(k, "if (SQ_FAILED(a.err)) return;");
  uint32_t opened = 0;
  LLVMValueRef units = open_loops(&t, g->n_par, sq_cu_own_axes(k->g, g, g->n_par), &opened);
  bool guarded = g->write_guard != SQ_NO_SCALAR, first = guarded && !tests(g);
  if (first) open_guard(&t, &opened);
  if (g->n_red) sq_cu_reduce(&t, SQ_CU_THREAD);
  uint32_t s = g->post != SQ_NO_SCALAR ? g->post : g->body;
  const char *v = g->n_red && g->post == SQ_NO_SCALAR ? t.acc : sq_cu_nest_value(&t, s);
  for (uint32_t i = 0; g->pos && i < g->n_pos; i++) sq_cu_nest_value(&t, g->pos[i]);
  if (guarded && !first) open_guard(&t, &opened);
  sq_cu_nest_store(&t, &to, v);
  while (opened--) sq_cu_close(k);
  sq_cu_launch(k, units, THREADS, 0);
}

// ---- keyed reductions --------------------------------------------------------------------------
static LLVMValueRef elements_of(sq_cu *k, const sq_type *t) {
  sq_dims *ds = k->g->dims;
  sq_dim n = sq_dim_const(ds, 1);
  for (uint32_t i = 0; i < t->rank; i++) n = sq_dim_mul(ds, n, sq_dim_storage(ds, t->dim[i]));
  return sq_cg_dim(k->cg, n);
}
static const char *accumulators(sq_cu *k, const sq_node *n, LLVMValueRef count) {
  LLVMValueRef bytes = sq_cu_mul(k, count, sq_cg_i64(k->cg, 16));
  return sq_cu_memory(k, sq_cg_shared(k->cg), bytes, sq_cu_acc(k, n->g));
}
static void open_elements(sq_cu *k, LLVMValueRef count) {
  sq_cu_open(k,
             "for (sq_i64 t = SQ_BLOCK * SQ_THREADS + SQ_TID; t < %s; t += SQ_GRID * SQ_THREADS) {",
             sq_cu_number(k, count));
}
static void emit_neutral(sq_cg *cg, sq_node *n) {
  sq_cu kern, *k = &kern;
  sq_cu_begin(k, cg, "keyed_begin", n->out[0], THREADS);
  LLVMValueRef count = elements_of(k, &n->out[0]->type);
  const char *all = accumulators(k, n, count);
  open_elements(k, count);
  sq_cu_line(k, "%s acc;", sq_cu_acc(k, n->g));
  sq_cu_line(k, "acc.begin();");
  sq_cu_line(k, "SQ_ST(%s, t, acc);", all);
  sq_cu_close(k);
  sq_cu_launch(k, count, THREADS, 0);
}
static void emit_bring(sq_cg *cg, sq_node *n) {
  sq_cu kern, *k = &kern;
  sq_cu_nest t;
  sq_cu_begin(k, cg, "keyed", n->out[0], THREADS);
  sq_cu_nest_begin(&t, k, n, NULL);
  sq_cu_place to = {.type = n->out[0]->type};
  to.base = accumulators(k, n, elements_of(k, &to.type));
  uint32_t opened = 0, own = sq_cu_own_axes(k->g, n->g, t.n_axes);
  LLVMValueRef units = open_loops(&t, t.n_axes, own, &opened);
  opened += sq_cu_nest_domain(&t);
  const char *flat, *index = "0";
  opened += sq_cu_nest_target(&t, &to, &flat);
  for (uint32_t a = 0; a < t.n_axes; a++)
    index =
        sq_arena_fmt(k->a, "(%s * %s + %s)", index, sq_cu_dim(k, n->g->axis[a].extent), t.index[a]);
  const char *v = sq_cu_nest_value(&t, n->g->body);
  sq_cu_line(k, "const sq_i64 at = %s;", flat);
  sq_cu_line(k, "%s acc = SQ_LD(%s, at);", sq_cu_acc(k, n->g), to.base);
  sq_cu_line(k, "acc.step(%s, %s);", v, index);
  sq_cu_line(k, "SQ_ST(%s, at, acc);", to.base);
  while (opened--) sq_cu_close(k);
  sq_cu_launch(k, units, THREADS, 0);
}
static void emit_finish(sq_cg *cg, sq_node *n) {
  sq_cu kern, *k = &kern;
  sq_cu_nest t;
  sq_cu_begin(k, cg, "keyed_end", n->out[0], THREADS);
  sq_cu_nest_begin(&t, k, n, NULL);
  const sq_type *type = &n->out[0]->type;
  LLVMValueRef count = sq_cg_dim(cg, sq_cu_elements(k, type));
  const char *all = accumulators(k, n, elements_of(k, type)), *out = sq_cu_pointer(k, n->out[0]);
  open_elements(k, count);
  sq_cu_line(k, "const sq_i64 at = %s;", sq_cu_where_numbered(k, type, "t"));
  sq_cu_line(k, "const %s acc = SQ_LD(%s, at);", sq_cu_acc(k, n->g), all);
  sq_dtype d = sq_monoid_result(n->g->monoid, n->g->s.v[n->g->body].dtype);
  sq_cu_line(k, "const %s result = acc.result();", sq_cu_type(d));
  t.acc = "result";
  const char *v = n->g->post != SQ_NO_SCALAR ? sq_cu_nest_value(&t, n->g->post) : "result";
  sq_cu_line(k, "SQ_ST(%s, at, %s);", out, v);
  sq_cu_close(k);
  sq_cu_launch(k, count, THREADS, 0);
}
void sq_cuda_keyed(sq_cg *cg, sq_node *n) {
  emit_neutral(cg, n);
  emit_bring(cg, n);
  emit_finish(cg, n);
}
