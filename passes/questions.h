// Questions about operations that passes and reports share.
#pragma once
#include "ir/ir.h"

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

// The cost of computing scalar `root` once, in simple operations; reads count 1.
uint32_t sq_scalar_cost(const sq_generic *k, uint32_t root);
// Axes (bit set) on which the scalar depends, through positions and guards.
uint32_t sq_scalar_axes(const sq_generic *k, uint32_t root);
// Number of leading positions of the read that are axis 0, 1, ... themselves.
uint32_t sq_read_leading(sq_graph *g, const sq_generic *k, const sq_scalar *read);
// Node reads value v, as an operand of its scalar part.
bool sq_node_reads(const sq_node *n, const sq_value *v);
// Appends "BEFORE 24:12 AFTER", with the file in front where it is not that of `here`; nothing for a
// span that stands nowhere.
void sq_say_place(sq_graph *g, sq_span span, sq_span here, const char *before, sq_text *t,
                  const char *after);
