// The interpreter: defines what IR means. All floats are float64 internally and are rounded only by
// casts to a narrower float type (and by integer types' ranges); integers wrap in their type.
#pragma once
#include "ir/ir.h"

// A host tensor: floats as double, everything else as int64; row-major.
typedef struct sq_tensor64 {
  sq_dtype dtype;
  uint32_t rank;
  int64_t dim[SQ_MAX_RANK];
  double *f;  // when the dtype is a float
  int64_t *i; // otherwise
} sq_tensor64;
int64_t sq_tensor64_count(const sq_tensor64 *t);
// x rounded to the values of float type t: nearest, ties to even, subnormals kept, inf beyond. What
// a cast to t does.
double sq_round_float(sq_dtype t, double x);

typedef struct sq_eval sq_eval;
// `load(user, param, instance, out)` fills the parameter's data (out->f / out->i are allocated). It
// is asked for a parameter when a called entry first reads it.
typedef sq_status (*sq_eval_load)(void *user, uint32_t param, uint32_t instance, sq_tensor64 *out);
sq_eval *sq_eval_new(sq_graph *g, sq_eval_load load, void *user);
void sq_eval_free(sq_eval *e);
// Calls an entry. Inputs: in order of the function's arguments. Outputs live until the next call.
// On failure: SQ_EMODEL and sq_eval_message (with the failing site's source place).
sq_status sq_eval_call(sq_eval *e, sq_func *f, const sq_tensor64 *in, uint32_t n_in,
                       sq_tensor64 **out, uint32_t *n_out);
const char *sq_eval_message(const sq_eval *e);
// The failing site's place, {0} if none.
sq_span sq_eval_where(const sq_eval *e);
sq_status sq_eval_reset(sq_eval *e);
// Saved state: visit every state instance (name, tensor; may be filled in place on load).
typedef sq_status (*sq_eval_visit)(void *user, const char *name, sq_tensor64 *t);
sq_status sq_eval_states(sq_eval *e, sq_eval_visit visit, void *user);
// Sets the rows of a growing state (of every instance) to exactly n, new ones as its init: before
// saved state of another extent is loaded.
sq_status sq_eval_grow(sq_eval *e, uint32_t state, int64_t n);
// The parameters that entries write, as far as they are loaded; with the first of their names.
sq_status sq_eval_params(sq_eval *e, sq_eval_visit visit, void *user);
// Gives a parameter its value; dtype and shape are the parameter's.
sq_status sq_eval_param_set(sq_eval *e, uint32_t param, uint32_t instance, const sq_tensor64 *t);
