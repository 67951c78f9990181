// `seqm bench`: times one call of an entry; figures against the machine's measured peak.
#include "ir/cost.h"
#include "runtime/pool.h"
#include "tools/calls.h"
#include "tools/peak.h"
#include "tools/progress.h"
#include "tools/trace.h"
#include "tools/tune.h"
#include <stdlib.h>

static int by_time(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

// Warm-up until two calls and 0.2 s are through; then as many as fit into two seconds, 5 to 1000.
static sq_status measure(sq_calls *b, double **times, uint32_t *n) {
  double t, warm = 0;
  for (uint32_t k = 0; k < 2 || (warm < 0.2 && k < 100); k++) {
    SQ_TRY(sq_calls_once(b, k, &t));
    warm += t;
    if (warm > 10) break;
  }
  SQ_TRY(sq_calls_once(b, 0, &t));
  double want = b->cli->repeat > 0 ? (double)b->cli->repeat : 2.0 / (t > 1e-9 ? t : 1e-9);
  *n = b->cli->repeat > 0 ? (uint32_t)(want < 1e6 ? want : 1e6)
                          : (uint32_t)(want < 5      ? 5
                                       : want > 1000 ? 1000
                                                     : want);
  *times = SQ_ARRAY(&b->cli->ctx->arena, double, *n);
  for (uint32_t k = 0; k < *n; k++) SQ_TRY(sq_calls_once(b, k, &(*times)[k]));
  qsort(*times, *n, sizeof **times, by_time);
  return SQ_OK;
}

static void report(sq_calls *b, const double *times, uint32_t n, int threads) {
  const sq_timed *c = &b->call[b->n - 1];
  double min = times[0], median = n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2,
         max = times[n - 1];
  sq_graph *g = sq_model_graph(b->m);
  sq_func *f = g ? sq_func_find(g, c->e.name) : NULL;
  sq_cost cost = f ? sq_func_cost(f, c->sym) : (sq_cost){0};
  size_t weights = 0, states = 0, arena = 0;
  sq_model_memory(b->m, &weights, &states, &arena);
  sq_peak peak =
      b->there ? sq_peak_device(sq_model_runtime(b->m)) : sq_peak_find(b->cli->ctx, threads);
  const char *whose = b->there ? "this device" : "this machine";
  seqm_newton w = sq_model_newton(b->m);
  if (b->cli->json) {
    printf("{\"entry\": \"%s\", \"min_s\": %.9g, \"median_s\": %.9g, \"max_s\": %.9g, \"flops\": "
           "%.17g, "
           "\"bytes\": %.17g, \"peak_bytes\": %zu, \"threads\": %d, \"runs\": %u, "
           "\"peak_flops_per_s\": %.6g, \"peak_bytes_per_s\": %.6g",
           c->e.name, min, median, max, cost.flops, cost.bytes, weights + states + arena, threads,
           n, peak.flops, peak.bytes);
    if (w.stretches)
      printf(", \"newton\": {\"stretches\": %llu, \"iterations\": %llu, \"redone\": %llu, "
             "\"residual\": %.3g}",
             (unsigned long long)w.stretches, (unsigned long long)w.iterations,
             (unsigned long long)w.redone, w.residual);
    printf("}\n");
    return;
  }
  printf("%s, %d threads, %u calls\n", c->e.name, threads, n);
  printf("  seconds      min %.6g  median %.6g  max %.6g\n", min, median, max);
  if (cost.flops > 0)
    printf("  %.4g GFLOP   %.1f GFLOP/s at the median, %.0f %% of %s's %.0f\n", cost.flops * 1e-9,
           cost.flops / median * 1e-9, 100 * cost.flops / median / peak.flops, whose,
           peak.flops * 1e-9);
  if (cost.bytes > 0)
    printf("  %.4g MB      %.2f GB/s of weights, inputs, outputs, %.0f %% of %s's %.0f\n",
           cost.bytes * 1e-6, cost.bytes / median * 1e-9, 100 * cost.bytes / median / peak.bytes,
           whose, peak.bytes * 1e-9);
  if (w.stretches)
    printf(
        "  newton       %.2f iterations a stretch, %llu of %llu stretches turn by turn, residual "
        "%.1e\n",
        (double)w.iterations / (double)w.stretches, (unsigned long long)w.redone,
        (unsigned long long)w.stretches, w.residual);
  printf("  memory       weights %.1f MiB, states %.1f MiB, arena %.2f MiB\n",
         (double)weights / 1048576, (double)states / 1048576, (double)arena / 1048576);
}

static sq_status time_calls(sq_calls *b) {
  double *times;
  uint32_t n;
  sq_progress line;
  sq_progress_begin(&line, "timing");
  sq_status s = measure(b, &times, &n);
  sq_progress_end(&line);
  if (!s) report(b, times, n, sq_model_threads(b->m));
  return s;
}

static sq_status run(sq_calls *b) {
  sq_status s = sq_calls_make(b);
  if (!s) s = time_calls(b);
  sq_calls_drop(b);
  return s;
}

sq_status sq_cmd_bench(sq_cli *cli) {
  sq_calls b = {.cli = cli};
  if (cli->calibrate) {
    SQ_TRY(sq_cli_threads(cli));
    int threads = cli->threads > 0 ? (int)cli->threads : sq_pool_cores();
    SQ_TRY(sq_peak_calibrate(cli->ctx, threads));
    if (!cli->model) return SQ_OK;
  }
  if (!cli->weights.n) cli->random_weights = true;
  if (cli->tune) SQ_TRY(sq_tune(cli));
  SQ_TRY(sq_model_open(cli, &b.m));
  sq_status s = run(&b);
  sq_model_close(b.m);
  return s;
}
