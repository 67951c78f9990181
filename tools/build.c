// From a model file to a graph, checked or planned.
#define _GNU_SOURCE // dladdr
#include "tools/build.h"
#include "tools/peak.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

sq_status sq_build_float(const char *name, sq_dtype *t) {
  static const sq_dtype allowed[] = {SQ_F32, SQ_BF16, SQ_F64};
  *t = SQ_F32;
  if (!name) return SQ_OK;
  for (unsigned k = 0; k < sizeof allowed / sizeof *allowed; k++)
    if (!strcmp(name, sq_dtype_table[allowed[k]].name)) {
      *t = allowed[k];
      return SQ_OK;
    }
  return SQ_EUSAGE;
}

const char *sq_build_folder(sq_ctx *ctx) {
  Dl_info info;
  if (!dladdr((void *)(uintptr_t)&sq_build_std_path, &info) || !info.dli_fname) return NULL;
  char *path = realpath(info.dli_fname, NULL);
  if (!path) { // the command itself may be known by its name alone
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return NULL;
    self[n] = 0;
    char *cut = strrchr(self, '/');
    return cut ? sq_arena_str(&ctx->arena, self, (size_t)(cut - self)) : NULL;
  }
  char copy[4096];
  snprintf(copy, sizeof copy, "%s", path);
  free(path);
  char *slash = strrchr(copy, '/');
  return slash ? sq_arena_str(&ctx->arena, copy, (size_t)(slash - copy)) : NULL;
}

const char *sq_build_std_path(sq_ctx *ctx) {
  static const char *const places[] = {
      "lang", "../lang", "../share/seqm", "../../share/seqm", "../../../share/seqm", "../../lang"};
  const char *here = sq_build_folder(ctx);
  if (!here) return NULL;
  for (unsigned k = 0; k < sizeof places / sizeof *places; k++) {
    const char *dir = sq_arena_fmt(&ctx->arena, "%s/%s", here, places[k]);
    if (!access(sq_arena_fmt(&ctx->arena, "%s/std/nn.seqm", dir), R_OK)) return dir;
  }
  return NULL;
}

const char *sq_build_cache_dir(sq_ctx *ctx) {
  const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (xdg && *xdg == '/') return sq_arena_fmt(&ctx->arena, "%s/seqm", xdg);
  if (home && *home == '/') return sq_arena_fmt(&ctx->arena, "%s/.cache/seqm", home);
  return NULL;
}

static sq_status finish(sq_ctx *ctx, sq_graph *g, const char **message) {
  if (g && !ctx->diags.errors) return SQ_OK;
  *message = sq_diags_render(&ctx->diags);
  bool placed = false; // what stands nowhere in a file came with the command line
  for (uint32_t k = 0; k < ctx->diags.list.n; k++)
    placed |= ctx->diags.list.v[k]->labels.v[0].span.file != 0;
  if (ctx->diags.list.n && !placed) return SQ_EUSAGE;
  if (!**message) *message = "the model could not be read";
  return SQ_EMODEL;
}

static sq_front_options options(sq_ctx *ctx, const sq_build *b) {
  sq_front_options o = b->front;
  if (!o.std_path) o.std_path = sq_build_std_path(ctx);
  return o;
}

static sq_status read_ir(sq_ctx *ctx, const char *path, sq_graph **g, const char **message) {
  char *text;
  size_t size;
  SQ_TRY(sq_file_read(&ctx->arena, path, &text, &size, message));
  *g = sq_graph_read(ctx, &ctx->arena, path, text, size);
  SQ_TRY(finish(ctx, *g, message));
  sq_text faults = {.arena = &ctx->arena};
  if (sq_graph_verify(*g, &faults)) return SQ_OK;
  *message = faults.v;
  return SQ_EMODEL;
}

bool sq_build_is_ir(const char *path) {
  size_t n = strlen(path);
  return n > 4 && !strcmp(path + n - 4, ".sir");
}

sq_status sq_build_read(sq_ctx *ctx, sq_source *s, const char **message) {
  struct stat st;
  char *text;
  if (!access(s->name, R_OK) && !stat(s->name, &st) && S_ISREG(st.st_mode)) {
    SQ_TRY(sq_file_read(&ctx->arena, s->name, &text, &s->size, message));
    s->text = text;
    return SQ_OK;
  }
  *message = sq_arena_fmt(&ctx->arena, "%s: cannot be read", s->name);
  (void)sq_file_read(&ctx->arena, s->name, &text, &s->size, message); // says why
  return SQ_EWORLD;
}

sq_status sq_build_text(sq_ctx *ctx, const char *name, const char *text, size_t size,
                        const sq_build *b, sq_graph **g, sq_front_info *info,
                        const char **message) {
  sq_front_options o = options(ctx, b);
  *g = sq_front_compile_text(ctx, name, text, size, &o, info);
  return finish(ctx, *g, message);
}

sq_status sq_build_graph(sq_ctx *ctx, const char *path, const sq_build *b, sq_graph **g,
                         sq_front_info *info, const char **message) {
  if (sq_build_is_ir(path)) return read_ir(ctx, path, g, message);
  sq_source s = {.name = path};
  SQ_TRY(sq_build_read(ctx, &s, message));
  return sq_build_text(ctx, path, s.text, s.size, b, g, info, message);
}

sq_status sq_build_target(sq_ctx *ctx, const sq_build *b, sq_target *target, const char **note,
                          const char **message) {
  const char *dir = b->cache_dir ? b->cache_dir : sq_build_cache_dir(ctx);
  *note = NULL;
  if (b->target) {
    *target = *b->target;
    return SQ_OK;
  }
  SQ_TRY(sq_target_find(ctx, b->cpu ? b->cpu : "native", target, message));
  target->device = b->device;
  target->arch = b->arch;
  target->tf32 = b->tf32;
  bool here = !b->cpu || !strcmp(b->cpu, "native");
  if (!here || b->device || !dir || !*dir) return SQ_OK;
  sq_rates rates;
  bool broken = false;
  if (sq_peak_known(ctx, dir, target, &rates)) sq_machine_calibrate(&target->machine, &rates);
  target->tuned = sq_tuned_load(&ctx->arena, dir, target, &broken);
  if (broken)
    *note = sq_arena_fmt(&ctx->arena, "what --tune found in %s is damaged and not used", dir);
  return SQ_OK;
}

sq_status sq_build_plan(sq_graph *g, const sq_build *b, sq_target *target, const char **message) {
  const char *note;
  SQ_TRY(sq_build_target(g->ctx, b, target, &note, message));
  if (note) sq_remark_add(g->ctx, "tune", false, (sq_span){0}, NULL, "%s", note);
  sq_pass_options o = b->pass;
  o.machine = target->machine;
  o.device = b->device != 0;
  return sq_passes_run(g, b->device ? sq_pipeline_device : sq_pipeline_cpu, &o, message);
}
