// Are the forms of a sweep's turns what its members say? Each is evaluated at random points in float64, what
// a member reads being random numbers: no form is believed because a pass derived it.
//
//   maps     the map of a turn gives the next value of any state; maps put together in either order are the
//            same map, and do to a state what the turns do one after another
//   dense    a member is its value where the states are 0, and slopes times the states that it reads
//   blocks   decay * state + key * column is the next value; factors times states are what a sum adds
//
// NULL, or which member is not what its form says. A point where a number is not finite says nothing.
#pragma once
#include "ir/sweep_chunk.h"
#include "ir/sweep_dense.h"

const char *sq_prefix_check(const sq_sweep *s, const sq_prefix *f, uint64_t seed);
const char *sq_dense_check(const sq_sweep *s, const sq_dense *d, uint64_t seed);
const char *sq_chunk_check(const sq_sweep *s, const sq_chunk *c, uint64_t seed);
