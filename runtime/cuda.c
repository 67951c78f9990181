// A CUDA device: opened, its memory, copies. Copies from and to the host go through pinned slots:
//
//   host --memcpy--> slot k --driver--> device       slot k + 1 is filled meanwhile
//
// so that the host's memory may change when a call returns, and the bus is as fast as it can be.
#include "runtime/cuda.h"
#include <stdlib.h>
#include <string.h>

int sq_gpu_failed(sq_gpu *d, int code, const char *function) {
  if (code) sq_nv_explain(&d->cu, code, function, d->trouble, sizeof d->trouble);
  return code;
}
int sq_gpu_enter(sq_gpu *d) { return sq_gpu_failed(d, d->cu.CtxPush(d->ctx), "cuCtxPushCurrent"); }
void sq_gpu_leave(sq_gpu *d) {
  void *mine;
  d->cu.CtxPop(&mine);
}

// --- opening ------------------------------------------------------------------------------------
static int ask(sq_gpu *d) {
  int n = 0, major = 0, minor = 0, e;
  if ((e = sq_gpu_failed(d, d->cu.DeviceGetCount(&n), "cuDeviceGetCount"))) return e;
  if (n < 1) {
    memcpy(d->trouble, "the CUDA driver finds no device that it can use", 48);
    return SQ_NV_NO_DEVICE;
  }
  if ((e = sq_gpu_failed(d, d->cu.DeviceGet(&d->ordinal, 0), "cuDeviceGet"))) return e;
  d->cu.DeviceGetName(d->name, sizeof d->name - 1, d->ordinal);
  e = d->cu.DeviceGetAttribute(&major, SQ_NV_CAPABILITY_MAJOR, d->ordinal);
  if (!e) e = d->cu.DeviceGetAttribute(&minor, SQ_NV_CAPABILITY_MINOR, d->ordinal);
  d->gpu = (sq_abi_gpu){(uint32_t)(10 * major + minor), (uint32_t)d->cu.version};
  return sq_gpu_failed(d, e, "cuDeviceGetAttribute");
}

// The primary context: the one in which other libraries of the process have their tensors.
static int start(sq_gpu *d) {
  int e = ask(d);
  if (e) return e;
  e = sq_gpu_failed(d, d->cu.CtxRetain(&d->ctx, d->ordinal), "cuDevicePrimaryCtxRetain");
  if (e) {
    d->ctx = NULL;
    return e;
  }
  if ((e = sq_gpu_enter(d))) return e;
  // Flags 0: in order with the default stream of who else works in this context.
  e = sq_gpu_failed(d, d->cu.StreamCreate(&d->stream, 0), "cuStreamCreate");
  if (e) d->stream = NULL;
  sq_gpu_leave(d);
  return e;
}

static void stop(sq_gpu *d) {
  if (d->ctx && !d->cu.CtxPush(d->ctx)) {
    if (d->stream) d->cu.StreamSynchronize(d->stream);
    sq_gpu_loop_close(d);
    for (int k = 0; k < SQ_GPU_SLOTS; k++)
      if (d->free_again[k]) d->cu.EventDestroy(d->free_again[k]);
    if (d->pinned) d->cu.MemFreeHost(d->pinned);
    if (d->spare) d->cu.MemFree((sq_nv_address)(uintptr_t)d->spare);
    if (d->stream) d->cu.StreamDestroy(d->stream);
    sq_gpu_leave(d);
  }
  if (d->ctx) d->cu.CtxRelease(d->ordinal);
  sq_gpu_list_drop(d);
  sq_nv_close(&d->cu);
}

int sq_gpu_open(seqm_context *ctx, sq_gpu **out) {
  *out = ctx->gpu;
  if (ctx->gpu) return SQ_OK;
  sq_gpu *d = sq_mem_get(ctx, sizeof *d);
  if (!d) return sq_rt_no_memory(ctx);
  d->alloc = ctx->alloc;
  d->count = 1;
  if (sq_nv_open(&d->cu, d->trouble, sizeof d->trouble)) {
    if (!start(d)) {
      const char *told = getenv("SEQM_CUDA_GRAPH");
      d->graphs = !told || strcmp(told, "0") != 0;
      *out = ctx->gpu = d;
      return SQ_OK;
    }
    stop(d);
  }
  int status = sq_rt_fail(ctx, SQ_EWORLD, "the target cuda needs a GPU: %s", d->trouble);
  sq_mem_drop(ctx, d);
  return status;
}

void sq_gpu_hold(sq_gpu *d) { __atomic_add_fetch(&d->count, 1, __ATOMIC_RELAXED); }

void sq_gpu_release(sq_gpu *d) {
  if (!d || __atomic_sub_fetch(&d->count, 1, __ATOMIC_ACQ_REL)) return;
  stop(d);
  d->alloc.fn(d->alloc.user, d, 0);
}

// --- memory -------------------------------------------------------------------------------------
void *sq_gpu_get(sq_gpu *d, size_t bytes) {
  sq_nv_address at = 0;
  if (sq_gpu_enter(d)) return NULL;
  int e = sq_gpu_failed(d, d->cu.MemAlloc(&at, bytes ? bytes : 1), "cuMemAlloc");
  sq_gpu_leave(d);
  return e ? NULL : (void *)(uintptr_t)at;
}

// Waits until all that was asked for before is done.
void sq_gpu_drop(sq_gpu *d, void *p) {
  if (!p || sq_gpu_enter(d)) return;
  sq_gpu_flush(d); // the call will hear of a failure
  d->cu.MemFree((sq_nv_address)(uintptr_t)p);
  sq_gpu_leave(d);
}

static int make_slots(sq_gpu *d) {
  void *p = NULL;
  if (d->pinned) return 0;
  for (int k = 0; k < SQ_GPU_SLOTS; k++) {
    if (d->free_again[k]) continue;
    int e = d->cu.EventCreate(&d->free_again[k], SQ_NV_EVENT_NO_TIMING);
    if (e) d->free_again[k] = NULL;
    if (e) return sq_gpu_failed(d, e, "cuEventCreate");
  }
  int e = d->cu.MemAllocHost(&p, (size_t)SQ_GPU_SLOTS * SQ_GPU_SLOT_BYTES);
  if (!e) d->pinned = p;
  return sq_gpu_failed(d, e, "cuMemAllocHost");
}

// The next slot, when what was last in it has arrived.
static int take_slot(sq_gpu *d, unsigned *k) {
  int e = make_slots(d);
  if (e) return e;
  if ((e = sq_gpu_flush(d))) return e;
  *k = d->next_slot++ % SQ_GPU_SLOTS;
  return sq_gpu_failed(d, d->cu.EventSynchronize(d->free_again[*k]), "cuEventSynchronize");
}

static char *slot(const sq_gpu *d, unsigned k) { return d->pinned + (size_t)k * SQ_GPU_SLOT_BYTES; }

static int put(sq_gpu *d, char *to, const char *from, size_t bytes) {
  while (bytes) {
    size_t n = bytes < SQ_GPU_SLOT_BYTES ? bytes : SQ_GPU_SLOT_BYTES;
    unsigned k;
    int e = take_slot(d, &k);
    if (e) return e;
    memcpy(slot(d, k), from, n);
    e = d->cu.MemcpyHtoD((sq_nv_address)(uintptr_t)to, slot(d, k), n, d->stream);
    if (e) return sq_gpu_failed(d, e, "cuMemcpyHtoD");
    if ((e = d->cu.EventRecord(d->free_again[k], d->stream)))
      return sq_gpu_failed(d, e, "cuEventRecord");
    to += n;
    from += n;
    bytes -= n;
  }
  return 0;
}

int sq_gpu_put(sq_gpu *d, void *to, const void *from, size_t bytes) {
  int e = bytes ? sq_gpu_enter(d) : 0;
  if (!bytes || e) return e;
  e = put(d, to, from, bytes);
  sq_gpu_leave(d);
  return e;
}

static int ask_for(sq_gpu *d, const char *from, size_t n, unsigned *k) {
  int e = take_slot(d, k);
  if (e) return e;
  e = d->cu.MemcpyDtoH(slot(d, *k), (sq_nv_address)(uintptr_t)from, n, d->stream);
  if (e) return sq_gpu_failed(d, e, "cuMemcpyDtoH");
  return sq_gpu_failed(d, d->cu.EventRecord(d->free_again[*k], d->stream), "cuEventRecord");
}

// Half of the slots are on their way while the host reads another.
static int take(sq_gpu *d, char *to, const char *from, size_t bytes) {
  enum { AHEAD = SQ_GPU_SLOTS / 2 };
  unsigned at[AHEAD];
  size_t step = SQ_GPU_SLOT_BYTES, n = (bytes + step - 1) / step;
  for (size_t k = 0; k < n + AHEAD; k++) {
    if (k >= AHEAD) { // what was asked for AHEAD turns before
      size_t old = k - AHEAD, size = old + 1 < n ? step : bytes - old * step;
      if (old >= n) continue;
      int e = d->cu.EventSynchronize(d->free_again[at[old % AHEAD]]);
      if (e) return sq_gpu_failed(d, e, "cuEventSynchronize");
      memcpy(to + old * step, slot(d, at[old % AHEAD]), size);
    }
    if (k >= n) continue;
    int e = ask_for(d, from + k * step, k + 1 < n ? step : bytes - k * step, &at[k % AHEAD]);
    if (e) return e;
  }
  return 0;
}

int sq_gpu_take(sq_gpu *d, void *to, const void *from, size_t bytes) {
  int e = bytes ? sq_gpu_enter(d) : 0;
  if (!bytes || e) return e;
  e = take(d, to, from, bytes);
  sq_gpu_leave(d);
  return e;
}

// --- copies within ------------------------------------------------------------------------------
static int spare(sq_gpu *d, size_t bytes) {
  if (bytes <= d->spare_bytes) return 0;
  sq_nv_address at = 0;
  int e = sq_gpu_flush(d); // copies by way of it
  if (e) return e;
  if (d->spare) d->cu.MemFree((sq_nv_address)(uintptr_t)d->spare);
  d->spare = NULL;
  d->spare_bytes = 0;
  e = sq_gpu_failed(d, d->cu.MemAlloc(&at, bytes), "cuMemAlloc");
  if (e) return e;
  d->spare = (void *)(uintptr_t)at;
  d->spare_bytes = bytes;
  return 0;
}

static int rows(sq_gpu *d, const sq_gpu_rows *r) {
  return sq_gpu_ask(d, &(sq_gpu_op){.kind = SQ_GPU_ROWS, .rows = *r}, NULL);
}
static int copy(sq_gpu *d, void *to, const void *from, size_t bytes) {
  return rows(d, &(sq_gpu_rows){to, from, bytes, bytes, bytes, 1});
}

static int move(sq_gpu *d, void *to, const void *from, size_t bytes) {
  uintptr_t a = (uintptr_t)to, b = (uintptr_t)from;
  if ((a < b ? b - a : a - b) >= bytes) return copy(d, to, from, bytes);
  int e = spare(d, bytes);
  if (!e) e = copy(d, d->spare, from, bytes);
  return e ? e : copy(d, to, d->spare, bytes);
}

int sq_gpu_move(sq_gpu *d, void *to, const void *from, size_t bytes) {
  if (!bytes || to == from) return 0;
  int e = sq_gpu_enter(d);
  if (e) return e;
  e = move(d, to, from, bytes);
  sq_gpu_leave(d);
  return e;
}

int sq_gpu_move_rows(sq_gpu *d, void *to, size_t to_pitch, const void *from, size_t from_pitch,
                     size_t width, size_t height) {
  if (!width || !height) return 0;
  int e = sq_gpu_enter(d);
  if (e) return e;
  e = rows(d, &(sq_gpu_rows){to, from, to_pitch, from_pitch, width, height});
  sq_gpu_leave(d);
  return e;
}
