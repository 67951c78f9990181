// The operations' tests from shared objects that were compiled before, for a machine without the compiler:
// $SEQM_OPS_OBJECTS/NAME.so for NAME.sir.
#include "tests/ops/machine.h"

// As the descriptor of textual IR names them.
static void name_params_there(sq_graph *g) {
  for (uint32_t p = 0; p < g->param.n; p++) {
    sq_param *q = &g->param.v[p];
    if (q->n_alt) continue;
    q->n_alt = 1;
    q->names = SQ_ARRAY(g->arena, const char *, q->count);
    for (uint32_t k = 0; k < q->count; k++)
      q->names[k] = q->has_instances ? sq_arena_fmt(g->arena, "%s.%u", q->name, k) : q->name;
  }
}

static sq_status start(machine *m, sq_eval_load load, void *user) {
  const char *folder = getenv("SEQM_OPS_OBJECTS");
  const char *path = sq_arena_fmt(m->g->arena, "%s/%s.so", folder ? folder : ".", m->g->name);
  name_params_there(m->g);
  if (m->g->param.n) SQ_TRY(write_weights(m, load, user));
  SQ_TRY((sq_status)seqm_model_open(m->rt, path, &m->m));
  return m->g->param.n ? (sq_status)seqm_model_weights(m->m, m->weights) : SQ_OK;
}

static void *open_object(sq_graph *g, sq_eval_load load, void *user, char *text, size_t size) {
  machine *m = SQ_NEW(g->arena, machine);
  m->g = g;
  m->rt = seqm_context_new(&(seqm_options){.threads = 2});
  if (m->rt && !start(m, load, user)) return m;
  snprintf(text, size, "%s", m->rt ? seqm_message(m->rt) : "no memory");
  close_machine(m);
  return NULL;
}

const ops_machine ops_object = {"object", tolerance, open_object,  call,
                                message,  reset,     close_machine};
