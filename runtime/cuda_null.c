// A driver without a device: SEQM_CUDA_DRIVER=null, or null:86 for capability 8.6. Everything is planned,
// compiled, loaded and counted as on a device; nothing is launched, and what comes back is zeros. For
// looking at sizes, and for tests of all but execution, on any machine.
#include "runtime/cuda_driver.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int context, stream, event, module, function, graph, node; // their addresses are the handles
static int capability;                                            // of the process: one environment

static int init(unsigned flags) { return flags != 0; }
static int version(int *v) { return *v = 13000, 0; }
static int device_count(int *n) { return *n = 1, 0; }
static int device_get(int *d, int k) { return *d = k, k != 0; }
static int device_name(char *name, int n, int d) {
  (void)d;
  snprintf(name, (size_t)n, "the null device");
  return 0;
}
static int attribute(int *v, int what, int d) {
  (void)d;
  *v = what == SQ_NV_CAPABILITY_MAJOR   ? capability / 10
       : what == SQ_NV_CAPABILITY_MINOR ? capability % 10
       : what == SQ_NV_MOST_SHARED      ? 227 << 10
                                        : 0;
  return 0;
}
static int retain(void **c, int d) { return *c = &context, d; }
static int release(int d) { return d; }
static int push(void *c) { return c != &context; }
static int pop(void **c) { return *c = &context, 0; }
static int stream_new(void **s, unsigned flags) { return *s = &stream, (int)flags; }
static int event_new(void **e, unsigned flags) {
  return *e = &event, flags != SQ_NV_EVENT_NO_TIMING;
}
static int handle(void *h) { return h == NULL; }
static int record(void *e, void *s) { return !e || !s; }
// Addresses that nothing is behind.
static int allocate(sq_nv_address *at, size_t bytes) {
  static sq_nv_address next = 1ull << 46;
  *at = __atomic_fetch_add(&next, (bytes + 511) / 256 * 256, __ATOMIC_RELAXED);
  return 0;
}
static int drop(sq_nv_address at) { return at == 0; }
static int allocate_host(void **p, size_t bytes) {
  *p = malloc(bytes);
  return *p ? 0 : SQ_NV_OUT_OF_MEMORY;
}
static int drop_host(void *p) { return free(p), 0; }
static int to_device(sq_nv_address to, const void *from, size_t bytes, void *s) {
  return !to || !from || !bytes || !s;
}
static int to_host(void *to, sq_nv_address from, size_t bytes, void *s) {
  if (!from || !s) return 1;
  memset(to, 0, bytes);
  return 0;
}
static int within(sq_nv_address to, sq_nv_address from, size_t bytes, void *s) {
  return !to || !from || !bytes || !s;
}
static int rows(const sq_nv_rows *r, void *s) { return !r->to.device || !r->from.device || !s; }
static int set(sq_nv_address to, unsigned char v, size_t bytes, void *s) {
  return !to || v || !bytes || !s;
}
static int load(void **m, const void *image, unsigned n, const int *option, void **value) {
  (void)n, (void)option, (void)value;
  *m = &module;
  return image == NULL;
}
static int get_function(void **f, void *m, const char *name) { return *f = &function, !m || !name; }
static int function_attribute(void *f, int what, int value) {
  return !f || what != SQ_NV_FUNCTION_MOST_SHARED || value <= 0;
}
static int encode_map(void *map, int type, unsigned rank, void *at, const unsigned long long *dim,
                      const unsigned long long *stride, const unsigned *box, const unsigned *step,
                      int interleave, int swizzle, int promotion, int fill) {
  (void)type, (void)promotion, (void)swizzle;
  return !map || !rank || rank > 5 || !at || !dim || !stride || !box || !step || interleave || fill;
}
static int launch(void *f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by,
                  unsigned bz, unsigned shared, void *s, void **params, void **extra) {
  (void)shared, (void)params;
  return !f || !x || !y || !z || bx > 1024 || !bx || !by || !bz || !s || !extra;
}
static int graph_new(void **g, unsigned flags) { return *g = &graph, (int)flags; }
static int add_kernel(void **n, void *g, void **before, size_t k, const sq_nv_node *p) {
  *n = &node;
  return !g || !before != !k || !p->function || !p->grid[0] || !p->block[0] || !p->extra;
}
static int add_box(void **n, void *g, void **before, size_t k, const sq_nv_box *p, void *c) {
  *n = &node;
  return !g || !before != !k || !p->to.device || !p->from.device || !c;
}
static int add_fill(void **n, void *g, void **before, size_t k, const sq_nv_fill *p, void *c) {
  *n = &node;
  return !g || !before != !k || !p->to || !c;
}
static int instantiate(void **e, void *g, unsigned long long flags) {
  *e = &graph;
  return !g || flags;
}
static int set_kernel(void *e, void *n, const sq_nv_node *p) { return !e || !n || !p->extra; }
static int set_box(void *e, void *n, const sq_nv_box *p, void *c) { return !e || !n || !p || !c; }
static int set_fill(void *e, void *n, const sq_nv_fill *p, void *c) { return !e || !n || !p || !c; }
static int error_name(int e, const char **name) {
  return *name = "CUDA_ERROR_INVALID_VALUE", e != 1;
}
static int error_text(int e, const char **text) { return *text = "invalid argument", e != 1; }

bool sq_nv_null(sq_nv_driver *d, const char *name) {
  if (strcmp(name, "null") && strncmp(name, "null:", 5)) return false;
  capability = name[4] ? atoi(name + 5) : 90;
  *d = (sq_nv_driver){.version = 13000,
                      .Init = init,
                      .DriverGetVersion = version,
                      .DeviceGetCount = device_count,
                      .DeviceGet = device_get,
                      .DeviceGetName = device_name,
                      .DeviceGetAttribute = attribute,
                      .CtxRetain = retain,
                      .CtxRelease = release,
                      .CtxPush = push,
                      .CtxPop = pop,
                      .StreamCreate = stream_new,
                      .StreamDestroy = handle,
                      .StreamSynchronize = handle,
                      .EventCreate = event_new,
                      .EventDestroy = handle,
                      .EventRecord = record,
                      .EventSynchronize = handle,
                      .MemAlloc = allocate,
                      .MemFree = drop,
                      .MemAllocHost = allocate_host,
                      .MemFreeHost = drop_host,
                      .MemcpyHtoD = to_device,
                      .MemcpyDtoH = to_host,
                      .MemcpyDtoD = within,
                      .MemcpyRows = rows,
                      .Memset = set,
                      .ModuleLoad = load,
                      .ModuleUnload = handle,
                      .ModuleGetFunction = get_function,
                      .TensorMapEncode = encode_map,
                      .FuncSetAttribute = function_attribute,
                      .LaunchKernel = launch,
                      .GraphCreate = graph_new,
                      .GraphDestroy = handle,
                      .GraphAddKernel = add_kernel,
                      .GraphAddMemcpy = add_box,
                      .GraphAddMemset = add_fill,
                      .GraphInstantiate = instantiate,
                      .ExecDestroy = handle,
                      .ExecSetKernel = set_kernel,
                      .ExecSetMemcpy = set_box,
                      .ExecSetMemset = set_fill,
                      .GraphLaunch = record,
                      .GetErrorName = error_name,
                      .GetErrorString = error_text};
  return true;
}
