// Products of attention by groups of four warps, on sm_90a. In: what stream_mma.c takes, widths and columns of 64
// or 128. Out: the same launch's body for such a processor: 128 rows, by one group that has 64 of them twice or by
// two groups; the next scores are multiplied while this block's results are.
//
//   queries to registers, or to shared memory | first keys have come | barrier
//   scores begin, end | barrier | next keys are asked for
//   for blocks of keys
//     weights                          while the block before is multiplied
//     its results end | weights are packed into registers | next keys, values have come | barrier
//     next scores begin | results += weights times values begins | next values are asked for
//     next scores end | barrier | keys after next are asked for
//
// There is one place for keys and two for values: 48 KiB at 128, which is what a kernel may declare. Where keys and
// values come by tensor maps (stream_bulk.c) there are two for both, in what the launch brings, and of the barriers
// one: behind it all are done with the scores of this block and the results of the one before, where the first
// thread asks for keys after next and the next values; what a thread waits for are gates.
//
// A place is one or two panels of 64 keys by 64 elements. A row of a panel is 128 bytes: eight pieces of 16, of which
// piece v lies where v ^ (row % 8) is, as a descriptor of swizzle 128 has it (SQ_PANEL). Scores take keys as
// columns of their factor, along what is summed over; results take values as rows of theirs, which the instruction
// turns.
#include "codegen/cuda/stream.h"

enum {
  KEYS = 64,
  LINE = 64,               // elements of a row of a panel
  PANEL = KEYS * LINE / 2, // words
};

static int panels(int64_t n) { return (int)n / LINE; }
static bool whole(int64_t n) { return n == LINE || n == 2 * LINE; }
bool sq_cu_stream_wgmma_fits(const sq_cu_stream *s) { return whole(s->width) && whole(s->columns); }

static void shape(sq_cu_attend *x, bool few) {
  sq_cu_stream_mma.shape(x, few);
  x->row = "(wr + r / 2 * 64 + r % 2 * 8 + g)";
}
// A group that has 128 rows has no registers left for queries.
static bool stored(const sq_cu_attend *x) { return x->tall == 2; }
static void array(sq_cu_attend *x, const char *name, int words) {
  if (x->bulk)
    sq_cu_dynamic(x->k, true, "sq_u32", name, (uint32_t)words, (uint32_t)words * 4, 1024);
  else
    sq_cu_line(x->k, "SQ_SHARED_TILE(sq_u32, %s, %d);", name, words);
}
static void begin(sq_cu_attend *x) {
  sq_cu *k = x->k;
  x->bulk = sq_cu_stream_maps(x);
  if (stored(x)) array(x, "tile_q", x->tall * PANEL);
  array(x, "tile_k", (x->bulk ? 2 : 1) * panels(x->s->width) * PANEL);
  array(x, "tile_v", 2 * panels(x->s->columns) * PANEL);
  if (x->bulk) sq_cu_stream_gates(x);
  sq_cu_line(k, "const int g = (int)(SQ_TID %% 32) / 4, q = (int)(SQ_TID %% 4);");
  sq_cu_line(k, "const int wr = (int)(SQ_TID / 32) * 16;");
  sq_cu_line(k, "sq_wgmma_list flying;");
}

// ---- keys and values ---------------------------------------------------------------------------
static const char *in_panels(sq_cu_attend *x, const char *stage) {
  return sq_arena_fmt(x->k->a, "%s + d / %d * %d + m * %d + (d / 8 %% 8 ^ m %% 8) * 4", stage, LINE,
                      PANEL, LINE / 2);
}
static void bring_keys(sq_cu_attend *x, const char *first) {
  const sq_cu_lines l = sq_cu_stream_keys(x, first, "tile_k", in_panels(x, "0"));
  sq_cu_open(x->k, "if (%s < hi) {", first);
  sq_cu_stream_bring(x, &l);
  sq_cu_close(x->k);
}
static void bring_values(sq_cu_attend *x, const char *first, const char *stage) {
  const sq_cu_lines l = sq_cu_stream_values(x, first, "tile_v", in_panels(x, stage));
  sq_cu_open(x->k, "if (%s < hi) {", first);
  sq_cu_stream_bring(x, &l);
  sq_cu_close(x->k);
}

// ---- products ----------------------------------------------------------------------------------
// 16 of the width, from 16 d on, are 32 bytes, 8 words, of a row of a panel.
static void scores_step(sq_cu_attend *x, int add) {
  sq_cu *k = x->k;
  const char *keys = sq_arena_fmt(k->a, "SQ_PANEL(tile_k, %sd / 4 * %d + d %% 4 * 8, %d)",
                                  x->bulk ? "keys + " : "", PANEL, PANEL * 4);
  const char *type = sq_cu_stream_half(x);
  for (int i = 0; i < x->tall; i++)
    if (stored(x))
      sq_cu_line(
          k, "sq_wgmma_panel<%s, %d>(SQ_ME flying, s + %d, SQ_PANEL(tile_q, %d + d * 8, %d), %s);",
          type, add, i * KEYS / 2, i * PANEL, PANEL * 4, keys);
    else
      sq_cu_line(k, "sq_wgmma_held<%s, %d>(SQ_ME flying, s + %d, held_q[d] + %d, %s);", type, add,
                 i * KEYS / 2, i * 4, keys);
}
static void begin_scores(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_open(k, "{");
  sq_cu_line(k, "const int d = 0;");
  scores_step(x, 0);
  sq_cu_close(k);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int d = 1; d < %d; d++) {", (int)x->s->width / 16);
  scores_step(x, 1);
  sq_cu_close(k);
}
// 16 keys are 2048 bytes, 512 words, of a panel.
static void begin_results(sq_cu_attend *x) {
  sq_cu *k = x->k;
  int columns = (int)x->s->columns;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int n = 0; n < %d; n++) {", KEYS / 16);
  for (int i = 0; i < x->tall; i++)
    sq_cu_line(k,
               "sq_wgmma_turned<%s, %d>(SQ_ME flying, o + %d, weights[n] + %d, SQ_PANEL(tile_v, "
               "stage + n * 512, %d));",
               sq_cu_stream_half(x), columns, i * columns / 2, i * 4, PANEL * 4);
  sq_cu_close(k);
}
static void scores_end(sq_cu_attend *x, int but) {
  sq_cu_line(x->k, "sq_wgmma_wait_but<%s, %d>(SQ_ME flying);", sq_cu_stream_half(x), but);
  sq_cu_line(x->k, "sq_hold<%d>(s);", x->rt * x->kt);
}
static void settle(sq_cu_attend *x) {
  sq_cu_line(x->k, "sq_wgmma_wait_but<%s, 0>(SQ_ME flying);", sq_cu_stream_half(x));
  sq_cu_line(x->k, "sq_hold<%d>(o);", x->rt * x->ct);
}

static void keep_queries(sq_cu_attend *x) {
  sq_cu *k = x->k;
  int steps = (int)x->s->width / 16;
  if (!stored(x)) sq_cu_line(k, "sq_u32 held_q[%d][%d];", steps, 4 * x->tall);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int d = 0; d < %d; d += 8) {", steps * 8);
  if (!stored(x)) {
    sq_cu_stream_queries(x, "held_q[d / 8][i]");
  } else {
    sq_cu_line(k, "sq_u32 held[%d];", 4 * x->tall);
    sq_cu_stream_queries(x, "held[i]");
    sq_cu_line(k, "#pragma unroll");
    sq_cu_open(k, "for (int i = 0; i < %d; i++) {", 4 * x->tall);
    sq_cu_line(k, "const int r = i / 4 * 2 + i %% 2, m = %s;", x->row);
    sq_cu_line(k, "SQ_SST(tile_q, m * %d + (d / 4 + i %% 4 / 2 ^ m %% 8) * 4 + q, held[i]);",
               LINE / 2);
    sq_cu_close(k);
  }
  sq_cu_close(k);
}
// ---- by tensor maps: `turn` is the number of the block, stage and keys where its values and the next keys lie
static void ask_first(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_open(k, "if (SQ_TID == 0 && lo < hi) {");
  sq_cu_stream_ask(x, false, "turn", "lo");
  sq_cu_stream_ask(x, true, "turn", "lo");
  const char *next = sq_arena_fmt(k->a, "lo + %d", KEYS);
  sq_cu_open(k, "if (%s < hi) {", next);
  sq_cu_stream_ask(x, false, "turn + 1", next);
  sq_cu_close(k);
  sq_cu_close(k);
}
static int place_of_keys(const sq_cu_attend *x) { return panels(x->s->width) * PANEL; }
static void await_first(sq_cu_attend *x) {
  sq_cu_stream_await(x, false, "turn");
  sq_cu_line(x->k, "SQ_WARP_SYNC();");
  sq_cu_line(x->k, "const int keys = (int)(turn %% 2) * %d;", place_of_keys(x));
}
static void ask_next(sq_cu_attend *x) {
  sq_cu *k = x->k;
  const char *next = sq_arena_fmt(k->a, "k0 + %d", KEYS);
  const char *after = sq_arena_fmt(k->a, "k0 + %d", 2 * KEYS);
  sq_cu_stream_await(x, true, "turn");
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_line(k, "const bool more = %s < hi;", next);
  sq_cu_open(k, "if (SQ_TID == 0 && more) {");
  sq_cu_stream_ask(x, true, "turn + 1", next);
  sq_cu_open(k, "if (%s < hi) {", after);
  sq_cu_stream_ask(x, false, "turn + 2", after);
  sq_cu_close(k);
  sq_cu_close(k);
  sq_cu_line(k, "const int stage = (int)(turn %% 2) * %d;", panels(x->s->columns) * PANEL);
}
// Behind the last block there are none: scores of its own keys are multiplied.
static void await_next(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_open(k, "if (more) {");
  sq_cu_stream_await(x, false, "turn + 1");
  sq_cu_close(k);
  sq_cu_line(k, "SQ_WARP_SYNC();");
  sq_cu_line(k, "const int keys = (int)((turn + more) %% 2) * %d;", place_of_keys(x));
  sq_cu_line(k, "turn++;");
}

// The barrier: before it the last tile's values may still be read.
static void queries(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "sq_u32 weights[%d][%d];", KEYS / 16, 4 * x->tall);
  sq_cu_line(k, "float s[%d];", x->rt * x->kt);
  if (!x->bulk) sq_cu_line(k, "int stage = 0;");
  sq_cu_line(k, "SQ_SYNC();");
  if (x->bulk) {
    ask_first(x);
  } else {
    bring_keys(x, "lo");
    sq_cu_line(k, "SQ_COPY_GROUP();");
    bring_values(x, "lo", "0");
    sq_cu_line(k, "SQ_COPY_GROUP();");
  }
  keep_queries(x);
  if (!x->bulk) sq_cu_line(k, "SQ_COPIED_BUT(1);");
  if (!x->bulk || stored(x)) {
    sq_cu_line(k, "SQ_ASYNC_FENCE();");
    sq_cu_line(k, "SQ_SYNC();");
  }
  sq_cu_open(k, "if (lo < hi) {");
  if (x->bulk) await_first(x);
  sq_cu_line(k, "SQ_WGMMA_BEGIN();");
  begin_scores(x);
  sq_cu_line(k, "SQ_WGMMA_END(flying);");
  scores_end(x, 0);
  if (!x->bulk) sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
  if (!x->bulk) bring_keys(x, sq_arena_fmt(k->a, "lo + %d", KEYS));
}

// ---- weights -----------------------------------------------------------------------------------
static void pack(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int n = 0; n < %d; n++) {", KEYS / 16);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int i = 0; i < %d; i++) {", 4 * x->tall);
  sq_cu_line(k, "const int at = (i / 4 * %d + 2 * n + i %% 4 / 2) * 4 + i %% 2 * 2;", KEYS / 8);
  sq_cu_line(k, "weights[n][i] = sq_pack((const %s *)0, s[at], s[at + 1]);", sq_cu_stream_half(x));
  sq_cu_close(k);
  sq_cu_close(k);
}
static void look_for_odd(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "bool odd = false;");
  sq_cu_open(k, "if (holes) {");
  sq_cu_open(k, "for (int f = (int)SQ_TID; f < %d; f += (int)SQ_THREADS) {",
             panels(x->s->columns) * PANEL);
  sq_cu_line(k, "odd = odd || sq_is_odd((const %s *)0, SQ_SLD(tile_v, stage + f));",
             sq_cu_stream_half(x));
  sq_cu_close(k);
  sq_cu_line(k, "odd = SQ_ANY(odd);");
  sq_cu_close(k);
}
// The product that follows, which stands in no branch so that the compiler does not wait for each, adds
// nothing then.
static void make_nothing(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < %d; i++) s[i] = 0;", x->rt * x->kt);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_line(
      k, "for (int f = (int)SQ_TID; f < %d; f += (int)SQ_THREADS) SQ_SST(tile_v, stage + f, 0);",
      panels(x->s->columns) * PANEL);
  sq_cu_line(k, "SQ_ASYNC_FENCE();");
  sq_cu_line(k, "SQ_SYNC();");
}
static void values(sq_cu_attend *x) {
  sq_cu *k = x->k;
  const char *next = sq_arena_fmt(k->a, "k0 + %d", KEYS);
  const char *other = sq_arena_fmt(k->a, "(%d - stage)", panels(x->s->columns) * PANEL);
  if (x->bulk) {
    ask_next(x);
  } else {
    sq_cu_line(k, "SQ_COPIED();");
    sq_cu_line(k, "SQ_ASYNC_FENCE();");
    sq_cu_line(k, "SQ_SYNC();");
  }
  look_for_odd(x);
  sq_cu_open(k, "if (odd) {");
  sq_cu_stream_one_by_one(x, "stage", 0);
  make_nothing(x);
  sq_cu_close(k);
  pack(x);
  if (x->bulk) await_next(x);
  sq_cu_line(k, "SQ_WGMMA_BEGIN();");
  begin_scores(x); // no branch: behind the last block once more, of its own keys
  sq_cu_line(k, "SQ_WGMMA_END(flying);");
  begin_results(x);
  sq_cu_line(k, "SQ_WGMMA_END(flying);");
  if (!x->bulk) {
    bring_values(x, next, other);
    sq_cu_line(k, "stage = %s;", other);
  }
  scores_end(x, 1);
  if (x->bulk) return;
  sq_cu_line(k, "SQ_SYNC();");
  bring_keys(x, sq_arena_fmt(k->a, "k0 + %d", 2 * KEYS));
}
const sq_cu_engine sq_cu_stream_wgmma = {shape, begin, queries, NULL, values, settle, 8};
