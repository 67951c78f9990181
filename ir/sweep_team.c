// Which class of a sweep's axes a team of threads shares out, and how many threads it takes. In: a sweep
// with its lanes. Out: a team, or why there is none.
#include "ir/sweep_team.h"

enum { MOST = 1 << 20, WORK = 1500 };

static uint32_t size_of(const sq_sweep *s, uint32_t cls) {
  int64_t n;
  if (!sq_dim_is_const(s->g->dims, s->size[cls], &n) || n > MOST) return 0;
  return n < 0 ? 0 : (uint32_t)n;
}
uint32_t sq_sweep_team_share(const sq_sweep *s, const sq_sweep_team *t, uint32_t value) {
  const sq_sweep_value *v = &s->value[value];
  uint64_t n = 1;
  for (uint32_t a = 0; a < v->rank && n < MOST; a++) {
    if (s->lane[v->cls[a]]) continue;
    uint32_t size = size_of(s, v->cls[a]);
    n *= v->cls[a] == t->split ? (size + t->threads - 1) / t->threads : size;
  }
  return n < MOST ? (uint32_t)n : MOST;
}
static bool is_known(const sq_sweep *s) {
  for (uint32_t v = 0; v < s->n_value; v++)
    for (uint32_t a = 0; a < s->value[v].rank; a++)
      if (!s->lane[s->value[v].cls[a]] && !size_of(s, s->value[v].cls[a])) return false;
  return true;
}
static uint32_t elements(const sq_sweep *s, const sq_sweep_team *t) {
  uint64_t n = 0;
  for (uint32_t v = 0; v < s->n_value; v++) {
    bool wide = s->value[v].part.dtype == SQ_F64 || s->value[v].part.dtype == SQ_I64;
    n += (uint64_t)sq_sweep_team_share(s, t, v) * (wide ? 2 : 1);
  }
  return n < MOST ? (uint32_t)n : MOST;
}

// ---- may a class be shared out? ----------------------------------------------------------------
static uint32_t axes_of(const sq_sweep_nest *x, uint32_t cls) {
  uint32_t n = 0;
  for (uint32_t a = 0; a < x->n->g->n_par + x->n->g->n_red; a++) n += x->cls[a] == cls;
  return n;
}
// Reads of the sweep's values are at the nest's own index of the class.
static bool reads_own(const sq_sweep *s, const sq_sweep_nest *x, uint32_t cls) {
  const sq_generic *k = x->n->g;
  for (uint32_t i = 0; i < k->s.n; i++) {
    const sq_scalar *r = &k->s.v[i];
    if (r->kind != SQ_SC_READ || x->inner[r->operand] == SQ_SWEEP_NONE) continue;
    const sq_sweep_value *v = &s->value[x->inner[r->operand]];
    uint32_t at = 0;
    for (uint32_t a = 0; a < v->rank; a++) {
      if (s->lane[v->cls[a]]) continue;
      const sq_scalar *p = &k->s.v[r->pos[at++]];
      if (v->cls[a] == cls && (p->kind != SQ_SC_INDEX || x->cls[p->axis] != cls)) return false;
    }
  }
  return true;
}
static bool may_split(const sq_sweep *s, uint32_t cls) {
  for (uint32_t i = 0; i < s->n_member; i++)
    if (axes_of(&s->member[i], cls) > 1 || !reads_own(s, &s->member[i], cls)) return false;
  for (uint32_t v = 0; v < s->n_value; v++) {
    uint32_t n = 0;
    for (uint32_t a = 0; a < s->value[v].rank; a++) n += s->value[v].cls[a] == cls;
    if (n > 1) return false;
  }
  return true;
}
// The most threads that share out the class, and whether what they have then fits.
static bool try_class(const sq_sweep *s, uint32_t cls, sq_sweep_team *t) {
  t->split = cls;
  for (t->threads = 2; t->threads <= SQ_SWEEP_TEAM; t->threads *= 2) {
    t->elements = elements(s, t);
    if (t->elements <= SQ_SWEEP_SHARE) return true;
  }
  return false;
}

// A thread's operations in a turn wait for one another: more of them, and launches in every turn, which
// have the whole device, are as fast.
static sq_sweep_team tested(const sq_sweep *s, sq_sweep_team t) {
  if (sq_sweep_cost(s) > (double)WORK * t.threads)
    t.why = "a turn is more work than a thread should do alone";
  return t;
}
sq_sweep_team sq_sweep_team_make(const sq_sweep *s) {
  sq_sweep_team t = {.split = SQ_SWEEP_NONE, .threads = 1};
  if (s->why) return t.why = s->why, t;
  if (!is_known(s)) return t.why = "how large the parts of its states are is not known", t;
  t.elements = elements(s, &t);
  if (t.elements <= SQ_SWEEP_SHARE) return tested(s, t);
  for (uint32_t c = 0; c < s->n_class; c++) {
    sq_sweep_team split = t;
    if (!s->lane[c] && may_split(s, c) && try_class(s, c, &split)) return tested(s, split);
  }
  if (t.elements > SQ_SWEEP_MOST)
    return t.why = "its states are more than the registers of a team of threads hold", t;
  return tested(s, t);
}
