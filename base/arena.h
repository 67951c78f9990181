// Arenas: memory that is dropped whole. In the compiler an allocation never returns NULL: when the
// allocator fails, control leaves by longjmp to the `sq_guard` of the context, which frees all
// arenas.
#pragma once
#include "base/alloc.h"
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

// Where a failed allocation goes. Owned by whoever called setjmp on `jmp`.
typedef struct sq_guard {
  jmp_buf jmp;
} sq_guard;

typedef struct sq_chunk sq_chunk;
typedef struct sq_arena {
  sq_alloc alloc;
  sq_guard *guard; // NULL only in tools that may exit
  sq_chunk *chunk; // newest first
  char *at, *end;
  size_t total; // bytes taken from the allocator
} sq_arena;

void sq_arena_init(sq_arena *a, sq_alloc alloc, sq_guard *guard);
void sq_arena_free(sq_arena *a);
// Zeroed memory, 16-byte aligned; leaves by the guard when there is none.
void *sq_arena_take(sq_arena *a, size_t size);
char *sq_arena_str(sq_arena *a, const char *s, size_t n); // NUL-terminated copy
char *sq_arena_fmt(sq_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define SQ_NEW(a, T) ((T *)sq_arena_take((a), sizeof(T)))
#define SQ_ARRAY(a, T, n) ((T *)sq_arena_take((a), sizeof(T) * (size_t)(n)))

// Growable arrays: `SQ_VEC(int) xs = {0}; sq_push(a, &xs, 3); xs.v[0]; xs.n`.
#define SQ_VEC(T)                                                                                  \
  struct {                                                                                         \
    T *v;                                                                                          \
    uint32_t n, cap;                                                                               \
  }
#define sq_push(a, vec, ...)                                                                       \
  (sq_vec_grow((a), (void **)&(vec)->v, (vec)->n, &(vec)->cap, sizeof *(vec)->v),                  \
   (vec)->v[(vec)->n++] = (__VA_ARGS__))
void sq_vec_grow(sq_arena *a, void **v, uint32_t n, uint32_t *cap, size_t elem);
