// From a function of the graph to machine code. In: planned functions. Out: an LLVM module,
// verified and optimised; an object, assembly or text of it; and, ahead of time, the descriptor as
// data.
//
//   sq_codegen_object:  all entries and inits (internal) + `seqm_model` (static.c) -> FILE.o
//   sq_codegen_text:    one entry or all -> LLVM's text, assembly
//
// LLVM's objects are not in an arena: one sq_unit owns them, and a failed allocation of ours passes
// through sq_unit_do, which releases them.
#include "codegen/cpu/driver.h"
#include "codegen/cpu/static.h"
#include "codegen/cuda/cuda.h"
#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>

// Kernels come vectorised and unrolled as they should be; what is left is to merge equal ones
// (three projections of one shape are one kernel) and to clean up.
static const char merging[] = "mergefunc,globaldce";
static const char cleaning[] =
    "function(sroa,early-cse<memssa>,simplifycfg,loop-mssa(loop-rotate,licm),"
    "instcombine<no-verify-fixpoint>,early-cse<memssa>,simplifycfg,adce)";
const char *sq_unit_recipe(bool merge) { return merge ? merging : cleaning; }

// ---- the unit ----------------------------------------------------------------------------------
static void release(sq_unit *u) {
  if (u->buffer) LLVMDisposeMemoryBuffer(u->buffer);
  for (uint32_t k = 0; k < u->n_part; k++) LLVMDisposeMemoryBuffer(u->part[k]);
  u->n_part = 0;
  for (int k = 0; k < 16 && u->spare[k]; k++) LLVMDisposeBuilder(u->spare[k]);
  memset(u->spare, 0, sizeof u->spare);
  if (u->head) LLVMDisposeBuilder(u->head);
  if (u->builder) LLVMDisposeBuilder(u->builder);
  if (u->module) LLVMDisposeModule(u->module);
  if (u->ctx) LLVMContextDispose(u->ctx);
  if (u->machine) LLVMDisposeTargetMachine(u->machine);
  u->buffer = NULL;
  u->head = u->builder = NULL;
  u->module = NULL;
  u->ctx = NULL;
  u->machine = NULL;
  sq_arena_free(&u->scratch);
}

LLVMBuilderRef sq_cg_builder_take(sq_cg *cg) {
  sq_unit *u = sq_cg_driver(cg)->unit;
  int k = 0;
  while (k < 16 && u->taken[k]) k++;
  SQ_ASSERT(k < 16, "builders are not given back");
  if (!u->spare[k]) u->spare[k] = LLVMCreateBuilderInContext(u->ctx);
  u->taken[k] = true;
  return u->spare[k];
}

void sq_cg_builder_give(sq_cg *cg, LLVMBuilderRef b) {
  sq_unit *u = sq_cg_driver(cg)->unit;
  for (int k = 0; k < 16; k++)
    if (u->spare[k] == b) u->taken[k] = false;
}

sq_status sq_unit_do(sq_unit *u, sq_graph *g, const sq_target *t, sq_unit_work work, void *arg,
                     bool rethrow) {
  sq_ctx *ctx = g->ctx;
  *u = (sq_unit){.graph = g, .target = t, .saved = ctx->guard, .message = ""};
  sq_arena_init(&u->scratch, ctx->alloc, &ctx->guard);
  if (setjmp(ctx->guard.jmp)) {
    release(u);
    u->graph->ctx->guard = u->saved;
    u->message = "out of memory";
    if (rethrow) longjmp(u->graph->ctx->guard.jmp, 1);
    return SQ_EWORLD;
  }
  sq_status s = work(u, arg);
  release(u);
  u->graph->ctx->guard = u->saved;
  return s;
}

const char *sq_unit_take(sq_unit *u, char *llvm_message) {
  char copy[2000];
  snprintf(copy, sizeof copy, "%s", llvm_message ? llvm_message : "LLVM gives no reason");
  if (llvm_message) LLVMDisposeMessage(llvm_message);
  return sq_arena_str(u->graph->arena, copy, strlen(copy));
}

sq_status sq_unit_begin(sq_unit *u, const char *name) {
  char *why = NULL;
  u->machine = sq_target_machine(u->target, &why);
  if (!u->machine) {
    u->message = sq_unit_take(u, why);
    return SQ_EWORLD;
  }
  u->ctx = LLVMContextCreate();
  u->module = LLVMModuleCreateWithNameInContext(name, u->ctx);
  u->builder = LLVMCreateBuilderInContext(u->ctx);
  u->head = LLVMCreateBuilderInContext(u->ctx);
  LLVMSetTarget(u->module, u->target->triple);
  LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(u->machine);
  LLVMSetModuleDataLayout(u->module, layout);
  LLVMDisposeTargetData(layout);
  return SQ_OK;
}

// A module that LLVM rejects is a fault of ours; it is reported, not let loose on the optimiser.
sq_status sq_unit_verify(sq_unit *u) {
  char *why = NULL;
  if (LLVMVerifyModule(u->module, LLVMReturnStatusAction, &why)) {
    u->message = sq_arena_fmt(u->graph->arena, "internal error: invalid LLVM module: %s",
                              sq_unit_take(u, why));
    return SQ_EWORLD;
  }
  LLVMDisposeMessage(why);
  return SQ_OK;
}

char *sq_unit_passes(LLVMModuleRef m, LLVMTargetMachineRef machine, const char *passes) {
  LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
  LLVMErrorRef e = LLVMRunPasses(m, passes, machine, options);
  LLVMDisposePassBuilderOptions(options);
  return e ? LLVMGetErrorMessage(e) : NULL;
}

sq_status sq_unit_run(sq_unit *u, const char *passes) {
  char *text = sq_unit_passes(u->module, u->machine, passes);
  if (!text) return SQ_OK;
  char copy[1000];
  snprintf(copy, sizeof copy, "%s", text);
  LLVMDisposeErrorMessage(text);
  u->message = sq_arena_fmt(u->graph->arena, "internal error: %s", copy);
  return SQ_EWORLD;
}

sq_status sq_unit_optimise(sq_unit *u) {
  SQ_TRY(sq_unit_verify(u));
  for (LLVMValueRef f = LLVMGetFirstFunction(u->module); f; f = LLVMGetNextFunction(f))
    if (LLVMGetLinkage(f) == LLVMLinkOnceODRLinkage) LLVMSetLinkage(f, LLVMInternalLinkage);
  sq_unit_anonymise(u);
  SQ_TRY(sq_unit_run(u, merging));
  return sq_unit_run(u, cleaning);
}

// No one compares addresses of functions; equal ones may be one.
void sq_unit_anonymise(sq_unit *u) {
  for (LLVMValueRef f = LLVMGetFirstFunction(u->module); f; f = LLVMGetNextFunction(f)) {
    LLVMLinkage l = LLVMGetLinkage(f);
    if (l == LLVMInternalLinkage || l == LLVMLinkOnceODRLinkage)
      LLVMSetUnnamedAddress(f, LLVMGlobalUnnamedAddr);
  }
}

sq_status sq_unit_code(sq_unit *u, LLVMCodeGenFileType type) {
  char *why = NULL;
  if (!LLVMTargetMachineEmitToMemoryBuffer(u->machine, u->module, type, &why, &u->buffer))
    return SQ_OK;
  u->buffer = NULL;
  u->message = sq_unit_take(u, why);
  return SQ_EWORLD;
}

// ---- objects -----------------------------------------------------------------------------------
// Entries and inits in the descriptor's order; the functions are internal.
static void emit_all(sq_unit *u, sq_func_kind kind, LLVMValueRef *code) {
  sq_graph *g = u->graph;
  uint32_t n = 0;
  for (uint32_t k = 0; k < g->func.n; k++)
    if (g->func.v[k]->kind == kind)
      code[n++] = sq_entry_emit(u, g->func.v[k], sq_entry_symbol(g, g->func.v[k]), false);
}

typedef struct object_job {
  const char *path;
} object_job;

// The kernels of all entries and inits, in one translation unit.
static sq_status make_kernels(sq_unit *u, sq_abi_model *m) {
  sq_graph *g = u->graph;
  const char *list = u->target->arch ? u->target->arch : SQ_CUDA_ARCH_LIST, *why = "";
  const char *arch[SQ_CUDA_ARCHS];
  uint32_t n;
  sq_nvrtc *nvrtc = NULL;
  sq_abi_kernels *k = NULL;
  sq_status s = sq_cuda_arch_list(g->arena, list, arch, &n, &why);
  if (s == SQ_OK) s = sq_nvrtc_open(g->arena, 0, &nvrtc, &why);
  if (s == SQ_OK) s = sq_cuda_build(g->arena, u->cuda, nvrtc, arch, n, NULL, &k, &why);
  sq_nvrtc_close(nvrtc);
  m->kernels = k;
  if (s != SQ_OK) u->message = why;
  return s;
}

static sq_status make_object(sq_unit *u, void *arg) {
  const object_job *job = arg;
  sq_graph *g = u->graph;
  SQ_TRY(sq_unit_begin(u, g->name));
  LLVMContextSetDiscardValueNames(u->ctx, 1);
  LLVMValueRef *entry = SQ_ARRAY(&u->scratch, LLVMValueRef, g->func.n + 1);
  LLVMValueRef *init = SQ_ARRAY(&u->scratch, LLVMValueRef, g->func.n + 1);
  bool cuda = u->target->device == SQ_DEVICE_CUDA;
  if (cuda) u->cuda = sq_cuda_new(&u->scratch);
  emit_all(u, SQ_FUNC_ENTRY, entry);
  emit_all(u, SQ_FUNC_INIT, init);
  sq_abi_model *m = sq_codegen_describe(g, u->target);
  if (cuda) SQ_TRY(make_kernels(u, m));
  sq_static_model(u, m, entry, init);
  SQ_TRY(sq_unit_optimise(u));
  SQ_TRY(sq_unit_code(u, LLVMObjectFile));
  const char *why = NULL;
  sq_status s = sq_file_write(g->arena, job->path, LLVMGetBufferStart(u->buffer),
                              LLVMGetBufferSize(u->buffer), &why);
  if (s != SQ_OK) u->message = why;
  return s;
}

sq_status sq_codegen_object(sq_graph *g, const sq_target *t, const char *path,
                            const char **message) {
  object_job job = {path};
  sq_unit u;
  sq_status s = sq_unit_do(&u, g, t, make_object, &job, true);
  *message = u.message;
  return s;
}

// ---- text --------------------------------------------------------------------------------------
typedef struct text_job {
  const char *entry;
  bool assembly;
  sq_text *out;
} text_job;

static sq_status make_text(sq_unit *u, void *arg) {
  const text_job *job = arg;
  sq_graph *g = u->graph;
  SQ_TRY(sq_unit_begin(u, g->name));
  uint32_t found = 0;
  for (uint32_t k = 0; k < g->func.n; k++) {
    sq_func *f = g->func.v[k];
    bool wanted = job->entry ? strcmp(f->name, job->entry) == 0 : f->kind != SQ_FUNC_INNER;
    if (!wanted) continue;
    found++;
    sq_entry_emit(u, f, sq_entry_symbol(g, f), true);
  }
  if (job->entry && !found) {
    u->message = sq_arena_fmt(g->arena, "no entry `%s`", job->entry);
    return SQ_EUSAGE;
  }
  SQ_TRY(sq_unit_optimise(u));
  if (job->assembly) {
    SQ_TRY(sq_unit_code(u, LLVMAssemblyFile));
  } else {
    char *text = LLVMPrintModuleToString(u->module);
    u->buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(text, strlen(text), "text");
    LLVMDisposeMessage(text);
  }
  sq_text_put(job->out, LLVMGetBufferStart(u->buffer), LLVMGetBufferSize(u->buffer));
  return SQ_OK;
}

sq_status sq_codegen_text(sq_graph *g, const sq_target *t, const char *entry, bool assembly,
                          sq_text *out, const char **message) {
  text_job job = {entry, assembly, out};
  sq_unit u;
  sq_status s = sq_unit_do(&u, g, t, make_text, &job, true);
  *message = u.message;
  return s;
}
