// The delta rule and its kin in blocks: vectors v[t] that turns add are made of sums W[t] over the states
// before them. For each tile of turns, in order:
//
//   W[t + r] = (K' S)[t + r] + sum_{s < t} L[t + r][s] v[s]              a tile of sums, as all others
//   W[t + r] += sum_{s < r} L[t + r][t + s] v[t + s],  v[t + r] = f(W[t + r])      for r in order
//
// That is the triangular system (1 - L) of the block, solved by substitution along all columns: its inverse,
// whose numbers can grow, is never formed, and what is found solves a system that differs by roundings of L's
// own numbers. For v = b (u - W) the inverse has -b_t k_t' M k_s below its diagonal, M the product of the
// turns between, a (1 - b k k'): where a <= 1 and 0 <= b |k|^2 <= 2 that is at most b |k_t| |k_s|, and what
// one turn's sum loses comes to a later one as it does turn by turn. It is measured by the largest state of
// the block, though, not by that of the turn.
#include "codegen/cpu/sweep_chunk.h"

typedef sq_lv tile_vectors[SQ_SCHUNK_TILE][SQ_SWEEP_SETS];

typedef struct solver {
  sq_schunk_emit *x;
  uint32_t nv;
  sq_lv panel, t;                  // the first panel; the tile's first turn
  sq_schunk_nest *member, *column; // per member; per product
  sq_schunk_tile *sum;             // per read
  tile_vectors *v;                 // per product: of the tile's turns
} solver;

static sq_lv add(sq_kern *k, sq_lv a, int64_t b) {
  return b ? LLVMBuildNSWAdd(k->b, a, sq_k_int(k, b), "") : a;
}
static sq_lv mul(sq_kern *k, sq_lv a, int64_t b) {
  return LLVMBuildNSWMul(k->b, a, sq_k_int(k, b), "");
}

// Turn r of the tile, panel `set`, in arrays [panel][C][w].
static sq_lv place(solver *s, sq_dim array, uint32_t r, uint32_t set) {
  sq_schunk_emit *x = s->x;
  sq_kern *k = x->k;
  sq_lv line = mul(k, add(k, s->panel, set), x->p->length);
  line = add(k, LLVMBuildNSWAdd(k->b, line, s->t, ""), r);
  return sq_schunk_at(x, array, mul(k, line, x->w));
}

// ---- a turn ------------------------------------------------------------------------------------
static sq_lv element(const sq_schunk_nest *n, uint32_t set, sq_lv t, sq_lv sum) {
  sq_knest *e = &n->el[set]->t; // the next turn has values of its own
  uint32_t mark = sq_knest_enter(e);
  sq_selement_turn(n->el[set], t);
  sq_lv v = sq_schunk_value(n, set, sum);
  sq_knest_leave(e, mark);
  return v;
}

// What the turns of the tile, up to this one, add to a sum.
static void finish_sum(solver *s, uint32_t read, uint32_t r) {
  sq_schunk_emit *x = s->x;
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  sq_lv *acc = &s->sum[read].acc[r * s->nv];
  for (uint32_t i = 0; i < p->n_pair; i++) {
    const sq_schunk_pair *q = &p->pair[i];
    if (q->read != read) continue;
    const sq_chunk_state *st = &p->c.state[q->state];
    for (uint32_t c = 0; c < st->n_add * (r + !q->term->before); c++) {
      uint32_t one = c % st->n_add, turn = c / st->n_add;
      sq_lv at = add(k, mul(k, add(k, s->t, r), p->length), turn);
      at = LLVMBuildNSWAdd(k->b, at, s->t, "");
      sq_lv by = sq_k_load(k, p->c.type, sq_schunk_at(x, q->scores[one], at));
      by = sq_k_splat(k, by, x->w);
      for (uint32_t v = 0; v < s->nv; v++)
        acc[v] = sq_k_fma(k, by, s->v[st->first + one][turn][v], acc[v]);
    }
  }
  for (uint32_t v = 0; v < s->nv; v++)
    sq_k_store_row(k, p->c.type, place(s, p->sums[read], r, v), acc[v], NULL);
  sq_schunk_watch(x, acc, s->nv);
}

static void solve_read(solver *s, uint32_t read, uint32_t r, sq_lv t) {
  sq_schunk_emit *x = s->x;
  sq_kern *k = x->k;
  uint32_t member = x->p->c.read[read].member;
  bool wide = sq_schunk_read_solved(x->p, read);
  sq_lv sum = NULL;
  if (wide)
    finish_sum(s, read, r);
  else
    sum = sq_k_load(k, x->p->c.type, sq_schunk_at(x, x->p->sums[read], add(k, s->t, r)));
  for (uint32_t v = 0; v < s->nv; v++)
    x->e->value[x->s->member[member].value][v] =
        element(&s->member[member], v, t, wide ? s->sum[read].acc[r * s->nv + v] : sum);
}

static void solve_vectors(solver *s, uint32_t product, uint32_t r, sq_lv t) {
  sq_schunk_emit *x = s->x;
  sq_kern *k = x->k;
  for (uint32_t v = 0; v < s->nv; v++) {
    sq_lv one = sq_k_splat(k, element(&s->column[product], v, t, NULL), x->w);
    if (x->e->mask)
      one = LLVMBuildSelect(k->b, x->e->mask, one, LLVMConstNull(LLVMTypeOf(one)), "");
    s->v[product][r][v] = one;
    sq_k_store_row(k, x->p->c.type, place(s, x->p->add[product].vectors, r, v), one, NULL);
  }
}

static void solve_turn(solver *s, uint32_t r) {
  sq_schunk_emit *x = s->x;
  sq_kern *k = x->k;
  const sq_chunk *c = &x->p->c;
  sq_lv t = sq_semit_turn(x->e, LLVMBuildAdd(k->b, x->first, add(k, s->t, r), ""));
  uint32_t read = 0;
  for (uint32_t a = 0; a < c->n_add; a++)
    for (uint32_t v = 0; sq_schunk_fills(x->p, a) && v < s->nv; v++)
      s->v[a][r][v] = sq_k_load_row(k, c->type, place(s, x->p->add[a].vectors, r, v), x->w, NULL);
  for (uint32_t i = 0; i < x->s->n_member; i++) {
    bool sum = c->role[i] == SQ_CHUNK_READ;
    if (sum && c->solve[i]) solve_read(s, read, r, t);
    read += sum;
    for (uint32_t a = 0; a < c->n_add; a++)
      if (c->add[a].solved && c->state[c->add[a].state].member == i) solve_vectors(s, a, r, t);
    if (!c->solve[i] || sum) continue;
    for (uint32_t v = 0; v < s->nv; v++)
      x->e->value[x->s->member[i].value][v] = element(&s->member[i], v, t, NULL);
  }
}

// ---- a set of panels ---------------------------------------------------------------------------
static void open_nests(solver *s) {
  sq_schunk_emit *x = s->x;
  sq_arena *a = x->k->a;
  const sq_schunk *p = x->p;
  s->member = SQ_ARRAY(a, sq_schunk_nest, x->s->n_member + 1);
  s->column = SQ_ARRAY(a, sq_schunk_nest, p->c.n_add + 1);
  s->sum = SQ_ARRAY(a, sq_schunk_tile, p->c.n_read + 1);
  s->v = SQ_ARRAY(a, tile_vectors, p->c.n_add + 1);
  for (uint32_t i = 0; i < x->s->n_member; i++)
    if (p->c.solve[i]) s->member[i] = sq_schunk_open(x, &x->s->member[i], s->nv);
  for (uint32_t i = 0; i < p->c.n_add; i++) {
    const sq_chunk_add *c = &p->c.add[i];
    uint32_t member = p->c.state[c->state].member;
    if (c->solved) s->column[i] = sq_schunk_open(x, sq_schunk_part(x, member, c->column), s->nv);
  }
}

static sq_lv lanes_that_are(sq_schunk_emit *x) {
  sq_kern *k = x->k;
  sq_lv left = LLVMBuildTrunc(k->b, LLVMBuildSub(k->b, x->hi, x->e->first, ""), k->i32, "");
  return LLVMBuildICmp(k->b, LLVMIntSLT, sq_k_lane_index(k, x->w, k->i32),
                       sq_k_splat(k, left, x->w), "");
}

void sq_schunk_solve(sq_schunk_emit *x, sq_lv panel, uint32_t nv, bool last) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  solver s = {.x = x, .nv = nv, .panel = panel};
  x->e->sets = nv;
  x->e->first = LLVMBuildAdd(k->b, x->lo, mul(k, panel, x->w), "");
  x->e->mask = last ? lanes_that_are(x) : NULL;
  open_nests(&s);
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_k_int(k, p->length), p->tile, 0, NULL);
  s.t = l.i;
  if (nv == p->nv)
    sq_schunk_fetch(x, LLVMBuildUDiv(k->b, panel, sq_k_int(k, nv), ""), p->panels / nv, l.i);
  for (uint32_t read = 0; read < p->c.n_read; read++)
    if (sq_schunk_read_solved(p, read)) s.sum[read] = sq_schunk_sum(x, read, panel, nv, l.i, l.i);
  for (uint32_t r = 0; r < p->tile; r++) solve_turn(&s, r);
  sq_kloop_end(k, &l, NULL);
  x->e->mask = NULL;
}
