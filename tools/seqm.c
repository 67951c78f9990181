// The `seqm` command: finds the subcommand, parses its options, runs it.
#include "runtime/seqm.h"
#include "tools/cli.h"
#include <signal.h>
#include <stdlib.h>

static void usage(FILE *out) {
  fprintf(out,
          "seqm %s: compiles and runs sequence models\n\nusage: seqm COMMAND FILE [options]\n\n",
          seqm_version());
  for (const sq_command *c = sq_commands; c->name; c++)
    fprintf(out, "  %-9s %s\n", c->name, c->what);
  fprintf(out, "\n`seqm COMMAND --help` lists a command's options.\n");
}

static const sq_command *find(const char *name) {
  for (const sq_command *c = sq_commands; c->name; c++)
    if (!strcmp(c->name, name)) return c;
  return NULL;
}

static sq_status unknown(const char *name) {
  const char *names[16];
  uint32_t n = 0;
  for (const sq_command *c = sq_commands; c->name; c++) names[n++] = c->name;
  const char *near = sq_nearest(name, names, n);
  sq_status s = near ? sq_complain(SQ_EUSAGE, "no command `%s`; did you mean `%s`?", name, near)
                     : sq_complain(SQ_EUSAGE, "no command `%s`", name);
  usage(stderr);
  return s;
}

static sq_status run(sq_ctx *ctx, const sq_command *c, int argc, char **argv) {
  if (setjmp(ctx->guard.jmp)) return sq_complain(SQ_EWORLD, "out of memory");
  sq_cli *cli = SQ_NEW(&ctx->arena, sq_cli);
  cli->ctx = ctx;
  cli->command = c->name;
  bool help = false;
  SQ_TRY(sq_cli_parse(cli, c->bit, argc, argv, &help));
  return help ? SQ_OK : c->run(cli);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  if (argc < 2) {
    usage(stderr);
    return SQ_EUSAGE;
  }
  if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
    usage(stdout);
    return SQ_OK;
  }
  if (!strcmp(argv[1], "--version")) {
    printf("seqm %s\n", seqm_version());
    return SQ_OK;
  }
  const sq_command *command = find(argv[1]);
  if (!command) return unknown(argv[1]);
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  if (!ctx) return sq_complain(SQ_EWORLD, "out of memory");
  sq_status status = run(ctx, command, argc - 2, argv + 2);
  sq_ctx_free(ctx);
  if (fflush(stdout) && status == SQ_OK) status = sq_complain(SQ_EWORLD, "cannot write to stdout");
  return (int)status;
}
