// Members of a sweep with their slopes, for vectors of turns; the Jacobian of each turn; affine maps.
//
//   member = body(reads)           slope_j = sum over reads of  by_read * slope_j(read)
//   sum over r of body_r           slope_j = sum over r of those of body_r
#include "codegen/cpu/sweep_newton.h"

static bool wanted(const sq_newton *f, uint32_t i, sq_swhen when) {
  const sq_newton_member *m = &f->member[i];
  if (when == SQ_SLATER) return m->later;
  if (when == SQ_SNOW) return m->now; // LLVM drops what nothing asks for any more
  return m->now && f->keeps && (!m->moves || m->kept.n || m->kept_post.n);
}

sq_sjacobian sq_sjacobian_make(sq_semit *e, const sq_newton *f, sq_swhen when) {
  sq_kern *k = e->k;
  const sq_sweep *s = e->s;
  sq_sjacobian x = {
      .e = e, .k = k, .s = s, .f = f, .w = e->turns, .n = f->n, .sets = e->sets, .when = when};
  x.member = SQ_ARRAY(k->a, sq_sunrolled, s->n_member + 1);
  x.slope = SQ_ARRAY(k->a, sq_lv *, s->n_value + 1);
  for (uint32_t i = 0; i < s->n_member; i++) {
    if (!wanted(f, i, when)) continue;
    x.member[i] = sq_sunroll(e, &s->member[i]);
    sq_sunrolled_hoist(&x.member[i], x.sets);
  }
  for (uint32_t j = 0; j < s->scan->n_carried; j++) {
    uint32_t count = sq_splan_elements(s, j), all = count * x.sets;
    if (f->first[j] == SQ_SWEEP_NONE) continue;
    LLVMTypeRef t = sq_k_vec(sq_k_type(k, s->value[j].part.dtype), x.w);
    x.type = t;
    x.slope[j] = SQ_ARRAY(k->a, sq_lv, all * x.n + 1);
    for (uint32_t i = 0; i < all; i++)
      x.slope[j][i * x.n + f->first[j] + i % count] = sq_k_flike(t, 1);
  }
  return x;
}

void sq_sjacobian_forget(sq_sjacobian *x) {
  for (uint32_t i = 0; i < x->s->n_member; i++)
    if (x->member[i].x) sq_sunrolled_forget(&x->member[i], x->sets);
}

// ---- slopes ------------------------------------------------------------------------------------
static sq_lv as_type(const sq_sjacobian *x, sq_lv v, sq_dtype t) {
  LLVMTypeRef want = sq_k_vec(sq_k_type(x->k, t), x->w);
  return LLVMTypeOf(v) == want ? v : LLVMBuildFPCast(x->k->b, v, want, "");
}

void sq_sslope_add(const sq_sjacobian *x, sq_lv by, sq_lv of, sq_lv *to) {
  *to = *to ? sq_k_fma(x->k, by, of, *to) : sq_k_fmul(x->k, by, of);
}

// acc: slopes of the accumulator. where: NULL, or in which lanes there is anything.
static void add_terms(const sq_sjacobian *x, sq_knest *t, const sq_newton_terms *terms,
                      const sq_lv *acc, sq_lv where, sq_dtype type, sq_lv *to) {
  const sq_selement *el = (const sq_selement *)t;
  for (uint32_t i = 0; i < terms->v.n; i++) {
    const sq_scalar *r = &t->g->s.v[terms->v.v[i].read];
    const sq_lv *of = acc;
    if (r->kind == SQ_SC_READ) {
      uint32_t v = el->x->inner[r->operand];
      uint32_t at = el->set * sq_splan_elements(x->s, v) + sq_selement_place(t, r);
      of = x->slope[v] ? x->slope[v] + (size_t)at * x->n : NULL;
    }
    if (!of) continue;
    sq_lv by = sq_k_splat(x->k, sq_knest_value(t, terms->v.v[i].by), x->w);
    if (where) by = LLVMBuildSelect(x->k->b, where, by, LLVMConstNull(LLVMTypeOf(by)), "");
    by = as_type(x, by, type);
    for (uint32_t j = 0; j < x->n; j++)
      if (of[j]) sq_sslope_add(x, by, as_type(x, of[j], type), &to[j]);
  }
}

static bool never(sq_lv c) { return LLVMIsConstant(c) && LLVMIsNull(c); }

static void slopes_of_sum(const sq_sjacobian *x, uint32_t i, uint32_t at, sq_lv *to) {
  const sq_sunrolled *u = &x->member[i];
  const sq_generic *g = u->x->n->g;
  for (uint32_t r = 0; r < u->red; r++) {
    sq_knest *t = &u->at[at * u->red + r]->t;
    sq_lv where = NULL;
    bool skip = false;
    for (uint32_t d = 0; d < g->domain.n && !skip; d++) {
      sq_lv c = sq_knest_value(t, g->domain.v[d]);
      skip = never(c);
      where = sq_k_and(x->k, where, c);
    }
    if (skip) continue;
    if (where) where = sq_k_splat(x->k, where, x->w);
    add_terms(x, t, &x->f->member[i].body, NULL, where, g->s.v[g->body].dtype, to);
  }
}

static void slopes_of_element(const sq_sjacobian *x, uint32_t i, uint32_t at, sq_lv *to) {
  const sq_sunrolled *u = &x->member[i];
  const sq_generic *g = u->x->n->g;
  sq_lv inner[SQ_NEWTON_UNKNOWNS] = {0}, *body = g->post == SQ_NO_SCALAR ? to : inner;
  slopes_of_sum(x, i, at, body);
  if (g->post == SQ_NO_SCALAR) return;
  sq_knest *t = g->n_red ? &u->post[at]->t : &u->at[at]->t;
  add_terms(x, t, &x->f->member[i].post, inner, NULL, g->s.v[g->post].dtype, to);
}

// ---- what is kept from the first iteration -----------------------------------------------------
// Number `slot` of a set, at the at-th turn.
static sq_lv kept_pointer(const sq_sjacobian *x, uint32_t slot, uint32_t set, sq_lv at) {
  int64_t first =
      (int64_t)x->e->p->guess + 8 * SQ_SNEWTON_STRETCH * (SQ_NEWTON_UNKNOWNS + (int64_t)slot);
  at = LLVMBuildAdd(x->k->b, at, sq_k_int(x->k, (int64_t)set * x->w), "");
  at = LLVMBuildAdd(x->k->b, LLVMBuildShl(x->k->b, at, sq_k_int(x->k, 3), ""),
                    sq_k_int(x->k, first), "");
  return LLVMBuildGEP2(x->k->b, x->k->i8, x->e->scratch, &at, 1, "");
}

static void keep(const sq_sjacobian *x, sq_selement *el, uint32_t id, uint32_t slot, sq_lv at) {
  sq_knest *t = &el->t;
  sq_dtype type = sq_semit_kept(t->g->s.v[id].dtype);
  sq_lv to = kept_pointer(x, slot, el->set, at);
  if (x->when == SQ_SBEFORE)
    sq_k_store_row(x->k, type, to, sq_k_splat(x->k, sq_knest_value(t, id), x->w), NULL);
  else
    sq_knest_put(t, id, sq_k_load_row(x->k, type, to, x->w, NULL));
}

// All of a member, from number `slot` on; gives the number behind.
static uint32_t keep_all(const sq_sjacobian *x, uint32_t i, uint32_t slot, sq_lv at) {
  const sq_newton_member *m = &x->f->member[i];
  const sq_sunrolled *u = &x->member[i];
  uint32_t each = u->par * u->red;
  for (uint32_t j = 0; j < m->kept.n; j++)
    for (uint32_t o = 0; o < x->sets * each; o++)
      keep(x, u->at[o], m->kept.v[j], slot + j * each + o % each, at);
  slot += m->kept.n * each;
  for (uint32_t j = 0; j < m->kept_post.n; j++)
    for (uint32_t o = 0; o < x->sets * u->par; o++)
      keep(x, u->post[o], m->kept_post.v[j], slot + j * u->par + o % u->par, at);
  return slot + m->kept_post.n * u->par;
}

// ---- members -----------------------------------------------------------------------------------
static sq_lv element(const sq_sjacobian *x, uint32_t i, uint32_t at) {
  const sq_newton_member *m = &x->f->member[i];
  const sq_sunrolled *u = &x->member[i];
  bool zero = x->f->affine && m->moves && x->when == SQ_SNOW;
  if (!zero) return sq_sunrolled_element(x->e, u, at);
  sq_dtype type = x->s->value[u->x->value].v->type.dtype;
  if (m->nothing) return LLVMConstNull(sq_k_vec(sq_k_type(x->k, type), x->w));
  return sq_sunrolled_of(x->e, u, at, m->zero, m->zero_post);
}

static void one_member(sq_sjacobian *x, uint32_t i) {
  sq_semit *e = x->e;
  sq_sunrolled *u = &x->member[i];
  uint32_t value = x->s->member[i].value, all = x->sets * u->par;
  e->value[value] = SQ_ARRAY(x->k->a, sq_lv, all + 1);
  for (uint32_t j = 0; j < all; j++) e->value[value][j] = element(x, i, j);
  if (x->when == SQ_SLATER || !x->f->member[i].moves) return;
  x->slope[value] = SQ_ARRAY(x->k->a, sq_lv, all * x->n + 1);
  for (uint32_t j = 0; j < all; j++) slopes_of_element(x, i, j, &x->slope[value][j * x->n]);
}

void sq_sjacobian_members(sq_sjacobian *x, sq_lv t, sq_lv at) {
  uint32_t slot = 0;
  for (uint32_t i = 0; i < x->s->n_member; i++) {
    bool moves = x->f->member[i].moves;
    if (!x->member[i].x) continue;
    sq_sunrolled_open(&x->member[i], x->sets, t);
    if (moves && x->f->keeps && x->when != SQ_SLATER) slot = keep_all(x, i, slot, at);
    if (!moves || x->when != SQ_SBEFORE) one_member(x, i);
  }
}

void sq_sjacobian_next(const sq_sjacobian *x, uint32_t set, sq_lv *next, sq_smap *m) {
  *m = (sq_smap){0};
  for (uint32_t k = 0; k < x->s->scan->n_carried; k++) {
    uint32_t v = x->s->next[k], at = x->f->first[k];
    uint32_t count = sq_splan_elements(x->s, k), from = set * count;
    for (uint32_t j = 0; at != SQ_SWEEP_NONE && j < count; j++) {
      next[at + j] = sq_k_splat(x->k, x->e->value[v][from + j], x->w);
      for (uint32_t i = 0; x->slope[v] && i < x->n; i++)
        m->by[at + j][i] = x->slope[v][(from + j) * x->n + i];
    }
  }
}

// ---- maps --------------------------------------------------------------------------------------
void sq_smap_apply(const sq_sjacobian *x, const sq_smap *m, const sq_lv *d, sq_lv *to) {
  for (uint32_t i = 0; i < x->n; i++) {
    to[i] = m->other[i];
    for (uint32_t j = 0; j < x->n; j++)
      if (m->by[i][j]) to[i] = sq_k_fma(x->k, m->by[i][j], d[j], to[i]);
  }
}

// The map at the end of the first half, in the second half of each 2 * half turns.
static sq_smap first_half(const sq_sjacobian *x, const sq_smap *m, uint32_t half) {
  sq_smap f = {0};
  sq_lv zero = LLVMConstNull(x->type);
  for (uint32_t i = 0; i < x->n; i++) {
    f.other[i] = sq_sturn_first_half(x->e, m->other[i], zero, half);
    for (uint32_t j = 0; j < x->n; j++) {
      if (!m->by[i][j] && i != j) continue;
      sq_lv by = m->by[i][j] ? m->by[i][j] : zero;
      f.by[i][j] = sq_sturn_first_half(x->e, by, sq_k_flike(x->type, i == j), half);
    }
  }
  return f;
}

sq_smap sq_smap_together(const sq_sjacobian *x, sq_smap m) {
  for (uint32_t half = 1; half < x->w; half *= 2) {
    sq_smap first = first_half(x, &m, half), next = {0};
    sq_smap_apply(x, &m, first.other, next.other);
    for (uint32_t i = 0; i < x->n; i++)
      for (uint32_t l = 0; l < x->n; l++)
        for (uint32_t j = 0; m.by[i][l] && j < x->n; j++)
          if (first.by[l][j]) sq_sslope_add(x, m.by[i][l], first.by[l][j], &next.by[i][j]);
    m = next;
  }
  return m;
}

sq_smap sq_smap_last(const sq_sjacobian *x, const sq_smap *m) {
  sq_smap l = {0};
  for (uint32_t i = 0; i < x->n; i++) {
    l.other[i] = sq_sturn_last(x->e, m->other[i]);
    for (uint32_t j = 0; j < x->n; j++)
      if (m->by[i][j]) l.by[i][j] = sq_sturn_last(x->e, m->by[i][j]);
  }
  return l;
}
