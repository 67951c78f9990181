// A model of the runtime whose entries are compiled when first called, from a planned graph or from
// source. From source, a file that is unchanged since it was compiled is neither read by the
// frontend nor planned: its record (record.h) says all that a call needs.
#pragma once
#include "runtime/seqm.h"
#include "tools/build.h"

// On success the model owns the JIT and, with own_ctx, the context that the graph lives in; both go
// with it. On failure the caller keeps them and the message is in `*message` or, when that stays
// NULL, in the runtime's context.
sq_status sq_jit_model(sq_ctx *ctx, bool own_ctx, seqm_context *rt, sq_graph *planned,
                       const sq_target *target, const char *cache_dir, seqm_model **m,
                       const char **message);

typedef struct sq_live_ask {
  const char *path; // or the name that stands for the text
  const char *text; // NULL: the file is read
  size_t size;
  const sq_build *build; // with cache_dir
  bool own_ctx;
  void (*warn)(const char *warnings); // NULL, or takes the rendered warnings, when there are any
} sq_live_ask;
typedef struct sq_live sq_live; // lives as long as its model
// The same from source; nothing of `ask` is needed afterwards.
sq_status sq_live_open(sq_ctx *ctx, seqm_context *rt, const sq_live_ask *ask, sq_live **live,
                       seqm_model **m, const char **message);
// The planned graph; made now when it was not needed so far. NULL, with the message, when that fails.
sq_graph *sq_live_graph(sq_live *live, const char **message);
// Whether a record was found.
bool sq_live_recalled(const sq_live *live);
