// Embeds texts with a model compiled ahead of time: links the shared object through its header; no
// compiler, no LLVM in the process.
//
//   seqm compile examples/minilm.seqm --preset real -o libminilm.so --header minilm.h
//   cc embed_aot.c wordpiece.c -I. -Wl,-rpath,. libminilm.so -lutf8proc -o embed_aot
//   ./embed_aot model.safetensors vocab.txt "hello world" "a second text"
#include "minilm.h"
#include "wordpiece.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_TOKENS = 256, WIDTH = 384 };

static int embed(seqm_model *m, const wordpiece *w, const char *text, float *emb) {
  int32_t ids[MAX_TOKENS], mask[MAX_TOKENS];
  int64_t n = (int64_t)wordpiece_encode(w, text, ids, MAX_TOKENS);
  for (int64_t k = 0; k < n; k++) mask[k] = 1;
  return minilm_forward(m, ids, 1, n, mask, emb);
}

static int run(seqm_context *ctx, const wordpiece *w, const char *weights, int n, char **text) {
  seqm_model *m = NULL;
  int status = minilm_open(ctx, &m);
  if (!status) status = seqm_model_weights(m, weights);
  float emb[WIDTH];
  for (int k = 0; !status && k < n; k++) {
    status = embed(m, w, text[k], emb);
    if (status) break;
    for (int c = 0; c < WIDTH; c++) printf(c ? " %.7g" : "%.7g", (double)emb[c]);
    printf("\n");
  }
  if (status) fprintf(stderr, "embed_aot: %s\n", seqm_message(ctx));
  seqm_model_free(m);
  return status;
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: embed_aot model.safetensors vocab.txt TEXT...\n");
    return 2;
  }
  const char *why;
  wordpiece *w = wordpiece_open(argv[2], &why);
  if (!w) {
    fprintf(stderr, "embed_aot: %s: %s\n", argv[2], why);
    return 3;
  }
  seqm_context *ctx = seqm_context_new(NULL);
  int status = ctx ? run(ctx, w, argv[1], argc - 3, argv + 3) : 3;
  if (ctx) seqm_context_free(ctx);
  wordpiece_close(w);
  return status;
}
