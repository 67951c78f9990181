// contract, second part: which contractions are attention. One factor is computed key by key, through
// elementwise work and statistics of its row, from the scores that another contraction makes.
//
//   %s = generic (%q, %k) [i < N, j < N] sum [e < 64] { %q[i, e] * %k[j, e] }
//   %m = generic (%s) [i < N] max [j < N] { where j <= i; %s[i, j] }
//   %p = generic (%s, %m) [i < N, j < N] { exp(%s[i, j] - %m[i]) }
//   %o = generic (%p, %v) [i < N, c < 64] sum [j < N] { where j <= i; %p[i, j] * %v[j, c] }
// ->
//   found attention: over j < N, weights: exponential of the scores at 1:6, max of each row, where j <= i
#include "passes/contract.h"

enum { PATH = 64 };

// A value, which of its axes counts the keys, and whether it is a factor of the weight.
typedef struct step {
  const sq_value *v;
  uint32_t axis;
  bool factor;
} step;

typedef struct path {
  sq_graph *g;
  step at[PATH]; // from the weights back to the scores
  uint32_t n;
  const sq_node *scores; // NULL: not found
  uint32_t scores_axis;
  bool exp;                  // a factor is an exponential
  bool sigmoid, relu, other; // functions on the way
  const sq_node *max, *sum;  // statistics of the row on the way
} path;

static void note_function(path *p, sq_ewise e, bool factor) {
  switch ((int)e) {
  case SQ_EW_EXP:
  case SQ_EW_EXP2:
    *(factor ? &p->exp : &p->other) = true;
    break;
  case SQ_EW_SIGMOID:
    p->sigmoid = true;
    break;
  case SQ_EW_MAX:
    p->relu = true;
    break;
  case SQ_EW_DIV:
  case SQ_EW_ADD:
  case SQ_EW_SUB:
  case SQ_EW_MUL:
  case SQ_EW_NEG:
    break;
  default:
    p->other |= sq_ewise_table[e].arity == 1 && e != SQ_EW_NOT;
  }
}

// Which axis of the operand counts along axis `a` of the loop nest; UINT32_MAX: none, or shifted.
static uint32_t axis_of_read(const sq_generic *k, const sq_scalar *read, uint32_t a) {
  for (uint32_t j = 0; j < read->n_pos; j++) {
    const sq_scalar *s = &k->s.v[read->pos[j]];
    while (s->kind == SQ_SC_CAST) s = &k->s.v[s->a[0]];
    if (s->kind == SQ_SC_INDEX && s->axis == a) return j;
  }
  return UINT32_MAX;
}

static void add_step(path *p, const sq_value *v, uint32_t axis, bool factor) {
  for (uint32_t j = 0; j < p->n; j++)
    if (p->at[j].v == v) return;
  if (p->n < PATH) p->at[p->n++] = (step){v, axis, factor};
}

enum { SEEN = 1, FACTOR = 2 };
static void collect(uint32_t id, void *user) { ((uint8_t *)user)[id] |= SEEN; }

static bool is_zero(const sq_generic *k, uint32_t id) {
  return k->s.v[id].kind == SQ_SC_FLOAT && k->s.v[id].f == 0;
}

// What of a factor is one: of a product all, of a quotient what is divided, where it is not 0.
static void pass_on(const sq_generic *k, const sq_scalar *s, uint8_t *seen) {
  bool negates = s->kind == SQ_SC_EWISE && s->ew == SQ_EW_NEG;
  bool times = s->kind == SQ_SC_EWISE && s->ew == SQ_EW_MUL;
  bool over = s->kind == SQ_SC_EWISE && s->ew == SQ_EW_DIV;
  if (times || over || negates || s->kind == SQ_SC_CAST) seen[s->a[0]] |= FACTOR;
  if (times) seen[s->a[1]] |= FACTOR;
  if (s->kind != SQ_SC_SELECT) return;
  if (is_zero(k, s->a[2])) seen[s->a[1]] |= FACTOR;
  if (is_zero(k, s->a[1])) seen[s->a[2]] |= FACTOR;
}

// Everything that scalar `root` of n reads along axis a goes onto the path.
static void follow(path *p, const sq_node *n, uint32_t root, uint32_t a, bool factor) {
  const sq_generic *k = n->g;
  uint8_t *seen = SQ_ARRAY(p->g->arena, uint8_t, k->s.n + 1);
  seen[root] = factor ? SEEN | FACTOR : SEEN;
  for (uint32_t id = root + 1; id-- > 0;) {
    if (!(seen[id] & SEEN)) continue;
    const sq_scalar *s = &k->s.v[id];
    bool own = seen[id] & FACTOR;
    if (s->kind == SQ_SC_READ) {
      uint32_t at = axis_of_read(k, s, a);
      if (at != UINT32_MAX) add_step(p, n->in[s->operand], at, own);
      continue; // positions and guards are no weights
    }
    if (s->kind == SQ_SC_EWISE) note_function(p, s->ew, own);
    if (own) pass_on(k, s, seen);
    if (s->kind == SQ_SC_SELECT) {
      seen[s->a[1]] |= SEEN;
      seen[s->a[2]] |= SEEN;
    } else {
      sq_scalar_refs(s, collect, seen);
    }
  }
}

static void walk(path *p) {
  for (uint32_t j = 0; j < p->n; j++) { // grows
    const sq_node *d = p->at[j].v->def;
    if (!d || d->op != SQ_OP_GENERIC || d->g->keyed || d->g->n_pos) continue;
    sq_contract c;
    if (sq_contract_find(p->g, d, &c)) {
      if (!p->scores) {
        p->scores = d;
        p->scores_axis = p->at[j].axis;
        if (d->g->post != SQ_NO_SCALAR) follow(p, d, d->g->post, p->at[j].axis, p->at[j].factor);
      }
    } else if (!d->g->n_red && p->at[j].axis < d->g->n_par) {
      follow(p, d, d->g->body, p->at[j].axis, p->at[j].factor);
    }
  }
}

// Reductions along the keys of what lies on the path.
static void statistics(path *p, const sq_block *b) {
  for (uint32_t i = 0; i < b->nodes.n; i++) {
    const sq_node *n = b->nodes.v[i];
    if (n->op != SQ_OP_GENERIC || !n->g->n_red || n->g->keyed) continue;
    for (uint32_t id = n->g->body + 1; id-- > 0;) {
      const sq_scalar *s = &n->g->s.v[id];
      if (s->kind != SQ_SC_READ) continue;
      for (uint32_t j = 0; j < p->n; j++) {
        const step *x = &p->at[j];
        if (n->in[s->operand] != x->v || x->axis >= s->n_pos) continue;
        const sq_scalar *q = &n->g->s.v[s->pos[x->axis]];
        if (q->kind != SQ_SC_INDEX || q->axis < n->g->n_par) continue;
        sq_contract c;
        if (sq_contract_find(p->g, n, &c)) continue;
        if (n->g->monoid == SQ_MAX && !p->max) p->max = n;
        if (n->g->monoid == SQ_SUM && !p->sum) p->sum = n;
      }
    }
  }
}

// Parameters and what is made of them at load: a layer's second product is no attention.
static bool is_weight(const sq_graph *g, const sq_value *v) {
  if (!v->def) return false;
  return v->def->op == SQ_OP_PARAM ||
         (v->def->op == SQ_OP_STATE_READ && g->state.v[v->def->ref].derived);
}

// Does something other than parameters stand beside the weights, key by key?
static bool has_values(const sq_contract *c, uint32_t weights, uint32_t a) {
  for (uint32_t j = 0; j < c->n_factor; j++) {
    if (j == weights || !(c->axes[j] >> a & 1)) continue;
    path p = {.g = c->g};
    follow(&p, c->n, c->factor[j], a, true);
    for (uint32_t i = 0; i < p.n; i++)
      if (!is_weight(c->g, p.at[i].v)) return true;
  }
  return false;
}

static const char *weights(const path *p) {
  if (p->exp && p->sum) return "softmax";
  bool more = p->sigmoid || p->relu || p->other;
  if (p->exp) return more ? "a function" : "exponential";
  if (p->sigmoid) return "sigmoid";
  if (p->other) return "a function";
  return p->relu ? "ReLU" : "linear";
}

void sq_contract_tell_attention(const sq_contract *c, const sq_func *f) {
  const sq_generic *k = c->n->g;
  for (uint32_t j = 0; j < c->n_factor; j++)
    for (uint32_t a = k->n_par; a < k->n_par + k->n_red; a++) {
      if (!has_values(c, j, a)) continue;
      path p = {.g = c->g};
      follow(&p, c->n, c->factor[j], a, true);
      walk(&p);
      if (!p.scores) continue;
      statistics(&p, c->n->block);
      sq_contract w = *c;
      w.t = (sq_text){.arena = c->g->arena};
      const char *name = k->axis[a].name;
      sq_text_add(&w.t, "over %s < %s, weights: %s of the scores", name ? name : "the keys",
                  sq_dim_source_text(c->g->dims, k->axis[a].extent), weights(&p));
      sq_say_place(c->g, p.scores->span, c->n->span, " at ", &w.t, "");
      if (p.max || p.sum)
        sq_text_add(&w.t, ", %s of each row",
                    p.max && p.sum ? "max and sum"
                    : p.max        ? "max"
                                   : "sum");
      const sq_node *domain = k->domain.n                   ? c->n
                              : p.max && p.max->g->domain.n ? p.max
                              : p.sum                       ? p.sum
                                                            : c->n;
      sq_contract_say_domain(&w, domain);
      if (c->scan)
        sq_text_add(&w.t, ", in each turn of a scan over %s",
                    sq_dim_source_text(c->g->dims, c->scan->extent));
      sq_remark_found(c->g->ctx, "attention", c->n->span, sq_pass_entry(f), w.t.v);
      return;
    }
}
