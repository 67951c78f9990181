// The exponential family: exp, exp2, expm1, sigmoid, tanh, erf.
//
// x = n ln2 + r with |r| <= ln2 / 2; exp(r) = 1 + (r + r^2 q(r)) with q a near-minimax polynomial;
// the result is scaled by 2^n in two steps, so that overflow and subnormals come out by themselves.
#include "codegen/cpu/math.h"
#include <math.h>

static const double exp_q32[] = {0.5, 0.16666573382, 0.04166655011, 0.0083637738744,
                                 0.0013926926614};
static const double exp_q64[] = {
    0.4999999999999999947,     0.1666666666666667103,   0.04166666666666754233,
    0.00833333333332608312,    0.001388888888847771864, 0.0001984126987500227879,
    0.00002480158809672454645, 2.755725517000088744e-6, 2.755663282726826529e-7,
    2.510531272962210178e-8,   2.110832175311919947e-9};
// q evaluated in the order of Horner; r + r^2 q(r).
static sq_lv expm1_small(sq_kern *k, sq_lv r) {
  sq_lv q = sq_math_is_f64(r) ? sq_math_poly(k, r, exp_q64, 11) : sq_math_poly(k, r, exp_q32, 5);
  return sq_k_fma(k, LLVMBuildFMul(k->b, r, r, ""), q, r);
}
// NaN stays NaN.
static sq_lv clamp(sq_kern *k, sq_lv x, double lo, double hi) {
  sq_lv l = sq_math_const(x, lo), h = sq_math_const(x, hi);
  x = sq_math_select(k, LLVMBuildFCmp(k->b, LLVMRealOGT, x, h, ""), h, x);
  return sq_math_select(k, LLVMBuildFCmp(k->b, LLVMRealOLT, x, l, ""), l, x);
}
static sq_lv reduce(sq_kern *k, sq_lv x, sq_lv *n) {
  bool d = sq_math_is_f64(x);
  sq_lv log2e = sq_math_const(x, 1.4426950408889634074);
  sq_lv m = LLVMBuildFNeg(k->b, sq_math_nearest(k, x, log2e, n), "");
  // The high part times n is exact.
  sq_lv r = sq_k_fma(k, m, sq_math_const(x, d ? 6.93145751953125e-1 : 0.693359375), x);
  return sq_k_fma(k, m, sq_math_const(x, d ? 1.42860682030941723212e-6 : -2.12194440054690583e-4),
                  r);
}
static sq_lv one_plus(sq_kern *k, sq_lv p) {
  return LLVMBuildFAdd(k->b, sq_math_const(p, 1), p, "");
}
sq_lv sq_math_exp(sq_kern *k, sq_lv x) {
  x = sq_math_is_f64(x) ? clamp(k, x, -746, 710) : clamp(k, x, -104, 89);
  sq_lv n, r = reduce(k, x, &n);
  return sq_math_scale(k, one_plus(k, expm1_small(k, r)), n);
}
sq_lv sq_math_exp2(sq_kern *k, sq_lv x) {
  x = sq_math_is_f64(x) ? clamp(k, x, -1076, 1025) : clamp(k, x, -151, 129);
  sq_lv n, whole = sq_math_nearest(k, x, NULL, &n), f = LLVMBuildFSub(k->b, x, whole, "");
  sq_lv r = LLVMBuildFMul(k->b, f, sq_math_const(x, 0.69314718055994530942), "");
  return sq_math_scale(k, one_plus(k, expm1_small(k, r)), n);
}
// 2^f = 1 + f q(f), near-minimax.
static const double exp2_q32[] = {0.6931469775991603, 0.24022242085372483, 0.05550733743256614,
                                  0.009671512639769885, 0.001326472719587593};
sq_lv sq_math_exp2_near(sq_kern *k, sq_lv f) {
  return sq_k_fma(k, f, sq_math_poly(k, f, exp2_q32, 5), sq_math_const(f, 1));
}
// Where a vector of 16 numbers can be looked up by lanes, the exponent is divided by 1/16 instead of 1: what
// is left is below 1/32, and 2^f = 1 + f q(f) has a quadratic q. An entry is less by what its number of
// sixteenths adds when the number of all sixteenths goes into the exponent.
enum { TABLE = 16, TABLE_BITS = 4, HORNER = 7, NEAR = 4 };
static const double exp2_near[] = {0.6931471805599453, 0.2402342881, 0.0555041087};
static bool by_table(const sq_kern *k) { return sq_target_has(k->cg->target, "avx512f"); }

static void power_constants(sq_kern *k, sq_lv *v) {
  v[0] = LLVMConstReal(k->f32, 0x1.8p23);
  v[1] = LLVMConstReal(k->f32, 1);
  for (uint32_t i = 0; i < 5; i++) v[2 + i] = LLVMConstReal(k->f32, exp2_q32[i]);
  v[HORNER] = LLVMConstReal(k->f32, 0x1.8p19);
  for (uint32_t i = 0; i < 3; i++) v[HORNER + 1 + i] = LLVMConstReal(k->f32, exp2_near[i]);
  for (uint32_t i = 0; i < TABLE; i++) {
    float entry = (float)exp2((double)i / TABLE);
    uint32_t bits;
    memcpy(&bits, &entry, sizeof bits);
    bits -= i << (23 - TABLE_BITS);
    memcpy(&entry, &bits, sizeof bits);
    v[HORNER + NEAR + i] = LLVMConstReal(k->f32, entry);
  }
}

void sq_math_power_begin(sq_kern *k, sq_lv *c) {
  enum { ALL = HORNER + NEAR + TABLE };
  sq_lv table = LLVMGetNamedGlobal(k->m, "sq.power"), v[ALL];
  if (!table) {
    power_constants(k, v);
    table = LLVMAddGlobal(k->m, LLVMArrayType2(k->f32, ALL), "sq.power");
    LLVMSetInitializer(table, LLVMConstArray2(k->f32, v, ALL));
    LLVMSetLinkage(table, LLVMInternalLinkage);
    LLVMSetGlobalConstant(table, 1);
  }
  for (uint32_t i = 0; i < SQ_MATH_POWER; i++) {
    bool all = i == HORNER + NEAR;
    if (i >= HORNER && !by_table(k)) break;
    LLVMTypeRef t = all ? LLVMVectorType(k->f32, TABLE) : k->f32;
    c[i] = LLVMBuildLoad2(k->b, t, sq_k_offset(k, table, sq_k_int(k, i), SQ_F32), "");
    LLVMSetAlignment(c[i], 4);
    LLVMSetVolatile(c[i], 1);
  }
}

static sq_lv power_by_table(sq_kern *k, sq_lv a, sq_lv b, const sq_lv *scalar) {
  sq_lv c[NEAR];
  for (uint32_t i = 0; i < NEAR; i++) c[i] = sq_k_splat(k, scalar[i], TABLE);
  sq_lv x = LLVMBuildFMul(k->b, a, b, ""), t = LLVMBuildFAdd(k->b, x, c[0], "");
  sq_lv f = LLVMBuildFSub(k->b, x, LLVMBuildFSub(k->b, t, c[0], ""), ""), n = sq_math_bits(k, t);
  sq_lv q = sq_k_fma(k, sq_k_fma(k, c[3], f, c[2]), f, c[1]);
  sq_lv at[2] = {scalar[NEAR], n};
  sq_lv power =
      sq_math_bits(k, sq_k_intrinsic(k, "llvm.x86.avx512.permvar.sf.512", NULL, 0, at, 2));
  n = LLVMBuildShl(k->b, n, sq_k_like(k, LLVMTypeOf(n), 23 - TABLE_BITS), "");
  power = sq_math_float(k, LLVMBuildAdd(k->b, power, n, ""), a);
  return sq_k_fma(k, LLVMBuildFMul(k->b, power, f, ""), q, power);
}

// What the multiple of 2 ^ -23 that `magic` begins with leaves is n = a b rounded, in its last bits; the
// power of 2 goes into the exponent as it is.
sq_lv sq_math_power(sq_kern *k, sq_lv a, sq_lv b, const sq_lv *scalar) {
  if (by_table(k) && sq_k_lanes(a) == TABLE) return power_by_table(k, a, b, scalar + HORNER);
  sq_lv c[HORNER];
  for (uint32_t i = 0; i < HORNER; i++) c[i] = sq_k_splat(k, scalar[i], sq_k_lanes(a));
  sq_lv t = sq_k_fma(k, a, b, c[0]);
  sq_lv f = sq_k_fma(k, a, b, LLVMBuildFSub(k->b, c[0], t, "")), y = c[6];
  for (uint32_t i = HORNER - 1; i-- > 1;) y = sq_k_fma(k, y, f, c[i]);
  sq_lv n = sq_math_bits(k, t);
  n = LLVMBuildShl(k->b, n, sq_k_like(k, LLVMTypeOf(n), 23), "");
  return sq_math_float(k, LLVMBuildAdd(k->b, sq_math_bits(k, y), n, ""), a);
}
// With s = 2^(n-1), which cannot overflow: 2 (p s + (s - 1/2)).
static sq_lv expm1_clamped(sq_kern *k, sq_lv x) {
  bool d = sq_math_is_f64(x);
  sq_lv n, p = expm1_small(k, reduce(k, x, &n));
  LLVMTypeRef t = LLVMTypeOf(n);
  sq_lv e = LLVMBuildAdd(k->b, n, sq_k_like(k, t, d ? 1022 : 126), "");
  sq_lv s = sq_math_float(k, LLVMBuildShl(k->b, e, sq_k_like(k, t, d ? 52 : 23), ""), x);
  sq_lv rest = LLVMBuildFSub(k->b, s, sq_math_const(x, 0.5), "");
  sq_lv v = sq_k_fma(k, p, s, rest);
  v = LLVMBuildFAdd(k->b, v, v, "");
  // Keeps the sign of zero and the bits of subnormals.
  sq_lv tiny = LLVMBuildFCmp(k->b, LLVMRealOLT, sq_math_call1(k, "llvm.fabs", x),
                             sq_math_const(x, d ? 0x1p-54 : 0x1p-25), "");
  return sq_math_select(k, tiny, x, v);
}
sq_lv sq_math_expm1(sq_kern *k, sq_lv x) {
  return expm1_clamped(k, sq_math_is_f64(x) ? clamp(k, x, -40, 710) : clamp(k, x, -25, 89));
}
sq_lv sq_math_sigmoid(sq_kern *k, sq_lv x) {
  sq_lv one = sq_math_const(x, 1);
  sq_lv e = sq_math_exp(k, LLVMBuildFNeg(k->b, sq_math_call1(k, "llvm.fabs", x), ""));
  sq_lv neg = LLVMBuildFCmp(k->b, LLVMRealOLT, x, sq_math_const(x, 0), "");
  return LLVMBuildFDiv(k->b, sq_math_select(k, neg, e, one), LLVMBuildFAdd(k->b, one, e, ""), "");
}
// f32: x P(x^2) / Q(x^2), near-minimax up to `limit`, from where the function rounds to 1. Positive
// coefficients keep the rounding small; few operations on short chains make it fast.
typedef struct ratio {
  double limit, p[6], q[6];
  uint32_t n_q;
} ratio;
static sq_lv odd_ratio(sq_kern *k, sq_lv x, const ratio *r) {
  sq_lv t = clamp(k, x, -r->limit, r->limit), s = LLVMBuildFMul(k->b, t, t, "");
  sq_lv p = LLVMBuildFMul(k->b, t, sq_math_poly(k, s, r->p, 6), "");
  sq_lv v = LLVMBuildFDiv(k->b, p, sq_math_poly(k, s, r->q, r->n_q), "");
  return clamp(k, v, -1, 1);
}
static const ratio tanh_ratio = {
    9.02,
    {0.999999998691, 0.136799085838, 0.00386831971156, 2.80073023579e-5, 3.05846684522e-8,
     -1.2203223763e-11},
    {1, 0.470132406434, 0.027245809163, 0.000393861714884, 1.28735596192e-6},
    5};
static const ratio erf_ratio = {
    3.925,
    {1.12837914575, 0.190595284494, 0.0527695025591, 0.00377261581707, 0.000284845050293,
     2.0460165366e-6},
    {1, 0.502243403164, 0.114183355503, 0.0149833299771, 0.00116387374205, 3.80477406827e-5},
    6};
// f64: tanh |x| = t / (t + 2), t = expm1(2 |x|); 1 from where it rounds to 1.
sq_lv sq_math_tanh(sq_kern *k, sq_lv x) {
  if (!sq_math_is_f64(x)) return odd_ratio(k, x, &tanh_ratio);
  sq_lv a = sq_math_call1(k, "llvm.fabs", x);
  sq_lv t = expm1_clamped(k, clamp(k, LLVMBuildFAdd(k->b, a, a, ""), 0, 39));
  sq_lv v = LLVMBuildFDiv(k->b, t, LLVMBuildFAdd(k->b, t, sq_math_const(x, 2), ""), "");
  return sq_math_copysign(k, v, x);
}

// f64: below 1 an odd polynomial, above 1 - exp(-x^2) q((x - 3) / (x + 3)), q for exp(x^2) erfc(x).
static sq_lv erf64(sq_kern *k, sq_lv x) {
  static const double near[] = {
      0.1283791670955125738,    -0.3761263890318374806,     0.1128379167095487867,
      -0.02686617064507679325,  0.005223977624818014467,    -0.0008548326980833789905,
      0.0001205533111164271092, -0.00001492559526683118157, 1.646100048412136803e-6,
      -1.635031270105469501e-7, 1.465977527404743581e-8,    -1.137284885679167367e-9,
      5.957176147748911404e-11};
  static const double far[] = {
      0.1790011511813899504,     -0.3262335600430372337,    0.2456038017123309241,
      -0.1501159365007756948,    0.07166583719797188307,    -0.02439249931880023707,
      0.004269136333146461535,   0.0007077464439160538807,  -0.0005970619546908844742,
      0.00004525519422154440541, 0.00006405659368462438009, -0.00001285926634120711739,
      -7.977757785082185652e-6,  2.111965986797074223e-6,   1.245851580071121375e-6,
      -2.680124314497260077e-7,  -2.025212758380828403e-7};
  sq_lv a = sq_math_call1(k, "llvm.fabs", x);
  sq_lv p = sq_k_fma(k, sq_math_poly(k, LLVMBuildFMul(k->b, x, x, ""), near, 13), x, x);
  sq_lv t = clamp(k, a, 1, 6), three = sq_math_const(x, 3);
  sq_lv u =
      LLVMBuildFDiv(k->b, LLVMBuildFSub(k->b, t, three, ""), LLVMBuildFAdd(k->b, t, three, ""), "");
  sq_lv e = sq_math_exp(k, LLVMBuildFNeg(k->b, LLVMBuildFMul(k->b, t, t, ""), ""));
  sq_lv c = LLVMBuildFMul(k->b, e, sq_math_poly(k, u, far, 17), "");
  sq_lv v = sq_math_copysign(k, LLVMBuildFSub(k->b, sq_math_const(x, 1), c, ""), x);
  sq_lv small = LLVMBuildFCmp(k->b, LLVMRealOGT, a, sq_math_const(x, 1), "");
  return sq_math_select(k, small, v, p);
}
sq_lv sq_math_erf(sq_kern *k, sq_lv x) {
  return sq_math_is_f64(x) ? erf64(k, x) : odd_ratio(k, x, &erf_ratio);
}
