// The context: memory, threads and the message of the last failure; also the names of types.
#define _GNU_SOURCE
#include "runtime/cuda.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_THREADS = 1024 };

static void *libc_alloc(void *user, void *p, size_t size) {
  (void)user;
  if (size) return realloc(p, size);
  free(p);
  return NULL;
}

// --- memory -------------------------------------------------------------------------------------
void *sq_mem_resize(seqm_context *ctx, void *p, size_t size) {
  return ctx->alloc.fn(ctx->alloc.user, p, size ? size : 1);
}

void *sq_mem_get(seqm_context *ctx, size_t size) {
  void *p = sq_mem_resize(ctx, NULL, size);
  if (p) memset(p, 0, size);
  return p;
}

void *sq_mem_get_array(seqm_context *ctx, size_t n, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(n, size, &bytes)) return NULL;
  return sq_mem_get(ctx, bytes);
}

void sq_mem_drop(seqm_context *ctx, void *p) {
  if (p) ctx->alloc.fn(ctx->alloc.user, p, 0);
}

char *sq_mem_text(seqm_context *ctx, const char *s) {
  size_t n = strlen(s) + 1;
  char *t = sq_mem_resize(ctx, NULL, n);
  if (t) memcpy(t, s, n);
  return t;
}

// Large pages: fewer faults at first, fewer misses of the address cache in every pass over the data.
static void advise_large(void *p, size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  enum { LEAST = 4 << 20, PAGE = 4096 };
  uintptr_t from = ((uintptr_t)p + PAGE - 1) & -(uintptr_t)PAGE,
            to = ((uintptr_t)p + size) & -(uintptr_t)PAGE;
  if (size >= LEAST) madvise((void *)from, to - from, MADV_HUGEPAGE);
#else
  (void)p;
  (void)size;
#endif
}

// The block's own address stands in the word before the aligned part.
void *sq_mem_get_aligned(seqm_context *ctx, size_t size) {
  size_t bytes;
  if (__builtin_add_overflow(size, SQ_ALIGN + sizeof(void *), &bytes)) return NULL;
  char *base = sq_mem_resize(ctx, NULL, bytes);
  if (!base) return NULL;
  uintptr_t at = (uintptr_t)base + sizeof(void *);
  char *p = base + sizeof(void *) + (-at & (SQ_ALIGN - 1));
  memcpy(p - sizeof(void *), &base, sizeof base);
  advise_large(p, size);
  return p;
}

void sq_mem_drop_aligned(seqm_context *ctx, void *p) {
  if (!p) return;
  void *base;
  memcpy(&base, (char *)p - sizeof(void *), sizeof base);
  sq_mem_drop(ctx, base);
}

// --- the message --------------------------------------------------------------------------------
void sq_message_clear(seqm_context *ctx) {
  ctx->text_n = 0;
  ctx->text[0] = 0;
}

static void message_room(seqm_context *ctx, size_t more) {
  if (ctx->text_n + more < ctx->text_cap) return;
  size_t cap = (ctx->text_n + more + 1) * 2;
  char *t = sq_mem_resize(ctx, ctx->text == ctx->spare ? NULL : ctx->text, cap);
  if (!t) return;
  if (ctx->text == ctx->spare) memcpy(t, ctx->spare, ctx->text_n + 1);
  ctx->text = t;
  ctx->text_cap = cap;
}

static void message_addv(seqm_context *ctx, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, again);
  va_end(again);
  if (n <= 0) return;
  message_room(ctx, (size_t)n);
  size_t room = ctx->text_cap - ctx->text_n;
  vsnprintf(ctx->text + ctx->text_n, room, fmt, ap);
  ctx->text_n += (size_t)n < room ? (size_t)n : room - 1;
}

void sq_message_add(seqm_context *ctx, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  message_addv(ctx, fmt, ap);
  va_end(ap);
}

void sq_message_shape(seqm_context *ctx, int dtype, uint32_t rank, const int64_t *dim) {
  sq_message_add(ctx, "%s[", dtype < 0 ? "" : sq_rt_dtype((uint32_t)dtype));
  for (uint32_t k = 0; k < rank; k++)
    sq_message_add(ctx, "%s%lld", k ? ", " : "", (long long)dim[k]);
  sq_message_add(ctx, "]");
}

int sq_rt_fail(seqm_context *ctx, int status, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  sq_message_clear(ctx);
  message_addv(ctx, fmt, ap);
  va_end(ap);
  return status;
}

int sq_rt_given(seqm_context *ctx, const void *p, const char *what) {
  return p ? SQ_OK : sq_rt_fail(ctx, SQ_EUSAGE, "%s is NULL", what);
}

int sq_rt_no_memory(seqm_context *ctx) { return sq_rt_fail(ctx, SQ_EWORLD, "out of memory"); }

const char *seqm_message(const seqm_context *ctx) { return ctx ? ctx->text : "out of memory"; }

// --- the context --------------------------------------------------------------------------------
static int threads_wanted(int threads) {
  if (threads < 1) threads = sq_pool_cores();
  return threads > MAX_THREADS ? MAX_THREADS : threads;
}

static void use_own_pool(seqm_context *ctx, sq_pool *pool) {
  ctx->own = pool;
  ctx->pool = pool;
  ctx->parallel = sq_pool_run;
}

seqm_context *seqm_context_new(const seqm_options *o) {
  static const seqm_options none;
  if (!o) o = &none;
  sq_alloc a = {o->allocate ? o->allocate : libc_alloc, o->user};
  seqm_context *ctx = a.fn(a.user, NULL, sizeof *ctx);
  if (!ctx) return NULL;
  memset(ctx, 0, sizeof *ctx);
  ctx->alloc = a;
  ctx->text = ctx->spare;
  ctx->text_cap = sizeof ctx->spare;
  ctx->threads = threads_wanted(o->threads);
  ctx->parallel = o->parallel;
  ctx->pool = o->pool;
  if (!o->parallel) {
    sq_pool *pool = sq_pool_new(a, ctx->threads);
    if (!pool) {
      a.fn(a.user, ctx, 0);
      return NULL;
    }
    use_own_pool(ctx, pool);
  }
  return ctx;
}

void seqm_context_free(seqm_context *ctx) {
  if (!ctx) return;
  sq_gpu_release(ctx->gpu);
  sq_pool_free(ctx->own);
  if (ctx->text != ctx->spare) sq_mem_drop(ctx, ctx->text);
  sq_mem_drop(ctx, ctx);
}

int seqm_set_threads(seqm_context *ctx, int threads) {
  sq_message_clear(ctx);
  if (threads < 0) return sq_rt_fail(ctx, SQ_EUSAGE, "%d threads: must not be negative", threads);
  threads = threads_wanted(threads);
  if (ctx->own && threads != ctx->threads) {
    sq_pool *pool = sq_pool_new(ctx->alloc, threads);
    if (!pool) return sq_rt_no_memory(ctx);
    sq_pool_free(ctx->own);
    use_own_pool(ctx, pool);
  }
  ctx->threads = threads;
  return SQ_OK;
}

// --- types and shapes ---------------------------------------------------------------------------
static const struct {
  const char *name;
  size_t bytes;
} dtypes[] = {
    [SEQM_F64] = {"f64", 8},   [SEQM_F32] = {"f32", 4}, [SEQM_F16] = {"f16", 2},
    [SEQM_BF16] = {"bf16", 2}, [SEQM_I64] = {"i64", 8}, [SEQM_I32] = {"i32", 4},
    [SEQM_I8] = {"i8", 1},     [SEQM_U8] = {"u8", 1},   [SEQM_BOOL] = {"bool", 1},
};
enum { N_DTYPES = sizeof dtypes / sizeof dtypes[0] };

const char *sq_rt_dtype(uint32_t t) { return t < N_DTYPES ? dtypes[t].name : "?"; }

size_t seqm_dtype_size(seqm_dtype t) { return (uint32_t)t < N_DTYPES ? dtypes[t].bytes : 0; }

bool sq_shape_bytes(uint32_t dtype, uint32_t rank, const int64_t *dim, size_t *bytes) {
  size_t n = seqm_dtype_size((seqm_dtype)dtype);
  bool empty = false;
  for (uint32_t k = 0; k < rank; k++) {
    if (dim[k] < 0) return false;
    empty |= dim[k] == 0;
  }
  if (!empty)
    for (uint32_t k = 0; k < rank; k++)
      if (__builtin_mul_overflow(n, (size_t)dim[k], &n)) return false;
  *bytes = empty ? 0 : n;
  return n <= PTRDIFF_MAX;
}

const char *seqm_version(void) { return SEQM_VERSION; }
