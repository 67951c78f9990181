// What the kernels of an entry cost at least, for given sizes, and how contractions and attention are
// cut: `seqm explain --size N=1024`, or `--target-cpu` alone for the cuts.
// In: a planned graph, its target, sizes by name, the machine's limits. Out: tables on stdout.
#include "tools/explain_costs.h"
#include "ir/cost.h"
#include "runtime/pool.h"
#include "tools/peak.h"
#include <stdlib.h>

typedef struct table {
  sq_cli *cli;
  sq_graph *g;
  const int64_t *sym; // NULL: sizes are not known
  sq_target target;
  sq_peak peak;
  sq_kernel_cost all; // sums
  double seconds;
} table;

static void mark_symbols(const sq_graph *g, sq_type t, bool *found) {
  for (uint32_t d = 0; d < t.rank; d++)
    for (uint32_t s = 1; s <= sq_sym_count(g->dims); s++)
      found[s] |= sq_dim_mentions(g->dims, t.dim[d], (sq_sym){s});
}

// The symbols that a call of f binds.
static bool *symbols_of(const sq_graph *g, const sq_func *f) {
  bool *found = SQ_ARRAY(g->arena, bool, sq_sym_count(g->dims) + 1);
  for (uint32_t k = 0; k < f->body->args.n; k++) mark_symbols(g, f->body->args.v[k]->type, found);
  for (uint32_t k = 0; k < f->in_sym.n; k++) found[f->in_sym.v[k].i] |= f->in_sym.v[k].i != 0;
  for (uint32_t s = 1; s <= sq_sym_count(g->dims); s++)
    found[s] &= sq_sym_at(g->dims, (sq_sym){s})->kind == SQ_SYM_SIZE;
  return found;
}

// "N" is also the source's name of "N.1".
static bool has_name(const sq_graph *g, uint32_t s, const char *name) {
  const char *own = sq_sym_at(g->dims, (sq_sym){s})->name;
  size_t n = strlen(name);
  return !strncmp(own, name, n) && (own[n] == 0 || own[n] == '.');
}

static bool bound(const sq_cli *cli, const sq_graph *g, const bool *of, int64_t *sym) {
  bool all = true;
  for (uint32_t s = 1; s <= sq_sym_count(g->dims); s++) {
    sym[s] = sq_sym_at(g->dims, (sq_sym){s})->kind == SQ_SYM_SIZE ? -1 : 0;
    for (uint32_t k = 0; of[s] && k < cli->sizes.n; k++)
      if (has_name(g, s, cli->sizes.v[k].name)) sym[s] = strtoll(cli->sizes.v[k].value, NULL, 10);
    all &= !of[s] || sym[s] >= 0;
  }
  return all;
}

sq_status sq_explain_check(const sq_cli *cli, const sq_graph *g) {
  SQ_TRY(sq_cli_threads(cli));
  bool cpu = !cli->target || !strcmp(cli->target, "cpu");
  if (!cpu && !strcmp(cli->target, "interp"))
    return sq_complain(SQ_EUSAGE,
                       "the interpreter rewrites nothing: --target takes cpu or cuda here");
  if (!cpu && (cli->sizes.n || cli->target_cpu || cli->threads))
    return sq_complain(SQ_EUSAGE, "--size, --threads and --target-cpu go with --target cpu: of a "
                                  "device it is not known what kernels cost");
  bool *any = SQ_ARRAY(g->arena, bool, sq_sym_count(g->dims) + 1);
  for (uint32_t k = 0; k < g->func.n; k++) {
    const sq_func *f = g->func.v[k];
    if (f->kind != SQ_FUNC_ENTRY || (cli->entry && strcmp(cli->entry, f->name))) continue;
    const bool *of = symbols_of(g, f);
    for (uint32_t s = 1; s <= sq_sym_count(g->dims); s++) any[s] |= of[s];
  }
  for (uint32_t k = 0; k < cli->sizes.n; k++) {
    const sq_bind *b = &cli->sizes.v[k];
    bool found = false;
    int64_t v;
    SQ_TRY(sq_cli_size(b, &v));
    for (uint32_t s = 1; s <= sq_sym_count(g->dims); s++)
      found |= any[s] && has_name(g, s, b->name);
    if (!found)
      return sq_complain(SQ_EUSAGE, "no entry%s%s has a size `%s`", cli->entry ? " " : "",
                         cli->entry ? cli->entry : "", b->name);
  }
  return SQ_OK;
}

static double rate(const sq_peak *p, double bytes, const char **from) {
  if (p->l2_bytes > 0 && bytes <= p->l2_size) return *from = "second-level cache", p->l2_bytes;
  if (p->l3_bytes > 0 && bytes <= p->l3_size) return *from = "third-level cache", p->l3_bytes;
  return *from = "memory", p->bytes;
}

static void names(const table *t, const sq_node *n, const char **place, const char **kernel) {
  const char *name = n->n_out && n->out[0]->name ? n->out[0]->name : "";
  uint32_t line, column;
  const sq_diags *ds = &t->g->ctx->diags;
  sq_span_line(ds, n->span, &line, &column);
  const char *file = line ? ds->sources.v[n->span.file].name : "";
  const char *base = strrchr(file, '/');
  *place = line ? sq_arena_fmt(t->g->arena, "%s:%u", base ? base + 1 : file, line) : "";
  *kernel = sq_arena_fmt(t->g->arena, "%s %s", sq_op_table[n->op].name, name);
}

static void row(const sq_kernel_cost *k, void *user) {
  table *t = user;
  const char *from, *by = "operations", *place, *kernel;
  double reading = k->bytes / rate(&t->peak, k->bytes, &from), seconds = k->flops / t->peak.flops;
  if (reading > seconds) by = from, seconds = reading;
  names(t, k->node, &place, &kernel);
  printf("  %-22s %-22s %6.0f %9.4f %9.3f %11.4f  %s\n", place, kernel, k->times,
         k->times * k->flops * 1e-9, k->times * k->bytes * 1e-6, k->times * seconds * 1e3, by);
  t->all.flops += k->times * k->flops;
  t->all.bytes += k->times * k->bytes;
  t->all.times += k->times;
  t->seconds += k->times * seconds;
}

// ---- how they are cut --------------------------------------------------------------------------
static void cut(const sq_kernel_cost *k, void *user) {
  table *t = user;
  sq_cut_info c;
  const char *place, *kernel;
  if (!sq_cut_explain(t->g, &t->target, k->node, t->sym, &c)) return;
  names(t, k->node, &place, &kernel);
  printf("  %s%s%s: %s\n", place, *place ? " " : "", kernel, c.words);
  if (t->sym)
    printf("    expected: %.4g ms, bound by %s%s\n", c.seconds * 1e3, c.bound,
           k->times > 1 ? sq_arena_fmt(t->g->arena, "; %.0f times", k->times) : "");
  if (c.tuned)
    printf("    tuned: %.2f x faster than the model's choice when it was tried\n",
           (double)c.tuned->gain);
}

static void is_cut(const sq_kernel_cost *k, void *user) {
  table *t = user;
  sq_cut_info c;
  if (sq_cut_explain(t->g, &t->target, k->node, NULL, &c)) t->all.times++;
}

static void cuts_of(table *t, const sq_func *f, const int64_t *sym) {
  const sq_machine *m = &t->target.machine;
  t->all = (sq_kernel_cost){0};
  sq_kernel_costs(f, sym, is_cut, t);
  if (t->all.times < 1) return;
  printf("\nhow contractions and attention of %s are cut for vectors of %u bytes in %u registers\n",
         f->name, m->vector_bytes, m->vector_registers);
  sq_kernel_costs(f, sym, cut, t);
}

static void any(const sq_kernel_cost *k, void *user) {
  (void)k;
  *(bool *)user = true;
}

static void one_entry(table *t, const sq_func *f, const int64_t *sym) {
  bool some = false;
  sq_kernel_costs(f, sym, any, &some);
  if (!some) return;
  printf("\nkernels of %s: what they cost at least on %s\n", f->name,
         t->cli->target_cpu ? "that machine" : "this machine");
  printf("  %-22s %-22s %6s %9s %9s %11s  %s\n", "place", "kernel", "runs", "GFLOP", "MB", "ms",
         "bound by");
  t->all = (sq_kernel_cost){0};
  t->seconds = 0;
  sq_kernel_costs(f, sym, row, t);
  printf("  %-22s %-22s %6.0f %9.4f %9.3f %11.4f\n", "in all", "", t->all.times,
         t->all.flops * 1e-9, t->all.bytes * 1e-6, t->seconds * 1e3);
}

// The machine that is expected to run it: this one as measured, with so many threads, or one of the
// target's name.
static void limits(table *t) {
  sq_machine *m = &t->target.machine;
  const char *cpu = t->cli->target_cpu;
  if (cpu && strcmp(cpu, "native")) {
    const sq_rates *r = &m->rates;
    t->peak = (sq_peak){r->flops, r->memory, r->l2, r->l3, (double)m->l2_bytes * m->cores, 0};
    printf("\na usual %s of %u cores: %.1f GFLOP/s, reads %.1f GB/s from memory\n", cpu, m->cores,
           r->flops * 1e-9, r->memory * 1e-9);
    return;
  }
  int threads = t->cli->threads > 0 ? (int)t->cli->threads : sq_pool_cores();
  const sq_peak *p = &t->peak;
  t->peak = sq_peak_find(t->cli->ctx, threads);
  m->cores = (uint32_t)threads;
  m->rates.measured = false;
  sq_machine_complete(m);
  sq_machine_calibrate(m, &(sq_rates){true, p->flops, p->bytes, p->l2_bytes, p->l3_bytes});
  printf("\nthis machine, %d threads: %.1f GFLOP/s, reads %.1f GB/s from memory", threads,
         p->flops * 1e-9, p->bytes * 1e-9);
  if (p->l2_bytes > 0)
    printf(", %.1f and %.1f from the second- and third-level caches\n", p->l2_bytes * 1e-9,
           p->l3_bytes * 1e-9);
  else
    printf(" (`seqm bench --calibrate` measures the caches too)\n");
}

sq_status sq_explain_costs(sq_cli *cli, sq_graph *g, const sq_target *target) {
  table t = {.cli = cli, .g = g, .target = *target};
  if (!cli->sizes.n && !cli->target_cpu) return SQ_OK;
  int64_t *sym = SQ_ARRAY(g->arena, int64_t, sq_sym_count(g->dims) + 1);
  if (cli->sizes.n) limits(&t);
  for (uint32_t k = 0; k < g->func.n; k++) {
    const sq_func *f = g->func.v[k];
    if (f->kind != SQ_FUNC_ENTRY || (cli->entry && strcmp(cli->entry, f->name))) continue;
    bool all = bound(cli, g, symbols_of(g, f), sym);
    if (cli->sizes.n && !all) continue;
    if (cli->sizes.n) one_entry(&t, f, sym);
    t.sym = cli->sizes.n ? sym : NULL;
    cuts_of(&t, f, sym);
  }
  return SQ_OK;
}
