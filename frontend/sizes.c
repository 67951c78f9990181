// The last test of a lowered graph: no extent is negative, and every array has a size that can be
// counted in bytes. Sizes come from constants of the model, so a number with some zeros too many
// ends here, as a diagnostic.
#include "frontend/lower.h"

// Below what a machine can address, with room for a factor of the passes.
#define MOST_BYTES ((int64_t)1 << 56)

typedef struct sizes {
  sq_low *L;
  sq_span span; // of what has the type
  bool reported;
} sizes;

// A size that went beyond 63 bits with a symbol in it has no value.
static bool no_value(const sq_dims *ds, sq_dim d) {
  const sq_dim_node *n = sq_dim_at(ds, d);
  int64_t c;
  return n->kind == SQ_DIM_FLOORDIV && sq_dim_is_const(ds, n->b, &c) && c == 0;
}

// The extents that are known multiply to what can be stored; the others are counted at run time.
static bool fits(sq_low *L, sq_type t) {
  int64_t bytes = sq_dtype_table[t.dtype].bytes, c;
  for (uint32_t k = 0; k < t.rank; k++) {
    if (no_value(L->g->dims, t.dim[k])) return false;
    if (!sq_dim_is_const(L->g->dims, t.dim[k], &c)) {
      if (sq_dim_low(L->g->dims, t.dim[k]) >= MOST_BYTES) return false;
    } else if (c == INT64_MAX || c < 0 || (c > 0 && __builtin_mul_overflow(bytes, c, &bytes)) ||
               bytes > MOST_BYTES) {
      return false;
    }
  }
  return true;
}

static bool negative(sq_low *L, sq_type t, int64_t *c) {
  for (uint32_t k = 0; k < t.rank; k++)
    if (sq_dim_is_const(L->g->dims, t.dim[k], c) && *c < 0 && *c > INT64_MIN) return true;
  return false;
}

static void test(sizes *s, sq_type t, sq_span span, const char *what) {
  int64_t c;
  if (s->reported) return;
  if (negative(s->L, t, &c)) {
    s->reported = true;
    sq_low_error(s->L, span, "%s has an axis of %lld elements", what, (long long)c);
  }
  if (s->reported || fits(s->L, t)) return;
  s->reported = true; // what is computed from it is too large as well
  sq_diag *e = sq_low_error(s->L, span, "%s is larger than any memory", what);
  sq_hint(e, "are the constants of the model what they should be?");
}

static void of_node(sq_node *n, void *user) {
  sizes *s = user;
  sq_span span = n->span.file ? n->span : s->span;
  for (uint32_t k = 0; k < n->n_out; k++) test(s, n->out[k]->type, span, "an array here");
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->args.n; k++)
      test(s, n->region[r]->args.v[k]->type, span, "an array here");
}

void sq_low_sizes(sq_low *L) {
  sizes s = {.L = L};
  sq_graph *g = L->g;
  for (uint32_t k = 0; k < g->param.n; k++)
    test(&s, g->param.v[k].type, g->param.v[k].span, "the parameter");
  for (uint32_t k = 0; k < g->state.n; k++)
    test(&s, g->state.v[k].type, g->state.v[k].span, "the state");
  for (uint32_t k = 0; k < g->func.n; k++) {
    sq_func *f = g->func.v[k];
    s.span = f->span;
    for (uint32_t i = 0; i < f->body->args.n; i++)
      test(&s, f->body->args.v[i]->type, f->span, "an input");
    sq_walk(f->body, of_node, &s);
  }
}
