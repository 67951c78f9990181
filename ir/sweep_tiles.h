// A sweep in blocks of turns (sweep_chunk.h) for a block of threads with shared memory: how it is cut.
//
//   S[h, e, c] = g S[h, e, c] + k[t, h, e] v[t, h, c]; y[t, h, c] = sum(e) S q     e, c < 128
//     a block of 128 threads for each h and each 32 columns c: S 128 x 32 in shared memory, and for 32
//     turns v and y, and the scores 32 x 32; of the 32 turns of k and q 32 rows at a time
//
// All is as large as shared memory of 48 KiB allows: columns first, unless rows come by fewer than 16
// then.
#pragma once
#include "ir/sweep_chunk.h"
#include "ir/sweep_team.h"

enum { SQ_TILES_THREADS = 128, SQ_TILES_ACROSS = 16, SQ_TILES_DOWN = 8, SQ_TILES_SKEW = 4 };
enum { SQ_TILES_SHARED = 48 * 1024, SQ_TILES_KEPT = 64, SQ_TILES_PAIRS = 4 };

typedef struct sq_sweep_tiles {
  const char *why;        // NULL, or why it is not done so
  uint32_t length;        // turns of a block
  uint32_t columns;       // of a slice
  uint32_t depth, pieces; // rows at a time, and how often
  uint32_t bytes;         // of shared memory
} sq_sweep_tiles;
// With blocks of so many turns; c->why is NULL.
sq_sweep_tiles sq_sweep_tiles_make(const sq_chunk *c, uint32_t n_state, uint32_t length);
// The same with blocks of as many turns as are best.
sq_sweep_tiles sq_sweep_tiles_best(const sq_chunk *c, uint32_t n_state);

// ---- maps of turns (sweep_prefix.h) ------------------------------------------------------------
// A block of threads for each index of the lanes, a thread for each turn of a stretch: worth it where
// lanes are few.
enum { SQ_PREFIX_THREADS = 128, SQ_PREFIX_LANES = 1024, SQ_PREFIX_SOLVED = 8 };
// NULL, or why a lane does not fit such a block.
const char *sq_prefix_tiles(const sq_sweep *s);
