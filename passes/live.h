// When values are live: points of a function in order, and for each value the ranges in which its
// data must stay.
//
// Every operation has a position Q (region operations one at their begin and one at their end, a
// group or a sweep one only). An operation reads at 2Q and writes at 2Q + 1, and its operands must stay until
// 2Q + 1. So an operand that dies where a result is made overlaps it in exactly that point; whether
// both may have one place is for the caller to decide (in place or not).
#pragma once
#include "passes/internal.h"

typedef struct sq_range {
  uint32_t from, to; // points, both included
} sq_range;
typedef enum sq_point_kind {
  SQ_POINT_NODE,   // a node, or the begin of one with regions
  SQ_POINT_END,    // the end of a node with regions
  SQ_POINT_REGION, // the begin of region `region` of the node
} sq_point_kind;
typedef struct sq_point {
  sq_point_kind kind;
  sq_node *node;
  uint32_t region;
} sq_point;
typedef struct sq_ranges {
  SQ_VEC(sq_range) r; // by `from`
} sq_ranges;
typedef struct sq_live {
  sq_func *func;
  SQ_VEC(sq_point) point; // by position; [0] is the function's begin
  uint32_t *begin, *end;  // by node id
  SQ_VEC(sq_value *)
  value;         // all values of the function outside groups and sweeps, in order of definition
  sq_ranges *of; // by value id
} sq_live;

// Values inside groups and sweeps have no ranges; what they use counts as used by these.
sq_live *sq_live_make(sq_func *f, sq_arena *a);
