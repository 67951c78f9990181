// Where turns go one by one, a matrix that a turn makes of another one, element by element, is made where it is
// read: a decay that is a statement of its own.
//
//   %d = generic (%a, %s, %t) [i < 64, j < 64] { %a[t] * %s[i, j] }
//   %p = generic (%d, %k, %t) [j < 64] sum [i < 64] { %d[i, j] * %k[t, i] }
//   %n = generic (%d, %k, %v, %p, %t) [i < 64, j < 64] { %d[i, j] + %k[t, i] * (%v[t, j] - %p[j]) }
// becomes
//   %p = generic (%s, %a, %k, %t) [j < 64] sum [i < 64] { %s[i, j] * %k[t, i]; post acc * %a[t]; }
//   %n = generic (%s, %a, %k, %v, %p, %t) [i < 64, j < 64] { %a[t] * %s[i, j] + %k[t, i] * (%v[t, j] - %p[j]) }
//
// It is not written and read again then. What lies in registers, element by element, needs none of that.
#include "passes/factor.h"
#include "passes/sweep_inner.h"

enum { CHEAP = 8 }; // with its reads and the turn: two or three operations

// Does n read v at its own indices alone, each once, and whatever happens?
static bool reads_elements(const sq_node *n, const sq_value *v) {
  const sq_generic *k = n->g;
  uint32_t all = (1u << (k->n_par + k->n_red)) - 1;
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *r = &k->s.v[j];
    if (r->kind != SQ_SC_READ || n->in[r->operand] != v) continue;
    uint32_t axes = 0;
    for (uint32_t p = 0; p < r->n_pos; p++)
      if (k->s.v[r->pos[p]].kind == SQ_SC_INDEX) axes |= 1u << k->s.v[r->pos[p]].axis;
    if (axes != all || r->guard != SQ_NO_SCALAR || r->other != SQ_NO_SCALAR ||
        r->site != SQ_NO_SITE)
      return false;
  }
  return true;
}

// May the node of the body be made where it is read?
static bool may_go(const sq_block *b, const sq_node *n) {
  if (!sq_node_is_elementwise(n) || sq_node_may_fail(n) || n->n_out != 1) return false;
  if (sq_scalar_cost(n->g, sq_scalar_root(n->g)) > CHEAP) return false;
  const sq_node *end = sq_block_end(b);
  uint32_t users = 0;
  for (uint32_t k = 0; k < end->n_in; k++)
    if (end->in[k] == n->out[0]) return false;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    const sq_node *x = b->nodes.v[k];
    if (x == end || !sq_node_reads(x, n->out[0])) continue;
    if (x->op != SQ_OP_GENERIC || x->g->keyed || x->g->pos || !reads_elements(x, n->out[0]))
      return false;
    users++;
  }
  return users > 0;
}

static bool is_it(void *user, const sq_scalar *read, sq_value *v) {
  (void)read;
  return v == user;
}

static void join(sq_sweeper *w, sq_node *n, sq_value *v) {
  sq_maker m;
  const sq_node before = *n;
  sq_maker_start_like(&m, w->g, n);
  m.inlines = is_it;
  m.user = v;
  uint32_t n_axes = n->g->n_par + n->g->n_red;
  uint32_t *axis = SQ_ARRAY(w->g->arena, uint32_t, n_axes + 1);
  for (uint32_t a = 0; a < n_axes; a++) axis[a] = sq_maker_index(&m, a);
  sq_graft how = {.from = &before, .axis = axis, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  sq_maker_copy_parts(&m, &how, sq_maker_map(&m, &before));
  sq_maker_end(&m, n);
  if (n->g->n_red) sq_factor_sum(w->g, w->f, n);
}

// Has the member something in a turn of a lane that is more than one element?
static bool is_matrix(const sq_sweep *s, const sq_value *v) {
  for (uint32_t i = 0; i < s->n_value; i++)
    if (s->value[i].v == v) return s->value[i].part.rank > 0;
  return false;
}

uint32_t sq_sweeper_join_reads(sq_sweeper *w, sq_node *scan) {
  sq_block *b = scan->region[0];
  const sq_sweep *s = sq_sweep_make(w->g, w->sweep);
  uint32_t n = 0;
  if (sq_sweep_unrolls(s)) return 0;
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) {
    sq_node *x = b->nodes.v[k];
    if (!may_go(b, x) || !is_matrix(s, x->out[0])) continue;
    for (uint32_t j = k + 1; j + 1 < b->nodes.n; j++)
      if (sq_node_reads(b->nodes.v[j], x->out[0])) join(w, b->nodes.v[j], x->out[0]);
    sq_node_remove(x);
    n++;
    k--;
  }
  return n;
}
