// What the files of the pass `stream` share: attention as it was found.
#pragma once
#include "ir/stream.h"
#include "passes/maker.h"
#include "passes/questions.h"

enum { SQ_ATTENTION_NODES = 64 };

typedef struct sq_factor {
  uint32_t id;
  bool divides;
} sq_factor;
// What is summed over the keys, as  (product of out) * sum of (product of in): conditions that fail make
// the whole (when) or one key's part (where) 0.
typedef struct sq_term {
  SQ_VEC(sq_factor) out, in;
  SQ_VEC(uint32_t) when, where;
  bool negative;
} sq_term;

typedef struct sq_attention_sum { // a sum over the keys, the value among them
  sq_node *n;
  uint32_t axis[SQ_MAX_RANK * 2]; // of the space, per axis of n; SQ_NO_AXIS: the column
  sq_term t;
} sq_attention_sum;

// The space is a scratch generic with the parallel axes of the score: whatever is computed from scores is
// looked through there, so that equal expressions have equal numbers, however many steps they took.
typedef struct sq_attention {
  sq_graph *g;
  sq_func *f;
  sq_node *score, *value;
  sq_maker m;
  sq_node view;
  bool through;
  uint32_t key;  // axis of the space
  uint32_t read; // scalar: the score at its own place, or
  bool bare;     // in the exponent, the sum of products alone, without what the score ends with
  bool *tainted; // by value id below n_known: computed from scores
  uint32_t n_known;
  SQ_VEC(sq_node *) all;        // nodes that read scores element by element, and sums over keys
  SQ_VEC(sq_attention_sum) sum; // in the order of the block, the value among them
  // softmax: weight is the scalar exp(c * (exponent - max)); otherwise NO_SCALAR
  uint32_t weight, exponent;
  sq_ewise exp;
  double by;                // c
  uint32_t shift;           // scalar: what is taken from the exponent where it is more than the max
  sq_node *max, *logsumexp; // what they are shifted by: one of the two
  uint32_t max_axis[SQ_MAX_RANK * 2];
  SQ_VEC(uint32_t) where; // conditions of the max
  // v side of the value: scalars of `own`, which is the value with what is computed from scores looked
  // through, and without guards that are conditions of the sum
  sq_node own;
  SQ_VEC(sq_factor) v;
  uint32_t column;
  const char *why;    // why not, NULL: it is no attention at all
  const sq_node *odd; // what uses scores or weights beside it
  bool site;          // it is attention, whatever becomes of it
} sq_attention;

// Is it attention, with these scores? What is found is in *a, or the reason in a->why. Through: a matrix
// that is made from less, as one of decays, is looked through whatever it costs.
bool sq_attention_find(sq_attention *a, sq_graph *g, sq_func *f, sq_node *score, bool through);
// At the sum of values, for each marked statement that has a part of it; the parts stay apart from the
// sum where it is not made.
void sq_attention_remark(sq_func *f, const sq_attention *a, const char *pass, bool fired,
                         const char *text);
void sq_attention_describe(sq_attention *a, sq_text *t);
const sq_scalar *sq_attention_at(const sq_attention *a, uint32_t id);
// Scalar `id` of n in the space; axis: of the space, per axis of n.
uint32_t sq_attention_graft(sq_attention *a, const sq_node *n, const uint32_t *axis, uint32_t id);
const sq_node *sq_attention_view(sq_attention *a); // the space as a node to copy from
// ---- stream_find.c
bool sq_attention_no(sq_attention *a, const char *why); // false, and says why
bool sq_attention_holds(const sq_attention *a, const sq_node *n);
// Which axis of the score each axis of n is, by the scores that it reads; SQ_NO_AXIS: none. False: it reads
// none, or in another way (a->why).
bool sq_attention_axes(sq_attention *a, const sq_node *n, uint32_t *axis);
bool sq_attention_covers_rows(const sq_attention *a, const sq_node *n, const uint32_t *axis);
// ---- stream_term.c
bool sq_attention_has_key(const sq_attention *a, uint32_t id); // does it depend on the key?
void sq_attention_add_condition(sq_attention *a, sq_term *t, uint32_t c);
void sq_attention_take(sq_attention *a, sq_term *t, uint32_t id, bool divides, int depth);
void sq_attention_settle(sq_attention *a, sq_term *t);                        // when all is taken
void sq_attention_take_conditions(sq_attention *a, sq_attention_sum *s);      // the domain's
bool sq_attention_knows(const sq_attention *a, const sq_term *t, uint32_t c); // is c a condition?
uint32_t sq_attention_unmasked(sq_attention *a); // scalar of the score; NO_SCALAR: its sum alone
// ---- stream_value.c
bool sq_attention_open_value(sq_attention *a, sq_attention_sum *s);
const sq_attention_sum *sq_attention_value_sum(const sq_attention *a); // NULL: none was opened
bool sq_attention_values_of_rows(
    const sq_attention *a); // do values belong to rows that share keys?
// ---- stream_softmax.c: false: the sums are not of one weight (a->why)
bool sq_attention_find_weight(sq_attention *a);
// ---- stream_make.c
// What attention becomes: nodes that stand in no block yet.
typedef struct sq_attention_parts {
  sq_attention *a;
  sq_value *score, *max, *weight;
  uint32_t core;                // of the space: what the score ends with
  SQ_VEC(sq_value *) old, made; // statistics and the value
  SQ_VEC(sq_node *) node;
} sq_attention_parts;
void sq_attention_make(sq_attention_parts *p); // p->a is there
