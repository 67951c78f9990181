// Scans in blocks of turns: the products. Each thread has a few neighbouring rows by a few columns of each
// result, in registers, while the rows of the states come piece by piece.
//
//   for some rows:  scores[t][s] += factor[t][i] key[s][i];  sums[t][j] += factor[t][i] state[i][j]
//                   by rows: key[s][i] *= a[t][i] for all t > s in order, between the sums of t: a thread for
//                   each s and some i; then factors times the decay from the begin
//   scores times the products over ranges; sums times those from the begin
//   sums[t][j] += scores[t][s] vector[s][j],  s up to t
//   for some rows:  state[i][j] = a state[i][j] + key[s][i] vector[s][j], keys times the decay to the end
#include "codegen/cuda/sweep_blocks.h"

// ---- parts -------------------------------------------------------------------------------------
static void unroll(sq_cu_blocks *b, const char *i, uint32_t n) {
  sq_cu_line(b->k, "#pragma unroll");
  sq_cu_open(b->k, "for (int %s = 0; %s < %u; %s++) {", i, i, n, i);
}
static void loop(sq_cu_blocks *b, const char *i, const char *end) {
  sq_cu_line(b->k, "#pragma unroll 4");
  sq_cu_open(b->k, "for (int %s = 0; %s < %s; %s++) {", i, i, end, i);
}
static const char *number(sq_cu_blocks *b, uint32_t n) { return sq_arena_fmt(b->k->a, "%u", n); }
static void accumulators(sq_cu_blocks *b, const char *name, uint32_t i, uint32_t n) {
  sq_cu_line(b->k, "%s %s%u[%u];", b->type, name, i, n);
  sq_cu_line(b->k, "#pragma unroll");
  sq_cu_line(b->k, "for (int m = 0; m < %u; m++) %s%u[m] = 0;", n, name, i);
}
// to[m] = shared[at + m], m < n.
static void fetch(sq_cu_blocks *b, const char *to, uint32_t n, const char *shared, uint32_t i,
                  const char *at, uint32_t step) {
  sq_cu_line(b->k, "%s %s[%u];", b->type, to, n);
  sq_cu_line(b->k, "#pragma unroll");
  sq_cu_line(b->k, "for (int m = 0; m < %u; m++) %s[m] = SQ_SLD(%s%u, %s + m * %u);", n, to, shared,
             i, at, step);
}
// acc[r][j] += x[r] * y[j]
static void outer(sq_cu_blocks *b, const char *acc, const char *x, uint32_t rows, const char *y,
                  uint32_t columns) {
  unroll(b, "r", rows);
  sq_cu_line(b->k, "#pragma unroll");
  sq_cu_line(b->k, "for (int j = 0; j < %u; j++) %s = sq_c_fma(%s[r], %s[j], %s);", columns, acc, x,
             y, acc);
  sq_cu_close(b->k);
}
static void watch(sq_cu_blocks *b, const char *v) {
  sq_cu_line(b->k, "bad = sq_c_fma(%s, (%s)0, bad);", v, b->type);
}
static bool by_rows(const sq_cu_blocks *b, uint32_t q) {
  return b->c.state[b->pair[q].state].by_rows;
}
static bool is_wide(const sq_cu_blocks *b, uint32_t q) {
  return b->c.state[b->pair[q].state].has_columns;
}
static const char *element(sq_cu_blocks *b, const char *acc, uint32_t i, uint32_t columns) {
  return sq_arena_fmt(b->k->a, "%s%u[r * %u + j]", acc, i, columns);
}
// The decay from the block's begin to turn t, which factors of pair q have not got yet.
static const char *from_begin(sq_cu_blocks *b, uint32_t q, const char *t) {
  if (by_rows(b, q)) return "1";
  return sq_arena_fmt(b->k->a, "SQ_SLD(begin%u, %s%s)", b->pair[q].state, t,
                      b->pair[q].before ? "" : " + 1");
}

// ---- scores by rows ----------------------------------------------------------------------------
static void score_turn(sq_cu_blocks *b, uint32_t st, uint32_t groups) {
  sq_cu *k = b->k;
  for (uint32_t q = 0; q < b->n_pair; q++)
    if (b->pair[q].state == st) sq_cu_line(k, "%s r%u = 0;", b->type, q);
  unroll(b, "m", b->p.depth / groups);
  sq_cu_line(k, "const int at = (m * %u + g) * %u + t;", groups, b->pitch);
  sq_cu_line(k, "const %s was = held[m];", b->type);
  sq_cu_line(k, "if (s < t) held[m] *= SQ_SLD(decay%u, at);", st);
  for (uint32_t q = 0; q < b->n_pair; q++)
    if (b->pair[q].state == st)
      sq_cu_line(k, "r%u = sq_c_fma(SQ_SLD(factor%u, at), %s, r%u);", q, q,
                 b->pair[q].before ? "was" : "held[m]", q);
  sq_cu_close(k);
  for (uint32_t q = 0; q < b->n_pair; q++) {
    if (b->pair[q].state != st) continue;
    sq_cu_line(k, "#pragma unroll");
    sq_cu_line(k, "for (int m = 1; m < %u; m *= 2) r%u += sq_shuffle_xor(SQ_ME r%u, m);", groups, q,
               q);
    sq_cu_open(k, "if (g == 0) {");
    sq_cu_line(k, "if (s %s t) r%u = 0;", b->pair[q].before ? ">=" : ">", q);
    sq_cu_line(k, "if (d0) r%u += SQ_SLD(score%u, s * %u + t);", q, q, b->pitch);
    sq_cu_line(k, "SQ_SST(score%u, s * %u + t, r%u);", q, b->pitch, q);
    sq_cu_close(k);
  }
}
static void decay_factors(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  uint32_t n = 0;
  for (uint32_t q = 0; q < b->n_pair; q++) {
    if (!by_rows(b, q)) continue;
    sq_cu_open(k, "if (SQ_TID / %u == %u) {", b->p.depth, n++);
    sq_cu_line(k, "const int at = (int)SQ_TID %% %u * %u;", b->p.depth, b->pitch);
    sq_cu_line(k, "%s r = 1;", b->type);
    loop(b, "t", number(b, b->p.length));
    sq_cu_line(k, "const %s next = r * SQ_SLD(decay%u, at + t);", b->type, b->pair[q].state);
    sq_cu_line(k, "SQ_SST(factor%u, at + t, SQ_SLD(factor%u, at + t) * %s);", q, q,
               b->pair[q].before ? "r" : "next");
    sq_cu_line(k, "r = next;");
    sq_cu_close(k);
    sq_cu_close(k);
  }
}
static void scores_by_rows(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  uint32_t groups = SQ_TILES_THREADS / b->p.length;
  bool any = false;
  for (uint32_t st = 0; st < b->n_state; st++) {
    if (!b->c.state[st].by_rows) continue;
    any = true;
    sq_cu_open(k, "{");
    sq_cu_line(k, "const int s = (int)SQ_TID / %u, g = (int)SQ_TID %% %u;", groups, groups);
    fetch(b, "held", b->p.depth / groups, "key", st, sq_arena_fmt(k->a, "g * %u + s", b->pitch),
          groups * b->pitch);
    sq_cu_line(k, "#pragma unroll 2");
    sq_cu_open(k, "for (int t = 0; t < %u; t++) {", b->p.length);
    score_turn(b, st, groups);
    sq_cu_close(k);
    sq_cu_close(k);
  }
  if (!any) return;
  sq_cu_line(k, "SQ_SYNC();");
  decay_factors(b);
  sq_cu_line(k, "SQ_SYNC();");
}

// ---- sums --------------------------------------------------------------------------------------
static void row_products(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  const char *t = sq_arena_fmt(k->a, "e * %u + ty * %u", b->pitch, b->turns);
  loop(b, "e", number(b, b->p.depth));
  for (uint32_t st = 0; st < b->n_state; st++) {
    const sq_chunk_state *c = &b->c.state[st];
    sq_cu_open(k, "{");
    if (!c->by_rows)
      fetch(b, "y", b->others, "key", st,
            sq_arena_fmt(k->a, "e * %u + tx * %u", b->pitch, b->others), 1);
    if (c->has_columns)
      fetch(b, "z", b->columns, "state", st,
            sq_arena_fmt(k->a, "(d0 + e) * %u + tx * %u", b->p.columns, b->columns), 1);
    for (uint32_t q = 0; q < b->n_pair; q++) {
      if (b->pair[q].state != st || (c->by_rows && !c->has_columns)) continue;
      sq_cu_open(k, "{");
      fetch(b, "x", b->turns, "factor", q, t, 1);
      if (!c->by_rows) outer(b, element(b, "p", q, b->others), "x", b->turns, "y", b->others);
      if (c->has_columns) outer(b, element(b, "o", q, b->columns), "x", b->turns, "z", b->columns);
      sq_cu_close(k);
    }
    sq_cu_close(k);
  }
  sq_cu_close(k);
  for (uint32_t q = 0; q < b->n_pair; q++) {
    if (is_wide(b, q)) continue;
    sq_cu_line(k, "if (SQ_TID < %u)", b->p.length);
    sq_cu_line(k, "  for (int e = 0; e < %u; e++)", b->p.depth);
    sq_cu_line(
        k, "    n%u = sq_c_fma(SQ_SLD(factor%u, e * %u + SQ_TID), SQ_SLD(state%u, d0 + e), n%u);",
        q, q, b->pitch, b->pair[q].state, q);
  }
}
static void decay_scores(sq_cu_blocks *b, uint32_t q) {
  sq_cu *k = b->k;
  if (by_rows(b, q)) return;
  unroll(b, "r", b->turns);
  unroll(b, "j", b->others);
  sq_cu_line(k, "const int t = ty * %u + r, s = tx * %u + j;", b->turns, b->others);
  sq_cu_line(k, "SQ_SST(score%u, s * %u + t, %s * SQ_SLD(range%u, (t%s) * %u + s));", q, b->pitch,
             element(b, "p", q, b->others), b->pair[q].state, b->pair[q].before ? "" : " + 1",
             b->p.length);
  sq_cu_close(k);
  sq_cu_close(k);
}
static void plain_sum(sq_cu_blocks *b, uint32_t read) {
  sq_cu *k = b->k;
  sq_cu_open(k, "if (SQ_TID < %u) {", b->p.length);
  sq_cu_line(k, "const int t = (int)SQ_TID;");
  sq_cu_line(k, "%s sum = 0;", b->type);
  for (uint32_t q = 0; q < b->n_pair; q++) {
    if (b->pair[q].read != read) continue;
    sq_cu_line(k, "sum = sq_c_fma(n%u, (%s)%s, sum);", q, b->type, from_begin(b, q, "t"));
    sq_cu_line(k, "for (int s = 0; s < t%s; s++)", b->pair[q].before ? "" : " + 1");
    sq_cu_line(k, "  sum = sq_c_fma(SQ_SLD(score%u, s * %u + t), SQ_SLD(vector%u, s), sum);", q,
               b->pitch, b->pair[q].state);
  }
  sq_cu_line(k, "SQ_SST(sum%u, t, sum);", read);
  watch(b, "sum");
  sq_cu_close(k);
}
static void add_scores(sq_cu_blocks *b, uint32_t q, uint32_t read) {
  sq_cu *k = b->k;
  loop(b, "s", sq_arena_fmt(k->a, "(ty + 1) * %u", b->turns));
  fetch(b, "x", b->turns, "score", q, sq_arena_fmt(k->a, "s * %u + ty * %u", b->pitch, b->turns),
        1);
  fetch(b, "y", b->columns, "vector", b->pair[q].state,
        sq_arena_fmt(k->a, "s * %u + tx * %u", b->p.columns, b->columns), 1);
  outer(b, element(b, "all", read, b->columns), "x", b->turns, "y", b->columns);
  sq_cu_close(k);
}
// Of a sum: what the states before the block give, and, whole, the turns before.
static void wide_sum(sq_cu_blocks *b, uint32_t read, bool whole) {
  sq_cu *k = b->k;
  sq_cu_open(k, "{");
  accumulators(b, "all", read, b->turns * b->columns);
  const char *all = element(b, "all", read, b->columns);
  for (uint32_t q = 0; q < b->n_pair; q++) {
    if (b->pair[q].read != read) continue;
    unroll(b, "r", b->turns);
    sq_cu_line(k, "const %s by = %s;", b->type,
               from_begin(b, q, sq_arena_fmt(k->a, "ty * %u + r", b->turns)));
    sq_cu_line(k, "#pragma unroll");
    sq_cu_line(k, "for (int j = 0; j < %u; j++) %s = sq_c_fma(by, %s, %s);", b->columns, all,
               element(b, "o", q, b->columns), all);
    sq_cu_close(k);
    if (whole) add_scores(b, q, read);
  }
  unroll(b, "r", b->turns);
  unroll(b, "j", b->columns);
  sq_cu_line(k, "SQ_SST(sum%u, (ty * %u + r) * %u + tx * %u + j, %s);", read, b->turns,
             b->p.columns, b->columns, all);
  if (whole) watch(b, all);
  sq_cu_close(k);
  sq_cu_close(k);
  sq_cu_close(k);
}
void sq_cu_blocks_sums(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  for (uint32_t q = 0; q < b->n_pair; q++) {
    if (!by_rows(b, q)) accumulators(b, "p", q, b->turns * b->others);
    if (is_wide(b, q))
      accumulators(b, "o", q, b->turns * b->columns);
    else
      sq_cu_line(k, "%s n%u = 0;", b->type, q);
  }
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (int d0 = 0; d0 < %u; d0 += %u) {", b->p.depth * b->p.pieces, b->p.depth);
  sq_cu_blocks_rows(b);
  sq_cu_line(k, "SQ_SYNC();");
  scores_by_rows(b);
  row_products(b);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
  for (uint32_t q = 0; q < b->n_pair; q++) decay_scores(b, q);
  sq_cu_line(k, "SQ_SYNC();");
  for (uint32_t r = 0; r < b->c.n_read; r++) {
    if (!sq_cu_read_wide(b, r)) plain_sum(b, r);
    if (sq_cu_read_solved(b, r)) wide_sum(b, r, false);
  }
  sq_cu_blocks_solve(b);
  for (uint32_t r = 0; r < b->c.n_read; r++)
    if (sq_cu_read_wide(b, r) && !sq_cu_read_solved(b, r)) wide_sum(b, r, true);
}

// ---- states ------------------------------------------------------------------------------------
static uint32_t of_piece(const sq_cu_blocks *b) { return b->rows * b->columns; }

static void decay_keys(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  uint32_t n = 0;
  for (uint32_t st = 0; st < b->n_state; st++) {
    if (!b->c.state[st].by_rows) continue;
    sq_cu_open(k, "if (SQ_TID / %u == %u) {", b->p.depth, n++);
    sq_cu_line(k, "const int e = (int)SQ_TID %% %u, at = e * %u;", b->p.depth, b->pitch);
    sq_cu_line(k, "%s r = 1;", b->type);
    sq_cu_line(k, "#pragma unroll 4");
    sq_cu_open(k, "for (int s = %u; s >= 0; s--) {", b->p.length - 1);
    sq_cu_line(k, "SQ_SST(key%u, at + s, SQ_SLD(key%u, at + s) * r);", st, st);
    sq_cu_line(k, "r *= SQ_SLD(decay%u, at + s);", st);
    sq_cu_close(k);
    sq_cu_line(k, "SQ_SST(whole%u, e, r);", st);
    sq_cu_close(k);
  }
  if (n) sq_cu_line(k, "SQ_SYNC();");
}
static const char *of_block(sq_cu_blocks *b, uint32_t st, const char *e) {
  if (!b->c.state[st].by_rows) return sq_arena_fmt(b->k->a, "SQ_SLD(begin%u, %u)", st, b->p.length);
  return sq_arena_fmt(b->k->a, "SQ_SLD(whole%u, %s)", st, e);
}
static void wide_state(sq_cu_blocks *b, uint32_t st) {
  sq_cu *k = b->k;
  const char *acc = sq_arena_fmt(k->a, "s%u[p * %u + r * %u + j]", st, of_piece(b), b->columns);
  const char *e = sq_arena_fmt(k->a, "ty * %u + r", b->rows);
  unroll(b, "r", b->rows);
  sq_cu_line(k, "const %s by = %s;", b->type, of_block(b, st, e));
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(
      k, "for (int j = 0; j < %u; j++) %s = by * SQ_SLD(state%u, (d0 + %s) * %u + tx * %u + j);",
      b->columns, acc, st, e, b->p.columns, b->columns);
  sq_cu_close(k);
  loop(b, "s", number(b, b->p.length));
  fetch(b, "x", b->rows, "key", st, sq_arena_fmt(k->a, "ty * %u + s", b->rows * b->pitch),
        b->pitch);
  fetch(b, "y", b->columns, "vector", st,
        sq_arena_fmt(k->a, "s * %u + tx * %u", b->p.columns, b->columns), 1);
  outer(b, acc, "x", b->rows, "y", b->columns);
  sq_cu_close(k);
  unroll(b, "r", b->rows);
  unroll(b, "j", b->columns);
  watch(b, acc);
  sq_cu_close(k);
  sq_cu_close(k);
}
static void plain_state(sq_cu_blocks *b, uint32_t st) {
  sq_cu *k = b->k;
  sq_cu_open(k, "if (SQ_TID < %u) {", b->p.depth);
  sq_cu_line(k, "const int e = (int)SQ_TID;");
  sq_cu_line(k, "%s sum = %s * SQ_SLD(state%u, d0 + e);", b->type, of_block(b, st, "e"), st);
  sq_cu_line(k, "for (int s = 0; s < %u; s++)", b->p.length);
  sq_cu_line(k, "  sum = sq_c_fma(SQ_SLD(key%u, e * %u + s), SQ_SLD(vector%u, s), sum);", st,
             b->pitch, st);
  sq_cu_line(k, "SQ_SST(later%u, d0 + e, sum);", st);
  watch(b, "sum");
  sq_cu_close(k);
}
// All pieces stay in registers: the loop over them is unrolled.
void sq_cu_blocks_states(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  for (uint32_t st = 0; st < b->n_state; st++)
    if (b->c.state[st].has_columns)
      sq_cu_line(k, "%s s%u[%u];", b->type, st, b->p.pieces * of_piece(b));
  unroll(b, "p", b->p.pieces);
  sq_cu_line(k, "const int d0 = p * %u;", b->p.depth);
  sq_cu_blocks_keys(b);
  sq_cu_line(k, "SQ_SYNC();");
  decay_keys(b);
  for (uint32_t st = 0; st < b->n_state; st++) {
    if (b->c.state[st].has_columns)
      wide_state(b, st);
    else
      plain_state(b, st);
  }
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
}
void sq_cu_blocks_keep(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  for (uint32_t st = 0; st < b->n_state; st++) {
    if (!b->c.state[st].has_columns) {
      sq_cu_line(
          k, "for (int i = (int)SQ_TID; i < %u; i += %d) SQ_SST(state%u, i, SQ_SLD(later%u, i));",
          b->p.depth * b->p.pieces, SQ_TILES_THREADS, st, st);
      continue;
    }
    if (b->cores) continue;
    unroll(b, "p", b->p.pieces);
    unroll(b, "r", b->rows);
    sq_cu_line(k, "#pragma unroll");
    sq_cu_line(k, "for (int j = 0; j < %u; j++)", b->columns);
    sq_cu_line(
        k,
        "  SQ_SST(state%u, (p * %u + ty * %u + r) * %u + tx * %u + j, s%u[p * %u + r * %u + j]);",
        st, b->p.depth, b->rows, b->p.columns, b->columns, st, of_piece(b), b->columns);
    sq_cu_close(k);
    sq_cu_close(k);
  }
}
