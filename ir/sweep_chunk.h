// Sweeps whose turns go in blocks: what is carried is a matrix, each turn decays it and adds a product
// of two vectors, or a few, and what reads it sums it against a vector.
//
//   S' = a * S + k[i] * v[j] + ..     a free of the state: per lane, or also per row i; or 1
//   o[j] = sum_i q[i] * S'[i, j]      or of S, the state before the turn (`before`)
//
// A block of C turns is then matrix products, with what a turn s does to a later one t written out:
//
//   P[t, s] = sum_i q_t[i] k_s[i] prod_{s < r <= t} a_r[i]       s <= t  (before: s < t, r < t)
//   O = P V + (Q * decay since the block's begin) S
//   S = decay of the block * S + (K * decay to the block's end)^T V
//
// With several products there are P, K and V for each, and O and S have sums over them.
//
// What a column gets may be made of such sums over states: v[j] - sum_i k[i] S[i, j] is the delta rule. The
// sums of a block are then unknowns of a unit lower triangular system,
//
//   W = K' S + L V,   V[t] = f(W[t])         K': k times the decay since the begin, L: P of k and k, s < t
//
// solved by substitution, turn after turn for all columns, whatever f is. Nothing is inverted: a block's
// numbers are those that turn by turn has.
//
// Rows are the axis summed over, columns a lane on which neither a nor k nor q depend; a state without
// columns (the normaliser z' = a z + k) is one column of ones. Factors are read off the scalars of
// the members, and added to them as scalars of their own. Nothing divides.
#pragma once
#include "ir/sweep_prefix.h"

typedef struct sq_chunk_state {
  uint32_t member; // that makes its next value
  uint32_t by;     // scalar of the member; NO_SCALAR: 1
  bool by_rows;    // `by` depends on the row
  bool by_turns;   // `by` differs from turn to turn
  bool has_columns;
  uint32_t first, n_add; // what a turn adds, at least one
} sq_chunk_state;

typedef struct sq_chunk_add { // key times column
  uint32_t state;
  uint32_t key, column; // scalars of its member; NO_SCALAR: 1
  bool solved;          // `column` depends on sums over states
} sq_chunk_add;

typedef struct sq_chunk_term { // factor[i] * the state, summed over i
  uint32_t state;
  bool before;
  uint32_t factor; // scalar of the member; NO_SCALAR: 1
} sq_chunk_term;

typedef struct sq_chunk_read { // a member that sums states over rows
  uint32_t member;
  uint32_t n_term;
  sq_chunk_term *term;
} sq_chunk_read;

typedef enum sq_chunk_role {
  SQ_CHUNK_FREE, // of the states: done before a block's products
  SQ_CHUNK_STATE,
  SQ_CHUNK_READ,
  SQ_CHUNK_AFTER,  // elementwise work on what was read
  SQ_CHUNK_INLINE, // is done where it is read
} sq_chunk_role;

typedef struct sq_chunk {
  const char *why; // NULL, or what makes it none
  sq_span where;
  bool matrix;           // it carries what looks like a matrix that is read by sums: worth a remark
  uint32_t row, column;  // classes
  uint32_t rows;         // 0: known in a call alone
  int64_t columns;       // 0: the same
  sq_dtype type;         // of the states
  sq_chunk_state *state; // per carried value
  uint32_t n_add;        // of all states, one state after another
  sq_chunk_add *add;
  uint32_t n_read;
  sq_chunk_read *read;
  sq_chunk_role *role; // per member
  bool *solve;         // per member: what columns get is made of it
  uint32_t n_solved;   // products
  uint32_t n_pairs;    // terms of all reads
  uint32_t n_made;     // matrices that turns make of states and that are done where they are read
} sq_chunk;

// Adds scalars to members of s.
sq_chunk sq_chunk_make(sq_sweep *s);
// A scalar of a member (NO_SCALAR: 1) as an operation of its own, which runs over the rows if it has them.
sq_sweep_nest *sq_chunk_part(const sq_sweep *s, sq_dtype type, uint32_t member, uint32_t scalar);
// Cycles of a turn of all columns of one index of the other lanes, with vectors of so many bytes: turn
// by turn, and in blocks of the best length. Rows or columns that are not known count as SQ_CHUNK_GUESS.
enum {
  SQ_CHUNK_GUESS = 64,
  SQ_CHUNK_LEAST =
      1024, // elements of a matrix from which on blocks pay, where a call tells how many
};
typedef struct sq_chunk_cost {
  double turns, blocks;
  uint32_t length;
} sq_chunk_cost;
sq_chunk_cost sq_chunk_costs(const sq_chunk *c, uint32_t n_state, uint32_t vector_bytes);
// May a block have so many turns?
bool sq_chunk_length_ok(int64_t length);
