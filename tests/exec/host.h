// What the host programs of these tests share: they use libseqm through its two public headers, as
// a program outside would. A counting allocator, models of the examples with random weights,
// scalars and rows of ids, a folder for files.
#pragma once
#include "seqm.h"
#include "seqm_compiler.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct counting {
  long live, calls, fail_at; // fail_at: the call that gets nothing, 0 for none
  long long bytes;           // asked for so far
} counting;

static inline void *count_allocate(void *user, void *p, size_t size) {
  counting *c = user;
  if (!size) {
    c->live -= p != NULL;
    free(p);
    return NULL;
  }
  if (++c->calls == c->fail_at) return NULL;
  c->live += p == NULL;
  c->bytes += (long long)size;
  return realloc(p, size);
}

static inline seqm_context *counted_context(counting *c, int threads) {
  *c = (counting){0};
  seqm_context *ctx =
      seqm_context_new(&(seqm_options){.allocate = count_allocate, .user = c, .threads = threads});
  cr_assert(ctx);
  return ctx;
}

#define OK(ctx, call)                                                                              \
  do {                                                                                             \
    int ok_status = (call);                                                                        \
    cr_assert_eq(ok_status, 0, "%s: status %d: %s", #call, ok_status, seqm_message(ctx));          \
  } while (0)

// `defines` ends with NULL. No cache, so that tests do not meet one another's objects.
static inline seqm_model *compile_example(seqm_context *ctx, const char *name,
                                          const char *const *defines) {
  char path[1024];
  snprintf(path, sizeof path, "%s/examples/%s.seqm", SEQM_SOURCE_DIR, name);
  seqm_compile_options o = {.defines = defines, .cache_dir = ""};
  while (defines && defines[o.n_defines]) o.n_defines++;
  seqm_model *m;
  OK(ctx, seqm_compile(ctx, path, &o, &m));
  OK(ctx, seqm_model_random_weights(m, 5));
  return m;
}
#define DEFINES(...) ((const char *const[]){__VA_ARGS__, NULL})

static inline const seqm_entry *entry(seqm_model *m, seqm_context *ctx, const char *name) {
  const seqm_entry *e = seqm_model_entry(m, name);
  cr_assert(e, "%s", seqm_message(ctx));
  return e;
}
static inline seqm_tensor scalar(int32_t *v) { return (seqm_tensor){.dtype = SEQM_I32, .data = v}; }
static inline seqm_tensor row(void *v, int64_t n, seqm_dtype t) {
  return (seqm_tensor){.dtype = t, .rank = 1, .dim = {n}, .data = v};
}
static inline seqm_tensor table(void *v, int64_t n, int64_t k, seqm_dtype t) {
  return (seqm_tensor){.dtype = t, .rank = 2, .dim = {n, k}, .data = v};
}

static inline double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// A folder of this test's own under the present one; remove_folder takes it away with its files.
static inline void make_folder(char *path, size_t size) {
  snprintf(path, size, "%s", "seqm-exec-XXXXXX");
  cr_assert(mkdtemp(path));
}
static inline void remove_folder(const char *path) {
  char name[1024];
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));) {
    snprintf(name, sizeof name, "%s/%s", path, e->d_name);
    if (e->d_name[0] != '.') unlink(name);
  }
  if (d) closedir(d);
  rmdir(path);
}
static inline void write_text(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  cr_assert(f && fputs(text, f) >= 0);
  fclose(f);
}
