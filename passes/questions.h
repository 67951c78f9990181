// Questions about operations that passes and reports share.
#pragma once
#include "ir/contraction.h"

// The cost of computing scalar `root` once, in simple operations; reads count 1.
uint32_t sq_scalar_cost(const sq_generic *k, uint32_t root);
// Node reads value v, as an operand of its scalar part.
bool sq_node_reads(const sq_node *n, const sq_value *v);
// Does every position of the read lie inside its value, whatever the indices and whatever branch n is on?
// Seen are ranges of axes and of the indices of loops; what a condition around n proves is not.
bool sq_read_is_inside(sq_graph *g, const sq_node *n, const sq_scalar *read);
// Appends "BEFORE 24:12 AFTER", with the file in front where it is not that of `here`; nothing for a
// span that stands nowhere.
void sq_say_place(sq_graph *g, sq_span span, sq_span here, const char *before, sq_text *t,
                  const char *after);
