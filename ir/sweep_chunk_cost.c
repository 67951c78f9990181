// What a turn of a sweep in blocks costs, and turn by turn. In: the parts of a turn, with how many columns and
// rows. Out: cycles of both ways, and the length of blocks that is best.
#include "ir/sweep_chunk.h"

enum { MAX_LENGTH = 64 };

bool sq_chunk_length_ok(int64_t n) { return n >= 16 && n <= MAX_LENGTH && !(n & (n - 1)); }

// Two products a cycle at best; the rest is what was measured with 8 lanes. What a product beyond a state's
// first one costs, and a matrix that turn by turn is stored between, was measured with 16.
sq_chunk_cost sq_chunk_costs(const sq_chunk *c, uint32_t n_state, uint32_t vector_bytes) {
  double w = vector_bytes / (c->type == SQ_F64 ? 8 : 4), by_rows = 0, wide = 0, added = 0;
  double d = c->rows ? c->rows : SQ_CHUNK_GUESS, columns = SQ_CHUNK_GUESS;
  if (c->columns) columns = (double)c->columns;
  double pairs = 0, scored = 0, scored_wide = 0;
  for (uint32_t r = 0; r < c->n_read; r++)
    for (uint32_t i = 0; i < c->read[r].n_term; i++) {
      const sq_chunk_state *t = &c->state[c->read[r].term[i].state];
      pairs += t->has_columns;
      scored += t->n_add;
      if (t->has_columns) scored_wide += t->n_add;
    }
  double vectors = (double)(int64_t)((columns + w - 1) / w);
  double rows = (double)(int64_t)((d + w - 1) / w);
  sq_chunk_cost best = {.blocks = 1e30};
  for (uint32_t k = 0; k < n_state; k++) {
    if (c->state[k].by_rows) by_rows += c->state[k].n_add;
    if (c->state[k].has_columns) wide++, added += c->state[k].n_add;
  }
  double work = wide + added + pairs + 0.5 * c->n_solved; // these in a second loop over the rows
  if (added > wide) work += 2 * c->n_made; // measured with several products only
  best.turns = work * vectors * d * (d <= 32 && vectors == 1 ? 0.6 : 1);
  for (uint32_t n = 16; n <= MAX_LENGTH; n *= 2) {
    double products = (0.55 * (added + pairs) + 1.45 * (added - wide)) * vectors * d;
    double scores = 0.75 * (n / 2.0 + w / 2) * (scored * rows + scored_wide * vectors) +
                    1.5 * by_rows * (n / 2.0 + w / 2) * rows;
    double once = (wide * vectors * d + 500) / n;
    double moved = 4 * (2 * rows * c->n_add + 2 * vectors);
    double all = products + scores + once + moved;
    if (all >= best.blocks) continue;
    best.blocks = all;
    best.length = n;
  }
  return best;
}
