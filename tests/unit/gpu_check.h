// Models on a CUDA driver that is none (tests/cuda): compiled, opened and called, where each call may be
// refused. For the tests that include it.
#pragma once
#include "tests/cuda/fake_gpu.h"
#include "tools/seqm_compiler.h"
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/seqm-gpu-XXXXXX";
static char object[64], saved[64];
static const fake_gpu *gpu;

static void start(void) {
  cr_assert_not_null(mkdtemp(folder));
  setenv("SEQM_CUDA_DRIVER", SEQM_FAKE_GPU, 1);
  setenv("SEQM_NVRTC", SEQM_FAKE_GPU, 1);
  setenv("SEQM_FAKE_GPU_CACHE", folder, 1);
  snprintf(object, sizeof object, "%s/m.so", folder);
  snprintf(saved, sizeof saved, "%s/m.safetensors", folder);
  void *library = dlopen(SEQM_FAKE_GPU, RTLD_NOW | RTLD_LOCAL);
  cr_assert_not_null(library, "%s", dlerror());
  gpu = dlsym(library, "fake_gpu_calls");
}
static void stop(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -r %s", folder);
  cr_assert_eq(system(command), 0);
}

// ---- a session ---------------------------------------------------------------------------------
// Calls of one model in order; each may be refused, and is tried again then.
typedef struct session {
  seqm_context *ctx;
  seqm_model *m;
  long refused;     // calls that failed
  const char *word; // which every message of a refusal holds
  float y[24];      // what came out
} session;

static void refuse(session *s, int status) {
  cr_assert_eq(status, 3, "status %d: %s", status, seqm_message(s->ctx));
  cr_assert(strstr(seqm_message(s->ctx), s->word), "%s", seqm_message(s->ctx));
  cr_assert_lt(s->refused++, 3, "refused again: %s", seqm_message(s->ctx));
}
__attribute__((unused)) static void call(session *s, const char *entry, const seqm_tensor *in,
                                         size_t n, seqm_tensor *out) {
  const seqm_entry *e = seqm_model_entry(s->m, entry);
  cr_assert_not_null(e);
  for (int status; (status = seqm_call(s->m, e, in, n, out, 1));) refuse(s, status);
}
static void open_model(session *s) {
  s->ctx = seqm_context_new(&(seqm_options){.threads = 1});
  cr_assert_eq(seqm_model_open(s->ctx, object, &s->m), 0, "%s", seqm_message(s->ctx));
  seqm_model_random_weights(s->m, 1);
}
static void close_model(session *s) {
  seqm_model_free(s->m);
  seqm_context_free(s->ctx);
}

static void compile_text(const char *target, const char *text) {
  seqm_context *ctx = seqm_context_new(NULL);
  char path[64];
  snprintf(path, sizeof path, "%s/m.seqm", folder);
  FILE *f = fopen(path, "w");
  cr_assert(f && fputs(text, f) >= 0 && !fclose(f));
  const seqm_compile_options o = {.target = target};
  cr_assert_eq(seqm_compile_to(ctx, path, &o, object, NULL), 0, "%s", seqm_message(ctx));
  seqm_context_free(ctx);
}
static void nothing_left(void) {
  cr_assert_eq(gpu->alive(), 0, "%ld are left", gpu->alive());
  cr_assert_str_empty(gpu->faults());
}
