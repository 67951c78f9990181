// The JIT. In: a descriptor, and a planned graph or who can make it. Out: the code of an entry when
// it is first asked for.
//
//   object known (source.known), and in the cache?  link it: no graph is needed
//   else: graph -> functions -> LLVM module -> bitcode --hash--> cached object?  yes: link it
//                                                     no: optimise, compile, store, link it
//
// An entry's module holds the inits of the states that it touches as well, those without code so far:
// they are wanted before the entry can run, and small ones of their own would keep one thread busy, one
// after the other.
//
// ORC's LLJIT is the linker: every module has objects of its own in one dylib. Entries and inits are weak
// in them, so that what two modules have, made in processes that called entries in another order, is
// there once. The code is compiled by the same steps as an object made ahead of time. Nothing is shared
// between two JITs.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/cuda.h"
#include "codegen/cuda/emu.h"
#include <errno.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>

struct sq_jit {
  sq_ctx *ctx;
  sq_arena *arena;
  const sq_abi_model *model;
  sq_graph *graph; // NULL: asked for when it is needed
  sq_jit_source source;
  sq_target target;
  const char *cache_dir;
  LLVMOrcLLJITRef lljit;
  sq_entry_code *code[2];      // of entries, of inits: NULL until asked for
  SQ_VEC(sq_cache_key) linked; // whose objects are in the dylib
  // Of a device: an sq_emu_module or an sq_abi_kernels for each entry and init.
  void **kernels[2];
  sq_nvrtc *nvrtc;
  sq_abi_gpu gpu; // whose kernels they are
  bool told;      // that the cache cannot be written
};

// Takes the error; its text is copied to the arena only after LLVM's memory is gone.
static const char *explain(sq_arena *a, const char *what, LLVMErrorRef e) {
  char copy[1000];
  char *text = LLVMGetErrorMessage(e);
  snprintf(copy, sizeof copy, "%s", text);
  LLVMDisposeErrorMessage(text);
  return sq_arena_fmt(a, "%s: %s", what, copy);
}

static uint32_t count(const sq_jit *j, int is_init) {
  return is_init ? j->model->n_init : j->model->n_entry;
}

sq_status sq_jit_open(sq_ctx *ctx, const sq_abi_model *m, const sq_target *t, const char *cache_dir,
                      const sq_jit_source *source, sq_jit **jit, const char **message) {
  sq_target_init();
  sq_arena *a = &ctx->arena;
  sq_jit *j = SQ_NEW(a, sq_jit);
  *j = (sq_jit){.ctx = ctx, .arena = a, .model = m, .target = *t};
  if (source) j->source = *source;
  if (cache_dir && *cache_dir) j->cache_dir = sq_arena_str(a, cache_dir, strlen(cache_dir));
  for (int k = 0; k < 2; k++) {
    j->code[k] = SQ_ARRAY(a, sq_entry_code, count(j, k) + 1);
    j->kernels[k] = SQ_ARRAY(a, void *, count(j, k) + 1);
  }
  *jit = j;
  char *why = NULL;
  LLVMTargetMachineRef machine = sq_target_machine(t, &why);
  if (!machine) {
    LLVMDisposeMessage(why);
    *message = sq_arena_fmt(a, "no JIT for %s", t->cpu);
    return SQ_EWORLD;
  }
  LLVMOrcLLJITBuilderRef builder = LLVMOrcCreateLLJITBuilder();
  LLVMOrcLLJITBuilderSetJITTargetMachineBuilder(
      builder, LLVMOrcJITTargetMachineBuilderCreateFromTargetMachine(machine));
  LLVMErrorRef e = LLVMOrcCreateLLJIT(&j->lljit, builder);
  if (!e) return SQ_OK;
  j->lljit = NULL;
  *message = explain(a, "no JIT", e);
  return SQ_EWORLD;
}

sq_status sq_jit_new(sq_graph *g, const sq_target *t, const char *cache_dir, sq_jit **jit,
                     const char **message) {
  sq_status s = sq_jit_open(g->ctx, sq_codegen_describe(g, t), t, cache_dir, NULL, jit, message);
  (*jit)->graph = g;
  return s;
}

static void drop_kernels(const sq_jit *j, void *kernels) { // others are the arena's
  if (j->target.device == SQ_DEVICE_CUDA_EMU) sq_emu_free(kernels);
}

void sq_jit_free(sq_jit *j) {
  if (!j || !j->lljit) return;
  for (int k = 0; k < 2; k++)
    for (uint32_t i = 0; i < count(j, k); i++) {
      drop_kernels(j, j->kernels[k][i]);
      j->kernels[k][i] = NULL;
    }
  sq_nvrtc_close(j->nvrtc);
  j->nvrtc = NULL;
  LLVMErrorRef e = LLVMOrcDisposeLLJIT(j->lljit);
  if (e) LLVMConsumeError(e);
  j->lljit = NULL;
}

// ---- one entry ---------------------------------------------------------------------------------
typedef struct job {
  sq_jit *jit;
  int is_init;
  uint32_t number;
  const char *symbol;
  sq_entry_code code;
  void *kernels; // of a device
  const char *message;
} job;

static const char *symbol_of(const sq_jit *j, int is_init, uint32_t k) {
  const sq_abi_entry *e = is_init ? &j->model->init[k] : &j->model->entry[k];
  return sq_symbol_of(j->arena, j->model->name, is_init, e->name);
}

// Where the linked code of a symbol lies.
static bool look_up(job *w, const char *symbol, sq_entry_code *code) {
  LLVMOrcExecutorAddress at = 0;
  LLVMErrorRef e = LLVMOrcLLJITLookup(w->jit->lljit, &at, symbol);
  if (e)
    w->message = explain(w->jit->arena, "the JIT cannot link", e);
  else
    *code = (sq_entry_code)(uintptr_t)at;
  return !e;
}

// Takes the objects, also when it fails.
static bool link_objects(job *w, LLVMMemoryBufferRef *object, uint32_t *n) {
  sq_jit *j = w->jit;
  LLVMOrcJITDylibRef dylib = LLVMOrcLLJITGetMainJITDylib(j->lljit);
  LLVMErrorRef e = NULL;
  while (*n > 0 && !e) e = LLVMOrcLLJITAddObjectFile(j->lljit, dylib, object[--*n]);
  while (*n > 0) LLVMDisposeMemoryBuffer(object[--*n]);
  if (e) w->message = explain(j->arena, "the JIT cannot link", e);
  return !e && look_up(w, w->symbol, &w->code);
}

static bool is_linked(const sq_jit *j, sq_cache_key key) {
  for (uint32_t k = 0; k < j->linked.n; k++)
    if (memcmp(&j->linked.v[k], &key, sizeof key) == 0) return true;
  return false;
}

static void store(sq_unit *u, sq_jit *j, sq_cache_key key) {
  int why = 0;
  if (sq_cache_store(j->cache_dir, key, u->part, u->n_part, &why) || j->told) return;
  j->told = true;
  sq_remark_add(j->ctx, "cache", false, (sq_span){0}, NULL,
                "compiled code is not kept: cannot write to %s: %s", j->cache_dir, strerror(why));
}

static sq_func *find_func(sq_graph *g, int is_init, uint32_t number) {
  sq_func_kind kind = is_init ? SQ_FUNC_INIT : SQ_FUNC_ENTRY;
  for (uint32_t k = 0; k < g->func.n; k++)
    if (g->func.v[k]->kind == kind && number-- == 0) return g->func.v[k];
  return NULL;
}

static sq_status build_emulated(sq_unit *u, job *w, const char **why) {
  sq_text unit = {.arena = &u->scratch};
  sq_emu_module *m = NULL;
  sq_cuda_unit(u->cuda, true, &unit);
  sq_status s = sq_emu_build(&u->scratch, unit.v, unit.n, w->jit->cache_dir, &m, why);
  w->kernels = m;
  return s;
}

static sq_status build_images(sq_unit *u, job *w, const char **why) {
  sq_jit *j = w->jit;
  sq_arena *a = j->arena;
  const char *arch = NULL;
  sq_abi_kernels *k = NULL;
  if (!j->nvrtc) SQ_TRY(sq_nvrtc_open(a, j->gpu.driver, &j->nvrtc, why));
  SQ_TRY(sq_cuda_arch_of(a, j->nvrtc, &j->gpu, &arch, why));
  SQ_TRY(sq_cuda_build(a, u->cuda, j->nvrtc, &arch, 1, j->cache_dir, &k, why));
  w->kernels = k;
  return SQ_OK;
}

static sq_status build_kernels(sq_unit *u, job *w) {
  const char *why = "";
  bool emulated = w->jit->target.device == SQ_DEVICE_CUDA_EMU;
  sq_status s = emulated ? build_emulated(u, w, &why) : build_images(u, w, &why);
  if (s != SQ_OK) u->message = sq_arena_str(u->graph->arena, why, strlen(why));
  return s;
}

// The inits of what the entry touches that have no code here nor, as far as is known, in the cache. On a
// device each has its own kernels.
static uint32_t list_inits(const job *w, uint32_t *init) {
  const sq_jit *j = w->jit;
  if (w->is_init || j->target.device) return 0;
  const sq_abi_entry *e = &j->model->entry[w->number];
  uint32_t n = 0;
  for (uint32_t k = 0; k < e->n_state; k++) {
    sq_cache_key key;
    uint32_t i = j->model->state[e->state[k]].init, seen = 0;
    while (seen < n && init[seen] != i) seen++;
    bool there = seen < n || j->code[1][i];
    if (!there && j->cache_dir && j->source.known)
      there = j->source.known(j->source.user, 1, i, &key);
    if (!there) init[n++] = i;
  }
  return n;
}

static void emit(sq_unit *u, const job *w, int is_init, uint32_t number) {
  sq_func *f = find_func(w->jit->graph, is_init, number);
  SQ_ASSERT(f, "the graph is not what its descriptor says");
  sq_entry_emit(u, f, symbol_of(w->jit, is_init, number), true);
}

static void tell(const job *w, int is_init, uint32_t number, sq_cache_key key) {
  const sq_jit *j = w->jit;
  if (j->cache_dir && j->source.made) j->source.made(j->source.user, is_init, number, key);
}

static sq_status compile_one(sq_unit *u, void *arg) {
  job *w = arg;
  sq_jit *j = w->jit;
  SQ_TRY(sq_unit_begin(u, w->symbol));
  LLVMContextSetDiscardValueNames(u->ctx, 1);
  if (j->target.device) u->cuda = sq_cuda_new(&u->scratch);
  uint32_t *init = SQ_ARRAY(&u->scratch, uint32_t, j->model->n_state + 1);
  uint32_t n_init = list_inits(w, init);
  emit(u, w, w->is_init, w->number);
  for (uint32_t k = 0; k < n_init; k++) emit(u, w, 1, init[k]);
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
    SQ_TRY(sq_parts_compile(u, w->symbol));
    if (j->cache_dir) store(u, j, key);
  }
  tell(w, w->is_init, w->number, key);
  for (uint32_t k = 0; k < n_init; k++) tell(w, 1, init[k], key);
  if (!link_objects(w, u->part, &u->n_part)) return SQ_EWORLD;
  if (j->cache_dir) sq_push(j->arena, &j->linked, key);
  for (uint32_t k = 0; k < n_init; k++)
    if (!look_up(w, symbol_of(j, 1, init[k]), &j->code[1][init[k]])) return SQ_EWORLD;
  return SQ_OK;
}

// The objects that are known without the graph.
static bool recall(job *w) {
  sq_jit *j = w->jit;
  sq_cache_key key;
  LLVMMemoryBufferRef object[SQ_PARTS];
  if (!j->cache_dir || !j->source.known) return false;
  if (!j->source.known(j->source.user, w->is_init, w->number, &key)) return false;
  if (is_linked(j, key)) return look_up(w, w->symbol, &w->code) || w->message;
  uint32_t n = sq_cache_load(j->cache_dir, key, object);
  if (n == 0) return false;
  if (link_objects(w, object, &n)) sq_push(j->arena, &j->linked, key);
  return w->code || w->message;
}

static void make(job *w) {
  sq_jit *j = w->jit;
  if (!j->graph) j->graph = j->source.graph(j->source.user, &w->message);
  if (!j->graph) return;
  sq_unit u;
  // Who compiled the graph may have returned long ago: a failed allocation ends here.
  if (sq_unit_do(&u, j->graph, &j->target, compile_one, w, false) != SQ_OK && !w->message)
    w->message = u.message;
}

static sq_entry_code compile(void *user, int is_init, uint32_t k, const char **message) {
  sq_jit *j = user;
  is_init = is_init != 0;
  if (k >= count(j, is_init)) {
    *message = "no such entry";
    return NULL;
  }
  if (j->code[is_init][k]) return j->code[is_init][k];
  job w = {.jit = j, .is_init = is_init, .number = k, .symbol = symbol_of(j, is_init, k)};
  if (!recall(&w)) make(&w);
  if (!w.code) *message = w.message;
  if (!w.code) {
    drop_kernels(j, w.kernels);
    w.kernels = NULL;
  }
  j->code[is_init][k] = w.code;
  j->kernels[is_init][k] = w.kernels;
  return w.code;
}

static void release(void *user) { sq_jit_free(user); }

static void *kernels_of(void *user, int is_init, uint32_t k) {
  sq_jit *j = user;
  return j->kernels[is_init ? 1 : 0][k];
}

static const sq_abi_kernels *images_of(void *user, int is_init, uint32_t k) {
  return kernels_of(user, is_init, k);
}
static void take_gpu(void *user, const sq_abi_gpu *gpu) { ((sq_jit *)user)->gpu = *gpu; }

sq_abi_hooks sq_jit_hooks(sq_jit *jit) {
  sq_abi_hooks h = {.user = jit, .compile = compile, .release = release};
  if (jit->target.device == SQ_DEVICE_CUDA_EMU) {
    h.device = &sq_emu_device;
    h.kernels = kernels_of;
  } else if (jit->target.device == SQ_DEVICE_CUDA) {
    h.gpu = take_gpu;
    h.images = images_of;
  }
  return h;
}
