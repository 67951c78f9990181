// A block of keys for all rows of a set at once, which lie along the lanes.
//
//   score[key][rows] = q . k                        a register tile, sq_kstream_scores
//   for vectors of rows
//     for keys: score = post(score); -inf where a condition fails; new max
//     for keys: weight = 2^(c (score - max)); sums
//   output[column][rows] += weight[key][rows] * v   a register tile, sq_kstream_values
//
// Conditions are tested only in blocks that some row does not see whole. The others go by pairs of keys and of
// the width where processors multiply bf16 so.
#include "codegen/cpu/stream.h"

static sq_lv add(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildAdd(k->b, a, b, ""); }
static sq_lv mul(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildMul(k->b, a, b, ""); }
static bool has_max(const sq_kattend *r) { return r->s->p.max.n != NULL; }
static sq_lv constant(const sq_kattend *r, double v) {
  return sq_k_splat(r->k, sq_k_const(r->k, r->s->type, v, 0), r->s->w);
}
static sq_lv lowest(const sq_kattend *r) {
  return sq_k_splat(r->k, sq_k_lowest(r->k, r->s->type), r->s->w);
}
static sq_lv larger(const sq_kattend *r, sq_lv a, sq_lv b) {
  return sq_k_ewise(r->k, SQ_EW_MAX, r->s->type, a, b, false, false);
}

// One vector of rows: those of the set from `row` on.
typedef struct strip {
  sq_kattend *r;
  const sq_kblock *b;
  sq_lv row;
} strip;

static sq_lv place(const strip *x, sq_lv key) { // of the scores with a key of the block
  return add(x->r->k, mul(x->r->k, key, sq_k_int(x->r->k, x->r->s->set)), x->row);
}
static sq_kmark open_key(const strip *x, sq_lv key) {
  sq_kmark mark = sq_kmembers_enter(&x->r->m);
  sq_kmembers_open(&x->r->m, SQ_STREAM_KEY, add(x->r->k, x->b->key, key));
  return mark;
}
static void close_key(const strip *x, sq_kmark mark) {
  sq_kmembers_leave(&x->r->m, mark);
  sq_kmembers_close(&x->r->m, SQ_STREAM_KEY);
}

// ---- softmax -----------------------------------------------------------------------------------
// Scores with their ends, -inf where a condition fails. Gives the greatest of each row.
static sq_lv finish_scores(const strip *x, bool sure) {
  sq_kattend *r = x->r;
  sq_kern *k = r->k;
  sq_kloop l;
  sq_lv low = lowest(r);
  sq_kloop_begin(k, &l, sq_k_int(k, 0), x->b->n, 1, 1, &low);
  sq_kmark mark = open_key(x, l.i);
  sq_lv at = place(x, l.i), sum = sq_kattend_load(r, r->p, at), v = sq_kattend_score(r, sum);
  sq_lv where = sure ? NULL : sq_kstream_conditions(&r->m.max, 0, r->s->p.n_common);
  if (where) v = LLVMBuildSelect(k->b, sq_k_splat(k, where, r->s->w), v, low, "");
  if (v != sum) sq_kattend_store(r, r->p, at, v);
  sq_lv most = larger(r, l.phi[0], v);
  close_key(x, mark);
  sq_kloop_end(k, &l, &most);
  return l.phi[0];
}
// The new maxima; what was summed so far is scaled to them.
static sq_lv raise_max(const strip *x, sq_lv lanes) {
  sq_kattend *r = x->r;
  sq_kern *k = r->k;
  sq_lv at = sq_kattend_stat(r, x->row, SQ_KSTREAM_MAX), old = sq_kattend_load(r, r->stats, at);
  sq_lv most = larger(r, old, lanes), by = sq_kstream_raised(k, r->s, old, most);
  sq_lv same = LLVMBuildFCmp(k->b, LLVMRealOEQ, most, old, "");
  by = LLVMBuildSelect(k->b, same, constant(r, 1), by, "");
  sq_kattend_store(r, r->stats, at, most);
  sq_kattend_store(r, r->stats, sq_kattend_stat(r, x->row, SQ_KSTREAM_BY), by);
  for (uint32_t i = 0; i < r->s->p.n_sum; i++) {
    at = sq_kattend_stat(r, x->row, SQ_KSTREAM_SUM + i);
    sq_lv sum = sq_kattend_load(r, r->stats, at);
    sq_kattend_store(r, r->stats, at, LLVMBuildFMul(k->b, sum, by, ""));
  }
  return most;
}

// ---- weights -----------------------------------------------------------------------------------
// Scalar `id` of a sum, 0 where it does not count: see weighed in stream_row.c.
static sq_lv weighed(const strip *x, sq_knest *t, uint32_t id, sq_lv seen, bool sure) {
  sq_kattend *r = x->r;
  sq_kern *k = r->k;
  uint32_t first = has_max(r) || sure ? r->s->p.n_common : 0;
  sq_lv where = sq_kstream_conditions(t, first, t->g->domain.n);
  if (seen && !sq_kattend_is_bare(r, t, id)) where = sq_k_and(k, where, seen);
  sq_lv v = sq_k_splat(k, sq_knest_value(t, id), r->s->w);
  if (!where) return v;
  where = sq_k_splat(k, where, r->s->w);
  return LLVMBuildSelect(k->b, where, v, LLVMConstNull(LLVMTypeOf(v)), "");
}
// Lets the members know score and weight of sum x; gives where the weight is not 0 by a condition.
static sq_lv let_weight(const strip *x, sq_lv score, sq_kshift shift) {
  sq_kattend *r = x->r;
  sq_kern *k = r->k;
  if (!has_max(r)) {
    sq_kmembers_let(&r->m, &r->s->p.score, sq_kattend_score(r, score));
    return NULL;
  }
  sq_lv less = LLVMBuildFNeg(k->b, shift.by, "");
  sq_kmembers_let(&r->m, &r->s->p.score, score);
  sq_kmembers_let(&r->m, &r->s->p.weight, sq_kstream_exp2(k, sq_k_fma(k, score, shift.c, less)));
  return LLVMBuildFCmp(k->b, LLVMRealUNE, score, lowest(r), "");
}
// Weights of the block in place of the scores, and the sums.
static void weigh(const strip *x, sq_lv most, bool sure) {
  sq_kattend *r = x->r;
  sq_kern *k = r->k;
  sq_kshift shift = {0};
  if (has_max(r)) shift = sq_kstream_shift(k, r->s, most);
  uint32_t n = r->s->p.n_sum;
  sq_lv part[SQ_STREAM_SUMS];
  sq_kloop l;
  for (uint32_t i = 0; i < n; i++)
    part[i] = sq_kattend_load(r, r->stats, sq_kattend_stat(r, x->row, SQ_KSTREAM_SUM + i));
  sq_kloop_begin(k, &l, sq_k_int(k, 0), x->b->n, 1, n, part);
  sq_kmark mark = open_key(x, l.i);
  sq_lv at = place(x, l.i), sum = sq_kattend_load(r, r->p, at);
  sq_lv seen = let_weight(x, sum, shift);
  for (uint32_t i = 0; i < n; i++) {
    sq_knest *t = &r->m.sum[i];
    part[i] = l.phi[i];
    if (!t->g->n_red) continue;
    part[i] = LLVMBuildFAdd(k->b, part[i], weighed(x, t, t->g->body, seen, sure), "");
  }
  sq_lv w = weighed(x, &r->m.value, r->m.w, seen, sure);
  if (w != sum) sq_kattend_store(r, r->p, at, w);
  close_key(x, mark);
  sq_kloop_end(k, &l, part);
  for (uint32_t i = 0; i < n; i++)
    sq_kattend_store(r, r->stats, sq_kattend_stat(r, x->row, SQ_KSTREAM_SUM + i), l.phi[i]);
}

// ---- the block ---------------------------------------------------------------------------------
static void strip_of_block(const strip *x, bool sure) {
  sq_kattend *r = x->r;
  sq_kern *k = r->k;
  sq_kmark mark = sq_kmembers_enter(&r->m);
  sq_lv left = LLVMBuildSub(k->b, r->count, x->row, "");
  sq_kmembers_lanes(&r->m, r->s->lane, r->s->w, sq_kattend_lanes_below(r, left));
  sq_kmembers_open(&r->m, r->s->lane, add(k, r->first, x->row));
  sq_kmembers_hoist(&r->m);
  sq_lv most = NULL;
  if (has_max(r)) most = raise_max(x, finish_scores(x, sure));
  weigh(x, most, sure);
  sq_kmembers_leave(&r->m, mark);
  sq_kmembers_close(&r->m, r->s->lane);
  sq_kmembers_lanes(&r->m, r->s->lane, 1, NULL);
}
static void all_strips(sq_kattend *r, const sq_kblock *b, bool sure) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  sq_kloop v;
  sq_lv rows = mul(k, r->vectors, sq_k_int(k, s->w));
  sq_kloop_begin(k, &v, sq_k_int(k, 0), rows, s->w, 0, NULL);
  strip x = {r, b, v.i};
  strip_of_block(&x, sure);
  sq_kloop_end(k, &v, NULL);
}
// What the outputs so far are scaled by.
static sq_lv rescale(sq_kattend *r) {
  if (!has_max(r)) return NULL;
  return sq_kattend_at(r, r->stats, sq_kattend_stat(r, sq_k_int(r->k, 0), SQ_KSTREAM_BY));
}
static bool
has_holes(const sq_kattend *r) { // weights that are 0 by a condition of the values alone
  return r->s->p.value.n->g->domain.n > r->s->p.n_common;
}
static void finish_block(sq_kattend *r, const sq_kblock *b, bool sure) {
  all_strips(r, b, sure);
  sq_kstream_values(r->k, r->s, r->p, b->values.base, b->values.step, r->columns, b->n, r->ot,
                    rescale(r), r->vectors, !sure || has_holes(r));
}
static sq_klines wide(sq_kattend *r, const sq_kstream_lines *are, const sq_klines *x, sq_lv n,
                      sq_lv length, sq_lv copy, sq_lv step) {
  if (are->how != SQ_KSTREAM_WIDENED) return *x;
  sq_klines to = {copy, step};
  sq_kstream_widen(r->k, r->s, x, n, length, &to);
  return to;
}
// Scores, in r->p, and the block as the other steps want it.
static sq_kblock scores(sq_kattend *r, const sq_kblock *from) {
  sq_kblock b = *from;
  b.keys = wide(r, &r->s->keys, &b.keys, b.n, r->width, r->kbuf, r->q_step);
  b.values = wide(r, &r->s->values, &b.values, b.n, r->columns, r->vbuf, r->o_step);
  sq_kstream_scores(r->k, r->s, r->qt, b.keys.base, b.keys.step, r->width, b.n, r->p, r->vectors);
  return b;
}
// By pairs of keys, which all rows see.
static void block_of_dots(sq_kattend *r, const sq_kblock *b) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  sq_klines pairs = {r->v2, r->o_step};
  sq_kstream_dot_scores(k, s, r->q2, b->keys.base, b->keys.step, r->width, b->n, r->p, r->vectors);
  all_strips(r, b, true);
  sq_kstream_pairs(k, s, r->p, b->n, r->p2);
  sq_kstream_pair_lines(k, s, &b->values, b->n, r->columns, &pairs);
  sq_kstream_dot_values(k, s, r->p2, r->v2, r->o_step, r->columns, b->n, r->ot, rescale(r),
                        r->vectors);
}
void sq_kstream_block_tile(sq_kattend *r, const sq_kblock *b) {
  sq_kern *k = r->k;
  sq_kif f;
  const sq_stream_member *m = r->s->p.max.n ? &r->s->p.max : &r->s->p.value;
  bool dots = r->s->dots && !has_holes(r), all = !m->n->g->domain.n; // every row sees every key
  sq_kblock wide_block = {0};
  if (!dots) wide_block = scores(r, b);
  if (!all) sq_kif_begin(k, &f, b->sure);
  if (dots)
    block_of_dots(r, b);
  else
    finish_block(r, &wide_block, true);
  if (all) return;
  sq_kif_else(k, &f);
  if (dots) wide_block = scores(r, b);
  finish_block(r, &wide_block, false);
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
}
