// What machines that run a model of the runtime share: parameters to a safetensors file, as a user's would
// travel, calls, tolerances.
#pragma once
#include "tests/ops/run_ops.h"
#include "tools/values.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct machine {
  sq_graph *g;
  seqm_context *rt;
  seqm_model *m;
  char weights[64];
  sq_tensor64 out[32];
} machine;

// Loose enough for elementary functions of a few ULP and sums in another order.
static double tolerance(sq_dtype t) {
  return t == SQ_F64 ? 1e-11 : t == SQ_F32 ? 2e-6 : t == SQ_F16 ? 2e-3 : 2e-2;
}

static const char *const st_names[SQ_DTYPE_COUNT] = {"F64", "F32", "F16", "BF16", "I64",
                                                     "I32", "I8",  "U8",  "BOOL"};

static sq_status write_weights(machine *m, sq_eval_load load, void *user) {
  sq_graph *g = m->g;
  sq_text head = {.arena = g->arena}, data = {.arena = g->arena};
  sq_text_put(&head, "{", 1);
  for (uint32_t p = 0; p < g->param.n; p++)
    for (uint32_t k = 0; k < g->param.v[p].count; k++) {
      const sq_param *q = &g->param.v[p];
      seqm_tensor t;
      int64_t dim[SQ_MAX_RANK];
      for (uint32_t j = 0; j < q->type.rank; j++) sq_dim_is_const(g->dims, q->type.dim[j], &dim[j]);
      if (!sq_value_new(g->ctx, q->type.dtype, q->type.rank, dim, &t)) return SQ_EMODEL;
      sq_tensor64 w;
      sq_value_to64(g->arena, &t, &w);
      SQ_TRY(load(user, p, k, &w));
      int64_t n = sq_value_count(&t);
      for (int64_t j = 0; j < n; j++) sq_value_set(&t, j, w.f ? w.f[j] : 0, w.f ? 0 : w.i[j]);
      sq_text_add(&head, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", head.n > 1 ? "," : "",
                  q->names[k * q->n_alt], st_names[q->type.dtype]);
      for (uint32_t j = 0; j < q->type.rank; j++)
        sq_text_add(&head, j ? ",%lld" : "%lld", (long long)dim[j]);
      size_t begin = data.n;
      sq_text_put(&data, t.data, (size_t)n * seqm_dtype_size(t.dtype));
      sq_text_add(&head, "],\"data_offsets\":[%zu,%zu]}", begin, data.n);
    }
  sq_text_put(&head, "}", 1);
  while (head.n % 8) sq_text_put(&head, " ", 1);
  snprintf(m->weights, sizeof m->weights, "ops-%ld.safetensors", (long)getpid());
  FILE *f = fopen(m->weights, "wb");
  if (!f) return SQ_EWORLD;
  uint64_t size = head.n;
  bool ok = fwrite(&size, 8, 1, f) == 1 && fwrite(head.v, 1, head.n, f) == head.n &&
            (!data.n || fwrite(data.v, 1, data.n, f) == data.n);
  return !fclose(f) && ok ? SQ_OK : SQ_EWORLD;
}

static void close_machine(void *p) {
  machine *m = p;
  if (m->m) seqm_model_free(m->m);
  if (m->rt) seqm_context_free(m->rt);
  if (*m->weights) unlink(m->weights);
}

static sq_status call(void *p, sq_func *f, const sq_tensor64 *in, uint32_t n_in, sq_tensor64 **out,
                      uint32_t *n_out) {
  machine *m = p;
  const seqm_entry *e = seqm_model_entry(m->m, f->name);
  if (!e) return SQ_EUSAGE;
  seqm_tensor *x = SQ_ARRAY(m->g->arena, seqm_tensor, n_in + 1), y[32] = {0};
  for (uint32_t k = 0; k < n_in; k++)
    if (!sq_value_from64(m->g->ctx, &in[k], &x[k])) return SQ_EMODEL;
  *n_out = (uint32_t)seqm_entry_outputs(e);
  int s = seqm_call(m->m, e, x, n_in, y, *n_out);
  for (uint32_t k = 0; !s && k < *n_out; k++) {
    sq_value_to64(m->g->arena, &y[k], &m->out[k]);
    seqm_tensor_free(m->rt, &y[k]);
  }
  *out = m->out;
  return (sq_status)s;
}

static const char *message(void *p) { return seqm_message(((machine *)p)->rt); }
static sq_status reset(void *p) { return (sq_status)seqm_reset(((machine *)p)->m); }
