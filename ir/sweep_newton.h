// Sweeps by Newton's method: the states of a stretch of turns are unknowns h_1 .. h_T of
// f_t(h_t-1) - h_t = 0, solved all at once from a guess.
//
//   r_t = f_t(h_t-1) - h_t,  J_t = df_t/dh (h_t-1)      of all turns, each by itself
//   d_t = J_t d_t-1 + r_t,   h_t += d_t                 a recurrence whose maps can be put together
//
// This says whether a sweep can be done so, and gives the derivatives as scalars added to its members.
// The unknowns of a turn are the elements of what a lane carries: J is a small matrix.
#pragma once
#include "ir/sweep.h"

enum {
  SQ_NEWTON_UNKNOWNS = 8,  // of a turn of a lane
  SQ_NEWTON_LIMIT = 10,    // iterations
  SQ_NEWTON_KEPT = 24,     // numbers of a turn of a lane
  SQ_NEWTON_PAUSE = 31,    // stretches at most that are left alone after one that fails
  SQ_NEWTON_THREADS = 256, // on a device: turns of a stretch
};
#define SQ_NEWTON_ITERATIONS 4.5      // of most stretches, with what is done once
#define SQ_NEWTON_TOLERANCE_F32 1e-6  // of |r|, relative to the largest |f| of the
#define SQ_NEWTON_TOLERANCE_F64 1e-14 // stretch, for each unknown
#define SQ_NEWTON_STEP_F32 1e-4       // of |d|: what is left after it is of the order of
#define SQ_NEWTON_STEP_F64 1e-7       // its square
#define SQ_NEWTON_NEAR 0.25           // the step from which they fall so
#define SQ_NEWTON_CARE 4.0            // by which an estimate must be better

typedef struct sq_newton_term { // scalars of the member
  uint32_t read; // of a value that depends on the states; in `post` also the accumulator
  uint32_t by;   // the derivative by it
} sq_newton_term;
typedef struct sq_newton_terms {
  SQ_VEC(sq_newton_term) v;
} sq_newton_terms;

typedef struct sq_newton_member {
  bool now;             // the next states are made of it
  bool later;           // what is stored is, given the states
  bool moves;           // it depends on the states
  sq_newton_terms body; // of the element that is summed, or of all
  sq_newton_terms post;
  // Scalars that are the same in every iteration, though not in every turn: kept from the first one.
  SQ_VEC(uint32_t) kept;      // for each term of a sum
  SQ_VEC(uint32_t) kept_post; // of what becomes of the sum
  // Affine: the element, or what is summed, and the post, where the states are 0; NO_SCALAR: 0. `nothing`:
  // the element is 0 there.
  uint32_t zero, zero_post;
  bool nothing;
} sq_newton_member;

typedef struct sq_newton {
  const char *why;  // NULL, or what makes it none
  sq_span where;    // of that
  uint32_t n;       // unknowns of a turn of a lane
  uint32_t *first;  // per carried value: its first unknown; NONE: it is never changed
  uint32_t *solves; // per member: the first carried value whose next one it makes, or NONE
  sq_newton_member *member;
  bool affine;     // see ir/sweep_dense.h: members are taken where the states are 0
  bool keeps;      // they are not too many
  uint32_t n_kept; // of a turn of a lane
} sq_newton;

// Adds scalars to members of s, which is a sweep (s->why is NULL).
sq_newton sq_newton_make(sq_sweep *s);
// Are the derivatives of member i the same in all turns?
bool sq_newton_steady(const sq_sweep *s, const sq_newton *f, uint32_t i);
// Cycles of members, of one vector; f: those of an iteration, NULL: all.
double sq_newton_work(const sq_sweep *s, const sq_newton *f);
// Cycles of a turn of all lanes with vectors of so many bytes, turn by turn and so; 0 when the number of
// lanes is not known. Asked before anything is added to s.
typedef struct sq_newton_cost {
  double turns, newton;
} sq_newton_cost;
sq_newton_cost sq_newton_costs(sq_sweep *s, uint32_t vector_bytes);
// The same of a device: a thread for each lane, and a block of threads for each.
sq_newton_cost sq_newton_device_costs(sq_sweep *s, double iterations);
// NULL, or why a thread of a device cannot have a turn's map in its registers.
const char *sq_newton_too_large(const sq_sweep *s, const sq_newton *f);
