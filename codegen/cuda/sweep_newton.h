// What the files of scans by Newton's method share: members of a turn with their slopes, affine maps.
//
// All is unrolled in the text: an element of a value, a slope, a number of a map is a name. The slopes of an
// element are its derivatives by the unknowns of the turn before, NULL where they are 0 by the way the scan
// is made.
#pragma once
#include "codegen/cuda/sweep.h"
#include "ir/sweep_newton.h"

typedef struct sq_cu_newton {
  sq_cu *k;
  sq_cu_sweep w;
  sq_sweep *s;
  sq_newton f;
  uint32_t n;          // unknowns
  const char *type;    // of an unknown
  const char **kept;   // names of what is kept from before the iterations, in the order of asking
  const char ***slope; // per value: [elements][n]
} sq_cu_newton;

// ---- sweep_newton.c: what stretches of turns begin and end with; shared memory: carry<c>, edge, maps ----
bool sq_cu_newton_solves(const sq_cu_newton *x, uint32_t c); // has the carried value unknowns?
// x->s and x->f are there: begins the kernel `name`, and a unit of it, up to the states that it begins with.
// Gives the number of units.
LLVMValueRef sq_cu_newton_open(sq_cu_newton *x, sq_cg *cg, sq_node *n, sq_cu *k, const char *name);
void sq_cu_newton_from_carry(sq_cu_newton *x, uint32_t c);
void sq_cu_newton_states_before(
    sq_cu_newton *x); // the thread's turn: what the thread before has in `edge`
void sq_cu_newton_to_edge(sq_cu_newton *x); // g<j>
// Stores, and the states g<j> of the last turn are carried on, where all threads have their states before.
void sq_cu_newton_store(sq_cu_newton *x);
void sq_cu_newton_turn_by_turn(sq_cu_newton *x);              // those of the stretch, by one thread
void sq_cu_newton_close(sq_cu_newton *x, LLVMValueRef units); // writes ends and launches

// ---- sweep_jacobian.c --------------------------------------------------------------------------
uint32_t sq_cu_newton_elements(const sq_cu_newton *x, uint32_t value);
void sq_cu_newton_declare(sq_cu_newton *x, uint32_t value); // its array
// What is the same in all iterations: members that do not move, and scalars of others.
void sq_cu_newton_before(sq_cu_newton *x);
// The members that the next states are made of, from the states before the turn, with their slopes.
void sq_cu_newton_members(sq_cu_newton *x);
// Those that are stored, when the states are known.
void sq_cu_newton_later(sq_cu_newton *x);

// ---- sweep_affine.c: maps d -> by d + other of each thread's turn, as variables m<i>_<j> and o<i> -----
typedef struct sq_cu_affine {
  bool has[SQ_NEWTON_UNKNOWNS][SQ_NEWTON_UNKNOWNS]; // not 0 in a turn, or in turns together
  uint32_t n, numbers;                              // unknowns; numbers of a map
} sq_cu_affine;
// Declares them from the slopes, and r<j>, what is missing: other. `n<j>` is the next value. Of affine scans
// other is the next value where the states are 0, and d are the states.
sq_cu_affine sq_cu_affine_declare(sq_cu_newton *x);
// The maps of the threads of a warp up to each, put together.
void sq_cu_affine_warp(sq_cu_newton *x, const sq_cu_affine *m);
// A warp's map to shared memory `maps`; d<j> of the thread's turn, from those of the warps before.
void sq_cu_affine_share(sq_cu_newton *x, const sq_cu_affine *m);
void sq_cu_affine_solve(sq_cu_newton *x, const sq_cu_affine *m);
