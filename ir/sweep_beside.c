// Parts of a sweep between which nothing is read, as two scans have that became one: their axes are joined
// all the same, so that one loop over lanes does them all.
//
//   %d = generic (%c, %x, %t) [k < C] { %c[k] + %x[i64(%t), k] }
//   %f = generic (%e, %x, %t) [i < C] { %e[i] * %x[i64(%t), i] }       k and i are one class
//
// First axes that read the same memory at the same place of a position, then those of one extent in order.
// Axes that are summed over or read at other places are no lanes and stay as they are.
#include "ir/sweep_inner.h"

typedef struct aligner {
  sq_sweep_maker *m;
  uint32_t *up;    // per value: parts, as a forest
  uint32_t *taken; // per root: the last part that has an axis there
  uint32_t part;   // the one that is being joined: its root
  bool *done;      // per value: it is of a part that is joined already
} aligner;

static uint32_t part_of(aligner *w, uint32_t v) {
  while (w->up[v] != v) v = w->up[v] = w->up[w->up[v]];
  return v;
}

static void find_parts(aligner *w) {
  const sq_sweep_maker *m = w->m;
  const sq_sweep *s = m->s;
  for (uint32_t v = 0; v < s->n_value; v++) w->up[v] = v;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) w->up[part_of(w, k)] = part_of(w, s->next[k]);
  for (uint32_t i = 0; i < s->n_member; i++)
    for (uint32_t j = 0; j < m->source[i]->n_in; j++) {
      uint32_t number = m->number[m->source[i]->in[j]->id];
      if (number) w->up[part_of(w, number - 1)] = part_of(w, s->member[i].value);
    }
}

// Axis b is of the part that is being joined, a of those before.
static void try_join(aligner *w, uint32_t a, uint32_t b) {
  sq_sweep_maker *m = w->m;
  uint32_t ra = sq_sweep_root(m, a), rb = sq_sweep_root(m, b);
  if (ra == rb || m->mixed[ra] || m->mixed[rb] || !sq_dim_same(m->extent[ra], m->extent[rb]))
    return;
  if (w->taken[ra] == w->part + 1 || w->taken[rb] == w->part + 1) return;
  sq_sweep_join(m, ra, rb);
  w->taken[sq_sweep_root(m, rb)] = w->part + 1;
}

// Which of the member's axes the position is, as its id; NONE: none.
static uint32_t axis_at(const aligner *w, uint32_t i, uint32_t pos) {
  const sq_generic *k = w->m->source[i]->g;
  const sq_scalar *p = &k->s.v[pos];
  return p->kind == SQ_SC_INDEX ? sq_sweep_member_axis(w->m, i, p->axis) : SQ_SWEEP_NONE;
}

static void join_reads(aligner *w, uint32_t i, const sq_scalar *a, uint32_t j, const sq_scalar *b) {
  for (uint32_t p = 0; p < a->n_pos; p++) {
    uint32_t x = axis_at(w, i, a->pos[p]), y = axis_at(w, j, b->pos[p]);
    if (x != SQ_SWEEP_NONE && y != SQ_SWEEP_NONE) try_join(w, x, y);
  }
}

static void join_members(aligner *w, uint32_t i, uint32_t j) {
  const sq_node *a = w->m->source[i], *b = w->m->source[j];
  for (uint32_t p = 0; p < a->g->s.n; p++) {
    const sq_scalar *x = &a->g->s.v[p];
    if (x->kind != SQ_SC_READ || w->m->number[a->in[x->operand]->id]) continue;
    for (uint32_t q = 0; q < b->g->s.n; q++) {
      const sq_scalar *y = &b->g->s.v[q];
      if (y->kind == SQ_SC_READ && a->in[x->operand] == b->in[y->operand])
        join_reads(w, i, x, j, y);
    }
  }
}

static void join_part(aligner *w) {
  const sq_sweep_maker *m = w->m;
  const sq_sweep *s = m->s;
  for (uint32_t j = 0; j < s->n_member; j++)
    for (uint32_t i = 0; part_of(w, s->member[j].value) == w->part && i < s->n_member; i++)
      if (w->done[s->member[i].value]) join_members(w, i, j);
  for (uint32_t v = 0; v < s->n_value; v++)
    for (uint32_t u = 0; part_of(w, v) == w->part && u < s->n_value; u++)
      for (uint32_t b = 0; w->done[u] && b < s->value[v].rank; b++)
        for (uint32_t a = 0; a < s->value[u].rank; a++)
          try_join(w, m->first[u] + a, m->first[v] + b);
}

void sq_sweep_align(sq_sweep_maker *m) {
  const sq_sweep *s = m->s;
  aligner w = {.m = m};
  w.up = SQ_ARRAY(m->a, uint32_t, s->n_value + 1);
  w.taken = SQ_ARRAY(m->a, uint32_t, m->n_axis + 1);
  w.done = SQ_ARRAY(m->a, bool, s->n_value + 1);
  find_parts(&w);
  for (uint32_t v = 0; v < s->n_value; v++) {
    if (w.done[v]) continue;
    w.part = part_of(&w, v);
    if (v) join_part(&w);
    for (uint32_t u = v; u < s->n_value; u++) w.done[u] |= part_of(&w, u) == w.part;
  }
}
