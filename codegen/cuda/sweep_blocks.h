// What the files of scans in blocks of turns share. A turn adds one product to each state, which has its
// number (ir/sweep_tiles.c). Names in the kernel, for state s, pair p of a sum and a
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
//
// On tensor cores (sweep_cores.h) states with columns are in registers, keys and factors are tiles, and rows
// of vectors and sums are `wide` apart.
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
  sq_node *node;
  sq_sweep *s;
  sq_chunk c;
  sq_sweep_tiles p;
  const char *type; // of the states, and of all the above
  uint32_t n_state, n_pair, pitch;
  uint32_t wide;                         // from a row of vectors or sums to the next
  uint32_t turns, others, columns, rows; // of a thread: of t, of s, of j, of i
  sq_cu_pair pair[SQ_TILES_PAIRS];
  struct sq_cu_cores *cores; // NULL: multiply-adds
  bool cut;                  // turns before `first` store nothing
} sq_cu_blocks;

static inline bool sq_cu_read_wide(const sq_cu_blocks *b, uint32_t read) {
  return b->c.state[b->c.read[read].term[0].state].has_columns;
}
static inline bool sq_cu_read_solved(const sq_cu_blocks *b, uint32_t read) {
  return b->c.solve[b->c.read[read].member] && sq_cu_read_wide(b, read);
}

// ---- sweep_blocks.c ----------------------------------------------------------------------------
LLVMValueRef sq_cu_blocks_units(sq_cu_blocks *b);
// From the number `u` of a unit: c0, the first column, and l<class> of the other lanes.
void sq_cu_blocks_lanes(sq_cu_blocks *b);
void sq_cu_blocks_share(sq_cu_blocks *b, const char *type, const char *name, uint32_t i,
                        uint32_t n);
// A state's first value at `row` and the columns' index; what it ends with, from the scalar `held`, to its
// place. Both where `live`.
void sq_cu_blocks_load(sq_cu_blocks *b, uint32_t state);
void sq_cu_blocks_store(sq_cu_blocks *b, const sq_sweep_nest *x);
void sq_cu_blocks_begin(sq_cu_blocks *b); // states in shared memory
void sq_cu_blocks_end(sq_cu_blocks *b);   // and back to memory
void sq_cu_blocks_agree(
    sq_cu_blocks *b); // `bad` is NaN in all threads where it is in one; a barrier
void sq_cu_blocks_turns(sq_cu_blocks *b);                              // the block turn by turn
void sq_cu_blocks_nests(sq_cu_blocks *b, sq_cg *cg, const char *what); // what lines of turns need
// Opens n elements, one after another shared out to threads, some turns together: `int f`; the same, of
// n_major x n_minor: `int major, minor`.
void sq_cu_blocks_each(sq_cu_blocks *b, uint32_t n, uint32_t together);
void sq_cu_blocks_open(sq_cu_blocks *b, const char *major, uint32_t n_major, const char *minor,
                       uint32_t n_minor);

// ---- sweep_blocks_fill.c: between memory and shared memory -------------------------------------
void sq_cu_blocks_decays(sq_cu_blocks *b);  // those without rows, and their products over ranges
void sq_cu_blocks_vectors(sq_cu_blocks *b); // of columns; without them
void sq_cu_blocks_rows(sq_cu_blocks *b);    // rows d0 ..: keys, factors, decays
void sq_cu_blocks_keys(sq_cu_blocks *b);    // the same of keys and decays alone
// Parts of a turn at one element, b0 and on; `other` where the condition does not hold.
void sq_cu_blocks_values(sq_cu_blocks *b, const sq_sweep_nest *const *x, const int *other,
                         uint32_t n, const char *where);
void sq_cu_blocks_solve(sq_cu_blocks *b); // vectors that are made of sums
void sq_cu_blocks_after(sq_cu_blocks *b); // what follows the sums; stores

// ---- sweep_blocks_product.c --------------------------------------------------------------------
void sq_cu_blocks_sums(sq_cu_blocks *b);   // scores, then sums, in shared memory
void sq_cu_blocks_states(sq_cu_blocks *b); // into registers, `s<state>`
void sq_cu_blocks_keep(sq_cu_blocks *b);   // and from there to where they were
