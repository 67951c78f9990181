// Contractions: sums of products of two reads, in tiles.
#pragma once
#include "codegen/cuda/cuda.h"

// Emits the node as a tiled kernel, or returns false, having emitted nothing.
bool sq_cuda_gemm(sq_cg *cg, sq_node *n);
