// Contractions as the graph has them, and siblings: those that multiply the same rows.
//
//   %q = generic (%x, %a) [n < N, j < 64] sum [c < C] { %x[n, c] * %a[j, c] }
//   %k = generic (%x, %b) [h < 4, n < N, e < 16] sum [c < C] { %b[h * 16 + e, c] * %x[n, c] }
//
// The rows of both are %x[n, c], n and c under whatever names and numbers. The axes of one are those of
// the other, paired as the reads want it, each over the same range; rows and products of a sum come in the
// same order, so that a row of the one is the row of the same number of the other, and sums are added
// alike.
#include "ir/contraction.h"

// ---- finding -----------------------------------------------------------------------------------
static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }

// Of what `root` is made: axes, and whether a read may fail. False when it is too large.
static bool explore(const sq_generic *k, uint32_t root, uint32_t *axes, bool *fails) {
  bool seen[SQ_SMALL_SCALARS];
  *axes = 0;
  *fails = false;
  if (root == SQ_NO_SCALAR) return true;
  if (k->s.n > SQ_SMALL_SCALARS) return false;
  memset(seen, 0, root + 1);
  seen[root] = true;
  for (uint32_t id = root + 1; id-- > 0;) { // references go to smaller ids
    if (!seen[id]) continue;
    const sq_scalar *s = &k->s.v[id];
    if (s->kind == SQ_SC_INDEX && s->axis < 32) *axes |= 1u << s->axis;
    if (s->kind == SQ_SC_READ && s->site != SQ_NO_SITE) *fails = true;
    sq_scalar_refs(s, mark, seen);
  }
  return true;
}

uint32_t sq_scalar_axes(const sq_generic *k, uint32_t root) {
  uint32_t axes;
  bool fails;
  return explore(k, root, &axes, &fails) ? axes : UINT32_MAX;
}

bool sq_is_contraction(sq_graph *g, const sq_node *n, sq_contraction *c) {
  (void)g;
  const sq_generic *k = n->g;
  if (n->op != SQ_OP_GENERIC || !k->n_red || k->keyed || k->pos || k->domain.n ||
      k->monoid != SQ_SUM)
    return false;
  const sq_scalar *s = &k->s.v[k->body];
  if (s->kind != SQ_SC_EWISE || s->ew != SQ_EW_MUL || s->a[0] == s->a[1] || !sq_is_float(s->dtype))
    return false;
  sq_contraction r = {.a = s->a[0], .b = s->a[1]};
  uint32_t in_a, in_b;
  bool a_fails, b_fails;
  if (!explore(k, r.a, &in_a, &a_fails) || !explore(k, r.b, &in_b, &b_fails) || a_fails || b_fails)
    return false;
  for (uint32_t a = 0; a < k->n_par + k->n_red; a++) {
    uint32_t bit = 1u << a;
    bool x = in_a & bit, y = in_b & bit;
    if (!x && !y) return false;
    if (a >= k->n_par && !(x && y)) return false;
    if (a >= k->n_par)
      r.k |= bit;
    else if (x && y)
      r.batch |= bit;
    else if (x)
      r.m |= bit;
    else
      r.n |= bit;
  }
  if (c) *c = r;
  return true;
}

bool sq_is_product(sq_graph *g, const sq_node *n) {
  sq_contraction c;
  if (!n->g || !n->g->n_par || !sq_is_contraction(g, n, &c)) return false;
  return (c.m | c.n) >> (n->g->n_par - 1) & 1;
}

bool sq_rows_of(sq_graph *g, const sq_node *n, sq_contraction *c) {
  sq_contraction r;
  if (!n->g || !n->g->n_par || !sq_is_contraction(g, n, &r) || r.batch) return false;
  *c = r;
  if (r.m >> (n->g->n_par - 1) & 1) *c = (sq_contraction){r.b, r.a, 0, r.n, r.m, r.k};
  return c->n >> (n->g->n_par - 1) & 1;
}

// ---- the same rows -----------------------------------------------------------------------------
enum { NO_AXIS = UINT32_MAX, BUDGET = 2000 };
typedef struct pairing {
  sq_graph *g;
  const sq_node *x, *y;
  uint32_t axis[SQ_MAX_RANK * 2]; // of y, by axis of x
  bool other_range;               // axes that meet have other extents
  int budget;
} pairing;

static bool pair_axes(pairing *p, uint32_t a, uint32_t b) {
  if (p->axis[a] != NO_AXIS) return p->axis[a] == b;
  if ((a < p->x->g->n_par) != (b < p->y->g->n_par)) return false;
  for (uint32_t k = 0; k < SQ_MAX_RANK * 2; k++)
    if (p->axis[k] == b) return false;
  if (!sq_dim_same(p->x->g->axis[a].extent, p->y->g->axis[b].extent)) {
    p->other_range = true;
    return false;
  }
  p->axis[a] = b;
  return true;
}

static bool same(pairing *p, uint32_t a, uint32_t b);
static bool same_read(pairing *p, const sq_scalar *s, const sq_scalar *t) {
  if (p->x->in[s->operand] != p->y->in[t->operand] || s->n_pos != t->n_pos || s->site != t->site)
    return false;
  for (uint32_t k = 0; k < s->n_pos; k++)
    if (!same(p, s->pos[k], t->pos[k])) return false;
  return same(p, s->guard, t->guard) && same(p, s->other, t->other);
}
static bool same(pairing *p, uint32_t a, uint32_t b) {
  if (a == SQ_NO_SCALAR || b == SQ_NO_SCALAR) return a == b;
  const sq_scalar *s = &p->x->g->s.v[a], *t = &p->y->g->s.v[b];
  if (--p->budget < 0 || s->kind != t->kind || s->dtype != t->dtype) return false;
  switch (s->kind) {
  case SQ_SC_FLOAT:
    return !memcmp(&s->f, &t->f, sizeof s->f);
  case SQ_SC_INT:
    return s->i == t->i;
  case SQ_SC_INDEX:
    return pair_axes(p, s->axis, t->axis);
  case SQ_SC_DIM:
    return sq_dim_same(s->dim, t->dim);
  case SQ_SC_READ:
    return same_read(p, s, t);
  case SQ_SC_ACC:
    return false;
  case SQ_SC_EWISE:
    if (s->ew != t->ew) return false;
    if (s->ew == SQ_EW_ADD || s->ew == SQ_EW_MUL) {
      pairing before = *p;
      if (same(p, s->a[0], t->a[0]) && same(p, s->a[1], t->a[1])) return true;
      before.budget = p->budget;
      before.other_range |= p->other_range;
      *p = before;
      return same(p, s->a[0], t->a[1]) && same(p, s->a[1], t->a[0]);
    }
    break;
  case SQ_SC_SELECT:
  case SQ_SC_CAST:
    break;
  }
  for (int k = 0; k < 3; k++)
    if (!same(p, s->a[k], t->a[k])) return false;
  return true;
}

// Do the axes of the set come in the same order in both?
static bool in_order(const pairing *p, uint32_t set) {
  uint32_t next = 0;
  for (uint32_t a = 0; a < SQ_MAX_RANK * 2; a++) {
    if (!(set >> a & 1)) continue;
    if (p->axis[a] < next) return false;
    next = p->axis[a] + 1;
  }
  return true;
}

const char *sq_rows_differ(sq_graph *g, const sq_node *n, const sq_contraction *x, const sq_node *o,
                           const sq_contraction *y) {
  pairing p = {.g = g, .x = n, .y = o, .budget = BUDGET};
  for (uint32_t k = 0; k < SQ_MAX_RANK * 2; k++) p.axis[k] = NO_AXIS;
  if (!same(&p, x->a, y->a))
    return p.other_range ? "it runs over another range of them" : "it reads others of them";
  if (!in_order(&p, x->m)) return "its rows come in another order";
  return in_order(&p, x->k) ? NULL : "it sums in another order";
}

// ---- what one makes and the other reads ----------------------------------------------------------
static bool is_own_element(const sq_generic *k, const sq_scalar *read) {
  if (read->n_pos != k->n_par || read->guard != SQ_NO_SCALAR || read->other != SQ_NO_SCALAR)
    return false;
  for (uint32_t j = 0; j < read->n_pos; j++) {
    const sq_scalar *p = &k->s.v[read->pos[j]];
    if (p->kind != SQ_SC_INDEX || p->axis != j) return false;
  }
  return true;
}

bool sq_reads_own(sq_graph *g, const sq_node *n, const sq_contraction *x, const sq_node *o,
                  const sq_contraction *y) {
  const sq_generic *k = o->g;
  if (x->m != y->m || x->n != y->n || n->g->n_par != k->n_par) return false;
  for (uint32_t a = 0; a < k->n_par; a++)
    if (!sq_dim_same(n->g->axis[a].extent, k->axis[a].extent)) return false;
  bool *inside = SQ_ARRAY(g->arena, bool, k->s.n + 1); // of what is summed
  inside[k->body] = true;
  for (uint32_t id = k->s.n; id-- > 0;) {
    const sq_scalar *s = &k->s.v[id];
    if (inside[id]) sq_scalar_refs(s, mark, inside);
    if (s->kind != SQ_SC_READ || o->in[s->operand] != n->out[0]) continue;
    if (inside[id] || !is_own_element(k, s)) return false;
  }
  return true;
}

const char *sq_siblings_check(sq_graph *g, const sq_node *group) {
  const sq_block *b = group->region[0];
  const sq_node *end = sq_block_end(b);
  if (!end || end->n_in + 1 != b->nodes.n) return "not every member is a result";
  sq_contraction *c = SQ_ARRAY(g->arena, sq_contraction, b->nodes.n);
  for (uint32_t k = 0; k < end->n_in; k++) {
    const sq_node *n = b->nodes.v[k];
    if (end->in[k]->def != n) return "results are not the members in order";
    if (!sq_rows_of(g, n, &c[k])) return "a member is no product of rows";
    const char *why = k ? sq_rows_differ(g, b->nodes.v[0], &c[0], n, &c[k]) : NULL;
    if (why) return why;
    for (uint32_t j = 0; j < k; j++)
      if (!sq_reads_own(g, b->nodes.v[j], &c[j], n, &c[k]))
        for (uint32_t i = 0; i < n->n_in; i++)
          if (n->in[i]->def == b->nodes.v[j]) return "a member reads other elements of another";
  }
  return NULL;
}
