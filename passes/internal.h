// What the files of this folder share: the passes' functions, and small edits of graphs.
#pragma once
#include "passes/passes.h"

#define PASS(name, required, what) bool sq_pass_##name(sq_graph *g, const sq_pass_options *o);
#include "passes/passes.def"
#undef PASS

// ---- edit.c ------------------------------------------------------------------------------------
// The name of the function for remarks; NULL for what is not an entry.
const char *sq_pass_entry(const sq_func *f);
// Remarks that something was not done to n, which stays apart from `apart`, because of `obstacle` (either
// may be NULL).
void sq_pass_missed(sq_graph *g, const sq_func *f, const char *pass, const sq_node *n,
                    const sq_node *apart, const sq_node *obstacle, const char *text);
// Remarks for the marked site that n belongs to, if any, that it became part of something.
void sq_pass_joined(sq_graph *g, const sq_func *f, const char *pass, const sq_node *n,
                    const char *text);
// A generic that yields v unchanged, placed before `at`.
sq_node *sq_copy_before(sq_graph *g, sq_node *at, sq_value *v);
// Is n a generic that moves one operand to its result unchanged, element by element?
bool sq_node_is_copy(sq_graph *g, const sq_node *n);
// Input j of a loop with carried values (repeat, while, scan) that begins carried value k.
uint32_t sq_carried_first_in(const sq_node *n);
// How many values it carries, 0 for other operations.
uint32_t sq_carried_count(const sq_node *n);
// The region that computes the next carried values, and its argument of carried value 0.
sq_block *sq_carried_body(const sq_node *n);
uint32_t sq_carried_first_arg(const sq_node *n);
// Is what stands in its region the inside of one kernel: group, sweep?
bool sq_node_is_kernel(const sq_node *n);
bool sq_node_is_loop(const sq_node *n); // repeat, while, scan, map: its regions may run many times
// Does the node write anything that lasts, or may it fail the call?
bool sq_node_may_fail(const sq_node *n);
// Do the types and extents of n mention a symbol that is set inside loop `l`: by `live`, or as the
// extent of a state that grows there?
bool sq_node_sized_inside(sq_graph *g, const sq_node *n, const sq_node *l);
// Do the types, extents and scalars of n mention symbol s?
bool sq_node_mentions(const sq_graph *g, const sq_node *n, sq_sym s);
bool sq_size_grows(const sq_graph *g, sq_dim d); // does a state that grows change it?
// Is block b the body of n or nested in it?
bool sq_block_inside(const sq_block *b, const sq_node *n);
// The node of block b that holds n (or n itself); NULL when n is not in b.
sq_node *sq_node_in_block(sq_node *n, const sq_block *b);
// Drops all nodes for which dead[id] is set, from the block and its regions.
void sq_block_sweep(sq_block *b, const bool *dead);

// ---- fuse.c ------------------------------------------------------------------------------------
// May `from` be computed at the place of `to`, later in its block? Not past a write to a state or
// parameter that it reads, nor past what sets its sizes.
bool sq_node_can_sink(sq_node *from, sq_node *to);
// The same of another node: may `moved` stand on either side of what is between `from` and `to`?
bool sq_node_can_pass(sq_node *moved, sq_node *from, sq_node *to);
