// Elementary functions: dispatch, and the small parts that all of them are made of.
#include "codegen/cpu/math.h"

bool sq_math_is_f64(sq_lv x) {
  LLVMTypeRef t = LLVMTypeOf(x);
  if (LLVMGetTypeKind(t) == LLVMVectorTypeKind) t = LLVMGetElementType(t);
  return LLVMGetTypeKind(t) == LLVMDoubleTypeKind;
}
LLVMTypeRef sq_math_int_type(sq_kern *k, sq_lv x) {
  return sq_k_vec(sq_math_is_f64(x) ? k->i64 : k->i32, sq_k_lanes(x));
}
sq_lv sq_math_const(sq_lv like, double v) { return sq_k_flike(LLVMTypeOf(like), v); }
sq_lv sq_math_poly(sq_kern *k, sq_lv x, const double *c, uint32_t n) {
  sq_lv r = sq_math_const(x, c[n - 1]);
  for (uint32_t i = n - 1; i-- > 0;) r = sq_k_fma(k, r, x, sq_math_const(x, c[i]));
  return r;
}
sq_lv sq_math_call1(sq_kern *k, const char *intrinsic, sq_lv x) {
  LLVMTypeRef t = LLVMTypeOf(x);
  return sq_k_intrinsic(k, intrinsic, &t, 1, &x, 1);
}
sq_lv sq_math_copysign(sq_kern *k, sq_lv mag, sq_lv sign) {
  LLVMTypeRef t = LLVMTypeOf(mag);
  sq_lv arg[2] = {mag, sign};
  return sq_k_intrinsic(k, "llvm.copysign", &t, 1, arg, 2);
}
sq_lv sq_math_select(sq_kern *k, sq_lv c, sq_lv a, sq_lv b) {
  return LLVMBuildSelect(k->b, c, a, b, "");
}
sq_lv sq_math_bits(sq_kern *k, sq_lv x) {
  return LLVMBuildBitCast(k->b, x, sq_math_int_type(k, x), "");
}
sq_lv sq_math_float(sq_kern *k, sq_lv bits, sq_lv like) {
  return LLVMBuildBitCast(k->b, bits, LLVMTypeOf(like), "");
}
sq_lv sq_math_nearest(sq_kern *k, sq_lv x, sq_lv by, sq_lv *n) {
  sq_lv magic = sq_math_const(x, sq_math_is_f64(x) ? 0x1.8p52 : 0x1.8p23);
  sq_lv t = by ? sq_k_fma(k, x, by, magic) : LLVMBuildFAdd(k->b, x, magic, "");
  *n = LLVMBuildSub(k->b, sq_math_bits(k, t), sq_math_bits(k, magic), "");
  return LLVMBuildFSub(k->b, t, magic, "");
}
static sq_lv power_of_two(sq_kern *k, sq_lv n, sq_lv like) {
  bool d = sq_math_is_f64(like);
  LLVMTypeRef t = LLVMTypeOf(n);
  sq_lv e = LLVMBuildAdd(k->b, n, sq_k_like(k, t, d ? 1023 : 127), "");
  return sq_math_float(k, LLVMBuildShl(k->b, e, sq_k_like(k, t, d ? 52 : 23), ""), like);
}
sq_lv sq_math_scale(sq_kern *k, sq_lv y, sq_lv n) {
  sq_lv half = LLVMBuildAShr(k->b, n, sq_k_like(k, LLVMTypeOf(n), 1), "");
  sq_lv rest = LLVMBuildSub(k->b, n, half, "");
  y = LLVMBuildFMul(k->b, y, power_of_two(k, half, y), "");
  return LLVMBuildFMul(k->b, y, power_of_two(k, rest, y), "");
}

static sq_lv inline_form(sq_kern *k, sq_ewise e, sq_lv a, sq_lv b) {
  switch ((int)e) {
  case SQ_EW_EXP:
    return sq_math_exp(k, a);
  case SQ_EW_EXP2:
    return sq_math_exp2(k, a);
  case SQ_EW_EXPM1:
    return sq_math_expm1(k, a);
  case SQ_EW_LOG:
    return sq_math_log(k, a);
  case SQ_EW_LOG2:
    return sq_math_log2(k, a);
  case SQ_EW_LOG1P:
    return sq_math_log1p(k, a);
  case SQ_EW_SIN:
    return sq_math_sin(k, a);
  case SQ_EW_COS:
    return sq_math_cos(k, a);
  case SQ_EW_TAN:
    return sq_math_tan(k, a);
  case SQ_EW_TANH:
    return sq_math_tanh(k, a);
  case SQ_EW_ERF:
    return sq_math_erf(k, a);
  case SQ_EW_SIGMOID:
    return sq_math_sigmoid(k, a);
  case SQ_EW_POW:
    return sq_math_pow(k, a, b);
  case SQ_EW_ATAN2:
    return sq_math_atan2(k, a, b);
  default:
    return a;
  }
}
sq_lv sq_math_emit(sq_kern *k, sq_ewise e, sq_lv a, sq_lv b, bool call) {
  bool trig = e == SQ_EW_SIN || e == SQ_EW_COS || e == SQ_EW_TAN;
  bool large = trig || e == SQ_EW_POW || e == SQ_EW_ATAN2;
  bool binary = sq_ewise_table[e].arity == 2;
  if (!call && !large) return inline_form(k, e, a, b);
  const char *name = sq_arena_fmt(k->a, "sq.%s.%sx%u", sq_ewise_table[e].name,
                                  sq_math_is_f64(a) ? "f64" : "f32", sq_k_lanes(a));
  LLVMTypeRef t = LLVMTypeOf(a), in[2] = {t, t};
  LLVMTypeRef type = LLVMFunctionType(t, in, binary ? 2 : 1, 0);
  sq_kern f;
  sq_lv fn = sq_kern_shared(k, name, type, &f);
  if (f.fn) {
    sq_lv second = binary ? LLVMGetParam(fn, 1) : NULL;
    LLVMBuildRet(f.b, inline_form(&f, e, LLVMGetParam(fn, 0), second));
    sq_kern_shared_end(&f);
  }
  sq_lv arg[2] = {a, b};
  return LLVMBuildCall2(k->b, type, fn, arg, binary ? 2 : 1, "");
}
