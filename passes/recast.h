// What the files of the pass `recast` share: attention that is linear in its scores, and the states that
// it is read from.
#pragma once
#include "passes/stream.h"

enum { SQ_RECAST_DECAYS = 4 };

typedef struct sq_recast {
  sq_graph *g;
  sq_func *f;
  sq_attention a;
  uint32_t query; // axis of the space
  uint32_t batch[SQ_MAX_RANK], n_batch;
  bool before; // only keys before the query
  bool all;    // keys count for all queries
  const char *why;
} sq_recast;

// A sum over the keys and the state that it is read from.
typedef struct sq_recast_state {
  const sq_attention_sum *s;
  bool columns;
  uint32_t decay[SQ_RECAST_DECAYS], n_decay; // of the space, of the batch and of the query's turn
  SQ_VEC(sq_factor) key, out;                // of the space: of what a key adds, of what is read
  sq_value *first, *held, *next, *part, *all;
} sq_recast_state;

// ---- recast_make.c: the states, and what is read from them, in place of the sums
void sq_recast_make(sq_recast *w, sq_recast_state *x, uint32_t n);
