// Products of attention on tensor cores, for queries, keys and values of 16 bits in memory. A warp has 16
// rows, or 32; a lane what sq_mma says of them (device/common.cuh).
//
//   keys of the block have come | barrier | values are asked for | scores += queries times keys
//   values have come            | barrier | keys of the next block are asked for
//   weights | results += weights, as they lie in registers, times values
//
// Keys and values are in shared memory as in memory, rows 4 words more than whole ones apart, so that what
// lanes fetch at once is in different banks; they come by copies that no register takes part in where
// memory runs along width and columns by 8. Queries stay in registers, or come again for each block
// where they are wide.
//
// A weight of 0 counts for nothing, whatever the value is: where there may be such, and a value of the block
// is no number or infinite, the products leave it out one by one.
#include "codegen/cuda/stream.h"

enum { WARP = 32, VECTOR = 8, RESIDENT = 128 };

const char *sq_cu_stream_half(const sq_cu_attend *x) {
  return x->s->half == SQ_F16 ? "sq_f16" : "sq_bf16";
}
static int pitch(int64_t n) { return (int)n / 2 + 4; } // in words
static bool is_resident(const sq_cu_attend *x) { return x->s->width <= RESIDENT; }
static int threads(const sq_cu_attend *x) { return x->warps * WARP; }

static void shape(sq_cu_attend *x, bool few) {
  int64_t width = x->s->width, columns = x->s->columns;
  sq_arena *a = x->k->a;
  bool small = width <= 64 && columns <= 64;
  x->warps = few ? 1 : small ? 4 : 8; // 128 rows: fewer, and the second-level cache is the limit
  x->tall = !few && small ? 2 : 1;
  x->rows = 16 * x->warps * x->tall;
  x->keys = width <= 128 && columns <= 128 ? 64 : 32;
  x->rt = 2 * x->tall;
  x->kt = x->keys / 4;
  x->ct = (int)columns / 4;
  x->team = 4;
  x->row = "(wr + r / 2 * 16 + r % 2 * 8 + g)";
  x->key = x->column = "(j / 2 * 8 + 2 * q + j % 2)";
  x->at_s = sq_arena_fmt(a, "s[(r / 2 * %d + j / 2) * 4 + r %% 2 * 2 + j %% 2]", x->keys / 8);
  x->at_o = sq_arena_fmt(a, "o[(r / 2 * %d + j / 2) * 4 + r %% 2 * 2 + j %% 2]", (int)columns / 8);
}
static void begin(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "SQ_SHARED(sq_u32, tile_k, %d);", x->keys * pitch(x->s->width));
  sq_cu_line(k, "SQ_SHARED(sq_u32, tile_v, %d);", x->keys * pitch(x->s->columns));
  sq_cu_line(k, "const int g = (int)(SQ_TID %% 32) / 4, q = (int)(SQ_TID %% 4);");
  sq_cu_line(k, "const int wr = (int)(SQ_TID / 32) * %d;", 16 * x->tall);
}

// ---- queries -----------------------------------------------------------------------------------
// One word of queries, a pair from width e0 on, to u[i].
static void query_word(sq_cu_attend *x, const char *to) {
  sq_cu *k = x->k;
  const sq_stream *p = &x->s->p;
  uint32_t read = sq_cu_stream_read(&p->score, p->q);
  bool pair =
      sq_cu_stream_runs(x->s, &p->score, read, sq_stream_axis(&p->score, SQ_STREAM_WIDTH), 2);
  const char *width = sq_cu_dim(k, p->width);
  sq_cu_line(k, "%s = 0;", to);
  for (int part = 0; part < (pair ? 1 : 2); part++) {
    sq_cu_open(k, "{");
    sq_cu_line(k, "const sq_i64 e = e0 + %d;", part);
    sq_cu_mark mark = sq_cu_members_enter(x);
    sq_cu_open(k, "if (e < %s) {", width);
    const char *at = sq_cu_nest_place(&x->score, read);
    if (pair)
      sq_cu_line(k, "%s = SQ_LD_PAIR(%s);", to, at);
    else
      sq_cu_line(k, "%s |= (sq_u32)SQ_LD_BITS(%s) << %d;", to, at, part * 16);
    sq_cu_close(k);
    sq_cu_members_leave(x, mark);
    sq_cu_close(k);
  }
}
void sq_cu_stream_queries(sq_cu_attend *x, const char *to) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int i = 0; i < %d; i++) {", 4 * x->tall);
  sq_cu_line(k, "const int r = i / 4 * 2 + i %% 2;");
  sq_cu_line(k, "const sq_i64 row = row0 + %s < last ? row0 + %s : last;", x->row, x->row);
  sq_cu_line(k, "const sq_i64 e0 = 2 * d + i %% 4 / 2 * 8 + 2 * q;");
  sq_cu_mark mark = sq_cu_members_enter(x);
  sq_cu_rows_index(x, "row");
  query_word(x, to);
  sq_cu_members_leave(x, mark);
  sq_cu_close(k);
}

// ---- keys and values ---------------------------------------------------------------------------
// The condition that the reads are inside, joined to the others.
static const char *joined(sq_cu_attend *x, const sq_cu_lines *l, uint32_t read, const char *more) {
  const char *inside = l->t->g->domain.n ? sq_cu_nest_inside(l->t, read) : NULL;
  return inside ? sq_arena_fmt(x->k->a, "%s && %s", more, inside) : more;
}
static void by_element(sq_cu_attend *x, const sq_cu_lines *l, uint32_t read, const char *guard) {
  sq_cu *k = x->k;
  sq_cu_line(k, "sq_vec8 held = sq_vec8{{0, 0, 0, 0}};");
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int i = 0; i < %d; i++) {", VECTOR);
  sq_cu_line(k, "const sq_i64 %s = %s + d + i;", l->index, l->from);
  sq_cu_mark mark = sq_cu_members_enter(x);
  const char *at = sq_cu_nest_place(l->t, read);
  sq_cu_line(k, "if (%s) held.w[i / 2] |= (sq_u32)SQ_LD_BITS(%s) << i %% 2 * 16;",
             joined(x, l, read, guard), at);
  sq_cu_members_leave(x, mark);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SST_VEC(%s, %s, held);", l->tile, l->to);
}
void sq_cu_stream_bring(sq_cu_attend *x, const sq_cu_lines *l) {
  sq_cu *k = x->k;
  uint32_t read = sq_cu_stream_read(l->m, l->factor);
  int vectors = (int)l->length / VECTOR;
  const char *guard = sq_arena_fmt(k->a, "key < hi && %s < %s", l->index, sq_cu_dim(k, l->n));
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int f = (int)SQ_TID; f < %d; f += %d) {", x->keys * vectors, threads(x));
  sq_cu_line(k, "const int m = f / %d, d = f %% %d * %d;", vectors, vectors, VECTOR);
  sq_cu_line(k, "const sq_i64 key = %s + m;", l->first);
  if (sq_cu_stream_runs(x->s, l->m, read, sq_stream_axis(l->m, l->role), VECTOR)) {
    sq_cu_line(k, "const sq_i64 %s = %s + d;", l->index, l->from);
    sq_cu_mark mark = sq_cu_members_enter(x);
    const char *at = sq_cu_nest_place(l->t, read);
    sq_cu_line(k, "SQ_COPY(%s, %s, %s, %s);", l->tile, l->to, at, joined(x, l, read, guard));
    sq_cu_members_leave(x, mark);
  } else {
    by_element(x, l, read, guard);
  }
  sq_cu_close(k);
}
sq_cu_lines sq_cu_stream_keys(sq_cu_attend *x, const char *first, const char *tile,
                              const char *to) {
  const sq_stream *p = &x->s->p;
  return (sq_cu_lines){&p->score, &x->score, SQ_STREAM_WIDTH, p->k,       tile, to, "e",
                       first,     "0",       p->width,        x->s->width};
}
sq_cu_lines sq_cu_stream_values(sq_cu_attend *x, const char *first, const char *tile,
                                const char *to) {
  const sq_stream *p = &x->s->p;
  return (sq_cu_lines){&p->value, &x->value, SQ_STREAM_COLUMN, p->v,       tile,         to,
                       "c",       first,     "column0",        p->columns, x->s->columns};
}
static const char *in_lines(sq_cu_attend *x, int64_t length) {
  return sq_arena_fmt(x->k->a, "m * %d + d / 2", pitch(length));
}
static void bring_keys(sq_cu_attend *x, const char *first) {
  const sq_cu_lines l = sq_cu_stream_keys(x, first, "tile_k", in_lines(x, x->s->width));
  sq_cu_stream_bring(x, &l);
}
static void bring_values(sq_cu_attend *x) {
  const sq_cu_lines l = sq_cu_stream_values(x, "k0", "tile_v", in_lines(x, x->s->columns));
  sq_cu_stream_bring(x, &l);
}

// ---- products ----------------------------------------------------------------------------------
static void queries(sq_cu_attend *x) {
  sq_cu *k = x->k;
  if (is_resident(x)) {
    sq_cu_line(k, "sq_u32 held_q[%d][%d];", (int)x->s->width / 16, 4 * x->tall);
    sq_cu_line(k, "#pragma unroll");
    sq_cu_open(k, "for (int d = 0; d < %d; d += 8) {", (int)x->s->width / 2);
    sq_cu_stream_queries(x, "held_q[d / 8][i]");
    sq_cu_close(k);
  }
  sq_cu_open(k, "if (lo < hi) {");
  bring_keys(x, "lo");
  sq_cu_close(k);
}
static void scores(sq_cu_attend *x) {
  sq_cu *k = x->k;
  const char *u = is_resident(x) ? "held_q[d / 8]" : "u";
  sq_cu_line(k, "SQ_COPIED();");
  sq_cu_line(k, "SQ_SYNC();");
  bring_values(x);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < %d; i++) s[i] = 0;", x->rt * x->kt);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int d = 0; d < %d; d += 8) {", (int)x->s->width / 2);
  if (!is_resident(x)) {
    sq_cu_line(k, "sq_u32 u[%d];", 4 * x->tall);
    sq_cu_stream_queries(x, "u[i]");
  }
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int n = 0; n < %d; n += 2) {", x->keys / 8);
  sq_cu_line(k, "sq_u32 w[4];");
  sq_cu_line(k, "sq_fetch(SQ_ME tile_k, n * 8 * %d + d, %d, w);", pitch(x->s->width),
             pitch(x->s->width));
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(
      k,
      "for (int i = 0; i < %d; i++) sq_mma<%s>(SQ_ME s + (i / 2 * %d + n + i %% 2) * 4, %s + "
      "i / 2 * 4, w + i %% 2 * 2);",
      2 * x->tall, sq_cu_stream_half(x), x->keys / 8, u);
  sq_cu_close(k);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_COPIED();");
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_open(k, "if (k0 + %d < hi) {", x->keys);
  bring_keys(x, sq_arena_fmt(k->a, "k0 + %d", x->keys));
  sq_cu_close(k);
}
// Is there a value in the block that a weight of 0 would not make 0?
static void look_for_odd(sq_cu_attend *x) {
  sq_cu *k = x->k;
  int words = (int)x->s->columns / 2;
  sq_cu_line(k, "bool odd = false;");
  sq_cu_open(k, "if (holes) {");
  sq_cu_line(k, "SQ_SHARED(sq_acc_any<bool>, room, %d);", x->warps);
  sq_cu_line(k, "sq_acc_any<bool> any;");
  sq_cu_line(k, "any.begin();");
  sq_cu_open(k, "for (int f = (int)SQ_TID; f < %d; f += %d) {", x->keys * words, threads(x));
  sq_cu_line(k, "any.step(sq_is_odd((const %s *)0, SQ_SLD(tile_v, f / %d * %d + f %% %d)), 0);",
             sq_cu_stream_half(x), words, pitch(x->s->columns), words);
  sq_cu_close(k);
  sq_cu_line(k, "odd = sq_block_reduce(SQ_ME any, room).result();");
  sq_cu_close(k);
}
void sq_cu_stream_one_by_one(sq_cu_attend *x, const char *from, int pitch) {
  sq_cu *k = x->k;
  int ns = x->keys / 2, no = (int)x->s->columns / 2; // elements of 16 rows
  sq_cu_line(k, "float p[%d], to[%d];", ns * x->tall, no * x->tall);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < %d; i++) p[i] = s[i];", ns * x->tall);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < %d; i++) to[i] = o[i];", no * x->tall);
  for (int i = 0; i < x->tall; i++)
    sq_cu_line(k, "sq_add_holes<%s>(SQ_ME p + %d, %d, to + %d, %d, tile_v, %s, %d);",
               sq_cu_stream_half(x), i * ns, x->keys / 8, i * no, (int)x->s->columns / 8, from,
               pitch);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < %d; i++) o[i] = to[i];", no * x->tall);
}
static void multiply(sq_cu_attend *x) {
  sq_cu *k = x->k;
  int tiles = x->keys / 8, across = (int)x->s->columns / 8;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int n = 0; n < %d; n += 2) {", tiles);
  sq_cu_line(k, "sq_u32 u[%d];", 4 * x->tall);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int i = 0; i < %d; i++) {", 4 * x->tall);
  sq_cu_line(k, "const int at = (i / 4 * %d + n + i %% 4 / 2) * 4 + i %% 2 * 2;", tiles);
  sq_cu_line(k, "u[i] = sq_pack((const %s *)0, s[at], s[at + 1]);", sq_cu_stream_half(x));
  sq_cu_close(k);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int c = 0; c < %d; c += 2) {", across);
  sq_cu_line(k, "sq_u32 w[4];");
  sq_cu_line(k, "sq_fetch_turned(SQ_ME tile_v, n * 8 * %d + c * 4, %d, w);", pitch(x->s->columns),
             pitch(x->s->columns));
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k,
             "for (int i = 0; i < %d; i++) sq_mma<%s>(SQ_ME o + (i / 2 * %d + c + i %% 2) * 4, u + "
             "i / 2 * 4, w + i %% 2 * 2);",
             2 * x->tall, sq_cu_stream_half(x), across);
  sq_cu_close(k);
  sq_cu_close(k);
}
static void values(sq_cu_attend *x) {
  sq_cu *k = x->k;
  look_for_odd(x);
  sq_cu_open(k, "if (!odd) {");
  multiply(x);
  sq_cu_close(k);
  sq_cu_open(k, "else {");
  sq_cu_stream_one_by_one(x, "0", pitch(x->s->columns));
  sq_cu_close(k);
}
const sq_cu_engine sq_cu_stream_mma = {shape, begin, queries, scores, values, NULL, 8};
