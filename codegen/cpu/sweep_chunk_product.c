// The products of a block: tiles of sums in registers, a few rows by a few vectors.
//
//   solved    sums that vectors are made of, and these (sweep_chunk_solve.c)
//   sums      o[t][j] = sum_i q[t][i] S[i][j] + sum_{s <= t} P[t][s] v[s][j]
//   states    S'[i][j] = begin[C] S[i][j] + sum_s k[i][s] v[s][j]
//
// P, and q and k with their decays, are there (sweep_chunk_score.c).
#include "codegen/cpu/sweep_chunk.h"

enum { UNROLL = 4 };

static sq_lv add(sq_kern *k, sq_lv a, int64_t b) {
  return b ? LLVMBuildNSWAdd(k->b, a, sq_k_int(k, b), "") : a;
}
static sq_lv mul(sq_kern *k, sq_lv a, int64_t b) {
  return LLVMBuildNSWMul(k->b, a, sq_k_int(k, b), "");
}
static sq_lv times(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildNSWMul(k->b, a, b, ""); }
static sq_lv plus(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildNSWAdd(k->b, a, b, ""); }

// What is wrong with v: NaN where it is not finite, else 0.
void sq_schunk_watch(sq_schunk_emit *x, const sq_lv *v, uint32_t n) {
  sq_kern *k = x->k;
  sq_lv bad = LLVMBuildLoad2(k->b, sq_schunk_vector(x), x->bad, ""),
        zero = LLVMConstNull(sq_schunk_vector(x));
  for (uint32_t i = 0; i < n; i += 2) { // two chains
    sq_lv one = sq_k_fmul(k, v[i], zero);
    bad = sq_k_fadd(k, bad, i + 1 < n ? sq_k_fma(k, v[i + 1], zero, one) : one);
  }
  LLVMBuildStore(k->b, bad, x->bad);
}

// Sums over lanes, in a fixed tree.
static sq_lv across(sq_schunk_emit *x, sq_lv v) {
  sq_kern *k = x->k;
  for (uint32_t n = x->w / 2; n; n /= 2) {
    sq_lv from[64];
    for (uint32_t l = 0; l < x->w; l++) from[l] = LLVMConstInt(k->i32, l < n ? l + n : l, 0);
    sq_lv high = LLVMBuildShuffleVector(k->b, v, v, LLVMConstVector(from, x->w), "");
    v = LLVMBuildFAdd(k->b, v, high, "");
  }
  return LLVMBuildExtractElement(k->b, v, LLVMConstInt(k->i32, 0, 0), "");
}

typedef sq_schunk_tile tile;

void sq_schunk_multiply(sq_schunk_emit *x, sq_schunk_tile *t, sq_lv n, uint32_t unroll) {
  sq_kern *k = x->k;
  uint32_t all = t->rows * t->nv;
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), n, unroll, all, t->acc);
  memcpy(t->acc, l.phi, all * sizeof *t->acc);
  sq_lv line = mul(k, l.i, t->b_line);
  for (uint32_t u = 0; u < unroll; u++) {
    sq_lv b[8], a = plus(k, t->a0, add(k, l.i, u));
    for (uint32_t v = 0; v < t->nv; v++)
      b[v] = sq_schunk_load(x, t->b, plus(k, t->b0[v], add(k, line, (int64_t)u * t->b_line)));
    for (uint32_t r = 0; r < t->rows; r++) {
      sq_lv by = sq_schunk_splat(x, t->a, plus(k, a, mul(k, t->a_row, r)));
      for (uint32_t v = 0; v < t->nv; v++) {
        sq_lv *sum = &t->acc[r * t->nv + v];
        *sum = sq_k_fma(k, by, b[v], *sum);
      }
    }
  }
  sq_kloop_end(k, &l, t->acc);
  memcpy(t->acc, l.phi, all * sizeof *t->acc);
}

void sq_schunk_clear(sq_schunk_emit *x, sq_schunk_tile *t) {
  for (uint32_t i = 0; i < t->rows * t->nv; i++) t->acc[i] = LLVMConstNull(sq_schunk_vector(x));
}

// ---- sums and states with columns --------------------------------------------------------------
// Panel `panel` of state st, half `half`: element 0.
static sq_lv panel_of(sq_schunk_emit *x, uint32_t st, sq_lv half, sq_lv panel) {
  sq_kern *k = x->k;
  sq_lv off = plus(k, half, times(k, panel, x->panel));
  off = plus(k, off, mul(k, x->panel, (int64_t)st * x->p->panels));
  return LLVMBuildGEP2(k->b, k->i8, x->base, &off, 1, "");
}

static sq_lv vectors_of(sq_schunk_emit *x, uint32_t product, sq_lv panel) {
  sq_lv at = mul(x->k, panel, (int64_t)x->p->length * x->w);
  return sq_schunk_at(x, x->p->add[product].vectors, at);
}

tile sq_schunk_sum(sq_schunk_emit *x, uint32_t read, sq_lv panel, uint32_t nv, sq_lv t, sq_lv end) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  tile c = {.rows = p->tile, .nv = nv, .b_line = x->w};
  sq_schunk_clear(x, &c);
  for (uint32_t i = 0; i < p->n_pair; i++) {
    const sq_schunk_pair *q = &p->pair[i];
    if (q->read != read) continue;
    c.a = sq_schunk_place(x, q->factors);
    c.a0 = times(k, t, c.a_row = x->stride);
    c.b = panel_of(x, q->state, x->from, panel);
    for (uint32_t v = 0; v < nv; v++) c.b0[v] = mul(k, x->lines, (int64_t)v * x->w);
    sq_schunk_multiply(x, &c, x->lines, p->tile);
    for (uint32_t o = 0; o < p->c.state[q->state].n_add; o++) {
      c.a = sq_schunk_place(x, q->scores[o]);
      c.a0 = times(k, t, c.a_row = sq_k_int(k, p->length));
      c.b = vectors_of(x, p->c.state[q->state].first + o, panel);
      for (uint32_t v = 0; v < nv; v++) c.b0[v] = sq_k_int(k, (int64_t)v * p->length * x->w);
      sq_schunk_multiply(x, &c, end, p->tile);
    }
  }
  return c;
}

static void sum_tile(sq_schunk_emit *x, uint32_t read, sq_lv panel, uint32_t nv, sq_lv t) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  tile c = sq_schunk_sum(x, read, panel, nv, t, add(k, t, p->tile));
  sq_lv out = sq_schunk_at(x, p->sums[read], mul(k, panel, (int64_t)p->length * x->w));
  for (uint32_t r = 0; r < c.rows; r++)
    for (uint32_t v = 0; v < nv; v++) {
      sq_lv at = mul(k, add(k, t, (int64_t)r + (int64_t)v * p->length), x->w);
      sq_schunk_store(x, out, at, c.acc[r * nv + v]);
    }
  sq_schunk_watch(x, c.acc, c.rows * nv);
}

static void state_tile(sq_schunk_emit *x, uint32_t st, sq_lv panel, uint32_t nv, sq_lv row) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  const sq_schunk_state *t = &p->state[st];
  uint32_t rows = p->tile;
  tile c = {.rows = rows, .nv = nv, .a_row = sq_k_int(k, p->length), .b_line = x->w};
  sq_lv from = panel_of(x, st, x->from, panel), to = panel_of(x, st, x->to, panel);
  sq_lv begin = sq_schunk_place(x, t->begin), first = mul(k, row, x->w);
  bool by_rows = p->c.state[st].by_rows;
  for (uint32_t r = 0; r < rows; r++) {
    sq_lv by = sq_schunk_splat(x, begin, by_rows ? add(k, row, r) : sq_k_int(k, p->length));
    for (uint32_t v = 0; v < nv; v++) {
      sq_lv at = plus(k, first, mul(k, add(k, mul(k, x->lines, v), r), x->w));
      c.acc[r * nv + v] = LLVMBuildFMul(k->b, sq_schunk_load(x, from, at), by, "");
    }
  }
  for (uint32_t v = 0; v < nv; v++) c.b0[v] = sq_k_int(k, (int64_t)v * p->length * x->w);
  c.a0 = mul(k, row, p->length);
  for (uint32_t i = 0; i < p->c.state[st].n_add; i++) {
    c.a = sq_schunk_place(x, p->add[p->c.state[st].first + i].keys);
    c.b = vectors_of(x, p->c.state[st].first + i, panel);
    sq_schunk_multiply(x, &c, sq_k_int(k, p->length), UNROLL);
  }
  for (uint32_t r = 0; r < rows; r++)
    for (uint32_t v = 0; v < nv; v++) {
      sq_lv at = plus(k, first, mul(k, add(k, mul(k, x->lines, v), r), x->w));
      sq_schunk_store(x, to, at, c.acc[r * nv + v]);
    }
  sq_schunk_watch(x, c.acc, rows * nv);
}

void sq_schunk_fetch(sq_schunk_emit *x, sq_lv group, uint32_t groups, sq_lv t) {
  sq_kern *k = x->k;
  for (uint32_t i = 0; i < x->n_stream; i++) {
    const sq_schunk_stream *s = &x->stream[i];
    uint32_t each = (s->lines + groups - 1) / groups;
    for (uint32_t r = 0; r < x->p->tile; r++)
      for (uint32_t l = 0; l < each; l++) {
        sq_lv off = LLVMBuildMul(k->b, add(k, t, r), s->step, "");
        sq_lv line = add(k, mul(k, group, each), l);
        off = LLVMBuildAdd(k->b, off, mul(k, line, 64), "");
        sq_lv at = LLVMBuildGEP2(k->b, k->i8, s->first, &off, 1, "");
        sq_lv arg[4] = {
            at, LLVMConstInt(k->i32, s->writes, 0), LLVMConstInt(k->i32, 2, 0),
            LLVMConstInt(k->i32, 1, 0)}; // to read or write, into the second level, data
        sq_k_intrinsic(k, "llvm.prefetch", &k->ptr, 1, arg, 4);
      }
  }
}

static void some_panels(sq_schunk_emit *x, sq_lv panel, uint32_t nv, bool last) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  sq_kloop l;
  bool fetch = nv == p->nv && !p->c.n_solved;
  if (p->c.n_solved) sq_schunk_solve(x, panel, nv, last);
  for (uint32_t read = 0; read < p->c.n_read; read++) {
    if (!sq_schunk_read_columns(p, read) || sq_schunk_read_solved(p, read)) continue;
    sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_k_int(k, p->length), p->tile, 0, NULL);
    if (fetch)
      sq_schunk_fetch(x, LLVMBuildUDiv(k->b, panel, sq_k_int(k, nv), ""), p->panels / nv, l.i);
    fetch = false;
    sum_tile(x, read, panel, nv, l.i);
    sq_kloop_end(k, &l, NULL);
  }
  for (uint32_t st = 0; st < p->n_state; st++) {
    if (!p->c.state[st].has_columns) continue;
    sq_kloop_begin(k, &l, sq_k_int(k, 0), x->lines, p->tile, 0, NULL);
    state_tile(x, st, panel, nv, l.i);
    sq_kloop_end(k, &l, NULL);
  }
}

// ---- sums and states without columns -----------------------------------------------------------
static sq_lv dot(sq_schunk_emit *x, sq_lv sum, sq_lv a, sq_lv a0, sq_lv b, sq_lv n) {
  sq_kloop v;
  sq_kloop_begin(x->k, &v, sq_k_int(x->k, 0), n, x->w, 1, &sum);
  sq_lv next = sq_k_fma(x->k, sq_schunk_load(x, a, plus(x->k, a0, v.i)), sq_schunk_load(x, b, v.i),
                        v.phi[0]);
  sq_kloop_end(x->k, &v, &next);
  return v.phi[0];
}

// The rows of states without columns, one after another.
static void gather_plain(sq_schunk_emit *x, uint32_t st) {
  sq_kern *k = x->k;
  sq_kloop l;
  sq_lv from = panel_of(x, st, x->from, sq_k_int(k, 0)),
        to = sq_schunk_place(x, x->p->state[st].plain);
  sq_schunk_store(x, to, add(k, x->stride, -(int64_t)x->w), LLVMConstNull(sq_schunk_vector(x)));
  sq_kloop_begin(k, &l, sq_k_int(k, 0), x->lines, 1, 0, NULL);
  sq_lv v = sq_k_load(k, x->p->c.type, sq_schunk_pointer(x, from, mul(k, l.i, x->w)));
  sq_k_store(k, x->p->c.type, sq_schunk_pointer(x, to, l.i), v);
  sq_kloop_end(k, &l, NULL);
}

static void plain_sums(sq_schunk_emit *x, uint32_t read) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_k_int(k, p->length), 1, 0, NULL);
  sq_lv sum = LLVMConstNull(sq_schunk_vector(x));
  for (uint32_t i = 0; i < p->n_pair; i++) {
    const sq_schunk_pair *q = &p->pair[i];
    const sq_schunk_state *t = &p->state[q->state];
    if (q->read != read) continue;
    sum = dot(x, sum, sq_schunk_place(x, q->factors), times(k, l.i, x->stride),
              sq_schunk_place(x, t->plain), x->stride);
    for (uint32_t o = 0; o < p->c.state[q->state].n_add; o++) {
      sq_kloop s; // what is behind the turn is not there
      sq_lv end = add(k, l.i, 1);
      sq_lv vectors = sq_schunk_place(x, p->add[p->c.state[q->state].first + o].vectors);
      sq_kloop_begin(k, &s, sq_k_int(k, 0), end, x->w, 1, &sum);
      sq_lv a =
          sq_schunk_load(x, sq_schunk_place(x, q->scores[o]), plus(k, mul(k, l.i, p->length), s.i));
      sq_lv next = sq_k_fma(k, a, sq_schunk_load(x, vectors, s.i), s.phi[0]);
      sq_kloop_end(k, &s, &next);
      sum = s.phi[0];
    }
  }
  sum = across(x, sum);
  sq_k_store(k, p->c.type, sq_schunk_pointer(x, sq_schunk_place(x, p->sums[read]), l.i), sum);
  sum = sq_k_splat(k, sum, x->w);
  sq_schunk_watch(x, &sum, 1);
  sq_kloop_end(k, &l, NULL);
}

static void plain_state(sq_schunk_emit *x, uint32_t st) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  const sq_schunk_state *t = &p->state[st];
  sq_dtype type = p->c.type;
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), x->lines, 1, 0, NULL);
  sq_lv sum = LLVMConstNull(sq_schunk_vector(x));
  for (uint32_t i = p->c.state[st].first; i < p->c.state[st].first + p->c.state[st].n_add; i++)
    sum = dot(x, sum, sq_schunk_place(x, p->add[i].keys), mul(k, l.i, p->length),
              sq_schunk_place(x, p->add[i].vectors), sq_k_int(k, p->length));
  sum = across(x, sum);
  sq_lv at = p->c.state[st].by_rows ? l.i : sq_k_int(k, p->length);
  sq_lv by = sq_k_load(k, type, sq_schunk_pointer(x, sq_schunk_place(x, t->begin), at));
  sum = sq_k_fma(k, by, sq_k_load(k, type, sq_schunk_pointer(x, sq_schunk_place(x, t->plain), l.i)),
                 sum);
  sq_lv all = sq_k_splat(k, sum, x->w);
  sq_schunk_watch(x, &all, 1);
  for (uint32_t v = 0; v < p->panels; v++) {
    sq_lv to = panel_of(x, st, x->to, sq_k_int(k, v));
    sq_k_store(k, type, sq_schunk_pointer(x, to, mul(k, l.i, x->w)), sum);
  }
  sq_kloop_end(k, &l, NULL);
}

// Where steps of n from `at` on end, the last of which is within `all`; constants.
static sq_lv after(sq_schunk_emit *x, sq_lv at, sq_lv all, uint32_t n) {
  int64_t from = LLVMConstIntGetSExtValue(at), to = LLVMConstIntGetSExtValue(all);
  return sq_k_int(x->k, from + (to - from) / n * n);
}

void sq_schunk_products(sq_schunk_emit *x) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  LLVMBuildStore(k->b, LLVMConstNull(sq_schunk_vector(x)), x->bad);
  for (uint32_t st = 0; st < p->n_state; st++)
    if (!p->c.state[st].has_columns) gather_plain(x, st);
  for (uint32_t read = 0; read < p->c.n_read; read++)
    if (!sq_schunk_read_columns(p, read)) plain_sums(x, read);
  for (uint32_t st = 0; st < p->n_state; st++)
    if (!p->c.state[st].has_columns) plain_state(x, st);
  // Where vectors are solved for, the panel whose lanes are not all columns goes alone; of columns that
  // are not known it is the last one.
  bool last = p->c.n_solved && (!p->c.columns || p->c.columns % x->w);
  sq_lv all = add(k, x->panels, last ? -1 : 0), at = sq_k_int(k, 0);
  for (uint32_t nv = p->nv; nv; nv--) {
    sq_kloop l;
    if (LLVMIsConstant(all) && all == at) break;
    sq_lv end = add(k, all, 1 - (int64_t)nv);
    sq_kloop_begin(k, &l, at, end, nv, 0, NULL);
    some_panels(x, l.i, nv, false);
    sq_kloop_end(k, &l, NULL);
    at = LLVMIsConstant(all) ? after(x, at, all, nv) : l.i;
  }
  if (last) some_panels(x, all, 1, true);
}
