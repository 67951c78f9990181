// A host program as a user of the installed project writes it: compiles a model from text, runs it,
// and, given a file, runs a model file that uses the standard library.
#include <math.h>
#include <seqm_compiler.h>
#include <stdio.h>
#include <string.h>

static const char text[] = "model twice(d = 2) {\n"
                           "  param w[d, d]\n"
                           "  entry forward(x[N, d]) -> y[N, d] {\n"
                           "    return [n, c: 2 * x[n, c] + 0 * sum(k) w[c, k]]\n"
                           "  }\n"
                           "}\n";

static int twice(seqm_context *ctx) {
  seqm_model *m;
  seqm_compile_options o = {.cache_dir = ""};
  int s = seqm_compile_text(ctx, "twice.seqm", text, strlen(text), &o, &m);
  if (s) return s;
  float x[6] = {1, 2, 3, 4, 5, 6}, y[6] = {0};
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 2, .dim = {3, 2}, .data = x};
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 2, .dim = {3, 2}, .data = y};
  const seqm_entry *e = seqm_model_entry(m, "forward");
  s = e ? seqm_model_random_weights(m, 1) : 1;
  if (!s) s = seqm_call(m, e, &in, 1, &out, 1);
  for (int k = 0; k < 6 && !s; k++)
    if (fabsf(y[k] - 2 * x[k]) > 1e-6f) {
      fprintf(stderr, "element %d is %g\n", k, (double)y[k]);
      s = 1;
    }
  seqm_model_free(m);
  return s;
}

static int from_file(seqm_context *ctx, const char *path) {
  seqm_model *m;
  seqm_compile_options o = {.cache_dir = ""};
  int s = seqm_compile(ctx, path, &o, &m);
  if (s) return s;
  int32_t ids[3] = {1, 2, 3};
  seqm_tensor in = {.dtype = SEQM_I32, .rank = 1, .dim = {3}, .data = ids}, out = {0};
  const seqm_entry *e = seqm_model_entry(m, "forward");
  s = e ? seqm_model_random_weights(m, 1) : 1;
  if (!s) s = seqm_call(m, e, &in, 1, &out, 1);
  if (!s) printf("%s: %lld x %lld\n", path, (long long)out.dim[0], (long long)out.dim[1]);
  seqm_tensor_free(ctx, &out);
  seqm_model_free(m);
  return s;
}

int main(int argc, char **argv) {
  seqm_context *ctx = seqm_context_new(NULL);
  if (!ctx) return 3;
  int s = twice(ctx);
  for (int k = 1; k < argc && !s; k++) s = from_file(ctx, argv[k]);
  if (s) fprintf(stderr, "host: %s\n", seqm_message(ctx));
  seqm_context_free(ctx);
  return s;
}
