// Symbolic sizes. A dimension expression is interned in a normal form, so that equality of two is
// equality of ids: a sum of integer multiples of products of atoms; atoms are symbols and
// floordiv, mod, min, max of expressions.
#pragma once
#include "base/context.h"

typedef struct sq_dim {
  uint32_t i; // 0 is "no dimension"
} sq_dim;
typedef struct sq_sym {
  uint32_t i; // 0 is "no symbol"
} sq_sym;

typedef enum sq_sym_kind {
  SQ_SYM_SIZE, // bound at a call's start by an input's shape or an integer scalar input
  SQ_SYM_LIVE, // defined by a `live` operation: 0 <= n <= bound, tested there
  SQ_SYM_GROW, // the present extent of a growing state's axis
} sq_sym_kind;

typedef struct sq_sym_info {
  const char *name; // unique within the table as printed ("N", "N.1")
  sq_sym_kind kind;
  sq_dim limit; // LIVE: the storage bound; else none
  int64_t low;  // known lower bound, 0 unless told otherwise
  bool scalar;  // SIZE bound by an integer scalar input
} sq_sym_info;

typedef enum sq_dim_kind {
  SQ_DIM_CONST,
  SQ_DIM_SYM,
  SQ_DIM_SUM, // constant + sum of coefficient * atom-product
  SQ_DIM_PROD,
  SQ_DIM_FLOORDIV,
  SQ_DIM_MOD,
  SQ_DIM_MIN,
  SQ_DIM_MAX,
} sq_dim_kind;

typedef struct sq_dim_term {
  int64_t coef;
  sq_dim prod; // SYM, FLOORDIV, MOD, MIN, MAX or PROD of such
} sq_dim_term;

typedef struct sq_dim_node {
  sq_dim_kind kind;
  int64_t value; // CONST; SUM: its constant
  sq_sym sym;    // SYM
  uint32_t n;    // SUM: terms; PROD: factors (sorted ids, with repetition)
  const sq_dim_term *term;
  const sq_dim *factor;
  sq_dim a, b; // FLOORDIV, MOD, MIN, MAX
} sq_dim_node;

typedef struct sq_dims sq_dims;
sq_dims *sq_dims_new(sq_arena *a);

sq_sym sq_sym_new(sq_dims *ds, const char *name, sq_sym_kind kind); // makes the name unique
sq_sym sq_sym_find(const sq_dims *ds, const char *name);            // {0} if none
sq_sym_info *sq_sym_at(const sq_dims *ds, sq_sym s);
uint32_t sq_sym_count(const sq_dims *ds); // symbols are 1 .. count

const sq_dim_node *sq_dim_at(const sq_dims *ds, sq_dim d);
sq_dim sq_dim_const(sq_dims *ds, int64_t v);
sq_dim sq_dim_sym(sq_dims *ds, sq_sym s);
// Arithmetic saturates instead of overflowing. floordiv and mod floor; by zero: see eval.
sq_dim sq_dim_add(sq_dims *ds, sq_dim a, sq_dim b);
sq_dim sq_dim_sub(sq_dims *ds, sq_dim a, sq_dim b);
sq_dim sq_dim_mul(sq_dims *ds, sq_dim a, sq_dim b);
sq_dim sq_dim_floordiv(sq_dims *ds, sq_dim a, sq_dim b);
sq_dim sq_dim_mod(sq_dims *ds, sq_dim a, sq_dim b);
sq_dim sq_dim_min(sq_dims *ds, sq_dim a, sq_dim b);
sq_dim sq_dim_max(sq_dims *ds, sq_dim a, sq_dim b);
static inline bool sq_dim_same(sq_dim a, sq_dim b) { return a.i == b.i; }
bool sq_dim_is_const(const sq_dims *ds, sq_dim d, int64_t *v); // v may be NULL

// Facts: `a <= b` or `a == b` known to hold (from checks and config); used by the provers.
void sq_fact_le(sq_dims *ds, sq_dim a, sq_dim b);
void sq_fact_eq(sq_dims *ds, sq_dim a, sq_dim b);
// Drops what is known of symbol s: its value has changed.
void sq_fact_forget(sq_dims *ds, sq_sym s);
// Facts in the order in which they were stated; true: `a == b`.
uint32_t sq_fact_count(const sq_dims *ds);
bool sq_fact_at(const sq_dims *ds, uint32_t i, sq_dim *a, sq_dim *b);
// Three-valued: +1 proved, -1 disproved (for every value of the symbols), 0 unknown.
int sq_prove_eq(const sq_dims *ds, sq_dim a, sq_dim b);
int sq_prove_le(const sq_dims *ds, sq_dim a, sq_dim b);
// Known constant bounds under facts; INT64_MIN/MAX when unknown.
int64_t sq_dim_low(const sq_dims *ds, sq_dim d);
int64_t sq_dim_high(const sq_dims *ds, sq_dim d);

// Value under `sym[i]` = value of symbol i (array of count+1). False when a symbol has no value
// (INT64_MIN), on division by zero or overflow.
bool sq_dim_eval(const sq_dims *ds, sq_dim d, const int64_t *sym, int64_t *out);
// Replaces symbols: `with[i]` where not {0}. Used by inlining.
sq_dim sq_dim_subst(sq_dims *ds, sq_dim d, const sq_dim *with, uint32_t n_with);
// Live symbols replaced by their limits: what storage is sized by.
sq_dim sq_dim_storage(sq_dims *ds, sq_dim d);
bool sq_dim_mentions(const sq_dims *ds, sq_dim d, sq_sym s);
// "2 * N + 3", "floordiv(N, 4)", "min(N, 8)"
void sq_dim_print(const sq_dims *ds, sq_dim d, sq_text *t);
const char *sq_dim_text(sq_dims *ds, sq_dim d); // in the arena
// The same with names as in the source: "N" also where it is "N.1" among the graph's symbols.
const char *sq_dim_source_text(sq_dims *ds, sq_dim d);
