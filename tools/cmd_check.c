// `seqm check`: types and shapes; prints constants, entries, parameters, states.
#include "tools/model.h"

static void print_dim(sq_graph *g, sq_dim d, sq_text *out) {
  sq_text_add(out, "%s", sq_dim_source_text(g->dims, d));
}

static void print_type(sq_graph *g, sq_type t, sq_text *out) {
  sq_text_add(out, "%s[", sq_dtype_table[t.dtype].name);
  for (uint32_t k = 0; k < t.rank; k++) {
    if (k) sq_text_add(out, ", ");
    print_dim(g, t.dim[k], out);
  }
  sq_text_add(out, "]");
}

static bool keeps_something(const sq_graph *g) {
  for (uint32_t k = 0; k < g->param.n; k++)
    if (g->param.v[k].written) return true;
  for (uint32_t k = 0; k < g->state.n; k++)
    if (!g->state.v[k].derived) return true;
  return false;
}

static void print_entry(sq_graph *g, sq_func *f, sq_text *out) {
  sq_text_add(out, "  %s(", f->name);
  for (uint32_t k = 0; k < f->body->args.n; k++) {
    sq_text_add(out, "%s%s: ", k ? ", " : "", f->in_names.v[k]);
    print_type(g, f->body->args.v[k]->type, out);
  }
  sq_text_add(out, ")");
  sq_node *end = sq_block_end(f->body);
  for (uint32_t k = 0; end && k < end->n_in; k++) {
    sq_text_add(out, "%s%s: ", k ? ", " : " -> ", f->out_names.v[k]);
    print_type(g, end->in[k]->type, out);
  }
  if (f->writes && keeps_something(g)) sq_text_add(out, "   # writes state");
  sq_text_add(out, "\n");
}

static int64_t count(const sq_graph *g, sq_type t) {
  int64_t n = 1, v;
  for (uint32_t k = 0; k < t.rank; k++)
    if (sq_dim_is_const(g->dims, t.dim[k], &v)) n *= v;
  return n;
}

static void print_params(sq_graph *g, sq_text *out) {
  int64_t total = 0, bytes = 0;
  for (uint32_t k = 0; k < g->param.n; k++) {
    const sq_param *p = &g->param.v[k];
    sq_text_add(out, "  ");
    print_type(g, p->type, out);
    sq_text_add(out, "%s", p->has_instances ? "" : " ");
    if (p->has_instances) sq_text_add(out, " x %u ", p->count);
    for (uint32_t j = 0; j < p->n_alt; j++) sq_text_add(out, j ? " | %s" : " %s", p->names[j]);
    if (p->count > 1 && p->n_alt) sq_text_add(out, " .. %s", p->names[(p->count - 1) * p->n_alt]);
    sq_text_add(out, "%s%s\n", p->frozen ? "   # frozen" : "", p->written ? "   # written" : "");
    total += count(g, p->type) * p->count;
    bytes += count(g, p->type) * p->count * sq_dtype_table[p->type.dtype].bytes;
  }
  sq_text_add(out, "  %lld numbers, %.1f MiB\n", (long long)total, (double)bytes / 1048576.0);
}

sq_status sq_cmd_check(sq_cli *cli) {
  sq_graph *g;
  sq_front_info info = {0};
  const char *message = "";
  sq_build b;
  SQ_TRY(sq_cli_build(cli, &b));
  sq_status s = sq_build_graph(cli->ctx, cli->model, &b, &g, &info, &message);
  if (s) return sq_print_failure(s, message);
  const char *warnings = sq_diags_render(&cli->ctx->diags);
  if (*warnings) fputs(warnings, stderr);
  sq_text t = {.arena = &cli->ctx->arena};
  sq_text_add(&t, "model %s\n", g->name);
  if (info.config.n) sq_text_add(&t, "constants\n ");
  for (uint32_t k = 0; k < info.config.n; k++)
    sq_text_add(&t, " %s=%s", info.config.v[k].name, info.config.v[k].value);
  if (info.config.n) sq_text_add(&t, "\n");
  if (info.presets.n) sq_text_add(&t, "presets\n ");
  for (uint32_t k = 0; k < info.presets.n; k++) sq_text_add(&t, " %s", info.presets.v[k]);
  if (info.presets.n) sq_text_add(&t, "\n");
  sq_text_add(&t, "entries\n");
  for (uint32_t k = 0; k < g->func.n; k++)
    if (g->func.v[k]->kind == SQ_FUNC_ENTRY) print_entry(g, g->func.v[k], &t);
  if (g->param.n) {
    sq_text_add(&t, "parameters\n");
    print_params(g, &t);
  }
  if (g->state.n) sq_text_add(&t, "states\n");
  for (uint32_t k = 0; k < g->state.n; k++) {
    const sq_state *st = &g->state.v[k];
    sq_text_add(&t, "  %s: ", st->name);
    print_type(g, st->type, &t);
    if (st->has_instances) sq_text_add(&t, " x %u", st->count);
    sq_text_add(&t, "%s\n",
                st->derived ? "   # computed once at load"
                : st->kept  ? "   # kept"
                            : "");
  }
  // The memory of a call is known once it is planned.
  sq_target target;
  s = sq_build_plan(g, &b, &target, &message);
  if (s) return sq_print_failure(s, message);
  sq_text_add(&t, "scratch memory of a call, bytes\n");
  for (uint32_t k = 0; k < g->func.n; k++) {
    sq_func *f = g->func.v[k];
    if (f->kind != SQ_FUNC_ENTRY) continue;
    sq_dim sum = sq_dim_const(g->dims, 0);
    for (uint32_t j = 0; j < f->slot.n; j++) sum = sq_dim_add(g->dims, sum, f->slot.v[j]);
    sq_text_add(&t, "  %s: ", f->name);
    print_dim(g, sum, &t);
    sq_text_add(&t, "\n");
  }
  fputs(t.v, stdout);
  return SQ_OK;
}
