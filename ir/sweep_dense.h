// Sweeps whose states read each other, all of them affinely: what a turn makes of the states of a lane is
// a small matrix of numbers that no state is in, and what it adds.
//
//   h_t = A_t h_t-1 + b_t          maps put together: first 1, then 2:   A2 A1,   A2 b1 + b2
//
// A_t are the slopes of ir/sweep_newton.h, which are the same wherever they are taken; b_t is what the
// members give where the states are 0. What of the scan is no next state, and nothing that one is made of,
// may be anything.
#pragma once
#include "ir/machine.h"
#include "ir/sweep_newton.h"

enum { SQ_DENSE_STATES = 4 }; // of a lane

typedef struct sq_dense {
  const char *why; // NULL, or what makes it none
  sq_newton f;     // with the value at 0 of each member that the next states are made of
  bool steady;     // the matrix is the same in all turns
} sq_dense;

// How many turns of a lane fill a vector; 0: too few for blocks of four.
uint32_t sq_dense_turns(const sq_sweep *s, const sq_machine *m);
// Cycles of a turn of all lanes by maps; 0 when the number of lanes is not known. s as it was before.
double sq_dense_cost(sq_sweep *s, const sq_machine *m);
// Adds scalars to members of s, which is a sweep (s->why is NULL).
sq_dense sq_dense_make(sq_sweep *s);
