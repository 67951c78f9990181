// Makes and runs the programs of loop nests (eval_program.h). Instructions are sorted by the
// innermost loop that they depend on and run only when that loop moves. Reads at affine positions
// that stay inside for all indices become strides; all others go through position vectors with
// their tests.
#include "ir/eval_program.h"

// ---- affine positions --------------------------------------------------------------------------

static bool affine_range(const nest *x, affine *f, sq_dtype t) {
  f->low = f->high = f->offset;
  for (uint32_t a = 0; a < x->n_axes; a++) {
    int64_t last = x->extent[a] > 0 ? x->extent[a] - 1 : 0, d;
    if (__builtin_mul_overflow(f->coef[a], last, &d)) return false;
    if (__builtin_add_overflow(d < 0 ? f->low : f->high, d, d < 0 ? &f->low : &f->high))
      return false;
  }
  return f->low >= sq_int_low(t) && f->high <= sq_int_high(t);
}

static bool affine_constant(const nest *x, const affine *f) {
  for (uint32_t a = 0; a < x->n_axes; a++)
    if (f->coef[a]) return false;
  return true;
}

static bool affine_combine(const nest *x, affine *f, const affine *a, int64_t ca, const affine *b,
                           int64_t cb) {
  int64_t p, q;
  if (!a->ok || !b->ok) return false;
  if (__builtin_mul_overflow(a->offset, ca, &p) || __builtin_mul_overflow(b->offset, cb, &q) ||
      __builtin_add_overflow(p, q, &f->offset))
    return false;
  for (uint32_t k = 0; k < x->n_axes; k++)
    if (__builtin_mul_overflow(a->coef[k], ca, &p) || __builtin_mul_overflow(b->coef[k], cb, &q) ||
        __builtin_add_overflow(p, q, &f->coef[k]))
      return false;
  return true;
}

static bool affine_ewise(nest *x, const sq_scalar *s, affine *f) {
  const affine *a = &x->aff[s->a[0]];
  const affine *b = sq_ewise_table[s->ew].arity > 1 ? &x->aff[s->a[1]] : a;
  if (s->ew == SQ_EW_ADD) return affine_combine(x, f, a, 1, b, 1);
  if (s->ew == SQ_EW_SUB) return affine_combine(x, f, a, 1, b, -1);
  if (s->ew == SQ_EW_NEG) return affine_combine(x, f, a, -1, a, 0);
  if (s->ew != SQ_EW_MUL || !a->ok || !b->ok) return false;
  if (affine_constant(x, b)) return affine_combine(x, f, a, b->offset, a, 0);
  return affine_constant(x, a) && affine_combine(x, f, b, a->offset, b, 0);
}

void sq_nest_affine(nest *x) {
  uint32_t n = x->g->s.n;
  x->aff = sq_eval_take(x->e, n + 1, sizeof *x->aff);
  int64_t *coef = sq_eval_take(x->e, (size_t)n * x->n_axes + 1, sizeof *coef);
  memset(coef, 0, ((size_t)n * x->n_axes + 1) * sizeof *coef);
  for (uint32_t k = 0; k < n; k++) {
    const sq_scalar *s = &x->g->s.v[k];
    affine *f = &x->aff[k];
    *f = (affine){.coef = coef + (size_t)k * x->n_axes};
    if (sq_is_float(s->dtype) || s->dtype == SQ_BOOL) continue;
    bool ok = false;
    switch ((int)s->kind) {
    case SQ_SC_INT:
      f->offset = s->i;
      ok = true;
      break;
    case SQ_SC_DIM:
      ok = sq_dim_eval(x->e->g->dims, s->dim, x->e->sym, &f->offset);
      break;
    case SQ_SC_INDEX:
      f->coef[s->axis] = 1;
      ok = true;
      break;
    case SQ_SC_CAST:
      ok = x->aff[s->a[0]].ok && affine_combine(x, f, &x->aff[s->a[0]], 1, &x->aff[s->a[0]], 0);
      break;
    case SQ_SC_EWISE:
      ok = affine_ewise(x, s, f);
      break;
    default:
      break;
    }
    f->ok = ok && affine_range(x, f, s->dtype);
  }
}

bool sq_nest_strides(nest *x, const sq_scalar *s, ins *i) {
  const sq_ten *t = x->operand[s->operand];
  int64_t stride = 1;
  if (s->n_pos != t->t.rank) return false;
  for (uint32_t k = 0; k < s->n_pos; k++) {
    const affine *f = &x->aff[s->pos[k]];
    if (!f->ok || f->low < 0 || f->high >= t->t.dim[k]) return false;
  }
  i->stride = sq_eval_take(x->e, x->n_axes + 1, sizeof *i->stride);
  memset(i->stride, 0, (x->n_axes + 1) * sizeof *i->stride);
  i->offset = 0;
  for (uint32_t k = s->n_pos; k-- > 0; stride *= t->t.dim[k]) {
    const affine *f = &x->aff[s->pos[k]];
    i->offset += f->offset * stride;
    for (uint32_t a = 0; a < x->n_axes; a++) i->stride[a] += f->coef[a] * stride;
  }
  return true;
}

// ---- making a program --------------------------------------------------------------------------

typedef struct maker {
  nest *x;
  program *p;
  bool *need;
  uint64_t *deps; // per scalar: axes, and ACC_BIT
  uint8_t *phase;
  bool *inside;
  ins *reads; // per scalar: strides found
  uint64_t domain_deps;
  bool masks;
  uint32_t acc_is; // without reduced axes the accumulator is the body
} maker;

static void need_scalar(maker *m, uint32_t s, uint8_t phase) {
  // Scalars are in topological order: marked here, propagated by one sweep from the last to the
  // first.
  if (s == SQ_NO_SCALAR) return;
  if (!m->need[s] || m->phase[s] > phase) m->phase[s] = phase;
  m->need[s] = true;
}

static void need_operands(maker *m, uint32_t k) {
  const sq_scalar *s = &m->x->g->s.v[k];
  uint8_t phase = m->phase[k];
  switch (s->kind) {
  case SQ_SC_READ:
    if (!m->inside[k]) {
      for (uint32_t j = 0; j < s->n_pos; j++) need_scalar(m, s->pos[j], phase);
      need_scalar(m, s->other, phase);
    }
    need_scalar(m, s->guard, phase);
    break;
  case SQ_SC_EWISE:
    for (int j = 0; j < sq_ewise_table[s->ew].arity; j++) need_scalar(m, s->a[j], phase);
    break;
  case SQ_SC_SELECT:
    for (int j = 0; j < 3; j++) need_scalar(m, s->a[j], phase);
    break;
  case SQ_SC_CAST:
    need_scalar(m, s->a[0], phase);
    break;
  case SQ_SC_ACC:
    need_scalar(m, m->acc_is, phase);
    break;
  case SQ_SC_FLOAT:
  case SQ_SC_INT:
  case SQ_SC_INDEX:
  case SQ_SC_DIM:
    break;
  }
}

static uint64_t deps_of(const maker *m, uint32_t k) {
  const sq_scalar *s = &m->x->g->s.v[k];
  uint64_t d = 0;
  switch (s->kind) {
  case SQ_SC_READ:
    if (m->inside[k]) {
      for (uint32_t a = 0; a < m->x->n_axes; a++)
        if (m->reads[k].stride[a]) d |= 1ull << a;
    } else {
      for (uint32_t j = 0; j < s->n_pos; j++) d |= m->deps[s->pos[j]];
      if (s->other != SQ_NO_SCALAR) d |= m->deps[s->other];
      if (m->masks && m->phase[k] == 2) d |= m->domain_deps;
    }
    if (s->guard != SQ_NO_SCALAR) d |= m->deps[s->guard];
    break;
  case SQ_SC_EWISE:
    for (int j = 0; j < sq_ewise_table[s->ew].arity; j++) d |= m->deps[s->a[j]];
    break;
  case SQ_SC_SELECT:
    for (int j = 0; j < 3; j++) d |= m->deps[s->a[j]];
    break;
  case SQ_SC_CAST:
    d = m->deps[s->a[0]];
    break;
  case SQ_SC_ACC:
    d = m->acc_is != SQ_NO_SCALAR ? m->deps[m->acc_is] : ACC_BIT;
    break;
  case SQ_SC_INDEX:
    d = 1ull << s->axis;
    break;
  case SQ_SC_FLOAT:
  case SQ_SC_INT:
  case SQ_SC_DIM:
    break;
  }
  return d;
}

// Per scalar: whether it stands on the accumulator, which may come before the body in the list.
static bool *above_acc(nest *x) {
  uint32_t n = x->g->s.n;
  bool *above = sq_eval_take(x->e, n + 1, 1);
  for (uint32_t k = 0; k < n; k++) {
    const sq_scalar *s = &x->g->s.v[k];
    int arity = s->kind == SQ_SC_EWISE    ? sq_ewise_table[s->ew].arity
                : s->kind == SQ_SC_SELECT ? 3
                : s->kind == SQ_SC_CAST   ? 1
                                          : 0;
    above[k] = s->kind == SQ_SC_ACC;
    for (int j = 0; j < arity; j++) above[k] |= above[s->a[j]];
    if (s->kind != SQ_SC_READ) continue;
    for (uint32_t j = 0; j < s->n_pos; j++) above[k] |= above[s->pos[j]];
    if (s->guard != SQ_NO_SCALAR) above[k] |= above[s->guard];
    if (s->other != SQ_NO_SCALAR) above[k] |= above[s->other];
  }
  return above;
}

static bool before(const ins *a, const ins *b) {
  if (a->level != b->level) return a->level < b->level;
  if (a->phase != b->phase) return a->phase < b->phase;
  return a->id < b->id;
}

static void sort_ins(sq_eval *e, ins *v, uint32_t n) {
  ins *t = sq_eval_take(e, n + 1, sizeof *t);
  for (uint32_t w = 1; w < n; w *= 2) {
    for (uint32_t lo = 0; lo < n; lo += 2 * w) {
      uint32_t i = lo, mid = lo + w < n ? lo + w : n, j = mid, hi = lo + 2 * w < n ? lo + 2 * w : n;
      for (uint32_t k = lo; k < hi; k++)
        t[k] = i < mid && (j >= hi || !before(&v[j], &v[i])) ? v[i++] : v[j++];
    }
    memcpy(v, t, n * sizeof *v);
  }
}

static uint32_t level_of(const loops *l, uint64_t deps) {
  uint32_t level = 0;
  for (uint32_t k = 0; k < l->n; k++)
    if (deps >> l->axis[k] & 1) level = k + 1;
  if (deps & ACC_BIT) level = l->lane_at + 1;
  return level;
}

static void link_ins(maker *m, ins *i) {
  program *p = m->p;
  const sq_scalar *s = i->s;
#define LINK(field, stepfield, scalar)                                                             \
  do {                                                                                             \
    const ins *src = &p->v[p->of[scalar]];                                                         \
    (field) = src->r;                                                                              \
    (stepfield) = src->varies;                                                                     \
  } while (0)
  int arity = s->kind == SQ_SC_EWISE    ? sq_ewise_table[s->ew].arity
              : s->kind == SQ_SC_SELECT ? 3
              : s->kind == SQ_SC_CAST   ? 1
                                        : 0;
  for (int k = 0; k < arity; k++) LINK(i->a[k], i->step[k], s->a[k]);
  if (arity == 1) {
    i->a[1] = i->a[0];
    i->step[1] = i->step[0];
  }
  if (s->kind == SQ_SC_ACC && m->acc_is != SQ_NO_SCALAR) LINK(i->a[0], i->step[0], m->acc_is);
  if (s->kind != SQ_SC_READ) return;
  if (s->guard != SQ_NO_SCALAR) LINK(i->guard, i->guard_step, s->guard);
  if (i->inside) return;
  if (s->other != SQ_NO_SCALAR) LINK(i->other, i->other_step, s->other);
  sq_eval *e = m->x->e;
  i->pos = sq_eval_take(e, s->n_pos + 1, sizeof *i->pos);
  i->pos_step = sq_eval_take(e, s->n_pos + 1, sizeof *i->pos_step);
  i->pos_stride = sq_eval_take(e, s->n_pos + 1, sizeof *i->pos_stride);
  int64_t stride = 1;
  for (uint32_t k = s->n_pos; k-- > 0; stride *= i->from->t.dim[k]) {
    LINK(i->pos[k], i->pos_step[k], s->pos[k]);
    i->pos_stride[k] = stride;
  }
  if (i->masked) {
    i->mask = p->mask;
    i->mask_step = p->mask_step;
  }
#undef LINK
}

program sq_nest_program(nest *x, const loops *l, const uint32_t *roots, uint32_t n_roots,
                        bool domain) {
  sq_eval *e = x->e;
  const sq_generic *g = x->g;
  uint32_t n = g->s.n;
  program p = {.n_levels = l->n + 2};
  maker m = {.x = x, .p = &p, .masks = domain && g->domain.n};
  m.acc_is = g->n_red || g->keyed ? SQ_NO_SCALAR : g->body;
  m.need = sq_eval_take(e, n + 1, 1);
  m.phase = sq_eval_take(e, n + 1, 1);
  m.inside = sq_eval_take(e, n + 1, 1);
  m.deps = sq_eval_take(e, n + 1, sizeof *m.deps);
  m.reads = sq_eval_take(e, n + 1, sizeof *m.reads);
  p.of = sq_eval_take(e, n + 1, sizeof *p.of);
  memset(m.need, 0, n);
  memset(m.phase, 3, n);
  memset(m.deps, 0, n * sizeof *m.deps);
  memset(m.reads, 0, n * sizeof *m.reads);
  for (uint32_t k = 0; k < n; k++)
    m.inside[k] = g->s.v[k].kind == SQ_SC_READ && sq_nest_strides(x, &g->s.v[k], &m.reads[k]);
  for (uint32_t k = 0; domain && k < g->domain.n; k++) need_scalar(&m, g->domain.v[k], 0);
  for (uint32_t k = 0; k < n_roots; k++) need_scalar(&m, roots[k], 2);
  // ACC may stand before the body in the list: a second sweep brings its needs to the operands.
  for (int sweep = 0; sweep < 2; sweep++)
    for (uint32_t k = n; k-- > 0;)
      if (m.need[k]) need_operands(&m, k);
  for (int sweep = 0; sweep < 2; sweep++) {
    for (uint32_t k = 0; k < n; k++)
      if (m.need[k]) m.deps[k] = deps_of(&m, k);
    if (sweep == 0 && m.masks) {
      for (uint32_t k = 0; k < g->domain.n; k++) m.domain_deps |= m.deps[g->domain.v[k]];
    }
  }
  // A third time, for reads that took the domain's axes and whatever stands on them.
  if (m.masks)
    for (uint32_t k = 0; k < n; k++)
      if (m.need[k]) m.deps[k] = deps_of(&m, k);

  p.v = sq_eval_take(e, n + 2, sizeof *p.v);
  bool *above = above_acc(x);
  for (uint32_t k = 0; k < n; k++) {
    p.of[k] = NONE;
    if (!m.need[k]) continue;
    ins i = m.reads[k];
    i.s = &g->s.v[k];
    i.id = k;
    i.level = level_of(l, m.deps[k]);
    i.varies = (m.deps[k] & l->lane) != 0;
    i.phase = above[k] ? 3 : m.phase[k];
    i.inside = m.inside[k];
    i.masked = m.masks && m.phase[k] == 2;
    if (i.s->kind == SQ_SC_READ) i.from = x->operand[i.s->operand];
    p.v[p.n++] = i;
  }
  if (m.masks) {
    ins i = {.mask_all = true, .phase = 1, .level = level_of(l, m.domain_deps)};
    i.varies = (m.domain_deps & l->lane) != 0;
    p.v[p.n++] = i;
  }
  sort_ins(e, p.v, p.n);
  for (uint32_t k = 0; k < p.n; k++) {
    ins *i = &p.v[k];
    i->r = sq_eval_take(e, i->varies ? LANES : 1, sizeof(sq_cell));
    if (i->mask_all) {
      p.mask = i->r;
      p.mask_step = i->varies;
    } else {
      if (i->s->kind == SQ_SC_ACC && m.acc_is == SQ_NO_SCALAR) i->r = x->acc_cells;
      p.of[i->id] = k;
    }
  }
  for (uint32_t k = 0; k < p.n; k++)
    if (!p.v[k].mask_all) link_ins(&m, &p.v[k]);
  p.start = sq_eval_take(e, p.n_levels + 1, sizeof *p.start);
  uint32_t at = 0;
  for (uint32_t level = 0; level <= p.n_levels; level++) {
    while (at < p.n && p.v[at].level < level) at++;
    p.start[level] = at;
  }
  return p;
}

// ---- running a program -------------------------------------------------------------------------

void sq_nest_failure(nest *x, uint32_t site, uint32_t axis, int64_t value, int64_t bound) {
  if (x->failed && site >= x->site) return;
  x->failed = true;
  x->site = site;
  x->axis = axis;
  x->value = value;
  x->bound = bound;
}

static void run_read_inside(const nest *x, const ins *i, uint32_t lane_axis, size_t n) {
  int64_t at = i->offset;
  for (uint32_t a = 0; a < x->n_axes; a++) at += i->stride[a] * x->index[a];
  const sq_cell *from = i->from->data + at;
  int64_t stride = lane_axis < x->n_axes ? i->stride[lane_axis] : 0;
  if (i->guard) {
    for (size_t l = 0; l < n; l++)
      i->r[l] = i->guard[l * i->guard_step].i ? from[(int64_t)l * stride] : (sq_cell){.i = 0};
  } else if (stride == 1) {
    memcpy(i->r, from, n * sizeof *i->r);
  } else {
    for (size_t l = 0; l < n; l++) i->r[l] = from[(int64_t)l * stride];
  }
}

static void run_read(nest *x, const ins *i, size_t n) {
  const sq_scalar *s = i->s;
  const sq_ten *t = i->from;
  for (size_t l = 0; l < n; l++) {
    i->r[l].i = 0; // also 0.0
    if (i->mask && !i->mask[l * i->mask_step].i) continue;
    if (i->guard && !i->guard[l * i->guard_step].i) continue;
    int64_t at = 0;
    uint32_t k = 0;
    for (; k < s->n_pos; k++) {
      int64_t pos = i->pos[k][l * i->pos_step[k]].i;
      if (pos < 0 || pos >= t->t.dim[k]) {
        if (i->other)
          i->r[l] = i->other[l * i->other_step];
        else
          sq_nest_failure(x, s->site, k, pos, t->t.dim[k]);
        break;
      }
      at += pos * i->pos_stride[k];
    }
    if (k == s->n_pos) i->r[l] = t->data[at];
  }
}

static void run_mask(const nest *x, const program *p, const ins *i, size_t n) {
  for (size_t l = 0; l < n; l++) i->r[l].i = 1;
  for (uint32_t k = 0; k < x->g->domain.n; k++) {
    const ins *d = &p->v[p->of[x->g->domain.v[k]]];
    for (size_t l = 0; l < n; l++) i->r[l].i &= d->r[l * d->varies].i != 0;
  }
}

static void run_ins(nest *x, const program *p, const ins *i, uint32_t lane_axis, size_t lanes) {
  const sq_scalar *s = i->s;
  size_t n = i->varies ? lanes : 1;
  if (i->mask_all) {
    run_mask(x, p, i, n);
    return;
  }
  switch (s->kind) {
  case SQ_SC_FLOAT:
    i->r->f = s->f;
    break;
  case SQ_SC_INT:
    if (sq_is_float(s->dtype))
      i->r->f = (double)s->i;
    else
      i->r->i = s->i;
    break;
  case SQ_SC_INDEX:
    for (size_t l = 0; l < n; l++)
      i->r[l].i = x->index[s->axis] + (s->axis == lane_axis ? (int64_t)l : 0);
    break;
  case SQ_SC_DIM:
    i->r->i = sq_eval_dim(x->e, s->dim, x->node->span);
    break;
  case SQ_SC_READ:
    if (i->inside)
      run_read_inside(x, i, lane_axis, n);
    else
      run_read(x, i, n);
    break;
  case SQ_SC_EWISE:
    sq_cells_ewise(s->ew, x->g->s.v[s->a[0]].dtype, n, i->r, i->a[0], i->step[0], i->a[1],
                   i->step[1]);
    break;
  case SQ_SC_SELECT:
    for (size_t l = 0; l < n; l++)
      i->r[l] = i->a[0][l * i->step[0]].i ? i->a[1][l * i->step[1]] : i->a[2][l * i->step[2]];
    break;
  case SQ_SC_CAST:
    sq_cells_cast(x->g->s.v[s->a[0]].dtype, s->dtype, n, i->r, i->a[0], i->step[0]);
    break;
  case SQ_SC_ACC:
    for (size_t l = 0; i->a[0] && l < n; l++) i->r[l] = i->a[0][l * i->step[0]];
    break;
  }
}

void sq_eval_nest_run(nest *x, const program *p, uint32_t from, uint32_t lane_axis, size_t lanes) {
  for (uint32_t k = p->start[from]; k < p->n; k++) run_ins(x, p, &p->v[k], lane_axis, lanes);
}
