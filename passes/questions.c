// Questions about operations; see questions.h.
#include "passes/questions.h"
#include "ir/machine.h"
#include "passes/scalars.h"

static uint32_t weight(const sq_scalar *s) {
  switch (s->kind) {
  case SQ_SC_READ:
    return 1;
  case SQ_SC_SELECT:
  case SQ_SC_CAST:
    return 1;
  case SQ_SC_EWISE:
    break;
  case SQ_SC_FLOAT:
  case SQ_SC_INT:
  case SQ_SC_INDEX:
  case SQ_SC_DIM:
  case SQ_SC_ACC:
    return 0;
  }
  if (sq_is_float(s->dtype)) return sq_ewise_cycles(s->ew);
  return s->ew == SQ_EW_FLOORDIV || s->ew == SQ_EW_MOD ? 3 : 1;
}

// Scalar parts are small as a rule; what is larger is nothing special to anybody.
enum { SMALL = 4096 };

static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }

// What `root` is made of: axes, cost, and whether a read may fail. False when it is too large.
typedef struct made_of {
  uint32_t axes, cost;
  bool fails;
} made_of;
static bool explore(const sq_generic *k, uint32_t root, made_of *m) {
  bool seen[SMALL];
  *m = (made_of){0};
  if (root == SQ_NO_SCALAR) return true;
  if (k->s.n > SMALL) return false;
  memset(seen, 0, root + 1);
  seen[root] = true;
  for (uint32_t id = root + 1; id-- > 0;) { // references go to smaller ids
    if (!seen[id]) continue;
    const sq_scalar *s = &k->s.v[id];
    if (s->kind == SQ_SC_INDEX && s->axis < 32) m->axes |= 1u << s->axis;
    if (s->kind == SQ_SC_READ && s->site != SQ_NO_SITE) m->fails = true;
    m->cost += weight(s);
    sq_scalar_refs(s, mark, seen);
  }
  return true;
}

uint32_t sq_scalar_cost(const sq_generic *k, uint32_t root) {
  made_of m;
  return explore(k, root, &m) ? m.cost : UINT32_MAX;
}
uint32_t sq_scalar_axes(const sq_generic *k, uint32_t root) {
  made_of m;
  return explore(k, root, &m) ? m.axes : UINT32_MAX;
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
  made_of a_side, b_side;
  if (!explore(k, r.a, &a_side) || !explore(k, r.b, &b_side) || a_side.fails || b_side.fails)
    return false;
  uint32_t in_a = a_side.axes, in_b = b_side.axes;
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

uint32_t sq_read_leading(sq_graph *g, const sq_generic *k, const sq_scalar *read) {
  for (uint32_t j = 0; j < read->n_pos; j++) {
    sq_affine a = sq_scalar_affine(g, k, read->pos[j]);
    int64_t off;
    if (!a.ok || !sq_dim_is_const(g->dims, a.offset, &off) || off) return j;
    for (uint32_t c = 0; c < SQ_MAX_RANK * 2; c++)
      if (a.coef[c] != (c == j)) return j;
  }
  return read->n_pos;
}

bool sq_node_reads(const sq_node *n, const sq_value *v) {
  for (uint32_t k = sq_operands_begin(n); k < sq_operands_end(n); k++)
    if (n->in[k] == v) return true;
  return false;
}

void sq_say_place(sq_graph *g, sq_span span, sq_span here, const char *before, sq_text *t,
                  const char *after) {
  const sq_diags *ds = &g->ctx->diags;
  uint32_t line, column;
  sq_span_line(ds, span, &line, &column);
  if (!line) return;
  const char *file = ds->sources.v[span.file].name, *base = strrchr(file, '/');
  sq_text_add(t, "%s", before);
  if (span.file != here.file) sq_text_add(t, "%s:", base ? base + 1 : file);
  sq_text_add(t, "%u:%u%s", line, column, after);
}
