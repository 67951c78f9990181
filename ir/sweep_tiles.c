// How sweeps in blocks lie in shared memory. In: the parts of each turn. Out: columns of a slice and rows
// at a time, or why there is no such way.
#include "ir/sweep_tiles.h"

enum { FEW_ROWS = 16, FEW_COLUMNS = 8, GOOD_DEPTH = 16 };

static uint32_t wide_states(const sq_chunk *c, uint32_t n_state) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < n_state; k++) n += c->state[k].has_columns;
  return n;
}
// Elements of one state, and of what turns bring to it.
static uint64_t of_state(const sq_chunk_state *t, const sq_sweep_tiles *p) {
  uint64_t n = p->length, rows = p->depth * p->pieces, piece = p->depth * (n + SQ_TILES_SKEW);
  uint64_t state = t->has_columns ? (rows + n) * p->columns : 2 * rows + n;
  uint64_t decays = t->by_rows ? piece + p->depth : n + (n + 1) * n + n + 1;
  return state + piece + decays;
}
static uint64_t elements(const sq_chunk *c, uint32_t n_state, const sq_sweep_tiles *p) {
  uint64_t n = p->length, sum = 0;
  for (uint32_t k = 0; k < n_state; k++) sum += of_state(&c->state[k], p);
  sum += c->n_pairs * (p->depth + n) * (n + SQ_TILES_SKEW);
  for (uint32_t r = 0; r < c->n_read; r++)
    sum += c->state[c->read[r].term[0].state].has_columns ? n * p->columns : n;
  return sum;
}
static bool fits(const sq_chunk *c, uint32_t n_state, sq_sweep_tiles *p) {
  uint32_t size = c->type == SQ_F64 ? 8 : 4, wide = wide_states(c, n_state);
  p->pieces = (c->rows + p->depth - 1) / p->depth;
  uint64_t bytes = elements(c, n_state, p) * size + 64 * (4 + 6 * n_state + 2 * c->n_pairs);
  uint64_t kept =
      (uint64_t)wide * p->pieces * p->depth * p->columns / SQ_TILES_THREADS * (size / 4);
  p->bytes = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
  return bytes <= SQ_TILES_SHARED && kept <= SQ_TILES_KEPT;
}

sq_sweep_tiles sq_sweep_tiles_make(const sq_chunk *c, uint32_t n_state, uint32_t length) {
  sq_sweep_tiles p = {.length = length};
  if (!c->rows) return p.why = "it is not known how many rows the state has", p;
  if (!c->columns) return p.why = "it is not known how many columns the state has", p;
  if (c->n_add > n_state) return p.why = "a turn adds products of several keys", p;
  if (c->n_pairs > SQ_TILES_PAIRS) return p.why = "many sums over states", p;
  uint32_t groups = SQ_TILES_THREADS / length,
           least = groups > SQ_TILES_DOWN ? groups : SQ_TILES_DOWN;
  for (uint32_t low = GOOD_DEPTH; low >= least; low /= 2) // few rows at a time are many barriers
    for (p.columns = c->columns > 16 ? 32 : 16; p.columns >= 16; p.columns /= 2)
      for (p.depth = 32; p.depth >= low; p.depth /= 2) {
        if (p.depth > least && p.depth / 2 >= c->rows) continue;
        if (fits(c, n_state, &p)) return p;
      }
  return p.why = "its states and what a block of turns brings are more than shared memory holds", p;
}
sq_sweep_tiles sq_sweep_tiles_best(const sq_chunk *c, uint32_t n_state) {
  sq_sweep_tiles p = sq_sweep_tiles_make(c, n_state, 32);
  if (p.why) p = sq_sweep_tiles_make(c, n_state, 16);
  if (!p.why && (c->rows < FEW_ROWS || c->columns < FEW_COLUMNS)) p.why = "its states are small";
  return p;
}

// ---- maps of turns -----------------------------------------------------------------------------
const char *sq_prefix_tiles(const sq_sweep *s) {
  const sq_sweep_team one = {.split = SQ_SWEEP_NONE, .threads = 1};
  uint64_t all = 0, carried = 0;
  if (sq_sweep_team_make(s).why) return "it does not fit a team of threads";
  for (uint32_t v = 0; v < s->n_value; v++) {
    uint64_t n = sq_sweep_team_share(s, &one, v);
    all += n;
    if (v < s->scan->n_carried) carried += n;
  }
  bool fits = all <= SQ_SWEEP_MOST && 8 * carried * SQ_PREFIX_THREADS <= SQ_TILES_SHARED / 2;
  return fits ? NULL : "a turn of a lane has many elements";
}
