// Kernels on a CUDA device. In: images for several architectures. Out: the functions of the one that
// fits, and the device's side of a call: launches, words read and written, the error word.
//
//   sm_80 sm_90a compute_80   on a 9.0: sm_90a;  on an 8.6: sm_80;  on a 12.0: compute_80, which the
//                             driver compiles
#include "runtime/cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sq_gpu_code {
  sq_gpu *gpu;
  void *module;
  void **function;
  const sq_abi_kernels *k;
  const uint32_t *room; // of the image, by kernel
  bool maps;            // its kernels read tensor maps
  sq_gpu_errors *errors;
};

// --- choosing -----------------------------------------------------------------------------------
// How well it fits; 0: not. A cubin runs where the major number is its own and the minor one no less;
// one of a specific architecture ("sm_90a") there alone; PTX on all that is newer.
static uint32_t fitness(const char *arch, uint32_t capability) {
  char *end;
  bool ptx = !strncmp(arch, "compute_", 8);
  if (!ptx && strncmp(arch, "sm_", 3)) return 0;
  unsigned long made = strtoul(arch + (ptx ? 8 : 3), &end, 10);
  if (made > capability || made == 0) return 0;
  if (*end == 'a' && made != capability) return 0;
  if ((*end || !ptx) && made / 10 != capability / 10) return 0;
  return (uint32_t)made * 4 + (ptx ? 0 : 2) + (*end ? 1 : 0) +
         (made / 10 == capability / 10 ? 4000 : 0);
}

const sq_abi_image *sq_gpu_choose(const sq_abi_kernels *k, uint32_t capability) {
  const sq_abi_image *best = NULL;
  uint32_t best_fit = 0;
  for (uint32_t i = 0; i < k->n_image; i++) {
    uint32_t fit = fitness(k->image[i].arch, capability);
    if (fit <= best_fit) continue;
    best_fit = fit;
    best = &k->image[i];
  }
  return best;
}

static int fail_choice(seqm_context *ctx, const sq_gpu *d, const sq_abi_kernels *k) {
  sq_rt_fail(ctx, SQ_EMODEL, "%s has capability %u.%u, but the kernels are for", d->name,
             d->gpu.capability / 10, d->gpu.capability % 10);
  for (uint32_t i = 0; i < k->n_image; i++)
    sq_message_add(ctx, "%s %s", i ? "," : "", k->image[i].arch);
  sq_message_add(ctx, ": compile with --arch sm_%u", d->gpu.capability);
  return SQ_EMODEL;
}

// --- loading ------------------------------------------------------------------------------------
static int load_image(sq_gpu_code *c, const sq_abi_image *image) {
  sq_gpu *d = c->gpu;
  char log[1024] = "";
  const int option[2] = {SQ_NV_JIT_ERROR_LOG, SQ_NV_JIT_ERROR_LOG_BYTES};
  void *value[2] = {log, (void *)(uintptr_t)(sizeof log - 1)};
  int e = d->cu.ModuleLoad(&c->module, image->data, 2, option, value);
  if (!e) return 0;
  c->module = NULL;
  sq_gpu_failed(d, e, "cuModuleLoadData");
  size_t n = strlen(d->trouble), room = sizeof d->trouble - n;
  log[strcspn(log, "\n")] = 0;
  if (*log && room > 8) {
    memcpy(d->trouble + n, ": ", 3);
    strncat(d->trouble, log, room - 3);
  }
  return e;
}

// A launch that brings more than 48 KiB is taken where the function was told of it, and the device has it.
static int allow_room(sq_gpu_code *c, uint32_t i) {
  enum { ALWAYS = 48 << 10 };
  sq_gpu *d = c->gpu;
  int most = 0, e;
  if (c->room[i] <= ALWAYS) return 0;
  e = sq_gpu_failed(d, d->cu.DeviceGetAttribute(&most, SQ_NV_MOST_SHARED, d->ordinal),
                    "cuDeviceGetAttribute");
  if (e) return e;
  if (c->room[i] > (uint32_t)most) {
    snprintf(d->trouble, sizeof d->trouble,
             "%s wants %u bytes of shared memory for a block, the device has %d",
             c->k->kernel[i].name, c->room[i], most);
    return SQ_NV_OUT_OF_MEMORY;
  }
  e = d->cu.FuncSetAttribute(c->function[i], SQ_NV_FUNCTION_MOST_SHARED, (int)c->room[i]);
  return sq_gpu_failed(d, e, "cuFuncSetAttribute");
}

static int load(sq_gpu_code *c, const sq_abi_image *image) {
  sq_gpu *d = c->gpu;
  int e = load_image(c, image);
  c->room = image->room;
  c->maps = image->maps;
  for (uint32_t i = 0; !e && i < c->k->n_kernel; i++) {
    e = sq_gpu_failed(d, d->cu.ModuleGetFunction(&c->function[i], c->module, c->k->kernel[i].name),
                      "cuModuleGetFunction");
    if (!e) e = allow_room(c, i);
  }
  return e;
}

int sq_gpu_load(seqm_context *ctx, sq_gpu *d, const sq_abi_kernels *k, sq_gpu_errors *errors,
                sq_gpu_code **out) {
  const sq_abi_image *image = k->n_kernel ? sq_gpu_choose(k, d->gpu.capability) : NULL;
  *out = NULL;
  if (k->n_kernel && !image) return fail_choice(ctx, d, k);
  sq_gpu_code *c = sq_mem_get(ctx, sizeof *c);
  if (!c) return sq_rt_no_memory(ctx);
  *c = (sq_gpu_code){.gpu = d, .k = k, .errors = errors};
  c->function = sq_mem_get_array(ctx, k->n_kernel, sizeof *c->function);
  int status = c->function ? SQ_OK : sq_rt_no_memory(ctx);
  if (!status && image) {
    int e = sq_gpu_enter(d);
    if (!e) {
      e = load(c, image);
      sq_gpu_leave(d);
    }
    if (e)
      status = sq_rt_fail(ctx, SQ_EWORLD,
                          "%s (kernels for %s on %s, whose driver knows CUDA %u.%u)", d->trouble,
                          image->arch, d->name, d->gpu.driver / 1000, d->gpu.driver % 1000 / 10);
  }
  if (status)
    sq_gpu_unload(ctx, c);
  else
    *out = c;
  return status;
}

void sq_gpu_unload(seqm_context *ctx, sq_gpu_code *c) {
  if (!c) return;
  if (c->module && !sq_gpu_enter(c->gpu)) {
    c->gpu->cu.ModuleUnload(c->module);
    sq_gpu_leave(c->gpu);
  }
  sq_mem_drop(ctx, c->function);
  sq_mem_drop(ctx, c);
}

// --- the device's side of a call ----------------------------------------------------------------
// The device's context is current: sq_rt_run has entered it.
static int32_t done(sq_call *c, int e) {
  sq_gpu_code *code = c->kernels;
  if (e) c->trouble = code->gpu->trouble;
  return e != 0;
}

static int put_zeros(sq_gpu_code *code) {
  const uint64_t none[SQ_GPU_HEAD] = {0};
  return sq_gpu_put(code->gpu, code->errors->words, none, sizeof none);
}

// The first words are 0 at first, and again after they were read: unless a call ended before they were.
static int32_t begin(sq_call *c) {
  sq_gpu_code *code = c->kernels;
  if (!code->errors->pending) return 0;
  code->errors->pending = false;
  return done(c, put_zeros(code));
}

static int32_t wait_for(sq_gpu *d) {
  return sq_gpu_failed(d, d->cu.StreamSynchronize(d->stream), "cuStreamSynchronize");
}

static int32_t launch(sq_call *c, uint32_t kernel, int64_t blocks, const sq_device_arg *arg,
                      uint32_t n_arg) {
  enum { MOST = 508 }; // of 4096 bytes of arguments
  sq_gpu_code *code = c->kernels;
  sq_gpu *d = code->gpu;
  _Alignas(64) int64_t value[MOST];
  if (blocks <= 0) return 0;
  if (kernel >= code->k->n_kernel || code->k->kernel[kernel].n_arg != n_arg || n_arg > MOST) {
    c->trouble = "a kernel does not fit its launch";
    return 1;
  }
  const sq_abi_kernel *k = &code->k->kernel[kernel];
  value[0] = (int64_t)(uintptr_t)code->errors->words;
  for (uint32_t i = 1; i < n_arg; i++) value[i] = arg[i].value;
  for (uint32_t i = 0; code->maps && i < k->n_map; i++) {
    int64_t *word = value + SQ_GPU_MAP_FIRST + (size_t)i * SQ_GPU_MAP_WORDS;
    if (sq_gpu_encode_map(d, word, k->name)) return done(c, 1);
  }
  const sq_gpu_op op = {.kind = SQ_GPU_LAUNCH,
                        .function = code->function[kernel],
                        .name = k->name,
                        .blocks = (unsigned)blocks,
                        .threads = k->threads,
                        .room = code->room[kernel],
                        .n_arg = n_arg};
  int e = sq_gpu_ask(d, &op, value);
  code->errors->pending = true;
  if (!e && c->mark) e = wait_for(d); // a trace wants its time, not that of the launch
  return done(c, e);
}

static int32_t read(sq_call *c, void *to, const void *from, int64_t bytes) {
  sq_gpu_code *code = c->kernels;
  return done(c, bytes > 0 ? sq_gpu_take(code->gpu, to, from, (size_t)bytes) : 0);
}
static int32_t write(sq_call *c, void *to, const void *from, int64_t bytes) {
  sq_gpu_code *code = c->kernels;
  return done(c, bytes > 0 ? sq_gpu_put(code->gpu, to, from, (size_t)bytes) : 0);
}
static int32_t copy(sq_call *c, void *to, const void *from, int64_t bytes) {
  sq_gpu_code *code = c->kernels;
  return done(c, bytes > 0 ? sq_gpu_move(code->gpu, to, from, (size_t)bytes) : 0);
}
static int32_t clear(sq_call *c, void *to, int64_t bytes) {
  sq_gpu_code *code = c->kernels;
  if (bytes <= 0) return 0;
  const sq_gpu_op op = {.kind = SQ_GPU_CLEAR, .rows = {.to = to, .width = (size_t)bytes}};
  return done(c, sq_gpu_ask(code->gpu, &op, NULL));
}

static void add_newton(sq_call *c, const uint64_t *head) {
  double residual;
  memcpy(&residual, &head[4], sizeof residual);
  c->newton_stretches += head[1];
  c->newton_iterations += head[2];
  c->newton_redone += head[3];
  if (residual > c->newton_residual) c->newton_residual = residual;
}

static int take_error(sq_call *c, sq_gpu_code *code) {
  uint64_t head[SQ_GPU_HEAD] = {0};
  int64_t what[2];
  int e = sq_gpu_take(code->gpu, head, code->errors->words, sizeof head);
  if (e || !(head[0] | head[1])) return e;
  add_newton(c, head);
  const uint64_t word = head[0];
  if (!word) return put_zeros(code);
  const char *at = (const char *)code->errors->words + 8 * SQ_GPU_HEAD + 16 * (word - 1);
  e = sq_gpu_take(code->gpu, what, at, sizeof what);
  if (!e) e = put_zeros(code);
  if (e || word - 1 >= c->error - 1) return e;
  c->error = word;
  c->error_value = what[0];
  c->error_limit = what[1];
  return 0;
}

// Also waits for all kernels of the call.
static int32_t test(sq_call *c) {
  sq_gpu_code *code = c->kernels;
  if (code->errors->pending && done(c, take_error(c, code))) return 1;
  code->errors->pending = false;
  return c->error != 0;
}

static int32_t turn(sq_call *c, int64_t *goes_on, const void *flag, int64_t k, int64_t limit) {
  sq_gpu_code *code = c->kernels;
  sq_gpu *d = code->gpu;
  *goes_on = 0;
  if (k == 1 && sq_gpu_turns(d, code->errors->words, flag, limit)) {
    code->errors->pending = true;
    return 0;
  }
  unsigned char holds = 0;
  if (test(c) || done(c, sq_gpu_take(d, &holds, flag, sizeof holds))) return 1;
  *goes_on = holds;
  if (k == 0) sq_gpu_turn_begins(d);
  return 0;
}

const sq_device sq_gpu_device = {"cuda", begin, launch, read, write, copy, clear, test, turn};
