// Conditions on keys become ranges: the keys that some of the rows may see, and those that all see.
//
//   j <= i + c              rows first .. last     possible  [0, last + c]      sure  [0, first + c]
//   i - j < w                                      [first - w + 1, ...)         [last - w + 1, ...)
//   j // b == i // b                               the blocks of first .. last  that block, if it is one
//
// A condition is turned into  key <= bound  or  key >= bound  with the bound an interval over the rows;
// `and` intersects, `or` spans. What is not understood is possible everywhere and sure nowhere.
#include "codegen/cpu/stream.h"

typedef struct finder {
  sq_knest *t;
  uint32_t key, lane; // axes of the nest
  sq_lv first, last;  // rows
  sq_lv keys;
  uint32_t *left; // places of conditions that may still be looked at: scalars share operands
} finder;
enum { MOST_PLACES = 1000 };
typedef struct span { // values over the rows, i64
  bool ok;
  sq_lv lo, hi;
} span;
// coef * floor((key + off) / by) + rest
typedef struct side {
  bool ok;
  int64_t coef, by;
  sq_lv off;
  span rest;
} side;

static sq_lv num(const finder *f, int64_t v) { return sq_k_int(f->t->k, v); }
static sq_lv plus(const finder *f, sq_lv a, sq_lv b) { return LLVMBuildAdd(f->t->k->b, a, b, ""); }
static sq_lv minus(const finder *f, sq_lv a, sq_lv b) { return LLVMBuildSub(f->t->k->b, a, b, ""); }
static sq_lv least(const finder *f, sq_lv a, sq_lv b) { return sq_k_min(f->t->k, a, b); }
static sq_lv most(const finder *f, sq_lv a, sq_lv b) { return sq_k_max(f->t->k, a, b); }
static bool take(const finder *f) { return *f->left && (*f->left)--; }
static const sq_scalar *scalar(const finder *f, uint32_t s) { return &f->t->g->s.v[s]; }
static bool has(const finder *f, uint32_t s, uint32_t axis) {
  return axis != SQ_NO_AXIS && (f->t->deps[s] >> axis & 1);
}
static bool is_index(sq_dtype d) { return d == SQ_I64 || d == SQ_I32; }

// ---- intervals over the rows -------------------------------------------------------------------
static sq_lv floor_div(const finder *f, sq_lv a, int64_t by) {
  return sq_k_ewise(f->t->k, SQ_EW_FLOORDIV, SQ_I64, a, num(f, by), false, false);
}
static span scaled(const finder *f, span a, int64_t c) {
  sq_lv x = LLVMBuildMul(f->t->k->b, a.lo, num(f, c), "");
  sq_lv y = LLVMBuildMul(f->t->k->b, a.hi, num(f, c), "");
  return c < 0 ? (span){a.ok, y, x} : (span){a.ok, x, y};
}
static span over_rows(const finder *f, uint32_t s, int depth);
static span of_function(const finder *f, const sq_scalar *x, int depth) {
  int64_t c;
  span a = over_rows(f, x->a[0], depth + 1);
  if (!a.ok) return a;
  if (x->ew == SQ_EW_NEG) return scaled(f, a, -1);
  if (sq_ewise_table[x->ew].arity != 2) return (span){0};
  bool number = sq_knest_const(f->t, x->a[1], &c) && c > -(1ll << 31) && c < 1ll << 31;
  if (number && x->ew == SQ_EW_MUL) return scaled(f, a, c);
  if (number && c > 0 && x->ew == SQ_EW_FLOORDIV)
    return (span){true, floor_div(f, a.lo, c), floor_div(f, a.hi, c)};
  if (number && c > 0 && x->ew == SQ_EW_MOD) return (span){true, num(f, 0), num(f, c - 1)};
  span b = over_rows(f, x->a[1], depth + 1);
  if (!b.ok) return b;
  switch ((int)x->ew) {
  case SQ_EW_ADD:
    return (span){true, plus(f, a.lo, b.lo), plus(f, a.hi, b.hi)};
  case SQ_EW_SUB:
    return (span){true, minus(f, a.lo, b.hi), minus(f, a.hi, b.lo)};
  case SQ_EW_MIN:
    return (span){true, least(f, a.lo, b.lo), least(f, a.hi, b.hi)};
  case SQ_EW_MAX:
    return (span){true, most(f, a.lo, b.lo), most(f, a.hi, b.hi)};
  default:
    return (span){0};
  }
}
static span over_rows(const finder *f, uint32_t s, int depth) {
  const sq_scalar *x = scalar(f, s);
  if (depth > 30 || !take(f) || !is_index(x->dtype)) return (span){0};
  if (!has(f, s, f->lane)) {
    sq_lv v = sq_k_cast(f->t->k, sq_knest_uniform(f->t, s), x->dtype, SQ_I64);
    return (span){true, v, v};
  }
  if (x->kind == SQ_SC_INDEX) return (span){true, f->first, f->last};
  if (x->kind == SQ_SC_CAST) return over_rows(f, x->a[0], depth + 1);
  return x->kind == SQ_SC_EWISE ? of_function(f, x, depth) : (span){0};
}

// ---- sides of a comparison ---------------------------------------------------------------------
static side split(const finder *f, uint32_t s, int depth);
static side sum_of(const finder *f, side a, side b, bool less) {
  side r = a.coef ? a : b;
  if (!a.ok || !b.ok || (a.coef && b.coef)) return (side){0};
  if (less && b.coef) r.coef = -r.coef;
  r.rest = less ? (span){true, minus(f, a.rest.lo, b.rest.hi), minus(f, a.rest.hi, b.rest.lo)}
                : (span){true, plus(f, a.rest.lo, b.rest.lo), plus(f, a.rest.hi, b.rest.hi)};
  return r;
}
static side divided(const finder *f, const sq_scalar *x, int depth) {
  int64_t c;
  side a = split(f, x->a[0], depth + 1);
  if (!a.ok || a.coef != 1 || a.by != 1 || a.rest.lo != a.rest.hi) return (side){0};
  if (!sq_knest_const(f->t, x->a[1], &c) || c < 1 || c > 1 << 30) return (side){0};
  return (side){true, 1, c, plus(f, a.off, a.rest.lo), {true, num(f, 0), num(f, 0)}};
}
static side split(const finder *f, uint32_t s, int depth) {
  const sq_scalar *x = scalar(f, s);
  side none = {true, 0, 1, num(f, 0), {true, num(f, 0), num(f, 0)}};
  if (depth > 30 || !take(f) || !is_index(x->dtype)) return (side){0};
  if (!has(f, s, f->key)) {
    none.rest = over_rows(f, s, depth + 1);
    none.ok = none.rest.ok;
    return none;
  }
  if (x->kind == SQ_SC_INDEX) return none.coef = 1, none;
  if (x->kind == SQ_SC_CAST) return split(f, x->a[0], depth + 1);
  if (x->kind != SQ_SC_EWISE) return (side){0};
  if (x->ew == SQ_EW_ADD || x->ew == SQ_EW_SUB)
    return sum_of(f, split(f, x->a[0], depth + 1), split(f, x->a[1], depth + 1),
                  x->ew == SQ_EW_SUB);
  return x->ew == SQ_EW_FLOORDIV ? divided(f, x, depth) : (side){0};
}

// ---- conditions --------------------------------------------------------------------------------
static sq_krange anything(const finder *f) {
  return (sq_krange){num(f, 0), f->keys, f->keys, num(f, 0)};
}
// a <= b + more
static sq_krange compare(const finder *f, uint32_t a, uint32_t b, int64_t more) {
  side d = sum_of(f, split(f, a, 0), split(f, b, 0), true); // d <= more
  if (!d.ok || (d.coef != 1 && d.coef != -1)) return anything(f);
  sq_lv lo = minus(f, num(f, more), d.rest.hi), hi = minus(f, num(f, more), d.rest.lo);
  sq_krange r = {num(f, 0), f->keys, num(f, 0), f->keys};
  sq_lv by = num(f, d.by);
  if (d.coef > 0) { // floor((key + off) / by) <= bound, bound in lo .. hi
    sq_lv one = num(f, 1);
    r.hi = minus(f, LLVMBuildMul(f->t->k->b, plus(f, hi, one), by, ""), d.off);
    r.sure_hi = minus(f, LLVMBuildMul(f->t->k->b, plus(f, lo, one), by, ""), d.off);
  } else { // floor((key + off) / by) >= -bound
    sq_lv from = LLVMBuildNeg(f->t->k->b, hi, ""), sure = LLVMBuildNeg(f->t->k->b, lo, "");
    r.lo = minus(f, LLVMBuildMul(f->t->k->b, from, by, ""), d.off);
    r.sure_lo = minus(f, LLVMBuildMul(f->t->k->b, sure, by, ""), d.off);
  }
  return r;
}
static sq_krange both(const finder *f, sq_krange a, sq_krange b) {
  return (sq_krange){most(f, a.lo, b.lo), least(f, a.hi, b.hi), most(f, a.sure_lo, b.sure_lo),
                     least(f, a.sure_hi, b.sure_hi)};
}
// Sure are two ranges that touch, otherwise the longer one.
static sq_krange either(const finder *f, sq_krange a, sq_krange b) {
  LLVMBuilderRef bl = f->t->k->b;
  sq_krange r = {least(f, a.lo, b.lo), most(f, a.hi, b.hi), NULL, NULL};
  sq_lv x = minus(f, a.sure_hi, a.sure_lo), y = minus(f, b.sure_hi, b.sure_lo);
  sq_lv longer = LLVMBuildICmp(bl, LLVMIntSGE, x, y, ""), zero = num(f, 0);
  sq_lv touch = LLVMBuildAnd(bl,
                             LLVMBuildICmp(bl, LLVMIntSLE, most(f, a.sure_lo, b.sure_lo),
                                           least(f, a.sure_hi, b.sure_hi), ""),
                             LLVMBuildAnd(bl, LLVMBuildICmp(bl, LLVMIntSGT, x, zero, ""),
                                          LLVMBuildICmp(bl, LLVMIntSGT, y, zero, ""), ""),
                             "");
  r.sure_lo = LLVMBuildSelect(bl, longer, a.sure_lo, b.sure_lo, "");
  r.sure_hi = LLVMBuildSelect(bl, longer, a.sure_hi, b.sure_hi, "");
  r.sure_lo = LLVMBuildSelect(bl, touch, least(f, a.sure_lo, b.sure_lo), r.sure_lo, "");
  r.sure_hi = LLVMBuildSelect(bl, touch, most(f, a.sure_hi, b.sure_hi), r.sure_hi, "");
  return r;
}
// The same for all keys and all rows.
static sq_krange fixed(const finder *f, uint32_t s) {
  sq_lv c = sq_knest_uniform(f->t, s);
  sq_lv hi = LLVMBuildSelect(f->t->k->b, c, f->keys, num(f, 0), "");
  return (sq_krange){num(f, 0), hi, num(f, 0), hi};
}
static sq_krange range_of(const finder *f, uint32_t s, int depth) {
  const sq_scalar *x = scalar(f, s);
  if (!has(f, s, f->key) && !has(f, s, f->lane)) return fixed(f, s);
  if (x->kind != SQ_SC_EWISE || depth > 20 || !take(f)) return anything(f);
  bool on_float = sq_is_float(scalar(f, x->a[0])->dtype);
  switch ((int)x->ew) {
  case SQ_EW_AND:
    return both(f, range_of(f, x->a[0], depth + 1), range_of(f, x->a[1], depth + 1));
  case SQ_EW_OR:
    return either(f, range_of(f, x->a[0], depth + 1), range_of(f, x->a[1], depth + 1));
  case SQ_EW_LE:
  case SQ_EW_LT:
    return on_float ? anything(f) : compare(f, x->a[0], x->a[1], x->ew == SQ_EW_LE ? 0 : -1);
  case SQ_EW_EQ:
    return on_float ? anything(f)
                    : both(f, compare(f, x->a[0], x->a[1], 0), compare(f, x->a[1], x->a[0], 0));
  case SQ_EW_NOT: {
    const sq_scalar *y = scalar(f, x->a[0]);
    if (y->kind != SQ_SC_EWISE || (y->ew != SQ_EW_LE && y->ew != SQ_EW_LT)) return anything(f);
    if (sq_is_float(scalar(f, y->a[0])->dtype)) return anything(f);
    return compare(f, y->a[1], y->a[0], y->ew == SQ_EW_LE ? -1 : 0);
  }
  default:
    return anything(f);
  }
}

static sq_lv clamp(const finder *f, sq_lv v, sq_lv lo, sq_lv hi) {
  return least(f, most(f, v, lo), hi);
}
sq_krange sq_kstream_range(sq_kmembers *m, sq_lv first, sq_lv last) {
  const sq_stream *p = &m->s->p;
  const sq_stream_member *of = p->max.n ? &p->max : &p->value;
  sq_knest *t = p->max.n ? &m->max : &m->value;
  uint32_t left = MOST_PLACES;
  finder f = {.left = &left, .t = t, .first = first, .last = last};
  f.key = sq_stream_axis(of, SQ_STREAM_KEY);
  f.lane = m->s->lane == SQ_NO_AXIS ? SQ_NO_AXIS : sq_stream_axis(of, m->s->lane);
  sq_lv zero = sq_k_int(m->k, 0);
  f.keys = sq_k_max(m->k, sq_knest_extent(t, f.key), zero);
  sq_krange r = {zero, f.keys, zero, f.keys};
  for (uint32_t c = 0; c < p->n_common; c++) r = both(&f, r, range_of(&f, t->g->domain.v[c], 0));
  r.hi = clamp(&f, r.hi, zero, f.keys);
  r.lo = clamp(&f, r.lo, zero, r.hi);
  r.sure_hi = clamp(&f, r.sure_hi, zero, f.keys);
  r.sure_lo = clamp(&f, r.sure_lo, zero, f.keys);
  return r;
}
