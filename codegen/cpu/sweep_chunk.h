// What the files of sweeps in blocks share. A unit is one index of every lane but the columns, and some
// vectors of columns ("panels"). Its worker's scratch:
//
//   states     twice: [state][panel][line][w], as sweep_rows.c has them; a line is a row, or behind the
//              last row, up to whole tiles, 0; a block reads one and writes
//              the other, so that it may be done again turn by turn
//   keys       per product that is added: [row][C], times the decay to the block's end before they are used on the states
//   vectors    per product: [panel][C][w], or [C] without columns
//   decays     per state: [C] or by rows [C][rows]; products over ranges [1 + C][C], or the block's by
//              rows; products from the begin [1 + C]
//   factors    per pair of a sum and a state: [C][rows], times the decay from the block's begin
//   scores     per pair and product of its state: [C][C]
//   sums       per sum: [panel][C][w], or [C] without columns
//
// Vectors that are made of sums (the delta rule) are solved for where the sums are.
#pragma once
#include "codegen/cpu/sweep.h"
#include "ir/sweep_chunk.h"

enum { SQ_SCHUNK_TILE = 4 }; // rows of a tile of sums

typedef struct sq_schunk_state {
  sq_dim decays, ranges, begin; // bytes from the scratch
  sq_dim plain;                 // without columns: its rows, one after another
} sq_schunk_state;

typedef struct sq_schunk_add {
  sq_dim keys, vectors;
} sq_schunk_add;

typedef struct sq_schunk_pair {
  uint32_t read, state;
  const sq_chunk_term *term;
  sq_dim factors;
  sq_dim *scores; // per product of the state, from its first on
} sq_schunk_pair;

typedef struct sq_schunk {
  sq_chunk c;
  uint32_t n_state, n_pair;
  uint32_t length;           // C
  sq_dim stride, lines;      // rows up to whole vectors; up to whole tiles
  uint32_t panels, nv, tile; // of a unit, at most; of a tile: vectors, rows
  uint32_t bytes;            // of an element
  sq_dim half, panel;        // bytes of all states once; of a panel of a state
  sq_dim turned;             // keys of w turns, before they are transposed
  sq_dim used;               // bytes of all
  sq_schunk_state *state;
  sq_schunk_add *add; // per product
  sq_schunk_pair *pair;
  sq_dim *sums; // per sum
} sq_schunk;

// Memory that the next block reads or this one writes: lines of each of its turns, fetched while this
// one is computed.
typedef struct sq_schunk_stream {
  sq_lv first, step; // pointer at its first turn; bytes to the next one
  uint32_t lines;
  bool writes;
} sq_schunk_stream;
enum { SQ_SCHUNK_STREAMS = 8 };

typedef struct sq_schunk_emit {
  sq_semit *e;
  sq_kern *k;
  const sq_sweep *s;
  const sq_schunk *p;
  uint32_t w;
  sq_lv base;                 // the scratch
  sq_lv stride, lines, panel; // of the plan
  sq_lv from, to;             // states before the block and after it: bytes from the scratch
  sq_lv first;                // the block's first turn
  sq_lv lo, hi;               // columns of the unit
  sq_lv panels;               // with any of them
  sq_lv bad;                  // where sums are NaN if something was not finite
  uint32_t n_stream;
  sq_schunk_stream stream[SQ_SCHUNK_STREAMS];
} sq_schunk_emit;

sq_lv sq_schunk_at(const sq_schunk_emit *x, sq_dim place, sq_lv element); // pointer
bool sq_schunk_read_columns(const sq_schunk *p, uint32_t read);

// Elements and vectors of w of them in the scratch, at element `at` of the array at `base`.
static inline sq_lv sq_schunk_pointer(sq_schunk_emit *x, sq_lv base, sq_lv at) {
  return sq_k_offset(x->k, base, at, x->p->c.type);
}
static inline sq_lv sq_schunk_load(sq_schunk_emit *x, sq_lv base, sq_lv at) {
  return sq_k_load_row(x->k, x->p->c.type, sq_schunk_pointer(x, base, at), x->w, NULL);
}
static inline void sq_schunk_store(sq_schunk_emit *x, sq_lv base, sq_lv at, sq_lv v) {
  sq_k_store_row(x->k, x->p->c.type, sq_schunk_pointer(x, base, at), v, NULL);
}
static inline sq_lv sq_schunk_splat(sq_schunk_emit *x, sq_lv base, sq_lv at) {
  return sq_k_splat(x->k, sq_k_load(x->k, x->p->c.type, sq_schunk_pointer(x, base, at)), x->w);
}
static inline LLVMTypeRef sq_schunk_vector(const sq_schunk_emit *x) {
  return sq_k_vec(sq_k_type(x->k, x->p->c.type), x->w);
}
static inline sq_lv sq_schunk_place(sq_schunk_emit *x, sq_dim at) {
  return sq_schunk_at(x, at, sq_k_int(x->k, 0));
}

// Is the sum, one with columns, what vectors are made of?
static inline bool sq_schunk_read_solved(const sq_schunk *p, uint32_t read) {
  return p->c.solve[p->c.read[read].member] && sq_schunk_read_columns(p, read);
}

// Are the product's vectors, along columns, free of the states?
static inline bool sq_schunk_fills(const sq_schunk *p, uint32_t add) {
  return p->c.state[p->c.add[add].state].has_columns && !p->c.add[add].solved;
}

// ---- sweep_chunk_fill.c: between memory and the arrays of a block ------------------------------
void sq_schunk_decays(sq_schunk_emit *x); // those that are the same in every turn
void sq_schunk_keys(sq_schunk_emit *x);   // keys, factors, decays, vectors without columns
void sq_schunk_vectors(sq_schunk_emit *x, sq_lv lo, sq_lv hi);
void sq_schunk_after(sq_schunk_emit *x, sq_lv lo, sq_lv hi); // what follows the sums; stores
typedef struct sq_schunk_nest {
  const sq_sweep_nest *x;
  sq_selement *el[SQ_SWEEP_SETS];
} sq_schunk_nest;
sq_schunk_nest sq_schunk_open(sq_schunk_emit *x, const sq_sweep_nest *from, uint32_t sets);
// At a turn that is open, of a set: the body (sum: NULL), or the sum; then what `post` makes of it.
sq_lv sq_schunk_value(const sq_schunk_nest *n, uint32_t set, sq_lv sum);
// A scalar of a member as an operation of its own, which runs over the rows if it has them.
sq_sweep_nest *sq_schunk_part(sq_schunk_emit *x, uint32_t member, uint32_t scalar);

// ---- sweep_chunk_product.c ---------------------------------------------------------------------
// acc += sum over c < n of a[r][c] b[c][v] for a tile: element (r, c) of a at a0 + r * a_row + c, vector v
// of line c of b at b0[v] + c * b_line.
enum { SQ_SCHUNK_SUMS = 32 };
typedef struct sq_schunk_tile {
  uint32_t rows, nv;
  sq_lv a, a0, b, b0[8];
  sq_lv a_row; // elements
  uint32_t b_line;
  sq_lv acc[SQ_SCHUNK_SUMS];
} sq_schunk_tile;
void sq_schunk_clear(sq_schunk_emit *x, sq_schunk_tile *t);
void sq_schunk_multiply(sq_schunk_emit *x, sq_schunk_tile *t, sq_lv n, uint32_t unroll);
void sq_schunk_products(sq_schunk_emit *x);
// Of a sum at the turns t ..: what the states before the block and the turns before `end` give.
sq_schunk_tile sq_schunk_sum(sq_schunk_emit *x, uint32_t read, sq_lv panel, uint32_t nv, sq_lv t,
                             sq_lv end);
void sq_schunk_watch(sq_schunk_emit *x, const sq_lv *v, uint32_t n);
// Some lines of what the next block reads at the turns t ..: every groups-th of each stream.
void sq_schunk_fetch(sq_schunk_emit *x, sq_lv group, uint32_t groups, sq_lv t);

// ---- sweep_chunk_score.c -----------------------------------------------------------------------
void sq_schunk_ranges(sq_schunk_emit *x, uint32_t state);
void sq_schunk_scores(sq_schunk_emit *x); // and the decays that keys and factors get

// ---- sweep_chunk_solve.c -----------------------------------------------------------------------
// Of nv panels from `panel` on: sums that vectors are made of, and these. `last`: some lanes are no columns.
void sq_schunk_solve(sq_schunk_emit *x, sq_lv panel, uint32_t nv, bool last);
