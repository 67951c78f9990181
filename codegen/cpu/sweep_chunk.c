// Sweeps in blocks of turns: the plan, and a unit.
//
//   states from where the scan begins
//   for each block of C turns
//     where it is whole: keys, vectors, scores, sums, states of a copy (the head of sweep_chunk.h)
//       if all of it is finite: what follows the sums, stores; the copy is the state
//     otherwise: turn by turn (sweep_rows.c), from the states as they were
//   ends
//
// What a block makes of a finite turn is finite or is not used: products over ranges may overflow, and 0
// times infinity in a place that is masked gives NaN, where turn by turn all is well.
#include "codegen/cpu/sweep_chunk.h"

enum { FEW_UNITS = 4, NEAR = 96 * 1024 };

// ---- the plan ----------------------------------------------------------------------------------
typedef struct space {
  sq_dims *ds;
  uint32_t bytes;
  sq_dim used;
} space;
static sq_dim up_to(sq_dims *ds, sq_dim n, uint32_t to) {
  sq_dim whole = sq_dim_add(ds, n, sq_dim_const(ds, to - 1));
  return sq_dim_mul(ds, sq_dim_floordiv(ds, whole, sq_dim_const(ds, to)), sq_dim_const(ds, to));
}
// `each` elements, times so many.
static sq_dim take(space *s, sq_dim each, uint64_t times) {
  sq_dim at = s->used, n = sq_dim_const(s->ds, (int64_t)(times * s->bytes));
  s->used = sq_dim_add(s->ds, at, up_to(s->ds, sq_dim_mul(s->ds, each, n), 64));
  return at;
}

bool sq_schunk_read_columns(const sq_schunk *p, uint32_t read) {
  return p->c.state[p->c.read[read].term[0].state].has_columns;
}

static void place_arrays(sq_schunk *p, sq_dims *ds, uint32_t w, sq_arena *a) {
  uint32_t n = p->length;
  sq_dim one = sq_dim_const(ds, 1);
  space s = {.ds = ds, .bytes = p->bytes, .used = sq_dim_const(ds, 0)};
  p->panel = sq_dim_mul(ds, p->lines, sq_dim_const(ds, w * p->bytes));
  take(&s, p->lines, (uint64_t)p->n_state * p->panels * w);
  p->half = take(&s, p->lines, (uint64_t)p->n_state * p->panels * w);
  p->turned = take(&s, p->stride, (uint64_t)p->c.n_add * w);
  for (uint32_t k = 0; k < p->n_state; k++) {
    bool rows = p->c.state[k].by_rows;
    p->state[k].decays = take(&s, rows ? p->stride : one, n);
    p->state[k].ranges = take(&s, one, rows ? 0 : (uint64_t)(n + 1) * n);
    p->state[k].begin = take(&s, rows ? p->stride : one, rows ? 1 : n + 1);
    p->state[k].plain = take(&s, p->stride, 1);
  }
  for (uint32_t i = 0; i < p->c.n_add; i++) {
    bool wide = p->c.state[p->c.add[i].state].has_columns;
    p->add[i].keys = take(&s, p->stride, n);
    p->add[i].vectors = take(&s, one, wide ? (uint64_t)p->panels * n * w : n);
  }
  for (uint32_t q = 0; q < p->n_pair; q++) {
    uint32_t n_add = p->c.state[p->pair[q].state].n_add;
    p->pair[q].factors = take(&s, p->stride, n);
    p->pair[q].scores = SQ_ARRAY(a, sq_dim, n_add);
    for (uint32_t i = 0; i < n_add; i++) p->pair[q].scores[i] = take(&s, one, (uint64_t)n * n);
  }
  p->sums = SQ_ARRAY(a, sq_dim, p->c.n_read + 1);
  for (uint32_t r = 0; r < p->c.n_read; r++)
    p->sums[r] = take(&s, one, sq_schunk_read_columns(p, r) ? (uint64_t)p->panels * n * w : n);
  p->used = s.used;
}

static void find_pairs(sq_schunk *p, sq_arena *a) {
  p->pair = SQ_ARRAY(a, sq_schunk_pair, p->c.n_pairs + 1);
  for (uint32_t r = 0; r < p->c.n_read; r++)
    for (uint32_t i = 0; i < p->c.read[r].n_term; i++) {
      const sq_chunk_term *t = &p->c.read[r].term[i];
      p->pair[p->n_pair++] = (sq_schunk_pair){.read = r, .state = t->state, .term = t};
    }
}

// All columns share scores. At few lanes, or where the states are far away, they are split.
static uint32_t panels_of_unit(const sq_sweep *s, const sq_schunk *p, uint32_t all, uint32_t w) {
  int64_t units = 1, v;
  uint32_t panels = all, rows = p->c.rows ? p->c.rows : SQ_CHUNK_GUESS;
  if (!p->c.columns) return all;
  for (uint32_t c = 0; c < s->n_class; c++)
    if (s->lane[c] && c != p->c.column)
      units *= sq_dim_is_const(s->g->dims, s->size[c], &v) && v > 0 ? v : FEW_UNITS;
  while (panels % 2 == 0 && panels / 2 >= p->nv &&
         (units * (all / panels) < FEW_UNITS ||
          (uint64_t)panels * rows * w * p->bytes * p->n_state > NEAR))
    panels /= 2;
  return panels;
}

bool sq_schunk_plan(sq_sweep *s, const sq_target *t, sq_splan *to, sq_arena *a) {
  sq_schunk *p = SQ_NEW(a, sq_schunk);
  if (!s->chunk) return false;
  p->c = sq_chunk_make(s);
  if (p->c.why || !sq_srows_fit(s, a)) return false;
  uint32_t w = t->machine.vector_bytes / (uint32_t)sq_dtype_table[p->c.type].bytes;
  if (w < 2 || s->chunk % w) return false;
  p->n_state = s->scan->n_carried;
  p->length = s->chunk;
  p->bytes = (uint32_t)sq_dtype_table[p->c.type].bytes;
  p->tile = w < SQ_SCHUNK_TILE ? w : SQ_SCHUNK_TILE;
  sq_dims *ds = s->g->dims;
  sq_dim rows = sq_dim_max(ds, sq_dim_storage(ds, s->size[p->c.row]), sq_dim_const(ds, 1));
  p->stride = up_to(ds, rows, w);
  p->lines = up_to(ds, rows, p->tile);
  int64_t columns = p->c.columns ? p->c.columns : SQ_CHUNK_GUESS;
  uint32_t all = (uint32_t)((columns + w - 1) / w),
           most = t->machine.vector_registers >= 32 ? 4 : 2;
  p->nv = all < most ? all : most;
  p->panels = panels_of_unit(s, p, all, w);
  p->state = SQ_ARRAY(a, sq_schunk_state, p->n_state + 1);
  p->add = SQ_ARRAY(a, sq_schunk_add, p->c.n_add + 1);
  find_pairs(p, a);
  place_arrays(p, ds, w, a);
  to->blocks = p;
  to->va = p->c.column;
  to->w = w;
  to->chunk = p->panels;
  to->rows = true;
  to->registers = false;
  to->turns = 0;
  for (to->sets = SQ_SWEEP_SETS; p->panels % to->sets;) to->sets /= 2;
  to->place = SQ_ARRAY(a, sq_dim, s->n_value + 1);
  for (uint32_t k = 0; k < p->n_state; k++)
    to->place[k] = sq_dim_mul(ds, p->panel, sq_dim_const(ds, (int64_t)k * p->panels));
  to->lines = p->lines;
  to->scratch = p->used;
  sq_chunk_cost cost = sq_chunk_costs(&p->c, p->n_state, t->machine.vector_bytes);
  to->cost = cost.blocks / all;
  return true;
}

// ---- a unit ------------------------------------------------------------------------------------
sq_lv sq_schunk_at(const sq_schunk_emit *x, sq_dim place, sq_lv element) {
  sq_kern *k = x->k;
  sq_lv off = LLVMBuildNSWMul(k->b, element, sq_k_int(k, x->p->bytes), "");
  off = LLVMBuildNSWAdd(k->b, off, sq_kern_dim(k, place), "");
  return LLVMBuildGEP2(k->b, k->i8, x->base, &off, 1, "");
}

typedef struct by_turns { // work of sweep_rows.c on the panels
  sq_schunk_emit *x;
  sq_sblock fn;
  sq_sturns turns;
} by_turns;

static void panel_turns(sq_semit *e, sq_lv block, void *user) {
  by_turns *r = user;
  sq_kern *k = e->k;
  sq_lv off = LLVMBuildMul(k->b, block, r->x->panel, "");
  off = LLVMBuildAdd(k->b, off, r->x->from, "");
  e->scratch = LLVMBuildGEP2(k->b, k->i8, r->x->base, &off, 1, "");
  r->fn(e, block, &r->turns);
}

static void with_rows(sq_schunk_emit *x, sq_lv lo, sq_lv hi, sq_sblock fn, sq_sturns turns) {
  by_turns r = {x, fn, turns};
  sq_semit_blocks(x->e, lo, hi, x->e->p->sets, panel_turns, &r);
  x->e->scratch = x->base;
}

// A whole block; gives whether it may be used.
static sq_lv products(sq_schunk_emit *x, sq_lv lo, sq_lv hi) {
  sq_kern *k = x->k;
  x->e->first = x->lo = lo;
  x->hi = hi;
  sq_schunk_keys(x);
  sq_schunk_vectors(x, lo, hi);
  sq_schunk_scores(x);
  sq_schunk_products(x);
  sq_lv bad = LLVMBuildLoad2(k->b, sq_k_vec(sq_k_type(k, x->p->c.type), x->w), x->bad, "");
  bad = sq_k_any(k, LLVMBuildFCmp(k->b, LLVMRealUNO, bad, bad, ""));
  return LLVMBuildNot(k->b, bad, "");
}

// Lines behind the last row are 0 in all turns.
static void clear_lines(sq_schunk_emit *x) {
  sq_kern *k = x->k;
  sq_kloop l;
  if (sq_dim_same(x->p->lines, x->s->size[x->p->c.row])) return;
  sq_lv none = LLVMConstNull(sq_k_vec(sq_k_type(k, x->p->c.type), x->w));
  sq_lv lines = LLVMBuildMul(k->b, x->lines, sq_k_int(k, x->p->panels * x->p->n_state), "");
  sq_kloop_begin(k, &l, sq_k_int(k, 0), lines, 1, 0, NULL);
  sq_lv at = LLVMBuildMul(k->b, l.i, sq_k_int(k, x->w), "");
  sq_k_store_row(k, x->p->c.type, sq_k_offset(k, x->base, at, x->p->c.type), none, NULL);
  sq_kloop_end(k, &l, NULL);
}

// NULL: they always are worth it.
static sq_lv worth_blocks(sq_schunk_emit *x) {
  sq_kern *k = x->k;
  const sq_chunk *c = &x->p->c;
  if (c->rows && c->columns) return NULL;
  sq_lv rows = sq_kern_dim(k, x->s->size[c->row]), columns = sq_kern_dim(k, x->s->size[c->column]);
  sq_lv least = sq_k_int(k, SQ_CHUNK_LEAST);
  return LLVMBuildICmp(k->b, LLVMIntSGE, LLVMBuildMul(k->b, rows, columns, ""), least, "");
}

static sq_lv panels_there(sq_schunk_emit *x, sq_lv lo, sq_lv hi) {
  sq_kern *k = x->k;
  if (x->p->c.columns) return sq_k_int(k, x->p->panels);
  return sq_k_ceil_div(k, k->b, LLVMBuildSub(k->b, hi, lo, ""), sq_k_int(k, x->w));
}

void sq_schunk_unit(sq_semit *e, sq_lv lo, sq_lv hi) {
  sq_kern *k = e->k;
  const sq_schunk *p = e->p->blocks;
  sq_schunk_emit em = {.e = e, .k = k, .s = e->s, .p = p, .w = e->p->w, .base = e->scratch};
  sq_schunk_emit *x = &em;
  sq_lv zero = sq_k_int(k, 0), all = sq_kern_dim(k, e->s->extent), half = sq_kern_dim(k, p->half);
  x->stride = sq_kern_dim(k, p->stride);
  x->lines = sq_kern_dim(k, p->lines);
  x->panel = sq_kern_dim(k, p->panel);
  x->panels = panels_there(x, lo, hi);
  x->bad = sq_k_alloca(k, sq_k_vec(sq_k_type(k, p->c.type), x->w), 1);
  x->from = zero;
  for (uint32_t v = 0; v < e->s->n_value; v++) e->value[v] = SQ_ARRAY(k->a, sq_lv, SQ_SWEEP_SETS);
  clear_lines(x);
  with_rows(x, lo, hi, sq_srows_begin, (sq_sturns){0});
  e->first = lo;
  sq_schunk_decays(x);
  sq_kloop l;
  sq_kif f;
  sq_lv worth = worth_blocks(x);
  sq_kloop_begin(k, &l, zero, all, p->length, 1, &zero);
  x->first = l.i;
  x->from = l.phi[0];
  x->to = LLVMBuildSub(k->b, half, x->from, "");
  sq_lv end = LLVMBuildAdd(k->b, l.i, sq_k_int(k, p->length), "");
  sq_lv no = LLVMConstInt(k->i1, 0, 0), done;
  sq_kif_begin(k, &f, sq_k_and(k, worth, LLVMBuildICmp(k->b, LLVMIntSLE, end, all, "")));
  sq_lv ok = products(x, lo, hi);
  sq_kif_end(k, &f, 1, &ok, &no, &done);
  sq_kif_begin(k, &f, done);
  sq_schunk_after(x, lo, hi);
  sq_kif_else(k, &f);
  with_rows(x, lo, hi, sq_srows_turns, (sq_sturns){l.i, sq_k_min(k, end, all)});
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  sq_lv next = LLVMBuildSelect(k->b, done, x->to, x->from, "");
  sq_kloop_end(k, &l, &next);
  x->from = l.phi[0];
  with_rows(x, lo, hi, sq_srows_end, (sq_sturns){0});
}
