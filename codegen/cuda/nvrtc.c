// NVRTC by dlopen. In: a translation unit, an architecture. Out: a cubin or PTX, and what was said.
#include "codegen/cuda/nvrtc.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

// The functions of the library, by their documented signatures; 0 is success everywhere.
typedef void *program;
#define FUNCTIONS(F)                                                                               \
  F(Version, (int *, int *))                                                                       \
  F(CreateProgram,                                                                                 \
    (program *, const char *, const char *, int, const char *const *, const char *const *))        \
  F(CompileProgram, (program, int, const char *const *))                                           \
  F(DestroyProgram, (program *))                                                                   \
  F(GetProgramLogSize, (program, size_t *))                                                        \
  F(GetProgramLog, (program, char *))                                                              \
  F(GetCUBINSize, (program, size_t *))                                                             \
  F(GetCUBIN, (program, char *))                                                                   \
  F(GetPTXSize, (program, size_t *))                                                               \
  F(GetPTX, (program, char *))                                                                     \
  F(GetNumSupportedArchs, (int *))                                                                 \
  F(GetSupportedArchs, (int *))
struct sq_nvrtc {
  void *library;
  int major, minor;
#define FIELD(name, types) int(*name) types;
  FUNCTIONS(FIELD)
  const char *(*GetErrorString)(int);
};
enum { COMPILATION = 6, OLDEST = 12 }; // the result of a source that is wrong; the major version

static bool find_functions(sq_nvrtc *n) {
  void *f;
#define FIND(name, types)                                                                          \
  if (!(f = dlsym(n->library, "nvrtc" #name))) return false;                                       \
  memcpy(&n->name, &f, sizeof f);
  FUNCTIONS(FIND)
  FIND(GetErrorString, )
  return true;
}

// Loads one; false with `message` where it is not there or will not do.
static bool try_library(sq_arena *a, sq_nvrtc *n, const char *path, uint32_t driver,
                        const char **message) {
  *n = (sq_nvrtc){.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
  if (!n->library) {
    const char *why = dlerror();
    *message = sq_arena_fmt(a,
                            "NVRTC is not here, which compiles kernels for CUDA: install the CUDA "
                            "toolkit or the Python package nvidia-cuda-nvrtc, or name the library "
                            "by SEQM_NVRTC (%s)",
                            why ? why : "");
    return false;
  }
  int (*version)(int *, int *) = NULL;
  void *f = dlsym(n->library, "nvrtcVersion");
  if (f) memcpy(&version, &f, sizeof f);
  bool known = version && version(&n->major, &n->minor) == 0;
  bool fits = known && (driver == 0 || (uint32_t)n->major <= driver / 1000);
  if (fits && n->major >= OLDEST && find_functions(n)) return true;
  if (!known)
    *message = sq_arena_fmt(a, "%s is not NVRTC", path);
  else if (n->major < OLDEST)
    *message = sq_arena_fmt(a, "NVRTC %d.%d is too old: %d or newer is needed", n->major, n->minor,
                            OLDEST);
  else if (!fits)
    *message = sq_arena_fmt(a,
                            "NVRTC %d.%d makes code that the driver, which knows CUDA %u.%u, does "
                            "not take: install an NVRTC of CUDA %u, or a newer driver",
                            n->major, n->minor, driver / 1000, driver % 1000 / 10, driver / 1000);
  else
    *message = sq_arena_fmt(a, "NVRTC %d.%d lacks a function", n->major, n->minor);
  sq_nvrtc_close(n);
  return false;
}

// Of several messages the one that says most: not that a name was not found.
static bool find_library(sq_arena *a, sq_nvrtc *n, uint32_t driver, const char **message) {
  static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so",
                                      "/usr/local/cuda/lib64/libnvrtc.so"};
  const char *told = getenv("SEQM_NVRTC"), *first = NULL, *unfit = NULL;
  if (told && *told) return try_library(a, n, told, driver, message);
  for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
    if (try_library(a, n, names[k], driver, message)) return true;
    bool found = n->major != 0;
    if (found && !unfit) unfit = *message;
    if (!first) first = *message;
  }
  *message = unfit ? unfit : first;
  return false;
}

sq_status sq_nvrtc_open(sq_arena *a, uint32_t driver, sq_nvrtc **out, const char **message) {
  sq_nvrtc *n = SQ_NEW(a, sq_nvrtc);
  *out = NULL;
  if (!find_library(a, n, driver, message)) return SQ_EWORLD;
  *out = n;
  return SQ_OK;
}
void sq_nvrtc_close(sq_nvrtc *n) {
  if (n && n->library) dlclose(n->library);
  if (n) n->library = NULL;
}
void sq_nvrtc_version(const sq_nvrtc *n, int *major, int *minor) {
  *major = n->major;
  *minor = n->minor;
}

uint32_t sq_nvrtc_archs(const sq_nvrtc *n, sq_arena *a, int *arch, uint32_t most) {
  int count = 0;
  if (n->GetNumSupportedArchs(&count) || count < 1) return 0;
  int *all = SQ_ARRAY(a, int, count);
  if (n->GetSupportedArchs(all)) return 0;
  uint32_t k = 0;
  for (; k < most && k < (uint32_t)count; k++) arch[k] = all[k];
  return k;
}

// ---- compiling ---------------------------------------------------------------------------------
typedef int (*size_of)(program, size_t *);
typedef int (*content_of)(program, char *);
static char *take(sq_arena *a, program p, size_of size, content_of content, size_t *n) {
  *n = 0;
  if (size(p, n) != 0) *n = 0;
  char *text = SQ_ARRAY(a, char, *n + 1);
  if (*n && content(p, text) != 0) *n = 0;
  return text;
}
static sq_status finish(sq_nvrtc *n, sq_arena *a, program p, bool ptx, int failed,
                        sq_nvrtc_result *r, const char **message) {
  size_t size;
  r->log = take(a, p, n->GetProgramLogSize, n->GetProgramLog, &size);
  if (failed) {
    *message = sq_arena_fmt(a, "NVRTC: %s: %s", n->GetErrorString(failed), r->log);
    return failed == COMPILATION ? SQ_EMODEL : SQ_EWORLD;
  }
  if (ptx)
    r->code = take(a, p, n->GetPTXSize, n->GetPTX, &r->size);
  else
    r->code = take(a, p, n->GetCUBINSize, n->GetCUBIN, &r->size);
  if (r->size) return SQ_OK;
  *message = "NVRTC gives no code";
  return SQ_EWORLD;
}
const char sq_nvrtc_recipe[] = "--std=c++17";
sq_status sq_nvrtc_compile(sq_nvrtc *n, sq_arena *a, const char *source, const char *arch,
                           sq_nvrtc_result *r, const char **message) {
  program p = NULL;
  bool ptx = strncmp(arch, "compute_", 8) == 0;
  *r = (sq_nvrtc_result){0};
  const char *option[] = {sq_arena_fmt(a, "--gpu-architecture=%s", arch), sq_nvrtc_recipe,
                          "--ptxas-options=-v"};
  int count = ptx ? 2 : 3;
  int e = n->CreateProgram(&p, source, "kernels.cu", 0, NULL, NULL);
  if (e) {
    *message = sq_arena_fmt(a, "NVRTC: %s", n->GetErrorString(e));
    return SQ_EWORLD;
  }
  // An allocation that fails leaves by the guard: the program is lost then, which is the library's.
  e = n->CompileProgram(p, count, option);
  sq_status s = finish(n, a, p, ptx, e, r, message);
  n->DestroyProgram(&p);
  return s;
}
