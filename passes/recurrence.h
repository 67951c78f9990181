// What a scan is, by its algebra: how the next value of each thing that it carries depends on what
// it carries, independent of names and order.
//
// Carried values that depend on one another form a component; components stand in the order in
// which they can be computed, each with the earlier ones as given. A component is affine (its next
// value is a factor times the present one plus something free of it), the maximum or minimum of
// such, or neither; the transition says of what shape the factors are.
#pragma once
#include "passes/linear.h"

typedef enum sq_transition {
  SQ_TRANS_KEPT,     // never changes
  SQ_TRANS_FRESH,    // does not depend on itself
  SQ_TRANS_IDENTITY, // the factor is 1
  SQ_TRANS_SCALAR,   // one factor for all elements
  SQ_TRANS_DIAGONAL, // a factor for each element, or along some axes
  SQ_TRANS_BLOCK,    // a small matrix for the same element of several carried values
  SQ_TRANS_LOW_RANK, // diagonal plus products of two vectors, along one axis
  SQ_TRANS_DENSE,    // mixed along axes
  SQ_TRANS_PLACES,   // elements go to other places
} sq_transition;

typedef struct sq_component {
  uint32_t n, *state; // carried values, by number
  sq_algebra alg;     // SUM, MAX, MIN; NONE: nonlinear, see why
  sq_transition how;
  uint32_t axes;     // on which the factors depend, of the first state's own axes
  uint32_t along;    // LOW_RANK, DENSE: which axes are mixed
  uint32_t rank;     // LOW_RANK: how many products are added to the diagonal
  bool diagonal;     // LOW_RANK: a diagonal part is there
  bool shifts;       // MAX, MIN: something is added to the state
  bool factors;      // MAX, MIN: something multiplies it
  uint32_t outer[2]; // what is added is a product of a part for each set of axes; 0: it is not
  bool resets;       // some factor is 0 under a condition
  bool softmax;      // weighs by the exponential of a change of a running maximum
  uint32_t maximum;  // softmax: that component
  const char *why;   // NONE
  sq_span where;
} sq_component;

typedef struct sq_recurrence {
  sq_depends d;
  sq_node *scan;
  uint32_t n_component;
  sq_component *component;
  uint32_t *of;      // per carried value: its component
  sq_lspace **space; // per carried value
  sq_linear *next;   // its next value in its space, the component's values as states
  bool known;        // false: too many carried values
} sq_recurrence;

sq_recurrence sq_recurrence_make(sq_graph *g, sq_node *scan);

// Is position j of the term the own index j, an index that it is summed over, or something else?
typedef enum sq_place { SQ_PLACE_OWN, SQ_PLACE_SUMMED, SQ_PLACE_OTHER } sq_place;
sq_place sq_lterm_place(const sq_lspace *w, const sq_lterm *t, uint32_t j);

// Factors of a product, divisions as factors that divide.
typedef struct sq_factor {
  uint32_t id;
  bool divides;
} sq_factor;
typedef struct sq_factors {
  SQ_VEC(sq_factor) v;
} sq_factors;
void sq_lspace_factors(sq_lspace *w, uint32_t id, sq_factors *f);
