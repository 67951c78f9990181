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
//
// fake_gpu_memory.c has memory and copies, fake_gpu_kernels.c code, launches and the queue, fake_gpu_graphs.c graphs,
// fake_gpu_map.c tensor maps; here are settings, counts, contexts, streams, and what tests ask.
#include "fake_gpu.h"
#include "fake_gpu_inner.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- settings ----------------------------------------------------------------------------------
struct fg_settings fg_set;

void fg_fault(const char *fmt, ...) {
  size_t n = strlen(fg_set.faults);
  va_list ap;
  va_start(ap, fmt);
  if (n + 2 < sizeof fg_set.faults) {
    n += (size_t)snprintf(fg_set.faults + n, sizeof fg_set.faults - n, n ? "; " : "");
    vsnprintf(fg_set.faults + n, sizeof fg_set.faults - n, fmt, ap);
  }
  va_end(ap);
}

static void number(const char *text, const char *key, long *v) {
  const char *at = strstr(text, key);
  if (at && at[strlen(key)] == '=') *v = strtol(at + strlen(key) + 1, NULL, 10);
}

void fg_read_settings(void) {
  const char *text = getenv("SEQM_FAKE_GPU"), *at;
  fg_set.devices = 1;
  fg_set.capability = 90;
  fg_set.driver = fg_set.nvrtc = 13000;
  fg_set.memory = 1l << 34;
  fg_set.read = true;
  if (!text) return;
  number(text, "devices", &fg_set.devices);
  number(text, "capability", &fg_set.capability);
  number(text, "driver", &fg_set.driver);
  number(text, "nvrtc", &fg_set.nvrtc);
  number(text, "memory", &fg_set.memory);
  number(text, "shared", &fg_set.shared);
  number(text, "count", &fg_set.count);
  if ((at = strstr(text, "fail=")))
    sscanf(at + 5, "%63[^:]:%ld:%d", fg_set.fail_name, &fg_set.fail_nth, &fg_set.fail_code);
}

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
int fg_enter(const char *name) {
  if (!fg_set.read) fg_read_settings();
  bool harmless = !strcmp(name, "cuCtxPushCurrent_v2"); // nothing could be given back without it
  fg_set.calls += !harmless;
  ++*count_of(name);
  bool named = !strcmp(fg_set.fail_name, name), any = !strcmp(fg_set.fail_name, "*") && !harmless;
  if ((named || any) && fg_set.fail_nth > 0 && --fg_set.fail_nth == 0) return fg_set.fail_code;
  return OK;
}

// ---- contexts ----------------------------------------------------------------------------------
int fg_context, fg_stream;
long fg_alive;
static _Thread_local void *current[64];
static _Thread_local int depth;
int fg_need_context(const char *who) {
  if (depth > 0 && current[depth - 1] == &fg_context) return OK;
  fg_fault("%s: no context is current", who);
  return INVALID_CONTEXT;
}

// ---- the driver: start -------------------------------------------------------------------------
EXPORT int cuInit(unsigned flags);
EXPORT int cuInit(unsigned flags) {
  ENTER();
  if (flags) return INVALID_VALUE;
  return fg_set.devices < 0 ? NO_DEVICE : OK; // as a driver without a device may say
}
EXPORT int cuDriverGetVersion(int *v);
EXPORT int cuDriverGetVersion(int *v) {
  ENTER();
  *v = (int)fg_set.driver;
  return OK;
}
EXPORT int cuDeviceGetCount(int *n);
EXPORT int cuDeviceGetCount(int *n) {
  ENTER();
  *n = (int)fg_set.devices;
  return OK;
}
EXPORT int cuDeviceGet(int *d, int k);
EXPORT int cuDeviceGet(int *d, int k) {
  ENTER();
  *d = k;
  return k >= 0 && k < fg_set.devices ? OK : 101;
}
EXPORT int cuDeviceGetName(char *name, int n, int d);
EXPORT int cuDeviceGetName(char *name, int n, int d) {
  ENTER();
  snprintf(name, (size_t)n, "fake GPU %d", d);
  return OK;
}
// That of a block, by the tables of the programming guide.
long fg_most_shared(void) {
  const long c = fg_set.capability;
  if (fg_set.shared) return fg_set.shared;
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
    return *v = (int)fg_set.capability / 10, OK;
  case 76:
    return *v = (int)fg_set.capability % 10, OK;
  case 97:
    return *v = (int)fg_most_shared(), OK;
  default:
    return INVALID_VALUE;
  }
}
EXPORT int cuDevicePrimaryCtxRetain(void **c, int d);
EXPORT int cuDevicePrimaryCtxRetain(void **c, int d) {
  ENTER();
  (void)d;
  *c = &fg_context;
  fg_alive++;
  return OK;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int d);
EXPORT int cuDevicePrimaryCtxRelease_v2(int d) {
  (void)d;
  fg_flush();
  fg_alive--;
  return OK;
}
EXPORT int cuCtxPushCurrent_v2(void *c);
EXPORT int cuCtxPushCurrent_v2(void *c) {
  ENTER();
  if (depth == 64) {
    fg_fault("contexts are pushed and not popped");
    return INVALID_VALUE;
  }
  current[depth++] = c;
  return OK;
}
EXPORT int cuCtxPopCurrent_v2(void **c);
EXPORT int cuCtxPopCurrent_v2(void **c) {
  if (!depth) {
    fg_fault("no context to pop");
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
int fg_need_stream(void *s, const char *who) {
  if (s == &fg_stream) return OK;
  fg_fault("%s: not the stream", who);
  return INVALID_VALUE;
}
EXPORT int cuStreamCreate(void **s, unsigned flags);
EXPORT int cuStreamCreate(void **s, unsigned flags) {
  ENTER();
  NEED_CONTEXT();
  if (flags) return INVALID_VALUE;
  *s = &fg_stream;
  fg_alive++;
  return OK;
}
EXPORT int cuStreamDestroy_v2(void *s);
EXPORT int cuStreamDestroy_v2(void *s) {
  NEED_CONTEXT();
  if (s != &fg_stream) return INVALID_VALUE;
  fg_alive--;
  return fg_flush();
}
EXPORT int cuStreamSynchronize(void *s);
EXPORT int cuStreamSynchronize(void *s) {
  ENTER();
  NEED_STREAM(s);
  return fg_flush();
}
EXPORT int cuEventCreate(void **e, unsigned flags);
EXPORT int cuEventCreate(void **e, unsigned flags) {
  ENTER();
  NEED_CONTEXT();
  (void)flags;
  *e = malloc(1);
  fg_alive++;
  return *e ? OK : OUT_OF_MEMORY;
}
EXPORT int cuEventDestroy_v2(void *e);
EXPORT int cuEventDestroy_v2(void *e) {
  free(e);
  fg_alive--;
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
  if (e) return fg_flush();
  return INVALID_VALUE;
}

// ---- what tests ask ----------------------------------------------------------------------------
static void reset(void) {
  fg_read_settings();
  fg_set.calls = 0;
  *fg_set.faults = 0;
  *fg_set.fail_name = 0;
  memset(counted, 0, sizeof counted);
  fg_sticky = 0;
}
static void fail(const char *name, long nth, int code) {
  snprintf(fg_set.fail_name, sizeof fg_set.fail_name, "%s", name ? name : "*");
  fg_set.fail_nth = nth;
  fg_set.fail_code = code;
}
static long calls(const char *name) { return name ? *count_of(name) : fg_set.calls; }
static long alive(void) { return fg_alive; }
static const char *faults(void) { return fg_set.faults; }
static const void *look(address at) {
  fg_flush();
  return fg_place(at, NULL);
}
static address allocate_for(address bytes) {
  address at = 0;
  return fg_allocate(&at, (size_t)bytes) ? 0 : at;
}
static void free_for(address at) {
  current[depth++] = &fg_context;
  fg_free(at);
  depth--;
}
EXPORT extern const fake_gpu fake_gpu_calls;
EXPORT const fake_gpu fake_gpu_calls = {reset,  fail, calls,        alive,
                                        faults, look, allocate_for, free_for};

// A command has nobody to ask: what is wrong is said at the end.
__attribute__((destructor)) static void end(void) {
  for (int k = 0; fg_set.count && counted[k].name; k++)
    fprintf(stderr, "fake GPU: %s %ld\n", counted[k].name, counted[k].n);
  if (*fg_set.faults) fprintf(stderr, "fake GPU: faults: %s\n", fg_set.faults);
  if (alive()) fprintf(stderr, "fake GPU: %ld things are left\n", alive());
  if (depth) fprintf(stderr, "fake GPU: %d contexts are left current\n", depth);
}
