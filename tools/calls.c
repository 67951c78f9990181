// Calls that are timed: inputs that were given are read, the others made up for the sizes.
#include "tools/calls.h"
#include "ir/cost.h"
#include "runtime/expr.h"
#include "runtime/internal.h"
#include "tools/trace.h"
#include <math.h>
#include <stdlib.h>

enum { TURNS = 32 }; // timed calls behind calls that came first, before these are made again

// Does any input's shape (or integer scalar) mention symbol s?
static bool needed(const sq_abi_entry *e, uint32_t s) {
  for (uint32_t k = 0; k < e->n_in; k++) {
    if (e->in[k].binds == s) return true;
    for (uint32_t d = 0; d < e->in[k].rank; d++)
      if (sq_expr_symbol(&e->in[k].dim[d]) == s) return true;
  }
  return false;
}

// Entries have symbols of their own, some of one name.
static uint32_t find_symbol(const sq_abi_model *m, const sq_abi_entry *e, const char *name) {
  for (uint32_t k = 1; k <= m->n_sym; k++)
    if (!strcmp(m->sym_names[k - 1], name) && needed(e, k)) return k;
  return 0;
}

static sq_status no_size(sq_calls *b, const sq_abi_model *abi, const char *name) {
  const sq_timed *last = &b->call[b->n - 1];
  sq_text t = {.arena = &b->cli->ctx->arena};
  sq_text_put(&t, "", 0);
  for (uint32_t j = 1; j <= abi->n_sym; j++)
    if (needed(last->abi, j)) sq_text_add(&t, " %s", abi->sym_names[j - 1]);
  return sq_complain(SQ_EUSAGE, "`%s` has no size `%s`; it has:%s", last->e.name, name,
                     *t.v ? t.v : " none");
}

static sq_status bind_sizes(sq_calls *b, const sq_abi_model *abi) {
  for (uint32_t c = 0; c < b->n; c++) {
    b->call[c].sym = SQ_ARRAY(&b->cli->ctx->arena, int64_t, abi->n_sym + 1);
    for (uint32_t k = 0; k <= abi->n_sym; k++) b->call[c].sym[k] = SQ_UNBOUND;
    b->call[c].sym[0] = 1;
  }
  for (uint32_t k = 0; k < b->cli->sizes.n; k++) {
    const sq_bind *s = &b->cli->sizes.v[k];
    bool found = false;
    int64_t v;
    SQ_TRY(sq_cli_size(s, &v));
    for (uint32_t c = 0; c < b->n; c++) {
      uint32_t at = find_symbol(abi, b->call[c].abi, s->name);
      if (at) b->call[c].sym[at] = v;
      found |= at != 0;
    }
    if (!found) return no_size(b, abi, s->name);
  }
  return SQ_OK;
}

static const sq_bind *given(const sq_timed *c, const char *name) {
  for (uint32_t k = 0; c->given && k < c->given->in.n; k++)
    if (!strcmp(c->given->in.v[k].name, name)) return &c->given->in.v[k];
  return NULL;
}

// Inputs that were given come first: they bind symbols.
static sq_status take_given(sq_calls *b, sq_timed *c) {
  for (uint32_t k = 0; k < c->e.n_in; k++) {
    const sq_bind *g = given(c, c->e.in[k].name);
    const char *message = "an input is too large";
    if (!g) continue;
    sq_status s = sq_value_parse(b->cli->ctx, sq_model_runtime(b->m), g->value, &c->e.in[k],
                                 &c->in[k], &message);
    if (s) return sq_print_failure(s, message);
    const sq_abi_tensor *t = &c->abi->in[k];
    if (t->binds) c->sym[t->binds] = sq_value_int(&c->in[k], 0);
    for (uint32_t d = 0; d < t->rank && d < c->in[k].rank; d++) {
      uint32_t at = sq_expr_symbol(&t->dim[d]);
      if (at && c->sym[at] == SQ_UNBOUND) c->sym[at] = c->in[k].dim[d];
    }
  }
  return SQ_OK;
}

static double normal(uint64_t *state) { // for timing only
  double u[2];
  for (int k = 0; k < 2; k++) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    u[k] = ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
  }
  return sqrt(-2 * log(u[0])) * cos(6.283185307179586 * u[1]);
}

// In memory of the runtime, as what a call returns: on large pages where it is large.
static bool new_input(sq_calls *b, uint32_t dtype, uint32_t rank, const int64_t *dim,
                      seqm_tensor *t) {
  size_t bytes;
  *t = (seqm_tensor){.dtype = (seqm_dtype)dtype, .rank = rank, .owned = 1};
  memcpy(t->dim, dim, rank * sizeof *dim);
  if (!sq_shape_bytes(t->dtype, rank, dim, &bytes)) return false;
  t->data = sq_mem_get_aligned(sq_model_runtime(b->m), bytes);
  return t->data != NULL;
}

static sq_status make_input(sq_calls *b, sq_timed *c, uint32_t k, const sq_abi_model *abi) {
  const sq_abi_tensor *t = &c->abi->in[k];
  int64_t dim[SQ_MAX_RANK];
  for (uint32_t d = 0; d < t->rank; d++) {
    if (sq_expr_value(&t->dim[d], c->sym, &dim[d]) && dim[d] >= 0) continue;
    uint32_t at = sq_expr_symbol(&t->dim[d]);
    return sq_complain(SQ_EUSAGE, "the size `%s` of input `%s` is not bound: --size %s=...",
                       at ? abi->sym_names[at - 1] : "?", t->name,
                       at ? abi->sym_names[at - 1] : "N");
  }
  if (t->binds && c->sym[t->binds] == SQ_UNBOUND)
    return sq_complain(SQ_EUSAGE, "the size `%s` is not bound: --size %s=...", t->name, t->name);
  if (!new_input(b, t->dtype, t->rank, dim, &c->in[k]))
    return sq_complain(SQ_EMODEL, "input `%s` is too large", t->name);
  sq_graph *g = sq_model_graph(b->m);
  sq_func *f = g ? sq_func_find(g, c->e.name) : NULL;
  int64_t bound = f ? sq_input_bound(f, k, c->sym) : 0, n = sq_value_count(&c->in[k]);
  uint64_t state = 88172645463325252u + k;
  for (int64_t j = 0; j < n; j++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    int64_t i = t->binds ? c->sym[t->binds]
                : bound  ? (int64_t)((state >> 33) % (uint64_t)bound)
                         : 1;
    sq_value_set(&c->in[k], j, sq_is_float((sq_dtype)t->dtype) ? normal(&state) : 0, i);
  }
  return SQ_OK;
}

// Copied once: what is timed is the device. What stands for a size is read on the host.
static sq_status bring_there(sq_calls *b) {
  seqm_context *rt = sq_model_runtime(b->m);
  for (uint32_t c = 0; c < b->n; c++)
    for (uint32_t k = 0; k < b->call[c].e.n_in; k++) {
      seqm_tensor *in = &b->call[c].in[k], t;
      if (b->call[c].abi->in[k].binds) continue;
      int s = seqm_tensor_copy(rt, in, SEQM_CUDA, &t);
      if (s) return sq_print_failure((sq_status)s, seqm_message(rt));
      seqm_tensor_free(rt, in);
      *in = t;
    }
  return SQ_OK;
}
void sq_calls_drop(sq_calls *b) {
  seqm_context *rt = sq_model_runtime(b->m);
  for (uint32_t c = 0; c < b->n; c++) {
    sq_timed *one = &b->call[c];
    for (uint32_t k = 0; k < one->e.n_in; k++) seqm_tensor_free(rt, &one->in[k]);
    for (uint32_t k = 0; k < one->e.n_out; k++) seqm_tensor_free(rt, &one->out[k]);
  }
}

static sq_status call(sq_calls *b, const sq_timed *c, double *seconds) {
  // Outputs are written in place, unless calls before may have changed their shapes.
  for (uint32_t k = 0; b->n > 1 && k < c->e.n_out; k++)
    seqm_tensor_free(sq_model_runtime(b->m), &c->out[k]);
  double begin = sq_clock();
  sq_status s = sq_model_call_into(b->m, &c->e, c->in, c->out, b->there ? SEQM_CUDA : SEQM_HOST);
  *seconds = sq_clock() - begin;
  return s;
}

// States are as at the start before each timed call; behind calls that come first, such as a prompt,
// they grow on for TURNS of them.
sq_status sq_calls_once(sq_calls *b, uint32_t number, double *seconds) {
  uint32_t before = b->n - 1;
  if (!before || number % TURNS == 0) {
    SQ_TRY(sq_model_reset(b->m));
    for (uint32_t k = 0; k < before; k++) SQ_TRY(call(b, &b->call[k], seconds));
  }
  return call(b, &b->call[before], seconds);
}

// The entries that are called, and what they are given.
static sq_status list_calls(sq_calls *b, const sq_abi_model *abi) {
  sq_cli *cli = b->cli;
  bool listed = cli->calls.n && cli->calls.v[0].entry;
  if (listed && cli->entry)
    return sq_complain(SQ_EUSAGE, "--entry %s and --call: the last --call is what is timed",
                       cli->entry);
  b->n = listed ? cli->calls.n : 1;
  b->call = SQ_ARRAY(&cli->ctx->arena, sq_timed, b->n);
  for (uint32_t k = 0; k < b->n; k++) {
    sq_timed *c = &b->call[k];
    const char *name = listed ? cli->calls.v[k].entry : cli->entry ? cli->entry : "forward";
    SQ_TRY(sq_model_entry(b->m, name, &c->e));
    c->in = SQ_ARRAY(&cli->ctx->arena, seqm_tensor, c->e.n_in + 1);
    c->out = SQ_ARRAY(&cli->ctx->arena, seqm_tensor, c->e.n_out + 1);
    static const sq_abi_entry reset = {0}; // takes nothing, gives nothing
    c->abi = c->e.at < abi->n_entry ? &abi->entry[c->e.at] : &reset;
    c->given = k < cli->calls.n ? &cli->calls.v[k] : NULL;
    if (c->given)
      SQ_TRY(sq_names_known(c->given->in.v, c->given->in.n, c->e.in, c->e.n_in, name, "input"));
  }
  return SQ_OK;
}

sq_status sq_calls_make(sq_calls *b) {
  const sq_abi_model *abi = sq_model_abi(b->m);
  SQ_TRY(list_calls(b, abi));
  SQ_TRY(bind_sizes(b, abi));
  for (uint32_t c = 0; c < b->n; c++) {
    sq_timed *one = &b->call[c];
    SQ_TRY(take_given(b, one));
    for (uint32_t k = 0; k < one->e.n_in; k++)
      if (!given(one, one->e.in[k].name)) SQ_TRY(make_input(b, one, k, abi));
  }
  b->there = abi->device == SQ_ABI_CUDA;
  return b->there ? bring_there(b) : SQ_OK;
}
