// Memory of the driver that is none: allocations, addresses that the host may not touch, copies. In: what
// cuMem* get. Out: faults, and jobs for the queue.
#include "fake_gpu_inner.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// ---- memory ------------------------------------------------------------------------------------
enum { BLOCKS = 1 << 16 };
static const size_t range_bytes = 1ul << 35, gap = 4096;
static char *range, *shadow; // addresses; bytes
static size_t top;           // of the range, used so far
static struct block {
  size_t at, bytes;
  bool alive;
} block[BLOCKS];
static uint32_t n_block;
static long alive_blocks, in_use;
static struct pinned {
  char *p;
  size_t bytes;
} pinned[16];

static bool make_range(void) {
  if (range) return true;
  void *a = mmap(NULL, range_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  void *b = mmap(NULL, range_bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (a == MAP_FAILED || b == MAP_FAILED) return false;
  range = a;
  shadow = b;
  return true;
}
bool fg_in_range(address at) { return range && at - (address)(uintptr_t)range < range_bytes; }
static struct block *block_of(address at) {
  size_t offset = (size_t)(at - (address)(uintptr_t)range);
  for (uint32_t k = n_block; fg_in_range(at) && k-- > 0;)
    if (block[k].alive && offset >= block[k].at && offset <= block[k].at + block[k].bytes)
      return &block[k];
  return NULL;
}
static char *bytes_at(address at) { return shadow + (at - (address)(uintptr_t)range); }
// Where a range of the device is, or NULL with a fault.
char *fg_span(address at, size_t bytes, const char *who) {
  struct block *b = block_of(at);
  size_t left = b ? b->at + b->bytes - (size_t)(at - (address)(uintptr_t)range) : 0;
  if (b && bytes <= left) return bytes_at(at);
  fg_fault("%s: %zu bytes at %llx are not inside an allocation", who, bytes, at);
  return NULL;
}
char *fg_place(address at, char **end) {
  const struct block *b = block_of(at);
  if (b && end) *end = shadow + b->at + b->bytes;
  return b ? bytes_at(at) : NULL;
}
static bool is_pinned(const void *p, size_t bytes) {
  for (int k = 0; k < 16; k++)
    if (pinned[k].p && (const char *)p >= pinned[k].p &&
        (const char *)p + bytes <= pinned[k].p + pinned[k].bytes)
      return true;
  return false;
}

// ---- the driver: memory ------------------------------------------------------------------------
int fg_allocate(address *at, size_t bytes) {
  if (!bytes) return INVALID_VALUE;
  if (!make_range() || (long)bytes > fg_set.memory - in_use) return OUT_OF_MEMORY;
  if (!alive_blocks) top = n_block = 0;
  size_t room = (bytes + gap + 4095) / 4096 * 4096;
  if (n_block == BLOCKS || room > range_bytes - top) return OUT_OF_MEMORY;
  block[n_block++] = (struct block){top, bytes, true};
  memset(shadow + top, 0xcb, bytes); // what was there before
  *at = (address)(uintptr_t)(range + top);
  top += room;
  alive_blocks++;
  fg_alive++;
  in_use += (long)bytes;
  return OK;
}
EXPORT int cuMemAlloc_v2(address *at, size_t bytes);
EXPORT int cuMemAlloc_v2(address *at, size_t bytes) {
  ENTER();
  NEED_CONTEXT();
  return fg_allocate(at, bytes);
}
int fg_free(address at) {
  struct block *b = block_of(at);
  if (!b || bytes_at(at) != shadow + b->at) {
    fg_fault("%llx is freed, but is no allocation", at);
    return INVALID_VALUE;
  }
  fg_flush();
  b->alive = false;
  alive_blocks--;
  fg_alive--;
  in_use -= (long)b->bytes;
  madvise(shadow + b->at, b->bytes / 4096 * 4096, MADV_DONTNEED);
  return OK;
}
EXPORT int cuMemFree_v2(address at);
EXPORT int cuMemFree_v2(address at) {
  NEED_CONTEXT();
  return fg_free(at);
}
EXPORT int cuMemAllocHost_v2(void **p, size_t bytes);
EXPORT int cuMemAllocHost_v2(void **p, size_t bytes) {
  ENTER();
  NEED_CONTEXT();
  int k = 0;
  while (k < 16 && pinned[k].p) k++;
  if (k == 16 || !(*p = malloc(bytes))) return OUT_OF_MEMORY;
  pinned[k] = (struct pinned){*p, bytes};
  fg_alive++;
  return OK;
}
EXPORT int cuMemFreeHost(void *p);
EXPORT int cuMemFreeHost(void *p) {
  NEED_CONTEXT();
  fg_flush();
  for (int k = 0; k < 16; k++)
    if (pinned[k].p == p) {
      free(p);
      pinned[k].p = NULL;
      fg_alive--;
      return OK;
    }
  return INVALID_VALUE;
}

// Memory of the host that is not pinned is read or written before the call returns.
static int copy(job j, const void *host) {
  fg_add(j);
  return host && !is_pinned(host, j.bytes) ? fg_flush() : OK;
}
EXPORT int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t bytes, void *s);
EXPORT int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t bytes, void *s) {
  ENTER();
  NEED_STREAM(s);
  char *p = fg_span(to, bytes, "cuMemcpyHtoD");
  if (!p || fg_in_range((address)(uintptr_t)from)) return INVALID_VALUE;
  return copy((job){.kind = TO_DEVICE, .to = p, .from = from, .bytes = bytes}, from);
}
EXPORT int cuMemcpyDtoHAsync_v2(void *to, address from, size_t bytes, void *s);
EXPORT int cuMemcpyDtoHAsync_v2(void *to, address from, size_t bytes, void *s) {
  ENTER();
  NEED_STREAM(s);
  char *p = fg_span(from, bytes, "cuMemcpyDtoH");
  if (!p || fg_in_range((address)(uintptr_t)to)) return INVALID_VALUE;
  return copy((job){.kind = TO_HOST, .to = to, .from = p, .bytes = bytes}, to);
}
EXPORT int cuMemcpyDtoDAsync_v2(address to, address from, size_t bytes, void *s);
EXPORT int cuMemcpyDtoDAsync_v2(address to, address from, size_t bytes, void *s) {
  ENTER();
  NEED_STREAM(s);
  char *p = fg_span(to, bytes, "cuMemcpyDtoD"), *q = fg_span(from, bytes, "cuMemcpyDtoD");
  if (!p || !q) return INVALID_VALUE;
  if ((p < q ? q - p : p - q) < (ptrdiff_t)bytes) {
    fg_fault("cuMemcpyDtoD: the ranges overlap");
    return INVALID_VALUE;
  }
  return copy((job){.kind = WITHIN, .to = p, .from = q, .bytes = bytes}, NULL);
}
// CUDA_MEMCPY2D
typedef struct side {
  size_t x, y;
  int type;
  const void *host;
  address device;
  void *array;
  size_t pitch;
} side;
typedef struct rows {
  side from, to;
  size_t width, height;
} rows;
EXPORT int cuMemcpy2DAsync_v2(const rows *r, void *s);
EXPORT int cuMemcpy2DAsync_v2(const rows *r, void *s) {
  ENTER();
  NEED_STREAM(s);
  bool plain =
      r->from.type == 2 && r->to.type == 2 && !r->from.x && !r->from.y && !r->to.x && !r->to.y;
  if (!plain || r->width > r->from.pitch || r->width > r->to.pitch || !r->height) {
    fg_fault("cuMemcpy2D: not rows within the device");
    return INVALID_VALUE;
  }
  char *p = fg_span(r->to.device, (r->height - 1) * r->to.pitch + r->width, "cuMemcpy2D");
  char *q = fg_span(r->from.device, (r->height - 1) * r->from.pitch + r->width, "cuMemcpy2D");
  if (!p || !q) return INVALID_VALUE;
  return copy((job){.kind = ROWS,
                    .to = p,
                    .from = q,
                    .bytes = r->width,
                    .to_pitch = r->to.pitch,
                    .from_pitch = r->from.pitch,
                    .height = r->height},
              NULL);
}
EXPORT int cuMemsetD8Async(address to, unsigned char v, size_t bytes, void *s);
EXPORT int cuMemsetD8Async(address to, unsigned char v, size_t bytes, void *s) {
  ENTER();
  NEED_STREAM(s);
  char *p = fg_span(to, bytes, "cuMemsetD8");
  if (!p) return INVALID_VALUE;
  return copy((job){.kind = SET, .to = p, .bytes = bytes, .value = v}, NULL);
}
