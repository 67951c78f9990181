// The pass manager. In: a graph, a list of pass names, what to check and print. Out: the graph
// changed, or a message that names the pass after which a check failed.
#include "passes/pipeline.h"
#include "ir/sweep_check.h"
#include <time.h>

const sq_pass_info sq_pass_table[] = {
#define PASS(name, required, what) {#name, what, sq_pass_##name, required},
#include "passes/passes.def"
#undef PASS
};
const unsigned sq_pass_count = sizeof sq_pass_table / sizeof *sq_pass_table;

const char *const sq_pipeline_cpu =
    "inline,simplify,batch,simplify,cse,choose,softmax,hoist,split,batch,recur,"
    "factor,simplify,cse,contract,recast,fuse,sweep,stream,group,pack,siblings,plan";
const char *const sq_pipeline_device =
    "inline,simplify,batch,simplify,cse,choose,softmax,hoist,split,batch,recur,"
    "factor,simplify,cse,contract,recast,fuse,sweep,stream,unwrap,group,plan";

const sq_pass_info *sq_pass_find(const char *name) {
  for (unsigned k = 0; k < sq_pass_count; k++)
    if (!strcmp(sq_pass_table[k].name, name)) return &sq_pass_table[k];
  return NULL;
}

bool sq_pass_options_plain(const sq_pass_options *o, sq_text *key) {
  const char *pipeline = o->device ? sq_pipeline_device : sq_pipeline_cpu;
  sq_text_add(key, "%s vector %u %u int8 %d sequential %d parallel %d;", pipeline,
              o->machine.vector_bytes, o->machine.step_bytes, o->int8, o->sequential_scans,
              o->parallel_rnn);
  bool prints = o->print_after || o->print_changed || o->time_passes || o->dump_dir;
  bool checks = o->verify_each || o->roundtrip_each || o->validate_each || o->require_fused;
  return !prints && !checks && o->bisect_limit < 0;
}

typedef struct run {
  sq_graph *g;
  const sq_pass_options *o;
  const sq_pass_info *pass;
  uint32_t number; // of the pass in this run
  FILE *dump;
  const char **message;
  const char *before; // text before the pass, where something asks for it
  const char *wrong;  // with the form of a sweep's turns
} run;

static const char *graph_text(sq_graph *g) {
  sq_text t = {.arena = g->arena};
  sq_text_put(&t, "", 0);
  sq_graph_print(g, &t);
  return t.v;
}

static sq_status fail(run *r, const char *what, const char *detail) {
  *r->message = sq_arena_fmt(&r->g->ctx->arena, "pass `%s`: %s%s%s", r->pass->name, what,
                             *detail ? ": " : "", detail);
  return SQ_EMODEL;
}

// ---- checks after a pass -----------------------------------------------------------------------
static sq_status verify(run *r) {
  sq_text faults = {.arena = r->g->arena};
  sq_text_put(&faults, "", 0);
  if (!sq_graph_verify(r->g, &faults)) return fail(r, "the graph is not well formed", faults.v);
  for (uint32_t k = 0; k < r->g->func.n; k++)
    if (r->g->func.v[k]->planned && !sq_plan_verify(r->g->func.v[k], &faults))
      return fail(r, "the plan does not hold", faults.v);
  return SQ_OK;
}

static sq_graph *read_back(run *r, const char *name, const char *text) {
  return sq_graph_read(r->g->ctx, r->g->arena, name, text, strlen(text));
}

static sq_status round_trip(run *r, const char *text) {
  sq_graph *again = read_back(r, "round trip", text);
  if (!again) return fail(r, "the printed graph does not read", sq_diags_render(&r->g->ctx->diags));
  const char *second = graph_text(again);
  if (strcmp(text, second)) return fail(r, "the printed graph reads as another one", second);
  return SQ_OK;
}

// Turns that go by maps or in blocks mean the same to the interpreter, which takes them one by one.
static void check_turns(sq_node *n, void *user) {
  run *r = user;
  bool sweep = n->op == SQ_OP_SWEEP, maps = sweep && n->flag & 1, dense = sweep && n->flag & 4;
  if (r->wrong || !sweep || !(maps || dense || n->extent.i)) return;
  sq_sweep *s = sq_sweep_make(r->g, n);
  if (maps) {
    sq_prefix f = sq_prefix_make(s);
    r->wrong = f.why ? f.why : sq_prefix_check(s, &f, r->o->seed);
  } else if (dense) {
    sq_dense d = sq_dense_make(s);
    r->wrong = d.why ? d.why : sq_dense_check(s, &d, r->o->seed);
  } else {
    sq_chunk c = sq_chunk_make(s);
    r->wrong = c.why ? c.why : sq_chunk_check(s, &c, r->o->seed);
  }
}

static sq_status validate(run *r) {
  sq_graph *old = read_back(r, "before the pass", r->before);
  if (!old) return fail(r, "the graph before it does not read", sq_diags_render(&r->g->ctx->diags));
  const char *difference = sq_validate(old, r->g, r->o->seed);
  if (difference) return fail(r, "it changes the meaning", difference);
  r->wrong = NULL;
  for (uint32_t k = 0; k < r->g->func.n; k++) sq_walk(r->g->func.v[k]->body, check_turns, r);
  return r->wrong ? fail(r, "it takes turns for what they are not", r->wrong) : SQ_OK;
}

// ---- what is shown -----------------------------------------------------------------------------
static sq_status write_dump(run *r, const char *text) {
  const char *why = "";
  const char *path =
      sq_arena_fmt(r->g->arena, "%s/%02u-%s.sir", r->o->dump_dir, r->number, r->pass->name);
  if (sq_file_write(r->g->arena, path, text, strlen(text), &why)) {
    *r->message = sq_arena_fmt(&r->g->ctx->arena, "%s", why);
    return SQ_EWORLD;
  }
  return SQ_OK;
}

static bool wants_print(const run *r) {
  const char *p = r->o->print_after;
  return p && (!strcmp(p, "all") || !strcmp(p, r->pass->name));
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static sq_status run_one(run *r) {
  const sq_pass_options *o = r->o;
  uint32_t errors = r->g->ctx->diags.errors;
  bool print = wants_print(r);
  bool text = print || o->print_changed || o->dump_dir || o->roundtrip_each;
  bool validates = o->validate_each && !(o->int8 && r->pass->run == sq_pass_pack); // it rounds
  if (o->print_changed || validates) r->before = graph_text(r->g);
  double start = now();
  bool changed = r->pass->run(r->g, o);
  double took = now() - start;
  if (o->time_passes)
    fprintf(r->dump, "%-12s %9.3f ms%s\n", r->pass->name, 1e3 * took,
            changed ? "" : "   (no change)");
  if (r->g->ctx->diags.errors > errors) return fail(r, "", sq_diags_render(&r->g->ctx->diags));
  const char *after = text ? graph_text(r->g) : NULL;
  if (print || (o->print_changed && strcmp(r->before, after)))
    fprintf(r->dump, "// after %s\n%s\n", r->pass->name, after);
  if (o->dump_dir) SQ_TRY(write_dump(r, after));
  if (o->verify_each) SQ_TRY(verify(r));
  if (o->roundtrip_each) SQ_TRY(round_trip(r, after));
  return validates && changed ? validate(r) : SQ_OK;
}

sq_status sq_passes_run(sq_graph *g, const char *pipeline, const sq_pass_options *o,
                        const char **message) {
  run r = {.g = g, .o = o, .dump = o->dump ? o->dump : stderr, .message = message};
  int optional = 0;
  uint32_t remarks = g->ctx->remarks.n;
  double start = now();
  for (const char *s = pipeline; *s;) {
    size_t n = strcspn(s, ",");
    const char *name = sq_arena_str(g->arena, s, n);
    s += n + (s[n] == ',');
    if (!*name) continue;
    r.pass = sq_pass_find(name);
    if (!r.pass) {
      *message = sq_arena_fmt(&g->ctx->arena, "no pass is called `%s`", name);
      return SQ_EUSAGE;
    }
    r.number++;
    if (!r.pass->required && o->bisect_limit >= 0) {
      bool skip = optional++ >= o->bisect_limit;
      fprintf(r.dump, "bisect: %d %s%s\n", optional, name, skip ? " (not run)" : "");
      if (skip) continue;
    }
    SQ_TRY(run_one(&r));
  }
  if (o->time_passes) fprintf(r.dump, "%-12s %9.3f ms\n", "all", 1e3 * (now() - start));
  return sq_require_fused(g, o, remarks, message);
}
