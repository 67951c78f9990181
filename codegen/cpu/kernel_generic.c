// Generics and groups as kernels, and the dispatch of all kernel operations.
//
//   generic: units are the parallel axes but the vector axis, times chunks of the vector axis
//   group:   units are the outer axes; for each, every generic inside runs over its other axes,
//   inner
//            values in the worker's scratch, those of a single element in registers
#include "codegen/cpu/stream.h"
#include "codegen/cpu/sweep.h"
#include "codegen/cuda/kernels.h"

enum { STRETCH = 16 }; // elements of an axis that lanes cross: a cache line of f32

static void store_element(sq_knest *t, sq_lv v, void *user) {
  const sq_kplace *to = user;
  sq_knest_store(t, to, v, t->mask);
}
static sq_lv entry_mul(sq_kern *k, sq_lv a, sq_lv b) {
  return LLVMBuildMul(k->cg->builder, a, b, "");
}
static sq_lv entry_extent(sq_kern *k, const sq_generic *g, uint32_t axis) {
  sq_lv v = sq_cg_dim(k->cg, g->axis[axis].extent);
  LLVMBuilderRef inside = k->b;
  k->b = k->cg->builder;
  v = sq_k_max(k, v, sq_k_int(k, 0));
  k->b = inside;
  return v;
}
// Cycles of `elements` (i64 in the entry) at the plan's cost.
static sq_lv entry_work(sq_kern *k, sq_lv elements, const sq_kplan *p) {
  LLVMBuilderRef b = k->cg->builder;
  sq_lv v = entry_mul(k, elements, sq_k_int(k, (int64_t)(p->cost * 16) + 1));
  v = LLVMBuildLShr(b, v, sq_k_int(k, 4), "");
  return LLVMBuildAdd(b, v, sq_k_int(k, 10), "");
}

// ---- one generic -------------------------------------------------------------------------------
void sq_kernel_elements(sq_kern *k, sq_knest *t, uint32_t allowed, bool in_order, sq_kemit emit,
                        void *user) {
  const sq_generic *g = t->g;
  sq_cg *cg = k->cg;
  sq_kplan p = sq_kplan_choose(t, allowed);
  if (in_order) {
    sq_knest_run(t, &p, NULL, NULL, emit, user);
    sq_kern_launch(k, sq_k_int(k, 1));
    return;
  }
  bool lanes = p.w > 1 && p.va < g->n_par;
  sq_kouter o = {0};
  uint32_t axis[SQ_K_AXES];
  sq_lv units = sq_k_int(k, 1), inner = sq_k_int(k, 1), chunk = NULL;
  for (uint32_t a = 0; a < g->n_par; a++) {
    if (lanes && (a == p.va || a == p.inner)) continue;
    axis[o.n] = a;
    o.extent[o.n++] = sq_knest_extent(t, a);
    units = entry_mul(k, units, entry_extent(k, g, a));
  }
  for (uint32_t a = g->n_par; a < t->n_axes; a++)
    inner = entry_mul(k, inner, entry_extent(k, g, a));
  uint32_t n_axes = o.n;
  if (lanes) {
    int64_t e, size = g->n_red ? (int64_t)p.w * p.sets * 2 : 2048;
    if (sq_dim_is_const(k->g->dims, g->axis[p.va].extent, &e) && e <= size) {
      inner = entry_mul(k, inner, sq_k_int(k, e > 0 ? e : 0));
    } else {
      chunk = sq_k_int(k, size);
      sq_lv extent = entry_extent(k, g, p.va);
      sq_lv chunks = sq_k_ceil_div(k, cg->builder, extent, chunk);
      units = entry_mul(k, units, chunks);
      LLVMBuilderRef inside = k->b;
      k->b = cg->builder;
      inner = entry_mul(k, inner, sq_k_min(k, extent, chunk));
      k->b = inside;
      o.extent[o.n++] = sq_kern_pass(k, chunks);
    }
  }
  uint32_t crossed = o.n;
  if (lanes && p.inner != SQ_K_NO_AXIS) {
    sq_lv stretches = entry_extent(k, g, p.inner);
    stretches = sq_k_ceil_div(k, cg->builder, stretches, sq_k_int(k, STRETCH));
    units = entry_mul(k, units, stretches);
    inner = entry_mul(k, inner, sq_k_int(k, STRETCH));
    o.extent[o.n++] = sq_kern_pass(k, stretches);
  }
  sq_ktasks tasks = sq_ktasks_make(k, units, entry_work(k, inner, &p));
  sq_kouter_begin(k, &o, &tasks);
  uint32_t mark = sq_knest_enter(t);
  for (uint32_t i = 0; i < n_axes; i++) sq_knest_open(t, axis[i], o.index[i]);
  sq_lv lo = NULL, hi = NULL;
  if (crossed < o.n) {
    p.inner_lo = LLVMBuildMul(k->b, o.index[crossed], sq_k_int(k, STRETCH), "");
    p.inner_hi = LLVMBuildAdd(k->b, p.inner_lo, sq_k_int(k, STRETCH), "");
    p.inner_hi = sq_k_min(k, p.inner_hi, sq_knest_extent(t, p.inner));
  }
  if (chunk) {
    lo = LLVMBuildMul(k->b, o.index[n_axes], chunk, "");
    hi = sq_k_min(k, LLVMBuildAdd(k->b, lo, chunk, ""), sq_knest_extent(t, p.va));
  }
  sq_knest_run(t, &p, lo, hi, emit, user);
  sq_knest_leave(t, mark);
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}
void sq_kernel_generic(sq_cg *cg, sq_node *n) {
  if (n->g->keyed) {
    sq_kernel_keyed(cg, n);
    return;
  }
  sq_node *from = n;
  n = sq_kernel_collapse(cg->graph, n);
  if (sq_gemm_is(cg->graph, cg->target, n)) {
    sq_kernel_gemm(cg, from);
    return;
  }
  sq_kern kern, *k = &kern;
  sq_knest t;
  bool single = !n->g->n_par && !n->g->n_red;
  if (single)
    sq_kern_begin_here(k, cg);
  else
    sq_kern_begin(k, cg, "generic");
  sq_knest_begin(&t, k, n, NULL);
  sq_kplace to = sq_kplace_of(k, NULL, n->out[0]);
  sq_kernel_elements(k, &t, UINT32_MAX, single, store_element, &to);
}

// ---- groups ------------------------------------------------------------------------------------
typedef struct member {
  sq_knest nest;
  sq_kplan plan;
  sq_kplace to;
  bool single;  // no inner axes: the element stays in a register
  bool yielded; // and is stored
  sq_kgroup *group;
  sq_node *n;
} member;
static void keep_element(sq_knest *t, sq_lv v, void *user) {
  member *m = user;
  if (!m->single || m->yielded) sq_knest_store(t, &m->to, v, t->mask);
  if (!m->single) return;
  sq_dtype d = m->to.type.dtype; // as it would be read back
  m->group->element[m->n->out[0]->id] = sq_k_from_mem(t->k, d, sq_k_to_mem(t->k, d, v));
}
static bool is_yielded(const sq_kgroup *group, const sq_value *v) {
  const sq_node *yield = sq_block_end(group->n->region[0]);
  for (uint32_t i = 0; yield && i < yield->n_in; i++)
    if (yield->in[i] == v) return true;
  return false;
}
// The kernel up to its launch; rows: NULL, or what may run its tasks. False: there is nothing to run.
static bool group_kernel(sq_kern *k, sq_cg *cg, sq_node *n, const sq_krows *rows,
                         sq_ktasks *tasks) {
  sq_block *body = n->region[0];
  sq_node *first = body->nodes.n ? body->nodes.v[0] : NULL;
  if (!first || first->op != SQ_OP_GENERIC) return false;
  sq_kern_begin(k, cg, "group");
  sq_kgroup group = {.n = n, .k = k};
  group.element = SQ_ARRAY(k->a, sq_lv, k->g->n_values + 1);
  sq_kouter o = {.n = n->n_outer};
  sq_lv units = sq_k_int(k, 1), work = sq_k_int(k, 10), row = sq_k_int(k, 1);
  for (uint32_t a = 0; a < n->n_outer; a++) {
    o.extent[a] = sq_kern_dim(k, first->g->axis[a].extent);
    sq_lv extent = entry_extent(k, first->g, a);
    units = entry_mul(k, units, extent);
    if (rows && a >= rows->n_row) row = entry_mul(k, row, extent);
  }
  uint32_t count = 0;
  member *ms = SQ_ARRAY(k->a, member, body->nodes.n);
  for (uint32_t i = 0; i < body->nodes.n; i++) {
    sq_node *x = body->nodes.v[i];
    if (x->op != SQ_OP_GENERIC) continue;
    member *m = &ms[count++];
    m->n = x;
    m->group = &group;
    sq_knest_begin(&m->nest, k, x, &group);
    for (uint32_t a = 0; a < n->n_outer; a++) sq_knest_open(&m->nest, a, NULL);
    m->plan = sq_kplan_choose(&m->nest, UINT32_MAX);
    m->single = x->g->n_par == n->n_outer;
    m->yielded = is_yielded(&group, x->out[0]);
    if (!m->single || m->yielded)
      m->to = sq_kplace_of(k, &group, x->out[0]);
    else
      m->to.type = x->out[0]->type;
    sq_lv inner = sq_k_int(k, 1);
    for (uint32_t a = n->n_outer; a < m->nest.n_axes; a++)
      inner = entry_mul(k, inner, entry_extent(k, x->g, a));
    work = LLVMBuildAdd(cg->builder, work, entry_work(k, inner, &m->plan), "");
  }
  sq_kblocks blocks;
  if (rows) blocks = (sq_kblocks){rows->blocks, entry_mul(k, rows->rows, row), rows->whole};
  *tasks = sq_ktasks_of(k, units, work, rows ? &blocks : NULL);
  sq_kouter_begin(k, &o, tasks);
  memcpy(group.outer, o.index, n->n_outer * sizeof *o.index);
  for (uint32_t i = 0; i < count; i++) {
    member *m = &ms[i];
    uint32_t mark = sq_knest_enter(&m->nest);
    for (uint32_t a = 0; a < n->n_outer; a++) sq_knest_open(&m->nest, a, o.index[a]);
    sq_knest_run(&m->nest, &m->plan, NULL, NULL, keep_element, m);
    sq_knest_leave(&m->nest, mark);
  }
  sq_kouter_end(k, &o);
  return true;
}
const sq_kready *sq_kernel_group_ready(sq_cg *cg, const sq_node *n, const sq_krows *rows) {
  sq_kern k;
  sq_ktasks tasks;
  if (!group_kernel(&k, cg, (sq_node *)(uintptr_t)n, rows, &tasks)) return NULL;
  sq_kready *r = SQ_NEW(cg->scratch, sq_kready);
  *r = sq_kern_ready(&k, &tasks);
  r->n = n;
  return cg->ready = r;
}
void sq_kernel_group(sq_cg *cg, sq_node *n) {
  const sq_kready *ready = cg->ready;
  if (ready && ready->n == n) {
    sq_kready_launch(cg, ready);
    return;
  }
  sq_kern k;
  sq_ktasks tasks;
  if (group_kernel(&k, cg, n, NULL, &tasks)) sq_kern_launch(&k, tasks.n_tasks);
}

// ---- dispatch ----------------------------------------------------------------------------------
bool sq_kernel_is(const sq_node *n) {
  switch ((int)n->op) {
  case SQ_OP_GENERIC:
  case SQ_OP_UPDATE:
  case SQ_OP_STATE_WRITE:
  case SQ_OP_PARAM_WRITE:
  case SQ_OP_CUMULATE:
  case SQ_OP_SORT:
  case SQ_OP_ARGSORT:
  case SQ_OP_TOPK:
  case SQ_OP_RANDOM:
  case SQ_OP_GROUP:
  case SQ_OP_SWEEP:
  case SQ_OP_STREAM:
    return true;
  default:
    return false;
  }
}
sq_kernel_scratch sq_kernel_need(sq_graph *g, const sq_target *t, const sq_node *n) {
  if (t->device) return sq_cuda_need(g, n);
  switch ((int)n->op) {
  case SQ_OP_GENERIC:
    if (n->g->keyed) return sq_kernel_keyed_need(g, n);
    return sq_gemm_need(g, t, n);
  case SQ_OP_SORT:
  case SQ_OP_ARGSORT:
    return sq_kernel_sort_need(g, n);
  case SQ_OP_SWEEP:
    return sq_kernel_sweep_need(g, t, n);
  case SQ_OP_STREAM:
    return sq_kstream_need(g, t, n);
  case SQ_OP_GROUP:
    return sq_kernel_is_siblings(n) ? sq_siblings_need(g, t, n) : (sq_kernel_scratch){0};
  default:
    return (sq_kernel_scratch){0};
  }
}
void sq_kernel_emit(sq_cg *cg, sq_node *n) {
  if (cg->target->device) {
    sq_cuda_kernel(cg, n);
    return;
  }
  switch ((int)n->op) {
  case SQ_OP_GENERIC:
    sq_kernel_generic(cg, n);
    break;
  case SQ_OP_UPDATE:
  case SQ_OP_STATE_WRITE:
  case SQ_OP_PARAM_WRITE:
    sq_kernel_update(cg, n);
    break;
  case SQ_OP_CUMULATE:
    sq_kernel_cumulate(cg, n);
    break;
  case SQ_OP_SORT:
  case SQ_OP_ARGSORT:
    sq_kernel_sort(cg, n);
    break;
  case SQ_OP_TOPK:
    sq_kernel_topk(cg, n);
    break;
  case SQ_OP_RANDOM:
    sq_kernel_random(cg, n);
    break;
  case SQ_OP_GROUP:
    if (sq_kernel_is_siblings(n))
      sq_kernel_siblings(cg, n);
    else
      sq_kernel_group(cg, n);
    break;
  case SQ_OP_SWEEP:
    sq_kernel_sweep(cg, n);
    break;
  case SQ_OP_STREAM:
    sq_kernel_stream(cg, n);
    break;
  default:
    break;
  }
}
