// libFuzzer: bytes as a .npy file. What is accepted is written out and must read back the same.
#include "runtime/npy.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  seqm_context *ctx = seqm_context_new(&(seqm_options){.threads = 1});
  if (!ctx) return 0;
  seqm_tensor t, again;
  char path[64];
  snprintf(path, sizeof path, "seqm-fuzz-%d.npy", (int)getpid());
  if (!sq_npy_parse(ctx, "fuzz", data, size, &t)) {
    if (seqm_npy_write(ctx, path, &t) || seqm_npy_read(ctx, path, &again)) abort();
    if (t.dtype != again.dtype || t.rank != again.rank || memcmp(t.dim, again.dim, sizeof t.dim))
      abort();
    seqm_tensor_free(ctx, &again);
    seqm_tensor_free(ctx, &t);
    unlink(path);
  } else if (!*seqm_message(ctx)) {
    abort();
  }
  seqm_context_free(ctx);
  return 0;
}
