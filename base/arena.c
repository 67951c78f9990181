// Arenas: chunks that grow geometrically, zeroed, dropped whole.
#include "base/arena.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct sq_chunk {
  sq_chunk *next;
  size_t size;
};
// A test of failing allocations sets the most to 16: then each piece is asked for by itself.
#ifndef SQ_ARENA_MOST
#define SQ_ARENA_MOST (1u << 20)
#endif
enum { MOST = SQ_ARENA_MOST, LEAST = MOST < 4096 ? MOST : 4096 };
#define HEADER ((sizeof(sq_chunk) + 15u) & ~(size_t)15u)

static void *libc_fn(void *user, void *p, size_t size) {
  (void)user;
  if (size == 0) {
    free(p);
    return NULL;
  }
  return realloc(p, size);
}

sq_alloc sq_alloc_libc(void) { return (sq_alloc){libc_fn, NULL}; }

void sq_arena_init(sq_arena *a, sq_alloc alloc, sq_guard *guard) {
  *a = (sq_arena){.alloc = alloc, .guard = guard};
}

void sq_arena_free(sq_arena *a) {
  for (sq_chunk *c = a->chunk; c;) {
    sq_chunk *next = c->next;
    a->alloc.fn(a->alloc.user, c, 0);
    c = next;
  }
  a->chunk = NULL;
  a->at = a->end = NULL;
  a->total = 0;
}

static _Noreturn void out_of_memory(sq_arena *a) {
  if (a->guard) longjmp(a->guard->jmp, 1);
  fputs("seqm: out of memory\n", stderr);
  exit(3);
}

static void new_chunk(sq_arena *a, size_t need) {
  size_t size = a->total < LEAST ? LEAST : a->total > MOST ? MOST : a->total;
  if (size < need + HEADER) size = need + HEADER;
  sq_chunk *c = need > SIZE_MAX / 2 ? NULL : a->alloc.fn(a->alloc.user, NULL, size);
  if (!c) out_of_memory(a);
  c->next = a->chunk;
  c->size = size;
  a->chunk = c;
  a->at = (char *)c + HEADER;
  a->end = (char *)c + size;
  a->total += size;
}

void *sq_arena_take(sq_arena *a, size_t size) {
  if (size > SIZE_MAX / 2) out_of_memory(a);
  size_t n = (size + 15u) & ~(size_t)15u;
  if ((size_t)(a->end - a->at) < n || !a->at) new_chunk(a, n);
  void *p = a->at;
  a->at += n;
  memset(p, 0, n);
  return p;
}

char *sq_arena_str(sq_arena *a, const char *s, size_t n) {
  char *p = sq_arena_take(a, n + 1);
  if (n) memcpy(p, s, n);
  return p;
}

char *sq_arena_fmt(sq_arena *a, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  size_t size = (size_t)(n < 0 ? 0 : n) + 1;
  char *p = sq_arena_take(a, size);
  va_start(ap, fmt);
  (void)vsnprintf(p, size, fmt, ap);
  va_end(ap);
  return p;
}

void sq_vec_grow(sq_arena *a, void **v, uint32_t n, uint32_t *cap, size_t elem) {
  if (n < *cap) return;
  uint32_t cap2 = *cap ? *cap * 2 : 4;
  if (cap2 <= *cap) out_of_memory(a);
  void *p = sq_arena_take(a, elem * cap2);
  if (n) memcpy(p, *v, elem * n);
  *v = p;
  *cap = cap2;
}
