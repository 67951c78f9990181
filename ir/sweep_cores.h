// A sweep in blocks of turns (sweep_chunk.h) for tensor cores: what may be done so, and how it is cut.
//
//   S[h, e, c] = g[t, h] S[h, e, c] + k[t, h, e] v[t, h, c]; y[t, h, c] = sum(e) S q    e, c < 128
//     k, v, q of bf16, S of f32: four warps for each h and each 64 columns c, S in their registers; for 32
//     turns k and q as tiles of bf16, v, y and the scores 32 x 32 as f32 in shared memory
//
// Done so where each factor of a product has something of 16 bits in it, sums are of f32 and no decay
// depends on the row.
#pragma once
#include "ir/sweep_tiles.h"

enum {
  SQ_CORES_COLUMNS = 64, // of a slice: 16 a warp
  SQ_CORES_ROWS = 128,   // of all states with columns
  SQ_CORES_SKEW = 4,     // words or numbers between rows
  SQ_CORES_SHARED = 47 * 1024,
  SQ_CORES_VECTOR = 8, // elements of 16 bytes
};
typedef struct sq_cores_tile { // keys or factors
  const sq_sweep_nest *x;
  uint32_t read; // the scalar that reads it; NO_SCALAR: it is more
  bool exact;    // numbers of bf16
  bool vectors;  // memory runs along rows by whole vectors
} sq_cores_tile;
typedef struct sq_sweep_cores {
  const char *why;       // NULL, or why it is not done so
  uint32_t length;       // turns of a block
  uint32_t depth, pitch; // rows, to whole tiles; words of a tile from a turn to the next
  uint32_t parts;        // of bf16 that a number of more than 16 bits is taken apart into
  uint32_t n_tile;
  sq_cores_tile *tile;
  uint32_t *key;    // per state: its tile
  uint32_t *factor; // per term of all reads, in order
  bool *exact;      // per state: vectors are numbers of bf16
  uint32_t bytes;   // of shared memory
} sq_sweep_cores;
// `results` of the sweep. c->why is NULL.
sq_sweep_cores sq_sweep_cores_make(const sq_sweep *s, const sq_chunk *c, uint32_t n_state,
                                   sq_value *const *results, uint32_t n_results);

// What a part reads (sq_chunk_part), behind casts to f32; NO_SCALAR: it is more than a read.
uint32_t sq_cores_read(const sq_sweep_nest *x);
sq_dtype sq_cores_type(const sq_sweep_nest *x, uint32_t read); // in memory
// Memory runs along the class: from a multiple of 8 on, 8 of its indices are 16 bytes.
bool sq_cores_runs(sq_graph *g, const sq_sweep_nest *x, uint32_t read, uint32_t cls);
