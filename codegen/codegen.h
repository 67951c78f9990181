// CPU code generation through the LLVM C API: planned graph -> LLVM module -> JIT or object.
#pragma once
#include "base/bytes.h"
#include "ir/ir.h"
#include "ir/machine.h"
#include "runtime/abi.h"

// Where kernels run; the entry around them is code of the host in each case.
typedef enum sq_device_kind {
  SQ_DEVICE_HOST,     // on the host, as compiled code
  SQ_DEVICE_CUDA_EMU, // CUDA C, compiled for the host, under an emulation of CUDA's threads
  SQ_DEVICE_CUDA,     // CUDA C, on a graphics processor
} sq_device_kind;
// What `--tune` found: per class of kernels (a text hashed) how it is cut, and what that gained.
enum { SQ_TUNED_GEMM = 1, SQ_TUNED_STREAM = 2, SQ_TUNED_NUMBERS = 10 };
typedef struct sq_tuned_row {
  uint64_t class;
  uint32_t kind;                     // SQ_TUNED_...
  uint32_t number[SQ_TUNED_NUMBERS]; // fields of the cut, in order (cpu/cut.h)
  float gain;                        // time of the model's choice by that of this one
} sq_tuned_row;
typedef struct sq_tuned {
  uint32_t n;
  const sq_tuned_row *row; // classes ascending
  bool trial;              // kernels are marked by their classes, for --tune to time them
} sq_tuned;
typedef struct sq_target {
  const char *triple;    // "x86_64-linux-gnu", "aarch64-linux-gnu"
  const char *cpu;       // LLVM's name: "native" is resolved to the host's
  const char *features;  // LLVM feature string
  sq_machine machine;    // what kernels are shaped by
  const sq_tuned *tuned; // what --tune found on this machine; NULL: nothing
  sq_device_kind device; // as sq_target_find leaves it: SQ_DEVICE_HOST
  const char *arch;      // of SQ_DEVICE_CUDA ahead of time: "sm_80,sm_90a"; NULL: a list of ours
  bool tf32;             // of both: factors of f32 are rounded to tf32 for tensor cores
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
bool sq_cache_has(const char *dir, sq_cache_key key, const char *suffix);

// ---- what --tune found (cpu/tuned.c) -------------------------------------------------------------
// The table kept for a machine; NULL when there is none, or, with *broken, when it cannot be used.
const sq_tuned *sq_tuned_load(sq_arena *a, const char *dir, const sq_target *t, bool *broken);
bool sq_tuned_store(sq_arena *a, const char *dir, const sq_target *t, const sq_tuned *all);
// The table with a row more, or another one in its place; a row of kind 0 takes one out.
const sq_tuned *sq_tuned_with(sq_arena *a, const sq_tuned *old, const sq_tuned_row *row);
void sq_tuned_key(const sq_tuned *t, sq_text *key); // code depends on it

// ---- how a kernel is cut (cpu/cut_explain.c) ------------------------------------------------------
typedef struct sq_cut_info {
  const char *class;         // kernels of one class are cut alike; what --tune knows them by
  const char *words;         // tiles, blocks
  const sq_tuned_row *tuned; // what --tune chose; NULL: it is the model's choice
  double seconds;            // expected for the sizes
  const char *bound;         // by what, in words
} sq_cut_info;
// A contraction or an attention kernel; false for another. sym: sizes as for sq_dim_eval; NULL: not
// known, nothing is expected.
bool sq_cut_explain(sq_graph *g, const sq_target *t, const sq_node *n, const int64_t *sym,
                    sq_cut_info *out);
// Other ways to cut it, near the model's choice, which comes first; how many, at most SQ_CUT_TRIES.
enum { SQ_CUT_TRIES = 12 };
uint32_t sq_cut_candidates(sq_graph *g, const sq_target *t, const sq_node *n,
                           sq_tuned_row row[SQ_CUT_TRIES]);

// How each `while` of a planned entry runs on a device: the host knows its condition; the device repeats it
// (where its driver can, else the host reads the condition); the host reads the condition in every turn.
typedef enum sq_loop_form { SQ_LOOP_HOST, SQ_LOOP_DEVICE, SQ_LOOP_READS } sq_loop_form;
typedef struct sq_loop {
  sq_node *node;
  const char *why; // READS: what keeps the device from it
  sq_loop_form form;
} sq_loop;
typedef SQ_VEC(sq_loop) sq_loops;
sq_loops sq_codegen_loops(sq_graph *g, sq_func *f, sq_arena *a);

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
