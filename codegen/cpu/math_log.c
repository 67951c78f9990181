// Logarithms and powers: log, log2, log1p, pow.
//
// x = m 2^e with m in [sqrt(1/2), sqrt(2)), f = m - 1. f32: log(1+f) = f - f^2/2 + f^3 p(f).
// f64: the series in s = f / (2 + f) (fdlibm). pow of f32 goes through f64; pow of f64 keeps the
// logarithm as an unevaluated sum of two.
#include "codegen/cpu/math.h"

#define LOG2E_LESS_1 0.44269504088896340736

static sq_lv add(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildFAdd(k->b, a, b, ""); }
static sq_lv sub(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildFSub(k->b, a, b, ""); }
static sq_lv mul(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildFMul(k->b, a, b, ""); }
static sq_lv compare(sq_kern *k, LLVMRealPredicate p, sq_lv a, double b) {
  return LLVMBuildFCmp(k->b, p, a, sq_math_const(a, b), "");
}
// For positive normal x: m, and e as integer.
static sq_lv split(sq_kern *k, sq_lv x, sq_lv *e) {
  bool d = sq_math_is_f64(x);
  LLVMTypeRef t = sq_math_int_type(k, x);
  int64_t root = d ? 0x3fe6a09e667f3bcdll : 0x3f3504f3, one = d ? 0x3ffll << 52 : 0x3f800000;
  sq_lv shift = sq_k_like(k, t, d ? 52 : 23);
  sq_lv ix = LLVMBuildAdd(k->b, sq_math_bits(k, x), sq_k_like(k, t, one - root), "");
  *e = LLVMBuildSub(k->b, LLVMBuildLShr(k->b, ix, shift, ""), sq_k_like(k, t, d ? 1023 : 127), "");
  sq_lv low = LLVMBuildAnd(k->b, ix, sq_k_like(k, t, d ? (1ll << 52) - 1 : 0x7fffff), "");
  return sq_math_float(k, LLVMBuildAdd(k->b, low, sq_k_like(k, t, root), ""), x);
}
// |n| < 2^22: integers to floats without the conversion that vector units may lack.
static sq_lv int_to_float(sq_kern *k, sq_lv n, sq_lv like) {
  sq_lv magic = sq_math_const(like, sq_math_is_f64(like) ? 0x1.8p52 : 0x1.8p23);
  sq_lv bits = LLVMBuildAdd(k->b, sq_math_bits(k, magic), n, "");
  return sub(k, sq_math_float(k, bits, like), magic);
}
// log(1+f) = f + the result.
static sq_lv log_rest(sq_kern *k, sq_lv f) {
  static const double p32[] = {0.3333333118,  -0.24999996958, 0.20000715749,
                               -0.1666780232, 0.14249057646,  -0.12425687331,
                               0.11685419923, -0.11479733847, 0.069716114715};
  static const double p64[] = {6.666666666666735130e-01, 3.999999999940941908e-01,
                               2.857142874366239149e-01, 2.222219843214978396e-01,
                               1.818357216161805012e-01, 1.531383769920937332e-01,
                               1.479819860511658591e-01};
  sq_lv z = mul(k, f, f), half = mul(k, z, sq_math_const(f, 0.5));
  if (!sq_math_is_f64(f)) return sub(k, mul(k, mul(k, z, f), sq_math_poly(k, f, p32, 9)), half);
  sq_lv s = LLVMBuildFDiv(k->b, f, add(k, f, sq_math_const(f, 2)), ""), q = mul(k, s, s);
  sq_lv r = mul(k, q, sq_math_poly(k, q, p64, 7));
  return sub(k, mul(k, s, add(k, half, r)), half);
}
static sq_lv natural(sq_kern *k, sq_lv f, sq_lv e) {
  bool d = sq_math_is_f64(f);
  double hi = d ? 6.93147180369123816490e-01 : 0.693359375;
  double lo = d ? 1.90821492927058770002e-10 : -2.12194440054690583e-4;
  sq_lv y = sq_k_fma(k, e, sq_math_const(f, lo), log_rest(k, f));
  return sq_k_fma(k, e, sq_math_const(f, hi), add(k, f, y));
}
static sq_lv binary(sq_kern *k, sq_lv f, sq_lv e) {
  sq_lv y = log_rest(k, f), c = sq_math_const(f, LOG2E_LESS_1);
  sq_lv z = sq_k_fma(k, f, c, mul(k, y, c));
  return add(k, add(k, add(k, z, y), f), e);
}
// 0: -inf; negative or NaN: NaN; inf: inf.
static sq_lv edges(sq_kern *k, sq_lv at, sq_lv v) {
  double inf = __builtin_inf();
  sq_lv ok =
      LLVMBuildAnd(k->b, compare(k, LLVMRealOGT, at, 0), compare(k, LLVMRealOLT, at, inf), "");
  sq_lv other =
      sq_math_select(k, compare(k, LLVMRealOGT, at, 0), at, sq_math_const(at, __builtin_nan("")));
  other = sq_math_select(k, compare(k, LLVMRealOEQ, at, 0), sq_math_const(at, -inf), other);
  return sq_math_select(k, ok, v, other);
}
static sq_lv log_of(sq_kern *k, sq_lv x, bool base2) {
  bool d = sq_math_is_f64(x);
  sq_lv tiny = compare(k, LLVMRealOLT, x, d ? 0x1p-1022 : 0x1p-126);
  sq_lv up = mul(k, x, sq_math_const(x, d ? 0x1p54 : 0x1p25));
  sq_lv e, m = split(k, sq_math_select(k, tiny, up, x), &e);
  sq_lv ef = int_to_float(k, e, x);
  ef = sub(k, ef, sq_math_select(k, tiny, sq_math_const(x, d ? 54 : 25), sq_math_const(x, 0)));
  sq_lv f = sub(k, m, sq_math_const(x, 1));
  return edges(k, x, base2 ? binary(k, f, ef) : natural(k, f, ef));
}
sq_lv sq_math_log(sq_kern *k, sq_lv x) { return log_of(k, x, false); }
sq_lv sq_math_log2(sq_kern *k, sq_lv x) { return log_of(k, x, true); }

// u = 1 + x rounded; what the rounding lost is added to f, scaled to m's exponent.
sq_lv sq_math_log1p(sq_kern *k, sq_lv x) {
  bool d = sq_math_is_f64(x);
  sq_lv one = sq_math_const(x, 1), u = add(k, one, x), back = sub(k, u, one);
  sq_lv lost = add(k, sub(k, x, back), sub(k, one, sub(k, u, back)));
  sq_lv e, m = split(k, u, &e);
  LLVMTypeRef t = LLVMTypeOf(e);
  sq_lv scale = LLVMBuildSub(k->b, sq_k_like(k, t, d ? 1023 : 127), e, "");
  // At the top of the range what was lost is nothing: 0 instead of a negative exponent.
  sq_lv zero = LLVMConstNull(t);
  scale = LLVMBuildSelect(k->b, LLVMBuildICmp(k->b, LLVMIntSGT, scale, zero, ""), scale, zero, "");
  scale = sq_math_float(k, LLVMBuildShl(k->b, scale, sq_k_like(k, t, d ? 52 : 23), ""), x);
  sq_lv f = sq_k_fma(k, lost, scale, sub(k, m, one));
  sq_lv v = edges(k, u, natural(k, f, int_to_float(k, e, x)));
  sq_lv small = compare(k, LLVMRealOLT, sq_math_call1(k, "llvm.fabs", x), d ? 0x1p-54 : 0x1p-25);
  return sq_math_select(k, small, x, v);
}

// ---- pow ---------------------------------------------------------------------------------------
typedef struct pair {
  sq_lv hi, lo;
} pair;
static pair two_sum_fast(sq_kern *k, sq_lv a, sq_lv b) { // |a| >= |b|
  sq_lv s = add(k, a, b);
  return (pair){s, sub(k, b, sub(k, s, a))};
}
static pair two_sum(sq_kern *k, sq_lv a, sq_lv b) {
  sq_lv s = add(k, a, b), t = sub(k, s, a);
  return (pair){s, add(k, sub(k, a, sub(k, s, t)), sub(k, b, t))};
}
static pair halves(sq_kern *k, sq_lv a) {
  sq_lv t = mul(k, a, sq_math_const(a, 134217729.0)), h = sub(k, t, sub(k, t, a));
  return (pair){h, sub(k, a, h)};
}
static pair two_product(sq_kern *k, sq_lv a, sq_lv b) {
  sq_lv p = mul(k, a, b);
  if (k->cg->target->machine.fma) {
    LLVMTypeRef t = LLVMTypeOf(a);
    sq_lv arg[3] = {a, b, LLVMBuildFNeg(k->b, p, "")};
    return (pair){p, sq_k_intrinsic(k, "llvm.fma", &t, 1, arg, 3)};
  }
  pair x = halves(k, a), y = halves(k, b);
  sq_lv e = sub(k, mul(k, x.hi, y.hi), p);
  e = add(k, add(k, e, mul(k, x.hi, y.lo)), mul(k, x.lo, y.hi));
  return (pair){p, add(k, e, mul(k, x.lo, y.lo))};
}
static pair product(sq_kern *k, pair a, pair b) {
  pair p = two_product(k, a.hi, b.hi);
  sq_lv cross = add(k, mul(k, a.hi, b.lo), mul(k, a.lo, b.hi));
  return two_sum_fast(k, p.hi, add(k, p.lo, cross));
}
static pair sum(sq_kern *k, pair a, pair b) {
  pair s = two_sum(k, a.hi, b.hi);
  return two_sum_fast(k, s.hi, add(k, s.lo, add(k, a.lo, b.lo)));
}
static pair constant(sq_lv like, double hi, double lo) {
  return (pair){sq_math_const(like, hi), sq_math_const(like, lo)};
}
// log2 of a positive normal a, as a pair: 2 s (1 + q (1/3 + q (1/5 + ...))) log2(e) + e, q = s^2.
static pair log2_pair(sq_kern *k, sq_lv m, sq_lv e) {
  static const double tail[] = {2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11, 2.0 / 13,
                                2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
  sq_lv one = sq_math_const(m, 1), f = sub(k, m, one), d = add(k, m, one);
  sq_lv dl = sub(k, m, sub(k, d, one));
  sq_lv s = LLVMBuildFDiv(k->b, f, d, "");
  pair sd = two_product(k, s, d);
  sq_lv left = sub(k, sub(k, sub(k, f, sd.hi), sd.lo), mul(k, s, dl));
  pair sp = {s, LLVMBuildFDiv(k->b, left, d, "")};
  pair q = product(k, sp, sp);
  sq_lv p = mul(k, q.hi, sq_math_poly(k, q.hi, tail, 9));
  pair w = sum(k, constant(m, 0x1.5555555555555p-1, 0x1.5555555555555p-55),
               (pair){p, sq_math_const(m, 0)});
  pair t = product(k, product(k, q, w), sp);
  pair twice = {add(k, sp.hi, sp.hi), add(k, sp.lo, sp.lo)};
  pair ln = sum(k, twice, t);
  pair l2 = product(k, ln, constant(m, 0x1.71547652b82fep+0, 0x1.777d0ffda0d24p-56));
  return sum(k, (pair){e, sq_math_const(m, 0)}, l2);
}
static sq_lv log2_short(sq_kern *k, sq_lv m, sq_lv e) {
  static const double c[] = {2.885390081777927309,  0.9617966939243302238, 0.5770780172482943116,
                             0.4121984017274640962, 0.3206164115008347466, 0.2614434727591262575,
                             0.2429256822758342832};
  sq_lv one = sq_math_const(m, 1);
  sq_lv s = LLVMBuildFDiv(k->b, sub(k, m, one), add(k, m, one), "");
  return sq_k_fma(k, s, sq_math_poly(k, mul(k, s, s), c, 7), e);
}
// 2^(t + lo), |t| <= 2000, in f64.
static sq_lv power2(sq_kern *k, sq_lv t, sq_lv lo) {
  static const double q[] = {
      0.4999999999999999947,     0.1666666666666667103,   0.04166666666666754233,
      0.00833333333332608312,    0.001388888888847771864, 0.0001984126987500227879,
      0.00002480158809672454645, 2.755725517000088744e-6, 2.755663282726826529e-7,
      2.510531272962210178e-8,   2.110832175311919947e-9};
  sq_lv n, whole = sq_math_nearest(k, t, NULL, &n), r = add(k, sub(k, t, whole), lo);
  r = mul(k, r, sq_math_const(t, 0.69314718055994530942));
  sq_lv p = sq_k_fma(k, mul(k, r, r), sq_math_poly(k, r, q, 11), r);
  return sq_math_scale(k, add(k, sq_math_const(t, 1), p), n);
}
static sq_lv clamp(sq_kern *k, sq_lv x, double at) {
  x = sq_math_select(k, compare(k, LLVMRealOGT, x, at), sq_math_const(x, at), x);
  return sq_math_select(k, compare(k, LLVMRealOLT, x, -at), sq_math_const(x, -at), x);
}
// |x|^y for f64 operands, x >= 0 and not NaN; `wide`: the result keeps 53 bits.
static sq_lv power_of_size(sq_kern *k, sq_lv a, sq_lv y, bool wide) {
  double inf = __builtin_inf();
  sq_lv tiny = compare(k, LLVMRealOLT, a, 0x1p-1022);
  sq_lv up = mul(k, a, sq_math_const(a, 0x1p54));
  sq_lv e, m = split(k, sq_math_select(k, tiny, up, a), &e), ef = int_to_float(k, e, a);
  ef = sub(k, ef, sq_math_select(k, tiny, sq_math_const(a, 54), sq_math_const(a, 0)));
  sq_lv none = sq_math_const(a, 0), t, lo = none, l;
  pair lp = {NULL, NULL};
  if (wide) lp = log2_pair(k, m, ef);
  l = wide ? lp.hi : log2_short(k, m, ef);
  l = sq_math_select(k, compare(k, LLVMRealOEQ, a, 0), sq_math_const(a, -inf), l);
  l = sq_math_select(k, compare(k, LLVMRealOEQ, a, inf), sq_math_const(a, inf), l);
  t = mul(k, l, y);
  sq_lv one = compare(k, LLVMRealOEQ, a, 1);
  sq_lv plain = LLVMBuildFCmp(k->b, LLVMRealOLT, sq_math_call1(k, "llvm.fabs", t),
                              sq_math_const(a, 2000), "");
  if (wide) {
    lo = add(k, two_product(k, l, y).lo, mul(k, lp.lo, y));
    lo = sq_math_select(k, plain, lo, none);
  }
  t = sq_math_select(k, one, none, clamp(k, t, 2000));
  return power2(k, t, sq_math_select(k, one, none, lo));
}
sq_lv sq_math_pow(sq_kern *k, sq_lv x, sq_lv y) {
  bool d = sq_math_is_f64(x);
  LLVMTypeRef wide = sq_k_vec(k->f64, sq_k_lanes(x));
  sq_lv a = sq_math_call1(k, "llvm.fabs", x), r;
  if (d) {
    r = power_of_size(k, a, y, true);
  } else {
    sq_lv ad = LLVMBuildFPExt(k->b, a, wide, ""), yd = LLVMBuildFPExt(k->b, y, wide, "");
    r = LLVMBuildFPTrunc(k->b, power_of_size(k, ad, yd, false), LLVMTypeOf(x), "");
  }
  double inf = __builtin_inf();
  sq_lv half = mul(k, y, sq_math_const(y, 0.5));
  sq_lv whole = LLVMBuildFCmp(k->b, LLVMRealOEQ, sq_math_call1(k, "llvm.trunc", y), y, "");
  sq_lv even = LLVMBuildFCmp(k->b, LLVMRealOEQ, sq_math_call1(k, "llvm.trunc", half), half, "");
  sq_lv odd = LLVMBuildAnd(k->b, whole, LLVMBuildNot(k->b, even, ""), "");
  r = sq_math_select(k, odd, sq_math_copysign(k, r, x), r);
  sq_lv nan = sq_math_const(x, __builtin_nan(""));
  sq_lv bad = LLVMBuildAnd(k->b, compare(k, LLVMRealOLT, x, 0), LLVMBuildNot(k->b, whole, ""), "");
  bad = LLVMBuildAnd(k->b, bad, compare(k, LLVMRealONE, x, -inf), "");
  bad = LLVMBuildOr(k->b, bad, LLVMBuildFCmp(k->b, LLVMRealUNO, x, y, ""), "");
  r = sq_math_select(k, bad, nan, r);
  sq_lv unit = LLVMBuildOr(k->b, compare(k, LLVMRealOEQ, y, 0), compare(k, LLVMRealOEQ, x, 1), "");
  return sq_math_select(k, unit, sq_math_const(x, 1), r);
}
