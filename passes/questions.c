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
