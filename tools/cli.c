// Options as one table; every subcommand takes the rows that name it.
#include "tools/cli.h"
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

const sq_command sq_commands[] = {
    {"run", "run MODEL [options] [--call ENTRY [--in name=VALUE]... [--out name=FILE.npy]...]...",
     "run entries of a model", SQ_CMD_RUN, sq_cmd_run},
    {"compile", "compile MODEL.seqm -o out.so [--header out.h] [options]",
     "compile ahead of time to a shared object (or .o) and a C header", SQ_CMD_COMPILE,
     sq_cmd_compile},
    {"check", "check MODEL.seqm [options]",
     "check types and shapes; print the entries and the parameter table", SQ_CMD_CHECK,
     sq_cmd_check},
    {"explain", "explain MODEL.seqm [--entry E] [--size N=1024]... [options]",
     "what scans, attention and contractions there are, what was fused and rewritten, and what was "
     "not and "
     "why",
     SQ_CMD_EXPLAIN, sq_cmd_explain},
    {"dump", "dump MODEL [--after PASS | --stage ast|ir|sched|llvm|asm|cuda] [--entry E]",
     "print an intermediate form, or what is in a shared object", SQ_CMD_DUMP, sq_cmd_dump},
    {"opt", "opt FILE.sir --passes a,b,c [options]", "run passes on textual IR", SQ_CMD_OPT,
     sq_cmd_opt},
    {"graph", "graph MODEL.seqm -o g.svg [--entry E]", "draw the graph with Graphviz", SQ_CMD_GRAPH,
     sq_cmd_graph},
    {"bench", "bench MODEL [--entry E] [--size N=1024]... [options] [--json]",
     "time one call: min, median, max, GFLOP/s, GB/s", SQ_CMD_BENCH, sq_cmd_bench},
    {NULL, NULL, NULL, 0, NULL},
};

enum {
  MODEL = SQ_CMD_RUN | SQ_CMD_COMPILE | SQ_CMD_CHECK | SQ_CMD_EXPLAIN | SQ_CMD_DUMP | SQ_CMD_GRAPH |
          SQ_CMD_BENCH,
  EXEC = SQ_CMD_RUN | SQ_CMD_BENCH,
  PASSES = SQ_CMD_OPT | SQ_CMD_DUMP | SQ_CMD_COMPILE | SQ_CMD_RUN,
};
typedef enum kind { TEXT, FLAG, NUMBER, LIST, SEED, CALL, IN, OUT, SIZE } kind;
typedef struct option {
  const char *name;
  kind kind;
  size_t at;
  int commands;
  const char *arg, *what;
} option;
#define AT(f) offsetof(sq_cli, f)

static const option options[] = {
    {"--preset", TEXT, AT(preset), MODEL, "NAME", "a set of constants written in the model"},
    {"-D", LIST, AT(defines), MODEL, "name=value",
     "a constant: number, name, list `a,b` or `[[a],[b]]`"},
    {"--float", TEXT, AT(float_name), MODEL, "f32|tf32|bf16|f64",
     "the model's float type (f32); tf32: f32, and on CUDA products of factors rounded to 11 bits"},
    {"--weights", LIST, AT(weights), EXEC, "FILE",
     "a .safetensors file or its .index.json; may repeat"},
    {"--random-weights", SEED, AT(random_seed), EXEC, "SEED", "random parameters instead of files"},
    {"--target", TEXT, AT(target), EXEC | SQ_CMD_COMPILE | SQ_CMD_EXPLAIN,
     "cpu|interp|cuda|cuda-emu",
     "where to run (cpu); interp is the float64 interpreter; explain: of which target (cpu or "
     "cuda)"},
    {"--threads", NUMBER, AT(threads), EXEC | SQ_CMD_EXPLAIN, "N", "threads (one per core)"},
    {"--quantize", TEXT, AT(quantize), EXEC | PASSES | SQ_CMD_EXPLAIN, "int8",
     "weights of matrix products in 8 bits, with a scale a column"},
    {"--parallel-rnn", FLAG, AT(parallel_rnn), EXEC | PASSES | SQ_CMD_EXPLAIN, NULL,
     "nonlinear scans by Newton's method where that is faster"},
    {"--sequential-scans", FLAG, AT(sequential_scans), EXEC | PASSES | SQ_CMD_EXPLAIN, NULL,
     "forbid parallel forms of scans"},
    {"--require-fused", FLAG, AT(require_fused), EXEC | SQ_CMD_COMPILE | SQ_CMD_OPT, NULL,
     "a fall-back, or a statement behind `require fused` that is not, is an error"},
    {"--save-state", TEXT, AT(save_state), SQ_CMD_RUN, "FILE",
     "write the state after the last call"},
    {"--load-state", TEXT, AT(load_state), SQ_CMD_RUN, "FILE",
     "read the state before the first call"},
    {"--profile", TEXT, AT(profile), SQ_CMD_RUN, "FILE.json",
     "per-kernel times for Perfetto or chrome://tracing"},
    {"--call", CALL, 0, EXEC | SQ_CMD_COMPILE, "ENTRY",
     "call an entry; several run in order on one instance (bench times the last; compile: for "
     "--tune)"},
    {"--in", IN, 0, EXEC, "name=VALUE", "an input: FILE.npy, a number or a flat list"},
    {"--out", OUT, 0, SQ_CMD_RUN, "name=FILE.npy", "where an output goes; others are printed"},
    {"--no-cache", FLAG, AT(no_cache), EXEC, NULL,
     "do not read or write the cache of compiled code"},
    {"-o", TEXT, AT(output), SQ_CMD_COMPILE | SQ_CMD_GRAPH, "FILE", "the file to write"},
    {"--header", TEXT, AT(header), SQ_CMD_COMPILE, "FILE.h",
     "also write a C header of typed functions"},
    {"--target-cpu", TEXT, AT(target_cpu), SQ_CMD_COMPILE | SQ_CMD_DUMP | SQ_CMD_EXPLAIN,
     "native|x86-64-v2|x86-64-v3|x86-64-v4|aarch64", "the processor to compile for (native)"},
    {"--arch", TEXT, AT(arch), SQ_CMD_COMPILE, "sm_80,...",
     "CUDA architectures (sm_80,sm_90a), and PTX for later ones"},
    {"--entry", TEXT, AT(entry), SQ_CMD_EXPLAIN | SQ_CMD_DUMP | SQ_CMD_GRAPH | SQ_CMD_BENCH, "E",
     "this entry only"},
    {"--after", TEXT, AT(after), SQ_CMD_DUMP, "PASS", "the IR after the first run of this pass"},
    {"--stage", TEXT, AT(stage), SQ_CMD_DUMP, "ast|ir|sched|llvm|asm|cuda", "which form (ir)"},
    {"--passes", TEXT, AT(passes), SQ_CMD_OPT, "a,b,c",
     "the passes to run, in order; \"\" for none"},
    {"--size", SIZE, 0, SQ_CMD_BENCH | SQ_CMD_EXPLAIN | SQ_CMD_COMPILE, "N=1024",
     "binds a dimension symbol of the entry (explain: what each kernel costs, how it is cut; "
     "compile: "
     "for --tune)"},
    {"--repeat", NUMBER, AT(repeat), SQ_CMD_BENCH, "N", "how many timed calls (by time)"},
    {"--json", FLAG, AT(json), SQ_CMD_BENCH, NULL, "print one JSON object and nothing else"},
    {"--calibrate", FLAG, AT(calibrate), SQ_CMD_BENCH, NULL,
     "measure this machine's limits and keep them; no MODEL is needed"},
    {"--tune", FLAG, AT(tune), EXEC | SQ_CMD_COMPILE, NULL,
     "look for faster tiles and blocks on this machine and keep them, up to a minute"},
    {"--print-after", TEXT, AT(print_after), PASSES, "PASS|all", "print the IR after a pass"},
    {"--print-changed", FLAG, AT(print_changed), PASSES, NULL,
     "print the IR after passes that changed it"},
    {"--verify-each", FLAG, AT(verify_each), PASSES, NULL, "verify the IR after each pass"},
    {"--roundtrip-each", FLAG, AT(roundtrip_each), PASSES, NULL,
     "print and read the IR after each pass"},
    {"--validate-each", FLAG, AT(validate_each), PASSES, NULL,
     "interpret before and after each pass and compare"},
    {"--bisect-limit", NUMBER, AT(bisect_limit), PASSES, "N",
     "run only the first N optional passes"},
    {"--time-passes", FLAG, AT(time_passes), PASSES, NULL, "print what each pass took"},
    {"--dump-dir", TEXT, AT(dump_dir), PASSES, "DIR",
     "write the IR after each pass as a .sir file"},
    {"-v", FLAG, AT(verbose), EXEC, NULL, "notes: unused names in weight files, times"},
};
enum { N_OPTIONS = sizeof options / sizeof *options };

sq_status sq_complain(sq_status s, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fputs("seqm: ", stderr);
  vfprintf(stderr, fmt, ap);
  fputc('\n', stderr);
  va_end(ap);
  return s;
}

sq_status sq_cli_size(const sq_bind *size, int64_t *value) {
  char *end;
  errno = 0;
  long long v = strtoll(size->value, &end, 10);
  *value = v;
  if (*end || end == size->value || v < 0)
    return sq_complain(SQ_EUSAGE, "--size %s takes a whole number", size->name);
  if (errno || v > (long long)1 << 40)
    return sq_complain(SQ_EUSAGE, "--size %s=%s is too large", size->name, size->value);
  return SQ_OK;
}

sq_status sq_cli_threads(const sq_cli *cli) {
  if (cli->threads < 0 || cli->threads > 1024)
    return sq_complain(SQ_EUSAGE, "--threads takes 1 to 1024");
  return SQ_OK;
}

void sq_cli_help(int command, FILE *out) {
  for (const sq_command *c = sq_commands; c->name; c++)
    if (c->bit == command) fprintf(out, "usage: seqm %s\n\n%s.\n\noptions:\n", c->usage, c->what);
  for (int k = 0; k < N_OPTIONS; k++) {
    if (!(options[k].commands & command)) continue;
    char left[96];
    snprintf(left, sizeof left, "%s %s", options[k].name, options[k].arg ? options[k].arg : "");
    if (strlen(left) > 30)
      fprintf(out, "  %s\n  %-30s %s\n", left, "", options[k].what);
    else
      fprintf(out, "  %-30s %s\n", left, options[k].what);
  }
  fprintf(out, "  %-30s %s\n", "--help", "this text");
  fprintf(out,
          "\nexit status: 0 done; 1 the model, weights or inputs are wrong; 2 the command line "
          "is wrong;\n3 something outside failed (file, memory, device)\n");
}

static bool number(const char *s, int64_t *v) {
  char *end;
  errno = 0;
  *v = strtoll(s, &end, 10);
  return *s && !*end && !errno;
}

static sq_cli_call *last_call(sq_cli *cli) {
  if (!cli->calls.n) sq_push(&cli->ctx->arena, &cli->calls, (sq_cli_call){0});
  return &cli->calls.v[cli->calls.n - 1];
}

static sq_status take_binding(sq_cli *cli, const option *o, const char *value) {
  const char *eq = strchr(value, '=');
  if (!eq || eq == value || !eq[1])
    return sq_complain(SQ_EUSAGE, "%s takes %s, not `%s`", o->name, o->arg, value);
  sq_bind b = {sq_arena_str(&cli->ctx->arena, value, (size_t)(eq - value)), eq + 1};
  if (o->kind == SIZE) {
    sq_push(&cli->ctx->arena, &cli->sizes, b);
    return SQ_OK;
  }
  sq_cli_call *c = last_call(cli);
  if (o->kind == IN)
    sq_push(&cli->ctx->arena, &c->in, b);
  else
    sq_push(&cli->ctx->arena, &c->out, b);
  return SQ_OK;
}

static sq_status take(sq_cli *cli, const option *o, const char *value) {
  void *field = (char *)cli + o->at;
  switch (o->kind) {
  case FLAG:
    *(bool *)field = true;
    return SQ_OK;
  case TEXT:
    *(const char **)field = value;
    return SQ_OK;
  case LIST: {
    SQ_VEC(const char *) *list = field;
    sq_push(&cli->ctx->arena, list, value);
    return SQ_OK;
  }
  case SEED:
    cli->random_weights = true;
    __attribute__((fallthrough));
  case NUMBER:
    if (number(value, field)) return SQ_OK;
    return sq_complain(SQ_EUSAGE, "%s takes a whole number, not `%s`", o->name, value);
  case CALL:
    if (cli->calls.n == 1 && !cli->calls.v[0].entry)
      return sq_complain(SQ_EUSAGE,
                         "--in and --out before the first --call belong to no call: write "
                         "them behind their --call");
    sq_push(&cli->ctx->arena, &cli->calls, (sq_cli_call){.entry = value});
    return SQ_OK;
  case IN:
  case OUT:
  case SIZE:
    return take_binding(cli, o, value);
  }
  return SQ_OK;
}

static const option *find(const char *word, size_t n, int command) {
  for (int k = 0; k < N_OPTIONS; k++)
    if (strlen(options[k].name) == n && !strncmp(options[k].name, word, n) &&
        (options[k].commands & command))
      return &options[k];
  return NULL;
}

static sq_status unknown(const char *word, int command) {
  const char *names[N_OPTIONS];
  uint32_t n = 0;
  for (int k = 0; k < N_OPTIONS; k++)
    if (options[k].commands & command) names[n++] = options[k].name;
  const char *near = sq_nearest(word, names, n);
  sq_status s = near ? sq_complain(SQ_EUSAGE, "unknown option `%s`; did you mean `%s`?", word, near)
                     : sq_complain(SQ_EUSAGE, "unknown option `%s`", word);
  fprintf(stderr, "\n");
  sq_cli_help(command, stderr);
  return s;
}

sq_status sq_cli_parse(sq_cli *cli, int command, int argc, char **argv, bool *help) {
  cli->bisect_limit = -1;
  for (int k = 0; k < argc; k++) {
    const char *w = argv[k];
    if (!strcmp(w, "--help") || !strcmp(w, "-h")) {
      sq_cli_help(command, stdout);
      *help = true;
      return SQ_OK;
    }
    if (w[0] != '-' || !w[1]) {
      if (cli->model)
        return sq_complain(SQ_EUSAGE, "one model at a time: `%s` and `%s`", cli->model, w);
      cli->model = w;
      continue;
    }
    const char *eq = w[1] == '-' ? strchr(w, '=') : NULL; // --name=value
    const option *o = find(w, eq ? (size_t)(eq - w) : strlen(w), command);
    const char *value = eq ? eq + 1 : NULL;
    if (!o && w[1] == 'D' && w[2] && (o = find("-D", 2, command))) value = w + 2;
    if (!o) return unknown(w, command);
    if (o->kind == FLAG && value) return sq_complain(SQ_EUSAGE, "%s takes no value", o->name);
    if (o->kind != FLAG && !value) {
      if (++k == argc) return sq_complain(SQ_EUSAGE, "%s needs a value: %s", o->name, o->arg);
      value = argv[k];
    }
    SQ_TRY(take(cli, o, value));
  }
  if (!cli->model && !cli->calibrate) {
    sq_status s = sq_complain(SQ_EUSAGE, "`seqm %s` needs a file", cli->command);
    sq_cli_help(command, stderr);
    return s;
  }
  return SQ_OK;
}
