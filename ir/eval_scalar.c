// Scalar functions and casts of the interpreter, on vectors of elements.
// Floats are float64 whatever their type; integers are held in int64 within their type's range.
#include "ir/eval_impl.h"
#include <math.h>

int64_t sq_int_low(sq_dtype t) {
  if (sq_dtype_table[t].cls != 'I') return 0;
  return sq_dtype_table[t].bytes == 8 ? INT64_MIN : -(1ll << (8 * sq_dtype_table[t].bytes - 1));
}

int64_t sq_int_high(sq_dtype t) {
  int bytes = sq_dtype_table[t].bytes;
  if (sq_dtype_table[t].cls == 'B') return 1;
  if (sq_dtype_table[t].cls == 'U') return (1ll << (8 * bytes)) - 1;
  return bytes == 8 ? INT64_MAX : (1ll << (8 * bytes - 1)) - 1;
}

int64_t sq_wrap(sq_dtype t, int64_t v) {
  switch ((int)t) {
  case SQ_I32:
    return (int32_t)v;
  case SQ_I8:
    return (int8_t)v;
  case SQ_U8:
    return (uint8_t)v;
  case SQ_BOOL:
    return v != 0;
  default:
    return v;
  }
}

// To the nearest of `bits` significant bits, least exponent `low`, ties to even; beyond `top`: inf.
static double round_bits(double x, int bits, int low, double top) {
  if (x == 0 || !isfinite(x)) return x;
  int exponent;
  frexp(x, &exponent); // |x| = m * 2^exponent, 0.5 <= m < 1
  exponent--;
  if (exponent < low) exponent = low;
  double unit = ldexp(1, exponent - (bits - 1));
  double r = nearbyint(x / unit) * unit;
  return fabs(r) > top ? copysign(INFINITY, x) : r;
}

double sq_round_float(sq_dtype t, double x) {
  switch ((int)t) {
  case SQ_F32:
    return (double)(float)x;
  case SQ_F16:
    return round_bits(x, 11, -14, 65504);
  case SQ_BF16:
    return round_bits(x, 8, -126, 0x1.FEp127);
  default:
    return x;
  }
}

// An integer as a float64 that rounds further without a second rounding showing: to odd.
static double int_to_odd(int64_t v) {
  double x = (double)v;
  if (v > -(1ll << 53) && v < 1ll << 53) return x;
  if (x >= 0x1p63) return 0x1.fffffffffffffp62;
  int64_t back = (int64_t)x;
  if (back == v) return x;
  if ((v > 0) == (back > v)) x = nextafter(x, 0); // towards zero, inexact
  union {
    double f;
    uint64_t u;
  } bits = {x};
  bits.u |= 1;
  return bits.f;
}

static int64_t float_to_int(sq_dtype t, double x) {
  if (t == SQ_BOOL) return x != 0;
  if (isnan(x)) return 0;
  if (t == SQ_I64) return x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? INT64_MIN : (int64_t)x;
  double low = (double)sq_int_low(t), high = (double)sq_int_high(t);
  return x <= low ? (int64_t)low : x >= high ? (int64_t)high : (int64_t)x;
}

void sq_cells_cast(sq_dtype from, sq_dtype to, size_t n, sq_cell *r, const sq_cell *a, size_t sa) {
  if (sq_is_float(from) && sq_is_float(to))
    for (size_t l = 0; l < n; l++) r[l].f = sq_round_float(to, a[l * sa].f);
  else if (sq_is_float(from))
    for (size_t l = 0; l < n; l++) r[l].i = float_to_int(to, a[l * sa].f);
  else if (to == SQ_F64)
    for (size_t l = 0; l < n; l++) r[l].f = (double)a[l * sa].i;
  else if (sq_is_float(to))
    for (size_t l = 0; l < n; l++) r[l].f = sq_round_float(to, int_to_odd(a[l * sa].i));
  else
    for (size_t l = 0; l < n; l++) r[l].i = sq_wrap(to, a[l * sa].i);
}

// As in max and min of the monoids: NaN when either is.
static double sq_min64(double a, double b) { return isnan(a) || a < b ? a : b; }
static double sq_max64(double a, double b) { return isnan(a) || a > b ? a : b; }

static void float_ewise(sq_ewise ew, size_t n, sq_cell *r, const sq_cell *pa, size_t sa,
                        const sq_cell *pb, size_t sb) {
#define STORE_A(e) r[l].f = (e)
#define STORE_F(e) r[l].f = (e)
#define STORE_C(e) r[l].i = (e)
#define STORE_L(e) r[l].i = (e)
#define STORE_I(e) r[l].i = (e)
#define EWISE(E, name, arity, kind, expr)                                                          \
  case SQ_EW_##E:                                                                                  \
    for (size_t l = 0; l < n; l++) {                                                               \
      double a = pa[l * sa].f, b = pb[l * sb].f;                                                   \
      (void)a, (void)b;                                                                            \
      STORE_##kind(expr);                                                                          \
    }                                                                                              \
    break;
  switch (ew) {
#include "ir/ewise.def"
  case SQ_EW_COUNT:
    break;
  }
#undef EWISE
}

static int64_t int_floordiv(int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (b == -1) return (int64_t)(0 - (uint64_t)a);
  int64_t q = a / b;
  return q - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t int_mod(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return 0;
  int64_t m = a % b;
  return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}

// A shift by less than 0 or by the type's width and more moves every bit out.
static int64_t int_shl(sq_dtype t, int64_t a, int64_t b) {
  return b < 0 || b >= 8 * sq_dtype_table[t].bytes ? 0 : (int64_t)((uint64_t)a << b);
}

static int64_t int_shr(sq_dtype t, int64_t a, int64_t b) {
  return b < 0 || b >= 8 * sq_dtype_table[t].bytes ? (a < 0 ? -1 : 0) : a >> b;
}

static void int_ewise(sq_ewise ew, sq_dtype t, size_t n, sq_cell *r, const sq_cell *pa, size_t sa,
                      const sq_cell *pb, size_t sb) {
#define U(x) ((uint64_t)(x))
#define CASE(E, expr)                                                                              \
  case SQ_EW_##E:                                                                                  \
    for (size_t l = 0; l < n; l++) {                                                               \
      int64_t a = pa[l * sa].i, b = pb[l * sb].i;                                                  \
      (void)a, (void)b;                                                                            \
      r[l].i = (int64_t)(expr);                                                                    \
    }                                                                                              \
    break;
#define WRAP(E, expr) CASE(E, sq_wrap(t, (int64_t)(expr)))
  switch ((int)ew) {
    WRAP(ADD, U(a) + U(b))
    WRAP(SUB, U(a) - U(b))
    WRAP(MUL, U(a) * U(b))
    WRAP(FLOORDIV, int_floordiv(a, b))
    WRAP(MOD, int_mod(a, b))
    WRAP(MIN, a < b ? a : b)
    WRAP(MAX, a > b ? a : b)
    WRAP(NEG, 0 - U(a))
    WRAP(ABS, a < 0 ? 0 - U(a) : U(a))
    WRAP(SIGN, (a > 0) - (a < 0))
    WRAP(BITAND, a & b)
    WRAP(BITOR, a | b)
    WRAP(BITXOR, a ^ b)
    WRAP(SHL, int_shl(t, a, b))
    WRAP(SHR, int_shr(t, a, b))
    CASE(LT, a < b)
    CASE(LE, a <= b)
    CASE(EQ, a == b)
    CASE(NE, a != b)
    CASE(ISNAN, 0)
    CASE(AND, a && b)
    CASE(OR, a || b)
    CASE(NOT, !a)
  default: // functions of floats: the verifier lets none through
    for (size_t l = 0; l < n; l++) r[l].i = 0;
  }
#undef U
#undef CASE
#undef WRAP
}

void sq_cells_ewise(sq_ewise ew, sq_dtype t, size_t n, sq_cell *r, const sq_cell *a, size_t sa,
                    const sq_cell *b, size_t sb) {
  if (sq_is_float(t))
    float_ewise(ew, n, r, a, sa, b, sb);
  else
    int_ewise(ew, t, n, r, a, sa, b, sb);
}
