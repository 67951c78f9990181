// The search around the model's choice. In: the calls of a command line. Out: rows of the machine's
// table (codegen/cpu/tuned.c).
//
//   for each try              the model compiled with one candidate for every class of kernels at once
//     some calls              the least time of a call that each class takes, by the marks of its kernels
//   the best of each class against the model's choice, in turns: what gains enough is kept
//
// As a class is measured by its own kernels, classes do not disturb each other, and the number of
// compilations is that of candidates for one class.
#include "tools/tune.h"
#include "ir/cost.h"
#include "runtime/jit.h"
#include "tools/progress.h"
#include "tools/trace.h"
#include <errno.h>
#include <stdlib.h>

enum { MOST_CLASSES = 256, LEAST_CALLS = 3, LEAST_TURNS = 6, MOST_CALLS = 400 };
static const double TRY_SECONDS = 0.4, ALL_SECONDS = 60, ENOUGH = 1.03, NEVER = 1e9;

typedef struct kind { // a class of kernels
  const char *name;   // as the marks of a trial call it
  sq_tuned_row try[SQ_CUT_TRIES];
  uint32_t n, best;
  double least; // time of the best so far
} kind;
typedef struct tuner {
  sq_cli *cli;
  sq_target base; // with what was found before
  kind *kind;
  uint32_t n;
  double begin;
} tuner;
typedef struct trial { // an open model and the times of its classes
  tuner *u;
  sq_target target;
  sq_calls calls;
  kind *now; // whose kernel runs; NULL: none
  double since;
  double *call, *least; // by class: in this call, of all calls
  uint32_t *won;        // by class: calls that were faster than another trial's
} trial;

// ---- times -------------------------------------------------------------------------------------
static void mark(void *user, const char *label, bool entry) {
  trial *t = user;
  double now = sq_clock();
  if (t->now) t->call[t->now - t->u->kind] += now - t->since;
  t->now = NULL;
  for (uint32_t k = 0; label && !entry && k < t->u->n && !t->now; k++)
    if (!strcmp(t->u->kind[k].name, label)) t->now = &t->u->kind[k];
  t->since = sq_clock();
}

static sq_status call_once(trial *t, uint32_t number) {
  double seconds;
  memset(t->call, 0, t->u->n * sizeof *t->call);
  SQ_TRY(sq_calls_once(&t->calls, number, &seconds));
  for (uint32_t k = 0; k < t->u->n; k++)
    if (t->call[k] > 0 && t->call[k] < t->least[k]) t->least[k] = t->call[k];
  return SQ_OK;
}

static sq_status calls_for(trial *t, double seconds) {
  double begin = sq_clock();
  for (uint32_t k = 0; k < MOST_CALLS; k++) {
    if (k >= LEAST_CALLS && sq_clock() - begin > seconds) break;
    SQ_TRY(call_once(t, k));
  }
  return SQ_OK;
}

// ---- a model of a trial ------------------------------------------------------------------------
static void close_trial(trial *t) {
  if (!t->calls.m) return;
  sq_calls_drop(&t->calls);
  sq_model_close(t->calls.m);
  t->calls.m = NULL;
}

static sq_status open_trial(tuner *u, const sq_tuned *table, trial *t) {
  sq_cli *cli = u->cli;
  sq_arena *a = &cli->ctx->arena;
  bool no_cache = cli->no_cache;
  sq_tuned *marked = SQ_NEW(a, sq_tuned);
  *marked = *table;
  marked->trial = true;
  *t = (trial){.u = u, .target = u->base, .calls = {.cli = cli}};
  t->target.tuned = marked;
  t->won = SQ_ARRAY(a, uint32_t, u->n + 1);
  t->call = SQ_ARRAY(a, double, u->n + 1);
  t->least = SQ_ARRAY(a, double, u->n + 1);
  for (uint32_t k = 0; k < u->n; k++) t->least[k] = NEVER;
  cli->on = &t->target;
  cli->no_cache = true; // nobody wants its code again
  sq_status s = sq_model_open(cli, &t->calls.m);
  cli->on = NULL;
  cli->no_cache = no_cache;
  if (!s) s = sq_calls_make(&t->calls);
  if (!s) s = sq_model_marks(t->calls.m, mark, t);
  double seconds;
  if (!s) s = sq_calls_once(&t->calls, 0, &seconds); // compiles
  if (s) close_trial(t);
  return s;
}

// ---- classes -----------------------------------------------------------------------------------
static void add_kernel(const sq_kernel_cost *k, void *user) {
  tuner *u = user;
  sq_graph *g = k->node->block->func->graph;
  sq_cut_info c;
  kind new = {.least = NEVER};
  if (u->n == MOST_CLASSES || !sq_cut_explain(g, &u->base, k->node, NULL, &c)) return;
  for (uint32_t j = 0; j < u->n; j++)
    if (!strcmp(u->kind[j].name, c.class)) return;
  new.name = c.class;
  new.n = sq_cut_candidates(g, &u->base, k->node, new.try);
  if (new.n > 1) u->kind[u->n++] = new;
}

// Of all entries: kernels that no call reaches are not timed.
static sq_status find_classes(tuner *u) {
  sq_cli *cli = u->cli;
  sq_build b;
  sq_graph *g;
  sq_target t;
  const char *message = "", *note;
  SQ_TRY(sq_cli_build(cli, &b));
  sq_status s = sq_build_target(cli->ctx, &b, &u->base, &note, &message);
  if (!s && note) fprintf(stderr, "seqm: note: %s\n", note);
  if (!s) s = sq_build_graph(cli->ctx, cli->model, &b, &g, NULL, &message);
  if (!s) s = sq_build_plan(g, &b, &t, &message);
  if (s) return sq_print_failure(s, message);
  int64_t *sym = SQ_ARRAY(g->arena, int64_t, sq_sym_count(g->dims) + 1);
  u->kind = SQ_ARRAY(g->arena, kind, MOST_CLASSES);
  for (uint32_t k = 0; k < g->func.n; k++)
    if (g->func.v[k]->kind == SQ_FUNC_ENTRY) sq_kernel_costs(g->func.v[k], sym, add_kernel, u);
  return SQ_OK;
}

static const sq_tuned *table_of(tuner *u, uint32_t candidate) {
  const sq_tuned *t = SQ_NEW(&u->cli->ctx->arena, sq_tuned);
  for (uint32_t k = 0; k < u->n; k++)
    if (candidate && candidate < u->kind[k].n)
      t = sq_tuned_with(&u->cli->ctx->arena, t, &u->kind[k].try[candidate]);
  return t;
}

// ---- the search --------------------------------------------------------------------------------
static sq_status try_all(tuner *u) {
  uint32_t most = 0;
  for (uint32_t k = 0; k < u->n; k++) most = u->kind[k].n > most ? u->kind[k].n : most;
  for (uint32_t c = 0; c < most && sq_clock() - u->begin < ALL_SECONDS / 2; c++) {
    trial t;
    sq_progress line;
    sq_progress_begin(&line, sq_arena_fmt(&u->cli->ctx->arena, "tuning: %u of %u", c + 1, most));
    sq_status s = open_trial(u, table_of(u, c), &t);
    if (!s) s = calls_for(&t, TRY_SECONDS);
    sq_progress_end(&line);
    close_trial(&t);
    SQ_TRY(s);
    for (uint32_t k = 0; k < u->n; k++)
      if (c < u->kind[k].n && t.least[k] < u->kind[k].least) {
        u->kind[k].least = t.least[k];
        u->kind[k].best = c;
      }
  }
  return SQ_OK;
}

// Call for call; a class gains when most of its calls are faster, and the fastest is.
static sq_status in_turns(trial *a, trial *b, double *gain) {
  double begin = sq_clock();
  uint32_t turns = 0;
  for (; turns < MOST_CALLS; turns++) {
    if (turns >= LEAST_TURNS && sq_clock() - begin > 4 * TRY_SECONDS) break;
    SQ_TRY(call_once(a, turns));
    SQ_TRY(call_once(b, turns));
    for (uint32_t k = 0; k < a->u->n; k++) b->won[k] += b->call[k] < a->call[k];
  }
  for (uint32_t k = 0; k < a->u->n; k++)
    if (3 * b->won[k] >= 2 * turns) gain[k] = a->least[k] / b->least[k];
  return SQ_OK;
}

// The winners against the model's choice.
static sq_status compare(tuner *u, double *gain) {
  const sq_tuned *table = SQ_NEW(&u->cli->ctx->arena, sq_tuned);
  trial a, b;
  for (uint32_t k = 0; k < u->n; k++) gain[k] = 1;
  for (uint32_t k = 0; k < u->n; k++)
    if (u->kind[k].best)
      table = sq_tuned_with(&u->cli->ctx->arena, table, &u->kind[k].try[u->kind[k].best]);
  if (!table->n) return SQ_OK;
  SQ_TRY(open_trial(u, table_of(u, 0), &a));
  sq_status s = open_trial(u, table, &b);
  if (!s) s = in_turns(&a, &b, gain);
  close_trial(&a);
  close_trial(&b);
  return s;
}

static sq_status keep(tuner *u, const double *gain) {
  sq_arena *a = &u->cli->ctx->arena;
  const char *dir = sq_build_cache_dir(u->cli->ctx);
  const sq_tuned *all = u->base.tuned;
  uint32_t better = 0, timed = 0;
  for (uint32_t k = 0; k < u->n; k++) {
    if (u->kind[k].least >= NEVER) continue; // what was found for it before stands
    timed++;
    sq_tuned_row r = u->kind[k].try[u->kind[k].best];
    r.gain = (float)gain[k];
    if (!u->kind[k].best || gain[k] < ENOUGH) r.kind = 0; // the model's choice stands
    all = sq_tuned_with(a, all, &r);
    if (!r.kind) continue;
    fprintf(stderr, "seqm: tuned: %s: %.2f x faster than the model's choice\n", u->kind[k].name,
            gain[k]);
    better++;
  }
  if (!timed) {
    fprintf(stderr,
            "seqm: nothing to tune: no contraction or attention of what is called can be cut "
            "otherwise\n");
    return SQ_OK;
  }
  fprintf(stderr, "seqm: %u of %u classes of kernels are faster than the model's choice\n", better,
          timed);
  if (!dir || !sq_tuned_store(a, dir, &u->base, all))
    return sq_complain(SQ_EWORLD, "what was found is not kept: %s%s%s",
                       dir ? "cannot write to " : "there is no cache folder", dir ? dir : "",
                       dir ? sq_arena_fmt(a, ": %s", strerror(errno)) : "");
  return SQ_OK;
}

static sq_status allowed(const sq_cli *cli) {
  if (cli->no_cache)
    return sq_complain(SQ_EUSAGE, "--tune keeps what it finds in the cache: not with --no-cache");
  if (cli->target && strcmp(cli->target, "cpu"))
    return sq_complain(SQ_EUSAGE, "--tune goes with --target cpu");
  if (cli->target_cpu && strcmp(cli->target_cpu, "native"))
    return sq_complain(SQ_EUSAGE, "--tune times kernels on this machine: not with --target-cpu %s",
                       cli->target_cpu);
  if (sq_is_object(cli->model))
    return sq_complain(SQ_EUSAGE, "the code of a shared object is made: --tune belongs to `seqm "
                                  "compile`");
  return SQ_OK;
}

static sq_status tune(sq_cli *cli) {
  tuner u = {.cli = cli, .begin = sq_clock()};
  SQ_TRY(find_classes(&u));
  double *gain = SQ_ARRAY(&cli->ctx->arena, double, u.n + 1);
  if (u.n) SQ_TRY(try_all(&u));
  if (u.n) SQ_TRY(compare(&u, gain));
  return keep(&u, gain);
}

// In a context of its own: what many compilations leave behind goes with it.
sq_status sq_tune(sq_cli *cli) {
  SQ_TRY(allowed(cli));
  sq_cli own = *cli;
  sq_ctx *ctx = own.ctx = sq_ctx_new(sq_alloc_libc());
  if (!ctx) return sq_complain(SQ_EWORLD, "out of memory");
  sq_status s = SQ_EWORLD;
  if (setjmp(ctx->guard.jmp))
    sq_complain(SQ_EWORLD, "out of memory while tuning");
  else
    s = tune(&own);
  sq_ctx_free(ctx);
  return s;
}
