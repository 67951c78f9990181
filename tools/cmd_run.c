// `seqm run`: calls entries in order on one instance of the model.
#include "tools/model.h"
#include "tools/progress.h"
#include "tools/trace.h"
#include "tools/tune.h"

static const sq_bind *bound(const sq_bind *v, uint32_t n, const char *name) {
  const sq_bind *found = NULL;
  for (uint32_t k = 0; k < n; k++)
    if (!strcmp(v[k].name, name)) found = &v[k];
  return found;
}

static sq_status gather_inputs(sq_cli *cli, sq_model *m, const sq_cli_call *c,
                               const sq_entry_info *e, seqm_tensor *in) {
  SQ_TRY(sq_names_known(c->in.v, c->in.n, e->in, e->n_in, e->name, "input"));
  for (uint32_t k = 0; k < e->n_in; k++) {
    const sq_bind *b = bound(c->in.v, c->in.n, e->in[k].name);
    if (!b) {
      return sq_complain(SQ_EUSAGE, "`%s` needs the input `%s` (%s, %u %s): --in %s=...", e->name,
                         e->in[k].name, sq_dtype_table[e->in[k].dtype].name, e->in[k].rank,
                         e->in[k].rank == 1 ? "axis" : "axes", e->in[k].name);
    }
    const char *message = "an input is too large";
    sq_status s =
        sq_value_parse(cli->ctx, sq_model_runtime(m), b->value, &e->in[k], &in[k], &message);
    if (s) return sq_print_failure(s, message);
  }
  return SQ_OK;
}

static sq_status give_outputs(sq_model *m, const sq_cli_call *c, const sq_entry_info *e,
                              const seqm_tensor *out) {
  for (uint32_t k = 0; k < e->n_out; k++) {
    const sq_bind *b = bound(c->out.v, c->out.n, e->out[k].name);
    if (!b) {
      sq_value_print(stdout, e->out[k].name, &out[k]);
      continue;
    }
    int s = seqm_npy_write(sq_model_runtime(m), b->value, &out[k]);
    if (s) return sq_print_failure((sq_status)s, seqm_message(sq_model_runtime(m)));
  }
  // Before the message of a later call that fails.
  return fflush(stdout) ? sq_complain(SQ_EWORLD, "cannot write to stdout") : SQ_OK;
}

static sq_status run_call(sq_cli *cli, sq_model *m, const sq_cli_call *c) {
  sq_entry_info e;
  SQ_TRY(sq_model_entry(m, c->entry ? c->entry : "forward", &e));
  SQ_TRY(sq_names_known(c->out.v, c->out.n, e.out, e.n_out, e.name, "output"));
  seqm_tensor *in = SQ_ARRAY(&cli->ctx->arena, seqm_tensor, e.n_in + 1);
  seqm_tensor *out = SQ_ARRAY(&cli->ctx->arena, seqm_tensor, e.n_out + 1);
  SQ_TRY(gather_inputs(cli, m, c, &e, in));
  double begin = sq_clock();
  sq_progress line;
  sq_progress_begin_with(&line, e.name, sq_model_loading, m);
  sq_status s = sq_model_call(m, &e, in, out);
  sq_progress_end(&line);
  SQ_TRY(s);
  if (cli->verbose) fprintf(stderr, "seqm: %s took %.6f s\n", e.name, sq_clock() - begin);
  seqm_newton w = sq_model_newton(m);
  if (cli->verbose && w.stretches)
    fprintf(stderr,
            "seqm: Newton's method: %.2f iterations a stretch of %llu, residual %.1e, %llu turn by "
            "turn\n",
            (double)w.iterations / (double)w.stretches, (unsigned long long)w.stretches, w.residual,
            (unsigned long long)w.redone);
  seqm_graphs g = sq_model_graphs(m);
  if (cli->verbose && g.replayed + g.alone)
    fprintf(
        stderr,
        "seqm: %s: %llu kernels and copies as graphs, %llu of them with other arguments, %llu one "
        "by one; %llu graphs built\n",
        e.name, (unsigned long long)g.replayed, (unsigned long long)g.changed,
        (unsigned long long)g.alone, (unsigned long long)g.built);
  return give_outputs(m, c, &e, out);
}

static sq_status run_all(sq_cli *cli, sq_model *m) {
  if (cli->load_state) SQ_TRY(sq_model_load(m, cli->load_state));
  if (!cli->calls.n) sq_push(&cli->ctx->arena, &cli->calls, (sq_cli_call){0});
  for (uint32_t k = 0; k < cli->calls.n; k++) SQ_TRY(run_call(cli, m, &cli->calls.v[k]));
  return cli->save_state ? sq_model_save(m, cli->save_state) : SQ_OK;
}

sq_status sq_cmd_run(sq_cli *cli) {
  sq_model *m;
  if (cli->tune) SQ_TRY(sq_tune(cli));
  SQ_TRY(sq_model_open(cli, &m));
  sq_trace *trace = cli->profile ? sq_trace_new(cli->ctx) : NULL;
  sq_status s = trace ? sq_model_trace(m, trace) : SQ_OK;
  if (!s) s = run_all(cli, m);
  const char *message = "";
  if (!s && trace && (s = sq_trace_write(trace, cli->profile, &message)))
    sq_print_failure(s, message);
  sq_model_close(m);
  return s;
}
