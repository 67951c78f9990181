// What the manager uses beside the passes.
#pragma once
#include "passes/internal.h"
#include "passes/plan.h"

// Runs every entry of both graphs on the same small random inputs in the interpreter. NULL when the
// results are the same within rounding; else a line that names the entry, the value and both
// results.
const char *sq_validate(sq_graph *before, sq_graph *after, uint64_t seed);

// A remark for each site marked `require fused`: fused, or why not, by the remarks from number `first`
// on. SQ_EMODEL, with diagnostics as the message, when that is required and does not hold.
sq_status sq_require_fused(sq_graph *g, const sq_pass_options *o, uint32_t first,
                           const char **message);
