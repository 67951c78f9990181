// Pairs of bf16 in 32 bits, the even one low. One instruction multiplies vectors of them and adds both
// products to vectors of f32 (avx512_bf16):
//
//   acc + a.high b.high + a.low b.low
//
// Without it, for tests, the same products are written out.
#include "codegen/cpu/kernel.h"

bool sq_k_has_pairs(sq_kern *k, uint32_t w) {
  return w == 16 && sq_target_has(k->cg->target, "avx512bf16");
}

sq_lv sq_k_pair_half(sq_kern *k, sq_lv pair, bool high) {
  LLVMTypeRef floats = LLVMTypeOf(pair), ints = sq_k_vec(k->i32, LLVMGetVectorSize(floats));
  pair = LLVMBuildBitCast(k->b, pair, ints, "");
  pair = high ? LLVMBuildAnd(k->b, pair, sq_k_like(k, ints, -(1 << 16)), "")
              : LLVMBuildShl(k->b, pair, sq_k_like(k, ints, 16), "");
  return LLVMBuildBitCast(k->b, pair, floats, "");
}

sq_lv sq_k_pair_dot(sq_kern *k, sq_lv acc, sq_lv a, sq_lv b) {
  uint32_t w = LLVMGetVectorSize(LLVMTypeOf(acc));
  if (sq_k_has_pairs(k, w)) {
    LLVMTypeRef pairs = LLVMVectorType(LLVMBFloatTypeInContext(k->c), 2 * w);
    sq_lv arg[3] = {acc, LLVMBuildBitCast(k->b, a, pairs, ""),
                    LLVMBuildBitCast(k->b, b, pairs, "")};
    return sq_k_intrinsic(k, "llvm.x86.avx512bf16.dpbf16ps.512", NULL, 0, arg, 3);
  }
  acc = sq_k_fma(k, sq_k_pair_half(k, a, true), sq_k_pair_half(k, b, true), acc);
  return sq_k_fma(k, sq_k_pair_half(k, a, false), sq_k_pair_half(k, b, false), acc);
}
