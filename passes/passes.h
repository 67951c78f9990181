// The pass manager: pipelines as data, and what can be asked of a run. Passes hold no dump, verify
// or timing code: the manager has it.
#pragma once
#include "ir/ir.h"
#include "ir/machine.h"

typedef struct sq_pass_options {
  const char *print_after; // pass name or "all" or NULL; printed to `dump` (stderr by default)
  bool print_changed;      // only when the text changed
  bool verify_each, roundtrip_each, validate_each;
  int bisect_limit; // run only the first so many optional pass runs; < 0: all
  bool time_passes;
  const char *dump_dir; // one .sir per pass
  FILE *dump;
  uint64_t seed;         // of --validate-each
  bool require_fused;    // a marked site that is not fused, or a fall-back, is an error
  bool int8;             // weights of contractions in 8 bits
  bool sequential_scans; // turns one after another
  bool parallel_rnn;     // nonlinear scans by Newton's method, where that is faster
  bool device;           // the code is for a graphics processor: no panels for vectors
  sq_machine machine;    // that the code is for; zeros: one with vectors of 32 bytes
} sq_pass_options;
// Whether a run with these options does nothing but change the graph: no prints, no checks, no limit.
// What else the graph depends on is added to `key`: a new option that changes it belongs there.
bool sq_pass_options_plain(const sq_pass_options *o, sq_text *key);

typedef struct sq_pass_info {
  const char *name;
  const char *what; // one line for --help
  // Changes the graph in place; remarks through g->ctx. Returns whether anything changed.
  bool (*run)(sq_graph *g, const sq_pass_options *o);
  bool required; // not skipped by bisect
} sq_pass_info;
extern const sq_pass_info sq_pass_table[];
extern const unsigned sq_pass_count;
const sq_pass_info *sq_pass_find(const char *name);

extern const char *const sq_pipeline_cpu;    // "inline,simplify,...,plan", comma separated
extern const char *const sq_pipeline_device; // for CUDA: unwrap undoes what a device has no kernel for
// Runs a comma-separated list. SQ_EUSAGE for an unknown name, SQ_EMODEL when a check between passes
// failed; `*message` says which (in ctx arena).
sq_status sq_passes_run(sq_graph *g, const char *pipeline, const sq_pass_options *o,
                        const char **message);
