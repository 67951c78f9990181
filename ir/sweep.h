// `sweep`: a scan, with the elementwise work on what it emits and the sums that read matrices of it, as
// one loop inside one kernel.
//
//   %h, %y = sweep {
//     %1, %2 = scan extent N carried 1 (%h0) { (%t, %a) ... yield %b, %o }
//     %3 = generic (%2, %z) [c < 8, t < N] { %2[t, c] * %z[t, c] }
//     yield %1, %3 }
//
// means its body. Read as a loop it is: for each turn t, every operation once ("members"), with
// what the scan carries kept between turns. Axes that all of them share, element by element, are
// lanes: each index of a lane is a loop of its own, so lanes go outside of the turns, onto vectors
// and threads. This is the analysis of that; the pass `sweep` asks whether it can be done, code
// generation does it.
#pragma once
#include "ir/ir.h"

#define SQ_SWEEP_NONE UINT32_MAX

// A value of one turn: what the scan carries at its begin, or what a member gives.
typedef struct sq_sweep_value {
  const sq_value *v;
  const uint32_t *cls; // class of each axis of a turn
  uint32_t rank;
  sq_type part; // what is left of it in one lane: without the axes that are lanes
} sq_sweep_value;

// An operation as one turn does it: a copy that stands in no block. Its axes may be those of a turn
// and the turn's own; what it reads of the sweep is a part (see above), read at its own axes alone.
typedef struct sq_sweep_nest {
  sq_node *n;
  uint32_t time;         // which axis is the turn, or NONE
  const uint32_t *cls;   // per axis; NONE for the turn
  const uint32_t *inner; // per operand: the sweep's value, or NONE: it is in memory
  uint32_t value;        // member: what it gives; load: what it begins; store: what it writes
  uint32_t result;       // store: which result of the sweep
} sq_sweep_nest;

typedef struct sq_sweep {
  sq_graph *g;
  sq_node *scan;
  sq_dim extent;
  bool reversed;
  bool prefix;    // turns by maps: see ir/sweep_prefix.h
  uint32_t chunk; // turns of a block, 0: no blocks: see ir/sweep_chunk.h
  bool newton;    // turns of a stretch as unknowns: see ir/sweep_newton.h
  bool dense;     // turns by maps of all states together: see ir/sweep_dense.h
  uint32_t n_value;
  sq_sweep_value *value; // first what is carried, by number
  uint32_t n_class;
  sq_dim *size; // per class
  bool *lane;   // per class
  uint32_t n_member;
  sq_sweep_nest *member; // in order
  uint32_t *next;        // per carried value: the value that it becomes
  sq_sweep_nest *load;   // per carried value: from what it begins with
  uint32_t n_store;
  sq_sweep_nest *store; // of every turn
  uint32_t n_final;
  sq_sweep_nest *final; // after the last turn
  const char *why;      // NULL, or what makes it none
  const sq_node *at;    // the operation that does, if it is one
} sq_sweep;

// Of a `sweep` operation, or of a scan that could be the only thing in one.
sq_sweep *sq_sweep_make(sq_graph *g, sq_node *n);
// Simple operations that one turn of one lane costs, elementary functions counted as several;
// unknown extents count as 64.
double sq_sweep_cost(const sq_sweep *s);
// The same of one nest, the axes that are lanes aside.
double sq_sweep_nest_cost(const sq_sweep *s, const sq_sweep_nest *x);
uint32_t sq_sweep_bytes(const sq_sweep *s); // of the widest element of its values, at least 4
// Does the value have every lane?
bool sq_sweep_has_lanes(const sq_sweep *s, uint32_t value);
// Puts an elementwise member in the places where member `into` reads it; false, and nothing is changed, where
// that cannot be.
bool sq_sweep_inline(sq_sweep *s, uint32_t into, uint32_t member);
// The same of what the members that make the next states read their own states through.
void sq_sweep_inline_states(sq_sweep *s);

// ---- sweep_unroll.c: elements of a lane as values of their own ----------------------------------
enum { SQ_SWEEP_UNROLLED = 192 }; // of members in a turn, most
// Elements of a value's part, of what a nest makes, or of what it sums for one; 0: not known, or too many.
uint32_t sq_sweep_elements(const sq_sweep *s, uint32_t value);
uint32_t sq_sweep_nest_elements(const sq_sweep *s, const sq_sweep_nest *x, bool reduced);
bool sq_sweep_places_known(const sq_sweep_nest *x);
bool sq_sweep_unrolls(const sq_sweep *s);

// ---- sweep_fixed.c: what turns have in common, though rows differ in it -------------------------
enum { SQ_SWEEP_POWERS = 8 };
typedef struct sq_sweep_power {
  uint32_t at;        // the scalar: 2 ^ (by * fixed)
  uint32_t by, fixed; // of turns, not of rows; of rows, not of turns
} sq_sweep_power;
// Powers in f32 of such products get the base 2, in the member's own scalars; which they are: at most
// SQ_SWEEP_POWERS.
uint32_t sq_sweep_powers(sq_sweep *s, sq_sweep_nest *x, sq_sweep_power *power);
// Why a power for each row and turn is none of these; NULL: there is no such power.
const char *sq_sweep_no_power(const sq_sweep *s, const sq_sweep_nest *x);
// Scalars of the member that are worth keeping in rows, at most SQ_SWEEP_POWERS. lanes: the class of a
// vector's lanes.
uint32_t sq_sweep_fixed(const sq_sweep *s, const sq_sweep_nest *x, uint32_t lanes, uint32_t *id);
// Do the lanes differ in it?
bool sq_sweep_keeps_lanes(const sq_sweep *s, const sq_sweep_nest *x, uint32_t lanes, uint32_t id);
