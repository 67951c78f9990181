// The random stream of the operation `random`: one definition for the interpreter, compiled code
// and the runtime. Counter-based: element e depends on (key, e, the class of its type) alone, so it
// is the same on every target and with every number of threads. No state, nothing included but
// libc.
//
// One block is Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC
// 2011)
//   counter = (low 32 bits of B, high 32 bits of B, C, 0), key = (low 32, high 32 bits of the key),
//   i32 keys sign-extended to 64 bits; it gives the words w[0..3].
// Narrow types (f32, f16, bf16): C = 0, B = e / 4.
//   uniform: the top t bits of w[e % 4] times 2^-t; t = 24 for f32, 11 for f16, 8 for bf16: every
//   value
//            is exact in its type and below 1.
//   normal:  Box-Muller on word pairs (w0, w1) and (w2, w3):
//            u = ((w_even >> 8) + 1) * 2^-24 in (0, 1], v = (w_odd >> 8) * 2^-24,
//            the even element is sqrt(-2 ln u) cos(2 pi v), the odd one sqrt(-2 ln u) sin(2 pi v).
// f64: C = 1, B = e / 2; x0 = w1:w0, x1 = w3:w2 (64 bits each, first named high).
//   uniform: (x[e % 2] >> 11) * 2^-53.
//   normal:  u = ((x0 >> 11) + 1) * 2^-53, v = (x1 >> 11) * 2^-53, even and odd as above.
#pragma once
#include <math.h>
#include <stdint.h>

static inline void sq_philox4x32(const uint32_t counter[4], const uint32_t key[2],
                                 uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint64_t p = (uint64_t)0xD2511F53u * c0, q = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(q >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)q;
    c3 = (uint32_t)p;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

static inline void sq_random_block(int64_t key, uint64_t block, uint32_t stream, uint32_t w[4]) {
  uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), stream, 0};
  uint32_t k[2] = {(uint32_t)(uint64_t)key, (uint32_t)((uint64_t)key >> 32)};
  sq_philox4x32(counter, k, w);
}

// Element e of the uniform stream; bits: 53 (f64), 24 (f32), 11 (f16), 8 (bf16).
static inline double sq_random_uniform(int64_t key, uint64_t e, int bits) {
  uint32_t w[4];
  if (bits > 24) {
    sq_random_block(key, e / 2, 1, w);
    uint64_t x = e % 2 ? (uint64_t)w[3] << 32 | w[2] : (uint64_t)w[1] << 32 | w[0];
    return (double)(x >> 11) * 0x1p-53;
  }
  sq_random_block(key, e / 4, 0, w);
  return ldexp((double)(w[e % 4] >> (32 - bits)), -bits);
}

// Element e of the normal stream; wide: f64.
static inline double sq_random_normal(int64_t key, uint64_t e, int wide) {
  uint32_t w[4];
  double u, v;
  if (wide) {
    sq_random_block(key, e / 2, 1, w);
    u = (double)(((((uint64_t)w[1] << 32) | w[0]) >> 11) + 1) * 0x1p-53;
    v = (double)((((uint64_t)w[3] << 32) | w[2]) >> 11) * 0x1p-53;
  } else {
    sq_random_block(key, e / 4, 0, w);
    uint32_t at = (uint32_t)(e % 4) & 2u;
    u = (double)((w[at] >> 8) + 1u) * 0x1p-24;
    v = (double)(w[at + 1] >> 8) * 0x1p-24;
  }
  double r = sqrt(-2 * log(u)), angle = 6.283185307179586476925287 * v;
  return r * (e % 2 ? sin(angle) : cos(angle));
}
