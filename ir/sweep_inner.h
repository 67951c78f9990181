// What the files that analyse a sweep share: the analysis while it is made. Axes of values and of members
// have numbers of their own; those that are joined have one root.
#pragma once
#include "ir/sweep.h"

typedef struct sq_sweep_maker {
  sq_sweep *s;
  sq_graph *g;
  sq_arena *a;
  sq_node *sweep;   // NULL: the scan alone
  uint32_t *number; // by value id: number of the sweep's value + 1
  sq_node **source; // per member: the operation
  uint32_t *turn;   // per member: which of the operation's axes is the turn, or NONE
  uint32_t *first;  // per value: id of its first axis
  uint32_t *red;    // per member: id of its first reduced axis
  uint32_t n_axis, *up;
  sq_dim *extent;     // per axis
  bool *mixed, *used; // per root
} sq_sweep_maker;

uint32_t sq_sweep_root(sq_sweep_maker *m, uint32_t axis);
// The id of axis `axis` of member i; NONE: it is the turn.
uint32_t sq_sweep_member_axis(const sq_sweep_maker *m, uint32_t i, uint32_t axis);
void sq_sweep_join(sq_sweep_maker *m, uint32_t a, uint32_t b);

// ---- sweep_beside.c: values that have nothing to do with each other ----------------------------
// Joins axes of members between which nothing is read.
void sq_sweep_align(sq_sweep_maker *m);
