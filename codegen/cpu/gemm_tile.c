// The tiled contraction: mr rows of A by nr packed columns of B, all of k, in registers.
//
//   for panels of the task                   B: k x nr, from the second-level cache
//     for mr rows of the task                A: rows where they are, broadcast element by element
//       acc[mr][nv] += a[row] * b[vector]    for k
//       post, store
#include "codegen/cpu/gemm.h"

typedef struct tile {
  sq_knest t;
  const sq_gemm *x;
  sq_kplace to;
  sq_lv rows, depth;    // M, K
  sq_lv copy, copy_row; // A's copy and the number of its first row of this batch element; or NULL
  sq_lv buffer;         // [mr][nr]
} tile;

enum { UNROLL = 2 };

// acc += sum over k of rows times panel.
static void multiply(tile *c, const sq_lv *row, sq_lv step, sq_lv panel, sq_lv *acc) {
  sq_kern *k = c->t.k;
  const sq_gemm *x = c->x;
  uint32_t n = x->mr * x->nv;
  int64_t known;
  bool exact = sq_dim_is_const(k->g->dims, x->k.size, &known) && known % UNROLL == 0;
  for (int turn = 0; turn < (exact ? 1 : 2); turn++) {
    uint32_t unroll = turn ? 1 : UNROLL;
    static const int64_t less = UNROLL - 1;
    sq_lv end = turn || exact ? c->depth : LLVMBuildSub(k->b, c->depth, sq_k_int(k, less), "");
    sq_lv from = turn ? LLVMBuildAnd(k->b, c->depth, sq_k_int(k, -UNROLL), "") : sq_k_int(k, 0);
    sq_kloop l;
    sq_kloop_begin(k, &l, from, end, unroll, n, acc);
    memcpy(acc, l.phi, n * sizeof *acc);
    for (uint32_t u = 0; u < unroll; u++) {
      sq_lv i = LLVMBuildAdd(k->b, l.i, sq_k_int(k, u), "");
      sq_lv line = LLVMBuildMul(k->b, i, sq_k_int(k, x->nr), ""), b[8];
      for (uint32_t v = 0; v < x->nv; v++) {
        sq_lv at = LLVMBuildAdd(k->b, line, sq_k_int(k, (int64_t)v * x->w), "");
        b[v] = sq_gemm_load(k, x, sq_gemm_at(k, x, panel, at), x->w);
      }
      sq_lv where = LLVMBuildMul(k->b, i, step, "");
      for (uint32_t r = 0; r < x->mr; r++) {
        sq_lv a = sq_gemm_load(k, x, sq_gemm_at(k, x, row[r], where), 1);
        a = sq_k_splat(k, a, x->w);
        for (uint32_t v = 0; v < x->nv; v++) {
          sq_lv *sum = &acc[r * x->nv + v];
          *sum = sq_k_fma(k, a, b[v], *sum);
        }
      }
    }
    sq_kloop_end(k, &l, acc);
    memcpy(acc, l.phi, n * sizeof *acc);
  }
}
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
// Rows m0 .. end-1, at most mr, of the panel whose first column is n0.
static void one_tile(tile *c, sq_lv m0, sq_lv end, sq_lv panel, sq_lv n0, sq_lv columns) {
  sq_kern *k = c->t.k;
  const sq_gemm *x = c->x;
  sq_lv row[32], acc[SQ_K_CARRIED], last = LLVMBuildSub(k->b, end, sq_k_int(k, 1), "");
  for (uint32_t r = 0; r < x->mr; r++) // rows beyond the end repeat the last
    row[r] = row_pointer(c, sq_k_min(k, LLVMBuildAdd(k->b, m0, sq_k_int(k, r), ""), last));
  sq_lv step = c->copy ? sq_k_int(k, 1) : sq_knest_read_step(&c->t, x->a, x->k.axis[0]);
  LLVMTypeRef vec = sq_k_vec(sq_k_type(k, x->type), x->w);
  for (uint32_t i = 0; i < x->mr * x->nv; i++) acc[i] = LLVMConstNull(vec);
  multiply(c, row, step, panel, acc);
  for (uint32_t i = 0; i < x->mr * x->nv; i++)
    sq_gemm_store(k, x, sq_gemm_at(k, x, c->buffer, sq_k_int(k, (int64_t)i * x->w)), acc[i]);
  sq_lv rows = sq_k_min(k, LLVMBuildSub(k->b, end, m0, ""), sq_k_int(k, x->mr));
  sq_gemm_finish(&c->t, x, &c->to, c->buffer, x->nr, m0, rows, n0, columns);
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
static LLVMTypeRef grid_type(sq_kern *k) {
  LLVMTypeRef in[5] = {k->i64, k->i64, k->i64, k->i64, k->ptr};
  return LLVMFunctionType(LLVMVoidTypeInContext(k->c), in, 5, 0);
}
// void sq.grid(i64 m, i64 k, i64 batch, i64 panels, ptr words): shared by contractions of one tile.
static sq_lv grid_function(sq_kern *outer, const sq_gemm *x) {
  sq_kern f, *k = &f;
  const char *name = sq_arena_fmt(outer->a, "sq.grid.%ux%u", x->mr, x->bytes);
  sq_lv fn = sq_kern_shared(outer, name, grid_type(outer), &f);
  if (!f.fn) return fn;
  sq_lv one = sq_k_int(k, 1), mr = sq_k_int(k, x->mr), m = LLVMGetParam(fn, 0);
  sq_lv depth = LLVMGetParam(fn, 1), batch = sq_k_max(k, LLVMGetParam(fn, 2), one);
  sq_lv all_panels = LLVMGetParam(fn, 3), out = LLVMGetParam(fn, 4);
  // A block of rows should keep to half of the second-level cache.
  sq_lv fit = sq_k_int(k, (int64_t)k->cg->target->l2_bytes / 2 / x->bytes);
  sq_lv most = LLVMBuildUDiv(k->b, fit, sq_k_max(k, depth, one), "");
  most = sq_k_min(k, sq_k_max(k, most, sq_k_int(k, 4 * x->mr)), sq_k_int(k, 20 * x->mr));
  sq_lv row_blocks = sq_k_max(k, udiv_up(k, m, most), one);
  sq_lv rows = LLVMBuildMul(k->b, udiv_up(k, udiv_up(k, m, row_blocks), mr), mr, "");
  rows = sq_k_max(k, rows, mr);
  row_blocks = udiv_up(k, m, rows);
  // Multiplications of vectors: two of them a cycle.
  sq_lv flow = LLVMBuildMul(k->b, LLVMBuildMul(k->b, m, depth, ""), all_panels, "");
  flow = LLVMBuildMul(k->b, flow, sq_k_int(k, x->nv), "");
  sq_lv cycles = LLVMBuildLShr(k->b, LLVMBuildMul(k->b, flow, batch, ""), one, "");
  sq_lv want = LLVMBuildUDiv(k->b, cycles, sq_k_int(k, 60000), "");
  want = sq_k_min(k, want, sq_k_int(k, 48));
  sq_lv have = sq_k_max(k, LLVMBuildMul(k->b, row_blocks, batch, ""), one);
  sq_lv pieces = sq_k_max(k, udiv_up(k, want, have), one);
  sq_lv panels = sq_k_max(k, udiv_up(k, all_panels, pieces), one);
  sq_lv panel_blocks = udiv_up(k, all_panels, panels);
  sq_lv blocks = sq_k_max(k, LLVMBuildMul(k->b, have, panel_blocks, ""), one);
  store_word(k, out, ROWS, rows);
  store_word(k, out, ROW_BLOCKS, row_blocks);
  store_word(k, out, PANELS, panels);
  store_word(k, out, PANEL_BLOCKS, panel_blocks);
  store_word(k, out, WORK, LLVMBuildUDiv(k->b, cycles, blocks, ""));
  LLVMBuildRetVoid(k->b);
  sq_kern_shared_end(k);
  return fn;
}
static grid cut(sq_kern *k, const sq_gemm *x, sq_lv columns) {
  LLVMBuilderRef inside = k->b, b = k->b = k->cg->builder;
  grid g;
  g.all_panels = udiv_up(k, columns, sq_k_int(k, x->nr));
  sq_lv words = sq_kern_entry_alloca(k, WORDS);
  sq_lv arg[5] = {sq_gemm_entry_size(k->cg, &x->m), sq_gemm_entry_size(k->cg, &x->k),
                  sq_gemm_entry_size(k->cg, &x->batch), g.all_panels, words};
  LLVMBuildCall2(b, grid_type(k), grid_function(k, x), arg, 5, "");
  g.rows = load_word(k, words, ROWS);
  g.row_blocks = load_word(k, words, ROW_BLOCKS);
  g.panels = load_word(k, words, PANELS);
  g.panel_blocks = load_word(k, words, PANEL_BLOCKS);
  g.work = load_word(k, words, WORK);
  k->b = inside;
  return g;
}
void sq_gemm_tiles(sq_cg *cg, const sq_gemm *x, sq_lv panels, sq_lv copy, sq_lv n0, sq_lv columns) {
  sq_kern kern, *k = &kern;
  sq_kern_begin(k, cg, "contract");
  tile c = {.x = x};
  sq_knest_begin(&c.t, k, (sq_node *)(uintptr_t)x->node, NULL);
  c.to = sq_kplace_of(k, NULL, x->node->out[0]);
  grid g = cut(k, x, columns);
  sq_lv units = LLVMBuildMul(cg->builder, sq_gemm_entry_size(cg, &x->batch), g.row_blocks, "");
  units = LLVMBuildMul(cg->builder, units, g.panel_blocks, "");
  sq_ktasks tasks = sq_ktasks_make(k, units, g.work);
  sq_kouter o = {.n = 3};
  o.extent[0] = sq_gemm_size(k, &x->batch);
  o.extent[1] = sq_kern_pass(k, g.row_blocks);
  o.extent[2] = sq_kern_pass(k, g.panel_blocks);
  c.rows = sq_gemm_size(k, &x->m);
  c.depth = sq_gemm_size(k, &x->k);
  c.copy = copy ? sq_kern_pass(k, copy) : NULL;
  c.buffer = sq_k_alloca(k, sq_k_type(k, x->type), x->mr * x->nr);
  sq_lv per_rows = sq_kern_pass(k, g.rows), per_panels = sq_kern_pass(k, g.panels);
  sq_lv all = sq_kern_pass(k, g.all_panels), base = sq_kern_pass(k, panels);
  sq_lv first = sq_kern_pass(k, n0), count = sq_kern_pass(k, columns), nr = sq_k_int(k, x->nr);
  sq_lv size = LLVMBuildMul(k->b, sq_gemm_padded(k, x, c.depth), nr, "");
  sq_kouter_begin(k, &o, &tasks);
  uint32_t mark = sq_knest_enter(&c.t);
  sq_gemm_open(&c.t, &x->batch, o.index[0]);
  c.copy_row = LLVMBuildMul(k->b, o.index[0], c.rows, "");
  sq_knest_hoist(&c.t);
  sq_lv m_lo = LLVMBuildMul(k->b, o.index[1], per_rows, "");
  sq_lv m_hi = sq_k_min(k, LLVMBuildAdd(k->b, m_lo, per_rows, ""), c.rows);
  sq_lv p_lo = LLVMBuildMul(k->b, o.index[2], per_panels, "");
  sq_lv p_hi = sq_k_min(k, LLVMBuildAdd(k->b, p_lo, per_panels, ""), all);
  sq_kloop lp, lm;
  sq_kloop_begin(k, &lp, p_lo, p_hi, 1, 0, NULL);
  sq_lv number = LLVMBuildAdd(k->b, LLVMBuildMul(k->b, o.index[0], all, ""), lp.i, "");
  sq_lv panel = sq_gemm_at(k, x, base, LLVMBuildMul(k->b, number, size, ""));
  sq_lv at = LLVMBuildMul(k->b, lp.i, nr, "");
  sq_lv left = sq_k_min(k, LLVMBuildSub(k->b, count, at, ""), nr);
  sq_lv n = LLVMBuildAdd(k->b, first, at, "");
  sq_kloop_begin(k, &lm, m_lo, m_hi, x->mr, 0, NULL);
  one_tile(&c, lm.i, m_hi, panel, n, left);
  sq_kloop_end(k, &lm, NULL);
  sq_kloop_end(k, &lp, NULL);
  sq_knest_leave(&c.t, mark);
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}
