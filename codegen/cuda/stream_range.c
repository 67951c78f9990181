// Conditions on keys become ranges: the keys that some rows of a tile may see, and those that all see.
//
//   j <= i + c              rows first .. last     possible  [0, last + c]      sure  [0, first + c]
//   i - j < w                                      [first - w + 1, ...)         [last - w + 1, ...)
//   j // b == i // b                               the blocks of first .. last  that block, if it is one
//
// A condition is turned into  key <= bound  or  key >= bound  with the bound an interval over the rows;
// `and` intersects, `or` spans. What is not understood is possible everywhere and sure nowhere. All values
// are names or numbers of type sq_i64 in the kernel.
#include "codegen/cuda/stream.h"

typedef struct finder {
  sq_cu_attend *x;
  sq_cu_nest *t;
  sq_cu *k;
  const sq_stream_member *m;
  uint32_t key;                                       // axis of the nest
  const char *first[SQ_MAX_RANK], *last[SQ_MAX_RANK]; // of each of the tile's rows
  const char *keys;
  uint32_t *left; // places of conditions that may still be looked at: scalars share operands
} finder;
enum { MOST_PLACES = 1000 };
typedef struct span { // values over the rows; NULL: not known
  const char *lo, *hi;
} span;
// coef * floor((key + off) / by) + rest
typedef struct side {
  bool ok;
  int64_t coef, by;
  const char *off;
  span rest;
} side;
typedef struct range {
  const char *lo, *hi, *sure_lo, *sure_hi;
} range;

static const char *let(const finder *f, const char *expression) {
  const char *v = sq_cu_temp(f->k, "b");
  sq_cu_line(f->k, "const sq_i64 %s = %s;", v, expression);
  return v;
}
static const char *num(const finder *f, int64_t v) {
  return sq_arena_fmt(f->k->a, "((sq_i64)%lldll)", (long long)v);
}
static const char *op(const finder *f, const char *function, const char *a, const char *b) {
  return let(f, sq_arena_fmt(f->k->a, "sq_%s(%s, %s)", function, a, b));
}
static const char *plus(const finder *f, const char *a, const char *b) {
  return op(f, "add", a, b);
}
static const char *minus(const finder *f, const char *a, const char *b) {
  return op(f, "sub", a, b);
}
static const char *times(const finder *f, const char *a, int64_t b) {
  return b == 1 ? a : op(f, "mul", a, num(f, b));
}
static const char *least(const finder *f, const char *a, const char *b) {
  return op(f, "minimum", a, b);
}
static const char *most(const finder *f, const char *a, const char *b) {
  return op(f, "maximum", a, b);
}
static const char *pick(const finder *f, const char *c, const char *a, const char *b) {
  return let(f, sq_arena_fmt(f->k->a, "%s ? %s : %s", c, a, b));
}
static bool take(const finder *f) { return *f->left && (*f->left)--; }
static const sq_scalar *scalar(const finder *f, uint32_t s) { return &f->t->g->s.v[s]; }
static uint32_t axes(const finder *f, uint32_t s) {
  return sq_scalar_axis_set(f->k->g, f->t->g, s);
}
static bool has_key(const finder *f, uint32_t s) { return axes(f, s) >> f->key & 1; }
// Which of the tile's rows the axis is, or SQ_NO_AXIS.
static uint32_t row_of(const finder *f, uint32_t axis) {
  for (uint32_t i = 0; i < f->x->s->n_tile; i++)
    if (f->m->role[axis] == f->x->s->tile[i]) return i;
  return SQ_NO_AXIS;
}
static bool has_row(const finder *f, uint32_t s) {
  uint32_t set = axes(f, s);
  for (uint32_t a = 0; a < f->t->n_axes; a++)
    if (set >> a & 1 && a != f->key && row_of(f, a) != SQ_NO_AXIS) return true;
  return false;
}
static bool is_index(sq_dtype d) { return d == SQ_I64 || d == SQ_I32; }
static bool constant(const finder *f, uint32_t s, int64_t *c) {
  const sq_scalar *x = scalar(f, s);
  while (x->kind == SQ_SC_CAST && is_index(x->dtype)) x = scalar(f, x->a[0]);
  if (x->kind == SQ_SC_DIM) return sq_dim_is_const(f->k->g->dims, x->dim, c);
  *c = x->i;
  return x->kind == SQ_SC_INT;
}

// ---- intervals over the rows -------------------------------------------------------------------
static span scaled(const finder *f, span a, int64_t c) {
  const char *x = times(f, a.lo, c), *y = times(f, a.hi, c);
  return c < 0 ? (span){y, x} : (span){x, y};
}
static span over_rows(const finder *f, uint32_t s, int depth);
static span of_function(const finder *f, const sq_scalar *x, int depth) {
  int64_t c;
  if (sq_ewise_table[x->ew].arity > 2) return (span){0};
  span a = over_rows(f, x->a[0], depth + 1);
  if (!a.lo) return a;
  if (x->ew == SQ_EW_NEG) return scaled(f, a, -1);
  if (sq_ewise_table[x->ew].arity != 2) return (span){0};
  bool number = constant(f, x->a[1], &c) && c > -(1ll << 31) && c < 1ll << 31;
  if (number && x->ew == SQ_EW_MUL) return scaled(f, a, c);
  if (number && c > 0 && x->ew == SQ_EW_FLOORDIV)
    return (span){op(f, "floordiv", a.lo, num(f, c)), op(f, "floordiv", a.hi, num(f, c))};
  if (number && c > 0 && x->ew == SQ_EW_MOD) return (span){num(f, 0), num(f, c - 1)};
  span b = over_rows(f, x->a[1], depth + 1);
  if (!b.lo) return b;
  switch ((int)x->ew) {
  case SQ_EW_ADD:
    return (span){plus(f, a.lo, b.lo), plus(f, a.hi, b.hi)};
  case SQ_EW_SUB:
    return (span){minus(f, a.lo, b.hi), minus(f, a.hi, b.lo)};
  case SQ_EW_MIN:
    return (span){least(f, a.lo, b.lo), least(f, a.hi, b.hi)};
  case SQ_EW_MAX:
    return (span){most(f, a.lo, b.lo), most(f, a.hi, b.hi)};
  default:
    return (span){0};
  }
}
static span over_rows(const finder *f, uint32_t s, int depth) {
  const sq_scalar *x = scalar(f, s);
  if (depth > 30 || !take(f) || !is_index(x->dtype)) return (span){0};
  if (!has_row(f, s)) {
    const char *v = let(f, sq_arena_fmt(f->k->a, "(sq_i64)%s", sq_cu_nest_value(f->t, s)));
    return (span){v, v};
  }
  if (x->kind == SQ_SC_INDEX) {
    uint32_t i = row_of(f, x->axis);
    return (span){f->first[i], f->last[i]};
  }
  if (x->kind == SQ_SC_CAST) return over_rows(f, x->a[0], depth + 1);
  return x->kind == SQ_SC_EWISE ? of_function(f, x, depth) : (span){0};
}

// ---- sides of a comparison ---------------------------------------------------------------------
static side split(const finder *f, uint32_t s, int depth);
static side sum_of(const finder *f, side a, side b, bool less) {
  side r = a.coef ? a : b;
  if (!a.ok || !b.ok || (a.coef && b.coef)) return (side){0};
  if (less && b.coef) r.coef = -r.coef;
  r.rest = less ? (span){minus(f, a.rest.lo, b.rest.hi), minus(f, a.rest.hi, b.rest.lo)}
                : (span){plus(f, a.rest.lo, b.rest.lo), plus(f, a.rest.hi, b.rest.hi)};
  return r;
}
static side divided(const finder *f, const sq_scalar *x, int depth) {
  int64_t c;
  side a = split(f, x->a[0], depth + 1);
  if (!a.ok || a.coef != 1 || a.by != 1 || a.rest.lo != a.rest.hi) return (side){0};
  if (!constant(f, x->a[1], &c) || c < 1 || c > 1 << 30) return (side){0};
  return (side){true, 1, c, plus(f, a.off, a.rest.lo), {num(f, 0), num(f, 0)}};
}
static side split(const finder *f, uint32_t s, int depth) {
  const sq_scalar *x = scalar(f, s);
  const char *zero = num(f, 0);
  side none = {true, 0, 1, zero, {zero, zero}};
  if (depth > 30 || !take(f) || !is_index(x->dtype)) return (side){0};
  if (!has_key(f, s)) {
    none.rest = over_rows(f, s, depth + 1);
    none.ok = none.rest.lo != NULL;
    return none;
  }
  if (x->kind == SQ_SC_INDEX) return none.coef = 1, none;
  if (x->kind == SQ_SC_CAST) return split(f, x->a[0], depth + 1);
  if (x->kind != SQ_SC_EWISE) return (side){0};
  if (x->ew == SQ_EW_ADD || x->ew == SQ_EW_SUB) {
    side a = split(f, x->a[0], depth + 1), b = split(f, x->a[1], depth + 1);
    side r = sum_of(f, a, b, x->ew == SQ_EW_SUB);
    if (r.ok && a.rest.lo == a.rest.hi && b.rest.lo == b.rest.hi) r.rest.hi = r.rest.lo;
    return r;
  }
  return x->ew == SQ_EW_FLOORDIV ? divided(f, x, depth) : (side){0};
}

// ---- conditions --------------------------------------------------------------------------------
static range anything(const finder *f) { return (range){num(f, 0), f->keys, f->keys, num(f, 0)}; }
// a <= b + more
static range compare(const finder *f, uint32_t a, uint32_t b, int64_t more) {
  side d = sum_of(f, split(f, a, 0), split(f, b, 0), true); // d <= more
  if (!d.ok || (d.coef != 1 && d.coef != -1)) return anything(f);
  const char *lo = minus(f, num(f, more), d.rest.hi), *hi = minus(f, num(f, more), d.rest.lo);
  range r = {num(f, 0), f->keys, num(f, 0), f->keys};
  if (d.coef > 0) { // floor((key + off) / by) <= bound, bound in lo .. hi
    r.hi = minus(f, times(f, plus(f, hi, num(f, 1)), d.by), d.off);
    r.sure_hi = minus(f, times(f, plus(f, lo, num(f, 1)), d.by), d.off);
  } else { // floor((key + off) / by) >= -bound
    r.lo = minus(f, times(f, minus(f, num(f, 0), hi), d.by), d.off);
    r.sure_lo = minus(f, times(f, minus(f, num(f, 0), lo), d.by), d.off);
  }
  return r;
}
static range both(const finder *f, range a, range b) {
  return (range){most(f, a.lo, b.lo), least(f, a.hi, b.hi), most(f, a.sure_lo, b.sure_lo),
                 least(f, a.sure_hi, b.sure_hi)};
}
// Sure are two ranges that touch, otherwise the longer one.
static range either(const finder *f, range a, range b) {
  range r = {least(f, a.lo, b.lo), most(f, a.hi, b.hi), NULL, NULL};
  const char *x = minus(f, a.sure_hi, a.sure_lo), *y = minus(f, b.sure_hi, b.sure_lo);
  const char *from = most(f, a.sure_lo, b.sure_lo), *to = least(f, a.sure_hi, b.sure_hi);
  const char *longer = sq_arena_fmt(f->k->a, "%s >= %s", x, y);
  const char *touch = sq_arena_fmt(f->k->a, "%s <= %s && %s > 0 && %s > 0", from, to, x, y);
  r.sure_lo = pick(f, longer, a.sure_lo, b.sure_lo);
  r.sure_hi = pick(f, longer, a.sure_hi, b.sure_hi);
  r.sure_lo = pick(f, touch, least(f, a.sure_lo, b.sure_lo), r.sure_lo);
  r.sure_hi = pick(f, touch, most(f, a.sure_hi, b.sure_hi), r.sure_hi);
  return r;
}
// The same for all keys and all rows.
static range fixed(const finder *f, uint32_t s) {
  const char *hi = pick(f, sq_cu_nest_value(f->t, s), f->keys, "0");
  return (range){num(f, 0), hi, num(f, 0), hi};
}
static range range_of(const finder *f, uint32_t s, int depth) {
  const sq_scalar *x = scalar(f, s);
  if (!has_key(f, s) && !has_row(f, s)) return fixed(f, s);
  if (x->kind != SQ_SC_EWISE || depth > 20 || !take(f)) return anything(f);
  bool on_float = sq_is_float(scalar(f, x->a[0])->dtype);
  switch ((int)x->ew) {
  case SQ_EW_AND: {
    range a = range_of(f, x->a[0], depth + 1);
    return both(f, a, range_of(f, x->a[1], depth + 1));
  }
  case SQ_EW_OR: {
    range a = range_of(f, x->a[0], depth + 1);
    return either(f, a, range_of(f, x->a[1], depth + 1));
  }
  case SQ_EW_LE:
  case SQ_EW_LT:
    return on_float ? anything(f) : compare(f, x->a[0], x->a[1], x->ew == SQ_EW_LE ? 0 : -1);
  case SQ_EW_EQ: {
    if (on_float) return anything(f);
    range a = compare(f, x->a[0], x->a[1], 0);
    return both(f, a, compare(f, x->a[1], x->a[0], 0));
  }
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

// The indices that each of the tile's rows takes from row0 to last: all of them, but for the first.
static void find_rows(finder *f) {
  const sq_cu_stream *s = f->x->s;
  const char *inner = "1";
  for (uint32_t i = s->n_tile; i-- > 0;) {
    uint32_t r = s->tile[i];
    bool shared = s->share && i + 1 == s->n_tile;
    const char *n = shared ? num(f, s->share) : sq_cu_dim(f->k, s->p.row[r]);
    const char *from = shared ? sq_arena_fmt(f->k->a, "y%u + ", r) : "";
    bool outer = i == 0;
    f->first[i] = let(f, outer ? sq_arena_fmt(f->k->a, "%srow0 / %s", from, inner)
                               : sq_arena_fmt(f->k->a, "%s0", from));
    f->last[i] = let(f, outer ? sq_arena_fmt(f->k->a, "%slast / %s", from, inner)
                              : sq_arena_fmt(f->k->a, "%s%s - 1", from, n));
    inner = let(f, sq_arena_fmt(f->k->a, "%s * %s", inner, n));
  }
}
void sq_cu_stream_range(sq_cu_attend *x) {
  const sq_stream *p = &x->s->p;
  uint32_t left = MOST_PLACES;
  finder f = {.left = &left, .x = x, .k = x->k, .m = p->max.n ? &p->max : &p->value};
  f.t = p->max.n ? &x->max : &x->value;
  f.key = sq_stream_axis(f.m, SQ_STREAM_KEY);
  const char *zero = num(&f, 0);
  f.keys = let(&f, sq_cu_dim(x->k, p->keys));
  f.keys = most(&f, f.keys, zero);
  find_rows(&f);
  range r = {zero, f.keys, zero, f.keys};
  for (uint32_t c = 0; c < p->n_common; c++) r = both(&f, r, range_of(&f, f.t->g->domain.v[c], 0));
  r.hi = most(&f, least(&f, r.hi, f.keys), zero);
  r.lo = least(&f, most(&f, r.lo, zero), r.hi);
  sq_cu_line(x->k, "sq_i64 lo = %s, hi = %s;", r.lo, r.hi);
  sq_cu_line(x->k, "const sq_i64 sure_lo = %s, sure_hi = %s;", r.sure_lo, r.sure_hi);
}
