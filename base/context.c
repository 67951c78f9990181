// One compilation's memory, names, diagnostics, remarks.
#include "base/context.h"
#include <stdarg.h>

sq_ctx *sq_ctx_new(sq_alloc alloc) {
  sq_ctx *ctx = alloc.fn(alloc.user, NULL, sizeof *ctx);
  if (!ctx) return NULL;
  memset(ctx, 0, sizeof *ctx);
  ctx->alloc = alloc;
  sq_arena_init(&ctx->arena, alloc, &ctx->guard);
  if (setjmp(ctx->guard.jmp)) {
    sq_ctx_free(ctx);
    return NULL;
  }
  sq_names_init(&ctx->names, &ctx->arena);
  sq_diags_init(&ctx->diags, &ctx->arena);
  return ctx;
}

void sq_ctx_free(sq_ctx *ctx) {
  if (!ctx) return;
  sq_alloc alloc = ctx->alloc;
  sq_arena_free(&ctx->arena);
  alloc.fn(alloc.user, ctx, 0);
}

void sq_remark_add(sq_ctx *ctx, const char *pass, bool fired, sq_span span, const char *entry,
                   const char *fmt, ...) {
  char text[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  sq_push(&ctx->arena, &ctx->remarks,
          (sq_remark){.pass = pass,
                      .fired = fired,
                      .span = span,
                      .entry = entry,
                      .text = sq_arena_str(&ctx->arena, text, strlen(text))});
}

void sq_remark_found(sq_ctx *ctx, const char *pass, sq_span span, const char *entry,
                     const char *text) {
  sq_push(&ctx->arena, &ctx->remarks,
          (sq_remark){.pass = pass,
                      .found = true,
                      .span = span,
                      .entry = entry,
                      .text = sq_arena_str(&ctx->arena, text, strlen(text))});
}
