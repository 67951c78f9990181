// Measured limits: independent chains of vector multiply-adds in registers, and sums over buffers that
// lie in the caches or are larger than they.
#include "tools/peak.h"
#include "codegen/codegen.h"
#include "runtime/pool.h"
#include "tools/build.h"
#include "tools/cli.h"
#include "tools/trace.h"
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

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

enum { BUFFER = 96 << 20, HUGE = 2 << 20 };
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

// Reads n floats, `turns` times.
#define READ_LOOP(name, lane, attribute)                                                           \
  attribute static float name(const float *data, size_t n, long turns) {                           \
    enum { LANES = sizeof(lane) / sizeof(float), SUMS = 8 };                                       \
    lane s[SUMS] = {0};                                                                            \
    for (long t = 0; t < turns; t++)                                                               \
      for (size_t k = 0; k + SUMS * LANES <= n; k += SUMS * LANES)                                 \
        for (int j = 0; j < SUMS; j++) {                                                           \
          lane v;                                                                                  \
          __builtin_memcpy(&v, data + k + (size_t)j * LANES, sizeof v);                            \
          s[j] += v;                                                                               \
        }                                                                                          \
    float all = 0;                                                                                 \
    for (int j = 0; j < SUMS; j++) all += s[j][0];                                                 \
    return all;                                                                                    \
  }
#if defined(__x86_64__)
READ_LOOP(read8, lane8, TARGET("avx2,fma"))
#endif
READ_LOOP(read4, lane4, __attribute__((noinline)))

static void *stream(void *user) {
  work *w = user;
#if defined(__x86_64__)
  if (w->k.lanes >= 8) {
    w->result = read8(w->data, w->n, w->turns);
    return NULL;
  }
#endif
  w->result = read4(w->data, w->n, w->turns);
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

// Bytes per second of `threads` workers that each read `size` bytes of their own, `total` in all.
static double reading(const float *data, size_t size, double total, int threads) {
  work w[64] = {0};
  size_t part = size / sizeof *data / 64 * 64;
  if (!part) return 0;
  double all = (double)(part * sizeof *data) * threads, turns = total / all;
  if (turns < 1) turns = 1;
  for (int t = 0; t < threads; t++)
    w[t] = (work){.k = best(), .turns = (long)turns, .data = data + part * (size_t)t, .n = part};
  return all * (double)(long)turns / timed(stream, w, threads);
}

// What the kernel says of the first core's caches; a virtual machine's processor may say too much.
static double cache_size(int level) {
  double found = 0;
  for (int k = 0; k < 8; k++) {
    char path[80];
    int is = 0;
    double kib = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", k);
    FILE *f = fopen(path, "r");
    if (!f) break;
    if (fscanf(f, "%d", &is) != 1) is = 0;
    fclose(f);
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", k);
    f = is == level ? fopen(path, "r") : NULL;
    if (f && fscanf(f, "%lfK", &kib) == 1) found = kib * 1024;
    if (f) fclose(f);
  }
  if (found > 0) return found;
  long v = sysconf(level == 2 ? _SC_LEVEL2_CACHE_SIZE : _SC_LEVEL3_CACHE_SIZE);
  return v > 0 ? (double)v : 0;
}

static int in_range(int threads) { return threads < 1 ? 1 : threads > 64 ? 64 : threads; }

static sq_peak measure(int threads, bool caches) {
  sq_peak p = {.flops = 1, .bytes = 1};
  work w[64] = {0};
  kernel k = best();
  for (int t = 0; t < threads; t++) w[t] = (work){.k = k, .turns = 4000000};
  p.flops = 2.0 * 12 * k.lanes * 4e6 * threads / timed(compute, w, threads);
  float *data = aligned_alloc(HUGE, BUFFER);
  if (!data) return p;
#ifdef MADV_HUGEPAGE
  madvise(data, BUFFER, MADV_HUGEPAGE);
#endif
  for (size_t j = 0; j < BUFFER / sizeof *data; j++) data[j] = 1;
  p.bytes = reading(data, BUFFER / (size_t)threads, BUFFER, threads);
  double l2 = cache_size(2), l3 = cache_size(3);
  if (caches && l2 > 0 && l2 * threads < BUFFER) {
    p.l2_size = l2 * threads;
    p.l2_bytes = reading(data, (size_t)(l2 / 2), 2e9, threads);
  }
  if (caches && l3 > p.l2_size && l3 / 4 < BUFFER) {
    p.l3_size = l3;
    p.l3_bytes = reading(data, (size_t)(l3 / 4) / (size_t)threads, 2e9, threads);
  }
  free(data);
  return p;
}

// ---- what is kept ------------------------------------------------------------------------------
// Under the processor's name, its features and the number of threads.
static sq_cache_key key_of(sq_ctx *ctx, const sq_target *t, int threads) {
  const char *text = sq_arena_fmt(&ctx->arena, "peaks 1 %s %s %u %u %ld %d", t->cpu, t->features,
                                  t->machine.l1_bytes, t->machine.l2_bytes,
                                  sysconf(_SC_NPROCESSORS_ONLN), threads);
  return sq_cache_key_of(text, strlen(text));
}

static bool kept(sq_ctx *ctx, const char *dir, sq_cache_key key, sq_peak *p) {
  const char *data;
  size_t size;
  if (!sq_cache_get(&ctx->arena, dir, key, ".peak", &data, &size) || size != sizeof *p)
    return false;
  memcpy(p, data, sizeof *p);
  return true;
}

static bool place(sq_ctx *ctx, int threads, const char **dir, sq_cache_key *key) {
  sq_target t;
  const char *message;
  *dir = sq_build_cache_dir(ctx);
  if (!*dir || sq_target_find(ctx, "native", &t, &message)) return false;
  *key = key_of(ctx, &t, threads);
  return true;
}

sq_peak sq_peak_find(sq_ctx *ctx, int threads) {
  const char *dir;
  sq_cache_key key;
  sq_peak p;
  threads = in_range(threads);
  if (place(ctx, threads, &dir, &key) && kept(ctx, dir, key, &p)) return p;
  return measure(threads, false);
}

bool sq_peak_known(sq_ctx *ctx, const char *dir, const sq_target *t, sq_rates *rates) {
  sq_peak p;
  int threads = in_range(sq_pool_cores());
  sq_cache_key key = key_of(ctx, t, threads);
  if (!kept(ctx, dir, key, &p)) return false;
  double all = (double)t->machine.cores / threads; // where not all cores are ours
  *rates = (sq_rates){true, p.flops * all, p.bytes, p.l2_bytes * all, p.l3_bytes};
  return true;
}

static void print(const sq_peak *p, int threads) {
  printf("this machine, %d threads\n", threads);
  printf("  multiply-adds   %.1f GFLOP/s (f32)\n", p->flops * 1e-9);
  if (p->l2_bytes > 0)
    printf("  reading         %.1f GB/s from %.2f MiB of second-level cache\n", p->l2_bytes * 1e-9,
           p->l2_size / 1048576);
  if (p->l3_bytes > 0)
    printf("  reading         %.1f GB/s from %.0f MiB of third-level cache\n", p->l3_bytes * 1e-9,
           p->l3_size / 1048576);
  printf("  reading         %.1f GB/s from memory\n", p->bytes * 1e-9);
}

sq_status sq_peak_calibrate(sq_ctx *ctx, int threads) {
  const char *dir;
  sq_cache_key key;
  threads = in_range(threads);
  sq_peak p = measure(threads, true);
  print(&p, threads);
  if (!place(ctx, threads, &dir, &key))
    return sq_complain(SQ_EWORLD, "what was measured is not kept: there is no cache folder");
  if (!sq_cache_put(dir, key, ".peak", &p, sizeof p))
    return sq_complain(SQ_EWORLD, "what was measured is not kept: cannot write to %s: %s", dir,
                       strerror(errno));
  return SQ_OK;
}
