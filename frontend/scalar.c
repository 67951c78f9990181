// From trees to the scalar part of a generic: shared values, guards of reads, proofs or tests.
#include "frontend/lower.h"

void sq_gen_start(sq_low *L, sq_gen *G, sq_opcode op, sq_span span, uint32_t n_par, uint32_t n_red,
                  sq_ivar *const *axis) {
  *G = (sq_gen){.id = ++L->next_gen};
  if (n_par > SQ_MAX_RANK || n_par + n_red > 2 * SQ_MAX_RANK) {
    sq_low_error(L, span, "%u axes are more than the %u that are possible", n_par + n_red,
                 n_par > SQ_MAX_RANK ? SQ_MAX_RANK : 2 * SQ_MAX_RANK);
    n_par = n_par > SQ_MAX_RANK ? SQ_MAX_RANK : n_par;
    n_red = 0;
  }
  G->node = sq_node_new(L->g, NULL, op, span, 0, NULL);
  G->k = G->node->g = sq_generic_new(L->g, n_par, n_red);
  G->n_axis = n_par + n_red;
  for (uint32_t k = 0; k < G->n_axis; k++) {
    G->axis[k] = sq_ivar_root(axis[k]);
    sq_ivar_known(L, G->axis[k]);
    G->k->axis[k] = (sq_axis){G->axis[k]->extent, G->axis[k]->name};
  }
}

void sq_gen_place(sq_low *L, sq_gen *G) {
  sq_push(L->a, &L->b->nodes, G->node);
  G->node->block = L->b;
}

uint32_t sq_gen_operand(sq_low *L, sq_gen *G, sq_value *v) {
  sq_low_stale(L, v, G->node->span);
  return sq_node_add_in(L->g, G->node, v);
}

// ---- shared scalars ----------------------------------------------------------------------------

static bool same_scalar(const sq_scalar *a, const sq_scalar *b) {
  if (a->kind != b->kind || a->dtype != b->dtype || a->n_pos != b->n_pos || a->guard != b->guard ||
      a->other != b->other || a->site != b->site)
    return false;
  if (memcmp(a->a, b->a, sizeof a->a)) return false;
  if (a->n_pos && memcmp(a->pos, b->pos, a->n_pos * sizeof *a->pos)) return false;
  switch (a->kind) {
  case SQ_SC_FLOAT:
    return !memcmp(&a->f, &b->f, sizeof a->f);
  case SQ_SC_INT:
    return a->i == b->i;
  case SQ_SC_INDEX:
    return a->axis == b->axis;
  case SQ_SC_DIM:
    return sq_dim_same(a->dim, b->dim);
  case SQ_SC_READ:
    return a->operand == b->operand;
  case SQ_SC_EWISE:
    return a->ew == b->ew;
  case SQ_SC_SELECT:
  case SQ_SC_CAST:
  case SQ_SC_ACC:
    return true;
  }
  return false;
}

static uint32_t add(sq_low *L, sq_gen *G, sq_scalar s) {
  uint32_t n = G->k->s.n, first = n > 256 ? n - 256 : 0;
  for (uint32_t k = n; k-- > first;)
    if (same_scalar(&G->k->s.v[k], &s)) return k;
  return sq_scalar_add(L->g, G->k, s);
}

static sq_scalar blank(sq_scalar_kind kind, sq_dtype t) {
  return (sq_scalar){.kind = kind,
                     .dtype = t,
                     .a = {SQ_NO_SCALAR, SQ_NO_SCALAR, SQ_NO_SCALAR},
                     .guard = SQ_NO_SCALAR,
                     .other = SQ_NO_SCALAR,
                     .site = SQ_NO_SITE};
}

static uint32_t cast(sq_low *L, sq_gen *G, uint32_t a, sq_dtype t) {
  if (G->k->s.v[a].dtype == t) return a;
  sq_scalar s = blank(SQ_SC_CAST, t);
  s.a[0] = a;
  return add(L, G, s);
}

static uint32_t binary(sq_low *L, sq_gen *G, sq_ewise ew, uint32_t a, uint32_t b) {
  sq_scalar s = blank(SQ_SC_EWISE, SQ_BOOL);
  s.ew = ew;
  s.a[0] = a;
  s.a[1] = b;
  return add(L, G, s);
}

// The conjunction of the guards down to `stop`.
static uint32_t guard_scalar(sq_low *L, sq_gen *G, const sq_guard_list *g,
                             const sq_guard_list *stop) {
  if (!g || g == stop) return SQ_NO_SCALAR;
  uint32_t rest = guard_scalar(L, G, g->next, stop);
  uint32_t c = sq_gen_scalar(L, G, g->cond, g->next);
  if (g->negated) c = binary(L, G, SQ_EW_NOT, c, SQ_NO_SCALAR);
  return rest == SQ_NO_SCALAR ? c : binary(L, G, SQ_EW_AND, rest, c);
}

// ---- reads -------------------------------------------------------------------------------------

static bool has_data(sq_low *L, const sq_sx *e) {
  if (!e) return false;
  if (e->kind == SQ_SX_REDUCE || e->kind == SQ_SX_AXIS) return true;
  if (e->kind == SQ_SX_READ)
    return e->n_pos || e->v->id >= L->range.n || !L->range.v[e->v->id].hi.i ||
           L->range.v[e->v->id].data;
  for (int k = 0; k < 3; k++)
    if (has_data(L, e->a[k])) return true;
  return false;
}

typedef enum check { CHECK_NONE, CHECK_GUARD, CHECK_SITE } check;

static void wrong(sq_low *L, const sq_sx *pos, sq_dim lo, sq_dim hi, sq_dim extent, uint32_t axis,
                  sq_span span, bool write) {
  sq_diag *d =
      sq_low_error(L, span, "index out of range: `%s`, axis %u", sq_low_text(L, span), axis);
  if (sq_dim_same(lo, hi)) {
    sq_label(d, span, "index %s, but the axis has extent %s", sq_dim_str(L, lo),
             sq_dim_str(L, extent));
  } else {
    sq_label(d, span, "index %s .. %s, but the axis has extent %s", sq_dim_str(L, lo),
             sq_dim_str(L, hi), sq_dim_str(L, extent));
  }
  (void)pos;
  if (!write) sq_hint(d, "`%s else 0` gives a value to what lies outside", sq_low_text(L, span));
}

// Is the position inside, given the guards above `stop`; what must be done otherwise.
static check inside(sq_low *L, sq_sx *pos, sq_dim extent, const sq_guard_list *guards,
                    const sq_guard_list *stop, uint32_t axis, sq_span span, bool write) {
  if (sq_prove_inside(L, pos, extent, stop) == SQ_PROVED) return CHECK_NONE;
  if (guards != stop && sq_prove_inside(L, pos, extent, guards) == SQ_PROVED) return CHECK_GUARD;
  sq_dim lo, hi, last = sq_dim_sub(L->g->dims, extent, sq_dim_const(L->g->dims, 1));
  sq_dim zero = sq_dim_const(L->g->dims, 0);
  if (guards || L->branch || has_data(L, pos) || !sq_sx_bounds(L, pos, &lo, &hi)) return CHECK_SITE;
  if (sq_prove_le(L->g->dims, hi, last) == -1 || sq_prove_le(L->g->dims, zero, lo) == -1) {
    wrong(L, pos, lo, hi, extent, axis, span, write);
    return CHECK_NONE;
  }
  if (L->conditional || L->at_load || sq_size_moves(L, lo) || sq_size_moves(L, hi) ||
      sq_size_moves(L, last))
    return CHECK_SITE;
  const char *text = sq_low_text(L, span);
  sq_require_size(L, hi, last, false, span,
                  sq_arena_fmt(L->a, "index out of range: `%s`, axis %u: %s must be less than %s",
                               text, axis, sq_dim_str(L, hi), sq_dim_str(L, extent)));
  sq_require_size(L, zero, lo, false, span,
                  sq_arena_fmt(L->a, "index out of range: `%s`, axis %u: %s must not be negative",
                               text, axis, sq_dim_str(L, lo)));
  return CHECK_NONE;
}

static uint32_t read(sq_low *L, sq_gen *G, sq_sx *e, const sq_guard_list *guards) {
  sq_scalar s = blank(SQ_SC_READ, e->dtype);
  uint32_t pos[SQ_MAX_RANK];
  check worst = CHECK_NONE;
  uint32_t bad_axis = 0;
  for (uint32_t k = 0; k < e->n_pos; k++) {
    pos[k] = cast(L, G, sq_gen_scalar(L, G, e->pos[k], guards), SQ_I64);
    if (e->other) continue;
    check c = inside(L, e->pos[k], e->v->type.dim[k], guards, G->domain, k, e->span, false);
    if (c > worst) {
      worst = c;
      bad_axis = k;
    }
  }
  sq_low_stale(L, e->v, e->span);
  s.operand = sq_gen_operand(L, G, e->v);
  s.n_pos = e->n_pos;
  if (e->other) s.other = sq_gen_scalar(L, G, e->other, guards);
  if (worst != CHECK_NONE) s.guard = guard_scalar(L, G, guards, G->domain);
  if (worst == CHECK_SITE)
    s.site = sq_site_new(L->g, e->span, "index out of range: `%s`, axis %u",
                         sq_low_text(L, e->span), bad_axis);
  if (e->n_pos) {
    uint32_t *p = SQ_ARRAY(L->a, uint32_t, e->n_pos);
    memcpy(p, pos, e->n_pos * sizeof *p);
    s.pos = p;
  }
  if (s.site != SQ_NO_SITE) { // the same read twice: one test
    for (uint32_t k = 0; k < G->k->s.n; k++) {
      sq_scalar o = G->k->s.v[k];
      if (o.site == SQ_NO_SITE) continue;
      o.site = s.site;
      if (same_scalar(&o, &s)) return k;
    }
  }
  return add(L, G, s);
}

bool sq_needs_guards(sq_low *L, sq_sx *e, const sq_guard_list *inner) {
  if (!e) return false;
  switch (e->kind) {
  case SQ_SX_FLOAT:
  case SQ_SX_INT:
  case SQ_SX_DIM:
  case SQ_SX_IVAR:
    return false;
  case SQ_SX_READ:
    for (uint32_t k = 0; k < e->n_pos; k++) {
      if (sq_needs_guards(L, e->pos[k], inner)) return true;
      if (!e->other && sq_prove_inside(L, e->pos[k], e->v->type.dim[k], inner) != SQ_PROVED)
        return true;
    }
    return sq_needs_guards(L, e->other, inner);
  case SQ_SX_EWISE:
    if (sq_needs_guards(L, e->a[0], inner)) return true;
    if (e->ew == SQ_EW_AND || e->ew == SQ_EW_OR)
      inner = sq_guard_add(L, inner, e->a[0], e->ew == SQ_EW_OR);
    return sq_needs_guards(L, e->a[1], inner);
  case SQ_SX_SELECT:
    return sq_needs_guards(L, e->a[0], inner) ||
           sq_needs_guards(L, e->a[1], sq_guard_add(L, inner, e->a[0], false)) ||
           sq_needs_guards(L, e->a[2], sq_guard_add(L, inner, e->a[0], true));
  case SQ_SX_CAST:
    return sq_needs_guards(L, e->a[0], inner);
  case SQ_SX_REDUCE:
  case SQ_SX_AXIS:
    if (e->made) return false;
    for (uint32_t k = 0; k < e->n_where; k++) {
      if (sq_needs_guards(L, e->where[k], inner)) return true;
      inner = sq_guard_add(L, inner, e->where[k], false);
    }
    return sq_needs_guards(L, e->a[0], inner);
  }
  return false;
}

// ---- trees -------------------------------------------------------------------------------------

static uint32_t index_scalar(sq_low *L, sq_gen *G, sq_ivar *v, sq_span span) {
  v = sq_ivar_root(v);
  for (uint32_t k = 0; k < G->n_axis; k++)
    if (G->axis[k] == v) {
      sq_scalar s = blank(SQ_SC_INDEX, SQ_I64);
      s.axis = k;
      return add(L, G, s);
    }
  sq_low_error(L, span.file ? span : v->span, "index `%s` is not bound here",
               v->name ? v->name : "..");
  return sq_sc_int(L->g, G->k, SQ_I64, 0);
}

static uint32_t scalar(sq_low *L, sq_gen *G, sq_sx *e, const sq_guard_list *guards) {
  sq_scalar s;
  switch (e->kind) {
  case SQ_SX_FLOAT:
    s = blank(SQ_SC_FLOAT, e->dtype);
    s.f = e->f;
    return add(L, G, s);
  case SQ_SX_INT:
    s = blank(SQ_SC_INT, e->dtype);
    s.i = e->i;
    return add(L, G, s);
  case SQ_SX_DIM:
    s = blank(SQ_SC_DIM, SQ_I64);
    s.dim = e->dim;
    return add(L, G, s);
  case SQ_SX_IVAR:
    return index_scalar(L, G, e->iv, e->span);
  case SQ_SX_READ:
    return read(L, G, e, guards);
  case SQ_SX_EWISE: {
    s = blank(SQ_SC_EWISE, e->dtype);
    s.ew = e->ew;
    s.a[0] = sq_gen_scalar(L, G, e->a[0], guards);
    if (e->a[1]) {
      const sq_guard_list *g = guards;
      if (e->ew == SQ_EW_AND || e->ew == SQ_EW_OR)
        g = sq_guard_add(L, guards, e->a[0], e->ew == SQ_EW_OR);
      s.a[1] = sq_gen_scalar(L, G, e->a[1], g);
    }
    return add(L, G, s);
  }
  case SQ_SX_SELECT:
    s = blank(SQ_SC_SELECT, e->dtype);
    s.a[0] = sq_gen_scalar(L, G, e->a[0], guards);
    s.a[1] = sq_gen_scalar(L, G, e->a[1], sq_guard_add(L, guards, e->a[0], false));
    s.a[2] = sq_gen_scalar(L, G, e->a[2], sq_guard_add(L, guards, e->a[0], true));
    return add(L, G, s);
  case SQ_SX_CAST:
    return cast(L, G, sq_gen_scalar(L, G, e->a[0], guards), e->dtype);
  case SQ_SX_REDUCE:
  case SQ_SX_AXIS: {
    sq_ivars order = {G->axis, G->n_axis, G->n_axis};
    return sq_gen_scalar(L, G, sq_emit_inner(L, e, &order, guards), guards);
  }
  }
  return 0;
}

uint32_t sq_gen_scalar(sq_low *L, sq_gen *G, sq_sx *e, const sq_guard_list *guards) {
  if (e->memo_gen == G->id && e->memo_guard == guards) return e->memo;
  uint32_t r = scalar(L, G, e, guards);
  e->memo_gen = G->id;
  e->memo_guard = guards;
  e->memo = r;
  return r;
}

// ---- tests of written positions (used by emit.c) -----------------------------------------------

bool sq_write_needs_site(sq_low *L, sq_sx *pos, sq_dim extent, const sq_guard_list *guards,
                         uint32_t axis, sq_span span) {
  return inside(L, pos, extent, guards, guards, axis, span, true) == CHECK_SITE;
}
