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

static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }

uint32_t sq_scalar_cost(const sq_generic *k, uint32_t root) {
  bool seen[SQ_SMALL_SCALARS];
  uint32_t cost = 0;
  if (root == SQ_NO_SCALAR) return 0;
  if (k->s.n > SQ_SMALL_SCALARS) return UINT32_MAX;
  memset(seen, 0, root + 1);
  seen[root] = true;
  for (uint32_t id = root + 1; id-- > 0;) { // references go to smaller ids
    if (!seen[id]) continue;
    cost += weight(&k->s.v[id]);
    sq_scalar_refs(&k->s.v[id], mark, seen);
  }
  return cost;
}

bool sq_node_reads(const sq_node *n, const sq_value *v) {
  for (uint32_t k = sq_operands_begin(n); k < sq_operands_end(n); k++)
    if (n->in[k] == v) return true;
  return false;
}

// The number of values that the index of a loop takes, which `id` reads: {0} where it reads none.
static sq_dim loop_index(const sq_node *n, uint32_t id) {
  const sq_scalar *s = &n->g->s.v[id];
  while (s->kind == SQ_SC_CAST && !sq_is_float(s->dtype)) s = &n->g->s.v[s->a[0]];
  if (s->kind != SQ_SC_READ || s->n_pos || s->guard != SQ_NO_SCALAR) return (sq_dim){0};
  const sq_value *v = n->in[s->operand];
  const sq_node *loop = v->def ? NULL : v->block->owner;
  if (!loop) return (sq_dim){0};
  if (loop->op == SQ_OP_MAP) return loop->g->axis[v->index].extent;
  return loop->op == SQ_OP_SCAN && v->index == 0 ? loop->extent : (sq_dim){0};
}

static bool position_inside(sq_graph *g, const sq_node *n, uint32_t pos, sq_dim size) {
  sq_dims *ds = g->dims;
  sq_dim zero = sq_dim_const(ds, 0), one = sq_dim_const(ds, 1), turns = loop_index(n, pos);
  if (turns.i) return sq_prove_le(ds, turns, size) == 1;
  sq_affine a = sq_scalar_affine(g, n->g, pos);
  if (!a.ok) return false;
  sq_dim low = a.offset, high = a.offset;
  for (uint32_t c = 0; c < n->g->n_par + n->g->n_red; c++) {
    sq_dim last =
        sq_dim_mul(ds, sq_dim_const(ds, a.coef[c]), sq_dim_sub(ds, n->g->axis[c].extent, one));
    if (a.coef[c] > 0) high = sq_dim_add(ds, high, last);
    if (a.coef[c] < 0) low = sq_dim_add(ds, low, last);
  }
  return sq_prove_le(ds, zero, low) == 1 && sq_prove_le(ds, sq_dim_add(ds, high, one), size) == 1;
}

bool sq_read_is_inside(sq_graph *g, const sq_node *n, const sq_scalar *read) {
  const sq_type *t = &n->in[read->operand]->type;
  if (read->site != SQ_NO_SITE) return false;
  for (uint32_t j = 0; j < read->n_pos; j++)
    if (!position_inside(g, n, read->pos[j], t->dim[j])) return false;
  return true;
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
