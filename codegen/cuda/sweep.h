// What kernels of scans share: the operations of a turn, at elements that a thread has.
#pragma once
#include "codegen/cuda/cuda.h"
#include "ir/sweep_team.h"

// Lines refer to `turn`, to `l<class>` for each lane, to `mate` in a team, and to `live`: has this thread
// a lane of its own?
typedef struct sq_cu_sweep {
  sq_cu *k;
  const sq_sweep *s;
  sq_sweep_team team;
  sq_cu_place *value; // per value of the sweep: its array
  bool rolled;        // loops over elements stay loops
} sq_cu_sweep;
sq_cu_place sq_cu_sweep_array(sq_cu_sweep *w, uint32_t value, const char *prefix);
void sq_cu_sweep_declare(sq_cu_sweep *w, uint32_t value, const char *name);
void sq_cu_sweep_begin(sq_cu_sweep *w, sq_cu_nest *t, const sq_sweep_nest *x);
// The nest at all its elements into the array `to`; to memory, by those threads that should.
void sq_cu_sweep_emit(sq_cu_sweep *w, const sq_sweep_nest *x, const sq_cu_place *to);
void sq_cu_sweep_write(sq_cu_sweep *w, const sq_sweep_nest *x);
const char *sq_cu_sweep_writers(sq_cu_sweep *w, const sq_sweep_nest *x); // the condition
// Members and stores of the turn, and what is carried becomes the next.
void sq_cu_sweep_turn(sq_cu_sweep *w);
const char *sq_cu_sweep_turn_of(sq_cu_sweep *w, const char *i); // the one that is done as the i-th

// Other forms: false: it is not of that form, or does not fit.
bool sq_cuda_sweep_blocks(sq_cg *cg, sq_node *n); // sweep_blocks.c: blocks of turns
bool sq_cuda_sweep_prefix(sq_cg *cg, sq_node *n); // sweep_prefix.c: maps of turns
bool sq_cuda_sweep_dense(sq_cg *cg, sq_node *n);  // sweep_dense.c: maps of all states together
bool sq_cuda_sweep_newton(sq_cg *cg, sq_node *n); // sweep_newton.c: turns as unknowns
