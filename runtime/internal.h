// What the runtime's files share: the context, its memory and its message.
//
// Everything is allocated through the context's allocator and every failure is a status: 0, or
// `return sq_rt_fail(ctx, SQ_E..., "...")`, which sets the context's message. Memory got here is
// dropped here; tensors' data, arenas, weights and states come from the 64-byte aligned pair.
#pragma once
#include "base/alloc.h"
#include "base/status.h"
#include "runtime/abi.h"
#include "runtime/pool.h"
#include "runtime/seqm.h"
#include <stdbool.h>

#define SQ_ALIGN 64

typedef struct sq_gpu sq_gpu; // cuda.h

struct seqm_context {
  sq_alloc alloc;
  int threads;
  void (*parallel)(void *pool, int64_t n_tasks, sq_task fn, void *closure);
  void *pool;
  sq_pool *own; // NULL when the host gave its pool
  char *text;   // the message: `spare`, or memory of its own when longer
  size_t text_n, text_cap;
  char spare[512];
  sq_gpu *gpu; // NULL: no model has asked for a device
};

// --- memory: NULL when there is none; get is zeroed, get_aligned is not -------------------------
void *sq_mem_get(seqm_context *ctx, size_t size);
void *sq_mem_get_array(seqm_context *ctx, size_t n, size_t size); // NULL on overflow too
void *sq_mem_resize(seqm_context *ctx, void *p, size_t size);
void sq_mem_drop(seqm_context *ctx, void *p);
char *sq_mem_text(seqm_context *ctx, const char *s);
void *sq_mem_get_aligned(seqm_context *ctx, size_t size); // size 0 gives a valid pointer too
void sq_mem_drop_aligned(seqm_context *ctx, void *p);

// --- the message --------------------------------------------------------------------------------
void sq_message_clear(seqm_context *ctx);
// Appends; cut short when there is no memory.
void sq_message_add(seqm_context *ctx, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Appends `f32[2, 7]`; `dtype` < 0 leaves the type out.
void sq_message_shape(seqm_context *ctx, int dtype, uint32_t rank, const int64_t *dim);
// Replaces the message and returns `status`.
int sq_rt_fail(seqm_context *ctx, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int sq_rt_no_memory(seqm_context *ctx); // SQ_EWORLD
// SQ_EUSAGE where a caller gives NULL for what it must give: "the path is NULL".
int sq_rt_given(seqm_context *ctx, const void *p, const char *what);

// --- types and shapes ---------------------------------------------------------------------------
const char *sq_rt_dtype(uint32_t t); // "f32"
// Bytes of a dense tensor; false when negative or more than memory can hold.
bool sq_shape_bytes(uint32_t dtype, uint32_t rank, const int64_t *dim, size_t *bytes);

static inline void sq_context_parallel(seqm_context *ctx, int64_t n, sq_task fn, void *closure) {
  ctx->parallel(ctx->pool, n, fn, closure);
}
