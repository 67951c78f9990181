// A planned graph as a model of the runtime whose entries are compiled when first called.
#pragma once
#include "runtime/seqm.h"
#include "tools/build.h"

// On success the model owns the JIT and, with own_ctx, the context that the graph lives in; both go
// with it. On failure the caller keeps them and the message is in `*message` or, when that stays
// NULL, in the runtime's context.
sq_status sq_jit_model(sq_ctx *ctx, bool own_ctx, seqm_context *rt, sq_graph *planned,
                       const sq_target *target, const char *cache_dir, seqm_model **m,
                       const char **message);
