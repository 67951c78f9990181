// Trimming the scalar part of a generic.
#include "passes/scalars.h"

static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }

void sq_scalars_reached(const sq_generic *k, bool *used) {
  if (k->body != SQ_NO_SCALAR && k->body < k->s.n) used[k->body] = true;
  if (k->post != SQ_NO_SCALAR) used[k->post] = true;
  if (k->write_guard != SQ_NO_SCALAR) used[k->write_guard] = true;
  for (uint32_t j = 0; j < k->domain.n; j++) used[k->domain.v[j]] = true;
  for (uint32_t j = 0; k->pos && j < k->n_pos; j++) used[k->pos[j]] = true;
  for (uint32_t j = k->s.n; j-- > 0;) // references go to smaller ids
    if (used[j]) sq_scalar_refs(&k->s.v[j], mark, used);
}

void sq_scalar_remap(sq_graph *g, sq_scalar *s, const uint32_t *map) {
  for (int k = 0; k < 3; k++)
    if (s->a[k] != SQ_NO_SCALAR) s->a[k] = map[s->a[k]];
  if (s->guard != SQ_NO_SCALAR) s->guard = map[s->guard];
  if (s->other != SQ_NO_SCALAR) s->other = map[s->other];
  if (!s->n_pos) return;
  uint32_t *pos = SQ_ARRAY(g->arena, uint32_t, s->n_pos);
  for (uint32_t k = 0; k < s->n_pos; k++) pos[k] = map[s->pos[k]];
  s->pos = pos;
}

uint32_t sq_operands_begin(const sq_node *n) { return n->op == SQ_OP_UPDATE ? 1 : 0; }
uint32_t sq_operands_end(const sq_node *n) { return n->n_in - (n->has_instance ? 1 : 0); }

static bool tidy_scalars(sq_graph *g, sq_generic *k) {
  bool *used = SQ_ARRAY(g->arena, bool, k->s.n + 1);
  uint32_t *map = SQ_ARRAY(g->arena, uint32_t, k->s.n + 1), kept = 0;
  sq_scalars_reached(k, used);
  for (uint32_t j = 0; j < k->s.n; j++) {
    map[j] = SQ_NO_SCALAR;
    if (!used[j]) continue;
    sq_scalar s = k->s.v[j];
    if (kept != j) sq_scalar_remap(g, &s, map);
    map[j] = kept;
    k->s.v[kept++] = s;
  }
  if (kept == k->s.n) return false;
  k->s.n = kept;
  k->body = map[k->body];
  if (k->post != SQ_NO_SCALAR) k->post = map[k->post];
  if (k->write_guard != SQ_NO_SCALAR) k->write_guard = map[k->write_guard];
  for (uint32_t j = 0; j < k->domain.n; j++) k->domain.v[j] = map[k->domain.v[j]];
  for (uint32_t j = 0; k->pos && j < k->n_pos; j++) k->pos[j] = map[k->pos[j]];
  return true;
}

static bool tidy_operands(sq_graph *g, sq_node *n) {
  uint32_t begin = sq_operands_begin(n), end = sq_operands_end(n), kept = begin;
  bool *used = SQ_ARRAY(g->arena, bool, n->n_in + 1);
  uint32_t *map = SQ_ARRAY(g->arena, uint32_t, n->n_in + 1);
  for (uint32_t j = 0; j < n->g->s.n; j++)
    if (n->g->s.v[j].kind == SQ_SC_READ) used[n->g->s.v[j].operand] = true;
  for (uint32_t j = 0; j < begin; j++) map[j] = j;
  for (uint32_t j = begin; j < end; j++) {
    if (!used[j]) continue;
    map[j] = kept;
    for (uint32_t i = begin; i < kept; i++)
      if (n->in[i] == n->in[j]) {
        map[j] = i;
        break;
      }
    if (map[j] == kept) n->in[kept++] = n->in[j];
  }
  if (kept == end) return false;
  for (uint32_t j = end; j < n->n_in; j++) n->in[kept + j - end] = n->in[j];
  n->n_in -= end - kept;
  for (uint32_t j = 0; j < n->g->s.n; j++)
    if (n->g->s.v[j].kind == SQ_SC_READ) n->g->s.v[j].operand = map[n->g->s.v[j].operand];
  return true;
}

bool sq_scalars_tidy(sq_graph *g, sq_node *n) {
  if (!n->g || n->op == SQ_OP_MAP) return false;
  bool a = tidy_scalars(g, n->g);
  return tidy_operands(g, n) || a;
}
