// Sweeps whose turns need not run one after another: what is carried moves by maps that can be put
// together before it is known what they are applied to.
//
//   how   next state                   maps put together: first 1, then 2
//   SUM   by * h + other               by1 by2,        by2 other1 + other2
//   MAX   max(h + by, other)           by1 + by2,      max(other1 + by2, other2)
//   MIN   the same with min
//   LOG   log(exp(h + by) + exp(other)), where others have a maximum; or, m the maxima,
//         h = m + log(s), a sum: by exp(m before + by - m), other exp(other - m)
//   NONE  free of h                    (the state of a turn is what the turn before made)
//
// A maximum may have a bound above, too: min(high, max(h + by, other)). Both ends, `other1` and `high1`, go
// through the second map then.
//
// `by`, `other` and `high` are free of h; they may depend on other carried values, of this turn or the next,
// whose own maps do not depend on h. This says whether a sweep is of that kind, by the scalars of the
// members that make the next values, and gives `by` and `other` as scalars added to these members.
#pragma once
#include "ir/machine.h"
#include "ir/sweep.h"

typedef enum sq_prefix_how {
  SQ_PREFIX_NONE,
  SQ_PREFIX_SUM,
  SQ_PREFIX_MAX,
  SQ_PREFIX_MIN,
  SQ_PREFIX_LOG,
} sq_prefix_how;

typedef struct sq_prefix_map { // scalars of the member; NO_SCALAR: one that changes nothing
  sq_prefix_how how;
  uint32_t by, other;
  uint32_t high; // MAX
} sq_prefix_map;

typedef struct sq_prefix {
  const char *why;    // NULL, or what makes it none
  sq_span where;      // of that
  bool coupled;       // it is that states read each other, or a sum reads one
  bool large;         // a turn of a lane has work for vectors, or it is not known whether it has
  uint32_t n_order;   // members in an order in which a value is there before it is read, where
  uint32_t *order;    // a member that reads the carried value k comes after the one that solves it
  uint32_t *solves;   // per member: the carried value whose next one it makes of it, or NONE
  sq_prefix_map *map; // per member: how
  double work;        // cycles of a turn of a lane, as written
  uint32_t solved;    // elements of carried values that have a map, in a lane
  double wait;        // cycles that a state waits for the one before
  double together;    // cycles of putting a vector of maps of all of them together
} sq_prefix;

// sweep_map.c: the map by which member i makes the next value of a carried one of that one, or why it has none (NULL: it
// has; NONE: it is free of it). Adds scalars to the member.
sq_prefix_map sq_prefix_map_of(sq_sweep *s, uint32_t i, uint32_t state, const char **why);
// Adds scalars to members of s: what is asked of their costs is asked before.
sq_prefix sq_prefix_make(sq_sweep *s);
// How many turns of a lane fill a vector. Asked before sq_prefix_make.
uint32_t sq_prefix_turns(const sq_sweep *s, const sq_machine *m);
// Cycles of a turn of a lane for memory that does not run along the turns; of each element, or of one for each
// read. Asked before, too.
double sq_prefix_crossings(const sq_sweep *s, bool each);
// Cycles of a turn of all lanes, turn by turn and by maps; 0 when the number of lanes is not known.
typedef struct sq_prefix_cost {
  double turns, maps;
} sq_prefix_cost;
sq_prefix_cost sq_prefix_costs(const sq_sweep *s, const sq_prefix *f, const sq_machine *m);
