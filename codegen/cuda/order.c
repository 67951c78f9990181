// Operations along one axis (cumulate, sort, argsort, topk) and random numbers.
//
// A tensor is outer x length x inner around the axis. Cumulation: a thread a column. Sorting: a thread
// an element, which counts how many come before it and so knows its place; stable, any order of the
// threads, length^2 comparisons a column.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/cuda.h"

enum { THREADS = 128 };

typedef struct columns {
  LLVMValueRef count, length; // columns, elements of one; in the entry
  const char *inner, *len;
} columns;
static sq_dim product(sq_cu *k, const sq_type *t, uint32_t from, uint32_t to) {
  sq_dim d = sq_dim_const(k->g->dims, 1);
  for (uint32_t i = from; i < to; i++)
    d = sq_dim_mul(k->g->dims, d, sq_dim_storage(k->g->dims, t->dim[i]));
  return d;
}
static columns columns_of(sq_cu *k, const sq_type *t, uint32_t axis) {
  sq_dim outer = product(k, t, 0, axis), inner = product(k, t, axis + 1, t->rank);
  sq_dims *ds = k->g->dims;
  columns c = {.inner = sq_cu_dim(k, inner), .len = sq_cu_dim(k, t->dim[axis])};
  c.count = sq_cg_dim(k->cg, sq_dim_mul(ds, outer, inner));
  c.length = sq_cg_dim(k->cg, t->dim[axis]);
  return c;
}
static void open_units(sq_cu *k, LLVMValueRef units) {
  sq_cu_open(k,
             "for (sq_i64 t = SQ_BLOCK * SQ_THREADS + SQ_TID; t < %s; t += SQ_GRID * SQ_THREADS) {",
             sq_cu_number(k, units));
}
// First element of column `column` in a tensor whose axis has room for `length`.
static const char *base(sq_cu *k, const columns *c, const char *column, const char *length) {
  return sq_arena_fmt(k->a, "%s / %s * %s * %s + %s %% %s", column, c->inner, length, c->inner,
                      column, c->inner);
}
static const char *room(sq_cu *k, const sq_type *t, uint32_t axis) {
  return sq_cu_dim(k, sq_dim_storage(k->g->dims, t->dim[axis]));
}

void sq_cuda_cumulate(sq_cg *cg, sq_node *n) {
  sq_cu kern, *k = &kern;
  const sq_type *t = &n->in[0]->type;
  sq_cu_begin(k, cg, "cumulate", n->out[0], THREADS);
  columns c = columns_of(k, t, n->axis);
  const char *x = sq_cu_pointer(k, n->in[0]), *y = sq_cu_pointer(k, n->out[0]);
  open_units(k, c.count);
  sq_cu_line(k, "const sq_i64 base = %s;", base(k, &c, "t", room(k, t, n->axis)));
  sq_cu_line(k, "sq_acc_%s<%s> acc;", sq_monoid_names[n->monoid], sq_cu_type(t->dtype));
  sq_cu_line(k, "acc.begin();");
  sq_cu_open(k, "for (sq_i64 i = 0; i < %s; i++) {", c.len);
  sq_cu_line(k, "acc.step(SQ_LD(%s, base + i * %s), i);", x, c.inner);
  sq_cu_line(k, "SQ_ST(%s, base + i * %s, acc.result());", y, c.inner);
  sq_cu_close(k);
  sq_cu_close(k);
  sq_cu_launch(k, c.count, THREADS, 0);
}

void sq_cuda_sort(sq_cg *cg, sq_node *n) {
  sq_cu kern, *k = &kern;
  const sq_type *t = &n->in[0]->type;
  const char *type = sq_cu_type(t->dtype);
  sq_cu_begin(k, cg, sq_op_table[n->op].name, n->out[0], THREADS);
  columns c = columns_of(k, t, n->axis);
  const char *x = sq_cu_pointer(k, n->in[0]), *y = sq_cu_pointer(k, n->out[0]);
  LLVMValueRef units = sq_cu_mul(k, c.count, c.length);
  open_units(k, units);
  sq_cu_line(k, "const sq_i64 column = t / %s, i = t %% %s;", c.len, c.len);
  sq_cu_line(k, "const sq_i64 base = %s;", base(k, &c, "column", room(k, t, n->axis)));
  sq_cu_line(k, "const %s v = SQ_LD(%s, base + i * %s);", type, x, c.inner);
  sq_cu_line(k, "sq_i64 rank = 0;");
  sq_cu_open(k, "for (sq_i64 j = 0; j < %s; j++) {", c.len);
  sq_cu_line(k, "const %s w = SQ_LD(%s, base + j * %s);", type, x, c.inner);
  sq_cu_line(k, "rank += sq_below(w, v) || (j < i && !sq_below(v, w));");
  sq_cu_close(k);
  sq_cu_line(k, "SQ_ST(%s, base + rank * %s, %s);", y, c.inner,
             n->op == SQ_OP_ARGSORT ? "(sq_i32)i" : "v");
  sq_cu_close(k);
  sq_cu_launch(k, units, THREADS, 0);
}

// Threads behind those of the elements fill places for which there are too few.
void sq_cuda_topk(sq_cg *cg, sq_node *n) {
  sq_cu kern, *k = &kern;
  const sq_type *t = &n->in[0]->type;
  const char *type = sq_cu_type(t->dtype);
  sq_cu_begin(k, cg, "topk", n->out[0], THREADS);
  columns c = columns_of(k, t, n->axis);
  const char *x = sq_cu_pointer(k, n->in[0]);
  const char *valid = n->n_in > 1 ? sq_cu_pointer(k, n->in[1]) : NULL;
  const char *values = sq_cu_pointer(k, n->out[0]), *at = sq_cu_pointer(k, n->out[1]);
  const char *want = sq_cu_dim(k, n->extent), *places = room(k, &n->out[0]->type, n->axis);
  LLVMValueRef each = LLVMBuildAdd(cg->builder, c.length, sq_cg_dim(cg, n->extent), "");
  LLVMValueRef units = sq_cu_mul(k, c.count, each);
  const char *per = sq_cu_number(k, each);
  open_units(k, units);
  sq_cu_line(k, "const sq_i64 column = t / %s, i = t %% %s;", per, per);
  sq_cu_line(k, "const sq_i64 base = %s;", base(k, &c, "column", room(k, t, n->axis)));
  sq_cu_line(k, "const sq_i64 to = %s;", base(k, &c, "column", places));
  const char *ok = valid ? sq_arena_fmt(k->a, "SQ_LD(%s, base + j * %s)", valid, c.inner) : "true";
  sq_cu_line(k, "sq_i64 rank = 0;");
  sq_cu_open(k, "if (i < %s) {", c.len);
  sq_cu_line(k, "const sq_i64 j = i;");
  sq_cu_line(k, "if (!%s) continue;", ok);
  sq_cu_close(k);
  sq_cu_line(k, "const %s v = i < %s ? SQ_LD(%s, base + i * %s) : sq_lowest((%s)0);", type, c.len,
             x, c.inner, type);
  sq_cu_open(k, "for (sq_i64 j = 0; j < %s; j++) {", c.len);
  sq_cu_line(k, "if (!%s) continue;", ok);
  sq_cu_line(k, "const %s w = SQ_LD(%s, base + j * %s);", type, x, c.inner);
  sq_cu_line(k, "rank += i >= %s || sq_below(v, w) || (j < i && !sq_below(w, v));", c.len);
  sq_cu_close(k);
  sq_cu_line(k, "const bool fills = i >= %s;", c.len);
  sq_cu_line(k, "const sq_i64 place = fills ? i - %s : rank;", c.len);
  sq_cu_line(k, "if (place >= %s || (fills && place < rank)) continue;", want);
  sq_cu_line(k, "SQ_ST(%s, to + place * %s, v);", values, c.inner);
  sq_cu_line(k, "SQ_ST(%s, to + place * %s, fills ? (sq_i32)-1 : (sq_i32)i);", at, c.inner);
  sq_cu_close(k);
  sq_cu_launch(k, units, THREADS, 0);
}

sq_dim sq_cu_elements(sq_cu *k, const sq_type *t) {
  sq_dim n = sq_dim_const(k->g->dims, 1);
  for (uint32_t i = 0; i < t->rank; i++) n = sq_dim_mul(k->g->dims, n, t->dim[i]);
  return n;
}
const char *sq_cu_where_numbered(sq_cu *k, const sq_type *t, const char *number) {
  const char *place = "0", *rest = number;
  for (uint32_t i = t->rank; i-- > 0;) {
    const char *live = sq_cu_dim(k, t->dim[i]);
    const char *index = i ? sq_arena_fmt(k->a, "%s %% %s", rest, live) : rest;
    place = sq_arena_fmt(k->a, "%s + (%s) * %s", place, index,
                         sq_cu_dim(k, product(k, t, i + 1, t->rank)));
    rest = sq_arena_fmt(k->a, "%s / %s", rest, live);
  }
  return place;
}
void sq_cuda_random(sq_cg *cg, sq_node *n) {
  sq_cu kern, *k = &kern;
  const sq_type *t = &n->out[0]->type;
  sq_cu_begin(k, cg, n->flag ? "normal" : "uniform", n->out[0], THREADS);
  const char *key = sq_cu_pointer(k, n->in[0]), *y = sq_cu_pointer(k, n->out[0]);
  LLVMValueRef count = sq_cg_dim(cg, sq_cu_elements(k, t));
  int bits = t->dtype == SQ_F64 ? 53 : t->dtype == SQ_F16 ? 11 : t->dtype == SQ_BF16 ? 8 : 24;
  const char *wide = t->dtype == SQ_F64 ? "true" : "false", *type = sq_cu_type(t->dtype);
  open_units(k, count);
  const char *place = sq_cu_where_numbered(k, t, "t");
  if (n->flag)
    sq_cu_line(k, "SQ_ST(%s, %s, (%s)sq_random_normal(SQ_LD(%s, 0), t, %s));", y, place, type, key,
               wide);
  else
    sq_cu_line(k, "SQ_ST(%s, %s, (%s)sq_random_uniform(SQ_LD(%s, 0), t, %d));", y, place, type, key,
               bits);
  sq_cu_close(k);
  sq_cu_launch(k, count, THREADS, 0);
}
