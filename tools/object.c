// Ahead of time: model file -> object or shared object, and header.
#include "tools/object.h"
#include <ctype.h>
#include <unistd.h>

static bool ends_in(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n > m && !strcmp(s + n - m, end);
}

// MINILM_H from "out/minilm.h".
static const char *guard_of(sq_ctx *ctx, const char *header) {
  const char *base = strrchr(header, '/');
  char *g = sq_arena_fmt(&ctx->arena, "SEQM_%s", base ? base + 1 : header);
  for (char *s = g; *s; s++)
    *s = isalnum((unsigned char)*s) ? (char)toupper((unsigned char)*s) : '_';
  return g;
}

// libseqm_rt.a: beside the command or library, or in the install prefix; in a folder of the
// processor's name for another processor.
static const char *runtime_library(sq_ctx *ctx, const sq_target *t, const char **message) {
  static const char *const places[] = {"%s/runtime/%slibseqm_rt.a", "%s/%slibseqm_rt.a",
                                       "%s/../lib/%slibseqm_rt.a", "%s/../runtime/%slibseqm_rt.a"};
#if defined(__aarch64__)
  bool other = strncmp(t->triple, "aarch64", 7) != 0;
#else
  bool other = strncmp(t->triple, "aarch64", 7) == 0;
#endif
  const char *folder = !other ? "" : strncmp(t->triple, "aarch64", 7) ? "x86_64/" : "aarch64/";
  const char *here = sq_build_folder(ctx);
  for (unsigned k = 0; here && k < sizeof places / sizeof *places; k++) {
    sq_text path = {.arena = &ctx->arena};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    sq_text_add(&path, places[k], here, folder);
#pragma GCC diagnostic pop
    if (!access(path.v, R_OK)) return path.v;
  }
  *message =
      sq_arena_fmt(&ctx->arena, "%slibseqm_rt.a is neither beside the command nor installed%s",
                   folder, other ? ": build the runtime for that processor first" : "");
  return NULL;
}

sq_status sq_build_object(sq_ctx *ctx, const char *path, const sq_build *b, const char *output,
                          const char *header, const char **message) {
  bool shared = ends_in(output, ".so");
  if (!shared && !ends_in(output, ".o")) {
    *message = sq_arena_fmt(&ctx->arena, "the output must end in .so or .o, not `%s`", output);
    return SQ_EUSAGE;
  }
  if (header && (!strcmp(header, output) || !strcmp(header, path))) {
    *message = sq_arena_fmt(&ctx->arena, "the header cannot be `%s`, which is the %s", header,
                            strcmp(header, path) ? "output" : "model");
    return SQ_EUSAGE;
  }
  sq_graph *g;
  sq_target target;
  SQ_TRY(sq_target_find(ctx, b->cpu ? b->cpu : "native", &target, message)); // before the long work
  SQ_TRY(sq_build_graph(ctx, path, b, &g, NULL, message));
  SQ_TRY(sq_build_plan(g, b, &target, message));
  const char *object =
      shared ? sq_arena_fmt(&ctx->arena, "%s.%ld.o", output, (long)getpid()) : output;
  SQ_TRY(sq_codegen_object(g, &target, object, message));
  if (shared) {
    const char *library = runtime_library(ctx, &target, message);
    sq_status s =
        library ? sq_codegen_link(ctx, &target, object, library, output, message) : SQ_EWORLD;
    unlink(object);
    SQ_TRY(s);
  }
  if (!header) return SQ_OK;
  sq_text t = {.arena = &ctx->arena};
  sq_codegen_header(sq_codegen_describe(g, &target), guard_of(ctx, header), &t);
  return sq_file_write(&ctx->arena, header, t.v, t.n, message);
}
