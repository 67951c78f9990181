// Random numbers: Philox4x32-10, counter-based, as ir/random.h defines it. Eight blocks at a time;
// the words are interleaved into the order of the elements.
#include "codegen/cpu/math.h"

enum { BLOCKS = 8 };

static sq_lv same(sq_kern *k, sq_lv v) { return sq_k_splat(k, v, BLOCKS); }
static sq_lv word(sq_kern *k, uint32_t v) {
  return sq_k_like(k, LLVMVectorType(k->i32, BLOCKS), (int64_t)v);
}
// High and low word of the product by a constant.
static void multiply(sq_kern *k, sq_lv a, uint32_t by, sq_lv *high, sq_lv *low) {
  LLVMTypeRef wide = LLVMVectorType(k->i64, BLOCKS), narrow = LLVMVectorType(k->i32, BLOCKS);
  sq_lv p = LLVMBuildMul(k->b, LLVMBuildZExt(k->b, a, wide, ""), sq_k_like(k, wide, by), "");
  *low = LLVMBuildTrunc(k->b, p, narrow, "");
  *high = LLVMBuildTrunc(k->b, LLVMBuildLShr(k->b, p, sq_k_like(k, wide, 32), ""), narrow, "");
}
static void philox(sq_kern *k, sq_lv c[4], sq_lv key0, sq_lv key1) {
  for (int round = 0; round < 10; round++) {
    sq_lv ph, pl, qh, ql;
    multiply(k, c[0], 0xD2511F53u, &ph, &pl);
    multiply(k, c[2], 0xCD9E8D57u, &qh, &ql);
    sq_lv n0 = LLVMBuildXor(k->b, LLVMBuildXor(k->b, qh, c[1], ""), same(k, key0), "");
    sq_lv n2 = LLVMBuildXor(k->b, LLVMBuildXor(k->b, ph, c[3], ""), same(k, key1), "");
    c[0] = n0, c[1] = ql, c[2] = n2, c[3] = pl;
    key0 = LLVMBuildAdd(k->b, key0, LLVMConstInt(k->i32, 0x9E3779B9u, 0), "");
    key1 = LLVMBuildAdd(k->b, key1, LLVMConstInt(k->i32, 0xBB67AE85u, 0), "");
  }
}
static sq_lv concat(sq_kern *k, sq_lv a, sq_lv b) {
  sq_lv at[64];
  uint32_t n = sq_k_lanes(a);
  for (uint32_t i = 0; i < 2 * n; i++) at[i] = LLVMConstInt(k->i32, i, 0);
  return LLVMBuildShuffleVector(k->b, a, b, LLVMConstVector(at, 2 * n), "");
}
// v[0][0], v[1][0], ..., v[n-1][0], v[0][1], ...; n is 2 or 4.
static sq_lv interleave(sq_kern *k, const sq_lv *v, uint32_t n) {
  sq_lv all = concat(k, v[0], v[1]), at[64];
  if (n == 4) all = concat(k, all, concat(k, v[2], v[3]));
  for (uint32_t i = 0; i < n * BLOCKS; i++) at[i] = LLVMConstInt(k->i32, i % n * BLOCKS + i / n, 0);
  return LLVMBuildShuffleVector(k->b, all, all, LLVMConstVector(at, n * BLOCKS), "");
}
static sq_lv scaled(sq_kern *k, sq_lv bits, LLVMTypeRef elem, double by) {
  LLVMTypeRef t = LLVMVectorType(elem, BLOCKS);
  return LLVMBuildFMul(k->b, LLVMBuildUIToFP(k->b, bits, t, ""), sq_k_flike(t, by), "");
}
static sq_lv shifted(sq_kern *k, sq_lv w, int64_t by) {
  return LLVMBuildLShr(k->b, w, sq_k_like(k, LLVMTypeOf(w), by), "");
}
// Box and Muller in f64, whatever the type: one stream for all targets.
static void normal_pair(sq_kern *k, sq_lv ubits, sq_lv vbits, double unit, sq_lv *even,
                        sq_lv *odd) {
  sq_lv one = sq_k_like(k, LLVMTypeOf(ubits), 1);
  sq_lv u = scaled(k, LLVMBuildAdd(k->b, ubits, one, ""), k->f64, unit);
  sq_lv angle = LLVMBuildFMul(k->b, scaled(k, vbits, k->f64, unit),
                              sq_math_const(u, 6.283185307179586476925287), "");
  sq_lv l = sq_math_emit(k, SQ_EW_LOG, u, NULL, true);
  sq_lv r = sq_math_call1(k, "llvm.sqrt", LLVMBuildFMul(k->b, l, sq_math_const(u, -2), ""));
  *even = LLVMBuildFMul(k->b, r, sq_math_emit(k, SQ_EW_COS, angle, NULL, true), "");
  *odd = LLVMBuildFMul(k->b, r, sq_math_emit(k, SQ_EW_SIN, angle, NULL, true), "");
}
static sq_lv pair64(sq_kern *k, sq_lv low, sq_lv high) {
  LLVMTypeRef wide = LLVMVectorType(k->i64, BLOCKS);
  sq_lv h = LLVMBuildShl(k->b, LLVMBuildZExt(k->b, high, wide, ""), sq_k_like(k, wide, 32), "");
  sq_lv v = LLVMBuildOr(k->b, h, LLVMBuildZExt(k->b, low, wide, ""), "");
  return shifted(k, v, 11);
}
static sq_lv elements(sq_kern *k, sq_lv c[4], sq_dtype t, bool normal) {
  sq_lv v[4];
  if (t == SQ_F64) {
    sq_lv x0 = pair64(k, c[0], c[1]), x1 = pair64(k, c[2], c[3]);
    if (normal) {
      normal_pair(k, x0, x1, 0x1p-53, &v[0], &v[1]);
    } else {
      v[0] = scaled(k, x0, k->f64, 0x1p-53);
      v[1] = scaled(k, x1, k->f64, 0x1p-53);
    }
    return interleave(k, v, 2);
  }
  if (normal) {
    LLVMTypeRef narrow = LLVMVectorType(k->f32, BLOCKS);
    for (int i = 0; i < 4; i += 2)
      normal_pair(k, shifted(k, c[i], 8), shifted(k, c[i + 1], 8), 0x1p-24, &v[i], &v[i + 1]);
    for (int i = 0; i < 4; i++) v[i] = LLVMBuildFPTrunc(k->b, v[i], narrow, "");
    return interleave(k, v, 4);
  }
  int bits = t == SQ_F16 ? 11 : t == SQ_BF16 ? 8 : 24;
  for (int i = 0; i < 4; i++)
    v[i] = scaled(k, shifted(k, c[i], 32 - bits), k->f32, 1.0 / (double)(1u << bits));
  return interleave(k, v, 4);
}
// The first `left` of the `width` elements of v, in a row.
static void store_row(sq_kern *k, sq_dtype t, sq_lv to, sq_lv v, sq_lv left, uint32_t width) {
  sq_kif whole;
  sq_kif_begin(k, &whole, LLVMBuildICmp(k->b, LLVMIntSGE, left, sq_k_int(k, width), ""));
  sq_k_store_row(k, t, to, v, NULL);
  sq_kif_else(k, &whole);
  sq_lv lane = sq_k_lane_index(k, width, k->i64);
  sq_k_store_row(k, t, to, v,
                 LLVMBuildICmp(k->b, LLVMIntSLT, lane, sq_k_splat(k, left, width), ""));
  sq_kif_end(k, &whole, 0, NULL, NULL, NULL);
}
// Elements first, ..., first + count - 1 of the row v, each to its place.
static void store_apart(sq_kern *k, const sq_type *t, sq_lv out, sq_lv v, sq_lv first, sq_lv count,
                        uint32_t width) {
  sq_lv row = sq_k_alloca(k, sq_k_mem_type(k, t->dtype), width);
  sq_k_store_row(k, t->dtype, row, v, NULL);
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), count, 1, 0, NULL);
  sq_lv place = sq_k_place(k, t, LLVMBuildAdd(k->b, first, l.i, ""));
  sq_k_store(k, t->dtype, sq_k_offset(k, out, place, t->dtype),
             sq_k_load(k, t->dtype, sq_k_offset(k, row, l.i, t->dtype)));
  sq_kloop_end(k, &l, NULL);
}
void sq_kernel_random(sq_cg *cg, sq_node *n) {
  sq_kern kern, *k = &kern;
  sq_kern_begin(k, cg, "random");
  const sq_type *type = &n->out[0]->type;
  sq_dtype t = type->dtype, kt = n->in[0]->type.dtype;
  sq_dims *ds = k->g->dims;
  sq_dim count = sq_k_elements(ds, type);
  int64_t per_block = t == SQ_F64 ? 2 : 4, step = per_block * BLOCKS;
  sq_lv total = sq_kern_dim(k, count), out = sq_kern_pointer(k, n->out[0]);
  sq_lv key = sq_k_cast(k, sq_k_load(k, kt, sq_kern_pointer(k, n->in[0])), kt, SQ_I64);
  sq_lv key0 = LLVMBuildTrunc(k->b, key, k->i32, "");
  sq_lv key1 = LLVMBuildTrunc(k->b, LLVMBuildLShr(k->b, key, sq_k_int(k, 32), ""), k->i32, "");
  sq_lv units = sq_k_ceil_div(k, cg->builder, sq_cg_dim(cg, count), sq_k_int(k, step));
  sq_ktasks tasks = sq_ktasks_make(k, units, sq_k_int(k, n->flag ? 1500 : 150));
  sq_kouter o = {.n = 1, .extent = {tasks.units}};
  sq_kouter_begin(k, &o, &tasks);
  sq_lv first = LLVMBuildMul(k->b, o.index[0], sq_k_int(k, BLOCKS), "");
  sq_lv block = LLVMBuildAdd(k->b, same(k, first), sq_k_lane_index(k, BLOCKS, k->i64), "");
  LLVMTypeRef narrow = LLVMVectorType(k->i32, BLOCKS);
  sq_lv c[4] = {LLVMBuildTrunc(k->b, block, narrow, ""),
                LLVMBuildTrunc(k->b, shifted(k, block, 32), narrow, ""), word(k, t == SQ_F64),
                word(k, 0)};
  philox(k, c, key0, key1);
  sq_lv v = elements(k, c, t, n->flag == 1);
  sq_lv at = LLVMBuildMul(k->b, o.index[0], sq_k_int(k, step), "");
  sq_lv left = LLVMBuildSub(k->b, total, at, "");
  if (sq_k_numbered_by_place(ds, type))
    store_row(k, t, sq_k_offset(k, out, at, t), v, left, (uint32_t)step);
  else
    store_apart(k, type, out, v, at, sq_k_min(k, left, sq_k_int(k, step)), (uint32_t)step);
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}
