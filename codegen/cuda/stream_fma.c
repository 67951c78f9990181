// Products of attention in multiply-adds, for numbers of 32 and 64 bits and for whatever is no plain read
// of 16 bits. A warp has 16 rows: 4 of them, and an eighth of the keys and columns, are a lane's.
//
//   scores: for each 32 of the width: keys (and queries, where the width is large) into shared memory |
//           barrier | 4 x 8 scores += 4 of queries times 8 of keys, 32 times | barrier
//   values: weights into shared memory; for some keys: values into it | barrier |
//           4 rows of results += weights times values | barrier
//
// Shared memory has the width, or the key, first: a lane reads 4 rows, and 4 keys or columns, as vectors.
#include "codegen/cuda/stream.h"

enum { WARP = 32, ROWS = 4, LANES = 8, RESIDENT = 64, SKEW = 4 };

static int depth_of(const sq_cu_attend *x) { return *x->s->type == 'd' ? 16 : 32; }
static bool is_resident(const sq_cu_attend *x) {
  return x->s->width && x->s->width <= RESIDENT / (*x->s->type == 'd' ? 2 : 1);
}
static int pitch(int n) { return n + SKEW; }
static int tile_words(const sq_cu_attend *x) { return depth_of(x) * pitch(x->keys); }
// Keys whose values are in shared memory at once.
static int some_keys(const sq_cu_attend *x) {
  int n = x->keys;
  while (n > 4 && n * pitch((int)x->s->columns) > tile_words(x)) n /= 2;
  return n;
}
static void shape(sq_cu_attend *x, bool few) {
  bool wide = *x->s->type == 'd';
  x->warps = few ? 1 : 4;
  x->tall = 1;
  x->rows = 16 * x->warps;
  x->keys = wide ? 32 : 64;
  x->rt = ROWS;
  x->kt = x->keys / LANES;
  x->ct = (int)x->s->columns / LANES;
  x->team = LANES;
  x->row = "(wr + r)";
  x->key = "(j / 4 * 32 + tx * 4 + j % 4)";
  x->column = x->s->columns % 32 ? "(j * 8 + tx)" : "(j / 4 * 32 + tx * 4 + j % 4)";
  x->at_s = x->at_o = NULL;
  x->at_s = "s[j * 4 + r]";
  x->at_o = "o[j * 4 + r]";
}
static void begin(sq_cu_attend *x) {
  sq_cu *k = x->k;
  const char *t = x->s->type;
  int tile = tile_words(x), values = some_keys(x) * pitch((int)x->s->columns);
  int width = is_resident(x) ? (int)x->s->width : depth_of(x);
  sq_cu_line(k, "SQ_SHARED(%s, tile_q, %d);", t, width * pitch(x->rows));
  sq_cu_line(k, "SQ_SHARED(%s, tile_k, %d);", t, tile > values ? tile : values);
  sq_cu_line(k, "SQ_SHARED(%s, tile_p, %d);", t, x->keys * pitch(x->rows));
  sq_cu_line(k, "const int tx = (int)(SQ_TID %% 8), wr = (int)(SQ_TID / 32) * 16 + (int)(SQ_TID / "
                "8 %% 4) * 4;");
}

// ---- tiles in ----------------------------------------------------------------------------------
// Opens the elements of a tile that this thread brings: `major` and `minor` of n_major, n_minor; minor ones
// are neighbours of neighbouring threads.
static void open_elements(sq_cu_attend *x, const char *major, int n_major, const char *minor,
                          int n_minor) {
  sq_cu_line(x->k, "#pragma unroll 2"); // more, and ptxas spills
  sq_cu_open(x->k, "for (int f = (int)SQ_TID; f < %d; f += %d) {", n_major * n_minor,
             x->warps * WARP);
  sq_cu_line(x->k, "const int %s = f / %d, %s = f %% %d;", major, n_minor, minor, n_minor);
}
static void bring(sq_cu_attend *x, sq_cu_nest *t, uint32_t scalar, const char *guard, bool rows,
                  const char *to) {
  sq_cu *k = x->k;
  sq_cu_line(k, "%s v = 0;", x->s->type);
  sq_cu_open(k, "if (%s) {", guard);
  sq_cu_mark mark = sq_cu_members_enter(x);
  if (rows) sq_cu_rows_index(x, "row");
  sq_cu_line(k, "v = %s;", sq_cu_nest_value(t, scalar));
  sq_cu_members_leave(x, mark);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SST(%s, v);", to);
}
// Queries of the tile from `width` e0 on, n of it.
static void bring_queries(sq_cu_attend *x, int n) {
  sq_cu *k = x->k;
  open_elements(x, "m", x->rows, "d", n);
  sq_cu_line(k, "const sq_i64 e = e0 + d, row = row0 + m;");
  bring(x, &x->score, x->s->p.q,
        sq_arena_fmt(k->a, "row <= last && e < %s", sq_cu_dim(k, x->s->p.width)), true,
        sq_arena_fmt(k->a, "tile_q, d * %d + m", pitch(x->rows)));
  sq_cu_close(k);
}
static bool runs_along(const sq_cu_attend *x, const sq_stream_member *m, uint32_t factor,
                       uint32_t role) {
  uint32_t read = sq_cu_stream_read(m, factor), axis = sq_stream_axis(m, role);
  if (read == SQ_NO_SCALAR) return true;
  const sq_scalar *r = &m->n->g->s.v[read];
  if (!r->n_pos) return true;
  sq_affine a = sq_scalar_affine(x->k->g, m->n->g, r->pos[r->n_pos - 1]);
  return !a.ok || a.coef[axis] != 0;
}
static void bring_keys(sq_cu_attend *x) {
  sq_cu *k = x->k;
  if (runs_along(x, &x->s->p.score, x->s->p.k, SQ_STREAM_WIDTH))
    open_elements(x, "m", x->keys, "d", depth_of(x));
  else
    open_elements(x, "d", depth_of(x), "m", x->keys);
  sq_cu_line(k, "const sq_i64 e = e0 + d, key = k0 + m;");
  bring(x, &x->score, x->s->p.k,
        sq_arena_fmt(k->a, "key < hi && e < %s", sq_cu_dim(k, x->s->p.width)), false,
        sq_arena_fmt(k->a, "tile_k, d * %d + m", pitch(x->keys)));
  sq_cu_close(k);
}
static void bring_values(sq_cu_attend *x) {
  sq_cu *k = x->k;
  int n = (int)x->s->columns;
  if (runs_along(x, &x->s->p.value, x->s->p.v, SQ_STREAM_COLUMN))
    open_elements(x, "m", some_keys(x), "d", n);
  else
    open_elements(x, "d", n, "m", some_keys(x));
  sq_cu_line(k, "const sq_i64 c = column0 + d, key = k0 + j0 + m;");
  bring(x, &x->value, x->s->p.v,
        sq_arena_fmt(k->a, "key < hi && c < %s", sq_cu_dim(k, x->s->p.columns)), false,
        sq_arena_fmt(k->a, "tile_k, m * %d + d", pitch(n)));
  sq_cu_close(k);
}

// ---- products ----------------------------------------------------------------------------------
static void queries(sq_cu_attend *x) {
  if (!is_resident(x)) return;
  sq_cu_line(x->k, "SQ_SYNC();");
  sq_cu_open(x->k, "{");
  sq_cu_line(x->k, "const sq_i64 e0 = 0;");
  bring_queries(x, (int)x->s->width);
  sq_cu_close(x->k);
}
static void scores(sq_cu_attend *x) {
  sq_cu *k = x->k;
  const char *t = x->s->type;
  bool resident = is_resident(x);
  int depth = depth_of(x);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < %d; i++) s[i] = 0;", x->rt * x->kt);
  sq_cu_open(k, "for (sq_i64 e0 = 0; e0 < %s; e0 += %d) {", sq_cu_dim(k, x->s->p.width), depth);
  sq_cu_line(k, "SQ_SYNC();");
  bring_keys(x);
  if (!resident) bring_queries(x, depth);
  sq_cu_line(k, "SQ_SYNC();");
  int64_t width = x->s->width ? x->s->width : depth;
  sq_cu_line(k, "#pragma unroll 2");
  sq_cu_open(k, "for (int d = 0; d < %d; d++) {", width < depth ? (int)width : depth);
  if (resident && x->s->width % depth && x->s->width > depth)
    sq_cu_line(k, "if (e0 + d >= %lld) break;", (long long)x->s->width);
  sq_cu_line(k, "%s u[%d], w[%d];", t, x->rt, x->kt);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int r = 0; r < %d; r++) u[r] = SQ_SLD(tile_q, (int)(%sd) * %d + wr + r);",
             x->rt, resident ? "e0 + " : "", pitch(x->rows));
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int j = 0; j < %d; j++) w[j] = SQ_SLD(tile_k, d * %d + %s);", x->kt,
             pitch(x->keys), x->key);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < %d; i++) s[i] = sq_c_fma(u[i %% 4], w[i / 4], s[i]);",
             x->rt * x->kt);
  sq_cu_close(k);
  sq_cu_close(k);
}
static void multiply(sq_cu_attend *x, bool holes) {
  sq_cu *k = x->k;
  const char *t = x->s->type;
  sq_cu_line(k, "#pragma unroll 2");
  sq_cu_open(k, "for (int i = 0; i < %d; i++) {", some_keys(x));
  sq_cu_line(k, "%s u[%d], w[%d];", t, x->rt, x->ct);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int r = 0; r < %d; r++) u[r] = SQ_SLD(tile_p, (j0 + i) * %d + wr + r);",
             x->rt, pitch(x->rows));
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int j = 0; j < %d; j++) w[j] = SQ_SLD(tile_k, i * %d + %s);", x->ct,
             pitch((int)x->s->columns), x->column);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k,
             holes ? "for (int i = 0; i < %d; i++) if (u[i %% 4] != 0) o[i] = sq_c_fma(u[i %% 4], "
                     "w[i / 4], o[i]);"
                   : "for (int i = 0; i < %d; i++) o[i] = sq_c_fma(u[i %% 4], w[i / 4], o[i]);",
             x->rt * x->ct);
  sq_cu_close(k);
}
static void values(sq_cu_attend *x) {
  sq_cu *k = x->k;
  if (!x->s->width) sq_cu_line(k, "SQ_SYNC();"); // the width may be 0: then there was none
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int r = 0; r < %d; r++) {", x->rt);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int j = 0; j < %d; j++) SQ_SST(tile_p, %s * %d + wr + r, %s);", x->kt, x->key,
             pitch(x->rows), x->at_s);
  sq_cu_close(k);
  sq_cu_open(k, "for (int j0 = 0; j0 < %d; j0 += %d) {", x->keys, some_keys(x));
  sq_cu_line(k, "SQ_SYNC();");
  bring_values(x);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_open(k, "if (!holes) {");
  multiply(x, false);
  sq_cu_close(k);
  sq_cu_open(k, "else {");
  multiply(x, true);
  sq_cu_close(k);
  sq_cu_close(k);
}
const sq_cu_engine sq_cu_stream_fma = {shape, begin, queries, scores, values, NULL, 12};
