// The operations' tests on the CPU, under the emulation of CUDA and on CUDA's driver: planned, compiled
// just in time, run by the runtime.
#include "tests/ops/machine.h"
#include "tools/jit_model.h"

// Textual IR may leave the names in a checkpoint out: name and number then.
static void name_params(sq_graph *g) {
  for (uint32_t p = 0; p < g->param.n; p++) {
    sq_param *q = &g->param.v[p];
    if (q->n_alt) continue;
    q->n_alt = 1;
    q->names = SQ_ARRAY(g->arena, const char *, q->count);
    for (uint32_t k = 0; k < q->count; k++)
      q->names[k] = sq_arena_fmt(g->arena, "%s.%u", q->name, k);
  }
}

static sq_status start(machine *m, sq_device_kind device, sq_eval_load load, void *user,
                       const char **message) {
  sq_build b = {.pass = {.bisect_limit = -1, .verify_each = true}, .device = device};
  sq_target target;
  *message = "the parameters cannot be written";
  name_params(m->g);
  if (m->g->param.n) SQ_TRY(write_weights(m, load, user));
  SQ_TRY(sq_build_plan(m->g, &b, &target, message));
  *message = NULL;
  sq_status s = sq_jit_model(m->g->ctx, false, m->rt, m->g, &target, NULL, &m->m, message);
  if (!s && m->g->param.n) s = (sq_status)seqm_model_weights(m->m, m->weights);
  if (s && !*message) *message = seqm_message(m->rt);
  return s;
}

static void *open_machine(sq_graph *g, sq_device_kind device, sq_eval_load load, void *user,
                          char *message, size_t size) {
  machine *m = SQ_NEW(g->arena, machine);
  const char *why = "no memory";
  m->g = g;
  m->rt = seqm_context_new(&(seqm_options){.threads = 2});
  if (m->rt && !start(m, device, load, user, &why)) return m;
  snprintf(message, size, "%s", why ? why : "failed");
  close_machine(m);
  return NULL;
}

static void *open_cpu(sq_graph *g, sq_eval_load load, void *user, char *message, size_t size) {
  return open_machine(g, SQ_DEVICE_HOST, load, user, message, size);
}
static void *open_emu(sq_graph *g, sq_eval_load load, void *user, char *message, size_t size) {
  return open_machine(g, SQ_DEVICE_CUDA_EMU, load, user, message, size);
}

static void *open_cuda(sq_graph *g, sq_eval_load load, void *user, char *message, size_t size) {
  return open_machine(g, SQ_DEVICE_CUDA, load, user, message, size);
}

const ops_machine ops_cpu = {"cpu", tolerance, open_cpu, call, message, reset, close_machine};
const ops_machine ops_cuda_emu = {"cuda-emu", tolerance, open_emu,     call,
                                  message,    reset,     close_machine};
const ops_machine ops_cuda = {"cuda", tolerance, open_cuda, call, message, reset, close_machine};
