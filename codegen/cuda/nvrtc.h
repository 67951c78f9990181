// NVRTC, found when it is needed: the toolkit is never required to build or to install seqm.
#pragma once
#include "base/context.h"

typedef struct sq_nvrtc sq_nvrtc;
// Loads the library named by $SEQM_NVRTC, else the newest libnvrtc where the system finds it or in
// /usr/local/cuda whose major version is no newer than the driver's (12040 for CUDA 12.4; 0: any).
// SQ_EWORLD with *message, in the arena, when there is none or it is too old.
sq_status sq_nvrtc_open(sq_arena *a, uint32_t driver, sq_nvrtc **n, const char **message);
void sq_nvrtc_close(sq_nvrtc *n); // NULL is none
void sq_nvrtc_version(const sq_nvrtc *n, int *major, int *minor);
// Architectures that it makes code for, 90 for sm_90, ascending; at most `most` of them.
uint32_t sq_nvrtc_archs(const sq_nvrtc *n, sq_arena *a, int *arch, uint32_t most);
// What changes the code beside source, architecture and version.
extern const char sq_nvrtc_recipe[];
typedef struct sq_nvrtc_result {
  char *code; // of the arena
  size_t size;
  const char *log;
} sq_nvrtc_result;
// Compiles a translation unit for "sm_90a": a cubin, or for "compute_90" PTX. SQ_EMODEL when the source
// does not compile, SQ_EWORLD for all else (an arch that it does not know).
sq_status sq_nvrtc_compile(sq_nvrtc *n, sq_arena *a, const char *source, const char *arch,
                           sq_nvrtc_result *r, const char **message);
