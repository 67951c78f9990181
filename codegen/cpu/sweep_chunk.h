// What the files of sweeps in blocks share. A unit is one index of every lane but the columns, and some
// vectors of columns ("panels"). Its worker's scratch:
//
//   states     twice: [state][panel][row][w], as sweep_rows.c has them; a block reads one and writes
//              the other, so that it may be done again turn by turn
//   keys       per state: [row][C], times the decay to the block's end before they are used on the states
//   vectors    per state: [panel][C][w], or [C] without columns
//   decays     per state: [C] or by rows [C][rows]; products over ranges [1 + C][C], or the block's by
//              rows; products from the begin [1 + C]
//   factors    per pair of a sum and a state: [C][rows], times the decay from the block's begin
//   scores     per pair: [C][C]
//   sums       per sum: [panel][C][w], or [C] without columns
#pragma once
#include "codegen/cpu/sweep.h"
#include "ir/sweep_chunk.h"

enum { SQ_SCHUNK_TILE = 4 }; // rows of a tile of sums

typedef struct sq_schunk_state {
  uint32_t keys, vectors, decays, ranges, begin; // bytes from the scratch
  uint32_t plain;                                // without columns: its rows, one after another
} sq_schunk_state;

typedef struct sq_schunk_pair {
  uint32_t read, state;
  const sq_chunk_term *term;
  uint32_t factors, scores;
} sq_schunk_pair;

typedef struct sq_schunk {
  sq_chunk c;
  uint32_t n_state, n_pair;
  uint32_t length, rows, stride; // C, rows, rows up to whole vectors
  uint32_t panels, nv, tile;     // of a unit; of a tile: vectors, rows
  uint32_t bytes;                // of an element
  uint32_t half, panel;          // bytes of all states once; of a panel of a state
  uint32_t turned;               // keys of w turns, before they are transposed
  uint32_t used;                 // bytes of all
  sq_schunk_state *state;
  sq_schunk_pair *pair;
  uint32_t *sums; // per sum
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
  sq_lv base;     // the scratch
  sq_lv from, to; // states before the block and after it: bytes from the scratch
  sq_lv first;    // the block's first turn
  sq_lv bad;      // where sums are NaN if something was not finite
  uint32_t n_stream;
  sq_schunk_stream stream[SQ_SCHUNK_STREAMS];
} sq_schunk_emit;

sq_lv sq_schunk_at(const sq_schunk_emit *x, uint32_t place, sq_lv element); // pointer
bool sq_schunk_read_columns(const sq_schunk *p, uint32_t read);

// ---- sweep_chunk_fill.c: between memory and the arrays of a block ------------------------------
void sq_schunk_decays(sq_schunk_emit *x); // those that are the same in every turn
void sq_schunk_keys(sq_schunk_emit *x);   // keys, factors, decays, vectors without columns
void sq_schunk_vectors(sq_schunk_emit *x, sq_lv lo, sq_lv hi);
void sq_schunk_after(sq_schunk_emit *x, sq_lv lo, sq_lv hi); // what follows the sums; stores

// ---- sweep_chunk_product.c ---------------------------------------------------------------------
void sq_schunk_ranges(sq_schunk_emit *x, uint32_t state);
void sq_schunk_scores(sq_schunk_emit *x); // and the decays that keys and factors get
void sq_schunk_products(sq_schunk_emit *x);
