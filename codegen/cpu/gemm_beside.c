// A scan with a product with the state in every turn, behind a product for all turns at once:
//
//   before = A(t, k) * B(n, k)   for all turns t: bound by multiplications
//   scan t { ... = s(k) * W(n, k), before[t] ... }
//                                for one row: bound by reading W
//
// Where a turn is one row, each turn multiplies a part of the next tile of `before` between reading
// one row of W and the next: both are done in about the time of the longer one. In front of the scan
// only the first rows are left:
//
//   rows of `before`   | first: mr and what is left over | mr | mr | ...
//   made               | in front of the scan            | in the mr turns before they are read
//
// A unit of work has its share of the panels of B as it has of those of W. In each turn it takes the
// next 1/mr of their steps, spread evenly over its panels of W. The sums of a tile that is not done at the
// end of a turn wait in the kernels' shared memory, by unit. No sum depends on how steps are spread.
#include "codegen/cpu/gemm.h"

enum { FAR_TILES = 4, BLOCK = 128 }; // BLOCK: steps of one tile before the next one's

static int64_t known(const sq_gemm *x, sq_dim d) {
  int64_t v = 0;
  bool is = sq_dim_is_const(x->g->dims, d, &v);
  SQ_ASSERT(is, "a size that is known");
  return v;
}
static int64_t rows_of(const sq_gemm_pair *p) { return (int64_t)p->tiles * p->all.mr; }
static bool is_scan(const sq_node *n) { return n->op == SQ_OP_SCAN && !(n->flag & 1); }
static bool find(sq_graph *g, const sq_target *t, const sq_node *n, sq_gemm *x) {
  return n->op == SQ_OP_GENERIC && !n->g->keyed &&
         sq_gemm_find(g, t, sq_kernel_collapse(g, (sq_node *)(uintptr_t)n), x);
}

// ---- which ---------------------------------------------------------------------------------------
// Is the scalar the number of the turn?
static bool is_turn(const sq_node *n, uint32_t s, const sq_value *turn) {
  const sq_scalar *x = &n->g->s.v[s];
  if (x->kind == SQ_SC_CAST) x = &n->g->s.v[x->a[0]];
  return x->kind == SQ_SC_READ && !x->n_pos && n->in[x->operand] == turn;
}
typedef struct users {
  const sq_value *v;
  const sq_node *scan;
  bool ok;
} users;
static bool is_inside(const sq_node *n, const sq_node *scan) {
  for (const sq_node *o = n->block->owner; o; o = o->block->owner)
    if (o == scan) return true;
  return false;
}
static void look_at_user(sq_node *n, void *user) {
  users *u = user;
  for (uint32_t i = 0; i < n->n_in; i++) {
    if (n->in[i] != u->v) continue;
    if (n->op != SQ_OP_GENERIC || !is_inside(n, u->scan)) u->ok = false;
    for (uint32_t s = 0; u->ok && s < n->g->s.n; s++) {
      const sq_scalar *x = &n->g->s.v[s];
      if (x->kind != SQ_SC_READ || x->operand != i) continue;
      if (!is_turn(n, x->pos[0], u->scan->region[0]->args.v[0])) u->ok = false;
    }
  }
}
// Is the value read in the scan alone, each time the row of the turn?
static bool is_read_by_turn(const sq_value *v, const sq_node *scan) {
  users u = {v, scan, true};
  sq_walk(scan->block->func->body, look_at_user, &u);
  return u.ok;
}
typedef struct quiet {
  sq_graph *g;
  const sq_target *t;
  const sq_node *scan, *turn;
  const sq_value *kept; // in a slot: nothing else may lie there
  bool ok;
} quiet;
static void look_at_node(sq_node *n, void *user) {
  quiet *q = user;
  switch ((int)n->op) {
  case SQ_OP_GENERIC:
  case SQ_OP_GROUP:
  case SQ_OP_SWEEP:
  case SQ_OP_STREAM:
  case SQ_OP_SCAN:
  case SQ_OP_CUMULATE:
  case SQ_OP_PARAM:
  case SQ_OP_STATE_READ:
  case SQ_OP_YIELD:
    break;
  default:
    q->ok = false;
  }
  const sq_value *v = q->kept;
  for (uint32_t i = 0; i < n->n_out; i++)
    if (n->out[i]->store == v->store && n->out[i]->store_index == v->store_index) q->ok = false;
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t i = 0; i < n->region[r]->args.n; i++) {
      const sq_value *a = n->region[r]->args.v[i];
      if (a->store == v->store && a->store_index == v->store_index) q->ok = false;
    }
  if (n == q->turn || !is_inside(n, q->scan)) return;
  for (const sq_node *o = n->block->owner; o != q->scan; o = o->block->owner)
    if (sq_kernel_is(o)) return; // a part of that kernel
  if (sq_kernel_is(n) && sq_kernel_need(q->g, q->t, n).shared.i) q->ok = false;
}
// Does the operand A stay where it is until the scan ends, and does no kernel in the scan take the
// shared memory?
static bool is_quiet(sq_graph *g, const sq_target *t, const sq_gemm_pair *p) {
  const sq_gemm *x = &p->all;
  const sq_value *a = x->node->in[x->node->g->s.v[x->a].operand];
  if (a->store != SQ_STORE_INPUT && a->store != SQ_STORE_SLOT) return false;
  quiet q = {g, t, p->scan, p->turn, a, true};
  const sq_block *b = p->scan->block;
  bool behind = false;
  for (uint32_t i = 0; i < b->nodes.n && q.ok; i++) {
    sq_node *n = b->nodes.v[i];
    if (behind) {
      look_at_node(n, &q);
      for (uint32_t r = 0; r < n->n_region; r++) sq_walk(n->region[r], look_at_node, &q);
    }
    if (n == p->first) behind = true;
    if (n == p->scan) return q.ok && behind;
  }
  return false;
}
// Rows of A and panels of B as the inner loop reads them, and nothing else to do.
static bool is_plain(sq_gemm *x, const sq_target *t) {
  sq_arena *a = x->g->arena;
  sq_kern k;
  sq_cg cg;
  sq_knest nest;
  int64_t v;
  if (!x->packed || x->pairs || x->k.n != 1 || !sq_dim_is_const(x->g->dims, x->k.size, &v))
    return false;
  if (!sq_dim_is_const(x->g->dims, x->n.size, &v) || v % x->nr) return false;
  sq_gemm_ask(&nest, &k, x->g, a, t, &cg, x->node);
  return sq_gemm_a_direct(&nest, x) && sq_gemm_a_dense(&nest, x);
}
static bool is_first(sq_graph *g, const sq_target *t, const sq_node *n, sq_gemm_pair *p) {
  const sq_gemm *y = &p->one;
  const sq_value *out = n->n_out == 1 ? n->out[0] : NULL;
  if (n->op != SQ_OP_GENERIC || !out || out->store != SQ_STORE_SLOT || out->type.rank < 2)
    return false;
  if (!sq_dim_same(out->type.dim[0], p->scan->extent) || !is_read_by_turn(out, p->scan))
    return false;
  sq_gemm *x = &p->all;
  if (!find(g, t, n, x) || !is_plain(x, t) || x->node->g->post != SQ_NO_SCALAR || !x->m.n)
    return false;
  if (x->node->out[0]->type.dtype != x->type || x->type != y->type || x->panel != y->panel)
    return false;
  if (x->mr != y->mr || x->nv != y->nv || x->w != y->w) return false;
  if (x->m.axis[x->m.n - 1] > x->n.axis[0]) return false; // a row's results lie beside each other
  p->first = n;
  // Where B does not stay near, it comes once for several tiles.
  p->tiles =
      known(x, x->k.size) * known(x, x->n.size) * x->bytes > t->machine.l2_bytes ? FAR_TILES : 1;
  return is_quiet(g, t, p);
}
bool sq_gemm_pair_of_turn(sq_graph *g, const sq_target *t, const sq_node *n, sq_gemm_pair *p) {
  const sq_node *scan = n->block ? n->block->owner : NULL;
  if (!scan || !is_scan(scan) || n->op != SQ_OP_GENERIC) return false;
  *p = (sq_gemm_pair){.scan = scan, .turn = n};
  sq_gemm *y = &p->one, other;
  if (!find(g, t, n, y) || !is_plain(y, t)) return false;
  // Sums of a tile, two sets of those of a row, a row of either panel, an element.
  if (y->mr * y->nv + 3 * y->nv + 1 > t->machine.vector_registers) return false;
  for (uint32_t i = 0; n->block->nodes.v[i] != n; i++) // one of them in a scan
    if (find(g, t, n->block->nodes.v[i], &other)) return false;
  const sq_block *b = scan->block;
  for (uint32_t i = 0; b->nodes.v[i] != scan; i++)
    if (is_first(g, t, b->nodes.v[i], p)) return true;
  return false;
}
bool sq_gemm_pair_of_first(sq_graph *g, const sq_target *t, const sq_node *n, sq_gemm_pair *p) {
  bool behind = false;
  for (uint32_t i = 0; n->block && i < n->block->nodes.n; i++) {
    const sq_node *scan = n->block->nodes.v[i];
    if (scan == n) behind = true;
    if (!behind || !is_scan(scan)) continue;
    const sq_block *body = scan->region[0];
    for (uint32_t j = 0; j < body->nodes.n; j++)
      if (sq_gemm_pair_of_turn(g, t, body->nodes.v[j], p) && p->first == n) return true;
  }
  return false;
}

// ---- memory --------------------------------------------------------------------------------------
// Tiles of A, which may be written a vector beyond; behind them the sums of each unit.
static int64_t tile_bytes(const sq_gemm_pair *p) {
  return (known(&p->all, p->all.k.size) * rows_of(p) * p->all.bytes + 191) / 64 * 64;
}
static int64_t sums_of(const sq_gemm_pair *p) { return rows_of(p) * p->all.nr; }
sq_dim sq_gemm_beside_size(const sq_gemm_pair *p) {
  const sq_gemm *y = &p->one;
  int64_t panels = known(y, y->n.size) / y->nr, units = y->cut.most_units;
  units = panels < units ? panels : units;
  return sq_dim_const(y->g->dims, tile_bytes(p) + units * sums_of(p) * y->bytes);
}

// ---- in the entry --------------------------------------------------------------------------------
static sq_lv both(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildAnd(k->b, a, b, ""); }
static sq_lv test(sq_kern *k, LLVMIntPredicate p, sq_lv a, sq_lv b) {
  return LLVMBuildICmp(k->b, p, a, b, "");
}
// i1: a turn is one row, and there are turns enough.
static sq_lv is_beside(sq_kern *k, const sq_gemm_pair *p) {
  sq_lv turns = sq_cg_dim(k->cg, p->scan->extent), block = sq_k_int(k, rows_of(p));
  sq_lv one = test(k, LLVMIntEQ, sq_gemm_entry_size(k->cg, &p->one.m), sq_k_int(k, 1));
  sq_lv rows = test(k, LLVMIntEQ, sq_gemm_entry_size(k->cg, &p->all.m), turns);
  sq_lv many = test(k, LLVMIntSGE, turns, LLVMBuildAdd(k->b, block, block, ""));
  return both(k, both(k, one, rows), many);
}
static sq_lv first_rows(sq_kern *k, const sq_gemm_pair *p, sq_lv turns) {
  sq_lv block = sq_k_int(k, rows_of(p));
  return LLVMBuildAdd(k->b, block, LLVMBuildSRem(k->b, turns, block, ""), "");
}
sq_lv sq_gemm_first_rows(sq_cg *cg, const sq_gemm_pair *p) {
  sq_kern kern, *k = &kern;
  sq_kern_begin_here(k, cg);
  sq_lv some = first_rows(k, p, sq_cg_dim(cg, p->scan->extent));
  return LLVMBuildSelect(k->b, is_beside(k, p), some, sq_gemm_entry_size(cg, &p->all.m), "");
}
// Rows of A from `row` on as tiles.
static void lay_out(sq_kern *k, const sq_gemm_pair *p, sq_lv row, sq_lv tile) {
  const sq_gemm *x = &p->all;
  sq_lv n = sq_k_int(k, rows_of(p));
  sq_knest t;
  sq_knest_begin(&t, k, (sq_node *)(uintptr_t)x->node, NULL);
  sq_lv rows = sq_kern_entry_alloca(k, (uint32_t)rows_of(p));
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), n, 1, 0, NULL);
  uint32_t mark = sq_knest_enter(&t);
  sq_gemm_open(&t, &x->m, LLVMBuildAdd(k->b, row, l.i, ""));
  sq_gemm_open(&t, &x->k, sq_k_int(k, 0));
  LLVMBuildStore(k->b, sq_knest_read_pointer(&t, x->a),
                 LLVMBuildGEP2(k->b, k->ptr, rows, &l.i, 1, ""));
  sq_knest_leave(&t, mark);
  sq_gemm_close(&t, &x->m);
  sq_gemm_close(&t, &x->k);
  sq_kloop_end(k, &l, NULL);
  sq_gemm_interleave(k, x, rows, n, sq_k_int(k, known(x, x->k.size)), sq_k_int(k, 1), tile);
}
sq_gemm_beside sq_gemm_beside_begin(sq_cg *cg, const sq_gemm_pair *p) {
  sq_kern kern, *k = &kern;
  sq_kern_begin_here(k, cg);
  const sq_gemm *x = &p->all;
  sq_lv turns = sq_cg_dim(cg, p->scan->extent), block = sq_k_int(k, rows_of(p));
  sq_lv is = is_beside(k, p), first = first_rows(k, p, turns);
  const sq_value *number = p->scan->region[0]->args.v[0];
  sq_lv turn = sq_k_load(k, number->type.dtype, sq_cg_pointer(cg, number));
  turn = sq_k_cast(k, turn, number->type.dtype, SQ_I64);
  sq_lv since = LLVMBuildSub(k->b, turn, LLVMBuildSub(k->b, first, block, ""), "");
  sq_lv begun = test(k, LLVMIntSGE, since, sq_k_int(k, 0));
  since = sq_k_max(k, since, sq_k_int(k, 0));
  sq_lv part = LLVMBuildURem(k->b, since, block, "");
  sq_lv row = LLVMBuildAdd(k->b, first, LLVMBuildSub(k->b, since, part, ""), "");
  sq_lv some = both(k, both(k, is, begun), test(k, LLVMIntSLT, row, turns));
  sq_gemm_beside s = {.pair = p};
  s.is = LLVMBuildZExt(k->b, is, k->i64, "");
  s.part = part;
  s.tile = sq_cg_shared(cg);
  sq_lv at = sq_k_int(k, tile_bytes(p));
  s.sums = LLVMBuildGEP2(k->b, k->i8, s.tile, &at, 1, "");
  s.panels = sq_cg_pointer(cg, x->node->in[x->panels]);
  s.depth = LLVMBuildSelect(k->b, some, sq_k_int(k, known(x, x->k.size)), sq_k_int(k, 0), "");
  sq_lv off = LLVMBuildMul(k->b, row, sq_k_int(k, known(x, x->n.size)), "");
  s.out = sq_gemm_at(k, x, sq_cg_pointer(cg, x->node->out[0]), off);
  sq_kif f;
  sq_kif_begin(k, &f, both(k, some, test(k, LLVMIntEQ, part, sq_k_int(k, 0))));
  lay_out(k, p, row, s.tile);
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  return s;
}
void sq_gemm_beside_pass(sq_kern *k, sq_gemm_beside *s) {
  sq_lv *all[] = {&s->is, &s->part, &s->tile, &s->sums, &s->panels, &s->depth, &s->out};
  for (uint32_t i = 0; i < sizeof all / sizeof *all; i++) *all[i] = sq_kern_pass(k, *all[i]);
}

// ---- in the kernel -------------------------------------------------------------------------------
// Sums of a whole tile to where they belong.
static void put(sq_kern *k, const sq_gemm *x, sq_lv sums, sq_lv out) {
  sq_lv width = sq_k_int(k, known(x, x->n.size));
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_k_int(k, x->mr), 1, 0, NULL);
  sq_lv from = sq_gemm_at(k, x, sums, LLVMBuildMul(k->b, l.i, sq_k_int(k, x->nr), ""));
  sq_lv to = sq_gemm_at(k, x, out, LLVMBuildMul(k->b, l.i, width, ""));
  for (uint32_t v = 0; v < x->nv; v++) {
    sq_lv at = sq_k_int(k, (int64_t)v * x->w);
    sq_gemm_store(k, x, sq_gemm_at(k, x, to, at),
                  sq_gemm_load(k, x, sq_gemm_at(k, x, from, at), x->w));
  }
  sq_kloop_end(k, &l, NULL);
}
static sq_lv share(sq_kern *k, sq_lv all, sq_lv part, sq_lv parts) {
  return LLVMBuildUDiv(k->b, LLVMBuildMul(k->b, all, part, ""), parts, "");
}
// Where a step is: panels, in each blocks of k, in each the tiles.
typedef struct place {
  sq_lv panel, tile, i, left; // left: steps of this tile in this block
} place;
static place place_of(sq_kern *k, const sq_gemm_pair *p, sq_lv step) {
  int64_t depth = known(&p->all, p->all.k.size), per = depth * p->tiles;
  place at = {.panel = LLVMBuildUDiv(k->b, step, sq_k_int(k, per), "")};
  sq_lv rest = LLVMBuildURem(k->b, step, sq_k_int(k, per), ""), all = sq_k_int(k, depth);
  if (p->tiles == 1) {
    at.tile = sq_k_int(k, 0);
    at.i = rest;
    at.left = LLVMBuildSub(k->b, all, rest, "");
    return at;
  }
  sq_lv blocks = sq_k_int(k, (int64_t)p->tiles * BLOCK), size = sq_k_int(k, BLOCK);
  sq_lv from = LLVMBuildMul(k->b, LLVMBuildUDiv(k->b, rest, blocks, ""), size, "");
  sq_lv length = sq_k_min(k, size, LLVMBuildSub(k->b, all, from, ""));
  rest = LLVMBuildURem(k->b, rest, blocks, "");
  at.tile = LLVMBuildUDiv(k->b, rest, length, "");
  rest = LLVMBuildURem(k->b, rest, length, "");
  at.i = LLVMBuildAdd(k->b, from, rest, "");
  at.left = LLVMBuildSub(k->b, length, rest, "");
  return at;
}
void sq_gemm_beside_panel(sq_kern *k, const sq_gemm_beside *s, const sq_gemm_beside_at *at) {
  const sq_gemm *x = &s->pair->all, *y = &s->pair->one;
  sq_lv zero = sq_k_int(k, 0), one = sq_k_int(k, 1), nr = sq_k_int(k, x->nr);
  sq_lv depth = sq_k_int(k, known(x, x->k.size)), length = sq_k_int(k, known(y, y->k.size));
  sq_lv all = sq_k_int(k, known(x, x->n.size) / x->nr);
  sq_lv p_lo = share(k, all, at->unit, at->units);
  sq_lv p_hi = share(k, all, LLVMBuildAdd(k->b, at->unit, one, ""), at->units);
  // Steps of this unit, and those of this turn and panel.
  sq_lv tiles = sq_k_int(k, s->pair->tiles);
  sq_lv steps = LLVMBuildMul(k->b, LLVMBuildSub(k->b, p_hi, p_lo, ""), s->depth, "");
  steps = LLVMBuildMul(k->b, steps, tiles, "");
  sq_lv parts = LLVMBuildMul(k->b, at->panels, sq_k_int(k, rows_of(s->pair)), "");
  sq_lv part = LLVMBuildAdd(k->b, LLVMBuildMul(k->b, s->part, at->panels, ""), at->panel, "");
  sq_lv from = share(k, steps, part, parts);
  sq_lv end = share(k, steps, LLVMBuildAdd(k->b, part, one, ""), parts);
  sq_lv mine = LLVMBuildMul(k->b, at->unit, sq_k_int(k, sums_of(s->pair)), "");
  sq_lv begin[2] = {from, zero};
  mine = sq_gemm_at(k, x, s->sums, mine);
  sq_kloop l;
  sq_kwhile_begin(k, &l, 2, begin);
  sq_lv step = l.phi[0], row = l.phi[1];
  sq_kwhile_test(k, &l, test(k, LLVMIntSLT, step, end));
  place to = place_of(k, s->pair, step);
  sq_lv panel = LLVMBuildAdd(k->b, p_lo, to.panel, "");
  sq_lv some = sq_k_min(k, LLVMBuildSub(k->b, end, step, ""), to.left);
  sq_lv a = LLVMBuildAdd(k->b, LLVMBuildMul(k->b, to.tile, depth, ""), to.i, "");
  sq_lv b = LLVMBuildAdd(k->b, LLVMBuildMul(k->b, panel, depth, ""), to.i, "");
  sq_lv rows = LLVMBuildMul(k->b, to.tile, sq_k_int(k, x->mr), "");
  sq_lv sums = sq_gemm_at(k, x, mine, LLVMBuildMul(k->b, rows, nr, ""));
  sq_gemm_micro_pair c = {
      .tile = sq_gemm_at(k, x, s->tile, LLVMBuildMul(k->b, a, sq_k_int(k, x->mr), "")),
      .b = sq_gemm_panel_at(k, x, s->panels, LLVMBuildMul(k->b, b, nr, "")),
      .steps = some,
      .sums = sums,
      .more = to.i,
      .row = sq_gemm_at(k, y, at->row, row),
      .w = sq_gemm_panel_at(k, y, at->w, LLVMBuildMul(k->b, row, nr, "")),
      .left = LLVMBuildSub(k->b, length, row, ""),
      .out = at->out,
      .some = row,
  };
  sq_lv next[2] = {LLVMBuildAdd(k->b, step, some, ""), NULL};
  next[1] = LLVMBuildAdd(k->b, row, sq_gemm_micro_beside(k, x, y, &c), "");
  sq_kif f;
  sq_kif_begin(k, &f, test(k, LLVMIntEQ, LLVMBuildAdd(k->b, to.i, some, ""), depth));
  sq_lv out = LLVMBuildMul(k->b, rows, sq_k_int(k, known(x, x->n.size)), "");
  out = LLVMBuildAdd(k->b, out, LLVMBuildMul(k->b, panel, nr, ""), "");
  put(k, x, sums, sq_gemm_at(k, x, s->out, out));
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  sq_kwhile_end(k, &l, next);
  sq_gemm_micro_pair rest = {
      .row = sq_gemm_at(k, y, at->row, row),
      .w = sq_gemm_panel_at(k, y, at->w, LLVMBuildMul(k->b, row, nr, "")),
      .left = LLVMBuildSub(k->b, length, row, ""),
      .out = at->out,
      .some = row,
  };
  sq_gemm_micro_row(k, y, &rest);
}
