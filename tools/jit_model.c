// A planned graph as a model of the runtime whose entries are compiled when first called.
#include "tools/jit_model.h"
#include "runtime/jit.h"

typedef struct holder {
  sq_ctx *ctx;
  bool own_ctx;
  sq_jit *jit;
  sq_abi_hooks inner;
} holder;

// A failed allocation inside the compiler must end here, not where the context was made.
static sq_entry_code compile(void *user, int is_init, uint32_t k, const char **message) {
  holder *h = user;
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
  holder *h = user;
  return h->inner.kernels(h->inner.user, is_init, k);
}

static void release(void *user) {
  holder *h = user;
  sq_jit_free(h->jit);
  if (h->own_ctx) sq_ctx_free(h->ctx); // the holder itself lives in its arena
}

sq_status sq_jit_model(sq_ctx *ctx, bool own_ctx, seqm_context *rt, sq_graph *planned,
                       const sq_target *target, const char *cache_dir, seqm_model **m,
                       const char **message) {
  holder *h = SQ_NEW(&ctx->arena, holder);
  *h = (holder){.ctx = ctx, .own_ctx = own_ctx};
  *message = NULL;
  const sq_abi_model *desc = sq_codegen_describe(planned, target);
  SQ_TRY(sq_jit_new(planned, target, cache_dir, &h->jit, message));
  h->inner = sq_jit_hooks(h->jit);
  sq_abi_hooks hooks = {.user = h, .compile = compile, .release = release};
  hooks.device = h->inner.device;
  if (h->inner.kernels) hooks.kernels = kernels;
  sq_status s = (sq_status)seqm_model_jit(rt, desc, &hooks, m);
  if (s) sq_jit_free(h->jit);
  return s;
}
