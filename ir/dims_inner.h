// What dims.c (building, text) and dims_prove.c (bounds, provers) share. Not for others.
#pragma once
#include "ir/dims.h"

// Limits on one expression. What would be larger becomes `floordiv(1, 0)`: it has no value, no
// bounds, absorbs all arithmetic and is proved to be nothing, so a hostile size ends as a failed
// call, not as a hang.
enum { DIM_MAX_TERMS = 256, DIM_MAX_FACTORS = 16, DIM_MAX_DEPTH = 48, DIM_MAX_WEIGHT = 3000 };

typedef struct dim_rec {
  sq_dim_node node;
  uint32_t depth, weight; // as a tree
  uint32_t hash;
} dim_rec;

typedef struct dim_fact {
  sq_dim diff; // b - a: >= 0, or == 0 when `equal`
  sq_dim a, b;
  bool equal;
} dim_fact;

struct sq_dims {
  sq_arena *arena;
  SQ_VEC(dim_rec *) rec;     // [0] unused
  uint32_t *slot, cap;       // hash table of ids
  SQ_VEC(sq_sym_info *) sym; // [0] unused
  uint32_t *sym_slot, sym_cap;
  SQ_VEC(dim_fact) fact;
  uint32_t steps; // of the present storage bound
  sq_dim none;    // floordiv(1, 0): absorbs all arithmetic
};

// An interval; INT64_MIN and INT64_MAX are "no bound".
typedef struct dim_range {
  int64_t lo, hi;
} dim_range;
// Bounds that follow from the form of the expression alone, whatever the symbols are. Constructors
// use only these, so that the normal form of a text does not depend on when a bound became known.
dim_range sq_dim_form_range(const sq_dims *ds, sq_dim d);
// Id of a product of these sorted factors if it exists, else {0}.
sq_dim sq_dim_find_prod(const sq_dims *ds, const sq_dim *f, uint32_t n);
static inline bool dim_is_infinite(int64_t v) { return v == INT64_MAX || v == INT64_MIN; }
static inline int64_t dim_clamp(__int128 v) {
  return v >= INT64_MAX ? INT64_MAX : v <= INT64_MIN ? INT64_MIN : (int64_t)v;
}
static inline int64_t dim_floordiv(int64_t a, int64_t b) {
  __int128 q = (__int128)a / b, r = (__int128)a % b;
  return dim_clamp(r != 0 && (r < 0) != (b < 0) ? q - 1 : q);
}
static inline int64_t dim_mod(int64_t a, int64_t b) {
  if (b == -1) return 0;
  int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
