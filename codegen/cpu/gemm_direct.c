// Contractions of few rows: bound by reading B once, so nothing is packed.
//
//   B runs along k   dot products: rows x columns sums in vectors along k, added up at the end
//   B runs along n   multiples of rows of B, four at a time, added to sums in the first-level cache
//
// Four rows of A at a time while there are four, then one by one; sums of a stretch of columns are
// finished together.
#include "codegen/cpu/gemm.h"

enum { ROWS = 4, DOT_COLUMNS = 64, LINE_COLUMNS = 512, LINES = 4 };

int64_t sq_gemm_direct_rows(sq_knest *t, const sq_gemm *x) {
  if (sq_gemm_along_k(t, x, x->b, &x->n)) {
    return sq_gemm_along_k(t, x, x->a, &x->m) ? 8 : 1;
  }
  return 8;
}
typedef struct direct {
  sq_knest t;
  const sq_gemm *x;
  sq_kplace to;
  sq_lv buffer;
  int64_t stride; // columns of the buffer
  bool along_k;
} direct;
static void open_all(sq_knest *t, const sq_gemm_axes *x, const sq_lv *index) {
  for (uint32_t i = 0; i < x->n; i++) sq_knest_open(t, x->axis[i], index[i]);
}
static void indices(sq_knest *t, const sq_gemm_axes *x, sq_lv flat, sq_lv *index) {
  sq_gemm_open(t, x, flat);
  for (uint32_t i = 0; i < x->n; i++) index[i] = t->idx[x->axis[i]];
  sq_gemm_close(t, x);
}
static sq_lv add(sq_kern *k, sq_lv a, int64_t b) {
  return LLVMBuildAdd(k->b, a, sq_k_int(k, b), "");
}
static sq_lv mask_below(sq_kern *k, uint32_t w, sq_lv first, sq_lv end) {
  sq_lv left = sq_k_min(k, LLVMBuildSub(k->b, end, first, ""), sq_k_int(k, w));
  left = sq_k_splat(k, LLVMBuildTrunc(k->b, left, k->i32, ""), w);
  return LLVMBuildICmp(k->b, LLVMIntSLT, sq_k_lane_index(k, w, k->i32), left, "");
}
static sq_lv lanes_of(sq_knest *t, uint32_t s) {
  sq_lv v = sq_knest_lanes(t, s);
  return t->mask ? LLVMBuildSelect(t->k->b, t->mask, v, LLVMConstNull(LLVMTypeOf(v)), "") : v;
}

// ---- dot products ------------------------------------------------------------------------------
typedef struct dots {
  sq_lv row[ROWS][SQ_K_AXES], column[8][SQ_K_AXES];
  uint32_t rows, columns, sets;
} dots;
// The lanes of v added up, by a function shared by the module: a dozen of these inline would be
// more code than the rest of the kernel.
static sq_lv total(sq_kern *k, const sq_gemm *x, sq_lv v) {
  LLVMTypeRef vec = LLVMTypeOf(v), elem = sq_k_type(k, x->type);
  const char *name = sq_arena_fmt(k->a, "sq.total.f%ux%u", 8 * x->bytes, x->w);
  LLVMTypeRef type = LLVMFunctionType(elem, &vec, 1, 0);
  sq_kern f;
  sq_lv fn = sq_kern_shared(k, name, type, &f);
  if (f.fn) {
    sq_kacc sum = {.m = SQ_SUM, .elem = x->type, .result = x->type, .parts = 1};
    sq_lv part = LLVMGetParam(fn, 0);
    sq_kacc_across(&f, &sum, &part);
    LLVMBuildRet(f.b, part);
    sq_kern_shared_end(&f);
  }
  return LLVMBuildCall2(k->b, type, fn, &v, 1, "");
}
// acc[set][row][column] += a * b at the open place in k, `sets` vectors from there on.
static void dot_step(direct *d, const dots *s, uint32_t sets, sq_lv *acc) {
  sq_knest *t = &d->t;
  sq_kern *k = t->k;
  const sq_gemm *x = d->x;
  sq_lv base = t->idx[t->va];
  for (uint32_t set = 0; set < sets; set++) {
    sq_lv a[ROWS];
    t->idx[t->va] = add(k, base, (int64_t)set * x->w);
    uint32_t scope = sq_knest_enter(t);
    for (uint32_t r = 0; r < s->rows; r++) {
      uint32_t mark = sq_knest_enter(t);
      open_all(t, &x->m, s->row[r]);
      a[r] = lanes_of(t, x->a);
      sq_knest_leave(t, mark);
    }
    for (uint32_t c = 0; c < s->columns; c++) {
      uint32_t mark = sq_knest_enter(t);
      open_all(t, &x->n, s->column[c]);
      sq_lv b = lanes_of(t, x->b);
      sq_knest_leave(t, mark);
      for (uint32_t r = 0; r < s->rows; r++) {
        sq_lv *sum = &acc[(set * s->rows + r) * s->columns + c];
        *sum = sq_k_fma(k, a[r], b, *sum);
      }
    }
    sq_knest_leave(t, scope);
  }
  t->idx[t->va] = base;
}
static void dot_depth(direct *d, const dots *s, uint32_t level, sq_lv *acc) {
  sq_knest *t = &d->t;
  sq_kern *k = t->k;
  const sq_gemm *x = d->x;
  uint32_t axis = x->k.axis[level], n = s->sets * s->rows * s->columns, one = s->rows * s->columns;
  sq_lv extent = sq_knest_extent(t, axis);
  sq_kloop l;
  if (level + 1 < x->k.n) {
    sq_kloop_begin(k, &l, sq_k_int(k, 0), extent, 1, n, acc);
    uint32_t mark = sq_knest_enter(t);
    sq_knest_open(t, axis, l.i);
    memcpy(acc, l.phi, n * sizeof *acc);
    dot_depth(d, s, level + 1, acc);
    sq_knest_leave(t, mark);
    sq_kloop_end(k, &l, acc);
    memcpy(acc, l.phi, n * sizeof *acc);
    return;
  }
  int64_t e, block = (int64_t)s->sets * x->w;
  bool exact = sq_dim_is_const(k->g->dims, t->g->axis[axis].extent, &e) && e % block == 0;
  t->va = axis;
  t->w = x->w;
  t->aligned = true;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), exact ? extent : add(k, extent, 1 - block), block, n, acc);
  uint32_t mark = sq_knest_enter(t);
  sq_knest_open(t, axis, l.i);
  memcpy(acc, l.phi, n * sizeof *acc);
  dot_step(d, s, s->sets, acc);
  sq_knest_leave(t, mark);
  sq_kloop_end(k, &l, acc);
  memcpy(acc, l.phi, n * sizeof *acc);
  if (!exact) {
    sq_lv from = l.i;
    sq_kloop_begin(k, &l, from, extent, x->w, one, acc);
    mark = sq_knest_enter(t);
    sq_knest_open(t, axis, l.i);
    memcpy(acc, l.phi, one * sizeof *acc);
    t->mask = mask_below(k, x->w, l.i, extent);
    t->tail = true;
    dot_step(d, s, 1, acc);
    t->mask = NULL;
    t->tail = false;
    sq_knest_leave(t, mark);
    sq_kloop_end(k, &l, acc);
    memcpy(acc, l.phi, one * sizeof *acc);
  }
  t->va = SQ_K_NO_AXIS;
  t->w = 1;
}
static void dot_columns(direct *d, uint32_t rows, sq_lv m0, sq_lv n0, sq_lv n_end) {
  sq_knest *t = &d->t;
  sq_kern *k = t->k;
  const sq_gemm *x = d->x;
  bool many = k->cg->target->machine.vector_registers >= 32;
  dots s = {.rows = rows, .columns = rows > 1 ? (many ? 4 : 3) : 4, .sets = rows > 1 ? 1 : 2};
  for (uint32_t r = 0; r < rows; r++) indices(t, &x->m, add(k, m0, r), s.row[r]);
  sq_kloop l;
  sq_kloop_begin(k, &l, n0, n_end, s.columns, 0, NULL);
  uint32_t mark = sq_knest_enter(t);
  sq_lv last = add(k, n_end, -1), acc[SQ_K_CARRIED];
  for (uint32_t c = 0; c < s.columns; c++)
    indices(t, &x->n, sq_k_min(k, add(k, l.i, c), last), s.column[c]);
  uint32_t n = s.sets * rows * s.columns, one = rows * s.columns;
  LLVMTypeRef vec = sq_k_vec(sq_k_type(k, x->type), x->w);
  for (uint32_t i = 0; i < n; i++) acc[i] = LLVMConstNull(vec);
  dot_depth(d, &s, 0, acc);
  for (uint32_t i = 0; i < one; i++) {
    if (s.sets == 2) acc[i] = sq_k_fadd(k, acc[i], acc[i + one]);
    acc[i] = total(k, x, acc[i]);
  }
  sq_lv at = LLVMBuildSub(k->b, l.i, n0, "");
  // The buffer has room for columns beyond the end.
  for (uint32_t r = 0; r < rows; r++)
    for (uint32_t c = 0; c < s.columns; c++) {
      sq_lv to = add(k, at, (int64_t)r * d->stride + c);
      sq_gemm_store(k, x, sq_gemm_at(k, x, d->buffer, to), acc[r * s.columns + c]);
    }
  sq_knest_leave(t, mark);
  sq_kloop_end(k, &l, NULL);
}

// ---- multiples of rows of B --------------------------------------------------------------------
typedef struct lines {
  uint32_t rows;
  sq_lv row[ROWS][SQ_K_AXES];
  sq_lv n0, n_end;
} lines;
// sums[row][n ..] += a[row][line] * b[line][n ..] for the lines of k from the open place on.
static void line_vector(direct *d, const lines *s, uint32_t n_lines, sq_lv a[ROWS][LINES], sq_lv n,
                        bool tail) {
  sq_knest *t = &d->t;
  sq_kern *k = t->k;
  const sq_gemm *x = d->x;
  uint32_t axis = x->k.axis[x->k.n - 1], mark = sq_knest_enter(t);
  sq_lv base = t->idx[axis], b[LINES];
  t->va = x->n.axis[x->n.n - 1];
  t->w = x->w;
  t->aligned = true;
  t->mask = tail ? mask_below(k, x->w, n, s->n_end) : NULL;
  sq_gemm_open(t, &x->n, n);
  for (uint32_t i = 0; i < n_lines; i++) {
    uint32_t scope = sq_knest_enter(t);
    t->idx[axis] = add(k, base, i);
    b[i] = lanes_of(t, x->b);
    sq_knest_leave(t, scope);
  }
  t->idx[axis] = base;
  sq_knest_leave(t, mark);
  sq_gemm_close(t, &x->n);
  t->mask = NULL;
  t->va = SQ_K_NO_AXIS;
  t->w = 1;
  sq_lv at = LLVMBuildSub(k->b, n, s->n0, "");
  for (uint32_t r = 0; r < s->rows; r++) {
    sq_lv to = sq_gemm_at(k, x, d->buffer, add(k, at, (int64_t)r * d->stride));
    sq_lv v = sq_gemm_load(k, x, to, x->w);
    for (uint32_t i = 0; i < n_lines; i++) v = sq_k_fma(k, sq_k_splat(k, a[r][i], x->w), b[i], v);
    sq_gemm_store(k, x, to, v);
  }
}
static void line_block(direct *d, const lines *s, uint32_t n_lines) {
  sq_knest *t = &d->t;
  sq_kern *k = t->k;
  const sq_gemm *x = d->x;
  uint32_t axis = x->k.axis[x->k.n - 1];
  sq_lv base = t->idx[axis], a[ROWS][LINES];
  for (uint32_t r = 0; r < s->rows; r++)
    for (uint32_t i = 0; i < n_lines; i++) {
      uint32_t mark = sq_knest_enter(t);
      open_all(t, &x->m, s->row[r]);
      t->idx[axis] = add(k, base, i);
      a[r][i] = sq_knest_uniform(t, x->a);
      sq_knest_leave(t, mark);
    }
  t->idx[axis] = base;
  sq_kloop l;
  sq_kloop_begin(k, &l, s->n0, add(k, s->n_end, 1 - (int64_t)x->w), x->w, 0, NULL);
  line_vector(d, s, n_lines, a, l.i, false);
  sq_kloop_end(k, &l, NULL);
  sq_kif f;
  sq_kif_begin(k, &f, LLVMBuildICmp(k->b, LLVMIntSLT, l.i, s->n_end, ""));
  line_vector(d, s, n_lines, a, l.i, true);
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
}
static void line_depth(direct *d, const lines *s, uint32_t level) {
  sq_knest *t = &d->t;
  sq_kern *k = t->k;
  const sq_gemm *x = d->x;
  uint32_t axis = x->k.axis[level];
  sq_lv extent = sq_knest_extent(t, axis);
  bool last = level + 1 == x->k.n;
  sq_kloop l;
  sq_lv end = last ? add(k, extent, 1 - LINES) : extent;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), end, last ? LINES : 1, 0, NULL);
  uint32_t mark = sq_knest_enter(t);
  sq_knest_open(t, axis, l.i);
  if (last)
    line_block(d, s, LINES);
  else
    line_depth(d, s, level + 1);
  sq_knest_leave(t, mark);
  sq_kloop_end(k, &l, NULL);
  if (last) {
    sq_lv from = l.i;
    sq_kloop_begin(k, &l, from, extent, 1, 0, NULL);
    mark = sq_knest_enter(t);
    sq_knest_open(t, axis, l.i);
    line_block(d, s, 1);
    sq_knest_leave(t, mark);
    sq_kloop_end(k, &l, NULL);
  }
  t->open &= ~(1u << axis);
}
static void line_columns(direct *d, uint32_t rows, sq_lv m0, sq_lv n0, sq_lv n_end) {
  sq_knest *t = &d->t;
  sq_kern *k = t->k;
  const sq_gemm *x = d->x;
  lines s = {.rows = rows, .n0 = n0, .n_end = n_end};
  for (uint32_t r = 0; r < rows; r++) indices(t, &x->m, add(k, m0, r), s.row[r]);
  LLVMTypeRef vec = sq_k_vec(sq_k_type(k, x->type), x->w);
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_k_int(k, (int64_t)rows * d->stride), x->w, 0, NULL);
  sq_gemm_store(k, x, sq_gemm_at(k, x, d->buffer, l.i), LLVMConstNull(vec));
  sq_kloop_end(k, &l, NULL);
  line_depth(d, &s, 0);
}

// ---- the kernel --------------------------------------------------------------------------------
static void some_rows(direct *d, uint32_t rows, sq_lv m0, sq_lv n0, sq_lv n_end) {
  uint32_t mark = sq_knest_enter(&d->t);
  if (d->along_k)
    dot_columns(d, rows, m0, n0, n_end);
  else
    line_columns(d, rows, m0, n0, n_end);
  sq_knest_leave(&d->t, mark);
  sq_gemm_close(&d->t, &d->x->m);
  sq_gemm_close(&d->t, &d->x->n);
  sq_gemm_close(&d->t, &d->x->k);
}
// Stretches of a product, in the entry.
typedef struct cut {
  sq_lv columns, width, have, from; // of a stretch; how many, and the number of the first one
} cut;
static void begin(direct *d, sq_kern *k, const sq_gemm *x, cut *s) {
  LLVMBuilderRef eb = k->cg->builder;
  *d = (direct){.x = x};
  sq_knest_begin(&d->t, k, (sq_node *)(uintptr_t)x->node, NULL);
  d->to = sq_kplace_of(k, NULL, x->node->out[0]);
  d->along_k = sq_gemm_along_k(&d->t, x, x->b, &x->n);
  int64_t stretch = d->along_k ? DOT_COLUMNS : LINE_COLUMNS;
  d->stride = stretch + x->w;
  s->columns = sq_gemm_entry_size(k->cg, &x->n);
  s->width = sq_k_int(k, stretch);
  if (!d->along_k) {
    // Few columns: stretches short enough for some tasks, long enough for whole cache lines.
    sq_lv part = LLVMBuildLShr(eb, s->columns, sq_k_int(k, 3), "");
    part = LLVMBuildAnd(eb, part, sq_k_int(k, -64), "");
    LLVMBuilderRef inside = k->b;
    k->b = eb;
    s->width = sq_k_max(k, sq_k_min(k, part, s->width), sq_k_int(k, 64));
    k->b = inside;
  }
  s->have = sq_k_ceil_div(k, eb, s->columns, s->width);
}
// All rows times a stretch of columns.
static void stretch(direct *d, sq_lv n0, sq_lv n_end) {
  sq_kern *k = d->t.k;
  const sq_gemm *x = d->x;
  int64_t known;
  bool one = sq_dim_is_const(k->g->dims, x->m.size, &known) && known < ROWS;
  sq_lv m = sq_gemm_size(k, &x->m), from = sq_k_int(k, 0);
  sq_kloop l;
  sq_kwhile_begin(k, &l, 1, &from);
  sq_lv m0 = l.phi[0], many = LLVMConstInt(k->i1, 0, 0);
  sq_kwhile_test(k, &l, LLVMBuildICmp(k->b, LLVMIntSLT, m0, m, ""));
  if (!one) {
    sq_kif f;
    many = LLVMBuildICmp(k->b, LLVMIntSLE, add(k, m0, ROWS), m, "");
    sq_kif_begin(k, &f, many);
    some_rows(d, ROWS, m0, n0, n_end);
    sq_kif_else(k, &f);
    some_rows(d, 1, m0, n0, n_end);
    sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  } else {
    some_rows(d, 1, m0, n0, n_end);
  }
  sq_lv rows = LLVMBuildSelect(k->b, many, sq_k_int(k, ROWS), sq_k_int(k, 1), "");
  d->t.tail = true;
  sq_gemm_finish(&d->t, x, &d->to, d->buffer, d->stride, m0, rows, n0,
                 LLVMBuildSub(k->b, n_end, n0, ""));
  sq_lv next = LLVMBuildAdd(k->b, m0, rows, "");
  sq_kwhile_end(k, &l, &next);
}
void sq_gemm_direct(sq_cg *cg, const sq_gemm_sibling *s, uint32_t n) {
  sq_kern kern, *k = &kern;
  sq_kern_begin(k, cg, "few");
  const sq_gemm *x = &s->x; // batch, rows and sum are those of all
  direct *d = SQ_ARRAY(k->a, direct, n);
  cut *c = SQ_ARRAY(k->a, cut, n);
  sq_lv *have = SQ_ARRAY(k->a, sq_lv, n), *from = SQ_ARRAY(k->a, sq_lv, n);
  LLVMBuilderRef eb = cg->builder;
  sq_lv columns = sq_k_int(k, 0);
  int64_t room = 0;
  for (uint32_t i = 0; i < n; i++) {
    begin(&d[i], k, &s[i].x, &c[i]);
    have[i] = c[i].have;
    columns = LLVMBuildAdd(eb, columns, LLVMBuildMul(eb, c[i].have, c[i].width, ""), "");
    if (d[i].stride > room) room = d[i].stride;
  }
  sq_lv buffer = sq_k_alloca(k, sq_k_type(k, x->type), (uint32_t)(ROWS * room));
  sq_lv all = sq_gemm_sibling_numbers(cg, s, n, have, from);
  sq_lv width = n == 1 ? c->width : sq_k_ceil_div(k, eb, columns, all);
  sq_lv units = LLVMBuildMul(eb, sq_gemm_entry_size(cg, &x->batch), all, "");
  sq_lv work = LLVMBuildMul(eb, sq_gemm_entry_size(cg, &x->k), width, "");
  work = LLVMBuildMul(eb, work, sq_gemm_entry_size(cg, &x->m), "");
  work = LLVMBuildUDiv(eb, work, sq_k_int(k, x->w), "");
  sq_ktasks tasks = sq_ktasks_make(k, units, work);
  sq_kouter o = {.n = 2};
  o.extent[0] = sq_gemm_size(k, &x->batch);
  o.extent[1] = sq_kern_pass(k, all);
  for (uint32_t i = 0; i < n; i++) {
    sq_lv *inside[] = {&c[i].columns, &c[i].width, &c[i].have, &from[i]};
    for (uint32_t j = 0; j < sizeof inside / sizeof *inside; j++)
      *inside[j] = sq_kern_pass(k, *inside[j]);
  }
  sq_kouter_begin(k, &o, &tasks);
  uint32_t *mark = SQ_ARRAY(k->a, uint32_t, n);
  for (uint32_t i = 0; i < n; i++) {
    mark[i] = sq_knest_enter(&d[i].t);
    d[i].buffer = buffer;
    sq_gemm_open(&d[i].t, &s[i].x.batch, o.index[0]);
    sq_knest_hoist(&d[i].t);
  }
  for (uint32_t i = 0; i < n; i++) {
    sq_lv lo = o.index[1], hi = LLVMBuildAdd(k->b, lo, sq_k_int(k, 1), "");
    sq_kif is;
    if (n > 1) {
      sq_gemm_sibling_part(k, &s[i], from[i], c[i].have, &lo, &hi);
      sq_kif_begin(k, &is, LLVMBuildICmp(k->b, LLVMIntSLT, lo, hi, ""));
    }
    uint32_t scope = sq_knest_enter(&d[i].t);
    sq_lv n0 = LLVMBuildMul(k->b, lo, c[i].width, "");
    stretch(&d[i], n0, sq_k_min(k, LLVMBuildAdd(k->b, n0, c[i].width, ""), c[i].columns));
    sq_knest_leave(&d[i].t, scope);
    if (n > 1) sq_kif_end(k, &is, 0, NULL, NULL, NULL);
  }
  for (uint32_t i = 0; i < n; i++) sq_knest_leave(&d[i].t, mark[i]);
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}
