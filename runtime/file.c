// Mapping files for reading and writing files whole or not at all.
#define _GNU_SOURCE
#include "runtime/file.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail_errno(seqm_context *ctx, const char *path, const char *what) {
  char text[128];
  const char *why = strerror_r(errno, text, sizeof text);
  return sq_rt_fail(ctx, SQ_EWORLD, "%s: %s: %s", path, what, why);
}

static int map_fd(seqm_context *ctx, const char *path, int fd, sq_map *m) {
  struct stat st;
  if (fstat(fd, &st)) return fail_errno(ctx, path, "cannot be read");
  if (!S_ISREG(st.st_mode)) return sq_rt_fail(ctx, SQ_EWORLD, "%s: not a regular file", path);
  m->size = (size_t)st.st_size;
  if (!m->size) return SQ_OK;
  void *p = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (p == MAP_FAILED) return fail_errno(ctx, path, "cannot be mapped");
  m->data = p;
  return SQ_OK;
}

int sq_map_open(seqm_context *ctx, const char *path, sq_map *m) {
  *m = (sq_map){0};
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail_errno(ctx, path, "cannot be opened");
  int status = map_fd(ctx, path, fd, m);
  close(fd);
  return status;
}

void sq_map_close(sq_map *m) {
  if (m->data) munmap((void *)m->data, m->size);
  *m = (sq_map){0};
}

void sq_map_forget(const void *data, size_t size) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data;
  uintptr_t from = (at + page - 1) / page * page, to = (at + size) / page * page;
  if (from < to) madvise((void *)from, to - from, MADV_DONTNEED); // read again when it is wanted
}

static int open_temporary(sq_output *o) {
  size_t n = strlen(o->target) + 48;
  o->temporary = sq_mem_get(o->ctx, n);
  if (!o->temporary) return sq_rt_no_memory(o->ctx);
  for (unsigned k = 0; k < 10000; k++) {
    snprintf(o->temporary, n, "%s.%ld.%u.tmp", o->target, (long)getpid(), k);
    o->fd = open(o->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (o->fd >= 0) return SQ_OK;
    if (errno != EEXIST) break;
  }
  int status = fail_errno(o->ctx, o->path, "cannot be written");
  sq_mem_drop(o->ctx, o->temporary); // there is no such file: nothing to unlink
  o->temporary = NULL;
  return status;
}

int sq_output_open(seqm_context *ctx, const char *path, sq_output *o) {
  *o = (sq_output){.ctx = ctx, .path = path, .fd = -1};
  struct stat st;
  char real[PATH_MAX];
  bool exists = !stat(path, &st);
  if (exists && S_ISDIR(st.st_mode)) {
    errno = EISDIR;
    return fail_errno(ctx, path, "cannot be written");
  }
  if (exists && !S_ISREG(st.st_mode)) {
    o->fd = open(path, O_WRONLY | O_CLOEXEC);
    return o->fd < 0 ? fail_errno(ctx, path, "cannot be written") : SQ_OK;
  }
  o->target = sq_mem_text(ctx, exists && realpath(path, real) ? real : path);
  int status = o->target ? open_temporary(o) : sq_rt_no_memory(ctx);
  if (status) sq_output_drop(o);
  return status;
}

int sq_output_write(sq_output *o, const void *data, size_t size) {
  const char *p = data;
  while (size) {
    ssize_t n = write(o->fd, p, size > (1u << 30) ? 1u << 30 : size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(o->ctx, o->path, "cannot be written");
    p += n;
    size -= (size_t)n;
  }
  return SQ_OK;
}

void sq_output_drop(sq_output *o) {
  if (o->fd >= 0) close(o->fd);
  if (o->temporary) unlink(o->temporary);
  sq_mem_drop(o->ctx, o->temporary);
  sq_mem_drop(o->ctx, o->target);
  o->temporary = o->target = NULL;
  o->fd = -1;
}

int sq_output_done(sq_output *o) {
  int fd = o->fd;
  o->fd = -1;
  bool ok = !close(fd) && (!o->temporary || !rename(o->temporary, o->target));
  int status = ok ? SQ_OK : fail_errno(o->ctx, o->path, "cannot be written");
  if (ok) { // it has its name: nothing to unlink
    sq_mem_drop(o->ctx, o->temporary);
    o->temporary = NULL;
  }
  sq_output_drop(o);
  return status;
}
