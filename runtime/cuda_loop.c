// Loops that the device goes round by itself. In: a list whose last operations are a turn of a loop, and where
// the truth lies that says whether it goes on. Out: a node of a graph that repeats them:
//
//   launch copy launch | loop, 3 operations      (the turn has been done once, by the launches themselves)
//     kernel sets the condition; while it holds: { launch copy launch, kernel sets the condition }
//
// A driver before CUDA 12.4 has no such nodes: the host reads the truth in each turn.
#include "runtime/cuda.h"
#include <string.h>

enum { FIRST_DRIVER = 12040, WORDS = 5 };

// The condition: nothing has failed, the truth holds, and there are turns left. Their number is counted in
// head[5] (SQ_GPU_TURNS): the one before the loop is the first. The driver has cudaGraphSetConditional.
static const char setter[] =
    ".version 6.3\n"
    ".target sm_75\n"
    ".address_size 64\n"
    ".extern .func cudaGraphSetConditional(.param .b64 handle, .param .b32 value);\n"
    ".visible .entry seqm_goes_on(.param .u64 head, .param .u64 flag,\n"
    "  .param .u64 handle, .param .u64 limit, .param .u64 first) {\n"
    "  .reg .pred %first, %fine, %holds, %left;\n"
    "  .reg .b16 %truth;\n"
    "  .reg .b32 %value;\n"
    "  .reg .b64 %head, %flag, %handle, %limit, %is_first, %done, %error;\n"
    "  ld.param.u64 %head, [head];\n"
    "  ld.param.u64 %flag, [flag];\n"
    "  ld.param.u64 %handle, [handle];\n"
    "  ld.param.u64 %limit, [limit];\n"
    "  ld.param.u64 %is_first, [first];\n"
    "  cvta.to.global.u64 %head, %head;\n"
    "  cvta.to.global.u64 %flag, %flag;\n"
    "  ld.global.u64 %done, [%head+40];\n"
    "  add.s64 %done, %done, 1;\n"
    "  setp.ne.s64 %first, %is_first, 0;\n"
    "  selp.b64 %done, 1, %done, %first;\n"
    "  st.global.u64 [%head+40], %done;\n"
    "  ld.global.u64 %error, [%head];\n"
    "  ld.global.u8 %truth, [%flag];\n"
    "  setp.eq.s64 %fine, %error, 0;\n"
    "  setp.ne.s16 %holds, %truth, 0;\n"
    "  setp.lt.s64 %left, %done, %limit;\n"
    "  and.pred %holds, %holds, %fine;\n"
    "  and.pred %holds, %holds, %left;\n"
    "  selp.u32 %value, 1, 0, %holds;\n"
    "  {\n"
    "    .param .b64 to;\n"
    "    .param .b32 what;\n"
    "    st.param.b64 [to], %handle;\n"
    "    st.param.b32 [what], %value;\n"
    "    call.uni cudaGraphSetConditional, (to, what);\n"
    "  }\n"
    "  ret;\n"
    "}\n";

// The kernel, loaded when first asked for.
static bool find_setter(sq_gpu *d) {
  if (d->setter || d->no_setter) return d->setter != NULL;
  d->no_setter = true;
  if (d->cu.version < FIRST_DRIVER || !d->cu.ConditionalCreate || !d->cu.GraphAddNode) return false;
  if (d->cu.ModuleLoad(&d->setter_module, setter, 0, NULL, NULL)) {
    d->setter_module = NULL;
    return false;
  }
  if (d->cu.ModuleGetFunction(&d->setter, d->setter_module, "seqm_goes_on")) d->setter = NULL;
  d->no_setter = d->setter == NULL;
  return !d->no_setter;
}

void sq_gpu_loop_close(sq_gpu *d) {
  if (d->setter_module) d->cu.ModuleUnload(d->setter_module);
  d->setter_module = d->setter = NULL;
}

// ---- as nodes ----------------------------------------------------------------------------------
static int add_setter(sq_gpu *d, void *graph, void **before, size_t n, void **node,
                      const sq_gpu_op *op, unsigned long long handle, bool first) {
  int64_t word[WORDS] = {(int64_t)(uintptr_t)op->rows.to, (int64_t)(uintptr_t)op->rows.from,
                         (int64_t)handle, (int64_t)op->rows.width, first};
  size_t size = sizeof word;
  void *extra[] = {(void *)1, word, (void *)2, &size, NULL};
  const sq_nv_node launch = {
      .function = d->setter, .grid = {1, 1, 1}, .block = {1, 1, 1}, .extra = extra};
  return d->cu.GraphAddKernel(node, graph, before, n, &launch);
}

int sq_gpu_loop_add(sq_gpu *d, void *graph, const sq_gpu_list *l, size_t k, void **before,
                    void **node) {
  const sq_gpu_op *op = &l->op[k];
  unsigned long long handle = 0;
  void *set = NULL, *last = NULL;
  if (!find_setter(d)) return 1;
  int e = d->cu.ConditionalCreate(&handle, graph, d->ctx, 0, 0);
  if (!e) e = add_setter(d, graph, before, before ? 1 : 0, &set, op, handle, true);
  if (e) return e;
  sq_nv_any_node loop = {
      .type = SQ_NV_NODE_CONDITIONAL,
      .conditional = {.handle = handle, .type = SQ_NV_WHILE, .size = 1, .context = d->ctx}};
  if ((e = d->cu.GraphAddNode(node, graph, &set, NULL, 1, &loop))) return e;
  void *body = loop.conditional.body[0];
  for (size_t j = k - op->rows.height; !e && j < k; j++) {
    void *next = NULL;
    e = sq_gpu_node_add(d, body, last ? &last : NULL, &next, &l->op[j], l->word + l->op[j].arg);
    last = next;
  }
  return e ? e : add_setter(d, body, &last, 1, &set, op, handle, false);
}

// ---- without a graph ---------------------------------------------------------------------------
int sq_gpu_loop_run(sq_gpu *d, const sq_gpu_list *l, size_t k) {
  const sq_gpu_op *op = &l->op[k];
  for (size_t turn = 1; turn < op->rows.width; turn++) {
    uint64_t error = 0;
    unsigned char holds = 0;
    int e = sq_gpu_take(d, &error, op->rows.to, sizeof error);
    if (!e) e = sq_gpu_take(d, &holds, op->rows.from, sizeof holds);
    for (size_t j = k - op->rows.height; !e && !error && holds && j < k; j++)
      e = sq_gpu_run(d, &l->op[j], l->word + l->op[j].arg);
    if (e || error || !holds) return e;
  }
  return 0;
}

// ---- what is asked for -------------------------------------------------------------------------
void sq_gpu_turn_begins(sq_gpu *d) { d->in_turn = d->record != NULL && !d->now.n; }

bool sq_gpu_turns(sq_gpu *d, void *head, const void *flag, int64_t limit) {
  if (!d->in_turn || !d->now.n || d->broken) return false;
  const sq_gpu_op op = {
      .kind = SQ_GPU_LOOP,
      .rows = {.to = head, .from = flag, .width = (size_t)limit, .height = d->now.n}};
  size_t n = d->now.n;
  d->in_turn = false;
  // Where it did not fit behind the turn, that has been given to the driver, and cannot come again.
  return !sq_gpu_ask(d, &op, NULL) && d->now.n == n + 1;
}
