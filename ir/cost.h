// What a call costs at least: operations and compulsory memory traffic, for reports.
#pragma once
#include "ir/ir.h"

typedef struct sq_cost {
  double flops; // scalar float operations: a multiply-add counts 2, any function 1
  double bytes; // parameters and derived states that are read, inputs, outputs: each once
} sq_cost;
// `sym[i]`: the value of symbol i (see sq_dim_eval). Loops count their trips where these are known
// sizes, `while` one turn, `if` its dearer side; domains are not taken off.
sq_cost sq_func_cost(const sq_func *f, const int64_t *sym);

// The same of each kernel of a planned function, in order: operations outside of kernels, and kernels as
// wholes. `times`: how often it runs; bytes: what one run reads and writes of other values, each once.
typedef struct sq_kernel_cost {
  const sq_node *node;
  double times, flops, bytes;
} sq_kernel_cost;
void sq_kernel_costs(const sq_func *f, const int64_t *sym,
                     void (*each)(const sq_kernel_cost *k, void *user), void *user);

// Where input k of f is used as an index: the smallest extent that it indexes; 0 when it is not.
int64_t sq_input_bound(const sq_func *f, uint32_t k, const int64_t *sym);
