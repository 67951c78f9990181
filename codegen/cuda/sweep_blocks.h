// What the files of scans in blocks of turns share. Names in the kernel, for state s, pair p of a sum and a
// state, sum r; C turns of a block, E rows at a time, J columns of a slice:
//
//   state<s>    [rows][J], or [rows]: before the block        later<s>  [rows]: after it, without columns
//   vector<s>   [C][J], or [C]                                key<s>    [E][C + 4]
//   decay<s>    by rows [E][C + 4], and of a block whole<s> [E]; else [C], products over ranges
//               range<s> [1 + C][C], from the begin begin<s> [1 + C]
//   factor<p>   [E][C + 4]      score<p>  [C of s][C + 4 of t]      sum<r>  [C][J], or [C]
//
// A thread has, of C x J sums, of C x C scores and of E x J states, those at rows ty * n .. and columns
// tx * n ..
#pragma once
#include "codegen/cuda/sweep.h"
#include "ir/sweep_tiles.h"

typedef struct sq_cu_pair {
  uint32_t read, state, factor; // factor: scalar of the read's member
  bool before;
} sq_cu_pair;

typedef struct sq_cu_blocks {
  sq_cu *k;
  sq_cu_sweep w;
  sq_sweep *s;
  sq_chunk c;
  sq_sweep_tiles p;
  const char *type; // of the states, and of all the above
  uint32_t n_state, n_pair, pitch;
  uint32_t turns, others, columns, rows; // of a thread: of t, of s, of j, of i
  sq_cu_pair pair[SQ_TILES_PAIRS];
} sq_cu_blocks;

static inline bool sq_cu_read_wide(const sq_cu_blocks *b, uint32_t read) {
  return b->c.state[b->c.read[read].term[0].state].has_columns;
}
static inline bool sq_cu_read_solved(const sq_cu_blocks *b, uint32_t read) {
  return b->c.solve[b->c.read[read].member] && sq_cu_read_wide(b, read);
}

// ---- sweep_blocks.c ----------------------------------------------------------------------------
// Opens the elements of n_major x n_minor, one after another shared out to threads: `int major, minor`.
void sq_cu_blocks_open(sq_cu_blocks *b, const char *major, uint32_t n_major, const char *minor,
                       uint32_t n_minor);

// ---- sweep_blocks_fill.c: between memory and shared memory -------------------------------------
void sq_cu_blocks_decays(sq_cu_blocks *b);  // those without rows, and their products over ranges
void sq_cu_blocks_vectors(sq_cu_blocks *b); // of columns; without them
void sq_cu_blocks_rows(sq_cu_blocks *b);    // rows d0 ..: keys, factors, decays
void sq_cu_blocks_keys(sq_cu_blocks *b);    // the same of keys and decays alone
void sq_cu_blocks_solve(sq_cu_blocks *b);   // vectors that are made of sums
void sq_cu_blocks_after(sq_cu_blocks *b);   // what follows the sums; stores

// ---- sweep_blocks_product.c --------------------------------------------------------------------
void sq_cu_blocks_sums(sq_cu_blocks *b);   // scores, then sums, in shared memory
void sq_cu_blocks_states(sq_cu_blocks *b); // into registers, `s<state>`
void sq_cu_blocks_keep(sq_cu_blocks *b);   // and from there to where they were
