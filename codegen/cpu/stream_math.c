// Functions that all attention kernels of a module share: products of a row with keys and with values.
//
//   dots   out[j] = sum of q[e] k[j, e]      as many keys at once as there are lanes, added up together
//   add    o[c] += sum of p[j] v[j, c]       sums in registers over all keys, keys of weight 0 left out
//   widen  lines of 16 bits copied in 32
#include "codegen/cpu/math.h"
#include "codegen/cpu/stream.h"

// ---- 2^x ---------------------------------------------------------------------------------------
sq_lv sq_kstream_exp2(sq_kern *k, sq_lv x) {
  if (sq_math_is_f64(x)) return sq_math_emit(k, SQ_EW_EXP2, x, NULL, false);
  sq_lv low = sq_math_const(x, -127), n;
  x = LLVMBuildSelect(k->b, LLVMBuildFCmp(k->b, LLVMRealOLT, x, low, ""), low, x, "");
  sq_lv whole = sq_math_nearest(k, x, NULL, &n);
  sq_lv y = sq_math_exp2_near(k, LLVMBuildFSub(k->b, x, whole, ""));
  LLVMTypeRef t = LLVMTypeOf(n);
  n = LLVMBuildShl(k->b, LLVMBuildAdd(k->b, n, sq_k_like(k, t, 127), ""), sq_k_like(k, t, 23), "");
  return LLVMBuildFMul(k->b, y, sq_math_float(k, n, x), "");
}

// ---- maxima ------------------------------------------------------------------------------------
static sq_lv or_zero(sq_kern *k, sq_lv most, sq_lv v) {
  sq_lv low = sq_math_const(most, -__builtin_inf());
  return LLVMBuildSelect(k->b, LLVMBuildFCmp(k->b, LLVMRealOEQ, most, low, ""),
                         LLVMConstNull(LLVMTypeOf(v)), v, "");
}
sq_kshift sq_kstream_shift(sq_kern *k, const sq_kstream *s, sq_lv most) {
  sq_stream_large large = sq_stream_large_scores(&s->p);
  sq_lv size = sq_k_ewise(k, SQ_EW_ABS, s->type, most, NULL, false, false);
  sq_lv is = LLVMBuildFCmp(k->b, LLVMRealOGE, size, sq_math_const(most, large.from), "");
  sq_lv c =
      LLVMBuildSelect(k->b, is, sq_math_const(most, large.by), sq_math_const(most, s->p.scale), "");
  return (sq_kshift){c, or_zero(k, most, LLVMBuildFMul(k->b, most, c, ""))};
}
sq_lv sq_kstream_raised(sq_kern *k, const sq_kstream *s, sq_lv old, sq_lv most) {
  sq_lv less = LLVMBuildFSub(k->b, old, or_zero(k, most, most), "");
  return sq_kstream_exp2(k, LLVMBuildFMul(k->b, less, sq_math_const(less, s->p.scale), ""));
}

// ---- parts -------------------------------------------------------------------------------------
static sq_lv add(sq_kern *k, sq_lv a, int64_t b) {
  return LLVMBuildAdd(k->b, a, sq_k_int(k, b), "");
}
static sq_lv at(sq_kern *k, const sq_kstream *s, sq_lv base, sq_lv i) {
  return sq_k_offset(k, base, i, s->type);
}
static sq_lv load(sq_kern *k, const sq_kstream *s, sq_lv base, sq_lv i, sq_lv mask) {
  return sq_k_load_row(k, s->type, at(k, s, base, i), s->w, mask);
}
static sq_lv load_as(sq_kern *k, const sq_kstream *s, sq_dtype t, sq_lv base, sq_lv i, sq_lv mask) {
  return sq_k_load_row(k, t, sq_k_offset(k, base, i, t), s->w, mask);
}
static sq_lv lanes_below(sq_kern *k, uint32_t w, sq_lv n) {
  n = sq_k_splat(k, LLVMBuildTrunc(k->b, n, k->i32, ""), w);
  return LLVMBuildICmp(k->b, LLVMIntSLT, sq_k_lane_index(k, w, k->i32), n, "");
}
// `lies`: the type of the keys or values that it reads.
static sq_lv shared(sq_kern *k, const sq_kstream *s, const char *what, sq_dtype lies,
                    LLVMTypeRef type, sq_kern *f) {
  const char *name = sq_arena_fmt(k->a, "sq.stream.%s.f%ux%u.%s", what, 8 * s->bytes, s->w,
                                  sq_dtype_table[lies].name);
  return sq_kern_shared(k, name, type, f);
}
static void finish(sq_kern *f) {
  LLVMBuildRetVoid(f->b);
  sq_kern_shared_end(f);
}

// ---- dots --------------------------------------------------------------------------------------
// The sums over the lanes of v[0] .. v[w-1], as the lanes of one vector: halves are added pairwise.
static sq_lv sums_across(sq_kern *k, sq_lv *v, uint32_t w) {
  uint32_t from[64][64]; // whose lanes these are
  for (uint32_t i = 0; i < w; i++)
    for (uint32_t l = 0; l < w; l++) from[i][l] = i;
  for (uint32_t n = w; n > 1; n /= 2)
    for (uint32_t i = 0; i < n / 2; i++) {
      uint32_t j = i + n / 2, half = n / 2, next[64];
      sq_lv lo[64], hi[64];
      for (uint32_t l = 0; l < w; l++) {
        bool second = l / half % 2;           // this half of the segment is for v[j]
        uint32_t base = l / n * n + l % half; // in its own vector
        lo[l] = LLVMConstInt(k->i32, base + (second ? w : 0), 0);
        hi[l] = LLVMConstInt(k->i32, base + half + (second ? w : 0), 0);
        next[l] = second ? from[j][base] : from[i][base];
      }
      sq_lv a = LLVMBuildShuffleVector(k->b, v[i], v[j], LLVMConstVector(lo, w), "");
      sq_lv b = LLVMBuildShuffleVector(k->b, v[i], v[j], LLVMConstVector(hi, w), "");
      v[i] = LLVMBuildFAdd(k->b, a, b, "");
      memcpy(from[i], next, w * sizeof *next);
    }
  sq_lv order[64];
  for (uint32_t l = 0; l < w; l++) order[from[0][l]] = LLVMConstInt(k->i32, l, 0);
  return LLVMBuildShuffleVector(k->b, v[0], LLVMGetPoison(LLVMTypeOf(v[0])),
                                LLVMConstVector(order, w), "");
}
static void dot_step(sq_kern *k, const sq_kstream *s, sq_lv q, const sq_lv *row, sq_lv e,
                     sq_lv mask, sq_lv *acc) {
  sq_lv x = load(k, s, q, e, NULL);
  for (uint32_t r = 0; r < s->w; r++)
    acc[r] = sq_k_fma(k, x, load_as(k, s, s->keys.type, row[r], e, mask), acc[r]);
}
static LLVMTypeRef function_type(sq_kern *k, const char *args) {
  LLVMTypeRef in[8];
  unsigned n = 0;
  for (; args[n]; n++) in[n] = args[n] == 'p' ? k->ptr : k->i64;
  return LLVMFunctionType(LLVMVoidTypeInContext(k->c), in, n, 0);
}
static void dots_body(sq_kern *k, const sq_kstream *s, sq_lv fn) {
  sq_lv q = LLVMGetParam(fn, 0), keys = LLVMGetParam(fn, 1), step = LLVMGetParam(fn, 2);
  sq_lv width = LLVMGetParam(fn, 3), n = LLVMGetParam(fn, 4), out = LLVMGetParam(fn, 5);
  sq_lv row[64], acc[64], last = add(k, n, -1), zero = sq_k_int(k, 0);
  sq_lv none = LLVMConstNull(sq_k_vec(sq_k_type(k, s->type), s->w));
  sq_lv whole = LLVMBuildAnd(k->b, width, sq_k_int(k, -(int64_t)s->w), "");
  sq_kloop j, e;
  sq_kif rest;
  sq_kloop_begin(k, &j, zero, n, s->w, 0, NULL);
  for (uint32_t r = 0; r < s->w; r++) { // keys beyond the end repeat the last
    sq_lv key = sq_k_min(k, add(k, j.i, r), last);
    row[r] = sq_k_offset(k, keys, LLVMBuildMul(k->b, key, step, ""), s->keys.type);
    acc[r] = none;
  }
  sq_kloop_begin(k, &e, zero, whole, s->w, s->w, acc);
  memcpy(acc, e.phi, s->w * sizeof *acc);
  dot_step(k, s, q, row, e.i, NULL, acc);
  sq_kloop_end(k, &e, acc);
  sq_lv left = LLVMBuildSub(k->b, width, whole, "");
  sq_kif_begin(k, &rest, LLVMBuildICmp(k->b, LLVMIntSGT, left, zero, ""));
  memcpy(acc, e.phi, s->w * sizeof *acc);
  dot_step(k, s, q, row, whole, lanes_below(k, s->w, left), acc);
  sq_kif_end(k, &rest, s->w, acc, e.phi, acc);
  sq_k_store_row(k, s->type, at(k, s, out, j.i), sums_across(k, acc, s->w), NULL);
  sq_kloop_end(k, &j, NULL);
  LLVMBuildRetVoid(k->b);
}
void sq_kstream_dots(sq_kern *k, const sq_kstream *s, sq_lv q, sq_lv keys, sq_lv step, sq_lv width,
                     sq_lv n, sq_lv out) {
  LLVMTypeRef type = function_type(k, "ppiiip");
  sq_kern f;
  sq_lv fn = shared(k, s, "dots", s->keys.type, type, &f), arg[6] = {q, keys, step, width, n, out};
  if (f.fn) {
    dots_body(&f, s, fn);
    sq_kern_shared_end(&f);
  }
  LLVMBuildCall2(k->b, type, fn, arg, 6, "");
}

// ---- add ---------------------------------------------------------------------------------------
typedef struct sums {
  sq_lv p, values, step, n, o;
} sums;
// Columns c .. c + sets * w - 1, in registers.
static void add_columns(sq_kern *k, const sq_kstream *s, const sums *x, sq_lv c, uint32_t sets,
                        sq_lv mask) {
  sq_lv acc[16], more[16];
  sq_kloop j;
  sq_kif some;
  for (uint32_t i = 0; i < sets; i++) acc[i] = load(k, s, x->o, add(k, c, (int64_t)i * s->w), NULL);
  sq_kloop_begin(k, &j, sq_k_int(k, 0), x->n, 1, sets, acc);
  sq_lv p = sq_k_load(k, s->type, at(k, s, x->p, j.i)), zero = LLVMConstNull(LLVMTypeOf(p));
  sq_kif_begin(k, &some, LLVMBuildFCmp(k->b, LLVMRealUNE, p, zero, ""));
  sq_lv row = LLVMBuildAdd(k->b, LLVMBuildMul(k->b, j.i, x->step, ""), c, "");
  sq_lv by = sq_k_splat(k, p, s->w);
  for (uint32_t i = 0; i < sets; i++) {
    sq_lv c_i = add(k, row, (int64_t)i * s->w);
    more[i] = sq_k_fma(k, by, load_as(k, s, s->values.type, x->values, c_i, mask), j.phi[i]);
  }
  sq_kif_end(k, &some, sets, more, j.phi, acc);
  sq_kloop_end(k, &j, acc);
  for (uint32_t i = 0; i < sets; i++)
    sq_k_store_row(k, s->type, at(k, s, x->o, add(k, c, (int64_t)i * s->w)), j.phi[i], NULL);
}
static void add_body(sq_kern *k, const sq_kstream *s, sq_lv fn) {
  sums x = {LLVMGetParam(fn, 0), LLVMGetParam(fn, 1), LLVMGetParam(fn, 2), LLVMGetParam(fn, 4),
            LLVMGetParam(fn, 5)};
  sq_lv columns = LLVMGetParam(fn, 3), c = sq_k_int(k, 0);
  sq_kloop l;
  for (uint32_t sets = 8; sets >= 1; sets /= 4) { // 8, 2 vectors; the last ones by two, or one
    int64_t stretch = (int64_t)sets * s->w;
    sq_kloop_begin(k, &l, c, add(k, columns, 1 - stretch), stretch, 0, NULL);
    add_columns(k, s, &x, l.i, sets, NULL);
    sq_kloop_end(k, &l, NULL);
    c = l.i;
  }
  sq_kloop_begin(k, &l, c, columns, s->w, 0, NULL);
  add_columns(k, s, &x, l.i, 1, lanes_below(k, s->w, LLVMBuildSub(k->b, columns, l.i, "")));
  sq_kloop_end(k, &l, NULL);
  LLVMBuildRetVoid(k->b);
}
void sq_kstream_add(sq_kern *k, const sq_kstream *s, sq_lv p, sq_lv values, sq_lv step,
                    sq_lv columns, sq_lv n, sq_lv o) {
  LLVMTypeRef type = function_type(k, "ppiiip");
  sq_kern f;
  sq_lv fn = shared(k, s, "add", s->values.type, type, &f),
        arg[6] = {p, values, step, columns, n, o};
  if (f.fn) {
    add_body(&f, s, fn);
    sq_kern_shared_end(&f);
  }
  LLVMBuildCall2(k->b, type, fn, arg, 6, "");
}

// ---- widen -------------------------------------------------------------------------------------
static void widen_line(sq_kern *k, const sq_kstream *s, sq_lv from, sq_lv length, sq_lv to) {
  sq_kloop l;
  sq_lv whole = LLVMBuildAnd(k->b, length, sq_k_int(k, -(int64_t)s->w), "");
  sq_kloop_begin(k, &l, sq_k_int(k, 0), whole, s->w, 0, NULL);
  sq_k_store_row(k, s->type, at(k, s, to, l.i), load_as(k, s, SQ_BF16, from, l.i, NULL), NULL);
  sq_kloop_end(k, &l, NULL);
  sq_kloop_begin(k, &l, whole, length, 1, 0, NULL);
  sq_lv one = sq_k_load(k, SQ_BF16, sq_k_offset(k, from, l.i, SQ_BF16));
  sq_k_store(k, s->type, at(k, s, to, l.i), one);
  sq_kloop_end(k, &l, NULL);
}
void sq_kstream_widen(sq_kern *k, const sq_kstream *s, const sq_klines *from, sq_lv n, sq_lv length,
                      const sq_klines *to) {
  LLVMTypeRef type = function_type(k, "piiipi");
  sq_kern f;
  sq_lv fn = shared(k, s, "widen", SQ_BF16, type, &f);
  if (f.fn) {
    sq_lv in[6];
    sq_kloop j;
    LLVMGetParams(fn, in);
    sq_kloop_begin(&f, &j, sq_k_int(&f, 0), in[2], 1, 0, NULL);
    sq_lv line = sq_k_offset(&f, in[0], LLVMBuildMul(f.b, j.i, in[1], ""), SQ_BF16);
    widen_line(&f, s, line, in[3], at(&f, s, in[4], LLVMBuildMul(f.b, j.i, in[5], "")));
    sq_kloop_end(&f, &j, NULL);
    finish(&f);
  }
  sq_lv arg[6] = {from->base, from->step, n, length, to->base, to->step};
  LLVMBuildCall2(k->b, type, fn, arg, 6, "");
}

// ---- scale -------------------------------------------------------------------------------------
void sq_kstream_scale(sq_kern *k, const sq_kstream *s, sq_lv x, sq_lv n, sq_lv by) {
  LLVMTypeRef elem = sq_k_type(k, s->type), in[3] = {k->ptr, k->i64, elem};
  LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(k->c), in, 3, 0);
  sq_kern f;
  sq_lv fn = shared(k, s, "scale", s->type, type, &f), arg[3] = {x, n, by};
  if (f.fn) {
    sq_kloop l;
    sq_lv base = LLVMGetParam(fn, 0), factor = sq_k_splat(&f, LLVMGetParam(fn, 2), s->w);
    sq_kloop_begin(&f, &l, sq_k_int(&f, 0), LLVMGetParam(fn, 1), s->w, 0, NULL);
    sq_lv v = LLVMBuildFMul(f.b, load(&f, s, base, l.i, NULL), factor, "");
    sq_k_store_row(&f, s->type, at(&f, s, base, l.i), v, NULL);
    sq_kloop_end(&f, &l, NULL);
    finish(&f);
  }
  LLVMBuildCall2(k->b, type, fn, arg, 3, "");
}
