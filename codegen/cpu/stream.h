// Attention kernels: how a `stream` (ir/stream.h) is cut, and what its files share.
//
//   stream.c         what is read where it lies, what is packed; memory; dispatch
//   stream_range.c   conditions -> the first and last key of some rows, and where none needs a test
//   stream_frame.c   the kernel: sets of rows, their queries and results, blocks of keys
//   stream_row.c     a block, rows one by one: lanes run along width, keys, columns
//   stream_tile.c    a block, all rows of the set at once: lanes run along the rows
//   stream_dot.c     pairs of bf16, for processors that multiply and add them
//   stream_math.c, stream_product.c   functions shared by all streams of a module: exp2, products
//
// Keys are taken in blocks. For the rows of a set, which share keys: scores of the block, what the score
// ends with, a new maximum (what was summed so far is scaled to it), weights, sums, weights times values.
// Where a set has many rows they lie along the lanes: maxima, sums and conditions are then computed for
// all at once, keys and values are read element by element where they lie, and nothing is packed but
// queries and results, once a set.
#pragma once
#include "codegen/cpu/cut.h"
#include "codegen/cpu/kernel.h"
#include "ir/stream.h"

// How products find keys or values: lines a constant step apart, contiguous along width or columns.
typedef enum sq_kstream_how {
  SQ_KSTREAM_PACKED,  // copied, a block at a time
  SQ_KSTREAM_WIDENED, // such lines of BF16, copied as F32
  SQ_KSTREAM_DIRECT,  // where they lie
} sq_kstream_how;
typedef struct sq_kstream_lines {
  sq_kstream_how how;
  sq_dtype type; // in which products read them: that of the arithmetic or, by rows, BF16
} sq_kstream_lines;

typedef struct sq_kstream {
  sq_graph *g;
  const sq_target *target;
  sq_stream p;
  sq_dtype type;     // of the arithmetic: F32 or F64
  uint32_t bytes, w; // of its elements; lanes
  uint32_t entry;    // scalar of the score that the sum gives: ACC, or ACC times (over) `factor`,
  uint32_t factor;   // which goes into the queries
  bool divides;      // SQ_NO_SCALAR: there is none
  uint32_t lane;     // the row along which rows are taken together; SQ_NO_AXIS: one by one
  int64_t share;     // so many of them in a row share keys; 0: all
  bool tile;         // rows along the lanes, `nv` vectors of them
  uint32_t nv;
  const sq_tuned_row *tuned; // where nv and block come from; NULL: they are the model's
  uint32_t block, set;       // keys, rows at a time
  sq_kstream_lines keys, values;
  bool dots; // blocks that all rows see: by products of pairs of BF16, weights rounded to it
} sq_kstream;

// ---- stream.c
// What distinguishes it for --tune.
enum { SQ_STREAM_CLASS = 192 };
void sq_kstream_class(const sq_kstream *s, char class[SQ_STREAM_CLASS]);
bool sq_kstream_find(sq_graph *g, const sq_target *t, const sq_node *n, sq_kstream *s);
sq_kernel_scratch sq_kstream_need(sq_graph *g, const sq_target *t, const sq_node *n);
void sq_kernel_stream(sq_cg *cg, sq_node *n);
sq_dim sq_kstream_padded(const sq_kstream *s, sq_dim d); // rounded up to whole vectors
sq_lv sq_kstream_pad(sq_kern *k, const sq_kstream *s, sq_lv n);

// The nests of all members over one kernel.
typedef struct sq_kmembers {
  sq_kern *k;
  const sq_kstream *s;
  sq_kgroup group; // its elements: scores, weights, statistics of the present row
  sq_knest score, max, value, sum[SQ_STREAM_SUMS];
  uint32_t w, v; // factors of the value's body
} sq_kmembers;
void sq_kmembers_begin(sq_kmembers *m, sq_kern *k, const sq_kstream *s);
// Opens the axis of each nest with this role; the vector axis of all, or none (w == 1).
void sq_kmembers_open(sq_kmembers *m, uint32_t role, sq_lv index);
void sq_kmembers_close(sq_kmembers *m, uint32_t role);
void sq_kmembers_lanes(sq_kmembers *m, uint32_t role, uint32_t w, sq_lv mask);
typedef struct sq_kmark {
  uint32_t at[3 + SQ_STREAM_SUMS];
} sq_kmark;
sq_kmark sq_kmembers_enter(sq_kmembers *m);
void sq_kmembers_leave(sq_kmembers *m, sq_kmark mark);
void sq_kmembers_hoist(sq_kmembers *m);
// The value of a member at the present place, for those that read it.
void sq_kmembers_let(sq_kmembers *m, const sq_stream_member *of, sq_lv v);
// Conjunction of conditions first .. end-1 of the nest; NULL: there are none.
sq_lv sq_kstream_conditions(sq_knest *t, uint32_t first, uint32_t end);

// ---- stream_range.c
typedef struct sq_krange {
  sq_lv lo, hi;           // no key outside is seen by any of the rows
  sq_lv sure_lo, sure_hi; // each key inside is seen by all of them
} sq_krange;
// For rows first .. last of the lane row (those of other rows are open), by the common conditions.
sq_krange sq_kstream_range(sq_kmembers *m, sq_lv first, sq_lv last);

typedef struct sq_klines { // keys or values of a block: where they are, and the step to the next
  sq_lv base, step;
} sq_klines;

// ---- stream_math.c: all emit calls of functions that the module shares
// What weights of rows with these maxima are made with: 2^(c * score - by); by is 0 where there is no score yet.
typedef struct sq_kshift {
  sq_lv c, by;
} sq_kshift;
sq_kshift sq_kstream_shift(sq_kern *k, const sq_kstream *s, sq_lv most);
// 2^(c * (old - most)) where there are scores, 0 where there were none.
sq_lv sq_kstream_raised(sq_kern *k, const sq_kstream *s, sq_lv old, sq_lv most);
// 2^x for x <= 0, or little more (inline); 0 below the normal range, NaN stays.
sq_lv sq_kstream_exp2(sq_kern *k, sq_lv x);
// out[j] = sum over e of q[e] * k[j * step + e], j < keys; q is padded with zeros.
void sq_kstream_dots(sq_kern *k, const sq_kstream *s, sq_lv q, sq_lv keys, sq_lv step, sq_lv width,
                     sq_lv n, sq_lv out);
// o[c] += sum over j of p[j] * v[j * step + c] where p[j] is not 0.
void sq_kstream_add(sq_kern *k, const sq_kstream *s, sq_lv p, sq_lv values, sq_lv step,
                    sq_lv columns, sq_lv n, sq_lv o);
// BF16 to F32: n lines of this length.
void sq_kstream_widen(sq_kern *k, const sq_kstream *s, const sq_klines *from, sq_lv n, sq_lv length,
                      const sq_klines *to);
// x[0 .. n) *= by; n is a multiple of the lanes.
void sq_kstream_scale(sq_kern *k, const sq_kstream *s, sq_lv x, sq_lv n, sq_lv by);

// ---- stream_product.c: rows along the lanes, s->set elements from one key or column to the next
// out[j][row] = sum over e of q[e][row] * k[j * step + e], j < n (and some beyond), for `vectors` of rows.
void sq_kstream_scores(sq_kern *k, const sq_kstream *s, sq_lv q, sq_lv keys, sq_lv step,
                       sq_lv width, sq_lv n, sq_lv out, sq_lv vectors);
// o[c][row] = o[c][row] * by[row] (by: only with softmax weights) + sum over j of p[j][row] * v[j * step + c];
// `holes`: but where p[j][row] is 0.
void sq_kstream_values(sq_kern *k, const sq_kstream *s, sq_lv p, sq_lv values, sq_lv step,
                       sq_lv columns, sq_lv n, sq_lv o, sq_lv by, sq_lv vectors, bool holes);
// The same by pairs, a row of 32-bit elements that are two of BF16: q2[e / 2][row], k where it lies; p2[j / 2][row],
// v2[j / 2 * step + c].
void sq_kstream_dot_scores(sq_kern *k, const sq_kstream *s, sq_lv q2, sq_lv keys, sq_lv step,
                           sq_lv width, sq_lv n, sq_lv out, sq_lv vectors);
void sq_kstream_dot_values(sq_kern *k, const sq_kstream *s, sq_lv p2, sq_lv v2, sq_lv step,
                           sq_lv columns, sq_lv n, sq_lv o, sq_lv by, sq_lv vectors);
// to[c * to_step + r] = from[r * from_step + c]; rows and columns are multiples of the lanes.
void sq_kstream_turn(sq_kern *k, const sq_kstream *s, sq_lv from, sq_lv from_step, sq_lv rows,
                     sq_lv columns, sq_lv to, sq_lv to_step);

// ---- stream_dot.c
// Rows 2 i and 2 i + 1 of from[n][set] as pairs; 0 beside an odd last one.
void sq_kstream_pairs(sq_kern *k, const sq_kstream *s, sq_lv from, sq_lv n, sq_lv to);
// Lines 2 i and 2 i + 1, of BF16, likewise.
void sq_kstream_pair_lines(sq_kern *k, const sq_kstream *s, const sq_klines *from, sq_lv n,
                           sq_lv length, const sq_klines *to);

// ---- stream_frame.c
typedef struct sq_kattend { // a kernel under construction
  sq_kmembers m;
  const sq_kstream *s;
  sq_kern *k;
  sq_lv q, o, qt, ot, p, stats, kbuf, vbuf; // memory of the worker; qt, ot: turned, with s->tile
  sq_lv q2, p2, v2;                         // pairs, with s->dots
  sq_lv width, columns, q_step, o_step;
  sq_lv first, count, vectors; // rows of the set
  sq_kplace value;
  sq_kplace place[2 + SQ_STREAM_SUMS]; // of max, sums that are results
} sq_kattend;
typedef struct sq_kblock {
  sq_lv key, n; // first key, how many
  sq_klines keys, values;
  sq_lv sure; // i1: all rows of the set see all of them
} sq_kblock;
enum {
  SQ_KSTREAM_MAX,
  SQ_KSTREAM_SUM,
  SQ_KSTREAM_BY = SQ_KSTREAM_SUM + SQ_STREAM_SUMS,
  SQ_KSTREAM_STATS = 16
};
// Elements; rows of the set, all others open.
sq_lv sq_kattend_at(const sq_kattend *r, sq_lv base, sq_lv i);
sq_lv sq_kattend_load(const sq_kattend *r, sq_lv base, sq_lv i); // as many as there are lanes
void sq_kattend_store(const sq_kattend *r, sq_lv base, sq_lv i, sq_lv v);
sq_lv sq_kattend_one(const sq_kattend *r, sq_lv base, sq_lv i);
void sq_kattend_put(const sq_kattend *r, sq_lv base, sq_lv i, sq_lv v);
sq_lv sq_kattend_lanes_below(const sq_kattend *r, sq_lv n);
sq_lv sq_kattend_stat(const sq_kattend *r, sq_lv row, uint32_t i); // where statistic i of a row is
sq_kmark sq_kattend_open_row(sq_kattend *r, sq_lv row);
void sq_kattend_close_row(sq_kattend *r, sq_kmark mark);
// What the sum of a score's products becomes.
sq_lv sq_kattend_score(sq_kattend *r, sq_lv sum);
// Does the scalar read the weight and do nothing else?
bool sq_kattend_is_bare(const sq_kattend *r, const sq_knest *t, uint32_t id);
void sq_kstream_attend(sq_cg *cg, const sq_kstream *s);
sq_kernel_scratch sq_kstream_attend_need(const sq_kstream *s);

// ---- stream_row.c, stream_tile.c: one block of keys
void sq_kstream_block_rows(sq_kattend *r, const sq_kblock *b);
void sq_kstream_block_tile(sq_kattend *r, const sq_kblock *b);
