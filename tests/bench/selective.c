// Mamba's selective scan by hand: what seqm is measured against in the rows `selective scan`. peers.py
// compiles it for the machine.
//
//   h[t, d, s] = exp(dt[t, d] a[d, s]) h[t-1, d, s] + dt[t, d] u[t, d] b[t, s]
//   y[t, d] = sum(s) h[t, d, s] c[t, s] + skip[d] u[t, d]
//
// Channels fill the vectors; a group of them takes all turns with its states and factors in the
// first-level cache, the constants of the exponential in registers.
#include <stdint.h>
#include <string.h>

enum { STATES = 16, AHEAD = 8 }; // turns that memory is asked for before they are needed
#ifdef __AVX512F__
enum { BYTES = 64, VECTORS = 4 };
#else
enum { BYTES = 32, VECTORS = 2 };
#endif
typedef float vec __attribute__((vector_size(BYTES)));
typedef int32_t bits __attribute__((vector_size(BYTES)));
enum { LANES = BYTES / 4, GROUP = VECTORS * LANES };

static inline vec load(const float *p) {
  vec v;
  memcpy(&v, p, sizeof v);
  return v;
}
static inline void store(float *p, vec v) { memcpy(p, &v, sizeof v); }
static inline vec all(float x) { return x - (vec){0}; }

// 2^(x y) for |x y| < 126, 0.8 ulp and the product's: the nearest integer goes into the exponent.
static inline vec power(vec x, vec y) {
  const vec magic = all(0x1.8p23f);
  vec n = x * y + magic, f = x * y + (magic - n);
  vec p = all(0.001326472719587593f);
  p = p * f + 0.009671512639769885f;
  p = p * f + 0.05550733743256614f;
  p = p * f + 0.24022242085372483f;
  p = p * f + 0.6931469775991603f;
  p = p * f + 1.0f;
  return (vec)((bits)p + ((bits)n << 23));
}
// The same where x y < -126 may be: 0 there.
static inline vec power_low(vec x, vec y) {
  bits normal = x * y > -126.0f;
  return (vec)((bits)power((vec)((bits)x & normal), y) & normal);
}

typedef struct group {
  vec h[STATES][VECTORS], a[STATES][VECTORS], limit[VECTORS];
} group;

static inline __attribute__((always_inline)) void
turn(group *g, const vec *dt, const vec *x, const float *b, const float *c, vec *sum, int near) {
#pragma GCC unroll 1
  for (int s = 0; s < STATES; s++) {
    vec bs = all(b[s]), cs = all(c[s]);
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) {
      vec e = near ? power(dt[j], g->a[s][j]) : power_low(dt[j], g->a[s][j]);
      vec h = e * g->h[s][j] + x[j] * bs;
      g->h[s][j] = h;
      sum[j] = cs * h + sum[j];
    }
  }
}

static int all_near(const group *g, const vec *dt) {
  bits near = dt[0] < g->limit[0];
  for (int j = 1; j < VECTORS; j++) near &= dt[j] < g->limit[j];
  int64_t word[BYTES / 8], r = -1;
  memcpy(word, &near, sizeof near);
  for (int j = 0; j < BYTES / 8; j++) r &= word[j];
  return r == -1;
}

static void begin(group *g, long d, const float *a) {
  for (int j = 0; j < VECTORS; j++) {
    vec low = {0};
    for (int s = 0; s < STATES; s++) {
      g->h[s][j] = (vec){0};
      vec f = g->a[s][j] = load(a + s * d + j * LANES) * 1.44269504f;
      bits less = f < low;
      low = (vec)(((bits)f & less) | ((bits)low & ~less));
    }
    g->limit[j] = -125.0f / low;
  }
}

// n turns of GROUP of the d channels; dt > 0, a < 0, which is [STATES][d].
static void channels(long n, long d, const float *u, const float *dt, const float *a,
                     const float *b, const float *c, const float *skip, float *y) {
  group g;
  begin(&g, d, a);
  for (long t = 0; t < n; t++, u += d, dt += d, y += d, b += STATES, c += STATES) {
    vec step[VECTORS], x[VECTORS], sum[VECTORS];
    for (int j = 0; j < GROUP; j += 16) {
      __builtin_prefetch(u + AHEAD * d + j, 0, 2);
      __builtin_prefetch(dt + AHEAD * d + j, 0, 2);
      __builtin_prefetch(y + AHEAD * d + j, 1, 2);
    }
    for (int j = 0; j < VECTORS; j++) {
      vec in = load(u + j * LANES);
      step[j] = load(dt + j * LANES);
      x[j] = step[j] * in;
      sum[j] = load(skip + j * LANES) * in;
    }
    if (all_near(&g, step))
      turn(&g, step, x, b, c, sum, 1);
    else
      turn(&g, step, x, b, c, sum, 0);
    for (int j = 0; j < VECTORS; j++) store(y + j * LANES, sum[j]);
  }
}

// d: a multiple of 64.
void selective(long n, long d, const float *u, const float *dt, const float *a, const float *b,
               const float *c, const float *skip, float *y, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (long k = 0; k < d; k += GROUP) channels(n, d, u + k, dt + k, a + k, b, c, skip + k, y + k);
}
