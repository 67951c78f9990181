// Tensors at the command line: literals and .npy files in, printing out.
#pragma once
#include "ir/eval.h"
#include "runtime/seqm.h"

// What an entry takes or gives.
typedef struct sq_slot_info {
  const char *name;
  sq_dtype dtype;
  uint32_t rank;
} sq_slot_info;

// `value` is FILE.npy or a literal (a number or a flat list; missing leading axes have extent 1).
// The result has the slot's dtype: widened or narrowed where every value fits.
sq_status sq_value_parse(sq_ctx *ctx, seqm_context *rt, const char *value, const sq_slot_info *slot,
                         seqm_tensor *t, const char **message);
// Small ones whole, large ones as shape, dtype, first and last values, mean.
void sq_value_print(FILE *out, const char *name, const seqm_tensor *t);
// An element as double or int64 (whichever the dtype's class says).
double sq_value_float(const seqm_tensor *t, int64_t k);
int64_t sq_value_int(const seqm_tensor *t, int64_t k);
int64_t sq_value_count(const seqm_tensor *t);
// A tensor of the arena, data zeroed; false when the size overflows.
bool sq_value_new(sq_ctx *ctx, sq_dtype dtype, uint32_t rank, const int64_t *dim, seqm_tensor *t);
void sq_value_set(seqm_tensor *t, int64_t k, double f, int64_t i);
// To and from the interpreter's tensors.
void sq_value_to64(sq_arena *a, const seqm_tensor *t, sq_tensor64 *out);
bool sq_value_from64(sq_ctx *ctx, const sq_tensor64 *t, seqm_tensor *out);
