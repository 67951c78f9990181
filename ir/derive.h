// Derivatives of the scalar part of a loop nest, as scalars of it.
//
//   t0 = tanh(%w[k] * %h[k] + %x[k])     ->     by %h[k]:  (1.0 - t0 * t0) * %w[k]
//
// The leaves are what is differentiated by, one at a time and as if they were free of one another.
// What has a kink (maximum, absolute value) has the derivative of one side there; what jumps has none.
#pragma once
#include "ir/ir.h"

typedef struct sq_derivative {
  const char *why; // NULL, or what has no derivative: "`floor` of "
  uint32_t n;      // scalars before those that were added
  uint32_t *by;    // per scalar: of the root by this leaf; NO_SCALAR: 0, or no leaf
} sq_derivative;

// leaf: per scalar of k. Adds scalars to k.
sq_derivative sq_derive(sq_graph *g, sq_generic *k, uint32_t root, const bool *leaf);
