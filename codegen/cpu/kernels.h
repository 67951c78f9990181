// The seam inside CPU code generation. On one side the entry functions (entry.c, control.c):
// control flow, sizes, where values live. On the other side the kernels (kernel_*.c, gemm*.c,
// math*.c): one tensor operation becomes one outlined function that tasks of the pool run.
//
//   i32 entry(sq_call *c) { ...                     <- driver
//     struct closure k1 = {c, x, y, N};             <- sq_kernel_emit, at the builder's place
//     if (N * 64 < small) for t: kernel_1(&k1, t, 0)
//     else c->parallel(c->pool, tasks(N), kernel_1, &k1);
//     ...
//   }
//   void kernel_1(void *closure, i64 task, i64 worker)
//
// Task boundaries depend on sizes only and every reduction has one order, so results are the same
// bits for any number of workers.
#pragma once
#include "codegen/codegen.h"
#include <llvm-c/Core.h>

// The generation of one entry (or init) function into one module. Made by the driver.
typedef struct sq_cg {
  sq_graph *graph;
  sq_func *func;
  const sq_target *target;
  sq_arena *scratch; // lives until the module is done
  LLVMContextRef ctx;
  LLVMModuleRef module;
  LLVMBuilderRef builder; // positioned in `entry` where the code of the next node goes
  LLVMValueRef entry;     // the function i32 (ptr)
  LLVMValueRef call;      // its parameter: sq_call *
  uint32_t n_kernel;      // kernels so far, for their names
  void *driver;           // the driver's own
  void *kernels, *ready;  // the kernels' own, NULL at first
} sq_cg;

// ---- by the driver, for use at the builder's place in the entry --------------------------------
// The value of a dimension expression, i64.
LLVMValueRef sq_cg_dim(sq_cg *cg, sq_dim d);
// The data of a value, ptr. Every value has memory, block arguments (loop indices, carried scalars)
// and constants included. Not asked for values inside a group or sweep.
LLVMValueRef sq_cg_pointer(sq_cg *cg, const sq_value *v);
// The data of the state or parameter instance that a state_write or param_write changes. The driver
// calls `resize` first where the whole of a growing state is written.
LLVMValueRef sq_cg_target(sq_cg *cg, const sq_node *n);
// Memory of func->scratch[k] for worker 0, and in *stride (i64) the distance to that of the next one.
LLVMValueRef sq_cg_inner(sq_cg *cg, uint32_t k, LLVMValueRef *stride);
// Scratch as declared by sq_kernel_need, 64-byte aligned: the shared part, or the part of worker 0 and
// in *stride the distance to the next worker's. Content is undefined before each kernel.
LLVMValueRef sq_cg_shared(sq_cg *cg);
LLVMValueRef sq_cg_private(sq_cg *cg, LLVMValueRef *stride);

// A builder for code elsewhere in the module. It belongs to the compilation, which releases it when an
// allocation fails in between; given back, it serves again.
LLVMBuilderRef sq_cg_builder_take(sq_cg *cg);
void sq_cg_builder_give(sq_cg *cg, LLVMBuilderRef b);

// ---- by the kernels ----------------------------------------------------------------------------
// Is this operation a kernel: generic, update, state_write, param_write, cumulate, sort, argsort,
// topk, random, group, sweep? (Nodes inside a group or sweep belong to its kernel.)
bool sq_kernel_is(const sq_node *n);
// Bytes of scratch that the node's kernel wants; {0} for none. Kernels of an entry run one after
// another, so the driver provides the maximum (or an upper bound) over all nodes of the entry.
typedef struct sq_kernel_scratch {
  sq_dim shared;
  sq_dim per_worker;
} sq_kernel_scratch;
sq_kernel_scratch sq_kernel_need(sq_graph *g, const sq_target *t, const sq_node *n);
// Emits the kernel and, at the builder's place, its call. Afterwards the builder stands at the end of
// the code (perhaps in another basic block), which has no terminator.
// Functions that it adds to the module have linkonce_odr linkage: the driver makes them internal, or
// compiles them apart from the entry.
void sq_kernel_emit(sq_cg *cg, sq_node *n);

// Has the processor this feature, by LLVM's name?
bool sq_target_has(const sq_target *t, const char *name);
