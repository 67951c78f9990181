// What the driver of entries (codegen/cpu) knows of kernels in CUDA C: they take the place of compiled
// kernels where a target has a device.
#pragma once
#include "codegen/cpu/kernels.h"

// Kernels that want memory of their own for each block have at most so many blocks.
enum { SQ_CUDA_BLOCKS = 512 };

sq_kernel_scratch sq_cuda_need(sq_graph *g, const sq_node *n);
// Adds the operation's kernels to the unit's text and, at the builder's place, their launches.
void sq_cuda_kernel(sq_cg *cg, sq_node *n);
