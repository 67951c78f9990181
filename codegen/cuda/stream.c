// Attention in one pass over the keys. In: a planned `stream`. Out: kernels, and their launches.
//
//   for tiles of rows (blocks)
//     queries of the tile; maxima -inf, sums and results 0
//     for blocks of keys that some row of the tile sees
//       scores | weights | results += weights times values
//     results stored
//
// Rows that share keys are taken together, those of heads that share a key head among them. Where they
// are 16 or fewer (decoding) a tile has 16, a block is one warp, and the keys are split among blocks until
// there are about SPLIT of them; what they have is put together by a second kernel. Where the number of
// rows is not known both ways are there, and the entry tells.
#include "codegen/cuda/stream.h"
#include "codegen/cpu/driver.h"

enum { WARP = 32, FEW = 16, SPLIT = 528, SPLIT_BLOCKS = 2, COMBINE = 128 };

// ---- how it is cut -----------------------------------------------------------------------------
static int64_t extent_of(const sq_cu_stream *s, uint32_t row) {
  int64_t n;
  return sq_dim_is_const(s->g->dims, s->p.row[row], &n) ? n : INT64_MAX;
}
static void find_rows(sq_cu_stream *s) {
  uint32_t taken = sq_stream_key_rows(s->g, &s->p), shared = SQ_NO_AXIS;
  for (uint32_t r = 0; r < s->p.n_rows; r++) {
    int64_t by = taken >> r & 1 ? sq_stream_shared(s->g, &s->p, r) : 1;
    if (!(taken >> r & 1))
      s->tile[s->n_tile++] = r;
    else
      s->batch[s->n_batch++] = r;
    if (by < 2 || shared != SQ_NO_AXIS) continue;
    shared = r;
    s->share = by;
  }
  for (uint32_t i = 1; i < s->n_tile; i++) // the longest first
    if (extent_of(s, s->tile[i]) > extent_of(s, s->tile[0])) {
      uint32_t r = s->tile[i];
      s->tile[i] = s->tile[0];
      s->tile[0] = r;
    }
  if (shared != SQ_NO_AXIS) s->tile[s->n_tile++] = shared;
}

uint32_t sq_cu_stream_read(const sq_stream_member *m, uint32_t factor) {
  const sq_generic *k = m->n->g;
  while (k->s.v[factor].kind == SQ_SC_CAST && sq_is_float(k->s.v[k->s.v[factor].a[0]].dtype))
    factor = k->s.v[factor].a[0];
  const sq_scalar *x = &k->s.v[factor];
  bool plain = x->kind == SQ_SC_READ && x->guard == SQ_NO_SCALAR && x->other == SQ_NO_SCALAR &&
               x->site == SQ_NO_SITE;
  return plain ? factor : SQ_NO_SCALAR;
}
// The type in memory, when no cast on the way changes a value of it.
static sq_dtype factor_type(const sq_stream_member *m, uint32_t factor) {
  const sq_generic *k = m->n->g;
  uint32_t read = sq_cu_stream_read(m, factor);
  if (read == SQ_NO_SCALAR) return SQ_DTYPE_COUNT;
  sq_dtype t = m->n->in[k->s.v[read].operand]->type.dtype;
  for (uint32_t s = factor; s != read; s = k->s.v[s].a[0])
    if (k->s.v[s].dtype != t && k->s.v[s].dtype != SQ_F32) return SQ_DTYPE_COUNT;
  return t;
}
// Weights are rounded to the type of the values: in 16 bits of f16 only those up to 1 surely fit.
static sq_dtype core_type(const sq_cu_stream *s) {
  const sq_stream *p = &s->p;
  sq_dtype t = factor_type(&p->score, p->q);
  bool fits = t == SQ_BF16 || (t == SQ_F16 && p->max.n);
  bool one = t == factor_type(&p->score, p->k) && t == factor_type(&p->value, p->v);
  return fits && one ? t : SQ_DTYPE_COUNT;
}
static int64_t up_to(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
// Columns of a block: all of them, or as many as results fit registers.
static void find_shape(sq_cu_stream *s) {
  enum { MOST = 256, MOST_F32 = 128, MOST_F64 = 64, UNKNOWN = 64 };
  int64_t n, unit;
  bool wide = s->p.score.n->g->s.v[s->p.score.n->g->body].dtype == SQ_F64;
  s->type = wide ? "double" : "float";
  s->half = wide ? SQ_DTYPE_COUNT : core_type(s);
  s->width = sq_dim_is_const(s->g->dims, s->p.width, &n) && n > 0 && n <= 1 << 20 ? n : 0;
  if (!s->width || s->width > MOST) s->half = SQ_DTYPE_COUNT;
  unit = s->half != SQ_DTYPE_COUNT ? 16 : 8;
  int64_t most = unit == 16 ? MOST : wide ? MOST_F64 : MOST_F32;
  bool known = sq_dim_is_const(s->g->dims, s->p.columns, &n) && n > 0;
  s->chunks = !known || n > most;
  s->columns = !known ? UNKNOWN : n > most ? most : up_to(n, unit);
  s->width = up_to(s->width, unit);
}
static bool find(sq_graph *g, const sq_node *n, sq_cu_stream *s) {
  *s = (sq_cu_stream){.g = g};
  if (!sq_stream_parts(g, n, &s->p, NULL)) return false;
  find_rows(s);
  find_shape(s);
  return true;
}

bool sq_cu_stream_runs(const sq_cu_stream *s, const sq_stream_member *m, uint32_t read,
                       uint32_t axis, int64_t n) {
  sq_graph *g = s->g;
  const sq_generic *k = m->n->g;
  const sq_scalar *x = &k->s.v[read];
  const sq_type *type = &m->n->in[x->operand]->type;
  int64_t c;
  if (!x->n_pos) return false;
  uint32_t last = x->n_pos - 1;
  if (!sq_dim_is_const(g->dims, sq_dim_storage(g->dims, type->dim[last]), &c) || c % n ||
      !sq_dim_is_const(g->dims, k->axis[axis].extent, &c) || c % n)
    return false;
  for (uint32_t i = 0; i < last; i++)
    if (sq_scalar_axis_set(g, k, x->pos[i]) >> axis & 1) return false;
  sq_affine a = sq_scalar_affine(g, k, x->pos[last]);
  if (!a.ok || a.coef[axis] != 1 || !sq_dim_is_const(g->dims, a.offset, &c) || c % n) return false;
  for (uint32_t i = 0; i < k->n_par + k->n_red; i++)
    if (i != axis && a.coef[i] % n) return false;
  return true;
}

// ---- members -----------------------------------------------------------------------------------
static void begin_member(sq_cu_attend *x, sq_cu_nest *t, const sq_stream_member *m) {
  sq_cu_nest_begin(t, x->k, (sq_node *)(uintptr_t)m->n, NULL);
  t->safe = t->g->domain.n != 0;
  for (uint32_t a = 0; a < t->n_axes; a++) {
    uint8_t role = m->role[a];
    t->index[a] = role == SQ_STREAM_KEY      ? "key"
                  : role == SQ_STREAM_WIDTH  ? "e"
                  : role == SQ_STREAM_COLUMN ? "c"
                                             : sq_arena_fmt(x->k->a, "x%u", role);
  }
}
static void begin_members(sq_cu_attend *x) {
  const sq_stream *p = &x->s->p;
  begin_member(x, &x->score, &p->score);
  if (p->max.n) begin_member(x, &x->max, &p->max);
  begin_member(x, &x->value, &p->value);
  for (uint32_t i = 0; i < p->n_sum; i++) begin_member(x, &x->sum[i], &p->sum[i]);
}
static sq_cu_nest *nest_at(sq_cu_attend *x, uint32_t i) {
  if (i == 0) return &x->score;
  if (i == 1) return &x->value;
  if (i < 2 + x->s->p.n_sum) return &x->sum[i - 2];
  return i == 2 + x->s->p.n_sum && x->s->p.max.n ? &x->max : NULL;
}
sq_cu_mark sq_cu_members_enter(sq_cu_attend *x) {
  sq_cu_mark m;
  sq_cu_nest *t;
  for (uint32_t i = 0; (t = nest_at(x, i)); i++) m.at[i] = sq_cu_nest_enter(t);
  return m;
}
void sq_cu_members_leave(sq_cu_attend *x, sq_cu_mark m) {
  sq_cu_nest *t;
  for (uint32_t i = 0; (t = nest_at(x, i)); i++) sq_cu_nest_leave(t, m.at[i]);
}
void sq_cu_members_let(sq_cu_attend *x, const sq_stream_member *of, const char *name) {
  sq_cu_nest *t;
  for (uint32_t i = 0; (t = nest_at(x, i)); i++)
    for (uint32_t id = 0; id < t->g->s.n; id++) {
      const sq_scalar *s = &t->g->s.v[id];
      if (s->kind != SQ_SC_READ || t->n->in[s->operand]->def != of->n) continue;
      t->value[id] = name;
      sq_push(x->k->a, &t->trail, id);
    }
}

// ---- rows --------------------------------------------------------------------------------------
static const char *tile_extent(const sq_cu_attend *x, uint32_t i) {
  const sq_cu_stream *s = x->s;
  if (s->share && i + 1 == s->n_tile) return sq_arena_fmt(x->k->a, "%lld", (long long)s->share);
  return sq_cu_dim(x->k, s->p.row[s->tile[i]]);
}
void sq_cu_rows_index(sq_cu_attend *x, const char *row) {
  const sq_cu_stream *s = x->s;
  for (uint32_t i = s->n_tile; i-- > 0;) {
    const char *n = tile_extent(x, i);
    bool shared = s->share && i + 1 == s->n_tile;
    const char *from = shared ? sq_arena_fmt(x->k->a, "y%u + ", s->tile[i]) : "";
    if (i == 0) {
      sq_cu_line(x->k, "const sq_i64 x%u = %s%s;", s->tile[i], from, row);
      break;
    }
    sq_cu_line(x->k, "const sq_i64 x%u = %s%s %% %s;", s->tile[i], from, row, n);
    const char *rest = sq_cu_temp(x->k, "row");
    sq_cu_line(x->k, "const sq_i64 %s = %s / %s;", rest, row, n);
    row = rest;
  }
}
void sq_cu_rows_open(sq_cu_attend *x) {
  sq_cu_line(x->k, "#pragma unroll");
  sq_cu_open(x->k, "for (int r = 0; r < %d; r++) {", x->rt);
  sq_cu_line(x->k, "const sq_i64 row = row0 + %s < last ? row0 + %s : last;", x->row, x->row);
  sq_cu_rows_index(x, "row");
}

// ---- in the entry ------------------------------------------------------------------------------
static LLVMValueRef entry_dim(sq_cu *k, sq_dim d) {
  const sq_axis axis = {.extent = d};
  sq_generic one = {.axis = (sq_axis *)(uintptr_t)&axis};
  return sq_cu_units(k, &one, 1);
}
static LLVMValueRef div_up(sq_cu *k, LLVMValueRef n, int64_t by) {
  LLVMBuilderRef b = k->cg->builder;
  n = LLVMBuildAdd(b, n, sq_cg_i64(k->cg, by - 1), "");
  return LLVMBuildSDiv(b, n, sq_cg_i64(k->cg, by), "");
}
static LLVMValueRef lesser(sq_cu *k, LLVMValueRef x, LLVMValueRef y) {
  LLVMBuilderRef b = k->cg->builder;
  return LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSLT, x, y, ""), x, y, "");
}
static LLVMValueRef entry_rows(sq_cu *k, const sq_cu_stream *s) {
  LLVMValueRef n = sq_cg_i64(k->cg, s->share ? s->share : 1);
  for (uint32_t i = 0; i < s->n_tile - (s->share != 0); i++)
    n = sq_cu_mul(k, n, entry_dim(k, s->p.row[s->tile[i]]));
  return n;
}
static LLVMValueRef entry_chunks(sq_cu *k, const sq_cu_stream *s) {
  return s->chunks ? div_up(k, entry_dim(k, s->p.columns), s->columns) : sq_cg_i64(k->cg, 1);
}
// Tiles, with blocks of columns, without splits.
static LLVMValueRef entry_units(sq_cu *k, const sq_cu_stream *s, LLVMValueRef tiles) {
  LLVMValueRef n = sq_cu_mul(k, tiles, entry_chunks(k, s));
  for (uint32_t i = 0; i < s->n_batch; i++) {
    LLVMValueRef e = entry_dim(k, s->p.row[s->batch[i]]);
    bool shared = s->share && s->batch[i] == s->tile[s->n_tile - 1];
    n = sq_cu_mul(k, n,
                  shared ? LLVMBuildSDiv(k->cg->builder, e, sq_cg_i64(k->cg, s->share), "") : e);
  }
  return n;
}
// As many splits as fill the device, each of some blocks of keys; at least 1.
static LLVMValueRef entry_splits(sq_cu_attend *x, LLVMValueRef units) {
  sq_cu *k = x->k;
  LLVMBuilderRef b = k->cg->builder;
  LLVMValueRef one = sq_cg_i64(k->cg, 1);
  LLVMValueRef none = LLVMBuildICmp(b, LLVMIntSLT, units, one, "");
  LLVMValueRef n =
      LLVMBuildSDiv(b, sq_cg_i64(k->cg, SPLIT), LLVMBuildSelect(b, none, one, units, ""), "");
  n = lesser(k, n, div_up(k, entry_dim(k, x->s->p.keys), SPLIT_BLOCKS * x->keys));
  return LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSLT, n, one, ""), one, n, "");
}

// ---- the kernel --------------------------------------------------------------------------------
// From the number `u` of a tile: column0, (split,) row0, indices of the other rows.
static void open_tile(sq_cu_attend *x, bool splits) {
  sq_cu *k = x->k;
  const sq_cu_stream *s = x->s;
  if (s->chunks) {
    const char *n = sq_cu_number(k, entry_chunks(k, s));
    sq_cu_line(k, "const sq_i64 chunks = %s, column0 = u %% chunks * %lld;", n,
               (long long)s->columns);
    sq_cu_line(k, "u /= chunks;");
  } else {
    sq_cu_line(k, "const sq_i64 column0 = 0;");
  }
  if (splits) {
    sq_cu_line(k, "const sq_i64 split = u %% %s;", x->n_splits);
    sq_cu_line(k, "u /= %s;", x->n_splits);
  }
  // The last rows first: with causal domains they take the longest.
  sq_cu_line(k, "const sq_i64 row0 = (%s - 1 - u %% %s) * %d;", x->n_tiles, x->n_tiles, x->rows);
  sq_cu_line(k, "u /= %s;", x->n_tiles);
  for (uint32_t i = s->n_batch; i-- > 0;) {
    uint32_t r = s->batch[i];
    const char *n = sq_cu_dim(k, s->p.row[r]);
    bool shared = s->share && r == s->tile[s->n_tile - 1];
    if (shared) {
      sq_cu_line(k, "const sq_i64 y%u = u %% (%s / %lld) * %lld, x%u = y%u;", r, n,
                 (long long)s->share, (long long)s->share, r, r);
      sq_cu_line(k, "u /= %s / %lld;", n, (long long)s->share);
    } else {
      sq_cu_line(k, "const sq_i64 x%u = u %% %s;", r, n);
      sq_cu_line(k, "u /= %s;", n);
    }
  }
  sq_cu_line(k, "const sq_i64 last = (row0 + %d < %s ? row0 + %d : %s) - 1;", x->rows, x->n_rows,
             x->rows, x->n_rows);
}
static void all_keys(sq_cu_attend *x, const sq_cu_engine *e) {
  sq_cu *k = x->k;
  if (x->split) {
    sq_cu_line(k, "const sq_i64 each = (hi - lo + %s * %d - 1) / (%s * %d) * %d;", x->n_splits,
               x->keys, x->n_splits, x->keys, x->keys);
    sq_cu_line(k, "lo += split * each;");
    sq_cu_line(k, "hi = lo + each < hi ? lo + each : hi;");
  }
  e->queries(x);
  sq_cu_open(k, "for (sq_i64 k0 = lo; k0 < hi; k0 += %d) {", x->keys);
  sq_cu_line(k, "const bool sure = sure_lo <= k0 && k0 + %d <= sure_hi && k0 + %d <= hi;", x->keys,
             x->keys);
  bool always = x->value.g->domain.n > x->s->p.n_common;
  sq_cu_line(k, "const bool holes = %s;", always ? "true" : "!sure");
  if (e->scores) {
    sq_cu_line(k, "%s s[%d];", x->s->type, x->rt * x->kt);
    e->scores(x);
  }
  sq_cu_rows_weigh(x);
  e->values(x);
  sq_cu_close(k);
  if (e->settle) e->settle(x);
}
static void begin_kernel(sq_cu_attend *x, sq_cu *k, sq_cg *cg, const char *what, uint32_t threads) {
  sq_cu_begin(k, cg, what, x->s->p.node->out[0], threads);
  x->k = k;
  begin_members(x);
  x->n_rows = sq_cu_number(k, x->entry_rows);
  x->n_tiles = sq_cu_number(k, x->entry_tiles);
  if (!x->entry_splits) return;
  x->n_splits = sq_cu_number(k, x->entry_splits);
  int64_t bytes = (int64_t)SPLIT * FEW * sq_cu_stream_part(x) * (*x->s->type == 'd' ? 8 : 4);
  x->part = sq_cu_memory(k, sq_cg_shared(cg), sq_cg_i64(cg, bytes), x->s->type);
}
static void tiles(sq_cu_attend *x, const sq_cu_engine *e, const char *n) {
  sq_cu *k = x->k;
  sq_cu_mark mark = sq_cu_members_enter(x);
  x->settle = e->settle;
  e->begin(x);
  sq_cu_open(k, "for (sq_i64 t = SQ_BLOCK; t < %s; t += SQ_GRID) {", n);
  sq_cu_line(k, "sq_i64 u = t;");
  open_tile(x, x->split);
  sq_cu_stream_range(x);
  sq_cu_rows_begin(x);
  all_keys(x, e);
  sq_cu_rows_end(x);
  sq_cu_close(k);
  sq_cu_members_leave(x, mark);
}
// Where sm_90a has a body of its own the text has both: the launch is the same.
static void attend(sq_cg *cg, sq_cu_attend *x, const sq_cu_engine *e, LLVMValueRef units) {
  sq_cu kern, *k = &kern;
  begin_kernel(x, k, cg, "attend", (uint32_t)x->warps * WARP);
  k->blocks = (uint32_t)(e->together / x->warps);
  k->syncs = true;
  LLVMValueRef all = x->split ? sq_cu_mul(k, units, x->entry_splits) : units;
  const char *n = sq_cu_number(k, all);
  bool two = !x->split && e == &sq_cu_stream_mma && sq_cu_stream_wgmma_fits(x->s);
  if (two) sq_cu_line(k, "#if !SQ_WGMMA");
  tiles(x, e, n);
  if (two) {
    sq_cu_line(k, "#else");
    sq_cu_stream_wgmma.shape(x, false);
    tiles(x, &sq_cu_stream_wgmma, n);
    sq_cu_line(k, "#endif");
  }
  sq_cu_launch(k, all, 1, 0);
}
// A thread an element of the results, over what splits have left.
static void combine(sq_cg *cg, sq_cu_attend *x, LLVMValueRef units) {
  sq_cu kern, *k = &kern;
  begin_kernel(x, k, cg, "combine", COMBINE);
  LLVMBuilderRef b = cg->builder;
  int64_t each = FEW * x->s->columns;
  LLVMValueRef all = sq_cu_mul(k, units, sq_cg_i64(cg, each));
  LLVMValueRef one = LLVMBuildICmp(b, LLVMIntSLE, x->entry_splits, sq_cg_i64(cg, 1), "");
  all = LLVMBuildSelect(b, one, sq_cg_i64(cg, 0), all, "");
  sq_cu_open(k,
             "for (sq_i64 f = SQ_BLOCK * SQ_THREADS + SQ_TID; f < %s; f += SQ_GRID * SQ_THREADS) {",
             sq_cu_number(k, all));
  sq_cu_line(k, "sq_i64 u = f / %lld;", (long long)each);
  const char *chunks = x->s->chunks ? sq_cu_number(k, entry_chunks(k, x->s)) : "1";
  sq_cu_line(k, "const sq_i64 first = u / %s * %s * %s + u %% %s;", chunks, x->n_splits, chunks,
             chunks);
  open_tile(x, false);
  sq_cu_line(k, "const sq_i64 c = column0 + f %% %lld, row = row0 + f / %lld %% %d;",
             (long long)x->s->columns, (long long)x->s->columns, FEW);
  sq_cu_open(k, "if (row <= last && c < %s) {", sq_cu_dim(k, x->s->p.columns));
  sq_cu_rows_combine(x);
  sq_cu_close(k);
  sq_cu_close(k);
  sq_cu_launch(k, all, COMBINE, 0);
}
static void one_way(sq_cg *cg, const sq_cu_stream *s, bool few, LLVMValueRef rows,
                    LLVMValueRef use) {
  const sq_cu_engine *e = s->half != SQ_DTYPE_COUNT ? &sq_cu_stream_mma : &sq_cu_stream_fma;
  sq_cu_attend x = {.s = s, .split = few, .entry_rows = rows};
  sq_cu entry = {.cg = cg, .g = cg->graph, .a = cg->scratch};
  x.k = &entry; // for what is computed in the entry
  e->shape(&x, few);
  x.entry_tiles = div_up(&entry, rows, x.rows);
  LLVMValueRef units = entry_units(&entry, s, x.entry_tiles);
  if (use) units = LLVMBuildSelect(cg->builder, use, units, sq_cg_i64(cg, 0), "");
  if (few) x.entry_splits = entry_splits(&x, units);
  attend(cg, &x, e, units);
  if (few) combine(cg, &x, units);
}

// ---- all of it ---------------------------------------------------------------------------------
static bool known_rows(const sq_cu_stream *s, int64_t *rows) {
  int64_t n = s->share ? s->share : 1;
  for (uint32_t i = 0; i < s->n_tile - (s->share != 0); i++) {
    int64_t e = extent_of(s, s->tile[i]);
    if (e > 1 << 20) return false;
    n = n * (e > 0 ? e : 0);
    if (n > 1 << 20) n = 1 << 20;
  }
  *rows = n;
  return true;
}
sq_kernel_scratch sq_cuda_stream_need(sq_graph *g, const sq_node *n) {
  sq_cu_stream s;
  int64_t rows;
  if (!find(g, n, &s) || (known_rows(&s, &rows) && rows > FEW)) return (sq_kernel_scratch){0};
  const sq_cu_attend x = {.s = &s};
  int64_t each = (int64_t)sq_cu_stream_part(&x) * (*s.type == 'd' ? 8 : 4);
  return (sq_kernel_scratch){.shared = sq_dim_const(g->dims, SPLIT * FEW * each)};
}
void sq_cuda_stream(sq_cg *cg, sq_node *n) {
  sq_cu_stream s;
  int64_t known;
  bool ok = find(cg->graph, n, &s);
  SQ_ASSERT(ok, "stream %u has no known body", n->id);
  sq_cu entry = {.cg = cg, .g = cg->graph, .a = cg->scratch};
  LLVMValueRef rows = entry_rows(&entry, &s), few = NULL, many = NULL;
  if (known_rows(&s, &known)) {
    one_way(cg, &s, known <= FEW, rows, NULL);
    return;
  }
  few = LLVMBuildICmp(cg->builder, LLVMIntSLE, rows, sq_cg_i64(cg, FEW), "few");
  many = LLVMBuildNot(cg->builder, few, "");
  one_way(cg, &s, true, rows, few);
  one_way(cg, &s, false, rows, many);
}
