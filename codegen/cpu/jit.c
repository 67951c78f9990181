// The JIT. In: a planned graph. Out: the code of an entry when it is first asked for.
//
//   function -> LLVM module -> bitcode --hash--> cached object?  yes: link it
//                                                no: optimise, compile, store, link it
//
// ORC's LLJIT is the linker: every entry has objects of its own in one dylib. Its code is
// compiled by the same steps as an object made ahead of time. Nothing is shared between two JITs.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/cuda.h"
#include "codegen/cuda/emu.h"
#include <errno.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>

struct sq_jit {
  sq_graph *graph;
  sq_target target;
  const char *cache_dir;
  LLVMOrcLLJITRef lljit;
  sq_entry_code *code[2]; // of entries, of inits: NULL until asked for
  sq_emu_module **kernels[2];
  uint32_t n[2];
  sq_func **func[2];
  bool told; // that the cache cannot be written
};

// Takes the error; its text is copied to the arena only after LLVM's memory is gone.
static const char *explain(sq_graph *g, const char *what, LLVMErrorRef e) {
  char copy[1000];
  char *text = LLVMGetErrorMessage(e);
  snprintf(copy, sizeof copy, "%s", text);
  LLVMDisposeErrorMessage(text);
  return sq_arena_fmt(g->arena, "%s: %s", what, copy);
}

sq_status sq_jit_new(sq_graph *g, const sq_target *t, const char *cache_dir, sq_jit **jit,
                     const char **message) {
  sq_target_init();
  sq_jit *j = SQ_NEW(g->arena, sq_jit);
  j->graph = g;
  j->target = *t;
  if (cache_dir && *cache_dir) j->cache_dir = sq_arena_str(g->arena, cache_dir, strlen(cache_dir));
  static const sq_func_kind kinds[2] = {SQ_FUNC_ENTRY, SQ_FUNC_INIT};
  for (int k = 0; k < 2; k++) {
    j->func[k] = SQ_ARRAY(g->arena, sq_func *, g->func.n + 1);
    j->code[k] = SQ_ARRAY(g->arena, sq_entry_code, g->func.n + 1);
    j->kernels[k] = SQ_ARRAY(g->arena, sq_emu_module *, g->func.n + 1);
    for (uint32_t i = 0; i < g->func.n; i++)
      if (g->func.v[i]->kind == kinds[k]) j->func[k][j->n[k]++] = g->func.v[i];
  }
  *jit = j;
  char *why = NULL;
  LLVMTargetMachineRef machine = sq_target_machine(t, &why);
  if (!machine) {
    LLVMDisposeMessage(why);
    *message = sq_arena_fmt(g->arena, "no JIT for %s", t->cpu);
    return SQ_EWORLD;
  }
  LLVMOrcLLJITBuilderRef builder = LLVMOrcCreateLLJITBuilder();
  LLVMOrcLLJITBuilderSetJITTargetMachineBuilder(
      builder, LLVMOrcJITTargetMachineBuilderCreateFromTargetMachine(machine));
  LLVMErrorRef e = LLVMOrcCreateLLJIT(&j->lljit, builder);
  if (!e) return SQ_OK;
  j->lljit = NULL;
  *message = explain(g, "no JIT", e);
  return SQ_EWORLD;
}

void sq_jit_free(sq_jit *j) {
  if (!j || !j->lljit) return;
  for (int k = 0; k < 2; k++)
    for (uint32_t i = 0; i < j->n[k]; i++) {
      sq_emu_free(j->kernels[k][i]);
      j->kernels[k][i] = NULL;
    }
  LLVMErrorRef e = LLVMOrcDisposeLLJIT(j->lljit);
  if (e) LLVMConsumeError(e);
  j->lljit = NULL;
}

// ---- one entry ---------------------------------------------------------------------------------
typedef struct job {
  sq_jit *jit;
  sq_func *func;
  sq_entry_code code;
  sq_emu_module *kernels; // of a device
} job;

static sq_status link_objects(sq_unit *u, sq_jit *j, const char *symbol, sq_entry_code *code) {
  LLVMOrcJITDylibRef dylib = LLVMOrcLLJITGetMainJITDylib(j->lljit);
  LLVMErrorRef e = NULL;
  while (u->n_part > 0 && !e) // the JIT's from here on, also when it fails
    e = LLVMOrcLLJITAddObjectFile(j->lljit, dylib, u->part[--u->n_part]);
  LLVMOrcExecutorAddress at = 0;
  if (!e) e = LLVMOrcLLJITLookup(j->lljit, &at, symbol);
  if (e) {
    u->message = explain(j->graph, "the JIT cannot link", e);
    return SQ_EWORLD;
  }
  *code = (sq_entry_code)(uintptr_t)at;
  return SQ_OK;
}

static void store(sq_unit *u, sq_jit *j, sq_cache_key key) {
  int why = 0;
  if (sq_cache_store(j->cache_dir, key, u->part, u->n_part, &why) || j->told) return;
  j->told = true;
  sq_remark_add(j->graph->ctx, "cache", false, (sq_span){0}, NULL,
                "compiled code is not kept: cannot write to %s: %s", j->cache_dir, strerror(why));
}

static sq_status build_kernels(sq_unit *u, job *w) {
  sq_text unit = {.arena = &u->scratch};
  sq_cuda_unit(u->cuda, true, &unit);
  const char *why = NULL;
  sq_status s = sq_emu_build(&u->scratch, unit.v, unit.n, w->jit->cache_dir, &w->kernels, &why);
  if (s != SQ_OK) u->message = sq_arena_str(u->graph->arena, why, strlen(why));
  return s;
}

static sq_status compile_one(sq_unit *u, void *arg) {
  job *w = arg;
  sq_jit *j = w->jit;
  const char *symbol = sq_entry_symbol(j->graph, w->func);
  SQ_TRY(sq_unit_begin(u, w->func->name));
  LLVMContextSetDiscardValueNames(u->ctx, 1);
  if (j->target.device) u->cuda = sq_cuda_new(&u->scratch);
  sq_entry_emit(u, w->func, symbol, true);
  if (j->target.device) SQ_TRY(build_kernels(u, w));
  sq_cache_key key = {0, 0};
  if (j->cache_dir) {
    u->buffer = LLVMWriteBitcodeToMemoryBuffer(u->module);
    key = sq_cache_hash(LLVMGetBufferStart(u->buffer), LLVMGetBufferSize(u->buffer), &j->target);
    LLVMDisposeMemoryBuffer(u->buffer);
    u->buffer = NULL;
    u->n_part = sq_cache_load(j->cache_dir, key, u->part);
  }
  if (u->n_part == 0) {
    SQ_TRY(sq_parts_compile(u, symbol));
    if (j->cache_dir) store(u, j, key);
  }
  return link_objects(u, j, symbol, &w->code);
}

static sq_entry_code compile(void *user, int is_init, uint32_t k, const char **message) {
  sq_jit *j = user;
  int kind = is_init ? 1 : 0;
  if (k >= j->n[kind]) {
    *message = "no such entry";
    return NULL;
  }
  if (!j->code[kind][k]) {
    job w = {.jit = j, .func = j->func[kind][k]};
    sq_unit u;
    // Who compiled the graph may have returned long ago: a failed allocation ends here.
    if (sq_unit_do(&u, j->graph, &j->target, compile_one, &w, false) != SQ_OK) {
      *message = u.message;
      sq_emu_free(w.kernels);
      return NULL;
    }
    j->code[kind][k] = w.code;
    j->kernels[kind][k] = w.kernels;
  }
  return j->code[kind][k];
}

static void release(void *user) { sq_jit_free(user); }

static void *kernels_of(void *user, int is_init, uint32_t k) {
  sq_jit *j = user;
  return j->kernels[is_init ? 1 : 0][k];
}

sq_abi_hooks sq_jit_hooks(sq_jit *jit) {
  sq_abi_hooks h = {.user = jit, .compile = compile, .release = release};
  if (!jit->target.device) return h;
  h.device = &sq_emu_device;
  h.kernels = kernels_of;
  return h;
}
