// libFuzzer: bytes as IR text. What is read is printed, must read back and print alike, and is
// verified; a graph without faults is drawn as well.
#include "ir/ir.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(sq_ctx *ctx, const char *text, size_t size) {
  sq_arena *a = &ctx->arena;
  sq_graph *g = sq_graph_read(ctx, a, "fuzz.sir", text, size);
  if (!g) {
    if (!*sq_diags_render(&ctx->diags)) abort();
    return;
  }
  sq_text first = {.arena = a}, second = {.arena = a}, faults = {.arena = a}, dot = {.arena = a};
  sq_graph_print(g, &first);
  sq_graph *again = sq_graph_read(ctx, a, "again.sir", first.v, first.n);
  if (!again) {
    fprintf(stderr, "%s\n%s\n", first.v, sq_diags_render(&ctx->diags));
    abort();
  }
  sq_graph_print(again, &second);
  if (first.n != second.n || memcmp(first.v, second.v, first.n)) {
    fprintf(stderr, "%s\n%s\n", first.v, second.v);
    abort();
  }
  if (sq_graph_verify(g, &faults)) sq_graph_dot(g, NULL, &dot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  if (!ctx) return 0;
  if (!setjmp(ctx->guard.jmp)) one(ctx, (const char *)data, size);
  sq_ctx_free(ctx);
  return 0;
}
