// `seqm bench`: times one call of an entry; figures against the machine's measured peak.
#include "ir/cost.h"
#include "runtime/expr.h"
#include "tools/model.h"
#include "tools/peak.h"
#include "tools/progress.h"
#include "tools/trace.h"
#include <math.h>
#include <stdlib.h>

typedef struct bench {
  sq_cli *cli;
  sq_model *m;
  sq_entry_info e;
  const sq_abi_entry *abi;
  int64_t *sym;
  uint32_t n_sym;
  seqm_tensor *in, *out;
} bench;

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

static sq_status bind_sizes(bench *b, const sq_abi_model *abi) {
  b->n_sym = abi->n_sym;
  b->sym = SQ_ARRAY(&b->cli->ctx->arena, int64_t, abi->n_sym + 1);
  for (uint32_t k = 0; k <= abi->n_sym; k++) b->sym[k] = SQ_UNBOUND;
  b->sym[0] = 1;
  for (uint32_t k = 0; k < b->cli->sizes.n; k++) {
    const sq_bind *s = &b->cli->sizes.v[k];
    uint32_t at = find_symbol(abi, b->abi, s->name);
    char *end;
    long long v = strtoll(s->value, &end, 10);
    if (*end || v < 0) return sq_complain(SQ_EUSAGE, "--size %s takes a whole number", s->name);
    if (!at) {
      sq_text t = {.arena = &b->cli->ctx->arena};
      sq_text_put(&t, "", 0);
      for (uint32_t j = 1; j <= abi->n_sym; j++)
        if (needed(b->abi, j)) sq_text_add(&t, " %s", abi->sym_names[j - 1]);
      return sq_complain(SQ_EUSAGE, "`%s` has no size `%s`; it has:%s", b->e.name, s->name,
                         *t.v ? t.v : " none");
    }
    b->sym[at] = v;
  }
  return SQ_OK;
}

static const sq_bind *given(const bench *b, const char *name) {
  for (uint32_t c = 0; c < b->cli->calls.n; c++)
    for (uint32_t k = 0; k < b->cli->calls.v[c].in.n; k++)
      if (!strcmp(b->cli->calls.v[c].in.v[k].name, name)) return &b->cli->calls.v[c].in.v[k];
  return NULL;
}

// Inputs that were given come first: they bind symbols.
static sq_status take_given(bench *b) {
  for (uint32_t k = 0; k < b->e.n_in; k++) {
    const sq_bind *g = given(b, b->e.in[k].name);
    const char *message = "an input is too large";
    if (!g) continue;
    sq_status s = sq_value_parse(b->cli->ctx, sq_model_runtime(b->m), g->value, &b->e.in[k],
                                 &b->in[k], &message);
    if (s) return sq_print_failure(s, message);
    const sq_abi_tensor *t = &b->abi->in[k];
    if (t->binds) b->sym[t->binds] = sq_value_int(&b->in[k], 0);
    for (uint32_t d = 0; d < t->rank && d < b->in[k].rank; d++) {
      uint32_t at = sq_expr_symbol(&t->dim[d]);
      if (at && b->sym[at] == SQ_UNBOUND) b->sym[at] = b->in[k].dim[d];
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

static sq_status make_input(bench *b, uint32_t k, const sq_abi_model *abi) {
  const sq_abi_tensor *t = &b->abi->in[k];
  int64_t dim[SQ_MAX_RANK];
  for (uint32_t d = 0; d < t->rank; d++) {
    if (sq_expr_value(&t->dim[d], b->sym, &dim[d]) && dim[d] >= 0) continue;
    uint32_t at = sq_expr_symbol(&t->dim[d]);
    return sq_complain(SQ_EUSAGE, "the size `%s` of input `%s` is not bound: --size %s=...",
                       at ? abi->sym_names[at - 1] : "?", t->name,
                       at ? abi->sym_names[at - 1] : "N");
  }
  if (t->binds && b->sym[t->binds] == SQ_UNBOUND)
    return sq_complain(SQ_EUSAGE, "the size `%s` is not bound: --size %s=...", t->name, t->name);
  if (!sq_value_new(b->cli->ctx, (sq_dtype)t->dtype, t->rank, dim, &b->in[k]))
    return sq_complain(SQ_EMODEL, "input `%s` is too large", t->name);
  sq_graph *g = sq_model_graph(b->m);
  sq_func *f = g ? sq_func_find(g, b->e.name) : NULL;
  int64_t bound = f ? sq_input_bound(f, k, b->sym) : 0, n = sq_value_count(&b->in[k]);
  uint64_t state = 88172645463325252u + k;
  for (int64_t j = 0; j < n; j++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    int64_t i = t->binds ? b->sym[t->binds]
                : bound  ? (int64_t)((state >> 33) % (uint64_t)bound)
                         : 1;
    sq_value_set(&b->in[k], j, sq_is_float((sq_dtype)t->dtype) ? normal(&state) : 0, i);
  }
  return SQ_OK;
}

static int by_time(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static sq_status one_call(bench *b, double *seconds) {
  SQ_TRY(sq_model_reset(b->m));
  double begin = sq_clock();
  sq_status s = sq_model_call(b->m, &b->e, b->in, b->out);
  *seconds = sq_clock() - begin;
  return s;
}

// Warm-up until two calls and 0.2 s are through; then as many as fit into two seconds, 5 to 1000.
static sq_status measure(bench *b, double **times, uint32_t *n) {
  double t, warm = 0;
  for (int k = 0; k < 2 || (warm < 0.2 && k < 100); k++) {
    SQ_TRY(one_call(b, &t));
    warm += t;
    if (warm > 10) break;
  }
  SQ_TRY(one_call(b, &t));
  double want = b->cli->repeat > 0 ? (double)b->cli->repeat : 2.0 / (t > 1e-9 ? t : 1e-9);
  *n = b->cli->repeat > 0 ? (uint32_t)(want < 1e6 ? want : 1e6)
                          : (uint32_t)(want < 5      ? 5
                                       : want > 1000 ? 1000
                                                     : want);
  *times = SQ_ARRAY(&b->cli->ctx->arena, double, *n);
  for (uint32_t k = 0; k < *n; k++) SQ_TRY(one_call(b, &(*times)[k]));
  qsort(*times, *n, sizeof **times, by_time);
  return SQ_OK;
}

static void report(bench *b, const double *times, uint32_t n, int threads) {
  double min = times[0], median = n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2,
         max = times[n - 1];
  sq_graph *g = sq_model_graph(b->m);
  sq_func *f = g ? sq_func_find(g, b->e.name) : NULL;
  sq_cost cost = f ? sq_func_cost(f, b->sym) : (sq_cost){0};
  size_t weights = 0, states = 0, arena = 0;
  sq_model_memory(b->m, &weights, &states, &arena);
  sq_peak peak = sq_peak_measure(threads);
  if (b->cli->json) {
    printf("{\"entry\": \"%s\", \"min_s\": %.9g, \"median_s\": %.9g, \"max_s\": %.9g, \"flops\": "
           "%.17g, "
           "\"bytes\": %.17g, \"peak_bytes\": %zu, \"threads\": %d, \"runs\": %u, "
           "\"peak_flops_per_s\": %.6g, \"peak_bytes_per_s\": %.6g}\n",
           b->e.name, min, median, max, cost.flops, cost.bytes, weights + states + arena, threads,
           n, peak.flops, peak.bytes);
    return;
  }
  printf("%s, %d threads, %u calls\n", b->e.name, threads, n);
  printf("  seconds      min %.6g  median %.6g  max %.6g\n", min, median, max);
  if (cost.flops > 0)
    printf("  %.4g GFLOP   %.1f GFLOP/s at the median, %.0f %% of this machine's %.0f\n",
           cost.flops * 1e-9, cost.flops / median * 1e-9, 100 * cost.flops / median / peak.flops,
           peak.flops * 1e-9);
  if (cost.bytes > 0)
    printf("  %.4g MB      %.2f GB/s of weights, inputs, outputs, %.0f %% of this machine's %.0f\n",
           cost.bytes * 1e-6, cost.bytes / median * 1e-9, 100 * cost.bytes / median / peak.bytes,
           peak.bytes * 1e-9);
  printf("  memory       weights %.1f MiB, states %.1f MiB, arena %.2f MiB\n",
         (double)weights / 1048576, (double)states / 1048576, (double)arena / 1048576);
}

static sq_status run(bench *b) {
  const sq_abi_model *abi = sq_model_abi(b->m);
  SQ_TRY(sq_model_entry(b->m, b->cli->entry ? b->cli->entry : "forward", &b->e));
  b->abi = &abi->entry[b->e.at];
  SQ_TRY(bind_sizes(b, abi));
  b->in = SQ_ARRAY(&b->cli->ctx->arena, seqm_tensor, b->e.n_in + 1);
  b->out = SQ_ARRAY(&b->cli->ctx->arena, seqm_tensor, b->e.n_out + 1);
  SQ_TRY(take_given(b));
  for (uint32_t k = 0; k < b->e.n_in; k++)
    if (!given(b, b->e.in[k].name)) SQ_TRY(make_input(b, k, abi));
  double *times;
  uint32_t n;
  sq_progress line;
  sq_progress_begin(&line, "timing");
  sq_status s = measure(b, &times, &n);
  sq_progress_end(&line);
  SQ_TRY(s);
  report(b, times, n, sq_model_threads(b->m));
  return SQ_OK;
}

sq_status sq_cmd_bench(sq_cli *cli) {
  bench b = {.cli = cli};
  if (!cli->weights.n) cli->random_weights = true;
  SQ_TRY(sq_model_open(cli, &b.m));
  sq_status s = run(&b);
  sq_model_close(b.m);
  return s;
}
