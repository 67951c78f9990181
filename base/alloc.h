// The allocator that a host program may supply; everything in seqm allocates through one.
#pragma once
#include <stddef.h>

// One function does it all, as in `realloc`: p == NULL allocates, size == 0 frees (returns NULL),
// otherwise resizes. Alignment is at least 16. Returns NULL when there is no memory.
typedef struct sq_alloc {
  void *(*fn)(void *user, void *p, size_t size);
  void *user;
} sq_alloc;

sq_alloc sq_alloc_libc(void);
