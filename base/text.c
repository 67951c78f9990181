// Growing text, interned names, files read whole and written atomically.
#include "base/text.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void reserve(sq_text *t, size_t more) {
  if (t->v && t->n + more + 1 <= t->cap) return;
  size_t cap = t->cap ? t->cap * 2 : 256;
  while (cap < t->n + more + 1) cap *= 2;
  char *v = sq_arena_take(t->arena, cap);
  if (t->n) memcpy(v, t->v, t->n);
  t->v = v;
  t->cap = cap;
}

void sq_text_put(sq_text *t, const char *s, size_t n) {
  reserve(t, n);
  if (n) memcpy(t->v + t->n, s, n);
  t->n += n;
  t->v[t->n] = 0;
}

void sq_text_add(sq_text *t, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char small[256];
  int n = vsnprintf(small, sizeof small, fmt, ap);
  va_end(ap);
  if (n < 0) return;
  if ((size_t)n < sizeof small) {
    sq_text_put(t, small, (size_t)n);
    return;
  }
  reserve(t, (size_t)n);
  va_start(ap, fmt);
  vsnprintf(t->v + t->n, (size_t)n + 1, fmt, ap);
  va_end(ap);
  t->n += (size_t)n;
}

void sq_text_double(sq_text *t, double x) {
  if (isnan(x)) {
    sq_text_add(t, "nan");
    return;
  }
  if (isinf(x)) {
    sq_text_add(t, x < 0 ? "-inf" : "inf");
    return;
  }
  char s[40];
  for (int p = 1; p <= 17; p++) {
    snprintf(s, sizeof s, "%.*g", p, x);
    if (strtod(s, NULL) == x) break;
  }
  sq_text_add(t, "%s%s", s, strpbrk(s, ".e") ? "" : ".0");
}

static uint32_t hash(const char *s, size_t n) {
  uint32_t h = 2166136261u;
  for (size_t k = 0; k < n; k++) h = (h ^ (unsigned char)s[k]) * 16777619u;
  return h;
}

void sq_names_init(sq_names *ns, sq_arena *arena) {
  *ns = (sq_names){.arena = arena, .cap = 256};
  ns->slot = SQ_ARRAY(arena, const char *, ns->cap);
}

static void rehash(sq_names *ns) {
  uint32_t cap = ns->cap * 2;
  const char **slot = SQ_ARRAY(ns->arena, const char *, cap);
  for (uint32_t k = 0; k < ns->cap; k++) {
    if (!ns->slot[k]) continue;
    uint32_t at = hash(ns->slot[k], strlen(ns->slot[k])) & (cap - 1);
    while (slot[at]) at = (at + 1) & (cap - 1);
    slot[at] = ns->slot[k];
  }
  ns->slot = slot;
  ns->cap = cap;
}

const char *sq_intern(sq_names *ns, const char *s, size_t n) {
  if (ns->n * 2 >= ns->cap) rehash(ns);
  uint32_t at = hash(s, n) & (ns->cap - 1);
  for (; ns->slot[at]; at = (at + 1) & (ns->cap - 1))
    if (!strncmp(ns->slot[at], s, n) && !ns->slot[at][n]) return ns->slot[at];
  ns->n++;
  return ns->slot[at] = sq_arena_str(ns->arena, s, n);
}

const char *sq_intern_z(sq_names *ns, const char *s) { return sq_intern(ns, s, strlen(s)); }

sq_status sq_file_read(sq_arena *a, const char *path, char **data, size_t *size, const char **why) {
  struct stat st;
  if (stat(path, &st)) {
    *why = sq_arena_fmt(a, "%s: %s", path, strerror(errno));
    return SQ_EWORLD;
  }
  if (!S_ISREG(st.st_mode)) {
    *why = sq_arena_fmt(a, "%s: not a regular file", path);
    return SQ_EWORLD;
  }
  char *p = sq_arena_take(a, (size_t)st.st_size + 1); // before the file is open: may leave
  FILE *f = fopen(path, "rb");
  size_t n = f ? fread(p, 1, (size_t)st.st_size, f) : 0;
  int err = !f || ferror(f) ? errno : 0;
  if (f) fclose(f);
  if (err) {
    *why = sq_arena_fmt(a, "%s: %s", path, strerror(err));
    return SQ_EWORLD;
  }
  p[n] = 0;
  *data = p;
  *size = n;
  return SQ_OK;
}

// Where the bytes go: for a regular file, or none yet, a temporary name beside what `path` leads to;
// for what is no file (a pipe, a device) the thing itself, which a rename would replace.
static bool write_in_place(sq_arena *a, const char *path, const char **target) {
  struct stat st;
  char real[PATH_MAX];
  *target = path;
  if (stat(path, &st)) return false;
  if (!S_ISREG(st.st_mode)) return !S_ISDIR(st.st_mode);
  if (realpath(path, real)) *target = sq_arena_str(a, real, strlen(real));
  return false;
}

sq_status sq_file_write(sq_arena *a, const char *path, const void *data, size_t size,
                        const char **why) {
  const char *target;
  bool in_place = write_in_place(a, path, &target);
  const char *to = in_place ? path : sq_arena_fmt(a, "%s.%ld.tmp", target, (long)getpid());
  FILE *f = fopen(to, "wb");
  bool ok = f && fwrite(data, 1, size, f) == size;
  int err = ok ? 0 : errno;
  if (f && fclose(f) && ok) {
    ok = false;
    err = errno;
  }
  if (ok && !in_place && rename(to, target)) {
    ok = false;
    err = errno;
  }
  if (ok) return SQ_OK;
  if (f && !in_place) unlink(to);
  *why = sq_arena_fmt(a, "cannot write %s: %s", path, strerror(err));
  return SQ_EWORLD;
}

bool sq_is_utf8(const char *s, size_t n, size_t *bad_at) {
  for (size_t k = 0; k < n;) {
    unsigned char c = (unsigned char)s[k];
    size_t len = c < 0x80                ? 1
                 : c >= 0xc2 && c < 0xe0 ? 2
                 : (c & 0xf0) == 0xe0    ? 3
                 : c >= 0xf0 && c < 0xf5 ? 4
                                         : 0;
    bool ok = len && k + len <= n;
    for (size_t j = 1; ok && j < len; j++) ok = ((unsigned char)s[k + j] & 0xc0) == 0x80;
    unsigned char d = ok && len > 1 ? (unsigned char)s[k + 1] : 0;
    if (ok && ((c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) || (c == 0xf0 && d < 0x90) ||
               (c == 0xf4 && d > 0x8f)))
      ok = false;
    if (!ok) {
      if (bad_at) *bad_at = k;
      return false;
    }
    k += len;
  }
  return true;
}
