// NVRTC, found when it is needed: the toolkit is never required to build or to install seqm.
#pragma once
#include "base/context.h"

typedef struct sq_nvrtc sq_nvrtc;
// Loads the library named by $SEQM_NVRTC, else libnvrtc where the system finds it or in
// /usr/local/cuda. SQ_EWORLD with *message, in the arena, when there is none or it is too old.
sq_status sq_nvrtc_open(sq_arena *a, sq_nvrtc **n, const char **message);
void sq_nvrtc_close(sq_nvrtc *n);
void sq_nvrtc_version(const sq_nvrtc *n, int *major, int *minor);
typedef struct sq_nvrtc_result {
  char *code; // of the arena
  size_t size;
  const char *log;
} sq_nvrtc_result;
// Compiles a translation unit for "sm_90a": a cubin, or with `ptx` its PTX. SQ_EMODEL when the source
// does not compile, SQ_EWORLD for all else (an arch that it does not know).
sq_status sq_nvrtc_compile(sq_nvrtc *n, sq_arena *a, const char *source, const char *arch, bool ptx,
                           sq_nvrtc_result *r, const char **message);
