// A clock, and per-kernel times as a trace that Perfetto and chrome://tracing open.
#pragma once
#include "base/context.h"

double sq_clock(void); // seconds, monotonic

typedef struct sq_trace sq_trace;
sq_trace *sq_trace_new(sq_ctx *ctx);
// As seqm_mark (runtime/jit.h), `user` is the trace: a kernel lasts until the next mark.
void sq_trace_mark(void *user, const char *label, bool entry);
// Writes the JSON file; SQ_EWORLD and *message when that fails.
sq_status sq_trace_write(const sq_trace *t, const char *path, const char **message);
