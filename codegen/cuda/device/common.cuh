// What kernels are written in, the same for both sides: memory and register forms, casts, the scalar
// functions of ir/ewise.def, accumulators of ir/monoids.def, random numbers of ir/random.h.

// ---- memory and registers
SQ_FN unsigned short sq_float_to_bf16(float f) {
  sq_u32 x = sq_bits(f);
  if (f != f) return (unsigned short)(x >> 16 | 0x40);
  return (unsigned short)((x + 0x7fff + (x >> 16 & 1)) >> 16);
}
template <class S> SQ_FN S sq_from_memory(const S &v) { return v; }
SQ_FN float sq_from_memory(const sq_f16 &v) { return sq_half_to_float(v.bits); }
SQ_FN float sq_from_memory(const sq_bf16 &v) { return sq_of_bits((sq_u32)v.bits << 16); }
SQ_FN bool sq_from_memory(const sq_b8 &v) { return v.v != 0; }
template <class S> SQ_FN void sq_to_memory(S &m, const S &v) { m = v; }
SQ_FN void sq_to_memory(sq_f16 &m, float v) { m.bits = sq_float_to_half(v); }
SQ_FN void sq_to_memory(sq_bf16 &m, float v) { m.bits = sq_float_to_bf16(v); }
SQ_FN void sq_to_memory(sq_b8 &m, bool v) { m.v = v; }

// ---- casts
SQ_FN float sq_round_f16(float v) { return sq_half_to_float(sq_float_to_half(v)); }
SQ_FN float sq_round_bf16(float v) { return sq_of_bits((sq_u32)sq_float_to_bf16(v) << 16); }
// To a narrower float without a second rounding showing: rounded to odd on the way.
SQ_FN float sq_to_odd(double v) {
  float f = (float)v;
  if (v != v || (double)f == v) return f;
  sq_u32 b = sq_bits(f);
  if ((b & 0x7fffffffu) == 0x7f800000u) return v - v == 0 ? sq_of_bits(b - 1) : f;
  double back = (double)f;
  if (back > 0 ? back > v : back < v) b -= 1; // towards zero
  return sq_of_bits(b | 1);
}
SQ_FN float sq_to_odd(float v) { return v; }
SQ_FN double sq_int_odd(sq_i64 v) {
  if (v > -(1ll << 53) && v < (1ll << 53)) return (double)v;
  return (double)(v & ~0x7ffll) + ((v & 0x7ff) ? (double)0x400 : 0.0);
}
SQ_FN float sq_to_odd(sq_i64 v) { return sq_to_odd(sq_int_odd(v)); }
SQ_FN float sq_to_odd(sq_i32 v) { return sq_to_odd((double)v); }
SQ_FN float sq_to_odd(sq_i8 v) { return (float)v; }
SQ_FN float sq_to_odd(sq_u8 v) { return (float)v; }
SQ_FN float sq_to_odd(bool v) { return (float)v; }
template <class T> SQ_FN double sq_to_f64(T v) { return (double)v; }
template <class T> SQ_FN float sq_to_f32(T v) { return (float)v; }
template <class T> SQ_FN float sq_to_f16(T v) { return sq_round_f16(sq_to_odd(v)); }
template <class T> SQ_FN float sq_to_bf16(T v) { return sq_round_bf16(sq_to_odd(v)); }
template <class T> SQ_FN bool sq_to_bool(T v) { return v != 0; }
// Floats saturate, NaN is 0; integers wrap.
#define SQ_TO_INT(name, T, low, high)                                                              \
  template <class S> SQ_FN T sq_to_##name(S v) { return (T)v; }                                    \
  SQ_FN T sq_to_##name(double v) {                                                                 \
    if (v != v) return 0;                                                                          \
    return v <= (double)(low) ? (low) : v >= (double)(high) ? (high) : (T)v;                       \
  }                                                                                                \
  SQ_FN T sq_to_##name(float v) { return sq_to_##name((double)v); }
SQ_TO_INT(i64, sq_i64, -9223372036854775807ll - 1, 9223372036854775807ll)
SQ_TO_INT(i32, sq_i32, -2147483647 - 1, 2147483647)
SQ_TO_INT(i8, sq_i8, -128, 127)
SQ_TO_INT(u8, sq_u8, 0, 255)

// ---- arithmetic of integers: it wraps, division floors, by 0 it gives 0
SQ_FN sq_i64 sq_add(sq_i64 a, sq_i64 b) { return (sq_i64)((sq_u64)a + (sq_u64)b); }
SQ_FN sq_i64 sq_sub(sq_i64 a, sq_i64 b) { return (sq_i64)((sq_u64)a - (sq_u64)b); }
SQ_FN sq_i64 sq_mul(sq_i64 a, sq_i64 b) { return (sq_i64)((sq_u64)a * (sq_u64)b); }
SQ_FN sq_i32 sq_add(sq_i32 a, sq_i32 b) { return (sq_i32)((sq_u32)a + (sq_u32)b); }
SQ_FN sq_i32 sq_sub(sq_i32 a, sq_i32 b) { return (sq_i32)((sq_u32)a - (sq_u32)b); }
SQ_FN sq_i32 sq_mul(sq_i32 a, sq_i32 b) { return (sq_i32)((sq_u32)a * (sq_u32)b); }
SQ_FN sq_i64 sq_neg(sq_i64 a) { return sq_sub((sq_i64)0, a); }
SQ_FN sq_i32 sq_neg(sq_i32 a) { return sq_sub(0, a); }
SQ_FN sq_i64 sq_floordiv(sq_i64 a, sq_i64 b) {
  if (b == 0) return 0;
  if (b == -1) return sq_neg(a);
  sq_i64 q = a / b;
  return q - (a % b != 0 && (a < 0) != (b < 0));
}
SQ_FN sq_i64 sq_mod(sq_i64 a, sq_i64 b) {
  if (b == 0 || b == -1) return 0;
  sq_i64 m = a % b;
  return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}
SQ_FN sq_i32 sq_floordiv(sq_i32 a, sq_i32 b) {
  if (b == 0) return 0;
  if (b == -1) return sq_neg(a);
  sq_i32 q = a / b;
  return q - (a % b != 0 && (a < 0) != (b < 0));
}
SQ_FN sq_i32 sq_mod(sq_i32 a, sq_i32 b) {
  if (b == 0 || b == -1) return 0;
  sq_i32 m = a % b;
  return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}
// A shift by less than 0 or by the width and more moves every bit out.
SQ_FN sq_i64 sq_shl(sq_i64 a, sq_i64 b) { return b < 0 || b >= 64 ? 0 : (sq_i64)((sq_u64)a << b); }
SQ_FN sq_i64 sq_shr(sq_i64 a, sq_i64 b) { return b < 0 || b >= 64 ? (a < 0 ? -1 : 0) : a >> b; }
SQ_FN sq_i32 sq_shl(sq_i32 a, sq_i32 b) { return b < 0 || b >= 32 ? 0 : (sq_i32)((sq_u32)a << b); }
SQ_FN sq_i32 sq_shr(sq_i32 a, sq_i32 b) { return b < 0 || b >= 32 ? (a < 0 ? -1 : 0) : a >> b; }
SQ_FN sq_i64 sq_abs(sq_i64 a) { return a < 0 ? sq_neg(a) : a; }
SQ_FN sq_i32 sq_abs(sq_i32 a) { return a < 0 ? sq_neg(a) : a; }
#define SQ_NARROW(T)                                                                               \
  SQ_FN T sq_add(T a, T b) { return (T)((int)a + (int)b); }                                        \
  SQ_FN T sq_sub(T a, T b) { return (T)((int)a - (int)b); }                                        \
  SQ_FN T sq_mul(T a, T b) { return (T)((int)a * (int)b); }                                        \
  SQ_FN T sq_neg(T a) { return (T)(-(int)a); }                                                     \
  SQ_FN T sq_abs(T a) { return (T)((int)a < 0 ? -(int)a : (int)a); }                               \
  SQ_FN T sq_floordiv(T a, T b) { return (T)sq_floordiv((int)a, (int)b); }                         \
  SQ_FN T sq_mod(T a, T b) { return (T)sq_mod((int)a, (int)b); }                                   \
  SQ_FN T sq_shl(T a, T b) {                                                                       \
    return (int)b < 0 || (int)b >= 8 ? (T)0 : (T)((sq_u32)(int)a << (int)b);                       \
  }                                                                                                \
  SQ_FN T sq_shr(T a, T b) {                                                                       \
    return (int)b < 0 || (int)b >= 8 ? (T)((int)a < 0 ? -1 : 0) : (T)((int)a >> (int)b);           \
  }
SQ_NARROW(sq_i8)
SQ_NARROW(sq_u8)
SQ_NARROW(bool)
template <class T> SQ_FN T sq_bitand(T a, T b) { return (T)(a & b); }
template <class T> SQ_FN T sq_bitor(T a, T b) { return (T)(a | b); }
template <class T> SQ_FN T sq_bitxor(T a, T b) { return (T)(a ^ b); }

// ---- arithmetic of floats
SQ_MATH1(exp)
SQ_MATH1(exp2)
SQ_MATH1(expm1)
SQ_MATH1(log)
SQ_MATH1(log2)
SQ_MATH1(log1p)
SQ_MATH1(sqrt)
SQ_MATH1(sin)
SQ_MATH1(cos)
SQ_MATH1(tan)
SQ_MATH1(tanh)
SQ_MATH1(erf)
SQ_MATH1(floor)
SQ_MATH1(ceil)
SQ_MATH1(rint)
SQ_MATH1(fabs)
SQ_MATH2(pow)
SQ_MATH2(atan2)
SQ_FN float sq_c_fma(float a, float b, float c) { return SQ_FMAF(a, b, c); }
SQ_FN double sq_c_fma(double a, double b, double c) { return SQ_FMA(a, b, c); }
// In double for float, so that the floor of a quotient near an integer is right.
#define SQ_FLOATS(T)                                                                               \
  SQ_FN T sq_add(T a, T b) { return a + b; }                                                       \
  SQ_FN T sq_sub(T a, T b) { return a - b; }                                                       \
  SQ_FN T sq_mul(T a, T b) { return a * b; }                                                       \
  SQ_FN T sq_div(T a, T b) { return a / b; }                                                       \
  SQ_FN T sq_neg(T a) { return -a; }                                                               \
  SQ_FN T sq_abs(T a) { return sq_c_fabs(a); }                                                     \
  SQ_FN T sq_floordiv(T a, T b) { return (T)sq_c_floor((double)a / (double)b); }                   \
  SQ_FN T sq_mod(T a, T b) {                                                                       \
    return (T)sq_c_fma(-sq_c_floor((double)a / (double)b), (double)b, (double)a);                  \
  }                                                                                                \
  SQ_FN T sq_pow(T a, T b) { return sq_c_pow(a, b); }                                              \
  SQ_FN T sq_atan2(T a, T b) { return sq_c_atan2(a, b); }                                          \
  SQ_FN T sq_exp(T a) { return sq_c_exp(a); }                                                      \
  SQ_FN T sq_exp2(T a) { return sq_c_exp2(a); }                                                    \
  SQ_FN T sq_expm1(T a) { return sq_c_expm1(a); }                                                  \
  SQ_FN T sq_log(T a) { return sq_c_log(a); }                                                      \
  SQ_FN T sq_log2(T a) { return sq_c_log2(a); }                                                    \
  SQ_FN T sq_log1p(T a) { return sq_c_log1p(a); }                                                  \
  SQ_FN T sq_sqrt(T a) { return sq_c_sqrt(a); }                                                    \
  SQ_FN T sq_rsqrt(T a) { return (T)1 / sq_c_sqrt(a); }                                            \
  SQ_FN T sq_sin(T a) { return sq_c_sin(a); }                                                      \
  SQ_FN T sq_cos(T a) { return sq_c_cos(a); }                                                      \
  SQ_FN T sq_tan(T a) { return sq_c_tan(a); }                                                      \
  SQ_FN T sq_tanh(T a) { return sq_c_tanh(a); }                                                    \
  SQ_FN T sq_erf(T a) { return sq_c_erf(a); }                                                      \
  SQ_FN T sq_sigmoid(T a) { return (T)1 / ((T)1 + sq_c_exp(-a)); }                                 \
  SQ_FN T sq_floor(T a) { return sq_c_floor(a); }                                                  \
  SQ_FN T sq_ceil(T a) { return sq_c_ceil(a); }                                                    \
  SQ_FN T sq_round(T a) { return sq_c_rint(a); }                                                   \
  SQ_FN T sq_lowest(T) { return (T)-SQ_INF; }                                                      \
  SQ_FN T sq_highest(T) { return (T)SQ_INF; }
SQ_FLOATS(float)
SQ_FLOATS(double)
template <class T> SQ_FN T sq_sign(T a) { return a > 0 ? (T)1 : a < 0 ? (T)-1 : a; }
template <class T> SQ_FN bool sq_isnan(T a) { return a != a; }
template <class T> SQ_FN T sq_minimum(T a, T b) { return a != a || a < b ? a : b; }
template <class T> SQ_FN T sq_maximum(T a, T b) { return a != a || a > b ? a : b; }
SQ_FN sq_i64 sq_lowest(sq_i64) { return -9223372036854775807ll - 1; }
SQ_FN sq_i64 sq_highest(sq_i64) { return 9223372036854775807ll; }
SQ_FN sq_i32 sq_lowest(sq_i32) { return -2147483647 - 1; }
SQ_FN sq_i32 sq_highest(sq_i32) { return 2147483647; }
SQ_FN sq_i8 sq_lowest(sq_i8) { return -128; }
SQ_FN sq_i8 sq_highest(sq_i8) { return 127; }
SQ_FN sq_u8 sq_lowest(sq_u8) { return 0; }
SQ_FN sq_u8 sq_highest(sq_u8) { return 255; }
SQ_FN bool sq_lowest(bool) { return false; }
SQ_FN bool sq_highest(bool) { return true; }

// ---- accumulators: begin, step (an element and its index), merge (in any order), result
template <class T> struct sq_acc_sum {
  T v;
  SQ_METHOD void begin() { v = (T)0; }
  SQ_METHOD void step(T x, sq_i64) { v = sq_add(v, x); }
  SQ_METHOD void merge(const sq_acc_sum &o) { v = sq_add(v, o.v); }
  SQ_METHOD T result() const { return v; }
};
template <class T> struct sq_acc_prod {
  T v;
  SQ_METHOD void begin() { v = (T)1; }
  SQ_METHOD void step(T x, sq_i64) { v = sq_mul(v, x); }
  SQ_METHOD void merge(const sq_acc_prod &o) { v = sq_mul(v, o.v); }
  SQ_METHOD T result() const { return v; }
};
template <class T> struct sq_acc_max {
  T v;
  SQ_METHOD void begin() { v = sq_lowest((T)0); }
  SQ_METHOD void step(T x, sq_i64) { v = sq_maximum(v, x); }
  SQ_METHOD void merge(const sq_acc_max &o) { v = sq_maximum(v, o.v); }
  SQ_METHOD T result() const { return v; }
};
template <class T> struct sq_acc_min {
  T v;
  SQ_METHOD void begin() { v = sq_highest((T)0); }
  SQ_METHOD void step(T x, sq_i64) { v = sq_minimum(v, x); }
  SQ_METHOD void merge(const sq_acc_min &o) { v = sq_minimum(v, o.v); }
  SQ_METHOD T result() const { return v; }
};
template <class T> struct sq_acc_mean {
  T v;
  sq_i64 n;
  SQ_METHOD void begin() {
    v = (T)0;
    n = 0;
  }
  SQ_METHOD void step(T x, sq_i64) {
    v = sq_add(v, x);
    n++;
  }
  SQ_METHOD void merge(const sq_acc_mean &o) {
    v = sq_add(v, o.v);
    n += o.n;
  }
  SQ_METHOD T result() const { return n ? v / (T)n : (T)0; }
};
template <class T> struct sq_acc_any {
  int v;
  SQ_METHOD void begin() { v = 0; }
  SQ_METHOD void step(T x, sq_i64) { v |= x != 0; }
  SQ_METHOD void merge(const sq_acc_any &o) { v |= o.v; }
  SQ_METHOD bool result() const { return v != 0; }
};
template <class T> struct sq_acc_all {
  int v;
  SQ_METHOD void begin() { v = 1; }
  SQ_METHOD void step(T x, sq_i64) { v &= x != 0; }
  SQ_METHOD void merge(const sq_acc_all &o) { v &= o.v; }
  SQ_METHOD bool result() const { return v != 0; }
};
// The best value and its index, -1: none yet; the lowest index of equal values; NaN before all.
template <class T, bool greatest> struct sq_acc_arg {
  T v;
  sq_i32 at;
  SQ_METHOD static bool precedes(T a, T b) {
    if (a != a) return b == b;
    return greatest ? b < a : a < b;
  }
  SQ_METHOD void begin() {
    v = (T)0;
    at = -1;
  }
  SQ_METHOD void step(T x, sq_i64 i) {
    if (at >= 0 && !precedes(x, v)) return;
    v = x;
    at = (sq_i32)i;
  }
  SQ_METHOD void merge(const sq_acc_arg &o) {
    if (o.at < 0) return;
    bool tie = at >= 0 && !precedes(o.v, v) && !precedes(v, o.v);
    if (at >= 0 && !precedes(o.v, v) && !(tie && o.at < at)) return;
    v = o.v;
    at = o.at;
  }
  SQ_METHOD sq_i32 result() const { return at; }
};
template <class T> struct sq_acc_argmax : sq_acc_arg<T, true> {};
template <class T> struct sq_acc_argmin : sq_acc_arg<T, false> {};
// The greatest value m and the sum of exp(x - m), brought along.
template <class T> struct sq_acc_logsumexp {
  T m, s;
  SQ_METHOD void begin() {
    m = (T)-SQ_INF;
    s = (T)0;
  }
  SQ_METHOD static T scaled(T m, T s, T top) { return m == top ? s : s * sq_exp(m - top); }
  SQ_METHOD void step(T x, sq_i64) {
    sq_acc_logsumexp o;
    o.m = x;
    o.s = (T)1;
    if (x != (T)-SQ_INF) merge(o);
  }
  SQ_METHOD void merge(const sq_acc_logsumexp &o) {
    T top = sq_maximum(m, o.m);
    s = scaled(m, s, top) + scaled(o.m, o.s, top);
    m = top;
  }
  SQ_METHOD T result() const { return m + sq_log(s); }
};
// Over the lanes of a warp, over the threads of a block: all get the same bits.
template <class A> SQ_FN A sq_warp_reduce(SQ_CTX A acc) {
  for (int mask = 16; mask > 0; mask /= 2) {
    A other = sq_shuffle_xor(SQ_ME acc, mask);
    acc.merge(other);
  }
  return acc;
}
template <class A> SQ_FN A sq_block_reduce(SQ_CTX A acc, SQ_SHARED_OF(A) room) {
  acc = sq_warp_reduce(SQ_ME acc);
  if (SQ_TID % 32 == 0) SQ_SST(room, SQ_TID / 32, acc);
  SQ_SYNC();
  A all = SQ_SLD(room, 0);
  for (sq_i64 w = 1; w < SQ_THREADS / 32; w++) {
    A other = SQ_SLD(room, w);
    all.merge(other);
  }
  SQ_SYNC();
  return all;
}

// ---- orders: strictly before in ascending order, NaN last
// Maps of turns: what becomes of a state. `then`: this one after `first`.
template <class T> struct sq_map_sum {
  T by, other;
  SQ_METHOD T apply(T h) const { return sq_c_fma(by, h, other); }
  SQ_METHOD sq_map_sum then(T by1, T other1) const { return {by * by1, apply(other1)}; }
};
template <class T> struct sq_map_max {
  T by, other;
  static SQ_METHOD T none() { return (T)-SQ_INF; }
  SQ_METHOD T apply(T h) const { return sq_maximum(h + by, other); }
  SQ_METHOD sq_map_max then(T by1, T other1) const { return {by + by1, apply(other1)}; }
};
template <class T> struct sq_map_min {
  T by, other;
  static SQ_METHOD T none() { return (T)SQ_INF; }
  SQ_METHOD T apply(T h) const { return sq_minimum(h + by, other); }
  SQ_METHOD sq_map_min then(T by1, T other1) const { return {by + by1, apply(other1)}; }
};
// log(exp(a) + exp(b))
template <class T> SQ_FN T sq_log_add(T a, T b) {
  const T most = sq_maximum(a, b), less = sq_minimum(a, b);
  return most + sq_c_log1p(sq_c_exp(a == b ? (T)0 : less - most));
}
template <class T> struct sq_map_log {
  T by, other;
  static SQ_METHOD T none() { return (T)-SQ_INF; }
  SQ_METHOD T apply(T h) const { return sq_log_add(h + by, other); }
  SQ_METHOD sq_map_log then(T by1, T other1) const { return {by + by1, apply(other1)}; }
};
// A maximum with a bound above, `high`: both ends go through the second map.
template <class T> struct sq_map_range {
  T by, other, high;
  static SQ_METHOD T none() { return (T)-SQ_INF; }
  SQ_METHOD T apply(T h) const { return sq_minimum(high, sq_maximum(h + by, other)); }
  SQ_METHOD sq_map_range then(const sq_map_range &first) const {
    return {by + first.by, apply(first.other), apply(first.high)};
  }
};
// Those of the threads up to each, put together: in a warp the second half of each 2 * half threads comes after
// the first, then the warps before it, in their order. `by`, `other`: a place for each warp. Begins where all
// have read what was there before, ends with a barrier.
template <class M, class T>
SQ_FN M sq_block_maps(SQ_CTX M m, SQ_SHARED_OF(T) by, SQ_SHARED_OF(T) other) {
  const int lane = (int)SQ_TID % 32, warp = (int)SQ_TID / 32;
#pragma unroll
  for (int half = 1; half < 32; half *= 2) {
    const int end = (lane & -2 * half) + half - 1;
    const T by1 = sq_shuffle_at(SQ_ME m.by, end), other1 = sq_shuffle_at(SQ_ME m.other, end);
    if (lane & half) m = m.then(by1, other1);
  }
  if (lane == 31) {
    SQ_SST(by, warp, m.by);
    SQ_SST(other, warp, m.other);
  }
  SQ_SYNC();
  if (warp > 0) {
    M before = {SQ_SLD(by, 0), SQ_SLD(other, 0)};
    for (int p = 1; p < warp; p++) {
      const M next = {SQ_SLD(by, p), SQ_SLD(other, p)};
      before = next.then(before.by, before.other);
    }
    m = m.then(before.by, before.other);
  }
  SQ_SYNC();
  return m;
}

// The same of maps with three parts, turn after turn: the place for each warp has three times as many.
template <class T>
SQ_FN sq_map_range<T> sq_block_ranges(SQ_CTX sq_map_range<T> m, SQ_SHARED_OF(T) room) {
  const int lane = (int)SQ_TID % 32, warp = (int)SQ_TID / 32;
#pragma unroll
  for (int half = 1; half < 32; half *= 2) {
    const int end = (lane & -2 * half) + half - 1;
    const sq_map_range<T> first = {sq_shuffle_at(SQ_ME m.by, end), sq_shuffle_at(SQ_ME m.other, end),
                                   sq_shuffle_at(SQ_ME m.high, end)};
    if (lane & half) m = m.then(first);
  }
  if (lane == 31) {
    SQ_SST(room, warp * 3, m.by);
    SQ_SST(room, warp * 3 + 1, m.other);
    SQ_SST(room, warp * 3 + 2, m.high);
  }
  SQ_SYNC();
  for (int p = warp - 1; p >= 0; p--) {
    const sq_map_range<T> first = {SQ_SLD(room, p * 3), SQ_SLD(room, p * 3 + 1),
                                   SQ_SLD(room, p * 3 + 2)};
    m = m.then(first);
  }
  SQ_SYNC();
  return m;
}

// ---- Newton's method: has a stretch converged? See codegen/cpu/sweep_newton.c.
template <class T> SQ_FN T sq_larger(T a, T b) { return a > b ? a : b; }
template <class T> SQ_FN T sq_newton_ratio(T a, T b) { return a == 0 ? (T)0 : a / b; }
// Near the end steps fall with their squares: how small what is left will be after this one.
template <class T> SQ_FN T sq_newton_next(T left, T step, T before, T care) {
  const T fell = sq_newton_ratio(step, before);
  return left * (fell * fell * care);
}
template <class T>
SQ_FN bool sq_newton_good(T left, T step, T before, double tol, double far, double near, double care,
                          bool &known) {
  const T next = sq_newton_next(left, step, before, (T)care);
  const T then = sq_newton_next(step, step, before, (T)care);
  known = left <= (T)tol && step <= (T)far;
  return known || (next <= (T)tol && then <= (T)(care * tol) && step <= sq_sqrt((T)tol) &&
                   before <= (T)near);
}
template <class T> SQ_FN bool sq_below(T a, T b) { return a < b || (b != b && a == a); }

// ---- random numbers
SQ_FN void sq_philox(sq_i64 key, sq_u64 block, sq_u32 stream, sq_u32 *w) {
  sq_u32 c0 = (sq_u32)block, c1 = (sq_u32)(block >> 32), c2 = stream, c3 = 0;
  sq_u32 k0 = (sq_u32)(sq_u64)key, k1 = (sq_u32)((sq_u64)key >> 32);
  for (int round = 0; round < 10; round++) {
    sq_u64 p = (sq_u64)0xD2511F53u * c0, q = (sq_u64)0xCD9E8D57u * c2;
    sq_u32 n0 = (sq_u32)(q >> 32) ^ c1 ^ k0, n2 = (sq_u32)(p >> 32) ^ c3 ^ k1;
    c1 = (sq_u32)q;
    c3 = (sq_u32)p;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  w[0] = c0;
  w[1] = c1;
  w[2] = c2;
  w[3] = c3;
}
SQ_FN double sq_random_uniform(sq_i64 key, sq_u64 e, int bits) {
  sq_u32 w[4];
  if (bits > 24) {
    sq_philox(key, e / 2, 1, w);
    sq_u64 x = e % 2 ? (sq_u64)w[3] << 32 | w[2] : (sq_u64)w[1] << 32 | w[0];
    return (double)(x >> 11) * 0x1p-53;
  }
  sq_philox(key, e / 4, 0, w);
  return (double)(w[e % 4] >> (32 - bits)) / (double)(1u << bits);
}
// Box and Muller in double, whatever the type: one stream for all targets.
SQ_FN double sq_random_normal(sq_i64 key, sq_u64 e, bool wide) {
  sq_u32 w[4];
  double u, v;
  if (wide) {
    sq_philox(key, e / 2, 1, w);
    u = (double)(((((sq_u64)w[1] << 32) | w[0]) >> 11) + 1) * 0x1p-53;
    v = (double)((((sq_u64)w[3] << 32) | w[2]) >> 11) * 0x1p-53;
  } else {
    sq_philox(key, e / 4, 0, w);
    sq_u32 at = (sq_u32)(e % 4) & 2u;
    u = (double)((w[at] >> 8) + 1u) * 0x1p-24;
    v = (double)(w[at + 1] >> 8) * 0x1p-24;
  }
  double r = sq_c_sqrt(-2 * sq_c_log(u)), angle = 6.283185307179586476925287 * v;
  return r * (e % 2 ? sq_c_sin(angle) : sq_c_cos(angle));
}

// ---- tensor cores: c += a b, of 16 x 16 and 16 x 8 elements of 16 bits, in the registers of a warp.
// Lane 4 g + q has of a the pairs of columns (2 q, 2 q + 1) in row g, the same in row g + 8, and both 8
// columns on; of b those of rows in column g, and 8 rows on; of c columns 2 q and 2 q + 1 in rows g and
// g + 8. Of tf32 there is one element where there is a pair: 16 x 8 and 8 x 8.
SQ_FN float sq_half_of(const sq_bf16 *, sq_u32 bits) { return sq_of_bits(bits << 16); }
SQ_FN float sq_half_of(const sq_f16 *, sq_u32 bits) { return sq_half_to_float((unsigned short)bits); }
template <class H> SQ_FN float sq_add_product(const H *h, sq_u32 u, sq_u32 w, float c) {
  c = SQ_FMAF(sq_half_of(h, u & 0xffff), sq_half_of(h, w & 0xffff), c);
  return SQ_FMAF(sq_half_of(h, u >> 16), sq_half_of(h, w >> 16), c);
}
SQ_FN float sq_add_product(const sq_tf32 *, sq_u32 u, sq_u32 w, float c) {
  return SQ_FMAF(sq_of_bits(u), sq_of_bits(w), c);
}
template <class H> SQ_FN void sq_mma_lanes(SQ_CTX float *c, const sq_u32 *a, const sq_u32 *b) {
  const sq_u32 words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const int lane = (int)(SQ_TID % 32), g = lane / 4, q = lane % 4;
  SQ_POST(words);
  for (int e = 0; e < 4; e++)
    for (int k = 0; k < 8; k++) { // pairs of what is summed over
      const sq_u32 u = SQ_POSTED(words, e / 2 + k / 4 * 2, g * 4 + k % 4);
      const sq_u32 w = SQ_POSTED(words, 4 + k / 4, (2 * q + e % 2) * 4 + k % 4);
      c[e] = sq_add_product((const H *)0, u, w, c[e]);
    }
}
template <class H> SQ_FN void sq_mma(SQ_CTX float *c, const sq_u32 *a, const sq_u32 *b) {
#ifdef SQ_MMA_CORE
  sq_mma_core((const H *)0, c, a, b);
#else
  sq_mma_lanes<H>(SQ_ME c, a, b);
#endif
}
SQ_FN sq_vec8 sq_round_tf32(const sq_vec8 &v) {
  return sq_vec8{{sq_tf32_bits(sq_of_bits(v.w[0])), sq_tf32_bits(sq_of_bits(v.w[1])),
                  sq_tf32_bits(sq_of_bits(v.w[2])), sq_tf32_bits(sq_of_bits(v.w[3]))}};
}
// Two numbers as the sum of n of bf16 each, the largest first: w[i * step] has what those before leave.
template <int n> SQ_FN void sq_split(float a, float b, sq_u32 *w, int step) {
#pragma unroll
  for (int i = 0; i < n; i++) {
    const sq_u32 v = sq_pack((const sq_bf16 *)0, a, b);
    w[i * step] = v;
    a -= sq_of_bits(v << 16);
    b -= sq_of_bits(v & 0xffff0000u);
  }
}
// Operands from shared memory, whose rows of pairs are `pitch` words apart, by one step for four 8 x 8
// squares. sq_fetch: rows are columns of b, two operands b: w[0], w[1] of rows 0 to 7, w[2], w[3] of
// rows 8 to 15, 16 elements of each. sq_fetch_turned: rows are rows of b, 16 of them: w[0], w[1] of
// elements 0 to 7, w[2], w[3] of elements 8 to 15.
//
// A product that leaves out where a is 0: then what b holds does not matter. `a`: the warp's weights
// as c of a product has them, `tiles` of 8 rows of b; o: `across` of 8 columns. b begins at word `from`;
// pitch 0: it is panels as SQ_PANEL has them, of 64 rows.
template <class H, class S>
SQ_FN_APART void sq_add_holes(SQ_CTX const float *a, int tiles, float *o, int across, const S &s, int from,
                              int pitch) {
  const int lane = (int)(SQ_TID % 32), q = lane % 4;
#pragma unroll 1
  for (int e = 0; e < tiles * 4; e++)
#pragma unroll 1
    for (int m = 0; m < 4; m++) {
      const float p = sq_shuffle_xor(SQ_ME a[e], m);
      const int row = e / 4 * 8 + 2 * (q ^ m) + e % 2;
      if (p == 0) continue;
#pragma unroll 1
      for (int c = 0; c < across * 2; c++) {
        const int piece = c / 2;
        const int at = pitch ? row * pitch + piece * 4
                             : piece / 8 * 2048 + row * 32 + (piece % 8 ^ row % 8) * 4;
        const sq_u32 w = SQ_SLD(s, from + at + q) >> c % 2 * 16 & 0xffff;
        float *to = &o[c / 2 * 4 + e % 4 / 2 * 2 + c % 2];
        *to = SQ_FMAF(p, sq_half_of((const H *)0, w), *to);
      }
    }
}
// Is one of the pair of numbers none, or infinite?
SQ_FN bool sq_is_odd(const sq_bf16 *, sq_u32 w) {
  return (w & 0x7f80) == 0x7f80 || (w & 0x7f800000u) == 0x7f800000u;
}
SQ_FN bool sq_is_odd(const sq_f16 *, sq_u32 w) {
  return (w & 0x7c00) == 0x7c00 || (w & 0x7c000000u) == 0x7c000000u;
}
