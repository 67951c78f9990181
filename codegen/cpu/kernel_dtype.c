// Data types: memory and register forms, conversions, the scalar functions of ewise.def.
// f16 and bf16 exist in memory only; in registers they are f32. bool is a byte in memory, i1 in
// registers.
#include "codegen/cpu/math.h"

LLVMTypeRef sq_k_type(sq_kern *k, sq_dtype t) {
  switch (t) {
  case SQ_F64:
    return k->f64;
  case SQ_F32:
  case SQ_F16:
  case SQ_BF16:
    return k->f32;
  case SQ_I64:
    return k->i64;
  case SQ_I32:
    return k->i32;
  case SQ_I8:
  case SQ_U8:
    return k->i8;
  case SQ_BOOL:
    return k->i1;
  case SQ_DTYPE_COUNT:
    break;
  }
  return k->i64;
}
static bool half_in_hardware(const sq_kern *k) {
  const sq_target *t = k->cg->target;
  return t->machine.vector_bytes >= 32 || strncmp(t->triple, "aarch64", 7) == 0;
}
LLVMTypeRef sq_k_mem_type(sq_kern *k, sq_dtype t) {
  if (t == SQ_BOOL) return k->i8;
  if (t == SQ_BF16) return k->i16;
  if (t == SQ_F16) return half_in_hardware(k) ? k->half : k->i16;
  return sq_k_type(k, t);
}
static LLVMTypeRef as_wide(LLVMTypeRef elem, sq_lv v) { return sq_k_vec(elem, sq_k_lanes(v)); }
static sq_lv icmp(sq_kern *k, LLVMIntPredicate p, sq_lv a, int64_t c) {
  return LLVMBuildICmp(k->b, p, a, sq_k_like(k, LLVMTypeOf(a), c), "");
}
static sq_lv iand(sq_kern *k, sq_lv a, int64_t c) {
  return LLVMBuildAnd(k->b, a, sq_k_like(k, LLVMTypeOf(a), c), "");
}
static sq_lv iadd(sq_kern *k, sq_lv a, int64_t c) {
  return LLVMBuildAdd(k->b, a, sq_k_like(k, LLVMTypeOf(a), c), "");
}
static sq_lv shl(sq_kern *k, sq_lv a, int64_t c) {
  return LLVMBuildShl(k->b, a, sq_k_like(k, LLVMTypeOf(a), c), "");
}
static sq_lv shr(sq_kern *k, sq_lv a, int64_t c) {
  return LLVMBuildLShr(k->b, a, sq_k_like(k, LLVMTypeOf(a), c), "");
}

// Half to float where there is no instruction: the exponent is moved by a multiplication, which
// also normalises subnormals.
static sq_lv half_to_float(sq_kern *k, sq_lv h) {
  LLVMTypeRef ti = as_wide(k->i32, h), tf = as_wide(k->f32, h);
  sq_lv x = LLVMBuildZExt(k->b, h, ti, "");
  sq_lv sign = shl(k, iand(k, x, 0x8000), 16), m = shl(k, iand(k, x, 0x7fff), 13);
  sq_lv f = LLVMBuildFMul(k->b, LLVMBuildBitCast(k->b, m, tf, ""), sq_k_flike(tf, 0x1p112), "");
  sq_lv special = icmp(k, LLVMIntEQ, iand(k, x, 0x7c00), 0x7c00);
  sq_lv inf = LLVMBuildOr(k->b, m, sq_k_like(k, ti, 0x7f800000), "");
  sq_lv bits = LLVMBuildSelect(k->b, special, inf, LLVMBuildBitCast(k->b, f, ti, ""), "");
  return LLVMBuildBitCast(k->b, LLVMBuildOr(k->b, bits, sign, ""), tf, "");
}
static sq_lv float_to_half(sq_kern *k, sq_lv f) {
  LLVMTypeRef ti = as_wide(k->i32, f), tf = as_wide(k->f32, f);
  sq_lv x = LLVMBuildBitCast(k->b, f, ti, ""), a = iand(k, x, 0x7fffffff);
  sq_lv sign = iand(k, shr(k, x, 16), 0x8000);
  sq_lv odd = iand(k, shr(k, a, 13), 1);
  sq_lv normal = shr(k, LLVMBuildAdd(k->b, iadd(k, a, 0xfff - 0x38000000), odd, ""), 13);
  sq_lv near = LLVMBuildFAdd(k->b, LLVMBuildBitCast(k->b, a, tf, ""), sq_k_flike(tf, 0.5), "");
  sq_lv sub = iadd(k, LLVMBuildBitCast(k->b, near, ti, ""), -0x3f000000);
  sq_lv h = LLVMBuildSelect(k->b, icmp(k, LLVMIntULT, a, 0x38800000), sub, normal, "");
  h = LLVMBuildSelect(k->b, icmp(k, LLVMIntUGE, a, 0x477ff000), sq_k_like(k, ti, 0x7c00), h, "");
  h = LLVMBuildSelect(k->b, icmp(k, LLVMIntUGT, a, 0x7f800000), sq_k_like(k, ti, 0x7e00), h, "");
  return LLVMBuildTrunc(k->b, LLVMBuildOr(k->b, h, sign, ""), as_wide(k->i16, f), "");
}
static sq_lv float_to_bf16(sq_kern *k, sq_lv f) {
  LLVMTypeRef ti = as_wide(k->i32, f);
  sq_lv x = LLVMBuildBitCast(k->b, f, ti, ""), odd = iand(k, shr(k, x, 16), 1);
  sq_lv r = shr(k, LLVMBuildAdd(k->b, iadd(k, x, 0x7fff), odd, ""), 16);
  sq_lv nan = LLVMBuildOr(k->b, shr(k, x, 16), sq_k_like(k, ti, 0x40), "");
  r = LLVMBuildSelect(k->b, LLVMBuildFCmp(k->b, LLVMRealUNO, f, f, ""), nan, r, "");
  return LLVMBuildTrunc(k->b, r, as_wide(k->i16, f), "");
}
sq_lv sq_k_from_mem(sq_kern *k, sq_dtype t, sq_lv v) {
  if (t == SQ_BOOL) return icmp(k, LLVMIntNE, v, 0);
  if (t == SQ_BF16) {
    sq_lv x = shl(k, LLVMBuildZExt(k->b, v, as_wide(k->i32, v), ""), 16);
    return LLVMBuildBitCast(k->b, x, as_wide(k->f32, v), "");
  }
  if (t == SQ_F16 && !half_in_hardware(k)) return half_to_float(k, v);
  if (t == SQ_F16) return LLVMBuildFPExt(k->b, v, as_wide(k->f32, v), "");
  return v;
}
sq_lv sq_k_to_mem(sq_kern *k, sq_dtype t, sq_lv v) {
  if (t == SQ_BOOL) return LLVMBuildZExt(k->b, v, as_wide(k->i8, v), "");
  if (t == SQ_BF16) return float_to_bf16(k, v);
  if (t == SQ_F16 && !half_in_hardware(k)) return float_to_half(k, v);
  if (t == SQ_F16) return LLVMBuildFPTrunc(k->b, v, as_wide(k->half, v), "");
  return v;
}
static unsigned align_of(sq_dtype t) { return (unsigned)sq_dtype_table[t].bytes; }
sq_lv sq_k_load(sq_kern *k, sq_dtype t, sq_lv ptr) {
  sq_lv v = LLVMBuildLoad2(k->b, sq_k_mem_type(k, t), ptr, "");
  LLVMSetAlignment(v, align_of(t));
  return sq_k_from_mem(k, t, v);
}
void sq_k_store(sq_kern *k, sq_dtype t, sq_lv ptr, sq_lv v) {
  sq_lv s = LLVMBuildStore(k->b, sq_k_to_mem(k, t, v), ptr);
  LLVMSetAlignment(s, align_of(t));
}
sq_lv sq_k_load_row(sq_kern *k, sq_dtype t, sq_lv ptr, uint32_t w, sq_lv mask) {
  LLVMTypeRef mem = sq_k_vec(sq_k_mem_type(k, t), w);
  if (!mask) {
    sq_lv v = LLVMBuildLoad2(k->b, mem, ptr, "");
    LLVMSetAlignment(v, align_of(t));
    return sq_k_from_mem(k, t, v);
  }
  LLVMTypeRef over[2] = {mem, k->ptr};
  sq_lv arg[4] = {ptr, LLVMConstInt(k->i32, align_of(t), 0), sq_k_splat(k, mask, w),
                  LLVMConstNull(mem)};
  return sq_k_from_mem(k, t, sq_k_intrinsic(k, "llvm.masked.load", over, 2, arg, 4));
}
void sq_k_store_row(sq_kern *k, sq_dtype t, sq_lv ptr, sq_lv v, sq_lv mask) {
  v = sq_k_to_mem(k, t, v);
  if (!mask) {
    LLVMSetAlignment(LLVMBuildStore(k->b, v, ptr), align_of(t));
    return;
  }
  LLVMTypeRef over[2] = {LLVMTypeOf(v), k->ptr};
  sq_lv arg[4] = {v, ptr, LLVMConstInt(k->i32, align_of(t), 0), mask};
  sq_k_intrinsic(k, "llvm.masked.store", over, 2, arg, 4);
}
sq_lv sq_k_const(sq_kern *k, sq_dtype t, double f, int64_t i) {
  LLVMTypeRef e = sq_k_type(k, t);
  if (t == SQ_F32 || t == SQ_F16 || t == SQ_BF16) return LLVMConstReal(e, (double)(float)f);
  if (t == SQ_F64) return LLVMConstReal(e, f);
  if (t == SQ_BOOL) return LLVMConstInt(e, i != 0, 0);
  return LLVMConstInt(e, (uint64_t)i, 1);
}

static sq_lv float_to_int(sq_kern *k, sq_lv v, sq_dtype to) {
  LLVMTypeRef over[2] = {as_wide(sq_k_type(k, to), v), LLVMTypeOf(v)};
  const char *name = to == SQ_U8 ? "llvm.fptoui.sat" : "llvm.fptosi.sat";
  return sq_k_intrinsic(k, name, over, 2, &v, 1);
}
sq_lv sq_k_cast(sq_kern *k, sq_lv v, sq_dtype from, sq_dtype to) {
  if (from == to) return v;
  LLVMTypeRef t = as_wide(sq_k_type(k, to), v);
  bool ff = sq_is_float(from), tf = sq_is_float(to);
  if (ff && tf) {
    if (from == SQ_F64) v = LLVMBuildFPTrunc(k->b, v, as_wide(k->f32, v), "");
    if (to == SQ_F64) return LLVMBuildFPExt(k->b, v, t, "");
    if (to == SQ_F32) return v;
    return sq_k_from_mem(k, to, sq_k_to_mem(k, to, v)); // rounds
  }
  if (to == SQ_BOOL)
    return ff ? LLVMBuildFCmp(k->b, LLVMRealUNE, v, sq_k_flike(LLVMTypeOf(v), 0), "")
              : icmp(k, LLVMIntNE, v, 0);
  if (ff) return float_to_int(k, v, to);
  bool is_unsigned = from == SQ_U8 || from == SQ_BOOL;
  if (tf) {
    v = is_unsigned ? LLVMBuildUIToFP(k->b, v, t, "") : LLVMBuildSIToFP(k->b, v, t, "");
    bool narrow = to == SQ_F16 || to == SQ_BF16;
    return narrow ? sq_k_from_mem(k, to, sq_k_to_mem(k, to, v)) : v;
  }
  if (LLVMTypeOf(v) == t) return v;
  int a = from == SQ_BOOL ? 0 : sq_dtype_table[from].bytes, b = sq_dtype_table[to].bytes;
  if (b < a) return LLVMBuildTrunc(k->b, v, t, "");
  return is_unsigned ? LLVMBuildZExt(k->b, v, t, "") : LLVMBuildSExt(k->b, v, t, "");
}

// ---- arithmetic --------------------------------------------------------------------------------
// Fusing a product into a sum is the one liberty that the back end has.
static sq_lv contract(sq_lv v) {
  if (LLVMIsAInstruction(v)) LLVMSetFastMathFlags(v, LLVMFastMathAllowContract);
  return v;
}
sq_lv sq_k_fadd(sq_kern *k, sq_lv a, sq_lv b) { return contract(LLVMBuildFAdd(k->b, a, b, "")); }
sq_lv sq_k_fsub(sq_kern *k, sq_lv a, sq_lv b) { return contract(LLVMBuildFSub(k->b, a, b, "")); }
sq_lv sq_k_fmul(sq_kern *k, sq_lv a, sq_lv b) { return contract(LLVMBuildFMul(k->b, a, b, "")); }
sq_lv sq_k_fma(sq_kern *k, sq_lv a, sq_lv b, sq_lv c) {
  LLVMTypeRef t = LLVMTypeOf(a);
  sq_lv arg[3] = {a, b, c};
  return sq_k_intrinsic(k, "llvm.fmuladd", &t, 1, arg, 3);
}
sq_lv sq_k_lowest(sq_kern *k, sq_dtype t) {
  if (sq_is_float(t)) return sq_k_const(k, t, -__builtin_inf(), 0);
  if (t == SQ_U8 || t == SQ_BOOL) return sq_k_const(k, t, 0, 0);
  return sq_k_const(k, t, 0, INT64_MIN >> (64 - 8 * sq_dtype_table[t].bytes));
}
sq_lv sq_k_highest(sq_kern *k, sq_dtype t) {
  if (sq_is_float(t)) return sq_k_const(k, t, __builtin_inf(), 0);
  if (t == SQ_U8) return sq_k_const(k, t, 0, 255);
  if (t == SQ_BOOL) return sq_k_const(k, t, 0, 1);
  return sq_k_const(k, t, 0, INT64_MAX >> (64 - 8 * sq_dtype_table[t].bytes));
}
sq_lv sq_k_less(sq_kern *k, sq_dtype t, sq_lv a, sq_lv b) {
  if (sq_is_float(t)) return LLVMBuildFCmp(k->b, LLVMRealOLT, a, b, "");
  bool is_unsigned = t == SQ_U8 || t == SQ_BOOL;
  return LLVMBuildICmp(k->b, is_unsigned ? LLVMIntULT : LLVMIntSLT, a, b, "");
}
// NaN when either is.
static sq_lv extreme(sq_kern *k, sq_dtype t, sq_lv a, sq_lv b, bool max) {
  sq_lv first = max ? sq_k_less(k, t, b, a) : sq_k_less(k, t, a, b);
  sq_lv v = LLVMBuildSelect(k->b, first, a, b, "");
  if (!sq_is_float(t)) return v;
  return LLVMBuildSelect(k->b, LLVMBuildFCmp(k->b, LLVMRealUNO, a, a, ""), a, v, "");
}
static bool constant_positive(sq_lv v, int64_t *c) {
  if (sq_k_is_vec(v)) {
    if (!LLVMIsConstant(v)) return false;
    sq_lv first = LLVMGetAggregateElement(v, 0);
    for (uint32_t i = 1; first && i < sq_k_lanes(v); i++)
      if (LLVMGetAggregateElement(v, i) != first) return false;
    if (!first) return false;
    v = first;
  }
  if (!LLVMIsAConstantInt(v)) return false;
  *c = LLVMConstIntGetSExtValue(v);
  return *c > 0;
}
// A division that the machine has for single elements only. Written as such: of one of vectors whose
// divisor is chosen by a comparison, LLVM 19's instcombine loses the divisor.
static sq_lv lane_by_lane(sq_kern *k, LLVMOpcode op, sq_lv a, sq_lv b) {
  if (!sq_k_is_vec(a)) return LLVMBuildBinOp(k->b, op, a, b, "");
  sq_lv v = LLVMGetPoison(LLVMTypeOf(a));
  for (uint32_t i = 0; i < sq_k_lanes(a); i++) {
    sq_lv at = LLVMConstInt(k->i32, i, 0);
    sq_lv x = LLVMBuildExtractElement(k->b, a, at, ""),
          y = LLVMBuildExtractElement(k->b, b, at, "");
    v = LLVMBuildInsertElement(k->b, v, LLVMBuildBinOp(k->b, op, x, y, ""), at, "");
  }
  return v;
}
// Floors; by zero gives 0. The lowest integer by -1 wraps.
static sq_lv int_divide(sq_kern *k, sq_dtype t, sq_lv a, sq_lv b, bool want_mod, bool nonneg) {
  int64_t c;
  bool known = constant_positive(b, &c), is_unsigned = t == SQ_U8 || t == SQ_BOOL;
  if (t == SQ_BOOL) return LLVMBuildAnd(k->b, want_mod ? LLVMBuildNot(k->b, b, "") : a, b, "");
  if (known && (nonneg || is_unsigned))
    return want_mod ? LLVMBuildURem(k->b, a, b, "") : LLVMBuildUDiv(k->b, a, b, "");
  sq_lv zero = LLVMConstNull(LLVMTypeOf(a)), one = sq_k_like(k, LLVMTypeOf(a), 1);
  sq_lv by_zero = LLVMBuildICmp(k->b, LLVMIntEQ, b, zero, ""), q, r;
  if (is_unsigned) {
    sq_lv safe = LLVMBuildSelect(k->b, by_zero, one, b, "");
    r = lane_by_lane(k, want_mod ? LLVMURem : LLVMUDiv, a, safe);
    return LLVMBuildSelect(k->b, by_zero, zero, r, "");
  }
  sq_lv minus = icmp(k, LLVMIntEQ, b, -1);
  sq_lv safe = b;
  if (!known) safe = LLVMBuildSelect(k->b, LLVMBuildOr(k->b, by_zero, minus, ""), one, b, "");
  q = known ? LLVMBuildSDiv(k->b, a, safe, "") : lane_by_lane(k, LLVMSDiv, a, safe);
  r = LLVMBuildSub(k->b, a, LLVMBuildMul(k->b, q, safe, ""), "");
  sq_lv differ = icmp(k, LLVMIntSLT, LLVMBuildXor(k->b, r, safe, ""), 0);
  sq_lv low = LLVMBuildAnd(k->b, LLVMBuildICmp(k->b, LLVMIntNE, r, zero, ""), differ, "");
  sq_lv v = want_mod ? LLVMBuildSelect(k->b, low, LLVMBuildAdd(k->b, r, safe, ""), r, "")
                     : LLVMBuildSelect(k->b, low, LLVMBuildSub(k->b, q, one, ""), q, "");
  if (known) return v;
  // By -1 the remainder by 1 is 0 as well; the quotient is -a.
  if (!want_mod) v = LLVMBuildSelect(k->b, minus, LLVMBuildNeg(k->b, a, ""), v, "");
  return LLVMBuildSelect(k->b, by_zero, zero, v, "");
}
// In float64 for f32, so that the floor of a quotient near an integer is right.
static sq_lv float_divide(sq_kern *k, sq_lv a, sq_lv b, bool want_mod) {
  LLVMTypeRef t = LLVMTypeOf(a), wide = as_wide(k->f64, a);
  bool narrow = t != wide;
  sq_lv x = narrow ? LLVMBuildFPExt(k->b, a, wide, "") : a;
  sq_lv y = narrow ? LLVMBuildFPExt(k->b, b, wide, "") : b;
  sq_lv q = sq_math_call1(k, "llvm.floor", LLVMBuildFDiv(k->b, x, y, ""));
  if (want_mod) q = sq_k_fma(k, LLVMBuildFNeg(k->b, q, ""), y, x);
  return narrow ? LLVMBuildFPTrunc(k->b, q, t, "") : q;
}
static sq_lv sign_of(sq_kern *k, sq_dtype t, sq_lv a) {
  LLVMTypeRef ty = LLVMTypeOf(a);
  bool f = sq_is_float(t);
  sq_lv zero = LLVMConstNull(ty);
  sq_lv up = f ? sq_k_flike(ty, 1) : sq_k_like(k, ty, 1);
  sq_lv down = f ? sq_k_flike(ty, -1) : sq_k_like(k, ty, -1);
  sq_lv v = LLVMBuildSelect(k->b, sq_k_less(k, t, a, zero), down, a, "");
  return LLVMBuildSelect(k->b, sq_k_less(k, t, zero, a), up, v, "");
}
static sq_lv shift(sq_kern *k, sq_dtype t, sq_lv a, sq_lv b, bool left) {
  LLVMTypeRef ty = LLVMTypeOf(a);
  int64_t bits = 8 * sq_dtype_table[t].bytes;
  sq_lv inside = LLVMBuildICmp(k->b, LLVMIntULT, b, sq_k_like(k, ty, bits), "");
  sq_lv safe = LLVMBuildSelect(k->b, inside, b, LLVMConstNull(ty), "");
  if (left || t == SQ_U8) {
    sq_lv v = left ? LLVMBuildShl(k->b, a, safe, "") : LLVMBuildLShr(k->b, a, safe, "");
    return LLVMBuildSelect(k->b, inside, v, LLVMConstNull(ty), "");
  }
  safe = LLVMBuildSelect(k->b, inside, b, sq_k_like(k, ty, bits - 1), "");
  return LLVMBuildAShr(k->b, a, safe, "");
}
static sq_lv compare(sq_kern *k, sq_ewise e, sq_dtype t, sq_lv a, sq_lv b) {
  if (e == SQ_EW_LT) return sq_k_less(k, t, a, b);
  if (sq_is_float(t)) {
    LLVMRealPredicate p = e == SQ_EW_LE ? LLVMRealOLE : e == SQ_EW_EQ ? LLVMRealOEQ : LLVMRealUNE;
    return LLVMBuildFCmp(k->b, p, a, b, "");
  }
  LLVMIntPredicate le = t == SQ_U8 || t == SQ_BOOL ? LLVMIntULE : LLVMIntSLE;
  return LLVMBuildICmp(k->b, e == SQ_EW_LE ? le : e == SQ_EW_EQ ? LLVMIntEQ : LLVMIntNE, a, b, "");
}

sq_lv sq_k_ewise(sq_kern *k, sq_ewise e, sq_dtype t, sq_lv a, sq_lv b, bool nonneg, bool tail) {
  bool f = sq_is_float(t);
  LLVMTypeRef ty = LLVMTypeOf(a);
  switch (e) {
  case SQ_EW_ADD:
    return f ? sq_k_fadd(k, a, b) : LLVMBuildAdd(k->b, a, b, "");
  case SQ_EW_SUB:
    return f ? sq_k_fsub(k, a, b) : LLVMBuildSub(k->b, a, b, "");
  case SQ_EW_MUL:
    return f ? sq_k_fmul(k, a, b) : LLVMBuildMul(k->b, a, b, "");
  case SQ_EW_DIV:
    return LLVMBuildFDiv(k->b, a, b, "");
  case SQ_EW_FLOORDIV:
    return f ? float_divide(k, a, b, false) : int_divide(k, t, a, b, false, nonneg);
  case SQ_EW_MOD:
    return f ? float_divide(k, a, b, true) : int_divide(k, t, a, b, true, nonneg);
  case SQ_EW_MIN:
    return extreme(k, t, a, b, false);
  case SQ_EW_MAX:
    return extreme(k, t, a, b, true);
  case SQ_EW_NEG:
    return f ? LLVMBuildFNeg(k->b, a, "") : LLVMBuildNeg(k->b, a, "");
  case SQ_EW_ABS: {
    if (f) return sq_math_call1(k, "llvm.fabs", a);
    if (t == SQ_U8 || t == SQ_BOOL) return a;
    sq_lv neg = icmp(k, LLVMIntSLT, a, 0);
    return LLVMBuildSelect(k->b, neg, LLVMBuildNeg(k->b, a, ""), a, "");
  }
  case SQ_EW_SIGN:
    return sign_of(k, t, a);
  case SQ_EW_SQRT:
    return sq_math_call1(k, "llvm.sqrt", a);
  case SQ_EW_FLOOR:
    return sq_math_call1(k, "llvm.floor", a);
  case SQ_EW_CEIL:
    return sq_math_call1(k, "llvm.ceil", a);
  case SQ_EW_ROUND:
    return sq_math_call1(k, "llvm.nearbyint", a);
  case SQ_EW_RSQRT:
    return LLVMBuildFDiv(k->b, sq_k_flike(ty, 1), sq_math_call1(k, "llvm.sqrt", a), "");
  case SQ_EW_ISNAN:
    return f ? LLVMBuildFCmp(k->b, LLVMRealUNO, a, a, "")
             : LLVMConstNull(sq_k_vec(k->i1, sq_k_lanes(a)));
  case SQ_EW_LT:
  case SQ_EW_LE:
  case SQ_EW_EQ:
  case SQ_EW_NE:
    return compare(k, e, t, a, b);
  case SQ_EW_AND:
  case SQ_EW_BITAND:
    return LLVMBuildAnd(k->b, a, b, "");
  case SQ_EW_OR:
  case SQ_EW_BITOR:
    return LLVMBuildOr(k->b, a, b, "");
  case SQ_EW_BITXOR:
    return LLVMBuildXor(k->b, a, b, "");
  case SQ_EW_NOT:
    return t == SQ_BOOL ? LLVMBuildNot(k->b, a, "") : icmp(k, LLVMIntEQ, a, 0);
  case SQ_EW_SHL:
    return shift(k, t, a, b, true);
  case SQ_EW_SHR:
    return shift(k, t, a, b, false);
  case SQ_EW_POW:
  case SQ_EW_ATAN2:
  case SQ_EW_EXP:
  case SQ_EW_EXP2:
  case SQ_EW_EXPM1:
  case SQ_EW_LOG:
  case SQ_EW_LOG2:
  case SQ_EW_LOG1P:
  case SQ_EW_SIN:
  case SQ_EW_COS:
  case SQ_EW_TAN:
  case SQ_EW_TANH:
  case SQ_EW_ERF:
  case SQ_EW_SIGMOID:
    return sq_math_emit(k, e, a, b, tail);
  case SQ_EW_COUNT:
    break;
  }
  return a;
}
