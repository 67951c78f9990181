// Arithmetic of linear forms: sums, products with what is free of the states, maxima, choices.
// In: forms of the operands. Out: the form of the result, or what makes it neither a sum of factor *
// state nor a maximum of such.
#include "passes/linear_inner.h"
#include <stdarg.h>

// ---- forms -------------------------------------------------------------------------------------
sq_linear sq_lin_free(uint32_t id) { return (sq_linear){.alg = SQ_ALG_FREE, .free = id}; }

__attribute__((format(printf, 3, 4))) sq_linear sq_lin_none(const sq_lspace *w, const sq_node *n,
                                                            const char *fmt, ...) {
  char text[200];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return (sq_linear){
      .alg = SQ_ALG_NONE, .why = sq_arena_str(w->g->arena, text, strlen(text)), .where = n->span};
}

void sq_lin_push(sq_lspace *w, sq_linear *f, sq_lterm t) { sq_push(w->g->arena, &f->term, t); }

static const sq_lterm blank = {.of = SQ_FREE_TERM, .factor = SQ_NO_SCALAR, .shift = SQ_NO_SCALAR};

sq_linear sq_lin_state(sq_lspace *w, uint32_t state, uint32_t n, const uint32_t *pos) {
  sq_linear f = {.alg = SQ_ALG_SUM};
  sq_lterm t = blank;
  t.of = state;
  t.n_pos = n;
  uint32_t *p = SQ_ARRAY(w->g->arena, uint32_t, n + 1);
  if (n) memcpy(p, pos, n * sizeof *p);
  t.pos = p;
  sq_lin_push(w, &f, t);
  return f;
}

const char *sq_lin_names(const sq_lspace *w, const sq_linear *f) {
  uint64_t seen = 0;
  sq_text t = {.arena = w->g->arena};
  for (uint32_t k = 0; k < f->term.n; k++) {
    uint32_t of = f->term.v[k].of;
    if (of == SQ_FREE_TERM || (of < 64 && seen >> of & 1)) continue;
    if (of < 64) seen |= 1ull << of;
    sq_text_add(&t, "%s`%s`", t.n ? ", " : "", sq_state_name(w->d, of));
  }
  return t.n ? t.v : "the state";
}

static uint32_t mul(sq_lspace *w, uint32_t a, uint32_t b) {
  if (a == SQ_NO_SCALAR) return b;
  if (b == SQ_NO_SCALAR) return a;
  return sq_maker_ewise(&w->m, SQ_EW_MUL, a, b);
}
static uint32_t plus(sq_lspace *w, uint32_t a, uint32_t b) {
  if (a == SQ_NO_SCALAR) return b;
  if (b == SQ_NO_SCALAR) return a;
  return sq_maker_ewise(&w->m, SQ_EW_ADD, a, b);
}
uint32_t sq_lin_constant(sq_lspace *w, sq_dtype t, double v) {
  return sq_is_float(t) ? sq_maker_float(&w->m, t, v) : sq_maker_int(&w->m, t, (int64_t)v);
}
// A value that never wins: the neutral element of max or min.
static uint32_t loser(sq_lspace *w, sq_dtype t, sq_algebra alg) {
  bool max = alg == SQ_ALG_MAX;
  if (sq_is_float(t)) return sq_maker_float(&w->m, t, max ? -__builtin_inf() : __builtin_inf());
  if (t == SQ_BOOL) return sq_maker_int(&w->m, t, !max);
  int bits = 8 * sq_dtype_table[t].bytes;
  int64_t low = t == SQ_U8 ? 0 : INT64_MIN >> (64 - bits), high = t == SQ_U8 ? 255 : ~low;
  return sq_maker_int(&w->m, t, max ? low : high);
}

sq_linear sq_lin_as_sum(sq_lspace *w, const sq_linear *f) {
  if (f->alg != SQ_ALG_FREE) return *f;
  sq_linear r = {.alg = SQ_ALG_SUM};
  sq_lterm t = blank;
  t.factor = f->free;
  sq_lin_push(w, &r, t);
  return r;
}

// A sum of one state term and of free ones as max (or min) of one term.
sq_linear sq_lin_as_extreme(sq_lspace *w, const sq_node *n, const sq_linear *f, sq_algebra alg) {
  if (f->alg == alg || f->alg == SQ_ALG_NONE) return *f;
  const char *word = alg == SQ_ALG_MAX ? "maximum" : "minimum";
  sq_linear r = {.alg = alg};
  sq_lterm t = blank;
  if (f->alg == SQ_ALG_FREE) {
    t.shift = f->free;
    sq_lin_push(w, &r, t);
    return r;
  }
  if (f->alg != SQ_ALG_SUM)
    return sq_lin_none(w, n, "a %s around a %s of %s", word,
                       alg == SQ_ALG_MAX ? "minimum" : "maximum", sq_lin_names(w, f));
  for (uint32_t k = 0; k < f->term.n; k++) {
    const sq_lterm *s = &f->term.v[k];
    if (s->bound || (s->of != SQ_FREE_TERM && t.of != SQ_FREE_TERM))
      return sq_lin_none(w, n, "a %s around a sum over %s", word, sq_lin_names(w, f));
    if (s->of == SQ_FREE_TERM) {
      t.shift = plus(w, t.shift, s->factor);
      continue;
    }
    uint32_t shift = t.shift;
    t = *s;
    t.shift = shift;
  }
  sq_lin_push(w, &r, t);
  return r;
}

static bool same_place(const sq_lterm *a, const sq_lterm *b) {
  if (a->of != b->of || a->n_pos != b->n_pos || a->bound || b->bound) return false;
  for (uint32_t k = 0; k < a->n_pos; k++)
    if (a->pos[k] != b->pos[k]) return false;
  return true;
}

static uint32_t one_of(sq_lspace *w, uint32_t factor, sq_dtype t) {
  return factor == SQ_NO_SCALAR ? sq_lin_constant(w, t, 1) : factor;
}

// ---- operations on forms -----------------------------------------------------------------------
static sq_linear add_free(sq_lspace *w, const sq_linear *f, uint32_t c) {
  sq_linear r = {.alg = f->alg};
  for (uint32_t k = 0; k < f->term.n; k++) {
    sq_lterm t = f->term.v[k];
    t.shift = plus(w, t.shift, c);
    sq_lin_push(w, &r, t);
  }
  return r;
}

sq_linear sq_lin_add(sq_lspace *w, const sq_node *n, const sq_linear *a, const sq_linear *b,
                     sq_dtype dtype) {
  bool extreme_a = a->alg == SQ_ALG_MAX || a->alg == SQ_ALG_MIN;
  bool extreme_b = b->alg == SQ_ALG_MAX || b->alg == SQ_ALG_MIN;
  if (extreme_a && b->alg == SQ_ALG_FREE) return add_free(w, a, b->free);
  if (extreme_b && a->alg == SQ_ALG_FREE) return add_free(w, b, a->free);
  if (extreme_a || extreme_b)
    return sq_lin_none(w, n, "a sum of states, one of them under a maximum (%s)",
                       sq_lin_names(w, extreme_a ? a : b));
  sq_linear r = sq_lin_as_sum(w, a), more = sq_lin_as_sum(w, b);
  for (uint32_t k = 0; k < more.term.n; k++) {
    const sq_lterm *t = &more.term.v[k];
    uint32_t at = 0;
    while (at < r.term.n && !same_place(&r.term.v[at], t)) at++;
    if (at == r.term.n || t->of == SQ_FREE_TERM) {
      sq_lin_push(w, &r, *t);
      continue;
    }
    sq_lterm *s = &r.term.v[at];
    s->factor = plus(w, one_of(w, s->factor, dtype), one_of(w, t->factor, dtype));
  }
  return r;
}

sq_linear sq_lin_negated(sq_lspace *w, const sq_linear *f, sq_dtype t) {
  sq_linear r = {.alg = f->alg == SQ_ALG_MAX   ? SQ_ALG_MIN
                        : f->alg == SQ_ALG_MIN ? SQ_ALG_MAX
                                               : f->alg};
  for (uint32_t k = 0; k < f->term.n; k++) {
    sq_lterm s = f->term.v[k];
    if (s.of != SQ_FREE_TERM || f->alg == SQ_ALG_SUM)
      s.factor = sq_maker_ewise(&w->m, SQ_EW_NEG, one_of(w, s.factor, t), SQ_NO_SCALAR);
    if (s.shift != SQ_NO_SCALAR) s.shift = sq_maker_ewise(&w->m, SQ_EW_NEG, s.shift, SQ_NO_SCALAR);
    sq_lin_push(w, &r, s);
  }
  return r;
}

sq_linear sq_lin_scaled(sq_lspace *w, const sq_node *n, const sq_linear *f, uint32_t c) {
  if (f->alg != SQ_ALG_SUM && !sq_lspace_positive(w, c))
    return sq_lin_none(w, n, "a factor that may be negative on a maximum or minimum of %s",
                       sq_lin_names(w, f));
  sq_linear r = {.alg = f->alg};
  for (uint32_t k = 0; k < f->term.n; k++) {
    sq_lterm t = f->term.v[k];
    if (t.of != SQ_FREE_TERM || f->alg == SQ_ALG_SUM) t.factor = mul(w, t.factor, c);
    if (t.shift != SQ_NO_SCALAR) t.shift = mul(w, t.shift, c);
    sq_lin_push(w, &r, t);
  }
  return r;
}

sq_linear sq_lin_extreme(sq_lspace *w, const sq_node *n, const sq_linear *a, const sq_linear *b,
                         sq_algebra alg) {
  sq_linear r = sq_lin_as_extreme(w, n, a, alg), more = sq_lin_as_extreme(w, n, b, alg);
  if (r.alg == SQ_ALG_NONE) return r;
  if (more.alg == SQ_ALG_NONE) return more;
  sq_linear all = {.alg = alg};
  for (uint32_t k = 0; k < r.term.n; k++) sq_lin_push(w, &all, r.term.v[k]);
  for (uint32_t k = 0; k < more.term.n; k++) sq_lin_push(w, &all, more.term.v[k]);
  return all;
}

// The terms of f where c holds (or does not), neutral elsewhere.
void sq_lin_push_where(sq_lspace *w, sq_linear *to, const sq_lterm *t, uint32_t c, bool holds,
                       sq_dtype type) {
  sq_lterm s = *t;
  uint32_t *part = to->alg == SQ_ALG_SUM ? &s.factor : &s.shift;
  uint32_t off = to->alg == SQ_ALG_SUM ? sq_lin_constant(w, type, 0) : loser(w, type, to->alg);
  uint32_t on = to->alg == SQ_ALG_SUM   ? one_of(w, *part, type)
                : *part == SQ_NO_SCALAR ? sq_lin_constant(w, type, 0)
                                        : *part;
  *part = holds ? sq_maker_select(&w->m, c, on, off) : sq_maker_select(&w->m, c, off, on);
  sq_lin_push(w, to, s);
}

sq_linear sq_lin_chosen(sq_lspace *w, const sq_node *n, uint32_t c, const sq_linear *a,
                        const sq_linear *b, sq_dtype type) {
  bool max = a->alg == SQ_ALG_MAX || b->alg == SQ_ALG_MAX;
  bool min = a->alg == SQ_ALG_MIN || b->alg == SQ_ALG_MIN;
  sq_algebra alg = max ? SQ_ALG_MAX : min ? SQ_ALG_MIN : SQ_ALG_SUM;
  sq_linear x = alg == SQ_ALG_SUM ? sq_lin_as_sum(w, a) : sq_lin_as_extreme(w, n, a, alg);
  sq_linear y = alg == SQ_ALG_SUM ? sq_lin_as_sum(w, b) : sq_lin_as_extreme(w, n, b, alg),
            r = {.alg = alg};
  if (x.alg == SQ_ALG_NONE) return x;
  if (y.alg == SQ_ALG_NONE) return y;
  bool *taken = SQ_ARRAY(w->g->arena, bool, y.term.n + 1);
  for (uint32_t k = 0; k < x.term.n; k++) {
    const sq_lterm *t = &x.term.v[k];
    uint32_t at = 0;
    while (at < y.term.n && (taken[at] || !same_place(t, &y.term.v[at]))) at++;
    if (alg != SQ_ALG_SUM || at == y.term.n) {
      sq_lin_push_where(w, &r, t, c, true, type);
      continue;
    }
    sq_lterm s = *t;
    taken[at] = true;
    uint32_t p = one_of(w, s.factor, type), q = one_of(w, y.term.v[at].factor, type);
    s.factor = sq_maker_select(&w->m, c, p, q);
    sq_lin_push(w, &r, s);
  }
  for (uint32_t k = 0; k < y.term.n; k++)
    if (!taken[k]) sq_lin_push_where(w, &r, &y.term.v[k], c, false, type);
  return r;
}

sq_linear sq_lin_converted(sq_lspace *w, const sq_node *n, const sq_linear *f, sq_dtype from,
                           sq_dtype to) {
  bool wider = sq_is_float(from) && sq_is_float(to) &&
               (sq_dtype_table[to].bytes > sq_dtype_table[from].bytes || to == from);
  if (!wider)
    return sq_lin_none(w, n, "a conversion of %s to %s", sq_lin_names(w, f),
                       sq_dtype_table[to].name);
  sq_linear r = {.alg = f->alg};
  for (uint32_t k = 0; k < f->term.n; k++) {
    sq_lterm t = f->term.v[k];
    if (t.factor != SQ_NO_SCALAR) t.factor = sq_maker_cast(&w->m, t.factor, to);
    if (t.shift != SQ_NO_SCALAR) t.shift = sq_maker_cast(&w->m, t.shift, to);
    sq_lin_push(w, &r, t);
  }
  return r;
}
