// CPU code generation through the LLVM C API: planned graph -> LLVM module -> JIT or object.
#pragma once
#include "base/bytes.h"
#include "ir/ir.h"
#include "runtime/abi.h"

// Where kernels run; the entry around them is code of the host in each case.
typedef enum sq_device_kind {
  SQ_DEVICE_HOST,     // on the host, as compiled code
  SQ_DEVICE_CUDA_EMU, // CUDA C, compiled for the host, under an emulation of CUDA's threads
  SQ_DEVICE_CUDA,     // CUDA C, on a graphics processor
} sq_device_kind;
typedef struct sq_target {
  const char *triple;   // "x86_64-linux-gnu", "aarch64-linux-gnu"
  const char *cpu;      // LLVM's name: "native" is resolved to the host's
  const char *features; // LLVM feature string
  uint32_t vector_bytes, vector_registers;
  bool fma, fp16, bf16;
  uint32_t l1_bytes, l2_bytes;
  sq_device_kind device; // as sq_target_find leaves it: SQ_DEVICE_HOST
  const char *arch;      // of SQ_DEVICE_CUDA ahead of time: "sm_80,sm_90a"; NULL: a list of ours
} sq_target;
// name: native | x86-64-v2 | x86-64-v3 | x86-64-v4 | aarch64. SQ_EUSAGE for another.
sq_status sq_target_find(sq_ctx *ctx, const char *name, sq_target *t, const char **message);

// The descriptor of a graph, in the graph's arena, with `code` NULL everywhere. A graph that is not
// planned, or a target of zeros, gives arenas of size 0 (for who runs the model without its code).
sq_abi_model *sq_codegen_describe(sq_graph *g, const sq_target *t);

// The descriptor to or from bytes (base/bytes.h), without code.
void sq_abi_bytes(sq_bytes *b, sq_abi_model *m);

// ---- the cache of compiled code (cpu/cache.c) ----------------------------------------------------
typedef struct sq_cache_key {
  uint64_t low, high;
} sq_cache_key;
sq_cache_key sq_cache_key_of(const void *data, size_t size);
static inline bool sq_cache_key_same(sq_cache_key a, sq_cache_key b) {
  return a.low == b.low && a.high == b.high;
}
// Bytes that are not code, under a key and a suffix (".model"): false when there are none, or not as
// they were written. They lie in the arena.
bool sq_cache_get(sq_arena *a, const char *dir, sq_cache_key key, const char *suffix,
                  const char **data, size_t *size);
bool sq_cache_put(const char *dir, sq_cache_key key, const char *suffix, const void *data,
                  size_t size);
// What made the code: the build ids of this library, of LLVM and of libm. False when it is not known.
bool sq_codegen_identity(sq_text *out);

// ---- just in time --------------------------------------------------------------------------------
// A JIT over a planned graph: entries are compiled when first asked for, with an on-disk object
// cache in `cache_dir` (NULL: none). The graph must outlive it. `*jit` is set before anything can
// fail; sq_jit_free takes one that failed, too, and NULL. One thread at a time uses a graph and its
// JIT; different graphs are independent.
typedef struct sq_jit sq_jit;
sq_status sq_jit_new(sq_graph *g, const sq_target *t, const char *cache_dir, sq_jit **jit,
                     const char **message);
// The same over a descriptor, for who may know the objects of the entries already.
typedef struct sq_jit_source {
  void *user;
  // The planned graph that the descriptor is of; asked for when an object is not there. NULL: failed.
  sq_graph *(*graph)(void *user, const char **message);
  bool (*known)(void *user, int is_init, uint32_t k, sq_cache_key *object);
  void (*made)(void *user, int is_init, uint32_t k, sq_cache_key object);
} sq_jit_source;
sq_status sq_jit_open(sq_ctx *ctx, const sq_abi_model *m, const sq_target *t, const char *cache_dir,
                      const sq_jit_source *source, sq_jit **jit, const char **message);
sq_abi_hooks sq_jit_hooks(sq_jit *jit);
void sq_jit_free(sq_jit *jit);

// Ahead of time: one object with the code of all entries and the symbol `seqm_model`; for CUDA with the
// kernels, compiled for each architecture of t->arch and as PTX.
sq_status sq_codegen_object(sq_graph *g, const sq_target *t, const char *path,
                            const char **message);
// Text of the module ("llvm") or its assembly ("asm"), of one entry or all (NULL).
sq_status sq_codegen_text(sq_graph *g, const sq_target *t, const char *entry, bool assembly,
                          sq_text *out, const char **message);
// The kernels of one entry, or all (NULL), in CUDA C; `words`: with all that they need, as NVRTC takes it.
sq_status sq_codegen_cuda(sq_graph *g, const sq_target *t, const char *entry, bool words,
                          sq_text *out, const char **message);
// Links an object and the runtime's static library into a self-contained shared object, which exports
// `seqm_model` and the functions of seqm.h. Uses the system's C compiler driver, else LLVM's linker;
// SQ_EWORLD with what the linker said, or when there is none. `output` appears only when complete.
sq_status sq_codegen_link(sq_ctx *ctx, const sq_target *t, const char *object,
                          const char *runtime_library, const char *output, const char **message);
// The typed C header of a model: one documented static inline function an entry, valid C and C++.
//   static inline int minilm_forward(seqm_model *m, const int32_t *ids, int64_t B, int64_t N,
//                                    const int32_t *mask, float *emb);
void sq_codegen_header(const sq_abi_model *m, const char *guard, sq_text *out);
