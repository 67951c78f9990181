// Growing text, interned names, reading and atomically writing files.
#pragma once
#include "base/arena.h"
#include "base/status.h"
#include <stdbool.h>
#include <stdio.h>

// Text being built in an arena; `v` is always NUL-terminated once something was added.
typedef struct sq_text {
  sq_arena *arena;
  char *v;
  size_t n, cap;
} sq_text;
void sq_text_add(sq_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sq_text_put(sq_text *t, const char *s, size_t n);

// Interned names: equal text gives the same pointer, for the life of the interner's arena.
typedef struct sq_names {
  sq_arena *arena;
  const char **slot;
  uint32_t n, cap; // cap is a power of two
} sq_names;
void sq_names_init(sq_names *ns, sq_arena *arena);
const char *sq_intern(sq_names *ns, const char *s, size_t n);
const char *sq_intern_z(sq_names *ns, const char *s);

// Reads a whole file into the arena; on failure `*why` says why (in the arena).
sq_status sq_file_read(sq_arena *a, const char *path, char **data, size_t *size, const char **why);
// Writes to a temporary name beside `path`, then renames; nothing partial is ever left. A symbolic
// link stays one; a pipe or device is written directly.
sq_status sq_file_write(sq_arena *a, const char *path, const void *data, size_t size,
                        const char **why);
// Shortest decimal text that reads back to the same double ("inf", "-inf", "nan" for those).
void sq_text_double(sq_text *t, double x);
bool sq_is_utf8(const char *s, size_t n, size_t *bad_at);
