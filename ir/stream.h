// What the body of a `stream` is made of: the one reading of it that verifier, passes, reports and
// code generation share.
//
//   %o = stream {
//     %s = generic (%q, %k) [h < 4, i < N, j < N] sum [e < 64] { %q[h, i, e] * %k[h, j, e]; post acc * 0.125; }
//     %m = generic (%s) [h < 4, i < N] max [j < N] { where j <= i; %s[h, i, j] }
//     %w = generic (%s, %m) [h < 4, i < N, j < N] { exp(%s[h, i, j] - %m[h, i]) }
//     %l = generic (%w) [h < 4, i < N] sum [j < N] { where j <= i; %w[h, i, j] }
//     %u = generic (%w, %v, %l) [h < 4, i < N, c < 64] sum [j < N] { where j <= i; %w[h, i, j] * %v[h, j, c]; post acc / %l[h, i]; }
//     yield %u
//   }
//
//   score    a product summed over the width e, then any function of it (post)
//   max      of the scores of a row                                       only with softmax weights
//   weight   exp or exp2 of [a constant times] (score - max)              only with softmax weights
//   sums     over the keys, of functions of the score or the weight; any number, and among them what
//            is computed from max and sums of a row, element by element
//   value    over the keys, of a function of the score or the weight times a value of key and column
//
// `h`, `i` are rows, `j` is the key, `e` the width, `c` the column. Without max and weight the score is the
// weight itself. Nothing reads a score or a weight of another row or key, what max, sums and value
// end with (post) may read max and sums of its row. The conditions of the max stand first, in order,
// in the sums and the value: keys outside count for nothing.
#pragma once
#include "ir/ir.h"

enum { SQ_STREAM_SUMS = 8 };
// What an axis of a member stands for: row 0, 1, ... (numbered as the score has them), or
enum { SQ_STREAM_KEY = 100, SQ_STREAM_WIDTH, SQ_STREAM_COLUMN, SQ_STREAM_NONE };

typedef struct sq_stream_member {
  const sq_node *n; // NULL: there is none
  uint8_t role[SQ_MAX_RANK * 2];
} sq_stream_member;

typedef struct sq_stream {
  const sq_node *node;
  uint32_t n_rows;
  sq_dim row[SQ_MAX_RANK], keys, width, columns;
  sq_stream_member score, max, weight, value, sum[SQ_STREAM_SUMS];
  uint32_t n_sum;
  uint32_t n_common; // so many conditions of max, sums and value are the same in all
  uint32_t q, k;     // factors of the score's body: k varies with the key
  uint32_t w, v;     // factors of the value's body: v varies with the column
  double scale;      // a weight is 2^(scale * (score - max))
} sq_stream;

// Weights are 2^(c * score - c * max) by one instruction, of which c * max is rounded. Where |max| is at least `from`,
// what that rounds off would be more than a weight holds, and any smaller score is so much smaller that its weight is
// nothing: with a power of 2 for c (`by`, not more than scale) nothing is rounded.
typedef struct sq_stream_large {
  double from, by;
} sq_stream_large;
sq_stream_large sq_stream_large_scores(const sq_stream *s);
// False: it is no such body, and *why says in what.
bool sq_stream_parts(sq_graph *g, const sq_node *n, sq_stream *s, const char **why);
// The member whose result v is, or NULL.
const sq_stream_member *sq_stream_member_of(const sq_stream *s, const sq_value *v);
// The axis of the member with this role; SQ_NO_AXIS: it has none.
#define SQ_NO_AXIS UINT32_MAX
uint32_t sq_stream_axis(const sq_stream_member *m, uint32_t role);
// Axes (bit set) on which a scalar depends, through positions and guards.
uint32_t sq_scalar_axis_set(sq_graph *g, const sq_generic *k, uint32_t s);
// Rows (bit set) on which keys or values depend.
uint32_t sq_stream_key_rows(sq_graph *g, const sq_stream *s);
// Do keys and values depend on this row only through row // by? Then so many rows share them; else 1.
int64_t sq_stream_shared(sq_graph *g, const sq_stream *s, uint32_t row);
// ", causal": a condition, in words.
void sq_stream_condition(const sq_stream_member *m, uint32_t id, sq_text *t);
// What it is, for people: "softmax over keys j <= i, 4 query heads share a key head".
void sq_stream_describe(sq_graph *g, const sq_stream *s, sq_text *t);
