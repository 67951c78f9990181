// Compiled objects on disk. In: a module's bitcode and target. Out: the object made from the same
// before, or nothing.
//
//   DIR/0f3a..c1.o:  "seqmobj2" | u64 n | u64 size[8] | u64 xxh64 of the objects | the objects
//
// A file is written under a temporary name and renamed, so a reader sees all of it or nothing; one
// that was damaged does not fit its hash and counts as absent. Processes may share a directory.
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

typedef struct object_head {
  char magic[8];
  uint64_t n, size[SQ_PARTS], hash;
} object_head;
static const char magic[8] = {'s', 'e', 'q', 'm', 'o', 'b', 'j', '2'};

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
static bool file_name(char *path, const char *dir, sq_cache_key key, const char *suffix) {
  int n = snprintf(path, PATH_SIZE, "%s/%016llx%016llx.o%s", dir, (unsigned long long)key.high,
                   (unsigned long long)key.low, suffix);
  return n > 0 && n < PATH_SIZE;
}

// The objects of a file's content, if they are what was written.
static uint32_t unpack(const char *file, size_t size, LLVMMemoryBufferRef *part) {
  object_head head;
  memcpy(&head, file, sizeof head);
  size -= sizeof head;
  uint64_t total = 0;
  if (memcmp(head.magic, magic, sizeof magic) != 0 || head.n == 0 || head.n > SQ_PARTS) return 0;
  for (uint64_t k = 0; k < head.n; k++) {
    if (head.size[k] > size - total) return 0;
    total += head.size[k];
  }
  const char *object = file + sizeof head;
  if (total != size || head.hash != XXH3_64bits(object, size)) return 0;
  for (uint64_t k = 0; k < head.n; object += head.size[k++])
    part[k] = LLVMCreateMemoryBufferWithMemoryRangeCopy(object, head.size[k], "cached");
  return (uint32_t)head.n;
}

uint32_t sq_cache_load(const char *dir, sq_cache_key key, LLVMMemoryBufferRef *part) {
  char path[PATH_SIZE];
  if (!file_name(path, dir, key, "")) return 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  uint32_t found = 0;
  struct stat st;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size > sizeof(object_head)) {
    size_t size = (size_t)st.st_size;
    char *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map != MAP_FAILED) {
      found = unpack(map, size, part);
      munmap(map, size);
    }
  }
  close(fd);
  return found;
}

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

static bool write_parts(int fd, const LLVMMemoryBufferRef *part, uint32_t n) {
  object_head head = {.n = n};
  memcpy(head.magic, magic, sizeof magic);
  XXH3_state_t hash;
  XXH3_64bits_reset(&hash);
  for (uint32_t k = 0; k < n; k++) {
    head.size[k] = LLVMGetBufferSize(part[k]);
    XXH3_64bits_update(&hash, LLVMGetBufferStart(part[k]), head.size[k]);
  }
  head.hash = XXH3_64bits_digest(&hash);
  bool done = write_all(fd, &head, sizeof head);
  for (uint32_t k = 0; k < n; k++)
    done = done && write_all(fd, LLVMGetBufferStart(part[k]), head.size[k]);
  return done;
}

bool sq_cache_store(const char *dir, sq_cache_key key, const LLVMMemoryBufferRef *part, uint32_t n,
                    int *why) {
  char path[PATH_SIZE], temporary[PATH_SIZE];
  errno = ENAMETOOLONG;
  bool done = false;
  if (file_name(path, dir, key, "") && file_name(temporary, dir, key, ".XXXXXX") &&
      make_directory(dir)) {
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd >= 0) {
      done = write_parts(fd, part, n);
      done = fchmod(fd, 0644) == 0 && done;
      done = close(fd) == 0 && done;
      done = done && rename(temporary, path) == 0;
      if (!done) {
        int e = errno;
        unlink(temporary);
        errno = e;
      }
    }
  }
  *why = errno;
  return done;
}
