// What seqm's kernels compute, as plain loops that a compiler makes vectors of: the measure of
// regression.py. One thread.
//
//   plain NAME SECONDS SIZE...   prints the median time of a call, in seconds
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_CALLS = 100000 };
static float *in[4], *out; // as large as any row needs

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }

// c[m, n] = a[m, k] b[k, n]
static void matmul(const long *s) {
  long m = s[0], n = s[1], k = s[2];
  memset(out, 0, (size_t)(m * n) * sizeof *out);
  for (long i = 0; i < m; i++)
    for (long p = 0; p < k; p++)
      for (long j = 0; j < n; j++) out[i * n + j] += in[0][i * k + p] * in[1][p * n + j];
}

// One head of attention of n queries and keys of width d; causal: keys up to the query.
static void head(long n, long d, long causal, const float *q, const float *k, const float *v,
                 float *o, float *w) {
  for (long i = 0; i < n; i++) {
    long keys = causal ? i + 1 : n;
    float top = -INFINITY, sum = 0;
    for (long j = 0; j < keys; j++) {
      float a = 0;
      for (long c = 0; c < d; c++) a += q[i * d + c] * k[j * d + c];
      w[j] = a * 0.125f;
      if (w[j] > top) top = w[j];
    }
    for (long j = 0; j < keys; j++) sum += w[j] = expf(w[j] - top);
    memset(o + i * d, 0, (size_t)d * sizeof *o);
    for (long j = 0; j < keys; j++)
      for (long c = 0; c < d; c++) o[i * d + c] += w[j] / sum * v[j * d + c];
  }
}

static void attention(const long *s) {
  long heads = s[0], n = s[1], d = s[2], one = n * d;
  for (long h = 0; h < heads; h++)
    head(n, d, s[3], in[0] + h * one, in[1] + h * one, in[2] + h * one, out + h * one, in[3]);
}

// t steps of an LSTM of width h.
static void lstm(const long *s) {
  long t = s[0], h = s[1];
  float *state = in[3], *cell = state + h, *gate = cell + h;
  memset(state, 0, (size_t)(2 * h) * sizeof *state);
  for (long i = 0; i < t; i++) {
    for (long j = 0; j < 4 * h; j++) {
      float a = 0, b = 0;
      for (long c = 0; c < h; c++) a += in[1][j * h + c] * in[0][i * h + c];
      for (long c = 0; c < h; c++) b += in[2][j * h + c] * state[c];
      gate[j] = a + b;
    }
    for (long j = 0; j < h; j++) {
      cell[j] = sigmoid(gate[h + j]) * cell[j] + sigmoid(gate[j]) * tanhf(gate[2 * h + j]);
      state[j] = sigmoid(gate[3 * h + j]) * tanhf(cell[j]);
    }
    memcpy(out + i * h, state, (size_t)h * sizeof *out);
  }
}

// h = a h + b over n turns of c channels.
static void recurrence(const long *s) {
  long n = s[0], c = s[1];
  float *h = in[3];
  memset(h, 0, (size_t)c * sizeof *h);
  for (long t = 0; t < n; t++)
    for (long j = 0; j < c; j++) out[t * c + j] = h[j] = in[0][t * c + j] * h[j] + in[1][t * c + j];
}

// Linear attention with decay: a matrix state for each head.
static void linear_attention(const long *s) {
  long heads = s[0], n = s[1], d = s[2];
  for (long h = 0; h < heads; h++) {
    float *m = in[3], decay = expf(-exp2f(-(float)(h + 1)));
    memset(m, 0, (size_t)(d * d) * sizeof *m);
    for (long t = 0; t < n; t++) {
      const float *q = in[0] + (h * n + t) * d, *k = in[1] + (h * n + t) * d;
      const float *v = in[2] + (h * n + t) * d;
      float *o = out + (h * n + t) * d;
      memset(o, 0, (size_t)d * sizeof *o);
      for (long i = 0; i < d; i++)
        for (long j = 0; j < d; j++) {
          float x = m[i * d + j] = decay * m[i * d + j] + k[i] * v[j];
          o[j] += q[i] * x;
        }
    }
  }
}

// Mamba's selective scan: n turns, d channels of s numbers.
static void selective(const long *z) {
  long n = z[0], d = z[1], s = z[2];
  float *h = in[3], *a = h + d * s;
  memset(h, 0, (size_t)(d * s) * sizeof *h);
  for (long t = 0; t < n; t++)
    for (long j = 0; j < d; j++) {
      float dt = in[0][t * d + j], u = in[1][t * d + j], y = 0;
      for (long i = 0; i < s; i++) {
        float x = expf(dt * a[j * s + i]) * h[j * s + i] + dt * u * in[2][t * s + i];
        h[j * s + i] = x;
        y += x * in[2][(n + t) * s + i];
      }
      out[t * d + j] = y;
    }
}

static const struct {
  const char *name;
  void (*run)(const long *size);
  int sizes;
} table[] = {
    {"matmul", matmul, 3},         {"attention", attention, 4},     {"lstm", lstm, 2},
    {"recurrence", recurrence, 2}, {"linear", linear_attention, 3}, {"selective", selective, 3}};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_time(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static int measure(void (*run)(const long *), const long *size, double seconds) {
  static double took[MOST_CALLS];
  int n = 0;
  run(size);
  for (double begin = now(); n < MOST_CALLS && (n < 3 || now() - begin < seconds); n++) {
    double t = now();
    run(size);
    took[n] = now() - t;
  }
  qsort(took, (size_t)n, sizeof *took, by_time);
  return printf("%.9g\n", took[n / 2]) < 0;
}

int main(int argc, char **argv) {
  const size_t room = (size_t)8 << 20;
  out = malloc(room * sizeof *out);
  for (int k = 0; k < 4; k++) {
    in[k] = malloc(room * sizeof *in[k]);
    if (!in[k] || !out) return 3;
    for (size_t i = 0; i < room; i++) in[k][i] = (float)((i * 7 + (size_t)k) % 13) * 0.02f - 0.1f;
  }
  for (size_t k = 0; argc > 2 && k < sizeof table / sizeof *table; k++) {
    long size[4];
    if (strcmp(argv[1], table[k].name) != 0 || argc != 3 + table[k].sizes) continue;
    for (int i = 0; i < table[k].sizes; i++) size[i] = atol(argv[3 + i]);
    return measure(table[k].run, size, atof(argv[2]));
  }
  fputs("usage: plain NAME SECONDS SIZE...\n", stderr);
  return 2;
}
