// What the files of the analysis of blocks share: sweep_chunk.c and sweep_chunk_added.c.
#pragma once
#include "ir/sweep_chunk.h"

enum { SQ_CHUNK_CLASSES = 60, SQ_CHUNK_DEPTH = 100, SQ_CHUNK_ADDS = 4 }; // of a state
// Among classes: the turn, a value that depends on what is carried, of which a sum over rows.
#define SQ_CHUNK_TURN (1ull << SQ_CHUNK_CLASSES)
#define SQ_CHUNK_OF_STATE (1ull << (SQ_CHUNK_CLASSES + 1))
#define SQ_CHUNK_SUM_OF (1ull << (SQ_CHUNK_CLASSES + 2))

typedef struct sq_chunk_finder {
  sq_sweep *s;
  sq_graph *g;
  sq_chunk c;
  uint64_t *on;             // per value: OF_STATE, SUM_OF
  uint64_t by, keys, reads; // classes on which decays, keys and factors depend
} sq_chunk_finder;

bool sq_chunk_refuse(sq_chunk_finder *w, const char *why, sq_span where); // false
const char *sq_chunk_name(const sq_chunk_finder *w, uint32_t state);
// The classes on which the scalar depends, and the marks above.
uint64_t sq_chunk_depends(const sq_chunk_finder *w, const sq_sweep_nest *x, uint32_t id);

// sweep_chunk_added.c: keys and columns of a state from `other`, what a turn adds to it.
bool sq_chunk_split_added(sq_chunk_finder *w, uint32_t state, uint32_t other);
