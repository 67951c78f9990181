// How the compiler hands a model in memory to the runtime, and what tools may look at. Not
// installed.
#pragma once
#include "runtime/abi.h"
#include "runtime/seqm.h"

// `desc` and what it points to must outlive the model. Code is asked for by hooks->compile when an
// entry without code is first called; hooks->release is called once, by seqm_model_free. When this
// function fails nothing is taken: the caller still owns what the hooks stand for.
int seqm_model_jit(seqm_context *ctx, const sq_abi_model *desc, const sq_abi_hooks *hooks,
                   seqm_model **m);
const sq_abi_model *seqm_model_descriptor(const seqm_model *m);
// The context that a model was opened in.
seqm_context *seqm_model_context(const seqm_model *m);
// Calls `mark` where an entry begins (its name, entry true), before each kernel (what it computes) and
// where the entry ends (NULL). NULL: no longer. The calls come on the calling thread.
typedef void (*seqm_mark)(void *user, const char *label, _Bool entry);
void seqm_model_trace(seqm_model *m, seqm_mark mark, void *user);
// The pool that a context's models use.
void seqm_context_parallel(seqm_context *ctx, int64_t n_tasks, sq_task fn, void *closure);
