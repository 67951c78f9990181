// Makes the scalar part of a generic: scalars are folded, and equal ones are made once. What is
// added may therefore be answered by another scalar that gives the same.
//
//   sq_maker m;
//   sq_maker_start(&m, g, n_par, n_red);        // then set m.k->axis[...]
//   uint32_t x = sq_maker_read(&m, v, 2, pos);
//   m.k->body = sq_maker_ewise(&m, SQ_EW_EXP, x, SQ_NO_SCALAR);
//   sq_maker_end(&m, node);                     // node->g, node->in
#pragma once
#include "passes/scalars.h"

// A read that was looked through, and the scalar that it gave.
typedef struct sq_maker_seen {
  sq_scalar read;
  uint32_t hash, made;
} sq_maker_seen;

typedef struct sq_maker {
  sq_graph *g;
  sq_generic *k;
  SQ_VEC(sq_value *) in; // operands, without an instance
  uint32_t n_fixed;      // first operands that stay even when they are not read: an update's target
  uint32_t *slot, cap;   // hash table of scalar id + 1
  SQ_VEC(sq_maker_seen)
  seen;         // so that what shares parts is not looked through for each way to them
  bool through; // reads look through copies and constants
  // Asked for a read whose operand is the result of an elementwise generic: is it to be computed in
  // place? NULL: no.
  bool (*inlines)(void *user, const sq_scalar *read, sq_value *v);
  void *user;
} sq_maker;

void sq_maker_start(sq_maker *m, sq_graph *g, uint32_t n_par, uint32_t n_red);
// Like the generic of n, whose axes it gets; scalars follow by sq_maker_copy.
void sq_maker_start_like(sq_maker *m, sq_graph *g, const sq_node *n);
// n->g becomes what was made; operands that nothing reads are left out, an instance is kept.
void sq_maker_end(sq_maker *m, sq_node *n);
// The generic as a node at the end of b (NULL: nowhere yet), of the shape of its axes.
sq_value *sq_maker_value(sq_maker *m, sq_block *b, sq_span span, sq_dtype t, const char *name);

uint32_t sq_maker_add(sq_maker *m, sq_scalar s); // operands of s are ids in m; a READ's operand too
uint32_t sq_maker_operand(sq_maker *m, sq_value *v);
uint32_t sq_maker_float(sq_maker *m, sq_dtype t, double v);
uint32_t sq_maker_int(sq_maker *m, sq_dtype t, int64_t v);
uint32_t sq_maker_dim(sq_maker *m, sq_dim d);
uint32_t sq_maker_index(sq_maker *m, uint32_t axis);
uint32_t sq_maker_acc(sq_maker *m, sq_dtype t);
uint32_t sq_maker_ewise(sq_maker *m, sq_ewise e, uint32_t a, uint32_t b);
uint32_t sq_maker_select(sq_maker *m, uint32_t c, uint32_t a, uint32_t b);
uint32_t sq_maker_cast(sq_maker *m, uint32_t a, sq_dtype t);
uint32_t sq_maker_read(sq_maker *m, sq_value *v, uint32_t n_pos, const uint32_t *pos);
uint32_t sq_maker_and(sq_maker *m, uint32_t a, uint32_t b); // NO_SCALAR: true

// How scalars of another node are copied.
typedef struct sq_graft {
  const sq_node *from;
  const uint32_t *axis; // per axis of `from`: the I64 scalar of m that stands for its index
  uint32_t acc;         // what SQ_SC_ACC becomes, or NO_SCALAR
  uint32_t guard;       // reads happen only where this holds, or NO_SCALAR
  // A read of this value is replaced by scalar `instead` (NULL: none).
  const sq_value *value;
  uint32_t instead;
} sq_graft;
// Copies scalar `root` and what it is made of; `map` (g->s.n entries, NO_SCALAR at first) remembers
// what was copied.
uint32_t sq_maker_graft(sq_maker *m, const sq_graft *how, uint32_t root, uint32_t *map);
uint32_t *sq_maker_map(sq_maker *m, const sq_node *from); // an empty map

// Is the scalar an integer constant / a float constant?
bool sq_scalar_int(const sq_generic *k, uint32_t s, int64_t *v);
bool sq_scalar_float(const sq_generic *k, uint32_t s, double *v);
// Over all values of the axes: +1 a <= b always, -1 never, 0 unknown. I64 scalars.
int sq_scalar_le(sq_graph *g, const sq_generic *k, uint32_t a, uint32_t b, int64_t plus);

// fold.c: a scalar that gives the same as s, as a scalar to add (*s changed) or an id of one that
// exists (returned), NO_SCALAR: add *s.
uint32_t sq_fold(sq_maker *m, sq_scalar *s);

// rebuild.c: the domain, body, post, positions and guard of how->from, as those of m.
void sq_maker_copy_parts(sq_maker *m, const sq_graft *how, uint32_t *map);
// The scalar part of n made anew. Returns whether it, or the operands, changed.
bool sq_node_rebuild(sq_graph *g, sq_node *n);
bool sq_generic_same(const sq_generic *a, const sq_generic *b); // but for names

// Can a read of the result of n be replaced by n's own scalars? True for elementwise generics.
bool sq_node_is_elementwise(const sq_node *n);
