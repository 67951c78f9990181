// The limits of a CUDA device: copies within its memory, timed; what its clock and lanes allow.
#include "runtime/cuda.h"
#include "tools/peak.h"
#include "tools/trace.h"

static int attribute(sq_gpu *d, int what) {
  int v = 0;
  return d->cu.DeviceGetAttribute(&v, what, d->ordinal) ? 0 : v;
}

// Reads and writes: twice the bytes of a copy. A tenth of a second of them.
static double copies(sq_gpu *d) {
  enum { BYTES = 1 << 28, WARM = 4, TURNS = 64 };
  char *a = sq_gpu_get(d, BYTES), *b = sq_gpu_get(d, BYTES), word[8];
  double begin = 0, seconds = 0;
  for (int k = 0; a && b && k < WARM + TURNS; k++) {
    if (k == WARM && !sq_gpu_take(d, word, b, sizeof word)) begin = sq_clock();
    if (sq_gpu_move(d, b, a, BYTES)) break;
  }
  if (begin > 0 && !sq_gpu_take(d, word, b, sizeof word)) seconds = sq_clock() - begin;
  sq_gpu_drop(d, a);
  sq_gpu_drop(d, b);
  return seconds > 0 ? 2.0 * BYTES * TURNS / seconds : 1;
}

sq_peak sq_peak_device(seqm_context *ctx) {
  enum { KILOHERTZ = 13, PROCESSORS = 16 };
  sq_gpu *d = ctx->gpu;
  if (!d) return (sq_peak){.flops = 1, .bytes = 1};
  double lanes = d->gpu.capability == 80 ? 64 : 128; // of f32 in a multiprocessor
  double flops = 2e3 * lanes * attribute(d, KILOHERTZ) * attribute(d, PROCESSORS);
  return (sq_peak){.flops = flops > 0 ? flops : 1, .bytes = copies(d)};
}
