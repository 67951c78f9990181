// The driver by dlopen. Out: a table of its functions, initialised; or why there is none.
#define _GNU_SOURCE
#include "runtime/cuda_driver.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OLDEST = 12000 };

static bool find_functions(sq_nv_driver *d, const char **missing) {
  void *f;
#define FIND(symbol, field, types)                                                                 \
  if (!(f = dlsym(d->library, #symbol))) {                                                         \
    *missing = #symbol;                                                                            \
    return false;                                                                                  \
  }                                                                                                \
  memcpy(&d->field, &f, sizeof f);
  SQ_NV_FUNCTIONS(FIND)
#define LOOK_FOR(symbol, field, types)                                                             \
  if ((f = dlsym(d->library, #symbol))) memcpy(&d->field, &f, sizeof f);
  SQ_NV_NEWER(LOOK_FOR)
  return true;
}

void sq_nv_explain(const sq_nv_driver *d, int code, const char *function, char *why, size_t size) {
  const char *name = NULL, *text = NULL;
  if (d->GetErrorName(code, &name) || !name) name = "an error that it has no name for";
  if (d->GetErrorString(code, &text) || !text) text = "";
  snprintf(why, size, "%s: %s (%d)%s%s", function, name, code, *text ? ": " : "", text);
}

static bool start(sq_nv_driver *d, char *why, size_t size) {
  const char *missing = NULL;
  if (!find_functions(d, &missing)) {
    snprintf(why, size, "the CUDA driver has no function %s: it is too old", missing);
    return false;
  }
  // A driver without a device may fail here too.
  int e = d->Init(0);
  if (e == SQ_NV_NO_DEVICE) {
    snprintf(why, size, "the CUDA driver finds no device that it can use");
    return false;
  }
  if (e) {
    sq_nv_explain(d, e, "cuInit", why, size);
    return false;
  }
  if (d->DriverGetVersion(&d->version) == 0 && d->version >= OLDEST) return true;
  snprintf(why, size, "the CUDA driver knows CUDA %d.%d, but %d.%d or newer is needed",
           d->version / 1000, d->version % 1000 / 10, OLDEST / 1000, OLDEST % 1000 / 10);
  return false;
}

// The name that the system knows, then places that it may not look into.
static void *open_library(const char *told) {
  static const char *const names[] = {
      "/usr/local/nvidia/lib64/libcuda.so.1", "/usr/local/nvidia/lib/libcuda.so.1",
      "/usr/lib/wsl/lib/libcuda.so.1", "libcuda.so.1"}; // the last one's message is shown
  enum { N = sizeof names / sizeof *names, MODE = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE };
  if (told && *told) return dlopen(told, MODE);
  void *library = dlopen(names[N - 1], MODE);
  for (int k = 0; !library && k < N; k++) library = dlopen(names[k], MODE);
  return library;
}

bool sq_nv_open(sq_nv_driver *d, char *why, size_t size) {
  const char *told = getenv("SEQM_CUDA_DRIVER");
  if (told && sq_nv_null(d, told)) return true;
  *d = (sq_nv_driver){0};
  dlerror();
  d->library = open_library(told);
  if (!d->library) {
    const char *reason = dlerror();
    snprintf(why, size,
             "no CUDA driver on this machine: install NVIDIA's driver, or name its library by "
             "SEQM_CUDA_DRIVER (%s)",
             reason ? reason : "it cannot be loaded");
    return false;
  }
  if (start(d, why, size)) return true;
  sq_nv_close(d);
  return false;
}

void sq_nv_close(sq_nv_driver *d) {
  if (d->library) dlclose(d->library);
  *d = (sq_nv_driver){0};
}
