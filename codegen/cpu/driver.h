// Inside the CPU driver: what entry.c, control.c, dims.c, target.c, object.c, jit.c, describe.c
// share.
//
//   sq_graph (planned) --unit: entry.c, control.c, dims.c, kernel_*.c--> LLVM module
//                      --object.c--> object code --jit.c | sq_codegen_object--> memory | file
//                      --describe.c--> sq_abi_model, the static data beside the code
#pragma once
#include "codegen/cpu/kernels.h"
#include <llvm-c/TargetMachine.h>

// ---- arena layout (dims.c) ---------------------------------------------------------------------
// An entry's arena is a row of segments, each aligned to 64 bytes. Segments whose size mentions the
// extent of a growing state come last: the offsets of the others never change within a call.
typedef enum sq_segment_kind {
  SQ_SEG_SLOT,    // func->slot[index]
  SQ_SEG_INNER,   // func->scratch[index], per worker
  SQ_SEG_SHARED,  // scratch that kernels asked for
  SQ_SEG_PRIVATE, // the same, per worker
} sq_segment_kind;
typedef struct sq_segment {
  sq_segment_kind kind;
  uint32_t index;
  const sq_dim *size; // bytes of a part: the largest of these, multiples of 64
  uint32_t n_size;    // at least 1
  int64_t parts;      // 0: as many as there are workers
  bool grows;
} sq_segment;
typedef struct sq_layout {
  uint32_t n;
  sq_segment *seg;
} sq_layout;
sq_layout sq_layout_make(sq_graph *g, const sq_target *t, sq_func *f, sq_arena *a);
// Index of the segment; it must be there.
uint32_t sq_layout_find(const sq_layout *l, sq_segment_kind kind, uint32_t index);
bool sq_dim_grows(const sq_dims *ds, sq_dim d); // mentions the extent of a growing state
bool sq_dim_fixed(const sq_dims *ds, sq_dim d); // mentions neither that nor a live symbol

// Size expressions as postfix programs.
sq_abi_expr sq_expr_make(const sq_dims *ds, sq_dim d, sq_arena *a);
sq_abi_expr sq_expr_arena(const sq_dims *ds, const sq_layout *l, sq_arena *a);

// ---- one compilation (object.c) ----------------------------------------------------------------
// Owns the LLVM objects of one compilation. `sq_unit_do` runs the work under a guard of its own, so
// that they are released when an allocation fails.
enum { SQ_PARTS = 8 };
typedef struct sq_unit {
  sq_graph *graph;
  const sq_target *target;
  sq_arena scratch;
  sq_guard saved;
  LLVMContextRef ctx;
  LLVMModuleRef module;
  LLVMBuilderRef builder, head;
  LLVMBuilderRef spare[16]; // all that sq_cg_builder_take made
  bool taken[16];
  LLVMTargetMachineRef machine;
  LLVMMemoryBufferRef buffer;         // the object, or the assembly
  LLVMMemoryBufferRef part[SQ_PARTS]; // objects of sq_parts_compile
  uint32_t n_part;
  const char *message;  // why the work failed, in the graph's arena
  struct sq_cuda *cuda; // of a device: the kernels' text so far
} sq_unit;
typedef sq_status (*sq_unit_work)(sq_unit *u, void *arg);
// rethrow: a failed allocation goes on to the context's guard; otherwise it is SQ_EWORLD and
// u->message is set. Whatever happens, the unit's LLVM objects are gone afterwards.
sq_status sq_unit_do(sq_unit *u, sq_graph *g, const sq_target *t, sq_unit_work work, void *arg,
                     bool rethrow);
// A module named `name` for the target; what follows fills it.
sq_status sq_unit_begin(sq_unit *u, const char *name);
// The module verified, optimised, and as object code or assembly in u->buffer.
sq_status sq_unit_verify(sq_unit *u);
sq_status sq_unit_optimise(sq_unit *u);
sq_status sq_unit_code(sq_unit *u, LLVMCodeGenFileType type);
// The steps of sq_unit_optimise: LLVM's passes over the whole (merge), then over each function.
const char *sq_unit_recipe(bool merge);
void sq_unit_anonymise(sq_unit *u); // before the merge
sq_status sq_unit_run(sq_unit *u, const char *passes);
// The same for a module of one entry, cut into objects u->part[] that are compiled side by side: as
// many as there are processors, if it is large enough (parts.c). `symbol`: the entry's name.
sq_status sq_parts_compile(sq_unit *u, const char *symbol);
// Runs LLVM passes; NULL, or LLVM's error message, to be disposed by LLVMDisposeErrorMessage.
char *sq_unit_passes(LLVMModuleRef m, LLVMTargetMachineRef machine, const char *passes);

// A message of LLVM moved into the graph's arena.
const char *sq_unit_take(sq_unit *u, char *llvm_message);

// ---- functions (entry.c) -----------------------------------------------------------------------
// The code of one planned function, as an external or internal function `symbol`.
LLVMValueRef sq_entry_emit(sq_unit *u, sq_func *f, const char *symbol, bool external);
// "minilm.forward", "minilm.init.block.ck": no name of C, so never one of a library.
const char *sq_entry_symbol(sq_graph *g, const sq_func *f);
const char *sq_symbol_of(sq_arena *a, const char *model, bool is_init, const char *name);

// The driver's part of an sq_cg.
typedef struct sq_driver {
  sq_unit *unit;
  LLVMBuilderRef head;    // stands before the end of the function's first block
  LLVMBasicBlockRef stop; // returns 1
  sq_layout layout;
  LLVMValueRef *offset;   // of each fixed segment
  LLVMValueRef grow_base; // offset of the first growing segment
  LLVMValueRef arena;     // its base when it cannot move, else NULL
  LLVMValueRef workers;
  LLVMValueRef *local;        // by value id: memory of a scalar without a store
  SQ_VEC(LLVMValueRef) fixed; // by dim id: values known since the start
  const uint32_t *param_row, *state_row;
  // On a device, by value id: does the host know the integer; its word where the code now is, its
  // variable where loops and branches carry it (host.c).
  bool *on_host;
  sq_loops loops;
  LLVMValueRef *known, *variable;
  LLVMValueRef word,
      args;      // on a device: memory of the host for a scalar, for the arguments of a launch
  sq_sym frozen; // a growing extent that stands for `frozen_value` while its state is rewritten
  LLVMValueRef frozen_value;
} sq_driver;
static inline sq_driver *sq_cg_driver(sq_cg *cg) { return cg->driver; }

// Rows of the tables in sq_call: param_row[count of params], state_row[count of states].
uint32_t *sq_rows_param(const sq_graph *g, sq_arena *a);
uint32_t *sq_rows_state(const sq_graph *g, sq_arena *a);

LLVMValueRef sq_cg_i64(sq_cg *cg, int64_t v);
LLVMValueRef sq_cg_i32(sq_cg *cg, int32_t v);
LLVMTypeRef sq_cg_type_i64(sq_cg *cg);
LLVMTypeRef sq_cg_type_ptr(sq_cg *cg);
LLVMBasicBlockRef sq_cg_block(sq_cg *cg, const char *name); // appended to the entry
LLVMValueRef sq_cg_add_bytes(sq_cg *cg, LLVMValueRef p, LLVMValueRef bytes);
// Field of the sq_call at byte `offset`, loaded; and its address.
LLVMValueRef sq_cg_field(sq_cg *cg, size_t offset, LLVMTypeRef type, const char *name);
LLVMValueRef sq_cg_field_at(sq_cg *cg, size_t offset);
// The scalar at a value's memory: integers as i64 (sign- or zero-extended), bool as i1.
LLVMValueRef sq_cg_integer(sq_cg *cg, const sq_value *v);
LLVMValueRef sq_cg_bool(sq_cg *cg, const sq_value *v);
// An i64 stored at an integer value's memory in its type.
void sq_cg_set_integer(sq_cg *cg, const sq_value *v, LLVMValueRef i);
// Row of the state's instance that a node names, in the tables of sq_call.
LLVMValueRef sq_cg_state_row(sq_cg *cg, const sq_node *n);
// Bytes of a value's storage.
LLVMValueRef sq_cg_bytes(sq_cg *cg, const sq_value *v);
// Does moving `from` to `to` need no code?
bool sq_cg_same_place(const sq_value *to, const sq_value *from);
// Copies the storage of `from` to the memory of `to`, or to `at` when that is not NULL.
void sq_cg_move(sq_cg *cg, const sq_value *to, LLVMValueRef at, const sq_value *from);

// ---- kernels on a device (device.c) ------------------------------------------------------------
// The entry is code of the host; what it wants of values that lie on the device goes through these.
bool sq_cg_on_device(const sq_cg *cg);
// Calls c->device->HOOK(c, arg...), HOOK at byte `hook` of sq_device; leaves the entry when it fails.
void sq_cg_device_call(sq_cg *cg, size_t hook, LLVMValueRef *arg, unsigned n);
// A copy in the host's memory of the scalar at `from`; a word of it for a value to be written.
LLVMValueRef sq_cg_fetch(sq_cg *cg, LLVMValueRef from, int64_t bytes);
LLVMValueRef sq_cg_word(sq_cg *cg);
void sq_cg_device_write(sq_cg *cg, LLVMValueRef to, LLVMValueRef from, int64_t bytes);
void sq_cg_device_copy(sq_cg *cg, LLVMValueRef to, LLVMValueRef from, LLVMValueRef bytes);
void sq_cg_device_clear(sq_cg *cg, LLVMValueRef to, LLVMValueRef bytes);

// ---- scalars that the host knows (host_find.c, host.c) -------------------------------------------
bool *sq_host_search(sq_graph *g, sq_func *f, sq_arena *a, sq_loops *loops); // by value id
// Is the element of n, which has no axes, made of what the host knows?
bool sq_host_can(const bool *known, const sq_node *n);
// Finds them, for an entry on a device. On the host nothing is known in this sense: all false.
void sq_host_find(sq_cg *cg);
bool sq_host_has(const sq_cg *cg, const sq_value *v);
// Its word, an i64 in the range of its type; where it gets one.
LLVMValueRef sq_host_word(sq_cg *cg, const sq_value *v);
void sq_host_set(sq_cg *cg, const sq_value *v, LLVMValueRef word);
// From value to value by variables: first all that leave a block are carried, then those arrive
// that begin the next.
void sq_host_carry(sq_cg *cg, const sq_value *to, const sq_value *from);
void sq_host_arrive(sq_cg *cg, sq_value *const *v, uint32_t n);
// The word into memory of the device, in the value's type.
void sq_host_settle(sq_cg *cg, const sq_value *v, LLVMValueRef at);
void sq_host_inputs(sq_cg *cg);
// Emits an operation whose result is known: true, and there is nothing else to do.
bool sq_host_emit(sq_cg *cg, sq_node *n);
// A state_write: the state's mirror follows. True where the host knows what is written.
bool sq_host_write(sq_cg *cg, sq_node *n);

// ---- operations (control.c) --------------------------------------------------------------------
// All nodes of a block but its yield.
void sq_control_block(sq_cg *cg, sq_block *b);
// Leaves the entry when the error word is set.
void sq_control_test(sq_cg *cg);
// Goes on in a new block where `ok` holds, leaves the entry otherwise.
void sq_control_go_on_if(sq_cg *cg, LLVMValueRef ok);

// ---- targets (target.c) ------------------------------------------------------------------------
void sq_target_init(void); // LLVM's targets, once a process
// NULL, with *message (LLVM's, to be disposed), when LLVM does not know it.
LLVMTargetMachineRef sq_target_machine(const sq_target *t, char **message);
// What the target's code needs of a machine, as in /proc/cpuinfo; in the arena.
const char *const *sq_target_needs(const sq_target *t, sq_arena *a, uint32_t *n);

// ---- names in C (header.c) ---------------------------------------------------------------------
// `name` as an identifier of C and C++: other characters become `_`, a keyword gets one behind it.
const char *sq_c_name(sq_arena *a, const char *name);
// What functions of model `name` begin with, and its descriptor (`seqm_model_NAME`): as sq_c_name,
// with `_` behind what seqm.h has.
const char *sq_c_model(sq_arena *a, const char *name);
const char *sq_c_descriptor(sq_arena *a, const char *name);

// ---- the object cache (cache.c) ----------------------------------------------------------------
sq_cache_key sq_cache_hash(const void *data, size_t size, const sq_target *t);
// The objects stored under `key` into part[SQ_PARTS]; how many: 0 for none, or when what is there
// is not as it was written.
uint32_t sq_cache_load(const char *dir, sq_cache_key key, LLVMMemoryBufferRef *part);
// Stores them; false when it cannot be written, with the reason's errno in *why.
bool sq_cache_store(const char *dir, sq_cache_key key, const LLVMMemoryBufferRef *part, uint32_t n,
                    int *why);
