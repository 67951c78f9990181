// A CUDA driver and an NVRTC that are none: the functions that seqm loads, with "device memory" of the
// host apart and kernels under the emulation. In: the calls of a program that takes it for the real
// ones (SEQM_CUDA_DRIVER and SEQM_NVRTC name this library). Out: what a device would do, and faults:
//
//   an address of the device      lies in a range without access: who reads it on the host stops there;
//                                 the bytes are elsewhere (`shadow`)
//   copies, launches              wait in a queue until something waits for them, so that memory which
//                                 changes too early is found
//   arguments                     ranges are inside one allocation, pinned memory is alive, the
//                                 context is current, launches fit the kernel
//   "compiled" code               is the source, and compiled for the host when it is loaded
//
// SEQM_FAKE_GPU="devices=1 capability=90 driver=13000 nvrtc=13000 memory=BYTES shared=BYTES fail=NAME:NTH:CODE
// count=1", which says at the end how often each function was called.
#include "fake_gpu.h"
#include "base/context.h"
#include "codegen/cuda/cuda.h"
#include "codegen/cuda/emu.h"
#include "fake_gpu_map.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define EXPORT __attribute__((visibility("default")))
typedef unsigned long long address;
enum {
  OK,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  NO_BINARY = 209,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700
};

// ---- settings ----------------------------------------------------------------------------------
static struct {
  long devices, capability, driver, nvrtc, memory, shared, count;
  char fail_name[64];
  long fail_nth;
  int fail_code;
  long calls;
  char faults[4096];
  bool read;
} set;

static void fault(const char *fmt, ...) {
  size_t n = strlen(set.faults);
  va_list ap;
  va_start(ap, fmt);
  if (n + 2 < sizeof set.faults) {
    n += (size_t)snprintf(set.faults + n, sizeof set.faults - n, n ? "; " : "");
    vsnprintf(set.faults + n, sizeof set.faults - n, fmt, ap);
  }
  va_end(ap);
}

static void number(const char *text, const char *key, long *v) {
  const char *at = strstr(text, key);
  if (at && at[strlen(key)] == '=') *v = strtol(at + strlen(key) + 1, NULL, 10);
}

static void read_settings(void) {
  const char *text = getenv("SEQM_FAKE_GPU"), *at;
  set.devices = 1;
  set.capability = 90;
  set.driver = set.nvrtc = 13000;
  set.memory = 1l << 34;
  set.read = true;
  if (!text) return;
  number(text, "devices", &set.devices);
  number(text, "capability", &set.capability);
  number(text, "driver", &set.driver);
  number(text, "nvrtc", &set.nvrtc);
  number(text, "memory", &set.memory);
  number(text, "shared", &set.shared);
  number(text, "count", &set.count);
  if ((at = strstr(text, "fail=")))
    sscanf(at + 5, "%63[^:]:%ld:%d", set.fail_name, &set.fail_nth, &set.fail_code);
}

// Each function that can fail begins with ENTER: counted, refused when it is its turn.
static struct {
  const char *name;
  long n;
} counted[64];
static long *count_of(const char *name) {
  int k = 0;
  while (k < 63 && counted[k].name && strcmp(counted[k].name, name)) k++;
  if (!counted[k].name) counted[k].name = name;
  return &counted[k].n;
}
static int enter(const char *name) {
  if (!set.read) read_settings();
  bool harmless = !strcmp(name, "cuCtxPushCurrent_v2"); // nothing could be given back without it
  set.calls += !harmless;
  ++*count_of(name);
  bool named = !strcmp(set.fail_name, name), any = !strcmp(set.fail_name, "*") && !harmless;
  if ((named || any) && set.fail_nth > 0 && --set.fail_nth == 0) return set.fail_code;
  return OK;
}
#define ENTER()                                                                                    \
  do {                                                                                             \
    int refused_ = enter(__func__);                                                                \
    if (refused_) return refused_;                                                                 \
  } while (0)

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
static long alive_blocks, alive_others, in_use;
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
static bool in_range(address at) { return range && at - (address)(uintptr_t)range < range_bytes; }
static struct block *block_of(address at) {
  size_t offset = (size_t)(at - (address)(uintptr_t)range);
  for (uint32_t k = n_block; in_range(at) && k-- > 0;)
    if (block[k].alive && offset >= block[k].at && offset <= block[k].at + block[k].bytes)
      return &block[k];
  return NULL;
}
static char *bytes_at(address at) { return shadow + (at - (address)(uintptr_t)range); }
// Where a range of the device is, or NULL with a fault.
static char *span(address at, size_t bytes, const char *who) {
  struct block *b = block_of(at);
  size_t left = b ? b->at + b->bytes - (size_t)(at - (address)(uintptr_t)range) : 0;
  if (b && bytes <= left) return bytes_at(at);
  fault("%s: %zu bytes at %llx are not inside an allocation", who, bytes, at);
  return NULL;
}
static bool is_pinned(const void *p, size_t bytes) {
  for (int k = 0; k < 16; k++)
    if (pinned[k].p && (const char *)p >= pinned[k].p &&
        (const char *)p + bytes <= pinned[k].p + pinned[k].bytes)
      return true;
  return false;
}

// ---- contexts ----------------------------------------------------------------------------------
static int context_, stream_; // their addresses are the handles
static _Thread_local void *current[64];
static _Thread_local int depth;
static int need_context(const char *who) {
  if (depth > 0 && current[depth - 1] == &context_) return OK;
  fault("%s: no context is current", who);
  return INVALID_CONTEXT;
}
#define NEED_CONTEXT()                                                                             \
  do {                                                                                             \
    int lacks_ = need_context(__func__);                                                           \
    if (lacks_) return lacks_;                                                                     \
  } while (0)

// ---- modules -----------------------------------------------------------------------------------
typedef struct module module;
typedef struct function {
  module *m;
  uint32_t number;
  long long allowed; // bytes of shared memory that a launch may bring
} function;
struct module {
  sq_ctx *ctx;
  sq_emu_module *code;
  function *function;
  bool groups; // for sm_90a
};
// The kernels as the emulation takes them, of what NVRTC was given.
static const char magic[] = "fake code for ";
static sq_status load(module *m, const char *source, bool groups, const char **message) {
  sq_arena *a = &m->ctx->arena;
  sq_text head = {.arena = a}, unit = {.arena = a};
  const char *before[] = {sq_cuda_types, "", sq_cuda_gpu, sq_cuda_common};
  const char *instead[] = {sq_cuda_types, sq_cuda_emu_thread, sq_cuda_emu, sq_cuda_common};
  if (groups) sq_text_add(&unit, "#define SQ_WGMMA 1\n");
  for (int k = 0; k < 4; k++) {
    sq_text_add(&head, "%s\n", before[k]);
    sq_text_add(&unit, "%s\n", instead[k]);
  }
  *message = "the source does not begin with the words that kernels are written in";
  if (strncmp(source, head.v, head.n)) return SQ_EMODEL;
  sq_text_add(&unit, "%s", source + head.n);
  SQ_TRY(sq_emu_build(a, unit.v, unit.n, getenv("SEQM_FAKE_GPU_CACHE"), &m->code, message));
  m->function = SQ_ARRAY(a, function, m->code->n_kernel + 1);
  return SQ_OK;
}

// ---- the queue ---------------------------------------------------------------------------------
typedef enum kind { TO_DEVICE, TO_HOST, WITHIN, ROWS, SET, LAUNCH, CONDITION, REPEAT } kind;
typedef struct condition { // of a node that repeats a graph
  unsigned value;
} condition;
typedef struct job {
  kind kind;
  char *to;
  const char *from;
  size_t bytes, to_pitch, from_pitch, height;
  int value;
  function *f;
  int64_t blocks;
  uint32_t n_arg;
  sq_device_arg *arg;
  uint64_t *error; // words that kernels fail into
  condition *condition;
  int64_t limit, first;
  struct graph *body; // of a REPEAT
} job;
static job *queue;
static size_t n_queue, room_queue;
static int sticky;

static void add(job j) {
  if (n_queue == room_queue) {
    room_queue = room_queue * 2 + 64;
    queue = realloc(queue, room_queue * sizeof *queue);
    if (!queue) abort();
  }
  queue[n_queue++] = j;
}

// Where the runtime looks for them: runtime/cuda.h.
static void add_newton(const sq_emu_module *code, uint64_t *head) {
  double most;
  memcpy(&most, &head[4], sizeof most);
  head[1] += code->newton_stretches;
  head[2] += code->newton_iterations;
  head[3] += code->newton_redone;
  if (code->newton_residual > most) memcpy(&head[4], &code->newton_residual, sizeof most);
}

static void run_kernel(job *j) {
  sq_emu_module *code = j->f->m->code;
  sq_call call = {.device = &sq_emu_device, .kernels = code};
  sq_emu_device.begin(&call);
  code->error = j->error[0];
  sq_emu_device.launch(&call, j->f->number, j->blocks, j->arg, j->n_arg);
  add_newton(code, j->error);
  if (call.trouble) {
    fault("%s", call.trouble);
    sticky = ILLEGAL_ADDRESS;
  } else if (code->error && code->error != j->error[0]) {
    j->error[0] = code->error;
    j->error[2 * code->error + 4] = (uint64_t)code->error_value;
    j->error[2 * code->error + 5] = (uint64_t)code->error_limit;
  }
  free(j->arg);
}

// What the kernel of runtime/cuda_loop.c does.
static void set_condition(const job *j) {
  j->error[5] = j->first ? 1 : j->error[5] + 1;
  j->condition->value = !j->error[0] && *j->from && (int64_t)j->error[5] < j->limit;
}
static void repeat(const job *j);

static void run(job *j) {
  switch (j->kind) {
  case TO_DEVICE:
  case TO_HOST:
  case WITHIN:
    memcpy(j->to, j->from, j->bytes);
    return;
  case ROWS:
    for (size_t k = 0; k < j->height; k++)
      memcpy(j->to + k * j->to_pitch, j->from + k * j->from_pitch, j->bytes);
    return;
  case SET:
    memset(j->to, j->value, j->bytes);
    return;
  case LAUNCH:
    run_kernel(j);
    return;
  case CONDITION:
    set_condition(j);
    return;
  case REPEAT:
    repeat(j);
    return;
  }
}
static int flush(void) {
  for (size_t k = 0; k < n_queue; k++) run(&queue[k]);
  n_queue = 0;
  return sticky;
}

// ---- the driver: start -------------------------------------------------------------------------
EXPORT int cuInit(unsigned flags);
EXPORT int cuInit(unsigned flags) {
  ENTER();
  if (flags) return INVALID_VALUE;
  return set.devices < 0 ? NO_DEVICE : OK; // as a driver without a device may say
}
EXPORT int cuDriverGetVersion(int *v);
EXPORT int cuDriverGetVersion(int *v) {
  ENTER();
  *v = (int)set.driver;
  return OK;
}
EXPORT int cuDeviceGetCount(int *n);
EXPORT int cuDeviceGetCount(int *n) {
  ENTER();
  *n = (int)set.devices;
  return OK;
}
EXPORT int cuDeviceGet(int *d, int k);
EXPORT int cuDeviceGet(int *d, int k) {
  ENTER();
  *d = k;
  return k >= 0 && k < set.devices ? OK : 101;
}
EXPORT int cuDeviceGetName(char *name, int n, int d);
EXPORT int cuDeviceGetName(char *name, int n, int d) {
  ENTER();
  snprintf(name, (size_t)n, "fake GPU %d", d);
  return OK;
}
// That of a block, by the tables of the programming guide.
static long most_shared(void) {
  const long c = set.capability;
  if (set.shared) return set.shared;
  return c == 75                          ? 64 << 10
         : c == 80 || c == 87             ? 163 << 10
         : c == 86 || c == 89 || c >= 120 ? 99 << 10
         : c >= 90                        ? 227 << 10
                                          : 96 << 10;
}
EXPORT int cuDeviceGetAttribute(int *v, int what, int d);
EXPORT int cuDeviceGetAttribute(int *v, int what, int d) {
  ENTER();
  (void)d;
  switch (what) {
  case 13: // kilohertz
    return *v = 1000, OK;
  case 16: // multiprocessors
    return *v = 1, OK;
  case 75:
    return *v = (int)set.capability / 10, OK;
  case 76:
    return *v = (int)set.capability % 10, OK;
  case 97:
    return *v = (int)most_shared(), OK;
  default:
    return INVALID_VALUE;
  }
}
EXPORT int cuDevicePrimaryCtxRetain(void **c, int d);
EXPORT int cuDevicePrimaryCtxRetain(void **c, int d) {
  ENTER();
  (void)d;
  *c = &context_;
  alive_others++;
  return OK;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int d);
EXPORT int cuDevicePrimaryCtxRelease_v2(int d) {
  (void)d;
  flush();
  alive_others--;
  return OK;
}
EXPORT int cuCtxPushCurrent_v2(void *c);
EXPORT int cuCtxPushCurrent_v2(void *c) {
  ENTER();
  if (depth == 64) {
    fault("contexts are pushed and not popped");
    return INVALID_VALUE;
  }
  current[depth++] = c;
  return OK;
}
EXPORT int cuCtxPopCurrent_v2(void **c);
EXPORT int cuCtxPopCurrent_v2(void **c) {
  if (!depth) {
    fault("no context to pop");
    return INVALID_CONTEXT;
  }
  *c = current[--depth];
  return OK;
}
EXPORT int cuGetErrorName(int e, const char **name);
EXPORT int cuGetErrorName(int e, const char **name) {
  *name = e == OUT_OF_MEMORY     ? "CUDA_ERROR_OUT_OF_MEMORY"
          : e == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS"
          : e == INVALID_VALUE   ? "CUDA_ERROR_INVALID_VALUE"
          : e == NO_BINARY       ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
                                 : NULL;
  return *name ? OK : INVALID_VALUE;
}
EXPORT int cuGetErrorString(int e, const char **text);
EXPORT int cuGetErrorString(int e, const char **text) {
  *text = e == OUT_OF_MEMORY     ? "out of memory"
          : e == ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
                                 : NULL;
  return *text ? OK : INVALID_VALUE;
}

// ---- the driver: streams, events ---------------------------------------------------------------
static int need_stream(void *s, const char *who) {
  if (s == &stream_) return OK;
  fault("%s: not the stream", who);
  return INVALID_VALUE;
}
#define NEED_STREAM(s)                                                                             \
  do {                                                                                             \
    NEED_CONTEXT();                                                                                \
    int other_ = need_stream(s, __func__);                                                         \
    if (other_) return other_;                                                                     \
    if (sticky) return sticky;                                                                     \
  } while (0)
EXPORT int cuStreamCreate(void **s, unsigned flags);
EXPORT int cuStreamCreate(void **s, unsigned flags) {
  ENTER();
  NEED_CONTEXT();
  if (flags) return INVALID_VALUE;
  *s = &stream_;
  alive_others++;
  return OK;
}
EXPORT int cuStreamDestroy_v2(void *s);
EXPORT int cuStreamDestroy_v2(void *s) {
  NEED_CONTEXT();
  if (s != &stream_) return INVALID_VALUE;
  alive_others--;
  return flush();
}
EXPORT int cuStreamSynchronize(void *s);
EXPORT int cuStreamSynchronize(void *s) {
  ENTER();
  NEED_STREAM(s);
  return flush();
}
EXPORT int cuEventCreate(void **e, unsigned flags);
EXPORT int cuEventCreate(void **e, unsigned flags) {
  ENTER();
  NEED_CONTEXT();
  (void)flags;
  *e = malloc(1);
  alive_others++;
  return *e ? OK : OUT_OF_MEMORY;
}
EXPORT int cuEventDestroy_v2(void *e);
EXPORT int cuEventDestroy_v2(void *e) {
  free(e);
  alive_others--;
  return OK;
}
EXPORT int cuEventRecord(void *e, void *s);
EXPORT int cuEventRecord(void *e, void *s) {
  ENTER();
  NEED_STREAM(s);
  *(char *)e = 1;
  return OK;
}
EXPORT int cuEventSynchronize(void *e);
EXPORT int cuEventSynchronize(void *e) {
  ENTER();
  NEED_CONTEXT();
  if (e) return flush();
  return INVALID_VALUE;
}

// ---- the driver: memory ------------------------------------------------------------------------
static int allocate(address *at, size_t bytes) {
  if (!bytes) return INVALID_VALUE;
  if (!make_range() || (long)bytes > set.memory - in_use) return OUT_OF_MEMORY;
  if (!alive_blocks) top = n_block = 0;
  size_t room = (bytes + gap + 4095) / 4096 * 4096;
  if (n_block == BLOCKS || room > range_bytes - top) return OUT_OF_MEMORY;
  block[n_block++] = (struct block){top, bytes, true};
  memset(shadow + top, 0xcb, bytes); // what was there before
  *at = (address)(uintptr_t)(range + top);
  top += room;
  alive_blocks++;
  in_use += (long)bytes;
  return OK;
}
EXPORT int cuMemAlloc_v2(address *at, size_t bytes);
EXPORT int cuMemAlloc_v2(address *at, size_t bytes) {
  ENTER();
  NEED_CONTEXT();
  return allocate(at, bytes);
}
EXPORT int cuMemFree_v2(address at);
EXPORT int cuMemFree_v2(address at) {
  NEED_CONTEXT();
  struct block *b = block_of(at);
  if (!b || bytes_at(at) != shadow + b->at) {
    fault("%llx is freed, but is no allocation", at);
    return INVALID_VALUE;
  }
  flush();
  b->alive = false;
  alive_blocks--;
  in_use -= (long)b->bytes;
  madvise(shadow + b->at, b->bytes / 4096 * 4096, MADV_DONTNEED);
  return OK;
}
EXPORT int cuMemAllocHost_v2(void **p, size_t bytes);
EXPORT int cuMemAllocHost_v2(void **p, size_t bytes) {
  ENTER();
  NEED_CONTEXT();
  int k = 0;
  while (k < 16 && pinned[k].p) k++;
  if (k == 16 || !(*p = malloc(bytes))) return OUT_OF_MEMORY;
  pinned[k] = (struct pinned){*p, bytes};
  alive_others++;
  return OK;
}
EXPORT int cuMemFreeHost(void *p);
EXPORT int cuMemFreeHost(void *p) {
  NEED_CONTEXT();
  flush();
  for (int k = 0; k < 16; k++)
    if (pinned[k].p == p) {
      free(p);
      pinned[k].p = NULL;
      alive_others--;
      return OK;
    }
  return INVALID_VALUE;
}

// Memory of the host that is not pinned is read or written before the call returns.
static int copy(job j, const void *host) {
  add(j);
  return host && !is_pinned(host, j.bytes) ? flush() : OK;
}
EXPORT int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t bytes, void *s);
EXPORT int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t bytes, void *s) {
  ENTER();
  NEED_STREAM(s);
  char *p = span(to, bytes, "cuMemcpyHtoD");
  if (!p || in_range((address)(uintptr_t)from)) return INVALID_VALUE;
  return copy((job){.kind = TO_DEVICE, .to = p, .from = from, .bytes = bytes}, from);
}
EXPORT int cuMemcpyDtoHAsync_v2(void *to, address from, size_t bytes, void *s);
EXPORT int cuMemcpyDtoHAsync_v2(void *to, address from, size_t bytes, void *s) {
  ENTER();
  NEED_STREAM(s);
  char *p = span(from, bytes, "cuMemcpyDtoH");
  if (!p || in_range((address)(uintptr_t)to)) return INVALID_VALUE;
  return copy((job){.kind = TO_HOST, .to = to, .from = p, .bytes = bytes}, to);
}
EXPORT int cuMemcpyDtoDAsync_v2(address to, address from, size_t bytes, void *s);
EXPORT int cuMemcpyDtoDAsync_v2(address to, address from, size_t bytes, void *s) {
  ENTER();
  NEED_STREAM(s);
  char *p = span(to, bytes, "cuMemcpyDtoD"), *q = span(from, bytes, "cuMemcpyDtoD");
  if (!p || !q) return INVALID_VALUE;
  if ((p < q ? q - p : p - q) < (ptrdiff_t)bytes) {
    fault("cuMemcpyDtoD: the ranges overlap");
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
    fault("cuMemcpy2D: not rows within the device");
    return INVALID_VALUE;
  }
  char *p = span(r->to.device, (r->height - 1) * r->to.pitch + r->width, "cuMemcpy2D");
  char *q = span(r->from.device, (r->height - 1) * r->from.pitch + r->width, "cuMemcpy2D");
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
  char *p = span(to, bytes, "cuMemsetD8");
  if (!p) return INVALID_VALUE;
  return copy((job){.kind = SET, .to = p, .bytes = bytes, .value = v}, NULL);
}

// ---- the driver: kernels -----------------------------------------------------------------------
static int
fits(const char *arch) { // one rule of the real ones: code for what is newer does not run
  const char *n = strchr(arch, '_');
  return n && strtol(n + 1, NULL, 10) <= set.capability;
}
static int load_guarded(module *m, const char *image) {
  const char *message = "", *source = strchr(image, '\n');
  if (setjmp(m->ctx->guard.jmp)) return OUT_OF_MEMORY;
  bool groups = !strncmp(image + sizeof magic - 1, "sm_90a\n", 7);
  m->groups = groups;
  if (load(m, source + 1, groups, &message) == SQ_OK) return OK;
  fault("%s", message);
  return INVALID_IMAGE;
}
// The one piece of PTX that the runtime has: it is not run, but what it asks of its launches is known.
static int load_setter(void **out, const char *image) {
  if (set.driver < 12040 || !strstr(image, "cudaGraphSetConditional")) return INVALID_IMAGE;
  module *m = calloc(1, sizeof *m);
  if (!m || !(m->function = calloc(1, sizeof *m->function))) abort();
  m->function[0] = (function){m, 0, 0};
  alive_others++;
  *out = m;
  return OK;
}
EXPORT int cuModuleLoadDataEx(void **out, const void *image, unsigned n, const int *o, void **v);
EXPORT int cuModuleLoadDataEx(void **out, const void *image, unsigned n, const int *o, void **v) {
  ENTER();
  NEED_CONTEXT();
  if (n && (!o || !v)) return INVALID_VALUE;
  if (!strncmp(image, ".version", 8)) return load_setter(out, image);
  if (memcmp(image, magic, sizeof magic - 1)) return INVALID_IMAGE;
  if (!fits((const char *)image + sizeof magic - 1)) return NO_BINARY;
  module *m = calloc(1, sizeof *m);
  if (!m || !(m->ctx = sq_ctx_new(sq_alloc_libc()))) return OUT_OF_MEMORY;
  int e = load_guarded(m, image);
  if (e) {
    sq_ctx_free(m->ctx);
    free(m);
    return e;
  }
  alive_others++;
  *out = m;
  return OK;
}
EXPORT int cuModuleUnload(void *p);
EXPORT int cuModuleUnload(void *p) {
  NEED_CONTEXT();
  module *m = p;
  flush();
  if (!m->code) free(m->function);
  if (m->code) sq_emu_free(m->code);
  if (m->ctx) sq_ctx_free(m->ctx);
  free(m);
  alive_others--;
  return OK;
}
EXPORT int cuModuleGetFunction(void **f, void *p, const char *name);
EXPORT int cuModuleGetFunction(void **f, void *p, const char *name) {
  ENTER();
  module *m = p;
  if (!m->code) {
    *f = &m->function[0];
    return strcmp(name, "seqm_goes_on") ? NOT_FOUND : OK;
  }
  for (uint32_t k = 0; k < m->code->n_kernel; k++)
    if (!strcmp(m->code->kernel[k].name, name)) {
      m->function[k] = (function){m, k, 48 << 10};
      *f = &m->function[k];
      return OK;
    }
  return NOT_FOUND;
}

EXPORT int cuFuncSetAttribute(function *f, int what, int value);
EXPORT int cuFuncSetAttribute(function *f, int what, int value) {
  ENTER();
  NEED_CONTEXT();
  if (what != 8 || value < 0 || value > most_shared()) return INVALID_VALUE;
  f->allowed = value;
  return OK;
}

EXPORT int cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *at,
                                  const unsigned long long *dim, const unsigned long long *stride,
                                  const unsigned *box, const unsigned *step, int interleave,
                                  int swizzle, int promotion, int fill);
EXPORT int cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *at,
                                  const unsigned long long *dim, const unsigned long long *stride,
                                  const unsigned *box, const unsigned *step, int interleave,
                                  int swizzle, int promotion, int fill) {
  ENTER();
  const fake_map m = {type, interleave, swizzle, promotion, fill, rank, at, dim, stride, box, step};
  const char *wrong = set.capability < 90 ? "the device has none" : fake_map_wrong(map, &m);
  if (wrong) {
    fault("cuTensorMapEncodeTiled: %s", wrong);
    return INVALID_VALUE;
  }
  fake_map_encode(map, &m);
  return OK;
}

// An address stands for what is left of its allocation; the first is where kernels fail into.
static bool translate(job *j, const uint64_t *given, uint32_t n, const sq_emu_kernel *kernel) {
  const char *name = kernel->name;
  uint64_t word[512];
  if (n > 512) return false;
  memcpy(word, given, n * sizeof *word);
  for (long long k = 0; j->f->m->groups && k < kernel->n_map; k++)
    if (!fake_map_decode(word + 8 + 16 * k))
      fault("%s: word %lld is no tensor map", name, 8 + 16 * k);
  j->arg = calloc(n, sizeof *j->arg);
  if (!j->arg) return false;
  j->n_arg = n;
  for (uint32_t k = 0; k < n; k++) {
    j->arg[k] = (sq_device_arg){(int64_t)word[k], -1};
    if (!in_range(word[k])) continue;
    struct block *b = block_of(word[k]);
    if (!b) {
      fault("%s: argument %u, %llx, is not inside an allocation", name, k, (address)word[k]);
      return false;
    }
    char *p = bytes_at(word[k]);
    j->arg[k] = (sq_device_arg){(int64_t)(uintptr_t)p, shadow + b->at + b->bytes - p};
  }
  j->error = (uint64_t *)(uintptr_t)j->arg[0].value;
  if (n && in_range(word[0])) return true;
  fault("%s: the first argument is not memory of the device", name);
  return false;
}
static int check_setter(unsigned blocks, unsigned threads, void **extra, job *out) {
  const uint64_t *word = extra[1];
  char *head = span(word[0], 48, "seqm_goes_on"), *flag = span(word[1], 1, "seqm_goes_on");
  if (blocks != 1 || threads != 1 || *(const size_t *)extra[3] != 40 || !head || !flag || !word[2])
    return INVALID_VALUE;
  *out = (job){.kind = CONDITION,
               .from = flag,
               .error = (uint64_t *)(void *)head,
               .condition = (condition *)(uintptr_t)word[2],
               .limit = (int64_t)word[3],
               .first = (int64_t)word[4]};
  return OK;
}
static int check_launch(function *f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by,
                        unsigned bz, unsigned shared, void **params, void **extra, job *out) {
  if (!f->m->code) return check_setter(x, bx, extra, out);
  const sq_emu_kernel *k = &f->m->code->kernel[f->number];
  bool form = !params && extra && extra[0] == (void *)1 && extra[2] == (void *)2 && !extra[4];
  size_t size = form ? *(const size_t *)extra[3] : 0;
  if (!form || size != 8 * (size_t)k->n_args || y != 1 || z != 1 || by != 1 || bz != 1 || !x ||
      (int)bx != k->threads) {
    fault("%s: %u x %u threads and %zu bytes do not fit the kernel", k->name, x, bx, size);
    return INVALID_VALUE;
  }
  if (shared != k->room || shared > f->allowed) {
    fault("%s: a launch brings %u bytes of shared memory, it wants %lld and may have %lld", k->name,
          shared, k->room, f->allowed);
    return INVALID_VALUE;
  }
  job j = {.kind = LAUNCH, .f = f, .blocks = x};
  if (!translate(&j, extra[1], (uint32_t)(size / 8), k)) {
    free(j.arg);
    return ILLEGAL_ADDRESS;
  }
  *out = j;
  return OK;
}
EXPORT int cuLaunchKernel(function *f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by,
                          unsigned bz, unsigned shared, void *s, void **params, void **extra);
EXPORT int cuLaunchKernel(function *f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by,
                          unsigned bz, unsigned shared, void *s, void **params, void **extra) {
  ENTER();
  NEED_STREAM(s);
  job j;
  int e = check_launch(f, x, y, z, bx, by, bz, shared, params, extra, &j);
  if (!e) add(j);
  return e;
}

// ---- the driver: graphs ------------------------------------------------------------------------
// Nodes in a row, each behind the one before. An instance has copies of them; what is changed there
// counts from its next launch on.
typedef struct node {
  struct graph *g;
  size_t at;
} node;
typedef struct graph {
  bool is_exec;
  size_t n;
  node **node; // of the graph; an instance has none
  job *job;
  condition *handle;  // made, and not yet of a node
  struct graph *body; // of the newest node that repeats one
} graph;
typedef struct any_params { // CUgraphNodeParams of a conditional node
  int type, reserved[3];
  unsigned long long handle;
  int what;
  unsigned size;
  graph **graphs;
  void *context;
  long long rest[25], reserved2;
} any_params;
_Static_assert(sizeof(any_params) == 256, "as the driver has it");
typedef struct launch_params { // CUDA_KERNEL_NODE_PARAMS_v2
  function *f;
  unsigned grid[3], block[3], shared;
  void **params, **extra;
  void *kernel, *context;
} launch_params;
typedef struct solid {
  size_t x, y, z, level;
  int type;
  const void *host;
  address device;
  void *array, *reserved;
  size_t pitch, height;
} solid;
typedef struct box { // CUDA_MEMCPY3D
  solid from, to;
  size_t width, height, depth;
} box;
typedef struct fill { // CUDA_MEMSET_NODE_PARAMS
  address to;
  size_t pitch;
  unsigned value, element;
  size_t width, height;
} fill;

static int launch_job(const launch_params *p, job *j) {
  if (p->kernel || p->context) return INVALID_VALUE;
  return check_launch(p->f, p->grid[0], p->grid[1], p->grid[2], p->block[0], p->block[1],
                      p->block[2], p->shared, p->params, p->extra, j);
}
static bool at_origin(const solid *s) { return s->type == 2 && !s->x && !s->y && !s->z; }
static int box_job(const box *b, job *j) {
  size_t last = b->height - 1;
  if (!at_origin(&b->from) || !at_origin(&b->to) || b->depth != 1 || !b->width || !b->height ||
      b->width > b->from.pitch || b->width > b->to.pitch) {
    fault("a node of a graph does not copy rows within the device");
    return INVALID_VALUE;
  }
  char *p = span(b->to.device, last * b->to.pitch + b->width, "a copy of a graph");
  char *q = span(b->from.device, last * b->from.pitch + b->width, "a copy of a graph");
  *j = (job){.kind = ROWS,
             .to = p,
             .from = q,
             .bytes = b->width,
             .to_pitch = b->to.pitch,
             .from_pitch = b->from.pitch,
             .height = b->height};
  return p && q ? OK : INVALID_VALUE;
}
static int fill_job(const fill *f, job *j) {
  char *p = f->element == 1 && f->height == 1 ? span(f->to, f->width, "a clear of a graph") : NULL;
  *j = (job){.kind = SET, .to = p, .bytes = f->width, .value = (int)f->value};
  return p ? OK : INVALID_VALUE;
}

static int add_node(graph *g, node **before, size_t n, node **out, int e, job j) {
  if (e) return e;
  if (g->is_exec || n != (g->n ? 1 : 0) || (n && before[0] != g->node[g->n - 1])) {
    fault("the nodes of a graph are not a row");
    return INVALID_VALUE;
  }
  g->node = realloc(g->node, (g->n + 1) * sizeof *g->node);
  g->job = realloc(g->job, (g->n + 1) * sizeof *g->job);
  *out = g->node[g->n] = malloc(sizeof **out);
  **out = (node){g, g->n};
  g->job[g->n++] = j;
  return OK;
}
static int set_node(graph *exec, node *n, int e, job j) {
  if (e) return e;
  if (!exec->is_exec || n->at >= exec->n || exec->job[n->at].kind != j.kind ||
      (j.kind == LAUNCH && exec->job[n->at].f != j.f) ||
      (j.kind == ROWS && (exec->job[n->at].height == 1) != (j.height == 1))) {
    fault("a node of a graph becomes another");
    free(j.arg);
    return INVALID_VALUE;
  }
  free(exec->job[n->at].arg);
  exec->job[n->at] = j;
  return OK;
}
static int drop_graph(graph *g) {
  flush(); // jobs of its loops
  for (size_t k = 0; k < g->n; k++) {
    free(g->job[k].arg);
    if (g->job[k].kind == REPEAT && !g->is_exec) {
      drop_graph(g->job[k].body);
      free(g->job[k].condition);
    }
    if (g->node) free(g->node[k]);
  }
  free(g->handle);
  free(g->node);
  free(g->job);
  free(g);
  alive_others--;
  return OK;
}
static job copy_job(job j) {
  sq_device_arg *arg = j.arg;
  if (!arg) return j;
  j.arg = malloc(j.n_arg * sizeof *arg);
  if (!j.arg) abort();
  memcpy(j.arg, arg, j.n_arg * sizeof *arg);
  return j;
}

static void repeat(const job *j) {
  while (j->condition->value && !sticky)
    for (size_t k = 0; k < j->body->n; k++) {
      job turn = copy_job(j->body->job[k]);
      run(&turn);
    }
}

EXPORT int cuGraphCreate(graph **g, unsigned flags);
EXPORT int cuGraphCreate(graph **g, unsigned flags) {
  ENTER();
  if (flags || !(*g = calloc(1, sizeof **g))) return INVALID_VALUE;
  alive_others++;
  return OK;
}
EXPORT int cuGraphDestroy(graph *g);
EXPORT int cuGraphDestroy(graph *g) { return drop_graph(g); }
EXPORT int cuGraphExecDestroy(graph *exec);
EXPORT int cuGraphExecDestroy(graph *exec) { return drop_graph(exec); }
EXPORT int cuGraphAddKernelNode_v2(node **n, graph *g, node **before, size_t k,
                                   const launch_params *p);
EXPORT int cuGraphAddKernelNode_v2(node **n, graph *g, node **before, size_t k,
                                   const launch_params *p) {
  ENTER();
  NEED_CONTEXT();
  job j = {0};
  int e = launch_job(p, &j);
  return add_node(g, before, k, n, e, j);
}
EXPORT int cuGraphAddMemcpyNode(node **n, graph *g, node **before, size_t k, const box *b, void *c);
EXPORT int cuGraphAddMemcpyNode(node **n, graph *g, node **before, size_t k, const box *b,
                                void *c) {
  ENTER();
  job j = {0};
  int e = c == &context_ ? box_job(b, &j) : INVALID_CONTEXT;
  return add_node(g, before, k, n, e, j);
}
EXPORT int cuGraphAddMemsetNode(node **n, graph *g, node **before, size_t k, const fill *f,
                                void *c);
EXPORT int cuGraphAddMemsetNode(node **n, graph *g, node **before, size_t k, const fill *f,
                                void *c) {
  ENTER();
  job j = {0};
  int e = c == &context_ ? fill_job(f, &j) : INVALID_CONTEXT;
  return add_node(g, before, k, n, e, j);
}
// A handle belongs to the one node that is made with it.
EXPORT int cuGraphConditionalHandleCreate(unsigned long long *h, graph *g, void *c, unsigned value,
                                          unsigned flags);
EXPORT int cuGraphConditionalHandleCreate(unsigned long long *h, graph *g, void *c, unsigned value,
                                          unsigned flags) {
  ENTER();
  if (set.driver < 12040 || !g || g->is_exec || c != &context_ || value || flags)
    return INVALID_VALUE;
  if (g->handle) fault("a handle of a graph is not used");
  g->handle = calloc(1, sizeof *g->handle);
  *h = (unsigned long long)(uintptr_t)g->handle;
  return g->handle ? OK : OUT_OF_MEMORY;
}
EXPORT int cuGraphAddNode_v2(node **n, graph *g, node **before, const void *edge, size_t k,
                             any_params *p);
EXPORT int cuGraphAddNode_v2(node **n, graph *g, node **before, const void *edge, size_t k,
                             any_params *p) {
  ENTER();
  condition *c = (condition *)(uintptr_t)p->handle;
  if (edge || p->type != 13 || p->what != 1 || p->size != 1 || c != g->handle || !c ||
      p->context != &context_)
    return INVALID_VALUE;
  graph *body = calloc(1, sizeof *body);
  if (!body) return OUT_OF_MEMORY;
  alive_others++;
  int e = add_node(g, before, k, n, OK, (job){.kind = REPEAT, .condition = c, .body = body});
  if (e) return drop_graph(body), e;
  g->handle = NULL; // the node's from now on
  g->job[g->n - 1].body = g->body = body;
  p->graphs = &g->body;
  return OK;
}
EXPORT int cuGraphInstantiateWithFlags(graph **exec, graph *g, unsigned long long flags);
EXPORT int cuGraphInstantiateWithFlags(graph **exec, graph *g, unsigned long long flags) {
  ENTER();
  NEED_CONTEXT();
  if (flags || !g->n) return INVALID_VALUE;
  graph *x = *exec = calloc(1, sizeof *x);
  if (!x || !(x->job = calloc(g->n, sizeof *x->job))) abort();
  for (; x->n < g->n; x->n++) x->job[x->n] = copy_job(g->job[x->n]);
  x->is_exec = true;
  alive_others++;
  return OK;
}
EXPORT int cuGraphExecKernelNodeSetParams_v2(graph *exec, node *n, const launch_params *p);
EXPORT int cuGraphExecKernelNodeSetParams_v2(graph *exec, node *n, const launch_params *p) {
  ENTER();
  job j = {0};
  int e = launch_job(p, &j);
  return set_node(exec, n, e, j);
}
EXPORT int cuGraphExecMemcpyNodeSetParams(graph *exec, node *n, const box *b, void *c);
EXPORT int cuGraphExecMemcpyNodeSetParams(graph *exec, node *n, const box *b, void *c) {
  ENTER();
  job j = {0};
  int e = c == &context_ ? box_job(b, &j) : INVALID_CONTEXT;
  return set_node(exec, n, e, j);
}
EXPORT int cuGraphExecMemsetNodeSetParams(graph *exec, node *n, const fill *f, void *c);
EXPORT int cuGraphExecMemsetNodeSetParams(graph *exec, node *n, const fill *f, void *c) {
  ENTER();
  job j = {0};
  int e = c == &context_ ? fill_job(f, &j) : INVALID_CONTEXT;
  return set_node(exec, n, e, j);
}
EXPORT int cuGraphLaunch(graph *exec, void *s);
EXPORT int cuGraphLaunch(graph *exec, void *s) {
  ENTER();
  NEED_STREAM(s);
  if (!exec->is_exec) return INVALID_VALUE;
  for (size_t k = 0; k < exec->n; k++) add(copy_job(exec->job[k]));
  return OK;
}

// ---- NVRTC -------------------------------------------------------------------------------------
typedef struct program {
  char *source, *code;
  size_t size;
} program;
EXPORT int nvrtcVersion(int *major, int *minor);
EXPORT int nvrtcVersion(int *major, int *minor) {
  if (!set.read) read_settings();
  *major = (int)set.nvrtc / 1000;
  *minor = (int)set.nvrtc % 1000 / 10;
  return OK;
}
EXPORT int nvrtcGetNumSupportedArchs(int *n);
EXPORT int nvrtcGetNumSupportedArchs(int *n) { return *n = 3, OK; }
EXPORT int nvrtcGetSupportedArchs(int *arch);
EXPORT int nvrtcGetSupportedArchs(int *arch) {
  memcpy(arch, (const int[]){80, 90, 100}, 3 * sizeof *arch);
  return OK;
}
EXPORT int nvrtcCreateProgram(program **p, const char *source, const char *name, int n,
                              const char *const *headers, const char *const *names);
EXPORT int nvrtcCreateProgram(program **p, const char *source, const char *name, int n,
                              const char *const *headers, const char *const *names) {
  (void)name, (void)headers, (void)names;
  if (n) return 3;
  *p = calloc(1, sizeof **p);
  (*p)->source = strdup(source);
  return OK;
}
EXPORT int nvrtcDestroyProgram(program **p);
EXPORT int nvrtcDestroyProgram(program **p) {
  free((*p)->source);
  free((*p)->code);
  free(*p);
  *p = NULL;
  return OK;
}
EXPORT int nvrtcCompileProgram(program *p, int n, const char *const *option);
EXPORT int nvrtcCompileProgram(program *p, int n, const char *const *option) {
  const char *arch = NULL;
  for (int k = 0; k < n; k++)
    if (!strncmp(option[k], "--gpu-architecture=", 19)) arch = option[k] + 19;
  if (enter(__func__)) return 6;
  if (!arch) return 5;
  size_t room = strlen(p->source) + 64;
  p->code = malloc(room);
  p->size = (size_t)snprintf(p->code, room, "%s%s\n%s", magic, arch, p->source) + 1;
  return OK;
}
EXPORT int nvrtcGetProgramLogSize(program *p, size_t *n);
EXPORT int nvrtcGetProgramLogSize(program *p, size_t *n) {
  *n = p->code ? 1 : 20;
  return OK;
}
EXPORT int nvrtcGetProgramLog(program *p, char *log);
EXPORT int nvrtcGetProgramLog(program *p, char *log) {
  memcpy(log, "what the log says..", 20);
  if (p->code) *log = 0;
  return OK;
}
EXPORT int nvrtcGetCUBINSize(program *p, size_t *n);
EXPORT int nvrtcGetCUBINSize(program *p, size_t *n) { return *n = p->size, OK; }
EXPORT int nvrtcGetCUBIN(program *p, char *code);
EXPORT int nvrtcGetCUBIN(program *p, char *code) { return memcpy(code, p->code, p->size), OK; }
EXPORT int nvrtcGetPTXSize(program *p, size_t *n);
EXPORT int nvrtcGetPTXSize(program *p, size_t *n) { return *n = p->size, OK; }
EXPORT int nvrtcGetPTX(program *p, char *code);
EXPORT int nvrtcGetPTX(program *p, char *code) { return memcpy(code, p->code, p->size), OK; }
EXPORT const char *nvrtcGetErrorString(int e);
EXPORT const char *nvrtcGetErrorString(int e) {
  return e == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR";
}

// ---- what tests ask ----------------------------------------------------------------------------
static void reset(void) {
  read_settings();
  set.calls = 0;
  *set.faults = 0;
  *set.fail_name = 0;
  memset(counted, 0, sizeof counted);
  sticky = 0;
}
static void fail(const char *name, long nth, int code) {
  snprintf(set.fail_name, sizeof set.fail_name, "%s", name ? name : "*");
  set.fail_nth = nth;
  set.fail_code = code;
}
static long calls(const char *name) { return name ? *count_of(name) : set.calls; }
static long alive(void) { return alive_blocks + alive_others; }
static const char *faults(void) { return set.faults; }
static const void *look(address at) {
  flush();
  return block_of(at) ? bytes_at(at) : NULL;
}
static address allocate_for(address bytes) {
  address at = 0;
  return allocate(&at, (size_t)bytes) ? 0 : at;
}
static void free_for(address at) {
  current[depth++] = &context_;
  cuMemFree_v2(at);
  depth--;
}
EXPORT extern const fake_gpu fake_gpu_calls;
EXPORT const fake_gpu fake_gpu_calls = {reset,  fail, calls,        alive,
                                        faults, look, allocate_for, free_for};

// A command has nobody to ask: what is wrong is said at the end.
__attribute__((destructor)) static void end(void) {
  for (int k = 0; set.count && counted[k].name; k++)
    fprintf(stderr, "fake GPU: %s %ld\n", counted[k].name, counted[k].n);
  if (*set.faults) fprintf(stderr, "fake GPU: faults: %s\n", set.faults);
  if (alive()) fprintf(stderr, "fake GPU: %ld things are left\n", alive());
  if (depth) fprintf(stderr, "fake GPU: %d contexts are left current\n", depth);
}
