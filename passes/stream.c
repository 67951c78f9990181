// stream: attention becomes one operation that never has all scores at once.
//
//   %s = generic (%q, %k) [i < N, j < N] sum [e < 64] { %q[i, e] * %k[j, e]; post acc * 0.125; }
//   %m = generic (%s) [i < N] max [j < N] { where j <= i; %s[i, j] }
//   %x = generic (%s, %m) [i < N, j < N] { select(j <= i, exp(%s[i, j] - %m[i]), 0.0) }
//   %l = generic (%x) [i < N] sum [j < N] { %x[i, j] }
//   %p = generic (%x, %l) [i < N, j < N] { select(j <= i and 0.0 < %l[i], %x[i, j] / %l[i], 0.0) }
//   %o = generic (%p, %v) [i < N, c < 64] sum [j < N] { %p[i, j] * %v[j, c] }
// becomes
//   %o = stream {
//     %s = generic (%q, %k) [i < N, j < N] sum [e < 64] { %q[i, e] * %k[j, e]; post acc * 0.125; }
//     %m = generic (%s) [i < N] max [j < N] { where j <= i; %s[i, j] }
//     %w = generic (%s, %m) [i < N, j < N] { exp(%s[i, j] - %m[i]) }
//     %l = generic (%w) [i < N] sum [j < N] { where j <= i; %w[i, j] }
//     %u = generic (%w, %v, %l) [i < N, c < 64] sum [j < N] {
//       where j <= i; %w[i, j] * %v[j, c]; post select(0.0 < %l[i], acc / %l[i], 0.0); }
//     yield %u
//   }
//
// What does not depend on the key is applied once to the sum; masks become the domain of the sums, so
// that a key outside counts for nothing, whatever its value holds. Sums and maxima that others use
// become results too. Recognition is in stream_find.c, the parts are made in stream_make.c; the form is checked
// by sq_stream_parts.
#include "passes/stream.h"

typedef sq_attention_parts parts;

// ---- placing it --------------------------------------------------------------------------------
static bool is_part(const sq_attention *a, const sq_node *n) {
  if (n == a->score) return true;
  for (uint32_t k = 0; k < a->all.n; k++)
    if (a->all.v[k] == n) return true;
  return false;
}

typedef struct search {
  const sq_attention *a;
  const sq_value *v;
  sq_arena *arena;
  SQ_VEC(sq_node *) n;
} search;
static void find_user(sq_node *n, void *user) {
  search *s = user;
  if (is_part(s->a, n)) return;
  for (uint32_t k = 0; k < n->n_in; k++)
    if (n->in[k] == s->v) {
      sq_push(s->arena, &s->n, n);
      return;
    }
}

static search users_outside(const sq_attention *a, const sq_value *v) {
  search s = {.a = a, .v = v, .arena = a->g->arena};
  if (v) sq_walk(a->f->body, find_user, &s);
  return s;
}

static uint32_t place_of(const sq_block *b, sq_node *n) {
  n = sq_node_in_block(n, b);
  for (uint32_t k = 0; k < b->nodes.n; k++)
    if (b->nodes.v[k] == n) return k;
  return UINT32_MAX;
}

static sq_node *last_part(const sq_attention *a) { return a->all.v[a->all.n - 1]; }

// Elementwise work on statistics that only the parts used was taken into them: nobody needs it now.
static bool only_for_parts(const sq_attention *a, const sq_node *n, int depth) {
  if (n->op != SQ_OP_GENERIC || depth > 8 || !sq_node_is_elementwise(n)) return false;
  search s = users_outside(a, n->out[0]);
  for (uint32_t k = 0; k < s.n.n; k++)
    if (!only_for_parts(a, s.n.v[k], depth + 1)) return false;
  return true;
}

// May all be computed where the last part stands? NULL: yes; or why not.
static const char *misplaced(const parts *p) {
  const sq_attention *a = p->a;
  sq_node *last = last_part(a);
  const sq_block *b = last->block;
  uint32_t at = place_of(b, last);
  if (a->score != last && !sq_node_can_sink(a->score, last))
    return "something that it reads is written before its end";
  for (uint32_t k = 0; k < a->all.n; k++)
    if (a->all.v[k] != last && !sq_node_can_sink(a->all.v[k], last))
      return "something that it reads is written before its end";
  for (uint32_t o = 0; o < p->old.n; o++) {
    search s = users_outside(a, p->old.v[o]);
    for (uint32_t k = 0; k < s.n.n; k++)
      if (place_of(b, s.n.v[k]) < at && !only_for_parts(a, s.n.v[k], 0))
        return "a sum over the keys is used before the last one is taken";
  }
  for (uint32_t k = 0; k < p->node.n; k++)
    for (uint32_t j = 0; j < p->node.v[k]->n_in; j++) {
      const sq_value *v = p->node.v[k]->in[j];
      bool own = false;
      for (uint32_t m = 0; m < p->node.n; m++) own |= p->node.v[m]->out[0] == v;
      if (!own && v->id < a->n_known && a->tainted[v->id])
        return "a weight depends on something that is computed from all weights";
    }
  return NULL;
}

static void remove_unused(const sq_attention *a, sq_block *b) {
  for (uint32_t k = b->nodes.n; k-- > 0;) {
    sq_node *n = b->nodes.v[k];
    if (n->op != SQ_OP_GENERIC || !a->tainted[n->out[0]->id]) continue;
    if (!users_outside(a, n->out[0]).n.n) sq_node_remove(n);
  }
}

static sq_node *wrap(const parts *p) {
  const sq_attention *a = p->a;
  sq_node *n = sq_node_new(a->g, NULL, SQ_OP_STREAM, a->value->span, 0, NULL);
  sq_block *b = sq_node_region(a->g, n, a->f);
  for (uint32_t k = 0; k < p->node.n; k++) {
    p->node.v[k]->block = b;
    sq_push(a->g->arena, &b->nodes, p->node.v[k]);
  }
  sq_node *yield = sq_node_new(a->g, b, SQ_OP_YIELD, a->value->span, 0, NULL);
  for (uint32_t o = 0; o < p->old.n; o++) {
    if (!users_outside(a, p->old.v[o]).n.n) continue;
    sq_value *v = p->made.v[o];
    sq_node_result(a->g, n, v->type, v->name);
    sq_node_add_in(a->g, yield, v);
  }
  return n;
}

static void replace(const parts *p, sq_node *n) {
  const sq_attention *a = p->a;
  uint32_t at = 0;
  sq_block *b = a->score->block;
  sq_node_insert_before(last_part(a), n);
  for (uint32_t o = 0; o < p->old.n; o++) {
    if (!users_outside(a, p->old.v[o]).n.n) continue;
    sq_replace_uses(a->f, p->old.v[o], n->out[at++]);
  }
  for (uint32_t k = 0; k < a->all.n; k++) sq_node_remove(a->all.v[k]);
  sq_node_remove(a->score);
  remove_unused(a, b);
}

static const char *why_not(const parts *p, sq_node *n) {
  sq_stream s;
  const char *why = misplaced(p);
  if (!why) sq_stream_parts(p->a->g, n, &s, &why);
  return why;
}

// ---- the pass ----------------------------------------------------------------------------------
static const char *describe(sq_graph *g, const sq_node *stream) {
  sq_stream s;
  sq_text t = {.arena = g->arena};
  if (!sq_stream_parts(g, stream, &s, NULL)) return "attention";
  sq_stream_describe(g, &s, &t);
  return t.v;
}

void sq_attention_remark(sq_func *f, const sq_attention *a, const char *pass, bool fired,
                         const char *text) {
  sq_graph *g = a->g;
  const sq_node *end = a->value ? a->value : a->score;
  uint32_t last = end->span.mark;
  for (uint32_t k = 0; k < a->all.n + 2; k++) {
    const sq_node *part = k == 0 ? end : k == 1 ? a->score : a->all.v[k - 2];
    sq_node at = *part;
    if (k && (!part->span.mark || part->span.mark == last || part->span.mark == end->span.mark))
      continue;
    at.span = end->span;
    at.span.mark = last = part->span.mark;
    if (fired)
      sq_remark_add(g->ctx, pass, true, at.span, sq_pass_entry(f), "%s", text);
    else
      sq_pass_missed(g, f, pass, &at, part == end ? NULL : end, a->odd, text);
  }
}

static void report(sq_func *f, const sq_attention *a, const char *what, const char *why) {
  sq_arena *x = a->g->arena;
  sq_attention_remark(f, a, "stream", !why,
                      why ? sq_arena_fmt(x, "%s stays in parts: %s", what, why)
                          : sq_arena_fmt(x, "%s: no score is stored", what));
}

static bool try_score(sq_graph *g, sq_func *f, sq_node *score) {
  sq_attention a;
  sq_text t = {.arena = g->arena};
  if (!sq_attention_find(&a, g, f, score, false)) {
    const char *why = a.why;
    if (!why) return false;
    sq_attention_describe(&a, &t);
    report(f, &a, t.v, why);
    return false;
  }
  parts p = {.a = &a};
  sq_attention_make(&p);
  sq_node *n = wrap(&p);
  const char *why = why_not(&p, n), *what = describe(g, n);
  if (!why) replace(&p, n);
  report(f, &a, what, why);
  return !why;
}

static bool do_block(sq_graph *g, sq_func *f, sq_block *b) {
  bool any = false;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) any |= do_block(g, f, n->region[r]);
    if (n->op != SQ_OP_GENERIC || !try_score(g, f, n)) continue;
    any = true;
    k = k ? k - 1 : 0;
  }
  return any;
}

bool sq_pass_stream(sq_graph *g, const sq_pass_options *o) {
  bool any = false;
  for (uint32_t k = 0; k < g->func.n; k++) any |= do_block(g, g->func.v[k], g->func.v[k]->body);
  if (any) sq_pass_dce(g, o);
  return any;
}
