// Measured limits: independent chains of vector multiply-adds in registers, and a sum over a buffer
// larger than the caches.
#include "tools/peak.h"
#include "tools/trace.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

typedef float lane16 __attribute__((vector_size(64)));
typedef float lane8 __attribute__((vector_size(32)));
typedef float lane4 __attribute__((vector_size(16)));

// 12 chains hide the latency of the multiply-add; the result is returned so that nothing is
// dropped.
#define FMA_LOOP(name, lane, attribute)                                                            \
  attribute static float name(long turns) {                                                        \
    lane a[12];                                                                                    \
    lane x = {0}, y = {0};                                                                         \
    for (unsigned j = 0; j < sizeof(lane) / sizeof(float); j++) {                                  \
      x[j] = 0.999f;                                                                               \
      y[j] = 1e-3f;                                                                                \
    }                                                                                              \
    for (int k = 0; k < 12; k++) a[k] = y * (float)k;                                              \
    for (long t = 0; t < turns; t++)                                                               \
      for (int k = 0; k < 12; k++) a[k] = a[k] * x + y;                                            \
    float s = 0;                                                                                   \
    for (int k = 0; k < 12; k++) s += a[k][0];                                                     \
    return s;                                                                                      \
  }
#if defined(__x86_64__)
#define TARGET(t)                                                                                  \
  __attribute__((noinline, target(t), optimize("O3", "unroll-loops", "fp-contract=fast")))
#if defined(__clang__)
#undef TARGET
#define TARGET(t) __attribute__((noinline, target(t)))
#pragma clang fp contract(fast)
#endif
FMA_LOOP(fma16, lane16, TARGET("avx512f"))
FMA_LOOP(fma8, lane8, TARGET("avx2,fma"))
#endif
FMA_LOOP(fma4, lane4, __attribute__((noinline)))

typedef struct kernel {
  float (*run)(long);
  int lanes;
} kernel;

static kernel best(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return (kernel){fma16, 16};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return (kernel){fma8, 8};
#endif
  return (kernel){fma4, 4};
}

enum { BUFFER = 96 << 20 };
typedef struct work {
  kernel k;
  long turns;
  const float *data;
  size_t n;
  float result;
} work;

static void *compute(void *user) {
  work *w = user;
  w->result = w->k.run(w->turns);
  return NULL;
}

static void *stream(void *user) {
  work *w = user;
  lane16 s = {0};
  for (size_t k = 0; k + 16 <= w->n; k += 16) {
    lane16 v;
    __builtin_memcpy(&v, w->data + k, sizeof v);
    s += v;
  }
  w->result = s[0];
  return NULL;
}

// Seconds of `threads` workers running together; the best of three.
static double timed(void *(*fn)(void *), work *w, int threads) {
  double least = 1e30;
  for (int turn = 0; turn < 3; turn++) {
    pthread_t id[64];
    int started = 0;
    double begin = sq_clock();
    for (int k = 1; k < threads; k++)
      if (!pthread_create(&id[started], NULL, fn, &w[k])) started++;
    fn(&w[0]);
    for (int k = 0; k < started; k++) pthread_join(id[k], NULL);
    double t = sq_clock() - begin;
    if (t < least) least = t;
  }
  return least;
}

sq_peak sq_peak_measure(int threads) {
  if (threads < 1) threads = 1;
  if (threads > 64) threads = 64;
  sq_peak p = {1, 1};
  work w[64] = {0};
  kernel k = best();
  for (int t = 0; t < threads; t++) w[t] = (work){.k = k, .turns = 4000000};
  p.flops = 2.0 * 12 * k.lanes * 4e6 * threads / timed(compute, w, threads);
  float *data = aligned_alloc(64, BUFFER);
  if (!data) return p;
  for (size_t j = 0; j < BUFFER / sizeof *data; j++) data[j] = 1;
  size_t part = BUFFER / sizeof *data / (size_t)threads / 16 * 16;
  for (int t = 0; t < threads; t++) w[t] = (work){.data = data + part * (size_t)t, .n = part};
  p.bytes = (double)(part * sizeof *data) * threads / timed(stream, w, threads);
  free(data);
  return p;
}
