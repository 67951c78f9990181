// What compiled code and the runtime share. A compiled model is one `sq_abi_model`: static data in a
// shared object made ahead of time (symbol `seqm_model`), or made in memory by the JIT.
// Plain C, no pointers but to its own data; version SQ_ABI_VERSION is tested on load.
#pragma once
#include <stdint.h>

#define SQ_ABI_VERSION 4u

// A size expression in postfix: operands are pushed, the one value left is the result. Arithmetic
// that overflows, divides by zero or meets an unbound symbol makes the expression invalid.
enum {
  SQ_X_CONST, // followed by the value
  SQ_X_SYM,   // followed by the symbol's number; number 0 is the count of workers
  SQ_X_ADD,
  SQ_X_MUL,
  SQ_X_FLOORDIV,
  SQ_X_MOD,
  SQ_X_MIN,
  SQ_X_MAX,
};
typedef struct sq_abi_expr {
  const int64_t *code;
  uint32_t n; // words
} sq_abi_expr;

typedef struct sq_abi_tensor {
  const char *name;
  uint32_t dtype; // sq_dtype number: order of ir/dtypes.def, also SEQM_F64 ... in seqm.h
  uint32_t rank;
  const sq_abi_expr *dim;
  // Inputs: an integer scalar that binds a size symbol has its number here; else 0.
  uint32_t binds;
} sq_abi_tensor;

typedef struct sq_abi_site {
  const char *file;
  uint32_t line, column;
  const char *message;
  const char *source; // the source line
} sq_abi_site;

typedef struct sq_abi_require {
  sq_abi_expr a, b;
  uint32_t equal; // 1: a == b, 0: a <= b
  uint32_t site;  // UINT32_MAX: a size's own lower bound, not written in the source
} sq_abi_require;

// One instance of a growing or fixed state, as compiled code sees it.
typedef struct sq_abi_cell {
  char *data;
} sq_abi_cell;

// A scalar state of integers that lies on a device, as the host knows it.
typedef struct sq_abi_mirror {
  int64_t value, valid; // valid 0: to be read from the device first
} sq_abi_mirror;

typedef struct sq_call sq_call;
typedef struct sq_device sq_device;
typedef void (*sq_task)(void *closure, int64_t task, int64_t worker);

// What a compiled entry is called with. Compiled code reads it by these offsets; append only.
struct sq_call {
  int64_t *sym;    // values of symbols by number ([0]: workers); live symbols are written here
  void *const *in; // data of the inputs, dense row-major
  // Buffers for the outputs, storage size (live extents at their limit). One whose shape mentions the
  // extent of a growing state follows it: `reserve`, `reset`, `resize` may change out[k].
  void *const *out;
  char *arena;        // entry->arena bytes, 64-byte aligned
  void *const *param; // data by row: model->param[p].row + instance
  sq_abi_cell *cell;  // by row: model->state[s].row + instance
  void *pool;         // first argument of `parallel`
  // Runs fn(closure, t, worker) for t = 0 .. n_tasks-1 in any order, 0 <= worker < sym[0]; returns
  // when all are done. Task boundaries never depend on the number of workers.
  void (*parallel)(void *pool, int64_t n_tasks, sq_task fn, void *closure);
  // Makes the growing axis of every instance of `state` at least n long; nonzero: no memory.
  // May move cell[].data and changes sym[grow symbol]. Afterwards the arena holds what entry->arena
  // says for the new extents (never less than before); it may move, its content is kept. So do
  // `reset` and `resize`. Kernels that have failed before it in the order of the call undo it.
  int32_t (*reserve)(sq_call *c, uint32_t state, int64_t n);
  int32_t (*reset)(sq_call *c); // all states that are neither kept nor derived
  // The error word: (site + 1) of the lowest failing site, 0 for none; kernels lower it atomically.
  // `error_value` is the offending index or value of some failure at that site.
  uint64_t error;
  int64_t error_value;
  void *const *packed; // packed weights by number, made at load
  // Whole write of a growing state: sets the extent of `state` to n (may move), content undefined.
  int32_t (*resize)(sq_call *c, uint32_t state, int64_t n);
  // The runtime sets error_value to INT64_MIN (no value to show) and error_limit to -1 (none); a
  // kernel that knows the bound which error_value broke may store it: "70000 is not below 50257".
  int64_t error_limit;
  // When not NULL: called before each kernel with what it computes ("generic y, gpt2.seqm:21"), for
  // traces. The text belongs to the code.
  void (*mark)(sq_call *c, const char *label);
  // When not NULL: arena, inputs, outputs, parameters and states are memory of this device, and
  // compiled code touches them by its functions alone.
  const sq_device *device;
  void *kernels;       // the device's own: the kernels of this entry
  const char *trouble; // what a function of the device that failed says, NULL: nothing
  // Scans by Newton's method count here, atomically: stretches of turns, iterations, stretches done
  // turn by turn instead, and the largest residual that was accepted (a double, not negative).
  uint64_t newton_stretches, newton_iterations, newton_redone;
  double newton_residual;
  // Of a device. By input: where the host has it, or NULL. By row, as `cell`: scalar states; the code
  // keeps them true as long as nothing fails.
  const void *const *host_in;
  sq_abi_mirror *mirror;
};

// An argument of a kernel: a number (bytes -1), or an address of the device and how many bytes from
// there the kernel may touch.
typedef struct sq_device_arg {
  int64_t value, bytes;
} sq_device_arg;
// Functions return 0, or nonzero with c->trouble set (`test`: when the error word is set). They take
// effect in the order of the calls; those that give something to the host wait for it.
struct sq_device {
  const char *name;
  int32_t (*begin)(sq_call *c); // a call begins: nothing has failed
  // Runs kernel number `kernel` of the entry in `blocks` blocks (0: nothing happens).
  int32_t (*launch)(sq_call *c, uint32_t kernel, int64_t blocks, const sq_device_arg *arg,
                    uint32_t n_arg);
  int32_t (*read)(sq_call *c, void *to, const void *from, int64_t bytes);  // device -> host
  int32_t (*write)(sq_call *c, void *to, const void *from, int64_t bytes); // host -> device
  int32_t (*copy)(sq_call *c, void *to, const void *from, int64_t bytes);  // they may overlap
  int32_t (*clear)(sq_call *c, void *to, int64_t bytes);                   // to zero
  // Brings what kernels have failed with into the error word.
  int32_t (*test)(sq_call *c);
  // The head of turn number `turn` of a loop whose turns ask for the same in the same order, if it is below
  // `limit`: does it go on, in *goes_on? `flag`: a truth there. Also tests the error word. Before turn 1 the
  // device may go round by itself, and say no.
  int32_t (*turn)(sq_call *c, int64_t *goes_on, const void *flag, int64_t turn, int64_t limit);
};

// Returns 0, or nonzero when c->error is set or a hook failed.
typedef int32_t (*sq_entry_code)(sq_call *c);

typedef struct sq_abi_entry {
  const char *name;
  uint32_t n_in, n_out;
  const sq_abi_tensor *in;
  const sq_abi_tensor *out;
  uint32_t n_require;
  const sq_abi_require *require;
  sq_abi_expr arena;         // bytes
  uint32_t n_param, n_state; // what it reads or writes, itself and through calls
  const uint32_t *param;
  const uint32_t *state;
  uint32_t writes;    // 1: has effects on state or parameters
  sq_entry_code code; // NULL in a JIT model until first called: see sq_abi_hooks
} sq_abi_entry;

typedef struct sq_abi_param {
  const char *name;
  uint32_t dtype, rank;
  const int64_t *dim;
  uint32_t count, n_alt;
  const char *const *names; // [count * n_alt]
  uint32_t row;             // first row of sq_call.param
  uint32_t written;         // 1: some entry writes it: the runtime owns a copy
  uint32_t frozen;
} sq_abi_param;

typedef struct sq_abi_state {
  const char *name;
  uint32_t dtype, rank;
  const int64_t *dim; // a growing axis has -1
  uint32_t count;
  const char *const *names; // [count]
  uint32_t row;
  int32_t grow_axis; // -1: none
  uint32_t grow_sym; // symbol of its extent; instances share it
  uint32_t kept, derived;
  // Called as an entry: input 0 is the instance (i32 scalar) when has_instances; output 0 is the
  // value (a growing axis has extent 1: the row that new rows hold). Index into model->init.
  uint32_t init;
  uint32_t has_instances;
} sq_abi_state;

// Kernels for a device, of one entry or of all, in one or several forms of code.
typedef struct sq_abi_kernel {
  const char *name;
  uint32_t threads; // of a block
  uint32_t n_arg;   // words of 8 bytes
  uint32_t n_map;   // tensor maps among them: 16 words each, from word 8 on (cuda_map.c)
} sq_abi_kernel;
typedef struct sq_abi_image {
  const char *arch; // "sm_90a": a cubin; "compute_80": PTX, with its 0 at the end
  const void *data;
  uint64_t size;
  const uint32_t *room; // by kernel: bytes of shared memory that a launch brings
  uint32_t maps;        // 1: its kernels read tensor maps, which the driver encodes
} sq_abi_image;
typedef struct sq_abi_kernels {
  uint32_t n_kernel, n_image;
  const sq_abi_kernel *kernel; // by number
  const sq_abi_image *image;
} sq_abi_kernels;
// A device of this machine: what code for it is made after.
typedef struct sq_abi_gpu {
  uint32_t capability; // 90 for 9.0
  uint32_t driver;     // 12040 for a driver that knows CUDA 12.4
} sq_abi_gpu;
enum { SQ_ABI_HOST, SQ_ABI_CUDA }; // where kernels run

typedef struct sq_abi_model {
  uint32_t version;
  const char *name;
  uint32_t float_dtype;
  uint32_t n_sym; // symbols are 1 .. n_sym
  const char *const *sym_names;
  uint32_t n_entry, n_init, n_param, n_state, n_site;
  const sq_abi_entry *entry;
  const sq_abi_entry *init;
  const sq_abi_param *param;
  const sq_abi_state *state;
  const sq_abi_site *site;
  const char *config; // "d=384 heads=12 ...", for messages
  const char *cpu;    // what the code needs, "x86-64-v3", for a clear error on a lesser machine
  uint32_t n_feature; // required CPU features, as in /proc/cpuinfo flags
  const char *const *feature;
  uint32_t device; // SQ_ABI_...
  const sq_abi_kernels
      *kernels; // of all entries; NULL in a JIT model, and where none run on a device
} sq_abi_model;

// How the runtime asks a JIT for code. `compile` returns the code of entry (is_init 0) or init
// number k, or NULL after setting *message.
typedef struct sq_abi_hooks {
  void *user;
  sq_entry_code (*compile)(void *user, int is_init, uint32_t k, const char **message);
  void (*release)(void *user); // with the model
  // A device of the JIT's own (the emulation), whose memory is the host's: what calls get as `device`
  // and, once the entry is compiled, as `kernels`. NULL: none.
  const sq_device *device;
  void *(*kernels)(void *user, int is_init, uint32_t k);
  // sq_abi_model.device is SQ_ABI_CUDA: told of the device before the first `compile`; afterwards the
  // kernels of an entry that was compiled.
  void (*gpu)(void *user, const sq_abi_gpu *gpu);
  const sq_abi_kernels *(*images)(void *user, int is_init, uint32_t k);
} sq_abi_hooks;
