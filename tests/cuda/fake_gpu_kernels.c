// Code of the driver that is none. In: "compiled" kernels, which are their source; launches. Out: the kernels as the
// emulation has them, and a queue of all that a device would do, done when something waits for it. NVRTC besides.
#include "base/context.h"
#include "codegen/cuda/cuda.h"
#include "fake_gpu_inner.h"
#include "fake_gpu_map.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- modules -----------------------------------------------------------------------------------
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
static job *queue;
static size_t n_queue, room_queue;
int fg_sticky;

void fg_add(job j) {
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
    fg_fault("%s", call.trouble);
    fg_sticky = ILLEGAL_ADDRESS;
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
void fg_run(job *j) {
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
    fg_repeat(j);
    return;
  }
}
int fg_flush(void) {
  for (size_t k = 0; k < n_queue; k++) fg_run(&queue[k]);
  n_queue = 0;
  return fg_sticky;
}

// ---- the driver: kernels -----------------------------------------------------------------------
static int
fits(const char *arch) { // one rule of the real ones: code for what is newer does not run
  const char *n = strchr(arch, '_');
  return n && strtol(n + 1, NULL, 10) <= fg_set.capability;
}
static int load_guarded(module *m, const char *image) {
  const char *message = "", *source = strchr(image, '\n');
  if (setjmp(m->ctx->guard.jmp)) return OUT_OF_MEMORY;
  bool groups = !strncmp(image + sizeof magic - 1, "sm_90a\n", 7);
  m->groups = groups;
  if (load(m, source + 1, groups, &message) == SQ_OK) return OK;
  fg_fault("%s", message);
  return INVALID_IMAGE;
}
// The one piece of PTX that the runtime has: it is not run, but what it asks of its launches is known.
static int load_setter(void **out, const char *image) {
  if (fg_set.driver < 12040 || !strstr(image, "cudaGraphSetConditional")) return INVALID_IMAGE;
  module *m = calloc(1, sizeof *m);
  if (!m || !(m->function = calloc(1, sizeof *m->function))) abort();
  m->function[0] = (function){m, 0, 0};
  fg_alive++;
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
  fg_alive++;
  *out = m;
  return OK;
}
EXPORT int cuModuleUnload(void *p);
EXPORT int cuModuleUnload(void *p) {
  NEED_CONTEXT();
  module *m = p;
  fg_flush();
  if (!m->code) free(m->function);
  if (m->code) sq_emu_free(m->code);
  if (m->ctx) sq_ctx_free(m->ctx);
  free(m);
  fg_alive--;
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
  if (what != 8 || value < 0 || value > fg_most_shared()) return INVALID_VALUE;
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
  const char *wrong = fg_set.capability < 90 ? "the device has none" : fake_map_wrong(map, &m);
  if (wrong) {
    fg_fault("cuTensorMapEncodeTiled: %s", wrong);
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
      fg_fault("%s: word %lld is no tensor map", name, 8 + 16 * k);
  j->arg = calloc(n, sizeof *j->arg);
  if (!j->arg) return false;
  j->n_arg = n;
  for (uint32_t k = 0; k < n; k++) {
    j->arg[k] = (sq_device_arg){(int64_t)word[k], -1};
    if (!fg_in_range(word[k])) continue;
    char *end, *p = fg_place(word[k], &end);
    if (!p) {
      fg_fault("%s: argument %u, %llx, is not inside an allocation", name, k, (address)word[k]);
      return false;
    }
    j->arg[k] = (sq_device_arg){(int64_t)(uintptr_t)p, end - p};
  }
  j->error = (uint64_t *)(uintptr_t)j->arg[0].value;
  if (n && fg_in_range(word[0])) return true;
  fg_fault("%s: the first argument is not memory of the device", name);
  return false;
}
static int check_setter(unsigned blocks, unsigned threads, void **extra, job *out) {
  const uint64_t *word = extra[1];
  char *head = fg_span(word[0], 48, "seqm_goes_on"), *flag = fg_span(word[1], 1, "seqm_goes_on");
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
int fg_check_launch(function *f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by,
                    unsigned bz, unsigned shared, void **params, void **extra, job *out) {
  if (!f->m->code) return check_setter(x, bx, extra, out);
  const sq_emu_kernel *k = &f->m->code->kernel[f->number];
  bool form = !params && extra && extra[0] == (void *)1 && extra[2] == (void *)2 && !extra[4];
  size_t size = form ? *(const size_t *)extra[3] : 0;
  if (!form || size != 8 * (size_t)k->n_args || y != 1 || z != 1 || by != 1 || bz != 1 || !x ||
      (int)bx != k->threads) {
    fg_fault("%s: %u x %u threads and %zu bytes do not fit the kernel", k->name, x, bx, size);
    return INVALID_VALUE;
  }
  if (shared != k->room || shared > f->allowed) {
    fg_fault("%s: a launch brings %u bytes of shared memory, it wants %lld and may have %lld",
             k->name, shared, k->room, f->allowed);
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
  int e = fg_check_launch(f, x, y, z, bx, by, bz, shared, params, extra, &j);
  if (!e) fg_add(j);
  return e;
}

// ---- NVRTC -------------------------------------------------------------------------------------
typedef struct program {
  char *source, *code;
  size_t size;
} program;
EXPORT int nvrtcVersion(int *major, int *minor);
EXPORT int nvrtcVersion(int *major, int *minor) {
  if (!fg_set.read) fg_read_settings();
  *major = (int)fg_set.nvrtc / 1000;
  *minor = (int)fg_set.nvrtc % 1000 / 10;
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
  if (fg_enter(__func__)) return 6;
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
