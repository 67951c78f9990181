// The scalar part of a loop nest as flat programs over vectors of up to LANES elements: what
// eval_program.c makes and runs for eval_generic.c. All memory is scratch (sq_eval_take).
#pragma once
#include "ir/eval_impl.h"

#define LANES 256
#define MAX_AXES (2 * SQ_MAX_RANK)
#define ACC_BIT (1ull << 63) // as an axis: what differs from accumulator to accumulator

typedef struct affine {
  bool ok;
  int64_t offset, low, high;
  int64_t *coef; // per axis
} affine;

typedef struct ins {
  const sq_scalar *s;
  bool mask_all;  // not a scalar: the conjunction of the domain
  bool varies;    // one element per lane, else one
  bool masked;    // a read of the body: only where the domain holds
  bool inside;    // a read by strides, never outside
  uint32_t level; // 0: once; k + 1: whenever loop k moves
  uint32_t phase; // among equals: domain 0, its conjunction 1, the rest 2, above the accumulator 3
  uint32_t id;
  sq_cell *r;
  const sq_cell *a[3];
  uint32_t step[3];
  const sq_cell *guard, *other, *mask;
  uint32_t guard_step, other_step, mask_step;
  // reads
  const sq_ten *from;
  int64_t offset;
  int64_t *stride;     // inside: per axis of the nest
  const sq_cell **pos; // otherwise: per axis of the operand
  uint32_t *pos_step;
  int64_t *pos_stride;
} ins;

typedef struct program {
  ins *v;
  uint32_t n;
  uint32_t *start; // [levels + 1]: first instruction of that level or a deeper one
  uint32_t n_levels;
  uint32_t *of;        // per scalar: instruction, or NONE
  const sq_cell *mask; // the domain, NULL: everywhere
  uint32_t mask_step;
} program;
#define NONE UINT32_MAX

typedef struct nest {
  sq_eval *e;
  const sq_node *node;
  const sq_generic *g;
  uint32_t n_axes;
  int64_t *extent; // per axis
  int64_t *index;
  const sq_ten **operand;
  affine *aff;
  sq_cell *acc_cells; // what SQ_SC_ACC reads, one per lane
  // the first failing test of the lowest site
  bool failed;
  uint32_t site, axis;
  int64_t value, bound;
} nest;

// The loops in order: order[axis] = position, order of the lane axis included. `lane`: its bits.
typedef struct loops {
  uint32_t n;
  uint32_t axis[MAX_AXES]; // outermost first
  uint64_t lane;           // axes (or ACC_BIT) that vary along the lanes
  uint32_t lane_at;        // position of the lane loop; == n: none
} loops;

// Which integer scalars are affine in the indices, by their present values; first of all.
void sq_nest_affine(nest *x);
// Address of read s as base and strides in i, when no index of the nest leaves the operand.
bool sq_nest_strides(nest *x, const sq_scalar *s, ins *i);
// roots: scalars that are wanted; `domain`: the node's domain is tested and masks the body's reads.
program sq_nest_program(nest *x, const loops *l, const uint32_t *roots, uint32_t n_roots,
                        bool domain);
// Runs instructions of level `from` and deeper for `lanes` elements from x->index[lane_axis] on.
void sq_eval_nest_run(nest *x, const program *p, uint32_t from, uint32_t lane_axis, size_t lanes);
// A test failed; the lowest site is kept.
void sq_nest_failure(nest *x, uint32_t site, uint32_t axis, int64_t value, int64_t bound);
