// What happens when memory runs out: each scene runs again and again while another allocation
// fails, in turn that one alone and that one with all after it. Whatever fails, the status is clean
// (3, with a message), nothing crashes, and every block is given back; without failures the scene
// succeeds.
//
//   fail_alloc [-s SHARE] SOURCE_DIR [SCENE...]      SHARE 5: a fifth of the turns
//
// Where a scene makes more allocations than it has turns, the failing ones are spread evenly. This
// program is built with arenas that ask for each piece by itself, so that every place where the
// compiler takes memory can fail.
#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "ir/eval.h"
#include "passes/passes.h"
#include "runtime/safetensors.h"
#include "tools/seqm_compiler.h"
#include <stdlib.h>
#include <unistd.h>

static const char *source;
static long share = 1;

typedef struct failing {
  long live, calls, fail_at; // fail_at: the first that gets nothing, 0 for none
  bool for_good;
} failing;

static void *take(void *user, void *p, size_t size) {
  failing *f = user;
  if (!size) {
    f->live -= p != NULL;
    free(p);
    return NULL;
  }
  f->calls++;
  if (f->fail_at && (f->calls == f->fail_at || (f->for_good && f->calls > f->fail_at))) return NULL;
  f->live += p == NULL;
  return realloc(p, size);
}

// ---- scenes of the compiler --------------------------------------------------------------------
static sq_graph *front(sq_ctx *ctx, const char *file) {
  static const char *const defines[] = {"layers=1"};
  sq_front_options o = {.std_path = sq_arena_fmt(&ctx->arena, "%s/lang", source)};
  o.float_type = SQ_F32;
  if (!strncmp(file, "examples/", 9)) o.defines = defines, o.n_defines = 1;
  sq_front_info info = {0};
  return sq_front_compile(ctx, sq_arena_fmt(&ctx->arena, "%s/%s", source, file), &o, &info);
}

static sq_status frontend(sq_ctx *ctx, const char *file) {
  if (!front(ctx, file)) {
    fprintf(stderr, "%s", sq_diags_render(&ctx->diags));
    return SQ_EMODEL;
  }
  sq_text ast = {.arena = &ctx->arena};
  bool ok = sq_front_dump_ast(ctx, sq_arena_fmt(&ctx->arena, "%s/%s", source, file), &ast);
  return ok ? SQ_OK : SQ_EMODEL;
}

// A mistake in the model stays one: the diagnostics themselves need memory.
static sq_status mistakes(sq_ctx *ctx, const char *file) {
  if (front(ctx, file)) return SQ_EMODEL;
  return *sq_diags_render(&ctx->diags) ? SQ_OK : SQ_EMODEL;
}

static sq_status ir_text(sq_ctx *ctx, const char *file) {
  sq_arena *a = &ctx->arena;
  char *text;
  const char *path = sq_arena_fmt(a, "%s/%s", source, file), *why;
  size_t size;
  SQ_TRY(sq_file_read(a, path, &text, &size, &why));
  sq_graph *g = sq_graph_read(ctx, a, path, text, size);
  if (!g) return SQ_EMODEL;
  sq_text out = {.arena = a}, faults = {.arena = a}, dot = {.arena = a};
  sq_graph_print(g, &out);
  if (!sq_graph_verify(g, &faults)) return SQ_EMODEL;
  sq_graph_dot(g, NULL, &dot);
  return SQ_OK;
}

static sq_status passes(sq_ctx *ctx, const char *file) {
  sq_graph *g = front(ctx, file);
  if (!g) return SQ_EMODEL;
  const char *message = "";
  sq_pass_options o = {.bisect_limit = -1, .machine.vector_bytes = 32, .verify_each = true};
  SQ_TRY(sq_passes_run(g, sq_pipeline_cpu, &o, &message));
  sq_target t = {.machine = sq_machine_level(3)};
  sq_text header = {.arena = &ctx->arena};
  sq_codegen_header(sq_codegen_describe(g, &t), "MODEL_H", &header);
  return SQ_OK;
}

static sq_status load(void *user, uint32_t param, uint32_t instance, sq_tensor64 *out) {
  (void)user, (void)param, (void)instance;
  for (int64_t k = 0, n = sq_tensor64_count(out); k < n; k++)
    if (out->f)
      out->f[k] = 0.01 * (double)(k % 7);
    else
      out->i[k] = 0;
  return SQ_OK;
}

static sq_status eval_step(sq_ctx *ctx, sq_eval *e, sq_graph *g) {
  sq_func *f = sq_func_find(g, "step");
  int64_t id = 3;
  sq_tensor64 in = {.dtype = SQ_I32, .i = &id}, *out;
  uint32_t n_out;
  (void)ctx;
  for (int k = 0; k < 2; k++) SQ_TRY(sq_eval_call(e, f, &in, 1, &out, &n_out));
  return sq_eval_reset(e);
}

// The interpreter returns what fails; it does not leave by the guard.
static sq_status eval(sq_ctx *ctx, const char *file) {
  sq_graph *g = front(ctx, file);
  if (!g) return SQ_EMODEL;
  sq_eval *e = sq_eval_new(g, load, NULL);
  if (!e) return SQ_EWORLD;
  sq_status s = eval_step(ctx, e, g);
  sq_eval_free(e);
  return s;
}

static sq_status in_context(sq_alloc alloc, sq_status (*run)(sq_ctx *, const char *),
                            const char *file) {
  sq_ctx *ctx = sq_ctx_new(alloc);
  if (!ctx) return SQ_EWORLD;
  sq_status s = SQ_EWORLD;
  if (!setjmp(ctx->guard.jmp)) s = run(ctx, file);
  sq_ctx_free(ctx);
  return s;
}

// ---- scenes of the C API -----------------------------------------------------------------------
static int call(seqm_context *ctx, seqm_model *m) {
  static int32_t id = 3;
  seqm_tensor in = {.dtype = SEQM_I32, .data = &id}, out = {0};
  const seqm_entry *step = seqm_model_entry(m, "step");
  int s = step ? seqm_model_random_weights(m, 1) : SQ_EMODEL;
  for (int k = 0; k < 2 && !s; k++) {
    s = seqm_call(m, step, &in, 1, &out, 1);
    seqm_tensor_free(ctx, &out);
  }
  return s;
}

static int just_in_time(seqm_context *ctx, const char *path, const seqm_compile_options *o) {
  seqm_model *m;
  int s = seqm_compile(ctx, path, o, &m);
  if (s) return m ? SQ_EMODEL : s;
  s = call(ctx, m);
  seqm_model_free(m);
  return s;
}

// The first, without failures, fills the cache; the others find the model there.
static int cached(seqm_context *ctx, const char *path, const seqm_compile_options *o) {
  seqm_compile_options with = *o;
  with.cache_dir = "fail-alloc.cache";
  return just_in_time(ctx, path, &with);
}

static int ahead_of_time(seqm_context *ctx, const char *path, const seqm_compile_options *o) {
  char object[64], header[64];
  snprintf(object, sizeof object, "fail-alloc-%d.o", (int)getpid());
  snprintf(header, sizeof header, "fail-alloc-%d.h", (int)getpid());
  int s = seqm_compile_to(ctx, path, o, object, header);
  bool made = !access(object, R_OK);
  unlink(object), unlink(header);
  return !s && !made ? SQ_EMODEL : s;
}

static int readers(seqm_context *ctx, const char *path, const seqm_compile_options *o) {
  char name[600];
  sq_safetensors f;
  seqm_tensor t;
  (void)o, (void)path;
  snprintf(name, sizeof name, "%s/tests/models/data/gpt2.safetensors", source);
  int s = sq_safetensors_open(ctx, name, &f);
  if (s) return s;
  sq_safetensors_close(ctx, &f);
  static const char index[] =
      "{\"weight_map\": {\"a.b\": \"1.safetensors\", \"c\": \"2.safetensors\"}}";
  sq_st_index x;
  s = sq_st_index_parse(ctx, "index", index, sizeof index - 1, &x);
  if (s) return s;
  sq_st_index_close(ctx, &x);
  snprintf(name, sizeof name, "%s/tests/models/data/gpt2_logits.npy", source);
  s = seqm_npy_read(ctx, name, &t);
  if (s) return s;
  snprintf(name, sizeof name, "fail-alloc-%d.npy", (int)getpid());
  s = seqm_npy_write(ctx, name, &t);
  seqm_tensor_free(ctx, &t);
  unlink(name);
  return s;
}

typedef int (*api_scene)(seqm_context *, const char *, const seqm_compile_options *);
static sq_status by_api(sq_alloc alloc, api_scene run, const char *file) {
  char path[600], std[600];
  snprintf(path, sizeof path, "%s/%s", source, file);
  snprintf(std, sizeof std, "%s/lang", source);
  static const char *const defines[] = {"layers=1"};
  seqm_compile_options o = {.cache_dir = "", .std_path = std, .defines = defines};
  o.n_defines = !strncmp(file, "examples/", 9);
  seqm_context *ctx =
      seqm_context_new(&(seqm_options){.allocate = alloc.fn, .user = alloc.user, .threads = 1});
  if (!ctx) return SQ_EWORLD;
  int s = run(ctx, path, &o);
  if (s && !*seqm_message(ctx)) {
    fprintf(stderr, "a failure without a message\n");
    s = SQ_EMODEL;
  } else if (s && s != SQ_EWORLD) {
    fprintf(stderr, "status %d: %s\n", s, seqm_message(ctx));
  }
  seqm_context_free(ctx);
  return (sq_status)s;
}

// ---- the table ---------------------------------------------------------------------------------
typedef struct scene {
  const char *name;
  sq_status (*inner)(sq_ctx *, const char *);
  api_scene api; // or through the C API
  const char *file;
  long turns; // at most so many failures
} scene;
static const scene scenes[] = {
    {"frontend-affine", frontend, NULL, "tests/cli/Inputs/affine.seqm", 2000},
    {"frontend-minilm", frontend, NULL, "examples/minilm.seqm", 3000},
    {"frontend-gpt2", frontend, NULL, "examples/gpt2.seqm", 3000},
    {"frontend-llama", frontend, NULL, "examples/llama.seqm", 3000},
    {"mistakes", mistakes, NULL, "tests/sanitize/mistakes.seqm", 2000},
    {"ir-ops", ir_text, NULL, "tests/ir/ops.sir", 2000},
    {"ir-planned", ir_text, NULL, "tests/ir/planned.sir", 2000},
    {"ir-generic", ir_text, NULL, "tests/ops/generic.sir", 2000},
    {"passes-affine", passes, NULL, "tests/cli/Inputs/affine.seqm", 2000},
    {"passes-gpt2", passes, NULL, "examples/gpt2.seqm", 1000},
    {"passes-llama", passes, NULL, "examples/llama.seqm", 1000},
    {"passes-choose", passes, NULL, "tests/passes/choose.seqm", 150},
    {"passes-recast", passes, NULL, "tests/passes/recast.seqm", 150},
    {"passes-siblings", passes, NULL, "tests/passes/siblings.seqm", 150},
    {"passes-blocks", passes, NULL, "tests/passes/blocks_delta.seqm", 150},
    {"passes-prefix", passes, NULL, "tests/passes/prefix_forms.seqm", 150},
    {"passes-selective", passes, NULL, "tests/passes/selective.seqm", 150},
    {"passes-attention", passes, NULL, "tests/passes/attention.seqm", 150},
    {"eval-gpt2", eval, NULL, "examples/gpt2.seqm", 3000},
    {"readers", NULL, readers, "", 2000},
    {"compile-jit", NULL, just_in_time, "examples/gpt2.seqm", 600},
    {"compile-cached", NULL, cached, "examples/gpt2.seqm", 600},
    {"compile-object", NULL, ahead_of_time, "examples/gpt2.seqm", 300},
    {"compile-blocks", NULL, ahead_of_time, "tests/passes/blocks_delta.seqm", 60},
    {"compile-siblings", NULL, ahead_of_time, "tests/passes/siblings.seqm", 60},
    {"compile-prefix", NULL, ahead_of_time, "tests/passes/prefix_forms.seqm", 60},
};

static sq_status play(const scene *s, failing *f) {
  sq_alloc alloc = {take, f};
  return s->api ? by_api(alloc, s->api, s->file) : in_context(alloc, s->inner, s->file);
}

static bool turn(const scene *s, long n, bool for_good) {
  failing f = {.fail_at = n, .for_good = for_good};
  sq_status status = play(s, &f);
  bool ok = status == SQ_OK || (n && status == SQ_EWORLD);
  if (!ok) fprintf(stderr, "%s: allocation %ld fails: status %d\n", s->name, n, (int)status);
  if (f.live)
    fprintf(stderr, "%s: allocation %ld fails: %ld blocks are lost\n", s->name, n, f.live);
  return ok && !f.live;
}

static int run(const scene *s) {
  failing f = {0};
  sq_status status = play(s, &f);
  bool ok = status == SQ_OK && !f.live;
  if (!ok) fprintf(stderr, "%s: status %d, %ld blocks left\n", s->name, (int)status, f.live);
  // Each of the first, then evenly spread ones.
  long done = 0, turns = s->turns / share, dense = turns / 4;
  double step = f.calls > turns ? (double)(f.calls - dense) / (double)(turns - dense) : 1;
  for (double at = 1; ok && at <= (double)f.calls; at += at < (double)dense ? 1 : step, done++)
    ok = turn(s, (long)at, done & 1);
  printf("%s %s: %ld of %ld allocations failed\n", ok ? "ok  " : "FAIL", s->name, done, f.calls);
  return !ok;
}

int main(int argc, char **argv) {
  if (argc > 2 && !strcmp(argv[1], "-s")) {
    share = atol(argv[2]);
    argc -= 2, argv += 2;
  }
  if (argc < 2 || share < 1) {
    fprintf(stderr, "usage: fail_alloc [-s SHARE] SOURCE_DIR [SCENE...]\n");
    return 2;
  }
  source = argv[1];
  int failures = 0;
  for (size_t k = 0; k < sizeof scenes / sizeof *scenes; k++) {
    bool wanted = argc == 2;
    for (int i = 2; i < argc; i++) wanted |= !strncmp(scenes[k].name, argv[i], strlen(argv[i]));
    if (wanted) failures += run(&scenes[k]);
    fflush(stdout);
  }
  return failures != 0;
}
