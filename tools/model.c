// A model that can be called: a shared object, a file compiled just in time, or the interpreter.
#include "tools/model.h"
#include "runtime/jit.h"
#include "runtime/weights.h"
#include "tools/interp.h"
#include "tools/jit_model.h"
#include "tools/progress.h"
#include "tools/trace.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct sq_model {
  sq_cli *cli;
  seqm_context *rt;
  seqm_model *m; // compiled; NULL: interpreted
  sq_live *live; // compiled just in time
  sq_graph *g;   // interpreted
  const sq_abi_model *abi;
  sq_eval *eval;
  sq_weights *weights; // of the interpreter
  bool *checked;       // by entry: its weights are there
  seqm_tensor out[64]; // of the last call
  uint32_t n_out;
};

sq_status sq_print_failure(sq_status s, const char *message) {
  if (!s) return s;
  size_t n = message ? strlen(message) : 0;
  // A rendered diagnostic brings its own place.
  bool rendered =
      n && ((strstr(message, "\n") && strstr(message, " | ")) || !strncmp(message, "seqm: ", 6));
  if (rendered)
    fprintf(stderr, message[n - 1] == '\n' ? "%s" : "%s\n", message);
  else
    fprintf(stderr, "seqm: %s\n", n ? message : "failed");
  return s;
}

static sq_status target_built(const sq_cli *cli) {
  static const char *const known[] = {"cpu", "interp", "cuda-emu", "cuda"};
  bool found = !cli->target;
  for (int k = 0; cli->target && k < 4; k++) found |= !strcmp(cli->target, known[k]);
  if (!found)
    return sq_complain(SQ_EUSAGE, "--target takes cpu, interp, cuda or cuda-emu, not `%s`",
                       cli->target);
  if (cli->quantize && strcmp(cli->quantize, "int8"))
    return sq_complain(SQ_EUSAGE, "--quantize takes int8, not `%s`", cli->quantize);
  if (cli->quantize && cli->target && strcmp(cli->target, "cpu"))
    return sq_complain(SQ_EUSAGE, "--quantize goes with --target cpu");
  if (cli->require_fused && cli->target && !strcmp(cli->target, "interp"))
    return sq_complain(SQ_EUSAGE, "--require-fused: the interpreter fuses nothing");
  if (cli->parallel_rnn && cli->sequential_scans)
    return sq_complain(SQ_EUSAGE, "--parallel-rnn and --sequential-scans exclude each other");
  if (cli->arch && (!cli->target || strcmp(cli->target, "cuda")))
    return sq_complain(SQ_EUSAGE, "--arch goes with --target cuda");
  return SQ_OK;
}

sq_status sq_cli_build(sq_cli *cli, sq_build *b) {
  *b = (sq_build){.cpu = cli->target_cpu, .cache_dir = cli->no_cache ? "" : NULL};
  SQ_TRY(target_built(cli));
  if (cli->target && !strcmp(cli->target, "cuda-emu")) b->device = SQ_DEVICE_CUDA_EMU;
  if (cli->target && !strcmp(cli->target, "cuda")) b->device = SQ_DEVICE_CUDA;
  b->arch = cli->arch;
  b->target = cli->on;
  b->tf32 = cli->float_name && !strcmp(cli->float_name, "tf32");
  if (b->tf32 && !b->device && !(cli->stage && !strcmp(cli->stage, "cuda")))
    return sq_complain(SQ_EUSAGE, "--float tf32 goes with --target cuda or cuda-emu: it rounds the "
                                  "factors of f32 products there");
  if (sq_build_float(b->tf32 ? "f32" : cli->float_name, &b->front.float_type))
    return sq_complain(SQ_EUSAGE, "--float takes f32, tf32, bf16 or f64, not `%s`",
                       cli->float_name);
  if (cli->print_after && strcmp(cli->print_after, "all")) SQ_TRY(sq_cli_pass(cli->print_after));
  if (cli->dump_dir && mkdir(cli->dump_dir, 0777) && errno != EEXIST)
    return sq_complain(SQ_EWORLD, "cannot make the folder %s: %s", cli->dump_dir, strerror(errno));
  b->front.preset = cli->preset;
  b->front.defines = cli->defines.v;
  b->front.n_defines = cli->defines.n;
  b->pass = (sq_pass_options){
      .print_after = cli->print_after,
      .print_changed = cli->print_changed,
      .verify_each = cli->verify_each,
      .roundtrip_each = cli->roundtrip_each,
      .validate_each = cli->validate_each,
      .bisect_limit = cli->bisect_limit >= 0 ? (int)cli->bisect_limit : -1,
      .time_passes = cli->time_passes,
      .dump_dir = cli->dump_dir,
      .dump = stderr,
      .require_fused = cli->require_fused,
      .int8 = cli->quantize != NULL,
      .sequential_scans = cli->sequential_scans,
      .parallel_rnn = cli->parallel_rnn,
      .seed = 1,
  };
  return SQ_OK;
}

static sq_status runtime_failure(const sq_model *m, int s) {
  return s ? sq_print_failure((sq_status)s, seqm_message(m->rt)) : SQ_OK;
}

// ---- the interpreter's weights -----------------------------------------------------------------
static sq_status load_param(void *user, uint32_t param, uint32_t instance, sq_tensor64 *out) {
  sq_model *m = user;
  const sq_param *p = &m->g->param.v[param];
  sq_weight_ask ask = {
      p->names + (size_t)instance * p->n_alt, p->n_alt, out->dtype, out->rank, out->dim, false};
  sq_weight got;
  int s = sq_weights_get(m->weights, &ask, &got);
  if (s) return (sq_status)s;
  if (got.fault) {
    sq_message_clear(m->rt);
    sq_message_add(m->rt, "a parameter is missing or does not fit:");
    sq_weights_describe(m->weights, &ask, &got);
    return SQ_EMODEL;
  }
  seqm_tensor t = {.dtype = (seqm_dtype)out->dtype, .rank = out->rank};
  memcpy(t.dim, out->dim, sizeof(int64_t) * out->rank);
  t.data = (void *)(uintptr_t)got.data;
  int64_t n = sq_tensor64_count(out);
  for (int64_t k = 0; k < n; k++) {
    if (out->f)
      out->f[k] = sq_value_float(&t, k);
    else
      out->i[k] = sq_value_int(&t, k);
  }
  sq_weights_drop(m->weights, &got);
  return SQ_OK;
}

static sq_status open_interpreter(sq_model *m) {
  int s = sq_weights_new(m->rt, &m->weights);
  for (uint32_t k = 0; !s && k < m->cli->weights.n; k++)
    s = sq_weights_add(m->weights, m->cli->weights.v[k]);
  if (s) return runtime_failure(m, s);
  if (m->cli->random_weights) sq_weights_random(m->weights, (uint64_t)m->cli->random_seed);
  sq_target none = {0};
  m->abi = sq_codegen_describe(m->g, &none);
  m->checked = SQ_ARRAY(&m->cli->ctx->arena, bool, m->abi->n_entry + 1);
  m->eval = sq_eval_new(m->g, load_param, m);
  return SQ_OK;
}

// ---- opening -----------------------------------------------------------------------------------
static sq_status open_compiled(sq_model *m) {
  for (uint32_t k = 0; k < m->cli->weights.n; k++)
    SQ_TRY(runtime_failure(m, seqm_model_weights(m->m, m->cli->weights.v[k])));
  if (m->cli->random_weights)
    SQ_TRY(runtime_failure(m, seqm_model_random_weights(m->m, (uint64_t)m->cli->random_seed)));
  if (!m->cli->verbose) return SQ_OK;
  const char *names[16];
  size_t n = seqm_model_unused(m->m, names, 16);
  if (n) fprintf(stderr, "seqm: note: the model does not use %zu names of the weights:", n);
  for (size_t k = 0; k < n && k < 16; k++) fprintf(stderr, " %s", names[k]);
  if (n) fprintf(stderr, n > 16 ? " ...\n" : "\n");
  return SQ_OK;
}

static sq_status open_object(sq_model *m) {
  sq_cli *cli = m->cli;
  if (cli->preset || cli->defines.n || cli->float_name)
    return sq_complain(SQ_EUSAGE,
                       "the constants of a shared object are fixed: --preset, -D and --float "
                       "belong to `seqm compile`");
  if (cli->quantize || cli->require_fused || cli->parallel_rnn)
    return sq_complain(SQ_EUSAGE,
                       "the code of a shared object is made: %s belongs to `seqm compile`",
                       cli->quantize       ? "--quantize"
                       : cli->parallel_rnn ? "--parallel-rnn"
                                           : "--require-fused");
  SQ_TRY(runtime_failure(m, seqm_model_open(m->rt, cli->model, &m->m)));
  m->abi = seqm_model_descriptor(m->m);
  const char *made_for = m->abi->device == SQ_ABI_CUDA ? "cuda" : "cpu";
  if (cli->target && strcmp(cli->target, made_for))
    return sq_complain(SQ_EUSAGE, "%s was compiled for the target %s and runs there alone",
                       cli->model, made_for);
  return open_compiled(m);
}

static void show(const char *warnings) { fputs(warnings, stderr); }

static sq_status interpret_source(sq_model *m, const sq_build *b) {
  const char *message = "";
  sq_ctx *ctx = m->cli->ctx;
  sq_status s = sq_build_graph(ctx, m->cli->model, b, &m->g, NULL, &message);
  if (s) return sq_print_failure(s, message);
  const char *warnings = sq_diags_render(&ctx->diags);
  if (*warnings) show(warnings);
  return open_interpreter(m);
}

static sq_status open_source(sq_model *m) {
  sq_cli *cli = m->cli;
  sq_build b;
  SQ_TRY(sq_cli_build(cli, &b));
  if (cli->target && !strcmp(cli->target, "interp")) return interpret_source(m, &b);
  const char *message = "";
  const sq_live_ask ask = {.path = cli->model, .build = &b, .warn = cli->on ? NULL : show};
  sq_status s = sq_live_open(cli->ctx, m->rt, &ask, &m->live, &m->m, &message);
  if (s) return sq_print_failure(s, message ? message : seqm_message(m->rt));
  if (cli->verbose && sq_live_recalled(m->live))
    fprintf(stderr, "seqm: note: the model is unchanged since it was compiled\n");
  m->abi = seqm_model_descriptor(m->m);
  return open_compiled(m);
}

sq_status sq_model_open(sq_cli *cli, sq_model **out) {
  if (cli->weights.n && cli->random_weights && strcmp(cli->command, "bench"))
    return sq_complain(SQ_EUSAGE, "--weights and --random-weights exclude one another");
  SQ_TRY(sq_cli_threads(cli));
  sq_model *m = SQ_NEW(&cli->ctx->arena, sq_model);
  m->cli = cli;
  seqm_options o = {.threads = (int)cli->threads};
  m->rt = seqm_context_new(&o);
  if (!m->rt) return sq_complain(SQ_EWORLD, "out of memory");
  sq_progress line;
  sq_progress_begin(&line, "loading the model and its weights");
  sq_status s = sq_is_object(cli->model) ? open_object(m) : open_source(m);
  sq_progress_end(&line);
  if (s) {
    sq_model_close(m);
    return s;
  }
  *out = m;
  return SQ_OK;
}

static void drop_outputs(sq_model *m) {
  for (uint32_t k = 0; k < m->n_out; k++) seqm_tensor_free(m->rt, &m->out[k]);
  m->n_out = 0;
}

void sq_model_close(sq_model *m) {
  drop_outputs(m);
  if (m->eval) sq_eval_free(m->eval);
  sq_weights_free(m->weights);
  seqm_model_free(m->m);
  seqm_context_free(m->rt);
}

seqm_context *sq_model_runtime(sq_model *m) { return m->rt; }
sq_graph *sq_model_graph(sq_model *m) {
  const char *message = "";
  if (!m->live) return m->g;
  sq_graph *g = sq_live_graph(m->live, &message);
  if (!g) sq_print_failure(SQ_EMODEL, message);
  return g;
}
const sq_abi_model *sq_model_abi(const sq_model *m) { return m->abi; }
int sq_model_threads(const sq_model *m) { return m->m ? m->rt->threads : 1; }

void sq_model_memory(sq_model *m, size_t *weights, size_t *states, size_t *arena) {
  *weights = *states = *arena = 0;
  if (m->m) seqm_memory(m->m, weights, states, arena);
}

// ---- entries and calls -------------------------------------------------------------------------
static sq_slot_info *slots(sq_model *m, const sq_abi_tensor *t, uint32_t n) {
  sq_slot_info *s = SQ_ARRAY(&m->cli->ctx->arena, sq_slot_info, n + 1);
  for (uint32_t k = 0; k < n; k++)
    s[k] = (sq_slot_info){t[k].name, (sq_dtype)t[k].dtype, t[k].rank};
  return s;
}

sq_status sq_model_entry(sq_model *m, const char *name, sq_entry_info *e) {
  for (uint32_t k = 0; k < m->abi->n_entry; k++) {
    const sq_abi_entry *a = &m->abi->entry[k];
    if (strcmp(a->name, name)) continue;
    if (a->n_out > 64) return sq_complain(SQ_EMODEL, "`%s` has more than 64 outputs", name);
    *e = (sq_entry_info){
        a->name, a->n_in, a->n_out, slots(m, a->in, a->n_in), slots(m, a->out, a->n_out), k};
    return SQ_OK;
  }
  if (!strcmp(name, "reset")) { // every model has it
    *e = (sq_entry_info){.name = "reset", .at = UINT32_MAX};
    return SQ_OK;
  }
  sq_complain(SQ_EUSAGE, "the model has no entry `%s`; its entries are:", name);
  for (uint32_t k = 0; k < m->abi->n_entry; k++) fprintf(stderr, "  %s\n", m->abi->entry[k].name);
  return SQ_EUSAGE;
}

sq_status sq_names_known(const sq_bind *v, uint32_t n, const sq_slot_info *slot, uint32_t n_slot,
                         const char *entry, const char *what) {
  for (uint32_t k = 0; k < n; k++) {
    const char *names[64] = {0};
    uint32_t j = 0, few = n_slot < 64 ? n_slot : 64;
    while (j < n_slot && strcmp(slot[j].name, v[k].name)) j++;
    if (j < n_slot) continue;
    for (j = 0; j < few; j++) names[j] = slot[j].name;
    const char *near = sq_nearest(v[k].name, names, few);
    sq_complain(SQ_EUSAGE, "`%s` has no %s `%s`%s%s%s", entry, what, v[k].name,
                near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
    fprintf(stderr, "its %ss are:", what);
    for (j = 0; j < n_slot; j++) fprintf(stderr, " %s", slot[j].name);
    fprintf(stderr, n_slot ? "\n" : " none\n");
    return SQ_EUSAGE;
  }
  return SQ_OK;
}

static sq_status eval_failure(sq_model *m, sq_status s) {
  if (!s) return s;
  const char *message = sq_eval_message(m->eval);
  sq_span where = sq_eval_where(m->eval);
  if (!where.file) return sq_print_failure(s, message && *message ? message : seqm_message(m->rt));
  sq_diags *ds = &m->cli->ctx->diags;
  sq_error(ds, where, "%s", message);
  return sq_print_failure(s, sq_diags_render(ds));
}

static sq_status interpret(sq_model *m, const sq_entry_info *e, const seqm_tensor *in,
                           seqm_tensor *out) {
  sq_arena *a = &m->cli->ctx->arena;
  sq_tensor64 *x = SQ_ARRAY(a, sq_tensor64, e->n_in + 1), *y = NULL;
  if (!m->checked[e->at])
    SQ_TRY(runtime_failure(m, sq_interp_check(m->rt, m->weights, m->abi, &m->abi->entry[e->at])));
  m->checked[e->at] = true;
  for (uint32_t k = 0; k < e->n_in; k++) sq_value_to64(a, &in[k], &x[k]);
  uint32_t n = 0;
  sq_func *f = sq_func_find(m->g, e->name);
  SQ_TRY(eval_failure(m, sq_eval_call(m->eval, f, x, e->n_in, &y, &n)));
  for (uint32_t k = 0; k < n; k++)
    if (!sq_value_from64(m->cli->ctx, &y[k], &out[k]))
      return sq_complain(SQ_EMODEL, "an output is too large");
  return SQ_OK;
}

sq_status sq_model_call(sq_model *m, const sq_entry_info *e, const seqm_tensor *in,
                        seqm_tensor *out) {
  if (e->at == UINT32_MAX) return sq_model_reset(m);
  if (!m->m) return interpret(m, e, in, out);
  drop_outputs(m);
  memset(m->out, 0, sizeof m->out);
  m->n_out = e->n_out;
  int s = seqm_call(m->m, seqm_entry_at(m->m, e->at), in, e->n_in, m->out, e->n_out);
  if (s) {
    m->n_out = 0;
    return runtime_failure(m, s);
  }
  memcpy(out, m->out, sizeof *out * e->n_out);
  return SQ_OK;
}

sq_status sq_model_call_into(sq_model *m, const sq_entry_info *e, const seqm_tensor *in,
                             seqm_tensor *out, seqm_device where) {
  if (e->at == UINT32_MAX) return sq_model_reset(m);
  if (!m->m) return interpret(m, e, in, out);
  for (uint32_t k = 0; k < e->n_out; k++) out[k].device = where;
  const seqm_entry *entry = seqm_entry_at(m->m, e->at);
  return runtime_failure(m, seqm_call(m->m, entry, in, e->n_in, out, e->n_out));
}

seqm_graphs sq_model_graphs(const sq_model *m) {
  seqm_graphs g = {0};
  if (m->m) seqm_graph_count(m->m, &g);
  return g;
}

void sq_model_loading(const void *model, size_t *loaded, size_t *wanted) {
  const sq_model *m = model;
  if (m->m) seqm_model_loading(m->m, loaded, wanted);
}

seqm_newton sq_model_newton(const sq_model *m) {
  seqm_newton n = {0};
  if (m->m) seqm_newton_count(m->m, &n);
  return n;
}

sq_status sq_model_trace(sq_model *m, sq_trace *t) {
  if (!m->m) return sq_complain(SQ_EUSAGE, "--profile times compiled kernels, not the interpreter");
  seqm_model_trace(m->m, sq_trace_mark, t);
  return SQ_OK;
}

sq_status sq_model_marks(sq_model *m, seqm_mark each, void *user) {
  if (!m->m) return sq_complain(SQ_EUSAGE, "the interpreter has no kernels");
  seqm_model_trace(m->m, each, user);
  return SQ_OK;
}

sq_status sq_model_reset(sq_model *m) {
  return m->m ? runtime_failure(m, seqm_reset(m->m)) : eval_failure(m, sq_eval_reset(m->eval));
}

sq_status sq_model_save(sq_model *m, const char *path) {
  if (m->m) return runtime_failure(m, seqm_save_state(m->m, path));
  const char *message = "";
  sq_status s = sq_interp_save(m->cli->ctx, m->g, m->eval, path, &message);
  return s ? sq_print_failure(s, message) : SQ_OK;
}

sq_status sq_model_load(sq_model *m, const char *path) {
  if (m->m) return runtime_failure(m, seqm_load_state(m->m, path));
  const char *message = "";
  sq_status s = sq_interp_load(m->cli->ctx, m->rt, m->g, m->eval, path, &message);
  return s ? sq_print_failure(s, message) : SQ_OK;
}
