// The scalar part of a generic as a list that can be rebuilt: trimming, copying into another
// generic.
#pragma once
#include "passes/internal.h"

// The scalars of n->g from which the result is made; `used` has g->s.n entries, set for reachable.
void sq_scalars_reached(const sq_generic *k, bool *used);
// Drops scalars that nothing needs and operands that are never read, merges equal operands.
// Attribute lists (domain, pos) follow. Returns whether anything went.
bool sq_scalars_tidy(sq_graph *g, sq_node *n);
// Operands of n that scalars read: all but the target of an update and the instance.
uint32_t sq_operands_begin(const sq_node *n);
uint32_t sq_operands_end(const sq_node *n);
// Replaces every scalar id in s by map[id].
void sq_scalar_remap(sq_graph *g, sq_scalar *s, const uint32_t *map);
// The scalar that gives the element: post, or body.
static inline uint32_t sq_scalar_root(const sq_generic *k) {
  return k->post != SQ_NO_SCALAR ? k->post : k->body;
}
