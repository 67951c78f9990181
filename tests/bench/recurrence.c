// h = a h + b over n turns of c channels, by hand: what seqm is measured against in the rows
// `recurrence`. peers.py compiles it for the machine.
#include <string.h>

typedef float vec __attribute__((vector_size(32)));
enum { LANES = 8, WIDE = 8 };

static vec load(const float *p) {
  vec v;
  memcpy(&v, p, sizeof v);
  return v;
}

// One channel: the turns of a vector by doubling steps, the state through its last lane.
static void one_channel(long n, const float *a, const float *b, float *h) {
  const vec one = {1, 1, 1, 1, 1, 1, 1, 1}, zero = {0};
  vec carry = zero;
  long t = 0;
  for (; t + LANES <= n; t += LANES) {
    vec f = load(a + t), g = load(b + t);
    g += f * __builtin_shufflevector(g, zero, 8, 0, 8, 2, 8, 4, 8, 6);
    f *= __builtin_shufflevector(f, one, 8, 0, 8, 2, 8, 4, 8, 6);
    g += f * __builtin_shufflevector(g, zero, 8, 8, 1, 1, 8, 8, 5, 5);
    f *= __builtin_shufflevector(f, one, 8, 8, 1, 1, 8, 8, 5, 5);
    g += f * __builtin_shufflevector(g, zero, 8, 8, 8, 8, 3, 3, 3, 3);
    f *= __builtin_shufflevector(f, one, 8, 8, 8, 8, 3, 3, 3, 3);
    vec v = f * carry + g;
    memcpy(h + t, &v, sizeof v);
    carry = __builtin_shufflevector(f, f, 7, 7, 7, 7, 7, 7, 7, 7) * carry +
            __builtin_shufflevector(g, g, 7, 7, 7, 7, 7, 7, 7, 7);
  }
  for (float s = carry[0]; t < n; t++) h[t] = s = a[t] * s + b[t];
}

// `wide` vectors of channels from `first`.
static inline __attribute__((always_inline)) void block(long n, long c, long first, int wide,
                                                        const float *a, const float *b, float *h) {
  vec s[WIDE] = {0};
  for (long t = 0; t < n; t++)
    for (int i = 0; i < wide; i++) {
      long at = t * c + first + i * LANES;
      s[i] = load(a + at) * s[i] + load(b + at);
      memcpy(h + at, &s[i], sizeof s[i]);
    }
}

// c: 1, or a multiple of 64.
void recurrence(long n, long c, const float *a, const float *b, float *h, int threads) {
  if (c == 1) {
    one_channel(n, a, b, h);
    return;
  }
  long size = WIDE * LANES, blocks = c / size;
  if (blocks >= threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long k = 0; k < blocks; k++) block(n, c, k * size, WIDE, a, b, h);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(static)
  for (long k = 0; k < 2 * blocks; k++) block(n, c, k * size / 2, WIDE / 2, a, b, h);
}
