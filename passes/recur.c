// recur: says of each scan what it is, by its algebra, and what is read of its states.
//
//   %s.1, %y = scan extent N carried 1 (%s0) { (%t, %s)
//     %s.2 = generic ... { %a[i64(%t), c, n] * %s[c, n] + %b[i64(%t), c, n] }
//     %r = generic ... [c < 64] sum [n < 8] { %q[i64(%t), n] * %s.2[c, n] }
//     yield %s.2, %r }
// ->
//   found recur: scan over N: `s` affine, a factor for each c, n; `y` (4:10) sums over n of the new
//   `s`
//
// Changes nothing. Names appear in the text, and nowhere in the reasoning.
#include "passes/questions.h"
#include "passes/recurrence.h"

typedef struct teller {
  const sq_recurrence *r;
  sq_graph *g;
  sq_text t;
} teller;

static void name_state(teller *w, uint32_t k) {
  sq_text_add(&w->t, "`%s`", sq_state_name(&w->r->d, k));
}

// Names of the state's axes, where the operation that makes the next value has some.
static void axis_names(teller *w, uint32_t k, uint32_t axes) {
  const sq_node *next = sq_block_end(w->r->scan->region[0])->in[k]->def;
  bool first = true;
  for (uint32_t a = 0; a < 32; a++) {
    if (!(axes >> a & 1)) continue;
    bool own = next && next->op == SQ_OP_GENERIC && a < next->g->n_par && next->g->axis[a].name;
    sq_text_add(&w->t, "%s", first ? "" : ", ");
    if (own)
      sq_text_add(&w->t, "%s", next->g->axis[a].name);
    else
      sq_text_add(&w->t, "axis %u", a);
    first = false;
  }
}

// ---- components --------------------------------------------------------------------------------
static void say_sum(teller *w, const sq_component *c) {
  uint32_t k = c->state[0];
  switch (c->how) {
  case SQ_TRANS_IDENTITY:
    sq_text_add(&w->t, "a running sum");
    break;
  case SQ_TRANS_SCALAR:
    sq_text_add(&w->t, "affine, one factor");
    break;
  case SQ_TRANS_DIAGONAL:
    sq_text_add(&w->t, "affine, a factor for each ");
    axis_names(w, k, c->axes);
    break;
  case SQ_TRANS_BLOCK:
    sq_text_add(&w->t, "affine together, blocks of %u x %u", c->n, c->n);
    break;
  case SQ_TRANS_LOW_RANK:
    sq_text_add(&w->t, "affine, %srank %u along ", c->diagonal ? "diagonal plus " : "", c->rank);
    axis_names(w, k, c->along);
    break;
  case SQ_TRANS_DENSE:
    sq_text_add(&w->t, "affine, mixed along ");
    axis_names(w, k, c->along);
    break;
  case SQ_TRANS_PLACES:
    sq_text_add(&w->t, "affine, elements change places");
    break;
  case SQ_TRANS_KEPT:
  case SQ_TRANS_FRESH:
    break;
  }
  if (!c->outer[0]) return;
  sq_text_add(&w->t, ", adds products of ");
  axis_names(w, k, c->outer[0]);
  sq_text_add(&w->t, " and ");
  axis_names(w, k, c->outer[1]);
}

static void say_extreme(teller *w, const sq_component *c) {
  bool max = c->alg == SQ_ALG_MAX;
  const char *word = max ? "maximum" : "minimum";
  if (c->factors)
    sq_text_add(&w->t, "a %s of affine functions", word);
  else if (c->shifts || c->along)
    sq_text_add(&w->t, "%s-plus", max ? "max" : "min");
  else
    sq_text_add(&w->t, "a running %s", word);
  if (c->how == SQ_TRANS_BLOCK) sq_text_add(&w->t, " together");
  if (c->how == SQ_TRANS_PLACES) sq_text_add(&w->t, ", elements change places");
  if (!c->along) return;
  sq_text_add(&w->t, ", mixed along ");
  axis_names(w, c->state[0], c->along);
}

static void say_component(teller *w, const sq_component *c) {
  for (uint32_t j = 0; j < c->n; j++) {
    if (j) sq_text_add(&w->t, ", ");
    name_state(w, c->state[j]);
  }
  sq_text_add(&w->t, " ");
  if (c->alg == SQ_ALG_NONE) {
    sq_text_add(&w->t, "nonlinear: %s", c->why);
    sq_say_place(w->g, c->where, w->r->scan->span, " at ", &w->t, "");
  } else if (c->how == SQ_TRANS_KEPT) {
    sq_text_add(&w->t, "never changes");
  } else if (c->alg == SQ_ALG_FREE) {
    sq_text_add(&w->t, "does not depend on itself");
  } else if (c->alg == SQ_ALG_SUM) {
    say_sum(w, c);
  } else {
    say_extreme(w, c);
  }
  if (c->resets) sq_text_add(&w->t, ", with resets");
  if (!c->softmax) return;
  sq_text_add(&w->t, ", an online softmax with ");
  name_state(w, w->r->component[c->maximum].state[0]);
}

// ---- what is read of the states ----------------------------------------------------------------
typedef struct reads {
  const sq_node *scan;
  uint64_t before, after; // states as the turn finds and as it leaves them
  bool *seen;
  uint32_t n_values;
} reads;

static void reads_of_node(reads *r, const sq_node *n);
static void reads_of(reads *r, const sq_value *v) {
  const sq_block *b = r->scan->region[0];
  if (v->id >= r->n_values || r->seen[v->id]) return;
  r->seen[v->id] = true;
  if (!v->def) {
    if (v->block == b && v->index) r->before |= 1ull << (v->index - 1);
    return;
  }
  if (v->def->block != b) return;
  for (uint32_t k = 0; k < r->scan->n_carried; k++)
    if (sq_block_end(b)->in[k] == v) {
      r->after |= 1ull << k;
      return;
    }
  reads_of_node(r, v->def);
}
static void reads_of_node(reads *r, const sq_node *n) {
  for (uint32_t k = 0; k < n->n_in; k++) reads_of(r, n->in[k]);
  for (uint32_t j = 0; j < n->n_region; j++)
    for (uint32_t k = 0; k < n->region[j]->nodes.n; k++) reads_of_node(r, n->region[j]->nodes.v[k]);
}

static void say_states(teller *w, const reads *r) {
  bool first = true;
  for (int after = 0; after < 2; after++)
    for (uint32_t k = 0; k < r->scan->n_carried; k++) {
      if (!((after ? r->after : r->before) >> k & 1)) continue;
      sq_text_add(&w->t, "%s%s", first ? "" : ", ", after ? "the new " : "");
      name_state(w, k);
      first = false;
    }
}

// Axes of the states that are summed over.
static void say_sums(teller *w, const sq_lspace *space, const sq_linear *f) {
  bool first = true;
  for (uint32_t j = 0; j < f->term.n; j++) {
    const sq_lterm *t = &f->term.v[j];
    if (t->of == SQ_FREE_TERM) continue;
    uint32_t axes = 0, n = w->r->scan->n_carried;
    for (uint32_t i = 0; i < t->n_pos; i++)
      if (sq_lterm_place(space, t, i) == SQ_PLACE_SUMMED) axes |= 1u << i;
    if (!axes) continue;
    if (!first) sq_text_add(&w->t, ", ");
    axis_names(w, t->of < n ? t->of : t->of - n, axes);
    first = false;
  }
}

static bool is_sum_over(const sq_lspace *space, const sq_linear *f) {
  for (uint32_t j = 0; j < f->term.n; j++)
    for (uint32_t i = 0; f->term.v[j].of != SQ_FREE_TERM && i < f->term.v[j].n_pos; i++)
      if (sq_lterm_place(space, &f->term.v[j], i) == SQ_PLACE_SUMMED) return true;
  return false;
}

static bool is_plain(const sq_lspace *space, const sq_linear *f) {
  if (f->alg != SQ_ALG_SUM || f->term.n != 1) return false;
  const sq_lterm *t = &f->term.v[0];
  if (t->of == SQ_FREE_TERM || t->factor != SQ_NO_SCALAR) return false;
  for (uint32_t i = 0; i < t->n_pos; i++)
    if (sq_lterm_place(space, t, i) != SQ_PLACE_OWN) return false;
  return true;
}

static void say_emit(teller *w, uint32_t k) {
  const sq_node *scan = w->r->scan;
  sq_value *v = sq_block_end(scan->region[0])->in[k];
  reads r = {.scan = scan, .n_values = w->g->n_values};
  r.seen = SQ_ARRAY(w->g->arena, bool, w->g->n_values + 1);
  reads_of(&r, v);
  if (!r.before && !r.after) return;
  const char *name = scan->out[k]->name ? scan->out[k]->name : v->name ? v->name : "an output";
  sq_text_add(&w->t, "; `%s`", name);
  if (v->def) sq_say_place(w->g, v->def->span, scan->span, " (", &w->t, ")");
  sq_lspace *space = sq_lspace_make(&w->r->d, UINT64_MAX, true, v->type);
  sq_linear f = sq_linear_of(space, v);
  bool sums = f.alg != SQ_ALG_NONE && is_sum_over(space, &f);
  sq_text_add(&w->t, is_plain(space, &f) ? " is " : sums ? " sums over " : " reads ");
  if (sums) {
    say_sums(w, space, &f);
    sq_text_add(&w->t, " of ");
  }
  say_states(w, &r);
  if (f.alg == SQ_ALG_NONE) sq_text_add(&w->t, " (%s)", f.why);
}

// ---- the pass ----------------------------------------------------------------------------------
static void tell(sq_graph *g, const sq_func *f, sq_node *scan) {
  sq_recurrence r = sq_recurrence_make(g, scan);
  teller w = {.r = &r, .g = g, .t = {.arena = g->arena}};
  sq_text_add(&w.t, "%sscan over %s: ", scan->flag & 1 ? "reversed " : "",
              sq_dim_source_text(g->dims, scan->extent));
  if (!r.known) sq_text_add(&w.t, "carries more than %d values", SQ_MAX_STATES);
  if (!scan->n_carried) sq_text_add(&w.t, "carries nothing");
  for (uint32_t k = 0; k < r.n_component; k++) {
    if (k) sq_text_add(&w.t, "; ");
    say_component(&w, &r.component[k]);
  }
  for (uint32_t k = scan->n_carried; r.known && k < scan->n_out; k++) say_emit(&w, k);
  sq_remark_found(g->ctx, "recur", scan->span, sq_pass_entry(f), w.t.v);
}

static void do_block(sq_graph *g, const sq_func *f, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (n->op == SQ_OP_SCAN) tell(g, f, n);
    for (uint32_t r = 0; r < n->n_region; r++) do_block(g, f, n->region[r]);
  }
}

bool sq_pass_recur(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  for (uint32_t k = 0; k < g->func.n; k++) do_block(g, g->func.v[k], g->func.v[k]->body);
  return false;
}
