// Trigonometry: sin, cos, tan, atan2.
//
// x = n pi/2 + r, in f64 for both widths. Up to 2^20 by subtraction of pi/2 in three parts; beyond,
// lane by lane, by the method of Payne and Hanek: the window of the bits of 2/pi that matters for x
// times the integer mantissa of x, modulo 4, in 192-bit integers.
#include "codegen/cpu/math.h"

// 2/pi times 2^1216, least significant word first, with zeros above for windows that begin there.
#define TWO_OVER_PI_BITS 1216
static const uint64_t two_over_pi[] = {
    0x56033046fc7b6babull, 0x6bfb5fb11f8d5d08ull, 0x3d0739f78a5292eaull, 0x7527bac7ebe5f17bull,
    0x4f463f669e5fea2dull, 0x6d367ecf27cb09b7ull, 0xef2f118b5a0a6d1full, 0x1ff897ffde05980full,
    0x9c845f8bbdf9283bull, 0x3991d639835339f4ull, 0xe99c7026b45f7e41ull, 0xe88235f52ebb4484ull,
    0xfe1deb1cb129a73eull, 0x06492eea09d1921cull, 0xb7246e3a424dd2e0ull, 0xfe5163abdebbc561ull,
    0xdb6295993c439041ull, 0xfc2757d1f534ddc0ull, 0xa2f9836e4e441529ull, 0x0000000000000000ull,
    0x0000000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull,
};

static sq_lv add(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildFAdd(k->b, a, b, ""); }
static sq_lv sub(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildFSub(k->b, a, b, ""); }
static sq_lv mul(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildFMul(k->b, a, b, ""); }

typedef struct angle {
  sq_lv n;      // quadrant, i64
  sq_lv hi, lo; // f64, the rest in [-pi/4, pi/4] and what its rounding lost
} angle;

static sq_lv table(sq_kern *k) {
  sq_lv v = LLVMGetNamedGlobal(k->m, "sq.two_over_pi");
  if (v) return v;
  enum { N = sizeof two_over_pi / sizeof *two_over_pi };
  sq_lv word[N];
  for (int i = 0; i < N; i++) word[i] = LLVMConstInt(k->i64, two_over_pi[i], 0);
  v = LLVMAddGlobal(k->m, LLVMArrayType2(k->i64, N), "sq.two_over_pi");
  LLVMSetInitializer(v, LLVMConstArray2(k->i64, word, N));
  LLVMSetGlobalConstant(v, 1);
  LLVMSetLinkage(v, LLVMInternalLinkage);
  return v;
}
static sq_lv wide_to_double(sq_kern *k, sq_lv top64, sq_lv exponent) {
  sq_lv f = LLVMBuildUIToFP(k->b, top64, k->f64, "");
  sq_lv e =
      LLVMBuildShl(k->b, LLVMBuildAdd(k->b, exponent, sq_k_int(k, 1023), ""), sq_k_int(k, 52), "");
  return mul(k, f, LLVMBuildBitCast(k->b, e, k->f64, ""));
}
// One finite f64 of at least 2^-200.
static angle reduce_large(sq_kern *k, sq_lv x) {
  LLVMTypeRef t192 = LLVMIntTypeInContext(k->c, 192), t256 = LLVMIntTypeInContext(k->c, 256);
  LLVMBuilderRef b = k->b;
  sq_lv bits = LLVMBuildBitCast(b, x, k->i64, "");
  sq_lv biased =
      LLVMBuildAnd(b, LLVMBuildLShr(b, bits, sq_k_int(k, 52), ""), sq_k_int(k, 2047), "");
  sq_lv m = LLVMBuildOr(b, LLVMBuildAnd(b, bits, sq_k_int(k, (1ll << 52) - 1), ""),
                        sq_k_int(k, 1ll << 52), "");
  // |x| = m 2^E; the first bit of 2/pi that is not a multiple of 4 then has the number E - 1.
  sq_lv e = LLVMBuildSub(b, biased, sq_k_int(k, 1075), "");
  sq_lv shift = LLVMBuildSub(b, sq_k_int(k, TWO_OVER_PI_BITS - 190), e, "");
  shift = sq_k_max(k, sq_k_min(k, shift, sq_k_int(k, TWO_OVER_PI_BITS)), sq_k_int(k, 0));
  sq_lv byte = LLVMBuildLShr(b, shift, sq_k_int(k, 3), "");
  sq_lv at = LLVMBuildGEP2(b, k->i8, table(k), &byte, 1, "");
  sq_lv window = LLVMBuildLoad2(b, t256, at, "");
  LLVMSetAlignment(window, 1);
  sq_lv rest = LLVMBuildZExt(b, LLVMBuildAnd(b, shift, sq_k_int(k, 7), ""), t256, "");
  window = LLVMBuildTrunc(b, LLVMBuildLShr(b, window, rest, ""), t192, "");
  sq_lv p = LLVMBuildMul(b, window, LLVMBuildZExt(b, m, t192, ""), "");
  sq_lv n = LLVMBuildAdd(
      b, p, LLVMBuildShl(b, LLVMConstInt(t192, 1, 0), LLVMConstInt(t192, 189, 0), ""), "");
  n = LLVMBuildTrunc(b, LLVMBuildLShr(b, n, LLVMConstInt(t192, 190, 0), ""), k->i64, "");
  sq_lv f = LLVMBuildShl(b, p, LLVMConstInt(t192, 2, 0), "");
  sq_lv neg = LLVMBuildICmp(b, LLVMIntSLT, f, LLVMConstNull(t192), "");
  sq_lv size = LLVMBuildSelect(b, neg, LLVMBuildNeg(b, f, ""), f, "");
  sq_lv arg[2] = {size, LLVMConstInt(k->i1, 0, 0)};
  sq_lv lead = sq_k_intrinsic(k, "llvm.ctlz", &t192, 1, arg, 2);
  lead = sq_k_min(k, LLVMBuildTrunc(b, lead, k->i64, ""), sq_k_int(k, 191));
  size = LLVMBuildShl(b, size, LLVMBuildZExt(b, lead, t192, ""), "");
  // The leading 53 bits, and the 64 after the first 64, as two doubles in units of pi/2.
  sq_lv top = LLVMBuildTrunc(b, LLVMBuildLShr(b, size, LLVMConstInt(t192, 128, 0), ""), k->i64, "");
  sq_lv head = LLVMBuildAnd(b, top, sq_k_int(k, ~0x7ffll), "");
  sq_lv tail = LLVMBuildAnd(b, top, sq_k_int(k, 0x7ff), "");
  sq_lv scale = LLVMBuildSub(b, sq_k_int(k, -64), lead, "");
  sq_lv h = wide_to_double(k, head, scale), l = wide_to_double(k, tail, scale);
  sq_lv c = LLVMConstReal(k->f64, 0x1.921fb54442d18p+0);
  sq_lv hi = mul(k, h, c);
  // h = its first 26 bits + the rest, likewise c: the error of the product without a fused
  // operation.
  sq_lv split = LLVMConstReal(k->f64, 134217729.0), u = mul(k, h, split);
  sq_lv hh = sub(k, u, sub(k, u, h)), hl = sub(k, h, hh);
  sq_lv ch = LLVMConstReal(k->f64, 0x1.921fb58000000p+0);
  sq_lv cl = LLVMConstReal(k->f64, 0x1.921fb54442d18p+0 - 0x1.921fb58000000p+0);
  sq_lv lo = sub(k, mul(k, hh, ch), hi);
  lo = add(k, add(k, lo, mul(k, hh, cl)), mul(k, hl, ch));
  lo = add(k, lo, mul(k, hl, cl));
  lo = add(k, lo, add(k, mul(k, l, c), mul(k, h, LLVMConstReal(k->f64, 0x1.1a62633145c07p-54))));
  sq_lv minus = LLVMBuildXor(b, neg, LLVMBuildICmp(b, LLVMIntSLT, bits, sq_k_int(k, 0), ""), "");
  sq_lv flip = LLVMBuildICmp(b, LLVMIntSLT, bits, sq_k_int(k, 0), "");
  n = LLVMBuildSelect(b, flip, LLVMBuildNeg(b, n, ""), n, "");
  hi = LLVMBuildSelect(b, minus, LLVMBuildFNeg(b, hi, ""), hi, "");
  lo = LLVMBuildSelect(b, minus, LLVMBuildFNeg(b, lo, ""), lo, "");
  return (angle){n, hi, lo};
}
static angle reduce_small(sq_kern *k, sq_lv x) {
  angle a;
  sq_lv n = sq_math_nearest(k, x, sq_math_const(x, 0.63661977236758134308), &a.n);
  sq_lv t = sub(k, x, mul(k, n, sq_math_const(x, 1.57079632673412561417e+00)));
  sq_lv p = mul(k, n, sq_math_const(x, 6.07710050630396597660e-11)), t2 = sub(k, t, p);
  sq_lv bb = sub(k, t2, t);
  sq_lv lost = sub(k, sub(k, t, sub(k, t2, bb)), add(k, p, bb));
  lost = sub(k, lost, mul(k, n, sq_math_const(x, 2.02226624879595063154e-21)));
  a.hi = add(k, t2, lost);
  a.lo = add(k, sub(k, t2, a.hi), lost);
  return a;
}
// x in f64. Lanes of 2^20 and more, if any, are done one at a time.
static angle reduce(sq_kern *k, sq_lv x) {
  uint32_t w = sq_k_lanes(x);
  sq_lv size = sq_math_call1(k, "llvm.fabs", x);
  sq_lv inf = sq_math_const(x, __builtin_inf());
  sq_lv big =
      LLVMBuildAnd(k->b, LLVMBuildFCmp(k->b, LLVMRealOGE, size, sq_math_const(x, 0x1p20), ""),
                   LLVMBuildFCmp(k->b, LLVMRealOLT, size, inf, ""), "");
  angle a = reduce_small(k, sq_math_select(k, big, sq_math_const(x, 0), x));
  sq_lv before[3] = {a.n, a.hi, a.lo}, after[3], out[3];
  sq_kif branch;
  sq_kif_begin(k, &branch, sq_k_any(k, big));
  if (w == 1) {
    angle s = reduce_large(k, x);
    after[0] = s.n, after[1] = s.hi, after[2] = s.lo;
  } else {
    sq_kloop loop;
    sq_kloop_begin(k, &loop, sq_k_int(k, 0), sq_k_int(k, w), 1, 3, before);
    angle s = reduce_large(k, LLVMBuildExtractElement(k->b, x, loop.i, ""));
    sq_lv take = LLVMBuildExtractElement(k->b, big, loop.i, ""), next[3],
          got[3] = {s.n, s.hi, s.lo};
    for (int i = 0; i < 3; i++) {
      sq_lv old = LLVMBuildExtractElement(k->b, loop.phi[i], loop.i, "");
      sq_lv v = LLVMBuildSelect(k->b, take, got[i], old, "");
      next[i] = LLVMBuildInsertElement(k->b, loop.phi[i], v, loop.i, "");
    }
    sq_kloop_end(k, &loop, next);
    for (int i = 0; i < 3; i++) after[i] = loop.phi[i];
  }
  sq_kif_end(k, &branch, 3, after, before, out);
  return (angle){out[0], out[1], out[2]};
}

static const double sin32[] = {-0.16666666664, 0.0083333318306, -0.00019840063041, 2.7246868723e-6};
static const double cos32[] = {0.041666666664, -0.0013888887635, 2.4800580601e-5, -2.7298407653e-7};
static const double sin64[] = {8.33333333332248946124e-03, -1.98412698298579493134e-04,
                               2.75573137070700676789e-06, -2.50507602534068634195e-08,
                               1.58969099521155010221e-10};
static const double cos64[] = {4.16666666666666019037e-02, -1.38888888888741095749e-03,
                               2.48015872894767294178e-05, -2.75573143513906633035e-07,
                               2.08757232129817482790e-09, -1.13596475577881948265e-11};
static void sin_cos(sq_kern *k, const angle *a, bool wide, sq_lv *sine, sq_lv *cosine) {
  sq_lv r = a->hi, y = a->lo;
  if (!wide) {
    r = LLVMBuildFPTrunc(k->b, r, sq_k_vec(k->f32, sq_k_lanes(r)), "");
    sq_lv z = mul(k, r, r);
    *sine = sq_k_fma(k, mul(k, z, r), sq_math_poly(k, z, sin32, 4), r);
    *cosine = sq_k_fma(k, mul(k, z, z), sq_math_poly(k, z, cos32, 4),
                       sq_k_fma(k, z, sq_math_const(r, -0.5), sq_math_const(r, 1)));
    return;
  }
  sq_lv z = mul(k, r, r), v = mul(k, z, r), half = sq_math_const(r, 0.5);
  sq_lv s = sub(k, mul(k, half, y), mul(k, v, sq_math_poly(k, z, sin64, 5)));
  s = sub(k, sub(k, mul(k, z, s), y), mul(k, v, sq_math_const(r, -1.66666666666666324348e-01)));
  *sine = sub(k, r, s);
  sq_lv hz = mul(k, half, z), one = sq_math_const(r, 1), w = sub(k, one, hz);
  sq_lv c = mul(k, mul(k, z, z), sq_math_poly(k, z, cos64, 6));
  sq_lv lost = sub(k, sub(k, one, w), hz);
  *cosine = add(k, w, add(k, lost, sub(k, c, mul(k, r, y))));
}
static sq_lv bit(sq_kern *k, sq_lv n, int64_t which) {
  LLVMTypeRef t = LLVMTypeOf(n);
  sq_lv v = LLVMBuildAnd(k->b, n, sq_k_like(k, t, which), "");
  return LLVMBuildICmp(k->b, LLVMIntNE, v, LLVMConstNull(t), "");
}
static sq_lv trig(sq_kern *k, sq_lv x, int shift, bool tangent) {
  bool d = sq_math_is_f64(x);
  sq_lv wide = d ? x : LLVMBuildFPExt(k->b, x, sq_k_vec(k->f64, sq_k_lanes(x)), ""), s, c;
  angle a = reduce(k, wide);
  sin_cos(k, &a, d, &s, &c);
  sq_lv v;
  if (tangent) {
    sq_lv odd = bit(k, a.n, 1);
    sq_lv top = sq_math_select(k, odd, c, s), bottom = sq_math_select(k, odd, s, c);
    v = LLVMBuildFDiv(k->b, top, bottom, "");
    v = sq_math_select(k, odd, LLVMBuildFNeg(k->b, v, ""), v);
  } else {
    sq_lv n = LLVMBuildAdd(k->b, a.n, sq_k_like(k, LLVMTypeOf(a.n), shift), "");
    v = sq_math_select(k, bit(k, n, 1), c, s);
    v = sq_math_select(k, bit(k, n, 2), LLVMBuildFNeg(k->b, v, ""), v);
  }
  if (shift) return v;
  sq_lv size = sq_math_call1(k, "llvm.fabs", x); // the sign of zero, the bits of subnormals
  sq_lv tiny = LLVMBuildFCmp(k->b, LLVMRealOLT, size, sq_math_const(x, d ? 0x1p-30 : 0x1p-14), "");
  return sq_math_select(k, tiny, x, v);
}
sq_lv sq_math_sin(sq_kern *k, sq_lv x) { return trig(k, x, 0, false); }
sq_lv sq_math_cos(sq_kern *k, sq_lv x) { return trig(k, x, 1, false); }
sq_lv sq_math_tan(sq_kern *k, sq_lv x) { return trig(k, x, 0, true); }

// The smaller over the greater of |y|, |x|; above tan(pi/8) turned by pi/4.
sq_lv sq_math_atan2(sq_kern *k, sq_lv y, sq_lv x) {
  static const double p32[] = {-0.33333331751, 0.19999538247, -0.14263878156, 0.10742895018,
                               -0.064491577507};
  static const double p64[] = {
      -0.3333333333333333333,  0.1999999999999999142,   -0.1428571428571148148,
      0.111111111107504237,    -0.09090909066753006421, 0.07692306726982753932,
      -0.06666641820103902799, 0.05881922342871234175,  -0.05258013368524368469,
      0.04719215148004012874,  -0.04103709768667980622, 0.03061888086288212589,
      -0.01390121526306210931};
  bool d = sq_math_is_f64(x);
  sq_lv ax = sq_math_call1(k, "llvm.fabs", x), ay = sq_math_call1(k, "llvm.fabs", y);
  sq_lv steep = LLVMBuildFCmp(k->b, LLVMRealOGT, ay, ax, "");
  sq_lv a = sq_math_select(k, steep, ax, ay), b = sq_math_select(k, steep, ay, ax);
  sq_lv huge = LLVMBuildFCmp(k->b, LLVMRealOGT, b, sq_math_const(x, d ? 0x1p1000 : 0x1p100), "");
  sq_lv scale = sq_math_select(k, huge, sq_math_const(x, 0.25), sq_math_const(x, 1));
  sq_lv as = mul(k, a, scale), bs = mul(k, b, scale);
  sq_lv turned = LLVMBuildFCmp(k->b, LLVMRealOGT, as,
                               mul(k, bs, sq_math_const(x, 0.41421356237309504880)), "");
  turned =
      LLVMBuildOr(k->b, turned,
                  LLVMBuildAnd(k->b, LLVMBuildFCmp(k->b, LLVMRealOEQ, a, b, ""),
                               LLVMBuildFCmp(k->b, LLVMRealOGT, a, sq_math_const(x, 0), ""), ""),
                  "");
  sq_lv top = sq_math_select(k, turned, sub(k, as, bs), as);
  sq_lv bottom = sq_math_select(k, turned, add(k, as, bs), bs);
  sq_lv z = LLVMBuildFDiv(k->b, top, bottom, ""), zero = sq_math_const(x, 0);
  z = sq_math_select(k, LLVMBuildFCmp(k->b, LLVMRealOEQ, a, b, ""), zero, z);
  sq_lv s = mul(k, z, z);
  sq_lv p = d ? sq_math_poly(k, s, p64, 13) : sq_math_poly(k, s, p32, 5);
  sq_lv v = sq_k_fma(k, mul(k, z, s), p, z);
  // Multiples of pi/4 in two parts: the low ones first.
  double lo4 = d ? 3.06161699786838301793e-17 : -2.18556941e-08;
  double hi4 = d ? 7.85398163397448278999e-01 : 0.785398185253143310546875;
  sq_lv vl = sq_math_select(k, turned, sq_math_const(x, lo4), zero);
  sq_lv base = sq_math_select(k, turned, sq_math_const(x, hi4), zero);
  sq_lv half_hi = sq_math_const(x, 2 * hi4), half_lo = sq_math_const(x, 2 * lo4);
  sq_lv n = LLVMBuildFNeg(k->b, v, "");
  v = sq_math_select(k, steep, n, v);
  vl = sq_math_select(k, steep, sub(k, half_lo, vl), vl);
  base = sq_math_select(k, steep, sub(k, half_hi, base), base);
  sq_lv left = LLVMBuildICmp(k->b, LLVMIntSLT, sq_math_bits(k, x),
                             LLVMConstNull(sq_math_int_type(k, x)), "");
  v = sq_math_select(k, left, LLVMBuildFNeg(k->b, v, ""), v);
  vl = sq_math_select(k, left, sub(k, sq_math_const(x, 4 * lo4), vl), vl);
  base = sq_math_select(k, left, sub(k, sq_math_const(x, 4 * hi4), base), base);
  v = sq_math_copysign(k, add(k, base, add(k, v, vl)), y);
  sq_lv bad = LLVMBuildFCmp(k->b, LLVMRealUNO, x, y, "");
  return sq_math_select(k, bad, sq_math_const(x, __builtin_nan("")), v);
}
