// The command line as data: what was asked for, and the table of options that says which subcommand
// takes which.
#pragma once
#include "base/context.h"
#include "ir/ir.h"
#include "passes/passes.h"

typedef struct sq_bind {
  const char *name, *value;
} sq_bind;
typedef struct sq_cli_call {
  const char *entry; // NULL: the implicit call of `forward`
  SQ_VEC(sq_bind) in;
  SQ_VEC(sq_bind) out;
} sq_cli_call;

enum {
  SQ_CMD_RUN = 1,
  SQ_CMD_COMPILE = 2,
  SQ_CMD_CHECK = 4,
  SQ_CMD_EXPLAIN = 8,
  SQ_CMD_DUMP = 16,
  SQ_CMD_OPT = 32,
  SQ_CMD_GRAPH = 64,
  SQ_CMD_BENCH = 128,
};

typedef struct sq_cli {
  sq_ctx *ctx;
  const char *command;
  const char *model; // the positional argument
  const char *preset, *target, *float_name, *quantize, *save_state, *load_state, *profile;
  const char *output, *header, *target_cpu, *arch, *entry, *after, *stage, *passes, *format;
  const char *cache_dir;
  SQ_VEC(const char *) defines;
  SQ_VEC(const char *) weights;
  SQ_VEC(sq_bind) sizes;
  SQ_VEC(sq_cli_call) calls;
  int64_t random_seed, threads, repeat;
  const struct sq_target *on; // code for this target, in place of what the options say; NULL
  bool tune;
  bool random_weights, parallel_rnn, sequential_scans, require_fused, verbose, json, no_cache,
      calibrate;
  // pass manager
  const char *print_after, *dump_dir;
  bool print_changed, verify_each, roundtrip_each, validate_each, time_passes;
  int64_t bisect_limit;
} sq_cli;

// Fills `cli` (ctx set) from the arguments behind the subcommand. Messages go to stderr.
// `*help` is set when help was asked for and printed.
sq_status sq_cli_parse(sq_cli *cli, int command, int argc, char **argv, bool *help);
void sq_cli_help(int command, FILE *out);
// Names and one-line descriptions of subcommands, ended by a NULL name.
typedef struct sq_command {
  const char *name, *usage, *what;
  int bit;
  sq_status (*run)(sq_cli *cli);
} sq_command;
extern const sq_command sq_commands[];

sq_status sq_cmd_run(sq_cli *cli);
sq_status sq_cmd_compile(sq_cli *cli);
sq_status sq_cmd_check(sq_cli *cli);
sq_status sq_cmd_explain(sq_cli *cli);
sq_status sq_cmd_dump(sq_cli *cli);
sq_status sq_cmd_opt(sq_cli *cli);
sq_status sq_cmd_graph(sq_cli *cli);
sq_status sq_cmd_bench(sq_cli *cli);

// The value of a --size; SQ_EUSAGE, with a message, when it is none that an axis can have.
sq_status sq_cli_size(const sq_bind *size, int64_t *value);
// SQ_EUSAGE, with a message, when --threads is not 1 to 1024 (0: not given).
sq_status sq_cli_threads(const sq_cli *cli);
// Says on stderr what is wrong and gives the status back.
sq_status sq_complain(sq_status s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
