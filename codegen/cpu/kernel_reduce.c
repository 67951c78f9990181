// Accumulators of the monoids: one or two values carried per lane.
//   argmax, argmin   best value, its index (i32, -1: none yet); the lowest index of equal values
//   logsumexp        greatest value m, sum of exp(x - m), brought along online
//   mean             sum, and the count of elements where a domain makes it vary
#include "codegen/cpu/math.h"

sq_kacc sq_kacc_of(const sq_generic *g, bool counted) {
  sq_kacc a = {.m = g->monoid, .elem = g->s.v[g->body].dtype};
  a.result = sq_monoid_result(a.m, a.elem);
  a.counted = counted && a.m == SQ_MEAN;
  bool two = a.counted || a.m == SQ_ARGMAX || a.m == SQ_ARGMIN || a.m == SQ_LOGSUMEXP;
  a.parts = two ? 2 : 1;
  return a;
}
static bool is_arg(const sq_kacc *a) { return a->m == SQ_ARGMAX || a->m == SQ_ARGMIN; }
void sq_kacc_init(sq_kern *k, const sq_kacc *a, uint32_t w, sq_lv *part) {
  sq_dtype t = a->elem;
  switch (a->m) {
  case SQ_MONOID_NONE:
  case SQ_SUM:
  case SQ_MEAN:
  case SQ_ANY:
    part[0] = sq_k_const(k, t, 0, 0);
    break;
  case SQ_PROD:
  case SQ_ALL:
    part[0] = sq_k_const(k, t, 1, 1);
    break;
  case SQ_MAX:
  case SQ_ARGMAX:
  case SQ_LOGSUMEXP:
    part[0] = sq_k_lowest(k, t);
    break;
  case SQ_MIN:
  case SQ_ARGMIN:
    part[0] = sq_k_highest(k, t);
    break;
  case SQ_MONOID_COUNT:
    break;
  }
  if (a->parts == 2)
    part[1] = is_arg(a) ? LLVMConstInt(k->i32, (uint64_t)-1, 1) : sq_k_const(k, t, 0, 0);
  for (uint32_t i = 0; i < a->parts; i++) part[i] = sq_k_splat(k, part[i], w);
}
static sq_lv select_where(sq_kern *k, sq_lv where, sq_lv a, sq_lv b) {
  return where ? LLVMBuildSelect(k->b, where, a, b, "") : a;
}
static sq_lv is_nan(sq_kern *k, sq_lv v) { return LLVMBuildFCmp(k->b, LLVMRealUNO, v, v, ""); }
static sq_lv fcmp(sq_kern *k, LLVMRealPredicate p, sq_lv a, sq_lv b) {
  return LLVMBuildFCmp(k->b, p, a, b, "");
}
static sq_lv either(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildOr(k->b, a, b, ""); }
static sq_lv both(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildAnd(k->b, a, b, ""); }
static sq_lv negative(sq_kern *k, sq_lv i) {
  return LLVMBuildICmp(k->b, LLVMIntSLT, i, LLVMConstNull(LLVMTypeOf(i)), "");
}
// x goes before y by value: greater (argmax), less (argmin), NaN before all.
static sq_lv precedes(sq_kern *k, const sq_kacc *a, sq_lv x, sq_lv y) {
  sq_lv c = a->m == SQ_ARGMAX ? sq_k_less(k, a->elem, y, x) : sq_k_less(k, a->elem, x, y);
  if (!sq_is_float(a->elem)) return c;
  return either(k, c, both(k, is_nan(k, x), LLVMBuildNot(k->b, is_nan(k, y), "")));
}
static sq_lv simple(sq_kern *k, const sq_kacc *a, sq_lv x, sq_lv y) {
  sq_dtype t = a->elem;
  switch (a->m) {
  case SQ_MONOID_NONE:
  case SQ_SUM:
  case SQ_MEAN:
    return sq_k_ewise(k, SQ_EW_ADD, t, x, y, false, false);
  case SQ_PROD:
    return sq_k_ewise(k, SQ_EW_MUL, t, x, y, false, false);
  case SQ_MAX:
    return sq_k_ewise(k, SQ_EW_MAX, t, y, x, false, false);
  case SQ_MIN:
    return sq_k_ewise(k, SQ_EW_MIN, t, y, x, false, false);
  case SQ_ANY:
    return either(k, x, y);
  case SQ_ALL:
    return both(k, x, y);
  case SQ_ARGMAX:
  case SQ_ARGMIN:
  case SQ_LOGSUMEXP:
  case SQ_MONOID_COUNT:
    break;
  }
  return x;
}
static sq_lv exp_of(sq_kern *k, sq_lv x, bool tail) {
  return sq_math_emit(k, SQ_EW_EXP, x, NULL, tail);
}
static void step_logsumexp(sq_kern *k, sq_lv *part, sq_lv x, sq_lv where, bool tail) {
  LLVMTypeRef t = LLVMTypeOf(x);
  sq_lv m = part[0], s = part[1], one = sq_k_flike(t, 1);
  sq_lv d = LLVMBuildFSub(k->b, x, m, "");
  sq_lv e = exp_of(k, LLVMBuildFNeg(k->b, sq_math_call1(k, "llvm.fabs", d), ""), tail);
  e = LLVMBuildSelect(k->b, fcmp(k, LLVMRealOEQ, x, m), one, e, "");
  sq_lv up = fcmp(k, LLVMRealOGT, x, m);
  sq_lv higher = LLVMBuildFAdd(k->b, LLVMBuildFMul(k->b, s, e, ""), one, "");
  sq_lv s2 = LLVMBuildSelect(k->b, up, higher, LLVMBuildFAdd(k->b, s, e, ""), "");
  sq_lv m2 = LLVMBuildSelect(k->b, up, x, m, "");
  sq_lv counts = fcmp(k, LLVMRealUNE, x, sq_k_flike(t, -__builtin_inf()));
  counts = sq_k_and(k, counts, where);
  part[0] = LLVMBuildSelect(k->b, counts, m2, m, "");
  part[1] = LLVMBuildSelect(k->b, counts, s2, s, "");
}
void sq_kacc_step(sq_kern *k, const sq_kacc *a, sq_lv *part, sq_lv x, sq_lv index, sq_lv where,
                  bool tail) {
  uint32_t w = sq_k_lanes(part[0]);
  x = sq_k_splat(k, x, w);
  if (where) where = sq_k_splat(k, where, w);
  if (a->m == SQ_LOGSUMEXP) {
    step_logsumexp(k, part, x, where, tail);
    return;
  }
  if (is_arg(a)) {
    sq_lv take = either(k, negative(k, part[1]), precedes(k, a, x, part[0]));
    take = sq_k_and(k, take, where);
    part[0] = LLVMBuildSelect(k->b, take, x, part[0], "");
    part[1] = LLVMBuildSelect(k->b, take, sq_k_splat(k, index, w), part[1], "");
    return;
  }
  part[0] = select_where(k, where, simple(k, a, part[0], x), part[0]);
  if (!a->counted) return;
  sq_lv more = LLVMBuildFAdd(k->b, part[1], sq_k_flike(LLVMTypeOf(part[1]), 1), "");
  part[1] = select_where(k, where, more, part[1]);
}
static sq_lv scaled(sq_kern *k, sq_lv m, sq_lv s, sq_lv top) {
  sq_lv e = LLVMBuildFMul(k->b, s, exp_of(k, LLVMBuildFSub(k->b, m, top, ""), true), "");
  return LLVMBuildSelect(k->b, fcmp(k, LLVMRealOEQ, m, top), s, e, "");
}
void sq_kacc_merge(sq_kern *k, const sq_kacc *a, sq_lv *part, const sq_lv *other) {
  if (a->m == SQ_LOGSUMEXP) {
    sq_lv top = sq_k_ewise(k, SQ_EW_MAX, a->elem, part[0], other[0], false, false);
    sq_lv s = scaled(k, part[0], part[1], top);
    part[1] = LLVMBuildFAdd(k->b, s, scaled(k, other[0], other[1], top), "");
    part[0] = top;
    return;
  }
  if (is_arg(a)) {
    sq_lv earlier = LLVMBuildICmp(k->b, LLVMIntSLT, other[1], part[1], "");
    sq_lv tie = LLVMBuildNot(k->b, precedes(k, a, part[0], other[0]), "");
    sq_lv take = either(k, precedes(k, a, other[0], part[0]), both(k, tie, earlier));
    take = either(k, negative(k, part[1]), take);
    take = both(k, take, LLVMBuildNot(k->b, negative(k, other[1]), ""));
    part[0] = LLVMBuildSelect(k->b, take, other[0], part[0], "");
    part[1] = LLVMBuildSelect(k->b, take, other[1], part[1], "");
    return;
  }
  part[0] = simple(k, a, part[0], other[0]);
  if (a->counted) part[1] = LLVMBuildFAdd(k->b, part[1], other[1], "");
}
static sq_lv lanes_from(sq_kern *k, sq_lv v, uint32_t first, uint32_t n) {
  if (n == 1) return LLVMBuildExtractElement(k->b, v, LLVMConstInt(k->i32, first, 0), "");
  sq_lv at[64];
  for (uint32_t i = 0; i < n; i++) at[i] = LLVMConstInt(k->i32, first + i, 0);
  return LLVMBuildShuffleVector(k->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(at, n), "");
}
void sq_kacc_across(sq_kern *k, const sq_kacc *a, sq_lv *part) {
  for (uint32_t w = sq_k_lanes(part[0]); w > 1; w /= 2) {
    sq_lv low[SQ_K_PARTS], high[SQ_K_PARTS];
    for (uint32_t i = 0; i < a->parts; i++) {
      low[i] = lanes_from(k, part[i], 0, w / 2);
      high[i] = lanes_from(k, part[i], w / 2, w / 2);
    }
    sq_kacc_merge(k, a, low, high);
    for (uint32_t i = 0; i < a->parts; i++) part[i] = low[i];
  }
}
sq_lv sq_kacc_result(sq_kern *k, const sq_kacc *a, const sq_lv *part, sq_lv count) {
  if (is_arg(a)) return part[1];
  LLVMTypeRef t = LLVMTypeOf(part[0]);
  if (a->m == SQ_LOGSUMEXP) {
    sq_lv l = sq_math_emit(k, SQ_EW_LOG, part[1], NULL, true);
    return LLVMBuildFAdd(k->b, part[0], l, "");
  }
  if (a->m != SQ_MEAN) return part[0];
  sq_lv n = a->counted ? part[1] : NULL;
  if (!n) {
    LLVMTypeRef scalar = sq_k_type(k, a->elem);
    n = sq_k_splat(k, LLVMBuildSIToFP(k->b, count, scalar, ""), sq_k_lanes(part[0]));
  }
  sq_lv zero = LLVMConstNull(t), none = fcmp(k, LLVMRealOEQ, n, zero);
  return LLVMBuildSelect(k->b, none, zero, LLVMBuildFDiv(k->b, part[0], n, ""), "");
}
