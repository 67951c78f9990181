// siblings: products of the same rows become one kernel.
//
//   %q = generic (%x, %a) [n < N, j < 64] sum [c < C] { %x[n, c] * %a[j // 32, c, j % 32] }
//   %k = generic (%x, %b) [n < N, j < 64] sum [c < C] { %x[n, c] * %b[j // 32, c, j % 32]; post acc + %w[j] }
// becomes
//   %q, %k = group outer 0 { %q.1 = ... %k.1 = ... yield %q.1, %k.1 }
//
// The rows are laid out once and there is one launch; each member keeps its own weights, epilogue and
// result. They are found by what they are: the same operand, read alike, summed over the same range (see
// ir/contraction.h). The epilogue of one may read the element of another where its own goes, as in a gated
// layer: both are made by one task, in this order. What they multiply lies in panels of one kind, or there is a single row and it does
// not. Joining them loses nothing: where rows are few, launches and their ends are saved; where they are
// many, laying them out; panels of B come from as near as before, or are hidden by as many products.
//
// The group stands where its last member stood. Where that is too late, since a result is read before,
// later members are moved up to the others, if what they read is there by then.
#include "passes/internal.h"
#include "passes/questions.h"
#include <string.h>

enum { MOST = 16, LEAST_COLUMNS = 64, LEAST_DEPTH = 4 };

typedef struct sibling {
  sq_node *n;
  sq_contraction c;
  const sq_type *panels; // NULL: what it multiplies is read where it is
} sibling;
typedef struct family {
  sq_graph *g;
  const sq_func *f;
  bool *told; // by node id: that it stays for itself
  sibling member[MOST];
  uint32_t n;
  sq_node *at; // the member at whose place all can be
  bool changed;
} family;

// ---- candidates --------------------------------------------------------------------------------
static bool size_of(sq_graph *g, const sq_generic *k, uint32_t axes, int64_t *size) {
  *size = 1;
  for (uint32_t a = 0; a < k->n_par + k->n_red; a++) {
    int64_t e;
    if (!(axes >> a & 1)) continue;
    if (!sq_dim_is_const(g->dims, k->axis[a].extent, &e)) return false;
    if (__builtin_mul_overflow(*size, e, size)) return false;
  }
  return true;
}

// The panels that `pack` made of weights, if b reads such.
static const sq_type *panels_of(const sq_graph *g, const sq_node *n, uint32_t b) {
  const sq_scalar *s = &n->g->s.v[b];
  if (s->kind == SQ_SC_CAST) s = &n->g->s.v[s->a[0]];
  const sq_node *d = s->kind == SQ_SC_READ ? n->in[s->operand]->def : NULL;
  bool packed = d && d->op == SQ_OP_STATE_READ && g->state.v[d->ref].derived && s->n_pos >= 3;
  return packed ? &n->in[s->operand]->type : NULL;
}

static bool is_product(sq_graph *g, sq_node *n, sibling *s) {
  *s = (sibling){.n = n};
  if (n->op != SQ_OP_GENERIC || n->n_out != 1 || !sq_rows_of(g, n, &s->c)) return false;
  s->panels = panels_of(g, n, s->c.b);
  return true;
}

// Why a product is for itself; NULL: it may have siblings.
static const char *unfit(sq_graph *g, const sibling *s) {
  const sq_generic *k = s->n->g;
  int64_t rows, columns, depth;
  if (s->panels) return NULL;
  bool known = size_of(g, k, s->c.m, &rows) && size_of(g, k, s->c.n, &columns);
  if (!known || rows != 1)
    return "their weights are not in panels: they are few, their sizes do not fill vectors, or few "
           "rows read them";
  bool deep = !size_of(g, k, s->c.k, &depth) || depth >= LEAST_DEPTH;
  return deep && columns >= LEAST_COLUMNS ? NULL : "there is one row, and a product is small";
}

static bool candidate(sq_graph *g, sq_node *n, sibling *s) {
  return is_product(g, n, s) && !unfit(g, s);
}

// The value along which the rows lie: read at axes of the sum.
static const sq_value *rows_of(const sibling *s) {
  const sq_generic *k = s->n->g;
  const sq_scalar *a = &k->s.v[s->c.a];
  while (a->kind == SQ_SC_CAST) a = &k->s.v[a->a[0]];
  if (a->kind == SQ_SC_READ) return s->n->in[a->operand];
  for (uint32_t id = s->c.a + 1; id-- > 0;) // of an expression: whatever is read along the sum
    if (k->s.v[id].kind == SQ_SC_READ && sq_scalar_axes(k, id) & s->c.k)
      return s->n->in[k->s.v[id].operand];
  return NULL;
}

static const char *weights_differ(const sibling *x, const sibling *y) {
  if (!x->panels != !y->panels) return "the weights of one of them are not in panels";
  if (!x->panels) return NULL;
  bool same = x->panels->dtype == y->panels->dtype && x->panels->rank == y->panels->rank &&
              sq_dim_same(x->panels->dim[2], y->panels->dim[2]);
  return same ? NULL : "their weights are of other types";
}

// ---- moving ------------------------------------------------------------------------------------
static uint32_t index_of(const sq_block *b, const sq_node *n) {
  uint32_t k = 0;
  while (b->nodes.v[k] != n) k++;
  return k;
}

static bool is_member(const family *w, const sq_value *v) {
  for (uint32_t k = 0; k < w->n; k++)
    if (v->def == w->member[k].n) return true;
  return false;
}
static bool uses_member(const family *w, const sq_node *n) {
  for (uint32_t k = 0; k < n->n_in; k++)
    if (is_member(w, n->in[k])) return true;
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      if (uses_member(w, n->region[r]->nodes.v[k])) return true;
  return false;
}

// May all members wait until y? Else `obstacle` reads one of them.
static bool can_wait(const family *w, sq_node *y, const sq_node **obstacle) {
  const sq_block *b = y->block;
  for (uint32_t k = index_of(b, w->at) + 1; b->nodes.v[k] != y; k++)
    if (uses_member(w, b->nodes.v[k])) {
      *obstacle = b->nodes.v[k];
      return false;
    }
  for (uint32_t k = 0; k < w->n; k++)
    if (!sq_node_can_pass(w->member[k].n, w->at, y)) return false;
  return true;
}

static bool is_leaf(const sq_node *n) { return n->op == SQ_OP_PARAM || n->op == SQ_OP_STATE_READ; }
// Is v there before block b's node number `at`, or moves there with what reads it?
static bool is_there(const family *w, const sq_value *v, const sq_block *b, uint32_t at) {
  const sq_node *d = v->def;
  if (!d || d->block != b || is_member(w, v) || index_of(b, d) < at) return true;
  if (!is_leaf(d)) return false;
  for (uint32_t k = 0; k < d->n_in; k++)
    if (!is_there(w, d->in[k], b, at)) return false;
  return true;
}
// May y go to where the members are?
static bool can_join(const family *w, sq_node *y) {
  uint32_t at = index_of(y->block, w->at);
  for (uint32_t k = 0; k < y->n_in; k++)
    if (!is_there(w, y->in[k], y->block, at)) return false;
  return sq_node_can_pass(y, w->at, y);
}

// ---- gathering ---------------------------------------------------------------------------------
static void missed(const family *w, const sibling *y, const sq_node *obstacle, const char *why) {
  sq_text t = {.arena = w->g->arena};
  const sq_node *x = w->member[0].n;
  sq_text_add(&t, "stays apart from the product of the same rows");
  sq_say_place(w->g, x->span, y->n->span, " at ", &t, "");
  sq_text_add(&t, ": %s", why);
  if (obstacle) sq_say_place(w->g, obstacle->span, y->n->span, " at ", &t, "");
  sq_pass_missed(w->g, w->f, "siblings", y->n, x, obstacle, t.v);
}

static void consider(family *w, sibling *y) {
  const sibling *x = &w->member[0];
  const sq_value *rows = rows_of(x);
  const sq_node *obstacle = NULL;
  if (!rows || rows_of(y) != rows) return;
  const char *why = sq_rows_differ(w->g, x->n, &x->c, y->n, &y->c);
  for (uint32_t k = 0; k < w->n && !why; k++)
    if (sq_node_reads(y->n, w->member[k].n->out[0]) &&
        !sq_reads_own(w->g, w->member[k].n, &w->member[k].c, y->n, &y->c))
      why = "it reads other elements of its result than its own";
  if (!why) why = weights_differ(x, y);
  if (!why && w->n == MOST) why = "there are too many of them";
  if (why) {
    missed(w, y, NULL, why);
    return;
  }
  if (can_wait(w, y->n, &obstacle))
    w->at = y->n;
  else if (!can_join(w, y->n)) {
    missed(w, y, obstacle,
           obstacle ? "what it reads is made behind the use of that"
                    : "a state or a size changes between");
    return;
  }
  w->member[w->n++] = *y;
}

static bool of_weights(const sq_node *n, uint32_t b) {
  const sq_generic *k = n->g;
  for (uint32_t id = b + 1; id-- > 0;) {
    if (k->s.v[id].kind != SQ_SC_READ) continue;
    const sq_node *d = n->in[k->s.v[id].operand]->def;
    if (d && (d->op == SQ_OP_PARAM || d->op == SQ_OP_STATE_READ)) return true;
  }
  return false;
}

// Of products with weights that would be siblings, but for what the first or y is: said of y once.
static void tell(family *w, const sibling *x, const sibling *y) {
  const sq_value *rows = rows_of(x);
  const char *why = unfit(w->g, y);
  if (!why) why = unfit(w->g, x);
  if (!why || w->told[y->n->id] || !rows || rows_of(y) != rows) return;
  if (!of_weights(x->n, x->c.b) || !of_weights(y->n, y->c.b)) return;
  if (sq_node_reads(y->n, x->n->out[0]) || sq_rows_differ(w->g, x->n, &x->c, y->n, &y->c)) return;
  w->told[y->n->id] = true;
  w->member[0] = *x;
  missed(w, y, NULL, why);
}

// What a member multiplies the rows by, by the parameter's name.
static const char *weights_of(sq_graph *g, const sibling *s) {
  const sq_generic *k = s->n->g;
  for (uint32_t id = s->c.b + 1; id-- > 0;) {
    if (k->s.v[id].kind != SQ_SC_READ) continue;
    const sq_value *v = s->n->in[k->s.v[id].operand];
    if (v->def && v->def->op == SQ_OP_PARAM) return g->param.v[v->def->ref].name;
    if (!v->def || v->def->op != SQ_OP_STATE_READ) return v->name;
    const char *name = g->state.v[v->def->ref].name,
               *end = s->panels ? strstr(name, ".packed") : NULL;
    return end ? sq_arena_str(g->arena, name, (size_t)(end - name)) : name;
  }
  return NULL;
}

// ---- building ----------------------------------------------------------------------------------
static void bring(sq_value *v, sq_node *to) {
  sq_node *d = v->def;
  if (!d || d == to || d->block != to->block || index_of(to->block, d) < index_of(to->block, to))
    return;
  for (uint32_t k = 0; k < d->n_in; k++) bring(d->in[k], to);
  sq_node_remove(d);
  sq_node_insert_before(to, d);
}

static void build(family *w) {
  sq_graph *g = w->g;
  sq_func *f = w->at->block->func;
  sq_node *first = w->member[0].n, *group = sq_node_new(g, NULL, SQ_OP_GROUP, first->span, 0, NULL);
  sq_node_insert_before(w->at, group);
  sq_block *b = sq_node_region(g, group, f);
  sq_node *end = sq_node_new(g, NULL, SQ_OP_YIELD, first->span, 0, NULL);
  sq_text by_all = {.arena = g->arena};
  for (uint32_t k = 0; k < w->n; k++) {
    sq_node *m = w->member[k].n;
    for (uint32_t i = 0; i < m->n_in; i++) bring(m->in[i], group);
    sq_node_remove(m);
    m->block = b;
    sq_push(g->arena, &b->nodes, m);
    sq_value *inner = m->out[0];
    sq_replace_uses(f, inner, sq_node_result(g, group, inner->type, inner->name));
    sq_node_add_in(g, end, inner);
    const char *by = weights_of(g, &w->member[k]);
    sq_text_add(&by_all, by ? "%s`%s`" : "%s%s", k ? ", " : "", by ? by : "a value");
    if (m->span.begin != first->span.begin || m->span.file != first->span.file)
      sq_say_place(g, m->span, first->span, " at ", &by_all, "");
  }
  for (uint32_t k = 0; k < w->n; k++) // what members read of each other stays inside
    for (uint32_t i = 0; i < w->member[k].n->n_in; i++)
      for (uint32_t o = 0; o < group->n_out; o++)
        if (w->member[k].n->in[i] == group->out[o]) w->member[k].n->in[i] = end->in[o];
  end->block = b;
  sq_push(g->arena, &b->nodes, end);
  w->changed = true;
  sq_remark_add(g->ctx, "siblings", true, first->span, sq_pass_entry(w->f),
                "%u products of the same rows in one kernel: by %s", w->n, by_all.v);
}

static void do_block(family *w, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    sibling y;
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) do_block(w, n->region[r]);
    if (!is_product(w->g, n, &w->member[0])) continue;
    sibling x = w->member[0];
    for (uint32_t j = k + 1; j < b->nodes.n; j++)
      if (is_product(w->g, b->nodes.v[j], &y)) tell(w, &x, &y);
    w->n = 1;
    w->at = n;
    for (uint32_t j = k + 1; !unfit(w->g, &x) && j < b->nodes.n; j++)
      if (candidate(w->g, b->nodes.v[j], &y)) consider(w, &y);
    if (w->n < 2) continue;
    build(w);
    k--; // what stands there now has not been looked at
  }
}

bool sq_pass_siblings(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  bool any = false;
  for (uint32_t k = 0; k < g->func.n; k++) {
    family w = {.g = g, .f = g->func.v[k], .told = SQ_ARRAY(g->arena, bool, g->n_nodes + 1)};
    do_block(&w, w.f->body);
    any |= w.changed;
  }
  return any;
}
