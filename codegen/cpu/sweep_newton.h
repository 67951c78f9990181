// What the files of sweeps by Newton's method share: members with their slopes, and affine maps.
//
// The slopes of an element are its derivatives by the unknowns of the turn before, NULL where they are
// 0 by the way the sweep is made.
#pragma once
#include "codegen/cpu/sweep.h"

// Which members: before the iterations those that are the same in all of them; in each those that the next
// states are made of, with slopes; after the last those that are stored.
typedef enum sq_swhen { SQ_SBEFORE, SQ_SNOW, SQ_SLATER } sq_swhen;

typedef struct sq_sjacobian {
  sq_semit *e;
  sq_kern *k;
  const sq_sweep *s;
  const sq_newton *f;
  uint32_t w, n;    // turns in a vector, unknowns
  LLVMTypeRef type; // a vector of an unknown
  uint32_t sets;    // vectors together
  sq_swhen when;
  sq_sunrolled *member; // those that are evaluated; others are empty
  sq_lv **slope;        // per value: [sets][elements][n]; NULL: none
} sq_sjacobian;

// d_next = by d + other, of a turn or of several.
typedef struct sq_smap {
  sq_lv by[SQ_NEWTON_UNKNOWNS][SQ_NEWTON_UNKNOWNS]; // NULL: 0
  sq_lv other[SQ_NEWTON_UNKNOWNS];
} sq_smap;

// ---- sweep_jacobian.c --------------------------------------------------------------------------
sq_sjacobian sq_sjacobian_make(sq_semit *e, const sq_newton *f, sq_swhen when);
// The members at turns t, the `at`-th of the stretch, from the states before them in e->value.
void sq_sjacobian_members(sq_sjacobian *x, sq_lv t, sq_lv at);
// The next values f of the unknowns of a set, and their slopes as the map's `by`.
void sq_sjacobian_next(const sq_sjacobian *x, uint32_t set, sq_lv *next, sq_smap *m);
void sq_sjacobian_forget(sq_sjacobian *x);
void sq_sslope_add(const sq_sjacobian *x, sq_lv by, sq_lv of, sq_lv *to); // to: NULL is 0
// The maps of all turns up to each; what a map makes of d.
sq_smap sq_smap_together(const sq_sjacobian *x, sq_smap m);
sq_smap sq_smap_last(const sq_sjacobian *x, const sq_smap *m);
void sq_smap_apply(const sq_sjacobian *x, const sq_smap *m, const sq_lv *d, sq_lv *to);
