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
  F(GetPTX, (program, char *))
struct sq_nvrtc {
  void *library;
  int major, minor;
#define FIELD(name, types) int(*name) types;
  FUNCTIONS(FIELD)
  const char *(*GetErrorString)(int);
};
enum { COMPILATION = 6, OLDEST = 12 }; // the result of a source that is wrong; the major version

static void *open_library(void) {
  static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so",
                                      "/usr/local/cuda/lib64/libnvrtc.so"};
  const char *told = getenv("SEQM_NVRTC");
  if (told && *told) return dlopen(told, RTLD_NOW | RTLD_LOCAL);
  void *library = NULL;
  for (size_t k = 0; !library && k < sizeof names / sizeof *names; k++)
    library = dlopen(names[k], RTLD_NOW | RTLD_LOCAL);
  return library;
}

static bool find_functions(sq_nvrtc *n) {
  void *f;
#define FIND(name, types)                                                                          \
  if (!(f = dlsym(n->library, "nvrtc" #name))) return false;                                       \
  memcpy(&n->name, &f, sizeof f);
  FUNCTIONS(FIND)
  FIND(GetErrorString, )
  return n->Version(&n->major, &n->minor) == 0 && n->major >= OLDEST;
}

sq_status sq_nvrtc_open(sq_arena *a, sq_nvrtc **out, const char **message) {
  void *library = open_library();
  if (!library) {
    const char *why = dlerror();
    *message =
        sq_arena_fmt(a,
                     "NVRTC is not here, which compiles kernels for CUDA: install the CUDA "
                     "toolkit or the Python package nvidia-cuda-nvrtc, or name the library by "
                     "SEQM_NVRTC (%s)",
                     why ? why : "");
    return SQ_EWORLD;
  }
  sq_nvrtc *n = SQ_NEW(a, sq_nvrtc);
  n->library = library;
  *out = n;
  if (find_functions(n)) return SQ_OK;
  *message =
      sq_arena_fmt(a, "NVRTC %d.%d is too old: %d or newer is needed", n->major, n->minor, OLDEST);
  sq_nvrtc_close(n);
  return SQ_EWORLD;
}
void sq_nvrtc_close(sq_nvrtc *n) {
  if (n && n->library) dlclose(n->library);
  if (n) n->library = NULL;
}
void sq_nvrtc_version(const sq_nvrtc *n, int *major, int *minor) {
  *major = n->major;
  *minor = n->minor;
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
sq_status sq_nvrtc_compile(sq_nvrtc *n, sq_arena *a, const char *source, const char *arch, bool ptx,
                           sq_nvrtc_result *r, const char **message) {
  program p = NULL;
  *r = (sq_nvrtc_result){0};
  const char *option[] = {sq_arena_fmt(a, "--gpu-architecture=%s", arch), "--std=c++17",
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
