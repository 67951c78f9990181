// A block of keys for the rows of a set one by one.
//
//   for rows of the set
//     score[key] = q . k                            lanes along the width, added up
//     score = post(score); -inf where a condition fails; new max
//     weight[key] = 2^(c (score - max)); sums       lanes along the keys
//     output += weight[key] * v                     lanes along the columns
#include "codegen/cpu/stream.h"

static sq_lv add(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildAdd(k->b, a, b, ""); }
static sq_lv mul(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildMul(k->b, a, b, ""); }
static bool has_max(const sq_kattend *r) { return r->s->p.max.n != NULL; }

// Lanes along the keys key + i ...; those beyond the block are masked off.
static sq_lv open_keys(sq_kattend *r, const sq_kblock *b, sq_lv i) {
  sq_lv mask = sq_kattend_lanes_below(r, LLVMBuildSub(r->k->b, b->n, i, ""));
  sq_kmembers_lanes(&r->m, SQ_STREAM_KEY, r->s->w, mask);
  sq_kmembers_open(&r->m, SQ_STREAM_KEY, add(r->k, b->key, i));
  return mask;
}
sq_lv sq_kattend_score(sq_kattend *r, sq_lv sum) {
  sq_knest *t = &r->m.score;
  t->acc = sum;
  if (t->g->post == SQ_NO_SCALAR) return sum;
  if (r->s->entry != SQ_NO_SCALAR) sq_knest_put(t, r->s->entry, sum);
  return sq_k_splat(r->k, sq_knest_value(t, t->g->post), r->s->w);
}
// Scores of the block with their ends, -inf where a condition fails. Gives the greatest, in lanes.
static sq_lv finish_scores(sq_kattend *r, const sq_kblock *b) {
  sq_kern *k = r->k;
  sq_kloop l;
  sq_lv low = sq_k_splat(k, sq_k_lowest(k, r->s->type), r->s->w);
  sq_kloop_begin(k, &l, sq_k_int(k, 0), b->n, r->s->w, 1, &low);
  sq_kmark mark = sq_kmembers_enter(&r->m);
  sq_lv mask = open_keys(r, b, l.i);
  sq_lv x = sq_kattend_score(r, sq_kattend_load(r, r->p, l.i));
  mask = sq_k_and(k, mask, sq_kstream_conditions(&r->m.max, 0, r->s->p.n_common));
  x = LLVMBuildSelect(k->b, sq_k_splat(k, mask, r->s->w), x, low, "");
  sq_kattend_store(r, r->p, l.i, x);
  sq_lv most = sq_k_ewise(k, SQ_EW_MAX, r->s->type, l.phi[0], x, false, false);
  sq_kmembers_leave(&r->m, mark);
  sq_kloop_end(k, &l, &most);
  return l.phi[0];
}
static sq_lv across(sq_kattend *r, sq_monoid monoid, sq_lv v) {
  sq_kacc a = {.m = monoid, .elem = r->s->type, .result = r->s->type, .parts = 1};
  sq_kacc_across(r->k, &a, &v);
  return v;
}
// The new maximum of the row, in all lanes; what was summed so far is scaled to it.
static sq_lv raise_max(sq_kattend *r, sq_lv row, sq_lv lanes, sq_lv o) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  sq_kif f;
  sq_lv old = sq_kattend_one(r, r->stats, sq_kattend_stat(r, row, SQ_KSTREAM_MAX));
  sq_lv most = sq_k_ewise(k, SQ_EW_MAX, s->type, old, across(r, SQ_MAX, lanes), false, false);
  sq_lv all = sq_k_splat(k, most, s->w);
  sq_kif_begin(k, &f, LLVMBuildFCmp(k->b, LLVMRealUNE, most, old, ""));
  sq_kattend_put(r, r->stats, sq_kattend_stat(r, row, SQ_KSTREAM_MAX), most);
  sq_lv by = sq_kstream_raised(k, s, sq_k_splat(k, old, s->w), all);
  by = LLVMBuildExtractElement(k->b, by, LLVMConstInt(k->i32, 0, 0), "");
  sq_kstream_scale(k, s, o, r->columns, by);
  for (uint32_t i = 0; i < s->p.n_sum; i++) {
    sq_lv where = sq_kattend_stat(r, row, SQ_KSTREAM_SUM + i);
    sq_kattend_put(r, r->stats, where,
                   LLVMBuildFMul(k->b, sq_kattend_one(r, r->stats, where), by, ""));
  }
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  return all;
}
// Does the scalar read the weight and do nothing else?
bool sq_kattend_is_bare(const sq_kattend *r, const sq_knest *t, uint32_t id) {
  const sq_scalar *x = &t->g->s.v[id];
  return x->kind == SQ_SC_READ && has_max(r) && t->n->in[x->operand] == r->s->p.weight.n->out[0];
}
// Scalar `id` of a sum, 0 where it does not count. Weights are 0 already where a condition of the max
// fails; without max all conditions are tested, and the lanes of the block.
static sq_lv weighed(sq_kattend *r, sq_knest *t, uint32_t id, sq_lv mask, sq_lv seen) {
  uint32_t first = has_max(r) ? r->s->p.n_common : 0;
  sq_lv where = sq_kstream_conditions(t, first, t->g->domain.n);
  if (!sq_kattend_is_bare(r, t, id)) where = sq_k_and(r->k, where, has_max(r) ? seen : mask);
  sq_lv v = sq_k_splat(r->k, sq_knest_value(t, id), r->s->w);
  if (!where) return v;
  where = sq_k_splat(r->k, where, r->s->w);
  return LLVMBuildSelect(r->k->b, where, v, LLVMConstNull(LLVMTypeOf(v)), "");
}
// Weights of the block in place of the scores, and the sums.
static void weigh(sq_kattend *r, const sq_kblock *b, sq_lv row, sq_lv most) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  sq_kloop l;
  sq_kshift shift = {0};
  if (has_max(r)) shift = sq_kstream_shift(k, s, most);
  sq_lv part[SQ_STREAM_SUMS], zero = LLVMConstNull(sq_k_vec(sq_k_type(k, s->type), s->w));
  for (uint32_t i = 0; i < s->p.n_sum; i++) part[i] = zero;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), b->n, s->w, s->p.n_sum, part);
  sq_kmark mark = sq_kmembers_enter(&r->m);
  sq_lv mask = open_keys(r, b, l.i), x = sq_kattend_load(r, r->p, l.i);
  if (has_max(r)) {
    sq_lv less = LLVMBuildFNeg(k->b, shift.by, "");
    sq_kmembers_let(&r->m, &s->p.score, x);
    sq_kmembers_let(&r->m, &s->p.weight, sq_kstream_exp2(k, sq_k_fma(k, x, shift.c, less)));
  } else {
    sq_kmembers_let(&r->m, &s->p.score, sq_kattend_score(r, x));
  }
  sq_lv seen = NULL; // a weight of 0 times what a key outside has may be no number
  if (has_max(r))
    seen = LLVMBuildFCmp(k->b, LLVMRealUNE, x, sq_k_splat(k, sq_k_lowest(k, s->type), s->w), "");
  for (uint32_t i = 0; i < s->p.n_sum; i++) {
    sq_knest *t = &r->m.sum[i];
    part[i] = l.phi[i];
    if (!t->g->n_red) continue;
    part[i] = LLVMBuildFAdd(k->b, part[i], weighed(r, t, t->g->body, mask, seen), "");
  }
  sq_kattend_store(r, r->p, l.i, weighed(r, &r->m.value, r->m.w, mask, seen));
  sq_kmembers_leave(&r->m, mark);
  sq_kloop_end(k, &l, part);
  for (uint32_t i = 0; i < s->p.n_sum; i++) {
    sq_lv where_sum = sq_kattend_stat(r, row, SQ_KSTREAM_SUM + i),
          sum = across(r, SQ_SUM, l.phi[i]);
    sq_kattend_put(r, r->stats, where_sum,
                   LLVMBuildFAdd(k->b, sq_kattend_one(r, r->stats, where_sum), sum, ""));
  }
}
static void row_of_block(sq_kattend *r, const sq_kblock *b, sq_lv row) {
  sq_kern *k = r->k;
  const sq_kstream *s = r->s;
  sq_kmark mark = sq_kattend_open_row(r, row);
  sq_kmembers_hoist(&r->m);
  sq_lv q = sq_kattend_at(r, r->q, mul(k, row, r->q_step)),
        o = sq_kattend_at(r, r->o, mul(k, row, r->o_step));
  sq_lv most = NULL;
  sq_kstream_dots(k, s, q, b->keys.base, b->keys.step, r->width, b->n, r->p);
  if (has_max(r)) {
    sq_lv lanes = finish_scores(r, b);
    most = raise_max(r, row, lanes, o);
  }
  weigh(r, b, row, most);
  sq_kmembers_close(&r->m, SQ_STREAM_KEY);
  sq_kmembers_lanes(&r->m, SQ_STREAM_KEY, 1, NULL);
  sq_kstream_add(k, s, r->p, b->values.base, b->values.step, r->columns, b->n, o);
  sq_kattend_close_row(r, mark);
}
void sq_kstream_block_rows(sq_kattend *r, const sq_kblock *b) {
  sq_kloop row;
  sq_kloop_begin(r->k, &row, sq_k_int(r->k, 0), r->count, 1, 0, NULL);
  row_of_block(r, b, row.i);
  sq_kloop_end(r->k, &row, NULL);
}
