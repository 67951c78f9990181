// libFuzzer: bytes as a model file. Lines `# -D name=value`, `# --preset name` and `# --float type`
// at its beginning are options of the compilation. Either there is a diagnostic, or the graph is
// well-formed, is printed, and reads back to the same text; then it goes through the passes.
#include "frontend/frontend.h"
#include "passes/passes.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A model may ask for more memory than there is; that is a clean end.
enum { ROOM = 256 << 20, HEAD = 16 };
static void *limited(void *user, void *p, size_t size) {
  size_t *used = user, had = p ? *(size_t *)((char *)p - HEAD) : 0;
  if (!size) {
    *used -= had;
    if (p) free((char *)p - HEAD);
    return NULL;
  }
  if (size > ROOM || *used - had + size > ROOM) return NULL;
  char *q = realloc(p ? (char *)p - HEAD : NULL, size + HEAD);
  if (!q) return NULL;
  *used += size - had;
  *(size_t *)q = size;
  return q + HEAD;
}

static void fail(const char *what, const char *text) {
  fprintf(stderr, "%s\n%s\n", what, text);
  abort();
}

static const char *value_of(sq_ctx *ctx, const char *line, size_t n, const char *word) {
  size_t k = strlen(word);
  return n > k && !memcmp(line, word, k) ? sq_arena_str(&ctx->arena, line + k, n - k) : NULL;
}
static void options(sq_ctx *ctx, const char *text, size_t size, sq_front_options *o) {
  SQ_VEC(const char *) defines = {0};
  for (size_t at = 0; at < size;) {
    const char *end = memchr(text + at, '\n', size - at);
    size_t n = end ? (size_t)(end - text) - at : size - at;
    const char *v = value_of(ctx, text + at, n, "# -D ");
    const char *preset = value_of(ctx, text + at, n, "# --preset ");
    const char *type = value_of(ctx, text + at, n, "# --float ");
    if (v) sq_push(&ctx->arena, &defines, v);
    if (preset) o->preset = preset;
    if (type && !strcmp(type, "f64")) o->float_type = SQ_F64;
    if (type && !strcmp(type, "bf16")) o->float_type = SQ_BF16;
    if (!v && !preset && !type) break;
    at += n + 1;
  }
  o->defines = defines.v;
  o->n_defines = defines.n;
}

static void one(sq_ctx *ctx, const char *text, size_t size) {
  sq_arena *a = &ctx->arena;
  sq_front_options o = {.float_type = SQ_F32, .std_path = SEQM_SOURCE_DIR "/lang"};
  options(ctx, text, size, &o);
  sq_front_info info = {0};
  sq_graph *g = sq_front_compile_text(ctx, "fuzz.seqm", text, size, &o, &info);
  if (!g) {
    if (!*sq_diags_render(&ctx->diags)) fail("no graph and no diagnostic", "");
    return;
  }
  sq_text faults = {.arena = a}, first = {.arena = a}, second = {.arena = a};
  if (!sq_graph_verify(g, &faults)) fail("the graph is not well-formed", faults.v);
  sq_graph_print(g, &first);
  sq_graph *again = sq_graph_read(ctx, a, "again.sir", first.v, first.n);
  if (!again) fail(first.v, sq_diags_render(&ctx->diags));
  sq_graph_print(again, &second);
  if (first.n != second.n || memcmp(first.v, second.v, first.n)) fail(first.v, second.v);
  const char *message = "";
  sq_pass_options p = {.bisect_limit = -1, .machine.vector_bytes = 32, .verify_each = true};
  if (sq_passes_run(g, sq_pipeline_cpu, &p, &message)) fail(first.v, message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t used = 0;
  sq_ctx *ctx = sq_ctx_new((sq_alloc){limited, &used});
  if (!ctx) return 0;
  if (!setjmp(ctx->guard.jmp)) one(ctx, (const char *)data, size);
  sq_ctx_free(ctx);
  if (used) fail("memory is lost", "");
  return 0;
}
