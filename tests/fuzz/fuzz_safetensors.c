// libFuzzer: bytes as a safetensors file and as a shard index. Whatever is accepted must be sound:
// every tensor inside the file, sorted, no two alike.
#include "runtime/safetensors.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void check(const sq_safetensors *f, const uint8_t *data, size_t size) {
  for (size_t k = 0; k < f->n; k++) {
    const sq_st_tensor *t = &f->tensor[k];
    if (t->data < data || t->bytes > size || t->data + t->bytes > data + size) abort();
    if (k && strcmp(f->tensor[k - 1].name, t->name) >= 0) abort();
    if (sq_st_find(f->tensor, f->n, t->name) != t) abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  seqm_context *ctx = seqm_context_new(&(seqm_options){.threads = 1});
  if (!ctx) return 0;
  sq_safetensors f;
  sq_st_index x;
  if (!sq_safetensors_parse(ctx, "fuzz", data, size, &f)) {
    check(&f, data, size);
    sq_safetensors_close(ctx, &f);
  } else if (!*seqm_message(ctx)) {
    abort();
  }
  // The same bytes as the header of a file with as many bytes of data as it asks for, up to 64.
  uint8_t *file = malloc(size + 72);
  for (size_t extra = 0; file && extra <= 64; extra += 4) {
    for (int k = 0; k < 8; k++) file[k] = (uint8_t)((uint64_t)size >> (8 * k));
    if (size) memcpy(file + 8, data, size);
    memset(file + 8 + size, 0, extra);
    if (sq_safetensors_parse(ctx, "fuzz", file, size + 8 + extra, &f)) continue;
    check(&f, file, size + 8 + extra);
    sq_safetensors_close(ctx, &f);
    break;
  }
  free(file);
  if (!sq_st_index_parse(ctx, "fuzz", data, size, &x)) sq_st_index_close(ctx, &x);
  seqm_context_free(ctx);
  return 0;
}
