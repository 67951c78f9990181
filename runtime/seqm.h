// seqm runtime: loads and runs compiled models. Plain C, no globals, never exits or aborts.
//
//   seqm_context *ctx = seqm_context_new(NULL);
//   seqm_model *m;
//   if (seqm_model_open(ctx, "minilm.so", &m) || seqm_model_weights(m, "model.safetensors"))
//     die(seqm_message(ctx));
//   const seqm_entry *e = seqm_model_entry(m, "forward");
//   seqm_tensor in[2] = {...}, out[1] = {0};          // data NULL: the library allocates
//   if (seqm_call(m, e, in, 2, out, 1)) die(seqm_message(ctx));
//   ... out[0].data ...; seqm_tensor_free(ctx, &out[0]);
//
// Statuses are 0 done; 1 the model, weights or inputs are wrong; 2 the request is wrong (unknown
// entry, wrong count of tensors); 3 something outside failed (file, memory). The message of the last
// failure of a context stands until the next call on it. A context and its models belong to one
// thread at a time; different contexts are independent.
#pragma once
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

#define SEQM_VERSION "0.1.0"
#define SEQM_MAX_RANK 12
typedef enum seqm_dtype {
  SEQM_F64, SEQM_F32, SEQM_F16, SEQM_BF16, SEQM_I64, SEQM_I32, SEQM_I8, SEQM_U8, SEQM_BOOL
} seqm_dtype;

typedef struct seqm_tensor {
  seqm_dtype dtype;
  uint32_t rank;
  int64_t dim[SEQM_MAX_RANK];
  void *data;    // dense, row-major, 64-byte alignment is best; NULL in an output: allocated
  uint32_t owned; // 1: allocated by the library, free with seqm_tensor_free
} seqm_tensor;

typedef struct seqm_context seqm_context;
typedef struct seqm_model seqm_model;
typedef struct seqm_entry seqm_entry;

typedef struct seqm_options {
  void *(*allocate)(void *user, void *p, size_t size); // as realloc; size 0 frees; NULL: libc's
  void *user;
  int threads; // 0: one per core
  // A host's own pool: runs fn(closure, task, worker) for every task < n_tasks; NULL: our own.
  void (*parallel)(void *pool, int64_t n_tasks, void (*fn)(void *, int64_t, int64_t), void *closure);
  void *pool;
} seqm_options;

// NULL only when there is no memory.
seqm_context *seqm_context_new(const seqm_options *o);
void seqm_context_free(seqm_context *ctx); // after its models
const char *seqm_message(const seqm_context *ctx);
int seqm_set_threads(seqm_context *ctx, int threads);

// A shared object made by `seqm compile`.
int seqm_model_open(seqm_context *ctx, const char *path, seqm_model **m);
// A model linked into the program: `extern const struct sq_abi_model seqm_model;` of its header.
struct sq_abi_model;
int seqm_model_linked(seqm_context *ctx, const struct sq_abi_model *desc, seqm_model **m);
void seqm_model_free(seqm_model *m);

// A .safetensors file or a .safetensors.index.json; may be repeated, the first file that has a name
// wins. Files are mapped. Names and shapes are tested when an entry that reads them is first called,
// or at once by seqm_model_check.
int seqm_model_weights(seqm_model *m, const char *path);
int seqm_model_random_weights(seqm_model *m, uint64_t seed);
// Everything that `entry` (NULL: any entry) needs is there and fits; one message lists all faults.
int seqm_model_check(seqm_model *m, const seqm_entry *entry);
// Names in the weight files that the model does not use, for notes; returns how many.
size_t seqm_model_unused(seqm_model *m, const char **names, size_t cap);

size_t seqm_entry_count(const seqm_model *m);
const seqm_entry *seqm_entry_at(const seqm_model *m, size_t k);
const seqm_entry *seqm_model_entry(seqm_model *m, const char *name); // NULL, with a message
const char *seqm_entry_name(const seqm_entry *e);
size_t seqm_entry_inputs(const seqm_entry *e);
size_t seqm_entry_outputs(const seqm_entry *e);
const char *seqm_input_name(const seqm_entry *e, size_t k);
const char *seqm_output_name(const seqm_entry *e, size_t k);
seqm_dtype seqm_input_dtype(const seqm_entry *e, size_t k);
seqm_dtype seqm_output_dtype(const seqm_entry *e, size_t k);
uint32_t seqm_input_rank(const seqm_entry *e, size_t k);
uint32_t seqm_output_rank(const seqm_entry *e, size_t k);

// Shapes of the outputs and bytes of scratch memory that a call with these inputs takes.
int seqm_plan(seqm_model *m, const seqm_entry *e, const seqm_tensor *in, size_t n_in,
              seqm_tensor *out, size_t n_out, size_t *scratch_bytes);
int seqm_call(seqm_model *m, const seqm_entry *e, const seqm_tensor *in, size_t n_in,
              seqm_tensor *out, size_t n_out);
int seqm_reset(seqm_model *m);
int seqm_save_state(seqm_model *m, const char *path);
int seqm_load_state(seqm_model *m, const char *path);
// Bytes of weights (mapped and owned), states, arena.
int seqm_memory(const seqm_model *m, size_t *weights, size_t *states, size_t *arena);

void seqm_tensor_free(seqm_context *ctx, seqm_tensor *t);
// .npy files, versions 1 to 3.
int seqm_npy_read(seqm_context *ctx, const char *path, seqm_tensor *t);
int seqm_npy_write(seqm_context *ctx, const char *path, const seqm_tensor *t);

// DLPack (dlpack.h's DLManagedTensor): CPU tensors, no copy when dense; `t` borrows from `dl`.
struct DLManagedTensor;
int seqm_from_dlpack(seqm_context *ctx, struct DLManagedTensor *dl, seqm_tensor *t);
// Gives `t`'s data away: the result's deleter frees it.
int seqm_to_dlpack(seqm_context *ctx, seqm_tensor *t, struct DLManagedTensor **dl);

size_t seqm_dtype_size(seqm_dtype t);
const char *seqm_version(void);
#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
