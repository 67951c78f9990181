// A host program with the runtime alone: opens a model compiled ahead of time and calls it.
#include <seqm.h>
#include <stdio.h>

static int run(seqm_context *ctx, const char *path) {
  seqm_model *m;
  int s = seqm_model_open(ctx, path, &m);
  if (s) return s;
  float v[2] = {1, 2};
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 1, .dim = {2}, .data = v}, out[2] = {{0}};
  const seqm_entry *e = seqm_model_entry(m, "add");
  s = e ? seqm_call(m, e, &in, 1, out, 2) : 1;
  if (!s) s = seqm_call(m, e, &in, 1, out, 2);
  if (!s && (((float *)out[0].data)[1] != 4 || *(int32_t *)out[1].data != 2)) s = 1;
  for (int k = 0; k < 2; k++) seqm_tensor_free(ctx, &out[k]);
  seqm_model_free(m);
  return s;
}

int main(int argc, char **argv) {
  seqm_context *ctx = argc == 2 ? seqm_context_new(NULL) : NULL;
  if (!ctx) return 2;
  int s = run(ctx, argv[1]);
  if (s) fprintf(stderr, "host_rt: %s\n", seqm_message(ctx));
  seqm_context_free(ctx);
  return s;
}
