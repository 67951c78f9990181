// The tiled contraction: mr rows of A by nr packed columns of B, sums in registers.
//
//   for panels of the task                     B: K x nr
//     for blocks of k                          the part of the panel stays near (cut.h)
//       for mr rows of the task                A: from the second-level cache, in tiles where many
//                                              panels use them, else in rows where they are
//         sums[row][nr] += rows times panel    gemm_micro.c
//     post, store
//   a group's rows of the task               gemm_rows.c
#include "codegen/cpu/gemm.h"

typedef struct tile {
  sq_knest t;
  const sq_gemm *x;
  sq_kplace to;
  sq_lv rows, depth;    // M, K
  sq_lv step;           // from one element of a row of A to the next
  sq_lv copy, copy_row; // A's copy and the number of its first row of this batch element; or NULL
  sq_lv buffer;         // sums of a block of rows, [rows][nr]
  sq_lv row;            // pointers to the rows of the block
  sq_lv tiles;          // the block as tiles; or NULL
} tile;

static sq_lv row_pointer(tile *c, sq_lv m) {
  sq_knest *t = &c->t;
  sq_kern *k = t->k;
  const sq_gemm *x = c->x;
  if (c->copy) {
    sq_lv number = LLVMBuildAdd(k->b, c->copy_row, m, "");
    return sq_gemm_at(k, x, c->copy, LLVMBuildMul(k->b, number, c->depth, ""));
  }
  uint32_t mark = sq_knest_enter(t);
  sq_gemm_open(t, &x->m, m);
  sq_gemm_open(t, &x->k, sq_k_int(k, 0));
  sq_lv p = sq_knest_read_pointer(t, x->a);
  sq_knest_leave(t, mark);
  sq_gemm_close(t, &x->m);
  sq_gemm_close(t, &x->k);
  return p;
}
// Bytes of a block of rows as tiles.
sq_dim sq_gemm_tiles_size(const sq_gemm *x) {
  sq_dims *ds = x->g->dims;
  sq_dim depth = sq_dim_storage(ds, sq_gemm_depth_dim(x));
  sq_dim one = sq_dim_mul(ds, depth, sq_dim_const(ds, x->mr * x->bytes));
  sq_dim some = sq_dim_mul(ds, one, sq_dim_const(ds, x->cut.least_tiles + 1));
  sq_dim fit = sq_dim_add(ds, one, sq_dim_const(ds, x->cut.rows_bytes));
  sq_dim most = sq_dim_mul(ds, one, sq_dim_const(ds, x->cut.most_tiles));
  sq_dim d = sq_dim_min(ds, most, sq_dim_max(ds, some, fit));
  return sq_dim_add(ds, d, sq_dim_const(ds, 128));
}

// Pointers to the rows m_lo .. m_hi-1.
static void row_pointers(tile *c, sq_lv m_lo, sq_lv m_hi) {
  sq_kern *k = c->t.k;
  sq_kloop l;
  sq_kloop_begin(k, &l, m_lo, m_hi, 1, 0, NULL);
  uint32_t mark = sq_knest_enter(&c->t);
  sq_lv p = row_pointer(c, l.i), at = LLVMBuildSub(k->b, l.i, m_lo, "");
  LLVMBuildStore(k->b, p, LLVMBuildGEP2(k->b, k->ptr, c->row, &at, 1, ""));
  sq_knest_leave(&c->t, mark);
  sq_kloop_end(k, &l, NULL);
}
// All rows of the block times a stretch of a panel: whole tiles, then what is left in smaller ones.
static void all_rows(tile *c, sq_gemm_micro_call *a, sq_lv rows) {
  sq_kern *k = c->t.k;
  const sq_gemm *x = c->x;
  const uint32_t *size = sq_gemm_micro_rows(x);
  sq_lv done = sq_k_int(k, 0);
  sq_lv behind =
      sq_gemm_panel_at(k, x, a->panel, LLVMBuildMul(k->b, a->depth, sq_k_int(k, x->nr), ""));
  for (; *size; size++) {
    sq_lv end = LLVMBuildSub(k->b, rows, sq_k_int(k, *size - 1), "");
    sq_kloop l;
    sq_kloop_begin(k, &l, done, end, *size, 0, NULL);
    a->tiles = c->tiles && *size == x->mr;
    a->rows = a->tiles ? sq_gemm_at(k, x, c->tiles, LLVMBuildMul(k->b, l.i, c->depth, ""))
                       : LLVMBuildGEP2(k->b, k->ptr, c->row, &l.i, 1, "");
    // Each call asks for its part of the stretch that follows in memory.
    sq_lv part = LLVMBuildUDiv(k->b, a->depth, sq_k_int(k, x->mr), "");
    part = LLVMBuildMul(k->b, LLVMBuildMul(k->b, part, l.i, ""), sq_k_int(k, 16), "");
    a->ahead = LLVMBuildGEP2(k->b, k->i8, behind, &part, 1, "");
    a->out = sq_gemm_at(k, x, c->buffer, LLVMBuildMul(k->b, l.i, sq_k_int(k, x->nr), ""));
    sq_gemm_micro(k, x, *size, a);
    sq_kloop_end(k, &l, NULL);
    done = l.i;
  }
}
// Length of a block of k: what of the panel the cut says, then even.
static sq_lv block_of_k(tile *c) {
  sq_kern *k = c->t.k;
  const sq_gemm *x = c->x;
  int64_t most = (int64_t)x->cut.depth_bytes / (x->nr * x->bytes) / 8 * 8;
  sq_lv blocks = sq_k_ceil_div(k, k->b, c->depth, sq_k_int(k, most));
  blocks = sq_k_max(k, blocks, sq_k_int(k, 1));
  sq_lv even = LLVMBuildAdd(k->b, sq_k_ceil_div(k, k->b, c->depth, blocks), sq_k_int(k, 7), "");
  return sq_k_max(k, LLVMBuildAnd(k->b, even, sq_k_int(k, -8), ""), sq_k_int(k, 8));
}
// The block of rows times a panel, into the buffer.
static void one_panel(tile *c, sq_lv rows, sq_lv panel) {
  sq_kern *k = c->t.k;
  const sq_gemm *x = c->x;
  sq_lv per = block_of_k(c), next = sq_k_int(k, 0);
  sq_kloop l;
  sq_kwhile_begin(k, &l, 1, &next); // once also when there is no k: the sums are 0 then
  sq_lv from = l.phi[0], end = LLVMBuildAdd(k->b, from, per, "");
  sq_lv none = LLVMBuildICmp(k->b, LLVMIntEQ, from, sq_k_int(k, 0), "");
  sq_lv some = LLVMBuildICmp(k->b, LLVMIntSLT, from, c->depth, "");
  sq_kwhile_test(k, &l, LLVMBuildOr(k->b, none, some, ""));
  sq_gemm_micro_call a = {.from = from, .step = c->step, .more = from};
  a.depth = LLVMBuildSub(k->b, sq_k_min(k, end, c->depth), from, "");
  a.panel = sq_gemm_panel_at(k, x, panel, LLVMBuildMul(k->b, from, sq_k_int(k, x->nr), ""));
  all_rows(c, &a, rows);
  sq_kwhile_end(k, &l, &end);
}

// How the work is cut, in the entry.
typedef struct grid {
  sq_lv rows, row_blocks;     // rows of a block; how many blocks
  sq_lv panels, panel_blocks; // panels of a block; how many blocks
  sq_lv all_panels, work;
} grid;
static sq_lv udiv_up(sq_kern *k, sq_lv a, sq_lv by) { return sq_k_ceil_div(k, k->b, a, by); }
static void store_word(sq_kern *k, sq_lv out, int64_t i, sq_lv v) {
  sq_lv at = sq_k_int(k, i);
  LLVMBuildStore(k->b, v, LLVMBuildGEP2(k->b, k->i64, out, &at, 1, ""));
}
static sq_lv load_word(sq_kern *k, sq_lv out, int64_t i) {
  sq_lv at = sq_k_int(k, i);
  return LLVMBuildLoad2(k->b, k->i64, LLVMBuildGEP2(k->b, k->i64, out, &at, 1, ""), "");
}
enum { ROWS, ROW_BLOCKS, PANELS, PANEL_BLOCKS, WORK, WORDS };
enum { LEAST_PANELS = 16 }; // of a piece
static LLVMTypeRef grid_type(sq_kern *k) {
  LLVMTypeRef in[5] = {k->i64, k->i64, k->i64, k->i64, k->ptr};
  return LLVMFunctionType(LLVMVoidTypeInContext(k->c), in, 5, 0);
}
// Rows of a block are a multiple of it: then tiles of four rows and more, whose sums are all added in
// one order, do every row but the last ones of all, however the blocks lie.
static uint32_t row_step(const sq_gemm *x) { return x->mr % 4 ? x->mr : 4; }
static sq_lv round_up_to(sq_kern *k, sq_lv a, sq_lv to) {
  return LLVMBuildMul(k->b, udiv_up(k, a, to), to, "");
}
// void sq.grid(i64 m, i64 k, i64 batch, i64 panels, ptr words): shared by contractions of one tile.
//
// Blocks of rows as large as the caches allow, equally many for each core; where there are too few rows
// for that, the panels are cut too, into as many pieces for each core.
static sq_lv grid_function(sq_kern *outer, const sq_gemm *x) {
  sq_kern f, *k = &f;
  const sq_gemm_cut *cut = &x->cut;
  const char *name = sq_arena_fmt(outer->a, "sq.grid.%ux%ux%u.%u.%u.%u.%u.%u.%u", x->mr, x->nv,
                                  x->bytes, cut->rows_bytes, cut->least_tiles, cut->most_tiles,
                                  cut->unit_cycles, cut->most_units, cut->hidden_rows);
  sq_lv fn = sq_kern_shared(outer, name, grid_type(outer), &f);
  if (!f.fn) return fn;
  sq_lv one = sq_k_int(k, 1), m = LLVMGetParam(fn, 0);
  sq_lv depth = LLVMGetParam(fn, 1), batch = sq_k_max(k, LLVMGetParam(fn, 2), one);
  sq_lv all_panels = LLVMGetParam(fn, 3), out = LLVMGetParam(fn, 4);
  sq_lv least = sq_k_int(k, cut->least_tiles * x->mr), step = sq_k_int(k, row_step(x));
  sq_lv most =
      LLVMBuildUDiv(k->b, sq_k_int(k, cut->rows_bytes / x->bytes), sq_k_max(k, depth, one), "");
  most = sq_k_min(k, sq_k_max(k, most, least), sq_k_int(k, cut->most_tiles * x->mr));
  // Multiplications of vectors, two of them a cycle; reading B is as much as some rows of them.
  sq_lv flow = sq_k_max(k, m, sq_k_int(k, cut->hidden_rows));
  flow = LLVMBuildMul(k->b, LLVMBuildMul(k->b, flow, depth, ""), all_panels, "");
  flow = LLVMBuildMul(k->b, flow, sq_k_int(k, x->nv), "");
  sq_lv cycles = LLVMBuildLShr(k->b, LLVMBuildMul(k->b, flow, batch, ""), one, "");
  sq_lv want = LLVMBuildUDiv(k->b, cycles, sq_k_int(k, cut->unit_cycles), "");
  want = sq_k_max(k, sq_k_min(k, want, sq_k_int(k, cut->most_units)), one);
  want = sq_k_max(k, LLVMBuildUDiv(k->b, want, batch, ""), one);
  sq_lv cores = sq_k_min(k, sq_k_int(k, k->cg->target->machine.cores), want);
  sq_lv fit = sq_k_max(k, udiv_up(k, m, most), one), even = round_up_to(k, fit, cores);
  sq_lv enough = LLVMBuildICmp(k->b, LLVMIntSGE, m, LLVMBuildMul(k->b, even, least, ""), "");
  sq_lv row_blocks = LLVMBuildSelect(k->b, enough, even, fit, "");
  sq_lv rows = round_up_to(k, sq_k_max(k, udiv_up(k, m, row_blocks), one), step);
  sq_lv have = udiv_up(k, m, rows);
  row_blocks = sq_k_max(k, have, one);
  // Each piece of panels lays out the rows again.
  sq_lv wide = LLVMBuildICmp(k->b, LLVMIntSGE, m, sq_k_int(k, x->mr), "");
  sq_lv narrowest = LLVMBuildSelect(k->b, wide, sq_k_int(k, LEAST_PANELS), one, "");
  sq_lv pieces = sq_k_min(k, LLVMBuildUDiv(k->b, want, row_blocks, ""),
                          LLVMBuildUDiv(k->b, all_panels, narrowest, ""));
  pieces = sq_k_max(k, pieces, udiv_up(k, cores, row_blocks));
  pieces = LLVMBuildSelect(k->b, enough, one, round_up_to(k, pieces, cores), "");
  sq_lv panels = sq_k_max(k, udiv_up(k, all_panels, pieces), one);
  sq_lv panel_blocks = udiv_up(k, all_panels, panels);
  sq_lv blocks = LLVMBuildMul(k->b, LLVMBuildMul(k->b, row_blocks, batch, ""), panel_blocks, "");
  store_word(k, out, ROWS, rows);
  store_word(k, out, ROW_BLOCKS, have);
  store_word(k, out, PANELS, panels);
  store_word(k, out, PANEL_BLOCKS, panel_blocks);
  store_word(k, out, WORK, LLVMBuildUDiv(k->b, cycles, sq_k_max(k, blocks, one), ""));
  LLVMBuildRetVoid(k->b);
  sq_kern_shared_end(k);
  return fn;
}
static grid cut(sq_kern *k, const sq_gemm *x, sq_lv rows, sq_lv all_panels) {
  LLVMBuilderRef inside = k->b, b = k->b = k->cg->builder;
  grid g = {.all_panels = all_panels};
  sq_lv words = sq_kern_entry_alloca(k, WORDS);
  sq_lv arg[5] = {rows, sq_gemm_entry_depth(k->cg, x), sq_gemm_entry_size(k->cg, &x->batch),
                  g.all_panels, words};
  LLVMBuildCall2(b, grid_type(k), grid_function(k, x), arg, 5, "");
  g.rows = load_word(k, words, ROWS);
  g.row_blocks = load_word(k, words, ROW_BLOCKS);
  g.panels = load_word(k, words, PANELS);
  g.panel_blocks = load_word(k, words, PANEL_BLOCKS);
  g.work = load_word(k, words, WORK);
  k->b = inside;
  return g;
}
// A product of the kernel, in the entry and passed into it.
typedef struct part {
  sq_lv panels, first, count; // B; its columns, how many
  sq_lv have, from;           // panels; the number of the first one among all siblings'
} part;
static void make_parts(sq_kern *k, const sq_gemm_tiles_call *call, const sq_gemm *x, part *p,
                       sq_lv *all) {
  LLVMBuilderRef inside = k->b;
  sq_cg *cg = k->cg;
  const sq_gemm_siblings *f = call->siblings;
  k->b = cg->builder;
  if (!f) {
    *all = udiv_up(k, call->columns, sq_k_int(k, x->nr));
    *p = (part){call->panels, call->n0, call->columns, *all, sq_k_int(k, 0)};
  } else {
    sq_lv *have = SQ_ARRAY(k->a, sq_lv, f->n), *from = SQ_ARRAY(k->a, sq_lv, f->n);
    for (uint32_t i = 0; i < f->n; i++)
      have[i] = udiv_up(k, sq_gemm_entry_size(cg, &f->v[i].x.n), sq_k_int(k, x->nr));
    *all = sq_gemm_sibling_numbers(cg, f->v, f->n, have, from);
    for (uint32_t i = 0; i < f->n; i++) {
      const sq_gemm *y = &f->v[i].x;
      p[i] = (part){sq_cg_pointer(cg, y->node->in[y->panels]), sq_k_int(k, 0),
                    sq_gemm_entry_size(cg, &y->n), have[i], from[i]};
    }
  }
  k->b = inside;
}
static void pass_part(sq_kern *k, part *p) {
  sq_lv *all[] = {&p->panels, &p->first, &p->count, &p->have, &p->from};
  for (uint32_t i = 0; i < sizeof all / sizeof *all; i++) *all[i] = sq_kern_pass(k, *all[i]);
}
// The rows m_lo .. of the block times the panels lo .. hi-1.
typedef struct block {
  sq_lv m_lo, rows, lo, hi;
  const sq_kouter *o;           // batch, block of panels, block of rows
  const sq_gemm_beside *beside; // or NULL
} block;
static void some_panels(tile *c, const part *p, const block *w) {
  sq_knest *t = &c->t;
  sq_kern *k = t->k;
  const sq_gemm *x = c->x;
  sq_lv nr = sq_k_int(k, x->nr);
  sq_lv padded = x->packed ? c->depth : sq_gemm_padded(k, x, c->depth);
  sq_lv size = LLVMBuildMul(k->b, padded, nr, "");
  sq_kloop lp;
  sq_kloop_begin(k, &lp, w->lo, w->hi, 1, 0, NULL);
  uint32_t inner = sq_knest_enter(t);
  sq_lv number = LLVMBuildAdd(k->b, LLVMBuildMul(k->b, w->o->index[0], p->have, ""), lp.i, "");
  sq_lv panel = sq_gemm_panel_at(k, x, p->panels, LLVMBuildMul(k->b, number, size, ""));
  sq_lv at = LLVMBuildMul(k->b, lp.i, nr, "");
  sq_lv left = sq_k_min(k, LLVMBuildSub(k->b, p->count, at, ""), nr);
  sq_lv n = LLVMBuildAdd(k->b, p->first, at, "");
  if (w->beside) {
    sq_kif f;
    sq_kif_begin(k, &f, LLVMBuildICmp(k->b, LLVMIntNE, w->beside->is, sq_k_int(k, 0), ""));
    sq_gemm_beside_at b = {
        .unit = w->o->index[1], .units = w->o->extent[1], .w = panel, .out = c->buffer};
    b.panel = LLVMBuildSub(k->b, lp.i, w->lo, "");
    b.panels = LLVMBuildSub(k->b, w->hi, w->lo, "");
    b.row = LLVMBuildLoad2(k->b, k->ptr, c->row, "");
    sq_gemm_beside_panel(k, w->beside, &b);
    sq_kif_else(k, &f);
    one_panel(c, w->rows, panel);
    sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  } else {
    one_panel(c, w->rows, panel);
  }
  sq_gemm_finish(t, x, &c->to, c->buffer, x->nr, w->m_lo, w->rows, n, left);
  sq_knest_leave(t, inner);
  sq_kloop_end(k, &lp, NULL);
}
void sq_gemm_tiles(sq_cg *cg, const sq_gemm *x, const sq_gemm_tiles_call *call) {
  const sq_gemm_siblings *f = call->siblings;
  uint32_t n = f ? f->n : 1;
  sq_gemm_beside beside = {0};
  if (call->beside) beside = sq_gemm_beside_begin(cg, call->beside);
  sq_kern kern, *k = &kern;
  sq_kern_begin(k, cg, f ? "siblings" : "contract");
  tile *all = SQ_ARRAY(k->a, tile, n), *c = all; // the rows are those of the first one
  part *p = SQ_ARRAY(k->a, part, n);
  for (uint32_t i = 0; i < n; i++) {
    all[i].x = f ? &f->v[i].x : x;
    sq_knest_begin(&all[i].t, k, (sq_node *)(uintptr_t)all[i].x->node, NULL);
    all[i].to = sq_kplace_of(k, NULL, all[i].x->node->out[0]);
  }
  sq_lv all_panels, m = call->rows ? call->rows : sq_gemm_entry_size(cg, &x->m);
  make_parts(k, call, x, p, &all_panels);
  grid g = cut(k, x, m, all_panels);
  const sq_kready *behind = NULL;
  if (call->behind)
    behind = sq_gemm_rows_begin(cg, call->behind, g.row_blocks, g.rows, g.panel_blocks);
  sq_lv units = LLVMBuildMul(cg->builder, sq_gemm_entry_size(cg, &x->batch), g.row_blocks, "");
  units = LLVMBuildMul(cg->builder, units, g.panel_blocks, "");
  sq_ktasks tasks = sq_ktasks_make(k, units, g.work);
  sq_kouter o = {.n = 3};
  o.extent[0] = sq_gemm_size(k, &x->batch);
  o.extent[1] = sq_kern_pass(k, g.panel_blocks); // neighbours in number read the same panels
  o.extent[2] = sq_kern_pass(k, g.row_blocks);
  c->rows = call->rows ? sq_kern_pass(k, m) : sq_gemm_size(k, &x->m);
  c->depth = sq_gemm_depth(k, x);
  c->copy = call->copy ? sq_kern_pass(k, call->copy) : NULL;
  c->buffer = sq_k_alloca(k, sq_k_type(k, x->type), x->cut.most_tiles * x->mr * x->nr);
  c->row = sq_k_alloca(k, k->ptr, x->cut.most_tiles * x->mr);
  sq_lv per_rows = sq_kern_pass(k, g.rows), per_panels = sq_kern_pass(k, g.panels);
  for (uint32_t i = 0; i < n; i++) pass_part(k, &p[i]);
  sq_lv last = sq_kern_pass(k, all_panels);
  bool dense = c->copy || x->dots;
  c->step = dense ? sq_k_int(k, 1) : sq_knest_read_step(&c->t, x->a, x->k.axis[0]);
  if (x->tiles) {
    sq_lv stride, mine = sq_cg_private(cg, &stride);
    sq_lv off = LLVMBuildMul(k->b, k->worker, sq_kern_pass(k, stride), "");
    c->tiles = LLVMBuildGEP2(k->b, k->i8, sq_kern_pass(k, mine), &off, 1, "");
  }
  if (call->beside) sq_gemm_beside_pass(k, &beside);
  sq_kouter_begin(k, &o, &tasks);
  uint32_t *mark = SQ_ARRAY(k->a, uint32_t, n);
  for (uint32_t i = 0; i < n; i++) {
    mark[i] = sq_knest_enter(&all[i].t);
    sq_gemm_open(&all[i].t, &all[i].x->batch, o.index[0]);
  }
  c->copy_row = LLVMBuildMul(k->b, o.index[0], c->rows, "");
  for (uint32_t i = 0; i < n; i++) sq_knest_hoist(&all[i].t);
  block w = {.o = &o, .beside = call->beside ? &beside : NULL};
  w.m_lo = LLVMBuildMul(k->b, o.index[2], per_rows, "");
  sq_lv m_hi = sq_k_min(k, LLVMBuildAdd(k->b, w.m_lo, per_rows, ""), c->rows);
  w.rows = LLVMBuildSub(k->b, m_hi, w.m_lo, "");
  sq_lv p_lo = LLVMBuildMul(k->b, o.index[1], per_panels, "");
  sq_lv p_hi = sq_k_min(k, LLVMBuildAdd(k->b, p_lo, per_panels, ""), last);
  row_pointers(c, w.m_lo, m_hi);
  if (c->tiles) sq_gemm_interleave(k, x, c->row, w.rows, c->depth, c->step, c->tiles);
  for (uint32_t i = 0; i < n; i++) {
    tile *one = &all[i];
    w.lo = p_lo;
    w.hi = p_hi;
    if (f) sq_gemm_sibling_part(k, &f->v[i], p[i].from, p[i].have, &w.lo, &w.hi);
    one->depth = c->depth, one->step = c->step, one->buffer = c->buffer;
    one->row = c->row, one->tiles = c->tiles;
    some_panels(one, &p[i], &w);
  }
  for (uint32_t i = 0; i < n; i++) sq_knest_leave(&all[i].t, mark[i]);
  if (behind) sq_kready_task(k, behind, o.index[2]);
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}
