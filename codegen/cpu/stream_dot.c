// Operands of attention as pairs of bf16 (kernel_pairs.c):
//
//   pairs        [n][set] of f32   -> [n / 2][set]      queries, once a set; weights, once a block
//   pair_lines   n lines of bf16   -> n / 2 lines       values, once a block; keys lie in pairs already
#include "codegen/cpu/stream.h"

static sq_lv at(sq_kern *k, const sq_kstream *s, sq_lv base, sq_lv i) {
  return sq_k_offset(k, base, i, s->type);
}
static sq_lv mul(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildMul(k->b, a, b, ""); }
static sq_lv add(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildAdd(k->b, a, b, ""); }
static bool has_instruction(sq_kern *k, const sq_kstream *s) { return sq_k_has_pairs(k, s->w); }
static LLVMTypeRef bfloats(sq_kern *k, uint32_t n) {
  return LLVMVectorType(LLVMBFloatTypeInContext(k->c), n);
}

static sq_lv narrow(sq_kern *k, const sq_kstream *s, sq_lv v) { // in 32 bits
  if (has_instruction(k, s)) {
    v = LLVMBuildFPTrunc(k->b, v, bfloats(k, s->w), "");
    v = LLVMBuildBitCast(k->b, v, sq_k_vec(k->i16, s->w), "");
  } else {
    v = sq_k_to_mem(k, SQ_BF16, v);
  }
  return LLVMBuildZExt(k->b, v, sq_k_vec(k->i32, s->w), "");
}
static sq_lv join(sq_kern *k, sq_lv low, sq_lv high) {
  high = LLVMBuildShl(k->b, high, sq_k_like(k, LLVMTypeOf(high), 16), "");
  return LLVMBuildOr(k->b, low, high, "");
}
// The line behind i of n, or i itself and not there.
static sq_lv next_line(sq_kern *k, sq_lv i, sq_lv n, sq_lv *there) {
  sq_lv next = add(k, i, sq_k_int(k, 1));
  *there = LLVMBuildICmp(k->b, LLVMIntSLT, next, n, "");
  return LLVMBuildSelect(k->b, *there, next, i, "");
}
static sq_lv if_there(sq_kern *k, sq_lv there, sq_lv v) {
  return LLVMBuildSelect(k->b, there, v, LLVMConstNull(LLVMTypeOf(v)), "");
}
static sq_lv shared(sq_kern *k, const sq_kstream *s, const char *what, const char *args,
                    LLVMTypeRef *type, sq_kern *f) {
  LLVMTypeRef in[8];
  unsigned n = 0;
  for (; args[n]; n++) in[n] = args[n] == 'p' ? k->ptr : k->i64;
  *type = LLVMFunctionType(LLVMVoidTypeInContext(k->c), in, n, 0);
  return sq_kern_shared(k, sq_arena_fmt(k->a, "sq.stream.%s.%ux%u", what, s->w, s->set), *type, f);
}
static void finish(sq_kern *f) {
  LLVMBuildRetVoid(f->b);
  sq_kern_shared_end(f);
}

static void pairs_body(sq_kern *k, const sq_kstream *s, sq_lv from, sq_lv n, sq_lv to) {
  sq_kloop i, v;
  sq_lv set = sq_k_int(k, s->set), there;
  sq_kloop_begin(k, &i, sq_k_int(k, 0), n, 2, 0, NULL);
  sq_lv next = next_line(k, i.i, n, &there);
  sq_kloop_begin(k, &v, sq_k_int(k, 0), set, s->w, 0, NULL);
  sq_lv row[2] = {i.i, next}, x[2];
  for (int h = 0; h < 2; h++)
    x[h] = narrow(
        k, s,
        sq_k_load_row(k, s->type, at(k, s, from, add(k, mul(k, row[h], set), v.i)), s->w, NULL));
  sq_lv line = mul(k, LLVMBuildLShr(k->b, i.i, sq_k_int(k, 1), ""), set);
  sq_k_store_row(k, SQ_I32, at(k, s, to, add(k, line, v.i)),
                 join(k, x[0], if_there(k, there, x[1])), NULL);
  sq_kloop_end(k, &v, NULL);
  sq_kloop_end(k, &i, NULL);
}
void sq_kstream_pairs(sq_kern *k, const sq_kstream *s, sq_lv from, sq_lv n, sq_lv to) {
  LLVMTypeRef type;
  sq_kern f;
  sq_lv fn = shared(k, s, "pairs", "pip", &type, &f);
  if (f.fn) {
    pairs_body(&f, s, LLVMGetParam(fn, 0), LLVMGetParam(fn, 1), LLVMGetParam(fn, 2));
    finish(&f);
  }
  LLVMBuildCall2(k->b, type, fn, (sq_lv[]){from, n, to}, 3, "");
}

// Elements c .. c + w - 1 of two lines of 16 bits; `w` 1: one.
static void pair_columns(sq_kern *k, const sq_lv *line, sq_lv there, sq_lv c, sq_lv to,
                         uint32_t w) {
  LLVMTypeRef narrow_type = w > 1 ? sq_k_vec(k->i16, w) : k->i16;
  LLVMTypeRef wide_type = w > 1 ? sq_k_vec(k->i32, w) : k->i32;
  sq_lv x[2];
  for (int h = 0; h < 2; h++) {
    x[h] = LLVMBuildLoad2(k->b, narrow_type, sq_k_offset(k, line[h], c, SQ_BF16), "");
    LLVMSetAlignment(x[h], 2);
    x[h] = LLVMBuildZExt(k->b, x[h], wide_type, "");
  }
  sq_lv v =
      LLVMBuildStore(k->b, join(k, x[0], if_there(k, there, x[1])), sq_k_offset(k, to, c, SQ_I32));
  LLVMSetAlignment(v, 4);
}
static void pair_lines_body(sq_kern *k, const sq_kstream *s, const sq_lv *in) {
  sq_kloop i, c;
  sq_lv n = in[2], length = in[3], there, line[2];
  sq_lv whole = LLVMBuildAnd(k->b, length, sq_k_int(k, -(int64_t)s->w), "");
  sq_kloop_begin(k, &i, sq_k_int(k, 0), n, 2, 0, NULL);
  sq_lv row[2] = {i.i, next_line(k, i.i, n, &there)};
  for (int h = 0; h < 2; h++) line[h] = sq_k_offset(k, in[0], mul(k, row[h], in[1]), SQ_BF16);
  sq_lv pair = LLVMBuildLShr(k->b, i.i, sq_k_int(k, 1), "");
  sq_lv to = sq_k_offset(k, in[4], mul(k, pair, in[5]), SQ_I32);
  sq_kloop_begin(k, &c, sq_k_int(k, 0), whole, s->w, 0, NULL);
  pair_columns(k, line, there, c.i, to, s->w);
  sq_kloop_end(k, &c, NULL);
  sq_kloop_begin(k, &c, whole, length, 1, 0, NULL);
  pair_columns(k, line, there, c.i, to, 1);
  sq_kloop_end(k, &c, NULL);
  sq_kloop_end(k, &i, NULL);
}
void sq_kstream_pair_lines(sq_kern *k, const sq_kstream *s, const sq_klines *from, sq_lv n,
                           sq_lv length, const sq_klines *to) {
  LLVMTypeRef type;
  sq_kern f;
  sq_lv fn = shared(k, s, "pair.lines", "piiipi", &type, &f);
  if (f.fn) {
    sq_lv in[6];
    LLVMGetParams(fn, in);
    pair_lines_body(&f, s, in);
    finish(&f);
  }
  sq_lv arg[6] = {from->base, from->step, n, length, to->base, to->step};
  LLVMBuildCall2(k->b, type, fn, arg, 6, "");
}
