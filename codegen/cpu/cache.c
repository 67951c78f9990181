// Files of the cache. In: a key. Out: the bytes that were stored under it, or nothing.
//
//   DIR/0f3a..c1.o:      objects of an entry; the key is of its module and the target
//   DIR/5d1c..7e.tune:   how kernels are cut on this machine (tuned.c)
//   DIR/77b0..09.model:  what was found out about a model file (tools/record.c)
//
//   "seqmobj3" | the key | u64 n | u64 size[8] | u64 xxh64 of all else | the parts
//
// A file is written under a temporary name and renamed, so a reader sees all of it or nothing; one
// that was damaged, or stands under another's name, counts as absent. Processes may share a
// directory.
#include "codegen/cpu/driver.h"
#include <errno.h>
#include <fcntl.h>
#include <llvm-c/Core.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct file_head {
  char magic[8];
  sq_cache_key key;
  uint64_t n, size[SQ_PARTS], hash;
} file_head;
static const char magic[8] = {'s', 'e', 'q', 'm', 'o', 'b', 'j', '3'};

typedef struct part {
  const char *data;
  size_t size;
} part;

static uint64_t hash_of(const file_head *h, const part *p) {
  file_head clear = *h;
  clear.hash = 0;
  XXH3_state_t s;
  XXH3_64bits_reset(&s);
  XXH3_64bits_update(&s, &clear, sizeof clear);
  for (uint64_t k = 0; k < h->n; k++) XXH3_64bits_update(&s, p[k].data, p[k].size);
  return XXH3_64bits_digest(&s);
}

// ---- keys --------------------------------------------------------------------------------------
sq_cache_key sq_cache_key_of(const void *data, size_t size) {
  XXH128_hash_t h = XXH3_128bits(data, size);
  return (sq_cache_key){h.low64, h.high64};
}

sq_cache_key sq_cache_hash(const void *data, size_t size, const sq_target *t) {
  unsigned major, minor, patch;
  LLVMGetVersion(&major, &minor, &patch);
  XXH3_state_t s;
  XXH3_128bits_reset(&s);
  char versions[64];
  snprintf(versions, sizeof versions, "seqm %s, LLVM %u.%u.%u", SEQM_VERSION, major, minor, patch);
  const char *text[] = {versions, sq_unit_recipe(true), sq_unit_recipe(false), t->triple,
                        t->cpu,   t->features};
  for (size_t k = 0; k < sizeof text / sizeof *text; k++)
    XXH3_128bits_update(&s, text[k], strlen(text[k]) + 1);
  XXH3_128bits_update(&s, data, size);
  XXH128_hash_t h = XXH3_128bits_digest(&s);
  return (sq_cache_key){h.low64, h.high64};
}

enum { PATH_SIZE = 4096 };
static bool file_name(char *path, const char *dir, sq_cache_key key, const char *suffix,
                      const char *temporary) {
  int n = snprintf(path, PATH_SIZE, "%s/%016llx%016llx%s%s", dir, (unsigned long long)key.high,
                   (unsigned long long)key.low, suffix, temporary);
  return n > 0 && n < PATH_SIZE;
}

// ---- reading -----------------------------------------------------------------------------------
// The parts of a file's content, if they are what was written; how many.
static uint32_t unpack(const char *file, size_t size, sq_cache_key key, part *p) {
  file_head head;
  if (size <= sizeof head) return 0;
  memcpy(&head, file, sizeof head);
  size -= sizeof head;
  if (memcmp(head.magic, magic, sizeof magic) != 0 || !sq_cache_key_same(head.key, key)) return 0;
  if (head.n == 0 || head.n > SQ_PARTS) return 0;
  uint64_t total = 0;
  const char *data = file + sizeof head;
  for (uint64_t k = 0; k < head.n; k++) {
    if (head.size[k] > size - total) return 0;
    p[k] = (part){data + total, head.size[k]};
    total += head.size[k];
  }
  return total == size && head.hash == hash_of(&head, p) ? (uint32_t)head.n : 0;
}

uint32_t sq_cache_load(const char *dir, sq_cache_key key, LLVMMemoryBufferRef *object) {
  char path[PATH_SIZE];
  if (!file_name(path, dir, key, ".o", "")) return 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  uint32_t found = 0;
  struct stat st;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
    size_t size = (size_t)st.st_size;
    char *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map != MAP_FAILED) {
      part p[SQ_PARTS];
      found = unpack(map, size, key, p);
      for (uint32_t k = 0; k < found; k++)
        object[k] = LLVMCreateMemoryBufferWithMemoryRangeCopy(p[k].data, p[k].size, "cached");
      munmap(map, size);
    }
  }
  close(fd);
  return found;
}

bool sq_cache_has(const char *dir, sq_cache_key key, const char *suffix) {
  char path[PATH_SIZE];
  return file_name(path, dir, key, suffix, "") && access(path, F_OK) == 0;
}

bool sq_cache_get(sq_arena *a, const char *dir, sq_cache_key key, const char *suffix,
                  const char **data, size_t *size) {
  char path[PATH_SIZE], *file;
  const char *why;
  size_t n;
  part p[SQ_PARTS];
  if (!file_name(path, dir, key, suffix, "") || sq_file_read(a, path, &file, &n, &why))
    return false;
  if (unpack(file, n, key, p) != 1) return false;
  *data = p[0].data;
  *size = p[0].size;
  return true;
}

// ---- writing -----------------------------------------------------------------------------------
static bool make_directory(const char *dir) {
  char path[PATH_SIZE];
  size_t n = strlen(dir);
  if (n == 0 || n >= sizeof path) return false;
  memcpy(path, dir, n + 1);
  for (size_t k = 1; k < n; k++) {
    if (path[k] != '/') continue;
    path[k] = 0;
    if (mkdir(path, 0777) != 0 && errno != EEXIST) return false;
    path[k] = '/';
  }
  return mkdir(path, 0777) == 0 || errno == EEXIST;
}

static bool write_all(int fd, const void *data, size_t size) {
  for (const char *p = data; size > 0;) {
    ssize_t n = write(fd, p, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    size -= (size_t)n;
  }
  return true;
}

static bool write_parts(int fd, sq_cache_key key, const part *p, uint32_t n) {
  file_head head = {.key = key, .n = n};
  memcpy(head.magic, magic, sizeof magic);
  for (uint32_t k = 0; k < n; k++) head.size[k] = p[k].size;
  head.hash = hash_of(&head, p);
  bool done = write_all(fd, &head, sizeof head);
  for (uint32_t k = 0; k < n; k++) done = done && write_all(fd, p[k].data, p[k].size);
  return done;
}

static bool put(const char *dir, sq_cache_key key, const char *suffix, const part *p, uint32_t n) {
  char path[PATH_SIZE], temporary[PATH_SIZE];
  errno = ENAMETOOLONG;
  if (!file_name(path, dir, key, suffix, "") ||
      !file_name(temporary, dir, key, suffix, ".XXXXXX") || !make_directory(dir))
    return false;
  int fd = mkostemp(temporary, O_CLOEXEC);
  if (fd < 0) return false;
  bool done = write_parts(fd, key, p, n);
  done = fchmod(fd, 0644) == 0 && done;
  done = close(fd) == 0 && done;
  done = done && rename(temporary, path) == 0;
  if (done) return true;
  int e = errno;
  unlink(temporary);
  errno = e;
  return false;
}

bool sq_cache_store(const char *dir, sq_cache_key key, const LLVMMemoryBufferRef *object,
                    uint32_t n, int *why) {
  part p[SQ_PARTS];
  for (uint32_t k = 0; k < n; k++)
    p[k] = (part){LLVMGetBufferStart(object[k]), LLVMGetBufferSize(object[k])};
  bool done = put(dir, key, ".o", p, n);
  *why = errno;
  return done;
}

bool sq_cache_put(const char *dir, sq_cache_key key, const char *suffix, const void *data,
                  size_t size) {
  return put(dir, key, suffix, &(part){data, size}, 1);
}
