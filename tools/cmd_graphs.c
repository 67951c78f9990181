// Subcommands that print forms of the graph: explain, dump, opt, graph.
#include "tools/explain_costs.h"
#include "tools/model.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static sq_status read_model(sq_cli *cli, sq_build *b, sq_graph **g) {
  const char *message = "";
  SQ_TRY(sq_cli_build(cli, b));
  sq_status s = sq_build_graph(cli->ctx, cli->model, b, g, NULL, &message);
  return s ? sq_print_failure(s, message) : SQ_OK;
}

static sq_status need_entry(sq_cli *cli, sq_graph *g) {
  if (!cli->entry) return SQ_OK;
  sq_func *f = sq_func_find(g, cli->entry);
  if (f && f->kind == SQ_FUNC_ENTRY) return SQ_OK;
  sq_text t = {.arena = &cli->ctx->arena};
  sq_text_put(&t, "", 0);
  for (uint32_t k = 0; k < g->func.n; k++)
    if (g->func.v[k]->kind == SQ_FUNC_ENTRY) sq_text_add(&t, " %s", g->func.v[k]->name);
  return sq_complain(SQ_EUSAGE, "no entry `%s`; the entries are:%s", cli->entry, t.v);
}

// In the order of the source, then of the passes; the same remark on one place once.
static int by_place(const void *a, const void *b) {
  const sq_remark *x = a, *y = b;
  if (x->span.file != y->span.file) return x->span.file < y->span.file ? -1 : 1;
  if (x->span.begin != y->span.begin) return x->span.begin < y->span.begin ? -1 : 1;
  int c = strcmp(x->pass, y->pass);
  return c ? c : strcmp(x->text, y->text);
}

// On a device: who goes round a `while`.
static void explain_loops(sq_ctx *ctx, sq_graph *g, const sq_target *target) {
  if (target->device == SQ_DEVICE_HOST) return;
  for (uint32_t k = 0; k < g->func.n; k++) {
    sq_func *f = g->func.v[k];
    if (f->kind == SQ_FUNC_INNER) continue;
    sq_loops loops = sq_codegen_loops(g, f, &ctx->arena);
    for (uint32_t i = 0; i < loops.n; i++) {
      const sq_loop *l = &loops.v[i];
      const char *text = l->form == SQ_LOOP_HOST ? "the host goes round, and waits for nothing"
                         : l->form == SQ_LOOP_DEVICE
                             ? "the device goes round, from the second turn on"
                             : "the host goes round, and reads the condition in every turn";
      sq_remark_add(ctx, "loop", l->form != SQ_LOOP_READS, l->node->span, f->name, "%s%s%s", text,
                    l->why ? ": " : "", l->why ? l->why : "");
    }
  }
}

sq_status sq_cmd_explain(sq_cli *cli) {
  sq_build b;
  sq_graph *g;
  const char *message = "";
  sq_target target;
  SQ_TRY(read_model(cli, &b, &g));
  SQ_TRY(need_entry(cli, g));
  SQ_TRY(sq_explain_check(cli, g));
  sq_status s = sq_build_plan(g, &b, &target, &message);
  if (s) return sq_print_failure(s, message);
  sq_ctx *ctx = cli->ctx;
  explain_loops(ctx, g, &target);
  if (ctx->remarks.n) qsort(ctx->remarks.v, ctx->remarks.n, sizeof *ctx->remarks.v, by_place);
  uint32_t fired = 0, missed = 0;
  for (uint32_t k = 0; k < ctx->remarks.n; k++) {
    const sq_remark *r = &ctx->remarks.v[k];
    if (cli->entry && r->entry && strcmp(cli->entry, r->entry)) continue;
    if (k && !by_place(r, r - 1) && r->entry == r[-1].entry) continue;
    uint32_t line, column;
    sq_span_line(&ctx->diags, r->span, &line, &column);
    if (line) printf("%s:%u:%u: ", ctx->diags.sources.v[r->span.file].name, line, column);
    printf("%s %s: %s", r->found ? "found" : r->fired ? "done" : "not done", r->pass, r->text);
    if (r->entry) printf(" (in %s)", r->entry);
    printf("\n");
    if (!r->found) *(r->fired ? &fired : &missed) += 1;
  }
  printf("%u rewrites done, %u not done\n", fired, missed);
  return sq_explain_costs(cli, g, &target);
}

typedef enum code_form { LLVM_TEXT, ASSEMBLY, CUDA_C } code_form;
static sq_status dump_code(sq_cli *cli, sq_graph *g, sq_build *b, code_form form, sq_text *t) {
  const char *message = "";
  sq_target target;
  if (form == CUDA_C) b->device = SQ_DEVICE_CUDA;
  sq_status s = sq_build_plan(g, b, &target, &message);
  if (!s && form == CUDA_C)
    s = sq_codegen_cuda(g, &target, cli->entry, false, t, &message);
  else if (!s)
    s = sq_codegen_text(g, &target, cli->entry, form == ASSEMBLY, t, &message);
  return s ? sq_print_failure(s, message) : SQ_OK;
}

static void print_graph(sq_cli *cli, sq_graph *g, sq_text *t) {
  if (cli->entry)
    sq_func_print(sq_func_find(g, cli->entry), t);
  else
    sq_graph_print(g, t);
}

// The pipeline up to and with the first run of a pass.
static sq_status cut_pipeline(sq_cli *cli, const char **pipeline) {
  SQ_TRY(sq_cli_pass(cli->after));
  size_t n = strlen(cli->after);
  for (const char *s = sq_pipeline_cpu; *s;) {
    size_t w = strcspn(s, ",");
    if (w == n && !strncmp(s, cli->after, n)) {
      *pipeline =
          sq_arena_str(&cli->ctx->arena, sq_pipeline_cpu, (size_t)(s + w - sq_pipeline_cpu));
      return SQ_OK;
    }
    s += w + (s[w] == ',');
  }
  return sq_complain(SQ_EUSAGE, "the pass `%s` is not in the pipeline: %s", cli->after,
                     sq_pipeline_cpu);
}

sq_status sq_cmd_dump(sq_cli *cli) {
  if (sq_is_object(cli->model)) return sq_dump_object(cli);
  static const char *const stages[] = {"ast", "ir", "sched", "llvm", "asm", "cuda"};
  int stage = cli->stage ? -1 : 1;
  for (int k = 0; cli->stage && k < 6; k++)
    if (!strcmp(stages[k], cli->stage)) stage = k;
  if (stage < 0)
    return sq_complain(SQ_EUSAGE, "--stage takes ast, ir, sched, llvm, asm or cuda, not `%s`",
                       cli->stage);
  if (cli->after && stage != 1)
    return sq_complain(SQ_EUSAGE, "--after prints the IR: it does not go with --stage %s",
                       cli->stage);
  sq_text t = {.arena = &cli->ctx->arena};
  sq_text_put(&t, "", 0);
  if (stage == 0) {
    if (!sq_front_dump_ast(cli->ctx, cli->model, &t))
      return sq_print_failure(SQ_EMODEL, sq_diags_render(&cli->ctx->diags));
    fputs(t.v, stdout);
    return SQ_OK;
  }
  sq_build b;
  sq_graph *g;
  const char *message = "", *pipeline = sq_pipeline_cpu;
  SQ_TRY(read_model(cli, &b, &g));
  SQ_TRY(need_entry(cli, g));
  if (cli->after) SQ_TRY(cut_pipeline(cli, &pipeline));
  if (cli->after || stage == 2) {
    sq_target target;
    const char *note;
    sq_status s = sq_build_target(cli->ctx, &b, &target, &note, &message);
    sq_pass_options o = b.pass;
    if (!s) o.machine = target.machine;
    if (!s) s = sq_passes_run(g, pipeline, &o, &message);
    if (s) return sq_print_failure(s, message);
  }
  if (stage >= 3)
    SQ_TRY(dump_code(cli, g, &b, (code_form)(stage - 3), &t));
  else
    print_graph(cli, g, &t);
  fputs(t.v, stdout);
  return SQ_OK;
}

sq_status sq_cmd_opt(sq_cli *cli) {
  sq_build b;
  sq_graph *g;
  const char *message = "";
  if (!cli->passes)
    return sq_complain(SQ_EUSAGE, "`seqm opt` needs --passes a,b,c (\"\" for none)");
  SQ_TRY(read_model(cli, &b, &g));
  sq_text faults = {.arena = &cli->ctx->arena};
  b.pass.machine = sq_machine_level(4); // all that some machine has
  b.pass.machine.bf16 = true;
  sq_status s = sq_passes_run(g, cli->passes, &b.pass, &message);
  if (s) return sq_print_failure(s, message);
  if (!sq_graph_verify(g, &faults)) return sq_print_failure(SQ_EMODEL, faults.v);
  sq_text t = {.arena = &cli->ctx->arena};
  sq_graph_print(g, &t);
  fputs(t.v, stdout);
  for (uint32_t k = 0; cli->verbose && k < cli->ctx->remarks.n; k++)
    fprintf(stderr, "%s: %s\n", cli->ctx->remarks.v[k].pass, cli->ctx->remarks.v[k].text);
  return SQ_OK;
}

static sq_status run_dot(sq_cli *cli, const char *format, const char *from, const char *to) {
  pid_t pid = fork();
  if (pid < 0) return sq_complain(SQ_EWORLD, "cannot start dot: %s", strerror(errno));
  if (pid == 0) {
    execlp("dot", "dot", format, "-o", to, from, (char *)NULL);
    _exit(127);
  }
  int status = 0;
  if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status)) status = 127 << 8;
  if (WEXITSTATUS(status) == 127)
    return sq_complain(SQ_EWORLD, "the program `dot` is missing: install graphviz, or write %s.dot",
                       cli->output);
  return WEXITSTATUS(status) ? sq_complain(SQ_EWORLD, "dot failed on %s", from) : SQ_OK;
}

sq_status sq_cmd_graph(sq_cli *cli) {
  sq_build b;
  sq_graph *g;
  const char *message = "";
  sq_target target;
  if (!cli->output)
    return sq_complain(SQ_EUSAGE, "`seqm graph` needs -o FILE.svg (or .png, .pdf, .dot)");
  const char *dot = strrchr(cli->output, '.');
  static const char *const kinds[] = {"svg", "png", "pdf", "dot"};
  const char *format = NULL;
  for (int k = 0; dot && k < 4; k++)
    if (!strcmp(dot + 1, kinds[k])) format = kinds[k];
  if (!format) return sq_complain(SQ_EUSAGE, "-o takes a name in .svg, .png, .pdf or .dot");
  SQ_TRY(read_model(cli, &b, &g));
  SQ_TRY(need_entry(cli, g));
  sq_status s = sq_build_plan(g, &b, &target, &message);
  if (s) return sq_print_failure(s, message);
  sq_text t = {.arena = &cli->ctx->arena};
  sq_graph_dot(g, cli->entry, &t);
  if (!strcmp(format, "dot")) {
    s = sq_file_write(&cli->ctx->arena, cli->output, t.v, t.n, &message);
    return s ? sq_print_failure(s, message) : SQ_OK;
  }
  const char *source = sq_arena_fmt(&cli->ctx->arena, "%s.%ld.dot", cli->output, (long)getpid());
  const char *drawn = sq_arena_fmt(&cli->ctx->arena, "%s.%ld.tmp", cli->output, (long)getpid());
  s = sq_file_write(&cli->ctx->arena, source, t.v, t.n, &message);
  if (s) return sq_print_failure(s, message);
  s = run_dot(cli, sq_arena_fmt(&cli->ctx->arena, "-T%s", format), source, drawn);
  unlink(source);
  if (!s && rename(drawn, cli->output))
    s = sq_complain(SQ_EWORLD, "cannot write %s: %s", cli->output, strerror(errno));
  if (s) unlink(drawn);
  return s;
}
