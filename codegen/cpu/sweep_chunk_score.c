// What turns of a block are to each other: decays over ranges of turns, scores.
//
//   ranges    R[1 + t][s] = prod_{s < r <= t} a_r, 0 where s > t;  begin[1 + t] = prod_{r <= t} a_r
//   scores    P[t][s] = (sum_i q[t][i] k[i][s]) R[1 + t][s]        `before` the turn: R[t]
//             by rows, for all t in order:  k[i][s] *= a[t][i] where s < t, between the sums of t
//   factors   q[t][i] *= begin;   keys  k[i][s] *= R[C][s]
//
// Tiles of sums are those of sweep_chunk_product.c.
#include "codegen/cpu/sweep_chunk.h"

static sq_lv add(sq_kern *k, sq_lv a, int64_t b) {
  return b ? LLVMBuildNSWAdd(k->b, a, sq_k_int(k, b), "") : a;
}
static sq_lv mul(sq_kern *k, sq_lv a, int64_t b) {
  return LLVMBuildNSWMul(k->b, a, sq_k_int(k, b), "");
}
static sq_lv times(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildNSWMul(k->b, a, b, ""); }
static sq_lv plus(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildNSWAdd(k->b, a, b, ""); }

// ---- decays ------------------------------------------------------------------------------------
void sq_schunk_ranges(sq_schunk_emit *x, uint32_t state) {
  sq_kern *k = x->k;
  const sq_schunk_state *t = &x->p->state[state];
  uint32_t n = x->p->length;
  sq_dtype type = x->p->c.type;
  sq_lv decay = sq_schunk_place(x, t->decays), range = sq_schunk_place(x, t->ranges),
        begin = sq_schunk_place(x, t->begin);
  sq_lv zero = sq_k_int(k, 0), one = sq_k_const(k, type, 1, 0);
  for (uint32_t v = 0; v < n; v += x->w)
    sq_schunk_store(x, range, sq_k_int(k, v), LLVMConstNull(sq_schunk_vector(x)));
  sq_k_store(k, type, begin, one);
  sq_kloop l;
  sq_kloop_begin(k, &l, zero, sq_k_int(k, n), 1, 0, NULL);
  sq_lv by = sq_k_load(k, type, sq_schunk_pointer(x, decay, l.i)), wide = sq_k_splat(k, by, x->w);
  sq_lv line = mul(k, l.i, n), next = add(k, line, n);
  for (uint32_t v = 0; v < n; v += x->w)
    sq_schunk_store(x, range, add(k, next, v),
                    sq_k_fmul(k, sq_schunk_load(x, range, add(k, line, v)), wide));
  sq_k_store(k, type, sq_schunk_pointer(x, range, plus(k, next, l.i)), one);
  sq_lv was = sq_k_load(k, type, sq_schunk_pointer(x, begin, l.i));
  sq_k_store(k, type, sq_schunk_pointer(x, begin, add(k, l.i, 1)), sq_k_fmul(k, was, by));
  sq_kloop_end(k, &l, NULL);
}

// Factors times the decay from the block's begin.
static void decay_factors(sq_schunk_emit *x, const sq_schunk_pair *q) {
  sq_kern *k = x->k;
  const sq_schunk_state *t = &x->p->state[q->state];
  sq_lv factors = sq_schunk_place(x, q->factors), begin = sq_schunk_place(x, t->begin);
  sq_kloop l, v;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_k_int(k, x->p->length), 1, 0, NULL);
  sq_lv by = sq_schunk_splat(x, begin, add(k, l.i, !q->term->before)),
        line = times(k, l.i, x->stride);
  sq_kloop_begin(k, &v, sq_k_int(k, 0), x->stride, x->w, 0, NULL);
  sq_lv at = plus(k, line, v.i);
  sq_schunk_store(x, factors, at, sq_k_fmul(k, sq_schunk_load(x, factors, at), by));
  sq_kloop_end(k, &v, NULL);
  sq_kloop_end(k, &l, NULL);
}

// The same by rows; the decay of the whole block is left at `begin`.
static void decay_factors_rows(sq_schunk_emit *x, const sq_schunk_pair *q) {
  sq_kern *k = x->k;
  const sq_schunk_state *t = &x->p->state[q->state];
  sq_lv factors = sq_schunk_place(x, q->factors), decays = sq_schunk_place(x, t->decays);
  sq_kloop i, l;
  sq_kloop_begin(k, &i, sq_k_int(k, 0), x->stride, x->w, 0, NULL);
  sq_lv one = sq_k_splat(k, sq_k_const(k, x->p->c.type, 1, 0), x->w);
  sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_k_int(k, x->p->length), 1, 1, &one);
  sq_lv at = plus(k, times(k, l.i, x->stride), i.i);
  sq_lv next = sq_k_fmul(k, l.phi[0], sq_schunk_load(x, decays, at));
  sq_lv by = q->term->before ? l.phi[0] : next;
  sq_schunk_store(x, factors, at, sq_k_fmul(k, sq_schunk_load(x, factors, at), by));
  sq_kloop_end(k, &l, &next);
  sq_schunk_store(x, sq_schunk_place(x, t->begin), i.i, l.phi[0]);
  sq_kloop_end(k, &i, NULL);
}

static void decay_keys(sq_schunk_emit *x, uint32_t product) {
  sq_kern *k = x->k;
  const sq_schunk_state *t = &x->p->state[x->p->c.add[product].state];
  uint32_t n = x->p->length;
  sq_lv keys = sq_schunk_place(x, x->p->add[product].keys), range = sq_schunk_place(x, t->ranges),
        by[64];
  for (uint32_t v = 0; v < n; v += x->w)
    by[v / x->w] = sq_schunk_load(x, range, sq_k_int(k, (int64_t)n * n + v));
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), x->lines, 1, 0, NULL);
  for (uint32_t v = 0; v < n; v += x->w) {
    sq_lv at = add(k, mul(k, l.i, n), v);
    sq_schunk_store(x, keys, at, sq_k_fmul(k, sq_schunk_load(x, keys, at), by[v / x->w]));
  }
  sq_kloop_end(k, &l, NULL);
}

// ---- scores ------------------------------------------------------------------------------------
// One of the products that turns add to the pair's state.
typedef struct scored {
  const sq_schunk_pair *q;
  uint32_t one;
} scored;

// Turns t .. t + rows - 1 by turns at s, of nv vectors.
static void score_tile(sq_schunk_emit *x, scored of, sq_lv t, sq_lv s, uint32_t nv) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  const sq_schunk_pair *q = of.q;
  sq_schunk_tile c = {.rows = p->tile, .nv = nv, .a_row = x->stride, .b_line = p->length};
  c.a = sq_schunk_place(x, q->factors);
  c.a0 = times(k, t, x->stride);
  c.b = sq_schunk_place(x, p->add[p->c.state[q->state].first + of.one].keys);
  for (uint32_t v = 0; v < nv; v++) c.b0[v] = add(k, s, (int64_t)v * x->w);
  sq_schunk_clear(x, &c);
  sq_schunk_multiply(x, &c, x->lines, p->tile);
  sq_lv range = sq_schunk_place(x, p->state[q->state].ranges),
        scores = sq_schunk_place(x, q->scores[of.one]);
  for (uint32_t r = 0; r < c.rows; r++) {
    sq_lv line = plus(k, mul(k, add(k, t, r), p->length), s);
    for (uint32_t v = 0; v < nv; v++) {
      sq_lv at = add(k, line, (int64_t)v * x->w);
      sq_lv by = sq_schunk_load(x, range, add(k, at, q->term->before ? 0 : p->length));
      sq_schunk_store(x, scores, at, LLVMBuildFMul(k->b, c.acc[r * nv + v], by, ""));
    }
  }
}

static void scores(sq_schunk_emit *x, scored of) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  sq_kloop t, s;
  sq_kloop_begin(k, &t, sq_k_int(k, 0), sq_k_int(k, p->length), p->tile, 0, NULL);
  sq_lv end = add(k, t.i, p->tile), at = sq_k_int(k, 0);
  for (uint32_t nv = 2; nv; nv--) {
    int64_t step = (int64_t)nv * x->w; // whole tiles; the last single vectors reach over the end
    sq_kloop_begin(k, &s, at, nv > 1 ? add(k, end, 1 - step) : end, step, 0, NULL);
    score_tile(x, of, t.i, s.i, nv);
    sq_kloop_end(k, &s, NULL);
    at = s.i;
  }
  sq_kloop_end(k, &t, NULL);
}

// ---- scores by rows ----------------------------------------------------------------------------
// Turns t .. of the tile by the vector of turns at s; `edge`: some are not before t.
static void score_rows_tile(sq_schunk_emit *x, uint32_t product, sq_lv t, sq_lv s, bool edge) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  uint32_t state = p->c.add[product].state, one_of = product - p->c.state[state].first;
  const sq_schunk_state *st = &p->state[state];
  sq_lv acc[SQ_SCHUNK_SUMS * 2], keys = sq_schunk_place(x, p->add[product].keys),
                                 decays = sq_schunk_place(x, st->decays);
  sq_lv one = sq_k_splat(k, sq_k_const(k, p->c.type, 1, 0), x->w), earlier[SQ_SCHUNK_TILE];
  uint32_t n = 0;
  for (uint32_t q = 0; q < p->n_pair; q++)
    for (uint32_t r = 0; p->pair[q].state == state && r < p->tile; r++)
      acc[n++] = LLVMConstNull(sq_schunk_vector(x));
  sq_lv lane = plus(k, sq_k_int(k, 0), s);
  lane = sq_k_splat(k, LLVMBuildTrunc(k->b, lane, k->i32, ""), x->w);
  lane = LLVMBuildAdd(k->b, lane, sq_k_lane_index(k, x->w, k->i32), "");
  for (uint32_t r = 0; r < p->tile; r++) {
    sq_lv turn = sq_k_splat(k, LLVMBuildTrunc(k->b, add(k, t, r), k->i32, ""), x->w);
    earlier[r] = LLVMBuildICmp(k->b, LLVMIntSLT, lane, turn, "");
  }
  sq_kloop i;
  sq_kloop_begin(k, &i, sq_k_int(k, 0), x->lines, 1, n, acc);
  memcpy(acc, i.phi, n * sizeof *acc);
  sq_lv at = plus(k, mul(k, i.i, p->length), s), key = sq_schunk_load(x, keys, at);
  for (uint32_t r = 0; r < p->tile; r++) {
    sq_lv line = plus(k, times(k, add(k, t, r), x->stride), i.i), was = key;
    sq_lv by = sq_schunk_splat(x, decays, line);
    key = sq_k_fmul(k, key, edge ? LLVMBuildSelect(k->b, earlier[r], by, one, "") : by);
    uint32_t m = r;
    for (uint32_t q = 0; q < p->n_pair; q++) {
      if (p->pair[q].state != state) continue;
      sq_lv f = sq_schunk_splat(x, sq_schunk_place(x, p->pair[q].factors), line);
      acc[m] = sq_k_fma(k, f, p->pair[q].term->before ? was : key, acc[m]);
      m += p->tile;
    }
  }
  sq_schunk_store(x, keys, at, key);
  sq_kloop_end(k, &i, acc);
  uint32_t m = 0;
  for (uint32_t q = 0; q < p->n_pair; q++)
    for (uint32_t r = 0; p->pair[q].state == state && r < p->tile; r++, m++) {
      sq_lv v = i.phi[m],
            turn = sq_k_splat(k, LLVMBuildTrunc(k->b, add(k, t, r), k->i32, ""), x->w);
      sq_lv here =
          p->pair[q].term->before ? earlier[r] : LLVMBuildICmp(k->b, LLVMIntSLE, lane, turn, "");
      if (edge) v = LLVMBuildSelect(k->b, here, v, LLVMConstNull(sq_schunk_vector(x)), "");
      sq_schunk_store(x, sq_schunk_place(x, p->pair[q].scores[one_of]),
                      plus(k, mul(k, add(k, t, r), p->length), s), v);
    }
}

static void scores_rows(sq_schunk_emit *x, uint32_t product) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  sq_kloop t, s;
  sq_kloop_begin(k, &t, sq_k_int(k, 0), sq_k_int(k, p->length), p->tile, 0, NULL);
  sq_lv whole = LLVMBuildAnd(k->b, t.i, sq_k_int(k, -(int64_t)x->w), "");
  sq_kloop_begin(k, &s, sq_k_int(k, 0), whole, x->w, 0, NULL);
  score_rows_tile(x, product, t.i, s.i, false);
  sq_kloop_end(k, &s, NULL);
  score_rows_tile(x, product, t.i, whole, true);
  sq_kloop_end(k, &t, NULL);
}

void sq_schunk_scores(sq_schunk_emit *x) {
  const sq_schunk *p = x->p;
  for (uint32_t st = 0; st < p->n_state; st++) {
    const sq_chunk_state *c = &p->c.state[st];
    bool rows = c->by_rows;
    for (uint32_t i = c->first; rows && i < c->first + c->n_add; i++) scores_rows(x, i);
    if (!rows && c->by_turns) sq_schunk_ranges(x, st);
    for (uint32_t q = 0; q < p->n_pair; q++) {
      if (p->pair[q].state != st) continue;
      for (uint32_t i = 0; !rows && i < c->n_add; i++) scores(x, (scored){&p->pair[q], i});
      if (rows)
        decay_factors_rows(x, &p->pair[q]);
      else
        decay_factors(x, &p->pair[q]);
    }
    for (uint32_t i = c->first; !rows && i < c->first + c->n_add; i++) decay_keys(x, i);
  }
}
