// Conversion between float types; see convert.h. Every float type widens to double exactly, and
// `narrow` rounds a double to any smaller format in one step; the loops for the common pairs are
// short enough for the C compiler to vectorise.
#include "runtime/convert.h"
#include <math.h>
#include <string.h>

enum { CHUNK = 1 << 16 };

static double bits_double(uint64_t b) {
  double d;
  memcpy(&d, &b, sizeof d);
  return d;
}
static uint64_t double_bits(double d) {
  uint64_t b;
  memcpy(&b, &d, sizeof b);
  return b;
}
static float bits_float(uint32_t b) {
  float f;
  memcpy(&f, &b, sizeof f);
  return f;
}

static float half_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
  if (e == 31) return bits_float(sign | 0x7f800000 | m << 13);
  if (e) return bits_float(sign | (e + 112) << 23 | m << 13);
  float f = (float)m * 0x1p-24f;
  return sign ? -f : f;
}

// Rounds to a format of `eb` exponent and `mb` mantissa bits.
static uint32_t narrow(double d, int eb, int mb) {
  uint64_t b = double_bits(d), m = b & 0xfffffffffffff;
  uint32_t sign = (uint32_t)(b >> 63) << (eb + mb), top = ((1u << eb) - 1) << mb;
  int e = (int)(b >> 52 & 0x7ff);
  if (e == 0x7ff) return sign | top | (m ? 1u << (mb - 1) | (uint32_t)(m >> (52 - mb)) : 0);
  if (!e) return sign; // subnormal doubles are far below every smaller format
  e += (1 << (eb - 1)) - 1 - 1023;
  m |= (uint64_t)1 << 52;
  int drop = 52 - mb;
  if (e <= 0) {
    drop += 1 - e;
    e = 1;
    if (drop > 54) return sign;
  }
  uint64_t q = m >> drop, rest = m & (((uint64_t)1 << drop) - 1), half = (uint64_t)1 << (drop - 1);
  q += rest > half || (rest == half && (q & 1));
  // The leading one carries into the exponent: (e - 1) << mb + q.
  uint64_t v = ((uint64_t)(e - 1) << mb) + q;
  return sign | (v >= top ? top : (uint32_t)v);
}

static double widen(uint32_t from, const unsigned char *s) {
  uint64_t b8;
  uint32_t b4;
  uint16_t b2;
  switch (from) {
  case SEQM_F64:
    memcpy(&b8, s, 8);
    return bits_double(b8);
  case SEQM_F32:
    memcpy(&b4, s, 4);
    return (double)bits_float(b4);
  case SEQM_F16:
    memcpy(&b2, s, 2);
    return (double)half_float(b2);
  default:
    memcpy(&b2, s, 2);
    return (double)bits_float((uint32_t)b2 << 16);
  }
}

static void put(uint32_t to, unsigned char *d, double v) {
  float f;
  uint16_t h;
  switch (to) {
  case SEQM_F64:
    memcpy(d, &v, 8);
    return;
  case SEQM_F32:
    f = (float)v;
    memcpy(d, &f, 4);
    return;
  case SEQM_F16:
    h = (uint16_t)narrow(v, 5, 10);
    memcpy(d, &h, 2);
    return;
  default:
    h = (uint16_t)narrow(v, 8, 7);
    memcpy(d, &h, 2);
    return;
  }
}

typedef struct job {
  uint32_t from, to, from_size, to_size;
  const unsigned char *src;
  unsigned char *dst;
  int64_t n;
} job;

static void bf16_f32(const unsigned char *s, unsigned char *d, int64_t n) {
  for (int64_t k = 0; k < n; k++) {
    uint16_t h;
    memcpy(&h, s + 2 * k, 2);
    uint32_t b = (uint32_t)h << 16;
    memcpy(d + 4 * k, &b, 4);
  }
}

static void f16_f32(const unsigned char *s, unsigned char *d, int64_t n) {
  for (int64_t k = 0; k < n; k++) {
    uint16_t h;
    memcpy(&h, s + 2 * k, 2);
    float f = half_float(h);
    memcpy(d + 4 * k, &f, 4);
  }
}

static void f32_bf16(const unsigned char *s, unsigned char *d, int64_t n) {
  for (int64_t k = 0; k < n; k++) {
    uint32_t b;
    memcpy(&b, s + 4 * k, 4);
    bool nan = (b & 0x7fffffff) > 0x7f800000;
    uint32_t up = (b + 0x7fff + (b >> 16 & 1)) >> 16;
    uint16_t h = (uint16_t)(nan ? b >> 16 | 0x40 : up);
    memcpy(d + 2 * k, &h, 2);
  }
}

static void convert_chunk(void *closure, int64_t task, int64_t worker) {
  (void)worker;
  const job *j = closure;
  int64_t at = task * CHUNK, n = j->n - at < CHUNK ? j->n - at : CHUNK;
  const unsigned char *s = j->src + at * j->from_size;
  unsigned char *d = j->dst + at * j->to_size;
  if (j->from == SEQM_BF16 && j->to == SEQM_F32)
    bf16_f32(s, d, n);
  else if (j->from == SEQM_F16 && j->to == SEQM_F32)
    f16_f32(s, d, n);
  else if (j->from == SEQM_F32 && j->to == SEQM_BF16)
    f32_bf16(s, d, n);
  else
    for (int64_t k = 0; k < n; k++)
      put(j->to, d + k * j->to_size, widen(j->from, s + k * j->from_size));
}

void sq_convert(seqm_context *ctx, uint32_t from, const void *src, uint32_t to, void *dst,
                int64_t n) {
  job j = {from,
           to,
           (uint32_t)seqm_dtype_size((seqm_dtype)from),
           (uint32_t)seqm_dtype_size((seqm_dtype)to),
           src,
           dst,
           n};
  sq_context_parallel(ctx, (n + CHUNK - 1) / CHUNK, convert_chunk, &j);
}

// --- random weights -----------------------------------------------------------------------------
static void philox(uint32_t c[4], uint64_t key) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t x = (uint32_t)(b >> 32) ^ c[1] ^ k0, y = (uint32_t)(a >> 32) ^ c[3] ^ k1;
    c[0] = x;
    c[1] = (uint32_t)b;
    c[2] = y;
    c[3] = (uint32_t)a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// ln x, 0 < x < 1, by 2 atanh((m - 1) / (m + 1)): only operations that every machine rounds alike.
static double logarithm(double x) {
  uint64_t b = double_bits(x);
  int e = (int)(b >> 52) - 1023;
  double m = bits_double((b & 0xfffffffffffff) | (uint64_t)1023 << 52);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    e++;
  }
  double s = (m - 1) / (m + 1), s2 = s * s, sum = 0;
  for (int k = 21; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
  return e * 0.6931471805599453 + 2 * s * sum;
}

// Inverse of the normal distribution function, relative error 1.2e-9 (P. J. Acklam).
static double normal_inverse(double p) {
  static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                             1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
  static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
                             6.680131188771972e+01, -1.328068155288572e+01};
  static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                             -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
  static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                             3.754408661907416e+00};
  double tail = p < 0.5 ? p : 1 - p;
  if (tail < 0.02425) {
    double q = sqrt(-2 * logarithm(tail));
    double v = (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
               ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
    return p < 0.5 ? v : -v;
  }
  double q = p - 0.5, r = q * q;
  return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
         (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

typedef struct random_job {
  uint64_t seed, hash;
  double mean, scale;
  uint32_t dtype, size;
  unsigned char *dst;
  int64_t n;
} random_job;

static void random_chunk(void *closure, int64_t task, int64_t worker) {
  (void)worker;
  const random_job *j = closure;
  int64_t at = task * CHUNK, end = j->n - at < CHUNK ? j->n : at + CHUNK;
  for (int64_t k = at; k < end; k += 4) {
    uint64_t block = (uint64_t)k / 4;
    uint32_t c[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)j->hash,
                     (uint32_t)(j->hash >> 32)};
    philox(c, j->seed);
    for (int64_t i = 0; i < 4 && k + i < end; i++) {
      double v = normal_inverse((c[i] + 0.5) * 0x1p-32);
      put(j->dtype, j->dst + (k + i) * j->size, j->mean + j->scale * v);
    }
  }
}

static uint64_t hash_text(const char *s) {
  uint64_t h = 0xcbf29ce484222325u;
  for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
  return h;
}

void sq_random_weight(seqm_context *ctx, uint64_t seed, const char *name, uint32_t dtype,
                      uint32_t rank, const int64_t *dim, void *dst) {
  size_t bytes = 0;
  if (!sq_shape_bytes(dtype, rank, dim, &bytes)) return;
  if (dtype > SEQM_BF16) {
    memset(dst, 0, bytes);
    return;
  }
  uint32_t size = (uint32_t)seqm_dtype_size((seqm_dtype)dtype);
  random_job j = {.seed = seed,
                  .hash = hash_text(name),
                  .dtype = dtype,
                  .size = size,
                  .dst = dst,
                  .n = (int64_t)(bytes / size),
                  .mean = rank < 2 ? 1 : 0,
                  .scale = 0.02};
  if (rank >= 2 && j.n) j.scale = 1 / sqrt((double)dim[rank - 1]);
  sq_context_parallel(ctx, (j.n + CHUNK - 1) / CHUNK, random_chunk, &j);
}
