// Scans in blocks on tensor cores: the products, each by 16 x 16 and 16 x 8 (sq_mma).
//
//   scores[t][s]  a warp has squares of 16 x 16: factors [t][i] and keys [s][i] from tiles, over all rows;
//                 times decays to shared memory
//   sums[t][j]    of a warp's 16 columns, all turns: factors [t][i] from tiles times states, which lie in
//                 registers as a right operand has them; then scores [t][s] times vectors [s][j]
//   states[j][i]  vectors [j][s], times the decay to the block's end, times keys [s][i], turned on their way
//                 from their tiles
//
// Of numbers that are more than 16 bits there are several operands, the larger parts first; products of two
// small parts are left out.
#include "codegen/cuda/sweep_cores.h"

static void unroll(sq_cu_blocks *b, const char *i, uint32_t n) {
  sq_cu_line(b->k, "#pragma unroll");
  sq_cu_open(b->k, "for (int %s = 0; %s < %u; %s++) {", i, i, n, i);
}
static uint32_t parts_of(const sq_cu_blocks *b, uint32_t tile) {
  return b->cores->p.tile[tile].exact ? 1 : b->cores->p.parts;
}
// c += x[u] * y[w], all parts; `x`, `y` in the form of their number.
static void multiply(sq_cu_blocks *b, const char *c, const char *x, uint32_t nx, const char *y,
                     const char *at, uint32_t ny) {
  for (uint32_t u = 0; u < nx; u++)
    for (uint32_t w = 0; w < ny; w++)
      if (u + w < b->cores->p.parts)
        sq_cu_line(b->k, "sq_mma<sq_bf16>(SQ_ME %s, %s[%u], %s[%u]%s);", c, x, u, y, w, at);
}
// Rows m0 .. m0 + 15 of a tile, words d .. d + 7, as a left operand x[part].
static void fetch_left(sq_cu_blocks *b, uint32_t tile, const char *m0, const char *d) {
  sq_cu *k = b->k;
  sq_cu_line(k, "sq_u32 x[%u][4];", parts_of(b, tile));
  for (uint32_t p = 0; p < parts_of(b, tile); p++) {
    sq_cu_open(k, "{");
    sq_cu_line(k, "sq_u32 w[4];");
    sq_cu_line(k, "sq_fetch(SQ_ME tile%u_%u, (%s) * %u + %s, %u, w);", p, tile, m0,
               b->cores->p.pitch, d, b->cores->p.pitch);
    sq_cu_line(k, "x[%u][0] = w[0], x[%u][1] = w[2], x[%u][2] = w[1], x[%u][3] = w[3];", p, p, p,
               p);
    sq_cu_close(k);
  }
}
// The decay from the block's begin to turn t, which factors of pair q have not got yet.
static const char *from_begin(sq_cu_blocks *b, uint32_t q, const char *t) {
  return sq_arena_fmt(b->k->a, "SQ_SLD(begin%u, %s%s)", b->pair[q].state, t,
                      b->pair[q].before ? "" : " + 1");
}

// ---- scores ------------------------------------------------------------------------------------
static void square(sq_cu_blocks *b, uint32_t q) {
  sq_cu *k = b->k;
  const sq_cu_cores *c = b->cores;
  uint32_t key = c->p.key[b->pair[q].state];
  sq_cu_line(k, "float p[8];");
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int m = 0; m < 8; m++) p[m] = 0;");
  sq_cu_open(k, "if (s0 <= t0) {");
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int d = 0; d < %u; d += 8) {", c->p.depth / 2);
  fetch_left(b, c->p.factor[q], "t0", "d");
  sq_cu_line(k, "sq_u32 y[%u][4];", parts_of(b, key));
  for (uint32_t p = 0; p < parts_of(b, key); p++)
    sq_cu_line(k, "sq_fetch(SQ_ME tile%u_%u, s0 * %u + d, %u, y[%u]);", p, key, c->p.pitch,
               c->p.pitch, p);
  multiply(b, "p", "x", parts_of(b, c->p.factor[q]), "y", "", parts_of(b, key));
  multiply(b, "p + 4", "x", parts_of(b, c->p.factor[q]), "y", " + 2", parts_of(b, key));
  sq_cu_close(k);
  sq_cu_close(k);
  unroll(b, "m", 8);
  sq_cu_line(k, "const int t = t0 + g + m %% 4 / 2 * 8, s = s0 + m / 4 * 8 + 2 * q + m %% 2;");
  sq_cu_line(k, "SQ_SST(score%u, s * %u + t, p[m] * SQ_SLD(range%u, (t%s) * %u + s));", q, b->pitch,
             b->pair[q].state, b->pair[q].before ? "" : " + 1", b->p.length);
  sq_cu_close(k);
}
// Squares of all pairs go round the warps.
void sq_cu_cores_scores(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  uint32_t side = sq_cu_cores_blocks(b), all = side * side;
  for (uint32_t q = 0; q < b->n_pair; q++) {
    sq_cu_open(k, "for (int m0 = (warp + %u) %% 4; m0 < %u; m0 += 4) {", (4 - q * all % 4) % 4,
               all);
    sq_cu_line(k, "const int t0 = m0 / %u * 16, s0 = m0 %% %u * 16;", side, side);
    square(b, q);
    sq_cu_close(k);
  }
}

// ---- sums --------------------------------------------------------------------------------------
static void from_states(sq_cu_blocks *b, uint32_t q) {
  sq_cu *k = b->k;
  const sq_cu_cores *c = b->cores;
  uint32_t n = 8 * sq_cu_cores_blocks(b), st = b->pair[q].state, tile = c->p.factor[q];
  sq_cu_line(k, "float o[%u];", n);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int m = 0; m < %u; m++) o[m] = 0;", n);
  unroll(b, "d", c->p.depth / 16);
  sq_cu_line(k, "sq_u32 y[%u][4];", c->p.parts);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(
      k,
      "for (int i = 0; i < 4; i++) sq_split<%u>(s%u[d * 8 + i %% 2 * 4 + i / 2 * 2], s%u[d * "
      "8 + i %% 2 * 4 + i / 2 * 2 + 1], &y[0][i], 4);",
      c->p.parts, st, st);
  unroll(b, "t", sq_cu_cores_blocks(b));
  fetch_left(b, tile, "t * 16", "d * 8");
  multiply(b, "o + t * 8", "x", parts_of(b, tile), "y", "", c->p.parts);
  multiply(b, "o + t * 8 + 4", "x", parts_of(b, tile), "y", " + 2", c->p.parts);
  sq_cu_close(k);
  sq_cu_close(k);
  unroll(b, "m", n);
  sq_cu_line(k, "all[m] = sq_c_fma(%s, o[m], all[m]);",
             from_begin(b, q, "m / 8 * 16 + g + m % 4 / 2 * 8"));
  sq_cu_close(k);
}
// Scores of turns t0 .. and s0 .., vectors of turns s0 ..
static void from_vectors(sq_cu_blocks *b, uint32_t q) {
  sq_cu *k = b->k;
  const sq_cu_cores *c = b->cores;
  uint32_t st = b->pair[q].state, blocks = sq_cu_cores_blocks(b);
  uint32_t parts = c->p.exact[st] ? 1 : c->p.parts;
  unroll(b, "s", blocks);
  sq_cu_line(k, "sq_u32 y[%u][4];", parts);
  unroll(b, "i", 4);
  sq_cu_line(k, "const int at = (s * 16 + i %% 2 * 8 + 2 * q) * %u + wj + i / 2 * 8 + g;", b->wide);
  sq_cu_line(k, "sq_split<%u>(SQ_SLD(vector%u, at), SQ_SLD(vector%u, at + %u), &y[0][i], 4);",
             parts, st, st, b->wide);
  sq_cu_close(k);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int t = s; t < %u; t++) {", blocks);
  sq_cu_line(k, "sq_u32 x[%u][4];", c->p.parts);
  unroll(b, "i", 4);
  sq_cu_line(k, "const int at = (s * 16 + i / 2 * 8 + 2 * q) * %u + t * 16 + i %% 2 * 8 + g;",
             b->pitch);
  sq_cu_line(k, "sq_split<%u>(SQ_SLD(score%u, at), SQ_SLD(score%u, at + %u), &x[0][i], 4);",
             c->p.parts, q, q, b->pitch);
  sq_cu_close(k);
  multiply(b, "all + t * 8", "x", c->p.parts, "y", "", parts);
  multiply(b, "all + t * 8 + 4", "x", c->p.parts, "y", " + 2", parts);
  sq_cu_close(k);
  sq_cu_close(k);
}
static void wide_sum(sq_cu_blocks *b, uint32_t read, bool whole) {
  sq_cu *k = b->k;
  uint32_t n = 8 * sq_cu_cores_blocks(b);
  sq_cu_open(k, "{");
  sq_cu_line(k, "float all[%u];", n);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int m = 0; m < %u; m++) all[m] = 0;", n);
  for (uint32_t i = 0; i < b->n_pair; i++) {
    if (b->pair[i].read != read) continue;
    sq_cu_open(k, "{");
    from_states(b, i);
    if (whole) from_vectors(b, i);
    sq_cu_close(k);
  }
  unroll(b, "m", n);
  sq_cu_line(k,
             "SQ_SST(sum%u, (m / 8 * 16 + g + m %% 4 / 2 * 8) * %u + wj + m %% 8 / 4 * 8 + 2 * q + "
             "m %% 2, all[m]);",
             read, b->wide);
  sq_cu_close(k);
  sq_cu_close(k);
}
// An element of a tile, its parts together.
static const char *element(sq_cu_blocks *b, uint32_t tile, const char *t, const char *e) {
  const char *v = NULL;
  for (uint32_t p = 0; p < parts_of(b, tile); p++) {
    const char *one = sq_arena_fmt(
        b->k->a,
        "sq_half_of((const sq_bf16 *)0, SQ_SLD(tile%u_%u, %s * %u + %s / 2) >> %s %% 2 * 16 & "
        "0xffff)",
        p, tile, t, b->cores->p.pitch, e, e);
    v = v ? sq_arena_fmt(b->k->a, "%s + %s", v, one) : one;
  }
  return sq_arena_fmt(b->k->a, "(%s)", v);
}
static void plain_sum(sq_cu_blocks *b, uint32_t read) {
  sq_cu *k = b->k;
  sq_cu_open(k, "if (SQ_TID < %u) {", b->p.length);
  sq_cu_line(k, "const int t = (int)SQ_TID;");
  sq_cu_line(k, "float sum = 0;");
  for (uint32_t q = 0; q < b->n_pair; q++) {
    if (b->pair[q].read != read) continue;
    sq_cu_open(k, "{");
    sq_cu_line(k, "float n = 0;");
    sq_cu_line(k, "for (int e = 0; e < %u; e++)", b->cores->p.depth);
    sq_cu_line(k, "  n = sq_c_fma(%s, SQ_SLD(state%u, e), n);",
               element(b, b->cores->p.factor[q], "t", "e"), b->pair[q].state);
    sq_cu_line(k, "sum = sq_c_fma(n, %s, sum);", from_begin(b, q, "t"));
    sq_cu_line(k, "for (int s = 0; s < t%s; s++)", b->pair[q].before ? "" : " + 1");
    sq_cu_line(k, "  sum = sq_c_fma(SQ_SLD(score%u, s * %u + t), SQ_SLD(vector%u, s), sum);", q,
               b->pitch, b->pair[q].state);
    sq_cu_close(k);
  }
  sq_cu_line(k, "SQ_SST(sum%u, t, sum);", read);
  sq_cu_close(k);
}
void sq_cu_cores_sums(sq_cu_blocks *b, bool solved) {
  for (uint32_t r = 0; r < b->c.n_read; r++) {
    bool wide = sq_cu_read_wide(b, r);
    if (!wide && solved) plain_sum(b, r);
    if (wide && sq_cu_read_solved(b, r) == solved) wide_sum(b, r, !solved);
  }
}

// ---- states ------------------------------------------------------------------------------------
static void wide_state(sq_cu_blocks *b, uint32_t st) {
  sq_cu *k = b->k;
  const sq_cu_cores *c = b->cores;
  bool same = b->c.state[st].by == SQ_NO_SCALAR;
  uint32_t n = b->p.length, key = c->p.key[st], parts = same && c->p.exact[st] ? 1 : c->p.parts;
  if (!same) {
    sq_cu_line(k, "const float by = SQ_SLD(begin%u, %u);", st, n);
    sq_cu_line(k, "#pragma unroll");
    sq_cu_line(k, "for (int m = 0; m < %u; m++) s%u[m] *= by;", c->p.depth / 2, st);
  }
  unroll(b, "s", sq_cu_cores_blocks(b));
  sq_cu_line(k, "sq_u32 x[%u][4];", parts);
  unroll(b, "i", 4);
  sq_cu_line(k, "const int s1 = s * 16 + i / 2 * 8 + 2 * q, at = s1 * %u + wj + i %% 2 * 8 + g;",
             b->wide);
  const char *by = same ? "" : sq_arena_fmt(k->a, " * SQ_SLD(range%u, %u + s1", st, n * n);
  sq_cu_line(k,
             "sq_split<%u>(SQ_SLD(vector%u, at)%s%s, SQ_SLD(vector%u, at + %u)%s%s, &x[0][i], 4);",
             parts, st, by, same ? "" : ")", st, b->wide, by, same ? "" : " + 1)");
  sq_cu_close(k);
  unroll(b, "n", c->p.depth / 16);
  sq_cu_line(k, "sq_u32 y[%u][4];", parts_of(b, key));
  for (uint32_t p = 0; p < parts_of(b, key); p++)
    sq_cu_line(k, "sq_fetch_turned(SQ_ME tile%u_%u, s * %u + n * 8, %u, y[%u]);", p, key,
               16 * c->p.pitch, c->p.pitch, p);
  multiply(b, sq_arena_fmt(k->a, "s%u + n * 8", st), "x", parts, "y", "", parts_of(b, key));
  multiply(b, sq_arena_fmt(k->a, "s%u + n * 8 + 4", st), "x", parts, "y", " + 2", parts_of(b, key));
  sq_cu_close(k);
  sq_cu_close(k);
}
static void plain_state(sq_cu_blocks *b, uint32_t st) {
  sq_cu *k = b->k;
  uint32_t n = b->p.length;
  sq_cu_open(k, "if (SQ_TID < %u) {", b->cores->p.depth);
  sq_cu_line(k, "const int e = (int)SQ_TID;");
  sq_cu_line(k, "float sum = SQ_SLD(begin%u, %u) * SQ_SLD(state%u, e);", st, n, st);
  sq_cu_line(k, "for (int s = 0; s < %u; s++)", n);
  sq_cu_line(k, "  sum = sq_c_fma(%s, SQ_SLD(vector%u, s) * SQ_SLD(range%u, %u + s), sum);",
             element(b, b->cores->p.key[st], "s", "e"), st, st, n * n);
  sq_cu_line(k, "SQ_SST(later%u, e, sum);", st);
  sq_cu_close(k);
}
void sq_cu_cores_states(sq_cu_blocks *b) {
  for (uint32_t st = 0; st < b->n_state; st++) {
    sq_cu_open(b->k, "{");
    if (b->c.state[st].has_columns)
      wide_state(b, st);
    else
      plain_state(b, st);
    sq_cu_close(b->k);
  }
}
