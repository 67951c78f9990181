// Sums of products: what is a factor of what, and which of them read the same rows.
#pragma once
#include "ir/ir.h"

// Scalar parts are small as a rule; what is larger is nothing special to anybody.
enum { SQ_SMALL_SCALARS = 4096 };

// sum over k of a * b, with nothing left out. Axes as bit sets by axis number:
//   batch  parallel, in both      m  parallel, only in a      n  parallel, only in b
//   k      reduced, in both
// The factors are any scalars that cannot fail; an axis that neither depends on makes it none.
typedef struct sq_contraction {
  uint32_t a, b; // scalar ids of the factors
  uint32_t batch, m, n, k;
} sq_contraction;
bool sq_is_contraction(sq_graph *g, const sq_node *n, sq_contraction *c);
// A contraction in which an operand is used again along the last axis of the result: matrix
// products, also with one row. These get kernels of their own.
bool sq_is_product(sq_graph *g, const sq_node *n);
// Axes (bit set) on which the scalar depends, through positions and guards.
uint32_t sq_scalar_axes(const sq_generic *k, uint32_t root);

// A product without a batch, turned so that the last axis of its result is one of b's: `a` are its rows.
bool sq_rows_of(sq_graph *g, const sq_node *n, sq_contraction *c);
// Why y does not take the rows of x, in the same order; NULL: it does, so that both may go side by side in
// one kernel (`group outer 0`). x and y are what sq_rows_of says of n and o.
const char *sq_rows_differ(sq_graph *g, const sq_node *n, const sq_contraction *x, const sq_node *o,
                           const sq_contraction *y);
// Does o read of what n makes nothing but the element where its own goes, and that after its sum? Both have
// the same axes then.
bool sq_reads_own(sq_graph *g, const sq_node *n, const sq_contraction *x, const sq_node *o,
                  const sq_contraction *y);
// Are the members of a `group outer 0` such products? NULL or why not.
const char *sq_siblings_check(sq_graph *g, const sq_node *group);
