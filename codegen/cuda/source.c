// The translation unit of an entry's kernels, and the dispatch of operations to the files that make
// them.
//
//   types.cuh | emu_thread.h emu.cuh | gpu.cuh | common.cuh | the kernels | a table of them
#include "codegen/cpu/driver.h"
#include "codegen/cuda/cuda.h"
#include "codegen/cuda/stream.h"
#include <stdlib.h>

sq_cuda *sq_cuda_new(sq_arena *a) {
  sq_cuda *c = SQ_NEW(a, sq_cuda);
  c->arena = c->text.arena = a;
  return c;
}
void sq_cuda_unit(const sq_cuda *c, bool emulated, sq_text *out) {
  const char *told = getenv("SEQM_EMU_ARCH");
  if (emulated && told && !strcmp(told, "sm_90a")) sq_text_add(out, "#define SQ_WGMMA 1\n");
  const char *part[] = {sq_cuda_types, emulated ? sq_cuda_emu_thread : "",
                        emulated ? sq_cuda_emu : sq_cuda_gpu, sq_cuda_common};
  for (size_t k = 0; k < sizeof part / sizeof *part; k++) {
    sq_text_put(out, part[k], strlen(part[k]));
    sq_text_put(out, "\n", 1);
  }
  if (c->text.n) sq_text_put(out, c->text.v, c->text.n);
  sq_text_add(out, "SQ_TABLE_BEGIN\n");
  for (uint32_t k = 0; k < c->kernel.n; k++)
    sq_text_add(out, "SQ_TABLE(%s, %u, %d, %u, %u, %u)\n", c->kernel.v[k].name,
                c->kernel.v[k].threads, c->kernel.v[k].syncs, c->kernel.v[k].room[0],
                c->kernel.v[k].room[1], c->kernel.v[k].n_map);
  sq_text_add(out, "SQ_TABLE_END\n");
}

// ---- the text of entries -----------------------------------------------------------------------
typedef struct text_job {
  const char *entry;
  bool words;
  sq_text *out;
} text_job;
static sq_status make_text(sq_unit *u, void *arg) {
  const text_job *job = arg;
  sq_graph *g = u->graph;
  SQ_TRY(sq_unit_begin(u, g->name));
  sq_cuda *kernels = u->cuda = sq_cuda_new(&u->scratch);
  for (uint32_t k = 0; k < g->func.n; k++) {
    sq_func *f = g->func.v[k];
    bool wanted = job->entry ? !strcmp(f->name, job->entry) : f->kind != SQ_FUNC_INNER;
    if (wanted) sq_entry_emit(u, f, sq_entry_symbol(g, f), true);
  }
  if (job->words)
    sq_cuda_unit(kernels, false, job->out);
  else if (kernels->text.n)
    sq_text_put(job->out, kernels->text.v, kernels->text.n);
  return SQ_OK;
}
sq_status sq_codegen_cuda(sq_graph *g, const sq_target *t, const char *entry, bool words,
                          sq_text *out, const char **message) {
  text_job job = {entry, words, out};
  sq_target device = *t;
  device.device = SQ_DEVICE_CUDA;
  sq_unit u;
  sq_status s = sq_unit_do(&u, g, &device, make_text, &job, true);
  *message = u.message;
  return s;
}

// ---- dispatch ----------------------------------------------------------------------------------
static sq_dim elements(sq_graph *g, const sq_type *t) {
  sq_dim n = sq_dim_const(g->dims, 1);
  for (uint32_t k = 0; k < t->rank; k++)
    n = sq_dim_mul(g->dims, n, sq_dim_storage(g->dims, t->dim[k]));
  return n;
}
// The accumulators of a keyed reduction, at most two words of 8 bytes each.
sq_kernel_scratch sq_cuda_need(sq_graph *g, const sq_node *n) {
  if (n->op == SQ_OP_STREAM) return sq_cuda_stream_need(g, n);
  sq_kernel_scratch need;
  if (n->op == SQ_OP_SWEEP)
    return sq_cuda_blocks_need(g, n, &need) ? need : sq_cuda_sweep_need(g, n);
  if (n->op != SQ_OP_GENERIC || !n->g->keyed) return (sq_kernel_scratch){0};
  return (sq_kernel_scratch){
      .shared = sq_dim_mul(g->dims, elements(g, &n->out[0]->type), sq_dim_const(g->dims, 16))};
}

typedef void (*maker)(sq_cg *cg, sq_node *n);
static const maker makers[SQ_OP_COUNT] = {
    [SQ_OP_GENERIC] = sq_cuda_generic,   [SQ_OP_UPDATE] = sq_cuda_write,
    [SQ_OP_STATE_WRITE] = sq_cuda_write, [SQ_OP_PARAM_WRITE] = sq_cuda_write,
    [SQ_OP_CUMULATE] = sq_cuda_cumulate, [SQ_OP_SORT] = sq_cuda_sort,
    [SQ_OP_ARGSORT] = sq_cuda_sort,      [SQ_OP_TOPK] = sq_cuda_topk,
    [SQ_OP_RANDOM] = sq_cuda_random,     [SQ_OP_GROUP] = sq_cuda_group,
    [SQ_OP_STREAM] = sq_cuda_stream,     [SQ_OP_SWEEP] = sq_cuda_sweep,
};
void sq_cuda_kernel(sq_cg *cg, sq_node *n) {
  SQ_ASSERT(makers[n->op], "no kernel for operation %s", sq_op_table[n->op].name);
  makers[n->op](cg, n);
}
