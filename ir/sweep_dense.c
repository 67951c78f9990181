// Sweeps of states that read each other affinely. In: a sweep. Out: its members' slopes, and scalars for what
// they give where the states are 0; or what is not affine.
//
//   %p = generic (%h, %g, %a, %x, %t) { %a[t] * (%h - %g) + %x[t] }
// has the slopes  by %h: a[t],  by %g: -a[t],  and at 0 gives  x[t].
#include "ir/sweep_dense.h"
#include "ir/sweep_prefix.h"

typedef enum kind { FREE, LINE, NONE } kind; // of the states: no part of it; affine; anything
typedef struct form {
  kind kind;
  uint32_t zero; // LINE: the scalar where states are 0; NO_SCALAR: 0
} form;

typedef struct finder {
  sq_sweep *s;
  sq_newton *f;
  sq_sweep_nest *x; // present
  sq_generic *k;
  form *of; // per scalar of it
  const char *why;
} finder;

// ---- words -------------------------------------------------------------------------------------
static bool moves(const finder *w, uint32_t value) {
  uint32_t n = w->s->scan->n_carried;
  if (value == SQ_SWEEP_NONE) return false;
  return value < n ? w->f->first[value] != SQ_SWEEP_NONE : w->f->member[value - n].moves;
}

static form none(finder *w, const char *before, const char *after) {
  const char *state = "the state";
  for (uint32_t j = w->x->n->n_in; j-- > 0;) {
    uint32_t v = w->x->inner[j];
    if (moves(w, v) && w->s->value[v].v->name)
      state = sq_arena_fmt(w->s->g->arena, "`%s`", w->s->value[v].v->name);
  }
  if (!w->why) w->why = sq_arena_fmt(w->s->g->arena, "%s%s%s", before, state, after);
  return (form){NONE, SQ_NO_SCALAR};
}

// ---- scalars -----------------------------------------------------------------------------------
static uint32_t at_zero(const finder *w, uint32_t id) {
  return w->of[id].kind == FREE ? id : w->of[id].zero;
}

static uint32_t or_zero(finder *w, uint32_t id, sq_dtype type) {
  return id == SQ_NO_SCALAR ? sq_sc_float(w->s->g, w->k, type, 0) : id;
}

static form line(uint32_t zero) { return (form){LINE, zero}; }

static form negative(finder *w, uint32_t id) {
  if (id == SQ_NO_SCALAR) return line(id);
  return line(sq_sc_ewise(w->s->g, w->k, SQ_EW_NEG, id, SQ_NO_SCALAR));
}

static form sum(finder *w, sq_ewise e, uint32_t a, uint32_t b) {
  if (b == SQ_NO_SCALAR) return line(a);
  if (a == SQ_NO_SCALAR) return e == SQ_EW_SUB ? negative(w, b) : line(b);
  return line(sq_sc_ewise(w->s->g, w->k, e, a, b));
}

static form scaled(finder *w, sq_ewise e, uint32_t a, uint32_t b) {
  bool nothing = at_zero(w, a) == SQ_NO_SCALAR || at_zero(w, b) == SQ_NO_SCALAR;
  if (nothing) return line(SQ_NO_SCALAR);
  return line(sq_sc_ewise(w->s->g, w->k, e, at_zero(w, a), at_zero(w, b)));
}

static form of_ewise(finder *w, const sq_scalar *x) {
  uint32_t a = x->a[0], b = x->a[1];
  bool two = sq_ewise_table[x->ew].arity > 1, free_a = w->of[a].kind == FREE;
  bool free_b = two && w->of[b].kind == FREE;
  switch ((int)x->ew) {
  case SQ_EW_ADD:
  case SQ_EW_SUB:
    return sum(w, x->ew, at_zero(w, a), at_zero(w, b));
  case SQ_EW_NEG:
    return negative(w, at_zero(w, a));
  case SQ_EW_MUL:
    return free_a || free_b ? scaled(w, SQ_EW_MUL, a, b) : none(w, "", " multiplied by a state");
  case SQ_EW_DIV:
    return free_b ? scaled(w, SQ_EW_DIV, a, b) : none(w, "a division by ", "");
  default:
    return none(w, sq_arena_fmt(w->s->g->arena, "`%s` around ", sq_ewise_table[x->ew].name), "");
  }
}

static form of_select(finder *w, const sq_scalar *x) {
  uint32_t a = at_zero(w, x->a[1]), b = at_zero(w, x->a[2]);
  if (w->of[x->a[0]].kind != FREE) return none(w, "a choice by ", "");
  if (a == SQ_NO_SCALAR && b == SQ_NO_SCALAR) return line(a);
  a = or_zero(w, a, x->dtype);
  return line(sq_sc_select(w->s->g, w->k, x->a[0], a, or_zero(w, b, x->dtype)));
}

static form of_read(finder *w, const sq_scalar *x, uint32_t id) {
  uint32_t value = w->x->inner[x->operand], n = w->s->scan->n_carried;
  if (!moves(w, value)) return none(w, "a place that depends on ", "");
  if (x->guard != SQ_NO_SCALAR || x->other != SQ_NO_SCALAR)
    return none(w, "an element of ", " that is read on a condition");
  bool nothing = value < n || w->f->member[value - n].nothing;
  return line(nothing ? SQ_NO_SCALAR : id);
}

static uint32_t operands(const sq_scalar *x) {
  return x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
         : x->kind == SQ_SC_SELECT ? 3
         : x->kind == SQ_SC_CAST   ? 1
                                   : 0;
}

static kind worst(const finder *w, uint32_t id, kind k) {
  return id == SQ_NO_SCALAR || w->of[id].kind < k ? k : w->of[id].kind;
}

static form of_scalar(finder *w, uint32_t id) {
  const sq_scalar x = w->k->s.v[id];
  if (x.kind == SQ_SC_READ && moves(w, w->x->inner[x.operand])) return of_read(w, &x, id);
  if (x.kind == SQ_SC_ACC) {
    form f = w->of[w->k->body];
    return f.kind == LINE ? line(f.zero == SQ_NO_SCALAR ? f.zero : id) : f;
  }
  kind k = FREE;
  for (uint32_t j = 0; j < operands(&x); j++) k = worst(w, x.a[j], k);
  for (uint32_t j = 0; x.kind == SQ_SC_READ && j < x.n_pos; j++) k = worst(w, x.pos[j], k);
  if (x.kind == SQ_SC_READ) k = worst(w, x.other, worst(w, x.guard, k));
  if (k != LINE) return (form){k, SQ_NO_SCALAR};
  if (x.kind == SQ_SC_EWISE) return of_ewise(w, &x);
  if (x.kind == SQ_SC_SELECT) return of_select(w, &x);
  if (x.kind == SQ_SC_CAST) return none(w, "a conversion of ", "");
  return none(w, "a place that depends on ", "");
}

// ---- members -----------------------------------------------------------------------------------
static bool do_member(finder *w, uint32_t i) {
  sq_newton_member *m = &w->f->member[i];
  w->x = &w->s->member[i];
  sq_generic *k = w->k = w->x->n->g;
  uint32_t last = k->post == SQ_NO_SCALAR ? k->body : k->post;
  w->of = SQ_ARRAY(w->s->g->arena, form, k->s.n + 1);
  for (uint32_t j = 0; j <= last || j <= k->body; j++) w->of[j] = of_scalar(w, j);
  if (w->of[last].kind == NONE || w->of[k->body].kind == NONE) return false;
  m->zero = at_zero(w, k->body);
  m->zero_post = k->post == SQ_NO_SCALAR ? SQ_NO_SCALAR : at_zero(w, k->post);
  m->nothing = at_zero(w, last) == SQ_NO_SCALAR;
  return true;
}

sq_dense sq_dense_make(sq_sweep *s) {
  sq_dense d = {.f = sq_newton_make(s)};
  finder w = {.s = s, .f = &d.f};
  d.why = d.f.why;
  if (!d.why && d.f.n > SQ_DENSE_STATES)
    d.why = sq_arena_fmt(s->g->arena, "%u of a lane, more than %d", d.f.n, SQ_DENSE_STATES);
  d.f.affine = true;
  d.f.keeps = false; // nothing is done twice
  d.steady = true;
  for (uint32_t i = 0; i < s->n_member && !d.why; i++) {
    if (!d.f.member[i].now || !d.f.member[i].moves) continue;
    if (!do_member(&w, i)) d.why = w.why;
    d.steady = d.steady && sq_newton_steady(s, &d.f, i);
  }
  return d;
}

// ---- cost --------------------------------------------------------------------------------------
uint32_t sq_dense_turns(const sq_sweep *s, const sq_machine *m) {
  uint32_t w = sq_machine_lanes(m, sq_sweep_bytes(s));
  return w % 4 ? 0 : w;
}

// Cycles of one of a step's lanes: shuffles begin beside sums and products.
#define INSTRUCTION 0.35

// Instructions of four vectors of maps (codegen/cpu/sweep_dense.c).
static double instructions(const sq_dense *d, double w) {
  double n = d->f.n, steps = 0, numbers = d->steady ? n : n * n + n;
  double product = d->steady ? n * n : n * n * n + n * n;
  for (double turns = 1; turns < w; turns *= 2) steps++;
  double turned = 8 * (numbers + n), together = 3 * product + steps * (numbers + product);
  return turned + together + numbers + n + 6 * n * n + 8 * n;
}

double sq_dense_cost(sq_sweep *s, const sq_machine *m) {
  double lanes = 1, cross = sq_prefix_crossings(s, true);
  double w = sq_machine_lanes(m, sq_sweep_bytes(s)),
         step = sq_machine_step_lanes(m, sq_sweep_bytes(s));
  for (uint32_t c = 0; c < s->n_class; c++) {
    int64_t v;
    if (!s->lane[c]) continue;
    if (!sq_dim_is_const(s->g->dims, s->size[c], &v)) return 0;
    lanes *= (double)v;
  }
  sq_dense d = sq_dense_make(s);
  double maps = INSTRUCTION * instructions(&d, w) / 4 + sq_newton_work(s, &d.f);
  return lanes * (maps / step + cross);
}
