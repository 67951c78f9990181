// What `plan` decides, and the check of its promises (see sq_store in ir/ir.h).
#pragma once
#include "passes/live.h"

// May the result `out` of node n lie where its operand `in` lies, when that dies here? True when
// every element is read, if at all, before the same position is written.
bool sq_place_shared(sq_graph *g, const sq_node *n, const sq_value *in, const sq_value *out);
// Does the write n read `v`, the old value of what it writes, only at the position that it writes?
bool sq_write_reads_in_place(sq_graph *g, const sq_node *n, const sq_value *v);
// At point `at` the values a and b, of which one ends and one begins there, may be in one place.
bool sq_point_shared(const sq_live *l, uint32_t at, const sq_value *a, const sq_value *b);
// Are x, live in a, and y, live in b, ever there at once? Not when the one begins where the other
// ends and both may share that point.
bool sq_ranges_collide(const sq_live *l, sq_range a, const sq_value *x, sq_range b,
                       const sq_value *y);
// The first write (state_write, reserve, reset, param_write) before which the state or parameter
// value v would have to be copied; NULL when there is none.
sq_node *sq_alias_clobber(const sq_live *l, const sq_value *v);
// Bytes of a value's storage; without its first `skip` axes.
sq_dim sq_storage_bytes(sq_graph *g, sq_type t, uint32_t skip);
// Bytes of v's place, given the conditions on sizes under which v exists at all.
sq_dim sq_storage_of(sq_graph *g, const sq_value *v);

// Checks all promises of a planned function; faults are added, one line each.
bool sq_plan_verify(const sq_func *f, sq_text *faults);
