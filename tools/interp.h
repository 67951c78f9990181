// What the interpreter needs to behave as a compiled model at the command line: the test of weights
// before a call, and saved state.
#pragma once
#include "ir/eval.h"
#include "runtime/abi.h"
#include "runtime/weights.h"
#include "tools/values.h"

// Every parameter that the entry reads is there and fits; the context's message lists all faults.
int sq_interp_check(seqm_context *rt, sq_weights *w, const sq_abi_model *m, const sq_abi_entry *e);

// The same files as the runtime's (runtime/snapshot.c), the values rounded to the dtypes that the
// model declares.
sq_status sq_interp_save(sq_ctx *ctx, sq_graph *g, sq_eval *e, const char *path,
                         const char **message);
// Strict as the runtime: every state with its dtype and shape, nothing else; a growing axis may
// have any extent.
sq_status sq_interp_load(sq_ctx *ctx, seqm_context *rt, sq_graph *g, sq_eval *e, const char *path,
                         const char **message);
