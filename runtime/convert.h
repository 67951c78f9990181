// Conversion between the float types, and the deterministic random weights.
#pragma once
#include "runtime/internal.h"

// Elements of `from` to elements of `to`, both floats; round to nearest, ties to even. `src` may be
// unaligned. Large arrays are split over the context's threads.
void sq_convert(seqm_context *ctx, uint32_t from, const void *src, uint32_t to, void *dst,
                int64_t n);
// Weights that depend on (seed, name, shape, position) alone, the same on every machine: of rank 2
// and more normal with deviation 1/sqrt(last extent), below that 1 + 0.02 * normal; integers and
// bool 0. Philox4x32-10, key `seed`, counter (position / 4, hash of the name); normals by Acklam's
// inverse of the distribution function, in exactly rounded operations.
void sq_random_weight(seqm_context *ctx, uint64_t seed, const char *name, uint32_t dtype,
                      uint32_t rank, const int64_t *dim, void *dst);
