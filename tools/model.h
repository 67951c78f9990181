// What subcommands share: build options from the command line, and a model that can be called,
// compiled or interpreted.
#pragma once
#include "tools/build.h"
#include "tools/cli.h"
#include "tools/values.h"

// Whether there is such a pass; a message with the nearest name if not.
sq_status sq_cli_pass(const char *name);
// Options of a compilation as the command line asks; tests targets that are not built yet.
sq_status sq_cli_build(sq_cli *cli, sq_build *b);
// Prints rendered diagnostics, or `seqm: message`, and gives the status back.
sq_status sq_print_failure(sq_status s, const char *message);

// A shared object, by its name; `seqm dump` of one (contents.c).
bool sq_is_object(const char *path);
sq_status sq_dump_object(sq_cli *cli);

// A model to call, however it runs.
typedef struct sq_model sq_model;
// Opens cli->model: compiles a .seqm (JIT or interpreter), loads a shared object; reads weights.
sq_status sq_model_open(sq_cli *cli, sq_model **m);
void sq_model_close(sq_model *m);
seqm_context *sq_model_runtime(sq_model *m);
// The graph, planned when the model is compiled (NULL for a shared object). Made now, if the model
// was known from an earlier start.
sq_graph *sq_model_graph(sq_model *m);

typedef struct sq_entry_info {
  const char *name;
  uint32_t n_in, n_out;
  sq_slot_info *in, *out;
  uint32_t at; // number among the model's entries
} sq_entry_info;
// SQ_EUSAGE, with the list of entries printed, when there is none of that name.
sq_status sq_model_entry(sq_model *m, const char *name, sq_entry_info *e);
// Is each of v the name of a slot of the entry? Else SQ_EUSAGE, with the list of `what`s printed.
sq_status sq_names_known(const sq_bind *v, uint32_t n, const sq_slot_info *slot, uint32_t n_slot,
                         const char *entry, const char *what);
// Outputs live until the next call.
sq_status sq_model_call(sq_model *m, const sq_entry_info *e, const seqm_tensor *in,
                        seqm_tensor *out);
// The same with outputs that stay where they are said to be, and are written in place when they are given
// again: out[k].data NULL at first; free them by seqm_tensor_free.
sq_status sq_model_call_into(sq_model *m, const sq_entry_info *e, const seqm_tensor *in,
                             seqm_tensor *out, seqm_device where);
// How scans by Newton's method went in the last call; zeros for the interpreter.
seqm_newton sq_model_newton(const sq_model *m);
// Of a sq_model: seqm_model_loading, for a progress bar.
void sq_model_loading(const void *model, size_t *loaded, size_t *wanted);
seqm_graphs sq_model_graphs(const sq_model *m);
// The descriptor, the threads in use, bytes of memory.
const sq_abi_model *sq_model_abi(const sq_model *m);
int sq_model_threads(const sq_model *m);
void sq_model_memory(sq_model *m, size_t *weights, size_t *states, size_t *arena);
// Times of kernels go to the trace from now on.
typedef struct sq_trace sq_trace;
sq_status sq_model_trace(sq_model *m, sq_trace *t);
// The same for others: as seqm_model_trace (runtime/jit.h).
sq_status sq_model_marks(sq_model *m, void (*each)(void *user, const char *label, bool entry),
                         void *user);
sq_status sq_model_reset(sq_model *m);
sq_status sq_model_save(sq_model *m, const char *path);
sq_status sq_model_load(sq_model *m, const char *path);
