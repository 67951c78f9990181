// What one compilation owns: its memory, names, diagnostics and remarks.
#pragma once
#include "base/diag.h"
#include "base/text.h"

// What a pass did, or did not do and why; `seqm explain` prints them.
typedef struct sq_remark {
  const char *pass; // "fuse", "softmax", "plan", ...
  bool fired;
  bool found; // says what is there, not what was done
  sq_span span;
  const char *entry; // entry in which it happened, or NULL
  const char *text;  // "fused bias, gelu into the contraction over k"
  // Of what was not done: the operation and the one that it stays apart from, by number + 1 (0: none),
  // and the place of what stands in the way.
  uint32_t subject, apart;
  sq_span obstacle;
} sq_remark;

typedef struct sq_ctx {
  sq_guard guard; // set by whoever starts the compilation: `if (setjmp(ctx->guard.jmp)) oom`
  sq_alloc alloc;
  sq_arena arena; // lives as long as the context
  sq_names names;
  sq_diags diags;
  SQ_VEC(sq_remark) remarks;
} sq_ctx;

// Returns NULL when there is no memory.
sq_ctx *sq_ctx_new(sq_alloc alloc);
void sq_ctx_free(sq_ctx *ctx);
void sq_remark_add(sq_ctx *ctx, const char *pass, bool fired, sq_span span, const char *entry,
                   const char *fmt, ...) __attribute__((format(printf, 6, 7)));
// What a pass found in the program, whatever becomes of it.
void sq_remark_found(sq_ctx *ctx, const char *pass, sq_span span, const char *entry,
                     const char *text);
