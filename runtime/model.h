// A loaded model from inside. Bound once, called often: everything that a call needs stands ready
// in arrays made at load, so that a call in steady state allocates nothing.
//
//   model.c  load, check the machine, parameters, entries    bind.c      inputs -> sizes, tests
//   call.c   calls, the arena, messages of failed tests      state.c     first values, growth, reset
//   room.c   memory where kernels run                        snapshot.c  states to and from a file
#pragma once
#include "runtime/cuda.h"
#include "runtime/expr.h"
#include "runtime/internal.h"
#include "runtime/jit.h"
#include "runtime/weights.h"
#include <stdatomic.h>

struct seqm_entry {
  const sq_abi_entry *abi;
  seqm_model *model;
  uint32_t number;
  bool is_init;
  bool bound;     // its parameters are there
  bool out_grows; // an output's shape mentions a growing extent
  sq_entry_code code;
  void *kernels; // of a device: of the JIT, or an sq_gpu_code
  sq_gpu_record record;
};

typedef enum sq_state_phase {
  SQ_STATE_PENDING, // its first value is to be computed before it is read
  SQ_STATE_BUSY,
  SQ_STATE_READY,
} sq_state_phase;

// One state, all instances. A growing one: each instance holds outer x extent x inner elements,
// dense, in a buffer of `capacity` bytes; `row` holds outer x 1 x inner, what new rows are.
typedef struct sq_rt_state {
  sq_state_phase phase;
  bool sees_written;   // its init reads a parameter that entries write
  int64_t extent;      // of the growing axis
  size_t bytes;        // of an instance (fixed) or of its row (growing)
  size_t outer, inner; // growing: repeats before the axis, bytes after it
  char **row;          // [count], growing only
  size_t *capacity;    // [count], growing only
  char *block;         // of a derived state: all instances, one behind the other
} sq_rt_state;

typedef struct sq_rt_arena {
  char *p;
  size_t size;
} sq_rt_arena;

struct seqm_model {
  seqm_context *ctx;
  const sq_abi_model *abi;
  void *library; // of dlopen
  sq_abi_hooks hooks;
  sq_weights *weights;
  seqm_entry *entry, *init;          // entry[n_entry] is the built-in `reset`
  const sq_abi_entry *builtin_reset; // NULL: the model has its own, or no state
  // Parameters by row; owned copies are dropped with the model.
  const void **param;
  void **param_owned;
  uint32_t n_row;
  size_t owned_bytes;
  _Atomic size_t n_loaded, n_wanted; // of the last loading; read by other threads
  // States.
  sq_rt_state *state;
  sq_abi_cell *cell;
  sq_abi_mirror *scalar;      // by row, as `cell`: what the host knows of states on a device
  uint32_t n_cell, n_pending; // states that are not ready
  // One call at a time, and one init inside it.
  int64_t *sym, *init_sym;
  uint32_t *bound_by;         // per symbol: the input that bound it
  const void **in, **host_in; // host_in: what of it the caller has in the host's memory, else NULL
  void **out;
  bool *out_made; // allocated by this call
  size_t
      *out_room; // bytes of a buffer that follows a growing extent; 0: the output is another kind
  uint8_t *mark; // scratch, by parameter
  sq_rt_arena arena, init_arena;
  // Kernels on a CUDA device: all of the above that code touches is memory there, and so are
  // copies of the inputs and outputs that the host has.
  uint32_t n_out;       // rows of the arrays by output
  sq_gpu *gpu;          // NULL: on the host, or not needed so far
  sq_gpu_code *kernels; // of all entries; NULL in a JIT model
  sq_gpu_errors errors;
  sq_rt_arena in_room, instance_room, spread_room;
  sq_rt_arena *mirror; // by output: where the code writes what the host is to have
  bool *out_mirrored;  // by output: of the call in progress
  seqm_newton newton;  // of the last call
  seqm_graphs graphs;
  seqm_mark trace;
  void *trace_user;
  bool calling;
  char empty[SQ_ALIGN]; // what empty inputs point to
};

// A call in progress; the hooks find it from the sq_call.
typedef struct sq_rt_call {
  sq_call c; // first
  seqm_model *m;
  const seqm_entry *e;
  sq_rt_arena *arena;
  int hook_status; // not 0: a hook failed and set the message
  // What `reserve` has made longer while kernels ran whose failure nobody has looked for.
  struct {
    uint32_t state;
    int64_t before;
  } reserved[SQ_GPU_MARKS];
  uint32_t n_reserved;
} sq_rt_call;

// --- model.c ------------------------------------------------------------------------------------
// Finds the parameters that `mark` names; one message lists all faults. `who` for its first line.
int sq_rt_bind_params(seqm_model *m, const char *who);
void sq_rt_mark_params(seqm_model *m, const sq_abi_entry *e); // into m->mark, cleared before
bool sq_rt_output_grows(const sq_abi_model *d, const sq_abi_tensor *o);
int sq_rt_prepare_code(seqm_model *m, seqm_entry *e);
// A written parameter's instance gets room of its own, then a value from outside.
int sq_rt_param_room(seqm_model *m, uint32_t row, size_t bytes);
int sq_rt_param_set(seqm_model *m, uint32_t row, const void *data, size_t bytes);

// --- bind.c -------------------------------------------------------------------------------------
// Tests the inputs and fills m->sym and m->in. `plan`: data may be missing where no size needs it.
int sq_rt_bind(seqm_model *m, const seqm_entry *e, const seqm_tensor *in, size_t n_in, bool plan);
void sq_rt_start_symbols(seqm_model *m, int64_t *sym);
int sq_rt_output_shape(seqm_model *m, const seqm_entry *e, size_t k, const int64_t *sym,
                       seqm_tensor *t, size_t *bytes);
int sq_rt_arena_bytes(seqm_model *m, const sq_abi_entry *e, const int64_t *sym, size_t *bytes);

// --- room.c: memory where kernels run -----------------------------------------------------------
// Before any of the others: the model's device is open. Nothing happens for a model on the host.
int sq_rt_device(seqm_model *m);
void sq_rt_device_close(seqm_model *m);        // after all memory there is dropped
void *sq_rt_room(seqm_model *m, size_t bytes); // NULL: none; size 0 gives a valid address too
void sq_rt_room_drop(seqm_model *m, void *p);
int sq_rt_fail_room(seqm_model *m, const char *fmt, ...) // why there is none
    __attribute__((format(printf, 2, 3)));
// From the host, to the host (a device: waits), within (they may overlap), rows within (they may not).
int sq_rt_put(seqm_model *m, void *to, const void *from, size_t bytes);
int sq_rt_take(seqm_model *m, void *to, const void *from, size_t bytes);
int sq_rt_move(seqm_model *m, void *to, const void *from, size_t bytes);
int sq_rt_move_rows(seqm_model *m, void *to, size_t to_pitch, const void *from, size_t from_pitch,
                    size_t width, size_t height);
int sq_rt_arena_fit(seqm_model *m, sq_rt_arena *a, size_t bytes, bool keep);
// Inputs that the host has, or that lie as the code cannot read them, get their copies on the device,
// in m->in.
bool sq_rt_aligned(const seqm_tensor *t);
int sq_rt_inputs(seqm_model *m, const seqm_entry *e, const seqm_tensor *in);

// --- call.c -------------------------------------------------------------------------------------
// Runs code with the arrays given; `sym` is complete. The message of a failure is set.
int sq_rt_run(seqm_model *m, seqm_entry *e, int64_t *sym, sq_rt_arena *arena, const void **in,
              const void **host_in, void **out);
// After an extent has changed: the outputs whose shape follows it have room.
int sq_rt_outputs_follow(sq_rt_call *r);
// Adds "FILE:LINE:COLUMN: what failed", and the source line with a caret.
void sq_rt_site_begin(seqm_model *m, uint32_t site);
void sq_rt_site_end(seqm_model *m, uint32_t site);

// --- state.c ------------------------------------------------------------------------------------
int sq_rt_states_new(seqm_model *m);
void sq_rt_states_free(seqm_model *m);
int sq_rt_state_ready(seqm_model *m, uint32_t s);
// Makes ready what `e` touches, and what would be computed from parameters that it writes.
int sq_rt_states_ready(seqm_model *m, const sq_abi_entry *e);
void sq_rt_states_reset(seqm_model *m); // marks them; computed when next needed
// Room for a value that is to be set from outside, instead of computing a first one (fixed shape).
int sq_rt_state_room(seqm_model *m, uint32_t s);
void sq_rt_state_set_ready(seqm_model *m, uint32_t s);
size_t sq_rt_state_size(const seqm_model *m, uint32_t s); // bytes of an instance's present value
// A growing state: room for n rows, then exactly n rows (there is room for).
int sq_rt_state_rows_room(seqm_model *m, uint32_t s, int64_t n);
int sq_rt_state_rows(seqm_model *m, uint32_t s, int64_t n);
size_t sq_rt_states_bytes(const seqm_model *m);
void sq_rt_scalars_forget(seqm_model *m); // something else than code has written states
// Hooks.
int32_t sq_rt_reserve(sq_call *c, uint32_t state, int64_t n);
int32_t sq_rt_resize(sq_call *c, uint32_t state, int64_t n);
int32_t sq_rt_reset(sq_call *c);
// After a failed call: as if it had ended before those `reserve` that come behind what has failed.
int sq_rt_reserve_undo(sq_rt_call *r);

// --- features.c ---------------------------------------------------------------------------------
// The first of the needed CPU features that this machine lacks, or NULL.
const char *sq_rt_missing_feature(const char *const *feature, uint32_t n);
