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
// entry, wrong count of tensors, a buffer of another shape); 3 something outside failed (file,
// memory, code generation). After a failure nothing is half-made: pointers that were to be set are
// NULL, outputs that were to be allocated are not. NULL for a name, a path or an array of tensors
// that a call needs is status 2.
//
// The message of the last failure of a context stands until the next call on it. It is one line,
// or, for several faults and for places in a model's source, some more. There is always one, also
// when memory has run out.
//
// A context and its models belong to one thread at a time; different contexts are independent. The
// library's own threads are made when first needed, sleep between calls, take no signals, and end
// with the context. Results do not depend on how many there are.
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
  SEQM_F64,
  SEQM_F32,
  SEQM_F16,
  SEQM_BF16,
  SEQM_I64,
  SEQM_I32,
  SEQM_I8,
  SEQM_U8,
  SEQM_BOOL
} seqm_dtype;

// Where a tensor's data are: memory of the host, or of the first CUDA device that the driver shows.
typedef enum seqm_device { SEQM_HOST, SEQM_CUDA } seqm_device;

// A dense, row-major array; rank 0 is a scalar. The bytes of a bool are 0 or 1.
typedef struct seqm_tensor {
  seqm_dtype dtype;
  uint32_t rank;
  int64_t dim[SEQM_MAX_RANK];
  void *data;     // aligned to its element at least, 64 bytes is best; NULL in an output: allocated
  uint32_t owned; // 1: allocated by the library, free with seqm_tensor_free
  uint32_t device; // seqm_device; SEQM_CUDA for models compiled for cuda, to spare a copy
} seqm_tensor;

typedef struct seqm_context seqm_context;
typedef struct seqm_model seqm_model;
typedef struct seqm_entry seqm_entry; // belongs to its model

// Everything may be 0.
typedef struct seqm_options {
  // As realloc: p NULL allocates, size 0 frees, at least 16-byte aligned; NULL: libc's. All memory of
  // the context and its models comes from here, except what libc and the dynamic linker take for
  // themselves. It is called from the thread that calls the library, never from the pool's threads, and must
  // outlive tensors given away by seqm_to_dlpack.
  void *(*allocate)(void *user, void *p, size_t size);
  void *user;
  int threads; // 0: one per core that the process may use
  // A host's own pool: runs fn(closure, task, worker) for every task < n_tasks, in any order, and
  // returns when all are done; 0 <= worker < threads, no two tasks at once on one worker. Tasks do
  // not wait for one another. NULL: our own.
  void (*parallel)(void *pool, int64_t n_tasks, void (*fn)(void *, int64_t, int64_t),
                   void *closure);
  void *pool;
} seqm_options;

// NULL only when there is no memory. `o` may be NULL.
seqm_context *seqm_context_new(const seqm_options *o);
void seqm_context_free(seqm_context *ctx); // after its models and owned tensors
const char *seqm_message(const seqm_context *ctx);
// Between calls; 0 as in the options. With a host's pool: the workers that it has from now on.
int seqm_set_threads(seqm_context *ctx, int threads);

// ---- models ------------------------------------------------------------------------------------
// A shared object made by `seqm compile`. One for cuda looks for its device when it is first called,
// checked, saved or loaded; without one that is status 3, with what is missing. That it was made for this machine (architecture, CPU
// features, version of the interface) is tested before any of its code runs.
int seqm_model_open(seqm_context *ctx, const char *path, seqm_model **m);
// A model linked into the program; the header that `seqm compile` writes declares `desc`.
struct sq_abi_model;
int seqm_model_linked(seqm_context *ctx, const struct sq_abi_model *desc, seqm_model **m);
void seqm_model_free(seqm_model *m);

// A .safetensors file or a .safetensors.index.json (shards beside it); may be repeated, the first
// file that has a name wins. Files are mapped and must not be cut short while the model lives; a
// tensor is used in place when its dtype is the parameter's, otherwise converted (any float to any
// float; integers and bool must be equal). Names and shapes are tested when an entry that reads them
// is first called, or at once by seqm_model_check. Give weights before the first call: a parameter
// once used is not looked up again.
int seqm_model_weights(seqm_model *m, const char *path);
// For parameters that no file has: rank 2 and more normal with deviation 1/sqrt(last extent), rank 0
// and 1 normal around 1 with deviation 0.02, integers 0. The values depend on the seed, the
// parameter's (first) name and its shape alone, and are the same on every machine.
int seqm_model_random_weights(seqm_model *m, uint64_t seed);
// Everything that `entry` (NULL: any entry) needs is there and fits; one message lists all faults.
int seqm_model_check(seqm_model *m, const seqm_entry *entry);
// How many parameters (each instance for itself) are there of those that the last first call of an
// entry, or seqm_model_check, wanted; a model for cuda copies each to its device once. The one
// function that another thread may call while the model is in a call: for a progress bar.
void seqm_model_loading(const seqm_model *m, size_t *loaded, size_t *wanted);
// Names in the weight files that the model does not use, for notes; returns how many. At most `cap`
// are put into `names`; they live as long as the model.
size_t seqm_model_unused(seqm_model *m, const char **names, size_t cap);

// ---- entries -----------------------------------------------------------------------------------
size_t seqm_entry_count(const seqm_model *m);
const seqm_entry *seqm_entry_at(const seqm_model *m, size_t k);
// NULL, with a message that lists the entries. A model with state has `reset` even where its source
// writes none (not counted above): no inputs, no outputs, as seqm_reset.
const seqm_entry *seqm_model_entry(seqm_model *m, const char *name);
const char *seqm_entry_name(const seqm_entry *e);
size_t seqm_entry_inputs(const seqm_entry *e);
size_t seqm_entry_outputs(const seqm_entry *e);
const char *seqm_input_name(const seqm_entry *e, size_t k); // NULL: no such input
const char *seqm_output_name(const seqm_entry *e, size_t k);
seqm_dtype seqm_input_dtype(const seqm_entry *e, size_t k);
seqm_dtype seqm_output_dtype(const seqm_entry *e, size_t k);
uint32_t seqm_input_rank(const seqm_entry *e, size_t k);
uint32_t seqm_output_rank(const seqm_entry *e, size_t k);

// ---- calls -------------------------------------------------------------------------------------
// Shapes of the outputs and bytes of scratch memory that a call with these inputs takes. The inputs'
// data may be NULL, except of integers that stand for a size.
int seqm_plan(seqm_model *m, const seqm_entry *e, const seqm_tensor *in, size_t n_in,
              seqm_tensor *out, size_t n_out, size_t *scratch_bytes);
// An output with data is written there: dtype, rank and extents must be those that the call gives
// (see seqm_plan), and it may not overlap an input or another output (status 2). One without is
// allocated, with all fields set. (One whose shape follows a state that grows during the call is
// shaped as the state is afterwards.) Scratch memory is kept from call to call, so calls whose sizes
// have been seen before allocate nothing (but such outputs). A model compiled for cuda copies inputs
// that the host has to its device, and outputs back; a tensor with device SEQM_CUDA is read or
// written where it is, and one without data is allocated there. A failed call leaves the writes to
// states done before the failure.
int seqm_call(seqm_model *m, const seqm_entry *e, const seqm_tensor *in, size_t n_in,
              seqm_tensor *out, size_t n_out);
// How the last call's scans by Newton's method went. They solve for the states of stretches of turns;
// a stretch that does not converge is done turn by turn.
typedef struct seqm_newton {
  uint64_t stretches;  // of one channel each; 0: no such scan
  uint64_t iterations; // of all of them
  uint64_t redone;     // stretches turn by turn: that did not converge, or come soon behind such
  double residual; // the largest |f(h before) - h| that was accepted, as a part of the largest |f|
} seqm_newton;
int seqm_newton_count(const seqm_model *m, seqm_newton *n);
// How the last call went to a CUDA device: what it asks for between two waits is kept back, and given
// as one graph where an earlier call has asked for the same kernels in the same order.
// SEQM_CUDA_GRAPH=0 in the environment when the device is opened: never.
typedef struct seqm_graphs {
  uint64_t replayed; // kernels and copies in graphs
  uint64_t alone;    // one by one: the first time, or too few, or what no graph can be built of
  uint64_t built;    // graphs
  uint64_t changed;  // nodes of graphs that got other arguments
} seqm_graphs;
int seqm_graph_count(const seqm_model *m, seqm_graphs *g); // all 0: not on such a device

// ---- state -------------------------------------------------------------------------------------
// Every state but those kept gets its first value (computed when next needed), then the model's own
// `reset` runs, if it has one. A model just loaded is as after a reset.
int seqm_reset(seqm_model *m);
// States, and the parameters that entries write, as a safetensors file: written to a temporary name
// and renamed. Loading wants every state with its dtype and shape, and nothing else; a growing axis
// may have any extent. A file that does not fit changes nothing.
int seqm_save_state(seqm_model *m, const char *path);
int seqm_load_state(seqm_model *m, const char *path);
// Bytes of weights (mapped and owned), states, scratch memory; any may be NULL.
int seqm_memory(const seqm_model *m, size_t *weights, size_t *states, size_t *arena);

// ---- tensors -----------------------------------------------------------------------------------
// Frees the data when the library owns them; the tensor may be used again as an output.
void seqm_tensor_free(seqm_context *ctx, seqm_tensor *t);
// A copy of `t` on the host or on the device, which the library owns. Status 3 where there is no device.
int seqm_tensor_copy(seqm_context *ctx, const seqm_tensor *t, seqm_device where, seqm_tensor *copy);
// .npy files, versions 1 to 3, little-endian, C order; <u2 stands for bf16. Reading gives an owned
// tensor; writing goes to a temporary name first (a pipe or device is written directly).
int seqm_npy_read(seqm_context *ctx, const char *path, seqm_tensor *t);
int seqm_npy_write(seqm_context *ctx, const char *path, const seqm_tensor *t);

// DLPack (dlpack.h's DLManagedTensor): tensors of the CPU or of CUDA device 0, no copy. What made a
// CUDA tensor must be done, or in the default stream, when it is given; what a call gives is done.
// `t` borrows from `dl`, whose deleter the
// caller calls when done with `t`. A tensor that is not dense and row-major is refused (status 1).
struct DLManagedTensor;
int seqm_from_dlpack(seqm_context *ctx, struct DLManagedTensor *dl, seqm_tensor *t);
// Gives `t`'s data, which the library must own, away: the result's deleter frees them.
int seqm_to_dlpack(seqm_context *ctx, seqm_tensor *t, struct DLManagedTensor **dl);

size_t seqm_dtype_size(seqm_dtype t); // bytes; 0: no such type
const char *seqm_version(void);
#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
