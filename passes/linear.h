// How a value inside a scan depends on what the scan carries ("states"): its element as a sum of
// terms, each a factor times an element of a state, or as the maximum or minimum of such terms.
//
//   %b = generic (%a, %x, %t) [c < 4] { (1.0 - %z[c]) * %a[c] + %z[c] * %x[i64(%t), c] }
//
// is, with state 0 = %a, at element [p]:  (1 - z[p]) * a[p]  +  z[p] * x[t, p].
//
// Factors are scalars of a scratch generic ("space") whose first axes are those of the value asked
// for; what lies between is looked through, and each sum on the way adds axes of its own.
#pragma once
#include "passes/maker.h"

typedef enum sq_algebra {
  SQ_ALG_FREE, // does not depend on the states
  SQ_ALG_SUM,  // sum of factor * state and of free terms
  SQ_ALG_MAX,  // maximum of factor * state + shift and of free terms
  SQ_ALG_MIN,
  SQ_ALG_NONE, // none of these
} sq_algebra;

#define SQ_FREE_TERM UINT32_MAX
typedef struct sq_lterm {
  uint32_t of;            // which state, or SQ_FREE_TERM
  uint32_t factor, shift; // NO_SCALAR: 1 and 0. A free term is its factor (SUM) or its shift
  uint32_t n_pos;
  const uint32_t *pos; // which element of the state
  uint64_t bound;      // axes of the space that it is summed (maximised) over
} sq_lterm;

typedef struct sq_linear {
  sq_algebra alg;
  uint32_t free; // FREE: the element
  SQ_VEC(sq_lterm) term;
  const char *why; // NONE: what stands in the way, and where
  sq_span where;
} sq_linear;

// What the values inside a scan depend on.
typedef struct sq_depends {
  sq_graph *g;
  sq_node *scan;
  uint64_t *on; // by value id: carried values, as a bit set
  uint32_t n_values;
} sq_depends;
enum { SQ_MAX_STATES = 64 };
sq_depends sq_depends_make(sq_graph *g, sq_node *scan); // carries at most SQ_MAX_STATES values
uint64_t sq_depends_on(const sq_depends *d, const sq_value *v); // nothing outside of the scan

typedef struct sq_lspace {
  sq_graph *g;
  const sq_depends *d;
  uint64_t states; // which carried values are states; the others are free
  bool next;       // the carried values of the next turn are states too, n_carried + k
  sq_maker m;
  uint32_t n_axes, cap;
  int budget, depth;
} sq_lspace;
// A space with the axes of type t.
sq_lspace *sq_lspace_make(const sq_depends *d, uint64_t states, bool next, sq_type t);
// The element of v at the given scalars of the space, and at its own axes.
sq_linear sq_linear_at(sq_lspace *w, sq_value *v, uint32_t n, const uint32_t *pos);
sq_linear sq_linear_of(sq_lspace *w, sq_value *v);

const sq_scalar *sq_lspace_scalar(const sq_lspace *w, uint32_t id);
uint64_t sq_lspace_axes(const sq_lspace *w, uint32_t id); // on which it depends; NO_SCALAR: none
bool sq_lspace_positive(const sq_lspace *w, uint32_t id); // known not to be negative
// Name of a carried value for messages.
const char *sq_state_name(const sq_depends *d, uint32_t state);
