// A planned graph, or source, as a model of the runtime whose entries are compiled when first
// called.
#include "tools/jit_model.h"
#include "runtime/jit.h"
#include "tools/record.h"

struct sq_live {
  sq_ctx *ctx;
  bool own_ctx;
  sq_jit *jit;
  sq_abi_hooks inner;
  sq_target target;
  sq_graph *graph; // NULL: not needed so far
  // Made from source:
  sq_build build;
  sq_record record;
  bool recorded, recalled; // the record is in use; it was found
};

// ---- what the runtime calls --------------------------------------------------------------------
// A failed allocation inside the compiler must end here, not where the context was made.
static sq_entry_code compile(void *user, int is_init, uint32_t k, const char **message) {
  sq_live *h = user;
  sq_guard saved = h->ctx->guard;
  if (setjmp(h->ctx->guard.jmp)) {
    h->ctx->guard = saved;
    *message = "out of memory while compiling";
    return NULL;
  }
  sq_entry_code code = h->inner.compile(h->inner.user, is_init, k, message);
  h->ctx->guard = saved;
  return code;
}

static void *kernels(void *user, int is_init, uint32_t k) {
  sq_live *h = user;
  return h->inner.kernels(h->inner.user, is_init, k);
}

static const sq_abi_kernels *images(void *user, int is_init, uint32_t k) {
  sq_live *h = user;
  return h->inner.images(h->inner.user, is_init, k);
}

static void use_gpu(void *user, const sq_abi_gpu *gpu) {
  sq_live *h = user;
  h->inner.gpu(h->inner.user, gpu);
}

static void release(void *user) {
  sq_live *h = user;
  sq_jit_free(h->jit);
  if (h->own_ctx) sq_ctx_free(h->ctx); // the holder itself lives in its arena
}

// ---- what the JIT calls ------------------------------------------------------------------------
static sq_graph *graph_of(void *user, const char **message) { return sq_live_graph(user, message); }

static bool known(void *user, int is_init, uint32_t k, sq_cache_key *object) {
  const sq_live *h = user;
  return h->recorded && sq_record_known(&h->record, is_init, k, object);
}

static void made(void *user, int is_init, uint32_t k, sq_cache_key object) {
  sq_live *h = user;
  if (h->recorded) sq_record_add(h->ctx, &h->record, is_init, k, object);
}

static sq_status start(sq_live *h, seqm_context *rt, const sq_abi_model *desc,
                       const char *cache_dir, seqm_model **m, const char **message) {
  const sq_jit_source source = {.user = h, .graph = graph_of, .known = known, .made = made};
  *message = NULL;
  SQ_TRY(sq_jit_open(h->ctx, desc, &h->target, cache_dir, &source, &h->jit, message));
  h->inner = sq_jit_hooks(h->jit);
  sq_abi_hooks hooks = {.user = h, .compile = compile, .release = release};
  hooks.device = h->inner.device;
  if (h->inner.kernels) hooks.kernels = kernels;
  if (h->inner.images) hooks.images = images;
  if (h->inner.gpu) hooks.gpu = use_gpu;
  sq_status s = (sq_status)seqm_model_jit(rt, desc, &hooks, m);
  if (s) sq_jit_free(h->jit);
  return s;
}

sq_status sq_jit_model(sq_ctx *ctx, bool own_ctx, seqm_context *rt, sq_graph *planned,
                       const sq_target *target, const char *cache_dir, seqm_model **m,
                       const char **message) {
  sq_live *h = SQ_NEW(&ctx->arena, sq_live);
  *h = (sq_live){.ctx = ctx, .own_ctx = own_ctx, .graph = planned, .target = *target};
  return start(h, rt, sq_codegen_describe(planned, target), cache_dir, m, message);
}

// ---- from source -------------------------------------------------------------------------------
static const char *kept(sq_arena *a, const char *s) {
  return s ? sq_arena_str(a, s, strlen(s)) : NULL;
}

// The options outlive the call that brought them: the graph may be made much later.
static sq_build copy(sq_arena *a, const sq_build *b) {
  sq_build c = *b;
  const char **defines = SQ_ARRAY(a, const char *, b->front.n_defines + 1);
  for (uint32_t k = 0; k < b->front.n_defines; k++) defines[k] = kept(a, b->front.defines[k]);
  c.front.defines = defines;
  c.front.preset = kept(a, b->front.preset);
  c.front.std_path = kept(a, b->front.std_path);
  c.cpu = kept(a, b->cpu);
  c.arch = kept(a, b->arch);
  c.cache_dir = kept(a, b->cache_dir);
  return c;
}

// From the very texts that the record was compared with, whatever has become of the files.
sq_graph *sq_live_graph(sq_live *h, const char **message) {
  if (h->graph) return h->graph;
  const sq_source *main = &h->record.files[0];
  h->build.front.files = h->record.files;
  h->build.front.n_files = h->record.n_files;
  sq_graph *g;
  if (sq_build_text(h->ctx, main->name, main->text, main->size, &h->build, &g, NULL, message) ||
      sq_build_plan(g, &h->build, &h->target, message))
    return NULL;
  return h->graph = g;
}

bool sq_live_recalled(const sq_live *h) { return h->recalled; }

static void warn(const sq_live_ask *ask, const char *warnings) {
  if (ask->warn && *warnings) ask->warn(warnings);
}

static sq_status build(sq_live *h, const sq_live_ask *ask, const sq_source *main,
                       const char **message) {
  sq_front_info info = {0};
  sq_graph *g;
  SQ_TRY(sq_build_text(h->ctx, main->name, main->text, main->size, &h->build, &g, &info, message));
  const char *warnings = sq_diags_render(&h->ctx->diags);
  warn(ask, warnings);
  SQ_TRY(sq_build_plan(g, &h->build, &h->target, message));
  h->graph = g;
  sq_record_fill(h->ctx, &info, warnings, sq_codegen_describe(g, &h->target), &h->record);
  return SQ_OK;
}

static sq_status main_text(sq_ctx *ctx, const sq_live_ask *ask, sq_source *s,
                           const char **message) {
  *s = (sq_source){kept(&ctx->arena, ask->path), ask->text, ask->size};
  if (!ask->text) return sq_build_read(ctx, s, message);
  s->text = sq_arena_str(&ctx->arena, ask->text, ask->size);
  return SQ_OK;
}

sq_status sq_live_open(sq_ctx *ctx, seqm_context *rt, const sq_live_ask *ask, sq_live **live,
                       seqm_model **m, const char **message) {
  sq_live *h = SQ_NEW(&ctx->arena, sq_live);
  *h = (sq_live){.ctx = ctx, .own_ctx = ask->own_ctx, .build = copy(&ctx->arena, ask->build)};
  const char *dir = ask->build->cache_dir ? ask->build->cache_dir : sq_build_cache_dir(ctx);
  if (dir && !*dir) dir = NULL;
  sq_source main;
  *live = h;
  if (sq_build_is_ir(ask->path) && !ask->text) { // read as fast as a record
    SQ_TRY(sq_build_graph(ctx, ask->path, &h->build, &h->graph, NULL, message));
    SQ_TRY(sq_build_plan(h->graph, &h->build, &h->target, message));
    return start(h, rt, sq_codegen_describe(h->graph, &h->target), dir, m, message);
  }
  SQ_TRY(main_text(ctx, ask, &main, message));
  const char *note;
  SQ_TRY(sq_build_target(ctx, &h->build, &h->target, &note, message));
  sq_target *found = SQ_NEW(&ctx->arena, sq_target);
  *found = h->target;
  h->build.target = found; // the graph may be made when the cache holds something else
  if (note) warn(ask, sq_arena_fmt(&ctx->arena, "seqm: note: %s\n", note));
  h->recorded = h->build.device == SQ_DEVICE_HOST &&
                sq_record_begin(ctx, dir, main.name, &h->build, &h->target, &h->record);
  h->recalled = h->recorded && sq_record_find(ctx, main.name, main.text, main.size, &h->record);
  if (h->recalled)
    warn(ask, h->record.warnings);
  else
    SQ_TRY(build(h, ask, &main, message));
  return start(h, rt, h->record.model, dir, m, message);
}
