// Making a generic anew with folding and sharing, and comparing generics.
#include "passes/maker.h"

static bool same_scalars(const sq_generic *a, const sq_generic *b) {
  if (a->s.n != b->s.n) return false;
  for (uint32_t k = 0; k < a->s.n; k++) {
    const sq_scalar *x = &a->s.v[k], *y = &b->s.v[k];
    if (x->kind != y->kind || x->dtype != y->dtype) return false;
    bool same = true;
    switch (x->kind) {
    case SQ_SC_FLOAT:
      same = !memcmp(&x->f, &y->f, sizeof x->f);
      break;
    case SQ_SC_INT:
      same = x->i == y->i;
      break;
    case SQ_SC_INDEX:
      same = x->axis == y->axis;
      break;
    case SQ_SC_DIM:
      same = sq_dim_same(x->dim, y->dim);
      break;
    case SQ_SC_EWISE:
      same = x->ew == y->ew && x->a[0] == y->a[0] &&
             (sq_ewise_table[x->ew].arity < 2 || x->a[1] == y->a[1]);
      break;
    case SQ_SC_SELECT:
      same = x->a[0] == y->a[0] && x->a[1] == y->a[1] && x->a[2] == y->a[2];
      break;
    case SQ_SC_CAST:
      same = x->a[0] == y->a[0];
      break;
    case SQ_SC_READ:
      same = x->operand == y->operand && x->n_pos == y->n_pos && x->guard == y->guard &&
             x->other == y->other && (x->site == SQ_NO_SITE) == (y->site == SQ_NO_SITE);
      for (uint32_t j = 0; same && j < x->n_pos; j++) same = x->pos[j] == y->pos[j];
      break;
    case SQ_SC_ACC:
      break;
    }
    if (!same) return false;
  }
  return true;
}

bool sq_generic_same(const sq_generic *a, const sq_generic *b) {
  if (a->n_par != b->n_par || a->n_red != b->n_red || a->monoid != b->monoid ||
      a->body != b->body || a->post != b->post || a->domain.n != b->domain.n ||
      (a->pos != NULL) != (b->pos != NULL) || a->n_pos != b->n_pos || a->keyed != b->keyed ||
      a->write_guard != b->write_guard ||
      (a->pos_site == SQ_NO_SITE) != (b->pos_site == SQ_NO_SITE))
    return false;
  for (uint32_t k = 0; k < a->n_par + a->n_red; k++)
    if (!sq_dim_same(a->axis[k].extent, b->axis[k].extent)) return false;
  for (uint32_t k = 0; k < a->domain.n; k++)
    if (a->domain.v[k] != b->domain.v[k]) return false;
  for (uint32_t k = 0; a->pos && k < a->n_pos; k++)
    if (a->pos[k] != b->pos[k]) return false;
  return same_scalars(a, b);
}

static void add_domain(sq_maker *m, uint32_t c, bool *seen) {
  if (seen[c]) return;
  seen[c] = true;
  sq_generic *k = m->k;
  int64_t v;
  if (sq_scalar_int(k, c, &v) && v) return;
  const sq_scalar *s = &k->s.v[c];
  if (s->kind == SQ_SC_EWISE && s->ew == SQ_EW_AND) {
    uint32_t a = s->a[0], b = s->a[1];
    add_domain(m, a, seen);
    add_domain(m, b, seen);
    return;
  }
  for (uint32_t j = 0; j < k->domain.n; j++)
    if (k->domain.v[j] == c) return;
  sq_push(m->g->arena, &k->domain, c);
}

void sq_maker_copy_parts(sq_maker *m, const sq_graft *how, uint32_t *map) {
  const sq_generic *old = how->from->g;
  sq_generic *k = m->k;
  for (uint32_t j = 0; j < old->domain.n; j++) {
    uint32_t c = sq_maker_graft(m, how, old->domain.v[j], map);
    add_domain(m, c, SQ_ARRAY(m->g->arena, bool, c + 1));
  }
  k->body = sq_maker_graft(m, how, old->body, map);
  k->post = sq_maker_graft(m, how, old->post, map);
  if (old->pos) {
    k->n_pos = old->n_pos;
    k->pos = SQ_ARRAY(m->g->arena, uint32_t, old->n_pos + 1);
    for (uint32_t j = 0; j < old->n_pos; j++) k->pos[j] = sq_maker_graft(m, how, old->pos[j], map);
  }
  k->write_guard = sq_maker_graft(m, how, old->write_guard, map);
  int64_t v;
  if (sq_scalar_int(k, k->write_guard, &v) && v) k->write_guard = SQ_NO_SCALAR;
  if (k->post != SQ_NO_SCALAR && k->n_red) {
    if (k->s.v[k->post].kind == SQ_SC_ACC) k->post = SQ_NO_SCALAR;
  } else if (k->post != SQ_NO_SCALAR) { // no reduction: one scalar part is enough
    k->body = k->post;
    k->post = SQ_NO_SCALAR;
  }
}

bool sq_node_rebuild(sq_graph *g, sq_node *n) {
  sq_maker m;
  const sq_generic *old = n->g;
  sq_value **old_in = n->in;
  uint32_t n_old = n->n_in;
  sq_maker_start_like(&m, g, n);
  uint32_t n_axes = old->n_par + old->n_red;
  uint32_t *axis = SQ_ARRAY(g->arena, uint32_t, n_axes + 1);
  for (uint32_t a = 0; a < n_axes; a++) axis[a] = sq_maker_index(&m, a);
  uint32_t *map = sq_maker_map(&m, n);
  sq_graft how = {.from = n, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  if (!old->n_red && old->post != SQ_NO_SCALAR) { // the accumulator is the element itself
    how.acc = sq_maker_graft(&m, &how, old->body, map);
  }
  sq_maker_copy_parts(&m, &how, map);
  sq_maker_end(&m, n);
  if (!sq_generic_same(old, n->g) || n_old != n->n_in) return true;
  for (uint32_t k = 0; k < n_old; k++)
    if (old_in[k] != n->in[k]) return true;
  return false;
}
