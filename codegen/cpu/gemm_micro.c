// The inner loops of a contraction, functions shared by all contractions of a module:
//
//   void sq.micro.RxC(ptr a, i64 from, i64 step, ptr panel, i64 depth, ptr out, i64 more, ptr ahead)
//
//     out[R][C] = (more ? out : 0) + sum over i < depth of A(r, from + i) * panel[i][C]
//
//   A in tiles   A(r, i) = a[i * mr + r]             one stream, as sq.interleave lays it out
//   A in rows    A(r, i) = a[r][i * step]            a: pointers to rows
//
// Every UNROLL steps a line from `ahead` on is prefetched into the second-level cache: what of B
// comes next.
//
// Of panels of pairs, panel[i // 2][C][i % 2], a step takes two i: with A in pairs too, depth and i count
// pairs, and one instruction adds both products; else both are widened.
//
// The sums are in registers: R rows of nv vectors. Few rows do not fill the pipelines of the
// multipliers: they have several sets of sums, for every second or fourth i.
//
//   i64 sq.beside.RxC(ptr tile, ptr b, i64 steps, ptr sums, i64 more,
//                     ptr row, ptr w, i64 left, ptr out, i64 some)
//   void sq.row.C(ptr row, ptr w, i64 left, ptr out, i64 some)
//
// The first takes steps of a whole tile and, in each, R rows of another panel times the elements of a
// single row, while there are so many left: what is read for the row arrives while the tile is
// multiplied. With R of them a product of R turns is spread evenly over these turns. It returns how many
// it took. The other one takes the rest. Sums of the row are in two sets, [2][C], which sq.row adds up.
#include "codegen/cpu/gemm.h"

enum { UNROLL = 4, LINE = 64 };

// How many rows may be taken together, largest first, 0 at the end.
const uint32_t *sq_gemm_micro_rows(const sq_gemm *x) {
  static const uint32_t all[] = {12, 8, 6, 4, 2, 1, 0}, whole[] = {12, 8, 4, 2, 1, 0};
  const uint32_t *rows = x->mr == 12 || x->mr == 8 ? whole : all;
  while (*rows > x->mr) rows++;
  return rows;
}

typedef struct micro {
  sq_kern *k;
  const sq_gemm *x;
  uint32_t rows, sets;
  bool tiles, unit;                  // A in tiles; the step is 1
  sq_lv row[16], step, panel, ahead; // row[0]: the tile
  sq_lv high[4];                     // of the pairs read last, those of the odd i
} micro;
static uint32_t sums(const micro *c) { return c->sets * c->rows * c->x->nv; }

static bool by_two(const sq_gemm *x) { return x->pairs && !x->dots; }
// A row of the panel, of pairs to be widened that of an even i and, in c->high, that behind it.
static void panel_row(micro *c, sq_lv i, sq_lv *b) {
  sq_kern *k = c->k;
  const sq_gemm *x = c->x;
  sq_lv line = LLVMBuildMul(k->b, i, sq_k_int(k, x->nr), "");
  for (uint32_t v = 0; v < x->nv; v++) {
    int64_t vector = (int64_t)v * x->w * (by_two(x) ? 2 : 1);
    sq_lv at = sq_gemm_panel_at(k, x, c->panel, LLVMBuildAdd(k->b, line, sq_k_int(k, vector), ""));
    if (x->pairs) {
      b[v] = sq_gemm_load(k, x, at, x->w);
      LLVMSetAlignment(b[v], 4);
      if (x->dots) continue;
      c->high[v] = sq_k_pair_half(k, b[v], true);
      b[v] = sq_k_pair_half(k, b[v], false);
      continue;
    }
    b[v] = sq_k_load_row(k, x->panel, at, x->w, NULL);
    if (x->panel == SQ_I8) b[v] = sq_k_cast(k, b[v], SQ_I8, x->type);
  }
}
// sums of one set += the products at i; `odd`: the panel's row was read with the one before.
static void multiply(micro *c, sq_lv i, bool odd, sq_lv *acc) {
  sq_kern *k = c->k;
  const sq_gemm *x = c->x;
  sq_lv b[4];
  if (odd)
    memcpy(b, c->high, sizeof b);
  else
    panel_row(c, i, b);
  sq_lv where = c->unit ? i : LLVMBuildMul(k->b, i, c->step, "");
  for (uint32_t r = 0; r < c->rows; r++) {
    sq_lv at = c->tiles ? sq_gemm_at(k, x, c->row[0], LLVMBuildAdd(k->b, where, sq_k_int(k, r), ""))
                        : sq_gemm_at(k, x, c->row[r], where);
    sq_lv a = sq_k_splat(k, sq_gemm_load(k, x, at, 1), x->w);
    for (uint32_t v = 0; v < x->nv; v++) {
      sq_lv *sum = &acc[r * x->nv + v];
      *sum = x->dots ? sq_k_pair_dot(k, *sum, a, b[v]) : sq_k_fma(k, a, b[v], *sum);
    }
  }
}
static void prefetch(micro *c, sq_lv i) {
  sq_kern *k = c->k;
  sq_lv at = LLVMBuildMul(k->b, i, sq_k_int(k, LINE / UNROLL), "");
  at = LLVMBuildGEP2(k->b, k->i8, c->ahead, &at, 1, "");
  sq_lv arg[4] = {at, LLVMConstInt(k->i32, 0, 0), LLVMConstInt(k->i32, 2, 0),
                  LLVMConstInt(k->i32, 1, 0)}; // to read, into the second level, data
  sq_k_intrinsic(k, "llvm.prefetch", &k->ptr, 1, arg, 4);
}
static void depth_loop(micro *c, sq_lv from, sq_lv to, uint32_t unroll, sq_lv *acc) {
  sq_kern *k = c->k;
  uint32_t n = sums(c), one = n / c->sets;
  sq_kloop l;
  sq_kloop_begin(k, &l, from, to, unroll, n, acc);
  memcpy(acc, l.phi, n * sizeof *acc);
  if (unroll > 1 && c->rows >= 4) prefetch(c, l.i); // a single stream needs no help
  for (uint32_t u = 0; u < unroll; u++)
    multiply(c, LLVMBuildNSWAdd(k->b, l.i, sq_k_int(k, u), ""), by_two(c->x) && u % 2,
             acc + u % c->sets * one);
  sq_kloop_end(k, &l, acc);
  memcpy(acc, l.phi, n * sizeof *acc);
}
static sq_lv out_at(micro *c, sq_lv out, uint32_t i) {
  return sq_gemm_at(c->k, c->x, out, sq_k_int(c->k, (int64_t)i * c->x->w));
}
// n vectors of sums so far, or zeros.
static void load_sums(micro *c, sq_lv out, sq_lv more, uint32_t n, sq_lv *acc) {
  sq_kern *k = c->k;
  sq_lv zero = LLVMConstNull(sq_k_vec(sq_k_type(k, c->x->type), c->x->w)), had[SQ_K_CARRIED],
        none[SQ_K_CARRIED];
  sq_kif f;
  sq_kif_begin(k, &f, LLVMBuildICmp(k->b, LLVMIntNE, more, sq_k_int(k, 0), ""));
  for (uint32_t i = 0; i < n; i++) had[i] = sq_gemm_load(k, c->x, out_at(c, out, i), c->x->w);
  for (uint32_t i = 0; i < n; i++) none[i] = zero;
  sq_kif_end(k, &f, n, had, none, acc);
}
// The sums so far in set 0, zeros in the others.
static void begin(micro *c, sq_lv out, sq_lv more, sq_lv *acc) {
  uint32_t one = c->rows * c->x->nv;
  load_sums(c, out, more, one, acc);
  for (uint32_t i = one; i < sums(c); i++) acc[i] = LLVMConstNull(LLVMTypeOf(acc[0]));
}
static void body(micro *c, sq_lv fn) {
  sq_kern *k = c->k;
  const sq_gemm *x = c->x;
  sq_lv rows = LLVMGetParam(fn, 0), from = LLVMGetParam(fn, 1), depth = LLVMGetParam(fn, 4);
  sq_lv out = LLVMGetParam(fn, 5), acc[SQ_K_CARRIED];
  c->step = c->tiles ? sq_k_int(k, x->mr) : LLVMGetParam(fn, 2);
  c->panel = LLVMGetParam(fn, 3);
  c->ahead = LLVMGetParam(fn, 7);
  sq_lv first = c->unit ? from : LLVMBuildMul(k->b, from, c->step, "");
  if (c->tiles) c->row[0] = sq_gemm_at(k, x, rows, first);
  for (uint32_t r = 0; !c->tiles && r < c->rows; r++) {
    sq_lv at = sq_k_int(k, r);
    at = LLVMBuildLoad2(k->b, k->ptr, LLVMBuildGEP2(k->b, k->ptr, rows, &at, 1, ""), "");
    c->row[r] = sq_gemm_at(k, x, at, first);
  }
  begin(c, out, LLVMGetParam(fn, 6), acc);
  sq_lv whole = LLVMBuildAnd(k->b, depth, sq_k_int(k, -UNROLL), "");
  depth_loop(c, sq_k_int(k, 0), whole, UNROLL, acc);
  for (uint32_t half = c->sets / 2; half; half /= 2)
    for (uint32_t i = 0; i < half * c->rows * x->nv; i++)
      acc[i] = sq_k_fadd(k, acc[i], acc[i + half * c->rows * x->nv]);
  c->sets = 1;
  depth_loop(c, whole, depth, by_two(x) ? 2 : 1, acc); // depth is even then
  for (uint32_t i = 0; i < c->rows * x->nv; i++) sq_gemm_store(k, x, out_at(c, out, i), acc[i]);
  LLVMBuildRetVoid(k->b);
}
static LLVMTypeRef micro_type(sq_kern *k) {
  LLVMTypeRef in[8] = {k->ptr, k->i64, k->i64, k->ptr, k->i64, k->ptr, k->i64, k->ptr};
  return LLVMFunctionType(LLVMVoidTypeInContext(k->c), in, 8, 0);
}
void sq_gemm_micro(sq_kern *outer, const sq_gemm *x, uint32_t rows, const sq_gemm_micro_call *a) {
  bool unit = !a->tiles && LLVMIsConstant(a->step) && LLVMConstIntGetSExtValue(a->step) == 1;
  const char *name = sq_arena_fmt(outer->a, "sq.micro.%ux%u.%s%s.f%u%s", rows, x->nr,
                                  sq_dtype_table[x->panel].name,
                                  x->dots    ? ".dots"
                                  : x->pairs ? ".pairs"
                                             : "",
                                  8 * x->bytes,
                                  a->tiles ? ".tiles"
                                  : unit   ? ""
                                           : ".step");
  sq_kern inner;
  sq_lv fn = sq_kern_shared(outer, name, micro_type(outer), &inner);
  if (inner.fn) {
    micro c = {.k = &inner, .x = x, .rows = rows, .tiles = a->tiles, .unit = unit};
    c.sets = rows >= 4 ? 1 : rows == 2 ? 2 : 4;
    body(&c, fn);
    sq_kern_shared_end(&inner);
  }
  sq_lv arg[8] = {a->rows, a->from, a->step, a->panel, a->depth, a->out, a->more, a->ahead};
  LLVMBuildCall2(outer->b, micro_type(outer), fn, arg, 8, "");
}

// ---- a tile and a single row ---------------------------------------------------------------------
static void store_sums(micro *c, sq_lv out, const sq_lv *acc) {
  for (uint32_t i = 0; i < sums(c); i++) sq_gemm_store(c->k, c->x, out_at(c, out, i), acc[i]);
}
// `count` elements of the single row from i on.
static void multiply_row(micro *c, sq_lv i, uint32_t count, sq_lv *acc) {
  for (uint32_t u = 0; u < count; u++)
    multiply(c, LLVMBuildNSWAdd(c->k->b, i, sq_k_int(c->k, u), ""), false, acc + u % 2 * c->x->nv);
}
static void beside_body(micro *t, micro *r, sq_lv fn) {
  sq_kern *k = t->k;
  sq_lv steps = LLVMGetParam(fn, 2), acc[SQ_K_CARRIED];
  t->row[0] = LLVMGetParam(fn, 0);
  t->panel = LLVMGetParam(fn, 1);
  r->row[0] = LLVMGetParam(fn, 5);
  r->panel = LLVMGetParam(fn, 6);
  uint32_t n = sums(t), all = n + sums(r);
  load_sums(t, LLVMGetParam(fn, 3), LLVMGetParam(fn, 4), n, acc);
  load_sums(r, LLVMGetParam(fn, 8), LLVMGetParam(fn, 9), all - n, acc + n);
  sq_lv beside = sq_k_int(k, t->rows); // even, so that the sets stay apart
  sq_lv fit = LLVMBuildUDiv(k->b, LLVMGetParam(fn, 7), beside, "");
  fit = sq_k_min(k, fit, steps);
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), fit, 1, all, acc);
  memcpy(acc, l.phi, all * sizeof *acc);
  multiply(t, l.i, false, acc);
  multiply_row(r, LLVMBuildNSWMul(k->b, l.i, beside, ""), t->rows, acc + n);
  sq_kloop_end(k, &l, acc);
  memcpy(acc, l.phi, all * sizeof *acc);
  store_sums(r, LLVMGetParam(fn, 8), acc + n);
  sq_kloop_begin(k, &l, fit, steps, 1, n, acc);
  memcpy(acc, l.phi, n * sizeof *acc);
  multiply(t, l.i, false, acc);
  sq_kloop_end(k, &l, acc);
  memcpy(acc, l.phi, n * sizeof *acc);
  store_sums(t, LLVMGetParam(fn, 3), acc);
  LLVMBuildRet(k->b, LLVMBuildMul(k->b, fit, beside, ""));
}
static micro single(sq_kern *k, const sq_gemm *y) {
  return (micro){.k = k, .x = y, .rows = 1, .sets = 2, .unit = true};
}
sq_lv sq_gemm_micro_beside(sq_kern *outer, const sq_gemm *x, const sq_gemm *y,
                           const sq_gemm_micro_pair *a) {
  LLVMTypeRef p = outer->ptr, i = outer->i64, in[10] = {p, p, i, p, i, p, p, i, p, i};
  LLVMTypeRef type = LLVMFunctionType(i, in, 10, 0);
  const char *name = sq_arena_fmt(outer->a, "sq.beside.%ux%u.%s.f%u", x->mr, x->nr,
                                  sq_dtype_table[x->panel].name, 8 * x->bytes);
  sq_kern f;
  sq_lv fn = sq_kern_shared(outer, name, type, &f);
  if (f.fn) {
    micro t = {.k = &f, .x = x, .rows = x->mr, .sets = 1, .tiles = true}, r = single(&f, y);
    t.step = sq_k_int(&f, x->mr);
    beside_body(&t, &r, fn);
    sq_kern_shared_end(&f);
  }
  sq_lv arg[10] = {a->tile, a->b, a->steps, a->sums, a->more,
                   a->row,  a->w, a->left,  a->out,  a->some};
  return LLVMBuildCall2(outer->b, type, fn, arg, 10, "");
}
static void row_body(micro *r, sq_lv fn) {
  sq_kern *k = r->k;
  sq_lv left = LLVMGetParam(fn, 2), out = LLVMGetParam(fn, 3), acc[SQ_K_CARRIED];
  r->row[0] = LLVMGetParam(fn, 0);
  r->panel = LLVMGetParam(fn, 1);
  uint32_t n = sums(r), nv = r->x->nv;
  load_sums(r, out, LLVMGetParam(fn, 4), n, acc);
  sq_lv whole = LLVMBuildAnd(k->b, left, sq_k_int(k, -UNROLL), "");
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), whole, UNROLL, n, acc);
  memcpy(acc, l.phi, n * sizeof *acc);
  multiply_row(r, l.i, UNROLL, acc);
  sq_kloop_end(k, &l, acc);
  for (uint32_t v = 0; v < nv; v++) acc[v] = sq_k_fadd(k, l.phi[v], l.phi[nv + v]);
  sq_kloop_begin(k, &l, whole, left, 1, nv, acc);
  memcpy(acc, l.phi, nv * sizeof *acc);
  multiply_row(r, l.i, 1, acc);
  sq_kloop_end(k, &l, acc);
  r->sets = 1;
  store_sums(r, out, l.phi);
  LLVMBuildRetVoid(k->b);
}
void sq_gemm_micro_row(sq_kern *outer, const sq_gemm *y, const sq_gemm_micro_pair *a) {
  LLVMTypeRef p = outer->ptr, i = outer->i64, in[5] = {p, p, i, p, i};
  LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(outer->c), in, 5, 0);
  const char *name = sq_arena_fmt(outer->a, "sq.row.%u.%s.f%u", y->nr,
                                  sq_dtype_table[y->panel].name, 8 * y->bytes);
  sq_kern f;
  sq_lv fn = sq_kern_shared(outer, name, type, &f);
  if (f.fn) {
    micro r = single(&f, y);
    row_body(&r, fn);
    sq_kern_shared_end(&f);
  }
  sq_lv arg[5] = {a->row, a->w, a->left, a->out, a->some};
  LLVMBuildCall2(outer->b, type, fn, arg, 5, "");
}
