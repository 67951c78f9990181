// What runs a graph in the tests of operations: the interpreter, or another target against it.
#pragma once
#include "ir/eval.h"

// A machine holds one graph and its states between calls. Tensors are exchanged as float64 and
// int64 whatever their type; outputs live until the next call.
typedef struct ops_machine {
  const char *name;
  // Tolerance that a float result of this type is given when its test states none, relative to
  // max(1, |expected|).
  double (*tolerance)(sq_dtype t);
  // NULL after writing `message` (size bytes). Asks `load` for the data of parameters.
  void *(*open)(sq_graph *g, sq_eval_load load, void *user, char *message, size_t size);
  sq_status (*call)(void *m, sq_func *f, const sq_tensor64 *in, uint32_t n_in, sq_tensor64 **out,
                    uint32_t *n_out);
  const char *(*message)(void *m); // of the last failed call
  sq_status (*reset)(void *m);
  void (*close)(void *m);
} ops_machine;

extern const ops_machine ops_interp;
#ifdef OPS_OBJECT
extern const ops_machine ops_object; // machine_object.c
#endif
#ifdef OPS_CPU
extern const ops_machine ops_cpu, ops_cuda_emu, ops_cuda; // machine_cpu.c
#endif
