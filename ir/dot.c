// One function as a Graphviz graph: operations are boxes with their results' types, values are
// edges, regions and groups are clusters, weights and states have shapes of their own. Calls are
// single boxes.
#include "ir/ir_text.h"

typedef struct drawer {
  const sq_graph *g;
  sq_text *t;
} drawer;

#define ADD(...) sq_text_add(d->t, __VA_ARGS__)

// Inside a quoted label.
static void label_text(drawer *d, const char *s) {
  for (; *s; s++) {
    if (*s == '"' || *s == '\\') ADD("\\");
    if ((unsigned char)*s >= 32) sq_text_put(d->t, s, 1);
  }
}

static void label_dim(drawer *d, sq_dim x) {
  sq_text t = {.arena = d->t->arena};
  sq_text_put(&t, "", 0);
  sq_dim_print(d->g->dims, x, &t);
  label_text(d, t.v);
}

static void label_type(drawer *d, sq_type t) {
  ADD("%s", sq_dtype_table[t.dtype].name);
  for (uint32_t k = 0; k < t.rank; k++) {
    ADD(k ? ", " : "[");
    label_dim(d, t.dim[k]);
  }
  if (t.rank) ADD("]");
}

static void label_value(drawer *d, const sq_value *v) {
  ADD("\\n");
  if (v->name) {
    label_text(d, v->name);
    ADD(": ");
  }
  label_type(d, v->type);
  if (v->store) ADD(" @%s %u", sq_store_names[v->store], (unsigned)v->store_index);
}

static void label_axes(drawer *d, const sq_generic *g, uint32_t from, uint32_t to) {
  ADD(" [");
  for (uint32_t k = from; k < to; k++) {
    ADD("%s", k > from ? ", " : "");
    label_text(d, g->axis[k].name ? g->axis[k].name : "");
    ADD(" < ");
    label_dim(d, g->axis[k].extent);
  }
  ADD("]");
}

// The arithmetic of a loop nest in a word or two: its scalar functions, each once.
static void label_work(drawer *d, const sq_generic *g) {
  bool seen[SQ_EW_COUNT] = {false};
  uint32_t n = 0;
  for (uint32_t k = 0; k < g->s.n && n < 8; k++) {
    if (g->s.v[k].kind != SQ_SC_EWISE || seen[g->s.v[k].ew]) continue;
    seen[g->s.v[k].ew] = true;
    ADD("%s%s", n++ ? " " : "\\n", sq_ewise_table[g->s.v[k].ew].name);
  }
}

static void label_node(drawer *d, const sq_node *n) {
  const sq_op_form *form = &sq_op_forms[n->op];
  ADD("%s", sq_op_table[n->op].name);
  if ((form->attrs & SQ_FORM_PARAM) && n->ref < d->g->param.n) {
    ADD(" ");
    label_text(d, d->g->param.v[n->ref].name);
  }
  if ((form->attrs & SQ_FORM_STATE) && n->ref < d->g->state.n) {
    ADD(" ");
    label_text(d, d->g->state.v[n->ref].name);
  }
  if (n->func && n->func->name) {
    ADD(" ");
    label_text(d, n->func->name);
  }
  if (form->attrs & SQ_FORM_MONOID) ADD(" %s", sq_monoid_names[n->monoid]);
  if ((form->attrs & SQ_FORM_EXTENT) && n->extent.i) {
    ADD(" %s ", form->extent);
    label_dim(d, n->extent);
  }
  if (n->g) {
    label_axes(d, n->g, 0, n->g->n_par);
    if (n->g->n_red) {
      ADD("\\n%s", sq_monoid_names[n->g->monoid]);
      label_axes(d, n->g, n->g->n_par, n->g->n_par + n->g->n_red);
    }
    label_work(d, n->g);
  }
  for (uint32_t k = 0; k < n->n_out; k++) label_value(d, n->out[k]);
}

static void indent(drawer *d, int depth) {
  for (int k = 0; k < depth; k++) ADD("  ");
}

static void edges(drawer *d, const sq_node *n, int depth) {
  for (uint32_t k = 0; k < n->n_in; k++) {
    const sq_value *v = n->in[k];
    indent(d, depth);
    if (v->def)
      ADD("n%u -> n%u", (unsigned)v->def->id, (unsigned)n->id);
    else
      ADD("a%u -> n%u", (unsigned)v->id, (unsigned)n->id);
    if (v->def && v->def->n_out > 1) ADD(" [label=\"%u\"]", (unsigned)v->index);
    ADD(";\n");
  }
}

static void block(drawer *d, const sq_block *b, int depth);

static void node(drawer *d, const sq_node *n, int depth) {
  static const char *const shape[SQ_OP_COUNT] = {
      [SQ_OP_PARAM] = "cylinder",     [SQ_OP_PARAM_WRITE] = "cylinder",
      [SQ_OP_STATE_READ] = "folder",  [SQ_OP_STATE_WRITE] = "folder",
      [SQ_OP_RESERVE] = "folder",     [SQ_OP_RESET] = "folder",
      [SQ_OP_CHECK] = "octagon",      [SQ_OP_LIVE] = "octagon",
      [SQ_OP_YIELD] = "invtrapezium", [SQ_OP_CALL] = "component",
  };
  indent(d, depth);
  ADD("n%u [shape=%s, label=\"", (unsigned)n->id, shape[n->op] ? shape[n->op] : "box");
  label_node(d, n);
  ADD("\"];\n");
  edges(d, n, depth);
  bool kernel = n->op == SQ_OP_GROUP || n->op == SQ_OP_SWEEP || n->op == SQ_OP_STREAM;
  for (uint32_t k = 0; k < n->n_region; k++) {
    indent(d, depth);
    ADD("subgraph cluster_%u_%u {\n", (unsigned)n->id, (unsigned)k);
    indent(d, depth + 1);
    ADD("label=\"%s", sq_op_table[n->op].name);
    if (n->op == SQ_OP_IF) ADD(k ? ": else" : ": then");
    if (n->op == SQ_OP_WHILE) ADD(k ? ": turn" : ": condition");
    ADD("\"; style=%s;\n", kernel ? "filled" : "rounded");
    if (kernel) {
      indent(d, depth + 1);
      ADD("fillcolor=\"#eef2ff\";\n");
    }
    block(d, n->region[k], depth + 1);
    indent(d, depth);
    ADD("}\n");
    const sq_node *end = sq_block_end(n->region[k]);
    if (!end) continue;
    indent(d, depth);
    ADD("n%u -> n%u [style=dashed];\n", (unsigned)end->id, (unsigned)n->id);
  }
}

static void block(drawer *d, const sq_block *b, int depth) {
  for (uint32_t k = 0; k < b->args.n; k++) {
    indent(d, depth);
    ADD("a%u [shape=ellipse, label=\"%s", (unsigned)b->args.v[k]->id,
        b->owner ? "argument" : "input");
    label_value(d, b->args.v[k]);
    ADD("\"];\n");
  }
  for (uint32_t k = 0; k < b->nodes.n; k++) node(d, b->nodes.v[k], depth);
}

void sq_graph_dot(const sq_graph *g, const char *entry, sq_text *t) {
  drawer dr = {g, t}, *d = &dr;
  const sq_func *f = entry ? sq_func_find(g, entry) : NULL;
  for (uint32_t k = 0; !entry && !f && k < g->func.n; k++)
    if (g->func.v[k]->kind == SQ_FUNC_ENTRY) f = g->func.v[k];
  ADD("digraph \"");
  label_text(d, f && f->name ? f->name : "");
  ADD("\" {\n  node [fontname=\"Helvetica\", fontsize=10];\n");
  ADD("  edge [fontsize=8];\n");
  if (f) block(d, f->body, 1);
  ADD("}\n");
}
